# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The example fleet is audited as the README says, with this machine in the place of every node."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .conftest import ROOT, Ansible

HOSTS = ["batch-01.example.net", "batch-02.example.net", "db1.example.net", "db2.example.net", "node-a1.example.net", "node-a2.example.net"]


def test_example_fleet(tmp_path: Path, ansible: Ansible, checkout_collections: Path) -> None:
    variables = {"ansible_become": False, "ansible_python_interpreter": sys.executable, "memqos_report_dir": str(tmp_path), "memqos_window": 0}
    inventory = str(ROOT / "examples" / "hosts.yml")
    ansible(
        "ansible-playbook", "memqos.fleet.audit", "-i", inventory, "-c", "local", "-e", json.dumps(variables), collections=checkout_collections, cwd=tmp_path
    )
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert sorted(report["hosts"]) == HOSTS
    assert report["unreachable"] == []
