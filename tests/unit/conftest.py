# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all unit tests share."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings

# The CI tries the same examples each time, so that what it says is of the change; everybody else, and the nightly run, look for new ones.
# ansible-test hands on no variable, so tests/tools/ansible_test.py leaves a file.
_IN_CI = "CI" in os.environ or (Path(__file__).parent / ".ci").exists()

# A deadline for an example is a wall-clock assertion: on a busy machine it fails without a fault.
settings.register_profile("memqos", deadline=None, derandomize=_IN_CI)
settings.load_profile("memqos")
