# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/auditing.md: its examples are read as they stand there, and its words are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from ansible_collections.memqos.fleet.plugins.action import memory_audit
from ansible_collections.memqos.fleet.plugins.plugin_utils import _selection, _suppressions

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "auditing.md").read_text(encoding="utf-8")
ACCEPTED, SELECTION = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
RULES = memory_audit.prepare([], thresholds={}, drop=[]).rules.metadata


def test_the_suppressions_are_read() -> None:
    read = _suppressions.read(yaml.safe_load(ACCEPTED)["memqos_suppressions"])
    assert [one.rule for one in read] == ["N21", "N01", "C*"] and {"N21", "N01"} <= RULES.keys()


def test_the_selection_is_read_and_says_what_the_rule_does(tmp_path: Path) -> None:
    (tmp_path / "selection.yml").write_text(SELECTION, encoding="utf-8")
    chosen = _selection.read(str(tmp_path / "selection.yml"), "node17")
    assert chosen and chosen.by_hand == 1
    assert chosen.profile.layer()["host"] == RULES["N21"]["cure"]["apply"]
    assert [one.reason for one in chosen.profile.values.values()] == [f"N21: {RULES['N21']['title']}"]


def test_the_reasons_of_a_change_are_all_named() -> None:
    schema = json.loads((ROOT / "docs" / "schemas" / "host.json").read_text(encoding="utf-8"))
    named = schema["properties"]["changes"]["properties"]["findings"]["items"]["properties"]["because"]["enum"]
    assert re.findall(r"^\| `([a-z_]+)` \|", GUIDE.partition("## What changed")[2].partition("## Close")[0], re.MULTILINE) == ["because", *named]
