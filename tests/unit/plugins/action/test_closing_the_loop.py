# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Audit → selection.yml → tune → audit: the three action plugins on one node in a directory, which the real modules read and write."""

from __future__ import annotations

import json
import os
import types
import typing as t
import unittest.mock
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.memqos.fleet.plugins.action import memory_audit, memory_report, memory_tune
from ansible_collections.memqos.fleet.plugins.module_utils import _module, _tune
from ansible_collections.memqos.fleet.plugins.modules import memory_audit as audit_module
from ansible_collections.memqos.fleet.plugins.plugin_utils import _results, _tuning
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import Machine

Json = dict[str, t.Any]
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
# Not vm.min_free_kbytes: the kernel computes it anew when huge pages are switched.
OTHERS = ("vm.overcommit_memory", "vm.dirty_ratio", "/batch.slice memory.high")


class Task:
    """As much of a task as an action plugin looks at."""

    async_val, no_log, collections, check_mode, diff = 0, False, (), False, True

    def __init__(self, action: str, arguments: Json) -> None:
        self.args = arguments
        self.action = self.resolved_action = f"memqos.fleet.{action}"


class Lab:
    """One host, and the controller's directory."""

    def __init__(self, root: Path) -> None:
        self.machine = Machine(root / "node")
        self.directory = str(root / "report")
        self.selection = os.path.join(self.directory, "selection.yml")
        self.calls = 0

    def audit(self, **arguments: t.Any) -> Json:
        result = self._run(memory_audit, "memory_audit", {"root": self.machine.root, "window": 0, "directory": self.directory, **arguments})
        assert not result.get("failed"), result
        return _results.read_result(self.directory, "n1")

    def report(self) -> Json:
        plan = {**{key: one.get("default") for key, one in memory_report.ARGUMENT_SPEC.items()}, "directory": self.directory, "formats": ["selection"]}
        assert memory_report.make_reports(plan, show=lambda lines: None, width=80)["paths"] == {"selection": self.selection}
        content: Json = yaml.safe_load(Path(self.selection).read_text(encoding="utf-8"))
        return content["hosts"]

    def edit(self, change: t.Callable[[Json], object]) -> None:
        content = yaml.safe_load(Path(self.selection).read_text(encoding="utf-8"))
        change(content["hosts"])
        Path(self.selection).write_text(yaml.safe_dump(content), encoding="utf-8")

    def tune(self, **arguments: t.Any) -> Json:
        return self._run(memory_tune, "memory_tune", {"directory": self.directory, **arguments})

    def _run(self, plugin: types.ModuleType, name: str, arguments: Json) -> Json:
        loader = DataLoader()
        task = t.cast("t.Any", Task(name, arguments))
        action = plugin.ActionModule(task, unittest.mock.MagicMock(connected=False), t.cast("t.Any", None), loader, Templar(loader), None)
        with unittest.mock.patch.object(action, "_execute_module", self._module):
            result: Json = action.run(task_vars={"inventory_hostname": "n1"})
        return result

    def _module(self, name: str, *, module_args: Json, task_vars: object) -> Json:
        self.calls += 1
        if name.endswith("audit"):
            return audit_module.audit(module_args)
        request = _module.unpack(module_args["request"])
        result = _tune.answer(self.machine.asked(_tune.tune, request))
        problem = result.pop("problem")
        return {**result, **({"failed": True, "msg": problem} if problem else {})}


@pytest.fixture(name="lab")
def fixture_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(_tune, "os", types.SimpleNamespace(geteuid=lambda: 0, sysconf=os.sysconf))
    monkeypatch.setattr(_tuning, "show", lambda lines: None)
    made = Lab(tmp_path)
    made.machine.set("vm.swappiness", "0")
    return made


def told(audit: Json) -> dict[str, tuple[t.Any, ...]]:
    """{rule: (status and figures before, after)}"""
    return {
        one["rule"]: tuple(state and (state["status"], state["observed"]) for state in (one["before"], one["after"])) for one in audit["changes"]["findings"]
    }


def test_what_the_audit_found_is_chosen_done_and_gone(lab: Lab) -> None:
    first = lab.audit()
    assert first["changes"]["since"] is None
    part = lab.report()["n1"]
    assert part["settings"] == {"vm.swappiness": {"raise_to": 1}, "transparent_hugepage/enabled": {"lower_to": "madvise"}, "vm.overcommit_memory": 1}
    assert {"rule": "N21", "subject": "node", "title": "swappiness 0 does not switch swap off", "sets": ["vm.swappiness"]} in part["because"]
    # The operator's: what he deletes is not done.
    lab.edit(lambda hosts: hosts["n1"]["settings"].pop("vm.overcommit_memory"))
    others = {name: lab.machine.text(name) for name in OTHERS}
    result = lab.tune(selection=lab.selection)
    assert (result["changed"], result["counts"], result["generation"]) == (True, {"changed": 2}, 1)
    assert (lab.machine.text("vm.swappiness"), lab.machine.text(THP)) == ("1", "always [madvise] never")
    assert {name: lab.machine.text(name) for name in OTHERS} == others
    second = lab.audit()
    assert second["changes"]["since"]["run_id"] == first["run_id"]
    changes = told(second)
    swap_total = {"swap_total": 1 << 30}
    assert changes["N21"] == (("fail", {"swappiness": 0, **swap_total}), ("pass", {"swappiness": 1, **swap_total}))
    assert changes["N27"] == (("fail", {"transparent_hugepage": "always"}), ("pass", {"transparent_hugepage": "madvise"}))
    assert "N28" not in changes and lab.report()["n1"]["settings"] == {"vm.overcommit_memory": 1}


def test_one_selection_after_the_other_and_nothing_goes_back(lab: Lab) -> None:
    lab.tune(profile={"name": "pool", "host": {"vm.min_free_kbytes": 131072}})
    lab.audit()
    lab.report()
    lab.edit(lambda hosts: hosts["n1"]["settings"].pop("vm.overcommit_memory"))
    lab.tune(selection=lab.selection)
    lab.audit()
    lab.report()
    assert lab.tune(selection=lab.selection)["generation"] == 3
    values = {name: lab.machine.text(name) for name in ("vm.min_free_kbytes", "vm.swappiness", "vm.overcommit_memory")}
    assert values == {"vm.min_free_kbytes": "131072", "vm.swappiness": "1", "vm.overcommit_memory": "1"}


def test_a_finding_that_is_accepted_is_not_chosen_and_not_done(lab: Lab) -> None:
    lab.audit(suppressions=[{"rule": "N21", "reason": "it swaps nothing", "until": "9999-12-31"}])
    assert "vm.swappiness" not in lab.report()["n1"]["settings"]
    lab.tune(selection=lab.selection)
    assert lab.machine.text("vm.swappiness") == "0"


def test_the_diff_says_which_finding_wants_it(lab: Lab) -> None:
    lab.audit()
    lab.report()
    diff = lab.tune(selection=lab.selection)["diff"][0]["prepared"]
    assert "vm.swappiness                 0 → 1             selection, raise to 1: N21: swappiness 0 does not switch swap off\n" in diff


def test_host_variables_come_after_a_selection_and_profiles_before_it(lab: Lab) -> None:
    lab.audit()
    lab.report()
    lab.tune(selection=lab.selection, host={"vm.overcommit_memory": 0})
    assert (lab.machine.text("vm.overcommit_memory"), lab.machine.text("vm.swappiness")) == ("0", "1")
    lab.tune(selection=lab.selection, profile={"name": "pool", "host": {"vm.swappiness": 30, "vm.overcommit_memory": 2}})
    assert (lab.machine.text("vm.overcommit_memory"), lab.machine.text("vm.swappiness")) == ("1", "30")


LEFT_ALONE = [
    (lambda hosts: hosts.pop("n1"), "does not name this host"),
    (lambda hosts: hosts["n1"].pop("settings"), "has nothing to set for this host; 2 findings are left to people (by_hand)"),
]


@pytest.mark.parametrize(("change", "words"), LEFT_ALONE)
@pytest.mark.parametrize("profile", [{}, {"profile": "balanced"}], ids=["", "with a profile"])
def test_a_host_without_a_part_is_left_alone_and_not_contacted(lab: Lab, change: t.Callable[[Json], object], words: str, profile: Json) -> None:
    lab.audit()
    lab.report()
    lab.edit(change)
    calls, before = lab.calls, lab.machine.snapshot()
    result = lab.tune(selection=lab.selection, **profile)
    assert (result["skipped"], result["changed"], result["msg"]) == (True, False, f"{lab.selection} {words}")
    assert lab.calls == calls and lab.machine.snapshot() == before


def test_a_mistake_in_the_file_is_named_before_the_node_is_asked(lab: Lab) -> None:
    lab.audit()
    lab.report()
    lab.edit(lambda hosts: hosts["n1"]["settings"].update({"vm.swapiness": 1}))
    calls = lab.calls
    with pytest.raises(AnsibleActionFail, match=r"selection.yml: hosts.n1.settings.vm.swapiness, line \d+, column \d+: there is no host knob"):
        lab.tune(selection=lab.selection)
    assert lab.calls == calls


def test_the_result_of_a_selection_is_of_its_own_name(lab: Lab) -> None:
    lab.audit()
    lab.report()
    lab.tune(selection=lab.selection)
    rows = json.loads(Path(lab.directory, "tune", "n1.json").read_bytes())["results"]
    assert {row["profile"] for row in rows} == {"selection"}
