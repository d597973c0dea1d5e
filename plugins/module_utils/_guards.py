# SPDX-License-Identifier: BSD-2-Clause

"""Settings that kill, hang or starve a node: why a value is refused, with the figures. Pure.

The bounds are this project's own judgement (docs/tuning.md); each has a name (_tune_options.RISKS) with which an operator allows it.
"""

from __future__ import annotations

import math
import typing as t

from . import _shares, _wanted
from ._knobs import _registry
from ._knobs._values import KnobValueError, Value
from ._knobs._written import normalize
from ._steps import PropertyStep, Step, WriteStep
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Cgroup, Zone
    from ._knobs._row import Knob

# Read of every node, wanted or not: any of them can make the limit that counts.
OVERCOMMIT = ("vm.overcommit_memory", "vm.overcommit_ratio", "vm.overcommit_kbytes")
_size = _shares.format_size


# Docker takes no less for a container, for what a start itself needs (moby, daemon: linuxMinMemory).
LEAST_TO_START = 6 << 20
# What the kernel calls low enough to deadlock (admin-guide/sysctl/vm).
_LEAST_FREE = 1024
_MOST_SCALE = 400
# The kernel's default (mm/util.c); distributions go higher.
_LEAST_MAPS = 65530
# Four of the chunks that writeback writes at least (fs/fs-writeback.c: MIN_WRITEBACK_PAGES). With less, or than 1 % of a small memory, every writer waits.
_LEAST_DIRTY = 16 << 20
_BOUNDED = ("memory.min", "memory.max", "memory.high")
# The risk of a bound below what is in use, or on what nobody knows.
BELOW_USE = {"memory.max": "limit_below_usage", "memory.high": "high_below_working_set"}
# What bounds the protection of a cgroup: file or property, and where it stands among its figures.
_PROTECTING = {"memory.min": "min", "DefaultMemoryMin": "default_min", "memory.max": "limit"}


class Figures(NamedTuple):
    """What the steps are held against. C(live): host knobs in normal form; C(mount): of the hierarchy that C(cgroups) (by path) are in.

    C(units): {unit: path of its cgroup}, of those that run; C(kernel): its release. C(zones): of memory, in the order of /proc/zoneinfo.
    """

    meminfo: t.Mapping[str, int]
    live: t.Mapping[str, Value]
    cgroups: t.Mapping[str, Cgroup]
    mount: str
    units: t.Mapping[str, str] = {}
    kernel: str = ""
    zones: t.Sequence[Zone] = ()
    page_size: int = 4096


class ToCome(NamedTuple):
    """A property (or memcg file) of a unit that does not run. It holds when the unit starts: C(before), C(after) are what its files say, None nothing."""

    name: str
    unit: str
    before: str | None
    after: str


class Danger(NamedTuple):
    """C(risk) is one of _tune_options.RISKS; C(reason) has the figures."""

    risk: str
    reason: str


class _Change(NamedTuple):
    """A value that will be another one. C(name): the knob that is refused for it; C(note): what goes before the reason.

    C(path): of the cgroup, empty for the host's; C(sets): what of its figures it sets (_PROTECTING), empty for nothing.
    """

    knob: Knob
    before: Value
    after: Value
    name: str
    subject: str
    path: str = ""
    sets: str = ""
    note: str = ""

    @property
    def more(self) -> int:
        return self.after - self.before if isinstance(self.before, int) and isinstance(self.after, int) else 0


def dangers(steps: t.Iterable[Step], figures: Figures, to_come: t.Iterable[ToCome] = ()) -> dict[tuple[str, str], Danger]:
    """{(knob, subject): why it is refused} of all that the steps write, and of what holds later. A property of a unit goes by its kernel file."""
    steps, to_come = list(steps), list(to_come)
    live = _live([write for write, unused, unused_too in _writes(steps)], figures.live)
    cgroups: dict[str, t.Any] = {**figures.cgroups, **_not_there_yet(to_come, figures)}
    changes = [change for change in (*_changes(steps, figures), *_starting(to_come)) if change.before != change.after]
    found = {}
    for change in changes:
        danger = _cgroup_danger(change, cgroups.get(change.path, {})) if change.path else _host_danger(change, figures, live)
        if danger:
            found[change.name, change.subject] = danger._replace(reason=change.note + danger.reason)
    return {**found, **_hugepages(changes, figures.meminfo), **_protection(changes, cgroups, figures.meminfo)}


# The host


def _host_danger(change: _Change, figures: Figures, live: t.Mapping[str, Value]) -> Danger | None:
    """C(live): host knobs by name, with what the plan makes of them. None where a figure is missing that would tell."""
    if change.knob.name == "vm.min_free_kbytes" and isinstance(change.after, int):
        return _min_free(change.more, change.after, figures)
    if change.knob.name == "vm.watermark_scale_factor" and change.more > 0 and isinstance(change.after, int) and change.after > _MOST_SCALE:
        share = 2 * change.after
        of_memory = f" ({_size(figures.meminfo['MemTotal'] * share // 10000)})" if "MemTotal" in figures.meminfo else ""
        text = f"above {_MOST_SCALE}: kswapd would go on until {share / 100:g} % of memory{of_memory} is free beyond the reserve"
        return Danger("watermark_scale_above_400", text)
    if change.knob.name == "vm.max_map_count" and change.more < 0 and t.cast("int", change.after) < _LEAST_MAPS:
        text = f"{change.after} is below the kernel's default of {_LEAST_MAPS}: what maps more cannot start, load a library or get memory, a login included"
        return Danger("max_map_count_below_default", text)
    if change.knob.name == "vm.lowmem_reserve_ratio":
        return _lowmem(change, figures)
    if change.knob.name.startswith("vm.dirty_") and _wanted.rivals(change.knob):
        return _dirty(change, figures.meminfo.get("MemTotal", 0), live)
    if change.knob.name in OVERCOMMIT and live.get("vm.overcommit_memory") == 2:
        return _overcommit(figures.meminfo, live)
    return None


def _min_free(more: int, after: int, figures: Figures) -> Danger | None:
    total = figures.meminfo.get("MemTotal", 0)
    # The kernel's own value can be just below (4.6 % of 1 GiB, measured): only our raising is refused.
    if more > 0 and after * 1024 * 20 > total > 0:
        text = f"{_size(after * 1024)} is more than 5 % of memory ({_size(total)}): too much of it kept free ends in OOM kills"
        return Danger("min_free_above_5_percent", text)
    own = _kernels_own(figures)
    # It leaves out what the high marks keep free: a tenth less can be its own value still.
    if more < 0 and (after < _LEAST_FREE or after * 10 < own * 9):
        why = f"below {_size(_LEAST_FREE * 1024)} reclaim itself can deadlock" if after < _LEAST_FREE else "what may not wait for memory fails"
        text = f"{_size(after * 1024)} is less than 90 % of what the kernel itself keeps free of so much memory ({_size(own * 1024)}): {why}"
        return Danger("min_free_below_kernel_default", text)
    return None


def _kernels_own(figures: Figures) -> int:
    """In kB (mm/page_alloc.c: calculate_min_free_kbytes), of memory that is not highmem."""
    lowmem = figures.meminfo.get("LowTotal") or figures.meminfo.get("MemTotal", 0)
    most = 262144 if _registry.kernel_version(figures.kernel) >= (5, 8) else 65536
    return min(max(math.isqrt(lowmem // 1024 * 16), 128), most)


def _overcommit(meminfo: t.Mapping[str, int], live: t.Mapping[str, Value]) -> Danger | None:
    """CommitLimit = (MemTotal − huge pages) · ratio, or kbytes, + swap (mm/util.c: vm_commit_limit)."""
    committed, total = meminfo.get("Committed_AS"), meminfo.get("MemTotal")
    ratio, kbytes = live.get("vm.overcommit_ratio"), live.get("vm.overcommit_kbytes")
    if committed is None or total is None or not isinstance(ratio, int):
        return None
    base = kbytes * 1024 if isinstance(kbytes, int) and kbytes else (total - meminfo.get("Hugetlb", 0)) * ratio // 100
    limit = base + meminfo.get("SwapTotal", 0)
    if committed <= limit:
        return None
    return Danger("overcommit_below_committed", f"{_size(committed)} are committed and the limit would be {_size(limit)}: the next allocations fail")


def _lowmem(change: _Change, figures: Figures) -> Danger | None:
    """Held against all of memory: of a small zone (DMA) the kernel's own default reserves everything."""
    before, total = t.cast("list[int]", change.before), figures.meminfo.get("MemTotal", 0)
    after = [*t.cast("list[int]", change.after)]
    # Those that are not named stay.
    now, then = (_reserved([*ratios, *before[len(ratios) :]], figures) for ratios in (before, after))
    if then <= now or then * 20 <= total:
        return None
    text = f"{_size(then)} of {_size(total)} would be kept from what can use a higher zone (now {_size(now)}), more than 5 %: it is lost to programs"
    return Danger("lowmem_reserve_above_5_percent", text)


def _reserved(ratios: t.Sequence[int], figures: Figures) -> int:
    """Bytes of all zones: the managed pages of the zones above / ratio (mm/page_alloc.c: setup_per_zone_lowmem_reserve), at most the zone."""
    pages = 0
    for node in {zone["node"] for zone in figures.zones}:
        managed = [zone.get("managed", 0) for zone in figures.zones if zone["node"] == node]
        pages += sum(min(own, sum(managed[index + 1 :]) // ratio) for index, (own, ratio) in enumerate(zip(managed, ratios)) if ratio > 0)
    return pages * figures.page_size


def _dirty(change: _Change, total: int, live: t.Mapping[str, Value]) -> Danger | None:
    """0 is no value while the rival is in force, and a percentage of 0 stops every writer."""
    least, after = min(_LEAST_DIRTY, total // 100), t.cast("int", change.after)
    is_off = not after and any(live.get(rival) for rival in _wanted.rivals(change.knob))
    is_ratio = change.knob.unit == "percent"
    if is_off or (change.before and change.more > 0) or after >= (1 if is_ratio else least):
        return None
    text = f"{after} % " if is_ratio else f"{_size(after)} "
    return Danger("dirty_below_16_mib", f"{text}is below {_size(least)} of dirty pages: who writes would wait for the disk at nearly every page")


def _hugepages(changes: t.Iterable[_Change], meminfo: t.Mapping[str, int]) -> dict[tuple[str, str], Danger]:
    """Of all pools together. vm.nr_hugepages is the pool of the default size; those of the nodes are parts of the one of their size."""
    available = meminfo.get("MemAvailable")
    growing = [change for change in changes if not change.path and change.knob.name.endswith("nr_hugepages") and change.more > 0]
    bytes_of = {change: change.more * (_wanted.unit_bytes(change.knob) or meminfo.get("Hugepagesize", 0)) for change in growing}
    whole: dict[int, int] = {}
    on_nodes: dict[int, int] = {}
    for change, more in bytes_of.items():
        page = more // change.more
        if change.knob.scope == "numa_node":
            on_nodes[page] = on_nodes.get(page, 0) + more
        else:
            whole[page] = max(whole.get(page, 0), more)
    taken = sum(max(whole.get(page, 0), on_nodes.get(page, 0)) for page in {*whole, *on_nodes})
    if available is None or taken <= available * 9 // 10:
        return {}
    found = {}
    for change, more in bytes_of.items():
        all_pools = "" if more == taken else f", all pools {_size(taken)},"
        text = f"{change.more} more huge pages take {_size(more)}{all_pools} of {_size(available)} available memory"
        found[change.name, change.subject] = Danger("hugepages_above_available", text)
    return found


# Cgroups


def _cgroup_danger(change: _Change, cgroup: Cgroup) -> Danger | None:
    """Of a memory file of a cgroup that is in use."""
    file, after, usage = change.knob.name, change.after, cgroup.get("usage")
    if file == "memory.oom_control" and after:
        return Danger("oom_kill_disable", "at the limit its tasks would hang until somebody raises it, instead of being killed")
    if not isinstance(after, int):
        return None
    if usage is None:
        shrinks = file in BELOW_USE and (change.before is None or change.more < 0)
        return Danger(BELOW_USE[file], f"its usage cannot be read, so whether it fits into {_size(after)} is not known") if shrinks else None
    if file == "memory.max" and after < usage:
        return Danger(BELOW_USE[file], f"{_size(after)} is below its usage of {_size(usage)}: the kernel would kill its processes, or (v1) answer EBUSY")
    why = stands_still(after, usage, cgroup.get("stat", {}).get("inactive_file", 0)) if file == "memory.high" else ""
    if why:
        return Danger(BELOW_USE[file], why)
    if file in ("memory.max", "memory.high") and not usage and after < LEAST_TO_START:
        return Danger("limit_too_small_to_start", f"{_size(after)} is less than {_size(LEAST_TO_START)}, without which hardly a program starts")
    return None


def stands_still(high: int, usage: int, inactive_file: int) -> str:
    """Why memory.high is too low for what is in use; empty if it is not."""
    needed = max(0, usage - inactive_file)
    return f"{_size(high)} is below 90 % of its working set of {_size(needed)}: its tasks would stand still in reclaim" if high * 10 < needed * 9 else ""


def _protection(changes: t.Iterable[_Change], cgroups: t.Mapping[str, t.Any], meminfo: t.Mapping[str, int]) -> dict[tuple[str, str], Danger]:
    """Σ memory.min, if it grows above 80 % of memory, or takes what the node could reclaim: all that make it grow are refused."""
    before = {**cgroups}
    after = {**cgroups}
    for change in changes:
        if change.sets and change.path in cgroups:
            # The first of several changes has the value from before.
            before[change.path] = {change.sets: change.before, **before[change.path]}
            after[change.path] = {**after[change.path], change.sets: change.after}
    growing = {path for path in after if _protected([after[path]]) > _protected([before[path]])}
    danger = _too_much(before, after, meminfo.get("MemTotal", 0)) or _nothing_left(before, after, meminfo)
    return {(change.name, change.subject): danger for change in changes if change.sets and change.path in growing} if danger else {}


def _too_much(before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any], total: int) -> Danger | None:
    unbounded, hard = _protected(after.values())
    if (not unbounded and hard * 5 <= total * 4) or (unbounded, hard) <= _protected(before.values()):
        return None
    amount = "without bound" if unbounded else _size(hard)
    return Danger("protection_above_80_percent", f"Σ memory.min would be {amount}, more than 80 % of memory ({_size(total)}): the node could not reclaim")


def _nothing_left(before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any], meminfo: t.Mapping[str, int]) -> Danger | None:
    """MemAvailable counts the page cache that comes under protection."""
    available, total = meminfo.get("MemAvailable"), meminfo.get("MemTotal", 0)
    taken = sum(max(0, _covered_cache(after[path]) - _covered_cache(before[path])) for path in after)
    if available is None or not taken or (available - taken) * 20 >= total:
        return None
    text = f"{_size(taken)} of page cache would come under protection, of {_size(available)} that is available: less than 5 % of memory is left to reclaim"
    return Danger("protection_leaves_nothing", text)


def _covered_cache(cgroup: t.Any) -> int:
    """Page cache that its protection keeps; anonymous memory counts first, so no more than this."""
    unbounded, hard = _protected([cgroup])
    stat, usage = cgroup.get("stat", {}), cgroup.get("usage", 0)
    cache = stat.get("active_file", 0) + stat.get("inactive_file", 0)
    covered = usage if unbounded else min(hard, usage)
    return max(0, t.cast("int", covered - (usage - cache)))


def _protected(cgroups: t.Iterable[t.Any]) -> tuple[int, int]:
    """(how many protect without bound, the bytes of the others), of the top-level cgroups: what lies below is bounded by them, as each is by its limit.

    What a slice hands down by default counts as its own: its children claim it.
    """
    unbounded = hard = 0
    for cgroup in cgroups:
        claims = [cgroup.get(key, 0) for key in ("min", "default_min")] if cgroup.get("parent") == "/" else [0]
        limits = [cgroup["limit"]] if cgroup.get("limit") is not None else []
        bounds = [*([] if None in claims else [max(claims)]), *limits]
        hard += min(bounds, default=0)
        unbounded += not bounds
    return unbounded, hard


# What changes


def _changes(steps: t.Iterable[Step], figures: Figures) -> t.Iterator[_Change]:
    for write, name, note in _writes(steps):
        knob = _registry.find(write.knob)
        before, after = (normalize(knob, text) for text in (write.before, write.after))
        path = write.path[len(figures.mount) :].rpartition("/")[0] if write.scope == "memcg" else ""
        yield _Change(knob, before, after, name, write.subject, path, _PROTECTING.get(knob.name, ""), note)
    for step in (step for step in steps if isinstance(step, PropertyStep)):
        before_of = dict(step.before)
        for name, text in step.properties:
            file = _file(name)
            if file and file.unit_property != name:
                note = "while the node starts and stops: " if name.startswith("Startup") else ""
                values = _value(file, before_of.get(name)), _value(file, text)
                yield _Change(file, *values, name, step.unit, figures.units.get(step.unit, step.unit), _PROTECTING.get(name, ""), note)


def _starting(to_come: t.Iterable[ToCome]) -> t.Iterator[_Change]:
    for one in to_come:
        file = _file(one.name)
        if file:
            values = _value(file, one.before), _value(file, one.after)
            yield _Change(file, *values, one.name, one.unit, f"/{one.unit}", _PROTECTING.get(one.name, ""), "when it starts: ")


def _not_there_yet(to_come: t.Iterable[ToCome], figures: Figures) -> dict[str, t.Any]:
    """The cgroups that units will have, with what their files say now. That of a slice without a dash lies at the top."""
    found: dict[str, t.Any] = {}
    for one in to_come:
        file, path = _file(one.name), f"/{one.unit}"
        if file:
            top = one.unit.endswith(".slice") and "-" not in one.unit
            cgroup = found.setdefault(path, {"path": path, "parent": "/" if top else "", "usage": 0})
            if one.name in _PROTECTING:
                cgroup[_PROTECTING[one.name]] = _value(file, one.before)
    return found


def _file(name: str) -> Knob | None:
    """The guarded memcg file that a property or file of a unit comes to: C(StartupMemoryMax) is memory.max for a while, a child's memory.min the default."""
    knob = _registry.find(name)
    file = _registry.find(knob.v2) if knob.scope == "unit" and knob.v2 else knob
    return file if file.name in _BOUNDED else None


def _value(file: Knob, text: str | None) -> Value:
    """Of a property; what is set nowhere, or as a share, is what a cgroup begins with."""
    try:
        return normalize(file, text) if text else 0 if file.name == "memory.min" else None
    except KnobValueError:
        return 0 if file.name == "memory.min" else None


def _writes(steps: t.Iterable[Step]) -> t.Iterator[tuple[WriteStep, str, str]]:
    """(kernel file, the knob that is refused for it, what goes before the reason)"""
    for step in steps:
        if isinstance(step, WriteStep):
            yield step, step.knob, ""
        elif isinstance(step, PropertyStep):
            yield from ((file, file.knob, "") for file in step.files)
            name = step.files[0].knob if step.files else step.properties[0][0]
            yield from ((file, name, f"systemd brings {file.knob} back from {file.before}, which somebody wrote by hand: ") for file in step.besides)


def _live(writes: t.Iterable[WriteStep], live: t.Mapping[str, Value]) -> dict[str, Value]:
    """Host knobs as the writes leave them."""
    steps = [write for write in writes if write.scope != "memcg"]
    switched_off = [rival for step in steps if step.before != step.after for rival in _wanted.rivals(_registry.find(step.knob))]
    # A rival that has a step of its own holds what that says: it is written last, if need be.
    return {**live, **dict.fromkeys(switched_off, 0), **{step.knob: normalize(_registry.find(step.knob), step.after) for step in steps}}
