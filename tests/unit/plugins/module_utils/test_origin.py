# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The origin: what a bound moves, and what goes back when no profile wants it any more."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _origin, _persist
from ansible_collections.memqos.fleet.plugins.module_utils._steps import FileStep, Moved, PropertyStep, ReloadStep, Step, WriteStep
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.made_present import present, unit

MIB = 1 << 20
THP = "transparent_hugepage/enabled"
TOP = "/sys/fs/cgroup"


def sysctl(name: str, before: str, after: str) -> WriteStep:
    return WriteStep(name, "host", "", f"/proc/sys/{name.replace('.', '/')}", before, after)


def memcg(subject: str, file: str, before: str, after: str) -> WriteStep:
    return WriteStep(file, "memcg", subject, f"{TOP}/{subject}/{file}", before, after, 7)


def properties(name: str, *files: WriteStep, besides: t.Tuple[WriteStep, ...] = (), **values: t.Tuple[str, str]) -> PropertyStep:
    after = tuple((key, pair[1]) for key, pair in values.items())
    return PropertyStep(name, after, tuple((key, pair[0]) for key, pair in values.items()), files, (), besides)


THP_STEP = WriteStep(THP, "host", "", f"/sys/kernel/mm/{THP}", "always", "never", moves=(Moved("vm.min_free_kbytes", "/proc/sys/vm/min_free_kbytes", "67584"),))
MIN_FREE = sysctl("vm.min_free_kbytes", "67584", "45056")
SWAPPINESS = sysctl("vm.swappiness", "60", "10")
RATIO, BYTES = sysctl("vm.dirty_ratio", "20", "0"), sysctl("vm.dirty_bytes", "0", "1073741824")
HIGH, LOW = memcg("batch.slice", "memory.high", "max", "5"), memcg("batch.slice", "memory.low", "0", "6")
BATCH = properties("batch.slice", HIGH, LOW, MemoryHigh=("infinity", "5"), MemoryLow=("0", "6"))
APPS: t.List[Step] = [properties(f"app@{number}.service", MemoryMax=("infinity", "9")) for number in (1, 2)]
WMARK = memcg("app@1.service", "memory.wmark_ratio", "0", "95")
V1_HIGH = memcg("batch.slice", "memory.high", "max", "5")
BY_HAND = memcg("batch.slice", "memory.min", "16777216", "0")
UNIT = "unit"

GOING: t.Dict[str, t.Tuple[t.List[Step], t.List[t.Tuple[str, str, str]], t.List[t.Tuple[str, str, str]], t.List[Step]]] = {
    # the origin, what leaves, what is wanted, what goes back
    "a sysctl": ([SWAPPINESS, RATIO], [("host", "", "vm.swappiness")], [], [SWAPPINESS]),
    "what is still wanted": ([SWAPPINESS], [("host", "", "vm.swappiness")], [("host", "", "vm.swappiness")], []),
    "with what it moved": ([THP_STEP, MIN_FREE], [("host", "", THP)], [], [THP_STEP, MIN_FREE]),
    "without what is wanted itself": ([THP_STEP, MIN_FREE], [("host", "", THP)], [("host", "", "vm.min_free_kbytes")], [THP_STEP]),
    "what a rival switches off": ([BYTES, RATIO], [("host", "", "vm.dirty_bytes")], [("host", "", "vm.dirty_ratio")], []),
    "a pair": ([BYTES, RATIO], [("host", "", "vm.dirty_bytes")], [], [BYTES, RATIO]),
    "one property of two": (
        [BATCH], [(UNIT, "batch.slice", "MemoryHigh")], [(UNIT, "batch.slice", "MemoryLow")], [properties("batch.slice", HIGH, MemoryHigh=("infinity", "5"))],
    ),
    "another unit's": ([BATCH], [(UNIT, "other.slice", "MemoryHigh")], [], []),
    "instances of a template": ([*APPS], [(UNIT, "app@.service", "MemoryMax")], [], APPS),
    "without one that is wanted by name": ([*APPS], [(UNIT, "app@.service", "MemoryMax")], [(UNIT, "app@2.service", "MemoryMax")], APPS[:1]),
    "one that its template wants": ([*APPS], [(UNIT, "app@2.service", "MemoryMax")], [(UNIT, "app@.service", "MemoryMax")], []),
    "a file of an instance": ([WMARK], [("memcg", "app@.service", "memory.wmark_ratio")], [], [WMARK]),
    "a file that was written for its property": ([V1_HIGH], [(UNIT, "batch.slice", "MemoryHigh")], [], [V1_HIGH]),
    "by another name": ([properties("redis-server.service", MemoryMax=("9", "5"))], [(UNIT, "redis.service", "MemoryMax")], [],
                        [properties("redis-server.service", MemoryMax=("9", "5"))]),
    "with what somebody wrote by hand, when all of the unit goes": (
        [properties("batch.slice", besides=(BY_HAND,), MemoryHigh=("infinity", "5")), BY_HAND],
        [(UNIT, "batch.slice", "MemoryHigh")],
        [],
        [properties("batch.slice", besides=(BY_HAND,), MemoryHigh=("infinity", "5")), BY_HAND],
    ),
    "and not before": (
        [properties("batch.slice", besides=(BY_HAND,), MemoryHigh=("infinity", "5"), MemoryLow=("0", "6")), BY_HAND],
        [(UNIT, "batch.slice", "MemoryHigh")],
        [(UNIT, "batch.slice", "MemoryLow")],
        [properties("batch.slice", besides=(BY_HAND,), MemoryHigh=("infinity", "5"))],
    ),
    "no reload, no file": ([ReloadStep(), FileStep("/etc/sysctl.d/zz-memqos.conf", None, "x"), SWAPPINESS], [("host", "", "vm.swappiness")], [], [SWAPPINESS]),
}  # fmt: skip


@pytest.mark.parametrize("what", GOING)
def test_what_goes_back(what: str) -> None:
    steps, leaving, wanted, expected = GOING[what]
    node = present({})._replace(units={"redis.service": [unit("redis-server.service")]})
    assert _origin.going_back(leaving, wanted, steps, node) == expected


def test_values_are_those_from_before_us_unless_somebody_moved_them_since() -> None:
    steps: t.List[Step] = [SWAPPINESS, sysctl("vm.page-cluster", "3", "0"), sysctl("vm.nr_hugepages", "0", "512"), BATCH, WMARK]
    batch = unit("batch.slice", "/batch.slice", {"MemoryHigh": "5"}, high="5", low="777216")
    app = unit("app@1.service", "/app@1.service", wmark_ratio="95")
    node = present({"vm.swappiness": "10", "vm.page-cluster": "1", "vm.nr_hugepages": "256", "vm.laptop_mode": "0"}, batch)
    node = node._replace(units={**node.units, "app@.service": [app], "later.slice": []})
    parts = _origin.parts(steps, {("/proc/sys/vm/nr_hugepages", "512"): "256"})
    host, units = _origin.before_us(parts, node)
    # Ours; theirs; ours, as many as the kernel gave; never touched.
    assert host == {"vm.swappiness": 60, "vm.page-cluster": 1, "vm.nr_hugepages": 0, "vm.laptop_mode": 0}
    assert units == {"batch.slice": {"MemoryHigh": None, "MemoryLow": 777216}, "app@.service": {"memory.wmark_ratio": 0}}


def test_a_property_without_a_value_from_before_keeps_the_live_one() -> None:
    node = present({}, unit("batch.slice", "/batch.slice", {"ManagedOOMSwap": "kill"}))
    parts = _origin.parts([properties("batch.slice", ManagedOOMSwap=("", "kill"))], {})
    assert _origin.before_us(parts, node)[1] == {"batch.slice": {"ManagedOOMSwap": "kill"}}


def test_files_that_we_made_are_known_with_their_directories() -> None:
    ours = FileStep("/etc/sysctl.d/zz-memqos.conf", None, _persist.sysctl_text({"vm.swappiness": "10"}), creates=("/etc/sysctl.d",))
    theirs = FileStep("/etc/sysctl.d/zzz.conf", "a", f"{_persist.ASIDE}a")
    gone = FileStep("/etc/tmpfiles.d/00-memqos.conf", "x", None)
    assert _origin.our_files([ours, theirs, gone, SWAPPINESS]) == {"/etc/sysctl.d/zz-memqos.conf": ("/etc/sysctl.d",)}
