# SPDX-License-Identifier: BSD-2-Clause

"""What each workload of a node is and asked for, and who says so: the inventory, the pods that the controller handed over, the runtimes, the kernel.

docs/architecture.md §3.24.
"""

from __future__ import annotations

import re
import typing as t
from fnmatch import fnmatchcase

from . import _memory_qos, _workloads
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Cgroup, Declared, Resident, Told

    Pod = t.Mapping[str, t.Any]  # as _pods makes them

QOS_CLASSES = ("Guaranteed", "Burstable", "BestEffort")
KOORDINATOR_CLASSES = ("LSE", "LSR", "LS", "BE", "SYSTEM")
QOS_LABEL = "koordinator.sh/qosClass"
_MAX_BYTES = 1 << 63
_NAMES = ("name", "runtime", "container_id", "container", "pod_uid", "namespace", "pod", "qos_class")
_CONTAINERS = ("container", "lxc")
_UNITS = ("slice", "service", "scope")
_USERS = "/user.slice/"
_NESTED = re.compile(r"\.(service|scope)/")
# The UID of a static pod is its configuration's hash; that of its mirror in the API is as any other.
_HASH = re.compile("[0-9a-f]{32}")


class Joined(NamedTuple):
    """C(pods): {pod UID: its cgroup's path}; C(gone): pods of the list that have no cgroup here; C(notes): on the lists themselves."""

    workloads: list[Resident]
    pods: dict[str, str]
    gone: int
    notes: list[str]


def join(
    cgroups: t.Sequence[Cgroup],
    *,
    capacity: int,
    told: t.Mapping[str, Told],
    pods: t.Sequence[Pod] = (),
    declared: t.Sequence[Declared] = (),
) -> Joined:
    """C(cgroups): identified, with C(request) as the node tells it. C(told): by container id. Containers in any case, units that C(declared) names, and
    cgroups without a unit whose whole path it says.
    """
    listed = _Listed(pods)
    entries = [checked for checked in (_checked(entry, listed.notes) for entry in declared) if checked]
    exact = {entry["match"] for entry in entries}
    owners = _owners(cgroups)
    found: list[Resident] = []
    for cgroup in cgroups:
        if not (_is_container(cgroup) or cgroup.get("kind") in _UNITS or (cgroup.get("kind") == "cgroup" and cgroup["path"] in exact)):
            continue
        building = _Building(cgroup)
        _hear(building, cgroup, owners, told, listed)
        matching = [entry for entry in entries if _matches(entry, building.of)]
        for entry in matching:
            building.add_declared(entry)
        if _is_container(cgroup) or matching:
            found.append(building.finished(capacity))
    # Podman has pods too, which are in no class of a kubelet.
    paths = {cgroup["pod_uid"]: cgroup["path"] for cgroup in cgroups if cgroup.get("kind") == "pod" and "pod_uid" in cgroup and "qos_class" in cgroup}
    return Joined(found, paths, listed.gone(paths), listed.notes)


def settled(pods: t.Iterable[Pod]) -> frozenset[str]:
    """Ids of the containers whose request the list says."""
    rows = (container for pod in pods if isinstance(pod.get("uid"), str) for container in _containers(pod))
    return frozenset(_id(container) for container in rows if _is_size(container.get("request") or 0)) - {""}


def _is_container(cgroup: Cgroup) -> bool:
    """A pod's sandbox has no memory to speak of."""
    return cgroup.get("kind") in _CONTAINERS and cgroup.get("container") != "POD"


def _owners(cgroups: t.Iterable[Cgroup]) -> dict[str, str]:
    """{container id: path of the cgroup that runtimes speak of}. Users, and containers with cgroups of their own, can name one after somebody else's."""
    owners: dict[str, tuple[bool, str]] = {}
    outer = "//"
    for cgroup in cgroups:  # parents before children
        path, container_id = cgroup["path"], cgroup.get("container_id")
        nested = path.startswith(outer)
        if cgroup.get("kind") in _CONTAINERS and not nested:
            outer = f"{path}/"
        if container_id and _is_container(cgroup) and not path.startswith(_USERS):
            owners[container_id] = min(owners.get(container_id, (nested, path)), (nested, path), key=lambda pair: pair[0])
    return {container_id: path for container_id, (_nested, path) in owners.items()}


def _hear(building: _Building, cgroup: Cgroup, owners: t.Mapping[str, str], told: t.Mapping[str, Told], listed: _Listed) -> None:
    container_id = cgroup.get("container_id", "")
    if owners.get(container_id) == cgroup["path"]:
        if container_id in told:
            building.add_told(told[container_id])
        building.add_pod(*listed.find(cgroup, building.of))
        building.rename()
    elif container_id in owners:
        building.warn(f"another cgroup has its container's id: {owners[container_id]}")


class _Building:
    """What is added later counts for more."""

    def __init__(self, cgroup: Cgroup) -> None:
        self._cgroup = cgroup
        # (class, who says it) of the last declaration that has one.
        self._declared = ("", "")
        self.of: Resident = {"path": cgroup["path"], "kind": cgroup["kind"], "sources": {}, "warnings": []}
        for key in _NAMES:
            if key in cgroup:
                self.of[key] = cgroup[key]  # type: ignore[literal-required]
        if "qos_class" in cgroup:
            self.of["sources"]["qos_class"] = "cgroup path"
        if "limit" in cgroup:
            self._say("limit", cgroup["limit"], "cgroup")
        if "request" in cgroup:
            self._say("request", cgroup["request"], cgroup["request_source"])

    def _say(self, key: str, value: t.Any, source: str) -> None:
        self.of[key] = value  # type: ignore[literal-required]
        self.of["sources"][key] = source

    def warn(self, words: str) -> None:
        self.of["warnings"].append(words)

    def add_told(self, told: Told) -> None:
        source = told["source"]
        own_uid = self._cgroup.get("pod_uid")
        if own_uid and told.get("pod_uid", own_uid) != own_uid:
            self.warn(f"{source} says that it is of another pod ({told['pod_uid']}): nothing of what it says is used")
            return
        for key in ("container", "pod", "namespace", "pod_uid"):
            if key in told and key not in self.of:
                self.of[key] = told[key]
        self._mark(told.get("labels", {}), told.get("annotations", {}), source)
        for key in ("request", "limit"):
            # The cgroup's own is what holds; of a request the files of the node have told.
            if key in told and key not in self.of:
                self._say(key, told[key], source)  # type: ignore[literal-required]

    def rename(self) -> None:
        if "pod" in self.of:
            last = self.of.get("container", self.of.get("container_id", "")[:12])
            self.of["name"] = "/".join(part for part in (self.of.get("namespace"), self.of["pod"], last) if part)

    def _mark(self, labels: t.Mapping[str, str], annotations: t.Mapping[str, str], source: str) -> None:
        self._take_class(labels.get(QOS_LABEL), source)
        if _memory_qos.ANNOTATION in annotations:
            self._take_memory_qos(_memory_qos.annotation, annotations[_memory_qos.ANNOTATION], source)

    def _take_class(self, name: t.Any, source: str) -> None:
        if name in KOORDINATOR_CLASSES:
            self._say("koordinator_class", name, source)
        elif name:
            self.warn(f"{source}: {QOS_LABEL} is none of {', '.join(KOORDINATOR_CLASSES)}: it is ignored")

    def _take_memory_qos(self, read: t.Callable[[t.Any], _memory_qos.Fields], given: t.Any, source: str) -> None:
        try:
            found = read(given)
        except ValueError as exc:
            self.warn(f"{source}: {_memory_qos.ANNOTATION} is ignored: {exc}")
        else:
            self._say("memory_qos", found.fields, source)
            self.of["warnings"] += [f"{source}: {_memory_qos.ANNOTATION}: {words}" for words in found.ignored]

    def add_pod(self, pod: Pod | None, container: Pod | None) -> None:
        if pod is None:
            return
        for key, name in (("namespace", "namespace"), ("pod", "name")):
            if isinstance(pod.get(name), str):
                self.of[key] = pod[name]  # type: ignore[literal-required]
        self._take_class(pod.get("koordinator_class"), "pod list")
        if "memory_qos" in pod:
            self._take_memory_qos(_memory_qos.fields, pod["memory_qos"], "pod list")
        qos = pod.get("qos_class")
        if qos in QOS_CLASSES and qos != self.of.get("qos_class", qos):
            self.warn(f"the pod list says {qos}, its cgroup is a {self.of['qos_class']} pod's: the cgroup counts")
        elif qos in QOS_CLASSES:
            self._say("qos_class", qos, "pod list")
        if container is None:
            self.warn("the pod list has its pod and not this container")
        else:
            self._add_sizes(container, "pod list")

    def _add_sizes(self, sizes: Pod, source: str) -> None:
        """Who has no request requests nothing. No limit leaves the cgroup's, which may come from the pod's."""
        if isinstance(sizes.get("name"), str):
            self.of.setdefault("container", sizes["name"])
        for key in ("request", "limit", "batch_request", "batch_limit"):
            value: t.Any = sizes.get(key)
            if value is not None and not _is_size(value):
                self.warn(f"{source}: {key} is no size in bytes: it is ignored")
            elif value or key == "request":
                if key == "limit" and "limit" in self._cgroup and abs((self._cgroup["limit"] or 0) - value) >= 65536:
                    self.warn(f"{source}: limit {value}, the cgroup has {self._cgroup['limit'] or 'none'}")
                self._say(key, value or 0, source)

    def add_declared(self, entry: Declared) -> None:
        if entry.get("qos_class"):
            self._declared = (entry["qos_class"], entry.get("source", "inventory"))
        for key in ("request", "limit"):
            if key in entry:
                self._say(key, entry[key], "inventory")

    def _take_declared_class(self) -> None:
        name, source = self._declared
        own = self._cgroup.get("qos_class")
        if name in KOORDINATOR_CLASSES:
            self._say("koordinator_class", name, source)
        elif name and own and name != own:
            # Where it lies its pod does, and the kubelet decides that.
            self.warn(f"the {source} says {name}, its cgroup is a {own} pod's: it is taken for Koordinator's {_memory_qos.OF_QOS[name]}")
            self._say("koordinator_class", _memory_qos.OF_QOS[name], source)
        elif name:
            self._say("qos_class", name, source)

    def finished(self, capacity: int) -> Resident:
        self._take_declared_class()
        of = self.of
        if of["sources"].get("request") == _workloads.ESTIMATED:
            of["granularity"] = capacity // 1000
        # A Guaranteed container's request is its limit, whoever told the class or the limit.
        elif "Guaranteed" in (of.get("qos_class"), self._declared[0]) and "request" not in of and of.get("limit"):
            self._say("request", of["limit"], "guaranteed: request = limit")
        if self._declared[0] in ("BE", "BestEffort") and of.get("koordinator_class") == "BE":
            # Koordinator's webhook would have made these of its sizes.
            for ours, key in (("request", "batch_request"), ("limit", "batch_limit")):
                if of.get(ours) and key not in of:
                    self._say(key, of[ours], of["sources"][ours])  # type: ignore[literal-required]
        request, limit = of.get("request"), of.get("limit")
        if request and limit and request > limit:
            self.warn(f"request {request} ({of['sources']['request']}) is above its limit {limit} ({of['sources']['limit']})")
        if request and request > capacity:
            self.warn(f"request {request} is above this node's memory {capacity}")
        return of


class _Listed:
    """The pods of the controller, by what finds them: container id, UID, name. A pod of a file has another UID in its cgroup than in the API."""

    def __init__(self, pods: t.Iterable[Pod]) -> None:
        self.notes: list[str] = []
        self._uids: dict[str, Pod] = {}
        self._names: dict[tuple[str, str], Pod] = {}
        self._ids: dict[str, tuple[Pod, Pod]] = {}
        self._here: set[str] = set()
        for pod in pods:
            uid = pod.get("uid")
            if not isinstance(uid, str) or not uid:
                self.notes.append("pod list: a pod without UID was left out")
            elif uid in self._uids:
                self.notes.append(f"pod list: two pods with the UID {uid}: the first counts")
            else:
                self._uids[uid] = pod
                self._names.setdefault((str(pod.get("namespace")), str(pod.get("name"))), pod)
                for container in _containers(pod):
                    container_id = _id(container)
                    if container_id:
                        self._ids.setdefault(container_id, (pod, container))

    def find(self, cgroup: Cgroup, of: Resident) -> tuple[Pod | None, Pod | None]:
        found: tuple[Pod, Pod | None] | None = self._ids.get(cgroup.get("container_id", ""))
        if found is None and "qos_class" in cgroup:
            pod = self._pod(of)
            # Started anew since the list was made, it has another id and the same name.
            name = of.get("container")
            found = (pod, next((container for container in _containers(pod) if container.get("name") == name), None)) if pod else None
        if found is None:
            return None, None
        self._here.add(found[0]["uid"])
        return found

    def _pod(self, of: Resident) -> Pod | None:
        """By its UID. By its name only a static pod and its mirror are one: what has come under the name of another is another."""
        uid = of.get("pod_uid", "")
        named = self._names.get((of.get("namespace", ""), of.get("pod", "")))
        is_mirror = named is not None and bool(_HASH.fullmatch(uid)) != bool(_HASH.fullmatch(named["uid"]))
        return self._uids.get(uid) or (named if is_mirror else None)

    def gone(self, paths: t.Container[str]) -> int:
        return sum(uid not in self._here and uid not in paths and not pod.get("inactive") for uid, pod in self._uids.items())


def _containers(pod: Pod) -> list[Pod]:
    rows = pod.get("containers")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _id(container: Pod) -> str:
    return str(container.get("id") or "").rpartition("//")[2]


def _is_size(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_BYTES


def _checked(entry: Declared, notes: list[str]) -> Declared | None:
    """Without what cannot be used."""
    checked = t.cast("t.Any", dict(entry))
    match = checked.get("match")
    if not isinstance(match, str) or not match:
        notes.append("inventory: a workload without match was left out")
        return None
    if checked.get("qos_class") not in (None, *QOS_CLASSES, *KOORDINATOR_CLASSES):
        notes.append(f"inventory: {checked.pop('qos_class')!r} of {match} is no QoS class: it is ignored")
    for key in ("request", "limit"):
        if key in checked and not _is_size(checked[key]) and (key, checked[key]) != ("limit", None):
            notes.append(f"inventory: {key} {checked.pop(key)!r} of {match} is no size in bytes: it is ignored")
    return t.cast("Declared", checked)


def _matches(entry: Declared, of: Resident) -> bool:
    """By its name only a unit of the first systemd: anybody can name one of his own so, and so can a container."""
    pattern = entry["match"]
    if pattern.startswith("/"):
        return fnmatchcase(of["path"], pattern)
    nested = of["kind"] in _UNITS and bool(_NESTED.search(of["path"]))
    return not nested and fnmatchcase(of.get("name", ""), pattern)
