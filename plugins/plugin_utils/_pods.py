# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Pods as Kubernetes says them → workloads: what of them decides memory values, small enough to hand a node its own as JSON.

C(read(pods)) takes a list of pods, or the object of C(kubectl get pods -A -o json), and gives C(Read(workloads, warnings)); C(by_node(workloads)) sorts them.
A workload is a C(_shapes.Workload), sizes in bytes. What is unknown or not set is not in it. Sums over containers, sidecars, plain init containers, overhead
and pod-level resources are made here, as Kubernetes makes them (component-helpers/resource), so a node needs no quantities and no init containers.

A pod that cannot be used is left out and named in C(warnings). PodsError only where nothing is left of the input.
"""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from ansible_collections.memqos.fleet.plugins.module_utils import _memory_qos
from ansible_collections.memqos.fleet.plugins.plugin_utils import _quantity, _shapes

Json = t.Mapping[str, t.Any]
Workload = _shapes.Workload

CLASSES = ("LSE", "LSR", "LS", "BE", "SYSTEM")
CLASS_LABEL = "koordinator.sh/qosClass"
_MEMORY, _BATCH = "memory", "kubernetes.io/batch-memory"
# The API's UID of a mirror pod is not the one that the kubelet knows, and names the cgroup by: that one is config.hash, which config.mirror repeats.
_MIRROR, _HASH = "kubernetes.io/config.mirror", "kubernetes.io/config.hash"
_SYSTEM_CRITICAL = 2_000_000_000
_QOS_CLASSES = ("Guaranteed", "Burstable", "BestEffort")
# These become parts of a path.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_MOST_WARNINGS = 50


class PodsError(ValueError):
    """Nothing of the input can be used; the message says why, of the first pod by name."""


class Read(t.NamedTuple):
    """What was made of pods; a line each for what was left out, and then for what looked odd."""

    workloads: list[Workload]
    warnings: list[str]


def read(pods: object) -> Read:
    """Linear in the number of pods. Raises PodsError."""
    items = _items(pods)
    left_out: list[str] = []
    warnings: list[str] = []
    found: list[Workload] = []
    for number, pod in enumerate(items):
        named = _named(pod, number)
        try:
            found.append(_workload(pod, named, warnings))
        except ValueError as exc:
            left_out.append(f"{named} is left out: {exc}")
    kept = _one_each(found, left_out)
    if items and not kept:
        raise PodsError(f"none of {len(items)} pods can be used: {left_out[0]}")
    return Read(kept, _few([*left_out, *warnings]))


def by_node(workloads: Iterable[Workload]) -> dict[str, list[Workload]]:
    """Sorted to the nodes that they run on; what is not scheduled yet is nowhere."""
    nodes: dict[str, list[Workload]] = {}
    for workload in workloads:
        if "node" in workload:
            nodes.setdefault(workload["node"], []).append(workload)
    return nodes


def _items(pods: object) -> Sequence[object]:
    if isinstance(pods, Mapping) and isinstance(pods.get("items"), Sequence) and str(pods.get("kind", "List")).endswith("List"):
        pods = pods["items"]
    if not isinstance(pods, Sequence) or isinstance(pods, (str, bytes)):
        raise PodsError("a list of pods is expected, or what `kubectl get pods -A -o json` prints, as an object: use from_json on its text")
    return pods


def _named(pod: object, number: int) -> str:
    metadata = _mapping(pod).get("metadata")
    name, namespace = (_mapping(metadata).get(key, "") for key in ("name", "namespace"))
    return f"pod {namespace}/{name}" if all(isinstance(part, str) and _PART.fullmatch(part) for part in (name, namespace)) else f"item {number}"


def _mapping(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _few(warnings: list[str]) -> list[str]:
    more = len(warnings) - _MOST_WARNINGS
    return [*warnings[:_MOST_WARNINGS], f"and {more} more"] if more > 0 else warnings


def _one_each(found: list[Workload], left_out: list[str]) -> list[Workload]:
    """The same pod twice counts once. Two living pods with one UID on a node would have one cgroup: nobody can say whose values it takes, so neither counts."""
    named = {(workload.get("node"), workload["uid"], workload["namespace"], workload["name"]): workload for workload in found}
    count = Counter((node, uid) for node, uid, _namespace, _name in named)
    living = Counter((node, uid) for (node, uid, _namespace, _name), workload in named.items() if not workload.get("inactive"))
    kept = []
    for (node, uid, namespace, name), workload in named.items():
        if count[node, uid] > 1 and (living[node, uid] != 1 or workload.get("inactive")):
            left_out.append(f"pod {namespace}/{name} is left out: another pod has its UID {uid}")
        else:
            kept.append(workload)
    return kept


def _workload(pod: object, named: str, warnings: list[str]) -> Workload:
    """Raises ValueError."""
    if not isinstance(pod, Mapping) or pod.get("kind", "Pod") != "Pod":
        raise ValueError("it is not a pod")
    metadata, spec, status = (_mapping(pod.get(part)) for part in ("metadata", "spec", "status"))
    annotations, labels = _mapping(metadata.get("annotations")), _mapping(metadata.get("labels"))
    mirror = _MIRROR in annotations
    workload: Workload = {
        "uid": _part((annotations.get(_HASH) or annotations[_MIRROR]) if mirror else metadata.get("uid"), "metadata.uid"),
        "namespace": _part(metadata.get("namespace", "default"), "metadata.namespace"),
        "name": _part(metadata.get("name"), "metadata.name"),
        "qos_class": _qos_class(spec, status),
        "containers": [],
    }
    if spec.get("nodeName"):
        workload["node"] = _part(spec["nodeName"], "spec.nodeName")
    if mirror or _is_critical(spec.get("priority")):
        workload["critical"] = True
    if (status.get("phase") or "Running") not in ("Pending", "Running"):
        workload["inactive"] = True
    if labels.get(CLASS_LABEL) in CLASSES:
        workload["koordinator_class"] = labels[CLASS_LABEL]
    elif CLASS_LABEL in labels:
        warnings.append(f"{named}: there is no class {labels[CLASS_LABEL]!r:.40}, one of {', '.join(CLASSES)}: taken as without")
    _add_memory_qos(workload, annotations, named, warnings)
    _add_resources(workload, spec, status, named, warnings)
    return workload


def _add_memory_qos(workload: Workload, annotations: Json, named: str, warnings: list[str]) -> None:
    if _memory_qos.ANNOTATION not in annotations:
        return
    try:
        found = _memory_qos.annotation(annotations[_memory_qos.ANNOTATION])
    except ValueError as exc:
        warnings.append(f"{named}: its annotation {_memory_qos.ANNOTATION} is ignored: {exc}")
    else:
        workload["memory_qos"] = found.fields
        warnings += [f"{named}: its annotation {_memory_qos.ANNOTATION}: {words}" for words in found.ignored]


def _part(value: object, what: str) -> str:
    if not isinstance(value, str) or not _PART.fullmatch(value):
        raise ValueError(f"its {what} is {value!r:.80}, and no name of Kubernetes'")
    return value


def _is_critical(priority: object) -> bool:
    return isinstance(priority, int) and priority >= _SYSTEM_CRITICAL


def _add_resources(workload: Workload, spec: Json, status: Json, named: str, warnings: list[str]) -> None:
    containers, inits = (_containers(spec, key) for key in ("containers", "initContainers"))
    if not containers:
        raise ValueError("it has no containers")
    ids = _ids(status)
    workload["containers"] = [_container(container, ids) for container in containers]
    for container in inits:
        shown = _container(container, ids)  # one that does not stay is checked, too
        if container.get("restartPolicy") == "Always":
            shown["sidecar"] = True
            workload["containers"].append(shown)
    if not ids and status.get("phase") == "Running":
        warnings.append(f"{named} runs, and its status names no container: only the pod's own values are known")
    overhead = _size(spec.get("overhead"), _MEMORY, "overhead") or 0
    own = _mapping(spec.get("resources"))
    for key in ("requests", "limits"):
        amount = _size(own.get(key), _MEMORY, key)
        total = _aggregate(containers, inits, key) if amount is None else amount
        if total is not None:
            workload[_KEY[key]] = total + overhead
        elif key == "requests" and overhead:
            workload["request"] = overhead
    asked, level = (_size(own.get(key), _MEMORY, key) for key in ("requests", "limits"))
    if asked:
        workload["pod_request"] = asked
    if level:
        workload["pod_limit"] = level
    # The sum of those that there are bounds a pod only where all have one.
    bounded = level or all(_amount(container, "limits") for container in (*containers, *inits))
    if bounded and workload.get("request", 0) > workload.get("limit", _quantity.MAX):
        warnings.append(f"{named}: it requests {workload['request']} bytes, more than its limit of {workload['limit']}")


_KEY: dict[str, t.Literal["request", "limit"]] = {"requests": "request", "limits": "limit"}
_BATCH_KEY: dict[str, t.Literal["batch_request", "batch_limit"]] = {"requests": "batch_request", "limits": "batch_limit"}


def _containers(spec: Json, key: str) -> list[Json]:
    return _mappings(spec, key, "spec")


def _mappings(part: Json, key: str, what: str) -> list[Json]:
    listed = part.get(key) or []
    if not isinstance(listed, Sequence) or not all(isinstance(container, Mapping) for container in listed):
        raise ValueError(f"its {what}.{key} is no list of containers")
    return list(listed)


def _ids(status: Json) -> dict[str, tuple[str, str]]:
    """{name: (runtime, id)}; the first status with an id counts, as in koordlet."""
    found: dict[str, tuple[str, str]] = {}
    for key in ("initContainerStatuses", "containerStatuses"):
        for entry in _mappings(status, key, "status"):
            runtime, separator, container_id = str(entry.get("containerID") or "").strip('"').partition("://")
            if not separator:
                runtime, container_id = "", runtime
            if container_id and _PART.fullmatch(container_id):
                found.setdefault(str(entry.get("name")), (runtime, container_id))
    return found


def _container(container: Json, ids: Mapping[str, tuple[str, str]]) -> _shapes.WorkloadContainer:
    name = _part(container.get("name"), "container's name")
    shown: _shapes.WorkloadContainer = {"name": name}
    if name in ids:
        runtime, shown["id"] = ids[name]
        if runtime:
            shown["runtime"] = runtime
    resources = _mapping(container.get("resources"))
    for key in ("requests", "limits"):
        amount = _size(resources.get(key), _MEMORY, f"{key} of container {name}")
        if amount is not None:
            shown[_KEY[key]] = amount
        batch = _size(resources.get(key), _BATCH, f"{key} of container {name}")
        if batch is not None:
            shown[_BATCH_KEY[key]] = batch
    _check_order(shown)
    return shown


def _check_order(shown: _shapes.WorkloadContainer) -> None:
    """The API server takes no such pod, and every formula is senseless with it."""
    for request, limit in ((shown.get("request", 0), shown.get("limit")), (shown.get("batch_request", 0), shown.get("batch_limit"))):
        if limit and request > limit:  # 0 is no limit
            raise ValueError(f"container {shown['name']} requests {request} bytes, more than its limit of {limit}")


def _size(resources: object, name: str, what: str) -> int | None:
    value = _mapping(resources).get(name)
    if value is None:
        return None
    try:
        return _quantity.size(value)
    except _quantity.QuantityError as exc:
        raise ValueError(f"{name} in its {what}: {exc}") from None


def _aggregate(containers: Iterable[Json], inits: Iterable[Json], key: str) -> int | None:
    """Σ of what runs at once: containers and sidecars, or a plain init container with the sidecars started before it, whichever is more."""
    amounts = [_amount(container, key) for container in containers]
    running = [amount for amount in amounts if amount is not None]
    peaks: list[int] = []
    started: list[int] = []
    for container in inits:
        amount = _amount(container, key)
        if amount is None:
            continue
        if container.get("restartPolicy") == "Always":
            started.append(amount)
            running.append(amount)
            peaks.append(sum(started))
        else:
            peaks.append(sum(started) + amount)
    return max([sum(running), *peaks]) if running or peaks else None


def _amount(container: Json, key: str) -> int | None:
    return _size(_mapping(container.get("resources")).get(key), _MEMORY, f"{key} of container {container.get('name')!s:.80}")


def _qos_class(spec: Json, status: Json) -> str:
    """Kubernetes' own word, else by its rules: what CPU and memory containers, or the pod itself, request and are limited to."""
    if status.get("qosClass") in _QOS_CLASSES:
        return str(status["qosClass"])
    own = _mapping(spec.get("resources"))
    asked = (
        [own]
        if own.get("requests") or own.get("limits")
        else [_mapping(c.get("resources")) for key in ("containers", "initContainers") for c in _containers(spec, key)]
    )
    requests, limits = (_positive(asked, key) for key in ("requests", "limits"))
    if not any(requests) and not any(limits):
        return "BestEffort"
    everywhere = all(len(limit) == 2 for limit in limits)
    return "Guaranteed" if everywhere and _totals(requests) == _totals(limits) else "Burstable"


def _positive(asked: Iterable[Json], key: str) -> list[dict[str, Fraction]]:
    found = []
    for resources in asked:
        amounts = {name: _quantity.parse(value) for name, value in _mapping(resources.get(key)).items() if name in ("cpu", _MEMORY) and value is not None}
        found.append({name: amount for name, amount in amounts.items() if amount > 0})
    return found


def _totals(amounts: Iterable[Mapping[str, Fraction]]) -> dict[str, Fraction]:
    totals: dict[str, Fraction] = {}
    for amount in amounts:
        for name, number in amount.items():
            totals[name] = totals.get(name, Fraction(0)) + number
    return totals
