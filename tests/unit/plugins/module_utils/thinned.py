# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much of what has no end is tried. What differs from Python to Python does not hang on the operation at which a run is killed, or on a hundred examples
instead of twenty: all of it on the newest Python, some on the others."""

from __future__ import annotations

import sys

NEWEST = sys.version_info >= (3, 13)
# Of kills at operation after operation, each so many.
THINNED = 1 if NEWEST else 7


def examples(number: int) -> int:
    """So many examples of Hypothesis on the newest Python, a fifth on the others."""
    return number if NEWEST else max(4, number // 5)
