#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cgroup_memory_info
short_description: List the memory of a node's cgroups
version_added: 0.1.0
description:
  - Returns the memory of slices, services, pods and containers, by part, with limits, protection and events; filtered, sorted, and cut to the first ones.
  - The same names on cgroup v1, hybrid and v2 (those of cgroup v2). A part that the kernel does not tell is absent, never zero.
author:
  - memqos.fleet contributors (@memqos)
extends_documentation_fragment:
  - memqos.fleet._attributes
  - memqos.fleet._attributes.info
  - memqos.fleet._options.root
options:
  window:
    description: Seconds between two readings, for C(growth) and C(refaults). V(0) takes no second reading.
    type: float
    default: 0.0
  kinds:
    description: Only cgroups of these kinds; all if empty.
    type: list
    elements: str
    choices: [root, slice, service, scope, qos, pod, container, lxc, user, cgroup]
    default: []
  path:
    description: Only cgroups whose path matches this shell pattern.
    type: str
    default: '*'
  sort_by:
    description: The part to sort by, largest first.
    type: str
    default: working_set
    choices:
      - usage
      - working_set
      - working_set_sysom
      - hard_set
      - anon
      - file
      - active_anon
      - inactive_anon
      - active_file
      - inactive_file
      - file_dirty
      - file_writeback
      - file_mapped
      - shmem
      - slab_reclaimable
      - slab_unreclaimable
      - kernel
      - kernel_stack
      - pagetables
      - percpu
      - vmalloc
      - sock
      - kernel_other
      - unevictable
      - swap
      - dying_bytes
      - peak
      - growth
      - refaults
  limit:
    description: How many to return; V(0) for all.
    type: int
    default: 20
"""

EXAMPLES = r"""
- name: The ten containers with the most active page cache
  memqos.fleet.cgroup_memory_info:
    kinds: [container]
    sort_by: active_file
    limit: 10
  register: top
"""

RETURN = r"""
cgroups:
  description: The cgroups, largest first. Sizes in bytes; a V(null) limit means none.
  returned: success
  type: list
  elements: dict
  sample:
    - {path: /system.slice/redis.service, kind: service, name: redis.service, usage: 268435456, working_set: 201326592, limit: null}
hierarchy:
  description: Where the memory controller is, V(v1), V(hybrid), V(v2) or V(none).
  returned: success
  type: str
  sample: v2
total:
  description: How many cgroups matched, before the cut.
  returned: success
  type: int
  sample: 42
unknown:
  description: What could not be read, and why.
  returned: success
  type: dict
  sample: {}
"""

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
