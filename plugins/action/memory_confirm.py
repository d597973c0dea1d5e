# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of a confirmation. Documentation: plugins/modules/memory_confirm.yml."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.memqos.fleet.plugins.module_utils import _tune_options
from ansible_collections.memqos.fleet.plugins.plugin_utils import _request, _tuning


class ActionModule(ActionBase):
    """memqos.fleet.memory_confirm: one remote call a host."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        unused, arguments = self.validate_argument_spec(argument_spec=_tune_options.CONFIRM)
        host = str((task_vars or {}).get("inventory_hostname", "localhost"))
        sent: dict[str, t.Any] = {"request": _request.pack({"do": "confirm", "wait": arguments["lock_wait"]})}
        answer = self._execute_module("memqos.fleet.memory_confirm", module_args=sent, task_vars=task_vars)
        return {**result, **_tuning.confirmed(answer, host)}
