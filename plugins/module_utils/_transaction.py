# SPDX-License-Identifier: BSD-2-Clause

"""Runs the steps of a plan: all of them or none. Writes, reads back, undoes; finishes what an interrupted run left; turns generations round.

Undoing is judged by its end: after all steps were put back in reverse, every value is read again, what others moved on the way (THP moves min_free_kbytes, a
daemon-reload resets direct writes) is written once more, and only a value that then differs from before is an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t

from . import _journal, _memcgs, _persist, _shrink, _steps, _swap
from ._knobs import _registry
from ._knobs._values import KnobValueError
from ._read._files import Tree, Unreadable
from ._steps import FileStep, Memcg, MemcgsStep, Moved, PropertyStep, ReloadStep, Step, SwapFileStep, SwapStep, WriteStep
from ._tuples import NamedTuple
from ._writer import File, Refused, Replaced, Writer, cure, property_words, words

if t.TYPE_CHECKING:
    Status = t.Literal["changed", "failed", "undone", "undo_failed", "left", "not_run"]

# What can be read back.
Part = t.Union[WriteStep, FileStep, SwapFileStep, SwapStep]
_FILES = (FileStep, SwapFileStep, SwapStep)


class Kept(Exception):
    """What was read back is not what was written."""

    def __init__(self, path: str, wanted: str, found: str) -> None:
        super().__init__(f"after writing {wanted[:200]!r} it reads {found[:200]!r}")
        self.path = path
        self.found = found


class Result(NamedTuple):
    """What became of a step. C(left): somebody changed it since, it is as they want it. C(found): what a kernel file reads at the end."""

    step: Step
    status: Status
    found: str = ""
    reason: str = ""


class Outcome(NamedTuple):
    """C(ok): all is done (of a recovery: all is undone, or it was done). C(clean): nothing is half done. C(generation) is 0 if none was made.

    C(gone): cgroups of containers that ended before they were written. C(theirs): {(knob, subject): value} that others set meanwhile, and that stays.
    """

    ok: bool
    clean: bool
    generation: int
    results: t.Tuple[Result, ...]
    problem: str = ""
    warning: str = ""
    gone: t.FrozenSet[str] = frozenset()
    theirs: t.Mapping[t.Tuple[str, str], str] = {}


class Came(NamedTuple):
    """How far usage came down. C(problem): why it does not go on."""

    shrunk: t.Tuple[_shrink.Shrunk, ...]
    problem: str = ""
    clean: bool = True


class Left(NamedTuple):
    """What a rollback does not touch, and why: C(found) is neither C(ours) nor C(target), or (C(failed)) nobody knows what it is.

    C(knob) is empty where it is no knob's, but a file, or all of a unit; C(risk): by which name it can be allowed (_guards).
    """

    name: str
    target: str
    ours: str
    found: str
    reason: str
    knob: str = ""
    subject: str = ""
    failed: bool = False
    risk: str = ""


class Theirs(NamedTuple):
    """What others have changed since. C(steps): without what of units is theirs; C(left): {step that is not undone: what it holds}; C(units): steps of which
    all is theirs; C(values): {(knob, subject): its value}, of a file its path and nothing; C(kept): {file of a unit that stays: its value}.
    """

    steps: t.List[Step]
    left: t.Dict[int, str]
    units: t.Set[int]
    values: t.Dict[t.Tuple[str, str], str]
    kept: t.Dict[str, str]

    def told(self) -> t.List[str]:
        """For people."""
        return [f"{subject} {name}{f' ({value})' if value else ''}".strip() for (name, subject), value in self.values.items()]

    def judged(self, results: t.Iterable[Result]) -> t.List[Result]:
        """What became of the steps: of a unit that kept what is theirs nothing was undone."""
        return [
            result._replace(status="left", reason=_SINCE) if number in self.units and result.status == "undone" else result
            for number, result in enumerate(results)
        ]


class Rollback(NamedTuple):
    """C(steps): also those of what is back already, which write nothing: by them the journal's origin forgets it."""

    steps: t.Tuple[Step, ...]
    left: t.Tuple[Left, ...]


_KEPT = "Somebody else writes it too, or this kernel makes another value of it: choose the one that it reads, or leave the knob out."
# Of a shrinking that has been done before the transaction.
_AT_LAST_SECONDS = 10.0
_SINCE = "changed by others since"
_FAILURES = (OSError, Refused, Kept, Unreadable, _registry.UnknownKnob, _journal.JournalError)


def run(
    steps: t.Iterable[Step], journal: _journal.Journal, *, boot_id: str, page_size: int, meta: t.Mapping[str, t.Any], adopted: t.Sequence[Step] = ()
) -> Outcome:
    """All steps, or none. The journal is locked by the caller; C(meta) has C(host), C(started), and what else a generation should tell.

    C(adopted): what came by our drop-ins without a step, for the journal alone. Without steps nothing is touched.
    Raises JournalError if the journal cannot be written: then nothing was changed.
    """
    work = _Work(journal.writer, boot_id, page_size)
    results = work.prepare(steps)
    surprises = [f"{_steps.name(result.step)} {result.reason}" for result in results if result.status == "failed"]
    if surprises:
        return Outcome(False, True, 0, results, f"nothing was written: {'; '.join(surprises)}")
    prepared = [result.step for result in results]
    if not prepared:
        return Outcome(True, True, 0, ())
    lasting = [step for step in prepared if not _is_shrinking(step)]
    entry = journal.begin(prepared, boot_id=boot_id, meta=meta)
    begun: t.List[int] = []
    found: t.Dict[int, str] = {}
    number = 0
    try:
        for number, step in enumerate(prepared):
            work.require_unchanged(step)
            begun.append(number)
            journal.step_begins(number)
            found[number] = work.do(step)
            journal.step_done(number, found[number])
        work.check_all(lasting)
        lasting, prepared = ([work.without_gone(step) for step in steps] for steps in (lasting, prepared))
        results = tuple(Result(step, "changed", found[number]) for number, step in enumerate(prepared) if step in lasting)
        moved = work.moved(lasting)
        told = [{"found": "", "status": "adopted"} for unused in adopted]
        told += [{"found": result.found, "status": result.status} for result in results]
        told += [{"found": "", "status": "moved"} for unused in moved]
        warning = journal.commit(entry._replace(steps=(*adopted, *lasting, *moved), results=tuple(told)))
        return Outcome(True, True, entry.generation, results, warning="; ".join(filter(None, (warning, *work.killed()))), gone=frozenset(work.gone))
    except _FAILURES as exc:
        outcome = _undone(work, journal, prepared, begun, found, exc, number)
        return outcome._replace(warning="; ".join(filter(None, (outcome.warning, *work.killed()))))
    except BaseException:
        # From its commit on it stands, and the next run does what is left of that.
        if not journal.is_committed(entry):
            _undone(work, journal, prepared, begun, found, RuntimeError("interrupted"), number)
        raise


def shrink(steps: t.Iterable[WriteStep], journal: _journal.Journal, *, boot_id: str, page_size: int, meta: t.Mapping[str, t.Any], seconds: float) -> Came:
    """Brings usage down before C(run) does it once more and sets the bounds. What is written on the way is in the journal, and is put back at the end.

    Raises JournalError; then nothing was written.
    """
    work = _Work(journal.writer, boot_id, page_size)
    results = work.prepare(steps)
    surprises = "; ".join(f"{_steps.name(result.step)} {result.reason}" for result in results if result.status == "failed")
    prepared = [t.cast("WriteStep", result.step) for result in results]
    if surprises:
        return Came((), surprises)
    journal.begin(prepared, boot_id=boot_id, meta=meta)
    begun: t.List[int] = []
    until, problem = work.clock.now() + seconds, ""
    try:
        for number, step in enumerate(prepared):
            begun.append(number)
            journal.step_begins(number)
            work.shrink(step, until, last=False)
            journal.step_done(number, work.read(step) or "")
    except _FAILURES as exc:
        problem = str(exc) if isinstance(exc, Refused) else f"{prepared[begun[-1]].path}: {words(exc)}"
    finally:
        results = work.undo(prepared, begun, {})
        stuck = any(result.status == "undo_failed" for result in results)
        told = _stuck(journal, results) if stuck else _forgotten(journal)
    return Came(tuple(work.shrunk), "; ".join(filter(None, (problem, told, *work.killed()))), clean=not stuck)


def recover(
    journal: _journal.Journal,
    *,
    boot_id: str,
    page_size: int,
    plan: t.Callable[[t.Sequence[Step], t.Sequence[Step]], t.Sequence[Step]] = lambda undone, begun: (),
    swapoff: bool = False,
) -> t.Optional[Outcome]:
    """Ends an interrupted transaction: undoes it, or finishes its commit. None if there is none. The journal is locked by the caller.

    After a reboot files are put back; live values only of host knobs and files of cgroups that boot took from these files. C(plan) is told what will be undone
    (and what was begun, of which others may have some by now), and gives the steps that nobody ran and that are to be undone too; what it raises leaves all as
    it is. May itself be interrupted.
    C(swapoff): one that does not fit is allowed.
    """
    pending = journal.pending()
    if pending is None:
        return None
    entry = pending.entry
    if journal.is_committed(entry):
        journal.settle(journal.generation(entry.generation))
        return Outcome(True, True, entry.generation, (), "an interrupted run had done all its steps; its generation stands")
    work = _Work(journal.writer, boot_id, page_size)
    _check_paths(journal, entry.steps)
    if entry.boot_id != boot_id:
        pending = work.after_reboot(entry)
    steps, begun = pending.entry.steps, pending.begun
    steps = tuple(step._replace(allowed=1) if swapoff and isinstance(step, SwapStep) else step for step in steps)
    earlier: t.Mapping[str, str] = entry.meta.get("kept", {}) if entry.boot_id == boot_id else {}
    theirs = work.changed_by_others(steps, begun, pending.found, earlier=earlier)
    taken, left = [steps[number] for number in begun], theirs.left
    told, known, steps = theirs.told(), steps, tuple(theirs.steps)
    undone = [steps[number] for number in begun if number not in left]
    more = plan(undone, taken)
    try:
        more = [_besides_these(work.filled(step), undone) for step in more]
    except _FAILURES as exc:
        raise _journal.JournalError(journal.pending_path, f"an interrupted run cannot be undone: {getattr(exc, 'path', '')}: {words(exc)}") from exc
    if more or theirs.kept or entry.boot_id != boot_id:
        # What is undone now must be known to the next run, should this one be interrupted.
        begun = (*begun, *range(len(steps), len(steps) + len(more)))
        steps = (*steps, *more)
        meta = {**pending.entry.meta, "kept": theirs.kept}
        journal.replace(pending._replace(entry=pending.entry._replace(steps=(*known, *more), meta=meta), begun=begun))
    results = tuple(theirs.judged(work.undo(steps, [number for number in begun if number not in left], left)))
    clean = all(result.status != "undo_failed" for result in results)
    if clean:
        journal.forget()
        return Outcome(True, True, 0, results, f"an interrupted run was undone{_but(told)}", theirs=theirs.values)
    return Outcome(False, False, 0, results, _stuck(journal, results))


def done_since(journal: _journal.Journal, to: t.Union[int, str]) -> t.List[Step]:
    """All that was done since generation C(to) (0: since before all that are kept) or, with C(origin), since before our first. Raises JournalError."""
    if to == "origin":
        return list(journal.origin())
    known = journal.generations()
    if to and to not in known:
        journal.generation(int(to))
    steps: t.List[Step] = []
    for number in known:
        if number > int(to):
            steps = _steps.merge(steps, journal.generation(number).steps)
    return steps


def shown_after(journal: _journal.Journal, steps: t.Iterable[Step]) -> t.Dict[t.Tuple[str, str], str]:
    """{(path, what we wrote): what the kernel made of it the last time} of knobs in C(steps) that it rounds as it likes (huge pages)."""
    loose = {step.path for step in steps if isinstance(step, WriteStep) and _is_rounded(step)}
    return {key: text for key, text in (journal.shown() if loose else {}).items() if key[0] in loose}


def back(
    steps: t.Sequence[Step],
    journal: _journal.Journal,
    *,
    boot_id: str,
    page_size: int,
    force: bool = False,
    started: t.Sequence[PropertyStep] = (),
    allow: t.Container[str] = (),
) -> Rollback:
    """The steps that turn C(steps), merged and done, round. Writes nothing. Actions (DAMON's commit) are the caller's to add, who knows what runs.

    C(started): what units took from our drop-ins themselves. Values that others changed since are left, unless C(force); so is a memory.high of a container
    that its tasks have outgrown, unless C(allow) names that risk. Raises JournalError.
    """
    collected = _Back(_Work(journal.writer, boot_id, page_size), steps, force, shown_after(journal, steps), allow)
    for step in (*started, *reversed(steps)):
        collected.add(step)
    collected.hold(steps)
    units = any(isinstance(step, PropertyStep) or (isinstance(step, FileStep) and "/systemd/" in step.path) for step in collected.steps.values())
    reload = [ReloadStep()] if units and (started or any(isinstance(step, ReloadStep) for step in steps)) else []
    return Rollback((*collected.steps.values(), *reload), tuple(collected.left))


def _undone(
    work: _Work, journal: _journal.Journal, steps: t.Sequence[Step], begun: t.Sequence[int], found: t.Mapping[int, str], cause: Exception, at: int
) -> Outcome:
    """Undoes what was begun, after C(cause) came at step C(at) (the last one: or at the check or the commit)."""
    # What the last of them left, if it came to no end, the kernel may have made of ours.
    theirs = work.changed_by_others(steps, begun, found, unjudged=set(begun) - set(found))
    results = theirs.judged(work.undo(theirs.steps, [number for number in begun if number not in theirs.left], theirs.left))
    problem = cause.reason if isinstance(cause, Refused) else words(cause)
    if not isinstance(cause, _journal.JournalError):
        path, reads = _steps.name(steps[at]), ""
        if isinstance(cause, Kept):
            path, reads = cause.path, cause.found
            at = next((number for number, step in enumerate(steps) if any(value.path == path for value in _checked(step))), at)
        elif at in begun:
            problem = f"{_attempt(steps[at])}{problem}"
        if results[at].status != "undo_failed":
            results[at] = Result(steps[at], "failed", reads, problem)
        problem = f"{path}: {problem}"
    if any(result.status == "undo_failed" for result in results):
        return Outcome(False, False, 0, tuple(results), f"{problem}. {_stuck(journal, results)}", theirs=theirs.values)
    problem = f"{problem}. All was undone{_but(theirs.told())}. {_KEPT if isinstance(cause, Kept) else cure(cause)}".rstrip()
    return Outcome(False, True, 0, tuple(results), problem, _forgotten(journal), theirs=theirs.values)


def _but(told: t.Sequence[str]) -> str:
    return f", but for what others have set since: {', '.join(told)}" if told else ""


def _forgotten(journal: _journal.Journal) -> str:
    """Why the journal still has what is all undone; empty if it has not."""
    try:
        journal.forget()
    except _FAILURES as exc:
        return f"{journal.pending_path}: {words(exc)}; the next run removes it"
    return ""


def _attempt(step: Step) -> str:
    """What an error came from."""
    if isinstance(step, WriteStep) and not step.bound:
        return f"writing {step.after!r} where {step.before!r} stood: "
    if isinstance(step, PropertyStep):
        return f"setting {', '.join(f'{name}={value}' for name, value in step.properties)}: "
    return ""


def _stuck(journal: _journal.Journal, results: t.Iterable[Result]) -> str:
    names = ", ".join(f"{_steps.name(result.step)} ({result.reason})" for result in results if result.status == "undo_failed")
    return f"Not undone: {names}. The next run tries again; {journal.pending_path} holds the values from before, to set by hand before removing it"


class _Work:
    """Steps on one node."""

    def __init__(self, writer: Writer, boot_id: str, page_size: int) -> None:
        self.writer = writer
        self.boot_id = boot_id
        self.page_size = page_size
        self.clock = _shrink.CLOCK
        self.shrunk: t.List[_shrink.Shrunk] = []
        self.homes: t.List[t.Tuple[_shrink.Home, int]] = []  # with the kills that there had been
        self.wrote: t.Dict[str, t.Tuple[str, ...]] = {}
        self.theirs: t.Dict[str, str] = {}  # what somebody else wrote meanwhile where usage was brought down
        self.until = 0.0
        self.gone: t.Set[str] = set()  # cgroups that ended meanwhile
        self.reached: t.List[Step] = []  # what has been done or begun

    def prepare(self, steps: t.Iterable[Step]) -> t.Tuple[Result, ...]:
        """Steps with what only the node tells, not_run; failed where the node is not as the plan took it to be, or a path is not its knob's. Writes nothing."""
        results = []
        seen: t.Set[str] = set()
        for step in steps:
            try:
                full = self.filled(step)
                for value in _checked(full):
                    found = self.read(value)
                    if value.path not in seen and not self.holds(value, value.before, found):
                        raise Refused(value.path, f"is {found!r}, and was {value.before!r} when the plan was made: run again")
                    seen.add(value.path)
                results.append(Result(full, "not_run"))
            except _FAILURES as exc:
                results.append(Result(step, "failed", "", exc.reason if isinstance(exc, Refused) else words(exc)))
        return tuple(results)

    def filled(self, step: Step) -> Step:
        """With what only the node tells."""
        if isinstance(step, WriteStep):
            _check_path(step)
            return step._replace(boot_id=self.boot_id if step.inode else "", moves=self._moves(step.knob))
        if isinstance(step, MemcgsStep):
            _check_memcgs(step)
            return step._replace(memcgs=tuple(_memcgs.with_drop_ins(memcg, self.writer) for memcg in step.memcgs), boot_id=self.boot_id)
        if isinstance(step, FileStep):
            old = self.writer.read(step.path)
            filled = step if step.after is None else step._replace(creates=tuple(self.writer.missing_directories(step.path)))
            return filled._replace(mode_before=old.mode, uid_before=old.uid, gid_before=old.gid) if old else filled
        if isinstance(step, SwapFileStep):
            return step if step.after is None else step._replace(creates=tuple(self.writer.missing_directories(step.path)))
        if isinstance(step, PropertyStep):
            property_words(step.unit, step.properties)
            drop_ins = []
            for key, unused in step.properties:
                path = _persist.run_time_path(step.unit, key)
                old = self.writer.read(path)
                creates = tuple(self.writer.missing_directories(path))
                drop_ins.append(t.cast("FileStep", self.filled(FileStep(path, old.text if old else None, None, creates=creates))))
            files, besides = (tuple(t.cast("WriteStep", self.filled(file)) for file in writes) for writes in (step.files, step.besides))
            return step._replace(files=files, drop_ins=tuple(drop_ins), besides=besides)
        return step

    def _moves(self, name: str) -> t.Tuple[Moved, ...]:
        found = []
        for partner in _registry.find(name).partners:
            path = "" if "{" in partner else _registry.find(partner).path
            if path:
                try:
                    found.append(Moved(partner, path, _word(self.writer.kernel_read(path))))
                except FileNotFoundError:
                    pass  # not on this kernel
        return tuple(found)

    def do(self, step: Step) -> str:
        """What a kernel file reads afterwards."""
        if isinstance(step, WriteStep) and step.bound:
            self.until = self.until or self.clock.now() + _AT_LAST_SECONDS
            self.shrink(step, self.until, last=True)
            return self.read(step) or ""
        if isinstance(step, WriteStep):
            # A partner may have brought it there already: dirty_bytes takes no 0, it becomes 0 by a write of dirty_ratio.
            if _is_action(step.knob) or not self.holds(step, step.after, self.read(step)):
                self.writer.kernel_write(step.path, step.after, step.inode)
            return self._read_back(step)
        if isinstance(step, FileStep):
            owner = (os.geteuid(), os.getegid()) if step.before is None else (step.uid_before, step.gid_before)
            self._place(step, None if step.after is None else File(step.after, step.mode, *owner))
            self._read_back(step)
        elif isinstance(step, PropertyStep):
            if step.properties != step.before or not self._is_set(step):
                self.writer.set_properties(step.unit, step.properties)
            for file in step.files:
                self._read_back(file)
            self._check_shown(step, step.properties)
            self.let_go(step)
        elif isinstance(step, (SwapFileStep, SwapStep)):
            self._swap(step, step.after)
            return self._read_back(step)
        elif isinstance(step, MemcgsStep):
            self.gone |= _memcgs.put(step, self.writer, self.page_size)
        else:
            self.writer.reload()
        return ""

    def without_gone(self, step: Step) -> Step:
        return step._replace(memcgs=tuple(memcg for memcg in step.memcgs if memcg.path not in self.gone)) if isinstance(step, MemcgsStep) else step

    def shrink(self, step: WriteStep, until: float, *, last: bool) -> None:
        """What it writes on the way stands until the bound is set (C(let_go)), or all is undone. Raises GaveUp; with C(last) also for want of time."""
        home = _shrink.Home(step, self.writer, self.wrote)
        self.homes.append((home, home.kills()))
        shrunk = _shrink.Shrinking(home, until=until, last=last, clock=self.clock).run()
        self.shrunk.append(shrunk)
        if last and not shrunk.done:
            raise _shrink.GaveUp(step.path, f"grown again, to {shrunk.usage} bytes, before {step.subject} {step.bounds} could be set to {step.bound}")

    def _stays_until_now(self, step: Step) -> bool:
        """Between plan and step nobody has a reason to write it: neither the kernel, nor systemd, nor what we did so far."""
        if isinstance(step, FileStep):
            return not _persist.RUN_TIME.fullmatch(step.path)
        moved = {move.path for one in self.reached if isinstance(one, WriteStep) for move in one.moves}
        return isinstance(step, WriteStep) and step.scope == "host" and step.path not in moved and not _is_loose(step)

    def require_unchanged(self, step: Step) -> None:
        """Swap can take long before it. Raises Refused: what somebody writes meanwhile would be lost, as no journal has it. And OSError."""
        if self._stays_until_now(step):
            part = t.cast("Part", step)
            found = self.read(part)
            if not (self.holds(part, part.before, found) or self.holds(part, part.after, found)):
                raise Refused(part.path, "somebody has changed it since this run looked at it: run again")
        self.reached.append(step)

    def let_go(self, step: PropertyStep) -> None:
        """The bounds of this unit stand: what held it there goes, unless it is a property of this step too, or systemd has written something else by now."""
        set_ = {file.path for file in step.files}
        for home, unused in self.homes:
            if home.step.subject == step.unit and home.version == 2 and home.step.path not in set_:
                home.release()

    def killed(self) -> t.List[str]:
        """What must never happen, and is told if it has."""
        counts = {home.step.subject: home.kills() - before for home, before in reversed(self.homes)}
        return [f"{count} tasks of {unit} were killed for want of memory meanwhile" for unit, count in counts.items() if count > 0]

    def _is_set(self, step: PropertyStep) -> bool:
        """In the kernel and for systemd."""
        shown = self.writer.properties(step.unit, [name for name, unused in step.properties])
        held = all(self.holds(file, file.after, self.read(file)) for file in step.files)
        return held and all(self.same(name, value, shown.get(name, "")) for name, value in step.properties)

    def check_all(self, steps: t.Sequence[Step]) -> None:
        """Whether the last value of every file still stands when all steps are done. Raises Kept."""
        last: t.Dict[str, Part] = {}
        for step in steps:
            for value in _checked(step):
                last[value.path] = value
        for value in last.values():
            self._read_back(value)

    def moved(self, steps: t.Sequence[Step]) -> t.List[Part]:
        """What writes moved besides, and no step set, and run-time drop-ins: as steps, so that a rollback knows of them."""
        own = {part.path for step in steps for part in _checked(step)}
        parts = {part.path: part for step in reversed(steps) for part in _besides(step) if part.path not in own}
        now = [(part, self.read(part)) for part in parts.values() if self._differs(part)]
        return [part._replace(after=_word(text or "")) if isinstance(part, WriteStep) else part._replace(after=text) for part, text in now]

    def undo(self, steps: t.Sequence[Step], begun: t.Sequence[int], left: t.Mapping[int, str]) -> t.Tuple[Result, ...]:
        """One result a step. Raises nothing."""
        errors: t.Dict[int, str] = {}
        chosen = [(number, steps[number]) for number in begun]
        for number, step in reversed(chosen):
            self._try(errors, number, self._back, step, [steps[at] for at in errors])
        # What acts on other values comes when these are back.
        for number, step in chosen:
            if isinstance(step, ReloadStep):
                self._try(errors, number, self.writer.reload)
            elif isinstance(step, WriteStep) and _is_action(step.knob):
                self._try(errors, number, self.writer.kernel_write, step.path, step.after, step.inode)
            elif isinstance(step, SwapStep) and step.before and step.after:
                # Its unit is as before only now.
                self._try(errors, number, self._swap, step, step.before)
        for number, step in chosen:
            for value in _values(step):
                self._try(errors, number, self._restore, value)
            for value in given_up(step):
                # Theirs comes from systemd, now or when it next writes it.
                if self._holds_after(value):
                    self._try(errors, number, self._restore, value)
        return tuple(self._judged(number, step, number in begun, left.get(number), errors.get(number, "")) for number, step in enumerate(steps))

    def _judged(self, number: int, step: Step, chosen: bool, left: t.Optional[str], error: str) -> Result:
        left = left or (self.theirs.get(step.path) if isinstance(step, WriteStep) and step.bound else None) or None
        if left is not None:
            return Result(step, "left", left, _SINCE)
        if not chosen:
            return Result(step, "not_run")
        try:
            for value in _parts(step):
                try:
                    self._read_back(value, value.before)
                except (OSError, Refused) as exc:
                    if not _is_gone(exc, value):
                        raise
                if isinstance(value, (FileStep, SwapFileStep)) and value.before is None:
                    self._check_directories(value)
            if isinstance(step, PropertyStep):
                self._check_shown(step, step.before)
        except _FAILURES as exc:
            return Result(step, "undo_failed", exc.found if isinstance(exc, Kept) else "", error or f"{getattr(exc, 'path', '')}: {words(exc)}")
        # An area is off, and not closed.
        error = error if isinstance(step, (ReloadStep, SwapStep, MemcgsStep)) or (isinstance(step, WriteStep) and _is_action(step.knob)) else ""
        return Result(step, "undo_failed" if error else "undone", "", error)

    def _check_directories(self, step: t.Union[FileStep, SwapFileStep]) -> None:
        """Raises Kept where one that was made for it is still there, with nothing in it."""
        for path in step.creates:
            found = self.writer.directory(path)
            if found and not found[1]:
                raise Kept(path, "nothing", "an empty directory")

    def _try(self, errors: t.Dict[int, str], number: int, action: t.Callable[..., t.Any], *arguments: t.Any) -> None:
        try:
            action(*arguments)
        except _FAILURES as exc:
            errors[number] = words(exc)

    def _back(self, step: Step, stuck: t.Iterable[Step]) -> None:
        if _swap.serves(step, stuck):
            raise Refused(_steps.name(step), _swap.NEEDED)
        if isinstance(step, FileStep):
            self._restore_file(step)
        elif isinstance(step, MemcgsStep):
            self._memcgs_back(step)
        elif isinstance(step, SwapFileStep):
            self.writer.clean(step.path)
            self._swap(step, step.before)
        elif isinstance(step, SwapStep):
            if step.before and not step.after and self._differs(step):
                self.writer.reload()
            if not (step.before and step.after):
                self._swap(step, step.before)
        elif isinstance(step, PropertyStep):
            try:
                if step.properties and (not step.files or any(map(self._differs, _parts(step)))):
                    self.writer.set_properties(step.unit, step.before)
            finally:
                for drop_in in step.drop_ins:
                    self._restore_file(drop_in)
        else:
            # Moved ones first, as in do().
            values = _values(step)
            for value in values[1:] + values[:1]:
                self._restore(value)

    def _memcgs_back(self, step: MemcgsStep) -> None:
        """Raises Refused. After a reboot there is nothing to put back."""
        if step.boot_id == self.boot_id:
            unused, troubles = _memcgs.put_back(step, self.writer, self.page_size)
            if troubles:
                raise Refused(_steps.name(step), "; ".join(troubles[:5]))

    def _restore(self, value: WriteStep) -> None:
        home = next((home for home, unused in self.homes if home.step.path == value.path), None) if value.bound else None
        if home:
            self.theirs[value.path] = home.release()
        elif self._differs(value):
            self.writer.kernel_write(value.path, value.before, value.inode)

    def _differs(self, value: Part) -> bool:
        """From before; not if it is gone."""
        try:
            return not self.holds(value, value.before, self.read(value))
        except (OSError, Refused) as exc:
            if _is_gone(exc, value):
                return False
            raise

    def _restore_file(self, step: FileStep) -> None:
        self.writer.clean(step.path)
        self._place(step, None if step.before is None else File(step.before, step.mode_before, step.uid_before, step.gid_before))

    def _place(self, step: FileStep, new: t.Optional[File]) -> None:
        if new is None:
            self._remove(step)
        elif self.writer.read(step.path) != new:
            for path in step.creates:
                self.writer.make_directory(path)
            self.writer.replace(step.path, new)

    def _remove(self, step: t.Union[FileStep, SwapFileStep]) -> None:
        self.writer.remove(step.path)
        for path in reversed(step.creates):
            self.writer.remove_directory(path)

    def _swap(self, step: t.Union[SwapFileStep, SwapStep], target: t.Optional[str]) -> None:
        """Raises Refused where what it holds fits nowhere: then it stays on."""
        found = self.read(step)
        if target and self.holds(step, target, found):
            return
        if isinstance(step, SwapStep):
            why = _swap.refusal_now(Tree(self.writer.root), step.area) if found and not step.allowed else ""
            if why:
                raise Refused(step.path, f"stays on: {why}")
            if found:
                self.writer.swap("stop", step.path)
            # Not before: it ends even if that is in use.
            if step.service and "inactive" not in self.writer.properties(step.service, ["ActiveState"]).values():
                self.writer.swap("stop", step.service)
            for algorithm in (target or "").split(", ")[2:]:
                # Before 6.2 zram keeps that of the time before, which a configuration without one leaves (measured).
                with contextlib.suppress(OSError, Refused):
                    self.writer.kernel_write(f"/sys/block/{step.area[5:]}/comp_algorithm", algorithm)
            if target:
                self.writer.swap("start", step.path)
        elif target is None:
            self._remove(step)
        else:
            for path in self.writer.missing_directories(step.path):
                self.writer.make_directory(path, 0o700)
            self.writer.make_swap_file(step.path, int(target))

    def after_reboot(self, entry: _journal.Entry) -> _journal.Pending:
        """As though begun in this boot: files, and, if one of them is in place, what boot took from there, and the reload. Units are for C(plan) to say."""
        # A cgroup goes by its name: what it holds was put there at boot.
        steps = tuple(step._replace(inode=0, boot_id="") if isinstance(step, WriteStep) else step for step in entry.steps)
        chosen = [number for number, step in enumerate(steps) if isinstance(step, _FILES) and not step.path.startswith("/run/")]
        if any(self._holds_after(t.cast("Part", steps[number])) for number in chosen):
            taken = (isinstance(step, ReloadStep) or (isinstance(step, WriteStep) and self._holds_after(step)) for step in steps)
            chosen = sorted({*chosen, *(number for number, is_taken in enumerate(taken) if is_taken)})
        return _journal.Pending(entry._replace(boot_id=self.boot_id, steps=steps), tuple(chosen), dict.fromkeys(chosen, ""))

    def _holds_after(self, value: Part) -> bool:
        try:
            return value.before != value.after and self.holds(value, value.after, self.read(value))
        except _FAILURES:
            return False

    def changed_by_others(
        self,
        steps: t.Sequence[Step],
        begun: t.Sequence[int],
        found: t.Mapping[int, str],
        *,
        unjudged: t.Container[int] = (),
        earlier: t.Optional[t.Mapping[str, str]] = None,
    ) -> Theirs:
        """Of what was begun, where it is neither from before nor ours. C(found): what the steps that were done read then; not of what a step moves.

        C(unjudged): of which nobody knows what the kernel made of ours; C(earlier): what a recovery that was cut off has kept.
        """
        chosen = [(number, steps[number]) for number in begun]
        writes = [(number, step) for number, step in chosen if isinstance(step, WriteStep)]
        known = _known_texts(chosen, found)
        moved = {move.path for unused, step in writes for move in step.moves}
        held = {step.path for number, step in writes if step.bound and number not in found}
        of_units = {file.path for unused, step in chosen if isinstance(step, PropertyStep) for file in step.files}
        units = {step.unit for unused, step in chosen if isinstance(step, PropertyStep)}
        reloads = any(isinstance(step, ReloadStep) for unused, step in chosen)
        theirs = Theirs([*steps], {}, set(), {}, dict(earlier or {}))
        kept = theirs.kept
        for number, step in chosen:
            # Of a cgroup's many files each is looked at when it goes back.
            if number in unjudged or isinstance(step, (ReloadStep, MemcgsStep)):
                continue
            with contextlib.suppress(*_FAILURES):
                if isinstance(step, PropertyStep):
                    rest, values = self._without_theirs(step, known, held, kept)
                    theirs.steps[number] = rest
                    theirs.values.update(values)
                    theirs.units.update([number] if values and not rest.properties else [])
                elif not _is_open(step, done=number in found) and step.path not in moved and step.path not in of_units:
                    now = self.read(step)
                    # An undoing that was cut off may have turned it off to turn it on as before.
                    texts = [step.before, step.after, *known.get(step.path, ()), *([None] if isinstance(step, SwapStep) else [])]
                    if any(self.holds(step, text, now) for text in texts):
                        continue
                    if not (isinstance(step, WriteStep) and (reloads or step.subject in units) and self._is_by_systemd(step, now)):
                        theirs.left[number] = now or "absent"
                        theirs.values[_key(step)] = "" if now is None or isinstance(step, FileStep) else now
        # Other steps of a unit's files: the way to a bound, what a rollback writes besides.
        theirs.left.update((number, kept[step.path]) for number, step in chosen if isinstance(step, (WriteStep, FileStep)) and step.path in kept)
        areas = [steps[number] for number in theirs.left]
        theirs.left.update((number, _swap.NEEDED) for number, step in chosen if _swap.serves(step, areas))
        return theirs

    def _without_theirs(
        self, step: PropertyStep, known: t.Mapping[str, t.Sequence[t.Optional[str]]], held: t.Container[str], kept: t.Dict[str, str]
    ) -> t.Tuple[PropertyStep, t.Dict[t.Tuple[str, str], str]]:
        """(the step without properties that somebody has told systemd since, what is theirs). In a cgroup that is another one by now nobody wrote.

        C(kept), {file that stays: its value}, is added to: what was written past systemd stays too, and systemd goes back.
        """
        files = {_registry.find(file.knob).unit_property: file for file in step.files}
        target, shown = dict(step.before), None
        told, besides, values = set(), [], {}
        for name, unused in step.properties:
            file = files.get(name)
            now = self._held(file) if file else None
            words = [word for word in known.get(f"{step.unit} {name}", ()) if word]
            is_ours = file is None or now is None or file.path in held or any(self.holds(file, text, now) for text in known.get(file.path, ()))
            if file and is_ours and file.path in kept:
                # An undoing that was cut off has written over it.
                now, is_ours = kept[file.path], False
            path = _persist.run_time_path(step.unit, name)
            said = self._said_at_run_time(step, name)
            is_theirs = bool(said) and not any(self.same(name, said, word) for word in words)
            if is_theirs:
                kept[path] = said
            elif file is None or not is_ours:
                # By another file, which counts instead of this one: ours goes.
                shown = self.writer.properties(step.unit, [one for one, unused in step.properties]) if shown is None else shown
                said = shown.get(name, "")
                is_theirs = bool(said and target.get(name)) and not any(self.same(name, said, word) for word in words)
            if is_theirs:
                told.add(name)
            if file and now is not None and not is_ours:
                kept[file.path] = now
                besides.append(file._replace(before=now, after=now))
            if is_theirs or not is_ours:
                values[name, step.unit] = said if now is None or is_ours else now
        pairs, before = (tuple(pair for pair in pairs if pair[0] not in told) for pairs in (step.properties, step.before))
        rest = step._replace(
            properties=pairs,
            before=before,
            files=tuple(file for file in step.files if file.path not in kept),
            drop_ins=tuple(drop_in for drop_in in step.drop_ins if drop_in.path not in kept),
            besides=(*step.besides, *besides),
        )
        return rest, values

    def _is_by_systemd(self, step: WriteStep, now: t.Optional[str]) -> bool:
        """Whether a file that we write is as systemd has it, which resets it with a reload, or a property beside it. Not if somebody told it at run time."""
        name = _registry.find(step.knob).unit_property
        if step.scope != "memcg" or not name or not _registry.find(name).run_time or self.writer.read(_persist.run_time_path(step.subject, name)):
            return False
        return self.holds(step, self.writer.properties(step.subject, [name]).get(name) or None, now)

    def _held(self, file: WriteStep) -> t.Optional[str]:
        """None where its cgroup has ended."""
        try:
            return self.read(file)
        except (OSError, Refused) as exc:
            if _has_ended(exc):
                return None
            raise

    def _said_at_run_time(self, step: PropertyStep, name: str) -> str:
        """By the drop-in that set-property makes; empty where none was made since."""
        path = _persist.run_time_path(step.unit, name)
        file = self.writer.read(path)
        if file is None or any(drop_in.path == path and drop_in.before == file.text for drop_in in step.drop_ins):
            return ""
        return next((line.partition("=")[2] for line in reversed(file.text.splitlines()) if line.startswith(f"{name}=")), "")

    def read(self, value: Part) -> t.Optional[str]:
        if isinstance(value, FileStep):
            file = self.writer.read(value.path)
            return None if file is None else file.text
        if isinstance(value, SwapFileStep):
            return self.writer.swap_file(value.path)
        if isinstance(value, SwapStep):
            return _swap.state(Tree(self.writer.root), value.area)
        if value.inode and value.boot_id not in ("", self.boot_id):
            raise Replaced(value.path, "this cgroup was there before a reboot")
        return self.writer.kernel_read(value.path, value.inode)

    def _read_back(self, value: Part, *wanted: t.Optional[str]) -> str:
        """What it reads, which is C(wanted), else C(after). Raises Kept."""
        text = wanted[0] if wanted else value.after
        found = self.read(value)
        if not self.holds(value, text, found) and not _is_loose(value):
            raise Kept(value.path, "nothing" if text is None else text, "nothing" if found is None else found)
        return found or ""

    def holds(self, value: Part, text: t.Optional[str], found: t.Optional[str]) -> bool:
        if isinstance(value, SwapStep):
            return _swap.is_state(text, found)
        if not isinstance(value, WriteStep) or text is None or found is None:
            return text == found
        return self.same(value.knob, text, found)

    def same(self, knob: str, one: str, other: str) -> bool:
        try:
            return _registry.same(_registry.find(knob), one, other, self.page_size)
        except KnobValueError:
            return one.split() == other.split()

    def _check_shown(self, step: PropertyStep, wanted: t.Iterable[t.Tuple[str, str]]) -> None:
        """Of the properties without a kernel file, what systemd says; an empty one is its default, whatever that is. Raises Kept."""
        covered = {_registry.find(file.knob).unit_property for file in (*step.files, *step.besides)}
        asked = {key: value for key, value in wanted if value and key not in covered}
        shown = self.writer.properties(step.unit, asked) if asked else {}
        for key, value in asked.items():
            found = shown.get(key, "")
            if not self.same(key, value, found):
                raise Kept(step.unit, f"{key}={value}", found)


class _Back:
    """Collects the steps of a rollback."""

    def __init__(self, work: _Work, steps: t.Iterable[Step], force: bool, found: t.Mapping[t.Tuple[str, str], str], allow: t.Container[str]) -> None:
        self.work = work
        self.force = force
        self.allow = allow
        self.found = found
        self.origins = {step.path: step.before for step in steps if isinstance(step, WriteStep)}
        self.steps: t.Dict[str, Step] = {}
        self.left: t.List[Left] = []

    def add(self, step: Step) -> None:
        try:
            if isinstance(step, WriteStep):
                self._write(step)
            elif isinstance(step, FileStep):
                self._file(step)
            elif isinstance(step, (SwapFileStep, SwapStep)):
                found = self.work.read(step)
                if self._is_ours(step, found):
                    self._put(step._replace(before=found, after=step.before))
            elif isinstance(step, MemcgsStep):
                self._memcgs(step)
            elif isinstance(step, PropertyStep):
                # Nobody ran one that has none yet: what lies there is not ours, and comes back as it is now.
                self._property(step if step.drop_ins else t.cast("PropertyStep", self.work.filled(step)))
        except _FAILURES as exc:
            if isinstance(step, (WriteStep, PropertyStep)) and _has_ended(exc):
                return  # with the cgroup its values have gone
            target = step.before or "absent" if isinstance(step, (WriteStep, *_FILES)) else ""
            knob, subject = (step.knob, step.subject) if isinstance(step, WriteStep) else ("", "")
            self.left.append(Left(_steps.name(step), target, "", "", words(exc), knob, subject, failed=True))

    def hold(self, steps: t.Iterable[Step]) -> None:
        """The files of an area that is left."""
        names = {left.name for left in self.left}
        areas = [step for step in steps if _steps.name(step) in names]
        for name in [name for name, step in self.steps.items() if _swap.serves(step, areas)]:
            del self.steps[name]
            self.left.append(Left(name, "absent", "", "", _swap.NEEDED))

    def _memcgs(self, step: MemcgsStep) -> None:
        """With what is gone, or back already: by it the origin forgets."""
        with self.work.writer.many():
            back, gone = self._memcgs_now(step)
        if any(memcg.values for memcg in back) or gone:
            self._put(MemcgsStep(tuple(memcg for memcg in back if memcg.values or memcg.unmakes), tuple(gone)))

    def _memcgs_now(self, step: MemcgsStep) -> t.Tuple[t.List[Memcg], t.List[str]]:
        back, gone = [], []
        reading = _memcgs.live(self.work.writer, self.work.page_size)
        for memcg in step.memcgs:
            try:
                if step.boot_id != self.work.boot_id:
                    raise Replaced(memcg.path, "this cgroup was there before a reboot")
                inode, now = self.work.writer.memcg_read(memcg.path, 0 if memcg.makes else memcg.inode, [value[0] for value in memcg.values])
            except (OSError, Refused) as exc:
                if not _has_ended(exc):
                    raise
                gone.append(memcg.path)
                back += [memcg._replace(values=(), makes=(), unmakes=memcg.makes)] if memcg.makes else []
                continue
            going, left = _memcgs.sorted_out(memcg, memcg.values, now, self.work.page_size, reading, force=self.force)
            going = [value for value in going if not self._stands_still(memcg.path, inode, *value)]
            names = {file for file, unused, unused_too in going}
            back.append(memcg._replace(inode=inode, values=tuple(going), makes=(), unmakes=tuple(file for file in memcg.makes if file in names)))
            self.left += [Left(f"{one.path}/{one.file}", one.target, one.ours, one.found, "changed by others since", one.file, one.path) for one in left]
        return back, gone

    def _stands_still(self, path: str, inode: int, file: str, now: str, target: str) -> bool:
        """Whether it is left for that: rolling back must not stop a container that has grown since."""
        why = _memcgs.stands_still(path, inode, now, target, self.work.writer) if file == "memory.high" and _memcgs.STALLS not in self.allow else ""
        if why:
            self.left.append(Left(f"{path}/{file}", target, now, now, why, file, path, risk=_memcgs.STALLS))
        return bool(why)

    def _again(self, step: WriteStep) -> WriteStep:
        """A cgroup that was made anew (a reboot) has what boot gave it: ours, if it holds our value."""
        try:
            self.work.read(step)
        except Replaced:
            return step._replace(inode=0, boot_id="")
        return step

    def _write(self, step: WriteStep) -> None:
        if _is_action(step.knob):
            return
        step = self._again(step)
        found = self.work.read(step) or ""
        if not self._is_ours(step, found):
            return
        # Bytes take no 0: they become 0 by a write of the ratio.
        first = [move for move in step.moves if step.before == "0" and step.knob in _registry.find(move.knob).partners]
        for move in first:
            self._keep(_moved_step(move))
        self._put(step._replace(before=_word(found), after=step.before))
        # What is moved comes after what moves it, even if it reads right by now: do() writes it only if need be.
        for move in step.moves:
            if move not in first:
                self._keep(_moved_step(move))

    def _keep(self, step: WriteStep) -> None:
        """What another step moves: back where it was, if it is rolled back too, else as it is now."""
        found = _word(self.work.read(step) or "")
        left = any(one.name == step.path for one in self.left)
        self._put(step._replace(before=found, after=found if left else self.origins.get(step.path, found)))

    def _file(self, step: FileStep) -> None:
        file = self.work.writer.read(step.path)
        found = file.text if file else None
        if file and file.text not in (step.before, step.after) and _persist.ASIDE in f"{step.before}{step.after}":
            # It is somebody's, who has edited it since: no more than our lines goes back, by force neither.
            text = _persist.set_aside_as(file.text, step.before)
            if text != file.text:
                self._put(FileStep(step.path, file.text, text, file.mode))
            return
        if self._is_ours(step, found):
            self._put(FileStep(step.path, found, step.before, step.mode_before, creates=step.creates))

    def _property(self, step: PropertyStep) -> None:
        """Property by property: what somebody else changed since stays, in the kernel too, whatever set-property does to the rest."""
        shown = self.work.writer.properties(step.unit, [*(name for name, unused in step.properties), "ActiveState"])
        if not step.files and shown.pop("ActiveState", "") in ("inactive", "failed"):
            return  # systemd would load it for this alone, and forget it
        files = {_registry.find(file.knob).unit_property: self._again(file) for file in step.files}
        target = dict(step.before)
        going = []
        for name, ours in step.properties:
            file = files.get(name)
            found = shown.get(name, ours) if file is None else self.work.read(file)
            part = WriteStep(name, "unit", step.unit, f"{step.unit} {name}", target.get(name, ""), ours)
            if self._is_ours(file._replace(knob=name, subject=step.unit) if file else part, found):
                going.append(name)
        if not going:
            return
        changes = tuple(self._turned(name, file, target) for name, file in files.items() if name in going)
        before = tuple((name, self._now(name, shown, target)) for name in going)
        self._put(PropertyStep(step.unit, tuple((name, target.get(name, "")) for name in going), before, changes))
        for file in (*map(self._again, step.besides), *(file for name, file in files.items() if name not in going)):
            self._keep(file)
        for name, file in files.items():
            # Before us systemd may have thought otherwise than the kernel, or a reload brings what others have written since.
            if name in going:
                self._put(file._replace(before=self.work.read(file) or "", after=file.before))
        ours_only = {_persist.run_time_path(step.unit, name) for name in going} - {left.name for left in self.left}
        for drop_in in step.drop_ins:
            # set-property writes it before this step comes, so it is put even if it reads right by now.
            if drop_in.path in ours_only:
                self._put(FileStep(drop_in.path, self.work.read(drop_in), drop_in.before, drop_in.mode_before, creates=drop_in.creates))

    def _turned(self, name: str, file: WriteStep, target: t.Mapping[str, str]) -> WriteStep:
        """The file of a property that goes back, as set-property leaves it."""
        wanted = target.get(name) or file.before
        after = file.before if self.work.same(name, wanted, file.before) else wanted
        return file._replace(before=self.work.read(file) or "", after=after)

    def _now(self, name: str, shown: t.Mapping[str, str], target: t.Mapping[str, str]) -> str:
        """What systemd says, in the words of the target if it is the same."""
        found, wanted = shown.get(name, ""), target.get(name, "")
        return wanted if self.work.same(name, found, wanted) else found

    def _is_ours(self, step: Part, found: t.Optional[str]) -> bool:
        ours = [step.after, step.before]
        if isinstance(step, WriteStep):
            # As many huge pages as the kernel gave us; another number is somebody else's.
            ours.append(self.found.get((step.path, step.after), step.after))
        if self.force or any(self.work.holds(step, text, found) for text in ours):
            return True
        target, wanted, now = ("absent" if text is None else text for text in (step.before, step.after, found))
        knob, subject = (step.knob, step.subject) if isinstance(step, WriteStep) else ("", "")
        self.left.append(Left(step.path, target, wanted, now, "changed by others since", knob, subject))
        return False

    def _put(self, step: Step) -> None:
        old = self.steps.pop(_steps.name(step), None)
        # What a unit took when it started, and what the journal's steps set there since.
        both = isinstance(step, PropertyStep) and isinstance(old, PropertyStep)
        self.steps[_steps.name(step)] = _side_by_side(t.cast("PropertyStep", old), t.cast("PropertyStep", step)) if both else step


def _side_by_side(old: PropertyStep, new: PropertyStep) -> PropertyStep:
    """One step of a unit for what two of them set, even where systemd says already what one wants."""
    names = {name for name, unused in new.properties}
    files = {file.path for file in new.files}
    properties, before = (tuple(pair for pair in pairs if pair[0] not in names) for pairs in (old.properties, old.before))
    kept = tuple(file for file in old.files if file.path not in files)
    return new._replace(properties=(*properties, *new.properties), before=(*before, *new.before), files=(*kept, *new.files))


def _values(step: Step) -> t.List[WriteStep]:
    """The kernel values that undoing a step has to bring back: its own first, then those it moves."""
    if isinstance(step, PropertyStep):
        left_out = given_up(step)
        return [*(file for file in step.files if file not in left_out), *step.besides]
    if not isinstance(step, WriteStep) or _is_action(step.knob):
        return []
    return [step, *map(_moved_step, step.moves)]


def given_up(step: Step) -> t.List[WriteStep]:
    """Files of properties that somebody else has set since, where the kernel has ours still."""
    names = {name for name, unused in step.properties} if isinstance(step, PropertyStep) else ()
    return [file for file in step.files if _registry.find(file.knob).unit_property not in names] if isinstance(step, PropertyStep) else []


def _parts(step: Step) -> t.List[Part]:
    """All that must be as before when a step was undone."""
    files = (step,) if isinstance(step, _FILES) else step.drop_ins if isinstance(step, PropertyStep) else ()
    return [*_values(step), *files]


def _besides(step: Step) -> t.Sequence[Part]:
    """What changes with a step, and is not what it says."""
    if isinstance(step, WriteStep):
        return [_moved_step(move) for move in step.moves]
    return (*step.besides, *step.drop_ins) if isinstance(step, PropertyStep) else ()


def _besides_these(step: Step, others: t.Iterable[Step]) -> Step:
    """A step whose run-time drop-ins, where others have them too, go back by what these say."""
    if not isinstance(step, PropertyStep):
        return step
    known = {part.path for other in others for part in _parts(other)}
    return step._replace(drop_ins=tuple(drop_in for drop_in in step.drop_ins if drop_in.path not in known))


def _moved_step(move: Moved) -> WriteStep:
    return WriteStep(move.knob, "host", "", move.path, move.before, move.before)


def _checked(step: Step) -> t.Sequence[Part]:
    """What is read back after a step; not those that read back themselves."""
    return () if isinstance(step, (ReloadStep, MemcgsStep)) else step.files if isinstance(step, PropertyStep) else (step,)


def _check_paths(journal: _journal.Journal, steps: t.Iterable[Step]) -> None:
    try:
        for step in steps:
            if isinstance(step, MemcgsStep):
                _check_memcgs(step)
            for value in (*_checked(step), *_values(step)):
                if isinstance(value, WriteStep):
                    _check_path(value)
    except (Refused, _registry.UnknownKnob) as exc:
        raise _journal.JournalError(journal.pending_path, f"{exc}. Run the version that wrote it, or put its values back by hand and remove it.") from exc


def _check_memcgs(step: MemcgsStep) -> None:
    for name in {value[0] for memcg in step.memcgs for value in memcg.values}:
        knob = _registry.find(name)
        if knob.scope != "memcg" or name not in {knob.v1, knob.v2} - {""}:
            raise Refused(name, "is no file of a cgroup that this collection writes")


def _check_path(step: WriteStep) -> None:
    knob = _registry.find(step.knob)
    if step.path != knob.path if knob.path else step.path.rpartition("/")[2] not in {knob.v1, knob.v2} - {""}:
        raise Refused(step.path, f"is not the file of {step.knob}")


def _known_texts(chosen: t.Iterable[t.Tuple[int, Step]], found: t.Mapping[int, str]) -> t.Dict[str, t.List[t.Optional[str]]]:
    """{kernel file, or unit and property: what it may hold by us}: what stood before, what we wrote and what came of it, what systemd makes of it."""
    known: t.Dict[str, t.List[t.Optional[str]]] = {}
    for number, step in chosen:
        if isinstance(step, WriteStep):
            known.setdefault(step.path, []).extend((step.before, step.after, found.get(number, step.after)))
        elif isinstance(step, PropertyStep):
            for name, value in (*step.properties, *step.before):
                known.setdefault(f"{step.unit} {name}", []).extend([value] if value else [])
            for file in (*step.files, *step.besides):
                words = known.get(f"{step.unit} {_registry.find(file.knob).unit_property}", ())
                known.setdefault(file.path, []).extend((file.before, file.after, *words))
    return known


def _is_open(step: Step, *, done: bool) -> bool:
    """It may hold more than what stood before, and what we made of it: what came to no end, and a file that set-property writes besides."""
    if isinstance(step, FileStep):
        return _persist.RUN_TIME.fullmatch(step.path) is not None
    return not done and (isinstance(step, (SwapStep, SwapFileStep)) or (isinstance(step, WriteStep) and (_is_loose(step) or step.bound > 0)))


def _key(step: t.Union[WriteStep, FileStep, SwapFileStep, SwapStep]) -> t.Tuple[str, str]:
    """(knob, subject), as rows have it; of a file its path."""
    if isinstance(step, WriteStep):
        return step.knob, step.subject
    return (step.name if isinstance(step, SwapStep) else f"swap.file {step.path}" if isinstance(step, SwapFileStep) else step.path), ""


def _is_shrinking(step: Step) -> bool:
    return isinstance(step, WriteStep) and step.bound > 0


def _is_loose(value: Part) -> bool:
    """The kernel may show another value than the one it took."""
    return isinstance(value, WriteStep) and (_is_rounded(value) or _is_action(value.knob))


def _is_rounded(value: WriteStep) -> bool:
    return _registry.find(value.knob).comparison == "effective_value"


def _is_action(name: str) -> bool:
    """A write starts something and leaves no value (commit_inputs)."""
    return _registry.find(name).one_shot


def _is_gone(exc: Exception, value: Part) -> bool:
    """A cgroup that ended, or a module that was unloaded, has no value to bring back."""
    return isinstance(value, WriteStep) and _has_ended(exc)


def _has_ended(exc: Exception) -> bool:
    return isinstance(exc, Replaced) or getattr(exc, "errno", 0) in (errno.ENOENT, errno.ENODEV)


def _word(text: str) -> str:
    """What a file shows as it takes it: of C([always] madvise never) the word in brackets."""
    return text.partition("[")[2].partition("]")[0] or text
