# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Container runtimes for tests: programs that print, Docker's API on a Unix socket, and the JSON that these say.

Podman's rows have the keys of 4.3.1, captured; crictl's are those of its JSON output (a CRI ListContainers and ListPodSandbox response in protobuf's
JSON), Docker's those of its API's ContainerSummary and ContainerInspect.
"""

from __future__ import annotations

import json
import socket
import threading
import typing as t
from contextlib import suppress
from pathlib import Path

PODMAN_ROW: dict[str, t.Any] = {
    "AutoRemove": False, "Command": ["/bin/sh"], "CreatedAt": "2 hours ago", "Exited": False, "ExitedAt": -62135596800, "ExitCode": 0, "Id": "", "Image": "",
    "ImageID": "", "IsInfra": False, "Labels": None, "Mounts": [], "Names": [], "Namespaces": {}, "Networks": [], "Pid": 4242, "Pod": "", "PodName": "",
    "Ports": None, "Size": None, "StartedAt": 1795809837, "State": "running", "Status": "Up 2 hours", "Created": 1795809837,
}  # fmt: skip


def install(directory: Path, name: str, script: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def prints(directory: Path, name: str, answers: t.Mapping[str, t.Any]) -> Path:
    """A program that prints the JSON of its first argument, and notes how it was called in C(NAME.calls)."""
    cases = []
    for word, answer in answers.items():
        (directory / f"{name}-{word}.json").write_text(json.dumps(answer), encoding="utf-8")
        cases.append(f"{word}) cat {directory}/{name}-{word}.json;;")
    return install(directory, name, f'echo "$*" >>{directory}/{name}.calls\ncase $1 in {" ".join(cases)} *) echo "unknown: $1" >&2; exit 1;; esac')


def calls(directory: Path, name: str) -> list[str]:
    path = directory / f"{name}.calls"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def cri_pod(pod_id: str, uid: str, name: str, *, namespace: str = "shop", labels: t.Any = None, annotations: t.Any = None) -> dict[str, t.Any]:
    own = {"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.uid": uid}
    return {
        "id": pod_id, "metadata": {"name": name, "uid": uid, "namespace": namespace, "attempt": 0}, "state": "SANDBOX_READY",
        "createdAt": "1795809837338040510", "labels": {"app": name, **own, **(labels or {})},
        "annotations": {"kubernetes.io/config.source": "api", **(annotations or {})}, "runtimeHandler": "",
    }  # fmt: skip


def cri_container(container_id: str, pod_id: str, name: str, *, labels: t.Any = None) -> dict[str, t.Any]:
    return {
        "id": container_id, "podSandboxId": pod_id, "metadata": {"name": name, "attempt": 0}, "image": {"image": "sha256:1", "annotations": {}},
        "imageRef": "docker.io/library/x@sha256:1", "state": "CONTAINER_RUNNING", "createdAt": "1795809837338040510",
        "labels": {"io.kubernetes.container.name": name, **(labels or {})},
        "annotations": {"io.kubernetes.container.hash": "ee4ee15b", "io.kubernetes.container.restartCount": "0"},
    }  # fmt: skip


def podman_row(container_id: t.Any, name: str, *, labels: t.Any = None, **more: t.Any) -> dict[str, t.Any]:
    return {**PODMAN_ROW, "Id": container_id, "Names": [name], "Labels": labels, **more}


def podman_inspected(container_id: str, *, annotations: t.Any = None, memory: t.Any = 0, reservation: t.Any = 0) -> dict[str, t.Any]:
    settings = {"CgroupManager": "systemd", "Memory": memory, "MemoryReservation": reservation, "MemorySwap": 0, "OomScoreAdj": 0}
    return {"Id": container_id, "Config": {"Labels": {}, "Annotations": annotations}, "HostConfig": settings}


def docker_row(container_id: t.Any, name: str, *, labels: t.Any = None) -> dict[str, t.Any]:
    return {
        "Id": container_id, "Names": [f"/{name}"], "Image": "x:1", "ImageID": "sha256:1", "Command": "x", "Created": 1795809837, "Ports": [],
        "Labels": labels or {}, "State": "running", "Status": "Up 2 hours", "HostConfig": {"NetworkMode": "bridge"}, "NetworkSettings": {}, "Mounts": [],
    }  # fmt: skip


def http(body: t.Any, status: str = "200 OK") -> bytes:
    """As dockerd does: in chunks."""
    data = json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n"


class Docker:
    """A server on a Unix socket; C(forever): says the same again and again, for 15 s."""

    def __init__(self, path: Path, answer: t.Callable[[str], bytes], *, forever: bool = False) -> None:
        self.asked: list[str] = []
        self._answer, self._forever = answer, forever
        self._over = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(16)
        self._socket.settimeout(0.1)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Docker:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                connection, _address = self._socket.accept()
                with connection:
                    connection.settimeout(5)
                    self.asked.append(connection.recv(65536).split()[1].decode())
                    reply = self._answer(self.asked[-1])
                    connection.sendall(reply)
                    # Not for ever: who waits without a bound is to fail, not to hang.
                    for _round in range(150 if self._forever else 0):
                        if self._over.wait(0.1):
                            break
                        connection.sendall(reply)
