#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the captured nodes of the unit tests anew: boots machines of the lab, makes pods on them, takes their bundles.

Run with the collection importable as ansible_collections.memqos.fleet. Each machine is named after its distribution, kernel and cgroup hierarchy
(debian13-6.12-v2) and replaces the tree of that name.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.module_utils import _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.roles.audit.files import memqos_bundle

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "tests" / "lab"
TREES = ROOT / "tests" / "unit" / "fixtures" / "trees"
MACHINES = ("debian12_v1", "debian12_v2", "debian13_v2")
# An idle node is what the rules' tests want: booting and making pods must be over, in the averages too.
_QUIET_PERCENT = 1.0
_QUIET_SECONDS = 600.0


class NotQuietError(Exception):
    """A machine that does not come to rest."""


def lab(*arguments: str, stdin: Path | None = None) -> bytes:
    """What the lab prints. Raises CalledProcessError; its messages are on our stderr."""
    with open(stdin or os.devnull, "rb") as source:
        return subprocess.run([sys.executable, str(LAB), *arguments], stdin=source, stdout=subprocess.PIPE, check=True).stdout


def capture(machine: str, into: Path) -> Path:
    """Boots the machine, captures it as a tree below C(into), stops it. Returns the tree."""
    name = f"fixture-{machine}-{os.getpid()}"
    try:
        lab("up", f"{machine}:{name}")
        lab("ssh", name, "sh -s", stdin=LAB / "guest" / "seed-pods.sh")
        wait_until_quiet(name)
        bundle = into / f"{machine}.tar.gz"
        bundle.write_bytes(lab("ssh", name, "python3 -", stdin=Path(memqos_bundle.__file__)))
    finally:
        lab("down", name)
    unpacked = into / machine
    memqos_bundle.unpack(str(bundle), str(unpacked))
    keep_empty_directories(unpacked)
    return unpacked.rename(into / tree_name(unpacked))


def wait_until_quiet(name: str) -> None:
    deadline, text = time.monotonic() + _QUIET_SECONDS, ""
    while time.monotonic() < deadline:
        text = lab("ssh", name, "cat /proc/pressure/memory /proc/pressure/io").decode()
        if all(float(average) < _QUIET_PERCENT for average in re.findall("avg60=([0-9.]+)", text)):
            return
        time.sleep(5)
    raise NotQuietError(f"{name}: not quiet after {_QUIET_SECONDS:g} s:\n{text}")


def tree_name(tree: Path) -> str:
    """C(debian13-6.12-v2)."""
    facts = _snapshot.read(Tree(str(tree)), window_seconds=0.0, monotonic=lambda: 0.0, sleep=lambda _seconds: None, sections=())["facts"]
    release = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', (tree / "usr/lib/os-release").read_text(encoding="utf-8"), re.MULTILINE))
    kernel = ".".join(str(facts["kernel"]).split(".")[:2])
    return f"{release['ID']}{release.get('VERSION_ID', '')}-{kernel}-{facts['hierarchy']}"


def keep_empty_directories(tree: Path) -> None:
    """Git keeps files only."""
    for directory, below, files in os.walk(tree):
        if not below and not files:
            Path(directory, ".gitkeep").touch()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machines", nargs="*", default=MACHINES, metavar="MACHINE", help=f"of the lab (default: {' '.join(MACHINES)})")
    parser.add_argument("--into", type=Path, default=TREES, help="where the trees go (default: the fixtures)")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            for machine in options.machines:
                tree = capture(machine, Path(scratch))
                target = options.into / tree.name
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(tree, target, symlinks=True)
                print(target, flush=True)
    except subprocess.CalledProcessError as exc:
        print(f"{' '.join(map(str, exc.cmd[1:]))}: exit status {exc.returncode}", file=sys.stderr)
        return 1
    except NotQuietError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
