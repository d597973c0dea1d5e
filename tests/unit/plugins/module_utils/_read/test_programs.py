# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real programs in a directory of their own, and real Unix sockets: what hangs, floods, drips, or is not there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._read import _programs
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.runtimes import Docker, install

LIVE = Tree("/")


@pytest.fixture(name="places")
def fixture_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_programs, "PLACES", (str(tmp_path), "/usr/bin", "/bin"))
    return tmp_path


def said(answer: _programs.Answer) -> str:
    """The reason for which there is no output."""
    assert isinstance(answer, Unreadable)
    return answer.reason


def test_programs_run_at_once_and_each_has_its_own_output(places: Path) -> None:
    """Each waits for the other: one after the other they would not end."""
    for one, other in (("one", "two"), ("two", "one")):
        install(places, one, f": >{places}/{one}.is; until [ -e {places}/{other}.is ]; do sleep 0.02; done; echo $1-{one}")
    assert _programs.ask(LIVE, {"a": ("one", "x"), "b": ("two", "y")}, timeout=20) == {"a": b"x-one\n", "b": b"y-two\n"}


def test_its_surroundings(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRI_CONFIG_FILE", "/etc/other.yaml")
    monkeypatch.setenv("SECRET", "word")
    install(places, "show", 'cat; echo "$LC_ALL $CRI_CONFIG_FILE ${SECRET-none} $HOME"')
    assert _programs.ask(LIVE, {"x": ("show",)}) == {"x": b"C /etc/other.yaml none /root\n"}


def test_a_node_without_the_program(places: Path) -> None:
    found = _programs.ask(LIVE, {"x": ("no-such-program",)})["x"]
    assert isinstance(found, Unreadable) and (found.kind, found.path) == ("absent", "no-such-program")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'no endpoint {0} {timeout}' >&2; exit 3", "no endpoint {0} {timeout}"),
        ("exit 3", "exit status 3"),
        ("printf 'a\\033[31m\\377' >&2; exit 1", "a\x1b[31m\\xff"),
        ("head -c 200000 /dev/zero >&2; exit 1", "\0" * 200),
    ],
)
def test_a_program_that_fails(places: Path, script: str, reason: str) -> None:
    install(places, "fails", script)
    assert said(_programs.ask(LIVE, {"x": ("fails",)}, timeout=20)["x"]) == reason


def test_one_that_fails_does_not_take_the_others_with_it(places: Path) -> None:
    install(places, "fails", "exit 1")
    install(places, "works", "echo fine")
    found = _programs.ask(LIVE, {"a": ("fails",), "b": ("works",), "c": ("absent-one",)})
    assert found["b"] == b"fine\n" and isinstance(found["a"], Unreadable) and isinstance(found["c"], Unreadable)


def test_a_program_that_hangs_is_ended_with_what_it_started(places: Path) -> None:
    install(places, "hangs", f"sleep 600 & echo $! >{places}/child; echo half; wait")
    began = time.monotonic()
    assert said(_programs.ask(LIVE, {"x": ("hangs",)}, timeout=1.5)["x"]) == "no answer within 1.5 s"
    assert time.monotonic() - began < 30
    assert gone(int((places / "child").read_text()))


def test_a_program_that_leaves_a_child_with_its_pipe(places: Path) -> None:
    install(places, "leaves", f"sleep 600 & echo $! >{places}/child; echo all")
    assert "no answer" in said(_programs.ask(LIVE, {"x": ("leaves",)}, timeout=1.5)["x"])
    assert gone(int((places / "child").read_text()))


def test_a_program_that_says_all_and_does_not_end(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_programs, "_GRACE", 0.2)
    install(places, "stays", "echo all; exec >&- 2>&-; exec sleep 600")
    assert said(_programs.ask(LIVE, {"x": ("stays",)}, timeout=20)["x"]) == "does not end"


def test_a_program_that_floods_is_ended(places: Path) -> None:
    install(places, "floods", "exec cat /dev/zero")
    began = time.monotonic()
    assert said(_programs.ask(LIVE, {"x": ("floods",)}, timeout=60, limit=100_000)["x"]) == "more than 100000 bytes"
    assert time.monotonic() - began < 30
    install(places, "just", "head -c 100000 /dev/zero")
    assert _programs.ask(LIVE, {"x": ("just",)}, limit=100_000) == {"x": bytes(100_000)}


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_program_that_others_can_change_is_not_run(places: Path, mode: int) -> None:
    install(places, "theirs", f": >{places}/ran").chmod(mode)
    assert "others than root can change" in said(_programs.ask(LIVE, {"x": ("theirs",)})["x"])
    assert not (places / "ran").exists()


def test_what_is_no_program_is_passed_over(places: Path) -> None:
    (places / "echo").mkdir()
    (places / "cat").write_text("no program")
    assert _programs.ask(LIVE, {"x": ("echo", "real")}) == {"x": b"real\n"}
    assert _programs.program("cat") != str(places / "cat")


def test_of_a_captured_tree_the_file(tmp_path: Path) -> None:
    (tmp_path / ".memqos/output").mkdir(parents=True)
    (tmp_path / ".memqos/output/x").write_text("captured")
    found = _programs.ask(Tree(str(tmp_path)), {"x": ("echo", "live"), "y": ("echo", "live")})
    assert found["x"] == b"captured" and isinstance(found["y"], Unreadable)


def test_no_descriptor_is_left_open(places: Path) -> None:
    install(places, "hangs", "exec sleep 600")
    install(places, "fails", "exit 1")
    before = len(os.listdir("/proc/self/fd"))
    _programs.ask(LIVE, {"a": ("hangs",), "b": ("fails",), "c": ("absent-one",)}, timeout=0.3)
    assert len(os.listdir("/proc/self/fd")) == before


# --- a socket ---


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n[{}]",
        b"HTTP/1.0 200 OK\r\n\r\n[{}]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n3\r\n{}]\r\n0\r\n\r\n",
    ],
)
def test_a_server_that_answers(tmp_path: Path, reply: bytes) -> None:
    with Docker(tmp_path / "sock", lambda url: reply) as server:
        assert _programs.get(str(tmp_path / "sock"), "/containers/json") == b"[{}]"
    assert server.asked == ["/containers/json"]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "/x: status 404"),
        (b"HTTP/1.1 500 Oh\r\n\r\nno", "/x: status 500"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP"),
        (b"", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n[", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(4000), "too long"),
    ],
)
def test_a_server_that_does_not(tmp_path: Path, reply: bytes, words: str) -> None:
    with Docker(tmp_path / "sock", lambda url: reply), pytest.raises(Unreadable, match=words):
        _programs.get(str(tmp_path / "sock"), "/x", limit=3500)


@pytest.mark.parametrize("drip", [b"", b"H"])
def test_a_server_that_hangs_or_drips(tmp_path: Path, drip: bytes) -> None:
    with Docker(tmp_path / "sock", lambda url: drip, forever=True):
        began = time.monotonic()
        with pytest.raises(Unreadable, match="no answer within 0.5 s"):
            _programs.get(str(tmp_path / "sock"), "/x", timeout=0.5)
        assert time.monotonic() - began < 20


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(Unreadable) as absent:
        _programs.get(str(tmp_path / "sock"), "/x")
    assert absent.value.kind == "absent"
    (tmp_path / "file").write_text("")
    with pytest.raises(Unreadable, match="Connection refused"):
        _programs.get(str(tmp_path / "file"), "/x")


def gone(pid: int) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text(encoding="utf-8"):
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False
