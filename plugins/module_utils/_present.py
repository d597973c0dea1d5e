# SPDX-License-Identifier: BSD-2-Clause

"""What stands on a node before a tune: live values, units and their cgroups, our own files, and all that decides at the next boot. Read once."""

from __future__ import annotations

import typing as t

from . import _node
from ._knobs import _registry, _texts
from ._knobs._values import KnobValueError, Value
from ._knobs._written import normalize
from ._read import _cgroupfs, _drop_ins, _persisted, _systemd, _unit_state
from ._read._files import Tree, Unreadable
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Cgroup, DropIn, Zone
    from ._knobs._row import Knob
    from ._read._unit_state import UnitState

# The main process is among them, and children may have set their own.
_MAX_PROCESSES = 100
_MAX_UNIT_FILE = 256 * 1024
_OWNERS = [knob.unit_property for knob in _registry.memcg_knobs() if knob.unit_property]


class Held(NamedTuple):
    """What a kernel file holds: C(text) as the kernel takes it."""

    text: str
    value: Value


class Unit(NamedTuple):
    """C(files): of its cgroup, by knob (C(memory.high)); C(inode): its directory's; C(fragment_lines): the memory directives of its unit file.

    C(scores): the oom_score_adj of its processes, where a profile has OOMScoreAdjust.
    """

    state: UnitState
    inode: int
    files: t.Mapping[str, Held]
    fragment_lines: t.Mapping[str, str]
    scores: t.FrozenSet[str] = frozenset()


class Present(NamedTuple):
    """C(host): by knob; C(troubles): why one that is there cannot be read. C(units): {subject: its units}; C(no_units): why none can be set,
    C(silent) that they may be again when systemd answers.

    C(version): of the hierarchy that has the memory controller, 0 for none; C(mount): where. C(cgroups): those of the units, above and beside, by path.
    """

    facts: t.Mapping[str, t.Any]
    meminfo: t.Mapping[str, int]
    host: t.Mapping[str, Held]
    troubles: t.Mapping[str, str]
    units: t.Mapping[str, t.Sequence[Unit]]
    no_units: str
    version: int
    mount: str
    recursive_protection: bool
    cgroups: t.Mapping[str, Cgroup]
    drop_ins: t.Sequence[DropIn]
    persisted: _persisted.Persisted
    silent: bool = False
    zones: t.Sequence[Zone] = ()
    hierarchy: _cgroupfs.Hierarchy | None = None

    @property
    def page_size(self) -> int:
        return t.cast(int, self.facts["page_size"])


def read(
    tree: Tree, *, knobs: t.Iterable[str], subjects: t.Sequence[str], properties: t.Iterable[str], persisted: _persisted.Persisted | None = None
) -> Present:
    """C(knobs): host knobs; C(subjects): units, templates and prefixes; C(properties): their properties and memcg files; C(persisted): as read before.

    Raises Unreadable without meminfo.
    """
    rows = [knob for knob in map(_registry.find, sorted(set(knobs))) if knob.access != "wo"]
    node, hierarchy = _node.read(_node.Reader(tree))
    host, troubles = _held(tree, rows)
    asked = sorted(set(properties))
    states, no_units, silent = _states(tree, subjects, asked) if subjects else ({}, "", False)
    paths = [state.cgroup for found in states.values() for state in found if state.cgroup]
    # The top level in any case: what runs there protects memory too.
    cgroups = {cgroup["path"]: cgroup for cgroup in _cgroupfs.walk(tree, hierarchy, towards=paths)[0]} if subjects else {}
    files = _memcg_files(asked, hierarchy.version)
    units = {subject: [_unit(tree, state, hierarchy, files, cgroups) for state in found] for subject, found in states.items()}
    names = {state.name for found in states.values() for state in found}
    drop_ins = _drop_ins.with_transient(tree, _systemd.read_drop_ins(tree), names) if subjects else []
    return Present(
        facts=node["facts"], meminfo=node["meminfo"], host=host, troubles=troubles, units=units, no_units=no_units, version=hierarchy.version,
        mount=hierarchy.memory or "", recursive_protection=hierarchy.recursiveprot, cgroups=cgroups, drop_ins=drop_ins,
        persisted=persisted or _persisted.read_persisted(tree, page_size=node["facts"]["page_size"]), silent=silent,
        zones=node["zones"], hierarchy=hierarchy,
    )  # fmt: skip


def file_name(knob: Knob, version: int) -> str:
    """In a cgroup of this hierarchy; empty if it has none."""
    return {1: knob.v1, 2: knob.v2}.get(version, "")


def unit_values(unit: Unit) -> dict[str, Value]:
    """The kernel's value where there is a file, else systemd's."""
    found: dict[str, Value] = {}
    for name, text in unit.state.shown.items():
        try:
            found[name] = normalize(_registry.find(name), text)
        except KnobValueError:
            continue  # not set
    for name, held in unit.files.items():
        found[_registry.find(name).unit_property or name] = held.value
    return found


def _held(tree: Tree, rows: t.Iterable[Knob]) -> tuple[dict[str, Held], dict[str, str]]:
    held: dict[str, Held] = {}
    troubles: dict[str, str] = {}
    for knob in rows:
        try:
            found = _hold(knob, tree.read_text(knob.path))
        except Unreadable as exc:
            if exc.kind != "absent":
                troubles[knob.name] = exc.reason
        except KnobValueError as exc:
            troubles[knob.name] = f"cannot be understood: {exc.reason}"
        else:
            held[knob.name] = found
    return held, troubles


def _hold(knob: Knob, text: str) -> Held:
    value = normalize(knob, text)
    # Of "[always] madvise never" the kernel takes the word.
    return Held(_texts.kernel_text(value) if knob.unit == "choice" or knob.key else text, value)


def read_unread(tree: Tree, present: Present, *, by_hand: bool) -> tuple[list[str], list[Unit]]:
    """(units whose files systemd has not read, C(by_hand): the others with the files that it writes, and no more). Raises Unreadable."""
    names, states = _unit_state.read_unread(tree, _OWNERS if by_hand else ())
    files = _memcg_files((), present.version)
    return names, [Unit(state, 0, _unit_files(tree, state, present.mount, present.version, files), {}) for state in states if by_hand]


def _states(tree: Tree, subjects: t.Sequence[str], asked: t.Iterable[str]) -> tuple[dict[str, list[UnitState]], str, bool]:
    """(states, why there are none, whether systemd runs and is only silent)"""
    properties = [name for name in asked if _registry.find(name).scope == "unit"]
    try:
        return _unit_state.read_unit_states(tree, subjects, dict.fromkeys((*properties, *_OWNERS))), "", False
    except Unreadable as exc:
        # As sd_booted(3) tells: a container can have the program alone.
        silent = tree.live and exc.kind != "absent" and tree.exists("/run/systemd/system")
        return {}, f"systemd does not answer ({exc.path}: {exc.reason})", silent


def _memcg_files(asked: t.Iterable[str], version: int) -> list[Knob]:
    """What set-property rewrites, and memcg files that are asked for."""
    direct = set(asked)
    rows = [knob for knob in _registry.memcg_knobs() if knob.unit_property or knob.name in direct]
    return [knob for knob in rows if file_name(knob, version)]


def _unit_files(tree: Tree, state: UnitState, mount: str, version: int, files: t.Iterable[Knob]) -> dict[str, Held]:
    found: dict[str, Held] = {}
    for knob in files if state.cgroup and mount else ():
        try:
            found[knob.name] = _hold(knob, tree.read_text(f"{mount}{state.cgroup}/{file_name(knob, version)}"))
        except (Unreadable, KnobValueError):
            continue  # not in this kernel, or the cgroup has gone
    return found


def _unit(tree: Tree, state: UnitState, hierarchy: _cgroupfs.Hierarchy, files: t.Iterable[Knob], cgroups: t.Mapping[str, Cgroup]) -> Unit:
    found = _unit_files(tree, state, hierarchy.memory or "", hierarchy.version, files)
    lines = _systemd.parse_drop_in(tree.read_or_empty(state.fragment, limit=_MAX_UNIT_FILE)) if state.fragment else {}
    scores = _scores(tree, f"{hierarchy.memory}{state.cgroup}") if "OOMScoreAdjust" in state.shown and state.cgroup and hierarchy.memory else frozenset()
    return Unit(state, cgroups.get(state.cgroup, {}).get("inode", 0), found, lines, scores)


def _scores(tree: Tree, cgroup: str) -> frozenset[str]:
    """oom_score_adj of the first processes in a cgroup."""
    pids = tree.read_or_empty(f"{cgroup}/cgroup.procs").decode("ascii", "replace").split()[:_MAX_PROCESSES]
    return frozenset(filter(None, (tree.read_or_empty(f"/proc/{pid}/oom_score_adj").decode("ascii", "replace").strip() for pid in pids)))
