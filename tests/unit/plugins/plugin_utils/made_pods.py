# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pods as Kubernetes' JSON has them, with what a test says of them."""

from __future__ import annotations

import typing as t

UID = "7712555c-ce62-454a-9e18-9ff0217b8941"
GI, MI = 1 << 30, 1 << 20


def container(name: str = "main", requests: str | None = None, limits: str | None = None, **more: t.Any) -> dict[str, t.Any]:
    """Of memory."""
    resources = {key: {"memory": value} for key, value in (("requests", requests), ("limits", limits)) if value is not None}
    return {"name": name, **({"resources": resources} if resources else {}), **more}


def batch(name: str, size: str) -> dict[str, t.Any]:
    """As Koordinator's webhook makes it of a BE pod's memory."""
    return {"name": name, "resources": {key: {"kubernetes.io/batch-memory": size} for key in ("requests", "limits")}}


def pod(
    *containers: dict[str, t.Any],
    uid: str = UID,
    name: str = "web",
    qos: str | None = "Burstable",
    label: str | None = None,
    annotation: str | None = None,
    runtime: str = "containerd",
    spec: dict[str, t.Any] | None = None,
    status: dict[str, t.Any] | None = None,
    metadata: dict[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """Running, each container with the id ID-NAME."""
    inits = (spec or {}).get("initContainers", ())
    ids = {key: [{"name": c["name"], "containerID": f"{runtime}://id-{c['name']}"} for c in each] for key, each in
           (("containerStatuses", containers), ("initContainerStatuses", inits))}  # fmt: skip
    return {
        "kind": "Pod",
        "metadata": {
            "namespace": "shop",
            "name": name,
            "uid": uid,
            "labels": {"koordinator.sh/qosClass": label} if label else {},
            "annotations": {"koordinator.sh/memoryQOS": annotation} if annotation is not None else {},
            **(metadata or {}),
        },
        "spec": {"nodeName": "n1", "containers": list(containers), **(spec or {})},
        "status": {"phase": "Running", **({"qosClass": qos} if qos else {}), **ids, **(status or {})},
    }
