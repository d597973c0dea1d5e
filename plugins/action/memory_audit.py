# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of an audit: compile the rules, hand over the previous counters, write the result file, return a summary."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import time
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.plugin_utils import (
    _gathered,
    _oom_history,
    _overcommit,
    _request,
    _results,
    _rule_compiler,
    _settings,
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
}
# What the node needs; the rest is the controller's.
_NODE_ARGUMENTS = ("root", "window", "top")


class Prepared(t.NamedTuple):
    """What all hosts with the same rules share: the rules, and the request that their nodes get."""

    rules: _rule_compiler.RuleSet
    request: str


def prepare(paths: t.Sequence[str], *, thresholds: t.Mapping[str, t.Any], drop: t.Collection[str]) -> Prepared:
    """Compiles the built-in rules and those of C(paths). Raises RuleError."""
    rules = _rule_compiler.load_rules([*map(os.path.abspath, paths)], thresholds=thresholds, drop=drop, known=_KNOWN)
    wanted = _registry.wanted()
    asked = {"knobs": _registry.by_place(wanted.knobs), "vendor_files": wanted.vendor_files, "files": _gathered.WANTED}
    return Prepared(rules, _request.pack({"rules": rules.compiled, **asked}))


# Strategies load an action plugin before they fork a worker for each host: what is made here is made once, and inherited.
_KNOWN = _rule_compiler.read_rules([BUILT_IN_RULES])
_BUILT_IN = prepare([], thresholds={}, drop=[])


class ActionModule(ActionBase):
    """memqos.fleet.memory_audit: one remote call a host."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        unused, arguments = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        host = str((task_vars or {}).get("inventory_hostname", "localhost"))
        rules, request = _prepared(arguments)
        directory = arguments["directory"]
        with _failing():
            _results.start_run(directory, rules.metadata)
        module_arguments = {name: arguments[name] for name in _NODE_ARGUMENTS}
        module_arguments["request"] = [request, _request.pack({"previous": _results.previous_counters(directory, host)})]
        answer = self._execute_module("memqos.fleet.memory_audit", module_args=module_arguments, task_vars=task_vars)
        text = answer.pop("audit", None)
        answer.pop("invocation", None)
        result.update(answer)
        with _failing():
            if text is not None:
                result.update(_keep(str(text), host=host, directory=directory, rules=rules))
            elif answer.get("failed"):
                _results.write_failure(directory, host, str(answer.get("msg", "the module failed")))
        return result


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


def _keep(text: str, *, host: str, directory: str, rules: _rule_compiler.RuleSet) -> dict[str, t.Any]:
    try:
        audit, found = _understand(text, rules)
        _overcommit.from_node(audit, directory=directory, host=host, now=time.time())
        _settings.from_node(audit, directory=directory, host=host)
        counters = audit.pop("counters")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        # A node is not to be trusted with the controller's time: whatever it sends ends here.
        problem = f"{type(exc).__name__}: {str(exc):.100}"
        message = f"the node's answer is not the result of an audit ({problem}). Run it again; if it stays so, look at the node's Python."
        _results.write_failure(directory, host, message)
        raise AnsibleActionFail(f"{host}: {message}") from None
    audit.update(host=host, run_id=_results.RUN_ID, collected_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"))
    path = _results.write_result(directory, host, json.dumps(audit, separators=(",", ":")))
    _results.write_counters(directory, host, counters)
    return {"path": path, "findings": found, "memtotal_bytes": audit["breakdown"]["memtotal_bytes"]}


def _understand(text: str, rules: _rule_compiler.RuleSet) -> tuple[dict[str, t.Any], dict[str, int]]:
    """The audit with its OOM history, and how many findings it has of each severity. Raises what a wrong shape raises."""
    if len(text) > _results.MAX_RESULT_BYTES:
        raise ValueError(f"{len(text)} bytes")
    audit = json.loads(text)
    audit["oom"] = _oom_history.from_node(audit["oom"])
    audit["units"] = _unit_drop_ins.from_node(audit["units"])
    found = {"critical": 0, "warning": 0, "info": 0, "unknown": 0}
    for finding in audit["findings"]:
        found["unknown" if finding["status"] == "unknown" else rules.metadata[finding["rule"]]["severity"]] += 1
    return audit, found
