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
import time
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

    @contextlib.contextmanager
    def locked(self, name: str) -> collections.abc.Iterator[None]:
        """One run at a time; the lock goes with the process that holds it."""
        path = self.root / "lock" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress(name, "another run works on it, waiting")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield


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
