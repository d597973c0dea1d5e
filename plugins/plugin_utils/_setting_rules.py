# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Rules that the controller judges: for each setting, since it alone knows who decides it, and about overcommit, of which it knows more. §3.11, §3.12. Pure."""

from __future__ import annotations

import os.path
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _rules

Json = dict[str, t.Any]

# As on the node: a rule that fires for all settings says so in its count.
_MAX_FAILED = 100
_MAX_UNKNOWN = 3
_COUNT_OF = {"pass": "passed", "fail": "failed"}
# Our files carry our name, unless an operator has called the one of sysctl.d otherwise.
_OURS = "memqos"
_NO_COUNTERS = _rules.Counters(uptime=None)


def judge(audit: Json, compiled: t.Sequence[Json], *, failed: t.Mapping[str, t.Collection[str]], our_file: str = "zz-memqos.conf") -> None:
    """Adds findings and counts of these rules to an audit that has C(settings) and a whole C(derived); and to C(recovered) what passes of C(failed).

    C(failed): {rule: ids of subjects}.
    """
    for rule in _rules.prepare(compiled):
        count = {"passed": 0, "failed": 0, "unknown": 0, "not_applicable": 0}
        kept: dict[str, list[Json]] = {"fail": [], "unknown": []}
        for subject, env in _subjects(audit, rule.each, our_file):
            outcome = _rules.evaluate(rule, env, _NO_COUNTERS)
            count[_COUNT_OF.get(outcome.status, outcome.status)] += 1
            if outcome.status in kept:
                kept[outcome.status].append(_finding(rule.id, subject, outcome))
            elif outcome.status == "pass" and subject["id"] in failed.get(rule.id, ()):
                audit["recovered"].append(_finding(rule.id, subject, _rules.passed(rule, env, _NO_COUNTERS)))
        audit["findings"] += kept["fail"][:_MAX_FAILED] + kept["unknown"][:_MAX_UNKNOWN]
        audit["rules"][rule.id] = count


def _subjects(audit: Json, each: str, our_file: str) -> t.Iterator[tuple[Json, Json]]:
    """(subject, what its rules read: _rule_compiler.ON_CONTROLLER)"""
    node = {"facts": audit["node"], "node": audit["derived"], "knob": audit["node"]["knobs"], "meminfo": audit["node"]["meminfo"]}
    if each == "node":
        yield {"kind": "node", "id": "node", "name": ""}, node
        return
    for row in audit["settings"]:
        yield {"kind": "setting", "id": f"{row['subject']} {row['name']}".strip(), "name": ""}, {**node, "setting": names(row, our_file)}


def names(row: Json, our_file: str) -> Json:
    """A row of C(settings) as rules read it: what is null has no name. C(ours): we wrote it down. C(overridden): we did, and another value wins."""
    winner: Json = row.get("winner") or {}
    lines: list[Json] = [*filter(None, [row.get("winner")]), *row.get("others", ())]
    ours = [line for line in lines if _is_ours(str(line.get("path", "")), our_file)]
    known = {key: row[key] for key in ("name", "scope", "subject", "live", "effective", "persisted", "agrees", "drift") if row.get(key) is not None}
    overridden = bool(ours) and not _is_ours(str(winner.get("path", "")), our_file) and all(line.get("value") != winner.get("value") for line in ours)
    return {**known, "source": str(winner.get("source", "")), "path": str(winner.get("path", "")), "ours": bool(ours), "overridden": overridden}


def _is_ours(path: str, our_file: str) -> bool:
    name = os.path.basename(path)
    return name == our_file or _OURS in name


def _finding(rule: str, subject: Json, outcome: _rules.Outcome) -> Json:
    finding = {"rule": rule, "subject": subject, "status": outcome.status, "observed": outcome.observed}
    return {**finding, "reason": outcome.reason} if outcome.reason else finding
