# SPDX-License-Identifier: BSD-2-Clause

"""The normal form of what profiles, files of settings, cgroups and systemd say of a knob. An audit reads host knobs only, and is not sent this."""

from __future__ import annotations

import re
import typing as t

from .. import _units
from ._values import FORMS, KnobValueError, Value, integer

if t.TYPE_CHECKING:
    from ...plugin_utils._shapes import WrittenRow

_NO_LIMIT = ("max", "infinity", "-1")
# v1 shows "no limit" as LONG_MAX rounded down to a page, of 64 KiB at most.
_V1_NO_LIMIT = 2**63 - 2**16
_MICROSECONDS = {"us": 1, "ms": 1000, "": 10**6, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6}


def normalize(knob: WrittenRow, value: object) -> Value:
    """What a file or a profile says; not checked against the range. Raises KnobValueError."""
    try:
        return _FORMS.get(knob.unit, integer)(_as_text(knob, value))
    except ValueError as exc:
        raise KnobValueError(knob, value, f"cannot be read as {knob.unit}") from exc


def _as_text(knob: WrittenRow, value: object) -> str:
    if value is None:
        return "max"
    if isinstance(value, bool):
        # YAML reads the word on as true.
        return ("off", "on")[value] if knob.unit == "choice" else str(int(value))
    if isinstance(value, (list, tuple)):
        return " ".join(str(item) for item in value)
    text = str(value).strip()
    line = re.search(f"^{knob.key} (.*)$", text, re.MULTILINE) if knob.key else None
    return line.group(1) if line else text


def _percent(text: str) -> int:
    """systemd writes 50.00%."""
    return integer(re.sub(r"(\.0+)?\s*%$", "", text))


def _limit(text: str) -> int | None:
    number = None if text in _NO_LIMIT else _units.parse_size(text)
    return None if number is None or number >= _V1_NO_LIMIT else number


def _kilobytes(text: str) -> int:
    return _units.parse_size(text) // 1024 if text[-1:].isalpha() else integer(text)


def _timespan(text: str) -> str | None:
    if text in _NO_LIMIT:
        return None
    # What is left without the parts: one expression for the whole would try every way to cut a long number.
    if not text or re.sub("[0-9]+ ?(?:us|ms|min|s|h)?", "", text).strip():
        raise ValueError(text)
    total = sum(int(number) * _MICROSECONDS[unit] for number, unit in re.findall("([0-9]+) ?([a-z]*)", text))
    return f"{total}us"  # text, as a bare number is seconds to systemd


_FORMS: dict[str, t.Callable[[str], Value]] = {
    **FORMS,
    "bytes": _units.parse_size,
    "bytes or max": _limit,
    "kB": _kilobytes,
    "percent": _percent,
    "timespan": _timespan,
}
