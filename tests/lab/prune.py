# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps the cache small: images and snapshots go, the least recently used first. A machine that runs has its files open and keeps them."""

from __future__ import annotations

import os
from pathlib import Path

from .common import IN_USE, Cache, progress
from .images import ImageFiles, image_id, present_files, public_key, remove
from .inventory import all_machines
from .machines import Machine
from .qemu import ACCELERATION
from .snapshots import UNUSABLE, snapshot_name
from .vms import Start

LIMIT_GIB = float(os.environ.get("MEMQOS_LAB_CACHE_GIB", "10"))


def bound(cache: Cache) -> None:
    """Remove the least recently used until the rest is below the limit; nothing while another run works with the cache."""
    with cache.locked_if_free(IN_USE) as free:
        if not free:
            return
        entries = sorted(_entries(cache), key=lambda path: path.stat().st_mtime, reverse=True)
        kept = 0
        for entry in entries:
            kept += _bytes(entry)
            if kept > LIMIT_GIB * (1 << 30):
                progress(entry.name, f"removed, for the cache is larger than {LIMIT_GIB:g} GiB (MEMQOS_LAB_CACHE_GIB)")
                remove(entry)


def prune(cache: Cache) -> None:
    """Remove all that no machine of this checkout is made from, once nobody works with the cache."""
    wanted = _wanted(cache)
    with cache.locked(IN_USE):
        for entry in _entries(cache):
            if entry not in wanted or (entry / UNUSABLE).exists():
                progress(entry.name, f"removed ({_bytes(entry) >> 20} MiB)")
                remove(entry)


def present(machine: Machine, cache: Cache) -> list[str]:
    """What there is of a machine: image, snapshot."""
    files = present_files(machine, cache)
    there = files and any(path.exists() for path in _snapshots(machine, files, cache))
    return [word for word, has in (("image", files and not machine.disk), ("snapshot", there)) if has]


def _wanted(cache: Cache) -> set[Path]:
    wanted = set()
    for machine in all_machines(os.environ):
        if not isinstance(machine, Machine):
            continue
        if not machine.disk:
            wanted.add(cache.image(image_id(machine.image, public_key(cache))))
        if files := present_files(machine, cache):
            wanted |= _snapshots(machine, files, cache)
    return wanted


def _snapshots(machine: Machine, files: ImageFiles, cache: Cache) -> set[Path]:
    return {cache.snapshot(snapshot_name(Start(machine=machine, image=files, accelerator=accelerator))) for accelerator in ACCELERATION}


def _entries(cache: Cache) -> list[Path]:
    return [path for kind in (cache.image(""), cache.snapshot("")) if kind.is_dir() for path in kind.iterdir()]


def _bytes(directory: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))
