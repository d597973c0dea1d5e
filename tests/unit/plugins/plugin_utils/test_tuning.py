# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the action plugins of tune and rollback share: who asks, and what any answer of a node ends in."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _results, _tune_result, _tuning
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line
from ansible_collections.memqos.fleet.plugins.plugin_utils._yaml_source import Problem

ROW = {
    "name": "vm.swappiness", "scope": "host", "subject": "", "wanted": "10", "live_before": "60", "live_after": "10", "effective": "10",
    "persisted_before": None, "persisted_after": "10", "status": "changed", "equivalence": "native", "reboot_required": False, "reason": "", "winner": None,
    "profile": "own", "expression": "lower to 10",
}  # fmt: skip
TOLD: dict[str, t.Any] = {
    "schema_version": 1, "changed": True, "check": False, "generation": 3, "results": [ROW], "files": [{"path": "/etc/x", "before": None, "after": "a\n"}],
    "skipped": [], "kernel_command_line": {}, "daemon_reload": False, "notes": [], "problem": "", "clean": True,
    "shrinking": [], "containers": [],
}  # fmt: skip
MIB = 1 << 20


@pytest.fixture(name="shown", autouse=True)
def fixture_shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    def keep(found: t.Iterable[Line]) -> None:
        lines.extend(line.text for line in found)

    monkeypatch.setattr(_tuning, "show", keep)
    return lines


def why(*_key: str) -> _tune_result.Because:
    return _tune_result.Because("Because.")


def finish(directory: Path, told: dict[str, t.Any] | None = None, *, diff: bool = False, **answer: t.Any) -> dict[str, t.Any]:
    if told is not None:
        answer.update(tune=json.dumps(told), changed=told["changed"], problem=told["problem"])
    return _tuning.finish(answer, host="n1", directory=str(directory), verb="tuned", why=why if diff else None)


def test_a_result_is_short_and_the_file_has_it_all(tmp_path: Path, shown: list[str]) -> None:
    result = finish(tmp_path, TOLD, invocation={"module_args": {}}, warnings=["w"])
    path = tmp_path / "tune" / "n1.json"
    assert result == {"changed": True, "generation": 3, "counts": {"changed": 1}, "path": str(path), "warnings": ["w"]}
    assert json.loads(path.read_bytes()) == {"host": "n1", "run_id": _results.RUN_ID, **TOLD}
    assert shown == ["n1: tuned (generation 3): 1 changed"]


def test_with_diff(tmp_path: Path, shown: list[str]) -> None:
    result = finish(tmp_path, TOLD, diff=True)
    assert result["diff"] == [
        {"prepared": "vm.swappiness  60 → 10  own, lower to 10: Because\n\n"},
        {"before": "", "after": "a\n", "before_header": "/etc/x (absent)", "after_header": "/etc/x"},
    ]
    assert shown == ["n1: tuned (generation 3): 1 changed"]


def test_of_a_failed_task_the_action_shows_the_values(tmp_path: Path, shown: list[str]) -> None:
    refused = {**ROW, "status": "refused", "reason": "too much\x1b"}
    told = {
        **TOLD,
        "changed": False,
        "generation": 0,
        "results": [{**ROW, "status": "would_change"}, refused],
        "problem": "nothing was written:\nx: too much\x1b",
    }
    result = finish(tmp_path, told, diff=True, failed=True, msg="nothing was written:\nx: too much\x1b")
    assert (result["failed"], result["changed"], "diff" in result) == (True, False, False)
    assert result["msg"] == "nothing was written:\nx: too much\\x1b"
    assert shown == ["n1: not tuned: 1 refused, 1 would change", "  vm.swappiness  60 → 10  own, lower to 10: Because"]


def test_a_plan_that_is_undone_in_part_only_is_a_change(tmp_path: Path) -> None:
    assert finish(tmp_path, {**TOLD, "changed": False, "generation": 0, "problem": "undoing failed", "clean": False})["changed"] is True
    assert finish(tmp_path, {**TOLD, "changed": False, "generation": 0, "problem": "it is undone"})["changed"] is False


def test_a_problem_fails_the_task_whatever_the_module_says(tmp_path: Path) -> None:
    assert finish(tmp_path, {**TOLD, "problem": "no"}, failed=False)["failed"] is True


def test_a_module_that_fails_before_it_can_tell(tmp_path: Path, shown: list[str]) -> None:
    result = finish(tmp_path, failed=True, msg="needs root: set\x1b[31m\nansible_become", diff=True, changed=False)
    assert result == {"failed": True, "msg": "needs root: set\\x1b[31m\nansible_become", "changed": False}
    assert shown == [] and not (tmp_path / "tune").exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", json.dumps({**TOLD, "changed": "\x1b"}), json.dumps({**TOLD, "results": [{**ROW, "status": "\x1b"}]}), "[" * 99999]
)
def test_any_other_answer_is_one_clear_failure(tmp_path: Path, shown: list[str], text: str) -> None:
    with pytest.raises(AnsibleActionFail) as caught:
        finish(tmp_path, tune=text, changed=True)
    message = str(caught.value)
    assert message.startswith("n1: the node's answer is not the result of a tune (") and message.isprintable()
    assert "journal" in message and shown == [] and not (tmp_path / "tune").exists()


def test_what_the_node_calls_a_diff_is_not_shown(tmp_path: Path) -> None:
    answer = {"tune": json.dumps(TOLD), "changed": True, "diff": {"prepared": "\x1b[2J"}}
    assert "diff" not in _tuning.finish(answer, host="n1", directory=str(tmp_path), verb="tuned", why=None)


def test_a_result_that_cannot_be_written_fails_the_task(tmp_path: Path) -> None:
    (tmp_path / "tune").write_text("")
    with pytest.raises(AnsibleActionFail, match="cannot be written"):
        finish(tmp_path, TOLD)


@pytest.mark.parametrize("error", [_results.ResultError("hosts/n1.json: run the audit"), _profiles.ProfileError([Problem("own.yml", "host", 3, 1, "no")])])
def test_mistakes_are_complete_messages(error: Exception) -> None:
    def read() -> None:
        raise error

    with pytest.raises(AnsibleActionFail) as caught:
        _tuning.failing(read)
    assert str(caught.value) == str(error) and caught.value.__cause__ is None
    assert _tuning.failing(lambda: 7) == 7


@pytest.mark.parametrize("name", ["zz-memqos.conf", "99.conf", "Z_1.conf"])
def test_names_of_files(name: str) -> None:
    _tuning.check_file_name(name)


@pytest.mark.parametrize("name", ["", "zz", ".conf", "../x.conf", "a/b.conf", ".x.conf", "x.conf\n", "x.conf~", "a b.conf", "\x1b.conf", "x" * 300 + ".conf"])
def test_what_is_no_name_of_a_file(name: str) -> None:
    with pytest.raises(AnsibleActionFail) as caught:
        _tuning.check_file_name(name)
    assert "the name of a file in /etc/sysctl.d is expected here" in str(caught.value) and str(caught.value).isprintable()


def test_who_made_a_generation() -> None:
    made = _tuning.meta(profiles=["redis"])
    assert set(made) == {"host", "started", "profiles", "run_id"}
    assert (made["profiles"], made["run_id"]) == (["redis"], _results.RUN_ID)
    assert made["started"].endswith("Z") and len(made["started"]) == 20


def shrinking(usage: int, *, done: bool = False, **more: t.Any) -> dict[str, t.Any]:
    """An answer of a node that wants 200 MiB."""
    one = {"unit": "batch.slice", "knob": "memory.max", "bound": 200 * MIB, "before": 900 * MIB, "usage": usage * MIB, "done": done, "killed": 0}
    return {"tune": json.dumps({**TOLD, "changed": False, "generation": 0, "shrinking": [one], **more})}


def calls(answers: list[dict[str, t.Any]], monkeypatch: pytest.MonkeyPatch, *, within: int = 60, last: bool = False) -> tuple[dict[str, t.Any], list[int]]:
    """(the answer in the end, the seconds that each call was told to be left); each takes ten."""
    clock, told = [0.0], []

    def call(shrink: dict[str, t.Any]) -> dict[str, t.Any]:
        told.append(shrink["within"])
        assert shrink["last"] is (len(answers) == 1 and last)
        assert shrink["slice"] == 10
        clock[0] += 10
        return answers.pop(0)

    monkeypatch.setattr(_tuning.time, "monotonic", lambda: clock[0])
    return _tuning.while_shrinking(call, within=within, host="n1"), told


def test_a_node_that_shrinks_is_called_until_it_has_tuned(monkeypatch: pytest.MonkeyPatch, shown: list[str]) -> None:
    last = shrinking(200, done=True, generation=4, changed=True)
    assert calls([shrinking(700), shrinking(400), last], monkeypatch) == (last, [60, 50, 40])
    assert shown == [
        "n1: batch.slice shrinks: 700 MiB of 900 MiB in use, 200 MiB wanted",
        "n1: batch.slice shrinks: 400 MiB of 900 MiB in use, 200 MiB wanted",
    ]


def test_one_that_has_nothing_to_shrink_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in (
        {"tune": json.dumps(TOLD)},
        {"msg": "unreachable", "failed": True},
        {"tune": "nonsense"},
        shrinking(700, problem="it grows"),
        shrinking(700, check=True),
    ):
        assert calls([answer], monkeypatch) == (answer, [60])


def test_where_a_call_got_nowhere_the_next_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls([shrinking(700), shrinking(700), shrinking(700, problem="too slow")], monkeypatch, last=True)[1] == [60, 50, 40]


def test_the_seconds_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node fails in its last slice; one that does not say so is not asked for ever."""
    assert calls([shrinking(700), shrinking(600), shrinking(500, problem="too slow")], monkeypatch, within=21, last=True)[1] == [21, 11, 1]


@pytest.mark.parametrize("seconds", [-1, 86401])
def test_seconds_to_shrink_have_bounds(seconds: int) -> None:
    with pytest.raises(AnsibleActionFail, match=rf"shrink_within={seconds}: seconds, from 0 \(nothing is shrunk\) to 86400"):
        _tuning.check_seconds(0, seconds)


def test_the_seconds_left_to_confirm_are_those_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(_tuning, "show", lambda lines: shown.extend(line.text for line in lines))
    monkeypatch.setattr(_tuning.time, "monotonic", lambda: 1000.0)
    for end in (1087.9, 990.0):
        _tuning.awaiting("h", 2, end)
    told = "h: generation 2 awaits confirmation (memqos.fleet.confirm): in {} s at most the node takes it back"
    assert shown == [told.format(87), told.format(0)]
