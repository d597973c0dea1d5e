# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's body on captured nodes: filters, order, cut."""

from __future__ import annotations

import pathlib
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _diagnosis, _module
from ansible_collections.memqos.fleet.plugins.modules import cgroup_memory_info

TREE = pathlib.Path(__file__).parents[2] / "fixtures" / "trees" / "debian13-6.12-v2"


def info(**options: t.Any) -> dict[str, t.Any]:
    return cgroup_memory_info.info({"root": str(TREE), "window": 0.0, "kinds": [], "path": "*", "sort_by": "working_set", "limit": 20, **options})


def test_containers_sorted_by_a_part_and_cut() -> None:
    result = info(kinds=["container"], sort_by="active_file", limit=2)
    values = [row["active_file"] for row in result["cgroups"]]
    assert len(values) == 2 < result["total"] and values == sorted(values, reverse=True)
    assert {row["kind"] for row in result["cgroups"]} == {"container"} and result["hierarchy"] == "v2"


def test_limit_0_gives_all_and_path_is_a_pattern() -> None:
    everything = info(limit=0)
    below = info(limit=0, path="/kubepods.slice/*")
    assert everything["total"] == len(everything["cgroups"]) > below["total"] > 0
    assert all(row["path"].startswith("/kubepods.slice/") for row in below["cgroups"])


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(_module.BadOption, match="limit=-1"):
        info(limit=-1)


def test_the_documented_parts_are_the_parts() -> None:
    documentation = Path(str(cgroup_memory_info.__file__)).with_suffix(".yml").read_text()
    assert all(f"        - {part}\n" in documentation for part in _diagnosis.PARTS)


def test_select_cgroups_filters_sorts_and_puts_unknown_last() -> None:
    cgroups: t.Any = [
        {"path": "/a.slice", "kind": "slice", "usage": 9},
        {"path": "/a.slice/x", "kind": "service", "working_set": 7},
        {"path": "/a.slice/y", "kind": "service"},
    ]
    rows = cgroup_memory_info.select_cgroups(cgroups, kinds=("service",), path="/a.slice/*", sort_by="working_set")
    assert [row["path"] for row in rows] == ["/a.slice/x", "/a.slice/y"]
