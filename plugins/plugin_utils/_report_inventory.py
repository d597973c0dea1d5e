# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""The inventory by group: what each host is and how it is set, in one line of the table and of C(inventory.csv)."""

from __future__ import annotations

import types
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._shares import format_size
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_csv import csv_line
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import (
    Fleet,
    Host,
    Json,
    host_settings,
    in_conflict,
    is_number,
    setting_name,
)
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import replacing

# Every host is in one of these two beside its own groups: they tell nothing, unless a host is in no other.
_EVERYBODY = ("all", "ungrouped")
_THP = "transparent_hugepage/enabled"
COLUMNS = (
    "group", "host", "kernel", "hierarchy", "memory_bytes", "swap_bytes", "thp", "min_free_kbytes", "watermark_scale_factor", "profiles", "generation",
    "allocatable_bytes", "request_bytes", "limit_bytes", "stranded_bytes", "conflicts", "changes_at_boot", "drift", "status",
)  # fmt: skip


class InventoryLine(t.NamedTuple):
    """A host of the inventory: C(kernel) and the like as the node says, empty where it does not; C(generation) of ours, None where none was applied.

    C(allocatable) is what workloads may have at most, C(requests) and C(limits) are what they were promised, C(stranded) what of their limits they never used.
    C(conflicts): settings that two sources persist differently; C(changes_at_boot): those that the next boot changes; C(drift): those that are no longer what
    the last tune wanted. They are None where the audit did not look. C(status) says why a host has no result; the rest is empty then.
    """

    host: str
    kernel: str = ""
    hierarchy: str = ""
    memory: int | None = None
    swap: int | None = None
    thp: str = ""
    min_free_kbytes: float | None = None
    watermark_scale_factor: float | None = None
    profiles: str = ""
    generation: int | None = None
    conflicts: tuple[str, ...] | None = None
    changes_at_boot: tuple[str, ...] | None = None
    drift: tuple[str, ...] | None = None
    status: str = ""
    allocatable: float | None = None
    requests: float | None = None
    limits: float | None = None
    stranded: float | None = None

    @property
    def swap_text(self) -> str:
        return "" if self.swap is None else format_size(self.swap) if self.swap else "none"

    @property
    def watermarks_text(self) -> str:
        """C(min_free_kbytes) as a size, and C(watermark_scale_factor) in hundredths of a percent: C(66.0 MiB, 10)."""
        parts = ["" if self.min_free_kbytes is None else format_size(int(self.min_free_kbytes * 1024))]
        parts.append("" if self.watermark_scale_factor is None else f"{self.watermark_scale_factor:g}")
        return ", ".join(filter(None, parts))

    @property
    def profile_text(self) -> str:
        """C(colocated, generation 3); empty where nothing of ours was applied."""
        return ", ".join(filter(None, (self.profiles, "" if self.generation is None else f"generation {self.generation}")))


class InventoryReport:
    """C(inventory.csv), and the lines for the tables of other reports. A host is in each of its groups."""

    def __init__(self, path: str, *, groups: t.Mapping[str, t.Sequence[str]]) -> None:
        self._file = replacing(path)
        self._groups = groups
        self._lines: list[InventoryLine] = []
        self.by_group: list[tuple[str, list[InventoryLine]]] = []

    def __enter__(self) -> InventoryReport:
        self._stream = self._file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: types.TracebackType | None) -> bool | None:
        return self._file.__exit__(kind, value, trace)

    def add(self, result: Json, host: Host) -> None:
        self._lines.append(inventory_line(result, host))

    def finish(self, fleet: Fleet) -> None:
        missing = {**dict.fromkeys(fleet.unreachable, "unreachable"), **dict.fromkeys(fleet.invalid, "not audited")}
        self._lines += [InventoryLine(host, status=status) for host, status in missing.items()]
        self.by_group = by_group(self._lines, self._groups)
        self._stream.write(csv_line(COLUMNS))
        for group, lines in self.by_group:
            self._stream.writelines(csv_line(_cells(group, line)) for line in lines)


def inventory_line(result: Json, host: Host) -> InventoryLine:
    """A result → its line."""
    knobs = result["node"].get("knobs") or {}
    applied = result.get("applied")
    applied = applied if isinstance(applied, dict) else {}
    profiles, generation = applied.get("profiles"), applied.get("generation")
    settings, derived = host_settings(result), result.get("derived") or {}
    return InventoryLine(
        host=host.name,
        kernel=host.kernel,
        hierarchy=host.hierarchy,
        memory=host.memtotal,
        swap=host.swap_total,
        thp=str(knobs.get(_THP) or ""),
        min_free_kbytes=_number(knobs.get("vm.min_free_kbytes")),
        watermark_scale_factor=_number(knobs.get("vm.watermark_scale_factor")),
        profiles=", ".join(map(str, profiles)) if isinstance(profiles, list) else str(profiles or ""),
        generation=int(generation) if is_number(generation) else None,
        conflicts=None if settings is None else tuple(setting_name(row) for row in settings if in_conflict(row)),
        changes_at_boot=None if settings is None else tuple(setting_name(row) for row in settings if row.get("agrees") is False),
        drift=None if settings is None else tuple(setting_name(row) for row in settings if row.get("drift") is True),
        allocatable=_number(derived.get("allocatable_bytes")),
        requests=_number(derived.get("sum_request_bytes")),
        limits=_number(derived.get("sum_limit_bytes")),
        stranded=_number(derived.get("stranded_bytes")),
    )


def promise_text(lines: t.Iterable[InventoryLine]) -> str:
    """What the workloads of a group were promised, and the host on which limits come to most; empty where no node says what it can promise.

    C(requests 12.0 GiB (40 %) and limits 90.0 GiB (300 %) of 30.0 GiB, 4.00 GiB stranded, most on node17 (350 %)).
    """
    known = [line for line in lines if line.allocatable and line.allocatable > 0]
    if not known:
        return ""
    allocatable = sum(line.allocatable or 0 for line in known)
    requests, limits, stranded = (
        sum(of(line) or 0 for line in known) for of in (lambda line: line.requests, lambda line: line.limits, lambda line: line.stranded)
    )
    worst = max(known, key=lambda line: (line.limits or 0) / (line.allocatable or 1))
    sums = f"requests {_share(requests, allocatable)} and limits {_share(limits, allocatable)} of {format_size(int(allocatable))}"
    most = f", most on {worst.host} ({(worst.limits or 0) / (worst.allocatable or 1):.0%})" if len(known) > 1 else ""
    return f"{sums}, {format_size(int(stranded))} stranded{most}"


def _share(size: float, of: float) -> str:
    return f"{format_size(int(size))} ({size / of:.0%})"


def by_group(lines: t.Sequence[InventoryLine], groups: t.Mapping[str, t.Sequence[str]]) -> list[tuple[str, list[InventoryLine]]]:
    """[(group, its hosts)], groups and hosts by name. C(all) and C(ungrouped) hold only hosts that no other group has."""
    of_name = {line.host: line for line in lines}
    told = {group: [of_name[host] for host in dict.fromkeys(hosts) if host in of_name] for group, hosts in groups.items() if group not in _EVERYBODY}
    grouped = {line.host for members in told.values() for line in members}
    told["ungrouped" if grouped else "all"] = [line for line in lines if line.host not in grouped]
    return [(group, sorted(members, key=lambda line: line.host)) for group, members in sorted(told.items()) if members]


def _number(value: t.Any) -> float | None:
    return value if is_number(value) else None


def _cells(group: str, line: InventoryLine) -> list[t.Any]:
    lists = [None if names is None else "; ".join(names) for names in (line.conflicts, line.changes_at_boot, line.drift)]
    promised = [line.allocatable, line.requests, line.limits, line.stranded]
    marks = [line.min_free_kbytes, line.watermark_scale_factor]
    return [
        group,
        line.host,
        line.kernel,
        line.hierarchy,
        line.memory,
        line.swap,
        line.thp,
        *marks,
        line.profiles,
        line.generation,
        *promised,
        *lists,
        line.status or "ok",
    ]
