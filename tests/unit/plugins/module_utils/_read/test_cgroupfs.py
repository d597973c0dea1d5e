# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Made-up trees of both versions, what can go wrong in them, and the cgroups of this machine."""

from __future__ import annotations

import errno
import json
import os
import shutil
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._read import _cgroupfs, _procfs
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import cgroup_trees

V2_ONE = {
    "memory.current": "40960000\n", "memory.peak": "50000000\n", "memory.min": "0\n", "memory.low": "1048576\n", "memory.high": "max\n",
    "memory.max": "104857600\n", "memory.oom.group": "1\n", "memory.swap.current": "8192\n", "memory.swap.max": "0\n",
    "memory.swap.high": "max\n", "memory.swap.events": "high 1\nmax 2\nfail 3\n", "memory.zswap.current": "4096\n", "memory.zswap.max": "max\n",
    "memory.events": "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 0\n",
    "memory.events.local": "low 0\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 0\n",
    "memory.stat": "anon 1000\nfile 2000\nkernel 30\nsock 0\nslab 7\ninactive_file 500\nnever_heard_of_it 9\n",
    "memory.pressure": "some avg10=1.50 avg60=0.20 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
    "cgroup.stat": "nr_descendants 0\nnr_subsys_memory 1\nnr_dying_descendants 9\nnr_dying_subsys_memory 4\n",
}  # fmt: skip
V2_MEANS = {
    "path": "/one", "parent": "/", "usage": 40960000, "peak": 50000000, "min": 0, "low": 1048576, "high": None, "limit": 104857600,
    "oom_group": True,
    "swap_high": None, "swap_events": {"high": 1, "max": 2, "fail": 3}, "zswap": 4096, "zswap_limit": None,
    "swap": 8192, "swap_limit": 0, "stat": {"anon": 1000, "file": 2000, "kernel": 30, "sock": 0, "inactive_file": 500}, "dying": 4,
    "events": {"low": 1, "high": 2, "max": 3, "oom": 4, "oom_kill": 5, "oom_group_kill": 0},
    "events_local": {"low": 0, "high": 2, "max": 3, "oom": 4, "oom_kill": 5, "oom_group_kill": 0},
    "pressure": {"some": {"avg10": 1.5, "avg60": 0.2, "avg300": 0.0, "total": 1234}, "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 5}},
}  # fmt: skip
# memory.stat of a 6.18 kernel, shortened
V1_STAT = (
    "cache 9207808\nrss 11800576\nrss_huge 0\nshmem 9068544\nmapped_file 7634944\ndirty 131072\nwriteback 0\nswap 4096\ninactive_file 0\n"
    "hierarchical_memory_limit 9223372036854771712\ntotal_cache 1009926144\ntotal_rss 113815552\ntotal_rss_huge 2097152\ntotal_shmem 9068544\n"
    "total_mapped_file 22953984\ntotal_dirty 12271616\ntotal_writeback 0\n"
    "total_workingset_refault_file 117802\ntotal_swap 8192\ntotal_inactive_file 840101888\n"
)
V1_ONE = {
    "memory.usage_in_bytes": "1200000000\n", "memory.max_usage_in_bytes": "1300000000\n", "memory.limit_in_bytes": "2147483648\n",
    "memory.soft_limit_in_bytes": "9223372036854771712\n", "memory.memsw.limit_in_bytes": "3221225472\n", "memory.failcnt": "17\n",
    "memory.oom_control": "oom_kill_disable 1\nunder_oom 0\noom_kill 3\n", "memory.swappiness": "60\n", "memory.stat": V1_STAT,
    "memory.kmem.usage_in_bytes": "332222464\n", "memory.kmem.tcp.usage_in_bytes": "4096\n",
}  # fmt: skip
V1_MEANS = {
    "path": "/one", "parent": "/", "usage": 1200000000, "peak": 1300000000, "limit": 2147483648, "soft_limit": None, "swap": 8192,
    "swap_limit": 1073741824, "swappiness": 60, "oom_kill_disable": True, "events": {"max": 17, "oom_kill": 3},
    "events_local": {"max": 17, "oom_kill": 3}, "stat_local": {"anon": 11800576, "file": 9207808, "shmem": 9068544},
    "stat": {"anon": 113815552, "file": 1009926144, "shmem": 9068544, "file_mapped": 22953984, "file_dirty": 12271616,
             "file_writeback": 0, "anon_thp": 2097152, "inactive_file": 840101888, "workingset_refault_file": 117802, "kernel": 332222464, "sock": 4096},
}  # fmt: skip
MOUNT_V2 = "25 24 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
MOUNT_V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
MOUNT_CPU = "36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
MOUNT_NAMED = "37 31 0:34 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
MOUNT_UNIFIED = "38 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
MOUNT_SUBTREE = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"


def write(root: Path, path: str, files: t.Mapping[str, str]) -> Path:
    directory = root / path.lstrip("/")
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_text(content, encoding="utf-8")
    return directory


def detect(tree: Tree, mountinfo: str | None = None) -> _cgroupfs.Hierarchy:
    data = tree.read("/proc/self/mountinfo") if mountinfo is None else mountinfo.encode()
    return _cgroupfs.detect(tree, _procfs.parse_mountinfo(data))


def walk(root: Path, mountinfo: str | None = None) -> tuple[list[dict[str, t.Any]], dict[str, str]]:
    tree = Tree(str(root))
    found, unknown = _cgroupfs.walk(tree, detect(tree, mountinfo), vendor_files=_registry.wanted().vendor_files)
    return t.cast("list[dict[str, t.Any]]", found), unknown


def small_tree(root: Path, version: int, **more: str) -> Path:
    """A root and one cgroup; C(more) replaces files. Returns the cgroup's directory."""
    if version == 2:
        top = write(root, "/sys/fs/cgroup", {"cgroup.controllers": "cpu memory\n", "memory.stat": V2_ONE["memory.stat"]})
        return write(top, "one", {**V2_ONE, **more})
    top = write(root, "/sys/fs/cgroup/memory", {**V1_ONE, "release_agent": "\n"})
    return write(top, "one", {**V1_ONE, **more})


# --- parsers ---


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"4096\n", 4096),
        (b"0\n", 0),
        (b"max\n", None),
        (b"9223372036854771712\n", None),  # 4 KiB pages
        (b"9223372036854710272\n", None),  # 64 KiB pages
        (b"4096", _cgroupfs.GARBLED),  # cut short
        (b"", _cgroupfs.GARBLED),
        (b"max", _cgroupfs.GARBLED),
        (b"-1\n", _cgroupfs.GARBLED),
        (b"1_0\n", _cgroupfs.GARBLED),
        (b"4096\n4096\n", _cgroupfs.GARBLED),
        (b"9" * 5000 + b"\n", _cgroupfs.GARBLED),
    ],
)
def test_parse_amount(data: bytes, expected: int | None) -> None:
    assert _cgroupfs.parse_amount(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"low 0\noom_kill 12\n", {"low": 0, "oom_kill": 12}),
        (b"low 0\noom_kill 12", {"low": 0}),
        (b"low\nhigh x\n\nmax 1 2\noom 3\n", {"oom": 3}),
    ],
)
def test_parse_flat(data: bytes, expected: dict[str, int]) -> None:
    assert _cgroupfs.parse_keyed(data) == expected


@pytest.mark.parametrize(
    ("version", "data", "expected"),
    [
        (2, b"anon 1\nfile 2\nunheard_of 3\n", ({"anon": 1, "file": 2}, {})),
        (2, b"anon 1\nfile 2", ({"anon": 1}, {})),
        (2, b"file 2\nanon 1\n", ({"anon": 1, "file": 2}, {})),
        (2, b"workingset_refault 7\nworkingset_restore 8\n", ({"workingset_refault_file": 7, "workingset_restore_file": 8}, {})),
        (1, b"cache 1\nrss 2\nswap 3\n", ({"file": 1, "anon": 2, "swap": 3}, {"file": 1, "anon": 2})),
        (1, b"cache 1\nrss 2\ntotal_cache 10\ntotal_rss 20\n", ({"file": 10, "anon": 20}, {"file": 1, "anon": 2})),
        (2, b"", ({}, {})),
    ],
)
def test_parse_stat(version: int, data: bytes, expected: tuple[dict[str, int], dict[str, int]]) -> None:
    assert tuple(_cgroupfs._StatParser(version)(data)) == expected


def test_stat_parser_notices_another_layout() -> None:
    parser = _cgroupfs._StatParser(2)
    assert parser(b"anon 1\nfile 2\n")[0] == {"anon": 1, "file": 2}
    assert parser(b"anon 3\nfile 4\n")[0] == {"anon": 3, "file": 4}
    assert parser(b"file 5\nanon 6\n")[0] == {"anon": 6, "file": 5}
    assert parser(b"file 7\nanon x\n")[0] == {"file": 7}
    assert parser(b"file 7\nanon 8")[0] == {"file": 7}
    assert parser(b"file 9\nanon 10\n")[0] == {"anon": 10, "file": 9}


def test_stat_keys_fit_one_dict_size() -> None:
    data = "".join(f"{key} 1\n" for key in cgroup_trees.V2_KEYS).encode()
    assert len(_cgroupfs._StatParser(2)(data)[0]) <= 42


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"nr_descendants 3\nnr_dying_descendants 9\n", 9),
        (b"nr_dying_descendants 9\nnr_dying_subsys_memory 0\n", 0),
        (b"nr_descendants 3\n", _cgroupfs.GARBLED),
    ],
)
def test_parse_dying(data: bytes, expected: int) -> None:
    assert _cgroupfs.parse_dying(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"-25\n", -25),
        (b"95\n", 95),
        (b"max\n", None),
        (b"wmark_min_throttled_ms 4\nwmark_reclaim_work_ms 5\n", {"wmark_min_throttled_ms": 4, "wmark_reclaim_work_ms": 5}),
        (b"reclaim [swap]\n", "reclaim [swap]"),
        (b"", ""),
    ],
)
def test_parse_vendor(data: bytes, expected: t.Any) -> None:
    assert _cgroupfs.parse_vendor(data) == expected


LATENCY = b"0-1ms: \t0\n1-5ms: \t12\n5-10ms: \t0\n10-100ms: \t3\n100-500ms: \t0\n500-1000ms: \t0\n>=1000ms: \t1\ntotal(ms): \t1271\n"
IDLE = b"""# version: 1.0
# page_scans: 92
# slab_scans: 92
# scan_period_in_seconds: 120
# buckets: 1,2,5
#
#   _-----=> clean/dirty
# |||||             [1,2)          [2,5)      [5,+inf)
  csei                  0              0              0
  dsea                  1              0              2
  cfei                 10             20             30
  dfea                100              0            300
  cfui                  0              7              0
  slab                  0              0              5
"""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (LATENCY, {"1-5": 12, "10-100": 3, ">=1000": 1, "total_ms": 1271}),
        (b"0-1ms: 0\ntotal(ms): 0\n", {"total_ms": 0}),
        (b"nothing\n", "nothing"),  # another kernel's format
    ],
)
def test_latencies(data: bytes, expected: t.Any) -> None:
    assert _cgroupfs.parse_vendor(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (IDLE, {"scans": 92, "period_seconds": 120, "ages": [1, 2, 5], "anon": [1, 0, 2], "file": [110, 20, 330], "unevictable": [0, 7, 0], "slab": [0, 0, 5]}),
        (IDLE.replace(b"page_scans", b"scans"), _cgroupfs.parse_vendor(IDLE)),  # before 5.10
        (b"# version: 1.0\n# page_scans: 0\n# scan_period_in_seconds: 1\n# buckets: no valid bucket available\n", {"scans": 0, "period_seconds": 1}),
        (b"# comment\n", "# comment"),
        (b"other\n", "other"),
    ],
)
def test_idle_pages(data: bytes, expected: t.Any) -> None:
    assert _cgroupfs.parse_vendor(data) == expected


def test_parse_controllers() -> None:
    text = b"#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t1\t1\nmemory\t4\t55\t1\npids\t8"
    assert _cgroupfs.parse_controllers(text) == 55
    assert _cgroupfs.parse_controllers(text.replace(b"memory", b"memories")) is None
    assert _cgroupfs.parse_controllers(b"memory\t4\t5") is None


_SAMPLES = b"anon 1|file 2|total_rss 3|cache 4|max|some avg10=0.00 total=1|# page_scans: 3|# buckets: 1,x|cfei 1 2|0-1ms: 4".split(b"|") + [
    b"csei " + b"9" * 5000
]
LINES = st.lists(st.one_of(st.binary(max_size=30), st.sampled_from(_SAMPLES))).map(b"\n".join)


@settings(max_examples=300, deadline=None)
@given(LINES)
def test_parsers_never_raise(data: bytes) -> None:
    for parse in (_cgroupfs.parse_amount, _cgroupfs.parse_keyed, _cgroupfs.parse_dying, _cgroupfs.parse_vendor, _cgroupfs.parse_controllers, _cgroupfs._flag):
        json.dumps(parse(data))
    for version in (1, 2):
        json.dumps(tuple(_cgroupfs._StatParser(version)(data)))


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, max_size=6), st.sampled_from([1, 2]))
def test_what_a_stat_parser_has_seen_changes_nothing(files: list[bytes], version: int) -> None:
    parser = _cgroupfs._StatParser(version)
    for data in files:
        assert tuple(parser(data)) == tuple(_cgroupfs._StatParser(version)(data))


# --- detect ---


@pytest.mark.parametrize(
    ("mounts", "files", "expected"),
    [
        (MOUNT_V1 + MOUNT_CPU + MOUNT_NAMED, {"memory": ["release_agent"]}, ("v1", "/sys/fs/cgroup/memory", 1, True)),
        (MOUNT_V1 + MOUNT_UNIFIED, {"memory": ["release_agent"]}, ("hybrid", "/sys/fs/cgroup/memory", 1, True)),
        (MOUNT_CPU + MOUNT_UNIFIED, {}, ("hybrid", "/sys/fs/cgroup/unified", 2, True)),
        (MOUNT_V2, {}, ("v2", "/sys/fs/cgroup", 2, True)),
        (MOUNT_V2 + MOUNT_NAMED, {}, ("v2", "/sys/fs/cgroup", 2, True)),
        (MOUNT_V2, {".": ["memory.current"]}, ("v2", "/sys/fs/cgroup", 2, False)),  # in a container
        (MOUNT_SUBTREE, {}, ("v1", "/sys/fs/cgroup/memory", 1, False)),
        (MOUNT_V1, {}, ("v1", "/sys/fs/cgroup/memory", 1, False)),  # in a cgroup namespace
        (MOUNT_CPU + MOUNT_NAMED, {}, ("none", None, 0, True)),
        ("", {}, ("none", None, 0, True)),
    ],
)
def test_detect(tmp_path: Path, mounts: str, files: dict[str, list[str]], expected: tuple[str, str | None, int, bool]) -> None:
    for place in (".", "unified"):
        write(tmp_path, f"/sys/fs/cgroup/{place}", {"cgroup.controllers": "cpu io memory\n"})
    write(tmp_path, "/sys/fs/cgroup/memory", {"memory.usage_in_bytes": "1\n"})
    for place, names in files.items():
        write(tmp_path, f"/sys/fs/cgroup/{place}", dict.fromkeys(names, "1\n"))
    found = detect(Tree(str(tmp_path)), mounts)
    assert (found.kind, found.memory, found.version, found.whole) == expected
    assert bool(found.reason) == (found.kind == "none" or not found.whole)


def test_detect_tells_mount_options(tmp_path: Path) -> None:
    write(tmp_path, "/sys/fs/cgroup", {"cgroup.controllers": "memory\n"})
    found = detect(Tree(str(tmp_path)), MOUNT_V2)
    assert found.recursiveprot
    found = detect(Tree(str(tmp_path)), MOUNT_V2.replace("recursiveprot", "hugetlb_accounting"))
    assert not found.recursiveprot


def test_detect_without_the_memory_controller(tmp_path: Path) -> None:
    write(tmp_path, "/sys/fs/cgroup", {"cgroup.controllers": "cpu io\n"})
    found = detect(Tree(str(tmp_path)), MOUNT_V2)
    assert found.kind == "none"
    assert "cgroup_disable=memory" in found.reason


def test_detect_passes_over_a_hidden_mount(tmp_path: Path) -> None:
    write(tmp_path, "/long/way/cgroup", {"cgroup.controllers": "memory\n"})
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    mounts = MOUNT_V2 + MOUNT_V2.replace("/sys/fs/cgroup", "/long/way/cgroup")
    assert detect(Tree(str(tmp_path)), mounts).memory == "/long/way/cgroup"


def test_a_container_without_sys(tmp_path: Path) -> None:
    assert detect(Tree(str(tmp_path)), MOUNT_V2).reason == "no cgroup file system is mounted"
    assert walk(tmp_path, MOUNT_V2) == ([], {"cgroups": "no cgroup file system is mounted"})


# --- walk: values ---


def test_walk_v2(tmp_path: Path) -> None:
    directory = small_tree(tmp_path, 2)
    (root, one), unknown = walk(tmp_path, MOUNT_V2)
    assert one == {**V2_MEANS, "inode": directory.stat().st_ino}
    assert "usage" not in root
    assert not unknown


def test_walk_v1(tmp_path: Path) -> None:
    directory = small_tree(tmp_path, 1)
    write(tmp_path, "/proc", {"cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t9\t1\n"})
    (root, one), unknown = walk(tmp_path, MOUNT_V1)
    assert one == {**V1_MEANS, "inode": directory.stat().st_ino}
    assert root["dying"] == 7
    assert unknown["cgroup.pressure"] == "cgroup v1 has no memory.pressure"
    assert unknown["cgroup.low"] == "this kernel has no memory.low on cgroup v1"
    assert not {"cgroup.events", "cgroup.events_local", "cgroup.swap_limit"} & set(unknown)


def test_v1_without_limits_and_swap_accounting(tmp_path: Path) -> None:
    directory = small_tree(tmp_path, 1, **{"memory.limit_in_bytes": "9223372036854771712\n", "memory.stat": "cache 5\nrss 6\n"})
    (directory / "memory.memsw.limit_in_bytes").unlink()
    one = walk(tmp_path, MOUNT_V1)[0][1]
    assert one["limit"] is None
    assert not {"swap", "swap_limit"} & set(one)
    assert one["stat"] == {"anon": 6, "file": 5, "kernel": 332222464, "sock": 4096}


def test_hybrid_takes_pressure_from_the_unified_tree(tmp_path: Path) -> None:
    small_tree(tmp_path, 1)
    write(tmp_path, "/sys/fs/cgroup/memory/two", V1_ONE)
    write(tmp_path, "/sys/fs/cgroup/unified", {"cgroup.controllers": "\n", "memory.pressure": V2_ONE["memory.pressure"].replace("1234", "99")})
    write(tmp_path, "/sys/fs/cgroup/unified/one", {"memory.pressure": V2_ONE["memory.pressure"]})
    found, unknown = walk(tmp_path, MOUNT_V1 + MOUNT_UNIFIED)
    assert [cgroup.get("pressure", {}).get("some", {}).get("total") for cgroup in found] == [99, 1234, None]
    assert unknown["cgroup.pressure"] == "1 cgroups have no directory in /sys/fs/cgroup/unified"


def test_pressure_of_anolis_on_v1(tmp_path: Path) -> None:
    small_tree(tmp_path, 1)
    for place in ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu/one"):
        write(tmp_path, place, {"memory.pressure": V2_ONE["memory.pressure"]})
    found, unknown = walk(tmp_path, MOUNT_V1 + MOUNT_CPU)
    assert found[1]["pressure"]["some"]["total"] == 1234
    assert "cgroup.pressure" not in unknown


def test_vendor_files(tmp_path: Path) -> None:
    directory = small_tree(tmp_path, 1)
    write(directory, ".", {"memory.wmark_ratio": "95\n", "memory.wmark_high": "max\n", "memory.qos_level": "-1\n",
                           "memory.exstat": "wmark_min_throttled_ms 7\n", "memory.low": "4096\n",
                           "memory.events": "low 0\nhigh 1\nmax 2\noom 0\noom_kill 0\n", "memory.oom.group": "0\n"})  # fmt: skip
    one = walk(tmp_path, MOUNT_V1)[0][1]
    assert one["vendor"] == {"memory.wmark_ratio": 95, "memory.wmark_high": None, "memory.qos_level": -1, "memory.exstat": {"wmark_min_throttled_ms": 7}}
    assert (one["low"], one["oom_group"], one["events"]["high"]) == (4096, False, 1)


def test_the_root_has_a_vendors_figures_of_the_whole_node(tmp_path: Path) -> None:
    directory = small_tree(tmp_path, 1)
    for place in (directory, directory.parent):
        write(place, ".", {"memory.direct_compact_latency": LATENCY.decode(), "memory.idle_page_stats": IDLE.decode()})
    root, one = walk(tmp_path, MOUNT_V1)[0]
    assert root["vendor"] == one["vendor"]
    assert root["vendor"]["memory.direct_compact_latency"]["total_ms"] == 1271 and root["vendor"]["memory.idle_page_stats"]["scans"] == 92


def test_v2_leaves_out_what_has_no_memory_controller(tmp_path: Path) -> None:
    directory = small_tree(tmp_path, 2)
    write(directory, "no-controller/below", {"cgroup.stat": "nr_descendants 0\n"})
    found, unknown = walk(tmp_path, MOUNT_V2)
    assert [cgroup["path"] for cgroup in found] == ["/", "/one"]
    assert not unknown


@pytest.mark.parametrize("version", [1, 2])
def test_parents_come_before_children(tmp_path: Path, version: int) -> None:
    paths = cgroup_trees.make_tree(tmp_path, 60, version=version)
    found, unknown = walk(tmp_path)
    assert {cgroup["path"] for cgroup in found} == {"/", *paths}
    seen: set[str | None] = {None}
    for cgroup in found:
        assert cgroup.get("parent") in seen
        seen.add(cgroup["path"])
    assert all(cgroup["stat"] and cgroup["inode"] for cgroup in found)
    json.dumps(found, allow_nan=False)


TOWARDS: list[tuple[list[str], list[str]]] = [
    # towards, what is read besides the root
    ([], []),
    (["/a"], ["/a", "/d"]),
    (["/a/b"], ["/a", "/d", "/a/b", "/a/c"]),
    (["/a/b", "/d/e"], ["/a", "/d", "/a/b", "/a/c", "/d/e"]),
    # Above what is gone.
    (["/a/x/y"], ["/a", "/d", "/a/b", "/a/c"]),
    # A name that only begins alike leads nowhere.
    (["/a/bb"], ["/a", "/d", "/a/b", "/a/c"]),
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("towards", "expected"), TOWARDS)
def test_a_walk_towards_some_reads_these_and_what_is_above_and_beside(tmp_path: Path, version: int, towards: list[str], expected: list[str]) -> None:
    small_tree(tmp_path, version)
    top = "/sys/fs/cgroup" if version == 2 else "/sys/fs/cgroup/memory"
    shutil.rmtree(tmp_path / top[1:] / "one")
    for path in ("/a/b/below", "/a/c/below", "/d/e/below", "/a/b", "/a/c", "/d/e", "/a", "/d"):
        write(tmp_path, top + path, V2_ONE if version == 2 else V1_ONE)
    tree = Tree(str(tmp_path))
    found, unused = _cgroupfs.walk(tree, detect(tree, MOUNT_V2 if version == 2 else MOUNT_V1), towards=towards)
    read = [cgroup["path"] for cgroup in found]
    assert (set(read), len(read)) == ({"/", *(expected or ["/a", "/d"])}, len(set(read)))


@pytest.mark.parametrize("links", [1, 2])
def test_listing_does_not_rest_on_link_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: int) -> None:
    """btrfs says 1 of every directory, a FUSE file system what it likes."""
    paths = cgroup_trees.make_tree(tmp_path, 40)
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result((*real(fd)[:3], links, *real(fd)[4:10])))
    assert len(walk(tmp_path)[0]) == len(paths) + 1


# --- walk: shapes and names ---


def test_64_deep_and_longer_than_path_max(tmp_path: Path) -> None:
    top = write(tmp_path, "/sys/fs/cgroup", {"cgroup.controllers": "memory\n"})
    fd = os.open(top, os.O_RDONLY)
    name = "d" * 100
    for unused in range(64):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
        for file, content in V2_ONE.items():
            with open(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd), "w", encoding="ascii") as stream:
                stream.write(content)
    os.close(fd)
    try:
        found, unknown = walk(tmp_path, MOUNT_V2)
        assert len(found) == 65
        deepest = found[-1]["path"]
        assert len(deepest) == 64 * 101
        assert not unknown
        tree = Tree(str(tmp_path))
        assert _cgroupfs.sample(tree, detect(tree, MOUNT_V2), [deepest])[deepest]["usage"] == 40960000
    finally:
        shutil.rmtree(tmp_path, ignore_errors=True)


def test_10_000_wide(tmp_path: Path) -> None:
    top = write(tmp_path, "/sys/fs/cgroup", {"cgroup.controllers": "memory\n"})
    for index in range(10000):
        directory = top / f"c{index}"
        directory.mkdir()
        (directory / "memory.current").write_text("4096\n", encoding="ascii")
    found, unused = walk(tmp_path, MOUNT_V2)
    assert len(found) == 10001
    assert all(cgroup["usage"] == 4096 for cgroup in found[1:])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"new\nline", "new\nline"),
        (b"\"quotes\" and 'more'", "\"quotes\" and 'more'"),
        (b"<script>alert(1)<", "<script>alert(1)<"),
        (b"\x1b[31mred\x07", "\x1b[31mred\x07"),
        (b"not utf-8 \xff\xfe", "not utf-8 \\xff\\xfe"),
        ("späß-мир".encode(), "späß-мир"),
        (b"back\\slash \\xff", "back\\slash \\xff"),
        (b"-rf *", "-rf *"),
    ],
)
def test_hostile_names(tmp_path: Path, version: int, name: bytes, shown: str) -> None:
    directory = small_tree(tmp_path, version)
    mount = MOUNT_V2 if version == 2 else MOUNT_V1
    shutil.copytree(directory, os.path.join(directory, os.fsdecode(name)))
    found, unused = walk(tmp_path, mount)
    path = f"/one/{shown}"
    assert [cgroup["path"] for cgroup in found] == ["/", "/one", path]
    assert json.loads(json.dumps(found[2]))["path"] == path
    tree = Tree(str(tmp_path))
    assert _cgroupfs.sample(tree, detect(tree, mount), [path])[path]["usage"] == found[2]["usage"]


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    directory = small_tree(tmp_path, 2)
    (directory.parent / "loop").symlink_to(".")
    (directory / "memory.peak").unlink()
    (directory / "memory.peak").symlink_to("memory.current")
    found, unknown = walk(tmp_path, MOUNT_V2)
    assert [cgroup["path"] for cgroup in found] == ["/", "/one"]
    assert "peak" not in found[1]
    assert unknown == {"cgroups memory.peak": f"{os.strerror(errno.ELOOP)}: /one"}


# --- walk: what goes wrong ---


class Failing:
    """Lets the reading of some files fail, as the kernel does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: dict[str, int]) -> None:
        self.read: list[str] = []
        self._failures = failures
        self._read_file = _cgroupfs.read_file
        monkeypatch.setattr(_cgroupfs, "read_file", self)

    def __call__(self, fd: int, name: bytes) -> bytes:
        path = os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) + "/" + name.decode()
        self.read.append(path)
        if path in self._failures:
            raise OSError(self._failures[path], "")
        return self._read_file(fd, name)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO, errno.EOPNOTSUPP, errno.EACCES, errno.EBUSY])
def test_a_file_that_answers_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    directory = small_tree(tmp_path, 2)
    shutil.copytree(directory, directory.parent / "two")
    Failing(monkeypatch, {"one/memory.pressure": code, "two/memory.pressure": code})
    found, unknown = walk(tmp_path, MOUNT_V2)
    assert [("pressure" in cgroup, cgroup.get("usage")) for cgroup in found] == [(False, None), (False, 40960000), (False, 40960000)]
    assert set(unknown) == {"cgroups memory.pressure"}
    assert unknown["cgroups memory.pressure"].endswith(": /one and 1 more")
    assert os.strerror(code) in unknown["cgroups memory.pressure"]


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENODEV])
@pytest.mark.parametrize("version", [1, 2])
def test_a_cgroup_that_vanishes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, version: int) -> None:
    directory = small_tree(tmp_path, version)
    shutil.copytree(directory, directory.parent / "two")
    usage = "memory.current" if version == 2 else "memory.usage_in_bytes"
    reads = iter(range(99))
    read_file = _cgroupfs.read_file

    def vanish(fd: int, name: bytes) -> bytes:
        """one is there for its first two files."""
        here = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
        if here == "one" and next(reads) >= 2:
            raise OSError(code, "")
        return read_file(fd, name)

    monkeypatch.setattr(_cgroupfs, "read_file", vanish)
    found, unknown = walk(tmp_path, MOUNT_V2 if version == 2 else MOUNT_V1)
    assert [cgroup["path"] for cgroup in found] == ["/", "/two"]
    assert usage.encode() in [file.name for file in _cgroupfs._known_files(version, _cgroupfs._StatParser(version))][:1]
    assert not [what for what in unknown if what.startswith("cgroups ")]


def test_directories_removed_during_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = cgroup_trees.make_tree(tmp_path, 30, shape="flat")
    read_file = _cgroupfs.read_file
    top = tmp_path / "sys/fs/cgroup"

    def remove_next(fd: int, name: bytes) -> bytes:
        here = os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))
        if here == "cgroup-00010" and name == b"memory.stat":
            for index in range(10, 20):
                shutil.rmtree(top / f"cgroup-{index:05}")
        return read_file(fd, name)

    monkeypatch.setattr(_cgroupfs, "read_file", remove_next)
    before = len(os.listdir("/proc/self/fd"))
    found, unknown = walk(tmp_path)
    assert [cgroup["path"] for cgroup in found[1:]] == paths[:10] + paths[20:]
    assert not unknown
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_hidden_file_is_no_vanished_cgroup(tmp_path: Path) -> None:
    """cgroup.pressure = 0 hides memory.pressure in one cgroup."""
    directory = small_tree(tmp_path, 2)
    shutil.copytree(directory, directory.parent / "two")
    (directory / "memory.pressure").unlink()
    found, unknown = walk(tmp_path, MOUNT_V2)
    assert [(cgroup["path"], "pressure" in cgroup) for cgroup in found] == [("/", False), ("/one", False), ("/two", True)]
    assert "/one" in unknown["cgroups memory.pressure"]


@pytest.mark.parametrize("content", ["", "409", "garbage\n", "\x00\n", "anon\n", "some avg10=\n"])
@pytest.mark.parametrize("file", sorted(set(V2_ONE) - {"cgroup.stat"}))
def test_truncated_and_garbled_files(tmp_path: Path, file: str, content: str) -> None:
    small_tree(tmp_path, 2, **{file: content})
    found, unknown = walk(tmp_path, MOUNT_V2)
    key = file[len("memory.") :].replace(".", "_")
    key = {"current": "usage", "max": "limit", "swap_current": "swap", "swap_max": "swap_limit", "zswap_current": "zswap", "zswap_max": "zswap_limit"}.get(
        key, key
    )
    assert key not in found[1]
    assert unknown == {f"cgroups {file}": "cannot be understood: /one"}
    assert found[1]["path"] == "/one"


def test_a_truncated_stat_keeps_its_whole_lines(tmp_path: Path) -> None:
    small_tree(tmp_path, 2, **{"memory.stat": "anon 1000\nfile 2000\nkernel 3"})
    assert walk(tmp_path, MOUNT_V2)[0][1]["stat"] == {"anon": 1000, "file": 2000}


def test_a_file_in_several_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_tree(tmp_path, 2)
    monkeypatch.setattr(_cgroupfs, "_CHUNK", 7)
    assert walk(tmp_path, MOUNT_V2)[0][1]["stat"] == V2_MEANS["stat"]


def test_short_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_tree(tmp_path, 2)
    real = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: real(fd, min(size, 3)))
    assert walk(tmp_path, MOUNT_V2)[0][1]["usage"] == 40960000


def test_memory_controller_not_enabled_below_the_root(tmp_path: Path) -> None:
    top = write(tmp_path, "/sys/fs/cgroup", {"cgroup.controllers": "memory\n", "memory.stat": "anon 1\nfile 2\n"})
    write(top, "one", {"cgroup.stat": "nr_dying_descendants 0\n", "memory.pressure": V2_ONE["memory.pressure"]})
    found, unknown = walk(tmp_path, MOUNT_V2)
    assert [cgroup["path"] for cgroup in found] == ["/"]
    assert unknown == {"cgroups": "the memory controller is not enabled below the root (cgroup.subtree_control)"}


def test_a_root_alone(tmp_path: Path) -> None:
    write(tmp_path, "/sys/fs/cgroup", {"cgroup.controllers": "memory\n", "memory.stat": "anon 1\nfile 2\n"})
    found, unknown = walk(tmp_path, MOUNT_V2)
    assert ([cgroup["path"] for cgroup in found], unknown) == (["/"], {})


def test_no_open_fails_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old kernel without peak and pressure: they are looked for once, not in each of 30 cgroups."""
    paths = cgroup_trees.make_tree(tmp_path, 30)
    for path in paths:
        for name in ("memory.peak", "memory.pressure"):
            os.unlink(f"{tmp_path}/sys/fs/cgroup{path}/{name}")
    failing = Failing(monkeypatch, {})
    unknown = walk(tmp_path)[1]
    assert not [name for name in failing.read if name.endswith(("/memory.peak", "/memory.pressure"))]
    assert unknown["cgroup.peak"] == "this kernel has no memory.peak on cgroup v2"
    assert set(unknown) == {"cgroup.peak", "cgroup.pressure"}


def test_too_many_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_tree(tmp_path, 2)
    real = os.open

    def refuse(path: t.Any, flags: int, *args: t.Any, **kwargs: t.Any) -> int:
        if path == "one" and refuse_now:
            raise OSError(errno.EMFILE, "")
        return real(path, flags, *args, **kwargs)

    refuse_now = True
    monkeypatch.setattr(os, "open", refuse)
    found, unknown = walk(tmp_path, MOUNT_V2)
    assert [cgroup["path"] for cgroup in found] == ["/"]
    assert unknown["cgroups directory"] == f"{os.strerror(errno.EMFILE)}: /one"


def test_an_interrupt_closes_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup_trees.make_tree(tmp_path, 10, shape="deep")
    read_file = _cgroupfs.read_file

    def interrupt(fd: int, name: bytes) -> bytes:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("level-6"):
            raise KeyboardInterrupt
        return read_file(fd, name)

    monkeypatch.setattr(_cgroupfs, "read_file", interrupt)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt):
        walk(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


# --- sample ---


def test_sample_leaves_out_what_is_gone(tmp_path: Path) -> None:
    small_tree(tmp_path, 1)
    tree = Tree(str(tmp_path))
    found = _cgroupfs.sample(tree, detect(tree, MOUNT_V1), ["/one", "/gone", "/one/gone"])
    assert found == {
        "/one": {"usage": 1200000000, "stat": {"anon": 113815552, "file": 1009926144, "inactive_file": 840101888, "workingset_refault_file": 117802}}
    }


def test_sample_without_a_hierarchy(tmp_path: Path) -> None:
    assert _cgroupfs.sample(Tree(str(tmp_path)), _cgroupfs.Hierarchy("none"), ["/"]) == {}


# --- this machine ---


def test_against_this_machine() -> None:
    """What a plain read of the kernel's files says, of values that do not move by themselves."""
    tree = Tree("/")
    hierarchy = detect(tree)
    if hierarchy.memory is None:
        pytest.skip(hierarchy.reason)
    found, unused = _cgroupfs.walk(tree, hierarchy)
    assert found[0]["path"] == "/"
    directories = sum(1 for unused in os.walk(hierarchy.memory))
    if hierarchy.version == 1:
        assert abs(len(found) - directories) <= max(3, directories // 10)
    limit = "memory.max" if hierarchy.version == 2 else "memory.limit_in_bytes"
    checked = 0
    for cgroup in found[1:]:
        place = hierarchy.memory + cgroup["path"]
        try:
            inode = os.stat(place).st_ino
            text = Path(place, limit).read_text(encoding="ascii").strip()
            words = dict(line.split() for line in Path(place, "memory.stat").read_text(encoding="ascii").splitlines())
        except OSError:
            continue
        assert cgroup["inode"] == inode
        assert cgroup["limit"] == (None if text in ("max", "9223372036854771712") else int(text))
        total_anon = int(words["anon" if hierarchy.version == 2 else "total_rss"])
        assert abs(cgroup["stat"]["anon"] - total_anon) <= max(64 << 20, total_anon // 2)
        assert 0 <= cgroup["stat"]["active_file"] <= cgroup["usage"] + (64 << 20)
        checked += 1
    assert checked or len(found) == 1
