# SPDX-License-Identifier: BSD-2-Clause

"""Where memory goes: rows that sum to MemTotal. Pure."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Breakdown, Row

# (row, /proc/meminfo key, group, reclaimable)
_ROWS = (
    ("free", "MemFree", "free", "yes"),
    ("free_percpu_lists", "", "free", "yes"),
    ("active_anon", "Active(anon)", "user", "no"),
    ("inactive_anon", "Inactive(anon)", "user", "no"),
    ("active_file", "Active(file)", "user", "with_io"),
    ("inactive_file", "Inactive(file)", "user", "yes"),
    ("unevictable", "Unevictable", "user", "no"),
    ("slab_reclaimable", "SReclaimable", "kernel", "yes"),
    ("slab_unreclaimable", "SUnreclaim", "kernel", "no"),
    ("page_tables", "PageTables", "kernel", "no"),
    ("secondary_page_tables", "SecPageTables", "kernel", "no"),
    ("vmalloc", "VmallocUsed", "kernel", "no"),
    ("percpu", "Percpu", "kernel", "no"),
    ("balloon", "Balloon", "other", "no"),
    ("isolated", "", "user", "no"),
    ("zsmalloc", "", "kernel", "with_io"),
    ("zswap", "", "kernel", "with_io"),
    ("kernel_stack", "", "kernel", "no"),
    ("hugetlb", "", "hugetlb", "no"),
)


class NoTotal(Exception):
    """There is no MemTotal: nothing can be accounted for."""


def breakdown(
    meminfo: t.Mapping[str, int],
    *,
    vmstat: t.Mapping[str, int],
    pcp_pages: int | None,
    page_size: int,
    vmap_stack: bool | None,
    zswap_in_zsmalloc: bool = True,
) -> Breakdown:
    """docs/architecture.md §3.3. C(vmap_stack) None (unknown) counts as yes, the default of x86 and arm64. Raises NoTotal."""
    if "MemTotal" not in meminfo:
        raise NoTotal("/proc/meminfo has no MemTotal: is this a node, or a captured tree with its /proc?")
    zspages = vmstat.get("nr_zspages")
    isolated = [vmstat[key] for key in ("nr_isolated_anon", "nr_isolated_file") if key in vmstat]
    pages = {"free_percpu_lists": pcp_pages, "isolated": sum(isolated) if isolated else None, "zsmalloc": zspages}
    sizes = {
        **{name: None if count is None else count * page_size for name, count in pages.items()},
        "zswap": meminfo.get("Zswap") if zspages is None or not zswap_in_zsmalloc else None,
        "kernel_stack": meminfo.get("KernelStack") if vmap_stack is False else None,
        "hugetlb": hugetlb_bytes(meminfo),
    }
    rows: list[Row] = []
    for name, key, group, reclaimable in _ROWS:
        size = sizes[name] if name in sizes else meminfo.get(key)
        if size is not None:
            rows.append({"name": name, "bytes": size, "group": group, "reclaimable": reclaimable})
    total = meminfo["MemTotal"]
    rows.append({"name": "unaccounted", "bytes": total - sum(row["bytes"] for row in rows), "group": "other", "reclaimable": "no"})
    return {"memtotal_bytes": total, "rows": rows}


def hugetlb_bytes(meminfo: t.Mapping[str, int]) -> int | None:
    """Bytes in huge page pools; before 4.16 (no C(Hugetlb)) those of the default size only."""
    if "Hugetlb" in meminfo:
        return meminfo["Hugetlb"]
    if "HugePages_Total" in meminfo and "Hugepagesize" in meminfo:
        return meminfo["HugePages_Total"] * meminfo["Hugepagesize"]
    return None
