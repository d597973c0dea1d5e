# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What rules cost: compiling them on the controller, and judging 10,000 cgroups on the node, against the same rules written in Python by hand.

python tests/benchmark/bench_rules.py [cgroups]
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.module_utils import _rules
from ansible_collections.memqos.fleet.plugins.plugin_utils import _rule_compiler

RULES = Path(__file__).resolve().parents[2] / "roles" / "audit" / "vars" / "rules"
Cgroup = dict[str, t.Any]
MIB = 1 << 20
EVENTS = ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")
LOAD = f"""
import time
began = time.process_time()
from ansible_collections.memqos.fleet.plugins.plugin_utils import _rule_compiler
imported = time.process_time()
_rule_compiler.load_rules([{str(RULES)!r}], thresholds={{}}, drop=[])
print((imported - began) * 1000, (time.process_time() - imported) * 1000)
"""  # Ansible's main process imports the action plugin before it forks: both are paid once a play, the load again by a host with rules of its own.


def cgroups(count: int) -> list[Cgroup]:
    """Mostly healthy containers, as on a real node; about one in a hundred has something to say."""
    chance = random.Random(7)
    return [_cgroup(number, chance) for number in range(count)]


def _cgroup(number: int, chance: random.Random) -> Cgroup:
    limit = chance.choice((None, 256 * MIB, 1024 * MIB))
    usage = chance.randrange(10 * MIB, 240 * MIB)
    file = usage // chance.choice((3, 4, 50))
    events = dict.fromkeys(EVENTS, 0)
    if chance.random() < 0.01:
        events.update(max=chance.randrange(9000), oom_kill=chance.randrange(2))
    averages = {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 12345}
    return {
        "path": f"/kubepods.slice/pod{number}",
        "kind": "container",
        "usage": usage,
        "limit": limit,
        "high": None,
        "low": 0,
        "min": 0,
        "peak": usage,
        "stat": {"anon": usage - file, "shmem": 0, "active_file": file // 2, "inactive_file": file // 2, "workingset_refault_file": 0},
        "working_set": usage - file // 2,
        "hard_set": usage - file,
        "events": events,
        "events_local": dict(events),
        "pressure": {"some": averages, "full": averages},
        "children_min": 0,
        "children_low": 0,
    }


def by_hand(cgroup: Cgroup, before: Cgroup | None, kubelet: bool, memtotal: int) -> list[str]:
    """The rules of cgroup.yml without three-valued logic, checks or observations: the least that Python can do."""
    found = []
    limit = float("inf") if cgroup["limit"] is None else cgroup["limit"]
    high = float("inf") if cgroup["high"] is None else cgroup["high"]
    old = before["events_local"] if before else dict.fromkeys(EVENTS, 0)
    now, stat, pressure = cgroup["events_local"], cgroup["stat"], cgroup["pressure"]
    if now["oom_kill"] - old["oom_kill"] > 0:
        found.append("C01")
    if limit != float("inf") and stat["active_file"] + stat["inactive_file"] > 0.5 * limit and now["max"] - old["max"] > 0:
        found.append("C02")
    cached = cgroup["kind"] in ("container", "service", "scope", "lxc", "cgroup") and stat["active_file"] > 0.5 * cgroup["working_set"]
    if cached and (cgroup["working_set"] > 0.7 * limit or (kubelet and stat["active_file"] > 0.1 * memtotal)):
        found.append("C03")
    if limit != float("inf") and cgroup["usage"] > 0.9 * limit and cgroup["hard_set"] > 0.8 * limit:
        found.append("C07")
    if cgroup["low"] > 0 and now["low"] - old["low"] > 0:
        found.append("C09")
    if high != float("inf") and now["high"] - old["high"] > 0 and pressure["full"]["avg60"] > 5:
        found.append("C10")
    if cgroup["children_min"] > cgroup["min"] or cgroup["children_low"] > cgroup["low"]:
        found.append("C13")
    return found


def seconds(work: t.Callable[[], list[str]]) -> tuple[float, list[str]]:
    """The best of three, in CPU time."""
    times = []
    found: list[str] = []
    for _round in range(3):
        began = time.process_time()
        found = work()
        times.append(time.process_time() - began)
    return min(times), found


def main(count: int) -> None:
    ruleset = _rule_compiler.load_rules([str(RULES)], thresholds={}, drop=[])
    prepared = [rule for rule in _rules.prepare(json.loads(json.dumps(ruleset.compiled))) if rule.each == "cgroup"]
    rows = cgroups(count)
    memtotal = 64 << 30
    env = {"facts": {"hierarchy": "v2", "psi": True, "kubelet": True}, "node": {"memtotal_bytes": memtotal}}

    def evaluated() -> list[str]:
        found = []
        for row in rows:
            subject = {**env, "cgroup": row}
            counters = _rules.Counters(uptime=1000.0, previous={"cgroup": row}, elapsed=60.0)
            for rule in prepared:
                if _rules.evaluate(rule, subject, counters).status in ("fail", "unknown"):
                    found.append(rule.id)
        return found

    def written() -> list[str]:
        return [rule for row in rows for rule in by_hand(row, row, True, memtotal)]

    ours, found = seconds(evaluated)
    theirs, expected = seconds(written)
    if sorted(found) != sorted(expected):
        raise SystemExit(f"the two disagree: {len(found)} and {len(expected)} findings")
    imported, loaded = subprocess.run([sys.executable, "-c", LOAD], check=True, capture_output=True, text=True).stdout.split()
    print(f"controller, fresh process: {float(imported):.1f} ms to import, {float(loaded):.1f} ms to load and compile {len(ruleset.compiled)} rules")
    each = ours / count * 1e6
    print(f"node: {len(prepared)} rules x {count} cgroups: {ours:.2f} s, {each:.1f} us a cgroup, {each / len(prepared):.2f} us a verdict")
    print(f"by hand: {theirs:.3f} s, {theirs / count * 1e6:.1f} us a cgroup; ratio {ours / theirs:.1f}; {len(found)} findings in both")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
