# Copyright (c) 2026, memqos.fleet contributors. Private to the collection.
# SPDX-License-Identifier: BSD-2-Clause

"""What stands on a node + what is wanted → one result for every knob, and the ordered steps between the two. Pure.

Steps come in this order: files (a read-only /etc shows before the kernel is touched), host knobs as the registry orders them, units that grow from the root
down, units that shrink from the leaves up, files of cgroups, one daemon-reload.
"""

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _breakdown, _guards, _persist, _plan_host, _plan_units
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _texts
from ansible_collections.memqos.fleet.plugins.module_utils._plan_rows import History, Options, Plan, Row, new_row
from ansible_collections.memqos.fleet.plugins.module_utils._read import _persisted
from ansible_collections.memqos.fleet.plugins.module_utils._steps import FileStep, PropertyStep, ReloadStep, Step, WriteStep

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.module_utils._present import Present
    from ansible_collections.memqos.fleet.plugins.module_utils._wanted import Folded, Key, Wanted
    from ansible_collections.memqos.fleet.plugins.plugin_utils._shapes import Cgroup

_EFFECTIVE = {"memory.min": "effective_min", "memory.low": "effective_low"}
_LIMITS = {"memory.max": "limit", "memory.high": "high"}
_CGROUP_KEYS = {"memory.min": "min", "memory.low": "low", **_LIMITS}


class Files(t.NamedTuple):
    """Text files as they stand, None = absent. C(ours): by path; C(foreign): {path as it was read: (path behind links, text)} of what is set aside.

    C(tmpfiles_program): where the node has systemd-tmpfiles.
    """

    ours: t.Mapping[str, t.Optional[str]]
    foreign: t.Mapping[str, t.Tuple[str, str]] = {}
    tmpfiles_program: str = "/usr/bin/systemd-tmpfiles"


def our_paths(subjects: t.Iterable[str], sysctl_file: str) -> t.List[str]:
    """The files that a plan for these subjects can write."""
    fixed = (_persist.sysctl_path(sysctl_file), _persist.TMPFILES, _persist.LATE_TMPFILES, _persist.LATE_UNIT, _persist.LATE_WANTS)
    return [*fixed, *map(_persist.drop_in_path, subjects)]


def set_aside(folded: Folded, present: Present, options: Options) -> t.List[str]:
    """Files of others that the plan will change under the policy C(take)."""
    part = _plan_host.plan_host(_host_wishes(folded, options), present, History(), options)
    return sorted({path for path, unused in part.aside})


def plan(folded: Folded, present: Present, history: History, options: Options, files: Files) -> Plan:
    """Nothing is left out in silence: every wanted knob in the areas asked for has its row."""
    host = _plan_host.plan_host(_host_wishes(folded, options), present, history, options)
    wishes = [wish for wish in folded.wanted.values() if wish.subject and _covered(wish.knob, options)]
    units = _plan_units.plan_units(wishes, present, options)
    steps = [*_returning(history, (WriteStep,)), *host.steps, *_returning(history, (PropertyStep, FileStep)), *units.properties, *units.writes]
    refused = [new_row(one.wanted, one.wanted.subject).because(one.reason, "refused") for one in folded.refused.values() if _covered(one.wanted.knob, options)]
    rows = [*host.rows, *units.rows, *_returned_rows(history), *refused]
    rows = _with_dangers(rows, steps, present, options)
    rows = _with_effective(rows, steps, present)
    texts = _texts_of_files(host, units, present, options, files)
    file_steps = [FileStep(path, files.ours.get(path), text) for path, text in texts.items() if files.ours.get(path) != text]
    file_steps += _aside_steps(host.aside, files)
    reload = [ReloadStep()] if any("/etc/systemd/system/" in step.path for step in file_steps) and "systemd" in present.facts else []
    blocked = _blocked(rows, options, files, texts)
    everything: t.Sequence[Step] = () if blocked else (*file_steps, *steps, *reload)
    carried = {key for key in history.wanted if not _covered(key[2], options)}
    wanted = {key for key in folded.wanted if _covered(key[2], options)} | carried
    return Plan(tuple(everything), tuple(rows), tuple(file_steps), tuple(folded.skipped), frozenset(wanted), blocked)


def leaving(folded: Folded, history_wanted: t.Iterable[Key], options: Options) -> t.List[Key]:
    """What the last run wanted and this one does not: it goes back, unless a rival takes its place (whose write switches it off)."""
    return [key for key in sorted(history_wanted) if key not in folded.wanted and key not in folded.refused and _covered(key[2], options)]


def _host_wishes(folded: Folded, options: Options) -> t.List[Wanted]:
    return [wish for wish in folded.wanted.values() if not wish.subject and _covered(wish.knob, options)]


def _covered(knob: str, options: Options) -> bool:
    return options.covers(_texts.area(_registry.find(knob)))


def _returning(history: History, kinds: t.Tuple[t.Any, ...]) -> t.List[Step]:
    return [step for step in history.returning if isinstance(step, kinds)]


def _returned_rows(history: History) -> t.List[Row]:
    rows = []
    back = "no profile wants it any more: back to what stood before"
    for step in history.returning:
        if isinstance(step, WriteStep):
            rows.append(Row(step.knob, step.scope, step.subject, step.after, step.before, step.before, status="would_change").because(back))
        elif isinstance(step, PropertyStep):
            now = dict(step.before)
            for name, value in step.properties:
                rows.append(Row(name, "unit", step.unit, value or None, now.get(name), now.get(name), status="would_change").because(back))
    for left in history.left:
        scope, subject, name = left.key
        rows.append(
            Row(name, scope, subject, None, left.found, left.found, status="deferred").because(f"no profile wants it any more, but it stays: {left.reason}")
        )
    return rows


# Dangers


def _with_dangers(rows: t.Sequence[Row], steps: t.Iterable[Step], present: Present, options: Options) -> t.List[Row]:
    live = {name: held.value for name, held in present.host.items()}
    found = _guards.dangers(steps, _guards.Figures(present.meminfo, live, present.cgroups, present.mount))
    checked = []
    for row in rows:
        danger = found.get((_file_of(row), row.subject))
        if danger and danger.risk in options.allow:
            row = row.because(f"allowed ({danger.risk}): {danger.reason}")
        elif danger:
            row = row.because(f"{danger.reason}. To do it all the same: memqos_allow_risks: [{danger.risk}]", "refused")
        checked.append(_with_warning(row, rows, present))
    return checked


def _file_of(row: Row) -> str:
    """The memcg file that a property becomes, else the knob itself."""
    if row.scope != "unit":
        return row.name
    return next((knob.name for knob in _registry.memcg_knobs() if knob.unit_property == row.name), row.name)


def _with_warning(row: Row, rows: t.Iterable[Row], present: Present) -> Row:
    if row.name == "MemoryMin" and any(other.key == ("MemoryMax", row.subject) and other.wanted == row.wanted for other in rows):
        return row.because("equal to MemoryMax: page cache within it cannot be reclaimed, and file-heavy work ends in OOM kills")
    if row.name.startswith("ManagedOOM") and row.status != "unsupported" and "systemd-oomd" not in present.persisted.writers:
        return row.because("without effect while systemd-oomd does not run")
    return row


# Effective values


def _with_effective(rows: t.Sequence[Row], steps: t.Iterable[Step], present: Present) -> t.List[Row]:
    """What ancestors leave of a unit's protection and limits when all steps are done."""
    cgroups = after_steps(steps, present)
    by_unit = {unit.state.name: unit.state.cgroup for units in present.units.values() for unit in units}
    return [row._replace(effective=_effective(row, by_unit.get(row.subject, ""), cgroups) or row.effective) for row in rows]


def after_steps(steps: t.Iterable[Step], present: Present) -> t.Dict[str, Cgroup]:
    """The cgroups as the steps leave them, with effective protection."""
    cgroups: t.Dict[str, t.Any] = {path: dict(cgroup) for path, cgroup in present.cgroups.items()}
    for write in (write for step in steps for write in (step.files if isinstance(step, PropertyStep) else (step,))):
        if isinstance(write, WriteStep) and write.scope == "memcg" and write.knob in _CGROUP_KEYS:
            cgroup = cgroups.get(write.path[len(present.mount) :].rpartition("/")[0])
            if cgroup is not None:
                cgroup[_CGROUP_KEYS[write.knob]] = _registry.normalize(_registry.find(write.knob), write.after)
    _breakdown.account_cgroups(list(cgroups.values()), recursive_protection=present.recursive_protection)
    return cgroups


def _effective(row: Row, path: str, cgroups: t.Mapping[str, t.Any]) -> t.Optional[str]:
    file = _file_of(row)
    if path not in cgroups or file not in _CGROUP_KEYS:
        return None
    if file in _EFFECTIVE:
        value = cgroups[path].get(_EFFECTIVE[file])
        return None if value is None else str(value)
    limits = []
    while path:
        limits.append(cgroups.get(path, {}).get(_LIMITS[file]))
        path = path.rpartition("/")[0]
    known = [limit for limit in limits if limit is not None]
    return _texts.kernel_text(min(known) if known else None)


# Files


def _texts_of_files(host: _plan_host.HostPart, units: _plan_units.UnitPart, present: Present, options: Options, files: Files) -> t.Dict[str, t.Optional[str]]:
    """All files of ours as they have to be; of areas that are not asked for, what stands there stays."""
    sysctl_path = _persist.sysctl_path(options.sysctl_file)
    ours = {path: (text or "").encode("utf-8", "surrogateescape") for path, text in files.ours.items() if _persist.is_ours(text)}

    def is_kept(path: str) -> bool:
        knob = _registry.of_path(path) if options.only else None
        return bool(knob and not _covered(knob.name, options))

    sysctl = {key.replace("/", "."): value or "" for unused, key, value in _persisted.parse_sysctl(ours.get(sysctl_path, b"")) if is_kept(f"/proc/sys/{key}")}
    tmpfiles, late = (
        [(path, value) for unused, unused_kind, path, value in _persisted.parse_tmpfiles(ours.get(file, b"")) if is_kept(path)]
        for file in (_persist.TMPFILES, _persist.LATE_TMPFILES)
    )
    texts: t.Dict[str, t.Optional[str]] = {sysctl_path: _persist.sysctl_text({**sysctl, **host.sysctl})}
    if "systemd" in present.facts:
        texts[_persist.TMPFILES] = _persist.tmpfiles_text([*tmpfiles, *host.tmpfiles])
        texts.update(_persist.late_files([*late, *host.late, *units.late], units.late_units, files.tmpfiles_program))
    if not present.no_units and options.covers("slices"):
        # Drop-ins of subjects that nobody wants any more are among ours.
        texts.update({path: None for path in files.ours if _persist.is_drop_in(path)})
        texts.update(units.drop_ins)
    return texts


def _aside_steps(aside: t.Iterable[t.Tuple[str, int]], files: Files) -> t.List[FileStep]:
    """A file of /etc gets the line as a comment; one of /usr or /run is hidden by a copy in /etc that has it so."""
    changed: t.Dict[str, t.Tuple[str, t.Optional[str], str]] = {}
    for path, line in sorted(set(aside)):
        real, text = files.foreign[path]
        directory, unused, name = real.rpartition("/")
        target = real if real.startswith("/etc/") else f"/etc/{directory.rpartition('/')[2]}/{name}"
        before = text if target == real else None
        changed[path] = (target, before, _persist.disabled_line(changed[path][2] if path in changed else text, line))
    return [FileStep(target, before, after) for target, before, after in changed.values()]


def _blocked(rows: t.Iterable[Row], options: Options, files: Files, texts: t.Mapping[str, t.Optional[str]]) -> str:
    """Why nothing may be written."""
    stopping = {"refused", "conflict", *(["unsupported"] if options.fail_on_unsupported else [])}
    reasons = [f"{f'{row.subject} ' if row.subject else ''}{row.name}: {row.reason}" for row in rows if row.status in stopping]
    for path, text in files.ours.items():
        if path in texts and not _persist.is_ours(text) and texts[path] != text:
            reasons.append(f"{path} is there and was not made by memqos.fleet: move it away, or choose another name (memqos_sysctl_file)")
    return "\n".join(reasons)
