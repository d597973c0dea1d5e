# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What values become that no step of ours wrote: those of the late unit at boot, and those that our daemon-reload brings into the kernel."""

from __future__ import annotations

import os
import tempfile
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.thinned import examples
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import GIB, UNITS, Json, Machine, Make, layer, rows, statuses

pytestmark = pytest.mark.usefixtures("root_user")

APP = "app@2.service"
FILE = f"{UNITS[APP]} memory.wmark_ratio"


def wmark(value: int, unit: str = APP) -> Json:
    return layer(slices={unit: {"memory.wmark_ratio": value}})


# What the late unit gave


@pytest.mark.parametrize("more", [{"systemd": 257}, {"systemd": 252}, {"systemd": 252, "hierarchy": 1}])
@pytest.mark.parametrize("subject", [APP, "app@.service"])
@pytest.mark.parametrize("way", ["rollback", "leaving"])
def test_what_the_late_unit_gave_at_boot_goes_back(make: Make, more: Json, subject: str, way: str) -> None:
    machine = make(vendor=True, **more)
    before = machine.snapshot()
    machine.stop(APP)
    machine.tune(wmark(95, subject))
    machine.reboot()
    assert machine.text(FILE) == "95"
    answer = machine.rollback("origin") if way == "rollback" else machine.tune(layer())
    row = rows(answer)[f"{APP} memory.wmark_ratio"]
    assert (row["status"], row["live_before"], row["live_after"]) == ("changed", "95", "0")
    assert machine.text(FILE) == "0"
    # Nor does the origin remember it as anybody's.
    assert machine.rollback("origin")["problem"] == "" and machine.text(FILE) == "0"
    machine.reboot()
    assert machine.snapshot() == before


@pytest.mark.parametrize("hierarchy", [1, 2])
def test_what_it_gave_is_not_what_stood_before_the_next_tune(make: Make, hierarchy: int) -> None:
    machine = make(systemd=252, vendor=True, hierarchy=hierarchy)
    machine.stop(APP)
    machine.tune(wmark(95))
    machine.reboot()
    machine.tune(wmark(90))
    assert machine.text(FILE) == "90"
    assert machine.rollback("1")["problem"] == "" and machine.text(FILE) == "95"
    assert machine.rollback("origin")["problem"] == "" and machine.text(FILE) == "0"


def test_a_generation_with_another_line_gets_what_that_gives(make: Make) -> None:
    machine = make(vendor=True)
    machine.stop(APP)
    machine.tune(wmark(95))
    machine.tune(wmark(90))
    machine.reboot()
    assert machine.text(FILE) == "90"
    assert machine.rollback("1")["problem"] == "" and machine.text(FILE) == "95"
    assert machine.rollback("origin")["problem"] == "" and machine.text(FILE) == "0"


@pytest.mark.parametrize("way", ["leaving", "rollback", "next tune", "generation"])
def test_a_later_line_gives_another_value_than_the_step_before(make: Make, way: str) -> None:
    machine = make(vendor=True)
    machine.tune(wmark(95))
    machine.stop(APP)
    machine.tune(wmark(90))
    machine.reboot()
    assert machine.text(FILE) == "90"
    if way == "leaving":
        answer = machine.tune(layer())
        assert statuses(answer) == {f"{APP} memory.wmark_ratio": "changed"} and machine.text(FILE) == "0"
    if way == "next tune":
        machine.tune(wmark(85))
    if way == "generation":
        assert machine.rollback("1")["problem"] == "" and machine.text(FILE) == "95"
    assert machine.rollback("origin")["problem"] == "" and machine.text(FILE) == "0"


def test_limits_that_it_gave_on_v1_go_back(make: Make) -> None:
    machine = make(systemd=252, hierarchy=1, vendor=True)
    machine.stop(APP)
    machine.tune(layer(slices={APP: {"MemoryHigh": 2 * GIB, "MemoryLow": GIB}}))
    machine.reboot()
    path = UNITS[APP]
    assert [machine.text(f"{path} memory.{name}") for name in ("high", "low")] == [str(2 * GIB), str(GIB)]
    assert machine.rollback("origin")["problem"] == ""
    assert [machine.text(f"{path} memory.{name}") for name in ("high", "low")] == ["max", "0"]


def test_what_is_inherited_goes_back_to_what_the_one_above_goes_back_to(make: Make) -> None:
    machine = make(systemd=252, hierarchy=1)
    machine.stop("user-1001.slice")
    wanted = layer(slices={"user.slice": {"memory.swappiness": 10}, "user-.slice": {"memory.swappiness": 20}})
    machine.tune(wanted)
    machine.reboot()
    assert machine.text("/user.slice/user-1001.slice memory.swappiness") == "20"
    answer = machine.rollback("origin")
    assert statuses(answer)["user-1001.slice memory.swappiness"] == "changed"
    assert [machine.text(f"/user.slice{path} memory.swappiness") for path in ("", "/user-1000.slice", "/user-1001.slice")] == ["60", "60", "60"]


@pytest.mark.parametrize("way", ["rollback", "leaving"])
def test_what_somebody_has_written_since_stays(make: Make, way: str) -> None:
    machine = make(vendor=True)
    machine.stop(APP)
    machine.tune(wmark(95))
    machine.reboot()
    machine.set(f"{machine.mount}{UNITS[APP]}/memory.wmark_ratio", "50")
    answer = machine.rollback("origin") if way == "rollback" else machine.tune(layer())
    assert answer["problem"] == "" and machine.text(FILE) == "50"


def test_what_nobody_knows_the_beginning_of_stays_and_is_named(make: Make) -> None:
    machine = make(vendor=True)
    for path in UNITS.values():
        machine.write(f"{machine.mount}{path}/memory.thp_reclaim_ctrl", "threshold 16\n")
    machine.cgroup_files["memory.thp_reclaim_ctrl"] = "threshold 16"
    machine.stop(APP)
    machine.tune(layer(slices={APP: {"memory.thp_reclaim_ctrl": "threshold 32"}}))
    machine.reboot()
    for answer in (machine.tune(layer(), check=True), machine.rollback("origin")):
        row = rows(answer)[f"{APP} memory.thp_reclaim_ctrl"]
        assert (row["status"], row["live_before"]) == ("deferred", "threshold 32")
        assert "what it was without is not known" in row["reason"]
    assert machine.text(f"{UNITS[APP]} memory.thp_reclaim_ctrl") == "threshold 32"


_SUBJECTS = ["batch.slice", "app@.service", "app@2.service", "user-.slice", "user.slice"]
_WANTED = st.dictionaries(
    st.sampled_from(_SUBJECTS),
    st.fixed_dictionaries({}, optional={"memory.wmark_ratio": st.integers(1, 100), "MemoryLow": st.integers(0, GIB), "MemoryHigh": st.integers(GIB, 2 * GIB)}),
    max_size=3,
)


@settings(max_examples=examples(30))
@given(
    st.sampled_from([{"systemd": 252, "hierarchy": 1}, {"systemd": 252}, {"systemd": 257}]),
    st.lists(st.tuples(_WANTED, st.sets(st.sampled_from([APP, "user-1001.slice"])), st.booleans()), min_size=2, max_size=4),
    st.booleans(),
)
def test_whatever_came_at_boot_goes_back(more: Json, runs: t.List[t.Tuple[Json, t.Set[str], bool]], left: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(Path(directory) / "node", vendor=True, **more)
        before = machine.snapshot()
        for wanted, stopped, rebooted in runs:
            for unit in stopped & set(machine.node.systemd.running):
                machine.stop(unit)
            assert machine.tune(layer(slices=wanted))["problem"] == ""
            if rebooted:
                machine.reboot()
        for unit in set(UNITS) - set(machine.node.systemd.running):
            machine.start(unit, UNITS[unit])
        if os.path.exists(f"{machine.root}/var/lib/memqos/generations"):
            assert (machine.tune(layer()) if left else machine.rollback("origin"))["problem"] == ""
        assert {path: text for path, (text, *unused) in machine.snapshot().items()} == {path: text for path, (text, *unused) in before.items()}


# What somebody wrote by hand

FOO = "/system.slice/foo.service"
FOO_MAX = f"{FOO} memory.max"
OTHER = layer(slices={"batch.slice": {"MemoryLow": GIB}})


def with_foo(machine: Machine, limit: str, by_hand: str, **files: str) -> None:
    """A unit that is nobody's of ours: what its drop-in says, and what somebody wrote into its cgroup since."""
    machine.write("/usr/lib/systemd/system/foo.service", "[Service]\nExecStart=/usr/bin/foo\n")
    machine.write("/etc/systemd/system/foo.service.d/10.conf", f"[Service]\nMemoryMax={limit}\n")
    machine.start("foo.service", FOO)
    name = "limit_in_bytes" if machine.hierarchy == 1 else "max"
    machine.set(f"{machine.mount}{FOO}/memory.{name}", by_hand)


@pytest.mark.parametrize("hierarchy", [1, 2])
def test_a_limit_raised_by_hand_that_a_reload_would_take_back_below_usage_is_refused(make: Make, hierarchy: int) -> None:
    machine = make(systemd=252, hierarchy=hierarchy, vendor=hierarchy == 1)
    with_foo(machine, "1G", str(2 * GIB))
    usage = "usage_in_bytes" if hierarchy == 1 else "current"
    machine.write(f"{machine.mount}{FOO}/memory.{usage}", f"{GIB + GIB // 2}\n")
    before = machine.snapshot()
    wanted = layer(slices={"batch.slice": {"MemoryMax": 3 * GIB}})
    for check in (True, False):
        answer = machine.tune(wanted, check=check)
        row = rows(answer)["foo.service memory.max"]
        assert (row["status"], row["live_before"], row["wanted"]) == ("refused", str(2 * GIB), str(GIB))
        assert "not ours: somebody wrote it by hand" in answer["problem"] and "below its usage" in answer["problem"]
        assert machine.snapshot() == before and len(statuses(answer)) == 2
    if hierarchy == 2:
        answer = machine.tune(wanted, allow=["limit_below_usage"])
        assert statuses(answer) == {"batch.slice MemoryMax": "changed", "foo.service memory.max": "changed"}


def test_what_a_reload_takes_back_and_hurts_nobody_is_named(make: Make) -> None:
    machine = make(systemd=252)
    with_foo(machine, "1G", str(2 * GIB))
    assert statuses(machine.tune(OTHER, check=True))["foo.service memory.max"] == "would_change"
    answer = machine.tune(OTHER)
    assert statuses(answer) == {"batch.slice MemoryLow": "changed", "foo.service memory.max": "changed"}
    row = rows(answer)["foo.service memory.max"]
    assert (row["live_before"], row["live_after"], machine.text(FOO_MAX)) == (str(2 * GIB), str(GIB), str(GIB))
    assert answer["notes"] == []
    # By now nobody's value differs, and without a reload nothing is taken back.
    machine.set(f"{machine.mount}{FOO}/memory.max", str(2 * GIB))
    assert statuses(machine.tune(OTHER)) == {"batch.slice MemoryLow": "ok"}
    # A rollback reloads as well.
    assert statuses(machine.rollback("origin"))["foo.service memory.max"] == "changed"


def test_where_a_reload_leaves_the_kernel_alone_nothing_is_taken_back(make: Make) -> None:
    machine = make(systemd=257)
    with_foo(machine, "1G", str(2 * GIB))
    assert statuses(machine.tune(OTHER)) == {"batch.slice MemoryLow": "changed"}
    assert machine.text(FOO_MAX) == str(2 * GIB)


def test_units_that_hold_what_systemd_thinks_cost_no_second_question(make: Make) -> None:
    machine = make(systemd=252)
    with_foo(machine, "1G", str(GIB))
    asked: t.List[t.List[str]] = []
    answer = machine.node.systemd.answer

    def counted(argv: t.List[str]) -> str:
        asked.append(list(argv))
        return answer(argv)

    machine.node.systemd.answer = counted  # type: ignore[method-assign,assignment]
    assert statuses(machine.tune(OTHER, check=True)) == {"batch.slice MemoryLow": "would_change"}
    assert len([argv for argv in asked if argv[1] == "show"]) == 2


def test_a_transient_unit_goes_back_to_what_systemd_was_told(make: Make) -> None:
    machine = make(systemd=252)
    machine.start("run-1.scope", "/system.slice/run-1.scope")
    # systemd-run -p MemoryMax=1G, of which no drop-in that is read here tells.
    machine.node.systemd._held["run-1.scope"]["MemoryMax"] = str(GIB)
    machine.set(f"{machine.mount}/system.slice/run-1.scope/memory.max", str(2 * GIB))
    row = rows(machine.tune(OTHER, check=True))["run-1.scope memory.max"]
    assert (row["live_before"], row["wanted"]) == (str(2 * GIB), str(GIB))


def test_what_set_property_resets_is_told_once(make: Make) -> None:
    machine = make(systemd=252)
    with_foo(machine, "1G", str(2 * GIB))
    answer = machine.tune(layer(slices={"foo.service": {"MemoryLow": GIB}}))
    assert statuses(answer) == {"foo.service MemoryLow": "changed"}
    assert "a direct write" in rows(answer)["foo.service MemoryLow"]["reason"]
