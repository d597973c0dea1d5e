# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Old generations go, and no way back with them: not that to the origin, not C(previous), not those to what is kept; wherever a run is killed meanwhile."""

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _tune
from ansible_collections.memqos.fleet.plugins.module_utils._journal import Entry, Journal, JournalError
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import tuned_node
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.test_recovery import Killed, kill
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.thinned import THINNED
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import Json, Machine, Make, layer
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import Node

pytestmark = pytest.mark.usefixtures("root_user")

# By number alone.
LAST = {"generations": 2, "since": "9"}


class Told(Journal):
    """Generations by number: when each began, and what stood after it."""

    def __init__(self, told: t.Dict[int, t.Tuple[str, t.Any]]) -> None:
        self.told = told

    def generations(self) -> t.List[int]:
        return sorted(self.told)

    def generation(self, number: int) -> Entry:
        started, stands = self.told[number]
        return Entry(number, "", {**({"started": started} if started else {}), **({} if stands is None else {"stands": stands})}, ())


DAYS = ["2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z", "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"]
TUNES: t.Dict[int, t.Tuple[str, t.Any]] = {number: (day, None) for number, day in enumerate(DAYS, 1)}
OLD: t.List[t.Tuple[str, t.Dict[int, t.Tuple[str, t.Any]], int, str, t.List[int]]] = [
    ("by number", TUNES, 3, "9", [1, 2]),
    ("by number and age", TUNES, 2, "2026-10-02T00:00:00Z", [1]),
    ("all are young", TUNES, 1, "2026-10-01T00:00:00Z", []),
    ("all are few", TUNES, 5, "9", []),
    ("what stands, and what stood before", TUNES, 1, "9", [1, 2, 3]),
    ("a rollback's tune stands", {**TUNES, 5: (DAYS[4], 3)}, 1, "9", [1]),
    ("the first tune stands", {**TUNES, 5: (DAYS[4], 1)}, 1, "9", []),
    ("nothing of ours stands", {**TUNES, 5: (DAYS[4], "origin")}, 1, "9", [1, 2, 3, 4]),
    ("what stands is gone", {4: (DAYS[3], None), 5: (DAYS[4], 3)}, 1, "9", []),
    ("without gaps", {**TUNES, 2: ("2027-01-01T00:00:00Z", None)}, 1, "2026-11-03T00:00:00Z", [1]),
    ("of an age that nobody knows", {**TUNES, 1: ("", None)}, 1, "2026-12-01T00:00:00Z", []),
    ("one alone", {7: (DAYS[0], None)}, 1, "9", []),
]


@pytest.mark.parametrize(("told", "number", "since", "going"), [row[1:] for row in OLD], ids=[row[0] for row in OLD])
def test_which_go(told: t.Dict[int, t.Tuple[str, t.Any]], number: int, since: str, going: t.List[int]) -> None:
    assert _tune._old(Told(told), {"generations": number, "since": since}) == going


def wanted(number: int) -> Json:
    """Huge pages only at first: what the kernel made of them stands in the result of generation 1 alone."""
    host = {"vm.swappiness": number, "vm.nr_hugepages": 100}
    return layer(host=host, slices={"batch.slice": {"MemoryHigh": f"{number}G"}})


def tuned(machine: Machine, count: int) -> t.Dict[str, Json]:
    """{generation: the node after it}"""
    states = {"origin": machine.snapshot()}
    for number in range(1, count + 1):
        assert machine.tune(wanted(number))["generation"] == number
        states[str(number)] = machine.snapshot()
    return states


def kept(machine: Machine) -> t.List[int]:
    return Journal(machine.node).generations()


def test_every_way_back_is_there_when_old_ones_are_gone(make: Make) -> None:
    machine = make()
    machine.keep = LAST
    states = tuned(machine, 6)
    assert kept(machine) == [5, 6]
    assert machine.rollback()["generation"] == 7 and machine.snapshot() == states["5"]
    # The sixth began as late as all, but 5 stands now, and what stood before that is gone.
    with pytest.raises(_tune.TuneError, match="what stood before generation 5 is kept no more: name origin, or one of 5, 6, 7"):
        machine.rollback()
    with pytest.raises(JournalError, match="there is no such generation; there are: 5, 6, 7"):
        machine.rollback("3")
    assert machine.rollback("6")["generation"] == 8 and machine.snapshot() == states["6"]
    answer = machine.rollback("origin")
    assert (answer["generation"], machine.snapshot()) == (9, states["origin"])
    assert {row["status"] for row in answer["results"]} == {"changed"}


def test_the_way_to_the_origin_knows_what_the_kernel_made_of_a_value(make: Make) -> None:
    machine = make()
    machine.keep = LAST
    tuned(machine, 5)
    machine.keep = {"generations": 1, "since": "9"}
    assert machine.text("vm.nr_hugepages") == "50"
    machine.tune(wanted(6))
    assert kept(machine) == [5, 6] and Journal(machine.node).shown()["/proc/sys/vm/nr_hugepages", "100"] == "50"
    machine.rollback("origin")
    assert machine.text("vm.nr_hugepages") == "0"


def test_a_run_that_changes_nothing_removes_nothing(make: Make) -> None:
    machine = make()
    tuned(machine, 4)
    machine.keep = LAST
    before = tuned_node.snapshot(machine.root, times=True)
    assert machine.tune(wanted(4))["generation"] == 0 and machine.tune(wanted(9), check=True)["generation"] == 0
    assert tuned_node.snapshot(machine.root, times=True) == before


def prepared(root: Path) -> Machine:
    machine = Machine(root / "node", writer=Killed)
    tuned(machine, 5)
    machine.keep = LAST
    return machine


def test_a_kill_at_any_operation_loses_no_way_back(tmp_path: Path) -> None:
    twin = Machine(tmp_path / "twin" / "node")
    states = tuned(twin, 6)
    count = prepared(tmp_path / "count")
    t.cast("Killed", count.node).operations = 0
    count.tune(wanted(6))
    operations = count.node.operations
    seen = set()
    # The transaction itself is killed in test_recovery.py: here what follows the rename that makes the generation.
    for at in range(operations - 40, operations + 1, THINNED):
        machine = prepared(tmp_path / str(at))
        assert kill(machine, wanted(6), at=at)
        left = kept(machine)
        assert left == list(range(left[0], left[-1] + 1)) and left[-1] in (5, 6) and left[0] <= 5
        seen.add(left[0])
        answer = machine.tune(wanted(7))
        assert answer["problem"] == "" and answer["generation"] == left[-1] + 1
        assert kept(machine) == [left[-1], left[-1] + 1]
        assert machine.rollback()["problem"] == "" and machine.snapshot() == states[str(left[-1])]
        assert machine.rollback("origin")["problem"] == "" and machine.snapshot() == states["origin"]
    assert seen == {1, 2, 3, 4, 5} or THINNED > 1


class Full(Node):
    """Its disk fails at a removal, or at the new origin, of what is pruned."""

    words = ""

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if self.words == f"{what} {path}":
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)


@pytest.mark.parametrize("words", ["remove /var/lib/memqos/generations/2.json", "sync directory /var/lib/memqos/generations/1.json"])
def test_an_error_is_a_note_and_the_tune_stands(tmp_path: Path, words: str) -> None:
    machine = Machine(tmp_path / "node", writer=Full)
    tuned(machine, 5)
    machine.keep, t.cast("Full", machine.node).words = LAST, words
    answer = machine.tune(wanted(6))
    assert (answer["generation"], answer["problem"]) == (6, "") and machine.text("vm.swappiness") == "6"
    (note,) = answer["notes"]
    assert note.startswith("older generations were not removed: ")
    t.cast("Full", machine.node).words = ""
    assert machine.tune(wanted(7))["notes"] == [] and kept(machine) == [6, 7]


def test_a_damaged_generation_ends_it(make: Make) -> None:
    machine = make()
    for number in range(1, 6):
        machine.tune(layer(host={"vm.swappiness": number}))
    damaged = Path(f"{machine.root}/var/lib/memqos/generations/2.json")
    damaged.write_text("{", encoding="utf-8")
    machine.keep = LAST
    (note,) = machine.tune(layer(host={"vm.swappiness": 77}))["notes"]
    assert "older generations were not removed" in note and "2.json: is damaged" in note
    assert damaged.read_text(encoding="utf-8") == "{" and kept(machine) == [1, 2, 3, 4, 5, 6]
