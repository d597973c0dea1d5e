# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths as each runtime and cgroup driver makes them, and the files that name containers."""

from __future__ import annotations

import json
import os
import stat
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _workloads
from ansible_collections.memqos.fleet.plugins.module_utils._read import _cgroupfs
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable
from ansible_collections.memqos.fleet.plugins.module_utils._workloads import PodNames
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import cgroup_trees

ID = "0123456789abcdef" * 4
POD_ID = "fedcba9876543210" * 4
SHORT = ID[:12]
UID = "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9"
UID_ = UID.replace("-", "_")
STATIC = "c5d0a3bfe9ae57c4f9e24b1a3c07d3f4"
NO_NAMES = PodNames({}, {})
NAMES = PodNames(
    {
        ID: {"namespace": "shop", "pod": "web-7c5ddbdf54-x2x4f", "container": "nginx", "image": "docker.io/library/nginx:1.27"},
        "my-task": {"runtime": "containerd"},
    },
    {UID: ("shop", "web-7c5ddbdf54-x2x4f")},
)
SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice"
BURSTABLE_POD = {"kind": "pod", "name": f"pod {UID}", "pod_uid": UID, "qos_class": "Burstable"}
IN_POD = {"pod_uid": UID, "qos_class": "Burstable"}
GUARANTEED = {"pod_uid": UID, "qos_class": "Guaranteed"}


def container(runtime: str | None = None, **more: str) -> dict[str, str]:
    found = {"kind": "container", "name": SHORT, "container_id": ID, **more}
    return {**found, "runtime": runtime} if runtime else found


# path → identity, without names
PATHS: list[tuple[str, dict[str, str]]] = [
    ("/", {"kind": "root", "name": "/"}),
    ("/system.slice", {"kind": "slice", "name": "system.slice"}),
    ("/system.slice/ssh.service", {"kind": "service", "name": "ssh.service"}),
    ("/system.slice/system-getty.slice/getty@tty1.service", {"kind": "service", "name": "getty@tty1.service"}),
    ("/init.scope", {"kind": "scope", "name": "init.scope"}),
    ("/system.slice/boot.mount", {"kind": "cgroup", "name": "boot.mount"}),
    ("/user.slice/user-1000.slice", {"kind": "user", "name": "user-1000.slice"}),
    ("/user.slice/user-1000.slice/session-3.scope", {"kind": "scope", "name": "session-3.scope"}),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/dbus.service", {"kind": "service", "name": "dbus.service"}),
    # kubelet, systemd driver
    ("/kubepods.slice", {"kind": "qos", "name": "kubepods.slice"}),
    ("/kubepods.slice/kubepods-burstable.slice", {"kind": "qos", "name": "kubepods-burstable.slice", "qos_class": "Burstable"}),
    ("/kubepods.slice/kubepods-besteffort.slice", {"kind": "qos", "name": "kubepods-besteffort.slice", "qos_class": "BestEffort"}),
    (f"/kubepods.slice/kubepods-pod{UID_}.slice", {**BURSTABLE_POD, "qos_class": "Guaranteed"}),
    (SLICE, BURSTABLE_POD),
    (f"/kubepods/burstable/pod{STATIC}", {"kind": "pod", "name": f"pod {STATIC}", "pod_uid": STATIC, "qos_class": "Burstable"}),
    (f"/kubepods.slice/kubepods-pod{STATIC}.slice", {"kind": "pod", "name": f"pod {STATIC}", "pod_uid": STATIC, "qos_class": "Guaranteed"}),
    (f"{SLICE}/cri-containerd-{ID}.scope", container("containerd", **IN_POD)),
    (f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/crio-{ID}.scope", container("cri-o", pod_uid=UID, qos_class="BestEffort")),
    (f"{SLICE}/crio-conmon-{ID}.scope", {"kind": "scope", "name": f"conmon of {SHORT}", "runtime": "cri-o"}),
    (f"/kubepods.slice/kubepods-pod{UID_}.slice/docker-{ID}.scope", container("docker", **GUARANTEED)),
    (f"/kubepods.slice/kubepods-pod{UID_}.slice/pouch-{ID}.scope/nested", {**container("pouch", **GUARANTEED), "kind": "cgroup", "name": "nested"}),
    # kubelet, cgroupfs driver
    ("/kubepods", {"kind": "qos", "name": "kubepods"}),
    ("/kubepods/burstable", {"kind": "qos", "name": "burstable", "qos_class": "Burstable"}),
    (f"/kubepods/pod{UID}", {**BURSTABLE_POD, "qos_class": "Guaranteed"}),
    (f"/kubepods/burstable/pod{UID}/{ID}", container(**IN_POD)),
    (f"/kubepods/burstable/pod{UID}/crio-{ID}", container("cri-o", **IN_POD)),
    # --cgroup-root, k3s and kind
    (f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{UID_}.slice", BURSTABLE_POD),
    (f"/docker/{POD_ID}/kubelet/kubepods/burstable/pod{UID}/{ID}", container(**IN_POD)),
    (
        f"/system.slice/docker-{POD_ID}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope",
        container("containerd", **GUARANTEED),
    ),
    (f"/k3s/kubepods/besteffort/pod{UID}", {**BURSTABLE_POD, "qos_class": "BestEffort"}),
    # nothing of kubelet's
    ("/pods/burstable", {"kind": "cgroup", "name": "burstable"}),
    (f"/somewhere/pod{UID}", {"kind": "cgroup", "name": f"pod{UID}"}),
    # Docker, containerd, Podman
    ("/docker", {"kind": "cgroup", "name": "docker"}),
    (f"/docker/{ID}", container("docker")),
    (f"/system.slice/docker-{ID}.scope", container("docker")),
    (f"/system.slice/docker-{ID}.scope/init.scope", {"kind": "cgroup", "name": "init.scope", "container_id": ID, "runtime": "docker"}),
    (f"/docker/{ID}/docker/{POD_ID}", {**container("docker"), "kind": "cgroup", "name": POD_ID}),
    (f"/system.slice/nerdctl-{ID}.scope", container("containerd")),
    (f"/default/{ID}", container()),
    (f"/machine.slice/libpod-{ID}.scope", container("podman")),
    (f"/machine.slice/libpod-{ID}.scope/container", {"kind": "cgroup", "name": "container", "container_id": ID, "runtime": "podman"}),
    (f"/machine.slice/libpod-conmon-{ID}.scope", {"kind": "scope", "name": f"conmon of {SHORT}", "runtime": "podman"}),
    (f"/machine.slice/machine-libpod_pod_{POD_ID}.slice", {"kind": "pod", "name": f"pod {POD_ID[:12]}", "pod_uid": POD_ID, "runtime": "podman"}),
    (f"/machine.slice/machine-libpod_pod_{POD_ID}.slice/libpod-{ID}.scope", container("podman", pod_uid=POD_ID)),
    (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", container("podman")),
    (f"/libpod_parent/libpod-{ID}", container("podman")),
    # LXC, machines
    ("/lxc.payload.web-1", {"kind": "lxc", "name": "web-1", "container": "web-1", "runtime": "lxc"}),
    ("/lxc.payload.web-1/system.slice", {"kind": "cgroup", "name": "system.slice", "container": "web-1", "runtime": "lxc"}),
    ("/lxc.monitor.web-1", {"kind": "cgroup", "name": "monitor of web-1", "runtime": "lxc"}),
    ("/lxc/100", {"kind": "lxc", "name": "100", "container": "100", "runtime": "lxc"}),
    ("/lxc.payload/web", {"kind": "lxc", "name": "web", "container": "web", "runtime": "lxc"}),
    (f"/lxc/100/docker/{ID}", container("docker")),
    (f"/lxc/100/{ID}", container()),
    ("/machine.slice/systemd-nspawn@deb\\x2d12.service", {"kind": "container", "name": "deb-12", "container": "deb-12", "runtime": "systemd-nspawn"}),
    ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", {"kind": "scope", "name": "qemu-1-vm", "runtime": "machined"}),
    # names that mean nothing
    ("/docker-short.scope", {"kind": "scope", "name": "docker-short.scope"}),
    (f"/x{ID}", {"kind": "cgroup", "name": f"x{ID}"}),
    ("/line\nbreak.service", {"kind": "service", "name": "line\nbreak.service"}),
]


def identified(paths: list[str], names: _workloads.PodNames) -> list[_cgroupfs.Cgroup]:
    cgroups: list[_cgroupfs.Cgroup] = [{"path": path} for path in paths]
    _workloads.identify(cgroups, names)
    return cgroups


@pytest.mark.parametrize(("path", "expected"), PATHS)
def test_paths(path: str, expected: dict[str, str]) -> None:
    found = identified([path], NO_NAMES)[0]
    assert {key: value for key, value in found.items() if not key.startswith("request")} == {"path": path, **expected}


def test_a_cgroup_does_not_depend_on_which_others_are_asked_for() -> None:
    cgroups = identified([path for path, unused in PATHS], NO_NAMES)
    assert cgroups == [identified([path], NO_NAMES)[0] for path, unused in PATHS]


@given(st.lists(st.sampled_from(["kubepods", "burstable", f"pod{UID}", ID, "docker", "a.slice", "lxc", "x"]) | st.text(max_size=9)).map("/".join))
def test_identify_never_raises(path: str) -> None:
    identified([path, "/" + path], NAMES)


POD_PATH = f"/kubepods/burstable/pod{UID}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (POD_PATH, {"namespace": "shop", "pod": "web-7c5ddbdf54-x2x4f", "name": "shop/web-7c5ddbdf54-x2x4f"}),
        (f"{POD_PATH}/{ID}", {"namespace": "shop", "container": "nginx", "name": "shop/web-7c5ddbdf54-x2x4f/nginx", "image": "docker.io/library/nginx:1.27"}),
        (f"{POD_PATH}/{POD_ID}", {"namespace": "shop", "pod": "web-7c5ddbdf54-x2x4f", "name": f"shop/web-7c5ddbdf54-x2x4f/{POD_ID[:12]}"}),
        (f"{POD_PATH}/{ID}/nested", {"kind": "cgroup", "container": "nginx", "name": "nested"}),
        ("/default/my-task", {"kind": "container", "container_id": "my-task", "runtime": "containerd"}),
    ],
)
def test_names(path: str, expected: dict[str, str]) -> None:
    found = identified([path], NAMES)[0]
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("path", "limit", "expected"),
    [
        (f"/kubepods/pod{UID}/{ID}", 512, (512, "guaranteed: request = limit")),
        (f"/kubepods/pod{UID}/{ID}", None, (None, None)),
        (f"/kubepods/besteffort/pod{UID}/{ID}", None, (0, "best effort: no request")),
        (f"/kubepods/burstable/pod{UID}/{ID}", 512, (None, None)),
        (f"/docker/{ID}", 512, (None, None)),
        ("/system.slice/a.service", 512, (None, None)),
    ],
)
def test_requests_that_follow_from_the_class(path: str, limit: int | None, expected: tuple[int | None, str | None]) -> None:
    cgroup: _cgroupfs.Cgroup = {"path": path, "limit": limit}
    _workloads.identify([cgroup], NO_NAMES)
    assert (cgroup.get("request"), cgroup.get("request_source")) == expected


@pytest.mark.parametrize(
    ("procs", "adjust", "expected"),
    [
        ("4242\n4243\n", "900\n", 100_000_000),
        ("4242\n", "4\n", 996_000_000),
        ("4242\n", "999\n", None),  # cut: anything below 0.2 %
        ("4242\n", "3\n", None),  # cut
        ("4242\n", "-997\n", None),
        ("4242\n", "", None),
        ("", "900\n", None),
        ("0\n", "900\n", None),  # a process of another PID namespace
    ],
)
def test_requests_from_oom_score_adj(tmp_path: Path, procs: str, adjust: str, expected: int | None) -> None:
    write(tmp_path, {f"/sys/fs/cgroup{POD_PATH}/{ID}/cgroup.procs": procs, "/proc/4242/oom_score_adj": adjust})
    cgroups: list[_cgroupfs.Cgroup] = [{"path": f"{POD_PATH}/{ID}"}, {"path": f"/kubepods/pod{UID}/{ID}"}]
    _workloads.identify(cgroups, NO_NAMES)
    _workloads.read_requests(Tree(str(tmp_path)), _cgroupfs.Hierarchy("v2", "/sys/fs/cgroup", 2), cgroups, capacity=1_000_000_000)
    assert cgroups[0].get("request") == expected
    assert "request" not in cgroups[1]


# --- names from files ---


def write(root: Path, files: t.Mapping[str, str]) -> None:
    for path, content in files.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")


CONTAINERD = {
    "ociVersion": "1.2.0",
    "linux": {"resources": {"memory": {"limit": 134217728}}},
    "annotations": {"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "nginx",
                    "io.kubernetes.cri.image-name": "docker.io/library/nginx:1.27",
                    "io.kubernetes.cri.sandbox-name": "web-0", "io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-uid": UID},
}  # fmt: skip
CRIO = {
    "annotations": {"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.container.name": "nginx", "io.kubernetes.pod.name": "web-0",
                    "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": UID, "io.kubernetes.cri-o.ImageName": "quay.io/nginx:1"}
}  # fmt: skip
WEB = {"namespace": "shop", "pod": "web-0", "pod_uid": UID, "container": "nginx"}


@pytest.mark.parametrize(
    ("bundle", "expected"),
    [
        (CONTAINERD, {**WEB, "image": "docker.io/library/nginx:1.27"}),
        (CRIO, {**WEB, "image": "quay.io/nginx:1"}),
        ({"annotations": {**CONTAINERD["annotations"], "io.kubernetes.cri.container-type": "sandbox"}}, {**WEB, "container": "POD"}),  # type: ignore[dict-item]
        (
            {"annotations": {"nerdctl/name": "web"}, "linux": {"resources": {"memory": {"reservation": 4096}}}},
            {"container": "web", "request": 4096, "request_source": "memory reservation"},
        ),
        ({"annotations": {"io.kubernetes.cri.sandbox-name": 7}}, {}),
        ({"annotations": []}, {}),
        ([], {}),
        ({"linux": {"resources": None}}, {}),
        ({"linux": {"resources": {"memory": {"reservation": "4096"}}}}, {}),
    ],
)
def test_parse_bundle(bundle: t.Any, expected: dict[str, t.Any]) -> None:
    assert _workloads.parse_bundle(json.dumps(bundle).encode()) == expected


@pytest.mark.parametrize(
    ("config", "host_config", "expected"),
    [
        (
            {"Name": "/web", "Config": {"Image": "nginx:1", "Labels": {}}},
            {"Memory": 8192, "MemoryReservation": 4096},
            {"container": "web", "image": "nginx:1", "request": 4096, "request_source": "docker memory reservation"},
        ),
        ({"Name": "/web", "Config": {"Image": "nginx:1", "Labels": None}}, {"MemoryReservation": 0}, {"container": "web", "image": "nginx:1"}),
        (
            {
                "Name": "/k8s_x",
                "Config": {
                    "Image": "sha256:1",
                    "Labels": {
                        "io.kubernetes.pod.name": "web-0",
                        "io.kubernetes.pod.namespace": "shop",
                        "io.kubernetes.pod.uid": UID,
                        "io.kubernetes.container.name": "nginx",
                    },
                },
            },
            {},
            {**WEB, "image": "sha256:1"},
        ),
        ({"Name": None, "Config": None}, None, {}),
    ],
)
def test_parse_docker(config: t.Any, host_config: t.Any, expected: dict[str, t.Any]) -> None:
    assert _workloads.parse_docker(json.dumps(config).encode(), json.dumps(host_config).encode()) == {"runtime": "docker", **expected}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (
            {"image-name": "docker.io/library/redis:7", "image-id": "x", "name": "cache", "created-at": 1},
            {"runtime": "podman", "container": "cache", "image": "docker.io/library/redis:7"},
        ),
        (
            {
                "pod-name": "k8s_web-0_shop",
                "pod-id": "1",
                "image-name": "quay.io/nginx:1",
                "name": "k8s_nginx_web-0",
                "metadata-name": "nginx",
                "namespace": "shop",
                "uid": UID,
            },
            {"runtime": "cri-o", "container": "nginx", "image": "quay.io/nginx:1", "namespace": "shop", "pod_uid": UID},
        ),
        ({"pod-name": "k8s_web-0_shop", "metadata-name": "web-0", "pod": True}, {"runtime": "cri-o", "container": "POD"}),
        ([], {"runtime": "podman"}),
    ],
)
def test_parse_storage(metadata: t.Any, expected: dict[str, str]) -> None:
    rows = [{"id": ID, "names": ["cache"], "metadata": json.dumps(metadata)}, {"id": 7}, "x"]
    assert _workloads.parse_storage(json.dumps(rows).encode()) == [(ID, expected)]


KEYS = st.sampled_from("annotations linux resources memory reservation Config Labels Name id metadata".split())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=50) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_parsers_never_raise(data: bytes) -> None:
    _workloads.parse_bundle(data)
    _workloads.parse_docker(data, data)
    _workloads.parse_storage(data)


def test_deeply_nested_json() -> None:
    assert _workloads.parse_bundle(b"[" * 200000) == {}


UNITS: dict[str, str | None] = {
    "redis.service": "redis", "redis-server.service": "redis", "redis-server@6380.service": "redis", "redis@cache.service": "redis", "valkey.service": "redis",
    "mongod.service": "mongodb", "mongodb.service": "mongodb", "postgresql.service": "postgresql", "postgresql@17-main.service": "postgresql",
    "postgresql-16.service": "postgresql", "elasticsearch.service": "elasticsearch", "opensearch.service": "elasticsearch", "cassandra.service": "cassandra",
    "kafka.service": "kafka", "confluent-kafka.service": "kafka",
    **dict.fromkeys((
        "redis-exporter.service", "redisinsight.service", "redis-sentinel.service", "mongodb-exporter.service", "mongodump.service", "kafka-connect.service",
        "kafka-ui.service", "postgresql-backup.service", "postgres-exporter@1.service", "cassandra-reaper.service", "elasticsearch-curator.service",
        "SAPDB1_00.service", "shop.service",
    )),
}  # fmt: skip
IMAGES: dict[str, str | None] = {
    "redis": "redis", "docker.io/library/redis:7-alpine": "redis", "valkey/valkey:8@sha256:0a": "redis", "redis/redis-stack-server:7": "redis",
    "docker.io/library/mongo:7": "mongodb", "percona/percona-server-mongodb:7.0": "mongodb", "mongodb/mongodb-community-server:7.0": "mongodb",
    "postgres@sha256:0a": "postgresql", "bitnami/postgresql:17": "postgresql", "docker.io/library/opensearch:2": "elasticsearch",
    "docker.elastic.co/elasticsearch/elasticsearch:8.1": "elasticsearch", "cassandra:5": "cassandra", "apache/kafka:4": "kafka",
    "registry:5000/confluentinc/cp-kafka:7.6": "kafka",
    **dict.fromkeys((
        "oliver006/redis_exporter:v1", "redis/redisinsight:2", "quay.io/spotahome/redis-operator:1", "mongo-express:1", "example/mongodump",
        "postgres-operator:1",
        "alpine/postgresql-client", "untergeek/elasticsearch-curator:8", "thelastpickle/cassandra-reaper:3", "provectuslabs/kafka-ui",
        "debezium/kafka-connect:2",
        "opensearchproject/opensearch-dashboards:2", "redis/shop:1",
    )),
}  # fmt: skip


@pytest.mark.parametrize(
    ("cgroup", "program"),
    [
        *(({"kind": "service", "name": name}, program) for name, program in UNITS.items()),
        *(({"kind": "container", "name": "shop/x-0/redis", "image": image}, program) for image, program in IMAGES.items()),
        ({"kind": "container", "name": "shop/kafka-0/kafka"}, "kafka"),
        ({"kind": "container", "name": "shop/kafka-0/kafka-exporter"}, None),
        ({"kind": "lxc", "name": "postgres-1"}, "postgresql"),
        ({"kind": "slice", "name": "postgres.slice"}, None),  # what runs is below it
        ({"kind": "service", "name": "shop.service"}, None),
        # A process counts for more than a name.
        ({"kind": "service", "name": "redis.service", "path": "/run"}, "cassandra"),
        ({"kind": "cgroup", "name": "x", "path": "/run"}, "cassandra"),
    ],
)
def test_programs_by_process_unit_and_image(cgroup: t.Any, program: str | None) -> None:
    found: t.Any = {"path": "/some", **cgroup}
    _workloads.name_programs([found], {"cassandra": ["/run", "/gone"]})
    assert found.get("program") == program


def test_read_pod_names(tmp_path: Path) -> None:
    other = "a" * 64
    write(tmp_path, {
        f"/var/log/pods/shop_web-0_{UID}/nginx/0.log": "", "/var/log/pods/not-a-pod/x": "",
        f"/var/log/containers/web-0_shop_own-name-{ID}.log": "", "/var/log/containers/x.log": "",
        f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json": json.dumps(CONTAINERD),
        "/run/containerd/io.containerd.runtime.v2.task/default/task/config.json": "{broken",
        f"/run/containerd/io.containerd.runtime.v2.task/moby/{POD_ID}/config.json": "{}",
        f"/var/lib/docker/containers/{POD_ID}/config.v2.json": json.dumps({"Name": "/db", "Config": {"Image": "postgres:17"}}),
        f"/var/lib/docker/containers/{POD_ID}/hostconfig.json": json.dumps({"MemoryReservation": 4096}),
        "/var/lib/containers/storage/overlay-containers/containers.json": json.dumps(
            [{"id": other, "metadata": json.dumps({"name": "cache", "image-name": "redis:7"})}]),
        f"/var/lib/containers/storage/overlay-containers/{other}/userdata/config.json": json.dumps({"linux": {"resources": {"memory": {"reservation": 7}}}}),
    })  # fmt: skip
    found = _workloads.read_pod_names(Tree(str(tmp_path)))
    assert found.pods == {UID: ("shop", "web-0")}
    assert found.containers == {
        ID: {**WEB, "container": "own-name", "runtime": "containerd", "image": "docker.io/library/nginx:1.27"},
        "task": {"runtime": "containerd"},
        POD_ID: {"runtime": "docker", "container": "db", "image": "postgres:17", "request": 4096, "request_source": "docker memory reservation"},
        other: {"runtime": "podman", "container": "cache", "image": "redis:7", "request": 7, "request_source": "memory reservation"},
    }


STORAGE = ".local/share/containers/storage/overlay-containers"
CONTAINERS = f"/home/op/{STORAGE}/containers.json"
MINE: _cgroupfs.Cgroup = {"runtime": "podman", "container": "mine"}
ROOTLESS: list[_cgroupfs.Cgroup] = [
    {"path": f"/user.slice/user-1000.slice/user@1000.service/user.slice/{name}"} for name in (f"libpod-{ID}.scope", f"libpod-{ID}.scope/container", "x.scope")
]
MOUNTS = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 8:2 / /home rw - xfs /dev/sda2 rw\n"


def rows(*ids: t.Any) -> str:
    return json.dumps([{"id": one, "metadata": json.dumps({"name": "mine", "uid": UID, "namespace": "kube-system"})} for one in ids])


def rootless(root: Path, *, mounts: str = MOUNTS, cgroups: list[_cgroupfs.Cgroup] | None = None, **more: str) -> t.Any:
    """What is read of user 1000, who has one container."""
    passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nop:x:1000:1000:,,,:/home/op/:/bin/bash\nother:x:1001:1001::/home/other:/bin/sh\n"
    write(root, {"/proc/self/mountinfo": mounts, "/etc/passwd": passwd, **more})
    return _workloads.read_pod_names(Tree(str(root)), cgroups=ROOTLESS if cgroups is None else cgroups)


def test_rootless_podman_tells_of_its_own_containers_only(tmp_path: Path) -> None:
    write(tmp_path, {
        CONTAINERS: rows(ID, POD_ID),
        f"/home/op/{STORAGE}/{ID}/userdata/config.json": json.dumps({"annotations": {"io.kubernetes.cri.sandbox-name": "etcd"}}),
        f"/home/other/{STORAGE}/containers.json": rows("b" * 64),
    })  # fmt: skip
    assert rootless(tmp_path) == PodNames({ID: MINE}, {})


@pytest.mark.parametrize(
    "path",
    [
        "/user.slice/user-1000.slice/session-3.scope",
        f"/machine.slice/libpod-{ID}.scope",
        f"/user.slice/user-1001.slice/user@1001.service/user.slice/libpod-{ID}.scope",
        f"/lxc.payload.web/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
    ],
)
def test_a_user_without_containers_is_not_read(tmp_path: Path, path: str) -> None:
    write(tmp_path, {CONTAINERS: rows(ID)})
    assert rootless(tmp_path, cgroups=[{"path": path}]) == NO_NAMES
    assert _workloads.read_pod_names(Tree(str(tmp_path))) == NO_NAMES


@pytest.mark.parametrize(
    ("mount", "found"),
    [
        ("", True),
        ("23 22 8:3 / /home/op rw - btrfs /dev/sda3 rw\n", True),
        ("23 22 8:3 / /home/other rw - nfs4 server:/home rw\n", True),
        ("23 22 8:3 / /home/o rw - nfs4 server:/home rw\n", True),
        ("23 22 0:50 / /home/op rw - nfs4 server:/home rw\n", False),
        ("23 22 0:50 / /home rw - autofs systemd-1 rw\n", False),
        ("23 22 0:50 / /home rw - cifs //server/home rw\n24 23 8:3 / /home/op rw - ext4 /dev/sda3 rw\n", False),
        ("23 22 0:50 / /home/op/.local/share rw - fuse.sshfs server:/ rw\n", False),
        (f"23 22 0:50 / /home/op/{STORAGE}/{ID}/userdata/shm rw - fuse.x x rw\n", True),
    ],
)
def test_no_file_system_that_can_hang_is_entered(tmp_path: Path, mount: str, found: bool) -> None:
    write(tmp_path, {CONTAINERS: rows(ID)})
    assert rootless(tmp_path, mounts=MOUNTS + mount) == (PodNames({ID: MINE}, {}) if found else NO_NAMES)


def test_without_mounts_no_user_is_read(tmp_path: Path) -> None:
    write(tmp_path, {CONTAINERS: rows(ID)})
    assert rootless(tmp_path, mounts="") == NO_NAMES


@pytest.mark.parametrize("place", [CONTAINERS, f"/home/op/{STORAGE}", "/home/op/.local", "/home/op"])
def test_no_link_of_a_user_is_followed(tmp_path: Path, place: str) -> None:
    """Not even within the captured tree, where Tree.read() would follow it."""
    write(tmp_path, {CONTAINERS: rows(ID)})
    real, moved = tmp_path / place.lstrip("/"), tmp_path / "moved"
    real.rename(moved)
    real.symlink_to(moved)
    assert Tree(str(tmp_path)).read(CONTAINERS)
    assert rootless(tmp_path) == NO_NAMES


@pytest.mark.parametrize("kind", ["fifo", "device", "directory", "socket"])
def test_nothing_but_a_regular_file_is_opened(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / CONTAINERS.lstrip("/")
    file.parent.mkdir(parents=True)
    if kind == "directory":
        file.mkdir()
    else:
        try:
            # 1:5 is /dev/zero
            os.mknod(file, {"fifo": stat.S_IFIFO, "device": stat.S_IFCHR, "socket": stat.S_IFSOCK}[kind] | 0o600, os.makedev(1, 5) if kind == "device" else 0)
        except PermissionError:
            pytest.skip("only root makes devices")
    opened: list[int] = []
    real = os.open

    def watch(path: t.Any, flags: int, *args: t.Any, **kwargs: t.Any) -> int:
        fd = real(path, flags, *args, **kwargs)
        if not flags & os.O_PATH and stat.S_IFMT(os.fstat(fd).st_mode) not in (stat.S_IFREG,):
            opened.append(fd)
        return fd

    monkeypatch.setattr(os, "open", watch)
    assert rootless(tmp_path) == NO_NAMES
    assert not opened
    with pytest.raises(Unreadable, match="no regular file"):
        Tree(str(tmp_path)).read_plain(CONTAINERS)


def test_read_plain(tmp_path: Path) -> None:
    write(tmp_path, {"/a/b": "content", "/c/d": "other"})
    tree = Tree(str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    assert tree.read_plain("/a/b") == tree.read_plain("//a/b") == b"content"
    assert tree.read_plain("/a/b", limit=3) == b"con"
    assert Tree("/").read_plain(f"{tmp_path}/a/b") == b"content"
    for path in ("/a/../c/d", "/a/b/x", "/a/missing", "/a", "/"):
        with pytest.raises(Unreadable):
            tree.read_plain(path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["../secret", "../" * 8 + ID, ID + "/", ID[:-1], ID.upper(), "", 7, None])
def test_an_id_that_is_none_leads_nowhere(tmp_path: Path, name: t.Any) -> None:
    assert _workloads.parse_storage(rows(name).encode()) == []
    secret = json.dumps({"annotations": {"nerdctl/name": "secret"}})
    place = "/var/lib/containers/storage/overlay-containers"
    write(tmp_path, {f"{place}/containers.json": rows(name), "/var/lib/containers/storage/secret/userdata/config.json": secret})
    write(tmp_path, {"/var/lib/docker/containers/tmp-x/config.v2.json": json.dumps({"Name": "/x"})})
    assert _workloads.read_pod_names(Tree(str(tmp_path))) == NO_NAMES


def test_read_pod_names_on_a_node_without_containers(tmp_path: Path) -> None:
    assert _workloads.read_pod_names(Tree(str(tmp_path))) == NO_NAMES


def test_a_made_up_node(tmp_path: Path) -> None:
    """Both drivers at once: every pod and container is found."""
    paths = cgroup_trees.cgroup_paths(200)
    kinds = [found["kind"] for found in identified(paths, NO_NAMES)]
    assert kinds.count("pod") == sum("pod" in path.rpartition("/")[2].replace("kubepods", "") for path in paths)
    assert kinds.count("container") == sum(len(path.rpartition("/")[2]) >= 64 and not path.endswith(".slice") for path in paths)
    assert "cgroup" not in kinds
