# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Windows held against each other: what counts as a difference, and what the table says."""

from __future__ import annotations

import fractions
import itertools

import pytest

from ansible_collections.memqos.fleet.tests.lab.effect import compare, figures

LATENCY = next(figure for figure in figures.FIGURES if figure.name == "latency_p99")
READ = next(figure for figure in figures.FIGURES if figure.name == "batch_scan")
USAGE = next(figure for figure in figures.FIGURES if figure.name == "batch_usage")


@pytest.mark.parametrize(
    ("without", "with_it", "expected"),
    [
        ((0, 0, 0), (0, 0, 0), "same"),
        ((1, 2, 3), (2, 3, 4), "noise"),
        ((1, 2, 3), (3, 4, 5), "noise"),  # one value is of both kinds
        ((1, 2, 9), (3, 4, 5), "noise"),
        ((0, 0, 0), (0, 0, 1), "noise"),
        ((0, 0, 0), (1, 1, 1), "clear"),
        ((10, 11, 12), (13, 14, 15), "apart"),  # 1 between them, 2 among themselves
        ((10, 11, 12), (14, 15, 16), "clear"),
        ((14, 15, 16), (10, 11, 12), "clear"),
        ((10, 10, 10), (15, 16, 90), "apart"),
        ((10,), (20,), "once"),
        ((10, 11), (20,), "once"),
        ((7,), (7,), "same"),
    ],
)
def test_a_difference_counts_where_windows_do_not_mix(without: tuple[float, ...], with_it: tuple[float, ...], expected: str) -> None:
    for first, second in ((without, with_it), (with_it, without)):
        assert compare.judge(first, second) == expected


def test_the_chance_is_that_of_all_orders() -> None:
    """Counted: of all ways to call three of six different windows the ones with the profile, how many keep apart."""
    for without, with_it in ((2, 2), (3, 3), (2, 4)):
        windows = range(without + with_it)
        ways = [set(chosen) for chosen in itertools.combinations(windows, with_it)]
        apart = sum(compare.judge([window for window in windows if window not in way], sorted(way)) != "noise" for way in ways)
        assert compare.chance(without, with_it) == fractions.Fraction(apart, len(ways))


@pytest.mark.parametrize(
    ("figure", "without", "with_it", "expected"),
    [
        (LATENCY, (50, 51), (20, 21), "better"),
        (LATENCY, (20, 21), (50, 51), "worse"),
        (LATENCY, (20, 25), (26, 27), "worse, just outside the noise"),
        (LATENCY, (20, 50), (21, 49), "within the noise"),
        (LATENCY, (20,), (50,), "one window each: cannot tell"),
        (LATENCY, (0, 0), (0, 0), "the same"),
        (READ, (20, 21), (50, 51), "better"),
        (READ, (50, 51), (20, 21), "worse"),
        (USAGE, (50, 51), (20, 21), "less"),
        (USAGE, (20, 21), (50, 51), "more"),
    ],
)
def test_what_the_last_column_says(figure: figures.Figure, without: tuple[float, ...], with_it: tuple[float, ...], expected: str) -> None:
    assert compare.Row(figure, without, with_it).words() == expected


def test_only_figures_of_every_window_are_rows() -> None:
    """A kernel without PSI has no stalls, and a service that answered nothing no latencies: neither is zero."""
    full = {"latency_p99": 4.0, "oom_kill": 0.0, "stalled_some": 1.0}
    rows = compare.rows([full, {"latency_p99": 5.0, "oom_kill": 1.0}], [full, full])
    assert [(row.figure.name, row.without, row.with_it) for row in rows] == [("latency_p99", (4.0, 5.0), (4.0, 4.0)), ("oom_kill", (0.0, 1.0), (0.0, 0.0))]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.004, "0.00"), (0.5, "0.50"), (1.0, "1"), (9.994, "9.99"), (48, "48"), (12.34, "12.3"), (123.4, "123"), (1e6, "1000000")],
)
def test_numbers_have_no_exponent(value: float, expected: str) -> None:
    assert compare.number(value) == expected


def test_the_table() -> None:
    rows = [
        compare.Row(LATENCY, (40.0, 50.0, 45.5), (20.03, 21.5, 19.03)),
        compare.Row(next(figure for figure in figures.FIGURES if figure.name == "oom_kill"), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        compare.Row(READ, (48.0, 48.0, 48.0), (24.0, 24.0, 24.0)),
    ]
    assert compare.table(rows, profile="colocated") == [
        "                        untouched         colocated  ratio",
        "service",
        "  latency, 99 %, ms  45.5 (40–50)  20.0 (19.0–21.5)   0.44  better",
        "node",
        "  OOM kills                     0           0 (0–1)         within the noise",
        "batch",
        "  file read, MiB/s             48                24   0.50  worse",
    ]
    entry = compare.document(rows)["figures"][0]
    assert entry["medians"] == (45.5, 20.03) and entry["ratio"] == pytest.approx(20.03 / 45.5) and entry["verdict"] == "clear"


def test_a_long_profile_does_not_widen_the_table() -> None:
    (head, *_rest) = compare.table([compare.Row(LATENCY, (1.0,), (1.0,))], profile="kubernetes_node, colocated, database")
    assert "kubernetes_node, colocate…" in head


def test_the_notes_say_how_much_is_chance_and_how_busy_it_was() -> None:
    assert "1 of 10 figures" in compare.notes(3, 3, seconds=15, load=1.2, processors=2)[-1]
    assert len(compare.notes(1, 1, seconds=15, load=1.2, processors=2)) == 1
    assert "load average up to 7.5 on 2 processors" in compare.notes(3, 3, seconds=15, load=7.5, processors=2)[-1]
