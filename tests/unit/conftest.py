# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all unit tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
import typing as t
from pathlib import Path

from hypothesis import settings

if t.TYPE_CHECKING:
    import pytest

# The CI tries the same examples each time, so that what it says is of the change; everybody else, and the nightly run, look for new ones.
# ansible-test hands on no variable, so tests/tools/ansible_test.py leaves a file.
_IN_CI = "CI" in os.environ or (Path(__file__).parent / ".ci").exists()

# A deadline for an example is a wall-clock assertion: on a busy machine it fails without a fault.
settings.register_profile("memqos", deadline=None, derandomize=_IN_CI)
settings.load_profile("memqos")

_MEMORY = "/dev/shm"
# What one run of all tests leaves until its end, and as much again.
_BYTES, _FILES = 8 << 30, 2_000_000


def pytest_configure(config: pytest.Config) -> None:
    """Node code syncs what it writes, thousands of times: in memory, where there is room, that takes no time. Workers inherit the directory."""
    if hasattr(config, "workerinput") or not os.path.isdir(_MEMORY):
        return
    room = os.statvfs(_MEMORY)
    if room.f_bavail * room.f_frsize >= _BYTES and room.f_favail >= _FILES:
        # Short: the path of a socket has room for 107 bytes.
        tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="u-", dir=_MEMORY)
        config.add_cleanup(lambda: shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True))
