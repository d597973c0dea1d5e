# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operator can ask for is what the code knows: risks, areas, policies. (That role and documentation say the same: modules/test_memory_tune.py.)"""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _guards, _plan_shrink, _plan_swap, _tune_options
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _texts


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _risks(call: ast.Call) -> t.Set[str]:
    """The names that a danger is told by: written there, or a constant of the rooms that know dangers."""
    found: t.Set[str] = set()
    for node in ast.walk(call.args[0]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif _name(node) == "RISK":
            found.add(_plan_swap.RISK)
        elif _name(node) == "BELOW_USE":
            found.update(_guards.BELOW_USE.values())
    return found


def test_every_danger_has_a_name_that_can_be_allowed() -> None:
    rooms = [ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")) for module in (_guards, _plan_shrink, _plan_swap)]
    calls = [node for room in rooms for node in ast.walk(room) if isinstance(node, ast.Call) and _name(node.func) == "Danger"]
    risks = [_risks(call) for call in calls]
    assert all(risks)
    assert set().union(*risks) == set(_tune_options.RISKS)


def test_every_area_that_can_be_asked_for_has_a_knob_and_each_knob_an_area() -> None:
    knobs = (*_registry.host_knobs(), *_registry.memcg_knobs(), *_registry.unit_knobs())
    assert {_texts.area(knob) for knob in knobs} == set(_tune_options.TUNE["only"]["choices"])


@pytest.mark.parametrize("options", [_tune_options.TUNE, _tune_options.ROLLBACK])
def test_defaults_are_among_the_choices(options: t.Dict[str, t.Dict[str, t.Any]]) -> None:
    for name, option in options.items():
        default = option.get("default")
        if "choices" in option:
            assert set(default if isinstance(default, list) else [default]) <= set(option["choices"]), name
        # A tune takes a profile, a selection, or both.
        assert ("default" in option) != bool(option.get("required")) or name in ("profile", "selection"), name
