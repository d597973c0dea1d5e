# SPDX-License-Identifier: BSD-2-Clause

"""Swap as it stands, what a node has to make some, and whether what an area holds fits elsewhere."""

from __future__ import annotations

import os
import re
import typing as t

from ._read import _cgroupfs, _procfs
from ._read._files import Tree, Unreadable
from ._read._unit_state import ANSWER_SECONDS
from ._shares import format_size
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Cgroup, Swap

ZRAM = "/dev/zram0"
ZRAM_CONF = "/etc/systemd/zram-generator.conf.d/zz-memqos.conf"
_CONFS = tuple(f"{root}/systemd/zram-generator.conf" for root in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))
_PROGRAMS = {
    "mkswap": ("/usr/sbin/mkswap", "/sbin/mkswap"),
    "cryptsetup": ("/usr/sbin/cryptsetup", "/sbin/cryptsetup"),
    "modprobe": ("/usr/sbin/modprobe", "/sbin/modprobe"),
    "zram-generator": ("/usr/lib/systemd/system-generators/zram-generator", "/lib/systemd/system-generators/zram-generator"),
}


class Unit(NamedTuple):
    """A .swap unit with a file, its device behind all links, and its options but for C(pri=)."""

    name: str
    area: str
    options: str


class Ground(NamedTuple):
    """What a plan has to know. C(live): what C(state) tells, by area; C(programs): {name: path}; C(units) are systemd's, C(silent) why there are none.

    C(size): of the file that is to be, None is absent; C(kind), C(room): of its file system; C(trouble): why no such file can be there.
    C(zram): whether somebody's configuration for the generator has it; C(made): that the device has a size. C(real): devices behind their links.
    """

    live: t.Mapping[str, t.Optional[str]]
    programs: t.Mapping[str, str]
    units: t.Sequence[Unit] = ()
    silent: str = ""
    size: t.Optional[str] = None
    kind: str = ""
    room: int = 0
    disk: int = 0
    trouble: str = ""
    zram: bool = False
    made: bool = False
    real: t.Mapping[str, str] = {}


class Room(NamedTuple):
    """What a swapoff can fall back on. C(areas): by path."""

    areas: t.Mapping[str, Swap]
    meminfo: t.Mapping[str, int]
    cgroups: t.Sequence[Cgroup]


def state(tree: Tree, area: str) -> t.Optional[str]:
    """Of an area that is on: C(2048 MiB, priority 5), and the algorithm of zram. None: off. A priority that the kernel chose is C(auto)."""
    real = tree.target(area)
    swap = next((swap for swap in _procfs.read_swaps(tree) if swap["path"] == real), None)
    if swap is None:
        return None
    size = (swap["size_bytes"] + os.sysconf("SC_PAGE_SIZE")) >> 20  # the page of its header does not count
    words = [f"{size} MiB", f"priority {swap['priority'] if swap['priority'] >= 0 else 'auto'}"]
    chosen = re.search(rb"\[([^]]+)\]", tree.read_or_empty(f"/sys/block/{real.rpartition('/')[2]}/comp_algorithm"))
    return ", ".join([*words, *([chosen.group(1).decode("ascii", "replace")] if chosen else [])])


def is_state(wanted: t.Optional[str], found: t.Optional[str]) -> bool:
    """Whether that is what is wanted: who names no algorithm takes any."""
    return found == wanted or (wanted is not None and found is not None and found.startswith(f"{wanted}, "))


def read(tree: Tree, areas: t.Iterable[str], devices: t.Sequence[str], directory: str) -> Ground:
    """C(devices) are areas by any of their names. Of the file itself (C(size), C(trouble)) the writer knows, who follows no link to it."""
    programs = {name: path for name, paths in _PROGRAMS.items() for path in paths if tree.exists(path)}
    units, silent = _units(tree) if devices else ([], "")
    live = {area: state(tree, area) for area in (*areas, *devices)}
    made = tree.read_or_empty("/sys/block/zram0/disksize").strip() not in (b"", b"0")
    ground = Ground(live, programs, units, silent, zram=_is_configured(tree), made=made, real={device: tree.target(device) for device in devices})
    if not directory:
        return ground
    try:
        found = os.statvfs(tree.fs_path(directory))
        mounts = [mount for mount in _procfs.read_mountinfo(tree) if f"{directory}/".startswith(f"{mount['mount_point'].rstrip('/')}/")]
    except (OSError, Unreadable) as exc:
        return ground._replace(trouble=f"{directory}: {exc.strerror if isinstance(exc, OSError) else exc}")
    # Of two at one place the later is seen.
    kind = max(enumerate(mounts), key=lambda pair: (len(pair[1]["mount_point"]), pair[0]))[1]["fs_type"] if mounts else ""
    return ground._replace(kind=kind, room=found.f_bavail * found.f_frsize, disk=found.f_blocks * found.f_frsize)


def room(tree: Tree) -> Room:
    """Raises Unreadable."""
    hierarchy = _cgroupfs.detect(tree, _procfs.read_mountinfo(tree))
    cgroups = _cgroupfs.walk(tree, hierarchy)[0]
    return Room({swap["path"]: swap for swap in _procfs.read_swaps(tree)}, _procfs.read_meminfo(tree), cgroups)


def refusal(area: str, found: Room) -> str:
    """Why what this area (its path in /proc/swaps) holds does not fit elsewhere; empty if it does."""
    used = found.areas[area]["used_bytes"] if area in found.areas else 0
    others = sum(swap["size_bytes"] - swap["used_bytes"] for path, swap in found.areas.items() if path != area)
    # The high watermarks are not among what is available.
    free = max(0, found.meminfo.get("MemAvailable", 0) - found.meminfo.get("MemTotal", 0) // 20)
    if used > free + others:
        left = f"{format_size(free)} of memory (5 % of it kept free) and {format_size(others)} of other swap"
        return f"it holds {format_size(used)}, and there are {left}: tasks would be killed"
    if used > others:
        for cgroup in found.cgroups:
            limit, stat = cgroup.get("limit"), cgroup.get("stat", {})
            need = cgroup.get("usage", 0) - stat.get("inactive_file", 0) - stat.get("active_file", 0) + min(used, cgroup.get("swap", 0))
            if limit is not None and cgroup.get("swap") and need > limit + others:
                text = f"{cgroup['path']} would need {format_size(need)}, and its limit is {format_size(limit)}"
                return f"it holds {format_size(used)}, of other swap there are {format_size(others)}, and {text}: its tasks would be killed"
    return ""


def refusal_now(tree: Tree, area: str) -> str:
    """C(refusal) of what stands now; what cannot be read does not fit."""
    try:
        return refusal(tree.target(area), room(tree))
    except Unreadable as exc:
        return f"whether what it holds fits elsewhere is not known ({exc})"


def _units(tree: Tree) -> t.Tuple[t.List[Unit], str]:
    argv = ["systemctl", "show", "--all", "--no-pager", "--property=Id,What,FragmentPath,Options", "--", "*.swap"]
    try:
        text = tree.output("systemctl-show-swaps", argv, timeout=ANSWER_SECONDS)
    except Unreadable as exc:
        return [], f"systemd does not answer ({exc.path}: {exc.reason})"
    found = []
    for block in re.split(r"\n\s*\n", text):
        lines = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if lines.get("FragmentPath") and lines.get("What"):
            options = ",".join(word for word in lines.get("Options", "").split(",") if word and not word.startswith("pri="))
            found.append(Unit(lines.get("Id", ""), tree.target(lines["What"]), options))
    return found, ""


def _is_configured(tree: Tree) -> bool:
    """By somebody else's file for zram-generator."""
    paths = [*_CONFS, *(f"{conf}.d/{name}" for conf in _CONFS for name in tree.names_or_empty(f"{conf}.d"))]
    return any(re.search(rb"(?m)^\[zram0\]", tree.read_or_empty(path)) for path in paths if path != ZRAM_CONF)
