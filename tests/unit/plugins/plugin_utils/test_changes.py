# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two audits of a host → what became of each finding, and what is said where the audits cannot be compared."""

from __future__ import annotations

import copy
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _changes

Json = dict[str, t.Any]
RULES = {"N01": "a", "N17": "b", "C07": "c"}
NODE = {"kind": "node", "id": "node", "name": ""}
REDIS = {"kind": "service", "id": "/system.slice/redis.service", "name": "redis.service"}


def finding(rule: str, subject: Json | None = None, status: str = "fail", **observed: t.Any) -> Json:
    return {"rule": rule, "subject": subject or NODE, "status": status, "observed": observed}


def audit(*findings: Json, run: str = "r2", counts: Json | None = None, boot: str | None = "b", generation: int | None = None, **more: t.Any) -> Json:
    counted = {rule: {"passed": 1, "failed": 0, "unknown": 0, "not_applicable": 0} for rule in RULES}
    for one in findings:
        counted[one["rule"]].update(passed=0)
        counted[one["rule"]]["failed" if one["status"] == "fail" else "unknown"] += 1
    for rule, changed in (counts or {}).items():
        counted[rule].update(changed)
    applied = {"generation": generation, "profiles": []} if generation else None
    made = {"run_id": run, "collected_at": f"at {run}", "node": {"boot_id": boot}, "findings": list(findings), "rules": counted, "applied": applied}
    return copy.deepcopy({**made, **more})


def compared(first: Json, second: Json, before: t.Mapping[str, str] | None = None, after: t.Mapping[str, str] | None = None) -> Json:
    return _changes.compare(_changes.remember(first, RULES if before is None else before), second, RULES if after is None else after)


def told(changes: Json) -> list[tuple[t.Any, ...]]:
    """(rule, before, after, because): C(fail 1) for a status with its figure."""

    def state(one: Json | None) -> str:
        return " ".join([one["status"], *map(str, one["observed"].values())]) if one else ""

    return [(one["rule"], state(one["before"]), state(one["after"]), one.get("because", "")) for one in changes["findings"]]


N01, C07 = finding("N01", kills=1), finding("C07", REDIS, share=90)
GONE: Json = {"recovered": []}
CASES: list[tuple[str, Json, Json, list[tuple[t.Any, ...]]]] = [
    ("nothing new", audit(N01), audit(N01), []),
    ("new", audit(), audit(N01), [("N01", "", "fail 1", "")]),
    ("other figures", audit(N01), audit(finding("N01", kills=3)), [("N01", "fail 1", "fail 3", "")]),
    ("passes", audit(N01), audit(recovered=[finding("N01", status="pass", kills=0)]), [("N01", "fail 1", "pass 0", "")]),
    ("passes, of a subject", audit(C07), audit(recovered=[finding("C07", REDIS, "pass", share=40)]), [("C07", "fail 90", "pass 40", "")]),
    ("the node does not say, its counts do", audit(N01), audit(), [("N01", "fail 1", "pass", "")]),
    ("the node does not say at all", audit(C07), audit(), [("C07", "fail 90", "unknown", "not_listed")]),
    ("the subject is gone", audit(C07), audit(**GONE), [("C07", "fail 90", "", "subject_gone")]),
    ("gone, or not asked", audit(C07), audit(counts={"C07": {"not_applicable": 2}}, **GONE), [("C07", "fail 90", "", "gone_or_not_applicable")]),
    ("not asked", audit(N01), audit(counts={"N01": {"passed": 0, "not_applicable": 1}}, **GONE), [("N01", "fail 1", "not_applicable", "")]),
    ("not known any more", audit(N01), audit(finding("N01", status="unknown")), [("N01", "fail 1", "unknown", "")]),
    ("known now", audit(finding("N01", status="unknown")), audit(N01), [("N01", "unknown", "fail 1", "")]),
    ("unknown is no news", audit(), audit(finding("N01", status="unknown")), []),
    ("too many now", audit(C07), audit(finding("C07", {**REDIS, "id": "x"}, n=1), counts={"C07": {"failed": 101}}, **GONE),
     [("C07", "", "fail 1", ""), ("C07", "fail 90", "unknown", "not_listed")]),
    ("too many then", audit(C07, counts={"C07": {"failed": 101}}), audit(C07, finding("C07", {**REDIS, "id": "x"}, n=1)),
     [("C07", "", "fail 1", "not_listed")]),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "changes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_became_of_a_finding(first: Json, second: Json, changes: list[tuple[t.Any, ...]]) -> None:
    assert told(compared(first, second)) == changes
    assert "recovered" not in second


def test_a_rule_that_is_new_or_another_one_says_so() -> None:
    without = {rule: digest for rule, digest in RULES.items() if rule != "N01"}
    assert told(compared(audit(), audit(N01), before=without)) == [("N01", "", "fail 1", "rule_added")]
    other = {**RULES, "N01": "z"}
    assert told(compared(audit(N01), audit(N01), after=other)) == [("N01", "fail 1", "fail 1", "rule_changed")]
    passes = audit(recovered=[finding("N01", status="pass", kills=1)])
    assert told(compared(audit(N01), passes, after=other)) == [("N01", "fail 1", "pass 1", "rule_changed")]


def test_a_rule_that_was_dropped_is_not_cured() -> None:
    second = audit(recovered=[])
    del second["rules"]["N01"]
    assert told(compared(audit(N01), second)) == [("N01", "fail 1", "", "rule_dropped")]


def test_figures_say_what_they_grew_over_and_time_alone_is_no_change() -> None:
    boot, run = {"kind": "since_boot", "seconds": 90}, {"kind": "since_last_run", "seconds": 60}
    assert compared(audit({**N01, "window": boot}), audit({**N01, "window": run}))["findings"] == []
    (change,) = compared(audit({**N01, "window": boot}), audit(recovered=[{**finding("N01", status="pass", kills=0), "window": run}]))["findings"]
    assert (change["before"]["window"], change["after"]["window"]) == (boot, run)


def test_a_first_audit_has_nothing_to_compare_with() -> None:
    assert _changes.compare({}, audit(N01), RULES) == {"since": None, "generation": None, "rebooted": None, "findings": []}


REBOOTS = [("b", "b", False), ("b", "c", True), (None, "c", None), ("b", None, None)]


@pytest.mark.parametrize(("then", "now", "rebooted"), REBOOTS)
def test_a_reboot_and_a_tune_in_between_are_said(then: str | None, now: str | None, rebooted: bool | None) -> None:
    changes = compared(audit(run="r1", boot=then, generation=3), audit(boot=now, generation=4))
    assert changes["since"] == {"run_id": "r1", "collected_at": "at r1", "generation": 3}
    assert (changes["generation"], changes["rebooted"]) == (4, rebooted)


def test_a_node_is_asked_only_of_what_failed_and_still_has_a_rule() -> None:
    last = _changes.remember(audit(N01, C07, finding("C07", {**REDIS, "id": "x"}), finding("N17", status="unknown")), RULES)
    assert _changes.failed(last, RULES) == {"N01": ["node"], "C07": [REDIS["id"], "x"]}
    assert _changes.failed(last, {"N17": "b"}) == {}
    assert _changes.failed({}, RULES) == {}


def test_a_threshold_changes_a_digest() -> None:
    rule = {"id": "N01", "each": "node", "when": [">", ["delta", "vmstat", "oom_kill"], 0]}
    assert _changes.digests([rule]) == _changes.digests([dict(reversed(rule.items()))])
    assert _changes.digests([rule]) != _changes.digests([{**rule, "when": [">", ["delta", "vmstat", "oom_kill"], 1]}])
