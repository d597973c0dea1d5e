# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an audit costs Ansible, held against what everybody knows: `ping`, and `setup` + `find` + `slurp` of the same files.

Runs real playbooks over local connections. The interpreter of every module call is a wrapper that notes the CPU time of the
call, so that the controller's share is what remains of the whole process tree's. Pairs alternate in one run; medians of
ratios are printed.

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

MEMORY = pathlib.Path("/sys/fs/cgroup/memory") if os.path.isdir("/sys/fs/cgroup/memory") else pathlib.Path("/sys/fs/cgroup")
PING = "- {hosts: all, gather_facts: false, tasks: [{ansible.builtin.ping: {}}]}\n"
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
    calls: int

    @property
    def controller_cpu(self) -> float:
        return self.total_cpu - self.node_cpu


class Bench:
    """A scratch directory with a noting interpreter and an inventory of local hosts."""

    def __init__(self, scratch: pathlib.Path, hosts: int) -> None:
        self.scratch = scratch
        self.log = scratch / "calls"
        wrapper = scratch / "python3"
        wrapper.write_text(f"#!/bin/bash\nTIMEFORMAT='%U %S'\n{{ time '{sys.executable}' \"$@\" 2>&3; }} 3>&2 2>>'{self.log}'\n")
        wrapper.chmod(0o755)
        rows = "".join(f"n{index} ansible_connection=local ansible_python_interpreter={wrapper}\n" for index in range(hosts))
        (scratch / "hosts").write_text(rows)

    def run(self, playbook: str, **variables: str) -> Cost:
        path = self.scratch / "play.yml"
        path.write_text(playbook)
        self.log.write_text("")
        environment = {**os.environ, "ANSIBLE_PIPELINING": "True", "ANSIBLE_FORKS": "2", "ANSIBLE_DEPRECATION_WARNINGS": "False"}
        argv = [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-i", str(self.scratch / "hosts"), str(path), "-e", json.dumps(variables)]
        before = os.times()
        begin = time.monotonic()
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
        wall = time.monotonic() - begin
        after = os.times()
        total = after.children_user + after.children_system - before.children_user - before.children_system
        calls = [sum(map(float, line.split())) for line in self.log.read_text().splitlines()]
        return Cost(wall, total, sum(calls), len(calls))


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
    for unused in range(pairs):
        ping = bench.run(PING)
        audit = bench.run(AUDIT, out=str(bench.scratch / "out"))
        rows.append((audit.controller_cpu / ping.controller_cpu, audit.total_cpu / ping.total_cpu, audit.calls / ping.calls))
        print(
            f"   ping {ping.controller_cpu:.2f} + {ping.node_cpu:.2f} CPU-s, audit {audit.controller_cpu:.2f} + {audit.node_cpu:.2f} CPU-s (controller + node)"
        )
    controller, total, calls = (statistics.median(column) for column in zip(*rows))
    print(f"audit / ping: controller CPU {controller:.2f} (goal 1.25), all CPU {total:.2f}, remote calls {calls:.2f} (goal 1)")


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
        against_slurp(Bench(pathlib.Path(scratch), 1), 1, options.cgroups)


if __name__ == "__main__":
    main()
