# SPDX-License-Identifier: BSD-2-Clause

"""The files of a node, live or captured."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import subprocess
import typing as t

if t.TYPE_CHECKING:
    Kind = t.Literal["absent", "denied", "malformed", "error"]

# Larger than any file the kernel shows us.
MAX_BYTES = 16 * 1024 * 1024
OUTPUT_DIR = ".memqos/output"
_CHUNK = 65536
_MAX_LINKS = 8
# O_NONBLOCK: a captured tree may hold a FIFO.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO, errno.EOPNOTSUPP))
_DENIED = frozenset((errno.EACCES, errno.EPERM))


class Unreadable(Exception):
    """C(kind) says why in one word, C(reason) in a sentence."""

    def __init__(self, path: str, kind: Kind, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.kind: Kind = kind
        self.reason = reason

    @classmethod
    def from_os_error(cls, path: str, exc: OSError) -> Unreadable:
        words = os.strerror(exc.errno) if exc.errno else str(exc)
        if exc.errno in _ABSENT:
            return cls(path, "absent", f"not on this node ({words})")
        if exc.errno in _DENIED:
            return cls(path, "denied", f"needs root ({words})" if os.geteuid() else f"refused ({words})")
        return cls(path, "error", words)


class Tree:
    """The files below C(root): C(/) is the live node, else a captured tree, which no link may leave.

    Paths are absolute as on the node (C(/proc/meminfo)), text or bytes.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.realpath(root)
        self.live = self.root == "/"
        self._prefix = b"" if self.live else os.fsencode(self.root)

    def fs_path(self, path: str | bytes) -> bytes:
        """Where C(path) lies on this machine. Raises Unreadable."""
        raw = os.fsencode(path)
        if self.live:
            return raw
        full = self._prefix + raw
        real = os.path.realpath(full)
        if real != self._prefix and not real.startswith(self._prefix + b"/"):
            raise Unreadable(display(raw), "denied", "leaves the captured tree")
        return full

    def read(self, path: str | bytes, *, limit: int = MAX_BYTES) -> bytes:
        try:
            return _drain(os.open(self.fs_path(path), _FLAGS), limit)
        except OSError as exc:
            raise Unreadable.from_os_error(display(path), exc) from exc

    def read_plain(self, path: str, *, limit: int = MAX_BYTES) -> bytes:
        """C(read) where a user can write: no symbolic link, only a regular file. Raises Unreadable."""
        try:
            fd = os.open(self.root, os.O_PATH)
            try:
                for part in filter(None, path.split("/")):
                    above = fd
                    fd = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=above)
                    os.close(above)
                if ".." in path or not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise Unreadable(display(path), "denied", "no regular file")
                # Opening a device can start a watchdog.
                return _drain(os.open(f"/proc/self/fd/{fd}", _FLAGS), limit)
            finally:
                os.close(fd)
        except OSError as exc:
            raise Unreadable.from_os_error(display(path), exc) from exc

    def read_text(self, path: str | bytes) -> str:
        return display(self.read(path).strip())

    def read_or_empty(self, path: str | bytes, *, limit: int = MAX_BYTES) -> bytes:
        try:
            return self.read(path, limit=limit)
        except Unreadable:
            return b""

    def names_or_empty(self, path: str | bytes) -> list[str]:
        try:
            return self.names(path)
        except Unreadable:
            return []

    def exists(self, path: str | bytes) -> bool:
        try:
            return os.path.exists(self.fs_path(path))
        except Unreadable:
            return False

    def target(self, path: str) -> str:
        """What a link leads to, as the node sees it: an absolute one stays inside a captured tree."""
        for _hop in range(_MAX_LINKS):
            directory, name = posixpath.split(path)
            try:
                link = os.fsdecode(os.readlink(os.path.join(self.fs_path(directory), os.fsencode(name))))
            except (OSError, Unreadable):
                break
            path = posixpath.normpath(posixpath.join(directory, link))
        return path

    def names(self, path: str | bytes) -> list[str]:
        """Sorted names in a directory. Raises Unreadable."""
        try:
            return sorted(display(name) for name in os.listdir(self.fs_path(path)))
        except OSError as exc:
            raise Unreadable.from_os_error(display(path), exc) from exc

    def output(self, name: str, argv: t.Sequence[str], *, timeout: float = 30.0) -> str:
        """What a command prints; in a captured tree the file C(.memqos/output/NAME). Raises Unreadable."""
        if not self.live:
            return display(self.read(f"/{OUTPUT_DIR}/{name}"))
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        try:
            # Works without a module's run_command(), in tests too.
            # pylint: disable-next=ansible-bad-function
            done = subprocess.run(list(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, env=env, check=False)
        except OSError as exc:
            raise Unreadable.from_os_error(argv[0], exc) from exc
        except subprocess.TimeoutExpired as exc:
            raise Unreadable(argv[0], "error", f"no answer within {timeout:g} s") from exc
        if done.returncode:
            words = display(done.stderr.strip())[:200] or f"exit status {done.returncode}"
            raise Unreadable(argv[0], "error", words)
        return display(done.stdout)


def display(raw: str | bytes) -> str:
    """Text; what is not UTF-8 becomes a backslash escape, which survives JSON and every writer."""
    if isinstance(raw, str):
        raw = os.fsencode(raw)
    return raw.decode("utf-8", "backslashreplace")


def whole_lines(data: bytes) -> list[bytes]:
    """Those that end with a newline: half a number is a wrong number."""
    return data.split(b"\n")[:-1]


def _drain(fd: int, limit: int) -> bytes:
    # seq_file returns whole records: a short read is not the end.
    parts = []
    try:
        while limit > 0:
            part = os.read(fd, min(_CHUNK, limit))
            if not part:
                break
            parts.append(part)
            limit -= len(part)
    finally:
        os.close(fd)
    return b"".join(parts)
