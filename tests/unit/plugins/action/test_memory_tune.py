# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""memory_tune as a task: what goes to the node, what the task returns and shows, and proposals. The node is a captured one."""

from __future__ import annotations

import json
import shutil
import typing as t
import unittest.mock
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.utils.display import Display

from ansible_collections.memqos.fleet.plugins.action import memory_tune
from ansible_collections.memqos.fleet.plugins.module_utils import _module
from ansible_collections.memqos.fleet.plugins.modules import memory_tune as module
from ansible_collections.memqos.fleet.plugins.plugin_utils import _results, _tuning
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_pods import container, pod

FIXTURES = Path(__file__).parents[2] / "fixtures"
TREE = str(FIXTURES / "trees" / "debian13-6.12-v2")
BOOT_ID = "6f1f2f0c-5f0a-4e0e-9c3e-0a5f7b1c2d3e"


class Task:
    """As much of a task as an action plugin looks at."""

    def __init__(self, arguments: dict[str, t.Any], *, check: bool, diff: bool) -> None:
        self.args = arguments
        self.async_val = 0
        self.check_mode = check
        self.diff = diff
        self.action = "memqos.fleet.memory_tune"
        self.resolved_action = self.action
        self.collections: list[str] = []
        self.no_log = False


class Node:
    """Answers as the module does on a captured node, and keeps what it was asked."""

    tree = TREE

    def __init__(self) -> None:
        self.asked: list[dict[str, t.Any]] = []
        self.commands: list[str] = []
        self.boot_id: dict[str, t.Any] = {"rc": 0, "stdout": f"{BOOT_ID}\n"}
        self.answer: dict[str, t.Any] | None = None

    def execute(self, name: str, *, module_args: dict[str, t.Any], task_vars: object) -> dict[str, t.Any]:
        assert name == "memqos.fleet.memory_tune"
        self.asked.append(module_args)
        if self.answer is not None:
            return self.answer
        result = module.tune({"root": self.tree, "check_mode": True, "request": module_args["request"]})
        problem = result.pop("problem")
        return {**result, **({"failed": True, "msg": problem} if problem else {}), "invocation": {"module_args": module_args}}

    def command(self, text: str) -> dict[str, t.Any]:
        self.commands.append(text)
        return self.boot_id

    @property
    def request(self) -> dict[str, t.Any]:
        (asked,) = self.asked
        return _module.unpack(asked["request"])


@pytest.fixture(name="node")
def fixture_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    # The default directory is below the current one.
    monkeypatch.chdir(tmp_path)
    return Node()


@pytest.fixture(name="shown", autouse=True)
def fixture_shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    def keep(found: t.Iterable[Line]) -> None:
        lines.extend(line.text for line in found)

    monkeypatch.setattr(_tuning, "show", keep)
    return lines


def run(node: Node, arguments: dict[str, t.Any], *, check: bool = True, diff: bool = False, on: str = "n1") -> dict[str, t.Any]:
    loader = DataLoader()
    task = t.cast("t.Any", Task(arguments, check=check, diff=diff))
    plugin = memory_tune.ActionModule(task, unittest.mock.MagicMock(connected=False), t.cast("t.Any", None), loader, Templar(loader), None)
    with unittest.mock.patch.multiple(plugin, _execute_module=node.execute, _low_level_execute_command=node.command):
        return plugin.run(task_vars={"inventory_hostname": on})


def test_one_call_and_what_it_carries(node: Node) -> None:
    run(
        node,
        {"profile": ["balanced", {"name": "pool", "host": {"vm.swappiness": 20}}], "host": {"kernel.panic": 5}, "slices": {"a.slice": {"MemoryHigh": "1G"}}},
    )
    assert [layer["profile"] for layer in node.request["layers"]] == ["balanced", "pool", "host variables"]
    assert node.request["layers"][-1] == {
        "profile": "host variables",
        "host": {"kernel.panic": {"value": 5}},
        "slices": {"a.slice": {"MemoryHigh": {"value": "1G"}}},
    }
    assert node.request["options"] == {
        "on_conflict": "report",
        "fail_on_unsupported": False,
        "only": [],
        "allow": [],
        "sysctl_file": "zz-memqos.conf",
        "swap": False,
    }
    assert node.request["wait"] == 60
    assert node.request["meta"]["profiles"] == ["balanced", "pool"] and node.request["meta"]["run_id"] == _results.RUN_ID
    # The rest is for people who look at the node's processes or logs.
    assert {key: value for key, value in node.asked[0].items() if key != "request"} == {"profile": "balanced, pool", "root": "/"}
    assert node.commands == []


def test_options_reach_the_plan(node: Node) -> None:
    chosen = {"on_conflict": "take", "only": ["swap", "thp"], "allow_risks": ["oom_kill_disable"], "sysctl_file": "99-x.conf", "manage_swap": True}
    run(node, {"profile": "balanced", "on_unsupported": "fail", "lock_wait": 5, "keep_generations": 7, **chosen})
    assert node.request["options"] == {
        "on_conflict": "take", "fail_on_unsupported": True, "only": ["swap", "thp"], "allow": ["oom_kill_disable"], "sysctl_file": "99-x.conf",
        "swap": True,
    }  # fmt: skip
    assert node.request["wait"] == 5 and node.request["keep"]["generations"] == 7


def test_the_result(node: Node, shown: list[str], tmp_path: Path) -> None:
    result = run(node, {"profile": "balanced"})
    assert result == {"changed": True, "generation": 0, "counts": {"would_change": 1, "ok": 5}, "path": "build/report/tune/n1.json"}
    assert json.loads((tmp_path / result["path"]).read_bytes())["results"]
    assert shown == ["n1: check: 1 would change, 5 ok"]


def test_the_diff_says_what_from_to_who_and_why(node: Node) -> None:
    result = run(node, {"profile": "colocated"}, diff=True)
    said = "vm.watermark_scale_factor 10 → 150 colocated, raise to 1.5% of memory, at most 8.00 GiB: Batch work allocates in bursts"
    assert said.split() in [line.split() for line in result["diff"][0]["prepared"].splitlines()]


def test_a_refusal_fails_with_the_figures_and_shows_the_rest(node: Node, shown: list[str]) -> None:
    result = run(node, {"profile": "balanced", "host": {"vm.min_free_kbytes": "512MiB"}}, diff=True)
    assert result["failed"] and not result["changed"] and "diff" not in result
    assert result["msg"].startswith("nothing was written:\nvm.min_free_kbytes: 512 MiB is more than 5 % of memory")
    assert shown[0] == "n1: check: 1 refused, 1 would change, 5 ok"
    assert shown[1].startswith("  vm.watermark_scale_factor  10 → 20  balanced, raise to 0.2% of memory, at most 2.00 GiB: kswapd begins to reclaim")
    assert len(shown) == 2


def test_a_node_that_cannot_be_tuned(node: Node, shown: list[str]) -> None:
    node.answer = {"failed": True, "changed": False, "msg": "needs root: set ansible_become to true for this host"}
    result = run(node, {"profile": "balanced"}, diff=True)
    assert result == node.answer and shown == []


def test_a_hostile_answer(node: Node) -> None:
    node.answer = {"tune": '{"results": "\x1b[2J"}', "changed": True}
    with pytest.raises(AnsibleActionFail, match="n1: the node's answer is not the result of a tune"):
        run(node, {"profile": "balanced"})


WRONG = [
    ({}, "nothing to tune by: name a profile, a selection, or both"),
    ({"profile": "rediss"}, "there is no profile 'rediss': did you mean 'redis'?"),
    ({"profile": "balanced", "host": {"vm.swapiness": 1}}, "memqos_host: vm.swapiness: there is no host knob"),
    ({"profile": "balanced", "slices": {"a": {}}}, "memqos_slices: a: the name of a slice"),
    ({"profile": "balanced", "only": ["disk"]}, "one or more of: watermarks, swap, thp, writeback, memcg_qos, slices, host"),
    ({"profile": "balanced", "on_conflict": "win"}, "one of: report, defer, refuse, take"),
    ({"profile": "balanced", "on_unsupported": "skip"}, "one of: report, fail"),
    ({"profile": "balanced", "allow_risks": ["all"]}, "one or more of: limit_below_usage, high_below_working_set"),
    ({"profile": "balanced", "sysctl_file": "../x.conf"}, "the name of a file in /etc/sysctl.d is expected here"),
    ({"profile": "balanced", "keep_generations": 0}, "keep_generations=0: a number from 1 to 36500 is expected here"),
    ({"profile": "balanced", "profiles": []}, "Unsupported parameters"),
    ({"profile": "balanced", "qos": {"LX": {}}}, "memqos_qos: there is no class 'LX'"),
    ({"profile": "balanced", "qos_model": "best"}, "one of: profile, koordinator, kubelet"),
    ({"profile": "balanced", "kubelet": {"memoryThrottlingFactor": 1}}, "kubelet is for qos_model=kubelet"),
    ({"profile": "balanced", "workloads": [{"match": "x"}]}, "workloads[0] says nothing of 'x'"),
    ({"profile": "colocated", "pods_file": "nowhere.json"}, "nowhere.json: cannot be read: No such file"),
    ({"profile": "colocated", "pods": "all"}, "a list of pods is expected"),
    ({"profile": "balanced", "profiles_paths": ["/nowhere/at/all"]}, "/nowhere/at/all: is not a directory of profiles"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_wrong_arguments_are_answered_before_the_node_is_asked(node: Node, arguments: dict[str, t.Any], words: str) -> None:
    with pytest.raises(AnsibleError, match=words.replace("?", r"\?").replace("[", r"\[")):
        run(node, arguments)
    assert node.asked == [] and node.commands == []


# Containers

STRATEGY = {"lsClass": {"memoryQOS": {"enable": True, "lowLimitPercent": 60}}}


def cluster(tmp_path: Path, *pods: dict[str, t.Any]) -> str:
    """A file of all pods."""
    path = tmp_path / "pods.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(pods)}), encoding="utf-8")
    return str(path)


def test_a_node_is_sent_its_own_pods_of_a_file(node: Node, shown: list[str], tmp_path: Path) -> None:
    pods = [pod(container("main", "1Gi"), uid=f"uid-{number}", name=f"web-{number}", spec={"nodeName": f"n{number}"}) for number in (1, 2)]
    file = cluster(tmp_path, *pods, pod(container(), name="odd", uid="x/y"))
    run(node, {"profile": "colocated", "pods_file": file, "allocatable": "900Mi", "workloads": [{"match": "a.service", "qos_class": "LS"}]})
    assert node.request["qos"] == {
        "declared": [{"match": "a.service", "qos_class": "LS"}],
        "node": {"allocatable": 900 << 20},
        "pods": [
            {
                "uid": "uid-1", "namespace": "shop", "name": "web-1", "qos_class": "Burstable", "node": "n1", "request": 1 << 30,
                "containers": [{"name": "main", "id": "id-main", "runtime": "containerd", "request": 1 << 30}],
            }
        ],
    }  # fmt: skip
    (layer,) = [one for one in node.request["layers"] if one["profile"] == "colocated"]
    assert layer["qos"]["LS"]["protect_soft"] == {"of": "request", "share": [100, 100]}
    warning = "pods: pod shop/odd is left out: its metadata.uid is 'x/y', and no name of Kubernetes'"
    assert shown[0] == warning
    # The next host has its own, from what the first has read, and nothing is said twice.
    shown.clear()
    node.asked.clear()
    run(node, {"profile": "colocated", "pods_file": file}, on="n2")
    assert [one["name"] for one in node.request["qos"]["pods"]] == ["web-2"] and warning not in shown
    assert len([path for path in (tmp_path / "build" / "report" / "pods").iterdir() if path.is_dir()]) == 1


def test_a_host_of_another_name_says_so_and_is_tuned_all_the_same(node: Node, shown: list[str], tmp_path: Path) -> None:
    file = cluster(tmp_path, pod(container()))
    result = run(node, {"profile": "colocated", "pods_file": file}, on="node1.example.org")
    assert shown[0].startswith("node1.example.org: none of the pods is on a node 'node1.example.org', but on n1: node_name (memqos_node_name)")
    assert node.request["qos"] == {} and not result.get("failed")
    node.asked.clear()
    shown.clear()
    run(node, {"profile": "colocated", "pods_file": file, "node_name": "n1"}, on="node1.example.org")
    assert len(node.request["qos"]["pods"]) == 1 and "none of the pods" not in shown[0]


def test_what_a_model_needs_goes_with_it(node: Node) -> None:
    run(node, {"profile": "balanced", "qos_model": "koordinator", "qos_strategy": json.dumps(STRATEGY)})
    assert node.request["qos"] == {"model": "koordinator", "config": STRATEGY}
    node.asked.clear()
    run(node, {"profile": "balanced"})
    assert node.request["qos"] == {}


def test_a_node_slo_is_a_strategy_a_profile_after_all_others_and_workloads(node: Node) -> None:
    slo = {"resourceQOSStrategy": STRATEGY, "systemStrategy": {"watermarkScaleFactor": 150}, "hostApplications": [{"name": "nginx", "qos": "LS"}]}
    run(node, {"profile": "balanced", "host": {"vm.swappiness": 7}, "qos_model": "koordinator", "node_slo": {"kind": "NodeSLO", "spec": slo}})
    declared = [{"match": "/host-latency-sensitive/nginx", "qos_class": "LS"}]
    assert node.request["qos"] == {"model": "koordinator", "config": STRATEGY, "declared": declared}
    assert [layer["profile"] for layer in node.request["layers"]][-2:] == ["node_slo", "host variables"]
    assert node.request["meta"]["profiles"] == ["balanced", "node_slo"]
    with pytest.raises(AnsibleActionFail, match="node_slo is no JSON"):
        run(node, {"profile": "balanced", "node_slo": "{"})


def test_intents_of_a_profile_whose_condition_is_false_do_not_count(node: Node) -> None:
    one = {"name": "v1", "when": "facts.hierarchy == 'v1'", "qos": {"LS": {"protect_soft": "1MiB"}}}
    result = run(node, {"profile": [one, {"name": "own", "qos": {"LSR": {"protect_soft": "2MiB"}}}]})
    rows = json.loads(Path(result["path"]).read_bytes())["containers"]
    wanted = {row["name"]: row["values"]["memory.low"]["wanted"] for row in rows if row["level"] == "container"}
    assert wanted == {"shop/db-0/db": str(2 << 20)}


def test_what_the_host_says_of_containers_comes_last(node: Node) -> None:
    run(node, {"profile": "balanced", "qos": {"LS": {"protect_soft": {"of_request": "50%"}}}})
    assert node.request["layers"][-1]["qos"] == {"LS": {"protect_soft": {"of": "request", "share": [50, 100]}}}


def test_containers_of_a_real_node_from_request_to_report(node: Node, shown: list[str], tmp_path: Path) -> None:
    result = run(node, {"profile": "colocated"}, diff=True)
    assert result["containers"] == {"cgroups": 7, "changing": 7, "near": 0, "none": 8, "would_change": 7}
    assert "n1:   containers: 7 of 7 cgroups would change, 8 cannot be had" in shown
    assert "  memory.low: 0 → 66805760 (63.7 MiB) (profile: protect_soft)\n" in result["diff"][0]["prepared"]
    kept = json.loads((tmp_path / result["path"]).read_bytes())["containers"]
    assert {row["level"] for row in kept} == {"class", "pod", "container"} and len(kept) == 7


def test_the_guide_shows_what_there_is(node: Node, shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/qos.md, Setting them: its console lines, of the captured nodes."""
    guide = (FIXTURES.parents[2] / "docs" / "qos.md").read_text(encoding="utf-8").partition("## Setting them")[2].partition("### Pods")[0]
    lines = [line for block in guide.split("```console\n")[1:] for line in block.partition("```")[0].splitlines() if line != "…" and not line.startswith("$")]
    assert len(lines) > 10
    known = [
        ("web-0", "Burstable", "a", "32Mi", "64Mi", "0b5f6d2e-3c1a-4f7b-9d58-1a2b3c4d5e6f"),
        ("db-0", "Guaranteed", "b", "48Mi", "48Mi", "7c9e6679-7425-40de-944b-e07fc1f90ae7"),
    ]
    pods = [
        pod(container(name[:-2], request, limit), uid=uid, name=name, qos=qos, spec={"nodeName": "node17"},
            status={"containerStatuses": [{"name": name[:-2], "containerID": f"containerd://{letter * 64}"}]})
        for name, qos, letter, request, limit, uid in known
    ]  # fmt: skip
    file = cluster(tmp_path, *pods)
    said = str(run(node, {"profile": ["kubernetes_node", "colocated"], "pods_file": file}, diff=True, on="node17")["diff"][0]["prepared"])
    monkeypatch.setattr(Node, "tree", str(FIXTURES / "trees" / "debian12-6.1-v1"))
    node.asked.clear()
    said += str(run(node, {"profile": "colocated"}, diff=True, on="node18")["diff"][0]["prepared"])
    assert [line for line in lines if line not in (*shown, *said.splitlines())] == []


def test_all_of_containers_is_said_when_asked_for(node: Node, shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Display(), "verbosity", 1)
    run(node, {"profile": "colocated"})
    assert "n1:   shop/web-0/web (container, Burstable, request 63.7 MiB (estimated), limit 64.0 MiB)" in shown
    assert "n1:     cannot be had: min_watermark: all cgroups have the node's min watermark" in shown


# The profile auto


@pytest.fixture(name="audited")
def fixture_audited(tmp_path: Path) -> str:
    shutil.copytree(FIXTURES / "results", tmp_path / "report")
    return str(tmp_path / "report")


def test_auto_proposes_and_does_not_apply(node: Node, audited: str, shown: list[str]) -> None:
    result = run(node, {"profile": "auto", "directory": audited}, check=False, on="db-1")
    assert result["changed"] is False and node.asked == []
    assert result["proposal"] == [{"profile": "database", "evidence": ["postgresql@17-main.service uses 41.0 GiB of 252 GiB"]}]
    assert shown[:2] == [
        "db-1: proposes database; -e memqos_auto_apply=true applies it, with --check --diff shows what it would change",
        "db-1:   database: postgresql@17-main.service uses 41.0 GiB of 252 GiB",
    ]
    # The sample was made on 2026-11-23.
    assert "old" in shown[2] and "booted" not in shown[2]


def test_auto_applies_when_told(node: Node, audited: str, shown: list[str]) -> None:
    result = run(node, {"profile": "auto", "directory": audited, "auto_apply": True}, on="web-1")
    assert node.request["meta"]["profiles"] == ["kubernetes_node"]
    assert result["proposal"][0]["profile"] == "kubernetes_node" and result["counts"]["would_change"]
    assert shown[0] == "web-1: proposes kubernetes_node" and shown[-1].startswith("web-1: check:")


def test_auto_says_that_the_node_was_booted_since(node: Node, audited: str, shown: list[str]) -> None:
    node.boot_id = {"rc": 0, "stdout": "another\n"}
    run(node, {"profile": "auto", "directory": audited, "root": "/captured tree"}, on="db-1")
    assert shown[2].endswith("and from before the node was last booted: run it again")
    assert node.commands == ["cat '/captured tree/proc/sys/kernel/random/boot_id'"]


@pytest.mark.parametrize("answer", [{"rc": 1, "stdout": "another"}, {}, {"rc": 0, "stdout": ""}])
def test_auto_does_not_guess_at_a_boot_that_the_node_does_not_tell(node: Node, audited: str, shown: list[str], answer: dict[str, t.Any]) -> None:
    node.boot_id = answer
    run(node, {"profile": "auto", "directory": audited}, on="db-1")
    assert "booted" not in "\n".join(shown)


def test_auto_without_an_audit_says_to_run_one(node: Node) -> None:
    with pytest.raises(AnsibleActionFail, match=r"'auto' proposes by .* build/report/hosts/n1.json: cannot be read .* Run the audit first"):
        run(node, {"profile": "auto"})
    assert node.asked == [] and node.commands == []


def test_auto_names_a_profile_that_is_none(node: Node, audited: str, tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("name: other\n")
    with pytest.raises(AnsibleActionFail, match="a file is named after its profile"):
        run(node, {"profile": "auto", "directory": audited, "profiles_paths": [str(tmp_path)]}, on="db-1")
