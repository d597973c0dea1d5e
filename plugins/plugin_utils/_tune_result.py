# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What a node says of a tune or a rollback → result file, diff, and lines for the terminal. A node is not trusted: its answer is checked for shape first."""

from __future__ import annotations

import collections
import itertools
import json
import math
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _memcg_rows, _shares, _wanted
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._read import _unit_state
from ansible_collections.memqos.fleet.plugins.plugin_utils import _results, _tune_containers
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import visible

if t.TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from ansible_collections.memqos.fleet.plugins.plugin_utils._profiles import Profile

    Json = dict[str, t.Any]
    # Of a subject, a knob, and a profile.
    Why = Callable[[str, str, str], "Because"]

SCHEMA_VERSION = 1
STATUSES = ("failed", "refused", "conflict", "unsupported", "deferred", "undone", "would_change", "changed", "ok")
_STOPPING = ("failed", "refused", "conflict")
_CHANGING = ("would_change", "changed")
_COLORS = dict.fromkeys(_STOPPING, "red")
# Of 6,000 cgroups of containers: about 12 MiB.
_MAX_BYTES = 64 * 1024 * 1024
# More than that on one terminal helps nobody: the result file has it all.
_MAX_LINES = 12
_MAX_VALUES = 500
_MAX_FILES = 100
# difflib takes longer than linear; as Ansible's own max_file_size_for_diff.
_MAX_FILE = 104448
_WIDEST = 48

# The shapes of docs/schemas/tune.json: the types of every key; there are no others.
_TEXT, _TEXT_OR_NONE, _SWITCH, _COUNT = (str,), (str, type(None)), (bool,), (int,)
_ANSWER = {
    **dict.fromkeys(("schema_version", "generation"), _COUNT),
    **dict.fromkeys(("changed", "check", "daemon_reload", "clean"), _SWITCH),
    "problem": _TEXT,
    "kernel_command_line": (dict,),
    **dict.fromkeys(("results", "files", "skipped", "notes", "shrinking", "containers"), (list,)),
}
_ROW = {
    **dict.fromkeys(("name", "scope", "subject", "status", "equivalence", "reason", "profile", "expression"), _TEXT),
    **dict.fromkeys(("wanted", "live_before", "live_after", "effective", "persisted_before", "persisted_after"), _TEXT_OR_NONE),
    "reboot_required": _SWITCH,
    "winner": (dict, type(None)),
}
_WINNER = {"source": _TEXT, "path": _TEXT, "line": _COUNT, "value": _TEXT_OR_NONE}
FILE = {"path": _TEXT, "before": _TEXT_OR_NONE, "after": _TEXT_OR_NONE}
_SHRUNK = {**dict.fromkeys(("unit", "knob"), _TEXT), **dict.fromkeys(("bound", "before", "usage", "killed"), _COUNT), "done": _SWITCH}
_SKIPPED = dict.fromkeys(("profile", "scope", "subject", "knob", "reason"), _TEXT)


class Because(t.NamedTuple):
    """Why a profile wants a value, and what those before it wanted: C((profile, expression)), oldest first."""

    reason: str
    over: tuple[tuple[str, str], ...] = ()


class BadAnswer(ValueError):
    """The node's answer is no result of a tune; the message is of one line."""


def parse(text: str) -> Json:
    """Raises BadAnswer."""
    if len(text) > _MAX_BYTES:
        raise BadAnswer(f"{len(text)} bytes")
    try:
        answer = json.loads(text)
    # RecursionError: nested thousands deep.
    except (ValueError, RecursionError) as exc:
        raise BadAnswer(f"not JSON: {str(exc):.100}") from exc
    _unpack(answer)
    require(answer, _ANSWER, "the answer")
    if answer["schema_version"] != SCHEMA_VERSION or not 0 <= answer["generation"] < 1 << 53:
        raise BadAnswer("another schema_version, or no number of a generation")
    for key, shape in (("results", _ROW), ("files", FILE), ("skipped", _SKIPPED), ("shrinking", _SHRUNK), ("containers", _tune_containers.ROW)):
        for number, item in enumerate(answer[key]):
            require(item, shape, f"{key}[{number}]")
    for number, row in enumerate(answer["results"]):
        if row["winner"] is not None:
            require(row["winner"], _WINNER, f"results[{number}].winner")
        if row["status"] not in STATUSES:
            raise BadAnswer(f"results[{number}].status is none of {', '.join(STATUSES)}")
    for number, row in enumerate(answer["containers"]):
        _require_container(row, f"containers[{number}]")
    if not all(isinstance(text, str) for text in (*answer["notes"], *answer["kernel_command_line"].values())):
        raise BadAnswer("notes or words of the kernel command line are not text")
    return t.cast("Json", answer)


def _unpack(answer: t.Any) -> None:
    """Rows of containers, whose parts in common travel once. Raises BadAnswer."""
    if isinstance(answer, dict) and isinstance(answer.get("containers"), dict):
        try:
            answer["containers"] = _memcg_rows.unpacked(answer["containers"])
        except ValueError as exc:
            raise BadAnswer(f"{exc!s:.200}") from exc


def _require_container(row: Json, where: str) -> None:
    """Raises BadAnswer."""
    _require_one_of(row["level"], _tune_containers.LEVELS, f"{where}.level")
    for cell in row["values"].values():
        # The file is not named: it can be anything.
        require(cell, _tune_containers.CELL, f"a value of {where}")
        _require_one_of(cell["status"], _tune_containers.STATUSES, f"the status of a value of {where}")
        _require_one_of(cell["equivalence"], _tune_containers.EQUIVALENCES, f"the equivalence of a value of {where}")
    for number, one in enumerate(row["none"]):
        require(one, _tune_containers.NONE, f"{where}.none[{number}]")


def _require_one_of(value: str, known: Sequence[str], where: str) -> None:
    if value not in known:
        raise BadAnswer(f"{where} is none of {', '.join(filter(None, known))}")


def require(value: object, shape: Mapping[str, tuple[type, ...]], where: str) -> None:
    """Exactly these keys, of these types. Raises BadAnswer."""
    if not isinstance(value, dict) or value.keys() != shape.keys():
        raise BadAnswer(f"{where} has not the keys {', '.join(shape)}")
    # The exact type: True is an int to isinstance.
    wrong = next((key for key, types in shape.items() if type(value[key]) not in types), None)
    if wrong:
        raise BadAnswer(f"{where}.{wrong} is of another type")


def result_path(directory: str, host: str) -> str:
    """C(tune/HOST.json) beside C(hosts/)."""
    return _results.path_of(directory, "tune", host)


def write(directory: str, host: str, answer: Json) -> str:
    """The path. Raises ResultError."""
    path = result_path(directory, host)
    text = json.dumps({"host": host, "run_id": _results.RUN_ID, **answer}, separators=(",", ":"))
    for target in (path,) if answer["check"] or answer["problem"] else (_results.applied_path(directory, host), path):
        with _results.replacing(target) as stream:
            stream.write(text)
    return path


def counts(answer: Json) -> dict[str, int]:
    """How many knobs have each status, those with none left out."""
    found = collections.Counter(row["status"] for row in answer["results"])
    return {status: found[status] for status in STATUSES if found[status]}


def shown(text: str) -> str:
    """Text of a node for a message that may have several lines."""
    return "\n".join(map(visible, text.split("\n")))


def reasons(profiles: Sequence[Profile]) -> Why:
    """Why a profile wants a value, by what it says itself; the unit may be one that a template or prefix stands for, or another name of it."""
    said: dict[tuple[str, str, str], str] = {}
    for profile in profiles:
        for (unit, knob), stated in profile.values.items():
            said[unit, knob, profile.name] = said["*" if unit else "", knob, profile.name] = stated.reason

    def why(subject: str, knob: str, profile: str) -> Because:
        reason = said.get((subject, knob, profile)) or said.get(("*" if subject else "", knob, profile), "")
        return Because(reason, tuple(_overridden(profiles, subject, knob, profile)))

    return why


def _overridden(profiles: Sequence[Profile], subject: str, knob: str, profile: str) -> list[tuple[str, str]]:
    """What stands before this profile's entry, as far back as nobody took it back. A bound that goes further than another one overrides nothing."""
    found: list[tuple[str, t.Any]] = []
    for one in profiles:
        for (place, name), stated in one.values.items():
            if name != knob or bool(place) != bool(subject) or not _unit_state.covers(place, subject):
                continue
            if one.name == profile:
                return [(before, _wanted.expression(entry)) for before, entry in found if not {"raise_to", "lower_to"} & set(entry) & set(stated.entry)]
            found = [] if "absent" in stated.entry else [*found, (one.name, stated.entry)]
    return []


def unfinished(answer: Json) -> list[Json]:
    """Cgroups that are still to shrink before a bound is set; nothing is written by then."""
    is_open = not answer["problem"] and not answer["generation"] and not answer["check"]
    return [one for one in answer["shrinking"] if not one["done"]] if is_open else []


# The diff


def diff(answer: Json, why: Why) -> list[dict[str, str]]:
    """For --diff: one line a value, then each file as a unified diff."""
    lines = values(answer, why)
    parts: list[dict[str, str]] = [{"prepared": "\n".join([*lines, "", ""])}] if lines else []
    parts += map(_file_diff, answer["files"][:_MAX_FILES])
    if len(answer["files"]) > _MAX_FILES:
        parts.append({"prepared": f"… and {len(answer['files']) - _MAX_FILES} more files: see the result file\n"})
    return parts


def values(answer: Json, why: Why) -> list[str]:
    """One line for each value that changes: what, from → to, who wants it and why; then what else happens, and what profiles say that does not count here."""
    rows = [row for row in answer["results"] if row["status"] in _CHANGING]
    # Whole layers have no knob.
    skipped = {(one["profile"], *((one["subject"], one["knob"]) if one["knob"] else ())) for one in answer["skipped"]}
    cells = [(visible(_what(row)), visible(_move(row)), visible(_because(row, why, skipped))) for row in rows[:_MAX_VALUES]]
    widths = [min(_WIDEST, max((len(cell[column]) for cell in cells), default=0)) for column in (0, 1)]
    lines = [f"{what:<{widths[0]}}  {move:<{widths[1]}}  {because}".rstrip() for what, move, because in cells]
    if len(rows) > _MAX_VALUES:
        lines.append(f"… and {len(rows) - _MAX_VALUES} more: see the result file")
    if answer["daemon_reload"]:
        lines.append("one daemon-reload, for the drop-ins")
    lines += containers(answer)
    lines += [visible(_left_out(one)) for one in answer["skipped"][:_MAX_LINES]]
    words = " ".join(f"{key}={value}" for key, value in answer["kernel_command_line"].items())
    return [*lines, visible(f"the kernel command line says (reported, never written): {words}")] if words else lines


def containers(answer: Json, *, everything: bool = False) -> list[str]:
    """Cgroups of containers of which values change, with these; C(everything): all of them, with all values, as they are and as they should be."""
    found = list(itertools.islice(_tune_containers.lines(answer["containers"], move, everything=everything), _MAX_VALUES + 1))
    more = ["… and more: see the result file"] if len(found) > _MAX_VALUES else []
    return [*map(visible, found[:_MAX_VALUES]), *more]


def _what(row: Mapping[str, t.Any]) -> str:
    return f"{row['subject']} {row['name']}".strip()


def _move(row: Mapping[str, t.Any]) -> str:
    now = row["live_before"] if row["live_before"] is not None else row["persisted_before"]
    return move(row, now, row["wanted"])


def move(row: Mapping[str, t.Any], before: str | None, after: str | None) -> str:
    """From what to what, of the knob C(name)."""
    return f"{_word(row, before)} → {_word(row, after)}"


def _word(row: Mapping[str, t.Any], value: str | None) -> str:
    """A value as the kernel spells it; a large size in words too."""
    if not value:
        return "not set" if value is None else "default"
    try:
        size = int(value) * _wanted.unit_bytes(_registry.find(row["name"])) if value.isdecimal() and len(value) < 20 else 0
    except _registry.UnknownKnob:
        size = 0
    # What v1 says where there is no limit.
    return f"{value} ({_shares.format_size(size) if size < 1 << 62 else 'no limit'})" if size >= 1 << 20 else value


def _because(row: Mapping[str, t.Any], why: Why, skipped: AbstractSet[tuple[str, ...]] = frozenset()) -> str:
    """C(own, 150 (over balanced: raise to 20): Batch work allocates in bursts), and what the node says besides. C(skipped) has no effect on this node."""
    who = row["profile"] if row["expression"] in ("", row["wanted"]) else f"{row['profile']}, {row['expression']}"
    because = why(row["subject"], row["name"], row["profile"]) if who else Because("")
    counting = [(name, words) for name, words in because.over if not {(name,), (name, row["subject"], row["name"])} & skipped]
    if counting:
        who += f" (over {'; '.join(f'{name}: {words}' for name, words in counting)})"
    reason = because.reason.partition(". ")[0].rstrip(".")
    text = ": ".join(filter(None, (who, reason)))
    rest = "; ".join(filter(None, (row["reason"], _remains(row))))
    return f"{text} ({rest})" if text and rest else text or rest


def _remains(row: Mapping[str, t.Any]) -> str:
    """What the cgroups above leave of it, if not all. They can give more."""
    wanted, effective = (_bytes(row[key]) for key in ("wanted", "effective"))
    less = row["scope"] == "unit" and wanted is not None and effective is not None and effective < wanted
    return f"effective is {_word(row, row['effective'])}: the cgroups above leave no more" if less else ""


def _bytes(text: str | None) -> float | None:
    return math.inf if text in ("infinity", "max") else int(text) if text and text.isdecimal() and len(text) < 20 else None


def _left_out(one: Mapping[str, str]) -> str:
    what = f"{one['subject']} {one['knob']} of {one['profile']}".strip() if one["knob"] else one["profile"]
    return f"left out: {what}: {one['reason']}"


def _file_diff(file: Mapping[str, t.Any]) -> dict[str, str]:
    if max(len(file[key] or "") for key in ("before", "after")) > _MAX_FILE:
        return {"prepared": f"{visible(file['path'])}: larger than {_MAX_FILE >> 10} KiB, see the result file\n"}
    before, after = (_printable(file[key] or "") for key in ("before", "after"))
    headers = {f"{key}_header": visible(file["path"]) + (" (absent)" if file[key] is None else "") for key in ("before", "after")}
    return {"before": before, "after": after, **headers}


def _printable(text: str) -> str:
    return "".join(f"{visible(line)}\n" for line in text.splitlines())


# The summary


def summary(answer: Json, host: str, *, verb: str, with_diff: bool = False) -> list[Line]:
    """One line a host, and one for each thing that somebody should look at, except what the diff or (of a failed task) the message tells.

    C(verb): what was done (C(tuned)). Every line has the host's name: those of several hosts mix.
    """
    found = counts(answer)
    words = ", ".join(f"{count} {_status(status)}" for status, count in found.items())
    done = f"{verb} (generation {answer['generation']})" if answer["generation"] else "nothing to do"
    outcome = "check" if answer["check"] else f"not {verb}" if answer["problem"] else done
    lines = [Line(": ".join(filter(None, (outcome, words))), "red" if answer["problem"] else None)]
    told = [Line(f"  {_attention(row)}", _COLORS.get(row["status"], "yellow")) for row in answer["results"] if _needs_attention(row, answer, with_diff)]
    lines += _bounded(told)
    headline = _tune_containers.headline(answer["containers"])
    lines += [Line(f"  {headline}")] if headline else []
    lines += _bounded([Line(f"    {line}", _COLORS.get(status, "yellow")) for status, line in _tune_containers.attention(answer["containers"])])
    lines += [Line(f"  {note}", "yellow") for note in answer["notes"][:_MAX_LINES]]
    return [Line(visible(f"{host}: {line.text}"), line.color) for line in lines]


def _bounded(lines: list[Line]) -> list[Line]:
    more = len(lines) - _MAX_LINES
    return [*lines[:_MAX_LINES], Line(f"  … and {more} more: see the result file")] if more > 0 else lines


def _status(status: str) -> str:
    return status.replace("_", " ")


def _needs_attention(row: Mapping[str, t.Any], answer: Json, with_diff: bool) -> bool:
    if row["status"] in _STOPPING and answer["problem"] or row["status"] in _CHANGING and with_diff:
        return False
    return bool(row["reason"] or _remains(row)) and row["status"] != "undone"


def _attention(row: Mapping[str, t.Any]) -> str:
    return f"{_status(row['status'])}: {_what(row)}: {'; '.join(filter(None, (row['reason'], _remains(row))))}"
