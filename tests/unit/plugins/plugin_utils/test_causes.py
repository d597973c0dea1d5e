# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _causes

RULES = {"A": {"because_of": ["B"]}, "B": {"because_of": ["C", "D"]}, "C": {}, "D": {"because_of": ["B"]}}


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("A", {"B", "C", "D"}),
        # A file of rules that somebody has edited may go round: that ends.
        ("B", {"B", "C", "D"}),
        ("C", set()),
        ("X", set()),
    ],
)
def test_all_that_may_explain_a_rule(rule: str, found: set[str]) -> None:
    assert _causes.causes(rule, RULES) == found


@pytest.mark.parametrize(
    ("failed", "found"),
    [
        ([], {}),
        (["A"], {"A": []}),
        # through one that did not fail
        (["A", "C"], {"A": ["C"], "C": []}),
        (["A", "B", "C"], {"A": ["B", "C"], "B": ["C"], "C": []}),
        (["X", "A"], {"X": [], "A": []}),
    ],
)
def test_what_failed_too_explains(failed: list[str], found: dict[str, list[str]]) -> None:
    assert _causes.explained(failed, RULES) == found
