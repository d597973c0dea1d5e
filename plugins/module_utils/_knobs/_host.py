# SPDX-License-Identifier: BSD-2-Clause

"""Host knobs. Ranges as the handlers of 5.4 to 6.18 have them."""

from __future__ import annotations

import functools
import typing as t

from ._row import Knob, Range, Scope, Unit

_VM = "admin-guide/sysctl/vm"
_KERNEL = "admin-guide/sysctl/kernel"
_HUGETLB = "admin-guide/mm/hugetlbpage"
_NUMA_ABI = "ABI/testing/sysfs-kernel-mm-numa"
_ALIBABA = "Alibaba Cloud Linux: memory"
_REAPER = "Anolis kernel, Documentation/alibaba/interfaces.rst"
_OPENEULER = "openEuler: Rubik, feature introduction"

_BOOL: Range = ("", 0, 1)
_ANY: Range = ("", 0, None)
_PERCENT: Range = ("", 0, 100)


def _row(root: str, prefix: str, name: str, unit: Unit, *ranges: Range, scope: Scope = "host", **more: t.Any) -> Knob:
    if unit == "choice":
        more["comparison"] = "bracketed_choice"
    return Knob(prefix + name, scope, root + name, unit=unit, ranges=ranges, **more)


def _sysctl(name: str, unit: Unit, *ranges: Range, **more: t.Any) -> Knob:
    return Knob(name, "host", "/proc/sys/" + name.replace(".", "/"), unit=unit, ranges=ranges, **{"source": _VM, "persist": "sysctl.d", **more})


_mm = functools.partial(_row, "/sys/kernel/mm/", "", persist="tmpfiles.d")
_thp = functools.partial(_row, "/sys/kernel/mm/transparent_hugepage/", "transparent_hugepage/", persist="tmpfiles.d", source="admin-guide/mm/transhuge")
_ksm = functools.partial(_row, "/sys/kernel/mm/ksm/", "ksm/", persist="tmpfiles.d", source="admin-guide/mm/ksm")
_zswap = functools.partial(_row, "/sys/module/zswap/parameters/", "zswap/", persist="tmpfiles.d", source="admin-guide/mm/zswap")
_zram = functools.partial(_row, "/sys/block/zram{n}/", "zram{n}/", persist="boot unit", source="admin-guide/blockdev/zram")
_node = functools.partial(_row, "/sys/devices/system/node/node{n}/", "node{n}/", scope="numa_node", source="ABI/stable/sysfs-devices-node")


# Each takes DAMON for itself: where one is on the others answer EBUSY (measured on 7.2, whose damon_stat is on from the boot on).
_DAMON_SWITCHES = ("damon_lru_sort/enabled", "damon_reclaim/enabled", "damon_stat/enabled")


def _damon_switch(module: str, **more: t.Any) -> Knob:
    others = tuple(name for name in _DAMON_SWITCHES if name != module + "/enabled")
    row = _row(f"/sys/module/{module}/parameters/", module + "/", "enabled", "bool", _BOOL, persist="tmpfiles.d", risk="M", excludes=others, **more)
    return row._replace(source="admin-guide/mm/damon/" + module[6:])


def _damon(module: str, *, first: str, own: tuple[tuple[str, Unit, Range, str], ...]) -> tuple[Knob, ...]:
    """The parameters that every DAMON module has, and its C(own)."""
    shared: tuple[tuple[str, Unit, Range, str], ...] = (
        ("quota_ms", "ms", _ANY, ""), ("quota_reset_interval_ms", "ms", _ANY, ""), ("wmarks_interval", "us", _ANY, ""),
        ("wmarks_high", "permil", ("", 0, 1000), ""), ("wmarks_mid", "permil", ("", 0, 1000), ""), ("wmarks_low", "permil", ("", 0, 1000), ""),
        ("sample_interval", "us", _ANY, ""), ("aggr_interval", "us", _ANY, ""), ("min_nr_regions", "count", ("", 3, None), ""),
        ("max_nr_regions", "count", ("", 3, None), ""), ("monitor_region_start", "count", _ANY, ""), ("monitor_region_end", "count", _ANY, ""),
        ("addr_unit", "count", ("", 1, None), "6.18"),
    )  # fmt: skip
    root, prefix = f"/sys/module/{module}/parameters/", module + "/"
    parameter = functools.partial(_row, root, prefix, persist="tmpfiles.d", source="admin-guide/mm/damon/" + module[6:])
    bounds = {"wmarks_low": "wmarks_mid", "wmarks_mid": "wmarks_high", "min_nr_regions": "max_nr_regions"}
    rows = [
        parameter(name, unit, bound, first=since or first, at_most=prefix + bounds[name] if name in bounds else "") for name, unit, bound, since in own + shared
    ]
    inputs = tuple(row.name for row in rows)
    # Switched on without a region, the kernel takes the largest it has and shows that from then on (measured on 6.12).
    regions = (prefix + "monitor_region_start", prefix + "monitor_region_end")
    switch = _damon_switch(module, after=inputs, partners=regions, first=first)
    # A running module takes new inputs only by this; then it reads N again.
    commit = parameter("commit_inputs", "bool", _BOOL, one_shot=True, after=(*inputs, switch.name), risk="M", first=first)
    return (*rows, switch, commit)


SYSCTLS = (
    # Watermarks and free memory. THP moves min_free_kbytes both ways (measured).
    _sysctl("vm.min_free_kbytes", "kB", _ANY, after=("transparent_hugepage/*enabled",), risk="H"),
    # From stable updates of 5.10: an early one answers EINVAL above 1000.
    _sysctl("vm.watermark_scale_factor", "permyriad", ("", 1, 1000), ("5.10", 1, 3000), risk="M"),
    _sysctl("vm.watermark_boost_factor", "permyriad", _ANY, first="5.0"),
    _sysctl("vm.lowmem_reserve_ratio", "list", _ANY, risk="H"),
    _sysctl("vm.percpu_pagelist_fraction", "ratio", ("", 8, None), or_zero=True, risk="M", last="5.13"),
    _sysctl("vm.percpu_pagelist_high_fraction", "ratio", ("", 8, None), or_zero=True, risk="M", first="5.14"),
    _sysctl("vm.extfrag_threshold", "permil", ("", 0, 1000)),
    # A write of more than 0 compacts at once from 5.15.
    _sysctl("vm.compaction_proactiveness", "percent", _PERCENT, side_effect="compaction", risk="M", first="5.9"),
    _sysctl("vm.compact_memory", "count", ("", 1, 1), access="wo", one_shot=True, side_effect="compaction", persist="never", risk="H"),
    _sysctl("vm.defrag_mode", "bool", _BOOL, first="6.15"),  # set right after boot
    _sysctl("vm.compact_unevictable_allowed", "bool", _BOOL),
    _sysctl("vm.drop_caches", "mask", ("", 1, 7), access="wo", one_shot=True, side_effect="caches", persist="never", risk="H"),
    _sysctl("vm.stat_interval", "s", _ANY),
    # Reclaim and swap.
    _sysctl("vm.swappiness", "count", ("", 0, 100), ("5.8", 0, 200), risk="M"),
    _sysctl("vm.vfs_cache_pressure", "percent", _ANY, risk="M"),  # 0 ends in OOM
    _sysctl("vm.vfs_cache_pressure_denom", "count", ("", 100, None), first="6.16"),
    _sysctl("vm.zone_reclaim_mode", "mask", ("", 0, 7), risk="H"),
    _sysctl("vm.min_unmapped_ratio", "percent", _PERCENT),
    _sysctl("vm.min_slab_ratio", "percent", _PERCENT),
    _sysctl("vm.page-cluster", "count", ("", 0, 31)),  # 2^n pages
    _sysctl("vm.laptop_mode", "s", _ANY),
    # Writing one of ratio and kbytes zeroes the other.
    _sysctl("vm.overcommit_memory", "count", ("", 0, 2), after=("vm.overcommit_*",), side_effect="refusal", risk="H"),
    _sysctl("vm.overcommit_ratio", "percent", _ANY, partners=("vm.overcommit_kbytes",), side_effect="refusal", risk="H"),
    _sysctl("vm.overcommit_kbytes", "kB", _ANY, partners=("vm.overcommit_ratio",), side_effect="refusal", risk="H"),
    _sysctl("vm.admin_reserve_kbytes", "kB", _ANY),
    _sysctl("vm.user_reserve_kbytes", "kB", _ANY),
    _sysctl("vm.max_map_count", "count", _ANY),
    # OOM and panic. The kernel takes any number for what is off or on here.
    _sysctl("vm.panic_on_oom", "count", ("", 0, 2), risk="H"),  # 2 panics on a cgroup's OOM too
    _sysctl("vm.oom_kill_allocating_task", "count", _BOOL, risk="M"),
    _sysctl("vm.oom_dump_tasks", "count", _BOOL),
    _sysctl("vm.numa_stat", "bool", _BOOL, first="4.15"),
    _sysctl("vm.mem_profiling", "bool", _BOOL, first="6.10"),
    _sysctl("kernel.panic", "s", ("", None, None), risk="M", source=_KERNEL),  # negative: reboot at once
    _sysctl("kernel.panic_on_oops", "count", _BOOL, risk="M", source=_KERNEL),
    # Writing one of bytes and ratio makes the other read 0; bytes refuse 0: go back by the ratio. At least two pages, of 4 KiB here.
    _sysctl("vm.dirty_ratio", "percent", _PERCENT, partners=("vm.dirty_bytes",), risk="M"),
    _sysctl("vm.dirty_bytes", "bytes", ("", 8192, None), partners=("vm.dirty_ratio",), risk="M"),
    _sysctl("vm.dirty_background_ratio", "percent", _PERCENT, partners=("vm.dirty_background_bytes",), at_most="vm.dirty_ratio", risk="M"),
    _sysctl("vm.dirty_background_bytes", "bytes", ("", 1, None), partners=("vm.dirty_background_ratio",), at_most="vm.dirty_bytes", risk="M"),
    _sysctl("vm.dirty_expire_centisecs", "cs", _ANY),
    _sysctl("vm.dirty_writeback_centisecs", "cs", _ANY, risk="M"),  # 0: no periodic flush
    _sysctl("vm.dirtytime_expire_seconds", "s", _ANY),
    # 2 is promotion between memory tiers.
    _sysctl("kernel.numa_balancing", "mask", _BOOL, ("5.18", 0, 4), risk="M", source=_KERNEL),
    _sysctl("kernel.numa_balancing_promote_rate_limit_MBps", "MB/s", _ANY, first="6.1", source=_KERNEL),
)

_POOL = "hugepages/hugepages-{size}kB/nr_hugepages"
_SURPLUS = "hugepages/hugepages-{size}kB/nr_overcommit_hugepages"
_POOLED: dict[str, t.Any] = {"comparison": "effective_value", "side_effect": "compaction", "risk": "H", "source": _HUGETLB}

HUGETLB = (
    # One pool: total, per size, per node. The kernel takes as many as it finds, without an error.
    _sysctl("vm.nr_hugepages", "pages", _ANY, partners=(_POOL, "node{n}/" + _POOL), **_POOLED),
    _mm(_POOL, "pages", _ANY, partners=("vm.nr_hugepages", "node{n}/" + _POOL), **_POOLED),
    _node(_POOL, "pages", _ANY, partners=("vm.nr_hugepages", _POOL), after=("vm.nr_hugepages", _POOL), persist="boot unit", **_POOLED),
    _sysctl("vm.nr_overcommit_hugepages", "pages", _ANY, partners=(_SURPLUS,), risk="M", source=_HUGETLB),
    _mm(_SURPLUS, "pages", _ANY, partners=("vm.nr_overcommit_hugepages",), risk="M", source=_HUGETLB),
)

THP = (
    # What is mapped stays as it is: restart the application.
    _thp("enabled", "choice", choices=("always", "madvise", "never"), partners=("vm.min_free_kbytes",), risk="M"),
    _thp("hugepages-{size}kB/enabled", "choice", choices=("always", "inherit", "madvise", "never"), partners=("vm.min_free_kbytes",),
         risk="M", first="6.8"),
    _thp("defrag", "choice", choices=("always", "defer", "defer+madvise", "madvise", "never"), risk="M"),  # always stalls page faults
    _thp("shmem_enabled", "choice", choices=("always", "within_size", "advise", "never", "deny", "force")),
    _thp("hugepages-{size}kB/shmem_enabled", "choice", choices=("always", "inherit", "within_size", "advise", "never"), first="6.11"),
    _thp("use_zero_page", "bool", _BOOL),
    _thp("shrink_underused", "bool", _BOOL, first="6.12"),
    _thp("khugepaged/defrag", "bool", _BOOL),
    _thp("khugepaged/pages_to_scan", "pages", ("", 1, None)),
    _thp("khugepaged/scan_sleep_millisecs", "ms", _ANY),
    _thp("khugepaged/alloc_sleep_millisecs", "ms", _ANY),
    # At most the pages of a huge page minus 1: 511 on x86, 8191 on arm64 with 64 KiB.
    _thp("khugepaged/max_ptes_none", "pages", _ANY),
    _thp("khugepaged/max_ptes_swap", "pages", _ANY),
    _thp("khugepaged/max_ptes_shared", "pages", _ANY, first="5.8"),
)  # fmt: skip

KSM = (
    _ksm("run", "count", ("", 0, 2), after=("ksm/*",), side_effect="memory", risk="M"),  # 2 unmerges
    _ksm("pages_to_scan", "pages", _ANY),
    _ksm("sleep_millisecs", "ms", _ANY),
    _ksm("merge_across_nodes", "bool", _BOOL),  # EBUSY while pages are shared: run=2 before
    _ksm("max_page_sharing", "count", ("", 2, None)),
    _ksm("stable_node_chains_prune_millisecs", "ms", _ANY),
    _ksm("use_zero_pages", "bool", _BOOL),
    _ksm("smart_scan", "bool", _BOOL, first="6.7"),
    _ksm("advisor_mode", "choice", choices=("none", "scan-time"), first="6.8"),
    _ksm("advisor_max_cpu", "percent", _PERCENT, first="6.8"),
    _ksm("advisor_target_scan_time", "s", ("", 1, None), first="6.8"),
    _ksm("advisor_min_pages_to_scan", "pages", _ANY, at_most="ksm/advisor_max_pages_to_scan", first="6.8"),
    _ksm("advisor_max_pages_to_scan", "pages", _ANY, first="6.8"),
)

ZSWAP = (
    _zswap("enabled", "bool", _BOOL, after=("zswap/*",), risk="M"),  # off keeps what is stored
    _zswap("compressor", "text"),
    _zswap("zpool", "text", last="6.17"),
    _zswap("max_pool_percent", "percent", _PERCENT),
    _zswap("accept_threshold_percent", "percent", _PERCENT, first="5.6"),
    _zswap("shrinker_enabled", "bool", _BOOL, first="6.8"),
    _zswap("same_filled_pages_enabled", "bool", _BOOL, first="4.16", last="6.9"),
    _zswap("non_same_filled_pages_enabled", "bool", _BOOL, first="5.18", last="6.9"),
    _zswap("exclusive_loads", "bool", _BOOL, first="6.5", last="6.7"),
)

ZRAM = (
    # The size initialises the device: from then on changes are EBUSY until a reset.
    _zram("comp_algorithm", "choice"),
    _zram("recomp_algorithm", "text", first="6.2"),
    _zram("algorithm_params", "text", access="wo", after=("zram{n}/*comp_algorithm",), first="6.12"),
    _zram("max_comp_streams", "count", ("", 1, None), last="6.17"),
    _zram("backing_dev", "text", risk="M"),
    _zram("disksize", "bytes", _ANY, comparison="page_rounded_up", after=("zram{n}/*comp_algorithm", "zram{n}/algorithm_params", "zram{n}/backing_dev"),
          risk="M"),
    _zram("mem_limit", "bytes", _ANY, access="wo", after=("zram{n}/disksize",), risk="M"),
    _zram("writeback_limit_enable", "bool", _BOOL, after=("zram{n}/disksize",)),
    _zram("writeback_limit", "count", _ANY, after=("zram{n}/writeback_limit_enable",)),  # 4 KiB blocks; counts down
    _zram("idle", "text", access="wo", one_shot=True, persist="never"),
    _zram("writeback", "text", access="wo", one_shot=True, persist="never", risk="M"),
    _zram("recompress", "text", access="wo", one_shot=True, persist="never", risk="M", first="6.2"),
    _zram("compact", "bool", _BOOL, access="wo", one_shot=True, persist="never"),
    _zram("reset", "bool", _BOOL, access="wo", one_shot=True, persist="never", risk="H"),  # EBUSY while in use
)  # fmt: skip

MISC = (
    _mm("lru_gen/enabled", "mask", ("", 0, 7), risk="M", first="6.1", source="admin-guide/mm/multigen_lru"),
    # OOM if the working set of this age cannot be kept.
    _mm("lru_gen/min_ttl_ms", "ms", _ANY, side_effect="oom", risk="M", first="6.1", source="admin-guide/mm/multigen_lru"),
    _mm("numa/demotion_enabled", "bool", _BOOL, risk="M", first="5.15", source=_NUMA_ABI),
    _node("compact", "count", ("", 1, 1), access="wo", one_shot=True, side_effect="compaction", risk="H"),
    _node("reclaim", "text", access="wo", one_shot=True, side_effect="reclaim", risk="H", first="6.17"),
)

DAMON = _damon("damon_reclaim", first="5.16", own=(
    ("min_age", "us", _ANY, ""), ("quota_sz", "bytes", _ANY, ""), ("quota_mem_pressure_us", "us", _ANY, "6.9"),
    ("quota_autotune_feedback", "count", _ANY, "6.9"), ("skip_anon", "bool", _BOOL, "6.2"),
)) + _damon("damon_lru_sort", first="6.0", own=(
    ("hot_thres_access_freq", "permil", ("", 0, 1000), ""), ("cold_min_age", "us", _ANY, ""),
)) + (_damon_switch("damon_stat", first="6.17"),)  # fmt: skip

_ANOLIS: dict[str, t.Any] = {"vendor": "anolis", "source": _ALIBABA}
_REAP: dict[str, t.Any] = {"vendor": "anolis", "source": _REAPER}

VENDOR = (
    _mm("kidled/scan_period_in_seconds", "s", _ANY, risk="M", **_ANOLIS),  # a write resets the statistics
    _mm("kidled/use_hierarchy", "bool", _BOOL, **_ANOLIS),
    # coldpgs: bounds UNVERIFIED beyond the documented ones.
    _mm("coldpgs/flags", "mask", _ANY, risk="M", **_ANOLIS),
    _mm("coldpgs/batch", "pages", ("", 1, None), **_ANOLIS),
    _mm("coldpgs/hierarchy", "bool", _BOOL, **_ANOLIS),
    _mm("coldpgs/mode", "mask", ("", 0, 3), risk="M", **_ANOLIS),
    _mm("coldpgs/threshold", "count", _ANY, **_ANOLIS),
    _mm("coldpgs/threshold_nonrot", "count", _ANY, **_ANOLIS),
    _mm("coldpgs/swapin", "text", **_ANOLIS),
    _mm("memcg_reaper/scan_interval", "s", ("", 1, None), **_REAP),
    _mm("memcg_reaper/pages_scan", "pages", ("", 0, 2**32 - 1), **_REAP),
    _mm("memcg_reaper/verbose", "bool", _BOOL, **_REAP),
    # Reads 2 more while a cgroup's memory.reap_background is on.
    _mm("memcg_reaper/reap_background", "mask", _BOOL, comparison="effective_value", risk="M", **_REAP),
    _mm("memcg_reaper/reap", "count", ("", 1, 1), access="wo", one_shot=True, side_effect="reclaim", risk="M", **{**_REAP, "persist": "never"}),
    _mm("pagecache_limit/enabled", "bool", _BOOL, risk="M", **_ANOLIS),
    _mm("pre_oom/enabled", "bool", _BOOL, risk="M", **_ANOLIS),
    _mm("pre_oom/level", "count", ("", 0, 3), risk="M", **_ANOLIS),  # ignored in silence while tasks reclaim
    _sysctl("vm.enable_context_readahead", "bool", _BOOL, **_ANOLIS),
    _sysctl("vm.enable_brk_thp_aligned", "bool", _BOOL, **_ANOLIS),
    _sysctl("vm.penalty_extra_delay_jiffies", "jiffies", _ANY, risk="M", **_ANOLIS),
    _sysctl("vm.memcg_qos_enable", "bool", _BOOL, risk="M", vendor="openeuler", source=_OPENEULER),
)

ROWS = SYSCTLS + HUGETLB + THP + KSM + ZSWAP + ZRAM + MISC + DAMON + VENDOR
