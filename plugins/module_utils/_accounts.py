# SPDX-License-Identifier: BSD-2-Clause

"""Where memory goes: rows that sum to MemTotal; what follows from each cgroup's numbers, and from those of its children. Pure."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Breakdown, Cgroup, Row

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
# What memcg calls `kernel` is these and whatever a driver charged.
_KERNEL_PARTS = ("kernel_stack", "pagetables", "sec_pagetables", "percpu", "vmalloc", "slab_reclaimable", "slab_unreclaimable")


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


def account_cgroups(cgroups: t.Sequence[Cgroup], *, recursive_protection: bool) -> None:
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


def overcommit(cgroups: t.Sequence[Cgroup], memory: int) -> dict[str, t.Any]:
    """docs/architecture.md §3.12. C(memory): what there is without huge pages. C(peaks): {name: [limit, peak]}, for the controller."""
    found: list[Cgroup] = []
    above: set[str | None] = set()
    for cgroup in reversed(cgroups):
        if cgroup["path"] not in above:
            if cgroup.get("kind") not in ("container", "lxc", "service", "scope") or "usage" not in cgroup:
                continue
            found.append(cgroup)
        above.add(cgroup.get("parent"))
    pods = next((cgroup for cgroup in cgroups if cgroup.get("kind") == "qos" and "qos_class" not in cgroup and cgroup.get("limit")), None)
    if pods:
        found = [cgroup for cgroup in found if cgroup["path"].startswith(f"{pods['path']}/")]
    throttled: set[str | None] = set()
    for cgroup in cgroups:
        if cgroup.get("high") is not None or cgroup.get("parent") in throttled:
            throttled.add(cgroup["path"])
    limited = [cgroup for cgroup in found if cgroup.get("limit")]
    peaks: dict[str, t.Any] = {}
    for cgroup in limited:
        if "peak" in cgroup:
            # A container that is started anew has another path; other names are not unique.
            name = cgroup["name"] if "container" in cgroup and cgroup["name"] not in peaks else cgroup["path"]
            peaks[name] = [cgroup["limit"], cgroup["peak"]]
    return {
        "allocatable_bytes": pods["limit"] if pods else memory,
        "allocatable_source": "kubepods" if pods else "memory without huge pages",
        "workloads": len(found),
        "sum_request_bytes": sum(cgroup.get("request", 0) for cgroup in found),
        "sum_limit_bytes": sum([cgroup["limit"] or 0 for cgroup in limited]),
        "without_limit": len(found) - len(limited),
        "without_throttle": sum([cgroup["path"] not in throttled for cgroup in limited]) if any("high" in cgroup for cgroup in cgroups) else None,
        "peaks": peaks,
    }


def _add_sets(cgroup: Cgroup) -> None:
    stat = cgroup.get("stat", {})
    active_file, inactive_file, usage = stat.get("active_file"), stat.get("inactive_file"), cgroup.get("usage")
    if active_file is not None and "active_anon" in stat and "inactive_anon" in stat:
        cgroup["working_set_sysom"] = stat["inactive_anon"] + stat["active_anon"] + active_file
    if usage is not None and inactive_file is not None:
        cgroup["working_set"] = max(0, usage - inactive_file)
        if active_file is not None:
            clean = inactive_file + active_file - stat.get("file_dirty", 0) - stat.get("file_writeback", 0)
            cgroup["hard_set"] = max(0, usage - max(0, clean) - stat.get("slab_reclaimable", 0))
    kernel = stat.get("kernel")
    if kernel is not None and "slab_unreclaimable" in stat:
        cgroup["kernel_other"] = kernel - sum(stat.get(part, 0) for part in _KERNEL_PARTS)


def _add_sums(cgroup: Cgroup, below: list[Cgroup]) -> None:
    cgroup["children_usage"] = sum(child.get("usage", 0) for child in below)
    cgroup["children_min"] = _sum_or_max([child.get("min", 0) for child in below])
    cgroup["children_low"] = _sum_or_max([child.get("low", 0) for child in below])


def _sum_or_max(values: list[int | None]) -> int | None:
    """One C(max) makes the sum C(max)."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _add_dying_bytes(cgroup: Cgroup, below: list[Cgroup]) -> None:
    """stat(parent) − its own − Σ stat(live children): docs/architecture.md §3.2."""
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
    """mm/page_counter.c: effective_protection, for reclaim of the whole node."""
    parent_usage = cgroup.get("usage", 0)
    for setting, effective in (("min", "effective_min"), ("low", "effective_low")):
        if not any(setting in child for child in below):
            continue
        limits = [(t.cast("t.Optional[int]", child.get(setting, 0)), child.get("usage", 0)) for child in below]
        wanted = [(usage if value is None else value, usage) for value, usage in limits]
        shares = [value for value, unused in wanted]
        if cgroup["path"] != "/":
            parent, claimed = t.cast("int", cgroup.get(effective, 0)), sum(map(min, wanted))
            shares = [_effective(min(pair), pair[1], claimed, parent, parent_usage, recursive) for pair in wanted]
        for child, share in zip(below, shares):
            child[effective] = share  # type: ignore[literal-required]


def _effective(protected: int, usage: int, claimed: int, parent: int, parent_usage: int, recursive: bool) -> int:
    if claimed > parent:
        return protected * parent // claimed
    if recursive and parent > claimed and parent_usage > claimed:
        return protected + (parent - claimed) * (usage - protected) // (parent_usage - claimed)
    return protected
