# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Virtual machines: start, wait until SSH answers, stop. A machine's directory C(run/NAME) holds all that is known about it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from . import accel
from .common import SEARCH_PATH, Cache, progress, tail
from .images import ensure_image
from .machines import LabError, Machine
from .monitor import Monitor
from .qemu import RunFiles, command_line

# Emulated guests on a busy machine: slow is not broken.
BOOT_SECONDS = float(os.environ.get("MEMQOS_LAB_TIMEOUT", "600"))
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.2
_PORT_ATTEMPTS = 5


class _PortTaken(LabError):
    """Another process took the port between our choice and QEMU's start."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """What C(machine.json) says. C(starter) is the lab process that boots the machine, null once it is up."""

    name: str
    machine: str
    address: str
    port: int
    accelerator: str
    starter: int | None


class Vm:
    """One virtual machine by name, running or not."""

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

    def abandoned(self) -> bool:
        """Whether the lab process that was booting it is gone: it crashed or was killed."""
        state = self.state()
        return state is not None and state.starter is not None and not Path(f"/proc/{state.starter}").exists()

    def ssh_argv(self, *command: str) -> list[str]:
        """The ssh command line to this machine. Raises LabError if it does not run."""
        state = self.state()
        if state is None or self.pid() is None:
            raise LabError(f"{self.name} does not run; start it with: up {self.name}")
        options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=60")
        flags = [part for option in options for part in ("-o", option)]
        return ["ssh", *flags, "-i", str(self.cache.key), "-p", str(state.port), f"root@{state.address}", *command]

    def start(self, machine: Machine, *, cancel: threading.Event) -> State:
        """Boot it and wait for SSH; a machine that already runs is left as it is. Raises LabError, with the console's end; then nothing is left."""
        with self.cache.locked(f"vm-{self.name}"):
            state = self.state()
            if state is not None and self.pid() is not None and state.starter is None:
                if state.machine != machine.name:
                    raise LabError(f"{self.name} already runs as a {state.machine}; stop it with: down {self.name}")
                progress(self.name, "already up")
                return state
            self.stop()
            for attempt in range(_PORT_ATTEMPTS):
                try:
                    return self._boot(machine, cancel=cancel)
                except _PortTaken:
                    if attempt == _PORT_ATTEMPTS - 1:
                        raise
        raise LabError(f"{self.name}: no free port")

    def stop(self) -> bool:
        """End the QEMU process and remove the machine's directory; whether there was something to stop."""
        pid = self.pid()
        if pid is not None:
            _end_process(pid)
        existed = self.files.directory.exists()
        shutil.rmtree(self.files.directory, ignore_errors=True)
        return existed

    def _boot(self, machine: Machine, *, cancel: threading.Event) -> State:
        image = ensure_image(machine.image, self.cache)
        accelerator = accel.detect(image.kernel, self.cache)
        state = State(name=self.name, machine=machine.name, address="127.0.0.1", port=_free_port(), accelerator=accelerator, starter=os.getpid())
        self._prepare(machine, base=image.disk, state=state)
        progress(self.name, f"booting ({machine.suite}, {accelerator}, port {state.port})")
        ours, theirs = socket.socketpair()
        argv = command_line(machine, name=self.name, image=image, run=self.files, ssh_port=state.port, accelerator=accelerator, monitor=theirs.fileno())
        with ours, theirs, self.files.errors.open("wb") as errors:
            # A session of its own: a Ctrl-C here is answered below, in order, and a machine that is up survives us.
            env = {**os.environ, "PATH": SEARCH_PATH}
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True, env=env, pass_fds=[theirs.fileno()]
            )
            theirs.close()
            try:
                self._wait_for_ssh(process, port=state.port, cancel=cancel)
                Monitor(ours).execute("set-action", reboot="reset")
            except BaseException:
                process.kill()
                process.wait()
                shutil.rmtree(self.files.directory, ignore_errors=True)
                raise
        state = dataclasses.replace(state, starter=None)
        self._record(state)
        progress(self.name, "up")
        return state

    def _prepare(self, machine: Machine, *, base: Path, state: State) -> None:
        self.files.directory.mkdir(parents=True)
        self._record(state)
        _run_quietly("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(self.files.disk))
        if machine.swap_mib:
            with self.files.swap.open("wb") as swap:
                swap.truncate(machine.swap_mib << 20)
            self.files.swap.chmod(0o600)
            _run_quietly("mkswap", "-q", str(self.files.swap))

    def _record(self, state: State) -> None:
        partial = self.files.state.with_suffix(".partial")
        partial.write_text(json.dumps(dataclasses.asdict(state)))
        partial.replace(self.files.state)

    def _wait_for_ssh(self, process: subprocess.Popen[bytes], *, port: int, cancel: threading.Event) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while not (_ssh_banner(port) and _succeeds(self.ssh_argv("true"))):
            if cancel.is_set():
                raise LabError(f"{self.name}: given up, for another machine failed or the run was interrupted")
            if process.poll() is not None:
                raise self._early_end(process.returncode)
            if time.monotonic() > deadline:
                raise LabError(
                    f"{self.name} did not answer on SSH within {BOOT_SECONDS:g} s (MEMQOS_LAB_TIMEOUT sets another limit); "
                    f"its console ends with:\n{tail(self.files.console)}"
                )
            time.sleep(_POLL_SECONDS)

    def _early_end(self, status: int) -> LabError:
        words = tail(self.files.errors)
        if "hostfwd" in words or "host forwarding" in words:
            return _PortTaken(f"{self.name}: {words}")
        return LabError(f"{self.name}: QEMU ended with status {status}:\n{words}\nThe console's end:\n{tail(self.files.console)}")


def all_vms(cache: Cache) -> list[Vm]:
    """Every machine that has a directory, running or not, by name."""
    with contextlib.suppress(OSError):
        return [Vm(path.name, cache) for path in sorted(cache.run.iterdir()) if path.is_dir()]
    return []


def sweep(cache: Cache) -> None:
    """Stop what a lab process that crashed was still booting."""
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _ssh_banner(port: int) -> bool:
    """Whether an SSH server greets. QEMU accepts before the guest does, so an open port says nothing; and a whole ssh each time is CPU the guest lacks."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _succeeds(argv: list[str]) -> bool:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def _run_quietly(*argv: str) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, env={**os.environ, "PATH": SEARCH_PATH}, check=False)
    if done.returncode:
        raise LabError(f"{argv[0]} failed: {done.stderr.decode('utf-8', 'replace').strip()}")
