# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""memory_rollback as a task: what goes to the node, and what the task returns and shows."""

from __future__ import annotations

import datetime
import json
import typing as t
import unittest.mock
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.memqos.fleet.plugins.action import memory_rollback
from ansible_collections.memqos.fleet.plugins.module_utils import _module, _plan_rows
from ansible_collections.memqos.fleet.plugins.plugin_utils import _results, _tuning
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line

Row = _plan_rows.Row
BACK = Row("vm.swappiness", "host", "", "60", "10", "60", "60", "10", "60", "changed")
LEFT = Row("/proc/sys/vm/max_map_count", "", "", "65530", "7", "7", status="deferred", reason="somebody changed it: it stays as it is")


class Task:
    """As much of a task as an action plugin looks at."""

    def __init__(self, arguments: dict[str, t.Any], *, diff: bool) -> None:
        self.args = arguments
        self.async_val = 0
        self.check_mode = False
        self.diff = diff
        self.action = "memqos.fleet.memory_rollback"
        self.resolved_action = self.action
        self.collections: list[str] = []
        self.no_log = False


def told(*rows: Row, **values: t.Any) -> dict[str, t.Any]:
    whole = {"schema_version": 1, "changed": True, "check": False, "generation": 4, "results": [row._asdict() for row in rows], "files": [], "skipped": []}
    whole.update(kernel_command_line={}, daemon_reload=False, notes=[], problem="", clean=True, shrinking=[], containers=[])
    return {**whole, **values}


def run(directory: Path, answer: dict[str, t.Any], *, diff: bool = False, **arguments: t.Any) -> tuple[dict[str, t.Any], dict[str, t.Any], list[str]]:
    """(result, request, lines shown)"""
    loader = DataLoader()
    task = t.cast("t.Any", Task({"directory": str(directory), **arguments}, diff=diff))
    plugin = memory_rollback.ActionModule(task, unittest.mock.MagicMock(connected=False), t.cast("t.Any", None), loader, Templar(loader), None)
    execute = unittest.mock.Mock(return_value=answer)
    shown: list[Line] = []
    with unittest.mock.patch.object(plugin, "_execute_module", execute), unittest.mock.patch.object(_tuning, "show", shown.extend):
        result = plugin.run(task_vars={"inventory_hostname": "n1"})
    (call,) = execute.call_args_list
    assert call.args == ("memqos.fleet.memory_rollback",) and set(call.kwargs["module_args"]) == {"request"}
    return result, _module.unpack(call.kwargs["module_args"]["request"]), [line.text for line in shown]


def answered(*rows: Row, **values: t.Any) -> dict[str, t.Any]:
    return {"tune": _module.to_json(told(*rows, **values)), "changed": True}


def test_back_to_what_stood_before(tmp_path: Path) -> None:
    result, request, shown = run(tmp_path, answered(BACK, LEFT))
    assert {key: request[key] for key in ("to", "force", "allow", "wait")} == {"to": "previous", "force": False, "allow": [], "wait": 60}
    assert request["meta"]["run_id"] == _results.RUN_ID
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(request["keep"]["since"].replace("Z", "+00:00"))
    assert request["keep"]["generations"] == 20 and abs(age.total_seconds() - 30 * 86400) < 600
    path = tmp_path / "tune" / "n1.json"
    assert result == {"changed": True, "generation": 4, "counts": {"deferred": 1, "changed": 1}, "path": str(path)}
    assert json.loads(path.read_bytes())["results"][0]["name"] == "vm.swappiness"
    assert shown == [
        "n1: rolled back (generation 4): 1 deferred, 1 changed",
        "n1:   deferred: /proc/sys/vm/max_map_count: somebody changed it: it stays as it is",
    ]


@pytest.mark.parametrize("to", ["origin", "previous", "0", "17"])
def test_where_to(tmp_path: Path, to: str) -> None:
    options: dict[str, t.Any] = {"force": True, "allow_risks": ["limit_below_usage"], "lock_wait": 1}
    _result, request, _shown = run(tmp_path, answered(BACK), to=to, **options)
    assert [request[key] for key in ("to", "force", "allow", "wait")] == [to, True, ["limit_below_usage"], 1]


def test_the_diff(tmp_path: Path) -> None:
    file = {"path": "/etc/sysctl.d/zz-memqos.conf", "before": "a\n", "after": None}
    result, _request, _shown = run(tmp_path, answered(BACK, files=[file]), diff=True)
    assert result["diff"] == [
        {"prepared": "vm.swappiness  10 → 60\n\n"},
        {"before": "a\n", "after": "", "before_header": file["path"], "after_header": f"{file['path']} (absent)"},
    ]


def test_what_fails(tmp_path: Path) -> None:
    result, _request, shown = run(
        tmp_path, {**answered(BACK._replace(status="undone"), changed=False, generation=0, problem="disk full"), "failed": True, "msg": "x"}
    )
    assert (result["failed"], result["changed"], result["msg"]) == (True, False, "disk full")
    assert shown == ["n1: not rolled back: 1 undone"]
    never = {"failed": True, "msg": "there is nothing to roll back: memqos.fleet has never changed this node"}
    assert run(tmp_path, never)[0] == never


WRONG = [
    ({"to": "yesterday"}, "to=yesterday: write previous, origin, or the number of a generation"),
    ({"to": "-1"}, "to=-1: write previous"),
    ({"to": "1.5"}, "write previous"),
    ({"to": ""}, "write previous"),
    ({"to": "9" * 20}, "write previous"),
    ({"to": "\x1b[2J"}, r"to=\\x1b\[2J: write"),
    ({"force": "perhaps"}, "bool"),
    ({"allow_risks": ["all"]}, "one or more of"),
    ({"generation": 3}, "Unsupported parameters"),
    ({"keep_generations": 0}, "keep_generations=0: a number from 1 to 36500"),
    ({"keep_days": -1}, "keep_days=-1: a number from 0 to 36500"),
    ({"keep_days": 1 << 40}, "keep_days=1099511627776: a number from 0"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_wrong_arguments_are_answered(tmp_path: Path, arguments: dict[str, t.Any], words: str) -> None:
    with pytest.raises(AnsibleError, match=words):
        run(tmp_path, answered(BACK), **arguments)


def test_a_hostile_answer(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="n1: the node's answer is not the result of a tune"):
        run(tmp_path, {"tune": "[]"})
