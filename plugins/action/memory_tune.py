# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of a tune: profiles to layers, one remote call, result file, diff and summary. Documentation: plugins/modules/memory_tune.py."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _texts
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _propose, _request, _results, _tune_result, _tuning

_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "profile": {"type": "raw", "required": True},
    "profiles_paths": {"type": "list", "elements": "path", "default": []},
    "host": {"type": "dict", "default": {}},
    "slices": {"type": "dict", "default": {}},
    "only": {"type": "list", "elements": "str", "choices": list(_texts.AREAS), "default": []},
    "on_conflict": {"type": "str", "choices": ["report", "defer", "refuse", "take"], "default": "report"},
    "on_unsupported": {"type": "str", "choices": ["report", "fail"], "default": "report"},
    "allow_risks": {"type": "list", "elements": "str", "default": []},
    "sysctl_file": {"type": "str", "default": "zz-memqos.conf"},
    "lock_wait": {"type": "int", "default": 60},
    "auto_apply": {"type": "bool", "default": False},
    "directory": {"type": "path", "default": "build/report"},
    "root": {"type": "path", "default": "/"},
}


class ActionModule(ActionBase):
    """memqos.fleet.memory_tune: one remote call a host."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        unused, arguments = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        host = str((task_vars or {}).get("inventory_hostname", "localhost"))
        _tuning.check_file_name(arguments["sysctl_file"])
        profile = arguments["profile"]
        if profile == "auto":
            proposal = _tuning.failing(lambda: _propose.propose(_results.read_result(arguments["directory"], host), arguments["profiles_paths"]))
            result["proposal"] = [{"profile": one.profile, "evidence": list(one.evidence)} for one in proposal]
            _tuning.show(_propose.lines(host, proposal, applied=arguments["auto_apply"]))
            if not arguments["auto_apply"]:
                return {**result, "changed": False}
            profile = [one.profile for one in proposal]
        declared = _declared(profile, arguments)
        request = {"layers": declared.layers, "options": _options(arguments), "wait": arguments["lock_wait"]}
        request["meta"] = _tuning.meta(profiles=list(declared.names))
        sent = {"profile": ", ".join(declared.names), "root": arguments["root"], "request": _request.pack(request)}
        answer = self._execute_module("memqos.fleet.memory_tune", module_args=sent, task_vars=task_vars)
        verb = "would be tuned" if self._task.check_mode else "tuned"
        why = _tune_result.reasons(declared.profiles)
        return {**result, **_tuning.finish(answer, host=host, directory=arguments["directory"], verb=verb, why=why if self._task.diff else None)}


def _declared(profile: t.Any, arguments: dict[str, t.Any]) -> _profiles.Declaration:
    overrides = {"host": arguments["host"], "slices": arguments["slices"]}
    try:
        return _profiles.load_profiles(profile, search_paths=arguments["profiles_paths"], overrides=overrides)
    except _profiles.ProfileError as exc:
        # The message is complete: chained, Ansible would print it three times.
        raise AnsibleActionFail(str(exc)) from None


def _options(arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    """_plan_rows.Options."""
    return {
        "on_conflict": arguments["on_conflict"],
        "fail_on_unsupported": arguments["on_unsupported"] == "fail",
        "only": arguments["only"],
        "allow": arguments["allow_risks"],
        "sysctl_file": arguments["sysctl_file"],
    }
