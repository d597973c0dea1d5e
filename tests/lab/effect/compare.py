# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Windows without and with a profile, held against each other; and the table that says it. Pure.

A difference counts only where the windows of both kinds do not mix. How often that happens by chance depends on their number, and the table says so.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import fractions
import itertools
import math
import statistics
import typing as t

from .figures import FIGURES, Figure

SCHEMA_VERSION = 1
Verdict = t.Literal["same", "once", "noise", "apart", "clear"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure: its values in windows without the profile and with it."""

    figure: Figure
    without: tuple[float, ...]
    with_it: tuple[float, ...]

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(self.without), statistics.median(self.with_it)

    @property
    def ratio(self) -> float | None:
        """None where there was nothing before."""
        before, after = self.medians
        return after / before if before else None

    @property
    def verdict(self) -> Verdict:
        return judge(self.without, self.with_it)

    def words(self) -> str:
        """What the last column says."""
        verdict, figure = self.verdict, self.figure
        if verdict not in ("apart", "clear"):
            return {"same": "the same", "once": "one window each: cannot tell", "noise": "within the noise"}[verdict]
        before, after = self.medians
        grew = after > before
        said = ("more" if grew else "less") if not figure.better else "better" if grew == (figure.better > 0) else "worse"
        return said if verdict == "clear" else f"{said}, just outside the noise"


def judge(without: collections.abc.Sequence[float], with_it: collections.abc.Sequence[float]) -> Verdict:
    """C(noise): values of both kinds mix. C(apart): they do not. C(clear): nor are they nearer to each other than those of one kind among themselves."""
    if min(without) == max(without) == min(with_it) == max(with_it):
        return "same"
    if len(without) < 2 or len(with_it) < 2:
        return "once"
    gap = max(min(with_it) - max(without), min(without) - max(with_it))
    if gap <= 0:
        return "noise"
    return "clear" if gap >= max(max(values) - min(values) for values in (without, with_it)) else "apart"


def chance(without: int, with_it: int) -> fractions.Fraction:
    """How often so many windows do not mix although nothing differs."""
    return fractions.Fraction(2, math.comb(without + with_it, with_it))


def rows(without: collections.abc.Sequence[dict[str, float]], with_it: collections.abc.Sequence[dict[str, float]]) -> list[Row]:
    """Of the figures that every window has."""
    windows = [*without, *with_it]
    shown = [figure for figure in FIGURES if all(figure.name in window for window in windows)]
    return [Row(figure, *(tuple(window[figure.name] for window in kind) for kind in (without, with_it))) for figure in shown]


def table(compared: collections.abc.Sequence[Row], *, profile: str) -> list[str]:
    """Lines for a terminal."""
    lines: list[tuple[str, ...]] = [("", "untouched", _short(profile), "ratio", "")]
    for group, of_group in itertools.groupby(compared, key=lambda row: row.figure.group):
        lines.append((group, "", "", "", ""))
        lines += map(_cells, of_group)
    widths = [max(map(len, column)) for column in zip(*lines)]
    return [_aligned(line, widths) for line in lines]


def notes(without: int, with_it: int, *, seconds: float, load: float, processors: int) -> list[str]:
    """What the table's reader has to know. C(load): the highest load average of the machine that runs the lab."""
    lines = [f"Median (least–most) of {without} windows without and {with_it} with the profile, {seconds:g} s each, in turn; the load ran through."]
    if without > 1 and with_it > 1:
        odds = chance(without, with_it)
        lines.append(
            f"Within the noise: windows of both kinds mix. Where nothing differs they keep apart by chance in {odds.numerator} of {odds.denominator} figures."
        )
    if load > processors:
        lines.append(
            f"This machine was busy (load average up to {load:.1f} on {processors} processors): the guest waited for one, and latencies are of that, too."
        )
    return lines


def document(compared: collections.abc.Sequence[Row]) -> dict[str, t.Any]:
    """For a file."""
    return {"schema_version": SCHEMA_VERSION, "figures": [_entry(row) for row in compared]}


def _entry(row: Row) -> dict[str, t.Any]:
    figure, medians = row.figure, row.medians
    return {
        "name": figure.name, "group": figure.group, "words": figure.words, "unit": figure.unit, "without": row.without, "with": row.with_it,
        "medians": medians, "ratio": row.ratio, "verdict": row.verdict, "said": row.words(),
    }  # fmt: skip


def _cells(row: Row) -> tuple[str, ...]:
    what = f"  {row.figure.words}" + (f", {row.figure.unit}" if row.figure.unit else "")
    return what, spread(row.without), spread(row.with_it), "" if row.ratio is None else number(row.ratio), row.words()


def spread(values: collections.abc.Sequence[float]) -> str:
    """C(4.2 (3.9–5.1)): the median, the least and the most."""
    median = number(statistics.median(values))
    return median if len(values) == 1 or min(values) == max(values) else f"{median} ({number(min(values))}–{number(max(values))})"


def number(value: float) -> str:
    """Three digits that count, without an exponent; counts as they are."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _short(text: str, most: int = 26) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _aligned(line: collections.abc.Sequence[str], widths: collections.abc.Sequence[int]) -> str:
    first, *middle, last = line
    numbers = [f"{text:>{width}}" for text, width in zip(middle, widths[1:-1])]
    return "  ".join([f"{first:<{widths[0]}}", *numbers, last]).rstrip()
