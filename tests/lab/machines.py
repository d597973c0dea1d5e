# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machines of the lab, one row each. A new kernel world is a new row."""

from __future__ import annotations

import dataclasses
from pathlib import Path

CGROUP_V1 = "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1"
CGROUP_HYBRID = "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=0"

CONTAINERS = ("podman", "crun", "busybox-static")


class LabError(Exception):
    """Something an operator can mend; the message says what and how."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    """What a disk image is made from: machines that agree in these share it."""

    suite: str
    flavour: str
    packages: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disk:
    """An operator's own disk image. Without a kernel of its own beside it, it boots by its boot loader."""

    path: Path
    kernel: Path | None = None
    initrd: Path | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """One kind of machine, from a Debian suite or from an operator's own disk.

    C(memory_mib) is divided evenly among C(numa_nodes); C(swap_mib) is a swap disk of that size, 0 for none.
    C(user) and C(identity_file) open the guest; no file: the lab's own key.
    """

    name: str
    suite: str = ""
    flavour: str = "full"
    cmdline: str = ""
    memory_mib: int = 1024
    cpus: int = 1
    numa_nodes: int = 1
    swap_mib: int = 0
    packages: tuple[str, ...] = ()
    disk: Disk | None = None
    user: str = "root"
    identity_file: str | None = None

    @property
    def image(self) -> Image:
        return Image(suite=self.suite, flavour=self.flavour, packages=self.packages)

    @property
    def origin(self) -> str:
        return str(self.disk.path) if self.disk else self.suite


@dataclasses.dataclass(frozen=True, kw_only=True)
class RealMachine:
    """A machine that runs already, somewhere. The lab only logs in; no identity file: as ssh is configured."""

    name: str
    address: str
    port: int = 22
    user: str = "root"
    identity_file: str | None = None


# The full kernel, not the cloud one: only it has zswap. cgroup v1 needs Debian 12: the memory controller of v1 is not in Debian 13's kernel.
MACHINES: tuple[Machine, ...] = (
    Machine(name="debian13_v2", suite="trixie", swap_mib=256),
    Machine(name="debian12_v2", suite="bookworm", swap_mib=256),
    Machine(name="debian12_v1", suite="bookworm", swap_mib=256, cmdline=CGROUP_V1),
    Machine(name="debian12_hybrid", suite="bookworm", swap_mib=256, cmdline=CGROUP_HYBRID),
    # Another program that writes kernel settings, at work.
    Machine(name="debian12_tuned", suite="bookworm", swap_mib=256, packages=("tuned", "strace")),
    Machine(name="debian11", suite="bullseye", swap_mib=256),
    # There mount(8) is no longer essential.
    Machine(name="forky", suite="forky", swap_mib=256, packages=("mount",)),
    Machine(name="numa", suite="trixie", swap_mib=256, cpus=2, numa_nodes=2),
    Machine(name="containers", suite="trixie", swap_mib=256, packages=CONTAINERS),
    Machine(name="containers12", suite="bookworm", swap_mib=256, packages=CONTAINERS),
    Machine(name="containers12_v1", suite="bookworm", swap_mib=256, cmdline=CGROUP_V1, packages=CONTAINERS),
)
