# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""YAML with positions: what is read, what is refused, and that no file can end the process."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.plugin_utils import _yaml_source
from ansible_collections.memqos.fleet.plugins.plugin_utils._yaml_source import Place

# Each opens far more levels than yaml.compose survives: it recurses in C.
BOTTOMLESS = {
    "sequence": "- " * 100_000,
    "flow": "[" * 100_000,
    "closed": "[" * 50_000 + "]" * 50_000,
    "mapping": "{a: " * 50_000,
    "key": "? " * 100_000,
    "tagged": "!!seq [" * 30_000,
    "lines": "\n".join(" " * level + "a:" for level in range(1000)),
}
# In a process of its own, so that a crash fails the test and not the run.
READ_RULES = """
from ansible_collections.memqos.fleet.plugins.plugin_utils._rule_compiler import RuleError, load_rules
def read(path):
    try:
        load_rules([str(path)], thresholds={}, drop=[])
    except RuleError as exc:
        return str(exc)
"""
READ_PROFILES = """
from ansible_collections.memqos.fleet.plugins.plugin_utils._profiles import ProfileError, load_profiles
def read(path):
    try:
        load_profiles(path.stem, search_paths=[str(path.parent)], overrides={})
    except ProfileError as exc:
        return str(exc)
"""
READ_ALL = """
import sys
from pathlib import Path
for path in sorted(Path(sys.argv[1]).glob("*.yml")):
    print(path.stem, "nested deeper than 20 levels" in read(path), flush=True)
"""


@pytest.mark.parametrize("read", [READ_RULES, READ_PROFILES], ids=["rules", "profiles"])
@pytest.mark.parametrize("loader", ["", "import yaml; vars(yaml).pop('CSafeLoader', None)\n"], ids=["libyaml", "pure"])
def test_no_file_ends_the_process(tmp_path: Path, read: str, loader: str) -> None:
    for name, text in BOTTOMLESS.items():
        # 250 KiB is the most that a profile may have.
        (tmp_path / f"{name}.yml").write_text(text[:250_000], encoding="utf-8")
    # Under ansible-test the collection is importable through a loader of its own, which a process of ours does not have.
    found_above = [str(path.parent) for path in Path(__file__).parents if path.name == "ansible_collections"]
    collections = os.pathsep.join([*found_above, os.environ.get("PYTHONPATH", "")])
    argv = [sys.executable, "-c", loader + read + READ_ALL, str(tmp_path)]
    found = subprocess.run(argv, env={**os.environ, "PYTHONPATH": collections}, capture_output=True, text=True, check=False, timeout=60)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines() == [f"{name} True" for name in sorted(BOTTOMLESS)]


def read(tmp_path: Path, content: str | bytes, *, max_bytes: int = 1000) -> tuple[yaml.Node | None, Place, list[str]]:
    path = tmp_path / "own.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems: list[t.Any] = []
    root, place = _yaml_source.read_file(Place(str(path), problems), max_bytes=max_bytes)
    return root, place, [str(problem).removeprefix(f"{tmp_path}/") for problem in problems]


REFUSED = [
    (b"x" * 1001, "own.yml: is larger than 0 KiB"),
    # Cut in the middle of a character it is still too large, not wrongly encoded.
    (b"x" * 1000 + "é".encode(), "own.yml: is larger than 0 KiB"),
    (b"\xff", "own.yml: is not UTF-8 text"),
    ("a: [1", "own.yml: line 2, column 1: is not YAML: did not find expected ',' or ']'"),
    ("a: \x01", "own.yml: is not YAML: "),
    ("a: *b\n", "own.yml: line 1, column 4: YAML aliases are not allowed here: write the value out"),
    ("a: &a {<<: *a}\n", "own.yml: line 1, column 12: YAML aliases are not allowed here: write the value out"),
    ("a: {<<: {b: 1}}\n", "own.yml: line 1, column 5: 'merge': YAML tags and merge keys are not allowed here: write the value out"),
    ("a:\n- !!python/name:os.system x\n", "own.yml: line 2, column 3: 'python/name:os.system': YAML tags and merge keys are not allowed here"),
]


@pytest.mark.parametrize(("content", "said"), REFUSED)
def test_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    root, _place, problems = read(tmp_path, content)
    assert root is None
    (problem,) = problems
    assert problem.startswith(said)


def test_twenty_levels_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, "[" * 20 + "]" * 20)[2] == []
    assert read(tmp_path, "[" * 21 + "]" * 21)[2] == ["own.yml: line 1, column 21: is nested deeper than 20 levels"]


@pytest.mark.parametrize("content", ["", "# only a remark\n", "---\n", "\ufeff"])
def test_an_empty_file_is_a_null(tmp_path: Path, content: str) -> None:
    root, _place, problems = read(tmp_path, content)
    assert root is not None
    assert _yaml_source.is_a(root, "null")
    assert problems == []


def test_a_file_that_is_not_there_is_the_callers_affair(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _yaml_source.read_file(Place(str(tmp_path / "gone.yml"), []), max_bytes=1000)


# The word "here" is at this line and column, however the text is written.
PLACES = [
    ("a: here\n", (1, 4)),
    ("a: 'it''s here'\n", (1, 11)),
    ('a: "\\x41 here"\n', (1, 10)),
    ("a: >-\n  one\n  two\n\n  and here\n", (5, 7)),
    ("a: |2\n\n   here\n", (3, 4)),
    ("a: one\n  two\n  here\n", (3, 3)),
    ("a: |\r\n  one\r\n  here\r\n", (3, 3)),
    ("a: ü 日本 here\n", (1, 9)),
]


@pytest.mark.parametrize(("content", "place"), PLACES)
def test_places_inside_a_text(tmp_path: Path, content: str, place: tuple[int, int]) -> None:
    root, own, _problems = read(tmp_path, content)
    assert isinstance(root, yaml.MappingNode)
    ((_key, node),) = root.value
    own.problem(node, "wrong", node.value.index("here"))
    (problem,) = own.problems
    assert (problem.line, problem.column, problem.message) == (*place, "wrong")


def test_a_place_in_a_variable_is_counted_in_characters() -> None:
    place = Place("memqos_profile", [], "when")
    place.problem(_yaml_source.from_value("facts.psi and here"), "wrong", 14)
    assert [str(problem) for problem in place.problems] == ["memqos_profile: when: wrong (character 15)"]
