# SPDX-License-Identifier: BSD-2-Clause

"""Files of many cgroups in one step: what grows from the root down, then what shrinks from the leaves up. docs/architecture.md 3.26.

A cgroup that ends meanwhile is no error: its values are gone with it.
"""

from __future__ import annotations

import errno
import functools
import os
import typing as t

from . import _guards, _persist
from ._knobs import _registry
from ._memcg_rules import Reading, is_loose, is_ours, passes, same
from ._read._files import Tree, Unreadable
from ._steps import Memcg, MemcgsStep
from ._tuples import NamedTuple
from ._writer import Refused, Replaced, Writer, words

Values = t.List[t.Tuple[str, str, str]]

_FAILURES = (OSError, Refused, Unreadable)
_GONE = (errno.ENOENT, errno.ENODEV)
_MOUNT = "/sys/fs/cgroup/"
_TRANSIENT = "/run/systemd/transient/"
# {what is in use: what of it memory.stat calls idle}
_USAGE = {"memory.current": "inactive_file", "memory.usage_in_bytes": "total_inactive_file"}
# The risk of a memory.high that its tasks have outgrown, as an operator allows it.
STALLS = _guards.BELOW_USE["memory.high"]


class Failed(Refused):
    """A value that its file did not take."""

    def __init__(self, path: str, reason: str, number: int = 0) -> None:
        super().__init__(path, reason)
        self.errno = number


class Left(NamedTuple):
    """A value that is neither from before nor ours."""

    path: str
    file: str
    target: str
    ours: str
    found: str


def _listed(values: Values) -> str:
    return ", ".join(f"{after!r} to {file}" for file, unused, after in values)


def put(step: MemcgsStep, writer: Writer, page_size: int) -> t.Set[str]:
    """Paths of those that have gone. Raises Failed: where a value cannot be written, or its file reads another one afterwards."""
    gone: t.Set[str] = set()
    with writer.many():
        for memcg, values in passes(step.memcgs):
            if memcg.path not in gone and not _put(memcg, values, writer, page_size):
                gone.add(memcg.path)
    _remove_drop_ins([(memcg.unit, file) for memcg in step.memcgs for file in memcg.unmakes], writer)
    return gone


def with_drop_ins(memcg: Memcg, writer: Writer) -> Memcg:
    """With those whose property gets its first run-time drop-in by this. What a transient unit has goes with the unit. Raises OSError and Refused."""
    owned = {file: _property(file) for file, unused, unused_too in memcg.values} if memcg.unit else {}
    if not any(owned.values()) or os.path.exists(Tree(writer.root).fs_path(f"{_TRANSIENT}{memcg.unit}")):
        return memcg
    fresh = (file for file, name in owned.items() if name and writer.read(_persist.run_time_path(memcg.unit, name)) is None)
    return memcg._replace(makes=tuple(file for file in fresh if file not in memcg.unmakes))


def _remove_drop_ins(pairs: t.Iterable[t.Tuple[str, str]], writer: Writer) -> None:
    """(unit, file) each. Then systemd reads its units anew, lest it says that they have changed on disk. Raises OSError and Refused."""
    removed = False
    for unit, file in pairs:
        path = _persist.run_time_path(unit, _property(file))
        if writer.read(path) is not None:
            writer.remove(path)
            writer.remove_directory(path.rpartition("/")[0])
            removed = True
    if removed:
        writer.remove_directory(path.rpartition("/")[0].rpartition("/")[0])
        writer.reload()


def _put(memcg: Memcg, values: Values, writer: Writer, page_size: int) -> bool:
    """False if it has gone."""
    try:
        found = _write(memcg, [(file, after) for file, unused, after in values], writer)
    except _FAILURES as exc:
        if _has_gone(memcg, exc, writer):
            return False
        raise Failed(memcg.path, f"{memcg.path}: writing {_listed(values)}: {words(exc)}", getattr(exc, "errno", 0)) from exc
    for (file, unused, after), text in zip(values, found):
        if text != after and not (same(file, after, text, page_size) or is_loose(file)):
            raise Failed(memcg.path, f"{memcg.path}/{file}: after writing {after!r} it reads {text!r}")
    return True


def put_back(step: MemcgsStep, writer: Writer, page_size: int) -> t.Tuple[t.List[Left], t.List[str]]:
    """What others have written meanwhile, which stays; and what could not be put back, and why. Raises nothing."""
    left: t.List[Left] = []
    troubles = []
    reading = live(writer, page_size)
    turned = [memcg._replace(values=tuple((file, after, before) for file, before, after in memcg.values)) for memcg in step.memcgs]
    with writer.many():
        for memcg, values in passes(turned):
            try:
                unused, now = writer.memcg_read(memcg.path, memcg.inode, [value[0] for value in values])
                going, others = sorted_out(memcg, [(file, before, after) for file, after, before in values], now, page_size, reading)
                left += others
                _write(memcg, [(file, target) for file, text, target in going if not same(file, text, target, page_size)], writer)
            except _FAILURES as exc:
                if not _has_gone(memcg, exc, writer):
                    troubles.append(f"{memcg.path}: {words(exc)}")
    try:
        theirs = {(one.path, one.file) for one in left}
        _remove_drop_ins([(memcg.unit, file) for memcg in step.memcgs for file in memcg.makes if (memcg.path, file) not in theirs], writer)
    except _FAILURES as exc:
        troubles.append(words(exc))
    return left, troubles


def sorted_out(
    memcg: Memcg, values: t.Iterable[t.Tuple[str, str, str]], now: t.Mapping[str, str], page_size: int, reading: Reading, *, force: bool = False
) -> t.Tuple[Values, t.List[Left]]:
    """((file, what it reads, where it goes back to) of what is ours or back already, what others have written since)"""
    going: Values = []
    left = []
    for file, before, after in values:
        if file not in now:
            continue
        if force or is_ours(file, memcg.path, now[file], (after, before), reading, page_size):
            going.append((file, now[file], before))
        else:
            left.append(Left(memcg.path, file, before, after, now[file]))
    return going, left


def live(writer: Writer, page_size: int) -> Reading:
    """Of cgroups as they are."""

    def given(path: str, file: str) -> t.Optional[str]:
        try:
            return writer.memcg_read(path, 0, (file,))[1].get(file) if path.startswith(_MOUNT) else None
        except (OSError, Refused):
            return None

    return Reading(given, page_size)


def stands_still(path: str, inode: int, now: str, high: str, writer: Writer) -> str:
    """Why memory.high, which reads C(now), cannot come down to C(high) by now; empty if it can. Raises OSError and Refused."""
    used = usage(path, inode, now, high, writer)
    return _guards.stands_still(int(high), *used) if used else ""


def usage(path: str, inode: int, now: str, high: str, writer: Writer) -> t.Optional[t.Tuple[int, int]]:
    """(bytes in use, of these of inactive page cache) where memory.high would come below what is in use. Raises OSError and Refused."""
    if not high.isdigit() or not now or (now.isdigit() and int(now) <= int(high)):
        return None
    in_use = writer.memcg_read(path, inode, _USAGE)[1]
    name = next((name for name in _USAGE if in_use.get(name, "").isdigit()), "")
    if not name or int(in_use[name]) <= int(high):
        return None
    # Costly on a large machine, so only where it counts.
    stat = writer.memcg_read(path, inode, ("memory.stat",))[1].get("memory.stat", "")
    idle = dict(line.split(" ", 1) for line in stat.splitlines() if " " in line).get(_USAGE[name], "")
    return int(in_use[name]), int(idle) if idle.isdigit() else 0


def _write(memcg: Memcg, pairs: t.Sequence[t.Tuple[str, str]], writer: Writer) -> t.List[str]:
    """What each file reads then: those of systemd's by properties, as it would write its own over them at the next occasion."""
    if not memcg.unit:
        return writer.memcg_write(memcg.path, memcg.inode, pairs)
    owned = {file: _property(file) for file, unused in pairs}
    properties = [(owned[file], "infinity" if text == "max" else text) for file, text in pairs if owned[file]]
    if properties:
        writer.memcg_read(memcg.path, memcg.inode, ())  # systemd would take a unit of this name that is another one by now
        writer.set_properties(memcg.unit, properties)
    return writer.memcg_write(memcg.path, memcg.inode, [(file, None if owned[file] else text) for file, text in pairs])


@functools.lru_cache(64)
def _property(file: str) -> str:
    """Empty if set-property takes none: memory.oom.group comes of OOMPolicy when a service starts, and then stays as it is."""
    name = _registry.find(file).unit_property
    return name if name and _registry.find(name).run_time else ""


def _has_gone(memcg: Memcg, exc: Exception, writer: Writer) -> bool:
    if isinstance(exc, Replaced):
        return True
    if isinstance(exc, OSError) and exc.errno not in _GONE:
        return False
    try:
        writer.memcg_read(memcg.path, memcg.inode, ())
    except Replaced:
        return True
    except OSError as again:
        return again.errno in _GONE
    return False
