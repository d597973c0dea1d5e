# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan as a whole: rows, steps in their order, texts of files, what may not be written, what ancestors leave."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _persist, _plan
from ansible_collections.memqos.fleet.plugins.module_utils._plan import Files, Foreign
from ansible_collections.memqos.fleet.plugins.module_utils._plan_rows import History, Left, Plan
from ansible_collections.memqos.fleet.plugins.module_utils._read._persisted import Line, Sources
from ansible_collections.memqos.fleet.plugins.module_utils._steps import FileStep, PropertyStep, ReloadStep, Step, WriteStep
from ansible_collections.memqos.fleet.plugins.module_utils._wanted import Refused, Wanted
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.made_present import OPTIONS, PERSISTED, folded, present, unit, wish

MIB, GIB = 1 << 20, 1 << 30
THP = "transparent_hugepage/enabled"
MINE = "/etc/sysctl.d/zz-memqos.conf"
DROP_IN = _persist.drop_in_path("batch.slice")
HOST = {"vm.swappiness": "60", "vm.min_free_kbytes": "67584", THP: "[always] madvise never", "vm.page-cluster": "3"}
BATCH = unit("batch.slice", "/batch.slice", {"MemoryHigh": "infinity"}, high="max", wmark_ratio="0")
SWAPPINESS = wish("vm.swappiness", 10)
HIGH, WMARK = wish("MemoryHigh", GIB, "batch.slice"), wish("memory.wmark_ratio", 95, "batch.slice")
NONE: t.Dict[str, t.Optional[str]] = dict.fromkeys(_plan.our_paths(["batch.slice"], "zz-memqos.conf"))


def made(*wishes: Wanted, ours: t.Optional[t.Mapping[str, t.Optional[str]]] = None, history: History = History(), **more: t.Any) -> Plan:  # noqa: B008
    options = OPTIONS._replace(**{key: more.pop(key) for key in tuple(more) if key in OPTIONS._fields})
    files = Files({**NONE, **(ours or {})}, **{key: more.pop(key) for key in tuple(more) if key in Files._fields})
    return _plan.plan(folded(*wishes), present(HOST, BATCH, **more), history, options, files)


def kinds(steps: t.Iterable[Step]) -> t.List[str]:
    names = {FileStep: "file", PropertyStep: "property", ReloadStep: "reload"}
    return [names.get(type(step)) or ("cgroup" if isinstance(step, WriteStep) and step.subject else "host") for step in steps]


def sysctl(name: str, before: str, after: str) -> WriteStep:
    return WriteStep(name, "host", "", f"/proc/sys/{name.replace('.', '/')}", before, after)


def memcg(file: str, before: str, after: str) -> WriteStep:
    return WriteStep(file, "memcg", "batch.slice", f"/sys/fs/cgroup/batch.slice/{file}", before, after, 7)


def test_steps_come_in_the_order_that_undoes_least() -> None:
    plan = made(SWAPPINESS, HIGH, WMARK)
    # Before MemoryHigh is set, a look at what is in use.
    assert kinds(plan.steps) == ["file"] * 5 + ["host", "cgroup", "property", "reload", "cgroup"]
    assert [step.bound for step in plan.steps if isinstance(step, WriteStep) and step.bounds] == [int(plan.rows[1].wanted or 0)]
    assert plan.files == plan.steps[:5]
    assert plan.wanted == {("host", "", "vm.swappiness"), ("unit", "batch.slice", "MemoryHigh"), ("memcg", "batch.slice", "memory.wmark_ratio")}
    assert [(row.key, row.status) for row in plan.rows] == [
        (("vm.swappiness", ""), "would_change"), (("MemoryHigh", "batch.slice"), "would_change"), (("memory.wmark_ratio", "batch.slice"), "would_change"),
    ]  # fmt: skip


GONE = FileStep("/run/systemd/system.control/batch.slice.d/50-MemoryLow.conf", "x", None)
BACK = PropertyStep("batch.slice", (("MemoryLow", "0"),), (("MemoryLow", "5"),), (memcg("memory.low", "5", "0"),))


def test_what_goes_back_has_its_place_in_that_order() -> None:
    returning = (memcg("memory.wmark_ratio", "95", "0"), GONE, BACK, sysctl("vm.page-cluster", "0", "3"))
    plan = made(SWAPPINESS, HIGH, history=History(returning=returning))
    assert kinds(plan.steps) == ["file", "file", "host", "host", "property", "cgroup", "property", "file", "reload", "cgroup"]
    assert [step.properties[0][0] for step in plan.steps if isinstance(step, PropertyStep)] == ["MemoryLow", "MemoryHigh"]


def test_a_reload_follows_drop_ins_and_properties_only() -> None:
    assert "reload" not in kinds(made(SWAPPINESS, wish(THP, "never")).steps)
    assert kinds(made(history=History(returning=(BACK,))).steps) == ["property", "reload"]
    assert "reload" not in kinds(made(SWAPPINESS, facts={"systemd": None}).steps)


def test_nothing_to_do_is_no_step() -> None:
    plan = made(wish("vm.swappiness", 60), ours={MINE: f"{_persist.HEADER}\nvm.swappiness = 60\n"})
    assert (plan.steps, plan.files, [row.status for row in plan.rows]) == ((), (), ["ok"])


# Files


def test_files_for_which_nothing_is_wanted_any_more_go_with_their_directories() -> None:
    ours = {MINE: f"{_persist.HEADER}\n", DROP_IN: f"{_persist.HEADER}\n[Slice]\n", _persist.TMPFILES: f"{_persist.HEADER}\n"}
    plan = made(ours=ours, made={DROP_IN: ("/etc/systemd/system/batch.slice.d",), _persist.TMPFILES: ("/etc/tmpfiles.d",)})
    assert {step.path: (step.after, step.creates) for step in plan.files} == {
        MINE: (None, ()), DROP_IN: (None, ("/etc/systemd/system/batch.slice.d",)), _persist.TMPFILES: (None, ("/etc/tmpfiles.d",)),
    }  # fmt: skip


def test_what_goes_comes_after_what_is_made() -> None:
    """A directory goes with the last file in it."""
    ours = {_persist.TMPFILES: f"{_persist.HEADER}\n"}
    plan = made(WMARK, SWAPPINESS, ours=ours, made={_persist.TMPFILES: ("/etc/tmpfiles.d",)})
    paths = [step.path for step in plan.files]
    assert paths[-1] == _persist.TMPFILES and _persist.LATE_TMPFILES in paths


def test_lines_under_another_name_move() -> None:
    old = f"{_persist.HEADER}\nvm.page-cluster = 0\nvm.swappiness = 10\n"
    plan = made(SWAPPINESS, ours={MINE: old, "/etc/sysctl.d/50-x.conf": None}, sysctl_file="50-x.conf", only=("swap",))
    assert {step.path: step.after for step in plan.files} == {MINE: None, "/etc/sysctl.d/50-x.conf": f"{_persist.HEADER}\nvm.swappiness = 10\n"}
    plan = made(wish(THP, "never"), ours={MINE: old, "/etc/sysctl.d/50-x.conf": None}, sysctl_file="50-x.conf", only=("thp",))
    assert {step.path: step.after for step in plan.files if "sysctl" in step.path} == {MINE: None, "/etc/sysctl.d/50-x.conf": old}


ALL_LINES = {
    MINE: f"{_persist.HEADER}\nvm.min_free_kbytes = 5\nvm.swappiness = 40\n",
    _persist.TMPFILES: f"{_persist.HEADER}\nw /sys/kernel/mm/{THP} - - - - never\nw /proc/sys/vm/min_free_kbytes - - - - 5\n",
    _persist.LATE_TMPFILES: f"{_persist.HEADER}\nw /sys/block/zram0/disksize - - - - 4096\nw /sys/fs/cgroup/batch.slice/memory.wmark_ratio - - - - 90\n",
    DROP_IN: f"{_persist.HEADER}\n[Slice]\nMemoryHigh=5\n",
}
AREAS: t.List[t.Tuple[t.Tuple[str, ...], t.List[Wanted], t.Set[str]]] = [
    # areas, what is wanted, files that change (besides the late unit, which is new here)
    (("swap",), [wish("vm.swappiness", 40), wish("zram0/disksize", 4096)], set()),
    (("swap",), [SWAPPINESS, wish("zram0/disksize", 4096)], {MINE}),
    (("thp",), [wish(THP, "never")], set()),
    (("thp",), [], {_persist.TMPFILES}),
    (("slices",), [HIGH], {DROP_IN}),
    (("memcg_qos",), [WMARK], {_persist.LATE_TMPFILES}),
    ((), [SWAPPINESS], {MINE, _persist.TMPFILES, _persist.LATE_TMPFILES, DROP_IN}),
]


@pytest.mark.parametrize("only, wanted, changed", AREAS)
def test_areas_that_are_not_asked_for_keep_their_lines(only: t.Tuple[str, ...], wanted: t.List[Wanted], changed: t.Set[str]) -> None:
    zram = {**HOST, "zram0/disksize": "4096", THP: "always madvise [never]"}
    plan = _plan.plan(folded(*wanted), present(zram, BATCH), History(), OPTIONS._replace(only=only), Files({**NONE, **ALL_LINES}))
    assert {step.path for step in plan.files} - {_persist.LATE_UNIT, _persist.LATE_WANTS} == changed


def test_what_is_not_asked_for_is_neither_written_nor_told_nor_forgotten() -> None:
    history = History(wanted=frozenset({("host", "", THP), ("host", "", "vm.page-cluster")}))
    plan = made(SWAPPINESS, HIGH, wish("vm.min_free_kbytes", 5), history=history, only=("swap",))
    assert [row.name for row in plan.rows] == ["vm.swappiness"]
    assert plan.wanted == {("host", "", "vm.swappiness"), ("host", "", THP)}


def test_what_leaves_is_of_the_areas_that_are_asked_for() -> None:
    before = [("host", "", THP), ("host", "", "vm.swappiness"), ("host", "", "vm.page-cluster")]
    assert _plan.leaving(folded(SWAPPINESS), before, OPTIONS) == [("host", "", THP), ("host", "", "vm.page-cluster")]
    assert _plan.leaving(folded(SWAPPINESS), before, OPTIONS._replace(only=("thp",))) == [("host", "", THP)]
    refused = folded()._replace(refused={("host", "", "vm.swappiness"): Refused(SWAPPINESS, "is refused")})
    assert ("host", "", "vm.swappiness") not in _plan.leaving(refused, before, OPTIONS)


# Files of others

ZZZ = "/etc/sysctl.d/zzz.conf"
LATER = PERSISTED._replace(sources=Sources([], [Line(ZZZ, 1, "/proc/sys/vm/swappiness", "99")], [], "", [], [], []))
ASIDE = f"{_persist.ASIDE}vm.swappiness=99\nvm.laptop_mode=1\n"
BOTH_ASIDE = f"{_persist.ASIDE}vm.dirty_ratio = 5\n{_persist.ASIDE}vm.swappiness=1\n"
FOREIGN: t.List[t.Tuple[t.List[Wanted], Foreign, t.Any]] = [
    # what is wanted, the file so far, (what is written, mode) or nothing
    ([SWAPPINESS], Foreign(ZZZ, "vm.swappiness=99\n", "vm.swappiness=99\n", 0o600, False), (f"{_persist.ASIDE}vm.swappiness=99\n", 0o600)),
    ([SWAPPINESS], Foreign(ZZZ, None, "vm.swappiness=99\n", 0o644, True), (f"{_persist.ASIDE}vm.swappiness=99\n", 0o644)),
    ([], Foreign(ZZZ, ASIDE, ASIDE, 0o600, False), ("vm.swappiness=99\nvm.laptop_mode=1\n", 0o600)),
    # A copy that hides nothing any more goes.
    ([], Foreign(ZZZ, ASIDE, ASIDE, 0o644, True), (None, 0o644)),
    ([wish("vm.page-cluster", 0)], Foreign(ZZZ, ASIDE, ASIDE, 0o644, True), (None, 0o644)),
    ([], Foreign(ZZZ, "vm.laptop_mode=1\n", "vm.laptop_mode=1\n", 0o600, False), None),
    # The rival of what is wanted is in the way too.
    (
        [wish("vm.dirty_bytes", GIB)],
        Foreign(ZZZ, BOTH_ASIDE, BOTH_ASIDE, 0o600, False),
        (f"{_persist.ASIDE}vm.dirty_ratio = 5\nvm.swappiness=1\n", 0o600),
    ),
]  # fmt: skip


@pytest.mark.parametrize("wanted, foreign, written", FOREIGN)
def test_lines_of_others_are_set_aside_and_given_back(wanted: t.List[Wanted], foreign: Foreign, written: t.Any) -> None:
    conflict = wanted == [SWAPPINESS]
    plan = made(*wanted, foreign={ZZZ: foreign}, on_conflict="take" if conflict else "report", persisted=LATER if conflict else PERSISTED)
    found = [step for step in plan.files if step.path == ZZZ]
    assert [(step.before, step.after, step.mode) for step in found] == ([(foreign.before, *written)] if written else [])


def test_the_files_that_will_be_set_aside_are_known_before() -> None:
    node, files = present(HOST, BATCH, persisted=LATER), Files(NONE)
    for policy, paths in (("take", [ZZZ]), ("report", [])):
        options = OPTIONS._replace(on_conflict=t.cast("t.Any", policy))
        assert _plan.set_aside(folded(SWAPPINESS), node, History(), options, files) == paths


# What may not be written

BLOCKED: t.List[t.Tuple[t.List[Wanted], t.Dict[str, t.Any], str]] = [
    ([wish("vm.min_free_kbytes", 10**6)], {}, "vm.min_free_kbytes: 977 MiB is more than 5 % of memory (8.00 GiB)"),
    ([wish("vm.laptop_mode", 1)], {"fail_on_unsupported": True}, "vm.laptop_mode: this kernel has no vm.laptop_mode"),
    ([SWAPPINESS], {"on_conflict": "refuse", "persisted": LATER}, f"vm.swappiness: at the next boot sysctl.d: {ZZZ}:1 decides: 99"),
    ([SWAPPINESS], {"ours": {MINE: "# by hand\n"}}, f"{MINE} is there and was not made by memqos.fleet: move it away, or choose another name"),
    ([HIGH], {"ours": {DROP_IN: "# by hand\n"}}, f"{DROP_IN} is there and was not made by memqos.fleet: move it away"),
]


@pytest.mark.parametrize("wanted, more, reason", BLOCKED)
def test_one_that_is_refused_stops_the_whole_plan(wanted: t.List[Wanted], more: t.Dict[str, t.Any], reason: str) -> None:
    plan = made(wish("vm.page-cluster", 0), *wanted, **more)
    assert (plan.steps, plan.blocked.startswith(reason)) == ((), True)
    # What it would have done is still told.
    assert plan.files and {row.name for row in plan.rows} == {"vm.page-cluster", *(one.knob for one in wanted)}


def test_a_value_that_this_kernel_does_not_take_is_refused_with_what_it_takes() -> None:
    wanted = wish("vm.swappiness", 300)
    refused = folded()._replace(refused={("host", "", "vm.swappiness"): Refused(wanted, "is refused; it takes 0..200")})
    plan = _plan.plan(refused, present(HOST), History(), OPTIONS, Files(NONE))
    assert plan.blocked == "vm.swappiness: 300 is refused; it takes 0..200"
    assert [(row.wanted, row.live_before, row.live_after) for row in plan.rows] == [("300", HOST["vm.swappiness"], HOST["vm.swappiness"])]


def test_a_foreign_file_that_is_not_in_the_way_is_left() -> None:
    plan = made(SWAPPINESS, ours={DROP_IN: "# by hand\n", _persist.LATE_UNIT: "# by hand\n"})
    assert (plan.blocked, [step.path for step in plan.files]) == ("", [MINE])


# What goes back


def test_rows_of_what_goes_back_have_the_kernels_values() -> None:
    steps: t.List[Step] = [sysctl("vm.swappiness", "10", "60"), sysctl("vm.min_free_kbytes", "5", "5"), BACK, memcg("memory.low", "5", "0"), GONE]
    rows = _plan.returned_rows(steps, "why")
    # Kept values and files are no rows, nor is the file of a property one of its own.
    assert [(row.key, row.live_before, row.wanted, row.reason) for row in rows] == [
        (("vm.swappiness", ""), "10", "60", "why"), (("MemoryLow", "batch.slice"), "5", "0", "why"),
    ]  # fmt: skip
    done = PropertyStep("a.slice", (("MemoryLow", "0"),), (("MemoryLow", "0"),), (memcg("memory.low", "0", "0"),))
    assert _plan.returned_rows([done]) == []
    assert len(_plan.returned_rows([done._replace(files=(memcg("memory.low", "7", "0"),))])) == 1


def test_what_stays_is_told() -> None:
    plan = made(history=History(wanted=frozenset({("host", "", "vm.swappiness")}), left=(Left("", "vm.swappiness", "33", "changed by others since"),)))
    assert [(row.name, row.scope, row.status, row.live_after, row.reason) for row in plan.rows] == [
        ("vm.swappiness", "host", "deferred", "33", "no profile wants it any more, but it stays: changed by others since")
    ]


# What ancestors leave


def cgroup(path: str, **values: t.Any) -> t.Any:
    parent = path.rpartition("/")[0] or "/"
    return {"path": path, **({"parent": parent} if path != "/" else {}), "usage": GIB, "min": 0, "low": 0, "high": None, "limit": None, **values}


EFFECTIVE: t.List[t.Tuple[str, t.Any, t.Any, t.Any, int, bool, str]] = [
    # property, wanted, of the parent now, wanted of the parent; what is used; recursive protection; effective
    ("MemoryLow", 64 * MIB, 0, None, GIB, True, "0"),
    ("MemoryLow", 64 * MIB, 32 * MIB, None, GIB, True, str(32 * MIB)),
    ("MemoryLow", 64 * MIB, 64 * MIB, None, GIB, True, str(64 * MIB)),
    ("MemoryLow", 64 * MIB, 0, 64 * MIB, GIB, True, str(64 * MIB)),
    ("MemoryLow", 64 * MIB, 128 * MIB, None, GIB, False, str(64 * MIB)),
    ("MemoryLow", 64 * MIB, 128 * MIB, None, GIB, True, str(128 * MIB)),
    ("MemoryLow", "infinity", 64 * MIB, None, GIB, True, str(64 * MIB)),
    # Of a cgroup that uses little, little is protected: ancestors leave it what it wants all the same, or what they have.
    ("MemoryLow", 64 * MIB, 128 * MIB, None, MIB, True, str(64 * MIB)),
    ("MemoryLow", 64 * MIB, 32 * MIB, None, MIB, True, str(32 * MIB)),
    ("MemoryLow", 64 * MIB, 0, None, MIB, True, "0"),
    ("MemoryLow", "infinity", "infinity", None, MIB, True, "max"),
    ("MemoryMin", 64 * MIB, 0, None, GIB, True, "0"),
    ("MemoryMin", 64 * MIB, 64 * MIB, None, MIB, True, str(64 * MIB)),
    ("MemoryHigh", 2 * GIB, GIB, None, GIB, True, str(GIB)),
    ("MemoryHigh", 2 * GIB, None, None, GIB, True, str(2 * GIB)),
    ("MemoryHigh", "infinity", None, None, GIB, True, "max"),
    ("MemoryMax", 4 * GIB, 3 * GIB, 2 * GIB, GIB, True, str(2 * GIB)),
]
FILES = {"MemoryLow": ("low", "low", "0"), "MemoryMin": ("min", "min", "0"), "MemoryHigh": ("high", "high", "max"), "MemoryMax": ("max", "limit", "max")}


@pytest.mark.parametrize("name, wanted, above, wanted_above, usage, recursive, effective", EFFECTIVE)
def test_what_ancestors_leave(name: str, wanted: t.Any, above: t.Any, wanted_above: t.Any, usage: int, recursive: bool, effective: str) -> None:
    file, key, default = FILES[name]
    shown = "infinity" if default == "max" else default
    text = default if above is None else "max" if above == "infinity" else str(above)
    parent = unit("a.slice", "/a.slice", {name: "infinity" if text == "max" else text}, **{file: text})
    child = unit("a-b.slice", "/a.slice/a-b.slice", {name: shown}, **{file: default})
    held = None if above == "infinity" else above
    cgroups = {one["path"]: one for one in (cgroup("/"), cgroup("/a.slice", **{key: held}), cgroup("/a.slice/a-b.slice", usage=usage))}
    node = present({}, parent, child, cgroups=cgroups, recursive_protection=recursive)
    wishes = [wish(name, wanted, "a-b.slice"), *([wish(name, wanted_above, "a.slice")] if wanted_above else [])]
    plan = _plan.plan(folded(*wishes), node, History(), OPTIONS._replace(allow=("limit_below_usage", "high_below_working_set")), Files({}))
    assert next(row for row in plan.rows if row.subject == "a-b.slice").effective == effective


def test_protection_as_large_as_the_limit_and_oomd_without_a_daemon_are_warned_of() -> None:
    low, limit = wish("MemoryMin", GIB, "batch.slice"), wish("MemoryMax", GIB, "batch.slice")
    batch = unit("batch.slice", "/batch.slice", {"MemoryMin": "0", "MemoryMax": "infinity", "ManagedOOMSwap": "auto"}, min="0", max="max")
    rows = _plan.plan(folded(low, limit, wish("ManagedOOMSwap", "kill", "batch.slice")), present({}, batch), History(), OPTIONS, Files({})).rows
    assert {row.name: row.reason.partition(":")[0] for row in rows} == {
        "MemoryMin": "MemoryMin (1.00 GiB) is not below MemoryMax (1.00 GiB)",
        "MemoryMax": "",
        "ManagedOOMSwap": "without effect while systemd-oomd does not run",
    }
    node = present({}, batch, persisted=PERSISTED._replace(writers=["systemd-oomd"]))
    assert _plan.plan(folded(wish("ManagedOOMSwap", "kill", "batch.slice")), node, History(), OPTIONS, Files({})).rows[0].reason == ""
