# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""The summary for a terminal: lines of at most the terminal's width. Pure."""

from __future__ import annotations

import typing as t
import unicodedata

from ansible_collections.memqos.fleet.plugins.module_utils._shares import format_size
from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_details
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_inventory import InventoryLine, promise_text
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import (
    SEVERITIES,
    Change,
    Finding,
    Fleet,
    Host,
    Json,
    changes_since,
    display_name,
    is_number,
    join_findings,
    number_text,
    since_text,
    visible,
)
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import NO_RESULT

MIN_WIDTH = 60
# Above this many hosts each has one line, and only the worst are shown.
MAX_DETAILED = 5
_WORST = 10
_ROWS = 8
_FINDINGS = 12
_SETS = 5
_KILLS = 3
_PUSHERS = 3
# Of each group; inventory.csv has all.
_INVENTORY = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"
_MARKS = {"critical": "✖", "warning": "▲", "info": "●", "unknown": "?"}
_CHANGES: dict[str, tuple[str, str | None]] = {
    "new": ("new", "yellow"),
    "still": ("still", None),
    "undecided": ("unknown", "dark gray"),
    "cured": ("cured", "green"),
    "not_again": ("not again", None),
    "gone": ("gone", "dark gray"),
}
_COLORS = {"critical": "red", "warning": "yellow", "info": "cyan", "unknown": "dark gray"}


class Line(t.NamedTuple):
    """One line and the color it is shown in (a name of Ansible's), where colors are shown."""

    text: str
    color: str | None = None


def render_host(result: Json, rules: t.Mapping[str, Json], host: Host, *, width: int) -> list[Line]:
    """One host in full: memory, findings, OOM kills, who pushed, working sets."""
    width = max(width, MIN_WIDTH)
    facts = "  ".join(filter(None, (host.kernel, f"cgroup {host.hierarchy}" if host.hierarchy else "", f"{format_size(host.memtotal)} of memory")))
    lines = [Line(""), Line(clip(f"━━ {visible(host.name)} {'━' * width}", width), "bright blue"), Line(clip(f"  {visible(facts)}", width))]
    lines += [Line(clip(f"  {_memory(host)}", width)), Line("")]
    lines += _breakdown(result, width)
    lines += _findings(result, rules, width)
    lines += _changes(result, rules, width)
    lines += _suppressed(result, rules, width)
    lines += _kills(result, width)
    lines += _pushers(result, width)
    lines += _working_sets(result, width)
    return lines


def render_fleet(fleet: Fleet, *, width: int) -> list[Line]:
    """Totals, the worst hosts one line each, findings by rule; hosts that were not audited."""
    width = max(width, MIN_WIDTH)
    lines = [Line("")]
    if len(fleet.hosts) > 1:
        memory = [
            f"{name} {format_size(fleet.total(of))}"
            for name, of in (("memory", lambda host: host.memtotal), ("free", lambda host: host.free), ("available", lambda host: host.available))
        ]
        lines += [Line(clip(f"━━ {len(fleet.hosts)} hosts {'━' * width}", width), "bright blue"), Line(clip(f"  {'   '.join(memory)}", width))]
    if len(fleet.hosts) > MAX_DETAILED:
        lines += _worst_hosts(fleet, width)
    if len(fleet.hosts) > 1:
        lines += _rules(fleet, width)
    counts = ", ".join(f"{fleet.count(severity)} {severity}" for severity in (*SEVERITIES, "unknown"))
    accepted = fleet.count("suppressed")
    counts += f"; {accepted} accepted" if accepted else ""
    lines.append(Line(clip(f"  Findings: {counts}", width)))
    for unused in fleet.unused_suppressions():
        told = f"{unused['rule']} of {unused['subject']} on {unused['host']}, until {unused['until']}: {unused['reason']}"
        lines += _wrapped(f"A suppression matches nothing: {visible(told)}", width, indent=2, color=_COLORS["unknown"])
    for name in fleet.unreachable:
        lines.append(Line(clip(f"  ✖ {visible(name)}: {NO_RESULT}", width), "red"))
    for name, reason in fleet.invalid.items():
        lines += _wrapped(f"✖ {visible(name)}: {visible(reason)}", width, indent=2, color="red")
    return lines


def render_inventory(inventory: t.Sequence[tuple[str, t.Sequence[InventoryLine]]], *, width: int) -> list[Line]:
    """A table for each group: what its hosts are; below a host the profile that we applied, and the settings that somebody should look at."""
    width = max(width, MIN_WIDTH)
    lines: list[Line] = []
    for group, hosts in inventory:
        lines += [Line(""), Line(clip(f"━━ {visible(group)}, {len(hosts)} {'host' if len(hosts) == 1 else 'hosts'} {'━' * width}", width), "bright blue")]
        lines.append(Line(_columns(("host", "kernel", "memory", "cgroup", "swap", "THP", "watermarks"), width)))
        for host in hosts[:_INVENTORY]:
            lines += _inventory_host(host, width)
        if len(hosts) > _INVENTORY:
            lines.append(Line(f"  … and {len(hosts) - _INVENTORY} more: see inventory.csv."))
        promised = promise_text(hosts)
        lines += _wrapped(visible(f"Workloads: {promised}"), width, indent=2) if promised else []
    return lines


def _inventory_host(host: InventoryLine, width: int) -> list[Line]:
    if host.status:
        return [Line(clip(f"  {visible(host.host)}: {host.status}", width), "red")]
    memory = "" if host.memory is None else format_size(host.memory)
    lines = [Line(_columns((host.host, host.kernel, memory, host.hierarchy, host.swap_text, host.thp, host.watermarks_text), width))]
    if host.profile_text:
        lines += _wrapped(f"profile {visible(host.profile_text)}", width, indent=4)
    for names, words in ((host.conflicts, "in conflict"), (host.changes_at_boot, "the next boot changes"), (host.drift, "drifted")):
        if names:
            lines += _wrapped(clip(f"{words}: {visible(', '.join(names))}", 3 * width), width, indent=4, color=_COLORS["warning"])
    return lines


def _columns(cells_of: t.Sequence[str], width: int) -> str:
    """Host and kernel share what the narrow columns leave."""
    narrow = (9, 7, 9, 8, 14)
    room = width - 2 - sum(narrow) - len(narrow) - 1
    widths = (room - room // 2, room // 2, *narrow)
    return "  " + " ".join(pad(clip(visible(text), size), size) for text, size in zip(cells_of, widths)).rstrip()


def render_paths(paths: t.Mapping[str, str]) -> list[Line]:
    """The end: where the reports are, {format: path}. A path is whole and on a line of its own, because it will be opened or copied."""
    ordered = [name for name in ("html", "json") if name in paths] + [name for name in paths if name not in ("html", "json")]
    named = [f"  {visible(paths[name])}" for name in ordered]
    return [Line(text, "bright blue") for text in ("", *named)] if named else []


def _memory(host: Host) -> str:
    parts = [f"{name} {format_size(value)}" for name, value in (("free", host.free), ("available", host.available)) if value is not None]
    if host.swap_total and host.swap_used is not None:
        parts.append(f"swap {format_size(host.swap_used)} of {format_size(host.swap_total)}")
    elif host.swap_total == 0:
        parts.append("no swap")
    if host.pressure is not None:
        parts.append(f"pressure full {host.pressure:g} %")
    return "   ".join(parts)


def _breakdown(result: Json, width: int) -> list[Line]:
    total = result["breakdown"]["memtotal_bytes"]
    rows = sorted(result["breakdown"]["rows"], key=lambda row: -abs(row["bytes"]))[:_ROWS]
    label = max([cells(visible(row["name"])) for row in rows] or [0])
    label = min(label, 24)
    room = width - label - 24
    lines = []
    for row in rows:
        share = row["bytes"] / total if total > 0 else 0.0
        name = pad(clip(visible(row["name"]), label), label)
        text = f"  {name}  {pad(bar_text(share, room), room)}  {format_size(int(row['bytes'])):>9} {share:>6.1%}"
        lines.append(Line(clip(text, width)))
    return lines


def _findings(result: Json, rules: t.Mapping[str, Json], width: int) -> list[Line]:
    found = [one for one in join_findings(result, rules) if not one.suppressed]
    failed = [one for one in found if one.status == "fail"]
    unknown = len(found) - len(failed)
    lines = [Line("")]
    if not failed:
        lines.append(Line("  No findings." if not unknown else "  No findings among the rules that could be decided.", "green"))
    for one in failed[:_FINDINGS]:
        lines += _finding(one, rules.get(one.rule, {}), width)
    if len(failed) > _FINDINGS:
        lines.append(Line(f"  … and {len(failed) - _FINDINGS} more: see the report."))
    if unknown:
        lines.append(Line(f"  ? {unknown} could not be decided: see the report.", _COLORS["unknown"]))
    return lines


def _finding(one: Finding, rule: Json, width: int) -> list[Line]:
    subject = f" · {visible(one.subject)}" if one.subject else ""
    lines = [Line(clip(f"  {_MARKS[one.severity]} {visible(one.rule)} {visible(one.title)}{subject}", width), _COLORS[one.severity])]
    # A size is not torn apart at the end of a line.
    observed = ", ".join(f"{visible(name)} = {visible(value)}".replace(" ", "\N{NO-BREAK SPACE}") for name, value in one.observed)
    window = f" ({one.window})" if one.window and observed else ""
    if observed:
        lines += _wrapped(clip(f"{observed}{window}", 3 * width), width, indent=4)
    if one.expired:
        lines += _wrapped(clip(f"was accepted until {visible(one.expired.until)}: {visible(one.expired.reason)}", 3 * width), width, indent=4)
    if one.because:
        lines += _wrapped(f"explained by {', '.join(map(visible, one.because))}", width, indent=4)
    cure = rule.get("cure", {})
    command = cure.get("command") or cure.get("text")
    if isinstance(command, str) and command:
        lines += _wrapped(f"→ {visible(command)}", width, indent=4)
    return lines


def _changes(result: Json, rules: t.Mapping[str, Json], width: int) -> list[Line]:
    """What became of the findings of the audit before."""
    found = [one for one in changes_since(result, rules) if one.what != "still" or one.before != one.after or one.because]
    if not found:
        return []
    since = since_text(result)
    lines = [Line(""), Line(clip(f"  Since the last audit{f', {visible(since)}' if since else ''}", width))]
    for one in found[:_FINDINGS]:
        mark, color = _CHANGES[one.what]
        subject = f" · {visible(one.subject)}" if one.subject else ""
        lines.append(Line(clip(f"  {mark:<9} {visible(one.rule)} {visible(one.title)}{subject}", width), color))
        told = "; ".join(filter(None, (_moved(one), one.window, one.because)))
        lines += _wrapped(clip(told, 3 * width), width, indent=12) if told else []
    if len(found) > _FINDINGS:
        lines.append(Line(f"  … and {len(found) - _FINDINGS} more: see the report."))
    return lines


def _moved(one: Change) -> str:
    """C(dying_cgroups 2 217 → 40): the figures that both audits have, where they differ."""
    before = dict(one.before)
    moved = [f"{visible(name)} {visible(before[name])} → {visible(value)}" for name, value in one.after if name in before and before[name] != value]
    return ", ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in moved)


def _suppressed(result: Json, rules: t.Mapping[str, Json], width: int) -> list[Line]:
    """Findings that somebody accepts, with reason and date."""
    accepted = [one for one in join_findings(result, rules) if one.suppressed]
    if not accepted:
        return []
    lines = [Line(""), Line("  Accepted")]
    for one in accepted[:_FINDINGS]:
        subject = f" · {visible(one.subject)}" if one.subject else ""
        lines.append(Line(clip(f"  {_MARKS[one.severity]} {visible(one.rule)} {visible(one.title)}{subject}", width), _COLORS["unknown"]))
        reason = one.suppressed and f"until {visible(one.suppressed.until)}: {visible(one.suppressed.reason)}"
        lines += _wrapped(clip(reason or "", 3 * width), width, indent=4)
    if len(accepted) > _FINDINGS:
        lines.append(Line(f"  … and {len(accepted) - _FINDINGS} more: see the report."))
    return lines


def _kills(result: Json, width: int) -> list[Line]:
    """The workloads that lost most processes, and what of the kernel log could not be looked at."""
    groups: list[Json] = result["oom"].get("groups", [])
    coverage = _report_details.oom_coverage(result)
    if not groups and not coverage:
        return []
    lines = [Line(""), Line("  OOM kills")]
    for group in groups[:_KILLS]:
        killed = group.get("killed")
        count = f"{number_text(killed)} killed" if is_number(killed) else ""
        room = width - 16
        lines.append(Line(f"  {pad(clip_start(visible(str(group.get('name') or '?')), room), room)}  {count:>12}".rstrip(), "red"))
        # The first clause says why; the figures behind it, and paths in full, are in the report.
        cause = " ".join(clip_start(word, 28) for word in visible(str(group.get("cause") or "").partition(";")[0]).split(" "))
        if cause:
            lines.append(Line(clip(f"    {cause}", width)))
    if len(groups) > _KILLS:
        lines.append(Line(f"  … and {len(groups) - _KILLS} more workloads: see the report."))
    return lines + (_wrapped(visible(coverage), width, indent=2, color=_COLORS["unknown"]) if coverage else [])


def _pushers(result: Json, width: int) -> list[Line]:
    """Who grew most in the window, then whose evicted pages came back."""
    moved = _report_details.pushers(result)
    rows = {str(row["path"]): row for row in (*moved["grew"], *moved["refaulted"]) if "path" in row}
    if not rows:
        return []
    lines = [Line(""), Line("  Who pushed, while the audit watched")]
    for row in list(rows.values())[:_PUSHERS]:
        growth, refaults = row.get("growth"), row.get("refaults")
        grown = f"+{format_size(int(growth))}" if is_number(growth) and growth > 0 else ""
        came_back = f"{number_text(refaults)} refaults" if is_number(refaults) and refaults > 0 else ""
        room = width - 33
        lines.append(Line(clip(f"  {pad(clip_start(visible(row['name']), room), room)} {grown:>11} {came_back:>18}".rstrip(), width)))
    return lines


def _working_sets(result: Json, width: int) -> list[Line]:
    """Of the owners: containers and services. Slices and pods only hold them; a node without either has plain cgroups."""
    known = [row for row in result["top"]["rows"] if is_number(row.get("working_set"))]
    owners = [row for row in known if row.get("kind") in ("container", "service")] or [row for row in known if row.get("kind") not in ("slice", "qos", "pod")]
    owners.sort(key=lambda row: (-row["working_set"], row["path"]))
    if not owners:
        return []
    lines = [Line(""), Line("  Largest working sets")]
    for row in owners[:_SETS]:
        room = width - 31
        limit = f"of {format_size(int(row['limit']))}" if is_number(row.get("limit")) else "no limit"
        name = clip_start(visible(display_name(row)), room)
        lines.append(Line(f"  {pad(name, room)}  {format_size(int(row['working_set'])):>10}  {limit:<13}".rstrip()))
    return lines


def _worst_hosts(fleet: Fleet, width: int) -> list[Line]:
    room = width - 46
    lines = [Line(""), Line(f"  {pad('Worst hosts', room)} {'critical':>8} {'warning':>8} {'available':>11} {'of':>11}")]
    for host in fleet.worst(_WORST):
        available = "?" if host.available is None else format_size(host.available)
        color = next((_COLORS[severity] for severity in ("critical", "warning") if host.counts[severity]), None)
        name = pad(clip(visible(host.name), room), room)
        figures = f"{host.counts['critical']:>8} {host.counts['warning']:>8} {available:>11} {format_size(host.memtotal):>11}"
        lines.append(Line(clip(f"  {name} {figures}", width), color))
    return lines


def _rules(fleet: Fleet, width: int) -> list[Line]:
    if not fleet.by_rule:
        return []
    ranked = sorted(fleet.by_rule.items(), key=lambda item: (SEVERITIES.index(fleet.severity(item[0])), -item[1], item[0]))
    lines = [Line(""), Line("  Findings by rule")]
    for rule, hosts in ranked[: 2 * _FINDINGS]:
        severity = fleet.severity(rule)
        title = visible(fleet.rules.get(rule, {}).get("title", rule))
        lines.append(Line(clip(f"  {_MARKS[severity]} {hosts:>5} {'host ' if hosts == 1 else 'hosts'}  {visible(rule)} {title}", width), _COLORS[severity]))
    if len(ranked) > 2 * _FINDINGS:
        lines.append(Line(f"  … and {len(ranked) - 2 * _FINDINGS} more rules: see the report."))
    return [*lines, Line("")]


def bar_text(share: float, width: int) -> str:
    """A share of 0 to 1 as blocks in eighths of a character; nothing for a negative one."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def cells(text: str) -> int:
    """Columns that the text takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def pad(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def clip(text: str, width: int) -> str:
    """The text, or as much of it as fits, with an ellipsis."""
    if cells(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += cells(char)
        if used > width - 1:
            break
        kept.append(char)
    # A rule line of ━ is meant to be cut.
    return "".join(kept) + ("━" if text.endswith("━") else "…")


def clip_start(text: str, width: int) -> str:
    """A path loses its beginning, because its end tells more; any other text its end."""
    if cells(text) <= width or not text.startswith("/"):
        return clip(text, width)
    start = next(index for index in range(1, len(text) + 1) if cells(text[index:]) <= width - 1)
    return f"…{text[start:]}"


def _wrapped(text: str, width: int, *, indent: int, color: str | None = None) -> list[Line]:
    """At spaces where there are some, anywhere else: a command is never shortened, it will be copied."""
    room, lines, current = width - indent, [], ""
    for word in text.split(" "):
        joined = f"{current} {word}" if current else word
        if cells(joined) <= room:
            current = joined
            continue
        if current:
            lines.append(current)
        while cells(word) > room:
            cut = next(end for end in range(len(word), 0, -1) if cells(word[:end]) <= room)
            lines.append(word[:cut])
            word = word[cut:]
        current = word
    return [Line(" " * indent + line.replace("\N{NO-BREAK SPACE}", " "), color) for line in (*lines, current)]
