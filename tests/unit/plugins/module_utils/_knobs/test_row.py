# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pattern row, filled: every field that names a file or another knob is filled with it."""

from __future__ import annotations

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._knobs._row import Knob

PATTERNS = [row for row in (*_registry.host_knobs(), *_registry.memcg_knobs(), *_registry.unit_knobs()) if "{" in row.name]


@pytest.mark.parametrize("row", PATTERNS, ids=[row.name for row in PATTERNS])
def test_no_field_keeps_a_placeholder(row: Knob) -> None:
    filled = row.at({"n": "3", "size": "2048"})
    assert [field for field, value in zip(Knob._fields, filled) if "{" in str(value)] == []
    assert [field for field, value in zip(Knob._fields, row) if "{" in str(value)] != []


def test_what_has_no_placeholder_stays() -> None:
    row = _registry.find("vm.swappiness")
    assert row.at({"n": "3", "size": "2048"}) == row


def test_only_what_is_given_is_filled() -> None:
    row = next(row for row in PATTERNS if "{n}" in row.name and "{size}" in row.name)
    assert "{size}" in row.at({"n": "3"}).name and "{n}" not in row.at({"n": "3"}).name
