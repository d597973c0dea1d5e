# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sets limits below what runs in a slice, again and again, by the node's half of a tune. For guests of the lab; the collection's code is beside it.

  python3 shrinking.py SEED FIRST RUNS

Prints a line of JSON for each run: what was drawn, what the tune said, what the kernel says then and five seconds later.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _tune
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Writer

MIB = 1 << 20
SLICE = "shrinking.slice"
KINDS = ("holds", "grows", "reads", "writes")
WITHIN_SECONDS, SLICE_SECONDS, WATCHED_SECONDS = 40, 10, 5.0
OPTIONS = {"on_conflict": "report", "fail_on_unsupported": False, "only": [], "allow": [], "sysctl_file": "zz-memqos.conf"}
V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
HOME = f"/sys/fs/cgroup{'' if V2 else '/memory'}/{SLICE}"


def draw(number: int, seed: str) -> dict[str, t.Any]:
    """The same for a number and a seed, whatever was drawn before."""
    chance = random.Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    hold = chance.randint(16, 96)
    load = {"hold": hold, "grow": 0.0, "most": 0, "file": 0, "read": 0.0, "write": 0.0}
    if kind == "grows":
        load.update(grow=chance.choice([0.5, 2.0, 8.0]), most=chance.randint(10, 120), file=chance.randint(0, 80))
    else:
        load["file"] = chance.randint(40, 160)
    if kind in ("reads", "writes"):
        load["read" if kind == "reads" else "write"] = chance.choice([2.0, 8.0, 32.0])
    share = chance.uniform(0.3, 1.1)
    knob = chance.choice(["MemoryMax"] * 3 + ["MemoryHigh"])
    return {
        "number": number,
        "kind": kind,
        "swap": number // len(KINDS) % 2 == 1,
        "load": load,
        "share": share,
        "knob": knob,
        # At the same value.
        "high_too": knob == "MemoryMax" and chance.random() < 0.25,
    }


def tune(slices: dict[str, t.Any]) -> dict[str, t.Any]:
    """As the controller does: again while it shrinks."""
    end, calls = time.monotonic() + WITHIN_SECONDS, 0
    while True:
        calls += 1
        left = max(1, int(end - time.monotonic()))
        request = {
            "layers": [{"profile": "lab", "host": {}, "slices": slices}],
            "options": OPTIONS,
            "wait": 10,
            "meta": {"host": "lab", "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "profiles": ["lab"]},
            "keep": {"generations": 5, "since": ""},
            "shrink": {"within": left, "slice": SLICE_SECONDS, "last": left <= SLICE_SECONDS},
        }
        answer: dict[str, t.Any] = _tune.tune(request, _tune.Work(Tree("/"), Writer("/"), check=False))
        if answer["problem"] or answer["generation"] or all(one["done"] for one in answer["shrinking"]):
            return {**answer, "calls": calls}


def read(name: str) -> str:
    with open(f"{HOME}/{name}", encoding="ascii") as file:
        return file.read().strip()


def kills() -> int:
    """Of all in the slice, also of what has ended."""
    text = read("memory.events" if V2 else "memory.oom_control")
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)


def state() -> dict[str, t.Any]:
    stat = dict(line.split() for line in read("memory.stat").splitlines())
    prefix = "" if V2 else "total_"
    names = ("active_file", "inactive_file", "active_anon", "inactive_anon", "unevictable")
    return {
        "usage": int(read("memory.current" if V2 else "memory.usage_in_bytes")),
        "limit": read("memory.max" if V2 else "memory.limit_in_bytes"),
        "high": read("memory.high") if V2 else "",
        "kills": kills(),
        "slab": int(stat.get("slab_reclaimable", 0)),
        **{name: int(stat[prefix + name]) for name in names},
    }


def swaps() -> list[str]:
    with open("/proc/swaps", encoding="ascii") as file:
        return [line.split()[0] for line in file.read().splitlines()[1:]]


def switch_swap(on: bool, areas: t.Iterable[str]) -> None:
    for area in areas:
        if (area in swaps()) != on:
            subprocess.run(["swapon" if on else "swapoff", area], check=True)


def run(number: int, seed: str, areas: t.Sequence[str]) -> dict[str, t.Any]:
    drawn = draw(number, seed)
    switch_swap(drawn["swap"], areas)
    words = [f"--{key}={value}" for key, value in drawn["load"].items()]
    name = f"shrinking-{number}.service"
    subprocess.run(
        ["systemd-run", "--quiet", "--collect", f"--unit={name}", f"--slice={SLICE}", f"--property=StandardOutput=file:/run/{name}.out",
         sys.executable, f"{os.path.dirname(os.path.abspath(__file__))}/held.py", *words], check=True)  # fmt: skip
    try:
        for unused in range(600):
            if os.path.exists(f"/run/{name}.out") and os.path.getsize(f"/run/{name}.out"):
                break
            time.sleep(0.1)
        before = state()
        bound = max(8, int(before["usage"] * drawn["share"]) // MIB)
        begun = time.monotonic()
        knobs = [drawn["knob"], *(["MemoryHigh"] if drawn["high_too"] else [])]
        answer = tune({SLICE: {knob: {"value": f"{bound}MiB"} for knob in knobs}})
        seconds = time.monotonic() - begun
        after = state()
        time.sleep(WATCHED_SECONDS)
        later = state()
        alive = subprocess.run(["systemctl", "is-active", "--quiet", name], check=False).returncode == 0
    finally:
        subprocess.run(["systemctl", "stop", name], check=False)
        os.unlink(f"/run/{name}.out")
    row: dict[str, t.Any] = next((row for row in answer["results"] if row["name"] == drawn["knob"]), {})
    told = {"status": row.get("status"), "reason": row.get("reason"), "live_after": row.get("live_after")}
    told.update({key: answer[key] for key in ("problem", "clean", "calls", "shrinking", "notes")})
    result = {**drawn, "bound": bound * MIB, "before": before, "told": told, "seconds": round(seconds, 1), "after": after, "later": later, "alive": alive}
    # The next one begins without a limit.
    tune({})
    return result


def main() -> None:
    seed, first, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    areas = swaps()
    # It outlives the services, and so do its counters.
    subprocess.run(["systemd-run", "--quiet", "--collect", "--unit=shrinking-anchor", f"--slice={SLICE}", "sleep", "infinity"], check=True)
    try:
        for number in range(first, first + runs):
            print(json.dumps(run(number, seed, areas)), flush=True)
    finally:
        subprocess.run(["systemctl", "stop", "shrinking-anchor.service"], check=False)
        switch_swap(True, areas)


if __name__ == "__main__":
    main()
