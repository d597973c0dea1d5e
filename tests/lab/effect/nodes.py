# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine of the lab in the place of an operator's node, by the node's bundle: which one, how large, with which settings. Pure but for C(read)."""

from __future__ import annotations

import collections.abc
import dataclasses
import fnmatch
import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.module_utils import _shares, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable

from ..machines import CGROUP_HYBRID, CGROUP_V1, LabError, Machine

MIB = 1 << 20
# An emulated guest has to fill it, and the load's files have to fit beside the system on its disk.
MAX_MEMORY_MIB = 1536
MIN_MEMORY_MIB = 512
MIN_SWAP_MIB = 64
SUITE_KERNELS = {"bullseye": (5, 10), "bookworm": (6, 1), "trixie": (6, 12), "forky": (7, 2)}
# Settings of the node that the machine does not get, and why.
LEFT_OUT = {
    "vm.overcommit_*": "the load is not what the node runs",
    "vm.*_reserve_kbytes": "the load is not what the node runs",
    "vm.panic_on_oom": "a panic would end the run",
    "kernel.panic*": "a panic would end the run",
    "vm.nr_*hugepages": "huge page pools are taken off the memory instead",
    "hugepages/*": "huge page pools are taken off the memory instead",
    "ksm/*": "nothing in the load asks for it",
    "damon_*": "what it was told to watch are other addresses here",
}
# Rulers of one thing each; the one that reads 0 does not rule.
_EXCLUSIVE = ("vm.dirty_bytes", "vm.dirty_ratio", "vm.dirty_background_bytes", "vm.dirty_background_ratio")
_SIZES = ("bytes", "kB")


class Node(t.NamedTuple):
    """What matters of a node. C(memory): bytes, without pools of huge pages, which C(pools) are."""

    kernel: str
    hierarchy: str
    memory: int
    pools: int
    swap: int
    zram: bool
    cpus: int
    numa_nodes: int
    knobs: dict[str, t.Any]


class Choice(t.NamedTuple):
    """C(machine) is of the size it shall have; C(factor) of the node's memory. C(differs): one sentence for each difference that is known before it boots."""

    machine: Machine
    factor: float
    differs: tuple[str, ...]


class Settings(t.NamedTuple):
    """C(host): values of an inline profile. C(left_out): settings that differ and stay as they are, by reason."""

    host: dict[str, t.Any]
    left_out: dict[str, list[str]]


def read(tree: Path) -> Node:
    """Of an unpacked bundle. Raises LabError."""
    try:
        found = _snapshot.read(
            Tree(str(tree)), window_seconds=0, monotonic=lambda: 0.0, sleep=lambda _seconds: None, wanted=_registry.wanted(), sections=("details",)
        )
    except Unreadable as exc:
        raise LabError(f"the bundle tells nothing of a node: {exc.path}: {exc.reason}") from exc
    facts, meminfo = found["facts"], found["meminfo"]
    if missing := [key for key in ("kernel", "hierarchy") if not facts.get(key)] + [key for key in ("MemTotal",) if key not in meminfo]:
        raise LabError(f"the bundle does not tell the node's {', '.join(missing)}")
    pools = meminfo.get("Hugetlb", 0)
    return Node(
        facts["kernel"], facts["hierarchy"], meminfo["MemTotal"] - pools, pools, facts.get("swap_total_bytes") or 0, bool(facts.get("zram")),
        facts.get("cpus") or 1, facts.get("numa_nodes") or 1, dict(found["knobs"]),
    )  # fmt: skip


def hierarchy_of(machine: Machine) -> str:
    """What a row's kernel command line makes of Debian's default."""
    words = machine.cmdline
    return "v1" if CGROUP_V1 in words else "hybrid" if CGROUP_HYBRID in words else "v2"


def choose(node: Node, rows: collections.abc.Sequence[Machine]) -> Choice:
    """The row of the same hierarchy with the nearest kernel, in the node's proportions. Raises LabError."""
    fitting = [row for row in rows if row.suite in SUITE_KERNELS and hierarchy_of(row) == node.hierarchy]
    if not fitting:
        raise LabError(f"the lab has no machine with cgroup {node.hierarchy}, which the node has; name one with MACHINE=")
    row = min(
        fitting,
        key=lambda row: (
            distance(_registry.kernel_version(node.kernel), SUITE_KERNELS[row.suite]),
            (row.numa_nodes > 1) != (node.numa_nodes > 1),
            len(row.packages),
        ),
    )
    return fitted(node, row)


def fitted(node: Node, row: Machine) -> Choice:
    """This row in the node's proportions."""
    memory = max(MIN_MEMORY_MIB, min(MAX_MEMORY_MIB, round(node.memory / MIB)))
    factor = memory * MIB / node.memory
    swap = max(MIN_SWAP_MIB, round(node.swap * factor / MIB)) if node.swap else 0
    machine = dataclasses.replace(row, memory_mib=memory // row.numa_nodes * row.numa_nodes, swap_mib=swap)
    return Choice(machine, factor, tuple(_differences(node, machine, factor)))


def distance(one: collections.abc.Sequence[int], other: collections.abc.Sequence[int]) -> int:
    """Releases between two kernels: after 4.20 (nearly), 5.19 and 6.19 came a new first number."""
    major, minor = ((one[index] if len(one) > index else 0) - other[index] for index in (0, 1))
    return abs(20 * major + minor)


def settings(node: Node, guest: Node, factor: float) -> Settings:
    """What a machine needs to be set like the node, where it differs; sizes scaled with memory."""
    host: dict[str, t.Any] = {}
    left_out: dict[str, list[str]] = {}
    for name, value in node.knobs.items():
        wanted = _scaled(name, value, factor)
        if name not in guest.knobs or guest.knobs[name] == wanted or (name in _EXCLUSIVE and not value):
            continue
        if reason := _why_left_out(name):
            left_out.setdefault(reason, []).append(name)
        else:
            host[name] = wanted
    return Settings(host, left_out)


def _scaled(name: str, value: t.Any, factor: float) -> t.Any:
    return max(1, round(value * factor)) if _registry.find(name).unit in _SIZES and isinstance(value, int) and value else value


def _why_left_out(name: str) -> str:
    knob = _registry.find(name)
    if knob.scope != "host" or knob.persist not in ("sysctl.d", "tmpfiles.d"):
        return "not set by a profile"
    return next((reason for pattern, reason in LEFT_OUT.items() if fnmatch.fnmatchcase(name, pattern)), "")


def _differences(node: Node, machine: Machine, factor: float) -> collections.abc.Iterator[str]:
    size = _shares.format_size
    pools = f", without {size(node.pools)} of huge page pools" if node.pools else ""
    yield f"memory {machine.memory_mib} MiB for {size(node.memory)}{pools}: {factor:.3g} of it"
    if node.swap:
        yield f"swap {machine.swap_mib} MiB for {size(node.swap)}" + (", on a disk and not on zram" if node.zram else "")
    if node.cpus != machine.cpus:
        yield f"{machine.cpus} processor{'s' * (machine.cpus > 1)} for {node.cpus}"
    if node.numa_nodes != machine.numa_nodes:
        yield f"{machine.numa_nodes} NUMA node{'s' * (machine.numa_nodes > 1)} for {node.numa_nodes}"
