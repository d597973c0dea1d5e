# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The containers' part of a plan: what cgroups have, what they shall have, what stands because of us."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _plan_memcgs
from ansible_collections.memqos.fleet.plugins.module_utils._memcg_rows import Subject
from ansible_collections.memqos.fleet.plugins.module_utils._plan_memcgs import Found, Ground, MemcgPart, Value
from ansible_collections.memqos.fleet.plugins.module_utils._steps import Memcg, MemcgsStep

MIB = 1 << 20
POD = "/sys/fs/cgroup/kubepods/pod1"
MAIN = f"{POD}/main"
KUBELET = "the kubelet (MemoryQoS, /var/lib/kubelet/config.yaml)"


def plan(
    wanted: dict[str, dict[str, str]], found: dict[str, Found], *, origin: t.Sequence[Memcg] = (), refuse: bool = False, none: t.Any = None, **ground: t.Any
) -> MemcgPart:
    values = {path: {file: Value(text, "profile: it") for file, text in files.items()} for path, files in wanted.items()}
    ground = {"subjects": {}, "rivals": {}, "roots": ("/sys/fs/cgroup/kubepods",), **ground}
    return _plan_memcgs.plan_memcgs(values, none or {}, Ground(found, page_size=4096, origin=origin, **ground), refuse=refuse)


def one(file: str, now: str | None, wanted: str, **more: t.Any) -> dict[str, t.Any]:
    """The cell of a cgroup that has one file."""
    found = Found(7, {} if now is None else {file: now}, **{key: more.pop(key) for key in ("usage", "inactive_file") if key in more})
    return t.cast("dict[str, t.Any]", plan({MAIN: {file: wanted}}, {MAIN: found}, **more).rows[0]["values"][file])


def changes(made: MemcgPart) -> dict[str, tuple[tuple[str, str, str], ...]]:
    return {memcg.path: memcg.values for memcg in made.step.memcgs} if made.step else {}


# One value


@pytest.mark.parametrize(
    ("file", "now", "wanted", "status"),
    [
        ("memory.low", "0", "4096", "would_change"), ("memory.low", "4096", "4096", "ok"), ("memory.low", "4096", "4097", "ok"),
        ("memory.low", None, "4096", "unsupported"), ("memory.low", None, "0", "ok"), ("memory.high", None, "max", "ok"),
        ("memory.high", "8192", "4096", "would_change"), ("memory.soft_limit_in_bytes", "9223372036854771712", "4096", "would_change"),
    ],
)  # fmt: skip
def test_a_value(file: str, now: str | None, wanted: str, status: str) -> None:
    cell = one(file, now, wanted)
    assert (cell["before"], cell["wanted"], cell["status"], cell["origin"]) == (now, wanted, status, "profile: it")
    assert cell["equivalence"] == ("none" if status == "unsupported" else "native")


def test_a_file_that_this_kernel_lacks_is_said() -> None:
    assert one("memory.priority", None, "6")["reason"] == "this kernel has no memory.priority"
    assert one("memory.priority", None, "0")["reason"] == "off, as all is where this kernel does not have it"


def test_a_step_has_what_changes_with_inode_and_unit() -> None:
    found = {POD: Found(5, {"memory.low": "0"}), MAIN: Found(7, {"memory.low": "0", "memory.high": "max", "memory.oom.group": "1"})}
    subjects = {MAIN: Subject("shop/web/main", "container", "LS", "cri-1.scope", 1, 2)}
    made = plan({POD: {"memory.low": "0"}, MAIN: {"memory.low": "8192", "memory.high": "65536", "memory.oom.group": "1"}}, found, subjects=subjects)
    assert made.step == MemcgsStep((Memcg(MAIN, 7, (("memory.low", "0", "8192"), ("memory.high", "max", "65536")), "cri-1.scope"),))
    pod, main = made.rows
    assert (pod["name"], pod["level"], pod["class"]) == ("kubepods/pod1", "", "")
    assert {key: main[key] for key in ("path", "name", "level", "class", "request", "limit")} == {
        "path": MAIN, "name": "shop/web/main", "level": "container", "class": "LS", "request": 1, "limit": 2,
    }  # fmt: skip


def test_nothing_to_do() -> None:
    made = plan({MAIN: {"memory.low": "4096"}}, {MAIN: Found(7, {"memory.low": "4096"})})
    assert made.step is None and [row["values"]["memory.low"]["status"] for row in made.rows] == ["ok"]
    empty = plan({}, {}, refuse=True)
    assert (empty.step, list(empty.rows), empty.blocked) == (None, [], "")


def test_what_has_ended_since_is_left_out() -> None:
    made = plan({MAIN: {"memory.low": "4096"}}, {})
    assert (made.step, list(made.rows)) == (None, [])


def test_what_cannot_be_had_is_told() -> None:
    made = plan({MAIN: {}}, {MAIN: Found(7, {})}, none={MAIN: [("swap", "no swap"), ("throttle", "no limit")]})
    assert made.rows[0]["none"] == [{"intent": "swap", "reason": "no swap"}, {"intent": "throttle", "reason": "no limit"}]


# memory.high


@pytest.mark.parametrize(
    ("now", "wanted", "usage", "idle", "status"),
    [
        ("max", str(90 * MIB), 100 * MIB, 0, "would_change"),  # 90 %
        ("max", str(90 * MIB - 1), 100 * MIB, 0, "deferred"),
        ("max", str(45 * MIB), 100 * MIB, 50 * MIB, "would_change"),  # what is idle can be dropped
        ("max", str(45 * MIB - 1), 100 * MIB, 50 * MIB, "deferred"),
        (str(10 * MIB), str(20 * MIB), 100 * MIB, 0, "would_change"),  # it grows
        (str(30 * MIB), str(20 * MIB), 100 * MIB, 0, "deferred"),
        (str(10 * MIB), "max", 100 * MIB, 0, "would_change"),
        ("max", "4096", 10 * MIB, 20 * MIB, "would_change"),
    ],
)
def test_memory_high_is_never_set_far_below_what_is_in_use(now: str, wanted: str, usage: int, idle: int, status: str) -> None:
    cell = one("memory.high", now, wanted, usage=usage, inactive_file=idle)
    assert cell["status"] == status
    if status == "deferred":
        assert "is below 90 % of its working set of" in cell["reason"]


def test_what_is_deferred_stops_nothing_else() -> None:
    found = {MAIN: Found(7, {"memory.high": "max", "memory.low": "0"}, 100 * MIB)}
    assert changes(plan({MAIN: {"memory.high": "4096", "memory.low": "4096"}}, found)) == {MAIN: (("memory.low", "0", "4096"),)}


# Others who write


@pytest.mark.parametrize("refuse", [False, True])
def test_a_file_that_somebody_else_writes(refuse: bool) -> None:
    found = {MAIN: Found(7, {"memory.high": "max", "memory.low": "0", "memory.wmark_ratio": "0"})}
    wanted = {MAIN: {"memory.high": "65536", "memory.low": "0", "memory.wmark_ratio": "95"}}
    made = plan(wanted, found, refuse=refuse, rivals={"memory.high": KUBELET, "memory.low": KUBELET})
    cells = made.rows[0]["values"]
    assert {file: cell["status"] for file, cell in cells.items()} == {"memory.high": "conflict", "memory.low": "ok", "memory.wmark_ratio": "would_change"}
    said = f"memory.high: {KUBELET} writes it too, and nothing was written: one of both has to leave it"
    assert cells["memory.high"]["reason"] == said.partition(": ")[2]
    if refuse:
        assert (made.step, made.blocked) == (None, said)
    else:
        assert (changes(made), made.blocked) == ({MAIN: (("memory.wmark_ratio", "0", "95"),)}, "")


def test_a_conflict_keeps_what_a_near_value_had_to_say() -> None:
    wanted = {MAIN: {"memory.high": Value("4096", "near: background_reclaim", "near", "a share")}}
    made = _plan_memcgs.plan_memcgs(
        wanted, {}, Ground({MAIN: Found(7, {"memory.high": "max"})}, {}, {"memory.high": "koordlet"}, 4096, roots=[POD]), refuse=False
    )
    assert made.rows[0]["values"]["memory.high"]["reason"].startswith("a share; koordlet writes it too")


# What the kernel shows otherwise


@pytest.mark.parametrize(
    ("pod", "now", "status"),
    [
        ("0", "-25", "ok"),
        ("0", "50", "would_change"),
        ("50", "50", "ok"),  # the pod's, which counts
        ("-10", "-10", "ok"),
        ("-10", "-25", "ok"),  # as it was written, whatever comes of it
    ],
)
def test_an_inherited_min_watermark_is_what_it_reads(pod: str, now: str, status: str) -> None:
    file = "memory.wmark_min_adj"
    found = {POD: Found(5, {file: pod}), MAIN: Found(7, {file: now})}
    made = plan({POD: {file: pod}, MAIN: {file: "-25"}}, found)
    assert made.rows[1]["values"][file]["status"] == status
    assert plan({MAIN: {file: "-25"}}, found).rows[0]["values"][file]["status"] == status  # of a pod that nobody plans


# What we did before


OURS = Memcg(MAIN, 7, (("memory.low", "0", "8192"), ("memory.high", "max", "65536")), "cri-1.scope")


def test_what_nobody_wants_any_more_goes_back() -> None:
    found = {MAIN: Found(7, {"memory.low": "8192", "memory.high": "65536"})}
    made = plan({}, found, origin=[OURS])
    assert made.step == MemcgsStep((OURS._replace(values=(("memory.low", "8192", "0"), ("memory.high", "65536", "max"))),))
    cell = made.rows[0]["values"]["memory.low"]
    assert (cell["before"], cell["wanted"], cell["origin"], cell["reason"]) == ("8192", "0", "", "nobody wants it any more: back to what stood before")
    half = plan({MAIN: {"memory.low": "8192"}}, found, origin=[OURS])
    assert changes(half) == {MAIN: (("memory.high", "65536", "max"),)}


def test_what_others_changed_since_stays() -> None:
    made = plan({}, {MAIN: Found(7, {"memory.low": "12288", "memory.high": "max"})}, origin=[OURS])
    assert made.step is None
    cells = made.rows[0]["values"]
    assert list(cells) == ["memory.low"] and cells["memory.low"]["status"] == "deferred" and cells["memory.low"]["wanted"] is None


@pytest.mark.parametrize(("now", "above", "goes"), [("-25", "0", True), ("50", "50", True), ("10", "0", False), ("10", "-10", False)])
def test_what_reads_otherwise_because_of_one_above_goes_back_and_what_others_wrote_stays(now: str, above: str, goes: bool) -> None:
    file = "memory.wmark_min_adj"
    ours = Memcg(MAIN, 7, ((file, "0", "-25"),))
    made = plan({}, {POD: Found(5, {file: above}), MAIN: Found(7, {file: now})}, origin=[ours])
    assert changes(made) == ({MAIN: ((file, now, "0"),)} if goes else {})
    assert made.rows[0]["values"][file]["status"] == ("would_change" if goes else "deferred")


def test_what_new_cgroups_below_begin_with_is_told() -> None:
    file = "memory.wmark_ratio"
    cell = plan({}, {POD: Found(5, {file: "95"})}, origin=[Memcg(POD, 5, ((file, "0", "95"),))]).rows[0]["values"][file]
    assert cell["reason"].endswith("; cgroups that were made below it meanwhile keep it, as they began with it")
    back = [*_plan_memcgs.returned([MemcgsStep((Memcg(POD, 5, ((file, "95", "0"), ("memory.low", "8192", "0"))),))])]
    assert {name: bool(one["reason"]) for name, one in back[0]["values"].items()} == {file: True, "memory.low": False}


# What counts of it


@pytest.mark.parametrize(
    ("pod", "status", "reason"),
    [
        ("8192", "would_change", ""),
        ("4096", "would_change", "no more than 4.00 KiB of it counts: kubepods/pod1 has no more"),
        ("0", "would_change", "nothing of it counts: kubepods/pod1 has none"),
    ],
)
def test_protection_that_one_above_bounds_is_told(pod: str, status: str, reason: str) -> None:
    found = {POD: Found(5, {"memory.low": pod}), MAIN: Found(7, {"memory.low": "0"})}
    cell = plan({MAIN: {"memory.low": "8192"}}, found).rows[0]["values"]["memory.low"]
    assert (cell["status"], cell["reason"]) == (status, reason)
    # What the plan gives to the one above counts, and what a slice of a profile does.
    assert plan({MAIN: {"memory.low": "8192"}, POD: {"memory.low": "8192"}}, found).rows[0]["values"]["memory.low"]["reason"] == ""
    assert plan({MAIN: {"memory.low": "8192"}}, found, taken={f"{POD}/memory.low": 8192}).rows[0]["values"]["memory.low"]["reason"] == ""
    assert plan({MAIN: {"memory.low": "8192"}}, found, taken={f"{POD}/memory.low": None}).rows[0]["values"]["memory.low"]["reason"] == ""


def test_a_page_cache_limit_above_the_limit_is_no_change_and_told() -> None:
    file = "memory.pagecache_limit.size"
    found = {MAIN: Found(7, {file: "65536", "memory.max": "65536"})}
    cell = plan({MAIN: {file: "131073"}}, found).rows[0]["values"][file]
    assert (cell["status"], cell["reason"]) == ("ok", "it reads 65536: no more than the limit")
    # A limit that was lowered since leaves what stands.
    stands = plan({MAIN: {file: "131072"}}, {MAIN: Found(7, {file: "131072", "memory.max": "65536"})})
    assert stands.step is None and stands.rows[0]["values"][file]["status"] == "ok"
    assert plan({MAIN: {file: "65537"}}, {MAIN: Found(7, {file: "65536", "memory.max": "max"})}).rows[0]["values"][file]["reason"] == ""


@pytest.mark.parametrize(("text", "reason"), [("-1", "without effect"), ("0", "")])
def test_what_the_hosts_switch_keeps_from_acting_is_told(text: str, reason: str) -> None:
    made = plan({MAIN: {"memory.qos_level": text}}, {MAIN: Found(7, {"memory.qos_level": "0"})}, off={"memory.qos_level": "without effect"})
    assert made.rows[0]["values"]["memory.qos_level"]["reason"] == reason


def test_others_write_below_the_roots_of_pods_only() -> None:
    found = {"/sys/fs/cgroup/system.slice/redis.service": Found(7, {"memory.low": "0"}), POD: Found(8, {"memory.low": "0"})}
    made = plan({path: {"memory.low": "4096"} for path in found}, found, rivals={"memory.low": KUBELET}, refuse=False)
    assert [row["values"]["memory.low"]["status"] for row in made.rows] == ["would_change", "conflict"]


@pytest.mark.parametrize("found", [{}, {MAIN: Found(8, {"memory.low": "8192", "memory.high": "65536"})}])
def test_of_a_cgroup_that_has_gone_the_origin_forgets(found: dict[str, Found]) -> None:
    """Also where another has its path, which we never touched. By itself that is nothing to do."""
    assert plan({}, found, origin=[OURS]).step is None
    other = f"{POD}/other"
    made = plan({other: {"memory.low": "4096"}}, {**found, other: Found(9, {"memory.low": "0"})}, origin=[OURS])
    assert made.step == MemcgsStep((Memcg(other, 9, (("memory.low", "0", "4096"),)),), (MAIN,))


def test_a_file_that_has_gone_goes_nowhere() -> None:
    assert plan({}, {MAIN: Found(7, {"memory.low": "8192"})}, origin=[OURS]).step == MemcgsStep((OURS._replace(values=(("memory.low", "8192", "0"),)),))


def test_rows_of_a_rollback() -> None:
    step = MemcgsStep((Memcg(MAIN, 7, (("memory.low", "8192", "0"), ("memory.high", "max", "max"))), Memcg(POD, 5, (("memory.low", "0", "0"),))))
    (row,) = _plan_memcgs.returned([step])
    assert (row["path"], row["name"], list(row["values"])) == (MAIN, "kubepods/pod1/main", ["memory.low"])
    assert row["values"]["memory.low"] == {"before": "8192", "wanted": "0", "origin": "", "equivalence": "native", "reason": "", "status": "would_change"}
