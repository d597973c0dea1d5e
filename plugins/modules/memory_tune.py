#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gc
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _compiled

COMPILED = _compiled.Compiled()
COMPILED.use()

from ansible_collections.memqos.fleet.plugins.module_utils import _module, _tune, _tune_options, _undo
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Writer


def tune(params: dict[str, t.Any]) -> dict[str, t.Any]:
    work = _tune.Work(Tree(params["root"]), Writer(params["root"]), check=params["check_mode"])
    result = _tune.tune(_module.unpack(params["request"] or ""), work)
    if not work.check:
        COMPILED.save(first=result["changed"])
    return _tune.answer(result)


def main() -> None:
    gc.disable()  # makes as good as no cycles, and it ends soon: a tenth of the time of many containers
    spec = {**_tune_options.TUNE, **_tune_options.REQUEST}
    _module.run(spec, tune, expected=_undo.FAILURES)


if __name__ == "__main__":
    main()
