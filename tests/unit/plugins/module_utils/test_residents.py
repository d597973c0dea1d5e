# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole node: cgroups, processes, runtimes, pods and inventory, and whom of the runtimes is asked at all."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _residents
from ansible_collections.memqos.fleet.plugins.module_utils._read import _cgroupfs, _containers
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import runtimes

ID, OTHER, POD_ID = "0123456789abcdef" * 4, "a" * 64, "fedcba9876543210" * 4
UID = "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9"
V2 = _cgroupfs.Hierarchy("v2", "/sys/fs/cgroup", 2)
GIB = 1 << 30
POD = f"/kubepods/burstable/pod{UID}"


def write(root: Path, files: dict[str, t.Any]) -> None:
    for name, content in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def kubernetes(root: Path) -> Tree:
    """A Burstable container that runtimes know, with 10 % of memory by its score, and Podman's beside it."""
    write(root, {
        f"/sys/fs/cgroup{POD}/{ID}/cgroup.procs": "4242\n", "/proc/4242/oom_score_adj": "900\n",
        ".memqos/output/crictl-pods": {"items": [runtimes.cri_pod(POD_ID, UID, "web-0", labels={"koordinator.sh/qosClass": "LS"})]},
        ".memqos/output/crictl-ps": {"containers": [runtimes.cri_container(ID, POD_ID, "nginx")]},
        ".memqos/output/podman-ps": [runtimes.podman_row(OTHER, "cache")],
        ".memqos/output/podman-inspect": [runtimes.podman_inspected(OTHER, reservation=512)],
    })  # fmt: skip
    return Tree(str(root))


def cgroups() -> list[t.Any]:
    return [{"path": path, "limit": 8 * GIB} for path in (POD, f"{POD}/{ID}", f"/machine.slice/libpod-{OTHER}.scope")]


def test_a_node(tmp_path: Path) -> None:
    found = _residents.read(kubernetes(tmp_path), V2, cgroups(), capacity=10_000_000_001)
    assert (found.unread, found.notes, found.joined.pods) == ({}, [], {UID: POD})
    web, cache = found.joined.workloads
    assert (web["name"], web["koordinator_class"], web["request"], web["granularity"]) == ("shop/web-0/nginx", "LS", 1_000_000_001, 10_000_000)
    assert (cache["name"], cache["runtime"], cache["request"], cache["sources"]["request"]) == ("cache", "podman", 512, "Podman")


def test_pods_and_inventory_come_on_top(tmp_path: Path) -> None:
    pods = [{"uid": UID, "namespace": "shop", "name": "web-0", "qos_class": "Burstable", "containers": [{"name": "nginx", "id": ID, "request": GIB}]}]
    found = _residents.read(kubernetes(tmp_path), V2, cgroups(), capacity=10 * GIB, pods=pods, declared=[{"match": "cache", "request": 7}])
    web, cache = found.joined.workloads
    assert (web["request"], web["sources"]["request"], "granularity" in web) == (GIB, "pod list", False)
    assert (cache["request"], cache["sources"]["request"]) == (7, "inventory")


def test_a_node_whose_runtimes_are_silent_keeps_its_estimates(tmp_path: Path) -> None:
    write(tmp_path, {f"/sys/fs/cgroup{POD}/{ID}/cgroup.procs": "4242\n", "/proc/4242/oom_score_adj": "900\n"})
    found = _residents.read(Tree(str(tmp_path)), V2, cgroups(), capacity=10_000)
    assert found.joined.workloads[0]["request"] == 1000
    assert sorted(found.unread) == ["CRI", "Podman"] and all(reason.startswith("could not be read: ") for reason in found.unread.values())


@pytest.mark.parametrize("permyriad", [21, 27, 156, 1000, 4999, 5001, 9964])
@pytest.mark.parametrize("capacity", [64 * GIB, 67_430_109_184, 2_000_000_000_001])
def test_the_estimate_is_too_low_by_less_than_its_granularity(tmp_path: Path, permyriad: int, capacity: int) -> None:
    request_ = capacity * permyriad // 10000
    adjust = 1000 - 1000 * request_ // capacity
    assert 3 < adjust < 999
    write(tmp_path, {f"/sys/fs/cgroup{POD}/{ID}/cgroup.procs": "4242\n", "/proc/4242/oom_score_adj": f"{adjust}\n"})
    found: list[t.Any] = [{"path": f"{POD}/{ID}", "limit": None}]
    web = _residents.read(Tree(str(tmp_path)), V2, found, capacity=capacity).joined.workloads[0]
    assert 0 <= request_ - web["request"] <= web["granularity"]
    assert 1000 - 1000 * web["request"] // capacity == adjust


def test_an_estimate_is_not_above_the_limit(tmp_path: Path) -> None:
    """A sidecar takes the score of the pod's other containers."""
    write(tmp_path, {f"/sys/fs/cgroup{POD}/{ID}/cgroup.procs": "4242\n", "/proc/4242/oom_score_adj": "500\n"})
    found: list[t.Any] = [{"path": f"{POD}/{ID}", "limit": 4096}]
    assert _residents.read(Tree(str(tmp_path)), V2, found, capacity=GIB).joined.workloads[0]["request"] == 4096


@pytest.mark.parametrize(
    ("paths", "asked"),
    [
        ([], []),
        (["/system.slice/a.service"], []),
        ([f"{POD}/{ID}"], ["cri"]),
        ([f"{POD}/docker-{ID}.scope"], ["cri", "docker"]),
        ([f"/system.slice/docker-{ID}.scope"], ["docker"]),
        ([f"/default/{ID}"], []),
        ([f"/machine.slice/libpod-{ID}.scope", f"/docker/{OTHER}"], ["docker", "podman"]),
        ([f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"], []),
        (["/lxc.payload.web"], []),
    ],
)
def test_only_runtimes_that_have_a_container_here_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], asked: list[str]) -> None:
    whom: list[str] = []

    def read(tree: Tree, **options: t.Any) -> _containers.Runtimes:
        whom.extend(name for name in ("cri", "docker", "podman") if options[name])
        return _containers.Runtimes({}, {}, [])

    monkeypatch.setattr(_containers, "read", read)
    _residents.read(Tree(str(tmp_path)), V2, [{"path": path} for path in paths], capacity=GIB)
    assert whom == asked
