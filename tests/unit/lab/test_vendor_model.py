# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The model of vendor kernels, line by line of what is documented; each row of a table is one sentence of it."""

from __future__ import annotations

import errno
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab.vendor import parsing
from ansible_collections.memqos.fleet.tests.lab.vendor.model import Kernel, Watermarks
from ansible_collections.memqos.fleet.tests.lab.vendor.tables import EXSTAT, FLAVOURS, LEFT_OUT

GIB = 1 << 30
MIB = 1 << 20
PAGE = 4096
NO_LIMIT = "9223372036854771712"
ANOLIS = ("anolis_v1", "anolis_v2")
OPENCLOUDOS = ("opencloudos_v1", "opencloudos_v2")
V1 = ("mainline_v1", "anolis_v1", "openeuler_v1", "opencloudos_v1")
V2 = ("mainline_v2", "anolis_v2", "opencloudos_v2")
LIMIT = {1: "memory.limit_in_bytes", 2: "memory.max"}
REFUSED = {errno.EINVAL: "EINVAL", errno.E2BIG: "E2BIG", errno.EBUSY: "EBUSY", errno.ERANGE: "ERANGE", errno.EAGAIN: "EAGAIN", errno.EACCES: "EACCES",
           errno.ENOENT: "ENOENT", errno.EEXIST: "EEXIST", errno.ESRCH: "ESRCH",
           errno.EPERM: "EPERM"}  # fmt: skip


def kernel(flavour: str, *paths: str) -> Kernel:
    """With these cgroups."""
    made = Kernel(FLAVOURS[flavour])
    for path in paths or ("/a",):
        above = path.rpartition("/")[0]
        if made.flavour.version == 2:
            made.write(f"{above}/cgroup.subtree_control", "+memory\n")
        made.mkdir(path)
    return made


def outcome(made: Kernel, path: str, text: str) -> str:
    """What the file reads after a write, or the name of the errno."""
    try:
        made.write(path, f"{text}\n")
    except OSError as exc:
        return REFUSED[exc.errno or 0]
    return made.read(path).rstrip("\n")


# (flavours, file, written, what is read then)
VALUES: list[tuple[tuple[str, ...], str, str, str]] = [
    (ANOLIS, "memory.wmark_ratio", "0", "0"),
    (ANOLIS, "memory.wmark_ratio", "100", "100"),
    (ANOLIS, "memory.wmark_ratio", "101", "EINVAL"),
    (ANOLIS, "memory.wmark_ratio", "-1", "EINVAL"),
    (ANOLIS, "memory.wmark_ratio", "ninety", "EINVAL"),
    (ANOLIS, "memory.wmark_ratio", "", "EINVAL"),
    (ANOLIS, "memory.wmark_ratio", "99999999999999999999", "ERANGE"),
    (ANOLIS, "memory.wmark_scale_factor", "1", "1"),
    (ANOLIS, "memory.wmark_scale_factor", "1000", "1000"),
    (ANOLIS, "memory.wmark_scale_factor", "0", "EINVAL"),
    (ANOLIS, "memory.wmark_scale_factor", "1001", "EINVAL"),
    (ANOLIS, "memory.wmark_high", "1", "EINVAL"),  # read-only
    (ANOLIS, "memory.wmark_low", "1", "EINVAL"),
    (ANOLIS, "memory.exstat", "0", "EINVAL"),
    (ANOLIS, "memory.wmark_min_adj", "-25", "-25"),
    (ANOLIS, "memory.wmark_min_adj", "50", "50"),
    (ANOLIS, "memory.wmark_min_adj", "-26", "EINVAL"),
    (ANOLIS, "memory.wmark_min_adj", "51", "EINVAL"),
    (ANOLIS, "memory.wmark_min_adj", "1.5", "EINVAL"),
    (ANOLIS, "memory.priority", "12", "12"),
    (ANOLIS, "memory.priority", "13", "EINVAL"),
    (ANOLIS, "memory.use_priority_oom", "1", "1"),
    (ANOLIS, "memory.use_priority_oom", "2", "EINVAL"),
    (ANOLIS, "memory.oom.group", "1", "1"),
    (ANOLIS, "memory.oom.group", "2", "EINVAL"),
    (ANOLIS, "memory.pagecache_limit.enable", "1", "1"),
    (ANOLIS, "memory.pagecache_limit.enable", "2", "EINVAL"),
    (ANOLIS, "memory.pagecache_limit.sync", "1", "1"),
    (ANOLIS, "memory.pagecache_limit.sync", "2", "EINVAL"),
    (ANOLIS, "memory.pagecache_limit.size", "10485760", "10485760"),
    (ANOLIS, "memory.pagecache_limit.size", "10M", "10485760"),
    (ANOLIS, "memory.pagecache_limit.size", "1G", "1073741824"),
    (ANOLIS, "memory.pagecache_limit.size", "x", "EINVAL"),
    (ANOLIS, "memory.reap_background", "1", "1"),
    (ANOLIS, "memory.reap_background", "2", "EINVAL"),
    (ANOLIS, "memory.direct_compact_latency", "1", "EINVAL"),  # only 0, which clears
    (ANOLIS, "memory.idle_page_stats", "1,2,3,4,5,6,7,8,9", "E2BIG"),
    (ANOLIS, "memory.idle_page_stats", "2,1", "EINVAL"),
    (ANOLIS, "memory.idle_page_stats", "1,1", "EINVAL"),
    (ANOLIS, "memory.idle_page_stats", "1,256", "EINVAL"),
    (ANOLIS, "memory.idle_page_stats", "1,,2", "EINVAL"),
    (ANOLIS, "memory.wmark_ratio", "+95", "95"),
    (ANOLIS, "memory.pre_oom", "1", "1"),
    (ANOLIS, "memory.pre_oom", "2", "EINVAL"),
    (ANOLIS, "memory.allow_duptext", "1", "1"),
    (ANOLIS, "memory.allow_duptext", "2", "EINVAL"),
    (ANOLIS, "memory.allow_duptext_refresh", "1", "1"),
    (ANOLIS, "memory.allow_duptext_refresh", "2", "EINVAL"),
    (ANOLIS, "memory.duptext_nodes", "0,1,3", "0-1,3"),
    (ANOLIS, "memory.duptext_nodes", "1-0", "EINVAL"),
    (ANOLIS, "memory.duptext_nodes", "all", "EINVAL"),
    (ANOLIS, "memory.duptext_nodes", "0-1024", "ERANGE"),
    (ANOLIS, "memory.allow_text_unevictable", "1", "1"),
    (ANOLIS, "memory.allow_text_unevictable", "2", "EINVAL"),
    (ANOLIS, "memory.text_unevictable_percent", "0", "0"),
    (ANOLIS, "memory.text_unevictable_percent", "100", "100"),
    (ANOLIS, "memory.text_unevictable_percent", "101", "EINVAL"),
    (ANOLIS, "memory.thp_reclaim", "reclaim", "reclaim"),
    (ANOLIS, "memory.thp_reclaim", "swap", "swap"),
    (ANOLIS, "memory.thp_reclaim", "disable", "disable"),
    (ANOLIS, "memory.thp_reclaim", "1", "EINVAL"),
    (("anolis_v1", "anolis_v2", "mainline_v2"), "memory.swap.high", "4097", "4096"),
    (("anolis_v1", "anolis_v2", "mainline_v2"), "memory.swap.high", "max", "max"),
    (("anolis_v1", "anolis_v2", "mainline_v2"), "memory.swap.high", "-1", "EINVAL"),
    (("anolis_v1",), "memory.use_priority_swap", "1", "1"),
    (("anolis_v1",), "memory.use_priority_swap", "2", "EINVAL"),
    (("anolis_v1",), "memory.async_fork", "1", "1"),
    (("anolis_v1", "anolis_v2", "openeuler_v1", "opencloudos_v2"), "memory.min", "4097", "4096"),  # whole pages
    (("anolis_v1", "anolis_v2", "openeuler_v1", "opencloudos_v2"), "memory.low", "1M", "1048576"),
    (("anolis_v1", "anolis_v2", "openeuler_v1", "opencloudos_v2"), "memory.high", "max", "max"),
    (("anolis_v1", "anolis_v2", "openeuler_v1", "opencloudos_v2"), "memory.high", "-1", "EINVAL"),
    (("anolis_v1", "anolis_v2", "openeuler_v1", "opencloudos_v2"), "memory.min", "1X", "EINVAL"),
    (("openeuler_v1",), "memory.qos_level", "-1", "-1"),
    (("openeuler_v1",), "memory.qos_level", "0", "0"),
    (("openeuler_v1",), "memory.qos_level", "1", "EINVAL"),
    (("openeuler_v1",), "memory.qos_level", "-2", "EINVAL"),
    (("openeuler_v1",), "memory.high_async_ratio", "99", "99"),
    (("openeuler_v1",), "memory.high_async_ratio", "100", "EINVAL"),
    (("openeuler_v1",), "memory.high_async_ratio", "-1", "EINVAL"),
    (("opencloudos_v1", "opencloudos_v2"), "memory.pagecache.max_ratio", "100", "100"),
    (("opencloudos_v1", "opencloudos_v2"), "memory.pagecache.max_ratio", "101", "EINVAL"),
    (("opencloudos_v1", "opencloudos_v2"), "memory.pagecache.reclaim_ratio", "0", "0"),
    (("opencloudos_v1", "opencloudos_v2"), "memory.pagecache.reclaim_ratio", "-1", "EINVAL"),
    (("opencloudos_v1", "opencloudos_v2"), "memory.pagecache.current", "0", "EINVAL"),
    (("anolis_v1", "opencloudos_v1"), "memory.limit_in_bytes", "1M", "1048576"),
    (("anolis_v1", "opencloudos_v1"), "memory.limit_in_bytes", "-1", NO_LIMIT),
    (("anolis_v1", "opencloudos_v1"), "memory.limit_in_bytes", "max", "EINVAL"),
    (("anolis_v1", "opencloudos_v1"), "memory.swappiness", "101", "EINVAL"),
    (("openeuler_v1",), "memory.swappiness", "200", "200"),
    (("openeuler_v1", "mainline_v1"), "memory.use_hierarchy", "0", "EINVAL"),
]
CASES = [(flavour, *row) for flavours, *row in VALUES for flavour in flavours]


@pytest.mark.parametrize(("flavour", "name", "text", "expected"), CASES)
def test_ranges(flavour: str, name: str, text: str, expected: str) -> None:
    assert outcome(kernel(flavour), f"/a/{name}", text) == expected


# (file, what a new cgroup has while nothing was set)
DEFAULTS = [
    (ANOLIS, {"memory.wmark_ratio": "0", "memory.wmark_scale_factor": "50", "memory.wmark_min_adj": "0", "memory.priority": "0", "memory.use_priority_oom": "0",
              "memory.oom.group": "0", "memory.pagecache_limit.enable": "0", "memory.pagecache_limit.size": "0", "memory.pagecache_limit.sync": "0",
              "memory.reap_background": "0", "memory.min": "0", "memory.low": "0", "memory.high": "max", "memory.wmark_high": "max",
              "memory.wmark_low": "max", "memory.pre_oom": "0", "memory.allow_duptext": "0", "memory.allow_duptext_refresh": "0",
              "memory.allow_text_unevictable": "0", "memory.thp_reclaim": "disable", "memory.swap.high": "max"}),
    (("openeuler_v1",), {"memory.qos_level": "0", "memory.high_async_ratio": "0", "memory.high": "max", "memory.swap.max": "max"}),
    (("opencloudos_v1", "opencloudos_v2"), {"memory.pagecache.reclaim_ratio": "5", "memory.pagecache.max_ratio": "100", "memory.pagecache.current": "0"}),
]  # fmt: skip


@pytest.mark.parametrize(("flavour", "name", "expected"), [(one, *pair) for flavours, files in DEFAULTS for one in flavours for pair in files.items()])
def test_defaults(flavour: str, name: str, expected: str) -> None:
    assert kernel(flavour).read(f"/a/{name}").rstrip("\n") == expected


@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
def test_vendor_files_are_not_on_the_root_but_for_statistics_of_v1(flavour: str) -> None:
    made = kernel(flavour)
    vendor = {name for name in made.names(made.group("/a")) if "wmark" in name or "pagecache" in name or "priority" in name or "qos" in name}
    assert bool(vendor) != flavour.startswith("mainline") and not vendor & set(made.names(made.root))
    assert ("memory.idle_page_stats" in made.names(made.root)) == flavour.startswith("anolis")


@pytest.mark.parametrize("flavour", ANOLIS)
@pytest.mark.parametrize(
    ("name", "value", "inherited"),
    [("memory.wmark_ratio", "95", "95"), ("memory.wmark_scale_factor", "20", "20"), ("memory.wmark_min_adj", "-10", "-10"), ("memory.priority", "3", "0"),
     ("memory.use_priority_oom", "1", "0"), ("memory.oom.group", "1", "0"), ("memory.low", "4096", "0"), ("memory.pagecache_limit.enable", "1", "0")],
)  # fmt: skip
def test_what_a_child_begins_with(flavour: str, name: str, value: str, inherited: str) -> None:
    made = kernel(flavour)
    made.write(f"/a/{name}", value)
    if flavour.endswith("v2"):
        made.write("/a/cgroup.subtree_control", "+memory")
    made.mkdir("/a/b")
    assert made.read(f"/a/b/{name}") == f"{inherited}\n"
    # Once it is there, the parent's next value is the parent's.
    made.write(f"/a/{name}", "0" if name != "memory.wmark_scale_factor" else "1")
    if name != "memory.wmark_min_adj":
        assert made.read(f"/a/b/{name}") == f"{inherited}\n"


# (writes, wmark_high, wmark_low) in the order of writing; {limit} is the limit's file
WMARKS: list[tuple[list[tuple[str, str]], str, str]] = [
    ([("{limit}", "4G"), ("memory.wmark_ratio", "95"), ("memory.wmark_scale_factor", "20")], str(996147 * PAGE), str((996147 - 2097) * PAGE)),
    ([("memory.wmark_scale_factor", "20"), ("memory.wmark_ratio", "95"), ("{limit}", "4G")], str(996147 * PAGE), str((996147 - 2097) * PAGE)),
    ([("memory.wmark_ratio", "95")], "max", "max"),  # of no limit at all
    ([("{limit}", "1G"), ("memory.wmark_ratio", "0")], "max", "max"),
    ([("{limit}", "1G"), ("memory.wmark_ratio", "50"), ("memory.wmark_ratio", "0")], "max", "max"),
    ([("{limit}", "4G"), ("memory.high", "1G"), ("memory.wmark_ratio", "50")], str(512 * MIB), str(512 * MIB - 1310 * PAGE)),  # min(high, limit)
    ([("{limit}", "1G"), ("memory.high", "4G"), ("memory.wmark_ratio", "50")], str(512 * MIB), str(512 * MIB - 1310 * PAGE)),
    ([("memory.high", "1G"), ("memory.wmark_ratio", "50")], str(512 * MIB), str(512 * MIB - 1310 * PAGE)),
    ([("{limit}", "4G"), ("memory.high", "1G"), ("memory.wmark_ratio", "50"), ("memory.high", "max")], str(2 * GIB), str(2 * GIB - 5242 * PAGE)),
    ([("{limit}", "4G"), ("memory.wmark_ratio", "50"), ("{limit}", "2G")], str(GIB), str(GIB - 2621 * PAGE)),
    ([("{limit}", "1G"), ("memory.wmark_ratio", "1"), ("memory.wmark_scale_factor", "1000")], str(2621 * PAGE), "0"),  # not below nothing
]


@pytest.mark.parametrize("flavour", ANOLIS)
@pytest.mark.parametrize(("writes", "high", "low"), WMARKS)
def test_wmarks_follow_every_write(flavour: str, writes: list[tuple[str, str]], high: str, low: str) -> None:
    made = kernel(flavour)
    for name, text in writes:
        made.write(f"/a/{name.format(limit=LIMIT[made.flavour.version])}", text)
    assert (made.read("/a/memory.wmark_high"), made.read("/a/memory.wmark_low")) == (f"{high}\n", f"{low}\n")


def test_wmark_min_adj_reads_the_effective_value() -> None:
    """The example of the Anolis kernel's interfaces.rst."""
    made = kernel("anolis_v1", "/A", "/A/B", "/A/C", "/D", "/A/B/E", "/A/B/F", "/Z", "/Z/Y")
    for path, text in (("/A", "-10"), ("/A/B", "-25"), ("/A/C", "0"), ("/D", "50"), ("/A/B/E", "-25"), ("/A/B/F", "50"), ("/Z/Y", "-25")):
        made.write(f"{path}/memory.wmark_min_adj", text)
    read = {path: made.read(f"{path}/memory.wmark_min_adj").strip() for path in ("/A", "/A/B", "/A/C", "/D", "/A/B/E", "/A/B/F", "/Z/Y")}
    assert read == {"/A": "-10", "/A/B": "-10", "/A/C": "0", "/D": "50", "/A/B/E": "-10", "/A/B/F": "50", "/Z/Y": "-25"}


# Of a host with 1,000 pages of min and 2,000 of low: (memory.wmark_min_adj, effective min, free, milliseconds asleep).
HELD_UP = [
    (0, 1000, 900, 0),
    (-25, 750, 100, 0),  # enters direct reclaim later, and never sleeps
    (-10, 900, 950, 0),
    (50, 1500, 1500, 0),
    (50, 1500, 1499, 1),  # at least one
    (50, 1500, 1250, 50),
    (50, 1500, 1000, 100),
    (50, 1500, 0, 300),
    (10, 1100, 500, 600),
    (1, 1010, 0, 1000),  # at most a second
    (25, 1250, 1200, 20),
]


@pytest.mark.parametrize(("adj", "effective", "free", "slept"), HELD_UP)
def test_wmark_min_adj_grades_the_hosts_min_watermark(adj: int, effective: int, free: int, slept: int) -> None:
    host = Watermarks(min=1000, low=2000, free=free)
    assert (host.effective_min(adj), host.sleep(adj)) == (effective, slept)


def test_without_a_gap_between_the_watermarks_nobody_sleeps() -> None:
    assert Watermarks(min=1000, low=1000, free=0).sleep(50) == 0


@pytest.mark.parametrize("flavour", ANOLIS)
def test_sleep_is_counted_where_there_are_tasks(flavour: str) -> None:
    made = kernel(flavour, "/batch", "/idle", "/service")
    for path, adj, procs in (("/batch", "50", [1]), ("/idle", "50", []), ("/service", "-25", [2])):
        made.write(f"{path}/memory.wmark_min_adj", adj)
        made.figure(path, procs=procs)
    for free in (1250, 1600, 1000):
        made.figure("", watermarks={"min": 1000, "low": 2000, "free": free})
    counted = {path: made.read(f"{path}/memory.exstat").splitlines()[0] for path in ("/batch", "/idle", "/service")}
    assert counted == {"/batch": "wmark_min_throttled_ms 150", "/idle": "wmark_min_throttled_ms 0", "/service": "wmark_min_throttled_ms 0"}


@pytest.mark.parametrize("flavour", ANOLIS)
def test_pre_oom_is_not_switched_while_tasks_reclaim(flavour: str) -> None:
    made = kernel(flavour)
    made.figure("/a", reclaiming=1)
    assert (outcome(made, "/a/memory.pre_oom", "1"), outcome(made, "/a/memory.pre_oom", "0")) == ("EPERM", "0")
    made.figure("/a", reclaiming=0)
    assert outcome(made, "/a/memory.pre_oom", "1") == "1"


@pytest.mark.parametrize("flavour", ANOLIS)
def test_background_reclaim_keeps_usage_below_the_low_mark(flavour: str) -> None:
    made = kernel(flavour)
    made.figure("/a", usage=GIB, stat={"inactive_file": 100 * MIB, "active_file": 100 * MIB})
    made.write(f"/a/{LIMIT[made.flavour.version]}", "1G")
    assert made.group("/a").usage == GIB
    made.write("/a/memory.wmark_ratio", "90")
    assert made.group("/a").usage == int(made.read("/a/memory.wmark_low")) and made.group("/a").stat["inactive_file"] == 0
    assert made.read("/a/memory.exstat").splitlines() == ["wmark_min_throttled_ms 0", "wmark_reclaim_work_ms 1", "pagecache_limit_reclaimed_kb 0"]


def test_openeulers_background_reclaim_ends_ten_points_lower() -> None:
    made = kernel("openeuler_v1")
    made.figure("/a", usage=95 * MIB, stat={"inactive_file": 50 * MIB})
    made.write("/a/memory.high", "100M")
    made.write("/a/memory.high_async_ratio", "96")
    assert made.group("/a").usage == 95 * MIB
    made.write("/a/memory.high_async_ratio", "90")
    assert made.group("/a").usage == 80 * MIB


@pytest.mark.parametrize("flavour", ANOLIS)
def test_page_cache_is_bounded_only_with_the_hosts_switch(flavour: str) -> None:
    made = kernel(flavour, "/a", "/a/b")
    for path in ("/a", "/a/b"):
        made.figure(path, usage=GIB, stat={"inactive_file": 64 * MIB, "active_file": 64 * MIB})
    made.write("/a/memory.pagecache_limit.size", "96M")
    made.write("/a/memory.pagecache_limit.enable", "1")
    assert made.group("/a/b").page_cache == 128 * MIB
    made.write("/sys/kernel/mm/pagecache_limit/enabled", "1")
    # The ancestor's limit counts.
    assert made.group("/a").page_cache == made.group("/a/b").page_cache == 96 * MIB
    assert "pagecache_limit_reclaimed_kb 32768\n" in made.read("/a/memory.exstat")


# (max_ratio, reclaim_ratio, page cache of 80 MiB then, in a limit of 100 MiB; how often it was above)
RATIOS = [("100", "5", 80, 0), ("80", "5", 80, 0), ("79", "1", 79, 1), ("79", "5", 75, 1), ("10", "5", 10, 1), ("10", "0", 10, 1)]


@pytest.mark.parametrize("flavour", OPENCLOUDOS)
@pytest.mark.parametrize(("most", "least", "left", "times"), RATIOS)
def test_page_cache_is_bounded_by_a_share_of_the_limit(flavour: str, most: str, least: str, left: int, times: int) -> None:
    made = kernel(flavour)
    made.write(f"/a/{LIMIT[made.flavour.version]}", "100M")
    made.figure("/a", usage=90 * MIB, stat={"inactive_file": 50 * MIB, "active_file": 30 * MIB})
    made.write("/a/memory.pagecache.reclaim_ratio", least)
    made.write("/a/memory.pagecache.max_ratio", most)
    assert made.read("/a/memory.pagecache.current") == f"{left * MIB}\n"
    assert f"pagecache_max {times}\npagecache_oom 0\n" in made.read("/a/memory.events")


@pytest.mark.parametrize("flavour", OPENCLOUDOS)
def test_a_share_of_no_limit_bounds_no_page_cache(flavour: str) -> None:
    made = kernel(flavour)
    made.figure("/a", usage=90 * MIB, stat={"inactive_file": 80 * MIB})
    made.write("/a/memory.pagecache.max_ratio", "10")
    assert made.read("/a/memory.pagecache.current") == f"{80 * MIB}\n"


@pytest.mark.parametrize("flavour", ANOLIS)
def test_a_page_cache_limit_is_clamped_to_the_limit(flavour: str) -> None:
    made = kernel(flavour)
    made.write(f"/a/{LIMIT[made.flavour.version]}", "1G")
    assert outcome(made, "/a/memory.pagecache_limit.size", "2G") == str(GIB)


@pytest.mark.parametrize("flavour", ANOLIS)
def test_a_written_0_clears_a_histogram(flavour: str) -> None:
    made = kernel(flavour)
    name = "/a/memory.direct_reclaim_memcg_latency"
    made.figure("/a", latency={"memory.direct_reclaim_memcg_latency": {"0-1": 3, ">=1000": 2, "total": 2500}})
    assert made.read(name) == "0-1ms: \t3\n1-5ms: \t0\n5-10ms: \t0\n10-100ms: \t0\n100-500ms: \t0\n500-1000ms: \t0\n>=1000ms: \t2\ntotal(ms): \t2500\n"
    assert outcome(made, name, "1") == "EINVAL" and "total(ms): \t2500" in made.read(name)
    assert "total(ms): \t0" in outcome(made, name, "0")


@pytest.mark.parametrize("flavour", ANOLIS)
def test_idle_pages(flavour: str) -> None:
    made = kernel(flavour)
    made.write("/sys/kernel/mm/kidled/scan_period_in_seconds", "120")
    made.figure("/a", idle={"cfei": [1, 2, 3]})
    shown = made.read("/a/memory.idle_page_stats")
    assert "# page_scans: 1\n" in shown and "# scan_period_in_seconds: 120\n" in shown and "# buckets: 1,2,5,15,30,60,120,240\n" in shown
    assert [line.split()[0] for line in shown.splitlines() if not line.startswith("#")] == (
        "csei dsei cfei dfei csui dsui cfui dfui csea dsea cfea dfea csua dsua cfua dfua slab".split()
    )
    # A write of buckets clears, and so does one of the period, even the same.
    assert "# buckets: 3,255\n" in outcome(made, "/a/memory.idle_page_stats", "3,255") and "# page_scans: 0\n" in made.read("/a/memory.idle_page_stats")
    made.figure("/a", idle={"cfei": [5]})
    made.write("/sys/kernel/mm/kidled/scan_period_in_seconds", "120")
    assert made.group("/a").idle == {}
    assert "no valid bucket" in outcome(made, "/a/memory.idle_page_stats", "")


# (path, written, what is read then)
SWITCHES = [
    ("anolis_v1", "/sys/kernel/mm/pagecache_limit/enabled", "1", "1"),
    ("anolis_v1", "/sys/kernel/mm/pagecache_limit/enabled", "2", "EINVAL"),
    ("anolis_v1", "/sys/kernel/mm/kidled/scan_period_in_seconds", "0", "0"),
    ("anolis_v1", "/sys/kernel/mm/kidled/scan_period_in_seconds", "-1", "EINVAL"),
    ("anolis_v1", "/sys/kernel/mm/kidled/use_hierarchy", "2", "EINVAL"),
    ("anolis_v1", "/sys/kernel/mm/memcg_reaper/reap_background", "1", "1"),
    ("anolis_v1", "/sys/kernel/mm/memcg_reaper/reap_background", "2", "EINVAL"),
    ("anolis_v1", "/sys/kernel/mm/memcg_reaper/reap", "1", "EACCES"),  # it cannot be read
    ("anolis_v1", "/sys/kernel/mm/coldpgs/batch", "64", "64"),
    ("anolis_v1", "/sys/kernel/mm/coldpgs/batch", "0", "EINVAL"),
    ("anolis_v1", "/sys/kernel/mm/coldpgs/mode", "3", "3"),
    ("anolis_v1", "/sys/kernel/mm/coldpgs/mode", "4", "EINVAL"),
    ("anolis_v1", "/sys/kernel/mm/pre_oom/enabled", "2", "EINVAL"),
    ("anolis_v1", "/sys/kernel/mm/pre_oom/level", "3", "3"),
    ("anolis_v1", "/sys/kernel/mm/pre_oom/level", "4", "EINVAL"),
    ("openeuler_v1", "/proc/sys/vm/memcg_qos_enable", "1", "1"),
    ("openeuler_v1", "/proc/sys/vm/memcg_qos_enable", "2", "EINVAL"),
]


@pytest.mark.parametrize(("flavour", "path", "text", "expected"), SWITCHES)
def test_switches(flavour: str, path: str, text: str, expected: str) -> None:
    made = kernel(flavour)
    try:
        read = outcome(made, path, text)
    except OSError as exc:
        read = REFUSED[exc.errno or 0]
    assert read == expected


def test_defaults_of_switches() -> None:
    values = kernel("anolis_v1").values
    assert values["/sys/kernel/mm/memcg_reaper/scan_interval"] == 5 and values["/sys/kernel/mm/memcg_reaper/pages_scan"] == 1310720
    assert values["/sys/kernel/mm/coldpgs/batch"] == 32 and values["/sys/kernel/mm/memcg_reaper/reap_background"] == 0
    assert values["/proc/sys/vm/enable_context_readahead"] == 1 and kernel("openeuler_v1").values["/proc/sys/vm/memcg_qos_enable"] == 0


def test_reap_background_spreads_to_children() -> None:
    made = kernel("anolis_v1", "/a", "/a/b", "/a/b/c")
    switch = "/sys/kernel/mm/memcg_reaper/reap_background"
    made.write(switch, "1")
    made.write("/a/memory.reap_background", "1")
    assert made.read("/a/b/c/memory.reap_background") == "1\n"
    assert made.read(switch) == "3\n"  # 2 more while a cgroup's own is on


@pytest.mark.parametrize("flavour", ANOLIS)
def test_the_lowest_priority_dies_first_where_the_parent_says_so(flavour: str) -> None:
    made = kernel(flavour, "/p", "/p/online", "/p/batch")
    made.figure("/p/online", usage=2 * GIB, procs=[1])
    made.figure("/p/batch", usage=GIB, procs=[2])
    made.write("/p/memory.priority", "0")
    made.write("/p/online/memory.priority", "12")
    assert made.victim("/p").name == "online"
    made.write("/p/memory.use_priority_oom", "1")
    assert made.victim("/p").name == "batch"


def test_openeuler_kills_offline_cgroups_first_once_the_host_says_so() -> None:
    made = kernel("openeuler_v1", "/online", "/batch")
    made.figure("/online", usage=2 * GIB)
    made.figure("/batch", usage=GIB)
    made.write("/batch/memory.qos_level", "-1")
    assert made.victim().name == "online"
    made.write("/proc/sys/vm/memcg_qos_enable", "1")
    assert made.victim().name == "batch"


@pytest.mark.parametrize("flavour", ["openeuler_v1", "mainline_v2"])
def test_cgroup_kill(flavour: str) -> None:
    made = kernel(flavour, "/a", "/a/b")
    for path, procs in (("/a/b", [1, 2]), ("", [3])):
        made.figure(path, procs=procs)
    assert [outcome(made, "/a/cgroup.kill", text) for text in ("0", "2", "x")] == ["ERANGE", "ERANGE", "EINVAL"]
    made.write("/a/cgroup.kill", "1\n")
    assert (made.read("/a/b/cgroup.procs"), made.read("/cgroup.procs")) == ("", "3\n") and not made.readable("/a/cgroup.kill")


def test_linux_6_1_counts_kills_of_whole_cgroups() -> None:
    made = kernel("mainline_v2")
    made.figure("/a", usage=GIB, procs=[1, 2])
    made.write("/a/memory.oom.group", "1")
    made.kill("/a")
    assert "oom_kill 1\noom_group_kill 1\n" in made.read("/a/memory.events")
    assert "oom_group_kill" not in kernel("anolis_v2").read("/a/memory.events")


@pytest.mark.parametrize(("group", "dead"), [("0", [1]), ("1", [1, 2, 3])])
def test_oom_group(group: str, dead: list[int]) -> None:
    made = kernel("anolis_v2")
    made.figure("/a", usage=GIB, procs=[1, 2, 3])
    made.write("/a/memory.oom.group", group)
    assert made.kill("/a") == dead
    assert "oom_kill 1\n" in made.read("/a/memory.events")


# Limits and usage


def test_v1_answers_ebusy_below_what_cannot_be_reclaimed() -> None:
    made = kernel("anolis_v1")
    made.figure("/a", usage=100 * MIB, stat={"inactive_file": 10 * MIB})
    assert outcome(made, "/a/memory.limit_in_bytes", "95M") == str(95 * MIB)
    assert made.group("/a").usage == 95 * MIB
    assert outcome(made, "/a/memory.limit_in_bytes", "50M") == "EBUSY"
    assert made.read("/a/memory.limit_in_bytes") == f"{95 * MIB}\n"


def test_v2_kills_below_what_cannot_be_reclaimed() -> None:
    made = kernel("anolis_v2")
    made.figure("/a", usage=100 * MIB, stat={"inactive_file": 10 * MIB}, procs=[7])
    assert outcome(made, "/a/memory.max", "50M") == str(50 * MIB)
    assert made.group("/a").usage == 0 and made.group("/a").events["oom_kill"] == 1


def test_the_limit_is_at_most_the_one_with_swap() -> None:
    made = kernel("anolis_v1")
    assert outcome(made, "/a/memory.memsw.limit_in_bytes", "1G") == "EINVAL"  # below the limit, which is none
    made.write("/a/memory.limit_in_bytes", "1G")
    assert outcome(made, "/a/memory.memsw.limit_in_bytes", "1G") == str(GIB)
    assert outcome(made, "/a/memory.limit_in_bytes", "2G") == "EINVAL"


def test_a_limit_of_the_root_cannot_be_set() -> None:
    assert outcome(kernel("anolis_v1"), "/memory.limit_in_bytes", "1G") == "EINVAL"


@pytest.mark.parametrize("flavour", ["openeuler_v1", "mainline_v2"])
def test_reclaim(flavour: str) -> None:
    made = kernel(flavour)
    made.figure("/a", usage=100 * MIB, stat={"inactive_file": 10 * MIB})
    made.write("/a/memory.reclaim", "4M")
    assert made.group("/a").usage == 96 * MIB
    assert outcome(made, "/a/memory.reclaim", "50M") == "EAGAIN"
    assert made.group("/a").usage == 90 * MIB  # a part
    assert outcome(made, "/a/memory.reclaim", "1M swappiness=0") == "EINVAL"  # since 6.12
    # 6.12 takes a suffix alone for a size of 0.
    assert outcome(made, "/a/memory.reclaim", "") == "EINVAL"
    made.write("/a/memory.reclaim", "K")
    assert made.group("/a").usage == 90 * MIB


def test_figures_by_node() -> None:
    made = kernel("anolis_v2")
    made.figure("/a", stat={"anon": MIB})
    assert "anon N0=1048576\n" in made.read("/a/memory.numa_stat") and "pgfault" not in made.read("/a/memory.numa_stat")
    made = kernel("anolis_v1")
    made.figure("/a", usage=3 * PAGE, stat={"inactive_file": PAGE})
    assert made.read("/a/memory.numa_stat").startswith("total=3 N0=3\nfile=1 N0=1\nanon=2 N0=2\nunevictable=0 N0=0\nhierarchical_total=3 N0=3\n")


# The tree


@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
def test_cgroups_come_and_go(flavour: str) -> None:
    made = kernel(flavour, "/a", "/a/b")

    def code(work: t.Callable[[], object]) -> str:
        with pytest.raises(OSError) as raised:
            work()
        return REFUSED[raised.value.errno or 0]

    assert code(lambda: made.rmdir("/a")) == "EBUSY"  # children
    made.figure("/a/b", procs=[5])
    assert code(lambda: made.rmdir("/a/b")) == "EBUSY"  # processes
    assert code(lambda: made.mkdir("/a/b")) == "EEXIST"
    assert code(lambda: made.mkdir("/x/y")) == "ENOENT"
    assert code(lambda: made.mkdir("/a/new\nline")) == "EINVAL"
    before = made.group("/a/b").inode
    made.figure("/a/b", procs=[])
    made.rmdir("/a/b")
    assert code(lambda: made.read("/a/b/memory.stat")) == "ENOENT"
    assert made.mkdir("/a/b").inode != before  # another cgroup of the same name


def test_processes_move() -> None:
    made = kernel("anolis_v1", "/a", "/b")
    made.figure("/a", procs=[10, 11])
    made.write("/b/cgroup.procs", "11\n")
    assert (made.read("/a/cgroup.procs"), made.read("/b/cgroup.procs")) == ("10\n", "11\n")
    assert outcome(made, "/b/cgroup.procs", "99") == "ESRCH"
    assert outcome(made, "/b/cgroup.procs", "x") == "EINVAL"


def test_v2_has_memory_files_where_the_cgroup_above_enables_them() -> None:
    made = Kernel(FLAVOURS["anolis_v2"])
    made.mkdir("/a")
    assert "memory.high" not in made.names(made.group("/a")) and "cgroup.procs" in made.names(made.group("/a"))
    made.figure("", procs=[1])
    made.write("/cgroup.subtree_control", "+memory")
    assert "memory.high" in made.names(made.group("/a")) and "memory.high" not in made.names(made.root)
    made.write("/a/cgroup.procs", "1")
    made.mkdir("/a/b")
    assert outcome(made, "/a/cgroup.subtree_control", "+memory") == "EBUSY"  # no processes in inner cgroups
    made.write("/a/b/cgroup.procs", "1")
    assert "populated 1\n" in made.read("/a/cgroup.events")
    made.write("/a/cgroup.subtree_control", "+memory")
    assert outcome(made, "/a/cgroup.procs", "1") == "EBUSY"
    assert outcome(made, "/cgroup.subtree_control", "-memory") == "EBUSY"


# What the kernel makes of text

NUMBERS = [("5", 5), ("+5", 5), ("+-5", "EINVAL"), ("+", "EINVAL"), ("0x10", 16), ("010", 8), ("-3", -3), ("09", "EINVAL"), ("1_0", "EINVAL"), ("5 ", 5),
           ("", "EINVAL"), (str(2**63), "ERANGE")]  # fmt: skip
SIZES = [("4097", 4096), ("1k", 0), ("8K", 8192), ("1T", 1 << 40), ("max", None), (str(2**64), None), ("1.5G", "EINVAL"), ("-1", "EINVAL"), ("G", 0)]


@pytest.mark.parametrize(("text", "expected"), NUMBERS)
def test_number(text: str, expected: t.Any) -> None:
    try:
        assert parsing.number(text, -100, 100) == expected
    except OSError as exc:
        assert REFUSED[exc.errno or 0] == expected


@pytest.mark.parametrize(("text", "expected"), SIZES)
def test_size(text: str, expected: t.Any) -> None:
    try:
        assert parsing.size(text, unlimited="max", page=PAGE) == expected
    except OSError as exc:
        assert REFUSED[exc.errno or 0] == expected


# Nothing is left out in silence


def named(prefix: str, words: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{word}" for word in words.split())


# What the pages name, by their sections: (section, whose kernels have it, names)
PAGES: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
    ("per-memcg background reclaim", ANOLIS, named("memory.wmark_", "ratio scale_factor high low")),
    ("global min watermark", ANOLIS, (*named("memory.", "wmark_min_adj exstat"), "wmark_min_throttled_ms")),
    ("protection, OOM and page cache", ANOLIS, named("memory.", """min low high priority use_priority_oom oom.group pagecache_limit.enable pagecache_limit.size
        pagecache_limit.sync pre_oom allow_duptext allow_duptext_refresh duptext_nodes allow_text_unevictable text_unevictable_percent thp_control thp_reclaim
        thp_reclaim_stat thp_reclaim_ctrl reclaim_caches pgtable_bind pgtable_misplaced mglru_batch_size mglru_reclaim_kbytes""")),
    ("protection, OOM and page cache", ANOLIS, named("/sys/kernel/mm/", "pagecache_limit/enabled pre_oom/enabled pre_oom/level")),
    ("protection, OOM and page cache", ("anolis_v1",),
     named("memory.", "events events.local use_priority_swap swap.high swap.events async_fork")),
    ("observability", ANOLIS, named("memory.direct_", """reclaim_global_latency reclaim_memcg_latency compact_latency swapout_global_latency
        swapout_memcg_latency swapin_latency""")),
    ("observability", ANOLIS, (*named("memory.", "idle_page_stats idle_page_stats.local pgtrace"),
                               *named("", "wmark_reclaim_work_ms pagecache_limit_reclaimed_kb unevictable_text_size_kb"))),
    ("kidled", ANOLIS, named("/sys/kernel/mm/kidled/", "scan_period_in_seconds use_hierarchy")),
    ("coldpgs", ANOLIS, named("/sys/kernel/mm/coldpgs/", "version flags batch hierarchy mode threshold threshold_nonrot swapin")),
    ("coldpgs", ANOLIS, named("memory.coldpgs.", "flags threshold size stats swapin")),
    ("zombie reaper", ANOLIS, ("memory.reap_background", *named("/sys/kernel/mm/memcg_reaper/", "scan_interval pages_scan verbose reap_background reap"))),
    ("sysctls", ANOLIS, named("/proc/sys/vm/", "enable_context_readahead enable_brk_thp_aligned penalty_extra_delay_jiffies")),
    ("openEuler", ("openeuler_v1",), ("/proc/sys/vm/memcg_qos_enable", "cgroup.kill", *named("memory.", """qos_level high_async_ratio min low high events
        events.local reclaim ksm swap.max swapfile force_swapin flag_stat wb_blkio_ino"""))),
    ("OpenCloudOS", OPENCLOUDOS, (*named("memory.", """pagecache.reclaim_ratio pagecache.max_ratio pagecache.current events events.local meminfo
        meminfo_recursive vmstat bind_blkio sli sli_max"""), "pagecache_max", "pagecache_oom")),
    ("cgroup v2", V2, named("memory.", "current min low high max oom.group events events.local stat swap.current swap.max swap.events pressure")),
    ("cgroup v2", V2, named("", "low high max oom oom_kill")),
    ("cgroup v2, since 5.8 or 5.10", ("mainline_v2", "anolis_v2"), named("memory.", "swap.high numa_stat")),
    ("cgroup v2, since 5.19 or 6.1", ("mainline_v2",), (*named("memory.", "peak reclaim zswap.current zswap.max"), "cgroup.pressure", "oom_group_kill")),
    ("cgroup v2, later", ("mainline_v2",), named("memory.", "swap.peak zswap.writeback")),
    ("cgroup v1", V1, ("cgroup.event_control", *named("memory.", """usage_in_bytes max_usage_in_bytes limit_in_bytes soft_limit_in_bytes failcnt stat
        force_empty use_hierarchy swappiness move_charge_at_immigrate oom_control pressure_level numa_stat kmem.limit_in_bytes kmem.usage_in_bytes kmem.failcnt
        kmem.max_usage_in_bytes kmem.slabinfo kmem.tcp.limit_in_bytes kmem.tcp.usage_in_bytes kmem.tcp.failcnt kmem.tcp.max_usage_in_bytes
        memsw.limit_in_bytes memsw.usage_in_bytes memsw.max_usage_in_bytes memsw.failcnt"""))),
]  # fmt: skip
# Of cgroups, whatever their controllers.
CORE = set("cgroup.procs tasks release_agent cgroup.controllers cgroup.subtree_control cgroup.stat cgroup.events cgroup.kill".split())


def files_of(flavour: str) -> set[str]:
    one = FLAVOURS[flavour]
    return {file.name for file in one.files} | {switch.path for switch in one.switches}


@pytest.mark.parametrize(("section", "flavours", "names"), PAGES)
def test_what_the_pages_name_is_there_or_said_to_be_left_out(section: str, flavours: tuple[str, ...], names: tuple[str, ...]) -> None:
    for flavour in flavours:
        present = files_of(flavour) | {*FLAVOURS[flavour].events, *(EXSTAT if flavour in ANOLIS else ())}
        assert {name for name in names if name not in present} == {name for name in names if name in LEFT_OUT}, (section, flavour)


@pytest.mark.parametrize("flavour", sorted(FLAVOURS))
def test_what_is_there_is_named_by_the_pages(flavour: str) -> None:
    assert files_of(flavour) - CORE <= {name for _section, flavours, names in PAGES if flavour in flavours for name in names}


def test_what_is_left_out_is_on_a_page_and_in_the_documentation() -> None:
    assert set(LEFT_OUT) <= {name for _section, _flavours, names in PAGES for name in names}
    testing = (Path(__file__).resolve().parents[3] / "docs" / "testing.md").read_text(encoding="utf-8")
    told = testing.partition("### Vendor kernels\n")[2].partition("\n### ")[0]
    assert [name for name in LEFT_OUT if f"`{name}`" not in told] == []
