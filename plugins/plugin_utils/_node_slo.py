# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""A Koordinator NodeSLO (C(kubectl get nodeslo NODE -o json)) → what a tune knows already: a strategy, values of host knobs, and workloads by path.

Fields: apis/slo/v1alpha1/nodeslo_types.go and host_application.go of Koordinator. What is no matter of memory is not looked at.
"""

from __future__ import annotations

import posixpath
import typing as t
from collections.abc import Mapping

from ansible_collections.memqos.fleet.plugins.plugin_utils import _pods
from ansible_collections.memqos.fleet.plugins.plugin_utils._memcg_values import ValuesError, loaded, mapping
from ansible_collections.memqos.fleet.plugins.plugin_utils._qos_request import QosError

Json = dict[str, t.Any]
# The profile that host knobs of a NodeSLO come from.
PROFILE = "node_slo"
_SPEC = ("resourceQOSStrategy", "systemStrategy", "hostApplications")
# pkg/koordlet/util/system/system_file.go: what koordlet accepts. The factor is in 1/10000 of memory, in KiB (plugins/sysreconcile/system_config.go).
_SYSTEM = {
    "minFreeKbytesFactor": (1, 10000), "watermarkScaleFactor": (10, 400), "memcgReapBackGround": (0, 1), "pageCacheLimitEnabled": (0, 1),
}  # fmt: skip
_KNOBS = {"watermarkScaleFactor": "vm.watermark_scale_factor", "memcgReapBackGround": "memcg_reaper/reap_background",
          "pageCacheLimitEnabled": "pagecache_limit/enabled"}  # fmt: skip
# pkg/koordlet/util/host_application.go. Below kubepods both drivers' names, of which a node has one.
_DEFAULTS = {"LSE": "host-latency-sensitive", "LSR": "host-latency-sensitive", "LS": "host-latency-sensitive", "BE": "host-best-effort"}
_BASES = {
    "": ("",), "CgroupRoot": ("",), "Kubepods": ("kubepods.slice", "kubepods"),
    "KubepodsBurstable": ("kubepods.slice/kubepods-burstable.slice", "kubepods/burstable"),
    "KubepodsBesteffort": ("kubepods.slice/kubepods-besteffort.slice", "kubepods/besteffort"),
}  # fmt: skip


class NodeSlo(t.NamedTuple):
    """C(strategy): its C(resourceQOSStrategy), None if there is none. C(host): as in a profile. C(workloads): as C(memqos_workloads)."""

    strategy: Json | None
    host: Json
    workloads: list[Json]


class Spread(t.NamedTuple):
    """C(arguments): options of memory_tune with C(node_slo) in them. C(profile): one that comes after all others. C(notes): what of it does not count."""

    arguments: dict[str, t.Any]
    profile: Json | None = None
    notes: tuple[str, ...] = ()


def spread(arguments: Mapping[str, t.Any]) -> Spread:
    """Raises QosError."""
    if not arguments["node_slo"]:
        return Spread(dict(arguments))
    try:
        slo = read(arguments["node_slo"])
    except ValuesError as exc:
        raise QosError(str(exc)) from None
    found = {**arguments, "workloads": [*slo.workloads, *arguments["workloads"]]}
    model, strategies = arguments["qos_model"], [name for name, given in (("resourceQOSStrategy", slo.strategy), ("systemStrategy", slo.host)) if given]
    if model != "koordinator":
        left = f"node_slo: its {' and '.join(strategies)} count with qos_model=koordinator only, and qos_model is {model}"
        return Spread(found, None, (left,) if strategies else ())
    if slo.strategy is not None and arguments["qos_strategy"]:
        raise QosError("node_slo has a resourceQOSStrategy, and qos_strategy is another: one of them is expected")
    found["qos_strategy"] = arguments["qos_strategy"] or slo.strategy or {}
    profile = {"name": PROFILE, "summary": "systemStrategy of the NodeSLO", "host": slo.host} if slo.host else None
    return Spread(found, profile, ("node_slo: its hostApplications are left alone, as koordlet leaves them",) if slo.workloads else ())


def read(given: object) -> NodeSlo:
    """C(given): the object, its C(spec), or the JSON text of one. Raises ValuesError."""
    spec = mapping(loaded(given, "node_slo"), "node_slo")
    if "spec" in spec:
        if spec.get("kind", "NodeSLO") != "NodeSLO":
            raise ValuesError(f"node_slo is a {spec['kind']!r:.40}: a NodeSLO is expected")
        spec = mapping(spec["spec"], "node_slo.spec")
    elif not any(key in spec for key in _SPEC):
        raise ValuesError(f"node_slo has none of {', '.join(_SPEC)}: a NodeSLO, or its spec, is expected")
    strategy = spec.get("resourceQOSStrategy")
    return NodeSlo(
        None if strategy is None else dict(mapping(strategy, "node_slo.resourceQOSStrategy")),
        _host(mapping(spec.get("systemStrategy") or {}, "node_slo.systemStrategy")),
        _applications(spec.get("hostApplications") or []),
    )


def _host(system: Mapping[str, t.Any]) -> Json:
    found: Json = {}
    for field, (least, most) in _SYSTEM.items():
        value = system.get(field)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValuesError(f"node_slo.systemStrategy.{field} is {value!r:.40}: a whole number from {least} to {most} is expected")
        if field == "minFreeKbytesFactor":
            found["vm.min_free_kbytes"] = {"of_memory": f"{value / 100:.2f}%", "max": "10GiB"}
        else:
            found[_KNOBS[field]] = value
    return found


def _applications(listed: object) -> list[Json]:
    """Of those that have a class: to koordlet, too, the others are any process of the host."""
    if not isinstance(listed, list):
        raise ValuesError(f"node_slo.hostApplications is {listed!r:.40}: a list is expected")
    found = []
    for number, entry in enumerate(listed):
        place = f"node_slo.hostApplications[{number}]"
        application = mapping(entry, place)
        qos_class = application.get("qos") or ""
        if qos_class not in ("", *_pods.CLASSES):
            raise ValuesError(f"{place}.qos is {qos_class!r:.40}: one of {', '.join(_pods.CLASSES)} is expected")
        found += [{"match": path, "qos_class": qos_class} for path in _paths(application, qos_class, place) if qos_class]
    return found


def _paths(application: Mapping[str, t.Any], qos_class: str, place: str) -> list[str]:
    path = application.get("cgroupPath")
    bases: tuple[str, ...] = (_DEFAULTS.get(qos_class, ""),)
    if path is None:
        parts = [_word(application, "name", place)]
    else:
        below = mapping(path, f"{place}.cgroupPath")
        base = below.get("base") or ""
        if base not in _BASES:
            raise ValuesError(f"{place}.cgroupPath.base is {base!r:.40}: one of {', '.join(filter(None, _BASES))} is expected")
        bases, parts = _BASES[base], [_word(below, name, f"{place}.cgroupPath") for name in ("parentDir", "relativePath")]
    if not any(parts):
        raise ValuesError(f"{place} names no cgroup: {'name' if path is None else 'cgroupPath.relativePath'} is expected")
    return [posixpath.normpath("/" + "/".join(filter(None, (base, *(part.strip("/") for part in parts))))) for base in bases]


def _word(fields: Mapping[str, t.Any], name: str, place: str) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str) or ".." in value.split("/") or any(char in value for char in "*?[\n"):
        raise ValuesError(f"{place}.{name} is {value!r:.40}: the path of a cgroup is expected, without .. and *")
    return value
