# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's body on a node that was never tuned; whole rollbacks are in test_tune.py. Options: test_memory_tune.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _journal, _module, _tune
from ansible_collections.memqos.fleet.plugins.modules import memory_rollback
from ansible_collections.memqos.fleet.plugins.plugin_utils import _request

TREE = Path(__file__).resolve().parents[4] / "tests" / "unit" / "fixtures" / "trees" / "debian13-6.12-v2"


@pytest.fixture(autouse=True)
def fixture_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module knows the live node only: here that is a captured one."""
    for name in ("Tree", "Writer"):
        real = getattr(memory_rollback, name)
        monkeypatch.setattr(memory_rollback, name, lambda unused, real=real: real(str(TREE)))


def roll_back(to: str, *, check: bool = True) -> object:
    return memory_rollback.rollback(
        {"check_mode": check, "request": _request.pack({"to": to, "force": False, "allow": [], "wait": 0, "meta": {}, "keep": {"generations": 1, "since": ""}})}
    )


@pytest.mark.parametrize("to", ["previous", "origin", "3"])
def test_a_node_that_was_never_tuned(to: str) -> None:
    with pytest.raises((_tune.TuneError, _journal.JournalError), match="nothing to roll back"):
        roll_back(to)


def test_a_captured_node_is_not_changed() -> None:
    with pytest.raises(_tune.TuneError, match="captured tree can only be checked"):
        roll_back("origin", check=False)


def test_without_the_action_plugin_there_is_no_request() -> None:
    with pytest.raises(_module.BadOption, match="action plugin"):
        memory_rollback.rollback({"check_mode": True, "request": None})
