# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""A file of pods, which all hosts of a run share: the first host reads it, each has its own from C(pods/KEY/) below the directory of results.

C(KEY) stands for the file as it is, and for the code that reads it. A directory takes its place when it is whole, so what is there can be used without a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import time
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _memory_qos
from ansible_collections.memqos.fleet.plugins.plugin_utils import _pods, _quantity, _results

FOLDER = "pods"
_INDEX = "index.json"
_TOLD = "told.json"
# Of another file, or of one that has changed since: for as long another run may still use it.
_OLD_SECONDS = 86400


class Share(t.NamedTuple):
    """C(workloads): of one node. C(nodes): the names of all that pods run on. C(warnings): of the whole file, which all hosts get."""

    workloads: list[_pods.Workload]
    nodes: list[str]
    warnings: list[str]


def of_node(path: str, directory: str, node: str) -> Share:
    """Raises PodsError and ResultError."""
    try:
        with open(path, "rb") as stream:
            return _of_node(stream, path, directory, node)
    except OSError as exc:
        raise _pods.PodsError(f"{path}: cannot be read: {exc.strerror or exc}") from None


def of_list(pods: object, node: str) -> Share:
    """Of pods that stand in a variable. Raises PodsError."""
    read = _pods.read(pods)
    by_node = _pods.by_node(read.workloads)
    return Share(by_node.get(node, []), sorted(by_node), read.warnings)


def told_first(directory: str, warnings: list[str]) -> bool:
    """Whether these have not been shown in this run yet: all hosts have the same ones. Raises ResultError."""
    if not warnings:
        return False
    own = hashlib.sha256("\n".join(warnings).encode("utf-8", "surrogatepass")).hexdigest()
    with _alone(directory) as folder:
        path = os.path.join(folder, _TOLD)
        told = _read(path) or {}
        shown = told.get("shown", []) if told.get("run_id") == _results.RUN_ID else []
        if own in shown:
            return False
        _write(path, {"run_id": _results.RUN_ID, "shown": [*shown, own]})
        return True


def _of_node(stream: t.BinaryIO, path: str, directory: str, node: str) -> Share:
    about = os.fstat(stream.fileno())
    if not stat.S_ISREG(about.st_mode):
        raise _pods.PodsError(f"{path}: is no file")
    place = os.path.join(directory, FOLDER, _key(path, about))
    if _is_ours(os.path.dirname(place)):
        with contextlib.suppress(FileNotFoundError):
            return _share(place, node)
    with _alone(directory) as folder:
        with contextlib.suppress(FileNotFoundError):
            return _share(place, node)  # another host has read it meanwhile
        loaded = _loaded(stream, path)
        if _key(path, os.fstat(stream.fileno())) != os.path.basename(place):
            raise _pods.PodsError(f"{path}: was written while it was read: run again, and put the whole of it in place at once (cp to another name, mv)")
        try:
            read = _pods.read(loaded)
        except _pods.PodsError as exc:
            raise _pods.PodsError(f"{path}: {exc}") from None
        with _cannot_write(place):
            _remove_old(folder, path)
            _keep(place, path, read)
        return _share(place, node)


def _key(path: str, about: os.stat_result) -> str:
    """Of the file as it is. The time of its inode too: who copies with times kept writes no newer one."""
    identity = [_CODE, os.path.realpath(path), about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns]
    return hashlib.sha256(json.dumps(identity).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _code() -> str:
    """What is read otherwise by another version of ours is read again."""
    digest = hashlib.sha256()
    for module in (_pods, _quantity, _memory_qos):
        with open(str(module.__file__), "rb") as stream:
            digest.update(stream.read())
    return digest.hexdigest()


_CODE = _code()


def _loaded(stream: t.BinaryIO, path: str) -> object:
    try:
        return json.loads(stream.read())
    # RecursionError: nested thousands deep.
    except (ValueError, RecursionError) as exc:
        raise _pods.PodsError(f"{path}: is not JSON ({str(exc):.100}): make it with kubectl get pods -A -o json") from None


def _share(place: str, node: str) -> Share:
    """Raises FileNotFoundError where the file has not been read yet."""
    index = _read(os.path.join(place, _INDEX))
    if index is None or "nodes" not in index:
        raise FileNotFoundError(place)
    own = _read(_results.path_of(place, "nodes", node)) if node in index["nodes"] else {"workloads": []}
    if own is None:
        raise FileNotFoundError(place)
    return Share(own["workloads"], index["nodes"], index["warnings"])


def _read(path: str) -> dict[str, t.Any] | None:
    with contextlib.suppress(OSError, ValueError, RecursionError), open(path, encoding="utf-8") as stream:
        loaded = json.load(stream)
        return loaded if isinstance(loaded, dict) else None
    return None


def _keep(place: str, path: str, read: _pods.Read) -> None:
    """Puts it in the place of what is there and is not whole. Raises OSError."""
    by_node = _pods.by_node(read.workloads)
    temporary = f"{place}.{secrets.token_hex(4)}"
    try:
        for directory in (temporary, os.path.join(temporary, "nodes")):
            os.mkdir(directory, 0o700)
        for node, workloads in by_node.items():
            _write(_results.path_of(temporary, "nodes", node), {"workloads": workloads})
        _write(os.path.join(temporary, _INDEX), {"path": os.path.realpath(path), "nodes": sorted(by_node), "warnings": read.warnings})
        shutil.rmtree(place, ignore_errors=True)
        os.rename(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(path: str, content: t.Any) -> None:
    """Atomically, 0600. Raises OSError."""
    temporary = f"{path}.{secrets.token_hex(4)}"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
        json.dump(content, stream, separators=(",", ":"))
    os.replace(temporary, path)


def _remove_old(folder: str, path: str) -> None:
    """What was read of this file before, what nobody finished, and what is old."""
    real, limit = os.path.realpath(path), time.time() - _OLD_SECONDS
    for name in os.listdir(folder):
        place = os.path.join(folder, name)
        if not os.path.isdir(place) or os.path.islink(place):
            continue
        index = _read(os.path.join(place, _INDEX)) or {}
        if index.get("path") == real or "." in name or os.lstat(place).st_mtime < limit:
            shutil.rmtree(place, ignore_errors=True)


def _is_ours(folder: str) -> bool:
    """Whoever could write there would say what pods get."""
    try:
        about = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o022


@contextlib.contextmanager
def _cannot_write(place: str) -> t.Iterator[None]:
    try:
        yield
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        raise _results.ResultError(
            f"{place}: cannot be written ({reason}). Choose a directory on the controller that you may write to and that has room."
        ) from exc


@contextlib.contextmanager
def _alone(directory: str) -> t.Iterator[str]:
    """One process at a time in the folder, which is made. Raises ResultError."""
    folder = os.path.join(directory, FOLDER)
    with _cannot_write(folder):
        os.makedirs(directory, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        if not _is_ours(folder):
            raise _results.ResultError(f"{folder}: is no directory, belongs to another user, or others can write there: remove it, and run again")
        handle = os.open(os.path.join(folder, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # A file system without locks (some NFS) leaves it at the atomic renames.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(handle)
