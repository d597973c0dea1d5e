# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole tunes and rollbacks of a node in a directory: first and second run, drift, what leaves a profile, the way back."""

from __future__ import annotations

import os
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _tune
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import (
    GIB,
    LATE,
    LATE_UNIT,
    LATE_WANTS,
    MIB,
    MINE,
    POOL,
    TMPFILES,
    Json,
    Machine,
    layer,
    rows,
    statuses,
)

THP = "transparent_hugepage/enabled"
THP_FILE = f"/sys/kernel/mm/{THP}"


@pytest.fixture(autouse=True)
def fixture_root_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests, the node is tuned by root."""
    monkeypatch.setattr(_tune, "os", types.SimpleNamespace(geteuid=lambda: 0, sysconf=os.sysconf))


Make = t.Callable[..., Machine]


@pytest.fixture(name="make")
def fixture_make(tmp_path: Path) -> Make:
    return lambda **more: Machine(tmp_path / "node", **more)


@pytest.fixture(name="machine")
def fixture_machine(make: Make) -> Machine:
    return make()


ALL = layer(
    "all",
    host={"vm.swappiness": 10, THP: "madvise", "vm.min_free_kbytes": 131072, "vm.dirty_bytes": 512 * MIB, "vm.dirty_background_bytes": 256 * MIB,
          "lru_gen/min_ttl_ms": 1000, "zswap/enabled": True},
    slices={
        "batch.slice": {"MemoryHigh": 2 * GIB, "MemoryLow": 64 * MIB},
        "batch-night.slice": {"MemoryLow": 64 * MIB, "ManagedOOMMemoryPressure": "kill", "ManagedOOMMemoryPressureLimit": "60%"},
        "redis-server.service": {"MemoryMin": 128 * MIB, "OOMScoreAdjust": -500},
        "app@.service": {"MemoryMax": 3 * GIB},
        "app@2.service": {"MemoryLow": 32 * MIB},
        "user-.slice": {"MemoryMax": 4 * GIB, "MemoryZSwapWriteback": False},
        "later.slice": {"MemoryHigh": GIB},
    },
)  # fmt: skip
# What a run has to come to on every kind of node: how it is made, what is wanted of it.
CASES: t.Dict[str, t.Tuple[Json, Json]] = {
    "v2": ({}, ALL),
    "v2, systemd 252": ({"systemd": 252}, ALL),
    "v2, systemd 244": ({"systemd": 244}, ALL),
    "v1": ({"hierarchy": 1}, ALL),
    "v1, Anolis": (
        {"hierarchy": 1, "vendor": True},
        layer(slices={"batch.slice": {"MemoryHigh": GIB, "MemoryMax": 2 * GIB, "memory.wmark_ratio": 95, "memory.swappiness": 20}}),
    ),
    "v2, Anolis": ({"vendor": True}, layer(host={"vm.swappiness": 10}, slices={"app@.service": {"memory.wmark_ratio": 95, "MemoryHigh": GIB}})),
    "no systemd": ({"systemd": 0}, ALL),
    "huge pages": ({}, layer(host={"vm.nr_hugepages": 512})),
    "an alias": ({}, layer(slices={"redis.service": {"MemoryLow": 32 * MIB}})),
    "rivals": ({}, layer(host={"vm.dirty_ratio": 10, "vm.dirty_background_ratio": 5, "vm.overcommit_kbytes": 16 * MIB})),
    "bounds": (
        {},
        layer(host={"vm.swappiness": {"lower_to": 10}, "vm.page-cluster": {"raise_to": 1}}, slices={"app@.service": {"MemoryHigh": {"lower_to": GIB}}}),
    ),
}


@pytest.fixture(name="case", params=CASES)
def fixture_case(request: pytest.FixtureRequest, make: Make) -> t.Tuple[Machine, Json]:
    more, wanted = CASES[request.param]
    return make(**more), wanted


# The first run, the second, the way back


def test_a_second_run_changes_nothing(case: t.Tuple[Machine, Json]) -> None:
    machine, wanted = case
    first = machine.tune(wanted)
    assert (first["problem"], first["changed"], first["generation"]) == ("", True, 1)
    assert set(statuses(first).values()) <= {"changed", "ok", "unsupported"}
    before = machine.snapshot(times=True)
    for check in (False, True):
        again = machine.tune(wanted, check=check)
        assert (again["problem"], again["changed"], again["generation"], again["files"]) == ("", False, 0, [])
        assert set(statuses(again).values()) <= {"ok", "unsupported"}
        assert machine.snapshot(times=True) == before
    assert set(rows(again)) == set(rows(first))


def test_a_check_says_what_a_run_does_and_writes_nothing(case: t.Tuple[Machine, Json]) -> None:
    machine, wanted = case
    before = machine.snapshot(times=True)
    checked = machine.tune(wanted, check=True)
    assert machine.snapshot(times=True) == before
    done = machine.tune(wanted)
    assert {key: checked[key] for key in ("changed", "files", "daemon_reload", "skipped")} == {
        key: done[key] for key in ("changed", "files", "daemon_reload", "skipped")
    }
    assert {name: status.replace("would_change", "changed") for name, status in statuses(checked).items()} == statuses(done)
    for name, row in rows(checked).items():
        for key in ("wanted", "live_before", "persisted_before", "persisted_after", "winner", "reason"):
            assert (name, key, row[key]) == (name, key, rows(done)[name][key])


def test_it_holds_after_a_reboot(case: t.Tuple[Machine, Json]) -> None:
    machine, wanted = case
    machine.tune(wanted)
    if not machine.has_systemd:
        return
    machine.reboot()
    # Cgroups of vendor files are new, the late unit wrote them.
    again = machine.tune(wanted)
    assert (again["changed"], {name for name, status in statuses(again).items() if status not in ("ok", "unsupported")}) == (False, set())


@pytest.mark.parametrize("rebooted", [False, True])
def test_rollback_to_origin_brings_back_every_byte(case: t.Tuple[Machine, Json], rebooted: bool) -> None:
    machine, wanted = case
    before = machine.snapshot()
    machine.tune(wanted)
    assert machine.snapshot() != before
    if rebooted:
        machine.reboot()
    back = machine.rollback("origin")
    assert (back["problem"], back["changed"], [row["reason"] for row in back["results"] if row["status"] != "changed"]) == ("", True, [])
    assert machine.snapshot() == before
    again = machine.rollback("origin")
    assert (again["changed"], again["generation"], again["results"]) == (False, 0, [])


def test_what_a_profile_no_longer_wants_goes_back(case: t.Tuple[Machine, Json]) -> None:
    machine, wanted = case
    before = machine.snapshot()
    machine.tune(wanted)
    nothing = machine.tune(layer())
    assert (nothing["problem"], nothing["changed"]) == ("", True)
    assert {status for status in statuses(nothing).values()} == {"changed"}
    assert machine.snapshot() == before
    assert machine.tune(layer())["changed"] is False
