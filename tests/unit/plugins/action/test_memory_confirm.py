# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tune that has to be confirmed, and its confirmation, as tasks: in which order a node is asked what, and what is shown."""

from __future__ import annotations

import os
import re
import types
import typing as t
import unittest.mock
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.memqos.fleet.plugins.action import memory_confirm, memory_tune
from ansible_collections.memqos.fleet.plugins.module_utils import _confirm, _module, _tune
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.plugins.plugin_utils import _tuning
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.test_confirm import Case

PROFILE = {"name": "own", "host": {"vm.swappiness": {"value": 10}}}


class Task:
    """As much of a task as an action plugin looks at."""

    def __init__(self, name: str, arguments: dict[str, t.Any], *, check: bool) -> None:
        self.args = arguments
        self.async_val = 0
        self.check_mode = check
        self.diff = False
        self.action = f"memqos.fleet.{name}"
        self.resolved_action = self.action
        self.collections: list[str] = []
        self.no_log = False


class Node:
    """Does what the modules do, on a machine, and keeps what it was asked. C(cut): the connection breaks after a call of this name."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.asked: list[str] = []
        self.shown: list[str] = []
        self.cut = ""

    def execute(self, name: str, *, module_args: dict[str, t.Any], task_vars: object) -> dict[str, t.Any]:
        request = _module.unpack(module_args["request"])
        self.asked.append(request.get("do", "tune"))
        try:
            result = self._done(request)
        except (_tune.TuneError, Unreadable) as exc:
            return {"failed": True, "msg": str(exc)}
        if self.asked[-1] == self.cut:
            raise AnsibleConnectionFailure("gone")
        problem = result.pop("problem")
        return {**result, **({"failed": True, "msg": problem} if problem else {})}

    def _done(self, request: dict[str, t.Any]) -> dict[str, t.Any]:
        work = self.case.work()
        do = request.get("do")
        if do == "arm":
            return _confirm.arm(request, work)
        if do == "give up":
            return _confirm.give_up(request, work)
        return _confirm.confirm(request, work) if do else _tune.answer(_tune.tune(request, work))

    def tune(self, *, check: bool = False, **arguments: t.Any) -> dict[str, t.Any]:
        return self._run(memory_tune, Task("memory_tune", {"profile": PROFILE, "lock_wait": 0, **arguments}, check=check))

    def confirm(self) -> dict[str, t.Any]:
        return self._run(memory_confirm, Task("memory_confirm", {"lock_wait": 0}, check=False))

    def _run(self, action: t.Any, task: Task) -> dict[str, t.Any]:
        loader = DataLoader()
        plugin = action.ActionModule(task, unittest.mock.MagicMock(connected=False), None, loader, Templar(loader), None)

        def keep(lines: t.Iterable[Line]) -> None:
            self.shown += [line.text for line in lines]

        self.asked, self.shown = [], []
        with unittest.mock.patch.object(plugin, "_execute_module", self.execute), unittest.mock.patch.object(_tuning, "show", keep):
            return t.cast("dict[str, t.Any]", plugin.run(task_vars={"inventory_hostname": "n1"}))


@pytest.fixture(name="node")
def fixture_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_tune, "os", types.SimpleNamespace(geteuid=lambda: 0, sysconf=os.sysconf))
    return Node(Case(tmp_path))


def test_armed_tuned_confirmed(node: Node) -> None:
    result = node.tune(confirm_within=120, allow_risks=["limit_below_usage"])
    assert node.asked == ["arm", "tune"] and (result["changed"], result["generation"]) == (True, 2)
    armed = node.case.journal.armed()
    assert {key: armed[key] for key in ("within", "allow")} == {"within": 120, "allow": ["limit_below_usage"]}
    assert len(armed["token"]) == 16
    told = re.fullmatch(r"n1: generation 2 awaits confirmation \(memqos.fleet.confirm\): in (\d+) s at most the node takes it back", node.shown[-1])
    assert told and 60 < int(told.group(1)) < 120
    assert node.confirm() == {"changed": True, "generation": 2} and node.shown == ["n1: generation 2 is confirmed"]
    assert node.confirm() == {"changed": False, "generation": 0} and node.shown == ["n1: nothing awaits confirmation"]
    assert node.case.nothing_is_armed() and node.case.machine.text("vm.swappiness") == "10"


def test_a_tune_with_nothing_to_do_is_disarmed_at_once(node: Node) -> None:
    node.tune()
    assert node.asked == ["tune"]
    result = node.tune(confirm_within=120)
    assert node.asked == ["arm", "tune", "give up"] and (result["changed"], result["generation"]) == (False, 0)
    assert node.case.nothing_is_armed() and node.shown == ["n1: nothing to do: 1 ok"]


def test_a_check_arms_nothing(node: Node) -> None:
    node.tune(check=True, confirm_within=120)
    assert node.asked == ["tune"] and node.case.nothing_is_armed()


def test_who_is_cut_off_is_taken_back(node: Node) -> None:
    node.cut = "tune"
    with pytest.raises(AnsibleConnectionFailure):
        node.tune(confirm_within=120)
    assert node.case.machine.text("vm.swappiness") == "10"
    assert node.case.time_runs_out().startswith("generation 2 was not confirmed within 120 s")
    assert node.case.machine.snapshot() == node.case.before
    result = node.confirm()
    assert result["failed"] and result["msg"] == "generation 2 was not confirmed in time, and the node has taken it back (generation 3)"


def test_what_cannot_be_armed_is_not_tuned(node: Node) -> None:
    node.case.node.fails = "systemd-run"
    result = node.tune(confirm_within=120)
    assert node.asked == ["arm"] and result["failed"] and "cannot be armed, and nothing was written" in result["msg"]
    assert node.case.machine.snapshot() == node.case.before


def test_a_second_tune_waits(node: Node) -> None:
    node.tune(confirm_within=120)
    result = node.tune(host={"vm.swappiness": 7})
    assert result["failed"] and "generation 2 awaits confirmation" in result["msg"]
    assert node.tune(confirm_within=100, host={"vm.swappiness": 7})["failed"] and node.asked == ["arm"]
    assert node.case.machine.text("vm.swappiness") == "10" and node.case.journal.unconfirmed() == 2


@pytest.mark.parametrize("seconds", [-1, 1, 29, 86401])
def test_no_time_and_too_much_are_refused(node: Node, seconds: int) -> None:
    with pytest.raises(AnsibleActionFail, match=f"confirm_within={seconds}: seconds, from 30 to 86400, or 0"):
        node.tune(confirm_within=seconds)
    assert node.asked == []


@pytest.mark.parametrize(("within", "shrink"), [(60, 60), (90, 60), (330, 300)])
def test_time_that_shrinking_may_use_up_is_refused(node: Node, within: int, shrink: int) -> None:
    told = f"confirm_within={within} is over too soon after shrink_within={shrink} is: more than {shrink + 30} is expected here"
    with pytest.raises(AnsibleActionFail, match=told):
        node.tune(confirm_within=within, shrink_within=shrink)
    assert node.asked == []
    assert node.tune(confirm_within=shrink + 31, shrink_within=shrink)["generation"] == 2


def test_where_nothing_is_shrunk_the_least_is_enough(node: Node) -> None:
    assert node.tune(confirm_within=30, shrink_within=0)["generation"] == 2


@pytest.mark.parametrize("until", [None, "\x1b", True])
def test_a_node_that_does_not_say_until_when_is_not_tuned(node: Node, until: t.Any) -> None:
    with unittest.mock.patch.object(_confirm, "arm", unittest.mock.Mock(return_value={"changed": False, "generation": 0, "problem": "", "until": until})):
        result = node.tune(confirm_within=120)
    assert result == {"failed": True, "changed": False, "msg": "nothing was armed"} and node.asked == ["arm"]


@pytest.mark.parametrize("answer", [{"generation": "\x1b"}, {"generation": True}, {}, {"failed": True, "msg": "\x1b[2J"}])
def test_a_hostile_answer(node: Node, answer: dict[str, t.Any]) -> None:
    with unittest.mock.patch.object(node, "execute", unittest.mock.Mock(return_value=answer)):
        result = node.confirm()
    assert result["failed"] and "\x1b" not in result["msg"]
