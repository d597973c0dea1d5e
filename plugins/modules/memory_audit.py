#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _module

_module.compile_once()

from ansible_collections.memqos.fleet.plugins.module_utils import _accounts, _diagnosis, _rules, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _values


def audit(params: dict[str, t.Any]) -> dict[str, t.Any]:
    request = {key: value for part in params["request"] or [""] for key, value in _module.unpack(part).items()}
    wanted = _values.Wanted(_values.unfold(request["knobs"]), request["vendor_files"], request["files"])
    node = _snapshot.of_options(params, wanted=wanted)
    return {"audit": _module.to_json(_diagnosis.diagnose(node, rules=request["rules"], previous=request["previous"], top=params["top"]))}


def main() -> None:
    spec: dict[str, t.Any] = {
        "root": _module.ROOT,
        "window": _module.WINDOW,
        "top": {"type": "int", "default": 20},
        "directory": {"type": "path", "default": "build/report"},
        "rules_paths": {"type": "list", "elements": "path", "default": []},
        "suppressions": {"type": "raw", "default": []},
        "rules_drop": {"type": "list", "elements": "str", "default": []},
        "thresholds": {"type": "dict", "default": {}},
        # keeps it out of the syslog
        "request": {"type": "list", "elements": "str", "no_log": True},
    }
    _module.run(spec, audit, expected=(_snapshot.UnusableOption, _accounts.NoTotal, _rules.RuleFormatError))


if __name__ == "__main__":
    main()
