# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole audits as operators run them: live and captured, with and without root, and with everything that goes wrong on a fleet."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from .conftest import ROOT, SCRIPTS

TREES = ROOT / "tests" / "unit" / "fixtures" / "trees"
CAPTURED = sorted(path for path in TREES.iterdir() if (path / "sys" / "fs" / "cgroup").is_dir())
NOBODY = 65534
HOSTILE = ["\x1b[31mred", "<img src=x onerror=alert(1)>", "quote\"'", "new\nline", "{{ 1 + 1 }}", "\u202egnp.exe", "</script>"]
NOT_UTF8 = b"broken-\xff\xfe.service"


class Run(t.NamedTuple):
    status: int
    output: str
    directory: Path

    def result(self, host: str = "localhost") -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads((self.directory / "hosts" / f"{host}.json").read_text(encoding="utf-8")))

    def report(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads((self.directory / "report.json").read_text(encoding="utf-8")))


class Audit(t.Protocol):
    def __call__(self, *arguments: str, playbook: str = "audit", inventory: str | None = None, **variables: t.Any) -> Run:
        """Run a playbook of the collection with these variables, on this machine if no inventory is given."""


@pytest.fixture
def audit(tmp_path: Path, checkout_collections: Path) -> Audit:
    def run(*arguments: str, playbook: str = "audit", inventory: str | None = None, **variables: t.Any) -> Run:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_") and name != "PYTHONPATH"}
        settings = {"ANSIBLE_COLLECTIONS_PATH": str(checkout_collections), "ANSIBLE_LOCALHOST_WARNING": "False", "ANSIBLE_NOCOLOR": "1", "COLUMNS": "80"}
        where = ["-i", "localhost,", "-c", "local"] if inventory is None else ["-i", inventory]
        extra = {"ansible_python_interpreter": sys.executable, "memqos_report_dir": str(tmp_path / "report"), "memqos_window": 0, **variables}
        named = playbook if playbook.endswith(".yml") else f"memqos.fleet.{playbook}"
        argv = [str(SCRIPTS / "ansible-playbook"), named, *where, "-e", json.dumps(extra), *arguments]
        done = subprocess.run(argv, cwd=tmp_path, env={**inherited, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return Run(done.returncode, done.stdout, Path(extra["memqos_report_dir"]))

    return run


def meminfo(root: Path = Path("/")) -> dict[str, int]:
    rows = re.findall(r"^(\S+):\s+(\d+) kB$", (root / "proc/meminfo").read_text(), re.MULTILINE)
    return {key: int(value) * 1024 for key, value in rows}


def test_this_machine_closes_to_memtotal_and_nothing_changes(audit: Audit) -> None:
    first = audit(memqos_window=0.2)
    assert first.status == 0, first.output
    assert "changed=0" in first.output
    account = first.result()["breakdown"]
    assert sum(row["bytes"] for row in account["rows"]) == account["memtotal_bytes"] == meminfo()["MemTotal"]
    assert set(first.report()) >= {"schema_version", "hosts", "unreachable"} and first.report()["unreachable"] == []
    assert (first.directory / "report.html").stat().st_size > 1_000_000
    second = audit()
    windows = {finding["window"]["kind"] for finding in second.result()["findings"] if finding.get("window")}
    assert second.status == 0 and "since_boot" not in windows


def test_check_mode_reads_and_reports_as_usual(audit: Audit) -> None:
    run = audit("--check", "--diff")
    assert run.status == 0, run.output
    assert run.result()["breakdown"]["memtotal_bytes"] == meminfo()["MemTotal"]


def test_the_playbook_runs_by_its_path_too(audit: Audit) -> None:
    run = audit(playbook=str(ROOT / "playbooks" / "audit.yml"))
    assert run.status == 0 and list(run.report()["hosts"]) == ["localhost"]


@pytest.mark.parametrize("tree", CAPTURED, ids=lambda path: path.name)
def test_captured_tree(audit: Audit, tree: Path) -> None:
    run = audit(memqos_root=str(tree))
    assert run.status == 0, run.output
    result = run.result()
    assert result["breakdown"]["memtotal_bytes"] == meminfo(tree)["MemTotal"] == sum(row["bytes"] for row in result["breakdown"]["rows"])
    assert tree.name.endswith(result["node"]["hierarchy"])
    assert any(row["kind"] == "container" and row.get("pod_uid") for row in result["top"]["rows"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_is_told_what_needs_root(audit: Audit, tmp_path: Path) -> None:
    interpreter = tmp_path / "as-nobody"
    interpreter.write_text(f'#!/bin/sh\nHOME=/tmp exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups "{usable_python()}" "$@"\n')
    interpreter.chmod(0o755)
    run = audit(ansible_python_interpreter=str(interpreter), ansible_pipelining=True)
    assert run.status == 0, run.output
    unknown = run.result()["unknown"]
    assert "needs root" in unknown["slabs"] and "/proc/slabinfo" in unknown["slabs"]
    assert run.result()["breakdown"]["memtotal_bytes"] == meminfo()["MemTotal"]


def usable_python() -> str:
    """A Python that nobody may execute: the one of a checkout in /root may not be."""
    for name in ("/usr/bin/python3", sys.executable):
        if (
            os.path.exists(name)
            and subprocess.run(["setpriv", f"--reuid={NOBODY}", "--clear-groups", name, "-c", ""], check=False, capture_output=True).returncode == 0
        ):
            return name
    pytest.skip("no Python here that an ordinary user may execute")


def test_unreachable_hosts_are_listed_and_the_run_fails_after_the_reports(audit: Audit, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts"
    inventory.write_text("here ansible_connection=local\ngone ansible_host=127.0.0.1 ansible_port=1\n")
    run = audit(inventory=str(inventory))
    assert run.status != 0
    assert run.report()["unreachable"] == ["gone"] and list(run.report()["hosts"]) == ["here"]
    assert "no result of this run: gone" in " ".join(run.output.split())
    tolerant = audit(inventory=str(inventory), memqos_fail_on_unreachable=False)
    assert tolerant.status == 0 and tolerant.report()["unreachable"] == ["gone"]


def test_a_fleet_of_unreachable_hosts_still_gets_its_report(audit: Audit, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts"
    inventory.write_text("gone ansible_host=127.0.0.1 ansible_port=1\n")
    run = audit(inventory=str(inventory))
    assert run.status != 0 and run.report()["unreachable"] == ["gone"]


def test_a_host_that_fails_is_named_with_its_reason(audit: Audit, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts"
    inventory.write_text("here ansible_connection=local\nnopython ansible_connection=local\n")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "nopython.yml").write_text("memqos_root: /nowhere/at/all\n")
    run = audit(inventory=str(inventory))
    assert run.status != 0 and list(run.report()["hosts"]) == ["here"]
    assert "/nowhere/at/all" in run.report()["invalid"]["nopython"] and run.report()["unreachable"] == []


def test_a_fleet_of_failing_hosts_still_gets_its_report(audit: Audit) -> None:
    run = audit(memqos_root="/nowhere/at/all")
    assert run.status != 0 and list(run.report()["invalid"]) == ["localhost"]


def test_strategy_free_in_the_configuration_changes_nothing(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("[defaults]\nstrategy = free\n")
    inventory = tmp_path / "hosts"
    inventory.write_text("a ansible_connection=local\nb ansible_connection=local\nc ansible_connection=local\n")
    run = audit(inventory=str(inventory))
    assert run.status == 0 and sorted(run.report()["hosts"]) == ["a", "b", "c"]


def test_a_result_cut_short_is_named_and_the_rest_is_reported(audit: Audit, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts"
    inventory.write_text("a ansible_connection=local\nb ansible_connection=local\n")
    assert audit(inventory=str(inventory)).status == 0
    damaged = tmp_path / "report" / "hosts" / "b.json"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    run = audit(playbook="report", inventory=str(inventory))
    assert list(run.report()["hosts"]) == ["a"] and "cut short" in run.report()["invalid"]["b"]
    again = audit(inventory=str(inventory))
    assert again.status == 0 and sorted(again.report()["hosts"]) == ["a", "b"]


WRONG: list[tuple[dict[str, t.Any], str]] = [
    ({"memqos_top": "many"}, "memqos_top"),
    ({"memqos_window": "soon"}, "memqos_window"),
    ({"memqos_window": 3600}, "window"),
    ({"memqos_top": -3}, "top"),
    ({"memqos_report_formats": ["pdf"]}, "memqos_report_formats"),
    ({"memqos_fail_on": "fatal"}, "memqos_fail_on"),
    ({"memqos_root": "/nowhere/at/all"}, "/nowhere/at/all"),
    ({"memqos_thresholds": {"N03": {"no_such_threshold": 1}}}, "no_such_threshold"),
    ({"memqos_rules_drop": ["N999"]}, "N999"),
    ({"memqos_rules_paths": ["/nowhere/rules"]}, "/nowhere/rules"),
]


@pytest.mark.parametrize("variables, named", WRONG, ids=[f"{[*variables][0]} {named}" for variables, named in WRONG])
def test_wrong_variables_are_named(audit: Audit, variables: dict[str, t.Any], named: str) -> None:
    run = audit(**variables)
    assert run.status != 0
    message = run.output[run.output.index("TASK") :]
    assert named in message and "Traceback" not in message


def test_a_wrong_rule_stops_the_run_before_any_host_is_contacted(audit: Audit, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text("- id: X01\n  title: t\n  severity: info\n  each: node\n  when: facts.hierarchie == 'v1'\n  why: w\n  expected: e\n  cure: {text: c}\n")
    inventory = tmp_path / "hosts"
    inventory.write_text("gone ansible_host=127.0.0.1 ansible_port=1\n")
    run = audit(inventory=str(inventory), memqos_rules_paths=[str(rules)])
    assert run.status != 0 and "unreachable=0" in run.output
    flat = " ".join(run.output.split())
    assert "rules.yml" in flat and "X01" in flat and "facts.hierarchy" in flat and "column" in flat


def test_a_rule_of_ones_own_fires(audit: Audit, tmp_path: Path) -> None:
    rules = tmp_path / "mine"
    rules.mkdir()
    (rules / "own.yml").write_text(
        "- id: X01\n  title: Any memory at all\n  severity: info\n  each: node\n  when: meminfo.MemTotal > threshold.bytes\n  thresholds: {bytes: 1}\n"
        "  why: To see it fire.\n  expected: none\n  cure: {text: None needed.}\n  references: []\n"
    )
    run = audit(memqos_rules_paths=[str(rules)])
    assert run.status == 0, run.output
    assert [finding["rule"] for finding in run.result()["findings"] if finding["rule"] == "X01"] == ["X01"]
    quiet = audit(memqos_rules_paths=[str(rules)], memqos_thresholds={"X01": {"bytes": "1PiB"}})
    assert quiet.status != 0 or not [finding for finding in quiet.result()["findings"] if finding["rule"] == "X01"]


def test_a_report_directory_that_cannot_be_written(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    run = audit(memqos_report_dir=str(tmp_path / "file" / "report"))
    flat = " ".join(run.output.split())
    assert run.status != 0 and str(tmp_path / "file") in flat and "cannot be written" in flat and "Traceback" not in flat


@pytest.fixture
def hostile_tree(tmp_path: Path) -> Path:
    """A captured tree whose cgroups carry names that try to break out of every report."""
    tree = tmp_path / "hostile"
    source = next(path for path in CAPTURED if path.name.endswith("-v2"))
    shutil.copytree(source, tree)
    model = next(path.parent for path in (tree / "sys/fs/cgroup").glob("*/memory.stat"))
    for name in [*(os.fsencode(name.replace("/", "\u2215")) for name in HOSTILE), NOT_UTF8]:
        target = os.path.join(os.fsencode(tree / "sys/fs/cgroup"), name)
        os.mkdir(target)
        for file in model.iterdir():
            if file.is_file():
                shutil.copy(os.fsencode(file), target)
        with open(os.path.join(target, b"memory.current"), "wb") as stream:
            stream.write(b"900000000\n")
    return tree


def test_hostile_names_reach_every_report_as_text(audit: Audit, hostile_tree: Path) -> None:
    run = audit(memqos_root=str(hostile_tree))
    assert run.status == 0, run.output
    names = {row["path"] for row in run.result()["top"]["rows"]}
    assert {"/" + name.replace("/", "\u2215") for name in HOSTILE} <= names
    assert any("broken-" in name and "\\xff" in name for name in names)
    assert "\x1b" not in run.output and "\u202e" not in run.output
    html = (run.directory / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in html and "\x1b" not in html


def test_no_cgroup_and_no_sys_at_all(audit: Audit, tmp_path: Path) -> None:
    tree = tmp_path / "bare"
    (tree / "proc").mkdir(parents=True)
    # Of a healthy machine: this one may have findings of its own.
    shutil.copy(Path(__file__).resolve().parents[1] / "unit" / "fixtures" / "trees" / "debian13-6.12-v2" / "proc" / "meminfo", tree / "proc" / "meminfo")
    run = audit(memqos_root=str(tree))
    assert run.status == 0, run.output
    result = run.result()
    assert result["node"]["hierarchy"] == "none" and result["top"]["rows"] == [] and "cgroups" in result["unknown"]
    # N46 is about a file that is not there; no other finding may rest on one
    assert {finding["rule"] for finding in result["findings"] if finding["status"] == "fail"} <= {"N46"}


ACCEPTED = """\
memqos_suppressions:
  - {rule: N01, host: "local*", reason: it is to be killed at its limit, until: 9999-12-31}
  - {rule: N21, subject: node, reason: until the next image, until: 2026-01-31}
"""


def test_findings_are_accepted_until_a_date_chosen_and_gone(audit: Audit, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(TREES / "debian13-6.12-v2", tree, symlinks=True)
    swappiness = tree / "proc" / "sys" / "vm" / "swappiness"
    swappiness.write_text("0\n", encoding="ascii")
    (tmp_path / "accepted.yml").write_text(ACCEPTED, encoding="utf-8")
    options: dict[str, t.Any] = {"memqos_root": str(tree), "memqos_report_formats": ["selection", "terminal"], "memqos_fail_on": "critical"}
    # Dates without quotes, through a file of variables.
    first = audit("-e", f"@{tmp_path / 'accepted.yml'}", **options)
    assert first.status == 0, first.output
    found = {finding["rule"]: finding for finding in first.result()["findings"]}
    assert found["N01"]["suppressed"] == {"reason": "it is to be killed at its limit", "until": "9999-12-31"}
    assert found["N21"]["suppression_expired"] == {"reason": "until the next image", "until": "2026-01-31"}
    selection = first.directory / "selection.yml"
    assert "N01" not in selection.read_text(encoding="utf-8")
    look = audit("--check", "--diff", playbook="tune", memqos_root=str(tree), memqos_selection=str(selection))
    assert "vm.swappiness  0 → 1  selection, raise to 1: N21: swappiness 0 does not switch swap off" in look.output, look.output
    swappiness.write_text("1\n", encoding="ascii")
    changes = {change["rule"]: change for change in audit(**options).result()["changes"]["findings"]}
    assert (changes["N21"]["before"]["observed"]["swappiness"], changes["N21"]["after"]["observed"]["swappiness"]) == (0, 1)
    assert changes["N21"]["after"]["status"] == "pass"
