# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module does what it is asked, and has the options that it documents. What comes of it: module_utils/test_confirm.py."""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.module_utils import _confirm, _module, _tune, _tune_options, _undo
from ansible_collections.memqos.fleet.plugins.modules import memory_confirm
from ansible_collections.memqos.fleet.plugins.plugin_utils import _request


@pytest.mark.parametrize(("do", "called"), [("arm", "arm"), ("give up", "give_up"), ("confirm", "confirm")])
@pytest.mark.parametrize("check", [True, False])
def test_what_it_is_asked(do: str, called: str, check: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    def asked(name: str, request: t.Any, work: _tune.Work) -> dict[str, t.Any]:
        seen.append((name, work.check))
        return {}

    for name in ("arm", "give_up", "confirm"):
        monkeypatch.setattr(_confirm, name, functools.partial(asked, name))
    memory_confirm.confirm({"check_mode": check, "request": _request.pack({"do": do})})
    assert seen == [(called, check)]


def test_without_the_action_plugin_there_is_no_request() -> None:
    with pytest.raises(_module.BadOption, match="action plugin"):
        memory_confirm.confirm({"check_mode": True, "request": None})


def test_the_module_takes_what_its_documentation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[t.Any] = []
    monkeypatch.setattr(_module, "run", lambda spec, body, *, expected: ran.append((spec, expected)))
    memory_confirm.main()
    assert ran == [({**_tune_options.CONFIRM, **_tune_options.REQUEST}, _undo.FAILURES)]
    documented = yaml.safe_load(Path(str(memory_confirm.__file__)).with_suffix(".yml").read_text())["DOCUMENTATION"]["options"]
    described = {name: {key: value for key, value in option.items() if key != "description"} for name, option in documented.items()}
    assert described == {**_tune_options.CONFIRM, "request": {"type": "str"}}
