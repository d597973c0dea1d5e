# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole tunes of a fake machine that must not go through: figures that are missing, silent programs, values that stop a node."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import GIB, MIB, MINE, UNITS, Machine, layer, rows, statuses

BATCH = "/etc/systemd/system/batch.slice.d/zz-memqos.conf"


@pytest.fixture(name="machine")
def fixture_machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "node")


def blind(machine: Machine, cgroup: str) -> None:
    """Its usage cannot be read any more."""
    path = f"{machine.root}{machine.mount}{cgroup}/memory.current"
    os.unlink(path)
    os.mkdir(path)


# Σ memory.min


def test_protection_counts_what_runs_though_no_unit_of_the_plan_does(machine: Machine) -> None:
    machine.set(f"{machine.mount}/system.slice/memory.min", str(5 * GIB))
    answer = machine.tune(layer(slices={"a.slice": {"MemoryMin": "3G"}}))
    assert statuses(answer) == {"a.slice MemoryMin": "refused"}
    assert "Σ memory.min would be 8.00 GiB, more than 80 % of memory (8.00 GiB)" in answer["problem"]
    assert statuses(machine.tune(layer(slices={"a.slice": {"MemoryMin": "1G"}}))) == {"a.slice MemoryMin": "changed"}


# A usage that nobody knows


@pytest.mark.parametrize("name, risk", [("MemoryMax", "limit_below_usage"), ("MemoryHigh", "high_below_working_set")])
def test_a_limit_does_not_shrink_where_usage_cannot_be_read(machine: Machine, name: str, risk: str) -> None:
    blind(machine, "/batch.slice")
    answer = machine.tune(layer(slices={"batch.slice": {name: "3G"}}))
    assert statuses(answer) == {f"batch.slice {name}": "refused"}
    assert f"its usage cannot be read, so whether it fits into 3.00 GiB is not known. To do it all the same: memqos_allow_risks: [{risk}]" in answer["problem"]
    assert machine.text(BATCH) is None
    assert statuses(machine.tune(layer(slices={"batch.slice": {name: "3G"}}), allow=[risk])) == {f"batch.slice {name}": "changed"}
    # What grows hurts nobody.
    assert statuses(machine.tune(layer(slices={"batch.slice": {name: "4G"}}))) == {f"batch.slice {name}": "changed"}


def test_a_rollback_does_not_shrink_where_usage_cannot_be_read(machine: Machine) -> None:
    machine.set(f"{machine.mount}/batch.slice/memory.max", str(2 * GIB))
    machine.write("/etc/systemd/system/batch.slice.d/10-site.conf", f"[Slice]\nMemoryMax={2 * GIB}\n")
    machine.node.systemd.adopt("batch.slice", "/batch.slice")
    assert statuses(machine.tune(layer(slices={"batch.slice": {"MemoryMax": "4G"}}))) == {"batch.slice MemoryMax": "changed"}
    blind(machine, "/batch.slice")
    assert statuses(machine.rollback("origin")) == {"batch.slice MemoryMax": "refused"}
    assert statuses(machine.rollback("origin", allow=["limit_below_usage"])) == {"batch.slice MemoryMax": "changed"}
    assert machine.text("/batch.slice memory.max") == str(2 * GIB)


# systemctl is silent


def silent(argv: t.Sequence[str]) -> str:
    raise Unreadable("systemctl", "error", "no answer within 300 s")


@pytest.mark.parametrize("check", [True, False])
def test_nothing_is_written_while_systemctl_does_not_answer(machine: Machine, monkeypatch: pytest.MonkeyPatch, *, check: bool) -> None:
    wanted = layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryHigh": "3G"}, "app@.service": {"MemoryMax": "1G"}})
    with monkeypatch.context() as patch:
        patch.setattr(machine.node.systemd, "answer", silent)
        answer = machine.tune(wanted, check=check)
    assert (answer["changed"], answer["generation"]) == (False, 0)
    assert statuses(answer) == {"vm.swappiness": "would_change", "batch.slice MemoryHigh": "failed", "app@.service MemoryMax": "failed"}
    assert "batch.slice MemoryHigh: systemd does not answer (systemctl: no answer within 300 s)" in answer["problem"]
    assert (machine.text("vm.swappiness"), machine.text(MINE), machine.text(BATCH)) == ("60", None, None)
    assert statuses(machine.tune(wanted))["batch.slice MemoryHigh"] == "changed"


def test_host_knobs_need_no_answer_of_systemctl(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.node.systemd, "answer", silent)
    assert statuses(machine.tune(layer(host={"vm.swappiness": 10}))) == {"vm.swappiness": "changed"}


def test_a_node_that_systemd_did_not_boot_has_no_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path / "node")
    os.rename(f"{machine.root}/run/systemd", f"{machine.root}/run/elsewhere")
    monkeypatch.setattr(machine.node.systemd, "answer", silent)
    answer = machine.tune(layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryHigh": "3G"}}))
    assert statuses(answer) == {"vm.swappiness": "changed", "batch.slice MemoryHigh": "unsupported"}


def test_a_plan_waits_for_systemctl_as_long_as_the_writer(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: t.Dict[str, float] = {}
    output = machine.tree.output

    def noted(name: str, argv: t.Sequence[str], *, timeout: float = 30.0) -> str:
        waited[name] = timeout
        return output(name, argv, timeout=timeout)

    monkeypatch.setattr(machine.tree, "output", noted)
    machine.tune(layer(slices={"batch.slice": {"MemoryHigh": "3G"}}))
    assert {waited["systemctl-show-units"], waited["systemctl-show-unread"]} == {300.0}
    assert rows(machine.tune(layer(slices={"batch.slice": {"MemoryHigh": "3G"}})))["batch.slice MemoryHigh"]["live_before"] == str(3072 * MIB)


# What stops a node


ZONEINFO = """\
Node 0, zone      DMA
  pages free     3840
        managed  3840
Node 0, zone    DMA32
  pages free     700000
        managed  750000
Node 0, zone   Normal
  pages free     700000
        managed  1300000
Node 0, zone  Movable
  pages free     0
        managed  0
Node 0, zone   Device
  pages free     0
        managed  0
"""


def test_values_that_stop_a_node_are_refused_with_the_figures(machine: Machine) -> None:
    machine.write("/proc/zoneinfo", ZONEINFO)
    machine.write("/proc/sys/vm/max_map_count", "65530\n")
    machine.write("/proc/sys/vm/lowmem_reserve_ratio", "256\t256\t32\t0\t0\n")
    deadly = layer(host={"vm.max_map_count": 1, "vm.lowmem_reserve_ratio": "1 1 1 1 1", "vm.dirty_bytes": 8192, "vm.dirty_background_ratio": 0})
    answer = machine.tune(deadly)
    assert set(statuses(answer).values()) == {"refused"}
    reasons = {name: row["reason"].partition(". To do it")[0] for name, row in rows(answer).items()}
    assert reasons == {
        "vm.max_map_count": "1 is below the kernel's default of 65530: what maps more cannot start, load a library or get memory, a login included",
        "vm.lowmem_reserve_ratio": "2.88 GiB of 8.00 GiB would be kept from what can use a higher zone (now 34.8 MiB), more than 5 %: it is lost to programs",
        "vm.dirty_bytes": "8.00 KiB is below 16.0 MiB of dirty pages: who writes would wait for the disk at nearly every page",
        "vm.dirty_background_ratio": "0 % is below 16.0 MiB of dirty pages: who writes would wait for the disk at nearly every page",
    }
    risks = ["max_map_count_below_default", "lowmem_reserve_above_5_percent", "dirty_below_16_mib"]
    assert set(statuses(machine.tune(deadly, check=True, allow=risks)).values()) == {"would_change"}


# Drop-ins that others hide


def hidden(machine: Machine) -> None:
    """A file of the same name in a more special directory, with no line about memory."""
    machine.write("/etc/systemd/system/app@.service.d/zzz-site.conf", "[Service]\nMemoryMax=1G\n")
    machine.write("/etc/systemd/system/app@1.service.d/zzz-site.conf", "# not for this one\n")
    machine.start("app@1.service", UNITS["app@1.service"])


@pytest.mark.parametrize("policy", ["report", "defer", "refuse"])
def test_a_drop_in_that_an_empty_one_hides_decides_nothing(machine: Machine, policy: str) -> None:
    hidden(machine)
    answer = machine.tune(layer(slices={"app@1.service": {"MemoryMax": "2G"}}), on_conflict=policy)
    (row,) = answer["results"]
    assert (row["status"], row["reason"], row["persisted_before"], row["persisted_after"]) == ("changed", "", None, str(2 * GIB))
    assert row["winner"]["path"] == "/etc/systemd/system/app@1.service.d/zz-memqos.conf"
    assert machine.text(f"{UNITS['app@1.service']} memory.max") == str(2 * GIB)


def test_a_unit_that_started_since_goes_back_to_what_nobody_hides(machine: Machine) -> None:
    machine.stop("app@1.service")
    machine.tune(layer(slices={"app@.service": {"MemoryMax": "2G"}}))
    hidden(machine)
    os.rename(f"{machine.root}/etc/systemd/system/app@.service.d/zzz-site.conf", f"{machine.root}/etc/systemd/system/app@.service.d/aaa-site.conf")
    os.rename(f"{machine.root}/etc/systemd/system/app@1.service.d/zzz-site.conf", f"{machine.root}/etc/systemd/system/app@1.service.d/aaa-site.conf")
    machine.start("app@1.service", UNITS["app@1.service"])
    assert machine.text(f"{UNITS['app@1.service']} memory.max") == str(2 * GIB)
    machine.rollback("origin")
    assert machine.text(f"{UNITS['app@1.service']} memory.max") == "max"
