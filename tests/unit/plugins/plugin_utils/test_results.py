# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Result files: every host its own file, nothing half written, and no content that a reader trips over."""

from __future__ import annotations

import copy
import errno
import json
import multiprocessing
import os
import typing as t
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.plugin_utils import _results

SAMPLES = Path(__file__).parents[2] / "fixtures" / "results"
SCHEMA = json.loads((Path(__file__).parents[4] / "docs" / "schemas" / "host.json").read_text(encoding="utf-8"))
FAILURE_SCHEMA = json.loads((Path(__file__).parents[4] / "docs" / "schemas" / "failure.json").read_text(encoding="utf-8"))
WEB = json.loads((SAMPLES / "hosts" / "web-1.json").read_text(encoding="utf-8"))

NAMES = [
    ("web-1", "web-1.json"),
    ("node17.example.org", "node17.example.org.json"),
    (".", "%2E.json"),
    ("..", "%2E..json"),
    ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.json"),
    ("a b", "a%20b.json"),
    ("a%20b", "a%2520b.json"),
    ("", "~.json"),
    ("nul\0", "nul%00.json"),
    ("é", "%C3%A9.json"),
    ("\ud800", "%ED%A0%80.json"),
]


@pytest.mark.parametrize(("host", "file"), NAMES)
def test_a_host_has_a_safe_file_name(host: str, file: str) -> None:
    assert _results.result_path("/r", host) == f"/r/hosts/{file}"


@given(st.lists(st.text(), unique=True, max_size=20))
def test_no_two_hosts_share_a_file_and_none_leaves_the_directory(hosts: list[str]) -> None:
    paths = [_results.result_path("/r", host) for host in hosts]
    assert len(set(paths)) == len(hosts)
    for path in paths:
        assert os.path.normpath(path) == path
        assert os.path.dirname(path) == "/r/hosts"
        assert len(os.path.basename(path)) < 200
        assert not os.path.basename(path).startswith(".")


def test_long_names_that_differ_at_the_end_have_different_files() -> None:
    assert _results.result_path("", "n" * 300 + "1") != _results.result_path("", "n" * 300 + "2")


def write(directory: Path, host: str, result: t.Any) -> Path:
    return Path(_results.write_result(str(directory), host, result if isinstance(result, str) else json.dumps(result)))


def read(directory: Path, hosts: t.Iterable[str], run_id: str = WEB["run_id"]) -> list[_results.Outcome]:
    return list(_results.read_results(str(directory), hosts, run_id))


def test_a_result_comes_back_as_written(tmp_path: Path) -> None:
    write(tmp_path, "web-1", WEB)
    assert read(tmp_path, ["web-1"]) == [_results.Outcome("web-1", WEB)]


def test_the_samples_are_results_and_match_the_schema() -> None:
    hosts = _results.known_hosts(str(SAMPLES))
    assert len(hosts) == 4
    assert 'evil"><img src=x onerror=document.title=1>' in hosts
    for outcome in read(SAMPLES, hosts):
        assert outcome.result is not None, outcome.problem
        jsonschema.validate(outcome.result, SCHEMA)


def test_a_new_result_replaces_the_old_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "web-1", "{}")
    write(tmp_path, "web-1", WEB)
    assert os.listdir(tmp_path / "hosts") == ["web-1.json"]
    assert _results.read_result(str(tmp_path), "web-1") == WEB


def test_a_write_that_fails_leaves_the_old_result(tmp_path: Path) -> None:
    write(tmp_path, "web-1", WEB)
    with pytest.raises(_results.ResultError), _results.replacing(str(tmp_path / "hosts" / "web-1.json")) as stream:
        stream.write("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path / "hosts") == ["web-1.json"]
    assert _results.read_result(str(tmp_path), "web-1") == WEB


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    # A file where the directory should be stops root as well, whom permissions do not.
    (tmp_path / "report").write_text("")
    with pytest.raises(_results.ResultError, match=r"report/hosts/web-1\.json: cannot be written \(.+\)\. Choose a directory") as caught:
        write(tmp_path / "report", "web-1", WEB)
    assert str(tmp_path) in str(caught.value)


def test_a_read_only_file_system_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*unused: object, **unused_too: object) -> t.NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(_results.ResultError, match="Read-only file system"):
        write(tmp_path, "web-1", WEB)


def test_hosts_without_a_result_of_this_run_are_unreachable(tmp_path: Path) -> None:
    write(tmp_path, "web-1", WEB)
    write(tmp_path, "old", {**WEB, "host": "old", "run_id": "earlier"})
    outcomes = {outcome.host: outcome for outcome in read(tmp_path, ["gone", "old", "web-1"])}
    assert [outcomes[host].unreachable for host in ("gone", "old", "web-1")] == [True, True, False]
    assert outcomes["old"].result is None
    assert [outcome.unreachable for outcome in read(tmp_path, ["old"], run_id="")] == [False]


COUNTERS = {"boot_id": "b", "vmstat": {"oom_kill": 3}}
FINDINGS: dict[str, t.Any] = {
    "run_id": "r", "collected_at": "2026-11-27T10:00:00+00:00", "boot_id": None, "generation": None, "rules": {"N01": "a"}, "unlisted": [],
    "findings": [{"rule": "N01", "subject": {"kind": "node", "id": "node", "name": ""}, "status": "fail", "observed": {"kills": 1}}],
}  # fmt: skip


def failed(directory: Path, message: str = "No python3 on the node") -> str:
    return _results.write_failure(str(directory), "web-1", message)


def test_a_host_whose_audit_failed_says_why(tmp_path: Path) -> None:
    path = failed(tmp_path, "\nTraceback:\n" + "x" * 5000)
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    jsonschema.validate(content, FAILURE_SCHEMA)
    (outcome,) = read(tmp_path, ["web-1"], run_id=_results.RUN_ID)
    assert not outcome.unreachable
    assert outcome.result is None
    assert outcome.problem.startswith("failed: Traceback:\nxxx")
    assert len(outcome.problem) < 2100
    assert _results.known_hosts(str(tmp_path)) == ["web-1"]
    with pytest.raises(_results.ResultError, match="failed: Traceback"):
        _results.read_result(str(tmp_path), "web-1")


def test_a_failure_of_an_earlier_run_says_nothing_of_this_one(tmp_path: Path) -> None:
    failed(tmp_path)
    hosts = ["web-1", "gone"]
    assert read(tmp_path, hosts, run_id="this") == [_results.Outcome(host, problem=_results.NO_RESULT, unreachable=True) for host in hosts]
    assert read(tmp_path, ["web-1"], run_id="") == [_results.Outcome("web-1", problem="failed: No python3 on the node")]


def test_a_failure_keeps_the_counters_of_the_last_result(tmp_path: Path) -> None:
    _results.write_counters(str(tmp_path), "web-1", COUNTERS, FINDINGS)
    failed(tmp_path)
    assert _results.previous(str(tmp_path), "web-1") == _results.Previous(COUNTERS, FINDINGS)
    _results.write_counters(str(tmp_path), "web-1", {}, {})
    assert _results.previous(str(tmp_path), "web-1") == _results.Previous({}, {})


def test_every_host_has_counters_of_its_own(tmp_path: Path) -> None:
    for host in ("web-1", "web/1", "n" * 300):
        _results.write_counters(str(tmp_path), host, {"boot_id": host}, {})
    assert [_results.previous(str(tmp_path), host).counters for host in ("web-1", "web/1", "n" * 300)] == [
        {"boot_id": host} for host in ("web-1", "web/1", "n" * 300)
    ]
    assert len(list((tmp_path / "counters").iterdir())) == 3


KEPT = {"schema_version": 1, "host": "web-1", "counters": COUNTERS}
WITHOUT_COUNTERS = [
    "",
    "[]",
    json.dumps(KEPT)[:-1],
    json.dumps({**KEPT, "counters": [1]}),
    json.dumps({**KEPT, "schema_version": 0}),
    json.dumps({**KEPT, "host": "web-2"}),
    json.dumps({**KEPT, "counters": {"vmstat": {"oom_kill": float("inf")}}}),
]


@pytest.mark.parametrize("text", WITHOUT_COUNTERS)
def test_what_is_damaged_has_no_counters_and_no_failure_stumbles_over_it(tmp_path: Path, text: str) -> None:
    assert _results.previous(str(tmp_path), "web-1") == _results.Previous({}, {})
    _results.write_counters(str(tmp_path), "web-1", COUNTERS, FINDINGS)
    (tmp_path / "counters" / "web-1.json").write_text(text, encoding="utf-8")
    assert _results.previous(str(tmp_path), "web-1") == _results.Previous({}, {})
    failed(tmp_path)
    assert read(tmp_path, ["web-1"], run_id=_results.RUN_ID)[0].problem == "failed: No python3 on the node"


@pytest.mark.parametrize("damage", [{"findings": [1]}, {"rules": [1]}, {"unlisted": [{}]}, {"run_id": 5}])
def test_findings_of_another_shape_are_none_and_counters_stay(tmp_path: Path, damage: dict[str, t.Any]) -> None:
    _results.write_counters(str(tmp_path), "web-1", COUNTERS, {**FINDINGS, **damage})
    assert _results.previous(str(tmp_path), "web-1") == _results.Previous(COUNTERS, {})


@pytest.mark.parametrize("failure", [{"failed": 1}, {"failed": "x", "run_id": None}])
def test_a_damaged_failure_is_invalid(tmp_path: Path, failure: dict[str, t.Any]) -> None:
    write(tmp_path, "web-1", {"schema_version": 1, "host": "web-1", "run_id": "r", **failure})
    assert "Run the audit again" in read(tmp_path, ["web-1"], run_id="r")[0].problem


def changed(path: str, value: t.Any) -> str:
    """The web host's result with one value replaced; C(path) by dots."""
    result = copy.deepcopy(WEB)
    *parents, last = path.split(".")
    place = result
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(result)


def without(key: str) -> str:
    return json.dumps({name: value for name, value in WEB.items() if name != key})


DAMAGED = [
    ("", "not whole JSON"),
    (json.dumps(WEB)[:1000], "not whole JSON"),
    ("[" * 200_000, "not whole JSON"),
    ("9" * 5000, "not whole JSON"),
    ("[]", "not a JSON object"),
    ("null", "not a JSON object"),
    (changed("schema_version", 2), "schema_version is 2"),
    (changed("schema_version", "1"), "schema_version is '1'"),
    (changed("host", "web-2"), "another host"),
    (changed("breakdown.rows.0.bytes", "1"), r"breakdown\.rows\[0\]\.bytes is not a number"),
    (changed("breakdown.rows.0.bytes", True), r"breakdown\.rows\[0\]\.bytes is not a number"),
    (changed("breakdown.rows.0.bytes", 1e31), r"breakdown\.rows\[0\]\.bytes is not a number"),
    (changed("breakdown.rows.0.bytes", float("nan")), r"breakdown\.rows\[0\]\.bytes is not a number"),
    (changed("zones.0.free", None), r"zones\[0\]\.free is not a number"),
    (changed("findings.0.subject", "node"), r"findings\[0\]\.subject is not an object"),
    (changed("top.rows", {}), r"top\.rows is not a list"),
    (changed("top.rows.0.usage", float("inf")), r"top\.rows\[0\]\.usage is nested too deep or holds a number out of bounds"),
    (changed("unknown.x", 1), r"unknown\.x is not a text"),
    *[(without(key), f"has no '{key}'") for key in SCHEMA["required"] if key != "schema_version"],
]


@pytest.mark.parametrize(("text", "reason"), DAMAGED, ids=[reason[:40] for unused, reason in DAMAGED])
def test_a_damaged_result_is_invalid_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, "web-1", text)
    (outcome,) = read(tmp_path, ["web-1"])
    assert outcome.result is None
    assert not outcome.unreachable
    with pytest.raises(_results.ResultError, match=reason):
        raise _results.ResultError(outcome.problem)


def test_nesting_that_would_exhaust_a_writer_is_refused(tmp_path: Path) -> None:
    deep: t.Any = 1
    for unused in range(500):
        deep = [deep]
    write(tmp_path, "web-1", changed("derived", deep))
    assert "nested too deep" in read(tmp_path, ["web-1"])[0].problem


def test_a_result_larger_than_any_audit_writes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_results, "MAX_RESULT_BYTES", 1 << 20)
    write(tmp_path, "web-1", json.dumps(WEB) + " " * (1 << 20))
    assert "larger than 1 MiB" in read(tmp_path, ["web-1"])[0].problem


def test_bytes_that_are_not_utf8_are_a_reason(tmp_path: Path) -> None:
    write(tmp_path, "web-1", "{}").write_bytes(b'{"host": "\xff"}')
    assert "not whole JSON" in read(tmp_path, ["web-1"])[0].problem


ANYTHING = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(ANYTHING, st.sampled_from(sorted(WEB)))
def test_any_value_anywhere_is_a_result_or_a_reason(value: t.Any, key: str) -> None:
    problem = _results._first_misfit({**WEB, key: value}, _results._SHAPE, "")
    assert isinstance(problem, str)


def test_hosts_are_known_by_their_files(tmp_path: Path) -> None:
    hosts = sorted(["a b", "..", "web-1", "é", "n" * 300])
    for host in hosts:
        write(tmp_path, host, {"host": host})
    assert _results.known_hosts(str(tmp_path)) == hosts
    with pytest.raises(_results.ResultError, match="Run the audit first"):
        _results.known_hosts(str(tmp_path / "nothing"))


def test_a_run_keeps_the_rules_of_all_its_hosts_and_none_of_the_run_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rule(title: str) -> dict[str, str]:
        return {"title": title, "severity": "info"}

    _results.start_run(str(tmp_path), {"OLD": rule("old")})
    monkeypatch.setattr(_results, "RUN_ID", "next")
    _results.start_run(str(tmp_path), {"A": rule("a")})
    _results.start_run(str(tmp_path), {"A": rule("a")})
    _results.start_run(str(tmp_path), {"B": rule("b")})
    assert _results.read_rules(str(tmp_path)) == {"A": rule("a"), "B": rule("b")}
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["run_id"] == "next"


def test_a_worker_that_finds_its_rules_named_waits_for_nobody_and_reads_and_writes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = {"title": "a", "severity": "info"}
    _results.start_run(str(tmp_path), {"A": rule, "B": rule})
    (tmp_path / "rules.json").write_text("damaged", encoding="utf-8")
    with monkeypatch.context() as others:
        others.setattr("fcntl.flock", lambda *unused: pytest.fail("waits"))
        _results.start_run(str(tmp_path), {"B": rule})
    assert (tmp_path / "rules.json").read_text(encoding="utf-8") == "damaged"
    with pytest.raises(_results.ResultError, match=r"rules\.json: not whole JSON"):
        _results.start_run(str(tmp_path), {"C": rule})


def add_rules(directory: str, worker: int, ready: t.Any) -> None:
    ready.wait()
    for number in range(10):
        _results.start_run(directory, {f"R{worker}-{number}": {"title": "x", "severity": "info"}})


def test_workers_whose_hosts_have_different_rules_lose_none(tmp_path: Path) -> None:
    # Forked, as Ansible's workers are: all have the same RUN_ID.
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(6)
    workers = [context.Process(target=add_rules, args=(str(tmp_path), worker, ready)) for worker in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert len(_results.read_rules(str(tmp_path))) == 60


def test_a_run_starts_on_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*unused: object) -> t.NoReturn:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    _results.start_run(str(tmp_path / "new"), {"A": {"title": "a", "severity": "info"}})
    assert list(_results.read_rules(str(tmp_path / "new"))) == ["A"]


def test_a_run_that_cannot_start_names_the_directory(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("")
    with pytest.raises(_results.ResultError, match=r"report/\.lock: cannot be written"):
        _results.start_run(str(tmp_path / "report"), {"A": {"title": "a", "severity": "info"}})


def test_rules_of_another_shape_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text('{"A": {"title": 1, "severity": "info"}}', encoding="utf-8")
    with pytest.raises(_results.ResultError, match=r"A\.title is not a text"):
        _results.read_rules(str(tmp_path))
