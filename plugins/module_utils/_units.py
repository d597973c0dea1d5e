# SPDX-License-Identifier: BSD-2-Clause

"""Sizes that an operator writes → bytes."""

from __future__ import annotations

import re

_BINARY = {"": 1, "b": 1, **{letter + rest: 1 << 10 * power for power, letter in enumerate("kmgtp", 1) for rest in ("", "i", "ib")}}
_SIZE = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,9}))?\s*([A-Za-z]{0,3})")


class UnitError(ValueError):
    """A size (or share) that cannot be read; the message names the text and what would be right."""


def parse_size(text: str) -> int:
    """C(512MiB), C(1.5G), C(4096) → bytes. Suffixes are binary, as the kernel's memparse and systemd read them (K = 1024).

    Rounds down. Raises UnitError.
    """
    match = _SIZE.fullmatch(text.strip())
    factor = _BINARY.get(match.group(3).lower()) if match else None
    if match is None or factor is None:
        raise UnitError(f"{text!r} is not a size: write bytes (4096) or a number with K, M, G or T (512MiB)")
    whole, fraction = match.group(1), match.group(2) or ""
    return int(whole + fraction) * factor // 10 ** len(fraction)
