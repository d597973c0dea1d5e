# Copyright (c) 2026, memqos.fleet contributors. Private to the collection: names can change at any release.
# SPDX-License-Identifier: BSD-2-Clause

"""Where memory goes: rows that sum to MemTotal, and what each cgroup's numbers mean. Pure."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.module_utils._read._cgroupfs import Cgroup

    class Row(t.TypedDict):
        name: str
        bytes: int
        group: str
        reclaimable: str

    class Breakdown(t.TypedDict):
        memtotal_bytes: int
        rows: t.List[Row]
        details: t.Dict[str, int]


# (row, /proc/meminfo key, group, reclaimable). The LRU lists cover every anonymous and page cache page; Buffers, Cached, Mapped, Shmem
# and AnonPages overlap them and are details, never rows.
_MEMINFO_ROWS = (
    ("free", "MemFree", "free", "yes"),
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
)
_DETAILS = ("Buffers", "Cached", "SwapCached", "AnonPages", "Mapped", "Shmem", "Dirty", "Writeback", "Mlocked", "KernelStack", "AnonHugePages", "MemAvailable")
# What memcg calls `kernel` is these and whatever a driver charged; the rest is hidden from every other key.
_KERNEL_PARTS = ("kernel_stack", "pagetables", "sec_pagetables", "percpu", "vmalloc", "slab_reclaimable", "slab_unreclaimable")


class NoTotal(Exception):
    """The snapshot has no MemTotal: nothing can be accounted for."""


def breakdown(
    meminfo: t.Mapping[str, int],
    *,
    vmstat: t.Mapping[str, int],
    pcp_pages: int | None,
    page_size: int,
    vmap_stack: bool | None,
    zswap_in_zsmalloc: bool = True,
) -> Breakdown:
    """Rows that sum to MemTotal exactly; the last one, C(unaccounted), is the remainder and may be negative. Raises NoTotal.

    MemTotal = MemFree + per-CPU free lists + LRU lists + isolated + slab + page tables + vmalloc + percpu + hugetlb + zsmalloc + zswap
    + balloon + unaccounted (mm/vmstat.c, fs/proc/meminfo.c). Free pages on per-CPU lists are not in MemFree. Kernel stacks are
    vmalloc'ed with CONFIG_VMAP_STACK and then already in VmallocUsed (kernel/fork.c); C(vmap_stack) None (unknown) counts as yes, the
    default of x86 and arm64 since 4.9 and 4.14. zram and zswap keep compressed pages in zsmalloc (C(nr_zspages)); zswap has a row of
    its own only on another pool (zbud, z3fold before 6.18). A key this kernel lacks gives no row: its pages are in the remainder.
    """
    if "MemTotal" not in meminfo:
        raise NoTotal("/proc/meminfo has no MemTotal")
    rows = [_row(name, meminfo[key], group, reclaimable) for name, key, group, reclaimable in _MEMINFO_ROWS if key in meminfo]
    if pcp_pages is not None:
        rows.insert(1, _row("free_percpu_lists", pcp_pages * page_size, "free", "yes"))
    isolated = [vmstat[key] for key in ("nr_isolated_anon", "nr_isolated_file") if key in vmstat]
    if isolated:
        rows.append(_row("isolated", sum(isolated) * page_size, "user", "no"))
    zspages = vmstat.get("nr_zspages")
    if zspages is not None:
        rows.append(_row("zsmalloc", zspages * page_size, "kernel", "with_io"))
    if "Zswap" in meminfo and (zspages is None or not zswap_in_zsmalloc):
        rows.append(_row("zswap", meminfo["Zswap"], "kernel", "with_io"))
    if vmap_stack is False and "KernelStack" in meminfo:
        rows.append(_row("kernel_stack", meminfo["KernelStack"], "kernel", "no"))
    hugetlb = hugetlb_bytes(meminfo)
    if hugetlb is not None:
        rows.append(_row("hugetlb", hugetlb, "hugetlb", "no"))
    total = meminfo["MemTotal"]
    rows.append(_row("unaccounted", total - sum(row["bytes"] for row in rows), "other", "no"))
    details = {_snake(key): meminfo[key] for key in _DETAILS if key in meminfo}
    return {"memtotal_bytes": total, "rows": rows, "details": details}


def hugetlb_bytes(meminfo: t.Mapping[str, int]) -> int | None:
    """Bytes in huge page pools of all sizes (C(Hugetlb)), before 4.16 those of the default size only."""
    if "Hugetlb" in meminfo:
        return meminfo["Hugetlb"]
    if "HugePages_Total" in meminfo and "Hugepagesize" in meminfo:
        return meminfo["HugePages_Total"] * meminfo["Hugepagesize"]
    return None


def account_cgroups(cgroups: t.Sequence[Cgroup], *, recursive_protection: bool) -> None:
    """Adds to each cgroup what follows from the kernel's numbers: working sets, effective protection, dying bytes, sums over children.

    C(cgroups) has parents before children.
    """
    children: dict[str, list[Cgroup]] = {}
    for cgroup in cgroups:
        _add_sets(cgroup)
        parent = cgroup.get("parent")
        if parent is not None:
            children.setdefault(parent, []).append(cgroup)
    for cgroup in cgroups:
        below = children.get(cgroup["path"])
        if below:
            _add_sums(cgroup, below)
            _add_dying_bytes(cgroup, below)
            _add_protection(cgroup, below, recursive_protection)
        elif cgroup.get("dying") == 0:
            cgroup["dying_bytes"] = 0


def _add_sets(cgroup: Cgroup) -> None:
    """Three answers to "how much does it use": cAdvisor's, SysOM's, and what reclaim without swap cannot drop cheaply.

    working_set = max(0, usage − inactive_file) (cAdvisor, libcontainer/handler.go); working_set_sysom = inactive_anon + active_anon +
    active_file; hard_set = usage − clean page cache − slab_reclaimable. cgroup v1 does not tell slab_reclaimable: there, all
    kernel memory counts as hard.
    """
    stat = cgroup.get("stat")
    if not stat:
        return
    active_file = stat.get("active_file")
    inactive_file = stat.get("inactive_file")
    usage = cgroup.get("usage")
    if active_file is not None and "active_anon" in stat and "inactive_anon" in stat:
        cgroup["working_set_sysom"] = stat["inactive_anon"] + stat["active_anon"] + active_file
    if usage is not None and inactive_file is not None:
        cgroup["working_set"] = usage - inactive_file if usage > inactive_file else 0
        if active_file is not None:
            clean = inactive_file + active_file - stat.get("file_dirty", 0) - stat.get("file_writeback", 0)
            cgroup["hard_set"] = max(0, usage - max(0, clean) - stat.get("slab_reclaimable", 0))
    kernel = stat.get("kernel")
    if kernel is not None and "slab_unreclaimable" in stat:
        cgroup["kernel_other"] = kernel - sum(stat.get(part, 0) for part in _KERNEL_PARTS)


def _add_sums(cgroup: Cgroup, below: list[Cgroup]) -> None:
    cgroup["children_usage"] = sum(child.get("usage", 0) for child in below)
    cgroup["children_min"] = sum(child.get("min") or 0 for child in below)
    cgroup["children_low"] = sum(child.get("low") or 0 for child in below)


def _add_dying_bytes(cgroup: Cgroup, below: list[Cgroup]) -> None:
    """Anonymous and file bytes still charged to removed children: stat(parent) − its own − Σ stat(live children).

    v2: a cgroup with memory-enabled children has no processes, so its own part is none; v1 tells it apart (stat_local). Kernel
    memory is left out: the structures of live children are charged to their parent. Not at the root: its numbers are the
    node's. The files are read one after another, so a small negative difference is a race and counts as none.
    """
    stat = cgroup.get("stat")
    if cgroup["path"] == "/" or not stat:
        return
    if cgroup.get("dying") == 0:
        cgroup["dying_bytes"] = 0
        return
    local = cgroup.get("stat_local", {})
    total = 0
    for key in ("anon", "file"):
        if key not in stat or any(key not in child.get("stat", {}) for child in below):
            return
        total += max(0, stat[key] - local.get(key, 0) - sum(child["stat"][key] for child in below))
    cgroup["dying_bytes"] = total


def _add_protection(cgroup: Cgroup, below: list[Cgroup], recursive: bool) -> None:
    """Effective memory.min and low of the children, for reclaim of the whole node (mm/page_counter.c: effective_protection)."""
    at_root = cgroup["path"] == "/"
    for setting, effective in (("min", "effective_min"), ("low", "effective_low")):
        if not any(setting in child for child in below):
            continue
        limits = [(t.cast("t.Optional[int]", child.get(setting, 0)), child.get("usage", 0)) for child in below]
        wanted = [(usage if value is None else value, usage) for value, usage in limits]
        if at_root:
            shares = [value for value, unused in wanted]
        else:
            parent = t.cast("int", cgroup.get(effective, 0))
            claimed = sum(min(value, usage) for value, usage in wanted)
            shares = [
                _effective(value, usage=usage, claimed=claimed, parent=parent, parent_usage=cgroup.get("usage", 0), recursive=recursive)
                for value, usage in wanted
            ]
        for child, share in zip(below, shares):
            child[effective] = share  # type: ignore[literal-required]


def _effective(setting: int, *, usage: int, claimed: int, parent: int, parent_usage: int, recursive: bool) -> int:
    protected = min(usage, setting)
    if claimed > parent:
        return protected * parent // claimed
    if recursive and parent > claimed and parent_usage > claimed and usage > protected:
        return protected + (parent - claimed) * (usage - protected) // (parent_usage - claimed)
    return protected


def _row(name: str, value: int, group: str, reclaimable: str) -> Row:
    return {"name": name, "bytes": value, "group": group, "reclaimable": reclaimable}


def _snake(key: str) -> str:
    return "".join("_" + char.lower() if char.isupper() and index else char.lower() for index, char in enumerate(key))
