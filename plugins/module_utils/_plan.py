# SPDX-License-Identifier: BSD-2-Clause

"""What stands on a node + what is wanted → one result for every knob, and the ordered steps between the two. Pure.

Steps come in this order: files (a read-only /etc shows before the kernel is touched), host knobs as the registry orders them, units that grow from the root
down, units that shrink from the leaves up, what set-property left in /run of a value that went back, one daemon-reload, units to which it gave the value of
somebody's later drop-in, files of cgroups.
"""

from __future__ import annotations

import typing as t

from . import _accounts, _guards, _persist, _plan_host, _plan_memcgs, _plan_shrink, _plan_swap, _plan_units, _present, _shares, _wanted
from ._knobs import _registry, _texts
from ._plan_rows import History, Options, Plan, Row, judged, new_row
from ._read import _persisted
from ._steps import FileStep, MemcgsStep, PropertyStep, ReloadStep, Step, WriteStep
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Cgroup
    from ._knobs._values import Value
    from ._present import Present
    from ._wanted import Folded, Key

_EFFECTIVE = {"memory.min": "effective_min", "memory.low": "effective_low"}
_LIMITS = {"memory.max": "limit", "memory.high": "high"}
_CGROUP_KEYS = {"memory.min": "min", "memory.low": "low", **_LIMITS}

_OF_UNITS = ("/etc/systemd/system/", "/run/systemd/system.control/")


class Foreign(NamedTuple):
    """A file of somebody else in which lines are set aside: C(text) so far. C(target) is written: the file itself, or C(is_copy) that hides it.

    C(before): what stands there, None = absent.
    """

    target: str
    before: t.Optional[str]
    text: str
    mode: int
    is_copy: bool


class Files(NamedTuple):
    """Text files as they stand, None = absent. C(ours): by path; C(made): {path: directories that we made for it}.

    C(foreign): by the path that is read at boot; C(tmpfiles_program): where the node has systemd-tmpfiles. C(hidden): what our sysctl file would hide.
    """

    ours: t.Mapping[str, t.Optional[str]]
    made: t.Mapping[str, t.Tuple[str, ...]] = {}
    foreign: t.Mapping[str, Foreign] = {}
    tmpfiles_program: str = "/usr/bin/systemd-tmpfiles"
    hidden: t.Tuple[str, ...] = ()


def our_paths(subjects: t.Iterable[str], sysctl_file: str) -> t.List[str]:
    """The files that a plan for these subjects can write."""
    fixed = (_persist.sysctl_path(sysctl_file), _persist.TMPFILES, _persist.LATE_TMPFILES, _persist.LATE_UNIT, _persist.LATE_WANTS)
    return [*fixed, *map(_persist.drop_in_path, subjects)]


def set_aside(folded: Folded, present: Present, history: History, options: Options, files: Files) -> t.List[str]:
    """Files of others that the plan will change under the policy C(take)."""
    return sorted({path for path, unused in _host_part(folded, present, history, options, files).aside})


def plan(folded: Folded, present: Present, history: History, options: Options, files: Files, swap: _plan_swap.SwapPart = _plan_swap.NONE) -> Plan:
    """Nothing is left out in silence: every wanted knob in the areas asked for has its row."""
    host = _host_part(folded, present, history, options, files)
    wishes = [wish for wish in folded.wanted.values() if wish.subject and _covered(wish.knob, options)]
    units = _plan_units.plan_units(wishes, present, options, files.ours)
    steps = _in_order([*history.returning, *host.steps, *units.properties, *units.overruled, *units.writes])
    # Units that do not answer keep their drop-ins, and who took after these is asked when they do.
    kept = {key for key in history.wanted if not _covered(key[2], options) or (key[1] and present.no_units)}
    wanted = {key for key in folded.wanted if _covered(key[2], options)} | kept
    rows = [
        *host.rows,
        *units.rows,
        *swap.rows,
        *returned_rows(history.returning, "no profile wants it any more: back to what stood before"),
        *_left_rows(history),
        *_refused_rows(folded, present, options),
    ]
    rows, shrinks = _with_dangers(rows, [*swap.steps, *steps], present, options)
    rows = _with_effective(rows, steps, present)
    texts = {**_texts_of_files(host, units, present, options, files), **swap.texts}
    file_steps = _files_in_order(_file_steps(texts, files) + _foreign_steps(host.aside, files, wanted))
    if _needs_reload((*file_steps, *steps)) and "systemd" in present.facts:
        steps = _in_order([*history.returning, *host.steps, *units.properties, *units.writes, ReloadStep()], units.reasserted)
    blocked = _blocked(rows, options, files, texts)
    everything = [] if blocked else _plan_swap.in_order([*file_steps, *swap.steps, *_plan_shrink.inserted(steps, shrinks)], _needs_reload)
    file_steps += [step for step in history.returning if isinstance(step, FileStep) and _plan_swap.is_ours(step.path)]
    return Plan(tuple(everything), tuple(rows), tuple(file_steps), (*folded.skipped, *swap.skipped), frozenset(wanted), blocked)


def in_order(steps: t.Iterable[Step]) -> t.List[Step]:
    """Steps of a rollback."""
    return _plan_swap.in_order(_in_order(steps), _needs_reload)


def _in_order(steps: t.Iterable[Step], reasserted: t.Iterable[PropertyStep] = ()) -> t.List[Step]:
    """Swap is not put in order yet. Files of cgroups come after the set-property and the daemon-reload that reset what is written there by hand.

    Before them comes a bound that has to grow first.
    """
    kinds: t.Tuple[t.List[t.Any], ...] = ([], [], [], [], [], [])
    swap: t.List[Step] = []
    memcgs: t.List[Step] = []
    for step in steps:
        if isinstance(step, MemcgsStep):
            memcgs.append(step)
        elif isinstance(step, WriteStep):
            kinds[0 if step.scope != "memcg" else 5 if _plan_units.is_raised_bound(step) else 4].append(step)
        elif _plan_swap.is_swap(step):
            swap.append(step)
        else:
            kinds[1 if isinstance(step, PropertyStep) else 2 if isinstance(step, FileStep) else 3].append(step)
    host, properties, files, reloads, writes, bounds = kinds
    first = [*_plan_host.moved_last(host), *_plan_units.writes_in_order(bounds), *_plan_units.in_order(properties)]
    others = [*first, *_files_in_order(files), *reloads[:1], *_plan_units.in_order(reasserted), *_plan_units.writes_in_order(writes)]
    return [*swap, *others, *memcgs]


def _files_in_order(steps: t.Iterable[FileStep]) -> t.List[FileStep]:
    """What goes comes last, as its directory goes with it; and of those in a directory the one for which it was made."""
    return sorted(steps, key=lambda step: (step.after is None, len(step.creates)))


def _needs_reload(steps: t.Iterable[Step]) -> bool:
    """Until then systemd warns of changed files: of set-property's own too, where the unit has drop-ins already (measured on 252)."""
    files = (step.path for step in steps if isinstance(step, FileStep) and step.before != step.after)
    return any(isinstance(step, PropertyStep) for step in steps) or any(path.startswith(_OF_UNITS) or _plan_swap.is_ours(path) for path in files)


def leaving(folded: Folded, history_wanted: t.Iterable[Key], options: Options) -> t.List[Key]:
    """What the last run wanted and this one does not."""
    return [key for key in sorted(history_wanted) if key not in folded.wanted and key not in folded.refused and _covered(key[2], options)]


def _host_part(folded: Folded, present: Present, history: History, options: Options, files: Files) -> _plan_host.HostPart:
    wishes = [wish for wish in folded.wanted.values() if not wish.subject and _covered(wish.knob, options)]
    ours = tuple(path for path, text in files.ours.items() if text is not None and _persist.is_ours(text))
    return _plan_host.plan_host(wishes, present, history._replace(ours=ours), options, _our_lines(files, options)[0])


def _covered(knob: str, options: Options) -> bool:
    return options.covers(_texts.area(_registry.find(knob)))


def returned_rows(steps: t.Iterable[Step], why: str = "") -> t.List[Row]:
    """Of steps that go back: what each changes."""
    steps = list(steps)
    rows = [row.because(why) for row in _plan_swap.returned_rows(steps)]
    owned = {file.path for step in steps if isinstance(step, PropertyStep) for file in step.files}
    for step in steps:
        if isinstance(step, WriteStep) and step.before != step.after and step.path not in owned and not _registry.find(step.knob).one_shot:
            row = Row(step.knob, step.scope, step.subject, step.after, step.before, step.before, status="would_change").because(why)
            rows.append(row.because(_plan_memcgs.INHERITED) if _registry.find(step.knob).inherited else row)
        elif isinstance(step, PropertyStep):
            now = dict(step.before)
            files = {_registry.find(file.knob).unit_property: file for file in step.files}
            for name, value in step.properties:
                file = files.get(name)
                held = file.before if file else now.get(name)
                if now.get(name) != value or (file and file.before != file.after):
                    rows.append(Row(name, "unit", step.unit, value, held, held, status="would_change").because(why))
    return rows


def _refused_rows(folded: Folded, present: Present, options: Options) -> t.List[Row]:
    """Of what this kernel does not take, with what it has."""
    rows = []
    for one in (one for one in folded.refused.values() if _covered(one.wanted.knob, options)):
        held = present.host.get(one.wanted.knob) if not one.wanted.subject else None
        row = new_row(one.wanted, one.wanted.subject)._replace(live_before=held.text if held else None, live_after=held.text if held else None)
        rows.append(row.because(f"{row.wanted} {one.reason}", "refused"))
    return rows


def _left_rows(history: History) -> t.List[Row]:
    left = "no profile wants it any more, but it stays"
    scopes = {name: scope for scope, unused, name in history.wanted}
    rows = [
        Row(one.name, scopes.get(one.name, ""), one.subject, None, one.found, one.found, status="failed" if one.failed else "deferred").because(one.reason)
        for one in history.left
    ]
    # Had it been left out now, the next run would not know of it.
    again = "Run again, or put it back into a profile"
    return [row._replace(reason=f"{left}: {row.reason}{f'. {again}' if row.status == 'failed' else ''}") for row in rows]


# Dangers


def _with_dangers(
    rows: t.Sequence[Row], steps: t.Sequence[Step], present: Present, options: Options
) -> t.Tuple[t.List[Row], t.Dict[t.Tuple[str, str], WriteStep]]:
    """(rows, what has to shrink first)"""
    judged_rows, shrinks = judged_by(rows, steps, present, options.allow, shrink=options.shrink)
    values, named = _values_after(rows, steps, present), {row.key for row in rows}
    return [row.because(_warning(row, values.get(row.subject, {}), named, present)) for row in judged_rows], shrinks


def judged_by(
    rows: t.Sequence[Row], steps: t.Sequence[Step], present: Present, allow: t.Collection[str], *, shrink: bool
) -> t.Tuple[t.List[Row], t.Dict[t.Tuple[str, str], WriteStep]]:
    """Refused, allowed by name, or resolved by the returned steps, each to come right before the one that sets its bound (C(_plan_shrink.inserted))."""
    found = _guards.dangers(steps, figures(present), _to_come(rows))
    swap = _plan_swap.added(steps)
    free = max(0, present.meminfo.get("SwapFree", 0) + min(0, swap))
    left, shrinks, said = _plan_shrink.resolved(steps, found, present._replace(meminfo={**present.meminfo, "SwapFree": free}), wanted=shrink)
    if shrink and swap > 0:
        said.update(dict.fromkeys(left, "swap of this plan comes later: tune that first (memqos_only)"))
    keys = [(file_of(row), row.subject) for row in rows]
    return [judged(row, left.get(key), allow).because(said.get(key, "")) for row, key in zip(rows, keys)], shrinks


def figures(present: Present) -> _guards.Figures:
    live = {name: held.value for name, held in present.host.items()}
    running = {unit.state.name: unit.state.cgroup for units in present.units.values() for unit in units if unit.state.cgroup}
    return _guards.Figures(
        present.meminfo, live, present.cgroups, present.mount, running, str(present.facts.get("kernel", "")), present.zones, present.page_size
    )


def _to_come(rows: t.Iterable[Row]) -> t.Iterator[_guards.ToCome]:
    for row in filter(_holds_later, rows):
        yield _guards.ToCome(file_of(row), row.subject, row.persisted_before, row.wanted or "")


def _holds_later(row: Row) -> bool:
    """Whether its unit does not run."""
    return bool(row.subject) and row.live_before is None and row.wanted is not None and row.status in ("ok", "would_change")


def file_of(row: Row) -> str:
    """The memcg file that a property becomes, else the knob itself."""
    if row.scope != "unit":
        return row.name
    return next((knob.name for knob in _registry.memcg_knobs() if knob.unit_property == row.name), row.name)


def _warning(row: Row, values: t.Mapping[str, Value], named: t.Container[t.Tuple[str, str]], present: Present) -> str:
    """What is not refused, but should be known. C(values): of its unit, when all is done; C(named): what has a row."""
    if row.status == "unsupported":
        return ""
    if row.name == "MemoryMin" or (row.name == "MemoryMax" and ("MemoryMin", row.subject) not in named):
        least, most = values.get("MemoryMin", 0), values.get("MemoryMax")
        if least != 0 and isinstance(most, int) and (least is None or (isinstance(least, int) and least >= most)):
            sizes = ["infinity" if value is None else _shares.format_size(value) for value in (least, most)]
            why = "page cache within it cannot be reclaimed, and file-heavy work ends in OOM kills"
            return f"MemoryMin ({sizes[0]}) is not below MemoryMax ({sizes[1]}): {why}"
    if row.name == "memory.wmark_ratio" and row.wanted != "0" and values.get("MemoryHigh") is None and values.get("MemoryMax") is None:
        return "without effect while memory.high and memory.max are max"
    if row.name.startswith("ManagedOOM") and "systemd-oomd" not in present.persisted.writers:
        return "without effect while systemd-oomd does not run"
    return ""


def _values_after(rows: t.Iterable[Row], steps: t.Iterable[Step], present: Present) -> t.Dict[str, t.Dict[str, Value]]:
    """{unit: {property: value}} when all steps are done, and of what does not run when it starts."""
    values = {unit.state.name: _present.unit_values(unit) for units in present.units.values() for unit in units}
    for row in filter(_holds_later, rows):
        values.setdefault(row.subject, {})[row.name] = _registry.normalize(_registry.find(row.name), row.wanted)
    for step in steps:
        for write in (*step.files, *step.besides) if isinstance(step, PropertyStep) else (step,):
            if isinstance(write, WriteStep) and write.scope == "memcg":
                knob = _registry.find(write.knob)
                values.setdefault(write.subject, {})[knob.unit_property or knob.name] = _registry.normalize(knob, write.after)
    return values


# Effective values


def _with_effective(rows: t.Sequence[Row], steps: t.Iterable[Step], present: Present) -> t.List[Row]:
    """What ancestors leave of a unit's protection and limits when all steps are done."""
    cgroups = after_steps(steps, present)
    by_unit = {unit.state.name: unit.state.cgroup for units in present.units.values() for unit in units}
    found = []
    for row in rows:
        effective = _effective(row, by_unit.get(row.subject, ""), cgroups)
        found.append(row._replace(effective=effective or row.effective))
    return found


def after_steps(steps: t.Iterable[Step], present: Present) -> t.Dict[str, Cgroup]:
    """The cgroups as the steps leave them, with effective protection."""
    cgroups: t.Dict[str, t.Any] = {path: dict(cgroup) for path, cgroup in present.cgroups.items()}
    for write in (write for step in steps for write in (step.files if isinstance(step, PropertyStep) else (step,))):
        if isinstance(write, WriteStep) and write.scope == "memcg" and write.knob in _CGROUP_KEYS:
            cgroup = cgroups.get(write.path[len(present.mount) :].rpartition("/")[0])
            if cgroup is not None:
                cgroup[_CGROUP_KEYS[write.knob]] = _registry.normalize(_registry.find(write.knob), write.after)
    _accounts.account_cgroups(list(cgroups.values()), recursive_protection=present.recursive_protection)
    return cgroups


def _effective(row: Row, path: str, cgroups: t.Mapping[str, t.Any]) -> t.Optional[str]:
    file = file_of(row)
    if path not in cgroups or file not in _CGROUP_KEYS:
        return None
    key, cgroup = _CGROUP_KEYS[file], cgroups[path]
    if file in _EFFECTIVE:
        value = cgroup.get(_EFFECTIVE[file])
        # The kernel protects no more than is used, which is no ancestor's doing.
        if value != min(_size(cgroup.get(key)), cgroup.get("usage", 0)):
            return None if value is None else str(value)
    values = []
    while path:
        values.append(cgroups.get(path, {}).get(key))
        path = path.rpartition("/")[0]
    known = [value for value in values if value is not None]
    return _texts.kernel_text(min(known) if known else None)


def _size(value: t.Optional[int]) -> float:
    return float("inf") if value is None else value


# Files


def _retired(files: Files, options: Options) -> t.Tuple[str, ...]:
    """Our files in sysctl.d under names that are no longer asked for."""
    current = _persist.sysctl_path(options.sysctl_file)
    return tuple(path for path, text in files.ours.items() if path.startswith("/etc/sysctl.d/") and path != current and text is not None)


def _our_lines(files: Files, options: Options) -> t.Tuple[t.Dict[str, str], t.Dict[str, str]]:
    """What can stand there again though this run does not set it: (host knobs of our lines, lines of cgroup files in areas that are not asked for)."""
    ours = {path: (text or "").encode("utf-8", "surrogateescape") for path, text in files.ours.items() if _persist.is_ours(text)}
    sysctl = (_persist.sysctl_path(options.sysctl_file), *_retired(files, options))
    lines = [(f"/proc/sys/{key}", value or "") for path in sysctl for unused, key, value in _persisted.parse_sysctl(ours.get(path, b""))]
    for path in (_persist.TMPFILES, _persist.LATE_TMPFILES):
        lines += [(key, value) for unused, unused_kind, key, value in _persisted.parse_tmpfiles(ours.get(path, b""))]
    host: t.Dict[str, str] = {}
    cgroups: t.Dict[str, str] = {}
    for path, value in lines:
        knob = _registry.of_path(path)
        if knob and knob.scope == "memcg":
            # A property's file is written directly where systemd does not know it (v1), and is of the property's area.
            cgroups.update({} if _covered(knob.unit_property or knob.name, options) else {path: value})
        elif knob:
            host[knob.name] = value
    return host, cgroups


def _texts_of_files(host: _plan_host.HostPart, units: _plan_units.UnitPart, present: Present, options: Options, files: Files) -> t.Dict[str, t.Optional[str]]:
    """All files of ours as they have to be."""
    texts: t.Dict[str, t.Optional[str]] = dict.fromkeys(_retired(files, options))
    texts[_persist.sysctl_path(options.sysctl_file)] = _persist.sysctl_text(host.sysctl)
    if "systemd" in present.facts:
        texts[_persist.TMPFILES] = _persist.tmpfiles_text(host.tmpfiles)
        texts.update(_persist.late_files([*host.late, *{**_our_lines(files, options)[1], **dict(units.late)}.items()], files.tmpfiles_program))
    if not present.no_units and options.covers("slices"):
        # Drop-ins of subjects that nobody wants any more are among ours.
        texts.update({path: None for path in files.ours if _persist.is_drop_in(path)})
        texts.update(units.drop_ins)
    # A file of somebody else that has the name of one that is not needed is theirs.
    return {path: text for path, text in texts.items() if text is not None or _persist.is_ours(files.ours.get(path))}


def _file_steps(texts: t.Mapping[str, t.Optional[str]], files: Files) -> t.List[FileStep]:
    changed = [(path, files.ours.get(path), text) for path, text in texts.items() if files.ours.get(path) != text]
    return [FileStep(path, before, text, creates=files.made.get(path, ())) for path, before, text in changed]


def _foreign_steps(aside: t.Iterable[t.Tuple[str, int]], files: Files, wanted: t.Iterable[Key]) -> t.List[FileStep]:
    """Files of others with these lines (path, number) set aside, and with those given back that are in nobody's way any more."""
    knobs = [_registry.find(name) for unused, subject, name in wanted if not subject]
    paths = {knob.path for knob in knobs} | {_registry.find(rival).path for knob in knobs for rival in _wanted.rivals(knob)}
    texts = {foreign.target: foreign.text for foreign in files.foreign.values()}
    for path, line in sorted(set(aside)):
        target = files.foreign[path].target
        texts[target] = _persist.disabled_line(texts[target], line)
    steps = {}
    for foreign in files.foreign.values():
        text: t.Optional[str] = _persist.given_back(texts[foreign.target], lambda line: _persisted.sets_any(line, paths))
        if foreign.is_copy and _persist.ASIDE not in (text or ""):
            text = None
        if text != foreign.before:
            steps[foreign.target] = FileStep(foreign.target, foreign.before, text, foreign.mode)
    return list(steps.values())


def _blocked(rows: t.Iterable[Row], options: Options, files: Files, texts: t.Mapping[str, t.Optional[str]]) -> str:
    """Why nothing may be written."""
    stopping = {"refused", "conflict", "failed", *(["unsupported"] if options.fail_on_unsupported else [])}
    reasons = [f"{f'{row.subject} ' if row.subject else ''}{row.name}: {row.reason}" for row in rows if row.status in stopping]
    for path in texts:
        if not _persist.is_ours(files.ours.get(path)):
            other = ", or choose another name for ours (memqos_sysctl_file)" if path.startswith("/etc/sysctl.d/") else ""
            reasons.append(f"{path} is there and was not made by memqos.fleet: move it away{other}")
    if texts.get(_persist.sysctl_path(options.sysctl_file)):
        reasons += [f"memqos_sysctl_file: a file of the name {options.sysctl_file} would hide {path}: choose another name" for path in files.hidden]
    return "\n".join(reasons)
