# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshot of real nodes, and of broken ones: whole audits without Ansible, so also on Python 3.8."""

from __future__ import annotations

import json
import pathlib
import shutil
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _diagnosis, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable

TREES = pathlib.Path(__file__).parents[2] / "fixtures" / "trees"
CAPTURED = sorted(path for path in TREES.iterdir() if (path / "sys/fs/cgroup").is_dir())


class Clock:
    """Stands for time: C(sleep) moves it on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def read(root: pathlib.Path | str, *, window: float = 0.0, clock: Clock | None = None, **more: t.Any) -> t.Any:
    clock = clock or Clock()
    return _snapshot.read(Tree(str(root)), window_seconds=window, monotonic=clock.monotonic, sleep=clock.sleep, wanted=_registry.wanted(), **more)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    target = tmp_path / "node"
    shutil.copytree(next(path for path in CAPTURED if path.name.endswith("-v2")), target)
    return target


@pytest.mark.parametrize("root", CAPTURED, ids=lambda path: path.name)
def test_captured_nodes_close_and_name_their_pod(root: pathlib.Path) -> None:
    node = read(root)
    result = _diagnosis.diagnose(node, rules=[], previous=None, top=20)
    assert sum(row["bytes"] for row in result["breakdown"]["rows"]) == node["meminfo"]["MemTotal"]
    remainder = result["breakdown"]["rows"][-1]["bytes"]
    assert abs(remainder) <= max(node["meminfo"]["MemTotal"] // 200, 8 << 20)
    assert root.name.endswith(node["facts"]["hierarchy"]) and node["knobs"]["vm.swappiness"] == 60
    container = next(row for row in result["top"]["rows"] if row["kind"] == "container")
    assert container["qos_class"] == "Burstable" and container["pod_uid"] and len(container["container_id"]) == 64
    assert container["working_set"] == max(0, container["usage"] - container["inactive_file"])
    json.dumps(result, allow_nan=False)


def test_a_captured_tree_has_no_window(tree: pathlib.Path) -> None:
    clock = Clock()
    assert "window" not in read(tree, window=5.0, clock=clock) and clock.slept == []


@pytest.mark.parametrize(
    "params, words",
    [
        ({"root": "/", "window": 61.0}, "window=61"),
        ({"root": "/", "window": -1.0}, "window=-1"),
        ({"root": "/", "top": 0}, "top=0"),
        ({"root": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_options_that_cannot_be_used(params: dict[str, t.Any], words: str) -> None:
    with pytest.raises(_snapshot.UnusableOption, match=words):
        _snapshot.of_options(params)


def test_the_window_of_a_live_node_is_measured_not_assumed() -> None:
    clock = Clock()
    node = read("/", window=0.25, clock=clock)
    assert len(clock.slept) == 1 and 0.2 < clock.slept[0] <= 0.25
    assert 0.2 < node["window"]["cgroup_seconds"] <= node["window"]["seconds"]
    for path, after in node["window"]["cgroups"].items():
        before = next(cgroup for cgroup in node["cgroups"] if cgroup["path"] == path)
        assert set(after["stat"]) <= set(before["stat"])


GONE = ["vmstat", "zoneinfo", "buddyinfo", "swaps", "net/sockstat", "uptime", "cmdline", "self/mountinfo", "pressure/memory"]


@pytest.mark.parametrize("name", GONE)
@pytest.mark.parametrize("content", [None, b"", b"\x00\xff garbage without end"], ids=["absent", "empty", "garbage"])
def test_any_file_but_meminfo_may_be_missing_or_broken(tree: pathlib.Path, name: str, content: bytes | None) -> None:
    path = tree / "proc" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    node = read(tree)
    result = _diagnosis.diagnose(node, rules=[], previous=None, top=3)
    assert sum(row["bytes"] for row in result["breakdown"]["rows"]) == node["meminfo"]["MemTotal"]
    # an empty list of swap devices and an empty command line are legal; everything else is said
    assert content == b"" and name in ("swaps", "cmdline") or name in ("swaps", "cmdline", "self/mountinfo") or node["unknown"]


def test_without_meminfo_there_is_no_snapshot(tree: pathlib.Path) -> None:
    (tree / "proc/meminfo").unlink()
    with pytest.raises(Unreadable, match="meminfo"):
        read(tree)


def test_no_sys_at_all(tree: pathlib.Path) -> None:
    shutil.rmtree(tree / "sys")
    node = read(tree)
    assert node["facts"]["hierarchy"] == "none" and node["cgroups"] == []
    assert "cgroups" in node["unknown"] and "numa" in node["unknown"]


def test_sections_that_are_not_wanted_are_not_read(tree: pathlib.Path) -> None:
    node = read(tree, sections=())
    assert node["cgroups"] == [] and not {"units", "oom", "slabs"} & set(node) and node["knobs"]


def test_facts_that_cannot_be_told_have_no_key(tree: pathlib.Path) -> None:
    (tree / "proc/uptime").unlink()
    facts = read(tree)["facts"]
    assert "uptime_seconds" not in facts and None not in facts.values()


def test_pressure_that_cannot_be_read_is_not_a_kernel_without_psi(tree: pathlib.Path) -> None:
    (tree / "proc/pressure/memory").write_bytes(b"")
    assert "psi" not in read(tree)["facts"]
    (tree / "proc/pressure/memory").unlink()
    assert read(tree)["facts"]["psi"] is False


def test_swap_comes_from_meminfo_and_numa_nodes_from_the_zones(tree: pathlib.Path) -> None:
    shutil.rmtree(tree / "sys/devices/system/node")
    (tree / "proc/swaps").write_bytes(b"")
    facts = read(tree)["facts"]
    assert facts["numa_nodes"] == 1 and facts["swap_total_bytes"] == read(tree)["meminfo"]["SwapTotal"] > 0


def test_where_only_own_processes_show_nobody_says_that_there_is_no_kubelet(tree: pathlib.Path) -> None:
    assert read(tree)["facts"]["kubelet"] is False
    shutil.rmtree(tree / "proc/1")
    assert "kubelet" not in read(tree)["facts"]
