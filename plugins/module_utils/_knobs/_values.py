# SPDX-License-Identifier: BSD-2-Clause

"""The normal form of a knob's value: an integer in the knob's unit (bool is 0 or 1), the chosen word, a list of integers, text; None is no limit."""

from __future__ import annotations

import functools
import re
import typing as t

from .._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ...plugin_utils._shapes import KnobRow

Value = t.Union[int, str, t.List[int], None]

_WORDS = {"0": 0, "n": 0, "no": 0, "off": 0, "false": 0, "1": 1, "y": 1, "yes": 1, "on": 1, "true": 1}
_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")


class Readable(NamedTuple):
    """What reading a host knob needs of its row."""

    name: str
    path: str
    unit: str

    def at(self, places: t.Mapping[str, str]) -> Readable:
        return self._replace(name=fill(self.name, places), path=fill(self.path, places))


def unfold(places: t.Mapping[str, str]) -> list[Readable]:
    """C({"/proc/sys/vm/ vm. number": "swappiness laptop_mode"}) → rows: what _registry.by_place folded."""
    split = ((place.split(" "), files.split()) for place, files in places.items())
    return [Readable(prefix + file, directory + file, unit) for (directory, prefix, unit), files in split for file in files]


class Wanted(NamedTuple):
    """What a reading of a node looks for: host knobs, memcg files of vendor kernels, and what C(_gather) sends."""

    knobs: t.Sequence[Readable] = ()
    vendor_files: t.Sequence[str] = ()
    files: t.Sequence[t.Sequence[t.Any]] = ()


class KnobValueError(ValueError):
    def __init__(self, knob: KnobRow, value: object, reason: str) -> None:
        super().__init__(f"{knob.name}: {value!r} {reason}")
        self.knob = knob.name
        self.value = value
        self.reason = reason


def parse(knob: KnobRow, text: str) -> Value:
    """What the kernel prints of a host knob. Raises KnobValueError."""
    try:
        return FORMS.get(knob.unit, integer)(text.strip())
    except ValueError as exc:
        raise KnobValueError(knob, text, f"cannot be read as {knob.unit}") from exc


def fill(text: str, places: t.Mapping[str, str]) -> str:
    """C(zram{n}/disksize), C({"n": "0"}) → C(zram0/disksize)."""
    for key, value in places.items():
        text = text.replace("{" + key + "}", value)
    return text


def placeholders(pattern: str, text: str) -> dict[str, str] | None:
    """C(zram{n}/disksize), C(zram0/disksize) → C({"n": "0"}); None if the text is no instance."""
    if not text.startswith(pattern.partition("{")[0]):
        return None  # nearly always, and cheap
    match = compiled(pattern).fullmatch(text)
    return match.groupdict() if match else None


@functools.lru_cache(None)
def compiled(pattern: str) -> re.Pattern[str]:
    """What C(placeholders) matches with."""
    parts = _PLACEHOLDER.split(pattern)
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = [f"(?P<{name}>[0-9]+)" for name in parts[1::2]]
    return re.compile("".join(parts))


def integer(text: str) -> int:
    # Not int() alone: it takes 1_000, +5 and the digits of every script.
    if not re.fullmatch("-?[0-9]+", text):
        raise ValueError(text)
    return int(text)


def _bool(text: str) -> int:
    if text.lower() not in _WORDS:
        raise ValueError(text)
    return _WORDS[text.lower()]


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
    return [integer(word) for word in text.split()]


def _mask(text: str) -> int:
    return int(text, 16) if re.fullmatch("0[xX][0-9a-fA-F]+", text) else integer(text)


FORMS: dict[str, t.Callable[[str], Value]] = {"text": str, "bool": _bool, "choice": _choice, "list": _list, "mask": _mask}
