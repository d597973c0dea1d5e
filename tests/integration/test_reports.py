# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All formats of a fleet as the role writes them, from captured nodes: who is in which group, what fails a run, what is accepted."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from .test_audit import CAPTURED, Audit, audit

__all__ = ["audit"]

FORMATS = ["terminal", "json", "html", "markdown", "csv", "junit", "prometheus", "selection", "inventory"]
FILES = {
    "report.json", "report.html", "report.md", "findings.csv", "hosts.csv", "top.csv", "settings.csv", "junit.xml", "memqos.prom", "selection.yml",
    "inventory.csv",
}  # fmt: skip
# Every captured node had an OOM kill since it booted, and this was its first audit.
KILLED = "N01"


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    """A captured node in each of two pools, the first in both."""
    first, second, *unused = sorted(path for path in CAPTURED if path.name.startswith("debian"))
    hosts = {"node17": {"memqos_root": str(first)}, "node18": {"memqos_root": str(second)}}
    groups = {"pool_a": {"hosts": {"node17": hosts["node17"]}}, "databases": {"hosts": {"node17": {}, "node18": hosts["node18"]}}}
    path = tmp_path / "inventory.yml"
    path.write_text(yaml.safe_dump({"all": {"vars": {"ansible_connection": "local"}, "children": groups}}))
    return str(path)


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def test_every_format_of_a_fleet(audit: Audit, inventory: str) -> None:
    run = audit(inventory=inventory, memqos_report_formats=FORMATS)
    assert run.status == 0, run.output
    assert {path.name for path in run.directory.iterdir()} >= FILES
    findings = [(host, finding["rule"], finding["subject"]["id"]) for host, result in run.report()["hosts"].items() for finding in result["findings"]]
    assert [(row["host"], row["rule"], row["subject_id"]) for row in rows_of(run.directory / "findings.csv")] == findings
    assert [(row["group"], row["host"]) for row in rows_of(run.directory / "inventory.csv")] == [
        ("databases", "node17"), ("databases", "node18"), ("pool_a", "node17"),
    ]  # fmt: skip
    assert "━━ databases, 2 hosts ━" in run.output and "━━ pool_a, 1 host ━" in run.output
    suites = ET.parse(run.directory / "junit.xml").getroot()
    assert [suite.get("name") for suite in suites] == list(run.report()["hosts"])
    assert all(f"{KILLED} " in "".join(case.get("name", "") for case in suite if case.find("failure") is not None) for suite in suites)
    assert yaml.safe_load((run.directory / "selection.yml").read_text(encoding="utf-8"))["run_id"] == run.result("node17")["run_id"]


def test_a_critical_finding_fails_the_run_after_the_reports(audit: Audit, inventory: str) -> None:
    run = audit(inventory=inventory, memqos_report_formats=["json", "junit"], memqos_fail_on="critical")
    said = " ".join(run.output.split())
    assert run.status != 0 and f"node17: {KILLED} " in said and "fail_on is critical" in said and "memqos_suppressions" in said
    assert (run.directory / "junit.xml").exists()


def test_what_is_accepted_fails_nothing_and_is_told(audit: Audit, inventory: str) -> None:
    accepted = [{"rule": "*", "host": "node1*", "reason": "ticket 7", "until": "2999-12-31"}]
    run = audit(inventory=inventory, memqos_fail_on="info", memqos_suppressions=accepted, memqos_report_formats=FORMATS)
    assert run.status == 0, run.output
    rows = rows_of(run.directory / "findings.csv")
    assert rows and {(row["suppressed_reason"], row["suppressed_until"]) for row in rows} == {("ticket 7", "2999-12-31")}
    assert {(row["critical"], row["warning"], row["info"], row["unknown"]) for row in rows_of(run.directory / "hosts.csv")} == {("0", "0", "0", "0")}
    assert ET.parse(run.directory / "junit.xml").getroot().find(".//failure") is None
    assert "### Accepted" in (run.directory / "report.md").read_text(encoding="utf-8")
    assert json.loads((run.directory / "report.json").read_text(encoding="utf-8"))["hosts"]["node18"]["findings"]
