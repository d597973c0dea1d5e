# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What surrounds the cgroups: a captured node of the same hierarchy, with a vendor's kernel release in the place of its own."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

from .model import Group, Kernel
from .tables import Flavour

_TREES = Path(__file__).resolve().parents[2] / "unit" / "fixtures" / "trees"
_CAPTURED = {1: _TREES / "debian12-6.1-v1", 2: _TREES / "debian12-6.1-v2"}
# The captured node runs Linux 6.1.
_LATER_THAN_5_10 = ("sys/kernel/mm/lru_gen",)
_USAGE = {1: "memory.usage_in_bytes", 2: "memory.current"}


def lay(flavour: Flavour, directory: Path) -> None:
    """The files of the node below C(directory), but for its cgroups; the switches of the flavour have their places."""
    captured = _CAPTURED[flavour.version]
    shutil.copytree(captured, directory, dirs_exist_ok=True, symlinks=True, ignore=lambda path, names: {"cgroup"} if path.endswith("/sys/fs") else set())
    _put(directory, "/proc/sys/kernel/osrelease", f"{flavour.release}\n")
    if flavour.release.startswith("5."):
        for name in _LATER_THAN_5_10:
            shutil.rmtree(directory / name, ignore_errors=True)
    if flavour.release.startswith("5.4"):
        mounts = directory / "proc/self/mountinfo"
        _put(directory, "/proc/self/mountinfo", mounts.read_text().replace(",memory_recursiveprot", ""))
    for switch in flavour.switches:
        _put(directory, switch.path, f"{switch.default}\n")
    for name in ("etc/sysctl.d", "etc/tmpfiles.d", "etc/systemd/system", "run", "var/lib"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / flavour.mount.lstrip("/")).mkdir(parents=True, exist_ok=True)


def adopt(kernel: Kernel) -> None:
    """The captured node's cgroups, with its figures and limits."""
    captured = _CAPTURED[kernel.flavour.version]
    top = captured / kernel.flavour.mount.lstrip("/")
    _adopt(kernel, kernel.root, top)


def _adopt(kernel: Kernel, group: Group, directory: Path) -> None:
    below = sorted(entry for entry in directory.iterdir() if entry.is_dir())
    if below and "cgroup.subtree_control" in group.values:
        kernel.write(f"{group.path}/cgroup.subtree_control", "+memory")
    kernel.figure(group.path, **_figures(group, directory, kernel.flavour.version))
    for name in ("memory.limit_in_bytes", "memory.max", "memory.high", "memory.low", "memory.min"):
        if name in group.values and group.parent is not None and (directory / name).exists():
            kernel.write(f"{group.path}/{name}", _limit_text((directory / name).read_text(), kernel))
    for entry in below:
        _adopt(kernel, kernel.mkdir(f"{group.path}/{entry.name}"), entry)


def _figures(group: Group, directory: Path, version: int) -> dict[str, t.Any]:
    pairs = dict(line.split() for line in _text(directory / "memory.stat").splitlines())
    stat = {key: int(pairs[name]) for key in group.stat for name in (f"total_{key}", key) if name in pairs}
    usage = _text(directory / _USAGE[version]) or "0"
    return {"stat": stat, "usage": int(usage), "procs": [int(word) for word in _text(directory / "cgroup.procs").split()]}


def _limit_text(text: str, kernel: Kernel) -> str:
    return "-1" if text.strip() == str(kernel.unlimited) else text


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _put(directory: Path, path: str, text: str) -> None:
    place = directory / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
