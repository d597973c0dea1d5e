# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine in the place of a node: which row, how large, with which settings."""

from __future__ import annotations

import dataclasses
import re
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles
from ansible_collections.memqos.fleet.tests.lab.effect import nodes
from ansible_collections.memqos.fleet.tests.lab.machines import MACHINES, LabError

TREES = Path(__file__).resolve().parents[1] / "fixtures" / "trees"
GIB = 1 << 30
NODE = nodes.Node(kernel="5.14.0-427.el9.x86_64", hierarchy="v2", memory=64 * GIB, pools=0, swap=0, zram=False, cpus=1, numa_nodes=1, knobs={})


def test_every_suite_of_the_lab_has_a_kernel() -> None:
    assert {machine.suite for machine in MACHINES if machine.suite} <= nodes.SUITE_KERNELS.keys()


@pytest.mark.parametrize(
    ("kernel", "hierarchy", "numa_nodes", "expected"),
    [
        ("5.14.0-427.el9.x86_64", "v2", 1, "debian11"),
        ("5.15.0-91-generic", "v2", 1, "debian11"),
        ("5.19.0", "v2", 1, "debian12_v2"),
        ("6.1.0-18-amd64", "v2", 1, "debian12_v2"),
        ("6.8.0-31-generic", "v2", 1, "debian13_v2"),
        ("6.12.117+deb13-amd64", "v2", 1, "debian13_v2"),
        ("6.12.117+deb13-amd64", "v2", 2, "numa"),
        ("6.16.0", "v2", 1, "debian13_v2"),
        ("6.18.44", "v2", 1, "forky"),
        ("7.1.3", "v2", 1, "forky"),
        ("4.18.0-553.el8.x86_64", "v1", 1, "debian12_v1"),
        ("4.19.91-27.an7.x86_64", "hybrid", 2, "debian12_hybrid"),
    ],
)
def test_the_nearest_kernel_of_the_same_hierarchy(kernel: str, hierarchy: str, numa_nodes: int, expected: str) -> None:
    assert nodes.choose(NODE._replace(kernel=kernel, hierarchy=hierarchy, numa_nodes=numa_nodes), MACHINES).machine.name == expected


def test_without_such_a_hierarchy_there_is_no_machine() -> None:
    with pytest.raises(LabError, match="cgroup none.*MACHINE="):
        nodes.choose(NODE._replace(hierarchy="none"), MACHINES)
    with pytest.raises(LabError, match="cgroup v1"):
        nodes.choose(NODE._replace(hierarchy="v1"), [machine for machine in MACHINES if "v1" not in machine.name])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((5, 14), (5, 10), 4), ((5, 14), (6, 1), 7), ((4, 19), (5, 10), 11), ((6, 12, 117), (6, 12), 0), ((7, 0), (6, 12), 8), ((7,), (7, 2), 2)],
)
def test_releases_between_kernels(one: tuple[int, ...], other: tuple[int, int], expected: int) -> None:
    assert nodes.distance(one, other) == expected


@pytest.mark.parametrize(
    ("memory", "swap", "mib", "swap_mib", "factor"),
    [
        (64 * GIB, 0, 1536, 0, 1.5 / 64),
        (64 * GIB, 8 * GIB, 1536, 192, 1.5 / 64),
        (1024 * GIB, 4 * GIB, 1536, 64, 1.5 / 1024),
        (1 * GIB, 2 * GIB, 1024, 2048, 1.0),
        (GIB // 4, 0, 512, 0, 2.0),
    ],
)
def test_memory_and_swap_keep_their_proportion(memory: int, swap: int, mib: int, swap_mib: int, factor: float) -> None:
    choice = nodes.choose(NODE._replace(memory=memory, swap=swap), MACHINES)
    assert (choice.machine.memory_mib, choice.machine.swap_mib) == (mib, swap_mib) and choice.factor == pytest.approx(factor)


def test_what_differs_is_said() -> None:
    node = NODE._replace(kernel="6.12.1", memory=48 * GIB, pools=16 * GIB, swap=4 * GIB, zram=True, cpus=32, numa_nodes=2)
    assert nodes.choose(node, MACHINES).differs == (
        "memory 1536 MiB for 48.0 GiB, without 16.0 GiB of huge page pools: 0.0312 of it",
        "swap 128 MiB for 4.00 GiB, on a disk and not on zram",
        "2 processors for 32",
    )
    same = nodes.fitted(NODE._replace(memory=GIB), MACHINES[0])
    assert same.differs == ("memory 1024 MiB for 1.00 GiB: 1 of it",)
    assert dataclasses.replace(same.machine, swap_mib=MACHINES[0].swap_mib) == MACHINES[0]


def set_like(node: dict[str, t.Any], guest: dict[str, t.Any], factor: float = 0.25) -> nodes.Settings:
    return nodes.settings(NODE._replace(knobs=node), NODE._replace(knobs=guest), factor)


@pytest.mark.parametrize(
    ("name", "node", "guest", "expected"),
    [
        ("vm.swappiness", 10, 60, 10),
        ("vm.swappiness", 60, 60, None),
        ("vm.watermark_scale_factor", 150, 10, 150),
        ("vm.min_free_kbytes", 90112, 45056, 22528),  # a size goes with memory
        ("vm.min_free_kbytes", 90112, 22528, None),
        ("vm.dirty_bytes", 2**30, 0, 2**28),
        ("vm.dirty_bytes", 0, 2**28, None),  # dirty_ratio rules there, and is set itself
        ("vm.dirty_ratio", 0, 20, None),
        ("vm.dirty_ratio", 40, 20, 40),
        ("vm.lowmem_reserve_ratio", [256, 32, 0], [256, 256, 32], [256, 32, 0]),
        ("transparent_hugepage/enabled", "never", "always", "never"),
        ("lru_gen/enabled", 0, 7, 0),
        ("zswap/enabled", 1, 0, 1),
    ],
)
def test_where_the_node_is_set_otherwise_the_machine_is_set_alike(name: str, node: t.Any, guest: t.Any, expected: t.Any) -> None:
    found = set_like({name: node}, {name: guest})
    assert found.host == ({} if expected is None else {name: expected}) and found.left_out == {}


def test_what_the_machine_lacks_is_left_to_the_kernel() -> None:
    assert set_like({"zswap/exclusive_loads": 1}, {}) == nodes.Settings({}, {})


def test_what_would_hurt_or_mean_nothing_here_is_left_out_and_said() -> None:
    there = {"vm.overcommit_memory": 2, "vm.panic_on_oom": 1, "kernel.panic": 10, "vm.nr_hugepages": 512, "ksm/run": 1, "zram0/disksize": 4096}
    found = set_like(there, dict.fromkeys(there, 0))
    assert found.host == {} and sorted(name for names in found.left_out.values() for name in names) == sorted(there)


@pytest.mark.parametrize("name", ["debian12-6.1-v1", "debian12-6.1-v2", "debian13-6.12-v2"])
def test_a_captured_node_is_read_and_set_by_a_profile_that_is_valid(name: str) -> None:
    node = nodes.read(TREES / name)
    assert node.hierarchy == name[-2:] and name.split("-")[1] == ".".join(node.kernel.split(".")[:2])
    assert node.swap == 268431360 and 900 << 20 < node.memory < GIB and node.knobs["vm.swappiness"] == 60
    assert nodes.choose(node, MACHINES).machine.name == {"debian12-6.1-v1": "debian12_v1", "debian12-6.1-v2": "debian12_v2"}.get(name, "debian13_v2")
    # All that it has, set on a machine that has nothing of it.
    other = node._replace(knobs=dict.fromkeys(node.knobs, object()))
    host = nodes.settings(node, other, 0.5).host
    assert host["vm.min_free_kbytes"] == node.knobs["vm.min_free_kbytes"] // 2
    assert len(host) > 40 and len(_profiles.load_profiles([{"host": host}], search_paths=[], overrides={}).profiles[0].values) == len(host)


def test_pools_of_huge_pages_are_no_memory_of_the_load(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(TREES / "debian13-6.12-v2", tree)
    meminfo = tree / "proc" / "meminfo"
    whole = nodes.read(tree).memory
    meminfo.write_text(re.sub("Hugetlb: .*", "Hugetlb:  524288 kB", meminfo.read_text()))
    assert (nodes.read(tree).memory, nodes.read(tree).pools) == (whole - GIB // 2, GIB // 2)


def test_what_is_no_node_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="tells nothing of a node"):
        nodes.read(tmp_path)
