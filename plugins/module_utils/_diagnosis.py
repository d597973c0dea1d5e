# SPDX-License-Identifier: BSD-2-Clause

"""One snapshot, the rules and the previous run's counters → what an audit says. Pure."""

from __future__ import annotations

import heapq
import typing as t

from . import _accounts, _rules

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Breakdown, Cgroup, Node

    Env = t.Dict[str, t.Any]

SCHEMA_VERSION = 1
# Columns of the Top tables: keys of the cgroup, or of its memory.stat.
PARTS = (
    "usage", "working_set", "working_set_sysom", "hard_set", "anon", "file", "active_anon", "inactive_anon", "active_file", "inactive_file", "file_dirty",
    "file_writeback", "file_mapped", "shmem", "slab_reclaimable", "slab_unreclaimable", "kernel", "kernel_stack", "pagetables", "percpu", "vmalloc", "sock",
    "kernel_other", "unevictable", "swap", "dying_bytes", "peak", "growth", "refaults",
)  # fmt: skip
_OWN_PARTS = frozenset(("usage", "working_set", "working_set_sysom", "hard_set", "kernel_other", "swap", "dying_bytes", "peak", "growth", "refaults"))
_NODE_SECTIONS = ("meminfo", "pressure", "knobs", "swaps", "numa", "slabs", "tmpfs", "sockstat", "details")
_INNER = frozenset("parent inode stat stat_local children_min children_low swap_high swap_events zswap zswap_limit".split())
# The count has all, the list the largest.
_MAX_FAILED = 100
_MAX_UNKNOWN = 3
_MAX_PUSHERS = 20
_PROGRAMS = "redis mongodb postgresql elasticsearch cassandra kafka sap_hana".split()


def diagnose(node: Node, *, rules: t.Sequence[t.Any], previous: t.Mapping[str, t.Any] | None, top: int) -> dict[str, t.Any]:
    """docs/architecture.md §3.5. C(previous): C(counters) of an earlier result, and C(failed): {rule: [subject ids]}. Raises NoTotal and RuleFormatError."""
    prepared = _rules.prepare(rules)
    facts = node["facts"]
    totals = _accounts.breakdown(
        node["meminfo"],
        vmstat=node["vmstat"],
        pcp_pages=_pcp_pages(node),
        page_size=facts["page_size"],
        vmap_stack=facts.get("vmap_stack"),
        zswap_in_zsmalloc=facts.get("zswap_zpool") in (None, "zsmalloc"),
    )
    account(node)
    zones = zone_rows(node)
    env = _node_env(node, totals, zones)
    findings, recovered, counts = judge(prepared, _Subjects(node, env, zones, previous).of, (previous or {}).get("failed", {}))
    return {
        "schema_version": SCHEMA_VERSION,
        "node": {
            **facts,
            **{key: node[key] for key in _NODE_SECTIONS},  # type: ignore[literal-required]
            "vendor": node["cgroups"][0].get("vendor", {}) if node["cgroups"] else {},
        },
        "breakdown": totals,
        "derived": env["node"],
        "zones": zones,
        "top": top_rows(node["cgroups"], top),
        "findings": findings,
        "recovered": recovered,
        "rules": counts,
        "oom": node["oom"],
        "pushers": pushers(node["cgroups"]),
        "units": node["units"],
        "gathered": node.get("gathered", {}),
        "applied": node.get("applied"),
        "unknown": node["unknown"],
        "counters": next_counters(node, _rules.counter_names(prepared)),
    }


def account(node: Node) -> None:
    _accounts.account_cgroups(node["cgroups"], recursive_protection=bool(node["facts"].get("memory_recursiveprot")))
    _add_window(node)


def _pcp_pages(node: Node) -> int | None:
    known = [zone["pcp"] for zone in node["zones"] if "pcp" in zone]
    return sum(known) if known else None


def zone_rows(node: Node) -> list[dict[str, t.Any]]:
    """C(_shapes.ZoneRow): bytes, and how far it is to kswapd and to direct reclaim (mm/page_alloc.c: __zone_watermark_unusable_free)."""
    page = node["facts"]["page_size"]
    managed = [zone for zone in node["zones"] if zone.get("managed")]
    highest = {zone["node"]: zone["name"] for zone in managed if zone["name"] != "Device"}
    shares = {(row["node"], row["zone"]): low_order_share(row["free"]) for row in node["buddyinfo"]}
    rows = []
    for zone in managed:
        if not {"free", "min", "low", "high"} <= set(zone):
            continue
        usable = zone["free"] - zone.get("free_highatomic", 0) - zone.get("free_cma", 0)
        row: dict[str, t.Any] = {key: zone[key] * page for key in ("free", "min", "low", "high", "promo", "boost", "managed", "present") if key in zone}
        row.update(node=zone["node"], name=zone["name"], highest=highest[zone["node"]] == zone["name"])
        row.update(distance_kswapd=(usable - zone["low"]) * page, distance_direct=(usable - zone["min"]) * page)
        row["reserve"] = max(zone.get("protection") or [0]) * page
        if "unreclaimable" in zone:
            row["unreclaimable"] = zone["unreclaimable"]
        share = shares.get((zone["node"], zone["name"]))
        if share is not None:
            row["low_order_free_share"] = share
        rows.append(row)
    return rows


def low_order_share(free: t.Sequence[int]) -> float | None:
    """Of free pages, those in blocks of order 0 to 3. Near 1: fragmented."""
    pages = [blocks << order for order, blocks in enumerate(free)]
    total = sum(pages)
    return round(sum(pages[:4]) / total, 4) if total else None


def part(cgroup: Cgroup, name: str) -> t.Any:
    return t.cast("t.Mapping[str, t.Any]", cgroup if name in _OWN_PARTS else cgroup.get("stat", {})).get(name)


def row_of(cgroup: Cgroup) -> dict[str, t.Any]:
    row = {key: value for key, value in cgroup.items() if key not in _INNER}
    row.update((name, value) for name, value in ((name, part(cgroup, name)) for name in PARTS) if value is not None)
    return row


def top_rows(cgroups: t.Sequence[Cgroup], limit: int) -> dict[str, t.Any]:
    listed = [t.cast("t.Mapping[str, t.Any]", cgroup) for cgroup in cgroups if cgroup["path"] != "/"]
    stats = [cgroup.get("stat", {}) for cgroup in listed]
    chosen: set[int] = set()
    for name in PARTS:
        holders = listed if name in _OWN_PARTS else stats
        # the index, so that equal values stay in the order of the walk
        valued = [(holder[name], -index) for index, holder in enumerate(holders) if holder.get(name)]
        chosen.update(-index for unused, index in heapq.nlargest(limit, valued))
    rows = sorted((row_of(t.cast("Cgroup", listed[index])) for index in chosen), key=lambda row: (-row.get("usage", 0), row["path"]))
    return {"limit": limit, "parts": list(PARTS), "rows": rows, "cgroups": len(listed)}


def pushers(cgroups: t.Sequence[Cgroup]) -> list[dict[str, t.Any]]:
    parents = {cgroup.get("parent") for cgroup in cgroups}
    moved = [cgroup for cgroup in cgroups if cgroup["path"] not in parents and ((cgroup.get("growth") or 0) > 0 or cgroup.get("refaults"))]
    moved.sort(key=lambda cgroup: (-max(cgroup.get("growth") or 0, 0), -(cgroup.get("refaults") or 0), cgroup["path"]))
    keys = ("path", "kind", "name", "growth", "refaults", "usage")
    return [{key: value for key, value in cgroup.items() if key in keys} for cgroup in moved[:_MAX_PUSHERS]]


def next_counters(node: Node, names: t.Sequence[str]) -> dict[str, t.Any]:
    """Of cgroups those that are not zero."""
    wanted: dict[str, list[list[str]]] = {}
    for name in names:
        space, unused, rest = name.partition(".")
        wanted.setdefault(space, []).append(rest.split("."))
    vmstat = {keys[0]: node["vmstat"][keys[0]] for keys in wanted.get("vmstat", []) if keys[0] in node["vmstat"]}
    cgroups = {}
    for cgroup in node["cgroups"]:
        values: dict[str, dict[str, int]] = {}
        for space, key in (keys for keys in wanted.get("cgroup", []) if len(keys) == 2):
            value = t.cast("t.Mapping[str, t.Any]", cgroup).get(space, {}).get(key)
            if value:
                values.setdefault(space, {})[key] = value
        if values:
            cgroups[cgroup["path"]] = {"inode": cgroup.get("inode"), **values}
    facts = node["facts"]
    return {"boot_id": facts.get("boot_id"), "uptime_seconds": facts.get("uptime_seconds"), "names": list(names), "vmstat": vmstat, "cgroups": cgroups}


def _add_window(node: Node) -> None:
    after = node.get("window", {}).get("cgroups", {})
    for cgroup in node["cgroups"] if after else []:
        later = after.get(cgroup["path"])
        if later is None:
            continue
        if "usage" in later and "usage" in cgroup:
            cgroup["growth"] = later["usage"] - cgroup["usage"]
        before = cgroup.get("stat", {})
        keys = [key for key in ("workingset_refault_file", "workingset_refault_anon") if key in before and key in later.get("stat", {})]
        if keys:
            cgroup["refaults"] = sum(later["stat"][key] - before[key] for key in keys)


def judge(prepared: t.Sequence[_rules.Prepared], subjects: t.Callable[[str], t.Any], failed: t.Mapping[str, t.Sequence[str]]) -> t.Any:
    """(findings, what C(failed) and passes now, counts). C(subjects): each → [(subject, environment, counters)]."""
    findings: list[dict[str, t.Any]] = []
    recovered: list[dict[str, t.Any]] = []
    counts: dict[str, dict[str, int]] = {}
    for rule in prepared:
        count = {"passed": 0, "failed": 0, "unknown": 0, "not_applicable": 0}
        kept: dict[str, list[dict[str, t.Any]]] = {"fail": [], "unknown": []}
        before = failed.get(rule.id, ())
        for subject, subject_env, counters in subjects(rule.each):
            outcome = _rules.evaluate(rule, subject_env, counters)
            count[_COUNT_OF.get(outcome.status, outcome.status)] += 1
            if outcome.status in kept:
                kept[outcome.status].append(_finding(rule.id, subject, outcome))
            elif outcome.status == "pass" and subject["id"] in before:
                recovered.append(_finding(rule.id, subject, _rules.passed(rule, subject_env, counters)))
        findings += kept["fail"][:_MAX_FAILED] + kept["unknown"][:_MAX_UNKNOWN]
        counts[rule.id] = count
    return findings, recovered, counts


_COUNT_OF = {"pass": "passed", "fail": "failed"}


def _finding(rule: str, subject: dict[str, t.Any], outcome: _rules.Outcome) -> dict[str, t.Any]:
    finding: dict[str, t.Any] = {"rule": rule, "subject": subject, "status": outcome.status, "observed": outcome.observed}
    if outcome.window:
        finding["window"] = outcome.window
    if outcome.reason:
        finding["reason"] = outcome.reason
    return finding


class _Subjects:
    """What a rule's C(each) ranges over, the largest first."""

    def __init__(self, node: Node, env: Env, zones: list[dict[str, t.Any]], previous: t.Mapping[str, t.Any] | None) -> None:
        self._node = node
        self._env = env
        self._zones = zones
        facts = node["facts"]
        boot_id = facts.get("boot_id")
        self._previous: t.Mapping[str, t.Any] = previous if previous and boot_id and previous.get("boot_id") == boot_id else {}
        uptime = facts.get("uptime_seconds")
        before = self._previous.get("uptime_seconds")
        self._zeros = _zeros(self._previous.get("names", []))
        self._elapsed = uptime - before if uptime is not None and before is not None and uptime > before else None
        self._cgroups: list[tuple[Cgroup, dict[str, t.Any], Env, _rules.Counters]] | None = None

    def of(self, each: str) -> t.Iterator[tuple[dict[str, t.Any], Env, _rules.Counters]]:
        if each == "node":
            yield {"kind": "node", "id": "node", "name": ""}, self._env, self._counters()
        elif each == "zone":
            for zone in self._zones:
                yield _subject("zone", f"{zone['node']}/{zone['name']}"), {**self._env, "zone": zone}, self._counters()
        elif each == "numa_node":
            for numa in _numa_rows(self._node):
                yield _subject("numa_node", str(numa["id"])), {**self._env, "numa": numa}, self._counters()
        else:
            for cgroup, subject, env, counters in self._cgroup_subjects():
                if each == "cgroup" or cgroup.get("kind") == each:
                    yield subject, env, counters

    def _cgroup_subjects(self) -> list[tuple[Cgroup, dict[str, t.Any], Env, _rules.Counters]]:
        if self._cgroups is None:
            listed = [cgroup for cgroup in self._node["cgroups"] if cgroup["path"] != "/"]
            listed.sort(key=lambda cgroup: -cgroup.get("usage", 0))
            self._cgroups = [
                (
                    cgroup,
                    _subject(cgroup.get("kind", "cgroup"), cgroup["path"], cgroup.get("name", "")),
                    {**self._env, "cgroup": {**cgroup, "vendor": flat(cgroup["vendor"])} if cgroup.get("vendor") else cgroup},
                    self._counters(cgroup),
                )
                for cgroup in listed
            ]
        return self._cgroups

    def _counters(self, cgroup: Cgroup | None = None) -> _rules.Counters:
        before: Env = {"vmstat": self._previous.get("vmstat")} if self._previous else {}
        window = self._node.get("window")
        after: Env = {}
        if window:
            after["vmstat"] = window["vmstat"]
        if cgroup is not None:
            if self._previous:
                before["cgroup"] = self._earlier(cgroup)
            if window and cgroup["path"] in window["cgroups"]:
                after["cgroup"] = window["cgroups"][cgroup["path"]]
        return _rules.Counters(
            previous=before or None,
            elapsed=self._elapsed,
            uptime=self._node["facts"].get("uptime_seconds"),
            window=after or None,
            window_seconds=window["cgroup_seconds" if cgroup is not None else "seconds"] if window else None,
        )

    def _earlier(self, cgroup: Cgroup) -> Env:
        """What was zero then was not kept; another inode is another cgroup."""
        known = self._previous.get("cgroups", {}).get(cgroup["path"])
        if not known or known.get("inode") != cgroup.get("inode"):
            return self._zeros
        return {space: {**zeros, **known.get(space, {})} for space, zeros in self._zeros.items()}


def flat(vendor: t.Mapping[str, t.Any]) -> Env:
    """Parts of a file beside the files: C(memory.exstat.wmark_reclaim_work_ms)."""
    parts = {f"{file}.{key}": part for file, value in vendor.items() if isinstance(value, dict) for key, part in value.items()}
    return {**vendor, **parts}


def _zeros(names: t.Iterable[str]) -> Env:
    zeros: Env = {}
    for name in names:
        keys = name.split(".")
        if len(keys) == 3 and keys[0] == "cgroup":
            zeros.setdefault(keys[1], {})[keys[2]] = 0
    return zeros


def _subject(kind: str, identity: str, name: str = "") -> dict[str, t.Any]:
    return {"kind": kind, "id": identity, "name": name}


def _numa_rows(node: Node) -> list[dict[str, t.Any]]:
    rows = []
    for numa in node["numa"]:
        total, free = numa["meminfo"].get("MemTotal"), numa["meminfo"].get("MemFree")
        row = {"id": numa["id"], "memtotal_bytes": total, "memfree_bytes": free, "free_share": round(free / total, 4) if total and free is not None else None}
        rows.append({key: value for key, value in row.items() if value is not None})
    return rows


def _node_env(node: Node, totals: Breakdown, zones: list[dict[str, t.Any]]) -> Env:
    derived: dict[str, t.Any] = {"memtotal_bytes": totals["memtotal_bytes"]}
    for add in (_add_memory, _add_memcg, _add_sockets, _add_numa, _add_configuration):
        add(derived, node)
    rows = {row["name"]: row["bytes"] for row in totals["rows"]}
    derived["unaccounted_bytes"] = rows["unaccounted"]
    if "free_percpu_lists" in rows:
        derived["pcp_bytes"] = rows["free_percpu_lists"]
    derived["kernel_bytes"] = sum(row["bytes"] for row in totals["rows"] if row["group"] == "kernel")
    if zones:
        derived["watermark_gap_bytes"] = sum(zone["low"] - zone["min"] for zone in zones)
    blocks = [row["free"] for row in node["buddyinfo"]]
    if blocks:
        width = max(len(row) for row in blocks)
        derived["low_order_free_share"] = low_order_share([sum(row[order] if order < len(row) else 0 for row in blocks) for order in range(width)])
    return {
        "facts": node["facts"],
        "meminfo": node["meminfo"],
        "vmstat": node["vmstat"],
        "pressure": node["pressure"],
        "sockstat": node["sockstat"],
        "breakdown": rows,
        "knob": node["knobs"],
        "node": {key: value for key, value in derived.items() if value is not None or key == "sum_memory_min_bytes"},  # there, None is max
    }


def _add_memory(derived: Env, node: Node) -> None:
    meminfo = node["meminfo"]
    hugetlb = _accounts.hugetlb_bytes(meminfo)
    derived["hugetlb_bytes"] = hugetlb
    if hugetlb is not None:
        derived["memory_without_hugetlb_bytes"] = derived["memtotal_bytes"] - hugetlb
    names = {"free_bytes": "MemFree", "memory_available_bytes": "MemAvailable", "slab_bytes": "Slab", "shmem_bytes": "Shmem"}
    derived.update((name, meminfo.get(key)) for name, key in names.items())
    if "PageTables" in meminfo:
        derived["page_tables_bytes"] = meminfo["PageTables"] + meminfo.get("SecPageTables", 0)
    if {"HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "Hugepagesize"} <= set(meminfo):
        derived["hugepages_total_bytes"] = meminfo["HugePages_Total"] * meminfo["Hugepagesize"]
        derived["hugepages_free_unreserved_bytes"] = (meminfo["HugePages_Free"] - meminfo["HugePages_Rsvd"]) * meminfo["Hugepagesize"]
    derived["swap_devices"] = len(node["swaps"])


def _add_memcg(derived: Env, node: Node) -> None:
    cgroups = node["cgroups"]
    if not cgroups:
        return
    derived["live_memcgs"] = len(cgroups)
    derived["dying_memcgs"] = cgroups[0].get("dying")
    known = [cgroup["dying_bytes"] for cgroup in cgroups if "dying_bytes" in cgroup]
    derived["dying_bytes"] = sum(known) if known else None
    derived.update(_accounts.overcommit(cgroups, derived.get("memory_without_hugetlb_bytes") or derived["memtotal_bytes"]))
    if any("min" in cgroup for cgroup in cgroups) and "children_min" in cgroups[0]:
        derived["sum_memory_min_bytes"] = cgroups[0]["children_min"]


def _add_sockets(derived: Env, node: Node) -> None:
    page = node["facts"]["page_size"]
    tcp = node["sockstat"].get("TCP", {})
    if "mem" in tcp:
        derived["tcp_mem_bytes"] = tcp["mem"] * page
    if "pressure" in node.get("tcp_mem", {}):
        derived["tcp_mem_pressure_bytes"] = node["tcp_mem"]["pressure"] * page


def _add_numa(derived: Env, node: Node) -> None:
    rows = [row for row in _numa_rows(node) if row.get("memtotal_bytes")]
    free = [row["memfree_bytes"] for row in rows if "memfree_bytes" in row]
    if rows and len(free) == len(rows):
        derived["numa_free_min_share"] = min(row["free_share"] for row in rows)
        derived["numa_free_max_over_min"] = round(max(free) / min(free), 4) if min(free) else None


def _add_configuration(derived: Env, node: Node) -> None:
    cmdline = node.get("cmdline")
    if cmdline is not None:
        words = {word for key, value in cmdline if key == "cgroup.memory" for word in (value or "").split(",")}
        derived["cmdline_nokmem"] = "nokmem" in words
        derived["cmdline_nosocket"] = "nosocket" in words
    if "gathered" in node:
        derived["drop_caches_written_down"] = any("drop_caches" in text for text in node["gathered"]["sources"].values())
    running = {*node.get("programs", ()), *(cgroup["program"] for cgroup in node["cgroups"] if "program" in cgroup)}
    derived.update((name, name in running) for name in _PROGRAMS if name in running or "programs" in node)
