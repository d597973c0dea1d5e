# SPDX-License-Identifier: BSD-2-Clause

"""One reading of a node, live or captured, for the modules that change nothing."""

from __future__ import annotations

import time
import typing as t

from . import _node, _workloads
from ._knobs import _values
from ._read import _cgroupfs, _gather, _knob_values, _oom, _procfs, _sysfs, _systemd
from ._read._files import Tree, display

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Cgroup, Node, Window


SECTIONS = frozenset(("cgroups", "workloads", "details", "oom"))
_NOTHING = _values.Wanted()
_MAX_WINDOW = 60.0
_MAX_TOP = 10000
# The second reading is for finding who pushes; the small ones do not.
_WINDOW_CGROUPS = 500
_TOP_SLABS = 15
_MAX_OOM_LOG = 256 * 1024
_KUBELETS = ("kubelet", "k3s-server", "k3s-agent", "k3s", "kubelite")
_RUNTIMES = ("containerd", "crio", "dockerd", "podman", "conmon", "lxd", "incusd")


class UnusableOption(Exception):
    """The message says what would be right."""


def of_options(params: t.Mapping[str, t.Any], *, wanted: _values.Wanted = _NOTHING, sections: t.Collection[str] = SECTIONS) -> Node:
    """Of what O(root) names. Raises UnusableOption and Unreadable."""
    window = params.get("window", 0.0)
    if not 0 <= window <= _MAX_WINDOW:
        raise UnusableOption(f"window={window:g}: write seconds from 0 (no rates) to {_MAX_WINDOW:g}.")
    tree = Tree(params["root"])
    if not tree.exists("/proc/meminfo"):
        text = "there is no proc/meminfo below it. Name a captured tree with the layout of a node, or / for the node itself."
        raise UnusableOption(f"root={params['root']}: {text}")
    top = params.get("top", 1)
    if not 1 <= top <= _MAX_TOP:
        raise UnusableOption(f"top={top}: keep 1 to {_MAX_TOP} cgroups of each part.")
    return read(tree, window_seconds=window, monotonic=time.monotonic, sleep=time.sleep, wanted=wanted, sections=sections)


def read(
    tree: Tree,
    *,
    window_seconds: float,
    monotonic: t.Callable[[], float],
    sleep: t.Callable[[float], None],
    wanted: _values.Wanted = _NOTHING,
    sections: t.Collection[str] = SECTIONS,
) -> Node:
    """C(sections), the knobs in C(wanted), and what C(_node.read) reads. A captured tree has no window."""
    reader = _node.Reader(tree)
    started = monotonic()
    node, hierarchy = _node.read(reader)
    node["knobs"], unknown = _knob_values.read_knob_values(tree, wanted.knobs)
    reader.unknown.update(unknown)
    node["cgroups"] = []
    if "cgroups" in sections:
        node["cgroups"], unknown = _cgroupfs.walk(tree, hierarchy, vendor_files=wanted.vendor_files)
        reader.unknown.update(unknown)
    if "workloads" in sections and node["cgroups"]:
        _workloads.identify(node["cgroups"], _workloads.read_pod_names(tree, cgroups=node["cgroups"]))
        if "MemTotal" in node["meminfo"]:
            _workloads.read_requests(tree, hierarchy, node["cgroups"], capacity=node["meminfo"]["MemTotal"])
    if "details" in sections:
        _details(reader, node)
    if wanted.files:
        node["gathered"] = _gather.gather(tree, wanted.files)
        node["applied"] = reader.take("applied", lambda: _gather.read_applied(tree))
    if "oom" in sections:
        _kills(reader, node)
    if window_seconds and tree.live:
        node["window"] = _window(reader, node, hierarchy, window_seconds, monotonic, sleep)
        node["window"]["seconds"] = monotonic() - started
    return node


def _details(reader: _node.Reader, node: Node) -> None:
    tree, take = reader.tree, reader.take
    page_size = node["facts"]["page_size"]
    node["details"].update(_sysfs.read_details(tree))
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


def _kills(reader: _node.Reader, node: Node) -> None:
    tree, take = reader.tree, reader.take
    oom = node["oom"] = {"log": "", "lost": False, "processes": [], "names": {}}
    log = take("oom", lambda: _oom.read_log(tree))
    if log is not None:
        oom["log"], oom["lost"] = display(_oom.select_oom(log[0], limit=_MAX_OOM_LOG)), log[1]
    processes = take("processes", lambda: _oom.read_processes(tree, page_size=node["facts"]["page_size"]))
    if processes is not None and processes["count"]:
        node["programs"] = processes["programs"]
        oom["processes"] = processes["top"]
        # With hidepid an ordinary user sees its own processes only, and never init.
        if tree.exists("/proc/1/comm"):
            node["facts"]["kubelet"] = any(name in processes["comms"] for name in _KUBELETS)
            node["facts"]["container_runtimes"] = [name for name in _RUNTIMES if name in processes["comms"]]
    _workloads.name_programs(node["cgroups"], node.get("programs", {}))
    named = {cgroup["path"]: cgroup["name"] for cgroup in node["cgroups"] if cgroup.get("kind") in ("pod", "container") and cgroup.get("name")}
    # Without a report only the processes' own cgroups and their pods are needed.
    used = {path for process in oom["processes"] for path in (process.get("cgroup", ""), process.get("cgroup", "").rpartition("/")[0])}
    oom["names"] = named if oom["log"].count("\n") > 1 else {path: name for path, name in named.items() if path in used}


def _window(
    reader: _node.Reader, node: Node, hierarchy: _cgroupfs.Hierarchy, seconds: float, monotonic: t.Callable[[], float], sleep: t.Callable[[float], None]
) -> Window:
    """Of the largest cgroups a pair of readings: the walk takes too long to be one. What grew between them is added to the walk's values."""
    largest = sorted(node["cgroups"], key=lambda cgroup: -cgroup.get("usage", 0))[:_WINDOW_CGROUPS]
    paths = [cgroup["path"] for cgroup in largest if cgroup["path"] != "/"]
    began = monotonic()
    before = _cgroupfs.sample(reader.tree, hierarchy, paths)
    sleep(max(0.0, seconds - (monotonic() - began)))
    seconds = monotonic() - began
    after = _cgroupfs.sample(reader.tree, hierarchy, paths)
    moved = {
        cgroup["path"]: _moved(cgroup, before[cgroup["path"]], after[cgroup["path"]])
        for cgroup in largest
        if cgroup["path"] in before and cgroup["path"] in after
    }
    vmstat = reader.take("vmstat, second reading", lambda: _procfs.read_vmstat(reader.tree)) or {}
    return {"vmstat": vmstat, "cgroup_seconds": seconds, "cgroups": moved}


def _moved(cgroup: Cgroup, before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    moved: dict[str, t.Any] = {}
    if "usage" in cgroup and "usage" in before and "usage" in after:
        moved["usage"] = cgroup["usage"] + after["usage"] - before["usage"]
    for space in ("stat", "events"):
        now = t.cast("t.Mapping[str, t.Any]", cgroup).get(space, {})
        one, two = before.get(space, {}), after.get(space, {})
        moved[space] = {key: now[key] + two[key] - one[key] for key in now if key in one and key in two}
    return moved
