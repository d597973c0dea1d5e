#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole tune of many pods on a node, against a bare os.open/os.write/os.close loop that writes the same values into the same files; and a second one, which
finds all as it shall be, against a bare loop that reads them.

2,000 pods with 2 containers each: on made-up trees in a tmpfs (`v2`: files of a mainline kernel, `vendor`: those of Anolis beside them), which cost as good as
nothing to write; and with --kernel on real cgroups (v1) below a directory of its own, which is mounted where a node has its own, in a mount namespace, and
removed again. No process is moved. From the request in JSON to the answer in JSON, in CPU seconds, as other work on this computer would count otherwise; pairs
in one run. A third loop, with open() as scripts have it, is for comparison. RSS is that of a fresh process.

    python tests/benchmark/bench_qos.py [--pods 2000] [--pairs 5] [--only v2 vendor] [--kernel]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _tune
from ansible_collections.memqos.fleet.plugins.module_utils._journal import Journal
from ansible_collections.memqos.fleet.plugins.module_utils._steps import MemcgsStep
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Writer
from ansible_collections.memqos.fleet.tests.lab.vendor.live import Live

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREES = ROOT / "tests" / "unit" / "fixtures" / "trees"
GOALS = {"first run / bare writes": 2.0, "second run / bare reads": 1.5, "RSS": 150}
MIB, GIB = 1 << 20, 1 << 30
V1, V2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
CAPTURED = {"v2": "debian12-6.1-v2", "vendor": "debian12-6.1-v2", "kernel": "host-6.18-v1"}
FILES = {
    "memory.current": "104857600", "memory.min": "0", "memory.low": "0", "memory.high": "max", "memory.max": "2147483648", "memory.swap.current": "0",
    "memory.swap.max": "max", "memory.oom.group": "0", "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0", "cgroup.procs": "",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0",
    "cgroup.controllers": "memory", "cgroup.subtree_control": "memory", "memory.peak": "104857600",
    "memory.stat": (TREES / "debian12-6.1-v2/sys/fs/cgroup/system.slice/memory.stat").read_text(encoding="ascii").strip(),
}  # fmt: skip
VENDOR = {"memory.wmark_ratio": "0", "memory.wmark_scale_factor": "50", "memory.wmark_min_adj": "0", "memory.priority": "0", "memory.use_priority_oom": "0"}
# Values that no cgroup has to begin with, so that each is written.
RANKS = {"priorityEnable": 1, "priority": 6, "oomKillGroup": 1}
STRATEGY = {
    "lsClass": {"memoryQOS": {"enable": True, "minLimitPercent": 10, "lowLimitPercent": 100, "throttlingPercent": 80, **RANKS}},
    "lsrClass": {"memoryQOS": {"enable": False}}, "beClass": {"memoryQOS": {"enable": False}},
}  # fmt: skip
QOS: dict[str, t.Any] = {
    "v2": {"model": "koordinator", "config": STRATEGY},
    "vendor": {"model": "koordinator", "config": STRATEGY},
    "kernel": {"model": "profile"},
}
INTENTS = {"LS": {"throttle": {"of": "headroom", "share": [80, 100]}, "swap": False}}
LAYERS = {"kernel": [{"profile": "bench", "host": {}, "slices": {}, "qos": INTENTS}]}
OPTIONS = {"on_conflict": "report", "fail_on_unsupported": False, "only": ["memcg_qos"], "allow": [], "sysctl_file": "zz-memqos.conf"}
Values = list[tuple[str, str, str]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pods", type=int, default=2000)
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--only", nargs="*", default=["v2", "vendor"], choices=["v2", "vendor"])
    options.add_argument("--kernel", action="store_true", help="also real cgroups (root, and the memory controller on v1)")
    options.add_argument("--rss", nargs=2, help=argparse.SUPPRESS)
    options.add_argument("--within", nargs=2, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    gc.disable()  # as the module does
    if chosen.rss:
        first(chosen.rss[1], text_of(chosen.rss[0], chosen.pods))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
        return
    if chosen.within:
        root, cgroup = chosen.within
        subprocess.run(["mount", "--bind", cgroup, root + V1], check=True)
        compare("kernel", root, chosen.pods, chosen.pairs)
        return
    for kind in chosen.only:
        with tempfile.TemporaryDirectory(prefix="memqos-bench-", dir="/dev/shm") as scratch:
            made_up(kind, f"{scratch}/node", chosen.pods)
            compare(kind, f"{scratch}/node", chosen.pods, chosen.pairs)
    if chosen.kernel:
        real(chosen.pods, chosen.pairs)


# The node


def pods(count: int) -> list[dict[str, t.Any]]:
    found = []
    for number in range(count):
        sizes = {"request": 64 * MIB, "limit": 2 * GIB}
        containers = [{"name": f"c{index}", "id": f"{number:032x}{index:032x}", "runtime": "containerd", **sizes} for index in range(2)]
        found.append({
            "uid": f"{number:08x}-1111-4222-8333-444444444444", "namespace": "shop", "name": f"pod-{number}", "qos_class": "Burstable",
            "koordinator_class": "LS", "request": 128 * MIB, "limit": 4 * GIB, "containers": containers,
        })  # fmt: skip
    return found


def paths(count: int) -> list[str]:
    """Of all cgroups, parents first."""
    found = ["/kubepods", "/kubepods/burstable"]
    for pod in pods(count):
        place = f"/kubepods/burstable/pod{pod['uid']}"
        found += [place, *(f"{place}/{one['id']}" for one in pod["containers"])]
    return found


def made_up(kind: str, root: str, count: int) -> None:
    _host(kind, root)
    for path in ["", *paths(count)]:
        os.makedirs(f"{root}{V2}{path}", exist_ok=True)
        for name, text in {**FILES, **(VENDOR if kind == "vendor" else {})}.items():
            if path or name != "memory.current":
                pathlib.Path(f"{root}{V2}{path}/{name}").write_text(text + "\n", encoding="ascii")


def _host(kind: str, root: str) -> None:
    """All but the cgroups: a captured node, with memory for so many pods."""
    captured = str(TREES / CAPTURED[kind])
    shutil.copytree(captured, root, symlinks=True, ignore=lambda path, names: {"cgroup"} if path.endswith("/sys/fs") else set())
    for directory in ("etc/sysctl.d", "var/lib", "run", "etc/systemd/system", f".{V1 if kind == 'kernel' else V2}"):
        os.makedirs(f"{root}/{directory}", exist_ok=True)
    meminfo = pathlib.Path(root, "proc/meminfo")
    large = {"MemTotal": 512 << 20, "MemFree": 400 << 20, "MemAvailable": 450 << 20}
    lines = [line.split(":") for line in meminfo.read_text(encoding="ascii").splitlines()]
    meminfo.write_text("".join(f"{name}:{f'{large[name]} kB'.rjust(16) if name in large else rest}\n" for name, rest in lines), encoding="ascii")


def real(count: int, pairs: int) -> None:
    top = f"{V1}/memqos-bench-{os.getpid()}"
    made: list[str] = []
    with tempfile.TemporaryDirectory(prefix="memqos-bench-", dir="/dev/shm") as scratch:
        _host("kernel", f"{scratch}/node")
        pathlib.Path(f"{scratch}/node/proc/self").mkdir(parents=True, exist_ok=True)
        pathlib.Path(f"{scratch}/node/proc/self/mountinfo").write_text(f"25 24 0:22 / {V1} rw,nosuid - cgroup cgroup rw,memory\n", encoding="ascii")
        before = _available()
        begin = time.monotonic()
        try:
            for path in (top, *(top + path for path in paths(count))):
                os.mkdir(path)
                made.append(path)
            took = f"{time.monotonic() - begin:.1f} s, {(before - _available()) >> 10} MiB"
            print(f"   {len(made)} cgroups made: {took}", flush=True)
            argv = ["unshare", "--mount", sys.executable, __file__, "--within", f"{scratch}/node", top, "--pods", str(count), "--pairs", str(pairs)]
            subprocess.run(argv, check=True)
        finally:
            for path in reversed(made):
                os.rmdir(path)


def _available() -> int:
    """kB"""
    return next(int(line.split()[1]) for line in open("/proc/meminfo", encoding="ascii") if line.startswith("MemAvailable"))


# What is measured


def text_of(kind: str, count: int) -> str:
    request = {
        "layers": LAYERS.get(kind, []), "options": OPTIONS, "wait": 0, "meta": {"host": "controller", "started": "2026-11-27T09:00:00Z", "profiles": ["bench"]},
        "keep": {"generations": 9, "since": ""}, "qos": {**QOS[kind], "pods": pods(count)},
    }  # fmt: skip
    return json.dumps(request)


def tune(root: str, text: str) -> dict[str, t.Any]:
    return _tune.answer(_tune.tune(json.loads(text), _tune.Work(Live(root), Writer(root), check=False, code=lambda: b"")))


def first(root: str, text: str) -> dict[str, t.Any]:
    answer = tune(root, text)
    if answer["problem"] or not answer["changed"]:
        raise SystemExit(f"the tune changed nothing: {answer['problem'][:500]}")
    return answer


def written(root: str) -> Values:
    """(path, before, after) of all that a tune wrote, by its journal."""
    (step,) = Journal(Writer(root)).generation(1).steps
    assert isinstance(step, MemcgsStep)
    return [(f"{root}{memcg.path}/{file}", before, after) for memcg in step.memcgs for file, before, after in memcg.values]


def reset(root: str, values: Values) -> None:
    bare_writes([(path, after, before) for path, before, after in values])
    shutil.rmtree(f"{root}/var/lib/memqos", ignore_errors=True)


def bare_writes(values: Values) -> None:
    for path, unused, text in values:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        os.write(fd, f"{text}\n".encode())
        os.close(fd)


def bare_reads(values: Values) -> None:
    for path, unused, unused_too in values:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.read(fd, 4096)
        os.close(fd)


def scripted_writes(values: Values) -> None:
    for path, unused, text in values:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)


def scripted_reads(values: Values) -> None:
    for path, unused, unused_too in values:
        with open(path, encoding="utf-8") as stream:
            stream.read()


def timed(call: t.Callable[[], t.Any]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def compare(kind: str, root: str, count: int, pairs: int) -> None:
    text = text_of(kind, count)
    size = len(first(root, text)["tune"])
    values = written(root)
    wrong = [path for path, unused, after in values if pathlib.Path(path).read_text(encoding="ascii").strip() != after]
    if wrong:
        raise SystemExit(f"not as they were to be: {wrong[:5]}")
    listed = timed(lambda: list(os.walk(f"{root}{V1 if kind == 'kernel' else V2}")))
    print(f"{kind}: {len(values)} values in {len(paths(count))} cgroups (os.walk: {listed:.3f} s); answer {size / 1e6:.2f} MB", flush=True)
    rows = []
    for unused in range(pairs):
        reset(root, values)
        write = timed(lambda: bare_writes(values))
        script = timed(lambda: scripted_writes(values))
        reset(root, values)
        run = timed(lambda: first(root, text))
        read, script_read = timed(lambda: bare_reads(values)), timed(lambda: scripted_reads(values))
        again = timed(lambda: tune(root, text))
        rows.append((run / write, again / read, run / script, again / script_read))
        told = f"   writes {write:.3f} s (open() {script:.3f}), first run {run:.2f} s"
        print(f"{told}; reads {read:.3f} s (open() {script_read:.3f}), second run {again:.2f} s", flush=True)
    reset(root, values)
    names = (*list(GOALS)[:2], "first run / writes with open()", "second run / reads with open()")
    for name, ratios in zip(names, zip(*rows)):
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{kind}: {name}: {statistics.median(ratios):.2f}  ({each}{f', goal at most {GOALS[name]:g}' if name in GOALS else ''})", flush=True)
    done = subprocess.run([sys.executable, __file__, "--rss", kind, root, "--pods", str(count)], capture_output=True, text=True, check=True)
    reset(root, values)
    print(f"{kind}: RSS {done.stdout.strip()} MiB, goal below {GOALS['RSS']}", flush=True)


if __name__ == "__main__":
    main()
