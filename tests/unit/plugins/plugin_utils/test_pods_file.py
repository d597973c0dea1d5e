# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file of pods is read once for all hosts, each gets its own, and nobody else can say what is in it."""

from __future__ import annotations

import concurrent.futures
import json
import os
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _memory_qos
from ansible_collections.memqos.fleet.plugins.plugin_utils import _pods, _pods_file, _quantity, _results
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_pods import container, pod


def on(node: str, number: int, **more: t.Any) -> dict[str, t.Any]:
    """A pod there."""
    return pod(container("main", "1Gi", "2Gi"), uid=f"uid-{number}", name=f"web-{number}", spec={"nodeName": node}, **more)


PODS = [on("n1", 1), on("n1", 2), on("n2.example.org", 3), pod(container(), uid="", name="odd"), on("n1", 5, annotation="{")]


class Place:
    """A file of pods, and a directory of results."""

    def __init__(self, tmp_path: Path) -> None:
        self.file, self.directory = tmp_path / "pods.json", tmp_path / "report"
        self.folder = self.directory / "pods"
        self.write(PODS)

    def write(self, pods: t.Any) -> None:
        self.file.write_text(json.dumps({"kind": "List", "items": pods}), encoding="utf-8")

    def share(self, node: str = "n1") -> _pods_file.Share:
        return _pods_file.of_node(str(self.file), str(self.directory), node)

    def names(self, node: str = "n1") -> list[str]:
        return [workload["name"] for workload in self.share(node).workloads]

    def kept(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_dir())


@pytest.fixture(name="place")
def fixture_place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(name="reads")
def fixture_reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was parsed."""
    done: list[object] = []
    read = _pods.read

    def reading(pods: object) -> _pods.Read:
        done.append(pods)
        return read(pods)

    monkeypatch.setattr(_pods, "read", reading)
    return done


def test_each_node_has_its_own_and_all_the_same_warnings(place: Place, reads: list[object]) -> None:
    direct = _pods.read(PODS)
    reads.clear()
    shares = {node: place.share(node) for node in ("n1", "n2.example.org", "n3", "../../n1")}
    assert shares["n1"].workloads == [workload for workload in direct.workloads if workload["node"] == "n1"]
    assert [workload["name"] for workload in shares["n2.example.org"].workloads] == ["web-3"]
    assert shares["n3"].workloads == shares["../../n1"].workloads == []
    assert all(share.nodes == ["n1", "n2.example.org"] and share.warnings == direct.warnings for share in shares.values())
    assert len(direct.warnings) == 2 and len(reads) == 1


def test_a_list_in_a_variable_is_the_same(place: Place) -> None:
    assert _pods_file.of_list(PODS, "n1") == place.share("n1")


def test_another_content_is_read_again_and_the_last_one_goes(place: Place, reads: list[object]) -> None:
    assert place.names() == ["web-1", "web-2", "web-5"]
    (first,) = place.kept()
    # The same size, written over, with times kept: the time of the inode tells.
    times = place.file.stat()
    with open(place.file, "r+", encoding="utf-8") as stream:
        text = stream.read().replace("web-1", "web-9")
        stream.seek(0)
        stream.write(text)
    os.utime(place.file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert place.names() == ["web-9", "web-2", "web-5"]
    assert len(reads) == 2 and len(place.kept()) == 1 and place.kept() != [first]


@pytest.mark.parametrize("module", [_pods, _quantity, _memory_qos])
def test_what_another_version_of_ours_has_read_does_not_count(module: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", __file__)
    assert _pods_file._code() != _pods_file._CODE


def test_what_is_read_of_another_file_stays_until_it_is_old(place: Place, tmp_path: Path) -> None:
    place.share()
    (first,) = place.kept()
    other = tmp_path / "other.json"
    other.write_text(json.dumps([on("n1", 7)]), encoding="utf-8")
    _pods_file.of_node(str(other), str(place.directory), "n1")
    assert len(place.kept()) == 2
    os.utime(first, (1, 1))
    other.write_text(json.dumps([on("n1", 8)]), encoding="utf-8")
    _pods_file.of_node(str(other), str(place.directory), "n1")
    assert first not in place.kept() and len(place.kept()) == 1


def test_nobody_else_reads_it(place: Place) -> None:
    old = os.umask(0)
    try:
        place.share()
        _pods_file.told_first(str(place.directory), ["odd"])
    finally:
        os.umask(old)
    modes = {path: path.stat().st_mode & 0o777 for path in (place.folder, *place.folder.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600} and len(modes) > 5


def test_a_folder_that_others_can_write_is_refused(place: Place) -> None:
    place.share()
    os.chmod(place.folder, 0o777)
    with pytest.raises(_results.ResultError, match="others can write there: remove it"):
        place.share()


def test_a_link_is_no_folder(place: Place, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.directory.mkdir()
    place.folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(_results.ResultError, match="is no directory"):
        place.share()


@pytest.mark.parametrize("damage", ["index.json", "nodes/n1.json"])
@pytest.mark.parametrize("how", ["", "[]", "gone"])
def test_what_is_damaged_is_read_again(place: Place, reads: list[object], damage: str, how: str) -> None:
    place.share()
    (kept,) = place.kept()
    if how == "gone":
        (kept / damage).unlink()
    else:
        (kept / damage).write_text(how)
    assert place.names() == ["web-1", "web-2", "web-5"] and len(reads) == 2
    assert place.names() == ["web-1", "web-2", "web-5"] and len(reads) == 2


def test_what_an_interrupted_run_left_goes(place: Place) -> None:
    (place.folder / "abc.1234").mkdir(parents=True)
    os.chmod(place.folder, 0o700)
    place.share()
    assert len(place.kept()) == 1 and "." not in place.kept()[0].name


WRONG: list[tuple[bytes, str]] = [
    (b"", "is not JSON"),
    (b"apiVersion: v1\nitems: []\n", r"is not JSON .* make it with kubectl get pods -A -o json"),
    (b"\xff\xfe", "is not JSON"),
    (b"[" * 100000, "is not JSON"),
    (b'{"kind": "Table"}', "a list of pods is expected"),
    (b"[1, 2]", "none of 2 pods can be used"),
]


@pytest.mark.parametrize(("content", "words"), WRONG)
def test_what_is_no_list_of_pods(place: Place, content: bytes, words: str) -> None:
    place.file.write_bytes(content)
    with pytest.raises(_pods.PodsError, match=f"{place.file}: .*{words}"):
        place.share()
    assert place.kept() == []


def test_what_is_no_file(place: Place, tmp_path: Path) -> None:
    place.file.unlink()
    with pytest.raises(_pods.PodsError, match=f"{place.file}: cannot be read: No such file"):
        place.share()
    with pytest.raises(_pods.PodsError, match="cannot be read: Is a directory"):
        _pods_file.of_node(str(tmp_path), str(place.directory), "n1")
    with pytest.raises(_pods.PodsError, match="/dev/null: is no file"):
        _pods_file.of_node("/dev/null", str(place.directory), "n1")


def test_a_file_that_is_written_meanwhile_is_not_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = json.loads

    def slow(text: bytes) -> object:
        with open(place.file, "a", encoding="utf-8") as stream:
            stream.write(" ")
        return loads(text)

    monkeypatch.setattr(_pods_file.json, "loads", slow)
    with pytest.raises(_pods.PodsError, match="was written while it was read: run again"):
        place.share()
    assert place.kept() == []


def test_a_directory_that_cannot_be_written(place: Place) -> None:
    place.directory.write_text("a file")
    with pytest.raises(_results.ResultError, match=f"{place.folder}: cannot be written"):
        place.share()


def test_warnings_are_told_once_a_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = str(place.directory)
    assert [_pods_file.told_first(directory, said) for said in ([], ["a"], ["a"], ["b"], ["a"], ["a", "b"])] == [False, True, False, True, False, True]
    monkeypatch.setattr(_results, "RUN_ID", "the next")
    assert _pods_file.told_first(directory, ["a"])


def test_hosts_that_come_at_once(place: Place, reads: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is of an open file, so threads stand for Ansible's workers; a large file takes a while."""
    together, read = threading.Barrier(8), _pods.read

    def slow(pods: object) -> _pods.Read:
        time.sleep(0.2)
        return read(pods)

    monkeypatch.setattr(_pods, "read", slow)

    def host(number: int) -> tuple[int, bool]:
        together.wait(60)
        share = place.share("n1" if number % 2 else "n2.example.org")
        return len(share.workloads), _pods_file.told_first(str(place.directory), share.warnings)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        told = list(pool.map(host, range(8), timeout=60))
    assert [count for count, unused in told] == [1, 3] * 4
    assert [first for unused, first in told].count(True) == 1
    assert len(reads) == 1 and len(place.kept()) == 1
