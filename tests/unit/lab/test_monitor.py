# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The words that go to QEMU and come back."""

from __future__ import annotations

import socket
import threading
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab.monitor import Monitor, MonitorError

GREETING = b'{"QMP": {}}\n{"return": {}}\n'
NEVER = threading.Event()


@pytest.fixture
def qemu() -> t.Iterator[tuple[Monitor, socket.socket]]:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(GREETING)
        talk = Monitor(ours)
        yield talk, theirs
        talk.close()


def test_events_are_no_answers(qemu: tuple[Monitor, socket.socket]) -> None:
    qemu[1].sendall(b'{"event": "STOP"}\n{"event": "RESUME"}\n{"return": {"running": true}}\n')
    assert qemu[0].execute("query-status") == {"running": True}
    assert qemu[1].recv(4096) == b'{"execute": "qmp_capabilities", "arguments": {}}\n{"execute": "query-status", "arguments": {}}\n'


def test_a_refusal(qemu: tuple[Monitor, socket.socket]) -> None:
    qemu[1].sendall(b'{"error": {"class": "GenericError", "desc": "no such capability"}}\n')
    with pytest.raises(MonitorError, match="QEMU refused migrate-set-capabilities: no such capability"):
        qemu[0].execute("migrate-set-capabilities")


def test_qemu_is_gone(qemu: tuple[Monitor, socket.socket]) -> None:
    qemu[1].close()
    with pytest.raises(MonitorError, match="QEMU (closed its monitor|does not take)"):
        qemu[0].execute("stop")


def test_qemu_is_silent(qemu: tuple[Monitor, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    qemu[0]._connection.settimeout(0.01)
    with pytest.raises(MonitorError, match="QEMU does not answer its monitor: timed out"):
        qemu[0].execute("stop")


@pytest.mark.parametrize("status", [b'"failed"', b'"cancelled"'])
def test_a_transfer_that_fails(status: bytes, qemu: tuple[Monitor, socket.socket]) -> None:
    qemu[1].sendall(b'{"return": {}}\n{"return": {}}\n{"return": {"status": "active"}}\n{"return": {"status": %b}}\n' % status)
    with pytest.raises(MonitorError, match=f"transfer of the machine's state is {status.decode().strip(chr(34))}"):
        qemu[0].load(Path("/state"), cancel=NEVER)


def test_a_transfer_is_interrupted(qemu: tuple[Monitor, socket.socket]) -> None:
    cancel = threading.Event()
    cancel.set()
    qemu[1].sendall(b'{"return": {}}\n{"return": {}}\n{"return": {}}\n')
    with pytest.raises(MonitorError, match="is not begun"):
        qemu[0].load(Path("/state"), cancel=cancel)


def test_paths_go_through_a_shell(qemu: tuple[Monitor, socket.socket]) -> None:
    qemu[1].sendall(b'{"return": {}}\n' * 3 + b'{"return": {"status": "completed"}}\n')
    qemu[0].save(Path("/a b/state"), cancel=NEVER)
    assert b"exec:cat > '/a b/state'" in qemu[1].recv(4096)


def test_no_forwarded_port(qemu: tuple[Monitor, socket.socket]) -> None:
    qemu[1].sendall(b'{"return": "Hub -1 (net):\\r\\n"}\n')
    with pytest.raises(MonitorError, match="QEMU forwards no port"):
        qemu[0].forwarded_port()
