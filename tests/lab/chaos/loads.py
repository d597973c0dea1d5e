# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Loads, as children of the driver: each goes into a cgroup and stays there until it is ended."""

from __future__ import annotations

import mmap
import os
import signal
import time
import typing as t

from . import table

CACHE = "/var/tmp/memqos-chaos.cache"
_DIRTY = "/var/tmp/memqos-chaos.dirty"
_BLOCK = 1 << 20
# So much a second, of what grows, is read, and is written.
_GROWS, _READS, _WRITES = 4, 25, 10


def prepare() -> None:
    """A file whose pages are in nobody's cgroup."""
    with open(CACHE, "wb") as stream:
        for unused in range(200):
            stream.write(os.urandom(4096) * (_BLOCK // 4096))
        stream.flush()
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def start(kind: str, mib: int, cgroup: str) -> int:
    """The process; it has what it begins with when this returns."""
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(ready)
            for name, word in ((f"{cgroup}/cgroup.procs", str(os.getpid())), ("/proc/self/oom_score_adj", "1000")):
                with open(name, "w", encoding="ascii") as stream:
                    stream.write(word)
            _LOADS[kind](mib, lambda: os.close(told))
        finally:
            os._exit(1)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    return child


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _hold(memory: mmap.mmap, begin: int, end_: int) -> None:
    for at in range(begin * _BLOCK, end_ * _BLOCK, mmap.PAGESIZE):
        memory[at] = 1


def _holder(mib: int, ready: t.Callable[[], None]) -> None:
    memory = mmap.mmap(-1, mib * _BLOCK)
    _hold(memory, 0, mib)
    ready()
    while True:
        time.sleep(60)


def _grower(mib: int, ready: t.Callable[[], None]) -> None:
    memory = mmap.mmap(-1, mib * _BLOCK)
    half = mib * 2 // 3
    _hold(memory, 0, half)
    ready()
    while True:
        time.sleep(1)
        more = min(mib, half + _GROWS)
        _hold(memory, half, more)
        half = more


def _reader(mib: int, ready: t.Callable[[], None]) -> None:
    file = os.open(CACHE, os.O_RDONLY)
    first = True
    while True:
        begun = time.monotonic()
        for block in range(mib):
            os.pread(file, _BLOCK, block * _BLOCK)
            if not first:
                time.sleep(max(0.0, begun + block / _READS - time.monotonic()))
        if first:
            ready()
        first = False


def _dirty(mib: int, ready: t.Callable[[], None]) -> None:
    file = os.open(_DIRTY, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.unlink(_DIRTY)
    block, first = b"x" * _BLOCK, True
    while True:
        begun = time.monotonic()
        for at in range(mib):
            os.pwrite(file, block, at * _BLOCK)
            if not first:
                time.sleep(max(0.0, begun + at / _WRITES - time.monotonic()))
        if first:
            ready()
        first = False


_LOADS: dict[str, t.Callable[[int, t.Callable[[], None]], None]] = {"holder": _holder, "reader": _reader, "grower": _grower, "dirty": _dirty}
assert set(_LOADS) == set(table.LOADS)
