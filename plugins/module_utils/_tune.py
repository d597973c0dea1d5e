# SPDX-License-Identifier: BSD-2-Clause

"""One tune, one rollback: lock, recover, read, plan, run, tell. What an action plugin asks for is a request, what it gets one JSON string."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import typing as t

from . import (
    _boot,
    _guards,
    _journal,
    _origin,
    _persist,
    _plan,
    _plan_host,
    _plan_memcgs,
    _plan_shrink,
    _plan_swap,
    _plan_units,
    _present,
    _qos_work,
    _shrink,
    _started,
    _swap,
    _transaction,
    _wanted,
)
from ._knobs import _registry, _texts
from ._memcg_rows import Rows
from ._plan_rows import History, Left, Options, Plan, Row, given, is_same, judged
from ._read import _unit_state
from ._read._files import Tree, Unreadable
from ._steps import FileStep, MemcgsStep, PropertyStep, ReloadStep, Step, SwapFileStep, SwapStep, WriteStep
from ._transaction import Outcome
from ._writer import Refused, words

if t.TYPE_CHECKING:
    from ._present import Present
    from ._wanted import Folded, Key
    from ._writer import Writer

    Json = t.Dict[str, t.Any]

SCHEMA_VERSION = 1
# Where nobody asks for it; an undoing runs no step of its plan.
_ALWAYS = {*_guards.OVERCOMMIT, *_plan_shrink.KNOBS}
_NEVER = {"within": 0, "slice": 0}
_PROGRAMS = ("/usr/bin/systemd-tmpfiles", "/bin/systemd-tmpfiles")
# The first systemd that is known to leave the kernel's values alone at a daemon-reload. Measured: 252 does not, 257 does.
_RELOAD_KEEPS_KERNEL = 257
_BY_HAND = "not ours: somebody wrote it by hand, and this run's daemon-reload takes it back"
_UNREAD = "not ours: its files were changed without a daemon-reload, and this run's makes that live, at once or when a unit beside it starts"
_NO_WAY_BACK = "given at boot by our line, and what it was without is not known; it ends with its cgroup"
_STAYS = "The node stays as it is, half done. Let usage fall or stop the unit, or allow it, and run again; {} holds the values from before"
AWAITS = "generation {} awaits confirmation, and nothing was written: confirm it (memqos.fleet.confirm), or roll it back"


class TuneError(Exception):
    """The node cannot be tuned at all; the message says what to do."""


class Work:
    """One node that is tuned or rolled back: a live one, or (to check only) a captured tree."""

    def __init__(self, tree: Tree, writer: Writer, *, check: bool, code: t.Callable[[], bytes] = _boot.archive) -> None:
        self.tree = tree
        self.code = code
        self.writer = writer
        self.check = check
        self.journal = _journal.Journal(writer)
        self.notes: t.List[str] = []
        self.undone = False  # something of an interrupted run
        self.shrinking: t.List[Json] = []
        self.clean = True  # nothing is left of a shrinking that gave up
        self.interrupted: t.FrozenSet[str] = frozenset()  # whose drop-ins it wrote

    @contextlib.contextmanager
    def locked(self, wait: float, allow: t.Collection[str]) -> t.Iterator[None]:
        """With what an interrupted run left put in order. A check changes nothing, so it needs no lock."""
        if os.geteuid() and self.tree.live:
            raise TuneError("needs root: set ansible_become to true for this host")
        pending = self.journal.pending() if self.check else None
        if self.check:
            self.interrupted = _subjects(pending.entry.steps if pending else ())
            self.notes += filter(None, [self.journal.unfinished()])
            yield
            return
        if not self.tree.live:
            raise TuneError("a captured tree can only be checked: run with --check")
        with self.journal.locked(wait=wait):
            self.recover(allow)
            yield

    def recover(self, allow: t.Collection[str]) -> None:
        def plan(undone: t.Sequence[Step], begun: t.Sequence[Step]) -> t.Sequence[Step]:
            return _recovery(undone, begun, allow, self) if undone else ()

        swapoff = _plan_swap.RISK in allow
        with _uncut():
            outcome = _transaction.recover(self.journal, boot_id=self.boot_id(), page_size=self.page_size(), plan=plan, swapoff=swapoff)
        if outcome is not None and not outcome.ok:
            raise TuneError(outcome.problem)
        if outcome is not None:
            self.notes.append(outcome.problem)
            self.undone = any(result.status == "undone" for result in outcome.results)
            self.clear(_boot.tidy)

    def clear(self, how: t.Callable[[_journal.Journal], None]) -> None:
        """Of what lies there for the next boot: nothing hangs by it any more."""
        try:
            how(self.journal)
        except (OSError, Refused, _journal.JournalError) as exc:
            self.notes.append(f"{_boot.SERVICE} was not removed, and does nothing: {words(exc)}")

    def boot_id(self) -> str:
        return self.tree.read_text("/proc/sys/kernel/random/boot_id")

    def page_size(self) -> int:
        return os.sysconf("SC_PAGE_SIZE")

    def origin(self) -> t.Sequence[Step]:
        """The journal's; where it is empty, what a run that was killed before it began has laid is cleared away."""
        steps = self.journal.origin()
        if not (steps or self.check):
            self.clear(_boot.tidy)
        return steps

    def lay(self) -> None:
        """Before each C(begin): what ends it at the next boot. Raises JournalError."""
        unused, why = _boot.lay(self.journal, self.tree, self.code())
        note = f"{why}: what is interrupted is put right by the next run, not by the next boot"
        self.notes += [note] if why and note not in self.notes else []

    def run(self, steps: t.Sequence[Step], meta: t.Mapping[str, t.Any], adopted: t.Sequence[Step], keep: Json) -> Outcome:
        """Nothing in a check, or without steps."""
        if self.check or not steps:
            return Outcome(True, True, 0, ())
        try:
            self.lay()
            with _uncut():
                outcome = _transaction.run(steps, self.journal, boot_id=self.boot_id(), page_size=self.page_size(), meta=meta, adopted=adopted)
        finally:
            self.clear(_boot.tidy)
        if outcome.warning or not outcome.generation:
            return outcome
        try:
            self.journal.drop(_old(self.journal, keep))
        except (OSError, Refused, _journal.JournalError) as exc:
            return outcome._replace(warning=f"older generations were not removed: {exc}")
        return outcome

    def shrink(self, made: Plan, meta: t.Mapping[str, t.Any], asked: Json) -> Plan:
        """With usage below all bounds; else without steps: C(self.shrinking) says how far it came, and the plan why that is all.

        C(asked): {within: seconds that are left, slice: those of them that one call takes, last: there is no call after this one}.
        """
        bounds = [step for step in made.steps if isinstance(step, WriteStep) and step.bound]
        steps = [] if self.check else [step for step in bounds if _shrink.is_above(step, self.writer)]
        if not self.check and bounds and not self.tree.exists("/proc/pressure/memory"):
            self.notes.append("this kernel tells no pressure (PSI): whether tasks stood still while usage came down was not seen")
        if not steps:
            return made
        seconds = min(asked["slice"], asked["within"])
        try:
            self.lay()
            with _uncut():
                came = _transaction.shrink(steps, self.journal, boot_id=self.boot_id(), page_size=self.page_size(), meta=meta, seconds=seconds)
        finally:
            self.clear(_boot.tidy)
        self.shrinking = [one._asdict() for one in came.shrunk]
        problem = came.problem
        waiting = [one for one in came.shrunk if not one.done]
        if waiting and not problem and asked.get("last"):
            problem = "\n".join(map(_shrink.too_slow, waiting))
        if not problem and not waiting:
            return made
        rows = tuple(row._replace(status="undone") if row.status == "would_change" else row for row in made.rows)
        self.clean = came.clean
        return made._replace(steps=(), rows=rows, blocked=problem)

    def turned(
        self, steps: t.Sequence[Step], started: t.Sequence[PropertyStep] = (), *, force: bool = False, allow: t.Collection[str] = ()
    ) -> _transaction.Rollback:
        return _transaction.back(steps, self.journal, boot_id=self.boot_id(), page_size=self.page_size(), force=force, started=started, allow=allow)


@contextlib.contextmanager
def _uncut() -> t.Iterator[None]:
    """A connection that is cut, or a node that shuts down, finds all done or undone: until then these signals do not count."""
    before: t.Dict[int, t.Any] = {}
    with contextlib.suppress(ValueError):  # in another thread than the first
        before.update((number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGHUP, signal.SIGTERM))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def answer(result: Json) -> Json:
    """The result of C(tune) or C(rollback) as a module returns it: one line of ASCII, like that of an audit."""
    rows = result["containers"]
    told = {**result, "containers": rows.packed() if isinstance(rows, Rows) else rows}
    return {"tune": json.dumps(told, separators=(",", ":"), allow_nan=False), "changed": result["changed"], "problem": result["problem"]}


def tune(request: Json, work: Work) -> Json:
    """Raises TuneError, JournalError and Unreadable; then nothing was written. A plan that failed is undone, and C(problem) says so."""
    asked = {**request["options"], "shrink": request.get("shrink", _NEVER)["within"] > 0}
    options = Options(**{**asked, "only": tuple(asked["only"]), "allow": tuple(asked["allow"])})
    with work.locked(request["wait"], options.allow):
        layers, said = _with_earlier(request["layers"], work.journal)
        wanted_before = _last_wanted(work.journal)
        steps = work.origin()
        present = _read(layers, {*wanted_before, *_origin.parts(steps, {})}, work.tree)
        steps = _started.restarted(steps, present)
        found = _transaction.shown_after(work.journal, steps)
        memtotal = _memtotal(work.journal, present)
        folded = _fold(layers, present, _origin.parts(steps, found), memtotal, _plan_swap.facts_before_us(present.facts, steps))
        swap = _swap_part(folded, steps, memtotal, options, work)
        history = _history(folded, wanted_before, steps, present, options, work, swap.leaving)._replace(found=found)
        made = _plan.plan(folded, present, history, options, _files(folded, history, steps, present, options, work, swap.texts), swap)
        made, present = _with_unread(made, present, options.allow, work)
        made = _guarded(made, options.allow, present, work)
        memcgs = _qos_work.part(
            _qos_work.asked(request.get("qos", {}), folded.layers), steps, present, options, work.tree, work.writer, _taken(folded, present),
            made.steps,
        )  # fmt: skip
        made = _with_memcgs(made, memcgs)
        adopted = _started.adopted(made.steps, present, steps, _late(work))
        made, forgotten = _without_stale(made, steps, made.wanted, present, work)
        meta = {
            **request["meta"],
            "wanted": sorted(made.wanted),
            "memtotal": memtotal,
            "layers": _applied(layers, options, work.journal),
            "allow": options.allow,
        }
        meta["profiles"] = [*dict.fromkeys([*said, *meta.get("profiles", ())])]
        if made.steps and not work.check:
            _require_armed(work.journal, request)
        made = work.shrink(made, meta, request.get("shrink", _NEVER))
        if made.steps and not work.check:
            _require_armed(work.journal, request)  # shrinking has taken time
        outcome = work.run(made.steps, meta, [*adopted, *forgotten], request["keep"])
        work.notes += memcgs.notes
        return _told(made, outcome, present, work, memcgs.rows)


def rollback(request: Json, work: Work) -> Json:
    """To what stood after generation C(to), before the last one (C(previous)) or before our first (C(origin)). Raises as C(tune) does."""
    with work.locked(request["wait"], request["allow"]):
        origin = work.origin()
        target, stands = _target(request["to"], work.journal)
        done = _transaction.done_since(work.journal, target)
        present = _read_again(done, work.tree)
        turned = _turned(done, present, work, request["allow"], force=request["force"])
        made = _rollback_plan(turned, present, request)
        made, present = _with_unread(made, present, request["allow"], work)
        made = _bearable(_guarded(made, request["allow"], present, work), request["allow"], present, work)
        was: Json = {"layers": []} if target == "origin" else work.journal.generation(int(target)).meta
        wanted = was.get("wanted", [])
        adopted = _started.adopted(made.steps, present, origin, _late(work))
        made, forgotten = _without_stale(made, origin, [*map(tuple, wanted)], present, work)
        kept = {key: was[key] for key in ("layers", "profiles") if key in was}
        meta = {**request["meta"], **kept, "wanted": wanted, "stands": stands, "memtotal": _memtotal(work.journal, present), "allow": request["allow"]}
        nothing = not (made.steps or made.blocked)
        made = work.shrink(made, meta, request.get("shrink", _NEVER))
        outcome = work.run(made.steps, meta, [*adopted, *forgotten], request["keep"])
        _decided(outcome.generation, target, work, nothing=nothing)
        return _told(made, outcome, present, work, _plan_memcgs.returned(made.steps))


def _decided(made: int, target: t.Union[int, str], work: Work, *, nothing: bool) -> None:
    """Who rolls back has decided, where others have left nothing to take back too. Not who goes back to what awaits confirmation itself."""
    waiting = 0 if made or work.check or not nothing else work.journal.unconfirmed()
    if waiting and (target == "origin" or int(target) < waiting):
        work.notes.append(f"nothing was left of generation {waiting} to take back: it awaits confirmation no more")
        work.clear(_boot.disarm)
    elif made and work.journal.armed():
        work.clear(_boot.disarm)


def _require_armed(journal: _journal.Journal, request: Json) -> None:
    """Nothing awaits confirmation; a run that shall do so itself is armed, and has time left (C(until), by the monotonic clock). Raises TuneError."""
    waiting, token, armed = journal.unconfirmed(), request["meta"].get("confirm"), journal.armed().get("token")
    if waiting:
        raise TuneError(AWAITS.format(waiting))
    if not token:
        return
    if armed not in (None, token):
        raise TuneError("nothing was written: another run has been armed instead of this one, and its tune is to be confirmed")
    if time.monotonic() >= request["until"] or (armed and not _boot.ticks(journal.writer)):
        raise TuneError("nothing was written: the time to confirm ran out first, allow more (memqos_confirm_within)")
    if not armed:
        raise TuneError("nothing was written: somebody confirmed or rolled back before there was anything to confirm, or the node rebooted. Run again")


# Reading


def _last_meta(journal: _journal.Journal) -> Json:
    known = journal.generations()
    return journal.generation(known[-1]).meta if known else {}


def _last_wanted(journal: _journal.Journal) -> t.FrozenSet[Key]:
    return frozenset(t.cast("Key", tuple(row)) for row in _last_meta(journal).get("wanted", []))


def _with_earlier(layers: t.Sequence[Json], journal: _journal.Journal) -> t.Tuple[t.Sequence[Json], t.Sequence[str]]:
    """(layers, names asked for earlier): C({earlier: NAME}) among them stands for the last run's of that name, an empty name for all. Raises TuneError."""
    at = next((number for number, layer in enumerate(layers) if "earlier" in layer), None)
    if at is None:
        return layers, ()
    name, newer, last = layers[at]["earlier"], layers[at + 1 :], _last_meta(journal)
    if last.get("wanted") and "layers" not in last:
        raise TuneError("an older memqos.fleet made the last generation and did not keep its profiles there: name them with memqos_profile")
    kept = [_in_force(layer, newer) for layer in last.get("layers", []) if not name or layer["profile"] == name]
    _checked(("", unit, knob) for layer in kept for unit, knob, unused in _entries(layer))
    kept = [layer for layer in kept if layer["host"] or layer["slices"] or layer.get("swap") or layer.get("qos")]
    return [*layers[:at], *kept, *newer], () if name else last.get("profiles", [])


def _in_force(layer: Json, newer: t.Sequence[Json]) -> Json:
    """Without what a newer layer of the same name says too, or sets outright: such layers would pile up from run to run."""
    said = {(unit, knob): entry for one in newer if one["profile"] == layer["profile"] for unit, knob, entry in _entries(one)}
    return _only(
        layer, lambda unit, knob, entry: (unit, knob) not in said or (bool({"raise_to", "lower_to"} & set(said[unit, knob])) and said[unit, knob] != entry)
    )


def _applied(layers: t.Sequence[Json], options: Options, journal: _journal.Journal) -> t.List[Json]:
    """What the next run finds as having been wanted: in areas that this one leaves alone what the last one did."""

    def covered(knob: str) -> bool:
        return options.covers(_texts.area(_registry.find(knob)))

    before = _last_meta(journal).get("layers", []) if options.only else []
    sections = {"swap": options.covers("swap"), "qos": options.covers(_qos_work.AREA)}
    return [
        *(_only(layer, lambda unit, knob, entry: not covered(knob), [name for name in sections if not sections[name]]) for layer in before),
        *(_only(layer, lambda unit, knob, entry: covered(knob), [name for name in sections if sections[name]]) for layer in layers),
    ]


def _entries(layer: Json) -> t.Iterator[t.Tuple[str, str, Json]]:
    """(unit or empty, knob, entry)"""
    for unit, entries in [("", layer["host"]), *layer["slices"].items()]:
        yield from ((unit, knob, entry) for knob, entry in entries.items())


def _only(layer: Json, stays: t.Callable[[str, str, Json], bool], sections: t.Container[str] = ("swap", "qos")) -> Json:
    found: Json = {**{key: value for key, value in layer.items() if key not in ("swap", "qos") or key in sections}, "host": {}, "slices": {}}
    for unit, knob, entry in _entries(layer):
        if stays(unit, knob, entry):
            (found["slices"].setdefault(unit, {}) if unit else found["host"])[knob] = entry
    return found


def _checked(keys: t.Iterable[Key]) -> t.List[Key]:
    """Keys of the journal, all of knobs that this version knows. Raises TuneError."""
    found = list(keys)
    for key in found:
        try:
            _registry.find(key[2])
        except _registry.UnknownKnob as exc:
            raise TuneError(f"the journal has {key[2]}, which this version of memqos.fleet does not know: run the version that set it") from exc
    return found


def _read(layers: t.Sequence[Json], before: t.Iterable[Key], tree: Tree) -> Present:
    """C(before): knobs that earlier runs wanted or changed."""
    keys = _checked(before)
    knobs = {name for layer in layers for name in layer["host"]} | {name for layer in layers for name in _asked(layer.get("when"))}
    knobs |= {key[2] for key in keys if not key[1]}
    subjects = {unit for layer in layers for unit in layer["slices"]} | {key[1] for key in keys if key[1]}
    properties = {name for layer in layers for unit in layer["slices"].values() for name in unit} | {key[2] for key in keys if key[1]}
    return _present.read(tree, knobs=knobs | _ALWAYS | _plan_host.companions(knobs), subjects=sorted(subjects), properties=properties)


def _read_again(done: t.Sequence[Step], tree: Tree) -> Present:
    """What these steps changed, and the units that take after a drop-in of ours by now."""
    keys = _checked([*_origin.parts(done, {}), *_started.late_keys(done)])
    subjects = {key[1] for key in keys if key[1]} | _subjects(done)
    properties = {key[2] for key in keys if key[1]}
    knobs = {key[2] for key in keys if not key[1]}
    return _present.read(tree, knobs=knobs | _ALWAYS | _plan_host.companions(knobs), subjects=sorted(subjects), properties=properties)


def _subjects(steps: t.Iterable[Step]) -> t.FrozenSet[str]:
    """Whose drop-ins these write."""
    return frozenset(_started.subject_of(step.path) for step in steps if isinstance(step, FileStep) and _persist.is_drop_in(step.path))


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


def _memtotal(journal: _journal.Journal, present: Present) -> int:
    """What shares are of: as at the last run, as long as no more than 1 % has come or gone. A balloon or a new kernel moves it by pages."""
    now, known = present.meminfo["MemTotal"], journal.generations()
    last = t.cast(int, journal.generation(known[-1]).meta.get("memtotal", 0)) if known else 0
    return last if abs(now - last) * 100 <= last else now


def _fold(layers: t.Sequence[Json], present: Present, origin: _origin.Parts, memtotal: int, swap_facts: t.Mapping[str, t.Any]) -> Folded:
    """Conditions see the values, and facts that hang on them, from before us too: one that our own write makes false would undo it at the next run."""
    moved: t.Set[Key] = set()
    while True:
        host, units = _origin.before_us(origin, present, moved)
        env = {"facts": {**present.facts, **_origin.facts_before_us(present.facts, host), **swap_facts}, "knob": host}
        basis = _wanted.Basis(env, memtotal, present.page_size, str(present.facts.get("kernel", "")), host, units)
        folded = _wanted.fold(layers, basis)
        # What somebody moved out of its bounds rests on the value from before us, as at the next run.
        more = {key for key, one in folded.wanted.items() if one.bounds and basis.value(key[1], key[2]) != (True, one.value)} - moved
        if not more:
            return folded
        moved |= more


def _history(
    folded: Folded, wanted_before: t.FrozenSet[Key], steps: t.Sequence[Step], present: Present, options: Options, work: Work, swap: t.Sequence[Step]
) -> History:
    """C(swap): steps of areas that go back."""
    leaving = _plan.leaving(folded, wanted_before, options)
    staying = {*folded.wanted, *wanted_before} - set(leaving)
    all_steps = _started.with_late(steps, _late(work) if leaving else {}, {}, present)
    going, unknown = _known(_origin.going_back(leaving, staying, all_steps, present), steps)
    known = {*_origin.parts(going, {}), *((scope, unit.state.name, name) for scope, subject, name in staying for unit in present.units.get(subject, ()))}
    turned = work.turned([*going, *swap], _started.steps(_started.without(leaving, staying, present.drop_ins), present, known))
    left = tuple(Left(one.subject, one.knob or one.name, one.found, one.reason, one.failed) for one in (*turned.left, *unknown))
    returning = [step for step in turned.steps if not isinstance(step, ReloadStep)]
    return History(wanted_before, (*returning, *_commits(returning, present)), left)


def _late(work: Work) -> t.Dict[str, str]:
    """The lines of our late unit."""
    text = _text(_persist.LATE_TMPFILES, work.writer)
    return _persist.tmpfiles_lines(text) if _persist.is_ours(text) else {}


def _known(steps: t.Sequence[Step], journal: t.Container[Step]) -> t.Tuple[t.List[Step], t.List[_transaction.Left]]:
    """(steps, those that are not the journal's, of which nobody knows what stood before)"""
    unknown = [step for step in steps if isinstance(step, WriteStep) and not step.before and step not in journal]
    left = [_transaction.Left(step.path, "", step.after, step.after, _NO_WAY_BACK, step.knob, step.subject) for step in unknown]
    return [step for step in steps if step not in unknown], left


def _commits(returning: t.Iterable[Step], present: Present) -> t.Iterator[WriteStep]:
    """A module that runs takes back its inputs as it took them: by an action."""
    return _plan_host.commits({step.knob for step in returning if isinstance(step, WriteStep) and step.before != step.after}, present)


def _files(folded: Folded, history: History, steps: t.Sequence[Step], present: Present, options: Options, work: Work, swap: t.Iterable[str]) -> _plan.Files:
    """C(swap): paths of its files."""
    subjects = {key[1] for key in (*folded.wanted, *history.wanted) if key[1]}
    made = _origin.our_files(steps)
    ours = {path: _text(path, work.writer) for path in (*_plan.our_paths(sorted(subjects), options.sysctl_file), *made, *swap)}
    aside = _plan.set_aside(folded, present, history, options, _plan.Files(ours)) if options.on_conflict == "take" else []
    foreign = {path: _foreign(path, present, work) for path in aside}
    for step in steps:
        text = _text(step.path, work.writer) if isinstance(step, FileStep) and step.path not in made else None
        if isinstance(step, FileStep) and text is not None and _persist.ASIDE in text:
            foreign.setdefault(step.path, _plan.Foreign(step.path, text, text, step.mode, is_copy=step.before is None and text == step.after))
    program = next((path for path in _PROGRAMS if work.tree.exists(path)), _PROGRAMS[0])
    hidden = tuple(path for path in _persist.hidden_paths(options.sysctl_file) if work.tree.exists(path))
    return _plan.Files(ours, made, foreign, program, hidden)


def _foreign(path: str, present: Present, work: Work) -> _plan.Foreign:
    """A file that is to be set aside: it is edited where it lies, or hidden by a copy."""
    real = present.persisted.real_paths.get(path, path)
    target = _persist.aside_target(path, real)
    before = work.writer.read(target)
    text = work.tree.read(real).decode("utf-8", "surrogateescape")
    return _plan.Foreign(target, before.text if before else None, text, before.mode if before else 0o644, is_copy=before is None)


def _text(path: str, writer: Writer) -> t.Optional[str]:
    file = writer.read(path)
    return None if file is None else file.text


def _with_unread(made: Plan, present: Present, allow: t.Collection[str], work: Work, own: t.Sequence[str] = ()) -> t.Tuple[Plan, Present]:
    """With what the plan's daemon-reload makes of units that are not ours: whose files somebody changed and systemd has not read, or who wrote by hand.

    Systemd 252 writes all into the kernel there and then, 257 what it has read anew when the unit is realized again, as it is when one beside it starts
    (measured). It is held against the same bounds as ours. Nothing takes it back: it is what somebody wants. C(own): units that a recovery's reload may reset.
    """
    if not any(isinstance(step, ReloadStep) for step in made.steps):
        return made, present
    try:
        resets = present.facts.get("systemd", 0) < _RELOAD_KEEPS_KERNEL
        names, others = _present.read_unread(work.tree, present, by_hand=resets)
    except Unreadable as exc:
        if work.tree.live:
            raise TuneError(f"systemd does not say whose files it has not read ({exc.path}: {exc.reason}): nothing was written, run again") from exc
        return made, present
    told = [name for name in names if not any(_unit_state.covers(subject, name) for subject in work.interrupted)]
    if told:
        work.notes.append(f"somebody changed files of {', '.join(told)} without a daemon-reload: this run's makes them count")
    own = own if resets else ()
    by_hand = [unit.state.name for unit in others if any(_plan_units.by_hand(unit, present))]
    subjects = list(dict.fromkeys((*(told if work.check else names), *by_hand, *own)))
    if not subjects:
        return made, present
    read = _present.read(work.tree, knobs=(), subjects=subjects, properties=_properties(present), persisted=present.persisted)
    drop_ins = _started.changed(read.drop_ins, _started.lines_of(made.files))
    coming = [
        (write, _BY_HAND if name in by_hand or name in own else _UNREAD)
        for name, units in read.units.items()
        for unit in units
        for write in _started.coming(unit, drop_ins, read, made.steps, is_read=name in by_hand and name not in own)
    ]
    present = present._replace(units={**read.units, **present.units}, cgroups={**read.cgroups, **present.cgroups})
    dangers = _guards.dangers([*made.steps, *(write for write, unused in coming)], _plan.figures(present))
    rows = [judged(row, dangers.get((row.name, row.subject)), allow) for write, why in coming for row in _plan.returned_rows([write], why)]
    blocked = _refusals(rows)
    return made._replace(steps=() if blocked else made.steps, rows=(*made.rows, *rows), blocked=blocked), present


def _without_stale(made: Plan, origin: t.Sequence[Step], wanted: t.Iterable[Key], present: Present, work: Work) -> t.Tuple[Plan, t.List[Step]]:
    """A plan that does something takes away what is left of units that have gone: (the plan with run-time drop-ins of ours, what the journal alone forgets)."""
    going: t.List[FileStep] = []
    forgotten: t.List[Step] = []
    for step in _origin.stale(origin, made.steps, wanted, present) if made.steps else ():
        text = _text(step.path, work.writer) if isinstance(step, FileStep) else None
        if not isinstance(step, FileStep) or text is None:
            forgotten.append(step)
        elif text == step.before:
            going.append(step)
    # Before systemd reads them anew, and what made a directory last, when that is empty.
    leaving: t.List[FileStep] = [step for step in made.steps if isinstance(step, FileStep) and step.after is None and _persist.RUN_TIME.fullmatch(step.path)]
    steps = [step for step in made.steps if step not in leaving]
    # Swap that comes on has a reload of its own, before the units.
    reloads = [
        number
        for number, step in enumerate(steps)
        if isinstance(step, ReloadStep) and not any(isinstance(one, SwapStep) for one in steps[number + 1 : number + 2])
    ]
    at = reloads[-1] if reloads else len(steps)
    ordered = sorted([*leaving, *going], key=lambda step: len(step.creates))
    return made._replace(steps=(*steps[:at], *ordered, *steps[at:]), files=(*made.files, *going)), forgotten


def _refusals(rows: t.Iterable[Row]) -> str:
    return "\n".join(f"{row.subject} {row.name}: {row.reason}".strip() for row in rows if row.status in ("refused", "failed"))


# Swap


def _swap_part(folded: Folded, origin: t.Sequence[Step], memtotal: int, options: Options, work: Work) -> _plan_swap.SwapPart:
    """What stands stays where swap is not managed, or another area is asked for. Raises Unreadable."""
    if not (options.swap and options.covers("swap")):
        profiles = dict.fromkeys(profile for said in folded.swap.values() for unused, profile in said.values()) if options.covers("swap") else ()
        return _plan_swap.SwapPart(skipped=tuple(_wanted.Skipped(profile, "swap", "", "swap", "memqos_manage_swap is off") for profile in profiles))
    ground = _swap.read(work.tree, [thing for thing in folded.swap if thing.startswith("/")]) if folded.swap else _swap.Ground()
    ground = ground._replace(live={device: _swap.state(work.tree, device) for device in ground.real})
    things = _plan_swap.things(folded.swap, ground, memtotal)
    ground = ground._replace(live={thing.step.area: _swap.state(work.tree, thing.step.area) for thing in things})
    for path in (thing.path for thing in things if thing.path):
        ground = _swap.with_disk(ground, work.tree, path.rsplit("/", 2)[0])
        try:
            ground = ground._replace(size=work.writer.swap_file(path))
        except (OSError, Refused) as exc:
            ground = ground._replace(trouble=exc.reason if isinstance(exc, Refused) else words(exc))
    return _plan_swap.plan_swap(things, ground, origin)


def _guarded(made: Plan, allow: t.Collection[str], present: Present, work: Work) -> Plan:
    """With each swapoff held against what the node could take up now, within old limits and new ones. Raises Unreadable."""
    areas = [step for step in made.steps if isinstance(step, SwapStep)]
    if not any(step.before for step in areas):
        return made
    room, real, dangers = _swap.room(work.tree), {step.area: work.tree.target(step.area) for step in areas}, {}
    for cgroups in ({}, _plan.after_steps(made.steps, present)):
        dangers.update(_plan_swap.dangers(areas, room._replace(cgroups={**room.cgroups, **cgroups}), real))
    rows = tuple(judged(row, dangers.get(row.key), allow) for row in made.rows)
    blocked = _refusals(row for row in rows if row.key in dangers)
    allowed = int(_plan_swap.RISK in allow)
    steps = (step._replace(allowed=allowed) if isinstance(step, SwapStep) else step for step in made.steps)
    return made._replace(steps=() if blocked else tuple(steps), rows=rows, blocked=blocked)


# Containers


def _taken(folded: Folded, present: Present) -> t.Dict[str, t.Any]:
    """Files of cgroups that slices want something of, and what."""
    found: t.Dict[str, t.Any] = {}
    for (unused, subject, name), wanted in folded.wanted.items():
        for unit in present.units.get(subject, ()):
            owners = [knob for knob in _registry.memcg_knobs() if unit.state.cgroup and name in (knob.name, knob.unit_property)]
            found.update((f"{present.mount}{unit.state.cgroup}/{_present.file_name(knob, present.version)}", wanted.value) for knob in owners)
    return found


def _bearable(made: Plan, allow: t.Container[str], present: Present, work: Work) -> Plan:
    """Of a way back: without steps where it brings more protection of containers than the node can bear."""
    memcgs = [memcg for step in made.steps if isinstance(step, MemcgsStep) for memcg in step.memcgs]
    refused, notes = _qos_work.protected_too_much(memcgs, allow, present, work.tree)
    work.notes += notes
    blocked = "\n".join(filter(None, (made.blocked, *refused)))
    return made._replace(steps=() if blocked else made.steps, blocked=blocked)


def _with_memcgs(made: Plan, memcgs: _plan_memcgs.MemcgPart) -> Plan:
    """Their values come last: a daemon-reload resets what is written by hand."""
    blocked = "\n".join(filter(None, (made.blocked, memcgs.blocked)))
    return made._replace(steps=() if blocked else (*made.steps, *filter(None, [memcgs.step])), blocked=blocked)


# Rolling back


def _target(to: str, journal: _journal.Journal) -> t.Tuple[t.Union[int, str], t.Union[int, str]]:
    """(generation or origin that is gone back to, the tune that stands then)"""
    known = journal.generations()
    if not known:
        raise TuneError("there is nothing to roll back: memqos.fleet has never changed this node")
    target: t.Union[int, str] = "origin"
    if to == "previous":
        stands = _standing(known[-1], journal)
        earlier = [number for number in known if stands != "origin" and number < int(stands)]
        if stands != "origin" and not earlier and known[0] > 1:
            raise TuneError(f"what stood before generation {stands} is kept no more: name origin, or one of {', '.join(map(str, known))}")
        target = earlier[-1] if earlier else "origin"
    elif to not in ("origin", "0"):
        target = int(to)
    return target, "origin" if target == "origin" else _standing(int(target), journal)


def _standing(number: int, journal: _journal.Journal) -> t.Union[int, str]:
    """The tune whose values stood after this generation: of a rollback the one that it went back to."""
    return t.cast("t.Union[int, str]", journal.generation(number).meta.get("stands", number))


def _old(journal: _journal.Journal, keep: Json) -> t.List[int]:
    """The oldest generations, which nobody wants kept: neither of the newest C(generations), nor begun since C(since), by the clocks of controllers.

    What stands stays, and what C(previous) goes back to.
    """
    known = journal.generations()
    stands = _standing(known[-1], journal)
    before = [number for number in known if stands != "origin" and number < int(stands)]
    first = before[-1] if before else known[-1] if stands == "origin" else int(stands)
    going = []
    for number in known[: -keep["generations"]]:
        if number >= first or str(journal.generation(number).meta.get("started", "9")) >= keep["since"]:
            break
        going.append(number)
    return going


def _turned(done: t.Sequence[Step], present: Present, work: Work, allow: t.Collection[str], *, force: bool) -> _transaction.Rollback:
    """With the units that started since, and took our values from drop-ins that change or go."""
    files = work.turned([step for step in done if isinstance(step, FileStep)], force=force).steps
    changes = _started.lines_of(files)
    done = _started.retargeted(_started.restarted(done, present), changes, present)
    late = next((step for step in files if isinstance(step, FileStep) and step.path == _persist.LATE_TMPFILES), None)
    now, then = (_persist.tmpfiles_lines(text) for text in ((late.before, late.after) if late else (None, None)))
    done, left = _known(_started.with_late(done, now, then, present), done)
    turned = work.turned(done, _started.steps(changes, present, _origin.parts(done, {})), force=force, allow=allow)
    unknown = [_transaction.Left(path, "", "", "", present.no_units, failed=True) for path in changes if present.no_units]
    return turned._replace(left=(*turned.left, *left, *unknown))


def _rollback_plan(turned: _transaction.Rollback, present: Present, request: Json) -> Plan:
    steps = _plan.in_order([*turned.steps, *_commits(turned.steps, present)])
    rows, shrinks = _plan.judged_by(_plan.returned_rows(steps), steps, present, request["allow"], shrink=bool(request.get("shrink", _NEVER)["within"]))
    for one in turned.left:
        if one.failed and not request["force"]:
            reason = f"{one.reason}: run again; memqos_rollback_force: true takes the rest back without it"
            rows.append(Row(one.knob or one.name, "", one.subject, None, status="failed").because(reason))
            continue
        target = f" to {one.target or 'its default'}" if one.knob else ""
        stays = "it stays as it is" if one.knob or not one.found else "it stays, and what stands in it decides at the next boot"
        way = f"memqos_allow_risks: [{one.risk}]" if one.risk else "memqos_rollback_force: true"
        reason = f"{one.reason}: {stays}; {way} takes it back{target} all the same"
        found = one.found if one.knob else None
        rows.append(Row(one.knob or one.name, "", one.subject, None, found, found, status="deferred").because(reason))
    blocked = _refusals(rows)
    files = tuple(step for step in steps if isinstance(step, FileStep) and step.before != step.after)
    return Plan(() if blocked else tuple(_plan_shrink.inserted(steps, shrinks)), tuple(rows), files, (), frozenset(), blocked)


# Undoing what was interrupted


def _recovery(undone: t.Sequence[Step], begun: t.Sequence[Step], allow: t.Collection[str], work: Work) -> t.List[Step]:
    """What units took from our drop-ins since, to be undone as well: like a rollback. Raises TuneError where that is refused; then nothing was written.

    C(begun): with what others have set since.
    """
    present = _read_again(undone, work.tree)
    work.interrupted = _subjects(undone)
    # A unit that was started anew has another cgroup, in which nobody has set anything.
    inodes = {0, *(unit.inode for units in present.units.values() for unit in units)}
    writes = {step.path: step for step in undone if isinstance(step, WriteStep) and step.inode in inodes}
    # What goes back in the kernel alone: of a property that somebody else has set by now, and what was written past systemd.
    alone = [file for step in undone if isinstance(step, PropertyStep) for file in (*_transaction.given_up(step), *step.besides)]
    writes.update((file.path, file) for file in alone if file.inode in inodes)
    moved = {move.path: WriteStep(move.knob, "host", "", move.path, move.before, move.before) for step in writes.values() for move in step.moves}
    turned = work.turned([*{**moved, **writes}.values(), *(step for step in undone if not isinstance(step, (WriteStep, MemcgsStep)))], force=True)
    # What others have written there since is not undone.
    memcgs = work.turned([step for step in undone if isinstance(step, MemcgsStep)], allow=allow)
    known = _origin.parts([step for step in begun if not isinstance(step, PropertyStep) or all(file.inode in inodes for file in step.files)], {})
    changes = _started.lines_of(turned.steps)
    started = _started.taken(changes, present, known)
    back = work.turned((), started, force=True)
    troubles = [f"{one.name}: {one.reason}" for one in (*turned.left, *back.left) if one.failed]
    troubles += [f"{one.name}: {one.reason}. To do it all the same: memqos_allow_risks: [{one.risk}]" for one in memcgs.left if one.risk]
    if present.no_units and (changes or any(key[1] for key in _origin.parts(undone, {}))):
        troubles.append(present.no_units)
    made = _rollback_plan(_transaction.Rollback((*turned.steps, *memcgs.steps, *back.steps), ()), present, {"allow": allow, "force": True})
    own = sorted({unit.state.name for units in present.units.values() for unit in units if unit.state.cgroup})
    made, unused = _with_unread(made, present, allow, work, own)
    made = _bearable(_guarded(made, allow, present, work), allow, present, work)
    refused = "\n".join(filter(None, (*troubles, made.blocked)))
    if refused:
        raise TuneError(f"an interrupted run has to be undone first, and nothing was written for that:\n{refused}\n{_STAYS.format(work.journal.pending_path)}")
    reload = started and not any(isinstance(step, ReloadStep) for step in undone)
    return [*started, *([ReloadStep()] if reload else [])]


# Telling


def _told(made: Plan, outcome: Outcome, present: Present, work: Work, containers: Rows) -> Json:
    after = _reread(present, work.tree) if outcome.generation else present
    rows = [_final(row, outcome, present, after) if outcome.results else row for row in made.rows]
    head = "no value was set; what was reclaimed stays so" if work.shrinking else "nothing was written"
    problem = f"{head}:\n{made.blocked}" if made.blocked else "" if outcome.ok else outcome.problem
    if not (work.check or made.blocked):
        # Read back, or undone.
        containers = containers.told("changed" if outcome.generation else "undone", outcome.gone)
    ended = [f"cgroups of containers that ended before they were set: {len(outcome.gone)}"] if outcome.gone else []
    return {
        "schema_version": SCHEMA_VERSION,
        "changed": work.undone or ((work.check or outcome.generation > 0) and any(map(_is_change, made.steps))),
        "check": work.check,
        "generation": outcome.generation,
        "results": [{**row._asdict(), "winner": row.winner._asdict() if row.winner else None} for row in rows],
        "files": [{"path": step.path, "before": step.before, "after": step.after} for step in made.files],
        "skipped": [one._asdict() for one in made.skipped],
        "kernel_command_line": present.persisted.boot,
        "daemon_reload": any(isinstance(step, ReloadStep) for step in made.steps),
        "notes": [*work.notes, *ended, *filter(None, [outcome.warning])],
        "problem": problem,
        "clean": outcome.clean and work.clean,
        "shrinking": work.shrinking,
        "containers": containers,
    }


def _is_change(step: Step) -> bool:
    """Not a step that only keeps what others move, or lets the origin forget."""
    if isinstance(step, PropertyStep):
        return step.properties != step.before or any(map(_is_change, step.files))
    if isinstance(step, MemcgsStep):
        return any(before != after for memcg in step.memcgs for unused, before, after in memcg.values)
    return not isinstance(step, ReloadStep) and step.before != step.after


def _final(row: Row, outcome: Outcome, present: Present, after: Present) -> Row:
    """A row that would change, after the run: what the kernel says now."""
    if row.status != "would_change":
        return row
    if not outcome.ok:
        failed = next((result for result in outcome.results if result.status in ("failed", "undo_failed") and row.key in _keys(result.step)), None)
        theirs = outcome.theirs.get(row.key)
        row = row._replace(live_after=theirs or row.live_after)
        if failed:
            return row.because(failed.reason, "failed")
        return row._replace(status="undone") if theirs is None else row.because("others have set it since, and it stays as they want it", "deferred")
    if row.scope == "swap":
        found = next((result.found for result in reversed(outcome.results) if row.key in _keys(result.step)), "")
        return row._replace(live_after=found or None, status="changed")
    now = _live(row, after)
    knob = _registry.find(row.name)
    changed = now is None or not is_same(knob, now, row.live_before, present.page_size)
    if now is not None and knob.name.endswith("nr_hugepages") and not is_same(knob, now, row.wanted, present.page_size):
        row = row._replace(reboot_required=True).because(given(now, row.wanted))
    return row._replace(live_after=now, effective=row.effective if row.scope == "unit" else now, status="changed" if changed else "ok")


def _keys(step: Step) -> t.Set[t.Tuple[str, str]]:
    """What a step changes, as rows have it."""
    if isinstance(step, (SwapFileStep, SwapStep)):
        return {(step.name if isinstance(step, SwapStep) else f"swap.file {step.path}", "")}
    if isinstance(step, WriteStep):
        return {(step.knob, step.subject), (_registry.find(step.knob).unit_property, step.subject)}
    return {(name, step.unit) for name, unused in step.properties} if isinstance(step, PropertyStep) else set()


def _live(row: Row, present: Present) -> t.Optional[str]:
    """None where nothing is there yet: of a unit that does not run systemctl shows what would hold."""
    if not row.subject:
        held = present.host.get(row.name)
        return held.text if held else None
    for unit in (unit for units in present.units.values() for unit in units if unit.state.name == row.subject):
        run_time = _registry.find(row.name).run_time
        if run_time and not (unit.state.active or unit.state.cgroup):
            return None
        owner = next((held for name, held in unit.files.items() if row.name in (name, _registry.find(name).unit_property)), None)
        return owner.text if owner and run_time else unit.state.shown.get(row.name)
    return None
