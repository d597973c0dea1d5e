# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's body on a captured node."""

from __future__ import annotations

import pathlib

from ansible_collections.memqos.fleet.plugins.modules import memory_facts

TREES = pathlib.Path(__file__).parents[2] / "fixtures" / "trees"


def test_facts_stand_below_one_key() -> None:
    result = memory_facts.gather({"root": str(TREES / "debian12-6.1-v1")})
    assert list(result) == ["ansible_facts"] and list(result["ansible_facts"]) == ["memqos"]
    facts = result["ansible_facts"]["memqos"]
    assert (facts["hierarchy"], facts["knobs"]["vm.swappiness"]) == ("v1", 60)
    # a 6.1 kernel is not asked for knobs that came later or went before
    assert {"vm.defrag_mode", "vm.percpu_pagelist_fraction"}.isdisjoint(facts["missing"])
