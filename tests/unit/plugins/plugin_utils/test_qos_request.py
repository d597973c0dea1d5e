# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of an operator → what a node is told of its containers; and every mistake before that."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _qos_work, _tune_options
from ansible_collections.memqos.fleet.plugins.plugin_utils import _memcg_values, _pods, _pods_file, _qos_request
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_pods import container, pod

GIB = 1 << 30
DEFAULTS = {name: option.get("default") for name, option in _tune_options.TUNE.items()}
LAYERS = [{"profile": "own", "host": {}, "slices": {}, "qos": {"LS": {"swap": False}}}]
PODS = [pod(container("main", "1Gi"), uid=f"uid-{number}", name=f"web-{number}", spec={"nodeName": f"n{number}"}) for number in range(1, 13)]
STRATEGY = {"lsClass": {"memoryQOS": {"enable": True, "lowLimitPercent": 60, "wmarkRatio": None}}}


def told(layers: t.Any = None, host: str = "n1", **options: t.Any) -> _qos_request.Told:
    return _qos_request.told({**DEFAULTS, **options}, LAYERS if layers is None else layers, host)


def test_nothing_is_sent_where_nothing_is_asked_for() -> None:
    assert told() == _qos_request.Told({})
    none = [{"profile": "own", "host": {}, "slices": {}}]
    assert told(none, pods=PODS, workloads=[{"match": "x", "qos_class": "LS"}]) == _qos_request.Told({})
    assert told(pods=PODS, only=["swap", "thp"]) == _qos_request.Told({})
    assert told(pods=PODS, only=["swap", "memcg_qos"]).request["pods"]
    # What stood may have asked for it.
    assert told([{"earlier": ""}], pods=PODS).request["pods"]


def test_its_pods_by_the_name_in_the_inventory_or_the_nodes() -> None:
    expected = _pods.by_node(_pods.read(PODS).workloads)
    assert told(pods=PODS) == _qos_request.Told({"pods": expected["n1"]}, "", [])
    assert told(pods={"kind": "PodList", "items": PODS}, node_name="n2", host="x").request == {"pods": expected["n2"]}


def test_a_host_that_no_pod_is_on_says_which_nodes_there_are() -> None:
    found = told(pods=PODS, host="node1.example.org")
    assert found.request == {} and found.note == (
        "none of the pods is on a node 'node1.example.org', but on n1, n10, n11, n12, n2, n3, n4, n5 and 4 more: "
        "node_name (memqos_node_name) says which one this host is"
    )
    pending = pod(container(), spec={"nodeName": None})
    assert told(pods=[pending]).note == "none of the pods runs on any node yet"


def test_a_file_of_pods_is_read_for_the_node(tmp_path: Path) -> None:
    (tmp_path / "pods.json").write_text(json.dumps({"kind": "List", "items": [*PODS, {"kind": "Pod"}]}))
    found = told(pods_file=str(tmp_path / "pods.json"), directory=str(tmp_path / "report"))
    assert [workload["name"] for workload in found.request["pods"]] == ["web-1"]
    assert len(found.warnings) == 1 and found.warnings[0].startswith("item 12 is left out")
    assert (tmp_path / "report" / _pods_file.FOLDER).is_dir()


def test_models_and_what_they_need() -> None:
    koordinator = {"model": "koordinator", "config": {"lsClass": {"memoryQOS": {"enable": True, "lowLimitPercent": 60}}}}
    assert told([], qos_model="koordinator", qos_strategy=STRATEGY).request == koordinator
    assert told([], qos_model="koordinator", qos_strategy=json.dumps(STRATEGY)).request == koordinator
    assert told([], qos_model="koordinator").request == {"model": "koordinator"}
    fields = {"memoryThrottlingFactor": 0.9, "memorySwap": {"swapBehavior": "LimitedSwap"}}
    # The node knows its memory and its swap.
    assert told([], qos_model="kubelet", kubelet={**fields, "maxPods": 110}).request == {"model": "kubelet", "config": fields}


def test_what_is_sent_is_what_the_node_takes() -> None:
    workloads = [{"match": "redis.service", "qos_class": "LS", "request": "4GiB", "limit": None}]
    request = told([], qos_model="kubelet", kubelet={"memoryThrottlingFactor": 1}, pods=PODS, workloads=workloads, allocatable="60Gi").request
    assert set(request) == {"model", "config", "pods", "declared", "node"}
    asked = _qos_work.asked(json.loads(json.dumps(request)), LAYERS)
    assert (asked.model, asked.node, asked.intents) == ("kubelet", {"allocatable": 60 * GIB}, {"LS": {"swap": False}})
    assert asked.declared == [{"match": "redis.service", "qos_class": "LS", "request": 4 * GIB, "limit": None}]


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("512Mi", 512 << 20),
        ("512MiB", 512 << 20),
        ("1.5GiB", 3 << 29),
        ("128974848000m", 128974848),
        ("65842108Ki", 65842108 << 10),
        (4096, 4096),
        ("129e6", 129000000),
    ],
)
def test_sizes(written: t.Any, size: int) -> None:
    assert told(allocatable=written).request == {"node": {"allocatable": size}}
    assert told(workloads=[{"match": "x", "request": written}]).request == {"declared": [{"match": "x", "request": size}]}


WRONG: list[tuple[dict[str, t.Any], str]] = [
    ({"qos_strategy": STRATEGY}, "qos_strategy is for qos_model=koordinator, and qos_model is profile"),
    ({"kubelet": {"memoryThrottlingFactor": 1}, "qos_model": "koordinator"}, "kubelet is for qos_model=kubelet, and qos_model is koordinator"),
    ({"qos": {"LS": {}}, "qos_model": "kubelet"}, "qos is for qos_model=profile, and qos_model is kubelet"),
    ({"qos_model": "koordinator", "qos_strategy": "{"}, "qos_strategy: strategy is no JSON"),
    ({"qos_model": "koordinator", "qos_strategy": {"lowClass": {}}}, "qos_strategy: strategy has no 'lowClass': did you mean 'lsClass'?"),
    ({"qos_model": "koordinator", "qos_strategy": {"lsClass": {"memoryQOS": {"wmarkRatio": "95"}}}}, "wmarkRatio is '95', a whole number is expected"),
    ({"qos_model": "kubelet", "kubelet": {"memoryThrottlingFactor": 2}}, "kubelet.memoryThrottlingFactor is 2: above 0, 1 at most"),
    ({"pods": PODS, "pods_file": "x"}, "pods and pods_file both say"),
    ({"allocatable": "much"}, "allocatable: 'much' is not a quantity"),
    ({"allocatable": "60G"}, "allocatable is '60G', which Kubernetes reads in thousands and profiles in 1024s: write 60Gi, or bytes"),
    ({"allocatable": "1.5 k"}, "write 1.5 Ki, or bytes"),
    ({"allocatable": -1}, "'-1' is negative"),
    ({"allocatable": "0"}, "from 1 bytes to 4 EiB are expected"),
    ({"allocatable": "5Ei"}, "from 1 bytes to 4 EiB are expected"),
    ({"allocatable": [1]}, "is not a quantity"),
    ({"allocatable": True}, "is not a quantity"),
    ({"workloads": [{}]}, r"workloads[0].match is None: a cgroup's path"),
    ({"workloads": [{"match": "a", "request": 1}, {"match": ""}]}, "workloads[1].match is ''"),
    ({"workloads": [{"match": "a"}]}, "workloads[0] says nothing of 'a': qos_class, request or limit is expected"),
    ({"workloads": [{"match": "a", "class": "LS"}]}, "workloads[0] has no 'class', but match, qos_class, request, limit"),
    ({"workloads": [{"match": "a", "qos_class": "LX"}]}, "workloads[0].qos_class is 'LX': one of Guaranteed, Burstable, BestEffort, LSE"),
    ({"workloads": [{"match": "a", "limit": "512M"}]}, "workloads[0].limit is '512M', which Kubernetes reads"),
    ({"workloads": [{"match": "a", "request": "2Gi", "limit": "1Gi"}]}, "workloads[0]: its request of 2147483648 bytes is above its limit"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_mistakes_are_named(options: dict[str, t.Any], words: str) -> None:
    with pytest.raises(_qos_request.QosError) as caught:
        told(**options)
    assert words in str(caught.value)


def test_a_mistake_is_found_where_nothing_is_wanted_too() -> None:
    with pytest.raises(_qos_request.QosError):
        told([], allocatable="much")
    with pytest.raises(_pods.PodsError, match="a list of pods is expected"):
        told(pods="[]")


def test_models_are_those_of_the_node() -> None:
    assert tuple(_tune_options.TUNE["qos_model"]["choices"]) == ("profile", "koordinator", "kubelet")
    assert _qos_work.AREA == _qos_request.AREA and set(_qos_work.Asked()._fields) >= {"model", "config", "pods", "declared", "node"}
    assert _memcg_values.check_strategy(None) == {}
