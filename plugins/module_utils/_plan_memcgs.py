# SPDX-License-Identifier: BSD-2-Clause

"""The containers' part of a plan: values of memory QoS, held against what their cgroups have. Pure. docs/architecture.md 3.26."""

from __future__ import annotations

import typing as t

from . import _guards, _memcg_rules, _shares
from ._knobs import _registry
from ._memcg_rows import Cell, Row, Rows, Subject
from ._steps import Memcg, MemcgsStep, is_same_memcg
from ._tuples import NamedTuple


class Found(NamedTuple):
    """A cgroup as it is. C(files): those that were asked for, and that it has. C(usage), C(inactive_file): bytes, where memory.high is wanted."""

    inode: int
    files: t.Mapping[str, str]
    usage: int = 0
    inactive_file: int = 0


class Value(NamedTuple):
    """C(origin): who says so. C(equivalence): native or near, with why."""

    text: str
    origin: str
    equivalence: str = "native"
    reason: str = ""


class MemcgPart(NamedTuple):
    """C(blocked): why nothing may be written."""

    step: t.Optional[MemcgsStep] = None
    rows: Rows = Rows()
    blocked: str = ""
    notes: t.Tuple[str, ...] = ()


NONE = MemcgPart()
INHERITED = "cgroups that were made below it meanwhile keep it, as they began with it"
# (cell, what stands, what is wanted)
Judged = t.Tuple[Cell, t.Optional[str], t.Optional[str]]
# What each cgroup (path) shall have in each file.
Wanted = t.Mapping[str, t.Mapping[str, Value]]


class Ground(NamedTuple):
    """C(found): {path: cgroup}; C(subjects): {path: whose}; C(rivals): {file: who else writes it} below C(roots), paths that have pods.

    C(origin): what stands because of us, of this boot. C(taken): {path of a file: what the slices of profiles set it to}. C(off): {file: why it does nothing}.
    """

    found: t.Mapping[str, Found]
    subjects: t.Mapping[str, Subject]
    rivals: t.Mapping[str, str]
    page_size: int
    origin: t.Sequence[Memcg] = ()
    taken: t.Mapping[str, t.Any] = {}
    roots: t.Sequence[str] = ()
    off: t.Mapping[str, str] = {}

    def rival(self, path: str, file: str) -> str:
        """Who else writes it."""
        who = self.rivals.get(file, "")
        return who if who and any(f"{path}/".startswith(f"{root}/") for root in self.roots) else ""

    def subject(self, path: str, origin: t.Mapping[str, Memcg]) -> Subject:
        """Of one that no workload has any more, what the journal knows."""
        known = self.subjects.get(path)
        return known or Subject(below_mount(path), "", unit=origin[path].unit if path in origin else "")


def below_mount(path: str) -> str:
    """What a cgroup is called that nobody tells more of: its path in the hierarchy, as two pods can have containers of one name."""
    for mount in ("/sys/fs/cgroup/memory/", "/sys/fs/cgroup/unified/", "/sys/fs/cgroup/"):
        if path.startswith(mount):
            return path[len(mount) :]
    return path


def plan_memcgs(wanted: Wanted, none: t.Mapping[str, t.Sequence[t.Tuple[str, str]]], ground: Ground, *, refuse: bool) -> MemcgPart:
    """C(none): {path: (intent, reason)} of what cannot be had. C(refuse): another writer stops all."""
    rows: t.List[Row] = []
    memcgs: t.List[Memcg] = []
    origin = {memcg.path: memcg for memcg in ground.origin}
    live = _memcg_rules.Reading(_live(ground), ground.page_size)
    then = _memcg_rules.Reading(_giving(wanted, ground, live), ground.page_size)
    for path in [*wanted, *(path for path in origin if path not in wanted)]:
        if path in ground.found:
            subject, one = ground.subject(path, origin), ground.found[path]
            judged = [_judged(path, file, value, ground, then) for file, value in wanted.get(path, {}).items()]
            judged += _returning(origin.get(path), wanted.get(path, {}), one, ground, live)
            cells, befores, wanteds = zip(*judged) if judged else ((), (), ())
            rows.append(Row(path, subject, cells, befores, wanteds, tuple(none.get(path, ()))))
            changes = tuple(
                [
                    # What goes back the kernel clamps by itself, and the journal forgets it.
                    (cell[0], now, then.written(path, cell[0], t.cast("str", text)) if cell[0] in wanted.get(path, {}) else text)
                    for cell, now, text in judged
                    if cell[4] == "would_change"
                ]
            )
            if changes:
                memcgs.append(Memcg(path, one.inode, t.cast("t.Any", changes), subject.unit, unmakes=_unmade(origin.get(path), one, changes)))
    gone = tuple(path for path, memcg in origin.items() if not is_same_memcg(memcg, ground.found[path].inode if path in ground.found else 0))
    blocked = _conflicts(rows) if refuse else ""
    return MemcgPart(MemcgsStep(tuple(memcgs), gone) if memcgs and not blocked else None, Rows(rows), blocked)


def _unmade(memcg: t.Optional[Memcg], one: Found, changes: t.Iterable[t.Tuple[t.Any, ...]]) -> t.Tuple[str, ...]:
    """What goes back to where it was before us, and whose run-time drop-in we made."""
    if memcg is None or not is_same_memcg(memcg, one.inode):
        return ()
    befores = {file: before for file, before, unused in memcg.values}
    return tuple(file for file, unused, text in changes if file in memcg.makes and befores.get(file) == text)


def returned(steps: t.Iterable[t.Any]) -> Rows:
    """Of a rollback."""
    rows = []
    for memcg in (memcg for step in steps if isinstance(step, MemcgsStep) for memcg in step.memcgs):
        changes = [(file, now, before) for file, now, before in memcg.values if now != before]
        if changes:
            files, nows, befores = zip(*changes)
            cells = tuple((file, "", "native", _kept_below(file), "would_change") for file in files)
            rows.append(Row(memcg.path, Subject(below_mount(memcg.path), ""), cells, nows, befores))
    return Rows(rows)


def _returning(memcg: t.Optional[Memcg], values: t.Container[str], one: Found, ground: Ground, live: _memcg_rules.Reading) -> t.List[Judged]:
    """What nobody wants any more, slices of profiles included."""
    if memcg is None or not is_same_memcg(memcg, one.inode):
        return []
    leaving = [value for value in memcg.values if value[0] not in values and f"{memcg.path}/{value[0]}" not in ground.taken]
    return [judged for value in leaving for judged in _back(memcg.path, *value, one, ground.page_size, live)]


def _judged(path: str, file: str, value: Value, ground: Ground, then: _memcg_rules.Reading) -> Judged:
    now, one = ground.found[path].files.get(file), ground.found[path]
    expected = value.text
    if now is not None and (file in _memcg_rules.DEPENDENT or file in ground.off) and not ground.rival(path, file):
        expected = then.text(path, file, value.text)
        value = value._replace(reason="; ".join(filter(None, (value.reason, *_limited(path, file, value.text, expected, now, ground, then)))))
    if now in (expected, value.text):
        return (file, value.origin, value.equivalence, value.reason, "ok"), now, value.text
    if now is not None and f"{path}/{file}" in ground.taken and not _memcg_rules.same(file, now, expected, ground.page_size):
        return (file, value.origin, value.equivalence, "left to the slices of a profile, which set it", "deferred"), now, value.text
    return _cell(path, file, value, now, one, ground, expected), now, value.text


def _limited(path: str, file: str, text: str, expected: str, now: str, ground: Ground, then: _memcg_rules.Reading) -> t.Iterator[str]:
    """Why less of it counts, or nothing. C(now): what it reads before it is written."""
    if file in ground.off and not _memcg_rules.is_off(file, text):
        yield ground.off[file]
    if _memcg_rules.is_loose(file):
        if (file in _memcg_rules.FROM_ABOVE or now != text) and not _memcg_rules.same(file, expected, text, ground.page_size):
            yield f"it reads {expected}: {'a cgroup above has that' if file in _memcg_rules.FROM_ABOVE else 'no more than the limit'}"
    elif file in _memcg_rules.FROM_ABOVE:
        place, least = then.bound(path, file, text)
        if place:
            counts, has = (f"no more than {_shares.format_size(int(least))}", "no more") if int(least) else ("nothing", "none")
            yield f"{counts} of it counts: {below_mount(place)} has {has}"


def _cell(path: str, file: str, value: Value, now: t.Optional[str], one: Found, ground: Ground, expected: str) -> Cell:
    """C(expected): what it reads when this is written."""
    if now is None and _memcg_rules.is_off(file, value.text):
        return file, value.origin, value.equivalence, "off, as all is where this kernel does not have it", "ok"
    if now is None:
        return file, value.origin, "none", f"this kernel has no {file}", "unsupported"
    status, why, rival = "would_change", "", ground.rival(path, file)
    if _memcg_rules.same(file, now, expected, ground.page_size):
        status = "ok"
    elif rival:
        status, why = "conflict", f"{rival} writes it too, and nothing was written: one of both has to leave it"
    elif file == "memory.high":
        why = _stalls(value.text, now, one)
        status = "deferred" if why else status
    return file, value.origin, value.equivalence, "; ".join(filter(None, (value.reason, why))), status


def _back(path: str, file: str, before: str, after: str, one: Found, page_size: int, live: _memcg_rules.Reading) -> t.Iterator[Judged]:
    now = one.files.get(file)
    if now is None or _memcg_rules.same(file, now, before, page_size):
        return
    why = _stalls(before, now, one) if file == "memory.high" else ""
    is_ours = _memcg_rules.is_ours(file, path, now, (after,), live, page_size)
    if is_ours and why:
        yield (file, "", "native", f"nobody wants it any more; {why}", "deferred"), now, None
    elif is_ours:
        kept = _kept_below(file)
        yield (file, "", "native", f"nobody wants it any more: back to what stood before{'; ' if kept else ''}{kept}", "would_change"), now, before
    else:
        yield (file, "", "native", "nobody wants it any more, and others have changed it since: it stays", "deferred"), now, None


def _kept_below(file: str) -> str:
    return INHERITED if _registry.find(file).inherited else ""


def _live(ground: Ground) -> _memcg_rules.Given:
    """What a cgroup has now, None outside what was read."""
    return lambda path, file: ground.found[path].files.get(file) if path in ground.found else None


def _giving(wanted: Wanted, ground: Ground, reading: _memcg_rules.Reading) -> _memcg_rules.Given:
    """The same when all is done, with what goes back."""
    live = _live(ground)
    returning = {
        (memcg.path, file): (before, after)
        for memcg in ground.origin
        if memcg.path in ground.found and is_same_memcg(memcg, ground.found[memcg.path].inode)
        for file, before, after in memcg.values
        if file in _memcg_rules.DEPENDENT and file not in wanted.get(memcg.path, ())
    }

    def given(path: str, file: str) -> t.Optional[str]:
        key = f"{path}/{file}"
        if key in ground.taken:
            return "max" if ground.taken[key] is None else str(ground.taken[key])
        if file in wanted.get(path, {}) and not ground.rival(path, file):
            return wanted[path][file].text
        now = live(path, file)
        if now is not None and (path, file) in returning:
            before, after = returning[path, file]
            return before if _memcg_rules.is_ours(file, path, now, (after,), reading, ground.page_size) else now
        return now

    return given


def _stalls(text: str, now: str, one: Found) -> str:
    """Why memory.high is left for a later run; empty if it can be set."""
    is_lower = text.isdigit() and not (now.isdigit() and int(now) <= int(text))
    return _guards.stands_still(int(text), one.usage, one.inactive_file) if is_lower else ""


def _conflicts(rows: t.Iterable[Row]) -> str:
    found = {f"{file}: {reason}" for row in rows for file, unused, unused_too, reason, status in row.cells if status == "conflict"}
    return "\n".join(sorted(found))
