# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who counts for more, and what is made of sources that disagree."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _resources, _workloads

ID, OTHER = "0123456789abcdef" * 4, "a" * 64
UID, MIRROR = "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9", "99999999-5f60-4718-8293-a4b5c6d7e8f9"
STATIC = "c5d0a3bfe9ae57c4f9e24b1a3c07d3f4"
GIB = 1 << 30
CAPACITY = 64 * GIB
PATH = f"/kubepods/burstable/pod{UID}/{ID}"
Cgroups = t.List[t.Any]


def cgroups(*paths: str, limit: int | None = 4 * GIB, **more: t.Any) -> Cgroups:
    """Identified by their paths, as the walk gives them."""
    found: Cgroups = [{"path": path, "limit": limit, **more} for path in paths]
    _workloads.identify(found, _workloads.PodNames({ID: {"container": "nginx"}}, {UID: ("shop", "web-0")}))
    return found


def pod(**more: t.Any) -> t.Any:
    container = {"name": "nginx", "id": f"containerd://{ID}", "request": GIB, "limit": 4 * GIB}
    return {"uid": UID, "namespace": "shop", "name": "web-0", "qos_class": "Burstable", "containers": [container], **more}


def told(**more: t.Any) -> t.Any:
    return {ID: {"container_id": ID, "source": "CRI", **more}}


def one(found: Cgroups, **more: t.Any) -> t.Any:
    joined = _resources.join(found, capacity=CAPACITY, **{"told": {}, **more})
    assert len(joined.workloads) == 1 and joined.notes == []
    return joined.workloads[0]


def test_what_the_node_alone_knows() -> None:
    assert one(cgroups(PATH, request=5 * GIB, request_source=_workloads.ESTIMATED, limit=8 * GIB)) == {
        "path": PATH, "kind": "container", "name": "shop/web-0/nginx", "container_id": ID, "container": "nginx", "pod_uid": UID, "namespace": "shop",
        "pod": "web-0", "qos_class": "Burstable", "request": 5 * GIB, "limit": 8 * GIB, "granularity": CAPACITY // 1000, "warnings": [],
        "sources": {"qos_class": "cgroup path", "request": "oom_score_adj (±0.1 % of memory)", "limit": "cgroup"},
    }  # fmt: skip


def test_each_source_counts_for_more_than_the_one_before() -> None:
    found = cgroups(PATH, request=3 * GIB, request_source=_workloads.ESTIMATED)
    assert one(found, told=told(request=7))["sources"]["request"] == _workloads.ESTIMATED
    listed = one(found, told=told(request=7), pods=[pod()])
    assert (listed["request"], listed["sources"]["request"], "granularity" in listed) == (GIB, "pod list", False)
    declared = one(found, told=told(request=7), pods=[pod()], declared=[{"match": "shop/*", "request": 5, "limit": None}])
    assert (declared["request"], declared["limit"]) == (5, None)
    assert declared["sources"] == {"qos_class": "pod list", "request": "inventory", "limit": "inventory"}


def test_a_runtime_completes_what_the_node_does_not_know() -> None:
    found = one(cgroups(f"/machine.slice/libpod-{ID}.scope"), told={ID: {"container_id": ID, "source": "Podman", "request": 512, "limit": 99}})
    assert (found["request"], found["limit"]) == (512, 4 * GIB)
    assert found["sources"] == {"request": "Podman", "limit": "cgroup"}


def test_the_last_declaration_that_matches_counts_for_each_value() -> None:
    declared = [{"match": "*", "qos_class": "BE", "request": 1}, {"match": "shop/web-?/nginx", "request": 2}, {"match": "other/*", "request": 3}]
    found = one(cgroups(PATH), declared=declared)
    assert (found["koordinator_class"], found["request"], found["qos_class"]) == ("BE", 2, "Burstable")


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        ("shop/web-0/nginx", True), ("shop/web-*/*", True), ("*/nginx", True), ("nginx", False), ("shop", False), (PATH, True), ("/kubepods/burstable/*", True),
        ("kubepods/*", False), ("[", False),
    ],
)  # fmt: skip
def test_what_a_declaration_matches(match: str, matches: bool) -> None:
    assert ("request" in one(cgroups(PATH), declared=[{"match": match, "request": 5}])) == matches


def test_units_are_workloads_where_the_inventory_names_them() -> None:
    found = cgroups("/", "/system.slice", "/system.slice/redis.service", "/system.slice/cron.service", "/system.slice/boot.mount")
    assert _resources.join(found, capacity=CAPACITY, told={}).workloads == []
    declared = [{"match": "redis.service", "qos_class": "LSR", "request": GIB}]
    assert one(found, declared=t.cast("t.Any", declared)) == {
        "path": "/system.slice/redis.service", "kind": "service", "name": "redis.service", "koordinator_class": "LSR", "request": GIB, "limit": 4 * GIB,
        "sources": {"koordinator_class": "inventory", "request": "inventory", "limit": "cgroup"}, "warnings": [],
    }  # fmt: skip


def test_a_cgroup_without_a_unit_is_a_workload_where_its_whole_path_is_named() -> None:
    paths = "/", "/host-latency-sensitive", "/host-latency-sensitive/nginx", "/kubepods", "/kubepods/besteffort", "/kubepods/besteffort/yarn"
    declared: t.Any = [{"match": path, "qos_class": "LS"} for path in paths[2:]]
    found = _resources.join(cgroups(*paths), capacity=CAPACITY, told={}, declared=declared).workloads
    assert [one["path"] for one in found] == ["/host-latency-sensitive/nginx", "/kubepods/besteffort/yarn"]
    assert _resources.join(cgroups(*paths), capacity=CAPACITY, told={}, declared=[{"match": "/host*", "request": 5}]).workloads == []


@pytest.mark.parametrize(
    "entry, note",
    [
        ({"request": 5}, "inventory: a workload without match was left out"),
        ({"match": 7, "request": 5}, "inventory: a workload without match was left out"),
        ({"match": "*", "request": -1}, "inventory: request -1 of * is no size in bytes: it is ignored"),
        ({"match": "*", "request": None}, "inventory: request None of * is no size in bytes: it is ignored"),
        ({"match": "*", "limit": True}, "inventory: limit True of * is no size in bytes: it is ignored"),
        ({"match": "*", "limit": 1 << 63}, f"inventory: limit {1 << 63} of * is no size in bytes: it is ignored"),
        ({"match": "*", "qos_class": "best"}, "inventory: 'best' of * is no QoS class: it is ignored"),
    ],
)
def test_a_declaration_that_cannot_be_used(entry: t.Any, note: str) -> None:
    joined = _resources.join(cgroups(PATH), capacity=CAPACITY, told={}, declared=[entry])
    assert joined.notes == [note] and "request" not in joined.workloads[0] and "koordinator_class" not in joined.workloads[0]


# --- the pod list ---


@pytest.mark.parametrize(
    "listed",
    [
        pod(),
        pod(containers=[{"name": "x", "id": f"cri-o://{ID}", "request": GIB}]),
        pod(containers=[{"name": "x", "id": ID, "request": GIB}]),
        pod(containers=[{"name": "nginx", "id": f"containerd://{OTHER}", "request": GIB}]),  # started anew since
        pod(containers=[{"name": "nginx", "request": GIB}]),
        pod(uid=MIRROR),
        pod(uid=STATIC, containers=[{"name": "nginx", "request": GIB}]),  # by the pod's name, of a static pod and its mirror
        pod(name="other", namespace="other", containers=[{"name": "nginx", "request": GIB}]),  # by its UID
    ],
)
def test_ways_to_a_container_of_the_list(listed: t.Any) -> None:
    joined = _resources.join(cgroups(PATH), capacity=CAPACITY, told={}, pods=[listed])
    assert joined.workloads[0]["request"] == GIB and joined.gone == 0


def test_a_static_pod_has_another_uid_in_the_api() -> None:
    found = cgroups(f"/kubepods/burstable/pod{STATIC}/{ID}")
    joined = _resources.join(found, capacity=CAPACITY, told={}, pods=[pod(uid=MIRROR)])
    assert (joined.workloads[0]["request"], joined.workloads[0]["pod_uid"], joined.workloads[0]["name"]) == (GIB, STATIC, "shop/web-0/nginx")


@pytest.mark.parametrize(("here", "listed"), [(UID, MIRROR), (STATIC, STATIC[::-1])])
def test_a_pod_that_has_come_under_an_old_name_has_what_the_node_knows_of_it(here: str, listed: str) -> None:
    """A StatefulSet's pod after a restart, BestEffort now; a static pod whose file has changed."""
    found = cgroups(f"/kubepods/besteffort/pod{here}", f"/kubepods/besteffort/pod{here}/{ID}", limit=None)
    old = pod(uid=listed, koordinator_class="LS", containers=[{"name": "nginx", "id": f"containerd://{OTHER}", "request": GIB}])
    said = told(namespace="shop", pod="web-0", pod_uid=here, container="nginx")
    joined = _resources.join(found, capacity=CAPACITY, told=said, pods=[old])
    (workload,) = joined.workloads
    assert (workload["name"], workload["request"], workload["qos_class"]) == ("shop/web-0/nginx", 0, "BestEffort")
    assert "koordinator_class" not in workload and workload["warnings"] == []
    assert joined.gone == 1


def test_a_label_of_docker_makes_no_container_a_pods() -> None:
    found = cgroups(f"/docker/{ID}")
    assert "request" not in one(found, told=told(pod_uid=UID, container="nginx"), pods=[pod(containers=[{"name": "nginx", "request": GIB}])])


def test_pods_that_have_gone_are_counted() -> None:
    pods = [pod(), pod(uid="gone", name="gone", containers=[]), pod(uid=MIRROR, name="no-containers", containers=None)]
    pods.append(pod(uid="ended", name="ended", containers=[], inactive=True))
    found = cgroups(f"/kubepods/burstable/pod{UID}", PATH, f"/kubepods/pod{MIRROR}")
    joined = _resources.join(found, capacity=CAPACITY, told={}, pods=pods)
    assert (joined.gone, joined.notes) == (1, [])
    assert joined.pods == {UID: f"/kubepods/burstable/pod{UID}", MIRROR: f"/kubepods/pod{MIRROR}"}


def test_a_container_without_its_pod_in_the_list_keeps_what_the_node_knows() -> None:
    found = one(cgroups(PATH, request=3, request_source=_workloads.ESTIMATED), pods=[pod(uid="x", name="x", containers=[])])
    assert (found["request"], found["warnings"]) == (3, [])


def test_a_pod_of_the_list_without_this_container() -> None:
    found = one(cgroups(PATH), pods=[pod(containers=[{"name": "other", "request": GIB}])])
    assert "request" not in found and found["warnings"] == ["the pod list has its pod and not this container"]


@pytest.mark.parametrize(
    ("sizes", "request_and_limit", "warning"),
    [
        ({"request": None, "limit": None}, (0, 4 * GIB), None),
        ({}, (0, 4 * GIB), None),
        ({"request": GIB, "limit": 0}, (GIB, 4 * GIB), None),
        ({"request": 0}, (0, 4 * GIB), None),
        ({"request": GIB, "limit": 4 * GIB - 4095}, (GIB, 4 * GIB - 4095), None),  # the kernel keeps whole pages
        ({"request": GIB, "limit": 2 * GIB}, (GIB, 2 * GIB), f"pod list: limit {2 * GIB}, the cgroup has {4 * GIB}"),
        ({"request": "1Gi"}, (None, 4 * GIB), "pod list: request is no size in bytes: it is ignored"),
        ({"request": -5}, (None, 4 * GIB), "pod list: request is no size in bytes: it is ignored"),
        ({"request": 1.5}, (None, 4 * GIB), "pod list: request is no size in bytes: it is ignored"),
        ({"limit": True}, (0, 4 * GIB), "pod list: limit is no size in bytes: it is ignored"),
        ({"request": 5 * GIB}, (5 * GIB, 4 * GIB), f"request {5 * GIB} (pod list) is above its limit {4 * GIB} (cgroup)"),
    ],
)
def test_sizes_of_the_list(sizes: t.Any, request_and_limit: t.Any, warning: str | None) -> None:
    found = one(cgroups(PATH), pods=[pod(containers=[{"name": "nginx", "id": ID, **sizes}])])
    assert (found.get("request"), found["limit"]) == request_and_limit
    assert found["warnings"] == ([warning] if warning else [])


def test_a_request_above_the_nodes_memory() -> None:
    found = one(cgroups(PATH, limit=None), pods=[pod(containers=[{"name": "nginx", "id": ID, "request": CAPACITY + 1}])])
    assert found["warnings"] == [f"request {CAPACITY + 1} is above this node's memory {CAPACITY}"]


def test_the_class_of_the_path_counts() -> None:
    found = one(cgroups(PATH), pods=[pod(qos_class="Guaranteed")])
    assert (found["qos_class"], found["warnings"]) == ("Burstable", ["the pod list says Guaranteed, its cgroup is a Burstable pod's: the cgroup counts"])


def test_two_pods_with_one_uid() -> None:
    pods = [pod(), pod(name="copy", containers=[{"name": "nginx", "id": ID, "request": 7}]), {"name": "no uid"}, {"uid": ["x"]}]
    joined = _resources.join(cgroups(PATH), capacity=CAPACITY, told={}, pods=pods)
    assert joined.workloads[0]["request"] == GIB
    assert joined.notes == [f"pod list: two pods with the UID {UID}: the first counts", *["pod list: a pod without UID was left out"] * 2]


# --- classes of Koordinator ---


def test_marks_of_the_list_count_for_more_than_the_runtimes() -> None:
    said = told(labels={"koordinator.sh/qosClass": "LS"}, annotations={"koordinator.sh/memoryQOS": '{"policy": "auto"}'})
    found = one(cgroups(PATH), told=said)
    assert (found["koordinator_class"], found["memory_qos"], found["sources"]["memory_qos"]) == ("LS", {"policy": "auto"}, "CRI")
    found = one(cgroups(PATH), told=said, pods=[pod(koordinator_class="BE")])
    assert (found["koordinator_class"], found["memory_qos"], found["sources"]["koordinator_class"]) == ("BE", {"policy": "auto"}, "pod list")
    assert one(cgroups(PATH), told=said, pods=[pod(memory_qos={"policy": "none"})])["memory_qos"] == {"policy": "none"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "it is no JSON object"),
        ('"auto"', "it is no JSON object"),
        ('{"wmarkRatio": "95"}', "wmarkRatio is '95', a whole number is expected"),
        ('{"wmarkRatio": NaN}', "NaN is no JSON"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_an_annotation_that_is_malformed(text: str, reason: str) -> None:
    found = one(cgroups(PATH), told=told(annotations={"koordinator.sh/memoryQOS": text}))
    assert "memory_qos" not in found and found["warnings"] == [f"CRI: koordinator.sh/memoryQOS is ignored: {reason}"]
    assert one(cgroups(PATH), told=told(annotations={"koordinator.sh/memoryQOS": "null"}))["memory_qos"] == {}


def test_fields_of_an_annotation_are_read_as_the_controller_reads_them() -> None:
    text = '{"WMARKRATIO": 50, "minLimitPercent": 100000, "lowLimitPercent": -5, "other": [], "throttlingPercent": null}'
    found = one(cgroups(PATH), told=told(annotations={"koordinator.sh/memoryQOS": text}))
    assert found["memory_qos"] == {"wmarkRatio": 50}
    assert found["warnings"] == [
        "CRI: koordinator.sh/memoryQOS: minLimitPercent is 100000, 0 to 100 is expected: it is ignored",
        "CRI: koordinator.sh/memoryQOS: lowLimitPercent is -5, 0 to 100 is expected: it is ignored",
    ]


def test_fields_of_the_list_are_checked_too() -> None:
    found = one(cgroups(PATH), pods=[pod(memory_qos={"wmarkRatio": 1.5})])
    assert "memory_qos" not in found
    assert found["warnings"] == ["pod list: koordinator.sh/memoryQOS is ignored: wmarkRatio is 1.5, a whole number is expected"]


def test_batch_memory_is_handed_on() -> None:
    found = one(cgroups(PATH), pods=[pod(containers=[{"name": "nginx", "id": ID, "batch_request": 5, "batch_limit": 6}])])
    assert (found["request"], found["batch_request"], found["batch_limit"]) == (0, 5, 6)


def test_a_class_that_does_not_exist() -> None:
    found = one(cgroups(PATH), told=told(labels={"koordinator.sh/qosClass": "ls"}))
    assert "koordinator_class" not in found
    assert found["warnings"] == ["CRI: koordinator.sh/qosClass is none of LSE, LSR, LS, BE, SYSTEM: it is ignored"]


# --- who may speak of which cgroup ---


def test_what_is_said_of_another_pod_is_not_used() -> None:
    found = one(cgroups(PATH), told=told(pod_uid=MIRROR, labels={"koordinator.sh/qosClass": "LSR"}, request=7))
    assert "koordinator_class" not in found and "request" not in found
    assert found["warnings"] == [f"CRI says that it is of another pod ({MIRROR}): nothing of what it says is used"]


@pytest.mark.parametrize(
    "false",
    [
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
        f"/a/lxc.payload.guest/docker/{ID}",
        f"/docker/{OTHER}/kubelet/kubepods/burstable/pod{UID}/{ID}",
    ],
)
def test_nobody_gets_anothers_request_by_a_name(false: str) -> None:
    """A user, or a guest with cgroups of its own, names one after a protected container."""
    above = [path for path in ("/a/lxc.payload.guest", f"/docker/{OTHER}") if false.startswith(path)]
    found = cgroups(*above, false, PATH, limit=None)
    joined = _resources.join(found, capacity=CAPACITY, told=told(labels={"koordinator.sh/qosClass": "LSR"}), pods=[pod()])
    by_path = {workload["path"]: workload for workload in joined.workloads}
    assert (by_path[PATH]["request"], by_path[PATH]["koordinator_class"]) == (GIB, "LSR")
    assert "request" not in by_path[false] and "koordinator_class" not in by_path[false]
    assert by_path[false]["warnings"] == [f"another cgroup has its container's id: {PATH}"]


def test_a_users_container_is_told_of_by_nobody() -> None:
    found = cgroups(f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", limit=None)
    assert "request" not in one(found, told=told(request=7), pods=[pod()])


def test_sandboxes_and_nested_cgroups_are_no_workloads() -> None:
    sandbox = cgroups(PATH, f"{PATH}/nested")
    sandbox[0]["container"] = "POD"
    assert _resources.join(sandbox, capacity=CAPACITY, told={}).workloads == []


def test_the_class_of_the_inventory_makes_a_request_of_a_limit() -> None:
    found: Cgroups = [{"path": f"/pods/{ID}", "kind": "container", "name": "x", "container_id": ID, "limit": GIB}]
    guaranteed = one(found, declared=[{"match": "x", "qos_class": "Guaranteed"}])
    assert (guaranteed["request"], guaranteed["sources"]["request"]) == (GIB, "guaranteed: request = limit")


VALUES: st.SearchStrategy[t.Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from([ID, UID, "LS", "Burstable", "*"]) | st.just([]) | st.just({})
)
ROWS = st.dictionaries(st.sampled_from("uid namespace name qos_class koordinator_class memory_qos id request limit match".split()), VALUES, max_size=6)


@given(st.lists(ROWS, max_size=3), st.lists(ROWS, max_size=3))
def test_no_list_makes_it_raise(pods: t.Any, declared: t.Any) -> None:
    for row in pods:
        # One that is found, else nothing of it is looked at.
        row.update(uid=UID, containers=[{"name": row.get("name"), "id": ID, "request": row.get("request"), "limit": row.get("limit")}])
    joined = _resources.join(cgroups(PATH, "/system.slice/a.service"), capacity=CAPACITY, told={}, pods=pods, declared=declared)
    assert PATH in [workload["path"] for workload in joined.workloads]
    json.dumps(joined)
