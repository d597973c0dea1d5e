# SPDX-License-Identifier: BSD-2-Clause

"""The workloads of this node: its cgroups, what its runtimes say of them, the pods of the controller, the inventory."""

from __future__ import annotations

import typing as t

from . import _resources, _workloads
from ._read import _containers
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Cgroup, Declared
    from ._read._cgroupfs import Hierarchy
    from ._read._files import Tree

_TOLD = ("container", "pod", "namespace", "pod_uid")


class Residents(NamedTuple):
    """C(joined): docs/containers.md; C(unread): {source: why it could not be read}; C(notes): what of them was left out."""

    joined: _resources.Joined
    unread: dict[str, str]
    notes: list[str]


def read(
    tree: Tree,
    hierarchy: Hierarchy,
    cgroups: t.Sequence[Cgroup],
    *,
    capacity: int,
    pods: t.Sequence[t.Mapping[str, t.Any]] = (),
    declared: t.Sequence[Declared] = (),
) -> Residents:
    """C(cgroups): as walked; they are identified here. C(capacity): MemTotal. Never raises.

    Asks only runtimes that have a container here which C(pods) have not: of all others the list says more.
    """
    listed = _resources.settled(pods)
    names = _workloads.read_pod_names(tree, cgroups=cgroups, known=listed)
    _workloads.identify(cgroups, names)
    others = [cgroup for cgroup in cgroups if cgroup.get("container_id") not in listed or "qos_class" not in cgroup]
    told = _containers.read(tree, **_whom(tree, others), known={*names.containers, *listed})
    for container_id, one in told.containers.items():
        known = t.cast("dict[str, t.Any]", names.containers.setdefault(container_id, {}))
        for key in _TOLD:
            if key in one:
                known.setdefault(key, one[key])  # type: ignore[literal-required]
    if told.containers:
        _workloads.identify(cgroups, names)
    _workloads.read_requests(tree, hierarchy, others, capacity=capacity)
    joined = _resources.join(cgroups, capacity=capacity, told=told.containers, pods=pods, declared=declared)
    return Residents(joined, told.unread, [*told.notes, *joined.notes])


def _whom(tree: Tree, cgroups: t.Iterable[Cgroup]) -> dict[str, bool]:
    """Those of root alone: what users run is seen by its cgroups. A cgroup with nothing but an id can be Docker's, where there is one.

    A pod's sandbox, if its files call it one, is asked for by nobody.
    """
    here = [cgroup for cgroup in cgroups if cgroup.get("kind") == "container" and cgroup.get("container") != "POD" and "/user.slice/" not in cgroup["path"]]
    runtimes = {cgroup.get("runtime", "" if "qos_class" in cgroup else "any") for cgroup in here}
    docker = "docker" in runtimes or ("any" in runtimes and tree.exists(_containers.DOCKER_SOCKET))
    return {"cri": any("qos_class" in cgroup for cgroup in here), "docker": docker, "podman": "podman" in runtimes}
