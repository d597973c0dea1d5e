# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kubernetes quantities to the byte."""

from __future__ import annotations

import typing as t
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.plugin_utils import _quantity

SIZES: list[tuple[t.Any, int]] = [
    # The spellings of one size in Kubernetes' own documentation, and their neighbours.
    ("128974848", 128974848),
    ("129e6", 129000000),
    ("129M", 129000000),
    ("128974848000m", 128974848),
    ("123Mi", 128974848),
    # Each suffix.
    ("1k", 1000),
    ("1T", 10**12),
    ("2P", 2 * 10**15),
    ("5E", 5 * 10**18),
    ("1Ki", 1024),
    ("1.5Gi", 3 << 29),
    ("1Ti", 1 << 40),
    ("1Pi", 1 << 50),
    ("7Ei", 7 << 60),
    # E with a number is an exponent, without one it is exa.
    ("1E3", 1000),
    ("1e+3", 1000),
    ("1E-3", 1),
    # A part of a byte counts as a whole one.
    ("1n", 1),
    ("1500u", 1),
    ("1001m", 2),
    ("0.1", 1),
    ("0.0000000001Ki", 1),
    ("100m", 1),
    ("1e-40", 1),
    # Forms of the number.
    ("+5", 5),
    (".5Ki", 512),
    ("5.", 5),
    ("007", 7),
    ("0", 0),
    ("-0", 0),
    ("0m", 0),
    (4096, 4096),
    (1.5, 2),
    ("9223372036854775807", 2**63 - 1),
    # What is more than Kubernetes counts is the most that it does.
    ("9223372036854775808", 2**63 - 1),
    ("8Ei", 2**63 - 1),
    ("1e19", 2**63 - 1),
    ("1e41", 2**63 - 1),
    ("1e999999999", 2**63 - 1),
    (10**100, 2**63 - 1),
    ("0e999999999", 0),
    # And what is less than one, one.
    ("1e-41", 1),
    ("9" * 50 + "e-999999999", 1),
    ("0e-999999999", 0),
]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_size(text: t.Any, size: int) -> None:
    assert _quantity.size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1 Mi",
        " 1Mi",
        "1Mi\n",
        "Mi",
        "1K",
        "1mi",
        "1MI",
        "1MiB",
        "1e",
        "1E+",
        "1e1.5",
        "1Mi5",
        "--1",
        "+-1",
        ".",
        "1.2.3",
        "0x10",
        "1_000",
        "1,5",
        "NaN",
        "inf",
        "١",
        "1" * 65,
    ]
    + [None, True, [], {}, b"1", float("nan"), float("inf")],
)
def test_what_is_no_quantity_is_named(text: t.Any) -> None:
    with pytest.raises(_quantity.QuantityError, match="is not a quantity"):
        _quantity.size(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-1", "negative"),
        ("-1m", "negative"),
        (-1, "negative"),
    ],
)
def test_what_no_size_can_be_is_refused(text: t.Any, reason: str) -> None:
    with pytest.raises(_quantity.QuantityError, match=reason):
        _quantity.size(text)


@given(st.integers(0, 10**9), st.integers(0, 10**9 - 1), st.sampled_from(["", "m", "k", "Ki", "M", "Mi", "e3", "E-3"]))
def test_sizes_are_the_number_rounded_up(whole: int, fraction: int, suffix: str) -> None:
    powers = {"": 0, "m": -3, "k": 3, "M": 6, "e3": 3, "E-3": -3}
    factor = Fraction(10) ** powers[suffix] if suffix in powers else Fraction({"Ki": 1 << 10, "Mi": 1 << 20}[suffix])
    exact = (whole + Fraction(fraction, 10**9)) * factor
    text = f"{whole}.{fraction:09d}{suffix}"
    assert _quantity.parse(text) == exact
    assert exact <= _quantity.size(text) < exact + 1


@given(st.text(max_size=20))
def test_any_text_is_a_size_or_an_error_of_ours(text: str) -> None:
    try:
        assert 0 <= _quantity.size(text) <= _quantity.MAX
    except _quantity.QuantityError as exc:
        assert len(str(exc)) < 300
