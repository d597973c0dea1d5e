# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a trace of strace says that a program changed. Pure: text → paths."""

from __future__ import annotations

import posixpath
import re
import typing as t

CALLS = (
    "open", "openat", "openat2", "creat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "symlink", "symlinkat", "link",
    "linkat", "mknod", "mknodat", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "truncate", "ftruncate", "setxattr",
    "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr", "utimensat", "utime", "utimes", "futimesat", "mount", "umount2", "pivot_root",
    "chroot", "swapon", "swapoff", "init_module", "finit_module", "delete_module", "sethostname", "settimeofday", "clock_settime", "reboot", "kill", "bpf",
)  # fmt: skip
# Never, whatever the arguments.
_NEVER = ("mount", "umount2", "pivot_root", "chroot", "swapon", "swapoff", "init_module", "finit_module", "delete_module", "sethostname", "settimeofday",
          "clock_settime", "reboot", "kill", "bpf")  # fmt: skip
# Of a file that is open.
_OPEN_FILE = ("fchmod", "fchown", "ftruncate", "fsetxattr", "fremovexattr")
_OPENING = ("open", "openat", "openat2", "creat")
_WRITING = re.compile(r"O_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND)")
_LINE = re.compile(r"^\d+ +(\w+)\((.*)$")
# AT_FDCWD</root>, 5</etc/sysctl.d>, "name"
_DESCRIPTOR = re.compile(r"(?:AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>")
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')

# By hand, and not taken from the code that it is to bound. The journal, what lasts, what systemd keeps for the time of this boot.
ROOTS = ("/var/lib/memqos/", "/etc/sysctl.d/", "/etc/tmpfiles.d/", "/etc/systemd/system/", "/run/systemd/system.control/")
PLACES = ("/var/lib/memqos", "/etc/tmpfiles.d", "/run/systemd/system.control", "/dev/null", "/dev/tty")
# Ansible's own: the module's zip, unpacked for the time of the call, and a file by which Python's tempfile sees where it may write.
_SCRATCH = re.compile(r"/tmp/(?:ansible_memqos\.fleet\.\w+_payload_[^/]+(?:/.*)?|[a-z0-9_]{8})")


class Change(t.NamedTuple):
    call: str
    path: str

    def __str__(self) -> str:
        return f"{self.call} {self.path}"


def changes(trace: str) -> list[Change]:
    """All that was tried, whether it succeeded or not, each once."""
    found: dict[Change, None] = {}
    for line in trace.splitlines():
        match = _LINE.match(line)
        if match and match[1] in CALLS:
            found.update(dict.fromkeys(_changes(match[1], match[2])))
    return list(found)


def _changes(call: str, arguments: str) -> t.Iterator[Change]:
    if call in _NEVER:
        yield Change(call, arguments.partition(")")[0])
    elif call not in _OPENING or call == "creat" or _WRITING.search(_WORD.sub("", arguments)):
        yield from (Change(call, path) for path in _paths(call, arguments))


def _paths(call: str, arguments: str) -> t.Iterator[str]:
    """Each name with the directory that stands before it; of a descriptor alone, what it is open on."""
    if call in ("symlink", "symlinkat"):
        arguments = _WORD.sub("", arguments, count=1)  # what it leads to
    base, named = "/", False
    for match in re.finditer(f"{_DESCRIPTOR.pattern}|{_WORD.pattern}", arguments):
        if match[1] is not None:
            base = match[1]
            if call in _OPEN_FILE or (call == "utimensat" and "NULL" in arguments):
                yield base
                return
            continue
        named = True
        yield posixpath.normpath(posixpath.join(base, match[2]))
        if "xattr" in call:
            return  # the attribute's name
    if not named and base != "/":
        yield base


def elsewhere(found: t.Iterable[Change], kernel_files: t.Collection[str]) -> list[Change]:
    """Those that are neither files of the registry (C(kernel_files)) nor ours."""
    return [change for change in found if change.call in _NEVER or not _is_ours(change.path, kernel_files)]


def _is_ours(path: str, kernel_files: t.Collection[str]) -> bool:
    return path in kernel_files or path in PLACES or path.startswith(ROOTS) or bool(_SCRATCH.fullmatch(path))
