# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _rule_compiler
from ansible_collections.memqos.fleet.tests.lab.faults.__main__ import main
from ansible_collections.memqos.fleet.tests.lab.faults.table import FAULTS, Fault
from ansible_collections.memqos.fleet.tests.lab.machines import MACHINES

RULES = Path(__file__).resolve().parents[3] / "roles" / "audit" / "vars" / "rules"
SEEDED = [fault for fault in FAULTS if fault.rule]


def test_each_fault_has_a_rule_and_a_machine() -> None:
    known = _rule_compiler.load_rules([str(RULES)], thresholds={}, drop=[]).metadata
    assert {fault.rule for fault in SEEDED} <= set(known)
    assert {fault.machine for fault in FAULTS} == {machine.name for machine in MACHINES}
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len(SEEDED) >= 20


@pytest.mark.parametrize("fault", SEEDED, ids=lambda fault: fault.name)
def test_the_shell_understands_it(fault: Fault) -> None:
    wait = f"until {fault.until}; do sleep 1; done" if fault.until else ""
    subprocess.run(["sh", "-n"], input=f"set -e\n{fault.seed}\n{wait}\n".encode(), check=True)


def test_a_name_that_fits_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "N99"]) == 1
    assert "no fault is called N99" in capsys.readouterr().err
