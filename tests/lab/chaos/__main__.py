# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs of a tune with a fault in each, on machines of the lab: C(make chaos), docs/testing.md.

Afterwards the node holds all of the plan or nothing of it, the answer said so, and nothing was killed for want of memory. A run that fails prints its
seed; --seed SEED --runs 1 --only MACHINE draws it again. The exit status is 1 if one failed.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import fnmatch
import json
import secrets
import sys
import threading
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

from .. import sessions
from ..common import BOOT_PROGRAMS, Cache, progress, require_programs
from ..inventory import machine_named
from ..machines import LabError, Machine
from ..sessions import booted
from . import draw, guest, table

Json = dict[str, t.Any]
_AT_ONCE = 2
# A machine that fails so often is not asked further.
_MOST_FAILURES = 20


def main(argv: list[str] | None = None) -> int:
    """The exit status."""
    options = _options(argv)
    return sessions.run(lambda cache: _run(options, cache))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="GLOB", help="of machines (default: all)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the first run; the next have the next numbers (default: drawn, and printed)")
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="of all machines together (default: %(default)s)")
    parser.add_argument("--fault", default="", metavar="KIND", help="this one alone, in every run")
    parser.add_argument("--out", type=Path, default=Path("build/chaos"), metavar="DIRECTORY", help="for accounts of runs that failed (default: %(default)s)")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="a case for each run")
    options = parser.parse_args(argv)
    if options.runs < 1:
        parser.error(f"--runs={options.runs}: a number from 1 on is expected here")
    if options.fault and options.fault not in (*table.FAULTS, "reset"):
        parser.error(f"--fault={options.fault}: one of {', '.join((*table.FAULTS, 'reset'))} is expected here")
    options.out = options.out.absolute()
    return options


class Tally:
    """What became of all runs; several machines report."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._lock = threading.Lock()
        self.given_up = threading.Event()
        self.suite = ElementTree.Element("testsuite", name="chaos")
        self.failed = self.done = 0
        self.came: collections.Counter[str] = collections.Counter()

    def add(self, run: Json, done: Json) -> None:
        kind, machine, seed = run["fault"]["kind"], run["machine"], run["seed"]
        more = " of swap" if "swap" in run["plan"] else ""
        more += (f", {run['confirm']}" if run["confirm"] else "") + (f" beside a {run['load']['kind']}" if run["load"] else "")
        with self._lock:
            self.done += 1
            case = ElementTree.SubElement(self.suite, "testcase", classname=machine, name=f"{seed} {kind}{more}", time=f"{done['seconds']:.1f}")
            self.came[f"{kind:7} {done['came']}"] += 1
            with (self._out / "runs.txt").open("a") as stream:
                stream.write(f"{machine} {seed} {kind}{more}, {run['action']}, at {done['struck'] or 'nothing'}: {done['came']} ({done['seconds']:.1f} s)\n")
            if not done["problems"]:
                return
            self.failed += 1
            told = "\n".join(done["problems"])
            ElementTree.SubElement(case, "failure", message=told)
            print(f"FAILED {machine} SEED={seed}: {kind}{more}, {run['action']}, struck at {done['struck'] or 'nothing'}:\n  {told[:2000]}", flush=True)
            (self._out / f"{machine}-{seed}.json").write_text(json.dumps({"run": run, **done}, indent=1))

    def table(self) -> t.Iterator[str]:
        for words, count in sorted(self.came.items()):
            yield f"  {words:40} {count:5}"


def _run(options: argparse.Namespace, cache: Cache) -> int:
    names = [name for name in table.MACHINES if fnmatch.fnmatchcase(name, options.only)] or [options.only]
    require_programs(BOOT_PROGRAMS)
    options.out.mkdir(parents=True, exist_ok=True)
    first = secrets.randbelow(10**6) * 1000 if options.seed is None else options.seed
    (options.out / "runs.txt").write_text("")
    print(f"{options.runs} runs on {', '.join(names)}, SEED={first}", flush=True)
    tally, started = Tally(options.out), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        shares = [(name, part) for at, name in enumerate(names) for part in _parts(_drawn(name, first, options, at, len(names)))]
        waiting = [pool.submit(_machine, name, part, options, tally, cache) for name, part in shares]
        try:
            for future in concurrent.futures.as_completed(waiting):
                future.result()
        except BaseException:
            # A Ctrl-C, or a machine that does not come up: the others end with the run that they are at.
            tally.given_up.set()
            raise
    if options.junit:
        options.junit.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(tally.suite).write(options.junit, encoding="utf-8", xml_declaration=True)
    print("\n".join(tally.table()))
    print(f"{tally.done - tally.failed} of {options.runs} as it should be, in {(time.monotonic() - started) / 60:.0f} min (SEED={first})")
    return int(tally.failed > 0 or tally.done < options.runs)


def _drawn(name: str, first: int, options: argparse.Namespace, at: int, of: int) -> list[Json]:
    """This machine's share. Resets go by the seed, so that one is drawn again as it was."""
    share = options.runs // of + (at < options.runs % of)
    runs = []
    for seed in range(first, first + share):
        run = draw.run(seed, name, reset=options.fault == "reset" or (not options.fault and seed % table.RESET_EVERY == table.RESET_EVERY // 2))
        if options.fault and options.fault != "reset":
            run = next(one for more in range(10000) if (one := draw.run(seed + more * 1000003, name))["fault"]["kind"] == options.fault)
        runs.append(run)
    return runs


def _parts(runs: list[Json]) -> list[list[Json]]:
    """Halves: of three machines, two at a time, the last would run alone for a third of the time."""
    half = (len(runs) + 1) // 2
    return [part for part in (runs[:half], runs[half:]) if part]


def _machine(name: str, runs: list[Json], options: argparse.Namespace, tally: Tally, cache: Cache) -> None:
    machine = machine_named(name)
    if not isinstance(machine, Machine):
        raise LabError(f"{name} is a real machine: no place for chaos")
    waiting, failures = collections.deque(runs), 0
    while waiting and failures < _MOST_FAILURES and not tally.given_up.is_set():
        # A machine that a run has left otherwise than it was is thrown away.
        with (
            booted(machine, cache, purpose=f"chaos-{name.replace('_', '-')}-{runs[0]['seed']}") as state,
            guest.driven(state, options.out / f"{name}.log") as node,
        ):
            while waiting and failures < _MOST_FAILURES and not tally.given_up.is_set():
                run = waiting.popleft()
                try:
                    done = node.account(run)
                except LabError as exc:
                    done = {"seconds": 0.0, "struck": "", "came": "lost", "clean": False, "problems": [str(exc)], "account": None}
                tally.add(run, done)
                failures += bool(done["problems"])
                if (len(runs) - len(waiting)) % 25 == 0:
                    progress(name, f"{len(runs) - len(waiting)} of {len(runs)}, {failures} failed")
                if not done["clean"]:
                    break


if __name__ == "__main__":
    sys.exit(main())
