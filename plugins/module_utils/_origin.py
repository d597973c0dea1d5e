# SPDX-License-Identifier: BSD-2-Clause

"""What stood on a node before our first change, as the journal tells it: what a bound moves, and what goes back when no profile wants it any more. Pure."""

from __future__ import annotations

import typing as t

from . import _persist, _present, _wanted
from ._knobs import _registry, _texts
from ._plan_rows import is_same
from ._read import _unit_state
from ._steps import FileStep, PropertyStep, Step, WriteStep

if t.TYPE_CHECKING:
    from ._knobs._values import Value
    from ._wanted import Key

    Parts = t.Dict[Key, t.Tuple[str, str]]
    # {(kernel file, what was written): what it showed then}
    Found = t.Mapping[t.Tuple[str, str], str]


# {fact: the host knob that it is of}
_KNOBS_OF_FACTS = {"zswap_enabled": "zswap/enabled", "mglru": "lru_gen/enabled"}


def parts(steps: t.Iterable[Step], found: Found) -> Parts:
    """{knob: (its value before, ours)}. A file of a cgroup counts for the property that owns it too."""
    said: Parts = {}
    for step in steps:
        if isinstance(step, WriteStep):
            pair = (step.before, found.get((step.path, step.after), step.after))
            said[step.scope, step.subject, step.knob] = pair
            owner = _registry.find(step.knob).unit_property
            if owner:
                said.setdefault(("unit", step.subject, owner), pair)
        elif isinstance(step, PropertyStep):
            before = dict(step.before)
            said.update({("unit", step.unit, name): (before.get(name, ""), value) for name, value in step.properties})
    return said


def before_us(origin: Parts, present: _present.Present, moved: t.Container[Key] = ()) -> t.Tuple[t.Dict[str, Value], t.Dict[str, t.Dict[str, Value]]]:
    """(host knobs, {subject: {property or file: value}}) as they would be without us: a value that somebody has moved since stays theirs, but for C(moved).

    Of a template or prefix, those of the first unit.
    """

    def before(part: str, name: str, live: Value, subject: str = "") -> Value:
        knob = _registry.find(name)
        first, ours = origin.get((knob.scope, part, name), ("", ""))
        is_ours = (knob.scope, subject, name) in moved or is_same(knob, _texts.kernel_text(live), ours, present.page_size)
        return _registry.normalize(knob, first) if first and is_ours else live

    host = {name: before("", name, held.value) for name, held in present.host.items()}
    units = {}
    for subject, found in present.units.items():
        for unit in found[:1]:
            units[subject] = {name: before(unit.state.name, name, value, subject) for name, value in _present.unit_values(unit).items()}
    return host, units


def facts_before_us(facts: t.Mapping[str, t.Any], host: t.Mapping[str, Value]) -> t.Dict[str, bool]:
    """Those of C(facts) that say whether a knob is on."""
    return {name: bool(host[knob]) for name, knob in _KNOBS_OF_FACTS.items() if name in facts and knob in host}


def going_back(leaving: t.Iterable[Key], wanted: t.Collection[Key], steps: t.Sequence[Step], present: _present.Present) -> t.List[Step]:
    """Of C(steps) (the origin's) what belongs to knobs that no profile wants any more, and what their writes moved besides."""
    gone = set(leaving)
    for scope, unused, name in leaving:
        if scope != "unit":
            gone |= {("host", "", partner) for partner in _registry.find(name).partners}
    # A rival takes their place: its write switches them off.
    rivals = {("host", "", name) for key in wanted if not key[1] for name in _wanted.rivals(_registry.find(key[2]))}

    def is_going(*part: str) -> bool:
        return part not in rivals and any(_is_for(key, part, present) for key in gone) and not any(_is_for(key, part, present) for key in wanted)

    found: t.List[Step] = []
    by_hand: t.Set[str] = set()
    for step in steps:
        if isinstance(step, WriteStep) and is_going(step.scope, step.subject, step.knob):
            found.append(step)
        elif isinstance(step, PropertyStep):
            names = [name for name, unused in step.properties if is_going("unit", step.unit, name)]
            found += [only(step, names)] if names else []
            by_hand |= {write.path for write in step.besides} if len(names) == len(step.properties) else set()
        elif isinstance(step, FileStep):
            # Of a unit that does not run too: its next start would read it.
            part = _persist.run_time_part(step.path)
            found += [step] if part and is_going("unit", *part) else []
    return [*found, *(step for step in steps if isinstance(step, WriteStep) and step.path in by_hand and step not in found)]


def _is_for(key: Key, part: t.Tuple[str, ...], present: _present.Present) -> bool:
    """Whether a changed part is what this key stands for: the knob, or the file of a property; the unit, another name of it, or an instance."""
    unused, subject, name = key
    if name not in (part[2], _registry.find(part[2]).unit_property):
        return False
    named = any(unit.state.name == part[1] for unit in present.units.get(subject, ()))
    return subject == part[1] or bool(subject and (named or _unit_state.covers(subject, part[1])))


def only(step: PropertyStep, names: t.Container[str]) -> PropertyStep:
    """With these properties alone."""
    files = tuple(file for file in step.files if _registry.find(file.knob).unit_property in names)
    pairs, before = (tuple(pair for pair in pairs if pair[0] in names) for pairs in (step.properties, step.before))
    return step._replace(properties=pairs, before=before, files=files)


def stale(steps: t.Iterable[Step], planned: t.Iterable[Step], wanted: t.Iterable[Key], present: _present.Present) -> t.List[Step]:
    """Of units that no longer run and that no profile names, as instances come and go: the steps to forget, turned round; their run-time drop-ins can go.

    What persists gives such a unit our values when it starts again, and C(_started) takes them back. A drop-in that was there before us stays for the way back.
    """
    if present.no_units:
        return []
    named = {subject for unused, subject, unused_name in wanted}
    running = {unit.state.name for units in present.units.values() for unit in units if unit.state.active or unit.state.cgroup}
    busy = {step.path for step in planned if isinstance(step, FileStep)} | {step.unit for step in planned if isinstance(step, PropertyStep)}

    def is_gone(unit: str) -> bool:
        known = any(_unit_state.covers(subject, unit) for subject in present.units)
        return known and unit not in named and unit not in running and unit not in busy

    turned: t.List[Step] = []
    for step in steps:
        if isinstance(step, FileStep):
            part = _persist.run_time_part(step.path)
            if part and is_gone(part[0]) and step.path not in busy and step.before is None:
                turned.append(step._replace(before=step.after, after=None))
        elif isinstance(step, PropertyStep) and is_gone(step.unit):
            files = tuple(file._replace(before=file.after, after=file.before) for file in step.files)
            turned.append(step._replace(properties=step.before, before=step.properties, files=files, drop_ins=(), besides=()))
        elif isinstance(step, WriteStep) and step.inode and is_gone(step.subject):
            turned.append(step._replace(before=step.after, after=step.before))
    return turned


def our_files(steps: t.Iterable[Step]) -> t.Dict[str, t.Tuple[str, ...]]:
    """{path: directories that were made for it} of the files that we made."""
    return {step.path: step.creates for step in steps if isinstance(step, FileStep) and step.after is not None and _persist.is_ours(step.after)}
