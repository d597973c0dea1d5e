# SPDX-License-Identifier: BSD-2-Clause

"""The units' part of a plan: slices, services and scopes, templates and prefixes. Pure.

Static values: a drop-in makes them last, C(set-property --runtime) makes them live. Files that systemd does not own are written directly.
Any set-property on a unit writes all of its memory files anew (measured on 252 and 257), so what somebody else wrote there by hand is named and, if all is
undone, restored.
"""

from __future__ import annotations

import fnmatch
import posixpath
import typing as t

from . import _persist, _present
from ._knobs import _registry, _texts
from ._plan_rows import Options, Row, Said, cgroup_write, is_same, lacking, new_row, place
from ._read import _drop_ins, _unit_state
from ._steps import PropertyStep, WriteStep
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ._knobs._row import Knob
    from ._present import Present, Unit
    from ._wanted import Wanted

    Pairs = t.Dict[str, str]

_EACH_START = "processes that run keep theirs; it holds from the next start on"
# Where no file of the kernel tells.
_SINCE_THEN = "processes that started before it was written down keep theirs"
# Every name of a slice is valid, a misspelled one too.
_IMPLICIT = "nothing runs in it and no unit file names it: it holds when something starts there"
_LOST = "lost when it stops: the next boot or run sets it again"
# Of these two there is always a cgroup.
_LASTING = ("system.slice", "user.slice")
_ALONE = ("deferred", "conflict")
_WRITERS_OF_PODS = ("koordlet", "katalyst-agent")


class UnitPart(NamedTuple):
    """C(properties), C(writes): in no order yet; C(drop_ins): {path: text}; C(late): (glob, text) of cgroup files.

    C(overruled): properties of units to which a daemon-reload gives the value of a later drop-in; C(reasserted): what such a unit needs after one.
    """

    rows: t.Tuple[Row, ...]
    properties: t.Tuple[PropertyStep, ...]
    overruled: t.Tuple[PropertyStep, ...]
    reasserted: t.Tuple[PropertyStep, ...]
    writes: t.Tuple[WriteStep, ...]
    drop_ins: t.Dict[str, t.Optional[str]]
    late: t.Tuple[t.Tuple[str, str], ...]


class _Item(NamedTuple):
    """One knob of one unit. C(subject): what the profile calls it, whose drop-in has it; C(owner): the memcg file behind it, if any.

    C(unit) None: nothing of it is there yet. C(late): where the late unit finds its file, globs.
    """

    subject: str
    row: Row
    knob: Knob
    owner: t.Optional[Knob]
    unit: t.Optional[Unit]
    text: str
    direct: bool
    differs: bool
    overruled: bool = False  # by a drop-in that comes later
    late: t.Tuple[str, ...] = ()


def plan_units(wishes: t.Iterable[Wanted], present: Present, options: Options, ours: t.Optional[t.Mapping[str, t.Optional[str]]] = None) -> UnitPart:
    """C(ours): files of ours as they stand: lines of what is deferred stay."""
    by_subject: t.Dict[str, t.Dict[str, Wanted]] = {}
    for wish in wishes:
        by_subject.setdefault(wish.subject, {})[wish.knob] = wish
    written = {path: text for path, text in (ours or {}).items() if text is not None and _persist.is_ours(text)}
    late_before = _persist.tmpfiles_lines(written.get(_persist.LATE_TMPFILES))
    items: t.List[_Item] = []
    rows: t.List[Row] = []
    late: t.Dict[str, str] = {}
    drop_ins: t.Dict[str, t.Optional[str]] = {}
    for subject in sorted(by_subject):
        own = _inherited(subject, by_subject)
        found = [
            _decided(_placed(item, present, late_before), present, options, late_before) if isinstance(item, _Item) else item
            for item in _items(subject, own, by_subject, present)
        ]
        rows += [item.row if isinstance(item, _Item) else item for item in found]
        usable = [item for item in found if isinstance(item, _Item) and item.row.status not in _ALONE]
        items += usable
        path = _persist.drop_in_path(subject)
        lasting = _kept(found, _persist.drop_in_lines(written.get(path)), late_before, late)
        lasting.update({item.row.name: _texts.property_text(item.knob, own[item.row.name].value) for item in usable if not item.direct})
        late.update({place: item.text for item in usable for place in item.late})
        drop_ins[path] = _persist.drop_in_text(subject, lasting)
    return _part_of(items, rows, drop_ins, tuple(sorted(late.items(), key=_reach)), present)


def _part_of(
    items: t.Sequence[_Item], rows: t.Sequence[Row], drop_ins: t.Dict[str, t.Optional[str]], late: t.Tuple[t.Tuple[str, str], ...], present: Present
) -> UnitPart:
    direct = [item for item in items if item.direct and item.unit and item.owner and item.owner.name in item.unit.files]
    settable = [item for item in items if not item.direct and item.knob.run_time and item.unit and item.row.live_before is not None]
    overruled = {item.row.subject for item in settable if item.overruled}
    theirs = [item for item in settable if item.row.subject in overruled]
    return UnitPart(
        tuple(rows),
        _property_steps((item for item in settable if item.differs and item not in theirs), present),
        _property_steps((item for item in theirs if item.differs), present),
        _property_steps((item for item in theirs if item.differs or item.overruled), present),
        tuple(_step(item, present) for item in direct if item.differs),
        drop_ins,
        late,
    )


def _kept(found: t.Iterable[t.Union[_Item, Row]], lines: Pairs, late_before: Pairs, late: Pairs) -> Pairs:
    """Lines of ours for what is left alone: of the drop-in; those of the late unit go into C(late)."""
    alone = [item for item in found if isinstance(item, _Item) and item.row.status in _ALONE]
    late.update({place: late_before[place] for item in alone for place in item.late if place in late_before})
    return {item.row.name: lines[item.row.name] for item in alone if item.row.name in lines}


def _reach(line: t.Tuple[str, str]) -> t.Tuple[bool, int]:
    """What is written first: globs, the wider ones before the others."""
    name = line[0].rsplit("/", 2)[-2]
    return "*" not in name, len(name) if "*" in name else 0


def _inherited(subject: str, by_subject: t.Mapping[str, t.Dict[str, Wanted]]) -> t.Dict[str, Wanted]:
    """With what its prefixes and its template want: a drop-in of the same name hides theirs."""
    own: t.Dict[str, Wanted] = {}
    for name in reversed(_drop_ins.drop_in_names(subject)):
        own.update(by_subject.get(name, {}))
    return own


def _items(subject: str, wishes: t.Mapping[str, Wanted], by_subject: t.Container[str], present: Present) -> t.Iterator[t.Union[_Item, Row]]:
    """Items, and rows alone for what cannot be set here."""
    units = [unit for unit in present.units.get(subject, ()) if unit.state.name == subject or unit.state.name not in by_subject]
    for wish in wishes.values():
        knob = _registry.find(wish.knob)
        why = _unsupported(subject, knob, units, present)
        for unit in units or (None,):
            row = new_row(wish, unit.state.name if unit else subject)
            if present.silent:
                yield row.because(f"{why}: run again", "failed")
                continue
            yield row._replace(equivalence="none").because(why, "unsupported") if why else _item(subject, row, unit, wish, present)


def _unsupported(subject: str, knob: Knob, units: t.Sequence[Unit], present: Present) -> str:
    """Why this node cannot, or nothing."""
    kind = subject.rpartition(".")[2]
    systemd = present.facts.get("systemd", 0)
    if present.no_units:
        return present.no_units
    if kind not in knob.unit_types:
        return f"a {kind} has no {knob.name}: it belongs to {' and '.join(knob.unit_types)}"
    if knob.systemd > systemd:
        return f"systemd {systemd} has no {knob.name}: {knob.systemd} is the first"
    others = [unit.state.name for unit in present.units.get(subject, ()) if unit not in units]
    if others and not _unit_state.instances_of(subject):
        return f"it is {others[0]}, for which the profiles have values of their own"
    if any(unit.state.masked for unit in units):
        return f"{units[0].state.name} is masked: 'systemctl unmask' comes first"
    if kind != "slice" and not _unit_state.instances_of(subject) and not any(unit.state.loaded for unit in units):
        return f"this node has no unit {subject}"
    owner = _owner(knob)
    if owner is None or not knob.run_time:
        return _unshown(knob, units, systemd)
    if not present.version:
        return f"this node has no memory controller, so no {owner.name}"
    if not _present.file_name(owner, present.version):
        return f"cgroup v{present.version} has no {owner.name}"
    live = [unit for unit in units if unit.files]
    if not live or any(owner.name in unit.files for unit in live):
        return _unshown(knob, units, systemd)
    return f"cgroup v1 has {owner.name} on kernels of {owner.v1_vendor} only" if present.version == 1 and owner.v1_vendor else lacking(owner)


def _unshown(knob: Knob, units: t.Iterable[Unit], systemd: int) -> str:
    """Why systemd has no such property, whatever its version says: distributions leave some out, others had another name first."""
    for unit in units if knob.scope == "unit" else ():
        if unit.state.loaded and knob.name not in unit.state.shown:
            return f"systemd {systemd} shows no {knob.name} of {unit.state.name}: it does not have it"
    return ""


def _owner(knob: Knob) -> t.Optional[Knob]:
    """The memcg file that a property becomes, or that the knob is itself."""
    if knob.scope == "memcg":
        return knob
    return next((row for row in _registry.memcg_knobs() if row.unit_property == knob.name), None)


def _item(subject: str, row: Row, unit: t.Optional[Unit], wish: Wanted, present: Present) -> _Item:
    knob = _registry.find(wish.knob)
    owner = _owner(knob)
    held = unit.files.get(owner.name) if unit and owner else None
    # On v1 systemd knows MemoryMax only.
    direct = knob.scope == "memcg" or bool(owner and present.version == 1 and owner.v1_vendor)
    version = 2 if owner and owner.v1_vendor else present.version
    text = _texts.kernel_text(wish.value, version=version) if direct or held else _texts.property_text(knob, wish.value)
    runs = bool(unit and (unit.state.active or unit.state.cgroup))
    shown = unit.state.shown.get(knob.name) if unit and (runs or not knob.run_time) else None
    live = held.text if held and knob.run_time else shown
    differs = live is not None and not is_same(knob, live, text, present.page_size)
    if held and not direct and shown and not is_same(knob, shown, text, present.page_size):
        differs = True
    row = row._replace(live_before=live, live_after=live)
    if direct and held:
        row = row.because("" if row.subject in _LASTING else _LOST)
    elif direct:
        row = row.because("its cgroup is not there yet")
    elif not runs:
        row = row.because(_IMPLICIT if unit and not unit.state.fragment else f"{row.subject} does not run: it holds when it starts")
    elif not knob.run_time:
        row = row.because(_EACH_START if differs else _older(knob, t.cast("Unit", unit), text))
    return _Item(subject, row._replace(status="would_change" if differs else "ok"), knob, owner, unit, text, direct, differs)


def _placed(item: _Item, present: Present, late_before: t.Iterable[str]) -> _Item:
    """With where the late unit finds its file, of a unit that does not run too. Whoever is there later fits the glob of a template or prefix."""
    if not item.direct or item.owner is None:
        return item
    file = _present.file_name(item.owner, present.version)
    homes = [_home(item.unit.state)] if item.unit else []
    instances = _unit_state.instances_of(item.subject)
    if instances:
        name = f"/{_persist.pattern(instances)}"
        before = [path for path in late_before if path.endswith(f"{name}/{file}")]
        parents = [home.rpartition("/")[0] for home in homes if home]
        if item.subject.endswith("-.slice"):
            parents.append(_slice_path(f"{item.subject[: -len('-.slice')]}.slice"))
        paths = [*before, *(f"{present.mount}{_persist.pattern(parent)}{name}/{file}" for parent in parents)]
    else:
        paths = [f"{present.mount}{_persist.pattern(home)}/{file}" for home in homes if home]
    row = item.row
    if row.live_before is None:
        row = row.because("set at boot if it is there by then, else by the next run" if paths else "nor is known where it will be: the next run sets it")
    return item._replace(row=row, late=tuple(dict.fromkeys(paths)))


def _home(state: _unit_state.UnitState) -> str:
    """The path of its cgroup, be it there or not; empty where that is not known."""
    if state.cgroup or state.name.endswith(".slice"):
        return state.cgroup or _slice_path(state.name)
    return f"{_slice_path(state.slice)}/{state.name}" if state.slice else ""


def _slice_path(name: str) -> str:
    """C(a-b.slice) → C(/a.slice/a-b.slice)"""
    parts = name[: -len(".slice")].split("-")
    return "" if name == "-.slice" else "".join(f"/{'-'.join(parts[:count])}.slice" for count in range(1, len(parts) + 1))


def _older(knob: Knob, unit: Unit, text: str) -> str:
    """What processes have by now of a value that systemd knows but gives to those that start."""
    if knob.name == "OOMScoreAdjust" and unit.scores:
        return "" if text in unit.scores else _EACH_START
    group = unit.files.get("memory.oom.group") if knob.name == "OOMPolicy" else None
    if group:
        return "" if group.text == str(int(text == "kill")) else _EACH_START
    return _SINCE_THEN


def _decided(item: _Item, present: Present, options: Options, late_before: t.Mapping[str, str]) -> _Item:
    """Who decides at the next boot, who else writes there, and what the policy makes of it."""
    row = item.row
    later = None
    if item.direct:
        said = [Said("tmpfiles.d", _persist.LATE_TMPFILES, 0, late_before[path]) for path in item.late if path in late_before]
        ours = Said("tmpfiles.d", _persist.LATE_TMPFILES, 0, item.text) if item.late else None
    else:
        ours = Said("drop-in", _persist.drop_in_path(item.subject), 0, item.text)
        said = _said(item, present)
        later = next((one for one in reversed(said) if posixpath.basename(one.path) > _persist.DROP_IN and one.source == "drop-in"), None)
        later = None if later and is_same(item.knob, later.value, item.text, present.page_size) else later
    row = row._replace(persisted_before=said[-1].value if said else None)
    if ours and row.live_before is None and not is_same(item.knob, row.persisted_before, item.text, present.page_size):
        row = row._replace(status="would_change")
    writers = _writers_of_pods(item, present)
    row = row._replace(winner=next(iter([*([later] if later else []), *writers]), ours), persisted_after=later.value if later else ours and ours.value)
    others = [*([later] if later else []), *writers, *_writes_by_hand(item, present)]
    swaps = _swaps_pods(item, present)
    if swaps:
        return item._replace(row=row.because(swaps, "deferred" if options.on_conflict == "defer" else "conflict"))
    item = item._replace(row=row, overruled=later is not None)
    if not others:
        return item
    why = "; ".join(f"{place(one)} has {one.value}" if one.value else f"{place(one)} writes it too" for one in others)
    status = {"refuse": "conflict", "defer": "deferred"}.get(options.on_conflict)
    return item._replace(row=row.because(why, t.cast("t.Any", status)))


def _said(item: _Item, present: Present) -> t.List[Said]:
    """What unit file and drop-ins say, the deciding one last."""
    names = (item.unit.state.name, *item.unit.state.names) if item.unit else (item.row.subject,)
    found = []
    if item.unit and item.knob.name in item.unit.fragment_lines:
        found.append(Said("unit file", item.unit.state.fragment, 0, item.unit.fragment_lines[item.knob.name]))
    for drop_in in _drop_ins.drop_ins_of(names[0], present.drop_ins, names[1:]):
        # What set-property made for this boot is gone after it.
        if item.knob.name in drop_in["lines"] and not drop_in["path"].startswith("/run/"):
            found.append(Said("drop-in", drop_in["path"], 0, drop_in["lines"][item.knob.name]))
    return found


def _writers_of_pods(item: _Item, present: Present) -> t.List[Said]:
    if "kubepods" not in item.row.subject or item.owner is None:
        return []
    kubelet = present.persisted.kubelet
    found = [Said("kubelet", kubelet.config, 0, None)] if kubelet and kubelet.memory_qos is not False else []
    return found + [Said(name, "", 0, None) for name in _WRITERS_OF_PODS if name in present.persisted.writers]


def _swaps_pods(item: _Item, present: Present) -> str:
    """Why the swap of pods is nobody's but the kubelet's: with LimitedSwap it gives each container its part, with NoSwap none."""
    kubelet = present.persisted.kubelet
    if "kubepods" not in item.row.subject or item.owner is None or item.owner.name not in ("memory.swap.max", "memory.swap.high") or not kubelet:
        return ""
    if not kubelet.swap or (kubelet.swap == "NoSwap" and not present.facts.get("swap_total_bytes")):
        return ""
    return f"the kubelet manages the swap of pods (swapBehavior {kubelet.swap}, {kubelet.config}): set it there"


def _writes_by_hand(item: _Item, present: Present) -> t.List[Said]:
    """What setting this property takes back besides."""
    if item.unit is None or not item.differs or not item.knob.run_time or item.direct:
        return []
    path = f"{present.mount}{item.unit.state.cgroup}/"
    others = [(knob, held) for knob, held in by_hand(item.unit, present) if knob is not item.owner]
    return [Said("a direct write", path + _present.file_name(knob, present.version), 0, held.text) for knob, held in others]


def by_hand(unit: Unit, present: Present) -> t.Iterator[t.Tuple[Knob, _present.Held]]:
    """Files of this unit that do not hold what systemd thinks."""
    for name, held in unit.files.items():
        knob = _registry.find(name)
        prop = knob.unit_property and _registry.find(knob.unit_property)
        if prop and prop.run_time and not (present.version == 1 and knob.v1_vendor):
            shown = unit.state.shown.get(prop.name, "")
            if shown and not is_same(prop, shown, held.text, present.page_size):
                yield knob, held


# Steps


def in_order(steps: t.Iterable[PropertyStep]) -> t.List[PropertyStep]:
    """For each unit one step of what grows, from the root down, then one of what shrinks, from the leaves up."""
    return sorted((half for step in steps for half in _halves(step)), key=_rank)


def is_raised_bound(step: WriteStep) -> bool:
    """Whether a property can grow only when this file has grown (memory.memsw.limit_in_bytes, measured)."""
    return step.before != step.after and not _shrinks(step) and any(knob.at_most == step.knob for knob in _registry.memcg_knobs() if knob.unit_property)


def writes_in_order(steps: t.Iterable[WriteStep]) -> t.List[WriteStep]:
    """Likewise, but within a cgroup as the registry says."""
    left = sorted(steps, key=_rank)
    ordered: t.List[WriteStep] = []
    while left:
        free = (step for step in left if not any(_comes_first(other, step) for other in left))
        # A circle cannot be in the registry, which a test checks.
        ordered.append(next(free))
        left.remove(ordered[-1])
    return ordered


def _comes_first(other: WriteStep, step: WriteStep) -> bool:
    same = other.path.rpartition("/")[0] == step.path.rpartition("/")[0]
    return same and other is not step and any(fnmatch.fnmatchcase(other.knob, glob) for glob in _registry.find(step.knob).after)


def _halves(step: PropertyStep) -> t.List[PropertyStep]:
    shrinking = {_registry.find(file.knob).unit_property for file in step.files if _shrinks(file)}
    growing = {name for name, unused in step.properties} - shrinking
    if not shrinking or not growing:
        return [step]
    return [_part(step, names) for names in (growing, shrinking)]


def _part(step: PropertyStep, names: t.Container[str]) -> PropertyStep:
    files = tuple(file for file in step.files if _registry.find(file.knob).unit_property in names)
    pairs, before = (tuple(pair for pair in pairs if pair[0] in names) for pairs in (step.properties, step.before))
    return step._replace(properties=pairs, before=before, files=files)


def _rank(step: t.Union[PropertyStep, WriteStep]) -> t.Tuple[bool, int]:
    """Growing first; its depth turned round for what shrinks."""
    files = step.files if isinstance(step, PropertyStep) else (step,)
    depth = max((file.path.count("/") for file in files), default=0)
    shrinks = any(map(_shrinks, files))
    return shrinks, -depth if shrinks else depth


def _shrinks(file: WriteStep) -> bool:
    before, after = (_registry.normalize(_registry.find(file.knob), text) for text in (file.before, file.after))
    if before is None or after is None:
        return before is None and after is not None
    return isinstance(before, int) and isinstance(after, int) and after < before


def _property_steps(items: t.Iterable[_Item], present: Present) -> t.Tuple[PropertyStep, ...]:
    groups: t.Dict[str, t.List[_Item]] = {}
    for item in items:
        groups.setdefault(item.row.subject, []).append(item)
    return tuple(_property_step(group, present) for group in groups.values())


def _property_step(group: t.Sequence[_Item], present: Present) -> PropertyStep:
    unit = t.cast("Unit", group[0].unit)
    shown = unit.state.shown
    files = {item.owner.name: _step(item, present) for item in group if item.owner and item.owner.name in unit.files}
    besides = []
    for knob, unused in by_hand(unit, present):
        if knob.name not in files:
            text = _texts.kernel_text(_registry.normalize(knob, shown[knob.unit_property]), version=present.version)
            besides.append(cgroup_write(unit, knob, text, present))
    properties = tuple((item.knob.name, _texts.property_text(item.knob, _registry.normalize(item.knob, item.text))) for item in group)
    before = tuple((name, shown.get(name, "")) for name, unused in properties)
    return PropertyStep(unit.state.name, properties, before, tuple(files.values()), besides=tuple(besides))


def _step(item: _Item, present: Present) -> WriteStep:
    return cgroup_write(t.cast("Unit", item.unit), t.cast("Knob", item.owner), item.text, present)
