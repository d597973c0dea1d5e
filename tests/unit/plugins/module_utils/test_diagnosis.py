# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an audit says of a snapshot: zones, top lists, subjects and windows of rules, counters for the next run."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _diagnosis

PAGE = 4096
OOM_RULE = {"id": "OOM", "each": "node", "when": [">", ["delta", "vmstat", "oom_kill"], 0], "observe": {"kills": ["delta", "vmstat", "oom_kill"]}}
MAX_RULE = {"id": "MAX", "each": "cgroup", "when": [">", ["delta", "cgroup", "events", "max"], 0], "observe": {"hits": ["delta", "cgroup", "events", "max"]}}
STALL_RULE = {"id": "STALL", "each": "node", "when": [">", ["rate", "vmstat", "allocstall_normal"], 1], "observe": {}}
REFAULT_RULE = {"id": "RF", "each": "container", "when": [">", ["rate", "cgroup", "stat", "workingset_refault_file"], 10], "observe": {}}


def snapshot(**sections: t.Any) -> t.Any:
    node: dict[str, t.Any] = {
        "facts": {"page_size": PAGE, "hierarchy": "v2", "boot_id": "b1", "uptime_seconds": 5000.0, "memory_recursiveprot": True},
        "meminfo": {"MemTotal": 1 << 30, "MemFree": 1 << 29, "Hugetlb": 0},
        "vmstat": {"oom_kill": 3, "allocstall_normal": 100},
        "zones": [],
        "buddyinfo": [],
        "pressure": {},
        "swaps": [],
        "sockstat": {},
        "numa": [],
        "slabs": [],
        "tmpfs": [],
        "details": {},
        "knobs": {"vm.swappiness": 60},
        "cgroups": [],
        "units": {},
        "oom": {"reports": [], "groups": [], "next_victims": []},
        "unknown": {},
    }
    node.update(sections)
    return node


def cgroup(path: str, usage: int = 1, **more: t.Any) -> dict[str, t.Any]:
    parent = None if path == "/" else path.rsplit("/", 1)[0] or "/"
    return {"path": path, "parent": parent, "inode": hash(path) & 0xFFFF, "kind": "cgroup", "name": path, "usage": usage, **more}


def run(node: t.Any, *rules: t.Any, previous: t.Any = None, top: int = 5) -> dict[str, t.Any]:
    return _diagnosis.diagnose(copy.deepcopy(node), rules=list(rules), previous=previous, top=top)


ZONE = {
    "node": 0,
    "name": "Normal",
    "free": 1000,
    "min": 100,
    "low": 125,
    "high": 150,
    "boost": 20,
    "managed": 9000,
    "pcp": 7,
    "free_cma": 30,
    "free_highatomic": 20,
}


def test_zone_distances_leave_out_what_an_ordinary_request_cannot_use() -> None:
    row = run(snapshot(zones=[{**ZONE, "protection": [0, 0, 64]}]))["zones"][0]
    assert (row["distance_kswapd"], row["distance_direct"], row["reserve"]) == ((1000 - 50 - 125) * PAGE, (1000 - 50 - 100) * PAGE, 64 * PAGE)
    assert row["boost"] == 20 * PAGE


def test_highest_zone_of_each_node_and_empty_zones() -> None:
    zones = [
        {**ZONE, "name": "DMA32"},
        ZONE,
        {**ZONE, "name": "Movable", "managed": 0},
        {**ZONE, "node": 1, "name": "DMA32", "unreclaimable": True},
    ]
    rows = run(snapshot(zones=zones))["zones"]
    assert [(row["node"], row["name"], row["highest"]) for row in rows] == [(0, "DMA32", False), (0, "Normal", True), (1, "DMA32", True)]
    assert rows[2]["unreclaimable"] is True and "unreclaimable" not in rows[0]


@pytest.mark.parametrize("free, share", [([8, 0, 0, 0, 0], 1.0), ([0, 0, 0, 1, 3], round(8 / 56, 4)), ([0, 0], None), ([], None)])
def test_low_order_share(free: list[int], share: float | None) -> None:
    assert _diagnosis.low_order_share(free) == share


def test_per_cpu_lists_of_all_zones_are_in_the_account() -> None:
    rows = {row["name"]: row["bytes"] for row in run(snapshot(zones=[ZONE, {**ZONE, "name": "DMA32", "pcp": 5}]))["breakdown"]["rows"]}
    assert rows["free_percpu_lists"] == 12 * PAGE


def test_top_rows_are_the_first_of_every_part_without_the_root() -> None:
    cgroups = [cgroup("/", 99), *(cgroup(f"/{n}", usage=n, stat={"shmem": 100 - n}) for n in range(10))]
    top = run(snapshot(cgroups=cgroups), top=2)["top"]
    assert [row["path"] for row in top["rows"]] == ["/9", "/8", "/1", "/0"]
    assert top["rows"][0]["shmem"] == 91 and top["cgroups"] == 10
    assert all(name in top["parts"] for name in ("working_set", "dying_bytes", "pagetables"))


PREVIOUS = {"boot_id": "b1", "uptime_seconds": 4000.0, "names": ["cgroup.events.max", "vmstat.oom_kill"], "vmstat": {"oom_kill": 3}, "cgroups": {}}


@pytest.mark.parametrize(
    "previous, status, window",
    [
        (None, "fail", {"kind": "since_boot", "seconds": 5000.0}),
        (PREVIOUS, None, None),
        ({**PREVIOUS, "vmstat": {"oom_kill": 1}}, "fail", {"kind": "since_last_run", "seconds": 1000.0}),
        ({**PREVIOUS, "boot_id": "b0"}, "fail", {"kind": "since_boot", "seconds": 5000.0}),
        ({**PREVIOUS, "boot_id": None}, "fail", {"kind": "since_boot", "seconds": 5000.0}),
    ],
    ids=["first run", "no kill since", "two kills since", "rebooted since", "damaged"],
)
def test_counters_compare_with_the_previous_run_of_this_boot(previous: t.Any, status: str | None, window: t.Any) -> None:
    findings = run(snapshot(), OOM_RULE, previous=previous)["findings"]
    assert [(finding["status"], finding["window"]) for finding in findings] == ([(status, window)] if status else [])


@pytest.mark.parametrize(
    "known, hits",
    [
        ({"/a": {"inode": 11, "events": {"max": 2}}}, 3),
        ({"/a": {"inode": 99, "events": {"max": 2}}}, 5),
        ({}, 5),
        ({"/a": {"inode": 11, "events": {"max": 5}}}, None),
    ],
    ids=["grew", "another cgroup of the same name", "was zero, or new", "unchanged"],
)
def test_cgroup_counters_know_the_inode(known: t.Any, hits: int | None) -> None:
    node = snapshot(cgroups=[cgroup("/"), {**cgroup("/a"), "inode": 11, "events": {"max": 5}}])
    findings = run(node, MAX_RULE, previous={**PREVIOUS, "cgroups": known})["findings"]
    assert [finding["observed"]["hits"] for finding in findings] == ([] if hits is None else [hits])
    assert all(finding["window"] == {"kind": "since_last_run", "seconds": 1000.0} for finding in findings)


def test_a_counter_that_the_previous_run_did_not_keep_counts_since_boot() -> None:
    node = snapshot(cgroups=[cgroup("/"), cgroup("/a", events={"max": 5})])
    findings = run(node, MAX_RULE, previous={**PREVIOUS, "names": []})["findings"]
    assert findings[0]["window"]["kind"] == "since_boot"


def test_counters_for_the_next_run_are_those_of_the_rules_and_not_zero() -> None:
    cgroups = [cgroup("/"), cgroup("/a", events={"max": 5, "oom": 9}), cgroup("/b", events={"max": 0})]
    counters = run(snapshot(cgroups=cgroups), OOM_RULE, MAX_RULE)["counters"]
    assert counters["vmstat"] == {"oom_kill": 3}
    assert {path: {key: row[key] for key in row if key != "inode"} for path, row in counters["cgroups"].items()} == {"/a": {"events": {"max": 5}}}


def test_counters_of_one_run_are_the_previous_ones_of_the_next() -> None:
    node = snapshot(cgroups=[cgroup("/"), cgroup("/a", events={"max": 5})])
    counters = json.loads(json.dumps(run(node, OOM_RULE, MAX_RULE)["counters"]))
    node["facts"]["uptime_seconds"] = 6000.0
    assert run(node, OOM_RULE, MAX_RULE, previous=counters)["findings"] == []


@pytest.mark.parametrize(
    ("failed", "hits", "recovered"),
    [
        ({"MAX": ["/a"]}, {"/a": 0, "/b": 0}, ["/a"]),
        ({"MAX": ["/a", "/b", "/gone"]}, {"/a": 0, "/b": 2}, ["/a"]),  # one fails still, one is no more
        ({"OOM": ["/a"]}, {"/a": 0}, []),  # of another rule
        ({}, {"/a": 0}, []),
    ],
)
def test_what_failed_and_passes_now_is_told_with_its_figures(failed: t.Any, hits: dict[str, int], recovered: list[str]) -> None:
    node = snapshot(cgroups=[cgroup("/"), *(cgroup(path, events={"max": count}) for path, count in hits.items())])
    result = run(node, MAX_RULE, previous={"boot_id": "b0", "failed": failed})
    assert [(row["rule"], row["subject"]["id"], row["status"], row["observed"]) for row in result["recovered"]] == [
        ("MAX", path, "pass", {"hits": 0}) for path in recovered
    ]
    assert all(row["window"] == {"kind": "since_boot", "seconds": 5000.0} and "reason" not in row for row in result["recovered"])


def test_rates_need_the_window_and_cgroups_have_their_own() -> None:
    container = cgroup("/c", kind="container", stat={"workingset_refault_file": 100})
    window = {
        "seconds": 2.0,
        "cgroup_seconds": 1.0,
        "vmstat": {"allocstall_normal": 103},
        "cgroups": {"/c": {"usage": 50, "stat": {"workingset_refault_file": 115}}},
    }
    result = run(snapshot(cgroups=[cgroup("/"), container], window=window), STALL_RULE, REFAULT_RULE)
    assert {finding["rule"]: finding["window"]["seconds"] for finding in result["findings"]} == {"STALL": 2.0, "RF": 1.0}
    assert result["pushers"] == [{"path": "/c", "kind": "container", "name": "/c", "usage": 1, "growth": 49, "refaults": 15}]
    without = run(snapshot(cgroups=[cgroup("/"), container]), STALL_RULE, REFAULT_RULE)
    assert {finding["status"] for finding in without["findings"]} == {"unknown"} and without["pushers"] == []


def test_many_subjects_are_counted_all_and_listed_largest_first() -> None:
    cgroups = [cgroup("/"), *(cgroup(f"/{n}", usage=n, events={"max": 1}) for n in range(300))]
    result = run(snapshot(cgroups=cgroups), MAX_RULE)
    assert result["rules"]["MAX"] == {"passed": 0, "failed": 300, "unknown": 0, "not_applicable": 0}
    assert [finding["subject"]["id"] for finding in result["findings"]] == [f"/{n}" for n in range(299, 199, -1)]


def test_rules_and_the_result_have_what_a_vendors_kernel_tells() -> None:
    vendor = {"memory.wmark_ratio": 95, "memory.exstat": {"wmark_reclaim_work_ms": 7}}
    rule = {"id": "W", "each": "cgroup", "when": [">", ["name", "cgroup", "vendor", "memory.exstat.wmark_reclaim_work_ms"], 5], "observe": {}}
    result = run(snapshot(cgroups=[cgroup("/", vendor=vendor), cgroup("/a", vendor=vendor), cgroup("/b")]), rule)
    assert [(finding["subject"]["id"], finding["status"]) for finding in result["findings"]] == [("/a", "fail"), ("/b", "unknown")]
    assert result["node"]["vendor"] == vendor and result["top"]["rows"][0]["vendor"] == vendor
    assert run(snapshot(cgroups=[cgroup("/")]))["node"]["vendor"] == run(snapshot())["node"]["vendor"] == {}


def test_absent_numbers_make_rules_unknown_and_say_which() -> None:
    result = run(snapshot(vmstat={}), OOM_RULE)
    assert result["findings"][0]["status"] == "unknown" and "oom_kill" in result["findings"][0]["reason"]
    assert result["rules"]["OOM"]["unknown"] == 1


def test_derived_numbers_are_absent_where_nothing_was_read() -> None:
    assert {"dying_memcgs", "live_memcgs", "tcp_mem_bytes", "numa_free_min_share", "redis", "cmdline_nokmem"}.isdisjoint(run(snapshot())["derived"])


def test_derived_numbers() -> None:
    node = snapshot(
        meminfo={
            "MemTotal": 1000,
            "HugePages_Total": 5,
            "HugePages_Free": 4,
            "HugePages_Rsvd": 1,
            "Hugepagesize": 10,
            "Hugetlb": 50,
            "PageTables": 7,
            "SecPageTables": 1,
        },
        numa=[{"id": 0, "meminfo": {"MemTotal": 100, "MemFree": 10}}, {"id": 1, "meminfo": {"MemTotal": 100, "MemFree": 40}}],
        sockstat={"TCP": {"mem": 3}},
        tcp_mem={"min": 1, "pressure": 2, "max": 3},
        cmdline=[("quiet", None), ("cgroup.memory", "nokmem,nobpf")],
        programs={"redis": ["/c"]},
        cgroups=[
            cgroup("/", children_min=0),
            cgroup("/c", kind="container", limit=70, request=30, min=20, high=None),
            cgroup("/d", kind="container", limit=None, min=5, high=9),
        ],
        zones=[ZONE],
    )
    derived = run(node)["derived"]
    expected = {
        "hugetlb_bytes": 50, "memory_without_hugetlb_bytes": 950, "hugepages_total_bytes": 50, "hugepages_free_unreserved_bytes": 30, "page_tables_bytes": 8,
        "numa_free_min_share": 0.1, "numa_free_max_over_min": 4.0, "tcp_mem_bytes": 3 * PAGE, "tcp_mem_pressure_bytes": 2 * PAGE, "cmdline_nokmem": True,
        "cmdline_nosocket": False, "redis": True, "mongodb": False, "sum_limit_bytes": 70, "sum_request_bytes": 30, "sum_memory_min_bytes": 25,
        "without_throttle": 1, "live_memcgs": 3, "watermark_gap_bytes": 25 * PAGE,
    }  # fmt: skip
    assert {name: derived.get(name) for name in expected} == expected


def test_the_result_is_json_of_plain_numbers() -> None:
    node = snapshot(cgroups=[cgroup("/"), cgroup("/a", limit=None)], zones=[ZONE])
    assert json.loads(json.dumps(run(node, OOM_RULE), allow_nan=False))["schema_version"] == 1


def test_protection_without_a_limit_is_infinite_not_unknown_and_not_0() -> None:
    rule = {"id": "SUM", "each": "node", "when": [">", ["name", "node", "sum_memory_min_bytes"], ["name", "node", "memtotal_bytes"]]}
    result = run(snapshot(cgroups=[cgroup("/"), cgroup("/a", min=None), cgroup("/b", min=1)]), rule)
    assert [finding["status"] for finding in result["findings"]] == ["fail"] and result["derived"]["sum_memory_min_bytes"] is None
