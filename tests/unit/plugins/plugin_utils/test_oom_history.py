# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OOM reports: what was hit, however often it restarted; why; and who is next."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils._read import _oom
from ansible_collections.memqos.fleet.plugins.plugin_utils import _oom_history, _oom_reports
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.host_files import content, host

UID = "968a06fb-9ab9-4819-8caf-0392ddff3d9b"
SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice"
ID1, ID2 = "3b" * 32, "7f" * 32


def parsed(path: str) -> list[t.Any]:
    return list(_oom_reports.parse_reports(_oom_reports.parse_records(content(path))))


def report(path: str | None, **more: t.Any) -> t.Any:
    row: dict[str, t.Any] = {"time_monotonic_us": 1, "kind": "cgroup_limit", "complete": True, "victims": [{"pid": 5, "comm": "java", "anon_rss": 1 << 30}]}
    if path is not None:
        row.update(task_memcg=path, oom_memcg=path)
    row.update(more)
    return row


@pytest.mark.parametrize(("path", "owner", "name"), [
    (f"{SLICE}/cri-containerd-{ID1}.scope", "pod", f"pod {UID}"),
    (f"{SLICE}/crio-{ID1}.scope", "pod", f"pod {UID}"),
    (f"/kubepods/besteffort/pod{UID}/{ID1}", "pod", f"pod {UID}"),
    (f"/kubepods/pod{'a1' * 16}/{ID1}", "pod", f"pod {'a1' * 16}"),  # a static pod
    (f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID.replace('-', '_')}.slice", "pod", f"pod {UID}"),
    (f"/docker/{ID1}", "container", "docker (java)"),
    (f"/system.slice/docker-{ID1}.scope", "container", "docker (java)"),
    (f"/machine.slice/libpod-{ID1}.scope/container", "container", "podman (java)"),
    ("/lxc.payload.web1/system.slice/nginx.service", "lxc", "web1"),
    ("/lxc/web1", "lxc", "web1"),
    ("/system.slice/nginx.service", "service", "nginx.service"),
    ("/system.slice/system-getty.slice/getty@tty1.service", "service", "getty@tty1.service"),
    ("/system.slice/php8.2-fpm.service", "service", "php8.2-fpm.service"),
    ("/system.slice/run-r0123456789abcdef0123456789abcdef.service", "service", "run-r*.service"),
    ("/system.slice/run-u820.service", "service", "run-u*.service"),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-foo.service", "service", "app-foo.service"),
    ("/user.slice/user-1000.slice/session-3.scope", "scope", "session-*.scope"),
    ("/user.slice/user-1000.slice", "user", "user-1000.slice"),
    ("/user.slice/user-1000.slice/user@1000.service", "user", "user-1000.slice"),
    ("/user.slice/user-1000.slice/user@1000.service/init.scope", "scope", "init.scope"),
    ("/system.slice/nginx.service/worker-8812", "service", "nginx.service"),
    ("/batch.slice/8812", "slice", "batch.slice"),
    (f"/machine.slice/libpod-conmon-{ID1}.scope", "scope", "conmon of *"),
    (f"/system.slice/docker-{ID1}.scope/system.slice/nginx.service", "container", "docker (java)"),
    ("/machine.slice/systemd-nspawn@web\\x2d1.service/payload", "container", "web-1"),
    ("/jobs/run-8812/step1", "cgroup", "/jobs/run-*/step1"),
    ("/<b>\n\x1b[1m", "cgroup", "/<b>\n\x1b[1m"),
    ("/", "process", "java"),
    (None, "process", "java"),
])  # fmt: skip
def test_owner_from_the_path_of_a_cgroup_that_is_gone(path: str | None, owner: str, name: str) -> None:
    (group,) = _oom_history.group_reports([report(path)], {})
    assert (group["owner"], group["name"]) == (owner, name)


def test_restarts_of_a_pod_are_one_group_by_name() -> None:
    reports = [report(f"{SLICE}/cri-containerd-{id_}.scope", time_monotonic_us=when) for when, id_ in ((10, ID1), (30, ID2))]
    names = {SLICE: "shop/checkout-7d9f", f"{SLICE}/cri-containerd-{ID2}.scope": "", "/": "root"}
    (group,) = _oom_history.group_reports(reports, names)
    assert (group["name"], group["owner"], group["count"], group["first_us"], group["last_us"]) == ("shop/checkout-7d9f", "pod", 2, 10, 30)
    assert len(group["paths"]) == 2


@pytest.mark.parametrize(("pods", "name"), [
    (("cart-7d9f8b6c5d-x2v4z", "cart-7d9f8b6c5d-b7k9q"), "shop/cart"),  # a Deployment
    (("logs-x2v4z", "logs-b7k9q"), "shop/logs"),  # a DaemonSet
    (("db-0", "db-11"), "shop/db"),  # a StatefulSet
    (("report-29012345-x2v4z", "report-29012346-b7k9q"), "shop/report"),  # a CronJob
])  # fmt: skip
def test_pods_of_one_workload_are_one_group(pods: tuple[str, str], name: str) -> None:
    paths = [f"/kubepods.slice/kubepods-pod{number}68a06fb_9ab9_4819_8caf_0392ddff3d9b.slice" for number in (1, 2)]
    names = {path: f"shop/{pod}" for path, pod in zip(paths, pods, strict=True)}
    (group,) = _oom_history.group_reports([report(f"{path}/cri-containerd-{ID1}.scope") for path in paths], names)
    assert (group["owner"], group["name"], group["count"]) == ("pod", name, 2)


@pytest.mark.parametrize(("path", "called", "name"), [
    (f"/system.slice/docker-{ID1}.scope", "web", "web"),
    (f"/system.slice/docker-{ID1}.scope", ID1[:12], "docker (java)"),
    ("/default/redis", "redis", "redis"),  # ctr run
    (f"/machine.slice/libpod-{ID1}.scope", "", "podman (java)"),
])  # fmt: skip
def test_a_living_container_has_its_name(path: str, called: str, name: str) -> None:
    (group,) = _oom_history.group_reports([report(path)], {path: called})
    assert (group["owner"], group["name"]) == ("container", name)


def test_a_container_that_lives_is_called_as_the_node_calls_it() -> None:
    path = f"/system.slice/docker-{ID1}.scope"
    rows: list[t.Any] = [{"pid": 8, "comm": "a", "oom_score": 700, "rss_bytes": 5, "cgroup": path}]
    assert _oom_history.next_victims(rows, {path: ID1[:12]})[0]["name"] == ID1[:12]
    assert _oom_history.next_victims(rows, {})[0]["name"] == "docker"


def test_group_counts_kinds_victims_and_limits() -> None:
    path = "/system.slice/db.service"
    small, large = [{"pid": 1, "comm": "a", "anon_rss": 5}], [{"pid": 2, "comm": "b", "anon_rss": 4, "shmem_rss": 9}, {"pid": 3, "comm": "a"}]
    reports = [
        report(path, victims=small, oom_memcg="/system.slice", limit=100),
        report(path, victims=large, kind="node", complete=False),
        report(path, victims=small, oom_memcg="/system.slice", limit=None),
        report("/system.slice/other.service", victims=[]),
    ]
    group, other = _oom_history.group_reports(reports, {})
    assert group["kind"] == "cgroup_limit" and group["kinds"] == {"cgroup_limit": 2, "node": 1}
    assert (group["count"], group["incomplete"], group["killed"], group["limit"]) == (3, 1, 4, None)
    assert group["victims"] == ["a", "b"] and group["victim_counts"] == [{"name": "a", "count": 3}, {"name": "b", "count": 1}]
    assert group["worst"] is reports[1]
    assert group["limited_by"][0] == {"name": "/system.slice", "count": 2}
    assert other["name"] == "other.service" and other["killed"] == 0 and "limit" not in other


@pytest.mark.parametrize(("path", "index", "words"), [
    ("/.memqos/output/kmsg", 0, ["the cgroup /memqos-test-12157, 1 level above, ran into its limit of 20.0 MiB", "19.8 MiB anonymous",
                                 "60.0 KiB page cache", "19.6 MiB anon"]),
    ("kmsg/4.18-node.log", 0, ["the node ran out of memory", "swap had 0 B of 1.00 GiB free", "killed stress (1.79 GiB anon"]),
    ("kmsg/6.8-node.raw", 0, ["the node ran out of memory", "there was no swap"]),
    ("kmsg/4.19-group.log", 0, ["its own cgroup /test1 ran into its limit of 50.0 MiB", "and 2 more by memory.oom.group"]),
    ("kmsg/4.18-memcg-v1.log", 0, ["800 KiB of it shmem"]),
    ("kmsg/5.15-mempolicy-cpuset-ratelimited.log", 0, ["the memory nodes 1 of its memory policy ran out"]),
    ("kmsg/5.15-mempolicy-cpuset-ratelimited.log", 1, ["the memory nodes 0,2-3 of its cpuset ran out"]),
    ("kmsg/5.15-mempolicy-cpuset-ratelimited.log", 2, ["its cgroup or one above it ran into its limit", "only a part"]),
    ("kmsg/5.15-mempolicy-cpuset-ratelimited.log", 3, ["sysrq-f", "nothing was left to kill"]),
])  # fmt: skip
def test_cause(path: str, index: int, words: list[str]) -> None:
    sentence = _oom_history.cause(parsed(path)[index])
    for word in words:
        assert word in sentence


def test_limit_of_memory_and_swap() -> None:
    assert "16.0 GiB memory and swap" in _oom_history.cause(report("/a", limit=None, memsw_limit=16 << 30))


def test_next_victims() -> None:
    rows: list[t.Any] = [
        {"pid": 1, "comm": "init", "oom_score": 900, "rss_bytes": 9, "oom_score_adj": 0},
        {"pid": 7, "comm": "sshd", "oom_score": 800, "rss_bytes": 9, "oom_score_adj": -1000},
        {"pid": 8, "comm": "a", "oom_score": 700, "rss_bytes": 5, "cgroup": f"{SLICE}/cri-containerd-{ID1}.scope"},
        {"pid": 9, "comm": "b", "oom_score": 700, "rss_bytes": 6},
        {"pid": 10, "comm": "c", "rss_bytes": 6},
    ]
    victims = _oom_history.next_victims(rows, {SLICE: "shop/web-7d9f8b6c5d-x2v4z"})
    assert [victim["pid"] for victim in victims] == [9, 8]
    assert (victims[1]["owner"], victims[1]["name"]) == ("pod", "shop/web-7d9f8b6c5d-x2v4z")
    assert "name" not in rows[2]  # pure
    assert len(_oom_history.next_victims(rows, {}, top=1)) == 1


def test_next_victims_of_the_host() -> None:
    processes = _oom.read_processes(host(), page_size=4096)
    assert [victim["pid"] for victim in _oom_history.next_victims(processes["top"], {})] == [310, 311]


WORDS = st.sampled_from(("lxc", "lxc.payload", "kubepods.slice", "a.service", ".service", "user@1.service", f"pod{UID}", ID1, f"libpod-{ID1}.scope"))
PATHS = st.lists(st.text(max_size=20) | WORDS, max_size=5).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(PATHS, max_size=6), st.dictionaries(PATHS, st.text(max_size=5), max_size=3))
def test_any_path_has_an_owner_and_the_result_is_json(paths: list[str], names: dict[str, str]) -> None:
    groups = _oom_history.group_reports([report(path) for path in paths], names)
    assert sum(group["count"] for group in groups) == len(paths)
    assert all(group["name"] for group in groups)
    assert json.loads(json.dumps(groups)) == groups
