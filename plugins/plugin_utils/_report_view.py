# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What every writer of a report says in the same words: findings joined with their rules, a host in one line, a fleet in totals. Pure."""

from __future__ import annotations

import heapq
import itertools
import re
import typing as t
import unicodedata

from ansible_collections.memqos.fleet.plugins.module_utils._shares import format_size
from ansible_collections.memqos.fleet.plugins.plugin_utils import _causes
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_parts import PARTS

Json = dict[str, t.Any]

SEVERITIES = ("critical", "warning", "info")
_SUPPRESSION = ("rule", "host", "subject", "reason", "until")
# How many findings the message of a task names.
_FIRST = 10
# Control, format (bidi overrides, zero width), surrogate, private use, unassigned, line and paragraph separators.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Names that are bytes wherever they stand alone or in their namespace; below cgroup.events `low`, `high` and `max` are counts.
_SIZES = (
    # cgroups (docs/architecture.md §3.2)
    "usage", "peak", "limit", "soft_limit", "high", "low", "min", "swap", "swap_limit", "request", "working_set", "working_set_sysom", "hard_set",
    "effective_min", "effective_low", "kernel_other", "children_usage", "children_min", "children_low", "growth",
    # memory.stat
    "anon", "anon_thp", "file", "file_mapped", "file_dirty", "file_writeback", "file_thp", "shmem", "shmem_thp", "slab", "slab_reclaimable",
    "slab_unreclaimable", "sock", "kernel", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "vmalloc", "hugetlb", "zswap", "zswapped",
    "active_anon", "inactive_anon", "active_file", "inactive_file", "unevictable", "swapcached",
    # zones
    "free", "promo", "boost", "managed", "present", "reserve", "distance_kswapd", "distance_direct",
    # what rules call sums and figures of the node
    "memtotal", "memory_without_hugetlb", "sum_memory_min", "unaccounted", "available", "used", "cache", "file_cache", "page_tables", "committed",
    "min_free", "swap_total", "swap_used", "dirty", "writeback", "bound", "children", "memory", "gap", "corrupted", "pool", "mlocked", "sum_limit",
    "sum_request", "allocatable", "stranded", "low_within_limit",
)  # fmt: skip
_BYTES = re.compile(rf".*_bytes|meminfo\.(?!HugePages_).*|breakdown\..*|(?:cgroup\.|cgroup\.stat\.|zone\.)?(?:{'|'.join(_SIZES)})")
_PERCENT = re.compile(r"(?:.*[._])?avg(?:10|60|300)|.*_percent")


class Accepted(t.NamedTuple):
    """Why somebody accepts a finding, and until when (YYYY-MM-DD)."""

    reason: str
    until: str


class Finding(t.NamedTuple):
    """A finding with what its rule says of it. C(observed) is [(name, value in human units)]; C(status) is C(fail) or C(unknown).

    C(suppressed): somebody accepts it. C(expired): somebody did, and the date has passed.
    C(because): rules that failed on this host too and explain it. C(urgency): the worst severity of it and of what it explains.
    """

    rule: str
    title: str
    severity: str
    status: str
    kind: str
    subject: str
    subject_id: str
    observed: list[tuple[str, str]]
    window: str
    reason: str
    suppressed: Accepted | None = None
    expired: Accepted | None = None
    because: list[str] = []
    urgency: str = ""


class Change(t.NamedTuple):
    """What became of a finding since the audit before. C(what): new, still (with other figures), undecided, cured, not_again, gone (subject or rule).

    What counts events passes while none happens: that is not_again, over C(window), and cures nothing.
    C(before) and C(after) are [(name, value in human units)]; C(because) says what changed besides the node, in words.
    """

    what: str
    rule: str
    title: str
    severity: str
    kind: str
    subject: str
    before: list[tuple[str, str]]
    after: list[tuple[str, str]]
    because: str = ""
    window: str = ""


class Counts(t.NamedTuple):
    """How many subjects of a rule fail, are unknown, and are accepted whatever they are."""

    failed: int
    unknown: int
    suppressed: int


class Host(t.NamedTuple):
    """A host in one line. Sizes in bytes, None where the node does not say; C(pressure) is memory full avg60 in percent.

    C(counts) is by severity, and C(unknown) and C(suppressed), which are in no other count.
    """

    name: str
    kernel: str
    hierarchy: str
    memtotal: int
    free: int | None
    available: int | None
    unaccounted: int | None
    swap_total: int | None
    swap_used: int | None
    pressure: float | None
    counts: dict[str, int]

    @property
    def badness(self) -> tuple[float, ...]:
        """Orders hosts: most critical findings first, then warnings, then the least available memory."""
        share = 1.0 if self.available is None or self.memtotal <= 0 else self.available / self.memtotal
        return (self.counts["critical"], self.counts["warning"], -share)


class TopRow(t.NamedTuple):
    """A cgroup of some host: C(cells) is {part: bytes}, without the parts that are not known."""

    host: str
    path: str
    name: str
    kind: str
    qos: str
    cells: dict[str, float]


class Fleet:
    """Totals over all hosts, gathered host by host; holds no result. C(worst), C(first) and C(top) are bounded.

    C(first) are the worst findings as (severity's index, host, rule, subject), those that nobody accepts.
    """

    def __init__(self, rules: t.Mapping[str, Json], *, top: int) -> None:
        self.rules = rules
        self.hosts: list[Host] = []
        self.by_rule: dict[str, int] = {}
        self.unreachable: list[str] = []
        self.invalid: dict[str, str] = {}
        # The inventory's: C({group: [host]}).
        self.groups: t.Mapping[str, t.Sequence[str]] = {}
        self.first: list[tuple[int, str, str, str]] = []
        self._unused: dict[tuple[str, ...], None] = {}
        self._used: set[Accepted] = set()
        self._top = top
        self._heaps: dict[str, list[tuple[float, str, str, TopRow]]] = {part: [] for part in PARTS}

    def add(self, result: Json) -> Host:
        """Take in the result of one host; returns its line."""
        host = summarise(result, self.rules)
        self.hosts.append(host)
        for rule, counts in finding_counts(result).items():
            if counts.failed:
                self.by_rule[rule] = self.by_rule.get(rule, 0) + 1
        standing = (one for one in result["findings"] if one["status"] == "fail" and _accepted(one, "suppressed") is None)
        ranked = ((SEVERITIES.index(self.severity(one["rule"])), host.name, one["rule"], subject_name(one["subject"])) for one in standing)
        self.first = heapq.nsmallest(_FIRST, itertools.chain(self.first, ranked))
        self._note_suppressions(result)
        for row in result["top"]["rows"]:
            self._offer(top_row(result["host"], row))
        return host

    def unused_suppressions(self) -> list[dict[str, str]]:
        """What C(memqos_suppressions) says and no host has: {rule, host, subject, reason, until}. One that a host has is used, though others lack it."""
        found = [dict(zip(_SUPPRESSION, one)) for one in self._unused]
        return [one for one in found if Accepted(one["reason"], one["until"]) not in self._used]

    def _note_suppressions(self, result: Json) -> None:
        stamps = (_accepted(finding, key) for finding in result["findings"] for key in ("suppressed", "suppression_expired"))
        self._used.update(stamp for stamp in stamps if stamp)
        for one in result.get("suppressions_unused") or ():
            self._unused[tuple(str(one.get(key) or "") for key in _SUPPRESSION)] = None

    def severity(self, rule: str) -> str:
        return severity_of(self.rules.get(rule, {}))

    def count(self, severity: str) -> int:
        return sum(host.counts[severity] for host in self.hosts)

    def total(self, of: t.Callable[[Host], int | None]) -> int:
        """The sum over the hosts that know the value."""
        return sum(of(host) or 0 for host in self.hosts)

    def worst(self, count: int) -> list[Host]:
        return heapq.nsmallest(count, self.hosts, key=lambda host: (tuple(-figure for figure in host.badness), host.name))

    def top_rows(self) -> list[TopRow]:
        """The union of the first rows of every part over the whole fleet, so that a table sorted by any part has its true first rows."""
        union = {entry[1:3]: entry[3] for heap in self._heaps.values() for entry in heap}
        return sorted(union.values(), key=lambda row: (-row.cells.get("working_set", 0), row.host, row.path))

    def _offer(self, row: TopRow) -> None:
        if row.path == "/":
            return
        for part, value in row.cells.items():
            heap = self._heaps[part]
            entry = (value, row.host, row.path, row)
            if len(heap) < self._top:
                heapq.heappush(heap, entry)
            elif entry[:3] > heap[0][:3]:
                heapq.heapreplace(heap, entry)


def summarise(result: Json, rules: t.Mapping[str, Json]) -> Host:
    """A result → its line."""
    node, meminfo = result["node"], result["node"].get("meminfo", {})
    rows = {row["name"]: int(row["bytes"]) for row in result["breakdown"]["rows"]}
    swap_total, swap_free = meminfo.get("SwapTotal"), meminfo.get("SwapFree")
    counts = dict.fromkeys((*SEVERITIES, "unknown", "suppressed"), 0)
    for rule, of_rule in finding_counts(result).items():
        counts[severity_of(rules.get(rule, {}))] += of_rule.failed
        counts["unknown"] += of_rule.unknown
        counts["suppressed"] += of_rule.suppressed
    return Host(
        name=result["host"],
        kernel=str(node.get("kernel", "")),
        hierarchy=str(node.get("hierarchy", "")),
        memtotal=int(result["breakdown"]["memtotal_bytes"]),
        free=rows.get("free", meminfo.get("MemFree")),
        available=meminfo.get("MemAvailable"),
        unaccounted=rows.get("unaccounted"),
        swap_total=swap_total,
        swap_used=None if swap_total is None or swap_free is None else swap_total - swap_free,
        pressure=node.get("pressure", {}).get("memory", {}).get("full", {}).get("avg60"),
        counts=counts,
    )


def finding_counts(result: Json) -> dict[str, Counts]:
    """{rule: Counts}. A node lists only the largest findings of a rule and counts them all; what is accepted counts as that only."""
    listed: dict[str, list[int]] = {}
    accepted: dict[str, list[int]] = {}
    for finding in result["findings"]:
        other = finding["status"] != "fail"
        listed.setdefault(finding["rule"], [0, 0])[other] += 1
        accepted.setdefault(finding["rule"], [0, 0])[other] += _accepted(finding, "suppressed") is not None
    for rule, count in result["rules"].items():
        both = listed.setdefault(rule, [0, 0])
        both[:] = max(both[0], int(count.get("failed", 0))), max(both[1], int(count.get("unknown", 0)))
    counted = {}
    for rule, (failed, unknown) in listed.items():
        of_failed, of_unknown = accepted.get(rule, (0, 0))
        # What is accepted may be among those that are only counted.
        of_failed = min(failed, max(of_failed, int(result["rules"].get(rule, {}).get("suppressed", 0))))
        counted[rule] = Counts(failed - of_failed, unknown - of_unknown, of_failed + of_unknown)
    return counted


def _accepted(finding: Json, key: str) -> Accepted | None:
    given = finding.get(key)
    return Accepted(str(given.get("reason") or ""), str(given.get("until") or "")) if isinstance(given, dict) else None


def severity_of(rule: t.Mapping[str, t.Any]) -> str:
    """The rule's severity; what nobody rated counts as a warning, so that it is seen."""
    severity = rule.get("severity")
    return severity if severity in SEVERITIES else "warning"


def join_findings(result: Json, rules: t.Mapping[str, Json]) -> list[Finding]:
    """The findings of a result with title and severity of their rules: what fails, then unknown ones, then what is accepted.

    Causes come before what they explain, each as early as the worst of that.
    """
    found = [join_finding(finding, rules.get(finding["rule"], {})) for finding in result["findings"]]
    severity = {one.rule: SEVERITIES.index(one.severity) for one in found if _counts(one)}
    explained = _causes.explained(severity, rules)
    lead = {rule: min([own, *(severity[other] for other, why in explained.items() if rule in why)]) for rule, own in severity.items()}

    def place(one: Finding) -> tuple[t.Any, ...]:
        own = SEVERITIES.index(one.severity)
        first, behind = (lead[one.rule], len(explained[one.rule])) if _counts(one) else (own, 0)
        return (one.suppressed is not None, one.status != "fail", first, behind, own, one.rule, one.subject)

    told = [one._replace(because=explained[one.rule], urgency=SEVERITIES[lead[one.rule]]) if _counts(one) else one for one in found]
    return sorted(told, key=place)


def _counts(one: Finding) -> bool:
    return one.status == "fail" and one.suppressed is None


def join_finding(finding: Json, rule: Json) -> Finding:
    """A finding of a result, with what its rule says."""
    return Finding(
        rule=finding["rule"],
        title=str(rule.get("title", finding["rule"])),
        severity=severity_of(rule),
        status=finding["status"],
        kind=finding["subject"]["kind"],
        subject=subject_name(finding["subject"]),
        subject_id=finding["subject"]["id"],
        observed=_observed(finding.get("observed", {})),
        window=window_text(finding.get("window", {})),
        reason=str(finding.get("reason") or ""),
        suppressed=_accepted(finding, "suppressed"),
        expired=_accepted(finding, "suppression_expired"),
    )


def subject_name(subject: Json) -> str:
    """Nothing for the node itself."""
    return "" if subject.get("kind") == "node" else str(subject.get("name") or subject.get("id") or "")


def _observed(values: t.Any) -> list[tuple[str, str]]:
    return [(name, value_text(name, value)) for name, value in values.items()] if isinstance(values, dict) else []


_CHANGES = ("new", "still", "undecided", "cured", "not_again", "gone")
_BECAUSE = {
    "rule_added": "the rule is new",
    "rule_changed": "the rule or its thresholds changed",
    "rule_dropped": "the rule is not looked at any more",
    "subject_gone": "its subject is gone",
    "gone_or_not_applicable": "its subject is gone, or the rule no longer applies to it",
    "not_listed": "more fail than a node lists",
}


def changes_since(result: Json, rules: t.Mapping[str, Json]) -> list[Change]:
    """What became of the findings of the audit before, by C(changes): what is new first, what is gone last; nothing if no audit came before."""
    changes = result.get("changes")
    listed = changes.get("findings") if isinstance(changes, dict) else None
    found = [_change(one, rules) for one in listed or () if isinstance(one, dict)]
    return sorted(found, key=lambda one: (_CHANGES.index(one.what), SEVERITIES.index(one.severity), one.rule, one.subject))


def _change(one: Json, rules: t.Mapping[str, Json]) -> Change:
    rule, before, after = str(one.get("rule") or ""), one.get("before"), one.get("after")
    subject = one.get("subject")
    # By all that findings say of it, or by its id alone.
    subject = subject if isinstance(subject, dict) else {"kind": "node" if subject == "node" else "", "id": subject}
    what = _what(before, after)
    return Change(
        what=what,
        rule=rule,
        title=str(rules.get(rule, {}).get("title", rule)),
        severity=severity_of(rules.get(rule, {})),
        kind=str(subject.get("kind") or ""),
        subject=subject_name(subject),
        before=_observed(before.get("observed")) if isinstance(before, dict) else [],
        after=_observed(after.get("observed")) if isinstance(after, dict) else [],
        because=_BECAUSE.get(str(one.get("because") or ""), ""),
        window=window_text(_window(after)) if what == "not_again" else "",
    )


def _what(before: t.Any, after: t.Any) -> str:
    if not isinstance(after, dict) or after.get("status") == "not_applicable":
        return "gone"
    failed_before = isinstance(before, dict) and before.get("status") == "fail"
    passes = "not_again" if _window(before) or _window(after) else "cured"
    return {"pass": passes, "fail": "still" if failed_before else "new"}.get(str(after.get("status")), "undecided")


def _window(side: t.Any) -> Json:
    """Empty where nothing was counted over time."""
    window = side.get("window") if isinstance(side, dict) else None
    return window if isinstance(window, dict) else {}


def since_text(result: Json) -> str:
    """The audit that C(changes) compares with, and what came between: C(2026-11-27T10:00:00Z, generation 3 since then, a reboot between)."""
    changes = result.get("changes")
    since = changes.get("since") if isinstance(changes, dict) else None
    if not isinstance(changes, dict) or not isinstance(since, dict):
        return ""
    now = changes.get("generation")
    tuned = f"generation {now} since then" if is_number(now) and now != since.get("generation") else ""
    return ", ".join(filter(None, (str(since.get("collected_at") or ""), tuned, "a reboot between" if changes.get("rebooted") is True else "")))


def host_settings(result: Json) -> list[Json] | None:
    """C(settings) of a result; None where the audit did not look."""
    settings = result.get("settings")
    return [row for row in settings if isinstance(row, dict)] if isinstance(settings, list) else None


def in_conflict(row: Json) -> bool:
    """Whether sources want different values of the setting: one of them wins at the next boot, the others only look as though they counted."""
    winner, others = row.get("winner"), row.get("others")
    if not isinstance(winner, dict) or not isinstance(others, list):
        return False
    return any(isinstance(other, dict) and other.get("value") != winner.get("value") for other in others)


def setting_name(row: Json) -> str:
    """C(vm.swappiness), and with its unit C(batch.slice MemoryHigh)."""
    name, subject = str(row.get("name") or ""), str(row.get("subject") or "")
    return f"{subject} {name}" if row.get("scope") == "unit" and subject else name


def top_row(host: str, row: Json) -> TopRow:
    """A row of C(top.rows) → its known numbers."""
    cells = {part: row[part] for part in PARTS if is_number(row.get(part))}
    return TopRow(host, row["path"], display_name(row), str(row.get("kind", "")), str(row.get("qos_class") or ""), cells)


def display_name(row: Json) -> str:
    """What a row of C(top.rows) or C(pushers) is called. A plain cgroup's name is the end of its path, often a bare id: it goes by its path."""
    name, path = str(row.get("name") or ""), str(row.get("path") or "")
    return path if path and (not name or row.get("kind") == "cgroup") else name


def is_number(value: t.Any) -> t.TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def value_text(name: str, value: t.Any) -> str:
    """An observed value in human units. The name tells the unit: C(*_bytes), C(meminfo.*), C(cgroup.usage), C(usage) are bytes; unknown names stay numbers."""
    if value is None:
        return "no limit"
    if not is_number(value):
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    if _BYTES.fullmatch(name):
        return format_size(int(value))
    if name.endswith("_per_second"):
        return f"{number_text(value)}/s"
    if _PERCENT.fullmatch(name):
        return f"{number_text(value)} %"
    if name.endswith("_share"):
        return f"{number_text(value * 100)} %"
    if name.endswith("_seconds"):
        return duration_text(value)
    return number_text(value)


def number_text(value: float) -> str:
    """Thousands apart by a thin space; at most three digits after the point."""
    whole = isinstance(value, int) or value == int(value)
    text = f"{int(value):,}" if whole else f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    return text.replace(",", "\N{NARROW NO-BREAK SPACE}")


def duration_text(seconds: float) -> str:
    """C(3 d 4 h), C(12 min), C(8 s)."""
    left = int(seconds)
    steps = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for unit, size in steps:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2]) or "0 s"


def window_text(window: t.Mapping[str, t.Any]) -> str:
    """What a counter's growth is measured over; empty for a finding without counters."""
    words = {"since_last_run": "since the last run", "since_boot": "since boot", "window": "in the audit's window"}.get(str(window.get("kind", "")), "")
    seconds = window.get("seconds")
    return f"{words}, {duration_text(seconds)}" if words and isinstance(seconds, (int, float)) and seconds >= 1 else words


def visible(text: str) -> str:
    """Text of unknown origin as one harmless line: control characters, terminal escapes, line breaks and bidi overrides as backslash escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _HIDDEN else char for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
