# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lab does with processes, and what it says when something is missing. QEMU is a Python process with its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab import accel, command, common, images, vms
from ansible_collections.memqos.fleet.tests.lab.common import Cache
from ansible_collections.memqos.fleet.tests.lab.machines import LabError, Machine, machine_named

SLEEP = "import time; time.sleep(600)"
DEAD_PID = 2**22 + 1  # above the kernel's PID_MAX_LIMIT


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("MEMQOS_LAB_CACHE", str(tmp_path / "cache"))
    return Cache(tmp_path / "cache")


@pytest.fixture
def processes() -> t.Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def write_state(vm: vms.Vm, *, pid: int, starter: int | None = None) -> None:
    vm.files.directory.mkdir(parents=True)
    vm.files.pid.write_text(f"{pid}\n")
    state = {"name": vm.name, "machine": "debian13_v2", "address": "127.0.0.1", "port": 2222, "accelerator": "tcg", "starter": starter}
    vm.files.state.write_text(json.dumps(state))


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
        images.ensure_image(machine_named("debian13_v2").image, cache)


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
    assert argv[-6:] == [str(cache.key), "-p", "2222", "root@127.0.0.1", "uname", "-r"]


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


class Boot(t.NamedTuple):
    """A machine that can be started, with C(programs) for what its qemu-system-x86_64 does."""

    programs: Path
    machine: Machine


@pytest.fixture
def boot(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Boot:
    programs = tmp_path / "bin"
    programs.mkdir()
    script(programs / "qemu-img", "exit 0")
    image = images.ImageFiles(tmp_path / "image")
    monkeypatch.setattr(vms, "ensure_image", lambda _image, _cache: image)
    monkeypatch.setattr(vms.accel, "detect", lambda _kernel, _cache: "tcg")
    search_path = f"{programs}:{os.environ['PATH']}"
    monkeypatch.setattr(vms, "SEARCH_PATH", search_path)
    monkeypatch.setenv("PATH", search_path)
    return Boot(programs, Machine(name="m", suite="trixie"))


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_qemu_that_ends_early(boot: Boot, cache: Cache) -> None:
    script(boot.programs / "qemu-system-x86_64", "echo qemu: no such machine >&2; exit 7")
    vm = vms.Vm("vm", cache)
    with pytest.raises(LabError) as caught:
        vm.start(boot.machine, cancel=threading.Event())
    assert "QEMU ended with status 7:\nqemu: no such machine" in str(caught.value)
    assert "The console's end:" in str(caught.value)
    assert not vm.files.directory.exists()


def test_a_taken_port_is_tried_again(boot: Boot, cache: Cache, tmp_path: Path) -> None:
    script(boot.programs / "qemu-system-x86_64", f"echo >>{tmp_path}/starts; echo \"Could not set up host forwarding rule 'tcp:1'\" >&2; exit 1")
    with pytest.raises(LabError, match="host forwarding"):
        vms.Vm("vm", cache).start(boot.machine, cancel=threading.Event())
    assert (tmp_path / "starts").read_text().count("\n") == 5


def test_no_answer_shows_the_console(boot: Boot, cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    console = cache.run / "vm" / "console.log"
    script(boot.programs / "qemu-system-x86_64", f"echo $$ >{tmp_path}/pid; echo 'Kernel panic - not syncing' >{console}; exec sleep 600")
    answered = iter([True])

    def no_banner(_port: int) -> bool:
        # The limit begins to count when the process has said what it says.
        while next(answered, False) or not console.exists() or not console.read_text():
            pass
        return False

    monkeypatch.setattr(vms, "_ssh_banner", no_banner)
    monkeypatch.setattr(vms, "BOOT_SECONDS", 0.0)
    with pytest.raises(LabError, match=r"did not answer on SSH within 0 s .*\nKernel panic - not syncing"):
        vms.Vm("vm", cache).start(boot.machine, cancel=threading.Event())
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    assert not (cache.run / "vm").exists()


def test_one_that_fails_takes_the_others_down(boot: Boot, cache: Cache) -> None:
    # "bad" ends by itself; "good" would boot for ever, and is given up with it.
    script(boot.programs / "qemu-system-x86_64", 'case "$2" in bad) echo broken >&2; exit 1 ;; esac; exec sleep 600')
    with pytest.raises(LabError, match="broken|given up"):
        command._start_all([(boot.machine, "good"), (boot.machine, "bad")], cache)
    assert vms.all_vms(cache) == []


def test_what_runs_already_is_left(boot: Boot, cache: Cache, processes: list[subprocess.Popen[bytes]]) -> None:
    vm = running_vm("vm", cache, processes)
    assert vm.start(machine_named("debian13_v2"), cancel=threading.Event()).port == 2222
    with pytest.raises(LabError, match="already runs as a debian13_v2"):
        vm.start(boot.machine, cancel=threading.Event())
    assert vm.pid() == processes[0].pid


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
        (["up", "debian11"], "no machine named 'debian11'"),
        (["up", "debian13_v2", "debian12_v2:debian13_v2"], "two machines with one name"),
        (["ssh", "nobody", "true"], "nobody does not run"),
        (["down"], "down needs the names of virtual machines, or --all"),
        (["down", "vm", "--all"], "down needs the names of virtual machines, or --all"),
        (["build", "debian11"], "no machine named 'debian11'"),
    ],
)
def test_mistakes_are_explained(argv: list[str], words: str, cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "require_programs", lambda _names: None)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    assert command.main(argv) == 1
    assert f"lab: {words}" in capsys.readouterr().err


def test_down_all(cache: Cache, processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    running_vm("a", cache, processes)
    running_vm("b", cache, processes)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    assert command.main(["down", "--all"]) == 0
    assert vms.all_vms(cache) == []


@pytest.mark.parametrize(("text", "name"), [("debian13_v2", "debian13_v2"), ("debian13_v2:node-1", "node-1")])
def test_names_of_vms(text: str, name: str) -> None:
    assert command.wanted(text) == (machine_named("debian13_v2"), name)
