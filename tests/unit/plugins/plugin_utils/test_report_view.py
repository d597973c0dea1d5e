# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The words that all reports share."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_view as view
from ansible_collections.memqos.fleet.plugins.plugin_utils import _results

SAMPLES = str(Path(__file__).parents[2] / "fixtures" / "results")
RULES = _results.read_rules(SAMPLES)
WEB = _results.read_result(SAMPLES, "web-1")
DB = _results.read_result(SAMPLES, "db-1")
EDGE = _results.read_result(SAMPLES, "edge-1")

VALUES = [
    ("meminfo.MemFree", 1073741824, "1.00 GiB"),
    ("meminfo.HugePages_Free", 12, "12"),
    ("breakdown.unaccounted", -4096, "-4.00 KiB"),
    ("cgroup.usage", 512, "512 B"),
    ("cgroup.limit", None, "no limit"),
    ("cgroup.stat.active_file", 1 << 20, "1.00 MiB"),
    ("cgroup.stat.workingset_refault_file", 5, "5"),
    ("zone.free", 1 << 20, "1.00 MiB"),
    ("node.slab_bytes", 1 << 30, "1.00 GiB"),
    ("node.dying_memcgs", 22170, "22\u202f170"),
    ("low_order_free_share", 0.953, "95.3 %"),
    ("stalls_per_second", 37.4, "37.4/s"),
    ("pressure.memory.full.avg60", 1.48, "1.48 %"),
    ("idle_seconds", 93784, "1 d 2 h"),
    ("limit", 17179869184, "16.0 GiB"),
    ("limit", None, "no limit"),
    ("cgroup.children_low", 1 << 30, "1.00 GiB"),
    ("zone.distance_direct", -4096, "-4.00 KiB"),
    # The same words below cgroup.events count.
    ("cgroup.events.low", 4096, "4\u202f096"),
    ("cgroup.events_local.high", 4096, "4\u202f096"),
    ("cgroup.events.max", 4096, "4\u202f096"),
    ("cgroup.stat.pgfault", 4096, "4\u202f096"),
    ("full_avg60", 1.48, "1.48 %"),
    ("facts.psi", False, "no"),
    ("facts.hierarchy", "v1", "v1"),
    ("ratio", 0.333333, "0.333"),
]


@pytest.mark.parametrize(("name", "value", "text"), VALUES)
def test_observed_values_in_human_units(name: str, value: t.Any, text: str) -> None:
    assert view.value_text(name, value) == text


# All that a snapshot's cgroups and zones have in bytes, alone and in its namespace.
FIELDS = {
    "cgroup.": "usage peak limit soft_limit high low min swap swap_limit request working_set working_set_sysom hard_set dying_bytes effective_min "
    "effective_low kernel_other growth children_usage children_min children_low",
    "cgroup.stat.": "anon file kernel kernel_stack pagetables sec_pagetables percpu sock vmalloc shmem zswap zswapped file_mapped file_dirty file_writeback "
    "swapcached anon_thp file_thp shmem_thp inactive_anon active_anon inactive_file active_file unevictable slab_reclaimable slab_unreclaimable slab hugetlb",
    "zone.": "free min low high promo boost managed present reserve distance_kswapd distance_direct",
}


@pytest.mark.parametrize("name", [prefix + field for prefix, fields in FIELDS.items() for field in fields.split()])
def test_fields_that_are_sizes(name: str) -> None:
    assert view.value_text(name, 3 << 30) == view.value_text(name.rpartition(".")[2], 3 << 30) == "3.00 GiB"


# How the findings of the built-in rules read, with the values that their own tests have.
READ = {
    "C01": "kills = 2, kills_here_and_below = 2, limit = 512 MiB, peak = 510 MiB",
    "C02": "limit = 512 MiB, file_cache = 360 MiB, limit_hits = 50, limit_hits_here_and_below = 50, memory_high_bytes = 461 MiB",
    "C03": "active_file = 300 MiB, working_set = 420 MiB, limit = 512 MiB",
    "C04": "slab_reclaimable = 600 MiB, working_set = 1.00 GiB, limit = 4.00 GiB",
    "C05": "shmem = 2.00 GiB, anon = 1.00 GiB, limit = 4.00 GiB",
    "C06": "dirty = 1.00 GiB, writeback = 1.00 GiB, limit = 4.00 GiB",
    "C07": "usage = 500 MiB, limit = 512 MiB, hard_set = 470 MiB, anon = 455 MiB, shmem = 0 B",
    "C08": "refaults_per_second = 6\u202f000/s, some_avg10 = 22.5 %, limit = 512 MiB, usage = 400 MiB",
    "C09": "breaches = 8, breaches_here_and_below = 0, low = 300 MiB, effective_low = 200 MiB, usage = 250 MiB",
    "C10": "throttled = 5\u202f000, throttled_here_and_below = 0, full_avg60 = 9.5 %, high = 400 MiB, usage = 400 MiB",
    "C11": "usage = 2.00 GiB, working_set = 1.00 GiB",
    "C12": "usage = 4.00 GiB, children = 1.00 GiB, dying = 3",
    "C13": "children_min = 100 MiB, min = 0 B, children_low = 0 B, low = 0 B",
    "C13N": "sum_memory_min = 22.0 GiB, memtotal = 23.5 GiB",
    "C15": "kernel = 2.00 GiB, slab_reclaimable = 100 MiB, sock = 1.00 MiB, working_set = 2.00 GiB",
    "C16": "swap = 1.00 GiB, swap_limit = 1.00 GiB, usage = 2.00 GiB, limit = 4.00 GiB",
    "C17": "high = 4.00 GiB, limit = 4.00 GiB",
    "C18": "request = 1.00 GiB, usage = 2.00 GiB, effective_low = 0 B, effective_min = 0 B",
    "C21": "min = 0 B, low = 5.00 GiB, limit = 4.00 GiB, low_within_limit = 4.00 GiB",
    "C22": "limit = 4.00 GiB, usage = 1.00 GiB",
    "C24": "full_avg60 = 30 %, usage = 1.00 GiB, high = no limit, limit = no limit",
    "N01": "kills = 2",
    "N02": "free = 74.0 MiB, min = 66.0 MiB, low = 88.0 MiB, boost = 0 B, distance_direct = 8.00 MiB, watermark_scale_factor = 10",
    "N03": "normal_stalls_per_second = 1.5/s, movable_stalls_per_second = 25/s, dma32_stalls_per_second = 0/s, watermark_scale_factor = 10",
    "N04": "low_hit_quickly_per_second = 4/s, normal_stalls_per_second = 0/s, movable_stalls_per_second = 33/s, watermark_scale_factor = 200",
    "N05": "gap = 1.00 GiB, watermark_scale_factor = 600, memtotal = 16.0 GiB",
    "N06": "min_free = 66.0 MiB, memtotal = 23.5 GiB, numa_nodes = 1, direct_reclaims = 40",
    "N07": "min_free = 512 KiB",
    "N08": "min_free = 4.77 GiB, memtotal = 23.5 GiB",
    "N09": "unaccounted = 7.00 GiB, memory_without_hugetlb = 23.5 GiB",
    "N10": "slab = 4.00 GiB, slab_reclaimable = 1.00 GiB, slab_unreclaimable = 3.00 GiB",
    "N11": "page_tables = 3.00 GiB, memory_without_hugetlb = 23.5 GiB",
    "N12": "low_order_free_share = 97 %, free = 800 MiB, compact_stalls = 20, compaction_proactiveness = 20",
    "N13": "stalls_per_second = 20/s, stalls = 900, failed = 850",
    "N14": "fullest_free_share = 2 %, free_most_over_least = 20, pages_from_elsewhere_per_second = 5\u202f000/s",
    "N15": "zone_reclaim_mode = 1, numa_nodes = 2",
    "N16": "committed = 20.0 GiB, memory = 16.0 GiB, swap_total = 0 B",
    "N17": "committed = 12.0 GiB, limit = 12.5 GiB, overcommit_ratio = 50, swap_total = 0 B",
    "N18": "overcommit_memory = 1, panic_on_oom = 0, panic = 0, panic_on_oops = 1",
    "N19": "panic_on_oom = 2",
    "N20": "oom_dump_tasks = 0",
    "N21": "swappiness = 0, swap_total = 2.00 GiB",
    "N22": "swappiness = 180, swap_total = 4.00 GiB",
    "N23": "pages_per_second = 500/s, some_avg60 = 25 %, swap_used = 2.00 GiB",
    "N24": "page_cache_drops = 2, slab_drops = 0, in_cron_or_sysctl = no",
    "N25": "vfs_cache_pressure = 0, slab_reclaimable = 75.0 MiB",
    "N26": "vfs_cache_pressure = 10\u202f000, slab_reclaimable = 1.00 GiB",
    "N27": "transparent_hugepage = always",
    "N27M": "transparent_hugepage = madvise",
    "N27O": "transparent_hugepage = always",
    "N28": "overcommit_memory = 0, committed = 8.00 GiB",
    "N29": "max_map_count = 65\u202f530",
    "N29C": "max_map_count = 65\u202f530",
    "N29K": "max_map_count = 65\u202f530",
    "N30": "swap = 1.00 GiB, swap_limit = no limit, anon = 6.00 GiB, unevictable = 0 B",
    "N30K": "swappiness = 60, swap_total = 4.00 GiB",
    "N31": "transparent_hugepage = always, numa_balancing = 0, ksm = 0",
    "N32": "dirty = 3.43 GiB, writeback = 195 MiB, bound = 3.81 GiB",
    "N33": "dirty_writeback_centisecs = 0, dirty = 1.00 MiB",
    "N34": "free = 40.0 MiB, min = 66.0 MiB, managed = 21.0 GiB",
    "N35": "corrupted = 4.00 KiB",
    "N36": "free = 3.00 GiB, pool = 4.00 GiB, memtotal = 16.0 GiB",
    "N37": "unevictable = 4.00 GiB, mlocked = 1.00 GiB, memtotal = 16.0 GiB",
    "N38": "shmem = 4.00 GiB, memory_without_hugetlb = 23.5 GiB",
    "N39": "tcp_bytes = 2.00 GiB, pressure_mark_bytes = 1.49 GiB",
    "N40": "dying_cgroups = 1\u202f800, live_cgroups = 2\u202f400",
    "N41": "full_avg10 = 4.5 %, full_avg60 = 4.5 %, some_avg60 = 40 %",
    "N41C": "full_avg10 = 34.5 %, full_avg60 = 34.5 %, some_avg60 = 40 %",
    "N42": "sum_limit = 20.0 GiB, allocatable = 16.0 GiB, without_throttle = 2, without_limit = 3",
    "N44": "memory_version = 1",
    "N45": "nokmem = yes, nosocket = no",
    "N46": "kernel = 6.1.0-31-amd64",
    "N47": "zswap_enabled = yes, zram = yes, swap_used = 1.00 GiB",
    "N48": "swap_used = 4.00 GiB, swap_total = 4.00 GiB, available = 1.00 GiB",
    "N49": "available = 100 MiB, memtotal = 16.0 GiB, swap_used = 0 B",
    "N51": "enabled = always, defrag = always",
    "N53": "page_cluster = 3",
    "N55": "oom_kill_allocating_task = 1",
    "N57": "refaults_per_second = 9\u202f000/s, some_avg60 = 12 %, available = 1.00 GiB",
    "N58": "overcommit_memory = 2, committed = 8.00 GiB, limit = 9.00 GiB",
    "N59": "percpu = 2.00 GiB, cpus = 256, dying_memcgs = 900",
    "N60": "kernel_stack = 1.00 GiB, memtotal = 16.0 GiB",
    "N61": "sum_request = 16.0 GiB, allocatable = 16.0 GiB, workloads = 30",
    "N62": "stranded = 6.00 GiB, workloads = 12, sum_limit = 12.0 GiB, allocatable = 16.0 GiB",
    "P01": "live = 35, at_boot = 60, decided_by = /etc/sysctl.d/90-app.conf",
    "P02": "live = 10, at_boot = 90, decided_by = /etc/sysctl.d/zzz-late.conf, source = sysctl.d",
    "P03": "live = 35, at_boot = 10",
}
CASES = Path(__file__).parents[2] / "rules"


@pytest.mark.parametrize("rule", sorted(path.stem for path in CASES.glob("*.yml")))
def test_findings_of_the_built_in_rules_read_well(rule: str) -> None:
    cases = yaml.safe_load((CASES / f"{rule}.yml").read_text(encoding="utf-8"))
    observed = next(case["observed"] for case in cases.values() if "observed" in case)
    assert ", ".join(f"{name} = {view.value_text(name, value)}" for name, value in observed.items()) == READ[rule]


VISIBLE = [
    ("web-1 ünï 日本", "web-1 ünï 日本"),
    ("a\x1b[31mred\x1b]0;t\x07", "a\\x1b[31mred\\x1b]0;t\\x07"),
    ("one\ntwo\r\tthree", "one\\ntwo\\r\\tthree"),
    ("rtl\u202egnp.exe\u2066", "rtl\\u202egnp.exe\\u2066"),
    ("zero\u200bwidth\u2028", "zero\\u200bwidth\\u2028"),
    ("\ud800", "\\ud800"),
    ("\x9b31m", "\\x9b31m"),
    ("\U000e0041", "\\U000e0041"),
]


@pytest.mark.parametrize(("text", "shown"), VISIBLE)
def test_nothing_hides_in_a_text(text: str, shown: str) -> None:
    assert view.visible(text) == shown


WINDOWS = [
    ({"kind": "since_last_run", "seconds": 86390}, "since the last run, 23 h 59 min"),
    ({"kind": "since_boot", "seconds": 60}, "since boot, 1 min"),
    ({"kind": "window", "seconds": 0.5}, "in the audit's window"),
    ({"kind": "<b>", "seconds": "x"}, ""),
    ({}, ""),
]


@pytest.mark.parametrize(("window", "text"), WINDOWS)
def test_windows(window: dict[str, t.Any], text: str) -> None:
    assert view.window_text(window) == text


def test_findings_come_by_severity_and_unknown_ones_last() -> None:
    found = view.join_findings(WEB, RULES)
    assert [(one.severity, one.rule) for one in found if one.status == "fail"] == [
        ("critical", "C01"), ("critical", "N01"), ("warning", "C03"), ("warning", "N03"), ("warning", "N40"), ("info", "C11"),
    ]  # fmt: skip
    assert [one.rule for one in found if one.status != "fail"] == ["N23"]
    assert found[0].title == "A container was killed at its limit"
    assert found[0].subject == "shop/checkout-7d9f/app"
    assert ("cgroup.limit", "16.0 GiB") in found[0].observed


def test_a_rule_that_nobody_describes_is_a_warning() -> None:
    (finding,) = view.join_findings({**EDGE, "findings": [{"rule": "X1", "subject": {"kind": "node", "id": "node", "name": ""}, "status": "fail"}]}, RULES)
    assert (finding.title, finding.severity, finding.subject) == ("X1", "warning", "")


def test_a_host_in_one_line() -> None:
    host = view.summarise(DB, RULES)
    assert (host.name, host.hierarchy, host.memtotal) == ("db-1", "v1", 270330900480)
    assert host.swap_used == DB["node"]["meminfo"]["SwapTotal"] - DB["node"]["meminfo"]["SwapFree"] > 0
    assert host.pressure is None
    assert host.counts == {"critical": 1, "warning": 1, "info": 1, "unknown": 1, "suppressed": 0}
    assert view.summarise(EDGE, RULES).unaccounted == -593920


def test_findings_that_the_node_only_counted_are_counted() -> None:
    result = json.loads(json.dumps(WEB))
    result["rules"]["C01"]["failed"] = 812
    assert view.summarise(result, RULES).counts["critical"] == 813


def fleet(results: t.Iterable[t.Any], *, top: int = 2) -> view.Fleet:
    gathered = view.Fleet(RULES, top=top)
    for result in results:
        gathered.add(result)
    return gathered


def test_totals_and_the_worst_first() -> None:
    gathered = fleet([EDGE, WEB, DB])
    assert [host.name for host in gathered.worst(2)] == ["web-1", "db-1"]
    assert gathered.total(lambda host: host.memtotal) == sum(result["breakdown"]["memtotal_bytes"] for result in (EDGE, WEB, DB))
    assert gathered.count("critical") == 3
    assert gathered.by_rule["N09"] == 1


@pytest.mark.parametrize("part", ["usage", "working_set", "anon", "sock", "refaults", "limit"])
def test_the_top_of_the_fleet_holds_the_first_of_every_part(part: str) -> None:
    everything = [view.top_row(result["host"], row) for result in (EDGE, WEB, DB) for row in result["top"]["rows"]]
    wanted = sorted((row.cells[part] for row in everything if part in row.cells), reverse=True)[:3]
    found = sorted((row.cells[part] for row in fleet([EDGE, WEB, DB], top=3).top_rows() if part in row.cells), reverse=True)[:3]
    assert found == wanted


def test_the_top_of_a_large_fleet_stays_small() -> None:
    rows = [{"path": f"/{number}", "usage": number} for number in range(1000)]
    gathered = fleet([{**EDGE, "top": {"limit": 1000, "parts": [], "rows": rows}}], top=5)
    assert sorted(row.cells["usage"] for row in gathered.top_rows()) == [995, 996, 997, 998, 999]


def test_values_that_are_no_numbers_are_not_known() -> None:
    assert view.top_row("h", {"path": "/a", "usage": "1", "anon": True, "limit": None, "swap": 0}).cells == {"swap": 0}


ACCEPTED = {"reason": "known", "until": "2027-01-31"}


def judged(*findings: dict[str, t.Any], **rules: dict[str, int]) -> dict[str, t.Any]:
    subject = {"kind": "container", "id": "/a", "name": "a"}
    return {**EDGE, "findings": [{"subject": subject, "status": "fail", **one} for one in findings], "rules": rules}


SUPPRESSED = [
    # what is accepted counts as that only
    (judged({"rule": "C01", "suppressed": ACCEPTED}, {"rule": "C01"}), {"C01": (1, 0, 1)}),
    # also where the node counted more than it listed
    (judged({"rule": "C01", "suppressed": ACCEPTED}, C01={"failed": 812}), {"C01": (811, 0, 1)}),
    (judged({"rule": "C01", "suppressed": ACCEPTED}, C01={"failed": 812, "suppressed": 812}), {"C01": (0, 0, 812)}),
    (judged({"rule": "N23", "status": "unknown", "suppressed": ACCEPTED}), {"N23": (0, 0, 1)}),
    (judged({"rule": "C01", "suppression_expired": ACCEPTED}), {"C01": (1, 0, 0)}),
    (judged({"rule": "C01", "suppressed": None}), {"C01": (1, 0, 0)}),
]


@pytest.mark.parametrize(("result", "expected"), SUPPRESSED)
def test_what_is_accepted_is_in_no_other_count(result: dict[str, t.Any], expected: dict[str, tuple[int, int, int]]) -> None:
    assert view.finding_counts(result) == expected
    gathered = fleet([result])
    assert sum(gathered.count(name) for name in (*view.SEVERITIES, "unknown")) == sum(sum(counts[:2]) for counts in expected.values())
    assert gathered.count("suppressed") == sum(counts[2] for counts in expected.values())
    assert set(gathered.by_rule) == {rule for rule, counts in expected.items() if counts[0]}
    assert {rule for unused, unused2, rule, unused3 in gathered.first} == {
        one["rule"] for one in result["findings"] if one["status"] == "fail" and not one.get("suppressed")
    }


def test_what_is_accepted_comes_last_and_says_why() -> None:
    found = view.join_findings(judged({"rule": "C01", "suppressed": ACCEPTED}, {"rule": "C11", "suppression_expired": ACCEPTED}), RULES)
    assert [(one.rule, one.suppressed, one.expired) for one in found] == [("C11", None, ("known", "2027-01-31")), ("C01", ("known", "2027-01-31"), None)]


def test_the_first_findings_of_a_fleet_are_its_worst() -> None:
    many = [{**judged(*[{"rule": "C03"}] * 8, {"rule": "C01"}), "host": f"n{number}"} for number in range(5)]
    first = fleet(many).first
    assert [(severity, host, rule) for severity, host, rule, unused in first[:6]] == [(0, f"n{number}", "C01") for number in range(5)] + [(1, "n0", "C03")]
    assert len(first) == 10


def over(side: dict[str, t.Any], kind: str) -> dict[str, t.Any]:
    return {**side, "window": {"kind": kind, "seconds": 86400.0}}


FAIL, PASS = {"status": "fail", "observed": {"x": 1}}, {"status": "pass", "observed": {"x": 0}}
WHAT = [
    (None, FAIL, "new"), (PASS, FAIL, "new"), (FAIL, FAIL, "still"), (FAIL, PASS, "cured"), (FAIL, None, "gone"), (FAIL, {"status": "unknown"}, "undecided"),
    (FAIL, {"status": "not_applicable"}, "gone"), (over(FAIL, "since_boot"), over(PASS, "since_last_run"), "not_again"),
    (over(FAIL, "since_boot"), {"status": "pass", "observed": {}}, "not_again"), (FAIL, over(PASS, "window"), "not_again"),
    (over(FAIL, "since_boot"), over(FAIL, "since_last_run"), "still"), (over(FAIL, "since_boot"), None, "gone"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "what"), WHAT)
def test_what_became_of_a_finding(before: t.Any, after: t.Any, what: str) -> None:
    subject = {"kind": "pod", "id": "/p", "name": "p"}
    (change,) = view.changes_since({"changes": {"findings": [{"rule": "C01", "subject": subject, "before": before, "after": after}]}}, RULES)
    assert (change.what, change.subject, change.severity) == (what, "p", "critical")
    assert change.before == ([("x", str(before["observed"]["x"]))] if before else [])
    assert bool(change.window) == (what == "not_again" and "window" in after)


def test_changes_come_in_order_and_a_first_audit_has_none() -> None:
    listed = [{"rule": rule, "subject": "node", "before": before, "after": after} for rule in ("C03", "C01") for before, after, unused in WHAT]
    found = view.changes_since({"changes": {"findings": listed}}, RULES)
    assert [one.what for one in found] == sorted((one.what for one in found), key=["new", "still", "undecided", "cured", "not_again", "gone"].index)
    assert [one.rule for one in found[:4]] == ["C01", "C01", "C03", "C03"] and {one.subject for one in found} == {""}
    assert view.changes_since(WEB, RULES) == view.changes_since({"changes": None}, RULES) == []


SINCE = [
    ({}, ""),
    ({"since": None, "generation": 3}, ""),
    ({"since": {"collected_at": "t", "generation": 3}, "generation": 3, "rebooted": False}, "t"),
    ({"since": {"collected_at": "t", "generation": None}, "generation": 3, "rebooted": True}, "t, generation 3 since then, a reboot between"),
]


@pytest.mark.parametrize(("changes", "text"), SINCE)
def test_what_came_between_two_audits(changes: dict[str, t.Any], text: str) -> None:
    assert view.since_text({**WEB, "changes": changes}) == text


def test_a_change_says_what_changed_besides_the_node() -> None:
    listed = [{"rule": "C01", "subject": "node", "before": FAIL, "after": None, "because": because} for because in ("rule_dropped", "<b>")]
    assert [one.because for one in view.changes_since({"changes": {"findings": listed}}, RULES)] == ["the rule is not looked at any more", ""]


def test_a_suppression_that_one_host_has_is_used() -> None:
    unused = {"rule": "C01", "host": "*", "subject": "*", **ACCEPTED}
    other = {**unused, "rule": "N09", "reason": "other"}
    gathered = fleet([{**judged(), "suppressions_unused": [unused, other]}, judged({"rule": "C01", "suppressed": ACCEPTED})])
    assert gathered.unused_suppressions() == [other]
    assert fleet([{**judged(), "suppressions_unused": [unused, other]}] * 2).unused_suppressions() == [unused, other]


RULES_OF_CAUSES: dict[str, t.Any] = {
    "N41C": {"title": "The node thrashes", "severity": "critical", "because_of": ["C10", "N57"]},
    "N25": {"title": "Never freed", "severity": "critical"},
    "C10": {"title": "Throttled", "severity": "warning"},
    "C02": {"title": "Full of cache", "severity": "warning"},
}


def _found(rule: str, **keys: t.Any) -> dict[str, t.Any]:
    return {"rule": rule, "subject": {"kind": "node", "id": "node", "name": ""}, "status": "fail", **keys}


ORDERS = [
    ("a cause is as urgent as what it explains", [_found(rule) for rule in ("N41C", "C02", "C10", "N25")], ["N25", "C10", "N41C", "C02"]),
    ("no cause, no delay", [_found(rule) for rule in ("C02", "N41C", "N25")], ["N25", "N41C", "C02"]),
    ("what is unknown explains nothing", [_found("C10", status="unknown"), _found("N41C"), _found("C02")], ["N41C", "C02", "C10"]),
    ("nor what is accepted", [_found("C10", suppressed={"reason": "batch", "until": "2099-01-01"}), _found("C02"), _found("N41C")], ["N41C", "C02", "C10"]),
]


@pytest.mark.parametrize(("findings", "order"), [case[1:] for case in ORDERS], ids=[case[0] for case in ORDERS])
def test_causes_come_before_what_they_explain(findings: list[dict[str, t.Any]], order: list[str]) -> None:
    found = view.join_findings({"findings": findings}, RULES_OF_CAUSES)
    assert [one.rule for one in found] == order
    explained = order.index("C10") < order.index("N41C") if "C10" in order else False
    assert {one.rule: one.because for one in found if one.because} == ({"N41C": ["C10"]} if explained else {})
