# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts stay small, name what the kernel lacks, and never invent a number."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _facts, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree

TREES = pathlib.Path(__file__).parents[3] / "unit" / "fixtures" / "trees"


def facts_of(root: pathlib.Path) -> dict[str, t.Any]:
    node = _snapshot.read(Tree(str(root)), window_seconds=0, monotonic=lambda: 0.0, sleep=lambda seconds: None, wanted=_registry.wanted(), sections=())
    return _facts.facts(node)


@pytest.mark.parametrize("root", sorted(path for path in TREES.iterdir() if (path / "sys/fs/cgroup").is_dir()), ids=lambda path: path.name)
def test_facts_of_real_nodes_stay_below_8_kib(root: pathlib.Path) -> None:
    facts = facts_of(root)
    assert len(json.dumps(facts)) < 8192
    assert facts["memory"]["memtotal_bytes"] > facts["memory"]["memavailable_bytes"] > 0
    assert set(facts["missing"]).isdisjoint(facts["knobs"]) and "vm.swappiness" in facts["knobs"]


def test_what_cannot_be_read_is_cut_to_ten_reasons() -> None:
    node: t.Any = {"facts": {"hierarchy": "none"}, "meminfo": {"MemTotal": 1}, "pressure": {}, "knobs": {}, "unknown": {f"k{n:02}": "why" for n in range(25)}}
    facts = _facts.facts(node)
    assert len(facts["unknown"]) == 11 and "15 more" in facts["unknown"]["…"]
    assert facts["memory"] == {"memtotal_bytes": 1}
    assert "vm.swappiness" in facts["missing"]
