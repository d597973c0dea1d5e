# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Kubernetes quantities, exactly. Grammar: k8s.io/apimachinery/pkg/api/resource, type Quantity.

C(size) gives whole bytes, rounded up as Kubernetes' own C(Value()) does; C(parse) the exact number, which the QoS class needs of CPU shares.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction

# Kubernetes keeps 64-bit numbers, as the kernel does, and takes what is more (8Ei) as that.
MAX = 2**63 - 1
_QUANTITY = re.compile(r"([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))([numkMGTPE]?|[KMGTPE]i|[eE][+-]?[0-9]+)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {letter + "i": 1024**power for power, letter in enumerate("KMGTPE", 1)}
# No quantity that means anything is longer, and a longer one is slow to read.
_LONGEST = 64
# Of a number of so many digits nothing is left beyond, or more than a size can be.
_MOST_EXPONENT = 2 * _LONGEST


class QuantityError(ValueError):
    """What is no quantity, or none that a size can have; the message names it and what would be right."""


def size(value: object) -> int:
    """Bytes of C(128974848), C(129e6), C(129M), C(128974848000m), C(123Mi) or a JSON number, C(MAX) at most; a part of a byte counts as a whole one.

    Raises QuantityError.
    """
    return _size(_text(value))


def parse(value: object) -> Fraction:
    """The number that a quantity stands for. Raises QuantityError."""
    mantissa, exponent = _parsed(_text(value))
    return mantissa * Fraction(10) ** exponent


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:d}" if abs(value) <= 10**_LONGEST else f"1e{_LONGEST}"
    if isinstance(value, float):
        return repr(value)
    raise QuantityError(f"{value!r:.60} is not a quantity: write a string such as 512Mi")


@functools.lru_cache(16384)
def _size(text: str) -> int:
    mantissa, exponent = _parsed(text)
    if mantissa < 0:
        raise QuantityError(f"{text!r:.60} is negative: a size is 0 or more")
    return min(MAX, mantissa * 10**exponent if exponent >= 0 else -(-mantissa // 10**-exponent))


def _parsed(text: str) -> tuple[int, int]:
    """(mantissa, decimal exponent)."""
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise QuantityError(f"{text!r:.60} is not a quantity: write a number with Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P, E, m, or an exponent such as e6")
    sign, whole, fraction, only_fraction, suffix = match.groups()
    digits = fraction or only_fraction or ""
    mantissa = int(sign + (whole or "") + digits) * _BINARY.get(suffix, 1)
    exponent = 0 if suffix in _BINARY else _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
    # Kubernetes caps what is more, and rounds up what is less than one.
    return mantissa, max(-_MOST_EXPONENT, min(_MOST_EXPONENT, exponent - len(digits)))
