# SPDX-License-Identifier: BSD-2-Clause

"""What goes into a plan and what comes out of it: values only."""

from __future__ import annotations

import typing as t

from . import _present
from ._knobs import _registry, _texts
from ._steps import FileStep, Step, WriteStep
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ._guards import Danger
    from ._knobs._row import Knob
    from ._knobs._values import Value
    from ._read._persisted import Setting
    from ._wanted import Key, Skipped, Wanted

    Status = t.Literal["ok", "changed", "would_change", "unsupported", "conflict", "refused", "deferred", "failed", "undone"]
    Policy = t.Literal["report", "defer", "refuse", "take"]


class Options(NamedTuple):
    """As the operator says. C(only): areas, empty for all; C(allow): risks by name; C(sysctl_file): a name in /etc/sysctl.d.

    C(shrink): usage may be brought below a bound first; C(swap): whether it is managed.
    """

    on_conflict: Policy
    fail_on_unsupported: bool
    only: t.Tuple[str, ...]
    allow: t.Tuple[str, ...]
    sysctl_file: str
    shrink: bool = True
    swap: bool = False

    def covers(self, area: str) -> bool:
        return not self.only or area in self.only


class Said(NamedTuple):
    """One place that decides a value at boot; C(line) 0 where there is none."""

    source: str
    path: str
    line: int
    value: t.Optional[str]


class Row(NamedTuple):
    """What becomes of one knob: docs/architecture.md §3.7. Values are the words that the kernel or systemd takes; None is not there."""

    name: str
    scope: str
    subject: str
    wanted: t.Optional[str]
    live_before: t.Optional[str] = None
    live_after: t.Optional[str] = None
    effective: t.Optional[str] = None
    persisted_before: t.Optional[str] = None
    persisted_after: t.Optional[str] = None
    status: Status = "ok"
    equivalence: str = "native"
    reboot_required: bool = False
    reason: str = ""
    winner: t.Optional[Said] = None
    profile: str = ""
    expression: str = ""

    @property
    def key(self) -> t.Tuple[str, str]:
        return self.name, self.subject

    def because(self, reason: str, status: t.Optional[Status] = None) -> Row:
        """With one more reason, and another status."""
        return self._replace(reason="; ".join(filter(None, (self.reason, reason))), status=status or self.status)


class Left(NamedTuple):
    """A value that no profile wants any more, and that stays: C(reason). C(name): of a knob, or a file's path. C(failed): for want of an answer."""

    subject: str
    name: str
    found: str
    reason: str
    failed: bool = False


class History(NamedTuple):
    """What earlier runs did. C(wanted): by the last one; C(returning): steps back to before our first, of what is no longer wanted.

    C(found): of kernel files that show another value than the one written (huge pages), {(path, written): found}. C(ours): all
    files of ours, which are nobody else's whatever stands in them.
    """

    wanted: t.FrozenSet[Key] = frozenset()
    returning: t.Tuple[Step, ...] = ()
    left: t.Tuple[Left, ...] = ()
    found: t.Mapping[t.Tuple[str, str], str] = {}
    ours: t.Tuple[str, ...] = ()


class Plan(NamedTuple):
    """C(steps) is empty if C(blocked) says why nothing may be written; C(files) are those of the steps in any case. C(wanted) is for the next History."""

    steps: t.Tuple[Step, ...]
    rows: t.Tuple[Row, ...]
    files: t.Tuple[FileStep, ...]
    skipped: t.Tuple[Skipped, ...]
    wanted: t.FrozenSet[Key]
    blocked: str


def judged(row: Row, danger: t.Optional[Danger], allow: t.Collection[str]) -> Row:
    """Refused, or allowed by name."""
    if danger is None:
        return row
    if danger.risk in allow:
        return row.because(f"allowed ({danger.risk}): {danger.reason}")
    return row.because(f"{danger.reason}. To do it all the same: memqos_allow_risks: [{danger.risk}]", "refused")


def new_row(wanted: Wanted, subject: str) -> Row:
    knob = _registry.find(wanted.knob)
    return Row(wanted.knob, wanted.scope, subject, _texts.show(knob, wanted.value), profile=wanted.profile, expression=wanted.expression)


def said(setting: Setting) -> Said:
    value = None if setting.value is None else _texts.kernel_text(setting.value)
    return Said(setting.source, setting.path, setting.line, value)


def place(where: Said) -> str:
    """For people: C(TuneD: /etc/tuned/x/tuned.conf:3)."""
    path = f": {where.path}{f':{where.line}' if where.line else ''}" if where.path else ""
    return f"{where.source}{path}"


def lacking(knob: Knob) -> str:
    """Why a node can lack a knob."""
    age = [f"mainline has it since {knob.first}"] if knob.first else []
    age += [f"until {knob.last}"] if knob.last else []
    if knob.vendor != "mainline":
        age = [f"a kernel of {knob.vendor} has it"]
    if knob.name.startswith(("memory.swap.", "memory.memsw.")):
        age.append("while swap is accounted: not with swapaccount=0 on its command line")
    return f"this kernel has no {knob.name}" + (f" ({', '.join(age)})" if age else "")


def given(found: str, wanted: t.Optional[str]) -> str:
    """Of huge pages."""
    return f"the kernel gives {found} of {wanted}; a reboot finds memory that is less fragmented"


def is_same(knob: Knob, one: t.Optional[str], other: t.Optional[str], page_size: int) -> bool:
    if one is None or other is None:
        return one == other
    try:
        return _registry.same(knob, one, other, page_size)
    except _registry.KnobValueError:
        return one.split() == other.split()


def whole_pages(knob: Knob, value: Value, page_size: int) -> Value:
    """As the kernel keeps it."""
    return value // page_size * page_size if knob.comparison == "page_rounded" and isinstance(value, int) else value


def cgroup_write(unit: _present.Unit, knob: Knob, after: str, present: _present.Present) -> WriteStep:
    """The write of a file in a unit's cgroup, in the words that the kernel will show."""
    value = _registry.normalize(knob, after)
    kept = whole_pages(knob, value, present.page_size)
    after = after if kept == value else str(kept)
    path = f"{present.mount}{unit.state.cgroup}/{_present.file_name(knob, present.version)}"
    return WriteStep(knob.name, "memcg", unit.state.name, path, unit.files[knob.name].text, after, unit.inode)
