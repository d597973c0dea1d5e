#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole audit on the node (read, account, all built-in rules, top lists, JSON), against a bare os.open/os.read/os.close loop over the same cgroup files.

Pairs in one run on made-up trees in a tmpfs; the rest of the node is a captured one. RSS is that of a fresh process.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _diagnosis, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._read import _cgroupfs
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.tests.benchmark import bench_cgroupfs

ROOT = pathlib.Path(__file__).parents[2]
CAPTURED = ROOT / "tests" / "unit" / "fixtures" / "trees" / "debian13-6.12-v2"
GOAL = 3


def compiled_rules() -> t.Any:
    # Only here: the fresh process that tells the RSS reads what a node would get.
    from ansible_collections.memqos.fleet.plugins.plugin_utils import _rule_compiler

    return _rule_compiler.load_rules([str(ROOT / "roles" / "audit" / "vars" / "rules")], thresholds={}, drop=[]).compiled


def audit(tree: Tree, rules: t.Any) -> str:
    node = _snapshot.read(tree, window_seconds=0.0, monotonic=time.monotonic, sleep=time.sleep, wanted=_registry.wanted())
    return json.dumps(_diagnosis.diagnose(node, rules=rules, previous=None, top=20))


def compare(version: int, count: int, pairs: int) -> None:
    with bench_cgroupfs._made_up(count, version) as tree:
        for name in ("meminfo", "vmstat", "zoneinfo", "buddyinfo", "swaps", "uptime", "cmdline", "stat"):
            shutil.copy(CAPTURED / "proc" / name, pathlib.Path(tree.root) / "proc" / name)
        with bench_cgroupfs._recorded_opens() as opened:
            found = len(_cgroupfs.walk(tree, bench_cgroupfs._hierarchy(tree))[0])
        files = [f"{directory}/{name}".encode() for directory, name in opened]
        rules = compiled_rules()
        ratios = []
        for unused in range(pairs):
            bare = bench_cgroupfs._timed(lambda: bench_cgroupfs._bare(files))
            ratios.append(bench_cgroupfs._timed(lambda: audit(tree, rules)) / bare)
        (pathlib.Path(tree.root) / "rules.json").write_text(json.dumps(rules))
        done = subprocess.run([sys.executable, __file__, "--rss", tree.root], capture_output=True, text=True, check=True)
    each = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(
        f"v{version} {found:6} cgroups  audit/bare median {statistics.median(ratios):.2f} ({each}) (goal {GOAL})  RSS {done.stdout.strip()} MiB (goal 150)",
        flush=True,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--counts", type=int, nargs="+", default=[1000, 10000])
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--rss", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.rss:
        audit(Tree(chosen.rss), json.loads((pathlib.Path(chosen.rss) / "rules.json").read_text()))
        print(bench_cgroupfs._peak_rss_mib())
        return
    for version in (1, 2):
        for count in chosen.counts:
            compare(version, count, chosen.pairs)


if __name__ == "__main__":
    main()
