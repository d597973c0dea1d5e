#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_audit
short_description: Audit where the memory of a node goes and what is wrong with it
version_added: 0.1.0
description:
  - Reads the kernel's files once, accounts for every byte of MemTotal, evaluates the rules on the node and writes a result file on the
    controller, of which M(memqos.fleet.memory_report) makes reports.
  - One remote call for each host, which needs Python 3.8 or newer and nothing else.
  - Root-only files that an ordinary user cannot read are unknown, with the reason.
author:
  - memqos.fleet contributors (@memqos)
extends_documentation_fragment:
  - memqos.fleet._attributes
  - memqos.fleet._attributes.info
  - memqos.fleet._options.root
  - memqos.fleet._options.audit
"""

EXAMPLES = r"""
- name: Audit every node
  memqos.fleet.memory_audit:
    directory: /var/tmp/memory-report

- name: Audit a captured tree, with rules of our own
  memqos.fleet.memory_audit:
    root: /srv/captures/node17
    rules_paths: [rules/]
    thresholds:
      N03: {allocstall_per_second: 10}
"""

RETURN = r"""
path:
  description: The result file on the controller.
  returned: success
  type: str
  sample: build/report/hosts/node17.json
findings:
  description: How many findings there are of each severity, and how many rules could not be decided.
  returned: success
  type: dict
  sample: {critical: 0, warning: 2, info: 1, unknown: 3}
memtotal_bytes:
  description: MemTotal of the node.
  returned: success
  type: int
  sample: 25276510208
"""

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _module

_module.compile_once()

from ansible_collections.memqos.fleet.plugins.module_utils import _breakdown, _diagnosis, _rules, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _values


def audit(params: dict[str, t.Any]) -> dict[str, t.Any]:
    request = {key: value for part in params["request"] or [""] for key, value in _module.unpack(part).items()}
    wanted = _values.Wanted(_values.unfold(request["knobs"]), request["vendor_files"])
    node = _snapshot.of_options(params, wanted=wanted)
    return {"audit": _module.to_json(_diagnosis.diagnose(node, rules=request["rules"], previous=request["previous"], top=params["top"]))}


def main() -> None:
    spec: dict[str, t.Any] = {
        "root": _module.ROOT,
        "window": _module.WINDOW,
        "top": {"type": "int", "default": 20},
        "directory": {"type": "path", "default": "build/report"},
        "rules_paths": {"type": "list", "elements": "path", "default": []},
        "rules_drop": {"type": "list", "elements": "str", "default": []},
        "thresholds": {"type": "dict", "default": {}},
        # no secret, but it would fill the node's syslog
        "request": {"type": "list", "elements": "str", "no_log": True},
    }
    _module.run(spec, audit, expected=(_snapshot.UnusableOption, _breakdown.NoTotal, _rules.RuleFormatError))


if __name__ == "__main__":
    main()
