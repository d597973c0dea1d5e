# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a new file has of the one whose place it takes: labels and ACLs; and files of many cgroups."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.plugins.module_utils._writer import File, Refused, Replaced, Writer

ZZZ = "/etc/sysctl.d/zzz.conf"
# Version 2; owner rw, user 1000 r, group r, mask r, others none.
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, who) for tag, bits, who in ((1, 6, 0xFFFFFFFF), (2, 4, 1000), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
)
NO_LABELS = (errno.ENOTSUP, errno.EPERM, errno.EINVAL)


@pytest.fixture(name="file")
def fixture_file(tmp_path: Path) -> Path:
    path = tmp_path / ZZZ[1:]
    path.parent.mkdir(parents=True)
    path.write_text("old\n", encoding="utf-8")
    path.chmod(0o640)
    return path


def attributes(path: Path) -> t.Dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


@pytest.mark.parametrize(
    "wanted",
    [{"user.note": b"theirs"}, {"security.selinux": b"system_u:object_r:etc_t:s0\0"}, {"system.posix_acl_access": ACL}, {"user.a": b"", "trusted.b": b"\0"}],
)
def test_a_new_file_has_the_labels_and_the_acl_of_the_old_one(file: Path, wanted: t.Dict[str, bytes]) -> None:
    try:
        for name, value in wanted.items():
            os.setxattr(file, name, value)
    except OSError as exc:
        if exc.errno not in NO_LABELS:
            raise
        pytest.skip(f"not on this file system, or by this user: {exc}")
    before = attributes(file)
    assert set(wanted) <= set(before)
    Writer(str(file.parents[2])).replace(ZZZ, File("new\n", 0o640, os.getuid(), os.getgid()))
    assert (file.read_text(encoding="utf-8"), attributes(file), file.stat().st_mode & 0o777) == ("new\n", before, 0o640)


def test_a_signature_of_the_old_content_is_not_the_new_ones(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"security.ima": b"of old", "security.selinux": b"label"}
    given: t.Dict[str, bytes] = {}
    monkeypatch.setattr(os, "listxattr", lambda fd: list(held))
    monkeypatch.setattr(os, "getxattr", lambda fd, name: held[name])
    monkeypatch.setattr(os, "setxattr", lambda fd, name, value: given.update({name: value}))
    Writer(str(file.parents[2])).replace(ZZZ, File("new\n"))
    assert given == {"security.selinux": b"label"}


@pytest.mark.parametrize("call", ["listxattr", "getxattr", "setxattr"])
def test_where_there_are_no_labels_the_file_is_written_all_the_same(file: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*_arguments: t.Any) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "listxattr", lambda fd: ["user.x"])
    monkeypatch.setattr(os, "getxattr", lambda fd, name: b"x")
    monkeypatch.setattr(os, "setxattr", lambda fd, name, value: None)
    monkeypatch.setattr(os, call, fail)
    Writer(str(file.parents[2])).replace(ZZZ, File("new\n"))
    assert file.read_text(encoding="utf-8") == "new\n"


# Swap files

SWAP = "/srv/memqos-swap/swap-1M"


class Disk:
    """A node with C(/srv), whose mkswap does what C(mkswap) does."""

    def __init__(self, root: Path, mkswap: t.Callable[[str], None] = lambda path: None) -> None:
        (root / "srv").mkdir()
        (root / "srv").chmod(0o755)
        self.root, self.mkswap = root, mkswap
        self.writer = Writer(str(root), command=self.command)

    def command(self, argv: t.List[str]) -> str:
        name, path = argv
        assert name == "mkswap" and path.startswith(str(self.root))
        self.mkswap(path)
        return ""

    def make(self, size: int = 1 << 20) -> t.Optional[str]:
        self.writer.make_directory(os.path.dirname(SWAP), 0o700)
        self.writer.make_swap_file(SWAP, size)
        return self.writer.swap_file(SWAP)

    def names(self) -> t.List[str]:
        return sorted(os.listdir(self.root / "srv/memqos-swap"))


def test_a_swap_file_is_allocated_and_roots_alone(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert disk.writer.swap_file(SWAP) is None
    assert (disk.make(), disk.names()) == ("1048576", ["swap-1M"])
    found = os.stat(tmp_path / SWAP[1:])
    assert (found.st_mode & 0o7777, found.st_blocks * 512 >= 1 << 20) == (0o600, True)
    disk.writer.remove(SWAP)
    assert disk.writer.swap_file(SWAP) is None


@pytest.mark.skipif(not os.path.exists("/sbin/mkswap"), reason="this machine has no mkswap")
def test_mkswap_takes_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path, lambda path: subprocess.run(["/sbin/mkswap", path], check=True, stdout=subprocess.DEVNULL).check_returncode())
    disk.make()
    assert (tmp_path / SWAP[1:]).read_bytes()[4086:4096] == b"SWAPSPACE2"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), Unreadable("mkswap", "error", "no")])
def test_one_that_mkswap_refuses_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    def fail(path: str) -> None:
        raise error

    disk = Disk(tmp_path, fail)
    with pytest.raises(type(error)):
        disk.make()
    assert disk.names() == []


def test_what_is_not_as_we_made_it_is_told(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.make()
    path = tmp_path / SWAP[1:]
    path.chmod(0o644)
    assert disk.writer.swap_file(SWAP) == f"-rw-r--r-- of user {os.geteuid()}, 1048576 of 1048576 bytes"
    path.chmod(0o600)
    path.unlink()
    with path.open("wb") as stream:
        stream.truncate(1 << 20)
    path.chmod(0o600)
    assert disk.writer.swap_file(SWAP) == f"-rw------- of user {os.geteuid()}, 0 of 1048576 bytes"
    path.unlink()
    os.symlink("/etc/passwd", path)
    assert (disk.writer.swap_file(SWAP) or "").startswith("lrwxrwxrwx")


@pytest.mark.parametrize(
    "path",
    ["/srv/swap-1M", "/srv/memqos-swap/swapfile", "/srv/memqos-swap/swap-0M", "/srv/memqos-swap/../swap-1M", "/srv/../etc/memqos-swap/swap-1M",
     "/srv/memqos-swap/swap-1M/x", "/srv/a b/memqos-swap/swap-1M", "srv/memqos-swap/swap-1M"],
)  # fmt: skip
def test_a_swap_file_has_one_of_our_names(tmp_path: Path, path: str) -> None:
    disk = Disk(tmp_path)
    for action in (disk.writer.swap_file, disk.writer.remove, lambda name: disk.writer.make_swap_file(name, 1 << 20)):
        with pytest.raises(Refused, match="is not below a directory that this collection writes"):
            action(path)


@pytest.mark.parametrize("mode", [0o757, 0o775, 0o1777])
def test_no_swap_file_where_others_can_write(tmp_path: Path, mode: int) -> None:
    disk = Disk(tmp_path)
    disk.make()
    (tmp_path / "srv").chmod(mode)
    for action in (disk.writer.swap_file, disk.writer.remove, lambda name: disk.writer.make_swap_file(name, 1 << 20)):
        with pytest.raises(Refused, match="others than root can write to its directory srv"):
            action(SWAP)
    assert disk.names() == ["swap-1M"]


def test_a_unit_that_systemd_does_not_give_is_not_started(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        Disk(tmp_path).writer.swap("stop", "../x.swap")


# Cgroups


POD = "/sys/fs/cgroup/kubepods/pod1"
MAIN = f"{POD}/main"


@pytest.fixture(name="cgroups")
def fixture_cgroups(tmp_path: Path) -> Path:
    for path in (POD, MAIN, f"{POD}/other"):
        os.makedirs(f"{tmp_path}{path}")
        Path(f"{tmp_path}{path}/memory.low").write_text("4096\n", encoding="ascii")
    return tmp_path


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("many", [False, True])
def test_of_a_cgroup_its_inode_and_the_files_that_it_has(cgroups: Path, many: bool) -> None:
    writer, inode, before = Writer(str(cgroups)), os.stat(f"{cgroups}{MAIN}").st_ino, open_files()
    with writer.many() if many else contextlib.nullcontext():
        assert writer.memcg_read(MAIN, 0, ["memory.low", "memory.high"]) == (inode, {"memory.low": "4096"})
        assert writer.memcg_read(POD, 0, ())[1] == {}
        assert writer.memcg_write(MAIN, inode, [("memory.low", "8192"), ("memory.low", None)]) == ["8192", "8192"]
        assert writer.memcg_read(f"{POD}/other", 0, ["memory.low"])[1] == {"memory.low": "4096"}
        with pytest.raises(Replaced):
            writer.memcg_write(MAIN, inode + 1, [("memory.low", "0")])
        with pytest.raises(FileNotFoundError):
            writer.memcg_write(MAIN, inode, [("memory.high", "0")])
        with pytest.raises(FileNotFoundError):
            writer.memcg_read(f"{POD}/gone/away", 0, ())
        assert writer.memcg_read(MAIN, inode, ["memory.low"])[1] == {"memory.low": "8192"}
    assert open_files() == before
    assert sorted(os.listdir(f"{cgroups}{MAIN}")) == ["memory.low"]


def test_meanwhile_another_cgroup_takes_the_path(cgroups: Path) -> None:
    """Its parents stay open, itself it is looked for each time."""
    writer, inode = Writer(str(cgroups)), os.stat(f"{cgroups}{MAIN}").st_ino
    with writer.many():
        writer.memcg_read(MAIN, inode, ())
        os.rename(f"{cgroups}{MAIN}", f"{cgroups}{POD}/old")
        os.mkdir(f"{cgroups}{MAIN}")
        with pytest.raises(Replaced):
            writer.memcg_read(MAIN, inode, ())
        assert writer.memcg_read(MAIN, 0, ())[0] == os.stat(f"{cgroups}{MAIN}").st_ino


@pytest.mark.parametrize("size", [4095, 4096, 4097, 200_000])
def test_a_file_of_any_length_is_read_to_its_end(cgroups: Path, size: int) -> None:
    """memory.stat has several lines."""
    text = ("keys 12\n" * size)[: size - 1]  # a line ends where a page does
    Path(f"{cgroups}{MAIN}/memory.stat").write_text(text + "\n", encoding="ascii")
    assert Writer(str(cgroups)).memcg_read(MAIN, 0, ["memory.stat"])[1]["memory.stat"] == text.strip()


@pytest.mark.parametrize("link", [f"{MAIN}/memory.low", MAIN, POD, "/sys/fs/cgroup"])
@pytest.mark.parametrize("many", [False, True])
def test_no_link_is_followed_to_a_cgroup(cgroups: Path, link: str, many: bool) -> None:
    os.rename(f"{cgroups}{link}", f"{cgroups}/elsewhere")
    os.symlink(f"{cgroups}/elsewhere", f"{cgroups}{link}")
    writer, before = Writer(str(cgroups)), open_files()
    with writer.many() if many else contextlib.nullcontext():
        for attempt in (lambda: writer.memcg_write(MAIN, 0, [("memory.low", "8192")]), lambda: writer.memcg_read(MAIN, 0, ["memory.low"])):
            with pytest.raises(Refused, match="symbolic link"):
                attempt()
    assert open_files() == before
    assert "8192" not in (cgroups / "elsewhere" if link.endswith("low") else next((cgroups / "elsewhere").rglob("memory.low"))).read_text(encoding="ascii")


@pytest.mark.parametrize("name", ["../memory.low", "", ".", "..", "a/b", "a\0b"])
def test_what_is_no_name_of_a_file_is_refused(cgroups: Path, name: str) -> None:
    writer = Writer(str(cgroups))
    for attempt in (lambda: writer.memcg_write(MAIN, 0, [(name, "8192")]), lambda: writer.memcg_read(MAIN, 0, [name])):
        with pytest.raises(Refused):
            attempt()
    assert Path(f"{cgroups}{POD}/memory.low").read_text(encoding="ascii") == "4096\n"


@pytest.mark.parametrize("path", ["/etc/memory", "/sys/fs/../../etc", "/sysfs/cgroup", "/proc/syst", "/sys/fs//cgroup"])
def test_what_is_no_cgroup_is_refused(cgroups: Path, path: str) -> None:
    with pytest.raises(Refused):
        Writer(str(cgroups)).memcg_read(path, 0, ())
