# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operator can ask for is what the code knows: risks, areas, policies. (That role and documentation say the same: modules/test_memory_tune.py.)"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _guards, _plan_swap, _tune_options
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _texts


def test_every_danger_has_a_name_that_can_be_allowed() -> None:
    sources = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (_guards, _plan_swap)]
    source = "".join(sources).replace("Danger(RISK", f'Danger("{_plan_swap.RISK}"')
    assert {risk for risk in _tune_options.RISKS if f'Danger("{risk}"' in source} == set(_tune_options.RISKS)
    assert source.count('Danger("') == len(_tune_options.RISKS)


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
