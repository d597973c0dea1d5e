# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of an audit: compile the rules, hand over the previous counters, write the result file, return a summary."""

from __future__ import annotations

import base64
import datetime
import json
import os
import typing as t
import zlib

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.plugin_utils import _oom_history, _results, _rule_compiler

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


class ActionModule(ActionBase):
    """memqos.fleet.memory_audit: one remote call a host."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        unused, arguments = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        host = str((task_vars or {}).get("inventory_hostname", "localhost"))
        rules = self._rules(arguments)
        module_arguments = {name: arguments[name] for name in _NODE_ARGUMENTS}
        module_arguments["request"] = request(rules, previous=_previous_counters(arguments["directory"], host))
        _start(arguments["directory"], rules)
        answer = self._execute_module("memqos.fleet.memory_audit", module_args=module_arguments, task_vars=task_vars)
        text = answer.pop("audit", None)
        answer.pop("invocation", None)
        result.update(answer)
        if text is not None:
            result.update(_keep(str(text), host=host, arguments=arguments, rules=rules))
        return result

    def _rules(self, arguments: dict[str, t.Any]) -> _rule_compiler.RuleSet:
        paths = [BUILT_IN_RULES, *(self._loader.path_dwim(path) for path in arguments["rules_paths"])]
        try:
            return _rule_compiler.load_rules(paths, thresholds=arguments["thresholds"], drop=arguments["rules_drop"])
        except _rule_compiler.RuleError as exc:
            raise AnsibleActionFail(str(exc)) from None


def request(rules: _rule_compiler.RuleSet, *, previous: dict[str, t.Any]) -> str:
    """What the node gets, for _module.unpack there. Ansible sends arguments as they are: rules and knobs shrink to a quarter."""
    wanted = _registry.wanted()
    content = {"rules": rules.compiled, "knobs": _registry.by_place(wanted.knobs), "vendor_files": wanted.vendor_files, "previous": previous}
    return base64.b64encode(zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 9)).decode()


def _start(directory: str, rules: _rule_compiler.RuleSet) -> None:
    try:
        _results.start_run(directory, rules.metadata)
    except _results.ResultError as exc:
        raise AnsibleActionFail(str(exc)) from None


def _previous_counters(directory: str, host: str) -> dict[str, t.Any]:
    """What the last result of this host says of its counters; nothing if there is none or it is damaged."""
    try:
        counters = _results.read_result(directory, host).get("counters")
    except _results.ResultError:
        return {}
    return counters if isinstance(counters, dict) else {}


def _keep(text: str, *, host: str, arguments: dict[str, t.Any], rules: _rule_compiler.RuleSet) -> dict[str, t.Any]:
    audit = json.loads(text)
    audit["oom"] = _oom_history.from_node(audit["oom"])
    audit.update(host=host, run_id=_results.RUN_ID, collected_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"))
    try:
        path = _results.write_result(arguments["directory"], host, json.dumps(audit, separators=(",", ":")))
    except _results.ResultError as exc:
        raise AnsibleActionFail(str(exc)) from None
    found = {"critical": 0, "warning": 0, "info": 0, "unknown": 0}
    for finding in audit["findings"]:
        found["unknown" if finding["status"] == "unknown" else rules.metadata[finding["rule"]]["severity"]] += 1
    return {"path": path, "findings": found, "memtotal_bytes": audit["breakdown"]["memtotal_bytes"]}
