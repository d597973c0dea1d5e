# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of a rollback. Documentation: plugins/modules/memory_rollback.yml."""

from __future__ import annotations

import re
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.memqos.fleet.plugins.module_utils import _tune_options
from ansible_collections.memqos.fleet.plugins.plugin_utils import _request, _tune_result, _tuning
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import visible

_TO = re.compile("previous|origin|[0-9]{1,9}")


class ActionModule(ActionBase):
    """memqos.fleet.memory_rollback: one remote call a host."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        unused, arguments = self.validate_argument_spec(argument_spec=_tune_options.ROLLBACK)
        host = str((task_vars or {}).get("inventory_hostname", "localhost"))
        to = arguments["to"]
        if not _TO.fullmatch(to):
            raise AnsibleActionFail(f"to={visible(to):.80}: write previous, origin, or the number of a generation")
        request = {"to": to, "force": arguments["force"], "allow": arguments["allow_risks"], "wait": arguments["lock_wait"]}
        request.update(meta=_tuning.meta(profiles=[]), keep=_tuning.keep(arguments))
        _tuning.check_seconds(0, arguments["shrink_within"])

        def call(shrink: dict[str, t.Any]) -> dict[str, t.Any]:
            packed = _request.pack({**request, "shrink": shrink})
            answer: dict[str, t.Any] = self._execute_module("memqos.fleet.memory_rollback", module_args={"request": packed}, task_vars=task_vars)
            return answer

        answer = _tuning.while_shrinking(call, within=arguments["shrink_within"], host=host)
        why = _tune_result.reasons([]) if self._task.diff else None
        return {**result, **_tuning.finish(answer, host=host, directory=arguments["directory"], verb="rolled back", why=why)}
