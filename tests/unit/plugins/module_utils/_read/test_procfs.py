# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""/proc of real kernels: by key, absent is not zero, and no damaged file gives a wrong number."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils._read import _oom, _procfs
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.host_files import check_truncations, content, host, write

PARSERS: dict[str, tuple[t.Callable[[bytes], t.Any], str]] = {
    "meminfo": (_procfs.parse_meminfo, "/proc/meminfo"),
    "meminfo of a NUMA node": (_procfs.parse_meminfo, "/sys/devices/system/node/node0/meminfo"),
    "vmstat": (_procfs.parse_keyed, "/proc/vmstat"),
    "zoneinfo": (_procfs.parse_zoneinfo, "/proc/zoneinfo"),
    "zoneinfo 5.4": (_procfs.parse_zoneinfo, "texts/zoneinfo-5.4"),
    "buddyinfo": (_procfs.parse_buddyinfo, "/proc/buddyinfo"),
    "pressure": (_procfs.parse_pressure, "/proc/pressure/memory"),
    "swaps": (_procfs.parse_swaps, "texts/swaps"),
    "sockstat": (_procfs.parse_sockstat, "/proc/net/sockstat"),
    "sockstat6": (_procfs.parse_sockstat, "/proc/net/sockstat6"),
    "tcp_mem": (_procfs.parse_triple, "/proc/sys/net/ipv4/tcp_mem"),
    "cmdline": (_procfs.parse_cmdline, "/proc/cmdline"),
    "mountinfo": (_procfs.parse_mountinfo, "/proc/self/mountinfo"),
    "uptime": (_procfs.parse_uptime, "/proc/uptime"),
    "statm": (_oom.parse_statm_rss, "/proc/310/statm"),
}
OTHER_PARSERS: dict[str, tuple[t.Callable[[bytes], t.Any], str]] = {
    "slabinfo": (lambda data: _procfs.parse_slabinfo(data, page_size=4096), "/proc/slabinfo"),
    "iomem": (_procfs.parse_iomem, "/proc/iomem"),
    "cgroup": (_oom.parse_cgroup, "/proc/310/cgroup"),
    "config": (_procfs.parse_vmap_stack, "/proc/config.gz"),
    "gunzip": (_procfs.gunzip, "/proc/config.gz"),
    "escapes": (_procfs.unescape, "texts/swaps"),
}


@pytest.mark.parametrize("name", PARSERS)
def test_a_file_cut_anywhere_never_says_something_else(name: str) -> None:
    parse, path = PARSERS[name]
    assert parse(content(path))
    check_truncations(parse, content(path))


def test_a_cut_slabinfo_holds_fewer_caches_and_the_same_numbers() -> None:
    data = content("/proc/slabinfo")
    whole = {slab["name"]: slab for slab in _procfs.parse_slabinfo(data, page_size=4096)}
    for offset in range(0, len(data), 37):
        for slab in _procfs.parse_slabinfo(data[:offset], page_size=4096):
            assert whole[slab["name"]] == slab


@given(st.sampled_from(sorted({**PARSERS, **OTHER_PARSERS})), st.data())
def test_damaged_files_never_raise(name: str, draw: st.DataObject) -> None:
    parse, path = {**PARSERS, **OTHER_PARSERS}[name]
    data = content(path)[:4000]
    start = draw.draw(st.integers(0, len(data)))
    junk = draw.draw(st.binary(max_size=40))
    parse(data[:start] + junk + data[start + draw.draw(st.integers(0, 20)) :])
    parse(junk)
    parse(junk + b"\n")


@given(st.binary(max_size=200))
@example(b"MemTotal: 1_000 kB\nMemFree: \xd9\xa1 kB\nBuffers: 99999999999999999999999999999 kB\n")
def test_meminfo_takes_only_plain_numbers(data: bytes) -> None:
    for value in _procfs.parse_meminfo(data).values():
        assert isinstance(value, int)
    assert not _procfs.parse_meminfo(b"MemTotal: 1_000 kB\nMemFree: \xd9\xa1 kB\nBuffers: 99999999999999999999999999999 kB\nCached: 5 MB\n")


def test_meminfo_is_in_bytes_but_huge_pages_are_counted() -> None:
    values = _procfs.parse_meminfo(content("texts/meminfo-5.4-64k"))
    assert values["MemTotal"] == 66835968 * 1024
    assert values["HugePages_Total"] == 4
    assert values["Hugetlb"] == 2 << 30
    assert "Zswap" not in values  # since 5.19: absent, not zero
    assert _procfs.parse_meminfo(b"Node 1 MemFree:   12 kB\nNode 1 HugePages_Total:     3\nActive(anon): 4 kB\n") == {
        "MemFree": 12288, "HugePages_Total": 3, "Active(anon)": 4096,
    }  # fmt: skip


def test_zoneinfo_of_a_node_with_boost_and_promo() -> None:
    zones = host_zones()
    assert [zone["name"] for zone in zones] == ["DMA", "DMA32", "Normal", "Movable", "Device"]
    normal = zones[2]
    raw = content("/proc/zoneinfo").split(b"Node 0, zone   Normal")[1].split(b"Node 0")[0].decode()
    counts = [int(line.split()[1]) for line in raw.splitlines() if line.strip().startswith("count:")]
    assert len(counts) == 2 and normal["pcp"] == sum(counts) > 0
    for key in ("boost", "min", "low", "high", "promo", "present", "managed"):
        assert normal[key] == int(raw.split(f"        {key} ")[1].split()[0])
    assert normal["free"] == int(raw.split("pages free")[1].split()[0])
    assert normal["unreclaimable"] is False
    assert normal["free_cma"] == 0
    assert "pcp" not in zones[3] and "unreclaimable" not in zones[3]  # an empty zone has no page sets


def test_zoneinfo_of_5_4_has_no_promo_and_no_boost() -> None:
    zones = _procfs.parse_zoneinfo(content("texts/zoneinfo-5.4"))
    assert zones[1] == {
        "node": 1, "name": "Normal", "free": 120034, "min": 4244, "low": 5305, "high": 6366, "present": 262144, "managed": 251448,
        "protection": [0, 0, 0, 0, 0], "free_cma": 512, "pcp": 200, "unreclaimable": True,
    }  # fmt: skip
    assert zones[0]["protection"] == [0, 2944, 3927, 3927, 3927]


def test_a_zone_whose_last_cpus_are_missing_has_no_pcp() -> None:
    data = content("texts/zoneinfo-5.4")
    half = data[: data.index(b"    cpu: 1")]
    assert "pcp" not in _procfs.parse_zoneinfo(half)[0]


def host_zones() -> t.List[t.Any]:
    return _procfs.read_zoneinfo(host())


def test_buddyinfo_keeps_whole_rows() -> None:
    data = b"Node 0, zone      DMA      1      0      2 \nNode 1, zone   Normal    14      x      3 \nNode 1, zone  Movable \n"
    assert _procfs.parse_buddyinfo(data) == [{"node": 0, "zone": "DMA", "free": [1, 0, 2]}]


@pytest.mark.parametrize(("data", "expected"), [
    (b"some avg10=1.88 avg60=0.55 avg300=0.14 total=1852920\nfull avg10=1.47 avg60=0.44 avg300=0.10 total=16\n",
     {"some": {"avg10": 1.88, "avg60": 0.55, "avg300": 0.14, "total": 1852920}, "full": {"avg10": 1.47, "avg60": 0.44, "avg300": 0.1, "total": 16}}),
    (b"some avg10=0.00 avg60=nan avg300=1e9 total=7\n", {"some": {"avg10": 0.0, "total": 7}}),  # cpu of 5.4 has no "full"
    (b"full total=-1 avg10=0.00\nhalf avg10=0.00\n", {"full": {"avg10": 0.0}}),
])  # fmt: skip
def test_pressure(data: bytes, expected: dict[str, t.Any]) -> None:
    assert _procfs.parse_pressure(data) == expected


def test_swaps() -> None:
    assert _procfs.parse_swaps(content("texts/swaps")) == [
        {"path": "/dev/zram0", "type": "partition", "size_bytes": 8388604 * 1024, "used_bytes": 524288 * 1024, "priority": 100},
        {"path": "/var/swap file", "type": "file", "size_bytes": 1048572 * 1024, "used_bytes": 0, "priority": -2},
    ]
    assert _procfs.read_swaps(host()) == []


@pytest.mark.parametrize("data", [b"", b"\n", b"garbage\n"])
def test_swaps_without_a_header(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        _procfs.read_swaps(write(tmp_path, {"/proc/swaps": data}))
    assert caught.value.kind == "malformed"


def test_sockstat_with_and_without_ipv6(tmp_path: t.Any) -> None:
    data = b"sockets: used 16\nTCP: inuse 1 orphan 0 tw 1 alloc 1 mem 180\nFRAG: inuse 0 memory 0\n"
    tree = write(tmp_path, {"/proc/net/sockstat": data})
    assert _procfs.read_sockstat(tree) == {
        "sockets": {"used": 16}, "TCP": {"inuse": 1, "orphan": 0, "tw": 1, "alloc": 1, "mem": 180}, "FRAG": {"inuse": 0, "memory": 0},
    }  # fmt: skip
    assert "TCP6" in _procfs.read_sockstat(host())


def test_protocol_memory() -> None:
    assert _procfs.parse_triple(b"287901\t383868\t575802\n") == {"min": 287901, "pressure": 383868, "max": 575802}
    assert _procfs.parse_triple(b"287901\t383868\n") == {}
    assert set(_procfs.read_protocol_memory(host(), "udp")) == {"min", "pressure", "max"}


def test_slabinfo_by_column_names_largest_first() -> None:
    slabs = _procfs.parse_slabinfo(content("texts/slabinfo-5.10"), page_size=4096)
    assert [(slab["name"], slab["bytes"]) for slab in slabs] == [("dentry", 9524 * 4096), ("kmalloc-8k", 11 * 8 * 4096), ("odd cache name", 2 * 2 * 4096)]
    assert slabs[0] == {
        "name": "dentry", "active": 190000, "objects": 200000, "object_bytes": 192, "pages_per_slab": 1, "slabs": 9524, "bytes": 9524 * 4096,
    }  # fmt: skip
    assert _procfs.parse_slabinfo(b"dentry 1 2 3 4 5 : tunables 0 0 0 : slabdata 1 1 0\n", page_size=4096) == []  # no header: columns unknown


@pytest.mark.parametrize(("line", "expected"), [
    (b"quiet psi=1", [("quiet", None), ("psi", "1")]),
    (b'dyndbg="file a.c +p" x', [("dyndbg", "file a.c +p"), ("x", None)]),
    (b'"note=two words"  y=', [("note", "two words"), ("y", "")]),
    (b"root=UUID=ab cgroup.memory=nokmem,nosocket", [("root", "UUID=ab"), ("cgroup.memory", "nokmem,nosocket")]),
    (b"console=tty0 console=ttyS0", [("console", "tty0"), ("console", "ttyS0")]),
    (b'open="never closed x', [("open", "never closed x")]),
    (b"", []),
])  # fmt: skip
def test_cmdline(line: bytes, expected: list[t.Any]) -> None:
    assert _procfs.parse_cmdline(line + b"\n") == expected


def test_iomem_sums_system_ram_and_knows_zeros() -> None:
    data = b"00001000-0009fbff : System RAM\n00100000-001fffff : System RAM\n  00110000-0011ffff : Kernel code\n00200000-002fffff : Reserved\n"
    assert _procfs.parse_iomem(data) == 0x9FBFF - 0x1000 + 1 + (1 << 20)
    zeros = b"00000000-00000000 : System RAM\n00000000-00000000 : Reserved\n"
    assert _procfs.parse_iomem(zeros) is None
    assert _procfs.read_iomem(host()) > _procfs.read_meminfo(host())["MemTotal"]


def test_iomem_of_an_ordinary_user_is_denied(tmp_path: t.Any) -> None:
    tree = write(tmp_path, {"/proc/iomem": b"00000000-00000000 : System RAM\n"})
    with pytest.raises(Unreadable, match="root") as caught:
        _procfs.read_iomem(tree)
    assert caught.value.kind == "denied"


def test_mountinfo_unescapes_and_skips_optional_fields() -> None:
    data = b"36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue\n"
    assert _procfs.parse_mountinfo(data) == [{
        "mount_point": "/mnt 2\\x", "root": "/mnt1", "fs_type": "ext3", "device": "98:0",
        "super_options": ["rw", "errors=continue"],
    }]  # fmt: skip


def test_a_covered_tmpfs_is_not_asked() -> None:
    def mount(path: str, fs_type: str, device: str) -> t.Any:
        return {"mount_point": path, "root": "/", "fs_type": fs_type, "source": "x", "device": device, "options": [], "super_options": []}

    mounts = [
        mount("/", "ext4", "8:1"), mount("/run", "tmpfs", "0:20"), mount("/data/tmp", "tmpfs", "0:21"), mount("/data", "nfs", "0:22"),
        mount("/dev/shm", "tmpfs", "0:23"), mount("/dev/shm", "tmpfs", "0:24"), mount("/srv/run", "tmpfs", "0:20"),
    ]  # fmt: skip
    assert _procfs.visible_tmpfs(mounts) == ["/run", "/dev/shm"]
    assert _procfs.visible_tmpfs(mounts[4:]) == ["/dev/shm", "/srv/run"]


def test_tmpfs_needs_the_live_node() -> None:
    with pytest.raises(Unreadable, match="captured"):
        _procfs.read_tmpfs(host())
    for row in _procfs.read_tmpfs(Tree()):
        assert 0 <= row["used_bytes"] <= row["size_bytes"]


@pytest.mark.parametrize(("config", "expected"), [
    (b"CONFIG_MMU=y\nCONFIG_VMAP_STACK=y\n", True),
    (b"CONFIG_MMU=y\n# CONFIG_VMAP_STACK is not set\n", False),
    (b"CONFIG_MMU=y\nCONFIG_HAVE_ARCH_VMAP_STACK=y\n", False),
    (b"CONFIG_HAVE_ARCH_VMAP_STACK=y\n", None),
    (b"CONFIG_VMAP_STACK=y", None),
    (b"", None),
])  # fmt: skip
def test_vmap_stack(config: bytes, expected: bool | None) -> None:
    assert _procfs.parse_vmap_stack(config) is expected


def test_vmap_stack_from_either_place(tmp_path: t.Any) -> None:
    assert _procfs.read_vmap_stack(host()) is True
    tree = write(tmp_path, {"/proc/sys/kernel/osrelease": b"5.4.0\n", "/boot/config-5.4.0": b"# CONFIG_VMAP_STACK is not set\n"})
    assert _procfs.read_vmap_stack(tree) is False
    os.remove(tmp_path / "boot" / "config-5.4.0")
    with pytest.raises(Unreadable):
        _procfs.read_vmap_stack(tree)
    assert _procfs.gunzip(gzip.compress(b"x" * 100)[:-12]) != b"y"


def test_page_size_of_a_captured_tree(tmp_path: t.Any) -> None:
    assert _procfs.read_page_size(host()) == 4096
    tree = write(tmp_path, {"/proc/meminfo": content("texts/meminfo-5.4-64k"), "/proc/vmstat": content("texts/vmstat-5.4-64k")})
    assert _procfs.read_page_size(tree) == 65536
    assert _procfs.infer_page_size({"MemFree": 4 << 20}, {"nr_free_pages": 0}) is None
    assert _procfs.read_page_size(Tree()) == os.sysconf("SC_PAGE_SIZE")


def test_one_misleading_counter_does_not_decide_the_page_size() -> None:
    meminfo = {"MemFree": 23737954304, "AnonPages": 68489216, "Mapped": 30916608, "Shmem": 9068544}
    vmstat = {"nr_free_pages": 1023706, "nr_anon_pages": 16746, "nr_mapped": 7916, "nr_shmem": 2214}
    assert _procfs.infer_page_size(meminfo, vmstat) == 4096


READERS: dict[str, tuple[t.Callable[[Tree], t.Any], str]] = {
    "meminfo": (_procfs.read_meminfo, "/proc/meminfo"),
    "vmstat": (_procfs.read_vmstat, "/proc/vmstat"),
    "zoneinfo": (_procfs.read_zoneinfo, "/proc/zoneinfo"),
    "buddyinfo": (_procfs.read_buddyinfo, "/proc/buddyinfo"),
    "pressure": (lambda tree: _procfs.read_pressure(tree, "memory"), "/proc/pressure/memory"),
    "sockstat": (_procfs.read_sockstat, "/proc/net/sockstat"),
    "slabinfo": (lambda tree: _procfs.read_slabinfo(tree, page_size=4096), "/proc/slabinfo"),
    "uptime": (_procfs.read_uptime, "/proc/uptime"),
    "cpus": (_procfs.read_cpus, "/proc/stat"),
    "tcp_mem": (lambda tree: _procfs.read_protocol_memory(tree, "tcp"), "/proc/sys/net/ipv4/tcp_mem"),
}


@pytest.mark.parametrize("name", READERS)
def test_readers_say_why(name: str, tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read, path = READERS[name]
    assert read(host())
    with pytest.raises(Unreadable) as absent:
        read(Tree(str(tmp_path)))
    assert (absent.value.kind, absent.value.path) == ("absent", path)
    with pytest.raises(Unreadable) as malformed:
        read(write(tmp_path, {path: b"\0\xffgarbage"}))
    assert malformed.value.kind == "malformed"

    def refuse(*_args: object, **_kwargs: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Unreadable) as denied:
        read(host())
    assert denied.value.kind == "denied" and "Permission denied" in denied.value.reason


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_root_only_files_as_an_ordinary_user() -> None:
    # Imports come first: the checkout may lie where another user cannot read.
    script = f"""
import os, sys
sys.path[:] = {sys.path!r}
from ansible_collections.memqos.fleet.plugins.module_utils._read import _files, _procfs
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    _procfs.read_slabinfo(_files.Tree(), page_size=4096)
except _files.Unreadable as exc:
    print(exc.kind, exc.reason)
"""
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, universal_newlines=True, check=True)
    assert done.stdout.strip() in ("denied needs root (Permission denied)", "absent not on this node (No such file or directory)")


def test_facts_of_the_kernel() -> None:
    tree = host()
    assert _procfs.read_kernel(tree) == "6.18.44"
    assert _procfs.read_boot_id(tree) == "00000000-0000-4000-8000-000000000001"
    assert _procfs.read_cpus(tree) == 2
    assert ("cgroup.memory", "nokmem") in _procfs.read_cmdline(tree)
    assert _procfs.read_uptime(tree) > 0
    assert "/sys/fs/cgroup/memory" in [mount["mount_point"] for mount in _procfs.read_mountinfo(tree)]
