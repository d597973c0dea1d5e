# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The other end of a D-Bus connection: a socket in a directory, what answers there, and a systemd behind it. Its messages are jeepney's."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import tempfile
import threading
import time
import typing as t

from jeepney.low_level import HeaderFields, Message, Parser
from jeepney.wrappers import DBusAddress, new_error, new_method_return, new_signal

from ansible_collections.memqos.fleet.plugins.module_utils import _bus
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.fake_systemd import Systemd

# Bytes to send, seconds to wait, None: the end of this connection.
Piece = t.Union[bytes, float, None]
Respond = t.Callable[[Message], t.Iterable[Piece]]

PRIVATE, SYSTEM = _bus.SOCKETS
READ_ONLY = "org.freedesktop.DBus.Error.PropertyReadOnly"
INFINITY = (1 << 64) - 1


class Peer:
    """Listens at C(path), and does with each call what C(respond) says. C(calls): all that came; C(lines): what each connection began with."""

    def __init__(self, path: str, respond: Respond, *, greeting: bytes = b"OK 0123456789abcdef0123456789abcdef\r\n") -> None:
        self.path, self.respond, self.greeting = path, respond, greeting
        self.calls: t.List[Message] = []
        self.lines: t.List[bytes] = []
        self.connection: t.Optional[socket.socket] = None
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen(8)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(self, *unused: t.Any) -> None:
        self._ends.set()
        self._thread.join(30)
        self._socket.close()
        os.unlink(self.path)
        assert not self._thread.is_alive()

    def is_more_to_come(self, seconds: float = 0.1) -> bool:
        """Whether the client sends something before it has an answer."""
        return self.connection is not None and bool(select.select([self.connection], [], [], seconds)[0])

    def _serve(self) -> None:
        while not self._ends.is_set():
            if select.select([self._socket], [], [], 0.05)[0]:
                self.connection, unused = self._socket.accept()
                with self.connection, contextlib.suppress(OSError):
                    self._talk(self.connection)

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        self.lines.append(self._line(connection))
        connection.sendall(self.greeting)
        self.lines.append(self._line(connection))
        parser = Parser()
        while not self._ends.is_set():
            if not select.select([connection], [], [], 0.05)[0]:
                continue
            # Not a byte beyond this message, so that is_more_to_come() knows.
            data = connection.recv(parser.bytes_desired())
            if not data:
                return
            for call in parser.feed(data):
                self.calls.append(call)
                for piece in self.respond(call):
                    if piece is None or self._ends.is_set():
                        return
                    if isinstance(piece, float):
                        time.sleep(piece)
                    else:
                        connection.sendall(piece)

    def _line(self, connection: socket.socket) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            part = connection.recv(1)
            if not part:
                raise ConnectionResetError
            line += part
        return line


def serial(call: Message) -> int:
    return int(call.header.serial)


def member(call: Message) -> str:
    return str(call.header.fields[HeaderFields.member])


def answer(call: Message, signature: t.Optional[str] = None, *body: t.Any) -> bytes:
    return bytes(new_method_return(call, signature, body).serialise(serial=7000 + serial(call)))


def error(call: Message, name: str, text: str) -> bytes:
    return bytes(new_error(call, name, "s", (text,)).serialise(serial=7000 + serial(call)))


def signal(number: int = 1, text: str = "batch.slice") -> bytes:
    """One as systemd sends them to everybody."""
    emitter = DBusAddress("/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager")
    return bytes(new_signal(emitter, "UnitNew", "so", (text, "/org/freedesktop/systemd1/unit/batch_2eslice")).serialise(serial=number))


class Manager:
    """C(systemd)'s methods, as the real one has them."""

    def __init__(self, systemd: Systemd) -> None:
        self.systemd = systemd

    def __call__(self, call: Message) -> t.Iterable[Piece]:
        yield signal()
        yield self.answer(call)

    def answer(self, call: Message) -> bytes:
        name = member(call)
        try:
            if name == "SetUnitProperties":
                unit, is_runtime, values = call.body
                assert is_runtime is True
                self.systemd.answer(["systemctl", "set-property", "--runtime", "--", unit, *(f"{key}={_text(*value)}" for key, value in values)])
                return answer(call)
            assert name == "Get", name
            return self._property(call)
        except Unreadable as exc:
            return error(call, READ_ONLY, exc.reason)

    def _property(self, call: Message) -> bytes:
        face, name = call.body
        unit = re.sub("_([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), call.header.fields[HeaderFields.path].rpartition("/")[2])
        assert face.rpartition(".")[2] == ("Unit" if name == "ActiveState" else unit.rpartition(".")[2].capitalize())
        shown = dict(line.split("=", 1) for line in self.systemd.answer(["systemctl", "show", f"--property={name}", "--", unit]).splitlines())
        if name not in shown:
            return error(call, "org.freedesktop.DBus.Error.UnknownProperty", "Unknown property or interface.")
        return answer(call, "v", _typed(name, shown[name]))


def _text(kind: str, value: t.Any) -> str:
    if kind == "b":
        return "yes" if value else "no"
    return "infinity" if (kind, value) == ("t", INFINITY) else str(value)


def _typed(name: str, text: str) -> t.Tuple[str, t.Any]:
    if name.endswith("Limit"):
        return "u", int(text)
    if text in ("yes", "no"):
        return "b", text == "yes"
    return ("t", INFINITY if text == "infinity" else int(text)) if text.isdigit() or text == "infinity" else ("s", text)


@contextlib.contextmanager
def short_root() -> t.Iterator[str]:
    """The path of a socket has room for 107 bytes, which those of pytest's directories take."""
    with tempfile.TemporaryDirectory(prefix="memqos-") as directory:
        yield os.path.realpath(directory)
