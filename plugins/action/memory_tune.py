# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of a tune: profiles to layers, one remote call, result file, diff and summary. Documentation: plugins/modules/memory_tune.yml."""

from __future__ import annotations

import posixpath
import secrets
import shlex
import time
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.memqos.fleet.plugins.module_utils import _tune_options
from ansible_collections.memqos.fleet.plugins.plugin_utils import _node_slo, _profiles, _propose, _request, _selection, _tune_result, _tuning

_BOOT_ID = "proc/sys/kernel/random/boot_id"


class ActionModule(ActionBase):
    """memqos.fleet.memory_tune: one remote call a host.

    One command more where the profile is C(auto), one or two calls for C(confirm_within), one for each 10 s that the node shrinks cgroups.
    """

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        unused, arguments = self.validate_argument_spec(argument_spec=_tune_options.TUNE)
        host = str((task_vars or {}).get("inventory_hostname", "localhost"))
        slo = _tuning.failing(lambda: _node_slo.spread(arguments))
        arguments = slo.arguments
        _tuning.notes(host, slo.notes)
        _tuning.check_file_name(arguments["sysctl_file"])
        _tuning.check_seconds(arguments["confirm_within"], arguments["shrink_within"])
        keep = _tuning.keep(arguments)
        profile, selection = arguments["profile"], None
        if arguments["selection"]:
            chosen = _tuning.failing(lambda: _selection.read(arguments["selection"], host))
            if chosen is None or not chosen.profile.values:
                return {**result, **_tuning.skipped(host, _nothing(chosen, arguments["selection"]))}
            selection = chosen.profile
        elif profile is None:
            raise AnsibleActionFail("nothing to tune by: name a profile, a selection, or both")
        if profile == "auto":
            proposals = self._proposals(arguments, host)
            result["proposal"] = [{"profile": one.profile, "evidence": list(one.evidence)} for one in proposals]
            if not arguments["auto_apply"]:
                return {**result, "changed": False}
            profile = [one.profile for one in proposals]
        declared = _tuning.failing(lambda: _declared(profile, arguments, selection, slo.profile))
        layers = declared.layers if selection is None else _with_earlier(declared.layers, everything=profile is None)
        request = {"layers": layers, "options": _options(arguments), "wait": arguments["lock_wait"]}
        request["qos"] = _tuning.qos(arguments, layers, host)
        request.update(meta=_tuning.meta(profiles=list(declared.names)), keep=keep)
        sent = {"profile": ", ".join(declared.names), "root": arguments["root"]}
        if arguments["confirm_within"] and not self._task.check_mode:
            return {**result, **self._confirmed(sent, request, arguments, declared, task_vars)}
        answer = self._tuned(sent, request, arguments["shrink_within"], task_vars)
        why = _tune_result.reasons(declared.profiles) if self._task.diff else None
        return {**result, **_tuning.finish(answer, host=host, directory=arguments["directory"], verb="tuned", why=why)}

    def _tuned(self, sent: dict[str, t.Any], request: dict[str, t.Any], within: int, task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """One call, and more while the node shrinks."""

        def call(shrink: dict[str, t.Any]) -> dict[str, t.Any]:
            asked = {**sent, "request": _request.pack({**request, "shrink": shrink})}
            answer: dict[str, t.Any] = self._execute_module("memqos.fleet.memory_tune", module_args=asked, task_vars=task_vars)
            return answer

        return _tuning.while_shrinking(call, within=within, host=str((task_vars or {}).get("inventory_hostname", "localhost")))

    def _confirmed(
        self,
        sent: dict[str, t.Any],
        request: dict[str, t.Any],
        arguments: dict[str, t.Any],
        declared: _profiles.Declaration,
        task_vars: dict[str, t.Any] | None,
    ) -> dict[str, t.Any]:
        """Armed before; whoever is cut off from here on is taken back. A tune that made no generation is disarmed at once."""
        host, within = str((task_vars or {}).get("inventory_hostname", "localhost")), arguments["confirm_within"]
        token = request["meta"]["confirm"] = secrets.token_hex(8)

        def call(**asked: t.Any) -> dict[str, t.Any]:
            packed = _request.pack({"token": token, "wait": arguments["lock_wait"], **asked})
            answer: dict[str, t.Any] = self._execute_module("memqos.fleet.memory_confirm", module_args={"request": packed}, task_vars=task_vars)
            return answer

        armed = call(do="arm", within=within, allow=arguments["allow_risks"], started=request["meta"]["started"])
        end = time.monotonic() + within
        if armed.get("failed") or not isinstance(armed.get("until"), float):
            return {"failed": True, "changed": False, "msg": _tune_result.shown(str(armed.get("msg", "nothing was armed")))}
        request["until"] = armed["until"]
        answer = self._tuned(sent, request, arguments["shrink_within"], task_vars)
        why = _tune_result.reasons(declared.profiles) if self._task.diff else None
        result = _tuning.finish(answer, host=host, directory=arguments["directory"], verb="tuned", why=why)
        if result.get("generation"):
            _tuning.awaiting(host, result["generation"], end)
        else:
            call(do="give up")
        return result

    def _proposals(self, arguments: dict[str, t.Any], host: str) -> list[_propose.Proposal]:
        """By the last audit, which says how old it is."""
        audit = _tuning.failing(lambda: _propose.last_audit(arguments["directory"], host))
        proposals = _tuning.failing(lambda: _propose.propose(audit, arguments["profiles_paths"]))
        answer = self._low_level_execute_command(f"cat {shlex.quote(posixpath.join(arguments['root'], _BOOT_ID))}")
        age = _propose.age(audit, boot_id=str(answer.get("stdout", "")).strip() if not answer.get("rc") else "", now=_tuning.now())
        _tuning.show(_propose.lines(host, proposals, age=age, applied=arguments["auto_apply"]))
        return proposals


def _declared(profile: t.Any, arguments: dict[str, t.Any], selection: _profiles.Profile | None, of_slo: dict[str, t.Any] | None) -> _profiles.Declaration:
    overrides = {name: arguments[name] for name in ("host", "slices", "swap", "qos")}
    names = [] if profile is None else profile
    if of_slo:
        names = [*(names if isinstance(names, list) else [names]), of_slo]
    return _profiles.load_profiles(names, search_paths=arguments["profiles_paths"], overrides=overrides, selection=selection)


def _with_earlier(layers: list[dict[str, t.Any]], *, everything: bool) -> list[dict[str, t.Any]]:
    """A selection adds to what stands: the node puts there the selections of its last generation, or (C(everything): no profile is named) all its layers."""
    at = next(number for number, layer in enumerate(layers) if layer["profile"] == _profiles.SELECTION)
    return [*layers[:at], {"earlier": "" if everything else _profiles.SELECTION}, *layers[at:]]


def _nothing(chosen: _selection.Chosen | None, path: str) -> str:
    if chosen is None:
        return f"{path} does not name this host"
    return f"{path} has nothing to set for this host" + _by_hand(chosen.by_hand)


def _by_hand(count: int) -> str:
    return f"; {count} finding{' is' if count == 1 else 's are'} left to people (by_hand)" if count else ""


def _options(arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    """_plan_rows.Options."""
    return {
        "on_conflict": arguments["on_conflict"],
        "fail_on_unsupported": arguments["on_unsupported"] == "fail",
        "only": arguments["only"],
        "allow": arguments["allow_risks"],
        "sysctl_file": arguments["sysctl_file"],
        "swap": arguments["manage_swap"],
    }
