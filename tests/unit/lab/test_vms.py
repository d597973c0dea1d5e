# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lab does with processes, and what it says when something is missing. QEMU is a Python process with its name."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab import accel, command, common, images, sessions, snapshots, vms
from ansible_collections.memqos.fleet.tests.lab.common import Cache
from ansible_collections.memqos.fleet.tests.lab.inventory import machine_named
from ansible_collections.memqos.fleet.tests.lab.machines import LabError, Machine, RealMachine
from ansible_collections.memqos.fleet.tests.unit.lab.fake_lab import SLEEP, Lab

DEAD_PID = 2**22 + 1  # above the kernel's PID_MAX_LIMIT


def start(lab: Lab, name: str, *, cold: bool = False) -> vms.State:
    return snapshots.start(vms.Vm(name, lab.cache), lab.machine, cold=cold, cancel=threading.Event())


def write_state(vm: vms.Vm, *, pid: int, starter: int | None = None) -> None:
    vm.files.directory.mkdir(parents=True)
    vm.files.pid.write_text(f"{pid}\n")
    state = vms.State(
        name=vm.name, machine="m", address="127.0.0.1", port=2222, user="root", identity_file="/key", accelerator="tcg", starter=starter
    )  # fmt: skip
    vm.files.state.write_text(json.dumps(dataclasses.asdict(state)))


def named(argv: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(argv, executable=sys.executable)
    # The kernel lets go of our pipe, for which Popen waits, before it sets the new command line.
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(argv[0].encode() + b"\0-c\0"):
        pass
    return process


def running_vm(name: str, cache: Cache, processes: list[subprocess.Popen[bytes]], *, starter: int | None = None) -> vms.Vm:
    vm = vms.Vm(name, cache)
    argv = ["qemu-system-x86_64", "-c", SLEEP, f"file={vm.files.disk}"]
    processes.append(named(argv))
    write_state(vm, pid=processes[-1].pid, starter=starter)
    return vm


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"MEMQOS_LAB_CACHE": "/somewhere"}, "/somewhere"),
        ({"MEMQOS_LAB_CACHE": "/somewhere", "XDG_CACHE_HOME": "/x"}, "/somewhere"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/memqos-lab"),
        ({"MEMQOS_LAB_CACHE": ""}, f"{Path.home()}/.cache/memqos-lab"),
    ],
)
def test_cache_directory(environ: dict[str, str], wanted: str) -> None:
    assert str(Cache.from_environment(environ).root) == wanted


def test_missing_programs_name_packages_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "SEARCH_PATH", "/nonexistent")
    with pytest.raises(LabError) as caught:
        common.require_programs(("depmod", "cpio", "mkfs.ext4"))
    assert "sudo apt-get install --no-install-recommends cpio e2fsprogs kmod" in str(caught.value)


def test_a_failed_command_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        common.run_logged(["sh", "-c", "seq 100; echo E: no such suite >&2; exit 3"], log=tmp_path / "log" / "build.log")
    assert str(caught.value).startswith("sh failed with status 3; the end of")
    assert str(caught.value).endswith("\n99\n100\nE: no such suite")
    assert "\n50\n" not in str(caught.value)


def test_building_needs_root(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "require_programs", lambda _names: None)
    monkeypatch.setattr(images.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(images, "public_key", lambda _cache: "key")
    with pytest.raises(LabError, match="sudo MEMQOS_LAB_CACHE=.* python3 tests/lab build"):
        images.ensure_image(Machine(name="m", suite="trixie").image, cache)


@pytest.mark.parametrize("name", ["", "../up", "a b", "a/b", "a;b"])
def test_names_that_are_no_directory(name: str, cache: Cache) -> None:
    with pytest.raises(LabError, match="letters, digits"):
        vms.Vm(name, cache)


def test_stop_ends_our_process(cache: Cache, processes: list[subprocess.Popen[bytes]]) -> None:
    vm = running_vm("vm", cache, processes)
    assert vm.pid() == processes[0].pid
    assert vm.stop()
    assert processes[0].wait(timeout=60) != 0
    assert not vm.files.directory.exists()
    assert not vm.stop()


@pytest.mark.parametrize("argv0", ["python3", "qemu-system-x86_64"])
def test_a_pid_used_again_is_not_ours(argv0: str, cache: Cache, processes: list[subprocess.Popen[bytes]]) -> None:
    vm = vms.Vm("vm", cache)
    # Another program, or QEMU with another machine's disk.
    processes.append(named([argv0, "-c", SLEEP, "file=/other/disk.qcow2"]))
    write_state(vm, pid=processes[0].pid)
    assert vm.pid() is None
    vm.stop()
    assert processes[0].poll() is None


def test_ssh_to_a_machine_that_does_not_run(cache: Cache) -> None:
    with pytest.raises(LabError, match="vm does not run; start it with: up vm"):
        vms.Vm("vm", cache).ssh_argv("true")


def test_ssh_command(cache: Cache, processes: list[subprocess.Popen[bytes]]) -> None:
    argv = running_vm("vm", cache, processes).ssh_argv("uname", "-r")
    assert argv[0] == "ssh"
    assert argv[-7:] == ["-i", "/key", "-p", "2222", "root@127.0.0.1", "uname", "-r"]


def test_sweep_stops_what_a_crashed_run_left(cache: Cache, processes: list[subprocess.Popen[bytes]], capsys: pytest.CaptureFixture[str]) -> None:
    left = running_vm("left", cache, processes, starter=DEAD_PID)
    booting = running_vm("booting", cache, processes, starter=os.getpid())
    up = running_vm("up", cache, processes)
    vms.sweep(cache)
    assert [vm.name for vm in vms.all_vms(cache)] == ["booting", "up"]
    assert (left.pid(), booting.pid(), up.pid()) == (None, processes[1].pid, processes[2].pid)
    assert "left: left behind by a run that is gone" in capsys.readouterr().err


def test_a_state_file_cut_short(cache: Cache) -> None:
    vm = vms.Vm("vm", cache)
    vm.files.directory.mkdir(parents=True)
    vm.files.state.write_text('{"name": "vm", "machine"')
    assert vm.state() is None
    assert vm.stop()


def test_a_boot(lab: Lab) -> None:
    vm = vms.Vm("my_vm", lab.cache)
    state = start(lab, "my_vm", cold=True)
    assert (state.port, state.restored, state.starter, state.identity_file) == (45615, False, None, str(lab.cache.key))
    assert vm.state() == state
    assert vm.pid()
    # Once it is up it may reboot; before, a panic would go round for ever.
    assert lab.said() == ["qmp_capabilities", "human-monitor-command info usernet", "set-action reset"]
    assert [words.split()[:4] for words in lab.scripts()] == [["true"], ["sh", "-s", "--", "my-vm"], ["sh", "-s", "--"]]
    assert vm.stop()


@pytest.mark.parametrize("command", ["qmp_capabilities", "human-monitor-command", "set-action"])
def test_qemu_that_ends_early(command: str, lab: Lab) -> None:
    lab.behave(end=command)
    with pytest.raises(LabError) as caught:
        start(lab, "vm", cold=True)
    assert "QEMU ended with status 7:\nfake: last words" in str(caught.value)
    assert "The console's end:" in str(caught.value)
    assert vms.all_vms(lab.cache) == []


def test_no_answer_shows_the_console(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int | None] = []

    def no_banner(_port: int) -> bool:
        vm = vms.Vm("vm", lab.cache)
        pids.append(vm.pid())
        vm.files.console.write_text("Kernel panic - not syncing")
        return False

    monkeypatch.setattr(vms, "_ssh_banner", no_banner)
    monkeypatch.setattr(vms, "BOOT_SECONDS", 0.0)
    with pytest.raises(LabError, match=r"did not answer on SSH within 0 s .*: no greeting from sshd\nIts console ends with:\nKernel panic - not syncing"):
        start(lab, "vm", cold=True)
    assert pids[0] and not Path(f"/proc/{pids[0]}").exists()
    assert vms.all_vms(lab.cache) == []


def test_no_login_shows_what_ssh_says(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.script("ssh", "#!/bin/sh\necho Permission denied >&2; exit 255\n")
    monkeypatch.setattr(vms, "BOOT_SECONDS", 0.2)
    with pytest.raises(LabError, match=r"did not answer on SSH within 0.2 s .*: Permission denied"):
        start(lab, "vm", cold=True)


def test_what_fails_in_the_guest_is_shown(lab: Lab) -> None:
    lab.script("ssh", '#!/bin/sh\ncase "$*" in *true) exit 0 ;; esac\necho date: invalid date; exit 1\n')
    with pytest.raises(LabError, match="vm: identity.sh failed with status 1: date: invalid date"):
        start(lab, "vm", cold=True)
    assert vms.all_vms(lab.cache) == []


def test_root_by_sudo(lab: Lab) -> None:
    start(dataclasses.replace(lab, machine=dataclasses.replace(lab.machine, user="admin")), "vm", cold=True)
    assert lab.scripts()[1].startswith("sudo -n sh -s -- vm ")


def test_one_that_fails_takes_the_others_down(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # "bad" has no room for its disk; "good" would wait for its banner for ever, and is given up with it.
    monkeypatch.setattr(vms, "_ssh_banner", lambda _port: False)
    lab.script("qemu-img", '#!/bin/sh\ncase "$*" in */bad/*) echo no space >&2; exit 1 ;; esac\nfor last; do :; done\n: >"$last"\n')
    with pytest.raises(LabError, match="no space|given up"):
        command._start_all([(lab.machine, "good"), (lab.machine, "bad")], lab.cache, cold=True)
    assert vms.all_vms(lab.cache) == []


def test_what_runs_already_is_left(lab: Lab, processes: list[subprocess.Popen[bytes]]) -> None:
    vm = running_vm("vm", lab.cache, processes)
    assert start(lab, "vm").port == 2222
    with pytest.raises(LabError, match="already runs as a m; stop it with: down vm"):
        start(dataclasses.replace(lab, machine=Machine(name="other", suite="trixie")), "vm")
    assert vm.pid() == processes[0].pid
    assert lab.said() == []


def test_a_lab_that_is_killed_takes_along_what_it_starts(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process of ours is the lab: it starts a machine that never greets, and is killed."""
    monkeypatch.setattr(vms, "_ssh_banner", lambda _port: False)
    child = os.fork()
    if not child:
        start(lab, "vm", cold=True)
        os._exit(1)
    while not lab.said():
        time.sleep(0.01)
    vm = vms.Vm("vm", lab.cache)
    pid = vm.pid()
    assert pid
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert vms._ended(pid, within=60)
    # Its files go with the next command.
    vms.sweep(lab.cache)
    assert vms.all_vms(lab.cache) == []


def test_a_real_machine_is_only_logged_in_to(lab: Lab) -> None:
    real = RealMachine(name="node7", address="192.0.2.7", user="admin")
    state = snapshots.start(vms.Vm("node7", lab.cache), real, cold=False, cancel=threading.Event())
    assert (state.address, state.port, state.user, state.identity_file, state.accelerator) == ("192.0.2.7", 22, "admin", None, None)
    assert lab.scripts() == ["true"]
    argv = vms.Vm("node7", lab.cache).ssh_argv("true")
    assert argv[-4:] == ["-p", "22", "admin@192.0.2.7", "true"]
    assert "-i" not in argv
    assert vms.Vm("node7", lab.cache).stop()


def test_a_real_machine_that_does_not_answer(lab: Lab) -> None:
    lab.script("ssh", "#!/bin/sh\necho ssh: connect to host 192.0.2.7: No route to host >&2; exit 255\n")
    with pytest.raises(LabError, match="no login on root@192.0.2.7, port 22: ssh: .* No route to host"):
        snapshots.start(vms.Vm("node7", lab.cache), RealMachine(name="node7", address="192.0.2.7"), cold=False, cancel=threading.Event())
    assert vms.all_vms(lab.cache) == []


@pytest.mark.parametrize(("works", "usable", "wanted"), [(True, True, "kvm"), (False, True, "tcg"), (True, False, "tcg")])
def test_accelerator(works: bool, usable: bool, wanted: str, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes: list[Path] = []

    def probe(kernel: Path) -> bool:
        probes.append(kernel)
        return works

    monkeypatch.setattr(accel, "_kvm_usable", lambda: usable)
    monkeypatch.setattr(accel, "_boots_under_kvm", probe)
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(b"a kernel")
    assert [accel.detect(kernel, cache), accel.detect(kernel, cache)] == [wanted, wanted]
    assert len(probes) == usable
    kernel.write_bytes(b"another kernel")
    accel.detect(kernel, cache)
    assert len(probes) == 2 * usable


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["up", "debian10"], "no machine named 'debian10'"),
        (["up", "debian13_v2", "debian12_v2:debian13_v2"], "two machines with one name"),
        (["ssh", "nobody", "true"], "nobody does not run"),
        (["down"], "down needs the names of virtual machines, or --all"),
        (["down", "vm", "--all"], "down needs the names of virtual machines, or --all"),
        (["build", "debian10"], "no machine named 'debian10'"),
    ],
)
def test_mistakes_are_explained(argv: list[str], words: str, cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "require_programs", lambda _names: None)
    monkeypatch.setattr(sessions.signal, "signal", lambda *_: None)
    assert command.main(argv) == 1
    assert f"lab: {words}" in capsys.readouterr().err


def test_down_all(cache: Cache, processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    running_vm("a", cache, processes)
    running_vm("b", cache, processes)
    monkeypatch.setattr(sessions.signal, "signal", lambda *_: None)
    assert command.main(["down", "--all"]) == 0
    assert vms.all_vms(cache) == []


@pytest.mark.parametrize(("text", "name"), [("debian13_v2", "debian13_v2"), ("debian13_v2:node-1", "node-1")])
def test_names_of_vms(text: str, name: str) -> None:
    assert command.wanted(text) == (machine_named("debian13_v2"), name)
