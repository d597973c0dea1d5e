# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts a flavour for as long as somebody needs it, in a process of its own; nothing stays mounted, whoever is killed."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from pathlib import Path

from ..machines import LabError
from .filesystem import FIGURES, READY

_LAB = Path(__file__).resolve().parents[1]
_MOUNT_SECONDS = 60.0
_UNMOUNT_SECONDS = 20.0


class Mounted(t.NamedTuple):
    """C(root): the node's, for Tree and Writer; C(pid): the process that serves it."""

    root: Path
    pid: int

    def figure(self, cgroup: str, **figures: t.Any) -> None:
        """What the kernel measures: see model.Kernel.figure."""
        fd = os.open(f"{self.root}{FIGURES}", os.O_WRONLY)
        try:
            os.write(fd, json.dumps({"cgroup": cgroup, **figures}).encode())
        finally:
            os.close(fd)


@contextlib.contextmanager
def mounted(flavour: str, directory: Path) -> Iterator[Mounted]:
    """A flavour's node below C(directory), ours and there. Raises LabError with what the process said."""
    root = directory / flavour
    root.mkdir()
    argv = [sys.executable, str(_LAB), "vendor", flavour, str(root), "--until-eof"]
    # The pipe on stdin is what it lives by: the kernel closes it with us.
    server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        _wait_until_ready(server)
        yield Mounted(root, server.pid)
    finally:
        _end(server, root)


def _wait_until_ready(server: subprocess.Popen[bytes]) -> None:
    stdout = t.cast("t.IO[bytes]", server.stdout)
    ready, _writable, _failed = select.select([stdout], [], [], _MOUNT_SECONDS)
    if not ready:
        raise LabError(f"nothing was mounted within {_MOUNT_SECONDS:g} s")
    if stdout.readline().decode().strip() != READY:
        server.wait()
        raise LabError(t.cast("t.IO[bytes]", server.stderr).read().decode("utf-8", "replace").strip())


def _end(server: subprocess.Popen[bytes], root: Path) -> None:
    t.cast("t.IO[bytes]", server.stdin).close()
    try:
        server.wait(_UNMOUNT_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    for stream in (server.stdout, server.stderr):
        t.cast("t.IO[bytes]", stream).close()
    if is_mounted(root):
        unmount(root)
    root.rmdir()


def is_mounted(root: Path) -> bool:
    """Whether the kernel lists it: a mount whose process was killed cannot be looked at."""
    return any(line.split(" ")[4] == str(root) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def unmount(root: Path) -> None:
    """A mount that nobody serves."""
    tool = ["umount", "--lazy"] if os.geteuid() == 0 else [shutil.which("fusermount3") or "fusermount", "-u", "-z"]
    subprocess.run([*tool, str(root)], check=True)
