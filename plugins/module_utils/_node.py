# Copyright (c) 2026, memqos.fleet contributors. Private to the collection.
# SPDX-License-Identifier: BSD-2-Clause

"""The snapshot: one reading of a node, live or captured."""

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _values
from ansible_collections.memqos.fleet.plugins.module_utils._read import _cgroupfs, _knob_values, _procfs, _sysfs, _systemd
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable, display

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.plugin_utils._shapes import Cgroup, Node, Window


T = t.TypeVar("T")
SECTIONS = frozenset(("cgroups", "workloads", "details", "oom"))
# The second reading is for finding who pushes; the small ones do not.
_WINDOW_CGROUPS = 500
_TOP_SLABS = 15
_MAX_OOM_LOG = 256 * 1024
_KUBELETS = ("kubelet", "k3s-server", "k3s-agent", "k3s", "kubelite")
_RUNTIMES = ("containerd", "crio", "dockerd", "podman", "conmon", "lxd", "incusd")


class _Reader:
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


class _Clock(t.NamedTuple):
    started: float
    window_seconds: float
    monotonic: t.Callable[[], float]
    sleep: t.Callable[[float], None]


def read(
    tree: Tree,
    *,
    window_seconds: float,
    monotonic: t.Callable[[], float],
    sleep: t.Callable[[float], None],
    wanted: _values.Wanted = _values.Wanted(),
    sections: t.Collection[str] = SECTIONS,
) -> Node:
    """One reading of everything in C(sections) and of the knobs in C(wanted); meminfo, vmstat, zones and pressure always.

    Raises Unreadable without /proc/meminfo.

    With a window, counters are read again C(window_seconds) after the first reading. A captured tree has no second reading.
    """
    reader = _Reader(tree)
    started = monotonic()
    node = _memory(reader, "details" in sections)
    node["facts"] = _facts(reader, node)
    node["knobs"], unknown = _knob_values.read_knob_values(tree, wanted.knobs)
    reader.unknown.update(unknown)
    hierarchy = _hierarchy(reader, node)
    if "cgroups" in sections and hierarchy is not None:
        node["cgroups"], unknown = _cgroupfs.walk(tree, hierarchy, vendor_files=wanted.vendor_files)
        reader.unknown.update(unknown)
    if "workloads" in sections and hierarchy is not None:
        # Not for a tune: it takes long.
        from ansible_collections.memqos.fleet.plugins.module_utils import _workloads

        _workloads.identify(node["cgroups"], _workloads.read_pod_names(tree, cgroups=node["cgroups"]))
        if "MemTotal" in node["meminfo"]:
            _workloads.read_requests(tree, hierarchy, node["cgroups"], capacity=node["meminfo"]["MemTotal"])
    if "details" in sections:
        _details(reader, node)
    if "oom" in sections:
        _oom(reader, node)
    if window_seconds and tree.live:
        _window(reader, node, hierarchy, _Clock(started, window_seconds, monotonic, sleep))
    return node


def _memory(reader: _Reader, whole: bool) -> Node:
    tree, take = reader.tree, reader.take

    def pressure(resource: str) -> t.Any:
        return take(f"pressure.{resource}", lambda: _procfs.read_pressure(tree, resource))

    pressures = ((resource, pressure(resource)) for resource in ("memory", "io", "cpu"))
    return {
        "meminfo": _procfs.read_meminfo(tree),
        "vmstat": take("vmstat", lambda: _procfs.read_vmstat(tree)) or {},
        "zones": take("zones", lambda: _procfs.read_zoneinfo(tree)) or [],
        "buddyinfo": [],
        "pressure": {resource: pressure for resource, pressure in pressures if pressure},
        "swaps": take("swaps", lambda: _procfs.read_swaps(tree)) or [],
        "sockstat": {},
        "slabs": [],
        "tmpfs": [],
        "numa": take("numa", lambda: _sysfs.read_numa(tree)) or [],
        "details": _sysfs.read_details(tree, whole=whole),
        "cgroups": [],
        "units": {},
        "oom": {"log": "", "lost": False, "processes": [], "names": {}},
        "unknown": reader.unknown,
    }


def _facts(reader: _Reader, node: Node) -> dict[str, t.Any]:
    """What kind of node this is. A fact that cannot be told has no key."""
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


def _hierarchy(reader: _Reader, node: Node) -> _cgroupfs.Hierarchy | None:
    hierarchy = _cgroupfs.detect(reader.tree, reader.take("mounts", lambda: _procfs.read_mountinfo(reader.tree)) or [])
    node["facts"]["hierarchy"] = hierarchy.kind
    if hierarchy.reason:
        reader.unknown["cgroups"] = hierarchy.reason
    if hierarchy.kind == "none":
        return None
    node["facts"].update(memory_version=hierarchy.version, memory_recursiveprot=hierarchy.recursiveprot)
    return hierarchy


def _details(reader: _Reader, node: Node) -> None:
    tree, take = reader.tree, reader.take
    page_size = node["facts"]["page_size"]
    node["buddyinfo"] = take("buddyinfo", lambda: _procfs.read_buddyinfo(tree)) or []
    node["sockstat"] = take("sockstat", lambda: _procfs.read_sockstat(tree)) or {}
    node["slabs"] = (take("slabs", lambda: _procfs.read_slabinfo(tree, page_size=page_size)) or [])[:_TOP_SLABS]
    node["tmpfs"] = take("tmpfs", lambda: _procfs.read_tmpfs(tree)) or []
    node["units"] = take("units", lambda: _systemd.read_units(tree)) or {}
    cmdline = take("cmdline", lambda: _procfs.read_cmdline(tree))
    if cmdline is not None:
        node["cmdline"] = cmdline
    tcp_mem = take("tcp_mem", lambda: _procfs.read_protocol_memory(tree, "tcp"))
    if tcp_mem is not None:
        node["tcp_mem"] = tcp_mem


def _oom(reader: _Reader, node: Node) -> None:
    """What the controller needs to tell who was killed and who is next: the log's OOM reports, the first processes by oom_score, names of their cgroups."""
    from ansible_collections.memqos.fleet.plugins.module_utils._read import _kernel_log

    tree, take, oom = reader.tree, reader.take, node["oom"]
    log = take("oom", lambda: _kernel_log.read_log(tree))
    if log is not None:
        oom["log"], oom["lost"] = display(_kernel_log.select_oom(log[0], limit=_MAX_OOM_LOG)), log[1]
    processes = take("processes", lambda: _procfs.read_processes(tree, page_size=node["facts"]["page_size"]))
    if processes is not None and processes["count"]:
        node["commands"] = processes["comms"]
        oom["processes"] = processes["top"]
        # With hidepid an ordinary user sees its own processes only, and never init.
        if tree.exists("/proc/1/comm"):
            node["facts"]["kubelet"] = any(name in processes["comms"] for name in _KUBELETS)
            node["facts"]["container_runtimes"] = [name for name in _RUNTIMES if name in processes["comms"]]
    named = {cgroup["path"]: cgroup["name"] for cgroup in node["cgroups"] if cgroup.get("kind") in ("pod", "container") and cgroup.get("name")}
    # Without a report only the processes' own cgroups and their pods are needed.
    used = {path for process in oom["processes"] for path in (process.get("cgroup", ""), process.get("cgroup", "").rpartition("/")[0])}
    oom["names"] = named if oom["log"].count("\n") > 1 else {path: name for path, name in named.items() if path in used}


def _window(reader: _Reader, node: Node, hierarchy: _cgroupfs.Hierarchy | None, clock: _Clock) -> None:
    """The second reading of counters, and of the largest cgroups a pair of readings: the walk over a large tree takes too long to be one of them.

    What grew between the pair is added to the walk's values, so a rule can hold the window against the snapshot.
    """
    tree = reader.tree
    largest = sorted(node["cgroups"], key=lambda cgroup: -cgroup.get("usage", 0))[:_WINDOW_CGROUPS]
    paths = [cgroup["path"] for cgroup in largest if cgroup["path"] != "/"]
    began = clock.monotonic()
    before = _cgroupfs.sample(tree, hierarchy, paths) if hierarchy is not None else {}
    clock.sleep(max(0.0, clock.window_seconds - (clock.monotonic() - began)))
    seconds = clock.monotonic() - began
    after = _cgroupfs.sample(tree, hierarchy, paths) if hierarchy is not None else {}
    window: Window = {
        "vmstat": reader.take("vmstat, second reading", lambda: _procfs.read_vmstat(tree)) or {},
        "seconds": clock.monotonic() - clock.started,
        "cgroup_seconds": seconds,
        "cgroups": {
            cgroup["path"]: _moved(cgroup, before[cgroup["path"]], after[cgroup["path"]])
            for cgroup in largest
            if cgroup["path"] in before and cgroup["path"] in after
        },
    }
    node["window"] = window


def _moved(cgroup: Cgroup, before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The cgroup's own values plus what they grew by between the two samples."""
    moved: dict[str, t.Any] = {}
    if "usage" in cgroup and "usage" in before and "usage" in after:
        moved["usage"] = cgroup["usage"] + after["usage"] - before["usage"]
    for space in ("stat", "events"):
        now = t.cast("t.Mapping[str, t.Any]", cgroup).get(space, {})
        one, two = before.get(space, {}), after.get(space, {})
        moved[space] = {key: now[key] + two[key] - one[key] for key in now if key in one and key in two}
    return moved
