# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports from result files, on the controller only. The documentation stands in plugins/modules/memory_report.yml."""

from __future__ import annotations

import contextlib
import datetime
import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.memqos.fleet.plugins.plugin_utils._report_csv import CsvReport
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_html import NoPlotly, load_plotly, write_html
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_inventory import InventoryLine, InventoryReport
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_json import JsonReport
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_junit import JunitReport
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_markdown import write_markdown
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_prometheus import PrometheusReport
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import (
    MAX_DETAILED,
    Line,
    render_fleet,
    render_host,
    render_inventory,
    render_paths,
)
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import SEVERITIES, Fleet, Host, visible
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import (
    HOSTS_DIR,
    RUN_ID,
    Json,
    Outcome,
    ResultError,
    known_hosts,
    read_result,
    read_results,
    read_rules,
)
from ansible_collections.memqos.fleet.plugins.plugin_utils._selection import SelectionReport

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "directory": {"type": "path", "default": "build/report"},
    "hosts": {"type": "list", "elements": "str"},
    "this_run_only": {"type": "bool", "default": True},
    "formats": {
        "type": "list",
        "elements": "str",
        "choices": ["terminal", "json", "html", "markdown", "csv", "junit", "prometheus", "selection", "inventory"],
        "default": ["terminal", "json", "html"],
    },
    "groups": {"type": "dict", "default": {}},
    "fail_on": {"type": "str", "choices": ["critical", "warning", "info", "none"], "default": "none"},
    "fail_on_unreachable": {"type": "bool", "default": True},
    "top": {"type": "int", "default": 10},
    "html_hosts": {"type": "int", "default": 200},
    "markdown_hosts": {"type": "int", "default": 20},
}


class Writer(t.Protocol):
    """A report that takes one result at a time; its files take their places when the block ends."""

    def __enter__(self) -> t.Any:
        """Open them."""

    def __exit__(self, kind: t.Any, value: t.Any, trace: t.Any, /) -> bool | None:
        """Put them in place, or leave what was there."""

    def add(self, result: Json, host: Host) -> None:
        """Write what is said of one host."""

    def finish(self, fleet: Fleet) -> None:
        """Write what is said of all."""


class ActionModule(ActionBase):
    """memqos.fleet.memory_report. Reads the result files one by one: ten thousand do not fit into memory together."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        answer: dict[str, t.Any] = super().run(tmp, task_vars)
        unused, arguments = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        _require_sane(arguments)
        try:
            answer.update(make_reports(arguments, show=_show, width=Display().columns or 79))
        except (ResultError, NoPlotly) as exc:
            # The message is complete: chained, Ansible would print it three times.
            raise AnsibleActionFail(str(exc)) from None
        return answer


def _require_sane(arguments: t.Mapping[str, t.Any]) -> None:
    """What an argument spec cannot say. Raises AnsibleActionFail."""
    for name in ("top", "html_hosts", "markdown_hosts"):
        if arguments[name] < 1:
            raise AnsibleActionFail(f"{name} must be 1 or more, not {arguments[name]}")
    for group, hosts in arguments["groups"].items():
        if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
            raise AnsibleActionFail(f"groups must be a list of host names for each group, as in the variable `groups`; {group} is {hosts!r:.80}")


def make_reports(arguments: t.Mapping[str, t.Any], *, show: t.Callable[[t.Iterable[Line]], None], width: int) -> dict[str, t.Any]:
    """Write and show what was asked for → the task's result. Raises ResultError and NoPlotly; what could be written before stays."""
    directory: str = os.path.abspath(arguments["directory"])
    formats: list[str] = arguments["formats"]
    run_id = RUN_ID if arguments["this_run_only"] else ""
    hosts = known_hosts(directory) if arguments["hosts"] is None else arguments["hosts"]
    # In a run in which no host answered there may be nothing at all.
    fleet = Fleet(read_rules(directory) if os.path.isdir(os.path.join(directory, HOSTS_DIR)) else {}, top=arguments["top"])
    fleet.groups = arguments["groups"]
    generated_at = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    writers, paths = _writers(arguments, directory, fleet, generated_at=generated_at)
    details = _gather(fleet, writers, read_results(directory, dict.fromkeys(hosts), run_id))
    inventory = next((writer.by_group for writer in writers if isinstance(writer, InventoryReport)), [])
    if "terminal" in formats:
        _show_all(fleet, details, inventory, show=show, width=width)
    if "markdown" in formats:
        paths["markdown"] = os.path.join(directory, "report.md")
        shown = _worst_details(fleet, directory, details, limit=arguments["markdown_hosts"])
        write_markdown(paths["markdown"], fleet, shown, generated_at=generated_at, inventory=inventory)
    if "html" in formats:
        paths["html"] = os.path.join(directory, "report.html")
        shown = _worst_details(fleet, directory, details, limit=arguments["html_hosts"])
        write_html(paths["html"], fleet, shown, run_id=run_id, generated_at=generated_at, plotly=load_plotly())
    if "terminal" in formats:
        show(render_paths(paths))
    return _summary(fleet, paths, arguments)


def _writers(arguments: t.Mapping[str, t.Any], directory: str, fleet: Fleet, *, generated_at: str) -> tuple[list[Writer], dict[str, str]]:
    """Those that take results as they are read, and what they write: {format: path}."""
    made: dict[str, tuple[str, t.Callable[[str], Writer]]] = {
        "json": ("report.json", lambda path: JsonReport(path, generated_at=generated_at)),
        "junit": ("junit.xml", lambda path: JunitReport(path, rules=fleet.rules, generated_at=generated_at)),
        "prometheus": ("memqos.prom", lambda path: PrometheusReport(path, rules=fleet.rules, workloads=arguments["top"])),
        "selection": ("selection.yml", lambda path: SelectionReport(path, rules=fleet.rules, run_id=RUN_ID, generated_at=generated_at)),
        "inventory": ("inventory.csv", lambda path: InventoryReport(path, groups=arguments["groups"])),
    }
    paths = {name: os.path.join(directory, file) for name, (file, unused) in made.items() if name in arguments["formats"]}
    writers = [made[name][1](path) for name, path in paths.items()]
    if "csv" in arguments["formats"]:
        tables = CsvReport(directory, rules=fleet.rules)
        writers.append(tables)
        paths.update(tables.paths)
    return writers, paths


def _gather(fleet: Fleet, writers: t.Sequence[Writer], outcomes: t.Iterable[Outcome]) -> list[tuple[Json, Host]]:
    """Take every result into the fleet and the reports → the results themselves, as long as they are few enough to be shown in full."""
    details: list[tuple[Json, Host]] = []
    with contextlib.ExitStack() as stack:
        for writer in writers:
            stack.enter_context(writer)
        for outcome in outcomes:
            if outcome.result is None:
                if outcome.unreachable:
                    fleet.unreachable.append(outcome.host)
                else:
                    fleet.invalid[outcome.host] = outcome.problem
                continue
            line = fleet.add(outcome.result)
            for writer in writers:
                writer.add(outcome.result, line)
            if len(fleet.hosts) <= MAX_DETAILED:
                details.append((outcome.result, line))
        for writer in writers:
            writer.finish(fleet)
    return details if len(fleet.hosts) <= MAX_DETAILED else []


def _show_all(
    fleet: Fleet,
    details: t.Iterable[tuple[Json, Host]],
    inventory: t.Sequence[tuple[str, t.Sequence[InventoryLine]]],
    *,
    show: t.Callable[[t.Iterable[Line]], None],
    width: int,
) -> None:
    for result, host in details:
        show(render_host(result, fleet.rules, host, width=width))
    show(render_inventory(inventory, width=width))
    show(render_fleet(fleet, width=width))


def _worst_details(fleet: Fleet, directory: str, details: t.Sequence[tuple[Json, Host]], *, limit: int) -> t.Iterator[tuple[Json, Host]]:
    """The results of the worst hosts, one at a time; read again where they were too many to keep."""
    kept = {line.name: result for result, line in details}
    for line in fleet.worst(limit):
        yield kept.get(line.name) or read_result(directory, line.name), line


def _summary(fleet: Fleet, paths: dict[str, str], arguments: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    # A report changes no node, and what it holds was read before: the task is never `changed`.
    summary: dict[str, t.Any] = {
        "changed": False,
        "paths": paths,
        "hosts": len(fleet.hosts),
        "findings": {severity: fleet.count(severity) for severity in (*SEVERITIES, "unknown", "suppressed")},
        # Ansible keeps the plain word for itself: a result with `unreachable` is one of an unreachable host.
        "unreachable_hosts": fleet.unreachable,
        "invalid_hosts": fleet.invalid,
    }
    problems = [_missing(fleet)] if arguments["fail_on_unreachable"] else []
    problems.append(_standing(fleet, arguments["fail_on"]))
    if any(problems):
        summary["failed"] = True
        summary["msg"] = " ".join(filter(None, problems))
    return summary


def _missing(fleet: Fleet) -> str:
    """Who has no result, as a message; empty if everybody has."""
    missing = [*fleet.unreachable, *fleet.invalid]
    if not missing:
        return ""
    named = ", ".join(missing[:20]) + (f" and {len(missing) - 20} more" if len(missing) > 20 else "")
    hosts = "host has" if len(missing) == 1 else "hosts have"
    return f"{len(missing)} {hosts} no result of this run: {named}. The reports hold the other {len(fleet.hosts)}."


def _standing(fleet: Fleet, fail_on: str) -> str:
    """Findings of this severity and worse that nobody accepts, as a message; empty if there are none, or if nobody asked."""
    if fail_on == "none":
        return ""
    severities = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    counts = {severity: fleet.count(severity) for severity in severities if fleet.count(severity)}
    if not counts:
        return ""
    first = [(host, rule, subject) for severity, host, rule, subject in fleet.first if severity < len(severities)]
    named = "; ".join(f"{visible(host)}: {_named(fleet, rule)}{f' ({visible(subject)})' if subject else ''}" for host, rule, subject in first)
    left = sum(counts.values()) - len(first)
    told = ", ".join(f"{count} {severity}" for severity, count in counts.items())
    more = f"; and {left} more" if left > 0 else ""
    return f"fail_on is {fail_on}, and there are findings: {told}. {named}{more}. All are in the reports; what you accept belongs in memqos_suppressions."


def _named(fleet: Fleet, rule: str) -> str:
    return visible(f"{rule} {fleet.rules.get(rule, {}).get('title', '')}".rstrip())


def _show(lines: t.Iterable[Line]) -> None:
    display = Display()
    for line in lines:
        display.display(line.text, color=line.color)
