# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The runner of `make test`: what it counts, and in which order things are done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).resolve().parents[1] / "tools" / "run_steps.py"
CASE = '<testsuite><testcase name="one"/><testcase name="two"><skipped/></testcase></testsuite>'
RULES = f"""
lint:
    @while [ ! -e begun ]; do sleep 0.05; done
    @touch checked
images:
    @touch begun
    @while [ ! -e checked ]; do sleep 0.05; done
    @sleep 0.2
    @echo built
    @touch built
broken:
    @touch begun
    @echo no disk left
    @exit 3
units:
    @mkdir -p build/junit/units
    @echo '{CASE}' >build/junit/units/units.xml
    @[ ! -e begun ] || [ -e built ] || exit 1
silent:
    @true
molecule-default:
    @true
"""


def run(directory: Path, *arguments: str) -> tuple[int, list[str]]:
    (directory / "Makefile").write_text(RULES.replace("    ", "\t"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(RUNNER), *arguments], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.splitlines()


def test_what_runs_beside_the_checks_has_ended_before_a_suite_begins(tmp_path: Path) -> None:
    code, lines = run(tmp_path, "--beside", "images", "lint", "units", "molecule-default")
    assert (code, lines[-1]) == (0, "2 passed, 0 failed, 1 skipped")
    assert lines.index("built") < lines.index("==== units")


def test_what_fails_beside_the_checks_is_a_failure_and_shown(tmp_path: Path) -> None:
    code, lines = run(tmp_path, "--beside", "broken", "lint", "molecule-default")
    assert (code, lines[-1]) == (1, "1 passed, 1 failed, 0 skipped")
    assert "no disk left" in lines


@pytest.mark.parametrize(
    ("target", "line"),
    [
        pytest.param("silent", "0 passed, 1 failed, 0 skipped", id="a suite that ran nothing"),
        pytest.param("absent", "0 passed, 1 failed, 0 skipped", id="no such target"),
        pytest.param("units", "1 passed, 0 failed, 1 skipped", id="a suite"),
    ],
)
def test_a_suite_is_counted_by_its_cases(tmp_path: Path, target: str, line: str) -> None:
    unused, lines = run(tmp_path, target)
    assert lines[-1] == line == (tmp_path / "build" / "test-summary.txt").read_text(encoding="utf-8").strip()
