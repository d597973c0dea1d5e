#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it costs to set memory properties of many units: on one D-Bus connection, held against `systemctl set-property` for each.

250 pods with 3 containers each, slices and scopes of systemd with a process in each, in a machine of the lab that is this program's own; three properties a
unit, other values in each pass, and after each the kernel is read: all have to hold them. Pairs alternate in one run; cost per unit and medians of ratios are
printed. Before that the guest checks that systemd says the same on both ways (tests/lab/guest/units_on_the_bus.py).

    python tests/benchmark/bench_bus.py [--machine debian13_v2] [--pods 250] [--containers 3] [--pairs 5]
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import shlex
import statistics
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = "bench-bus"
PLACE = "/root/bench"
GUEST = ROOT / "tests" / "lab" / "guest" / "units_on_the_bus.py"
SSH_OPTIONS = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", default="debian13_v2")
    parser.add_argument("--pods", type=int, default=250)
    parser.add_argument("--containers", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    with machine(options.machine) as state:
        ssh = ["ssh", *shlex.split(SSH_OPTIONS), "-p", str(state["port"]), "-i", state["identity_file"], f"{state['user']}@{state['address']}"]
        subprocess.run([*ssh, f"mkdir -p {PLACE} && tar -x -C {PLACE}"], input=packed(), check=True)
        command = f"PYTHONPATH={PLACE} python3 {PLACE}/{GUEST.name} {options.pods} {options.containers} {options.pairs}"
        printed = subprocess.run([*ssh, command], stdout=subprocess.PIPE, text=True, check=True).stdout
    tell([json.loads(line) for line in printed.splitlines()])


def packed() -> bytes:
    """What the guest runs, as a tar file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(GUEST, GUEST.name)
        for path in sorted((ROOT / "plugins" / "module_utils").rglob("*.py")):
            archive.add(path, f"ansible_collections/memqos/fleet/{path.relative_to(ROOT)}")
    return stream.getvalue()


@contextlib.contextmanager
def machine(name: str) -> t.Iterator[dict[str, t.Any]]:
    lab = [sys.executable, str(ROOT / "tests" / "lab")]
    printed = subprocess.run([*lab, "up", f"{name}:{NAME}"], check=True, stdout=subprocess.PIPE, text=True).stdout
    try:
        yield json.loads(printed)[0]
    finally:
        subprocess.run([*lab, "down", NAME], check=False)


def tell(passes: list[dict[str, t.Any]]) -> None:
    ways: dict[str, list[dict[str, t.Any]]] = collections.defaultdict(list)
    for one in passes:
        ways[one["way"]].append(one)
    for way, ones in ways.items():
        seconds, cpu, manager = (statistics.median(1000 * one[key] / one["units"] for one in ones) for key in ("seconds", "cpu", "manager"))
        print(f"   {way}: {seconds:.2f} ms a unit (CPU: {cpu:.2f} ms of ours, {manager:.2f} ms of systemd), {ones[0]['units']} units, {len(ones)} passes")
    for way in ("bus", "in flight"):
        ratios = [slow["seconds"] / fast["seconds"] for slow, fast in zip(ways["systemctl"], ways[way], strict=True)]
        if ratios:
            print(f"systemctl set-property / {way}: {statistics.median(ratios):.2f}  ({' '.join(f'{ratio:.2f}' for ratio in ratios)})")


if __name__ == "__main__":
    main()
