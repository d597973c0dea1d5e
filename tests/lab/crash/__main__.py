# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cuts tunes short on real machines, in every way there is, and looks by shell what they hold afterwards: C(make crash), docs/testing.md.

Two machines at once, one crash after the other on each. The exit status is 1 if one of them holds neither all of a tune nor nothing of it.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import fnmatch
import sys
import tempfile
import threading
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

from .. import sessions
from ..common import BOOT_PROGRAMS, Cache, require_programs
from ..inventory import machine_named
from ..machines import LabError, Machine
from ..sessions import booted
from .node import Node
from .table import BOTH, CRASHES, Crash


class Outcome(t.NamedTuple):
    """C(problem) is empty if all was as it should be."""

    crash: Crash
    machine: str
    problem: str
    seconds: float


def main(argv: list[str] | None = None) -> int:
    """The exit status."""
    options = _options(argv)
    return sessions.run(lambda cache: _run(options, cache))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="crash", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="GLOB", help="of names (default: all)")
    parser.add_argument("--machine", default="*", metavar="GLOB", help=f"of {', '.join(BOTH)} (default: both)")
    parser.add_argument("--out", type=Path, default=Path("build/crash"), metavar="DIRECTORY", help="for what playbooks say (default: %(default)s)")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="a case for each crash and machine")
    options = parser.parse_args(argv)
    options.out = options.out.absolute()
    return options


def _run(options: argparse.Namespace, cache: Cache) -> int:
    chosen = {
        machine: [crash for crash in CRASHES if machine in crash.machines and fnmatch.fnmatchcase(crash.name, options.only)]
        for machine in BOTH
        if fnmatch.fnmatchcase(machine, options.machine)
    }
    if not any(chosen.values()):
        raise LabError(f"no crash of {options.machine} is called {options.only}")
    require_programs(BOOT_PROGRAMS)
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        try:
            parts = pool.map(lambda pair: list(_crashes(pair[0], pair[1], options.out, cache, stop)), [pair for pair in chosen.items() if pair[1]])
            outcomes = [outcome for part in parts for outcome in part]
        except BaseException:
            # The machines end with the crash that they are at.
            stop.set()
            raise
    if options.junit:
        _write_junit(outcomes, options.junit)
    failed = sum(1 for outcome in outcomes if outcome.problem)
    print(f"{len(outcomes) - failed} of {len(outcomes)} as it should be: all of a tune or nothing of it, and nothing of ours left under way")
    return int(failed > 0)


def _crashes(name: str, crashes: t.Sequence[Crash], out: Path, cache: Cache, stop: threading.Event) -> t.Iterator[Outcome]:
    """One after the other, as each leaves the machine as it was; after one that does not, on another machine."""
    machine = machine_named(name)
    if not isinstance(machine, Machine):
        raise LabError(f"{name} is a real machine: no place to pull the plug")
    waiting = list(crashes)
    while waiting and not stop.is_set():
        directory = out / name
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="memqos-crash-") as scratch, booted(machine, cache, purpose=f"crash-{name}") as state:
            node = Node(state, scratch=Path(scratch), out=directory)
            node.prepare()
            problem = ""
            while waiting and not problem and not stop.is_set():
                outcome = _judge(waiting.pop(0), node, name)
                problem = outcome.problem
                yield outcome


def _judge(crash: Crash, node: Node, machine: str) -> Outcome:
    started = time.monotonic()
    try:
        problem = crash.happens(node)
    except LabError as exc:
        problem = str(exc)
    outcome = Outcome(crash, machine, problem, time.monotonic() - started)
    print(f"{'FAILED' if problem else 'ok':6} {crash.name} ({machine}, {outcome.seconds:.0f} s){': ' if problem else ''}{problem}", flush=True)
    return outcome


def _write_junit(outcomes: t.Iterable[Outcome], path: Path) -> None:
    suite = ElementTree.Element("testsuite", name="crash")
    for outcome in outcomes:
        case = ElementTree.SubElement(suite, "testcase", classname=outcome.machine, name=outcome.crash.name, time=f"{outcome.seconds:.1f}")
        if outcome.problem:
            ElementTree.SubElement(case, "failure", message=outcome.problem)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


if __name__ == "__main__":
    sys.exit(main())
