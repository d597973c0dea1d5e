# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""memqos.prom and the alerts in the programs that use them: Prometheus's promtool, its node-exporter, systemd, ansible-pull."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import socket
import subprocess
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from .conftest import ROOT, SCRIPTS
from .test_audit import Audit, audit, hostile_tree

__all__ = ["audit", "hostile_tree"]

PROGRAMS = ROOT / "build" / "programs" / "usr" / "bin"
ALERTS = ROOT / "examples" / "prometheus" / "memqos.rules.yml"
PULL = ROOT / "examples" / "ansible-pull"
RULES = [rule for file in sorted((ROOT / "roles/audit/vars/rules").glob("*.yml")) for rule in yaml.safe_load(file.read_text(encoding="utf-8"))]

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def program(name: str) -> str:
    """A program that `make integration` has unpacked, or one of this machine."""
    found = shutil.which(name, path=f"{PROGRAMS}:{os.environ['PATH']}")
    if not found:
        pytest.fail(f"there is no {name} here: tests/tools/debian-programs.sh build/programs prometheus prometheus-node-exporter (make integration does)")
    return found


def promtool(*arguments: str, text: bytes = b"") -> str:
    """What promtool says; empty output of `check metrics` is no complaint."""
    done = subprocess.run([program("promtool"), *arguments], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


@contextlib.contextmanager
def node_exporter(directory: Path) -> t.Iterator[str]:
    """node-exporter with nothing but its textfile collector, on a port of the loopback interface → its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = [f"--web.listen-address={address}", "--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={directory}"]
    with subprocess.Popen([program("prometheus-node-exporter"), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://{address}/metrics"
        finally:
            process.kill()


def fetch(address: str) -> str:
    for unused in range(100):
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(address, timeout=10) as answer:
            return t.cast("str", answer.read().decode())
        time.sleep(0.1)
    pytest.fail(f"{address} does not answer")


def read(text: str, *, prefix: str = "memqos_") -> tuple[Samples, dict[str, str]]:
    """Samples, and the metrics with their help."""
    families = [family for family in text_string_to_metric_families(text) if family.name.startswith(prefix)]
    samples = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}
    return samples, {family.name: family.documentation for family in families}


def served(directory: Path) -> tuple[Samples, dict[str, str]]:
    with node_exporter(directory) as address:
        text = fetch(address)
    assert read(text, prefix="node_textfile_scrape_error")[0] == {("node_textfile_scrape_error", ()): 0}
    return read(text)


def test_node_exporter_serves_exactly_what_a_real_audit_wrote(audit: Audit) -> None:
    run = audit(memqos_window=0.2, memqos_report_formats=["json", "prometheus"])
    assert run.status == 0, run.output
    text = (run.directory / "memqos.prom").read_bytes()
    assert promtool("check", "metrics", text=text) == ""
    written = read(text.decode())
    assert served(run.directory) == written
    samples = written[0]
    memory = {dict(labels)["row"]: value for (name, labels), value in samples.items() if name == "memqos_memory_bytes"}
    assert memory == {row["name"]: row["bytes"] for row in run.result()["breakdown"]["rows"]}
    assert samples["memqos_host_up", (("host", "localhost"),)] == 1
    rules = {dict(labels)["rule"] for name, labels in samples if name == "memqos_finding"}
    assert {finding["rule"] for finding in run.result()["findings"] if finding["status"] == "fail"} <= rules <= set(run.result()["rules"])


def test_hostile_names_pass_through_node_exporter(audit: Audit, hostile_tree: Path) -> None:
    run = audit(memqos_root=str(hostile_tree), memqos_report_formats=["json", "prometheus"])
    assert run.status == 0, run.output
    text = (run.directory / "memqos.prom").read_bytes()
    assert promtool("check", "metrics", text=text) == ""
    samples = read(text.decode())[0]
    paths = {dict(labels)["path"] for name, labels in samples if name == "memqos_workload_bytes"}
    assert any("\x1b" in path for path in paths) and any("\n" in path for path in paths) and any('"' in path for path in paths)
    assert served(run.directory) == read(text.decode())


def test_promtool_does_complain(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="second HELP line"):
        promtool("check", "metrics", text=b"# HELP memqos_x a\n# TYPE memqos_x gauge\nmemqos_x 1\n# HELP memqos_x b\nmemqos_x 2\n")
    (tmp_path / "memqos.prom").write_text('memqos_x{host="a} 1\n')
    with pytest.raises(AssertionError):
        served(tmp_path)


def test_the_alerts_are_what_prometheus_reads(tmp_path: Path) -> None:
    loaded = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    count = sum(len(group["rules"]) for group in loaded["groups"])
    assert f"SUCCESS: {count} rules found" in promtool("check", "rules", str(ALERTS))
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(ROOT / "tests/integration/alerts.test.yml", tmp_path)
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "alerts.test.yml"))


def critical_rule_case(rule: dict[str, t.Any], alert: dict[str, t.Any]) -> dict[str, t.Any]:
    """The alert of a rule rings for the host that fails it, when it has done so for long enough, and for no other."""
    series = [
        {"series": f'memqos_finding{{host="{host}",rule="{name}",severity="critical"}}', "values": values}
        for host, name, values in (("bad", rule["id"], "0 3x5"), ("good", rule["id"], "0x6"), ("cured", rule["id"], "3 0x5"), ("other", "X01", "3x6"))
    ]
    notes = {name: text.replace("{{ $labels.host }}", "bad").replace("{{ $value }}", "3") for name, text in alert["annotations"].items()}
    rings = {"exp_labels": {"severity": "critical", "host": "bad", "rule": rule["id"]}, "exp_annotations": notes}
    times = {"0m": [("10m", True)], "20m": [("20m", False), ("30m", True)]}[alert["for"]]
    tests = [{"eval_time": when, "alertname": alert["alert"], "exp_alerts": [rings] if rung else []} for when, rung in times]
    return {"interval": "10m", "input_series": series, "alert_rule_test": tests}


def test_every_critical_rule_rings(tmp_path: Path) -> None:
    alerts = {rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]}
    critical = [rule for rule in RULES if rule["severity"] == "critical"]
    assert len(critical) > 5
    cases = [critical_rule_case(rule, alerts[f"Memqos{rule['id']}"]) for rule in critical]
    shutil.copy(ALERTS, tmp_path)
    (tmp_path / "made.yml").write_text(json.dumps({"rule_files": [ALERTS.name], "evaluation_interval": "10m", "tests": cases}))
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "made.yml"))


def test_systemd_takes_the_units() -> None:
    units = [str(PULL / f"memqos-audit.{kind}") for kind in ("service", "timer")]
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    # It also tells what it thinks of other units of this machine.
    assert done.returncode == 0 and "memqos" not in done.stdout, done.stdout


def unit(file: Path) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        told.setdefault(key, []).append(value)
    return told


def commit_of_the_checkout(directory: Path) -> None:
    """A repository that holds what this checkout holds now."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    for name in filter(None, map(os.fsdecode, listed.split(b"\0"))):
        if (ROOT / name).is_file() and not name.startswith("tests/unit/fixtures/"):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    author = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.net"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], [*author, "commit", "-q", "-m", "as it is"]):
        subprocess.run(["git", *command], cwd=directory, check=True)


def service_command(state: Path, origin: Path) -> tuple[list[str], dict[str, str]]:
    """What memqos-audit.service runs, and its environment, below another state directory and from another repository."""
    service = unit(PULL / "memqos-audit.service")
    settings = dict(pair.split("=", 1) for line in service["Environment"] for pair in line.replace("/var/lib/memqos-audit", str(state)).split())
    values = {"${MEMQOS_REPOSITORY}": str(origin), "${MEMQOS_VERSION}": "main", "%H": socket.gethostname()}
    command = service["ExecStart"][0].replace("/var/lib/memqos-audit", str(state))
    return [functools.reduce(lambda text, name: text.replace(name, values[name]), values, word) for word in command.split()], settings


def test_a_machine_audits_itself_as_the_service_says(tmp_path: Path) -> None:
    origin, state, textfiles = tmp_path / "origin", tmp_path / "state", tmp_path / "textfiles"
    textfiles.mkdir()
    commit_of_the_checkout(origin)
    command, settings = service_command(state, origin)
    variables = {"memqos_report_dir": str(state / "report"), "memqos_textfile_directory": str(textfiles), "memqos_window": 0}
    argv = [*command, "--extra-vars", json.dumps(variables)]
    environment = {**settings, "PATH": f"{SCRIPTS}:{os.environ['PATH']}", "LANG": "C.UTF-8"}
    for unused in range(2):
        done = subprocess.run(argv, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert [path.name for path in textfiles.iterdir()] == ["memqos.prom"]
        assert (textfiles / "memqos.prom").stat().st_mode & 0o777 == 0o644
        host = (("host", socket.gethostname()),)
        samples = served(textfiles)[0]
        assert samples["memqos_host_up", host] == 1 and abs(time.time() - samples["memqos_audit_timestamp_seconds", host]) < 300


def test_a_machine_that_cannot_be_audited_says_so(tmp_path: Path, audit: Audit) -> None:
    variables = {"memqos_textfile_directory": str(tmp_path), "memqos_root": "/nowhere/at/all"}
    run = audit(playbook=str(PULL / "audit.yml"), **variables)
    assert run.status == 0, run.output
    assert read((tmp_path / "memqos.prom").read_text())[0] == {("memqos_host_up", (("host", "localhost"),)): 0}
