# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is collected on which Python, and machines to tune."""

from __future__ import annotations

import os
import sys
import types
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _tune
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import Machine, Make

if t.TYPE_CHECKING:
    from pathlib import Path

# zipimport loads by other ways before 3.10, and nothing is kept.
collect_ignore = ["test_compiled.py"] if sys.version_info < (3, 10) else []


@pytest.fixture
def root_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests, the node is tuned by root."""
    monkeypatch.setattr(_tune, "os", types.SimpleNamespace(geteuid=lambda: 0, sysconf=os.sysconf))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda **more: Machine(tmp_path / "node", **more)
