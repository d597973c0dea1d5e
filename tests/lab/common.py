# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every part of the lab shares: the cache's layout, progress lines, commands that may fail."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

from .machines import LabError

GUEST_SCRIPTS = Path(__file__).resolve().parent / "guest"
# The programs and the Debian package of each.
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "depmod": "kmod",
    "mkfs.ext4": "e2fsprogs",
    "mkswap": "util-linux",
    "zstd": "zstd",
    "xz": "xz-utils",
    "ssh": "openssh-client",
}
BOOT_PROGRAMS = ("qemu-system-x86_64", "qemu-img", "busybox", "cpio", "mkswap", "ssh")
# Root's own directories: an ordinary user's PATH lacks them.
SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
# Held shared by whoever starts or builds machines: what they use is not pruned meanwhile.
IN_USE = "cache"
GIVEN_UP = "given up, for another machine failed or the run was interrupted"
_LOCK_POLL_SECONDS = 0.1
_NEVER = threading.Event()
_STARTED = time.monotonic()


@dataclasses.dataclass(frozen=True)
class Cache:
    """Where images, keys and running machines lie."""

    root: Path

    @classmethod
    def from_environment(cls, environ: collections.abc.Mapping[str, str]) -> Cache:
        given = environ.get("MEMQOS_LAB_CACHE")
        base = Path(given) if given else Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memqos-lab"
        return cls(base.expanduser().absolute())

    @property
    def key(self) -> Path:
        return self.root / "id_ed25519"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def image(self, image_id: str) -> Path:
        return self.root / "images" / image_id

    def log(self, name: str) -> Path:
        return self.root / "log" / f"{name}.log"

    def snapshot(self, snapshot_id: str) -> Path:
        return self.root / "snapshots" / snapshot_id

    @contextlib.contextmanager
    def locked(self, name: str, *, shared: bool = False, cancel: threading.Event | None = None) -> collections.abc.Iterator[None]:
        """One run at a time, or all those that share it; the lock goes with the process that holds it. Raises LabError when cancelled."""
        path = self.root / "lock" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as handle:
            waiting = False
            while not _try_lock(handle, shared=shared):
                if not waiting:
                    progress(name, "another run works on it, waiting")
                waiting = True
                if (cancel or _NEVER).wait(_LOCK_POLL_SECONDS):
                    raise LabError(f"{name}: {GIVEN_UP}")
            yield

    @contextlib.contextmanager
    def locked_if_free(self, name: str) -> collections.abc.Iterator[bool]:
        """Whether nobody else held the lock, and so we do."""
        path = self.root / "lock" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as handle:
            yield _try_lock(handle, shared=False)


def _try_lock(handle: t.IO[str], *, shared: bool) -> bool:
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def mark_used(directory: Path) -> None:
    """Its time of change is when it was last of use (see prune)."""
    with contextlib.suppress(OSError):
        os.utime(directory)


def progress(subject: str, words: str) -> None:
    """One line with the seconds since the start, on stderr: stdout is for what a caller parses."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {subject}: {words}", file=sys.stderr, flush=True)


def missing_programs(names: collections.abc.Iterable[str]) -> list[str]:
    """The Debian packages of those programs that are not installed, sorted."""
    return sorted({PROGRAMS[name] for name in names if not shutil.which(name, path=SEARCH_PATH)})


def require_programs(names: collections.abc.Iterable[str]) -> None:
    """Raises LabError with the command that installs what is missing."""
    packages = missing_programs(names)
    if packages:
        raise LabError(
            f"the lab needs Debian packages that are not installed here: {' '.join(packages)}\n"
            f"install them with: sudo apt-get install --no-install-recommends {' '.join(packages)}"
        )


def run_logged(argv: collections.abc.Sequence[str], *, log: Path, environ: collections.abc.Mapping[str, str] | None = None) -> None:
    """Run a command with its output in C(log). Interrupted, it ends the command and waits for it. Raises LabError with the log's end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as handle:
        env = {**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C", **(environ or {})}
        with subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=handle, stderr=handle, env=env) as process:
            try:
                status = process.wait()
            except BaseException:
                # mmdebstrap unmounts what it mounted when it is asked to end.
                process.terminate()
                process.wait()
                raise
    if status:
        raise LabError(f"{argv[0]} failed with status {status}; the end of {log}:\n{tail(log)}")


def tail(path: Path, *, lines: int = 40) -> str:
    """The last lines of a text file, or a note that there is none."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as exc:
        return f"(no {path.name}: {exc.strerror})"
    return "\n".join(text.splitlines()[-lines:]) or f"({path.name} is empty)"
