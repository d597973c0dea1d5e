# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The account closes to MemTotal; each derived number of a cgroup is the kernel's formula."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _accounts

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
    return {row["name"]: row["bytes"] for row in _accounts.breakdown(meminfo, **arguments)["rows"]}


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
    with pytest.raises(_accounts.NoTotal, match="MemTotal"):
        rows_of({"MemFree": 1})


@given(st.dictionaries(st.sampled_from(sorted(MEMINFO)), st.integers(0, 1 << 45)), st.integers(0, 1 << 30), st.one_of(st.none(), st.integers(0, 1 << 20)))
def test_rows_close_whatever_the_kernel_says(meminfo: dict[str, int], zspages: int, pcp: int | None) -> None:
    meminfo["MemTotal"] = 1 << 44
    assert sum(rows_of(meminfo, vmstat={"nr_zspages": zspages}, pcp_pages=pcp).values()) == 1 << 44


# Of cgroups


def account(*cgroups: dict[str, t.Any], recursive: bool = False) -> dict[str, dict[str, t.Any]]:
    rows: list[t.Any] = list(cgroups)
    _accounts.account_cgroups(rows, recursive_protection=recursive)
    return {row["path"]: row for row in rows}


STAT = {
    "anon": 30,
    "file": 60,
    "active_anon": 10,
    "inactive_anon": 20,
    "active_file": 35,
    "inactive_file": 25,
    "file_dirty": 4,
    "file_writeback": 1,
    "slab_reclaimable": 7,
}


def test_three_working_sets() -> None:
    row = account({"path": "/a", "parent": "/", "usage": 100, "stat": STAT})["/a"]
    assert (row["working_set"], row["working_set_sysom"], row["hard_set"]) == (75, 65, 100 - (60 - 5) - 7)


def test_working_set_is_never_negative() -> None:
    assert account({"path": "/a", "usage": 5, "stat": {"inactive_file": 9, "active_file": 0}})["/a"]["working_set"] == 0


def test_no_working_set_from_numbers_that_are_not_there() -> None:
    row = account({"path": "/a", "usage": 100, "stat": {"active_anon": 1}})["/a"]
    assert not {"working_set", "working_set_sysom", "hard_set", "kernel_other", "dying_bytes"} & set(row)


def test_hidden_kernel_memory() -> None:
    stat = {"kernel": 100, "kernel_stack": 10, "pagetables": 20, "percpu": 5, "slab_reclaimable": 15, "slab_unreclaimable": 25}
    assert account({"path": "/a", "usage": 1, "stat": stat})["/a"]["kernel_other"] == 25


@pytest.mark.parametrize(
    "parent, expected",
    [
        ({"path": "/p", "stat": {"anon": 100, "file": 50}, "dying": 3}, 20 + 15),
        ({"path": "/p", "stat": {"anon": 100, "file": 50}, "stat_local": {"anon": 5, "file": 15}, "dying": 3}, 15 + 0),
        ({"path": "/p", "stat": {"anon": 100, "file": 50}}, 35),
        ({"path": "/p", "stat": {"anon": 100, "file": 50}, "dying": 0}, 0),
        ({"path": "/p", "stat": {"anon": 70, "file": 50}, "dying": 1}, 15),
        ({"path": "/", "stat": {"anon": 100, "file": 50}, "dying": 3}, None),
    ],
    ids=["v2", "v1 with its own pages", "count unknown", "no dying child", "a race is not negative", "not at the root"],
)
def test_bytes_of_dying_children(parent: dict[str, t.Any], expected: int | None) -> None:
    children = [
        {"path": f"/p/{name}", "parent": parent["path"], "usage": 1, "stat": stat}
        for name, stat in (("a", {"anon": 50, "file": 5}), ("b", {"anon": 30, "file": 30}))
    ]
    assert account(parent, *children)[parent["path"]].get("dying_bytes") == expected


def test_dying_bytes_need_every_child() -> None:
    rows = account({"path": "/p", "stat": {"anon": 9, "file": 9}}, {"path": "/p/a", "parent": "/p", "stat": {"anon": 1}})
    assert "dying_bytes" not in rows["/p"]


G = 1 << 30
PROTECTION = [
    # (recursive, parent's own min and usage, [(child min, usage, effective)])
    (False, (10 * G, 12 * G), [(4 * G, 5 * G, 4 * G), (3 * G, 1 * G, 1 * G)]),
    (False, (0, 12 * G), [(4 * G, 5 * G, 0)]),
    (False, (4 * G, 12 * G), [(6 * G, 6 * G, 3 * G), (2 * G, 2 * G, 1 * G)]),
    (True, (10 * G, 12 * G), [(0, 6 * G, 5 * G), (0, 6 * G, 5 * G)]),
    (False, (10 * G, 12 * G), [(0, 6 * G, 0)]),
    (False, (10 * G, 12 * G), [(None, 6 * G, 6 * G)]),
]


@pytest.mark.parametrize(
    "recursive, parent, children",
    PROTECTION,
    ids=["no more than it uses", "an ancestor without protection", "overcommitted: shares", "recursive: the rest flows", "not recursive", "max"],
)
def test_effective_protection(recursive: bool, parent: tuple[int, int], children: list[tuple[int | None, int, int]]) -> None:
    rows = account(
        {"path": "/", "usage": 20 * G},
        {"path": "/p", "parent": "/", "min": parent[0], "low": parent[0], "usage": parent[1]},
        *({"path": f"/p/{i}", "parent": "/p", "min": m, "low": m, "usage": u} for i, (m, u, unused) in enumerate(children)),
        recursive=recursive,
    )
    assert [rows[f"/p/{i}"]["effective_min"] for i in range(len(children))] == [effective for unused, unused, effective in children]
    assert [rows[f"/p/{i}"]["effective_low"] for i in range(len(children))] == [effective for unused, unused, effective in children]


def test_sums_over_children_and_top_level_protection_as_set() -> None:
    rows = account(
        {"path": "/", "usage": 9}, {"path": "/a", "parent": "/", "usage": 4, "min": 7, "low": 8}, {"path": "/b", "parent": "/", "usage": 2, "min": 0, "low": 1}
    )
    assert (rows["/"]["children_usage"], rows["/"]["children_min"], rows["/"]["children_low"]) == (6, 7, 9)
    assert (rows["/a"]["effective_min"], rows["/a"]["effective_low"]) == (7, 8)


def test_one_child_with_max_makes_the_sum_max() -> None:
    rows = account({"path": "/", "usage": 9}, {"path": "/a", "parent": "/", "min": None, "low": 1}, {"path": "/b", "parent": "/", "min": 5, "low": 1})
    assert (rows["/"]["children_min"], rows["/"]["children_low"]) == (None, 2)


def workload(path: str, kind: str, **more: t.Any) -> t.Any:
    return {"path": path, "parent": path.rpartition("/")[0] or "/", "kind": kind, "name": path, "usage": 1, **more}


ROOT_ROW: t.Any = {"path": "/", "kind": "root", "name": "/"}


def test_workloads_are_the_innermost_and_their_sums() -> None:
    rows = [
        ROOT_ROW,
        workload("/kubepods.slice", "qos", limit=1000),
        workload("/kubepods.slice/pod", "pod", limit=900),
        workload("/kubepods.slice/pod/a", "container", limit=400, request=300, peak=100),
        workload("/kubepods.slice/pod/a/nested", "cgroup", limit=1),  # of the container
        workload("/kubepods.slice/pod/b", "container", limit=None, request=0, peak=50),
        workload("/kubepods.slice/pod/c", "container", limit=200, request=200),  # before 5.19 there is no peak
        workload("/system.slice", "slice", limit=7, high=None),
        workload("/system.slice/user@1.service", "service", limit=5000),  # holds others
        workload("/system.slice/user@1.service/x.scope", "scope", limit=50, peak=60),
        {"path": "/system.slice/off.service", "parent": "/system.slice", "kind": "service", "name": "off"},  # without the memory controller
    ]
    peaks = {"/kubepods.slice/pod/a": [400, 100]}
    sums = {"sum_request_bytes": 500, "sum_limit_bytes": 600, "without_limit": 1, "without_throttle": 2}
    assert _accounts.overcommit(rows, 5000) == {"allocatable_bytes": 1000, "allocatable_source": "kubepods", "workloads": 3, **sums, "peaks": peaks}
    # Without a bound of kubepods what is outside of it draws on the same.
    del rows[1]["limit"]
    sums = {"sum_request_bytes": 500, "sum_limit_bytes": 650, "without_limit": 1, "without_throttle": 3}
    peaks["/system.slice/user@1.service/x.scope"] = [50, 60]
    found = _accounts.overcommit(rows, 5000)
    assert found == {"allocatable_bytes": 5000, "allocatable_source": "memory without huge pages", "workloads": 4, **sums, "peaks": peaks}


def test_a_bound_of_one_class_of_pods_is_none_of_all() -> None:
    rows = [workload("/kubepods", "qos", limit=None), workload("/kubepods/burstable", "qos", limit=9, qos_class="Burstable")]
    assert _accounts.overcommit([ROOT_ROW, *rows], 5000)["allocatable_bytes"] == 5000


# memory.high of a slice, of two services in it and of one outside, and how many of these, which have limits, nothing slows.
THROTTLED: list[tuple[list[t.Any], int | None]] = [
    ([{}, {}, {}, {}], None),  # cgroup v1
    ([{"high": None}] * 4, 3),
    ([{"high": None}, {"high": 5}, {"high": None}, {"high": None}], 2),
    ([{"high": 5}, {"high": None}, {"high": None}, {"high": None}], 1),
    ([{"high": 5}, {"high": None}, {"high": None}, {"high": 0}], 0),
]


@pytest.mark.parametrize(("highs", "without"), THROTTLED)
def test_a_throttle_is_of_those_below_it(highs: list[t.Any], without: int | None) -> None:
    paths = (("/a.slice", "slice"), ("/a.slice/x.service", "service"), ("/a.slice/y.service", "service"), ("/z.service", "service"))
    rows = [workload(path, kind, limit=9, **high) for (path, kind), high in zip(paths, highs)]
    assert _accounts.overcommit([ROOT_ROW, *rows], 5000)["without_throttle"] == without


def test_peaks_go_by_names_that_last_and_are_unique() -> None:
    rows = [
        workload("/a/1", "container", name="shop/web", container="web", limit=9, peak=1),
        workload("/b/1", "container", name="shop/web", container="web", limit=9, peak=2),
        workload("/u1/app.service", "service", name="app.service", limit=9, peak=3),
        workload("/u2/app.service", "service", name="app.service", limit=9, peak=4),
    ]
    assert _accounts.overcommit([ROOT_ROW, *rows], 5000)["peaks"] == {"shop/web": [9, 2], "/a/1": [9, 1], "/u1/app.service": [9, 3], "/u2/app.service": [9, 4]}


@pytest.mark.parametrize("limit", [None, 0])
def test_without_a_bound_of_kubepods_all_memory_counts(limit: int | None) -> None:
    found = _accounts.overcommit([ROOT_ROW, workload("/kubepods", "qos", limit=limit)], 5000)
    assert (found["allocatable_bytes"], found["allocatable_source"], found["workloads"]) == (5000, "memory without huge pages", 0)
