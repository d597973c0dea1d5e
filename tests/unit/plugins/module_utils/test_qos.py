# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values as koordlet and the kubelet compute them: the cases of their own tables, said anew, and what holds of all."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _qos
from ansible_collections.memqos.fleet.plugins.plugin_utils import _pods
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_pods import GI, MI, UID, batch, container, pod

NODE = {"allocatable": GI, "capacity": 2 * GI, "page_size": 4096, "cgroup_driver": "systemd", "runtime": "containerd"}
ESCAPED = UID.replace("-", "_")
ROOT = "kubepods.slice"
BURSTABLE, BESTEFFORT = f"{ROOT}/kubepods-burstable.slice", f"{ROOT}/kubepods-besteffort.slice"
POD = f"{BURSTABLE}/kubepods-burstable-pod{ESCAPED}.slice"
BE_POD = f"{BESTEFFORT}/kubepods-besteffort-pod{ESCAPED}.slice"
G_POD = f"{ROOT}/kubepods-pod{ESCAPED}.slice"


def leaf(name: str = "main") -> str:
    return f"cri-containerd-id-{name}.scope"


def files(**values: t.Any) -> dict[str, str]:
    """C(wmark_ratio=95) → {memory.wmark_ratio: "95"}; o__p is o.p."""
    return {f"memory.{name.replace('__', '.')}": str(value) for name, value in values.items()}


def koordinator(*pods: dict[str, t.Any], strategy: dict[str, t.Any] | None = None, v2: bool = True, **node: t.Any) -> _qos.Qos:
    return _qos.koordinator(_pods.read(list(pods)).workloads, {**NODE, **node}, strategy or {}, v2=v2)


def kubelet(*pods: dict[str, t.Any], config: dict[str, t.Any] | None = None, v2: bool = True, **node: t.Any) -> _qos.Qos:
    return _qos.kubelet(_pods.read(list(pods)).workloads, {**NODE, **node}, config or {}, v2=v2)


OFF_RANKS = {"memory.priority": "0", "memory.use_priority_oom": "0", "memory.oom.group": "0"}
UNTOUCHED: dict[str, t.Any] = {"lsrClass": {}, "lsClass": {}, "beClass": {}}


def of_class(name: str, **fields: t.Any) -> dict[str, t.Any]:
    return {**UNTOUCHED, name: {"memoryQOS": {"enable": True, **fields}}}


ALL_OFF = dict.fromkeys("minLimitPercent lowLimitPercent throttlingPercent priority priorityEnable oomKillGroup".split(), 0)
WMARKS = {"wmarkRatio": 95, "wmarkScalePermill": 20, "wmarkMinAdj": 0}
SLEEPY_LS = pod(container("test"), container("main", "1Gi", "1Gi"), label="LS")


# Koordinator: pkg/koordlet/qosmanager/plugins/cgreconcile.


def test_a_pod_by_the_class_of_its_node() -> None:
    config = {"memoryQOS": {"enable": True, **ALL_OFF, **WMARKS}}
    found = koordinator(SLEEPY_LS, strategy=dict.fromkeys(("lsrClass", "lsClass", "beClass"), config)).files
    marks = files(min=0, low=0, wmark_ratio=95, wmark_scale_factor=20, wmark_min_adj=0)
    assert found == {
        ROOT: {**files(min=0, low=0), **OFF_RANKS},
        BURSTABLE: {**files(min=0, low=0), **OFF_RANKS},
        BESTEFFORT: OFF_RANKS,
        POD: {**marks, **OFF_RANKS},
        f"{POD}/{leaf('test')}": {**marks, "memory.high": "max", **OFF_RANKS},
        f"{POD}/{leaf()}": {**marks, "memory.high": "max", **OFF_RANKS},
    }


def be_pod(annotation: str) -> dict[str, t.Any]:
    return pod(container("test"), batch("main", "1Gi"), qos="BestEffort", label="BE", annotation=annotation)


BE_MARKS = {**files(wmark_ratio=95, wmark_scale_factor=20, wmark_min_adj=50), **OFF_RANKS}


@pytest.mark.parametrize(
    ("minimum", "throttling", "first_high", "second_high"),
    [
        (100, 80, GI * 80 // 100 // 4096 * 4096, GI),  # without a limit: of what the node can give to pods
        (50, 40, GI * 40 // 100 // 4096 * 4096, GI),
        (0, 0, "max", "max"),
    ],
)
def test_batch_memory_under_its_annotation(minimum: int, throttling: int, first_high: t.Any, second_high: t.Any) -> None:
    annotation = f'{{"policy": "auto", "minLimitPercent": {minimum}, "lowLimitPercent": 0, "throttlingPercent": {throttling}}}'
    kept = GI * minimum // 100
    assert koordinator(be_pod(annotation), strategy=UNTOUCHED).files == {
        ROOT: files(min=kept, low=0),
        BESTEFFORT: files(min=kept, low=0),
        BE_POD: {**files(min=kept, low=0), **BE_MARKS},
        f"{BE_POD}/{leaf('test')}": {**files(min=0, low=0, high=first_high), **BE_MARKS},
        f"{BE_POD}/{leaf()}": {**files(min=kept, low=0, high=second_high), **BE_MARKS},
    }


def test_several_pods_and_a_class_that_is_off() -> None:
    other = {**SLEEPY_LS, "metadata": {**SLEEPY_LS["metadata"], "uid": "ls"}}
    found = koordinator(
        other, be_pod('{"policy": "auto", "minLimitPercent": 100}'), strategy={**UNTOUCHED, "lsClass": {"memoryQOS": {"enable": False, "wmarkRatio": 95}}}
    ).files
    assert found[ROOT] == files(min=GI, low=0)
    assert found[BURSTABLE] == {**files(min=0, low=0), **OFF_RANKS}
    assert found[BESTEFFORT] == files(min=GI, low=0)
    off = {**files(min=0, low=0, wmark_ratio=0, wmark_scale_factor=50, wmark_min_adj=0), **OFF_RANKS}
    assert found[f"{BURSTABLE}/kubepods-burstable-podls.slice"] == off
    assert found[f"{BURSTABLE}/kubepods-burstable-podls.slice/{leaf()}"] == {**off, "memory.high": "max"}


def test_system_pods_have_their_own_class_whatever_its_switch_says() -> None:
    found = koordinator(pod(container("main", "1Gi", "1Gi"), label="SYSTEM")).files
    assert found[POD] == {**files(min=0, low=0, wmark_ratio=0, wmark_scale_factor=50, wmark_min_adj=0), **OFF_RANKS}
    strategy = {"systemClass": {"memoryQOS": {"enable": False, "lowLimitPercent": 50}}}
    assert koordinator(pod(container("main", "1Gi"), label="SYSTEM"), strategy=strategy).files[POD]["memory.low"] == str(GI // 2)


# Label, Kubernetes' class, strategy, annotation → wmark_ratio, wmark_min_adj, memory.high (90: by 90 %) of a container of 1Gi without limit, and who said
# wmark_ratio.
POLICIES: list[tuple[str | None, str, dict[str, t.Any], str | None, tuple[t.Any, ...]]] = [
    # What is missing is the default, which is off.
    ("BE", "BestEffort", {}, None, (0, 0, "max", "strategy: beClass is off")),
    (None, "Guaranteed", {}, None, (0, 0, "max", "strategy: lsrClass is off")),
    # A class that is on, with what it does not say from the default of the class.
    ("LS", "Burstable", {"lsClass": {"memoryQOS": {"enable": True}}}, None, (95, -25, "max", "default of LS")),
    ("LSE", "Guaranteed", {"lsrClass": {"memoryQOS": {"enable": True, "wmarkRatio": 80}}}, None, (80, -25, "max", "strategy: lsrClass")),
    (None, "BestEffort", {"beClass": {"memoryQOS": {"enable": True}}}, None, (95, 50, "max", "default of BE")),
    # A class without memoryQOS.
    ("LS", "Burstable", UNTOUCHED, None, (None, None, None, None)),
    # Policies.
    ("BE", "BestEffort", {}, '{"policy": "auto"}', (95, 50, "max", "annotation: policy auto")),
    ("LSR", "Guaranteed", UNTOUCHED, '{"policy": "auto"}', (95, -25, "max", "annotation: policy auto")),
    (None, "BestEffort", UNTOUCHED, '{"policy": "auto", "wmarkRatio": 90}', (90, 50, "max", "annotation")),
    ("LS", "Burstable", of_class("lsClass"), '{"policy": "none", "wmarkRatio": 90}', (0, 0, "max", "annotation: policy none")),
    ("LS", "Burstable", of_class("lsClass"), '{"policy": "default"}', (95, -25, "max", "default of LS")),
    ("LS", "Burstable", of_class("lsClass"), '{"policy": "other", "wmarkRatio": 90}', (90, -25, "max", "annotation")),
    ("LS", "Burstable", of_class("lsClass"), '{"wmarkRatio": 90}', (90, -25, "max", "annotation")),
    ("LS", "Burstable", UNTOUCHED, '{"wmarkRatio": 90}', (90, None, None, "annotation")),
    # Malformed: as if it were not there.
    ("LS", "Burstable", of_class("lsClass"), '{"policy": "none"', (95, -25, "max", "default of LS")),
    ("LS", "Burstable", of_class("lsClass", throttlingPercent=90), None, (95, -25, 90, "default of LS")),
]


@pytest.mark.parametrize(("label", "kubernetes", "strategy", "annotation", "wanted"), POLICIES)
def test_annotation_over_policy_over_node(
    label: str | None, kubernetes: str, strategy: dict[str, t.Any], annotation: str | None, wanted: tuple[t.Any, ...]
) -> None:
    qos = koordinator(pod(container("main", "1Gi"), qos=kubernetes, label=label, annotation=annotation), strategy=strategy, allocatable=4 * GI)
    (place,) = [path for path in qos.files if path.endswith(".scope")] or [""]
    found, origins = qos.files.get(place, {}), qos.origins.get(place, {})
    high = (GI + 3 * GI * 90 // 100) // 4096 * 4096 if wanted[2] == 90 else wanted[2]
    values = (found.get("memory.wmark_ratio"), found.get("memory.wmark_min_adj"), found.get("memory.high"))
    assert values == tuple(None if value is None else str(value) for value in (*wanted[:2], high))
    assert origins.get("memory.wmark_ratio") == wanted[3]


# request, limit, node, minLimitPercent, lowLimitPercent, throttlingPercent → memory.min, memory.low, memory.high of a container. Pages of 1 byte, then of 4096.
CONTAINERS: list[tuple[int, int | None, int, int | None, int | None, int | None, int, tuple[t.Any, t.Any, t.Any]]] = [
    (0, 1000, 5000, 0, 0, 90, 1, (0, 0, 900)),
    (500, 1000, 5000, 0, 0, 90, 1, (0, 0, 950)),
    (1000, 1000, 5000, 0, 0, 90, 1, (0, 0, 1000)),
    (500, None, 5000, 0, 0, 90, 1, (0, 0, 4550)),
    (500, 0, 5000, 0, 0, 90, 1, (0, 0, 4550)),
    (333, 1000, 5000, 33, 66, 50, 1, (109, 219, 666)),
    (500, 1000, 5000, 100, 50, None, 1, (500, 500, None)),  # memory.low is raised to memory.min
    (500, 1000, 5000, 100, 0, None, 1, (500, 0, None)),  # unless it is 0
    (500, 1000, 5000, 200, None, 10, 1, (None, None, 550)),  # out of range: as if it were not there
    (500, 1000, 5000, None, None, None, 1, (None, None, None)),
    (5000, 10000, 50000, 100, 100, 50, 4096, (5000, 5000, 5000)),  # rounded down to a page memory.high is below memory.min, and is raised
    (5000, 14000, 50000, 0, 0, 50, 4096, (0, 0, 8192)),
    (100, 200, 5000, 0, 0, 50, 4096, (0, 0, 0)),
]


@pytest.mark.parametrize(("request_", "limit", "allocatable", "minimum", "low", "throttling", "page", "wanted"), CONTAINERS)
def test_a_container(
    request_: int, limit: int | None, allocatable: int, minimum: int | None, low: int | None, throttling: int | None, page: int, wanted: tuple[t.Any, ...]
) -> None:
    fields = {"minLimitPercent": minimum, "lowLimitPercent": low, "throttlingPercent": throttling}
    annotation = str({name: value for name, value in fields.items() if value is not None}).replace("'", '"')
    made = pod(container("main", str(request_), None if limit is None else str(limit)), annotation=annotation)
    found = koordinator(made, strategy=UNTOUCHED, allocatable=allocatable, page_size=page).files.get(f"{POD}/{leaf()}", {})
    assert tuple(found.get(f"memory.{name}") for name in ("min", "low", "high")) == tuple(None if value is None else str(value) for value in wanted)


def test_directories_are_sums_over_pods_and_their_low_is_not_raised() -> None:
    made = [
        pod(container("main", f"{mib}Mi"), uid=f"u{mib}", name=f"p{mib}", qos=qos)
        for mib, qos in ((100, "Guaranteed"), (30, "Burstable"), (7, "Burstable"), (3, "BestEffort"))
    ]
    classes = {
        name: {"memoryQOS": {"enable": True, "minLimitPercent": 50, "lowLimitPercent": low}}
        for name, low in (("lsrClass", 10), ("lsClass", 20), ("beClass", 0))
    }
    found = koordinator(*made, strategy=classes).files
    directories = {place: (int(found[place]["memory.min"]), int(found[place]["memory.low"])) for place in (ROOT, BURSTABLE, BESTEFFORT)}
    low = 100 * MI // 10 + 30 * MI // 5 + 7 * MI // 5
    assert directories == {ROOT: (70 * MI, low), BURSTABLE: (15 * MI + 7 * MI // 2, 30 * MI // 5 + 7 * MI // 5), BESTEFFORT: (3 * MI // 2, 0)}
    assert int(found[f"{ROOT}/kubepods-podu100.slice"]["memory.low"]) == 50 * MI


def test_ranks_of_the_directories_are_those_of_the_node_s_classes() -> None:
    strategy = {
        "lsrClass": {"memoryQOS": {"enable": True, "priority": 12, "priorityEnable": 1}},
        "lsClass": {"memoryQOS": {"enable": True, "priority": 6, "priorityEnable": 1}},
        "beClass": {"memoryQOS": {"enable": True, "priority": 0, "priorityEnable": 1, "oomKillGroup": 1}},
    }
    found = koordinator(strategy=strategy).files
    assert found == {
        ROOT: files(priority=12, use_priority_oom=1, oom__group=0),
        BURSTABLE: files(priority=6, use_priority_oom=1, oom__group=0),
        BESTEFFORT: files(priority=0, use_priority_oom=1, oom__group=1),
    }


def test_what_the_kernel_refuses_is_left_alone_and_said() -> None:
    qos = koordinator(
        pod(container("main", "1Gi")), strategy=of_class("lsClass", wmarkRatio=101, wmarkMinAdj=-51, wmarkScalePermill=0, minLimitPercent=-1, priority=13)
    )
    assert qos.files[POD] == files(low=0, use_priority_oom=0, oom__group=0)
    assert [warning for warning in qos.warnings if warning.startswith(f"{POD}:")] == [
        f"{POD}: memory.min is left alone: {-(GI // 100)} (strategy: lsClass) is not in 0..",
        f"{POD}: memory.wmark_ratio is left alone: 101 (strategy: lsClass) is not in 0..100",
        f"{POD}: memory.wmark_scale_factor is left alone: 0 (strategy: lsClass) is not in 1..1000",
        f"{POD}: memory.wmark_min_adj is left alone: -51 (strategy: lsClass) is not in -25..50",
        f"{POD}: memory.priority is left alone: 13 (strategy: lsClass) is not in 0..12",
    ]


# Fields of the annotation → .enable, .size, .sync of a pod of 1 GiB.
PAGE_CACHE: list[tuple[dict[str, t.Any], tuple[t.Any, t.Any, t.Any]]] = [
    ({}, (None, None, None)),
    ({"pageCacheLimitSize": 512 * MI}, (1, 512 * MI, 0)),
    ({"pageCacheLimitSize": 2 * GI}, (1, GI, 0)),
    ({"pageCacheLimitSize": 0}, (0, 0, None)),
    ({"pageCacheLimitSize": -5}, (0, 0, None)),
    ({"pageCacheLimitSize": 512 * MI, "pageCacheEnable": False}, (0, 512 * MI, 0)),
    ({"pageCacheEnable": True}, (1, None, None)),
    ({"pageCacheLimitSize": 512 * MI, "pageCacheReclaimSync": True}, (1, 512 * MI, 1)),
    ({"pageCacheReclaimSync": True}, (None, None, None)),
    ({"pageCacheLimitPercent": 50}, (1, 512 * MI, 0)),
    ({"pageCacheLimitPercent": 0}, (0, 0, None)),
    ({"pageCacheLimitPercent": 50, "pageCacheLimitSize": 256 * MI}, (1, 256 * MI, 0)),
]


@pytest.mark.parametrize(("fields", "wanted"), PAGE_CACHE)
@pytest.mark.parametrize("label", ["LS", "BE"])
def test_page_cache_of_a_pod(fields: dict[str, t.Any], wanted: tuple[t.Any, ...], label: str) -> None:
    annotation = str(fields).replace("'", '"').replace("True", "true").replace("False", "false")
    made = pod(batch("main", "1Gi") if label == "BE" else container("main", "1Gi", "1Gi"), label=label, annotation=annotation)
    found = koordinator(made, strategy=UNTOUCHED).files.get(POD, {})
    assert tuple(found.get(f"memory.pagecache_limit.{name}") for name in ("enable", "size", "sync")) == tuple(
        None if value is None else str(value) for value in wanted
    )
    assert koordinator(made, strategy=UNTOUCHED, v2=False).files == {}


def test_a_share_of_no_limit_is_no_page_cache_limit() -> None:
    for made in (container("main", "1Gi"), batch("x", "1Gi")):
        label = "BE" if made["name"] == "x" else "LS"
        pods = pod(made, container("unbound"), label=label, annotation='{"pageCacheLimitPercent": 50}')
        assert (POD in koordinator(pods, strategy=UNTOUCHED).files) is False
    sized = pod(container("main", "1Gi"), annotation='{"pageCacheLimitSize": 4096}')
    assert koordinator(sized, strategy=UNTOUCHED).files[POD]["memory.pagecache_limit.size"] == "4096"


def test_batch_memory_counts_by_the_label_alone() -> None:
    fields = '{"policy": "auto", "minLimitPercent": 100}'
    unlabelled = koordinator(pod(batch("main", "1Gi"), qos="BestEffort", annotation=fields), strategy=UNTOUCHED).files
    assert unlabelled[BE_POD]["memory.min"] == unlabelled[f"{BE_POD}/{leaf()}"]["memory.min"] == "0"
    assert unlabelled[BE_POD]["memory.wmark_min_adj"] == "50"  # the class is BE's all the same


def test_what_is_over_or_not_begun() -> None:
    ended = pod(container("main", "1Gi"), status={"phase": "Succeeded"})
    assert koordinator(ended, strategy=of_class("lsClass", minLimitPercent=100)).files == {BURSTABLE: OFF_RANKS}
    waiting = pod(container("main", "1Gi"), status={"phase": "Pending", "containerStatuses": []})
    found = koordinator(waiting, strategy=of_class("lsClass", minLimitPercent=100)).files
    assert found[POD]["memory.min"] == found[BURSTABLE]["memory.min"] == str(GI) and len(found) == 3


def test_a_sidecar_counts_for_its_pod_and_koordlet_leaves_it_alone() -> None:
    made = pod(container("main", "1Gi"), spec={"initContainers": [container("mesh", "512Mi", restartPolicy="Always")]})
    found = koordinator(made, strategy=of_class("lsClass", minLimitPercent=100)).files
    assert found[POD]["memory.min"] == str(3 * GI // 2)
    assert [path for path in found if path.startswith(f"{POD}/")] == [f"{POD}/{leaf()}"]


BELOW = "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice"
# Kubernetes' class, driver, runtime, root → pod, container.
PATHS: list[tuple[str, str, str, str, str, str]] = [
    ("Guaranteed", "systemd", "containerd", "", G_POD, "cri-containerd-id-main.scope"),
    ("Burstable", "systemd", "cri-o", "", POD, "crio-id-main.scope"),
    ("BestEffort", "systemd", "docker", "", BE_POD, "docker-id-main.scope"),
    ("Burstable", "systemd", "pouch", "", POD, "pouch-id-main.scope"),
    ("Guaranteed", "cgroupfs", "containerd", "", f"kubepods/pod{UID}", "id-main"),
    ("Burstable", "cgroupfs", "cri-o", "", f"kubepods/burstable/pod{UID}", "crio-id-main"),
    ("BestEffort", "cgroupfs", "docker", "", f"kubepods/besteffort/pod{UID}", "id-main"),
    ("Burstable", "systemd", "containerd", "/kubelet", f"{BELOW}/kubelet-kubepods-burstable-pod{ESCAPED}.slice", "cri-containerd-id-main.scope"),
    ("Burstable", "cgroupfs", "containerd", "/kubelet", f"kubelet/kubepods/burstable/pod{UID}", "id-main"),
]  # fmt: skip


@pytest.mark.parametrize(("qos_class", "driver", "runtime", "root", "pod_path", "name"), PATHS)
@pytest.mark.parametrize("said", [True, False])
def test_paths(qos_class: str, driver: str, runtime: str, root: str, pod_path: str, name: str, said: bool) -> None:
    made = pod(container(), qos=qos_class, runtime=runtime)
    if not said:
        made["status"]["containerStatuses"][0]["containerID"] = "id-main"
    paths = _qos.Paths({"cgroup_driver": driver, "cgroup_root": root, "runtime": "docker" if said else runtime})
    (workload,) = _pods.read([made]).workloads
    assert (paths.pod(workload), paths.container(workload, workload["containers"][0])) == (pod_path, f"{pod_path}/{name}")
    assert pod_path.startswith(paths.qos(qos_class) + "/")


def test_a_runtime_that_nobody_knows_has_no_path() -> None:
    found = koordinator(pod(container(), runtime="rkt"), strategy=of_class("lsClass")).files
    assert POD in found and not [path for path in found if path.startswith(f"{POD}/")]


# The kubelet: pkg/kubelet/cm, pkg/kubelet/kuberuntime, and the table of KEP-2570.

TIERED = {"memoryReservationPolicy": "TieredReservation"}
ZEROS = {ROOT: files(min=0, low=0), BURSTABLE: files(low=0)}


# request, limit, factor → memory.high; page 1 byte.
THROTTLED: list[tuple[str | None, str | None, float | None, int | None]] = [
    ("0", "1000", 0.9, 900),
    ("500", "1000", 0.9, 950),
    ("1000", "1000", 0.9, None),  # equal: none
    (None, "1000", 0.9, 900),
    ("500", None, 0.9, 500 + 4050),
    (None, None, 0.9, 4500),  # by what pods of the node can have
    ("0", "0", 0.5, 2500),
    ("500", "1000", 1, 1000),
    ("999", "1000", 0.5, None),  # rounds down to the request: none
    ("500", "1000", None, None),
    ("64", "256", 0.9, 236),
]


@pytest.mark.parametrize(("request_", "limit", "factor", "high"), THROTTLED)
def test_memory_high_of_a_container(request_: str | None, limit: str | None, factor: float | None, high: int | None) -> None:
    config = {} if factor is None else {"memoryThrottlingFactor": factor}
    found = kubelet(pod(container("main", request_, limit)), config=config, page_size=1, allocatable=5000).files
    assert found[f"{POD}/{leaf()}"].get("memory.high") == (None if high is None else str(high))
    assert POD not in found


@pytest.mark.parametrize(("requests", "limits"), [("64Mi", "512Mi"), ("256Mi", "512Mi"), ("480Mi", "512Mi"), ("128Mi", "256Mi"), ("256Mi", "1Gi")])
def test_memory_high_is_whole_pages(requests: str, limits: str) -> None:
    request, limit = (_pods.read([pod(container("main", requests, limits))]).workloads[0][key] for key in ("request", "limit"))
    found = kubelet(pod(container("main", requests, limits)), config={"memoryThrottlingFactor": 0.9}).files
    assert found[f"{POD}/{leaf()}"]["memory.high"] == str((request * 10 + (limit - request) * 9) // 10 // 4096 * 4096)


def kinds() -> list[dict[str, t.Any]]:
    """A Guaranteed pod of 128 MiB, two Burstable ones of 128 and 256 MiB, a BestEffort one."""
    return [
        pod(container("main", "128Mi", "128Mi"), uid="g", name="g", qos="Guaranteed"),
        pod(container("main", "128Mi", "256Mi"), uid="b1", name="b1"),
        pod(container("main", "256Mi"), uid="b2", name="b2"),
        pod(container("main"), uid="e", name="e", qos="BestEffort"),
    ]


def test_reservation_by_tiers() -> None:
    none = files(min=0, low=0)
    assert kubelet(*kinds(), config=TIERED).files == {
        ROOT: files(min=512 * MI, low=384 * MI),
        BURSTABLE: files(low=384 * MI),
        f"{ROOT}/kubepods-podg.slice": files(min=128 * MI),
        f"{ROOT}/kubepods-podg.slice/{leaf()}": files(min=128 * MI),
        f"{BURSTABLE}/kubepods-burstable-podb1.slice": files(low=128 * MI),
        f"{BURSTABLE}/kubepods-burstable-podb1.slice/{leaf()}": files(low=128 * MI),
        f"{BURSTABLE}/kubepods-burstable-podb2.slice": files(low=256 * MI),
        f"{BURSTABLE}/kubepods-burstable-podb2.slice/{leaf()}": files(low=256 * MI),
        f"{BESTEFFORT}/kubepods-besteffort-pode.slice/{leaf()}": none,
    }


def test_without_a_policy_what_was_reserved_is_taken_back() -> None:
    for config in ({}, {"memoryReservationPolicy": "None"}):
        found = kubelet(*kinds(), config=config).files
        assert {path: found.pop(path) for path in (ROOT, BURSTABLE)} == ZEROS
        assert [path for path in found if not path.endswith(".scope")] == [] and set(map(str, found.values())) == {str(files(min=0, low=0))}
    assert kubelet(config=TIERED).files == ZEROS
    assert kubelet(*kinds(), config={**TIERED, "memoryThrottlingFactor": 0.9, "featureGates": {"MemoryQoS": False}}).files == ZEROS


def test_on_v1_there_is_none() -> None:
    qos = kubelet(*kinds(), config={**TIERED, "memoryThrottlingFactor": 0.9}, v2=False, swap=GI)
    assert (qos.files, qos.warnings) == ({}, ["a kubelet has no memory QoS on cgroup v1"])


def test_pod_level_resources() -> None:
    own = {"resources": {"requests": {"memory": "512Mi"}, "limits": {"memory": "1Gi"}}, "overhead": {"memory": "64Mi"}}
    found = kubelet(
        pod(container("main", "128Mi", "256Mi"), container("other"), spec=own), config={**TIERED, "memoryThrottlingFactor": 0.5}, allocatable=8 * GI
    ).files
    assert found[POD] == files(low=576 * MI, high=(576 + 1088) * MI // 2)
    assert found[f"{POD}/{leaf()}"] == files(low=128 * MI, high=192 * MI)
    assert found[f"{POD}/{leaf('other')}"] == files(min=0, low=0, high=512 * MI)  # the pod's limit, not the node
    cpu = {"resources": {"limits": {"cpu": "2"}}}
    assert kubelet(pod(container("main", "128Mi", "256Mi"), spec=cpu), config={"memoryThrottlingFactor": 0.5}).files.get(POD) is None


# Kubernetes' class, request, limit, behaviour, critical → memory.swap.max; 40 GiB of memory, 5 GiB of swap.
SWAP: list[tuple[str, str | None, str | None, str | None, bool, int]] = [
    ("Burstable", "1Gi", None, "LimitedSwap", False, 5 * GI // 40),
    ("Burstable", "2Gi", "4Gi", "LimitedSwap", False, 10 * GI // 40),
    ("Burstable", "2Gi", "2Gi", "LimitedSwap", False, 0),
    ("Burstable", None, None, "LimitedSwap", False, 0),
    ("Burstable", None, "2Gi", "LimitedSwap", False, 0),
    ("Burstable", "41Gi", None, "LimitedSwap", False, 0),
    ("Burstable", "1Gi", None, "LimitedSwap", True, 0),
    ("Burstable", "1Gi", None, "NoSwap", False, 0),
    ("Burstable", "1Gi", None, None, False, 0),
    ("BestEffort", None, None, "LimitedSwap", False, 0),
    ("Guaranteed", "1Gi", "1Gi", "LimitedSwap", False, 0),
    ("Burstable", "333333333", None, "LimitedSwap", False, 41666666),
]


@pytest.mark.parametrize(("qos_class", "request_", "limit", "behaviour", "critical", "swap"), SWAP)
def test_swap(qos_class: str, request_: str | None, limit: str | None, behaviour: str | None, critical: bool, swap: int) -> None:
    made = pod(container("main", request_, limit), qos=qos_class, spec={"priority": 2 * 10**9 if critical else 0})
    config = {"memorySwap": {"swapBehavior": behaviour}}
    node: dict[str, t.Any] = {"capacity": 40 * GI, "swap": 5 * GI}
    ((_path, found),) = ((path, values) for path, values in kubelet(made, config=config, **node).files.items() if path.endswith(".scope"))
    assert found["memory.swap.max"] == str(swap)
    off = kubelet(made, config={**config, "featureGates": {"NodeSwap": False}}, **node).files
    assert {values["memory.swap.max"] for path, values in off.items() if path.endswith(".scope")} == {"0"}


def test_where_nothing_is_known_of_swap_its_file_is_left_alone() -> None:
    assert "memory.swap.max" not in str(kubelet(*kinds()).files)
    assert "memory.swap.max" in str(kubelet(*kinds(), config={"memorySwap": {"swapBehavior": "NoSwap"}}).files)


# What holds of all.

SIZES = st.integers(0, 1 << 40)


@st.composite
def made_pods(draw: st.DrawFn) -> list[dict[str, t.Any]]:
    pods = []
    for number in range(draw(st.integers(1, 4))):
        parts = []
        for each in range(draw(st.integers(1, 3))):
            request = draw(st.none() | SIZES)
            limit = draw(st.none() | st.just(request) | st.integers(request or 0, 1 << 41))
            parts.append(container(f"c{each}", None if request is None else str(request), None if limit is None else str(limit)))
        inits = [container(f"i{each}", str(draw(SIZES)), restartPolicy=draw(st.sampled_from(["Always", None]))) for each in range(draw(st.integers(0, 2)))]
        qos = draw(st.sampled_from(_qos.QOS_CLASSES))
        pods.append(pod(*parts, uid=f"u{number}", name=f"p{number}", qos=qos, label=draw(st.sampled_from(["LSE", "LSR", "LS", "BE", "SYSTEM", None])),
                        spec={"initContainers": inits, "overhead": {"memory": str(draw(st.sampled_from([0, 12345])))}}))  # fmt: skip
    return pods


def children(found: dict[str, dict[str, str]], file: str) -> dict[str, int]:
    """Σ over those directly below."""
    sums: dict[str, int] = {}
    for path, values in found.items():
        above = path.rpartition("/")[0]
        sums[above] = sums.get(above, 0) + int(values.get(file, 0))
    return sums


@given(made_pods(), st.sampled_from([1, 4096, 65536]), st.floats(0.01, 1))
def test_the_kubelet_gives_parents_what_their_children_claim(pods: list[dict[str, t.Any]], page: int, factor: float) -> None:
    found = kubelet(*pods, config={**TIERED, "memoryThrottlingFactor": factor}, page_size=page, allocatable=64 * GI).files
    for file in ("memory.min", "memory.low"):
        for above, total in children(found, file).items():
            if above:
                # kubepods keeps its pods by memory.min, Burstable ones too.
                claimed = total if file == "memory.low" else total + int(found.get(BURSTABLE, {}).get("memory.low", 0)) * (above == ROOT)
                assert int(found.get(above, {}).get(file, 0)) >= claimed, (above, file)
    for values in found.values():
        high = int(values.get("memory.high", 0))
        assert high % page == 0 and ("memory.high" not in values or high > max(int(values.get("memory.min", 0)), int(values.get("memory.low", 0))))


PERCENT = st.none() | st.integers(0, 100)


@given(made_pods(), PERCENT, PERCENT, PERCENT, st.sampled_from([1, 4096]))
def test_koordlet_keeps_the_order_of_a_container(pods: list[dict[str, t.Any]], minimum: int | None, low: int | None, throttling: int | None, page: int) -> None:
    fields = {name: value for name, value in (("minLimitPercent", minimum), ("lowLimitPercent", low), ("throttlingPercent", throttling)) if value is not None}
    strategy = {name: {"memoryQOS": {"enable": True, **fields}} for name in ("lsrClass", "lsClass", "beClass", "systemClass")}
    found = koordinator(*pods, strategy=strategy, page_size=page, allocatable=1 << 50).files
    for path, values in found.items():
        least, kept, high = int(values.get("memory.min", 0)), int(values.get("memory.low", 0)), values.get("memory.high")
        if path.endswith(".scope"):
            assert kept == 0 or kept >= least
            assert high is not None and (high == "max" or int(high) == 0 or int(high) >= least)
        for value in values.values():
            assert value == "max" or str(int(value)) == value


@given(made_pods(), st.integers(0, 100))
def test_directories_cover_their_pods(pods: list[dict[str, t.Any]], percent: int) -> None:
    strategy = {name: {"memoryQOS": {"enable": True, "minLimitPercent": percent}} for name in ("lsrClass", "lsClass", "beClass", "systemClass")}
    found = koordinator(*pods, strategy=strategy, allocatable=1 << 50).files
    below = children({path: values for path, values in found.items() if not path.endswith(".scope")}, "memory.min")
    # Guaranteed pods stand beside the two directories.
    assert {path: total for path, total in below.items() if path} == {path: int(found[path].get("memory.min", 0)) for path in below if path}
    assert list(found)[:3] == [ROOT, BURSTABLE, BESTEFFORT]
