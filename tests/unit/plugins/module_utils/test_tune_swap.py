# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Swap of a whole node: made, found again after a boot, made larger, refused where a swapoff does not fit, taken back."""

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _journal, _tune
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.swap_machine import DEVICE, FSTAB_UNIT, PROGRAMS, ZRAM_CONF, SwapMachine, SwapNode
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import GIB, MIB, MINE, OPTIONS, Json, layer, rows, statuses

pytestmark = pytest.mark.usefixtures("root_user")

FILE = "/var/lib/memqos-swap/swap-2M"
UNIT = r"/etc/systemd/system/var-lib-memqos\x2dswap-swap\x2d2M.swap"
CRYPT_UNIT = r"/etc/systemd/system/dev-mapper-memqos\x2dcrypt\x2d2M.swap"
DROP_IN = f"/etc/systemd/system/{FSTAB_UNIT}.d/zz-memqos-swap.conf"
NO_WANT = "no profile wants it any more: back to what stood before"


def size(mib: int, **more: t.Any) -> Json:
    return {"size": {"value": mib * MIB}, **more}


ALL = layer(host={"vm.swappiness": 10}, swap={"file": size(2), "zram": size(64, algorithm="zstd"), DEVICE: {"priority": 5}})
ON = {DEVICE: (1024, 5), FILE: (2, 10), "/dev/zram0": (64, 100)}


@pytest.fixture(name="machine")
def fixture_machine(tmp_path: Path) -> SwapMachine:
    return SwapMachine(tmp_path / "node")


def tune(machine: SwapMachine, *layers: Json, **more: t.Any) -> Json:
    return machine.tune(*layers, swap=True, **more)


def test_file_zram_and_priority(machine: SwapMachine) -> None:
    answer = tune(machine, ALL)
    assert (answer["problem"], answer["changed"]) == ("", True)
    assert set(statuses(answer).values()) == {"changed"}
    row = rows(answer)[f"swap.device {DEVICE}"]
    assert (row["live_before"], row["live_after"], row["scope"]) == ("1024 MiB, priority auto", "1024 MiB, priority 5", "swap")
    assert rows(answer)["swap.zram"]["live_after"] == "64 MiB, priority 100, zstd"
    assert machine.swaps() == ON
    found = os.stat(machine.root + FILE)
    assert (found.st_size, found.st_mode & 0o7777, os.stat(f"{machine.root}/var/lib/memqos-swap").st_mode & 0o7777) == (2 * MIB, 0o600, 0o700)
    assert "Options=discard,pri=5" in (machine.text(DROP_IN) or "")


def test_a_check_says_all_and_changes_nothing(machine: SwapMachine) -> None:
    before = machine.snapshot(times=True)
    answer = tune(machine, ALL, check=True)
    assert answer["changed"] and set(statuses(answer).values()) == {"would_change"}
    assert {ZRAM_CONF, DROP_IN, UNIT} < {file["path"] for file in answer["files"]}
    assert answer["daemon_reload"] is True
    assert machine.snapshot(times=True) == before


def test_a_second_run_writes_nothing(machine: SwapMachine) -> None:
    tune(machine, ALL)
    before = machine.snapshot(times=True)
    answer = tune(machine, ALL)
    assert (answer["changed"], answer["generation"], set(statuses(answer).values())) == (False, 0, {"ok"})
    assert machine.snapshot(times=True) == before


def test_a_condition_sees_the_swap_from_before_us(machine: SwapMachine) -> None:
    wanted = {**ALL, "when": ["not", ["name", "facts", "zram"]], "condition": "not facts.zram"}
    assert tune(machine, wanted)["changed"]
    again = tune(machine, wanted)
    assert (again["changed"], again["skipped"], machine.swaps()) == (False, [], ON)


def test_a_boot_turns_it_on_again(machine: SwapMachine) -> None:
    tune(machine, ALL)
    machine.reboot()
    assert machine.swaps() == ON
    assert not tune(machine, ALL)["changed"]


def test_what_somebody_turned_off_is_turned_on_again(machine: SwapMachine) -> None:
    tune(machine, ALL)
    machine.swap.stop(os.path.basename(UNIT))
    answer = tune(machine, ALL)
    assert (statuses(answer)[f"swap.file {FILE}"], machine.swaps()) == ("changed", ON)


@pytest.mark.parametrize("to", ["origin", "previous", "leaving"])
def test_all_of_it_goes_back(machine: SwapMachine, to: str) -> None:
    before = machine.snapshot()
    tune(machine, ALL)
    answer = tune(machine, layer()) if to == "leaving" else machine.rollback(to)
    assert (answer["problem"], machine.snapshot()) == ("", before)
    if to == "leaving":
        assert {rows(answer)[name]["reason"] for name in (f"swap.file {FILE}", "swap.zram", f"swap.device {DEVICE}")} == {NO_WANT}
    machine.reboot()
    assert machine.swaps() == {DEVICE: (1024, -2)}


def test_a_larger_file_is_on_before_the_other_goes(machine: SwapMachine) -> None:
    before = machine.snapshot()
    tune(machine, layer(swap={"file": size(2)}))
    machine.swap.use(FILE, MIB)
    machine.node.done.clear()
    answer = tune(machine, layer(swap={"file": size(4, encrypted=True)}))
    assert answer["problem"] == ""
    done = [line.split(".swap")[0] for line in machine.node.done if line.startswith(("mkswap", "systemctl st", "remove /var/lib/memqos-swap"))]
    assert done == [
        "mkswap /var/lib/memqos-swap/.crypt-4M.memqos",
        r"systemctl start -- dev-mapper-memqos\x2dcrypt\x2d4M",
        r"systemctl stop -- var-lib-memqos\x2dswap-swap\x2d2M",
        "remove /var/lib/memqos-swap/swap-2M",
    ]
    assert machine.swaps() == {DEVICE: (1024, -2), "/dev/dm-4M": (4, 10)}
    assert not os.path.exists(machine.root + FILE)
    assert machine.rollback("previous")["problem"] == "" and machine.swaps() == {DEVICE: (1024, -2), FILE: (2, 10)}
    assert machine.rollback("origin")["problem"] == "" and machine.snapshot() == before


def test_another_size_and_priority_of_zram(machine: SwapMachine) -> None:
    tune(machine, layer(swap={"zram": size(64, algorithm="zstd")}))
    tune(machine, layer(swap={"zram": size(32, priority=7)}))
    assert machine.swaps()["/dev/zram0"] == (32, 7)


@pytest.mark.parametrize("forgets", [True, False])
def test_zram_of_the_packages_configuration_comes_back(machine: SwapMachine, forgets: bool) -> None:
    """Debian's package has a section of its own, without an algorithm; a kernel before 6.2 keeps ours."""
    machine.swap.forgets = forgets
    machine.write("/etc/systemd/zram-generator.conf", "[zram0]\nzram-size = 128\n")
    machine.swap.boot()
    before, swaps = machine.snapshot(), machine.swaps()
    assert swaps["/dev/zram0"] == (128, 100)
    answer = tune(machine, layer(swap={"zram": size(64, priority=50, algorithm="zstd")}))
    assert (answer["problem"], machine.swaps()["/dev/zram0"]) == ("", (64, 50))
    answer = machine.rollback("origin")
    assert (answer["problem"], rows(answer)["swap.zram"]["live_after"]) == ("", "128 MiB, priority 100, lzo-rle")
    del before["/sys/block/zram0/comp_algorithm"]
    assert ({path: machine.snapshot()[path] for path in before}, machine.swaps()) == (before, swaps)


# What is not managed


def test_without_the_switch_it_is_said_and_left(machine: SwapMachine) -> None:
    before = machine.swaps()
    answer = machine.tune(ALL)
    assert [(one["profile"], one["knob"], one["reason"]) for one in answer["skipped"]] == [("one", "swap", "memqos_manage_swap is off")]
    assert (machine.swaps(), list(statuses(answer))) == (before, ["vm.swappiness"])


@pytest.mark.parametrize("more", [{"swap": False}, {"swap": True, "only": ["watermarks"]}])
def test_what_stands_stays_while_it_is_not_managed(machine: SwapMachine, more: Json) -> None:
    tune(machine, ALL)
    machine.tune(layer(host={"vm.min_free_kbytes": 70000}), **more)
    assert machine.swaps() == ON
    # And goes when it is again.
    tune(machine, layer())
    assert machine.swaps() == {DEVICE: (1024, -2)}


def test_layers_change_one_another(machine: SwapMachine) -> None:
    base = layer(swap={"file": size(2, priority=3), "zram": size(64)})
    answer = tune(machine, base, layer("own", swap={"file": size(4), "zram": {"absent": True}}))
    name = "swap.file /var/lib/memqos-swap/swap-4M"
    assert (list(statuses(answer)), rows(answer)[name]["profile"]) == ([name], "own")
    assert machine.swaps()["/var/lib/memqos-swap/swap-4M"] == (4, 3)


def test_a_layer_whose_condition_is_false_brings_none(machine: SwapMachine) -> None:
    when = ["==", ["name", "facts", "hierarchy"], "v1"]
    answer = tune(machine, layer(swap={"file": size(2)}, when=when, condition="facts.hierarchy == 'v1'"))
    assert len(answer["skipped"]) == 1 and len(machine.swaps()) == 1


@pytest.mark.parametrize("thing", ["file", "zram"])
def test_a_thing_without_a_size_is_said(machine: SwapMachine, thing: str) -> None:
    (row,) = tune(machine, layer(swap={thing: {"priority": 3}}))["results"]
    assert (row["status"], row["reason"]) == ("unsupported", "no profile says a size of 1 MiB or more")
    assert machine.swaps() == {DEVICE: (1024, -2)}


def test_earlier_layers_keep_their_swap(machine: SwapMachine) -> None:
    tune(machine, ALL)
    answer = tune(machine, {"earlier": ""}, layer(host={"vm.min_free_kbytes": 70000}))
    assert (answer["problem"], machine.swaps()) == ("", ON)
    assert not answer["skipped"] and statuses(answer)["swap.zram"] == "ok"


# What is not ours


def test_a_file_that_somebody_put_there_is_not_touched(machine: SwapMachine) -> None:
    machine.write(FILE, "theirs")
    os.chmod(f"{machine.root}/var/lib/memqos-swap", 0o700)
    before = machine.snapshot()
    answer = tune(machine, ALL)
    assert f"swap.file {FILE}: {FILE} is there and is not as memqos.fleet made it: move it away" in answer["problem"]
    assert machine.snapshot() == before


def test_a_unit_that_somebody_put_there_is_not_touched(machine: SwapMachine) -> None:
    machine.write(UNIT, "[Swap]\nWhat=/swapfile\n")
    before = machine.snapshot()
    answer = tune(machine, ALL)
    assert f"{UNIT} is there and was not made by memqos.fleet: move it away" in answer["problem"]
    assert machine.snapshot() == before


@pytest.mark.parametrize(("path", "mode"), [("/var/lib", 0o777), ("/var", 0o1777), ("/var/lib", 0o775)])
def test_no_file_where_others_can_write(machine: SwapMachine, path: str, mode: int) -> None:
    os.chmod(machine.root + path, mode)
    answer = tune(machine, layer(swap={"file": size(2)}))
    assert f"others than root can write to its directory {os.path.basename(path)}" in answer["problem"]
    assert machine.swaps() == {DEVICE: (1024, -2)}


def test_no_file_behind_a_link(machine: SwapMachine) -> None:
    os.makedirs(f"{machine.root}/srv/there", 0o700)
    os.symlink(f"{machine.root}/srv/there", f"{machine.root}/srv/link")
    answer = tune(machine, layer(swap={"file": size(2, directory="/srv/link")}))
    assert "one of its directories is a symbolic link" in answer["problem"]
    assert os.listdir(f"{machine.root}/srv/there") == []


def test_no_file_in_a_directory_that_is_not_there(machine: SwapMachine) -> None:
    answer = tune(machine, layer(swap={"file": size(2, directory="/srv/none")}))
    assert "/srv/none: No such file or directory" in answer["problem"]


@pytest.mark.parametrize(
    ("more", "things", "reason"),
    [
        ({"has": PROGRAMS[1:]}, {"file": size(2)}, "this node has no mkswap (util-linux)"),
        ({"has": PROGRAMS[:1]}, {"file": size(2, encrypted=True)}, "this node has no cryptsetup"),
        ({"has": PROGRAMS[:1]}, {"zram": size(64)}, "this node has no zram-generator (Debian: package systemd-zram-generator)"),
        ({"kind": "btrfs"}, {"file": size(2)}, "no swap file on btrfs, but on ext2, ext3, ext4, xfs: choose another directory"),
        ({}, {"/dev/vdz": {"priority": 1}}, "no unit turns /dev/vdz on at boot: a line in /etc/fstab comes first"),
    ],
)
def test_what_a_node_lacks_is_said_and_the_rest_goes_on(tmp_path: Path, more: Json, things: Json, reason: str) -> None:
    machine = SwapMachine(tmp_path / "node", **more)
    answer = tune(machine, layer(host={"vm.swappiness": 10}, swap=things))
    found = {name: row for name, row in rows(answer).items() if name.startswith("swap")}
    assert [(row["status"], row["reason"]) for row in found.values()] == [("unsupported", reason)]
    assert (answer["problem"], machine.text("vm.swappiness")) == ("", "10")


# Where it fails


class Full(SwapNode):
    """A disk that is full by the time that the file is made."""

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if what == "allocate":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    machine = SwapMachine(tmp_path / "node", writer=Full)
    before = machine.snapshot()
    answer = tune(machine, ALL)
    assert answer["problem"] == f"{FILE}: No space left on device (ENOSPC). All was undone. Make room on that file system, and run again."
    assert (answer["clean"], statuses(answer)[f"swap.file {FILE}"]) == (True, "failed")
    assert machine.snapshot() == before


class Dead(SwapNode):
    """From the first failure on nothing can be written, and no directory removed, until somebody mends it."""

    is_dead = True

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if self.is_dead and (what == "allocate" or (what == "rmdir" and path == "/var/lib/memqos-swap")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def test_a_directory_that_stays_is_not_undone_and_goes_with_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = SwapMachine(tmp_path / "node", writer=Dead)
    before = machine.snapshot()
    answer = tune(machine, ALL)
    assert "Not undone" in answer["problem"] and "All was undone" not in answer["problem"] and not answer["clean"]
    assert "/var/lib/memqos-swap" in set(machine.snapshot()) - set(before)
    monkeypatch.setattr(Dead, "is_dead", False)
    tune(machine, layer())
    assert machine.snapshot() == before


def test_an_area_that_the_kernel_does_not_take_leaves_nothing(machine: SwapMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine.snapshot()
    monkeypatch.setattr(machine.node, "_mkswap", lambda path: "")
    answer = tune(machine, ALL)
    assert "Job for" in answer["problem"] and answer["clean"] and machine.snapshot() == before


def test_what_a_failed_start_has_opened_is_closed(machine: SwapMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine.snapshot()
    monkeypatch.setattr(machine.node, "_swapon", lambda area, priority, unit: machine.swap.fail(unit))
    answer = tune(machine, layer(swap={"file": size(2, encrypted=True)}))
    assert "Job for" in answer["problem"] and answer["clean"] and machine.snapshot() == before


# A swapoff that does not fit


def in_use(machine: SwapMachine, area: str, mib: int, available: int) -> None:
    machine.swap.use(area, mib * MIB)
    text = machine.text("/proc/meminfo") or ""
    assert f"{6 * GIB >> 10:8} kB" in text
    machine.write("/proc/meminfo", text.replace(f"{6 * GIB >> 10:8} kB", f"{available * MIB >> 10:8} kB") + "\n")


@pytest.mark.parametrize("what", ["rollback", "leaving", "priority"])
def test_it_is_refused_with_figures(machine: SwapMachine, what: str) -> None:
    tune(machine, ALL)
    in_use(machine, DEVICE, 600, 800)
    before = machine.snapshot()
    if what == "rollback":
        answer = machine.rollback("origin")
    else:
        answer = tune(machine, layer() if what == "leaving" else layer(swap={**ALL["swap"], DEVICE: {"priority": 6}}))
    assert f"swap.device {DEVICE}: " in answer["problem"]
    assert "it has to be turned off first: it holds 600 MiB, and there are 390 MiB of memory (5 % of it kept free) and " in answer["problem"]
    assert "To do it all the same: memqos_allow_risks: [swapoff_does_not_fit]" in answer["problem"]
    assert (machine.snapshot(), machine.swaps()) == (before, ON)


def test_it_can_be_allowed(machine: SwapMachine) -> None:
    tune(machine, ALL)
    in_use(machine, DEVICE, 600, 500)
    answer = machine.rollback("origin", allow=["swapoff_does_not_fit"])
    assert (answer["problem"], machine.swaps()) == ("", {DEVICE: (1024, -2)})
    assert "allowed (swapoff_does_not_fit)" in rows(answer)[f"swap.device {DEVICE}"]["reason"]


class Filling(SwapNode):
    """Memory fills amid the run: C(area) holds C(mib) by then."""

    at, area, mib = "", DEVICE, 800

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if self.at and f"{what} {path}".startswith(self.at):
            self.use(self.area, self.mib * MIB)
            meminfo = Path(f"{self.root}/proc/meminfo")
            text = meminfo.read_text(encoding="utf-8")
            meminfo.write_text(text.replace(f"{6 * GIB >> 10:8} kB", f"{300 * MIB >> 10:8} kB"), encoding="utf-8")


def test_it_is_looked_at_again_right_before(tmp_path: Path) -> None:
    machine = SwapMachine(tmp_path / "node", writer=Filling)
    before = machine.swaps()
    t.cast("Filling", machine.node).at = "command daemon-reload"
    answer = tune(machine, layer(swap={DEVICE: {"priority": 5}}))
    assert "stays on: it holds 800 MiB" in answer["problem"] and answer["clean"]
    assert (machine.swaps(), machine.text(DROP_IN)) == (before, None)


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_cannot_be_turned_off_when_it_is_undone_is_told_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypted: bool) -> None:
    """A step after it fails, and by then its pages fit nowhere. It is taken back when they do."""
    machine = SwapMachine(tmp_path / "node", writer=Filling)
    machine.swap.stop(FSTAB_UNIT)
    node = t.cast("Filling", machine.node)
    node.at, node.area, node.mib = f"rename {MINE}", "/dev/mapper/memqos-crypt-2M" if encrypted else FILE, 2
    before, meminfo = machine.snapshot(), machine.text("/proc/meminfo")
    answer = undone_after(machine, monkeypatch, encrypted=encrypted)
    assert "stays on: it holds 2.00 MiB" in answer["problem"]
    stays(machine, answer, encrypted=encrypted)
    node.at = ""
    with pytest.raises((_tune.TuneError, _journal.JournalError), match=r"it holds 2\.00 MiB"):
        tune(machine, layer())
    machine.write("/proc/meminfo", f"{meminfo}\n")
    assert tune(machine, layer())["notes"] == ["an interrupted run was undone"]
    assert machine.snapshot() == before


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_the_kernel_does_not_turn_off_stays_with_its_files(machine: SwapMachine, monkeypatch: pytest.MonkeyPatch, encrypted: bool) -> None:
    before = machine.snapshot()
    machine.swap.full = ["/dev/mapper/memqos-crypt-2M", FILE]
    stays(machine, undone_after(machine, monkeypatch, encrypted=encrypted), encrypted=encrypted)
    with pytest.raises(_tune.TuneError, match=r"Not undone: .*-2M: its area is in use\).*, \S*2M\.swap \(\D*Job for .* failed"):
        tune(machine, layer())
    swaps = machine.swaps()
    machine.swap.boot()
    assert machine.swaps() == swaps
    machine.swap.full = ()
    assert tune(machine, layer())["notes"] == ["an interrupted run was undone"]
    assert machine.snapshot() == before and machine.swap.kept()["services"] == []


def test_what_cannot_be_closed_keeps_its_file(machine: SwapMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is off by then."""
    before = machine.snapshot()
    with monkeypatch.context() as context:
        context.setattr(machine.swap, "_end", machine.swap.fail)
        answer = undone_after(machine, monkeypatch, encrypted=True)
    assert "Job for memqos-crypt-2M.service failed" in answer["problem"] and machine.swaps() == {DEVICE: (1024, -2)}
    assert os.path.exists(f"{machine.root}/var/lib/memqos-swap/crypt-2M") and not answer["clean"]
    assert tune(machine, layer())["notes"] == ["an interrupted run was undone"]
    assert machine.snapshot() == before


def undone_after(machine: SwapMachine, monkeypatch: pytest.MonkeyPatch, *, encrypted: bool) -> Json:
    """The answer of a tune whose last step, a sysctl, fails."""
    original = machine.node.answer
    with monkeypatch.context() as context:
        context.setattr(machine.node, "answer", lambda path, text, shown: original(path, "61" if text == "10" else text, shown))
        return tune(machine, layer(host={"vm.swappiness": 10}, swap={"file": size(2, encrypted=encrypted)}))


def stays(machine: SwapMachine, answer: Json, *, encrypted: bool) -> None:
    """An area that is on, and all that it needs at the next boot too; the rest is undone."""
    assert "Not undone: " in answer["problem"] and not answer["clean"]
    assert machine.text("vm.swappiness") == "60"
    name = "crypt-2M" if encrypted else "swap-2M"
    paths = [f"/etc/systemd/system/swap.target.d/zz-memqos-{name}.conf", f"/var/lib/memqos-swap/{name}"]
    paths += [CRYPT_UNIT, "/etc/systemd/system/memqos-crypt-2M.service"] if encrypted else [UNIT]
    for path in paths:
        assert os.path.exists(machine.root + path) and f"{path} (" in answer["problem"], path
    assert ("/dev/dm-2M" if encrypted else FILE) in machine.swaps()


def test_an_encrypted_one_is_closed_only_when_it_is_off(machine: SwapMachine) -> None:
    """With its service ended, nobody would close it any more."""
    wanted = layer(swap={"file": size(2, encrypted=True)})
    tune(machine, wanted)
    before, kept = machine.snapshot(), machine.swap.kept()
    machine.swap.full = ["/dev/mapper/memqos-crypt-2M"]
    answer = machine.rollback("origin")
    assert "failed" in answer["problem"] and answer["clean"]
    assert (machine.snapshot(), machine.swap.kept()) == (before, kept)


def test_one_that_never_came_on_is_closed(machine: SwapMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine.snapshot()
    monkeypatch.setattr(machine.node, "_mkswap", lambda path: "")
    answer = tune(machine, layer(swap={"file": size(2, encrypted=True)}))
    assert "failed" in answer["problem"] and answer["clean"]
    assert machine.snapshot() == before and machine.swap.kept()["services"] == []


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("how", ["rollback", "leaving"])
def test_an_area_of_another_priority_keeps_its_files(machine: SwapMachine, how: str, encrypted: bool) -> None:
    """It is as somebody else wants it."""
    area = "/dev/mapper/memqos-crypt-2M" if encrypted else FILE
    tune(machine, layer(host={"vm.swappiness": 10}, swap={"file": size(2, encrypted=encrypted)}))
    machine.swap._swapoff(area)
    machine.swap._swapon(area, 7, "")
    before = machine.snapshot()
    answer = machine.rollback("origin") if how == "rollback" else tune(machine, layer())
    assert (answer["problem"], machine.text("vm.swappiness")) == ("", "60")
    found = {path: content for path, content in machine.snapshot().items() if "swap" in path and "swappiness" not in path}
    assert found == {path: content for path, content in before.items() if "swap" in path and "swappiness" not in path}
    assert len([row for row in answer["results"] if row["status"] == "deferred" and "its area is in use" in row["reason"]]) == (5 if encrypted else 3)
    if how == "rollback":
        assert machine.rollback("origin", force=True)["problem"] == ""
        assert machine.swaps() == {DEVICE: (1024, -2)}


# With limits


def using(machine: SwapMachine, **amounts: int) -> None:
    """MiB of batch.slice: anonymous memory, and what it has in swap."""
    for name, mib in {"memory.current": amounts["anon"], "memory.swap.current": amounts["swap"]}.items():
        machine.write(f"{machine.mount}/batch.slice/{name}", f"{mib * MIB}\n")
    machine.write(f"{machine.mount}/batch.slice/memory.stat", f"inactive_anon {amounts['anon'] * MIB}\ninactive_file 0\n")
    machine.swap.use(DEVICE, amounts["swap"] * MIB)


@pytest.mark.parametrize("rollback", [False, True])
def test_no_swap_goes_whose_pages_a_new_limit_would_not_take(machine: SwapMachine, rollback: bool) -> None:
    limit, swap = layer(slices={"batch.slice": {"MemoryMax": "200MiB"}}), {"file": size(300)}
    using(machine, anon=150, swap=0)
    if rollback:
        tune(machine, limit)
        tune(machine, layer(slices={"batch.slice": {"MemoryMax": "400MiB"}}, swap=swap))
    else:
        tune(machine, layer(swap=swap))
    machine.swap.stop(FSTAB_UNIT)
    using(machine, anon=150, swap=60)
    machine.swap.use("/var/lib/memqos-swap/swap-300M", 60 * MIB)
    before = machine.snapshot()
    answer = machine.rollback() if rollback else tune(machine, limit)
    assert "but 10.0 MiB exceed the limits (old or new) in /batch.slice, and 0 B of other swap: tasks would be killed" in answer["problem"]
    assert machine.snapshot() == before
    using(machine, anon=140, swap=60)
    assert (machine.rollback() if rollback else tune(machine, limit))["problem"] == ""
    assert (machine.swaps(), machine.text("/batch.slice memory.max")) == ({}, f"{200 * MIB}")


def test_a_limit_counts_on_no_swap_that_is_to_come(machine: SwapMachine) -> None:
    """Usage is brought down before the first step."""
    machine.swap.stop(FSTAB_UNIT)
    machine.write("/proc/meminfo", (machine.text("/proc/meminfo") or "").replace(f"SwapFree:       {GIB >> 10:8} kB", "SwapFree: 0 kB") + "\n")
    using(machine, anon=250, swap=0)
    wanted = layer(slices={"batch.slice": {"MemoryMax": "200MiB"}}, swap={"file": size(300)})
    answer = machine.asked(_tune.tune, {"layers": [wanted], "options": {**OPTIONS, "swap": True}, "shrink": {"within": 60, "slice": 10}})
    assert "there is no swap for it" in answer["problem"]
    assert "swap of this plan comes later: tune that first (memqos_only)" in answer["problem"]
    without = {**wanted, "swap": {}}
    answer = machine.asked(_tune.tune, {"layers": [without], "options": {**OPTIONS, "swap": True}, "shrink": {"within": 60, "slice": 10}})
    assert "there is no swap for it" in answer["problem"] and "comes later" not in answer["problem"]


def test_a_limit_counts_on_no_swap_that_goes(machine: SwapMachine) -> None:
    tune(machine, layer(swap={"file": size(300)}))
    machine.swap.stop(FSTAB_UNIT)
    machine.write("/proc/meminfo", (machine.text("/proc/meminfo") or "").replace(f"SwapFree:       {GIB >> 10:8} kB", f"SwapFree: {300 << 10} kB") + "\n")
    using(machine, anon=250, swap=0)
    wanted = layer(slices={"batch.slice": {"MemoryMax": "200MiB"}}, swap={"file": size(40)})
    answer = machine.asked(_tune.tune, {"layers": [wanted], "options": {**OPTIONS, "swap": True}, "shrink": {"within": 60, "slice": 10}})
    assert "no more than 40.0 MiB of that can be reclaimed (the rest is in use, and 40.0 MiB of swap are free for it)" in answer["problem"]


def test_a_unit_that_goes_back_beside_a_swap_file_that_comes(machine: SwapMachine) -> None:
    drop_in, file = "/run/systemd/system.control/batch.slice.d/50-MemoryMin.conf", "/sys/fs/cgroup/batch.slice/memory.min"
    unit, swap = layer(slices={"batch.slice": {"MemoryMin": 8 * MIB}}), layer(swap={"file": size(2)})
    for wanted in (unit, swap, unit):
        assert tune(machine, wanted)["problem"] == ""
        assert (str(machine.text(file)).strip(), FILE in machine.swaps()) == (("0", True) if wanted is swap else (str(8 * MIB), False))
        assert (machine.text(drop_in) is None) is (wanted is swap)
    # To the swap file; and to before all.
    for to, on in (("2", True), ("origin", False)):
        assert machine.rollback(to)["problem"] == ""
        assert (str(machine.text(file)).strip(), FILE in machine.swaps(), machine.text(drop_in)) == ("0", on, None)
