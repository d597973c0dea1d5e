# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service whose answers wait for memory, and the probe that asks it. For guests of the lab, with Python 3.8 and nothing else.

A request takes memory for its answer, reads blocks of a file and writes to pages of a heap, both at random. Requests are due at a fixed rate, whether earlier
ones are answered or not, and a request's latency counts from when it was due: what a client would have waited. One that is not begun within a second is
given up.

Appends one line a request to --log: the time (CLOCK_MONOTONIC) and the latency in microseconds, or C(-) for one given up. Ends by a signal.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import tempfile
import time
import typing as t

MIB = 1 << 20
BLOCK = 1 << 14
ANSWER = 1 << 18
PATIENCE_SECONDS = 1.0
_PAGE = mmap.PAGESIZE


class WorkingSet:
    """Page cache and anonymous memory, of which each request uses a part; all of it once in C(turn) requests on average."""

    def __init__(self, *, file_mib: int, heap_mib: int, turn: int, directory: str) -> None:
        # Each MiB alike, but none that zswap or zram makes smaller.
        block = os.urandom(MIB)
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115  # it lives as long as the service
        for _number in range(file_mib):
            self._file.write(block)
        # Dirty pages cannot be reclaimed, and read-ahead would fetch what nobody asked for.
        os.fdatasync(self._file.fileno())
        os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        self._heap = mmap.mmap(-1, heap_mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for number in range(heap_mib):
            self._heap[number * MIB : (number + 1) * MIB] = block
        self._blocks, self._pages = file_mib * MIB // BLOCK, heap_mib * MIB // _PAGE
        self.reads, self.writes = -(-self._blocks // turn), -(-self._pages // turn)
        # The same requests at every start.
        self._random = random.Random(1)

    def request(self) -> None:
        below, file, heap = self._random.random, self._file.fileno(), self._heap
        with mmap.mmap(-1, ANSWER, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as answer:
            for offset in range(0, ANSWER, _PAGE):
                answer[offset] = 1
        for _number in range(self.reads):
            os.pread(file, BLOCK, int(below() * self._blocks) * BLOCK)
        for _number in range(self.writes):
            heap[int(below() * self._pages) * _PAGE] = 1


def serve(
    request: t.Callable[[], None], *, rate: float, log: t.Callable[[str], object], clock: t.Callable[[], float], sleep: t.Callable[[float], None]
) -> None:
    """Never returns."""
    due = clock()
    while True:
        wait = due - clock()
        if wait > 0:
            sleep(wait)
        if clock() - due > PATIENCE_SECONDS:
            log(f"{clock():.3f} -\n")
        else:
            request()
            now = clock()
            log(f"{now:.3f} {(now - due) * 1e6:.0f}\n")
        due += 1 / rate


def main() -> None:
    parser = argparse.ArgumentParser(prog="service.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file-mib", type=int, required=True)
    parser.add_argument("--heap-mib", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--turn-seconds", type=float, required=True, help="in which the whole working set is used once, on average")
    parser.add_argument("--directory", default="/var/tmp", help="of the file (default: /var/tmp)")
    parser.add_argument("--log", required=True)
    options = parser.parse_args()
    turn = round(options.rate * options.turn_seconds)
    memory = WorkingSet(file_mib=options.file_mib, heap_mib=options.heap_mib, turn=turn, directory=options.directory)
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    serve(memory.request, rate=options.rate, log=lambda line: os.write(log, line.encode()), clock=time.monotonic, sleep=time.sleep)


if __name__ == "__main__":
    main()
