# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole tunes and rollbacks of a node in a directory: first and second run, drift, what leaves a profile, the way back."""

from __future__ import annotations

import errno
import os
import re
import signal
import tempfile
import types
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _journal, _persist, _tune
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.thinned import examples
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import (
    GIB,
    LATE,
    LATE_UNIT,
    LATE_WANTS,
    MIB,
    MINE,
    TMPFILES,
    Json,
    Machine,
    Make,
    layer,
    rows,
    statuses,
)
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import Node, in_child

pytestmark = pytest.mark.usefixtures("root_user")

THP = "transparent_hugepage/enabled"
THP_FILE = f"/sys/kernel/mm/{THP}"


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
            # Before the kernel is asked nobody knows how many huge pages it gives.
            if (name, key) != ("vm.nr_hugepages", "reason"):
                assert (name, key, row[key]) == (name, key, rows(done)[name][key])


def test_it_holds_after_a_reboot(case: t.Tuple[Machine, Json]) -> None:
    machine, wanted = case
    machine.tune(wanted)
    machine.reboot()
    again = machine.tune(wanted)
    if machine.has_systemd:
        assert {name for name, status in statuses(again).items() if status not in ("ok", "unsupported")} == set()
    assert again["changed"] == (not machine.has_systemd)
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


def mute(machine: Machine) -> None:
    """systemd does not answer any more."""

    def answer(argv: t.Sequence[str]) -> str:
        if argv[1] == "--version":
            return systemd(argv)
        raise Unreadable("systemctl", "error", "no answer within 30 s")

    systemd = machine.node.systemd.answer
    machine.node.systemd.answer = answer  # type: ignore[method-assign]


def test_a_knob_that_cannot_be_asked_for_is_not_forgotten(machine: Machine) -> None:
    machine.tune(layer(slices={"batch.slice": {"MemoryHigh": GIB}}))
    systemd, before = machine.node.systemd.answer, machine.snapshot(times=True)
    mute(machine)
    for answer in (machine.tune(layer(host={"vm.swappiness": 10})), machine.rollback("origin")):
        assert "batch.slice" in answer["problem"] and "no answer within 30 s" in answer["problem"]
        assert "failed" in statuses(answer).values()
        assert machine.snapshot(times=True) == before
    machine.node.systemd.answer = systemd  # type: ignore[method-assign]
    assert machine.tune(layer(host={"vm.swappiness": 10}))["problem"] == ""
    assert machine.text("/batch.slice memory.high") == "max"


def test_a_drop_in_whose_units_cannot_be_asked_for_stays(machine: Machine) -> None:
    machine.tune(layer(slices={"idle.service": {"MemoryMax": GIB}}))
    machine.start("idle.service", "/system.slice/idle.service")
    systemd = machine.node.systemd.answer
    mute(machine)
    assert "no answer within 30 s" in machine.rollback("origin")["problem"]
    assert machine.tune(layer(host={"vm.swappiness": 10}))["problem"] == ""
    machine.node.systemd.answer = systemd  # type: ignore[method-assign]
    assert machine.text("/system.slice/idle.service memory.max") == str(GIB)
    assert machine.tune(layer(host={"vm.swappiness": 10}))["problem"] == ""
    assert machine.text("/system.slice/idle.service memory.max") == "max"


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
    at_boot = "it stays, and what stands in it decides at the next boot"
    assert rows(left)[TMPFILES]["reason"] == f"changed by others since: {at_boot}; memqos_rollback_force: true takes it back all the same"
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


# Bounds and conditions


def test_a_property_of_processes_is_not_said_to_hold_while_they_have_another(machine: Machine) -> None:
    wanted = layer(slices={"redis-server.service": {"OOMScoreAdjust": -500}})
    machine.write("/sys/fs/cgroup/system.slice/redis-server.service/cgroup.procs", "41\n42\n")
    for pid in (41, 42):
        machine.write(f"/proc/{pid}/oom_score_adj", "0\n")
    machine.tune(wanted)
    again = machine.tune(wanted)
    row = rows(again)["redis-server.service OOMScoreAdjust"]
    assert (again["changed"], row["status"], row["reason"]) == (False, "ok", "processes that run keep theirs; it holds from the next start on")
    # It was started again.
    machine.write("/proc/41/oom_score_adj", "-500\n")
    assert rows(machine.tune(wanted))["redis-server.service OOMScoreAdjust"]["reason"] == ""


def test_a_bound_moves_what_stood_before_us(machine: Machine) -> None:
    for bound, stands in (({"raise_to": 150}, "150"), ({"raise_to": 90}, "90"), ({"raise_to": 20}, "60"), ({"lower_to": 10}, "10")):
        assert machine.tune(swap(swappiness=bound))["problem"] == ""
        assert machine.text("vm.swappiness") == stands
        assert machine.tune(swap(swappiness=bound))["changed"] is False


def test_a_bound_moves_what_somebody_has_set_since(machine: Machine) -> None:
    machine.tune(swap(swappiness={"lower_to": 40}))
    # Our line is for the next boot, whatever within the bound somebody tries meanwhile.
    for theirs, stands in (("50", "40"), ("30", "30")):
        machine.set("vm.swappiness", theirs)
        machine.tune(swap(swappiness={"lower_to": 40}))
        assert (machine.text("vm.swappiness"), machine.text(MINE)) == (stands, f"{_persist.HEADER}\nvm.swappiness = 40")
        assert machine.tune(swap(swappiness={"lower_to": 40}))["changed"] is False
    # It is theirs, and no rollback takes it.
    assert statuses(machine.rollback("origin")) == {"vm.swappiness": "deferred"}
    assert (machine.text("vm.swappiness"), machine.text(MINE)) == ("30", None)


UNIT_BOUNDS = {
    # subject, knob: the file that shows it, how the machine is made
    ("app@.service", "MemoryHigh"): ("/system.slice/system-app.slice/app@1.service memory.high", {}),
    ("redis.service", "MemoryHigh"): ("/system.slice/redis-server.service memory.high", {}),
    ("batch.slice", "memory.swappiness"): ("/batch.slice memory.swappiness", {"hierarchy": 1}),
    ("batch.slice", "MemoryHigh"): ("/batch.slice memory.high", {"hierarchy": 1, "vendor": True}),
}


@pytest.mark.parametrize("subject, knob", UNIT_BOUNDS)
def test_a_bound_of_a_unit_that_is_relaxed_goes_back(make: Make, subject: str, knob: str) -> None:
    path, more = UNIT_BOUNDS[subject, knob]
    machine = make(**more)
    few, some = (20, 50) if knob == "memory.swappiness" else (GIB, 2 * GIB)
    for bound in (few, some):
        machine.tune(layer(slices={subject: {knob: {"lower_to": bound}}}))
        assert machine.text(path) == str(bound)


def test_a_condition_sees_the_values_from_before_us(machine: Machine) -> None:
    condition = [">", ["name", "knob", "vm.swappiness"], 30]
    wanted = layer(host={"vm.swappiness": 10}, when=condition, condition="knob('vm.swappiness') > 30")
    assert machine.tune(wanted)["changed"] is True
    again = machine.tune(wanted)
    assert (again["changed"], again["skipped"], machine.text("vm.swappiness")) == (False, [], "10")


@pytest.mark.parametrize(("fact", "knob", "value"), [("zswap_enabled", "zswap/enabled", 1), ("mglru", "lru_gen/enabled", 0)])
def test_a_condition_sees_facts_of_knobs_from_before_us(machine: Machine, fact: str, knob: str, value: int) -> None:
    name = ["name", "facts", fact]
    wanted = layer(host={knob: value, "vm.swappiness": 10}, when=["not", name] if value else name, condition=fact)
    assert machine.tune(wanted)["changed"] is True
    again = machine.tune(wanted)
    assert (again["changed"], again["skipped"], machine.text("vm.swappiness")) == (False, [], "10")


def test_a_layer_whose_condition_is_false_is_skipped_and_said(machine: Machine) -> None:
    answer = machine.tune(layer(host={"vm.swappiness": 10}, when=["==", ["name", "facts", "hierarchy"], "v1"], condition="facts.hierarchy == 'v1'"))
    assert (answer["changed"], answer["results"]) == (False, [])
    assert [(one["profile"], one["reason"]) for one in answer["skipped"]] == [("one", "its condition is false: facts.hierarchy == 'v1'")]


# Huge pages


def test_fewer_huge_pages_than_asked_for_are_no_reason_to_ask_again(machine: Machine) -> None:
    wanted = swap(nr_hugepages=512)
    first = rows(machine.tune(wanted))["vm.nr_hugepages"]
    assert (first["status"], first["wanted"], first["live_after"]) == ("changed", "512", "256")
    assert (first["reason"], first["reboot_required"]) == ("the kernel gives 256 of 512; a reboot finds memory that is less fragmented", True)
    again = machine.tune(wanted)
    row = rows(again)["vm.nr_hugepages"]
    assert (again["changed"], row["status"], row["reboot_required"]) == (False, "ok", True)
    assert row["reason"] == "the kernel gives 256 of 512; a reboot finds memory that is less fragmented"
    # Somebody changed it: asked again.
    machine.node.set("/proc/sys/vm/nr_hugepages", "3")
    assert rows(machine.tune(wanted))["vm.nr_hugepages"]["status"] == "changed"
    # A bound that is relaxed starts from before us, not from what the kernel gave.
    machine.tune(swap(nr_hugepages={"raise_to": 100}))
    assert machine.text("vm.nr_hugepages") == "50"
    machine.rollback("origin")
    assert machine.text("vm.nr_hugepages") == "0"


def test_where_the_kernel_gave_no_huge_page_that_is_told(machine: Machine) -> None:
    row = rows(machine.tune(swap(nr_hugepages=1)))["vm.nr_hugepages"]
    assert (row["status"], row["live_after"], row["reboot_required"]) == ("ok", "0", True)
    assert row["reason"] == "the kernel gives 0 of 1; a reboot finds memory that is less fragmented"


def test_a_reboot_that_gives_as_many_huge_pages_is_no_change(machine: Machine) -> None:
    machine.tune(swap(nr_hugepages=512))
    machine.reboot()
    answer = machine.tune(swap(nr_hugepages=512))
    assert (answer["changed"], answer["generation"]) == (False, 0)
    assert rows(answer)["vm.nr_hugepages"]["reboot_required"]
    machine.rollback("origin")
    assert machine.text("vm.nr_hugepages") == "0"


@pytest.mark.parametrize("how", ["rollback", "leave"])
def test_huge_pages_that_somebody_else_set_stay_and_are_named(machine: Machine, how: str) -> None:
    machine.tune(swap(nr_hugepages=512))
    machine.node.set("/proc/sys/vm/nr_hugepages", "600")
    answer = machine.rollback("origin") if how == "rollback" else machine.tune(layer(host={"vm.swappiness": 10}))
    assert machine.text("vm.nr_hugepages") == "600"
    row = rows(answer)["vm.nr_hugepages"]
    assert (answer["problem"], row["status"], "changed by others since" in row["reason"]) == ("", "deferred", True)


def test_force_takes_back_huge_pages_that_somebody_else_set(machine: Machine) -> None:
    machine.tune(swap(nr_hugepages=512))
    machine.node.set("/proc/sys/vm/nr_hugepages", "600")
    machine.rollback("origin", force=True)
    assert machine.text("vm.nr_hugepages") == "0"


# DAMON


class Damon(Node):
    """Its module runs with C(inputs), and takes others by a commit only, after which the file reads N again."""

    inputs: t.ClassVar[t.Dict[str, str]] = {}

    def answer(self, path: str, text: str, before: str) -> str:
        if path != f"{DAMON}commit_inputs":
            return super().answer(path, text, before)
        if text == "1":
            self.inputs.update({name: self.kernel_read(DAMON + name) for name in ("min_age", "quota_ms")})
        return "N"


DAMON = "/sys/module/damon_reclaim/parameters/"
DAMON_FILES = {"enabled": "Y", "commit_inputs": "N", "min_age": "120000000", "quota_ms": "10", "monitor_region_start": "0", "monitor_region_end": "0"}


@pytest.mark.parametrize(
    ("how", "left"), [("rollback", {}), ("leave", {}), ("leave", {"damon_reclaim/quota_ms": 20}), ("leave", {"damon_reclaim/quota_ms": 30})]
)
def test_a_damon_module_that_runs_takes_its_old_inputs_back(make: Make, how: str, left: Json) -> None:
    machine = make(writer=Damon)
    for name, text in DAMON_FILES.items():
        machine.write(DAMON + name, f"{text}\n")
    wanted = {"damon_reclaim/min_age": 5000000, "damon_reclaim/quota_ms": 20}
    machine.tune(layer(host=wanted))
    assert Damon.inputs == {"min_age": "5000000", "quota_ms": "20"}
    answer = machine.rollback("origin") if how == "rollback" else machine.tune(layer(host={"vm.swappiness": 10, **left}))
    assert answer["problem"] == ""
    assert Damon.inputs == {"min_age": "120000000", "quota_ms": str(left.get("damon_reclaim/quota_ms", 10))}
    assert machine.rollback("origin")["problem"] == "" and Damon.inputs["quota_ms"] == "10"
    assert not machine.rollback("origin")["changed"]


# Order


def done(machine: Machine, *parts: str) -> t.List[str]:
    """What was changed since the last time, of paths that end with these."""
    found = [line for line in machine.node.done if any(line.endswith(part) for part in parts)]
    machine.node.done.clear()
    return [next(part for part in parts if line.endswith(part)) for line in found if line.startswith(("kernel", "command"))]


HOST_ORDER = [
    # wanted first, its order, then wanted, its order
    ({THP: "never", "vm.min_free_kbytes": 131072}, [THP, "min_free_kbytes"], {THP: "madvise", "vm.min_free_kbytes": 65536}, [THP, "min_free_kbytes"]),
    # Moved by THP, and by nobody else.
    ({"vm.min_free_kbytes": 131072}, ["min_free_kbytes"], {THP: "madvise", "vm.min_free_kbytes": 131072}, [THP, "min_free_kbytes"]),
    (
        {"vm.dirty_background_ratio": 30, "vm.dirty_ratio": 40},
        ["dirty_ratio", "dirty_background_ratio"],
        {"vm.dirty_background_ratio": 5, "vm.dirty_ratio": 8},
        ["dirty_background_ratio", "dirty_ratio"],
    ),
    (
        {"vm.dirty_background_bytes": 256 * MIB, "vm.dirty_bytes": 512 * MIB},
        ["dirty_bytes", "dirty_background_bytes"],
        {"vm.dirty_background_bytes": 64 * MIB, "vm.dirty_bytes": 128 * MIB},
        ["dirty_background_bytes", "dirty_bytes"],
    ),
    (
        {"vm.overcommit_memory": 2, "vm.overcommit_ratio": 90},
        ["overcommit_ratio", "overcommit_memory"],
        {"vm.overcommit_memory": 0, "vm.overcommit_ratio": 60},
        ["overcommit_ratio", "overcommit_memory"],
    ),
]


@pytest.mark.parametrize("first, order, then, order_then", HOST_ORDER)
def test_host_knobs_are_written_as_the_registry_orders_them(machine: Machine, first: Json, order: t.List[str], then: Json, order_then: t.List[str]) -> None:
    for host, wanted in ((first, order), (then, order_then)):
        assert machine.tune(layer(host=host))["problem"] == ""
        assert done(machine, *wanted) == wanted
        assert machine.tune(layer(host=host))["changed"] is False


PARENT, CHILD = "batch.slice", "batch-night.slice"


def low(parent: t.Optional[int], child: t.Optional[int]) -> Json:
    wanted = {PARENT: parent, CHILD: child}
    return layer(slices={unit: {"MemoryLow": value * MIB} for unit, value in wanted.items() if value is not None})


UNIT_ORDER = [
    # protection of parent and child, then of both, who comes first
    (low(None, None), low(100, 50), [PARENT, CHILD]),
    (low(100, 50), low(60, 20), [CHILD, PARENT]),
    (low(100, 50), low(None, 20), [CHILD, PARENT]),
    (low(100, 50), low(60, None), [CHILD, PARENT]),
    (low(100, 50), low(None, None), [CHILD, PARENT]),
    (low(60, 20), low(100, 50), [PARENT, CHILD]),
]


@pytest.mark.parametrize("first, then, order", UNIT_ORDER)
def test_parents_grow_first_and_shrink_last(machine: Machine, first: Json, then: Json, order: t.List[str]) -> None:
    machine.tune(first)
    machine.node.done.clear()
    machine.tune(then)
    assert done(machine, PARENT, CHILD) == order


def test_parents_shrink_last_in_a_rollback_over_several_tunes(machine: Machine) -> None:
    # The child's step is the older one.
    machine.tune(low(None, 20))
    machine.tune(low(100, 50))
    machine.node.done.clear()
    machine.rollback("origin")
    assert done(machine, PARENT, CHILD) == [CHILD, PARENT]


def test_a_unit_that_grows_and_shrinks_is_set_in_two_steps(machine: Machine) -> None:
    machine.tune(layer(slices={PARENT: {"MemoryLow": 100 * MIB, "MemoryHigh": GIB}, CHILD: {"MemoryLow": 50 * MIB, "MemoryHigh": GIB // 2}}))
    # Protection first, limits from the leaves up.
    assert done(machine, PARENT, CHILD) == [PARENT, CHILD, CHILD, PARENT]


def test_files_come_first_and_one_reload_before_direct_writes(make: Make) -> None:
    machine = make(vendor=True)
    machine.tune(ALL, layer(slices={"batch.slice": {"memory.wmark_ratio": 95}}))
    done = machine.node.done
    files, kernel, units = ([at for at, line in enumerate(done) if line.startswith(what)] for what in ("rename /etc", "kernel ", "command "))
    (direct,) = [at for at in kernel if "/cgroup/" in done[at]]
    kernel.remove(direct)
    assert max(files) < min(kernel) < max(kernel) < min(units)
    assert [at for at in units if done[at] == "command daemon-reload"] == units[-1:]
    assert units[-1] < direct


# Areas


def test_other_areas_keep_their_lines_and_values(make: Make) -> None:
    machine = make(vendor=True)
    origin = machine.snapshot()
    machine.tune(ALL, layer(slices={"batch.slice": {"memory.wmark_ratio": 95}}))
    before = machine.snapshot()
    other = layer(host={"vm.swappiness": 30, "vm.min_free_kbytes": 98304, "vm.dirty_bytes": GIB})
    answer = machine.tune(other, only=["swap"])
    assert (answer["problem"], statuses(answer)) == ("", {"vm.swappiness": "changed", "zswap/enabled": "changed"})
    changed = {path for path, value in machine.snapshot().items() if before.get(path) != value}
    assert changed == {"/proc/sys/vm/swappiness", "/sys/module/zswap/parameters/enabled", MINE, TMPFILES}
    assert (machine.text(MINE) or "").replace("= 30", "= 10").encode() == before[MINE][0].strip()
    assert machine.tune(other, only=["swap"])["changed"] is False
    # What the other areas hold is still known as ours.
    assert machine.tune(layer())["problem"] == ""
    assert machine.snapshot() == origin


@pytest.mark.parametrize("thp", ["never", "always"])
def test_what_another_area_moves_comes_back_and_stands_after_it(machine: Machine, thp: str) -> None:
    machine.tune(layer(host={"vm.min_free_kbytes": 131072}))
    answer = machine.tune(layer(host={THP: thp}), only=["thp"])
    assert answer["problem"] == ""
    assert machine.text("vm.min_free_kbytes") == "131072"
    lines = (machine.text(TMPFILES) or "").splitlines()[1:]
    assert lines == [f"w {THP_FILE} - - - - {thp}", "w /proc/sys/vm/min_free_kbytes - - - - 131072"]
    machine.reboot()
    assert machine.text("vm.min_free_kbytes") == "131072"
    # As if both had been wanted at once.
    assert machine.tune(layer(host={"vm.min_free_kbytes": 131072, THP: thp}))["changed"] is False
    # It goes back as THP does, and keeps its value.
    machine.tune(layer(), only=["thp"])
    assert (machine.text(THP_FILE), machine.text("vm.min_free_kbytes")) == ("[always] madvise never", "131072")


def test_a_drop_in_of_another_name_is_named_and_its_value_is_not_ours(machine: Machine) -> None:
    path = "/etc/systemd/system/redis.service.d/zzz-local.conf"
    machine.write(path, "[Service]\nMemoryMax=1G\n")
    wanted = layer(slices={"redis-server.service": {"MemoryMax": 2 * GIB}})
    first = rows(machine.tune(wanted))["redis-server.service MemoryMax"]
    assert (first["winner"]["path"], first["persisted_after"]) == (path, "1G")
    again = machine.tune(wanted)
    assert (again["changed"], machine.text("/system.slice/redis-server.service memory.max")) == (False, str(2 * GIB))
    assert path in rows(again)["redis-server.service MemoryMax"]["reason"]


def test_an_area_that_is_not_asked_for_keeps_what_no_profile_wants(machine: Machine) -> None:
    machine.tune(layer(host={"vm.swappiness": 10, "vm.dirty_ratio": 30}, slices={"batch.slice": {"MemoryHigh": GIB}}))
    assert statuses(machine.tune(layer(), only=["writeback"])) == {"vm.dirty_ratio": "changed"}
    found = [machine.text(path) for path in ("vm.swappiness", "vm.dirty_ratio", "/batch.slice memory.high")]
    assert found == ["10", "20", str(GIB)]
    assert statuses(machine.tune(layer(), only=["slices"])) == {"batch.slice MemoryHigh": "changed"}
    assert machine.text("/etc/systemd/system/batch.slice.d/zz-memqos.conf") is None


def test_a_property_that_becomes_a_line_of_the_late_unit_is_of_its_own_area(make: Make) -> None:
    machine = make(systemd=252, hierarchy=1, vendor=True)
    machine.tune(layer(slices={"batch.slice": {"MemoryHigh": 2 * GIB, "memory.wmark_ratio": 95}}))
    answer = machine.tune(layer(slices={"batch.slice": {"MemoryHigh": 3 * GIB}}), only=["slices"])
    assert rows(answer)["batch.slice MemoryHigh"]["persisted_after"] == str(3 * GIB)
    assert machine.tune(layer(slices={"batch.slice": {"memory.wmark_ratio": 90}}), only=["memcg_qos"])["problem"] == ""
    assert [path.rpartition("/")[2] for path, unused in late_lines(machine)] == ["memory.high", "memory.wmark_ratio"]
    machine.reboot()
    assert (machine.text("/batch.slice memory.high"), machine.text("/batch.slice memory.wmark_ratio")) == (str(3 * GIB), "90")


def test_a_late_unit_of_another_area_keeps_its_order(make: Make) -> None:
    machine = make(vendor=True)
    wanted = layer(host={"vm.swappiness": 10}, slices={"batch-night.slice": {"memory.wmark_ratio": 95}})
    machine.tune(wanted)
    before = machine.text(LATE_UNIT), machine.text(LATE), machine.text(LATE_WANTS)
    assert "After=local-fs.target" in (before[0] or "") and "Wants=batch-night.slice\n" in (before[0] or "")
    machine.tune(wanted, only=["swap"])
    machine.tune(layer(host={"vm.swappiness": 20}), only=["swap"])
    assert (machine.text(LATE_UNIT), machine.text(LATE), machine.text(LATE_WANTS)) == before


@pytest.mark.parametrize(
    "subject, who", [("redis-server.service", "redis-server.service"), ("user-.slice", "user-1001.slice"), ("app@.service", "app@2.service")]
)
def test_what_stops_keeps_its_line_for_the_next_boot(make: Make, subject: str, who: str) -> None:
    machine = make(vendor=True)
    wanted = layer(slices={subject: {"memory.wmark_ratio": 95}})
    machine.tune(wanted)
    before = machine.text(LATE), machine.text(LATE_UNIT)
    cgroup = machine.node.systemd.running[who]
    machine.stop(who)
    again = machine.tune(wanted)
    assert (again["changed"], again["files"], machine.text(LATE), machine.text(LATE_UNIT)) == (False, [], *before)
    machine.reboot()
    assert machine.text(f"{cgroup} memory.wmark_ratio") == "95"
    assert "user-" not in (machine.text(LATE_UNIT) or "")


TMPFILES_FIRST = "/etc/tmpfiles.d/00-first.conf"


class V1(Node):
    """memory.memsw.limit_in_bytes is never below memory.limit_in_bytes (measured)."""

    def answer(self, path: str, text: str, before: str) -> str:
        directory, unused, name = path.rpartition("/")
        pair = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        if name in pair and os.path.exists(f"{self.root}{directory}/{pair[1]}"):
            low, high = (text if one == name else self.kernel_read(f"{directory}/{one}") for one in pair)
            if high != "-1" and (low == "-1" or int(low) > int(high)):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return super().answer(path, text, before)


@pytest.mark.parametrize("before, after", [((2, 3), (4, 5)), ((4, 5), (2, 3)), ((2, 6), (4, 5)), ((4, 5), (3, 8))])
def test_a_limit_and_that_of_memory_and_swap_move_in_the_order_that_v1_takes(make: Make, before: t.Tuple[int, int], after: t.Tuple[int, int]) -> None:
    machine = make(hierarchy=1, writer=V1)
    top = "/sys/fs/cgroup/memory/batch.slice"
    machine.write("/etc/systemd/system/batch.slice.d/50-a.conf", f"[Slice]\nMemoryMax={before[0]}G\n")
    machine.write(f"{top}/memory.memsw.limit_in_bytes", f"{before[1] * GIB}\n")
    machine.start("batch.slice", "/batch.slice")
    files = ("/batch.slice memory.limit_in_bytes", "/batch.slice memory.memsw.limit_in_bytes")
    assert [machine.text(file) for file in files] == [str(size * GIB) for size in before]
    names = ("MemoryMax", "memory.memsw.limit_in_bytes")
    assert machine.tune(layer(slices={"batch.slice": {name: size * GIB for name, size in zip(names, after)}}))["problem"] == ""
    assert [machine.text(file) for file in files] == [str(size * GIB) for size in after]
    assert machine.rollback("origin")["problem"] == ""
    assert [machine.text(file) for file in files] == [str(size * GIB) for size in before]


def test_a_share_does_not_follow_every_page_of_memory(machine: Machine) -> None:
    """A balloon, or a new kernel, which reserves less."""
    wanted = layer(slices={"batch.slice": {"MemoryHigh": {"of_memory": [1, 2]}}})
    machine.tune(wanted)

    def has(memory: int) -> t.Tuple[bool, int]:
        text = machine.text("/proc/meminfo") or ""
        machine.write("/proc/meminfo", "\n".join([f"MemTotal: {memory >> 10} kB", *text.splitlines()[1:], ""]))
        return machine.tune(wanted)["changed"], int(machine.text("/batch.slice memory.high") or "")

    for memory in (8 * GIB - 64 * 1024, 8 * GIB - 80 * MIB, 8 * GIB + 80 * MIB):
        assert has(memory) == (False, 4 * GIB)
    assert has(8 * GIB - 160 * MIB) == (True, 4 * GIB - 80 * MIB)
    # From there it is counted anew.
    assert has(8 * GIB - 80 * MIB) == (False, 4 * GIB - 80 * MIB)
    assert has(16 * GIB) == (True, 8 * GIB)
    # After a rollback too.
    machine.tune(layer(slices={"batch.slice": {"MemoryHigh": GIB}}))
    machine.write("/proc/meminfo", (machine.text("/proc/meminfo") or "").replace(f"{16 << 20} kB", f"{(16 << 20) - 64} kB", 1))
    assert machine.rollback("previous")["changed"] and machine.text("/batch.slice memory.high") == str(8 * GIB)
    assert machine.tune(wanted)["changed"] is False
    # What the operator says counts whatever the size of it.
    machine.tune(layer(slices={"batch.slice": {"MemoryHigh": {"of_memory": [501, 1000]}}}))
    assert machine.text("/batch.slice memory.high") == str(16 * GIB * 501 // 1000 // 4096 * 4096)


@pytest.mark.parametrize(
    "knob, place, before, path", [("vm.swappiness", "/etc/sysctl.d/zzz.conf", "vm.swappiness = 99", MINE), (THP, TMPFILES_FIRST, "", TMPFILES)]
)
def test_what_is_left_alone_keeps_our_line(machine: Machine, knob: str, place: str, before: str, path: str) -> None:
    """docs/tuning.md: in the kernel and in our file."""
    values = {"vm.swappiness": 10, "vm.min_free_kbytes": 131072, THP: "never"}
    machine.tune(layer(host=values))
    ours = machine.text(path)
    machine.write(place, f"{before or f'w {THP_FILE} - - - - always'}\n")
    answer = machine.tune(layer(host=values), on_conflict="defer")
    assert (statuses(answer)[knob], answer["changed"], machine.text(path)) == ("deferred", False, ours)
    # A new value of another knob does not take it away.
    machine.tune(layer(host={**values, "vm.page-cluster": 0}), on_conflict="defer")
    assert set((ours or "").splitlines()) <= set((machine.text(path) or "").splitlines())


# Conflicts

ZZZ = "/etc/sysctl.d/zzz.conf"
LATER = "# theirs\nvm.swappiness = 99\nvm.page-cluster = 1\n"
POLICIES: t.Dict[str, t.Tuple[str, str, t.Optional[str], str, str]] = {
    # status, the live value, the line in our file, who decides at boot, how it is told
    "report": ("changed", "10", "vm.swappiness = 10", ZZZ, f"at the next boot sysctl.d: {ZZZ}:2 decides: 99"),
    "defer": ("deferred", "60", None, ZZZ, f"left alone, as at the next boot sysctl.d: {ZZZ}:2 decides: 99"),
    "refuse": ("conflict", "60", None, ZZZ, f"at the next boot sysctl.d: {ZZZ}:2 decides: 99"),
    "take": ("changed", "10", "vm.swappiness = 10", MINE, f"sets aside sysctl.d: {ZZZ}:2"),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_what_a_policy_makes_of_a_later_line(machine: Machine, policy: str) -> None:
    machine.write(ZZZ, LATER)
    before = machine.snapshot()
    status, live, line, winner, reason = POLICIES[policy]
    answer = machine.tune(swap(swappiness=10, watermark_scale_factor=150), on_conflict=policy)
    row = rows(answer)["vm.swappiness"]
    assert (row["status"], row["winner"]["path"], row["reason"], row["persisted_before"]) == (status, winner, reason, "99")
    assert row["persisted_after"] == ("10" if policy == "take" else "99")
    assert machine.text("vm.swappiness") == live
    assert (line in (machine.text(MINE) or "")) if line else ("swappiness" not in (machine.text(MINE) or ""))
    if policy == "refuse":
        assert (answer["problem"], answer["changed"]) == (f"nothing was written:\nvm.swappiness: {reason}", False)
        assert machine.snapshot() == before
    assert machine.tune(swap(swappiness=10, watermark_scale_factor=150), on_conflict=policy)["changed"] is False


@pytest.mark.parametrize("policy", POLICIES)
def test_who_agrees_is_no_conflict(machine: Machine, policy: str) -> None:
    machine.write(ZZZ, "vm.swappiness = 10\n")
    row = rows(machine.tune(swap(swappiness=10), on_conflict=policy))["vm.swappiness"]
    assert (row["status"], row["winner"]["path"], row["reason"]) == ("changed", MINE, "")
    assert machine.text(ZZZ) == "vm.swappiness = 10"


ASIDE = "# set aside by memqos.fleet: "
TAKEN: t.Dict[str, t.Tuple[t.Dict[str, str], Json, t.Dict[str, t.Optional[str]]]] = {
    # files of others (-> is a link), what is wanted, files then
    "a line among others": ({ZZZ: LATER}, swap(swappiness=10), {ZZZ: f"# theirs\n{ASIDE}vm.swappiness = 99\nvm.page-cluster = 1\n"}),
    "two lines": (
        {ZZZ: "vm.swappiness=99\nvm.swappiness=98", "/etc/sysctl.d/zzzz.conf": "vm/swappiness=97\n"},
        swap(swappiness=10),
        {ZZZ: f"{ASIDE}vm.swappiness=99\n{ASIDE}vm.swappiness=98", "/etc/sysctl.d/zzzz.conf": f"{ASIDE}vm/swappiness=97\n"},
    ),
    "a file of a package, hidden by a copy": (
        {"/usr/lib/sysctl.d/zzz.conf": LATER},
        swap(swappiness=10),
        {"/usr/lib/sysctl.d/zzz.conf": LATER, ZZZ: f"# theirs\n{ASIDE}vm.swappiness = 99\nvm.page-cluster = 1\n"},
    ),
    "sysctl.conf behind its link": (
        {"/etc/sysctl.d/zzz.conf": "->../sysctl.conf", "/etc/sysctl.conf": LATER},
        swap(swappiness=10),
        {"/etc/sysctl.conf": f"# theirs\n{ASIDE}vm.swappiness = 99\nvm.page-cluster = 1\n"},
    ),
    "a rival": ({ZZZ: "vm.dirty_ratio = 5\n"}, swap(dirty_bytes=GIB), {ZZZ: f"{ASIDE}vm.dirty_ratio = 5\n"}),
    "an earlier line of tmpfiles.d": (
        {"/etc/tmpfiles.d/00-a.conf": f"w {THP_FILE} - - - - never\n"},
        layer(host={THP: "madvise"}),
        {"/etc/tmpfiles.d/00-a.conf": f"{ASIDE}w {THP_FILE} - - - - never\n"},
    ),
    "bytes that are no text": ({ZZZ: "# caf\udce9\nvm.swappiness = 99"}, swap(swappiness=10), {ZZZ: f"# caf\udce9\n{ASIDE}vm.swappiness = 99"}),
}


def place(machine: Machine, files: t.Mapping[str, str], *, mode: int = 0o600) -> None:
    for path, text in files.items():
        full = Path(machine.root + path)
        full.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            full.symlink_to(text[2:])
        else:
            full.write_bytes(text.encode("utf-8", "surrogateescape"))
            full.chmod(mode)


@pytest.mark.parametrize("way_back", ["rollback", "leaving", "leaving in two steps"])
@pytest.mark.parametrize("what", TAKEN)
def test_lines_that_are_taken_aside_come_back(machine: Machine, what: str, way_back: str) -> None:
    files, wanted, then = TAKEN[what]
    place(machine, files)
    before = machine.snapshot()
    answer = machine.tune(wanted, on_conflict="take")
    assert answer["problem"] == ""
    assert all(row["winner"]["path"] in (MINE, TMPFILES) for row in answer["results"])
    for path, text in then.items():
        assert Path(machine.root + path).read_bytes().decode("utf-8", "surrogateescape") == text
        if path in files:
            assert os.stat(machine.root + path).st_mode & 0o7777 == 0o600
    assert machine.tune(wanted, on_conflict="take")["changed"] is False
    if way_back == "rollback":
        assert machine.rollback("origin")["problem"] == ""
    else:
        # Whoever asks less of it in the meantime: what is aside stays while it is in the way.
        if way_back == "leaving in two steps":
            assert machine.tune(wanted, swap(watermark_scale_factor=150), on_conflict="report")["problem"] == ""
            assert Path(machine.root + next(iter(then))).read_bytes().decode("utf-8", "surrogateescape") == next(iter(then.values()))
        assert machine.tune(layer(), on_conflict="report")["problem"] == ""
    assert machine.snapshot() == before


def test_a_copy_that_somebody_has_edited_since_is_not_removed(machine: Machine) -> None:
    place(machine, {"/usr/lib/sysctl.d/zzz.conf": LATER})
    machine.tune(swap(swappiness=10), on_conflict="take")
    machine.write(ZZZ, (machine.text(ZZZ) or "") + "\nvm.laptop_mode = 1\n")
    machine.tune(layer())
    assert machine.text(ZZZ) == f"{LATER}vm.laptop_mode = 1".strip()


def edit(machine: Machine, path: str, line: str) -> None:
    machine.write(path, f"{machine.text(path)}\n{line}\n")


@pytest.mark.parametrize("force", [False, True])
def test_what_was_taken_aside_comes_back_in_a_file_that_somebody_has_edited_since(machine: Machine, force: bool) -> None:
    place(machine, {ZZZ: LATER})
    wanted = swap(swappiness=10)
    for number in (1, 2):
        machine.tune(wanted, on_conflict="take")
        edit(machine, ZZZ, f"vm.laptop_mode = {number}")
        assert machine.rollback("origin", force=force)["problem"] == ""
        edits = "".join(f"vm.laptop_mode = {one}\n" for one in range(1, number + 1))
        assert machine.text(ZZZ) == f"{LATER}{edits}".strip()
        assert machine.rollback("origin", force=force)["changed"] is False


@pytest.mark.parametrize(
    ("to", "then"),
    [("origin", LATER), ("1", f"# theirs\n{ASIDE}vm.swappiness = 99\nvm.page-cluster = 1\n")],
)  # fmt: skip
@pytest.mark.parametrize("again", [False, True])
def test_what_somebody_wrote_between_two_tunes_stays_in_their_file(machine: Machine, to: str, then: str, again: bool) -> None:
    place(machine, {ZZZ: LATER})
    machine.tune(swap(swappiness=10), on_conflict="take")
    edit(machine, ZZZ, "vm.laptop_mode = 1")
    machine.tune(layer(host={"vm.swappiness": 10, "vm.page-cluster": 0}), on_conflict="take")
    assert f"{ASIDE}vm.page-cluster = 1\nvm.laptop_mode = 1" in (machine.text(ZZZ) or "")
    if again:
        edit(machine, ZZZ, "vm.oom_dump_tasks = 1")
    assert machine.rollback(to)["problem"] == ""
    assert machine.text(ZZZ) == f"{then}vm.laptop_mode = 1" + "\nvm.oom_dump_tasks = 1" * again
    assert machine.rollback("origin")["problem"] == ""
    assert machine.text(ZZZ) == f"{LATER}vm.laptop_mode = 1" + "\nvm.oom_dump_tasks = 1" * again


def test_a_copy_that_somebody_has_edited_since_outlives_a_rollback(machine: Machine) -> None:
    place(machine, {"/usr/lib/sysctl.d/zzz.conf": LATER})
    machine.tune(swap(swappiness=10), on_conflict="take")
    edit(machine, ZZZ, "vm.laptop_mode = 1")
    for unused in range(2):
        assert machine.rollback("origin", force=True)["problem"] == ""
        assert machine.text(ZZZ) == f"{LATER}vm.laptop_mode = 1"


NOT_TAKEN: t.Dict[str, t.Tuple[t.Dict[str, str], Json, str]] = {
    "TuneD": (
        {
            "/etc/tuned/active_profile": "mine\n",
            "/etc/tuned/mine/tuned.conf": "[vm]\ntransparent_hugepages=never\n",
            "/etc/systemd/system/multi-user.target.wants/tuned.service": "",
        },
        layer(host={THP: "madvise"}),
        "at the next boot TuneD: /etc/tuned/mine/tuned.conf:2 decides: never (it cannot be set aside)",
    ),
    "kubelet": (
        {"/proc/812/comm": "kubelet\n", "/proc/812/cmdline": "/usr/bin/kubelet\0"},
        layer(host={"vm.overcommit_memory": 0}),
        "at the next boot kubelet: /var/lib/kubelet/config.yaml decides: 1 (it cannot be set aside)",
    ),
    "a link that leads elsewhere": (
        {"/etc/sysctl.d/zzz.conf": "->/srv/shared.conf", "/srv/shared.conf": LATER},
        swap(swappiness=10),
        f"at the next boot sysctl.d: {ZZZ}:2 decides: 99 (it cannot be set aside)",
    ),
}


@pytest.mark.parametrize("what", NOT_TAKEN)
def test_what_cannot_be_taken_aside_is_reported(machine: Machine, what: str) -> None:
    files, wanted, reason = NOT_TAKEN[what]
    place(machine, files)
    answer = machine.tune(wanted, on_conflict="take")
    (row,) = answer["results"]
    assert (answer["problem"], row["reason"]) == ("", reason)
    assert machine.tune(wanted, on_conflict="take")["changed"] is False


def test_a_kubelet_that_would_not_start_is_named(machine: Machine) -> None:
    place(machine, {"/proc/812/comm": "kubelet\n", "/proc/812/cmdline": "kubelet\0", "/var/lib/kubelet/config.yaml": "protectKernelDefaults: true\n"})
    row = rows(machine.tune(layer(host={"vm.overcommit_memory": 0})))["vm.overcommit_memory"]
    assert (row["reason"], row["winner"]["path"]) == ("kubelet does not start while the kernel has another value (protectKernelDefaults)", MINE)


LIMITED = "failSwapOn: false\nmemorySwap:\n  swapBehavior: LimitedSwap\n"


@pytest.mark.parametrize(
    ("config", "swap", "policy", "status"),
    [
        (LIMITED, True, "report", "conflict"),
        (LIMITED, False, "take", "conflict"),
        (LIMITED, True, "defer", "deferred"),
        ("failSwapOn: false\n", True, "report", "conflict"),
        ("failSwapOn: false\n", False, "report", "changed"),
        ("", True, "report", "changed"),
    ],
)
def test_swap_of_pods_is_the_kubelets(make: Make, config: str, swap: bool, policy: str, status: str) -> None:
    machine = make()
    place(machine, {"/proc/812/comm": "kubelet\n", "/proc/812/cmdline": "kubelet\0", "/var/lib/kubelet/config.yaml": config})
    if not swap:
        machine.write("/proc/meminfo", f"{machine.text('/proc/meminfo')}\n".replace("SwapTotal:       1048576 kB", "SwapTotal:             0 kB"))
    wanted = layer(slices={"kubepods.slice": {"MemorySwapMax": GIB}, "batch.slice": {"MemorySwapMax": GIB}})
    told = rows(machine.tune(wanted, on_conflict=policy))
    row = told["kubepods.slice MemorySwapMax"]
    assert row["status"] == status
    if status in ("conflict", "deferred"):
        behavior = "LimitedSwap" if config == LIMITED else "NoSwap"
        assert row["reason"] == f"the kubelet manages the swap of pods (swapBehavior {behavior}, /var/lib/kubelet/config.yaml): set it there"
    assert machine.text("/kubepods.slice memory.swap.max") == (str(GIB) if status == "changed" else "max")


def test_what_this_systemd_does_not_have_is_unsupported(make: Make) -> None:
    # 247 calls it ManagedOOMMemoryPressureLimitPercent.
    machine = make(systemd=247)
    told = rows(machine.tune(layer(slices={"batch.slice": {"ManagedOOMMemoryPressureLimit": "60%", "MemoryHigh": GIB, "MemoryAccounting": True}})))
    assert {name: (row["status"], row["reason"]) for name, row in told.items()} == {
        "batch.slice ManagedOOMMemoryPressureLimit": ("unsupported", "systemd 247 has no ManagedOOMMemoryPressureLimit: 248 is the first"),
        "batch.slice MemoryAccounting": ("unsupported", "systemd 247 shows no MemoryAccounting of batch.slice: it does not have it"),
        "batch.slice MemoryHigh": ("changed", ""),
    }


def test_of_what_does_not_run_nothing_is_live(machine: Machine) -> None:
    row = rows(machine.tune(layer(slices={"idle.service": {"MemoryLow": MIB, "OOMScoreAdjust": -500}})))["idle.service MemoryLow"]
    assert (row["status"], row["live_before"], row["live_after"], row["persisted_after"]) == ("changed", None, None, str(MIB))
    machine.start("idle.service", "/system.slice/idle.service")
    row = rows(machine.tune(layer(slices={"idle.service": {"MemoryLow": 2 * MIB, "OOMScoreAdjust": -500}})))["idle.service MemoryLow"]
    assert (row["live_before"], row["live_after"]) == (str(MIB), str(2 * MIB))


def test_a_masked_unit_is_told_as_such(machine: Machine) -> None:
    machine.write("/etc/systemd/system/idle.service", "[Service]\n")
    shown = machine.node.systemd._shown
    machine.node.systemd._shown = lambda unit, asked: shown(unit, asked).replace("LoadState=loaded", "LoadState=masked")  # type: ignore[method-assign]
    row = rows(machine.tune(layer(slices={"idle.service": {"MemoryHigh": GIB}})))["idle.service MemoryHigh"]
    assert (row["status"], row["reason"]) == ("unsupported", "idle.service is masked: 'systemctl unmask' comes first")


# Our files


@pytest.mark.parametrize("path", [MINE, TMPFILES, "/etc/systemd/system/batch.slice.d/zz-memqos.conf"])
def test_a_file_of_ours_that_cannot_be_read_is_told_with_its_path(machine: Machine, path: str) -> None:
    wanted = layer(host={"vm.swappiness": 10, THP: "never"}, slices={"batch.slice": {"MemoryHigh": GIB}})
    machine.tune(wanted)
    machine.write(path, "#" * (17 << 20))
    before = machine.snapshot()
    for check in (True, False):
        with pytest.raises(OSError, match=re.escape(f"File too large: '{path}'")):
            machine.tune(wanted, check=check)
    assert machine.snapshot() == before


@pytest.mark.parametrize("path", [MINE, TMPFILES, "/etc/systemd/system/batch.slice.d/zz-memqos.conf"])
def test_a_file_of_somebody_else_with_our_name_is_refused(machine: Machine, path: str) -> None:
    machine.write(path, "# made by hand\n")
    before = machine.snapshot()
    answer = machine.tune(layer(host={"vm.swappiness": 10, THP: "never"}, slices={"batch.slice": {"MemoryHigh": GIB}}))
    assert (answer["changed"], answer["generation"]) == (False, 0)
    other = ", or choose another name for ours (memqos_sysctl_file)" if path == MINE else ""
    assert answer["problem"] == f"nothing was written:\n{path} is there and was not made by memqos.fleet: move it away{other}"
    assert machine.snapshot() == before


@pytest.mark.parametrize("root", ["/run", "/usr/local/lib", "/usr/lib"])
def test_a_name_that_would_hide_a_file_of_somebody_else_is_refused(machine: Machine, root: str) -> None:
    """Whatever stands in it: nothing of it would be set at boot any more."""
    path = f"{root}/sysctl.d/50-default.conf"
    machine.write(path, "kernel.sysrq = 16\n")
    before = machine.snapshot()
    answer = machine.tune(swap(swappiness=10), sysctl_file="50-default.conf")
    why = f"memqos_sysctl_file: a file of the name 50-default.conf would hide {path}: choose another name"
    assert (answer["problem"], machine.snapshot()) == (f"nothing was written:\n{why}", before)
    # With nothing to write it is hidden by nothing.
    assert machine.tune(layer(slices={"batch.slice": {"MemoryHigh": GIB}}), sysctl_file="50-default.conf")["problem"] == ""
    assert machine.tune(swap(swappiness=10))["problem"] == ""


def test_a_file_of_somebody_else_with_a_name_that_is_not_needed_is_theirs(machine: Machine) -> None:
    machine.write(LATE_UNIT, "# made by hand\n")
    assert machine.tune(swap(swappiness=10))["problem"] == ""
    assert machine.text(LATE_UNIT) == "# made by hand"


@pytest.mark.parametrize("name", ["50-mine.conf", "zzz-mine.conf"])
def test_our_file_moves_when_it_is_called_otherwise(machine: Machine, name: str) -> None:
    before = machine.snapshot()
    wanted = swap(swappiness=10, watermark_scale_factor=150)
    machine.tune(wanted)
    text = machine.text(MINE)
    answer = machine.tune(layer(host={"vm.watermark_scale_factor": 150}), only=["watermarks"], sysctl_file=name, on_conflict="refuse")
    assert answer["problem"] == ""
    assert (machine.text(MINE), machine.text(f"/etc/sysctl.d/{name}")) == (None, text)
    assert machine.tune(wanted, sysctl_file=name)["changed"] is False
    machine.rollback("origin")
    assert machine.snapshot() == before


# Refused, unsupported

REFUSED: t.Dict[str, t.Tuple[Json, str, str]] = {
    # what is wanted, the risk, the figures
    "min_free_kbytes": (swap(min_free_kbytes=512 * 1024), "min_free_above_5_percent", "512 MiB is more than 5 % of memory (8.00 GiB)"),
    "overcommit": (
        swap(overcommit_memory=2, overcommit_ratio=10), "overcommit_below_committed", "3.00 GiB are committed and the limit would be 1.80 GiB",
    ),
    "min_free_kbytes, too low": (
        swap(min_free_kbytes=10000),
        "min_free_below_kernel_default",
        "9.77 MiB is less than 90 % of what the kernel itself keeps free of so much memory (11.3 MiB)",
    ),
    "watermarks": (
        swap(watermark_scale_factor=500),
        "watermark_scale_above_400",
        "above 400: kswapd would go on until 10 % of memory (819 MiB) is free beyond the reserve",
    ),
    "a unit that does not run": (
        layer(slices={"idle.service": {"MemoryMax": 0}}), "limit_too_small_to_start", "when it starts: 0 B is less than 6.00 MiB, without which",
    ),
    "a template of which nothing runs": (
        layer(slices={"job@.service": {"MemoryHigh": MIB}}), "limit_too_small_to_start", "when it starts: 1.00 MiB is less than 6.00 MiB",
    ),
    "protection of what does not run": (
        layer(slices={"a.slice": {"MemoryMin": 4 * GIB}, "b.slice": {"MemoryMin": 3 * GIB}}),
        "protection_above_80_percent",
        "Σ memory.min would be 7.00 GiB, more than 80 % of memory (8.00 GiB)",
    ),
    "protection without bound": (
        layer(slices={"batch.slice": {"MemoryMin": "max"}}), "protection_above_80_percent", "Σ memory.min would be without bound",
    ),
    "a limit while the node starts": (
        layer(slices={"batch.slice": {"StartupMemoryMax": 100 * MIB}}),
        "limit_below_usage",
        "while the node starts and stops: 100 MiB is below its usage of 256 MiB",
    ),
    "a default of protection": (
        layer(slices={"batch.slice": {"DefaultMemoryMin": 7 * GIB}}), "protection_above_80_percent", "Σ memory.min would be 7.00 GiB",
    ),
    "huge pages": (swap(nr_hugepages=4000), "hugepages_above_available", "4000 more huge pages take 7.81 GiB of 6.00 GiB available memory"),
    "a limit": (layer(slices={"batch.slice": {"MemoryMax": 100 * MIB}}), "limit_below_usage", "100 MiB is below its usage of 256 MiB"),
    "memory.high": (
        layer(slices={"app@.service": {"MemoryHigh": 160 * MIB}}), "high_below_working_set", "160 MiB is below 90 % of its working set of 192 MiB",
    ),
    "protection": (
        layer(slices={"batch.slice": {"MemoryMin": 4 * GIB}, "user.slice": {"MemoryMin": 3 * GIB}}),
        "protection_above_80_percent",
        "Σ memory.min would be 7.00 GiB, more than 80 % of memory (8.00 GiB)",
    ),
    "what somebody raised by hand": (
        layer(slices={"batch-night.slice": {"MemoryLow": 64 * MIB}}),
        "limit_below_usage",
        "systemd brings memory.max back from 4294967296, which somebody wrote by hand: 128 MiB is below its usage of 256 MiB",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_hurt_is_refused_with_the_figures_unless_allowed(machine: Machine, what: str) -> None:
    wanted, risk, figures = REFUSED[what]
    if what == "what somebody raised by hand":
        machine.write("/etc/systemd/system/batch-night.slice.d/50-max.conf", "[Slice]\nMemoryMax=128M\n")
        machine.systemctl(["systemctl", "daemon-reload"])
        machine.set("/sys/fs/cgroup/batch.slice/batch-night.slice/memory.max", str(4 * GIB))
    harmless = layer("two", host={"vm.swappiness": 10})
    before = machine.snapshot()
    answer = machine.tune(wanted, harmless)
    refused = [row for row in answer["results"] if row["status"] == "refused"]
    assert refused and all(figures in row["reason"] and row["reason"].endswith(f"memqos_allow_risks: [{risk}]") for row in refused)
    assert (answer["changed"], answer["problem"].startswith("nothing was written:\n"), figures in answer["problem"]) == (False, True, True)
    assert machine.snapshot() == before
    allowed = machine.tune(wanted, harmless, allow=[risk])
    assert (allowed["problem"], allowed["changed"]) == ("", True)
    assert any(f"allowed ({risk}): {figures}" in row["reason"] for row in allowed["results"])


@pytest.mark.parametrize("wanted", [{"vm.overcommit_ratio": 10}, {"vm.overcommit_kbytes": GIB // 1024}])
def test_the_strict_mode_of_somebody_else_counts(machine: Machine, wanted: t.Dict[str, int]) -> None:
    machine.set("vm.overcommit_memory", "2")
    answer = machine.tune(layer(host=wanted))
    assert set(statuses(answer).values()) == {"refused"}
    assert "To do it all the same: memqos_allow_risks: [overcommit_below_committed]" in answer["problem"]
    # Going back is held against the same bound.
    machine.set("vm.overcommit_memory", "0")
    machine.tune(layer(host={"vm.overcommit_ratio": 90}))
    machine.set("vm.overcommit_memory", "2")
    machine.write("/proc/meminfo", (machine.text("/proc/meminfo") or "").replace(f"{3 * GIB >> 10} kB", f"{6 * GIB >> 10} kB") + "\n")
    assert "6.00 GiB are committed and the limit would be 5.00 GiB" in machine.rollback("origin")["problem"]


def test_a_rollback_that_would_kill_is_refused_unless_allowed(machine: Machine) -> None:
    machine.write("/etc/systemd/system/batch.slice.d/50-max.conf", "[Slice]\nMemoryMax=512M\n")
    machine.reboot()
    machine.tune(layer(slices={"batch.slice": {"MemoryMax": 4 * GIB}}))
    machine.write("/sys/fs/cgroup/batch.slice/memory.current", f"{GIB}\n")
    before = machine.snapshot()
    answer = machine.rollback("origin")
    assert answer["problem"] == (
        "nothing was written:\nbatch.slice MemoryMax: 512 MiB is below its usage of 1.00 GiB: the kernel would kill its processes, or (v1) answer EBUSY. "
        "To do it all the same: memqos_allow_risks: [limit_below_usage]"
    )
    assert machine.snapshot() == before
    assert machine.rollback("origin", allow=["limit_below_usage"])["problem"] == ""
    assert machine.text("/batch.slice memory.max") == str(512 * MIB)


def test_protection_as_large_as_the_limit_is_warned_of(machine: Machine) -> None:
    answer = machine.tune(layer(slices={"batch.slice": {"MemoryMin": GIB, "MemoryMax": GIB}}))
    assert statuses(answer) == {"batch.slice MemoryMin": "changed", "batch.slice MemoryMax": "changed"}
    assert rows(answer)["batch.slice MemoryMin"]["reason"].startswith("MemoryMin (1.00 GiB) is not below MemoryMax (1.00 GiB): page cache within it")


TIGHT: t.Dict[str, t.Tuple[Json, str]] = {
    # what is wanted where redis-server.service and idle.service have MemoryMax=512M in their unit files, and batch.slice has none; who is warned
    "more than the limit of the unit file": ({"redis-server.service": {"MemoryMin": GIB}}, "redis-server.service MemoryMin"),
    "as much": ({"redis-server.service": {"MemoryMin": 512 * MIB}}, "redis-server.service MemoryMin"),
    "less": ({"redis-server.service": {"MemoryMin": 511 * MIB}}, ""),
    "more, under a limit that is raised": ({"redis-server.service": {"MemoryMin": GIB, "MemoryMax": 2 * GIB}}, ""),
    "more than a limit wanted too": ({"batch.slice": {"MemoryMin": 3 * GIB, "MemoryMax": GIB}}, "batch.slice MemoryMin"),
    "all of it": ({"batch.slice": {"MemoryMin": "infinity", "MemoryMax": GIB}}, "batch.slice MemoryMin"),
    "without a limit": ({"batch.slice": {"MemoryMin": 3 * GIB}}, ""),
    "a limit of nothing protected": ({"batch.slice": {"MemoryMax": GIB}}, ""),
    "a unit that does not run, and its unit file": ({"idle.service": {"MemoryMin": GIB}}, "idle.service MemoryMin"),
    "a unit that does not run": ({"idle.service": {"MemoryMin": GIB, "MemoryMax": 2 * GIB}}, ""),
    "nothing of which runs": ({"job@.service": {"MemoryMin": GIB, "MemoryMax": GIB, "OOMPolicy": "kill"}}, "job@.service MemoryMin"),
}


@pytest.mark.parametrize("what", TIGHT)
def test_protection_is_held_against_the_limit_that_holds_then(machine: Machine, what: str) -> None:
    slices, warned = TIGHT[what]
    for name in ("redis-server", "idle"):
        machine.write(f"/usr/lib/systemd/system/{name}.service", f"[Service]\nExecStart=/usr/bin/{name}\nMemoryMax=512M\n")
    machine.write("/usr/lib/systemd/system/job@.service", "[Service]\nExecStart=/usr/bin/job\n")
    machine.reboot()
    answer = machine.tune(layer(slices=slices))
    assert answer["problem"] == ""
    assert [name for name, row in rows(answer).items() if "is not below MemoryMax" in row["reason"]] == ([warned] if warned else [])


def test_a_limit_alone_is_held_against_the_protection_that_stands(machine: Machine) -> None:
    machine.write("/etc/systemd/system/batch.slice.d/50-min.conf", "[Slice]\nMemoryMin=1G\n")
    machine.reboot()
    row = rows(machine.tune(layer(slices={"batch.slice": {"MemoryMax": GIB}})))["batch.slice MemoryMax"]
    assert (row["status"], row["reason"].startswith("MemoryMin (1.00 GiB) is not below MemoryMax (1.00 GiB): ")) == ("changed", True)


@pytest.mark.parametrize("hierarchy", [1, 2])
@pytest.mark.parametrize("more, told", [({}, True), ({"MemoryHigh": GIB}, False), ({"MemoryMax": GIB}, False), ({"memory.wmark_ratio": 0}, False)])
def test_a_ratio_of_no_limit_is_named(make: Make, hierarchy: int, more: Json, told: bool) -> None:
    machine = make(hierarchy=hierarchy, vendor=True)
    without_effect = "without effect while memory.high and memory.max are max"
    row = rows(machine.tune(layer(slices={"batch.slice": {"memory.wmark_ratio": 95, **more}})))["batch.slice memory.wmark_ratio"]
    assert (without_effect in row["reason"]) == told
    # What stands already counts.
    machine.tune(layer(slices={"user.slice": {"MemoryMax": GIB}}))
    row = rows(machine.tune(layer(slices={"user.slice": {"memory.wmark_ratio": 95, "MemoryMax": GIB}})))["user.slice memory.wmark_ratio"]
    assert without_effect not in row["reason"]


@pytest.mark.parametrize("fail", [False, True])
def test_what_a_node_lacks_is_told_and_fails_only_if_asked(machine: Machine, fail: bool) -> None:
    wanted = layer(host={"vm.swappiness": 10, "vm.memcg_qos_enable": 1, "damon_reclaim/min_age": 1000, "vm.percpu_pagelist_fraction": 8})
    answer = machine.tune(wanted, fail_on_unsupported=fail)
    reasons = {name: row["reason"] for name, row in rows(answer).items() if row["status"] == "unsupported"}
    assert reasons == {
        "vm.memcg_qos_enable": "this kernel has no vm.memcg_qos_enable (a kernel of openeuler has it)",
        "damon_reclaim/min_age": "this kernel has no damon_reclaim/min_age (mainline has it since 5.16)",
        "vm.percpu_pagelist_fraction": "this kernel has no vm.percpu_pagelist_fraction (until 5.13)",
    }
    assert all(row["equivalence"] == "none" for row in answer["results"] if row["status"] == "unsupported")
    assert (answer["changed"], machine.text("vm.swappiness")) == ((False, "60") if fail else (True, "10"))
    assert all(f"{name}: {reason}" in answer["problem"] for name, reason in reasons.items()) == fail


# Units

HOLDS = "it holds when it starts"
IMPLICIT = "nothing runs in it and no unit file names it: it holds when something starts there"
EACH_START = "processes that run keep theirs; it holds from the next start on"
NOT_YET = "its cgroup is not there yet; set at boot if it is there by then, else by the next run"
LOST = "lost when it stops: the next boot or run sets it again"
UNITS: t.Dict[str, t.Tuple[Json, str, Json, t.Dict[str, t.Tuple[str, str]]]] = {
    # how the machine is made, subject, properties, {unit and knob: (status, reason)}
    "a slice": ({}, "batch.slice", {"MemoryHigh": GIB}, {"batch.slice MemoryHigh": ("changed", "")}),
    "a slice that does not exist": ({}, "nosuch.slice", {"MemoryHigh": GIB}, {"nosuch.slice MemoryHigh": ("changed", IMPLICIT)}),
    "a service": ({}, "redis-server.service", {"MemoryHigh": GIB}, {"redis-server.service MemoryHigh": ("changed", "")}),
    "by another name": ({}, "redis.service", {"MemoryHigh": GIB}, {"redis-server.service MemoryHigh": ("changed", "")}),
    "a service that does not run": ({}, "idle.service", {"MemoryHigh": GIB}, {"idle.service MemoryHigh": ("changed", f"idle.service does not run: {HOLDS}")}),
    "a service that does not exist": (
        {}, "nosuch.service", {"MemoryHigh": GIB}, {"nosuch.service MemoryHigh": ("unsupported", "this node has no unit nosuch.service")},
    ),
    "a template": ({}, "app@.service", {"MemoryHigh": GIB}, {f"app@{name}.service MemoryHigh": ("changed", "") for name in "12"}),
    "a template without instances": (
        {}, "other@.service", {"MemoryHigh": GIB}, {"other@.service MemoryHigh": ("changed", f"other@.service does not run: {HOLDS}")},
    ),
    "a prefix": ({}, "user-.slice", {"MemoryHigh": GIB}, {f"user-100{name}.slice MemoryHigh": ("changed", "") for name in "01"}),
    "a property of another type of unit": (
        {}, "batch.slice", {"OOMScoreAdjust": 500}, {"batch.slice OOMScoreAdjust": ("unsupported", "a slice has no OOMScoreAdjust: it belongs to service")},
    ),
    "a property of processes": ({}, "redis-server.service", {"OOMScoreAdjust": -500}, {"redis-server.service OOMScoreAdjust": ("changed", EACH_START)}),
    "a property that set-property does not take": (
        {}, "redis-server.service", {"MemoryPressureWatch": "off"}, {"redis-server.service MemoryPressureWatch": ("changed", EACH_START)},
    ),
    "systemd is too old": (
        {"systemd": 252},
        "batch.slice",
        {"MemoryZSwapMax": GIB, "MemoryHigh": GIB},
        {
            "batch.slice MemoryZSwapMax": ("unsupported", "systemd 252 has no MemoryZSwapMax: 253 is the first"),
            "batch.slice MemoryHigh": ("changed", ""),
        },
    ),
    "no oomd": (
        {}, "batch.slice", {"ManagedOOMSwap": "kill"}, {"batch.slice ManagedOOMSwap": ("changed", "without effect while systemd-oomd does not run")},
    ),
    "v1": (
        {"hierarchy": 1},
        "batch.slice",
        {"MemoryMax": GIB, "MemoryHigh": GIB, "MemoryZSwapMax": GIB, "memory.swappiness": 20},
        {
            "batch.slice MemoryMax": ("changed", ""),
            "batch.slice MemoryHigh": ("unsupported", "cgroup v1 has memory.high on kernels of anolis openeuler only"),
            "batch.slice MemoryZSwapMax": ("unsupported", "cgroup v1 has no memory.zswap.max"),
            "batch.slice memory.swappiness": ("changed", LOST),
        },
    ),
    "v1 of a vendor": (
        {"hierarchy": 1, "vendor": True},
        "batch.slice",
        {"MemoryHigh": GIB, "MemoryLow": 64 * MIB, "memory.wmark_ratio": 95},
        {f"batch.slice {name}": ("changed", LOST) for name in ("MemoryHigh", "MemoryLow", "memory.wmark_ratio")},
    ),
    "v1, and it does not run": (
        {"hierarchy": 1},
        "later.slice",
        {"MemoryMax": GIB, "MemoryHigh": GIB, "memory.swappiness": 20},
        {
            "later.slice MemoryMax": ("changed", IMPLICIT),
            "later.slice MemoryHigh": ("changed", NOT_YET),
            "later.slice memory.swappiness": ("changed", NOT_YET),
        },
    ),
    "a file of v1 on v2": (
        {}, "batch.slice", {"memory.swappiness": 20}, {"batch.slice memory.swappiness": ("unsupported", "cgroup v2 has no memory.swappiness")},
    ),
    "a file of a vendor": (
        {},
        "batch.slice",
        {"memory.wmark_ratio": 95},
        {"batch.slice memory.wmark_ratio": ("unsupported", "this kernel has no memory.wmark_ratio (a kernel of anolis has it)")},
    ),
    "no systemd": (
        {"systemd": 0},
        "batch.slice",
        {"MemoryHigh": GIB},
        {"batch.slice MemoryHigh": ("unsupported", "systemd does not answer (systemctl: not on this node (No such file or directory))")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNITS)
def test_units_and_what_they_can(make: Make, what: str) -> None:
    more, subject, properties, expected = UNITS[what]
    machine = make(**more)
    answer = machine.tune(layer(host={"vm.swappiness": 10}, slices={subject: properties}))
    assert answer["problem"] == ""
    told = {name: (row["status"], row["reason"]) for name, row in rows(answer).items() if row["subject"]}
    assert told == expected
    # The rest goes on.
    assert machine.text("vm.swappiness") == "10"
    written = {name for name, (status, unused) in expected.items() if status == "changed" and name.split()[1][0] == "M"}
    direct = more.get("hierarchy") == 1
    drop_in = machine.text(f"/etc/systemd/system/{subject}.d/zz-memqos.conf") or ""
    assert {name.split()[1] for name in written if not direct or name.endswith("MemoryMax")} <= {line.partition("=")[0] for line in drop_in.splitlines()}
    assert "MemoryHigh" not in drop_in or not direct


def test_units_are_live_and_last_by_systemd_and_vendor_files_by_us(make: Make) -> None:
    machine = make(hierarchy=1, vendor=True)
    machine.tune(layer(slices={"batch.slice": {"MemoryMax": 2 * GIB, "MemoryHigh": GIB, "memory.swappiness": 20}}))
    assert machine.text("/batch.slice memory.limit_in_bytes") == str(2 * GIB)
    assert machine.text("/batch.slice memory.high") == str(GIB)
    assert machine.text("/etc/systemd/system/batch.slice.d/zz-memqos.conf") == f"{_persist.HEADER}\n[Slice]\nMemoryMax={2 * GIB}"
    top = "/sys/fs/cgroup/memory/batch.slice"
    assert (machine.text(LATE) or "").splitlines()[1:] == [f"w {top}/memory.high - - - - {GIB}", f"w {top}/memory.swappiness - - - - 20"]
    assert machine.node.done.count("command batch.slice") == 1
    assert [line for line in machine.node.done if line.startswith("kernel ")] == [f"kernel {top}/memory.high", f"kernel {top}/memory.swappiness"]


def test_no_systemd_and_no_tmpfiles_lasts_by_sysctl_d_only(make: Make) -> None:
    machine = make(systemd=0)
    answer = machine.tune(layer(host={"vm.swappiness": 10, THP: "never"}))
    assert statuses(answer) == {"vm.swappiness": "changed", THP: "changed"}
    assert rows(answer)[THP]["reason"] == "nothing applies it at boot: tmpfiles.d needs systemd"
    assert (rows(answer)[THP]["persisted_after"], rows(answer)[THP]["winner"]) == (None, None)
    assert [file["path"] for file in answer["files"]] == [MINE]


def test_instances_that_a_profile_names_keep_what_it_says_of_their_template(machine: Machine) -> None:
    answer = machine.tune(layer(slices={"app@.service": {"MemoryMax": 3 * GIB, "MemoryLow": 16 * MIB}, "app@2.service": {"MemoryLow": 32 * MIB}}))
    values = {name: row["wanted"] for name, row in rows(answer).items()}
    assert values == {
        "app@1.service MemoryMax": str(3 * GIB), "app@1.service MemoryLow": str(16 * MIB),
        "app@2.service MemoryMax": str(3 * GIB), "app@2.service MemoryLow": str(32 * MIB),
    }  # fmt: skip
    winners = {row["subject"]: row["winner"]["path"] for row in answer["results"]}
    assert winners == {f"app@{name}.service": f"/etc/systemd/system/app@{there}.service.d/zz-memqos.conf" for name, there in (("1", ""), ("2", "2"))}
    # A drop-in of the same name hides the template's.
    assert (machine.text(winners["app@2.service"]) or "").splitlines()[1:] == ["[Service]", f"MemoryLow={32 * MIB}", f"MemoryMax={3 * GIB}"]
    machine.reboot()
    assert machine.text("/system.slice/system-app.slice/app@2.service memory.max") == str(3 * GIB)


def test_what_ancestors_leave_of_protection_is_told(machine: Machine) -> None:
    row = rows(machine.tune(low(None, 50)))["batch-night.slice MemoryLow"]
    assert (row["live_after"], row["effective"]) == (str(50 * MIB), "0")
    row = rows(machine.tune(low(100, 50)))["batch-night.slice MemoryLow"]
    # With memory_recursiveprot what the parent has to spare is its children's too.
    assert row["effective"] == str(100 * MIB)
    row = rows(machine.tune(layer(slices={PARENT: {"MemoryHigh": GIB}, CHILD: {"MemoryHigh": 2 * GIB}})))["batch-night.slice MemoryHigh"]
    assert (row["live_after"], row["effective"]) == (str(2 * GIB), str(GIB))


UNIT_CONFLICTS: t.Dict[str, t.Tuple[t.Callable[[Machine], t.Any], str]] = {
    "a later drop-in": (
        lambda machine: machine.write("/etc/systemd/system/batch.slice.d/zzz.conf", "[Slice]\nMemoryHigh=3G\n"),
        "drop-in: /etc/systemd/system/batch.slice.d/zzz.conf has 3G",
    ),
    "another file of the cgroup by hand": (
        lambda machine: machine.set("/sys/fs/cgroup/batch.slice/memory.min", str(16 * MIB)),
        f"a direct write: /sys/fs/cgroup/batch.slice/memory.min has {16 * MIB}",
    ),
}


@pytest.mark.parametrize("policy", ["report", "defer", "refuse"])
@pytest.mark.parametrize("what", UNIT_CONFLICTS)
@pytest.mark.parametrize("systemd, loaded", [(252, False), (252, True), (257, False), (257, True)])
def test_who_else_sets_a_unit(make: Make, systemd: int, loaded: bool, what: str, policy: str) -> None:
    machine = make(systemd=systemd)
    other, reason = UNIT_CONFLICTS[what]
    if loaded and what == "a later drop-in":
        other(machine)
        machine.systemctl(["systemctl", "daemon-reload"])
    else:
        machine.systemctl(["systemctl", "daemon-reload"])
        other(machine)
    before = machine.snapshot()
    wanted = layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryHigh": GIB}})
    answer = machine.tune(wanted, on_conflict=policy)
    row = rows(answer)["batch.slice MemoryHigh"]
    # On 252 their drop-in is live once it is loaded.
    held = str(3 * GIB) if systemd == 252 and loaded and "drop-in" in what else "max"
    status, live = {"report": ("changed", str(GIB)), "defer": ("deferred", held), "refuse": ("conflict", held)}[policy]
    assert (row["status"], row["reason"], machine.text("/batch.slice memory.high")) == (status, reason, live)
    assert machine.text("vm.swappiness") == ("60" if policy == "refuse" else "10")
    assert machine.tune(wanted, on_conflict=policy)["changed"] is False
    if policy != "refuse":
        assert machine.rollback("origin")["problem"] == ""
    assert machine.snapshot() == before


def test_a_file_that_somebody_wrote_by_hand_is_back_when_all_of_the_unit_has_gone(machine: Machine) -> None:
    machine.set("/sys/fs/cgroup/batch.slice/memory.min", str(16 * MIB))
    before = machine.snapshot()
    machine.tune(layer(slices={"batch.slice": {"MemoryHigh": GIB, "MemoryLow": 64 * MIB}}))
    assert machine.text("/batch.slice memory.min") == "0"
    machine.tune(layer(slices={"batch.slice": {"MemoryHigh": GIB}}))
    assert machine.text("/batch.slice memory.min") == "0"
    machine.tune(layer())
    assert machine.snapshot() == before


def test_set_property_for_this_boot_does_not_decide_at_the_next(machine: Machine) -> None:
    machine.systemctl(["systemctl", "set-property", "--runtime", "--", "batch.slice", "MemoryHigh=3G"])
    row = rows(machine.tune(layer(slices={"batch.slice": {"MemoryHigh": GIB}})))["batch.slice MemoryHigh"]
    assert (row["reason"], row["persisted_before"], row["winner"]["source"]) == ("", None, "drop-in")


def test_a_persistent_set_property_comes_before_ours(machine: Machine) -> None:
    """By its name, 50-MemoryHigh.conf."""
    machine.write("/etc/systemd/system.control/batch.slice.d/50-MemoryHigh.conf", "[Slice]\nMemoryHigh=3G\n")
    row = rows(machine.tune(layer(slices={"batch.slice": {"MemoryHigh": GIB}})))["batch.slice MemoryHigh"]
    assert (row["reason"], row["persisted_before"], row["winner"]["path"]) == ("", "3G", "/etc/systemd/system/batch.slice.d/zz-memqos.conf")
    machine.reboot()
    assert machine.text("/batch.slice memory.high") == str(GIB)


PODS: t.Dict[str, t.Tuple[t.Dict[str, str], str]] = {
    "koordlet": ({"/proc/900/comm": "koordlet\n"}, "koordlet writes it too"),
    "kubelet with memory QoS": (
        {
            "/proc/812/comm": "kubelet\n",
            "/proc/812/cmdline": "kubelet\0",
            "/var/lib/kubelet/config.yaml": "featureGates:\n  MemoryQoS: true\nmemoryThrottlingFactor: 0.9\n",
        },
        "kubelet: /var/lib/kubelet/config.yaml writes it too",
    ),
    "kubelet without": (
        {"/proc/812/comm": "kubelet\n", "/proc/812/cmdline": "kubelet\0", "/var/lib/kubelet/config.yaml": "kind: KubeletConfiguration\n"},
        "",
    ),
}


@pytest.mark.parametrize("who", PODS)
def test_who_writes_the_pods_files_is_named(machine: Machine, who: str) -> None:
    files, reason = PODS[who]
    place(machine, files)
    wanted = layer(slices={"kubepods.slice": {"MemoryLow": GIB}, "batch.slice": {"MemoryLow": 64 * MIB}})
    answer = machine.tune(wanted, check=True, on_conflict="refuse")
    row = rows(answer)["kubepods.slice MemoryLow"]
    assert (row["status"], row["reason"]) == ("conflict" if reason else "would_change", reason)
    assert rows(answer)["batch.slice MemoryLow"]["reason"] == ""


# Bad input


class Faulty(Node):
    """Fails where it is told to: C(fails) gives the errno of an operation, C(keeps) a kernel file that takes nothing and says nothing."""

    fails: t.Callable[[str, str], int] = staticmethod(lambda what, path: 0)
    keeps = ""

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        number = self.fails(what, path)
        if number:
            raise OSError(number, os.strerror(number), path)

    def answer(self, path: str, text: str, before: str) -> str:
        return before if path == self.keeps else super().answer(path, text, before)


def in_etc(number: int) -> t.Callable[[str, str], int]:
    return lambda what, path: number if path.startswith("/etc/sysctl.d/") and what in ("create", "write", "mkdir") else 0


def at(file: str, number: int) -> t.Callable[[str, str], int]:
    seen: t.List[str] = []

    def fails(what: str, path: str) -> int:
        seen.append(path) if path == file else None
        return number if path == file and seen == [file] else 0

    return fails


UNDONE = "All was undone."
TAKES_NOT = "This kernel does not take that value: choose another, or leave the knob out."
ERRORS: t.Dict[str, t.Tuple[t.Callable[[str, str], int], str]] = {
    "a read-only directory": (in_etc(errno.EROFS), f"{MINE}: Read-only file system (EROFS). {UNDONE} Make that file system writable, and run again."),
    "a full disk": (in_etc(errno.ENOSPC), f"{MINE}: No space left on device (ENOSPC). {UNDONE} Make room on that file system, and run again."),
    "EINVAL": (
        at("/proc/sys/vm/swappiness", errno.EINVAL),
        f"/proc/sys/vm/swappiness: writing '10' where '60' stood: Invalid argument (EINVAL). {UNDONE} {TAKES_NOT}",
    ),
    "EBUSY": (
        at(f"/sys/kernel/mm/{THP}", errno.EBUSY),
        f"{THP_FILE}: writing 'madvise' where 'always' stood: Device or resource busy (EBUSY). {UNDONE} "
        "It is in use: free it first (a limit: choose one above the usage), or leave the knob out.",
    ),
    "EIO": (
        at("/proc/sys/vm/min_free_kbytes", errno.EIO),
        f"/proc/sys/vm/min_free_kbytes: writing '131072' where '67584' stood: Input/output error (EIO). {UNDONE} The kernel's log may say more (dmesg).",
    ),
}


@pytest.mark.parametrize("what", ERRORS)
def test_an_error_leaves_nothing_and_says_what_to_do(make: Make, what: str) -> None:
    machine = make(writer=Faulty)
    before = machine.snapshot()
    faulty = t.cast("Faulty", machine.node)
    faulty.fails, problem = ERRORS[what]
    answer = machine.tune(ALL)
    assert (answer["problem"], answer["changed"], answer["generation"], answer["clean"]) == (problem, False, 0, True)
    assert machine.snapshot() == before
    told = {status: {name for name, one in statuses(answer).items() if one == status} for status in ("failed", "changed", "would_change")}
    knob = {"EINVAL": "vm.swappiness", "EBUSY": THP, "EIO": "vm.min_free_kbytes"}.get(what)
    assert told == {"failed": {knob} if knob else set(), "changed": set(), "would_change": set()}
    faulty.fails = lambda what, path: 0
    assert machine.tune(ALL)["problem"] == ""


def test_a_journal_that_cannot_be_written_stops_all(make: Make) -> None:
    machine = make(writer=Faulty)
    machine.tune(swap(swappiness=60))
    before = machine.snapshot(times=True)
    t.cast("Faulty", machine.node).fails = lambda what, path: errno.ENOSPC if (what, path) == ("write", "/var/lib/memqos/pending.jsonl") else 0
    with pytest.raises(_journal.JournalError) as caught:
        machine.tune(ALL)
    assert str(caught.value) == (
        "/var/lib/memqos/pending.jsonl: No space left on device (ENOSPC). Nothing was changed. Make room on that file system, and run again."
    )
    assert {path for path, value in machine.snapshot(times=True).items() if before.get(path) != value} == {"/var/lib/memqos"}


def test_a_value_that_the_kernel_makes_another_of_fails_and_names_both(make: Make) -> None:
    machine = make(writer=Faulty)
    before = machine.snapshot()
    t.cast("Faulty", machine.node).keeps = "/proc/sys/vm/swappiness"
    answer = machine.tune(ALL)
    assert answer["problem"] == (
        f"/proc/sys/vm/swappiness: after writing '10' it reads '60'. {UNDONE} "
        "Somebody else writes it too, or this kernel makes another value of it: choose the one that it reads, or leave the knob out."
    )
    assert {name for name, status in statuses(answer).items() if status == "failed"} == {"vm.swappiness"}
    assert machine.snapshot() == before


def test_a_limit_that_v1_refuses_leaves_nothing(make: Make) -> None:
    machine = make(hierarchy=1)
    before = machine.snapshot()
    answer = machine.tune(layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryMax": 100 * MIB}}), allow=["limit_below_usage"])
    assert answer["problem"].startswith(f"batch.slice: setting MemoryMax={100 * MIB}: ")
    assert machine.snapshot() == before


def test_only_the_unit_that_failed_is_told_as_failed(make: Make) -> None:
    machine = make(writer=Faulty)
    t.cast("Faulty", machine.node).keeps = "/sys/fs/cgroup/user.slice/memory.high"
    answer = machine.tune(layer(slices={"batch.slice": {"MemoryHigh": GIB}, "user.slice": {"MemoryHigh": GIB}}))
    assert statuses(answer) == {"batch.slice MemoryHigh": "undone", "user.slice MemoryHigh": "failed"}


def test_what_changes_between_plan_and_run_stops_all(make: Make) -> None:
    class Late(Node):
        def kernel_read(self, path: str, inode: int = 0) -> str:
            return "7" if path.endswith("swappiness") else super().kernel_read(path, inode)

    machine = make(writer=Late)
    before = machine.snapshot()
    answer = machine.tune(swap(swappiness=10, watermark_scale_factor=150))
    assert answer["problem"] == "nothing was written: /proc/sys/vm/swappiness is '7', and was '60' when the plan was made: run again"
    assert machine.snapshot() == before


RANGES = [
    (swap(swappiness=201), "vm.swappiness: 201 is refused; it takes 0..200 (count) on kernel 6.12.48+deb13-amd64"),
    (swap(percpu_pagelist_high_fraction=3), "vm.percpu_pagelist_high_fraction: 3 is refused; it takes 8.. or 0 (ratio) on kernel 6.12.48+deb13-amd64"),
    (
        layer(slices={"redis-server.service": {"OOMScoreAdjust": 2000}}),
        "redis-server.service OOMScoreAdjust: 2000 is refused; it takes -1000..1000 (count)",
    ),
]


@pytest.mark.parametrize("wanted, problem", RANGES)
def test_a_value_out_of_this_kernels_range_is_refused(machine: Machine, wanted: Json, problem: str) -> None:
    before = machine.snapshot()
    answer = machine.tune(wanted, layer("two", host={"vm.watermark_scale_factor": 150}))
    assert (answer["problem"], answer["changed"]) == (f"nothing was written:\n{problem}", False)
    assert machine.snapshot() == before


def test_an_ordinary_user_is_told_what_is_needed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tune, "os", types.SimpleNamespace(geteuid=lambda: 1000, sysconf=os.sysconf))
    before = machine.snapshot(times=True)
    for check in (False, True):
        with pytest.raises(_tune.TuneError, match="needs root: set ansible_become to true for this host"):
            machine.tune(ALL, check=check)
    assert machine.snapshot(times=True) == before


def test_a_captured_tree_can_only_be_checked(machine: Machine) -> None:
    machine.tree.live = False
    with pytest.raises(_tune.TuneError, match="a captured tree can only be checked"):
        machine.tune(ALL)


def test_a_knob_of_another_version_in_the_journal_stops_all(machine: Machine) -> None:
    machine.tune(swap(swappiness=10))
    path = Path(f"{machine.root}/var/lib/memqos/generations/1.json")
    path.write_text(path.read_text(encoding="utf-8").replace('"vm.swappiness"', '"vm.nonesuch"'), encoding="utf-8")
    with pytest.raises(_tune.TuneError, match="the journal has vm.nonesuch, which this version of memqos.fleet does not know: run the version that set it"):
        machine.tune(swap(swappiness=20))


# Two runs, and runs that were cut


def test_a_second_run_at_the_same_time_is_told_who_has_the_lock(machine: Machine) -> None:
    other = _journal.Journal(machine.node)
    before = machine.snapshot()
    with other.locked(), pytest.raises(_journal.Busy, match="another run has the lock"):
        machine.tune(ALL)
    assert machine.snapshot() == before
    # A check changes nothing, so it need not wait.
    with other.locked():
        assert machine.tune(ALL, check=True)["problem"] == ""


class Killed(Node):
    """Its process ends before the first write to this file."""

    at = ""

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if path == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def test_what_an_interrupted_run_left_is_undone_first_and_told(make: Make) -> None:
    machine = make(writer=Killed)
    before = machine.snapshot()
    t.cast("Killed", machine.node).at = "/proc/sys/vm/swappiness"
    assert in_child(lambda: machine.tune(ALL)) == signal.SIGKILL
    t.cast("Killed", machine.node).at = ""
    assert machine.text(THP_FILE) == "always [madvise] never"
    cut = machine.snapshot(times=True)
    checked = machine.tune(layer(), check=True)
    assert checked["notes"] == ["an interrupted run left a transaction half done: a run without --check undoes it first"]
    assert machine.snapshot(times=True) == cut
    answer = machine.tune(layer())
    assert (answer["notes"], answer["changed"], answer["generation"]) == (["an interrupted run was undone"], True, 0)
    assert machine.snapshot() == before


# Whatever is wanted

_HOST = {
    "vm.swappiness": st.one_of(st.integers(0, 200), st.builds(lambda key, value: {key: value}, st.sampled_from(["raise_to", "lower_to"]), st.integers(0, 200))),
    THP: st.sampled_from(["always", "madvise", "never"]),
    "vm.min_free_kbytes": st.integers(11000, 300000),
    "vm.dirty_ratio": st.integers(1, 100),
    "vm.dirty_bytes": st.integers(4096, 10**6).map(lambda pages: pages * 4096),
    "vm.dirty_background_ratio": st.integers(1, 100),
    "vm.dirty_background_bytes": st.integers(4096, 10**6).map(lambda pages: pages * 4096),
    "vm.overcommit_ratio": st.integers(0, 100),
    "vm.overcommit_kbytes": st.integers(1, 10**8),
    "vm.nr_hugepages": st.integers(0, 2000),
    "lru_gen/enabled": st.integers(0, 7),
    "zswap/enabled": st.booleans(),
}
_LIMIT = st.one_of(st.none().map(lambda unused: "infinity"), st.integers(GIB, 8 * GIB))
_UNIT = {
    "MemoryMin": st.integers(0, 256 * MIB),
    "MemoryLow": st.integers(0, 4 * GIB),
    "MemoryHigh": _LIMIT,
    "MemoryMax": _LIMIT,
    "MemorySwapMax": _LIMIT,
    "ManagedOOMMemoryPressure": st.sampled_from(["auto", "kill"]),
    "memory.wmark_ratio": st.integers(0, 100),
    "memory.swappiness": st.integers(0, 100),
}
_SUBJECTS = ["batch.slice", "batch-night.slice", "app@.service", "app@2.service", "user-.slice", "redis.service", "redis-server.service", "later.slice"]


def _some(values: t.Mapping[str, st.SearchStrategy[t.Any]]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=dict(values))


def _layers(without: t.Container[str] = ()) -> st.SearchStrategy[Json]:
    host = _some({name: values for name, values in _HOST.items() if name not in without})
    return st.builds(lambda host, slices: layer(host=host, slices=slices), host, st.dictionaries(st.sampled_from(_SUBJECTS), _some(_UNIT), max_size=3))


MACHINES = st.sampled_from([{}, {"vendor": True}, {"systemd": 244}, {"hierarchy": 1}, {"hierarchy": 1, "vendor": True}, {"systemd": 0}])


@settings(max_examples=examples(40))
@given(MACHINES, st.lists(_layers(), min_size=1, max_size=3), st.sampled_from(["report", "take", "defer"]), st.booleans())
def test_whatever_is_wanted_is_done_once_and_goes_back(more: Json, layers: t.List[Json], policy: str, rebooted: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(Path(directory) / "node", **more)
        machine.write(ZZZ, LATER)
        machine.reboot()
        before = machine.snapshot()
        for one in layers:
            assert machine.tune(one, on_conflict=policy)["problem"] == ""
            stood = machine.snapshot(times=True)
            again = machine.tune(one, on_conflict=policy)
            assert (again["changed"], again["generation"], machine.snapshot(times=True)) == (False, 0, stood)
        if rebooted:
            machine.reboot()
        if os.path.exists(f"{machine.root}/var/lib/memqos/generations"):
            assert machine.rollback("origin")["problem"] == ""
            assert machine.rollback("origin")["changed"] is False
        if rebooted:
            # Of what our files moved at boot nobody knows where it was.
            machine.reboot()
        assert machine.snapshot() == before


@settings(max_examples=examples(20))
# This kernel never gives as many huge pages as it gave before.
@given(st.lists(_layers(without=["vm.nr_hugepages"]), min_size=2, max_size=4), st.data())
def test_each_generation_can_be_gone_back_to(layers: t.List[Json], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(Path(directory) / "node", vendor=True)
        stood = {0: machine.snapshot()}
        for one in layers:
            generation = machine.tune(one)["generation"]
            if generation:
                stood[generation] = machine.snapshot()
        to = data.draw(st.sampled_from(sorted(stood)))
        if len(stood) > 1:
            assert machine.rollback(str(to))["problem"] == ""
            assert machine.snapshot() == stood[to]


def late_lines(machine: Machine) -> t.List[t.Tuple[str, str]]:
    lines = (line.split(" - - - - ") for line in (machine.text(LATE) or "").splitlines() if line.startswith("w "))
    return [(path[2:], value) for path, value in lines]


_OF_SLICES = ("memory.min", "memory.low", "memory.high", "memory.swap.max")


@settings(max_examples=examples(40))
@given(st.lists(st.tuples(_layers(), st.sampled_from([[], ["slices"], ["memcg_qos"], ["slices", "memcg_qos"], ["swap"]])), min_size=2, max_size=4))
def test_files_of_cgroups_go_by_their_areas_where_systemd_does_not_know_them(runs: t.List[t.Tuple[Json, t.List[str]]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(Path(directory) / "node", systemd=252, hierarchy=1, vendor=True)
        before = machine.snapshot()
        for one, only in runs:
            stood = late_lines(machine)
            assert machine.tune(one, only=only)["problem"] == ""
            lines = late_lines(machine)
            assert len(dict(lines)) == len(lines)
            others = [[line for line in found if line[0].endswith(_OF_SLICES) and "slices" not in only] for found in (stood, lines)]
            others += [[line for line in found if not line[0].endswith(_OF_SLICES) and "memcg_qos" not in only] for found in (stood, lines)]
            assert not only or (others[0] == others[1] and others[2] == others[3])
            as_it_is = machine.snapshot(times=True)
            assert machine.tune(one, only=only)["changed"] is False and machine.snapshot(times=True) == as_it_is
        if os.path.exists(f"{machine.root}/var/lib/memqos/generations"):
            assert machine.rollback("origin")["problem"] == ""
        assert machine.snapshot() == before


def test_a_timespan_leaves_no_run_time_drop_in(tmp_path: Path) -> None:
    """systemd calls it ...USec there."""
    machine = Machine(tmp_path / "node", systemd=257)
    before = machine.snapshot()
    assert machine.tune(layer(host={}, slices={"batch.slice": {"ManagedOOMMemoryPressureDurationSec": "20s"}}))["problem"] == ""
    assert machine.text("/run/systemd/system.control/batch.slice.d/50-ManagedOOMMemoryPressureDurationUSec.conf")
    assert machine.rollback("origin")["problem"] == "" and machine.snapshot() == before
    # Nor where it leaves the profile, while another value stays.
    both = {"batch.slice": {"ManagedOOMMemoryPressureDurationSec": "20s", "MemoryHigh": "1G"}}
    for slices in (both, {"batch.slice": {"MemoryHigh": "1G"}}):
        assert machine.tune(layer(host={}, slices=slices))["problem"] == ""
    assert "50-ManagedOOMMemoryPressureDurationUSec.conf" not in str(machine.snapshot())
    assert machine.rollback("origin")["problem"] == "" and machine.snapshot() == before


def test_less_than_a_page_goes_back_to_the_value_before_all_tunes(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "node", systemd=252)
    for wanted in (1, 4096):
        machine.tune(layer(slices={"batch.slice": {"MemoryMin": wanted}}))
    for to in ("1", "origin"):
        assert machine.rollback(to)["problem"] == "" and machine.text("/batch.slice memory.min") == "0"


_STARTING = {
    "app@3.service": "/system.slice/system-app.slice/app@3.service",
    "app@4.service": "/system.slice/system-app.slice/app@4.service",
    "idle.service": "/system.slice/idle.service",
}


def out_of_line(machine: Machine) -> t.List[str]:
    """Files of cgroups that do not hold what the files of their units say: nobody writes by hand here."""
    found = []
    for unit, cgroup in machine.node.systemd.running.items():
        values = machine.node.systemd._read(unit)
        for name, file in {"MemoryMin": "min", "MemoryLow": "low", "MemoryHigh": "high", "MemoryMax": "max", "MemorySwapMax": "swap.max"}.items():
            said = values[name].replace("infinity", "max")
            said = said if said == "max" else str(int(said) // 4096 * 4096)
            if machine.text(f"{cgroup} memory.{file}") != said:
                found.append(f"{unit} {name} is {machine.text(f'{cgroup} memory.{file}')} and should be {said}")
    return found


@settings(max_examples=examples(30))
@given(st.sampled_from([252, 257]), st.lists(_layers(without=["vm.nr_hugepages"]), min_size=2, max_size=4), st.permutations(list(_STARTING)), st.data())
def test_units_that_start_between_tunes_follow_their_files_on_every_way(systemd: int, layers: t.List[Json], starting: t.List[str], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(Path(directory) / "node", systemd=systemd)
        for one, unit in zip(layers, [*starting, ""]):
            assert machine.tune(one)["problem"] == ""
            assert out_of_line(machine) == []
            if unit:
                machine.start(unit, _STARTING[unit])
        if os.path.exists(f"{machine.root}/var/lib/memqos/generations"):
            to = data.draw(st.integers(0, len(os.listdir(f"{machine.root}/var/lib/memqos/generations"))))
            assert machine.rollback(str(to))["problem"] == ""
            assert out_of_line(machine) == []
            assert machine.rollback("origin")["problem"] == ""
            assert out_of_line(machine) == []


@pytest.mark.parametrize("systemd", [252, 257])
def test_what_a_unit_took_goes_back_beside_what_was_set_there_since(make: Make, systemd: int) -> None:
    """Both are properties of one unit: neither takes the place of the other."""
    machine = make(systemd=systemd)
    before = machine.snapshot()
    low = {"MemoryMax": "infinity", "MemoryLow": 115736131}
    machine.tune(layer(slices={"app@.service": low}))
    machine.start("app@3.service", _STARTING["app@3.service"])
    machine.tune(layer(slices={"app@.service": {**low, "ManagedOOMMemoryPressure": "kill"}}))
    for to in ("0", "origin"):
        assert machine.rollback(to)["problem"] == "" and out_of_line(machine) == []
    machine.stop("app@3.service")
    assert machine.snapshot() == before


def _log_in(machine: Machine, number: int) -> str:
    user = f"user-{number}.slice"
    machine.start(user, f"/user.slice/{user}")
    return user


@pytest.mark.parametrize("rebooted", [False, True])
def test_units_that_have_gone_leave_nothing(make: Make, rebooted: bool) -> None:
    machine = make(systemd=257)
    before = machine.snapshot()
    sizes = []
    for number in range(2000, 2008):
        user = _log_in(machine, number)
        # Another value each time: what a unit took when it started is not what is wanted now.
        assert machine.tune(layer(slices={"user-.slice": {"MemoryHigh": number * MIB}}))["problem"] == ""
        machine.stop(user)
        if rebooted:
            machine.reboot()
        sizes.append((len(_journal.Journal(machine.node).origin()), len(list(Path(f"{machine.root}/run/systemd/system.control").glob("*")))))
    assert len(set(sizes[1:])) == 1
    assert machine.rollback("origin")["problem"] == "" and machine.snapshot() == before


def test_two_run_time_drop_ins_of_a_unit_that_has_gone_leave_no_directory(make: Make) -> None:
    machine = make(systemd=252)
    before = machine.snapshot()
    user = _log_in(machine, 2000)
    machine.tune(layer(slices={"user-.slice": {"MemoryMax": 3 * GIB}}))
    machine.tune(layer(slices={"user-.slice": {"MemoryLow": GIB, "MemoryMax": "infinity"}}))
    machine.stop(user)
    machine.tune(layer(slices={"user-.slice": {"MemoryLow": MIB}}))
    assert not os.path.exists(f"{machine.root}/run/systemd/system.control/{user}.d")
    assert machine.rollback("origin")["problem"] == "" and machine.snapshot() == before


def test_one_that_comes_again_goes_back_all_the_same(make: Make) -> None:
    machine = make(systemd=257)
    machine.tune(layer(slices={"user-.slice": {"MemoryHigh": GIB}}))
    before = _log_in(machine, 2000)
    machine.tune(layer(slices={"user-.slice": {"MemoryHigh": 2 * GIB}}))
    machine.stop(before)
    machine.tune(layer(host={"vm.swappiness": 10}, slices={"user-.slice": {"MemoryHigh": 2 * GIB}}))
    assert not os.path.exists(f"{machine.root}/run/systemd/system.control/{before}.d")
    _log_in(machine, 2000)
    assert machine.text(f"/user.slice/{before} memory.high") == str(2 * GIB)
    assert machine.rollback("1")["problem"] == "" and machine.text(f"/user.slice/{before} memory.high") == str(GIB)
    assert machine.rollback("origin")["problem"] == "" and machine.text(f"/user.slice/{before} memory.high") == "max"


def test_a_run_time_drop_in_from_before_us_comes_back_with_its_unit_gone(make: Make) -> None:
    machine = make(systemd=257)
    user = _log_in(machine, 2000)
    theirs = f"/run/systemd/system.control/{user}.d/50-MemoryHigh.conf"
    machine.write(theirs, "[Slice]\nMemoryHigh=3221225472\n")
    before = machine.text(theirs)
    machine.tune(layer(slices={"user-.slice": {"MemoryHigh": GIB}}))
    assert machine.text(theirs) != before
    machine.stop(user)
    machine.tune(layer(host={"vm.swappiness": 10}, slices={"user-.slice": {"MemoryHigh": GIB}}))
    assert machine.rollback("origin")["problem"] == "" and machine.text(theirs) == before


def test_a_unit_that_nobody_asked_about_has_not_gone(make: Make) -> None:
    machine = make(systemd=252)
    before = machine.snapshot()
    instances = {"app@.service": {"MemoryHigh": "infinity", "MemoryLow": 4096}}
    for one in (layer(slices={"app@2.service": {"MemoryHigh": GIB}}), layer(slices=instances), layer(host={"vm.swappiness": 5}, slices=instances)):
        machine.tune(one)
    for to in ("2", "origin"):
        assert machine.rollback(to)["problem"] == ""
    assert machine.snapshot() == before


@settings(max_examples=examples(30))
@given(
    st.sampled_from([252, 257]), st.lists(st.tuples(_layers(without=["vm.nr_hugepages"]), st.sets(st.integers(2000, 2002))), min_size=2, max_size=5), st.data()
)
def test_units_come_and_go_between_tunes(systemd: int, runs: t.List[t.Tuple[Json, t.Set[int]]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(Path(directory) / "node", systemd=systemd)
        before = machine.snapshot()
        there: t.Set[int] = set()
        for one, wanted in runs:
            for number in there - wanted:
                machine.stop(f"user-{number}.slice")
            for number in sorted(wanted - there):
                _log_in(machine, number)
            there = wanted
            assert machine.tune(one)["problem"] == "" and out_of_line(machine) == []
        if os.path.exists(f"{machine.root}/var/lib/memqos/generations"):
            to = data.draw(st.integers(0, len(os.listdir(f"{machine.root}/var/lib/memqos/generations"))))
            for back in (str(to), "origin"):
                assert machine.rollback(back)["problem"] == "" and out_of_line(machine) == []
        for number in there:
            machine.stop(f"user-{number}.slice")
        assert machine.snapshot() == before


# A selection adds to what stands


EARLIER: Json = {"earlier": ""}
EARLIER_SELECTIONS: Json = {"earlier": "selection"}


def chosen(**parts: t.Any) -> Json:
    return layer("selection", **parts)


def last_meta(machine: Machine) -> Json:
    journal = _journal.Journal(machine.node)
    return journal.generation(journal.generations()[-1]).meta


PROFILE = layer("base", host={"vm.swappiness": 10, "vm.min_free_kbytes": 131072}, slices={"batch.slice": {"MemoryHigh": 2 * GIB}})
ADDED = [
    ("another knob", chosen(host={"vm.page-cluster": 0}), {"vm.page-cluster": "0"}),
    ("another unit", chosen(slices={"user.slice": {"MemoryLow": 64 * MIB}}), {"/user.slice memory.low": str(64 * MIB)}),
    ("another value", chosen(host={"vm.swappiness": 5}), {"vm.swappiness": "5"}),
    ("a bound that the profile's value meets", chosen(host={"vm.swappiness": {"raise_to": 1}}), {}),
    ("a bound that it does not", chosen(host={"vm.swappiness": {"lower_to": 1}}), {"vm.swappiness": "1"}),
    ("its own unit", chosen(slices={"batch.slice": {"MemoryLow": 64 * MIB}}), {"/batch.slice memory.low": str(64 * MIB)}),
]
STANDS = {"vm.swappiness": "10", "vm.min_free_kbytes": "131072", "/batch.slice memory.high": str(2 * GIB)}


@pytest.mark.parametrize(("selection", "moved"), [case[1:] for case in ADDED], ids=[case[0] for case in ADDED])
def test_a_selection_changes_what_it_names_and_nothing_else(machine: Machine, selection: Json, moved: Json) -> None:
    machine.tune(PROFILE)
    answer = machine.tune(EARLIER, selection)
    assert answer["problem"] == "" and answer["changed"] == bool(moved)
    assert {name: machine.text(name) for name in {**STANDS, **moved}} == {**STANDS, **moved}
    again = machine.tune(EARLIER, selection)
    assert not again["changed"] and again["generation"] == 0
    machine.reboot()
    assert {name: machine.text(name) for name in {**STANDS, **moved}} == {**STANDS, **moved}


def test_selections_add_up_and_a_tune_by_profiles_alone_ends_them(machine: Machine) -> None:
    before = machine.snapshot()
    machine.tune(PROFILE)
    machine.tune(EARLIER, chosen(host={"vm.page-cluster": 0}))
    machine.tune(EARLIER, chosen(host={"lru_gen/min_ttl_ms": 1000}))
    assert (machine.text("vm.page-cluster"), machine.text("vm.swappiness")) == ("0", "10")
    assert last_meta(machine)["profiles"] == ["colocated"]
    machine.tune(PROFILE, EARLIER_SELECTIONS, chosen(host={"vm.overcommit_memory": 1}))
    assert (machine.text("vm.page-cluster"), machine.text("vm.overcommit_memory")) == ("0", "1")
    answer = machine.tune(PROFILE)
    assert (machine.text("vm.page-cluster"), machine.text("vm.overcommit_memory"), machine.text("vm.swappiness")) == ("3", "0", "10")
    assert "no profile wants it any more" in rows(answer)["vm.page-cluster"]["reason"]
    machine.rollback("origin")
    assert machine.snapshot() == before


def test_a_named_profile_replaces_the_earlier_ones_beside_a_selection(machine: Machine) -> None:
    machine.tune(PROFILE)
    machine.tune(layer("other", host={"vm.page-cluster": 0}), EARLIER_SELECTIONS, chosen(host={"vm.overcommit_memory": 1}))
    assert (machine.text("vm.swappiness"), machine.text("vm.page-cluster"), machine.text("vm.overcommit_memory")) == ("60", "0", "1")


def test_a_selection_after_a_rollback_adds_to_what_stands_then(machine: Machine) -> None:
    machine.tune(PROFILE)
    machine.tune(layer("two", host={"vm.swappiness": 20}))
    machine.rollback()
    machine.tune(EARLIER, chosen(host={"vm.page-cluster": 0}))
    assert {name: machine.text(name) for name in STANDS} == STANDS
    machine.rollback("origin")
    machine.tune(EARLIER, chosen(host={"vm.page-cluster": 0}))
    assert (machine.text("vm.swappiness"), machine.text("vm.page-cluster")) == ("60", "0")


def test_a_selection_on_a_node_that_was_never_tuned_is_all_there_is(machine: Machine) -> None:
    answer = machine.tune(EARLIER, chosen(host={"vm.page-cluster": 0}))
    assert statuses(answer) == {"vm.page-cluster": "changed"} and last_meta(machine)["layers"] == [chosen(host={"vm.page-cluster": 0})]


def test_what_was_applied_in_some_areas_only_is_no_more_than_that(machine: Machine) -> None:
    machine.tune(PROFILE, only=["swap"])
    machine.tune(EARLIER, chosen(host={"vm.page-cluster": 0}))
    assert (machine.text("vm.swappiness"), machine.text("/batch.slice memory.high")) == ("10", "max")
    machine.tune(layer("other", host={"transparent_hugepage/enabled": "madvise"}), only=["thp"])
    machine.tune(EARLIER, chosen(host={"vm.overcommit_memory": 1}))
    assert (machine.text("vm.swappiness"), machine.text("vm.page-cluster"), machine.text(THP_FILE)) == ("10", "0", "always [madvise] never")


def test_layers_do_not_pile_up(machine: Machine) -> None:
    machine.tune(PROFILE)
    for value in (5, 6, 7, 8):
        machine.tune(EARLIER, chosen(host={"vm.swappiness": value, "vm.page-cluster": {"lower_to": 2}}), layer("host variables", host={"kernel.panic": value}))
    assert [one["profile"] for one in last_meta(machine)["layers"]] == ["base", "selection", "host variables"]
    assert machine.text("vm.swappiness") == "8"


def test_a_generation_that_kept_no_layers_asks_for_the_profile(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(_tune, "_applied", lambda *unused: None)
        machine.tune(PROFILE)
    path = Path(machine.root, "var/lib/memqos/generations/1.json")
    path.write_text(path.read_text(encoding="utf-8").replace('"layers"', '"other"'), encoding="utf-8")
    with pytest.raises(_tune.TuneError, match="name them with memqos_profile"):
        machine.tune(EARLIER, chosen(host={"vm.page-cluster": 0}))
    assert machine.text("vm.page-cluster") == "3"
