# SPDX-License-Identifier: BSD-2-Clause

"""Look-ups in the registry: which knobs there are, what they take, when two values are the same."""

from __future__ import annotations

import functools
import re
import typing as t

from . import _host, _memcg, _unit
from ._row import Knob
from ._values import FORMS, KnobValueError, Readable, Value, Wanted, placeholders
from ._written import normalize

Bounds = t.Tuple[t.Optional[int], t.Optional[int]]

# What vendor kernels show of a memcg besides its knobs.
_VENDOR_READ_ONLY = (
    *("memory.wmark_high", "memory.wmark_low", "memory.exstat", "memory.pagecache.current", "memory.idle_page_stats"),
    *(f"memory.direct_{what}_latency" for what in "reclaim_global reclaim_memcg compact swapout_global swapout_memcg swapin".split()),
)
_RELEASE = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,5}))?")


class UnknownKnob(LookupError):
    """No row has this name."""

    def __init__(self, name: str, nearest: t.Sequence[str]) -> None:
        super().__init__(f"there is no knob {name!r}" + (f"; nearest: {', '.join(nearest)}" if nearest else ""))
        self.name = name
        self.nearest = tuple(nearest)


def host_knobs() -> tuple[Knob, ...]:
    """Rows of scope host and numa_node."""
    return _host.ROWS


def wanted() -> Wanted:
    """What a node needs to read all that is in the registry, without the registry; what can only be written is left out."""
    knobs = [Readable(row.name, row.path, row.unit) for row in _host.ROWS if row.access != "wo"]
    rows = (row.name for row in _memcg.ROWS if row.vendor != "mainline" and row.access == "rw" and not row.one_shot)
    return Wanted(knobs, [*_VENDOR_READ_ONLY, *rows])


def by_place(knobs: t.Iterable[Readable]) -> dict[str, str]:
    """Files by directory, prefix of the name, and unit, which most of them share: half as much to send. _values.unfold makes them rows again."""
    places: dict[str, str] = {}
    for knob in knobs:
        directory, unused, file = knob.path.rpartition("/")
        place = f"{directory}/ {knob.name[: -len(file)]} {knob.unit if knob.unit in FORMS else 'number'}"
        places[place] = f"{places[place]} {file}" if place in places else file
    return places


def memcg_knobs() -> tuple[Knob, ...]:
    return _memcg.ROWS


def unit_knobs() -> tuple[Knob, ...]:
    return _unit.ROWS


@functools.lru_cache(1024)
def find(name: str) -> Knob:
    """The row of this name, or v1 file; of a pattern (C(zram0/disksize)) the filled row. Raises UnknownKnob."""
    row = _BY_NAME.get(name)
    if row is not None:
        return row
    for pattern in _PATTERNS:
        places = placeholders(pattern.name, name)
        if places is not None:
            return pattern.at(places)
    import difflib  # for a mistake only: it takes a hundredth of all that a run with nothing to do takes

    raise UnknownKnob(name, difflib.get_close_matches(name, list(_BY_NAME), n=3))


def of_path(path: str) -> Knob | None:
    """The knob that this kernel file is, of the host or of a cgroup."""
    for row in _host.ROWS:
        places = placeholders(row.path, path) if "{" in row.path else None
        if row.path == path or places is not None:
            return row.at(places or {})
    named = _BY_NAME.get(path.rpartition("/")[2])
    return named if named and named.scope == "memcg" else None


def kernel_version(release: str) -> tuple[int, ...]:
    """C(5.10.134-16.al8.x86_64) → (5, 10, 134); what is none → (), older than every kernel. Debian's third number is always 0."""
    match = _RELEASE.match(release)
    return tuple(int(number) for number in match.groups() if number) if match else ()


def range_for(knob: Knob, kernel_release: str) -> Bounds | None:
    """(lowest, highest) on this kernel, each None if unbounded; None for a knob without a range."""
    version = kernel_version(kernel_release)
    fitting = [row for row in knob.ranges if kernel_version(row[0]) <= version]
    return fitting[-1][1:] if fitting else None


def validate(knob: Knob, value: object, kernel: str) -> Value:
    """C(value) in normal form if this kernel release takes it. Raises KnobValueError."""
    if knob.access == "ro":
        raise KnobValueError(knob, value, "cannot be set: it is read-only")
    bounds = range_for(knob, kernel)
    try:
        normal = normalize(knob, value)
    except KnobValueError as exc:
        raise KnobValueError(knob, value, f"{exc.reason}{_expected(knob, bounds, kernel)}") from exc
    numbers = normal if isinstance(normal, list) else [normal] if isinstance(normal, int) else []
    if not all(_within(knob, number, bounds) for number in numbers) or (knob.choices and normal not in knob.choices):
        raise KnobValueError(knob, value, f"is refused{_expected(knob, bounds, kernel)}")
    if isinstance(normal, str) and not normal.isprintable():
        raise KnobValueError(knob, value, "holds a control character")
    return normal


def same(knob: Knob, a: object, b: object, page_size: int) -> bool:
    """Whether two values, in any form, are one to the kernel. Raises KnobValueError. With effective_value, False may be a write that worked."""
    left, right = normalize(knob, a), normalize(knob, b)
    if isinstance(left, list) and isinstance(right, list):
        # A vector sysctl keeps the elements that were not written.
        return bool(left) and bool(right) and all(x == y for x, y in zip(left, right))
    if isinstance(left, int) and isinstance(right, int):
        if knob.comparison == "page_rounded" or (knob.comparison == "effective_value" and knob.unit == "bytes"):
            return left // page_size == right // page_size
        if knob.comparison == "page_rounded_up":
            return -(-left // page_size) == -(-right // page_size)
    return left == right


def _within(knob: Knob, number: int, bounds: Bounds | None) -> bool:
    low, high = bounds or (None, None)
    return (low is None or number >= low) and (high is None or number <= high) or (knob.or_zero and number == 0)


def _expected(knob: Knob, bounds: Bounds | None, kernel: str) -> str:
    if knob.choices:
        return f"; it takes {', '.join(knob.choices)}"
    if bounds is None:
        return ""
    low, high = ("" if bound is None else str(bound) for bound in bounds)
    span = f"; it takes {low}..{high}{' or 0' if knob.or_zero else ''} ({knob.unit})"
    return span if knob.scope == "unit" else f"{span} on kernel {kernel}"


_BY_NAME = {row.name: row for row in _host.ROWS + _memcg.ROWS + _unit.ROWS}
_BY_NAME.update({row.v1: row for row in _memcg.ROWS if row.v1})
_PATTERNS = tuple(row for row in _host.ROWS if "{" in row.name)
