# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""C(memqos.prom), for the textfile collector of Prometheus's node-exporter: gauges with the label C(host). docs/reports.md has a table of them.

All samples of a metric stand together, and results come host by host: each metric has a file of its own until the end.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import shutil
import tempfile
import types
import typing as t

from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import (
    SEVERITIES,
    Fleet,
    Host,
    Json,
    finding_counts,
    host_settings,
    in_conflict,
    is_number,
    severity_of,
    top_row,
)
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import replacing

Labels = dict[str, str]
Samples = t.Iterator[tuple[str, Labels, float]]

METRICS: dict[str, str] = {
    "memqos_audit_timestamp_seconds": "When the host was audited, by the controller's clock.",
    "memqos_host_up": "Whether the audit has a result of the host.",
    "memqos_info": "Always 1; the labels say what the host is.",
    "memqos_memory_total_bytes": "MemTotal.",
    "memqos_memory_available_bytes": "MemAvailable.",
    "memqos_memory_bytes": "Where MemTotal is: the rows of a host sum to it. The row unaccounted may be negative.",
    "memqos_findings": "How many findings there are of a severity; unknown: rules that could not be decided.",
    "memqos_finding": "How many subjects of the host fail a rule; 0: none does.",
    "memqos_suppressed_findings": "How many findings somebody accepts. They count in no other metric.",
    "memqos_zone_distance_bytes": "Usable free memory of a zone less the mark below which kswapd works, or below which tasks have to reclaim (direct).",
    "memqos_pressure_ratio": "Share of the time that some tasks, or all of them, waited for a resource (PSI).",
    "memqos_oom_kills": "How many tasks the OOM killer has killed, by the kernel's log since boot as far as it goes back.",
    "memqos_dying_cgroups": "Removed cgroups that still hold memory.",
    "memqos_low_order_free_ratio": "Share of the free memory that is in blocks of 8 pages and less.",
    "memqos_overcommit_bytes": "What workloads may have at most, may ask for (request, limit), and have as limits above their peaks (stranded).",
    "memqos_setting_conflicts": "How many settings two sources persist differently.",
    "memqos_setting_drift": "How many settings are no longer what the last tune wanted.",
    "memqos_workload_bytes": "Parts of the memory of the largest cgroups.",
}
WORKLOAD_PARTS = ("working_set", "hard_set", "anon", "active_file", "shmem", "kernel", "swap")
_OVERCOMMIT = {"allocatable": "allocatable_bytes", "request": "sum_request_bytes", "limit": "sum_limit_bytes", "stranded": "stranded_bytes"}
_WINDOWS = {"10s": "avg10", "60s": "avg60", "300s": "avg300"}
# A kernel's path may be longer than what a time series should carry on each sample.
_MAX_LABEL = 1024
_SPOOLED = 1 << 18


class PrometheusReport:
    """A context manager, host by host; C(workloads) is how many cgroups of a host are told for each of WORKLOAD_PARTS."""

    def __init__(self, path: str, *, rules: t.Mapping[str, Json], workloads: int = 10) -> None:
        self._path = path
        self._rules = rules
        self._workloads = workloads
        self._parts: dict[str, t.IO[str]] = {}

    def __enter__(self) -> PrometheusReport:
        with contextlib.ExitStack() as stack:
            self._stream = stack.enter_context(replacing(self._path))
            for name in METRICS:
                spooled = tempfile.SpooledTemporaryFile(_SPOOLED, "w+", encoding="utf-8", newline="\n", dir=os.path.dirname(self._path))
                self._parts[name] = t.cast("t.IO[str]", stack.enter_context(spooled))
            self._files = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: types.TracebackType | None) -> bool | None:
        return self._files.__exit__(kind, value, trace)

    def add(self, result: Json, host: Host) -> None:
        self._write(host.name, samples_of(result, host, self._rules, workloads=self._workloads))

    def finish(self, fleet: Fleet) -> None:
        for name in (*fleet.unreachable, *fleet.invalid):
            self._write(name, iter([("memqos_host_up", {}, 0)]))
        for name, told in METRICS.items():
            part = self._parts[name]
            # A metric without samples is none.
            if part.tell():
                self._stream.write(f"# HELP {name} {told}\n# TYPE {name} gauge\n")
                part.seek(0)
                shutil.copyfileobj(part, self._stream)

    def _write(self, host: str, samples: Samples) -> None:
        """A sample twice is an error to node-exporter at each scrape, and names that differ may look the same once they are text."""
        told: dict[str, set[str]] = {name: set() for name in METRICS}
        for name, labels, value in samples:
            text = ",".join(f'{key}="{label_text(value)}"' for key, value in {"host": host, **labels}.items())
            if text not in told[name]:
                told[name].add(text)
                self._parts[name].write(f"{name}{{{text}}} {number(value)}\n")


def samples_of(result: Json, host: Host, rules: t.Mapping[str, Json], *, workloads: int) -> Samples:
    """What a result says in numbers. What the node does not tell has no sample."""
    yield from _identity(result, host)
    yield "memqos_memory_total_bytes", {}, host.memtotal
    if is_number(host.available):
        yield "memqos_memory_available_bytes", {}, host.available
    for row in result["breakdown"]["rows"]:
        yield "memqos_memory_bytes", {"row": row["name"]}, row["bytes"]
    yield from _findings(result, host, rules)
    for zone in result["zones"]:
        for mark in ("kswapd", "direct"):
            yield "memqos_zone_distance_bytes", {"node": f"{zone['node']:g}", "zone": zone["name"], "mark": mark}, zone[f"distance_{mark}"]
    yield from _pressure(result)
    yield from _derived(result)
    yield from _settings(result)
    yield from _workloads(result, workloads)


def _identity(result: Json, host: Host) -> Samples:
    with contextlib.suppress(ValueError):
        collected = datetime.datetime.fromisoformat(result["collected_at"].replace("Z", "+00:00"))
        # Without a zone it is UTC, as docs/schemas/host.json says.
        collected = collected if collected.tzinfo else collected.replace(tzinfo=datetime.timezone.utc)
        yield "memqos_audit_timestamp_seconds", {}, collected.timestamp()
    yield "memqos_host_up", {}, 1
    systemd = result["node"].get("systemd")
    yield "memqos_info", {"kernel": host.kernel, "hierarchy": host.hierarchy, "systemd": f"{systemd:g}" if is_number(systemd) else ""}, 1


def _findings(result: Json, host: Host, rules: t.Mapping[str, Json]) -> Samples:
    for severity in (*SEVERITIES, "unknown"):
        yield "memqos_findings", {"severity": severity}, host.counts[severity]
    yield "memqos_suppressed_findings", {}, host.counts["suppressed"]
    for rule, counts in finding_counts(result).items():
        # A rule that could not be decided says nothing: an alert on it neither rings nor ends.
        if counts.failed or not counts.unknown:
            yield "memqos_finding", {"rule": rule, "severity": severity_of(rules.get(rule, {}))}, counts.failed


def _pressure(result: Json) -> Samples:
    for resource, kinds in result["node"].get("pressure", {}).items():
        for kind, averages in kinds.items():
            for window, name in _WINDOWS.items():
                if is_number(averages.get(name)):
                    yield "memqos_pressure_ratio", {"resource": resource, "kind": kind, "window": window}, averages[name] / 100


def _derived(result: Json) -> Samples:
    derived = result.get("derived") or {}
    if "oom" not in result["unknown"]:
        yield "memqos_oom_kills", {}, sum(group["killed"] for group in result["oom"].get("groups", []) if is_number(group.get("killed")))
    for name, key in (("memqos_dying_cgroups", "dying_memcgs"), ("memqos_low_order_free_ratio", "low_order_free_share")):
        if is_number(derived.get(key)):
            yield name, {}, derived[key]
    for kind, key in _OVERCOMMIT.items():
        if is_number(derived.get(key)):
            yield "memqos_overcommit_bytes", {"kind": kind}, derived[key]


def _settings(result: Json) -> Samples:
    settings = host_settings(result)
    if settings is not None:
        yield "memqos_setting_conflicts", {}, sum(in_conflict(row) for row in settings)
        known = [row for row in settings if isinstance(row.get("drift"), bool)]
        # Without a tune that this controller knows nothing can have drifted, and nothing can be said not to have.
        if known:
            yield "memqos_setting_drift", {}, sum(row["drift"] for row in known)


def _workloads(result: Json, count: int) -> Samples:
    rows = [row for row in (top_row("", row) for row in result["top"]["rows"]) if row.path != "/"]
    for part in WORKLOAD_PARTS:
        known = sorted((row for row in rows if row.cells.get(part, 0) > 0), key=lambda row: (-row.cells[part], row.path))
        for row in known[:count]:
            yield "memqos_workload_bytes", {"path": row.path, "part": part}, row.cells[part]


def label_text(text: str) -> str:
    """A label's value, escaped; one that is too long ends with a digest, so that it stays the same and is nobody else's."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) > _MAX_LABEL:
        text = f"{text[: _MAX_LABEL - 17]}~{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def number(value: float) -> str:
    """Without an exponent where it is whole: bytes stay readable."""
    return str(int(value)) if isinstance(value, int) or value == int(value) else repr(float(value))
