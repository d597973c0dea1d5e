# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.low_level import Endianness, Header, HeaderFields, Message, MessageType, Parser
from jeepney.wrappers import new_error, new_method_return

from ansible_collections.memqos.fleet.plugins.module_utils import _bus
from ansible_collections.memqos.fleet.plugins.module_utils._bus import Bus, BusError, Call
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.fake_bus import (
    INFINITY,
    PRIVATE,
    READ_ONLY,
    SYSTEM,
    Peer,
    Piece,
    answer,
    error,
    member,
    serial,
    short_root,
    signal,
)  # fmt: skip

DAEMON = shutil.which("dbus-daemon")
# What takes longer has hung.
SECONDS = 20.0
HIGH = [("MemoryHigh", "2147483648")]


@pytest.fixture(name="root")
def fixture_root() -> t.Iterator[str]:
    with short_root() as root:
        yield root


def echo(call: Message) -> t.Iterable[Piece]:
    yield answer(call, "s", call.body[0])


def ask(bus: Bus, *words: str) -> t.List[t.Any]:
    assert bus.reach()
    return list(bus.calls([Call("/x", "x.y", "Ask", "s", (word,)) for word in words]))


# Messages, held against another implementation of the specification

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
PLAIN: t.Dict[str, st.SearchStrategy[t.Any]] = {
    "y": st.integers(0, 255), "b": st.booleans(), "u": st.integers(0, (1 << 32) - 1), "t": st.integers(0, INFINITY), "s": TEXTS,
    "o": st.from_regex("(/[A-Za-z0-9_]{1,9}){1,3}", fullmatch=True), "g": st.sampled_from(["", "s", "sba(sv)", "a(yv)", "aat"]),
}  # fmt: skip


def held(kind: str) -> st.SearchStrategy[t.Any]:
    """Values of this type."""
    if kind == "v":
        return st.sampled_from([*PLAIN, "as", "at", "(yt)", "v"]).flatmap(lambda one: st.tuples(st.just(one), held(one)))
    if kind[0] == "a":
        # jeepney has an array of bytes as bytes.
        return st.lists(held(kind[1:]), max_size=4)
    return st.tuples(*map(held, _bus._split(kind[1:-1]))) if kind[0] == "(" else PLAIN[kind]


def kinds(depth: int = 2) -> st.SearchStrategy[str]:
    basic = st.sampled_from([*PLAIN, "v"])
    if not depth:
        return basic
    inner = kinds(depth - 1)
    structs = st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({''.join(parts)})")
    return st.one_of(basic, structs, inner.filter(lambda kind: kind != "y").map(lambda kind: f"a{kind}"))


BODIES = st.lists(kinds(), min_size=1, max_size=4).flatmap(lambda parts: st.tuples(st.just("".join(parts)), st.tuples(*map(held, parts))))


@given(BODIES, st.integers(1, (1 << 32) - 1))
def test_jeepney_reads_what_we_send(drawn: t.Tuple[str, t.Tuple[t.Any, ...]], number: int) -> None:
    signature, body = drawn
    data = _bus.encoded(Call("/org/a/b_2eslice", "org.a.B", "Set", signature, body), number)
    (read,) = Parser().feed(data)
    assert (read.header.message_type, read.header.serial, read.header.fields[HeaderFields.signature]) == (MessageType.method_call, number, signature)
    assert [read.header.fields[key] for key in (HeaderFields.path, HeaderFields.interface, HeaderFields.member, HeaderFields.destination)] == [
        "/org/a/b_2eslice", "org.a.B", "Set", "org.freedesktop.systemd1",
    ]  # fmt: skip
    assert read.body == body
    assert _bus.length(data[:16]) == len(data)


def reply(kind: MessageType, fields: t.Dict[HeaderFields, t.Any], body: t.Tuple[t.Any, ...], endianness: Endianness = Endianness.little) -> bytes:
    return bytes(Message(Header(endianness, kind, 0, 1, -1, 7, fields), body).serialise())


@given(BODIES, st.integers(1, (1 << 32) - 1), st.sampled_from(list(Endianness)))
def test_we_read_what_jeepney_sends(drawn: t.Tuple[str, t.Tuple[t.Any, ...]], number: int, endianness: Endianness) -> None:
    signature, body = drawn
    data = reply(MessageType.method_return, {HeaderFields.reply_serial: number, HeaderFields.signature: signature}, body, endianness)
    assert (_bus.length(data[:16]), _bus.decoded(data)) == (len(data), (number, body))


@given(BODIES)
def test_what_is_cut_or_longer_is_no_answer(drawn: t.Tuple[str, t.Tuple[t.Any, ...]]) -> None:
    signature, body = drawn
    data = reply(MessageType.method_return, {HeaderFields.reply_serial: 3, HeaderFields.signature: signature}, body)
    for other in (data[:-1], data + b"\0"):
        with pytest.raises(BusError, match="what is no answer"):
            _bus.decoded(other)


@given(st.data())
def test_no_bytes_make_another_error(data: st.DataObject) -> None:
    """A good answer, some of whose bytes are others."""
    good = bytearray(reply(MessageType.method_return, {HeaderFields.reply_serial: 3, HeaderFields.signature: "va(sv)"}, (("t", 1), [("a", ("s", "b"))])))
    for at in data.draw(st.lists(st.integers(12, len(good) - 1), min_size=1, max_size=4)):
        good[at] = data.draw(st.integers(0, 255))
    try:
        number, body = _bus.decoded(bytes(good))
    except BusError:
        return
    assert isinstance(number, int) and isinstance(body, tuple)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("b", b"\2\0\0\0"),
        ("s", b"\2\0\0\0ab\1"),  # no NUL at its end
        ("s", b"\3\0\0\0a\0b\0"),
        ("s", b"\1\0\0\0\xff\0"),
        ("at", b"\4\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"),  # ends within a value
        ("a()", b"\1\0\0\0\0\0\0\0\0"),
        ("v", b"\2ss\0\1\0\0\0a\0"),  # two types in one
        ("v", b"\1v\0" * 5000),
        ("d", b"\0" * 8),
        ("(s", b""),
    ],
)
def test_what_the_specification_forbids(kind: str, raw: bytes) -> None:
    fields = b"\5\1u\0\3\0\0\0" + b"\x08\1g\0" + bytes((len(kind),)) + kind.encode() + b"\0"
    data = struct.pack("<cBBBIII", b"l", 2, 0, 1, len(raw), 9, len(fields)) + fields
    with pytest.raises(BusError, match="what is no answer"):
        _bus.decoded(data + bytes(-len(data) % 8) + raw)


@pytest.mark.parametrize("field", [b"", b"\x05\1g\0\0\0", b"\x05\2au\0\0\0\0\0\0\0\0"])
def test_an_answer_without_what_it_answers(field: bytes) -> None:
    data = struct.pack("<cBBBIII", b"l", 2, 0, 1, 0, 9, len(field)) + field
    with pytest.raises(BusError, match="what is no answer"):
        _bus.decoded(data + bytes(-len(data) % 8))


@pytest.mark.parametrize("head", [b"x\2\0\1" + bytes(12), b"l\2\0\2" + bytes(12), struct.pack("<cBBBIII", b"l", 2, 0, 1, 1 << 20, 1, 0)])
def test_heads_of_no_message_that_we_take(head: bytes) -> None:
    with pytest.raises(BusError):
        _bus.length(head)


def test_a_message_has_at_most_1_mib() -> None:
    room = (1 << 20) - len(_bus.encoded(Call("/x", "x.y", "Ask", "s", ("",)), 1))
    # Padding comes before a body, nothing behind it.
    assert len(_bus.encoded(Call("/x", "x.y", "Ask", "s", ("a" * room,)), 1)) == 1 << 20
    with pytest.raises(BusError, match="1048577 bytes are too many"):
        _bus.encoded(Call("/x", "x.y", "Ask", "s", ("a" * (room + 1),)), 1)


UNITS = {
    "batch.slice": "batch_2eslice",
    "cri-containerd-0a1f.scope": "cri_2dcontainerd_2d0a1f_2escope",
    "1app@2.service": "_31app_402_2eservice",
    r"dev-disk\x2dby.slice": "dev_2ddisk_5cx2dby_2eslice",
    "kubepods-burstable-pod0b5f_3c.slice": "kubepods_2dburstable_2dpod0b5f_5f3c_2eslice",
}


@pytest.mark.parametrize(("unit", "label"), UNITS.items())
def test_paths_of_units(unit: str, label: str) -> None:
    assert _bus.escaped(unit) == label


# Values

VALUES: t.List[t.Tuple[str, str, t.Any]] = [
    ("MemoryMin", "1048576", ("t", 1 << 20)),
    ("MemoryMin", "infinity", ("t", INFINITY)),
    ("MemoryMin", "", ("t", 0)),
    ("DefaultMemoryLow", "", ("t", 0)),
    ("MemoryHigh", "", ("t", INFINITY)),
    ("MemoryMax", "0", ("t", 0)),
    ("MemorySwapMax", str(INFINITY), ("t", INFINITY)),
    ("MemoryLimit", "4096", ("t", 4096)),
    ("MemoryZSwapWriteback", "no", ("b", False)),
    ("MemoryAccounting", "on", ("b", True)),
    ("ManagedOOMPreference", "avoid", ("s", "avoid")),
    # systemctl has to make something else of these, or to refuse them.
    ("MemoryMax", str(INFINITY + 1), None),
    ("MemoryMax", "50%", None),
    ("MemoryMax", "2G", None),
    ("MemoryMax", "-1", None),
    ("MemoryMax", "\u0661", None),
    ("MemoryZSwapWriteback", "", None),
    ("ManagedOOMPreference", "", None),
    ("ManagedOOMMemoryPressureLimit", "60%", None),
    ("MemoryPressureThresholdSec", "200ms", None),
    ("CPUWeight", "100", None),
]


@pytest.mark.parametrize(("name", "text", "value"), VALUES)
def test_words_of_set_property(root: str, name: str, text: str, value: t.Any) -> None:
    with Peer(root + PRIVATE, lambda call: [answer(call)]) as peer:
        bus = Bus(root, seconds=SECONDS)
        assert bus.set("batch.slice", [*HIGH, (name, text)]) is (value is not None)
        bus.close()
    sent = [("batch.slice", True, [("MemoryHigh", ("t", 2 << 30)), (name, value)])] if value else []
    assert [call.body for call in peer.calls] == sent


SHOWN = {
    "MemoryHigh": (("t", 2 << 30), "2147483648"),
    "MemoryMax": (("t", INFINITY), "infinity"),
    "MemoryZSwapWriteback": (("b", True), "yes"),
    "ManagedOOMPreference": (("s", "none"), "none"),
    "ManagedOOMMemoryPressureLimit": (("u", 2576980377), "60%"),
    "ActiveState": (("s", "active"), "active"),
}


def test_values_that_systemd_has(root: str) -> None:
    def respond(call: Message) -> t.Iterable[Piece]:
        face, name = call.body
        assert call.header.fields[HeaderFields.path] == "/org/freedesktop/systemd1/unit/cri_2dcontainerd_2d0a_2escope"
        assert face == f"org.freedesktop.systemd1.{'Unit' if name == 'ActiveState' else 'Scope'}"
        unknown = "org.freedesktop.DBus.Error.UnknownProperty"
        yield answer(call, "v", SHOWN[name][0]) if name in SHOWN else error(call, unknown, "Unknown property or interface.")

    with Peer(root + PRIVATE, respond):
        bus = Bus(root, seconds=SECONDS)
        # Of a systemd that is older than MemoryZSwapMax.
        assert bus.get("cri-containerd-0a.scope", [*SHOWN, "MemoryZSwapMax"]) == {name: text for name, (unused, text) in SHOWN.items()}
        assert bus.get("cri-containerd-0a.scope", ["MemoryHigh", "MemoryPressureThresholdSec"]) is None
        bus.close()


@pytest.mark.parametrize(("signature", "body"), [(None, ()), ("u", (1,)), ("vv", (("u", 1), ("u", 1)))])
def test_what_is_no_property(root: str, signature: t.Optional[str], body: t.Tuple[t.Any, ...]) -> None:
    with Peer(root + PRIVATE, lambda call: [answer(call, signature, *body)]):
        bus = Bus(root, seconds=SECONDS)
        with pytest.raises(BusError, match="of MemoryHigh"):
            bus.get("batch.slice", ["MemoryHigh"])
        bus.close()


# Conversations


def test_systemds_own_socket_hears_no_hello(root: str) -> None:
    with Peer(root + PRIVATE, echo) as peer, Peer(root + SYSTEM, echo) as daemon:
        bus = Bus(root, seconds=SECONDS)
        assert ask(bus, "a", "b") == [("a",), ("b",)]
        assert ask(bus, "c") == [("c",)]
        bus.close()
    user = str(os.geteuid()).encode().hex().encode()
    assert (peer.lines, daemon.lines) == ([b"\0AUTH EXTERNAL " + user + b"\r\n", b"BEGIN\r\n"], [])
    assert [serial(call) for call in peer.calls] == [1, 2, 3]


def test_it_begins_before_it_has_an_answer(root: str) -> None:
    """sd-bus looks at what it has read together with a BEGIN only when more comes: so that must be there before the first call can be sent."""
    listener = socket.socket(socket.AF_UNIX)
    os.makedirs(os.path.dirname(root + PRIVATE), exist_ok=True)
    listener.bind(root + PRIVATE)
    listener.listen(1)
    heard: t.List[bytes] = []

    def silent() -> None:
        with listener.accept()[0] as peer:
            peer.settimeout(SECONDS)
            with contextlib.suppress(OSError):
                heard.append(peer.recv(4096))

    thread = threading.Thread(target=silent)
    thread.start()
    bus = Bus(root, seconds=SECONDS)
    assert not bus.reach()
    thread.join()
    listener.close()
    bus.close()
    assert heard[0].endswith(b"\r\nBEGIN\r\n")


def test_it_connects_once_and_when_it_is_asked(root: str) -> None:
    with Peer(root + PRIVATE, echo) as peer:
        bus = Bus(root, seconds=SECONDS)
        assert peer.lines == []
        for unused in range(3):
            ask(bus, "a")
        bus.close()
        assert len(peer.lines) == 2
        ask(bus, "a")
        bus.close()
        bus.close()
    assert len(peer.lines) == 4


@pytest.mark.parametrize("count", [1, _bus.WINDOW, 100])
def test_calls_in_flight_are_bounded_and_answers_come_in_any_order(root: str, count: int) -> None:
    waiting: t.List[Message] = []
    seen: t.List[t.Tuple[int, bool]] = []

    def respond(call: Message) -> t.Iterable[Piece]:
        waiting.append(call)
        if len(waiting) == _bus.WINDOW or len(peer.calls) == count:
            seen.append((len(waiting), peer.is_more_to_come()))
            yield from (answer(one, "s", one.body[0]) for one in reversed(waiting))
            waiting.clear()

    with Peer(root + PRIVATE, respond) as peer:
        bus = Bus(root, seconds=SECONDS)
        assert ask(bus, *map(str, range(count))) == [(str(number),) for number in range(count)]
        bus.close()
    assert seen == [(min(_bus.WINDOW, count - at), False) for at in range(0, count, _bus.WINDOW)]


def in_bytes(call: Message) -> t.Iterable[Piece]:
    yield from (bytes((byte,)) for byte in signal() + answer(call, "s", call.body[0]))


def amid_signals(call: Message) -> t.Iterable[Piece]:
    yield b"".join(map(signal, range(1, 200))) + signal(text="x" * 300_000)[:1000]
    yield signal(text="x" * 300_000)[1000:]
    yield answer(call, "s", call.body[0]) + signal(3)[:20]
    yield signal(3)[20:]


def late(call: Message) -> t.Iterable[Piece]:
    yield 0.2
    yield answer(call, "s", call.body[0])


def after_answers_of_others(call: Message) -> t.Iterable[Piece]:
    other = reply(MessageType.method_return, {HeaderFields.reply_serial: 4000, HeaderFields.signature: "s"}, ("wrong",))
    yield other + reply(MessageType.method_call, {HeaderFields.path: "/", HeaderFields.member: "Ping"}, ()) + answer(call, "s", call.body[0])


@pytest.mark.parametrize("respond", [in_bytes, amid_signals, late, after_answers_of_others])
def test_the_answer_is_found(root: str, respond: t.Callable[[Message], t.Iterable[Piece]]) -> None:
    with Peer(root + PRIVATE, respond):
        bus = Bus(root, seconds=SECONDS)
        assert ask(bus, "a", "b", "c") == [("a",), ("b",), ("c",)]
        bus.close()


def test_an_error_has_systemds_name_and_words(root: str) -> None:
    with Peer(root + PRIVATE, lambda call: [error(call, READ_ONLY, "Cannot set property MemoryHigh, or unknown property.")]) as peer:
        bus = Bus(root, seconds=SECONDS)
        for unused in range(2):
            with pytest.raises(BusError) as raised:
                bus.set("batch.slice", HIGH)
            assert raised.value.name == READ_ONLY
            assert str(raised.value) == f"systemd: Cannot set property MemoryHigh, or unknown property. ({READ_ONLY})"
        bus.close()
    # That is an answer, and no reason to connect anew.
    assert len(peer.lines) == 2


def test_an_error_without_words(root: str) -> None:
    with Peer(root + PRIVATE, lambda call: [new_error(call, "x.Y").serialise(serial=9)]):
        bus = Bus(root, seconds=SECONDS)
        with pytest.raises(BusError, match=r"systemd: it refuses \(x\.Y\)"):
            bus.get("batch.slice", ["MemoryHigh"])
        bus.close()


class Cuts:
    """Ends the connection at the C(at)th call that comes, C(times) times, having sent C(first) bytes of its answer."""

    def __init__(self, at: int, times: int, first: int) -> None:
        self.at, self.times, self.first = at, times, first
        self.seen = 0

    def __call__(self, call: Message) -> t.Iterable[Piece]:
        self.seen += 1
        data = answer(call, "s", call.body[0])
        if self.seen >= self.at and self.times:
            self.times -= 1
            yield data[: self.first]
            yield None
        yield data


@pytest.mark.parametrize("first", [0, 1, 20, -1])
@pytest.mark.parametrize("at", [1, 3, 30])
def test_a_connection_that_is_cut_is_made_anew_once(root: str, at: int, first: int) -> None:
    """As by a daemon-reexec."""
    with Peer(root + PRIVATE, Cuts(at, 1, first)) as peer:
        bus = Bus(root, seconds=SECONDS)
        words = [str(number) for number in range(40)]
        assert ask(bus, *words) == [(word,) for word in words]
        bus.close()
    assert len(peer.lines) == 4
    # What has its answer is not sent again: for a 30th call that of the first has been read, for a third it may lie there unread.
    assert [call.body[0] for call in peer.calls].count("0") in {1: (2,), 3: (1, 2), 30: (1,)}[at]


def only_one(call: Message) -> t.Iterable[Piece]:
    yield answer(call, "s", call.body[0])
    yield None


def test_what_is_cut_while_nobody_asks(root: str) -> None:
    with Peer(root + PRIVATE, only_one) as peer:
        bus = Bus(root, seconds=SECONDS)
        for count, word in enumerate("abc", 1):
            assert ask(bus, word) == [(word,)]
            time.sleep(0.1)
            assert len(peer.lines) == 2 * count
        bus.close()


def test_a_connection_that_is_cut_twice(root: str) -> None:
    with Peer(root + PRIVATE, Cuts(1, 2, 5)) as peer:
        bus = Bus(root, seconds=SECONDS)
        with pytest.raises(BusError, match=r"systemd: the connection was cut twice \(end of file\)"):
            ask(bus, "a")
        # From here on systemctl is asked.
        assert not bus.reach() and bus.set("batch.slice", HIGH) is False
    assert len(peer.lines) == 4


def test_a_systemd_that_comes_back_late(root: str) -> None:
    bus = Bus(root, seconds=SECONDS)
    with Peer(root + PRIVATE, Cuts(2, 1, 0)):
        assert ask(bus, "a") == [("a",)]
    answers: t.List[t.Any] = []
    asking = threading.Thread(target=lambda: answers.extend(ask(bus, "b")))
    asking.start()
    time.sleep(0.3)
    assert (asking.is_alive(), answers) == (True, [])
    with Peer(root + PRIVATE, echo):
        asking.join(SECONDS)
        assert answers == [("b",)]
        bus.close()


def test_a_systemd_that_does_not_come_back(root: str) -> None:
    bus = Bus(root, seconds=SECONDS, again=0.3)
    with Peer(root + PRIVATE, echo):
        assert ask(bus, "a") == [("a",)]
    with pytest.raises(BusError, match="systemd: it has ended the connection, and takes no other"):
        ask(bus, "b")
    assert not bus.reach()


def nothing(call: Message) -> t.Iterable[Piece]:
    return ()


def half(call: Message) -> t.Iterable[Piece]:
    yield answer(call)[:20]


def flood(call: Message) -> t.Iterable[Piece]:
    while True:
        yield b"".join(map(signal, range(1, 50)))


def trickle(call: Message) -> t.Iterable[Piece]:
    while True:
        yield 0.02
        yield signal()


def wrong_serials(call: Message) -> t.Iterable[Piece]:
    yield reply(MessageType.method_return, {HeaderFields.reply_serial: serial(call) + 1}, ())


@pytest.mark.parametrize("respond", [nothing, half, flood, trickle, wrong_serials])
def test_waiting_has_an_end(root: str, respond: t.Callable[[Message], t.Iterable[Piece]]) -> None:
    with Peer(root + PRIVATE, respond) as peer:
        bus = Bus(root, seconds=0.5)
        assert bus.reach()
        begin = time.monotonic()
        with pytest.raises(BusError, match=r"systemd: no answer within 0\.5 s"):
            bus.calls([Call("/x", "x.y", "Ask")])
        assert 0.4 < time.monotonic() - begin < SECONDS
        assert not bus.reach()
    # It may have done it: that is not asked twice.
    assert len(peer.calls) == 1


NONSENSE: t.Dict[str, t.Tuple[bytes, str]] = {
    "another protocol": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak D-Bus"),
    "a message of 2 MiB": (struct.pack("<cBBBIII", b"l", 2, 0, 1, 2 << 20, 1, 0), "a message of 2097168 bytes"),
    "a signal of 4 GiB": (struct.pack("<cBBBIII", b"l", 4, 0, 1, (1 << 32) - 1, 1, (1 << 32) - 8), "it sends a message of"),
    "no reply serial": (reply(MessageType.method_return, {HeaderFields.signature: "s"}, ("x",)), "what is no answer"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense(root: str, name: str) -> None:
    data, words = NONSENSE[name]
    with Peer(root + PRIVATE, lambda call: [data]) as peer:
        bus = Bus(root, seconds=SECONDS)
        with pytest.raises(BusError, match=words):
            ask(bus, "a")
        assert not bus.reach()
    assert len(peer.calls) == 1


# Which socket, and none


@pytest.mark.parametrize("greeting", [b"REJECTED EXTERNAL\r\n", b"\r\n", b"x" * 10000])
def test_one_that_does_not_let_us_in(root: str, greeting: bytes) -> None:
    with Peer(root + PRIVATE, echo, greeting=greeting) as peer:
        assert not Bus(root, seconds=SECONDS).reach()
    assert peer.calls == []


def test_one_that_says_nothing(root: str) -> None:
    with Peer(root + PRIVATE, echo, greeting=b""):
        begin = time.monotonic()
        assert not Bus(root, seconds=0.3).reach()
        assert time.monotonic() - begin < SECONDS


# Exits with 0 if nobody says a word.
_NOBODY = """
import os, socket, sys
listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listening.bind(sys.argv[1])
os.setresuid(65534, 65534, 65534)
listening.listen(1)
print(flush=True)
connection, unused = listening.accept()
sys.exit(1 if connection.recv(100) else 0)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can listen as somebody else")
def test_somebody_else_in_its_place(root: str) -> None:
    os.makedirs(os.path.dirname(root + PRIVATE))
    with subprocess.Popen([sys.executable, "-c", _NOBODY, root + PRIVATE], stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline()
        try:
            assert not Bus(root, seconds=SECONDS).reach()
            assert child.wait(SECONDS) == 0
        finally:
            child.kill()


def test_no_socket_no_connection(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(root + PRIVATE).parent.mkdir(parents=True)
    Path(root + PRIVATE).write_text("", encoding="utf-8")
    with Peer(root + "/elsewhere", echo) as peer:
        Path(root + SYSTEM).parent.mkdir(parents=True)
        os.symlink(root + "/elsewhere", root + SYSTEM)
        monkeypatch.setattr(socket, "socket", lambda *unused: pytest.fail("a connection"))
        for bus in (Bus(root), Bus(None)):
            assert not bus.reach() and bus.set("batch.slice", HIGH) is False and bus.get("batch.slice", ["MemoryHigh"]) is None
        monkeypatch.undo()
    assert peer.calls == []


# A real daemon between us and a service

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
"""


class Service(threading.Thread):
    """org.freedesktop.systemd1 on this bus: takes properties, and tells them."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.held: t.Dict[str, t.Any] = {}
        self.senders: t.Set[str] = set()
        self.ends = threading.Event()
        self.connection = open_dbus_connection(address)
        named = self.connection.send_and_get_reply(name_request(), timeout=SECONDS)
        assert named.body == (1,)
        self.start()

    def run(self) -> None:
        while not self.ends.is_set():
            try:
                call = self.connection.receive(timeout=0.05)
            except TimeoutError:
                continue
            except OSError:
                return
            if call.header.message_type == MessageType.method_call:
                self.senders.add(call.header.fields[HeaderFields.sender])
                self.connection.send(self.respond(call))

    def respond(self, call: Message) -> Message:
        if member(call) == "SetUnitProperties":
            unit, unused, values = call.body
            if unit == "gone.scope":
                return new_error(call, "org.freedesktop.systemd1.NoSuchUnit", "s", ("Unit gone.scope not found.",))
            self.held.update(values)
            return new_method_return(call)
        return new_method_return(call, "v", (self.held[call.body[1]],))


def name_request() -> Message:
    from jeepney.bus_messages import message_bus

    return t.cast(Message, message_bus.RequestName("org.freedesktop.systemd1"))


@pytest.fixture(name="daemon")
def fixture_daemon(root: str) -> t.Iterator[t.Callable[[], None]]:
    """Runs below C(root), where a system's own is; called: once more."""
    os.makedirs(os.path.dirname(root + SYSTEM))
    Path(f"{root}/bus.conf").write_text(CONFIG.format(path=root + SYSTEM), encoding="utf-8")
    running: t.List[subprocess.Popen[bytes]] = []

    def start() -> None:
        for child in running:
            child.terminate()
            child.wait(SECONDS)
        running.append(subprocess.Popen([str(DAEMON), f"--config-file={root}/bus.conf", "--nofork", "--nopidfile", "--print-address"], stdout=subprocess.PIPE))
        assert running[-1].stdout and b"unix:path=" in running[-1].stdout.readline()

    try:
        start()
        yield start
    finally:
        for child in running:
            child.terminate()
            child.wait(SECONDS)


@pytest.mark.skipif(not DAEMON, reason="this machine has no dbus-daemon")
def test_where_there_is_the_system_bus_only(root: str, daemon: t.Callable[[], None]) -> None:
    service = Service(f"unix:path={root}{SYSTEM}")
    try:
        bus = Bus(root, seconds=SECONDS)
        assert bus.set("batch.slice", [*HIGH, ("MemoryZSwapWriteback", "no"), ("ManagedOOMPreference", "omit")])
        assert service.held == {"MemoryHigh": ("t", 2 << 30), "MemoryZSwapWriteback": ("b", False), "ManagedOOMPreference": ("s", "omit")}
        names = ["MemoryHigh", "MemoryZSwapWriteback", "ManagedOOMPreference"] * 20
        assert bus.get("batch.slice", names) == {"MemoryHigh": "2147483648", "MemoryZSwapWriteback": "no", "ManagedOOMPreference": "omit"}
        with pytest.raises(BusError, match="Unit gone.scope not found") as raised:
            bus.set("gone.scope", HIGH)
        assert raised.value.name == "org.freedesktop.systemd1.NoSuchUnit"
        bus.close()
        # One connection for all of it.
        assert len(service.senders) == 1
    finally:
        service.ends.set()
        service.join(SECONDS)
        service.connection.close()


@pytest.mark.skipif(not DAEMON, reason="this machine has no dbus-daemon")
def test_a_daemon_without_systemd(root: str, daemon: t.Callable[[], None]) -> None:
    bus = Bus(root, seconds=SECONDS)
    with pytest.raises(BusError) as raised:
        bus.set("batch.slice", HIGH)
    assert raised.value.name in ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner")
    bus.close()


@pytest.mark.skipif(not DAEMON, reason="this machine has no dbus-daemon")
def test_a_daemon_that_starts_anew(root: str, daemon: t.Callable[[], None]) -> None:
    bus = Bus(root, seconds=SECONDS)
    for number in range(2):
        service = Service(f"unix:path={root}{SYSTEM}")
        assert bus.set("batch.slice", [("MemoryLow", str(number))])
        assert service.held == {"MemoryLow": ("t", number)}
        service.ends.set()
        service.join(SECONDS)
        service.connection.close()
        daemon()
    bus.close()


def test_jeepney_is_a_client_like_us(root: str) -> None:
    """The fake peer, held against an implementation that is not ours."""
    with Peer(root + PRIVATE, lambda call: [signal(), answer(call, "s", ":1.1" if member(call) == "Hello" else "y")]) as peer:
        connection: DBusConnection = open_dbus_connection(f"unix:path={root}{PRIVATE}")
        assert connection.unique_name == ":1.1"
        connection.close()
    assert [member(call) for call in peer.calls] == ["Hello"]
