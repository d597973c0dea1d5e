# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The arguments of the filter."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _memcg_values
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_pods import GI, container, pod

NODE = {"allocatable": "1Gi"}
PODS = [pod(container("main", "512Mi", "1Gi"))]
STRATEGY = {"lsClass": {"memoryQOS": {"enable": True, "lowLimitPercent": 100, "wmarkRatio": None}}}
LEAF = "/cri-containerd-id-main.scope"


def leaf(found: t.Any) -> dict[str, str]:
    ((_path, files),) = ((path, files) for path, files in found.files.items() if path.endswith(LEAF))
    return dict(files)


def test_models() -> None:
    ls = leaf(_memcg_values.memcg_values(PODS, node=NODE, model="koordinator", strategy=STRATEGY))
    assert (ls["memory.low"], ls["memory.wmark_ratio"]) == (str(GI // 2), "95")
    assert ls == leaf(_memcg_values.memcg_values(PODS, node=NODE, model="koordinator", strategy=json.dumps(STRATEGY)))
    tiered = {"memoryReservationPolicy": "TieredReservation", "evictionHard": {}}
    assert leaf(_memcg_values.memcg_values(PODS, node=NODE, model="kubelet", kubelet=tiered)) == {"memory.low": str(GI // 2)}


def test_names_of_a_strategy_are_read_in_any_case_and_what_is_no_matter_of_memory_is_not_looked_at() -> None:
    written = {"LSCLASS": {"memoryQos": {"enable": True, "LowLimitPercent": 60}, "cpuQOS": {"enable": 5}, "resctrlQOS": 5, "blkioQOS": 5, "networkQOS": 5}}
    assert _memcg_values.check_strategy({**written, "policies": 5}) == {"lsClass": {"memoryQOS": {"enable": True, "lowLimitPercent": 60}}}


def test_a_runtime_whose_cgroups_have_no_known_name_is_said_once() -> None:
    two = [pod(container("a"), container("b"), uid=f"uid-{number}", name=f"p{number}", runtime="kata") for number in range(2)]
    found = _memcg_values.memcg_values([*two, *PODS], node=NODE, model="koordinator")
    assert found.warnings == ["the cgroups of containers of 'kata' have no name that is known: only values of their pods are"]


def test_sizes_of_the_node_may_be_quantities() -> None:
    node = _memcg_values.check_node({"allocatable": "60Gi", "capacity": 64 * GI, "swap": None, "page_size": "64Ki", "name": "n1"})
    assert node == {"allocatable": 60 * GI, "capacity": 64 * GI, "page_size": 65536, "name": "n1"}


def test_pods_of_other_nodes_do_not_count() -> None:
    two = [*PODS, pod(container("main", "1Gi"), uid="other", name="other", spec={"nodeName": "n2"})]
    mine = _memcg_values.memcg_values(two, node={**NODE, "name": "n1"}, model="koordinator", strategy=STRATEGY)
    assert mine.files == _memcg_values.memcg_values(PODS, node=NODE, model="koordinator", strategy=STRATEGY).files and mine.warnings == []
    both = _memcg_values.memcg_values(two, node=NODE, model="koordinator", strategy=STRATEGY)
    assert both.warnings == ["these are pods of 2 nodes, taken as if all ran on one: node.name chooses"]


def test_warnings_of_pods_come_along() -> None:
    found = _memcg_values.memcg_values([*PODS, 5], node=NODE, model="kubelet", hierarchy="v1")
    assert found.warnings == ["item 1 is left out: it is not a pod", "a kubelet has no memory QoS on cgroup v1"]


WRONG: list[tuple[dict[str, t.Any], str]] = [
    ({"node": None}, "node is None: a mapping is expected"),
    ({"node": {}}, "node.allocatable is missing"),
    ({"node": {"allocatable": "-1"}}, "node.allocatable: '-1' is negative"),
    ({"node": {"allocatable": "lots"}}, "node.allocatable: 'lots' is not a quantity"),
    ({"node": {"allocatable": 1, "page_size": 0}}, "node.page_size is 0"),
    ({"node": {"allocatable": 0}}, "node.allocatable is 0: more is expected"),
    ({"node": {"allocatable": 1, "cgroup_root": "../.."}}, "node.cgroup_root is '../..': the path of a cgroup is expected, without .."),
    ({"node": {"allocatable": 1, "memory": 5}}, "node has no 'memory', but allocatable, "),
    ({"node": {"allocatable": 1, "cgroup_driver": "cgroup"}}, "node.cgroup_driver is 'cgroup': one of systemd, cgroupfs is expected"),
    ({"node": {"allocatable": 1, "runtime": "rkt"}}, "node.runtime is 'rkt': one of containerd, "),
    ({"node": {"allocatable": 1, "name": 5}}, "node.name is 5: a name is expected"),
    ({"hierarchy": "hybrid"}, "hierarchy is 'hybrid': v1 or v2 is expected"),
    ({"model": "crane"}, "model is 'crane': koordinator or kubelet is expected"),
    ({"kubelet": {}}, "kubelet is not for the model koordinator"),
    ({"model": "kubelet", "strategy": {}}, "strategy is not for the model kubelet"),
    ({"strategy": 5}, "strategy is 5: a mapping is expected"),
    ({"strategy": "{"}, "strategy is no JSON"),
    ({"strategy": {"LS": {}}}, "strategy has no 'LS', but lsrClass, "),
    ({"strategy": {"lsClas": {}}}, "strategy has no 'lsClas': did you mean 'lsClass'?"),
    ({"strategy": {"lsClass": {}, "LSClass": {}}}, "strategy has lsClass twice, in other case: one of them is expected"),
    ({"strategy": {"lsClass": {"memory": {}}}}, "strategy.lsClass has no 'memory': did you mean 'memoryQOS'?"),
    ({"strategy": {"lsClass": {"memoryQOS": {"wmarkRatioo": 95}}}}, "strategy.lsClass.memoryQOS has no 'wmarkRatioo': did you mean 'wmarkRatio'?"),
    ({"strategy": {"lsClass": {"memoryQOS": {5: 95}}}}, "strategy.lsClass.memoryQOS has no 5, but enable, minLimitPercent, "),
    ({"strategy": {"lsClass": 5}}, "strategy.lsClass is 5: a mapping is expected"),
    ({"strategy": {"lsClass": {"memoryQOS": []}}}, "strategy.lsClass.memoryQOS is []: a mapping is expected"),
    ({"strategy": {"lsClass": {"memoryQOS": {"wmarkRatio": "95"}}}}, "strategy.lsClass.memoryQOS.wmarkRatio is '95', a whole number is expected"),
    ({"strategy": {"lsClass": {"memoryQOS": {"minLimitPercent": 101}}}}, "strategy.lsClass.memoryQOS.minLimitPercent is 101, 0 to 100 is expected"),
    ({"strategy": {"beClass": {"memoryQOS": {"wmarkMinAdj": -26}}}}, "strategy.beClass.memoryQOS.wmarkMinAdj is -26, -25 to 50 is expected"),
    ({"strategy": {"lsClass": {"memoryQOS": {"enable": 1}}}}, "strategy.lsClass.memoryQOS.enable is 1: true or false is expected"),
    ({"model": "kubelet", "kubelet": {"memoryThrottlingFactor": 0}}, "memoryThrottlingFactor is 0: above 0, 1 at most, is expected"),
    ({"model": "kubelet", "kubelet": {"memoryThrottlingFactor": 1.1}}, "memoryThrottlingFactor is 1.1"),
    ({"model": "kubelet", "kubelet": {"memoryThrottlingFactor": float("nan")}}, "memoryThrottlingFactor is nan"),
    ({"model": "kubelet", "kubelet": {"memoryThrottlingFactor": "0.9"}}, "memoryThrottlingFactor is '0.9'"),
    ({"model": "kubelet", "kubelet": {"memoryReservationPolicy": "Hard"}}, "memoryReservationPolicy is 'Hard': None or TieredReservation is expected"),
    ({"model": "kubelet", "kubelet": {"featureGates": {"MemoryQoS": "true"}}}, "featureGates: true or false is expected after each name"),
    ({"model": "kubelet", "kubelet": {"memorySwap": {"swapBehavior": "UnlimitedSwap"}}}, "swapBehavior is 'UnlimitedSwap': NoSwap or LimitedSwap is expected"),
    ({"model": "kubelet", "kubelet": {"memorySwap": {"swapBehavior": "LimitedSwap"}}}, "node.capacity is missing: LimitedSwap"),
    (
        {"model": "kubelet", "kubelet": {"memorySwap": {"swapBehavior": "LimitedSwap"}}, "node": {"allocatable": 1, "capacity": 1}},
        "node.swap is missing: LimitedSwap",
    ),
]


SYSTEM = {"enforceNodeAllocatable": ["pods", "system-reserved"], "systemReserved": {"cpu": "500m", "memory": "1Gi"}, "systemReservedCgroup": "/system.slice"}
RESERVED_WRONG: list[tuple[dict[str, t.Any], str]] = [
    ({"enforceNodeAllocatable": "pods"}, "kubelet.enforceNodeAllocatable is 'pods': a list of none, pods, system-reserved, kube-reserved, "),
    ({"enforceNodeAllocatable": ["system"]}, "kubelet.enforceNodeAllocatable is ['system']: a list of "),
    ({"systemReservedCgroup": "/"}, "kubelet.systemReservedCgroup is missing: enforceNodeAllocatable has system-reserved"),
    ({"systemReservedCgroup": ""}, "kubelet.systemReservedCgroup is missing: enforceNodeAllocatable has system-reserved"),
    ({"systemReservedCgroup": "/../etc"}, "kubelet.systemReservedCgroup is '/../etc': the path of a cgroup is expected"),
    ({"systemReserved": 5}, "kubelet.systemReserved is 5: a mapping is expected"),
    ({"systemReserved": {"memory": "lots"}}, "kubelet.systemReserved.memory: 'lots' is not a quantity"),
]
WRONG += [({"model": "kubelet", "kubelet": {**SYSTEM, **more}}, message) for more, message in RESERVED_WRONG]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_mistakes_are_named(arguments: dict[str, t.Any], message: str) -> None:
    with pytest.raises(_memcg_values.ValuesError) as caught:
        _memcg_values.memcg_values(PODS, **{"node": NODE, "model": "koordinator", **arguments})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kubelet", "driver", "path"),
    [
        (SYSTEM, "systemd", "system.slice"),
        ({**SYSTEM, "systemReservedCgroup": "/a.slice/kube-reserved.slice"}, "systemd", "kube.slice/kube-reserved.slice"),
        ({**SYSTEM, "systemReservedCgroup": "/system/reserved/"}, "cgroupfs", "system/reserved"),
        ({"enforceNodeAllocatable": ["kube-reserved"], "kubeReserved": {"memory": "1Gi"}, "kubeReservedCgroup": "runtime.slice"}, "systemd", "runtime.slice"),
        ({**SYSTEM, "featureGates": {"MemoryQoS": False}}, "systemd", None),
        ({**SYSTEM, "enforceNodeAllocatable": ["pods", "system-reserved-compressible"]}, "systemd", None),
        ({**SYSTEM, "enforceNodeAllocatable": None}, "systemd", None),
        ({**SYSTEM, "systemReserved": {"cpu": "1"}}, "systemd", None),
    ],
)
def test_what_the_kubelet_reserves_and_enforces_is_kept(kubelet: dict[str, t.Any], driver: str, path: str | None) -> None:
    found = _memcg_values.memcg_values([], node={**NODE, "cgroup_driver": driver}, model="kubelet", kubelet=kubelet)
    assert {place: files for place, files in found.files.items() if "kubepods" not in place} == ({path: {"memory.min": str(GI)}} if path else {})
    assert not _memcg_values.memcg_values([], node=NODE, model="kubelet", kubelet=kubelet, hierarchy="v1").files


def test_no_swap_on_the_node_is_no_mistake() -> None:
    config = {"memorySwap": {"swapBehavior": "LimitedSwap"}}
    found = _memcg_values.memcg_values(PODS, node={**NODE, "capacity": "2Gi", "swap": 0}, model="kubelet", kubelet=config)
    assert leaf(found)["memory.swap.max"] == "0"
