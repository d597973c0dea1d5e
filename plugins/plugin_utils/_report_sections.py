# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What the page says of settings, overcommit, findings over time and groups of hosts: docs/architecture.md 3.11 to 3.14. Pure.

All of these keys may be absent, in results of an older release too: then there is nothing to say. Names are pairs in lists, never object keys.
"""

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import Json, is_number, join_findings, value_text

_OVERCOMMIT = ("allocatable_bytes", "sum_request_bytes", "sum_limit_bytes", "stranded_bytes", "workloads", "without_limit", "stranded_workloads")
# What the table by group says of a host besides its line: (key, name in the result's knobs).
_GROUP_KNOBS = (
    ("thp", ("transparent_hugepage/enabled", "thp.enabled")),
    ("min_free_kbytes", ("vm.min_free_kbytes",)),
    ("watermark_scale_factor", ("vm.watermark_scale_factor",)),
)


def findings(result: Json, rules: t.Mapping[str, Json]) -> list[Json]:
    """All findings joined with their rules; those that are accepted have `suppressed`, those whose acceptance is over `expired`, new ones `new`."""
    open_ones = [one for one in result["findings"] if not mapping(one.get("suppressed"))]
    accepted = [one for one in result["findings"] if mapping(one.get("suppressed"))]
    expired = {_key(one): mapping(one.get("suppression_expired")) for one in open_ones}
    reasons = {_key(one): mapping(one.get("suppressed")) for one in accepted}
    new = {(row["rule"], row["subject"]) for row in changes(result) if row["state"] == "new"}
    told: list[Json] = []
    for one in join_findings({**result, "findings": open_ones}, rules):
        name = one.subject or one.subject_id
        told.append({**one._asdict(), "expired": promise(expired.get((one.rule, one.subject_id))), "new": (one.rule, name) in new})
    # Without its mark, lest a reader that leaves accepted ones out leave it out here.
    for one in join_findings({**result, "findings": [{key: value for key, value in one.items() if key != "suppressed"} for one in accepted]}, rules):
        told.append({**one._asdict(), "suppressed": promise(reasons.get((one.rule, one.subject_id)))})
    return told


def changes(result: Json) -> list[Json]:
    """C([{rule, subject, state, before, after}]): state is new, gone, still or absent (no such subject any more); before and after are [name, text]."""
    rows = []
    for row in _list(mapping(result.get("changes")).get("findings")):
        before, after = mapping(row.get("before")), mapping(row.get("after"))
        state = "absent" if not after else "new" if not before else "gone" if after.get("status") == "pass" else "still"
        subject = row.get("subject")
        name = (subject.get("name") or subject.get("id")) if isinstance(subject, dict) else subject
        rows.append({"rule": str(row.get("rule", "")), "subject": str(name or ""), "state": state, "before": _observed(before), "after": _observed(after)})
    return rows


def since(result: Json) -> str:
    """When the audit was that C(changes) compares with; empty without one."""
    return str(mapping(mapping(result.get("changes")).get("since")).get("collected_at") or "")


def unused(result: Json) -> list[str]:
    """Suppressions that match no finding, each as a line."""
    told = []
    for one in _list(result.get("suppressions_unused")):
        where = [f"{key} {one[key]}" for key in ("host", "subject") if one.get(key)]
        told.append(" ".join([str(one.get("rule", "")), *where, f"until {one['until']}" if one.get("until") else ""]).strip())
    return told


def settings(result: Json) -> list[Json]:
    """A row a setting, as texts. Without C(settings), the live values alone."""
    rows = _list(result.get("settings"))
    if not rows:
        return [{"name": name, "subject": "", "live": value_text("", value)} for name, value in sorted(mapping(result["node"].get("knobs")).items())]
    return [_setting(row) for row in rows]


def applied(result: Json) -> str:
    """What the node says that a tune last did to it."""
    done = mapping(result.get("applied"))
    if not done:
        return ""
    profiles = done.get("profiles")
    names = ", ".join(map(str, profiles)) if isinstance(profiles, list) else str(profiles or "")
    return f"generation {done.get('generation', '?')}" + (f", {names}" if names else "")


def overcommit(result: Json) -> Json:
    """Numbers of C(derived) by their names there, and whence allocatable; empty where the node does not tell what it can promise."""
    derived = mapping(result.get("derived"))
    if not is_number(derived.get("allocatable_bytes")):
        return {}
    told = {name: derived[name] for name in _OVERCOMMIT if is_number(derived.get(name))}
    days = derived.get("peak_days")
    watched = [value for value in (days.values() if isinstance(days, dict) else days if isinstance(days, list) else [days]) if is_number(value)]
    return {**told, "source": str(derived.get("allocatable_source") or ""), "peak_days": watched}


def line(result: Json) -> Json:
    """What the fleet's tables by group say of one host."""
    node, rows = result["node"], _list(result.get("settings"))
    knobs = mapping(node.get("knobs"))
    told: Json = {key: next((value_text("", knobs[name]) for name in names if name in knobs), "") for key, names in _GROUP_KNOBS}
    meminfo = mapping(node.get("meminfo"))
    told["swap"] = meminfo.get("SwapTotal") if is_number(meminfo.get("SwapTotal")) else None
    told["applied"] = applied(result)
    told["conflicts"] = sum(row.get("agrees") is False for row in rows) if "settings" in result else None
    told["drift"] = sum(row.get("drift") is True for row in rows) if "settings" in result else None
    told["suppressed"] = sum(bool(one.get("suppressed")) for one in result["findings"])
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


def promise(mark: Json | None) -> list[str] | None:
    """[reason, until] of a suppression."""
    return [str(mark.get("reason") or ""), str(mark.get("until") or "")] if mark else None


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
        "winner": _winner(mapping(row.get("winner"))),
        "others": [_winner(mapping(other)) for other in _list(row.get("others"))],
        "wanted": str(wanted["value"]) if wanted.get("value") is not None else None,
        "wanted_by": ", ".join(by),
    }


def _winner(winner: Json) -> list[str] | None:
    """[where, value]: the path with its line, else the source."""
    if not winner:
        return None
    place = str(winner.get("path") or winner.get("source") or "")
    return [f"{place}:{winner['line']}" if winner.get("line") is not None else place, str(winner.get("value", ""))]


def _observed(state: Json) -> list[list[str]]:
    return [[str(name), value_text(str(name), value)] for name, value in mapping(state.get("observed")).items()]


def _list(value: t.Any) -> list[Json]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _key(one: Json) -> tuple[str, str]:
    return one["rule"], one["subject"]["id"]
