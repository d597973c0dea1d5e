# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node's root as a FUSE file system: cgroups and switches by the model, all else a directory's files."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import sys
import tempfile
import threading
import time
import typing as t
from pathlib import Path

from ..machines import LabError
from . import node
from .model import Group, Kernel
from .parsing import refused
from .tables import FLAVOURS

# A line of JSON that is written to it sets what the kernel measures: {"cgroup": "/a", "usage": 4096, …}.
FIGURES = "/.lab/figures"
# Of fuse_main.
_ENDED_BY_SIGNAL = 8
READY = "mounted"
NEEDS = "the file systems of vendor kernels need /dev/fuse, libfuse (Debian: fuse3) and the Python package mfusepy (requirements/test.txt)"


class Files:
    """What libfuse calls; mfusepy takes any object that has these methods. A kernel's file tells no size, and is made anew at every first read."""

    use_ns = True

    def __init__(self, kernel: Kernel, directory: Path) -> None:
        self.kernel = kernel
        self.directory = directory
        self._open: dict[int, bytes] = {}
        self._next = 1 << 20
        self._started = time.time_ns()

    def init(self, path: str) -> None:
        print(READY, flush=True)

    # What a path is

    def _plain(self, path: str) -> str:
        """Where it lies in the directory. Raises OSError if the model has the place."""
        if self._is_kernels(path):
            raise refused(errno.EPERM)
        return f"{self.directory}{path}"

    def _is_kernels(self, path: str) -> bool:
        return path == FIGURES or path in self.kernel.switches or self._cgroup(path) is not None or path == "/sys/fs/cgroup"

    def _cgroup(self, path: str) -> str | None:
        """The path in the hierarchy."""
        mount = self.kernel.flavour.mount
        return path[len(mount) :] or "/" if path == mount or path.startswith(mount + "/") else None

    def _found(self, path: str) -> Group | str | None:
        """A cgroup; the model's path of a file; None for what the directory has. Raises OSError."""
        if path == FIGURES or path in self.kernel.switches:
            return path
        inside = self._cgroup(path)
        if inside is None:
            return None
        try:
            return self.kernel.group(inside)
        except OSError:
            above, unused, name = inside.rpartition("/")
            if not self.kernel.has(self.kernel.group(above), name):
                raise
            return inside

    # Looking

    def getattr(self, path: str, fh: int | None = None) -> dict[str, t.Any]:
        if self._is_above(path):
            return self._attributes(stat.S_IFDIR | 0o755, 3, 2)
        found = self._found(path)
        if found is None:
            entry = os.lstat(f"{self.directory}{path}")
            times = {name: getattr(entry, f"{name}_ns") for name in ("st_atime", "st_mtime", "st_ctime")}
            return {name: getattr(entry, name) for name in ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks")} | times
        if isinstance(found, Group):
            return self._attributes(stat.S_IFDIR | 0o755, 2 + len(found.children), found.inode * 1000)
        if found == FIGURES:
            return self._attributes(stat.S_IFREG | 0o200, 1, 1)
        mode = (0o444 if self.kernel.readable(found) else 0) | (0o200 if self.kernel.writable(found) else 0)
        return self._attributes(stat.S_IFREG | mode, 1, abs(hash(path)) % 2**40 + 2**40)

    def _attributes(self, mode: int, links: int, inode: int) -> dict[str, t.Any]:
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), self._started)
        return {"st_mode": mode, "st_nlink": links, "st_ino": inode, "st_uid": os.getuid(), "st_gid": os.getgid(), "st_size": 0, **times}

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        """With inode numbers: without one a name is not listed."""
        found = None if self._is_above(path) else self._found(path)
        if path == "/.lab":
            names = ["figures"]
        elif self._is_above(path):
            names = [os.path.basename(self.kernel.flavour.mount)]
        elif isinstance(found, Group):
            names = [*found.children, *self.kernel.names(found)]
        else:
            names = os.listdir(f"{self.directory}{path}")
        shown = ((name, self.getattr(f"{path.rstrip('/')}/{name}")) for name in names)
        return [(name, {key: attributes[key] for key in ("st_mode", "st_ino")}, 0) for name, attributes in shown]

    def _is_above(self, path: str) -> bool:
        """A directory that only leads to what the model has."""
        return path in ("/.lab", "/sys/fs/cgroup") and self._cgroup(path) is None

    def readlink(self, path: str) -> str:
        return os.readlink(self._plain(path))

    def listxattr(self, path: str) -> list[str]:
        return []

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        raise refused(errno.ENODATA)

    def statfs(self, path: str) -> dict[str, int]:
        room = os.statvfs(self.directory)
        return {name: getattr(room, name) for name in ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_frsize", "f_namemax")}

    # Reading and writing

    def open(self, path: str, flags: int) -> int:
        found = self._found(path)
        if found is None:
            return os.open(f"{self.directory}{path}", flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_DIRECTORY))
        if isinstance(found, str) and found in self.kernel.switches and flags & os.O_ACCMODE != os.O_WRONLY and not self.kernel.readable(found):
            raise refused(errno.EACCES)
        self._next += 1
        self._open[self._next] = b""
        return self._next

    def create(self, path: str, mode: int) -> int:
        if self._cgroup(path) is not None or path.startswith(("/proc/", "/sys/")):
            raise refused(errno.EACCES)
        return os.open(self._plain(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        if fh not in self._open:
            return os.pread(fh, size, offset)
        if offset == 0:
            self._open[fh] = self.kernel.read(t.cast("str", self._found(path))).encode()
        return self._open[fh][offset : offset + size]

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if fh not in self._open:
            return os.pwrite(fh, data, offset)
        text = data.decode("utf-8", "surrogateescape")
        if path == FIGURES:
            self._figure(text)
        else:
            self.kernel.write(t.cast("str", self._found(path)), text)
        return len(data)

    def _figure(self, text: str) -> None:
        try:
            figures = json.loads(text)
            self.kernel.figure(figures.pop("cgroup"), **figures)
        except (ValueError, KeyError, AttributeError, TypeError) as exc:
            raise refused(errno.EINVAL) from exc

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        """A kernel's file has no length to set."""
        if self._found(path) is None:
            os.truncate(f"{self.directory}{path}", length)

    def release(self, path: str, fh: int) -> None:
        if self._open.pop(fh, None) is None:
            os.close(fh)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        if fh not in self._open:
            os.fsync(fh)

    # The tree

    def mkdir(self, path: str, mode: int) -> None:
        inside = self._cgroup(path)
        if inside is not None:
            self.kernel.mkdir(inside)
        else:
            os.mkdir(self._plain(path), mode)

    def rmdir(self, path: str) -> None:
        inside = self._cgroup(path)
        if inside is not None:
            self.kernel.rmdir(inside)
        else:
            os.rmdir(self._plain(path))

    def unlink(self, path: str) -> None:
        os.unlink(self._plain(path))

    def rename(self, old: str, new: str) -> None:
        os.rename(self._plain(old), self._plain(new))

    def symlink(self, target: str, source: str) -> None:
        os.symlink(source, self._plain(target))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._plain(path), mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(self._plain(path), uid, gid)

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        if not self._is_kernels(path):
            os.utime(self._plain(path), ns=times or (time.time_ns(),) * 2)


def serve(flavour: str, mountpoint: Path, *, until_eof: bool) -> None:
    """Mounts, and stays until SIGTERM, SIGINT, an unmount, or (C(until_eof)) the end of stdin, which comes when the process that started this one is gone."""
    fuse = library()
    kernel = Kernel(FLAVOURS[flavour])
    node.adopt(kernel)
    with tempfile.TemporaryDirectory(prefix="memqos-vendor-") as directory:
        node.lay(kernel.flavour, Path(directory))
        if until_eof:
            threading.Thread(target=_end_with_stdin, args=(threading.get_ident(),), daemon=True).start()
        # libfuse ends at a signal that nobody else has taken; the lab has.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        options = {"fsname": f"memqos-{flavour}", "use_ino": True, "direct_io": True, "attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
        try:
            fuse.FUSE(Files(kernel, Path(directory)), str(mountpoint), foreground=True, nothreads=True, **options)
        except RuntimeError as exc:
            if exc.args != (_ENDED_BY_SIGNAL,):
                raise LabError(f"{mountpoint}: libfuse could not mount there (status {exc})") from exc


def library() -> t.Any:
    """mfusepy. Raises LabError that says what is missing."""
    missing = "/dev/fuse is not there, or not for us" if not os.access("/dev/fuse", os.R_OK | os.W_OK) else ""
    try:
        import mfusepy
    except (ImportError, OSError) as exc:
        missing = missing or str(exc)
    if missing:
        raise LabError(f"{NEEDS}: {missing}")
    return mfusepy


def _end_with_stdin(main: int) -> None:
    while sys.stdin.buffer.read(65536):
        pass
    signal.pthread_kill(main, signal.SIGTERM)
