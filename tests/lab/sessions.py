# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine for as long as a run needs it."""

from __future__ import annotations

import collections.abc
import contextlib
import os
import threading

from . import prune, snapshots
from .common import IN_USE, Cache, progress
from .machines import Machine
from .vms import State, Vm


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
