# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units that took our values from drop-ins when they started: what remains of a unit's files without ours, and whole ways back."""

from __future__ import annotations

import os
import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _persist, _started, _tune
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.made_present import present, unit
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import GIB, MIB, Json, Machine, Make, layer, rows, statuses

pytestmark = pytest.mark.usefixtures("root_user")


IDLE = "/system.slice/idle.service"
STARTED = {
    "idle.service": (IDLE, "memory.max"),
    "user-1002.slice": ("/user.slice/user-1002.slice", "memory.high"),
    "app@3.service": ("/system.slice/system-app.slice/app@3.service", "memory.max"),
    "later.slice": ("/later.slice", "memory.high"),
}
LIMITS = {"idle.service": {"MemoryMax": 2 * GIB}, "user-.slice": {"MemoryHigh": GIB}, "app@.service": {"MemoryMax": GIB}, "later.slice": {"MemoryHigh": GIB}}
RUN_TIME = "/run/systemd/system.control/redis-server.service.d/50-MemoryMax.conf"
REDIS = "/system.slice/redis-server.service"


@pytest.fixture(name="machine", params=[252, 257])
def fixture_machine(request: pytest.FixtureRequest, make: Make) -> Machine:
    return make(systemd=request.param)


def start_all(machine: Machine) -> None:
    for name, (cgroup, unused) in STARTED.items():
        machine.start(name, cgroup)


def held(machine: Machine) -> t.List[t.Optional[str]]:
    return [machine.text(f"{cgroup} {file}") for cgroup, file in STARTED.values()]


def back(machine: Machine, how: str) -> Json:
    return machine.rollback("origin") if how == "rollback" else machine.tune(layer(host={"vm.swappiness": 10}))


# Units that start after the tune


@pytest.mark.parametrize("how", ["rollback", "leave"])
def test_a_unit_that_started_after_the_tune_goes_back_too(machine: Machine, how: str) -> None:
    machine.tune(layer(slices=LIMITS))
    start_all(machine)
    assert "max" not in held(machine)
    answer = back(machine, how)
    assert answer["problem"] == ""
    assert held(machine) == ["max"] * 4
    assert {status for name, status in statuses(answer).items() if name.split()[0] in STARTED} == {"changed"}
    assert {name.split()[0] for name in rows(answer)} >= set(STARTED)
    assert not os.path.exists(f"{machine.root}/run/systemd/system.control/idle.service.d")
    # Once: what they had by then was not from before us.
    assert [row for name, row in rows(machine.rollback("origin")).items() if name.split()[0] in STARTED] == []
    assert held(machine) == ["max"] * 4


def test_a_unit_that_started_goes_back_to_what_others_say(machine: Machine) -> None:
    machine.write("/usr/lib/systemd/system/idle.service", "[Service]\nExecStart=/usr/bin/idle\nMemoryMax=512M\n")
    machine.write("/etc/systemd/system/user-.slice.d/10-site.conf", "[Slice]\nMemoryHigh=25%\n")
    machine.tune(layer(slices=LIMITS))
    start_all(machine)
    assert machine.rollback("origin")["problem"] == ""
    assert held(machine) == [str(512 * MIB), str(2 * GIB), "max", "max"]


def test_what_a_unit_that_started_goes_back_to_is_held_against_the_guards(machine: Machine) -> None:
    machine.write("/usr/lib/systemd/system/idle.service", "[Service]\nExecStart=/usr/bin/idle\nMemoryMax=512M\n")
    machine.tune(layer(slices={"idle.service": {"MemoryMax": 4 * GIB}}))
    machine.start("idle.service", IDLE)
    machine.set(f"{machine.mount}{IDLE}/memory.current", str(GIB))
    answer = machine.rollback("origin")
    assert statuses(answer) == {"idle.service MemoryMax": "refused"}
    assert "is below its usage" in answer["problem"]
    assert machine.text(f"{IDLE} memory.max") == str(4 * GIB)
    assert machine.rollback("origin", allow=["limit_below_usage"])["problem"] == ""
    assert machine.text(f"{IDLE} memory.max") == str(512 * MIB)


def test_what_others_made_of_it_since_stays_and_is_named(make: Make) -> None:
    machine = make(systemd=257)
    machine.tune(layer(slices=LIMITS))
    start_all(machine)
    machine.set(f"{machine.mount}{IDLE}/memory.max", str(3 * GIB))
    answer = machine.rollback("origin")
    assert held(machine) == [str(3 * GIB), "max", "max", "max"]
    assert statuses(answer)["idle.service MemoryMax"] == "deferred"
    assert "changed by others since" in rows(answer)["idle.service MemoryMax"]["reason"]


def test_a_run_time_drop_in_of_others_stays(machine: Machine) -> None:
    machine.tune(layer(slices=LIMITS))
    start_all(machine)
    theirs = "/run/systemd/system.control/idle.service.d/50-MemoryMax.conf"
    machine.write(theirs, "[Service]\nMemoryMax=3G\n")
    assert machine.rollback("origin")["problem"] == ""
    assert machine.text(theirs) == "[Service]\nMemoryMax=3G"
    assert held(machine) == [str(3 * GIB), "max", "max", "max"]


def test_a_unit_that_started_and_was_set_since_goes_back_to_before_us(machine: Machine) -> None:
    """Its first step found a value of ours."""
    machine.tune(layer(slices=LIMITS))
    start_all(machine)
    machine.tune(layer(slices={**LIMITS, "idle.service": {"MemoryMax": 3 * GIB}, "user-.slice": {"MemoryHigh": 2 * GIB}}))
    assert held(machine) == [str(3 * GIB), str(2 * GIB), str(GIB), str(GIB)]
    answer = machine.rollback("origin")
    assert answer["problem"] == ""
    assert held(machine) == ["max"] * 4


def test_an_earlier_generation_is_one_for_units_that_started_since(machine: Machine) -> None:
    machine.tune(layer(slices=LIMITS))
    machine.tune(layer(slices={**LIMITS, "idle.service": {"MemoryMax": 3 * GIB}}))
    start_all(machine)
    machine.tune(layer(slices={**LIMITS, "idle.service": {"MemoryMax": 4 * GIB}, "user-.slice": {"MemoryHigh": 2 * GIB}}))
    assert machine.rollback("1")["problem"] == ""
    assert held(machine) == [str(2 * GIB), str(GIB), str(GIB), str(GIB)]


def test_only_what_left_goes_back(machine: Machine) -> None:
    machine.tune(layer(slices={**LIMITS, "idle.service": {"MemoryMax": 2 * GIB, "MemoryLow": 64 * MIB}}))
    start_all(machine)
    answer = machine.tune(layer(slices={**LIMITS, "idle.service": {"MemoryLow": 64 * MIB}}))
    assert answer["problem"] == ""
    assert held(machine) == ["max", str(GIB), str(GIB), str(GIB)]
    assert machine.text(f"{IDLE} memory.low") == str(64 * MIB)


def test_a_unit_keeps_what_it_is_given_by_name_when_its_template_leaves(machine: Machine) -> None:
    machine.tune(layer(slices={"app@.service": {"MemoryMax": GIB}}))
    machine.start("app@3.service", STARTED["app@3.service"][0])
    machine.tune(layer(slices={"app@3.service": {"MemoryMax": 2 * GIB}}))
    assert machine.text(f"{STARTED['app@3.service'][0]} memory.max") == str(2 * GIB)
    assert machine.rollback("origin")["problem"] == ""
    assert machine.text(f"{STARTED['app@3.service'][0]} memory.max") == "max"


# Units that do not run


def test_a_knob_that_leaves_while_its_unit_is_stopped_leaves_nothing_behind(machine: Machine) -> None:
    machine.tune(layer(slices={"redis-server.service": {"MemoryMax": 2 * GIB}}))
    assert machine.text(RUN_TIME) is not None
    machine.stop("redis-server.service")
    answer = machine.tune(layer(host={"vm.swappiness": 10}))
    assert answer["problem"] == ""
    assert machine.text(RUN_TIME) is None
    machine.start("redis-server.service", REDIS)
    assert machine.text(f"{REDIS} memory.max") == "max"


def test_a_run_time_drop_in_from_before_us_comes_back_while_its_unit_is_stopped(machine: Machine) -> None:
    machine.write(RUN_TIME, "[Service]\nMemoryMax=7G\n")
    machine.tune(layer(slices={"redis-server.service": {"MemoryMax": 2 * GIB}}))
    machine.stop("redis-server.service")
    machine.tune(layer(host={"vm.swappiness": 10}))
    assert machine.text(RUN_TIME) == "[Service]\nMemoryMax=7G"


# What others changed without a daemon-reload

THEIRS = "/etc/systemd/system/system.slice.d/50-x.conf"
BATCH = layer(slices={"batch.slice": {"MemoryLow": 64 * MIB}})


@pytest.mark.parametrize("systemd", [252, 257])
def test_a_reload_that_would_kill_is_refused_unless_allowed(make: Make, systemd: int) -> None:
    machine = make(systemd=systemd)
    machine.write(THEIRS, "[Slice]\nMemoryMax=100M\n")
    before = machine.snapshot()
    for check in (True, False):
        answer = machine.tune(BATCH, check=check)
        assert "system.slice memory.max: not ours" in answer["problem"]
        assert statuses(answer)["system.slice memory.max"] == "refused"
        assert machine.snapshot() == before
    answer = machine.tune(BATCH, allow=["limit_below_usage"])
    assert answer["problem"] == ""
    # What 257 has read comes into the kernel when a unit beside it starts.
    row, live = rows(answer)["system.slice memory.max"], {252: ("changed", str(100 * MIB)), 257: ("ok", "max")}[systemd]
    assert (row["status"], row["live_after"], machine.text("/system.slice memory.max")) == (*live, live[1])


@pytest.mark.parametrize("systemd", [252, 257])
def test_what_a_reload_makes_of_others_files_is_told(make: Make, systemd: int) -> None:
    machine = make(systemd=systemd)
    machine.tune(BATCH)
    machine.write(THEIRS, "[Slice]\nMemoryMax=7G\n")
    machine.write("/etc/systemd/system/batch.slice.d/10-x.conf", "[Slice]\nMemoryMax=6G\n")
    answer = machine.rollback("origin")
    assert answer["problem"] == ""
    assert "system.slice" in answer["notes"][0] and "batch.slice" in answer["notes"][0]
    told = {name: row["live_after"] for name, row in rows(answer).items() if "max" in name}
    live = {f"{unit}.slice memory.max": machine.text(f"/{unit}.slice memory.max") for unit in ("system", "batch")}
    assert (told, set(live.values())) == (live, {str(7 * GIB), str(6 * GIB)} if systemd == 252 else {"max"})


def test_a_reload_without_an_answer_whose_files_it_reads_is_none(machine: Machine) -> None:
    def answer(argv: t.Sequence[str]) -> str:
        if any("NeedDaemonReload" in word for word in argv):
            raise Unreadable("systemctl", "error", "no answer within 30 s")
        return systemd(argv)

    systemd, before = machine.node.systemd.answer, machine.snapshot()
    machine.node.systemd.answer = answer  # type: ignore[method-assign]
    with pytest.raises(_tune.TuneError, match="no answer within 30 s"):
        machine.tune(BATCH)
    assert machine.snapshot() == before


def test_files_that_systemd_has_read_are_not_told(machine: Machine) -> None:
    machine.write(THEIRS, "[Slice]\nMemoryMax=7G\n")
    machine.node.systemctl(["systemctl", "daemon-reload"])
    answer = machine.tune(BATCH)
    assert (answer["notes"], set(statuses(answer))) == ([], {"batch.slice MemoryLow"})


# What files say

SAID: t.Dict[str, t.Tuple[t.Dict[str, str], t.List[t.Tuple[str, t.Dict[str, str]]], str]] = {
    "nothing": ({}, [], "max"),
    "the unit file": ({"MemoryMax": "1G"}, [], str(GIB)),
    "a drop-in after it": ({"MemoryMax": "1G"}, [("10-a", {"MemoryMax": "2G"})], str(2 * GIB)),
    "an empty line": ({"MemoryMax": "1G"}, [("10-a", {"MemoryMax": ""})], "max"),
    "what systemd cannot read": ({"MemoryMax": "1G"}, [("10-a", {"MemoryMax": "lots"})], str(GIB)),
    "a share": ({"MemoryMax": "12.5%"}, [], str(GIB)),
    "the old name": ({"MemoryLimit": "1G"}, [], str(GIB)),
    "the old name and a newer one": ({"MemoryLimit": "1G"}, [("10-a", {"MemoryMax": "2G"})], str(2 * GIB)),
    "the old name and a newer one that says nothing": ({"MemoryLimit": "1G"}, [("10-a", {"MemoryMax": "infinity"})], str(GIB)),
    "half a page": ({"MemoryMax": "4097"}, [], "4096"),
    "ours gone": ({"MemoryMax": "1G"}, [(_persist.DROP_IN[:-5], {"MemoryMax": "3G"})], str(GIB)),
}


@pytest.mark.parametrize("case", SAID)
def test_what_remains_of_a_units_files_without_ours(case: str) -> None:
    fragment, lines, wanted = SAID[case]
    drop_ins: t.Any = [{"path": f"/etc/systemd/system/a.service.d/{name}.conf", "unit": "a.service", "lines": values} for name, values in lines]
    one = unit("a.service", "/a.service", max="max")._replace(fragment_lines=fragment)
    node = present(None, one)
    after = _started.changed(drop_ins, {path: {} for path in (drop_in["path"] for drop_in in drop_ins) if _persist.is_drop_in(path)})
    assert _started.said(one, after, node)["memory.max"] == wanted


@pytest.mark.parametrize("how", ["rollback", "leave"])
def test_one_that_started_anew_with_a_newer_value_of_ours_goes_back(machine: Machine, how: str) -> None:
    high = "/system.slice/system-app.slice/app@2.service memory.high"
    machine.tune(layer(slices={"app@.service": {"MemoryHigh": GIB}}))
    machine.stop("app@2.service")
    machine.tune(layer(slices={"app@2.service": {"MemoryHigh": GIB + 4096}}))
    machine.start("app@2.service", "/system.slice/system-app.slice/app@2.service")
    assert machine.text(high) == str(GIB + 4096)
    assert back(machine, how)["problem"] == "" and machine.text(high) == "max"
    machine.rollback("origin")
    assert machine.text(high) == "max"


def test_any_newer_property_puts_the_old_limit_out_of_force() -> None:
    one = unit("a.service", "/a.service", max="max", low="0")._replace(fragment_lines={"MemoryLimit": "1G", "MemoryLow": "1M"})
    assert _started.said(one, [], present(None, one))["memory.max"] == "max"
    old = one._replace(fragment_lines={"MemoryLimit": "1G"})
    assert _started.said(old, [], present(None, old, facts={"systemd": 258}))["memory.max"] == "max"


def test_slices_above_give_their_children_a_protection() -> None:
    drop_ins: t.Any = [{"path": "/etc/systemd/system/system.slice.d/10-a.conf", "unit": "system.slice", "lines": {"DefaultMemoryLow": "1G"}}]
    one = unit("a.service", "/system.slice/a.service", low="0")
    node = present(None, one)
    assert _started.said(one, drop_ins, node)["memory.low"] == str(GIB)
    assert _started.said(one._replace(fragment_lines={"MemoryLow": "0"}), drop_ins, node)["memory.low"] == "0"


def test_drop_ins_of_its_other_names_count() -> None:
    drop_ins: t.Any = [{"path": "/etc/systemd/system/alias.service.d/10-a.conf", "unit": "alias.service", "lines": {"MemoryMax": "1G"}}]
    one = unit("a.service", "/a.service", max="max")
    node = present(None, one)
    assert _started.said(one, drop_ins, node).get("memory.max", "max") == "max"
    one = one._replace(state=one.state._replace(names=("a.service", "alias.service")))
    assert _started.said(one, drop_ins, node)["memory.max"] == str(GIB)


@pytest.mark.parametrize(
    ("held", "known", "begins"),
    [("95", {}, "95"), ("95", {"/sys/fs/cgroup/memory/app.slice/memory.wmark_ratio": "80"}, "80"), (None, {}, "0")],
)
def test_a_vendors_inherited_file_begins_with_what_the_cgroup_above_has_or_goes_back_to(held: t.Optional[str], known: t.Dict[str, str], begins: str) -> None:
    def made(name: str, cgroup: str, text: t.Optional[str]) -> t.Any:
        files = {} if text is None else {"memory.wmark_ratio": SimpleNamespace(text=text)}
        return SimpleNamespace(state=SimpleNamespace(name=name, cgroup=cgroup), files=files)

    above, below = made("app.slice", "/app.slice", held), made("late.service", "/app.slice/late.service", "95")
    read: t.Any = SimpleNamespace(mount="/sys/fs/cgroup/memory", version=1, cgroups={}, units={"app.slice": [above], "late.service": [below]})
    assert _started._begins_with(_registry.find("memory.wmark_ratio"), below, known, read) == begins
