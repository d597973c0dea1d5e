# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds an audit's result against what guest/kernel-figures.sh read on an idle guest of the lab.

C(compare_audit.py RESULT.json FIGURES [SEED…] [--uncounted BYTES]).

A SEED names what was made on the guest beside its pods: C(containers). C(--uncounted): what this kernel is known to hold that it counts nowhere.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import typing as t
from pathlib import Path

MIB = 1 << 20
# (share, bytes): the larger one counts. Both read an idle guest, seconds apart, so what is there moves little. The audit's own Python is the
# exception: it is gone when the script reads. So single rows of the host, and the cgroups that hold it, get the room of one Python process; what
# moves between free and anonymous memory by that is held against each other as a sum.
POD_TOLERANCE = (0.02, 1 * MIB)
HOST_TOLERANCE = (0.02, 32 * MIB)
SUM_TOLERANCE = (0.01, 4 * MIB)
EXACT = (0.0, 0)
MOVING_ROWS = ("free", "free_percpu_lists", "active_anon", "inactive_anon", "page_tables")
# The promise of the breakdown on an idle node, see the documentation of memory_audit.
REMAINDER_LIMIT = (0.005, 8 * MIB)
Seeds = dict[str, tuple[str | None, str | None, str | None, str | None]]
# What guest/seed-pods.sh and guest/seed-containers.sh make: container → runtime, QoS class, pod, pod's UID.
SEEDED: Seeds = {
    "web": ("containerd", "Burstable", "web-0", "0b5f6d2e-3c1a-4f7b-9d58-1a2b3c4d5e6f"),
    "db": ("containerd", "Guaranteed", "db-0", "7c9e6679-7425-40de-944b-e07fc1f90ae7"),
    "sidecar": ("containerd", "BestEffort", "job-1", "16fd2706-8baf-433b-82eb-8c7fada847da"),
}
SEEDS: dict[str, Seeds] = {
    "containers": {
        "cache": ("podman", None, None, None),
        "batch": ("podman", None, None, None),
        "queue": ("podman", None, None, None),
        # The kubelet's cgroupfs driver names no runtime.
        "worker": (None, "Burstable", "worker-0", "3f2b8f0a-6c1d-4e57-8a3e-5d0c9b7a6e21"),
    },
}


@dataclasses.dataclass
class Figures:
    """The kernel's figures in bytes: breakdown rows, C({(node, zone): (managed, min, low, high)}), C({path: {usage, working_set, working_set_sysom}}), the
    cgroup of the reading script.
    """

    host: dict[str, int] = dataclasses.field(default_factory=dict)
    zones: dict[tuple[int, str], tuple[int, ...]] = dataclasses.field(default_factory=dict)
    cgroups: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    here: str = "/"


def parse_figures(text: str) -> Figures:
    """What the shell script prints."""
    figures = Figures()
    for line in text.splitlines():
        kind, _space, rest = line.partition(" ")
        if kind == "host":
            name, number = rest.split()
            figures.host[name] = int(number)
        elif kind == "zone":
            node, name, *sizes = rest.split()
            figures.zones[int(node), name] = tuple(map(int, sizes))
        elif kind == "cgroup":
            usage, working_set, sysom, path = rest.split(" ", 3)
            figures.cgroups[path] = {"usage": int(usage), "working_set": int(working_set), "working_set_sysom": int(sysom)}
        elif kind == "here":
            figures.here = rest
    return figures


def disagreements(result: dict[str, t.Any], figures: Figures, *, exact: bool = False, seeds: t.Iterable[str] = (), uncounted: int = 0) -> list[str]:
    """One sentence for everything that does not agree; an empty list is success. C(exact): both read the same captured tree."""
    rows = result["top"]["rows"]
    seeded = SEEDED.copy()
    for seed in seeds:
        seeded.update(SEEDS[seed])
    return [
        *_breakdown(result["breakdown"], figures, exact=exact, uncounted=uncounted), *_zones(result["zones"], figures, exact=exact),
        *_cgroups(rows, figures, exact=exact), *_seeded(rows, seeded),
    ]  # fmt: skip


def _breakdown(breakdown: dict[str, t.Any], figures: Figures, *, exact: bool, uncounted: int) -> t.Iterator[str]:
    total, rows = breakdown["memtotal_bytes"], {row["name"]: row["bytes"] for row in breakdown["rows"]}
    if total != figures.host["memtotal"]:
        yield f"memtotal_bytes is {total}, the kernel says {figures.host['memtotal']}"
    if sum(rows.values()) != total:
        yield f"the rows sum to {sum(rows.values())}, not to MemTotal {total}"
    if abs(rows["unaccounted"] - uncounted) > _room(total, REMAINDER_LIMIT):
        yield f"unaccounted is {rows['unaccounted']} of {total}, more than {_room(total, REMAINDER_LIMIT)} from {uncounted}"
    for name, wanted in figures.host.items():
        if name == "memtotal":
            continue
        if name not in rows:
            yield f"no row {name}, which the kernel has with {wanted}"
            continue
        # By itself the kernel moves pages between these two (0.4 MiB as a sum and 16 MiB each, in a minute of an idle guest with two processors).
        names = (name,) if exact or name != "free" else ("free", "free_percpu_lists")
        found, wanted = (sum(source.get(one, 0) for one in names) for source in (rows, figures.host))
        if abs(found - wanted) > _room(wanted, EXACT if exact else HOST_TOLERANCE):
            yield f"row {' + '.join(names)} is {found}, the kernel says {wanted}"
    found, wanted = (sum(source.get(name, 0) for name in MOVING_ROWS) for source in (rows, figures.host))
    if abs(found - wanted) > _room(wanted, SUM_TOLERANCE):
        yield f"{' + '.join(MOVING_ROWS)} is {found}, the kernel says {wanted}"


def _zones(rows: list[dict[str, t.Any]], figures: Figures, *, exact: bool) -> t.Iterator[str]:
    found = {(row["node"], row["name"]): tuple(row[key] for key in ("managed", "min", "low", "high")) for row in rows}
    if found.keys() != figures.zones.keys():
        yield f"the audit has the zones {sorted(found)}, the kernel {sorted(figures.zones)}"
    for zone in found.keys() & figures.zones.keys():
        both = [sizes if exact else _gaps(*sizes) for sizes in (found[zone], figures.zones[zone])]
        if both[0] != both[1]:
            yield f"zone {zone[1]} of node {zone[0]} has {found[zone]}, the kernel says {figures.zones[zone]}"


def _gaps(managed: int, least: int, low: int, high: int) -> tuple[int, ...]:
    """What a boost, which the kernel adds to all marks for a moment, does not move."""
    return managed, low - least, high - low


def _cgroups(rows: list[dict[str, t.Any]], figures: Figures, *, exact: bool) -> t.Iterator[str]:
    found = {row["path"]: row for row in rows if row["path"] != "/"}
    # The Top tables leave out a cgroup that holds nothing at all.
    holding = {path for path, values in figures.cgroups.items() if any(values.values())}
    for path in sorted((found.keys() - figures.cgroups.keys()) | (holding - found.keys())):
        yield f"{path} is only in the {'audit' if path in found else 'kernel'}"
    for path in sorted(found.keys() & figures.cgroups.keys()):
        holds_audit = f"{figures.here}/".startswith(f"{path}/")
        tolerance = EXACT if exact else HOST_TOLERANCE if holds_audit else POD_TOLERANCE
        for name, wanted in figures.cgroups[path].items():
            if abs(found[path][name] - wanted) > _room(wanted, tolerance):
                yield f"{path}: {name} is {found[path][name]}, the kernel says {wanted}"


def _seeded(rows: list[dict[str, t.Any]], seeded: Seeds) -> t.Iterator[str]:
    by_container = {row.get("container"): row for row in rows if row.get("kind") == "container"}
    for container, wanted in seeded.items():
        if container not in by_container:
            yield f"there is no container {container}"
            continue
        found = tuple(by_container[container].get(key) for key in ("runtime", "qos_class", "pod", "pod_uid"))
        if found != wanted:
            yield f"container {container} was taken for {found}, it is {wanted}"


def _room(wanted: int, tolerance: tuple[float, int]) -> float:
    share, least = tolerance
    return max(wanted * share, least)


def main(argv: list[str]) -> int:
    """Exit status 1 if anything disagrees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    parser.add_argument("figures", type=Path, metavar="FIGURES")
    parser.add_argument("seeds", nargs="*", metavar="SEED")
    parser.add_argument("--uncounted", type=int, default=0, metavar="BYTES")
    arguments = parser.parse_intermixed_args(argv)
    result, figures = json.loads(arguments.result.read_text()), parse_figures(arguments.figures.read_text())
    rows = {row["name"]: row["bytes"] for row in result["breakdown"]["rows"]}
    print(f"{len(rows)} rows, {len(figures.zones)} zones, {len(figures.cgroups)} cgroups compared; unaccounted {rows['unaccounted'] / MIB:.2f} MiB "
          f"({100 * rows['unaccounted'] / result['breakdown']['memtotal_bytes']:.2f} % of MemTotal)")  # fmt: skip
    problems = disagreements(result, figures, seeds=arguments.seeds, uncounted=arguments.uncounted)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
