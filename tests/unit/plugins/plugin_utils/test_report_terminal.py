# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The terminal's summary: it fits, it escapes, and the worst comes first."""

from __future__ import annotations

import re
import typing as t
import unicodedata
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_terminal as terminal
from ansible_collections.memqos.fleet.plugins.plugin_utils import _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import Fleet

SAMPLES = str(Path(__file__).parents[2] / "fixtures" / "results")
RULES = _results.read_rules(SAMPLES)
HOSTS = _results.known_hosts(SAMPLES)


def lines_of(host: str, width: int = 80) -> list[terminal.Line]:
    result = _results.read_result(SAMPLES, host)
    return terminal.render_host(result, RULES, Fleet(RULES, top=1).add(result), width=width)


def fleet_lines(*, copies: int = 1, width: int = 80) -> list[terminal.Line]:
    fleet = Fleet(RULES, top=1)
    for number in range(copies):
        for host in HOSTS:
            fleet.add({**_results.read_result(SAMPLES, host), "host": f"{host}-{number}" if number else host})
    fleet.unreachable = ["gone\x1b[2J"]
    fleet.invalid = {"bad": "cut short\n" * 20}
    return terminal.render_fleet(fleet, width=width)


def text(lines: t.Iterable[terminal.Line]) -> str:
    return "\n".join(line.text for line in lines)


@pytest.mark.parametrize("width", [40, 60, 79, 80, 200])
def test_every_line_fits(width: int) -> None:
    lines = [line for host in HOSTS for line in lines_of(host, width)] + fleet_lines(width=width) + fleet_lines(copies=4, width=width)
    assert max(terminal.cells(line.text) for line in lines) <= max(width, 60)


def test_no_character_of_a_node_reaches_the_terminal_unescaped() -> None:
    for line in [line for host in HOSTS for line in lines_of(host)] + fleet_lines():
        assert not [char for char in line.text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")], line
    hostile = text(lines_of(HOSTS[2]))
    assert "esc\\x1b[31mred" in hostile
    assert "rtl\\u202egnp.exe" in hostile


def test_memory_findings_and_working_sets_of_a_host() -> None:
    shown = text(lines_of("web-1"))
    assert "━━ web-1 ━" in shown
    assert "free 1.13 GiB   available 12.9 GiB   no swap   pressure full 1.48 %" in shown
    assert re.search(r"inactive_anon +█+\S* +22\.4 GiB +36\.6%", shown)
    order = [shown.index(mark) for mark in ("✖ C01", "✖ N01", "▲ C03", "▲ N03", "● C11", "? 1 could not be decided", "Largest working sets")]
    assert order == sorted(order)
    assert "cgroup.limit = 16.0 GiB" in shown
    assert "→ sysctl -w vm.watermark_scale_factor=150" in shown
    sets = shown.partition("Largest working sets")[2].strip().splitlines()
    assert len(sets) == 5
    assert re.fullmatch(r"shop/search-0/elastic +13\.4 GiB +of 16\.0 GiB", sets[0].strip())


def test_a_negative_row_has_no_bar_and_keeps_its_sign() -> None:
    result = _results.read_result(SAMPLES, "edge-1")
    result["breakdown"]["rows"] = result["breakdown"]["rows"][-1:]
    shown = text(terminal.render_host(result, RULES, Fleet(RULES, top=1).add(result), width=80))
    assert re.search(r"unaccounted +-580 KiB", shown)
    assert "█" not in shown


def test_a_host_without_findings_says_so() -> None:
    assert "No findings." in text(lines_of("edge-1"))


def changed(host: str, **keys: t.Any) -> str:
    result = {**_results.read_result(SAMPLES, host), **keys}
    lines = terminal.render_host(result, RULES, Fleet(RULES, top=1).add(result), width=80)
    assert max(terminal.cells(line.text) for line in lines) <= 80
    return text(lines)


PATH = "/process_api/" + "d744937f59b5a064b0bc8c3301bfbc72/" * 3 + "leaf"


def test_oom_kills_and_who_pushed_follow_the_findings() -> None:
    shown = text(lines_of("web-1"))
    order = [shown.index(mark) for mark in ("could not be decided", "OOM kills", "Who pushed", "Largest working sets")]
    assert order == sorted(order)
    kills = shown.partition("OOM kills")[2].partition("Who pushed")[0].strip().splitlines()
    assert re.fullmatch(r"shop/checkout/app +3 killed", kills[0])
    assert kills[1] == "    the container ran into its limit of 16.0 GiB"
    rows = shown.partition("while the audit watched")[2].partition("Largest")[0].strip().splitlines()
    assert len(rows) == 3
    assert re.fullmatch(r"kubepods.slice +\+271 MiB +28\u202f330 refaults", rows[0])


def test_only_the_first_groups_are_listed_and_paths_keep_their_end() -> None:
    groups = [{"name": PATH, "killed": 1000 - number, "cause": f"the cgroup {PATH}, above, ran into its limit; more"} for number in range(5)]
    shown = changed("web-1", oom={"groups": groups})
    assert re.search(r"  ….*c72/leaf +1\u202f000 killed\n    the cgroup …[0-9a-f]{21}/leaf, above, ran into its limit\n", shown)
    assert "… and 2 more workloads" in shown
    assert "998 killed" in shown
    assert "997 killed" not in shown


def test_a_kernel_log_that_was_not_seen_whole_is_said() -> None:
    assert "OOM kills" not in changed("edge-1")
    unread = changed("edge-1", unknown={"oom": "/dev/kmsg: needs root (Operation not permitted)"})
    assert "  The kernel log could not be read: /dev/kmsg: needs root (Operation not\n  permitted)" in unread
    assert "older kills may not be in it" in changed("edge-1", oom={"lost": True})


def test_what_shrank_has_not_pushed() -> None:
    row = {"path": "/a/7c2f", "kind": "cgroup", "name": "7c2f", "growth": -86917120, "refaults": 193}
    shown = changed("edge-1", pushers=[row]).partition("Who pushed")[2]
    assert re.search(r"/a/7c2f +193 refaults\n", shown)
    assert "MiB" not in shown.partition("Largest")[0]
    assert "Who pushed" not in changed("edge-1", pushers=[{**row, "refaults": 0}])


def test_plain_cgroups_go_by_their_path() -> None:
    row = {"path": PATH, "kind": "cgroup", "name": "leaf", "working_set": 1 << 30, "limit": None}
    shown = changed("edge-1", top={"limit": 1, "parts": [], "rows": [row]}).partition("Largest working sets")[2]
    assert re.fullmatch(r"…[0-9a-f/]+/leaf +1\.00 GiB +no limit", shown.strip())


def test_a_command_is_wrapped_but_never_shortened() -> None:
    command = "echo " + "x" * 200 + " " + "y" * 30
    lines = terminal._wrapped(command, 60, indent=4)
    assert "".join(line.text[4:] for line in lines).replace(" ", "") == command.replace(" ", "")
    assert max(len(line.text) for line in lines) <= 60


def test_a_fleet_lists_the_worst_hosts_and_the_rules() -> None:
    shown = text(fleet_lines(copies=4))
    assert "━━ 16 hosts ━" in shown
    rows = shown.partition("Worst hosts")[2].partition("Findings by rule")[0].strip().splitlines()
    assert len(rows) - 1 == 10
    assert rows[1].lstrip().startswith("evil")
    assert re.search(r"✖ +8 hosts +C01 A container was killed at its limit", shown)
    assert "Findings: 60 critical, 24 warning, 8 info, 16 unknown" in shown
    assert "✖ gone\\x1b[2J: no result in this run: unreachable or skipped" in shown
    assert "✖ bad: cut short\\ncut short" in shown


def test_paths_are_whole_and_harmless() -> None:
    path = "/srv/" + "long/" * 30 + "a\x1b[2Jb/report.html"
    lines = [line.text for line in terminal.render_paths({"json": "/srv/report.json", "html": path})]
    assert lines == ["", "  " + path.replace("\x1b", "\\x1b"), "  /srv/report.json"]
    assert terminal.render_paths({}) == []


BARS = [(0.0, 10, ""), (-1.0, 10, ""), (1.0, 3, "███"), (2.0, 3, "███"), (0.5, 3, "█▌"), (0.04, 3, "▏")]


@pytest.mark.parametrize(("share", "width", "blocks"), BARS)
def test_bars(share: float, width: int, blocks: str) -> None:
    assert terminal.bar_text(share, width) == blocks


CLIPS = [
    ("short", 10, "short"),
    ("exactly it", 10, "exactly it"),
    ("too long for it", 8, "too lon…"),
    ("日本語", 4, "日…"),
    ("e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"),
]


@pytest.mark.parametrize(("long", "width", "clipped"), CLIPS)
def test_clipping_counts_columns(long: str, width: int, clipped: str) -> None:
    assert terminal.clip(long, width) == clipped


ACCEPTED = {"reason": "known, ticket 7", "until": "2027-01-31"}


def test_what_is_accepted_stands_apart_with_reason_and_date() -> None:
    subject = {"kind": "container", "id": "/a", "name": "a"}
    old = {"rule": "C03", "subject": subject, "status": "fail", "suppression_expired": {"reason": "old", "until": "2026-01-01"}}
    shown = changed("edge-1", rules={}, findings=[{"rule": "C01", "subject": subject, "status": "fail", "suppressed": ACCEPTED}, old])
    before, accepted = shown.split("\n  Accepted\n")
    assert "C01" not in before and "    was accepted until 2026-01-01: old" in before
    assert accepted.splitlines()[:2] == [f"  ✖ C01 {RULES['C01']['title']} · a", "    until 2027-01-31: known, ticket 7"]
    fleet = Fleet(RULES, top=1)
    fleet.add(
        {**_results.read_result(SAMPLES, "edge-1"), "findings": [{"rule": "C01", "subject": subject, "status": "fail", "suppressed": ACCEPTED}], "rules": {}}
    )
    assert "Findings: 0 critical, 0 warning, 0 info, 0 unknown; 1 accepted" in text(terminal.render_fleet(fleet, width=80))


def test_what_became_of_the_findings_of_the_last_audit() -> None:
    def change(rule: str, before: t.Any, after: t.Any) -> dict[str, t.Any]:
        sides = [value and {"status": value[0], "observed": {"swappiness": value[1]}} for value in (before, after)]
        return {"rule": rule, "subject": "node", "before": sides[0], "after": sides[1]}

    listed = [
        change("N21", ("fail", 0), ("pass", 1)),
        change("C01", None, ("fail", 3)),
        change("C03", ("fail", 5), ("fail", 5)),
        change("C11", ("fail", 5), ("fail", 6)),
    ]
    since = {"since": {"run_id": "r", "collected_at": "2026-11-26T12:00:00Z", "generation": 2}, "generation": 3, "findings": listed}
    shown = changed("edge-1", changes=since).partition("Since the last audit")[2].splitlines()
    assert shown[0] == ", 2026-11-26T12:00:00Z, generation 3 since then"
    assert [line.split()[:2] for line in shown[1:6]] == [["new", "C01"], ["still", "C11"], ["swappiness", "5"], ["cured", "N21"], ["swappiness", "0"]]
    assert shown[5].strip() == "swappiness 0 → 1"
    assert "Since the last audit" not in changed("edge-1") + changed("edge-1", changes={"findings": [change("C03", ("fail", 5), ("fail", 5))]})


def test_what_only_counts_events_is_not_called_cured() -> None:
    sides = [{"status": status, "observed": {"kills": kills}, "window": {"kind": kind, "seconds": 86400.0}}
             for status, kills, kind in (("fail", 1, "since_boot"), ("pass", 0, "since_last_run"))]  # fmt: skip
    change = {"rule": "N01", "subject": "node", "before": sides[0], "after": sides[1]}
    shown = changed("edge-1", changes={"since": None, "findings": [change]}).partition("Since the last audit")[2].splitlines()
    assert shown[1].startswith("  not again N01 ") and shown[2].strip() == "kills 1 → 0; since the last run, 1 d"


def test_every_report_has_its_path_and_the_page_comes_first() -> None:
    paths = {name: f"/r/{name}" for name in ("json", "junit", "csv_top", "html")}
    assert [line.text for line in terminal.render_paths(paths)] == ["", "  /r/html", "  /r/json", "  /r/junit", "  /r/csv_top"]


def test_what_changed_besides_the_node_and_what_matches_nothing_is_said() -> None:
    change = {"rule": "C01", "subject": "node", "before": {"status": "fail", "observed": {}}, "after": None, "because": "rule_dropped"}
    since = {"since": {"run_id": "r", "collected_at": "t"}, "generation": None, "findings": [change]}
    assert changed("edge-1", changes=since).partition("gone      C01")[2].splitlines()[1].strip() == "the rule is not looked at any more"
    fleet = Fleet(RULES, top=1)
    unused = {"rule": "N09", "host": "db-*", "subject": "*", "reason": "known\x1b[2J", "until": "2027-01-31"}
    fleet.add({**_results.read_result(SAMPLES, "edge-1"), "suppressions_unused": [unused]})
    assert "A suppression matches nothing: N09 of * on db-*, until 2027-01-31: known\\x1b[2J" in " ".join(text(terminal.render_fleet(fleet, width=100)).split())


def test_what_explains_a_finding_is_said_with_it() -> None:
    result = {**_results.read_result(SAMPLES, "edge-1"), "rules": {}}
    subject = {"kind": "node", "id": "node", "name": ""}
    result["findings"] = [{"rule": rule, "subject": subject, "status": "fail"} for rule in ("N41", "C02")]
    rules: dict[str, t.Any] = {
        "N41": {"title": "Stalls", "severity": "critical", "because_of": ["C02", "C10"]},
        "C02": {"title": "Full of cache", "severity": "warning"},
    }
    shown = text(terminal.render_host(result, rules, Fleet(rules, top=1).add(result), width=80))
    assert shown.index("C02 Full of cache") < shown.index("N41 Stalls") < shown.index("    explained by C02\n")
    assert shown.count("explained by") == 1
