# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine that runs, as far as an experiment needs it: commands, the load, windows, playbooks."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import tarfile
import time
import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.roles.audit.files import memqos_bundle

from ..common import GUEST_SCRIPTS, tail
from ..machines import LabError
from ..vms import State, ssh_argv
from . import load
from .figures import BATCH_CGROUP, SERVICE_CGROUP, Window

PRESSURE = GUEST_SCRIPTS.parent / "pressure" / "pressure.py"
PREFER = GUEST_SCRIPTS / "prefer.sh"
PROGRAMS = (PRESSURE, GUEST_SCRIPTS / "service.py", GUEST_SCRIPTS / "window.py")
# Under pressure an emulated guest answers late.
COMMAND_SECONDS = 180.0
PRESSURE_SECONDS = START_SECONDS = 180
_SSH_OPTIONS = ("ControlMaster=auto", "ControlPersist=600")


class Guest:
    """C(scratch) is a directory for the connection that all commands share, and for the inventory; C(log) takes what playbooks print."""

    def __init__(self, state: State, name: str, *, scratch: Path, log: Path) -> None:
        self.name = name
        self._state = state
        self._log = log
        self._control = [f"ControlPath={scratch}/%C", *_SSH_OPTIONS]
        self._inventory = scratch / "inventory.json"
        self._inventory.write_text(json.dumps({"all": {"hosts": {name: self._host_variables()}}}))
        log.write_bytes(b"")

    def run(self, command: str, *, stdin: bytes = b"", seconds: float = COMMAND_SECONDS) -> bytes:
        """What root's shell prints there. Raises LabError."""
        if self._state.user != "root":
            command = f"sudo -n sh -c {shlex.quote(command)}"
        ssh, *rest = ssh_argv(self._state, command)
        argv = [ssh, *(word for option in self._control for word in ("-o", option)), *rest]
        try:
            done = subprocess.run(argv, input=stdin, capture_output=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} took more than {seconds:g} s for: {command[:200]}") from None
        if done.returncode:
            words = (done.stderr + done.stdout).decode("utf-8", "replace").strip()
            raise LabError(f"{self.name}: status {done.returncode} of: {command[:200]}\n{words[-2000:]}")
        return done.stdout

    def disconnect(self) -> None:
        """The shared connection does not outlive a reset."""
        ssh, *rest = ssh_argv(self._state)
        argv = [ssh, "-O", "exit", *(word for option in self._control for word in ("-o", option)), *rest]
        subprocess.run(argv, capture_output=True, check=False)

    def facts(self) -> tuple[str, int]:
        """The kernel's release, and memory in bytes."""
        kernel, _label, kib, _unit = self.run("uname -r; grep MemTotal: /proc/meminfo").decode().split()
        return kernel, int(kib) << 10

    def bundle(self, into: Path) -> Path:
        """The machine's own bundle, unpacked."""
        packed = into / "guest.tar.gz"
        packed.write_bytes(self.run("python3 -", stdin=Path(memqos_bundle.__file__).read_bytes()))
        memqos_bundle.unpack(str(packed), str(into / "guest"))
        return into / "guest"

    def start_load(self, memory_bytes: int) -> None:
        """Starts all of it, and returns when its files are written and the kernel reports pressure. Raises LabError."""
        programs = io.BytesIO()
        with tarfile.open(fileobj=programs, mode="w") as tar:
            for path in PROGRAMS:
                # Not our time of change: the guest's clock may be behind.
                tar.addfile(_member(path.name, path.stat().st_size), io.BytesIO(path.read_bytes()))
        directory = load.DIRECTORY
        self.run(f"mkdir -p -m 0700 {directory} && tar -C {directory} -xf -", stdin=programs.getvalue())
        self.run("sh -s", stdin=PREFER.read_bytes())
        service, scan, *others = load.units(memory_bytes)
        self.run(service.start())
        self._await(f"[ -s {load.REQUESTS} ]")
        self.run(scan.start())
        self._await(f"grep -q 'read_bytes\": [1-9]' {scan.output}")
        self.run(" && ".join(unit.start() for unit in others))
        self.run(f"python3 {directory}/pressure.py wait --timeout {PRESSURE_SECONDS}", seconds=PRESSURE_SECONDS + COMMAND_SECONDS)

    def _await(self, condition: str) -> None:
        self.run(f"n=0; until {condition}; do n=$((n + 1)); [ $n -lt {START_SECONDS} ] || exit 1; sleep 1; done", seconds=START_SECONDS + COMMAND_SECONDS)

    def window(self, seconds: float) -> Window:
        cgroups = [f"--cgroup={cgroup}" for cgroup in (SERVICE_CGROUP, BATCH_CGROUP)]
        tools = [f"--tool={load.DIRECTORY}/memqos-{tool}.out" for tool in ("burst", "scan")]
        argv = ["python3", f"{load.DIRECTORY}/window.py", f"--seconds={seconds:g}", *cgroups, *tools, f"--requests={load.REQUESTS}"]
        window: Window = json.loads(self.run(shlex.join(argv), seconds=seconds + COMMAND_SECONDS))
        return window

    def play(self, playbook: str, variables: dict[str, t.Any], *, more: str = "", shown: bool = False) -> int:
        """A playbook of the collection, as an operator runs it. The exit status; what it says goes to the log, or (C(shown)) to our own output."""
        program = shutil.which("ansible-playbook")
        if program is None:
            raise LabError("there is no ansible-playbook: run this by `make lab`")
        argv = [program, f"memqos.fleet.{playbook}", "-i", str(self._inventory), "-e", json.dumps(variables), *shlex.split(more)]
        with self._log.open("ab") as log:
            log.write(f"\n$ {shlex.join(argv)}\n".encode())
            log.flush()
            output = None if shown else log
            return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._environment(), check=False).returncode

    def log_end(self) -> str:
        return f"the end of {self._log}:\n{tail(self._log, lines=30)}"

    def _host_variables(self) -> dict[str, t.Any]:
        state = self._state
        variables = {"ansible_host": state.address, "ansible_port": state.port, "ansible_user": state.user, "ansible_become": state.user != "root"}
        return {**variables, **({"ansible_ssh_private_key_file": state.identity_file} if state.identity_file else {})}

    def _environment(self) -> dict[str, str]:
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", *self._control]
        return {
            **os.environ,
            "ANSIBLE_SSH_ARGS": " ".join(f"-o {option}" for option in options),
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_GATHERING": "explicit",
            "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
            "ANSIBLE_SSH_RETRIES": "2",
            "ANSIBLE_TIMEOUT": f"{COMMAND_SECONDS:.0f}",
            "ANSIBLE_DEPRECATION_WARNINGS": "False",
        }


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, int(time.time()) - 86400, 0o600
    return info
