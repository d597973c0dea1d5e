# SPDX-License-Identifier: BSD-2-Clause

"""What values of many cgroups are to each other and to the kernel: one, off, growing. Pure."""

from __future__ import annotations

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
_OFF = {"memory.high": "max", "memory.swap.max": "max", "memory.wmark_scale_factor": ""}


def same(file: str, one: str, other: str, page_size: int) -> bool:
    """To the kernel."""
    if one == other:
        return True
    try:
        return _registry.same(_registry.find(file), one, other, page_size)
    except KnobValueError:
        return one.split() == other.split()


def is_loose(file: str) -> bool:
    """The kernel shows what comes of it (memory.wmark_min_adj: with its ancestors')."""
    return _registry.find(file).comparison == "effective_value"


def is_off(file: str, text: str) -> bool:
    """As it is on a kernel without this file. A gap is nothing without the ratio beside it."""
    return text == _OFF.get(file, "0") or file == "memory.wmark_scale_factor"


def effective(path: str, given: t.Callable[[str], t.Optional[str]]) -> t.Optional[str]:
    """Of memory.wmark_min_adj: the largest on the way to the root, where ancestors that have 0 do not count. C(given): what a cgroup has."""
    own, found = given(path), []
    while own is not None and path:
        path = path.rpartition("/")[0]
        found.append(given(path) or "0")
    return None if own is None else str(max(int(own), *(int(text) for text in found if text != "0"), int(own)))


def passes(memcgs: t.Iterable[Memcg]) -> t.Iterator[t.Tuple[Memcg, Values]]:
    """Each value once: C((file, before, after)) of a cgroup, in the order of writing."""
    down = sorted(memcgs, key=lambda memcg: memcg.path.count("/"))
    for is_growing, ordered in ((True, down), (False, down[::-1])):
        for memcg in ordered:
            values = [value for value in memcg.values if value[1] != value[2] and _grows(*value) is is_growing]
            if values:
                yield memcg, values


def _grows(file: str, before: str, after: str) -> bool:
    return file in _BOUNDED and _amount(after) > _amount(before)


def _amount(text: str) -> float:
    """C(-1) is no limit on v1."""
    return float("inf") if text in ("max", "-1") else float(text) if text.isdigit() else 0.0
