# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of a tune: profiles to layers, one remote call, result file, diff and summary. Documentation: plugins/modules/memory_tune.yml."""

from __future__ import annotations

import posixpath
import shlex
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.memqos.fleet.plugins.module_utils import _tune_options
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _propose, _request, _tune_result, _tuning

_BOOT_ID = "proc/sys/kernel/random/boot_id"


class ActionModule(ActionBase):
    """memqos.fleet.memory_tune: one remote call a host, and one command more where the profile is C(auto)."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        unused, arguments = self.validate_argument_spec(argument_spec=_tune_options.TUNE)
        host = str((task_vars or {}).get("inventory_hostname", "localhost"))
        _tuning.check_file_name(arguments["sysctl_file"])
        profile = arguments["profile"]
        if profile == "auto":
            proposals = self._proposals(arguments, host)
            result["proposal"] = [{"profile": one.profile, "evidence": list(one.evidence)} for one in proposals]
            if not arguments["auto_apply"]:
                return {**result, "changed": False}
            profile = [one.profile for one in proposals]
        declared = _tuning.failing(lambda: _declared(profile, arguments))
        request = {"layers": declared.layers, "options": _options(arguments), "wait": arguments["lock_wait"]}
        request["meta"] = _tuning.meta(profiles=list(declared.names))
        sent = {"profile": ", ".join(declared.names), "root": arguments["root"], "request": _request.pack(request)}
        answer = self._execute_module("memqos.fleet.memory_tune", module_args=sent, task_vars=task_vars)
        why = _tune_result.reasons(declared.profiles) if self._task.diff else None
        return {**result, **_tuning.finish(answer, host=host, directory=arguments["directory"], verb="tuned", why=why)}

    def _proposals(self, arguments: dict[str, t.Any], host: str) -> list[_propose.Proposal]:
        """By the last audit, which says how old it is."""
        audit = _tuning.failing(lambda: _propose.last_audit(arguments["directory"], host))
        proposals = _tuning.failing(lambda: _propose.propose(audit, arguments["profiles_paths"]))
        answer = self._low_level_execute_command(f"cat {shlex.quote(posixpath.join(arguments['root'], _BOOT_ID))}")
        age = _propose.age(audit, boot_id=str(answer.get("stdout", "")).strip() if not answer.get("rc") else "", now=_tuning.now())
        _tuning.show(_propose.lines(host, proposals, age=age, applied=arguments["auto_apply"]))
        return proposals


def _declared(profile: t.Any, arguments: dict[str, t.Any]) -> _profiles.Declaration:
    overrides = {"host": arguments["host"], "slices": arguments["slices"]}
    return _profiles.load_profiles(profile, search_paths=arguments["profiles_paths"], overrides=overrides)


def _options(arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    """_plan_rows.Options."""
    return {
        "on_conflict": arguments["on_conflict"],
        "fail_on_unsupported": arguments["on_unsupported"] == "fail",
        "only": arguments["only"],
        "allow": arguments["allow_risks"],
        "sysctl_file": arguments["sysctl_file"],
    }
