# Copyright (c) 2026, memqos.fleet contributors. Private to the collection: names can change at any release.
# SPDX-License-Identifier: BSD-2-Clause

"""/sys: NUMA nodes, huge pages, KSM, zswap, zram, MGLRU, DAMON. A file that is not there has no key."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable, display, whole_lines
from ansible_collections.memqos.fleet.plugins.module_utils._read._procfs import number, parse_keyed, parse_meminfo, parse_numbers

Values = t.Dict[str, t.Any]
NumaNode = Values

MM = "/sys/kernel/mm"
_NODES = "/sys/devices/system/node"
_NODE = re.compile(r"node([0-9]{1,6})")
_SIZE = re.compile(r"hugepages-([0-9]{1,12})kB")
_ZRAM = re.compile(r"zram[0-9]{1,6}")
_POOL = {"nr_hugepages": "nr", "free_hugepages": "free", "surplus_hugepages": "surplus", "resv_hugepages": "reserved"}
# Documentation/admin-guide/blockdev/zram.rst: the fields have no names in the file, and later kernels only append.
_MM_STAT = "orig_data_size compr_data_size mem_used_total mem_limit mem_used_max same_pages pages_compacted huge_pages huge_pages_since".split()


def parse_value(data: bytes) -> int | str | None:
    """One line: an integer as int, of C(always [madvise] never) the chosen word, else the text (C(Y), C(lzo))."""
    lines = whole_lines(data)
    if len(lines) != 1 or not lines[0].strip():
        return None
    word = lines[0].strip()
    chosen = re.findall(rb"(?:^|\s)\[(\S+)\](?!\S)", word)
    value = number(word)
    return value if value is not None else display(chosen[0] if len(chosen) == 1 else word)


def parse_mask(data: bytes) -> int | None:
    """C(0x0007), as lru_gen/enabled is printed."""
    value = parse_value(data)
    if isinstance(value, str):
        return int(value, 16) if re.fullmatch("0x[0-9a-fA-F]{1,8}", value) else None
    return value


def read_numa(tree: Tree) -> list[Values]:
    """Nodes by id: C({id, meminfo: {key: bytes}, numastat: {key: pages}, distance: [to each online node], cpulist, hugepages}).

    Raises Unreadable on kernels without CONFIG_NUMA, which show no nodes.
    """
    matches = filter(None, map(_NODE.fullmatch, tree.names(_NODES)))
    return [_numa_node(tree, int(match.group(1)), f"{_NODES}/{match.group(0)}") for match in sorted(matches, key=lambda match: int(match.group(1)))]


def _numa_node(tree: Tree, node: int, base: str) -> Values:
    cpulist = _maybe(tree, f"{base}/cpulist", parse_value)
    parsed = {
        "meminfo": _maybe(tree, f"{base}/meminfo", parse_meminfo),
        "numastat": _maybe(tree, f"{base}/numastat", parse_keyed),
        "distance": _maybe(tree, f"{base}/distance", parse_numbers),
        "cpulist": None if cpulist is None else str(cpulist),
    }
    return {"id": node, "hugepages": read_hugepages(tree, f"{base}/hugepages"), **{key: value for key, value in parsed.items() if value}}


def read_details(tree: Tree) -> Values:
    """What compresses, merges, folds and reserves memory; a key only for what this kernel has. JSON-ready; never raises.

    C(thp), C(ksm), C(damon) (by module): every file by its name, directories nested (thp C(hugepages-64kB: {enabled, stats: {event: count}}), from 6.8 on).
    C(zswap), C(zram), C(mglru), C(hugepages): as their readers say.
    """
    found = {
        "thp": _folder(tree, f"{MM}/transparent_hugepage"),
        "ksm": _folder(tree, f"{MM}/ksm"),
        "zswap": _or_none(read_zswap, tree),
        "zram": read_zram(tree),
        "mglru": _or_none(read_mglru, tree),
        "damon": {name: values for name in ("damon_reclaim", "damon_lru_sort") for values in [_folder(tree, f"/sys/module/{name}/parameters")] if values},
        "hugepages": read_hugepages(tree, f"{MM}/hugepages"),
    }
    return {key: value for key, value in found.items() if value}


def read_hugepages(tree: Tree, path: str) -> dict[str, dict[str, int]]:
    """Pools of the node, or of a NUMA node: C({page size in bytes, as text: {nr, free, surplus, reserved}}), in pages. Empty without CONFIG_HUGETLBFS."""
    pools = {}
    for name, files in _folder(tree, path).items():
        match = _SIZE.fullmatch(name)
        if match:
            pools[str(int(match.group(1)) * 1024)] = {key: files[file] for file, key in _POOL.items() if isinstance(files.get(file), int)}
    return pools


def read_zswap(tree: Tree) -> Values:
    """C({parameters, debug}); C(debug) is debugfs, root only: stored_pages in pages, pool_total_size in bytes. Raises Unreadable without CONFIG_ZSWAP."""
    tree.names("/sys/module/zswap/parameters")
    found = {"parameters": _folder(tree, "/sys/module/zswap/parameters"), "debug": _folder(tree, "/sys/kernel/debug/zswap")}
    return {key: value for key, value in found.items() if value}


def read_zram(tree: Tree) -> list[Values]:
    """Devices that have a size (one with 0 was never set up): C({name, disksize, comp_algorithm, backing_dev, mm_stat}).

    C(mm_stat): bytes, except same_pages, pages_compacted and huge_pages*, which are pages.
    """
    devices = []
    for name in filter(_ZRAM.fullmatch, _names(tree, "/sys/block")):
        device: Values = {key: _maybe(tree, f"/sys/block/{name}/{key}", parse_value) for key in ("disksize", "comp_algorithm", "backing_dev")}
        device["mm_stat"] = dict(zip(_MM_STAT, _maybe(tree, f"/sys/block/{name}/mm_stat", parse_numbers) or ()))
        if device["disksize"]:
            devices.append({"name": name, **{key: value for key, value in device.items() if value}})
    return devices


def read_mglru(tree: Tree) -> dict[str, int]:
    """C({enabled: mask, min_ttl_ms}); mask 0 is off. Raises Unreadable without the multi-generational LRU (before 6.1, or without CONFIG_LRU_GEN)."""
    values = {"enabled": parse_mask(tree.read(f"{MM}/lru_gen/enabled")), "min_ttl_ms": _maybe(tree, f"{MM}/lru_gen/min_ttl_ms", parse_mask)}
    return {key: value for key, value in values.items() if value is not None}


P = t.TypeVar("P")


def _maybe(tree: Tree, path: str, parse: t.Callable[[bytes], P]) -> P | None:
    return _or_none(lambda tree: parse(tree.read(path)), tree)


def _or_none(read: t.Callable[[Tree], P], tree: Tree) -> P | None:
    try:
        return read(tree)
    except Unreadable:
        return None


def _names(tree: Tree, path: str) -> list[str]:
    return _or_none(lambda tree: tree.names(path), tree) or []


def _folder(tree: Tree, path: str, levels: int = 3) -> Values:
    """Every file that can be understood, by name; directories likewise."""
    values: Values = {}
    for name in _names(tree, path) if levels else ():
        below = f"{path}/{name}"
        value: t.Any = _maybe(tree, below, parse_value)
        if value is None:
            value = _folder(tree, below, levels - 1)
        if value != {}:
            values[name] = value
    return values
