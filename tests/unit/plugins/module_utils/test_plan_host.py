# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's part of a plan: what is written, in which order, into which file; who decides at the next boot."""

from __future__ import annotations

import itertools
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _persist, _plan_host
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _texts
from ansible_collections.memqos.fleet.plugins.module_utils._plan_rows import History, Options
from ansible_collections.memqos.fleet.plugins.module_utils._read._persisted import Line, Persisted, Sources
from ansible_collections.memqos.fleet.plugins.module_utils._steps import WriteStep
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.made_present import OPTIONS, PERSISTED, present, wish

THP = "transparent_hugepage/enabled"
MTHP = "transparent_hugepage/hugepages-64kB/enabled"
MINE = "/etc/sysctl.d/zz-memqos.conf"
HOST = {
    "vm.swappiness": "60", THP: "[always] madvise never", MTHP: "always [inherit] madvise never", "vm.min_free_kbytes": "67584", "vm.dirty_ratio": "20",
    "vm.dirty_bytes": "0", "vm.dirty_background_ratio": "10", "vm.dirty_background_bytes": "0", "vm.overcommit_memory": "0", "vm.overcommit_ratio": "50",
    "vm.overcommit_kbytes": "0", "zswap/enabled": "N", "zswap/max_pool_percent": "20", "ksm/run": "0", "ksm/pages_to_scan": "100", "vm.nr_hugepages": "0",
    "lru_gen/enabled": "0x0007", "zram0/disksize": "0", "zram0/comp_algorithm": "lzo [zstd]", "damon_reclaim/enabled": "N",
    "damon_reclaim/min_age": "120000000",
    "damon_reclaim/wmarks_low": "200", "damon_reclaim/wmarks_mid": "400", "damon_reclaim/wmarks_high": "500", "damon_reclaim/commit_inputs": "N",
    "damon_stat/enabled": "N", "damon_reclaim/monitor_region_start": "0", "damon_reclaim/monitor_region_end": "0",
}  # fmt: skip
ORDERS: t.List[t.Tuple[t.Dict[str, t.Any], t.Dict[str, str], t.List[str]]] = [
    # wanted, live values that differ from above, what is written in this order
    ({"vm.min_free_kbytes": 131072, THP: "never"}, {}, [THP, "vm.min_free_kbytes"]),
    ({"vm.min_free_kbytes": 67584, THP: "never", MTHP: "always"}, {}, [THP, MTHP, "vm.min_free_kbytes"]),
    ({"vm.min_free_kbytes": 67584, THP: "always"}, {}, []),
    ({"vm.dirty_background_ratio": 30, "vm.dirty_ratio": 40}, {}, ["vm.dirty_ratio", "vm.dirty_background_ratio"]),
    ({"vm.dirty_background_ratio": 5, "vm.dirty_ratio": 8}, {}, ["vm.dirty_background_ratio", "vm.dirty_ratio"]),
    ({"vm.dirty_background_bytes": 8192, "vm.dirty_bytes": 16384}, {}, ["vm.dirty_bytes", "vm.dirty_background_bytes"]),
    (
        {"vm.dirty_background_bytes": 8192, "vm.dirty_bytes": 16384},
        {"vm.dirty_bytes": "65536", "vm.dirty_background_bytes": "32768"},
        ["vm.dirty_background_bytes", "vm.dirty_bytes"],
    ),
    ({"vm.overcommit_memory": 2, "vm.overcommit_ratio": 90}, {}, ["vm.overcommit_ratio", "vm.overcommit_memory"]),
    ({"zswap/enabled": True, "zswap/max_pool_percent": 30}, {}, ["zswap/max_pool_percent", "zswap/enabled"]),
    ({"ksm/run": 1, "ksm/pages_to_scan": 200}, {}, ["ksm/pages_to_scan", "ksm/run"]),
    ({"zram0/disksize": 1 << 30, "zram0/comp_algorithm": "lzo"}, {}, ["zram0/comp_algorithm", "zram0/disksize"]),
    ({"damon_reclaim/enabled": True, "damon_reclaim/min_age": 5}, {}, ["damon_reclaim/min_age", "damon_reclaim/enabled"]),
    # A chain of bounds, both ways.
    (
        {"damon_reclaim/wmarks_low": 500, "damon_reclaim/wmarks_mid": 600, "damon_reclaim/wmarks_high": 700},
        {},
        ["damon_reclaim/wmarks_high", "damon_reclaim/wmarks_mid", "damon_reclaim/wmarks_low"],
    ),
    (
        {"damon_reclaim/wmarks_low": 50, "damon_reclaim/wmarks_mid": 100, "damon_reclaim/wmarks_high": 150},
        {},
        ["damon_reclaim/wmarks_low", "damon_reclaim/wmarks_mid", "damon_reclaim/wmarks_high"],
    ),
    # A module that runs takes its inputs by a commit.
    ({"damon_reclaim/min_age": 5}, {"damon_reclaim/enabled": "Y"}, ["damon_reclaim/min_age", "damon_reclaim/commit_inputs"]),
    ({"damon_reclaim/min_age": 5, "damon_reclaim/enabled": False}, {"damon_reclaim/enabled": "Y"}, ["damon_reclaim/min_age", "damon_reclaim/enabled"]),
    ({"damon_reclaim/min_age": 120000000}, {"damon_reclaim/enabled": "Y"}, []),
    # One at a time: what goes off comes first, whichever it is.
    ({"damon_reclaim/enabled": True, "damon_stat/enabled": False}, {"damon_stat/enabled": "Y"}, ["damon_stat/enabled", "damon_reclaim/enabled"]),
    ({"damon_reclaim/enabled": False, "damon_stat/enabled": True}, {"damon_reclaim/enabled": "Y"}, ["damon_reclaim/enabled", "damon_stat/enabled"]),
    ({"damon_reclaim/enabled": True, "damon_stat/enabled": False}, {}, ["damon_reclaim/enabled"]),
]


def made(
    wanted: t.Mapping[str, t.Any],
    live: t.Optional[t.Mapping[str, str]] = None,
    *,
    options: Options = OPTIONS,
    history: History = History(),  # noqa: B008
    lines: t.Optional[t.Mapping[str, str]] = None,
    **more: t.Any,
) -> _plan_host.HostPart:
    wishes = [wish(name, value) for name, value in wanted.items()]
    return _plan_host.plan_host(wishes, present({**HOST, **(live or {})}, **more), history, options, lines or {})


@pytest.mark.parametrize("wanted, live, order", ORDERS)
def test_order(wanted: t.Dict[str, t.Any], live: t.Dict[str, str], order: t.List[str]) -> None:
    # In whatever order the profiles name them.
    for names in itertools.permutations(wanted):
        assert [step.knob for step in made({name: wanted[name] for name in names}, live).steps] == order


def switched(name: str, text: str) -> WriteStep:
    return WriteStep(name, "host", "", _registry.find(name).path, "Y", text)


ALONE: t.List[t.Tuple[t.Dict[str, t.Any], t.Dict[str, str], t.Tuple[WriteStep, ...], t.Set[str]]] = [
    # wanted, live, what goes back; who is refused
    ({"damon_reclaim/enabled": True}, {}, (), set()),
    ({"damon_reclaim/enabled": True}, {"damon_stat/enabled": "Y"}, (), {"damon_reclaim/enabled"}),
    ({"damon_reclaim/enabled": True}, {"damon_stat/enabled": "Y"}, (switched("damon_stat/enabled", "N"),), set()),
    ({"damon_reclaim/enabled": True, "damon_stat/enabled": True}, {"damon_stat/enabled": "Y"}, (), {"damon_reclaim/enabled"}),
    ({"damon_reclaim/enabled": True, "damon_stat/enabled": True}, {}, (), {"damon_reclaim/enabled", "damon_stat/enabled"}),
    ({"damon_reclaim/enabled": True, "damon_reclaim/min_age": 5}, {"damon_reclaim/enabled": "Y"}, (), set()),
    ({"damon_reclaim/enabled": False}, {"damon_reclaim/enabled": "Y"}, (), set()),
]


@pytest.mark.parametrize("wanted, live, returning, refused", ALONE)
def test_what_cannot_be_on_beside_another_is_refused_before_anything_is_written(
    wanted: t.Dict[str, t.Any], live: t.Dict[str, str], returning: t.Tuple[WriteStep, ...], refused: t.Set[str]
) -> None:
    rows = made(wanted, live, history=History(returning=returning)).rows
    assert {row.name for row in rows if row.status == "refused"} == refused
    assert all("on: set it to 0 as well" in row.reason for row in rows if row.status == "refused")


def test_at_boot_what_is_off_stands_before_what_is_on() -> None:
    lines = made({"damon_reclaim/enabled": True, "damon_stat/enabled": False}, {"damon_reclaim/enabled": "Y"}).tmpfiles
    assert [path.split("/")[3] for path, unused in lines] == ["damon_stat", "damon_reclaim"]


def test_the_registry_has_no_circle() -> None:
    """All knobs at once have an order."""
    names = [name for name in HOST if not _registry.find(name).one_shot]
    items = [_plan_host._Item(_registry.find(name), t.cast("t.Any", None), "1", "0", True, "") for name in names]
    assert len(_plan_host.in_order(items)) == len(names)


def step(name: str) -> WriteStep:
    return WriteStep(name, "host", "", _registry.find(name).path, "0", "1")


def test_what_is_moved_by_another_write_comes_after_it_and_rivals_stay() -> None:
    names = ["vm.min_free_kbytes", "vm.dirty_ratio", "vm.dirty_bytes", THP, "vm.swappiness", MTHP]
    moved = [one.knob for one in _plan_host.moved_last(map(step, names))]
    assert moved == ["vm.dirty_ratio", "vm.dirty_bytes", THP, "vm.swappiness", MTHP, "vm.min_free_kbytes"]


FILES: t.List[t.Tuple[t.Dict[str, t.Any], t.Dict[str, str], t.List[str], t.List[str], t.Optional[int]]] = [
    # wanted, our lines of sysctl.d, paths of tmpfiles.d, late ones; systemd
    ({"vm.swappiness": 60}, {"vm.swappiness": "60"}, [], [], 257),
    ({THP: "always"}, {}, [THP], [], 257),
    ({THP: "always"}, {}, [], [], None),
    # THP comes after sysctl.d and moves it: it has to stand there again.
    ({"vm.min_free_kbytes": 5, THP: "never"}, {"vm.min_free_kbytes": "5"}, [THP, "min_free_kbytes"], [], 257),
    ({"vm.min_free_kbytes": 5, THP: "never"}, {"vm.min_free_kbytes": "5"}, [], [], None),
    ({"zram0/disksize": 4096}, {}, [], ["zram0/disksize"], 257),
    ({"zswap/enabled": 1, "lru_gen/enabled": 7}, {}, ["lru_gen/enabled", "enabled"], [], 257),
]


@pytest.mark.parametrize("wanted, sysctl, tmpfiles, late, systemd", FILES)
def test_what_makes_it_last(wanted: t.Dict[str, t.Any], sysctl: t.Dict[str, str], tmpfiles: t.List[str], late: t.List[str], systemd: t.Optional[int]) -> None:
    part = made(wanted, facts={"systemd": systemd})
    assert part.sysctl == sysctl
    for lines, ends in ((part.tmpfiles, tmpfiles), (part.late, late)):
        assert len(lines) == len(ends)
        assert all(path.endswith(end) for (path, unused), end in zip(lines, ends))


def said(*lines: Line, tmpfiles: bool = False, **links: str) -> Persisted:
    empty = Sources([], [], [], "", [], [], [])
    sources = empty._replace(tmpfiles=list(lines)) if tmpfiles else empty._replace(sysctl=list(lines))
    return PERSISTED._replace(sources=sources, real_paths={f"/etc/sysctl.d/{name}.conf": real for name, real in links.items()})


def line(path: str, value: str, *, key: str = "/proc/sys/vm/swappiness", number: int = 2) -> Line:
    return Line(path, number, key, value, "w")


LATER = line("/etc/sysctl.d/zzz.conf", "99")
WINNERS: t.List[t.Tuple[str, Persisted, t.Tuple[str, str, t.Optional[str], t.List[t.Tuple[str, int]]]]] = [
    # policy, what others say of vm.swappiness; status, who decides, its value, what is set aside
    ("report", said(), ("would_change", MINE, "10", [])),
    ("report", said(line("/etc/sysctl.d/10.conf", "99")), ("would_change", MINE, "10", [])),
    ("report", said(LATER), ("would_change", LATER.path, "99", [])),
    ("report", said(LATER, LATER._replace(line=3, value="10")), ("would_change", MINE, "10", [])),
    ("report", said(LATER._replace(value="junk")), ("would_change", LATER.path, None, [])),
    ("defer", said(LATER), ("deferred", LATER.path, "99", [])),
    ("refuse", said(LATER), ("conflict", LATER.path, "99", [])),
    ("refuse", said(line("/etc/sysctl.d/10.conf", "99")), ("would_change", MINE, "10", [])),
    ("take", said(LATER), ("would_change", MINE, "10", [(LATER.path, 2)])),
    ("take", said(LATER, LATER._replace(line=3)), ("would_change", MINE, "10", [(LATER.path, 2), (LATER.path, 3)])),
    ("take", said(LATER, zzz="/srv/x.conf"), ("would_change", LATER.path, "99", [])),
    # tmpfiles.d comes after sysctl.d.
    ("report", said(line("/etc/tmpfiles.d/a.conf", "99"), tmpfiles=True), ("would_change", "/etc/tmpfiles.d/a.conf", "99", [])),
    ("take", said(line("/etc/tmpfiles.d/a.conf", "99"), tmpfiles=True), ("would_change", MINE, "10", [("/etc/tmpfiles.d/a.conf", 2)])),
]


@pytest.mark.parametrize("policy, persisted, expected", WINNERS)
def test_who_decides_at_the_next_boot(policy: t.Any, persisted: Persisted, expected: t.Any) -> None:
    part = made({"vm.swappiness": 10}, options=OPTIONS._replace(on_conflict=policy), persisted=persisted)
    (row,) = part.rows
    assert row.winner is not None
    assert (row.status, row.winner.path, row.persisted_after if row.status == "would_change" else row.winner.value, list(part.aside)) == expected
    stays = row.status == "would_change"
    assert ([one.knob for one in part.steps], part.sysctl) == ((["vm.swappiness"], {"vm.swappiness": "10"}) if stays else ([], {}))


def test_our_own_files_are_no_conflict_whatever_stands_in_them() -> None:
    persisted = said(line(_persist.TMPFILES, "99"), tmpfiles=True)
    part = made({"vm.swappiness": 10}, history=History(ours=(_persist.TMPFILES,)), options=OPTIONS._replace(on_conflict="refuse"), persisted=persisted)
    assert [(row.status, row.reason) for row in part.rows] == [("would_change", "")]


KEPT: t.List[t.Tuple[t.Dict[str, str], t.Dict[str, t.Any], t.List[t.Tuple[str, str]], t.List[str]]] = [
    # our lines of other areas, what is wanted; what is written, lines of tmpfiles.d
    ({"vm.min_free_kbytes": "131072"}, {THP: "never"}, [(THP, "never"), ("vm.min_free_kbytes", "67584")], [THP, "vm.min_free_kbytes"]),
    ({THP: "always"}, {"vm.min_free_kbytes": 131072}, [("vm.min_free_kbytes", "131072")], [THP, "vm.min_free_kbytes"]),
    ({"vm.swappiness": "10", "zswap/enabled": "1"}, {"vm.min_free_kbytes": 131072}, [("vm.min_free_kbytes", "131072")], ["zswap/enabled"]),
]


@pytest.mark.parametrize("kept, wanted, written, lines", KEPT)
def test_what_other_areas_hold_stays_and_stands_in_its_place(
    kept: t.Dict[str, str], wanted: t.Dict[str, t.Any], written: t.List[t.Tuple[str, str]], lines: t.List[str]
) -> None:
    """Its live value comes back if we move it, whatever its line says."""
    part = made(wanted, lines=kept, options=OPTIONS._replace(only=tuple({_texts.area(_registry.find(name)) for name in wanted})))
    assert [(one.knob, one.after) for one in part.steps] == written
    assert [path for path, unused in part.tmpfiles] == [_registry.find(name).path for name in lines]
    assert [row.name for row in part.rows] == list(wanted)
    assert {name: part.sysctl[name] for name in kept if name in part.sysctl} == {name: text for name, text in kept.items() if name.startswith("vm.")}


HUGE: t.List[t.Tuple[str, t.Dict[t.Tuple[str, str], str], str]] = [
    # live, what an earlier write of 512 gave; status
    ("256", {("/proc/sys/vm/nr_hugepages", "512"): "256"}, "ok"),
    ("256", {}, "would_change"),
    ("3", {("/proc/sys/vm/nr_hugepages", "512"): "256"}, "would_change"),
    ("256", {("/proc/sys/vm/nr_hugepages", "600"): "256"}, "would_change"),
    ("512", {}, "ok"),
]


@pytest.mark.parametrize("live, found, status", HUGE)
def test_as_many_huge_pages_as_the_kernel_found(live: str, found: t.Dict[t.Tuple[str, str], str], status: str) -> None:
    (row,) = made({"vm.nr_hugepages": 512}, {"vm.nr_hugepages": live}, history=History(found=found)).rows
    assert (row.status, row.reboot_required) == (status, live == "256" and status == "ok")


def test_a_knob_that_is_not_there_or_cannot_be_read() -> None:
    wishes = [wish("vm.page-cluster", 0), wish("vm.swappiness", 10)]
    node = present({}, troubles={"vm.swappiness": "refused (Operation not permitted)"})
    rows = _plan_host.plan_host(wishes, node, History(), OPTIONS, {}).rows
    assert [(row.status, row.equivalence, row.reason) for row in rows] == [
        ("unsupported", "none", "this kernel has no vm.page-cluster"),
        ("unsupported", "none", "cannot be read: refused (Operation not permitted)"),
    ]


def test_what_has_no_place_to_be_written_down_is_said() -> None:
    (row,) = made({THP: "never"}, facts={"systemd": None}).rows
    assert (row.reason, row.persisted_after, row.winner) == ("nothing applies it at boot: tmpfiles.d needs systemd", None, None)


def test_companions_are_read_too() -> None:
    assert _plan_host.companions(["vm.swappiness"]) == set()
    assert _plan_host.companions(["vm.dirty_bytes", THP]) == {"vm.dirty_ratio", "vm.min_free_kbytes"}
    assert {"damon_reclaim/commit_inputs", "damon_reclaim/enabled"} <= _plan_host.companions(["damon_reclaim/min_age"])
    assert {"damon_stat/enabled", "damon_lru_sort/enabled"} <= _plan_host.companions(["damon_reclaim/enabled"])


@pytest.mark.parametrize("live", ["60", "10"])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_swappiness_of_v1_does_not_move_cgroups(live: str, version: int) -> None:
    (row,) = made({"vm.swappiness": 10}, {"vm.swappiness": live}, version=version).rows
    assert ("keep a memory.swappiness of their own" in row.reason) == (version == 1)
