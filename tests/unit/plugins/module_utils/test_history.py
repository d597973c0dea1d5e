# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of generations is what they did: any two are compared, and held against what the node was after each."""

from __future__ import annotations

import itertools
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _history, _tune
from ansible_collections.memqos.fleet.plugins.module_utils._journal import Journal, JournalError
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import tuned_node
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import MINE, OPTIONS, Json, Machine, Make, layer

pytestmark = pytest.mark.usefixtures("root_user")

DROP_IN = "/etc/systemd/system/batch.slice.d/zz-memqos.conf"
VALUES = {
    ("", "vm.swappiness"): "vm.swappiness", ("", "vm.dirty_bytes"): "vm.dirty_bytes", ("", "vm.dirty_ratio"): "vm.dirty_ratio",
    ("batch.slice", "MemoryHigh"): "/batch.slice memory.high", ("batch.slice", "MemoryLow"): "/batch.slice memory.low",
}  # fmt: skip
KINDS: t.List[Json] = [{"systemd": 252}, {"systemd": 257}]


def done(machine: Machine) -> t.Dict[str, Json]:
    """{generation: what the node was after it}, by what can be asked for."""
    states = {"origin": state(machine)}
    high_and_low = layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryHigh": "3G", "MemoryLow": "64M"}})
    other = layer(host={"vm.swappiness": 20, "vm.dirty_bytes": "512M"}, slices={"batch.slice": {"MemoryHigh": "2G"}})
    for number, run in enumerate([lambda: machine.tune(high_and_low), lambda: machine.tune(other), machine.rollback, lambda: machine.tune(other)], 1):
        assert run()["generation"] == number
        states[str(number)] = state(machine)
    return {**states, "now": states["4"]}


def state(machine: Machine) -> Json:
    values: t.Dict[t.Any, t.Any] = {key: machine.text(path) for key, path in VALUES.items()}
    values = {key: "infinity" if text == "max" else text for key, text in values.items()}
    return {**values, **{path: machine.text(path) for path in (MINE, DROP_IN)}}


def told(machine: Machine, *compare: str) -> Json:
    return _history.told(Journal(machine.node), compare)


@pytest.mark.parametrize("more", KINDS)
def test_any_two_differ_by_what_the_node_was_after_them(make: Make, more: Json) -> None:
    machine = make(**more)
    states = done(machine)
    for one, other in itertools.product(states, repeat=2):
        compared = told(machine, one, other)["compared"]
        found: t.Dict[t.Any, t.Any] = {(row["subject"], row["name"]): (row["before"], row["after"]) for row in compared["values"]}
        found.update({row["path"]: tuple(text if text is None else text.strip() for text in (row["before"], row["after"])) for row in compared["files"]})
        wanted: t.Dict[t.Any, t.Any] = {key: (before, states[other][key]) for key, before in states[one].items() if before != states[other][key]}
        assert found == wanted, (one, other)


def test_what_each_generation_was(make: Make) -> None:
    machine = make()
    done(machine)
    answer = told(machine)
    assert (answer["stands"], answer["compared"], answer["notes"]) == ("4", None, [])
    assert [(one["generation"], one["stands"], one["profiles"]) for one in answer["generations"]] == [
        (1, "1", ["colocated"]), (2, "2", ["colocated"]), (3, "1", ["colocated"]), (4, "4", ["colocated"])
    ]  # fmt: skip
    first, second = answer["generations"][:2]
    assert (first["started"], first["host"], first["problem"]) == ("2026-11-23T09:00:00Z", "controller", "")
    assert {(row["subject"], row["name"]): (row["before"], row["after"]) for row in first["values"]} == {
        ("", "vm.swappiness"): ("60", "10"), ("batch.slice", "MemoryHigh"): ("infinity", str(3 << 30)), ("batch.slice", "MemoryLow"): ("0", str(64 << 20))
    }  # fmt: skip
    assert sorted(first["files"]) == [MINE, DROP_IN]
    # What a write moved belongs to it.
    assert {"name": "vm.dirty_ratio", "subject": "", "before": "20", "after": "0"} in second["values"]


def test_what_a_unit_had_taken_before_is_no_runs_work(make: Make) -> None:
    machine = make()
    machine.tune(layer(slices={"idle.service": {"MemoryMax": "2G"}}))
    machine.start("idle.service", "/system.slice/idle.service")
    machine.tune(layer(slices={"idle.service": {"MemoryMax": "1G"}}))
    values = [row for row in told(machine)["generations"][1]["values"] if row["name"] == "MemoryMax"]
    assert values == [{"name": "MemoryMax", "subject": "idle.service", "before": str(2 << 30), "after": str(1 << 30)}]


@pytest.mark.parametrize("compare", [["origin", "7"], ["0", "now"], ["now", "5"]])
def test_a_generation_that_is_not_there(make: Make, compare: t.List[str]) -> None:
    machine = make()
    done(machine)
    with pytest.raises(_history.Unknown, match="there is no generation [057]; there are: 1, 2, 3, 4"):
        told(machine, *compare)


def test_a_node_that_was_never_tuned(make: Make) -> None:
    machine = make()
    assert told(machine) == {"schema_version": 1, "stands": "origin", "generations": [], "compared": None, "notes": []}
    with pytest.raises(_history.Unknown, match="there are: none"):
        told(machine, "origin", "now")


def test_a_damaged_generation_is_told_beside_the_others(make: Make) -> None:
    machine = make()
    done(machine)
    Path(f"{machine.root}/var/lib/memqos/generations/2.json").write_text("{", encoding="utf-8")
    answer = told(machine, "3", "4")
    assert ["is damaged" in one["problem"] for one in answer["generations"]] == [False, True, False, False]
    assert answer["compared"]["values"] != []
    with pytest.raises(JournalError, match="2.json: is damaged"):
        told(machine, "1", "4")


def test_the_newest_is_damaged_while_something_is_armed(make: Make) -> None:
    machine = make()
    done(machine)
    machine.write("/var/lib/memqos/armed.json", '{"token": "t1"}')
    Path(f"{machine.root}/var/lib/memqos/generations/4.json").write_text("{", encoding="utf-8")
    answer = told(machine)
    assert "is damaged" in answer["generations"][3]["problem"] and answer["notes"] == []


def test_nothing_is_written_and_an_interrupted_run_is_named(make: Make) -> None:
    machine = make()
    done(machine)
    machine.write("/var/lib/memqos/pending.jsonl", Path(f"{machine.root}/var/lib/memqos/generations/4.json").read_text(encoding="utf-8"))
    before = tuned_node.snapshot(machine.root, times=True)
    assert told(machine, "origin", "now")["notes"] == ["an interrupted run left a transaction half done: a run without --check undoes it first"]
    assert tuned_node.snapshot(machine.root, times=True) == before


def protected(machine: Machine, *, of_request: int) -> Json:
    """A tune of what the inventory calls workloads."""
    declared = [{"match": name, "qos_class": "LS", "request": 64 << 20} for name in ("redis-server.service", "app@1.service")]
    amount = {"of": "request", "share": [of_request, 100]}
    request = {"layers": [layer(qos={"LS": {"protect_soft": amount}})], "options": OPTIONS, "qos": {"declared": declared}}
    return machine.asked(_tune.tune, request)


def test_values_of_containers_are_a_row_each(make: Make) -> None:
    machine = make()
    assert [protected(machine, of_request=share)["generation"] for share in (100, 50)] == [1, 2]
    # The services and the slices above them, of which the first has both.
    units = {"system.slice": 128, "system-app.slice": 64, "redis-server.service": 64, "app@1.service": 64}
    sizes, halves = ({unit: str((mib << 20) // by) for unit, mib in units.items()} for by in (1, 2))
    answer = told(machine, "origin", "now")
    by_subject = [sorted(one["values"], key=lambda row: str(row["subject"]), reverse=True) for one in answer["generations"]]

    def rows(before: t.Mapping[str, str], after: t.Mapping[str, str]) -> list[dict[str, str]]:
        return [{"name": "memory.low", "subject": unit, "before": before.get(unit, "0"), "after": after[unit]} for unit in units]

    assert by_subject == [rows({}, sizes), rows(sizes, halves)]
    assert sorted(answer["compared"]["values"], key=lambda row: str(row["subject"]), reverse=True) == rows({}, halves)
    assert machine.rollback("origin")["generation"] == 3
    assert told(machine, "origin", "now")["compared"]["values"] == []


def test_a_node_of_many_containers_is_told_shortly(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = make()
    protected(machine, of_request=100)
    monkeypatch.setattr(_history, "_MOST", 1)
    answer = told(machine, "origin", "now")
    for values in (answer["generations"][0]["values"], answer["compared"]["values"]):
        assert len(values) == 2 and values[0]["name"] == "memory.low"
        assert values[1] == {"name": "containers", "subject": "", "before": None, "after": "3 more values"}
