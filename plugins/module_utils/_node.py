# SPDX-License-Identifier: BSD-2-Clause

"""What every reading of a node begins with."""

from __future__ import annotations

import typing as t

from ._read import _cgroupfs, _procfs, _sysfs, _systemd
from ._read._files import Tree, Unreadable

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Node


T = t.TypeVar("T")


class Reader:
    """Reads section by section; what cannot be read goes into C(unknown) with its reason."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.unknown: dict[str, str] = {}
        self.absent: set[str] = set()

    def take(self, what: str, read: t.Callable[[], T]) -> T | None:
        try:
            return read()
        except Unreadable as exc:
            self.unknown[what] = f"{exc.path}: {exc.reason}"
            if exc.kind == "absent":
                self.absent.add(what)
            return None


def read(reader: Reader) -> tuple[Node, _cgroupfs.Hierarchy]:
    """C(meminfo vmstat zones pressure swaps numa facts), and what these need of C(details). Raises Unreadable without /proc/meminfo."""
    tree, take = reader.tree, reader.take

    def pressure(resource: str) -> t.Any:
        return take(f"pressure.{resource}", lambda: _procfs.read_pressure(tree, resource))

    pressures = ((resource, pressure(resource)) for resource in ("memory", "io", "cpu"))
    node: Node = {
        "meminfo": _procfs.read_meminfo(tree),
        "vmstat": take("vmstat", lambda: _procfs.read_vmstat(tree)) or {},
        "zones": take("zones", lambda: _procfs.read_zoneinfo(tree)) or [],
        "pressure": {resource: pressure for resource, pressure in pressures if pressure},
        "swaps": take("swaps", lambda: _procfs.read_swaps(tree)) or [],
        "numa": take("numa", lambda: _sysfs.read_numa(tree)) or [],
        "details": _sysfs.read_telling(tree),
        "unknown": reader.unknown,
    }
    hierarchy = _cgroupfs.detect(tree, take("mounts", lambda: _procfs.read_mountinfo(tree)) or [])
    node["facts"] = {**_facts(reader, node), "hierarchy": hierarchy.kind}
    if hierarchy.reason:
        reader.unknown["cgroups"] = hierarchy.reason
    if hierarchy.kind != "none":
        node["facts"].update(memory_version=hierarchy.version, memory_recursiveprot=hierarchy.recursiveprot)
    return node, hierarchy


def _facts(reader: Reader, node: Node) -> dict[str, t.Any]:
    tree, take, meminfo = reader.tree, reader.take, node["meminfo"]
    total = meminfo.get("SwapTotal")
    facts: dict[str, t.Any] = {
        "page_size": take("page_size", lambda: _procfs.read_page_size(tree)) or 4096,
        "kernel": take("kernel", lambda: _procfs.read_kernel(tree)),
        "hostname": take("hostname", lambda: tree.read_text("/proc/sys/kernel/hostname")),
        "boot_id": take("boot_id", lambda: _procfs.read_boot_id(tree)),
        "uptime_seconds": take("uptime", lambda: _procfs.read_uptime(tree)),
        "architecture": take("architecture", lambda: _procfs.read_architecture(tree)),
        "cpus": take("cpus", lambda: _procfs.read_cpus(tree)),
        "numa_nodes": len({zone["node"] for zone in node["zones"]}) or None,
        "systemd": take("systemd", lambda: _systemd.read_version(tree)),
        # Absent is "this kernel does not measure it"; a file that cannot be read is not known.
        "psi": True if "memory" in node["pressure"] else False if "pressure.memory" in reader.absent else None,
        "swap_total_bytes": total,
        "swap_used_bytes": total - meminfo["SwapFree"] if total is not None and "SwapFree" in meminfo else None,
        "vmap_stack": take("vmap_stack", lambda: _procfs.read_vmap_stack(tree)),
        "memory_reserved_bytes": take("iomem", lambda: _procfs.read_iomem(tree) - meminfo.get("MemTotal", 0)),
    }
    facts.update(_sysfs_facts(node["details"]))
    return {name: value for name, value in facts.items() if value is not None}


def _sysfs_facts(details: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    zswap = details.get("zswap", {}).get("parameters", {})
    return {
        "mglru": bool(details.get("mglru", {}).get("enabled")),
        "zram": bool(details.get("zram")),
        "zswap_enabled": zswap.get("enabled") == "Y",
        "zswap_zpool": zswap.get("zpool"),
    }
