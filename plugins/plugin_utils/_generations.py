# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What a node says of its generations → result file, and lines for the terminal. A node is not trusted: its answer is checked for shape first."""

from __future__ import annotations

import difflib
import json
import os
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.plugin_utils import _results, _tune_result
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import visible
from ansible_collections.memqos.fleet.plugins.plugin_utils._tune_result import BadAnswer, require

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Json = dict[str, t.Any]

SCHEMA_VERSION = 1
_MAX_BYTES = 64 * 1024 * 1024
# More on one terminal helps nobody: the result file has it all.
_MAX_GENERATIONS = 50
_MAX_VALUES = 3

_TEXT, _COUNT, _LIST = (str,), (int,), (list,)
# The shapes of docs/schemas/generations.json.
_ANSWER = {"schema_version": _COUNT, "stands": _TEXT, "generations": _LIST, "compared": (dict, type(None)), "notes": _LIST}
_GENERATION = {
    "generation": _COUNT,
    **dict.fromkeys(("started", "host", "run_id", "stands", "problem"), _TEXT),
    **dict.fromkeys(("profiles", "values", "files"), _LIST),
}
_COMPARED = {"from": _TEXT, "to": _TEXT, "values": _LIST, "files": _LIST}
_VALUE = {"name": _TEXT, "subject": _TEXT, "before": (str, type(None)), "after": (str, type(None))}


def parse(text: str) -> Json:
    """Raises BadAnswer."""
    if len(text) > _MAX_BYTES:
        raise BadAnswer(f"{len(text)} bytes")
    try:
        answer = json.loads(text)
    # RecursionError: nested thousands deep.
    except (ValueError, RecursionError) as exc:
        raise BadAnswer(f"not JSON: {str(exc):.100}") from exc
    require(answer, _ANSWER, "the answer")
    if answer["schema_version"] != SCHEMA_VERSION:
        raise BadAnswer("another schema_version")
    for number, one in enumerate(answer["generations"]):
        require(one, _GENERATION, f"generations[{number}]")
        _require_all(one["values"], _VALUE, f"generations[{number}].values")
        _require_texts([*one["profiles"], *one["files"]], f"profiles or files of generations[{number}]")
    if answer["compared"] is not None:
        require(answer["compared"], _COMPARED, "compared")
        _require_all(answer["compared"]["values"], _VALUE, "compared.values")
        _require_all(answer["compared"]["files"], _tune_result.FILE, "compared.files")
    _require_texts(answer["notes"], "notes")
    return t.cast("Json", answer)


def _require_all(items: list[object], shape: Mapping[str, tuple[type, ...]], where: str) -> None:
    for number, item in enumerate(items):
        require(item, shape, f"{where}[{number}]")


def _require_texts(items: list[object], where: str) -> None:
    if not all(isinstance(item, str) for item in items):
        raise BadAnswer(f"{where} are not text")


def write(directory: str, host: str, answer: Json) -> str:
    """The path, C(generations/HOST.json) beside C(hosts/). Raises ResultError."""
    path = os.path.join(directory, "generations", os.path.basename(_results.result_path(directory, host)))
    with _results.replacing(path) as stream:
        json.dump({"host": host, "run_id": _results.RUN_ID, **answer}, stream, separators=(",", ":"))
    return path


def lines(answer: Json, host: str) -> list[Line]:
    """One line a generation, the newest last; then the comparison. Every line has the host's name: those of several hosts mix."""
    return [Line(visible(f"{host}: {line.text}"), line.color) for line in (*_list(answer), *_comparison(answer))]


def _list(answer: Json) -> Iterator[Line]:
    known = answer["generations"]
    if not known:
        yield Line("memqos.fleet has never changed this node")
    else:
        stands = "nothing of ours stands" if answer["stands"] == "origin" else f"{answer['stands']} stands"
        yield Line(f"{len(known)} generation{'s' if len(known) > 1 else ''}, {stands}")
    if len(known) > _MAX_GENERATIONS:
        yield Line(f"  … {len(known) - _MAX_GENERATIONS} older ones: see the result file")
    for one in known[-_MAX_GENERATIONS:]:
        yield _line(one, answer["stands"])
    yield from (Line(f"  {note}", "yellow") for note in answer["notes"])


def _line(one: Json, stands: str) -> Line:
    mark = "*" if str(one["generation"]) == stands else " "
    if one["problem"]:
        return Line(f"{mark} {one['generation']:>4}  {one['problem']}", "red")
    is_tune = one["stands"] == str(one["generation"])
    what = ", ".join(one["profiles"]) or "no profile" if is_tune else f"rolled back to {one['stands']}"
    values = [_short(value) for value in _shown(one["values"])]
    more = [f"{len(values) - _MAX_VALUES} more"] if len(values) > _MAX_VALUES else []
    files = [f"{len(one['files'])} file{'s' if len(one['files']) > 1 else ''}"] if one["files"] else []
    changed = ", ".join([*values[:_MAX_VALUES], *more, *files]) or "nothing that counts"
    return Line(f"{mark} {one['generation']:>4}  {one['started'] or 'at an unknown time'}  from {one['host'] or 'an unknown host'}  {what}: {changed}")


def _short(value: Json) -> str:
    return f"{value['subject']} {value['name']} {_tune_result.move(value, value['before'], value['after'])}".strip()


def _shown(values: list[Json]) -> list[Json]:
    """Without what starts something and has no value, as DAMON's commit."""
    actions = {knob.name for knob in _registry.host_knobs() if knob.one_shot}
    return [value for value in values if value["name"] not in actions]


def _comparison(answer: Json) -> Iterator[Line]:
    """Values, then files, in the form of a tune's diff."""
    compared = answer["compared"]
    if compared is None:
        return
    values = _shown(compared["values"])
    if not values and not compared["files"]:
        yield Line(f"from {compared['from']} to {compared['to']}: no difference")
        return
    yield Line(f"from {compared['from']} to {compared['to']}:")
    parts = _tune_result.diff(_as_told({**compared, "values": values}), _tune_result.reasons([]))
    for part in parts:
        yield from (Line(line) for line in _unified(part))


def _as_told(compared: Json) -> Json:
    """As though a tune had done it."""
    empty = {**dict.fromkeys(("scope", "reason", "profile", "expression"), ""), "effective": None, "persisted_before": None}
    rows = [
        {**empty, "name": value["name"], "subject": value["subject"], "status": "changed", "live_before": value["before"], "wanted": value["after"]}
        for value in compared["values"]
    ]
    return {"results": rows, "files": compared["files"], "containers": [], "skipped": [], "daemon_reload": False, "kernel_command_line": {}}


def _unified(part: Mapping[str, str]) -> Iterator[str]:
    if "prepared" in part:
        return iter(part["prepared"].rstrip("\n").split("\n"))
    before, after = (part[key].splitlines() for key in ("before", "after"))
    return difflib.unified_diff(before, after, f"before: {part['before_header']}", f"after: {part['after_header']}", lineterm="")
