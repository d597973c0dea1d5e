# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What kills, hangs or starves a node, at its bounds: the last value that is let through and the first that is not."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _guards, _plan_swap, _tune_options
from ansible_collections.memqos.fleet.plugins.module_utils._guards import Figures, ToCome
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._steps import PropertyStep, Step, WriteStep

MIB, GIB = 1 << 20, 1 << 30
MOUNT = "/sys/fs/cgroup"
MEMINFO = {"MemTotal": 10 * GIB, "MemAvailable": 5 * GIB, "Committed_AS": 4 * GIB, "SwapTotal": GIB, "Hugetlb": 0, "Hugepagesize": 2 * MIB}
LIVE = {"vm.overcommit_memory": 0, "vm.overcommit_ratio": 50, "vm.overcommit_kbytes": 0, "vm.min_free_kbytes": 67584}
CGROUPS: t.Dict[str, t.Any] = {
    "/a.slice": {"path": "/a.slice", "parent": "/", "usage": GIB, "stat": {"inactive_file": 200 * MIB}, "min": 2 * GIB},
    "/a.slice/b.service": {"path": "/a.slice/b.service", "parent": "/a.slice", "usage": 100 * MIB, "min": 0},
    "/c.slice": {"path": "/c.slice", "parent": "/", "usage": GIB, "min": GIB},
    "/d.slice": {"path": "/d.slice", "parent": "/"},
    "/e.slice": {"path": "/e.slice", "parent": "/", "usage": 0},
    "/f.slice": {"path": "/f.slice", "parent": "/", "usage": 5 * GIB, "stat": {"active_file": 5 * GIB}},
}
# In pages, of node 0 and of node 1, which has normal memory alone. Of the first zone all is reserved by default.
ZONES: t.List[t.Any] = [
    {"node": node, "name": name, "managed": pages}
    for node, of_node in enumerate([(4000, 780000, 1000000, 800000), (0, 0, 500000, 0)])
    for name, pages in zip(("DMA", "DMA32", "Normal", "Movable"), of_node)
]
UNITS = {"a.slice": "/a.slice", "b.service": "/a.slice/b.service"}


def host(name: str, before: t.Any, after: t.Any) -> WriteStep:
    return WriteStep(name, "host", "", _registry.find(name).path, str(before), str(after))


def memcg(file: str, before: t.Any, after: t.Any, *, cgroup: str = "/a.slice", subject: str = "a.slice") -> WriteStep:
    return WriteStep(file, "memcg", subject, f"{MOUNT}{cgroup}/{file}", str(before), str(after))


def dangers(
    *steps: Step,
    meminfo: t.Optional[t.Mapping[str, int]] = None,
    live: t.Optional[t.Mapping[str, t.Any]] = None,
    to_come: t.Sequence[ToCome] = (),
    **more: t.Any,
) -> t.Dict[t.Tuple[str, str], str]:
    figures = Figures(meminfo or MEMINFO, live or LIVE, CGROUPS, MOUNT, UNITS, **{"zones": ZONES, **more})
    return {key: danger.risk for key, danger in _guards.dangers(steps, figures, to_come).items()}


# 4 GiB are committed: (10 GiB · ratio) + 1 GiB of swap is enough from 30 % on.
BOUNDS: t.List[t.Tuple[t.List[Step], t.List[Step], str]] = [
    # let through, refused, the risk
    ([host("vm.min_free_kbytes", 67584, 524288)], [host("vm.min_free_kbytes", 67584, 524289)], "min_free_above_5_percent"),
    # The kernel's own may lie above: only our raising counts.
    ([host("vm.min_free_kbytes", 700000, 600000)], [host("vm.min_free_kbytes", 600000, 700000)], "min_free_above_5_percent"),
    # 90 % of the root of 10 GiB · 16, in kB; who raises it makes it better.
    ([host("vm.min_free_kbytes", 67584, 11657)], [host("vm.min_free_kbytes", 67584, 11656)], "min_free_below_kernel_default"),
    ([host("vm.min_free_kbytes", 1000, 1100)], [host("vm.min_free_kbytes", 1100, 1000)], "min_free_below_kernel_default"),
    ([host("vm.watermark_scale_factor", 10, 400)], [host("vm.watermark_scale_factor", 10, 401)], "watermark_scale_above_400"),
    ([host("vm.watermark_scale_factor", 1000, 500)], [host("vm.watermark_scale_factor", 500, 1000)], "watermark_scale_above_400"),
    (
        [host("vm.overcommit_memory", 0, 2), host("vm.overcommit_ratio", 50, 30)],
        [host("vm.overcommit_memory", 0, 2), host("vm.overcommit_ratio", 50, 29)],
        "overcommit_below_committed",
    ),
    # Without the strict mode no limit counts.
    ([host("vm.overcommit_ratio", 50, 1), host("vm.overcommit_memory", 0, 1)], [host("vm.overcommit_ratio", 50, 1), host("vm.overcommit_memory", 0, 2)],
     "overcommit_below_committed"),
    (
        [host("vm.overcommit_memory", 0, 2), host("vm.overcommit_kbytes", 0, 3 * 1024 * 1024)],
        [host("vm.overcommit_memory", 0, 2), host("vm.overcommit_kbytes", 0, 3 * 1024 * 1024 - 1)],
        "overcommit_below_committed",
    ),
    # 90 % of what is available: 2304 huge pages of 2 MiB, 4 of 1 GiB.
    ([host("vm.nr_hugepages", 0, 2304)], [host("vm.nr_hugepages", 0, 2305)], "hugepages_above_available"),
    ([host("vm.nr_hugepages", 2000, 4304)], [host("vm.nr_hugepages", 2000, 4305)], "hugepages_above_available"),
    (
        [host("hugepages/hugepages-1048576kB/nr_hugepages", 0, 4)],
        [host("hugepages/hugepages-1048576kB/nr_hugepages", 0, 5)],
        "hugepages_above_available",
    ),
    ([host("vm.nr_hugepages", 9999, 9000)], [host("vm.nr_hugepages", 0, 9000)], "hugepages_above_available"),
    # All pools together: 4.5 GiB. One pool has two names, and its parts on the nodes.
    (
        [host("hugepages/hugepages-1048576kB/nr_hugepages", 0, 2), host("vm.nr_hugepages", 0, 1280)],
        [host("hugepages/hugepages-1048576kB/nr_hugepages", 0, 2), host("vm.nr_hugepages", 0, 1281)],
        "hugepages_above_available",
    ),
    (
        [host("hugepages/hugepages-2048kB/nr_hugepages", 0, 2304), host("vm.nr_hugepages", 0, 2304),
         host("node0/hugepages/hugepages-2048kB/nr_hugepages", 0, 1152), host("node1/hugepages/hugepages-2048kB/nr_hugepages", 0, 1152)],
        [host("node0/hugepages/hugepages-2048kB/nr_hugepages", 0, 1152), host("node1/hugepages/hugepages-2048kB/nr_hugepages", 0, 1153)],
        "hugepages_above_available",
    ),
    ([host("vm.max_map_count", 262144, 65530)], [host("vm.max_map_count", 262144, 65529)], "max_map_count_below_default"),
    ([host("vm.max_map_count", 1000, 2000)], [host("vm.max_map_count", 2000, 1000)], "max_map_count_below_default"),
    # 5 % are 131072 pages: DMA has its 4000, DMA32 1800000 / ratio, Normal 800000 / ratio.
    (
        [host("vm.lowmem_reserve_ratio", "256 256 32 0", "256 18 32 0")],
        [host("vm.lowmem_reserve_ratio", "256 256 32 0", "256 17 32 0")],
        "lowmem_reserve_above_5_percent",
    ),
    # Those that are not named stay; 0 reserves nothing; nothing lies above the last.
    ([host("vm.lowmem_reserve_ratio", "256 256 32 0", "1 18")], [host("vm.lowmem_reserve_ratio", "256 256 32 0", "256 17")],
     "lowmem_reserve_above_5_percent"),
    ([host("vm.lowmem_reserve_ratio", "256 256 32 0", "0 0 7 1")], [host("vm.lowmem_reserve_ratio", "256 256 32 0", "0 0 6 1")],
     "lowmem_reserve_above_5_percent"),
    ([host("vm.lowmem_reserve_ratio", "1 1 1 1", "1 2 1 1")], [host("vm.lowmem_reserve_ratio", "1 3 1 1", "1 2 1 1")], "lowmem_reserve_above_5_percent"),
    ([host("vm.dirty_bytes", 0, 16 * MIB)], [host("vm.dirty_bytes", 0, 16 * MIB - 1)], "dirty_below_16_mib"),
    ([host("vm.dirty_background_bytes", 4 * MIB, 8 * MIB)], [host("vm.dirty_background_bytes", 64 * MIB, 8 * MIB)], "dirty_below_16_mib"),
    # Off, or a limit of nothing.
    ([host("vm.dirty_bytes", 0, 16 * MIB), host("vm.dirty_ratio", 20, 0)], [host("vm.dirty_ratio", 20, 0)], "dirty_below_16_mib"),
    ([host("vm.dirty_background_ratio", 10, 1)], [host("vm.dirty_background_ratio", 10, 0)], "dirty_below_16_mib"),
    ([memcg("memory.max", "max", GIB)], [memcg("memory.max", "max", GIB - 4096)], "limit_below_usage"),
    ([memcg("memory.max", GIB - 4096, "max")], [memcg("memory.max", 2 * GIB, GIB // 2)], "limit_below_usage"),
    # 90 % of 824 MiB.
    ([memcg("memory.high", "max", 742 * MIB)], [memcg("memory.high", "max", 741 * MIB)], "high_below_working_set"),
    # Nothing is in it.
    (
        [memcg("memory.max", "max", 6 * MIB, cgroup="/e.slice", subject="e.slice")],
        [memcg("memory.max", "max", 6 * MIB - 4096, cgroup="/e.slice", subject="e.slice")],
        "limit_too_small_to_start",
    ),
    (
        [memcg("memory.high", "max", 6 * MIB, cgroup="/e.slice", subject="e.slice"), memcg("memory.low", GIB, 0, cgroup="/e.slice", subject="e.slice")],
        [memcg("memory.high", "max", 0, cgroup="/e.slice", subject="e.slice")],
        "limit_too_small_to_start",
    ),
    # 8 of 10 GiB: a has 2, c has 1.
    ([memcg("memory.min", 2 * GIB, 7 * GIB)], [memcg("memory.min", 2 * GIB, 7 * GIB + 4096)], "protection_above_80_percent"),
    # Below a top-level cgroup its own bounds it.
    (
        [memcg("memory.min", 0, 9 * GIB, cgroup="/a.slice/b.service", subject="b.service")],
        [memcg("memory.min", 0, 9 * GIB, cgroup="/d.slice", subject="d.slice")],
        "protection_above_80_percent",
    ),
    # f uses 5 GiB, all of it page cache: of 5 GiB that are available half a GiB must be left.
    ([memcg("memory.min", 0, 4608 * MIB, cgroup="/f.slice", subject="f.slice")], [memcg("memory.min", 0, 4609 * MIB, cgroup="/f.slice", subject="f.slice")],
     "protection_leaves_nothing"),
    ([memcg("memory.oom_control", 1, 0)], [memcg("memory.oom_control", 0, 1)], "oom_kill_disable"),
]  # fmt: skip


@pytest.mark.parametrize("fine, refused, risk", BOUNDS)
def test_bounds(fine: t.List[Step], refused: t.List[Step], risk: str) -> None:
    assert dangers(*fine) == {}
    assert set(dangers(*refused).values()) == {risk}


def test_every_risk_has_a_bound() -> None:
    """That of a swapoff is judged where swap is planned: test_swap.py."""
    assert {risk for unused, unused_too, risk in BOUNDS} == set(_tune_options.RISKS) - {_plan_swap.RISK}


def test_little_memory_may_have_little_of_it_dirty() -> None:
    small = {**MEMINFO, "MemTotal": GIB}
    assert dangers(host("vm.dirty_bytes", 0, GIB // 100), meminfo=small) == {}
    assert set(dangers(host("vm.dirty_bytes", 0, GIB // 100 - 1), meminfo=small).values()) == {"dirty_below_16_mib"}


def test_protection_that_is_too_much_already_may_be_lowered() -> None:
    more = memcg("memory.min", 9 * GIB, 8 * GIB)
    crowded = {**CGROUPS, "/a.slice": {**CGROUPS["/a.slice"], "min": 9 * GIB}}
    assert _guards.dangers([more], Figures(MEMINFO, LIVE, crowded, MOUNT)) == {}


def test_protection_without_limit_is_bounded_by_nothing_but_the_limit() -> None:
    unlimited = memcg("memory.min", 0, "max")
    found = _guards.dangers([unlimited], Figures(MEMINFO, LIVE, CGROUPS, MOUNT))
    assert found["memory.min", "a.slice"].reason.startswith("Σ memory.min would be without bound, more than 80 % of memory (10.0 GiB)")
    assert dangers(unlimited, memcg("memory.max", "max", 7 * GIB)) == {}
    # With 7 GiB and one page there would be more than 8 with c.slice, and raising the limit later comes to the same.
    assert dangers(unlimited, memcg("memory.max", "max", 7 * GIB + 4096)) == dict.fromkeys(
        [("memory.min", "a.slice"), ("memory.max", "a.slice")], "protection_above_80_percent"
    )
    bound = {**CGROUPS, "/a.slice": {**CGROUPS["/a.slice"], "min": None, "limit": 2 * GIB}}
    raised = _guards.dangers([memcg("memory.max", 2 * GIB, "max")], Figures(MEMINFO, LIVE, bound, MOUNT))
    assert {key: danger.risk for key, danger in raised.items()} == {("memory.max", "a.slice"): "protection_above_80_percent"}


def test_who_protects_without_bound_already_does_not_hide_the_others() -> None:
    without = {**CGROUPS, "/a.slice": {**CGROUPS["/a.slice"], "min": None}}
    more = memcg("memory.min", GIB, 9 * GIB, cgroup="/c.slice", subject="c.slice")
    assert set(_guards.dangers([more], Figures(MEMINFO, LIVE, without, MOUNT))) == {("memory.min", "c.slice")}
    assert _guards.dangers([memcg("memory.min", "max", 2 * GIB)], Figures(MEMINFO, LIVE, without, MOUNT)) == {}


def test_protection_leaves_the_node_something_to_reclaim() -> None:
    """Of 10 GiB 1.5 are available, nearly all of it page cache of one slice that uses 2 GiB: half of it must stay free to take."""
    cgroups: t.Dict[str, t.Any] = {
        "/a.slice": {"path": "/a.slice", "parent": "/", "usage": 2 * GIB, "min": 0, "stat": {"active_file": GIB, "inactive_file": 200 * MIB}}
    }
    meminfo = {**MEMINFO, "MemAvailable": 1536 * MIB}

    def risks(after: t.Any, **more: t.Any) -> t.Set[str]:
        figures = Figures({**meminfo, **more}, LIVE, cgroups, MOUNT, UNITS)
        return {danger.risk for danger in _guards.dangers([memcg("memory.min", 0, after)], figures).values()}

    # Anonymous memory comes first under it: 824 MiB of that, then a GiB of cache.
    assert risks(824 * MIB + 1024 * MIB) == set()
    assert risks(824 * MIB + 1025 * MIB) == {"protection_leaves_nothing"}
    # What is not used is not kept.
    assert risks(7 * GIB) == {"protection_leaves_nothing"}
    assert risks(7 * GIB, MemAvailable=5 * GIB) == set()
    found = _guards.dangers([memcg("memory.min", 0, 2 * GIB)], Figures(meminfo, LIVE, cgroups, MOUNT, UNITS))
    assert found["memory.min", "a.slice"].reason == (
        "1.20 GiB of page cache would come under protection, of 1.50 GiB that is available: less than 5 % of memory is left to reclaim"
    )


def test_protection_that_goes_takes_nothing() -> None:
    cgroups: t.Dict[str, t.Any] = {"/a.slice": {"path": "/a.slice", "parent": "/", "usage": 2 * GIB, "min": 2 * GIB, "stat": {"active_file": GIB}}}
    figures = Figures({**MEMINFO, "MemAvailable": 0}, LIVE, cgroups, MOUNT, UNITS)
    assert _guards.dangers([memcg("memory.min", 2 * GIB, GIB)], figures) == {}


TO_COME: t.List[t.Tuple[ToCome, ToCome, str]] = [
    # Of units that do not run: let through, refused, the risk. a and c have 3 of 8 GiB.
    (ToCome("memory.min", "z.slice", None, str(5 * GIB)), ToCome("memory.min", "z.slice", None, str(5 * GIB + 4096)), "protection_above_80_percent"),
    (ToCome("memory.min", "z.slice", "9G", str(8 * GIB)), ToCome("memory.min", "z.slice", "8G", str(9 * GIB)), "protection_above_80_percent"),
    (ToCome("memory.min", "a-z.slice", None, str(9 * GIB)), ToCome("memory.min", "z.slice", "10%", "infinity"), "protection_above_80_percent"),
    (ToCome("DefaultMemoryMin", "z.slice", None, str(5 * GIB)), ToCome("DefaultMemoryMin", "z.slice", None, str(6 * GIB)), "protection_above_80_percent"),
    (ToCome("memory.max", "z.service", None, str(6 * MIB)), ToCome("memory.max", "z.service", None, "0"), "limit_too_small_to_start"),
    (ToCome("memory.max", "z@.service", "4M", "4194304"), ToCome("memory.max", "z@.service", "8M", "4194304"), "limit_too_small_to_start"),
    (ToCome("memory.high", "z.service", None, "infinity"), ToCome("memory.high", "z.service", None, str(MIB)), "limit_too_small_to_start"),
    (ToCome("StartupMemoryMax", "z.service", None, str(GIB)), ToCome("StartupMemoryMax", "z.service", None, str(MIB)), "limit_too_small_to_start"),
    (ToCome("memory.swap.max", "z.service", None, "0"), ToCome("StartupMemoryHigh", "z.service", None, "0"), "limit_too_small_to_start"),
]  # fmt: skip


@pytest.mark.parametrize("fine, refused, risk", TO_COME)
def test_bounds_of_what_does_not_run(fine: ToCome, refused: ToCome, risk: str) -> None:
    assert dangers(to_come=[fine]) == {}
    assert dangers(to_come=[refused]) == {(refused.name, refused.unit): risk}


def test_protection_of_what_runs_and_of_what_does_not_is_one_sum() -> None:
    idle = [ToCome("memory.min", "y.slice", None, str(2 * GIB)), ToCome("memory.min", "z.slice", None, str(2 * GIB))]
    assert dangers(memcg("memory.min", 2 * GIB, 3 * GIB), to_come=idle) == {}
    assert set(dangers(memcg("memory.min", 2 * GIB, 3 * GIB + 4096), to_come=idle)) == {
        ("memory.min", "a.slice"), ("memory.min", "y.slice"), ("memory.min", "z.slice"),
    }  # fmt: skip
    # Its own limit bounds it, whoever says it.
    limited = [ToCome("memory.min", "z.slice", None, "infinity"), ToCome("memory.max", "z.slice", "5G", str(5 * GIB))]
    assert dangers(to_come=limited) == {}
    # What is written down already counts too.
    assert set(dangers(memcg("memory.min", 2 * GIB, 7 * GIB), to_come=[ToCome("memory.min", "z.slice", "1G", str(GIB))])) == {("memory.min", "a.slice")}


STARTUP: t.List[t.Tuple[str, t.Any, t.Any, str]] = [
    # property of a.slice, which uses 1 GiB and works with 824 MiB; let through, refused
    ("StartupMemoryMax", GIB, GIB - 4096, "limit_below_usage"),
    ("StartupMemoryHigh", 742 * MIB, 741 * MIB, "high_below_working_set"),
    ("DefaultMemoryMin", 7 * GIB, 7 * GIB + 4096, "protection_above_80_percent"),
]


@pytest.mark.parametrize("name, fine, refused, risk", STARTUP)
def test_a_property_without_a_file_of_its_own_is_held_against_what_it_becomes(name: str, fine: int, refused: int, risk: str) -> None:
    def step(value: int) -> PropertyStep:
        return PropertyStep("a.slice", ((name, str(value)),), ((name, "infinity" if name.startswith("Startup") else "0"),))

    assert dangers(step(fine)) == {}
    assert dangers(step(refused)) == {(name, "a.slice"): risk}


def test_a_default_that_is_lowered_and_a_slice_that_gives_way_are_not_refused() -> None:
    lower = PropertyStep("a.slice", (("DefaultMemoryMin", str(8 * GIB)),), (("DefaultMemoryMin", str(9 * GIB)),))
    assert dangers(lower, memcg("memory.min", 2 * GIB, GIB)) == {}
    more, less = memcg("memory.min", GIB, 9 * GIB, cgroup="/c.slice", subject="c.slice"), memcg("memory.min", 2 * GIB, GIB)
    assert set(dangers(less, more)) == {("memory.min", "c.slice")}


def test_a_limit_while_the_node_starts_is_no_limit_of_protection() -> None:
    startup = PropertyStep("a.slice", (("StartupMemoryMax", str(GIB)),), (("StartupMemoryMax", "infinity"),))
    assert set(dangers(startup, memcg("memory.min", 2 * GIB, "max"))) == {("memory.min", "a.slice")}


OWN = [
    # MemTotal, kernel, what it chooses itself
    (512 * MIB, "6.12.48", 2896), (GIB, "6.1.0-28-amd64", 4096), (64 * GIB, "5.4.0", 32768), (1 << 40, "4.18.0-553.el8", 65536), (1 << 40, "6.12.48", 131072),
    (24 << 40, "5.4.0", 65536), (24 << 40, "5.8.1", 262144),
]  # fmt: skip


@pytest.mark.parametrize("memtotal, kernel, own", OWN)
def test_what_the_kernel_chooses_itself_is_never_refused(memtotal: int, kernel: str, own: int) -> None:
    meminfo = {"MemTotal": memtotal}
    least = -(-own * 9 // 10)
    assert dangers(host("vm.min_free_kbytes", 10**6, least), meminfo=meminfo, kernel=kernel) == {}
    assert set(dangers(host("vm.min_free_kbytes", 10**6, least - 1), meminfo=meminfo, kernel=kernel).values()) == {"min_free_below_kernel_default"}


def test_highmem_is_not_counted() -> None:
    # Measured after THP was switched off on 965 MiB: it leaves out what the high marks keep free.
    assert dangers(host("vm.min_free_kbytes", 45056, 3838), meminfo={"MemTotal": 965 * MIB}, kernel="6.1.0") == {}
    assert dangers(host("vm.min_free_kbytes", 45056, 3600), meminfo={"MemTotal": 16 * GIB, "LowTotal": 900 * MIB}, kernel="6.1.0") == {}


FIGURES = [
    (
        host("vm.min_free_kbytes", 67584, 512),
        "512 KiB is less than 90 % of what the kernel itself keeps free of so much memory (12.6 MiB): below 1.00 MiB reclaim",
    ),
    (host("vm.watermark_scale_factor", 10, 3000), "above 400: kswapd would go on until 60 % of memory (6.00 GiB) is free beyond the reserve"),
    (host("hugepages/hugepages-1048576kB/nr_hugepages", 0, 4), "4 more huge pages take 4.00 GiB, all pools 8.00 GiB, of 5.00 GiB available memory"),
]


@pytest.mark.parametrize("step, reason", FIGURES)
def test_reasons_have_the_figures(step: WriteStep, reason: str) -> None:
    found = _guards.dangers([step, host("vm.nr_hugepages", 0, 2048)], Figures(MEMINFO, LIVE, CGROUPS, MOUNT, kernel="6.12"))
    assert found[step.knob, ""].reason.startswith(reason)


def test_all_that_protect_more_are_refused_together() -> None:
    assert dangers(memcg("memory.min", 2 * GIB, 5 * GIB), memcg("memory.min", GIB, 4 * GIB, cgroup="/c.slice", subject="c.slice")) == {
        ("memory.min", "a.slice"): "protection_above_80_percent",
        ("memory.min", "c.slice"): "protection_above_80_percent",
    }


def test_a_ratio_switches_kilobytes_off_and_is_judged_alone() -> None:
    live = {**LIVE, "vm.overcommit_memory": 2, "vm.overcommit_kbytes": 64 * 1024 * 1024, "vm.overcommit_ratio": 0}
    assert dangers(host("vm.overcommit_ratio", 0, 29), live=live) == {("vm.overcommit_ratio", ""): "overcommit_below_committed"}
    assert dangers(host("vm.overcommit_ratio", 0, 30), live=live) == {}


def test_what_does_not_change_is_no_danger() -> None:
    assert dangers(memcg("memory.max", GIB // 2, GIB // 2), host("vm.min_free_kbytes", 2000000, 2000000), memcg("memory.min", 9 * GIB, 9 * GIB)) == {}


@pytest.mark.parametrize("lacking", ["Committed_AS", "MemAvailable", "MemTotal"])
def test_without_a_figure_nothing_is_refused_by_guess(lacking: str) -> None:
    meminfo = {key: value for key, value in MEMINFO.items() if key != lacking}
    steps = {
        "Committed_AS": host("vm.overcommit_memory", 0, 2), "MemAvailable": host("vm.nr_hugepages", 0, 9999), "MemTotal": host("vm.min_free_kbytes", 1, 10**7),
    }  # fmt: skip
    assert dangers(steps[lacking], meminfo=meminfo) == {}
    # What the kernel calls too low is too low on all of them.
    assert len(dangers(host("vm.min_free_kbytes", 2048, 1024), meminfo={"SwapTotal": 0})) == 0
    assert len(dangers(host("vm.min_free_kbytes", 2048, 1023), meminfo={"SwapTotal": 0})) == 1


def test_a_property_goes_by_its_file_and_by_what_it_brings_back_besides() -> None:
    low = memcg("memory.low", 0, MIB)
    limit = PropertyStep("a.slice", (("MemoryMax", str(MIB)),), (("MemoryMax", "infinity"),), (memcg("memory.max", "max", MIB),))
    by_hand = PropertyStep("a.slice", (("MemoryLow", str(MIB)),), (("MemoryLow", "0"),), (low,), (), (memcg("memory.max", 4 * GIB, MIB),))
    assert dangers(limit) == {("memory.max", "a.slice"): "limit_below_usage"}
    # The row that is refused is the one whose write does it.
    assert dangers(by_hand) == {("memory.low", "a.slice"): "limit_below_usage"}
    assert dangers(by_hand._replace(files=(), properties=(("ManagedOOMSwap", "kill"),))) == {("ManagedOOMSwap", "a.slice"): "limit_below_usage"}


def test_v1_has_other_file_names() -> None:
    step = WriteStep("memory.max", "memcg", "a.slice", "/sys/fs/cgroup/memory/a.slice/memory.limit_in_bytes", str(1 << 62), str(MIB))
    found = _guards.dangers([step], Figures(MEMINFO, LIVE, CGROUPS, "/sys/fs/cgroup/memory"))
    assert found["memory.max", "a.slice"].risk == "limit_below_usage"
