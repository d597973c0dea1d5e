# SPDX-License-Identifier: BSD-2-Clause

"""What values of many cgroups are to each other and to the kernel: one, off, growing. Pure."""

from __future__ import annotations

import functools
import math
import re
import typing as t

from ._knobs import _registry
from ._knobs._values import KnobValueError

if t.TYPE_CHECKING:
    from ._steps import Memcg

    Values = t.List[t.Tuple[str, str, str]]

# An ancestor bounds them: it is never the smaller one, not for a moment.
_BOUNDED = frozenset((
    "memory.min", "memory.low", "memory.high", "memory.max", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes",
    "memory.swap.max", "memory.pagecache_limit.size",
))  # fmt: skip
_HIGHEST, _CLAMPED = "memory.wmark_min_adj", "memory.pagecache_limit.size"
# Cgroups above have a say in what these read, or in how much of it counts; the cgroup's own limit in the other.
FROM_ABOVE = frozenset((_HIGHEST, "memory.min", "memory.low"))
DEPENDENT = FROM_ABOVE | {_CLAMPED}
LIMITS = ("memory.max", "memory.limit_in_bytes")
# {file: the host's switch without which it does nothing}
SWITCHES = {
    "memory.qos_level": "vm.memcg_qos_enable", "memory.pagecache_limit.size": "pagecache_limit/enabled",
    "memory.pagecache_limit.enable": "pagecache_limit/enabled",
}  # fmt: skip
_PLAIN = re.compile("[0-9]{1,20}|max")
_NUMBERS = ("count", "percent", "permyriad")
# As _written reads it.
_NO_LIMIT = 2**63 - 2**16
_OFF = {"memory.high": "max", "memory.swap.max": "max"}


def same(file: str, one: str, other: str, page_size: int) -> bool:
    """To the kernel."""
    if one == other:
        return True
    knob = _registry.find(file)
    if _PLAIN.fullmatch(one) and _PLAIN.fullmatch(other):  # nearly all that differ, and ten times as fast
        if knob.comparison == "page_rounded" and knob.unit == "bytes or max":
            return _bytes(one) // page_size == _bytes(other) // page_size
        if knob.comparison == "exact" and knob.unit in _NUMBERS and "max" not in (one, other):
            return int(one) == int(other)
    try:
        return _registry.same(knob, one, other, page_size)
    except KnobValueError:
        return one.split() == other.split()


def _bytes(text: str) -> int:
    return _NO_LIMIT if text == "max" else min(int(text), _NO_LIMIT)


@functools.lru_cache(64)
def is_loose(file: str) -> bool:
    """The kernel shows what comes of it (memory.wmark_min_adj: with its ancestors')."""
    return _registry.find(file).comparison == "effective_value"


def is_off(file: str, text: str) -> bool:
    """As it is on a kernel without this file."""
    return text == _OFF.get(file, "0")


Given = t.Callable[[str, str], t.Optional[str]]


class Reading:
    """What files read, and how much of it counts, where others have a say. C(given): (path, file) → its text, None if nobody knows."""

    def __init__(self, given: Given, page_size: int) -> None:
        self._given, self._page_size = given, page_size
        self._highest: t.Dict[str, float] = {}
        self._least: t.Dict[t.Tuple[str, str], t.Tuple[float, str]] = {}

    def text(self, path: str, file: str, own: str) -> str:
        """When C(own) is written. Of memory.wmark_min_adj the largest on the way to the root, where ancestors that have 0 do not count."""
        if file == _HIGHEST and _is_whole(own):
            return str(int(max(int(own), self._highest_above(path))))
        if file == _CLAMPED and own.isdigit():
            limit = next(filter(None, (self._given(path, name) for name in LIMITS)), "max")
            return str(int(min(int(own), amount(limit))) // self._page_size * self._page_size)
        return own

    def written(self, path: str, file: str, own: str) -> str:
        """What to write for it. What the kernel clamps when it is written reads so from then on, whatever the limit becomes: so it is known as ours."""
        return self.text(path, file, own) if file == _CLAMPED else own

    def bound(self, path: str, file: str, own: str) -> t.Tuple[str, str]:
        """(the cgroup above that has less of what protects, what it has); both empty if none has."""
        least, place = self._least_above(path, file)
        return (place, str(int(least))) if least < amount(own) else ("", "")

    def _highest_above(self, path: str) -> float:
        above = path.rpartition("/")[0]
        if not above:
            return -math.inf
        if above not in self._highest:
            text = self._given(above, _HIGHEST) or "0"
            self._highest[above] = max((int(text) if _is_whole(text) else 0) or -math.inf, self._highest_above(above))
        return self._highest[above]

    def _least_above(self, path: str, file: str) -> t.Tuple[float, str]:
        above = path.rpartition("/")[0]
        if not above:
            return math.inf, ""
        if (above, file) not in self._least:
            text = self._given(above, file)
            own = math.inf if text is None else amount(text)
            self._least[above, file] = min((own, above), self._least_above(above, file), key=lambda pair: pair[0])
        return self._least[above, file]


def _is_whole(text: str) -> bool:
    return text.lstrip("-").isdigit()


def is_ours(file: str, path: str, now: str, texts: t.Iterable[str], reading: Reading, page_size: int) -> bool:
    """Whether C(now) is what it reads when one of these was written."""
    texts = list(texts)
    if any(same(file, text, now, page_size) for text in texts):
        return True
    return is_loose(file) and any(same(file, reading.text(path, file, text), now, page_size) for text in texts)


def passes(memcgs: t.Iterable[Memcg]) -> t.Iterator[t.Tuple[Memcg, Values]]:
    """Each value once: C((file, before, after)) of a cgroup, in the order of writing."""
    shrinking = []
    for memcg in sorted(memcgs, key=lambda memcg: memcg.path.count("/")):
        values: t.Tuple[Values, Values] = ([], [])
        for value in memcg.values:
            if value[1] != value[2]:
                values[_grows(*value)].append(value)
        if values[1]:
            yield memcg, values[1]
        if values[0]:
            shrinking.append((memcg, values[0]))
    yield from reversed(shrinking)


def _grows(file: str, before: str, after: str) -> bool:
    return file in _BOUNDED and amount(after) > amount(before)


def amount(text: str) -> float:
    """C(-1) is no limit on v1."""
    return float("inf") if text in ("max", "-1") else float(text) if text.isdigit() else 0.0
