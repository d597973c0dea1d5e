# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of a listing of generations. Documentation: plugins/modules/memory_generations.yml."""

from __future__ import annotations

import re
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.memqos.fleet.plugins.module_utils import _tune_options
from ansible_collections.memqos.fleet.plugins.plugin_utils import _generations, _tune_result, _tuning
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import visible

_NAME = re.compile("origin|now|[1-9][0-9]{0,8}")


class ActionModule(ActionBase):
    """memqos.fleet.memory_generations: one remote call a host."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        unused, arguments = self.validate_argument_spec(argument_spec=_tune_options.GENERATIONS)
        host = str((task_vars or {}).get("inventory_hostname", "localhost"))
        compare = [name.strip() for name in arguments["compare"]]
        if len(compare) not in (0, 2) or not all(map(_NAME.fullmatch, compare)):
            said = visible(", ".join(compare))
            raise AnsibleActionFail(f"compare=[{said:.80}]: write two of origin, now and the numbers of generations, as [3, now]")
        answer = self._execute_module("memqos.fleet.memory_generations", module_args={"compare": compare}, task_vars=task_vars)
        text = answer.pop("generations", None)
        answer.pop("invocation", None)
        if text is None:
            return {**result, **answer, **({"msg": _tune_result.shown(str(answer["msg"]))} if "msg" in answer else {})}
        try:
            told = _generations.parse(str(text))
        except _tune_result.BadAnswer as exc:
            raise AnsibleActionFail(f"{host}: the node's answer is no list of generations ({exc}). Look at the node's Python and its journal.") from None
        answer["path"] = _tuning.failing(lambda: _generations.write(arguments["directory"], host, told))
        answer.update(changed=False, stands=told["stands"], generations=[one["generation"] for one in told["generations"]])
        _tuning.show(_generations.lines(told, host))
        return {**result, **answer}
