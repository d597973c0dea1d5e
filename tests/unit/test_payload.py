# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUDGET = 80 * 1024


def test_an_audit_sends_at_most_80_kib_more_than_a_ping() -> None:
    printed = subprocess.run([sys.executable, str(ROOT / "tests" / "tools" / "payload.py")], check=True, stdout=subprocess.PIPE, text=True).stdout
    sizes = json.loads(printed)
    assert sizes["rules"] >= 25
    ours = sizes["memqos.fleet.memory_audit"] - sizes["ansible.builtin.ping"]
    # The lower bound: a payload without our module_utils would be no measure.
    assert 10 * 1024 < ours <= BUDGET, f"{ours} bytes for {sizes['rules']} rules"
