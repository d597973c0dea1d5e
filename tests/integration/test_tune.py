# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbook tune as the guide says, in check mode, with a captured node in the place of every node of the example fleet."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest

from .conftest import ROOT, Ansible

TREE = ROOT / "tests" / "unit" / "fixtures" / "trees" / "debian13-6.12-v2"
PROFILES = {
    "node-a1.example.net": "colocated", "node-a2.example.net": "colocated", "db1.example.net": "database", "db2.example.net": "database",
    "batch-01.example.net": "batch", "batch-02.example.net": "batch",
}  # fmt: skip


@pytest.fixture(name="check")
def fixture_check(tmp_path: Path, ansible: Ansible, checkout_collections: Path) -> t.Callable[..., str]:
    def run(*arguments: str, **variables: t.Any) -> str:
        fixed = {"ansible_become": False, "ansible_python_interpreter": sys.executable, "memqos_report_dir": str(tmp_path), "memqos_root": str(TREE)}
        inventory = ["-i", str(ROOT / "examples" / "hosts.yml"), "-c", "local", "-e", json.dumps({**fixed, **variables})]
        return ansible("ansible-playbook", "memqos.fleet.tune", *inventory, "--check", *arguments, collections=checkout_collections, cwd=tmp_path)

    return run


def result(directory: Path, host: str) -> dict[str, t.Any]:
    return dict(json.loads((directory / "tune" / f"{host}.json").read_bytes()))


def test_every_pool_would_be_tuned_by_its_profile(check: t.Callable[..., str], tmp_path: Path) -> None:
    printed = check("--diff")
    found = {host: {row["profile"] for row in result(tmp_path, host)["results"]} for host in PROFILES}
    extended = {"colocated": {"balanced", "swap_readahead"}}
    assert found == {host: {profile, *extended.get(profile, {"balanced"})} for host, profile in PROFILES.items()}
    for host in PROFILES:
        assert f"{host}: check: " in printed and f"changed: [{host}]" in printed
    assert "vm.watermark_scale_factor  10 → 150" in printed and "+vm.watermark_scale_factor = 150" in printed
    assert "colocated, raise to 1.5% of memory, at most 8.00 GiB: Batch work allocates in bursts" in printed


def test_tags_choose_areas(check: t.Callable[..., str], tmp_path: Path) -> None:
    check("--tags", "watermarks,thp", "-l", "node-a1.example.net")
    assert {row["name"] for row in result(tmp_path, "node-a1.example.net")["results"]} == {
        "vm.watermark_scale_factor", "vm.min_free_kbytes", "transparent_hugepage/defrag",
    }  # fmt: skip


def names(directory: Path, host: str) -> set[str]:
    return {row["name"] for row in result(directory, host)["results"]}


def test_skipped_tags_leave_the_other_areas(check: t.Callable[..., str], tmp_path: Path) -> None:
    check("-l", "node-a1.example.net")
    every = names(tmp_path, "node-a1.example.net")
    assert every > {"transparent_hugepage/defrag", "MemoryHigh", "MemoryLow", "vm.swappiness"}
    check("--skip-tags", "thp,slices", "-l", "node-a1.example.net")
    assert names(tmp_path, "node-a1.example.net") == every - {"transparent_hugepage/defrag", "MemoryHigh", "MemoryLow"}
    check("--tags", "thp,swap", "--skip-tags", "thp", "-l", "node-a1.example.net")
    assert names(tmp_path, "node-a1.example.net") == {"vm.swappiness", "vm.page-cluster"}


def test_areas_on_the_command_line_are_text(check: t.Callable[..., str], tmp_path: Path) -> None:
    check("-e", "memqos_only=swap,thp", "--skip-tags", "thp", "-l", "node-a1.example.net")
    assert names(tmp_path, "node-a1.example.net") == {"vm.swappiness", "vm.page-cluster"}


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(["--tags", "thp", "--skip-tags", "thp"], {}), (["--skip-tags", "thp"], {"memqos_only": ["thp"]})],
)
def test_with_nothing_left_nothing_runs(check: t.Callable[..., str], tmp_path: Path, arguments: list[str], variables: dict[str, t.Any]) -> None:
    printed = check(*arguments, "-l", "node-a1.example.net", **variables)
    assert "check: " not in printed and not (tmp_path / "tune").exists()


def test_values_of_a_host_come_last(check: t.Callable[..., str], tmp_path: Path) -> None:
    check("-l", "db1.example.net", memqos_host={"vm.swappiness": 3}, memqos_profile=["redis", {"name": "ours", "host": {"vm.swappiness": 7}}])
    (row,) = [row for row in result(tmp_path, "db1.example.net")["results"] if row["name"] == "vm.swappiness"]
    assert (row["wanted"], row["profile"], row["status"]) == ("3", "host variables", "would_change")


SELECTION = """\
schema_version: 1
hosts:
  node-a1.example.net:
    settings: {vm.page-cluster: 0}
    because: [{rule: N53, subject: node, title: Swap is read ahead, sets: [vm.page-cluster]}]
"""


def test_a_selection_leaves_hosts_alone_that_it_does_not_name(check: t.Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "selection.yml"
    path.write_text(SELECTION, encoding="utf-8")
    printed = check("--diff", "-e", f"memqos_selection={path}", "-l", "pool_a")
    assert f"node-a2.example.net: left alone: {path} does not name this host" in printed and "skipping: [node-a2.example.net]" in printed
    assert "vm.page-cluster            3 → 0" in printed and "selection (over swap_readahead: raise to 6): N53: Swap is read ahead" in printed
    # group_vars name a profile, which counts as given.
    assert {row["profile"] for row in result(tmp_path, "node-a1.example.net")["results"]} == {"balanced", "colocated", "selection"}
    check("-e", f"memqos_selection={path}", "-e", "memqos_profile=", "-l", "node-a1.example.net")
    assert names(tmp_path, "node-a1.example.net") == {"vm.page-cluster"}


# What docs/qos.md says of pods that come from the cluster in the same play

K8S_INFO = """\
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({"kind": {}}, supports_check_mode=True)
module.exit_json(resources=[] if module.params["kind"] != "Pod" else %r)
"""
POD = {
    "metadata": {"uid": "0b5f6d2e-3c1a-4f7b-9d58-1a2b3c4d5e6f", "namespace": "shop", "name": "web-0", "labels": {"koordinator.sh/qosClass": "LS"}},
    "spec": {
        "nodeName": "node-a1.example.net",
        "containers": [{"name": "web", "resources": {"requests": {"memory": "32Mi"}, "limits": {"memory": "64Mi"}}}],
    },
    "status": {"phase": "Running", "qosClass": "Burstable", "containerStatuses": [{"name": "web", "containerID": f"containerd://{'a' * 64}"}]},
}


def test_pods_come_from_the_cluster_as_the_guide_says(tmp_path: Path, ansible: Ansible, checkout_collections: Path) -> None:
    (recipe,) = [
        block for block in (ROOT / "docs/qos.md").read_text(encoding="utf-8").split("```yaml\n") if block.startswith("- hosts:") and "k8s_info" in block
    ]
    playbook = tmp_path / "site.yml"
    playbook.write_text(recipe.partition("```")[0], encoding="utf-8")
    module = tmp_path / "collections/ansible_collections/kubernetes/core/plugins/modules/k8s_info.py"
    module.parent.mkdir(parents=True)
    module.write_text(K8S_INFO % [POD], encoding="utf-8")
    (tmp_path / "collections/ansible_collections/memqos").symlink_to(checkout_collections / "ansible_collections/memqos")
    (tmp_path / "hosts.yml").write_text("workers: {hosts: {node-a1.example.net: {}, node-a2.example.net: {}}}\n", encoding="utf-8")
    fixed = {"ansible_become": False, "ansible_python_interpreter": sys.executable, "memqos_report_dir": str(tmp_path), "memqos_root": str(TREE)}
    arguments = ["-i", str(tmp_path / "hosts.yml"), "-c", "local", "--check", "-e", json.dumps(fixed)]
    printed = ansible("ansible-playbook", str(playbook), *arguments, collections=tmp_path / "collections", cwd=tmp_path)
    (row,) = [row for row in result(tmp_path, "node-a1.example.net")["containers"] if row["name"] == "shop/web-0/web"]
    assert (row["class"], row["request"], row["source"]) == ("LS", 32 << 20, "pod list")
    assert row["values"]["memory.low"]["wanted"] == str(32 << 20) and row["values"]["memory.low"]["status"] == "would_change"
    # No pod of the list is on the other one, which is said.
    assert "node-a2.example.net: none of the pods is on a node 'node-a2.example.net', but on node-a1.example.net" in printed
    assert (playbook.parent / "pods.json").stat().st_mode & 0o777 == 0o600
