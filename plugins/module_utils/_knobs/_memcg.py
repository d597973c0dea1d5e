# SPDX-License-Identifier: BSD-2-Clause

"""Memory cgroup knobs, by their v2 name where they have one."""

from __future__ import annotations

import typing as t

from ._row import Knob, Range, Unit

_V2 = "admin-guide/cgroup-v2"
_V1 = "admin-guide/cgroup-v1/memory"
_WMARK = "Alibaba Cloud Linux: memcg backend asynchronous reclaim"
_MIN_ADJ = "Anolis kernel, Documentation/alibaba/interfaces.rst"
_ALIBABA = "Alibaba Cloud Linux: memory"
_ANCK = "Anolis kernel, mm/memcontrol.c"
_OPENEULER = "openEuler: Rubik, feature introduction"
_OLK = "openEuler kernel, OLK-6.6 changelog"
_TENCENT = "OpenCloudOS kernel, 5.4"

_BOOL: Range = ("", 0, 1)
_ANY: Range = ("", 0, None)
_PERCENT: Range = ("", 0, 100)


def _owned(name: str, unit_property: str, unit: Unit, *ranges: Range, **more: t.Any) -> Knob:
    """A file that systemd writes from a unit property, on its own occasions."""
    more.setdefault("source", _V2)
    return Knob(name, "memcg", v2=name, unit=unit, ranges=ranges, unit_property=unit_property, persist="unit property", **more)


def _v2(name: str, unit: Unit, *ranges: Range, **more: t.Any) -> Knob:
    more.setdefault("persist", "reapply")
    return Knob(name, "memcg", v2=name, unit=unit, ranges=ranges, source=_V2, **more)


def _v1(name: str, unit: Unit, *ranges: Range, **more: t.Any) -> Knob:
    more.setdefault("persist", "reapply")
    return Knob(name, "memcg", v1=name, unit=unit, ranges=ranges, source=_V1, **more)


def _anolis(name: str, unit: Unit, *ranges: Range, v1_only: bool = False, **more: t.Any) -> Knob:
    more.setdefault("source", _ALIBABA)
    return Knob(name, "memcg", v1=name, v2="" if v1_only else name, unit=unit, ranges=ranges, persist="reapply", vendor="anolis", **more)


def _openeuler(name: str, unit: Unit, *ranges: Range, v2: str = "", **more: t.Any) -> Knob:
    more.setdefault("source", _OLK)
    return Knob(name, "memcg", v1=name, v2=v2, unit=unit, ranges=ranges, persist="reapply", vendor="openeuler", **more)


MAINLINE = (
    # Ancestors bound what protects: reading it back proves nothing.
    _owned("memory.min", "MemoryMin", "bytes or max", _ANY, v1="memory.min", v1_vendor="anolis openeuler", comparison="page_rounded", risk="H",
           first="4.18"),
    _owned("memory.low", "MemoryLow", "bytes or max", _ANY, v1="memory.low", v1_vendor="anolis openeuler", comparison="page_rounded", risk="M",
           first="4.5"),
    _owned("memory.high", "MemoryHigh", "bytes or max", _ANY, v1="memory.high", v1_vendor="anolis openeuler", comparison="page_rounded",
           side_effect="reclaim", risk="H", first="4.5"),
    # Below usage v2 reclaims, then kills; v1 answers EBUSY (measured).
    _owned("memory.max", "MemoryMax", "bytes or max", _ANY, v1="memory.limit_in_bytes", comparison="page_rounded", side_effect="oom", risk="H",
           at_most="memory.memsw.limit_in_bytes", partners=("memory.memsw.limit_in_bytes",), first="4.5"),
    _owned("memory.swap.max", "MemorySwapMax", "bytes or max", _ANY, v1="memory.swap.max", v1_vendor="openeuler", comparison="page_rounded", risk="M",
           first="4.5"),
    _owned("memory.zswap.max", "MemoryZSwapMax", "bytes or max", _ANY, comparison="page_rounded", first="5.19"),
    _owned("memory.zswap.writeback", "MemoryZSwapWriteback", "bool", _BOOL, first="6.8"),
    _owned("memory.oom.group", "OOMPolicy", "bool", _BOOL, v1="memory.oom.group", v1_vendor="anolis", risk="M", first="4.19"),
    _v2("memory.swap.high", "bytes or max", _ANY, v1="memory.swap.high", v1_vendor="anolis", comparison="page_rounded", risk="M", first="5.8"),
    _v2("cgroup.pressure", "bool", _BOOL, first="6.1"),
    # EAGAIN: less was reclaimed than asked.
    _v2("memory.reclaim", "text", v1="memory.reclaim", v1_vendor="openeuler", access="wo", one_shot=True, side_effect="reclaim", persist="never", risk="M",
        first="5.19"),
    # v1
    _v1("memory.memsw.limit_in_bytes", "bytes or max", _ANY, comparison="page_rounded", side_effect="reclaim", risk="H", partners=("memory.max",)),
    _v1("memory.soft_limit_in_bytes", "bytes or max", _ANY, comparison="page_rounded"),
    _v1("memory.swappiness", "count", _PERCENT, ("5.15", 0, 200), inherited=True, risk="M"),
    _v1("memory.oom_control", "bool", _BOOL, key="oom_kill_disable", inherited=True, risk="H"),  # 1: tasks hang instead
    _v1("memory.use_hierarchy", "bool", _BOOL, ("5.11", 1, 1)),
    _v1("memory.move_charge_at_immigrate", "mask", ("", 0, 3), ("6.13", 0, 0)),
    _v1("memory.kmem.limit_in_bytes", "bytes or max", _ANY, comparison="page_rounded", risk="H", last="5.15"),  # later accepted, without effect
    _v1("memory.kmem.tcp.limit_in_bytes", "bytes or max", _ANY, comparison="page_rounded", risk="M"),
    _v1("memory.force_empty", "count", access="wo", one_shot=True, side_effect="reclaim", persist="never", risk="H"),
)  # fmt: skip

ANOLIS = (
    # Of min(memory.high, limit): without effect while both are max.
    _anolis("memory.wmark_ratio", "percent", _PERCENT, inherited=True, source=_WMARK),
    _anolis("memory.wmark_scale_factor", "permyriad", ("", 1, 1000), inherited=True, source=_WMARK),
    # Reads the highest on the way to the root, but for zeros above.
    _anolis("memory.wmark_min_adj", "percent", ("", -25, 50), comparison="effective_value", inherited=True, risk="M", source=_MIN_ADJ),
    _anolis("memory.priority", "count", ("", 0, 12)),  # the lowest dies first
    _anolis("memory.use_priority_oom", "bool", _BOOL, risk="M"),  # on the parent
    _anolis("memory.use_priority_swap", "bool", _BOOL, v1_only=True),
    # Needs the host's pagecache_limit/enabled. The size is clamped to the limit.
    _anolis("memory.pagecache_limit.enable", "bool", _BOOL, after=("memory.pagecache_limit.s*",), risk="M"),
    _anolis("memory.pagecache_limit.size", "bytes", _ANY, comparison="effective_value", after=("memory.max",), side_effect="reclaim", risk="M"),
    _anolis("memory.pagecache_limit.sync", "bool", _BOOL, risk="M"),
    _anolis("memory.pre_oom", "bool", _BOOL, risk="M", source="Anolis kernel, mm/pre_oom.c"),  # EPERM while tasks reclaim
    _anolis("memory.async_fork", "bool", _BOOL, v1_only=True, source=_ANCK),
    _anolis("memory.reap_background", "bool", _BOOL, inherited=True, source=_MIN_ADJ),
    _anolis("memory.allow_duptext", "bool", _BOOL, source=_ANCK),
    _anolis("memory.allow_duptext_refresh", "bool", _BOOL, source=_ANCK),
    _anolis("memory.duptext_nodes", "text", source=_ANCK),  # a node list, as cpuset.mems
    _anolis("memory.allow_text_unevictable", "bool", _BOOL, source=_ANCK),
    _anolis("memory.text_unevictable_percent", "percent", _PERCENT, source=_ANCK),
    # From here formats are UNVERIFIED: text goes as it is, the kernel says EINVAL.
    _anolis("memory.thp_control", "mask", _ANY, source=_ANCK),
    _anolis("memory.thp_reclaim", "text", choices=("reclaim", "swap", "disable"), source=_ANCK),
    _anolis("memory.thp_reclaim_ctrl", "text", source=_ANCK),
    _anolis("memory.coldpgs.flags", "mask", _ANY, risk="M", source=_ALIBABA),
    _anolis("memory.coldpgs.threshold", "count", _ANY, source=_ALIBABA),
    _anolis("memory.coldpgs.size", "bytes", _ANY, access="wo", one_shot=True, side_effect="reclaim", risk="M", source=_ALIBABA),
    _anolis("memory.coldpgs.swapin", "text", source=_ALIBABA),
    _anolis("memory.idle_page_stats", "text", access="wo", source=_ALIBABA),  # 8 rising periods at most; reads as statistics
    _anolis("memory.reclaim_caches", "text", access="wo", one_shot=True, side_effect="reclaim", risk="M", source=_ANCK),
    _anolis("memory.pgtable_bind", "text", source=_ANCK),
    _anolis("memory.mglru_batch_size", "text", source=_ANCK),
    _anolis("memory.mglru_reclaim_kbytes", "text", access="wo", one_shot=True, side_effect="reclaim", risk="M", source=_ANCK),
)

OPENEULER = (
    _openeuler("memory.qos_level", "count", ("", -1, 0), risk="M", source=_OPENEULER),  # -1 dies first; needs vm.memcg_qos_enable
    # Of memory.high; 0 is off. That 100 is refused is UNVERIFIED.
    _openeuler("memory.high_async_ratio", "percent", ("", 0, 99), v2="memory.high_async_ratio", source=_OPENEULER),
    _openeuler("memory.ksm", "text", risk="M"),
    _openeuler("memory.swapfile", "text", risk="M"),
    _openeuler("memory.force_swapin", "count", access="wo", one_shot=True, side_effect="memory", risk="M"),
    _openeuler("memory.wb_blkio_ino", "text"),
)

TENCENT = tuple(
    Knob(f"memory.pagecache.{name}", "memcg", v1=f"memory.pagecache.{name}", v2=f"memory.pagecache.{name}", unit="percent", ranges=(_PERCENT,),
         side_effect="reclaim", persist="reapply", risk="M", vendor="tencent", source=_TENCENT)
    for name in ("max_ratio", "reclaim_ratio")
)  # fmt: skip

ROWS = MAINLINE + ANOLIS + OPENEULER + TENCENT
