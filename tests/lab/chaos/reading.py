# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole node as a tune could change it, read without the code that is tested: only the registry's list of paths is its."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import stat
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry

from . import rule, table

State = dict[str, t.Any]

STATE = "/var/lib/memqos"
SWAP_DIRECTORY = "/var/lib/memqos-swap"
DIRECTORIES = (
    "/etc/sysctl.d", "/etc/tmpfiles.d", "/etc/systemd/system", "/etc/systemd/system.control", "/run/sysctl.d", "/run/tmpfiles.d", "/run/systemd/system",
    "/run/systemd/system.control", SWAP_DIRECTORY,
)  # fmt: skip
_MEMCG = (
    "memory.min", "memory.low", "memory.high", "memory.max", "memory.swap.max", "memory.swap.high", "memory.zswap.max", "memory.zswap.writeback",
    "memory.oom.group", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.swappiness", "memory.oom_control",
)  # fmt: skip
# What the kernel counts or sets by itself.
_MOVING = ("writeback_limit", "monitor_region_start", "monitor_region_end")
_HOLES = re.compile(r"\{[a-z]+\}")


def mount() -> str:
    """Of the memory controller."""
    return "/sys/fs/cgroup/memory" if os.path.isdir("/sys/fs/cgroup/memory") else "/sys/fs/cgroup"


def host_files() -> list[str]:
    """Of all host knobs that this kernel has and that can be read."""
    paths = [
        path for knob in _registry.host_knobs() if knob.path and knob.access != "wo" and not knob.one_shot for path in glob.glob(_HOLES.sub("*", knob.path))
    ]
    return sorted({path for path in paths if os.path.isfile(path) and not path.endswith(_MOVING)})


_PLACES: dict[str, str] = {}


def cgroup(unit: str) -> str:
    """Its directory, wherever it lies; empty without one. To look for it takes a second where all is emulated."""
    if not os.path.isdir(_PLACES.get(unit, "")):
        _PLACES.update({os.path.basename(path): path for path, unused, unused_too in os.walk(mount())})
    found = _PLACES.get(unit, "")
    return found if os.path.isdir(found) else ""


def read(files: t.Iterable[str], units: t.Iterable[str]) -> State:
    """C(files): of the kernel; C(units): whose cgroups count."""
    found: State = {path: text(path) for path in files}
    for directory in filter(None, map(cgroup, units)):
        found.update({f"{directory}/{name}": text(f"{directory}/{name}") for name in _MEMCG if os.path.exists(f"{directory}/{name}")})
    for directory in DIRECTORIES:
        for path, names, others in os.walk(directory):
            found.update(dict.fromkeys((path,), _owned(path)))
            found.update({f"{path}/{name}": _lying(f"{path}/{name}") for name in (*others, *(name for name in names if os.path.islink(f"{path}/{name}")))})
    found["/etc/sysctl.conf"] = _lying("/etc/sysctl.conf")
    on = swaps()
    found.update({f"swap {path}": on.get(path, "off") for path in map(swap_file, table.SWAP_SIZES)})
    # A directory that nothing but a test of ours needs: systemd makes it at the first set-property, and keeps it.
    found.pop("/run/systemd/system.control", None)
    return {path: value for path, value in found.items() if value is not None}


def swap_file(size: int) -> str:
    return f"{SWAP_DIRECTORY}/swap-{size // table.MIB}M"


def swaps() -> dict[str, str]:
    """{path: kB and priority} of what is on."""
    rows = [line.split() for line in (text("/proc/swaps") or "").splitlines()[1:]]
    return {row[0]: f"{row[2]} {row[4]}" for row in rows}


def leftovers(*, settled: bool) -> list[str]:
    """What no run may leave: a transaction, files that a rename was to put in place. Our own (the journal's, and what lies ready for the next boot) only when

    more has been written (C(settled)).
    """
    found = [path for path in (f"{STATE}/pending.jsonl", f"{STATE}/armed.json") if os.path.lexists(path)]
    for directory in (*DIRECTORIES, *([STATE] if settled else [])):
        found += [f"{path}/{name}" for path, unused, names in os.walk(directory) for name in names if name.startswith(".") and name.endswith(".memqos")]
    return [path for path in found if settled or path not in rule.LAID]


def kills() -> dict[str, int]:
    """OOM kills so far: of the node, and of each cgroup that counts them."""
    with open("/proc/vmstat", encoding="ascii") as stream:
        found = {"node": int(dict(line.split() for line in stream)["oom_kill"])}
    for path in glob.glob(f"{mount()}/chaos*.slice/memory.events") + glob.glob(f"{mount()}/chaos*.slice/memory.oom_control"):
        found[path] = int(dict(line.split() for line in (text(path) or "").splitlines()).get("oom_kill", 0))
    return found


def text(path: str) -> str | None:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read().strip()
    return None


def _owned(path: str) -> list[t.Any]:
    status = os.lstat(path)
    return [stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid]


def _lying(path: str) -> list[t.Any] | None:
    """A unit may end while it is read."""
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return ["-> " + os.readlink(path)]
        if stat.S_ISREG(status.st_mode) and path.startswith(SWAP_DIRECTORY):
            return [status.st_size, *_owned(path)]
        if stat.S_ISREG(status.st_mode):
            with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                return [stream.read(), *_owned(path)]
    return None
