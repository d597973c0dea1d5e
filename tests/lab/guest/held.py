# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory of several kinds in one process: anonymous pages that stay or grow, a file that is read or rewritten without end. For guests of the lab.

Prints C(ready) when what it holds from the start is there. Ends by a signal.
"""

from __future__ import annotations

import argparse
import mmap
import os
import tempfile
import time

MIB = 1 << 20
_ROUND_SECONDS = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hold", type=int, default=0, metavar="MIB")
    parser.add_argument("--grow", type=float, default=0.0, metavar="MIB", help="a second, up to --most")
    parser.add_argument("--most", type=int, default=0, metavar="MIB")
    parser.add_argument("--file", type=int, default=0, metavar="MIB")
    parser.add_argument("--read", type=float, default=0.0, metavar="MIB", help="of the file, a second")
    parser.add_argument("--write", type=float, default=0.0, metavar="MIB", help="of the file, a second")
    options = parser.parse_args()
    block = os.urandom(MIB)
    held = mmap.mmap(-1, max(1, options.hold + options.most) * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def fill(first: int, end: int) -> None:
        for number in range(first, end):
            held[number * MIB : (number + 1) * MIB] = block

    with tempfile.TemporaryFile(dir="/var/tmp", buffering=0) as file:
        for unused in range(options.file):
            file.write(block)
        os.fdatasync(file.fileno())
        fill(0, options.hold)
        print("ready", flush=True)
        begun, grown, read, written = time.monotonic(), 0, 0, 0
        while True:
            elapsed = time.monotonic() - begun
            due = min(options.most, int(elapsed * options.grow))
            fill(options.hold + grown, options.hold + due)
            grown = max(grown, due)
            # What a slow machine has not done in time is not made up for.
            for unused in range(min(16, int(elapsed * options.read) - read)):
                os.pread(file.fileno(), MIB, read % options.file * MIB)
                read += 1
            for unused in range(min(16, int(elapsed * options.write) - written)):
                os.pwrite(file.fileno(), block, written % options.file * MIB)
                written += 1
            read, written = max(read, int(elapsed * options.read)), max(written, int(elapsed * options.write))
            time.sleep(_ROUND_SECONDS)


if __name__ == "__main__":
    main()
