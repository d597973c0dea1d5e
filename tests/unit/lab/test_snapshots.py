# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine boots once, its clones are restored; and what is done where that cannot be."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab import images, snapshots, vms
from ansible_collections.memqos.fleet.tests.lab.machines import LabError, Machine
from ansible_collections.memqos.fleet.tests.lab.vms import Start
from ansible_collections.memqos.fleet.tests.unit.lab.fake_lab import Lab

CONNECT = ["qmp_capabilities", "human-monitor-command info usernet"]
IGNORE_SHARED = "migrate-set-capabilities [{'capability': 'x-ignore-shared', 'state': True}]"
IMAGE = images.ImageFiles(identity="1", disk=Path("/root.raw"), disk_format="raw", kernel=Path("/vmlinuz"), initrd=None)
START = Start(machine=Machine(name="m", suite="trixie"), image=IMAGE, accelerator="tcg")


def start(lab: Lab, name: str) -> vms.State:
    return snapshots.start(vms.Vm(name, lab.cache), lab.machine, cold=False, cancel=threading.Event())


def test_the_first_start_makes_the_snapshot_and_all_are_restored_from_it(lab: Lab) -> None:
    assert start(lab, "one").restored
    [snapshot] = lab.cache.snapshot("").iterdir()
    assert sorted(path.name for path in snapshot.iterdir()) == ["devices", "disk.qcow2", "ram0"]
    restored = [*CONNECT, IGNORE_SHARED, f"migrate-incoming exec:cat {snapshot}/devices", "query-migrate", "cont"]
    making = [f"migrate exec:cat > {lab.cache.run}/snapshot-{snapshot.name}/devices", "query-migrate", "quit"]
    assert lab.said() == [*CONNECT, "set-action reset", "stop", IGNORE_SHARED, *making, *restored]
    lab.forget()
    assert start(lab, "two").restored
    assert lab.said() == restored
    # The name, clock and random numbers of its own, which proves SSH too; nothing else.
    assert [words.split()[:4] for words in lab.scripts()] == [["sh", "-s", "--", "two"]]
    assert [vm.name for vm in vms.all_vms(lab.cache)] == ["one", "two"]
    assert f"-b {snapshot}/disk.qcow2 -F qcow2" in (lab.cache.run / "two" / "disk.qcow2").read_text()


def test_a_clone_has_a_swap_of_its_own(lab: Lab) -> None:
    lab = dataclasses.replace(lab, machine=dataclasses.replace(lab.machine, swap_mib=1))
    start(lab, "one")
    [snapshot] = lab.cache.snapshot("").iterdir()
    clone = lab.cache.run / "one" / "swap.raw"
    assert b"SWAPSPACE2" in clone.read_bytes()
    clone.write_bytes(b"")
    assert (snapshot / "swap.raw").stat().st_size == 1 << 20


def test_cold_makes_none(lab: Lab) -> None:
    assert not snapshots.start(vms.Vm("vm", lab.cache), lab.machine, cold=True, cancel=threading.Event()).restored
    assert not lab.cache.snapshot("").exists()


def test_a_qemu_that_cannot_save_boots_each_time_and_says_so(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.behave(refuse="migrate-set-capabilities")
    assert not start(lab, "one").restored
    assert "`prune` lets it be tried again: QEMU refused migrate-set-capabilities: not here" in capsys.readouterr().err
    assert [vm.name for vm in vms.all_vms(lab.cache)] == ["one"]
    lab.forget()
    assert not start(lab, "two").restored
    assert "stop" not in lab.said()


def test_one_that_ends_while_it_saves(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.behave(end="migrate")
    assert not start(lab, "one").restored
    assert "QEMU closed its monitor" in capsys.readouterr().err
    assert [vm.name for vm in vms.all_vms(lab.cache)] == ["one"]


def test_memory_that_cannot_lie_in_a_file(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.behave(without="mem-path=")
    assert not start(lab, "one").restored
    assert "cannot allocate memory" in capsys.readouterr().err
    assert [vm.name for vm in vms.all_vms(lab.cache)] == ["one"]


@pytest.mark.parametrize(("behaviour", "words"), [("refuse", "QEMU refused migrate-incoming: not here"), ("end", "fake: last words")])
def test_a_snapshot_that_cannot_be_restored_is_given_up(behaviour: str, words: str, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    start(lab, "one")
    lab.behave(**{behaviour: "migrate-incoming"})
    state = start(lab, "two")
    assert not state.restored
    assert "could not be restored, booting instead" in capsys.readouterr().err
    [snapshot] = lab.cache.snapshot("").iterdir()
    assert [path.name for path in snapshot.iterdir()] == ["unusable"]
    assert words in (snapshot / "unusable").read_text()
    assert vms.Vm("one", lab.cache).pid()


def test_a_machine_that_does_not_boot_has_no_snapshot(lab: Lab) -> None:
    lab.script("ssh", '#!/bin/sh\ncase "$*" in *true) exit 0 ;; esac\necho broken; exit 1\n')
    with pytest.raises(LabError, match="broken"):
        start(dataclasses.replace(lab, machine=dataclasses.replace(lab.machine, swap_mib=1)), "vm")
    assert vms.all_vms(lab.cache) == []
    assert list(lab.cache.snapshot("").iterdir()) == []


def test_an_interrupted_run_leaves_nothing(lab: Lab) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(LabError, match="interrupted"):
        snapshots.start(vms.Vm("vm", lab.cache), lab.machine, cold=False, cancel=cancel)
    assert vms.all_vms(lab.cache) == []


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(START, machine=dataclasses.replace(START.machine, memory_mib=2048)),
        dataclasses.replace(START, machine=dataclasses.replace(START.machine, cmdline="psi=0")),
        dataclasses.replace(START, machine=dataclasses.replace(START.machine, swap_mib=1)),
        dataclasses.replace(START, accelerator="kvm"),
        dataclasses.replace(START, image=dataclasses.replace(IMAGE, identity="2")),
        dataclasses.replace(START, image=dataclasses.replace(IMAGE, kernel=Path("/other"))),
    ],
)
def test_another_machine_is_another_snapshot(other: Start, lab: Lab) -> None:
    assert snapshots.snapshot_name(other) != snapshots.snapshot_name(START) == snapshots.snapshot_name(START)


def test_another_qemu_or_processor_is_another_snapshot(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    kvm = dataclasses.replace(START, accelerator="kvm")
    before = snapshots.snapshot_name(START), snapshots.snapshot_name(kvm)
    monkeypatch.setattr(snapshots, "_processor", lambda: "another")
    assert snapshots.snapshot_name(START) == before[0]
    assert snapshots.snapshot_name(kvm) != before[1]
    monkeypatch.setattr(snapshots, "_qemu_version", lambda: "9")
    assert snapshots.snapshot_name(START) != before[0]
