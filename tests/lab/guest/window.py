# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel counts in some seconds: of the node and of cgroups, as the files are; and what was logged meanwhile. For guests of the lab, with Python 3.8.

Prints one JSON object: C({seconds, before, after, requests}); before and after are C({vmstat, pressure, cgroups: {path: {file: text}}, tools: {path: line}}).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
import typing as t

CGROUP_FILES = ("memory.stat", "memory.pressure", "memory.events", "memory.current", "memory.usage_in_bytes")
V1_MOUNT = "/sys/fs/cgroup/memory"
V2_MOUNT = "/sys/fs/cgroup"


def read(path: str) -> str | None:
    with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
        return file.read()
    return None


def last_line(path: str) -> str:
    lines = (read(path) or "").split("\n")[:-1]  # behind the last newline is half a line
    return lines[-1] if lines else ""


def counters(mount: str, cgroups: t.Sequence[str], tools: t.Sequence[str]) -> dict[str, t.Any]:
    files = {cgroup: {name: read(f"{mount}/{cgroup}/{name}") for name in CGROUP_FILES} for cgroup in cgroups}
    return {
        "vmstat": read("/proc/vmstat"),
        "pressure": read("/proc/pressure/memory"),
        "cgroups": {cgroup: {name: text for name, text in found.items() if text is not None} for cgroup, found in files.items()},
        "tools": {path: last_line(path) for path in tools},
    }


def between(lines: t.Iterable[str], start: float, end: float) -> list[str]:
    """What follows the time, of lines that were written within."""
    rows = [line.split() for line in lines]
    return [row[1] for row in rows if len(row) == 2 and start <= float(row[0]) < end]


def main() -> None:
    parser = argparse.ArgumentParser(prog="window.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--cgroup", action="append", default=[], metavar="PATH", help="below the mount of the memory controller")
    parser.add_argument("--tool", action="append", default=[], metavar="FILE", help="what a pressure tool prints")
    parser.add_argument("--requests", required=True, metavar="FILE", help="the log of service.py")
    options = parser.parse_args()
    mount = V1_MOUNT if os.path.isdir(V1_MOUNT) else V2_MOUNT
    # Once for nothing: what has to be read from disk for it is read. Both times are those of a reading's begin, for one can take seconds here.
    counters(mount, options.cgroup, options.tool)
    start, before = time.monotonic(), counters(mount, options.cgroup, options.tool)
    time.sleep(max(0.0, start + options.seconds - time.monotonic()))
    end, after = time.monotonic(), counters(mount, options.cgroup, options.tool)
    requests = between((read(options.requests) or "").splitlines(), start, end)
    print(json.dumps({"seconds": end - start, "before": before, "after": after, "requests": requests}))


if __name__ == "__main__":
    main()
