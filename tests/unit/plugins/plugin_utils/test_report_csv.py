# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CSV files, read back by Python's csv module."""

from __future__ import annotations

import csv
import io
import json
import re
import typing as t
from pathlib import Path

import pytest
from hypothesis import given

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_csv
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_csv import COLUMNS, CsvReport, csv_line
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import ResultError
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_results import HOSTILE, NAMES, RULES, accepted, counts, fill, finding, made, named


def rows_of(directory: Path, name: str) -> list[dict[str, str]]:
    with open(directory / f"{name}.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream, strict=True))
    assert rows[0] == list(COLUMNS[name])
    assert {len(row) for row in rows} == {len(COLUMNS[name])}
    return [dict(zip(rows[0], row)) for row in rows[1:]]


def cell(text: str) -> str:
    """The text as it stands in a cell: no control character but tab and line feed, nothing that is a formula."""
    told = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text).encode("utf-8", "backslashreplace").decode()
    return f"'{told}" if told.lstrip().startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")) else told


def test_every_table_of_a_result(tmp_path: Path) -> None:
    settings = [
        {
            "name": "vm.swappiness", "scope": "host", "subject": "", "live": "60", "effective": "10", "persisted": "10",
            "winner": {"source": "sysctl.d", "path": "/etc/sysctl.d/z.conf", "line": 3, "value": "10"}, "others": [], "agrees": False,
            "wanted": {"value": "10", "profile": "colocated", "generation": 3}, "drift": True,
        },
        {"name": "vm.dirty_ratio", "scope": "host", "live": "20", "persisted": None, "winner": None, "others": [], "agrees": None, "drift": None},
    ]  # fmt: skip
    findings = [
        finding("C01", "a/b", window={"kind": "since_boot", "seconds": 60}),
        finding("C03", "c", suppressed=accepted()),
        finding("N23", status="unknown"),
    ]
    fill(CsvReport(str(tmp_path), rules=RULES), [made(findings=findings, settings=settings)], unreachable=["gone"], invalid={"bad": "failed: no, really"})
    first, second, third = rows_of(tmp_path, "findings")
    assert (first["host"], first["rule"], first["severity"], first["status"], first["subject"]) == ("web-1", "C01", "critical", "fail", "a/b")
    assert json.loads(first["observed"]) == {"kills": 3} and first["window"] == "since boot, 1 min"
    assert first["command"] == RULES["C01"]["cure"].get("command", "") and first["title"] == RULES["C01"]["title"]
    assert (second["suppressed_reason"], second["suppressed_until"], third["status"]) == ("known, ticket 7", "2027-01-31", "unknown")
    assert [(row["host"], row["status"]) for row in rows_of(tmp_path, "hosts")] == [
        ("web-1", "ok"), ("gone", "no result in this run: unreachable or skipped"), ("bad", "failed: no, really"),
    ]  # fmt: skip
    host = rows_of(tmp_path, "hosts")[0]
    assert (int(host["memory_bytes"]), host["critical"], host["suppressed"]) == (made()["breakdown"]["memtotal_bytes"], "2", "1")
    top = rows_of(tmp_path, "top")
    assert [row["path"] for row in top] == [row["path"] for row in made()["top"]["rows"]]
    assert [row["working_set"] for row in top] == [str(row.get("working_set", "")) for row in made()["top"]["rows"]]
    swappiness, dirty = rows_of(tmp_path, "settings")
    assert {name: swappiness[name] for name in ("winner_path", "winner_line", "agrees", "wanted", "profile", "generation", "drift")} == {
        "winner_path": "/etc/sysctl.d/z.conf", "winner_line": "3", "agrees": "false", "wanted": "10", "profile": "colocated", "generation": "3",
        "drift": "true",
    }  # fmt: skip
    assert (dirty["persisted"], dirty["winner_path"], dirty["agrees"], dirty["drift"]) == ("", "", "", "")


@given(NAMES)
def test_any_name_is_read_back(name: str) -> None:
    (read,) = csv.reader(io.StringIO(csv_line([name, 7, name]).encode("utf-8", "backslashreplace").decode(), newline=""), strict=True)
    assert read == [cell(name), "7", cell(name)]


@pytest.mark.parametrize("name", [*HOSTILE, "x" * (1 << 20)], ids=lambda name: repr(name)[:24])
def test_a_hostile_name_is_in_all_tables_and_breaks_none(tmp_path: Path, name: str) -> None:
    csv.field_size_limit(1 << 24)
    fill(CsvReport(str(tmp_path), rules=RULES), [named(name)])
    assert {table: len(rows_of(tmp_path, table)) for table in COLUMNS} == {"findings": 3, "hosts": 1, "top": 1, "settings": 1}
    assert [row["subject"] for row in rows_of(tmp_path, "findings")] == [cell(name)] * 3
    assert {row["host"] for table in COLUMNS for row in rows_of(tmp_path, table)} == {cell(name)}
    assert rows_of(tmp_path, "top")[0]["path"] == cell(f"/{name}")
    assert rows_of(tmp_path, "settings")[0]["winner_value"] == cell(name)
    text = b"".join((tmp_path / f"{table}.csv").read_bytes() for table in COLUMNS)
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", text)


CELLS = [
    (None, ""), (True, "true"), (False, "false"), (0, "0"), (-4096, "-4096"), (0.5, "0.5"), ("-4096", "'-4096"), ("plain", "plain"), (" space", '" space"'),
    (["a"], '"[""a""]"'),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), CELLS)
def test_a_number_stays_one_and_a_text_is_no_formula(value: t.Any, text: str) -> None:
    assert csv_line([value]) == f"{text}\n"


def test_what_the_node_counted_is_in_the_totals(tmp_path: Path) -> None:
    fill(CsvReport(str(tmp_path), rules=RULES), [made(findings=[finding()], rules={"C01": counts(failed=812)})])
    assert rows_of(tmp_path, "hosts")[0]["critical"] == "812"


def test_one_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), CsvReport(str(tmp_path), rules=RULES):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match=r"findings\.csv: cannot be written"), CsvReport(str(tmp_path / "file"), rules=RULES):
        pass
    assert _report_csv.CsvReport(str(tmp_path), rules={}).paths["csv_top"] == str(tmp_path / "top.csv")
