# SPDX-License-Identifier: BSD-2-Clause

"""What the runtimes of a node say of its running containers: names, labels and annotations, Docker's and Podman's reservation and limit.

All of it is data of others: an id is 64 hexadecimal digits or nothing, text is short and printable, no path is taken from it.
"""

from __future__ import annotations

import json
import re
import time
import typing as t

from .._tuples import NamedTuple
from . import _programs
from ._files import OUTPUT_DIR, Tree, Unreadable

if t.TYPE_CHECKING:
    from ...plugin_utils._shapes import Told

DOCKER_SOCKET = "/run/docker.sock"
MAX_CONTAINERS = 20000
_ID = re.compile("[0-9a-f]{64}")
_KEPT = re.compile(r"(?:[a-z0-9.-]+\.)?koordinator\.sh/[!-~]{1,63}|io\.kubernetes\.[!-~]{1,240}")
_NAMES = {
    "pod": "io.kubernetes.pod.name",
    "namespace": "io.kubernetes.pod.namespace",
    "pod_uid": "io.kubernetes.pod.uid",
    "container": "io.kubernetes.container.name",
}
# Kubernetes allows 253; a label's value 63, all annotations together 256 KiB.
_MAX_NAME = 253
_MAX_VALUE = 16384
_MAX_MARKS = 64
_MAX_NOTES = 20
_MAX_BYTES = 1 << 62
_CRI = {"crictl-pods": ("crictl", "pods", "-o", "json"), "crictl-ps": ("crictl", "ps", "-o", "json")}
_PODMAN_PS = ("podman", "ps", "--no-trunc", "--pod", "--format", "json")


class Runtimes(NamedTuple):
    """C(containers): {id: Told}; C(unread): {source: why it could not be read}; C(notes): what was left out."""

    containers: dict[str, Told]
    unread: dict[str, str]
    notes: list[str]


class _Malformed(Exception):
    pass


def read(tree: Tree, *, cri: bool, docker: bool, podman: bool, known: t.Container[str] = (), timeout: float = _programs.TIMEOUT) -> Runtimes:
    """Asks those that are named, and no others. C(known): ids whose reservation the node's files have told. Never raises."""
    found = Runtimes({}, {}, [])
    for asked, source, ask in ((cri, "CRI", _cri), (podman, "Podman", _podman), (docker, "Docker", _docker)):
        try:
            for told in ask(tree, known, timeout, found) if asked else ():
                _add(found, source, told)
        except Unreadable as exc:
            found.unread[source] = f"could not be read: {exc.path}: {exc.reason}"
        except _Malformed as exc:
            found.unread[source] = f"could not be read: {exc}"
    if len(found.notes) > _MAX_NOTES:
        found.notes[_MAX_NOTES:] = [f"… and {len(found.notes) - _MAX_NOTES} more"]
    return found


def _add(found: Runtimes, source: str, told: Told) -> None:
    """The first that tells a key decides: Docker tells of the kubelet's containers too (cri-dockerd)."""
    known = found.containers.get(told["container_id"])
    if known is None:
        if len(found.containers) >= MAX_CONTAINERS:
            found.unread[source] = f"only the first {MAX_CONTAINERS} containers were read"
            return
        found.containers[told["container_id"]] = told
    elif known["source"] == source:
        found.notes.append(f"{source}: two containers with the id {told['container_id'][:12]}: the first counts")
    else:
        for key, value in told.items():
            known.setdefault(key, value)  # type: ignore[misc]


def _cri(tree: Tree, known: t.Container[str], timeout: float, found: Runtimes) -> t.Iterator[Told]:
    answers = _programs.ask(tree, _CRI, timeout=timeout)
    pods = {row["id"]: row for row in _rows(answers["crictl-pods"], "crictl pods", "items") if isinstance(row.get("id"), str)}
    for row in _rows(answers["crictl-ps"], "crictl ps", "containers"):
        told = _told(row.get("id"), "CRI", found)
        if told is None:
            continue
        sandbox = pods.get(row.get("podSandboxId")) if isinstance(row.get("podSandboxId"), str) else None
        pod = _dict(sandbox or {}, "metadata")
        # Koordinator's are the pod's: an image can bring labels to its container.
        own = [{key: value for key, value in _dict(row, what).items() if key.startswith("io.kubernetes.")} for what in ("labels", "annotations")]
        _mark(told, (_dict(sandbox or {}, "labels"), own[0]), (_dict(sandbox or {}, "annotations"), own[1]), found)
        _name(told, {"container": _dict(row, "metadata").get("name"), "pod": pod.get("name"), "namespace": pod.get("namespace"), "pod_uid": pod.get("uid")})
        yield told


def _podman(tree: Tree, known: t.Container[str], timeout: float, found: Runtimes) -> t.Iterator[Told]:
    rows = _rows(_programs.ask(tree, {"podman-ps": _PODMAN_PS}, timeout=timeout)["podman-ps"], "podman ps", "")
    ids = [row["Id"] for row in rows if isinstance(row.get("Id"), str) and _ID.fullmatch(row["Id"]) and row.get("IsInfra") is not True][:MAX_CONTAINERS]
    details: dict[str, dict[str, t.Any]] = {}
    if ids:
        answer = _programs.ask(tree, {"podman-inspect": ("podman", "inspect", "--type", "container", *ids)}, timeout=timeout)["podman-inspect"]
        try:
            details = {row["Id"]: row for row in _rows(answer, "podman inspect", "") if isinstance(row.get("Id"), str)}
        except (Unreadable, _Malformed) as exc:
            # One that has gone since fails all of it.
            found.unread["Podman"] = f"annotations and reservations could not be read: {exc}"
    for row in rows:
        told = _told(row.get("Id"), "Podman", found) if row.get("IsInfra") is not True else None
        if told is not None:
            inspected = details.get(told["container_id"], {})
            _mark(told, (_dict(row, "Labels"),), (_dict(_dict(inspected, "Config"), "Annotations"),), found)
            _name(told, {"container": _first(row.get("Names")), "pod": row.get("PodName")})
            _sizes(told, _dict(inspected, "HostConfig"), found)
            yield told


def _docker(tree: Tree, known: t.Container[str], timeout: float, found: Runtimes) -> t.Iterator[Told]:
    until = time.monotonic() + timeout
    for row in _rows(_docker_says(tree, "/containers/json", "docker-containers", timeout), "Docker's /containers/json", ""):
        told = _told(row.get("Id"), "Docker", found)
        if told is None:
            continue
        name = _first(row.get("Names"))
        _mark(told, (_dict(row, "Labels"),), (_dict(_dict(row, "HostConfig"), "Annotations"),), found)
        _name(told, {"container": name.lstrip("/") if isinstance(name, str) else name})
        container_id = told["container_id"]
        left = until - time.monotonic()
        if container_id not in known and "Docker" not in found.unread:
            try:
                answer = _docker_says(tree, f"/containers/{container_id}/json", f"docker-container-{container_id}", left)
                _sizes(told, _dict(_load(answer, "Docker's answer", dict), "HostConfig"), found)
            except Unreadable as exc:
                # Gone since; anything else holds for all.
                if "status 404" not in exc.reason:
                    found.unread["Docker"] = f"reservations could not be read: {exc.path}: {exc.reason}"
            except _Malformed as exc:
                found.unread["Docker"] = f"reservations could not be read: {exc}"
        yield told


def _docker_says(tree: Tree, url: str, name: str, timeout: float) -> bytes:
    if not tree.live:
        return tree.read(f"/{OUTPUT_DIR}/{name}", limit=_programs.MAX_ANSWER)
    if timeout <= 0:
        raise Unreadable(DOCKER_SOCKET, "error", "no time is left")
    return _programs.get(DOCKER_SOCKET, url, timeout=timeout)


def _told(container_id: t.Any, source: str, found: Runtimes) -> Told | None:
    if isinstance(container_id, str) and _ID.fullmatch(container_id):
        return {"container_id": container_id, "source": source}
    note = f"{source}: a container whose id is not 64 hexadecimal digits was left out"
    if note not in found.notes:
        found.notes.append(note)
    return None


def _mark(told: Told, labels: t.Iterable[dict[str, t.Any]], annotations: t.Iterable[dict[str, t.Any]], found: Runtimes) -> None:
    marks = _kept(labels, told, found)
    _name(told, {key: marks.get(name) for key, name in _NAMES.items()})
    if marks:
        told["labels"] = marks
    notes = _kept(annotations, told, found)
    if notes:
        told["annotations"] = notes


def _kept(sources: t.Iterable[dict[str, t.Any]], told: Told, found: Runtimes) -> dict[str, str]:
    kept: dict[str, str] = {}
    for source in sources:
        for key, value in source.items():
            if not _KEPT.fullmatch(key) or key in kept:
                continue
            if isinstance(value, str) and len(value) <= _MAX_VALUE and len(kept) < _MAX_MARKS:
                # A lone surrogate cannot be written.
                kept[key] = value.encode("utf-8", "backslashreplace").decode()
            else:
                found.notes.append(f"{told['source']}: {key} of {told['container_id'][:12]} is too long, or no text: it was left out")
    return kept


def _name(told: Told, names: dict[str, t.Any]) -> None:
    for key, value in names.items():
        if isinstance(value, str) and value:
            told.setdefault(key, _printable(value))  # type: ignore[misc]


def _sizes(told: Told, settings: dict[str, t.Any], found: Runtimes) -> None:
    """0 is none. A limit that is not there has no key: the cgroup tells."""
    for key, name in (("request", "MemoryReservation"), ("limit", "Memory")):
        value = settings.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MAX_BYTES:
            told[key] = value  # type: ignore[literal-required]
        elif value not in (None, 0):
            found.notes.append(f"{told['source']}: {name} of {told['container_id'][:12]} is no size: it was left out")


def _printable(text: str) -> str:
    text = text[:_MAX_NAME]
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")[:_MAX_NAME]


def _first(names: t.Any) -> t.Any:
    return names[0] if isinstance(names, list) and names else None


def _rows(answer: _programs.Answer, what: str, key: str) -> list[dict[str, t.Any]]:
    """C(key): below which they are. Raises Unreadable and _Malformed."""
    if isinstance(answer, Unreadable):
        raise answer
    loaded = _load(answer, what, dict if key else list)
    # Go writes an empty list as null.
    rows = (loaded.get(key) or []) if key else loaded
    if not isinstance(rows, list):
        raise _Malformed(f"what {what} says has no list of {key}")
    return [row for row in rows if isinstance(row, dict)]


def _load(data: bytes, what: str, kind: type) -> t.Any:
    try:
        # Python before 3.11 takes hours for a number of a million digits.
        loaded = json.loads(data, parse_int=lambda text: int(text) if len(text) < 20 else None)
    except (ValueError, RecursionError) as exc:
        raise _Malformed(f"what {what} says is no JSON") from exc
    if loaded is None:
        return kind()
    if not isinstance(loaded, kind):
        raise _Malformed(f"what {what} says is no {'list' if kind is list else 'object'}")
    return loaded


def _dict(loaded: dict[str, t.Any], key: str) -> dict[str, t.Any]:
    value = loaded.get(key)
    return value if isinstance(value, dict) else {}
