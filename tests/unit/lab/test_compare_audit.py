# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The comparison that the VM scenario rests on: it has to see what is wrong. And the audit of captured nodes against the independent shell script, exactly."""

from __future__ import annotations

import copy
import json
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _diagnosis, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.tests.lab import compare_audit

ROOT = Path(__file__).resolve().parents[3]
FIGURES = ROOT / "tests" / "lab" / "guest" / "kernel-figures.sh"
TREES = ROOT / "tests" / "unit" / "fixtures" / "trees"
MIB = 1 << 20
POD = "/kubepods.slice/pod.slice"


def captured(name: str) -> tuple[dict[str, t.Any], compare_audit.Figures]:
    tree = str(TREES / name)
    node = _snapshot.read(Tree(tree), window_seconds=0.0, monotonic=lambda: 0.0, sleep=lambda _seconds: None)
    result = _diagnosis.diagnose(node, rules=[], previous=None, top=100)
    printed = subprocess.run(["sh", str(FIGURES), tree], stdout=subprocess.PIPE, text=True, check=True).stdout
    return result, compare_audit.parse_figures(printed)


@pytest.mark.parametrize("name", ["debian13-6.12-v2", "debian12-6.1-v2", "debian12-6.1-v1"])
def test_captured_nodes_agree_to_the_byte(name: str) -> None:
    result, figures = captured(name)
    assert len(figures.cgroups) > 20
    assert compare_audit.disagreements(result, figures, exact=True) == []


def seeded_rows() -> list[dict[str, t.Any]]:
    keys = ("runtime", "qos_class", "pod", "pod_uid")
    figures = {"kind": "container", "usage": 50 * MIB, "working_set": 40 * MIB, "working_set_sysom": 30 * MIB}
    return [{"path": f"{POD}/{name}", "container": name, **dict(zip(keys, wanted, strict=True)), **figures} for name, wanted in compare_audit.SEEDED.items()]


def agreeing() -> tuple[dict[str, t.Any], compare_audit.Figures]:
    rows = {"free": 700 * MIB, "active_anon": 100 * MIB, "inactive_file": 197 * MIB, "unaccounted": 3 * MIB}
    result: dict[str, t.Any] = {
        "breakdown": {"memtotal_bytes": 1000 * MIB, "rows": [{"name": name, "bytes": size} for name, size in rows.items()]},
        "zones": [{"node": node, "name": "Normal", "managed": 500 * MIB, "min": 4 * MIB, "low": 5 * MIB, "high": 6 * MIB} for node in (0, 1)],
        "top": {"rows": [*seeded_rows(), {"path": "/system.slice", "usage": 90 * MIB, "working_set": 80 * MIB, "working_set_sysom": 70 * MIB}, {"path": "/"}]},
    }
    printed = [f"host {name} {size}" for name, size in {**rows, "memtotal": 1000 * MIB}.items() if name != "unaccounted"]
    printed += [f"zone {node} Normal {500 * MIB} {4 * MIB} {5 * MIB} {6 * MIB}" for node in (0, 1)]
    printed += [f"cgroup {row['usage']} {row['working_set']} {row['working_set_sysom']} {row['path']}" for row in result["top"]["rows"] if "usage" in row]
    return result, compare_audit.parse_figures("\n".join([*printed, "here /system.slice/ssh.service"]))


def test_agreement() -> None:
    assert compare_audit.disagreements(*agreeing()) == []


def set_row(name: str, change: int) -> t.Callable[[dict[str, t.Any]], None]:
    def change_it(result: dict[str, t.Any]) -> None:
        next(row for row in result["breakdown"]["rows"] if row["name"] == name)["bytes"] += change

    return change_it


def set_cgroup(path: str, key: str, value: t.Any) -> t.Callable[[dict[str, t.Any]], None]:
    def change_it(result: dict[str, t.Any]) -> None:
        next(row for row in result["top"]["rows"] if row["path"] == path)[key] = value

    return change_it


def set_zone(**values: int) -> t.Callable[[dict[str, t.Any]], None]:
    return lambda result: result["zones"][1].update(values)


def forget(path: str) -> t.Callable[[dict[str, t.Any]], None]:
    def change_it(result: dict[str, t.Any]) -> None:
        result["top"]["rows"] = [row for row in result["top"]["rows"] if row["path"] != path]

    return change_it


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda result: result["breakdown"].update(memtotal_bytes=1001 * MIB), "the kernel says 1048576000"),
        (set_row("unaccounted", 1), "the rows sum to 1048576001, not to MemTotal 1048576000"),
        (set_row("unaccounted", 6 * MIB), "unaccounted is 9437184"),
        (set_row("unaccounted", -12 * MIB), "unaccounted is -9437184"),
        (set_row("inactive_file", 33 * MIB), "row inactive_file is"),
        (set_row("active_anon", 12 * MIB), "free + free_percpu_lists + active_anon + inactive_anon + page_tables is"),
        (lambda result: result["breakdown"]["rows"].pop(0), "no row free, which the kernel has with"),
        (set_zone(node=2), "the audit has the zones [(0, 'Normal'), (2, 'Normal')], the kernel [(0, 'Normal'), (1, 'Normal')]"),
        (set_zone(managed=499 * MIB), "zone Normal of node 1 has (523239424, 4194304, 5242880, 6291456), the kernel says (524288000, "),
        (set_zone(low=4 * MIB), "zone Normal of node 1 has"),
        (forget(f"{POD}/web"), f"{POD}/web is only in the kernel"),
        (lambda result: result["top"]["rows"].append({"path": "/ghost"}), "/ghost is only in the audit"),
        (set_cgroup(f"{POD}/db", "working_set", 42 * MIB), f"{POD}/db: working_set is"),
        (set_cgroup(f"{POD}/db", "working_set_sysom", 28 * MIB), f"{POD}/db: working_set_sysom is"),
        (set_cgroup("/system.slice", "usage", 130 * MIB), "/system.slice: usage is"),
        (set_cgroup(f"{POD}/db", "qos_class", "Burstable"), "container db was taken for ('containerd', 'Burstable'"),
        (set_cgroup(f"{POD}/sidecar", "pod_uid", None), "container sidecar was taken for"),
        (set_cgroup(f"{POD}/sidecar", "kind", "scope"), "there is no container sidecar"),
    ],
)
def test_disagreement(change: t.Callable[[dict[str, t.Any]], t.Any], words: str) -> None:
    result, figures = agreeing()
    result = copy.deepcopy(result)
    change(result)
    assert any(words in problem for problem in compare_audit.disagreements(result, figures))


@pytest.mark.parametrize(
    "change",
    [set_cgroup(f"{POD}/db", "usage", 50 * MIB + MIB), set_cgroup("/system.slice", "usage", 120 * MIB), set_zone(min=6 * MIB, low=7 * MIB, high=8 * MIB)],
    ids=["a pod moves a little", "the audit itself in the cgroup of SSH", "marks with a boost"],
)
def test_what_an_idle_guest_does_is_no_disagreement(change: t.Callable[[dict[str, t.Any]], None]) -> None:
    result, figures = agreeing()
    change(result)
    assert compare_audit.disagreements(result, figures) == []
    assert compare_audit.disagreements(result, figures, exact=True) != []


@pytest.mark.parametrize(
    ("free", "lists", "rows"),
    [
        (-40, 26, []),
        (-33, 0, ["row free + free_percpu_lists"]),
        (-20, -20, ["row free + free_percpu_lists"]),
        (33, -33, ["row free_percpu_lists"]),
    ],
)
def test_free_pages_move_to_the_lists_of_processors_and_back(free: int, lists: int, rows: list[str]) -> None:
    result, figures = agreeing()
    result["breakdown"]["rows"].append({"name": "free_percpu_lists", "bytes": (40 + lists) * MIB})
    figures.host["free_percpu_lists"] = 40 * MIB
    set_row("active_anon", -40 * MIB)(result)
    figures.host["active_anon"] -= 40 * MIB
    # What is neither there was allocated meanwhile.
    set_row("free", free * MIB)(result)
    set_row("active_anon", -(free + lists) * MIB)(result)
    problems = compare_audit.disagreements(result, figures)
    assert [problem.partition(" is ")[0] for problem in problems if problem.startswith("row free")] == rows


@pytest.mark.parametrize(("more", "uncounted", "agrees"), [(12, 12, True), (12, 0, False), (0, 12, False), (24, 12, False)])
def test_what_a_kernel_counts_nowhere_is_in_the_remainder(more: int, uncounted: int, agrees: bool) -> None:
    result, figures = agreeing()
    set_row("unaccounted", more * MIB)(result)
    set_row("free", -more * MIB)(result)
    figures.host["free"] -= more * MIB
    assert (compare_audit.disagreements(result, figures, uncounted=uncounted * MIB) == []) is agrees


def test_containers_are_looked_for_where_they_were_made() -> None:
    result, figures = agreeing()
    assert compare_audit.disagreements(result, figures, seeds=["containers"]) == [
        f"there is no container {name}" for name in ("cache", "batch", "queue", "worker")
    ]


def test_a_path_with_spaces() -> None:
    assert list(compare_audit.parse_figures("cgroup 3 2 1 /a b/c  d\n").cgroups) == ["/a b/c  d"]


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ([], 0, "unaccounted 3.00 MiB"),
        (["--uncounted", "0"], 0, ""),
        (["containers", "--uncounted", str(20 * MIB)], 1, "MiB"),
        (["--uncounted", "0", "containers"], 1, "worker"),
    ],
)
def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], status: int, words: str) -> None:
    result, figures = agreeing()
    (tmp_path / "result.json").write_text(json.dumps(result))
    lines = [f"host {name} {size}" for name, size in figures.host.items()]
    lines += [f"zone {node} {name} {' '.join(map(str, sizes))}" for (node, name), sizes in figures.zones.items()]
    lines += [f"cgroup {values['usage']} {values['working_set']} {values['working_set_sysom']} {path}" for path, values in figures.cgroups.items()]
    (tmp_path / "figures").write_text("\n".join([*lines, f"here {figures.here}"]))
    assert compare_audit.main([str(tmp_path / "result.json"), str(tmp_path / "figures"), *more]) == status
    assert words in capsys.readouterr().out
