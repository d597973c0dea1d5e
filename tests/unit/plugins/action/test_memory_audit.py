# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of an audit: what goes to the node, and what becomes of any answer."""

from __future__ import annotations

import json
import pathlib
import shutil
import typing as t

import jsonschema
import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.memqos.fleet.plugins.action import memory_audit
from ansible_collections.memqos.fleet.plugins.module_utils import _module, _persist
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _values
from ansible_collections.memqos.fleet.plugins.modules import memory_audit as module
from ansible_collections.memqos.fleet.plugins.plugin_utils import _changes, _request, _results, _rule_compiler

TREE = pathlib.Path(__file__).parents[2] / "fixtures" / "trees" / "debian12-6.1-v2"

SCHEMA = json.loads((pathlib.Path(__file__).parents[4] / "docs" / "schemas" / "host.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rules() -> _rule_compiler.RuleSet:
    return memory_audit.prepare([], thresholds={}, drop=[]).rules


@pytest.fixture(scope="module")
def answer(rules: _rule_compiler.RuleSet) -> str:
    """What the module answers on a captured node."""
    request = [memory_audit.prepare([], thresholds={}, drop=[]).request, _request.pack({"previous": {}})]
    return str(module.audit({"root": str(TREE), "window": 0.0, "top": 5, "request": request})["audit"])


def test_the_request_reaches_the_node_whole(rules: _rule_compiler.RuleSet) -> None:
    request = _module.unpack(memory_audit.prepare([], thresholds={}, drop=[]).request)
    assert request["rules"] == json.loads(json.dumps(rules.compiled))
    assert "vm.swappiness" in {knob.name for knob in _values.unfold(request["knobs"])} and "memory.wmark_ratio" in request["vendor_files"]


OWN_RULE = "- {id: X01, title: t, severity: info, each: node, when: meminfo.MemTotal > 1, why: w, expected: e, cure: {text: c}}\n"


def host(directory: pathlib.Path, *, last: dict[str, t.Any] | None = None, accepted: t.Sequence[t.Any] = ()) -> memory_audit.Host:
    prepared = memory_audit._prepared(arguments())
    return memory_audit.Host("n1", str(directory), prepared, memory_audit._accepted(accepted), last or {}, _changes.failed(last or {}, prepared.digests))


def arguments(**changed: t.Any) -> dict[str, t.Any]:
    return {"rules_paths": [], "thresholds": {}, "rules_drop": [], **changed}


def test_a_host_without_rules_of_its_own_finds_them_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rule_compiler, "load_rules", lambda *unused, **unused_too: pytest.fail("compiled again"))
    assert "N03" in memory_audit._prepared(arguments()).rules.metadata


def test_a_host_with_rules_of_its_own_gets_these_and_leaves_the_others_as_they_were(tmp_path: pathlib.Path, rules: _rule_compiler.RuleSet) -> None:
    (tmp_path / "own.yml").write_text(OWN_RULE, encoding="utf-8")
    added = memory_audit._prepared(arguments(rules_paths=[str(tmp_path)]))
    assert added.rules.metadata.keys() - rules.metadata.keys() == {"X01"}
    changed = memory_audit._prepared(arguments(thresholds={"N03": {"allocstall_per_second": 7777}}))
    assert "7777" in json.dumps(_module.unpack(changed.request)["rules"]) and "7777" not in json.dumps(rules.compiled)
    fewer = memory_audit._prepared(arguments(rules_drop=["N03"]))
    kept = {rule["id"] for rule in _module.unpack(fewer.request)["rules"]} | {rule["id"] for rule in fewer.rules.on_controller}
    assert kept == rules.metadata.keys() - {"N03"}
    assert memory_audit._prepared(arguments()).rules == rules


def test_a_rule_that_does_not_exist_fails_the_task() -> None:
    with pytest.raises(AnsibleActionFail, match="N999"):
        memory_audit._prepared(arguments(rules_drop=["N999"]))


def test_an_answer_becomes_the_hosts_result(tmp_path: pathlib.Path, answer: str) -> None:
    summary = memory_audit._keep(answer, host(tmp_path))
    kept = _results.read_result(str(tmp_path), "n1")
    assert summary["path"] == str(tmp_path / "hosts" / "n1.json") and kept["run_id"] == _results.RUN_ID
    assert summary["memtotal_bytes"] == kept["breakdown"]["memtotal_bytes"]
    assert set(kept["oom"]) >= {"reports", "groups", "next_victims", "lost"} and "log" not in kept["oom"]
    assert sum(summary["findings"].values()) == len(kept["findings"])


def test_the_next_run_compares_with_the_counters_of_this_one(tmp_path: pathlib.Path, answer: str) -> None:
    sent = json.loads(answer)["counters"]
    assert sent["vmstat"] and sent["boot_id"]
    memory_audit._keep(answer, host(tmp_path))
    assert _results.previous(str(tmp_path), "n1").counters == sent
    assert "counters" not in _results.read_result(str(tmp_path), "n1")
    with pytest.raises(AnsibleActionFail):
        memory_audit._keep("{}", host(tmp_path))
    assert _results.previous(str(tmp_path), "n1").counters == sent


N01_FAILS = [{"rule": "N01", "status": "fail", "subject": {"kind": "node", "id": "node", "name": ""}, "observed": {"kills": 1}}]


def findings(kept: t.Mapping[str, t.Any], rule: str) -> list[dict[str, t.Any]]:
    return [one for one in kept["findings"] if one["rule"] == rule]


def test_what_is_accepted_counts_as_that_only(tmp_path: pathlib.Path, answer: str) -> None:
    before = memory_audit._keep(answer, host(tmp_path))["findings"]
    entry = {"rule": "N01", "reason": "known", "until": "9999-12-31"}
    after = memory_audit._keep(answer, host(tmp_path, accepted=[entry, {**entry, "rule": "X99"}]))["findings"]
    kept = _results.read_result(str(tmp_path), "n1")
    assert findings(kept, "N01")[0]["suppressed"] == {"reason": "known", "until": "9999-12-31"}
    assert after == {**before, "critical": before["critical"] - 1, "suppressed": 1} and before["suppressed"] == 0
    assert [one["rule"] for one in kept["suppressions_unused"]] == ["X99"]


@pytest.mark.parametrize(("first", "failed"), [(_persist.HEADER, 1), ("# Site settings", 0)])
def test_a_file_of_ours_is_known_by_its_first_line_whatever_its_name(tmp_path: pathlib.Path, first: str, failed: int) -> None:
    root, mine, late = tmp_path / "node", *(f"etc/sysctl.d/{name}" for name in ("99-ours.conf", "zzz-late.conf"))
    shutil.copytree(TREE, root, symlinks=True)
    (root / mine).write_text(f"{first}\nvm.swappiness = 10\n", encoding="utf-8")
    (root / late).write_text("vm.swappiness = 90\n", encoding="utf-8")
    request = [memory_audit.prepare([], thresholds={}, drop=[]).request, _request.pack({"previous": {}})]
    told = module.audit({"root": str(root), "window": 0.0, "top": 5, "request": request})["audit"]
    memory_audit._keep(told, host(tmp_path))
    kept = _results.read_result(str(tmp_path), "n1")
    assert [one["subject"]["id"] for one in findings(kept, "P02")] == ["vm.swappiness"] * failed


@pytest.mark.parametrize("entries", [[], [{"rule": "N99", "reason": "r", "until": "9999-12-31"}]], ids=["none", "of another rule"])
def test_a_node_cannot_accept_its_own_findings(tmp_path: pathlib.Path, answer: str, entries: list[t.Any]) -> None:
    forged = json.loads(answer)
    honest = memory_audit._keep(answer, host(tmp_path, accepted=entries))["findings"]
    said = {"reason": "all is well", "until": "9999-12-31"}
    for finding in forged["findings"]:
        finding.update(suppressed=said, suppression_expired=said)
    for count in forged["rules"].values():
        count["suppressed"] = count["failed"]
    forged.update(failed="", changes={"since": None}, suppressions_unused=[said], settings=[], persistence={})
    assert memory_audit._keep(json.dumps(forged), host(tmp_path, accepted=entries))["findings"] == honest and honest["critical"]
    kept = _results.read_result(str(tmp_path), "n1")
    assert "all is well" not in json.dumps(kept)
    assert not any("suppressed" in count for count in kept["rules"].values())
    assert kept["changes"] == {"since": None, "generation": None, "rebooted": None, "findings": []} and kept["settings"] and kept["persistence"]


def test_a_wrong_suppression_fails_the_task_before_the_node_is_asked() -> None:
    with pytest.raises(AnsibleActionFail, match="memqos_suppressions: entry 1: 'until' is missing"):
        memory_audit._accepted([{"rule": "N01", "reason": "r"}])


def test_a_node_is_asked_of_what_failed_and_its_answer_becomes_a_change(tmp_path: pathlib.Path, answer: str) -> None:
    memory_audit._keep(answer, host(tmp_path))
    assert _results.read_result(str(tmp_path), "n1")["changes"]["since"] is None
    previous = _results.previous(str(tmp_path), "n1")
    asked = memory_audit._asked(previous, host(tmp_path, last=previous.findings).failed)
    assert asked["failed"]["N01"] == ["node"] and asked["boot_id"] == previous.counters["boot_id"]
    cured = json.loads(answer)
    cured["findings"] = [one for one in cured["findings"] if one["rule"] != "N01"]
    cured["rules"]["N01"].update(failed=0, passed=1)
    cured["recovered"] = [{**N01_FAILS[0], "status": "pass", "observed": {"kills": 0}}]
    cured["applied"] = {"generation": 2, "profiles": ["balanced"]}
    memory_audit._keep(json.dumps(cured), host(tmp_path, last=previous.findings))
    kept = _results.read_result(str(tmp_path), "n1")
    jsonschema.validate(kept, SCHEMA)
    changes = kept["changes"]
    assert changes["since"]["run_id"] == _results.RUN_ID and changes["generation"] == 2 and changes["rebooted"] is False
    assert changes["findings"] == [
        {
            "rule": "N01",
            "subject": N01_FAILS[0]["subject"],
            "before": {"status": "fail", "observed": {"kills": 1}, "window": findings(json.loads(answer), "N01")[0]["window"]},
            "after": {"status": "pass", "observed": {"kills": 0}},
        }
    ]


UNKNOWN_RULE = '{"oom": {"log": "", "lost": false, "names": {}, "processes": []}, "findings": [{"status": "fail", "rule": "ZZ"}]}'
HOSTILE = ["", "{", "[]", "{}", "null", '{"oom": 5}', UNKNOWN_RULE, "[" * 100000]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:20] for text in HOSTILE])
def test_any_other_answer_is_one_clear_failure_of_that_host(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(AnsibleActionFail, match="n1: the node's answer is not the result of an audit"):
        memory_audit._keep(text, host(tmp_path))
    outcomes: list[t.Any] = list(_results.read_results(str(tmp_path), ["n1"], _results.RUN_ID))
    assert "not the result of an audit" in outcomes[0].problem and not outcomes[0].unreachable


def test_a_huge_answer_is_refused(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_results, "MAX_RESULT_BYTES", 1000)
    with pytest.raises(ValueError, match="bytes"):
        memory_audit._understand(answer)
