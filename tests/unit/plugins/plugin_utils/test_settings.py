# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Live, at the next boot, who decides, and what the last tune wanted: a row for each knob."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _diagnosis, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._read import _gather
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.plugins.plugin_utils import _gathered, _settings, _tune_result, _unit_drop_ins
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils._read.test_persisted import made

TREES = pathlib.Path(__file__).parents[2] / "fixtures" / "trees"


def audit(*, files: dict[str, str] | None = None, knobs: dict[str, t.Any] | None = None, **more: t.Any) -> dict[str, t.Any]:
    node = {"page_size": 4096, "meminfo": {}, "knobs": knobs or {}}
    return {"node": node, "gathered": {"sources": files or {}}, "units": {}, "top": {"rows": []}, "applied": None, **more}


def rows(tmp_path: pathlib.Path, found: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    _settings.from_node(found, _gathered.tree(found), directory=str(tmp_path), host="n1")
    assert "gathered" not in found
    json.dumps(found["settings"], allow_nan=False)
    return {f"{row['subject']}{':' if row['subject'] else ''}{row['name']}": row for row in found["settings"]}


A, Z = "/etc/sysctl.d/a.conf", "/etc/sysctl.d/z.conf"
HOST: dict[str, tuple[dict[str, str], dict[str, t.Any], str, dict[str, t.Any]]] = {
    "nobody": ({}, {"vm.swappiness": 60}, "vm.swappiness", {"live": "60", "effective": "60", "persisted": None, "winner": None, "others": [], "agrees": None}),
    "the winner agrees": ({A: "vm.swappiness=1\n", Z: "vm.swappiness=10\n"}, {"vm.swappiness": 10}, "vm.swappiness", {
        "persisted": "10", "agrees": True, "winner": {"source": "sysctl.d", "path": Z, "line": 1, "value": "10"},
        "others": [{"source": "sysctl.d", "path": A, "line": 1, "value": "1"}]}),
    "drifts at boot": ({Z: "vm.swappiness=10\n"}, {"vm.swappiness": 60}, "vm.swappiness", {"live": "60", "persisted": "10", "agrees": False}),
    "a rival": ({Z: "vm.dirty_bytes=4096000\n"}, {"vm.dirty_ratio": 0, "vm.dirty_bytes": 4096000}, "vm.dirty_ratio", {
        "live": "0", "effective": "off: vm.dirty_bytes", "persisted": None, "agrees": True}),
    "a rival to come": ({Z: "vm.dirty_bytes=4096000\n"}, {"vm.dirty_ratio": 20, "vm.dirty_bytes": 0}, "vm.dirty_ratio", {
        "effective": "20", "persisted": None, "agrees": False}),
    "malformed": ({Z: "vm.swappiness=ten\n"}, {"vm.swappiness": 60}, "vm.swappiness", {"persisted": None, "agrees": None}),
    "a list": ({Z: "vm.lowmem_reserve_ratio = 256 256 32\n"}, {"vm.lowmem_reserve_ratio": [256, 256, 32, 0, 0]}, "vm.lowmem_reserve_ratio", {
        "live": "256 256 32 0 0", "persisted": "256 256 32", "agrees": True}),
    "a word": ({"/etc/tmpfiles.d/x.conf": "w /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise\n"}, {"transparent_hugepage/enabled": "always"},
               "transparent_hugepage/enabled", {"live": "always", "persisted": "madvise", "agrees": False}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOST)
def test_host_knobs(tmp_path: pathlib.Path, name: str) -> None:
    files, knobs, knob, expected = HOST[name]
    row = rows(tmp_path, audit(files=files, knobs=knobs))[knob]
    assert {key: row[key] for key in expected} == expected
    assert (row["scope"], row["wanted"], row["drift"]) == ("host", None, None)


def test_a_knob_of_a_newer_kernel_has_no_row(tmp_path: pathlib.Path) -> None:
    assert rows(tmp_path, audit(knobs={"vm.not_yet": 1})) == {}


def tune(tmp_path: pathlib.Path, **changed: t.Any) -> None:
    results = [
        {"name": "vm.swappiness", "scope": "host", "subject": "", "wanted": "10", "profile": "redis", "status": "changed"},
        {"name": "MemoryHigh", "scope": "unit", "subject": "batch.slice", "wanted": "1073741824", "profile": "batch", "status": "ok"},
        {"name": "vm.laptop_mode", "scope": "host", "subject": "", "wanted": None, "profile": "", "status": "ok"},
    ]
    _tune_result.write(str(tmp_path), "n1", {"check": False, "problem": "", "generation": 4, "results": results, **changed})


KNOBS = {"vm.swappiness": 60, "vm.laptop_mode": 0}
FOURTH = {"generation": 4, "profiles": []}


def test_what_the_last_tune_wanted(tmp_path: pathlib.Path) -> None:
    tune(tmp_path)
    found = rows(tmp_path, audit(knobs=KNOBS, units={"batch.slice": {"MemoryHigh": 1 << 30}}, applied=FOURTH))
    assert (found["vm.swappiness"]["wanted"], found["vm.swappiness"]["drift"]) == ({"value": "10", "profile": "redis", "generation": 4}, True)
    assert (found["vm.laptop_mode"]["wanted"], found["vm.laptop_mode"]["drift"]) == (None, None)
    assert (found["batch.slice:MemoryHigh"]["wanted"], found["batch.slice:MemoryHigh"]["drift"]) == (
        {"value": "1073741824", "profile": "batch", "generation": 4}, False,
    )  # fmt: skip


def test_a_tune_with_nothing_to_do_was_the_last_generation_s(tmp_path: pathlib.Path) -> None:
    tune(tmp_path, generation=0)
    assert rows(tmp_path, audit(knobs=KNOBS, applied={"generation": 7, "profiles": []}))["vm.swappiness"]["wanted"]["generation"] == 7


OTHER = {"name": "vm.swappiness", "scope": "host", "subject": "", "wanted": "99", "profile": "x", "status": "changed"}


@pytest.mark.parametrize("after", [{"check": True}, {"problem": "refused", "generation": 0}, {"problem": "undone", "generation": 5}])
def test_a_check_or_a_tune_that_failed_does_not_hide_what_the_last_one_set(tmp_path: pathlib.Path, after: t.Any) -> None:
    tune(tmp_path)
    tune(tmp_path, results=[OTHER], **after)
    row = rows(tmp_path, audit(knobs=KNOBS, applied=FOURTH))["vm.swappiness"]
    assert (row["wanted"]["value"], row["drift"]) == ("10", True)
    assert json.loads(pathlib.Path(_tune_result.result_path(str(tmp_path), "n1")).read_bytes())["results"] == [OTHER]


@pytest.mark.parametrize("changed", [{"check": True}, {"problem": "no"}, {"results": None}, *({"results": [{**OTHER, "status": status}]} for status in (
    "failed", "refused", "conflict", "unsupported", "deferred", "undone", "would_change"))])  # fmt: skip
def test_what_a_tune_has_not_done_is_not_wanted(tmp_path: pathlib.Path, changed: t.Any) -> None:
    tune(tmp_path, **changed)
    assert rows(tmp_path, audit(knobs=KNOBS, applied=FOURTH))["vm.swappiness"]["wanted"] is None


@pytest.mark.parametrize("applied", [None, {"generation": 5, "profiles": []}])
def test_what_somebody_else_has_tuned_since_is_not_drift(tmp_path: pathlib.Path, applied: t.Any) -> None:
    tune(tmp_path)
    row = rows(tmp_path, audit(knobs=KNOBS, applied=applied))["vm.swappiness"]
    assert (row["wanted"], row["drift"]) == (None, None)


OURS, RUN = "/etc/systemd/system/a.service.d/zz-memqos.conf", "/run/systemd/system.control/a.service.d/50-MemoryHigh.conf"
UNITS: dict[str, tuple[dict[str, t.Any], list[tuple[str, str]], dict[str, t.Any]]] = {
    "the unit file": ({"MemoryHigh": 4096, "FragmentPath": "/etc/systemd/system/a.service"}, [], {
        "live": "4096", "persisted": "4096", "agrees": True,
        "winner": {"source": "unit file", "path": "/etc/systemd/system/a.service", "line": 0, "value": "4096"}}),
    "the last drop-in": ({"MemoryHigh": 8192}, [("/usr/lib/systemd/system/a.service.d/10.conf", "4K"), (OURS, "8K")], {
        "persisted": "8K", "agrees": True, "others": [{"source": "drop-in", "path": "/usr/lib/systemd/system/a.service.d/10.conf", "line": 0, "value": "4K"}]}),
    "set until the next boot": ({"MemoryHigh": 8192, "FragmentPath": "/etc/a"}, [(RUN, "8192")], {"persisted": None, "winner": None, "agrees": False}),
    "set over a drop-in": ({"MemoryHigh": 8192}, [(OURS, "4K"), (RUN, "8192")], {"persisted": "4K", "agrees": False}),
    "of a container, which ends with it": (
        {"MemoryHigh": 8192, "FragmentPath": "/run/systemd/transient/a.service"}, [("/run/systemd/transient/a.service.d/50-MemoryHigh.conf", "8192")],
        {"persisted": None, "winner": None, "agrees": None}),
    "of a container, and somebody's drop-in": (
        {"MemoryHigh": 8192, "FragmentPath": "/run/systemd/transient/a.service"}, [(OURS, "4K")], {"persisted": "4K", "agrees": False}),
    "not running": ({}, [(OURS, "4K")], {"live": None, "persisted": "4K", "agrees": None}),
    "less by an ancestor": ({"MemoryHigh": 8192, "EffectiveMemoryHigh": 4096}, [(OURS, "8K")], {"live": "8192", "effective": "4096"}),
}  # fmt: skip


@pytest.mark.parametrize("name", UNITS)
def test_units(tmp_path: pathlib.Path, name: str) -> None:
    properties, drop_ins, expected = UNITS[name]
    said = [{"path": path, "unit": "a.service", "lines": {"MemoryHigh": value}} for path, value in drop_ins]
    row = rows(tmp_path, audit(units={"a.service": {**properties, **({"drop_ins": said} if said else {})}}))["a.service:MemoryHigh"]
    assert {key: row[key] for key in expected} == expected


def test_a_size_agrees_by_the_pages_of_its_node(tmp_path: pathlib.Path) -> None:
    found = audit(units={"a.service": {"MemoryHigh": 65536, "drop_ins": [{"path": OURS, "unit": "a.service", "lines": {"MemoryHigh": "100000"}}]}})
    found["node"]["page_size"] = 65536
    assert rows(tmp_path, found)["a.service:MemoryHigh"]["agrees"] is True


def test_protection_that_ancestors_take_away(tmp_path: pathlib.Path) -> None:
    units = {"a.service": {"MemoryMin": 4096, "ControlGroup": "/s.slice/a.service"}}
    found = rows(tmp_path, audit(units=units, top={"rows": [{"path": "/s.slice/a.service", "effective_min": 0}]}))
    assert (found["a.service:MemoryMin"]["live"], found["a.service:MemoryMin"]["effective"]) == ("4096", "0")


@pytest.mark.parametrize("tree", sorted(TREES.iterdir()), ids=lambda path: path.name)
def test_captured_nodes(tmp_path: pathlib.Path, tree: pathlib.Path) -> None:
    wanted = _registry.wanted()._replace(files=_gathered.WANTED)
    node = _snapshot.read(Tree(str(tree)), window_seconds=0.0, monotonic=lambda: 0.0, sleep=lambda _seconds: None, wanted=wanted)
    found = json.loads(json.dumps(_diagnosis.diagnose(node, rules=[], previous=None, top=5)))
    found["units"] = _unit_drop_ins.from_node(found["units"])
    by_name = rows(tmp_path, found)
    assert {name for name, row in by_name.items() if row["scope"] == "host"} == set(node["knobs"])
    # At rest, what is written down holds.
    assert [name for name, row in by_name.items() if row["scope"] == "host" and row["agrees"] is False] == []
    assert [row["live"] for name, row in by_name.items() if name == "vm.swappiness"] == (["60"] if "vm.swappiness" in node["knobs"] else [])
    assert found["persistence"]["problems"] == []


@pytest.mark.parametrize(
    ("place", "looked_at"), [("/etc/kubernetes/kubelet.conf.d", True), ("/etc/kubernetes/kubelet/config.json.d/", True), ("/opt/d", False)]
)
def test_drop_ins_of_a_kubelet(tmp_path: pathlib.Path, place: str, looked_at: bool) -> None:
    files = {
        "/proc/8/comm": "kubelet\n", "/proc/8/cmdline": f"kubelet\0--config-dir={place}\0", "/var/lib/kubelet/config.yaml": "x: y\n",
        f"{place.rstrip('/')}/10.conf": "protectKernelDefaults: true\n",
    }  # fmt: skip
    found = audit(knobs={"vm.overcommit_memory": 0})
    found["gathered"] = _gather.gather(made(tmp_path / "node", files), _gathered.WANTED)
    rows(tmp_path, found)
    assert found["persistence"]["kubelet"]["protect_kernel_defaults"] is looked_at
    problems = found["persistence"]["problems"]
    assert problems == ([] if looked_at else [problems[0]]) and all(place.rstrip("/") in problem and "drop-ins" in problem for problem in problems)


def test_a_kubelet_with_a_configuration_elsewhere(tmp_path: pathlib.Path) -> None:
    files = {"/proc/8/comm": "kubelet", "/proc/8/cmdline": "\0--config=/opt/k.yaml"}
    found = audit(files=files, knobs={"vm.overcommit_memory": 0})
    row = rows(tmp_path, found)["vm.overcommit_memory"]
    assert (row["winner"]["source"], row["persisted"], row["agrees"]) == ("kubelet", "1", False)
    assert found["persistence"]["writers"] == ["kubelet"] and "/opt/k.yaml" in found["persistence"]["problems"][0]
    json.dumps(found["persistence"])
