# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""OOM reports by what was hit, why, and who is next. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _workloads
from ansible_collections.memqos.fleet.plugins.module_utils._shares import format_size
from ansible_collections.memqos.fleet.plugins.plugin_utils import _oom_reports

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.module_utils._read._cgroupfs import Cgroup
    from ansible_collections.memqos.fleet.plugins.plugin_utils._oom_reports import OomReport
    from ansible_collections.memqos.fleet.plugins.plugin_utils._shapes import Process

    class Count(t.TypedDict):
        name: str
        count: int

    class OomGroup(t.TypedDict, total=False):
        """Reports that hit the same workload, unit or container; bytes and microseconds since boot.

        C(owner): the kind of a cgroup (docs/architecture.md §3.2), or process where the log tells no cgroup. C(kind): what most reports are; C(kinds)
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


# What differs from start to start in the names of transient units and of cgroups that programs make: numbers, and hexadecimal of 8 digits and more.
_HEX = "[0-9a-f]"
_CHANGING = re.compile(rf"(?<![A-Za-z0-9]){_HEX}{{8,}}(?![A-Za-z0-9])|(?<=-r){_HEX}{{8,}}|(?<=-[a-z])\d+(?=[-.]|$)|(?<![A-Za-z0-9.])\d+(?![A-Za-z0-9])")
# What controllers append to a pod's name: letters of Kubernetes' safe alphabet (ReplicaSet and pod, DaemonSet, Job), or a number (StatefulSet).
_SAFE = "[b-df-hj-np-tv-xz2456789]"
_REPLICA = re.compile(rf"(?:(?:-{_SAFE}{{6,10}})?-{_SAFE}{{5}}|-[0-9]{{1,8}}-{_SAFE}{{5}}|-[0-9]{{1,5}})\Z")
# Their cgroups are named by the unit. user-1000.slice is the same user tomorrow.
_UNITS = ("service", "scope", "slice", "user")
_TRANSIENT = ("service", "scope")
_FIGURES = (("anon_rss", "anon"), ("file_rss", "file"), ("shmem_rss", "shmem"))
_MAX_PATHS = 5
_UNKILLABLE = -1000


def from_node(oom: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What a node sends of its kernel log and processes → C({reports, since_us, lost, groups, next_victims})."""
    history = _oom_reports.history(oom["log"].encode("utf-8", "surrogateescape"), lost=oom["lost"])
    return {**history, "groups": group_reports(history["reports"], oom["names"]), "next_victims": next_victims(oom["processes"], oom["names"])}


def group_reports(reports: t.Sequence[OomReport], cgroup_names: t.Mapping[str, str]) -> list[OomGroup]:
    """Groups, the most frequent first. C(cgroup_names): names of the cgroups that live now, by path; the dead ones are named by what their path says."""
    names = _pod_names(cgroup_names)
    members: dict[tuple[str, str], list[OomReport]] = {}
    for report in reports:
        members.setdefault(_owner_of_report(report, names), []).append(report)
    groups = [_group(owner, name, own) for (owner, name), own in members.items()]
    groups.sort(key=lambda group: (-group["count"], -group["last_us"], group["name"]))
    return groups


def next_victims(processes: t.Sequence[Process], cgroup_names: t.Mapping[str, str], *, top: int = 10) -> list[NextVictim]:
    """Whom the OOM killer of the node takes next: by oom_score, then size. Never init, nor what has oom_score_adj -1000 (oom_badness() skips both)."""
    names = _pod_names(cgroup_names)
    victims: list[NextVictim] = []
    for process in processes:
        if process["pid"] == 1 or process.get("oom_score_adj") == _UNKILLABLE or "oom_score" not in process:
            continue
        victim = t.cast("NextVictim", dict(process))
        if "cgroup" in process:
            path = process["cgroup"]
            owner = _owner(path, names)
            # What lives has a name of its own, or its pod has: not only that of all its kind.
            victim["owner"], victim["name"] = owner.kind, cgroup_names.get(path) or cgroup_names.get(path.rpartition("/")[0]) or owner.name
        victims.append(victim)
    victims.sort(key=lambda victim: (-victim["oom_score"], -victim.get("rss_bytes", 0), victim["pid"]))
    return victims[:top]


class _Owner(t.NamedTuple):
    kind: str
    name: str
    # Whether the name is the owner's own; else it is only that of a container runtime.
    told: bool = True


def _pod_names(cgroup_names: t.Mapping[str, str]) -> _workloads.PodNames:
    """The names of pods (NAMESPACE/POD) and containers (NAME or NAMESPACE/POD/NAME) that live, by the UID or id that their path holds."""
    names = _workloads.PodNames({}, {})
    for cgroup in _identified(cgroup_names, names):
        base, name = cgroup["path"].rpartition("/")[2], cgroup_names[cgroup["path"]]
        namespace, _slash, last = name.rpartition("/")
        if cgroup["kind"] == "pod" and namespace:
            names.pods[cgroup["pod_uid"]] = (namespace, last)
        elif cgroup["kind"] == "cgroup":
            names.containers[base] = {"container": name}  # ctr run: the directory has the container's name
        elif "container_id" in cgroup and not cgroup["container_id"].startswith(last):  # without a name it is called by the first digits of its id
            names.containers[cgroup["container_id"]] = {"container": last}
    return names


def _identified(paths: t.Iterable[str], names: _workloads.PodNames) -> list[Cgroup]:
    """What the paths alone say: these cgroups may be gone."""
    cgroups: list[Cgroup] = [{"path": path} for path in paths]
    _workloads.identify(cgroups, names)
    return cgroups


def _owner(path: str, names: _workloads.PodNames) -> _Owner:
    """Whose cgroup this is, named the same for every restart."""
    upwards = _identified([path, *(path[:end] for end in range(len(path) - 1, 0, -1) if path[end] == "/")], names)
    own = upwards[0]
    if "pod" in own:
        # Of a container that is gone nothing tells the name, so all of a pod's are one.
        return _Owner("pod", f"{own['namespace']}/{_REPLICA.sub('', own['pod'])}")
    if "pod_uid" in own:
        return _Owner("pod", f"pod {own['pod_uid']}")
    if "container" in own or "container_id" in own:
        kind = "lxc" if own.get("runtime") == "lxc" else "container"
        return _Owner(kind, own.get("container") or own.get("runtime") or kind, told=bool(own.get("container")))
    for cgroup in upwards:
        kind, name = cgroup["kind"], cgroup["name"]
        if kind in _UNITS and not name.startswith("user@"):
            return _Owner(kind, _CHANGING.sub("*", name) if kind in _TRANSIENT else name)
    return _Owner("cgroup", "/" + "/".join(_CHANGING.sub("*", part) for part in path.split("/") if part))


def _owner_of_report(report: OomReport, names: _workloads.PodNames) -> tuple[str, str]:
    path = report.get("task_memcg") or report.get("oom_group") or report.get("oom_memcg") or "/"
    comm = report["victims"][0]["comm"] if report["victims"] else report.get("invoked_by", "")
    if path == "/":
        return "process", comm
    owner = _owner(path, names)
    # Of a container that is gone only its id is left, which no other start of the image shares: what it ran tells more.
    return owner.kind, owner.name if owner.told or not comm else f"{owner.name} ({comm})"


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
