# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/tuning.md names what the code has, and nothing else: its tables against the tuples."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.module_utils import _boot, _persist, _plan_swap, _swap, _tune_options
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _texts
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _tune_result

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL))
BUILT_IN = [os.path.splitext(name)[0] for name in os.listdir(_profiles.BUILT_IN)]
FILES = [
    _persist.sysctl_path("zz-memqos.conf"),
    _persist.TMPFILES,
    _persist.LATE_TMPFILES,
    _persist.LATE_UNIT,
    _persist.LATE_WANTS,
    _persist.drop_in_path("UNIT"),
    _boot.SERVICE,
    _boot.WANTS,
]


def first_cells(section: str) -> set[str]:
    """Code words of the first column of the tables in a section."""
    return {word for line in SECTIONS[section].splitlines() if line.startswith("| `") for word in re.findall(r"`([^`]+)`", line.split("|")[1])}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("What is said of each knob", _tune_result.STATUSES),
        ("Only some of it", _texts.AREAS),
        ("What is refused", _tune_options.RISKS),
        ("When something else decides", _tune_options.POLICIES),
    ],
)
def test_tables(section: str, words: Sequence[str]) -> None:
    # "undone" stands with "failed", to which it belongs.
    assert first_cells(section) == set(words) - {"undone"}
    assert all(f"`{word}`" in SECTIONS[section] for word in words)


def test_every_profile_has_its_workload() -> None:
    assert sorted(re.findall(r"profiles\.md#([a-z_]+)", SECTIONS["Which profile"])) == sorted(BUILT_IN)


def test_files_on_the_node() -> None:
    paths = first_cells("What lies on the node")
    assert set(FILES) < paths
    # The others are those of swap.
    others = {path for path in paths if path.startswith("/etc/")} - set(FILES)
    assert all(path == _swap.ZRAM_CONF or _plan_swap.is_ours(path) for path in others)
    assert len(others) == 6


def test_every_variable_is_one_of_the_role() -> None:
    defaults = yaml.safe_load((ROOT / "roles" / "tune" / "defaults" / "main.yml").read_text(encoding="utf-8"))
    assert set(re.findall(r"\bmemqos_[a-z_]+\b", GUIDE)) <= set(defaults)


def test_links_lead_somewhere() -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", GUIDE):
        page = ROOT / "docs" / target if target else ROOT / "docs" / "tuning.md"
        assert page.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {title.lower().replace(" ", "-") for title in titles}, (target, anchor)
