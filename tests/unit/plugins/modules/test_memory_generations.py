# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's body, and that its options are the same wherever they stand. What it tells: module_utils/test_history.py."""

from __future__ import annotations

import json
import types
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.module_utils import _history, _journal, _module, _tune_options, _writer
from ansible_collections.memqos.fleet.plugins.modules import memory_generations

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize("user", [0, 1000])
def test_root_alone_reads_the_journal(user: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_generations, "os", types.SimpleNamespace(geteuid=lambda: user))
    monkeypatch.setattr(memory_generations, "Writer", lambda root: _writer.Writer(str(tmp_path)))
    if user:
        with pytest.raises(_module.BadOption, match="ansible_become"):
            memory_generations.generations({"compare": []})
        return
    told = json.loads(memory_generations.generations({"compare": []})["generations"])
    assert told["generations"] == []


def test_the_module_takes_what_its_documentation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[t.Any] = []
    monkeypatch.setattr(_module, "run", lambda spec, body, *, expected: ran.append((spec, expected)))
    memory_generations.main()
    ((spec, expected),) = ran
    assert set(expected) == {_history.Unknown, _journal.JournalError, _writer.Refused, OSError}
    documented = yaml.safe_load(Path(str(memory_generations.__file__)).with_suffix(".yml").read_text())["DOCUMENTATION"]["options"]
    assert {name: {key: value for key, value in option.items() if key != "description"} for name, option in documented.items()} == spec
    assert spec == _tune_options.GENERATIONS


def test_the_role_takes_what_the_module_does() -> None:
    task = yaml.safe_load((ROOT / "roles/tune/tasks/generations.yml").read_text())[0]["memqos.fleet.memory_generations"]
    assert task == {"compare": "{{ memqos_compare }}", "directory": "{{ memqos_report_dir }}"}
    options = yaml.safe_load((ROOT / "roles/tune/meta/argument_specs.yml").read_text())["argument_specs"]["generations"]["options"]
    defaults = yaml.safe_load((ROOT / "roles/tune/defaults/main.yml").read_text())
    assert {name: option["default"] for name, option in options.items()} == {name: defaults[name] for name in ("memqos_compare", "memqos_report_dir")}
