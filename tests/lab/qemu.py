# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""QEMU's command line. Pure: a machine and where its files lie → arguments."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

from .images import ImageFiles
from .machines import Machine

Accelerator = t.Literal["kvm", "tcg"]

# TCG's microvm has no timer that works, so it is q35 for both. By default TCG keeps 1 GiB of translated code, also over a reboot: the new kernel then pays
# for each write to a page that once held code (QEMU 7.2: 30 to 250 s until systemd starts, 5 s with this bound).
ACCELERATION: dict[Accelerator, list[str]] = {"kvm": ["-accel", "kvm", "-cpu", "host"], "tcg": ["-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max"]}
# No udev coldplug in the guest: the interface keeps the kernel's name. Mitigations cost a third under TCG and are not what is tested.
KERNEL_ARGUMENTS = "console=ttyS0 quiet panic=-1 rootfstype=ext4 net.ifnames=0 mitigations=off random.trust_cpu=on systemd.show_status=0"


# What a disk of its own boots by, with a kernel beside it; its root= is the row's to say.
OWN_KERNEL_ARGUMENTS = "console=ttyS0 panic=-1"


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The files of one running machine, in a directory of its own."""

    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "disk.qcow2"

    @property
    def swap(self) -> Path:
        return self.directory / "swap.raw"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def errors(self) -> Path:
        return self.directory / "qemu.log"

    @property
    def pid(self) -> Path:
        return self.directory / "pid"

    @property
    def state(self) -> Path:
        return self.directory / "machine.json"


@dataclasses.dataclass(frozen=True)
class Ram:
    """Guest memory in files C(ram0…) of a directory: written by the machine that a snapshot is made of, only read by those C(restored) from it."""

    directory: Path
    restored: bool


def command_line(machine: Machine, *, name: str, image: ImageFiles, run: RunFiles, accelerator: Accelerator, monitor: int, ram: Ram | None = None) -> list[str]:
    """The whole command; C(monitor) is the file descriptor of QEMU's end.

    The guest reaches nothing but the callers of its SSH (C(restrict=on)), which is on a port that QEMU chooses.
    """
    return [
        "qemu-system-x86_64", "-name", name, *ACCELERATION[accelerator], "-smp", str(machine.cpus), *_memory(machine, ram),
        "-nodefaults", "-no-user-config", "-display", "none", *_beginning(ram),
        "-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control",
        "-serial", f"file:{_escaped(run.console)}", "-pidfile", str(run.pid),
        *_kernel(machine, image),
        *_drive("root", run.disk, image_format="qcow2"),
        *(_drive("swap", run.swap, image_format="raw") if machine.swap_mib else []),
        "-netdev", "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:0-:22", "-device", "virtio-net-pci,netdev=net,romfile=",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip


def _beginning(ram: Ram | None) -> list[str]:
    if ram and ram.restored:
        return ["-incoming", "defer"]
    # A first boot that panics ends; once it is up, a guest may reboot (see vms.py).
    return ["-action", "reboot=shutdown"]


def _kernel(machine: Machine, image: ImageFiles) -> list[str]:
    if not image.kernel:
        return []
    ours = OWN_KERNEL_ARGUMENTS if machine.disk else KERNEL_ARGUMENTS
    initrd = ["-initrd", str(image.initrd)] if image.initrd else []
    return ["-kernel", str(image.kernel), *initrd, "-append", f"{ours} {machine.cmdline}".strip()]


def _drive(drive: str, path: Path, *, image_format: str) -> list[str]:
    # cache=unsafe: a guest's disk is thrown away with it.
    return ["-drive", f"if=none,id={drive},file={_escaped(path)},format={image_format},cache=unsafe,discard=unmap", "-device", f"virtio-blk-pci,drive={drive}"]


def _memory(machine: Machine, ram: Ram | None) -> list[str]:
    size = machine.memory_mib // machine.numa_nodes
    argv = ["-m", f"{machine.memory_mib}M"]
    for node in range(machine.numa_nodes):
        argv += ["-object", _backend(f"ram{node}", size, ram)]
    # One node without -numa: the guest's firmware then has no table of nodes, as on most machines.
    if machine.numa_nodes == 1:
        return ["-machine", "q35,memory-backend=ram0", *argv]
    return ["-machine", "q35", *argv, *_numa(machine)]


def _backend(name: str, size_mib: int, ram: Ram | None) -> str:
    if not ram:
        return f"memory-backend-ram,id={name},size={size_mib}M"
    share = "off" if ram.restored else "on"
    return f"memory-backend-file,id={name},size={size_mib}M,mem-path={_escaped(ram.directory / name)},share={share}"


def _numa(machine: Machine) -> list[str]:
    argv = []
    for node in range(machine.numa_nodes):
        cpus = ",".join(f"cpus={cpu}" for cpu in range(machine.cpus) if cpu % machine.numa_nodes == node)
        argv += ["-numa", ",".join(filter(None, (f"node,nodeid={node},memdev=ram{node}", cpus)))]
    for source in range(machine.numa_nodes):
        for target in range(source + 1, machine.numa_nodes):
            argv += ["-numa", f"dist,src={source},dst={target},val=20"]
    return argv


def _escaped(path: Path) -> str:
    # In QEMU's option lists a comma is doubled.
    return str(path).replace(",", ",,")
