# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine of the lab with our driver in it: runs go in, accounts come out."""

from __future__ import annotations

import collections.abc
import contextlib
import io
import json
import os
import select
import subprocess
import time
import typing as t
import zipfile
from pathlib import Path

from ..machines import LabError
from ..vms import State, ssh_argv

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = "ansible_collections/memqos/fleet"
PLACE = "/var/tmp/memqos-chaos.zip"
# A run has half a dozen children, each with a limit of its own.
_ANSWER_SECONDS = 1500.0
_BOOT_SECONDS = 600.0
Json = dict[str, t.Any]


def packed() -> bytes:
    """The node's half and the driver, as one file that Python imports from."""
    sources = [*sorted((ROOT / "plugins" / "module_utils").rglob("*.py")), *sorted((ROOT / "tests" / "lab" / "chaos").glob("*.py"))]
    files = {f"{PACKAGE}/{path.relative_to(ROOT)}": path.read_bytes() for path in sources}
    packages = {parent.as_posix() for name in files for parent in Path(name).parents if parent.as_posix() != "."}
    packet = io.BytesIO()
    with zipfile.ZipFile(packet, "w", zipfile.ZIP_DEFLATED) as archive:
        # Of the lab nothing else comes along.
        for name, content in {**{f"{package}/__init__.py": b"" for package in sorted(packages)}, **files}.items():
            archive.writestr(name, content)
    return packet.getvalue()


class Driven:
    """The driver, or another C(program) of ours, at work; C(first) is what it is told first. C(log) takes what it says beside its answers."""

    def __init__(self, state: State, log: t.IO[bytes], *, program: str = "driver", first: Json | None = None) -> None:
        self._state, self._log, self._program, self._first = state, log, program, first
        self.run(f"cat > {PLACE} && sync", stdin=packed())
        self._process = self._started()

    def run(self, command: str, *, stdin: bytes = b"", seconds: float = 300.0) -> bytes:
        """What root's shell prints there. Raises LabError."""
        try:
            done = subprocess.run(ssh_argv(self._state, command), input=stdin, stdout=subprocess.PIPE, stderr=self._log, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self._state.name} took more than {seconds:g} s for: {command[:200]}") from None
        if done.returncode:
            raise LabError(f"{self._state.name}: status {done.returncode} of: {command[:200]}")
        return done.stdout

    def account(self, run: Json) -> Json:
        """What became of a run. Raises LabError if the machine or the driver ends."""
        self._send({"run": run})
        answer = self._receive()
        if "account" in answer:
            self._await_boot()
            self._send(answer)
            answer = self._receive()
        done: Json = answer["done"]
        return done

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        argv = ssh_argv(self._state, f"exec env PYTHONPATH={PLACE} python3 -B -m {PACKAGE.replace('/', '.')}.tests.lab.chaos.{self._program}")
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, bufsize=0)
        self._process, self._rest = process, b""
        if self._first:
            self._send(self._first)
        self._receive()
        return process

    def _await_boot(self) -> None:
        """The machine is about to reset: the connection ends with it."""
        deadline = time.monotonic() + _BOOT_SECONDS
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            # A power that is cut closes no connection.
            self.close()
        while True:
            with contextlib.suppress(LabError):
                self.run("systemctl is-system-running --wait || [ $? -eq 1 ]", seconds=120)
                break
            if time.monotonic() > deadline:
                raise LabError(f"{self._state.name} did not come back within {_BOOT_SECONDS:g} s")
            time.sleep(1)
        self._process = self._started()

    def _send(self, words: Json) -> None:
        stdin = t.cast("t.IO[bytes]", self._process.stdin)
        try:
            view = memoryview(json.dumps(words).encode() + b"\n")
            while view:
                view = view[stdin.write(view) :]
        except OSError as exc:
            raise LabError(f"{self._state.name}: the driver has ended: {exc.strerror}") from exc

    def _receive(self) -> Json:
        stdout = t.cast("t.IO[bytes]", self._process.stdout)
        deadline = time.monotonic() + _ANSWER_SECONDS
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                raise LabError(f"{self._state.name}: no account within {_ANSWER_SECONDS:g} s")
            part = os.read(stdout.fileno(), 1 << 16)
            if not part:
                raise LabError(f"{self._state.name}: the driver has ended amid a run; the log says why")
            self._rest += part
        line, unused, self._rest = self._rest.partition(b"\n")
        words: Json = json.loads(line)
        return words


@contextlib.contextmanager
def driven(state: State, log: Path, *, program: str = "driver", first: Json | None = None) -> collections.abc.Iterator[Driven]:
    with log.open("ab") as stream:
        guest = Driven(state, stream, program=program, first=first)
        try:
            yield guest
        finally:
            guest.close()
