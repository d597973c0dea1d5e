#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Walk and parse all cgroups, against a bare os.open/os.read/os.close loop over the same files; in pairs, in one run.

On made-up trees in a tmpfs, and with --kernel on real cgroups below a directory of its own, which it removes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._read import _cgroupfs, _procfs
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import cgroup_trees


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--counts", type=int, nargs="+", default=[1000, 10000])
    options.add_argument("--versions", type=int, nargs="+", default=[1, 2])
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--kernel", action="store_true", help="also real cgroups (root; v1 or v2 with the memory controller)")
    options.add_argument("--rss", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.rss:
        walked = _walk(Tree(chosen.rss))
        print(len(walked), _peak_rss_mib())
        return
    for version in chosen.versions:
        for count in chosen.counts:
            with _made_up(count, version) as tree:
                _compare(f"v{version} tmpfs", tree, chosen.pairs)
    if chosen.kernel:
        for count in chosen.counts:
            with _real(count) as tree:
                _compare("kernel", tree, chosen.pairs)


@contextlib.contextmanager
def _made_up(count: int, version: int) -> t.Iterator[Tree]:
    root = tempfile.mkdtemp(prefix="memqos-bench-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    try:
        cgroup_trees.make_tree(root + "/tree", count, version=version)
        yield Tree(root + "/tree")
    finally:
        shutil.rmtree(root)


@contextlib.contextmanager
def _real(count: int) -> t.Iterator[Tree]:
    """C(count) empty memory cgroups, 20 to a directory. The rest of the machine's are read too, in both loops."""
    tree = Tree("/")
    hierarchy = _hierarchy(tree)
    below = f"{hierarchy.memory}/memqos-test-{os.getpid()}"
    made: list[str] = []
    try:
        for index in range(count):
            group = f"{below}/group-{index // 20}"
            for path in (below, group, f"{group}/leaf-{index}"):
                if not os.path.exists(path):
                    os.mkdir(path)
                    made.append(path)
                    if hierarchy.version == 2 and "leaf" not in path:
                        with open(f"{path}/cgroup.subtree_control", "w", encoding="ascii") as stream:
                            stream.write("+memory")
        yield tree
    finally:
        for path in reversed(made):
            os.rmdir(path)


def _hierarchy(tree: Tree) -> _cgroupfs.Hierarchy:
    return _cgroupfs.detect(tree, _procfs.parse_mountinfo(tree.read("/proc/self/mountinfo")))


def _walk(tree: Tree) -> list[_cgroupfs.Cgroup]:
    return _cgroupfs.walk(tree, _hierarchy(tree))[0]


def _compare(name: str, tree: Tree, pairs: int) -> None:
    hierarchy = _hierarchy(tree)
    with _recorded_opens() as opened:
        found = len(_cgroupfs.walk(tree, hierarchy)[0])
    files = [f"{directory}/{name}".encode() for directory, name in opened]
    ratios, walks = [], []
    for unused in range(pairs):
        bare = _timed(lambda: _bare(files))
        walked = _timed(lambda: _cgroupfs.walk(tree, hierarchy))
        ratios.append(walked / bare)
        walks.append(walked)
    line = f"{name:10} {found:6} cgroups {len(files):7} files  walk {statistics.median(walks):.3f} s  {statistics.median(walks) / found * 1e6:.1f} us each"
    line += f"  walk/bare median {statistics.median(ratios):.2f} (" + " ".join(f"{ratio:.2f}" for ratio in ratios) + ")"
    if not tree.live:
        done = subprocess.run([sys.executable, __file__, "--rss", tree.root], capture_output=True, text=True, check=True)
        line += f"  RSS {done.stdout.split()[1]} MiB"
    print(line, flush=True)


def _bare(files: list[bytes]) -> None:
    for path in files:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # one of the machine's own has gone
            continue
        os.read(fd, 8192)
        os.close(fd)


@contextlib.contextmanager
def _recorded_opens() -> t.Iterator[list[tuple[str, str]]]:
    """The files that the walk reads, as (directory, name)."""
    seen: list[tuple[str, str]] = []
    read_file = _cgroupfs.read_file

    def record(fd: int, name: bytes) -> bytes:
        seen.append((os.readlink(f"/proc/self/fd/{fd}"), name.decode()))
        return read_file(fd, name)

    _cgroupfs.read_file = record
    try:
        yield seen
    finally:
        _cgroupfs.read_file = read_file


def _timed(call: t.Callable[[], t.Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _peak_rss_mib() -> int:
    with open("/proc/self/status", encoding="ascii") as stream:
        for line in stream:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    return 0


if __name__ == "__main__":
    main()
