# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two controllers at once on a machine of the lab, beside a human, TuneD and daemon-reloads; and one that strace watches: C(make contention), docs/testing.md.

Each answer is true, afterwards the node is what its journal says, and the module as root changes nothing but files of the registry and ours. The exit
status is 1 if a run failed; --seed SEED --runs 1 draws it again.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import secrets
import subprocess
import sys
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

from .. import sessions
from ..common import BOOT_PROGRAMS, Cache, progress, require_programs
from ..inventory import machine_named
from ..machines import LabError, Machine
from ..sessions import booted
from . import guest, table

Json = dict[str, t.Any]
_TRACE: Json = {"seed": 0, "first": "trace", "second": "", "apart": 0}


def main(argv: list[str] | None = None) -> int:
    """The exit status."""
    options = _options(argv)
    return sessions.run(lambda cache: _run(options, cache))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="contention", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, metavar="N", help="of the first run; the next have the next numbers (default: drawn, and printed)")
    parser.add_argument("--runs", type=int, default=100, metavar="N", help="beside the one that is traced (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/chaos"), metavar="DIRECTORY", help="for accounts of runs that failed (default: %(default)s)")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="a case for each run")
    options = parser.parse_args(argv)
    options.out = options.out.absolute()
    return options


def drawn(seed: int) -> Json:
    """Who comes first and second, and seconds in between. A rollback comes seldom: it needs something to roll back."""
    dice = random.Random(seed)
    names = dice.choices(list(table.CONTROLLERS), [3, 3, 2, 1], k=2)
    first, second = (f"{name}-{dice.choice(table.WAITS)}" for name in names)
    return {"seed": seed, "first": first, "second": second, "apart": round(dice.choice((0.0, dice.uniform(0.0, 4.0))), 2)}


def _programs() -> dict[str, str]:
    """Our modules as Ansible sends them."""
    collections_path = guest.ROOT / "build" / "collections"
    argv = [sys.executable, str(Path(__file__).with_name("sent.py")), str(collections_path)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise LabError("the modules cannot be packed: run this by `make contention`")
    programs: dict[str, str] = json.loads(done.stdout)
    return programs


def _run(options: argparse.Namespace, cache: Cache) -> int:
    require_programs(BOOT_PROGRAMS)
    machine = machine_named(table.CONTROLLER_MACHINE)
    if not isinstance(machine, Machine):
        raise LabError(f"{machine.name} is a real machine: no place for chaos")
    options.out.mkdir(parents=True, exist_ok=True)
    first = secrets.randbelow(10**6) * 1000 if options.seed is None else options.seed
    print(f"{options.runs} runs on {machine.name}, SEED={first}", flush=True)
    runs = [_TRACE, *map(drawn, range(first, first + options.runs))]
    suite, failed, started, came = ElementTree.Element("testsuite", name="contention"), 0, time.monotonic(), collections.Counter[str]()
    waiting, log, first_words = collections.deque(runs), options.out / "contention.log", {"programs": _programs()}
    while waiting:
        # What a run has left otherwise than its journal says goes with the machine.
        with booted(machine, cache, purpose="contention") as state, guest.driven(state, log, program="contend", first=first_words) as node:
            while waiting:
                run = waiting.popleft()
                done = _asked(node, run)
                came[done["came"]] += 1
                failed += bool(done["problems"])
                _told(run, done, suite, options.out)
                if (len(runs) - len(waiting)) % 10 == 0:
                    progress(machine.name, f"{len(runs) - len(waiting)} of {len(runs)}, {failed} failed")
                if done["problems"]:
                    break
    if options.junit:
        options.junit.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(suite).write(options.junit, encoding="utf-8", xml_declaration=True)
    print("\n".join(f"  {words:50} {count:4}" for words, count in sorted(came.items())))
    print(f"{len(runs) - failed} of {len(runs)} as it should be, in {(time.monotonic() - started) / 60:.0f} min (SEED={first})")
    return int(failed > 0)


def _asked(node: guest.Driven, run: Json) -> Json:
    try:
        return node.account(run)
    except LabError as exc:
        return {"seconds": 0.0, "came": "lost", "problems": [str(exc)], "human": 0, "kept": None}


def _told(run: Json, done: Json, suite: ElementTree.Element, out: Path) -> None:
    name = f"{run['seed']} {run['first']} {run['second']}".strip()
    case = ElementTree.SubElement(suite, "testcase", classname=table.CONTROLLER_MACHINE, name=name, time=f"{done['seconds']:.1f}")
    if not done["problems"]:
        return
    told = "\n".join(done["problems"])
    ElementTree.SubElement(case, "failure", message=told)
    print(f"FAILED SEED={run['seed']}: {run['first']} and {run['second']}, {run['apart']} s apart:\n  {told[:3000]}", flush=True)
    (out / f"contention-{run['seed']}.json").write_text(json.dumps({"run": run, **done}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
