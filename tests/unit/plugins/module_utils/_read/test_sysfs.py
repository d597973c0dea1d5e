# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""/sys of real kernels: choices, NUMA nodes, huge pages, KSM, zswap, zram, MGLRU, DAMON."""

from __future__ import annotations

import json
import os
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils._read import _procfs, _sysfs
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.host_files import check_truncations, content, host, write

PARSERS: dict[str, t.Callable[[bytes], t.Any]] = {
    "value": _sysfs.parse_value,
    "mask": _sysfs.parse_mask,
    "numbers": _procfs.parse_numbers,
}
SAMPLES = [b"always [madvise] never\n", b"0x0007\n", b"10 20\n", b"4096\n", b"Y\n", b"", b"-1\n"]


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("data", SAMPLES)
def test_a_file_cut_anywhere_says_nothing_else(name: str, data: bytes) -> None:
    check_truncations(PARSERS[name], data)


@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=60))
def test_garbage_never_raises(name: str, data: bytes) -> None:
    PARSERS[name](data)


@pytest.mark.parametrize(("data", "expected"), [
    (b"100\n", 100), (b"-5\n", -5), (b"Y\n", "Y"), (b"lzo\n", "lzo"), (b"[none] scan-time\n", "none"), (b"\n", None), (b"12", None), (b"a\nb\n", None),
    (b"\xff\n", "\\xff"),
    (b"always [madvise] never\n", "madvise"), (b"always defer [defer+madvise] madvise never\n", "defer+madvise"), (b"[lzo-rle] lzo lz4\n", "lzo-rle"),
    (b"always madvise never\n", "always madvise never"), (b"[always] [never]\n", "[always] [never]"), (b"always [mad", None), (b"[]\n", "[]"),
])  # fmt: skip
def test_value(data: bytes, expected: t.Any) -> None:
    assert _sysfs.parse_value(data) == expected


@pytest.mark.parametrize(("data", "expected"), [
    (b"0x0007\n", 7), (b"0x001f\n", 31), (b"0x0000\n", 0), (b"7\n", 7), (b"0x\n", None), (b"yes\n", None), (b"0x00", None),
])  # fmt: skip
def test_mask(data: bytes, expected: int | None) -> None:
    assert _sysfs.parse_mask(data) == expected


def test_numa_node_of_the_host() -> None:
    node = _sysfs.read_numa(host())[0]
    assert node["id"] == 0
    assert node["distance"] == [10]
    assert node["cpulist"] == "0-1"
    assert node["meminfo"]["MemTotal"] == int(content("/sys/devices/system/node/node0/meminfo").split()[3]) * 1024
    assert set(node["numastat"]) == {"numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node"}
    assert node["hugepages"]["2097152"] == {"nr": 0, "free": 0, "surplus": 0}


def test_numa_nodes_in_the_order_of_their_ids(tmp_path: t.Any) -> None:
    base = "/sys/devices/system/node"
    tree = write(tmp_path, {
        f"{base}/node10/distance": b"20 10\n", f"{base}/node2/distance": b"10 20\n", f"{base}/node2/cpulist": b"7\n", f"{base}/node10/cpulist": b"\n",
        f"{base}/possible": b"0-10\n", f"{base}/node2/meminfo": b"garbage", f"{base}/node2/hugepages/hugepages-2048kB/nr_hugepages": b"12\n",
    })  # fmt: skip
    assert _sysfs.read_numa(tree) == [
        {"id": 2, "distance": [10, 20], "cpulist": "7", "hugepages": {"2097152": {"nr": 12}}},
        {"id": 10, "distance": [20, 10], "hugepages": {}},  # a node without CPUs has an empty list
    ]


def test_details_of_the_host() -> None:
    details = _sysfs.read_details(host())
    json.dumps(details)
    thp, ksm = details["thp"], details["ksm"]
    assert (thp["enabled"], thp["use_zero_page"], thp["khugepaged"]["pages_to_scan"]) == ("madvise", 1, 4096)
    assert {name for name in thp if name.startswith("hugepages")} == {"hugepages-64kB", "hugepages-2048kB"}
    assert (thp["hugepages-64kB"]["enabled"], thp["hugepages-2048kB"]["enabled"]) == ("never", "inherit")
    assert thp["hugepages-64kB"]["stats"]["swpout"] == 0
    assert (ksm["run"], ksm["advisor_mode"], ksm["pages_to_scan"]) == (0, "none", 100)
    assert set(ksm) == set(os.listdir(host().root + "/sys/kernel/mm/ksm"))
    assert details["hugepages"] == {size: {"nr": 0, "free": 0, "surplus": 0, "reserved": 0} for size in ("1073741824", "2097152")}
    assert set(details) == {"thp", "ksm", "hugepages"} and set(_sysfs.read_telling(host())) == {"zswap"}


def test_details_that_the_host_lacks(tmp_path: t.Any) -> None:
    tree = write(tmp_path, {
        "/sys/kernel/mm/lru_gen/enabled": b"0x0007\n", "/sys/block/zram0/disksize": b"4096\n", "/sys/module/damon_reclaim/parameters/enabled": b"N\n",
        "/sys/module/damon_reclaim/parameters/min_age": b"120000000\n", "/sys/kernel/mm/transparent_hugepage/enabled": b"[always] madvise never\n",
    })  # fmt: skip
    assert _sysfs.read_telling(tree) == {"mglru": {"enabled": 7}, "zram": [{"name": "zram0", "disksize": 4096}]}
    assert _sysfs.read_details(tree) == {"thp": {"enabled": "always"}, "damon": {"damon_reclaim": {"enabled": "N", "min_age": 120000000}}}


def test_details_of_nothing(tmp_path: t.Any) -> None:
    assert _sysfs.read_details(Tree(str(tmp_path))) == {} == _sysfs.read_telling(Tree(str(tmp_path)))


def test_a_link_in_a_circle_ends(tmp_path: t.Any) -> None:
    tree = write(tmp_path, {"/sys/kernel/mm/ksm/run": b"0\n"})
    for name in ("one", "two"):
        os.symlink(".", f"{tree.root}/sys/kernel/mm/ksm/{name}")
    below = {"run": 0, "one": {"run": 0}, "two": {"run": 0}}
    assert _sysfs.read_details(tree) == {"ksm": {"run": 0, "one": below, "two": below}}


def test_zswap(tmp_path: t.Any) -> None:
    assert _sysfs.read_telling(host())["zswap"] == {
        "parameters": {"accept_threshold_percent": 90, "compressor": "lzo", "enabled": "N", "max_pool_percent": 20, "shrinker_enabled": "N"},
    }  # fmt: skip
    tree = write(tmp_path, {"/sys/module/zswap/parameters/enabled": b"Y\n", "/sys/kernel/debug/zswap/stored_pages": b"12\n"})
    assert _sysfs.read_telling(tree)["zswap"] == {"parameters": {"enabled": "Y"}, "debug": {"stored_pages": 12}}


def test_zram(tmp_path: t.Any) -> None:
    tree = write(tmp_path, {
        "/sys/block/zram0/disksize": b"0\n", "/sys/block/zram1/disksize": b"1073741824\n", "/sys/block/zram1/comp_algorithm": b"lzo [zstd]\n",
        "/sys/block/zram1/mm_stat": b"   40960     1200    12288        0    16384        2        0        0        0\n",
        "/sys/block/zram1/backing_dev": b"none\n", "/sys/block/vda/disksize": b"9\n", "/sys/block/zram2/disksize": b"10",
    })  # fmt: skip
    devices = _sysfs.read_telling(tree)["zram"]
    assert len(devices) == 1
    assert devices[0] == {
        "name": "zram1", "disksize": 1 << 30, "comp_algorithm": "zstd", "backing_dev": "none",
        "mm_stat": {"orig_data_size": 40960, "compr_data_size": 1200, "mem_used_total": 12288, "mem_limit": 0, "mem_used_max": 16384, "same_pages": 2,
                    "pages_compacted": 0, "huge_pages": 0, "huge_pages_since": 0},
    }  # fmt: skip


def test_mm_stat_of_4_18_is_shorter(tmp_path: t.Any) -> None:
    tree = write(tmp_path, {"/sys/block/zram0/disksize": b"4096\n", "/sys/block/zram0/mm_stat": b"1 2 3 4 5 6 7\n"})
    assert set(_sysfs.read_telling(tree)["zram"][0]["mm_stat"]) == {
        "orig_data_size", "compr_data_size", "mem_used_total", "mem_limit", "mem_used_max", "same_pages", "pages_compacted",
    }  # fmt: skip


def test_mglru(tmp_path: t.Any) -> None:
    tree = write(tmp_path, {"/sys/kernel/mm/lru_gen/enabled": b"0x0007\n", "/sys/kernel/mm/lru_gen/min_ttl_ms": b"1000\n"})
    assert _sysfs.read_telling(tree)["mglru"] == {"enabled": 7, "min_ttl_ms": 1000}


def test_a_kernel_without_numa_says_so(tmp_path: t.Any) -> None:
    with pytest.raises(Unreadable) as caught:
        _sysfs.read_numa(Tree(str(tmp_path)))
    assert caught.value.kind == "absent"
    assert caught.value.path.startswith("/sys/")
