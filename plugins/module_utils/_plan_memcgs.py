# SPDX-License-Identifier: BSD-2-Clause

"""The containers' part of a plan: values of memory QoS, held against what their cgroups have. Pure. docs/architecture.md 3.26."""

from __future__ import annotations

import typing as t

from . import _memcg_rules, _shares
from ._steps import Memcg, MemcgsStep
from ._tuples import NamedTuple

Json = t.Dict[str, t.Any]
_size = _shares.format_size
# The kernel holds those who are above it up: never so far below what cannot simply be dropped (_guards has the same bound).
_LEAST_OF_WORKING_SET = 90


class Found(NamedTuple):
    """A cgroup as it is. C(files): those that were asked for, and that it has. C(usage), C(inactive_file): bytes, where memory.high is wanted."""

    inode: int
    files: t.Mapping[str, str]
    usage: int = 0
    inactive_file: int = 0


class Subject(NamedTuple):
    """Whose cgroup: C(qos_class) of the model; C(unit): systemd's, empty where it is nobody's."""

    name: str
    level: str
    qos_class: str = ""
    unit: str = ""
    request: t.Optional[int] = None
    limit: t.Optional[int] = None


class Value(NamedTuple):
    """C(origin): who says so. C(equivalence): native or near, with why."""

    text: str
    origin: str
    equivalence: str = "native"
    reason: str = ""


class MemcgPart(NamedTuple):
    """C(rows): one a cgroup, docs/reports.md. C(blocked): why nothing may be written."""

    step: t.Optional[MemcgsStep] = None
    rows: t.Tuple[Json, ...] = ()
    blocked: str = ""
    notes: t.Tuple[str, ...] = ()


NONE = MemcgPart()
# What each cgroup (path) shall have in each file.
Wanted = t.Mapping[str, t.Mapping[str, Value]]


class Ground(NamedTuple):
    """C(found): {path: cgroup}; C(subjects): {path: whose}; C(rivals): {file: who else writes it}; C(origin): what stands because of us, of this boot."""

    found: t.Mapping[str, Found]
    subjects: t.Mapping[str, Subject]
    rivals: t.Mapping[str, str]
    page_size: int
    origin: t.Sequence[Memcg] = ()

    def subject(self, path: str, origin: t.Mapping[str, Memcg] = {}) -> Subject:
        """Of one that no workload has any more, what the journal knows."""
        known = self.subjects.get(path)
        return known or Subject(path.rpartition("/")[2], "", unit=origin[path].unit if path in origin else "")


def plan_memcgs(wanted: Wanted, none: t.Mapping[str, t.Sequence[Json]], ground: Ground, *, refuse: bool) -> MemcgPart:
    """C(none): {path: [{intent, reason}]} of what cannot be had. C(refuse): another writer stops all."""
    rows: t.List[Json] = []
    memcgs: t.List[Memcg] = []
    origin = {memcg.path: memcg for memcg in ground.origin}
    for path in [*wanted, *(path for path in origin if path not in wanted)]:
        if path in ground.found:
            row, changes = _planned(path, wanted, _returning(origin.get(path), wanted.get(path, {}), ground.found[path]), ground)
            rows.append({**row, "none": list(none.get(path, ()))})
            memcgs += [Memcg(path, ground.found[path].inode, tuple(changes), ground.subject(path, origin).unit)] if changes else []
    gone = tuple(path for path in origin if path not in ground.found or ground.found[path].inode != origin[path].inode)
    blocked = _conflicts(rows) if refuse else ""
    return MemcgPart(MemcgsStep(tuple(memcgs), gone) if memcgs and not blocked else None, tuple(rows), blocked)


def returned(steps: t.Iterable[t.Any]) -> t.List[Json]:
    """Rows of a rollback."""
    rows = []
    for memcg in (memcg for step in steps if isinstance(step, MemcgsStep) for memcg in step.memcgs):
        subject = Subject(memcg.path.rpartition("/")[2], "")
        cells = {file: _returned(now, before, "would_change", "") for file, now, before in memcg.values if now != before}
        rows.append({**_row(memcg.path, subject), "values": cells, "none": []})
    return [row for row in rows if row["values"]]


def _row(path: str, subject: Subject) -> Json:
    return {"path": path, "name": subject.name, "level": subject.level, "class": subject.qos_class, "request": subject.request, "limit": subject.limit}


def _returning(memcg: t.Optional[Memcg], values: t.Container[str], one: Found) -> t.Dict[str, t.Tuple[str, str]]:
    """{file: (before us, ours)} of what nobody wants any more."""
    if memcg is None or memcg.inode != one.inode:
        return {}
    return {file: (before, after) for file, before, after in memcg.values if file not in values}


def _planned(path: str, wanted: Wanted, returning: t.Mapping[str, t.Tuple[str, str]], ground: Ground) -> t.Tuple[Json, t.List[t.Tuple[str, str, str]]]:
    """(the row, values that change)"""
    subject, one = ground.subject(path), ground.found[path]
    cells: t.Dict[str, Json] = {}
    for file, value in wanted.get(path, {}).items():
        expected = _memcg_rules.effective(path, _giving(file, wanted, ground)) if _memcg_rules.is_loose(file) else None
        cells[file] = _cell(file, value, one, ground, expected or value.text)
    for file, (before, after) in returning.items():
        cells.update(_back(file, before, after, one, ground.page_size))
    changes = [(file, cell["before"], cell["wanted"]) for file, cell in cells.items() if cell["status"] == "would_change"]
    return {**_row(path, subject), "values": cells}, changes


def _cell(file: str, value: Value, one: Found, ground: Ground, expected: str) -> Json:
    """C(expected): what it reads when this is written."""
    now = one.files.get(file)
    cell: Json = {"before": now, "wanted": value.text, "origin": value.origin, "equivalence": value.equivalence, "reason": value.reason, "status": "ok"}
    if now is None and _memcg_rules.is_off(file, value.text):
        return {**cell, "reason": "off, as all is where this kernel does not have it"}
    if now is None:
        return {**cell, "status": "unsupported", "equivalence": "none", "reason": f"this kernel has no {file}"}
    if _memcg_rules.same(file, now, expected, ground.page_size):
        return cell
    if file in ground.rivals:
        why = f"{ground.rivals[file]} writes it too, and nothing was written: one of both has to leave it"
        return {**cell, "status": "conflict", "reason": "; ".join(filter(None, (value.reason, why)))}
    why = _stalls(value.text, now, one) if file == "memory.high" else ""
    return {**cell, "status": "deferred" if why else "would_change", "reason": "; ".join(filter(None, (value.reason, why)))}


def _back(file: str, before: str, after: str, one: Found, page_size: int) -> t.Dict[str, Json]:
    now = one.files.get(file)
    if now is None or _memcg_rules.same(file, now, before, page_size):
        return {}
    if _memcg_rules.same(file, now, after, page_size) or _memcg_rules.is_loose(file):
        return {file: _returned(now, before, "would_change", "nobody wants it any more: back to what stood before")}
    return {file: _returned(now, None, "deferred", "nobody wants it any more, and others have changed it since: it stays")}


def _returned(now: str, target: t.Optional[str], status: str, reason: str) -> Json:
    return {"before": now, "wanted": target, "origin": "", "equivalence": "native", "reason": reason, "status": status}


def _giving(file: str, wanted: Wanted, ground: Ground) -> t.Callable[[str], t.Optional[str]]:
    """What a cgroup has when all is done, None outside what was read."""

    def given(path: str) -> t.Optional[str]:
        if file in wanted.get(path, {}):
            return wanted[path][file].text
        return ground.found[path].files.get(file) if path in ground.found else None

    return given


def _stalls(text: str, now: str, one: Found) -> str:
    """Why memory.high is left for a later run; empty if it can be set."""
    needed = max(0, one.usage - one.inactive_file)
    if not text.isdigit() or (now.isdigit() and int(now) <= int(text)) or int(text) * 100 >= needed * _LEAST_OF_WORKING_SET:
        return ""
    used = f"{_size(one.usage)}, of which {_size(one.inactive_file)} are idle page cache"
    return f"{_size(int(text))} is below 90 % of what it has in use ({used}): it would stall"


def _conflicts(rows: t.Iterable[Json]) -> str:
    found = {f"{file}: {cell['reason']}" for row in rows for file, cell in row["values"].items() if cell["status"] == "conflict"}
    return "\n".join(sorted(found))
