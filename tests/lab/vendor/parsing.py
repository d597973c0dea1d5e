# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel makes of written text. Each raises OSError, as write(2) does."""

from __future__ import annotations

import errno
import os
import re
import typing as t

# kidled: an age is one byte, and there are eight columns.
MOST_BUCKETS = 8
OLDEST = 255
DEFAULT_BUCKETS = [1, 2, 5, 15, 30, 60, 120, 240]
# MAX_NUMNODES of x86_64.
MOST_NODES = 1024
_NODES = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_NUMBER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)")
_SIZE = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]*)([kKmMgGtTpPeE]?)")
_LARGEST = 2**63 - 1


def refused(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def number(text: str, lowest: int, highest: int | None) -> int:
    """kstrtoint and a range. A word and what is out of range are EINVAL, what no machine word holds ERANGE."""
    match = _NUMBER.fullmatch(text.strip())
    if not match:
        raise refused(errno.EINVAL)
    value = _integer(match[2]) * (-1 if match[1] == "-" else 1)
    if abs(value) > _LARGEST:
        raise refused(errno.ERANGE)
    if value < lowest or (highest is not None and value > highest):
        raise refused(errno.EINVAL)
    return value


def size(text: str, *, unlimited: str, page: int) -> int | None:
    """page_counter_memparse: bytes with K, M, G …, rounded down to a page; C(unlimited) is the word for none."""
    text = text.strip()
    if text == unlimited:
        return None
    match = _SIZE.fullmatch(text)
    if not match:
        raise refused(errno.EINVAL)
    value = (_integer(match[1]) if match[1] else 0) << 10 * " kmgtpe".index(match[2].lower() or " ")
    return None if value > _LARGEST - page else value // page * page


def buckets(text: str) -> list[int]:
    """Of memory.idle_page_stats: rising numbers up to 255, with commas. None: this cgroup is not accounted."""
    words = text.strip().split(",") if text.strip() else []
    if len(words) > MOST_BUCKETS:
        raise refused(errno.E2BIG)
    values = [number(word, 1, OLDEST) for word in words]
    if any(later <= earlier for earlier, later in zip(values, values[1:])):
        raise refused(errno.EINVAL)
    return values


def nodes(text: str) -> list[int]:
    """nodelist_parse: C(0-1,3), or none at all. What is above the last possible node is ERANGE."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        match = _NODES.fullmatch(part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise refused(errno.EINVAL)
        if int(match[2] or match[1]) >= MOST_NODES:
            raise refused(errno.ERANGE)
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(found)


def node_list(numbers: t.Sequence[int]) -> str:
    """As the kernel shows it: C(0-1,3)."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _integer(text: str) -> int:
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    if text[0] == "0" and len(text) > 1:
        if set(text) - set("01234567"):
            raise refused(errno.EINVAL)
        return int(text, 8)
    return int(text)
