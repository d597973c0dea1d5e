# SPDX-License-Identifier: BSD-2-Clause

"""What a cgroup is, what it is called and what memory it asked for."""

from __future__ import annotations

import json
import re
import typing as t
from contextlib import suppress
from itertools import accumulate, chain, islice

from ._read import _oom
from ._read._files import Tree, Unreadable, display
from ._read._procfs import number, read_mountinfo
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ._read._cgroupfs import Cgroup, Hierarchy


class PodNames(NamedTuple):
    """C(containers): {container id: …}; C(pods): {pod UID: (namespace, name)}."""

    containers: dict[str, Cgroup]
    pods: dict[str, tuple[str, str]]


_ID = "[0-9a-f]{64}"
_FULL_ID = re.compile(_ID)
_UID = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"
_KUBEPODS = re.compile(r"kubepods|(?:.+-)?kubepods\.slice")
_QOS = re.compile(r"(burstable|besteffort)|(?:.+-)?kubepods-(burstable|besteffort)\.slice")
_POD = re.compile(rf"(?:(?:.+-)?kubepods(?:-burstable|-besteffort)?-)?pod({_UID})(?:\.slice)?")
_CONTAINER = re.compile(rf"(?:(cri-containerd|crio|docker|libpod|pouch|nerdctl)-)?({_ID})(?:\.scope)?")
_CONMON = re.compile(rf"(crio|libpod)-conmon-({_ID})(?:\.scope)?")
_LIBPOD_POD = re.compile(rf"(?:.+-)?libpod_pod_({_ID})(?:\.slice)?")
_LXC = re.compile(r"lxc\.(payload|monitor)\.(.+)", re.DOTALL)
_LXC_DIRECTORIES = {"lxc.monitor": "monitor", "lxc": "payload", "lxc.payload": "payload"}
_USER = re.compile(r"user-[0-9]{1,10}\.slice")
_NSPAWN = re.compile(r"systemd-nspawn@(.+)\.service", re.DOTALL)
_MACHINE = re.compile(r"machine-(.+)\.scope", re.DOTALL)
_UNIT_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_QOS_CLASS = {"burstable": "Burstable", "besteffort": "BestEffort"}
_RUNTIME = {"cri-containerd": "containerd", "nerdctl": "containerd", "crio": "cri-o", "libpod": "podman", "docker": "docker", "pouch": "pouch"}
_UNIT_KINDS = ("slice", "service", "scope")
# What a container has of its pod, and a nested cgroup of its container.
_OF_POD = ("qos_class", "pod_uid", "namespace", "pod", "runtime")
_OF_CONTAINER = (*_OF_POD, "container", "container_id", "image")
_LOG_DIRECTORY = re.compile(r"([^_]+)_([^_]+)_([^_]+)")
_LOG_FILE = re.compile(rf"([^_]+)_([^_]+)_(.+)-({_ID})\.log")
_MAX_JSON = 4 * 1024 * 1024
_MAX_CONTAINERS = 20000
_DOCKER = "/var/lib/docker/containers"
_STORAGE = "/var/lib/containers/storage/overlay-containers"
_HOME_STORAGE = ".local/share/containers/storage/overlay-containers"
# No network server, autofs or FUSE can hang these.
_LOCAL = frozenset(("", *"bcachefs btrfs ext2 ext3 ext4 f2fs overlay tmpfs xfs zfs".split()))
_ROOTLESS = re.compile(rf"/user\.slice/user-([0-9]+)\.slice/(?:.*/)?libpod-({_ID})", re.DOTALL)
_PASSWD = re.compile(r"^(?:[^:\n]*:){2}([0-9]+):(?:[^:\n]*:){2}((?:/[^:/\n]+)+)/*:", re.MULTILINE)
_BUNDLES = ("/run/containerd/io.containerd.runtime.v2.task", "/run/k3s/containerd/io.containerd.runtime.v2.task",
            "/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task")  # fmt: skip
# Annotations of containerd's CRI plug-in, cri-dockerd, CRI-O and nerdctl.
_NOTES = {
    "namespace": ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace", "io.kubernetes.cri-o.Namespace"),
    "pod": ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name", "io.kubernetes.cri-o.KubeName"),
    "pod_uid": ("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"),
    "container": ("io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"),
    "image": ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"),
}
# kubelet: oom_score_adj = 1000 − ⌊1000 × request ÷ capacity⌋, cut to 3…999 (pkg/kubelet/qos/policy.go).
_TELLING_ADJ = range(4, 999)
ESTIMATED = "oom_score_adj (±0.1 % of memory)"


def identify(cgroups: t.Sequence[Cgroup], names: PodNames) -> None:
    """Adds C(kind name) and what else of C(_shapes.Cgroup) is known; C(request) of Burstable: C(read_requests)."""
    known = _Known(names)
    for cgroup in cgroups:
        cgroup.update(known.of(cgroup["path"]))
        _add_request(cgroup)


class _Known:
    def __init__(self, names: PodNames) -> None:
        self._names = names
        self._by_path: dict[str, Cgroup] = {"/": {"kind": "root", "name": "/"}, "": {"kind": "root", "name": "/"}}

    def of(self, path: str) -> Cgroup:
        todo = []
        while path not in self._by_path:
            todo.append(path)
            path = path[: path.rfind("/")] if "/" in path else ""
        above = self._by_path[path]
        for below in reversed(todo):
            above = self._by_path[below] = _identity(below[below.rfind("/") + 1 :], above, self._names)
        return above


def _identity(base: str, above: Cgroup, names: PodNames) -> Cgroup:
    """Given what the parent is; the first rule that fits decides."""
    for rule in (_kubernetes, _container, _lxc, _machine, _unit):
        found = rule(base, above, names)
        if found is not None:
            return found
    nested: Cgroup = {"kind": "cgroup", "name": base}
    _complete(nested, above, _OF_CONTAINER)
    return nested


def _complete(found: t.Any, source: t.Any, keys: t.Iterable[str]) -> None:
    for key in keys:
        if key in source and key not in found:
            found[key] = source[key]


def _kubernetes(base: str, above: Cgroup, names: PodNames) -> Cgroup | None:
    if _KUBEPODS.fullmatch(base):
        return {"kind": "qos", "name": base}
    if above["kind"] != "qos":
        return None
    match = _QOS.fullmatch(base)
    if match:
        return {"kind": "qos", "name": base, "qos_class": _QOS_CLASS[match.group(1) or match.group(2)]}
    match = _POD.fullmatch(base)
    if match is None:
        return None
    uid = match.group(1).replace("_", "-")
    pod: Cgroup = {"kind": "pod", "name": f"pod {uid}", "pod_uid": uid, "qos_class": above.get("qos_class", "Guaranteed")}
    if uid in names.pods:
        pod["namespace"], pod["pod"] = names.pods[uid]
        pod["name"] = "/".join(names.pods[uid])
    return pod


def _container(base: str, above: Cgroup, names: PodNames) -> Cgroup | None:
    if "container_id" in above:  # a container's own cgroups can have any name
        return None
    match = _CONMON.fullmatch(base)
    if match:
        return {"kind": "scope", "name": f"conmon of {match.group(2)[:12]}", "runtime": _RUNTIME[match.group(1)]}
    match = _LIBPOD_POD.fullmatch(base)
    if match:
        return {"kind": "pod", "name": f"pod {match.group(1)[:12]}", "pod_uid": match.group(1), "runtime": "podman"}
    match = _CONTAINER.fullmatch(base)
    if match:
        runtime, container_id = _RUNTIME.get(match.group(1) or ""), match.group(2)
    elif base in names.containers:
        runtime, container_id = None, base  # ctr run DEFAULT-NAMESPACE/any-name
    else:
        return None
    found: Cgroup = {"kind": "container", "name": container_id[:12], "container_id": container_id}
    if runtime is None and above.get("name") == "docker":
        runtime = "docker"
    if runtime is not None:
        found["runtime"] = runtime
    _complete(found, above, _OF_POD if above["kind"] == "pod" else ())
    named = names.containers.get(container_id, {})
    _complete(found, named, named)
    if "pod" in found or "container" in found:
        found["name"] = "/".join(part for part in (found.get("namespace"), found.get("pod"), found.get("container", found["name"])) if part)
    return found


def _lxc(base: str, above: Cgroup, names: PodNames) -> Cgroup | None:
    match = _LXC.fullmatch(base)
    role, name = match.groups() if match else (_LXC_DIRECTORIES.get(above.get("name", "")), base)
    if role is None:
        return None
    if role == "monitor":
        return {"kind": "cgroup", "name": f"monitor of {name}", "runtime": "lxc"}
    return {"kind": "lxc", "name": name, "container": name, "runtime": "lxc"}


def _machine(base: str, above: Cgroup, names: PodNames) -> Cgroup | None:
    match = _NSPAWN.fullmatch(base) or (_MACHINE.fullmatch(base) if above.get("name") == "machine.slice" else None)
    if not match:
        return None
    name = _UNIT_ESCAPE.sub(lambda escape: chr(int(escape.group(1), 16)), match.group(1))
    if match.re is _MACHINE:
        return {"kind": "scope", "name": name, "runtime": "machined"}
    return {"kind": "container", "name": name, "container": name, "runtime": "systemd-nspawn"}


def _unit(base: str, above: Cgroup, names: PodNames) -> Cgroup | None:
    if "container_id" in above or "container" in above:  # systemd inside a container
        return None
    if _USER.fullmatch(base):
        return {"kind": "user", "name": base}
    kind = base.rpartition(".")[2] if "." in base else ""
    return {"kind": kind, "name": base} if kind in _UNIT_KINDS else None


def _qos_of_container(cgroup: Cgroup) -> str | None:
    return cgroup.get("qos_class") if cgroup.get("kind") == "container" and cgroup.get("container") != "POD" else None


def _add_request(cgroup: Cgroup) -> None:
    qos, limit = _qos_of_container(cgroup), cgroup.get("limit")
    if qos == "Guaranteed" and limit is not None:
        cgroup["request"], cgroup["request_source"] = limit, "guaranteed: request = limit"
    elif qos == "BestEffort":
        cgroup["request"], cgroup["request_source"] = 0, "best effort: no request"


def read_requests(tree: Tree, hierarchy: Hierarchy, cgroups: t.Iterable[Cgroup], *, capacity: int) -> None:
    """Of Burstable containers, from the oom_score_adj that kubelet gives their first process. None with a cut value."""
    for cgroup in cgroups:
        if _qos_of_container(cgroup) != "Burstable":
            continue
        adjust = _oom_score_adj(tree, f"{hierarchy.memory}{cgroup['path']}/cgroup.procs")
        if adjust in _TELLING_ADJ:
            # No request is above its limit.
            cgroup["request"] = min(-(-(1000 - adjust) * capacity // 1000), cgroup.get("limit") or capacity)
            cgroup["request_source"] = ESTIMATED


def name_programs(cgroups: t.Iterable[Cgroup], running: t.Mapping[str, t.Sequence[str]]) -> None:
    """Adds C(program) to those that run one whose advice differs: by its processes (C(running): {program: [paths]}), else by image or name."""
    by_path = {path: program for program, paths in running.items() for path in paths}
    for cgroup in cgroups:
        program = by_path.get(cgroup["path"])
        if program is None and cgroup.get("kind") in ("container", "service", "scope", "lxc"):
            program = _oom.program(cgroup.get("image", cgroup["name"]))
        if program:
            cgroup["program"] = program


def _oom_score_adj(tree: Tree, procs: str) -> int:
    pids = tree.read_or_empty(procs, limit=4096).split()
    text = tree.read_or_empty(b"/proc/%s/oom_score_adj" % pids[0]) if pids and pids[0].isdigit() else b""
    return number(text.strip()) or 0


def read_pod_names(tree: Tree, *, cgroups: t.Iterable[Cgroup] = (), known: t.Container[str] = ()) -> PodNames:
    """The first source that has a key decides; rootless Podman's for containers in C(cgroups). Bundles of C(known) ids are not read."""
    found = PodNames({}, {})
    _read_pod_logs(tree, found)
    sources = (_read_bundles(tree, known), _read_docker(tree), _storage(tree.read_or_empty, _STORAGE), _read_rootless(tree, cgroups))
    with suppress(Unreadable):
        for container_id, container in islice(chain(*sources), _MAX_CONTAINERS):
            _complete(found.containers.setdefault(container_id, {}), container, container)
            if {"pod_uid", "namespace", "pod"} <= container.keys():
                found.pods.setdefault(container["pod_uid"], (container["namespace"], container["pod"]))
    return found


def _read_pod_logs(tree: Tree, found: PodNames) -> None:
    """kubelet's NAMESPACE_POD_UID, POD_NAMESPACE_CONTAINER-ID.log."""
    for match in filter(None, map(_LOG_DIRECTORY.fullmatch, tree.names_or_empty("/var/log/pods"))):
        found.pods[match.group(3)] = (match.group(1), match.group(2))
    for match in filter(None, map(_LOG_FILE.fullmatch, tree.names_or_empty("/var/log/containers"))):
        found.containers[match.group(4)] = {"namespace": match.group(2), "pod": match.group(1), "container": match.group(3)}


def _read_bundles(tree: Tree, known: t.Container[str]) -> t.Iterator[tuple[str, Cgroup]]:
    """containerd. Docker's own (namespace moby) are named by Docker."""
    for bundles in _BUNDLES:
        for namespace in tree.names_or_empty(bundles):
            for container_id in tree.names_or_empty(f"{bundles}/{namespace}") if namespace != "moby" else ():
                if container_id in known:
                    continue
                container = parse_bundle(tree.read_or_empty(f"{bundles}/{namespace}/{container_id}/config.json", limit=_MAX_JSON))
                container["runtime"] = "containerd"
                yield container_id, container


def _read_docker(tree: Tree) -> t.Iterator[tuple[str, Cgroup]]:
    for name in filter(_FULL_ID.fullmatch, tree.names_or_empty(_DOCKER)):
        yield name, parse_docker(*(tree.read_or_empty(f"{_DOCKER}/{name}/{file}.json", limit=_MAX_JSON) for file in ("config.v2", "hostconfig")))


def _storage(read: t.Callable[..., bytes], place: str, only: t.Container[str] | None = None) -> t.Iterator[tuple[str, Cgroup]]:
    """Podman and CRI-O; what their bundles say counts first."""
    for container_id, container in parse_storage(read(f"{place}/containers.json", limit=_MAX_JSON)):
        if only is None or container_id in only:
            yield container_id, {**container, **parse_bundle(read(f"{place}/{container_id}/userdata/config.json", limit=_MAX_JSON))}


def _read_rootless(tree: Tree, cgroups: t.Iterable[Cgroup]) -> t.Iterator[tuple[str, Cgroup]]:
    """What a user writes can be a trap; it tells nothing of pods, nor of others' containers."""
    owned = {match.groups() for match in map(_ROOTLESS.match, (cgroup["path"] for cgroup in cgroups)) if match}
    mounts = {mount["mount_point"]: mount["fs_type"] for mount in read_mountinfo(tree)} if owned else {}

    def read(path: str, *, limit: int) -> bytes:
        with suppress(Unreadable):
            if {mounts.get(above, "") for above in accumulate(path.split("/"), "{}/{}".format)} <= _LOCAL:
                return tree.read_plain(path, limit=limit)
        return b""

    for uid, home in _PASSWD.findall(display(tree.read_or_empty("/etc/passwd", limit=_MAX_JSON))) if owned else ():
        ids = {container_id for user, container_id in owned if user == uid}
        for container_id, container in _storage(read, f"{home}/{_HOME_STORAGE}", ids) if ids else ():
            yield container_id, t.cast("Cgroup", {key: value for key, value in container.items() if key not in _OF_POD[:-1]})


def parse_bundle(data: bytes) -> Cgroup:
    loaded = _load(data)
    notes = _dict(loaded, "annotations")
    found = _reservation(_dict(_dict(_dict(loaded, "linux"), "resources"), "memory").get("reservation"), "memory reservation")
    found.update(_noted(notes))
    if "sandbox" in (notes.get("io.kubernetes.cri.container-type"), notes.get("io.kubernetes.cri-o.ContainerType")):
        found["container"] = "POD"  # as cAdvisor calls it
        found.pop("image", None)
    return found


def parse_docker(config: bytes, host_config: bytes) -> Cgroup:
    loaded = _load(config)
    settings = _dict(loaded, "Config")
    name = loaded.get("Name")
    found = _reservation(_load(host_config).get("MemoryReservation"), "docker memory reservation")
    found.update(_texts({"runtime": "docker", "container": name.strip("/") if isinstance(name, str) else "", "image": settings.get("Image")}))
    found.update(_noted(_dict(settings, "Labels")))
    return found


def _noted(notes: dict[str, t.Any]) -> Cgroup:
    return _texts({key: next((notes[name] for name in names if notes.get(name)), "") for key, names in _NOTES.items()})


def _texts(found: dict[str, t.Any]) -> Cgroup:
    return t.cast("Cgroup", {key: value for key, value in found.items() if isinstance(value, str) and value})


def _reservation(value: t.Any, source: str) -> Cgroup:
    return {"request": value, "request_source": source} if isinstance(value, int) and value > 0 else {}


def parse_storage(data: bytes) -> list[tuple[str, Cgroup]]:
    """containers.json of containers/storage; CRI-O's metadata names a pod."""
    found: list[tuple[str, Cgroup]] = []
    for row in _load(data, list):
        if not isinstance(row, dict) or not _FULL_ID.fullmatch(str(row.get("id"))):
            continue
        text = row.get("metadata")
        metadata = _load(text.encode("utf-8", "replace")) if isinstance(text, str) else {}
        runtime, name_key = ("cri-o", "metadata-name") if "pod-name" in metadata else ("podman", "name")
        found.append((row["id"], _texts({
            "runtime": runtime, "container": "POD" if metadata.get("pod") is True else metadata.get(name_key), "image": metadata.get("image-name"),
            "pod_uid": metadata.get("uid"), "namespace": metadata.get("namespace"),
        })))  # fmt: skip
    return found


def _load(data: bytes, kind: type = dict) -> t.Any:
    try:
        loaded = json.loads(data)
    except (ValueError, RecursionError):
        return kind()
    return loaded if isinstance(loaded, kind) else kind()


def _dict(loaded: t.Any, key: str) -> dict[str, t.Any]:
    value = loaded.get(key)
    return value if isinstance(value, dict) else {}
