# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units' part of a plan: drop-ins, properties and direct writes; the order of a tree; who else sets a unit."""

from __future__ import annotations

import itertools
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _persist, _plan_units
from ansible_collections.memqos.fleet.plugins.module_utils._plan_units import UnitPart
from ansible_collections.memqos.fleet.plugins.module_utils._present import Present, Unit
from ansible_collections.memqos.fleet.plugins.module_utils._steps import PropertyStep, WriteStep
from ansible_collections.memqos.fleet.plugins.module_utils._wanted import Wanted
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.made_present import OPTIONS, PERSISTED, present, unit, wish

MIB, GIB = 1 << 20, 1 << 30
BATCH = unit("batch.slice", "/batch.slice", {"MemoryHigh": "infinity", "MemoryLow": "0", "MemoryMin": "0"}, high="max", low="0", min="0")
NIGHT = unit("batch-night.slice", "/batch.slice/batch-night.slice", {"MemoryHigh": "infinity", "MemoryLow": "0"}, high="max", low="0")
APPS = [unit(f"app@{name}.service", f"/app@{name}.service", {"MemoryHigh": "infinity"}, high="max") for name in "12"]


def made(node: Present, *wishes: Wanted, policy: t.Any = "report") -> UnitPart:
    return _plan_units.plan_units(wishes, node, OPTIONS._replace(on_conflict=policy))


def high(value: t.Any, subject: str = "batch.slice") -> Wanted:
    return wish("MemoryHigh", value, subject)


def memcg(cgroup: str, file: str, before: t.Any, after: t.Any) -> WriteStep:
    return WriteStep(file, "memcg", cgroup.rpartition("/")[2], f"/sys/fs/cgroup{cgroup}/{file}", str(before), str(after), 7)


def properties(cgroup: str, *files: WriteStep, **values: t.Tuple[str, str]) -> PropertyStep:
    name = cgroup.rpartition("/")[2]
    return PropertyStep(name, tuple((key, pair[1]) for key, pair in values.items()), tuple((key, pair[0]) for key, pair in values.items()), files)


def test_a_property_is_live_by_systemd_read_back_from_its_file_and_lasts_by_a_drop_in() -> None:
    part = made(present({}, BATCH), high(GIB))
    (step,) = part.properties
    assert step == properties("/batch.slice", memcg("/batch.slice", "memory.high", "max", GIB), MemoryHigh=("infinity", str(GIB)))
    assert part.drop_ins == {_persist.drop_in_path("batch.slice"): f"{_persist.HEADER}\n[Slice]\nMemoryHigh={GIB}\n"}
    assert (part.writes, part.late, part.overruled, part.reasserted) == ((), (), (), ())


def test_what_is_so_already_needs_no_step() -> None:
    node = present({}, unit("batch.slice", "/batch.slice", {"MemoryHigh": str(GIB)}, high=str(GIB)))
    part = made(node, high(GIB + 100))
    assert (part.properties, [row.status for row in part.rows]) == ((), ["ok"])
    # Systemd thinks otherwise than the kernel, or the kernel than systemd.
    for shown, file in (("infinity", str(GIB)), (str(GIB), "max")):
        node = present({}, unit("batch.slice", "/batch.slice", {"MemoryHigh": shown}, high=file))
        assert len(made(node, high(GIB)).properties) == 1


def test_of_a_unit_that_does_not_run_only_the_drop_in_is_written() -> None:
    part = made(present({}, unit("idle.service", shown={"MemoryHigh": "infinity"})), high(GIB, "idle.service"))
    assert (part.properties, list(part.drop_ins)) == ((), [_persist.drop_in_path("idle.service")])
    assert [(row.status, row.reason, row.live_before) for row in part.rows] == [("would_change", "idle.service does not run: it holds when it starts", None)]


def test_what_comes_with_the_next_start_is_no_step() -> None:
    redis = unit("redis.service", "/redis.service", {"OOMScoreAdjust": "0", "OOMPolicy": "stop", "MemoryPressureWatch": "auto"}, **{"oom.group": "0"})
    part = made(present({}, redis), wish("OOMScoreAdjust", -5, "redis.service"), wish("OOMPolicy", "kill", "redis.service"))
    assert (part.properties, part.writes) == ((), ())
    assert (part.drop_ins[_persist.drop_in_path("redis.service")] or "").splitlines()[2:] == ["OOMPolicy=kill", "OOMScoreAdjust=-5"]


OLDER = "processes that run keep theirs; it holds from the next start on"
UNSEEN = "processes that started before it was written down keep theirs"


@pytest.mark.parametrize(
    ("knob", "value", "shown", "scores", "files", "reason"),
    [
        # systemd knows it, and nobody has started since.
        ("OOMScoreAdjust", -500, "-500", {"0"}, {}, OLDER),
        ("OOMScoreAdjust", -500, "-500", {"-500"}, {}, ""),
        # Children of the main process may have their own.
        ("OOMScoreAdjust", -500, "-500", {"-500", "0"}, {}, ""),
        ("OOMScoreAdjust", -500, "-500", set(), {}, UNSEEN),
        ("OOMPolicy", "kill", "kill", set(), {"oom.group": "0"}, OLDER),
        ("OOMPolicy", "kill", "kill", set(), {"oom.group": "1"}, ""),
        ("OOMPolicy", "continue", "continue", set(), {"oom.group": "0"}, ""),
        ("MemoryPressureWatch", "off", "off", set(), {}, UNSEEN),
    ],
)
def test_what_older_processes_have_is_said_until_they_are_gone(
    knob: str, value: t.Any, shown: str, scores: t.Set[str], files: t.Dict[str, str], reason: str
) -> None:
    redis = unit("redis.service", "/redis.service", {knob: shown}, **files)._replace(scores=frozenset(scores))
    (row,) = made(present({}, redis), wish(knob, value, "redis.service")).rows
    assert row.reason == reason


def test_files_that_systemd_does_not_own_are_written_directly_and_by_the_late_unit() -> None:
    batch = unit("batch.slice", "/batch.slice", high="max", wmark_ratio="0")
    part = made(present({}, batch), wish("memory.wmark_ratio", 95, "batch.slice"), high(GIB))
    assert part.writes == (memcg("/batch.slice", "memory.wmark_ratio", 0, 95),)
    assert part.late == (("/sys/fs/cgroup/batch.slice/memory.wmark_ratio", "95"),)
    assert "wmark" not in (part.drop_ins[_persist.drop_in_path("batch.slice")] or "")
    # It holds already: nothing to write, but the line stays.
    batch = unit("batch.slice", "/batch.slice", wmark_ratio="95")
    part = made(present({}, batch), wish("memory.wmark_ratio", 95, "batch.slice"))
    assert (part.writes, len(part.late)) == ((), 1)


V1 = "/sys/fs/cgroup/memory"
LATE: t.List[t.Tuple[str, t.List[Unit], t.List[str]]] = [
    # subject, its units, where the late unit finds memory.swappiness
    ("batch.slice", [unit("batch.slice")], ["/batch.slice"]),
    ("a-b.slice", [unit("a-b.slice")], ["/a.slice/a-b.slice"]),
    ("redis.service", [unit("redis-server.service", home="cache-x.slice")], ["/cache.slice/cache-x.slice/redis-server.service"]),
    ("redis.service", [unit("redis.service", "/elsewhere/redis.service")], ["/elsewhere/redis.service"]),
    (r"system-a\x2db.slice", [unit(r"system-a\x2db.slice")], [r"/system.slice/system-a\\x2db.slice"]),
    ("user-.slice", [], ["/user.slice/user-*.slice"]),
    ("user-.slice", [unit("user-1000.slice", "/user.slice/user-1000.slice", swappiness="60")], ["/user.slice/user-*.slice"]),
    ("a-.slice", [unit("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice")], ["/a.slice/a-b.slice/a-*.slice", "/a.slice/a-*.slice"]),
    ("app@.service", [unit("app@1.service", home="system-app.slice")], ["/system.slice/system-app.slice/app@*.service"]),
    # Nobody knows the slice of a service that is not there.
    ("app@.service", [], []),
    ("x.service", [unit("x.service")], []),
]


@pytest.mark.parametrize("subject, units, places", LATE)
def test_the_late_unit_finds_what_does_not_run_now(subject: str, units: t.List[Unit], places: t.List[str]) -> None:
    node = present({}, version=1)._replace(units={subject: units})
    part = made(node, wish("memory.swappiness", 10, subject))
    assert part.late == tuple((f"{V1}{place}/memory.swappiness", "10") for place in places)
    (row,) = part.rows
    assert (row.persisted_after, row.winner.path if row.winner else "") == (("10", _persist.LATE_TMPFILES) if places else (None, ""))
    if not units or not units[0].files:
        assert row.status == ("would_change" if places else "ok")
        assert row.reason.endswith("by the next run" if places else "nor is known where it will be: the next run sets it")
        # A line that stands there needs nothing.
        ours = {_persist.LATE_TMPFILES: _persist.tmpfiles_text(part.late)}
        (again,) = _plan_units.plan_units([wish("memory.swappiness", 10, subject)], node, OPTIONS, ours).rows
        assert (again.status, again.persisted_before) == ("ok", "10" if places else None)


def test_where_instances_were_the_late_unit_looks_again() -> None:
    node, wanted = present({}, version=1)._replace(units={"app@.service": []}), wish("memory.swappiness", 10, "app@.service")
    before = [(f"{V1}/x.slice/app@*.service/memory.swappiness", "20"), (f"{V1}/x.slice/app@*.service/memory.oom_control", "1")]
    part = _plan_units.plan_units([wanted], node, OPTIONS, {_persist.LATE_TMPFILES: _persist.tmpfiles_text(before)})
    assert part.late == ((before[0][0], "10"),)


def test_the_late_unit_writes_globs_before_what_is_one_of_them() -> None:
    units = [unit(f"user-{name}.slice", f"/user.slice/user-{name}.slice", swappiness="60") for name in ("1000", "1001")]
    node = present({}, version=1)._replace(units={"user-.slice": units, "user-1000.slice": units[:1], "a.slice": [unit("a.slice")]})
    part = made(node, *(wish("memory.swappiness", value, subject) for subject, value in (("user-1000.slice", 20), ("user-.slice", 10), ("a.slice", 30))))
    assert [(path[len(V1) :].split("/")[-2], text) for path, text in part.late] == [("user-*.slice", "10"), ("a.slice", "30"), ("user-1000.slice", "20")]


@pytest.mark.parametrize("name, when", [("batch.slice", "lost when it stops: the next boot or run sets it again"), ("system.slice", "")])
def test_what_is_written_directly_is_lost_with_its_cgroup(name: str, when: str) -> None:
    (row,) = made(present({}, unit(name, f"/{name}", wmark_ratio="95")), wish("memory.wmark_ratio", 95, name)).rows
    assert (row.status, row.reason) == ("ok", when)


@pytest.mark.parametrize("files, status", [({"high": "max", "low": "0"}, "would_change"), ({"low": "0"}, "unsupported")])
def test_on_v1_a_vendors_file_is_written_directly(files: t.Dict[str, str], status: str) -> None:
    part = made(present({}, unit("batch.slice", "/batch.slice", {"MemoryHigh": "infinity"}, **files), version=1), high(GIB))
    assert [row.status for row in part.rows] == [status]
    assert (part.properties, [one.after for one in part.writes]) == ((), [str(GIB)] if status == "would_change" else [])
    # Systemd would not read it there.
    assert part.drop_ins == {_persist.drop_in_path("batch.slice"): None}


def test_on_v1_no_limit_is_another_word() -> None:
    batch = unit("batch.slice", "/batch.slice", {"MemoryMax": "5"}, max="4096")
    (step,) = made(present({}, batch, version=1), wish("MemoryMax", "infinity", "batch.slice")).properties
    assert (step.properties, step.files[0].path, step.files[0].after) == (
        (("MemoryMax", "infinity"),), "/sys/fs/cgroup/memory/batch.slice/memory.limit_in_bytes", "-1",
    )  # fmt: skip


LACKING: t.List[t.Tuple[t.Dict[str, t.Any], str, str, str]] = [
    # the node, subject, property, why not
    ({"no_units": "systemd does not answer (x)"}, "batch.slice", "MemoryHigh", "systemd does not answer (x)"),
    ({}, "batch.slice", "OOMScoreAdjust", "a slice has no OOMScoreAdjust: it belongs to service"),
    ({"facts": {"systemd": 245}}, "batch.slice", "ManagedOOMSwap", "systemd 245 has no ManagedOOMSwap: 247 is the first"),
    ({"version": 0}, "batch.slice", "MemoryHigh", "this node has no memory controller, so no memory.high"),
    ({"version": 1}, "batch.slice", "MemoryZSwapMax", "cgroup v1 has no memory.zswap.max"),
    ({}, "batch.slice", "memory.swappiness", "cgroup v2 has no memory.swappiness"),
    ({}, "batch.slice", "MemoryZSwapMax", "this kernel has no memory.zswap.max (mainline has it since 5.19)"),
    (
        {},
        "batch.slice",
        "MemorySwapMax",
        "this kernel has no memory.swap.max (mainline has it since 4.5, while swap is accounted: not with swapaccount=0 on its command line)",
    ),
    ({}, "nosuch.service", "MemoryHigh", "this node has no unit nosuch.service"),
    ({}, "nosuch.scope", "MemoryHigh", "this node has no unit nosuch.scope"),
]


@pytest.mark.parametrize("more, subject, name, why", LACKING)
def test_why_a_node_cannot(more: t.Dict[str, t.Any], subject: str, name: str, why: str) -> None:
    value = {"OOMScoreAdjust": 1, "ManagedOOMSwap": "kill"}.get(name, 5)
    part = made(present({}, BATCH, **more), wish(name, value, subject))
    assert [(row.status, row.equivalence, row.reason) for row in part.rows] == [("unsupported", "none", why)]
    assert (part.properties, part.writes, set(part.drop_ins.values())) == ((), (), {None})


def test_a_property_without_a_file_needs_no_memory_controller() -> None:
    batch = unit("batch.slice", "/batch.slice", {"ManagedOOMSwap": "auto"})
    assert [row.status for row in made(present({}, batch, version=0), wish("ManagedOOMSwap", "kill", "batch.slice")).rows] == ["would_change"]


def test_what_systemd_does_not_show_of_a_unit_that_it_has_loaded_it_does_not_have() -> None:
    batch = unit("batch.slice", "/batch.slice", {"MemoryHigh": "infinity"}, high="max", low="0")
    for name, value in (("MemoryLow", 5), ("ManagedOOMSwap", "kill")):
        (row,) = made(present({}, batch), wish(name, value, "batch.slice")).rows
        assert (row.status, row.reason) == ("unsupported", f"systemd 257 shows no {name} of batch.slice: it does not have it")
    # What it owns and what the kernel has are two things.
    part = made(present({}, batch), wish("memory.swap.high", 5, "batch.slice"), high(GIB))
    assert {row.name: row.status for row in part.rows} == {"memory.swap.high": "unsupported", "MemoryHigh": "would_change"}


def test_a_masked_unit_is_told_as_such() -> None:
    masked = unit("redis.service", "", {"MemoryHigh": "infinity"})
    node = present({}, masked._replace(state=masked.state._replace(loaded=False, masked=True)))
    (row,) = made(node, high(GIB, "redis.service")).rows
    assert (row.status, row.reason) == ("unsupported", "redis.service is masked: 'systemctl unmask' comes first")


def test_two_names_of_one_unit_are_told() -> None:
    redis = unit("redis-server.service", "/redis", {"MemoryHigh": "infinity"}, high="max")
    node = present({}, redis)._replace(units={"redis.service": [redis], "redis-server.service": [redis]})
    part = made(node, high(GIB, "redis.service"), high(2 * GIB, "redis-server.service"))
    assert {row.subject: (row.status, row.reason) for row in part.rows} == {
        "redis.service": ("unsupported", "it is redis-server.service, for which the profiles have values of their own"),
        "redis-server.service": ("would_change", ""),
    }


def test_each_instance_has_a_row_and_a_step_and_its_template_a_drop_in() -> None:
    node = present({})._replace(units={"app@.service": APPS, "app@2.service": APPS[1:]})
    part = made(node, high(GIB, "app@.service"), wish("MemoryLow", 5 * MIB, "app@2.service"))
    assert [(row.subject, row.name) for row in part.rows] == [("app@1.service", "MemoryHigh"), ("app@2.service", "MemoryHigh"), ("app@2.service", "MemoryLow")]
    winners = [row.winner.path for row in part.rows if row.winner and row.name == "MemoryHigh"]
    assert winners == [_persist.drop_in_path("app@.service"), _persist.drop_in_path("app@2.service")]
    assert (part.drop_ins[winners[1]] or "").splitlines()[2:] == [f"MemoryHigh={GIB}"]  # MemoryLow: this kernel has no such file
    assert [step.unit for step in part.properties] == ["app@1.service", "app@2.service"]


# Who else


def drop_in(path: str, **lines: str) -> t.Any:
    return {"path": path, "unit": path.rpartition("/")[0].rpartition("/")[2][:-2], "lines": lines}


OTHERS: t.List[t.Tuple[t.List[t.Any], str, t.Optional[str]]] = [
    # drop-ins of others; who decides, with another value
    ([], _persist.drop_in_path("batch.slice"), None),
    ([drop_in("/etc/systemd/system/batch.slice.d/50-x.conf", MemoryHigh="3G")], _persist.drop_in_path("batch.slice"), None),
    ([drop_in("/etc/systemd/system.control/batch.slice.d/50-MemoryHigh.conf", MemoryHigh="3G")], _persist.drop_in_path("batch.slice"), None),
    ([drop_in("/run/systemd/system.control/batch.slice.d/zzz.conf", MemoryHigh="3G")], _persist.drop_in_path("batch.slice"), None),
    ([drop_in("/usr/lib/systemd/system/batch.slice.d/zzz.conf", MemoryHigh="1G")], _persist.drop_in_path("batch.slice"), None),
    ([drop_in("/usr/lib/systemd/system/batch.slice.d/zzz.conf", MemoryLow="3G")], _persist.drop_in_path("batch.slice"), None),
    ([drop_in("/usr/lib/systemd/system/batch.slice.d/zzz.conf", MemoryHigh="3G")], "/usr/lib/systemd/system/batch.slice.d/zzz.conf", "3G"),
    ([drop_in("/etc/systemd/system/slice.d/zzz.conf", MemoryHigh="3G")], "/etc/systemd/system/slice.d/zzz.conf", "3G"),
]


@pytest.mark.parametrize("drop_ins, winner, value", OTHERS)
def test_who_decides_at_the_next_boot(drop_ins: t.List[t.Any], winner: str, value: t.Optional[str]) -> None:
    part = made(present({}, BATCH, drop_ins=drop_ins), high(GIB))
    (row,) = part.rows
    assert row.winner is not None
    assert (row.winner.path, row.persisted_after) == (winner, value or str(GIB))
    # Whom a reload gives another value, is set after it.
    steps = [(step.unit, step.properties) for step in part.properties], [(step.unit, step.properties) for step in part.reasserted]
    wanted = [("batch.slice", (("MemoryHigh", str(GIB)),))]
    assert steps == (([], wanted) if value else (wanted, []))
    assert part.overruled == (part.reasserted if value else ())


def test_drop_ins_of_another_name_decide_too() -> None:
    redis = unit("redis-server.service", "/redis", {"MemoryHigh": "infinity"}, high="max")
    redis = redis._replace(state=redis.state._replace(names=("redis.service", "redis-server.service")))
    theirs = drop_in("/etc/systemd/system/redis.service.d/zzz.conf", MemoryHigh="3G")
    part = made(present({}, redis, drop_ins=[theirs]), high(GIB, "redis-server.service"))
    (row,) = part.rows
    assert row.winner is not None and (row.winner.path, row.persisted_after, row.persisted_before) == (theirs["path"], "3G", "3G")
    assert [step.unit for step in part.reasserted] == ["redis-server.service"]


def test_a_unit_under_a_later_drop_in_is_set_again_after_any_reload() -> None:
    batch = unit("batch.slice", "/batch.slice", {"MemoryHigh": str(GIB)}, high=str(GIB))
    part = made(present({}, batch, drop_ins=[drop_in("/etc/systemd/system/batch.slice.d/zzz.conf", MemoryHigh="3G")]), high(GIB))
    assert (part.properties, part.overruled, [step.unit for step in part.reasserted]) == ((), (), ["batch.slice"])


@pytest.mark.parametrize("policy, status", [("report", "would_change"), ("defer", "deferred"), ("refuse", "conflict"), ("take", "would_change")])
def test_policies(policy: str, status: str) -> None:
    node = present({}, BATCH, drop_ins=[drop_in("/etc/systemd/system/batch.slice.d/zzz.conf", MemoryHigh="3G")])
    part = made(node, high(GIB), wish("MemoryLow", 5 * MIB, "batch.slice"), policy=policy)
    assert [row.status for row in part.rows] == [status, "would_change"]
    names = [line.partition("=")[0] for line in (part.drop_ins[_persist.drop_in_path("batch.slice")] or "").splitlines()[2:]]
    assert names == (["MemoryHigh", "MemoryLow"] if status == "would_change" else ["MemoryLow"])


def test_what_is_left_alone_keeps_our_line() -> None:
    """docs/tuning.md: in the kernel and in our files."""
    pods = unit("kubepods.slice", "/kubepods.slice", {"MemoryHigh": "infinity"}, high="max", wmark_ratio="0")
    node = present({}, pods, persisted=PERSISTED._replace(writers=["koordlet"]))
    path, late = _persist.drop_in_path("kubepods.slice"), ("/sys/fs/cgroup/kubepods.slice/memory.wmark_ratio", "80")
    ours = {path: _persist.drop_in_text("kubepods.slice", {"MemoryHigh": "5", "MemoryLow": "7"}), _persist.LATE_TMPFILES: _persist.tmpfiles_text([late])}
    wanted = [high(GIB, "kubepods.slice"), wish("memory.wmark_ratio", 95, "kubepods.slice")]
    part = _plan_units.plan_units(wanted, node, OPTIONS._replace(on_conflict="defer"), ours)
    assert [row.status for row in part.rows] == ["deferred", "deferred"]
    assert (part.drop_ins, part.late) == ({path: _persist.drop_in_text("kubepods.slice", {"MemoryHigh": "5"})}, (late,))
    assert (part.properties, part.writes) == ((), ())


def test_what_somebody_wrote_by_hand_is_named_and_goes_with_the_step() -> None:
    batch = BATCH._replace(files={**BATCH.files, "memory.min": BATCH.files["memory.min"]._replace(text=str(16 * MIB), value=16 * MIB)})
    part = made(present({}, batch), high(GIB))
    (row,) = part.rows
    assert row.reason == f"a direct write: /sys/fs/cgroup/batch.slice/memory.min has {16 * MIB}"
    # At the next boot it is gone.
    assert row.winner is not None and (row.winner.path, row.persisted_after) == (_persist.drop_in_path("batch.slice"), str(GIB))
    (step,) = part.properties
    assert step.besides == (memcg("/batch.slice", "memory.min", 16 * MIB, 0),)
    # If nothing is set there, nothing is reset.
    held = batch.files["memory.high"]._replace(text=str(GIB), value=GIB)
    batch = batch._replace(state=batch.state._replace(shown={**batch.state.shown, "MemoryHigh": str(GIB)}), files={**batch.files, "memory.high": held})
    assert [row.reason for row in made(present({}, batch), high(GIB)).rows] == [""]


def test_koordlet_writes_pods_only() -> None:
    shown = {"MemoryHigh": "infinity", "ManagedOOMPreference": "none"}
    pods = unit("kubepods.slice", "/kubepods.slice", shown, high="max", wmark_ratio="0")
    node = present({}, pods, BATCH, persisted=PERSISTED._replace(writers=["koordlet"]))
    pod_wishes = [high(GIB, "kubepods.slice"), wish("ManagedOOMPreference", "avoid", "kubepods.slice"), wish("memory.wmark_ratio", 95, "kubepods.slice")]
    part = made(node, high(GIB), *pod_wishes)
    assert {f"{row.subject} {row.name}": row.reason for row in part.rows} == {
        "batch.slice MemoryHigh": "",
        "kubepods.slice MemoryHigh": "koordlet writes it too",
        "kubepods.slice memory.wmark_ratio": "lost when it stops: the next boot or run sets it again; koordlet writes it too",
        "kubepods.slice ManagedOOMPreference": "",
    }


# Order

PARENT, CHILD = "/batch.slice", "/batch.slice/batch-night.slice"


def low(cgroup: str, before: t.Any, after: t.Any) -> PropertyStep:
    return properties(cgroup, memcg(cgroup, "memory.low", before, after), MemoryLow=(str(before), str(after)))


TREES: t.List[t.List[PropertyStep]] = [
    # in the order that is right
    [low(PARENT, 0, 9), low(CHILD, 0, 5)],
    [low(CHILD, 5, 0), low(PARENT, 9, 0)],
    [low(PARENT, 5, 9), low(CHILD, 5, 0)],
    # From no limit to one is less.
    [
        properties(CHILD, memcg(CHILD, "memory.high", "max", 5), MemoryHigh=("infinity", "5")),
        properties(PARENT, memcg(PARENT, "memory.high", "max", 9), MemoryHigh=("infinity", "9")),
    ],
    [
        properties(PARENT, memcg(PARENT, "memory.high", 9, "max"), MemoryHigh=("9", "infinity")),
        properties(CHILD, memcg(CHILD, "memory.high", 5, "max"), MemoryHigh=("5", "infinity")),
    ],
]


@pytest.mark.parametrize("right", TREES)
def test_parents_grow_first_and_shrink_last(right: t.List[PropertyStep]) -> None:
    for steps in itertools.permutations(right):
        assert _plan_units.in_order(steps) == right


def test_a_step_that_grows_and_shrinks_is_two() -> None:
    files = memcg(PARENT, "memory.low", 0, 9), memcg(PARENT, "memory.high", "max", 20)
    mixed = properties(PARENT, *files, MemoryLow=("0", "9"), MemoryHigh=("infinity", "20"), ManagedOOMSwap=("auto", "kill"))
    child = low(CHILD, 0, 5)
    first = properties(PARENT, files[0], MemoryLow=("0", "9"), ManagedOOMSwap=("auto", "kill"))
    assert _plan_units.in_order([child, mixed]) == [first, child, properties(PARENT, files[1], MemoryHigh=("infinity", "20"))]


def test_files_of_one_cgroup_are_written_as_the_registry_orders_them() -> None:
    """A limit of page cache before its switch, and both after memory.max."""
    writes = [memcg(CHILD, f"memory.{name}", 0, 1) for name in ("pagecache_limit.enable", "pagecache_limit.size", "max", "wmark_ratio")]
    for steps in itertools.permutations([*writes, memcg(PARENT, "memory.wmark_ratio", 0, 1)]):
        ordered = [step.path[len("/sys/fs/cgroup") :] for step in _plan_units.writes_in_order(steps)]
        assert ordered.index(f"{PARENT}/memory.wmark_ratio") < ordered.index(f"{CHILD}/memory.wmark_ratio")
        places = [ordered.index(f"{CHILD}/memory.{name}") for name in ("max", "pagecache_limit.size", "pagecache_limit.enable")]
        assert places == sorted(places)


def node_with(*units: Unit) -> Present:
    return present({}, *units)


def test_two_subjects_make_two_steps_and_no_unit_two() -> None:
    part = made(node_with(BATCH, NIGHT), high(GIB), wish("MemoryLow", 5 * MIB, "batch.slice"), high(GIB, "batch-night.slice"))
    assert [(step.unit, [name for name, unused in step.properties]) for step in part.properties] == [
        ("batch-night.slice", ["MemoryHigh"]), ("batch.slice", ["MemoryHigh", "MemoryLow"]),
    ]  # fmt: skip
