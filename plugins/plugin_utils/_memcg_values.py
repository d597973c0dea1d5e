# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Pods and a model's configuration → values, for the filter C(memcg_values). C(check_*) are for who sends a configuration to nodes: they find what is wrong."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Mapping

from ansible_collections.memqos.fleet.plugins.module_utils import _memory_qos, _qos
from ansible_collections.memqos.fleet.plugins.plugin_utils import _pods, _quantity
from ansible_collections.memqos.fleet.plugins.plugin_utils._rule_expression import nearest

Json = Mapping[str, t.Any]
_SIZES = ("allocatable", "capacity", "swap", "page_size")
_NAMES = ("name", "cgroup_driver", "runtime", "cgroup_root")
_CLASSES = ("lsrClass", "lsClass", "beClass", "systemClass", "cgroupRoot", "policies")
# What Koordinator has beside memory is not looked at.
_OF_CLASS = ("memoryQOS", "cpuQOS", "blkioQOS", "resctrlQOS", "networkQOS")
_KUBELET = ("memoryThrottlingFactor", "memoryReservationPolicy", "memorySwap", "featureGates")
# What enforceNodeAllocatable can have; of these, what has a cgroup of its own: how much, and which.
_ENFORCED = ("none", "pods", "system-reserved", "kube-reserved", "system-reserved-compressible", "kube-reserved-compressible")
_RESERVED = {"system-reserved": ("systemReserved", "systemReservedCgroup"), "kube-reserved": ("kubeReserved", "kubeReservedCgroup")}
_CHOICES = {"cgroup_driver": ("systemd", "cgroupfs"), "runtime": ("containerd", "cri-o", "docker", "pouch")}


class ValuesError(ValueError):
    """What of the arguments is wrong, and what would be right."""


def memcg_values(pods: object, *, node: object, model: str, strategy: object = None, kubelet: object = None, hierarchy: str = "v2") -> _qos.Qos:
    """Raises ValuesError and PodsError."""
    machine = check_node(node)
    if hierarchy not in ("v1", "v2"):
        raise ValuesError(f"hierarchy is {hierarchy!r:.40}: v1 or v2 is expected")
    read = _pods.read(pods)
    workloads, warnings = _of_node(read, machine.get("name"))
    warnings = [*warnings, *_unknown_runtimes(workloads)]
    if model == "koordinator":
        _unused(kubelet, "kubelet", model)
        found = _qos.koordinator(workloads, machine, check_strategy(strategy), v2=hierarchy == "v2")
    elif model == "kubelet":
        _unused(strategy, "strategy", model)
        checked = check_kubelet(kubelet, machine)
        found = _qos.kubelet(workloads, machine, checked, v2=hierarchy == "v2")
        if hierarchy == "v2" and checked.get("featureGates", {}).get("MemoryQoS", True):
            for path, (size, field) in _reserved(kubelet, machine).items():
                found.put(path, "memory.min", size, field)
    else:
        raise ValuesError(f"model is {model!r:.40}: koordinator or kubelet is expected")
    return found._replace(warnings=[*warnings, *found.warnings])


def _of_node(read: _pods.Read, name: str | None) -> tuple[list[_pods.Workload], list[str]]:
    nodes = {workload["node"] for workload in read.workloads if "node" in workload}
    if name is None and len(nodes) > 1:
        return read.workloads, [*read.warnings, f"these are pods of {len(nodes)} nodes, taken as if all ran on one: node.name chooses"]
    return [workload for workload in read.workloads if name in (None, workload.get("node"))], read.warnings


def _unknown_runtimes(workloads: list[_pods.Workload]) -> list[str]:
    names = {container["runtime"] for workload in workloads for container in workload["containers"] if "runtime" in container}
    unknown = sorted(names - {*_CHOICES["runtime"]})
    return [f"the cgroups of containers of {name!r:.40} have no name that is known: only values of their pods are" for name in unknown]


def _unused(value: object, name: str, model: str) -> None:
    if value is not None:
        raise ValuesError(f"{name} is not for the model {model}")


def check_node(node: object) -> dict[str, t.Any]:
    """Sizes as bytes or quantities; 4096 where C(page_size) is missing. Raises ValuesError."""
    given = mapping(node, "node", (*_SIZES, *_NAMES))
    if given.get("allocatable") is None:
        raise ValuesError(
            "node.allocatable is missing: what pods can have, to koordlet status.allocatable.memory of the Node, to the kubelet capacity less what is reserved"
        )
    checked: dict[str, t.Any] = {"page_size": 4096}
    for key, value in given.items():
        if value is not None:
            checked[key] = _size(value, f"node.{key}") if key in _SIZES else _word(value, key)
    for key in ("allocatable", "page_size"):
        if checked[key] < 1:
            raise ValuesError(f"node.{key} is 0: more is expected")
    return checked


def _size(value: object, place: str) -> int:
    try:
        return _quantity.size(value)
    except _quantity.QuantityError as exc:
        raise ValuesError(f"{place}: {exc}") from None


def _word(value: object, key: str) -> str:
    choices = _CHOICES.get(key)
    if not isinstance(value, str) or (choices and value not in choices):
        raise ValuesError(f"node.{key} is {value!r:.40}: {'a name' if not choices else 'one of ' + ', '.join(choices)} is expected")
    return _path(value, "node.cgroup_root") if key == "cgroup_root" else value


def _path(value: object, place: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or {".", ".."} & {*value.split("/")}:
        raise ValuesError(f"{place} is {value!r:.40}: the path of a cgroup is expected, without ..")
    return value


def check_strategy(strategy: object) -> dict[str, t.Any]:
    """C(resourceQOSStrategy): fields that are null left out. Raises ValuesError."""
    checked: dict[str, t.Any] = {}
    for name, entry in _named(loaded(strategy, "strategy"), "strategy", _CLASSES).items():
        if entry is None or name == "policies":
            continue
        checked[name] = {}
        memory = _named(entry, f"strategy.{name}", _OF_CLASS).get("memoryQOS")
        if memory is not None:
            place = f"strategy.{name}.memoryQOS"
            checked[name]["memoryQOS"] = _checked_fields(_named(memory, place, ("enable", *_memory_qos.FIELDS)), place)
    return checked


def _named(value: object, place: str, known: tuple[str, ...]) -> Json:
    """By the names that are C(known); as Go reads them, their case does not matter. Raises ValuesError."""
    spelt = {name.lower(): name for name in known}
    found: dict[str, t.Any] = {}
    for key, entry in mapping(value, place).items():
        name = spelt.get(str(key).lower())
        if name is None:
            raise ValuesError(f"{place} has no {key!r:.40}" + (nearest(str(key), known) or f", but {', '.join(known)}"))
        if name in found:
            raise ValuesError(f"{place} has {name} twice, in other case: one of them is expected")
        found[name] = entry
    return found


def loaded(value: object, name: str) -> object:
    """An object, or its JSON text. Raises ValuesError."""
    if not isinstance(value, str):
        return {} if value is None else value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as exc:
        raise ValuesError(f"{name} is no JSON: {exc}") from None


def _checked_fields(fields: Json, place: str) -> dict[str, t.Any]:
    kept = {name: value for name, value in fields.items() if value is not None}
    try:
        for name, value in kept.items():
            _memory_qos.check_type(name, value)
            _memory_qos.check_range(name, value)
    except ValueError as exc:
        raise ValuesError(f"{place}.{exc}") from None
    if not isinstance(kept.get("enable", False), bool):
        raise ValuesError(f"{place}.enable is {kept['enable']!r:.40}: true or false is expected")
    return kept


def check_kubelet(config: object, node: Json) -> dict[str, t.Any]:
    """Fields of a KubeletConfiguration; others are not looked at. Raises ValuesError."""
    given = mapping({} if config is None else config, "kubelet")
    checked = {key: given[key] for key in _KUBELET if given.get(key) is not None}
    factor = checked.get("memoryThrottlingFactor")
    if factor is not None and (isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor <= 1):
        raise ValuesError(f"kubelet.memoryThrottlingFactor is {factor!r:.40}: above 0, 1 at most, is expected")
    policy = checked.get("memoryReservationPolicy", "None")
    if policy not in ("None", "TieredReservation"):
        raise ValuesError(f"kubelet.memoryReservationPolicy is {policy!r:.40}: None or TieredReservation is expected")
    gates = mapping(checked.get("featureGates", {}), "kubelet.featureGates")
    if not all(isinstance(value, bool) for value in gates.values()):
        raise ValuesError("kubelet.featureGates: true or false is expected after each name")
    behaviour = mapping(checked.get("memorySwap", {}), "kubelet.memorySwap").get("swapBehavior") or "NoSwap"
    if behaviour not in ("NoSwap", "LimitedSwap"):
        raise ValuesError(f"kubelet.memorySwap.swapBehavior is {behaviour!r:.40}: NoSwap or LimitedSwap is expected")
    missing = [key for key in ("capacity", "swap") if behaviour == "LimitedSwap" and not node.get(key) and not (key == "swap" and key in node)]
    if missing:
        raise ValuesError(f"node.{missing[0]} is missing: LimitedSwap shares the node's swap by capacity")
    return checked


def _reserved(config: object, node: Json) -> dict[str, tuple[int, str]]:
    """{cgroup: (memory.min, whose)} of what is reserved and enforced, as enforceExistingCgroup of pkg/kubelet/cm writes it. Raises ValuesError."""
    given = mapping({} if config is None else config, "kubelet")
    enforced = given.get("enforceNodeAllocatable") or ()
    if not isinstance(enforced, (list, tuple)) or not all(name in _ENFORCED for name in enforced):
        raise ValuesError(f"kubelet.enforceNodeAllocatable is {enforced!r:.80}: a list of {', '.join(_ENFORCED)} is expected")
    found = {}
    for name, (field, place) in _RESERVED.items():
        if name not in enforced:
            continue
        memory = mapping(given.get(field) or {}, f"kubelet.{field}").get("memory")
        if not str(given.get(place) or "").strip("/"):
            raise ValuesError(f"kubelet.{place} is missing: enforceNodeAllocatable has {name}")
        if memory is not None:
            found[_reserved_path(given[place], f"kubelet.{place}", node)] = (_size(memory, f"kubelet.{field}.memory"), field)
    return found


def _reserved_path(cgroup: object, place: str, node: Json) -> str:
    """To the systemd driver a name is that of its last slice, and C(-) in it a slice above."""
    path = _path(cgroup, place).strip("/")
    if node.get("cgroup_driver") == "cgroupfs":
        return path
    names = path.rpartition("/")[2].removesuffix(".slice").split("-")
    return "/".join("-".join(names[:end]) + ".slice" for end in range(1, len(names) + 1))


def mapping(value: object, place: str, known: tuple[str, ...] = ()) -> Json:
    """Raises ValuesError: it is none, or has a key that is not C(known)."""
    if not isinstance(value, Mapping):
        raise ValuesError(f"{place} is {value!r:.40}: a mapping is expected")
    unknown = [key for key in value if known and key not in known]
    if unknown:
        raise ValuesError(f"{place} has no {unknown[0]!r:.40}, but {', '.join(known)}")
    return value
