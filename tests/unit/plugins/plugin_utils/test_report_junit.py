# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""junit.xml, parsed by ElementTree as a CI does."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given

from ansible_collections.memqos.fleet.plugins.plugin_utils import _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_junit import Case, JunitReport, _case_xml, cases_of
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import visible
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_results import (
    HOSTILE,
    NAMES,
    RULES,
    SAMPLES,
    accepted,
    counts,
    fill,
    finding,
    made,
    named,
)


def write(tmp_path: Path, results: t.Iterable[dict[str, t.Any]], **missing: t.Any) -> ET.Element:
    fill(JunitReport(str(tmp_path / "junit.xml"), rules=RULES, generated_at="2026-11-27T12:00:00Z"), results, **missing)
    return ET.parse(tmp_path / "junit.xml").getroot()


FINDINGS = [finding("C01", "a"), finding("N23", "b", "unknown", reason="swap is not read"), finding("C03", "c", suppressed=accepted())]
COUNTED = {"C01": counts(failed=3), "N23": counts(unknown=1), "C03": {"failed": 5, "suppressed": 5}, "N44": counts(passed=1), "N09": counts(not_applicable=1)}


COUNTED_ONLY = "which the node counted and did not list"


def test_a_suite_for_each_host_and_a_case_for_each_outcome(tmp_path: Path) -> None:
    root = write(tmp_path, [made(findings=FINDINGS, rules=COUNTED)], unreachable=["gone"], invalid={"bad": "failed: no Python"})
    suite, gone, bad = root
    totals = {name: suite.get(name) for name in ("name", "tests", "failures", "errors", "skipped", "timestamp")}
    assert totals == {"name": "web-1", "tests": "7", "failures": "2", "errors": "0", "skipped": "4", "timestamp": made()["collected_at"]}
    told = {case.get("name", ""): [(child.tag, child.get("type"), child.get("message")) for child in case] for case in suite}
    title = {rule: f"{rule} {RULES[rule]['title']}" for rule in ("C01", "N23", "C03", "N44", "N09")}
    assert told == {
        f"{title['C01']} · a": [("failure", "critical", "kills = 3")],
        f"{title['N23']} · b": [("skipped", None, "unknown: swap is not read")],
        f"{title['C03']} · c": [("skipped", None, "accepted until 2027-01-31: known, ticket 7")],
        f"{title['C01']} · 2 more fail, {COUNTED_ONLY}": [("failure", "critical", f"2 more fail, {COUNTED_ONLY}")],
        f"{title['C03']} · 4 more are accepted, {COUNTED_ONLY}": [("skipped", None, f"4 more are accepted, {COUNTED_ONLY}")],
        title["N44"]: [],
        title["N09"]: [("skipped", None, "not applicable to this node")],
    }
    assert {case.get("classname") for case in suite} == {"web-1"}
    assert [(case.get("name"), case[0].tag, case[0].get("message")) for case in (*gone, *bad)] == [
        ("audit", "error", "no result in this run: unreachable or skipped"), ("audit", "error", "failed: no Python"),
    ]  # fmt: skip
    assert (gone.get("errors"), gone.get("tests"), gone.get("timestamp")) == ("1", "1", "2026-11-27T12:00:00Z")


def test_a_failure_says_why_and_what_to_do(tmp_path: Path) -> None:
    rule = RULES["C01"]
    (failure,) = write(tmp_path, [made(findings=[finding(suppression_expired=accepted())], rules={})]).iter("failure")
    lines = (failure.text or "").splitlines()
    assert "Subject: /shop/app" in lines and f"Why: {rule['why']}" in lines and "Expired: Was accepted until 2027-01-31: known, ticket 7" in lines
    assert [line for line in lines if line.startswith("Command: ")] == [f"Command: {rule['cure']['command']}"] * ("command" in rule["cure"])


@pytest.mark.parametrize("host", _results.known_hosts(SAMPLES))
def test_names_of_cases_are_unique_and_their_numbers_agree(host: str) -> None:
    result = _results.read_result(SAMPLES, host)
    cases = cases_of(result, RULES)
    # What two findings of one rule and name have in common, a CI shows as one.
    named_once = {case.name for case in cases if case.outcome == "" or case.outcome == "skipped"}
    assert len(named_once) <= len(cases) and set(result["rules"]) <= {case.name.split(" ")[0] for case in cases}


@given(NAMES)
def test_any_name_is_read_back(name: str) -> None:
    element = ET.fromstring(_case_xml(name, Case(name, "failure", name, name, visible(name))))
    assert (element.get("classname"), element.get("name"), element[0].get("message"), element[0].text or "") == (visible(name),) * 4


@pytest.mark.parametrize("name", [*HOSTILE, "x" * (1 << 20)], ids=lambda name: repr(name)[:24])
def test_a_hostile_name_is_text_and_nothing_else(tmp_path: Path, name: str) -> None:
    root = write(tmp_path, [named(name)], invalid={f"{name}2": name})
    assert [suite.get("name") for suite in root] == [visible(name), visible(f"{name}2")]
    assert {element.tag for element in root.iter()} == {"testsuites", "testsuite", "testcase", "failure", "skipped", "error"}
    assert [case.get("name", "").partition(" · ")[2] for case in root[0]][:1] == [visible(name)]
    assert root[1][0][0].get("message") == visible(name)


def test_one_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), JunitReport(str(tmp_path / "junit.xml"), rules={}, generated_at=""):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
