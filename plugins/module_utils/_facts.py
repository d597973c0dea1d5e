# SPDX-License-Identifier: BSD-2-Clause

"""The facts of a node for other plays: small, because AWX and fact caches keep them for every host."""

from __future__ import annotations

import typing as t

from ._knobs import _registry

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Node

_MEMINFO = ("MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree", "AnonPages", "Cached", "Slab", "Hugetlb", "Committed_AS", "CommitLimit")
# Reasons repeat a path and an errno: ten are enough to see what is wrong, the audit has them all.
_MAX_UNKNOWN = 10


def facts(node: Node) -> dict[str, t.Any]:
    """C(facts) of the snapshot, main sizes in bytes, host knobs by registry name, and the mainline host knobs that this kernel lacks."""
    knobs = {name: value for name, value in node["knobs"].items() if "/" not in name or name in _WANTED}
    pressure = node["pressure"].get("memory", {})
    unknown = dict(sorted(node["unknown"].items())[:_MAX_UNKNOWN])
    if len(node["unknown"]) > _MAX_UNKNOWN:
        unknown["…"] = f"{len(node['unknown']) - _MAX_UNKNOWN} more; memqos.fleet.memory_audit lists all"
    return {
        **node["facts"],
        "memory": {f"{key.lower()}_bytes": node["meminfo"][key] for key in _MEMINFO if key in node["meminfo"]},
        "pressure": {kind: values.get("avg60") for kind, values in pressure.items()},  # type: ignore[attr-defined]
        "knobs": knobs,
        "missing": _missing(node),
        "unknown": unknown,
    }


_WANTED = ("transparent_hugepage/enabled", "transparent_hugepage/defrag", "lru_gen/enabled", "ksm/run", "zswap/enabled")


def _missing(node: Node) -> list[str]:
    """What a mainline kernel of this age can have and this one has not. DAMON's modules are left out: few kernels have them."""
    kernel = _registry.kernel_version(str(node["facts"].get("kernel", "")))
    rows = (knob for knob in _registry.host_knobs() if knob.vendor == "mainline" and knob.access != "wo" and "{" not in knob.name and "damon" not in knob.name)
    fitting = (knob for knob in rows if _registry.kernel_version(knob.first) <= kernel and (not knob.last or kernel[:2] <= _registry.kernel_version(knob.last)))
    return [knob.name for knob in fitting if knob.name not in node["knobs"]]
