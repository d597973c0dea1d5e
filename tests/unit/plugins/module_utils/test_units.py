# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _units

KIB, MIB, GIB, TIB, PIB = (1 << shift for shift in (10, 20, 30, 40, 50))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("1k", KIB),
        ("1K", KIB),
        ("1Ki", KIB),
        ("1KiB", KIB),
        ("512MiB", 512 * MIB),
        ("512mib", 512 * MIB),
        ("512 MiB", 512 * MIB),
        (" 512MiB\n", 512 * MIB),
        ("1.5G", 3 * GIB // 2),
        ("24TiB", 24 * TIB),
        ("1P", PIB),
        ("0.1K", 102),  # 102.4, down
        ("0.999999999K", KIB - 1),
        ("1.9", 1),
        ("00012", 12),
        # More than a double holds exactly.
        ("9007199254740993", 9007199254740993),
        ("8796093022208.001K", 8796093022208 * KIB + 1),
    ],
)
def test_parse_size(text: str, size: int) -> None:
    assert _units.parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "MiB",
        "-1",
        "+1",
        "1,5G",
        "1.G",
        ".5G",
        "1e3",
        "0x10",
        "1_000",
        "1KB",
        "1Kib2",
        "1 GiB free",
        "max",
        "infinity",
        "50%",
        "٣G",
        "1.0000000001G",
        "1" * 21,
        "5K\n5K",
    ],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(_units.UnitError) as caught:
        _units.parse_size(text)
    assert repr(text) in str(caught.value)
    assert "512MiB" in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_size_or_an_error(text: str) -> None:
    with contextlib.suppress(_units.UnitError):
        assert _units.parse_size(text) >= 0


@given(st.integers(0, 10**12), st.text("0123456789", max_size=9), st.sampled_from([("", 0), ("K", 10), ("MiB", 20), ("gi", 30), ("T", 40)]))
def test_sizes_are_exact_and_rounded_down(whole: int, fraction: str, suffix: tuple[str, int]) -> None:
    text = f"{whole}.{fraction}" if fraction else str(whole)
    assert _units.parse_size(text + suffix[0]) == int(Fraction(text) * 2 ** suffix[1])
