# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""selection.yml: findings become entries of profiles, each in its place; what a tune reads of the file is what was written, or what an operator made of it."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import jsonschema
import pytest
import referencing
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _selection

Json = dict[str, t.Any]
MIB = 1 << 20
SCHEMAS = Path(__file__).parents[4] / "docs" / "schemas"
SCHEMA, PROFILE = (json.loads((SCHEMAS / name).read_text(encoding="utf-8")) for name in ("selection.json", "profile.json"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, registry=referencing.Registry().with_resource("profile.json", referencing.Resource.from_contents(PROFILE)))
NODE = {"kind": "node", "id": "node", "name": ""}
BATCH = {"kind": "slice", "id": "/batch.slice", "name": "batch.slice"}
CONTAINER = {"kind": "container", "id": "/kubepods/pod1/c1", "name": "shop/cart/app"}
USER = {"kind": "user", "id": "/user.slice/user-1.slice", "name": "user 1"}


def rule(severity: str = "warning", apply: Json | None = None, **cure: str) -> Json:
    return {"title": f"A {severity} matter", "severity": severity, "expected": "better", "cure": {**cure, **({"apply": apply} if apply else {})}}


def finding(name: str, subject: Json | None = None, status: str = "fail", more: Json | None = None, **observed: t.Any) -> Json:
    return {"rule": name, "subject": subject or NODE, "status": status, "observed": observed, **(more or {})}


def result(*findings: Json, host: str = "n1") -> Json:
    rows = [{"path": CONTAINER["id"], "namespace": "shop", "pod": "cart", "container": "app"}]
    return {"host": host, "node": {"page_size": 4096}, "top": {"rows": rows}, "findings": list(findings)}


def selected(rules: Json, *findings: Json) -> Json:
    return _selection.select(result(*findings), rules)


def test_a_host_knob_a_unit_and_a_container_have_their_places() -> None:
    rules = {"N1": rule(apply={"vm.swappiness": {"raise_to": 1}}), "C1": rule(apply={"MemoryHigh": {"observed": "hard_bytes"}})}
    part = selected(rules, finding("N1"), finding("C1", BATCH, hard_bytes=483 * MIB + 5), finding("C1", CONTAINER, hard_bytes=5 * MIB))
    assert part == {
        "settings": {"vm.swappiness": {"raise_to": 1}},
        "units": {"batch.slice": {"MemoryHigh": "483MiB"}},
        "pods": [{"path": CONTAINER["id"], "namespace": "shop", "pod": "cart", "container": "app", "settings": {"memory.high": "5MiB"}}],
        "because": [
            {"rule": "C1", "subject": "batch.slice", "title": "A warning matter", "sets": ["MemoryHigh"]},
            {"rule": "C1", "subject": "shop/cart/app", "title": "A warning matter", "sets": ["memory.high"]},
            {"rule": "N1", "subject": "node", "title": "A warning matter", "sets": ["vm.swappiness"]},
        ],
    }


BY_HAND = [
    (rule(text="Do it.", command="sysctl x"), finding("N1"), "Do it.", "sysctl x"),
    (rule(), finding("N1"), "better", None),
    (rule(apply={"MemoryHigh": {"observed": "x"}}, text="T."), finding("N1", USER, x=1e9),
     "MemoryHigh: user 1 is no slice, service or scope of systemd that could have it. T.", None),
    (rule(apply={"MemoryHigh": "1GiB"}), finding("N1"), "MemoryHigh: node is no slice, service or scope of systemd that could have it. better", None),
    (rule(apply={"MemoryHigh": {"observed": "x"}}, text="T."), finding("N1", BATCH), "MemoryHigh: the node does not say x. T.", None),
    (rule(apply={"MemoryHigh": {"observed": "x"}}, text="T."), finding("N1", BATCH, x=None), "MemoryHigh: the node does not say x. T.", None),
    (rule(apply={"vm.swappiness": {"observed": "x"}}, text="T."), finding("N1", x=900), "vm.swappiness: 900 is refused; it takes 0..200 (count). T.", None),
    (rule(apply={"vm.swapiness": 1}, text="T."), finding("N1"), "vm.swapiness: this version of memqos.fleet knows no such knob. T.", None),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "found", "text", "command"), BY_HAND)
def test_what_cannot_be_set_is_left_to_people_with_the_reason(rules: Json, found: Json, text: str, command: str | None) -> None:
    part = selected({"N1": rules}, found)
    assert part.keys() == {"by_hand"}
    assert (part["by_hand"][0]["text"], part["by_hand"][0].get("command")) == (text, command)


USERS = "/user.slice/user-1000.slice/user@1000.service"
# (name, path, what systemd says of units, whether it is the host's own)
UNITS: list[tuple[str, str, Json, bool]] = [
    ("nginx.service", "/system.slice/nginx.service", {}, True),
    ("getty@tty1.service", "/system.slice/system-getty.slice/getty@tty1.service", {}, True),
    ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice", {}, True),
    ("init.scope", "/init.scope", {}, True),
    ("user@1000.service", USERS, {}, True),
    ("session-3.scope", "/user.slice/user-1000.slice/session-3.scope", {}, True),
    ("nginx.service", "/web.slice/nginx.service", {"nginx.service": {"ControlGroup": "/web.slice/nginx.service"}}, True),
    ("nginx.service", "/lxc/x/system.slice/nginx.service", {"nginx.service": {"ControlGroup": "/lxc/x/system.slice/nginx.service"}}, True),
    ("nginx.service", "/system.slice/nginx.service", {"nginx.service": {"MemoryMax": 1}, "x.service": {"ControlGroup": "/x.service"}}, True),
    ("nginx.service", f"{USERS}/app.slice/nginx.service", {}, False),
    ("nginx.service", f"{USERS}/nginx.service", {}, False),
    ("app.slice", f"{USERS}/app.slice", {}, False),
    ("nginx.service", "/machine.slice/machine-vm1.scope/payload/system.slice/nginx.service", {}, False),
    ("system.slice", "/machine.slice/machine-vm1.scope/payload/system.slice", {}, False),
    ("nginx.service", "/system.slice/docker.service/nginx.service", {}, False),
    ("nginx.service", "/lxc/x/system.slice/nginx.service", {}, False),
    ("a-b.slice", "/a-b.slice", {}, False),
    ("x.service", "/a.slice/b.slice/x.service", {}, False),
    ("nginx.service", "/system.slice/nginx.service", {"nginx.service": {"ControlGroup": "/web.slice/nginx.service"}}, False),
    ("vm.scope", "/machine.slice/machine-vm.scope.scope", {}, False),
    ("_memory.slice", "/_memory.slice", {}, False),
]


@pytest.mark.parametrize(("name", "path", "units", "own"), UNITS)
def test_only_a_unit_of_the_hosts_own_systemd_is_set(name: str, path: str, units: Json, own: bool) -> None:
    found = finding("C1", {"kind": name.rpartition(".")[2], "id": path, "name": name})
    part = _selection.select({**result(found), "units": units}, {"C1": rule(apply={"MemoryHigh": "1GiB"})})
    if own:
        assert part["units"] == {name: {"MemoryHigh": "1GiB"}} and "by_hand" not in part
    else:
        assert part.keys() == {"by_hand"} and path in part["by_hand"][0]["text"]


ROW = {"path": BATCH["id"], "high": 100 * MIB, "limit": None}
DEFRAG, SCALE, DIRTY = "transparent_hugepage/defrag", "vm.watermark_scale_factor", "vm.dirty_bytes"
HIGH = {"MemoryHigh": {"observed": "x"}}
# (what is applied, knobs, the row of the cgroup, its unit, why it is not set, or what is)
IDLE: list[tuple[Json, Json, Json, Json, str | list[str]]] = [
    ({SCALE: {"raise_to": 50}}, {SCALE: 10}, {}, {}, [SCALE]),
    ({SCALE: {"raise_to": 50}}, {}, {}, {}, [SCALE]),
    ({SCALE: {"raise_to": 50}}, {SCALE: 200}, {}, {}, f"{SCALE}: raise to 50 changes nothing, it is 200 now."),
    ({DEFRAG: {"lower_to": "defer+madvise"}}, {DEFRAG: "always"}, {}, {}, [DEFRAG]),
    ({DEFRAG: {"lower_to": "defer+madvise"}}, {DEFRAG: "madvise"}, {}, {}, f"{DEFRAG}: lower to defer+madvise changes nothing, it is madvise now."),
    ({"vm.swappiness": 1}, {"vm.swappiness": 1}, {}, {}, "vm.swappiness: 1 changes nothing, it is 1 now."),
    ({DIRTY: {"lower_to": "1GiB"}}, {DIRTY: 0, "vm.dirty_ratio": 20}, {}, {}, [DIRTY]),
    ({DIRTY: {"lower_to": "1GiB"}}, {DIRTY: 0, "vm.dirty_ratio": 1}, {}, {}, f"{DIRTY}: vm.dirty_ratio (1) is in force, so there is no {DIRTY} to move."),
    ({"vm.min_free_kbytes": {"raise_to": {"of_memory": "1%"}}}, {"vm.min_free_kbytes": 67584}, {}, {}, ["vm.min_free_kbytes"]),
    ({"vm.min_free_kbytes": {"raise_to": {"of_memory": "0.1%"}}}, {"vm.min_free_kbytes": 99999}, {}, {},
     "vm.min_free_kbytes: raise to 0.1% of memory changes nothing, it is 99999 now."),
    ({"vm.overcommit_memory": 1, "vm.panic_on_oom": 0}, {"vm.overcommit_memory": 1, "vm.panic_on_oom": 1}, {}, {}, ["vm.panic_on_oom"]),
    (HIGH, {}, ROW, {}, "MemoryHigh: 100MiB changes nothing, it is 100MiB now."),
    (HIGH, {}, {**ROW, "high": None}, {}, ["MemoryHigh"]),
    (HIGH, {}, {**ROW, "high": 200 * MIB}, {"MemoryHigh": 100 * MIB}, ["MemoryHigh"]),
    (HIGH, {}, {}, {"MemoryHigh": 100 * MIB}, "MemoryHigh: 100MiB changes nothing, it is 100MiB now."),
    (HIGH, {}, {**ROW, "path": "/other"}, {}, ["MemoryHigh"]),
    ({"MemoryMax": "infinity"}, {}, ROW, {}, "MemoryMax: infinity changes nothing, it is max now."),
]  # fmt: skip


@pytest.mark.parametrize(("apply", "knobs", "row", "unit", "wanted"), IDLE)
def test_what_is_so_already_cures_nothing_and_is_left_to_people(apply: Json, knobs: Json, row: Json, unit: Json, wanted: str | list[str]) -> None:
    told = {**result(finding("N1", BATCH, x=100 * MIB + 1)), "breakdown": {"memtotal_bytes": 16 << 30}, "units": {BATCH["name"]: unit}}
    told["node"]["knobs"] = knobs
    told["top"]["rows"] += [row] if row else []
    part = _selection.select(told, {"N1": rule(apply=apply, text="T.")})
    if isinstance(wanted, list):
        assert "by_hand" not in part and part["because"][0]["sets"] == wanted
    else:
        assert part.keys() == {"by_hand"} and part["by_hand"][0]["text"] == f"{wanted} T."


NOT_CHOSEN = [finding("N1", status="unknown"), finding("N1", more={"suppressed": {"reason": "r", "until": "2026-12-31"}})]


@pytest.mark.parametrize("found", NOT_CHOSEN)
def test_what_is_unknown_or_accepted_is_not_chosen(found: Json) -> None:
    assert selected({"N1": rule(apply={"vm.swappiness": 1})}, found) == {}
    expired = finding("N1", more={"suppression_expired": {"reason": "r", "until": "2026-01-31"}})
    assert selected({"N1": rule(apply={"vm.swappiness": 1})}, expired)["settings"] == {"vm.swappiness": 1}


# (of the critical rule, of the warning, what stands, whether both are its reason)
TWO: list[tuple[Json, Json, Json, bool]] = [
    ({"vm.swappiness": {"raise_to": 1}}, {"vm.swappiness": {"raise_to": 10}}, {"vm.swappiness": {"raise_to": 10}}, True),
    ({"vm.swappiness": {"raise_to": 10}}, {"vm.swappiness": {"raise_to": 1}}, {"vm.swappiness": {"raise_to": 10}}, True),
    ({"vm.swappiness": {"lower_to": 60}}, {"vm.swappiness": {"lower_to": 1}}, {"vm.swappiness": {"lower_to": 1}}, True),
    ({"vm.swappiness": 5}, {"vm.swappiness": {"value": 5}}, {"vm.swappiness": 5}, True),
    ({"vm.swappiness": 5}, {"vm.swappiness": {"raise_to": 1}}, {"vm.swappiness": 5}, True),
    ({"vm.swappiness": {"lower_to": 60}}, {"vm.swappiness": 5}, {"vm.swappiness": 5}, True),
    ({"vm.swappiness": 5}, {"vm.swappiness": {"raise_to": 10}}, {"vm.swappiness": 5}, False),
    ({"vm.swappiness": 5}, {"vm.swappiness": 6}, {"vm.swappiness": 5}, False),
    ({"vm.swappiness": {"lower_to": 1}}, {"vm.swappiness": {"raise_to": 10}}, {"vm.swappiness": {"lower_to": 1}}, False),
    ({"vm.dirty_ratio": 10}, {"vm.dirty_bytes": "1GiB"}, {"vm.dirty_ratio": 10}, False),
    ({"transparent_hugepage/enabled": {"lower_to": "madvise"}}, {"transparent_hugepage/enabled": {"lower_to": "never"}},
     {"transparent_hugepage/enabled": {"lower_to": "madvise"}}, False),
]  # fmt: skip


@pytest.mark.parametrize(("worse", "other", "stands", "both"), TWO)
def test_two_findings_that_want_the_same_knob(worse: Json, other: Json, stands: Json, both: bool) -> None:
    part = selected({"N9": rule("critical", worse), "N1": rule("warning", other, text="T.")}, finding("N1"), finding("N9"))
    assert part["settings"] == stands
    assert [one["rule"] for one in part["because"]] == ["N9", *(["N1"] if both else [])]
    assert both == ("by_hand" not in part)
    assert both or (part["by_hand"][0]["rule"] == "N1" and "N9 sets " in part["by_hand"][0]["text"])


def written(tmp_path: Path, rules: Json, *results: Json) -> str:
    path = str(tmp_path / "selection.yml")
    with _selection.SelectionReport(path, rules=rules, run_id="r", generated_at="2026-11-27T10:00:00Z") as report:
        for one in results:
            report.add(one)
        report.finish()
    return path


RULES = {"N1": rule(apply={"vm.swappiness": {"raise_to": 1}}), "C1": rule(apply={"MemoryHigh": {"observed": "hard_bytes"}}), "N2": rule(text="x")}
FOUND = (finding("N1"), finding("C1", BATCH, hard_bytes=483 * MIB), finding("C1", CONTAINER, hard_bytes=5 * MIB), finding("N2"))


def test_the_file_is_of_its_schema_and_says_how_to_use_it(tmp_path: Path) -> None:
    path = written(tmp_path, RULES, result(*FOUND), result(host="healthy"), result(finding("N2"), host="n2"))
    text = Path(path).read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    VALIDATOR.validate(content)
    assert list(content["hosts"]) == ["n1", "n2"] and f"-e memqos_selection={path} --check --diff" in text
    assert yaml.safe_load(Path(written(tmp_path, RULES, result())).read_text(encoding="utf-8"))["hosts"] == {}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    chosen = _selection.read(written(tmp_path, RULES, result(*FOUND), result(*FOUND, host="n2")), "n1")
    assert chosen and chosen.by_hand == 1
    assert chosen.profile.layer() == {
        "profile": "selection",
        "host": {"vm.swappiness": {"raise_to": 1}},
        "slices": {"batch.slice": {"MemoryHigh": {"value": "483MiB"}}},
    }
    assert {key: one.reason for key, one in chosen.profile.values.items()} == {
        ("", "vm.swappiness"): "N1: A warning matter",
        ("batch.slice", "MemoryHigh"): "C1: A warning matter",
    }


NAMES = ["n1", "a: b", "#x", "- y", "true", "17", "é", "\u202e", "a\nb", "' '", '"', "? z", "{x}", "*a", "!t", "x" * 300, "a\\nb", " ", "n1:"]


@pytest.mark.parametrize("name", NAMES)
def test_a_host_of_any_name_finds_its_own_part_and_no_other_does(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, RULES, result(*FOUND, host="a0"), result(finding("N1"), host=name), result(*FOUND, host="zz"))
    chosen = _selection.read(path, name)
    assert chosen and list(chosen.profile.values) == [("", "vm.swappiness")]
    assert _selection.read(path, f"{name}0") is None


@given(st.text(max_size=30), st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_text_of_a_node_does_not_leave_its_place(tmp_path_factory: pytest.TempPathFactory, subject: str, title: str) -> None:
    rules = {"N1": {**RULES["N1"], "title": title}, "N2": rule(text=title, command=subject)}
    found = finding("N2", {"kind": "cgroup", "id": f"/{subject}", "name": subject})
    content = Path(written(tmp_path_factory.mktemp("s"), rules, result(finding("N1"), found))).read_text(encoding="utf-8")
    part = yaml.safe_load(content)["hosts"]["n1"]
    assert part["settings"] == {"vm.swappiness": {"raise_to": 1}} and len(part["by_hand"]) == 1
    assert content.isascii()


HEAD = "schema_version: 1\nhosts:\n"
LAYOUTS = {
    "as written": f"{HEAD}  n0:\n    settings: {{x: 1}}\n  n1:\n    settings:\n      vm.swappiness: 1\n",
    "with comments": f"{HEAD}# a\n  # b\n  n1:\n# c\n    settings:\n\n      vm.swappiness: 1 # d\n  'n2':\n    units: {{}}\n",
    "in one line": "{schema_version: 1, hosts: {n1: {settings: {vm.swappiness: 1}}, n2: {}}}",
    "one host deeper": "schema_version: 1\nhosts:\n    n1:\n        settings: {vm.swappiness: 1}\n  # end\n",
    "deeper": "schema_version: 1\nhosts:\n    n0: {}\n    n1:\n        settings: {vm.swappiness: 1}\n",
    "hosts first": "hosts:\n  n1:\n    settings: {vm.swappiness: 1}\nschema_version: 1\n",
    "quoted": f'{HEAD}  "n0": {{}}\n  "n1":\n    settings: {{vm.swappiness: 1}}\n',
}


@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_a_file_is_read_in_any_layout(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.yml").write_text(text, encoding="utf-8")
    chosen = _selection.read(str(tmp_path / "s.yml"), "n1")
    assert chosen and list(chosen.profile.values) == [("", "vm.swappiness")]
    assert _selection.read(str(tmp_path / "s.yml"), "n9") is None


def test_of_a_large_file_only_the_hosts_own_part_is_read_as_yaml() -> None:
    hosts = "".join(f"  n{number}:\n    settings:\n      vm.swappiness: {number}\n" for number in range(1000))
    part = _selection.of_host(f"{HEAD}{hosts}".encode(), "n500").decode()
    assert part.count("swappiness") == 1 and part.split("\n")[1502:1505] == ["  n500:", "    settings:", "      vm.swappiness: 500"]
    assert _selection.of_host(f"{HEAD}{hosts}".encode(), "m") == b"schema_version: 1\nhosts: {}\n"


EMPTY = [f"{HEAD}  n1:\n", f"{HEAD}  n1:\n    settings:\n    because:\n", f"{HEAD}  n1: {{}}\n"]


@pytest.mark.parametrize("text", EMPTY)
def test_what_an_operator_has_deleted_is_not_done(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.yml").write_text(text, encoding="utf-8")
    chosen = _selection.read(str(tmp_path / "s.yml"), "n1")
    assert chosen and not chosen.profile.values


WRONG = [
    (f"{HEAD}  n1:\n    settings:\n      vm.swapiness: 1\n", "hosts.n1.settings.vm.swapiness, line 5, column 21: there is no host knob 'vm.swapiness'"),
    (f"{HEAD}  n0: {{}}\n  n1:\n    settings:\n      vm.swappiness: 900\n", "hosts.n1.settings.vm.swappiness, line 6, column 22: 900 is refused"),
    (f"{HEAD}  n1:\n    units:\n      batch:\n        MemoryHigh: 1G\n", "hosts.n1.units.batch, line 6, column 9: the name of a slice"),
    (f"{HEAD}  n1:\n    units:\n      a.slice: {{MemoryHi: 1G}}\n", "hosts.n1.units.a.slice.MemoryHi, line 5, column 27: there is no memory property"),
    (f"{HEAD}  n1:\n    setings: {{}}\n", "hosts.n1, line 4, column 5: unknown key 'setings'"),
    (f"{HEAD}  n1:\n    because: x\n", "hosts.n1.because, line 4, column 14: a list is expected here"),
    (f"{HEAD}  n1:\n    units:\n  n1:\n    units:\n", "hosts, line 5, column 3: 'n1' stands here twice"),
    ("schema_version: 2\nhosts: {}\n", "schema_version, line 1, column 17: this version of memqos.fleet reads 1"),
    ("- a\n", "line 1, column 1: a mapping"),
    ("hosts: {}\n", "line 1, column 1: 'schema_version' is missing"),
    ("", "'hosts' is missing"),
    ("a: [", "is not YAML"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_mistake_names_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.yml").write_text(text, encoding="utf-8")
    with pytest.raises(_profiles.ProfileError) as caught:
        _selection.read(str(tmp_path / "s.yml"), "n1")
    assert str(tmp_path / "s.yml") in str(caught.value) and message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(_profiles.ProfileError, match="gone.yml: cannot be read: No such file"):
        _selection.read(str(tmp_path / "gone.yml"), "n1")
