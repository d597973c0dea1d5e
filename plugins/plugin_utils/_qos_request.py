# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What a tune is told of a node's containers, of the options that an operator set (docs/qos.md): checked, small, and this node's alone."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.memqos.fleet.plugins.module_utils import _units
from ansible_collections.memqos.fleet.plugins.plugin_utils import _memcg_values, _pods, _pods_file, _quantity

Json = dict[str, t.Any]
AREA = "memcg_qos"
_WORKLOAD = ("match", "qos_class", "request", "limit")
_CLASSES = ("Guaranteed", "Burstable", "BestEffort", *_pods.CLASSES)
# A thousand to Kubernetes, 1024 in profiles.
_AMBIGUOUS = re.compile(r"\s*[0-9]+(\.[0-9]+)?\s*[kKMGTP]\s*")
# The most that a node takes from an inventory.
_MAX_BYTES = 1 << 62
_MOST_NAMES = 8


class QosError(ValueError):
    """A mistake in an option; the message names it and what would be right."""


class Told(t.NamedTuple):
    """C(request): fields of C(module_utils/_qos_work.Asked) that are not as they are without being said. C(note): of this host; C(warnings): of all pods."""

    request: Json
    note: str = ""
    warnings: Sequence[str] = ()


def told(arguments: Mapping[str, t.Any], layers: Sequence[Mapping[str, t.Any]], host: str) -> Told:
    """C(arguments): options of memory_tune; C(layers): what profiles come to. Raises QosError, PodsError and ResultError."""
    request = _checked(arguments)
    is_wanted = request.get("model") or any(layer.get("qos") or "earlier" in layer for layer in layers)
    if not is_wanted or (arguments["only"] and AREA not in arguments["only"]):
        return Told({})
    share = _share(arguments, arguments["node_name"] or host)
    if share is None:
        return Told(request)
    if share.workloads:
        request["pods"] = share.workloads
    return Told(request, "" if share.workloads else _strange(arguments["node_name"] or host, share.nodes), share.warnings)


def _checked(arguments: Mapping[str, t.Any]) -> Json:
    model, request = arguments["qos_model"], t.cast("Json", {})
    for name, own in (("qos_strategy", "koordinator"), ("kubelet", "kubelet"), ("qos", "profile")):
        if arguments[name] and model != own:
            raise QosError(f"{name} is for qos_model={own}, and qos_model is {model}")
    if model != "profile":
        request["model"] = model
    config = _config(model, arguments)
    if config:
        request["config"] = config
    if arguments["workloads"]:
        request["declared"] = [_workload(entry, f"workloads[{number}]") for number, entry in enumerate(arguments["workloads"])]
    if arguments["allocatable"] not in (None, ""):
        request["node"] = {"allocatable": _size(arguments["allocatable"], "allocatable", least=1)}
    if arguments["pods"] and arguments["pods_file"]:
        raise QosError("pods and pods_file both say which pods there are: one of them is expected")
    return request


def _config(model: str, arguments: Mapping[str, t.Any]) -> Json:
    try:
        if model == "koordinator":
            return _memcg_values.check_strategy(arguments["qos_strategy"] or None)
        # Memory and swap are for the node to say.
        return _memcg_values.check_kubelet(arguments["kubelet"], {"capacity": 1, "swap": 1}) if model == "kubelet" else {}
    except _memcg_values.ValuesError as exc:
        raise QosError(f"{'qos_strategy' if model == 'koordinator' else 'kubelet'}: {exc}") from None


def _share(arguments: Mapping[str, t.Any], node: str) -> _pods_file.Share | None:
    if arguments["pods_file"]:
        return _pods_file.of_node(arguments["pods_file"], arguments["directory"], node)
    return _pods_file.of_list(arguments["pods"], node) if arguments["pods"] else None


def _strange(node: str, names: Sequence[str]) -> str:
    if not names:
        return "none of the pods runs on any node yet"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"none of the pods is on a node '{node}', but on {', '.join(names[:_MOST_NAMES])}{more}: node_name (memqos_node_name) says which one this host is"


def _workload(entry: Mapping[str, t.Any], place: str) -> Json:
    """As C(_resources.join) takes it, sizes in bytes."""
    unknown = [key for key in entry if key not in _WORKLOAD]
    if unknown:
        raise QosError(f"{place} has no {unknown[0]!r:.40}, but {', '.join(_WORKLOAD)}")
    match = entry.get("match")
    if not isinstance(match, str) or not match:
        raise QosError(f"{place}.match is {match!r:.40}: a cgroup's path, NAMESPACE/POD/CONTAINER, a container's name or a unit is expected, with * if need be")
    found: Json = {"match": match}
    if entry.get("qos_class") is not None:
        if entry["qos_class"] not in _CLASSES:
            raise QosError(f"{place}.qos_class is {entry['qos_class']!r:.40}: one of {', '.join(_CLASSES)} is expected")
        found["qos_class"] = entry["qos_class"]
    for key in ("request", "limit"):
        if entry.get(key) is not None:
            found[key] = _size(entry[key], f"{place}.{key}")
        elif key == "limit" and key in entry:
            found[key] = None
    if len(found) == 1:
        raise QosError(f"{place} says nothing of {match!r:.80}: qos_class, request or limit is expected")
    if found.get("limit") and found.get("request", 0) > found["limit"]:
        raise QosError(f"{place}: its request of {found['request']} bytes is above its limit of {found['limit']}")
    return found


def _size(value: object, place: str, least: int = 0) -> int:
    """Bytes, a quantity of Kubernetes (512Mi), or a size as in profiles (512MiB)."""
    if isinstance(value, str) and _AMBIGUOUS.fullmatch(value):
        raise QosError(f"{place} is {value!r:.40}, which Kubernetes reads in thousands and profiles in 1024s: write {value.strip().upper()}i, or bytes")
    try:
        size = _quantity.size(value)
    except _quantity.QuantityError as exc:
        size = _profiles_size(value, f"{place}: {exc}")
    if not least <= size < _MAX_BYTES:
        raise QosError(f"{place} is {value!r:.40}: from {least} bytes to 4 EiB are expected")
    return size


def _profiles_size(value: object, problem: str) -> int:
    try:
        return _units.parse_size(str(value))
    except _units.UnitError:
        raise QosError(problem) from None
