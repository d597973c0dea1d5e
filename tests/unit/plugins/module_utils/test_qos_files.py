# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Intents → files, by what a kernel has; and on pods, with what stands above them."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _qos, _qos_files
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.plugin_utils import _intents, _pods
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_pods import GI, MI, UID, batch, container, pod

MAINLINE_V1 = frozenset("memory.limit_in_bytes memory.soft_limit_in_bytes memory.swappiness memory.memsw.limit_in_bytes memory.oom_control".split())
MAINLINE_V2 = frozenset("memory.min memory.low memory.high memory.max memory.swap.max memory.oom.group".split())
ANOLIS = frozenset(
    {
        *("memory.min", "memory.low", "memory.high", "memory.oom.group", "memory.priority", "memory.use_priority_oom"),
        *(f"memory.wmark_{name}" for name in ("ratio", "scale_factor", "min_adj")),
        *(f"memory.pagecache_limit.{name}" for name in ("enable", "size", "sync")),
    }
)
KERNELS: dict[str, tuple[frozenset[str], bool]] = {
    "v1": (MAINLINE_V1, False),
    "v2": (MAINLINE_V2, True),
    "anolis v1": (MAINLINE_V1 | ANOLIS, False),
    "anolis v2": (MAINLINE_V2 | ANOLIS, True),
    "openeuler v1": (MAINLINE_V1 | {"memory.min", "memory.low", "memory.high", "memory.high_async_ratio", "memory.qos_level", "memory.swap.max"}, False),
    "opencloudos v1": (MAINLINE_V1 | {"memory.pagecache.max_ratio", "memory.pagecache.reclaim_ratio"}, False),
    "v1 without swap": (MAINLINE_V1 - {"memory.swappiness", "memory.memsw.limit_in_bytes"}, False),
}
SUBJECT = _qos_files.Subject(request=GI, limit=2 * GI, memory=16 * GI, page_size=4096)


def resolved(kernel: str, written: dict[str, t.Any], subject: _qos_files.Subject = SUBJECT) -> list[_qos_files.Outcome]:
    present, v2 = KERNELS[kernel]
    return _qos_files.resolve(_intents.parse({"LS": written})["LS"], subject, present, v2=v2)


# Intent, as written, {kernel: (equivalence, files)}; kernels that are not named can do nothing.
NATIVE, NEAR = "native", "near"
Rows = t.Dict[str, t.Tuple[str, t.Dict[str, t.Any]]]
WMARK = {"memory.wmark_ratio": 95, "memory.wmark_scale_factor": 20}


def on(kernels: str, equivalence: str, **files: t.Any) -> Rows:
    return {kernel: (equivalence, {f"memory.{name.replace('__', '.')}": value for name, value in files.items()}) for kernel in kernels.split(", ")}


INTENTS: list[tuple[str, t.Any, Rows]] = [
    ("protect_hard", {"of_request": "100%"}, on("v2, anolis v1, anolis v2, openeuler v1", NATIVE, min=GI)),
    ("protect_soft", {"of_request": "50%"}, on("v2, anolis v1, anolis v2, openeuler v1", NATIVE, low=GI // 2)),
    ("throttle", {"of_headroom": "90%"}, {**on("v2, anolis v1, anolis v2, openeuler v1", NATIVE, high=GI * 19 // 10 // 4096 * 4096),
                                          **on("v1, opencloudos v1, v1 without swap", NEAR, soft_limit_in_bytes=GI * 19 // 10 // 4096 * 4096)}),
    ("background_reclaim", "95%", {**on("anolis v1, anolis v2", NATIVE, wmark_ratio=95, wmark_scale_factor=20),
                                   **on("openeuler v1", NEAR, high=2 * GI, high_async_ratio=95),
                                   **on("v2", NEAR, high=2 * GI * 95 // 100 // 4096 * 4096)}),
    ("background_reclaim", {"at": "80%", "gap": "1%"}, {**on("anolis v1, anolis v2", NATIVE, wmark_ratio=80, wmark_scale_factor=100),
                                                        **on("openeuler v1", NEAR, high=2 * GI, high_async_ratio=80),
                                                        **on("v2", NEAR, high=2 * GI * 80 // 100 // 4096 * 4096)}),
    # Not by memory.high alone, which slows its own tasks.
    ("background_reclaim", {"at": "95%", "throttle": False}, {**on("anolis v1, anolis v2", NATIVE, wmark_ratio=95, wmark_scale_factor=20),
                                                              **on("openeuler v1", NEAR, high=2 * GI, high_async_ratio=95)}),
    ("min_watermark", -25, on("anolis v1, anolis v2", NATIVE, wmark_min_adj=-25)),
    ("swap", False, {**on("v2, anolis v2, openeuler v1", NATIVE, swap__max=0), **on("v1, anolis v1, opencloudos v1", NEAR, swappiness=0)}),
    ("swap", True, {**on("v2, anolis v2, openeuler v1", NATIVE, swap__max="max"), **on("v1, anolis v1, opencloudos v1", NEAR, memsw__limit_in_bytes=-1)}),
    ("swap", "512MiB", {**on("v2, anolis v2, openeuler v1", NATIVE, swap__max=512 * MI),
                        **on("v1, anolis v1, opencloudos v1", NEAR, memsw__limit_in_bytes=2 * GI + 512 * MI)}),
    ("page_cache_limit", {"of_limit": "50%"}, {**on("anolis v1, anolis v2", NATIVE, pagecache_limit__size=GI, pagecache_limit__enable=1),
                                               **on("opencloudos v1", NEAR, pagecache__max_ratio=50)}),
    ("page_cache_limit", "1025MiB", {**on("anolis v1, anolis v2", NATIVE, pagecache_limit__size=1025 * MI, pagecache_limit__enable=1),
                                     **on("opencloudos v1", NEAR, pagecache__max_ratio=51)}),
    ("page_cache_limit", "3GiB", {**on("anolis v1, anolis v2", NATIVE, pagecache_limit__size=2 * GI, pagecache_limit__enable=1),
                                  **on("opencloudos v1", NEAR, pagecache__max_ratio=100)}),
    ("page_cache_limit", 0, {**on("anolis v1, anolis v2", NATIVE, pagecache_limit__size=0, pagecache_limit__enable=0),
                             **on("opencloudos v1", NEAR, pagecache__max_ratio=1)}),
    ("kill_together", True, on("v2, anolis v1, anolis v2", NATIVE, oom__group=1)),
    ("kill_together", False, on("v2, anolis v1, anolis v2", NATIVE, oom__group=0)),
    ("kill_first", True, {**on("anolis v1, anolis v2", NATIVE, priority=0), **on("openeuler v1", NATIVE, qos_level=-1)}),
    ("kill_first", False, {**on("anolis v1, anolis v2", NATIVE, priority=12), **on("openeuler v1", NATIVE, qos_level=0)}),
]  # fmt: skip


@pytest.mark.parametrize(("intent", "written", "rows"), INTENTS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_an_intent_on_a_kernel(intent: str, written: t.Any, rows: Rows, kernel: str) -> None:
    equivalence, files = rows.get(kernel, ("none", {}))
    (outcome,) = resolved(kernel, {intent: written})
    assert (outcome.intent, outcome.equivalence, outcome.files) == (intent, equivalence, {file: str(value) for file, value in files.items()})
    assert outcome.reason or equivalence == NATIVE
    assert set(outcome.files) <= KERNELS[kernel][0]
    for file, value in outcome.files.items():
        _registry.validate(_registry.find(file), "max" if value == "-1" and file.endswith("in_bytes") else value, "5.10")


AMOUNTS: list[tuple[t.Any, int | None]] = [
    ("4097", 4096),
    ({"of_request": "33%"}, GI * 33 // 100 // 4096 * 4096),
    ({"of_limit": "100%"}, 2 * GI),
    ({"of_headroom": "0%"}, GI),
    ({"of_headroom": "100%"}, 2 * GI),
    ({"of_memory": "1%"}, 16 * GI // 100 // 4096 * 4096),
    ({"of_request": "1%", "min": "64MiB"}, 64 * MI),
    ({"of_request": "100%", "max": "64MiB"}, 64 * MI),
]


@pytest.mark.parametrize(("written", "amount"), AMOUNTS)
def test_amounts(written: t.Any, amount: int) -> None:
    assert resolved("v2", {"throttle": written})[0].files == {"memory.high": str(amount)}


def test_without_a_limit() -> None:
    unbound = SUBJECT._replace(limit=0)
    assert resolved("v2", {"throttle": {"of_headroom": "50%"}}, unbound)[0].files == {"memory.high": str(17 * GI // 2)}
    for kernel, intent, written in (
        ("v2", "throttle", {"of_limit": "90%"}),
        ("v2", "background_reclaim", "95%"),
        ("anolis v1", "background_reclaim", "95%"),
        ("openeuler v1", "background_reclaim", "95%"),
        ("opencloudos v1", "page_cache_limit", "1GiB"),
        ("v1", "swap", "1GiB"),
    ):
        (outcome,) = resolved(kernel, {intent: written}, unbound)
        assert outcome.equivalence == "none" and outcome.reason.startswith("it has no limit"), (kernel, intent)


@pytest.mark.parametrize(
    ("kernel", "throttle", "high"),
    [("v2", "90%", GI * 9 // 5), ("v2", "99%", GI * 19 // 10), ("openeuler v1", "90%", GI * 9 // 5), ("anolis v1", "90%", GI * 9 // 5)],
)
def test_throttle_and_watermark_share_memory_high(kernel: str, throttle: str, high: int) -> None:
    outcomes = resolved(kernel, {"background_reclaim": "95%", "throttle": {"of_limit": throttle}})
    assert [outcome.intent for outcome in outcomes] == ["throttle", "background_reclaim"]
    written = {file: value for outcome in outcomes for file, value in outcome.files.items()}
    assert written["memory.high"] == str(high // 4096 * 4096)


def test_a_throttled_cgroup_without_limit_has_a_watermark() -> None:
    outcomes = resolved("anolis v2", {"background_reclaim": "95%", "throttle": "1GiB"}, SUBJECT._replace(limit=0))
    assert [outcome.equivalence for outcome in outcomes] == [NATIVE, NATIVE]


# On pods.

NODE = {"allocatable": 16 * GI, "page_size": 4096}
PROFILE = {
    "LS": {"protect_soft": {"of_request": "100%"}, "background_reclaim": "95%", "kill_first": False},
    "BE": {"throttle": {"of_headroom": "80%"}, "kill_first": True},
}
POD = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"
BE_POD = "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podbe.slice"


def profile(kernel: str, *pods: dict[str, t.Any], more: t.Any = ()) -> _qos.Qos:
    present, v2 = KERNELS[kernel]
    return _qos.profile([*_pods.read(list(pods)).workloads, *more], NODE, _intents.parse(PROFILE), lambda path: present, v2=v2)


def two_pods() -> list[dict[str, t.Any]]:
    return [
        pod(container("main", "1Gi", "2Gi"), container("side", "512Mi", "1Gi")),
        pod(batch("main", "1Gi"), qos="BestEffort", label="BE", uid="be", name="be"),
    ]


def test_on_anolis_all_is_native() -> None:
    qos = profile("anolis v1", *two_pods())
    by_rank, low, last = {"memory.use_priority_oom": "1"}, {"memory.low": str(3 * GI // 2)}, {"memory.priority": "12"}
    wmark = {"memory.wmark_ratio": "95", "memory.wmark_scale_factor": "20", **last}
    assert qos.files == {
        "kubepods.slice": {**low, **by_rank},
        "kubepods.slice/kubepods-burstable.slice": {**low, **by_rank, **last},
        "kubepods.slice/kubepods-besteffort.slice": {**by_rank, "memory.priority": "0"},
        POD: {**low, **by_rank, **last},
        f"{POD}/cri-containerd-id-main.scope": {"memory.low": str(GI), **wmark},
        f"{POD}/cri-containerd-id-side.scope": {"memory.low": str(GI // 2), **wmark},
        BE_POD: {**by_rank, "memory.priority": "0"},
        f"{BE_POD}/cri-containerd-id-main.scope": {"memory.high": str(GI), "memory.priority": "0"},
    }
    assert {row.equivalence for row in qos.rows} == {NATIVE} and len(qos.rows) == 8
    assert {path: set(files) for path, files in qos.files.items()} == {path: set(files) for path, files in qos.origins.items()}


def test_a_directory_ranks_as_its_highest_pod() -> None:
    mixed = [pod(container("main", "1Gi", "2Gi"), uid=uid, name=uid, label=label) for uid, label in (("a", "BE"), ("b", "LS"), ("c", "BE"))]
    files = profile("anolis v2", *mixed).files
    ranks = [
        files[f"kubepods.slice/kubepods-burstable.slice{below}"]["memory.priority"] for below in ("", *(f"/kubepods-burstable-pod{uid}.slice" for uid in "abc"))
    ]
    assert ranks == ["12", "0", "12", "0"] and "memory.priority" not in files["kubepods.slice"]


def test_on_mainline_what_can_be_is_near_and_the_rest_is_said() -> None:
    rows = [
        (row.intent, row.equivalence)
        for row in profile("v2", *two_pods()).rows
        if row.path.endswith("-podbe.slice/cri-containerd-id-main.scope") or "id-side" in row.path
    ]
    assert rows == [("protect_soft", NATIVE), ("background_reclaim", NEAR), ("kill_first", "none"), ("throttle", NATIVE), ("kill_first", "none")]
    qos = profile("v1", *two_pods())
    assert qos.files == {f"{BE_POD}/cri-containerd-id-main.scope": {"memory.soft_limit_in_bytes": str(GI)}}
    assert {row.equivalence for row in qos.rows} == {NEAR, "none"} and all(row.reason for row in qos.rows)


def test_an_lse_pod_takes_lsr_s_intents_and_a_class_without_intents_none() -> None:
    lse = pod(container("main", "1Gi", "1Gi"), label="LSE")
    assert profile("v2", lse).rows == []
    intents = {"LSR": {"kill_together": True}}
    present, v2 = KERNELS["v2"]
    assert [row.intent for row in _qos.profile(_pods.read([lse]).workloads, NODE, intents, lambda path: present, v2=v2).rows] == ["kill_together"]
    assert profile("v2", pod(container("main", "1Gi"), status={"phase": "Failed"})).rows == []


def test_a_workload_that_is_a_cgroup_itself() -> None:
    unit = {"path": "system.slice/redis.service", "koordinator_class": "LS", "qos_class": "Burstable", "request": GI, "limit": 2 * GI, "containers": []}
    qos = profile("v2", more=[unit])
    own = {"memory.low": str(GI), "memory.high": str(2 * GI * 95 // 100 // 4096 * 4096)}
    assert qos.files == {"system.slice/redis.service": own, "system.slice": {"memory.low": str(GI)}}


def test_every_file_is_in_the_registry_and_every_intent_has_a_last_word() -> None:
    assert {way.intent for way in _qos_files.WAYS} == set(_qos_files.NONE)
    for way in _qos_files.WAYS:
        assert all(_registry.find(file) for file in (*way.needs, *way.above))
        assert way.equivalence == NATIVE or (way.equivalence == NEAR and way.reason)


def test_the_guide_has_the_table() -> None:
    guide = (pathlib.Path(__file__).parents[4] / "docs/qos.md").read_text(encoding="utf-8")
    for row in _intents.table():
        assert f"| {' | '.join(cell or '—' for cell in row)} |" in guide
