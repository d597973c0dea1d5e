# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every knob as the kernel prints it, read from a tree; and the live node."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _values
from ansible_collections.memqos.fleet.plugins.module_utils._read import _files, _knob_values

# Name, what the kernel prints, the value. 6.18 where it has the file (a machine with cgroup v1); DAMON's from its documentation; vendors' from their sources.
# One line for every row of the registry that can be read: test_every_readable_row_has_a_line.
PRINTED: list[tuple[str, str, t.Any]] = [
    ("vm.min_free_kbytes", "67584\n", 67584),
    ("vm.watermark_scale_factor", "10\n", 10),
    ("vm.watermark_boost_factor", "15000\n", 15000),
    ("vm.lowmem_reserve_ratio", "256\t256\t32\t0\t0\n", [256, 256, 32, 0, 0]),
    ("vm.percpu_pagelist_fraction", "8\n", 8),
    ("vm.percpu_pagelist_high_fraction", "0\n", 0),
    ("vm.extfrag_threshold", "500\n", 500),
    ("vm.compaction_proactiveness", "20\n", 20),
    ("vm.defrag_mode", "0\n", 0),
    ("vm.compact_unevictable_allowed", "1\n", 1),
    ("vm.stat_interval", "1\n", 1),
    ("vm.swappiness", "60\n", 60),
    ("vm.vfs_cache_pressure", "100\n", 100),
    ("vm.vfs_cache_pressure_denom", "100\n", 100),
    ("vm.zone_reclaim_mode", "0\n", 0),
    ("vm.min_unmapped_ratio", "1\n", 1),
    ("vm.min_slab_ratio", "5\n", 5),
    ("vm.page-cluster", "3\n", 3),
    ("vm.laptop_mode", "0\n", 0),
    ("vm.overcommit_memory", "0\n", 0),
    ("vm.overcommit_ratio", "50\n", 50),
    ("vm.overcommit_kbytes", "0\n", 0),
    ("vm.admin_reserve_kbytes", "8192\n", 8192),
    ("vm.user_reserve_kbytes", "100405\n", 100405),
    ("vm.max_map_count", "65530\n", 65530),
    ("vm.panic_on_oom", "0\n", 0),
    ("vm.oom_kill_allocating_task", "7\n", 7),
    ("vm.oom_dump_tasks", "1\n", 1),
    ("vm.numa_stat", "1\n", 1),
    ("vm.mem_profiling", "0\n", 0),
    ("kernel.panic", "-1\n", -1),
    ("kernel.panic_on_oops", "0\n", 0),
    ("vm.dirty_ratio", "20\n", 20),
    ("vm.dirty_bytes", "0\n", 0),
    ("vm.dirty_background_ratio", "10\n", 10),
    ("vm.dirty_background_bytes", "0\n", 0),
    ("vm.dirty_expire_centisecs", "3000\n", 3000),
    ("vm.dirty_writeback_centisecs", "500\n", 500),
    ("vm.dirtytime_expire_seconds", "43200\n", 43200),
    ("kernel.numa_balancing", "0\n", 0),
    ("kernel.numa_balancing_promote_rate_limit_MBps", "65536\n", 65536),
    ("vm.nr_hugepages", "0\n", 0),
    ("hugepages/hugepages-1048576kB/nr_hugepages", "4\n", 4),
    ("node1/hugepages/hugepages-2048kB/nr_hugepages", "512\n", 512),
    ("vm.nr_overcommit_hugepages", "0\n", 0),
    ("hugepages/hugepages-2048kB/nr_overcommit_hugepages", "0\n", 0),
    ("transparent_hugepage/enabled", "always [madvise] never\n", "madvise"),
    ("transparent_hugepage/hugepages-64kB/enabled", "always [inherit] madvise never\n", "inherit"),
    ("transparent_hugepage/defrag", "always defer [defer+madvise] madvise never\n", "defer+madvise"),
    ("transparent_hugepage/shmem_enabled", "always within_size advise [never] deny force\n", "never"),
    ("transparent_hugepage/hugepages-8kB/shmem_enabled", "always inherit [within_size] advise never\n", "within_size"),
    ("transparent_hugepage/use_zero_page", "1\n", 1),
    ("transparent_hugepage/shrink_underused", "1\n", 1),
    ("transparent_hugepage/khugepaged/defrag", "1\n", 1),
    ("transparent_hugepage/khugepaged/pages_to_scan", "4096\n", 4096),
    ("transparent_hugepage/khugepaged/scan_sleep_millisecs", "10000\n", 10000),
    ("transparent_hugepage/khugepaged/alloc_sleep_millisecs", "60000\n", 60000),
    ("transparent_hugepage/khugepaged/max_ptes_none", "511\n", 511),
    ("transparent_hugepage/khugepaged/max_ptes_swap", "64\n", 64),
    ("transparent_hugepage/khugepaged/max_ptes_shared", "256\n", 256),
    ("ksm/run", "0\n", 0),
    ("ksm/pages_to_scan", "100\n", 100),
    ("ksm/sleep_millisecs", "20\n", 20),
    ("ksm/merge_across_nodes", "1\n", 1),
    ("ksm/max_page_sharing", "256\n", 256),
    ("ksm/stable_node_chains_prune_millisecs", "2000\n", 2000),
    ("ksm/use_zero_pages", "0\n", 0),
    ("ksm/smart_scan", "1\n", 1),
    ("ksm/advisor_mode", "[none] scan-time\n", "none"),
    ("ksm/advisor_max_cpu", "70\n", 70),
    ("ksm/advisor_target_scan_time", "200\n", 200),
    ("ksm/advisor_min_pages_to_scan", "500\n", 500),
    ("ksm/advisor_max_pages_to_scan", "30000\n", 30000),
    ("zswap/enabled", "N\n", 0),
    ("zswap/compressor", "lzo\n", "lzo"),
    ("zswap/zpool", "zbud\n", "zbud"),
    ("zswap/max_pool_percent", "20\n", 20),
    ("zswap/accept_threshold_percent", "90\n", 90),
    ("zswap/shrinker_enabled", "Y\n", 1),
    ("zswap/same_filled_pages_enabled", "Y\n", 1),
    ("zswap/non_same_filled_pages_enabled", "Y\n", 1),
    ("zswap/exclusive_loads", "N\n", 0),
    ("zram0/comp_algorithm", "[lzo-rle] lzo lz4 \n", "lzo-rle"),
    ("zram0/recomp_algorithm", "#1: lzo lzo-rle lz4 [zstd] \n", "#1: lzo lzo-rle lz4 [zstd]"),
    ("zram0/max_comp_streams", "2\n", 2),
    ("zram0/backing_dev", "none\n", "none"),
    ("zram12/disksize", "1073741824\n", 1073741824),
    ("zram0/writeback_limit_enable", "0\n", 0),
    ("zram0/writeback_limit", "0\n", 0),
    ("lru_gen/enabled", "0x0007\n", 7),
    ("lru_gen/min_ttl_ms", "0\n", 0),
    ("numa/demotion_enabled", "false\n", 0),
    ("damon_reclaim/min_age", "120000000\n", 120000000),
    ("damon_reclaim/quota_sz", "134217728\n", 134217728),
    ("damon_reclaim/quota_mem_pressure_us", "0\n", 0),
    ("damon_reclaim/quota_autotune_feedback", "0\n", 0),
    ("damon_reclaim/skip_anon", "N\n", 0),
    ("damon_lru_sort/hot_thres_access_freq", "500\n", 500),
    ("damon_lru_sort/cold_min_age", "120000000\n", 120000000),
    ("damon_stat/enabled", "Y\n", 1),
    *[
        (f"{module}/{name}", text, value)
        for module in ("damon_reclaim", "damon_lru_sort")
        for name, text, value in [
            ("quota_ms", "10\n", 10),
            ("quota_reset_interval_ms", "1000\n", 1000),
            ("wmarks_interval", "5000000\n", 5000000),
            ("wmarks_high", "500\n", 500),
            ("wmarks_mid", "400\n", 400),
            ("wmarks_low", "200\n", 200),
            ("sample_interval", "5000\n", 5000),
            ("aggr_interval", "100000\n", 100000),
            ("min_nr_regions", "10\n", 10),
            ("max_nr_regions", "1000\n", 1000),
            ("monitor_region_start", "4294967296\n", 4294967296),
            ("monitor_region_end", "0\n", 0),
            ("addr_unit", "1\n", 1),
            ("enabled", "N\n", 0),
            ("commit_inputs", "N\n", 0),
        ]
    ],
    ("kidled/scan_period_in_seconds", "0\n", 0),
    ("kidled/use_hierarchy", "0\n", 0),
    ("coldpgs/flags", "0\n", 0),
    ("coldpgs/batch", "32\n", 32),
    ("coldpgs/hierarchy", "1\n", 1),
    ("coldpgs/mode", "0x3\n", 3),
    ("coldpgs/threshold", "1\n", 1),
    ("coldpgs/threshold_nonrot", "1\n", 1),
    ("coldpgs/swapin", "0\n", "0"),
    ("memcg_reaper/scan_interval", "5\n", 5),
    ("memcg_reaper/pages_scan", "1310720\n", 1310720),
    ("memcg_reaper/verbose", "0\n", 0),
    ("memcg_reaper/reap_background", "3\n", 3),
    ("pagecache_limit/enabled", "0\n", 0),
    ("pre_oom/enabled", "0\n", 0),
    ("pre_oom/level", "0\n", 0),
    ("vm.enable_context_readahead", "1\n", 1),
    ("vm.enable_brk_thp_aligned", "0\n", 0),
    ("vm.penalty_extra_delay_jiffies", "0\n", 0),
    ("vm.memcg_qos_enable", "0\n", 0),
]


def write(root: Path, path: str, content: bytes) -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


@pytest.fixture
def node(tmp_path: Path) -> _files.Tree:
    """A node that has every knob of every kernel at once."""
    for name, text, _value in PRINTED:
        write(tmp_path, _registry.find(name).path, text.encode())
    # What lies beside them and is no knob.
    for path in ("/sys/devices/system/node/possible", "/sys/block/zramx/disksize", "/sys/block/sda/size", "/sys/kernel/mm/hugepages/other/nr_hugepages"):
        write(tmp_path, path, b"1\n")
    return _files.Tree(str(tmp_path))


def test_every_readable_row_has_a_line() -> None:
    rows = [row.name for row in _registry.host_knobs() if row.access != "wo"]
    assert sorted(pattern_of(name) for name, _text, _value in PRINTED) == sorted(rows)


def pattern_of(name: str) -> str:
    for row in _registry.host_knobs():
        if _values.placeholders(row.name, name) is not None:
            return row.name
    return name


def test_every_knob_is_read_as_its_value(node: _files.Tree) -> None:
    values, reasons = _knob_values.read_knob_values(node, _registry.wanted().knobs)
    assert values == {name: value for name, _text, value in PRINTED}
    assert reasons == {}


def test_write_only_knobs_are_not_read(node: _files.Tree) -> None:
    # /proc/sys/vm/drop_caches could be read on old kernels, and shows what was written last: no state.
    write(Path(node.root), "/proc/sys/vm/drop_caches", b"3\n")
    assert "vm.drop_caches" not in _knob_values.read_knob_values(node, _registry.wanted().knobs)[0]


def test_absent_is_neither_value_nor_reason(tmp_path: Path) -> None:
    assert _knob_values.read_knob_values(_files.Tree(str(tmp_path)), _registry.wanted().knobs) == ({}, {})


@pytest.mark.parametrize("content", [b"", b"6", b"60", b"\n", b"sixty\n", b"6\xff0\n", b"0x3c\n", b"60 60\n", b"1_0\n", "٦٠\n".encode()])
def test_what_is_no_number_is_unknown_with_a_reason(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "/proc/sys/vm/swappiness", content)
    values, reasons = _knob_values.read_knob_values(_files.Tree(str(tmp_path)), _registry.wanted().knobs)
    assert values == {}
    assert list(reasons) == ["vm.swappiness"]


@pytest.mark.parametrize("content", [b"always madvise never\n", b"\n", b"[]\n"])
def test_a_choice_without_its_bracket_is_unknown(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "/sys/kernel/mm/transparent_hugepage/enabled", content)
    values, reasons = _knob_values.read_knob_values(_files.Tree(str(tmp_path)), _registry.wanted().knobs)
    assert values == {}
    assert list(reasons) == ["transparent_hugepage/enabled"]


def test_a_directory_in_place_of_a_knob_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/vm/swappiness").mkdir(parents=True)
    values, reasons = _knob_values.read_knob_values(_files.Tree(str(tmp_path)), _registry.wanted().knobs)
    assert values == {}
    assert reasons == {"vm.swappiness": "Is a directory"}


def test_a_link_that_leaves_a_captured_tree_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    outside = tmp_path / "outside"
    outside.write_text("60\n")
    (root / "proc/sys/vm").mkdir(parents=True)
    (root / "proc/sys/vm/swappiness").symlink_to(outside)
    assert _knob_values.read_knob_values(_files.Tree(str(root)), _registry.wanted().knobs) == ({}, {"vm.swappiness": "leaves the captured tree"})


def test_the_live_node_has_values_within_their_ranges() -> None:
    values, _reasons = _knob_values.read_knob_values(_files.Tree("/"), _registry.wanted().knobs)
    release = os.uname().release
    assert 0 <= values["vm.swappiness"] <= 200  # type: ignore[operator]
    for name, value in values.items():
        knob = _registry.find(name)
        # Off by the partner: dirty_bytes reads 0 while dirty_ratio rules, and cannot be set to it.
        if name in ("vm.dirty_bytes", "vm.dirty_background_bytes") and value == 0:
            continue
        assert _registry.validate(knob, value, release) == value
        assert _registry.same(knob, value, value, 4096)
