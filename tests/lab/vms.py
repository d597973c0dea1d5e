# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Virtual machines: boot or restore, wait until SSH answers, stop. A machine's directory C(run/NAME) holds all that is known about it."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
import typing as t
from pathlib import Path

from .common import GIVEN_UP, GUEST_SCRIPTS, SEARCH_PATH, Cache, progress, tail
from .images import ImageFiles
from .machines import LabError, Machine, RealMachine
from .monitor import Monitor, MonitorError
from .qemu import Accelerator, Ram, RunFiles, command_line

# Emulated guests on a busy machine: slow is not broken.
BOOT_SECONDS = float(os.environ.get("MEMQOS_LAB_TIMEOUT", "600"))
# A restored guest has booted already.
RESTORE_SECONDS = 180.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.2
_COMMAND_POLL_SECONDS = 0.02
_SSH_OPTIONS = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=60")


class QemuEndedError(LabError):
    """QEMU ended by itself while its machine was starting. C(failed): not because the guest wanted it, as after a panic."""

    def __init__(self, words: str, *, failed: bool) -> None:
        super().__init__(words)
        self.failed = failed


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """What C(machine.json) says. C(accelerator) is null for a real machine; C(starter) is the lab process that starts it, null once it is up."""

    name: str
    machine: str
    address: str
    port: int
    user: str
    identity_file: str | None
    accelerator: str | None
    restored: bool = False
    starter: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SnapshotFiles:
    """A machine stopped after its boot: its memory, its devices' state, its disks."""

    directory: Path

    @property
    def devices(self) -> Path:
        return self.directory / "devices"

    @property
    def disk(self) -> Path:
        return self.directory / "disk.qcow2"

    @property
    def swap(self) -> Path:
        return self.directory / "swap.raw"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """What a virtual machine is started from."""

    machine: Machine
    image: ImageFiles
    accelerator: Accelerator
    snapshot: SnapshotFiles | None = None


@dataclasses.dataclass(frozen=True)
class Qemu:
    """A QEMU that we started."""

    process: subprocess.Popen[bytes]
    monitor: Monitor


class Vm:
    """One virtual machine by name, running or not; or a real one that we know how to reach."""

    def __init__(self, name: str, cache: Cache) -> None:
        if not name or not all(char.isalnum() or char in "-_" for char in name):
            raise LabError(f"a machine's name has letters, digits, - and _ only, not {name!r}")
        self.name = name
        self.cache = cache
        self.files = RunFiles(cache.run / name)

    def state(self) -> State | None:
        """The recorded state, None if there is none or it was cut short."""
        try:
            return State(**json.loads(self.files.state.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def pid(self) -> int | None:
        """The running QEMU's process, None if it does not run. Only a process that has our disk in its command line is ours: pids are used again."""
        try:
            pid = int(self.files.pid.read_text())
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        ours = argv[0].startswith(b"qemu-system") and any(os.fsencode(self.files.disk) in part for part in argv)
        return pid if ours else None

    def up_as(self) -> State | None:
        """The state of a machine that is up or starting."""
        state = self.state()
        return state if state and (state.accelerator is None or self.pid() is not None) else None

    def abandoned(self) -> bool:
        """Whether the lab process that was starting it is gone: it crashed or was killed."""
        state = self.state()
        return state is not None and state.starter is not None and not Path(f"/proc/{state.starter}").exists()

    def ssh_argv(self, *command: str) -> list[str]:
        """The ssh command line to this machine. Raises LabError if it does not run."""
        state = self.up_as()
        if state is None:
            raise LabError(f"{self.name} does not run; start it with: up {self.name}")
        return ssh_argv(state, *command)

    @contextlib.contextmanager
    def starting(self, machine: Machine | RealMachine, *, cancel: threading.Event) -> collections.abc.Iterator[State | None]:
        """Nobody else starts it meanwhile. Yields the state of one that is up already. Raises LabError if that is another kind of machine."""
        with self.cache.locked(f"vm-{self.name}", cancel=cancel):
            state = self.up_as()
            if state and state.starter is None:
                if state.machine != machine.name:
                    raise LabError(f"{self.name} already runs as a {state.machine}; stop it with: down {self.name}")
                progress(self.name, "already up")
                yield state
                return
            self.stop()
            yield None

    def start(self, start: Start, *, cancel: threading.Event) -> State:
        """Boot or restore it and wait until it is its own self. Raises LabError, with the console's end; then nothing is left."""
        with self.running(start, cancel=cancel):
            return self._settled()

    def reach(self, machine: RealMachine, *, cancel: threading.Event) -> State:
        """Log in on a real machine once, and note how. Raises LabError."""
        state = State(accelerator=None, **{**dataclasses.asdict(machine), "name": self.name}, machine=machine.name)
        status, words = _command(ssh_argv(state, "true"), cancel=cancel, seconds=RESTORE_SECONDS)
        if status:
            raise LabError(f"{self.name}: no login on {machine.user}@{machine.address}, port {machine.port}: {words}")
        self.files.directory.mkdir(parents=True)
        self._record(state)
        progress(self.name, f"answers at {machine.address}")
        return state

    def stop(self) -> bool:
        """End the QEMU process and remove the machine's directory; whether there was something to stop."""
        pid = self.pid()
        if pid is not None:
            _end_process(pid)
        existed = self.files.directory.exists()
        shutil.rmtree(self.files.directory, ignore_errors=True)
        return existed

    @contextlib.contextmanager
    def running(self, start: Start, *, cancel: threading.Event, ram: Ram | None = None) -> collections.abc.Iterator[Qemu]:
        """Up, with its name, clock and random numbers; C(ram) is where a snapshot will want the memory. What fails from here on ends it."""
        machine = start.machine
        if cancel.is_set():
            raise LabError(f"{self.name}: {GIVEN_UP}")
        if start.snapshot:
            ram = Ram(start.snapshot.directory, restored=True)
        state = State(
            name=self.name, machine=machine.name, address="127.0.0.1", port=0, user=machine.user, accelerator=start.accelerator,
            identity_file=machine.identity_file or str(self.cache.key), restored=bool(start.snapshot), starter=os.getpid(),
        )  # fmt: skip
        try:
            self._prepare(start, state)
            with self._qemu(start, ram) as qemu:
                state = dataclasses.replace(state, port=qemu.monitor.forwarded_port())
                self._record(state)
                self._bring_up(qemu, start, state, cancel)
                yield qemu
        except BaseException:
            shutil.rmtree(self.files.directory, ignore_errors=True)
            raise

    def _prepare(self, start: Start, state: State) -> None:
        self.files.directory.mkdir(parents=True)
        self._record(state)
        base, base_format = (start.snapshot.disk, "qcow2") if start.snapshot else (start.image.disk, start.image.disk_format)
        _run_quietly("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", base_format, str(self.files.disk))
        if not start.machine.swap_mib:
            return
        if start.snapshot:
            _run_quietly("cp", "--sparse=always", str(start.snapshot.swap), str(self.files.swap))
            return
        with self.files.swap.open("wb") as swap:
            swap.truncate(start.machine.swap_mib << 20)
        self.files.swap.chmod(0o600)
        _run_quietly("mkswap", "-q", str(self.files.swap))

    @contextlib.contextmanager
    def _qemu(self, start: Start, ram: Ram | None) -> collections.abc.Iterator[Qemu]:
        """A QEMU process with its monitor; killed if what is done with it fails, left to itself otherwise."""
        ours, theirs = socket.socketpair()
        monitor = Monitor(ours)
        argv = command_line(
            start.machine, name=self.name, image=start.image, run=self.files, accelerator=start.accelerator, monitor=theirs.fileno(), ram=ram
        )  # fmt: skip
        with contextlib.closing(monitor), theirs, self.files.errors.open("wb") as errors:
            # A session of its own: a Ctrl-C here is answered below, in order, and a machine that is up survives us.
            env = {**os.environ, "PATH": SEARCH_PATH}
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True, env=env, pass_fds=[theirs.fileno()]
            )
            theirs.close()
            try:
                with _ending_with_us(process):
                    yield Qemu(process, monitor)
            except BaseException as exc:
                # A monitor that closes: QEMU is about to end, and its own words say why.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1 if isinstance(exc, MonitorError) else 0)
                status = process.poll()
                process.kill()
                process.wait()
                if isinstance(exc, MonitorError) and status is not None:
                    raise self._early_end(status) from exc
                raise

    def _bring_up(self, qemu: Qemu, start: Start, state: State, cancel: threading.Event) -> None:
        if start.snapshot:
            qemu.monitor.load(start.snapshot.devices, cancel=cancel)
            self._introduce(state, cancel=cancel, seconds=RESTORE_SECONDS)
            return
        progress(self.name, f"booting ({start.machine.origin}, {start.accelerator}, port {state.port})")
        self._wait_for_ssh(qemu.process, state, cancel=cancel)
        self._introduce(state, cancel=cancel, seconds=BOOT_SECONDS)
        failed = self._run_script("settle.sh", state, cancel=cancel, seconds=BOOT_SECONDS)
        if failed:
            progress(self.name, f"booted, but without:\n{failed}")
        qemu.monitor.execute("set-action", reboot="reset")

    def _introduce(self, state: State, *, cancel: threading.Event, seconds: float) -> None:
        # No underscores in the name of a host.
        self._run_script("identity.sh", state, self.name.replace("_", "-"), f"{time.time():.0f}", secrets.token_hex(32), cancel=cancel, seconds=seconds)

    def _run_script(self, script: str, state: State, *arguments: str, cancel: threading.Event, seconds: float) -> str:
        """What one of our scripts prints on the guest, run by root."""
        shell = "sh -s" if state.user == "root" else "sudo -n sh -s"
        argv = ssh_argv(state, f"{shell} -- {' '.join(arguments)}")
        with (GUEST_SCRIPTS / script).open("rb") as text:
            status, words = _command(argv, cancel=cancel, seconds=seconds, stdin=text)
        if status:
            raise LabError(f"{self.name}: {script} failed with status {status}: {words}\nThe console's end:\n{tail(self.files.console)}")
        return words

    def _settled(self) -> State:
        state = self.state()
        if state is None:
            raise LabError(f"{self.name}: its directory {self.files.directory} is gone")
        state = dataclasses.replace(state, starter=None)
        self._record(state)
        progress(self.name, f"up{', restored from its snapshot' if state.restored else ''}")
        return state

    def _record(self, state: State) -> None:
        partial = self.files.state.with_suffix(".partial")
        partial.write_text(json.dumps(dataclasses.asdict(state)))
        partial.replace(self.files.state)

    def _wait_for_ssh(self, process: subprocess.Popen[bytes], state: State, *, cancel: threading.Event) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        words = "no greeting from sshd"
        while True:
            if _ssh_banner(state.port):
                status, words = _command(ssh_argv(state, "true"), cancel=cancel, seconds=BOOT_SECONDS)
                if status == 0:
                    return
            if process.poll() is not None:
                raise self._early_end(process.returncode)
            if time.monotonic() > deadline:
                raise LabError(
                    f"{self.name} did not answer on SSH within {BOOT_SECONDS:g} s (MEMQOS_LAB_TIMEOUT sets another limit): {words}\n"
                    f"Its console ends with:\n{tail(self.files.console)}"
                )
            if cancel.wait(_POLL_SECONDS):
                raise LabError(f"{self.name}: {GIVEN_UP}")

    def _early_end(self, status: int) -> QemuEndedError:
        words = f"{self.name}: QEMU ended with status {status}:\n{tail(self.files.errors)}\nThe console's end:\n{tail(self.files.console)}"
        return QemuEndedError(words, failed=status != 0)


@contextlib.contextmanager
def _ending_with_us(process: subprocess.Popen[bytes]) -> collections.abc.Iterator[None]:
    """While the body runs, the process ends with a lab that is killed: a shell ends it when our pipe closes before a word that all is well."""
    watch = ["sh", "-c", 'read -r word; [ "$word" = keep ] || kill -KILL "$0"', str(process.pid)]
    with subprocess.Popen(watch, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as watcher:
        try:
            yield
        finally:
            # Whatever came of it, from here on we see to the process ourselves.
            watcher.communicate(b"keep\n")


def ssh_argv(state: State, *command: str) -> list[str]:
    """The ssh command line that reaches it."""
    flags = [part for option in _SSH_OPTIONS for part in ("-o", option)]
    key = ["-i", state.identity_file] if state.identity_file else []
    return ["ssh", *flags, *key, "-p", str(state.port), f"{state.user}@{state.address}", *command]


def all_vms(cache: Cache) -> list[Vm]:
    """Every machine that has a directory, running or not, by name."""
    with contextlib.suppress(OSError):
        return [Vm(path.name, cache) for path in sorted(cache.run.iterdir()) if path.is_dir()]
    return []


def sweep(cache: Cache) -> None:
    """Stop what a lab process that crashed was still starting."""
    for vm in all_vms(cache):
        if vm.abandoned():
            progress(vm.name, "left behind by a run that is gone: stopped")
            vm.stop()


def _end_process(pid: int) -> None:
    # A pidfd names one process for good, so that a pid used again in between is not hit.
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            if _ended(pid, within=_STOP_SECONDS):
                return
    finally:
        os.close(handle)
    raise LabError(f"the QEMU process {pid} does not end, not even by SIGKILL")


def _ended(pid: int, *, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        # A zombie has ended: its parent, some lab process, has yet to look.
        if stat.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def _ssh_banner(port: int) -> bool:
    """Whether an SSH server greets. QEMU accepts before the guest does, so an open port says nothing; and a whole ssh each time is CPU the guest lacks."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _command(argv: list[str], *, cancel: threading.Event, seconds: float, stdin: t.IO[bytes] | None = None) -> tuple[int, str]:
    """Exit status and output, both streams. Raises LabError when cancelled or too late, with the command ended."""
    deadline = time.monotonic() + seconds
    with subprocess.Popen(argv, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    output, _nothing = process.communicate(timeout=_COMMAND_POLL_SECONDS)
                    return process.returncode, output.decode("utf-8", "replace").strip()
                if cancel.is_set():
                    raise LabError(f"{argv[0]}: {GIVEN_UP}")
                if time.monotonic() > deadline:
                    raise LabError(f"{argv[0]} took longer than {seconds:g} s")
        except BaseException:
            process.kill()
            raise


def _run_quietly(*argv: str) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, "PATH": SEARCH_PATH}, check=False)
    if done.returncode:
        raise LabError(f"{argv[0]} failed: {done.stderr.decode('utf-8', 'replace').strip()}")
