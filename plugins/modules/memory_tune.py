#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_tune
short_description: Set the memory knobs of a node as profiles want them, in one transaction
version_added: 0.1.0
description:
  - Reads the node, makes a plan from what is to what is wanted, and runs it as one transaction. Every write is read back, and either all of the plan
    stands at the end or nothing of it.
  - Values are set live and made to last by C(/etc/sysctl.d), C(/etc/tmpfiles.d) and drop-ins of units. A knob that has left the profiles goes back to the value
    that it had before the first run, and its line goes too.
  - Each run that changes something is a generation in C(/var/lib/memqos), which M(memqos.fleet.memory_rollback) can return to.
  - One remote call for each host. The node needs Python 3.8 or newer and root rights.
  - Says for every knob who decides it at the next boot, see U(https://github.com/memqos/fleet/blob/main/docs/persistence.md).
author:
  - memqos.fleet contributors (@memqos)
extends_documentation_fragment:
  - memqos.fleet._attributes
  - memqos.fleet._attributes.changing
  - memqos.fleet._options.changing
options:
  profile:
    description:
      - A name, an inline profile (a mapping), or a list of both, which count from left to right.
        See U(https://github.com/memqos/fleet/blob/main/docs/profiles.md).
      - V(auto) proposes profiles by what the last audit in O(directory) found, and says why. It applies them only with O(auto_apply=true).
    type: raw
    required: true
  profiles_paths:
    description: Directories of more profiles on the controller, searched before the built-in ones.
    type: list
    elements: path
    default: []
  host:
    description: Values of host knobs for this host, which come after all profiles.
    type: dict
    default: {}
  slices:
    description: Values of slices, services and scopes for this host, which come after all profiles.
    type: dict
    default: {}
  only:
    description: Touch only these areas; what stands in the others stays as it is. V(host) is every host knob that is in no other area.
    type: list
    elements: str
    choices: [watermarks, swap, thp, writeback, memcg_qos, slices, host]
    default: []
  on_conflict:
    description:
      - What to do when something else decides a knob at the next boot (a later file, TuneD, kubelet, the kernel command line) or writes it too.
      - V(report) sets it live and in our file, and says who wins. V(defer) leaves that knob alone. V(refuse) writes nothing of the whole plan.
        V(take) makes the other's line a comment, which a rollback takes back; where that cannot be (TuneD, kubelet, the command line) it reports.
    type: str
    choices: [report, defer, refuse, take]
    default: report
  on_unsupported:
    description: Whether a knob that this node lacks fails the run before anything is written, or is reported while the rest goes on.
    type: str
    choices: [report, fail]
    default: report
  sysctl_file:
    description: Name of our file in C(/etc/sysctl.d). It should come late in the alphabet, as the last line for a key counts.
    type: str
    default: zz-memqos.conf
  auto_apply:
    description: Apply what O(profile=auto) proposes.
    type: bool
    default: false
  root:
    description: In check mode, the path B(on the node) of a captured tree to plan for; V(/) is the live node.
    type: path
    default: /
seealso:
  - module: memqos.fleet.memory_rollback
  - module: memqos.fleet.memory_audit
"""

EXAMPLES = r"""
- name: See what a profile would do, and why (with --check --diff)
  memqos.fleet.memory_tune:
    profile: colocated

- name: A built-in profile, and what is special about this pool
  memqos.fleet.memory_tune:
    profile: [database, kubernetes_node]
    host:
      vm.swappiness: {lower_to: 5}
    slices:
      backup.slice:
        MemoryHigh: {of_memory: 10%}

- name: Only watermarks, and nothing if somebody else decides at boot
  memqos.fleet.memory_tune:
    profile: latency_sensitive
    only: [watermarks]
    on_conflict: refuse
"""

RETURN = r"""
generation:
  description: The generation that this run made, V(0) if nothing was changed.
  returned: always
  type: int
  sample: 3
counts:
  description: How many knobs have each status.
  returned: always
  type: dict
  sample: {changed: 12, ok: 3, unsupported: 1}
path:
  description: The full result on the controller, with one entry for each knob.
  returned: always
  type: str
  sample: build/report/tune/node17.json
proposal:
  description: What O(profile=auto) proposes, each profile with its evidence.
  returned: with O(profile=auto)
  type: list
  elements: dict
  sample: [{"profile": "redis", "evidence": ["redis-server.service uses 3.1 GiB"]}]
"""

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _compiled

COMPILED = _compiled.Compiled()
COMPILED.use()

from ansible_collections.memqos.fleet.plugins.module_utils import _journal, _module, _tune, _tune_options
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Refused, Writer


def tune(params: dict[str, t.Any]) -> dict[str, t.Any]:
    work = _tune.Work(Tree(params["root"]), Writer(params["root"]), check=params["check_mode"])
    result = _tune.tune(_module.unpack(params["request"] or ""), work)
    if result["changed"] and not work.check:
        COMPILED.save()
    return _tune.answer(result)


def main() -> None:
    spec = {**_tune_options.TUNE, **_tune_options.REQUEST}
    _module.run(spec, tune, expected=(_tune.TuneError, _journal.JournalError, Refused, OSError))


if __name__ == "__main__":
    main()
