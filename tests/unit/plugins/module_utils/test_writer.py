# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a new file has of the one whose place it takes: labels and ACLs."""

from __future__ import annotations

import errno
import os
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._writer import File, Writer

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
