# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with a run that sets a limit below usage is seen."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.tests.lab.machines import MACHINES
from ansible_collections.memqos.fleet.tests.lab.shrink import __main__ as shrink
from ansible_collections.memqos.fleet.tests.lab.shrink.judge import problem

MIB = 1 << 20
STATE = {
    "usage": 200 * MIB, "limit": "max", "high": "max", "kills": 0, "slab": 0, "active_file": 0, "inactive_file": 120 * MIB, "active_anon": 0,
    "inactive_anon": 80 * MIB, "unevictable": 0,
}  # fmt: skip


def run(*, bound: int = 150, status: str = "changed", problem: str = "", later: dict[str, t.Any] | None = None, **drawn: t.Any) -> dict[str, t.Any]:
    """Of a cgroup with 200 MiB, 80 of them anonymous; C(later): what is found after the tune."""
    found = {**STATE, **({"limit": str(bound * MIB)} if status == "changed" else {}), **(later or {})}
    load = {"hold": 80, "grow": 0.0, "most": 0, "file": 120, "read": 0.0, "write": 0.0}
    told = {"status": status, "problem": problem, "clean": True}
    plain = {"kind": "holds", "swap": False, "knob": "MemoryMax", "alive": True, "load": load, "bound": bound * MIB, "before": STATE, "after": found}
    plain["high_too"] = False
    return {**plain, "later": found, "told": told, **drawn}


REFUSED: t.Any = {"status": "refused", "problem": "it does not fit"}


@pytest.mark.parametrize(
    ("found", "version"),
    [
        (run(), 2),
        (run(bound=70, **REFUSED), 2),
        (run(bound=70, swap=True), 2),
        (run(kind="reads", status="undone", problem="it stalls"), 2),
        (run(knob="MemoryHigh", later={"limit": "max", "high": str(150 * MIB)}), 2),
        (run(knob="MemoryHigh", status="unsupported"), 1),
        (run(high_too=True, later={"high": str(150 * MIB)}), 2),
        (run(high_too=True), 1),
    ],
)
def test_good_runs(found: dict[str, t.Any], version: int) -> None:
    assert problem(found, version=version) == ""


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (run(later={"kills": 1}), "1 OOM kills"),
        (run(alive=False), "has ended"),
        (run(told={"status": "undone", "problem": "x", "clean": False}), "not undone altogether"),
        (run(later={"limit": "max"}), "it said changed, and right after {'limit': 'max'}"),
        (run(bound=70, later={"limit": str(70 * MIB)}, **REFUSED), "it said refused, and right after"),
        (run(later={"high": str(150 * MIB)}), "it said changed, and right after {'high'"),
        (run(high_too=True), "it said changed, and right after {'high': 'max'}"),
        (run(later={}, told={"status": "changed", "problem": "x", "clean": True}), "and as problem 'x'"),
        (run(status="refused"), "and as problem ''"),
        (run(**REFUSED), "it could have been set, and was not"),
        (run(bound=70), "it was set, and could not hold"),
        (run(kind="grows", load={"hold": 80, "grow": 8.0, "most": 200, "file": 120, "read": 0.0, "write": 0.0}), "it was set, and could not hold"),
    ],
)
def test_bad_runs(found: dict[str, t.Any], words: str) -> None:
    assert words in problem(found, version=2)


def test_its_machines_are_the_labs() -> None:
    assert set(shrink.MACHINES) <= {machine.name for machine in MACHINES}
