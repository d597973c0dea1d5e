# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said to a running QEMU, in its machine protocol (QMP): one JSON object a line."""

from __future__ import annotations

import json
import re
import shlex
import socket
import threading
import time
import typing as t
from pathlib import Path

from .machines import LabError

# An answer takes milliseconds; a QEMU that loads a machine's state on a loaded host, seconds.
ANSWER_SECONDS = 60.0
_POLL_SECONDS = 0.01


class MonitorError(LabError):
    """QEMU refused a command, or is gone."""


class Monitor:
    """Our end of the monitor of one QEMU, which was started with the other end."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(ANSWER_SECONDS)
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._greeted = False

    def close(self) -> None:
        self._lines.close()
        self._connection.close()

    def execute(self, command: str, **arguments: object) -> t.Any:
        """What the command returns. Raises MonitorError."""
        if not self._greeted:
            self._greeted = True
            self._receive()
            self.execute("qmp_capabilities")
        try:
            self._connection.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        except OSError as exc:
            raise MonitorError(f"QEMU does not take {command}: {exc.strerror}") from exc
        while "event" in (answer := self._receive()):
            pass
        if "error" in answer:
            raise MonitorError(f"QEMU refused {command}: {answer['error']['desc']}")
        return answer["return"]

    def forwarded_port(self) -> int:
        """The port of this machine that QEMU's user network forwards to the guest's SSH: QEMU chose a free one."""
        table = self.execute("human-monitor-command", **{"command-line": "info usernet"})
        if not (found := re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", table)):
            raise MonitorError(f"QEMU forwards no port:\n{table}")
        return int(found[1])

    def save(self, state: Path, *, cancel: threading.Event) -> None:
        """Stop the machine and write its state, all but its memory, which lies in a shared file."""
        self.execute("stop")
        self._ignore_shared_memory()
        self.execute("migrate", uri=f"exec:cat > {shlex.quote(str(state))}")
        self._await_migration(cancel)

    def load(self, state: Path, *, cancel: threading.Event) -> None:
        """Take the state that save() wrote, in a QEMU that waits for one, and run."""
        self._ignore_shared_memory()
        self.execute("migrate-incoming", uri=f"exec:cat {shlex.quote(str(state))}")
        self._await_migration(cancel)
        self.execute("cont")

    def _ignore_shared_memory(self) -> None:
        self.execute("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])

    def _await_migration(self, cancel: threading.Event) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while (status := self.execute("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled") or cancel.is_set() or time.monotonic() > deadline:
                raise MonitorError(f"QEMU's transfer of the machine's state is {status or 'not begun'}")
            time.sleep(_POLL_SECONDS)

    def _receive(self) -> dict[str, t.Any]:
        try:
            line = self._lines.readline()
        except OSError as exc:
            raise MonitorError(f"QEMU does not answer its monitor: {exc}") from exc
        if not line:
            raise MonitorError("QEMU closed its monitor")
        answer: dict[str, t.Any] = json.loads(line)
        return answer
