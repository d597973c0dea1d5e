# SPDX-License-Identifier: BSD-2-Clause

"""The only place that changes a node: kernel files, files of ours, systemctl.

Every directory is opened relative to its parent's descriptor, and no symbolic link is followed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import re
import stat
import typing as t

from ._read._files import Tree, Unreadable
from ._read._unit_state import ANSWER_SECONDS, show_value, shown_name
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ._bus import Bus

STATE = "/var/lib/memqos"
_KERNEL = ("/proc/sys/", "/sys/")
_OURS = ("/etc/sysctl.d/", "/etc/tmpfiles.d/", "/etc/systemd/system/", "/etc/systemd/system.control/", "/run/sysctl.d/", "/run/tmpfiles.d/",
         "/run/systemd/system/", "/run/systemd/system.control/", "/etc/systemd/zram-generator.conf.d/")  # fmt: skip
_FILES = ("/etc/sysctl.conf",)
# A profile says where; what lies there has these names, in a directory of ours (x: anything in it).
_SWAP_FILE = re.compile(r"(?:/(?!\.)[A-Za-z0-9._+-]+)*/memqos-swap/(?:(?:swap|crypt)-[1-9][0-9]{0,9}M|x)")
_SWAP_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,250}\.(?:swap|service)")
# Turning off can read back gigabytes.
_SWAP_SECONDS = 1800.0
_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
# O_NONBLOCK: a FIFO must not stop us.
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MAX_FILE = 16 * 1024 * 1024
_LINE = 4096
_NOTHING = contextlib.nullcontext()
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,250}\.(?:slice|service|scope)")
_PROPERTY = re.compile("[A-Z][A-Za-z]{1,60}")
# A signature of the old content would forbid the new one.
_SIGNATURES = ("security.ima", "security.evm")
_CURES = {
    errno.EROFS: "Make that file system writable, and run again.",
    errno.ENOSPC: "Make room on that file system, and run again.",
    errno.EDQUOT: "Make room in that quota, and run again.",
    errno.EINVAL: "This kernel does not take that value: choose another, or leave the knob out.",
    errno.EBUSY: "It is in use: free it first (a limit: choose one above the usage), or leave the knob out.",
    errno.EIO: "The kernel's log may say more (dmesg).",
    errno.EPERM: "Something forbids it to root too: a container, lockdown, a security module.",
    errno.EACCES: "Something forbids it to root too: a container, lockdown, a security module.",
}


class Refused(Exception):
    """A path or name that is never written: C(path), C(reason)."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Replaced(Refused):
    """The cgroup is gone, and another one has its path."""


class File(NamedTuple):
    """A text file as it lies there; bytes that are not UTF-8 are surrogate escapes."""

    text: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


class Writer:
    """Changes what lies below C(root) (C(/): the live node). C(cgroups) are cgroup mounts outside C(/sys), C(command) runs an argv and returns its output.

    All methods raise OSError and Refused; those that run systemctl also Unreadable.
    """

    def __init__(
        self, root: str = "/", *, state: str = STATE, cgroups: t.Sequence[str] = (), command: t.Optional[t.Callable[[t.List[str]], str]] = None
    ) -> None:
        self.root = os.path.realpath(root)
        self.state = state
        self.operations = 0
        self._kernel = _KERNEL + tuple(mount.rstrip("/") + "/" for mount in cgroups)
        self._command = command
        self._bus: t.Optional[Bus] = None
        self._way: t.Optional[_Way] = None

    def operation(self, what: str, path: str) -> None:
        """Comes before every single change: where tests fail or kill. C(what) is a word, C(path) what it changes."""
        self.operations += 1

    # Kernel files

    def kernel_read(self, path: str, inode: int = 0) -> str:
        """The text without white space at its ends. C(inode), unless 0, is the cgroup's directory's: raises Replaced if it is another one."""
        with self._kernel_parent(path, inode) as (fd, name):
            return _text(_opened(name, os.O_RDONLY, fd, path))

    def kernel_write(self, path: str, text: str, inode: int = 0) -> None:
        """One write, as the kernel parses each for itself. Never makes a file."""
        with self._kernel_parent(path, inode) as (fd, name):
            self.operation("kernel", path)
            self.kernel_bytes(_opened(name, os.O_WRONLY | os.O_TRUNC, fd, path), path, f"{text}\n".encode("utf-8", "surrogateescape"))

    def kernel_bytes(self, fd: int, path: str, data: bytes) -> None:
        """The write itself, to an open file, which is closed."""
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.EIO, "the kernel took only a part", path)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def many(self) -> t.Iterator[None]:
        """Meanwhile directories stay open from one cgroup to the next: most have the same ones above them."""
        if self._way is not None:
            yield
            return
        self._way = _Way(self.root)
        try:
            yield
        finally:
            self._way.close()
            self._way = None

    def memcg_read(self, path: str, inode: int, names: t.Iterable[str]) -> t.Tuple[int, t.Dict[str, str]]:
        """(its inode, {file: text} of those that it has) of a cgroup. C(inode) as in C(kernel_read)."""
        found: t.Dict[str, str] = {}
        with self.many() if self._way is None else _NOTHING:
            fd, own = self._memcg(path, inode)
            for name in _file_names(*names):
                try:
                    file = os.open(name, _SAFE, dir_fd=fd)
                except OSError as exc:
                    if exc.errno == errno.ENOENT:
                        continue
                    _refuse_link(exc, path, f"its {name} is a symbolic link")
                    raise
                found[name] = _line(file)
            return own, found

    def memcg_write(self, path: str, inode: int, pairs: t.Iterable[t.Tuple[str, t.Optional[str]]]) -> t.List[str]:
        """What each file of a cgroup reads when its text was written; None: written otherwise."""
        found: t.List[str] = []
        # A file of the kernel takes each write whole; a plain one, of a tree, does not.
        flags = _SAFE | os.O_RDWR | (os.O_TRUNC if self.root != "/" else 0)
        with self.many() if self._way is None else _NOTHING:
            fd, unused = self._memcg(path, inode)
            for name, text in pairs:
                _file_names(name)
                if text is not None:
                    self.operation("kernel", f"{path}/{name}")
                try:
                    file = os.open(name, _SAFE if text is None else flags, dir_fd=fd)
                except OSError as exc:
                    _refuse_link(exc, path, f"its {name} is a symbolic link")
                    raise
                found.append(_line(file, text))
        return found

    def _memcg(self, path: str, inode: int) -> t.Tuple[int, int]:
        """(descriptor of the cgroup's directory, its inode)"""
        if not f"{path}/".startswith(self._kernel):
            raise Refused(path, "is not below /proc/sys, /sys or a cgroup mount")
        fd = t.cast("_Way", self._way).to(path)
        own = os.fstat(fd).st_ino
        if inode and own != inode:
            raise Replaced(path, "another cgroup has this path now")
        return fd, own

    # Files of ours

    def read(self, path: str) -> t.Optional[File]:
        """None if absent. An error has the whole path."""
        try:
            with self._own_parent(path) as (fd, name):
                file = _opened(name, os.O_RDONLY, fd, path)
                found = os.fstat(file)
                return File(_read(file).decode("utf-8", "surrogateescape"), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
        except FileNotFoundError:
            return None
        except OSError as exc:
            exc.filename = path
            raise

    def replace(self, path: str, new: File) -> None:
        """Atomic: a temporary file beside it, fsync, rename (which follows no link), fsync of the directory. The old file stays until the rename.

        Its label of SELinux, its ACL and its other extended attributes are the new one's, where the file system has them.
        """
        with self._own_parent(path) as (fd, name):
            temporary = f".{name}.memqos"
            try:
                self.operation("create", path)
                _unlink(temporary, fd)
                self._fill(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o600, dir_fd=fd), path, new, _attributes(name, fd))
                self.operation("rename", path)
                os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
            except OSError:
                with contextlib.suppress(OSError):
                    _unlink(temporary, fd)
                raise
            self._sync(fd, path)

    def remove(self, path: str) -> None:
        """The file, and what an interrupted C(replace) left of it. No error if absent."""
        try:
            with self._own_parent(path) as (fd, name):
                if {name, f".{name}.memqos"} & set(os.listdir(fd)):
                    self.operation("remove", path)
                    _unlink(f".{name}.memqos", fd)
                    _unlink(name, fd)
                    self._sync(fd, path)
        except FileNotFoundError:
            pass

    def clean(self, path: str) -> None:
        """Removes what an interrupted C(replace) left beside C(path)."""
        try:
            with self._own_parent(path) as (fd, name):
                if f".{name}.memqos" in os.listdir(fd):
                    self.operation("remove", path)
                    _unlink(f".{name}.memqos", fd)
        except FileNotFoundError:
            pass

    def append(self, path: str, text: str) -> None:
        """Without fsync: this survives the end of the process, not of the machine."""
        with self._own_parent(path) as (fd, name):
            self.operation("append", path)
            file = _opened(name, os.O_WRONLY | os.O_APPEND, fd, path)
            try:
                _write_all(file, text.encode())
            finally:
                os.close(file)

    def missing_directories(self, path: str) -> t.List[str]:
        """Directories to be made for a file of this path, parents first."""
        self._own(path)
        parts = path.split("/")[1:-1]
        for depth in range(len(parts) + 1):
            try:
                os.close(self._directory("/" + "/".join(parts[:depth])))
            except FileNotFoundError:
                return ["/" + "/".join(parts[:end]) for end in range(depth, len(parts) + 1)]
        return []

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        """No error if it is there."""
        with self._own_parent(f"{path}/x", 1) as (fd, name):
            self.operation("mkdir", path)
            try:
                os.mkdir(name, mode, dir_fd=fd)
            except FileExistsError:
                return
            os.chmod(name, mode, dir_fd=fd)  # whatever the umask
            self._sync(fd, path)

    def remove_directory(self, path: str) -> None:
        """Only if it is empty; no error otherwise."""
        try:
            with self._own_parent(f"{path}/x", 1) as (fd, name):
                self.operation("rmdir", path)
                os.rmdir(name, dir_fd=fd)
                self._sync(fd, path)
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise

    def directory(self, path: str) -> t.Optional[t.Tuple[os.stat_result, t.List[str]]]:
        """(its stat, sorted names); None if absent."""
        self._own(f"{path}/x")
        try:
            fd = self._directory(path)
        except FileNotFoundError:
            return None
        try:
            return os.fstat(fd), sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def lock(self, path: str) -> int:
        """A descriptor that holds the lock on this file, made if absent. BlockingIOError if another process holds it."""
        with self._own_parent(path) as (fd, name):
            file = _opened(name, os.O_RDWR | os.O_CREAT, fd, path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            raise
        return file

    # systemd

    def set_properties(self, unit: str, pairs: t.Iterable[t.Tuple[str, str]]) -> None:
        """At run time. On systemd's socket, by systemctl where there is none."""
        pairs = tuple(pairs)
        argv = property_words(unit, pairs)
        self.operation("command", unit)
        if not self._systemd().set(unit, pairs):
            self._systemctl("set-property", "--runtime", "--", *argv)

    def properties(self, unit: str, names: t.Iterable[str]) -> t.Dict[str, str]:
        """As C(systemctl show) prints them, in the words of set-property."""
        wanted = {shown_name(_checked(name, _PROPERTY)): name for name in names}
        found = self._systemd().get(_checked(unit, _UNIT), list(wanted.values()))
        if found is not None:
            return found
        shown = self._systemctl("show", "--no-pager", f"--property={','.join(wanted)}", "--", unit)
        pairs = (line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return {wanted[key]: show_value(wanted[key], value) for key, value in pairs if key in wanted}

    def reload(self) -> None:
        self.operation("command", "daemon-reload")
        self._systemctl("daemon-reload")

    def command(self, *argv: str) -> str:
        self.operation("command", " ".join(argv[:2]))
        return self._run(argv)

    # Swap

    def swap_file(self, path: str) -> t.Optional[str]:
        """Its size in bytes; None if absent; other words where it is not as C(make_swap_file) leaves it."""
        try:
            with self._own_parent(path) as (fd, name):
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        is_ours = found.st_mode == stat.S_IFREG | 0o600 and found.st_uid == os.geteuid() and found.st_blocks * 512 >= found.st_size
        return str(found.st_size) if is_ours else f"{stat.filemode(found.st_mode)} of user {found.st_uid}, {found.st_blocks * 512} of {found.st_size} bytes"

    def make_swap_file(self, path: str, size: int) -> None:
        """All of it allocated, and on disk before it has its name."""
        with self._own_parent(path) as (fd, name):
            temporary = f".{name}.memqos"
            try:
                self.operation("create", path)
                _unlink(temporary, fd)
                file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE, 0o600, dir_fd=fd)
                try:
                    self.operation("allocate", path)
                    os.posix_fallocate(file, 0, size)
                    os.fsync(file)
                finally:
                    os.close(file)
                self.operation("command", f"mkswap {path}")
                self._run(("mkswap", f"{self.root.rstrip('/')}{path[: -len(name)]}{temporary}"))
                self.operation("rename", path)
                os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
            except (OSError, Unreadable):
                with contextlib.suppress(OSError):
                    _unlink(temporary, fd)
                raise
            self._sync(fd, path)

    def swap(self, verb: str, *units: str) -> None:
        """C(start) or C(stop)."""
        self.operation("command", f"{verb} {units[0]}")
        self._run(("systemctl", verb, "--", *(_checked(unit, _SWAP_UNIT) for unit in units)), timeout=_SWAP_SECONDS)

    def close(self) -> None:
        """The connection to systemd, which the next question opens again."""
        if self._bus:
            self._bus.close()

    def _systemd(self) -> Bus:
        if self._bus is None:
            from ._bus import Bus  # most runs have no unit to set

            self._bus = Bus(self.root.rstrip("/") if self._command or self.root == "/" else None)
        return self._bus

    def _systemctl(self, *arguments: str) -> str:
        return self._run(("systemctl", *arguments))

    def _run(self, argv: t.Sequence[str], timeout: float = ANSWER_SECONDS) -> str:
        self.close()  # lest systemd keep signals for us while we wait
        if self._command:
            return self._command(list(argv))
        if self.root != "/":
            raise Refused(argv[0], f"{self.root} is not the live node")
        return Tree("/").output("", argv, timeout=timeout)

    # Ways to a file

    def _own(self, path: str) -> None:
        if not path.startswith((*_OURS, self.state + "/")) and path not in _FILES and not _SWAP_FILE.fullmatch(path):
            raise Refused(path, "is not below a directory that this collection writes")

    @contextlib.contextmanager
    def _own_parent(self, path: str, up: int = 0) -> t.Iterator[t.Tuple[int, str]]:
        self._own(path)
        with self._parent(path.rsplit("/", up)[0] if up else path, is_guarded=_SWAP_FILE.fullmatch(path) is not None) as found:
            yield found

    @contextlib.contextmanager
    def _kernel_parent(self, path: str, inode: int) -> t.Iterator[t.Tuple[int, str]]:
        if not path.startswith(self._kernel):
            raise Refused(path, "is not below /proc/sys, /sys or a cgroup mount")
        if path.startswith("/sys/block/") and os.path.islink(self.root + path.rpartition("/")[0]):
            path = path.replace("/sys/block/", "/sys/devices/virtual/block/", 1)  # where the kernel's own links lead for zram
        with self._parent(path) as (fd, name):
            if inode and os.fstat(fd).st_ino != inode:
                raise Replaced(path, "another cgroup has this path now")
            yield fd, name

    @contextlib.contextmanager
    def _parent(self, path: str, *, is_guarded: bool = False) -> t.Iterator[t.Tuple[int, str]]:
        """(descriptor of the directory, name in it)"""
        directory, unused, name = path.rpartition("/")
        fd = self._directory(directory, is_guarded=is_guarded)
        try:
            yield fd, _component(name, path)
        finally:
            os.close(fd)

    def _directory(self, path: str, *, is_guarded: bool = False) -> int:
        """C(is_guarded): raises Refused if anybody but root can write to one of them."""
        fd = os.open(self.root, _DIRECTORY)
        try:
            for name in path.split("/")[1:] if path != "/" else ():
                child = os.open(_component(name, path), _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = child
                found = os.fstat(fd)
                if is_guarded and (found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022):
                    raise Refused(path, f"is no place for a swap file: others than root can write to its directory {name}")
        except OSError as exc:
            os.close(fd)
            _refuse_link(exc, path, "one of its directories is a symbolic link, or no directory")
            raise
        except Refused:
            os.close(fd)
            raise
        return fd

    def _fill(self, fd: int, path: str, new: File, attributes: t.Mapping[str, bytes]) -> None:
        try:
            self.operation("write", path)
            _write_all(fd, new.text.encode("utf-8", "surrogateescape"))
            if (new.uid, new.gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, new.uid, new.gid)
            for name, value in attributes.items():
                with contextlib.suppress(OSError):
                    os.setxattr(fd, name, value)
            # An ACL has its mask there.
            os.fchmod(fd, new.mode)
            self.operation("sync", path)
            os.fsync(fd)
        finally:
            os.close(fd)

    def _sync(self, fd: int, path: str) -> None:
        self.operation("sync directory", path)
        os.fsync(fd)


class _Way:
    """Open directories, from the root down to the cgroup that was asked for last. That one is opened anew each time: another may have its path by now."""

    def __init__(self, root: str) -> None:
        self._names: t.List[str] = []
        self._fds = [os.open(root, _DIRECTORY)]

    def to(self, path: str) -> int:
        names = path.split("/")[1:]
        same, most = 0, min(len(self._names), len(names) - 1)
        while same < most and names[same] == self._names[same]:
            same += 1
        self._cut(same)
        for name in names[same:]:
            try:
                self._fds.append(os.open(_component(name, path), _DIRECTORY | os.O_NOFOLLOW, dir_fd=self._fds[-1]))
            except OSError as exc:
                _refuse_link(exc, path, "one of its directories is a symbolic link, or no directory")
                raise
            self._names.append(name)
        return self._fds[-1]

    def close(self) -> None:
        self._cut(-1)

    def _cut(self, depth: int) -> None:
        for fd in self._fds[depth + 1 :]:
            os.close(fd)
        del self._fds[depth + 1 :], self._names[max(0, depth) :]


def property_words(unit: str, pairs: t.Iterable[t.Tuple[str, str]]) -> t.List[str]:
    """What systemctl set-property takes. Raises Refused."""
    pieces = [f"{_checked(key, _PROPERTY)}={value}" for key, value in pairs]
    if not all(piece.isprintable() for piece in pieces):
        raise Refused(unit, "a value holds a control character")
    return [_checked(unit, _UNIT), *pieces]


def words(exc: Exception) -> str:
    """An error for people."""
    if isinstance(exc, OSError) and exc.errno:
        return f"{os.strerror(exc.errno)} ({errno.errorcode.get(exc.errno, exc.errno)})"
    return str(exc)


def cure(exc: Exception) -> str:
    """What to do about an error, as a sentence; empty if there is nothing to say."""
    return _CURES.get(getattr(exc, "errno", 0) or 0, "")


def _component(name: str, path: str) -> str:
    if name in ("", ".", "..") or "\0" in name:
        raise Refused(path, "is not a plain path")
    return name


def _opened(name: str, flags: int, directory: int, path: str) -> int:
    try:
        fd = os.open(name, flags | _SAFE, 0o600, dir_fd=directory)
    except OSError as exc:
        _refuse_link(exc, path, "is a symbolic link")
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Refused(path, "is not a regular file")
    return fd


@functools.lru_cache(256)
def _file_names(*names: str) -> t.Tuple[str, ...]:
    """Without a look at what they are: a cgroup has nothing but files."""
    for name in names:
        if "/" in _component(name, name):
            raise Refused(name, "is no name of a file")
    return names


def _line(fd: int, text: t.Optional[str] = None) -> str:
    """What an open file reads from its start, mostly a line, with C(text) written before. Closes it."""
    try:
        if text is not None:
            data = f"{text}\n".encode("utf-8", "surrogateescape")
            if os.write(fd, data) != len(data):
                raise OSError(errno.EIO, "the kernel took only a part")
        data = os.pread(fd, _LINE, 0)
        if len(data) == _LINE or data[-1:] != b"\n":
            os.lseek(fd, 0, os.SEEK_SET)
            data = _read(os.dup(fd))
        return data.decode("utf-8", "surrogateescape").strip()
    finally:
        os.close(fd)


def _attributes(name: str, directory: int) -> t.Dict[str, bytes]:
    """Extended attributes of a file; none where it is absent, or its file system has none."""
    found: t.Dict[str, bytes] = {}
    try:
        fd = os.open(name, os.O_RDONLY | _SAFE, dir_fd=directory)
    except OSError:
        return found
    try:
        for key in os.listxattr(fd):
            if key not in _SIGNATURES:
                found[key] = os.getxattr(fd, key)
    except OSError:
        pass
    finally:
        os.close(fd)
    return found


def _refuse_link(exc: OSError, path: str, reason: str) -> None:
    # With O_DIRECTORY and O_NOFOLLOW a link is ENOTDIR.
    if exc.errno in (errno.ELOOP, errno.ENOTDIR):
        raise Refused(path, reason) from exc


def _checked(text: str, pattern: t.Pattern[str]) -> str:
    if not pattern.fullmatch(text):
        raise Refused(text, "is not a name that systemd gives")
    return text


def _unlink(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def _read(fd: int) -> bytes:
    try:
        data = b""
        while len(data) <= _MAX_FILE:
            part = os.read(fd, 65536)
            if not part:
                return data
            data += part
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    finally:
        os.close(fd)


def _text(fd: int) -> str:
    return _read(fd).decode("utf-8", "surrogateescape").strip()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
