# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tune of swap that was killed, or cut off with the power, at each of its writes: the next run leaves all of it or nothing."""

from __future__ import annotations

import os
import shutil
import signal
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _tune
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.swap_machine import DEVICE, SwapMachine, SwapNode
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.thinned import NEWEST
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import GIB, MIB, Json, layer
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import in_child

pytestmark = pytest.mark.usefixtures("root_user")

PENDING = "/var/lib/memqos/pending.jsonl"
# Each takes a node and up to four runs. MEMQOS_EVERY_KILL=1 (make nightly) takes them all, a quarter of an hour.
_THINNED = 1 if os.environ.get("MEMQOS_EVERY_KILL") else 6 if NEWEST else 36


def size(mib: int, **more: t.Any) -> Json:
    return {"size": {"value": mib * MIB}, **more}


NONE = layer()
PLAIN = layer(host={"vm.swappiness": 10}, swap={"file": size(1), "zram": size(64), DEVICE: {"priority": 5}})
OTHER = layer(swap={"file": size(2, encrypted=True), "zram": size(32), DEVICE: {"priority": 6}})
# What stands before, and what is wanted by the run that is killed.
RUNS = {"made": (NONE, PLAIN), "changed": (PLAIN, OTHER), "taken back": (OTHER, NONE)}


class Killed(SwapNode):
    """The process ends before operation C(at)."""

    at = 0

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if self.operations == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def machine_with(path: Path, before: Json) -> SwapMachine:
    machine = SwapMachine(path / "node", writer=Killed)
    assert machine.tune(before, swap=True)["problem"] == ""
    return machine


def kill(machine: SwapMachine, wanted: Json, at: int) -> bool:
    node = t.cast("Killed", machine.node)
    node.operations, node.at = 0, at
    status = in_child(lambda: machine.tune(wanted, swap=True))
    node.operations, node.at = 0, 0
    assert status in (0, signal.SIGKILL)
    return status != 0


def cut_power(machine: SwapMachine, boot: int = 2) -> None:
    """With it goes what no fsync brought to disk, and all that is on."""
    pending = Path(machine.root + PENDING)
    if pending.exists():
        pending.write_bytes(pending.read_bytes().split(b"\n")[0] + b"\n\0\0\0\0")
    machine.reboot()
    machine.write("/proc/sys/kernel/random/boot_id", f"c0a80001-0000-4000-8000-00000000000{boot}\n")


def seen(machine: SwapMachine) -> Json:
    """All but the order in /proc/swaps and what the kernel numbers by itself."""
    found = {path: (content, mode) for path, (content, mode, unused) in machine.snapshot().items() if path != "/proc/swaps"}
    return {**found, "swaps": {area: (mib, max(priority, -1)) for area, (mib, priority) in machine.swaps().items()}}


@pytest.mark.parametrize("cut", [False, True], ids=["kill", "power cut"])
@pytest.mark.parametrize(("run", "first"), [("made", 1), ("changed", 2), ("taken back", 3)])
def test_it_is_all_or_nothing(tmp_path: Path, run: str, first: int, cut: bool) -> None:
    before, wanted = RUNS[run]
    assert all_or_nothing(tmp_path, before, wanted, range(first, 1000, _THINNED), cut=cut) > 20 // _THINNED


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_swap_file_is_all_or_nothing_at_every_write(tmp_path: Path, encrypted: bool) -> None:
    wanted = layer(swap={"file": size(1, encrypted=encrypted)})
    assert all_or_nothing(tmp_path, NONE, wanted, range(1, 1000, 1 if NEWEST else _THINNED)) > 20 // (1 if NEWEST else _THINNED)


def all_or_nothing(tmp_path: Path, before: Json, wanted: Json, kills: t.Iterable[int], *, cut: bool = False) -> int:
    """How often it was nothing, of kills at these operations, until one comes too late."""
    twin = machine_with(tmp_path / "twin", before)
    if cut:
        cut_power(twin)
    nothing = seen(twin)
    twin.tune(wanted, swap=True)
    everything = seen(twin)
    undone = 0
    for at in kills:
        machine = machine_with(tmp_path / str(at), before)
        was_killed = kill(machine, wanted, at)
        if cut:
            cut_power(machine)
        # The areas are left as they are: what comes of it is what the recovery made.
        answer = machine.tune(NONE, only=["watermarks"])
        assert (answer["problem"], machine.text(PENDING)) == ("", None), at
        found = seen(machine)
        committed = machine.text(f"/var/lib/memqos/generations/{2 if before is not NONE else 1}.json") is not None
        assert found == (everything if committed else nothing), at
        if not was_killed:
            return undone
        undone += not committed
        shutil.rmtree(tmp_path / str(at))
    raise AssertionError("it was killed each time")


@pytest.mark.parametrize("again", ["kill", "power cut"])
def test_a_recovery_may_itself_be_interrupted(tmp_path: Path, again: str) -> None:
    twin = machine_with(tmp_path / "twin", PLAIN)
    cut_power(twin, 3)
    nothing = seen(twin)
    operations = _operations(machine_with(tmp_path / "count", PLAIN), OTHER)
    at, was_killed = 1, True
    while was_killed:
        machine = machine_with(tmp_path / str(at), PLAIN)
        assert kill(machine, OTHER, operations - 8)
        cut_power(machine)
        was_killed = _killed_recovering(machine, at)
        if again == "power cut":
            cut_power(machine, 3)
        assert machine.tune(NONE, only=["watermarks"])["problem"] == ""
        assert (seen(machine), machine.text(PENDING)) == (nothing, None), at
        at += _THINNED


def _killed_recovering(machine: SwapMachine, at: int) -> bool:
    node = t.cast("Killed", machine.node)
    node.operations, node.at = 0, at
    status = in_child(lambda: machine.tune(NONE, only=["watermarks"]))
    node.operations, node.at = 0, 0
    return status != 0


def _operations(machine: SwapMachine, wanted: Json) -> int:
    machine.node.operations = 0
    machine.tune(wanted, swap=True)
    return machine.node.operations


def test_a_recovery_does_not_turn_off_what_does_not_fit(tmp_path: Path) -> None:
    operations = _operations(machine_with(tmp_path / "count", NONE), layer(swap={"file": size(2)}))
    for at in range(operations, 0, -1):
        machine = SwapMachine(tmp_path / str(at), writer=Killed)
        machine.swap.stop(next(iter(machine.swap.kept()["units"])))
        machine.tune(layer(host={"vm.swappiness": 20}), swap=True)
        kill(machine, layer(swap={"file": size(2)}), at)
        # Before its commit, and with the area on.
        if machine.text(PENDING) is not None and machine.text("/var/lib/memqos/generations/2.json") is None:
            break
    assert "/var/lib/memqos-swap/swap-2M" in machine.swaps()
    machine.swap.use("/var/lib/memqos-swap/swap-2M", 2 * MIB)
    meminfo = machine.text("/proc/meminfo") or ""
    machine.write("/proc/meminfo", meminfo.replace(f"{6 * GIB >> 10:8} kB", f"{300 * MIB >> 10:8} kB") + "\n")
    before = machine.snapshot(times=True)
    with pytest.raises(_tune.TuneError, match=r"swap\.file .*: it holds 2\.00 MiB.*memqos_allow_risks: \[swapoff_does_not_fit\]"):
        machine.tune(NONE, swap=True)
    assert machine.snapshot(times=True) == before
    assert machine.tune(NONE, swap=True, allow=["swapoff_does_not_fit"])["problem"] == ""
    assert machine.swaps() == {}


@pytest.mark.parametrize("encrypted", [False, True])
def test_an_area_that_somebody_has_changed_keeps_its_files(tmp_path: Path, encrypted: bool) -> None:
    machine = SwapMachine(tmp_path / "node", writer=Killed)
    wanted = layer(host={"vm.swappiness": 10}, swap={"file": size(2, encrypted=encrypted)})
    operations = _operations(machine_with(tmp_path / "count", NONE), wanted)
    area = "/dev/mapper/memqos-crypt-2M" if encrypted else "/var/lib/memqos-swap/swap-2M"
    # Amid its commit, with all done.
    kill(machine, wanted, operations - 8)
    assert machine.text(PENDING) and machine.text("/var/lib/memqos/generations/1.json") is None
    machine.swap._swapoff(area)
    machine.swap._swapon(area, 7, "")
    before = machine.snapshot()
    (note,) = machine.tune(NONE, only=["watermarks"])["notes"]
    assert note.startswith("an interrupted run was undone, but for what others have set since: swap.")
    assert machine.text("vm.swappiness") == "60"
    assert {path: content for path, content in before.items() if "2M" in path}.items() <= machine.snapshot().items()
