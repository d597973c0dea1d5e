# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""The kernel log → reports of the OOM killer, of kernels 4.18 to 7.x.

What they print (mm/oom_kill.c, mm/memcontrol.c): always C(Killed process); in front of it, rate limited, the report. Before 5.0 a cgroup's limit shows in
C(Task in … killed as a result of limit of …), from then on in C(oom-kill:constraint=…).
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._read._files import display, whole_lines

# printk cuts a record at 1,024 bytes less its prefix: at the end of such a record stands half a value.
_CUT = 900
# A counter that is never reached (no limit) is printed as LONG_MAX rounded to pages.
_NO_LIMIT_KB = 1 << 52
# Longer than a slow console holds up the lines of one report; a kill after it belongs to another report, whose own lines were rate limited.
_PAUSE_US = 30 * 1000000

_DEVICE_RECORD = re.compile(rb"([0-9]{1,10}),([0-9]{1,20}),([0-9]{1,20}),([^;]*);(.*)", re.DOTALL)
_PRINTED = re.compile(rb"(?:<([0-9]{1,10})>)?\[\s*([0-9]{1,12})\.([0-9]{6})\](?:\[\s*([TC][0-9]{1,10})\])? (?:\S+ kernel: )?(.*)", re.DOTALL)
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")

_INVOKED = re.compile(
    rb"(.{0,15}) invoked oom-killer: gfp_mask=(0x[0-9a-f]+(?:\([^)]*\))?), (?:nodemask=(.*), )?order=(-?[0-9]+), oom_score_adj=(-?[0-9]+)", re.DOTALL
)
_CPU = re.compile(rb"CPU: [0-9]+ (?:UID: [0-9]+ )?PID: ([0-9]+) Comm: ")
_TASK_IN = re.compile(rb"Task in (/.*) killed as a result of limit of (/.*)", re.DOTALL)
_USAGE = re.compile(rb"(memory|memory\+swap|swap|kmem): usage ([0-9]+)kB, limit ([0-9]+)kB, failcnt ([0-9]+)")
_STATS = re.compile(rb"Memory cgroup stats for .*?:((?: \w+:[0-9]+KB)*)\s*(?:\n(.*))?", re.DOTALL)
_STAT_ROW = re.compile(rb"([a-z]\w*) ([0-9]+)")
_COUNT = re.compile(rb"(\w+):([0-9]+)")
_SWAP = re.compile(rb"(Free|Total) swap\s+= ([0-9]+)kB")
_TASK = re.compile(rb"\[\s*[0-9]+\]\s+[0-9]+\s+[0-9]+\s+[0-9]+\s+[0-9]+\s.*", re.DOTALL)
_OOM_KILL = re.compile(rb"oom-kill:constraint=(\w+),nodemask=(.*?),cpuset=(.*?),mems_allowed=([0-9,-]*)(,.*)", re.DOTALL)
_VICTIM = re.compile(rb",task=.{0,15},pid=[0-9]+,uid=[0-9]+\Z", re.DOTALL)
_TASKS_IN = re.compile(rb"Tasks in (/.*) are going to be killed due to memory\.oom\.group set", re.DOTALL)
# Names are at most 15 bytes (TASK_COMM_LEN), of any kind: "x) total-vm:1kB" is one. So no line that merely quotes such words passes for a report.
_KILLED = re.compile(rb"(?:(Memory cgroup out of memory|Out of memory)[^:]*: )?Killed process ([0-9]+) \((.{0,15})\),? ([^()]*)", re.DOTALL)
_CHOSEN = re.compile(rb"(Memory cgroup out of memory|Out of memory)[^:]*: Kill process [0-9]+ ")
_NO_VICTIM = re.compile(rb"(Memory cgroup o|O)ut of memory and no killable processes")
_KILL_LINES = (b"oom-kill:", b"Task in ", b"Tasks in ", b"Memory cgroup out of memory", b"Out of memory", b"Killed process ")
_FIGURE = re.compile(rb"([\w-]+)[: ](-?[0-9]+)(kB)?")

_COUNTERS = {b"memory": "", b"memory+swap": "memsw_", b"swap": "swap_", b"kmem": "kmem_"}
_VICTIM_FIGURES = {b"total-vm": "total_vm", b"anon-rss": "anon_rss", b"file-rss": "file_rss", b"shmem-rss": "shmem_rss", b"pgtables": "pgtables"}
# What memory.stat calls it on v2, on v1 hierarchically, and on v1 below 5.x, where every cgroup of the subtree has its own line.
_MEMCG_STAT = {"anon": ("anon", "total_rss", "rss"), "file": ("file", "total_cache", "cache"), "shmem": ("shmem", "total_shmem"),
               "kernel": ("kernel",), "slab": ("slab",), "sock": ("sock",), "pagetables": ("pagetables",), "swap": ("total_swap", "swap"),
               "file_dirty": ("file_dirty", "total_dirty", "dirty"), "unevictable": ("total_unevictable", "unevictable")}  # fmt: skip
_KINDS = {"CONSTRAINT_MEMCG": "cgroup_limit", "CONSTRAINT_CPUSET": "cpuset", "CONSTRAINT_MEMORY_POLICY": "mempolicy", "CONSTRAINT_NONE": "node"}


class Record(t.NamedTuple):
    """C(caller): T and a thread id or C and a CPU, where the kernel says so (CONFIG_PRINTK_CALLER), else empty."""

    sequence: int
    time_us: int
    caller: bytes
    text: bytes


if t.TYPE_CHECKING:
    Kind = t.Literal["node", "cgroup_limit", "cpuset", "mempolicy", "unknown"]

    class Victim(t.TypedDict, total=False):
        """Bytes. C(comm) may hold any character, line feeds too."""

        pid: int
        comm: str
        uid: int
        total_vm: int
        anon_rss: int
        file_rss: int
        shmem_rss: int
        pgtables: int
        oom_score_adj: int

    class OomReport(t.TypedDict, total=False):
        """One call of the OOM killer. Bytes, except C(pages). A limit of None is none.

        C(victims): the chosen process first; more only with memory.oom.group, whose cgroup is C(oom_group). Empty with C(no_victim).
        C(order) -1 is sysrq-f. C(kind) is unknown where the line that says it is lost. C(complete): the report was there in full, and not only its last line.
        C(memcg_stat): anon file shmem kernel slab sock pagetables swap file_dirty unevictable of C(oom_memcg), as far as printed.
        """

        time_monotonic_us: int
        kind: Kind
        complete: bool
        invoked_by: str
        invoked_by_pid: int
        gfp: str
        order: int
        oom_score_adj: int
        constraint: str
        nodemask: str
        cpuset: str
        mems_allowed: str
        oom_memcg: str
        task_memcg: str
        oom_group: str
        victims: list[Victim]
        no_victim: bool
        usage: int
        limit: int | None
        failcnt: int
        swap_usage: int
        swap_limit: int | None
        swap_failcnt: int
        memsw_usage: int
        memsw_limit: int | None
        memsw_failcnt: int
        kmem_usage: int
        kmem_limit: int | None
        kmem_failcnt: int
        memcg_stat: dict[str, int]
        swap_total: int
        swap_free: int
        pages: dict[str, int]
        tasks: int

    class OomHistory(t.TypedDict):
        """C(since_us): time of the oldest record that the log still holds; C(lost): older ones were overwritten, so reports may be missing."""

        reports: list[OomReport]
        since_us: int
        lost: bool


def history(log: bytes, *, lost: bool) -> OomHistory:
    """What the kernel log says of this boot's OOM kills, oldest first. C(log) as module_utils/_read/_oom.py reads and cuts it."""
    records = parse_records(log)
    return {
        "reports": parse_reports(records),
        "since_us": records[0].time_us if records else 0,
        "lost": lost or bool(records and records[0].sequence > 0),
    }


def parse_records(data: bytes) -> list[Record]:
    """Lines of /dev/kmsg, C(dmesg --raw), C(dmesg) or C(journalctl -k -o short-monotonic). Records that did not come from the kernel are left out."""
    records: list[Record] = []
    joining = False
    for line in whole_lines(data):
        device = _DEVICE_RECORD.fullmatch(line)
        printed = None if device else _PRINTED.fullmatch(line)
        priority = device.group(1) if device else printed.group(1) if printed else None
        if device or printed:
            # Facility 0 is the kernel: what a program writes to /dev/kmsg carries another, and must not pass for an OOM report.
            joining = priority is None or int(priority) < 8
        if device and joining:
            caller = device.group(4).partition(b"caller=")[2].partition(b",")[0]
            records.append(Record(int(device.group(2)), int(device.group(3)), caller, _ESCAPE.sub(_unescape, device.group(5))))
        elif printed and joining:
            records.append(Record(0, int(printed.group(2)) * 1000000 + int(printed.group(3)), printed.group(4) or b"", printed.group(5)))
        elif not device and not printed and joining and records and not line.startswith((b" SUBSYSTEM=", b" DEVICE=")):
            # dmesg prints a line feed in a record as such, and indents what follows.
            records[-1] = records[-1]._replace(text=records[-1].text + b"\n" + line.lstrip())
    return records


def parse_reports(records: t.Iterable[Record]) -> list[OomReport]:
    """Reports in the order in which they began. Lines of other CPUs between theirs are passed over, by caller where the kernel tells it."""
    reader = _Reader()
    for record in records:
        reader.feed(record)
    return reader.finish()


class _Draft:
    """A report that is being read."""

    def __init__(self, time_us: int) -> None:
        self.report: OomReport = {"time_monotonic_us": time_us, "victims": []}
        self.stat: dict[str, int] = {}
        self.tasks: int | None = None
        self.summed = False  # a line behind stat and tasks came: they are whole
        self.scope: Kind | None = None  # as the line of the kill says it
        self.last_us = time_us
        self.section = ""
        self.fragment = b""

    @property
    def killed(self) -> bool:
        return bool(self.report["victims"]) or "no_victim" in self.report

    def finish(self) -> OomReport:
        report = self.report
        if self.tasks is not None and self.summed:
            report["tasks"] = self.tasks
        for key, names in _MEMCG_STAT.items() if self.summed or self.tasks is not None else ():
            value = next((self.stat[name] for name in names if name in self.stat), None)
            if value is not None:
                report.setdefault("memcg_stat", {})[key] = value
        # Kernels 4.19 to 5.2 print CONSTRAINT_NONE for a cgroup's limit too: the name of the cgroup decides.
        if "oom_memcg" in report or "limit" in report:
            report["kind"] = "cgroup_limit"
        else:
            report["kind"] = t.cast("Kind", _KINDS.get(report.get("constraint", ""), self.scope or "unknown"))
        limit_known = report["kind"] != "cgroup_limit" or ("oom_memcg" in report and "limit" in report)
        report["complete"] = "invoked_by" in report and self.killed and limit_known
        return report


class _Reader:
    def __init__(self) -> None:
        self._drafts: list[_Draft] = []
        self._open: dict[bytes, _Draft] = {}

    def finish(self) -> list[OomReport]:
        return [draft.finish() for draft in self._drafts]

    def feed(self, record: Record) -> None:
        draft = self._open.get(record.caller)
        # Memory that runs out again long after a report whose last line is lost is not that report's end.
        if draft and record.time_us - draft.last_us > _PAUSE_US:
            draft = None
        text = record.text
        if draft and draft.fragment:
            text = self._joined(draft, text)
        match = _INVOKED.fullmatch(text)
        if match:
            _invoked(self._begin(record).report, match)
        elif text.startswith(_KILL_LINES):
            if draft and not text.startswith(b"Task in "):
                draft.summed = True
            self._kill_line(record, text, draft)
        elif draft and not draft.killed:
            _detail(draft, text)
            draft.last_us = record.time_us

    def _begin(self, record: Record) -> _Draft:
        draft = self._open[record.caller] = _Draft(record.time_us)
        self._drafts.append(draft)
        return draft

    @staticmethod
    def _joined(draft: _Draft, text: bytes) -> bytes:
        # pr_cont() starts a new record when another CPU printed meanwhile: its pieces begin where the line broke.
        if text.startswith((b",", b"/", b" killed as", b" are going")):
            text = draft.fragment + text
        if text.startswith(_KILL_LINES):
            draft.fragment = b""
        return text

    def _kill_line(self, record: Record, text: bytes, draft: _Draft | None) -> None:
        fresh = draft if draft and not draft.killed else None
        if text.startswith(b"oom-kill:"):
            target = fresh or self._begin(record)
            if not _oom_kill(target.report, text):
                target.fragment = text
        elif text.startswith(b"Task in "):
            target = fresh or self._begin(record)
            match = _TASK_IN.fullmatch(text)
            if match:
                target.report["task_memcg"], target.report["oom_memcg"] = display(match.group(1)), display(match.group(2))
            else:
                target.fragment = text
        elif text.startswith(b"Tasks in ") and draft:
            match = _TASKS_IN.fullmatch(text)
            if match:
                draft.report["oom_group"] = display(match.group(1))
            else:
                draft.fragment = text
        else:
            self._kill(record, text, draft)

    def _kill(self, record: Record, text: bytes, draft: _Draft | None) -> None:
        match = _KILLED.fullmatch(text)
        mentioned = match or _CHOSEN.match(text) or _NO_VICTIM.match(text)
        if mentioned is None:
            return
        scope = _scope(mentioned.group(1))
        foreign = draft is not None and scope == "node" and "oom_memcg" in draft.report
        if draft is None or foreign or (draft.killed and not (match and _belongs(draft.report, match))):
            draft = self._begin(record)
        draft.scope = scope or draft.scope
        draft.last_us = record.time_us
        if match:
            _add_victim(draft.report, match)
        elif _NO_VICTIM.match(text):
            draft.report["no_victim"] = True


def _scope(words: bytes | None) -> Kind | None:
    if words is None:
        return None
    return "cgroup_limit" if words.startswith(b"Memory cgroup") else "node"


def _belongs(report: OomReport, match: re.Match[bytes]) -> bool:
    # Another kill of the same report: memory.oom.group, or the victim named twice.
    return "oom_group" in report or any(victim["pid"] == int(match.group(2)) for victim in report["victims"])


def _invoked(report: OomReport, match: re.Match[bytes]) -> None:
    report["invoked_by"] = display(match.group(1))
    report["gfp"] = display(match.group(2))
    report["order"] = int(match.group(4))
    report["oom_score_adj"] = int(match.group(5))
    if match.group(3) is not None:
        report["nodemask"] = display(match.group(3))


def _oom_kill(report: OomReport, text: bytes) -> bool:
    """C(oom-kill:…) into the report; False if the line goes on in another record."""
    match = _OOM_KILL.fullmatch(text)
    if match is None:
        return False
    report["constraint"], report["nodemask"], report["cpuset"], report["mems_allowed"] = (display(part) for part in match.group(1, 2, 3, 4))
    rest = match.group(5)
    victim = _VICTIM.search(rest)
    if victim is None:
        _memcgs(report, rest, whole=False)
        return False
    _memcgs(report, rest[: victim.start()], whole=True)
    return True


def _memcgs(report: OomReport, rest: bytes, *, whole: bool) -> None:
    pieces = rest.split(b",task_memcg=")
    if len(pieces) < 2:
        return
    cut = 1
    if rest.startswith(b",oom_memcg="):
        # A cgroup's name may hold ",task_memcg=" too: the victim's path lies below the path of the cgroup that ran out.
        for position in range(1, len(pieces)):
            limited = b",task_memcg=".join(pieces[:position])[len(b",oom_memcg=") :]
            if (b",task_memcg=".join(pieces[position:]) + b"/").startswith(limited.rstrip(b"/") + b"/"):
                cut = position
                break
        report["oom_memcg"] = display(b",task_memcg=".join(pieces[:cut])[len(b",oom_memcg=") :])
    if whole:
        report["task_memcg"] = display(b",task_memcg=".join(pieces[cut:]))


def _add_victim(report: OomReport, match: re.Match[bytes]) -> None:
    victim: Victim = {"pid": int(match.group(2)), "comm": display(match.group(3))}
    for name, value, unit in _FIGURE.findall(match.group(4)):
        if name in _VICTIM_FIGURES and unit:
            victim[_VICTIM_FIGURES[name]] = int(value) * 1024  # type: ignore[literal-required]
        elif name == b"UID":
            victim["uid"] = int(value)
        elif name == b"oom_score_adj":
            victim["oom_score_adj"] = int(value)
    if all(known["pid"] != victim["pid"] for known in report["victims"]):
        report["victims"].append(victim)


def _detail(draft: _Draft, text: bytes) -> None:
    report = draft.report
    usage = _USAGE.fullmatch(text)
    stats = _STATS.fullmatch(text)
    swap = _SWAP.fullmatch(text)
    cpu = _CPU.match(text)
    if usage:
        prefix = _COUNTERS[usage.group(1)]
        limit = int(usage.group(3))
        report[f"{prefix}usage"] = int(usage.group(2)) * 1024  # type: ignore[literal-required]
        report[f"{prefix}limit"] = None if limit > _NO_LIMIT_KB else limit * 1024  # type: ignore[literal-required]
        report[f"{prefix}failcnt"] = int(usage.group(4))  # type: ignore[literal-required]
    elif stats:
        draft.section = "stats"
        for key, value in _COUNT.findall(_uncut(text, stats.group(1), b" ")):
            draft.stat[key.decode()] = draft.stat.get(key.decode(), 0) + int(value) * 1024
        _stat_rows(draft, text, stats.group(2) or b"")
    elif text.startswith(b"active_anon:"):
        draft.section = "pages"
        _page_counts(draft, text)
    elif swap:
        report["swap_free" if swap.group(1) == b"Free" else "swap_total"] = int(swap.group(2)) * 1024
    elif cpu and "invoked_by" in report:
        report.setdefault("invoked_by_pid", int(cpu.group(1)))
    elif text.startswith(b"Tasks state"):
        draft.section = "tasks"
        draft.tasks = draft.tasks or 0
    elif draft.section == "tasks" or text.startswith(b"[ "):
        draft.section = "tasks"
        draft.tasks = (draft.tasks or 0) + (1 if _TASK.fullmatch(text) else 0)
    elif draft.section == "stats":
        _stat_rows(draft, text, text)
    elif draft.section == "pages":
        _page_counts(draft, text)


def _uncut(record: bytes, part: bytes, separator: bytes) -> bytes:
    return part.rpartition(separator)[0] if len(record) >= _CUT else part


def _stat_rows(draft: _Draft, record: bytes, rows: bytes) -> None:
    for row in _uncut(record, rows, b"\n").split(b"\n"):
        match = _STAT_ROW.fullmatch(row)
        if match:
            draft.stat.setdefault(match.group(1).decode(), int(match.group(2)))


def _page_counts(draft: _Draft, text: bytes) -> None:
    words = text.split()
    matches = [_COUNT.fullmatch(word) for word in words]
    if not words or None in matches:
        draft.section = ""
        return
    pages = draft.report.setdefault("pages", {})
    for match in matches:
        if match:
            pages.setdefault(match.group(1).decode(), int(match.group(2)))


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes((int(match.group(1), 16),))
