# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What reports say of one host beyond findings and columns: OOM history, who pushed, a cgroup's settings, a node's small tables. Pure.

Names are pairs in lists, never object keys: C(__proto__) is a name like any other.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._shares import format_size
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import Json, display_name, duration_text, is_number, value_text

Pairs = list[list[t.Any]]

_SLABS = 15
_OUTCOMES = ("failed", "unknown", "passed", "not_applicable")
# The sizes below /sys whose names do not say so: THP, zram (disksize, mm_stat), zswap (debugfs).
_SIZES = frozenset(("hpage_pmd_size", "disksize", "orig_data_size", "compr_data_size", "mem_used_total", "mem_limit", "mem_used_max", "pool_total_size"))
_SIZE = re.compile(r"[0-9]{1,15}")
_IDENTITY = ("path", "runtime", "qos_class", "namespace", "pod", "pod_uid", "container", "container_id", "image")
_SETTINGS = (
    "limit", "high", "low", "effective_low", "min", "effective_min", "soft_limit", "swap_limit", "swappiness", "oom_group", "oom_kill_disable",
)  # fmt: skip
_STATE = ("usage", "peak", "children_usage", "swap", "dying", "dying_bytes", "growth", "refaults")
_TITLES = {
    "qos_class": "QoS class",
    "pod_uid": "pod UID",
    "container_id": "container id",
    "effective_low": "effective low",
    "effective_min": "effective min",
    "soft_limit": "soft limit",
    "swap_limit": "swap limit",
    "oom_group": "killed as a group",
    "oom_kill_disable": "OOM killer off",
    "children_usage": "usage of its children",
    "dying": "removed cgroups below",
    "dying_bytes": "held by removed cgroups",
    "oom_kill": "OOM kills",
    "oom_group_kill": "OOM kills of the group",
}


def oom_coverage(result: Json) -> str:
    """What of the kernel log could not be looked at, as a sentence; empty if it is all there."""
    reason = result["unknown"].get("oom")
    if reason:
        return f"The kernel log could not be read: {reason}"
    oom = result["oom"]
    if not oom.get("lost"):
        return ""
    since, uptime = oom.get("since_us"), result["node"].get("uptime_seconds")
    if is_number(since) and is_number(uptime) and since > 0:
        return f"The kernel log goes back only to {duration_text(max(uptime - since / 1e6, 0))} before the audit; older kills are not in it."
    return "The kernel log no longer holds its beginning; older kills may not be in it."


def next_victims(result: Json) -> list[Json]:
    """C(oom.next_victims) with the name to show: a plain cgroup that lives goes by its path, not by what its kind has in common."""
    victims = []
    for victim in result["oom"].get("next_victims", []):
        path = victim.get("cgroup")
        plain = path and (victim.get("owner") == "cgroup" or not victim.get("name"))
        victims.append({**victim, "name": str(path) if plain else str(victim.get("name") or "")})
    return victims


def pushers(result: Json) -> dict[str, list[Json]]:
    """C({grew, refaulted}): cgroups whose usage grew in the window, and those whose evicted pages came back, the most first; one may be both."""
    rows = [{**row, "name": display_name(row)} for row in result["pushers"]]

    def by(key: str) -> list[Json]:
        moved = [row for row in rows if is_number(row.get(key)) and row[key] > 0]
        return sorted(moved, key=lambda row: (-row[key], row["name"]))

    return {"grew": by("growth"), "refaulted": by("refaults")}


def rule_tally(result: Json) -> dict[str, int]:
    """How many rules passed, failed, were unknown or not applicable. A rule that failed anywhere failed; one is unknown if nothing worse is known."""
    outcomes = list(rule_outcomes(result).values())
    return {status: outcomes.count(status) for status in _OUTCOMES}


def rule_outcomes(result: Json) -> dict[str, str]:
    """{rule: outcome}, in the words of C(rule_tally)."""
    return {rule: next((status for status in _OUTCOMES if counts.get(status)), "not_applicable") for rule, counts in sorted(result["rules"].items())}


def row_details(row: Json) -> list[tuple[str, Pairs]]:
    """A row of C(top.rows) in groups of [name, text]: what it is, its settings, state, events, pressure, vendor files."""
    settings = _pairs(row, _SETTINGS)
    if is_number(row.get("request")):
        source = row.get("request_source")
        settings.append(["request", value_text("request", row["request"]) + (f" ({source})" if source else "")])
    groups = [("Identity", _pairs(row, _IDENTITY)), ("Settings", settings), ("State", _pairs(row, _STATE))]
    groups += [(title, _pairs(_mapping(row.get(key)), None)) for key, title in (("events", "Events here and below"), ("events_local", "Events here"))]
    pressure = [[kind, ", ".join(f"{name} {text}" for name, text in _averages(_mapping(figures)))] for kind, figures in _mapping(row.get("pressure")).items()]
    groups += [("Memory pressure", pressure), ("Vendor files", _vendor(_mapping(row.get("vendor"))))]
    return [(title, pairs) for title, pairs in groups if pairs]


def small_tables(result: Json) -> list[Json]:
    """C([{title, columns: [[label, kind]], rows}]): NUMA nodes, swap areas, the largest slab caches, tmpfs mounts; without those that the node has not."""
    node = result["node"]
    tables = [
        _table("NUMA nodes", _numa_rows(node), [("Node", "id", "id"), ("Memory", "MemTotal", "bytes"), ("Free", "MemFree", "bytes"),
               ("Page cache", "FilePages", "bytes"), ("Anonymous", "AnonPages", "bytes"), ("Slab", "Slab", "bytes"), ("Misses", "numa_miss", "count"),
               ("Foreign", "numa_foreign", "count"), ("Other node", "other_node", "count")]),
        _table("Swap areas", _rows(node, "swaps"), [("Path", "path", "text"), ("Type", "type", "text"), ("Size", "size_bytes", "bytes"),
               ("Used", "used_bytes", "bytes"), ("Priority", "priority", "count")]),
        _table("Largest slab caches", _largest(_rows(node, "slabs"), "bytes")[:_SLABS], [("Cache", "name", "text"), ("Size", "bytes", "bytes"),
               ("Objects", "objects", "count"), ("In use", "active", "count"), ("Object size", "object_bytes", "bytes")]),
        _table("tmpfs mounts", _largest(_rows(node, "tmpfs"), "used_bytes"), [("Mount point", "mount_point", "text"), ("Used", "used_bytes", "bytes"),
               ("Size", "size_bytes", "bytes")]),
    ]  # fmt: skip
    return [table for table in tables if table["rows"]]


def subsystems(result: Json) -> Pairs:
    """C(node.details) and sockets as nested [name, text or such a list]: THP, KSM, zswap, zram, MGLRU, DAMON, huge pages."""
    node = result["node"]
    known = {**_mapping(node.get("details")), "sockstat": _mapping(node.get("sockstat"))}
    return [[name, nested(name, value)] for name, value in known.items() if value]


def nested(name: str, value: t.Any) -> t.Any:
    """A nested value as text, or as [name, text or such a list]."""
    if isinstance(value, dict):
        order = sorted(value, key=lambda key: (isinstance(value[key], (dict, list)), key))
        # Pools of huge pages are named by their size.
        return [[format_size(int(key)) if name == "hugepages" and _SIZE.fullmatch(key) else key, nested(key, value[key])] for key in order]
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return [[_title(item, index), nested("", item)] for index, item in enumerate(value)]
    return ", ".join(map(str, value)) if isinstance(value, list) else _leaf(name, value)


def _leaf(name: str, value: t.Any) -> str:
    # Elsewhere a bare `free` or `limit` is a size; below sysfs it counts.
    return format_size(int(value)) if is_number(value) and name in _SIZES else value_text(f"sysfs.{name}", value)


def _title(item: t.Any, index: int) -> str:
    return str(item["name"]) if isinstance(item, dict) and "name" in item else str(index)


def _pairs(row: Json, names: t.Sequence[str] | None) -> Pairs:
    """[title, text] of the names that the row has; of all it has where C(names) is None, as counts."""
    known = names is not None
    return [[_TITLES.get(name, name), value_text(name if known else "", row[name])] for name in (names if names is not None else row) if name in row]


def _vendor(files: Json) -> Pairs:
    """Of statistics what is not zero: times by how long they took, idle bytes by age."""
    return [[name, ", ".join(_parts(value)) or "0" if isinstance(value, dict) else value_text("", value)] for name, value in files.items()]


def _parts(figures: Json) -> t.Iterator[str]:
    ages = figures.get("ages")
    for name, value in figures.items():
        if isinstance(value, list) and isinstance(ages, list) and name != "ages":
            yield f"{name} " + " + ".join(f"{format_size(int(size))} for {age} scans" for age, size in zip(ages, value) if is_number(size) and size)
        elif is_number(value) and value:
            yield f"{name} {value_text('', value)}"


def _averages(figures: Json) -> t.Iterator[tuple[str, str]]:
    for name in ("avg10", "avg60", "avg300"):
        if is_number(figures.get(name)):
            yield name, value_text(name, figures[name])


def _numa_rows(node: Json) -> list[Json]:
    return [{**_mapping(row.get("meminfo")), **_mapping(row.get("numastat")), "id": row.get("id")} for row in _rows(node, "numa")]


def _rows(node: Json, key: str) -> list[Json]:
    rows = node.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _largest(rows: list[Json], key: str) -> list[Json]:
    return sorted(rows, key=lambda row: -row[key] if is_number(row.get(key)) else 0)


def _table(title: str, rows: list[Json], columns: list[tuple[str, str, str]]) -> Json:
    told = [(label, key, kind) for label, key, kind in columns if any(key in row for row in rows)]
    values = [[_cell(row.get(key), kind) for unused, key, kind in told] for row in rows]
    return {"title": title, "columns": [[label, kind] for label, unused, kind in told], "rows": values}


def _cell(value: t.Any, kind: str) -> t.Any:
    if kind == "text":
        return "" if value is None else str(value)
    return value if is_number(value) else None


def _mapping(value: t.Any) -> Json:
    return value if isinstance(value, dict) else {}
