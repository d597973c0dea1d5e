# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shell of the modules: options in, one JSON string out, and every domain error a failed task that says what to do."""

from __future__ import annotations

import base64
import json
import pathlib
import typing as t
import zlib

import pytest
from ansible.module_utils import basic

from ansible_collections.memqos.fleet.plugins.module_utils import _module
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable


class Ended(Exception):
    """exit_json or fail_json was called, with this result."""


def outcome(
    monkeypatch: pytest.MonkeyPatch, body: t.Callable[[dict[str, t.Any]], dict[str, t.Any]], *, expected: tuple[type[Exception], ...] = ()
) -> dict[str, t.Any]:
    class Module:
        params: t.ClassVar[dict[str, t.Any]] = {"root": "/some/tree"}
        check_mode = True

        def __init__(self, **kwargs: t.Any) -> None:
            assert kwargs["supports_check_mode"] is True

        def exit_json(self, **result: t.Any) -> None:
            raise Ended({"failed": False, **result})

        def fail_json(self, **result: t.Any) -> None:
            raise Ended({"failed": True, **result})

    assert _module.AnsibleModule is basic.AnsibleModule
    monkeypatch.setattr(_module, "AnsibleModule", Module)
    with pytest.raises(Ended) as ended:
        _module.run({}, body, expected=expected)
    return t.cast("dict[str, t.Any]", ended.value.args[0])


def test_what_the_body_returns_is_the_result_and_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(monkeypatch, lambda params: {"answer": params["root"]}) == {"failed": False, "changed": False, "answer": "/some/tree"}


def test_the_body_knows_of_check_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcome(monkeypatch, lambda params: {"answer": params["check_mode"]})["answer"] is True


def test_a_problem_fails_and_the_result_is_there_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    told = outcome(monkeypatch, lambda params: {"changed": False, "problem": "disk full", "more": 1})
    assert told == {"failed": True, "msg": "disk full", "changed": False, "more": 1}


def test_errors_that_the_module_expects_are_failed_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Expected(Exception):
        """One of the module's own."""

    def body(params: dict[str, t.Any]) -> dict[str, t.Any]:
        raise Expected("needs root")

    assert outcome(monkeypatch, body, expected=(Expected,)) == {"failed": True, "msg": "needs root"}


@pytest.mark.parametrize(
    "error, words",
    [
        (Unreadable("/proc/meminfo", "denied", "needs root"), "Cannot read /proc/meminfo: needs root."),
        (_module.BadOption("window=90: write seconds"), "window=90"),
    ],
    ids=["unreadable", "bad option"],
)
def test_domain_errors_are_failed_tasks(monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    def body(params: dict[str, t.Any]) -> dict[str, t.Any]:
        raise error

    result = outcome(monkeypatch, body)
    assert result["failed"] and words in result["msg"]


def pack(content: bytes) -> str:
    return base64.b85encode(zlib.compress(content)).decode()


def test_unpack() -> None:
    assert _module.unpack(pack(json.dumps({"rules": []}).encode())) == {"rules": []}


@pytest.mark.parametrize("text", ["", "not base 85", base64.b85encode(b"not deflated").decode(), pack(b"{cut short")])
def test_unpack_refuses_what_no_action_plugin_packed(text: str) -> None:
    with pytest.raises(_module.BadOption, match="action plugin"):
        _module.unpack(text)


def test_unpack_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_module, "_MAX_REQUEST", 1000)
    with pytest.raises(_module.BadOption):
        _module.unpack(pack(json.dumps("x" * 100000).encode()))


def test_json_has_no_number_that_json_has_not(tmp_path: pathlib.Path) -> None:
    assert _module.to_json({"a": [1, None, "\ud83d\ude00"]}).isascii()
    with pytest.raises(ValueError):
        _module.to_json({"a": float("inf")})
