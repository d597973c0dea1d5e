# SPDX-License-Identifier: BSD-2-Clause

"""Properties of units on one connection to systemd, as systemctl has it as root: its own socket, else the system bus.

Of the D-Bus Specification what this needs: method calls and their answers; signals are read and dropped.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import struct
import time
import typing as t

from ._knobs import _registry
from ._read._files import Unreadable
from ._read._unit_state import ANSWER_SECONDS, show_value
from ._tuples import NamedTuple

# On systemd's own nobody says Hello. The other is a daemon's.
SOCKETS = ("/run/systemd/private", "/run/dbus/system_bus_socket")
WINDOW = 16
# The specification allows 128 MiB; what we ask for has less than 1 KiB.
_MAX_MESSAGE = 1 << 20
_MAX_LINE = 4096
_CONNECT_SECONDS = 30.0
# systemd makes its socket anew when it executes itself again.
_AGAIN_SECONDS = 10.0
_SYSTEMD = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_DAEMON = "org.freedesktop.DBus"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_UNKNOWN = "org.freedesktop.DBus.Error.UnknownProperty"
_CALL, _RETURN, _ERROR = 1, 2, 3
_NO_AUTO_START = 2
# Header fields
_AT, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_TO, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_FIXED = {"y": "B", "b": "I", "u": "I", "t": "Q"}
_ALIGN = {"y": 1, "g": 1, "v": 1, "t": 8, "(": 8}
_KINDS = {"bytes or max": "t", "bool": "b", "choice": "s", "percent": "u"}
_WORDS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}
_INFINITY = (1 << 64) - 1
_SIZE = re.compile("[0-9]{1,20}")

Pairs = t.Iterable[t.Tuple[str, str]]


class BusError(Unreadable):
    """C(name): systemd's of the error; empty where there was no answer."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__("systemd", "error", f"{reason} ({name})" if name else reason)
        self.name = name


class Call(NamedTuple):
    """A method call of C(body), whose types C(signature) says."""

    path: str
    interface: str
    member: str
    signature: str = ""
    body: t.Tuple[t.Any, ...] = ()
    destination: str = _SYSTEMD


Answer = t.Union[t.Tuple[t.Any, ...], BusError]


class Bus:
    """Connects when it is first asked; C(root): below which the sockets lie, None: nowhere. Once it cannot be reached it stays so: then systemctl is asked."""

    def __init__(self, root: t.Optional[str] = "", *, seconds: float = ANSWER_SECONDS, again: float = _AGAIN_SECONDS) -> None:
        self._paths = [] if root is None else [root + path for path in SOCKETS]
        self._seconds, self._again_seconds = seconds, again
        self._socket: t.Optional[socket.socket] = None
        self._buffer = bytearray()
        self._serial = 0
        self._until = 0.0

    def set(self, unit: str, pairs: Pairs) -> bool:
        """SetUnitProperties, at run time; False: not reached, or words that systemctl has to turn into values. Raises BusError."""
        values = [(name, _value(name, text)) for name, text in pairs]
        if not all(value for unused, value in values) or not self.reach():
            return False
        (answer,) = self.calls([Call(_PATH, f"{_SYSTEMD}.Manager", "SetUnitProperties", "sba(sv)", (unit, True, values))])
        if isinstance(answer, BusError):
            raise answer
        return True

    def get(self, unit: str, names: t.Sequence[str]) -> t.Optional[t.Dict[str, str]]:
        """What systemd has of these, in the words of set-property; of those that it knows. None as C(set)'s False. Raises BusError."""
        if not all(map(_kind, names)) or not self.reach():
            return None
        path = f"{_PATH}/unit/{escaped(unit)}"
        faces = [f"{_SYSTEMD}.{'Unit' if name == 'ActiveState' else unit.rpartition('.')[2].capitalize()}" for name in names]
        found = {}
        for name, answer in zip(names, self.calls([Call(path, _PROPERTIES, "Get", "ss", pair) for pair in zip(faces, names)])):
            if not isinstance(answer, BusError):
                found[name] = _shown(name, answer)
            elif answer.name != _UNKNOWN:
                raise answer
        return found

    def reach(self) -> bool:
        """Connected, or so now."""
        if not self._socket and not self._connect():
            self._paths = []
        return self._socket is not None

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None
        self._buffer.clear()

    def calls(self, wanted: t.Sequence[Call]) -> t.List[Answer]:
        """The answers, in this order; up to C(WINDOW) calls are under way at once. Raises BusError: nobody answers, or nonsense.

        A connection that is cut is made anew once, and what had no answer is sent again: to set a property twice is to set it.
        """
        answers: t.Dict[int, Answer] = {}
        try:
            try:
                self._exchange(wanted, answers)
            except socket.timeout:
                raise
            except OSError:
                self._connect_again()
                self._exchange(wanted, answers)
        except (OSError, BusError) as exc:
            self.close()
            self._paths = []
            if isinstance(exc, BusError):
                raise
            raise BusError(f"no answer within {self._seconds:g} s" if isinstance(exc, socket.timeout) else f"the connection was cut twice ({exc})") from exc
        return [answers[number] for number in range(len(wanted))]

    def _exchange(self, wanted: t.Sequence[Call], answers: t.Dict[int, Answer]) -> None:
        todo = [number for number in range(len(wanted)) if number not in answers]
        flying: t.Dict[int, int] = {}
        self._wait(self._seconds)
        while todo or flying:
            while todo and len(flying) < WINDOW:
                number = todo.pop(0)
                flying[self._send(wanted[number])] = number
            serial, answer = self._answer()
            if serial in flying:
                answers[flying.pop(serial)] = answer
                self._wait(self._seconds)

    # The connection

    def _connect_again(self) -> None:
        self.close()
        until = time.monotonic() + self._again_seconds
        while not self._connect():
            if time.monotonic() >= until:
                raise BusError("it has ended the connection, and takes no other")
            time.sleep(0.1)

    def _connect(self) -> bool:
        for path in self._paths:
            try:
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    self._dial(path)
                    self._paths = [path]
                    return True
            except (OSError, BusError):
                self.close()
        return False

    def _dial(self, path: str) -> None:
        self._wait(min(_CONNECT_SECONDS, self._seconds))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._timed().connect(path)
        is_daemon = path.endswith(SOCKETS[1])
        unused, uid, unused_too = struct.unpack("3i", self._timed().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.geteuid()) and not is_daemon:
            raise BusError(f"user {uid} answers in its place")
        # In one, as libsystemd does: what sd-bus reads together with a BEGIN it looks at only when something else wakes it (252 and 257, tried), and a call
        # must not wait for that.
        self._timed().sendall(b"\0AUTH EXTERNAL %s\r\nBEGIN\r\n" % str(os.geteuid()).encode().hex().encode())
        if not self._line().startswith(b"OK "):
            raise BusError("it does not take us for root")
        if is_daemon:
            self._send(Call("/org/freedesktop/DBus", _DAEMON, "Hello", destination=_DAEMON))
            unused, answer = self._answer()
            if isinstance(answer, BusError):
                raise answer

    def _wait(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def _timed(self) -> socket.socket:
        left = self._until - time.monotonic()
        if self._socket is None:
            raise ConnectionResetError("not connected")
        if left <= 0:
            raise socket.timeout
        self._socket.settimeout(left)
        return self._socket

    def _send(self, call: Call) -> int:
        self._serial += 1
        self._timed().sendall(encoded(call, self._serial))
        return self._serial

    def _more(self) -> None:
        part = self._timed().recv(65536)
        if not part:
            raise ConnectionResetError("end of file")
        self._buffer += part

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_LINE:
                raise BusError("it does not speak D-Bus")
            self._more()
        line, unused, rest = self._buffer.partition(b"\r\n")
        self._buffer = rest
        return bytes(line)

    def _answer(self) -> t.Tuple[int, Answer]:
        """The next one, with the serial of what it answers."""
        while True:
            for size in (16, 0):
                while len(self._buffer) < (size or length(self._buffer)):
                    self._more()
            data = bytes(self._buffer[: length(self._buffer)])
            del self._buffer[: len(data)]
            if data[1] in (_RETURN, _ERROR):
                return decoded(data)


# Messages


def encoded(call: Call, serial: int) -> bytes:
    """As bytes, little-endian. Raises BusError for more than 1 MiB."""
    body = bytearray()
    for kind, value in zip(_split(call.signature), call.body):
        _put(body, kind, value)
    fields = [(_AT, ("o", call.path)), (_INTERFACE, ("s", call.interface)), (_MEMBER, ("s", call.member)), (_DESTINATION, ("s", call.destination))]
    if call.signature:
        fields.append((_SIGNATURE, ("g", call.signature)))
    out = bytearray(struct.pack("<cBBBII", b"l", _CALL, _NO_AUTO_START, 1, len(body), serial))
    _put(out, "a(yv)", fields)
    out += bytes(-len(out) % 8) + body
    if len(out) > _MAX_MESSAGE:
        raise BusError(f"{len(out)} bytes are too many for one message")
    return bytes(out)


def length(head: t.Union[bytes, bytearray]) -> int:
    """Of the message that begins with these 16 bytes. Raises BusError."""
    if head[0] not in b"lB" or head[3] != 1:
        raise BusError("it does not speak D-Bus")
    body, fields = struct.unpack_from(f"{_order(head)}I4xI", head, 4)
    size = 16 + int(fields + -fields % 8 + body)
    if size > _MAX_MESSAGE:
        raise BusError(f"it sends a message of {size} bytes")
    return size


def decoded(data: bytes) -> t.Tuple[int, Answer]:
    """(the serial of the call, what it came to) of a whole answer. Raises BusError."""
    try:
        reader = _Reader(data, 12)
        fields = {code: value for code, (unused, value) in reader.take("a(yv)")}
        reader.at += -reader.at % 8
        body = tuple(map(reader.take, _split(fields.get(_SIGNATURE, ""))))
        if reader.at != len(data):
            raise ValueError("more than it says")
        serial = fields[_REPLY_TO]
        if not isinstance(serial, int):
            raise ValueError("a serial that is no number")
        if data[1] == _RETURN:
            return serial, body
        return serial, BusError(body[0] if body and isinstance(body[0], str) else "it refuses", str(fields[_ERROR_NAME]))
    except (ValueError, LookupError, TypeError, struct.error, RecursionError) as exc:
        raise BusError(f"it sends what is no answer ({exc})") from exc


def escaped(unit: str) -> str:
    """As the last part of its object's path: sd_bus_path_encode()."""
    return re.sub("^[0-9]|[^A-Za-z0-9]", lambda found: f"_{ord(found.group()):02x}", unit)


def _order(head: t.Union[bytes, bytearray]) -> str:
    return "<" if head[:1] == b"l" else ">"


def _split(signature: str) -> t.List[str]:
    """Its complete types. Raises ValueError, IndexError."""
    found, at = [], 0
    while at < len(signature):
        end = _end(signature, at)
        found.append(signature[at:end])
        at = end
    return found


def _end(signature: str, at: int) -> int:
    if signature[at] == "a":
        return _end(signature, at + 1)
    if signature[at] == "(":
        at = _end(signature, at + 1)  # none is empty
        while signature[at] != ")":
            at = _end(signature, at)
    elif signature[at] not in "ybutsogv":
        raise ValueError(f"type {signature[at]!r}")
    return at + 1


def _put(out: bytearray, kind: str, value: t.Any) -> None:
    first = kind[0]
    out += bytes(-len(out) % _ALIGN.get(first, 4))
    if first in _FIXED:
        out += struct.pack(f"<{_FIXED[first]}", value)
    elif first in "sog":
        raw = value.encode()
        out += struct.pack("B" if first == "g" else "<I", len(raw)) + raw + b"\0"
    elif first == "v":
        _put(out, "g", value[0])
        _put(out, *value)
    elif first == "(":
        for one, item in zip(_split(kind[1:-1]), value):
            _put(out, one, item)
    else:
        _put(out, "u", 0)
        at = len(out)
        out += bytes(-at % _ALIGN.get(kind[1], 4))
        begin = len(out)
        for item in value:
            _put(out, kind[1:], item)
        struct.pack_into("<I", out, at - 4, len(out) - begin)


class _Reader:
    """Values of a message, from C(at) on. Raises ValueError, LookupError, struct.error."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at, self.order = data, at, _order(data)

    def take(self, kind: str) -> t.Any:
        first = kind[0]
        self.at += -self.at % _ALIGN.get(first, 4)
        if first in _FIXED:
            return self._fixed(first)
        if first in "sog":
            raw = self._bytes(self.take("y" if first == "g" else "u") + 1)
            if raw.find(0) != len(raw) - 1:
                raise ValueError("a text without its end")
            return raw[:-1].decode()
        if first == "v":
            (held,) = _split(self.take("g"))
            return held, self.take(held)
        if first == "(":
            return tuple(map(self.take, _split(kind[1:-1])))
        return self._array(kind[1:])

    def _fixed(self, kind: str) -> t.Any:
        (value,) = struct.unpack_from(self.order + _FIXED[kind], self.data, self.at)
        self.at += struct.calcsize(f"={_FIXED[kind]}")
        if kind != "b":
            return value
        if value > 1:
            raise ValueError(f"a boolean of {value}")
        return value == 1

    def _bytes(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self.data):
            raise ValueError("less than it says")
        return self.data[self.at - count : self.at]

    def _array(self, kind: str) -> t.List[t.Any]:
        size = self.take("u")
        self.at += -self.at % _ALIGN.get(kind[0], 4)
        end, found = self.at + size, []
        while self.at < end:
            found.append(self.take(kind))
        if self.at != end:
            raise ValueError("an array that ends within a value")
        return found


# Properties


def _kind(name: str) -> str:
    """The type that systemd has it in; empty where only systemctl tells its words from its value."""
    try:
        return "s" if name == "ActiveState" else _KINDS.get(_registry.find(name).unit, "")
    except _registry.UnknownKnob:
        return ""


def _value(name: str, text: str) -> t.Optional[t.Tuple[str, t.Any]]:
    """As systemctl sends it; None: that knows more words than we do."""
    kind = _kind(name)
    if kind == "t" and _SIZE.fullmatch(text or "0") and int(text or 0) <= _INFINITY:
        return kind, int(text or 0) if text or name.endswith(("Min", "Low")) else _INFINITY
    if kind == "t" and text == "infinity":
        return kind, _INFINITY
    if kind == "b" and text in _WORDS:
        return kind, _WORDS[text]
    return (kind, text) if kind == "s" and text else None


def _shown(name: str, answer: t.Tuple[t.Any, ...]) -> str:
    """In the words of set-property. Raises BusError."""
    try:
        ((unused, value),) = answer
    except (ValueError, TypeError) as exc:
        raise BusError(f"it says {answer!r:.100} of {name}") from exc
    return ("no", "yes")[value] if isinstance(value, bool) else show_value(name, str(value))
