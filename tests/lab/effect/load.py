# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The standard load: a service that answers, and batch work beside it, in shares of the machine's memory. Pure: memory → units of systemd.

With what the system itself has, service and batch work want a little more memory than there is, before a file that is read again and again takes what page
cache is left. Nothing has to be killed: without swap, too, all anonymous memory fits.
"""

from __future__ import annotations

import dataclasses
import shlex

DIRECTORY = "/run/memqos-effect"
REQUESTS = f"{DIRECTORY}/requests"
SERVICE_SLICE, BATCH_SLICE = "latency.slice", "batch.slice"
SERVICE = "memqos-service"

# Of memory. Batch work's anonymous memory is half of it at its peaks.
SERVICE_FILE, SERVICE_HEAP = 0.18, 0.18
HOG, BURST, SCAN = 0.33, 0.17, 0.40
# Of memory, a second.
HOG_TOUCH, SCAN_RATE = 0.033, 0.05
BURST_SECONDS = 6.0
REQUESTS_PER_SECOND = 20.0
# In which the service uses all of its working set once, on average.
TURN_SECONDS = 10.0
# What it answers late shall be due to memory, not to the processor, which it gets first (guest/prefer.sh).
SERVICE_NICE, BATCH_NICE = -10, 5
# Longer than any run.
_FOREVER = 3600


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unit:
    """A program as a transient service."""

    name: str
    slice: str
    nice: int
    argv: tuple[str, ...]

    @property
    def output(self) -> str:
        return f"{DIRECTORY}/{self.name}.out"

    def start(self) -> str:
        """The shell's command line. What the OOM killer takes comes back after a second."""
        properties = {
            # On v1 a unit has a cgroup of its own only so.
            "MemoryAccounting": "yes",
            "Nice": self.nice,
            "Restart": "always",
            "RestartSec": 1,
            "StandardOutput": f"append:{self.output}",
        }
        options = [f"--property={name}={value}" for name, value in properties.items()]
        return shlex.join(["systemd-run", "--quiet", f"--unit={self.name}", f"--slice={self.slice}", *options, *self.argv])


def units(memory_bytes: int) -> tuple[Unit, ...]:
    """Service, scan, hog, burst: those that write files first, while there is room."""

    def mib(share: float) -> str:
        return str(round(share * memory_bytes / (1 << 20)))

    service = (
        "python3", f"{DIRECTORY}/service.py", "--file-mib", mib(SERVICE_FILE), "--heap-mib", mib(SERVICE_HEAP), "--rate", f"{REQUESTS_PER_SECOND:g}",
        "--turn-seconds", f"{TURN_SECONDS:g}", "--log", REQUESTS,
    )  # fmt: skip
    return (
        Unit(name=SERVICE, slice=SERVICE_SLICE, nice=SERVICE_NICE, argv=service),
        _batch("scan", "--mib", mib(SCAN), "--rate", mib(SCAN_RATE)),
        _batch("hog", "--mib", mib(HOG), "--touch", mib(HOG_TOUCH)),
        _batch("burst", "--mib", mib(BURST), "--every", f"{BURST_SECONDS:g}"),
    )


def _batch(tool: str, *arguments: str) -> Unit:
    argv = ("python3", f"{DIRECTORY}/pressure.py", tool, "--seconds", str(_FOREVER), *arguments)
    return Unit(name=f"memqos-{tool}", slice=BATCH_SLICE, nice=BATCH_NICE, argv=argv)
