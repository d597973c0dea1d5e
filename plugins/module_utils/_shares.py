# SPDX-License-Identifier: BSD-2-Clause

"""Shares of memory, and sizes for people. Integer arithmetic only: right from 512 MiB to 24 TiB."""

from __future__ import annotations

import re

from ._units import UnitError

_SHARE = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?\s*%")
_STEPS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def parse_share(text: str) -> tuple[int, int]:
    """C(0.5%) → (5, 1000): numerator and denominator. Raises UnitError."""
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise UnitError(f"{text!r} is not a share: write a percentage such as 0.5%")
    fraction = match.group(2) or ""
    return int(match.group(1) + fraction), 100 * 10 ** len(fraction)


def share_of(total: int, share: tuple[int, int]) -> int:
    """C(share) of C(total) bytes, rounded down."""
    return total * share[0] // share[1]


def format_size(value: int) -> str:
    """Bytes → C(1.5 GiB), three significant digits, for people; never parsed again."""
    amount = float(abs(value))
    step = 0
    while amount >= 1023.5 and step < len(_STEPS) - 1:
        amount /= 1024
        step += 1
    digits = 0 if step == 0 or amount >= 99.95 else 1 if amount >= 9.995 else 2
    sign = "-" if value < 0 else ""
    return f"{sign}{amount:.{digits}f} {_STEPS[step]}"
