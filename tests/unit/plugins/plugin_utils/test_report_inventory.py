# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory by group."""

from __future__ import annotations

import csv
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_inventory, _report_terminal
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_inventory import (
    COLUMNS,
    InventoryLine,
    InventoryReport,
    by_group,
    inventory_line,
    promise_text,
)
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import Fleet, in_conflict, setting_name, visible
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_results import HOSTILE, RULES, fill, made, named

OURS = {"source": "sysctl.d", "path": "/etc/sysctl.d/zz-memqos.conf", "line": 2, "value": "10"}
SETTINGS: list[dict[str, t.Any]] = [
    {"name": "vm.swappiness", "scope": "host", "winner": OURS, "others": [{**OURS, "path": "/etc/a", "value": "60"}], "agrees": True, "drift": False},
    {"name": "vm.dirty_ratio", "scope": "host", "winner": OURS, "others": [{**OURS, "path": "/etc/a"}], "agrees": False, "drift": True},
    {"name": "MemoryHigh", "scope": "unit", "subject": "batch.slice", "winner": None, "others": [], "agrees": None, "drift": None},
]


def line_of(**keys: t.Any) -> InventoryLine:
    result = made(**keys)
    return inventory_line(result, Fleet(RULES, top=1).add(result))


def test_a_host_in_one_line() -> None:
    line = line_of(settings=SETTINGS, applied={"generation": 3, "profiles": ["balanced", "colocated"]})
    node = made()["node"]
    assert (line.kernel, line.hierarchy, line.memory, line.thp) == (node["kernel"], node["hierarchy"], made()["breakdown"]["memtotal_bytes"], "madvise")
    assert (line.swap_text, line.watermarks_text, line.profile_text) == ("none", "66.0 MiB, 10", "balanced, colocated, generation 3")
    assert (line.conflicts, line.changes_at_boot, line.drift) == (("vm.swappiness",), ("vm.dirty_ratio",), ("vm.dirty_ratio",))


def test_what_the_audit_did_not_look_at_is_not_known() -> None:
    line = line_of(node={"kernel": "6.1"}, applied=None)
    assert (line.conflicts, line.drift, line.generation, line.thp, line.swap_text, line.watermarks_text, line.profile_text) == (
        None,
        None,
        None,
        "",
        "",
        "",
        "",
    )


CONFLICTS = [
    ({"winner": OURS, "others": [{**OURS, "value": "60"}]}, True),
    ({"winner": OURS, "others": [OURS]}, False),
    ({"winner": None, "others": [{**OURS, "value": "60"}]}, False),
    ({"winner": OURS, "others": None}, False),
    ({}, False),
]


@pytest.mark.parametrize(("row", "expected"), CONFLICTS)
def test_a_conflict_is_two_values(row: dict[str, t.Any], expected: bool) -> None:
    assert in_conflict(row) is expected


def test_a_setting_of_a_unit_goes_by_both_names() -> None:
    assert [setting_name(row) for row in SETTINGS] == ["vm.swappiness", "vm.dirty_ratio", "batch.slice MemoryHigh"]


GIB = 1 << 30


def promised(host: str, *sizes: float) -> InventoryLine:
    figures: dict[str, t.Any] = dict(zip(("allocatable", "requests", "limits", "stranded"), (size * GIB for size in sizes)))
    return InventoryLine(host, **figures)


PROMISES = [
    (
        [promised("a", 10, 4, 12, 1), promised("b", 20, 2, 48, 3)],
        "requests 6.00 GiB (20%) and limits 60.0 GiB (200%) of 30.0 GiB, 4.00 GiB stranded, most on b (240%)",
    ),
    ([promised("a", 10, 4, 12, 1), InventoryLine("b")], "requests 4.00 GiB (40%) and limits 12.0 GiB (120%) of 10.0 GiB, 1.00 GiB stranded"),
    ([promised("a", 10)], "requests 0 B (0%) and limits 0 B (0%) of 10.0 GiB, 0 B stranded"),
    ([promised("a", 0, 4, 12, 1), InventoryLine("b")], ""),
    ([], ""),
]


@pytest.mark.parametrize(("lines", "text"), PROMISES)
def test_what_a_group_has_promised(lines: list[InventoryLine], text: str) -> None:
    assert promise_text(lines) == text
    told = " ".join(line.text.strip() for line in _report_terminal.render_inventory([("pool", lines)], width=200))
    assert (f"Workloads: {text}" in told) is bool(text)


GROUPS = [
    ({"all": ["a", "b"], "ungrouped": [], "db": ["b"], "pool": ["b", "a", "b"]}, [("db", ["b"]), ("pool", ["a", "b"])]),
    ({"all": ["a", "b"], "ungrouped": ["a"], "db": ["b", "elsewhere"]}, [("db", ["b"]), ("ungrouped", ["a"])]),
    ({"all": ["a", "b"], "ungrouped": ["a", "b"]}, [("all", ["a", "b"])]),
    ({}, [("all", ["a", "b"])]),
    ({"empty": [], "other": ["c"]}, [("all", ["a", "b"])]),
]


@pytest.mark.parametrize(("groups", "expected"), GROUPS)
def test_a_host_is_in_each_of_its_groups(groups: dict[str, list[str]], expected: list[tuple[str, list[str]]]) -> None:
    told = by_group([InventoryLine("b"), InventoryLine("a")], groups)
    assert [(group, [line.host for line in lines]) for group, lines in told] == expected


def rows_of(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, strict=True))


LISTED = [*SETTINGS, {**SETTINGS[0], "name": "MemoryLow", "scope": "unit", "subject": "db.service"}]
DERIVED = {"allocatable_bytes": 100, "sum_request_bytes": 50, "sum_limit_bytes": 300, "stranded_bytes": 40}


def test_the_file_has_a_row_for_each_host_of_each_group(tmp_path: Path) -> None:
    report = InventoryReport(str(tmp_path / "inventory.csv"), groups={"pool": ["web-1", "gone"], "db": ["web-1"], "lost": ["bad"]})
    fill(
        report,
        [made(settings=LISTED, applied={"generation": 3, "profiles": ["colocated"]}, derived=DERIVED)],
        unreachable=["gone"],
        invalid={"bad": "cut short"},
    )
    head, *rows = rows_of(tmp_path / "inventory.csv")
    assert tuple(head) == COLUMNS
    told = [dict(zip(head, row)) for row in rows]
    assert [(row["group"], row["host"], row["status"]) for row in told] == [
        ("db", "web-1", "ok"), ("lost", "bad", "not audited"), ("pool", "gone", "unreachable"), ("pool", "web-1", "ok"),
    ]  # fmt: skip
    assert {name: told[0][name] for name in ("profiles", "generation", "conflicts", "changes_at_boot", "drift", "min_free_kbytes", "thp", "swap_bytes")} == {
        "profiles": "colocated", "generation": "3", "conflicts": "vm.swappiness; db.service MemoryLow", "changes_at_boot": "vm.dirty_ratio",
        "drift": "vm.dirty_ratio",
        "min_free_kbytes": "67584", "thp": "madvise", "swap_bytes": "0",
    }  # fmt: skip
    assert [told[0][name] for name in ("allocatable_bytes", "request_bytes", "limit_bytes", "stranded_bytes")] == ["100", "50", "300", "40"]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: repr(name)[:24])
def test_a_hostile_name_is_one_row(tmp_path: Path, name: str) -> None:
    report = InventoryReport(str(tmp_path / "inventory.csv"), groups={name: [name]})
    fill(report, [named(name)])
    assert [len(row) for row in rows_of(tmp_path / "inventory.csv")] == [len(COLUMNS)] * 2
    lines = _report_terminal.render_inventory(report.by_group, width=80)
    assert max(_report_terminal.cells(line.text) for line in lines) <= 80 and all(visible(line.text) == line.text for line in lines)


def test_a_table_for_the_terminal() -> None:
    line = line_of(settings=SETTINGS, applied={"generation": 3, "profiles": ["colocated"]})
    hosts = [line, InventoryLine("gone", status="unreachable"), *(InventoryLine(f"n{number}") for number in range(30))]
    lines = [one.text for one in _report_terminal.render_inventory([("pool", hosts)], width=100)]
    assert lines[1].startswith("━━ pool, 32 hosts ━")
    assert lines[2].split() == ["host", "kernel", "memory", "cgroup", "swap", "THP", "watermarks"]
    assert lines[3].split() == ["web-1", line.kernel, "61.3", "GiB", line.hierarchy, "none", "madvise", "66.0", "MiB,", "10"]
    assert lines[4:9] == [
        "    profile colocated, generation 3", "    in conflict: vm.swappiness", "    the next boot changes: vm.dirty_ratio", "    drifted: vm.dirty_ratio",
        "  gone: unreachable",
    ]  # fmt: skip
    assert lines[-1] == "  … and 12 more: see inventory.csv."
    assert _report_inventory.by_group([], {"pool": ["a"]}) == []
