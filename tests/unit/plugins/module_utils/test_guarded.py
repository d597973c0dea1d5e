# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole tunes of a fake machine that must not go through: figures that are missing, silent programs, values that stop a node."""

from __future__ import annotations

import os
import tempfile
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.thinned import examples
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import GIB, MIB, MINE, TMPFILES, UNITS, Machine, layer, rows, statuses

pytestmark = pytest.mark.usefixtures("root_user")

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
    # The other instance has a row too: the reload makes the file that was written here count for it.
    (row,) = (row for row in answer["results"] if row["subject"] == "app@1.service")
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


# Bounds that are met


SITE = "/etc/sysctl.d/10-site.conf"
AT_LEAST = layer(host={"vm.swappiness": {"raise_to": 10}})


def booted(machine: Machine, swappiness: int) -> None:
    machine.write(SITE, f"vm.swappiness = {swappiness}\n")
    machine.reboot()


def nothing_changes(machine: Machine, *layers: t.Any) -> None:
    before = machine.snapshot(times=True)
    assert machine.tune(*layers)["changed"] is False
    assert machine.snapshot(times=True) == before


def test_what_decides_at_boot_and_meets_the_bound_stays_in_charge(machine: Machine) -> None:
    booted(machine, 60)
    answer = machine.tune(AT_LEAST)
    (row,) = answer["results"]
    assert (row["status"], row["reason"], row["persisted_before"], row["persisted_after"]) == ("ok", "", "60", "60")
    assert (row["winner"]["path"], answer["changed"], machine.text(MINE)) == (SITE, False, None)
    # Another value that the bound allows.
    machine.write(SITE, "vm.swappiness = 20\n")
    (row,) = machine.tune(AT_LEAST)["results"]
    assert (row["reason"], row["persisted_after"]) == (f"the bound lets sysctl.d: {SITE}:1 decide at the next boot: 20", "20")
    machine.reboot()
    assert machine.text("vm.swappiness") == "20"
    nothing_changes(machine, AT_LEAST)
    # One that it does not.
    booted(machine, 5)
    assert statuses(machine.tune(AT_LEAST)) == {"vm.swappiness": "changed"}
    assert "vm.swappiness = 10\n" in str(machine.text(MINE)) + "\n"
    nothing_changes(machine, AT_LEAST)
    machine.reboot()
    assert machine.text("vm.swappiness") == "10"


def test_what_somebody_moved_out_of_its_bounds_between_two_profiles_rests_on_what_stood_before_us(machine: Machine) -> None:
    machine.write(SITE, "vm.swappiness = 0\n")
    machine.tune(layer(host={"vm.swappiness": {"lower_to": 50}}), on_conflict="take")
    assert machine.text("vm.swappiness") == "50"
    machine.set("/proc/sys/vm/swappiness", "0")
    wanted = layer(host={"vm.swappiness": {"raise_to": 10}})
    assert machine.tune(wanted)["problem"] == ""
    assert machine.text("vm.swappiness") == "60"
    nothing_changes(machine, wanted)
    # Within them it is theirs.
    machine.set("/proc/sys/vm/swappiness", "20")
    nothing_changes(machine, wanted)


BOUND = st.builds(lambda word, value: {word: value}, st.sampled_from(["raise_to", "lower_to"]), st.integers(0, 200))


@settings(max_examples=examples(60))
@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(0, 200)), st.lists(BOUND, min_size=1, max_size=2)), min_size=1, max_size=4), st.booleans())
def test_a_second_run_changes_nothing_whoever_moves_a_bounded_value_between_profiles(runs: t.Any, is_named: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(Path(directory) / "node")
        if is_named:
            machine.write(SITE, "vm.swappiness = 0\n")
        for moved, bounds in runs:
            if moved is not None:
                machine.set("/proc/sys/vm/swappiness", str(moved))
            layers = [layer(host={"vm.swappiness": bound}) for bound in bounds]
            assert machine.tune(*layers)["problem"] == ""
            nothing_changes(machine, *layers)


def test_what_would_break_the_bound_at_the_next_boot_is_written_down_before(machine: Machine) -> None:
    booted(machine, 60)
    machine.tune(AT_LEAST)
    machine.write(SITE, "vm.swappiness = 0\n")
    (row,) = machine.tune(AT_LEAST)["results"]
    assert (row["status"], row["persisted_before"], row["persisted_after"], row["winner"]["path"]) == ("ok", "0", "60", MINE)
    nothing_changes(machine, AT_LEAST)
    machine.reboot()
    assert machine.text("vm.swappiness") == "60"


def test_what_nobody_names_is_written_down_once(machine: Machine) -> None:
    answer = machine.tune(AT_LEAST)
    assert (statuses(answer), answer["results"][0]["winner"]["path"]) == ({"vm.swappiness": "ok"}, MINE)
    # A trial is no decision.
    machine.set("vm.swappiness", "30")
    before = machine.snapshot()
    (row,) = machine.tune(AT_LEAST, on_conflict="defer")["results"]
    assert (row["status"], row["live_after"], row["persisted_after"]) == ("ok", "30", "60")
    assert row["reason"] == "the bound lets 30 stand; 60 stays written down for the next boot"
    assert machine.snapshot() == before
    machine.reboot()
    assert machine.text("vm.swappiness") == "60"
    nothing_changes(machine, AT_LEAST)


def test_a_line_of_ours_goes_when_somebody_else_takes_care_of_it(machine: Machine) -> None:
    machine.set("vm.swappiness", "5")
    machine.write(SITE, "vm.swappiness = 5\n")
    machine.tune(AT_LEAST)
    assert (machine.text("vm.swappiness"), "vm.swappiness = 10" in str(machine.text(MINE))) == ("10", True)
    machine.write(SITE, "vm.swappiness = 20\n")
    answer = machine.tune(AT_LEAST)
    assert (answer["changed"], statuses(answer), machine.text(MINE)) == (True, {"vm.swappiness": "ok"}, None)
    assert answer["results"][0]["reason"] == f"the bound lets sysctl.d: {SITE}:1 decide at the next boot: 20"
    nothing_changes(machine, AT_LEAST)
    machine.reboot()
    assert machine.text("vm.swappiness") == "20"
    nothing_changes(machine, AT_LEAST)
    assert machine.rollback("1")["changed"] is True
    assert "vm.swappiness = 10" in str(machine.text(MINE))
    machine.rollback("origin")
    assert (machine.text("vm.swappiness"), machine.text(MINE)) == ("20", None)


def test_a_value_that_breaks_the_bound_is_moved_though_boot_needs_no_line(machine: Machine) -> None:
    booted(machine, 60)
    machine.set("vm.swappiness", "1")
    assert statuses(machine.tune(AT_LEAST)) == {"vm.swappiness": "changed"}
    assert (machine.text("vm.swappiness"), machine.text(MINE)) == ("10", None)
    nothing_changes(machine, AT_LEAST)
    machine.reboot()
    nothing_changes(machine, AT_LEAST)
    assert machine.text("vm.swappiness") == "60"
    # Nobody wants it any more: what stands there is not ours.
    machine.tune(layer())
    assert machine.text("vm.swappiness") == "60"


def test_what_a_profile_sets_is_written_down_whatever_bound_comes_later(machine: Machine) -> None:
    booted(machine, 60)
    machine.tune(layer(host={"vm.swappiness": 60}), AT_LEAST)
    assert "vm.swappiness = 60" in str(machine.text(MINE))


def test_every_bound_has_to_be_met(machine: Machine) -> None:
    booted(machine, 60)
    most = layer("two", host={"vm.swappiness": {"lower_to": 30}})
    assert statuses(machine.tune(AT_LEAST, most)) == {"vm.swappiness": "changed"}
    assert "vm.swappiness = 30" in str(machine.text(MINE))
    machine.write(SITE, "vm.swappiness = 20\n")
    machine.tune(AT_LEAST, most)
    assert machine.text(MINE) is None


def test_a_word_of_tmpfiles_d_meets_a_bound_and_what_it_moves_is_written_again(machine: Machine) -> None:
    thp, path = "transparent_hugepage/enabled", "/sys/kernel/mm/transparent_hugepage/enabled"
    machine.write("/etc/tmpfiles.d/site.conf", f"w {path} - - - - never\n")
    machine.write(SITE, "vm.min_free_kbytes = 90000\n")
    machine.reboot()
    bounds = layer(host={thp: {"lower_to": "madvise"}, "vm.min_free_kbytes": {"raise_to": 1000}})
    answer = machine.tune(bounds)
    assert statuses(answer) == {thp: "ok", "vm.min_free_kbytes": "ok"}
    assert rows(answer)[thp]["winner"]["path"] == "/etc/tmpfiles.d/site.conf"
    # A write of the one, at boot too, moves the other.
    assert rows(answer)["vm.min_free_kbytes"]["winner"]["path"] == TMPFILES
    nothing_changes(machine, bounds)


def test_another_knob_that_switches_it_off_at_boot_meets_no_bound(machine: Machine) -> None:
    machine.write(SITE, f"vm.dirty_ratio = 15\nvm.dirty_bytes = {64 * MIB}\n")
    (row,) = machine.tune(layer(host={"vm.dirty_ratio": {"lower_to": 30}}))["results"]
    assert (row["status"], row["persisted_after"], row["winner"]["path"]) == ("ok", "20", MINE)


def test_a_file_in_run_decides_nothing_at_the_next_boot(machine: Machine) -> None:
    machine.write("/run/sysctl.d/10-site.conf", "vm.swappiness = 60\n")
    assert machine.tune(AT_LEAST)["results"][0]["winner"]["path"] == MINE


def test_a_line_of_ours_that_somebody_garbled_is_written_anew(machine: Machine) -> None:
    machine.tune(AT_LEAST)
    text = str(machine.text(MINE))
    machine.write(MINE, text.replace("60", "a lot") + "\n")
    machine.tune(AT_LEAST)
    assert machine.text(MINE) == text


# Limits of containers


@pytest.mark.parametrize("systemd", [252, 257])
def test_a_container_that_started_since_goes_back_to_its_own_limit(tmp_path: Path, systemd: int) -> None:
    machine = Machine(tmp_path / "node", systemd=systemd)
    machine.tune(layer(slices={"docker-.scope": {"MemoryMax": "2G"}}))
    for name, own in (("docker-a.scope", "1G"), ("docker-b.scope", "")):
        if own:
            machine.write(f"/run/systemd/transient/{name}.d/50-MemoryMax.conf", f"[Scope]\nMemoryMax={own}\n")
        machine.start(name, f"/system.slice/{name}")
        assert machine.text(f"/system.slice/{name} memory.max") == str(2 * GIB)
    assert set(statuses(machine.rollback("origin")).values()) == {"changed"}
    assert (machine.text("/system.slice/docker-a.scope memory.max"), machine.text("/system.slice/docker-b.scope memory.max")) == (str(GIB), "max")


def test_a_container_that_runs_goes_back_to_its_own_limit(machine: Machine) -> None:
    machine.write("/run/systemd/transient/docker-a.scope.d/50-MemoryMax.conf", "[Scope]\nMemoryMax=1G\n")
    machine.start("docker-a.scope", "/system.slice/docker-a.scope")
    own = layer(slices={"docker-.scope": {"MemoryMax": "2G"}})
    (row,) = machine.tune(own)["results"]
    # It is gone at the next boot, and the container with it.
    assert (row["status"], row["persisted_before"]) == ("changed", None)
    nothing_changes(machine, own)
    machine.rollback("origin")
    assert machine.text("/system.slice/docker-a.scope memory.max") == str(GIB)
