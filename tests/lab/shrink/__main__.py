# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sets limits below what is in use, on machines of three kinds, with tasks that hold, grow, read and write, with and without swap: C(make shrinking).

Prints what became of each run. The exit status is 1 if a task was killed, if a result was not what the kernel says, or if what could be set was not.
A run goes by its seed and number: --seed S --first N --runs 1 --machine M does it again.
"""

from __future__ import annotations

import argparse
import collections
import collections.abc
import concurrent.futures
import io
import json
import sys
import tarfile
import tempfile
import threading
from pathlib import Path
from xml.etree import ElementTree

from .. import sessions
from ..common import BOOT_PROGRAMS, GUEST_SCRIPTS, Cache, require_programs
from ..effect.guest import Guest
from ..inventory import machine_named
from ..machines import LabError, Machine
from ..sessions import booted
from .judge import Json, problem

# v2 with memory.reclaim, v2 without (Linux 5.10), v1.
MACHINES = {"debian13_v2": 2, "debian11": 2, "debian12_v1": 1}
_ROOT = Path(__file__).resolve().parents[3]
_AT_A_TIME = 5
# Of one run: a load that starts, 40 s of shrinking at most, and all of it emulated.
_RUN_SECONDS = 240.0
_PRINTING = threading.Lock()


def main(argv: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="shrink", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=201, help="on all machines together (default: %(default)s)")
    parser.add_argument("--seed", default="1", help="(default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first run on each machine (default: %(default)s)")
    parser.add_argument("--machine", action="append", choices=MACHINES, help="only this one (default: all)")
    parser.add_argument("--out", type=Path, default=Path("build/shrinking"), metavar="DIRECTORY", help="for what each run was (default: %(default)s)")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="a case for each run")
    options = parser.parse_args(argv)
    return sessions.run(lambda cache: _run(options, cache))


def _run(options: argparse.Namespace, cache: Cache) -> int:
    require_programs(BOOT_PROGRAMS)
    options.out.mkdir(parents=True, exist_ok=True)
    machines = options.machine or list(MACHINES)
    runs = -(-options.runs // len(machines))
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        try:
            found = [line for lines in pool.map(lambda name: list(_machine(name, runs, options, cache, stop)), machines) for line in lines]
        except BaseException:
            stop.set()
            raise
    suite = ElementTree.Element("testsuite", name="shrinking")
    for machine, run, wrong in found:
        case = ElementTree.SubElement(suite, "testcase", classname=machine, name=f"{run['number']} {run['kind']}", time=str(run["seconds"]))
        if wrong:
            ElementTree.SubElement(case, "failure", message=wrong)
    if options.junit:
        options.junit.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(suite).write(options.junit, encoding="utf-8", xml_declaration=True)
    bad = sum(bool(wrong) for unused, unused_run, wrong in found)
    kills = sum(run["later"]["kills"] - run["before"]["kills"] for unused, run, unused_wrong in found)
    said = collections.Counter(run["told"]["status"] for unused, run, unused_wrong in found)
    print(f"{len(found) - bad} of {len(found)} runs as they should be, {kills} OOM kills: {', '.join(f'{count} {status}' for status, count in said.items())}")
    return int(bad > 0)


def _machine(name: str, runs: int, options: argparse.Namespace, cache: Cache, stop: threading.Event) -> collections.abc.Iterator[tuple[str, Json, str]]:
    machine = machine_named(name)
    if not isinstance(machine, Machine):
        raise LabError(f"{name} is a real machine: no place to kill programs")
    with tempfile.TemporaryDirectory(prefix="memqos-shrink-") as scratch, booted(machine, cache, purpose=f"shrink-{name}") as state:
        guest = Guest(state, name, scratch=Path(scratch), log=options.out / f"{name}.log")
        guest.run("mkdir -p /root/lab && tar -x -C /root/lab", stdin=_packed())
        with (options.out / f"{name}.jsonl").open("w", encoding="utf-8") as log:
            for first in range(options.first, options.first + runs, _AT_A_TIME):
                if stop.is_set():
                    return
                count = min(_AT_A_TIME, options.first + runs - first)
                command = f"PYTHONPATH=/root/lab python3 /root/lab/shrinking.py {options.seed} {first} {count}"
                for line in guest.run(command, seconds=_RUN_SECONDS * count).decode().splitlines():
                    log.write(f"{line}\n")
                    run = json.loads(line)
                    wrong = problem(run, version=MACHINES[name])
                    with _PRINTING:
                        print(_line(name, run, wrong), flush=True)
                    yield name, run, wrong


def _line(name: str, run: Json, wrong: str) -> str:
    mib = [round(run[when]["usage"] / (1 << 20)) for when in ("before", "after", "later")]
    swap = "swap" if run["swap"] else "no swap"
    knob = f"{run['knob']}{' and MemoryHigh' if run['high_too'] else ''}"
    what = f"{run['kind']} {knob}, {swap}: {mib[0]} MiB, {run['bound'] >> 20} wanted, {mib[1]} after {run['seconds']} s, {mib[2]} later"
    told = f"{run['told']['status']}{' ' + run['told']['problem'].splitlines()[-1][:200] if run['told']['problem'] else ''}"
    return f"{'FAILED' if wrong else 'ok':6} {name} {run['number']:3} {what}: {wrong or told}"


def _packed() -> bytes:
    """The node's half and the guest's programs."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted((_ROOT / "plugins" / "module_utils").rglob("*.py")):
            tar.add(path, f"ansible_collections/memqos/fleet/{path.relative_to(_ROOT)}")
        for name in ("shrinking.py", "held.py"):
            tar.add(GUEST_SCRIPTS / name, name)
    return packed.getvalue()


if __name__ == "__main__":
    sys.exit(main())
