# SPDX-License-Identifier: BSD-2-Clause

"""The normal form of a knob's value: an integer in the knob's unit (bool is 0 or 1), the chosen word, a list of integers, text; None is no limit."""

from __future__ import annotations

import functools
import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _units
from ansible_collections.memqos.fleet.plugins.module_utils._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.plugin_utils._shapes import KnobRow

Value = t.Union[int, str, t.List[int], None]

_WORDS = {"0": 0, "n": 0, "no": 0, "off": 0, "false": 0, "1": 1, "y": 1, "yes": 1, "on": 1, "true": 1}
_NO_LIMIT = ("max", "infinity", "-1")
# v1 shows "no limit" as LONG_MAX rounded down to a page, of 64 KiB at most.
_V1_NO_LIMIT = 2**63 - 2**16
_MICROSECONDS = {"us": 1, "ms": 1000, "": 10**6, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6}
_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")


class Readable(NamedTuple):
    """What reading a host knob needs of its row."""

    name: str
    path: str
    unit: str
    key: str = ""

    def at(self, places: t.Mapping[str, str]) -> Readable:
        return self._replace(name=fill(self.name, places), path=fill(self.path, places))


def unfold(places: t.Mapping[str, t.Sequence[t.Sequence[str]]]) -> list[Readable]:
    """C({"/proc/sys/vm/ vm.": [[swappiness, count]]}) → rows: what _registry.by_place folded for the way to the node."""
    split = ((place.split(" "), files) for place, files in places.items())
    return [Readable(prefix + file, directory + file, unit) for (directory, prefix), files in split for file, unit in files]


class Wanted(NamedTuple):
    """What a reading of a node looks for: host knobs, and memcg files of vendor kernels."""

    knobs: t.Sequence[Readable] = ()
    vendor_files: t.Sequence[str] = ()


class KnobValueError(ValueError):
    def __init__(self, knob: KnobRow, value: object, reason: str) -> None:
        super().__init__(f"{knob.name}: {value!r} {reason}")
        self.knob = knob.name
        self.value = value
        self.reason = reason


def normalize(knob: KnobRow, value: object) -> Value:
    """What a file or a profile says; not checked against the range. Raises KnobValueError."""
    try:
        return _FORMS.get(knob.unit, _integer)(_as_text(knob, value))
    except ValueError as exc:
        raise KnobValueError(knob, value, f"cannot be read as {knob.unit}") from exc


def fill(text: str, places: t.Mapping[str, str]) -> str:
    """C(zram{n}/disksize), C({"n": "0"}) → C(zram0/disksize)."""
    for key, value in places.items():
        text = text.replace("{" + key + "}", value)
    return text


def placeholders(pattern: str, text: str) -> dict[str, str] | None:
    """C(zram{n}/disksize), C(zram0/disksize) → C({"n": "0"}); None if the text is no instance."""
    if not text.startswith(pattern.partition("{")[0]):
        return None  # nearly always, and cheap
    match = _compiled(pattern).fullmatch(text)
    return match.groupdict() if match else None


@functools.lru_cache(None)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = _PLACEHOLDER.split(pattern)
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = [f"(?P<{name}>[0-9]+)" for name in parts[1::2]]
    return re.compile("".join(parts))


def _as_text(knob: KnobRow, value: object) -> str:
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


def _integer(text: str) -> int:
    # Not int() alone: it takes 1_000, +5 and the digits of every script.
    if not re.fullmatch("-?[0-9]+", text):
        raise ValueError(text)
    return int(text)


def _percent(text: str) -> int:
    return _integer(text[:-1].strip() if text.endswith("%") else text)


def _bool(text: str) -> int:
    if text.lower() not in _WORDS:
        raise ValueError(text)
    return _WORDS[text.lower()]


def _limit(text: str) -> int | None:
    number = None if text in _NO_LIMIT else _units.parse_size(text)
    return None if number is None or number >= _V1_NO_LIMIT else number


def _kilobytes(text: str) -> int:
    return _units.parse_size(text) // 1024 if text[-1:].isalpha() else _integer(text)


def _choice(text: str) -> str:
    word = re.search(r"\[(\S+)\]", text)
    if word:
        return word.group(1)
    if not re.fullmatch(r"[^\s\[\]]+", text):
        raise ValueError(text)
    return text


def _list(text: str) -> list[int]:
    if not text:
        raise ValueError(text)
    return [_integer(word) for word in text.split()]


def _mask(text: str) -> int:
    return int(text, 16) if re.fullmatch("0[xX][0-9a-fA-F]+", text) else _integer(text)


def _timespan(text: str) -> str | None:
    if text in _NO_LIMIT:
        return None
    # What is left without the parts: one expression for the whole would try every way to cut a long number.
    if not text or re.sub("[0-9]+ ?(?:us|ms|min|s|h)?", "", text).strip():
        raise ValueError(text)
    total = sum(int(number) * _MICROSECONDS[unit] for number, unit in re.findall("([0-9]+) ?([a-z]*)", text))
    return f"{total}us"  # text, as a bare number is seconds to systemd


_FORMS: dict[str, t.Callable[[str], Value]] = {
    "text": str,
    "bytes": _units.parse_size,
    "bytes or max": _limit,
    "kB": _kilobytes,
    "percent": _percent,
    "bool": _bool,
    "choice": _choice,
    "list": _list,
    "mask": _mask,
    "timespan": _timespan,
}
