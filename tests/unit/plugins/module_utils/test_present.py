# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands on a node before a tune, read from a directory that looks like one."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _present
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._present import Held, Present
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import GIB, MIB, Machine

THP = "transparent_hugepage/enabled"


def read(machine: Machine, *, knobs: t.Iterable[str] = (), subjects: t.Sequence[str] = (), properties: t.Iterable[str] = ()) -> Present:
    return _present.read(machine.tree, knobs=knobs, subjects=subjects, properties=properties)


@pytest.fixture(name="machine")
def fixture_machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "node")


def test_values_are_in_the_words_that_the_kernel_takes(machine: Machine) -> None:
    found = read(machine, knobs=["vm.swappiness", THP, "lru_gen/enabled", "zswap/enabled", "vm.laptop_mode", "vm.drop_caches"])
    assert found.host == {
        "vm.swappiness": Held("60", 60), THP: Held("always", "always"), "lru_gen/enabled": Held("0x0007", 7), "zswap/enabled": Held("N", 0),
    }  # fmt: skip
    assert (found.troubles, found.units, found.no_units, found.cgroups, found.drop_ins) == ({}, {}, "", {}, [])
    assert (found.version, found.mount, found.recursive_protection, found.page_size) == (2, "/sys/fs/cgroup", True, os.sysconf("SC_PAGE_SIZE"))


def test_what_cannot_be_understood_has_its_reason(machine: Machine) -> None:
    machine.write("/proc/sys/vm/swappiness", "no number\n")
    os.unlink(f"{machine.root}/proc/sys/vm/page-cluster")
    os.mkdir(f"{machine.root}/proc/sys/vm/page-cluster")
    found = read(machine, knobs=["vm.swappiness", "vm.page-cluster"])
    assert found.host == {}
    assert found.troubles == {"vm.swappiness": "cannot be understood: cannot be read as count", "vm.page-cluster": "Is a directory"}


def test_a_unit_is_what_systemd_and_its_cgroup_say(machine: Machine) -> None:
    machine.set("/sys/fs/cgroup/system.slice/redis-server.service/memory.low", str(64 * MIB))
    found = read(machine, subjects=["redis.service"], properties=["MemoryHigh", "OOMScoreAdjust"])
    (unit,) = found.units["redis.service"]
    assert (unit.state.name, unit.state.cgroup, unit.state.active) == ("redis-server.service", "/system.slice/redis-server.service", True)
    # All that set-property rewrites is read, whatever was asked for.
    assert {name: held.text for name, held in unit.files.items()} == {
        "memory.min": "0", "memory.low": str(64 * MIB), "memory.high": "max", "memory.max": "max", "memory.swap.max": str(512 * MIB),
        "memory.zswap.max": "max", "memory.zswap.writeback": "1", "memory.oom.group": "0",
    }  # fmt: skip
    assert (unit.state.shown["MemoryLow"], unit.state.shown["MemorySwapMax"], unit.state.shown["OOMScoreAdjust"]) == ("0", str(512 * MIB), "0")
    assert unit.fragment_lines == {"MemorySwapMax": "512M"}
    assert unit.inode == os.stat(f"{machine.root}/sys/fs/cgroup/system.slice/redis-server.service").st_ino
    # The kernel's value where there is a file.
    values = _present.unit_values(unit)
    assert (values["MemoryLow"], values["MemoryHigh"], values["MemorySwapMax"], values["OOMScoreAdjust"]) == (64 * MIB, None, 512 * MIB, 0)


def test_cgroups_are_those_of_the_units_and_what_is_above_and_beside(machine: Machine) -> None:
    found = read(machine, subjects=["batch-night.slice"], properties=["MemoryHigh"])
    top = {"/", "/batch.slice", "/kubepods.slice", "/system.slice", "/user.slice"}
    assert set(found.cgroups) == {*top, "/batch.slice/batch-night.slice"}
    assert found.cgroups["/batch.slice"]["usage"] == 256 * MIB


def test_files_of_a_vendor_are_read_if_they_are_asked_for(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "node", vendor=True)
    (batch,) = read(machine, subjects=["batch.slice"], properties=["memory.wmark_ratio"]).units["batch.slice"]
    assert batch.files["memory.wmark_ratio"] == Held("0", 0)
    (batch,) = read(machine, subjects=["batch.slice"], properties=["MemoryHigh"]).units["batch.slice"]
    assert "memory.wmark_ratio" not in batch.files


def test_on_v1_files_have_other_names(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "node", hierarchy=1)
    found = read(machine, subjects=["batch.slice"], properties=["MemoryMax", "memory.swappiness"])
    (batch,) = found.units["batch.slice"]
    assert {name: held.value for name, held in batch.files.items()} == {"memory.max": None, "memory.swappiness": 60}
    assert (found.version, found.mount) == (1, "/sys/fs/cgroup/memory")


def test_without_systemd_it_is_said_why_no_unit_can_be_set(tmp_path: Path) -> None:
    found = read(Machine(tmp_path / "node", systemd=0), knobs=["vm.swappiness"], subjects=["batch.slice"], properties=["MemoryHigh"])
    assert (found.units, found.no_units) == ({}, "systemd does not answer (systemctl: not on this node (No such file or directory))")
    assert "systemd" not in found.facts and found.host["vm.swappiness"].value == 60


def test_what_does_not_run_has_no_files(machine: Machine) -> None:
    found = read(machine, subjects=["idle.service", "later.slice", "other@.service", "nosuch.service"], properties=["MemoryHigh"])
    assert {name: [(unit.state.loaded, unit.state.active, len(unit.files), unit.inode) for unit in units] for name, units in found.units.items()} == {
        "idle.service": [(True, False, 0, 0)], "later.slice": [(True, False, 0, 0)], "other@.service": [], "nosuch.service": [(False, False, 0, 0)],
    }  # fmt: skip


def test_what_decides_at_boot_is_read_once(machine: Machine) -> None:
    machine.write("/etc/sysctl.d/a.conf", "vm.swappiness = 1\n")
    first = read(machine, knobs=["vm.swappiness"])
    os.unlink(f"{machine.root}/etc/sysctl.d/a.conf")
    again = _present.read(machine.tree, knobs=["vm.swappiness"], subjects=[], properties=[], persisted=first.persisted)
    assert [setting.value for setting in again.persisted.settings["vm.swappiness"]] == [1]


def test_without_meminfo_nothing_can_be_told(machine: Machine) -> None:
    os.unlink(f"{machine.root}/proc/meminfo")
    with pytest.raises(Unreadable, match="/proc/meminfo"):
        read(machine)


def test_sizes_come_in_bytes(machine: Machine) -> None:
    assert read(machine).meminfo["MemTotal"] == 8 * GIB


@pytest.mark.parametrize("version, name", [(2, "memory.max"), (1, "memory.limit_in_bytes"), (0, "")])
def test_file_names(version: int, name: str) -> None:
    assert _present.file_name(_registry.find("memory.max"), version) == name
