# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""report.json: all results, by its schema."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import jsonschema
import pytest
import referencing

from ansible_collections.memqos.fleet.plugins.plugin_utils import _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_json import JsonReport
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import Fleet

SAMPLES = str(Path(__file__).parents[2] / "fixtures" / "results")
SCHEMAS = Path(__file__).parents[4] / "docs" / "schemas"


def schema(name: str) -> t.Any:
    return json.loads((SCHEMAS / name).read_text(encoding="utf-8"))


def test_it_holds_every_result_and_matches_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    rules = _results.read_rules(SAMPLES)
    results = {host: _results.read_result(SAMPLES, host) for host in _results.known_hosts(SAMPLES)}
    with JsonReport(str(path), generated_at="2026-11-23T07:31:30Z") as report:
        fleet = Fleet(rules, top=1)
        for result in results.values():
            report.add(result, fleet.add(result))
        fleet.unreachable, fleet.invalid = ["gone"], {"bad": "cut short"}
        report.finish(fleet)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written == {
        "schema_version": 1, "generated_at": "2026-11-23T07:31:30Z", "hosts": results, "rules": rules, "unreachable": ["gone"], "invalid": {"bad": "cut short"},
    }  # fmt: skip
    registry: t.Any = referencing.Registry().with_resource("host.json", referencing.Resource.from_contents(schema("host.json")))
    jsonschema.Draft202012Validator(schema("report.json"), registry=registry).validate(written)


def test_without_a_host_it_is_still_whole(tmp_path: Path) -> None:
    with JsonReport(str(tmp_path / "report.json"), generated_at="") as report:
        report.finish(Fleet({}, top=1))
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["hosts"] == {}


def test_one_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), JsonReport(str(tmp_path / "report.json"), generated_at="") as report:
        result = _results.read_result(SAMPLES, "web-1")
        report.add(result, Fleet({}, top=1).add(result))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
