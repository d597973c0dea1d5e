# SPDX-License-Identifier: BSD-2-Clause

"""What of a plan needs usage brought below a bound first, and whether that can be: docs/architecture.md 3.19. Pure."""

from __future__ import annotations

import typing as t

from . import _guards, _shares
from ._knobs import _registry
from ._steps import PropertyStep, Step, WriteStep
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Cgroup
    from ._guards import Danger
    from ._present import Present

    Key = t.Tuple[str, str]

# Read of every node: 0 keeps anonymous memory where it is.
KNOBS = ("vm.swappiness",)
_MIB = 1 << 20
_size = _shares.format_size


class Figures(NamedTuple):
    """Of a cgroup, in bytes. C(fixed): what reclaim cannot take from it; C(demand): with what is swapped and what could be.

    C(free_swap): what it may have there besides; C(dirty): page cache that has to be written first.
    """

    usage: int
    fixed: int
    demand: int
    swapped: int
    free_swap: int
    dirty: int


def figures(usage: int, stat: t.Mapping[str, int], *, swapped: int, free_swap: int) -> Figures:
    """C(stat): memory.stat by the names of v2; C(free_swap): what the node has and the limits of it and all above it let it use.

    Clean and dirty page cache and slab_reclaimable go; shmem is on the anonymous lists, what is locked on none of these. Pages in the swap cache are in use
    and swapped (v2 charges a slot while its page is still there): what is demanded counts them once.
    """
    cache = sum(stat.get(key, 0) for key in ("active_file", "inactive_file", "slab_reclaimable"))
    anon = sum(stat.get(key, 0) for key in ("active_anon", "inactive_anon"))
    kept = max(0, usage - cache)
    dirty = stat.get("file_dirty", 0) + stat.get("file_writeback", 0)
    demand = kept + swapped - min(stat.get("swapcached", 0), anon, swapped)
    return Figures(usage, max(0, kept - min(anon, free_swap)), demand, swapped, free_swap, dirty)


def resolved(
    steps: t.Iterable[Step], dangers: t.Mapping[Key, Danger], present: Present, *, wanted: bool
) -> t.Tuple[t.Dict[Key, Danger], t.Dict[Key, WriteStep], t.Dict[Key, str]]:
    """(dangers that are left, steps that bring usage below what is lowered, or see that it is, what to say where there is something to bring down)"""
    left = dict(dangers)
    found: t.Dict[Key, WriteStep] = {}
    said: t.Dict[Key, str] = {}
    for file in _bounds(steps) if wanted else ():
        key = (file.knob, file.subject)
        cgroup = present.cgroups.get(file.path[len(present.mount) :].rpartition("/")[0], {})
        step = _way(file, present)
        if step is None or key in found or "usage" not in cgroup or (key in left and left[key].risk not in _guards.BELOW_USE.values()):
            continue
        one = _planned(cgroup, present)
        if one.fixed > most(step):
            text = f"no more than {_size(max(0, one.usage - one.fixed))} of that can be reclaimed ({_why(one)})"
            danger = left.get(key)
            reason = danger.reason if danger else f"{_size(step.bound)} is hardly above its usage of {_size(one.usage)}: the next allocations would kill"
            left[key] = _guards.Danger(danger.risk if danger else _guards.BELOW_USE[step.bounds], f"{reason}; {text}")
            continue
        found[key] = step
        left.pop(key, None)
        if one.usage > step.bound:
            said[key] = f"its usage of {_size(one.usage)} is brought below that first, in steps"
    return left, found, said


def inserted(steps: t.Iterable[Step], shrinks: t.Mapping[Key, WriteStep]) -> t.List[Step]:
    """Each right before the step that sets its bound."""
    waiting = dict(shrinks)
    ordered: t.List[Step] = []
    for step in steps:
        ordered += filter(None, [waiting.pop((file.knob, file.subject), None) for file in _bounds([step])])
        ordered.append(step)
    return ordered


def _bounds(steps: t.Iterable[Step]) -> t.Iterator[WriteStep]:
    """The files of cgroups that are lowered to an amount."""
    for step in steps:
        for file in step.files if isinstance(step, PropertyStep) else (step,):
            if isinstance(file, WriteStep) and file.scope == "memcg" and file.knob in _guards.BELOW_USE:
                before, after = (_registry.normalize(_registry.find(file.knob), text) for text in (file.before, file.after))
                if isinstance(after, int) and (before is None or t.cast(int, before) > after):
                    yield file


def _way(file: WriteStep, present: Present) -> t.Optional[WriteStep]:
    """v1: the limit itself, lower and lower. v2: memory.high, which comes back; memory.reclaim leaves nothing behind."""
    bound = t.cast(int, _registry.normalize(_registry.find(file.knob), file.after))
    if present.version == 1:
        return file._replace(bound=bound, bounds=file.knob) if file.knob == "memory.max" else None
    unit = next((unit for units in present.units.values() for unit in units if unit.state.name == file.subject), None)
    held = unit.files.get("memory.high") if unit else None
    if held is None:
        return None
    path = f"{file.path.rpartition('/')[0]}/memory.high"
    return file._replace(knob="memory.high", path=path, before=held.text, after=held.text, bound=bound, bounds=file.knob)


def _planned(cgroup: Cgroup, present: Present) -> Figures:
    free = present.meminfo.get("SwapFree", 0)
    swappiness = cgroup.get("swappiness") if present.version == 1 else (present.host["vm.swappiness"].value if "vm.swappiness" in present.host else None)
    path: t.Optional[str] = cgroup["path"]
    while path and present.version == 2:
        one = present.cgroups.get(path, {})
        limit = one.get("swap_limit")
        free = free if limit is None else max(0, min(free, limit - one.get("swap", 0)))
        path = path.rpartition("/")[0]
    return figures(cgroup["usage"], cgroup.get("stat", {}), swapped=cgroup.get("swap", 0), free_swap=0 if swappiness == 0 else free)


def _why(one: Figures) -> str:
    return f"the rest is in use, and {_size(one.free_swap)} of swap are free for it" if one.free_swap else "the rest is in use, and there is no swap for it"


def room(step: WriteStep) -> int:
    """What has to be free below a bound that kills."""
    return _MIB + step.bound // 100 if step.bounds == "memory.max" else 0


def most(step: WriteStep) -> int:
    """What cannot be reclaimed may come to so much: memory.high lets tasks stand beyond it, but not far (_guards)."""
    return step.bound - room(step) if step.bounds == "memory.max" else step.bound * 10 // 9
