#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fnmatch
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _diagnosis, _module, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.plugin_utils._shapes import Cgroup

KINDS = ["root", "slice", "service", "scope", "qos", "pod", "container", "lxc", "user", "cgroup"]


def select_cgroups(cgroups: t.Sequence[Cgroup], *, kinds: t.Collection[str] = (), path: str = "*", sort_by: str = "usage") -> list[dict[str, t.Any]]:
    """Rows of the cgroups of some kinds whose path matches a shell pattern, largest first."""
    chosen = [cgroup for cgroup in cgroups if (not kinds or cgroup.get("kind") in kinds) and fnmatch.fnmatchcase(cgroup["path"], path)]
    chosen.sort(key=lambda cgroup: (-(_diagnosis.part(cgroup, sort_by) or 0), cgroup["path"]))
    return [_diagnosis.row_of(cgroup) for cgroup in chosen]


def info(params: dict[str, t.Any]) -> dict[str, t.Any]:
    if params["limit"] < 0:
        raise _module.BadOption(f"limit={params['limit']}: write how many cgroups to return, or 0 for all.")
    node = _snapshot.of_options(params, wanted=_registry.wanted(), sections=("cgroups", "workloads"))
    _diagnosis.account(node)
    rows = select_cgroups(node["cgroups"], kinds=params["kinds"], path=params["path"], sort_by=params["sort_by"])
    cut = rows[: params["limit"]] if params["limit"] else rows
    return {"cgroups": cut, "total": len(rows), "hierarchy": node["facts"]["hierarchy"], "unknown": node["unknown"]}


def main() -> None:
    spec: dict[str, t.Any] = {
        "root": _module.ROOT,
        "window": {"type": "float", "default": 0.0},
        "kinds": {"type": "list", "elements": "str", "choices": KINDS, "default": []},
        "path": {"type": "str", "default": "*"},
        "sort_by": {"type": "str", "choices": list(_diagnosis.PARTS), "default": "working_set"},
        "limit": {"type": "int", "default": 20},
    }
    _module.run(spec, info, expected=(_snapshot.UnusableOption,))


if __name__ == "__main__":
    main()
