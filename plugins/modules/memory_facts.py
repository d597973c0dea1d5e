#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_facts
short_description: Gather the memory facts of a node
version_added: 0.1.0
description:
  - Returns what a play needs to decide on memory settings as C(ansible_facts.memqos), below 8 KiB for each host, so that fact caches stay small.
  - Of the kernel's knobs, the values that differ from host to host are returned, and of capabilities only what this kernel lacks.
author:
  - memqos.fleet contributors (@memqos)
extends_documentation_fragment:
  - memqos.fleet._attributes
  - memqos.fleet._attributes.facts
  - memqos.fleet._options.root
"""

EXAMPLES = r"""
- name: Gather memory facts
  memqos.fleet.memory_facts:

- name: Say which nodes still run cgroup v1
  ansible.builtin.debug:
    msg: "{{ inventory_hostname }} runs {{ ansible_facts['memqos']['kernel'] }} with cgroup {{ ansible_facts['memqos']['hierarchy'] }}"
  when: ansible_facts['memqos']['hierarchy'] != 'v2'
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: always
  type: dict
  contains:
    memqos:
      description: Memory facts of the node.
      returned: always
      type: dict
      contains:
        kernel:
          description: Kernel release.
          type: str
          returned: when readable
          sample: 6.12.48+deb13-amd64
        hierarchy:
          description: Where the memory controller is.
          type: str
          returned: always
          sample: v2
        memory:
          description: MemTotal, MemAvailable and the like, in bytes.
          type: dict
          returned: always
          sample: {memtotal_bytes: 1017098240, memavailable_bytes: 801497088}
        knobs:
          description: Live values of the host's main memory settings.
          type: dict
          returned: always
          sample: {vm.swappiness: 60}
        missing:
          description: Registry knobs that this kernel does not have.
          type: list
          elements: str
          returned: always
          sample: [lru_gen/enabled]
        unknown:
          description: What could not be read, and why.
          type: dict
          returned: always
          sample: {}
"""

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _facts, _module, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry


def gather(params: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"ansible_facts": {"memqos": _facts.facts(_snapshot.of_options(params, wanted=_registry.wanted(), sections=()))}}


def main() -> None:
    _module.run({"root": _module.ROOT}, gather, expected=(_snapshot.UnusableOption,))


if __name__ == "__main__":
    main()
