# SPDX-License-Identifier: BSD-2-Clause

"""Units that took our values from a drop-in when they started, after the tune, or from the late unit: as steps that nobody ran, to be turned round. Pure.

They go back to what unit file and drop-ins say without ours. At a daemon-reload systemd 252 writes that into the kernel, whoever is killed by it; 257
does not, and our value would stay.
"""

from __future__ import annotations

import re
import typing as t

from . import _origin, _persist, _present
from ._knobs import _registry, _texts
from ._plan_rows import is_same, whole_pages
from ._read import _drop_ins
from ._steps import FileStep, PropertyStep, Step, WriteStep

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import DropIn
    from ._knobs._row import Knob
    from ._knobs._values import Value
    from ._present import Present, Unit
    from ._wanted import Key

    # {path of a drop-in of ours: its lines}
    Lines = t.Dict[str, t.Dict[str, str]]
    # {glob of files of cgroups: what the late unit writes there}
    Late = t.Mapping[str, str]

# What a property is that nobody sets; of the others: no limit.
_UNSET: t.Dict[str, Value] = {"MemoryMin": 0, "MemoryLow": 0, "MemoryZSwapWriteback": 1}
# What others than 0, no limit and what the cgroup above has files begin with.
_BEGIN = {"cgroup.pressure": "1", "memory.wmark_scale_factor": "50"}
_SHARE = re.compile(r"([0-9]+)(?:\.([0-9]{1,2}))?%")


def lines_of(files: t.Iterable[Step]) -> Lines:
    """Of drop-ins of ours that change: what stands in them afterwards."""
    changed = [step for step in files if isinstance(step, FileStep) and _persist.is_drop_in(step.path) and step.before != step.after]
    return {step.path: _persist.drop_in_lines(step.after) for step in changed}


def subject_of(path: str) -> str:
    """Whose drop-in it is."""
    return path.rsplit("/", 2)[1][:-2]


def without(leaving: t.Iterable[Key], wanted: t.Collection[Key], drop_ins: t.Iterable[DropIn]) -> Lines:
    """Our drop-ins as they are when these keys have left: one has what its template and prefixes want as well."""
    gone = {(subject, name) for scope, subject, name in leaving if scope == "unit"}
    kept = {(subject, name) for scope, subject, name in wanted if scope == "unit"}
    changes: Lines = {}
    for drop_in in drop_ins if gone else ():
        if _persist.is_drop_in(drop_in["path"]):
            names = _drop_ins.drop_in_names(drop_in["unit"])
            going = {key for key in drop_in["lines"] if any((name, key) in gone for name in names) and not any((name, key) in kept for name in names)}
            if going:
                changes[drop_in["path"]] = {key: value for key, value in drop_in["lines"].items() if key not in going}
    return changes


def steps(changes: Lines, present: Present, known: t.Container[Key]) -> t.List[PropertyStep]:
    """As though a tune had set what these drop-ins say now, from what remains when they have C(changes). C(known): what has steps or is wanted."""
    after = changed(present.drop_ins, changes)
    found = []
    for unit in _units(present) if changes else ():
        now, then = said(unit, present.drop_ins, present), said(unit, after, present)
        ours = [knob for knob in _owned(unit, present) if not is_same(knob, now[knob.name], then[knob.name], present.page_size)]
        files = [knob for knob in ours if ("unit", unit.state.name, knob.unit_property) not in known]
        if files:
            found.append(_step(unit, files, then, now, present))
    return found


def taken(changes: Lines, present: Present, known: t.Container[Key]) -> t.List[PropertyStep]:
    """Those of C(steps) that hold: in the kernel, or for systemd alone (a daemon-reload of 253 and later), which would write it there some time.

    C(known): what has a step that takes it out of the kernel.
    """
    units = {unit.state.name: unit for unit in _units(present)}
    found = []
    for step in steps(changes, present, ()):
        unit, ours, names = units[step.unit], dict(step.properties), set()
        for file in step.files:
            name, held = _registry.find(file.knob).unit_property, unit.files[file.knob].text
            is_shown = is_same(_registry.find(name), unit.state.shown.get(name), ours[name], present.page_size)
            is_set = ("unit", step.unit, name) not in known and _is_held(file, held, present)
            if is_set or (is_shown and _is_held(file._replace(after=file.before), held, present)):
                names.add(name)
        found += [_origin.only(step, names)] if names else []
    return found


def retargeted(journal: t.Iterable[Step], changes: Lines, present: Present) -> t.List[Step]:
    """Steps of the journal that go back to what our drop-ins say by then: a unit may have started with another value of ours, and had that before its step."""
    after = changed(present.drop_ins, changes)
    units = {unit.state.name: unit for unit in _units(present)}
    found = []
    for step in journal:
        unit = units.get(step.unit) if isinstance(step, PropertyStep) else None
        found.append(_retargeted(step, unit, after, present) if isinstance(step, PropertyStep) and unit else step)
    return found


def restarted(journal: t.Iterable[Step], present: Present) -> t.List[Step]:
    """The journal, as though its steps had set what our drop-ins say by now, where the kernel holds that: the unit has started anew since."""
    units = {unit.state.name: unit for unit in _units(present)}
    return [_restarted(step, units[step.unit], present) if isinstance(step, PropertyStep) and step.unit in units else step for step in journal]


def _restarted(step: PropertyStep, unit: Unit, present: Present) -> PropertyStep:
    ours, now, held = _ours(unit, present.drop_ins), said(unit, present.drop_ins, present), {}
    for file in step.files:
        name = _registry.find(file.knob).unit_property
        if name in ours and file.knob in now and _is_held(file._replace(after=now[file.knob]), unit.files[file.knob].text, present):
            held[name] = unit.files[file.knob].text
    files = tuple(file._replace(after=held.get(_registry.find(file.knob).unit_property, file.after)) for file in step.files)
    return step._replace(properties=tuple((name, _words(name, held[name]) if name in held else value) for name, value in step.properties), files=files)


def _retargeted(step: PropertyStep, unit: Unit, after: t.Sequence[DropIn], present: Present) -> PropertyStep:
    ours, target = _ours(unit, after), said(unit, after, present)
    texts = {knob.unit_property: target[knob.name] for knob in _owned(unit, present) if knob.unit_property in ours}
    files = tuple(file._replace(before=texts.get(_registry.find(file.knob).unit_property, file.before)) for file in step.files)
    return step._replace(before=tuple((name, _words(name, texts[name]) if name in texts else value) for name, value in step.before), files=files)


def _ours(unit: Unit, drop_ins: t.Sequence[DropIn]) -> t.Mapping[str, str]:
    """The lines of our drop-in that counts for it."""
    return next((drop_in["lines"] for drop_in in _of(unit.state.name, drop_ins, unit.state.names) if _persist.is_drop_in(drop_in["path"])), {})


def adopted(planned: t.Iterable[Step], present: Present, journal: t.Sequence[Step], late: Late) -> t.List[Step]:
    """Of units that a plan sets: what they took from our drop-ins when they started, or from these lines at boot.

    C(journal): from before our first step. It has to know that this is not the value from before us.
    """
    origin = _origin.parts(journal, {})
    ours: Lines = {drop_in["path"]: {} for drop_in in present.drop_ins if _persist.is_drop_in(drop_in["path"])}
    before = {file.path: file.before for step in planned if isinstance(step, PropertyStep) for file in step.files}
    found: t.List[Step] = []
    for step in steps(ours, present, ()) if ours and before else ():
        taken = [file for file in step.files if file.path in before and _is_held(file, before[file.path], present)]
        names = {_registry.find(file.knob).unit_property for file in taken}
        names = {name for name in names if ("unit", step.unit, name) not in origin}
        found += [_origin.only(step, names)] if names else []
    written = {step.path for step in planned if isinstance(step, WriteStep) and step.inode}
    known = {step.path: step.after for step in journal if isinstance(step, WriteStep)}
    for late_step in with_late(journal, late if written else {}, {}, present):
        if isinstance(late_step, WriteStep) and late_step.path in written and late_step.before and late_step not in journal:
            found.append(late_step._replace(before=known.get(late_step.path, late_step.before)))
    return found


def _is_held(file: WriteStep, held: str, present: Present) -> bool:
    return is_same(_registry.find(file.knob), held, file.after, present.page_size)


# What the late unit gave


def late_keys(steps: t.Iterable[Step]) -> t.Iterator[Key]:
    """What the lines of the late unit are for that these steps change."""
    for step in steps:
        if isinstance(step, FileStep) and step.path == _persist.LATE_TMPFILES:
            for path in {**_persist.tmpfiles_lines(step.before), **_persist.tmpfiles_lines(step.after)}:
                knob = _registry.of_path(path)
                if knob and knob.scope == "memcg":
                    yield "memcg", path.rsplit("/", 2)[1].replace("*", "").replace("\\\\", "\\"), knob.name


def with_late(journal: t.Sequence[Step], lines: Late, then: Late, present: Present) -> t.List[Step]:
    """The journal, as though a step had written what these lines gave at boot, to go back to what C(then) would have given.

    Where there is none, to what a cgroup begins with; empty where nobody knows that.
    """
    steps = {step.path: step for step in journal if isinstance(step, WriteStep)}
    before = {path: step.before for path, step in steps.items()}
    found: t.Dict[str, Step] = {}
    for unit in sorted(_units(present), key=lambda unit: unit.state.cgroup.count("/")) if lines else ():
        for name, held in unit.files.items():
            knob = _registry.find(name)
            path = f"{present.mount}{unit.state.cgroup}/{_present.file_name(knob, present.version)}"
            later, is_ours = _line_of(path, then), is_same(knob, held.text, _line_of(path, lines), present.page_size)
            if path not in steps and not is_ours:
                continue
            begins = _begins_with(knob, unit, before, present)
            step = steps.get(path) or WriteStep(name, "memcg", unit.state.name, path, begins, held.text, unit.inode)
            if is_ours and held.text not in (step.before, step.after):
                step = step._replace(after=held.text, inode=unit.inode, boot_id="")
            if later and is_same(knob, step.before, begins, present.page_size):
                step = step._replace(before=later)
            before[path] = step.before
            if path in steps or not is_same(knob, step.before or None, held.text, present.page_size):
                found[path] = step
    return [*(step for path, step in found.items() if path not in steps), *(found.get(getattr(step, "path", ""), step) for step in journal)]


def _line_of(path: str, lines: Late) -> t.Optional[str]:
    """Of the lines whose globs fit, the last is written last."""
    fitting = [text for glob, text in lines.items() if re.fullmatch(re.escape(glob.replace("\\\\", "\\")).replace(r"\*", "[^/]*"), path)]
    return fitting[-1] if fitting else None


def _begins_with(knob: Knob, unit: Unit, known: t.Mapping[str, str], present: Present) -> str:
    """What a cgroup has in this file when it is made. C(known): what goes back, by path."""
    if knob.unit == "bytes or max":
        return _texts.kernel_text(_UNSET.get(knob.unit_property), version=2 if knob.v1_vendor else present.version)
    if knob.inherited:
        above = unit.state.cgroup.rpartition("/")[0]
        figures: t.Mapping[str, t.Any] = present.cgroups.get(above or "/", {})
        if knob.vendor != "mainline":
            return known.get(f"{present.mount}{above}/{knob.v1}", _held_above(knob, above, present) or _BEGIN.get(knob.name, "0"))
        # The root's swappiness is the host's.
        key, default, top = ("swappiness", 60, "/proc/sys/vm/swappiness") if knob.name == "memory.swappiness" else ("oom_kill_disable", 0, "")
        return known.get(f"{present.mount}{above}/{knob.v1}" if above else top, str(int(figures.get(key, default))))
    return _BEGIN.get(knob.name, "" if knob.unit == "text" else "0")


def _held_above(knob: Knob, above: str, present: Present) -> str:
    """By a unit's cgroup that was read; else it is not known."""
    return next((unit.files[knob.name].text for unit in _units(present) if unit.state.cgroup == above and knob.name in unit.files), "")


# What a daemon-reload makes live


def coming(unit: Unit, drop_ins: t.Sequence[DropIn], present: Present, planned: t.Iterable[Step], *, is_read: bool) -> t.List[WriteStep]:
    """What a daemon-reload makes of a unit's files in the kernel, but for what steps set. C(is_read): systemd knows what its files say."""
    planned = list(planned)
    known = _origin.parts(planned, {})
    reset = {write.path for step in planned if isinstance(step, PropertyStep) for write in step.besides}
    now, then = (said(unit, one, present) for one in (present.drop_ins, drop_ins))
    found = []
    for step in _held(unit, present):
        knob = _registry.find(step.knob)
        shown = _shown(knob, unit, present) if is_read else None
        # A transient unit's own values stand in no file that is read here.
        text = then[knob.name] if shown is None or is_same(knob, shown, now[knob.name], present.page_size) else shown
        same = step.path in reset or is_same(knob, step.after, text, present.page_size)
        if not same and ("unit", unit.state.name, knob.unit_property) not in known:
            found.append(step._replace(before=step.after, after=text))
    return found


def _shown(knob: Knob, unit: Unit, present: Present) -> t.Optional[str]:
    """What systemd has been told of a file; None where nothing is set, and slices above may have a say."""
    unset = _UNSET.get(knob.unit_property)
    value = _value(knob, unit.state.shown.get(knob.unit_property, ""), unset, present)
    if value == unset:
        return None
    return _texts.kernel_text(whole_pages(knob, value, present.page_size), version=present.version)


def changed(drop_ins: t.Iterable[DropIn], changes: Lines) -> t.List[DropIn]:
    """In the order in which systemd applies them."""
    found: t.List[DropIn] = [drop_in for drop_in in drop_ins if drop_in["path"] not in changes]
    found += [{"path": path, "unit": subject_of(path), "lines": lines} for path, lines in changes.items() if lines]
    return _drop_ins.in_order(found)


def said(unit: Unit, drop_ins: t.Sequence[DropIn], present: Present) -> t.Dict[str, str]:
    """{memcg file: what systemd makes of it} by the unit file and these drop-ins."""
    lines = _lines(unit, drop_ins, present)
    owned = _owned(unit, present)
    values = {knob.name: _last(knob, lines.get(knob.unit_property, ()), present) for knob in owned}
    # The old MemoryLimit= counts where nothing newer does (measured on 252 and 257; 258 has dropped it).
    if present.version == 2 and present.facts.get("systemd", 0) < 258 and all(values[knob.name] == _UNSET.get(knob.unit_property) for knob in owned):
        values.update({knob.name: _last(knob, lines.get("MemoryLimit", ()), present) for knob in owned if knob.unit_property == "MemoryMax"})
    return {knob.name: _texts.kernel_text(whole_pages(knob, values[knob.name], present.page_size), version=present.version) for knob in owned}


def _last(knob: Knob, lines: t.Iterable[str], present: Present) -> Value:
    value = _UNSET.get(knob.unit_property)
    for text in lines:
        value = _value(knob, text, value, present)
    return value


def _lines(unit: Unit, drop_ins: t.Sequence[DropIn], present: Present) -> t.Dict[str, t.List[str]]:
    """{property: its lines in order}, what the slices above give to their children first."""
    found: t.Dict[str, t.List[str]] = {}
    for above in unit.state.cgroup.split("/")[1:-1]:
        for drop_in in _of(above, drop_ins):
            for name in ("MemoryMin", "MemoryLow"):
                found.setdefault(name, []).extend([drop_in["lines"][f"Default{name}"]] if f"Default{name}" in drop_in["lines"] else [])
    for lines in (unit.fragment_lines, *(drop_in["lines"] for drop_in in _of(unit.state.name, drop_ins, unit.state.names))):
        for name, text in lines.items():
            found.setdefault(name, []).append(text)
    return found


def _value(knob: Knob, text: str, before: Value, present: Present) -> Value:
    """A line that systemd cannot read changes nothing."""
    share = _SHARE.fullmatch(text)
    if share:
        pages = present.meminfo["MemTotal"] // present.page_size
        return pages * int(share.group(1) + (share.group(2) or "").ljust(2, "0")) // 10000 * present.page_size
    if not text:
        return _UNSET.get(knob.unit_property)
    try:
        return _registry.normalize(_registry.find(knob.unit_property), text)
    except _registry.KnobValueError:
        return before


def _of(unit: str, drop_ins: t.Sequence[DropIn], names: t.Iterable[str] = ()) -> t.List[DropIn]:
    return _drop_ins.drop_ins_of(unit, drop_ins, names)


def _units(present: Present) -> t.Iterable[Unit]:
    return {unit.state.name: unit for units in present.units.values() for unit in units}.values()


def _owned(unit: Unit, present: Present) -> t.List[Knob]:
    """The files of its cgroup that systemd writes."""
    knobs = [_registry.find(name) for name in unit.files]
    return [
        knob for knob in knobs
        if knob.unit_property and _registry.find(knob.unit_property).run_time and not (present.version == 1 and knob.v1_vendor)
    ]  # fmt: skip


def _held(unit: Unit, present: Present) -> t.List[WriteStep]:
    """As they are: C(before) and C(after) are what they hold."""
    path = f"{present.mount}{unit.state.cgroup}/"
    return [
        WriteStep(knob.name, "memcg", unit.state.name, path + _present.file_name(knob, present.version), text, text, unit.inode)
        for knob, text in ((knob, unit.files[knob.name].text) for knob in _owned(unit, present))
    ]


def _step(unit: Unit, files: t.Sequence[Knob], before: t.Mapping[str, str], after: t.Mapping[str, str], present: Present) -> PropertyStep:
    names = {knob.name for knob in files}
    writes = tuple(step._replace(before=before[step.knob], after=after[step.knob]) for step in _held(unit, present) if step.knob in names)
    pairs = [tuple((knob.unit_property, _words(knob.unit_property, texts[knob.name])) for knob in files) for texts in (after, before)]
    return PropertyStep(unit.state.name, pairs[0], pairs[1], writes)


def _words(name: str, text: str) -> str:
    """A file's text as set-property takes it."""
    knob = _registry.find(name)
    return _texts.property_text(knob, _registry.normalize(knob, text))
