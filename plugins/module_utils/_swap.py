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
from ._steps import FileStep, SwapFileStep, SwapStep
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Cgroup, Swap
    from ._steps import Step

ZRAM = "/dev/zram0"
NEEDED = "its area is in use"
ZRAM_CONF = "/etc/systemd/zram-generator.conf.d/zz-memqos.conf"
_PROGRAMS = ("sbin/mkswap", "sbin/cryptsetup", "sbin/modprobe", "lib/systemd/system-generators/zram-generator")


class Ground(NamedTuple):
    """C(programs): {name: path}. C(units): {area: (unit, options without pri=)}. C(real): {device: behind its links}. C(live): {area: state}.

    C(made): whether zram has a size. C(size): of the file that is to be; C(trouble): why it cannot; C(kind), C(room), C(disk): of its file system.
    """

    programs: t.Mapping[str, str] = {}
    units: t.Mapping[str, t.Tuple[str, str]] = {}
    real: t.Mapping[str, str] = {}
    live: t.Mapping[str, t.Optional[str]] = {}
    made: bool = False
    size: t.Optional[str] = None
    trouble: str = ""
    kind: str = ""
    room: int = 0
    disk: int = 0


class Room(NamedTuple):
    """What a swapoff can fall back on, by path."""

    areas: t.Mapping[str, Swap]
    meminfo: t.Mapping[str, int]
    cgroups: t.Mapping[str, Cgroup]


def state(tree: Tree, area: str) -> t.Optional[str]:
    """C(2048 MiB, priority 5), and the algorithm of zram; C(auto): the kernel's choice. None: off."""
    real = tree.target(area)
    for swap in _procfs.read_swaps(tree):
        if swap["path"] == real:
            size = (swap["size_bytes"] + os.sysconf("SC_PAGE_SIZE")) >> 20  # the page of its header does not count
            chosen = re.search(rb"\[([\w-]+)\]", tree.read_or_empty(f"/sys/block/{real[5:]}/comp_algorithm"))
            algorithm = f", {chosen.group(1).decode()}" if chosen else ""
            return f"{size} MiB, priority {swap['priority'] if swap['priority'] >= 0 else 'auto'}{algorithm}"
    return None


def is_state(wanted: t.Optional[str], found: t.Optional[str]) -> bool:
    """Whether that is what is wanted: who names no algorithm takes any."""
    return f"{found}, ".startswith(f"{wanted}, ")


def read(tree: Tree, devices: t.Iterable[str]) -> Ground:
    """What does not hang on what is wanted. Raises Unreadable."""
    paths = [path for name in _PROGRAMS for path in (f"/{name}", f"/usr/{name}") if tree.exists(path)]
    real = {device: tree.target(device) for device in devices}
    made = tree.read_or_empty(f"/sys/block/{ZRAM[5:]}/disksize").strip() not in (b"", b"0")
    return Ground({path.rpartition("/")[2]: path for path in paths}, _units(tree), real, made=made)


def with_disk(ground: Ground, tree: Tree, directory: str) -> Ground:
    """Of the file system that a swap file shall be on."""
    try:
        found = os.statvfs(tree.fs_path(directory))
        mounts = [mount for mount in _procfs.read_mountinfo(tree) if f"{directory}/".startswith(f"{mount['mount_point'].rstrip('/')}/")]
    except (OSError, Unreadable) as exc:
        return ground._replace(trouble=f"{directory}: {exc.strerror if isinstance(exc, OSError) else exc}")
    # Of two at one place the later is seen.
    kind = sorted(mounts, key=lambda mount: len(mount["mount_point"]))[-1]["fs_type"] if mounts else ""
    return ground._replace(kind=kind, room=found.f_bavail * found.f_frsize, disk=found.f_blocks * found.f_frsize)


def room(tree: Tree) -> Room:
    """Raises Unreadable."""
    hierarchy = _cgroupfs.detect(tree, _procfs.read_mountinfo(tree))
    cgroups = {one["path"]: one for one in _cgroupfs.walk(tree, hierarchy)[0]}
    return Room({one["path"]: one for one in _procfs.read_swaps(tree)}, _procfs.read_meminfo(tree), cgroups)


def refusal(area: str, found: Room) -> str:
    """Why what this area (its path in /proc/swaps) holds does not fit elsewhere; empty if it does."""
    used = found.areas[area]["used_bytes"] if area in found.areas else 0
    # zram is memory too.
    others = sum(one["size_bytes"] - one["used_bytes"] for path, one in found.areas.items() if path != area and not path.startswith(ZRAM[:-1]))
    # The high watermarks are not among what is available.
    free = max(0, found.meminfo.get("MemAvailable", 0) - found.meminfo.get("MemTotal", 0) // 20)
    holds = f"it holds {format_size(used)}, and there are {format_size(free)} of memory (5 % of it kept free) and {format_size(others)} of other swap"
    if used > free + others:
        return f"{holds}: tasks would be killed"
    # Charged to its cgroup; what the limit does not take goes out again, for those above too.
    out: t.Dict[str, int] = {}
    for path in sorted(found.cgroups, reverse=True):
        one = found.cgroups[path]
        stat, limit, swap = one.get("stat", {}), one.get("limit"), one.get("swap_limit")
        back = min(used, one.get("swap", 0))
        need = one.get("usage", 0) - stat.get("inactive_file", 0) - stat.get("active_file", 0) + back
        rest = min(used, max(out.get(path, 0), 0 if limit is None else min(back, need - limit)))
        free = others if swap is None else min(others, max(0, swap - one.get("swap", 0) + back))
        if rest > free:
            return f"{holds}, but {format_size(rest)} exceed the limits (old or new) in {path}, and {format_size(free)} of other swap: tasks would be killed"
        parent = path.rpartition("/")[0] or "/"
        out[parent] = out.get(parent, 0) + rest
    return ""


def refusal_now(tree: Tree, area: str) -> str:
    """C(refusal) of what stands now; what cannot be read does not fit."""
    try:
        return refusal(tree.target(area), room(tree))
    except Unreadable as exc:
        return f"whether what it holds fits elsewhere is not known ({exc})"


def serves(step: Step, areas: t.Iterable[Step]) -> bool:
    """Whether one of these, off before, needs this file."""
    text = f"{step.path}{step.before}{step.after}" if isinstance(step, (FileStep, SwapFileStep)) else ""
    paths = [area.area for area in areas if isinstance(area, SwapStep) and not area.before]
    return any(("[zram0]" if path == ZRAM else re.split("/(?:memqos-)?", path)[-1]) in text for path in paths)


def _units(tree: Tree) -> t.Dict[str, t.Tuple[str, str]]:
    argv = ["systemctl", "show", "--all", "--no-pager", "--property=Id,What,FragmentPath,Options", "--", "*.swap"]
    found = {}
    for block in re.split(r"\n\s*\n", tree.output("systemctl-show-swaps", argv, timeout=ANSWER_SECONDS)):
        lines = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if lines.get("FragmentPath"):
            options = ",".join(word for word in lines["Options"].split(",") if word and not word.startswith("pri="))
            found[tree.target(lines["What"])] = lines["Id"], options
    return found
