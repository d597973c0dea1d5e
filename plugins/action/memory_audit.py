# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of an audit: compile the rules, hand over the previous counters, write the result file, return a summary."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.memqos.fleet.plugins.module_utils import _rules
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.plugin_utils import (
    _changes,
    _controller_rules,
    _gathered,
    _oom_history,
    _overcommit,
    _request,
    _results,
    _rule_compiler,
    _settings,
    _suppressions,
    _unit_drop_ins,
)

BUILT_IN_RULES = os.path.join(os.path.dirname(__file__), "..", "..", "roles", "audit", "vars", "rules")
_ARGUMENTS = {
    "root": {"type": "path", "default": "/"},
    "window": {"type": "float", "default": 1.0},
    "top": {"type": "int", "default": 20},
    "directory": {"type": "path", "default": "build/report"},
    "rules_paths": {"type": "list", "elements": "path", "default": []},
    "rules_drop": {"type": "list", "elements": "str", "default": []},
    "thresholds": {"type": "dict", "default": {}},
    "suppressions": {"type": "raw", "default": []},
}
# What the node needs; the rest is the controller's.
_NODE_ARGUMENTS = ("root", "window", "top")


class Prepared(t.NamedTuple):
    """What all hosts with the same rules share: the rules, the request that their nodes get, those that the controller judges, and by which a later audit
    knows that a rule is another one."""

    rules: _rule_compiler.RuleSet
    request: str
    judged_here: list[_rules.Prepared]
    digests: dict[str, str]


def prepare(paths: t.Sequence[str], *, thresholds: t.Mapping[str, t.Any], drop: t.Collection[str]) -> Prepared:
    """Compiles the built-in rules and those of C(paths). Raises RuleError."""
    rules = _rule_compiler.load_rules([*map(os.path.abspath, paths)], thresholds=thresholds, drop=drop, known=_KNOWN)
    wanted = _registry.wanted()
    asked = {"knobs": _registry.by_place(wanted.knobs), "vendor_files": wanted.vendor_files, "files": _gathered.WANTED}
    request = _request.pack({"rules": rules.compiled, **asked})
    return Prepared(rules, request, _rules.prepare(rules.on_controller), _changes.digests([*rules.compiled, *rules.on_controller]))


# Strategies load an action plugin before they fork a worker for each host: what is made here is made once, and inherited.
_KNOWN = _rule_compiler.read_rules([BUILT_IN_RULES])
_BUILT_IN = prepare([], thresholds={}, drop=[])
_gathered.compile_patterns()


class ActionModule(ActionBase):
    """memqos.fleet.memory_audit: one remote call a host."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        unused, arguments = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        host = str((task_vars or {}).get("inventory_hostname", "localhost"))
        prepared = _prepared(arguments)
        accepted = _accepted(arguments["suppressions"])
        directory = arguments["directory"]
        with _failing():
            _results.start_run(directory, prepared.rules.metadata)
        previous = _results.previous(directory, host)
        module_arguments = {name: arguments[name] for name in _NODE_ARGUMENTS}
        failed = _changes.failed(previous.findings, prepared.digests)
        module_arguments["request"] = [prepared.request, _request.pack({"previous": _asked(previous, failed)})]
        answer = self._execute_module("memqos.fleet.memory_audit", module_args=module_arguments, task_vars=task_vars)
        text = answer.pop("audit", None)
        answer.pop("invocation", None)
        result.update(answer)
        with _failing():
            if text is not None:
                result.update(_keep(str(text), Host(host, directory, prepared, accepted, previous.findings, failed)))
            elif answer.get("failed"):
                _results.write_failure(directory, host, str(answer.get("msg", "the module failed")))
        return result


class Host(t.NamedTuple):
    """Of one host, what its answer is read with. C(last): what its last audit found, C(failed): the subjects of each rule that failed."""

    name: str
    directory: str
    prepared: Prepared
    accepted: list[_suppressions.Suppression]
    last: dict[str, t.Any]
    failed: dict[str, list[str]]


def _asked(previous: _results.Previous, failed: dict[str, list[str]]) -> dict[str, t.Any]:
    """What the node compares with, and of what it is to tell the figures though it passes."""
    return {**previous.counters, "failed": failed} if failed else previous.counters


def _accepted(entries: t.Any) -> list[_suppressions.Suppression]:
    try:
        return _suppressions.read(entries)
    except _suppressions.SuppressionError as exc:
        raise AnsibleActionFail(str(exc)) from None


def _prepared(arguments: dict[str, t.Any]) -> Prepared:
    paths, thresholds, drop = arguments["rules_paths"], arguments["thresholds"], arguments["rules_drop"]
    if not (paths or thresholds or drop):
        return _BUILT_IN
    try:
        return prepare(paths, thresholds=thresholds, drop=drop)
    except _rule_compiler.RuleError as exc:
        raise AnsibleActionFail(str(exc)) from None


@contextlib.contextmanager
def _failing() -> t.Iterator[None]:
    """A result file that cannot be written fails the task, with a message that is complete: chained, Ansible would print it three times."""
    try:
        yield
    except _results.ResultError as exc:
        raise AnsibleActionFail(str(exc)) from None


def _keep(text: str, host: Host) -> dict[str, t.Any]:
    now = datetime.datetime.now(datetime.timezone.utc)
    try:
        audit = _understand(text)
        tree = _gathered.tree(audit)
        _overcommit.from_node(audit, tree, directory=host.directory, host=host.name, now=now.timestamp())
        ours = _settings.from_node(audit, tree, directory=host.directory, host=host.name)
        _controller_rules.judge(audit, host.prepared.judged_here, failed=host.failed, our_files=ours)
        counters = audit.pop("counters")
        audit.update(host=host.name, run_id=_results.RUN_ID, collected_at=now.isoformat(timespec="seconds"))
        _suppressions.apply(audit, host.accepted, host=host.name, today=now.date())
        audit["changes"] = _changes.compare(host.last, audit, host.prepared.digests)
        remembered = _changes.remember(audit, host.prepared.digests)
        found = _found(audit, host.prepared.rules)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        # A node is not to be trusted with the controller's time: whatever it sends ends here.
        problem = f"{type(exc).__name__}: {str(exc):.100}"
        message = f"the node's answer is not the result of an audit ({problem}). Run it again; if it stays so, look at the node's Python."
        _results.write_failure(host.directory, host.name, message)
        raise AnsibleActionFail(f"{host.name}: {message}") from None
    path = _results.write_result(host.directory, host.name, json.dumps(audit, separators=(",", ":")))
    _results.write_counters(host.directory, host.name, counters, remembered)
    return {"path": path, "findings": found, "memtotal_bytes": audit["breakdown"]["memtotal_bytes"]}


def _understand(text: str) -> dict[str, t.Any]:
    """The audit with its OOM history. Raises what a wrong shape raises."""
    if len(text) > _results.MAX_RESULT_BYTES:
        raise ValueError(f"{len(text)} bytes")
    audit: dict[str, t.Any] = json.loads(text)
    # A result with this is one of a failed audit, which the controller says.
    audit.pop("failed", None)
    audit["oom"] = _oom_history.from_node(audit["oom"])
    audit["units"] = _unit_drop_ins.from_node(audit["units"])
    return audit


def _found(audit: dict[str, t.Any], rules: _rule_compiler.RuleSet) -> dict[str, int]:
    """How many findings there are of each severity. What is accepted, and what is unknown, counts as that only."""
    found = {"critical": 0, "warning": 0, "info": 0, "unknown": 0, "suppressed": 0}
    for finding in audit["findings"]:
        severity = rules.metadata[finding["rule"]]["severity"]
        found["suppressed" if "suppressed" in finding else "unknown" if finding["status"] == "unknown" else severity] += 1
    return found
