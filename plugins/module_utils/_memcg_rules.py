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
_INHERITED = "memory.wmark_min_adj"
_PLAIN = re.compile("[0-9]{1,20}|max")
_NUMBERS = ("count", "percent", "permyriad")
# As _written reads it.
_NO_LIMIT = 2**63 - 2**16
_OFF = {"memory.high": "max", "memory.swap.max": "max", "memory.wmark_scale_factor": ""}


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
    """As it is on a kernel without this file. A gap is nothing without the ratio beside it."""
    return text == _OFF.get(file, "0") or file == "memory.wmark_scale_factor"


def effective(file: str, path: str, given: t.Callable[[str], t.Optional[str]], known: t.Dict[str, float]) -> t.Optional[str]:
    """What it reads. Of memory.wmark_min_adj the largest on the way to the root, where ancestors that have 0 do not count.

    C(given): what a cgroup has; C(known): {path: the largest from there on}, which is filled.
    """
    own = given(path)
    if own is None or file != _INHERITED:
        return own
    return str(int(max(int(own), _highest(path.rpartition("/")[0], given, known))))


def _highest(path: str, given: t.Callable[[str], t.Optional[str]], known: t.Dict[str, float]) -> float:
    if not path:
        return -math.inf
    if path not in known:
        own = int(given(path) or "0")
        known[path] = max(own or -math.inf, _highest(path.rpartition("/")[0], given, known))
    return known[path]


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
    return file in _BOUNDED and _amount(after) > _amount(before)


def _amount(text: str) -> float:
    """C(-1) is no limit on v1."""
    return float("inf") if text in ("max", "-1") else float(text) if text.isdigit() else 0.0
