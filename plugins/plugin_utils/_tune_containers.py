# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What a tune or a rollback did to the cgroups of containers: rows, one a cgroup, of a node's checked answer → counts and lines."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _shares, _workloads

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Json = dict[str, t.Any]
    Move = Callable[[Mapping[str, t.Any], str | None, str | None], str]

# The shapes of docs/schemas/tune.json.
_TEXT, _TEXT_OR_NONE = (str,), (str, type(None))
ROW = {
    **dict.fromkeys(("path", "name", "level", "class", "source"), _TEXT),
    **dict.fromkeys(("request", "limit"), (int, type(None))),
    "values": (dict,),
    "none": (list,),
}
CELL = {**dict.fromkeys(("before", "wanted"), _TEXT_OR_NONE), **dict.fromkeys(("origin", "equivalence", "reason", "status"), _TEXT)}
NONE = dict.fromkeys(("intent", "reason"), _TEXT)
LEVELS = ("class", "pod", "container", "unit", "")
STATUSES = ("conflict", "unsupported", "deferred", "undone", "would_change", "changed", "ok")
EQUIVALENCES = ("native", "near", "none")
_CHANGING = ("would_change", "changed")
_ATTENTION = ("conflict", "unsupported", "deferred")
_MOST_NAMES = 3


def counts(rows: Sequence[Json]) -> dict[str, int]:
    """C(cgroups), C(changing) of them, C(near) values, C(none): what cannot be had, and values by status; {} without rows."""
    if not rows:
        return {}
    cells = [cell for row in rows for cell in row["values"].values()]
    found = collections.Counter(cell["status"] for cell in cells)
    told = {
        "cgroups": len(rows),
        "changing": sum(any(cell["status"] in _CHANGING for cell in row["values"].values()) for row in rows),
        "near": sum(cell["equivalence"] == "near" for cell in cells),
        "none": sum(len(row["none"]) for row in rows),
    }
    return {**told, **{status: found[status] for status in STATUSES if found[status]}}


def headline(rows: Sequence[Json]) -> str:
    """C(containers: 12 of 30 cgroups changed, 3 values near, 2 cannot be had, 1 deferred); empty without rows."""
    told = counts(rows)
    if not told:
        return ""
    verb = next((words for status, words in (("changed", "changed"), ("would_change", "would change"), ("undone", "undone")) if status in told), "")
    undone = sum(any(cell["status"] == "undone" for cell in row["values"].values()) for row in rows)
    changing = f"{told['changing'] or undone} of {_many(told['cgroups'], 'cgroup')} {verb}" if verb else f"{_many(told['cgroups'], 'cgroup')}, none changes"
    parts = [changing, f"{_many(told['near'], 'value')} near" if told["near"] else "", f"{told['none']} cannot be had" if told["none"] else ""]
    parts += [f"{told[status]} {status}" for status in _ATTENTION if status in told]
    return "containers: " + ", ".join(filter(None, parts))


def attention(rows: Iterable[Json]) -> list[tuple[str, str]]:
    """(status, line) of what somebody should look at. Many cgroups with the same have one line."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        for file, cell in row["values"].items():
            if cell["status"] in _ATTENTION:
                groups.setdefault((cell["status"], file, cell["reason"]), []).append(row["name"])
    return [(key[0], f"{key[0]}: {key[1]} of {_names(groups[key])}: {key[2]}") for key in sorted(groups, key=lambda key: _ATTENTION.index(key[0]))]


def lines(rows: Iterable[Json], move: Move, *, everything: bool) -> Iterator[str]:
    """A cgroup's line, then one for each value that changes, and what it cannot have; with C(everything) also what is as it should be, of all cgroups."""
    for row in rows:
        cells = {file: cell for file, cell in row["values"].items() if everything or cell["status"] in _CHANGING}
        if cells or (everything and row["none"]):
            yield _head(row)
            yield from (f"  {file}: {_value(file, cell, move)}" for file, cell in cells.items())
            yield from (f"  cannot be had: {one['intent']}: {one['reason']}" for one in row["none"])


def _head(row: Mapping[str, t.Any]) -> str:
    estimated = " (estimated)" if row["source"] == _workloads.ESTIMATED else ""
    sizes = [f"{key} {_shares.format_size(row[key])}{estimated if key == 'request' else ''}" for key in ("request", "limit") if row[key]]
    about = ", ".join(filter(None, (row["level"], row["class"] if row["class"] != row["name"] else "", *sizes)))
    return f"{row['name']} ({about})" if about else row["name"]


def _value(file: str, cell: Mapping[str, t.Any], move: Move) -> str:
    """C(0 → 4294967296 (4.00 GiB) (profile: protect_soft)); near: with what differs."""
    status = cell["status"]
    words = move({"name": file}, cell["before"], cell["wanted"])
    if status == "ok" or cell["wanted"] is None:
        words = words.partition(" → ")[0] + (", as wanted" if status == "ok" else "")
    why = f"{cell['equivalence']}: {cell['reason']}" if cell["equivalence"] == "near" else cell["reason"]
    notes = "; ".join(filter(None, (cell["origin"], why, status if status in (*_ATTENTION, "undone") else "")))
    return f"{words} ({notes})" if notes else words


def _names(names: Sequence[str]) -> str:
    distinct = [*dict.fromkeys(names)]
    more = f" and {len(distinct) - _MOST_NAMES} more" if len(distinct) > _MOST_NAMES else ""
    return ", ".join(distinct[:_MOST_NAMES]) + more


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
