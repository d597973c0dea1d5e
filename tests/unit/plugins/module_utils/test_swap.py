# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Swap as it stands, and whether what an area holds fits elsewhere."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _swap
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree

MIB, GIB = 1 << 20, 1 << 30
Json = t.Dict[str, t.Any]
# Debian 13: a file of 64 MiB, an encrypted one of 96 MiB, a partition that fstab turned on, zram of 96 MiB.
SWAPS = """Filename				Type		Size		Used		Priority
/var/lib/memqos-swap/swap-64M           file		65532		0		10
/dev/dm-0                               partition	98300		512		7
/dev/vdb                                partition	262140		0		-2
/dev/zram0                              partition	98300		0		100
"""


@pytest.fixture(name="tree")
def fixture_tree(tmp_path: Path) -> Tree:
    for path, text in {"/proc/swaps": SWAPS, "/sys/block/zram0/comp_algorithm": "lzo lzo-rle lz4 [zstd]\n", "/dev/dm-0": "", "/dev/vdb": ""}.items():
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_text(text, encoding="utf-8")
    for link, target in {"dev/mapper/memqos-crypt-96M": "../dm-0", "dev/disk/by-uuid/11d2": "../../vdb"}.items():
        (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, tmp_path / link)
    return Tree(str(tmp_path))


@pytest.mark.parametrize(
    ("area", "state"),
    [
        ("/var/lib/memqos-swap/swap-64M", "64 MiB, priority 10"),
        ("/dev/mapper/memqos-crypt-96M", "96 MiB, priority 7"),
        ("/dev/disk/by-uuid/11d2", "256 MiB, priority auto"),
        ("/dev/zram0", "96 MiB, priority 100, zstd"),
        ("/dev/mapper/memqos-crypt-64M", None),
        ("/swapfile", None),
    ],
)
def test_state(tree: Tree, area: str, state: t.Optional[str]) -> None:
    assert _swap.state(tree, area) == state


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        (None, None, True),
        (None, "64 MiB, priority 5", False),
        ("64 MiB, priority 5", None, False),
        ("64 MiB, priority 5", "64 MiB, priority 5", True),
        ("64 MiB, priority 5", "64 MiB, priority 5, zstd", True),
        ("64 MiB, priority 5, lz4", "64 MiB, priority 5, zstd", False),
        ("64 MiB, priority 5", "64 MiB, priority 50", False),
    ],
)
def test_who_names_no_algorithm_takes_any(wanted: t.Optional[str], found: t.Optional[str], same: bool) -> None:
    assert _swap.is_state(wanted, found) is same


def room(available: int, *, cgroups: t.Sequence[Json] = (), **used: t.Tuple[int, int]) -> _swap.Room:
    """C(used): {area: (size, used)} in MiB."""
    areas: t.Any = {name: {"size_bytes": size * MIB, "used_bytes": held * MIB} for name, (size, held) in used.items()}
    return _swap.Room(areas, {"MemTotal": 1000 * MIB, "MemAvailable": available * MIB}, t.cast("t.Any", {"/": {}, **{one["path"]: one for one in cgroups}}))


def cgroup(limit: t.Optional[int], usage: int, swap: int, *, file: int = 0, most: t.Optional[int] = None, path: str = "/a.slice") -> Json:
    size, swap_limit = (None if mib is None else mib * MIB for mib in (limit, most))
    return {"path": path, "limit": size, "usage": usage * MIB, "swap": swap * MIB, "swap_limit": swap_limit, "stat": {"inactive_file": file * MIB}}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (room(100, a=(500, 0)), ""),
        # 5 % of 1000 MiB stay free.
        (room(150, a=(500, 100)), ""),
        (room(149, a=(500, 100)), "it holds 100 MiB, and there are 99.0 MiB of memory (5 % of it kept free) and 0 B of other swap: tasks would be killed"),
        (room(40, a=(500, 100), b=(300, 200)), ""),
        (room(40, a=(500, 101), b=(300, 200)), "it holds 101 MiB, and there are 0 B of memory (5 % of it kept free) and 100 MiB of other swap"),
        # zram takes it from the same memory.
        (room(149, a=(500, 100), **t.cast("t.Any", {"/dev/zram0": (500, 0)})), "and 0 B of other swap: tasks would be killed"),
        (room(150, a=(500, 100), **t.cast("t.Any", {"/dev/zram0": (500, 0)})), ""),
        (room(0, b=(500, 0)), ""),
    ],
)
def test_what_fits_into_memory(found: _swap.Room, why: str) -> None:
    refused = _swap.refusal("a", found)
    assert why in refused if why else refused == ""


@pytest.mark.parametrize(
    ("cgroups", "other", "why"),
    [
        # It would come back into a cgroup that has no room for it.
        (
            [cgroup(200, 190, 60)],
            0,
            "but 50.0 MiB exceed the limits (old or new) in /a.slice, and 0 B of other swap: tasks would be killed",
        ),
        ([cgroup(200, 190, 60, file=50)], 0, ""),
        ([cgroup(None, 190, 60)], 0, ""),
        ([cgroup(200, 190, 0)], 0, ""),
        # Of 300 MiB in its swap no more than 100 can be of this area.
        ([cgroup(200, 190, 300)], 0, "90.0 MiB exceed the limits (old or new) in /a.slice"),
        ([cgroup(200, 190, 60)], 50, ""),
        ([cgroup(200, 190, 60)], 49, "50.0 MiB exceed the limits (old or new) in /a.slice, and 49.0 MiB"),
        # What comes back is no longer in its swap: its limit takes it again, but for one that was lowered since.
        ([cgroup(200, 190, 60, most=60)], 500, ""),
        ([cgroup(200, 190, 60, most=50)], 500, ""),
        ([cgroup(200, 190, 60, most=49)], 500, "50.0 MiB exceed the limits (old or new) in /a.slice, and 49.0 MiB"),
        ([cgroup(200, 190, 60, most=0)], 500, "and 0 B of other swap"),
        ([cgroup(None, 190, 60, most=0)], 500, ""),
        # And of all above it.
        ([cgroup(200, 190, 60, path="/a.slice/b.slice"), cgroup(None, 500, 60, most=0)], 500, "in /a.slice, and 0 B"),
        ([cgroup(200, 190, 60, path="/a.slice/b.slice"), cgroup(None, 500, 60, most=50)], 500, ""),
        # Once for what is below another.
        ([cgroup(200, 190, 60, path="/a.slice/b.slice"), cgroup(200, 190, 60)], 50, ""),
        # Not all of the other swap for each.
        ([cgroup(200, 190, 40, path="/a.slice"), cgroup(200, 190, 40, path="/b.slice")], 60, ""),
        (
            [cgroup(200, 190, 40, path="/a.slice"), cgroup(200, 190, 40, path="/b.slice")],
            59,
            "60.0 MiB exceed the limits (old or new) in /, and 59",
        ),
        ([cgroup(200, 190, 40, path="/c/a"), cgroup(200, 190, 40, path="/c/b"), cgroup(None, 400, 80, most=60, path="/c")], 500, ""),
        ([cgroup(200, 190, 40, path="/c/a"), cgroup(200, 190, 40, path="/c/b"), cgroup(None, 400, 80, most=59, path="/c")], 500, "in /c, and 59"),
        # All of it is no more than the area holds.
        ([cgroup(200, 200, 80, path="/a.slice"), cgroup(200, 200, 80, path="/b.slice")], 100, ""),
        (
            [cgroup(200, 200, 80, path="/a.slice"), cgroup(200, 200, 80, path="/b.slice")],
            99,
            "100 MiB exceed the limits (old or new) in /",
        ),
    ],
)
def test_what_fits_into_cgroups(cgroups: t.List[Json], other: int, why: str) -> None:
    refused = _swap.refusal("a", room(900, cgroups=cgroups, a=(500, 100), b=(other, 0)))
    assert why in refused if why else refused == ""


def test_what_cannot_be_read_does_not_fit(tmp_path: Path) -> None:
    assert "is not known" in _swap.refusal_now(Tree(str(tmp_path)), "/swapfile")
