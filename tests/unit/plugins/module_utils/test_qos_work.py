# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a tune does for containers: from cgroups, pods, runtimes and the inventory to a plan, and by whole tunes to what the kernel has."""

from __future__ import annotations

import json
import os
import signal
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _memcgs, _present, _qos, _qos_work, _tune
from ansible_collections.memqos.fleet.plugins.module_utils._plan_memcgs import MemcgPart
from ansible_collections.memqos.fleet.plugins.module_utils._plan_rows import Options
from ansible_collections.memqos.fleet.plugins.module_utils._qos_work import Asked, unit_of
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.plugins.module_utils._read._persisted import Kubelet
from ansible_collections.memqos.fleet.plugins.module_utils._steps import Memcg, MemcgsStep
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Writer
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import runtimes
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.test_recovery import Killed
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import OPTIONS, Json, Machine, Make
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import BOOT, in_child

MIB, GIB = 1 << 20, 1 << 30
UIDS = {name: f"{name * 8}-1111-4222-8333-444444444444" for name in "abcdef"}
IDS = {name: name * 64 for name in "abcdef"}
MARKS = {"memory.wmark_ratio": "0", "memory.wmark_scale_factor": "50", "memory.wmark_min_adj": "0", "memory.priority": "0", "memory.use_priority_oom": "0"}
HALF = {"enable": True, "minLimitPercent": 0, "lowLimitPercent": 100, "throttlingPercent": 50, "wmarkRatio": 0, "wmarkMinAdj": 0}
STRATEGY: Json = {"lsClass": {"memoryQOS": HALF}}
COLOCATED: Json = {"LS": {"protect_soft": {"of": "request", "share": (1, 1)}}, "BE": {"throttle": {"of": "limit", "share": (1, 2)}}}
pytestmark = pytest.mark.usefixtures("root_user")


class Node:
    """A machine with pods of one container each, by either cgroup driver."""

    def __init__(self, machine: Machine, *, driver: str = "cgroupfs") -> None:
        self.machine, self.driver = machine, driver
        self.pods: list[Json] = []
        self.tree, self.facts = Tree(machine.root), {"systemd": 257} if driver == "systemd" else {}

    def pod(self, name: str, qos: str = "Burstable", label: str = "", request: int = GIB, limit: int = 2 * GIB, **more: t.Any) -> str:
        """Its container's path; C(listed): whether the controller has it."""
        sizes = {"batch_request": request, "batch_limit": limit} if label == "BE" else {"request": request, "limit": limit}
        found = {"uid": UIDS[name], "namespace": "shop", "name": name, "qos_class": qos, "containers": [{"name": "main", "id": IDS[name], **sizes}], **sizes}
        if label:
            found["koordinator_class"] = label
        if more.pop("listed", True):
            self.pods.append({**found, **more})
        place = self.place(name, qos)
        for depth in range(2, place.count("/") + 1):
            self.cgroup("/".join(place.split("/")[: depth + 1]))
        if limit and self.machine.hierarchy == 2:
            self.cgroup(place, max=str(limit))
        return place

    def place(self, name: str, qos: str = "Burstable") -> str:
        below = [] if qos == "Guaranteed" else [qos.lower()]
        if self.driver == "cgroupfs":
            return "/".join(["", "kubepods", *below, f"pod{UIDS[name]}", IDS[name]])
        names = ["kubepods", *below, f"pod{UIDS[name].replace('-', '_')}"]
        slices = ["-".join(names[: end + 1]) + ".slice" for end in range(len(names))]
        return "/".join(["", *slices, f"cri-containerd-{IDS[name]}.scope"])

    def cgroup(self, path: str, **files: str) -> None:
        for above in ("/".join(path.split("/")[: end + 1]) for end in range(1, path.count("/") + 1)):
            if not os.path.isdir(f"{self.machine.root}{self.machine.mount}{above}"):
                for name, text in self.machine.cgroup_files.items():
                    self.machine.write(f"{self.machine.mount}{above}/{name}", f"{text}\n")
                if self.driver == "systemd":
                    self.machine.node.systemd.adopt(above.rpartition("/")[2], above)
        for name, text in files.items():
            self.machine.write(f"{self.machine.mount}{path}/memory.{name}", f"{text}\n")

    def part(self, *, origin: t.Sequence[t.Any] = (), options: Json | None = None, persisted: Json | None = None, **asked: t.Any) -> MemcgPart:
        present = _present.read(self.tree, knobs=(), subjects=(), properties=())
        present = present._replace(facts={**present.facts, **self.facts}, persisted=present.persisted._replace(**(persisted or {})))
        chosen = Options(**{**OPTIONS, **(options or {}), "only": tuple((options or {}).get("only", ())), "allow": tuple((options or {}).get("allow", ()))})
        asked = {"model": "profile", "pods": self.pods, "intents": COLOCATED, **asked}
        return _qos_work.part(Asked(**asked), origin, present, chosen, self.tree, Writer(self.machine.root))

    def tune(self, *layers: Json, check: bool = False, only: t.Sequence[str] = (), **qos: t.Any) -> Json:
        request = {"layers": layers, "options": {**OPTIONS, "only": only}, "qos": {"pods": self.pods, **qos}}
        return self.machine.asked(_tune.tune, request, check=check)

    def text(self, path: str, file: str) -> str | None:
        return self.machine.text(f"{path} memory.{file}")


def profile(**intents: Json) -> Json:
    return {"profile": "colocated", "host": {}, "slices": {}, "qos": intents}


@pytest.fixture
def node(make: Make) -> Node:
    return Node(make(systemd=0))


@pytest.fixture
def by_systemd(make: Make) -> Node:
    return Node(make(), driver="systemd")


def cells(made: MemcgPart) -> dict[str, dict[str, t.Any]]:
    """{last part of the path: {file: (wanted, status)}}"""
    return {
        row["path"].rpartition("/")[2]: {file: (cell["wanted"], cell["status"]) for file, cell in row["values"].items()} for row in made.rows if row["values"]
    }


def row(made: MemcgPart | Json, path: str) -> Json:
    rows: t.Iterable[Json] = made.rows if isinstance(made, MemcgPart) else made["containers"]
    return next(one for one in rows if one["path"].endswith(path))


# What is asked


def test_later_layers_say_intents_over_earlier_ones() -> None:
    earlier = {"qos": {"LS": {"protect_soft": {"bytes": 1}, "swap": False}, "BE": {"swap": True}}}
    later = {"qos": {"LS": {"protect_soft": {"bytes": 2}, "swap": {"absent": True}}, "BE": {"swap": {"absent": True}}}}
    found = _qos_work.asked({"model": "profile"}, [earlier, {}, later])
    assert found.intents == {"LS": {"protect_soft": {"bytes": 2}}}


@pytest.mark.parametrize("options", [{"only": ["sysctl"]}, {"only": ["swap", "slices"]}])
def test_another_area_leaves_containers_alone(node: Node, options: Json) -> None:
    node.pod("a", label="LS")
    assert node.part(options=options) == _qos_work._plan_memcgs.NONE
    assert node.part(options={"only": ["memcg_qos"]}).step


def test_a_profile_without_intents_reads_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.pod("a", label="LS")
    monkeypatch.setattr(_qos_work, "_Work", None)
    assert node.part(intents={}) == _qos_work._plan_memcgs.NONE
    with pytest.raises(TypeError):
        node.part(intents={}, origin=[MemcgsStep((), (), "another boot")])


# The models


def test_a_profile_protects_up_to_the_root(node: Node) -> None:
    """Two pods with a class, one without."""
    a, b = node.pod("a", label="LS"), node.pod("b", "Guaranteed", request=GIB, limit=GIB)
    node.pod("c", "BestEffort", request=0, limit=0)
    made = node.part(intents={"LS": COLOCATED["LS"], "LSR": COLOCATED["LS"]})
    assert {name: values["memory.low"] for name, values in cells(made).items()} == {
        "kubepods": (str(2 * GIB), "would_change"), "burstable": (str(GIB), "would_change"), f"pod{UIDS['a']}": (str(GIB), "would_change"),
        IDS["a"]: (str(GIB), "would_change"), f"pod{UIDS['b']}": (str(GIB), "would_change"), IDS["b"]: (str(GIB), "would_change"),
    }  # fmt: skip
    main = row(made, a)
    assert (main["name"], main["level"], main["class"], main["request"], main["limit"]) == ("shop/a/main", "container", "LS", GIB, 2 * GIB)
    assert (row(made, b)["class"], row(made, "/kubepods")["level"], row(made, "/burstable")["name"]) == ("Guaranteed", "class", "Burstable")


def test_koordinator_on_a_mainline_kernel(node: Node) -> None:
    """To the byte, and what its marks come near."""
    place = node.pod("a", label="LS")
    made = node.part(model="koordinator", config=STRATEGY)
    high = GIB + GIB // 2
    assert cells(made)[IDS["a"]]["memory.high"] == (str(high), "would_change") and cells(made)[IDS["a"]]["memory.low"] == (str(GIB), "would_change")
    assert row(made, place)["values"]["memory.high"]["origin"] == "strategy: lsClass" and row(made, place)["none"] == []
    marks = {"lsClass": {"memoryQOS": {"enable": True, "throttlingPercent": 0}}}
    again = row(node.part(model="koordinator", config=marks), place)
    near = again["values"]["memory.high"]
    assert (near["wanted"], near["equivalence"], near["origin"]) == (str(2 * GIB * 95 // 100 // 4096 * 4096), "near", "near: background_reclaim")
    assert near["reason"] == "above it the tasks reclaim themselves, and wait the longer the further they are"
    assert [one["intent"] for one in again["none"]] == ["min_watermark"]
    # Each is told once: in the value that comes near, or among what cannot be had.
    assert not {"memory.wmark_ratio", "memory.wmark_scale_factor", "memory.wmark_min_adj"} & set(again["values"])
    both = row(node.part(model="koordinator", config={"lsClass": {"memoryQOS": {"enable": True, "throttlingPercent": 50}}}), place)["values"]
    assert both["memory.wmark_ratio"]["reason"] == "this kernel has no memory.wmark_ratio" and both["memory.high"]["origin"] == "strategy: lsClass"


def test_koordinator_on_its_own_kernel(make: Make) -> None:
    machine = make(systemd=0)
    machine.cgroup_files.update(MARKS)
    node = Node(machine)
    place = node.pod("a", label="LS")
    values = row(node.part(model="koordinator", config={"lsClass": {"memoryQOS": {"enable": True}}}), place)["values"]
    assert {file: cell["wanted"] for file, cell in values.items() if file in MARKS and cell["status"] == "would_change"} == {
        "memory.wmark_ratio": "95", "memory.wmark_scale_factor": "20", "memory.wmark_min_adj": "-25",
    }  # fmt: skip
    assert all(cell["equivalence"] == "native" for cell in values.values())


def test_an_effective_min_watermark_is_no_change_at_every_run(make: Make) -> None:
    machine = make(systemd=0)
    machine.cgroup_files.update(MARKS)
    node = Node(machine)
    place = node.pod("a", label="LS")
    config = {"lsClass": {"memoryQOS": {"enable": True}}}
    assert node.tune(model="koordinator", config=config)["changed"]
    assert not node.tune(model="koordinator", config=config)["changed"]
    # Of somebody's pod directory above, which counts for more.
    above = place.rpartition("/")[0]
    node.cgroup(above, wmark_min_adj="50")
    node.cgroup(place, wmark_min_adj="50")
    answer = node.tune(model="koordinator", config=config, check=True)
    assert row(answer, above)["values"]["memory.wmark_min_adj"]["status"] == "would_change"


def test_the_kubelets_values(node: Node) -> None:
    place = node.pod("a")
    node.pod("b", "BestEffort", request=0, limit=0)
    made = node.part(model="kubelet", config={"memoryReservationPolicy": "TieredReservation", "memoryThrottlingFactor": 0.5})
    assert cells(made)[IDS["a"]]["memory.high"][0] == str(GIB + GIB // 2) and cells(made)[f"pod{UIDS['a']}"]["memory.low"][0] == str(GIB)
    assert row(made, place)["values"]["memory.high"]["origin"] == "memoryThrottlingFactor"
    allocatable = node.part(model="kubelet", config={"memoryThrottlingFactor": 0.5}, node={"allocatable": 6 * GIB})
    assert cells(allocatable)[IDS["b"]]["memory.high"][0] == str(3 * GIB)


def test_what_pods_can_have_is_the_limit_of_kubepods(node: Node) -> None:
    node.pod("b", "BestEffort", request=0, limit=0)
    node.cgroup("/kubepods", max=str(4 * GIB))
    assert cells(node.part(model="kubelet", config={"memoryThrottlingFactor": 0.5}))[IDS["b"]]["memory.high"][0] == str(2 * GIB)


def test_on_v1_swappiness_and_the_soft_limit_come_near(make: Make) -> None:
    machine = make(systemd=0, hierarchy=1)
    machine.cgroup_files["memory.soft_limit_in_bytes"] = str((1 << 63) - 4096)
    node = Node(machine)
    place = node.pod("a", "BestEffort", label="BE")
    answer = node.tune(profile(BE={"throttle": {"of": "limit", "share": [1, 2]}, "swap": False, "protect_soft": {"bytes": 4096}}))
    assert (answer["problem"], answer["changed"]) == ("", True)
    assert (node.text(place, "soft_limit_in_bytes"), node.text(place, "swappiness")) == (str(GIB), "0")
    values = row(answer, place)["values"]
    assert {cell["equivalence"] for cell in values.values()} == {"near"} and all(cell["reason"] and cell["status"] == "changed" for cell in values.values())
    assert [one["intent"] for one in row(answer, place)["none"]] == ["protect_soft"]


# Who is here


def test_pods_of_the_list_that_are_not_here(node: Node) -> None:
    node.pod("a", label="LS")
    node.pods.append({**node.pods[0], "uid": UIDS["f"], "name": "gone", "containers": [{"name": "main", "id": IDS["f"]}]})
    made = node.part()
    assert made.notes == ("1 of the pods that were handed over are not on this node",)
    assert not any(UIDS["f"] in row["path"] for row in made.rows)


def test_a_static_pod_has_another_uid_in_its_cgroup(node: Node) -> None:
    """Found by its container's id; values go where it is."""
    place = node.pod("a", label="LS", uid=UIDS["e"])
    made = node.part()
    assert row(made, place)["values"]["memory.low"]["wanted"] == str(GIB) and row(made, place)["name"] == "shop/a/main"
    assert row(made, place.rpartition("/")[0])["values"]["memory.low"]["wanted"] == str(GIB)


def test_without_a_list_requests_are_estimated(node: Node) -> None:
    place = node.pod("a", listed=False, limit=2 * GIB)
    node.cgroup(place, max=str(2 * GIB))
    machine = node.machine
    machine.write(f"{machine.mount}{place}/cgroup.procs", "4242\n")
    machine.write("/proc/4242/oom_score_adj", "900\n")
    made = node.part()
    assert int(row(made, place)["values"]["memory.low"]["wanted"]) == -(-100 * 8 * GIB // 1000) // 4096 * 4096
    assert row(made, place)["class"] == "Burstable"
    assert any(note.startswith("CRI could not be read") for note in made.notes)


def test_a_container_that_is_listed_needs_no_runtime(node: Node) -> None:
    node.pod("a", label="LS")
    assert node.part().notes == ()
    sandbox = f"{node.place('a').rpartition('/')[0]}/{IDS['d']}"
    node.cgroup(sandbox)
    assert any("CRI" in note for note in node.part().notes)  # what is it?
    bundle = {"annotations": {"io.kubernetes.cri.container-type": "sandbox"}}
    node.machine.write(f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{IDS['d']}/config.json", json.dumps(bundle))
    made = node.part()
    assert made.notes == () and not any(one["path"].endswith(sandbox) for one in made.rows)


def test_a_pod_without_containers_here(node: Node) -> None:
    """It is not gone, and there is nothing to set."""
    node.pods.append({"uid": UIDS["a"], "namespace": "shop", "name": "a", "qos_class": "Burstable", "koordinator_class": "LS", "containers": []})
    node.cgroup(f"/kubepods/burstable/pod{UIDS['a']}")
    made = node.part()
    assert (list(made.rows), made.step, made.notes) == ([], None, ())


def test_a_sidecar_that_was_started_anew_since_the_list(node: Node) -> None:
    """Koordlet does not look at sidecars: found by its name, it is one still."""
    place = node.pod("a", label="LS")
    sidecar = f"{place.rpartition('/')[0]}/{IDS['e']}"
    node.cgroup(sidecar, max=str(GIB))
    node.pods[0]["containers"].append({"name": "mesh", "id": IDS["d"], "request": 0, "limit": GIB, "sidecar": True})
    bundle = {"annotations": {"io.kubernetes.cri.container-name": "mesh", "io.kubernetes.cri.sandbox-uid": UIDS["a"]}}
    node.machine.write(f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{IDS['e']}/config.json", json.dumps(bundle))
    assert {path for path in (IDS["a"], IDS["e"]) if path in cells(node.part(model="koordinator", config=STRATEGY))} == {IDS["a"]}


def test_a_podman_container_with_a_declared_class(node: Node) -> None:
    place = f"/machine.slice/libpod-{IDS['c']}.scope"
    node.cgroup(place, max=str(GIB))
    node.machine.write("/.memqos/output/podman-ps", json.dumps([runtimes.podman_row(IDS["c"], "cache")]))
    node.machine.write("/.memqos/output/podman-inspect", json.dumps([runtimes.podman_inspected(IDS["c"], reservation=64 * MIB)]))
    made = node.part(declared=[{"match": "cache", "qos_class": "LS"}])
    low = {"memory.low": (str(64 * MIB), "would_change")}
    assert cells(made) == {f"libpod-{IDS['c']}.scope": low, "machine.slice": low}
    assert row(made, place)["name"] == "cache" and row(made, place)["level"] == "container"
    assert list(node.part().rows) == []  # nobody says its class


def test_a_unit_with_a_declared_class_and_request(node: Node) -> None:
    made = node.part(declared=[{"match": "redis-server.service", "qos_class": "LS", "request": 64 * MIB}])
    low = {"memory.low": (str(64 * MIB), "would_change")}
    assert cells(made) == {"redis-server.service": low, "system.slice": low}
    assert row(made, "redis-server.service")["level"] == "unit"
    assert row(made, "/system.slice")["values"]["memory.low"]["origin"] == "profile: protect_soft, for what is below"
    assert cells(node.part(declared=[{"match": "/system.slice/redis*", "qos_class": "BE", "limit": GIB}]))["redis-server.service"] == {
        "memory.high": (str(GIB // 2), "would_change"),
    }  # fmt: skip


def test_a_unit_whose_class_a_profile_says(node: Node) -> None:
    """The inventory's word counts for more, and other models take no class of a profile."""
    layer = profile(LS={"units": ["redis-*.service"], "protect_soft": {"bytes": 64 * MIB}}, BE={"throttle": {"bytes": GIB}})
    asked = _qos_work.asked({"declared": [{"match": "redis-server.service", "limit": 2 * GIB}]}, [layer])
    made = node.part(declared=asked.declared, intents=asked.intents)
    assert cells(made)["redis-server.service"] == {"memory.low": (str(64 * MIB), "would_change")}
    assert (row(made, "redis-server.service")["class"], row(made, "redis-server.service")["limit"]) == ("LS", 2 * GIB)
    asked = _qos_work.asked({"declared": [{"match": "redis-server.service", "qos_class": "BE"}]}, [layer])
    assert cells(node.part(declared=asked.declared, intents=asked.intents))["redis-server.service"] == {"memory.high": (str(GIB), "would_change")}
    assert _qos_work.asked({"model": "koordinator"}, [layer]).declared == []
    assert _qos_work.asked({}, [layer, profile(LS={"units": {"absent": True}})]).declared == []


def test_without_a_request_a_unit_keeps_what_protects_it(node: Node) -> None:
    """A profile names units and says no request: that is none of 0."""
    place = "/system.slice/redis-server.service"
    node.cgroup(place, low=str(GIB))
    asked = _qos_work.asked({}, [profile(LS={"units": ["redis-server.service"], **COLOCATED["LS"]})])
    made = node.part(declared=asked.declared, intents=asked.intents)
    assert made.step is None and row(made, place)["none"] == [{"intent": "protect_soft", "reason": "nobody says what it requests"}]
    # A floor needs none.
    layer = profile(LS={"units": ["redis-server.service"], "protect_soft": {"of": "request", "share": (1, 1), "min": 2 * GIB}})
    asked = _qos_work.asked({}, [layer])
    assert cells(node.part(declared=asked.declared, intents=asked.intents))["redis-server.service"] == {"memory.low": (str(2 * GIB), "would_change")}
    # Who says 0 means it.
    declared = [{"match": "redis-server.service", "qos_class": "LS", "request": 0}]
    assert cells(node.part(declared=declared))["redis-server.service"] == {"memory.low": ("0", "would_change")}


def test_a_pod_of_podman_is_none_of_a_kubelet(node: Node) -> None:
    pod = f"/machine.slice/machine-libpod_pod_{IDS['d']}.slice"
    place = f"{pod}/libpod-{IDS['c']}.scope"
    node.cgroup(place, max=str(GIB), low=str(8 * MIB))
    for model in ("profile", "kubelet", "koordinator"):
        asked: Json = {"model": model, "config": {"memoryReservationPolicy": "TieredReservation"} if model == "kubelet" else {}}
        assert list(node.part(intents=COLOCATED, **asked).rows) == []  # nobody says its class
    declared = [{"match": place, "qos_class": "LS", "request": 64 * MIB}]
    low = {"memory.low": (str(64 * MIB), "would_change")}
    assert cells(node.part(declared=declared)) == dict.fromkeys((place.rpartition("/")[2], pod.rpartition("/")[2], "machine.slice"), low)
    # What an operator has above stays.
    node.cgroup("/machine.slice", low=str(GIB))
    assert cells(node.part(declared=declared))["machine.slice"] == {"memory.low": (str(GIB), "ok")}


@pytest.mark.parametrize("said", ["BestEffort", "Guaranteed"])
def test_a_declared_class_of_kubernetes_does_not_move_a_pod(node: Node, said: str) -> None:
    """Its directory is what it is, whose files are of all pods in it."""
    places = [node.pod(name) for name in "ab"]
    declared = [{"match": "shop/a/main", "qos_class": said}]
    strategy = {
        "beClass": {"memoryQOS": {"enable": True, "priorityEnable": 1, "oomKillGroup": 1}},
        "lsrClass": {"memoryQOS": {"enable": True, "priorityEnable": 1}},
    }
    node.machine.cgroup_files.update(MARKS)
    made = node.part(model="koordinator", config=strategy, declared=declared)
    of_both = {name: {file: text for file, (text, _status) in cells(made)[name].items()} for name in ("kubepods", "burstable")}
    assert of_both["burstable"].get("memory.oom.group", "0") == "0" and {files.get("memory.use_priority_oom", "0") for files in of_both.values()} <= {"0", "1"}
    part = node.part(declared=declared, intents={**COLOCATED, "LSR": COLOCATED["LS"]})
    assert cells(part)["kubepods"]["memory.low"] == (str((1 if said == "BestEffort" else 2) * GIB), "would_change")
    (note,) = [note for note in part.notes if "is taken for" in note]
    koordinators = {"BestEffort": "BE", "Guaranteed": "LSR"}[said]
    assert note == f"shop/a/main: the inventory says {said}, its cgroup is a Burstable pod's: it is taken for Koordinator's {koordinators}"
    assert row(part, places[0])["class"] == koordinators and row(part, places[1])["class"] == "Burstable"
    # The last that matches counts; that of where the pod lies moves nothing, and is no word on its label.
    last = node.part(declared=[*declared, {"match": "shop/*", "qos_class": "Burstable"}])
    assert row(last, places[0])["class"] == "Burstable" and not any("is taken for" in note for note in last.notes)


@pytest.mark.parametrize("said", ["BestEffort", "BE"])
def test_a_pod_that_the_inventory_calls_batch_work_keeps_its_sizes(node: Node, said: str) -> None:
    """No webhook of Koordinator has made batch-memory of them."""
    place = node.pod("a", limit=2 * GIB)
    made = node.part(declared=[{"match": "shop/a/main", "qos_class": said}])
    assert row(made, place)["values"]["memory.high"]["wanted"] == str(GIB)
    made = node.part(declared=[{"match": "shop/a/main", "qos_class": said, "limit": GIB}])
    assert row(made, place)["values"]["memory.high"]["wanted"] == str(GIB // 2)


def test_only_what_protects_adds_up_above_pods_and_others() -> None:
    both = [{"memory.low": str(size), "memory.use_priority_oom": "1", "memory.high": str(GIB * size)} for size in (1, 2)]
    pods, alone = (_qos.Qos({"kubepods": files}, {"kubepods": dict.fromkeys(files, "")}, [], []) for files in both)
    assert _qos_work._beside(alone, pods).files == {"kubepods": {"memory.low": "3", "memory.use_priority_oom": "1", "memory.high": str(2 * GIB)}}


def low_of(made: MemcgPart, path: str) -> tuple[str, str]:
    cell = row(made, path)["values"]["memory.low"]
    return cell["wanted"], cell["status"]


def test_what_protects_a_workload_outside_of_pods_stands_on_all_above_it(node: Node) -> None:
    """Once: the next workload above has its own. A cgroup that a NodeSLO names needs no unit."""
    for path in ("/app.slice/app-db.slice/db.service", "/app.slice/cache.service", "/host-latency-sensitive/nginx"):
        node.cgroup(path)
    declared = [
        {"match": "/app.slice/app-db.slice*", "qos_class": "LS", "request": 8 * MIB}, {"match": "cache.service", "qos_class": "LS", "request": MIB},
        {"match": "/host-latency-sensitive/nginx", "qos_class": "LS", "request": 2 * MIB},
    ]  # fmt: skip
    made = node.part(declared=declared)
    wanted = {"/db.service": 8, "/app-db.slice": 8, "/cache.service": 1, "/app.slice": 9, "/nginx": 2, "/host-latency-sensitive": 2}
    assert {path: low_of(made, path) for path in wanted} == {path: (str(size * MIB), "would_change") for path, size in wanted.items()}


def test_what_others_protect_above_it_is_never_less(node: Node) -> None:
    node.cgroup("/system.slice", low=str(GIB))
    small: Json = {"declared": [{"match": "redis-server.service", "qos_class": "LS", "request": MIB}]}
    assert low_of(node.part(**small), "/system.slice") == (str(GIB), "ok")
    node.cgroup("/system.slice", low="max")
    assert low_of(node.part(**small), "/system.slice") == ("max", "ok")


def test_what_a_tune_put_above_it_follows_and_goes_back_to_what_others_had(node: Node) -> None:
    node.cgroup("/system.slice", low=str(3 * MIB))
    sizes = []
    for size in (8, 4, 1, 0):
        node.tune(profile(**COLOCATED), declared=[{"match": "redis-server.service", "qos_class": "LS", "request": size * MIB}] if size else [])
        sizes.append(node.text("/system.slice", "low"))
    assert sizes == [str(size * MIB) for size in (8, 4, 3, 3)]


@pytest.mark.parametrize(("said", "standing", "status"), [("32M", str(32 * MIB), None), ("infinity", "max", None), ("512K", str(512 << 10), "deferred")])
def test_what_a_profile_says_of_a_slice_above_is_its_own(by_systemd: Node, said: str, standing: str, status: str | None) -> None:
    """Less than what is needed below is named."""
    layer = {**profile(**COLOCATED), "slices": {"system.slice": {"MemoryLow": {"value": said}}}}
    for _time in (1, 2):
        answer = by_systemd.tune(layer, declared=[{"match": "redis-server.service", "qos_class": "LS", "request": MIB}])
        rows = [one["values"]["memory.low"]["status"] for one in answer["containers"] if one["name"] == "system.slice" and one["values"]]
        assert (answer["problem"], by_systemd.text("/system.slice", "low"), rows) == ("", standing, [status] if status else [])


@pytest.mark.parametrize("way", [["origin"], ["previous", "previous"]])
def test_a_profile_takes_over_what_stood_above_a_workload(by_systemd: Node, way: list[str]) -> None:
    before = by_systemd.machine.snapshot()
    redis(by_systemd)
    answer = by_systemd.tune({**profile(), "slices": {"system.slice": {"MemoryLow": {"value": "32M"}}}})
    assert (answer["problem"], by_systemd.text("/system.slice", "low"), by_systemd.text(REDIS, "low")) == ("", str(32 * MIB), "0")
    assert [by_systemd.machine.rollback(to)["problem"] for to in way] == [""] * len(way)
    assert by_systemd.machine.snapshot() == before


def test_a_host_application_among_pods_counts_with_them(node: Node) -> None:
    node.pod("a", qos="Burstable", label="LS", request=64 * MIB)
    node.cgroup("/kubepods/burstable/agent")
    made = node.part(declared=[{"match": "/kubepods/burstable/agent", "qos_class": "LS", "request": MIB}])
    assert [low_of(made, path)[0] for path in ("/kubepods", "/burstable", "/agent")] == [str(size * MIB) for size in (65, 65, 1)]


@pytest.mark.parametrize("model", ["koordinator", "kubelet"])
def test_other_models_leave_what_is_in_no_pod(node: Node, model: str) -> None:
    made = node.part(
        model=model, declared=[{"match": "redis-server.service", "qos_class": "LS", "request": MIB}], config=STRATEGY if model != "kubelet" else {}
    )
    assert not any(one["path"].endswith("redis-server.service") for one in made.rows)


def test_a_list_that_disagrees_with_the_kernel_is_told(node: Node) -> None:
    place = node.pod("a", label="LS")
    node.cgroup(place, max=str(GIB))
    assert f"shop/a/main: pod list: limit {2 * GIB}, the cgroup has {GIB}" in node.part().notes


# Who writes there too


@pytest.mark.parametrize("policy", ["report", "refuse"])
def test_koordlet_has_all_files_and_the_kubelet_its_own(node: Node, policy: str) -> None:
    place = node.pod("a", label="LS")
    for writers, kubelet, who in (
        (["koordlet"], None, "koordlet"),
        ([], Kubelet("/var/lib/kubelet/config.yaml", "", False, True), "the kubelet (MemoryQoS, /var/lib/kubelet/config.yaml)"),
    ):
        made = node.part(persisted={"writers": writers, "kubelet": kubelet}, options={"on_conflict": policy})
        cell = row(made, place)["values"]["memory.low"]
        assert cell["status"] == "conflict" and cell["reason"].startswith(f"{who} writes it too") and made.step is None
        assert (f"memory.low: {who} writes it too" in made.blocked) is (policy == "refuse")


def test_a_kubelet_that_writes_swap_only(node: Node) -> None:
    place = node.pod("a", label="LS")
    kubelet = Kubelet("/var/lib/kubelet/config.yaml", "", False, False, "LimitedSwap")
    intents = {"LS": {**COLOCATED["LS"], "swap": False}}
    made = node.part(persisted={"kubelet": kubelet}, intents=intents)
    values = row(made, place)["values"]
    assert (values["memory.low"]["status"], values["memory.swap.max"]["status"]) == ("would_change", "conflict")
    assert "swapBehavior LimitedSwap" in values["memory.swap.max"]["reason"]


# What nobody can bear


def test_more_hard_protection_than_the_node_has_is_refused_or_allowed(node: Node) -> None:
    node.pod("a", label="LS", request=7 * GIB, limit=7 * GIB)
    intents = {"LS": {"protect_hard": {"of": "request", "share": (1, 1)}}}
    made = node.part(intents=intents)
    assert made.step is None and "kubepods memory.min: Σ memory.min would be 7.00 GiB, more than 80 % of memory" in made.blocked
    assert made.blocked.endswith("(protection_above_80_percent)")
    allowed = node.part(intents=intents, options={"allow": ["protection_above_80_percent"]})
    assert allowed.step and not allowed.blocked and any("allowed (protection_above_80_percent)" in note for note in allowed.notes)


@pytest.mark.parametrize(("usage", "idle", "status"), [(GIB, 0, "would_change"), (2 * GIB, 0, "deferred"), (2 * GIB, GIB, "would_change")])
def test_a_throttle_below_what_is_in_use_waits(node: Node, usage: int, idle: int, status: str) -> None:
    place = node.pod("a", "BestEffort", label="BE")
    node.cgroup(place, current=str(usage), stat=f"anon 4096\ninactive_file {idle}\nactive_file 4096")
    assert cells(node.part())[IDS["a"]]["memory.high"] == (str(GIB), status)


def outgrown(node: Node) -> str:
    """A container whose memory.high was half of its limit, then nine tenths, and which uses more than half by now."""
    place = node.pod("b", "BestEffort", label="BE")
    for share in ((1, 2), (9, 10)):
        assert node.tune(profile(BE={"throttle": {"of": "limit", "share": share}}))["problem"] == ""
    node.cgroup(place, current=str(17 * GIB // 10), stat="inactive_file 0")
    return place


def test_a_rollback_does_not_stop_what_has_outgrown_the_old_throttle(node: Node) -> None:
    place = outgrown(node)
    now = node.text(place, "high")
    answer = node.machine.rollback("previous")
    (left,) = (one for one in answer["results"] if one["status"] == "deferred")
    assert left["name"] == "memory.high" and "1.00 GiB is below 90 % of its working set of 1.70 GiB" in left["reason"]
    assert "memqos_allow_risks: [high_below_working_set] takes it back" in left["reason"] and node.text(place, "high") == now
    assert node.machine.rollback("1", allow=["high_below_working_set"])["problem"] == "" and node.text(place, "high") == str(GIB)


def test_a_tune_that_gives_a_throttle_up_does_not_stop_what_has_outgrown_it(node: Node) -> None:
    place = node.pod("b", "BestEffort", label="BE")
    node.cgroup(place, high=str(GIB))
    node.tune(profile(BE={"throttle": {"of": "limit", "share": (9, 10)}}))
    node.cgroup(place, current=str(17 * GIB // 10), stat="inactive_file 0")
    now = node.text(place, "high")
    cell = row(node.tune(profile()), place)["values"]["memory.high"]
    assert cell["status"] == "deferred" and "1.00 GiB is below 90 % of its working set" in cell["reason"] and node.text(place, "high") == now
    node.cgroup(place, high=str(19 * GIB // 10))
    assert "others have changed it since" in row(node.tune(profile()), place)["values"]["memory.high"]["reason"]
    node.cgroup(place, high=str(now), current=str(MIB))
    assert node.tune(profile())["changed"] and node.text(place, "high") == str(GIB)


def test_a_rollback_to_more_hard_protection_than_the_node_has_is_refused_or_allowed(node: Node) -> None:
    node.pod("a", label="LS", request=6 * GIB, limit=7 * GIB)
    hard = {"LS": {"protect_hard": {"of": "request", "share": (1, 1)}}}
    assert node.tune(profile(**hard))["problem"] == "" and node.tune(profile())["problem"] == ""
    node.cgroup("/other", min=str(GIB), current=str(GIB))
    answer = node.machine.rollback("1")
    assert "kubepods memory.min: Σ memory.min would be 7.00 GiB, more than 80 % of memory" in answer["problem"] and node.text("/kubepods", "min") == "0"
    answer = node.machine.rollback("1", allow=["protection_above_80_percent"])
    assert answer["problem"] == "" and node.text("/kubepods", "min") == str(6 * GIB)
    assert any("allowed (protection_above_80_percent)" in note for note in answer["notes"])


@pytest.mark.parametrize(("now", "allow", "end"), [("", [], None), ("", ["high_below_working_set"], GIB), (str(19 * GIB // 10), [], 19 * GIB // 10)])
def test_an_interrupted_run_is_undone_where_that_stops_no_container(make: Make, now: str, allow: list[str], end: int | None) -> None:
    """Else it is refused, as all that would kill; what somebody has written since stays, and is no reason to refuse."""
    node = Node(make(systemd=0, writer=Killed))
    place = node.pod("b", "BestEffort", label="BE")
    node.cgroup(place, high=str(GIB))
    killer = t.cast("Killed", node.machine.node)
    killer.line = "rename /var/lib/memqos/generations/1.json"
    assert in_child(lambda: node.tune(profile(BE={"throttle": {"of": "limit", "share": (9, 10)}}))) == signal.SIGKILL
    killer.line = ""
    ours = node.text(place, "high")
    node.cgroup(place, current=str(17 * GIB // 10), stat="inactive_file 0", **({"high": now} if now else {}))
    if end is None:
        with pytest.raises(_tune.TuneError, match=r"1\.00 GiB is below 90 % of its working set .*memqos_allow_risks: \[high_below_working_set\]"):
            node.machine.tune(profile(), only=["watermarks"])
    else:
        assert node.machine.tune(profile(), only=["watermarks"], allow=allow)["problem"] == ""
    assert node.text(place, "high") == (ours if end is None else str(end))


# What stands because of us


def test_of_another_boot_nothing_goes_back(node: Node) -> None:
    place = f"{node.machine.mount}{node.pod('a', label='LS')}"
    inode = os.stat(node.machine.root + place).st_ino
    node.cgroup(node.place("a"), low="8192")
    ours = Memcg(place, inode, (("memory.low", "0", "8192"),))
    boot = node.machine.text("/proc/sys/kernel/random/boot_id")
    assert node.part(intents={}, origin=[MemcgsStep((ours,), (), "another boot")]).step is None
    back = node.part(intents={}, origin=[MemcgsStep((ours,), (), str(boot))]).step
    assert back == MemcgsStep((ours._replace(values=(("memory.low", "8192", "0"),)),))


def test_a_tune_a_second_one_and_the_way_back(node: Node) -> None:
    place = node.pod("a", label="LS")
    before = node.machine.snapshot()
    assert node.tune(profile(**COLOCATED), check=True)["changed"] and node.machine.snapshot() == before
    first = node.tune(profile(**COLOCATED))
    assert (first["problem"], first["generation"], node.text(place, "low")) == ("", 1, str(GIB))
    assert {cell["status"] for one in first["containers"] for cell in one["values"].values()} == {"changed"}
    again = node.tune(profile(**COLOCATED))
    assert (again["changed"], again["generation"]) == (False, 0)
    node.pod("b", label="LS")  # a new one
    third = node.tune(profile(**COLOCATED))
    assert third["changed"] and node.text("/kubepods", "low") == str(2 * GIB)
    node.pods.pop()
    node.tune(profile())
    assert node.text(place, "low") == node.text("/kubepods", "low") == "0"


def test_only_containers_leaves_the_rest_as_it_was(node: Node) -> None:
    place = node.pod("a", label="LS")
    layer = {**profile(**COLOCATED), "host": {"vm.swappiness": {"value": 10}}}
    answer = node.tune(layer, only=["memcg_qos"])
    assert (node.text(place, "low"), node.machine.text("vm.swappiness"), answer["files"]) == (str(GIB), "60", [])


# Systemd's

REDIS, UNITS = "/system.slice/redis-server.service", "/run/systemd/system.control"


def redis(node: Node, size: int = MIB) -> Json:
    return node.tune(profile(**COLOCATED), declared=[{"match": "redis-server.service", "qos_class": "LS", "request": size}])


def drop_ins(node: Node) -> set[str]:
    return {name[len(UNITS) + 1 :] for name in node.machine.snapshot() if name.startswith(f"{UNITS}/") and name.endswith(".conf")}


OURS = {"redis-server.service.d/50-MemoryLow.conf", "system.slice.d/50-MemoryLow.conf"}


@pytest.mark.parametrize("is_last", [True, False])
def test_run_time_drop_ins_of_lasting_units_go_with_their_values(by_systemd: Node, is_last: bool) -> None:
    """By a rollback, or by a tune that wants no more of it; and systemd has read that."""
    before = by_systemd.machine.snapshot()
    assert redis(by_systemd)["problem"] == "" and drop_ins(by_systemd) == OURS
    redis(by_systemd, 2 * MIB)
    assert (by_systemd.text(REDIS, "low"), by_systemd.text("/system.slice", "low"), drop_ins(by_systemd)) == (str(2 * MIB), str(2 * MIB), OURS)
    answer = by_systemd.machine.rollback("origin") if is_last else by_systemd.tune(profile())
    assert answer["problem"] == "" and drop_ins(by_systemd) == set()
    assert by_systemd.machine.snapshot() == before
    shown = by_systemd.machine.node.systemd.answer(["systemctl", "show", "--property=NeedDaemonReload", "--", "system.slice"])
    assert shown == "NeedDaemonReload=no\n"


def test_a_drop_in_that_was_there_before_stays(by_systemd: Node) -> None:
    by_systemd.machine.node.systemd.answer(["systemctl", "set-property", "--runtime", "--", "system.slice", "MemoryLow=4096"])
    redis(by_systemd)
    assert by_systemd.text("/system.slice", "low") == str(MIB)
    by_systemd.machine.rollback("origin")
    assert by_systemd.text("/system.slice", "low") == "4096" and drop_ins(by_systemd) == {"system.slice.d/50-MemoryLow.conf"}


def test_a_tune_that_fails_after_them_leaves_no_drop_in(by_systemd: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    before, put = by_systemd.machine.snapshot(), _memcgs._put

    def failing(memcg: Memcg, *more: t.Any) -> bool:
        if memcg.unit == "redis-server.service":
            raise _memcgs.Failed(memcg.path, "it does not take that")
        return put(memcg, *more)

    monkeypatch.setattr(_memcgs, "_put", failing)
    assert "it does not take that" in redis(by_systemd)["problem"] and by_systemd.machine.snapshot() == before


def test_a_transient_unit_has_its_own_and_keeps_them(by_systemd: Node) -> None:
    by_systemd.machine.write("/run/systemd/transient/redis-server.service", "[Service]\n")
    redis(by_systemd)
    by_systemd.machine.rollback("origin")
    assert by_systemd.text(REDIS, "low") == "0" and drop_ins(by_systemd) == {"redis-server.service.d/50-MemoryLow.conf"}


def test_a_unit_that_was_started_anew_has_our_values_and_loses_them_all_the_same(by_systemd: Node) -> None:
    before = by_systemd.machine.snapshot()
    redis(by_systemd)
    by_systemd.machine.stop("redis-server.service")
    os.makedirs(f"{by_systemd.machine.root}{by_systemd.machine.mount}/another/inode")
    by_systemd.machine.start("redis-server.service", REDIS)
    os.removedirs(f"{by_systemd.machine.root}{by_systemd.machine.mount}/another/inode")
    assert by_systemd.text(REDIS, "low") == str(MIB) and redis(by_systemd)["changed"] is False
    assert by_systemd.machine.rollback("origin")["problem"] == ""
    assert by_systemd.machine.snapshot() == before


def test_a_unit_that_has_stopped_is_not_started_with_our_values_later(by_systemd: Node) -> None:
    redis(by_systemd)
    by_systemd.machine.stop("redis-server.service")
    by_systemd.tune(profile(**COLOCATED))
    assert by_systemd.machine.rollback("origin")["problem"] == "" and drop_ins(by_systemd) == set()


def test_what_others_have_set_since_stays_with_its_drop_in(by_systemd: Node) -> None:
    redis(by_systemd)
    by_systemd.machine.node.systemd.answer(["systemctl", "set-property", "--runtime", "--", "system.slice", "MemoryLow=12288"])
    by_systemd.machine.rollback("origin")
    assert by_systemd.text("/system.slice", "low") == "12288" and drop_ins(by_systemd) == {"system.slice.d/50-MemoryLow.conf"}


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/kubepods.slice", "kubepods.slice"),
        ("/kubepods.slice/kubepods-burstable.slice", "kubepods-burstable.slice"),
        ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-1.scope", "cri-containerd-1.scope"),
        ("/system.slice/redis.service", "redis.service"),
        ("/init.scope", "init.scope"),
        ("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice", "kubelet-kubepods-pod1.slice"),
        ("/kubelet-kubepods.slice", ""),  # no slice of that name lies there: another systemd's
        ("/kubepods.slice/burstable.slice", ""),
        ("/system.slice/docker-1.scope/system.slice/redis.service", ""),  # of the systemd in a container
        ("/system.slice/docker-1.scope/init.scope", ""),
        ("/docker/1/system.slice", ""),
        ("/docker/1/redis.service", ""),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice", ""),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app.service", ""),
        ("/kubepods/burstable/pod1", ""),
        ("/system.slice/redis.service/worker", ""),
        ("/", ""),
    ],
)
def test_the_unit_of_a_cgroup(path: str, unit: str) -> None:
    assert unit_of(path) == unit


def test_units_get_properties_which_a_reload_keeps(by_systemd: Node) -> None:
    place = by_systemd.pod("a", label="LS")
    pod = place.rpartition("/")[0]
    answer = by_systemd.tune(profile(LS={**COLOCATED["LS"], "kill_together": True}))
    assert answer["problem"] == "" and by_systemd.text(place, "low") == by_systemd.text(pod, "low") == str(GIB)
    assert by_systemd.text(place, "oom.group") == "1"
    by_systemd.machine.systemctl(["systemctl", "daemon-reload"])
    assert by_systemd.text(place, "low") == by_systemd.text("/kubepods.slice", "low") == str(GIB)
    assert not by_systemd.tune(profile(LS={**COLOCATED["LS"], "kill_together": True}))["changed"]
    back = by_systemd.machine.rollback()
    assert back["problem"] == "" and {by_systemd.text(path, "low") for path in (place, pod, "/kubepods.slice")} == {"0"}
    assert by_systemd.text(place, "oom.group") == "0"
    by_systemd.machine.systemctl(["systemctl", "daemon-reload"])
    assert {by_systemd.text(path, "low") for path in (place, pod, "/kubepods.slice")} == {"0"}


def test_the_same_names_without_systemd_are_plain_directories(by_systemd: Node) -> None:
    by_systemd.pod("a", label="LS")
    with_it = by_systemd.part().step
    by_systemd.facts = {}
    without = by_systemd.part().step
    assert with_it and without and all(memcg.unit for memcg in with_it.memcgs) and not any(memcg.unit for memcg in without.memcgs)


def test_what_two_intents_set_alike_is_the_first_ones(node: Node) -> None:
    place = node.pod("a", label="BE")
    half, mark = {"of": "limit", "share": [1, 2]}, {"ratio": 95, "gap": 20}
    (cell,) = row(node.part(intents={"BE": {"throttle": half, "background_reclaim": mark}}), place)["values"].values()
    assert (cell["wanted"], cell["origin"], cell["equivalence"]) == (str(GIB), "profile: throttle, background_reclaim", "native")
    assert cell["reason"].startswith("near for background_reclaim: ")


def test_slices_of_a_profile_come_before_qos(node: Node) -> None:
    place = node.pod("a", label="LS")
    taken = f"{node.machine.mount}/kubepods/memory.low"
    present = _present.read(node.tree, knobs=(), subjects=(), properties=())
    asked = Asked(pods=node.pods, intents=COLOCATED)
    made = _qos_work.part(asked, (), present, Options(**{**OPTIONS, "only": (), "allow": ()}), node.tree, Writer(node.machine.root), {taken: 4096})
    cell = row(made, "/kubepods")["values"]["memory.low"]
    assert (cell["status"], cell["reason"]) == ("deferred", "left to the slices of a profile, which set it")
    assert row(made, place)["values"]["memory.low"]["status"] == "would_change"


def test_a_slice_of_a_profile_and_qos_do_not_take_turns(by_systemd: Node) -> None:
    by_systemd.pod("a", label="LS")
    slices = {"profile": "ours", "host": {}, "slices": {"kubepods.slice": {"MemoryLow": {"value": 3 * GIB}}}, "qos": COLOCATED}
    for changed in (True, False):
        answer = by_systemd.tune(slices)
        assert (answer["problem"], answer["changed"]) == ("", changed)
        with open(f"{by_systemd.machine.root}{by_systemd.machine.mount}/kubepods.slice/memory.low", encoding="ascii") as stream:
            assert stream.read().strip() == str(3 * GIB)


def test_a_model_says_that_intents_do_not_count(node: Node) -> None:
    node.pod("a", label="LS")
    assert "qos of profiles does not count: the model is koordinator" in node.part(model="koordinator", config=STRATEGY).notes


def test_two_roots_of_pods_have_sums_of_their_own(node: Node) -> None:
    """Where one kubelet changed its driver, or two share a node."""
    node.pod("a", label="LS")
    node.driver = "systemd"
    place = node.pod("b", label="LS", request=GIB // 2)
    made = node.part(model="koordinator", config=STRATEGY)
    assert cells(made)["kubepods"]["memory.low"][0] == cells(made)["burstable"]["memory.low"][0] == str(GIB)
    assert cells(made)["kubepods.slice"]["memory.low"][0] == cells(made)["kubepods-burstable.slice"]["memory.low"][0] == str(GIB // 2)
    assert row(made, place)["values"]["memory.low"]["wanted"] == str(GIB // 2)


# What else has a say


def bundle(node: Node, identifier: str, name: str, uid: str) -> None:
    annotations = {"io.kubernetes.cri.container-name": name, "io.kubernetes.cri.sandbox-uid": uid}
    node.machine.write(f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{identifier}/config.json", json.dumps({"annotations": annotations}))


def test_what_a_foreign_cgroup_above_has_is_no_change_at_every_run_and_told(make: Make) -> None:
    """Of a cgroup that the profile wants nothing of."""
    machine = make(systemd=0)
    machine.cgroup_files.update(MARKS)
    node = Node(machine)
    place, layer = node.pod("a", label="LS"), profile(LS={"min_watermark": -25})
    node.cgroup("/kubepods", wmark_min_adj="-10")
    node.tune(layer)
    # The kernel shows the highest.
    node.cgroup(place, wmark_min_adj="-10")
    answer = node.tune(layer)
    cell = row(answer, place)["values"]["memory.wmark_min_adj"]
    assert (answer["changed"], cell["status"], cell["reason"]) == (False, "ok", "it reads -10: a cgroup above has that")


def test_a_page_cache_limit_that_the_limit_clamps_is_no_change_at_every_run(make: Make) -> None:
    machine = make(systemd=0)
    machine.cgroup_files.update({"memory.pagecache_limit.size": "0", "memory.pagecache_limit.enable": "0"})
    node = Node(machine)
    place, layer = node.pod("a", label="LS", limit=64 * MIB), profile(LS={"page_cache_limit": {"bytes": GIB}})
    node.tune(layer)
    node.cgroup(place, max=str(32 * MIB), **{"pagecache_limit.size": str(32 * MIB)})
    answer = node.tune(layer)
    cell = row(answer, place)["values"]["memory.pagecache_limit.size"]
    assert (answer["changed"], cell["status"], cell["reason"]) == (False, "ok", f"it reads {32 * MIB}: no more than the limit")
    # The kernel clamps it when it is written, not when the limit becomes less.
    node.cgroup(place, **{"pagecache_limit.size": str(64 * MIB)})
    cell = row(node.tune(layer), place)["values"]["memory.pagecache_limit.size"]
    assert (cell["status"], cell["reason"]) == ("ok", "")


def test_a_clamped_page_cache_limit_is_ours_when_the_limit_has_grown(make: Make) -> None:
    machine = make(systemd=0)
    machine.cgroup_files.update({"memory.pagecache_limit.size": "0", "memory.pagecache_limit.enable": "0"})
    node = Node(machine)
    place = node.pod("a", label="LS", limit=2 * GIB)
    # The list is of a limit that is still to come.
    node.cgroup(place, max=str(64 * MIB))
    assert node.tune(profile(LS={"page_cache_limit": {"bytes": GIB}}))["changed"]
    assert node.text(place, "pagecache_limit.size") == str(64 * MIB)
    node.cgroup(place, max=str(96 * MIB))
    answer = node.tune(profile(LS={"page_cache_limit": {"bytes": 0}, "protect_soft": {"bytes": 0}}))
    assert answer["problem"] == "" and node.text(place, "pagecache_limit.size") == "0"
    node.tune(profile(LS={"page_cache_limit": {"bytes": GIB}}))
    # What goes back is written as it was, and forgotten.
    node.cgroup(place, max=str(128 * MIB))
    assert machine.rollback("origin")["problem"] == "" and node.text(place, "pagecache_limit.size") == "0"


def test_a_page_cache_limit_goes_back_below_a_smaller_limit_once(make: Make) -> None:
    machine = make(systemd=0)
    machine.cgroup_files.update({"memory.pagecache_limit.size": "0", "memory.pagecache_limit.enable": "0"})
    node = Node(machine)
    place = node.pod("a", label="LS", limit=GIB)
    node.cgroup(place, **{"pagecache_limit.size": str(64 * MIB)})
    protects = {"protect_soft": {"bytes": MIB}}
    node.tune(profile(LS={**protects, "page_cache_limit": {"bytes": 16 * MIB}}))
    node.cgroup(place, max=str(32 * MIB))
    assert node.tune(profile(LS=protects))["changed"]
    again = node.tune(profile(LS=protects))
    assert (again["changed"], again["generation"]) == (False, 0)


def test_a_watermark_that_the_same_tune_hides_is_told_at_once(make: Make) -> None:
    machine = make(systemd=0)
    machine.cgroup_files.update(MARKS)
    node = Node(machine)
    for path, adj in (("/app", "0"), ("/app/web", "-25")):
        node.cgroup(path, wmark_min_adj=adj)
    declared = [{"match": "/app", "qos_class": "BE"}, {"match": "/app/web", "qos_class": "LS"}]
    made = node.part(declared=declared, intents={"BE": {"min_watermark": 50}, "LS": {"min_watermark": -25}})
    cell = row(made, "/app/web")["values"]["memory.wmark_min_adj"]
    assert (cell["status"], cell["reason"]) == ("ok", "it reads 50: a cgroup above has that")


@pytest.mark.parametrize(("more", "size"), [({"limit": 2**63 - 1}, {"pageCacheLimitPercent": 100}), ({"limit": 0}, {"pageCacheLimitSize": 2**63 - 1})])
def test_a_page_cache_limit_has_no_word_for_none(make: Make, more: Json, size: Json) -> None:
    machine = make(systemd=0)
    machine.cgroup_files.update({"memory.pagecache_limit.size": "0", "memory.pagecache_limit.enable": "0"})
    node = Node(machine)
    node.pod("a", label="LS", memory_qos={**size, "policy": "auto"}, **more)
    made = node.part(model="koordinator")
    (wanted,) = {one["values"]["memory.pagecache_limit.size"]["wanted"] for one in made.rows if "memory.pagecache_limit.size" in one["values"]}
    assert wanted == str(2**63 - 1)


def test_ranks_of_what_holds_containers_do_not_come_near(make: Make) -> None:
    """openEuler has two levels; containers of one rank have one of them."""
    machine = make(systemd=0)
    machine.cgroup_files["memory.qos_level"] = "0"
    node = Node(machine)
    place = node.pod("a", label="LS")
    ranked = {"enable": True, "priorityEnable": 1}
    made = node.part(model="koordinator", config={"lsrClass": {"memoryQOS": ranked}, "lsClass": {"memoryQOS": {**ranked, "priority": 12}}})
    assert "memory.qos_level" not in row(made, place)["values"]
    assert row(made, place)["none"]


@pytest.mark.parametrize(("switch", "note"), [("0", True), ("1", False), (None, False)])
def test_a_switch_of_the_host_that_is_off_is_told(make: Make, switch: str | None, note: bool) -> None:
    machine = make(systemd=0)
    machine.cgroup_files["memory.qos_level"] = "0"
    if switch:
        machine.write("/proc/sys/vm/memcg_qos_enable", f"{switch}\n")
    node = Node(machine)
    place = node.pod("a", label="BE")
    said = "memory.qos_level is without effect while vm.memcg_qos_enable is 0: a profile can set it, under host"
    made = node.part(intents={"BE": {"kill_first": True}})
    assert (said in made.notes) is note
    assert row(made, place)["values"]["memory.qos_level"]["reason"] == ("without effect while vm.memcg_qos_enable is 0" if note else "")
    assert not any("without effect" in one for one in node.part(intents={"BE": {"kill_first": False}}).notes)


def test_a_switch_that_the_same_tune_sets(make: Make) -> None:
    machine = make(systemd=0)
    machine.cgroup_files["memory.qos_level"] = "0"
    machine.write("/proc/sys/vm/memcg_qos_enable", "0\n")
    node = Node(machine)
    node.pod("a", label="BE")
    layer = {**profile(BE={"kill_first": True}), "host": {"vm.memcg_qos_enable": {"value": 1}}}
    answer = node.tune(layer)
    assert answer["problem"] == "" and not any("without effect" in note for note in answer["notes"])


@pytest.mark.parametrize("policy", ["report", "refuse"])
def test_koordlet_and_the_kubelet_write_below_kubepods_only(node: Node, policy: str) -> None:
    node.pod("a", "BestEffort")
    kubelet = Kubelet("/var/lib/kubelet/config.yaml", "", False, True)
    declared = [{"match": "redis-server.service", "qos_class": "LS", "request": 64 * MIB}]
    for persisted in ({"kubelet": kubelet}, {"writers": ["koordlet"]}):
        made = node.part(persisted=persisted, options={"on_conflict": policy}, declared=declared, intents={"LS": COLOCATED["LS"]})
        assert (cells(made)["redis-server.service"]["memory.low"][1], made.blocked) == ("would_change", "")


def test_a_kubelet_that_may_write_is_another_writer(node: Node) -> None:
    """Settings without the gate: from 1.37 on it is open by default."""
    place = node.pod("a", label="LS")
    cell = row(node.part(persisted={"kubelet": Kubelet("/c.yaml", "", False, None)}), place)["values"]["memory.low"]
    assert cell["status"] == "conflict" and cell["reason"].startswith("the kubelet (MemoryQoS, /c.yaml, as its version has it) writes it too")


@pytest.mark.parametrize(("memory_qos", "resets", "told"), [(False, True, True), (False, False, False), (True, True, False)])
def test_a_kubelet_that_takes_protection_back_is_told_once(node: Node, memory_qos: bool, resets: bool, told: bool) -> None:
    for name in "abc":
        node.pod(name, label="LS")
    persisted = {"kubelet": Kubelet("/c.yaml", "", False, memory_qos, resets=resets)}
    places = "/sys/fs/cgroup/kubepods/memory.low, /sys/fs/cgroup/kubepods/burstable/memory.low"
    said = f"a kubelet of 1.37 or later sets {places} to 0 every minute, and what it protects with it: "
    assert [note.startswith(said) for note in node.part(persisted=persisted).notes if "every minute" in note] == [True] * told
    assert not any("every minute" in note for note in node.part(intents={"LS": {"protect_soft": {"bytes": 0}}}, persisted=persisted).notes)


@pytest.mark.parametrize(
    "kubelet", [Kubelet("/c.yaml", "", False, False, resets=True), Kubelet("/c.yaml", "", False, None), Kubelet("/c.yaml", "", False, True)]
)
def test_on_v1_a_kubelet_writes_no_memory_qos(make: Make, kubelet: Kubelet) -> None:
    machine = make(systemd=0, hierarchy=1)
    machine.cgroup_files.update({"memory.low": "0"})
    node = Node(machine)
    place = node.pod("a", label="LS")
    made = node.part(persisted={"kubelet": kubelet}, options={"on_conflict": "refuse"})
    assert low_of(made, place) == (str(GIB), "would_change") and made.blocked == "" and not any("kubelet" in note for note in made.notes)


@pytest.mark.parametrize(
    ("more", "said", "pod"),
    [
        ({}, {"request": 4 * GIB}, 4 * GIB),
        ({"request": 6 * GIB}, {"request": 4 * GIB}, 6 * GIB),  # of an init container
        ({"request": 4 * GIB, "pod_request": 4 * GIB}, {"request": 2 * GIB}, 4 * GIB),  # its own word
        ({"request": None}, {"request": 2 * GIB}, 2 * GIB),
        ({}, {"request": MIB}, MIB),
        ({}, {"limit": None}, GIB),
    ],
)
def test_what_the_inventory_says_of_a_container_counts_for_its_pod_too(node: Node, more: Json, said: Json, pod: int) -> None:
    place = node.pod("a", label="LS", limit=8 * GIB)
    node.pods[0] = {key: value for key, value in {**node.pods[0], **more}.items() if value is not None}
    if more.get("request", GIB) is None:
        node.pods[0]["containers"][0].pop("request")
    made = node.part(declared=[{"match": "shop/a/main", **said}], model="koordinator", config=STRATEGY)
    assert {low_of(made, path)[0] for path in (place.rpartition("/")[0], "/burstable", "/kubepods")} == {str(pod)}
    assert low_of(made, place)[0] == str(said.get("request", GIB))


def test_the_inventorys_limits_count_for_the_pod(make: Make) -> None:
    machine = make(systemd=0)
    machine.cgroup_files.update({"memory.pagecache_limit.size": "0", "memory.pagecache_limit.enable": "0"})
    node = Node(machine)
    place = node.pod("a", label="LS", limit=2 * GIB)
    config = {"lsClass": {"memoryQOS": {"enable": True, "pageCacheEnable": True, "pageCacheLimitPercent": 50}}}
    for limit, size in ((4 * GIB, str(2 * GIB)), (None, None)):
        values = row(node.part(model="koordinator", config=config, declared=[{"match": "shop/a/main", "limit": limit}]), place.rpartition("/")[0])["values"]
        assert values.get("memory.pagecache_limit.size", {}).get("wanted") == size


def test_two_cgroups_with_one_containers_name_count_once(node: Node) -> None:
    """The old one is still there."""
    place = node.pod("a", label="LS", limit=8 * GIB)
    pod = place.rpartition("/")[0]
    node.cgroup(f"{pod}/{IDS['e']}", max=str(GIB))
    bundle(node, IDS["e"], "main", UIDS["a"])
    made = node.part(declared=[{"match": "*main", "request": 2 * GIB}], model="koordinator", config=STRATEGY)
    assert low_of(made, pod)[0] == str(2 * GIB)


def test_koordlet_looks_at_listed_containers_and_at_all_of_them(node: Node) -> None:
    """One that was added to a running pod has nothing; one that waits to start again counts for its pod."""
    place = node.pod("a", label="BE", qos="BestEffort", request=GIB, limit=2 * GIB)
    node.pods[0]["containers"].append({"name": "second", "id": IDS["d"], "batch_request": GIB, "batch_limit": 2 * GIB})
    pod = place.rpartition("/")[0]
    node.cgroup(f"{pod}/{IDS['e']}", max=str(GIB))
    bundle(node, IDS["e"], "debugger", UIDS["a"])
    made = node.part(model="koordinator", config={"beClass": {"memoryQOS": HALF}})
    assert IDS["e"] not in cells(made)
    assert cells(made)[f"pod{UIDS['a']}"]["memory.low"][0] == str(2 * GIB)


def test_what_a_pod_requests_by_itself_is_protected_on_the_pod(node: Node) -> None:
    place = node.pod("a", label="LS", pod_request=3 * GIB)
    made = node.part()
    assert [low_of(made, path)[0] for path in (place, place.rpartition("/")[0], "/burstable", "/kubepods")] == [str(GIB), *[str(3 * GIB)] * 3]
    node.pods[0]["pod_request"] = MIB  # less than its containers have
    assert low_of(node.part(), place.rpartition("/")[0])[0] == str(GIB)
    guaranteed = node.pod("b", "Guaranteed", label="LS", request=GIB, limit=GIB, pod_request=2 * GIB)
    made = node.part()
    assert (low_of(made, guaranteed.rpartition("/")[0])[0], low_of(made, "/kubepods")[0]) == (str(2 * GIB), str(3 * GIB))


def test_a_page_cache_limit_of_a_pod_comes_near_on_the_pod(make: Make) -> None:
    """Koordlet has it there alone. What else comes near is on its containers, and that is told."""
    machine = make(systemd=0)
    machine.cgroup_files.update({"memory.pagecache.max_ratio": "0"})
    node = Node(machine)
    place = node.pod("a", label="LS")
    cache = {"pageCacheEnable": True, "pageCacheLimitPercent": 50, "pageCacheReclaimSync": False}
    pod = row(node.part(model="koordinator", config={"lsClass": {"memoryQOS": {"enable": True, **cache}}}), place.rpartition("/")[0])
    assert pod["values"]["memory.pagecache.max_ratio"]["wanted"] == "50" and pod["values"]["memory.pagecache.max_ratio"]["equivalence"] == "near"
    assert {one["intent"]: one["reason"] for one in pod["none"]}["background_reclaim"] == "what comes near is set on containers"


def test_who_says_a_request_is_told_and_an_estimate_is_one(node: Node) -> None:
    listed, alone = node.pod("a", label="LS"), node.pod("b", listed=False)
    node.machine.write(f"{node.machine.mount}{alone}/cgroup.procs", "4242\n")
    node.machine.write("/proc/4242/oom_score_adj", "900\n")
    made = node.part()
    assert row(made, listed)["source"] == "pod list"
    assert row(made, alone)["source"] == row(made, alone.rpartition("/")[0])["source"] == "oom_score_adj (±0.1 % of memory)"


@pytest.mark.parametrize(("texts", "total"), [(("1", "2"), "3"), (("max", "2"), "max"), (("1", "max"), "max")])
def test_no_limit_and_more_is_no_limit(texts: tuple[str, str], total: str) -> None:
    assert _qos_work._sum(*texts) == total


def test_absurd_requests_are_no_limit(node: Node) -> None:
    """What three of them add up to."""
    node.cgroup("/system.slice/cron.service")
    node.cgroup("/system.slice/a.service")
    declared = [{"match": name, "qos_class": "LS", "request": (1 << 63) - 1} for name in ("redis-server.service", "cron.service", "a.service")]
    made = node.part(declared=declared)
    assert low_of(made, "/system.slice") == ("max", "would_change")


def test_a_value_that_goes_back_does_not_count_for_those_below(make: Make) -> None:
    machine = make(systemd=0)
    machine.cgroup_files.update(MARKS)
    node = Node(machine)
    place = node.pod("a", label="LS")
    pod = place.rpartition("/")[0]
    ours = MemcgsStep((Memcg(f"{machine.mount}{pod}", 0, (("memory.wmark_min_adj", "0", "50"),), makes=("memory.wmark_min_adj",)),), (), BOOT)
    node.cgroup(pod, wmark_min_adj="50")
    node.cgroup(place, wmark_min_adj="50")
    cell = row(node.part(intents={"LS": {"min_watermark": 10}}, origin=[ours]), place)["values"]["memory.wmark_min_adj"]
    assert (cell["status"], cell["reason"]) == ("would_change", "")
    node.cgroup(pod, wmark_min_adj="40")  # somebody else's, which stays
    node.cgroup(place, wmark_min_adj="40")
    cell = row(node.part(intents={"LS": {"min_watermark": 10}}, origin=[ours]), place)["values"]["memory.wmark_min_adj"]
    assert (cell["status"], cell["reason"]) == ("ok", "it reads 40: a cgroup above has that")


def test_a_host_says_the_class_of_a_unit_over_all_profiles(node: Node) -> None:
    first = profile(LS={"protect_soft": {"bytes": MIB}}, BE={"units": ["*.service"], "throttle": {"bytes": GIB}})
    asked = _qos_work.asked({}, [first, profile(LS={"units": ["redis-server.service"]})])
    assert row(node.part(declared=asked.declared, intents=asked.intents), "redis-server.service")["class"] == "LS"


@pytest.mark.parametrize("above", ["/user.slice/user-1000.slice/user@1000.service/app.slice", f"/machine.slice/libpod-{'c' * 64}.scope/system.slice"])
def test_a_unit_of_another_systemd_is_not_meant_by_its_name(node: Node, above: str) -> None:
    """Anybody can name one so. By its path it can be meant."""
    place = f"{above}/redis-server.service"
    node.cgroup(place)
    intents = {"LS": {"protect_soft": {"bytes": MIB}}}
    named, placed = (node.part(declared=[{"match": match, "qos_class": "LS"}], intents=intents) for match in ("redis-server.service", place))
    assert [any(one["path"].endswith(place) for one in made.rows) for made in (named, placed)] == [False, True]
