# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""C(report.md), for tickets, wikis and merge requests: the fleet in tables, then the worst hosts in full, then what to do about each rule.

Names of nodes are code: Markdown, HTML, mentions and links in them are only text. Where a name has a backtick, a pipe or a backslash, it is HTML's code with
character references, since renderers do not agree on these in a table.
"""

from __future__ import annotations

import re
import typing as t

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
    finding_counts,
    is_number,
    join_findings,
    number_text,
    since_text,
    visible,
)
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import NO_RESULT, replacing

_SETS = 10
_COUNTS = {**dict(zip(SEVERITIES, SEVERITIES)), "unknown": "unknown", "suppressed": "accepted"}
# Nobody reads more of a name; report.json has all of it.
_MAX_NAME = 300
_NO_CODE = re.compile(r"[`|\\]|^\s|\s$")
# All that Markdown, its extensions (tables, strikethrough, math, emoji, mentions, links) and HTML act on.
_ACTIVE = re.compile(r"[\\`*_{}\[\]<>()#!|~&@$:^=\"']|(?<=www)\.")
_WORDS = {"new": "New", "still": "Still there", "undecided": "Could not be decided", "cured": "Cured", "not_again": "Not again", "gone": "Gone"}

Rows = t.Iterable[t.Sequence[str]]


def write_markdown(
    path: str,
    fleet: Fleet,
    details: t.Iterable[tuple[Json, Host]],
    *,
    generated_at: str,
    inventory: t.Sequence[tuple[str, t.Sequence[InventoryLine]]],
) -> None:
    """Write the page, host by host. C(details) are the hosts shown in full, as (result, line). Raises ResultError."""
    with replacing(path) as stream:
        stream.writelines(f"{line}\n" for line in fleet_lines(fleet, generated_at=generated_at, inventory=inventory))
        shown = 0
        for result, host in details:
            stream.writelines(f"{line}\n" for line in host_lines(result, fleet.rules, host))
            shown += 1
        if shown < len(fleet.hosts):
            stream.write(f"\nThe {shown} worst hosts are here in full; `report.json` holds all.\n")
        stream.writelines(f"{line}\n" for line in rule_lines(fleet))


def fleet_lines(fleet: Fleet, *, generated_at: str, inventory: t.Sequence[tuple[str, t.Sequence[InventoryLine]]]) -> list[str]:
    """Totals, a row for each host, those without a result, findings by rule, the inventory."""
    whose = code(fleet.hosts[0].name) if len(fleet.hosts) == 1 else f"{len(fleet.hosts)} hosts"
    counts = ", ".join(f"{fleet.count(name)} {word}" for name, word in _COUNTS.items())
    lines = [f"# Memory of {whose}", "", f"{plain(generated_at)}. Findings: {counts}."]
    titles = (
        "Host",
        "Kernel",
        "cgroup",
        "Memory",
        "Available",
        "Unaccounted",
        "Swap used",
        "Pressure",
        *(word.capitalize() for word in _COUNTS.values()),
    )
    lines += section("## Hosts", table(titles, (_host(host) for host in fleet.worst(len(fleet.hosts))), right=range(3, len(titles))))
    missing = {**dict.fromkeys(fleet.unreachable, NO_RESULT), **fleet.invalid}
    lines += section("## Hosts without a result", table(("Host", "Reason"), ((code(name), code(reason)) for name, reason in missing.items())))
    unused = ((plain(one["rule"]), code(one["host"]), code(one["subject"]), plain(one["until"]), plain(one["reason"])) for one in fleet.unused_suppressions())
    lines += section("## Suppressions that match nothing", table(("Rule", "Host", "Subject", "Until", "Reason"), unused))
    ranked = sorted(fleet.by_rule.items(), key=lambda item: (SEVERITIES.index(fleet.severity(item[0])), -item[1], item[0]))
    rules = ((fleet.severity(rule), plain(rule), plain(_title(fleet.rules, rule)), str(hosts)) for rule, hosts in ranked)
    lines += section("## Findings by rule", table(("Severity", "Rule", "Says", "Hosts"), rules, right=(3,)))
    return lines + _inventory(inventory)


def host_lines(result: Json, rules: t.Mapping[str, Json], host: Host) -> list[str]:
    """One host in full: memory, findings, what changed, what is accepted, OOM kills, working sets."""
    facts = ", ".join(
        filter(None, (plain(host.kernel), f"cgroup {plain(host.hierarchy)}" if host.hierarchy else "", f"{format_size(host.memtotal)} of memory"))
    )
    found = join_findings(result, rules)
    failed = [one for one in found if one.status == "fail" and not one.suppressed]
    unknown = [one for one in found if one.status != "fail" and not one.suppressed]
    lines = ["", f"## {code(host.name)}", "", f"{facts}. Audited {plain(result['collected_at'])}."]
    lines += section("### Where memory is", _breakdown(result))
    findings = table(("Severity", "Rule", "Subject", "Observed"), (_finding(one) for one in failed))
    lines += section("### Findings", findings or ["No findings." if not unknown else "No findings among the rules that could be decided."])
    counted = finding_counts(result)
    more = sum(counts.failed for counts in counted.values()) - len(failed)
    lines += ["", f"And {more} more, which the node counted and did not list."] if more > 0 else []
    lines += section(
        "### Not decided", table(("Rule", "Subject", "Reason"), ((plain(f"{one.rule} {one.title}"), _subject(one), code(one.reason)) for one in unknown))
    )
    lines += _changes(result, rules)
    accepted = (
        (one.severity, plain(f"{one.rule} {one.title}"), _subject(one), plain(one.suppressed.until), plain(one.suppressed.reason))
        for one in found
        if one.suppressed
    )
    lines += section("### Accepted", table(("Severity", "Rule", "Subject", "Until", "Reason"), accepted))
    kills = (
        (code(group.get("name")), number_text(group["killed"]), code(group.get("cause")))
        for group in result["oom"].get("groups", [])
        if is_number(group.get("killed"))
    )
    lines += section("### OOM kills", table(("Workload", "Killed", "Cause"), kills, right=(1,)))
    coverage = _report_details.oom_coverage(result)
    lines += ["", plain(coverage)] if coverage else []
    return lines + section("### Largest working sets", _working_sets(result))


def rule_lines(fleet: Fleet) -> list[str]:
    """For each rule that fails somewhere, why it matters and what to do."""
    lines: list[str] = []
    for rule in sorted(fleet.by_rule, key=lambda rule: (SEVERITIES.index(fleet.severity(rule)), rule)):
        metadata = fleet.rules.get(rule, {})
        cure = metadata.get("cure") or {}
        setting = f"Setting: {code(cure['setting'])}, {plain(cure.get('value'))}." if cure.get("setting") else ""
        expected = f"Expected: {plain(metadata['expected'])}." if metadata.get("expected") else ""
        texts = [plain(metadata.get("why")), expected, plain(cure.get("text")), setting]
        lines += section(
            f"### {plain(rule)} {plain(_title(fleet.rules, rule))}", [line for text in texts if text for line in (text, "")] + fenced(cure.get("command"))
        )
    return ["", "## What to do", *lines] if lines else []


def code(text: t.Any) -> str:
    """A name of unknown origin; – where there is none."""
    shown = visible(str(text if text is not None else ""))
    shown = shown if len(shown) <= _MAX_NAME else f"{shown[: _MAX_NAME - 1]}…"
    if not shown.strip():
        return "–"
    return f"`{shown}`" if not _NO_CODE.search(shown) else f"<code>{plain(shown)}</code>"


def plain(text: t.Any) -> str:
    """Text of which Markdown and HTML make nothing else."""
    return _ACTIVE.sub(_reference, visible(str(text if text is not None else "")))


def _reference(found: re.Match[str]) -> str:
    char, text, at = found[0], found.string, found.start()
    # Within a word it is only an underscore, within a time or before a space only a colon; brackets and quotes need others to mean something.
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    underscore = char == "_" and before.isalnum() and after.isalnum()
    colon = char == ":" and (after in ("", " ") or (before.isdecimal() and after.isdecimal()))
    harmless = underscore or colon or char in "()'\"="
    return char if harmless else f"&#{ord(char)};"


def table(titles: t.Sequence[str], rows: Rows, *, right: t.Container[int] = ()) -> list[str]:
    """A table, or nothing if it has no row. Cells are Markdown already."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    marks = ("--:" if index in right else "---" for index in range(len(titles)))
    return [f"| {' | '.join(titles)} |", f"| {' | '.join(marks)} |", *lines] if lines else []


def section(heading: str, lines: t.Sequence[str]) -> list[str]:
    return ["", heading, "", *lines] if lines else []


def fenced(command: t.Any) -> list[str]:
    """A command to copy, in a fence that is longer than any in it."""
    if not isinstance(command, str) or not command:
        return []
    longest = max((len(run) for run in re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", *(visible(line) for line in command.split("\n")), fence]


def _title(rules: t.Mapping[str, Json], rule: str) -> str:
    return str(rules.get(rule, {}).get("title", ""))


def _host(host: Host) -> list[str]:
    sizes = ["" if size is None else format_size(size) for size in (host.memtotal, host.available, host.unaccounted, host.swap_used)]
    pressure = "" if host.pressure is None else f"{host.pressure:g} %"
    return [
        code(host.name),
        plain(host.kernel),
        plain(host.hierarchy),
        *sizes,
        pressure,
        *(str(host.counts[name]) for name in _COUNTS),
    ]


def _breakdown(result: Json) -> list[str]:
    total = result["breakdown"]["memtotal_bytes"]
    rows = sorted(result["breakdown"]["rows"], key=lambda row: -abs(row["bytes"]))
    cells = (
        (plain(row["name"]), format_size(int(row["bytes"])), f"{row['bytes'] / total:.1%}" if total > 0 else "", plain(row["reclaimable"])) for row in rows
    )
    return table(("Part", "Size", "Share", "Reclaimable"), cells, right=(1, 2))


def _subject(one: Finding | Change) -> str:
    return code(one.subject) if one.subject else "the node"


def _finding(one: Finding) -> list[str]:
    observed = _figures(one.observed) + (f" ({plain(one.window)})" if one.window and one.observed else "")
    expired = f" **Was accepted until {plain(one.expired.until)}:** {plain(one.expired.reason)}" if one.expired else ""
    because = f" Explained by {plain(', '.join(one.because))}." if one.because else ""
    return [one.severity, plain(f"{one.rule} {one.title}"), _subject(one), f"{observed}{because}{expired}"]


def _figures(observed: t.Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{plain(name)} = {plain(value)}" for name, value in observed)


def _changes(result: Json, rules: t.Mapping[str, Json]) -> list[str]:
    found = changes_since(result, rules)
    rows = ((_WORDS[one.what], plain(f"{one.rule} {one.title}"), _subject(one), _figures(one.before), _now(one)) for one in found)
    lines = table(("", "Rule", "Subject", "Before", "Now"), rows)
    since = since_text(result)
    return section("### Since the last audit", [f"Compared with {plain(since)}.", "", *lines] if since and lines else lines)


def _now(one: Change) -> str:
    return "; ".join(filter(None, (_figures(one.after), plain(one.window), plain(one.because))))


def _working_sets(result: Json) -> list[str]:
    known = [row for row in result["top"]["rows"] if is_number(row.get("working_set")) and row["path"] != "/"]
    known.sort(key=lambda row: (-row["working_set"], row["path"]))
    cells = (
        (code(display_name(row)), *(format_size(int(row[part])) if is_number(row.get(part)) else "" for part in ("working_set", "usage", "limit")))
        for row in known[:_SETS]
    )
    return table(("Cgroup", "Working set", "Usage", "Limit"), cells, right=(1, 2, 3))


def _inventory(inventory: t.Sequence[tuple[str, t.Sequence[InventoryLine]]]) -> list[str]:
    titles = ("Host", "Kernel", "Memory", "cgroup", "Swap", "THP", "Watermarks", "Profile", "Conflicts")
    lines: list[str] = []
    for group, hosts in inventory:
        rows = ((*_identity(line), _conflicts(line)) for line in hosts)
        promised = promise_text(hosts)
        lines += section(f"### {code(group)}", table(titles, rows) + (["", f"Workloads: {plain(promised)}."] if promised else []))
    return ["", "## Inventory", *lines] if lines else []


def _identity(line: InventoryLine) -> list[str]:
    memory = "" if line.memory is None else format_size(line.memory)
    return [
        code(line.host),
        *(plain(text) for text in (line.kernel, memory, line.hierarchy, line.swap_text, line.thp, line.watermarks_text, line.profile_text)),
    ]


def _conflicts(line: InventoryLine) -> str:
    if line.status:
        return plain(line.status)
    return "" if line.conflicts is None else ", ".join(map(code, line.conflicts)) or "none"
