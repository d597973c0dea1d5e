# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The columns are those that nodes send, and their formulas those that nodes reckon with."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _accounts, _diagnosis
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_parts import PARTS


def test_every_part_that_a_node_sends_is_a_column() -> None:
    assert tuple(PARTS) == (*_diagnosis.PARTS, "limit", "request")


def test_labels_are_told_apart() -> None:
    assert len({part.label for part in PARTS.values()}) == len(PARTS)


STAT = {
    "active_anon": 1, "inactive_anon": 20, "active_file": 300, "inactive_file": 4000, "file_dirty": 50, "file_writeback": 6, "slab_reclaimable": 70,
}  # fmt: skip
USAGE = 100_000


@pytest.mark.parametrize("name", ["working_set", "working_set_sysom", "hard_set"])
def test_the_formula_in_a_note_is_the_one_of_the_breakdown(name: str) -> None:
    cgroup: t.Any = {"path": "/a", "usage": USAGE, "stat": STAT}
    _accounts.account_cgroups([cgroup], recursive_protection=False)
    formula = PARTS[name].note.partition(": ")[2].replace("−", "-")
    assert eval(formula, {"__builtins__": {}}, {"usage": USAGE, **STAT}) == cgroup[name]
