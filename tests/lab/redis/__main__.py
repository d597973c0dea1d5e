# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What settings of memory do for Redis beside batch work, on a real kernel: C(make bench-redis), docs/testing.md. Runs the playbook memqos.fleet.bench_redis
against a machine of the lab, as users run it against theirs. The whole of it takes hours, is held against the goals of roles/bench_redis/vars/workload.yml, and
writes docs/results.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import tempfile
import typing as t
from pathlib import Path
from xml.etree import ElementTree

from .. import sessions
from ..common import BOOT_PROGRAMS, Cache, require_programs
from ..effect.guest import Guest
from ..inventory import machine_named
from ..machines import LabError, Machine
from ..sessions import booted

MACHINE = "debian13_v2"
PACKAGES = ("redis-server", "redis-tools")
# As on a node, Redis, its clients and batch work do not all wait for one processor. The hog has to fit into memory and swap.
CPUS, SWAP_MIB = 2, 512
RESULTS = Path("docs/results.md")
# Two arms, two pairs, short windows: that all of it works, not what comes out.
SMOKE = {
    "memqos_bench_arms": "untouched,colocated",
    "memqos_bench_pairs": 2,
    "memqos_bench_scenes": ["hog"],
    "memqos_bench_workload": {
        "settle_seconds": 3,
        "loads": {
            "mixed": {"clients": [{"command": "set", "connections": 1, "requests": 60}, {"command": "get", "connections": 4, "requests": 240}]},
            "small": {"clients": [{"command": "get", "connections": 4, "requests": 1500}]},
        },
    },
}
Variables = dict[str, t.Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """C(variables) are those of the playbook; none: the whole comparison, which alone has to meet the goals."""

    variables: Variables
    out: Path
    junit: Path | None = None
    results: Path = RESULTS
    resume: bool = False

    @property
    def whole(self) -> bool:
        return not self.variables


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0; 1 where the comparison failed or, whole, a goal is not met."""
    options = _options(argv)
    return sessions.run(lambda cache: run(options, cache))


def run(options: Options, cache: Cache) -> int:
    """The exit status. Raises LabError. However it ends, no machine is left."""
    require_programs(BOOT_PROGRAMS)
    row = t.cast(Machine, machine_named(MACHINE))
    machine = dataclasses.replace(row, name=f"{MACHINE}_redis", packages=(*row.packages, *PACKAGES), cpus=CPUS, swap_mib=SWAP_MIB)
    directory = options.out / "bench" / MACHINE
    # Of an earlier one. The machine is new: no arm is set on it.
    for name in ("results.json", "results.md", "arm-that-may-be-set"):
        (directory / name).unlink(missing_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    of_all = {"memqos_report_dir": str(options.out), "memqos_bench_may_suffer": True, "memqos_bench_resume": options.resume}
    with tempfile.TemporaryDirectory(prefix="memqos-redis-") as scratch, booted(machine, cache, purpose="redis") as state:
        guest = Guest(state, MACHINE, scratch=Path(scratch), log=options.out / "ansible.log")
        status = guest.play("bench_redis", {**of_all, **options.variables}, shown=True)
    return conclude(options, status)


def conclude(options: Options, status: int) -> int:
    """The exit status, of that of the playbook and what it left. Raises LabError if it left nothing."""
    directory = options.out / "bench" / MACHINE
    try:
        goals = json.loads((directory / "results.json").read_text(encoding="utf-8"))["goals"]
    except OSError:
        raise LabError(f"memqos.fleet.bench_redis ended with status {status} and left no result") from None
    if options.whole and not status:
        shutil.copyfile(directory / "results.md", options.results)
    failures = {"all runs succeed": f"ansible-playbook ended with status {status}" if status else ""}
    if options.whole:
        failures.update((words(goal), "" if goal["met"] else json.dumps(goal["found"])) for goal in goals)
    if options.junit:
        _write_junit(options.junit, failures)
    print((directory / "results.md").read_text(encoding="utf-8"))
    for claim, found in failures.items():
        print(f"{'FAILED' if found else 'ok':6} {claim}" + (f": {found}" if found else ""), flush=True)
    return 1 if any(failures.values()) else 0


def words(goal: dict[str, t.Any]) -> str:
    """A goal as a claim."""
    wanted = next(f"{name} {goal[name]}" for name in ("at_most", "at_least", "better", "not_worse", "floor") if name in goal)
    return f"{goal['arm']} / {goal['against']}, {goal['scene']}, {goal['load']}: {goal['figure']} {wanted}"


def _write_junit(path: Path, failures: dict[str, str]) -> None:
    suite = ElementTree.Element("testsuite", name="redis")
    for claim, found in failures.items():
        case = ElementTree.SubElement(suite, "testcase", classname="redis", name=claim)
        if found:
            ElementTree.SubElement(case, "failure", message=claim).text = found
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(suite).write(path, encoding="utf-8")


def _options(argv: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="redis", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two arms, two pairs, short windows; no goals")
    parser.add_argument("--arms", metavar="NAME,NAME…", help="some; no goals")
    parser.add_argument("--pairs", type=int, help="other than the seven; no goals")
    parser.add_argument("--scenes", metavar="NAME,NAME…", help="some of scan, hog, control; no goals")
    parser.add_argument("--loads", metavar="NAME,NAME…", help="some of mixed, small; no goals")
    parser.add_argument("--resume", action="store_true", help="go on after the whole rounds of an earlier one, of which --out has the runs")
    parser.add_argument("--out", type=Path, metavar="DIRECTORY", help="for results (default: build/bench-redis, and build/bench-redis-part for some of it)")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="a case for each goal")
    given = parser.parse_args(argv)
    variables: Variables = dict(SMOKE) if given.smoke else {}
    if given.arms:
        variables["memqos_bench_arms"] = given.arms
    if given.pairs is not None:
        variables["memqos_bench_pairs"] = given.pairs
    for name in ("scenes", "loads"):
        if chosen := getattr(given, name):
            variables[f"memqos_bench_{name}"] = [word.strip() for word in chosen.split(",")]
    # The whole goes on in its own: not beside another comparison.
    out = given.out or Path("build/bench-redis-part" if variables.keys() - {"memqos_bench_pairs"} else "build/bench-redis")
    return Options(variables=variables, out=out.absolute(), junit=given.junit, resume=given.resume)


if __name__ == "__main__":
    sys.exit(main())
