# Copyright (c) 2026, memqos.fleet contributors. Private to the collection.
# SPDX-License-Identifier: BSD-2-Clause

"""One tune, one rollback: lock, recover, read, plan, run, tell. What an action plugin asks for is a request, what it gets one JSON string."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _guards, _journal, _plan, _plan_host, _present, _steps, _transaction, _wanted
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._plan_rows import History, Left, Options, Plan, Row, is_same
from ansible_collections.memqos.fleet.plugins.module_utils._read import _unit_state
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.plugins.module_utils._steps import FileStep, PropertyStep, ReloadStep, Step, WriteStep
from ansible_collections.memqos.fleet.plugins.module_utils._transaction import Outcome

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.module_utils._present import Present
    from ansible_collections.memqos.fleet.plugins.module_utils._wanted import Folded, Key
    from ansible_collections.memqos.fleet.plugins.module_utils._writer import Writer

    Json = t.Dict[str, t.Any]

SCHEMA_VERSION = 1
_PROGRAMS = ("/usr/bin/systemd-tmpfiles", "/bin/systemd-tmpfiles")
# What the guards need besides what is wanted.
_OVERCOMMIT = ("vm.overcommit_ratio", "vm.overcommit_kbytes")


class TuneError(Exception):
    """The node cannot be tuned at all; the message says what to do."""


class Origin(t.NamedTuple):
    """C(steps): the journal's, from before our first change to what we made of it; C(parts): what each says of single knobs, {key: (before, ours)}."""

    steps: t.Tuple[Step, ...]
    parts: t.Dict[Key, t.Tuple[str, str]]


class Work:
    """One node that is tuned or rolled back: a live one, or (to check only) a captured tree."""

    def __init__(self, tree: Tree, writer: Writer, *, check: bool) -> None:
        self.tree = tree
        self.writer = writer
        self.check = check
        self.journal = _journal.Journal(writer)
        self.notes: t.List[str] = []

    @contextlib.contextmanager
    def locked(self, wait: float) -> t.Iterator[None]:
        """With what an interrupted run left put in order. A check changes nothing, so it needs no lock."""
        if os.geteuid() and self.tree.live:
            raise TuneError("needs root: set ansible_become to true for this host")
        if self.check:
            if self.journal.pending() is not None:
                self.notes.append("an interrupted run left a transaction half done: a run without --check undoes it first")
            yield
            return
        if not self.tree.live:
            raise TuneError("a captured tree can only be checked: run with --check")
        with self.journal.locked(wait=wait):
            self._recover()
            yield

    def _recover(self) -> None:
        outcome = _transaction.recover(self.journal, boot_id=self._boot_id(), page_size=self._page_size())
        if outcome is not None and not outcome.ok:
            raise TuneError(outcome.problem)
        if outcome is not None:
            self.notes.append(outcome.problem)

    def _boot_id(self) -> str:
        return self.tree.read_text("/proc/sys/kernel/random/boot_id")

    def _page_size(self) -> int:
        return os.sysconf("SC_PAGE_SIZE")

    def run(self, steps: t.Sequence[Step], present: Present, meta: t.Mapping[str, t.Any]) -> Outcome:
        return _transaction.run(steps, self.journal, boot_id=present.facts.get("boot_id", ""), page_size=present.page_size, meta=meta)

    def turned(self, steps: t.Sequence[Step], present: Present) -> _transaction.Rollback:
        return _transaction.back(steps, self.writer, boot_id=present.facts.get("boot_id", ""), page_size=present.page_size)


def tune(request: Json, work: Work) -> Json:
    """Raises TuneError, JournalError and Unreadable; then nothing was written. A plan that failed is undone, and C(problem) says so."""
    options = Options(**{**request["options"], "only": tuple(request["options"]["only"]), "allow": tuple(request["options"]["allow"])})
    with work.locked(request["wait"]):
        wanted_before = _last_wanted(work.journal)
        origin = _origin(work.journal.origin())
        present = _read(request["layers"], wanted_before, origin, work.tree)
        folded = _fold(request["layers"], present, origin)
        history = _history(folded, wanted_before, origin, present, options, work)
        made = _plan.plan(folded, present, history, options, _files(folded, history, present, options, work))
        outcome = Outcome(True, True, 0, ())
        if made.steps and not work.check:
            outcome = work.run(made.steps, present, {**request["meta"], "wanted": sorted(made.wanted)})
        after = _reread(present, work.tree) if outcome.generation else present
        return _told(made, outcome, present, after, work)


def rollback(request: Json, work: Work) -> Json:
    """To what stood after generation C(to), before the last one (C(previous)) or before our first (C(origin)). Raises as C(tune) does."""
    with work.locked(request["wait"]):
        target, standing = _target(request["to"], work.journal)
        boot_id, page_size = work.tree.read_text("/proc/sys/kernel/random/boot_id"), os.sysconf("SC_PAGE_SIZE")
        turned = _transaction.undo(work.journal, to=target, boot_id=boot_id, page_size=page_size, force=request["force"])
        keys = _key_parts(turned.steps)
        present = _present.read(
            work.tree,
            knobs=[key[2] for key in keys if not key[1]] + list(_OVERCOMMIT),
            subjects=sorted({key[1] for key in keys if key[1]}),
            properties={key[2] for key in keys if key[1]},
        )
        made = _rollback_plan(turned, present, request["allow"], target)
        outcome = Outcome(True, True, 0, ())
        if made.steps and not work.check:
            outcome = work.run(made.steps, present, {**request["meta"], "wanted": standing, "stands": target})
        after = _reread(present, work.tree) if outcome.generation else present
        return _told(made, outcome, present, after, work)


# Reading


def _last_wanted(journal: _journal.Journal) -> t.FrozenSet[Key]:
    known = journal.generations()
    rows = journal.generation(known[-1]).meta.get("wanted", []) if known else []
    return frozenset(t.cast("Key", tuple(row)) for row in rows)


def _origin(steps: t.Tuple[Step, ...]) -> Origin:
    return Origin(steps, _key_parts(steps))


def _key_parts(steps: t.Iterable[Step]) -> t.Dict[Key, t.Tuple[str, str]]:
    parts: t.Dict[Key, t.Tuple[str, str]] = {}
    for step in steps:
        if isinstance(step, WriteStep):
            parts[step.scope, step.subject, step.knob] = (step.before, step.after)
        elif isinstance(step, PropertyStep):
            before = dict(step.before)
            parts.update({("unit", step.unit, name): (before.get(name, ""), value) for name, value in step.properties})
    return parts


def _read(layers: t.Sequence[Json], wanted_before: t.Iterable[Key], origin: Origin, tree: Tree) -> Present:
    keys = {*wanted_before, *origin.parts}
    knobs = {name for layer in layers for name in layer["host"]} | {name for layer in layers for name in _asked(layer.get("when"))}
    knobs |= {key[2] for key in keys if not key[1]}
    subjects = {unit for layer in layers for unit in layer["slices"]} | {key[1] for key in keys if key[1]}
    properties = {name for layer in layers for unit in layer["slices"].values() for name in unit} | {key[2] for key in keys if key[1]}
    return _present.read(tree, knobs=knobs | _plan_host.companions(knobs) | set(_OVERCOMMIT), subjects=sorted(subjects), properties=properties)


def _asked(condition: t.Any) -> t.Iterator[str]:
    """Knobs that a compiled condition names."""
    if isinstance(condition, list) and condition:
        if condition[0] in ("name", "has") and condition[1] == "knob":
            yield condition[2]
        for part in condition[1:]:
            yield from _asked(part)


def _reread(present: Present, tree: Tree) -> Present:
    """The values once more; what decides at boot is the plan's to say."""
    return _present.read(
        tree, knobs=[*present.host, *present.troubles], subjects=list(present.units), properties=_properties(present), persisted=present.persisted
    )


def _properties(present: Present) -> t.Set[str]:
    return {name for units in present.units.values() for unit in units for name in (*unit.state.shown, *unit.files)}


def _fold(layers: t.Sequence[Json], present: Present, origin: Origin) -> Folded:
    host, units = _present.values(present)
    base = {name: _before_us(("host", "", name), value, origin, present.page_size) for name, value in host.items()}
    base_units = {
        subject: {name: _before_us(("unit", subject, name), value, origin, present.page_size) for name, value in values.items()}
        for subject, values in units.items()
    }
    env = {"facts": present.facts, "knob": host}
    return _wanted.fold(layers, _wanted.Basis(env, present.meminfo["MemTotal"], present.page_size, str(present.facts.get("kernel", "")), base, base_units))


def _before_us(key: Key, live: t.Any, origin: Origin, page_size: int) -> t.Any:
    """What a bound moves: the value from before our first change, unless somebody has moved it since."""
    if key not in origin.parts:
        return live
    knob = _registry.find(key[2])
    before, ours = (_registry.normalize(knob, text) if text else live for text in origin.parts[key])
    return before if live == ours or is_same(knob, str(live), str(ours), page_size) else live


def _history(folded: Folded, wanted_before: t.FrozenSet[Key], origin: Origin, present: Present, options: Options, work: Work) -> History:
    leaving = _plan.leaving(folded, wanted_before, options)
    steps = _steps_of(leaving, folded, origin)
    turned = work.turned(steps, present)
    keys = {_steps.name(step): key for step in origin.steps if isinstance(step, WriteStep) for key in [(step.scope, step.subject, step.knob)]}
    left = tuple(Left(keys.get(one.name, ("unit", one.name, "")), one.found, one.reason) for one in turned.left)
    returning = tuple(step for step in turned.steps if not isinstance(step, ReloadStep))
    return History(wanted_before, returning, left, _found(folded, present, work.journal))


def _steps_of(leaving: t.Sequence[Key], folded: Folded, origin: Origin) -> t.List[Step]:
    """Of the journal's steps, what belongs to these knobs; and what their writes moved besides."""
    gone = set(leaving)
    for scope, unused, name in leaving:
        if scope != "unit":
            gone |= {("host", "", partner) for partner in _registry.find(name).partners if ("host", "", partner) not in folded.wanted}
    rivals = {("host", "", name) for key in folded.wanted if not key[1] for name in _wanted.rivals(_registry.find(key[2]))}
    found: t.List[Step] = []
    for step in origin.steps:
        if isinstance(step, WriteStep) and (step.scope, step.subject, step.knob) in gone - rivals:
            found.append(step)
        elif isinstance(step, PropertyStep):
            names = [name for name, unused in step.properties if _is_leaving(step.unit, name, gone, folded)]
            if names:
                found.append(_only(step, names))
    return found


def _is_leaving(unit: str, name: str, gone: t.Container[Key], folded: Folded) -> bool:
    """Itself, or what a template or prefix had for it."""
    subjects = [subject for scope, subject, knob in t.cast("t.Iterable[Key]", gone) if knob == name and scope == "unit"]
    wanted = [subject for scope, subject, knob in folded.wanted if knob == name and scope == "unit"]
    return any(_unit_state.covers(subject, unit) for subject in subjects) and not any(_unit_state.covers(subject, unit) for subject in wanted)


def _only(step: PropertyStep, names: t.Container[str]) -> PropertyStep:
    files = [file for file in step.files if _registry.find(file.knob).unit_property in names]
    drop_ins = [drop_in for drop_in in step.drop_ins if re.sub(r"^.*/50-|\.conf$", "", drop_in.path) in names]
    pairs, before = ([pair for pair in pairs if pair[0] in names] for pairs in (step.properties, step.before))
    return step._replace(properties=tuple(pairs), before=tuple(before), files=tuple(files), drop_ins=tuple(drop_ins))


def _found(folded: Folded, present: Present, journal: _journal.Journal) -> t.Dict[t.Tuple[str, str], str]:
    """What the kernel made of our last writes of knobs that it rounds as it likes; read only where one differs."""
    loose = {knob.path for key in folded.wanted if not key[1] for knob in [_registry.find(key[2])] if knob.comparison == "effective_value"}
    differing = [path for path in loose if path]
    found: t.Dict[t.Tuple[str, str], str] = {}
    for number in journal.generations() if differing else ():
        entry = journal.generation(number)
        for step, result in zip(entry.steps, entry.results):
            if isinstance(step, WriteStep) and step.path in loose and entry.boot_id == present.facts.get("boot_id"):
                found[step.path, step.after] = result["found"]
    return found


def _files(folded: Folded, history: History, present: Present, options: Options, work: Work) -> _plan.Files:
    subjects = {key[1] for key in (*folded.wanted, *history.wanted) if key[1]}
    ours = {path: _text(path, work.writer) for path in _plan.our_paths(sorted(subjects), options.sysctl_file)}
    foreign = {}
    for path in _plan.set_aside(folded, present, options) if options.on_conflict == "take" else ():
        real = present.persisted.real_paths.get(path, path)
        foreign[path] = (real, work.tree.read(real).decode("utf-8", "surrogateescape"))
    program = next((path for path in _PROGRAMS if work.tree.exists(path)), _PROGRAMS[0])
    return _plan.Files(ours, foreign, program)


def _text(path: str, writer: Writer) -> t.Optional[str]:
    file = writer.read(path)
    return None if file is None else file.text


# Rolling back


def _target(to: str, journal: _journal.Journal) -> t.Tuple[t.Union[int, str], t.List[t.Any]]:
    """(generation or origin, what was wanted then)"""
    known = journal.generations()
    if not known:
        raise TuneError("there is nothing to roll back: memqos.fleet has never changed this node")
    if to == "origin":
        return "origin", []
    if to == "previous":
        stands = journal.generation(known[-1]).meta.get("stands", known[-1])
        earlier = [number for number in known if stands != "origin" and number < int(stands) and "stands" not in journal.generation(number).meta]
        target: t.Union[int, str] = earlier[-1] if earlier else "origin"
    else:
        target = int(to)
    return target, [] if target in ("origin", 0) else journal.generation(int(target)).meta.get("wanted", [])


def _rollback_plan(turned: _transaction.Rollback, present: Present, allow: t.Container[str], target: t.Union[int, str]) -> Plan:
    live = {name: held.value for name, held in present.host.items()}
    dangers = _guards.dangers(turned.steps, _guards.Figures(present.meminfo, live, present.cgroups, present.mount))
    rows = []
    for step in turned.steps:
        for name, subject, before, after, file in _changes(step):
            row = Row(name, "unit" if isinstance(step, PropertyStep) else step.scope, subject, after, before, before, status="would_change")  # type: ignore[union-attr]
            danger = dangers.get((file, subject))
            if danger and danger.risk not in allow:
                row = row.because(f"{danger.reason}. To do it all the same: memqos_allow_risks: [{danger.risk}]", "refused")
            rows.append(row)
    for one in turned.left:
        reason = f"{one.reason}: it stays as it is; memqos_rollback_force: true takes it back to {one.target} all the same"
        rows.append(Row(one.name, "", "", one.target, one.found, one.found, status="deferred").because(reason))
    blocked = "\n".join(f"{row.subject} {row.name}: {row.reason}".strip() for row in rows if row.status == "refused")
    files = tuple(step for step in turned.steps if isinstance(step, FileStep))
    return Plan(() if blocked else turned.steps, tuple(rows), files, (), frozenset(), blocked)


def _changes(step: Step) -> t.Iterator[t.Tuple[str, str, str, str, str]]:
    """(name, subject, before, after, kernel file's knob) of what a step changes, without what it leaves."""
    if isinstance(step, WriteStep) and step.before != step.after:
        yield step.knob, step.subject, step.before, step.after, step.knob
    elif isinstance(step, PropertyStep):
        before = dict(step.before)
        owners = {_registry.find(file.knob).unit_property: file.knob for file in step.files}
        for name, value in step.properties:
            yield name, step.unit, before.get(name, ""), value or "", owners.get(name, name)


# Telling


def _told(made: Plan, outcome: Outcome, present: Present, after: Present, work: Work) -> Json:
    rows = [_final(row, outcome, present, after) if outcome.results else row for row in made.rows]
    problem = made.blocked or ("" if outcome.ok else outcome.problem)
    if made.blocked:
        problem = f"nothing was written:\n{made.blocked}"
    return {
        "schema_version": SCHEMA_VERSION,
        "changed": bool(made.steps) and (work.check or bool(outcome.generation)),
        "check": work.check,
        "generation": outcome.generation,
        "results": [{**row._asdict(), "winner": row.winner._asdict() if row.winner else None} for row in rows],
        "files": [{"path": step.path, "before": step.before, "after": step.after} for step in made.files],
        "skipped": [one._asdict() for one in made.skipped],
        "kernel_command_line": present.persisted.boot,
        "daemon_reload": any(isinstance(step, ReloadStep) for step in made.steps),
        "notes": [*work.notes, *filter(None, [outcome.warning])],
        "problem": problem,
        "clean": outcome.clean,
    }


def _final(row: Row, outcome: Outcome, present: Present, after: Present) -> Row:
    """A row that would change, after the run: what the kernel says now."""
    if row.status != "would_change":
        return row
    if not outcome.ok:
        failed = next((result for result in outcome.results if result.status in ("failed", "undo_failed") and row.name in _names(result.step)), None)
        if failed:
            return row.because(failed.reason, "failed")
        return row._replace(status="undone")
    now = _live(row, after)
    changed = now is None or not is_same(_registry.find(row.name), now, row.live_before, present.page_size)
    return row._replace(live_after=now, effective=row.effective if row.scope == "unit" else now, status="changed" if changed else "ok")


def _names(step: Step) -> t.Set[str]:
    if isinstance(step, WriteStep):
        return {step.knob}
    return {name for name, unused in step.properties} if isinstance(step, PropertyStep) else set()


def _live(row: Row, present: Present) -> t.Optional[str]:
    if not row.subject:
        held = present.host.get(row.name)
        return held.text if held else None
    for unit in (unit for units in present.units.values() for unit in units if unit.state.name == row.subject):
        owner = next((held for name, held in unit.files.items() if row.name in (name, _registry.find(name).unit_property)), None)
        return owner.text if owner and _registry.find(row.name).run_time else unit.state.shown.get(row.name)
    return None
