# SPDX-License-Identifier: BSD-2-Clause

"""Single units as systemd has them, for a plan: what C(systemctl show) prints of the properties that are asked for."""

from __future__ import annotations

import re
import typing as t

from .._tuples import NamedTuple
from ._files import Tree

_CONTEXT = ("Id", "Names", "LoadState", "ActiveState", "ControlGroup", "FragmentPath", "Slice")
# A daemon-reload of a busy node takes its time (more than 30 s seen), who asks meanwhile waits, and giving up means undoing everything.
ANSWER_SECONDS = 300.0
_FULL_SCALE = (1 << 32) - 1
_UNLIMITED = "18446744073709551615"


class UnitState(NamedTuple):
    """C(cgroup): its path below the hierarchy, empty while it has none. C(shown): the words that set-property takes; empty where nothing is set.

    C(names): all of its names; C(slice): that it is in, running or not.
    """

    name: str
    loaded: bool
    active: bool
    cgroup: str
    fragment: str
    shown: t.Mapping[str, str]
    names: t.Tuple[str, ...] = ()
    slice: str = ""
    masked: bool = False


def instances_of(subject: str) -> str:
    """The glob of the units that C(app@.service) or C(user-.slice) stands for; empty for a unit itself."""
    stem, unused, kind = subject.rpartition(".")
    return f"{stem}*.{kind}" if stem.endswith(("@", "-")) else ""


def covers(subject: str, unit: str) -> bool:
    """Whether the subject is this unit, or stands for it."""
    stem, star, kind = instances_of(subject).partition("*")
    return unit.startswith(stem) and unit.endswith(kind) and len(unit) > len(stem + kind) if star else unit == subject


def shown_name(name: str) -> str:
    """D-Bus counts timespans in microseconds, and says so in the name."""
    return f"{name[:-3]}USec" if name.endswith("Sec") else name


def written_name(name: str) -> str:
    """What unit files call it; the inverse of C(shown_name)."""
    return f"{name[:-4]}Sec" if name.endswith("USec") else name


def read_unit_states(tree: Tree, subjects: t.Sequence[str], properties: t.Iterable[str]) -> dict[str, list[UnitState]]:
    """{subject: its units}: one for a unit, those that systemd has loaded for a template or prefix. Raises Unreadable where systemctl does not answer."""
    wanted = list(properties)
    asked = ",".join((*_CONTEXT, *map(shown_name, wanted)))
    names = [instances_of(subject) or subject for subject in subjects]
    text = tree.output("systemctl-show-units", ["systemctl", "show", "--no-pager", f"--property={asked}", "--", *names], timeout=ANSWER_SECONDS)
    # A unit that two of the names stand for is printed twice.
    states = {state.name: (state, aliases) for state, aliases in (_state(block, wanted) for block in re.split(r"\n\s*\n", text)) if state.name}
    return {subject: [state for state, aliases in states.values() if any(covers(subject, name) for name in aliases)] for subject in subjects}


def read_unread(tree: Tree, properties: t.Iterable[str]) -> tuple[list[str], list[UnitState]]:
    """Units with a cgroup: (those whose files were changed since systemd read them, the others). Raises Unreadable where systemctl does not answer."""
    wanted = list(properties)
    asked = ",".join(("Id", "ControlGroup", "NeedDaemonReload", *wanted))
    argv = ["systemctl", "show", "--no-pager", f"--property={asked}", "--", "*.slice", "*.service", "*.scope"]
    text = tree.output("systemctl-show-unread", argv, timeout=ANSWER_SECONDS)
    blocks = {
        state.name: (state, "NeedDaemonReload=yes" in block.splitlines()) for block in re.split(r"\n\s*\n", text) for state, unused in [_state(block, wanted)]
    }
    found = [pair for name, pair in sorted(blocks.items()) if name and pair[0].cgroup]
    return [state.name for state, unread in found if unread], [state for state, unread in found if not unread]


def show_value(name: str, text: str) -> str:
    """A property as C(systemctl show) prints it → as set-property takes it."""
    if text == "[not set]":
        return ""
    if name.endswith("PressureLimit") and text.isdigit():
        return f"{round(int(text) * 100 / _FULL_SCALE)}%"
    return "infinity" if text == _UNLIMITED else text


def _state(block: str, properties: t.Iterable[str]) -> tuple[UnitState, list[str]]:
    lines = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    shown = {name: show_value(name, lines[shown_name(name)]) for name in properties if shown_name(name) in lines}
    state = UnitState(
        lines.get("Id", ""), lines.get("LoadState") == "loaded", lines.get("ActiveState") == "active", lines.get("ControlGroup", ""),
        lines.get("FragmentPath", ""), shown, tuple(lines.get("Names", "").split()), lines.get("Slice", ""), lines.get("LoadState") == "masked",
    )  # fmt: skip
    return state, [state.name, *state.names]
