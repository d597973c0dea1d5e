# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes examples/prometheus/memqos.rules.yml, an alert for each critical rule of the audit and those below; with --check says whether it is up to date.

Run with the collection importable as ansible_collections.memqos.fleet.
"""

from __future__ import annotations

import argparse
import sys
import typing as t
from pathlib import Path

import yaml

from ansible_collections.memqos.fleet.plugins.plugin_utils import _rule_compiler
from ansible_collections.memqos.fleet.tests.tools.make_rule_docs import RULES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "examples" / "prometheus" / "memqos.rules.yml"
DOCS = "https://github.com/memqos/fleet/blob/main/docs"
HEAD = """\
---
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Alerts on memqos.prom (docs/reports.md). Made by `make alerts` of the audit's critical rules and of tests/tools/make_alerts.py: change these.
"""
# What counts since the last audit is no more after the next one; a state has to be there for two audits of examples/ansible-pull.
_EVENT, _STATE = "0m", "20m"

Alert = dict[str, t.Any]

# SysOM's memory diagnoses. Leaks and removed cgroups have its figures, but that large nodes need a hundredth of memory besides; it names no bound for usage;
# fragmented is to it a zone Normal with less than 100 free blocks above order 2, here what rule N12 says.
_LEAKS = 'memqos_memory_bytes{row=~"slab_unreclaimable|unaccounted|vmalloc"}'
SYSOM: list[Alert] = [
    {
        "alert": "MemqosKernelMemoryLeak",
        # On a node of terabytes the ordinary remainder is above 6 GiB: as in rule N09, a hundredth has to come to it.
        "expr": f"({_LEAKS} > 6 * 1024^3) > ignoring(row) group_left() (0.01 * memqos_memory_total_bytes)"
        f" or ({_LEAKS} > 1.5 * 1024^3) > ignoring(row) group_left() (0.1 * memqos_memory_total_bytes)",
        "for": "30m",
        "severity": "critical",
        "summary": "{{ $labels.host }}: {{ $labels.row }} takes {{ $value | humanize1024 }}B, as a leak in the kernel does",
        "description": "More than 6 GiB and a hundredth of memory, or more than 1.5 GiB and a tenth. No process owns it, and no limit bounds it.",
        "command": "slabtop --once --sort=c | head -n 20; grep -E 'SUnreclaim|Percpu|VmallocUsed' /proc/meminfo",
        "runbook_url": f"{DOCS}/rules.md",
    },
    {
        "alert": "MemqosDyingCgroups",
        "expr": "memqos_dying_cgroups > 1500",
        "for": "30m",
        "severity": "warning",
        "summary": "{{ $labels.host }}: {{ $value }} removed cgroups still hold memory",
        "description": "Page cache and kernel objects keep them. They slow down reclaim and statistics, and no container accounts for their memory.",
        "command": "grep -H nr_dying /sys/fs/cgroup/cgroup.stat || grep memory /proc/cgroups",
        "runbook_url": f"{DOCS}/rules.md",
    },
    {
        "alert": "MemqosFragmented",
        # Small blocks alone hurt nobody; the rule looks for tasks that had to wait as well.
        "expr": 'memqos_finding{rule="N12"} > 0',
        "for": "30m",
        "severity": "warning",
        "summary": "{{ $labels.host }}: free memory is in blocks of 8 pages and less, and tasks wait for larger ones",
        "description": "Huge pages, network drivers and new processes wait for compaction, though memory is free.",
        "command": "cat /proc/buddyinfo; grep compact_ /proc/vmstat",
        "runbook_url": f"{DOCS}/rules/N12.md",
    },
    {
        "alert": "MemqosMemoryUsage",
        "expr": "1 - memqos_memory_available_bytes / memqos_memory_total_bytes > 0.95",
        "for": "20m",
        "severity": "warning",
        "summary": "{{ $labels.host }}: {{ $value | humanizePercentage }} of memory is in use",
        "description": "(MemTotal - MemAvailable) / MemTotal. The next burst of allocations ends in direct reclaim, or at the OOM killer.",
        "command": "make audit, or the report of the last audit: the largest working sets, and where memory went",
        "runbook_url": f"{DOCS}/reports.md#prometheus",
    },
]
AUDIT: list[Alert] = [
    {
        "alert": "MemqosAuditStale",
        "expr": "time() - memqos_audit_timestamp_seconds > 26 * 3600",
        "for": "0m",
        "severity": "warning",
        "summary": "{{ $labels.host }}: the last audit is {{ $value | humanizeDuration }} old",
        "description": "All other alerts of the host are as old. Where audits run more often than once a day, lower the bound.",
        "command": "systemctl status memqos-audit.timer memqos-audit.service",
        "runbook_url": f"{DOCS}/reports.md#prometheus",
    },
    {
        "alert": "MemqosHostMissing",
        "expr": "memqos_host_up == 0 or (memqos_host_up offset 1d unless memqos_host_up) * 0",
        "for": "10m",
        "severity": "warning",
        "summary": "{{ $labels.host }}: the audit has no result",
        "description": "It was unreachable, its audit failed, or its memqos.prom, which was there a day ago, has gone. Nobody watches its memory.",
        "command": "ansible-playbook memqos.fleet.audit --limit HOST",
        "runbook_url": f"{DOCS}/reports.md#prometheus",
    },
]


def groups() -> list[dict[str, t.Any]]:
    metadata = _rule_compiler.load_rules([str(RULES)], thresholds={}, drop=[]).metadata
    source = [rule for file in sorted(RULES.glob("*.yml")) for rule in yaml.safe_load(file.read_text(encoding="utf-8"))]
    critical = [of_rule(rule, metadata[rule["id"]]) for rule in source if rule["severity"] == "critical"]
    parts = {"memqos-findings": critical, "memqos-sysom": SYSOM, "memqos-audit": AUDIT}
    return [{"name": name, "rules": [entry(alert) for alert in alerts]} for name, alerts in parts.items()]


def of_rule(rule: dict[str, t.Any], metadata: dict[str, t.Any]) -> Alert:
    """A critical rule as an alert: it rings as long as the last audit says that a subject fails it."""
    return {
        "alert": f"Memqos{rule['id']}",
        "expr": f'memqos_finding{{rule="{rule["id"]}"}} > 0',
        "for": _EVENT if "delta(" in rule["when"] else _STATE,
        "severity": rule["severity"],
        "summary": f"{{{{ $labels.host }}}}: {literal(metadata['title'])} ({rule['id']})",
        "description": literal(metadata["why"]) + ("" if rule["each"] == "node" else f" Each {rule['each']} is judged: {{{{ $value }}}} fail."),
        "command": literal(metadata["cure"].get("command") or metadata["cure"]["text"]),
        "runbook_url": f"{DOCS}/rules/{rule['id']}.md",
    }


def literal(text: str) -> str:
    """Text that Prometheus's templates leave alone."""
    return text.replace("{{", '{{ "{{" }}')


def entry(alert: Alert) -> dict[str, t.Any]:
    notes = {name: Text(alert[name]) for name in ("summary", "description", "command", "runbook_url")}
    return {"alert": alert["alert"], "expr": Text(alert["expr"]), "for": alert["for"], "labels": {"severity": alert["severity"]}, "annotations": notes}


class Text(str):
    """Long ones are folded."""


class Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _folded(dumper: yaml.SafeDumper, text: Text) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=">" if len(text) > 100 else None)


Dumper.add_representer(Text, _folded)


def page() -> str:
    return HEAD + yaml.dump({"groups": groups()}, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=130)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the file is not what the rules say")
    check = parser.parse_args().check
    new = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == new:
        return 0
    if check:
        print(f"{PAGE} is not what the rules say: run {Path(__file__).name}", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
