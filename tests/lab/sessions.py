# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run of one of the lab's programs, and a machine for as long as it needs it."""

from __future__ import annotations

import collections.abc
import contextlib
import os
import signal
import sys
import threading
import typing as t

from . import prune, snapshots, vms
from .common import IN_USE, Cache, progress
from .machines import LabError, Machine
from .vms import State, Vm


def run(work: t.Callable[[Cache], int]) -> int:
    """The exit status that a program of the lab ends with: that of its work; 1 with a message for what can be mended; 130 after a Ctrl-C."""
    # As after a Ctrl-C: what is starting or runs is ended in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cache = Cache.from_environment(os.environ)
    try:
        vms.sweep(cache)
        return work(cache)
    except LabError as exc:
        print(f"lab: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130


@contextlib.contextmanager
def booted(machine: Machine, cache: Cache, *, purpose: str) -> collections.abc.Iterator[State]:
    """However the run ends, the machine is stopped. Raises LabError."""
    vm = Vm(f"{purpose}-{os.getpid()}", cache)
    with cache.locked(IN_USE, shared=True):
        try:
            yield snapshots.start(vm, machine, cold=False, cancel=threading.Event())
        finally:
            vm.stop()
            progress(machine.name, "down")
    prune.bound(cache)
