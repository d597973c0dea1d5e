#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _compiled

_compiled.Compiled().use()

from ansible_collections.memqos.fleet.plugins.module_utils import _confirm, _module, _tune, _tune_options, _undo
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Writer


def confirm(params: dict[str, t.Any]) -> dict[str, t.Any]:
    request = _module.unpack(params["request"] or "")
    work = _tune.Work(Tree("/"), Writer("/"), check=params["check_mode"])
    if request["do"] == "arm":
        return _confirm.arm(request, work)
    return _confirm.give_up(request, work) if request["do"] == "give up" else _confirm.confirm(request, work)


def main() -> None:
    _module.run({**_tune_options.CONFIRM, **_tune_options.REQUEST}, confirm, expected=_undo.FAILURES)


if __name__ == "__main__":
    main()
