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

from ansible_collections.memqos.fleet.plugins.plugin_utils._report_html import NoPlotly, load_plotly, write_html
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_json import JsonReport
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import MAX_DETAILED, Line, render_fleet, render_host, render_paths
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import SEVERITIES, Fleet, Host
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import (
    HOSTS_DIR,
    RUN_ID,
    Json,
    ResultError,
    known_hosts,
    read_result,
    read_results,
    read_rules,
)

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "directory": {"type": "path", "default": "build/report"},
    "hosts": {"type": "list", "elements": "str"},
    "this_run_only": {"type": "bool", "default": True},
    "formats": {"type": "list", "elements": "str", "choices": ["terminal", "json", "html"], "default": ["terminal", "json", "html"]},
    "fail_on_unreachable": {"type": "bool", "default": True},
    "top": {"type": "int", "default": 10},
    "html_hosts": {"type": "int", "default": 200},
}


class ActionModule(ActionBase):
    """memqos.fleet.memory_report. Reads the result files one by one: ten thousand do not fit into memory together."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        answer: dict[str, t.Any] = super().run(tmp, task_vars)
        unused, arguments = self.validate_argument_spec(argument_spec=ARGUMENT_SPEC)
        for name in ("top", "html_hosts"):
            if arguments[name] < 1:
                raise AnsibleActionFail(f"{name} must be 1 or more, not {arguments[name]}")
        try:
            answer.update(make_reports(arguments, show=_show, width=Display().columns or 79))
        except (ResultError, NoPlotly) as exc:
            # The message is complete: chained, Ansible would print it three times.
            raise AnsibleActionFail(str(exc)) from None
        return answer


def make_reports(arguments: t.Mapping[str, t.Any], *, show: t.Callable[[t.Iterable[Line]], None], width: int) -> dict[str, t.Any]:
    """Write and show what was asked for → the task's result. Raises ResultError and NoPlotly; what could be written before stays."""
    directory: str = os.path.abspath(arguments["directory"])
    run_id = RUN_ID if arguments["this_run_only"] else ""
    hosts = known_hosts(directory) if arguments["hosts"] is None else arguments["hosts"]
    # In a run in which no host answered there may be nothing at all.
    fleet = Fleet(read_rules(directory) if os.path.isdir(os.path.join(directory, HOSTS_DIR)) else {}, top=arguments["top"])
    generated_at = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    paths: dict[str, str] = {}
    json_path = os.path.join(directory, "report.json") if "json" in arguments["formats"] else None
    details = _gather(fleet, directory, hosts, run_id=run_id, json_path=json_path, generated_at=generated_at)
    if json_path:
        paths["json"] = json_path
    if "terminal" in arguments["formats"]:
        for result, host in details:
            show(render_host(result, fleet.rules, host, width=width))
        show(render_fleet(fleet, width=width))
    if "html" in arguments["formats"]:
        paths["html"] = os.path.join(directory, "report.html")
        shown = _worst_details(fleet, directory, details, limit=arguments["html_hosts"])
        write_html(paths["html"], fleet, shown, run_id=run_id, generated_at=generated_at, plotly=load_plotly())
    if "terminal" in arguments["formats"]:
        show(render_paths(paths))
    return _summary(fleet, paths, fail_on_unreachable=arguments["fail_on_unreachable"])


def _gather(fleet: Fleet, directory: str, hosts: t.Iterable[str], *, run_id: str, json_path: str | None, generated_at: str) -> list[tuple[Json, Host]]:
    """Take every result into the fleet and report.json → the results themselves, as long as they are few enough to be shown in full."""
    details: list[tuple[Json, Host]] = []
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(JsonReport(json_path, generated_at=generated_at)) if json_path else None
        for outcome in read_results(directory, dict.fromkeys(hosts), run_id):
            if outcome.result is None:
                if outcome.unreachable:
                    fleet.unreachable.append(outcome.host)
                else:
                    fleet.invalid[outcome.host] = outcome.problem
                continue
            line = fleet.add(outcome.result)
            if report:
                report.add(outcome.result)
            if len(fleet.hosts) <= MAX_DETAILED:
                details.append((outcome.result, line))
        if report:
            report.finish(rules=fleet.rules, unreachable=fleet.unreachable, invalid=fleet.invalid)
    return details if len(fleet.hosts) <= MAX_DETAILED else []


def _worst_details(fleet: Fleet, directory: str, details: t.Sequence[tuple[Json, Host]], *, limit: int) -> t.Iterator[tuple[Json, Host]]:
    """The results of the worst hosts, one at a time; read again where they were too many to keep."""
    kept = {line.name: result for result, line in details}
    for line in fleet.worst(limit):
        yield kept.get(line.name) or read_result(directory, line.name), line


def _summary(fleet: Fleet, paths: dict[str, str], *, fail_on_unreachable: bool) -> dict[str, t.Any]:
    # A report changes no node, and what it holds was read before: the task is never `changed`.
    summary: dict[str, t.Any] = {
        "changed": False,
        "paths": paths,
        "hosts": len(fleet.hosts),
        "findings": {severity: fleet.count(severity) for severity in (*SEVERITIES, "unknown")},
        # Ansible keeps the plain word for itself: a result with `unreachable` is one of an unreachable host.
        "unreachable_hosts": fleet.unreachable,
        "invalid_hosts": fleet.invalid,
    }
    missing = [*fleet.unreachable, *fleet.invalid]
    if missing and fail_on_unreachable:
        named = ", ".join(missing[:20]) + (f" and {len(missing) - 20} more" if len(missing) > 20 else "")
        hosts = "host has" if len(missing) == 1 else "hosts have"
        summary["failed"] = True
        summary["msg"] = f"{len(missing)} {hosts} no result of this run: {named}. The reports hold the other {len(fleet.hosts)}."
    return summary


def _show(lines: t.Iterable[Line]) -> None:
    display = Display()
    for line in lines:
        display.display(line.text, color=line.color)
