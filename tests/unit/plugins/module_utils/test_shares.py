# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _shares, _units

KIB, MIB, GIB, TIB, PIB = (1 << shift for shift in (10, 20, 30, 40, 50))


@pytest.mark.parametrize(
    ("text", "share"),
    [("0%", (0, 100)), ("100%", (100, 100)), ("0.5%", (5, 1000)), ("12.25 %", (1225, 10000)), (" 3% ", (3, 100)), ("250%", (250, 100))],
)
def test_parse_share(text: str, share: tuple[int, int]) -> None:
    assert _shares.parse_share(text) == share


@pytest.mark.parametrize("text", ["", "%", "5", "-5%", ".5%", "5.%", "5%%", "five%", "1e1%", "٥%"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(_units.UnitError) as caught:
        _shares.parse_share(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("total", "text", "size"),
    [
        (512 * MIB, "0.5%", 2684354),
        (24 * TIB, "0.000000001%", 263),
        (24 * TIB, "100%", 24 * TIB),
        (24 * TIB + 1, "50%", 12 * TIB),
        (0, "50%", 0),
        (GIB, "0%", 0),
    ],
)
def test_share_of(total: int, text: str, size: int) -> None:
    assert _shares.share_of(total, _shares.parse_share(text)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (10 * KIB, "10.0 KiB"),
        (10 * KIB - 1, "10.0 KiB"),
        (100 * KIB, "100 KiB"),
        (102_349, "100 KiB"),
        (1023 * KIB, "1023 KiB"),
        (MIB - 1, "1.00 MiB"),  # never "1024 KiB"
        (3 * GIB // 2, "1.50 GiB"),
        (24 * TIB, "24.0 TiB"),
        (5 * PIB, "5.00 PiB"),
        (5000 * PIB, "5000 PiB"),
        (-1536, "-1.50 KiB"),
    ],
)
def test_format_size(size: int, text: str) -> None:
    assert _shares.format_size(size) == text


@given(st.integers(0, 24 * TIB), st.integers(0, 10**6))
def test_a_share_is_exact_and_rounded_down(total: int, tenths: int) -> None:
    share = _shares.parse_share(f"{tenths // 10}.{tenths % 10}%")
    assert _shares.share_of(total, share) == int(Fraction(total) * tenths / 1000)


@given(st.integers(-(2**63), 2**63))
def test_what_people_read_is_within_half_a_percent(size: int) -> None:
    text = _shares.format_size(size)
    number, suffix = text.split(" ")
    factor = 1 << 10 * ("B", "KiB", "MiB", "GiB", "TiB", "PiB").index(suffix)
    assert abs(Fraction(number) * factor - size) <= Fraction(abs(size), 200)
    assert suffix == "PiB" or abs(Fraction(number)) < 1024
