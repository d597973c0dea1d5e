# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs in a guest beside the pressure tools: the service that is asked, and the reading of a window."""

from __future__ import annotations

import ast
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import pytest

from ansible_collections.memqos.fleet.tests.lab.guest import service, window

SCRIPTS = [pathlib.Path(str(module.__file__)) for module in (service, window)]


class Ended(Exception):
    """The clock ran out."""


class Clock:
    """Time that passes only while somebody sleeps or works."""

    def __init__(self, until: float) -> None:
        self.now, self._until = 0.0, until

    def __call__(self) -> float:
        if self.now >= self._until:
            raise Ended
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


def served(work: list[float], *, until: float, rate: float = 10.0) -> list[tuple[float, str]]:
    """(time, what was logged) of requests that take so long, the last one's time for all that follow."""
    clock, takes = Clock(until), iter(work)
    lines: list[str] = []

    def request() -> None:
        clock.pass_by(next(takes, work[-1]))

    with pytest.raises(Ended):
        service.serve(request, rate=rate, log=lines.append, clock=clock, sleep=clock.pass_by)
    return [(float(moment), words) for moment, words in (line.split() for line in lines)]


def test_requests_are_due_at_a_rate_and_timed() -> None:
    assert served([0.02], until=0.5) == [(0.02, "20000"), (0.12, "20000"), (0.22, "20000"), (0.32, "20000"), (0.42, "20000")]


def test_who_comes_while_another_is_served_waits_for_that_too() -> None:
    """One that takes 250 ms: the two behind it were due 100 and 200 ms after it."""
    assert served([0.25, 0.01], until=0.45) == [(0.25, "250000"), (0.26, "160000"), (0.27, "70000"), (0.31, "10000"), (0.41, "10000")]


def test_what_cannot_be_begun_within_a_second_is_given_up() -> None:
    """After 1.35 s the requests that were due at 0.1, 0.2 and 0.3 have waited too long; they are logged, and not served."""
    lines = served([1.35, 0.001], until=1.4)
    assert [words for _moment, words in lines[:4]] == ["1350000", "-", "-", "-"] and lines[4][1] == "951000"
    assert "-" not in [words for _moment, words in lines[4:]]


def test_a_working_set_is_used_once_in_a_turn() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        memory = service.WorkingSet(file_mib=2, heap_mib=1, turn=10, directory=directory)
        assert list(pathlib.Path(directory).iterdir()) == []
        assert (memory.reads, memory.writes) == (13, 26)  # of 128 blocks and 256 pages
        memory.request()


def test_the_service_logs_by_the_clock_that_the_window_reads(tmp_path: pathlib.Path) -> None:
    log, tool = tmp_path / "requests", tmp_path / "scan.out"
    tool.write_text('{"seconds": 1}\n{"seconds": 2}\n{"sec')
    serve = [sys.executable, str(SCRIPTS[0]), "--file-mib=1", "--heap-mib=1", "--rate=50", "--turn-seconds=1", "--log", str(log), f"--directory={tmp_path}"]
    with subprocess.Popen(serve) as process:
        try:
            deadline = time.monotonic() + 20
            while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
                time.sleep(0.05)
            read = [sys.executable, str(SCRIPTS[1]), "--seconds=1", "--requests", str(log), "--tool", str(tool), "--cgroup=no.slice"]
            found = json.loads(subprocess.run(read, stdout=subprocess.PIPE, check=True).stdout)
        finally:
            process.kill()
    assert 1 <= found["seconds"] < 10 and 0 < len(found["requests"]) <= 50 * found["seconds"] + 1
    assert all(words == "-" or words.isdigit() for words in found["requests"])
    for reading in (found["before"], found["after"]):
        assert "allocstall" in reading["vmstat"] and reading["tools"] == {str(tool): '{"seconds": 2}'} and reading["cgroups"] == {"no.slice": {}}


def test_only_lines_of_the_window_count() -> None:
    lines = ["0.900 1", "1.000 2", "1.500 -", "1.999 3", "2.000 4", "1.7", ""]
    assert window.between(lines, 1.0, 2.0) == ["2", "-", "3"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_are_python_3_8_and_need_nothing_else(script: pathlib.Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module).split(".", 1)[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names
