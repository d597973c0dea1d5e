# SPDX-License-Identifier: BSD-2-Clause

"""/sys: NUMA nodes, huge pages, KSM, zswap, zram, MGLRU, DAMON. A file that is not there has no key."""

from __future__ import annotations

import re
import typing as t

from ._files import Tree, display, whole_lines
from ._procfs import number, parse_keyed, parse_meminfo, parse_numbers

Values = t.Dict[str, t.Any]

MM = "/sys/kernel/mm"
_NODES = "/sys/devices/system/node"
_NODE = re.compile(r"node([0-9]{1,6})")
_SIZE = re.compile(r"hugepages-([0-9]{1,12})kB")
_ZRAM = re.compile(r"zram[0-9]{1,6}")
_POOL = {"nr_hugepages": "nr", "free_hugepages": "free", "surplus_hugepages": "surplus", "resv_hugepages": "reserved"}
# Documentation/admin-guide/blockdev/zram.rst; later kernels only append.
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
    value = parse_value(data)
    if isinstance(value, str):
        return int(value, 16) if re.fullmatch("0x[0-9a-fA-F]{1,8}", value) else None
    return value


def read_numa(tree: Tree) -> list[Values]:
    """docs/architecture.md §3.2. Raises Unreadable without CONFIG_NUMA."""
    matches = filter(None, map(_NODE.fullmatch, tree.names(_NODES)))
    return [_numa_node(tree, int(match.group(1)), f"{_NODES}/{match.group(0)}") for match in sorted(matches, key=lambda match: int(match.group(1)))]


def _numa_node(tree: Tree, node: int, base: str) -> Values:
    cpulist = parse_value(tree.read_or_empty(f"{base}/cpulist"))
    parsed = {
        "meminfo": parse_meminfo(tree.read_or_empty(f"{base}/meminfo")),
        "numastat": parse_keyed(tree.read_or_empty(f"{base}/numastat")),
        "distance": parse_numbers(tree.read_or_empty(f"{base}/distance")),
        "cpulist": None if cpulist is None else str(cpulist),
    }
    pools = read_hugepages(tree, f"{base}/hugepages")
    return {"id": node, "hugepages": pools, **_known(parsed)}


def read_telling(tree: Tree) -> Values:
    found: Values = {
        "zswap": _known({"parameters": _folder(tree, "/sys/module/zswap/parameters"), "debug": _folder(tree, "/sys/kernel/debug/zswap")}),
        "zram": _zram(tree),
        "mglru": {name: value for name in ("enabled", "min_ttl_ms") for value in [parse_mask(tree.read_or_empty(f"{MM}/lru_gen/{name}"))] if value is not None},
    }
    return _known(found)


def read_details(tree: Tree) -> Values:
    """What merges, folds and reserves memory (docs/architecture.md §3.2). Never raises."""
    found: Values = {
        "thp": _folder(tree, f"{MM}/transparent_hugepage"),
        "ksm": _folder(tree, f"{MM}/ksm"),
        "damon": _known({name: _folder(tree, f"/sys/module/{name}/parameters") for name in ("damon_reclaim", "damon_lru_sort")}),
        "hugepages": read_hugepages(tree, f"{MM}/hugepages"),
    }
    return _known(found)


def read_hugepages(tree: Tree, path: str) -> dict[str, dict[str, int]]:
    """{page size in bytes, as text: {nr, free, surplus, reserved}} of the node, or of a NUMA node."""
    pools = {}
    for name, files in _folder(tree, path).items():
        match = _SIZE.fullmatch(name)
        if match:
            pools[str(int(match.group(1)) * 1024)] = {key: files[file] for file, key in _POOL.items() if isinstance(files.get(file), int)}
    return pools


def _zram(tree: Tree) -> list[Values]:
    """Devices that have a size; one with 0 was never set up."""
    devices: list[Values] = []
    for name in filter(_ZRAM.fullmatch, tree.names_or_empty("/sys/block")):
        device: Values = {key: parse_value(tree.read_or_empty(f"/sys/block/{name}/{key}")) for key in ("disksize", "comp_algorithm", "backing_dev")}
        device["mm_stat"] = dict(zip(_MM_STAT, parse_numbers(tree.read_or_empty(f"/sys/block/{name}/mm_stat"))))
        if device["disksize"]:
            devices.append({"name": name, **_known(device)})
    return devices


def _known(found: Values) -> Values:
    return {key: value for key, value in found.items() if value}


def _folder(tree: Tree, path: str, levels: int = 3) -> Values:
    """Every file that can be understood, by name; directories likewise."""
    values: Values = {}
    for name in tree.names_or_empty(path) if levels else ():
        below = f"{path}/{name}"
        value: t.Any = parse_value(tree.read_or_empty(below))
        if value is None:
            value = _folder(tree, below, levels - 1)
        if value != {}:
            values[name] = value
    return values
