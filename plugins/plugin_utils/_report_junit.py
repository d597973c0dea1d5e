# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""C(junit.xml), which every CI shows: a suite for each host, a case for each rule and subject.

Text of nodes is shown as everywhere (C(visible)): that leaves no character which XML 1.0 forbids.
"""

from __future__ import annotations

import types
import typing as t
from xml.sax.saxutils import escape, quoteattr

from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import (
    Counts,
    Finding,
    Fleet,
    Host,
    Json,
    finding_counts,
    join_findings,
    severity_of,
    visible,
)
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import NO_RESULT, replacing

_NOT_APPLICABLE = "not applicable to this node"


class Case(t.NamedTuple):
    """C(outcome) is C(failure), C(error), C(skipped), or empty for one that passed; C(type) the severity of a failure."""

    name: str
    outcome: str = ""
    type: str = ""
    message: str = ""
    text: str = ""


class JunitReport:
    """A context manager, host by host."""

    def __init__(self, path: str, *, rules: t.Mapping[str, Json], generated_at: str) -> None:
        self._file = replacing(path)
        self._rules = rules
        self._generated_at = generated_at

    def __enter__(self) -> JunitReport:
        self._stream = self._file.__enter__()
        self._stream.write('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="memqos.fleet">\n')
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: types.TracebackType | None) -> bool | None:
        return self._file.__exit__(kind, value, trace)

    def add(self, result: Json, host: Host) -> None:
        self._suite(host.name, result["collected_at"], cases_of(result, self._rules))

    def finish(self, fleet: Fleet) -> None:
        for host, reason in {**dict.fromkeys(fleet.unreachable, NO_RESULT), **fleet.invalid}.items():
            self._suite(host, self._generated_at, [Case("audit", "error", message=reason)])
        self._stream.write("</testsuites>\n")

    def _suite(self, host: str, timestamp: str, cases: t.Sequence[Case]) -> None:
        counts = {
            f"{outcome}s" if outcome != "skipped" else outcome: sum(case.outcome == outcome for case in cases) for outcome in ("failure", "error", "skipped")
        }
        totals = "".join(f' {name}="{count}"' for name, count in counts.items())
        self._stream.write(f'<testsuite name={_attribute(host)} timestamp={_attribute(timestamp)} tests="{len(cases)}"{totals}>\n')
        self._stream.writelines(_case_xml(host, case) for case in cases)
        self._stream.write("</testsuite>\n")


def cases_of(result: Json, rules: t.Mapping[str, Json]) -> list[Case]:
    """A case for each finding, for those that the node only counted one together, and for each other rule one."""
    found = join_findings(result, rules)
    cases = [_finding(one, rules.get(one.rule, {})) for one in found]
    listed: dict[str, list[Finding]] = {rule: [] for rule in result["rules"]}
    for one in found:
        listed.setdefault(one.rule, []).append(one)
    for rule, counts in finding_counts(result).items():
        title = f"{rule} {rules.get(rule, {}).get('title', '')}".rstrip()
        if sum(counts):
            cases += _counted(title, severity_of(rules.get(rule, {})), counts, listed.get(rule, []))
        elif result["rules"].get(rule, {}).get("passed"):
            cases.append(Case(title))
        else:
            cases.append(Case(title, "skipped", message=_NOT_APPLICABLE))
    return cases


def _counted(title: str, severity: str, counts: Counts, listed: t.Sequence[Finding]) -> t.Iterator[Case]:
    """What a node counted and did not list: cases of their own, so that no number of a CI is too small."""
    accepted = sum(one.suppressed is not None for one in listed)
    failed = sum(one.status == "fail" and not one.suppressed for one in listed)
    known = {"fail": failed, "are unknown": len(listed) - accepted - failed, "are accepted": accepted}
    for (words, number), count in zip(known.items(), counts):
        if count > number:
            told = f"{count - number} more {words}, which the node counted and did not list"
            yield Case(f"{title} · {told}", "failure", severity, told) if words == "fail" else Case(f"{title} · {told}", "skipped", message=told)


def _finding(one: Finding, rule: Json) -> Case:
    name = f"{one.rule} {one.title}" + (f" · {one.subject}" if one.subject else "")
    if one.suppressed:
        return Case(name, "skipped", message=f"accepted until {one.suppressed.until}: {one.suppressed.reason}")
    if one.status != "fail":
        return Case(name, "skipped", message=f"unknown: {one.reason}" if one.reason else "unknown")
    observed = ", ".join(f"{key} = {value}" for key, value in one.observed) or one.title
    cure = rule.get("cure") or {}
    expired = f"Was accepted until {one.expired.until}: {one.expired.reason}" if one.expired else ""
    setting = f"{cure.get('setting')} = {cure.get('value')}" if cure.get("setting") else ""
    rows = [("Subject", one.subject_id), ("Expected", rule.get("expected")), ("Why", rule.get("why")), ("Window", one.window), ("Expired", expired)]
    rows += [("Setting", setting), ("Cure", cure.get("text")), ("Command", cure.get("command"))]
    return Case(name, "failure", one.severity, observed, "\n".join(f"{label}: {visible(str(text))}" for label, text in rows if text))


def _case_xml(host: str, case: Case) -> str:
    head = f"<testcase classname={_attribute(host)} name={_attribute(case.name)}"
    if not case.outcome:
        return f"{head}/>\n"
    kind = f" type={_attribute(case.type)}" if case.type else ""
    return f"{head}><{case.outcome}{kind} message={_attribute(case.message)}>{escape(case.text)}</{case.outcome}></testcase>\n"


def _attribute(text: str) -> str:
    return quoteattr(visible(text))
