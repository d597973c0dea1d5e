# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for every row, and the look-ups."""

from __future__ import annotations

import fnmatch
import re
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _row, _values
from ansible_collections.memqos.fleet.plugins.module_utils._knobs._row import Knob

HOST, MEMCG, UNIT = _registry.host_knobs(), _registry.memcg_knobs(), _registry.unit_knobs()
ROWS = HOST + MEMCG + UNIT
NAMES = {row.name for row in ROWS}


def every_row(check: t.Callable[[Knob], None]) -> t.Callable[[], None]:
    """One test that goes through the registry; a failure says for which row."""

    def test() -> None:
        for row in ROWS:
            try:
                check(row)
            except (AssertionError, _registry.KnobValueError) as exc:
                raise AssertionError(row.name) from exc

    test.__name__ = check.__name__
    return test


# Name and path say the same: this is all a name may point at.
ROOTS = (
    (r"/proc/sys/(vm|kernel)/([\w-]+)", r"\1.\2"),
    (r"/sys/kernel/mm/(.+)", r"\1"),
    (r"/sys/module/(zswap|damon_reclaim|damon_lru_sort|damon_stat)/parameters/(\w+)", r"\1/\2"),
    (r"/sys/block/(zram\{n\}/\w+)", r"\1"),
    (r"/sys/devices/system/node/(node\{n\}/.+)", r"\1"),
)
WORDS = {"unit": _row.Unit, "scope": _row.Scope, "comparison": _row.Comparison, "side_effect": _row.SideEffect, "persist": _row.Persist, "access": _row.Access,
         "risk": _row.Risk, "vendor": _row.Vendor}  # fmt: skip


# ---- Every row -------------------------------------------------------------------------------------------------------


def test_names_are_unique() -> None:
    assert len(NAMES) == len(ROWS)


@every_row
def test_words_are_of_their_lists(row: Knob) -> None:
    for field, words in WORDS.items():
        assert getattr(row, field) in t.get_args(words), field


@every_row
def test_every_row_has_a_source(row: Knob) -> None:
    assert row.source


@every_row
def test_paths_lie_below_known_roots(row: Knob) -> None:
    files = [row.path] if row.scope in ("host", "numa_node") else [row.v1, row.v2]
    assert all(re.fullmatch(r"(/?[\w{}.-]+)*", path) and ".." not in path for path in files)
    if row.scope in ("host", "numa_node"):
        assert (row.v1, row.v2) == ("", "")
        assert row.name in [re.sub(pattern, name, row.path) for pattern, name in ROOTS if re.fullmatch(pattern, row.path)]
        assert (row.scope == "numa_node") == row.path.startswith("/sys/devices/system/node/")
    else:
        assert row.path == ""
        assert all("/" not in path for path in files)
        assert row.scope == "unit" or row.name in files


@every_row
def test_ranges_are_well_formed(row: Knob) -> None:
    kernels = [_registry.kernel_version(since) for since, _low, _high in row.ranges]
    assert kernels == sorted(set(kernels))
    assert not row.ranges or row.ranges[0][0] == "", "the first range holds for every older kernel"
    assert all(low is None or high is None or low <= high for _since, low, high in row.ranges)
    assert not (row.ranges and row.choices)
    # Numbers are bounded, words are listed; what is written as text is the kernel's to check.
    if row.access != "wo" and row.unit not in ("choice", "text", "timespan"):
        assert row.ranges
    if row.unit == "bool":
        assert all(0 <= low <= high <= 1 for _since, low, high in row.ranges if low is not None and high is not None)


@every_row
def test_versions_are_versions(row: Knob) -> None:
    for version in (row.first, row.last):
        assert version == "" or re.fullmatch(r"[0-9]\.[0-9]{1,2}", version)
    assert not (row.first and row.last) or _registry.kernel_version(row.first) <= _registry.kernel_version(row.last)
    assert (row.systemd > 0) == (row.scope == "unit")


@every_row
def test_an_action_has_nothing_to_keep(row: Knob) -> None:
    if row.one_shot and row.access == "wo" and row.vendor == "mainline":
        assert row.persist == "never"
    if not row.one_shot:
        assert row.persist != "never"


@every_row
def test_comparison_fits_the_unit(row: Knob) -> None:
    if row.comparison.startswith("page_rounded"):
        assert row.unit in ("bytes", "bytes or max")
    if row.comparison == "bracketed_choice":
        assert row.unit == "choice"


@every_row
def test_placeholders_of_the_name_are_those_of_the_path(row: Knob) -> None:
    assert set(re.findall(r"\{\w+\}", row.path)) == set(re.findall(r"\{\w+\}", row.name)) <= {"{n}", "{size}"}


@every_row
def test_other_knobs_that_a_row_names_exist(row: Knob) -> None:
    assert set(row.partners) <= NAMES - {row.name}
    assert row.at_most in NAMES - {row.name} | {""}
    assert set(row.excludes) <= NAMES - {row.name}
    assert all(row.name in _registry.find(name).excludes for name in row.excludes)
    for pattern in row.after:
        assert fnmatch.filter(NAMES - {row.name}, pattern), pattern


# A write of the one changes, or bounds, what the other reads: both rows say so.
@pytest.mark.parametrize(
    "pair",
    [
        ("vm.dirty_ratio", "vm.dirty_bytes"),
        ("vm.dirty_background_ratio", "vm.dirty_background_bytes"),
        ("vm.overcommit_ratio", "vm.overcommit_kbytes"),
        ("memory.max", "memory.memsw.limit_in_bytes"),
        ("vm.nr_hugepages", "hugepages/hugepages-{size}kB/nr_hugepages"),
        ("vm.nr_hugepages", "node{n}/hugepages/hugepages-{size}kB/nr_hugepages"),
        ("hugepages/hugepages-{size}kB/nr_hugepages", "node{n}/hugepages/hugepages-{size}kB/nr_hugepages"),
        ("vm.nr_overcommit_hugepages", "hugepages/hugepages-{size}kB/nr_overcommit_hugepages"),
    ],
)
def test_pairs_name_each_other(pair: tuple[str, str]) -> None:
    one, other = (next(row for row in ROWS if row.name == name) for name in pair)
    assert other.name in one.partners
    assert one.name in other.partners


def test_thp_moves_min_free_kbytes_and_not_the_other_way_round() -> None:
    # 6.1: writing `madvise` raised a user's 20000 to 45056.
    for name in ("transparent_hugepage/enabled", "transparent_hugepage/hugepages-64kB/enabled"):
        assert _registry.find(name).partners == ("vm.min_free_kbytes",)
        assert precedes(_registry.find(name), _registry.find("vm.min_free_kbytes"))
    assert _registry.find("vm.min_free_kbytes").partners == ()


def precedes(first: Knob, second: Knob) -> bool:
    return first.name != second.name and any(fnmatch.fnmatchcase(first.name, pattern) for pattern in second.after)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("zram0/comp_algorithm", "zram0/disksize"),
        ("zram0/recomp_algorithm", "zram0/disksize"),
        ("zram0/disksize", "zram0/mem_limit"),
        ("vm.overcommit_ratio", "vm.overcommit_memory"),
        ("ksm/pages_to_scan", "ksm/run"),
        ("damon_lru_sort/cold_min_age", "damon_lru_sort/enabled"),
        ("damon_lru_sort/enabled", "damon_lru_sort/commit_inputs"),
        ("memory.pagecache_limit.size", "memory.pagecache_limit.enable"),
        ("vm.nr_hugepages", "node0/hugepages/hugepages-2048kB/nr_hugepages"),
    ],
)
def test_order_of_writes(first: str, second: str) -> None:
    assert precedes(_registry.find(first), _registry.find(second))
    assert not precedes(_registry.find(second), _registry.find(first))


def test_a_filled_row_waits_for_its_own_device_only() -> None:
    assert not precedes(_registry.find("zram1/comp_algorithm"), _registry.find("zram0/disksize"))


def test_the_order_has_no_circle() -> None:
    left = list(ROWS)
    while left:
        ready = [row for row in left if not any(precedes(other, row) for other in left)]
        assert ready, [row.name for row in left]
        left = [row for row in left if row not in ready]


def test_bounds_have_no_circle() -> None:
    above = {row.name: row.at_most for row in ROWS if row.at_most}
    for name in above:
        seen = []
        while name in above:
            assert name not in seen
            seen.append(name)
            name = above[name]


@pytest.mark.parametrize("row", [row for row in MEMCG if row.unit_property], ids=lambda row: row.name)
def test_a_file_that_systemd_owns_and_its_property_agree(row: Knob) -> None:
    owner = _registry.find(row.unit_property)
    assert owner.scope == "unit"
    assert owner.v2 == row.v2
    assert row.persist == "unit property"
    if owner.name == "MemoryMax":
        assert owner.v1 == row.v1 == "memory.limit_in_bytes"


def test_files_that_systemd_does_not_own_are_written_again() -> None:
    assert {row.persist for row in MEMCG if not row.unit_property} == {"reapply", "never"}


# ---- Look-ups --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found", "path"),
    [
        ("vm.swappiness", "vm.swappiness", "/proc/sys/vm/swappiness"),
        ("vm.page-cluster", "vm.page-cluster", "/proc/sys/vm/page-cluster"),
        ("transparent_hugepage/enabled", "transparent_hugepage/enabled", "/sys/kernel/mm/transparent_hugepage/enabled"),
        ("zswap/enabled", "zswap/enabled", "/sys/module/zswap/parameters/enabled"),
        ("zram3/disksize", "zram3/disksize", "/sys/block/zram3/disksize"),
        ("hugepages/hugepages-2048kB/nr_hugepages", "hugepages/hugepages-2048kB/nr_hugepages", "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
        ("node1/compact", "node1/compact", "/sys/devices/system/node/node1/compact"),
        ("memory.high", "memory.high", ""),
        ("memory.limit_in_bytes", "memory.max", ""),
        ("memory.swappiness", "memory.swappiness", ""),
        ("OOMScoreAdjust", "OOMScoreAdjust", ""),
        # The row itself, for who lists patterns.
        ("zram{n}/disksize", "zram{n}/disksize", "/sys/block/zram{n}/disksize"),
    ],
)
def test_find(name: str, found: str, path: str) -> None:
    knob = _registry.find(name)
    assert (knob.name, knob.path) == (found, path)


def test_a_filled_row_names_its_own_partners() -> None:
    knob = _registry.find("node1/hugepages/hugepages-2048kB/nr_hugepages")
    assert knob.partners == ("vm.nr_hugepages", "hugepages/hugepages-2048kB/nr_hugepages")
    assert _registry.find("zram1/disksize").after[0] == "zram1/*comp_algorithm"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/proc/sys/vm/swappiness", "vm.swappiness"),
        ("/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled", "transparent_hugepage/hugepages-64kB/enabled"),
        ("/sys/block/zram3/disksize", "zram3/disksize"),
        ("/sys/fs/cgroup/batch.slice/memory.wmark_ratio", "memory.wmark_ratio"),
        ("/sys/fs/cgroup/memory/batch.slice/memory.limit_in_bytes", "memory.max"),
        ("/proc/sys/vm/nonesuch", None),
        ("/proc/sys/vm/MemoryHigh", None),
        ("/sys/block/sda/disksize", None),
        ("", None),
    ],
)
def test_of_path(path: str, name: str | None) -> None:
    knob = _registry.of_path(path)
    assert (knob and knob.name) == name


def test_every_path_leads_back_to_its_knob() -> None:
    for row in HOST:
        filled = row.at(dict.fromkeys(("n", "size"), "64"))
        found = _registry.of_path(filled.path)
        assert found and found.name == filled.name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("vm.swapiness", "vm.swappiness"),
        ("memory.hihg", "memory.high"),
        ("vm.watermark_scale", "vm.watermark_scale_factor"),
        ("OomScoreAdjust", "OOMScoreAdjust"),
        ("zram0/disk_size", "zram{n}/disksize"),
    ],
)
def test_an_unknown_name_gives_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(_registry.UnknownKnob) as caught:
        _registry.find(name)
    assert caught.value.name == name
    assert caught.value.nearest[0] == nearest
    assert nearest in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["", "zram0/../../../etc/shadow", "zramx/disksize", "node0/hugepages/hugepages-../nr_hugepages", "zram0/disksize\n", "{n}", "/proc/sys/vm/swappiness"],
)
def test_no_path_comes_from_a_name(name: str) -> None:
    with pytest.raises(_registry.UnknownKnob):
        _registry.find(name)


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("6.1.0-18-amd64", (6, 1, 0)),
        ("5.10.134-16.al8.x86_64", (5, 10, 134)),
        ("4.18.0-553.el8_10.x86_64", (4, 18, 0)),
        ("6.18.44-fc-v657", (6, 18, 44)),
        ("7.2", (7, 2)),
        ("5.4.0+", (5, 4, 0)),
        ("6.12.0-rc3", (6, 12, 0)),
        ("garbage", ()),
        ("", ()),
        ("v6.1", ()),
        ("6", ()),
    ],
)
def test_kernel_version(release: str, version: tuple[int, ...]) -> None:
    assert _registry.kernel_version(release) == version


@pytest.mark.parametrize(
    ("name", "release", "bounds"),
    [
        ("vm.swappiness", "5.4.301", (0, 100)),
        ("vm.swappiness", "5.7.19", (0, 100)),
        ("vm.swappiness", "5.8", (0, 200)),
        ("vm.swappiness", "5.10.134-16.al8.x86_64", (0, 200)),
        ("vm.swappiness", "10.0.1", (0, 200)),  # by number, not by letter
        ("vm.swappiness", "garbage", (0, 100)),  # unknown: the narrowest
        ("vm.watermark_scale_factor", "5.4.301", (1, 1000)),
        ("vm.watermark_scale_factor", "5.10.247", (1, 3000)),
        ("kernel.numa_balancing", "5.15.215", (0, 1)),
        ("kernel.numa_balancing", "6.1.0-18-amd64", (0, 4)),
        ("memory.swappiness", "5.10.247", (0, 100)),
        ("memory.swappiness", "5.15.215", (0, 200)),
        ("memory.use_hierarchy", "5.10.1", (0, 1)),
        ("memory.use_hierarchy", "6.1.0", (1, 1)),
        ("kernel.panic", "6.1.0", (None, None)),
        ("vm.min_free_kbytes", "6.1.0", (0, None)),
        ("OOMScoreAdjust", "6.1.0", (-1000, 1000)),
        ("transparent_hugepage/enabled", "6.1.0", None),
    ],
)
def test_range_for(name: str, release: str, bounds: object) -> None:
    assert _registry.range_for(_registry.find(name), release) == bounds


@every_row
def test_the_edges_of_every_range(row: Knob) -> None:
    """The lowest, the highest, and one beyond each, on every kernel where the range changes."""
    for since, low, high in row.ranges if row.access != "ro" else ():
        for bound, beyond in ((low, -1), (high, 1)):
            if bound is None:
                continue
            inside, outside = ([bound], [bound + beyond]) if row.unit == "list" else (bound, bound + beyond)
            assert _registry.validate(row, inside, since or "4.18.0") == inside
            # 0 beside the range is off; -1 is how v1 is told that there is no limit.
            if (row.or_zero and outside == 0) or (row.unit == "bytes or max" and outside == -1):
                continue
            with pytest.raises(_registry.KnobValueError, match=re.escape(row.name)):
                _registry.validate(row, outside, since or "4.18.0")


@pytest.mark.parametrize(
    ("name", "value", "release", "normal"),
    [
        ("vm.swappiness", 200, "5.10.0", 200),
        ("vm.swappiness", "60", "5.4.0", 60),
        ("vm.percpu_pagelist_high_fraction", 0, "6.1.0", 0),
        ("vm.percpu_pagelist_high_fraction", 8, "6.1.0", 8),
        ("memory.max", "max", "6.1.0", None),
        ("memory.max", "512MiB", "6.1.0", 512 << 20),
        ("memory.wmark_min_adj", -25, "5.10.134", -25),
        ("transparent_hugepage/defrag", "defer+madvise", "6.1.0", "defer+madvise"),
        ("zram0/comp_algorithm", "zstd", "6.1.0", "zstd"),  # the node says which
        ("OOMPolicy", "kill", "6.1.0", "kill"),
        ("memory.reclaim", "64M swappiness=0", "6.12.0", "64M swappiness=0"),
        ("vm.lowmem_reserve_ratio", [256, 0], "6.1.0", [256, 0]),
    ],
)
def test_validate(name: str, value: object, release: str, normal: object) -> None:
    assert _registry.validate(_registry.find(name), value, release) == normal


@pytest.mark.parametrize(
    ("name", "value", "release", "message"),
    [
        ("vm.swappiness", 150, "5.4.0-1", "vm.swappiness: 150 is refused; it takes 0..100 (count) on kernel 5.4.0-1"),
        ("vm.swappiness", "lots", "6.1.0", "vm.swappiness: 'lots' cannot be read as count; it takes 0..200 (count) on kernel 6.1.0"),
        ("vm.dirty_bytes", 0, "6.1.0", "vm.dirty_bytes: 0 is refused; it takes 8192.. (bytes) on kernel 6.1.0"),
        ("vm.percpu_pagelist_high_fraction", 7, "6.1.0", "vm.percpu_pagelist_high_fraction: 7 is refused; it takes 8.. or 0 (ratio) on kernel 6.1.0"),
        ("transparent_hugepage/enabled", "sometimes", "6.1.0", "transparent_hugepage/enabled: 'sometimes' is refused; it takes always, madvise, never"),
        ("transparent_hugepage/enabled", True, "6.1.0", "transparent_hugepage/enabled: True is refused; it takes always, madvise, never"),
        ("vm.lowmem_reserve_ratio", [256, -1], "6.1.0", "vm.lowmem_reserve_ratio: [256, -1] is refused; it takes 0.. (list) on kernel 6.1.0"),
        ("OOMScoreAdjust", -1001, "6.1.0", "OOMScoreAdjust: -1001 is refused; it takes -1000..1000 (count)"),
        ("EffectiveMemoryMax", "1G", "6.1.0", "EffectiveMemoryMax: '1G' cannot be set: it is read-only"),
        ("zram0/backing_dev", "/dev/vdb\n1", "6.1.0", "zram0/backing_dev: '/dev/vdb\\n1' holds a control character"),
    ],
)
def test_what_validate_refuses(name: str, value: object, release: str, message: str) -> None:
    with pytest.raises(_registry.KnobValueError) as caught:
        _registry.validate(_registry.find(name), value, release)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "a", "b", "equal"),
    [
        ("vm.swappiness", 60, "60\n", True),
        ("vm.swappiness", 60, 61, False),
        ("transparent_hugepage/enabled", "madvise", "always [madvise] never\n", True),
        ("transparent_hugepage/enabled", "always", "always [madvise] never\n", False),
        ("zswap/enabled", True, "Y\n", True),
        ("zswap/enabled", 0, "N\n", True),
        ("numa/demotion_enabled", 1, "true\n", True),
        ("lru_gen/enabled", 7, "0x0007\n", True),
        ("memory.max", 4097, 4096, True),
        ("memory.max", 8191, "4096\n", True),
        ("memory.max", 8192, 4096, False),
        ("memory.max", 4095, 0, True),
        ("memory.max", "max", "max\n", True),
        ("memory.max", "max", "9223372036854771712\n", True),
        ("memory.max", "-1", None, True),
        ("memory.max", "max", 0, False),
        ("memory.max", 2**62, "max", False),
        ("MemoryMax", "512M", "536870912", True),
        ("zram0/disksize", 4097, 8192, True),
        ("zram0/disksize", 4096, 8192, False),
        ("vm.dirty_bytes", 8193, 8192, False),  # the sysctl keeps what it was told
        ("vm.lowmem_reserve_ratio", [256, 256, 32], "256\t256\t32\t0\t0\n", True),
        ("vm.lowmem_reserve_ratio", [256, 128], "256\t256\t32\t0\t0\n", False),
        ("memory.wmark_min_adj", -25, -10, False),
        ("MemoryPressureThresholdSec", "0s 200ms", "200ms", True),
        ("MemoryPressureThresholdSec", 2, "2s", True),
        ("ManagedOOMMemoryPressureLimit", 60, "60%", True),
        ("memory.oom_control", 0, "oom_kill_disable 0\nunder_oom 1\n", True),
    ],
)
def test_same(name: str, a: object, b: object, equal: bool) -> None:
    knob = _registry.find(name)
    assert _registry.same(knob, a, b, 4096) is equal
    assert _registry.same(knob, b, a, 4096) is equal


def test_pages_are_of_the_node() -> None:
    knob = _registry.find("memory.max")
    assert _registry.same(knob, 65537, 65536, 65536)
    assert not _registry.same(knob, 65536 + 4096, 65536, 4096)


def test_a_value_that_cannot_be_compared_is_an_error() -> None:
    with pytest.raises(_registry.KnobValueError):
        _registry.same(_registry.find("vm.swappiness"), 60, "", 4096)


def test_rows_survive_the_way_to_the_node() -> None:
    knobs = _registry.wanted().knobs
    sent = _values.unfold(_registry.by_place(knobs))
    assert sorted(knob[:2] for knob in sent) == sorted(knob[:2] for knob in knobs)
    # Of the unit what it takes to read the file.
    assert {knob.name: _values.FORMS.get(knob.unit, _values.integer) for knob in sent} == {
        knob.name: _values.FORMS.get(knob.unit, _values.integer) for knob in knobs
    }
