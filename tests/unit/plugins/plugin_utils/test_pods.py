# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pods → workloads."""

from __future__ import annotations

import json
import time
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.plugin_utils import _pods
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_pods import GI, MI, UID, container, pod

OTHER = "0" * 31 + "1"


def workload(*pods: t.Any) -> t.Any:
    read = _pods.read(list(pods))
    assert read.warnings == []
    (found,) = read.workloads
    return found


def test_a_workload_is_what_a_node_needs() -> None:
    found = workload(pod(container("main", "1Gi", "2Gi"), label="LS", annotation='{"policy": "auto", "minLimitPercent": null, "more": 1}'))
    assert json.loads(json.dumps(found)) == {
        "uid": UID,
        "namespace": "shop",
        "name": "web",
        "node": "n1",
        "qos_class": "Burstable",
        "koordinator_class": "LS",
        "memory_qos": {"policy": "auto"},
        "request": GI,
        "limit": 2 * GI,
        "containers": [{"name": "main", "id": "id-main", "runtime": "containerd", "request": GI, "limit": 2 * GI}],
    }


def sidecar(name: str, request: str) -> dict[str, t.Any]:
    return container(name, request, restartPolicy="Always")


# Containers, init containers, more of the spec, and what the pod requests in MiB. In the order of component-helpers/resource.
REQUESTS: list[tuple[list[dict[str, t.Any]], list[dict[str, t.Any]], dict[str, t.Any], int | None]] = [
    ([container("a")], [], {}, None),
    ([container("a", "100Mi"), container("b", "50Mi"), container("c")], [], {}, 150),
    ([container("a", "100Mi")], [container("i", "80Mi")], {}, 100),
    ([container("a", "100Mi")], [container("i", "180Mi")], {}, 180),  # a plain init container, alone
    ([container("a", "100Mi")], [sidecar("s", "30Mi")], {}, 130),  # stays
    ([container("a", "100Mi")], [sidecar("s", "30Mi"), container("i", "120Mi")], {}, 150),  # beside the sidecar before it
    ([container("a", "100Mi")], [container("i", "120Mi"), sidecar("s", "30Mi")], {}, 130),  # before the sidecar
    ([container("a", "100Mi")], [container("i", "180Mi")], {"overhead": {"memory": "20Mi"}}, 200),
    ([container("a")], [], {"overhead": {"memory": "20Mi"}}, 20),
    ([container("a", "100Mi")], [], {"resources": {"requests": {"memory": "512Mi"}}}, 512),
    ([container("a", "100Mi")], [], {"resources": {"requests": {"cpu": "2"}}}, 100),
    ([container("a", "100Mi")], [], {"resources": {"requests": {"memory": "512Mi"}}, "overhead": {"memory": "20Mi"}}, 532),
]


@pytest.mark.parametrize(("containers", "inits", "spec", "request_mib"), REQUESTS)
def test_what_a_pod_requests(containers: list[t.Any], inits: list[t.Any], spec: dict[str, t.Any], request_mib: int | None) -> None:
    found = workload(pod(*containers, spec={"initContainers": inits, **spec}))
    assert found.get("request") == (None if request_mib is None else request_mib * MI)
    assert [c["name"] for c in found["containers"]] == [c["name"] for c in (*containers, *(i for i in inits if i.get("restartPolicy")))]


def test_a_limit_is_the_sum_of_those_that_there_are_and_overhead_comes_on_top_of_one_only() -> None:
    half = workload(pod(container("a", limits="1Gi"), container("b"), spec={"overhead": {"memory": "1Mi"}}))
    assert half["limit"] == GI + MI
    assert "limit" not in workload(pod(container("a", "1Gi"), spec={"overhead": {"memory": "1Mi"}}))
    own = workload(pod(container("a"), spec={"overhead": {"memory": "1Mi"}, "resources": {"limits": {"memory": "1Gi"}}}))
    assert (own["limit"], own["pod_limit"], "pod_request" in own) == (GI + MI, GI, False)
    asks = workload(pod(container("a", "1Mi"), spec={"overhead": {"memory": "1Mi"}, "resources": {"requests": {"memory": "1Gi"}}}))
    assert (asks["request"], asks["pod_request"]) == (GI + MI, GI)


def cpu_and_memory(**resources: str) -> dict[str, t.Any]:
    """C(cpu=requests/limits)"""
    split = {name: value.split("/") for name, value in resources.items()}
    return {"name": "c", "resources": {key: {name: pair[at] for name, pair in split.items() if pair[at]} for at, key in enumerate(("requests", "limits"))}}


@pytest.mark.parametrize(
    ("containers", "spec", "qos"),
    [
        ([cpu_and_memory()], {}, "BestEffort"),
        ([cpu_and_memory(cpu="0/0", memory="0/0")], {}, "BestEffort"),
        ([cpu_and_memory(cpu="1/1", memory="1Gi/1Gi")], {}, "Guaranteed"),
        ([cpu_and_memory(cpu="1/1000m", memory="1Gi/1024Mi")], {}, "Guaranteed"),
        ([cpu_and_memory(cpu="1/1", memory="1Gi/1Gi"), cpu_and_memory(cpu="1/1")], {}, "Burstable"),
        ([cpu_and_memory(cpu="1/1", memory="1Gi/2Gi")], {}, "Burstable"),
        ([cpu_and_memory(memory="1Gi/1Gi")], {}, "Burstable"),
        ([cpu_and_memory(cpu="1m/")], {}, "Burstable"),
        ([cpu_and_memory(memory="/1Gi")], {}, "Burstable"),
        ([cpu_and_memory(cpu="1/1", memory="1Gi/1Gi")], {"initContainers": [{**cpu_and_memory(memory="1Gi/1Gi"), "name": "i"}]}, "Burstable"),
        ([cpu_and_memory()], {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}}, "Guaranteed"),
        ([cpu_and_memory(cpu="1/1", memory="1Gi/1Gi")], {"resources": {"requests": {"cpu": "1"}}}, "Burstable"),
    ],
)
def test_the_class_by_kubernetes_rules_where_its_own_word_is_missing(containers: list[t.Any], spec: dict[str, t.Any], qos: str) -> None:
    assert workload(pod(*containers, qos=None, spec=spec))["qos_class"] == qos
    assert workload(pod(*containers, qos="BestEffort", spec=spec))["qos_class"] == "BestEffort"


def test_a_mirror_pod_has_the_kubelets_uid_and_is_critical() -> None:
    digest = "81cdabfc720501d9e81b425b15921b4d"
    found = workload(pod(container(), metadata={"annotations": {"kubernetes.io/config.hash": digest, "kubernetes.io/config.mirror": digest}}))
    assert (found["uid"], found["critical"]) == (digest, True)
    # Anybody can write the other annotation alone.
    assert workload(pod(container(), metadata={"annotations": {"kubernetes.io/config.hash": digest}}))["uid"] == UID


@pytest.mark.parametrize(("priority", "critical"), [(2_000_000_000, True), (1_999_999_999, None), (None, None)])
def test_critical_by_priority(priority: int | None, critical: bool | None) -> None:
    assert workload(pod(container(), spec={"priority": priority})).get("critical") is critical


@pytest.mark.parametrize(("phase", "inactive"), [("Running", None), ("Pending", None), (None, None), ("Succeeded", True), ("Failed", True), ("Unknown", True)])
def test_which_have_ended(phase: str | None, inactive: bool | None) -> None:
    assert workload(pod(container(), status={"phase": phase})).get("inactive") is inactive


def test_the_object_that_kubectl_prints_is_a_list_too() -> None:
    assert _pods.read({"kind": "List", "items": [pod(container())]}).workloads == [workload(pod(container()))]
    assert _pods.read([]) == ([], [])


@pytest.mark.parametrize("pods", [None, 5, "[]", {}, {"items": 5}, {"kind": "Pod", "items": []}, pod(container())])
def test_what_is_no_list_is_an_error(pods: t.Any) -> None:
    with pytest.raises(_pods.PodsError, match="a list of pods is expected"):
        _pods.read(pods)


@pytest.mark.parametrize(
    "annotation",
    ["", "{", "[]", '"auto"', "5", "NaN", '{"minLimitPercent": "100"}', '{"minLimitPercent": 1.5}', '{"minLimitPercent": 1e2}', '{"minLimitPercent": true}']
    + ['{"policy": 5}', '{"pageCacheEnable": 1}', '{"minLimitPercent": NaN}', '{"other": NaN}', '{"wmarkRatio": 9223372036854775808}', "[" * 100000],
)
def test_a_malformed_annotation_is_ignored_and_said(annotation: str) -> None:
    read = _pods.read([pod(container(), annotation=annotation)])
    assert "memory_qos" not in read.workloads[0]
    (warning,) = read.warnings
    assert warning.startswith("pod shop/web: its annotation koordinator.sh/memoryQOS is ignored: ") and len(warning) < 300


@pytest.mark.parametrize(
    ("annotation", "fields"),
    [
        ("null", {}),
        ("{}", {}),
        ('{"policy": "auto", "throttlingPercent": 90}', {"policy": "auto", "throttlingPercent": 90}),
        ('{"MINLIMITPERCENT": 5}', {"minLimitPercent": 5}),  # as Go reads names
        ('{"pageCacheEnable": false, "pageCacheLimitSize": 0, "other": []}', {"pageCacheEnable": False, "pageCacheLimitSize": 0}),
    ],
)
def test_annotations_as_koordlet_reads_them(annotation: str, fields: dict[str, t.Any]) -> None:
    assert workload(pod(container(), annotation=annotation))["memory_qos"] == fields


def test_fields_out_of_range_are_ignored_and_said() -> None:
    read = _pods.read([pod(container(), annotation='{"minLimitPercent": 100000, "wmarkRatio": 90, "policy": "foo"}')])
    assert read.workloads[0]["memory_qos"] == {"wmarkRatio": 90}
    said = "pod shop/web: its annotation koordinator.sh/memoryQOS: "
    assert read.warnings == [
        f"{said}minLimitPercent is 100000, 0 to 100 is expected: it is ignored",
        f"{said}policy is 'foo', one of none, default, auto is expected: it is ignored",
    ]


BAD: list[tuple[str, t.Any, str]] = [
    ("pod shop/web", pod(container("a", "-1Mi")), "memory in its requests of container a: '-1Mi' is negative"),
    ("pod shop/web", pod(container("a", "lots")), "'lots' is not a quantity"),
    ("pod shop/web", pod(container("a", "2Gi", "1Gi")), "container a requests 2147483648 bytes, more than its limit of 1073741824"),
    ("pod shop/web", pod(container("a"), spec={"initContainers": [container("i", "2Gi", "1Gi")]}), "container i requests 2147483648 bytes"),
    ("pod shop/web", pod(), "it has no containers"),
    ("pod shop/web", pod(container(), uid="../../../etc"), "its metadata.uid is '../../../etc'"),
    ("pod shop/web", pod(container(), uid=".."), "its metadata.uid is '..'"),
    ("pod shop/web", pod(container(), spec={"containers": 5}), "is no list of containers"),
    ("pod shop/web", pod(container(), status={"containerStatuses": "x"}), "is no list of containers"),
    ("pod shop/web", {**pod(container()), "kind": "Node"}, "it is not a pod"),
    ("item 0", pod(container(), name="a\x1b[31m"), "its metadata.name is"),
    ("item 0", 5, "it is not a pod"),
    ("item 0", None, "it is not a pod"),
    ("item 0", {}, "its metadata.uid is None"),
]


@pytest.mark.parametrize(("named", "bad", "reason"), BAD)
def test_a_bad_pod_is_left_out_and_named(named: str, bad: t.Any, reason: str) -> None:
    read = _pods.read([bad, pod(container(), uid=OTHER, name="good")])
    assert [found["name"] for found in read.workloads] == ["good"]
    assert len(read.warnings) == 1 and read.warnings[0].startswith(f"{named} is left out: ") and reason in read.warnings[0]
    assert read.warnings[0].isprintable()
    with pytest.raises(_pods.PodsError, match="none of 1 pods can be used: "):
        _pods.read([bad])


def test_a_pod_without_container_ids_counts_and_is_named_if_it_runs() -> None:
    started = pod(container("a", "1Gi"), status={"containerStatuses": [{"name": "a", "containerID": ""}]})
    read = _pods.read([started])
    assert read.workloads[0]["containers"] == [{"name": "a", "request": GI}]
    assert read.warnings == ["pod shop/web runs, and its status names no container: only the pod's own values are known"]
    assert _pods.read([pod(container("a"), status={"phase": "Pending", "containerStatuses": None})]).warnings == []


def test_an_id_that_is_no_name_is_none() -> None:
    read = _pods.read([pod(container("a"), status={"containerStatuses": [{"name": "a", "containerID": "containerd://../../x"}]})])
    assert "id" not in read.workloads[0]["containers"][0]


def test_two_pods_with_one_uid_are_both_left_out_and_one_twice_counts_once() -> None:
    read = _pods.read([pod(container(), name="a"), pod(container(), name="b"), pod(container(), name="c", uid=OTHER)])
    assert [found["name"] for found in read.workloads] == ["c"]
    assert read.warnings == [f"pod shop/{name} is left out: another pod has its UID {UID}" for name in "ab"]
    assert len(_pods.read([pod(container())] * 2).workloads) == 1


def test_of_two_pods_with_one_uid_the_living_one_counts() -> None:
    ended = [pod(container(), name=f"ended-{number}", status={"phase": phase}) for number, phase in enumerate(("Succeeded", "Failed"))]
    read = _pods.read([ended[0], pod(container(), name="alive"), ended[1]])
    assert [found["name"] for found in read.workloads] == ["alive"]
    assert read.warnings == [f"pod shop/ended-{number} is left out: another pod has its UID {UID}" for number in range(2)]
    assert _pods.read([*ended, pod(container(), uid=OTHER)]).workloads == [workload(pod(container(), uid=OTHER))]


def test_an_unknown_class_is_taken_as_none_and_said() -> None:
    read = _pods.read([pod(container(), label="ls")])
    assert "koordinator_class" not in read.workloads[0]
    assert read.warnings == ["pod shop/web: there is no class 'ls', one of LSE, LSR, LS, BE, SYSTEM: taken as without"]


def test_nodes_get_their_own() -> None:
    read = _pods.read([pod(container(), uid=f"{n:032x}", name=f"p{n}", spec={"nodeName": node}) for n, node in enumerate(("n1", "n2", "n1", None))])
    assert {node: [found["name"] for found in mine] for node, mine in _pods.by_node(read.workloads).items()} == {"n1": ["p0", "p2"], "n2": ["p1"]}


def test_a_thousand_warnings_are_not_said() -> None:
    read = _pods.read([pod(container("a", "-1"), name=f"p{n}") for n in range(1000)] + [pod(container())])
    assert len(read.warnings) == 51 and read.warnings[-1] == "and 950 more"


def test_what_is_left_out_is_said_first() -> None:
    read = _pods.read([pod(container(), name=f"p{n}", uid=f"{n:032x}", label="ls") for n in range(60)] + [5])
    assert len(read.warnings) == 51 and read.warnings[0] == "item 60 is left out: it is not a pod"


@pytest.mark.parametrize(
    ("containers", "spec", "above"),
    [
        ([container("a", "1Gi", "1Gi"), container("b", "4Gi")], {}, None),  # b has no limit, and so the pod has none
        ([container("a", "1Gi", "1Gi")], {"initContainers": [container("i", "2Gi")]}, None),
        ([container("a", "1Gi", "1Gi"), container("b", "1Gi", "2Gi")], {}, None),
        ([container("a"), container("b")], {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}, (2, 1)),
        ([container("a", "1Gi"), container("b", "1Gi")], {"resources": {"limits": {"memory": "1Gi"}}}, (2, 1)),
        ([container("a", "1Gi", "1Gi")], {"resources": {"requests": {"memory": "2Gi"}}}, (2, 1)),
    ],
)
def test_a_pod_that_requests_more_than_its_limit(containers: list[t.Any], spec: dict[str, t.Any], above: tuple[int, int] | None) -> None:
    said = [f"pod shop/web: it requests {above[0] * GI} bytes, more than its limit of {above[1] * GI}"] if above else []
    assert _pods.read([pod(*containers, spec=spec)]).warnings == said


def test_100000_pods_in_linear_time() -> None:
    one = pod(container("a", "1Gi", "2Gi"), container("b", "100Mi"), label="LS", annotation='{"policy": "auto"}')
    pods = [{**one, "metadata": {**one["metadata"], "uid": f"{n:032x}", "name": f"p{n}"}} for n in range(100_000)]

    def spent(count: int) -> float:
        begun = time.process_time()
        assert len(_pods.read(pods[:count]).workloads) == count
        return time.process_time() - begun

    spent(1000)
    # Twenty times as many may take forty times as long, not four hundred.
    assert spent(100_000) < 40 * max(spent(5000), spent(5000))


KEYS = """metadata spec status containers initContainers resources requests limits memory cpu name uid kind annotations labels containerStatuses
          koordinator.sh/memoryQOS containerID overhead items""".split()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=25,
)


@given(st.lists(JSON, max_size=4), JSON, st.sampled_from(["metadata", "spec", "status"]))
def test_no_json_raises_but_ours(pods: list[t.Any], part: t.Any, key: str) -> None:
    read = _pods.read([*pods, {**pod(container()), key: part}, pod(container(), uid=OTHER, name="good")])
    assert "good" in [found["name"] for found in read.workloads]
    json.dumps(read.workloads)
