#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_report
short_description: Make reports from the result files of an audit
version_added: 0.1.0
description:
  - Reads C(hosts/HOST.json) and C(rules.json), which M(memqos.fleet.memory_audit) wrote on the controller, and makes a summary on the terminal,
    C(report.json) and C(report.html). No host is contacted.
  - The HTML report is one file that opens without a network. It needs the Python package plotly on the controller.
  - Run it once for all hosts, with C(run_once) or in a play for localhost.
  - A host whose audit failed, or whose result file is damaged, is listed with the reason; the report of the other hosts is made.
author:
  - memqos.fleet contributors (@memqos)
extends_documentation_fragment:
  - memqos.fleet._attributes
attributes:
  check_mode:
    support: full
    details:
      - The reports are written in check mode too. They change no node, and they are what the task is for.
  diff_mode:
    support: N/A
    details:
      - This action does not modify the state of a node.
  idempotent:
    support: full
    details:
      - The reports are written anew every time; this is not reported as a change.
options:
  directory:
    description: Directory on the controller that holds C(hosts/) and C(rules.json). The reports are written into it.
    type: path
    default: build/report
  hosts:
    description:
      - Names of the hosts that should have a result, usually C(ansible_play_hosts_all).
        A host without a result of this run was unreachable or skipped, and is listed.
      - By default all hosts that have a result file.
    type: list
    elements: str
  this_run_only:
    description:
      - Whether to take only results that M(memqos.fleet.memory_audit) wrote in this run of C(ansible-playbook).
        A host without one was unreachable or skipped, and is listed.
      - When V(false), the last result of each host is taken, whenever it was made.
    type: bool
    default: true
  formats:
    description: What to make.
    type: list
    elements: str
    choices: [terminal, json, html]
    default: [terminal, json, html]
  fail_on_unreachable:
    description: After the reports have been made, fail if a host has no valid result of this run.
    type: bool
    default: true
  top:
    description: How many cgroups of the fleet the HTML report ranks by each part of memory.
    type: int
    default: 10
  html_hosts:
    description:
      - How many hosts the HTML report holds in full. Beyond it, the hosts with the worst findings are held in full and all others with one line.
      - The page says so. C(report.json) always holds all.
    type: int
    default: 200
seealso:
  - module: memqos.fleet.memory_audit
"""

EXAMPLES = r"""
- name: Make all reports of the last audit
  memqos.fleet.memory_report:
    directory: /var/tmp/memory-report
    hosts: "{{ ansible_play_hosts_all }}"
  run_once: true

- name: Only the machine-readable report, of the last result of every host that has one
  memqos.fleet.memory_report:
    this_run_only: false
    formats: [json]
    fail_on_unreachable: false
  run_once: true
"""

RETURN = r"""
paths:
  description: The files that were written, by format.
  returned: success
  type: dict
  sample:
    json: /srv/build/report/report.json
    html: /srv/build/report/report.html
hosts:
  description: How many hosts have a result in the reports.
  returned: success
  type: int
  sample: 3
findings:
  description: How many findings there are of each severity, and how many could not be decided.
  returned: success
  type: dict
  sample: {critical: 1, warning: 4, info: 2, unknown: 3}
unreachable_hosts:
  description: Hosts that have no result of this run, because they were unreachable or skipped.
  returned: success
  type: list
  elements: str
  sample: []
invalid_hosts:
  description: Hosts whose audit failed or whose result file cannot be used, with the reason.
  returned: success
  type: dict
  sample: {}
"""

# The action plugin of the same name does the work.
