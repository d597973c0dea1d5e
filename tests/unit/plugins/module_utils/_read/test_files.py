# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The only place of the reading half that opens files: what it reads, what it refuses, and what it says of it."""

from __future__ import annotations

import errno
import os
import pathlib
import sys
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._read import _files
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> Tree:
    root = tmp_path / "node"
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "uptime").write_text("5.00 9.00\n")
    (tmp_path / "outside").write_text("secret")
    return Tree(str(root))


def why(read: t.Callable[[], t.Any]) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read()
    return caught.value


def test_a_captured_tree_has_the_paths_of_a_node(tree: Tree) -> None:
    assert tree.live is False and Tree("/").live is True
    assert tree.read("/proc/uptime") == tree.read(b"/proc/uptime") == b"5.00 9.00\n"
    assert tree.read_text("/proc/uptime") == "5.00 9.00"
    assert tree.names("/proc") == ["uptime"] and tree.exists("/proc") and not tree.exists("/sys")


def test_all_of_a_file_that_the_kernel_gives_in_records() -> None:
    """/proc/PID/maps of this process comes in reads of less than a page each."""
    content = Tree("/").read("/proc/self/maps")
    assert content.endswith(b"\n") and len(content) > 4096


def test_no_more_than_the_limit(tree: Tree) -> None:
    pathlib.Path(tree.root, "big").write_bytes(b"x" * 200_000)
    assert len(tree.read("/big", limit=100_000)) == 100_000 and len(tree.read("/big")) == 200_000


@pytest.mark.parametrize("target", ["{}/outside", "../outside", "/etc/passwd"])
def test_no_link_leaves_a_captured_tree(tree: Tree, tmp_path: pathlib.Path, target: str) -> None:
    os.symlink(target.format(tmp_path), os.path.join(tree.root, "link"))
    assert why(lambda: tree.read("/link")).kind == "denied"
    assert why(lambda: tree.names("/link")).reason == "leaves the captured tree"
    assert not tree.exists("/link") and tree.read_or_empty("/link") == b"" and tree.names_or_empty("/link") == []
    assert why(lambda: tree.read("/../outside")).kind == "denied"


def test_a_fifo_does_not_hang(tree: Tree) -> None:
    os.mkfifo(os.path.join(tree.root, "fifo"))
    assert tree.read("/fifo") == b""


@pytest.mark.parametrize(
    "number, kind",
    [(errno.ENOENT, "absent"), (errno.EOPNOTSUPP, "absent"), (errno.ENODEV, "absent"), (errno.EACCES, "denied"), (errno.EPERM, "denied"), (errno.EIO, "error")],
)
def test_every_errno_has_its_kind_and_words(tree: Tree, monkeypatch: pytest.MonkeyPatch, number: int, kind: str) -> None:
    def fail(*_args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_files.os, "open", fail)
    problem = why(lambda: tree.read("/proc/uptime"))
    assert (problem.kind, problem.path) == (kind, "/proc/uptime") and os.strerror(number) in problem.reason


def test_an_ordinary_user_is_told_that_it_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(_files.os, "geteuid", lambda: 1000)
    assert "needs root" in Unreadable.from_os_error("/proc/slabinfo", denied).reason
    monkeypatch.setattr(_files.os, "geteuid", lambda: 0)
    assert "needs root" not in Unreadable.from_os_error("/proc/slabinfo", denied).reason


def test_output_of_a_captured_tree_is_a_file(tree: Tree) -> None:
    (pathlib.Path(tree.root) / ".memqos" / "output").mkdir(parents=True)
    (pathlib.Path(tree.root) / ".memqos" / "output" / "uname-m").write_text("x86_64\n")
    assert tree.output("uname-m", ["false"]) == "x86_64\n"
    assert why(lambda: tree.output("other", ["echo", "live"])).kind == "absent"


def test_output_of_the_live_node() -> None:
    live = Tree("/")
    assert live.output("x", [sys.executable, "-c", "import os; print(os.environ['LC_ALL'])"]) == "C\n"
    assert why(lambda: live.output("x", ["/no/such/command"])).kind == "absent"
    failed = why(lambda: live.output("x", [sys.executable, "-c", "import sys; sys.exit('broken bus')"]))
    assert (failed.kind, failed.reason) == ("error", "broken bus")
    slow = why(lambda: live.output("x", [sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2))
    assert "no answer within 0.2 s" in slow.reason


def test_no_descriptor_is_left_open(tree: Tree) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/proc/uptime", "/proc", "/nowhere"):
        tree.read_or_empty(path)
        with pytest.raises(Unreadable):
            tree.read_plain(path + "/nowhere")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("raw, text", [(b"plain", "plain"), ("häß".encode(), "häß"), (b"a\xff\xfeb", "a\\xff\\xfeb"), ("a\udcffb", "a\\xffb")])
def test_display_survives_json_and_every_writer(raw: bytes | str, text: str) -> None:
    assert _files.display(raw) == text
    text.encode("utf-8")


def test_half_a_line_is_left_out() -> None:
    assert _files.whole_lines(b"MemTotal: 1024 kB\nMemFree: 51") == [b"MemTotal: 1024 kB"]
