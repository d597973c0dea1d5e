# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of each flavour, a row each, and what is documented of it: hold these against the vendors' pages.

Sources: Alibaba Cloud Linux (memcg backend asynchronous reclaim, global minimum watermark rating, page cache limit, THP reclaim), the Anolis
kernel's Documentation/alibaba/interfaces.rst, vm/kidled.rst and vm/coldpgs.rst and its mm/pre_oom.c, openEuler's feature introduction of Rubik and
OLK-6.6's changelog, OpenCloudOS's mm/memcontrol.c, and for mainline files admin-guide/cgroup-v1/memory and cgroup-v2.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import typing as t

from . import parsing
from .model import EVENTS, IDLE_KINDS, LATENCIES, Group, Kernel, Value
from .parsing import refused

Show = t.Callable[[Kernel, Group, "File"], str]
Take = t.Callable[[Kernel, Group, "File", str], None]


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a cgroup. C(says) is what is documented; without C(take) it is read-only, without C(show) write-only."""

    name: str
    says: str
    show: Show | None = None
    take: Take | None = None
    default: Value = None
    inherited: bool = False
    on_root: bool = False
    only_root: bool = False


@dataclasses.dataclass(frozen=True)
class Switch:
    """A file of the host. C(then) is what follows from a write, C(more) what it reads besides the value written."""

    path: str
    says: str
    lowest: int = 0
    highest: int | None = 1
    default: int = 0
    write_only: bool = False
    then: t.Callable[[Kernel, int], None] | None = None
    more: t.Callable[[Kernel], int] | None = None

    def parse(self, text: str) -> int:
        return parsing.number(text, self.lowest, self.highest)


@dataclasses.dataclass(frozen=True)
class Flavour:
    """C(events): the counters of memory.events; C(stat): those of memory.stat."""

    name: str
    says: str
    version: int
    release: str
    files: tuple[File, ...]
    switches: tuple[Switch, ...]
    stat: tuple[str, ...]
    events: tuple[str, ...] = EVENTS

    @property
    def mount(self) -> str:
        return "/sys/fs/cgroup/memory" if self.version == 1 else "/sys/fs/cgroup"


# Kinds of files


def _shown(kernel: Kernel, group: Group, file: File) -> str:
    return f"{group.values[file.name]}\n"


def _pairs(values: t.Mapping[str, int]) -> str:
    return "".join(f"{key} {value}\n" for key, value in values.items())


def number(name: str, lowest: int, highest: int | None, says: str, *, default: int = 0, **more: t.Any) -> File:
    """A number, EINVAL outside of its range."""

    def take(kernel: Kernel, group: Group, file: File, text: str) -> None:
        group.values[name] = parsing.number(text, lowest, highest)

    return File(name, says, **{"show": _shown, "take": take, "default": default, **more})


def amount(name: str, says: str, *, default: int | None = 0, then: t.Callable[[Kernel, Group], None] | None = None, **more: t.Any) -> File:
    """Bytes or "max", in whole pages."""

    def show(kernel: Kernel, group: Group, file: File) -> str:
        value = group.values[name]
        return "max\n" if value is None else f"{value}\n"

    def take(kernel: Kernel, group: Group, file: File, text: str) -> None:
        group.values[name] = parsing.size(text, unlimited="max", page=kernel.page)
        if then:
            then(kernel, group)

    return File(name, says, **{"show": show, "take": take, "default": default, **more})


def word(name: str, choices: t.Sequence[str], says: str) -> File:
    """The first is the default; others are EINVAL."""

    def take(kernel: Kernel, group: Group, file: File, text: str) -> None:
        if text.strip() not in choices:
            raise refused(errno.EINVAL)
        group.values[name] = text.strip()

    return File(name, says, show=_shown, take=take, default=choices[0])


def computed(name: str, value: t.Callable[[Kernel, Group], t.Any], says: str, **more: t.Any) -> File:
    """Read-only."""

    def show(kernel: Kernel, group: Group, file: File) -> str:
        found = value(kernel, group)
        return found if isinstance(found, str) else "max\n" if found is None else f"{found}\n"

    return File(name, says, show=show, **more)


# Mainline, as far as others lean on it


def _v1_limit(name: str, says: str, check: t.Callable[[Group, int | None], None]) -> File:
    def show(kernel: Kernel, group: Group, file: File) -> str:
        value = group.values[name]
        return f"{kernel.unlimited if value is None else value}\n"

    def take(kernel: Kernel, group: Group, file: File, text: str) -> None:
        value = parsing.size(text, unlimited="-1", page=kernel.page)
        if group.parent is None:
            raise refused(errno.EINVAL)
        check(group, value)
        group.values[name] = value

    return File(name, says, show=show, take=take, on_root=True)


def _check_limit(group: Group, value: int | None) -> None:
    if _exceeds(value, group.values[_MEMSW]):
        raise refused(errno.EINVAL)
    if value is not None and group.usage > value:
        group.reclaim(group.usage - value)
        if group.usage > value:
            raise refused(errno.EBUSY)


def _check_memsw(group: Group, value: int | None) -> None:
    if _exceeds(group.values[_LIMIT], value):
        raise refused(errno.EINVAL)


def _unchecked(group: Group, value: int | None) -> None:
    """Any."""


def _exceeds(value: int | None, bound: int | None) -> bool:
    return bound is not None and (value is None or value > bound)


def _reclaim_to_high(kernel: Kernel, group: Group) -> None:
    if group.high is not None and group.usage > group.high:
        group.reclaim(group.usage - group.high)


def _reclaim_or_kill(kernel: Kernel, group: Group) -> None:
    if group.limit is not None and group.usage > group.limit:
        group.reclaim(group.usage - group.limit)
        group.events["max"] += 1
        while group.usage > group.limit:
            group.events["oom"] += 1
            if not kernel.kill(group.path):
                break


def _reclaimed(kernel: Kernel, group: Group, file: File, text: str) -> None:
    if not text.strip():
        raise refused(errno.EINVAL)
    wanted = parsing.size(text, unlimited="", page=kernel.page) or 0
    if group.reclaim(wanted) < wanted:
        raise refused(errno.EAGAIN)


def _emptied(kernel: Kernel, group: Group, file: File, text: str) -> None:
    if group.parent is None or group.children:
        raise refused(errno.EINVAL if group.parent is None else errno.EBUSY)
    group.reclaim(group.usage)


def _v1_stat(kernel: Kernel, group: Group) -> str:
    limits = [above.limit for above in group.to_root() if above.limit is not None]
    return f"{_pairs(group.stat)}hierarchical_memory_limit {min(limits, default=kernel.unlimited)}\n" + _pairs({f"total_{k}": v for k, v in group.stat.items()})


def _v1_numa_stat(kernel: Kernel, group: Group) -> str:
    file = group.page_cache
    pages = {"total": group.usage, "file": file, "anon": max(0, group.usage - file), "unevictable": group.stat.get("unevictable", 0)}
    return "".join(f"{prefix}{key}={value // kernel.page} N0={value // kernel.page}\n" for prefix in ("", "hierarchical_") for key, value in pages.items())


def _oom_control(kernel: Kernel, group: Group, file: File, text: str) -> None:
    if group.parent is None:
        raise refused(errno.EINVAL)
    group.values[file.name] = parsing.number(text, 0, 1)


def _moved(kernel: Kernel, group: Group, file: File, text: str) -> None:
    pid = parsing.number(text, 0, 2**31 - 1)
    holder = next((other for other in (kernel.root, *kernel.root.below()) if pid in other.procs), None)
    if holder is None:
        raise refused(errno.ESRCH)
    if kernel.flavour.version == 2 and group.parent is not None and group.values["cgroup.subtree_control"]:
        raise refused(errno.EBUSY)
    holder.procs.remove(pid)
    group.procs.append(pid)


_PROCS = File("cgroup.procs", "the processes; a write moves one; ESRCH for none; v2: EBUSY where controllers are enabled for children", on_root=True,
              take=_moved, show=lambda kernel, group, file: "".join(f"{pid}\n" for pid in sorted(group.procs)))  # fmt: skip


def _subtree_control(kernel: Kernel, group: Group, file: File, text: str) -> None:
    for word in text.split():
        if word[0] not in "+-" or word[1:] not in _controllers(group):
            raise refused(errno.EINVAL if word[0] not in "+-" or word[1:] != "memory" else errno.ENOENT)
    enabled = set(group.values[file.name])
    enabled |= {word[1:] for word in text.split() if word[0] == "+"}
    enabled -= {word[1:] for word in text.split() if word[0] == "-"}
    if enabled and group.parent is not None and group.procs:
        raise refused(errno.EBUSY)
    if any(set(child.values[file.name]) - enabled for child in group.children.values()):
        raise refused(errno.EBUSY)
    group.values[file.name] = sorted(enabled)


def _controllers(group: Group) -> list[str]:
    return ["memory"] if group.parent is None else t.cast("list[str]", group.parent.values["cgroup.subtree_control"])


def _events(kernel: Kernel, group: Group) -> str:
    return _pairs(group.events)


_EVENT_FILES = tuple(
    computed(name, _events, "counts of low, high, max, oom, oom_kill, and a vendor's; oom_group_kill in 6.1, not in 5.15")
    for name in ("memory.events", "memory.events.local")
)
_PROTECTION = (
    amount("memory.min", "bytes or max, default 0, in whole pages"),
    amount("memory.low", "bytes or max, default 0, in whole pages"),
    amount("memory.high", "bytes or max, default max; the writer reclaims", default=None, then=_reclaim_to_high),
)
_OOM_GROUP = number("memory.oom.group", 0, 1, "0/1, default 0: all of the cgroup is killed at once")
_LIMIT, _MEMSW = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"


def _v1(*, most_swappiness: int) -> tuple[File, ...]:
    return (
        computed("memory.usage_in_bytes", lambda kernel, group: group.usage, "bytes", on_root=True),
        computed("memory.max_usage_in_bytes", lambda kernel, group: group.peak, "bytes", on_root=True),
        _v1_limit(_LIMIT, "-1 is none; reclaims, EBUSY if usage stays above; EINVAL above memsw.limit, and on the root", _check_limit),
        _v1_limit(_MEMSW, "EINVAL below limit_in_bytes", _check_memsw),
        _v1_limit("memory.soft_limit_in_bytes", "-1 is none", _unchecked),
        computed("memory.memsw.usage_in_bytes", lambda kernel, group: group.usage + group.stat.get("swap", 0), "bytes", on_root=True),
        computed("memory.failcnt", lambda kernel, group: group.failcnt, "how often usage hit the limit", on_root=True),
        computed("memory.stat", _v1_stat, "the cgroup's own figures and total_ ones", on_root=True),
        computed("memory.numa_stat", _v1_numa_stat, "pages by node, the cgroup's own and hierarchical_ ones", on_root=True),
        computed("memory.kmem.usage_in_bytes", lambda kernel, group: group.stat.get("kernel", 0), "bytes", on_root=True),
        computed("memory.kmem.tcp.usage_in_bytes", lambda kernel, group: group.stat.get("sock", 0), "bytes", on_root=True),
        number("memory.swappiness", 0, most_swappiness, "0..100, before 5.15; children inherit it", default=60, inherited=True, on_root=True),
        File("memory.oom_control", "0/1, EINVAL on the root; children inherit it", default=0, inherited=True, on_root=True, take=_oom_control,
             show=lambda kernel, group, file: f"oom_kill_disable {group.values[file.name]}\nunder_oom 0\noom_kill {group.events['oom_kill']}\n"),
        number("memory.use_hierarchy", 1, 1, "only 1 is accepted, from 5.15 on; what an older kernel takes is unverified", default=1, on_root=True),
        File("memory.force_empty", "reclaims what it can; EINVAL on the root, EBUSY with children", take=_emptied, on_root=True),
        File("release_agent", "on the root only", show=lambda kernel, group, file: "\n", on_root=True, only_root=True),
        File("tasks", "the threads", show=_PROCS.show, on_root=True),
        _PROCS,
    )  # fmt: skip


def _v2_stat(kernel: Kernel, group: Group) -> str:
    return _pairs(group.stat)


_SWAP_EVENTS = computed("memory.swap.events", lambda kernel, group: "high 0\nmax 0\nfail 0\n", "counts")
_V2 = (
    computed("cgroup.controllers", lambda kernel, group: " ".join(_controllers(group)) + "\n", "what the cgroup above enabled", on_root=True),
    File("cgroup.subtree_control", "+memory, -memory; EBUSY with processes, or with children that have it enabled", default=[], on_root=True,
         take=_subtree_control, show=lambda kernel, group, file: " ".join(group.values[file.name]) + "\n"),
    computed("cgroup.stat", lambda kernel, group: f"nr_descendants {sum(1 for unused in group.below())}\nnr_dying_descendants 0\n", "counts", on_root=True),
    computed("cgroup.events", lambda kernel, group: f"populated {int(any(one.procs for one in (group, *group.below())))}\nfrozen 0\n", "counts"),
    _PROCS,
    computed("memory.stat", _v2_stat, "hierarchical figures", on_root=True),
    computed("memory.current", lambda kernel, group: group.usage, "bytes"),
    *_PROTECTION,
    amount("memory.max", "bytes or max; reclaims, then kills", default=None, then=_reclaim_or_kill),
    _OOM_GROUP,
    *_EVENT_FILES,
    computed("memory.swap.current", lambda kernel, group: group.stat.get("swap", 0), "bytes"),
    amount("memory.swap.max", "bytes or max", default=None),
    _SWAP_EVENTS,
    computed("memory.pressure", lambda kernel, group: "".join(f"{kind} avg10=0.00 avg60=0.00 avg300=0.00 total=0\n" for kind in ("some", "full")), "averages"),
)  # fmt: skip


def _v2_numa_stat(kernel: Kernel, group: Group) -> str:
    return "".join(f"{key} N0={value}\n" for key, value in group.stat.items() if key not in _OF_NO_NODE)


def _killed(kernel: Kernel, group: Group, file: File, text: str) -> None:
    if parsing.number(text, -(2**31), 2**31 - 1) != 1:
        raise refused(errno.ERANGE)
    for one in (group, *group.below()):
        one.procs = []


_OF_NO_NODE = ("percpu", "sock", "pgfault", "pgmajfault", "pgscan_direct")
_KILL = File("cgroup.kill", "1 kills all below, ERANGE for other numbers; write-only", take=_killed)
_RECLAIM = File("memory.reclaim", "bytes; EAGAIN if less was reclaimed; EINVAL for a word behind it, before 6.12", take=_reclaimed)
_V2_5_10 = (
    computed("memory.numa_stat", _v2_numa_stat, "memory.stat by node; in 5.10, not in 5.4", on_root=True),
    amount("memory.swap.high", "bytes or max, default max; since 5.8", default=None),
)
_V2_6_1 = (
    computed("memory.peak", lambda kernel, group: group.peak, "bytes; in 5.19, not in 5.15; writable from 6.12 on"),
    _RECLAIM,
    computed("memory.zswap.current", lambda kernel, group: group.stat.get("zswap", 0), "bytes; in 5.19, not in 5.15"),
    amount("memory.zswap.max", "bytes or max, default max", default=None),
    number("cgroup.pressure", 0, 1, "0/1, default 1; in 6.1, not in 5.19", default=1),
    _KILL,
)

# Anolis and Alibaba Cloud Linux


def _take_page_cache_limit(kernel: Kernel, group: Group, file: File, text: str) -> None:
    value = parsing.size(text, unlimited="", page=kernel.page) or 0
    group.values[file.name] = value if group.limit is None else min(value, group.limit)


def _take_reap(kernel: Kernel, group: Group, file: File, text: str) -> None:
    value = parsing.number(text, 0, 1)
    for one in (group, *group.below()):
        one.values[file.name] = value


def _take_pre_oom(kernel: Kernel, group: Group, file: File, text: str) -> None:
    value = parsing.number(text, 0, 1)
    if value != group.values[file.name] and group.reclaiming:
        raise refused(errno.EPERM)
    group.values[file.name] = value


def _take_nodes(kernel: Kernel, group: Group, file: File, text: str) -> None:
    group.values[file.name] = parsing.nodes(text)


def _show_nodes(kernel: Kernel, group: Group, file: File) -> str:
    return f"{parsing.node_list(group.values[file.name])}\n"


def _take_latency(kernel: Kernel, group: Group, file: File, text: str) -> None:
    parsing.number(text, 0, 0)
    group.latency.pop(file.name, None)


def _show_latency(kernel: Kernel, group: Group, file: File) -> str:
    counts = group.latency.get(file.name, {})
    rows = [f"{row}ms: \t{counts.get(row, 0)}\n" for row in LATENCIES]
    return "".join(rows) + f"total(ms): \t{counts.get('total', 0)}\n"


def _take_buckets(kernel: Kernel, group: Group, file: File, text: str) -> None:
    group.values["memory.idle_page_stats"] = parsing.buckets(text)
    group.idle, group.scans = {}, 0


def _show_idle(kernel: Kernel, group: Group, file: File) -> str:
    buckets = group.values["memory.idle_page_stats"]
    period = kernel.values["/sys/kernel/mm/kidled/scan_period_in_seconds"]
    head = f"# version: 1.0\n# page_scans: {group.scans}\n# slab_scans: 0\n# scan_period_in_seconds: {period}\n"
    if not buckets:
        return head + "# buckets: no valid bucket available\n"
    ends = [*map(str, buckets[1:]), "+inf"]
    columns = "".join(f"{f'[{begin},{end})':>15}" for begin, end in zip(buckets, ends))
    rows = "".join(f"  {kind}{''.join(f'{value:>15}' for value in _filled(group.idle.get(kind, []), len(buckets)))}\n" for kind in (*IDLE_KINDS, "slab"))
    legend = "#\n#   _-----=> clean/dirty\n#  / _----=> swap/file\n# | / _---=> evict/unevict\n# || / _--=> inactive/active\n# ||| / _-=> slab\n# |||| /\n"
    return f"{head}# buckets: {','.join(map(str, buckets))}\n{legend}# |||||{columns}\n{rows}"


def _filled(values: t.Sequence[int], width: int) -> list[int]:
    return [*values, *[0] * width][:width]


def _exstat(kernel: Kernel, group: Group) -> str:
    return _pairs({name: group.exstat.get(name, 0) for name in EXSTAT})


def _forget_idle(kernel: Kernel, period: int) -> None:
    for group in (kernel.root, *kernel.root.below()):
        group.idle, group.scans = {}, 0


def _reaped_in_cgroups(kernel: Kernel) -> int:
    return 2 if any(group.get("memory.reap_background") for group in kernel.root.below()) else 0


EXSTAT = ("wmark_min_throttled_ms", "wmark_reclaim_work_ms", "pagecache_limit_reclaimed_kb")
_LATENCY_FILES = tuple(
    File(f"memory.direct_{what}_latency", "counts by milliseconds and a total; writing 0 clears, other values are EINVAL; on v1's root, too",
         show=_show_latency, take=_take_latency, on_root=True)
    for what in ("reclaim_global", "reclaim_memcg", "compact", "swapout_global", "swapout_memcg", "swapin")
)  # fmt: skip
_ANOLIS = (
    number("memory.wmark_ratio", 0, 100, "0..100 % of min(high, limit), default 0 = off; a child begins with its parent's", inherited=True),
    number("memory.wmark_scale_factor", 1, 1000, "1..1000 ten thousandths of min(high, limit), default 50; a child begins with its parent's",
           default=50, inherited=True),
    computed("memory.wmark_high", lambda kernel, group: group.wmark_high(kernel.page), "read-only: base × ratio / 100, max while the ratio is 0"),
    computed("memory.wmark_low", lambda kernel, group: group.wmark_low(kernel.page), "read-only: wmark_high − base × scale / 10000"),
    number("memory.wmark_min_adj", -25, 50, "-25..50, default 0, a child begins with its parent's; reads the highest on the way up, zeros above left out",
           inherited=True, show=lambda kernel, group, file: f"{group.wmark_min_eadj}\n"),
    number("memory.priority", 0, 12, "0..12, default 0: of siblings the lowest is killed first"),
    number("memory.use_priority_oom", 0, 1, "0/1, default 0: on the parent of those that are ranked"),
    number("memory.pagecache_limit.enable", 0, 1, "0/1, default 0; without effect while the host's switch is off"),
    File("memory.pagecache_limit.size", "bytes with K, M, G, clamped to the limit, 0 is none; counts active_file and inactive_file, of ancestors, too",
         show=_shown, take=_take_page_cache_limit, default=0),
    number("memory.pagecache_limit.sync", 0, 1, "0/1, default 0"),
    number("memory.pre_oom", 0, 1, "0/1, default 0; EPERM if it is switched while tasks reclaim", take=_take_pre_oom),
    number("memory.allow_duptext", 0, 1, "0/1, default 0"),
    number("memory.allow_duptext_refresh", 0, 1, "0/1, default 0"),
    File("memory.duptext_nodes", "a list of nodes (default 0, EINVAL and ERANGE are unverified)", default=[0], take=_take_nodes, show=_show_nodes),
    number("memory.allow_text_unevictable", 0, 1, "0/1, default 0"),
    number("memory.text_unevictable_percent", 0, 100, "0..100 (default 100 is unverified)", default=100),
    word("memory.thp_reclaim", ("disable", "reclaim", "swap"), "disable, reclaim or swap, default disable (that it reads as one word is unverified)"),
    number("memory.reap_background", 0, 1, "0/1, default 0, spreads to children", take=_take_reap, inherited=True),
    computed("memory.exstat", _exstat, "read-only: wmark_min_throttled_ms, wmark_reclaim_work_ms, pagecache_limit_reclaimed_kb"),
    *(File(name, "at most 8 rising numbers up to 255: more are E2BIG, others EINVAL; none: not accounted; a write clears; children begin with their parent's",
           show=_show_idle, take=_take_buckets, default=parsing.DEFAULT_BUCKETS, inherited=True, on_root=True)
      for name in ("memory.idle_page_stats", "memory.idle_page_stats.local")),
    *_LATENCY_FILES,
)  # fmt: skip
_ANOLIS_V1 = (
    *_PROTECTION,
    *_EVENT_FILES,
    _OOM_GROUP,
    number("memory.use_priority_swap", 0, 1, "0/1, default 0"),
    number("memory.async_fork", 0, 1, "0/1, default 0"),
    amount("memory.swap.high", "bytes or max, default max; with memsw accounting", default=None),
    _SWAP_EVENTS,
)
_MM = "/sys/kernel/mm/"
_ANOLIS_SWITCHES = (
    Switch(_MM + "pagecache_limit/enabled", "0/1: nothing limits page cache before"),
    Switch(_MM + "kidled/scan_period_in_seconds", "0 = off; a write clears all statistics", highest=None, then=_forget_idle),
    Switch(_MM + "kidled/use_hierarchy", "0/1"),
    Switch(_MM + "memcg_reaper/scan_interval", "seconds, default 5 (that 0 is EINVAL is unverified)", lowest=1, highest=None, default=5),
    Switch(_MM + "memcg_reaper/pages_scan", "pages, default 1310720", highest=2**32 - 1, default=1310720),
    Switch(_MM + "memcg_reaper/verbose", "0/1"),
    Switch(_MM + "memcg_reaper/reap_background", "0/1, default 0; reads 2 more while a cgroup's own is on", more=_reaped_in_cgroups),
    Switch(_MM + "memcg_reaper/reap", "1 reaps once", lowest=1, write_only=True),
    Switch(_MM + "coldpgs/batch", "pages, default 32 (that 0 is EINVAL is unverified)", lowest=1, highest=None, default=32),
    Switch(_MM + "coldpgs/mode", "1 page cache, 2 anonymous memory (default 0, and that more bits are EINVAL, are unverified)", highest=3),
    Switch(_MM + "pre_oom/enabled", "0/1"),
    Switch(_MM + "pre_oom/level", "0..3", highest=3),
    Switch("/proc/sys/vm/enable_context_readahead", "0/1, default 1", default=1),
    Switch("/proc/sys/vm/enable_brk_thp_aligned", "0/1, default 0"),
    Switch("/proc/sys/vm/penalty_extra_delay_jiffies", "jiffies", highest=None),
)

# openEuler

_OPENEULER = (
    *_PROTECTION,
    *_EVENT_FILES,
    number("memory.qos_level", -1, 0, "0 online, -1 offline, default 0; others EINVAL (unverified); without effect while vm.memcg_qos_enable is 0"),
    number("memory.high_async_ratio", 0, 99, "% of memory.high where reclaim begins; it ends 10 points lower; 0 is off (that 100 is EINVAL is unverified)"),
    amount("memory.swap.max", "bytes or max", default=None),
    _RECLAIM,
    _KILL,
)
_OPENEULER_SWITCHES = (Switch("/proc/sys/vm/memcg_qos_enable", "0/1, default 0"),)

# OpenCloudOS, TencentOS

_TENCENT = (
    number("memory.pagecache.reclaim_ratio", 0, 100, "% of the limit, default 5 (that it is the least that is reclaimed at once is unverified)", default=5),
    number("memory.pagecache.max_ratio", 0, 100, "% of the limit that page cache may have, default 100; above it pagecache_max counts", default=100),
    computed("memory.pagecache.current", lambda kernel, group: group.page_cache, "read-only: bytes of page cache"),
)

_TENCENT_EVENTS = (*EVENTS, "pagecache_max", "pagecache_oom")

# What the pages name and no flavour has, and why.
LEFT_OUT = {
    name: why
    for why, names in {
        "no source tells its format or range": (
            "memory.thp_control memory.thp_reclaim_stat memory.thp_reclaim_ctrl memory.reclaim_caches memory.pgtable_bind memory.pgtable_misplaced "
            "memory.mglru_batch_size memory.mglru_reclaim_kbytes memory.coldpgs.flags memory.coldpgs.threshold memory.coldpgs.size memory.coldpgs.stats "
            "memory.coldpgs.swapin /sys/kernel/mm/coldpgs/version /sys/kernel/mm/coldpgs/flags /sys/kernel/mm/coldpgs/hierarchy "
            "/sys/kernel/mm/coldpgs/threshold /sys/kernel/mm/coldpgs/threshold_nonrot /sys/kernel/mm/coldpgs/swapin unevictable_text_size_kb "
            "memory.ksm memory.swapfile memory.force_swapin memory.flag_stat memory.wb_blkio_ino "
            "memory.meminfo memory.meminfo_recursive memory.vmstat memory.bind_blkio memory.sli memory.sli_max"
        ),
        "in no tree that was read": "memory.pgtrace",
        "later than Linux 6.1": "memory.swap.peak memory.zswap.writeback",
        "of cgroup v1 as the machines of the lab have it": (
            "cgroup.event_control memory.move_charge_at_immigrate memory.pressure_level memory.kmem.limit_in_bytes memory.kmem.failcnt "
            "memory.kmem.max_usage_in_bytes memory.kmem.slabinfo memory.kmem.tcp.limit_in_bytes memory.kmem.tcp.failcnt memory.kmem.tcp.max_usage_in_bytes "
            "memory.memsw.max_usage_in_bytes memory.memsw.failcnt"
        ),
    }.items()
    for name in names.split()
}

_V1_STAT = tuple("cache rss rss_huge shmem mapped_file dirty writeback workingset_refault_anon workingset_refault_file swap pgpgin pgpgout pgfault pgmajfault "
                 "inactive_anon active_anon inactive_file active_file unevictable".split())  # fmt: skip
_V2_STAT = tuple("anon file kernel_stack percpu sock shmem file_mapped file_dirty file_writeback anon_thp inactive_anon active_anon inactive_file active_file "
                 "unevictable slab_reclaimable slab_unreclaimable workingset_refault_anon workingset_refault_file pgfault pgmajfault "
                 "pgscan_direct".split())  # fmt: skip
_flavour_v1 = functools.partial(Flavour, version=1, stat=_V1_STAT)
_flavour_v2 = functools.partial(Flavour, version=2, stat=_V2_STAT)
FLAVOURS = {
    flavour.name: flavour
    for flavour in (
        _flavour_v1("mainline_v1", "Linux 6.1 with cgroup v1", release="6.1.0-50-amd64", files=_v1(most_swappiness=200), switches=()),
        _flavour_v2("mainline_v2", "Linux 6.1 with cgroup v2", release="6.1.0-50-amd64", files=_V2 + _V2_5_10 + _V2_6_1, switches=(),
                    events=(*EVENTS, "oom_group_kill")),
        _flavour_v1("anolis_v1", "Anolis, Alibaba Cloud Linux 3 with cgroup v1", release="5.10.134-16.3.al8.x86_64",
                    files=_v1(most_swappiness=100) + _ANOLIS + _ANOLIS_V1, switches=_ANOLIS_SWITCHES),
        _flavour_v2("anolis_v2", "Anolis, Alibaba Cloud Linux 3 with cgroup v2", release="5.10.134-16.3.al8.x86_64",
                    files=_V2 + _V2_5_10 + _ANOLIS, switches=_ANOLIS_SWITCHES),
        _flavour_v1("openeuler_v1", "openEuler 24.03 with cgroup v1", release="6.6.0-72.0.0.76.oe2403sp1.x86_64",
                    files=_v1(most_swappiness=200) + _OPENEULER, switches=_OPENEULER_SWITCHES),
        _flavour_v1("opencloudos_v1", "OpenCloudOS 8 with cgroup v1", release="5.4.119-20.0009.29",
                    files=_v1(most_swappiness=100) + _TENCENT + _EVENT_FILES, switches=(), events=_TENCENT_EVENTS),
        _flavour_v2("opencloudos_v2", "OpenCloudOS 8 with cgroup v2", release="5.4.119-20.0009.29", files=_V2 + _TENCENT, switches=(),
                    events=_TENCENT_EVENTS),
    )
}  # fmt: skip
