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

from ansible_collections.memqos.fleet.plugins.module_utils import _journal, _tune
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
    machine.reboot()
    again = machine.tune(wanted)
    if machine.has_systemd:
        assert {name for name, status in statuses(again).items() if status not in ("ok", "unsupported")} == set()
    # As memory is less fragmented after a boot, the kernel is asked for huge pages once more.
    assert again["changed"] == (not machine.has_systemd or "vm.nr_hugepages" in wanted["host"])
    assert machine.tune(wanted)["changed"] is False


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
    assert set(statuses(nothing).values()) <= {"changed"}
    assert machine.snapshot() == before
    assert machine.tune(layer())["changed"] is False


# Drift

DRIFT: t.Dict[str, t.Tuple[t.Callable[[Machine], t.Any], t.Set[str]]] = {
    # what somebody does, the rows that say so
    "a sysctl": (lambda machine: machine.set("vm.swappiness", "60"), {"vm.swappiness"}),
    "the rival of a sysctl": (lambda machine: machine.set("vm.dirty_ratio", "40"), {"vm.dirty_bytes"}),
    "THP, and with it min_free_kbytes": (lambda machine: machine.set(THP_FILE, "never"), {THP, "vm.min_free_kbytes"}),
    "our file": (lambda machine: os.unlink(machine.root + MINE), set()),
    "a line of our file": (lambda machine: machine.write(MINE, (machine.text(MINE) or "").replace("= 10", "= 99") + "\n"), set()),
    "a file of a cgroup": (lambda machine: machine.set("/sys/fs/cgroup/batch.slice/memory.high", "max"), {"batch.slice MemoryHigh"}),
    "a run-time property": (
        lambda machine: machine.systemctl(["systemctl", "set-property", "--runtime", "--", "batch.slice", "MemoryHigh=1G"]),
        {"batch.slice MemoryHigh"},
    ),
    "a property without a file": (
        lambda machine: machine.systemctl(["systemctl", "set-property", "--runtime", "--", "batch-night.slice", "ManagedOOMMemoryPressure=auto"]),
        {"batch-night.slice ManagedOOMMemoryPressure"},
    ),
    "a drop-in": (lambda machine: os.unlink(f"{machine.root}/etc/systemd/system/batch.slice.d/zz-memqos.conf"), set()),
    "the mode of zswap": (lambda machine: machine.set("/sys/module/zswap/parameters/enabled", "0"), {"zswap/enabled"}),
}


@pytest.mark.parametrize("what", DRIFT)
def test_drift_is_shown_and_healed(machine: Machine, what: str) -> None:
    machine.tune(ALL)
    wanted = machine.snapshot()
    drift, told = DRIFT[what]
    drift(machine)
    assert machine.snapshot() != wanted
    checked = machine.tune(ALL, check=True)
    healed = machine.tune(ALL)
    for answer, word in ((checked, "would_change"), (healed, "changed")):
        assert (answer["changed"], {name for name, status in statuses(answer).items() if status == word}) == (True, told)
    assert machine.snapshot() == wanted


# What leaves a profile


def swap(**values: t.Any) -> Json:
    return layer(host={f"vm.{name}": value for name, value in values.items()})


LEAVING: t.Dict[str, t.Tuple[Json, Json, t.Dict[str, str]]] = {
    # from, to, what stands then
    "a sysctl": (
        swap(swappiness=10, watermark_scale_factor=150),
        swap(watermark_scale_factor=150),
        {"vm.swappiness": "60", "vm.watermark_scale_factor": "150"},
    ),
    "THP, with the min_free_kbytes that it moved": (layer(host={THP: "never"}), layer(), {THP_FILE: "[always] madvise never", "vm.min_free_kbytes": "67584"}),
    "THP under a min_free_kbytes of ours": (
        layer(host={THP: "never", "vm.min_free_kbytes": 131072}),
        layer(host={"vm.min_free_kbytes": 131072}),
        {THP_FILE: "[always] madvise never", "vm.min_free_kbytes": "131072"},
    ),
    "min_free_kbytes beside THP": (
        layer(host={THP: "never", "vm.min_free_kbytes": 131072}),
        layer(host={THP: "never"}),
        {THP_FILE: "always madvise [never]", "vm.min_free_kbytes": "67584"},
    ),
    "bytes for a ratio": (swap(dirty_bytes=GIB), swap(dirty_ratio=30), {"vm.dirty_bytes": "0", "vm.dirty_ratio": "30"}),
    "a ratio for bytes": (swap(dirty_ratio=30), swap(dirty_bytes=GIB), {"vm.dirty_bytes": str(GIB), "vm.dirty_ratio": "0"}),
    "bytes": (swap(dirty_bytes=GIB), layer(), {"vm.dirty_bytes": "0", "vm.dirty_ratio": "20"}),
    "a property of a unit with others": (
        layer(slices={"batch.slice": {"MemoryHigh": 2 * GIB, "MemoryLow": 64 * MIB}}),
        layer(slices={"batch.slice": {"MemoryLow": 64 * MIB}}),
        {"/batch.slice memory.high": "max", "/batch.slice memory.low": str(64 * MIB)},
    ),
    "a property that the unit file has": (
        layer(slices={"redis-server.service": {"MemorySwapMax": 0}}),
        layer(),
        {"/system.slice/redis-server.service memory.swap.max": str(512 * MIB)},
    ),
    "an instance that its template covers": (
        layer(slices={"app@.service": {"MemoryMax": 2 * GIB}, "app@2.service": {"MemoryMax": 3 * GIB}}),
        layer(slices={"app@.service": {"MemoryMax": 2 * GIB}}),
        {
            "/system.slice/system-app.slice/app@1.service memory.max": str(2 * GIB),
            "/system.slice/system-app.slice/app@2.service memory.max": str(2 * GIB),
            "/etc/systemd/system/app@2.service.d/zz-memqos.conf": "",
        },
    ),
    "a template whose instance stays": (
        layer(slices={"app@.service": {"MemoryMax": 2 * GIB}, "app@2.service": {"MemoryMax": 3 * GIB}}),
        layer(slices={"app@2.service": {"MemoryMax": 3 * GIB}}),
        {
            "/system.slice/system-app.slice/app@1.service memory.max": "max",
            "/system.slice/system-app.slice/app@2.service memory.max": str(3 * GIB),
            "/etc/systemd/system/app@.service.d/zz-memqos.conf": "",
        },
    ),
}


@pytest.mark.parametrize("what", LEAVING)
def test_what_leaves_goes_back_to_its_origin(machine: Machine, what: str) -> None:
    first, second, stands = LEAVING[what]
    before = machine.snapshot()
    machine.tune(first)
    assert machine.tune(second)["problem"] == ""
    assert {path: machine.text(path) or "" for path in stands} == stands
    times = machine.snapshot(times=True)
    again = machine.tune(second)
    assert (again["changed"], machine.snapshot(times=True)) == (False, times)
    assert machine.rollback("origin")["problem"] == ""
    assert machine.snapshot() == before


def test_what_somebody_changed_since_stays_and_is_named(machine: Machine) -> None:
    machine.tune(layer(host={"vm.swappiness": 10, "vm.page-cluster": 0}, slices={"batch.slice": {"MemoryHigh": GIB, "MemoryLow": 64 * MIB}}))
    machine.set("vm.swappiness", "33")
    machine.set("/sys/fs/cgroup/batch.slice/memory.high", str(3 * GIB))
    answer = machine.tune(layer())
    assert (answer["problem"], statuses(answer)) == (
        "", {"vm.swappiness": "deferred", "batch.slice MemoryHigh": "deferred", "vm.page-cluster": "changed", "batch.slice MemoryLow": "changed"},
    )  # fmt: skip
    row = rows(answer)["vm.swappiness"]
    assert (row["reason"], row["live_after"]) == ("no profile wants it any more, but it stays: changed by others since", "33")
    found = [machine.text(path) for path in ("vm.swappiness", "vm.page-cluster", "/batch.slice memory.high", "/batch.slice memory.low", MINE)]
    assert found == ["33", "3", str(3 * GIB), "0", None]
    # Theirs by now.
    assert machine.tune(layer())["results"] == []


# Rolling back


def states(machine: Machine, *layers: Json) -> t.List[Json]:
    """What stands before and after each of these tunes."""
    found = [machine.snapshot()]
    for one in layers:
        assert machine.tune(one)["problem"] == ""
        found.append(machine.snapshot())
    return found


THREE = (
    swap(swappiness=10, dirty_bytes=GIB),
    layer(host={"vm.swappiness": 30, THP: "never"}, slices={"batch.slice": {"MemoryHigh": GIB}, "app@.service": {"MemoryLow": 64 * MIB}}),
    layer(host={"vm.dirty_ratio": 40}, slices={"batch.slice": {"MemoryHigh": 2 * GIB, "MemoryLow": 32 * MIB}}),
)


def test_rollback_goes_back_one_tune_each_time(machine: Machine) -> None:
    stood = states(machine, *THREE)
    for number in (2, 1, 0):
        answer = machine.rollback()
        assert (answer["problem"], answer["changed"]) == ("", True)
        assert machine.snapshot() == stood[number]
    answer = machine.rollback()
    assert (answer["changed"], answer["generation"]) == (False, 0)


def test_previous_is_what_stood_before_the_last_tune_not_what_was_rolled_back(machine: Machine) -> None:
    stood = states(machine, *THREE[:2])
    machine.rollback()
    assert machine.snapshot() == stood[1]
    machine.tune(THREE[2])
    machine.rollback()
    assert machine.snapshot() == stood[1]
    machine.rollback()
    assert machine.snapshot() == stood[0]


@pytest.mark.parametrize("to", ["1", "2", "3", "origin", "0"])
def test_rollback_to_a_generation(machine: Machine, to: str) -> None:
    stood = states(machine, *THREE)
    answer = machine.rollback(to)
    number = int(to) if to.isdigit() else 0
    assert (answer["problem"], answer["changed"]) == ("", to != "3")
    assert machine.snapshot() == stood[number]
    # What was wanted then is wanted again: nothing is left over.
    if number:
        assert machine.tune(THREE[number - 1])["changed"] is False
        assert machine.tune(layer())["problem"] == ""
        assert machine.snapshot() == stood[0]


def test_a_check_of_a_rollback_says_what_it_does(machine: Machine) -> None:
    machine.tune(ALL)
    before = machine.snapshot(times=True)
    checked = machine.rollback("origin", check=True)
    assert machine.snapshot(times=True) == before
    done = machine.rollback("origin")
    assert (checked["changed"], checked["files"], checked["daemon_reload"]) == (True, done["files"], True)
    assert {name: status.replace("would_change", "changed") for name, status in statuses(checked).items()} == statuses(done)


def test_rollback_leaves_what_somebody_changed_unless_forced(machine: Machine) -> None:
    before = machine.snapshot()
    machine.tune(ALL)
    machine.set("vm.swappiness", "33")
    machine.set("/sys/fs/cgroup/batch.slice/memory.high", str(3 * GIB))
    machine.write(TMPFILES, "# mine now\n")
    left = machine.rollback("origin", check=True)
    assert {name for name, status in statuses(left).items() if status == "deferred"} == {"vm.swappiness", "batch.slice MemoryHigh", TMPFILES}
    assert rows(left)["vm.swappiness"]["reason"] == ("changed by others since: it stays as it is; memqos_rollback_force: true takes it back to 60 all the same")
    assert rows(left)[TMPFILES]["reason"] == "changed by others since: it stays as it is; memqos_rollback_force: true takes it back all the same"
    assert machine.rollback("origin", force=True)["problem"] == ""
    assert machine.snapshot() == before


def test_what_was_left_by_a_rollback_stays(machine: Machine) -> None:
    machine.tune(ALL)
    machine.set("vm.swappiness", "33")
    machine.set("/sys/fs/cgroup/batch.slice/memory.high", str(3 * GIB))
    assert machine.rollback("origin")["problem"] == ""
    found = [machine.text(path) for path in ("vm.swappiness", "/batch.slice memory.high", "/batch.slice memory.low", "vm.min_free_kbytes")]
    assert found == ["33", str(3 * GIB), "0", "67584"]


def test_without_a_tune_there_is_nothing_to_roll_back(machine: Machine) -> None:
    with pytest.raises(_tune.TuneError, match="nothing to roll back"):
        machine.rollback()
    machine.tune(swap(swappiness=10))
    with pytest.raises(_journal.JournalError, match="there is no such generation; there are: 1"):
        machine.rollback("7")


def test_a_value_that_is_set_after_a_rollback_is_the_next_origin(machine: Machine) -> None:
    machine.tune(ALL)
    # Nothing of ours is read at boot: the kernel has its own values, and only the journal ours.
    os.unlink(machine.root + MINE)
    machine.reboot()
    machine.rollback("origin")
    machine.set("vm.swappiness", "33")
    machine.tune(ALL)
    machine.rollback("origin")
    assert machine.text("vm.swappiness") == "33"
