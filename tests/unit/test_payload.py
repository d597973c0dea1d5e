# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KIB = 1024
# More than a ping, which is about 155 KiB of ansible-core's own; at 100 Mbit/s 325 KiB are 27 ms. Of a tune 200 were planned before it was to recover at the
# next boot, to shrink in steps and to manage swap (240), and to set containers: runtimes, two models, systemd's bus
# (320). 5 more tell what others set meanwhile from what is ours, 3 read memoryQOS as koordlet does, 6 say how much of a value counts. What it costs in time
# tests/benchmark measures.
BUDGETS = {"memqos.fleet.memory_audit": 81 * KIB, "memqos.fleet.memory_tune": 335 * KIB, "memqos.fleet.memory_generations": 101 * KIB}


@pytest.fixture(scope="module", name="sizes")
def fixture_sizes() -> dict[str, int]:
    printed = subprocess.run([sys.executable, str(ROOT / "tests" / "tools" / "payload.py")], check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(printed))


@pytest.mark.parametrize("module", BUDGETS)
def test_what_travels_to_every_node_is_bounded(sizes: dict[str, int], module: str) -> None:
    assert sizes["rules"] >= 25
    ours = sizes[module] - sizes["ansible.builtin.ping"]
    # The lower bound: a payload without our module_utils would be no measure.
    assert 10 * KIB < ours <= BUDGETS[module], f"{ours} bytes"
