# Copyright (c) 2026, memqos.fleet contributors. Private to the collection.
# SPDX-License-Identifier: BSD-2-Clause

"""Settings that kill, hang or starve a node: why a value is refused, with the figures. Pure.

The bounds are this project's own judgement (docs/tuning.md); each has a name (_tune_options.RISKS) with which an operator allows it.
"""

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _shares, _wanted
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._knobs._values import Value, normalize
from ansible_collections.memqos.fleet.plugins.module_utils._steps import PropertyStep, Step, WriteStep

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.plugin_utils._shapes import Cgroup

# Read of every node, wanted or not: any of them can make the limit that counts.
OVERCOMMIT = ("vm.overcommit_memory", "vm.overcommit_ratio", "vm.overcommit_kbytes")
_size = _shares.format_size


class Figures(t.NamedTuple):
    """What the steps are held against. C(live): host knobs in normal form; C(mount): of the hierarchy that C(cgroups) (by path) are in."""

    meminfo: t.Mapping[str, int]
    live: t.Mapping[str, Value]
    cgroups: t.Mapping[str, Cgroup]
    mount: str


class Danger(t.NamedTuple):
    """C(risk) is one of _tune_options.RISKS; C(reason) has the figures."""

    risk: str
    reason: str


def host_danger(knob: str, before: Value, after: Value, *, meminfo: t.Mapping[str, int], live: t.Mapping[str, Value]) -> Danger | None:
    """C(live): host knobs by name, with what the plan makes of them. None where a figure is missing that would tell."""
    total = meminfo.get("MemTotal", 0)
    # The kernel's own value can be just below (4.6 % of 1 GiB, measured): only our raising is refused.
    if knob == "vm.min_free_kbytes" and isinstance(before, int) and isinstance(after, int) and after > before and after * 1024 * 20 > total > 0:
        text = f"{_size(after * 1024)} is more than 5 % of memory ({_size(total)}): too much of it kept free ends in OOM kills"
        return Danger("min_free_above_5_percent", text)
    if knob in OVERCOMMIT and live.get("vm.overcommit_memory") == 2:
        return _overcommit(meminfo, live)
    if knob.endswith("nr_hugepages") and isinstance(before, int) and isinstance(after, int) and after > before:
        return _hugepages(knob, after - before, meminfo)
    return None


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


def _hugepages(knob: str, more: int, meminfo: t.Mapping[str, int]) -> Danger | None:
    page = _wanted.unit_bytes(_registry.find(knob)) or meminfo.get("Hugepagesize", 0)
    available = meminfo.get("MemAvailable")
    if available is None or more * page <= available * 9 // 10:
        return None
    return Danger("hugepages_above_available", f"{more} more huge pages take {_size(more * page)} of {_size(available)} available memory")


def cgroup_danger(file: str, after: Value, cgroup: Cgroup) -> Danger | None:
    """Of a memory file (v2's name) of a cgroup that is in use. C(after) None is no limit."""
    usage = cgroup.get("usage")
    if file == "memory.oom_control" and after:
        return Danger("oom_kill_disable", "at the limit its tasks would hang until somebody raises it, instead of being killed")
    if usage is None or not isinstance(after, int):
        return None
    if file == "memory.max" and after < usage:
        return Danger("limit_below_usage", f"{_size(after)} is below its usage of {_size(usage)}: the kernel would kill its processes, or (v1) answer EBUSY")
    needed = max(0, usage - cgroup.get("stat", {}).get("inactive_file", 0))
    if file == "memory.high" and after * 10 < needed * 9:
        return Danger("high_below_working_set", f"{_size(after)} is below 90 % of its working set of {_size(needed)}: its tasks would stand still in reclaim")
    return None


def protection_danger(before: t.Mapping[str, Cgroup], after: t.Mapping[str, Cgroup], total: int) -> Danger | None:
    """Of cgroups by path: Σ memory.min, if it grows above 80 % of memory."""
    hard = _protected(after)
    if hard * 5 <= total * 4 or hard <= _protected(before):
        return None
    return Danger("protection_above_80_percent", f"Σ memory.min would be {_size(hard)}, more than 80 % of memory ({_size(total)}): the node could not reclaim")


def _protected(cgroups: t.Mapping[str, Cgroup]) -> int:
    """Of the top-level cgroups: what lies below is bounded by them. C(max) counts as the usage."""
    total = 0
    for cgroup in cgroups.values():
        value = cgroup.get("min", 0) if cgroup.get("parent") == "/" else 0
        total += cgroup.get("usage", 0) if value is None else value
    return total


def dangers(steps: t.Iterable[Step], figures: Figures) -> dict[tuple[str, str], Danger]:
    """{(knob, subject): why it is refused} of all that the steps write. A property of a unit goes by its kernel file."""
    writes = list(_writes(steps))
    live = _live(writes, figures.live)
    found: dict[tuple[str, str], Danger] = {}
    changed: dict[str, Cgroup] = {}
    protecting: list[tuple[str, str]] = []
    for write, name, note in writes:
        knob = _registry.find(write.knob)
        before, after = (normalize(knob, text) for text in (write.before, write.after))
        path = write.path[len(figures.mount) :].rpartition("/")[0]
        cgroup = figures.cgroups.get(path, {}) if write.scope == "memcg" else {}
        if after == before:
            continue
        danger = cgroup_danger(knob.name, after, cgroup) or host_danger(knob.name, before, after, meminfo=figures.meminfo, live=live)
        if danger:
            found[name, write.subject] = danger._replace(reason=note + danger.reason)
        if cgroup and knob.name == "memory.min":
            changed[path] = {**cgroup, "min": after}  # type: ignore[typeddict-item]
            protecting.append((name, write.subject))
    hard = protection_danger(figures.cgroups, {**figures.cgroups, **changed}, figures.meminfo.get("MemTotal", 0))
    return {**found, **(dict.fromkeys(protecting, hard) if hard else {})}


def _writes(steps: t.Iterable[Step]) -> t.Iterator[tuple[WriteStep, str, str]]:
    """(kernel file, the knob that is refused for it, what goes before the reason)"""
    for step in steps:
        if isinstance(step, WriteStep):
            yield step, step.knob, ""
        elif isinstance(step, PropertyStep):
            yield from ((file, file.knob, "") for file in step.files)
            name = step.files[0].knob if step.files else step.properties[0][0]
            yield from ((file, name, f"systemd brings {file.knob} back from {file.before}, which somebody wrote by hand: ") for file in step.besides)


def _live(writes: t.Iterable[tuple[WriteStep, str, str]], live: t.Mapping[str, Value]) -> dict[str, Value]:
    """Host knobs as the writes leave them."""
    steps = [write for write, unused, unused_too in writes if write.scope != "memcg"]
    switched_off = [rival for step in steps if step.before != step.after for rival in _wanted.rivals(_registry.find(step.knob))]
    # A rival that has a step of its own holds what that says: it is written last, if need be.
    return {**live, **dict.fromkeys(switched_off, 0), **{step.knob: normalize(_registry.find(step.knob), step.after) for step in steps}}
