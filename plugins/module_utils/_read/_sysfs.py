# Copyright (c) 2026, memqos.fleet contributors. Private to the collection: names can change at any release.
# SPDX-License-Identifier: BSD-2-Clause

"""/sys: NUMA nodes, huge pages, KSM, zswap, zram, MGLRU, DAMON. Bytes, unless a docstring says pages or events; a file that is not there has no key."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable, display, whole_lines
from ansible_collections.memqos.fleet.plugins.module_utils._read._procfs import number, parse_keyed, parse_meminfo

Value = t.Union[int, str]

MM = "/sys/kernel/mm"
_NODES = "/sys/devices/system/node"
_NODE = re.compile(r"node([0-9]{1,6})")
_POOL = re.compile(r"hugepages-([0-9]{1,12})kB")
_ZRAM = re.compile(r"zram[0-9]{1,6}")
_POOL_FILES = {"nr_hugepages": "nr", "free_hugepages": "free", "surplus_hugepages": "surplus", "resv_hugepages": "reserved"}
# Documentation/admin-guide/blockdev/zram.rst: the fields have no names in the file, and later kernels only append.
_MM_STAT = (
    "orig_data_size", "compr_data_size", "mem_used_total", "mem_limit", "mem_used_max", "same_pages", "pages_compacted", "huge_pages", "huge_pages_since",
)  # fmt: skip

if t.TYPE_CHECKING:

    class Pool(t.TypedDict, total=False):
        """Huge pages of one size, as counts."""

        nr: int
        free: int
        surplus: int
        reserved: int

    class NumaNode(t.TypedDict, total=False):
        """C(numastat) in pages; C(hugepages): {size in bytes, as text: Pool}; C(distance) to the online nodes in the order of their ids."""

        id: int
        meminfo: dict[str, int]
        numastat: dict[str, int]
        distance: list[int]
        cpulist: str
        hugepages: dict[str, Pool]

    class ThpSize(t.TypedDict, total=False):
        """One mTHP size; C(stats) are events, except C(nr_anon…), which are counts of folios."""

        enabled: str
        shmem_enabled: str
        stats: dict[str, int]

    class Thp(t.TypedDict, total=False):
        """C(sizes): {size in KiB, as text: ThpSize}, from 6.8 on."""

        enabled: str
        defrag: str
        shmem_enabled: str
        use_zero_page: int
        shrink_underused: int
        khugepaged: dict[str, Value]
        sizes: dict[str, ThpSize]

    class Zswap(t.TypedDict, total=False):
        """C(parameters) of the module; C(debug): debugfs, root only (C(stored_pages) in pages, C(pool_total_size) in bytes)."""

        parameters: dict[str, Value]
        debug: dict[str, int]

    class Zram(t.TypedDict, total=False):
        """C(mm_stat): bytes, except C(same_pages pages_compacted huge_pages huge_pages_since), which are pages."""

        name: str
        disksize: int
        comp_algorithm: str
        backing_dev: str
        mm_stat: dict[str, int]

    class Mglru(t.TypedDict, total=False):
        """C(enabled): mask; 0 is off."""

        enabled: int
        min_ttl_ms: int


def parse_choice(data: bytes) -> tuple[str | None, list[str]]:
    """C(always [madvise] never) → ("madvise", ["always", "madvise", "never"]). Without brackets nothing is chosen."""
    lines = whole_lines(data)
    words = lines[0].split() if lines else []
    chosen = [word[1:-1] for word in words if len(word) > 2 and word.startswith(b"[") and word.endswith(b"]")]
    return display(chosen[0]) if len(chosen) == 1 else None, [display(word.strip(b"[]")) for word in words]


def parse_value(data: bytes) -> Value | None:
    """One line: an integer as int, a bracketed choice as the chosen word, else the text (C(Y), C(lzo), C(true))."""
    lines = whole_lines(data)
    if len(lines) != 1 or not lines[0].strip():
        return None
    word = lines[0].strip()
    value = number(word)
    if value is not None:
        return value
    return parse_choice(data)[0] or display(word)


def parse_mask(data: bytes) -> int | None:
    """C(0x0007), as lru_gen/enabled is printed."""
    value = parse_value(data)
    if isinstance(value, str) and re.fullmatch("0x[0-9a-fA-F]{1,8}", value):
        return int(value, 16)
    return value if isinstance(value, int) else None


def parse_numbers(data: bytes) -> list[int]:
    """One line of numbers (distance, mm_stat); empty if one of them is none."""
    lines = whole_lines(data)
    values = [number(word) for word in lines[0].split()] if lines else []
    return [] if None in values else [value for value in values if value is not None]


def read_numa(tree: Tree) -> list[NumaNode]:
    """NUMA nodes by id. Raises Unreadable on kernels without CONFIG_NUMA, which show no nodes."""
    nodes: list[NumaNode] = []
    for match in filter(None, map(_NODE.fullmatch, tree.names(_NODES))):
        base = f"{_NODES}/{match.group(0)}"
        node: NumaNode = {"id": int(match.group(1)), "hugepages": read_hugepages(tree, f"{base}/hugepages")}
        for key, parse in (("meminfo", parse_meminfo), ("numastat", parse_keyed), ("distance", parse_numbers), ("cpulist", parse_value)):
            value = _maybe(tree, f"{base}/{key}", t.cast("t.Callable[[bytes], t.Any]", parse))
            if value is not None and value != {} and value != []:
                node[key] = str(value) if key == "cpulist" else value  # type: ignore[literal-required]
        nodes.append(node)
    nodes.sort(key=lambda node: node["id"])
    return nodes


def read_hugepages(tree: Tree, path: str = f"{MM}/hugepages") -> dict[str, Pool]:
    """Huge page pools by page size in bytes (as text, since JSON has no other keys): of the node, or of the NUMA node whose directory is given.

    Empty without CONFIG_HUGETLBFS.
    """
    pools: dict[str, Pool] = {}
    for match in filter(None, map(_POOL.fullmatch, _names(tree, path))):
        pool: Pool = {}
        for name, key in _POOL_FILES.items():
            value = _maybe(tree, f"{path}/{match.group(0)}/{name}", parse_value)
            if isinstance(value, int):
                pool[key] = value  # type: ignore[literal-required]
        pools[str(int(match.group(1)) * 1024)] = pool
    return pools


def read_thp(tree: Tree) -> Thp:
    """Raises Unreadable without CONFIG_TRANSPARENT_HUGEPAGE."""
    base = f"{MM}/transparent_hugepage"
    names = tree.names(base)
    thp: Thp = {}
    for key in ("enabled", "defrag", "shmem_enabled", "use_zero_page", "shrink_underused"):
        value = _maybe(tree, f"{base}/{key}", parse_value)
        if value is not None:
            thp[key] = value
    if "khugepaged" in names:
        thp["khugepaged"] = _values(tree, f"{base}/khugepaged")
    sizes = {match.group(1): _thp_size(tree, f"{base}/{match.group(0)}") for match in filter(None, map(_POOL.fullmatch, names))}
    if sizes:
        thp["sizes"] = sizes
    return thp


def read_ksm(tree: Tree) -> dict[str, Value]:
    """Every file by name; pages, milliseconds or words as the kernel says. Raises Unreadable without CONFIG_KSM."""
    return _values(tree, f"{MM}/ksm", strict=True)


def read_zswap(tree: Tree) -> Zswap:
    """Raises Unreadable without CONFIG_ZSWAP."""
    zswap: Zswap = {"parameters": _values(tree, "/sys/module/zswap/parameters", strict=True)}
    debug = {key: value for key, value in _values(tree, "/sys/kernel/debug/zswap").items() if isinstance(value, int)}
    if debug:
        zswap["debug"] = debug
    return zswap


def read_zram(tree: Tree) -> list[Zram]:
    """Devices that have a size; one with 0 was never set up. Empty where there is none."""
    devices: list[Zram] = []
    for name in _names(tree, "/sys/block"):
        disksize = _maybe(tree, f"/sys/block/{name}/disksize", parse_value) if _ZRAM.fullmatch(name) else None
        if isinstance(disksize, int) and disksize:
            device: Zram = {"name": name, "disksize": disksize}
            for key in ("comp_algorithm", "backing_dev"):
                value = _maybe(tree, f"/sys/block/{name}/{key}", parse_value)
                if value is not None:
                    device[key] = str(value)
            fields = _maybe(tree, f"/sys/block/{name}/mm_stat", parse_numbers)
            if fields:
                device["mm_stat"] = dict(zip(_MM_STAT, fields))
            devices.append(device)
    return devices


def read_mglru(tree: Tree) -> Mglru:
    """Raises Unreadable on kernels without the multi-generational LRU (before 6.1, or without CONFIG_LRU_GEN)."""
    mglru: Mglru = {}
    mask = parse_mask(tree.read(f"{MM}/lru_gen/enabled"))
    if mask is not None:
        mglru["enabled"] = mask
    ttl = _maybe(tree, f"{MM}/lru_gen/min_ttl_ms", parse_value)
    if isinstance(ttl, int):
        mglru["min_ttl_ms"] = ttl
    return mglru


def read_damon(tree: Tree) -> dict[str, dict[str, Value]]:
    """Parameters of the DAMON modules that this kernel has: {"damon_reclaim": {…}, "damon_lru_sort": {…}}. Empty where there is none."""
    modules = {name: _values(tree, f"/sys/module/{name}/parameters") for name in ("damon_reclaim", "damon_lru_sort")}
    return {name: parameters for name, parameters in modules.items() if parameters}


def read_flag(tree: Tree, path: str) -> bool:
    """A boolean file (swap/vma_ra_enabled, numa/demotion_enabled: C(true); module parameters: C(Y)). Raises Unreadable."""
    word = str(parse_value(tree.read(path)))
    if word not in ("true", "false", "Y", "N", "1", "0"):
        raise Unreadable(path, "malformed", "neither true nor false")
    return word in ("true", "Y", "1")


def read_vma_readahead(tree: Tree) -> bool:
    """Swap readahead by virtual address; off by the kernel itself while swap is on a rotating disk."""
    return read_flag(tree, f"{MM}/swap/vma_ra_enabled")


def read_demotion(tree: Tree) -> bool:
    """Reclaim moves pages to a slower memory tier instead of dropping them (since 5.15)."""
    return read_flag(tree, f"{MM}/numa/demotion_enabled")


P = t.TypeVar("P")


def _maybe(tree: Tree, path: str, parse: t.Callable[[bytes], P]) -> P | None:
    try:
        return parse(tree.read(path))
    except Unreadable:
        return None


def _names(tree: Tree, path: str) -> list[str]:
    try:
        return tree.names(path)
    except Unreadable:
        return []


def _values(tree: Tree, path: str, *, strict: bool = False) -> dict[str, Value]:
    names = tree.names(path) if strict else _names(tree, path)
    values = {name: _maybe(tree, f"{path}/{name}", parse_value) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _thp_size(tree: Tree, path: str) -> ThpSize:
    size: ThpSize = {}
    for key in ("enabled", "shmem_enabled"):
        value = _maybe(tree, f"{path}/{key}", parse_value)
        if value is not None:
            size[key] = str(value)
    stats = {key: value for key, value in _values(tree, f"{path}/stats").items() if isinstance(value, int)}
    if stats:
        size["stats"] = stats
    return size
