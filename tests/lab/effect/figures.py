# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a window of the load comes to: the texts that guest/window.py read → figures by name. Pure."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import math
import typing as t

from ansible_collections.memqos.fleet.roles.bench_redis.files.memqos_bench_redis import growth, parse_rows, parse_totals

from .load import BATCH_SLICE, SERVICE, SERVICE_SLICE

SERVICE_CGROUP = f"{SERVICE_SLICE}/{SERVICE}.service"
BATCH_CGROUP = BATCH_SLICE
MIB = 1 << 20

Window = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One line of the table. C(better): which way is an improvement, 0 if neither is."""

    name: str
    group: str
    words: str
    unit: str
    better: int = -1


FIGURES = (
    Figure("latency_p50", "service", "latency, median", "ms"),
    Figure("latency_p95", "service", "latency, 95 %", "ms"),
    Figure("latency_p99", "service", "latency, 99 %", "ms"),
    Figure("latency_max", "service", "latency, longest", "ms"),
    Figure("given_up", "service", "requests given up after 1 s", "%"),
    Figure("service_stalled", "service", "waited for memory (PSI some)", "%"),
    Figure("service_refault_file", "service", "refaults of page cache", "/s"),
    Figure("service_refault_anon", "service", "refaults from swap", "/s"),
    Figure("service_usage", "service", "memory at the end", "MiB", 0),
    Figure("stalled_some", "node", "some tasks waited for memory (PSI)", "%"),
    Figure("stalled_full", "node", "all tasks waited for memory (PSI)", "%"),
    Figure("allocstall", "node", "allocations that stalled", "/s"),
    Figure("pgscan_direct", "node", "pages scanned by tasks", "/s"),
    Figure("pgsteal_kswapd", "node", "pages reclaimed by kswapd", "/s", 0),
    Figure("refault_file", "node", "refaults of page cache", "/s"),
    Figure("refault_anon", "node", "refaults from swap", "/s"),
    Figure("pswpout", "node", "pages swapped out", "/s", 0),
    Figure("oom_kill", "node", "OOM kills", ""),
    Figure("batch_usage", "batch", "memory at the end", "MiB", 0),
    Figure("batch_stalled", "batch", "waited for memory (PSI some)", "%", 0),
    Figure("batch_scan", "batch", "file read", "MiB/s", 1),
    Figure("batch_taken", "batch", "memory taken by bursts", "MiB/s", 1),
)


def figures(window: Window) -> dict[str, float]:
    """The figures that this kernel has, all of C(FIGURES) at most."""
    seconds, before, after = window["seconds"], window["before"], window["after"]
    node = growth(parse_rows(before["vmstat"] or ""), parse_rows(after["vmstat"] or ""))
    found: dict[str, float] = {
        # One counter for each zone.
        "allocstall": sum(value for name, value in node.items() if name.startswith("allocstall")) / seconds,
        **{name: node[name] / seconds for name in ("pgscan_direct", "pgsteal_kswapd", "pswpout") if name in node},
        **{name: float(node[name]) for name in ("oom_kill",) if name in node},
        **_refaults("refault", node, seconds),
    }
    found.update(_stalled(before["pressure"], after["pressure"], seconds, some="stalled_some", full="stalled_full"))
    found.update(_latencies(window["requests"]))
    for cgroup, name in ((SERVICE_CGROUP, "service"), (BATCH_CGROUP, "batch")):
        found.update(_cgroup(name, before["cgroups"].get(cgroup, {}), after["cgroups"].get(cgroup, {}), seconds))
    found.update(_work(before["tools"], after["tools"]))
    known = {figure.name for figure in FIGURES}
    return {name: value for name, value in found.items() if name in known}


def percentile(values: collections.abc.Sequence[float], percent: float) -> float:
    """The smallest value that C(percent) of them do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def _refaults(prefix: str, grew: collections.abc.Mapping[str, int], seconds: float) -> dict[str, float]:
    # Before 5.9 one counter, of the page cache.
    names = {"file": ("workingset_refault_file", "workingset_refault"), "anon": ("workingset_refault_anon",)}
    return {f"{prefix}_{kind}": grew[key] / seconds for kind, keys in names.items() for key in keys if key in grew}


def _stalled(before: str | None, after: str | None, seconds: float, **names: str) -> dict[str, float]:
    """Percent of the time."""
    grew = growth(parse_totals(before), parse_totals(after))
    return {name: grew[word] / seconds / 1e4 for word, name in names.items() if word in grew}


def _latencies(requests: collections.abc.Sequence[str]) -> dict[str, float]:
    answered = [int(text) / 1000 for text in requests if text.isdigit()]
    found = {"given_up": 100 * (len(requests) - len(answered)) / len(requests)} if requests else {}
    if answered:
        found.update({f"latency_p{percent}": percentile(answered, percent) for percent in (50, 95, 99)}, latency_max=max(answered))
    return found


def _cgroup(name: str, before: collections.abc.Mapping[str, str], after: collections.abc.Mapping[str, str], seconds: float) -> dict[str, float]:
    grew = growth(*(parse_rows(files.get("memory.stat", "")) for files in (before, after)))
    found = _refaults(f"{name}_refault", grew, seconds)
    found.update(_stalled(before.get("memory.pressure"), after.get("memory.pressure"), seconds, some=f"{name}_stalled"))
    usage = after.get("memory.current") or after.get("memory.usage_in_bytes")
    return {**found, **({f"{name}_usage": int(usage) / MIB} if usage else {})}


def _work(before: collections.abc.Mapping[str, str], after: collections.abc.Mapping[str, str]) -> dict[str, float]:
    """What batch work got done, by what the tools say of themselves and by their clocks."""
    found: dict[str, float] = {}
    for path, line in after.items():
        old, new = (json.loads(text) if text else {} for text in (before.get(path, ""), line))
        if new.get("seconds", 0) < old.get("seconds", 0):
            old = {}  # begun anew
        elapsed = new.get("seconds", 0) - old.get("seconds", 0)
        for key, name in (("read_bytes", "batch_scan"), ("taken_bytes", "batch_taken")):
            if key in new and elapsed > 0:
                found[name] = (new[key] - old.get(key, 0)) / elapsed / MIB
    return found
