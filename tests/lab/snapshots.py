# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots: a machine boots once; from then on a clone of it is there in seconds.

The guest's memory lies in a shared file. QEMU stops it and writes the state of its devices; the disks are kept as they are. A clone maps the same memory
copy-on-write and has disks on top of those. All of it fits one QEMU, one machine and one image only, so these are what its name is made from.
"""

from __future__ import annotations

import functools
import hashlib
import subprocess
import threading
from pathlib import Path

from . import accel
from .common import GUEST_SCRIPTS, Cache, mark_used, progress
from .images import files_of
from .machines import LabError, Machine, RealMachine
from .monitor import MonitorError
from .qemu import Ram, RunFiles, command_line
from .vms import Qemu, QemuEndedError, SnapshotFiles, Start, State, Vm

# A file in the place of a snapshot that cannot be, with the reason.
UNUSABLE = "unusable"
_QUIT_SECONDS = 60.0


def start(vm: Vm, machine: Machine | RealMachine, *, cold: bool, cancel: threading.Event) -> State:
    """Bring it up by the quickest way there is; C(cold): by booting it. Raises LabError."""
    with vm.starting(machine, cancel=cancel) as already:
        if already:
            return already
        if isinstance(machine, RealMachine):
            return vm.reach(machine, cancel=cancel)
        origin = origin_of(machine, vm.cache)
        snapshot = None if cold else ensure_snapshot(origin, vm.cache, cancel=cancel)
        if snapshot:
            try:
                return vm.start(Start(machine=machine, image=origin.image, accelerator=origin.accelerator, snapshot=snapshot), cancel=cancel)
            except LabError as exc:
                if cancel.is_set():
                    raise
                _give_up(snapshot.directory, f"it could not be restored: {exc}")
                progress(vm.name, f"its snapshot could not be restored, booting instead: {exc}")
        return vm.start(origin, cancel=cancel)


def origin_of(machine: Machine, cache: Cache) -> Start:
    """What a first boot of this machine starts from; builds the image if need be. Raises LabError."""
    image = files_of(machine, cache)
    return Start(machine=machine, image=image, accelerator=accel.detect(image.kernel, cache))


def snapshot_name(origin: Start) -> str:
    """A name that changes with anything a snapshot depends on: the image, all that QEMU is told, QEMU, our script; under KVM also the processor."""
    ram = Ram(Path(), restored=False)
    told = command_line(origin.machine, name="", image=origin.image, run=RunFiles(Path()), accelerator=origin.accelerator, monitor=0, ram=ram)
    processor = _processor() if origin.accelerator == "kvm" else ""
    parts = [origin.image.identity, told, origin.machine.swap_mib, _qemu_version(), processor, (GUEST_SCRIPTS / "settle.sh").read_bytes()]
    return f"{origin.machine.name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


def ensure_snapshot(origin: Start, cache: Cache, *, cancel: threading.Event) -> SnapshotFiles | None:
    """The snapshot, made if it is not there; None, said, where that cannot be. Raises LabError if the machine does not boot."""
    name = snapshot_name(origin)
    snapshot = SnapshotFiles(directory=cache.snapshot(name))
    if not snapshot.directory.exists():
        with cache.locked(f"snapshot-{name}", cancel=cancel):
            if not snapshot.directory.exists():
                _make(origin, snapshot, cache, cancel=cancel)
    mark_used(snapshot.directory)
    unusable = snapshot.directory / UNUSABLE
    if unusable.exists():
        progress(name, f"no snapshot of it, `prune` lets it be tried again: {unusable.read_text()}")
        return None
    return snapshot


def _make(origin: Start, snapshot: SnapshotFiles, cache: Cache, *, cancel: threading.Event) -> None:
    maker = Vm(f"snapshot-{snapshot.directory.name}", cache)
    maker.stop()
    snapshot.directory.parent.mkdir(parents=True, exist_ok=True)
    files = SnapshotFiles(directory=maker.files.directory)
    try:
        with maker.running(origin, cancel=cancel, ram=Ram(files.directory, restored=False)) as qemu:
            refusal = _freeze(qemu, files, cancel)
    except QemuEndedError as exc:
        # Not every file system can hold a guest's memory.
        if not exc.failed:
            raise
        refusal = str(exc)
    if refusal:
        maker.stop()
        snapshot.directory.mkdir()
        _give_up(snapshot.directory, refusal)
        return
    # All that is left in the directory is the snapshot: one rename puts it in its place.
    for other in (maker.files.pid, maker.files.state, maker.files.console, maker.files.errors):
        other.unlink(missing_ok=True)
    files.directory.rename(snapshot.directory)
    progress(snapshot.directory.name, "snapshot made")


def _freeze(qemu: Qemu, files: SnapshotFiles, cancel: threading.Event) -> str | None:
    """Stop it with all that a clone needs in its directory, or why that is not possible here."""
    try:
        qemu.monitor.save(files.devices, cancel=cancel)
        qemu.monitor.execute("quit")
        qemu.process.wait(_QUIT_SECONDS)
    except (MonitorError, subprocess.TimeoutExpired) as exc:
        if cancel.is_set():
            raise
        return str(exc)
    return None


def _give_up(directory: Path, reason: str) -> None:
    # Those that run on it have it open and keep it.
    for path in directory.iterdir():
        path.unlink()
    (directory / UNUSABLE).write_text(reason)


@functools.cache
def _qemu_version() -> str:
    return subprocess.run(["qemu-system-x86_64", "--version"], stdout=subprocess.PIPE, check=True).stdout.decode()


def _processor() -> str:
    # KVM guests see the host's features.
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))
