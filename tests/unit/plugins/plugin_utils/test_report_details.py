# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What reports say of one host beyond findings: nothing claimed that was not looked at, nothing that did not grow called grown."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_details as details
from ansible_collections.memqos.fleet.plugins.plugin_utils import _results

SAMPLES = str(Path(__file__).parents[2] / "fixtures" / "results")
WEB = _results.read_result(SAMPLES, "web-1")

COVERAGE: list[tuple[t.Any, dict[str, str], t.Any, str]] = [
    ({}, {}, 100, ""),
    ({"lost": False, "since_us": 9_000_000}, {}, 100, ""),
    ({"lost": False}, {"oom": "/dev/kmsg: needs root"}, 100, "The kernel log could not be read: /dev/kmsg: needs root"),
    ({"lost": True, "since_us": 2e9}, {}, 9200, "The kernel log goes back only to 2 h before the audit; older kills are not in it."),
    ({"lost": True, "since_us": 0}, {}, 9200, "The kernel log no longer holds its beginning; older kills may not be in it."),
    ({"lost": True, "since_us": "x"}, {}, None, "The kernel log no longer holds its beginning; older kills may not be in it."),
]


@pytest.mark.parametrize(("oom", "unknown", "uptime", "sentence"), COVERAGE)
def test_what_of_the_kernel_log_was_not_seen(oom: t.Any, unknown: dict[str, str], uptime: t.Any, sentence: str) -> None:
    assert details.oom_coverage({"oom": oom, "unknown": unknown, "node": {"uptime_seconds": uptime}}) == sentence


VICTIMS = [
    ({"owner": "cgroup", "name": "/jobs/*", "cgroup": "/jobs/7c2f"}, "/jobs/7c2f"),
    ({"owner": "container", "name": "shop/web-0/web", "cgroup": "/kubepods/x"}, "shop/web-0/web"),
    ({"name": "shop/web-0/web", "cgroup": "/kubepods/x"}, "shop/web-0/web"),
    ({"cgroup": "/a"}, "/a"),
    ({"comm": "init"}, ""),
]


@pytest.mark.parametrize(("victim", "name"), VICTIMS)
def test_a_next_victim_in_a_plain_cgroup_goes_by_its_path(victim: t.Any, name: str) -> None:
    assert details.next_victims({"oom": {"next_victims": [victim]}}) == [{**victim, "name": name}]


def test_only_what_grew_has_grown() -> None:
    rows = [
        {"path": "/shrank", "kind": "cgroup", "name": "shrank", "growth": -900, "refaults": 7},
        {"path": "/grew", "kind": "service", "name": "grew.service", "growth": 5, "refaults": 0},
        {"path": "/both", "kind": "service", "name": "both.service", "growth": 6, "refaults": 9},
        {"path": "/neither", "name": "neither", "growth": -1},
    ]
    moved = details.pushers({"pushers": rows})
    assert [row["name"] for row in moved["grew"]] == ["both.service", "grew.service"]
    assert [row["name"] for row in moved["refaulted"]] == ["both.service", "/shrank"]


def test_every_rule_is_counted_once() -> None:
    counts = {
        "A": {"passed": 9, "failed": 1, "unknown": 2, "not_applicable": 3},
        "B": {"passed": 9, "failed": 0, "unknown": 2},
        "C": {"passed": 9, "not_applicable": 3},
        "D": {"not_applicable": 3},
        "E": {},
    }
    assert details.rule_tally({"rules": counts}) == {"failed": 1, "unknown": 1, "passed": 1, "not_applicable": 2}


ROW: dict[str, t.Any] = {
    "path": "/a", "kind": "container", "limit": None, "high": 1 << 30, "low": 1 << 20, "effective_low": 1 << 19, "min": 0, "effective_min": 0,
    "swap": 4096, "swap_limit": None, "request": 1 << 28, "request_source": "kubelet", "dying": 3, "oom_group": True,
    "events": {"low": 4096, "max": 2, "oom_kill": 1}, "events_local": {"max": 1},
    "pressure": {"some": {"avg10": 1.5, "avg60": 0.0, "avg300": 0.02, "total": 170036}},
    "vendor": {"memory.priority": 4, "__proto__": "x", "memory.exstat": {"wmark_min_throttled_ms": 0, "wmark_reclaim_work_ms": 71},
               "memory.direct_compact_latency": {"total_ms": 0},
               "memory.idle_page_stats": {"scans": 3, "period_seconds": 120, "ages": [1, 5], "file": [4096, 0], "anon": [4096, 1 << 20]}},
}  # fmt: skip


def test_the_details_of_a_cgroup() -> None:
    shown = {title: dict(t.cast("t.Any", pairs)) for title, pairs in details.row_details(ROW)}
    assert list(shown) == ["Identity", "Settings", "State", "Events here and below", "Events here", "Memory pressure", "Vendor files"]
    settings = {"limit": "no limit", "high": "1.00 GiB", "low": "1.00 MiB", "effective low": "512 KiB", "min": "0 B", "effective min": "0 B"}
    assert shown["Settings"] == {**settings, "swap limit": "no limit", "killed as a group": "yes", "request": "256 MiB (kubelet)"}
    assert shown["State"] == {"swap": "4.00 KiB", "removed cgroups below": "3"}
    # memory.events counts, also where its keys are called like sizes.
    assert shown["Events here and below"] == {"low": "4\u202f096", "max": "2", "OOM kills": "1"}
    assert shown["Events here"] == {"max": "1"}
    assert shown["Memory pressure"] == {"some": "avg10 1.5 %, avg60 0 %, avg300 0.02 %"}
    assert shown["Vendor files"] == {
        "memory.priority": "4", "__proto__": "x", "memory.exstat": "wmark_reclaim_work_ms 71", "memory.direct_compact_latency": "0",
        "memory.idle_page_stats": "scans 3, period_seconds 120, file 4.00 KiB for 1 scans, anon 4.00 KiB for 1 scans + 1.00 MiB for 5 scans",
    }  # fmt: skip


@pytest.mark.parametrize("value", [None, 1, "x", [], ["x"], {"some": 1}, {"some": {"avg10": "x"}},
                                   {"f": {"ages": ["x", None], "file": ["y", 1]}}])  # fmt: skip
def test_details_of_another_shape_are_left_out(value: t.Any) -> None:
    for key in ("events", "events_local", "pressure", "vendor", "request"):
        details.row_details({"path": "/a", key: value})


NODE: dict[str, t.Any] = {
    "numa": [{"id": 0, "meminfo": {"MemTotal": 100, "MemFree": 40}, "numastat": {"numa_miss": 3}}, {"id": 1, "meminfo": {"MemTotal": 90}}],
    "swaps": [],
    "slabs": [{"name": f"cache-{number}", "bytes": number, "objects": 1, "active": 1, "object_bytes": 8} for number in range(40)],
    "tmpfs": [{"mount_point": "/run", "used_bytes": 5, "size_bytes": 10}, {"mount_point": "/dev/shm", "used_bytes": 7}],
    "sockstat": {"TCP": {"inuse": 1, "mem": 2}},
    "details": {
        "thp": {"enabled": "madvise", "hpage_pmd_size": 2097152, "hugepages-64kB": {"enabled": "never", "stats": {"nr_anon": 12}}},
        "hugepages": {"1073741824": {"nr": 0, "free": 4096}},
        "zram": [{"name": "zram0", "disksize": 1 << 30, "mm_stat": {"orig_data_size": 4096}}],
        "damon": {"reclaim": {"enabled": "N", "list": [1, 2]}},
        "ksm": {},
    },
}


def test_small_tables_hold_the_largest_and_leave_out_what_is_not_told() -> None:
    tables = {table["title"]: table for table in details.small_tables({"node": NODE})}
    assert list(tables) == ["NUMA nodes", "Largest slab caches", "tmpfs mounts"]
    numa = tables["NUMA nodes"]
    assert numa["columns"] == [["Node", "id"], ["Memory", "bytes"], ["Free", "bytes"], ["Misses", "count"]]
    assert numa["rows"] == [[0, 100, 40, 3], [1, 90, None, None]]
    assert [row[0] for row in tables["Largest slab caches"]["rows"]] == [f"cache-{number}" for number in range(39, 24, -1)]
    assert tables["tmpfs mounts"]["rows"] == [["/dev/shm", 7, None], ["/run", 5, 10]]


@pytest.mark.parametrize("value", [None, 1, "x", [1], {"a": 1}, [{"name": {}, "bytes": "x"}]])
def test_tables_of_another_shape_are_no_error(value: t.Any) -> None:
    node = dict.fromkeys(("numa", "swaps", "slabs", "tmpfs", "details", "sockstat"), value)
    details.small_tables({"node": node})
    details.subsystems({"node": node})


def test_subsystems_are_nested_lists_of_texts() -> None:
    shown: dict[str, t.Any] = dict(t.cast("t.Any", details.subsystems({"node": NODE})))
    assert shown["thp"] == [["enabled", "madvise"], ["hpage_pmd_size", "2.00 MiB"], ["hugepages-64kB", [["enabled", "never"], ["stats", [["nr_anon", "12"]]]]]]
    assert shown["hugepages"] == [["1.00 GiB", [["free", "4\u202f096"], ["nr", "0"]]]]
    assert shown["zram"] == [["zram0", [["disksize", "1.00 GiB"], ["name", "zram0"], ["mm_stat", [["orig_data_size", "4.00 KiB"]]]]]]
    assert shown["damon"] == [["reclaim", [["enabled", "N"], ["list", "1, 2"]]]]
    assert shown["sockstat"] == [["TCP", [["inuse", "1"], ["mem", "2"]]]]
    assert "ksm" not in shown


def test_a_result_that_tells_nothing_of_this_has_none() -> None:
    assert details.small_tables({"node": {}}) == []
    assert details.subsystems({"node": {}}) == []
    assert [row["name"] for row in details.pushers(WEB)["grew"]][:2] == ["kubepods.slice", "batch/reindex-29/worker"]
