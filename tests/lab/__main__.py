# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""C(python -m lab) from tests/, or C(python tests/lab) from anywhere."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

# Run as a directory, Python puts the directory itself on the path; the package's parent is what is wanted.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if __name__ == "__main__":
    sys.exit(importlib.import_module("lab.command").main())
