# SPDX-License-Identifier: BSD-2-Clause

"""The steps of a plan as values: to JSON and back, joined over generations, turned round. Pure."""

from __future__ import annotations

import typing as t

from . import _persist
from ._knobs import _registry
from ._tuples import NamedTuple


class Moved(NamedTuple):
    """Another host knob that a write moves (dirty_bytes: dirty_ratio), and what it held before."""

    knob: str
    path: str
    before: str


class WriteStep(NamedTuple):
    """A kernel file. C(before) and C(after) as the kernel takes them, without newline; in a cgroup C(inode) is its directory's.

    C(boot_id) and C(moves) are filled in by the transaction. C(bound), unless 0: no value is set, but usage brought below so many bytes, by way of this file,
    before C(bounds) is set to them.
    """

    knob: str
    scope: str
    subject: str
    path: str
    before: str
    after: str
    inode: int = 0
    boot_id: str = ""
    moves: t.Tuple[Moved, ...] = ()
    bound: int = 0
    bounds: str = ""


class FileStep(NamedTuple):
    """A text file; None is absent. Bytes that are not UTF-8 travel as surrogate escapes, so that every file comes back as it was.

    C(mode) is the new file's. The old one's mode and owner, and the directories to be made, are filled in by the transaction.
    """

    path: str
    before: t.Optional[str]
    after: t.Optional[str]
    mode: int = 0o644
    mode_before: int = 0o644
    uid_before: int = 0
    gid_before: int = 0
    creates: t.Tuple[str, ...] = ()


class PropertyStep(NamedTuple):
    """C(systemctl set-property --runtime). Pairs of property and value; C(files) are the kernel files that they become: read back, never written first.

    C(besides): files of this unit that somebody wrote by hand, which systemd brings back to what it thinks (C(after)).
    C(drop_ins), the run-time drop-ins as they were (C(before)), are filled in by the transaction.
    """

    unit: str
    properties: t.Tuple[t.Tuple[str, str], ...]
    before: t.Tuple[t.Tuple[str, str], ...]
    files: t.Tuple[WriteStep, ...] = ()
    drop_ins: t.Tuple[FileStep, ...] = ()
    besides: t.Tuple[WriteStep, ...] = ()


class ReloadStep(NamedTuple):
    """One daemon-reload."""


class SwapFileStep(NamedTuple):
    """A swap file of ours, allocated and with mkswap's signature: its size in bytes; None is absent. C(creates) is filled in by the transaction."""

    path: str
    before: t.Optional[str]
    after: t.Optional[str]
    creates: t.Tuple[str, ...] = ()


class SwapStep(NamedTuple):
    """A swap area on or off, or on otherwise, by its unit C(path): what C(_swap.state) tells of C(area); None is off. C(name): of its row.

    C(service) stops with it. C(allowed): a swapoff that does not fit is the operator's wish.
    """

    path: str
    name: str
    area: str
    before: t.Optional[str]
    after: t.Optional[str]
    service: str = ""
    allowed: int = 0


class Memcg(NamedTuple):
    """A cgroup of a container, a pod or a class. C(values): (file, before, after) each; C(path): its directory. C(unit): systemd's.

    C(makes): files whose property has no run-time drop-in before, which is filled in by the transaction; C(unmakes): those whose drop-in goes with their value.
    With such a drop-in a unit that starts anew has our values in its new cgroup, too.
    """

    path: str
    inode: int
    values: t.Tuple[t.Tuple[str, str, str], ...]
    unit: str = ""
    makes: t.Tuple[str, ...] = ()
    unmakes: t.Tuple[str, ...] = ()


def is_same_memcg(memcg: Memcg, inode: int) -> bool:
    """Whether a cgroup of this path is what the journal knows."""
    return memcg.inode == inode or bool(memcg.makes)


class MemcgsStep(NamedTuple):
    """Files of many cgroups, which come and go by themselves. C(gone): paths of those that the origin can forget. C(boot_id): by the transaction."""

    memcgs: t.Tuple[Memcg, ...]
    gone: t.Tuple[str, ...] = ()
    boot_id: str = ""


Step = t.Union[WriteStep, FileStep, PropertyStep, ReloadStep, SwapFileStep, SwapStep, MemcgsStep]
MEMCGS = "containers"

_KINDS: t.Dict[str, t.Any] = {
    "write": WriteStep, "file": FileStep, "property": PropertyStep, "reload": ReloadStep, "swap file": SwapFileStep, "swap": SwapStep,
    "memcgs": MemcgsStep,
}  # fmt: skip
_ABSENTABLE = (FileStep, SwapFileStep, SwapStep)
_PARTS: t.Dict[str, t.Any] = {"moves": Moved, "files": WriteStep, "besides": WriteStep, "drop_ins": FileStep, "memcgs": Memcg}
_NUMBERS = ("inode", "bound", "mode", "mode_before", "uid_before", "gid_before", "allowed")


def to_json(step: Step) -> t.Dict[str, t.Any]:
    return {"kind": _kind(step), **_plain(step)}


def from_json(value: t.Any) -> Step:
    """Raises ValueError on what C(to_json) never wrote."""
    try:
        fields = dict(value)
        return t.cast("Step", _built(_KINDS[fields.pop("kind")], fields))
    except (AttributeError, LookupError, TypeError) as exc:
        raise ValueError(f"no step: {exc}") from exc


def name(step: Step) -> str:
    """What a step changes, for people: a path, a unit."""
    if isinstance(step, ReloadStep):
        return "systemctl daemon-reload"
    if isinstance(step, MemcgsStep):
        return MEMCGS
    return step.unit if isinstance(step, PropertyStep) else step.path


def merge(earlier: t.Iterable[Step], later: t.Iterable[Step]) -> t.List[Step]:
    """What both come to: each thing once, from its first C(before) to its last C(after); without what came back to where it was."""
    merged: t.Dict[t.Tuple[str, str], Step] = {}
    owned: t.Dict[str, str] = {}
    fresh: t.Set[str] = set()
    for step in (*earlier, *later):
        if isinstance(step, PropertyStep):
            step = _from_memcgs(_taken_over(step, merged), merged, fresh)
            owned.update({file.path: file.before for file in step.files if file.path not in owned})
        elif isinstance(step, WriteStep) and owned.get(step.path) == step.after:
            continue  # what a property became is back
        elif isinstance(step, FileStep) and step.path in fresh:
            step = _made_by_us(step)
        key = (_kind(step), name(step))
        merged[key] = _joined(merged[key], step) if key in merged else step
    left = [step for step in merged.values() if not _is_nothing(step)]
    # Of a file that has gone again, directories in which others lie by now.
    made = sorted({path for step in merged.values() if isinstance(step, (FileStep, SwapFileStep)) and _is_nothing(step) for path in step.creates})
    left = [_with_directories(step, made) for step in left] if made else left
    return left if any(not isinstance(step, ReloadStep) for step in left) else []


def _taken_over(step: PropertyStep, merged: t.Dict[t.Tuple[str, str], Step]) -> PropertyStep:
    """With the value that stood in its files before another property's write moved them."""
    files = []
    for file in step.files:
        moved = merged.pop((_kind(file), file.path), None)
        files.append(file._replace(before=moved.before) if isinstance(moved, WriteStep) else file)
    return step._replace(files=tuple(files))


def _from_memcgs(step: PropertyStep, merged: t.Dict[t.Tuple[str, str], Step], fresh: t.Set[str]) -> PropertyStep:
    """With what stood before a value of memory QoS that a profile's slice has taken over; the cgroup's step has it no more. C(fresh): drop-ins of ours."""
    memcgs = merged.get(("memcgs", MEMCGS))
    if not isinstance(memcgs, MemcgsStep):
        return step
    known = {memcg.path: memcg for memcg in memcgs.memcgs}
    files, before, drop_ins = [], dict(step.before), {drop_in.path: drop_in for drop_in in step.drop_ins}
    for file in step.files:
        place, unused, name = file.path.rpartition("/")
        memcg = known.get(place)
        was = next((value[1] for value in memcg.values if value[0] == name), None) if memcg else None
        if memcg and was is not None:
            known[place] = memcg._replace(
                values=tuple(value for value in memcg.values if value[0] != name), makes=tuple(one for one in memcg.makes if one != name)
            )
            file, key = file._replace(before=was), _registry.find(file.knob).unit_property
            before[key] = "infinity" if was == "max" else was
            path = _persist.run_time_path(step.unit, key)
            if name in memcg.makes and path in drop_ins:
                drop_ins[path] = _made_by_us(drop_ins[path])
                fresh.add(path)
        files.append(file)
    merged["memcgs", MEMCGS] = memcgs._replace(memcgs=tuple(memcg for memcg in known.values() if memcg.values))
    return step._replace(files=tuple(files), before=tuple(before.items()), drop_ins=tuple(drop_ins.values()))


def _made_by_us(step: FileStep) -> FileStep:
    """A run-time drop-in that was not there before; its directories go too if nothing else is in them."""
    directory = step.path.rpartition("/")[0]
    return step._replace(before=None, creates=(directory.rpartition("/")[0], directory))


def _kind(step: Step) -> str:
    return next(kind for kind, cls in _KINDS.items() if isinstance(step, cls))


def _plain(part: t.Any) -> t.Dict[str, t.Any]:
    if isinstance(part, MemcgsStep):
        return _folded(part)
    return {key: [_plain(item) if hasattr(item, "_asdict") else item for item in value] if key in _PARTS else value for key, value in part._asdict().items()}


def _built(cls: t.Any, fields: t.Dict[str, t.Any]) -> t.Any:
    sets = fields.pop("sets", ())
    for key, value in fields.items():
        if key == "memcgs":
            fields[key] = tuple([_memcg(sets, *item) for item in value])
        elif key in _PARTS:
            fields[key] = tuple(_built(_PARTS[key], dict(item)) for item in value)
        elif key in ("creates", "gone"):
            fields[key] = tuple(str(item) for item in value)
        elif cls is PropertyStep and key in ("properties", "before"):
            fields[key] = tuple((str(one), str(other)) for one, other in value)
        elif not isinstance(value, int if key in _NUMBERS else str) and not (cls in _ABSENTABLE and value is None and key in ("before", "after")):
            raise TypeError(f"{key}: {value!r}")
    return cls(**fields)


def _folded(step: MemcgsStep) -> t.Dict[str, t.Any]:
    """C(sets): of files, which many cgroups have in common. C(memcgs): [path, inode, unit, number of the set, values from before, values], and what
    C(makes) and C(unmakes) are where there is any.
    """
    sets: t.Dict[t.Tuple[str, ...], int] = {}
    rows = []
    for path, inode, values, unit, makes, unmakes in step.memcgs:
        files, before, after = zip(*values) if values else ((), (), ())
        rows.append((path, inode, unit, sets.setdefault(files, len(sets)), before, after, *((makes, unmakes) if makes or unmakes else ())))
    return {"sets": list(sets), "memcgs": rows, "gone": step.gone, "boot_id": step.boot_id}


def _memcg(sets: t.Any, path: t.Any, inode: t.Any, unit: t.Any, number: t.Any, before: t.Any, after: t.Any, makes: t.Any = (), unmakes: t.Any = ()) -> Memcg:
    files = sets[number]
    texts = [path, unit, *files, *before, *after, *makes, *unmakes]
    if not (isinstance(inode, int) and len(files) == len(before) == len(after) and set(map(type, texts)) == {str}):
        raise TypeError(f"memcgs: {path!r}")
    return Memcg(path, inode, tuple(zip(files, before, after)), unit, tuple(makes), tuple(unmakes))


def _joined(old: Step, new: Step) -> Step:
    if isinstance(old, WriteStep) and isinstance(new, WriteStep):
        if new.inode and (old.inode, old.boot_id) != (new.inode, new.boot_id) and new.before != old.after:
            return new  # another cgroup of the same name, to which boot did not give our value
        known = {moved.path for moved in old.moves}
        return new._replace(before=old.before, moves=(*old.moves, *(moved for moved in new.moves if moved.path not in known)))
    if isinstance(old, FileStep) and isinstance(new, FileStep):
        creates = (*old.creates, *(path for path in new.creates if path not in old.creates))
        if new.before not in (None, old.after) and _persist.ASIDE in f"{old.before}{old.after}":
            # Somebody has edited their file in between: the way back is theirs, with our lines as they were.
            return new._replace(before=_persist.set_aside_as(new.before, old.before), creates=creates)
        return new._replace(before=old.before, mode_before=old.mode_before, uid_before=old.uid_before, gid_before=old.gid_before, creates=creates)
    if isinstance(old, PropertyStep) and isinstance(new, PropertyStep):
        before, after = {**dict(new.before), **dict(old.before)}, {**dict(old.properties), **dict(new.properties)}
        changed = [key for key in after if before.get(key) != after[key]]
        drop_ins = {drop_in.path: drop_in for drop_in in (*new.drop_ins, *old.drop_ins)}
        # A unit is itself after a reboot, whatever cgroup it has and whoever wrote there since.
        now = {file.path: file for file in new.files}
        same = [file._replace(inode=now[file.path].inode, boot_id=now[file.path].boot_id) if file.path in now else file for file in old.files]
        files, besides = (t.cast("t.Tuple[WriteStep, ...]", tuple(merge(*both))) for both in ((same, new.files), (old.besides, new.besides)))
        properties = tuple((key, after[key]) for key in changed)
        pairs = tuple((key, before[key]) for key in changed if key in before)
        return PropertyStep(new.unit, properties, pairs, files, tuple(drop_ins.values()), besides)
    if isinstance(old, MemcgsStep) and isinstance(new, MemcgsStep):
        return _joined_memcgs(old, new)
    if isinstance(old, SwapFileStep) and isinstance(new, SwapFileStep):
        return new._replace(before=old.before, creates=(*old.creates, *(path for path in new.creates if path not in old.creates)))
    return new._replace(before=old.before) if isinstance(old, SwapStep) and isinstance(new, SwapStep) else new


def _joined_memcgs(old: MemcgsStep, new: MemcgsStep) -> MemcgsStep:
    """Without those that are gone. After a boot all are others."""
    found = {memcg.path: memcg for memcg in (old.memcgs if old.boot_id == new.boot_id else ()) if memcg.path not in new.gone}
    for memcg in new.memcgs:
        before = found.get(memcg.path)
        before = before if before and is_same_memcg(before, memcg.inode) else None
        values = {file: (file, was, now) for file, was, now in before.values} if before else {}
        values.update((file, (file, values[file][1] if file in values else was, now)) for file, was, now in memcg.values)
        kept = tuple(value for value in values.values() if value[1] != value[2])
        made = {*(before.makes if before else ()), *memcg.makes} - {*memcg.unmakes}
        makes = tuple(file for file, unused, unused_too in kept if file in made)
        found[memcg.path] = memcg._replace(values=kept, makes=makes, unmakes=())
    return new._replace(memcgs=tuple(memcg for memcg in found.values() if memcg.values), gone=())


def _with_directories(step: Step, made: t.Collection[str]) -> Step:
    if isinstance(step, PropertyStep):
        return step._replace(drop_ins=tuple(t.cast("FileStep", _with_directories(drop_in, made)) for drop_in in step.drop_ins))
    if not isinstance(step, (FileStep, SwapFileStep)):
        return step
    return step._replace(creates=tuple(sorted({*step.creates, *(path for path in made if step.path.startswith(path + "/"))})))


def _is_nothing(step: Step) -> bool:
    if isinstance(step, PropertyStep):
        return not step.properties
    if isinstance(step, FileStep):
        return step.before == step.after and (step.before is None or step.mode == step.mode_before)
    if isinstance(step, MemcgsStep):
        return not step.memcgs
    return not isinstance(step, ReloadStep) and step.before == step.after
