# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The account closes to MemTotal."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _breakdown

KiB = 1024
# /proc/meminfo of an idle 6.18 machine with 23.5 GiB, kB → bytes; and what else the account needs from it
MEMINFO = {
    key: value * KiB
    for key, value in {
        "MemTotal": 24684092, "MemFree": 24476328, "MemAvailable": 24405056, "Buffers": 3384, "Cached": 87620, "SwapCached": 0,
        "Active(anon)": 1508, "Inactive(anon)": 1632, "Active(file)": 39492, "Inactive(file)": 42656, "Unevictable": 10332, "Mlocked": 9400,
        "Zswap": 0, "AnonPages": 4744, "Mapped": 10692, "Shmem": 8856, "Slab": 32064, "SReclaimable": 12400, "SUnreclaim": 19664,
        "KernelStack": 1288, "PageTables": 972, "SecPageTables": 0, "VmallocUsed": 14060, "Percpu": 688, "Balloon": 0, "Hugetlb": 0,
    }.items()
}  # fmt: skip


def rows_of(meminfo: dict[str, int], **kwargs: t.Any) -> dict[str, int]:
    arguments: dict[str, t.Any] = {"vmstat": {"nr_isolated_anon": 0, "nr_isolated_file": 32}, "pcp_pages": 11000, "page_size": 4096, "vmap_stack": True}
    arguments.update(kwargs)
    return {row["name"]: row["bytes"] for row in _breakdown.breakdown(meminfo, **arguments)["rows"]}


def test_rows_close_and_the_remainder_of_a_real_idle_machine_is_small() -> None:
    rows = rows_of(MEMINFO)
    assert sum(rows.values()) == MEMINFO["MemTotal"]
    assert abs(rows["unaccounted"]) <= max(MEMINFO["MemTotal"] // 200, 8 << 20)
    assert rows["free_percpu_lists"] == 11000 * 4096


@pytest.mark.parametrize(
    "vmap_stack, row", [(True, None), (None, None), (False, 1288 * KiB)], ids=["vmalloc'ed stacks are in VmallocUsed", "unknown", "own row"]
)
def test_kernel_stack_is_a_row_only_without_vmap_stack(vmap_stack: bool | None, row: int | None) -> None:
    assert rows_of(MEMINFO, vmap_stack=vmap_stack).get("kernel_stack") == row


@pytest.mark.parametrize(
    "zspages, in_zsmalloc, expected",
    [
        (None, True, {"zswap": 8 << 20}),
        (4096, True, {"zsmalloc": 16 << 20}),
        (4096, False, {"zsmalloc": 16 << 20, "zswap": 8 << 20}),
    ],
    ids=["no zsmalloc in this kernel", "zswap's pool is part of zsmalloc", "zswap on zbud beside zram"],
)
def test_compressed_pages_are_counted_once(zspages: int | None, in_zsmalloc: bool, expected: dict[str, int]) -> None:
    vmstat = {} if zspages is None else {"nr_zspages": zspages}
    rows = rows_of({**MEMINFO, "Zswap": 8 << 20}, vmstat=vmstat, zswap_in_zsmalloc=in_zsmalloc)
    assert {name: value for name, value in rows.items() if name.startswith("zs")} == expected


def test_the_remainder_may_be_negative_and_is_not_clamped() -> None:
    rows = rows_of({"MemTotal": 1000 * KiB, "MemFree": 1004 * KiB}, vmstat={}, pcp_pages=None)
    assert rows == {"free": 1004 * KiB, "unaccounted": -4 * KiB}


def test_absent_keys_give_no_row() -> None:
    assert set(rows_of({"MemTotal": 10, "MemFree": 1}, vmstat={}, pcp_pages=None)) == {"free", "unaccounted"}


def test_hugetlb_of_kernels_before_the_key() -> None:
    assert rows_of({"MemTotal": 1 << 30, "HugePages_Total": 3, "Hugepagesize": 2 << 20}, vmstat={})["hugetlb"] == 6 << 20


def test_without_memtotal_there_is_no_account() -> None:
    with pytest.raises(_breakdown.NoTotal, match="MemTotal"):
        rows_of({"MemFree": 1})


@given(st.dictionaries(st.sampled_from(sorted(MEMINFO)), st.integers(0, 1 << 45)), st.integers(0, 1 << 30), st.one_of(st.none(), st.integers(0, 1 << 20)))
def test_rows_close_whatever_the_kernel_says(meminfo: dict[str, int], zspages: int, pcp: int | None) -> None:
    meminfo["MemTotal"] = 1 << 44
    assert sum(rows_of(meminfo, vmstat={"nr_zspages": zspages}, pcp_pages=pcp).values()) == 1 << 44
