# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an audit costs Ansible, held against what everybody knows: `ping`, and `setup` + `find` + `slurp` of the same files.

Runs real playbooks over local connections. The interpreter of every module call is a wrapper that notes the CPU time of the
call, so that the controller's share is what remains of the whole process tree's. Pairs alternate in one run; medians of
ratios are printed.

While all forks are busy Ansible's main process looks every 0.1 ms whether one is free, so a call that takes longer costs the
controller more, whatever it does. Hence a third play: a ping with a variable in its argument, as the audit has one, whose call
lingers until it has taken as long as the audit's.

    python tests/benchmark/bench_audit.py [--pairs 5] [--hosts 10] [--cgroups 200]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
MEMORY = pathlib.Path("/sys/fs/cgroup/memory") if os.path.isdir("/sys/fs/cgroup/memory") else pathlib.Path("/sys/fs/cgroup")
PING = "- {hosts: all, gather_facts: false, tasks: [{ansible.builtin.ping: {}}]}\n"
LIKE = "- {hosts: all, gather_facts: false, tasks: [{ansible.builtin.ping: {data: '{{ out }}'}}]}\n"
AUDIT = "- {hosts: all, gather_facts: false, tasks: [{memqos.fleet.memory_audit: {directory: '{{ out }}', window: 0}}]}\n"
SLURP = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.setup:
    - ansible.builtin.find: {paths: '{{ tree }}', patterns: memory.stat, recurse: true}
      register: files
    - ansible.builtin.slurp: {src: '{{ item.path }}'}
      loop: '{{ files.files }}'
"""


class Cost(t.NamedTuple):
    wall: float
    total_cpu: float
    node_cpu: float
    node_wall: float
    calls: int

    @property
    def controller_cpu(self) -> float:
        return self.total_cpu - self.node_cpu


class Bench:
    """A scratch directory with a noting interpreter, an inventory of local hosts, and this checkout as the only collection: not one that is installed."""

    def __init__(self, scratch: pathlib.Path, hosts: int) -> None:
        self.scratch = scratch
        self.log = scratch / "calls"
        collections = scratch / "collections"
        (collections / "ansible_collections" / "memqos").mkdir(parents=True)
        (collections / "ansible_collections" / "memqos" / "fleet").symlink_to(ROOT)
        self.settings = {
            "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_PIPELINING": "True", "ANSIBLE_FORKS": "2", "ANSIBLE_DEPRECATION_WARNINGS": "False",
        }  # fmt: skip
        wrapper = scratch / "python3"
        call = f'\'{sys.executable}\' "$@" 2>&3; status=$?; [ -z "$LINGER" ] || sleep "$LINGER"'
        wrapper.write_text(f"#!/bin/bash\nTIMEFORMAT='%R %U %S'\n{{ time {{ {call}; }} }} 3>&2 2>>'{self.log}'\nexit $status\n")
        wrapper.chmod(0o755)
        rows = "".join(f"n{index} ansible_connection=local ansible_python_interpreter={wrapper}\n" for index in range(hosts))
        (scratch / "hosts").write_text(rows)

    def run(self, playbook: str, *, linger: float = 0, **variables: str) -> Cost:
        """C(linger): seconds that every module call waits at its end."""
        path = self.scratch / "play.yml"
        path.write_text(playbook)
        self.log.write_text("")
        environment = {**os.environ, **self.settings, "LINGER": f"{linger:.3f}" if linger > 0 else ""}
        argv = [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", str(self.scratch / "hosts"), str(path), "-e", json.dumps(variables)]
        before = os.times()
        begin = time.monotonic()
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
        wall = time.monotonic() - begin
        after = os.times()
        total = after.children_user + after.children_system - before.children_user - before.children_system
        calls = [[float(figure) for figure in line.split()] for line in self.log.read_text().splitlines()]
        return Cost(wall, total, sum(user + system for unused, user, system in calls), sum(real for real, *unused in calls), len(calls))


@contextlib.contextmanager
def cgroups(count: int) -> t.Iterator[pathlib.Path]:
    """Empty cgroups of our own, removed at the end."""
    top = MEMORY / f"memqos-bench-{os.getpid()}"
    made = [top, *(top / f"c{index}" for index in range(count))]
    try:
        for directory in made:
            directory.mkdir()
        yield top
    finally:
        for directory in reversed(made):
            with contextlib.suppress(OSError):
                directory.rmdir()


def against_ping(bench: Bench, pairs: int) -> None:
    rows = []
    out = str(bench.scratch / "out")
    for unused in range(pairs):
        ping = bench.run(PING)
        audit = bench.run(AUDIT, out=out)
        like = bench.run(LIKE, out=out, linger=audit.node_wall / audit.calls - ping.node_wall / ping.calls)
        controller = audit.controller_cpu
        rows.append((controller / ping.controller_cpu, audit.total_cpu / ping.total_cpu, audit.calls / ping.calls, controller / like.controller_cpu))
        costs = (f"{name} {cost.controller_cpu:.2f} + {cost.node_cpu:.2f}" for name, cost in (("ping", ping), ("audit", audit), ("ping that lingers", like)))
        print(f"   {', '.join(costs)} CPU-s (controller + node)", flush=True)
    controllers, totals, calls, alike = zip(*rows)
    spread = f"{statistics.median(controllers):.2f} ({min(controllers):.2f} to {max(controllers):.2f})"
    print(f"audit / ping: controller CPU {spread} (goal 1.25), all CPU {statistics.median(totals):.2f}, remote calls {statistics.median(calls):.2f} (goal 1)")
    print(f"audit / ping that lingers: controller CPU {statistics.median(alike):.2f}")


def against_slurp(bench: Bench, pairs: int, count: int) -> None:
    ratios = []
    with cgroups(count) as tree:
        for unused in range(pairs):
            audit = bench.run(AUDIT, out=str(bench.scratch / "out"))
            slurp = bench.run(SLURP, tree=str(tree))
            ratios.append(slurp.wall / audit.wall)
            print(f"   audit {audit.wall:.1f} s in {audit.calls} call, setup + find + slurp {slurp.wall:.1f} s in {slurp.calls} calls")
    print(f"(setup + find + slurp of memory.stat alone) / audit of everything, {count} cgroups: {statistics.median(ratios):.1f} (goal 10)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--cgroups", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memqos-bench-") as scratch:
        against_ping(Bench(pathlib.Path(scratch), options.hosts), options.pairs)
    with tempfile.TemporaryDirectory(prefix="memqos-bench-") as scratch:
        against_slurp(Bench(pathlib.Path(scratch), 1), 1, options.cgroups)


if __name__ == "__main__":
    main()
