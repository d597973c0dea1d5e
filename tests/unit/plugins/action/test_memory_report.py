# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""memory_report as a task: what it writes, shows and returns."""

from __future__ import annotations

import json
import re
import shutil
import typing as t
import unittest.mock
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.memqos.fleet.plugins.action import memory_report
from ansible_collections.memqos.fleet.plugins.plugin_utils import _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line, cells

SAMPLES = Path(__file__).parents[2] / "fixtures" / "results"


class Task:
    """As much of a task as an action plugin looks at."""

    def __init__(self, arguments: dict[str, t.Any]) -> None:
        self.args = arguments
        self.async_val = 0
        self.check_mode = True
        self.diff = False
        self.action = "memqos.fleet.memory_report"
        self.resolved_action = self.action
        self.collections: list[str] = []
        self.no_log = False


def run(arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    loader = DataLoader()
    # Never connected: the plugin does not ask for it.
    connection = unittest.mock.MagicMock(connected=False)
    plugin = memory_report.ActionModule(t.cast("t.Any", Task(arguments)), connection, t.cast("t.Any", None), loader, Templar(loader), None)
    return plugin.run(task_vars={})


@pytest.fixture(name="directory")
def fixture_directory(tmp_path: Path) -> Path:
    shutil.copytree(SAMPLES, tmp_path / "report")
    return tmp_path / "report"


@pytest.fixture(name="shown", autouse=True)
def fixture_shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    def keep(shown: t.Iterable[Line]) -> None:
        lines.extend(line.text for line in shown)

    monkeypatch.setattr(memory_report, "_show", keep)
    return lines


def test_all_reports_of_all_hosts_also_in_check_mode(directory: Path, shown: list[str]) -> None:
    answer = run({"directory": str(directory), "this_run_only": False})
    assert answer["changed"] is False
    assert "failed" not in answer
    assert answer["paths"] == {"json": str(directory / "report.json"), "html": str(directory / "report.html")}
    assert answer["hosts"] == 4
    assert answer["findings"] == {"critical": 15, "warning": 6, "info": 2, "unknown": 4, "suppressed": 0}
    assert sorted(json.loads((directory / "report.json").read_text(encoding="utf-8"))["hosts"]) == _results.known_hosts(str(SAMPLES))
    assert "plotly.js v" in (directory / "report.html").read_text(encoding="utf-8")
    assert [line for line in shown if line.startswith("━━ web-1")]
    assert shown[-2:] == [f"  {directory}/report.html", f"  {directory}/report.json"]


@pytest.mark.parametrize(("formats", "end"), [
    (["terminal"], []),
    (["json", "terminal"], ["report.json"]),
    (["terminal", "html"], ["report.html"]),
])  # fmt: skip
def test_the_summary_ends_with_the_reports_that_were_written(directory: Path, shown: list[str], formats: list[str], end: list[str]) -> None:
    run({"directory": str(directory), "this_run_only": False, "formats": formats})
    assert [line.strip() for line in shown if "report." in line and line.strip().startswith("/")] == [f"{directory}/{name}" for name in end]
    assert not end or shown[-len(end) :] == [f"  {directory}/{name}" for name in end]


def test_without_the_terminal_nothing_is_shown(directory: Path, shown: list[str]) -> None:
    run({"directory": str(directory), "this_run_only": False, "formats": ["json"]})
    assert shown == []


def test_the_summary_fits_80_columns(directory: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_report.Display(), "columns", 80)
    monkeypatch.chdir(directory)
    for hosts in (_results.known_hosts(str(directory)), ["gone-" + "x" * 90]):
        run({"directory": ".", "this_run_only": False, "hosts": hosts})
    text = [line for line in shown if not line.startswith(f"  {directory}")]
    assert max(cells(line) for line in text) <= 80


def test_a_host_that_is_not_there_fails_the_task_after_the_reports(directory: Path, shown: list[str]) -> None:
    answer = run({"directory": str(directory), "this_run_only": False, "hosts": ["web-1", "gone", "web-1"], "formats": ["terminal", "json"]})
    assert answer["failed"] is True
    assert answer["msg"] == "1 host has no result of this run: gone. The reports hold the other 1."
    assert answer["unreachable_hosts"] == ["gone"]
    # Ansible takes a result with this key for one of an unreachable host.
    assert "unreachable" not in answer
    report = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    assert (list(report["hosts"]), report["unreachable"]) == (["web-1"], ["gone"])
    assert not (directory / "report.html").exists()
    assert shown[-3:] == ["  ✖ gone: no result in this run: unreachable or skipped", "", f"  {directory}/report.json"]
    relaxed = run({"directory": str(directory), "this_run_only": False, "hosts": ["web-1", "gone"], "formats": ["json"], "fail_on_unreachable": False})
    assert "failed" not in relaxed


def test_a_result_cut_short_is_listed_with_its_reason(directory: Path) -> None:
    path = directory / "hosts" / "web-1.json"
    path.write_bytes(path.read_bytes()[:500])
    answer = run({"directory": str(directory), "this_run_only": False})
    assert answer["failed"] is True
    assert answer["hosts"] == 3
    assert "not whole JSON" in answer["invalid_hosts"]["web-1"]
    assert "not whole JSON" in json.loads((directory / "report.json").read_text(encoding="utf-8"))["invalid"]["web-1"]


def test_results_of_an_earlier_run_do_not_count(directory: Path) -> None:
    answer = run({"directory": str(directory), "hosts": ["web-1", "db-1"], "formats": ["json"]})
    assert (answer["hosts"], answer["unreachable_hosts"]) == (0, ["web-1", "db-1"])
    result = {**_results.read_result(str(SAMPLES), "web-1"), "run_id": _results.RUN_ID}
    _results.write_result(str(directory), "web-1", json.dumps(result))
    answer = run({"directory": str(directory), "hosts": ["web-1", "db-1"], "formats": ["json"]})
    assert (answer["hosts"], answer["unreachable_hosts"]) == (1, ["db-1"])


def test_a_run_in_which_no_host_answered_still_has_its_reports(tmp_path: Path, shown: list[str]) -> None:
    answer = run({"directory": str(tmp_path), "hosts": ["a", "b"]})
    assert (answer["hosts"], answer["unreachable_hosts"], answer["failed"]) == (0, ["a", "b"], True)
    assert (tmp_path / "report.html").exists()
    assert len([line for line in shown if "unreachable" in line]) == 2


def test_many_hosts_are_read_one_by_one_and_the_worst_are_in_the_page(directory: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    web = _results.read_result(str(SAMPLES), "edge-1")
    for number in range(12):
        _results.write_result(str(directory), f"n{number}", json.dumps({**web, "host": f"n{number}"}))
    kept: list[int] = []
    gather = memory_report._gather

    def watched(*arguments: t.Any, **options: t.Any) -> t.Any:
        details = gather(*arguments, **options)
        kept.append(len(details))
        return details

    monkeypatch.setattr(memory_report, "_gather", watched)
    run({"directory": str(directory), "this_run_only": False, "html_hosts": 3})
    assert kept == [0]
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert page.count('class="host-data"') == 3
    assert not [line for line in shown if line.startswith("━━ n1")]
    assert [line for line in shown if line.startswith("━━ 16 hosts")]


def test_a_directory_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match=r"nothing/hosts: cannot be read .* Run the audit first"):
        run({"directory": str(tmp_path / "nothing")})


ALL = ["terminal", "json", "html", "markdown", "csv", "junit", "prometheus", "selection", "inventory"]
FILES = {
    "json": "report.json", "html": "report.html", "markdown": "report.md", "junit": "junit.xml", "prometheus": "memqos.prom", "inventory": "inventory.csv",
    "selection": "selection.yml",
    "csv_findings": "findings.csv", "csv_hosts": "hosts.csv", "csv_top": "top.csv", "csv_settings": "settings.csv",
}  # fmt: skip


def test_every_format_at_once(directory: Path, shown: list[str]) -> None:
    before = {path.name for path in directory.iterdir()}
    answer = run({"directory": str(directory), "this_run_only": False, "formats": ALL, "groups": {"pool": ["web-1", "db-1"]}})
    assert answer["paths"] == {name: str(directory / file) for name, file in FILES.items()}
    assert {path.name for path in directory.iterdir()} - before == set(FILES.values())
    assert {line.split(",")[0] for line in shown if line.startswith("━━ ") and " host" in line} >= {"━━ pool", "━━ ungrouped"}
    assert "## Inventory" in (directory / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in ALL if name != "terminal"])
def test_each_format_alone_writes_its_own_files(directory: Path, shown: list[str], name: str) -> None:
    before = {path.name for path in directory.iterdir()}
    answer = run({"directory": str(directory), "this_run_only": False, "formats": [name]})
    assert set(answer["paths"]) == {key for key in FILES if key.partition("_")[0] == name} and shown == []
    assert {path.name for path in directory.iterdir()} - before == {FILES[key] for key in answer["paths"]}


def test_only_the_worst_hosts_are_in_markdown_in_full(directory: Path) -> None:
    run({"directory": str(directory), "this_run_only": False, "formats": ["markdown"], "markdown_hosts": 2})
    text = (directory / "report.md").read_text(encoding="utf-8")
    assert text.count("### Where memory is") == 2 and "The 2 worst hosts are here in full" in text


def judged(directory: Path, *, suppressed: bool = False) -> None:
    """One host with a critical finding, and a warning that 7 subjects have; C(suppressed): both are accepted."""
    result = _results.read_result(str(SAMPLES), "edge-1")
    given = {"suppressed": {"reason": "known", "until": "2027-01-01"}} if suppressed else {}
    subject = {"kind": "container", "id": "/a", "name": "a\x1b[2J"}
    result["findings"] = [{"rule": rule, "subject": subject, "status": "fail", **given} for rule in ("C01", "C03")]
    result["rules"] = {"C03": {"failed": 1 if suppressed else 7}}
    shutil.rmtree(directory / "hosts")
    _results.write_result(str(directory), "edge-1", json.dumps(result))


FAIL_ON = [
    ("critical", False, "fail_on is critical, and there are findings: 1 critical. edge-1: C01 {C01} (a\\x1b[2J). All are"),
    ("warning", False, "1 critical, 7 warning. edge-1: C01 {C01} (a\\x1b[2J); edge-1: C03 {C03} (a\\x1b[2J); and 6 more. All are"),
    ("info", False, "1 critical, 7 warning."),
    ("none", False, ""),
    ("info", True, ""),
]


@pytest.mark.parametrize(("fail_on", "suppressed", "words"), FAIL_ON)
def test_findings_fail_the_task_after_the_reports(directory: Path, fail_on: str, suppressed: bool, words: str) -> None:
    judged(directory, suppressed=suppressed)
    answer = run({"directory": str(directory), "this_run_only": False, "formats": ["json", "junit"], "fail_on": fail_on})
    titles = {rule: metadata["title"] for rule, metadata in _results.read_rules(str(SAMPLES)).items()}
    assert answer.get("failed", False) is bool(words)
    assert words.format(**titles) in answer.get("msg", "")
    assert answer["findings"]["suppressed"] == (2 if suppressed else 0)
    assert (directory / "junit.xml").exists() and (directory / "report.json").exists()


def test_both_reasons_to_fail_are_said(directory: Path) -> None:
    judged(directory)
    answer = run({"directory": str(directory), "this_run_only": False, "formats": ["json"], "fail_on": "critical", "hosts": ["edge-1", "gone"]})
    assert answer["msg"].startswith("1 host has no result of this run: gone.") and "fail_on is critical" in answer["msg"]


def test_unknown_never_fails(directory: Path) -> None:
    result = _results.read_result(str(SAMPLES), "edge-1")
    result["findings"] = [{"rule": "C01", "subject": {"kind": "node", "id": "node", "name": ""}, "status": "unknown"}]
    result["rules"] = {}
    _results.write_result(str(directory), "edge-1", json.dumps(result))
    answer = run({"directory": str(directory), "this_run_only": False, "hosts": ["edge-1"], "formats": ["json"], "fail_on": "info"})
    assert "failed" not in answer and answer["findings"]["unknown"] == 1


WRONG = [
    ({"markdown_hosts": 0}, "markdown_hosts must be 1 or more"),
    ({"fail_on": "fatal"}, "critical, warning, info, none"),
    ({"groups": {"pool": "web-1"}}, "groups must be a list of host names for each group.* pool is 'web-1'"),
    ({"groups": ["pool"]}, "dict"),
    ({"formats": ["pdf"]}, "one or more of: terminal, json, html, markdown"),
    ({"top": "many"}, "int"),
    ({"top": 0}, "top must be 1 or more, not 0"),
    ({"html_hosts": -1}, "html_hosts must be 1 or more"),
    ({"hosts": {"a": 1}}, "list"),
    ({"tops": 3}, "Unsupported parameters"),
    ({"fail_on_unreachable": "perhaps"}, "bool"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_wrong_arguments_are_answered(arguments: dict[str, t.Any], words: str) -> None:
    with pytest.raises(AnsibleError, match=words):
        run(arguments)


def test_the_role_and_the_guide_know_the_same_formats() -> None:
    root = Path(__file__).parents[4]
    spec = memory_report.ARGUMENT_SPEC
    options = yaml.safe_load((root / "roles/audit/meta/argument_specs.yml").read_text())["argument_specs"]["report"]["options"]
    assert options["memqos_report_formats"]["choices"] == spec["formats"]["choices"] and options["memqos_fail_on"]["choices"] == spec["fail_on"]["choices"]
    guide = (root / "docs/reports.md").read_text(encoding="utf-8").partition("Each file takes")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE)) == sorted(spec["formats"]["choices"])


def test_the_documentation_says_what_the_plugin_takes() -> None:
    options = yaml.safe_load((Path(__file__).parents[4] / "plugins/modules/memory_report.yml").read_text())["DOCUMENTATION"]["options"]
    described = {name: {key: value for key, value in option.items() if key != "description"} for name, option in options.items()}
    assert described == memory_report.ARGUMENT_SPEC
