# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings, overcommit and findings over time as the page gets them: what is absent is not there, what is of another kind stops nothing."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_sections as sections
from ansible_collections.memqos.fleet.plugins.plugin_utils import _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import summarise

SAMPLES = str(Path(__file__).parents[2] / "fixtures" / "results")
RULES = _results.read_rules(SAMPLES)
WEB = _results.read_result(SAMPLES, "web-1")
NODE = {"kind": "node", "id": "node", "name": ""}


def test_without_the_new_keys_there_is_nothing_to_say() -> None:
    assert sections.since(WEB) == {}
    assert sections.overcommit(WEB) == {}
    assert [(row["name"], row["live"]) for row in sections.settings(WEB)] == [
        (name, str(value).replace("67584", "67\u202f584")) for name, value in sorted(WEB["node"]["knobs"].items())
    ]
    line = sections.line(WEB, summarise(WEB, RULES))
    assert line == {"swap": 0, "thp": "madvise", "watermarks": "66.0 MiB, 10", "applied": "", "conflicts": None, "changes_at_boot": None, "drift": None}


SINCE: list[tuple[t.Any, t.Any]] = [
    ({"since": None, "generation": 4, "rebooted": None}, {}),
    ({"since": {"collected_at": "then", "generation": 3}, "generation": 4, "rebooted": True}, {"collected_at": "then", "generation": 4, "rebooted": True}),
    ({"since": {"collected_at": "then", "generation": 4}, "generation": 4}, {"collected_at": "then", "generation": None, "rebooted": False}),
]


@pytest.mark.parametrize(("changes", "told"), SINCE)
def test_what_came_between_two_audits(changes: t.Any, told: t.Any) -> None:
    assert sections.since({"changes": changes}) == told


def test_accepted_findings_are_told_apart_with_reason_and_date() -> None:
    mark = {"reason": "known", "until": "2027-01-31"}
    first, second, *rest = WEB["findings"]
    result = {**WEB, "findings": [{**first, "suppressed": mark}, {**second, "suppression_expired": mark}, *rest]}
    result["changes"] = {"findings": [{"rule": rest[0]["rule"], "subject": rest[0]["subject"], "before": None, "after": {"status": "fail"}}]}
    told = {(one["rule"], one["subject_id"]): one for one in sections.findings(result, RULES)}
    assert len(told) == len(WEB["findings"])
    assert told[first["rule"], first["subject"]["id"]]["suppressed"] == ("known", "2027-01-31")
    assert told[second["rule"], second["subject"]["id"]]["expired"] == ("known", "2027-01-31")
    assert not any(one.get("suppressed") or one.get("expired") for one in told.values() if one["rule"] not in (first["rule"], second["rule"]))
    assert {key for key, one in told.items() if one.get("new")} == {(rest[0]["rule"], rest[0]["subject"]["id"])}


WINNER = {"source": "sysctl.d", "path": "/etc/sysctl.d/a.conf", "line": 3, "value": "60"}


def test_a_setting_says_who_decides_and_what_was_wanted() -> None:
    row = {"name": "vm.swappiness", "scope": "host", "subject": "", "live": "10", "effective": "60", "persisted": "60", "winner": WINNER, "agrees": False}
    wanted = {"value": "10", "profile": "colocated", "generation": 4}
    (told,) = sections.settings(
        {
            "settings": [
                {
                    **row,
                    "others": [{"source": "tuned", "value": "5"}, {**WINNER, "line": 0, "value": None, "problem": "no value"}],
                    "wanted": wanted,
                    "drift": False,
                }
            ]
        }
    )
    assert told["winner"] == ["/etc/sysctl.d/a.conf:3", "60", ""]
    assert told["others"] == [["tuned", "5", ""], ["/etc/sysctl.d/a.conf", "", "no value"]]
    assert (told["wanted"], told["wanted_by"]) == ("10", "colocated, generation 4")
    (told,) = sections.settings({"settings": [{"name": "MemoryLow", "scope": "unit", "subject": "db.service", "live": "0", "agrees": True}]})
    assert (told["subject"], told["winner"], told["others"], told["wanted"], told["persisted"]) == ("db.service", None, [], None, None)


def test_conflicts_and_drift_are_counted_where_files_were_looked_at() -> None:
    other = {"winner": WINNER, "others": [{**WINNER, "value": "10"}]}
    rows = [{"name": "a", "agrees": False, "drift": True}, {"name": "b", "agrees": False, **other}, {"name": "c", "agrees": True, "drift": None}]
    result = {**WEB, "settings": rows, "applied": {"generation": 7, "profiles": ["a", "b"]}}
    line = sections.line(result, summarise(result, RULES))
    assert (line["conflicts"], line["changes_at_boot"], line["drift"], line["applied"]) == (1, 2, 1, "a, b, generation 7")
    assert [row["contested"] for row in sections.settings(result)] == [False, True, False]


@pytest.mark.parametrize(
    ("days", "told"),
    [([2, 30], [2, 30]), ({"youngest": 1, "oldest": 9}, [1, 9]), (3, [3]), (None, []), ("x", [])],
)
def test_overcommit_needs_to_know_what_is_allocatable(days: t.Any, told: list[int]) -> None:
    derived = {"allocatable_bytes": 100, "sum_limit_bytes": 150, "sum_request_bytes": None, "peak_days": days, "allocatable_source": "kubepods"}
    assert sections.overcommit({"derived": derived}) == {"allocatable_bytes": 100, "sum_limit_bytes": 150, "source": "kubepods", "peak_days": told}
    assert sections.overcommit({"derived": {"sum_limit_bytes": 150}}) == {}


ENTRIES = [
    (10, "10"),
    ("madvise", "madvise"),
    ({"value": 10}, "10"),
    ({"raise_to": 150}, "at least 150"),
    ({"lower_to": {"of_memory": "1%", "max": "4GiB"}}, "at most 1% of memory, max 4GiB"),
    ({"absent": True}, "absent True"),
]


@pytest.mark.parametrize(("entry", "text"), ENTRIES)
def test_an_entry_of_a_profile_in_words(entry: t.Any, text: str) -> None:
    assert sections.entry_text(entry) == text


def test_suppressions_that_match_nothing_are_named() -> None:
    one = {"rule": "N4*", "host": "web-*", "subject": "*", "until": "2027-01-01", "reason": "the old kernel"}
    assert sections.unused([one]) == ["N4* of * on web-*, until 2027-01-01: the old kernel"]
