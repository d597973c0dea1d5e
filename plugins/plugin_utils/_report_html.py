# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""C(report.html): one file that opens without a network.

Every result travels as JSON in a script element of a type that browsers do not run; C(templates/*.js) puts it on the page as text nodes.
A Content-Security-Policy names the hashes of our scripts, so that nothing else could run even if it got in.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import typing as t

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_details, _report_sections
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_inventory import InventoryLine, by_group, inventory_line
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_parts import PARTS
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import (
    SEVERITIES,
    Fleet,
    Host,
    changes_since,
    finding_counts,
    severity_of,
    summarise,
    top_row,
)
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import Json, replacing

_TEMPLATES = os.path.join(os.path.dirname(__file__), "templates")
_SCRIPTS = (
    "report_text.js",
    "report_address.js",
    "report_table.js",
    "report_charts.js",
    "report_parts.js",
    "report_findings.js",
    "report_settings.js",
    "report_host.js",
    "report_fleet.js",
    "report_search.js",
    "report_page.js",
)
# Keys of the node's facts that are no facts: they have tables and lists of their own.
_SHOWN_ELSEWHERE = ("meminfo", "pressure", "knobs", "swaps", "numa", "slabs", "tmpfs", "sockstat", "details")
_HEAD_SCRIPT = "report_theme.js"
# In a script element only "<" can end it or begin a comment; the others would be harmless.
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


class NoPlotly(Exception):
    """The Python package plotly is not there; the message says how to get it."""


def load_plotly() -> str:
    """plotly.min.js of the installed Python package. The package is found, not imported: importing takes longer than the report. Raises NoPlotly."""
    spec = importlib.util.find_spec("plotly")
    for folder in spec.submodule_search_locations or () if spec else ():
        try:
            with open(os.path.join(folder, "package_data", "plotly.min.js"), encoding="utf-8") as stream:
                return stream.read()
        except OSError:
            continue
    raise NoPlotly(
        "report.html needs the Python package plotly on the controller: "
        "run `pip install plotly` for the Python that runs Ansible, or leave html out of `formats`."
    )


def write_html(
    path: str,
    fleet: Fleet,
    details: t.Iterable[tuple[Json, Host]],
    *,
    run_id: str,
    generated_at: str,
    plotly: str,
) -> None:
    """Write the page. C(details) are the hosts shown in full, as (result, line); the others have their line in the fleet table. Raises ResultError."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    scripts = [plotly, "\n".join(_template(name) for name in _SCRIPTS)]
    theme = _template(_HEAD_SCRIPT)
    shown: dict[str, Json] = {}

    def embedded() -> t.Iterator[Markup]:
        for result, host in details:
            shown[host.name] = _report_sections.line(result, host)
            yield Markup(script_json(host_payload(result, fleet.rules)))

    stream = environment.get_template("report.html.j2").stream(
        title=f"Memory of {fleet.hosts[0].name}" if len(fleet.hosts) == 1 else f"Memory of {len(fleet.hosts)} hosts",
        csp=_policy([theme, *scripts]),
        style=_trusted(_template("report.css")),
        theme=_trusted(theme),
        scripts=[_trusted(script) for script in scripts],
        hosts=embedded(),
        # Called after the hosts are written: it needs their names.
        fleet=lambda: Markup(script_json(fleet_payload(fleet, shown, run_id=run_id, generated_at=generated_at))),
    )
    with replacing(path) as file:
        file.writelines(stream)


def script_json(value: t.Any) -> str:
    """JSON that is safe as the text of a script element."""
    return json.dumps(value, separators=(",", ":")).translate(_ESCAPES)


def fleet_payload(fleet: Fleet, shown: t.Mapping[str, Json], *, run_id: str, generated_at: str) -> Json:
    """What the page says of all hosts. C(shown) are the lines of the hosts shown in full, in the order of their payloads."""
    order = {name: index for index, name in enumerate(shown)}
    columns = ("name", "kernel", "hierarchy", "memtotal", "free", "available", "unaccounted", "swap_used", "pressure")
    counts = (*SEVERITIES, "unknown")
    rows = [
        [order.get(host.name), *[getattr(host, name) for name in columns], *[host.counts[name] for name in counts]] for host in fleet.worst(len(fleet.hosts))
    ]
    used = {rule for rule, hosts in fleet.by_rule.items() if hosts} | set(fleet.rules)
    return {
        "run_id": run_id,
        "generated_at": generated_at,
        "host_columns": ["index", *columns, *counts],
        "hosts": rows,
        "shown": len(shown),
        "lines": list(shown.values()),
        "suppressions_unused": _report_sections.unused(fleet.unused_suppressions()),
        "groups": [[name, [line.host for line in lines]] for name, lines in by_group([InventoryLine(host.name) for host in fleet.hosts], fleet.groups)],
        "parts": [[name, *part] for name, part in PARTS.items()],
        "top": [[row.host, row.path, row.name, row.kind, row.qos, *[row.cells.get(part) for part in PARTS]] for row in fleet.top_rows()],
        "rules": [[rule, rule_payload(rule, fleet.rules.get(rule, {})), fleet.by_rule.get(rule, 0)] for rule in sorted(used)],
        "unreachable": fleet.unreachable,
        "invalid": list(fleet.invalid.items()),
    }


def rule_payload(rule: str, metadata: t.Mapping[str, t.Any]) -> Json:
    """What the page says of a rule. Links are http(s) only: a rule file could name a javascript: one."""
    cure = metadata.get("cure") or {}
    value = cure.get("value")
    apply = _report_sections.mapping(cure.get("apply"))
    return {
        "title": metadata.get("title", rule),
        "severity": severity_of(metadata),
        "why": str(metadata.get("why") or ""),
        "expected": str(metadata.get("expected") or ""),
        "setting": str(cure.get("setting") or ""),
        "value": "" if value is None else str(value),
        # What a selection sets: the figure that a finding observed by its name, else an entry as text.
        "apply": [[str(knob), *_applied(entry)] for knob, entry in apply.items()],
        "text": str(cure.get("text") or ""),
        "command": str(cure.get("command") or ""),
        "references": [link for link in metadata.get("references", []) if link.startswith(("https://", "http://"))],
    }


def _applied(entry: t.Any) -> tuple[str, str]:
    """(text, name of the observed figure)."""
    name = entry.get("observed") if isinstance(entry, dict) else None
    return ("", str(name)) if name is not None else (_report_sections.entry_text(entry), "")


def host_payload(result: Json, rules: t.Mapping[str, Json]) -> Json:
    """What the page says of one host. Names are pairs in lists, never object keys: C(__proto__) is a name like any other."""
    node = result["node"]
    listed: dict[str, int] = {}
    for finding in result["findings"]:
        listed[finding["rule"]] = listed.get(finding["rule"], 0) + 1
    counts = finding_counts(result)
    rows = [top_row(result["host"], row) for row in result["top"]["rows"]]
    return {
        "name": result["host"],
        "collected_at": result["collected_at"],
        "facts": [[key, node[key]] for key in sorted(node) if key not in _SHOWN_ELSEWHERE],
        "meminfo": list(node.get("meminfo", {}).items()),
        "pressure": [[name, kind, averages] for name, kinds in node.get("pressure", {}).items() for kind, averages in kinds.items()],
        "settings": _report_sections.settings(result),
        "applied": inventory_line(result, summarise(result, rules)).profile_text,
        "persistence": _report_details.nested("", result.get("persistence") or {}),
        "overcommit": _report_sections.overcommit(result),
        "changes": [row._asdict() for row in changes_since(result, rules)],
        "since": _report_sections.since(result),
        "breakdown": result["breakdown"],
        "zones": result["zones"],
        "limit": result["top"]["limit"],
        "top": [[row.path, row.name, row.kind, row.qos, *[row.cells.get(part) for part in PARTS]] for row in rows],
        "top_details": [_report_details.row_details(row) for row in result["top"]["rows"]],
        "findings": _report_sections.findings(result, rules),
        "left_out": [[rule, sum(counts[rule]) - number] for rule, number in sorted(listed.items()) if sum(counts[rule]) > number],
        "rules": list(_report_details.rule_outcomes(result).items()),
        "oom": [
            ["groups", result["oom"].get("groups", [])],
            ["reports", result["oom"].get("reports", [])],
            ["next_victims", _report_details.next_victims(result)],
        ],
        "oom_coverage": _report_details.oom_coverage(result),
        "oom_readable": "oom" not in result["unknown"],
        "pushers": _report_details.pushers(result),
        "tables": _report_details.small_tables(result),
        "subsystems": _report_details.subsystems(result),
        "units": [[unit, list(properties.items())] for unit, properties in sorted(result["units"].items())],
        "unknown": sorted(result["unknown"].items()),
    }


def _policy(scripts: t.Iterable[str]) -> str:
    """No network, no script but ours. Plotly sets styles from its script, and draws the file that its camera saves as a blob."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"


def _template(name: str) -> str:
    with open(os.path.join(_TEMPLATES, name), encoding="utf-8") as stream:
        return stream.read()


def _trusted(text: str) -> Markup:
    """Our own files and plotly's: not from a node."""
    return Markup(text)
