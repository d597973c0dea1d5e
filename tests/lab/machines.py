# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machines of the lab, one row each. A new kernel world is a new row."""

from __future__ import annotations

import dataclasses

CGROUP_V1 = "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1"


class LabError(Exception):
    """Something an operator can mend; the message says what and how."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    """What a disk image is made from: machines that agree in these share it."""

    suite: str
    flavour: str
    packages: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """One kind of machine. C(memory_mib) is divided evenly among C(numa_nodes); C(swap_mib) is a swap disk of that size, 0 for none."""

    name: str
    suite: str
    flavour: str = "full"
    cmdline: str = ""
    memory_mib: int = 1024
    cpus: int = 1
    numa_nodes: int = 1
    swap_mib: int = 0
    packages: tuple[str, ...] = ()

    @property
    def image(self) -> Image:
        return Image(suite=self.suite, flavour=self.flavour, packages=self.packages)


# The full kernel, not the cloud one: only it has zswap. cgroup v1 needs Debian 12: the memory controller of v1 is not in Debian 13's kernel.
MACHINES: tuple[Machine, ...] = (
    Machine(name="debian13_v2", suite="trixie", swap_mib=256),
    Machine(name="debian12_v2", suite="bookworm", swap_mib=256),
    Machine(name="debian12_v1", suite="bookworm", swap_mib=256, cmdline=CGROUP_V1),
    # Another program that writes kernel settings, at work.
    Machine(name="debian12_tuned", suite="bookworm", swap_mib=256, packages=("tuned",)),
)


def machine_named(name: str) -> Machine:
    """The row of C(name). Raises LabError naming the machines that exist."""
    for machine in MACHINES:
        if machine.name == name:
            return machine
    known = ", ".join(machine.name for machine in MACHINES)
    raise LabError(f"no machine named {name!r}; the lab has: {known}")
