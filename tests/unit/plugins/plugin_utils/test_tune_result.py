# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a node's answer to a tune: the shape it must have, the result file, the diff, the summary."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _memcg_rows, _module, _plan_rows, _tune
from ansible_collections.memqos.fleet.plugins.modules import memory_tune
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _request, _results, _tune_containers, _tune_result

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).resolve().parents[4]
TREE = ROOT / "tests" / "unit" / "fixtures" / "trees" / "debian13-6.12-v2"
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "schemas" / "tune.json").read_text(encoding="utf-8")))
OPTIONS = {"on_conflict": "report", "fail_on_unsupported": False, "only": [], "allow": [], "sysctl_file": "zz-memqos.conf"}
HOSTILE = "x\x1b[31m\x9b1m\n\u202ey\udcff"
HARMLESS = "x\\x1b[31m\\x9b1m\\n\\u202ey\\udcff"


def asked(profile: t.Any, **overrides: t.Any) -> tuple[str, _tune_result.Why]:
    """What the module answers on a captured node, and the reasons of the profiles."""
    declared = _profiles.load_profiles(profile, search_paths=[], overrides=overrides)
    request = _request.pack({"layers": declared.layers, "options": OPTIONS, "wait": 0, "meta": {}, "keep": {"generations": 1, "since": ""}})
    answer = memory_tune.tune({"root": str(TREE), "check_mode": True, "request": request})
    return str(answer["tune"]), _tune_result.reasons(declared.profiles)


@pytest.fixture(scope="module", name="packed")
def fixture_packed() -> str:
    return asked("colocated")[0]


@pytest.fixture(scope="module", name="real")
def fixture_real(packed: str) -> str:
    """With its rows of containers as they are read."""
    answer = json.loads(packed)
    return _module.to_json({**answer, "containers": _memcg_rows.unpacked(answer["containers"])})


def row(name: str = "vm.swappiness", **values: t.Any) -> dict[str, t.Any]:
    plain = _plan_rows.Row(name, "host", "", "10", "60", "60", "10", None, "10", "would_change", profile="own", expression="10")._asdict()
    return {**plain, **values}


def answer(*rows: dict[str, t.Any], **values: t.Any) -> dict[str, t.Any]:
    whole = {"schema_version": 1, "changed": True, "check": True, "generation": 0, "results": list(rows), "files": [], "skipped": []}
    whole.update(kernel_command_line={}, daemon_reload=False, notes=[], problem="", clean=True, shrinking=[], containers=[])
    whole.update(values)
    # It is what a node could have sent.
    return _tune_result.parse(_module.to_json(whole))


def why(_subject: str, _knob: str, _profile: str) -> _tune_result.Because:
    return _tune_result.Because("Because it is so. And more.")


# The shape


def test_a_real_answer_is_understood(real: str, packed: str) -> None:
    assert _tune_result.parse(real) == _tune_result.parse(packed) == json.loads(real)
    assert json.loads(real)["containers"] and len(packed) < len(real)


def test_rows_that_nobody_packed_are_refused(packed: str) -> None:
    answer = json.loads(packed)
    with pytest.raises(_tune_result.BadAnswer, match="no rows? of containers"):
        _tune_result.parse(json.dumps({**answer, "containers": {**answer["containers"], "shapes": []}}))


def test_the_versions_are_the_same() -> None:
    assert _tune_result.SCHEMA_VERSION == _tune.SCHEMA_VERSION


def changed(real: str, change: t.Callable[[t.Any], object]) -> str:
    value = json.loads(real)
    change(value)
    return json.dumps(value)


def first_cell(told: t.Any) -> t.Any:
    return next(iter(told["containers"][0]["values"].values()))


WRONG: list[tuple[str, t.Callable[[t.Any], object]]] = [
    ("the answer has not the keys", lambda a: a.pop("results")),
    ("the answer has not the keys", lambda a: a.update(more=1)),
    ("the answer.results is of another type", lambda a: a.update(results={})),
    ("the answer.changed is of another type", lambda a: a.update(changed=1)),
    ("the answer.generation is of another type", lambda a: a.update(generation=True)),
    ("the answer.generation is of another type", lambda a: a.update(generation=1e999)),
    ("no number of a generation", lambda a: a.update(generation=-1)),
    ("no number of a generation", lambda a: a.update(generation=10**4000)),
    ("another schema_version", lambda a: a.update(schema_version=2)),
    ("the answer.problem is of another type", lambda a: a.update(problem=None)),
    ("results[0] has not the keys", lambda a: a.update(results=[[]])),
    ("results[0] has not the keys", lambda a: a["results"][0].pop("winner")),
    ("results[1].status is none of", lambda a: a["results"][1].update(status="fine")),
    ("results[1].subject is of another type", lambda a: a["results"][1].update(subject=None)),
    ("results[1].wanted is of another type", lambda a: a["results"][1].update(wanted=10)),
    ("results[1].reboot_required is of another type", lambda a: a["results"][1].update(reboot_required="no")),
    ("results[0].winner has not the keys", lambda a: a["results"][0].update(winner={})),
    ("results[0].winner is of another type", lambda a: a["results"][0].update(winner="me")),
    ("files[0].path is of another type", lambda a: a["files"][0].update(path=1)),
    ("files[0] has not the keys", lambda a: a.update(files=["/etc/passwd"])),
    ("skipped[0] has not the keys", lambda a: a.update(skipped=[None])),
    ("the answer has not the keys", lambda a: a.pop("containers")),
    ("containers[0] has not the keys", lambda a: a.update(containers=[[]])),
    ("containers[0].request is of another type", lambda a: a["containers"][0].update(request="1")),
    ("containers[0].limit is of another type", lambda a: a["containers"][0].update(limit=True)),
    ("containers[0].values is of another type", lambda a: a["containers"][0].update(values=[])),
    ("containers[0].level is none of class, pod, container, unit", lambda a: a["containers"][0].update(level="node")),
    ("a value of containers[0] has not the keys", lambda a: a["containers"][0]["values"].update(x={})),
    ("a value of containers[0].before is of another type", lambda a: first_cell(a).update(before=0)),
    ("the status of a value of containers[0] is none of conflict", lambda a: first_cell(a).update(status="failed")),
    ("the equivalence of a value of containers[0] is none of native", lambda a: first_cell(a).update(equivalence="exact")),
    ("containers[0].none[0] has not the keys", lambda a: a["containers"][0].update(none=["x"])),
    ("containers[0].none[0].reason is of another type", lambda a: a["containers"][0].update(none=[{"intent": "swap", "reason": None}])),
    ("notes or words of the kernel command line are not text", lambda a: a.update(notes=[1])),
    ("notes or words of the kernel command line are not text", lambda a: a.update(kernel_command_line={"a": None})),
]


@pytest.mark.parametrize(("said", "change"), WRONG)
def test_another_shape_is_named(real: str, said: str, change: t.Callable[[t.Any], object]) -> None:
    with pytest.raises(_tune_result.BadAnswer) as caught:
        _tune_result.parse(changed(real, change))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"x"', "[" * 100000, "1" * 5000, '{"a": \ud800}', "\x1b[2J"])
def test_what_is_no_answer_at_all(text: str) -> None:
    with pytest.raises(_tune_result.BadAnswer) as caught:
        _tune_result.parse(text)
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def test_a_huge_answer_is_not_read(real: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tune_result, "_MAX_BYTES", 1000)
    with pytest.raises(_tune_result.BadAnswer, match=f"{len(real)} bytes"):
        _tune_result.parse(real)


# The result file


def test_the_result_file_is_of_the_documented_schema(real: str, tmp_path: Path) -> None:
    path = _tune_result.write(str(tmp_path), "n1", _tune_result.parse(real))
    assert path == str(tmp_path / "tune" / "n1.json")
    kept = json.loads(Path(path).read_bytes())
    assert kept == {"host": "n1", "run_id": _results.RUN_ID, **json.loads(real)}
    assert list(SCHEMA.iter_errors(kept)) == []
    # What the parser refuses, the schema does not know either.
    for unused, change in WRONG:
        wrong = json.loads(changed(real, change), parse_constant=float)
        assert list(SCHEMA.iter_errors({"host": "n1", "run_id": "r", **wrong}))


def test_a_hostile_host_name_has_a_file_of_its_own_in_the_directory(real: str, tmp_path: Path) -> None:
    for name in ("../../etc/x", ".", "a/b", "\x1b[2J", "n" * 500):
        path = Path(_tune_result.write(str(tmp_path), name, _tune_result.parse(real)))
        assert path.parent == tmp_path / "tune" and path.name.isascii() and path.name.isprintable()
    assert len(list((tmp_path / "tune").iterdir())) == 5


def test_a_directory_that_cannot_be_written(real: str, tmp_path: Path) -> None:
    (tmp_path / "tune").write_text("a file")
    with pytest.raises(_results.ResultError, match=str(tmp_path / "tune")):
        _tune_result.write(str(tmp_path), "n1", _tune_result.parse(real))


def test_counts_name_what_is_there_the_worst_first() -> None:
    told = answer(row(status="ok"), row(status="changed"), row(status="ok"), row(status="refused"))
    assert list(_tune_result.counts(told).items()) == [("refused", 1), ("changed", 1), ("ok", 2)]


# The diff


def test_a_real_diff_reads_as_it_should() -> None:
    text, reasons = asked(["colocated", {"name": "own", "host": {"transparent_hugepage/defrag": "never"}}])
    parts = _tune_result.diff(_tune_result.parse(text), reasons)
    lines = parts[0]["prepared"].rstrip("\n").splitlines()
    # Then containers.
    assert [" ".join(line.split()) for line in lines[:3]] == [
        "vm.watermark_scale_factor 10 → 150 colocated, raise to 1.5% of memory, at most 8.00 GiB: Batch work allocates in bursts",
        "vm.page-cluster 3 → 6 swap_readahead, raise to 6: Up to 64 pages at once, as far as what was read ahead before has been used; not with zram or zswap, "
        "which unpack page by page",
        "transparent_hugepage/defrag madvise → never own (over colocated: lower to defer+madvise)",
    ]
    # The columns stand below each other.
    assert lines[0].index("colocated") == lines[1].index("swap_readahead") == lines[2].index("own")
    assert [part["after_header"] for part in parts[1:]] == ["/etc/sysctl.d/zz-memqos.conf", "/etc/tmpfiles.d/00-memqos.conf"]
    assert all(part["before"] == "" and part["before_header"].endswith(" (absent)") for part in parts[1:])
    assert "vm.watermark_scale_factor = 150\n" in parts[1]["after"]


MOVES = [
    (row(), "vm.swappiness  60 → 10  own: Because it is so"),
    (row(expression="lower to 10"), "vm.swappiness  60 → 10  own, lower to 10: Because it is so"),
    (row(profile="", expression="", reason="back"), "vm.swappiness  60 → 10  back"),
    (row(reason="at the next boot TuneD decides"), "vm.swappiness  60 → 10  own: Because it is so (at the next boot TuneD decides)"),
    (row("MemoryHigh", scope="unit", subject="a.slice", live_before=None, wanted="1073741824", expression="1G", effective=None),
     "a.slice MemoryHigh  not set → 1073741824 (1.00 GiB)  own, 1G: Because it is so"),
    (row("MemoryHigh", scope="unit", subject="a.slice", live_before=None, persisted_before="5", wanted="infinity", effective="max"),
     "a.slice MemoryHigh  5 → infinity  own, 10: Because it is so"),
    (row("MemoryLow", scope="unit", subject="a.slice", live_before="0", wanted="1073741824", effective="0"),
     "a.slice MemoryLow  0 → 1073741824 (1.00 GiB)  own, 10: Because it is so (effective is 0: the cgroups above leave no more)"),
    # Recursive protection gives more than was asked for.
    (row("MemoryLow", scope="unit", subject="a.slice", live_before="0", wanted="1073741824", effective="2147483648"),
     "a.slice MemoryLow  0 → 1073741824 (1.00 GiB)  own, 10: Because it is so"),
    (row("MemoryMax", scope="unit", subject="a.slice", live_before="5", wanted="infinity", effective="4096"),
     "a.slice MemoryMax  5 → infinity  own, 10: Because it is so (effective is 4096: the cgroups above leave no more)"),
    (row("vm.min_free_kbytes", live_before="45056", wanted="65536", expression="65536"),
     "vm.min_free_kbytes  45056 (44.0 MiB) → 65536 (64.0 MiB)  own: Because it is so"),
    (row("zswap/compressor", live_before="", wanted="zstd", expression="zstd"), "zswap/compressor  default → zstd  own: Because it is so"),
    (row("memory.soft_limit_in_bytes", scope="memcg", subject="/a", live_before="9223372036854771712", wanted="1073741824", expression="1G"),
     "/a memory.soft_limit_in_bytes  9223372036854771712 (no limit) → 1073741824 (1.00 GiB)  own, 1G: Because it is so"),
    (row("no.such.knob", wanted="99999999"), "no.such.knob  60 → 99999999  own, 10: Because it is so"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "line"), MOVES)
def test_one_line_a_value(found: dict[str, t.Any], line: str) -> None:
    assert _tune_result.values(answer(found), why) == [line]


def test_what_does_not_change_is_not_in_the_diff() -> None:
    statuses = [status for status in _tune_result.STATUSES if status not in ("would_change", "changed")]
    assert _tune_result.diff(answer(*(row(status=status, reason="x") for status in statuses)), why) == []


def test_a_daemon_reload_is_told() -> None:
    assert _tune_result.values(answer(daemon_reload=True), why) == ["one daemon-reload, for the drop-ins"]


def test_what_profiles_say_that_does_not_count_is_told() -> None:
    skipped = [
        {"profile": "own", "scope": "", "subject": "", "knob": "", "reason": "its condition is false: facts.cpus > 4"},
        {"profile": "own", "scope": "unit", "subject": "a.slice", "knob": "MemoryHigh", "reason": "another takes its place"},
    ]
    assert _tune_result.values(answer(skipped=skipped, kernel_command_line={"numa": "off"}), why) == [
        "left out: own: its condition is false: facts.cpus > 4",
        "left out: a.slice MemoryHigh of own: another takes its place",
        "the kernel command line says (reported, never written): numa=off",
    ]


def test_nothing_from_the_node_reaches_the_terminal_as_it_is() -> None:
    hostile = row(HOSTILE, scope="unit", **dict.fromkeys(("subject", "wanted", "live_before", "effective", "reason", "profile", "expression"), HOSTILE))
    skipped = [dict.fromkeys(("profile", "scope", "subject", "knob", "reason"), HOSTILE)]
    files = [{"path": HOSTILE, "before": HOSTILE, "after": f"{HOSTILE}\r\n\x1b]0;title\x07"}]
    cell = dict.fromkeys(("before", "wanted", "origin", "reason"), HOSTILE)
    values = {f"{status}{HOSTILE}": {**cell, "status": status, "equivalence": "near"} for status in _tune_containers.STATUSES}
    none = [{"intent": HOSTILE, "reason": HOSTILE}]
    container = {
        **dict.fromkeys(("path", "name", "class", "source"), HOSTILE),
        "level": "pod",
        "request": 1 << 63,
        "limit": None,
        "values": values,
        "none": none,
    }
    told = answer(
        hostile, {**hostile, "status": "refused"}, skipped=skipped, containers=[container], files=files, notes=[HOSTILE], kernel_command_line={HOSTILE: HOSTILE}
    )
    shown = [text for part in _tune_result.diff(told, why) for text in part.values()]
    shown += [line.text for line in _tune_result.summary(told, HOSTILE, verb="tuned")]
    shown += _tune_result.containers(told, everything=True)
    assert sum(HARMLESS in text for text in shown[-9:]) == 9
    shown.append(_tune_result.shown(HOSTILE))
    for text in shown:
        assert all(line.isprintable() for line in text.split("\n")), text
    assert HARMLESS in shown[0] and f"{HARMLESS}: check: 1 refused, 1 would change" in shown
    assert shown[-1] == HARMLESS.replace("\\n", "\n")


def test_many_and_large_values_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told = answer(
        *(row(f"knob{number}", wanted="x" * 1000) for number in range(600)), files=[{"path": f"/f{n}", "before": None, "after": "x"} for n in range(150)]
    )
    parts = _tune_result.diff(told, why)
    lines = parts[0]["prepared"].rstrip("\n").splitlines()
    assert len(lines) == 501 and lines[-1] == "… and 100 more: see the result file"
    # A wide value does not push all others to the right.
    assert lines[0].startswith("knob0") and _tune_result.values(answer(row(), row(wanted="x" * 1000)), why)[0].index("own") < 80
    assert len(parts) == 102 and parts[-1] == {"prepared": "… and 50 more files: see the result file\n"}
    large = answer(files=[{"path": "/f", "before": "x\n" * 60000, "after": ""}])
    assert _tune_result.diff(large, why) == [{"prepared": "/f: larger than 102 KiB, see the result file\n"}]


# The summary


def texts(told: dict[str, t.Any], **options: t.Any) -> list[str]:
    return [line.text for line in _tune_result.summary(told, "n1", verb="tuned", **options)]


def test_the_summary_says_what_was_done() -> None:
    assert texts(answer()) == ["n1: check"]
    assert texts(answer(check=False)) == ["n1: nothing to do"]
    assert texts(answer(row(status="ok"), check=False, changed=False)) == ["n1: nothing to do: 1 ok"]
    assert texts(answer(row(), row(status="ok"))) == ["n1: check: 1 would change, 1 ok"]
    assert texts(answer(row(status="changed"), check=False, generation=3)) == ["n1: tuned (generation 3): 1 changed"]
    assert texts(answer(row(status="undone"), check=False, problem="no")) == ["n1: not tuned: 1 undone"]


LOOK = [
    ("ok", "TuneD decides", "  ok: vm.swappiness: TuneD decides"),
    ("ok", "", None),
    ("unsupported", "no such file", "  unsupported: vm.swappiness: no such file"),
    ("deferred", "left alone", "  deferred: vm.swappiness: left alone"),
    ("would_change", "TuneD decides", "  would change: vm.swappiness: TuneD decides"),
    ("undone", "as it was", None),
]


@pytest.mark.parametrize(("status", "reason", "line"), LOOK)
def test_what_somebody_should_look_at(status: str, reason: str, line: str | None) -> None:
    assert texts(answer(row(status=status, reason=reason)))[1:] == ([f"n1: {line}"] if line else [])


def test_the_same_is_not_said_twice() -> None:
    told = answer(row(reason="late"), row(status="refused", reason="too much"), problem="nothing was written: too much")
    # The failed task's message has the refusal, the diff the other.
    assert texts(told)[1:] == ["n1:   would change: vm.swappiness: late"]
    assert texts(told, with_diff=True)[1:] == []
    # Without a failure nothing else would tell it.
    assert texts(answer(row(status="conflict", reason="TuneD")))[1:] == ["n1:   conflict: vm.swappiness: TuneD"]


def test_protection_that_ancestors_take_away_is_told() -> None:
    told = answer(row("MemoryLow", scope="unit", subject="a.slice", status="ok", wanted="1048576", effective="0"))
    assert texts(told)[1:] == ["n1:   ok: a.slice MemoryLow: effective is 0: the cgroups above leave no more"]


def test_the_summary_ends_and_has_colors() -> None:
    told = answer(*(row(status="unsupported", reason="none") for unused in range(20)), notes=["undone first"])
    lines = _tune_result.summary(told, "n1", verb="tuned")
    assert [line.text for line in lines[-2:]] == ["n1:   … and 8 more: see the result file", "n1:   undone first"]
    assert len(lines) == 15
    assert [line.color for line in _tune_result.summary(answer(row(reason="x"), row(status="failed", reason="y")), "n1", verb="tuned")] == [
        None,
        "yellow",
        "red",
    ]
    assert _tune_result.summary(answer(problem="no"), "n1", verb="tuned")[0].color == "red"


# Reasons


def test_a_reason_is_the_profiles_own_also_for_units_of_a_template() -> None:
    profile = {
        "name": "own",
        "host": {"vm.swappiness": {"value": 1, "reason": "host"}},
        "slices": {"user-.slice": {"MemoryHigh": {"value": "1G", "reason": "unit"}}},
    }
    found = _tune_result.reasons(_profiles.load_profiles(profile, search_paths=[], overrides={}).profiles)
    assert found("", "vm.swappiness", "own") == ("host", ())
    assert found("user-.slice", "MemoryHigh", "own") == found("user-1000.slice", "MemoryHigh", "own") == ("unit", ())
    assert found("", "vm.swappiness", "other") == found("", "MemoryHigh", "own") == ("", ())


def over(subject: str, knob: str, profile: str, *layers: t.Any, **overrides: t.Any) -> t.Any:
    return _tune_result.reasons(_profiles.load_profiles(list(layers), search_paths=[], overrides=overrides).profiles)(subject, knob, profile).over


def test_what_a_profile_came_over() -> None:
    base = {"name": "base", "host": {"vm.swappiness": 60}, "slices": {"user-.slice": {"MemoryHigh": "1G"}, "app@.service": {"MemoryMax": "2G"}}}
    own = {"name": "own", "host": {"vm.swappiness": {"lower_to": 10}}, "slices": {"user-1000.slice": {"MemoryHigh": "2G"}}}
    assert over("", "vm.swappiness", "host variables", base, own, host={"vm.swappiness": 5}) == (("base", "60"), ("own", "lower to 10"))
    assert over("", "vm.swappiness", "own", base, own, host={"vm.swappiness": {"lower_to": 50}}) == (("base", "60"),)
    # It only goes further.
    assert over("", "vm.swappiness", "host variables", base, own, host={"vm.swappiness": {"lower_to": 5}}) == (("base", "60"),)
    assert over("", "vm.swappiness", "base", base, own) == over("", "vm.swappiness", "another", base, own) == ()
    assert over("user-1000.slice", "MemoryHigh", "own", base, own) == (("base", "1G"),)
    assert over("user-1000.slice", "MemoryMax", "own", base, own) == ()
    # What was taken back was not there to come over.
    none = {"name": "none", "host": {"vm.swappiness": "absent"}}
    assert over("", "vm.swappiness", "own", base, none, own) == ()


def test_the_diff_says_what_a_profile_came_over_on_this_node() -> None:
    profiles = ["balanced", {"name": "v1", "when": "facts.hierarchy == 'v1'", "host": {"vm.swappiness": 40}}, {"name": "own", "host": {"vm.swappiness": 10}}]
    text, reasons = asked(profiles, host={"vm.swappiness": {"lower_to": 5}})
    lines = [line for line in _tune_result.values(_tune_result.parse(text), reasons) if line.startswith("vm.swappiness")]
    assert [" ".join(line.split()) for line in lines] == ["vm.swappiness 60 → 5 host variables, lower to 5 (over balanced: raise to 1; own: 10)"]


# Containers


def container(name: str = "shop/web/main", **values: t.Any) -> dict[str, t.Any]:
    """C(values): {file: status, or (status, reason)}, with _ for the dot."""
    cells = {}
    for file, said in values.items():
        status, reason = said if isinstance(said, tuple) else (said, "")
        cell = {"before": "0", "wanted": "1073741824", "origin": "profile: protect_soft", "equivalence": "native", "reason": reason, "status": status}
        cells[file.replace("_", ".")] = cell
    return {
        "path": f"/x/{name}",
        "name": name,
        "level": "container",
        "class": "LS",
        "request": 1 << 30,
        "limit": None,
        "source": "pod list",
        "values": cells,
        "none": [],
    }


def test_the_summary_has_a_line_for_containers_and_lines_for_what_somebody_should_look_at() -> None:
    rows = [container(f"shop/web-{number}/main", memory_low="changed", memory_high=("conflict", "koordlet writes it too")) for number in range(5)]
    rows.append(container("shop/db/main", memory_low="ok", memory_high=("deferred", "it would stall")))
    told = answer(check=False, generation=3, containers=rows)
    assert texts(told) == [
        "n1: tuned (generation 3)",
        "n1:   containers: 5 of 6 cgroups changed, 5 conflict, 1 deferred",
        "n1:     conflict: memory.high of shop/web-0/main, shop/web-1/main, shop/web-2/main and 2 more: koordlet writes it too",
        "n1:     deferred: memory.high of shop/db/main: it would stall",
    ]
    many = answer(containers=[container(f"c{number}", memory_high=("deferred", f"it would stall by {number}")) for number in range(20)])
    assert len(texts(many)) == 2 + 13 and texts(many)[-1] == "n1:   … and 8 more: see the result file"


def test_many_containers_end_in_the_diff(monkeypatch: pytest.MonkeyPatch) -> None:
    told = answer(containers=[container(f"c{number}", memory_low="would_change") for number in range(400)])
    lines = _tune_result.values(told, why)
    assert len(lines) == 501 and lines[-1] == "… and more: see the result file"
    assert lines[:2] == ["c0 (container, LS, request 1.00 GiB)", "  memory.low: 0 → 1073741824 (1.00 GiB) (profile: protect_soft)"]


def test_containers_of_a_real_node(real: str) -> None:
    told = _tune_result.parse(real)
    assert "n1:   containers: 7 of 7 cgroups would change, 8 cannot be had" in texts(told)
    lines = _tune_result.containers(told)
    at = lines.index("shop/web-0/web (container, Burstable, request 63.7 MiB (estimated), limit 64.0 MiB)")
    assert lines[at + 1 : at + 3] == [
        "  memory.low: 0 → 66805760 (63.7 MiB) (profile: protect_soft)",
        "  cannot be had: background_reclaim: by memory.high its own tasks would reclaim, and wait: not wanted (throttle: false)",
    ]
