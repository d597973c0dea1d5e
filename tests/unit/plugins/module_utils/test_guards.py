# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What kills, hangs or starves a node, at its bounds: the last value that is let through and the first that is not."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _guards, _tune_options
from ansible_collections.memqos.fleet.plugins.module_utils._guards import Figures
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
}


def host(name: str, before: t.Any, after: t.Any) -> WriteStep:
    return WriteStep(name, "host", "", _registry.find(name).path, str(before), str(after))


def memcg(file: str, before: t.Any, after: t.Any, *, cgroup: str = "/a.slice", subject: str = "a.slice") -> WriteStep:
    return WriteStep(file, "memcg", subject, f"{MOUNT}{cgroup}/{file}", str(before), str(after))


def dangers(*steps: Step, meminfo: t.Optional[t.Mapping[str, int]] = None, live: t.Optional[t.Mapping[str, t.Any]] = None) -> t.Dict[t.Tuple[str, str], str]:
    return {key: danger.risk for key, danger in _guards.dangers(steps, Figures(meminfo or MEMINFO, live or LIVE, CGROUPS, MOUNT)).items()}


# 4 GiB are committed: (10 GiB · ratio) + 1 GiB of swap is enough from 30 % on.
BOUNDS: t.List[t.Tuple[t.List[Step], t.List[Step], str]] = [
    # let through, refused, the risk
    ([host("vm.min_free_kbytes", 67584, 524288)], [host("vm.min_free_kbytes", 67584, 524289)], "min_free_above_5_percent"),
    # The kernel's own may lie above: only our raising counts.
    ([host("vm.min_free_kbytes", 700000, 600000)], [host("vm.min_free_kbytes", 600000, 700000)], "min_free_above_5_percent"),
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
    ([memcg("memory.max", "max", GIB)], [memcg("memory.max", "max", GIB - 4096)], "limit_below_usage"),
    ([memcg("memory.max", GIB - 4096, "max")], [memcg("memory.max", 2 * GIB, GIB // 2)], "limit_below_usage"),
    # 90 % of 824 MiB.
    ([memcg("memory.high", "max", 742 * MIB)], [memcg("memory.high", "max", 741 * MIB)], "high_below_working_set"),
    # 8 of 10 GiB: a has 2, c has 1.
    ([memcg("memory.min", 2 * GIB, 7 * GIB)], [memcg("memory.min", 2 * GIB, 7 * GIB + 4096)], "protection_above_80_percent"),
    # Below a top-level cgroup its own bounds it.
    (
        [memcg("memory.min", 0, 9 * GIB, cgroup="/a.slice/b.service", subject="b.service")],
        [memcg("memory.min", 0, 9 * GIB, cgroup="/d.slice", subject="d.slice")],
        "protection_above_80_percent",
    ),
    ([memcg("memory.oom_control", 1, 0)], [memcg("memory.oom_control", 0, 1)], "oom_kill_disable"),
]  # fmt: skip


@pytest.mark.parametrize("fine, refused, risk", BOUNDS)
def test_bounds(fine: t.List[Step], refused: t.List[Step], risk: str) -> None:
    assert dangers(*fine) == {}
    assert set(dangers(*refused).values()) == {risk}


def test_every_risk_has_a_bound() -> None:
    assert {risk for unused, unused_too, risk in BOUNDS} == set(_tune_options.RISKS)


def test_protection_that_is_too_much_already_may_be_lowered() -> None:
    more = memcg("memory.min", 9 * GIB, 8 * GIB)
    crowded = {**CGROUPS, "/a.slice": {**CGROUPS["/a.slice"], "min": 9 * GIB}}
    assert _guards.dangers([more], Figures(MEMINFO, LIVE, crowded, MOUNT)) == {}


def test_protection_without_limit_counts_as_what_is_used() -> None:
    used = {**CGROUPS, "/a.slice": {**CGROUPS["/a.slice"], "usage": 8 * GIB}}
    found = _guards.dangers([memcg("memory.min", 0, "max")], Figures(MEMINFO, LIVE, used, MOUNT))
    assert found["memory.min", "a.slice"].reason.startswith("Σ memory.min would be 9.00 GiB, more than 80 % of memory (10.0 GiB)")
    assert dangers(memcg("memory.min", 0, "max")) == {}


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
