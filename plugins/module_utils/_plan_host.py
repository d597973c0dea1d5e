# SPDX-License-Identifier: BSD-2-Clause

"""The host's part of a plan: sysctls, sysfs files, huge pages. Pure."""

from __future__ import annotations

import fnmatch
import typing as t

from . import _persist, _wanted
from ._knobs import _registry, _texts
from ._plan_rows import History, Options, Row, Said, given, is_same, lacking, new_row, place, said
from ._read import _persisted
from ._steps import WriteStep
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ._knobs._row import Knob
    from ._present import Present
    from ._wanted import Wanted

_MOVABLE = ("sysctl.d", "sysctl.conf", "tmpfiles.d")
# Those made later have that of the one above them, and so have slices that are made before systemd-sysctl runs.
_SWAPPINESS_OF_V1 = "on cgroup v1 the cgroups that exist keep a memory.swappiness of their own: set that of their units"
Line = t.Tuple[str, str]


class HostPart(NamedTuple):
    """C(sysctl): {knob: text}; C(tmpfiles), C(late): (path, text) in order; C(aside): (path, line) of others that C(take) moves aside."""

    rows: t.Tuple[Row, ...]
    steps: t.Tuple[WriteStep, ...]
    sysctl: t.Dict[str, str]
    tmpfiles: t.Tuple[Line, ...]
    late: t.Tuple[Line, ...]
    aside: t.Tuple[t.Tuple[str, int], ...]


class _Item(NamedTuple):
    """A knob that this node has. C(text) is wanted, C(held) is live; C(file): of ours, that makes it last; empty for none."""

    knob: Knob
    row: Row
    text: str
    held: str
    differs: bool
    file: str


def plan_host(wishes: t.Sequence[Wanted], present: Present, history: History, options: Options, lines: t.Mapping[str, str]) -> HostPart:
    """C(lines): {knob: text} of ours as they stand. Those in areas that are not asked for, and of what is left alone, stand again where they have to.

    What we move of such a knob comes back.
    """
    kept = {name: text for name, text in lines.items() if not options.covers(_texts.area(_registry.find(name)))}
    rows: t.List[Row] = []
    aside: t.List[t.Tuple[str, int]] = []
    wanted = {name: _registry.find(name) for name in (*(wish.knob for wish in wishes), *kept)}
    items = [_kept(wanted[name], text, wanted, present, options) for name, text in kept.items()]
    for wish in wishes:
        item = _item(wish, wanted, present, history, options)
        if isinstance(item, Row):
            rows.append(item)
            continue
        item, moved = _resolve(item, wish, lines, present, history, options)
        aside += moved
        rows.append(item.row)
        if item.row.status not in ("deferred", "conflict"):
            items.append(item)
        elif wish.knob in lines:
            items.append(_kept(item.knob, lines[wish.knob], wanted, present, options))
    rows = [_alone(row, items, present, history) for row in rows]
    ordered = in_order(items)
    lasting = [item for item in ordered if item.file]
    return HostPart(
        tuple(rows),
        (
            *(_step(item) for item in ordered if item.differs or _is_moved(item, ordered)),
            *commits({item.knob.name for item in ordered if item.differs}, present),
        ),
        {item.knob.name: item.text for item in lasting if item.knob.persist == "sysctl.d"},
        tuple((item.knob.path, item.text) for item in lasting if item.file == _persist.TMPFILES),
        tuple((item.knob.path, item.text) for item in lasting if item.file == _persist.LATE_TMPFILES),
        tuple(aside),
    )


def in_order(items: t.Iterable[_Item]) -> t.List[_Item]:
    """As the registry says: C(after) (THP before min_free_kbytes), C(excludes): what is switched off first, C(at_most): the growing bound first."""
    left = {item.knob.name: item for item in sorted(items, key=lambda item: item.knob.name)}
    ordered: t.List[_Item] = []
    while left:
        # A circle cannot be in the registry, which a test checks.
        name = next(name for name, item in left.items() if not any(_comes_first(other, item) for other in left.values() if other is not item))
        ordered.append(left.pop(name))
    return ordered


def _comes_first(other: _Item, item: _Item) -> bool:
    if any(fnmatch.fnmatchcase(other.knob.name, glob) for glob in item.knob.after) and item.knob.name not in other.knob.after:
        return True
    if other.knob.name in item.knob.excludes:
        return _is_on(item.knob, item.text) and not _is_on(other.knob, other.text)
    if item.knob.at_most == other.knob.name:
        return _grows(other)
    return other.knob.at_most == item.knob.name and not _grows(item)


def _grows(item: _Item) -> bool:
    one, other = (_registry.normalize(item.knob, text) for text in (item.held, item.text))
    return isinstance(one, int) and isinstance(other, int) and other > one


def _is_on(knob: Knob, text: str) -> bool:
    return _registry.normalize(knob, text) == 1


def _alone(row: Row, items: t.Iterable[_Item], present: Present, history: History) -> Row:
    """Refused if what it excludes will be on beside it."""
    knob = _registry.find(row.name)
    texts = {name: held.text for name, held in present.host.items() if name in knob.excludes or name == knob.name}
    texts.update((step.knob, step.after) for step in history.returning if isinstance(step, WriteStep) and step.knob in texts)
    texts.update((item.knob.name, item.text) for item in items if item.knob.name in texts)
    beside = [name for name in knob.excludes if name in texts and _is_on(_registry.find(name), texts[name])]
    if not beside or row.status != "would_change" or not _is_on(knob, texts[knob.name]):
        return row
    return row.because(f"the kernel takes one of these at a time, and {' and '.join(beside)} is on: set it to 0 as well", "refused")


def _is_moved(item: _Item, items: t.Iterable[_Item]) -> bool:
    """Whether a write of another knob can move it: then it is written again, if need be."""
    return bool(item.held) and any(item.knob.name in other.knob.partners and other.differs for other in items)


def moved_last(steps: t.Iterable[WriteStep]) -> t.List[WriteStep]:
    """What goes back and what is wanted, in the order given, but what another's write moves after it; rivals stay as they are."""
    left, ordered = list(steps), []
    while left:
        step = next((step for step in left if not any(_moves(other.knob, step.knob) for other in left)), left[0])
        left.remove(step)
        ordered.append(step)
    return ordered


def _moves(other: str, knob: str) -> bool:
    return knob in _registry.find(other).partners and other not in _registry.find(knob).partners


def companions(knobs: t.Collection[str]) -> t.Set[str]:
    """What else has to be read where these are wanted: whether a module runs that takes new inputs only by a commit (DAMON), partners, what is excluded."""
    rows = map(_registry.find, knobs)
    commits = [row for row in _registry.host_knobs() if _is_commit(row) and any(name in knobs for name in row.after)]
    return {name for row in rows for name in (*row.partners, *row.excludes) if "{" not in name} | {name for row in commits for name in (row.name, _switch(row))}


def _is_commit(row: Knob) -> bool:
    return row.one_shot and row.access == "rw" and bool(row.after)


def _switch(commit: Knob) -> str:
    return next(name for name in commit.after if name.endswith("/enabled"))


def commits(changed: t.Container[str], present: Present) -> t.Iterator[WriteStep]:
    """For each module that ran before and runs on with other inputs."""
    for row in filter(_is_commit, _registry.host_knobs()):
        held, switch = present.host.get(row.name), present.host.get(_switch(row))
        if held and switch and switch.value == 1 and _switch(row) not in changed and any(name in changed for name in row.after):
            yield WriteStep(row.name, "host", "", row.path, held.text, "1")


def _step(item: _Item) -> WriteStep:
    after = item.text if item.differs else item.held
    return WriteStep(item.knob.name, item.knob.scope, "", item.knob.path, item.held, after)


def _kept(knob: Knob, text: str, wanted: t.Mapping[str, Knob], present: Present, options: Options) -> _Item:
    held = present.host.get(knob.name)
    return _Item(knob, Row(knob.name, knob.scope, "", text), text, held.text if held else "", False, _file(knob, wanted, present, options)[0])


def _item(wish: Wanted, wanted: t.Mapping[str, Knob], present: Present, history: History, options: Options) -> t.Union[_Item, Row]:
    """A row alone where the node has no such knob."""
    knob, row = wanted[wish.knob], new_row(wish, "")
    held = present.host.get(knob.name)
    if held is None:
        trouble = present.troubles.get(knob.name)
        return row._replace(equivalence="none").because(f"cannot be read: {trouble}" if trouble else lacking(knob), "unsupported")
    text = _texts.kernel_text(wish.value)
    differs = not is_same(knob, held.text, text, present.page_size)
    if differs and history.found.get((knob.path, text)) == held.text:
        # As many huge pages as the kernel found when we asked.
        differs = False
        row = row._replace(reboot_required=True).because(given(held.text, text))
    row = row._replace(live_before=held.text, live_after=held.text, effective=text if differs else held.text, status="would_change" if differs else "ok")
    if knob.name == "vm.swappiness" and present.version == 1:
        row = row.because(_SWAPPINESS_OF_V1)
    file, problem = _file(knob, wanted, present, options)
    return _Item(knob, row.because(problem), text, held.text, differs, file)


def _file(knob: Knob, wanted: t.Mapping[str, Knob], present: Present, options: Options) -> t.Tuple[str, str]:
    """(our file that decides it at boot, why there is none)"""
    if knob.persist == "sysctl.d":
        # tmpfiles.d comes later, and what it writes moves this one: the value has to stand there again.
        again = any(knob.name in other.partners and other.persist == "tmpfiles.d" for other in wanted.values()) and "systemd" in present.facts
        return (_persist.TMPFILES if again else _persist.sysctl_path(options.sysctl_file)), ""
    if "systemd" not in present.facts:
        return "", "nothing applies it at boot: tmpfiles.d needs systemd"
    if knob.persist == "tmpfiles.d":
        return _persist.TMPFILES, ""
    return (_persist.LATE_TMPFILES, "") if knob.persist in ("boot unit", "reapply") else ("", "holds until the next boot: there is no place to write it down")


def _as_written(item: _Item, wish: Wanted, lines: t.Mapping[str, str]) -> _Item:
    """Who moves a value within its bounds decides for this boot: our line stays as it is."""
    line = lines.get(wish.knob, item.text)
    if item.differs or line == item.text or not _wanted.lets(wish, line):
        return item
    return item._replace(text=line, row=item.row.because(f"the bound lets {item.held} stand; {line} stays written down for the next boot"))


def _resolve(
    item: _Item, wish: Wanted, lines: t.Mapping[str, str], present: Present, history: History, options: Options
) -> t.Tuple[_Item, t.List[t.Tuple[str, int]]]:
    """Who decides at the next boot, before and after us, and what the policy makes of it."""
    knob = item.knob
    before = _persisted.winner(present.persisted, knob.name)
    row = item.row._replace(persisted_before=None if before is None or before.problem else said(before).value)
    if not item.file:
        return item._replace(row=row._replace(persisted_after=row.persisted_before, winner=said(before) if before else None)), []
    # What a write of another knob moves at boot needs its line in any case.
    is_moved = knob.persist == "sysctl.d" and item.file == _persist.TMPFILES
    other = _persisted.winner_without(present.persisted, knob.name, history.ours) if wish.bounds and not is_moved else None
    # A file in /run is gone by then.
    if other and not other.problem and not other.path.startswith("/run/") and _wanted.lets(wish, said(other).value or ""):
        row = row._replace(persisted_after=said(other).value, winner=said(other))
        if not _agrees(knob, other, item.held, present.page_size):
            row = row.because(f"the bound lets {place(said(other))} decide at the next boot: {row.persisted_after}")
        return item._replace(row=row, file=""), []
    item = _as_written(item._replace(row=row), wish, lines)
    row = item.row
    acting = [setting for setting in _persisted.conflicts(present.persisted, knob.name, item.file) if setting.path not in history.ours]
    movable = [setting for setting in acting if _can_go(setting, present) and not _agrees(knob, setting, item.text, present.page_size)]
    aside = movable if options.on_conflict == "take" else []
    acting = [setting for setting in acting if setting not in aside]
    other = next((setting for setting in reversed(acting) if setting.rank), None)
    if other is None or _agrees(knob, other, item.text, present.page_size):
        source = "sysctl.d" if "/sysctl.d/" in item.file else "tmpfiles.d"
        row = row._replace(persisted_after=item.text, winner=Said(source, item.file, 0, item.text))
    else:
        row = _lost(row, other, options)
    # A kubelet that refuses to start has no place in the order.
    row = row.because("; ".join(setting.problem for setting in acting if not setting.rank and not _agrees(knob, setting, item.text, present.page_size)))
    if aside:
        row = row.because(f"sets aside {', '.join(place(said(setting)) for setting in aside)}")
    return item._replace(row=row), [(setting.path, setting.line) for setting in aside]


def _can_go(setting: _persisted.Setting, present: Present) -> bool:
    """Whether its line can be set aside."""
    real = present.persisted.real_paths.get(setting.path, setting.path)
    return setting.source in _MOVABLE and setting.line > 0 and bool(_persist.aside_target(setting.path, real))


def _lost(row: Row, other: _persisted.Setting, options: Options) -> Row:
    """C(other) decides at the next boot."""
    where = said(other)
    why = f"at the next boot {place(where)} decides: " + (other.problem or str(where.value))
    if options.on_conflict == "take":
        why += " (it cannot be set aside)"
    if options.on_conflict == "refuse":
        return row._replace(persisted_after=row.persisted_before, winner=where).because(why, "conflict")
    if options.on_conflict == "defer":
        return row._replace(persisted_after=row.persisted_before, winner=where).because(f"left alone, as {why}", "deferred")
    return row._replace(persisted_after=None if other.problem else where.value, winner=where).because(why)


def _agrees(knob: Knob, setting: _persisted.Setting, text: str, page_size: int) -> bool:
    wants_it = _wanted.rivals(knob) and setting.problem  # sets the rival
    return not wants_it and setting.value is not None and is_same(knob, _texts.kernel_text(setting.value), text, page_size)
