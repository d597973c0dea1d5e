# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""memory_generations as a task: what goes to the node, and what the task returns and shows."""

from __future__ import annotations

import json
import typing as t
import unittest.mock
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.memqos.fleet.plugins.action import memory_generations
from ansible_collections.memqos.fleet.plugins.plugin_utils import _tuning
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line

VALUE = {"name": "vm.swappiness", "subject": "", "before": "60", "after": "10"}
ONE = {
    "generation": 1, "started": "2026-11-23T09:00:00Z", "host": "control1", "run_id": "r", "profiles": ["redis"], "stands": "1", "values": [VALUE],
    "files": [], "problem": "",
}  # fmt: skip
TOLD = {"schema_version": 1, "stands": "1", "generations": [ONE], "compared": None, "notes": []}


class Task:
    """As much of a task as an action plugin looks at."""

    def __init__(self, arguments: dict[str, t.Any]) -> None:
        self.args = arguments
        self.async_val = 0
        self.check_mode = False
        self.diff = False
        self.action = "memqos.fleet.memory_generations"
        self.resolved_action = self.action
        self.collections: list[str] = []
        self.no_log = False


def run(directory: Path, answer: dict[str, t.Any], **arguments: t.Any) -> tuple[dict[str, t.Any], t.Any, list[str]]:
    """(result, what was asked of the node, lines shown)"""
    loader = DataLoader()
    task = t.cast("t.Any", Task({"directory": str(directory), **arguments}))
    plugin = memory_generations.ActionModule(task, unittest.mock.MagicMock(connected=False), t.cast("t.Any", None), loader, Templar(loader), None)
    execute = unittest.mock.Mock(return_value=answer)
    shown: list[Line] = []
    with unittest.mock.patch.object(plugin, "_execute_module", execute), unittest.mock.patch.object(_tuning, "show", shown.extend):
        result = plugin.run(task_vars={"inventory_hostname": "n1"})
    (call,) = execute.call_args_list
    assert call.args == ("memqos.fleet.memory_generations",)
    return result, call.kwargs["module_args"], [line.text for line in shown]


def test_a_list(tmp_path: Path) -> None:
    result, asked, shown = run(tmp_path, {"generations": json.dumps(TOLD), "changed": False, "invocation": {}})
    path = tmp_path / "generations" / "n1.json"
    assert asked == {"compare": []}
    assert result == {"changed": False, "stands": "1", "generations": [1], "path": str(path)}
    assert json.loads(path.read_bytes())["generations"] == [ONE]
    assert shown == ["n1: 1 generation, 1 stands", "n1: *    1  2026-11-23T09:00:00Z  from control1  redis: vm.swappiness 60 → 10"]


@pytest.mark.parametrize(("said", "sent"), [(["origin", 2], ["origin", "2"]), ("3, now", ["3", "now"])])
def test_two_to_compare(tmp_path: Path, said: t.Any, sent: list[str]) -> None:
    assert run(tmp_path, {"generations": json.dumps(TOLD)}, compare=said)[1] == {"compare": sent}


def test_what_fails_on_the_node(tmp_path: Path) -> None:
    result, _asked, shown = run(tmp_path, {"failed": True, "msg": "there is no generation \x1b[2J; there are: 1"})
    assert (result["failed"], result["msg"], shown) == (True, "there is no generation \\x1b[2J; there are: 1", [])


@pytest.mark.parametrize("compare", [["1"], ["1", "2", "3"], ["1", "0"], ["previous", "now"], ["\x1b", "1"], ["1", "9" * 12]])
def test_wrong_arguments_are_answered(tmp_path: Path, compare: list[str]) -> None:
    with pytest.raises(AnsibleError, match="write two of origin, now and the numbers of generations"):
        run(tmp_path, {}, compare=compare)


def test_a_hostile_answer(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="n1: the node's answer is no list of generations"):
        run(tmp_path, {"generations": "[]"})
