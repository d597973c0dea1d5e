# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory QoS of containers on vendor kernels, by whole tunes and rollbacks of a mounted node."""

from __future__ import annotations

import errno
import json
import os
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _tune
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Writer
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _tune_result
from ansible_collections.memqos.fleet.tests.lab.vendor import filesystem
from ansible_collections.memqos.fleet.tests.lab.vendor.live import Live
from ansible_collections.memqos.fleet.tests.lab.vendor.mount import Mounted, mounted
from ansible_collections.memqos.fleet.tests.lab.vendor.tables import FLAVOURS

from .conftest import Ansible

filesystem.library()

Json = dict[str, t.Any]
MIB, GIB = 1 << 20, 1 << 30
SERVICE, BATCH, SECOND = "0aaaaaaa-1111-4222-8333-444444444444", "0bbbbbbb-1111-4222-8333-444444444444", "0ccccccc-1111-4222-8333-444444444444"
IDS = {SERVICE: "1a" * 32, BATCH: "2b" * 32, SECOND: "3c" * 32}
PLACES = {
    SERVICE: f"kubepods/burstable/pod{SERVICE}/{IDS[SERVICE]}", BATCH: f"kubepods/besteffort/pod{BATCH}/{IDS[BATCH]}",
    SECOND: f"kubepods/burstable/pod{SECOND}/{IDS[SECOND]}",
}  # fmt: skip
OPTIONS: Json = {"on_conflict": "report", "fail_on_unsupported": False, "only": [], "allow": [], "sysctl_file": "zz-memqos.conf"}
META = {"host": "controller", "started": "2026-11-27T09:00:00Z", "profiles": ["intents"]}
FIELDS = ("memory.min", "memory.low", "memory.high", "memory.wmark_ratio", "memory.wmark_scale_factor", "memory.wmark_min_adj", "memory.priority",
          "memory.use_priority_oom", "memory.oom.group", "memory.qos_level", "memory.high_async_ratio", "memory.soft_limit_in_bytes",
          "memory.pagecache.max_ratio", "memory.pagecache_limit.size", "memory.pagecache_limit.enable", "memory.swap.max")  # fmt: skip


class Failing(Writer):
    """The write of this number fails."""

    def __init__(self, root: str, at: int) -> None:
        super().__init__(root)
        self.at = at

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        self.at -= what == "kernel"
        if what == "kernel" and self.at == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class Ending(Writer):
    """A container ends as its node is written for the first time."""

    def __init__(self, root: str, place: Path) -> None:
        super().__init__(root)
        self.place = place

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if what == "kernel" and self.place.exists():
            self.place.rmdir()


class Node:
    """A node with a service of 1 GiB to 2 GiB, and batch work of 512 MiB."""

    def __init__(self, flavour: str, one: Mounted) -> None:
        self.flavour, self.root = flavour, str(one.root)
        self.mount = Path(f"{self.root}{FLAVOURS[flavour].mount}")
        self.mounted = one
        self.pods: dict[str, Json] = {}
        self._clear("/kubepods.slice")
        self.start(SERVICE, "Burstable", "LS", GIB, 2 * GIB)
        self.start(BATCH, "BestEffort", "BE", 256 * MIB, 512 * MIB)

    def start(self, uid: str, qos: str, name: str, request: int, limit: int) -> None:
        place = self.mount / PLACES[uid]
        for above in (*reversed(place.relative_to(self.mount).parents), place.relative_to(self.mount)):
            (self.mount / above).mkdir(exist_ok=True)
            if self.flavour.endswith("v2") and self.mount / above != place:
                (self.mount / above / "cgroup.subtree_control").write_text("+memory\n")
        (place / ("memory.limit_in_bytes" if self.flavour.endswith("v1") else "memory.max")).write_text(f"{limit}\n")
        self.mounted.figure(f"/{PLACES[uid]}", usage=100 * MIB, stat={"inactive_file": 40 * MIB})
        sizes = {"batch_request": request, "batch_limit": limit} if name == "BE" else {"request": request, "limit": limit}
        container = {"name": "main", "id": IDS[uid], "runtime": "containerd", **sizes}
        named = {"uid": uid, "namespace": "shop", "name": f"pod-{name.lower()}"}
        self.pods[uid] = {**named, "qos_class": qos, "koordinator_class": name, "containers": [container],
                          **({} if name == "BE" else {"request": request, "limit": limit})}  # fmt: skip

    def _clear(self, cgroup: str) -> None:
        """Of the captured node's pods."""
        place = Path(f"{self.mount}{cgroup}")
        for below in [one for one in place.iterdir() if one.is_dir()]:
            self._clear(f"{cgroup}/{below.name}")
        self.mounted.figure(cgroup, procs=[])
        place.rmdir()

    def tune(self, *layers: Json, check: bool = False, writer: Writer | None = None, **qos: t.Any) -> Json:
        request = {"layers": layers, "options": OPTIONS, "qos": {"pods": list(self.pods.values()), **qos}}
        return self._asked(_tune.tune, request, check=check, writer=writer)

    def rollback(self) -> Json:
        return self._asked(_tune.rollback, {"to": "origin", "force": False, "allow": []})

    def _asked(self, what: t.Callable[[Json, _tune.Work], Json], request: Json, *, check: bool = False, writer: Writer | None = None) -> Json:
        sent = json.loads(json.dumps({"wait": 0, "meta": META, "keep": {"generations": 99, "since": ""}, **request}))
        answer: Json = what(sent, _tune.Work(Live(self.root), writer or Writer(self.root), check=check, code=lambda: b""))
        return answer

    def holds(self, uid: str, *, above: int = 0) -> dict[str, str]:
        place = self.mount / PLACES[uid]
        for _level in range(above):
            place = place.parent
        return {name: (place / name).read_text().strip() for name in FIELDS if (place / name).exists()}

    def everything(self) -> dict[str, str]:
        return {str(path): path.read_text() for name in FIELDS for path in self.mount.rglob(name)}


@pytest.fixture(params=sorted(FLAVOURS))
def node(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[Node]:
    with mounted(request.param, tmp_path) as one:
        yield Node(request.param, one)


@pytest.fixture(params=[name for name in sorted(FLAVOURS) if not name.startswith("mainline")])
def vendors(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[Node]:
    with mounted(request.param, tmp_path) as one:
        yield Node(request.param, one)


@pytest.fixture
def anolis(tmp_path: Path) -> t.Iterator[Node]:
    with mounted("anolis_v1", tmp_path) as one:
        yield Node("anolis_v1", one)


STRATEGY = {
    "lsClass": {"memoryQOS": {"enable": True, "minLimitPercent": 50, "lowLimitPercent": 100, "throttlingPercent": 80}},
    "beClass": {"memoryQOS": {"enable": True, "throttlingPercent": 50}},
}
KOORDINATOR: Json = {"model": "koordinator", "config": STRATEGY}
# As intents of a profile.
LAYER = {
    "profile": "intents", "host": {}, "slices": {},
    "qos": {
        "LS": {"protect_soft": {"of": "request", "share": [1, 1]}, "min_watermark": -25, "background_reclaim": {"ratio": 95, "gap": 20}},
        "BE": {"min_watermark": 50, "background_reclaim": {"ratio": 95, "gap": 20}, "kill_first": True, "page_cache_limit": {"of": "limit", "share": [1, 2]}},
    },
}  # fmt: skip


def test_anolis_gets_what_koordlet_would_write(anolis: Node) -> None:
    answer = anolis.tune(**KOORDINATOR)
    assert answer["problem"] == "" and answer["changed"]
    service, batch = anolis.holds(SERVICE), anolis.holds(BATCH)
    assert (service["memory.min"], service["memory.low"]) == (str(512 * MIB), str(GIB))
    # 1 GiB + 80 % of the GiB up to the limit, in pages.
    assert service["memory.high"] == str((GIB + GIB * 80 // 100) // 4096 * 4096)
    assert [service[f"memory.wmark_{name}"] for name in ("ratio", "scale_factor", "min_adj")] == ["95", "20", "-25"]
    # Batch is bound by its batch-memory.
    assert (batch["memory.high"], batch["memory.wmark_min_adj"]) == (str(384 * MIB), "50")
    # The sum of those below, in the pod, its class and all pods.
    assert {anolis.holds(SERVICE, above=above)["memory.low"] for above in (1, 2, 3)} == {str(GIB)}
    assert "memory.high" not in {file for row in answer["containers"] if row["level"] == "pod" for file in row["values"]}


def test_a_second_run_has_nothing_to_do_and_a_rollback_takes_all_back(vendors: Node) -> None:
    before = vendors.everything()
    first = vendors.tune(LAYER)
    assert first["problem"] == "" and first["generation"] == 1, first
    changed = vendors.everything()
    assert changed != before
    assert not vendors.tune(LAYER)["changed"] and vendors.everything() == changed
    assert vendors.tune(LAYER, check=True)["changed"] is False
    assert vendors.rollback()["problem"] == ""
    assert vendors.everything() == before


def test_a_check_writes_nothing(vendors: Node) -> None:
    before = vendors.everything()
    answer = vendors.tune(LAYER, check=True)
    assert answer["changed"] and vendors.everything() == before
    assert {cell["status"] for row in answer["containers"] for cell in row["values"].values()} <= {"would_change", "ok"}


# What each kernel has for the intents of LAYER: (of the service, of batch work).
NATIVE = {
    "anolis_v1": ({"memory.low": str(GIB), "memory.wmark_ratio": "95", "memory.wmark_scale_factor": "20", "memory.wmark_min_adj": "-25"},
                  {"memory.wmark_ratio": "95", "memory.wmark_min_adj": "50", "memory.priority": "0", "memory.pagecache_limit.size": str(256 * MIB)}),
    "anolis_v2": ({"memory.low": str(GIB), "memory.wmark_ratio": "95", "memory.wmark_scale_factor": "20", "memory.wmark_min_adj": "-25"},
                  {"memory.wmark_ratio": "95", "memory.wmark_min_adj": "50", "memory.priority": "0", "memory.pagecache_limit.size": str(256 * MIB)}),
    "openeuler_v1": ({"memory.low": str(GIB), "memory.high": str(2 * GIB), "memory.high_async_ratio": "95"}, {"memory.qos_level": "-1"}),
    "opencloudos_v1": ({}, {"memory.pagecache.max_ratio": "50"}),
    "opencloudos_v2": ({"memory.low": str(GIB), "memory.high": str(2 * GIB * 95 // 100 // 4096 * 4096)}, {"memory.pagecache.max_ratio": "50"}),
}  # fmt: skip
# Intents that cannot be had: of the service, of batch work.
NONE = {
    "anolis_v1": (set(), set()), "anolis_v2": (set(), set()), "openeuler_v1": ({"min_watermark"}, {"min_watermark", "page_cache_limit"}),
    "opencloudos_v1": ({"protect_soft", "min_watermark", "background_reclaim"}, {"min_watermark", "background_reclaim", "kill_first"}),
    "opencloudos_v2": ({"min_watermark"}, {"min_watermark", "kill_first"}),
}  # fmt: skip


def test_each_vendors_kernel_gets_its_best_and_nothing_is_left_out_in_silence(vendors: Node) -> None:
    answer = vendors.tune(LAYER)
    for uid, wanted, none in zip((SERVICE, BATCH), NATIVE[vendors.flavour], NONE[vendors.flavour], strict=True):
        assert wanted.items() <= vendors.holds(uid).items()
        (row,) = (row for row in answer["containers"] if row["path"].endswith(IDS[uid]))
        assert {one["intent"] for one in row["none"]} == none and all(one["reason"] for one in row["none"])
        near = {cell["equivalence"] for file, cell in row["values"].items() if file.startswith("memory.high")}
        assert near == (set() if vendors.flavour.startswith("anolis") or not near else {"near"})
        assert (row["class"], row["name"]) == (vendors.pods[uid]["koordinator_class"], f"shop/pod-{row['class'].lower()}/main")


# The profile itself, as the controller compiles it.
COLOCATED = _profiles.load_profiles("colocated", search_paths=[], overrides={}).layers
INTENTS = next(layer["qos"] for layer in COLOCATED if "qos" in layer)
# Nine tenths of the way from batch work's 256 MiB to its limit.
THROTTLED = str((256 * MIB + 256 * MIB * 9 // 10) // 4096 * 4096)
NODE_ONLY = "kswapd looks at the node only"
SAME_FOR_ALL = "all cgroups have the node's min watermark"
BY_SIZE = "the OOM killer goes by size"
OWN_TASKS = "by memory.high its own tasks would reclaim, and wait: not wanted"
ASYNC = "a share of memory.high, and it stops ten points lower"


class Told(t.NamedTuple):
    """Of a container: C({file: value}) natively, C({file: (value, what differs)}) nearly, C({intent: why}) not at all."""

    native: dict[str, str]
    near: dict[str, tuple[str, str]]
    none: dict[str, str]


_MARKS = {"memory.wmark_ratio": "95", "memory.wmark_scale_factor": "20"}
_ANOLIS = (
    Told({"memory.low": str(GIB), **_MARKS, "memory.wmark_min_adj": "-25", "memory.priority": "12"}, {}, {}),
    Told({"memory.high": THROTTLED, **_MARKS, "memory.wmark_min_adj": "50", "memory.priority": "0"}, {}, {}),
)
_PLAIN_V1 = (
    Told({}, {}, {"protect_soft": "nothing protects a cgroup", "background_reclaim": NODE_ONLY, "min_watermark": SAME_FOR_ALL, "kill_first": BY_SIZE}),
    Told({}, {"memory.soft_limit_in_bytes": (THROTTLED, "reclaimed down to it first")},
         {"background_reclaim": NODE_ONLY, "min_watermark": SAME_FOR_ALL, "kill_first": BY_SIZE}),
)  # fmt: skip
_PLAIN_V2 = (
    Told({"memory.low": str(GIB)}, {}, {"background_reclaim": OWN_TASKS, "min_watermark": SAME_FOR_ALL, "kill_first": BY_SIZE}),
    # The watermark, 95 % of the limit, is a little above what throttle sets, and the lower counts.
    Told({"memory.high": THROTTLED}, {}, {"min_watermark": SAME_FOR_ALL, "kill_first": BY_SIZE}),
)
# What the report says: of the service (LS), of batch work (BE).
BEST = {
    "mainline_v1": _PLAIN_V1, "mainline_v2": _PLAIN_V2, "anolis_v1": _ANOLIS, "anolis_v2": _ANOLIS, "opencloudos_v1": _PLAIN_V1, "opencloudos_v2": _PLAIN_V2,
    "openeuler_v1": (
        Told({"memory.low": str(GIB), "memory.qos_level": "0"}, {"memory.high": (str(2 * GIB), ASYNC), "memory.high_async_ratio": ("95", ASYNC)},
             {"min_watermark": SAME_FOR_ALL}),
        Told({"memory.high": THROTTLED, "memory.qos_level": "-1"}, {"memory.high_async_ratio": ("95", ASYNC)}, {"min_watermark": SAME_FOR_ALL}),
    ),
}  # fmt: skip
# Batch work's memory.high, which is native, where it stands for background_reclaim as well.
ALSO_NEAR = {"openeuler_v1": ASYNC, "mainline_v2": "above it the tasks reclaim themselves", "opencloudos_v2": "above it the tasks reclaim themselves"}


def reported(node: Node, answer: Json) -> tuple[Json, Json]:
    """The rows of both containers, as the controller has them."""
    rows = _tune_result.parse(_tune.answer(answer)["tune"])["containers"]
    # Of what a layer wants nothing of there is none.
    found: list[Json] = [next((row for row in rows if row["path"].endswith(f"/{IDS[uid]}")), {}) for uid in (SERVICE, BATCH)]
    return found[0], found[1]


def is_best(row: Json, told: Told) -> None:
    """What the report says of a container."""
    cells = row["values"]
    assert {file: cell["wanted"] for file, cell in cells.items() if cell["equivalence"] == "native"} == told.native
    near = {file: cell for file, cell in cells.items() if cell["equivalence"] == "near"}
    assert {file: cell["wanted"] for file, cell in near.items()} == {file: value for file, (value, _why) in told.near.items()}
    assert all(near[file]["reason"].startswith(why) for file, (_value, why) in told.near.items())
    assert {one["intent"]: told.none[one["intent"]] in one["reason"] for one in row["none"]} == dict.fromkeys(told.none, True)


def test_the_report_of_colocated_says_what_is_native_near_and_not_to_be_had(node: Node) -> None:
    answer = node.tune(*COLOCATED)
    assert answer["problem"] == "" and answer["changed"]
    for uid, row, told in zip((SERVICE, BATCH), reported(node, answer), BEST[node.flavour], strict=True):
        is_best(row, told)
        cells = row["values"]
        # It is so: the kernel has what the report says.
        assert {cell["status"] for cell in cells.values()} <= {"changed", "ok"}
        assert {file: (node.mount / PLACES[uid] / file).read_text().strip() for file in cells} == {file: cell["wanted"] for file, cell in cells.items()}
        # No intent of the class is left out.
        origins = {intent for cell in cells.values() for intent in cell["origin"].removeprefix("profile: ").split(", ")}
        assert origins | set(told.none) == set(INTENTS[row["class"]])
    also = ALSO_NEAR.get(node.flavour)
    assert cells.get("memory.high", {"reason": ""})["reason"].startswith("near for background_reclaim: ") is bool(also)
    assert (also or "") in cells.get("memory.high", {"reason": ""})["reason"]


def pod_of_api(pod: Json) -> Json:
    """As kubectl prints it."""
    (container,) = pod["containers"]
    names = {"request": "memory", "batch_request": "kubernetes.io/batch-memory"}
    sizes = {kind: {name: str(container[key.replace("request", kind)]) for key, name in names.items() if key in container} for kind in ("request", "limit")}
    return {
        "metadata": {"uid": pod["uid"], "namespace": pod["namespace"], "name": pod["name"], "labels": {"koordinator.sh/qosClass": pod["koordinator_class"]}},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "resources": {"requests": sizes["request"], "limits": sizes["limit"]}}]},
        "status": {"phase": "Running", "qosClass": pod["qos_class"], "containerStatuses": [{"name": "main", "containerID": f"containerd://{container['id']}"}]},
    }


@pytest.mark.parametrize("flavour", ["anolis_v1", "mainline_v1", "mainline_v2"])
def test_the_playbook_says_the_same_of_colocated(flavour: str, tmp_path: Path, ansible: Ansible, checkout_collections: Path) -> None:
    """By a check, as no other root than the node's own is written."""
    (tmp_path / "node").mkdir()
    with mounted(flavour, tmp_path / "node") as one:
        node = Node(flavour, one)
        before = node.everything()
        (tmp_path / "pods.json").write_text(json.dumps({"items": [pod_of_api(pod) for pod in node.pods.values()]}), encoding="utf-8")
        given = {
            "ansible_become": False, "ansible_python_interpreter": sys.executable, "memqos_report_dir": str(tmp_path), "memqos_root": node.root,
            "memqos_profile": "colocated", "memqos_pods_file": str(tmp_path / "pods.json"),
        }  # fmt: skip
        arguments = ["-i", "n1,", "-c", "local", "--check", "--diff", "-e", json.dumps(given)]
        printed = ansible("ansible-playbook", "memqos.fleet.tune", *arguments, collections=checkout_collections, cwd=tmp_path)
        assert node.everything() == before
    rows = json.loads((tmp_path / "tune" / "n1.json").read_text(encoding="utf-8"))["containers"]
    found: list[Json] = [next((row for row in rows if row["path"].endswith(f"/{IDS[uid]}")), {}) for uid in (SERVICE, BATCH)]
    for row, told in zip(found, BEST[flavour], strict=True):
        is_best(row, told)
        assert {cell["status"] for cell in row["values"].values()} <= {"would_change", "ok"}
    assert "shop/pod-be/main (container, BE" in printed


def test_the_terminal_tells_the_same_of_colocated(node: Node) -> None:
    answer = node.tune(*COLOCATED)
    lines = _tune_result.containers(_tune_result.parse(_tune.answer(answer)["tune"]), everything=True)
    near = {line.partition(":")[0].strip() for line in lines if "near: " in line}
    assert near == {file for told in BEST[node.flavour] for file in told.near}
    assert sum("cannot be had: " in line for line in lines) == sum(len(told.none) for told in BEST[node.flavour])


def test_a_second_run_of_colocated_changes_nothing_and_a_rollback_leaves_nothing(node: Node) -> None:
    def everything() -> dict[str, str]:
        root = Path(node.root)
        plain = [root / "proc/sys/vm" / name for name in ("watermark_scale_factor", "min_free_kbytes", "swappiness", "zone_reclaim_mode")]
        return {**node.everything(), **{str(path): path.read_text() for path in [*plain, *(root / "etc").rglob("*.conf")] if path.is_file()}}

    before = everything()
    assert node.tune(*COLOCATED)["generation"] == 1
    changed = everything()
    assert changed != before
    again = node.tune(*COLOCATED)
    assert (again["problem"], again["changed"]) == ("", False) and everything() == changed
    assert {cell["status"] for row in again["containers"] for cell in row["values"].values()} == {"ok"}
    back = node.rollback()
    assert (back["problem"], back["clean"]) == ("", True) and everything() == before


@pytest.mark.parametrize(("above", "reads"), [("-10", "-10"), ("50", "50")])
def test_a_foreign_min_watermark_above_is_no_change_at_every_run_and_told(anolis: Node, above: str, reads: str) -> None:
    """Of kubepods, of which the profile wants nothing."""
    (anolis.mount / "kubepods/memory.wmark_min_adj").write_text(f"{above}\n")
    anolis.tune(*COLOCATED)
    again = anolis.tune(*COLOCATED)
    cell = reported(anolis, again)[0]["values"]["memory.wmark_min_adj"]
    assert (again["changed"], cell["before"], cell["status"], cell["reason"]) == (False, reads, "ok", f"it reads {reads}: a cgroup above has that")


@pytest.mark.parametrize("ended", [False, True])
def test_ours_goes_back_below_a_foreign_one_whoever_has_ended(anolis: Node, ended: bool) -> None:
    file = "memory.wmark_min_adj"
    anolis.tune({**LAYER, "qos": {"LS": {"min_watermark": 20}, "BE": {"min_watermark": 20}}})
    (anolis.mount / "kubepods" / file).write_text("30\n")
    if ended:
        place = anolis.mount / PLACES[BATCH]
        place.rmdir()
        place.parent.rmdir()
    anolis.tune({"profile": "other", "host": {}, "slices": {}})
    (anolis.mount / "kubepods" / file).write_text("0\n")
    assert anolis.holds(SERVICE)[file] == "0"


def test_another_model_leaves_nothing_of_the_first(anolis: Node) -> None:
    strategy = {"lsClass": {"memoryQOS": {"enable": True}}, "beClass": {"memoryQOS": {"enable": True}}}
    anolis.tune(model="koordinator", config=strategy)
    layer = {**LAYER, "qos": {"LS": {"min_watermark": -20}, "BE": {"min_watermark": 10}}}
    anolis.tune(layer)
    assert [anolis.holds(uid)["memory.wmark_min_adj"] for uid in (SERVICE, BATCH)] == ["-20", "10"]
    assert not anolis.tune(layer)["changed"]


CACHE = {
    "lsClass": {"memoryQOS": {"enable": True, "pageCacheEnable": True, "pageCacheLimitPercent": 33}},
    "beClass": {"memoryQOS": {"enable": True, "pageCacheEnable": True, "pageCacheLimitSize": 123456789}},
}


@pytest.mark.parametrize("flavour", ["anolis_v2"])
def test_page_cache_limits_that_are_no_whole_pages_are_no_change_at_every_run(tmp_path: Path, flavour: str) -> None:
    with mounted(flavour, tmp_path) as one:
        node = Node(flavour, one)
        asked: Json = {"model": "koordinator", "config": CACHE}
        before = node.everything()
        assert node.tune(**asked)["changed"]
        file = node.mount / PLACES[BATCH] / "../memory.pagecache_limit.size"
        assert file.read_text().strip() == str(123456789 // 4096 * 4096)
        answer = node.tune(**asked)
        assert not answer["changed"]
        assert "memory.pagecache_limit.size is without effect while pagecache_limit/enabled is 0: a profile can set it, under host" in answer["notes"]
        assert node.rollback()["problem"] == "" and node.everything() == before


def test_a_page_cache_limit_above_the_limit_is_no_change_at_every_run(anolis: Node) -> None:
    """A limit that was lowered since."""
    layer = {**LAYER, "qos": {"BE": {"page_cache_limit": {"bytes": 400 * MIB}}}}
    anolis.tune(layer)
    (anolis.mount / PLACES[BATCH] / "memory.limit_in_bytes").write_text(f"{256 * MIB}\n")
    answers = [anolis.tune(layer) for _again in range(2)]
    cell = reported(anolis, answers[1])[1]["values"]["memory.pagecache_limit.size"]
    assert [(answer["changed"], answer["generation"]) for answer in answers] == [(False, 0), (False, 0)]
    assert (cell["status"], cell["before"]) == ("ok", str(400 * MIB))


def test_what_others_wrote_since_into_files_that_read_otherwise_stays(anolis: Node) -> None:
    layer = {**LAYER, "qos": {"BE": {"page_cache_limit": {"bytes": 256 * MIB}, "min_watermark": 50}}}
    anolis.tune(layer)
    theirs = {"memory.wmark_min_adj": "10", "memory.pagecache_limit.size": str(16 * MIB)}
    for file, text in theirs.items():
        (anolis.mount / PLACES[BATCH] / file).write_text(f"{text}\n")
    answer = anolis.rollback()
    assert theirs.items() <= anolis.holds(BATCH).items()
    assert {row["name"] for row in answer["results"] if row["status"] == "deferred"} == {*theirs}


def test_a_rank_that_the_hosts_switch_keeps_from_acting_is_told(tmp_path: Path) -> None:
    with mounted("openeuler_v1", tmp_path) as one:
        node = Node("openeuler_v1", one)
        answer = node.tune(*COLOCATED)
        assert reported(node, answer)[1]["values"]["memory.qos_level"]["reason"] == "without effect while vm.memcg_qos_enable is 0"
        switch: Json = {"profile": "own", "host": {"vm.memcg_qos_enable": {"value": 1}}, "slices": {}}
        assert not any("without effect" in note for note in node.tune(*COLOCATED, switch)["notes"])


def test_a_container_that_comes_later_is_set_by_the_next_run(anolis: Node) -> None:
    anolis.tune(LAYER)
    anolis.start(SECOND, "Burstable", "LS", 512 * MIB, GIB)
    answer = anolis.tune(LAYER)
    assert answer["generation"] == 2 and anolis.holds(SECOND)["memory.low"] == str(512 * MIB)
    # The class has to cover both.
    assert anolis.holds(SECOND, above=2)["memory.low"] == str(GIB + 512 * MIB)


def test_one_that_has_ended_is_no_error_and_is_forgotten(anolis: Node) -> None:
    before = anolis.everything()
    anolis.tune(LAYER)
    place = anolis.mount / PLACES[BATCH]
    place.rmdir()
    place.parent.rmdir()
    answer = anolis.tune(LAYER)
    assert answer["problem"] == "" and any("not on this node" in note for note in answer["notes"])
    assert anolis.rollback()["problem"] == ""
    after = anolis.everything()
    assert after == {path: text for path, text in before.items() if BATCH not in path}


def test_one_that_ends_amid_the_run_is_not_told_as_changed(anolis: Node) -> None:
    place = anolis.mount / PLACES[BATCH]
    answer = anolis.tune(LAYER, writer=Ending(anolis.root, place))
    assert answer["problem"] == "" and "cgroups of containers that ended before they were set: 1" in answer["notes"]
    assert not [row for row in answer["containers"] if row["path"].endswith(IDS[BATCH])]
    assert {cell["status"] for row in answer["containers"] for cell in row["values"].values()} == {"changed", "ok"}
    assert IDS[BATCH] not in Path(f"{anolis.root}/var/lib/memqos/origin.json").read_text(encoding="utf-8")
    # What it alone wanted of its class goes back; then all is as it should be.
    again = anolis.tune(LAYER)
    changed = {row["path"].rpartition("/")[2] for row in again["containers"] if "changed" in {cell["status"] for cell in row["values"].values()}}
    assert changed <= {"kubepods", "besteffort", f"pod{BATCH}"}
    assert not anolis.tune(LAYER)["changed"]


def test_a_new_cgroup_of_the_same_name_is_not_taken_for_the_old_one(anolis: Node) -> None:
    anolis.tune(LAYER)
    place = anolis.mount / PLACES[BATCH]
    place.rmdir()
    place.mkdir()
    before = anolis.holds(BATCH)
    assert anolis.rollback()["problem"] == ""
    assert anolis.holds(BATCH) == before


@pytest.mark.parametrize("at", [1, 4, 9])
def test_a_failing_write_undoes_all(anolis: Node, at: int) -> None:
    before = anolis.everything()
    answer = anolis.tune(LAYER, writer=Failing(anolis.root, at))
    assert "Input/output error (EIO). All was undone" in answer["problem"] and not answer["generation"]
    assert anolis.everything() == before
    assert {cell["status"] for row in answer["containers"] for cell in row["values"].values()} <= {"undone", "ok"}


def test_what_others_have_changed_since_stays(anolis: Node) -> None:
    anolis.tune(LAYER)
    file = anolis.mount / PLACES[SERVICE] / "memory.low"
    file.write_text(f"{3 * MIB}\n")
    answer = anolis.rollback()
    assert file.read_text().strip() == str(3 * MIB)
    assert any(row["status"] == "deferred" and row["live_after"] == str(3 * MIB) for row in answer["results"])


def test_what_a_profile_wants_no_more_goes_back(anolis: Node) -> None:
    before = anolis.everything()
    anolis.tune(LAYER)
    answer = anolis.tune({"profile": "other", "host": {}, "slices": {}})
    assert answer["generation"] == 2 and anolis.everything() == before


def test_memory_high_is_not_set_far_below_what_is_in_use(anolis: Node) -> None:
    anolis.mounted.figure(f"/{PLACES[BATCH]}", usage=500 * MIB, stat={"inactive_file": 10 * MIB})
    answer = anolis.tune(**KOORDINATOR)
    (row,) = (row for row in answer["containers"] if row["path"].endswith(IDS[BATCH]))
    assert row["values"]["memory.high"]["status"] == "deferred" and "below 90 % of its working set of 490 MiB" in row["values"]["memory.high"]["reason"]
    assert anolis.holds(BATCH)["memory.high"] == "max" and anolis.holds(BATCH)["memory.wmark_ratio"] == "95"


def test_more_protection_than_a_node_can_bear_is_refused(anolis: Node) -> None:
    before = anolis.everything()
    anolis.pods[SERVICE].update(request=900 * GIB, limit=900 * GIB)
    answer = anolis.tune(**KOORDINATOR)
    assert "protection_above_80_percent" in answer["problem"] and anolis.everything() == before
