# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""OOM reports by what was hit, why, and who is next. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._units import format_size
from ansible_collections.memqos.fleet.plugins.plugin_utils import _oom_reports

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.module_utils._read._procfs import Process
    from ansible_collections.memqos.fleet.plugins.plugin_utils._oom_reports import OomReport

    class Count(t.TypedDict):
        name: str
        count: int

    class OomGroup(t.TypedDict, total=False):
        """Reports that hit the same pod, unit or container image; bytes and microseconds since boot.

        C(owner): pod, container, lxc, service, scope, slice, cgroup, or process where the log tells no cgroup. C(kind): what most reports are; C(kinds)
        counts all. C(worst): the report with the largest victims. C(limit): what the last report shows; None is no limit. C(incomplete): reports of
        which the log holds only a part.
        """

        name: str
        owner: str
        kind: str
        kinds: dict[str, int]
        count: int
        incomplete: int
        killed: int
        first_us: int
        last_us: int
        victims: list[str]
        victim_counts: list[Count]
        limited_by: list[Count]
        limit: int | None
        paths: list[str]
        worst: OomReport
        cause: str

    class NextVictim(Process, total=False):
        name: str
        owner: str


_HEX = "[0-9a-f]"
_POD = re.compile(rf"(?:.*-)?pod({_HEX}{{8}}[-_]{_HEX}{{4}}[-_]{_HEX}{{4}}[-_]{_HEX}{{4}}[-_]{_HEX}{{12}}|{_HEX}{{32}})(?:\.slice)?")
_CONTAINER = re.compile(rf"(?:([a-z][a-z-]*?)-)?(?:conmon-)?{_HEX}{{64}}(?:\.scope)?")
_LXC = re.compile(r"lxc\.(?:payload|monitor)[./](.+)|lxc/([^/]+)")
# What differs from start to start in the names of transient units and of cgroups that programs make: numbers, and hexadecimal of 8 digits and more.
_CHANGING = re.compile(rf"(?<![A-Za-z0-9]){_HEX}{{8,}}(?![A-Za-z0-9])|(?<=-r){_HEX}{{8,}}|(?<=-[a-z])\d+(?=[-.]|$)|(?<![A-Za-z0-9.])\d+(?![A-Za-z0-9])")
_FIGURES = (("anon_rss", "anon"), ("file_rss", "file"), ("shmem_rss", "shmem"))
_MAX_PATHS = 5
_UNKILLABLE = -1000


def from_node(oom: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What a node sends of its kernel log and processes → C({reports, since_us, lost, groups, next_victims})."""
    history = _oom_reports.history(oom["log"].encode("utf-8", "surrogateescape"), lost=oom["lost"])
    return {**history, "groups": group_reports(history["reports"], oom["names"]), "next_victims": next_victims(oom["processes"], oom["names"])}


def group_reports(reports: t.Sequence[OomReport], cgroup_names: t.Mapping[str, str]) -> list[OomGroup]:
    """Groups, the most frequent first. C(cgroup_names): names of the cgroups that live now, by path; the dead ones are named by what their path says."""
    names = _Names(cgroup_names)
    members: dict[tuple[str, str], list[OomReport]] = {}
    for report in reports:
        members.setdefault(_owner_of_report(report, names), []).append(report)
    groups = [_group(owner, name, own) for (owner, name), own in members.items()]
    groups.sort(key=lambda group: (-group["count"], -group["last_us"], group["name"]))
    return groups


def next_victims(processes: t.Sequence[Process], cgroup_names: t.Mapping[str, str], *, top: int = 10) -> list[NextVictim]:
    """Whom the OOM killer of the node takes next: by oom_score, then size. Never init, nor what has oom_score_adj -1000 (oom_badness() skips both)."""
    names = _Names(cgroup_names)
    victims: list[NextVictim] = []
    for process in processes:
        if process["pid"] == 1 or process.get("oom_score_adj") == _UNKILLABLE or "oom_score" not in process:
            continue
        victim = t.cast("NextVictim", dict(process))
        if "cgroup" in process:
            victim["owner"], victim["name"] = names.owner(process["cgroup"])
        victims.append(victim)
    victims.sort(key=lambda victim: (-victim["oom_score"], -victim.get("rss_bytes", 0), victim["pid"]))
    return victims[:top]


class _Names:
    """Paths → (owner, name), the same for every restart."""

    def __init__(self, by_path: t.Mapping[str, str]) -> None:
        self._by_path = by_path
        self._pods: dict[str, str] = {}
        for path, name in by_path.items():
            match = _POD.fullmatch(path.rpartition("/")[2])
            if match and name:
                self._pods[_uid(match)] = name

    def owner(self, path: str) -> tuple[str, str]:
        parts = [part for part in path.split("/") if part]
        for part in parts:
            pod = _POD.fullmatch(part)
            if pod:
                return "pod", self._pods.get(_uid(pod)) or f"pod {_uid(pod)}"
        for part in reversed(parts):
            container = _CONTAINER.fullmatch(part)
            if container:
                return "container", self._by_path.get(path) or (container.group(1) or (parts[-2] if len(parts) > 1 else "container"))
        lxc = _LXC.search(path)
        if lxc:
            return "lxc", (lxc.group(1) or lxc.group(2)).split("/")[0]
        for owner in ("service", "scope", "slice"):
            unit = next((part for part in reversed(parts) if part.endswith(f".{owner}") and not part.startswith("user@")), None)
            if unit:
                # user-1000.slice is the same user tomorrow.
                return owner, unit if owner == "slice" else _CHANGING.sub("*", unit)
        return "cgroup", "/" + "/".join(_CHANGING.sub("*", part) for part in parts)


def _uid(pod: re.Match[str]) -> str:
    return pod.group(1).replace("_", "-")


def _owner_of_report(report: OomReport, names: _Names) -> tuple[str, str]:
    path = report.get("task_memcg") or report.get("oom_group") or report.get("oom_memcg") or "/"
    comm = report["victims"][0]["comm"] if report["victims"] else report.get("invoked_by", "")
    if path == "/":
        return "process", comm
    owner, name = names.owner(path)
    # Of a container that is gone only its id is left, which no other start of the image shares: what it ran tells more.
    return (owner, f"{name} ({comm})") if owner == "container" and "/" not in name and comm else (owner, name)


def _group(owner: str, name: str, reports: list[OomReport]) -> OomGroup:
    kinds = _counted(report["kind"] for report in reports)
    comms = _counted(victim["comm"] for report in reports for victim in report["victims"])
    times = [report["time_monotonic_us"] for report in reports]
    worst = max(reports, key=_victim_bytes)
    group: OomGroup = {
        "name": name,
        "owner": owner,
        "kind": kinds[0]["name"],
        "kinds": {row["name"]: row["count"] for row in kinds},
        "count": len(reports),
        "incomplete": sum(1 for report in reports if not report["complete"]),
        "killed": sum(len(report["victims"]) for report in reports),
        "first_us": min(times),
        "last_us": max(times),
        "victims": [row["name"] for row in comms],
        "victim_counts": comms,
        "limited_by": _counted(report["oom_memcg"] for report in reports if "oom_memcg" in report),
        "paths": sorted({report["task_memcg"] for report in reports if "task_memcg" in report})[:_MAX_PATHS],
        "worst": worst,
        "cause": cause(worst),
    }
    limits = [report["limit"] for report in reports if "limit" in report]
    if limits:
        group["limit"] = limits[-1]
    return group


def cause(report: OomReport) -> str:
    """One sentence: whose memory ran out, what was in it, and what the killed process held."""
    parts = [_whose(report), _held_in_cgroup(report), _unreclaimable(report), _killed(report)]
    sentence = "; ".join(part for part in parts if part)
    return sentence if report["complete"] else f"{sentence} (the log holds only a part of this report)"


def _whose(report: OomReport) -> str:
    if report["kind"] == "cgroup_limit":
        whose = f"{_level(report)} ran into its limit"
        limit = report.get("limit")
        if limit is not None:
            whose += f" of {format_size(limit)}"
        elif report.get("memsw_limit") is not None:
            whose += f" of {format_size(report['memsw_limit'] or 0)} memory and swap"
        return whose
    if report["kind"] == "cpuset":
        return f"the memory nodes {report.get('mems_allowed', '')} of its cpuset ran out"
    if report["kind"] == "mempolicy":
        return f"the memory nodes {report.get('nodemask', '')} of its memory policy ran out"
    if report["kind"] == "unknown":
        return "memory ran out"
    if report.get("order") == -1:
        return "an operator asked for it (sysrq-f)"
    return "the node ran out of memory"


def _level(report: OomReport) -> str:
    limited, task = report.get("oom_memcg"), report.get("task_memcg")
    if limited is None:
        return "its cgroup or one above it"
    if task is None or task == limited:
        return f"its own cgroup {limited}"
    above = len([part for part in task[len(limited) :].split("/") if part])
    return f"the cgroup {limited}, {above} {'level' if above == 1 else 'levels'} above,"


def _held_in_cgroup(report: OomReport) -> str:
    stat = report.get("memcg_stat", {})
    if "anon" not in stat or "file" not in stat:
        return ""
    shmem = f", {format_size(stat['shmem'])} of it shmem" if stat.get("shmem") else ""
    return f"it held {format_size(stat['anon'])} anonymous memory and {format_size(stat['file'])} page cache{shmem}"


def _unreclaimable(report: OomReport) -> str:
    if report["kind"] == "cgroup_limit" or report.get("swap_total") is None:
        return ""
    total, free = report["swap_total"], report.get("swap_free", 0)
    return f"swap had {format_size(free)} of {format_size(total)} free" if total else "there was no swap"


def _killed(report: OomReport) -> str:
    if not report["victims"]:
        return "nothing was left to kill" if report.get("no_victim") else ""
    victim = report["victims"][0]
    figures = [f"{format_size(victim[key])} {word}" for key, word in _FIGURES if key in victim]  # type: ignore[literal-required]
    text = f"killed {victim['comm']} ({', '.join(figures)})" if figures else f"killed {victim['comm']}"
    more = len(report["victims"]) - 1
    return f"{text} and {more} more by memory.oom.group" if more else text


def _victim_bytes(report: OomReport) -> int:
    return sum(victim.get("anon_rss", 0) + victim.get("file_rss", 0) + victim.get("shmem_rss", 0) for victim in report["victims"])


def _counted(names: t.Iterable[str]) -> list[Count]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return [{"name": name, "count": count} for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
