# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole runs where systemd's socket is there: as by systemctl, whatever becomes of the connection."""

from __future__ import annotations

import errno
import os
import signal
import typing as t
from pathlib import Path

import pytest
from jeepney.low_level import Message

from ansible_collections.memqos.fleet.plugins.module_utils import _bus
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Refused, Writer
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.fake_bus import PRIVATE, Manager, Peer, Piece, answer, error, member, short_root
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import GIB, MIB, Json, Machine, layer
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import Node, in_child, snapshot

WANTED = layer(
    host={"vm.swappiness": 10},
    slices={
        "batch.slice": {"MemoryHigh": 2 * GIB, "MemoryMax": 3 * GIB, "ManagedOOMPreference": "avoid"},
        "batch-night.slice": {"MemoryLow": 64 * MIB},
        "user.slice": {"MemorySwapMax": GIB, "MemoryZSwapWriteback": False},
    },
)
UNITS = {"batch.slice", "batch-night.slice", "user.slice"}


class Struck(Node):
    """Fails, or is killed, at the C(at)th operation on a unit."""

    at, how = 0, 0
    units = 0

    def __init__(self, *arguments: t.Any, **more: t.Any) -> None:
        super().__init__(*arguments, **more)
        self.ran: t.List[str] = []  # of systemctl, by the writer

    def _run(self, argv: t.Sequence[str], timeout: float = 0) -> str:
        self.ran.append(argv[1])
        return super()._run(argv, timeout)

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if what == "command" and path in UNITS:
            self.units += 1
            if self.units == self.at:
                if not self.how:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(self.how, os.strerror(self.how))


@pytest.fixture(name="machine")
def fixture_machine() -> t.Iterator[Machine]:
    with short_root() as root:
        yield Machine(Path(root) / "node", writer=Struck)


def by_bus(machine: Machine, respond: t.Optional[t.Callable[[Message], t.Iterable[Piece]]] = None) -> Peer:
    return Peer(machine.root + PRIVATE, respond or Manager(machine.node.systemd))


def is_set(call: Message) -> bool:
    return member(call) == "SetUnitProperties"


def by_command(machine: Machine) -> t.Set[str]:
    """What systemctl had to do with units for the writer, since this was asked last."""
    ran = t.cast(Struck, machine.node).ran
    found = {"set-property", "show"} & set(ran)
    ran.clear()
    return found


def on_units(machine: Machine) -> t.List[str]:
    """The operations on units, since this was asked last."""
    found = [line for line in machine.node.done if line.startswith("command ") and line.split()[1] in UNITS]
    machine.node.done.clear()
    return found


def runs(machine: Machine) -> t.Iterator[t.Callable[[], Json]]:
    yield lambda: machine.tune(WANTED)
    yield lambda: machine.tune(WANTED)
    yield lambda: machine.tune(layer(slices={"batch.slice": {"MemoryHigh": GIB}}))
    yield lambda: machine.rollback("previous")
    yield lambda: machine.rollback("origin")


def test_all_becomes_what_it_becomes_by_systemctl(machine: Machine) -> None:
    with short_root() as root:
        other = Machine(Path(root) / "node", writer=Struck)
        for mine, theirs in zip(runs(machine), runs(other)):
            with by_bus(machine) as peer:
                told = mine()
            answers = told, theirs()
            assert [(one["problem"], one["changed"]) for one in answers] == [("", answers[1]["changed"])] * 2
            assert snapshot(machine.root) == snapshot(other.root)
            assert machine.node.systemd._held == other.node.systemd._held
            # One operation for each call, and one connection for all that comes before a command.
            commands = t.cast(Struck, machine.node).ran.count("daemon-reload")
            done = on_units(machine)
            assert done == on_units(other)
            assert len(list(filter(is_set, peer.calls))) == len(done)
            assert len(peer.lines) <= 2 * (1 + commands)
            assert (by_command(machine), "set-property" in by_command(other)) == (set(), bool(done))


def test_words_that_systemctl_knows_alone(machine: Machine) -> None:
    with by_bus(machine) as peer:
        told = machine.tune(layer(slices={"batch.slice": {"ManagedOOMMemoryPressureLimit": "60%"}, "user.slice": {"MemoryHigh": GIB}}))
    assert told["problem"] == ""
    assert machine.node.systemd._held["batch.slice"]["ManagedOOMMemoryPressureLimit"] == str(60 * ((1 << 32) - 1) // 100)
    assert [call.body[0] for call in peer.calls if is_set(call)] == ["user.slice"]
    # It reads what it does not write: that is a number.
    assert by_command(machine) == {"set-property"}


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_an_operation_that_fails_is_undone(machine: Machine, at: int) -> None:
    node = t.cast(Struck, machine.node)
    before = snapshot(machine.root)
    node.at, node.how = at, errno.EIO
    with by_bus(machine):
        told = machine.tune(WANTED)
    assert "(EIO)" in told["problem"] and "All was undone" in told["problem"]
    assert snapshot(machine.root) == before
    # The connection ends with the run.
    assert at == 1 or (node._bus and not node._bus._socket)


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_unit_that_has_gone_is_told_and_all_undone(machine: Machine, at: int) -> None:
    before = snapshot(machine.root)
    manager, name = Manager(machine.node.systemd), "org.freedesktop.systemd1.NoSuchUnit"
    seen: t.List[str] = []

    def respond(call: Message) -> t.Iterable[Piece]:
        seen.extend([call.body[0]] if is_set(call) else [])
        if is_set(call) and len(seen) == at:
            yield error(call, name, f"Unit {call.body[0]} not found.")
        else:
            yield from manager(call)

    with by_bus(machine, respond):
        told = machine.tune(WANTED)
    assert f"systemd: Unit {seen[at - 1]} not found. ({name})" in told["problem"] and "All was undone" in told["problem"]
    assert told["problem"].startswith(f"{seen[at - 1]}: setting ")
    assert snapshot(machine.root) == before
    assert by_command(machine) == set()


class Ends:
    """The connection ends at the C(at)th call that sets, before or C(after) it was done; C(times) times."""

    def __init__(self, machine: Machine, at: int, times: int, after: bool) -> None:
        self.manager, self.at, self.times, self.after = Manager(machine.node.systemd), at, times, after
        self.sets = 0

    def __call__(self, call: Message) -> t.Iterable[Piece]:
        self.sets += is_set(call)
        is_end = is_set(call) and self.sets >= self.at and self.times > 0
        if is_end:
            self.times -= 1
        data = b"" if is_end and not self.after else self.manager.answer(call)
        yield None if is_end else data


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_connection_that_ends_once(machine: Machine, at: int, after: bool) -> None:
    with by_bus(machine, Ends(machine, at, 1, after)) as peer:
        assert machine.tune(WANTED)["problem"] == ""
    assert len(list(filter(is_set, peer.calls))) == len(on_units(machine)) + 1 == 5
    assert by_command(machine) == set()
    assert machine.text("/batch.slice memory.high") == str(2 * GIB)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_one_that_ends_for_good_is_undone_by_systemctl(machine: Machine, at: int, after: bool) -> None:
    before = snapshot(machine.root)
    with by_bus(machine, Ends(machine, at, 99, after)) as peer:
        told = machine.tune(WANTED)
    assert "systemd: the connection was cut twice" in told["problem"] and "All was undone" in told["problem"]
    assert snapshot(machine.root) == before
    assert len(list(filter(is_set, peer.calls))) == at + 1
    assert "set-property" in by_command(machine)


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_killed_there_the_next_run_undoes_it(machine: Machine, at: int, is_there: bool) -> None:
    """With the socket, or where it has gone since."""
    before = snapshot(machine.root)
    node = t.cast(Struck, machine.node)
    node.at = at
    with by_bus(machine):
        assert in_child(lambda: machine.tune(WANTED)) == signal.SIGKILL
        node.at = 0
        if is_there:
            assert machine.tune(layer(host={"vm.swappiness": 60}))["problem"] == ""
    if not is_there:
        assert machine.tune(layer(host={"vm.swappiness": 60}))["problem"] == ""
    machine.rollback("origin")
    assert snapshot(machine.root) == before


# The writer itself


def test_names_are_checked_before_they_are_sent(machine: Machine) -> None:
    with by_bus(machine) as peer:
        for unit, name, value in (
            ("../x.slice", "MemoryHigh", "1"),
            ("x.slice\n", "MemoryHigh", "1"),
            ("x.slice", "Memory High", "1"),
            ("x.slice", "MemoryHigh", "1\n"),
        ):
            with pytest.raises(Refused):
                machine.node.set_properties(unit, [(name, value)])
        for unit, name in (("x", "MemoryHigh"), ("x.slice", "memory-high")):
            with pytest.raises(Refused):
                machine.node.properties(unit, [name])
    assert (peer.lines, [line for line in machine.node.done if line.startswith("command")]) == ([], [])


def test_escaped_names_and_scopes(machine: Machine) -> None:
    units = [r"dev-disk\x2dby.slice", "cri-containerd-0a1f2b.scope", "run-r0123.scope", "app@2.service", "kubepods-burstable-pod0b5f_3c.slice"]
    with by_bus(machine, lambda call: [answer(call)]) as peer:
        for unit in units:
            machine.node.set_properties(unit, [("MemoryMin", "infinity")])
        machine.node.close()
    assert [call.body for call in peer.calls] == [(unit, True, [("MemoryMin", ("t", _bus._INFINITY))]) for unit in units]


def test_a_tree_that_is_not_the_live_node_has_no_bus(machine: Machine) -> None:
    with by_bus(machine) as peer, pytest.raises(Refused, match="is not the live node"):
        Writer(machine.root).set_properties("batch.slice", [("MemoryHigh", "1073741824")])
    assert peer.lines == []


def test_nothing_is_kept_open_while_a_command_runs(machine: Machine) -> None:
    """systemd would keep its signals for us, a daemon-reload's thousands."""
    with by_bus(machine) as peer:
        machine.node.set_properties("batch.slice", [("MemoryHigh", "1073741824")])
        assert peer.connection is not None and not peer.is_more_to_come(0.0)
        machine.node.reload()
        machine.node.set_properties("batch.slice", [("MemoryHigh", "2147483648")])
        machine.node.close()
    assert len(peer.lines) == 4
