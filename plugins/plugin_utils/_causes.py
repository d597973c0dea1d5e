# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Which findings explain which: C(because_of) of rules. Pure."""

from __future__ import annotations

import typing as t

Rules = t.Mapping[str, t.Mapping[str, t.Any]]


def causes(rule: str, rules: Rules) -> set[str]:
    """All that may explain a finding of C(rule): what it names, what that names, and so on."""
    found: set[str] = set()
    todo = [rule]
    while todo:
        named = set(rules.get(todo.pop(), {}).get("because_of", ())) - found
        found |= named
        todo += named
    return found


def explained(failed: t.Collection[str], rules: Rules) -> dict[str, list[str]]:
    """{rule that failed: those that failed too and explain it, sorted}."""
    present = set(failed)
    return {rule: sorted(causes(rule, rules) & present - {rule}) for rule in present}
