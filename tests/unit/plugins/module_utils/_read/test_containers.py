# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each runtime in its own words, and the words of one that lies."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils._read import _containers, _programs
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import runtimes
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.fake_bus import short_root
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.runtimes import Docker, http

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.module_utils._read._containers import Runtimes

ID, OTHER, POD_ID = "0123456789abcdef" * 4, "a" * 64, "fedcba9876543210" * 4
UID = "1b2c3d4e-5f60-4718-8293-a4b5c6d7e8f9"
QOS = {"koordinator.sh/qosClass": "LS"}
MEMORY = {"koordinator.sh/memoryQOS": '{"policy": "auto"}'}
K8S = {"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": UID}
PODS = {"items": [runtimes.cri_pod(POD_ID, UID, "web-0", labels=QOS, annotations=MEMORY)]}
CONTAINERS = {"containers": [runtimes.cri_container(ID, POD_ID, "nginx")]}


@pytest.fixture(name="node")
def fixture_node(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Path]:
    with short_root() as root:
        monkeypatch.setattr(_programs, "PLACES", (root, "/usr/bin", "/bin"))
        monkeypatch.setattr(_containers, "DOCKER_SOCKET", f"{root}/docker.sock")
        yield Path(root)


def read(*asked: str, known: t.Container[str] = ()) -> Runtimes:
    return _containers.read(Tree("/"), cri="cri" in asked, docker="docker" in asked, podman="podman" in asked, known=known, timeout=10)


def captured(root: Path, asked: str, **outputs: t.Any) -> Runtimes:
    place = root / ".memqos/output"
    place.mkdir(parents=True, exist_ok=True)
    for name, output in outputs.items():
        (place / name.replace("_", "-")).write_bytes(output if isinstance(output, bytes) else json.dumps(output).encode())
    return _containers.read(Tree(str(root)), cri=asked == "cri", docker=asked == "docker", podman=asked == "podman")


def test_cri_tells_of_pods_and_containers_in_two_commands(node: Path) -> None:
    runtimes.prints(node, "crictl", {"pods": PODS, "ps": CONTAINERS})
    found = read("cri")
    assert sorted(runtimes.calls(node, "crictl")) == ["pods -o json", "ps -o json"]
    assert (found.unread, found.notes) == ({}, [])
    told = found.containers.pop(ID)
    assert not found.containers
    assert told.pop("labels") == {**QOS, **K8S, "io.kubernetes.container.name": "nginx"}
    assert told.pop("annotations") == {
        **MEMORY, "io.kubernetes.container.hash": "ee4ee15b", "io.kubernetes.container.restartCount": "0"}  # fmt: skip
    assert told == {"container_id": ID, "source": "CRI", "container": "nginx", "pod": "web-0", "namespace": "shop", "pod_uid": UID}


def test_an_image_cannot_give_its_container_a_class(node: Path) -> None:
    mine = runtimes.cri_container(ID, POD_ID, "nginx", labels={"koordinator.sh/qosClass": "LSR"})
    runtimes.prints(node, "crictl", {"pods": {"items": [runtimes.cri_pod(POD_ID, UID, "web-0")]}, "ps": {"containers": [mine]}})
    assert "koordinator.sh/qosClass" not in read("cri").containers[ID]["labels"]


def test_podman_tells_labels_annotations_and_sizes(node: Path) -> None:
    rows = [
        runtimes.podman_row(ID, "web", labels={**QOS, "app": "x"}, PodName="shop"),
        runtimes.podman_row(OTHER, "infra", IsInfra=True),
        runtimes.podman_row(POD_ID, "plain"),
    ]
    inspected = [runtimes.podman_inspected(ID, annotations={**MEMORY, "io.podman.x": "y"}, memory=67108864, reservation=33554432)]
    runtimes.prints(node, "podman", {"ps": rows, "inspect": inspected})
    found = read("podman")
    assert (found.unread, found.notes) == ({}, [])
    assert found.containers == {
        ID: {"container_id": ID, "source": "Podman", "container": "web", "pod": "shop", "labels": QOS, "annotations": MEMORY,
             "request": 33554432, "limit": 67108864},
        POD_ID: {"container_id": POD_ID, "source": "Podman", "container": "plain"},
    }  # fmt: skip
    assert runtimes.calls(node, "podman") == ["ps --no-trunc --pod --format json", f"inspect --type container {ID} {POD_ID}"]


def test_without_a_container_podman_is_asked_once(node: Path) -> None:
    runtimes.prints(node, "podman", {"ps": []})
    assert read("podman") == _containers.Runtimes({}, {}, [])
    assert len(runtimes.calls(node, "podman")) == 1


def test_what_podman_has_told_is_kept_when_inspect_fails(node: Path) -> None:
    runtimes.prints(node, "podman", {"ps": [runtimes.podman_row(ID, "web", labels=QOS)]})
    found = read("podman")
    assert found.containers[ID]["labels"] == QOS
    assert found.unread == {"Podman": f"annotations and reservations could not be read: {node}/podman: unknown: inspect"}


def test_docker_is_asked_only_for_what_the_files_have_not_told(node: Path) -> None:
    rows = [runtimes.docker_row(ID, "web", labels=QOS), runtimes.docker_row(OTHER, "db")]
    details = {"HostConfig": {"Memory": 8192, "MemoryReservation": 4096}}
    with Docker(node / "docker.sock", lambda url: http(rows if url == "/containers/json" else details)) as server:
        found = read("docker", known=[ID])
    assert server.asked == ["/containers/json", f"/containers/{OTHER}/json"]
    assert found.containers == {
        ID: {"container_id": ID, "source": "Docker", "container": "web", "labels": QOS},
        OTHER: {"container_id": OTHER, "source": "Docker", "container": "db", "request": 4096, "limit": 8192},
    }
    assert (found.unread, found.notes) == ({}, [])


@pytest.mark.parametrize(
    ("status", "asked", "unread"),
    [("404 Not Found", 3, {}), ("500 Internal Server Error", 2, {"Docker": "reservations could not be read: {}: /containers/{}/json: status 500"})],
)
def test_a_container_that_has_gone_since_is_no_error(node: Path, status: str, asked: int, unread: dict[str, str]) -> None:
    rows = [runtimes.docker_row(ID, "web"), runtimes.docker_row(OTHER, "db")]
    with Docker(node / "docker.sock", lambda url: http(rows) if url == "/containers/json" else http({}, status)) as server:
        found = read("docker")
    assert len(server.asked) == asked
    assert found.unread == {key: value.format(node / "docker.sock", ID) for key, value in unread.items()}
    assert list(found.containers) == [ID, OTHER]


def test_a_node_without_runtimes(node: Path) -> None:
    assert read("cri", "docker", "podman").unread == {
        "CRI": "could not be read: crictl: not on this node",
        "Podman": "could not be read: podman: not on this node",
        "Docker": f"could not be read: {node}/docker.sock: not on this node (No such file or directory)",
    }


def test_who_is_not_asked_is_not_run(node: Path) -> None:
    for name in ("crictl", "podman"):
        runtimes.prints(node, name, {})
    assert read() == _containers.Runtimes({}, {}, [])
    assert not [*node.glob("*.calls")]


def test_one_that_fails_leaves_the_others(node: Path) -> None:
    runtimes.install(node, "crictl", "echo 'rpc error: no runtime' >&2; exit 1")
    runtimes.prints(node, "podman", {"ps": [runtimes.podman_row(ID, "web")], "inspect": []})
    found = read("cri", "podman")
    assert list(found.containers) == [ID] and found.unread == {"CRI": f"could not be read: {node}/crictl: rpc error: no runtime"}


def test_docker_tells_of_the_kubelets_containers_too(node: Path) -> None:
    """cri-dockerd: who is asked first decides, the other completes."""
    runtimes.prints(node, "crictl", {"pods": PODS, "ps": CONTAINERS})
    with Docker(
        node / "docker.sock", lambda url: http([runtimes.docker_row(ID, "k8s_nginx_web-0")] if url == "/containers/json" else {"HostConfig": {"Memory": 1}})
    ):
        told = read("cri", "docker").containers[ID]
    assert (told["source"], told["container"], told["limit"]) == ("CRI", "nginx", 1)


# --- the words of one that lies ---


@pytest.mark.parametrize("bad", ["../../etc", "0" * 63, "0" * 65, ID.upper(), ID + "\n", "", None, 7, ["x"], {"a": 1}])
@pytest.mark.parametrize("asked", ["cri", "podman", "docker"])
def test_an_id_that_is_none_is_left_out_and_said_once(tmp_path: Path, asked: str, bad: t.Any) -> None:
    rows: dict[str, t.Any] = {
        "cri": {"crictl_pods": PODS, "crictl_ps": {"containers": [runtimes.cri_container(bad, POD_ID, "x")] * 2}},
        "podman": {"podman_ps": [runtimes.podman_row(bad, "x")] * 2},
        "docker": {"docker_containers": [runtimes.docker_row(bad, "x")] * 2},
    }
    found = captured(tmp_path, asked, **rows[asked])
    assert not found.containers
    assert [note.partition(": ")[2] for note in found.notes] == ["a container whose id is not 64 hexadecimal digits was left out"]


def test_two_containers_with_one_id(tmp_path: Path) -> None:
    rows = [runtimes.cri_container(ID, POD_ID, "first"), runtimes.cri_container(ID, POD_ID, "second")]
    found = captured(tmp_path, "cri", crictl_pods=PODS, crictl_ps={"containers": rows})
    assert found.containers[ID]["container"] == "first"
    assert found.notes == [f"CRI: two containers with the id {ID[:12]}: the first counts"]


@pytest.mark.parametrize(
    ("name", "expected"), [("a\x1b[31mb\n", "a\\x1b[31mb\\n"), ("x" * 5000, "x" * 253), ("\u202e", "\\u202e"), ("häß", "häß"), ("../x", "../x")]
)
def test_names_are_short_and_printable(tmp_path: Path, name: str, expected: str) -> None:
    told = captured(tmp_path, "podman", podman_ps=[runtimes.podman_row(ID, name)], podman_inspect=[]).containers[ID]
    assert told["container"] == expected


@pytest.mark.parametrize("value", [-1, True, 1.5, "64m", 1 << 62, float("inf"), [1], {}])
def test_sizes_that_are_none(tmp_path: Path, value: t.Any) -> None:
    found = captured(
        tmp_path, "podman", podman_ps=[runtimes.podman_row(ID, "x")], podman_inspect=[runtimes.podman_inspected(ID, memory=value, reservation=4096)]
    )
    assert "limit" not in found.containers[ID] and found.containers[ID]["request"] == 4096
    assert found.notes == [f"Podman: Memory of {ID[:12]} is no size: it was left out"]


@pytest.mark.parametrize("value", ["x" * 16385, 7, None, ["LS"]])
def test_marks_that_are_too_long_or_no_text(tmp_path: Path, value: t.Any) -> None:
    pods = {"items": [runtimes.cri_pod(POD_ID, UID, "web-0", labels=QOS, annotations={"koordinator.sh/memoryQOS": value})]}
    found = captured(tmp_path, "cri", crictl_pods=pods, crictl_ps=CONTAINERS)
    assert "koordinator.sh/memoryQOS" not in found.containers[ID]["annotations"] and found.containers[ID]["labels"]["koordinator.sh/qosClass"] == "LS"
    assert found.notes == [f"CRI: koordinator.sh/memoryQOS of {ID[:12]} is too long, or no text: it was left out"]


def test_ten_thousand_labels(tmp_path: Path) -> None:
    labels = {f"koordinator.sh/x{number}": "y" for number in range(10000)}
    found = captured(tmp_path, "podman", podman_ps=[runtimes.podman_row(ID, "x", labels=labels)], podman_inspect=[])
    assert len(found.containers[ID]["labels"]) == 64
    assert len(found.notes) == 21 and found.notes[-1] == "… and 9916 more"


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (b"", "no JSON"),
        (b'{"containers": [', "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b"[]", "no object"),
        (b'{"containers": 7}', "no list of containers"),
        (b"{}", ""),
        (b"null", ""),
        (b'{"containers": null}', ""),
        (b'{"containers": [7, null, "x", [], {}]}', ""),
    ],
)
def test_answers_that_are_no_json_or_another_shape(tmp_path: Path, output: bytes, words: str) -> None:
    found = captured(tmp_path, "cri", crictl_pods=PODS, crictl_ps=output)
    assert not found.containers and words in found.unread.get("CRI", "")
    assert bool(found.unread) == bool(words)


def test_a_number_of_a_million_digits(tmp_path: Path) -> None:
    row = json.dumps(runtimes.podman_row(ID, "x")).encode()
    found = captured(tmp_path, "podman", podman_ps=b"[" + row.replace(b"4242", b"9" * 1_000_000) + b"]", podman_inspect=[])
    assert ID in found.containers


def test_no_more_than_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_containers, "MAX_CONTAINERS", 2)
    rows = [runtimes.podman_row(f"{number:064x}", "x") for number in range(5)]
    found = captured(tmp_path, "podman", podman_ps=rows, podman_inspect=[])
    assert len(found.containers) == 2 and found.unread == {"Podman": "only the first 2 containers were read"}


KEYS = st.sampled_from(
    "id Id items containers metadata labels annotations Labels Names HostConfig Memory Config podSandboxId name koordinator.sh/qosClass".split()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(ID),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)
ROWS = st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=3)


class Said(Tree):
    """A captured tree in which every output is this one."""

    def __init__(self, output: bytes) -> None:
        super().__init__("/nowhere")
        self._output = output

    def read(self, path: t.Any, *, limit: int = 0) -> bytes:
        return self._output


@given(
    st.binary(max_size=50)
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(["items", "containers"]), st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=3)).map(
        lambda v: json.dumps(v).encode()
    )
    | st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=3).map(lambda v: json.dumps(v).encode())
)
def test_nothing_that_is_said_raises(output: bytes) -> None:
    found = _containers.read(Said(output), cri=True, docker=True, podman=True)
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    assert set(found.containers) <= {ID}
