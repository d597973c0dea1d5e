# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What the page says of settings, overcommit, findings over time and groups of hosts: docs/architecture.md 3.11 to 3.14. Pure.

All of these keys may be absent, in results of an older release too: then there is nothing to say. Names are pairs in lists, never object keys.
"""

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.plugin_utils._report_inventory import inventory_line
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import (
    Host,
    Json,
    changes_since,
    host_settings,
    in_conflict,
    is_number,
    join_findings,
    value_text,
)

_OVERCOMMIT = ("allocatable_bytes", "sum_request_bytes", "sum_limit_bytes", "stranded_bytes", "workloads", "without_limit", "stranded_workloads")


def findings(result: Json, rules: t.Mapping[str, Json]) -> list[Json]:
    """All findings joined with their rules; those that are accepted have `suppressed`, those whose acceptance is over `expired`, new ones `new`."""
    new = {(one.rule, one.subject) for one in changes_since(result, rules) if one.what == "new"}
    return [{**one._asdict(), "new": (one.rule, one.subject) in new} for one in join_findings(result, rules)]


def since(result: Json) -> Json:
    """C({collected_at, generation, rebooted}): which audit C(changes) compares with, and what came between; empty without one."""
    known = mapping(result.get("changes"))
    before = mapping(known.get("since"))
    if not before:
        return {}
    generation = known.get("generation") if known.get("generation") != before.get("generation") else None
    return {"collected_at": str(before.get("collected_at") or ""), "generation": generation, "rebooted": known.get("rebooted") is True}


def unused(suppressions: t.Iterable[t.Mapping[str, str]]) -> list[str]:
    """Suppressions that match no finding of any host, each as a line."""
    return [f"{one['rule']} of {one['subject']} on {one['host']}, until {one['until']}: {one['reason']}" for one in suppressions]


def settings(result: Json) -> list[Json]:
    """A row a setting, as texts. Where the audit did not look at files, the live values alone."""
    rows = host_settings(result)
    if rows is None:
        return [{"name": name, "subject": "", "live": value_text("", value)} for name, value in sorted(mapping(result["node"].get("knobs")).items())]
    return [_setting(row) for row in rows]


def overcommit(result: Json) -> Json:
    """Numbers of C(derived) by their names there, and whence allocatable; empty where the node does not tell what it can promise."""
    derived = mapping(result.get("derived"))
    if not is_number(derived.get("allocatable_bytes")):
        return {}
    told = {name: derived[name] for name in _OVERCOMMIT if is_number(derived.get(name))}
    days = derived.get("peak_days")
    watched = [value for value in (days.values() if isinstance(days, dict) else days if isinstance(days, list) else [days]) if is_number(value)]
    return {**told, "source": str(derived.get("allocatable_source") or ""), "peak_days": watched}


def line(result: Json, host: Host) -> Json:
    """What the fleet's tables by group say of one host."""
    known = inventory_line(result, host)
    told: Json = {"swap": known.swap, "thp": known.thp, "watermarks": known.watermarks_text, "applied": known.profile_text}
    for name in ("conflicts", "changes_at_boot", "drift"):
        listed = getattr(known, name)
        told[name] = None if listed is None else len(listed)
    return {**told, **overcommit(result)}


def entry_text(entry: t.Any) -> str:
    """An entry of a profile for people: C({raise_to: 1}) is C(at least 1)."""
    if not isinstance(entry, dict):
        return value_text("", entry)
    if "value" in entry:
        return entry_text(entry["value"])
    for key, words in (("raise_to", "at least "), ("lower_to", "at most "), ("observed", "what was observed: ")):
        if key in entry:
            return words + entry_text(entry[key])
    if "of_memory" in entry:
        return ", ".join([f"{entry['of_memory']} of memory", *(f"{key} {entry[key]}" for key in ("min", "max") if key in entry)])
    return ", ".join(f"{key} {value}" for key, value in entry.items())


def mapping(value: t.Any) -> Json:
    return value if isinstance(value, dict) else {}


def _setting(row: Json) -> Json:
    wanted = mapping(row.get("wanted"))
    told = {name: None if row.get(name) is None else str(row[name]) for name in ("live", "effective", "persisted")}
    by = [str(wanted[key]) if key == "profile" else f"generation {wanted[key]}" for key in ("profile", "generation") if wanted.get(key) is not None]
    return {
        **told,
        "name": str(row.get("name", "")),
        "subject": str(row.get("subject") or "") if row.get("scope") == "unit" else "",
        "agrees": row.get("agrees"),
        "drift": row.get("drift"),
        "contested": in_conflict(row),
        "winner": _winner(mapping(row.get("winner"))),
        "others": [_winner(mapping(other)) for other in _list(row.get("others"))],
        "wanted": str(wanted["value"]) if wanted.get("value") is not None else None,
        "wanted_by": ", ".join(by),
    }


def _winner(winner: Json) -> list[str] | None:
    """[where, value, problem]: the path with its line, else the source; no value is a line that keeps others away."""
    if not winner:
        return None
    place = str(winner.get("path") or winner.get("source") or "")
    # Line 0: the whole file.
    where = f"{place}:{winner['line']}" if winner.get("line") else place
    return [where, *("" if winner.get(key) is None else str(winner[key]) for key in ("value", "problem"))]


def _list(value: t.Any) -> list[Json]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
