# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of an audit: what goes to the node, and what becomes of any answer."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.memqos.fleet.plugins.action import memory_audit
from ansible_collections.memqos.fleet.plugins.module_utils import _module
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _values
from ansible_collections.memqos.fleet.plugins.modules import memory_audit as module
from ansible_collections.memqos.fleet.plugins.plugin_utils import _results, _rule_compiler

TREE = pathlib.Path(__file__).parents[2] / "fixtures" / "trees" / "debian12-6.1-v2"


@pytest.fixture(scope="module")
def rules() -> _rule_compiler.RuleSet:
    return _rule_compiler.load_rules([memory_audit.BUILT_IN_RULES], thresholds={}, drop=[])


@pytest.fixture(scope="module")
def answer(rules: _rule_compiler.RuleSet) -> str:
    """What the module answers on a captured node."""
    request = memory_audit.request(rules, previous={})
    return str(module.audit({"root": str(TREE), "window": 0.0, "top": 5, "request": request})["audit"])


def test_the_request_reaches_the_node_whole(rules: _rule_compiler.RuleSet) -> None:
    request = _module.unpack(memory_audit.request(rules, previous={"boot_id": "b"}))
    assert request["rules"] == json.loads(json.dumps(rules.compiled)) and request["previous"] == {"boot_id": "b"}
    assert "vm.swappiness" in {knob.name for knob in _values.unfold(request["knobs"])} and "memory.wmark_ratio" in request["vendor_files"]


def test_an_answer_becomes_the_hosts_result(tmp_path: pathlib.Path, rules: _rule_compiler.RuleSet, answer: str) -> None:
    summary = memory_audit._keep(answer, host="n1", directory=str(tmp_path), rules=rules)
    kept = _results.read_result(str(tmp_path), "n1")
    assert summary["path"] == str(tmp_path / "hosts" / "n1.json") and kept["run_id"] == _results.RUN_ID
    assert summary["memtotal_bytes"] == kept["breakdown"]["memtotal_bytes"]
    assert set(kept["oom"]) >= {"reports", "groups", "next_victims", "lost"} and "log" not in kept["oom"]
    assert sum(summary["findings"].values()) == len(kept["findings"])


UNKNOWN_RULE = '{"oom": {"log": "", "lost": false, "names": {}, "processes": []}, "findings": [{"status": "fail", "rule": "ZZ"}]}'
HOSTILE = ["", "{", "[]", "{}", "null", '{"oom": 5}', UNKNOWN_RULE, "[" * 100000]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:20] for text in HOSTILE])
def test_any_other_answer_is_one_clear_failure_of_that_host(tmp_path: pathlib.Path, rules: _rule_compiler.RuleSet, text: str) -> None:
    with pytest.raises(AnsibleActionFail, match="n1: the node's answer is not the result of an audit"):
        memory_audit._keep(text, host="n1", directory=str(tmp_path), rules=rules)
    outcomes: list[t.Any] = list(_results.read_results(str(tmp_path), ["n1"], _results.RUN_ID))
    assert "not the result of an audit" in outcomes[0].problem and not outcomes[0].unreachable


def test_a_huge_answer_is_refused(tmp_path: pathlib.Path, rules: _rule_compiler.RuleSet, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_results, "MAX_RESULT_BYTES", 1000)
    with pytest.raises(ValueError, match="bytes"):
        memory_audit._understand(answer, rules)
