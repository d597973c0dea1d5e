# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _rules
from ansible_collections.memqos.fleet.plugins.plugin_utils import _controller_rules, _rule_compiler, _rule_expression

RULES = Path(__file__).resolve().parents[4] / "roles" / "audit" / "vars" / "rules"
RULESET = _rule_compiler.load_rules([str(RULES)], thresholds={}, drop=[])
PREPARED = _rules.prepare(RULESET.on_controller)

Row = dict[str, t.Any]

OURS = {"source": "sysctl.d", "path": "/etc/sysctl.d/zz-memqos.conf", "line": 2, "value": "10"}
LATE = {"source": "sysctl.d", "path": "/etc/sysctl.d/zzz-late.conf", "line": 1, "value": "90"}
APP = {"source": "sysctl.d", "path": "/etc/sysctl.d/50-app.conf", "line": 1, "value": "60"}


def row(**keys: t.Any) -> Row:
    base: Row = {"name": "vm.swappiness", "scope": "host", "subject": "", "live": "10", "effective": "10", "persisted": None, "winner": None, "others": []}
    return {**base, "agrees": None, "wanted": None, "drift": None, **keys}


def answer(*settings: Row) -> Row:
    node = {"kernel": "6.12", "knobs": {}, "meminfo": {}}
    return {"node": node, "derived": {}, "settings": list(settings), "findings": [], "recovered": [], "rules": {}}


CASES = [
    ("nothing is written down", row(), []),
    ("a file says what is live", row(winner=APP, persisted="60", live="60", agrees=True), []),
    ("changed by hand", row(winner=APP, persisted="60", agrees=False), ["P01"]),
    ("ours decides", row(winner=OURS, persisted="10", agrees=True, drift=False), []),
    ("a later file decides", row(winner=LATE, others=[OURS], persisted="90", agrees=False, drift=False), ["P02"]),
    ("a later file with the same value", row(winner={**LATE, "value": "10"}, others=[OURS], persisted="10", agrees=True), []),
    ("ours decides over another", row(winner=OURS, others=[APP], persisted="10", agrees=True), []),
    ("drift", row(winner=OURS, persisted="10", live="35", agrees=False, drift=True), ["P03"]),
    ("overridden, and drifted to it", row(winner=LATE, others=[OURS], persisted="90", live="90", agrees=True, drift=True), ["P02", "P03"]),
    (
        "a file of ours with a name of the operator's",
        row(winner=LATE, others=[{**OURS, "path": "/etc/sysctl.d/50-mine.conf"}], persisted="90", agrees=False),
        ["P02"],
    ),
    (
        "a file of somebody else with that name",
        row(winner=LATE, others=[{**OURS, "path": "/usr/lib/sysctl.d/50-mine.conf"}], persisted="90", agrees=False),
        ["P01"],
    ),
]


@pytest.mark.parametrize(("settings", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_finds(settings: Row, wanted: list[str]) -> None:
    audit = answer(settings)
    _controller_rules.judge(audit, PREPARED, failed={}, our_files={"/etc/sysctl.d/50-mine.conf"})
    assert [finding["rule"] for finding in audit["findings"] if finding["status"] == "fail"] == wanted
    assert {rule for rule, count in audit["rules"].items() if count["failed"]} == set(wanted)
    # Of rules for the node nothing is known here.
    assert all(sum(count.values()) == 1 for count in audit["rules"].values()) and len(audit["rules"]) == len(RULESET.on_controller) >= 3


def test_says_whose_setting_it_is() -> None:
    unit = row(name="MemoryHigh", scope="unit", subject="batch.slice", winner=LATE, others=[OURS], agrees=False)
    audit = answer(unit)
    _controller_rules.judge(audit, PREPARED, failed={})
    assert [finding["subject"] for finding in audit["findings"] if finding["status"] == "fail"] == [
        {"kind": "setting", "id": "batch.slice MemoryHigh", "name": ""}
    ]


def test_what_failed_and_passes_now_is_told_with_its_figures() -> None:
    audit = answer(row(winner=OURS, persisted="10", agrees=True, drift=False), row(name="vm.page-cluster", winner=APP, persisted="0", live="0", agrees=True))
    _controller_rules.judge(audit, PREPARED, failed={"P02": ["vm.swappiness"], "P03": ["vm.swappiness"], "N21": ["node"]})
    told = [(one["rule"], one["subject"]["id"], one["status"], one["observed"]["live"]) for one in audit["recovered"]]
    assert told == [("P02", "vm.swappiness", "pass", "10"), ("P03", "vm.swappiness", "pass", "10")]


GIB = 1 << 30
FULL = {"allocatable_bytes": 30 * GIB, "sum_limit_bytes": 29 * GIB, "sum_request_bytes": 1, "workloads": 3, "without_limit": 0, "without_throttle": 3}
NODES: list[tuple[Row, list[str]]] = [
    ({**FULL, "stranded_bytes": 9 * GIB, "stranded_workloads": 2}, []),
    ({**FULL, "stranded_bytes": 10 * GIB, "stranded_workloads": 2}, ["N62"]),
    ({**FULL, "stranded_bytes": 0, "stranded_workloads": 0, "allocatable_bytes": 28 * GIB}, ["N42"]),
    ({**FULL, "stranded_bytes": 0, "stranded_workloads": 0, "allocatable_bytes": 28 * GIB, "without_throttle": 0}, []),
    ({**FULL, "stranded_bytes": 0, "stranded_workloads": 0, "sum_request_bytes": 31 * GIB}, ["N61"]),
]


@pytest.mark.parametrize(("derived", "wanted"), NODES)
def test_what_is_known_of_overcommit_on_the_controller_counts(derived: Row, wanted: list[str]) -> None:
    audit = {**answer(), "derived": derived}
    _controller_rules.judge(audit, PREPARED, failed={"N62": ["node"]})
    assert [(finding["rule"], finding["subject"]) for finding in audit["findings"]] == [(rule, {"kind": "node", "id": "node", "name": ""}) for rule in wanted]
    assert [one["rule"] for one in audit["recovered"]] == (["N62"] if derived["stranded_workloads"] and wanted != ["N62"] else [])


def test_every_advertised_name_is_given() -> None:
    full = row(winner=LATE, persisted="90", agrees=False, drift=True)
    assert set(_controller_rules.names(full, ())) == set(_rule_expression.CLOSED["setting"])


def test_the_node_is_not_sent_them() -> None:
    assert not {rule["id"] for rule in RULESET.compiled} & {rule["id"] for rule in RULESET.on_controller}
