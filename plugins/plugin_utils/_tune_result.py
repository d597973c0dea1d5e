# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What a node says of a tune or a rollback → result file, diff, and lines for the terminal. A node is not trusted: its answer is checked for shape first."""

from __future__ import annotations

import collections
import json
import os
import typing as t

from ansible_collections.memqos.fleet.plugins.plugin_utils import _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import visible

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ansible_collections.memqos.fleet.plugins.plugin_utils._profiles import Profile

    Json = dict[str, t.Any]
    # (subject, knob, profile) → why the profile wants it
    Why = Callable[[str, str, str], str]

_MAX_BYTES = 16 * 1024 * 1024
_MAX_LINES = 12
_TEXTS = ("name", "scope", "subject", "status", "equivalence", "reason", "profile", "expression")
_TEXTS_OR_NONE = ("wanted", "live_before", "live_after", "effective", "persisted_before", "persisted_after")
STATUSES = ("failed", "refused", "conflict", "unsupported", "deferred", "undone", "would_change", "changed", "ok")
_COLORS = {"failed": "red", "refused": "red", "conflict": "red", "unsupported": "yellow", "deferred": "yellow", "undone": "yellow"}


class BadAnswer(ValueError):
    """The node's answer is no result of a tune."""


def parse(text: str) -> Json:
    """Raises BadAnswer."""
    if len(text) > _MAX_BYTES:
        raise BadAnswer(f"{len(text)} bytes")
    try:
        answer = json.loads(text)
        _check(answer)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise BadAnswer(f"{type(exc).__name__}: {str(exc):.100}") from exc
    return t.cast("Json", answer)


def _check(answer: Json) -> None:
    for row in answer["results"]:
        winner = row["winner"]
        texts = [row[key] for key in _TEXTS] + [row[key] for key in _TEXTS_OR_NONE if row[key] is not None]
        texts += [winner["source"], winner["path"]] if winner is not None else []
        if not all(isinstance(text, str) for text in texts) or row["status"] not in STATUSES:
            raise ValueError("a result of another shape")
    texts = [text for file in answer["files"] for text in (file["path"], file["before"] or "", file["after"] or "")]
    if not all(isinstance(text, str) for text in (*texts, *answer["notes"], answer["problem"])) or not isinstance(answer["generation"], int):
        raise ValueError("files, notes or problem of another shape")


def result_path(directory: str, host: str) -> str:
    """C(tune/HOST.json) beside C(hosts/)."""
    return os.path.join(directory, "tune", os.path.basename(_results.result_path(directory, host)))


def write(directory: str, host: str, answer: Json) -> str:
    """The path. Raises ResultError."""
    path = result_path(directory, host)
    with _results.replacing(path) as stream:
        json.dump({"host": host, "run_id": _results.RUN_ID, **answer}, stream, separators=(",", ":"))
    return path


def counts(answer: Json) -> dict[str, int]:
    """How many knobs have each status, those with none left out."""
    found = collections.Counter(row["status"] for row in answer["results"])
    return {status: found[status] for status in STATUSES if found[status]}


def reasons(profiles: Iterable[Profile]) -> Why:
    """Why a profile wants a value, by what it says itself; the unit may be one that a template or prefix stands for."""
    said: dict[tuple[str, str, str], str] = {}
    for profile in profiles:
        for (unit, knob), stated in profile.values.items():
            said[unit, knob, profile.name] = said["*" if unit else "", knob, profile.name] = stated.reason

    def why(subject: str, knob: str, profile: str) -> str:
        return said.get((subject, knob, profile)) or said.get(("*" if subject else "", knob, profile), "")

    return why


def diff(answer: Json, why: Why) -> list[dict[str, str]]:
    """For --diff: one line a value, then each file as a unified diff."""
    lines = [_value_line(row, why) for row in answer["results"] if row["status"] in ("would_change", "changed", "refused", "conflict", "failed", "undone")]
    shown: list[dict[str, str]] = [{"prepared": "\n".join(lines) + "\n"}] if lines else []
    for file in answer["files"]:
        before, after = (_printable(file[key] or "") for key in ("before", "after"))
        absent = [key for key in ("before", "after") if file[key] is None]
        headers = {f"{key}_header": f"{visible(file['path'])}{' (absent)' if key in absent else ''}" for key in ("before", "after")}
        shown.append({"before": before, "after": after, **headers})
    return shown


def _printable(text: str) -> str:
    return "".join(f"{visible(line)}\n" for line in text.splitlines())


def _value_line(row: Json, why: Why) -> str:
    subject = f"{row['subject']} " if row["subject"] else ""
    now = row["live_before"] if row["live_before"] is not None else row["persisted_before"]
    text = f"{subject}{row['name']}: {_word(now)} → {_word(row['wanted'])}"
    if row["status"] not in ("would_change", "changed"):
        text += f"  {row['status'].upper()}: {row['reason']}"
    elif row["profile"]:
        asked = "" if row["expression"] == row["wanted"] else f": {row['expression']}"
        reason = why(row["subject"], row["name"], row["profile"])
        text += f"  [{row['profile']}{asked}] {reason.partition('. ')[0].rstrip('.')}" if reason else f"  [{row['profile']}{asked}]"
        text += f" ({row['reason']})" if row["reason"] else ""
    elif row["reason"]:
        text += f"  {row['reason']}"
    return visible(text)


def _word(value: str | None) -> str:
    return "nothing" if value is None else value if value else "default"


def summary(answer: Json, host: str, *, verb: str) -> list[Line]:
    """One line a host, and one for each thing that somebody should look at."""
    found = counts(answer)
    words = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in found.items()) or "nothing to do"
    generation = f" (generation {answer['generation']})" if answer["generation"] else ""
    lines = [Line(f"{visible(host)}: {verb}: {words}{generation}", "red" if answer["problem"] else None)]
    told = [Line(f"  {visible(_attention(row))}", _COLORS.get(row["status"])) for row in answer["results"] if _needs_attention(row)]
    lines += told[:_MAX_LINES]
    if len(told) > _MAX_LINES:
        lines.append(Line(f"  … and {len(told) - _MAX_LINES} more: see the result file"))
    lines += [Line(f"  {visible(note)}") for note in answer["notes"]]
    return lines


def _needs_attention(row: Mapping[str, t.Any]) -> bool:
    return bool(row["reason"]) and row["status"] not in ("undone",)


def _attention(row: Mapping[str, t.Any]) -> str:
    subject = f"{row['subject']} " if row["subject"] else ""
    return f"{row['status'].replace('_', ' ')}: {subject}{row['name']}: {row['reason']}"
