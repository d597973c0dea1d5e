# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Result files: one C(hosts/HOST.json) a host, its result or why there is none, with C(rules.json) and C(run.json) beside C(hosts/).

C(counters/HOST.json) is what the next run compares with: read before every host is contacted, and so a file of its own.

What a file says comes from a node, which may be broken or hostile: it is checked for shape once, here, so that no writer needs to.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import time
import typing as t

from ansible_collections.memqos.fleet.plugins.plugin_utils import _changes

SCHEMA_VERSION = 1
HOSTS_DIR = "hosts"
COUNTERS_DIR = "counters"
# One ansible-playbook process is one run. Strategies load an action plugin, and so this file, before they fork the workers: all have the same id.
RUN_ID = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"
# A node with 10,000 cgroups sends about 1 MiB: the result holds the top cgroups, not all of them.
MAX_RESULT_BYTES = 32 * 1024 * 1024
# File systems allow 255 bytes; the rest is for the suffix and the temporary name.
_MAX_STEM = 180
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
# Larger than any count or size of a kernel, small enough for a float.
_MAX_NUMBER = 1e30
_MAX_DEPTH = 32
# A module that dies may leave a whole traceback.
_MAX_MESSAGE = 2000
NO_RESULT = "no result in this run: unreachable or skipped"

Json = dict[str, t.Any]

# The part of docs/schemas/host.json that the writers rely on. A key with "?" may be absent, "*" stands for all other keys;
# "number?" is a number or null; [x] is a list of x.
_ROWS = [{"*": "any"}]
_SHAPE: Json = {
    "schema_version": "number",
    "host": "text",
    "run_id": "text",
    "collected_at": "text",
    "node": {"meminfo?": {"*": "number?"}, "pressure?": {"*": {"*": {"*": "number?"}}}, "knobs?": {"*": "any"}, "*": "any"},
    "breakdown": {
        "memtotal_bytes": "number",
        "rows": [{"name": "text", "bytes": "number", "group": "text", "reclaimable": "text"}],
    },
    "zones": [{"name": "text", "node": "number", **dict.fromkeys(("free", "min", "low", "high", "distance_kswapd", "distance_direct"), "number")}],
    "top": {"limit": "number", "parts": ["text"], "rows": [{"path": "text", "*": "any"}]},
    "findings": [
        {
            "rule": "text",
            "subject": {"kind": "text", "id": "text", "name": "text"},
            "status": "text",
            "observed?": {"*": "any"},
            "window?": {"*": "any"},
            "reason?": "any",
            "suppressed?": {"reason": "text", "until": "text"},
            "suppression_expired?": {"reason": "text", "until": "text"},
        }
    ],
    "suppressions_unused?": [{"*": "text"}],
    "changes?": {"findings": [{"rule": "text", "subject": {"kind": "text", "id": "text", "name": "text"}, "*": "any"}], "*": "any"},
    "rules": {"*": {"*": "number"}},
    "oom": {"reports?": _ROWS, "groups?": _ROWS, "next_victims?": _ROWS, "*": "any"},
    "pushers": _ROWS,
    "units": {"*": {"*": "any"}},
    "unknown": {"*": "text"},
    "*": "any",
}
_FAILURE_SHAPE: Json = {"schema_version": "number", "host": "text", "run_id": "text", "failed": "text", "*": "any"}
_RULES_SHAPE: Json = {
    "*": {
        "title": "text",
        "severity": "text",
        "each?": "any",
        "why?": "any",
        "expected?": "any",
        "cure?": {"*": "any"},
        "references?": ["text"],
        "because_of?": ["text"],
        "*": "any",
    }
}


class ResultError(Exception):
    """A file that cannot be written or read. The message names the path and says what to do."""


class AuditFailed(ResultError):
    """The audit of the host failed in the run C(run_id); the message is what it said."""

    def __init__(self, message: str, *, run_id: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class Previous(t.NamedTuple):
    """Of a host's last result: C(counters) for the node, C(findings) for the controller. Empty: there is none."""

    counters: Json
    findings: Json


class Outcome(t.NamedTuple):
    """One host of the play: C(result), or C(problem) that says why there is none; C(unreachable) if nothing of this run is there."""

    host: str
    result: Json | None = None
    problem: str = ""
    unreachable: bool = False


def result_path(directory: str, host: str) -> str:
    """Where the result of C(host) lies."""
    return path_of(directory, HOSTS_DIR, host)


def applied_path(directory: str, host: str) -> str:
    """C(applied/HOST.json): the last tune that changed the node as it was asked to, or found it so. A check, or a tune that failed, leaves it."""
    return path_of(directory, "applied", host)


def path_of(directory: str, folder: str, host: str) -> str:
    """A file about C(host) in one of the directories beside each other."""
    return os.path.join(directory, folder, _file_of(host))


def _file_of(host: str) -> str:
    """Every host has a file name of its own, whatever characters and length its name has."""
    raw = host.encode("utf-8", "surrogatepass")
    stem = "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in raw)
    # A leading dot would hide the file or name the directory itself.
    if stem.startswith("."):
        stem = "%2E" + stem[1:]
    if len(stem) > _MAX_STEM:
        # "~" is in no encoded name, so a cut name never meets a whole one.
        stem = f"{stem[: _MAX_STEM - 40]}~{hashlib.sha256(raw).hexdigest()[:32]}"
    return f"{stem or '~'}.json"


@contextlib.contextmanager
def replacing(path: str) -> t.Iterator[t.TextIO]:
    """A text file that takes the place of C(path) when the block ends, and not at all when it fails. Raises ResultError.

    Not synced to disk: after a power cut a result may be empty, is then reported as invalid and made again by the next run.
    """
    temporary = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}.tmp")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "x", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            yield stream
        os.replace(temporary, path)
    except OSError as exc:
        raise _cannot_write(path, exc) from exc
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _cannot_write(path: str, exc: OSError) -> ResultError:
    words = os.strerror(exc.errno) if exc.errno else str(exc)
    return ResultError(f"{path}: cannot be written ({words}). Choose a directory on the controller that you may write to and that has room.")


def write_result(directory: str, host: str, text: str) -> str:
    """Put the JSON C(text) in place of the host's last result; returns the path. Raises ResultError."""
    path = result_path(directory, host)
    with replacing(path) as stream:
        stream.write(text)
    return path


def write_failure(directory: str, host: str, message: str) -> str:
    """Put C(message), why the audit of C(host) failed, in place of its last result; returns the path. Raises ResultError.

    The counters of that result stay, so that the next run has something to compare with.
    """
    failure: Json = {"schema_version": SCHEMA_VERSION, "host": host, "run_id": RUN_ID, "failed": f"{message.strip():.{_MAX_MESSAGE}}"}
    return write_result(directory, host, json.dumps(failure, separators=(",", ":")))


def write_counters(directory: str, host: str, counters: t.Any, findings: Json) -> None:
    """Keep what the next run compares with: counters, and C(findings) as _changes remembers them. Raises ResultError."""
    with replacing(path_of(directory, COUNTERS_DIR, host)) as stream:
        kept = {"schema_version": SCHEMA_VERSION, "host": host, "counters": counters, "findings": findings}
        stream.write(json.dumps(kept, separators=(",", ":")))


def previous(directory: str, host: str) -> Previous:
    """What the host's last result left for this one; nothing of it if there is none, or it is damaged."""
    try:
        last = _read_json(path_of(directory, COUNTERS_DIR, host))
    except ResultError:
        return Previous({}, {})
    if last.get("schema_version") != SCHEMA_VERSION or last.get("host") != host:
        return Previous({}, {})
    counters, findings = last.get("counters"), last.get("findings")
    return Previous(
        counters if isinstance(counters, dict) and _is_sane(counters, _MAX_DEPTH) else {},
        findings if isinstance(findings, dict) and not _first_misfit(findings, _changes.SHAPE, "") else {},
    )


def start_run(directory: str, rules: t.Mapping[str, t.Any]) -> None:
    """Put C(rules.json) and C(run.json) in place for this run, before its first host is contacted: a report needs them even if no host answers.

    Every host's worker comes here; the first writes, and one that has more rules by its variables adds them. Only who writes waits for others.
    C(run.json) names the rules of its run, so that those who find theirs need not read them all. Raises ResultError.
    """
    if rules.keys() <= _rules_of_this_run(directory):
        return
    with _alone(directory):
        named = _rules_of_this_run(directory)
        if rules.keys() <= named:
            return
        shared = {**(read_rules(directory) if named else {}), **rules}
        with replacing(os.path.join(directory, "rules.json")) as stream:
            json.dump(shared, stream, separators=(",", ":"))
        with replacing(os.path.join(directory, "run.json")) as stream:
            started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            json.dump({"run_id": RUN_ID, "started_at": started, "rules": list(shared)}, stream)


def _rules_of_this_run(directory: str) -> set[str]:
    with contextlib.suppress(ResultError):
        run = _read_json(os.path.join(directory, "run.json"))
        if run.get("run_id") == RUN_ID:
            return set(run["rules"])
    return set()


@contextlib.contextmanager
def _alone(directory: str) -> t.Iterator[None]:
    """One process at a time on this controller. A file system without locks (some NFS) leaves it at the atomic renames."""
    path = os.path.join(directory, ".lock")
    try:
        os.makedirs(directory, exist_ok=True)
        # O_RDWR: over NFS a lock to write is for who may write.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as exc:
        raise _cannot_write(path, exc) from exc
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read_result(directory: str, host: str) -> Json:
    """The last result of C(host), of any run. Raises AuditFailed, and ResultError for one cut short, of another schema version or of another shape."""
    path = result_path(directory, host)
    result = _read_json(path)
    version = result.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ResultError(f"{path}: schema_version is {version!r:.40}, this collection reads {SCHEMA_VERSION}. Run the audit again.")
    failed = "failed" in result
    _require_shape(path, result, _FAILURE_SHAPE if failed else _SHAPE)
    if result["host"] != host:
        raise ResultError(f"{path}: holds the result of another host. Run the audit again.")
    if failed:
        raise AuditFailed(f"failed: {result['failed']}", run_id=result["run_id"])
    return result


def read_results(directory: str, expected_hosts: t.Iterable[str], run_id: str) -> t.Iterator[Outcome]:
    """One Outcome for each expected host, one at a time: ten thousand results do not fit into memory together.

    A host without a file, or with one of another run, was not audited in this run: it was unreachable, or skipped. One whose audit failed says why.
    An empty C(run_id) accepts results of any run.
    """
    for host in expected_hosts:
        if not os.path.lexists(result_path(directory, host)):
            yield Outcome(host, problem=NO_RESULT, unreachable=True)
            continue
        try:
            result = read_result(directory, host)
            outcome, made_by = Outcome(host, result), result["run_id"]
        except AuditFailed as exc:
            outcome, made_by = Outcome(host, problem=str(exc)), exc.run_id
        except ResultError as exc:
            yield Outcome(host, problem=str(exc))
            continue
        yield Outcome(host, problem=NO_RESULT, unreachable=True) if run_id and made_by != run_id else outcome


def known_hosts(directory: str) -> list[str]:
    """Names of the hosts that have a result file, sorted. A file that cannot be read goes by the name in its path. Raises ResultError."""
    folder = os.path.join(directory, HOSTS_DIR)
    try:
        files = [name for name in os.listdir(folder) if name.endswith(".json") and not name.startswith(".")]
    except OSError as exc:
        raise ResultError(f"{folder}: cannot be read ({os.strerror(exc.errno or 0)}). Run the audit first, or name the directory it wrote to.") from exc
    return sorted(_host_of(os.path.join(folder, name)) for name in files)


def read_rules(directory: str) -> dict[str, Json]:
    """C(rules.json): {id: {title, severity, each, why, expected, cure, references}}. Raises ResultError."""
    path = os.path.join(directory, "rules.json")
    rules = _read_json(path)
    _require_shape(path, rules, _RULES_SHAPE)
    return rules


def _host_of(path: str) -> str:
    stem = os.path.basename(path)[: -len(".json")]
    if "~" not in stem:
        parts = stem.split("%")
        with contextlib.suppress(ValueError):
            raw = parts[0].encode() + b"".join(bytes([int(part[:2], 16)]) + part[2:].encode() for part in parts[1:])
            return raw.decode("utf-8", "backslashreplace")
    with contextlib.suppress(ResultError):
        host = _read_json(path).get("host")
        if isinstance(host, str):
            return host
    return stem


def _read_json(path: str) -> Json:
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MAX_RESULT_BYTES + 1)
    except OSError as exc:
        words = os.strerror(exc.errno) if exc.errno else str(exc)
        raise ResultError(f"{path}: cannot be read ({words}). Run the audit first, or name the directory it wrote to.") from exc
    if len(raw) > MAX_RESULT_BYTES:
        raise ResultError(f"{path}: larger than {MAX_RESULT_BYTES >> 20} MiB, which no audit writes. Look at it, remove it, run the audit again.")
    try:
        value = json.loads(raw)
    # RecursionError: nested thousands deep. UnicodeDecodeError and integers of 4,301 digits are ValueErrors.
    except (ValueError, RecursionError) as exc:
        raise ResultError(f"{path}: not whole JSON ({str(exc):.120}): cut short or damaged. Run the audit again.") from exc
    if not isinstance(value, dict):
        raise ResultError(f"{path}: not a JSON object. Run the audit again.")
    return value


def _require_shape(path: str, value: Json, shape: Json) -> None:
    wrong = _first_misfit(value, shape, "")
    if wrong:
        raise ResultError(f"{path}: {wrong:.200}. Run the audit again.")


def _first_misfit(value: t.Any, shape: t.Any, where: str) -> str:
    """The first place where C(value) is not of C(shape), in words; empty if there is none."""
    if isinstance(shape, str):
        words = "nested too deep or holds a number out of bounds" if shape == "any" else f"not a {shape.rstrip('?')}"
        return "" if _is_a(value, shape) else f"{where or 'the file'} is {words}"
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is not a list"
        found = (_first_misfit(item, shape[0], f"{where}[{index}]") for index, item in enumerate(value))
        return next(filter(None, found), "")
    if not isinstance(value, dict):
        return f"{where} is not an object"
    missing = next((key for key in shape if key not in value and key != "*" and not key.endswith("?")), None)
    if missing is not None:
        return f"{where or 'the file'} has no {missing!r}"
    rest = shape.get("*", "any")
    found = (_first_misfit(item, shape.get(key, shape.get(f"{key}?", rest)), f"{where}.{key}" if where else key) for key, item in value.items())
    return next(filter(None, found), "")


def _is_a(value: t.Any, kind: str) -> bool:
    if kind == "any":
        return _is_sane(value, _MAX_DEPTH)
    if kind == "text":
        return isinstance(value, str)
    if value is None:
        return kind == "number?"
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MAX_NUMBER


def _is_sane(value: t.Any, depth: int) -> bool:
    """False where a number is out of all bounds (1e999 and NaN are not JSON for a browser) or nesting would exhaust a recursive writer."""
    if isinstance(value, (dict, list)):
        items = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_sane(item, depth - 1) for item in items)
    return not isinstance(value, (int, float)) or abs(value) < _MAX_NUMBER
