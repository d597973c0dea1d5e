# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Profiles (YAML) → the layers that a node folds, and who said what. Every mistake that can be seen without the node is found here."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

import yaml

from ansible_collections.memqos.fleet.plugins.module_utils import _wanted
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._knobs._values import KnobValueError
from ansible_collections.memqos.fleet.plugins.module_utils._read import _unit_state
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profile_qos, _profile_swap
from ansible_collections.memqos.fleet.plugins.plugin_utils._rule_expression import CLOSED, ExpressionError, Scope, compile_expression, nearest
from ansible_collections.memqos.fleet.plugins.plugin_utils._yaml_source import (
    Mistake,
    Place,
    Problem,
    from_value,
    is_a,
    mapping,
    position,
    read_file,
    text,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.memqos.fleet.plugins.module_utils._knobs._row import Knob

BUILT_IN = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "roles", "tune", "vars", "profiles")
MAX_FILE_BYTES = 256 * 1024
HOST_VARIABLES = "host variables"
PROFILE_VARIABLE = "memqos_profile"
SELECTION = "selection"
# Names with a meaning of their own in memqos_profile.
RESERVED = ("auto", SELECTION)

_MAX_SHOWN = 50
_KEYS = ("name", "summary", "suits", "extends", "when", "host", "slices", "swap", "qos")
_SUITS_KEYS = ("names", "facts")
_INSTRUCTIONS = ("value", "of_memory", "raise_to", "lower_to", "absent")
_ENTRY_KEYS = (*_INSTRUCTIONS, "min", "max", "reason", "source")
_SHARE_KEYS = ("of_memory", "min", "max")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_UNIT = re.compile(r"(?!-\.slice)[A-Za-z0-9:_\\-][A-Za-z0-9:_.\\@-]{0,240}\.(slice|service|scope)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_UNORDERED = ("choice", "bool", "list", "mask", "text", "timespan")

Entry = dict[str, t.Any]


class ProfileError(Exception):
    """All mistakes of all profiles; the message has one line for each, up to 50."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        lines = [str(problem) for problem in problems[:_MAX_SHOWN]]
        if len(problems) > _MAX_SHOWN:
            lines.append(f"… and {len(problems) - _MAX_SHOWN} more")
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Stated:
    """One entry as a profile states it; C(line) is 0 for what comes from a variable."""

    entry: Entry
    reason: str
    source: str
    file: str
    line: int


@dataclass
class Profile:
    """One profile that could be read. C(values): C({(unit or "", knob): Stated}); C(when): the compiled C(condition), None without one.

    C(suits): C({names: globs of units, containers and images, facts: names of facts}) by which an audit proposes it.

    C(swap) and C(qos): as C(_profile_swap.read) and C(_profile_qos.read) give them.
    """

    name: str
    file: str
    summary: str = ""
    suits: dict[str, list[str]] = field(default_factory=dict)
    extends: list[tuple[str, yaml.Node]] = field(default_factory=list)
    condition: str = ""
    when: t.Any = None
    values: dict[tuple[str, str], Stated] = field(default_factory=dict)
    swap: dict[str, Entry] = field(default_factory=dict)
    qos: dict[tuple[str, str], _profile_qos.Intent] = field(default_factory=dict)

    def layer(self) -> dict[str, t.Any]:
        """What the node folds, JSON-ready: C({profile, when?, condition?, host, slices, swap?, qos?})."""
        layer: dict[str, t.Any] = {"profile": self.name, "host": {}, "slices": {}}
        if self.condition:
            layer.update(when=self.when, condition=self.condition)
        for (unit, knob), stated in self.values.items():
            part = layer["slices"].setdefault(unit, {}) if unit else layer["host"]
            part[knob] = stated.entry
        more = {"swap": self.swap, "qos": _profile_qos.section(self.qos)}
        return {**layer, **{key: part for key, part in more.items() if part}}


@dataclass(frozen=True)
class Declaration:
    """C(names) as asked for; C(profiles) in the order in which they count, the host's variables last."""

    names: tuple[str, ...]
    profiles: tuple[Profile, ...]

    @property
    def layers(self) -> list[dict[str, t.Any]]:
        return [profile.layer() for profile in self.profiles]


def load_profiles(names: object, *, search_paths: Sequence[str], overrides: Mapping[str, object], selection: Profile | None = None) -> Declaration:
    """A name, an inline profile, or a list of both, with all they extend, checked; the built-in profiles are searched last.

    C(overrides) is C({"host": memqos_host, …}) of C(host), C(slices), C(swap) and C(qos); C(selection) comes before them.
    Raises ProfileError with every mistake found.
    """
    library = _Library([*search_paths, BUILT_IN])
    asked = []
    for item in names if isinstance(names, list) else [names]:
        place = Place(PROFILE_VARIABLE, library.problems)
        if isinstance(item, dict):
            profile = _from_variable(item, place)
            asked.append(profile.name)
            library.add(profile, ())
        elif isinstance(item, str):
            asked.append(item)
            library.ask(item, place, None, ())
        else:
            place.problem(None, f"{item!r:.80}: the name of a profile, a profile (a mapping), or a list of them is expected here")
    if selection:
        asked.append(selection.name)
        library.order.append(selection)
    library.order.append(_host_variables(overrides, library.problems))
    if library.problems:
        raise ProfileError(library.problems)
    return Declaration(tuple(asked), tuple(profile for profile in library.order if profile.values or profile.swap or profile.qos))


def of_parts(name: str, place: Place, *, host: tuple[yaml.Node, Place] | None, slices: tuple[yaml.Node, Place] | None) -> Profile:
    """A profile of these two mappings, which stand at places of their own. What is wrong with them is among the place's problems."""
    profile = Profile(name, place.file)
    for part, read in ((host, _host), (slices, _slices)):
        if part:
            profile.values.update(read(*part))
    return profile


def entry_of(unit: str, knob: str, written: object) -> Entry:
    """An entry as the node gets it. C(unit): empty for a host knob. Raises ProfileError with what is wrong."""
    problems: list[Problem] = []
    place = Place(unit or "host", problems)
    try:
        values = _entries(from_value({knob: written}), place, unit, _property if unit else _host_knob)
    except Mistake as exc:
        place.problem(exc.node, str(exc))
    if problems:
        raise ProfileError(problems)
    return values[unit, knob].entry


def is_unit(name: str) -> bool:
    """Whether C(slices) of a profile can name it."""
    return _UNIT.fullmatch(name) is not None


def suits(search_paths: Sequence[str]) -> list[tuple[str, dict[str, list[str]]]]:
    """(name, suits) of every profile that says what it suits, by name. Raises ProfileError."""
    library = _Library([*search_paths, BUILT_IN])
    found = [(name, library.load(name, Place(PROFILE_VARIABLE, library.problems), None)) for name in sorted(library.names())]
    if library.problems:
        raise ProfileError(library.problems)
    return [(name, profile.suits) for name, profile in found if profile and profile.suits]


# Finding


class _Library:
    """Profiles by name, and the order in which they count: what a profile extends comes before it, each once, at its first place."""

    def __init__(self, search_paths: Sequence[str]) -> None:
        self.search_paths = search_paths
        self.problems: list[Problem] = []
        self.order: list[Profile] = []
        self._done: set[str] = set()
        for path in search_paths:
            if not os.path.isdir(path):
                Place(path, self.problems).problem(None, "is not a directory of profiles")

    def ask(self, name: str, place: Place, node: yaml.Node | None, path: tuple[str, ...]) -> None:
        """C(path): the profiles that led here by what they extend."""
        if name in path:
            place.problem(node, f"extends goes in a circle: {' → '.join((*path[path.index(name) :], name))}")
        elif name not in self._done:
            self._done.add(name)
            profile = self.load(name, place, node)
            if profile is not None:
                self.add(profile, path)

    def add(self, profile: Profile, path: tuple[str, ...]) -> None:
        for name, node in profile.extends:
            self.ask(name, Place(profile.file, self.problems, "extends"), node, (*path, profile.name))
        self.order.append(profile)

    def load(self, name: str, place: Place, node: yaml.Node | None) -> Profile | None:
        if not _NAME.fullmatch(name):
            several = f"; several on a command line are written -e '{{\"{PROFILE_VARIABLE}\": [one, other]}}'" if "," in name else ""
            place.problem(node, f"{name!r:.80} is no name of a profile: letters, digits, _ and -{several}")
            return None
        for directory in self.search_paths:
            for ending in (".yml", ".yaml"):
                own = Place(os.path.join(directory, name + ending), self.problems)
                try:
                    root, own = read_file(own, max_bytes=MAX_FILE_BYTES)
                except FileNotFoundError:
                    continue
                if root is not None and is_a(root, "null"):
                    own.problem(None, "is empty")
                    return None
                return None if root is None else _profile(root, own, name)
        place.problem(node, f"there is no profile '{name}'" + nearest(name, sorted(self.names())))
        return None

    def names(self) -> set[str]:
        found: set[str] = set()
        for directory in self.search_paths:
            if os.path.isdir(directory):
                found.update(os.path.splitext(file)[0] for file in os.listdir(directory) if file.endswith((".yml", ".yaml")))
        return found


# One profile


def _profile(root: yaml.Node, place: Place, name: str) -> Profile:
    """C(name): the file's; empty for an inline profile, which may have one of its own."""
    nodes = mapping(root, place, _KEYS)
    own = text(nodes, "name", place, longest=64)
    if name and own != name and (own or "name" not in nodes):
        place.under("name").problem(nodes.get("name", root), f"a file is named after its profile: '{name}' is expected here")
    if (own or name) in RESERVED or (own and not _NAME.fullmatch(own)):
        place.under("name").problem(
            nodes.get("name", root), f"'{own or name}' is no name for a profile: letters, digits, _ and -, and none of {', '.join(RESERVED)}"
        )
    profile = Profile(name or own or "inline", place.file, text(nodes, "summary", place))
    if "suits" in nodes:
        profile.suits = _suits(nodes["suits"], place.under("suits"))
    profile.extends = _extends(nodes.get("extends"), place.under("extends"))
    profile.condition = text(nodes, "when", place, longest=4000)
    if profile.condition:
        profile.when = _condition(nodes["when"], place.under("when"))
    if "host" in nodes:
        profile.values.update(_host(nodes["host"], place.under("host")))
    if "slices" in nodes:
        profile.values.update(_slices(nodes["slices"], place.under("slices")))
    if "swap" in nodes:
        profile.swap = _profile_swap.read(nodes["swap"], place.under("swap"))
    if "qos" in nodes:
        profile.qos = _profile_qos.read(nodes["qos"], place.under("qos"))
    return profile


def _from_variable(value: object, place: Place) -> Profile:
    try:
        return _profile(from_value(value), place, "")
    except Mistake as exc:
        place.problem(exc.node, str(exc))
        return Profile("inline", place.file)


def _host_variables(overrides: Mapping[str, object], problems: list[Problem]) -> Profile:
    profile = Profile(HOST_VARIABLES, HOST_VARIABLES)
    for section in ("host", "slices", "swap", "qos"):
        place = Place(f"memqos_{section}", problems)
        if not overrides.get(section):
            continue
        try:
            node = from_value(overrides[section])
        except Mistake as exc:
            place.problem(exc.node, str(exc))
            continue
        if section == "swap":
            profile.swap = _profile_swap.read(node, place)
        elif section == "qos":
            profile.qos = _profile_qos.read(node, place)
        else:
            profile.values.update((_host if section == "host" else _slices)(node, place))
    return profile


def _suits(node: yaml.Node, place: Place) -> dict[str, list[str]]:
    found = {key: _texts_of(value, place.under(key)) for key, value in mapping(node, place, _SUITS_KEYS).items()}
    for name, own in found.get("facts", []):
        if name not in CLOSED["facts"]:
            place.under("facts").problem(own, f"there is no fact '{name:.80}'" + nearest(name, sorted(CLOSED["facts"])))
    return {key: [name for name, unused in names] for key, names in found.items()}


def _extends(node: yaml.Node | None, place: Place) -> list[tuple[str, yaml.Node]]:
    return [] if node is None else _texts_of(node, place)


def _texts_of(node: yaml.Node, place: Place) -> list[tuple[str, yaml.Node]]:
    """The items of a list with their places."""
    if not isinstance(node, yaml.SequenceNode) or not all(isinstance(item, yaml.ScalarNode) for item in node.value):
        place.problem(node, "a list of names ('[balanced]') is expected here")
        return []
    return [(str(item.value), item) for item in node.value]


def _condition(node: yaml.Node, place: Place) -> t.Any:
    """The compiled tree. A condition decides before anything is measured, so it may name what is fixed: facts and knobs."""
    scope = Scope("node", {}, _knob_problem)
    try:
        term = compile_expression(node.value, scope)
    except ExpressionError as exc:
        place.problem(node, str(exc), exc.offset)
        return None
    strangers = [tree for tree in _reads(term.tree) if tree[0] not in ("name", "has") or tree[1] not in ("facts", "knob")]
    if strangers:
        place.problem(node, f"'{'.'.join(strangers[0][1:])}' cannot be asked here: a condition names facts. and knob() only")
    elif term.kind not in ("true or false", "any"):
        place.problem(node, f"a condition must be true or false, not {term.kind}")
    return term.tree


def _reads(tree: t.Any) -> Iterator[list[str]]:
    if isinstance(tree, list) and tree:
        if tree[0] in ("name", "has", "delta", "rate"):
            yield tree
        else:
            for part in tree[1:]:
                yield from _reads(part)


def _knob_problem(name: str) -> str:
    try:
        knob = _registry.find(name)
    except _registry.UnknownKnob as exc:
        return str(exc)
    return "" if knob.scope == "host" else f"'{name}' belongs to a {knob.scope}: knob() reads what the host has once"


# Entries


def setting(name: str, node: yaml.Node, place: Place) -> Knob:
    """The knob of an entry that stands in no profile (C(cure.apply) of a rule), of the host or of a unit; the entry is checked. Raises Mistake."""
    try:
        scope = _registry.find(name).scope
    except _registry.UnknownKnob as exc:
        raise Mistake(node, str(exc)) from None
    knob = _host_knob(name, node) if scope in ("host", "numa_node") else _property(name, node)
    _stated(node, knob, place)
    return knob


def _host(node: yaml.Node, place: Place) -> dict[tuple[str, str], Stated]:
    return _entries(node, place, "", _host_knob)


def _slices(node: yaml.Node, place: Place) -> dict[tuple[str, str], Stated]:
    values: dict[tuple[str, str], Stated] = {}
    for unit, properties in mapping(node, place).items():
        if not _UNIT.fullmatch(unit):
            place.under(unit).problem(properties, "the name of a slice (not -.slice, which has no memory settings), service or scope is expected here")
        else:
            values.update(_entries(properties, place.under(unit), unit, _property))
    return values


def _entries(node: yaml.Node, place: Place, unit: str, find: t.Callable[[str, yaml.Node], Knob]) -> dict[tuple[str, str], Stated]:
    values: dict[tuple[str, str], Stated] = {}
    knobs: dict[str, Knob] = {}
    for name, value in mapping(node, place).items():
        own = place.under(name)
        try:
            knobs[name] = find(name, value)
            values[unit, name] = _stated(value, knobs[name], own)
            _one_unit(unit, values[unit, name].entry, value)
        except Mistake as exc:
            own.problem(exc.node, str(exc))
    for (_unit, name), stated in values.items():
        for rival in _wanted.rivals(knobs[name]):
            other = values.get((unit, rival))
            if name < rival and other and "absent" not in (*stated.entry, *other.entry):
                place.under(name).problem(node, f"excludes {rival}, which stands here too: a write of one switches the other off")
    return values


def _one_unit(unit: str, entry: Entry, node: yaml.Node) -> None:
    """One drop-in for many units cannot hold what a bound makes of each one's own value."""
    bound = next((key for key in ("raise_to", "lower_to") if key in entry), "")
    if bound and _unit_state.instances_of(unit):
        raise Mistake(node, f"{unit} stands for many units, each with a value of its own: {bound} needs one unit; write a value, or of_memory")


def _host_knob(name: str, node: yaml.Node) -> Knob:
    try:
        knob = _registry.find(name)
    except _registry.UnknownKnob:
        known = [row.name for row in _registry.host_knobs()]
        raise Mistake(node, f"there is no host knob '{name:.80}'" + nearest(name, known)) from None
    if knob.scope not in ("host", "numa_node"):
        where = "a systemd unit: write it under slices" if knob.scope == "unit" else "a memory cgroup: use the properties of its unit, under slices"
        raise Mistake(node, f"is a setting of {where}")
    if "{" in name:
        raise Mistake(node, "fill in what stands in braces, as in hugepages/hugepages-2048kB/nr_hugepages")
    return _state(knob, node)


def _property(name: str, node: yaml.Node) -> Knob:
    """A property, or the name of a memcg file that no property of systemd owns."""
    knob = next((row for row in (*_registry.unit_knobs(), *_registry.memcg_knobs()) if row.name == name), None)
    if knob is None:
        known = [row.name for row in (*_registry.unit_knobs(), *_registry.memcg_knobs()) if not row.unit_property]
        raise Mistake(node, f"there is no memory property '{name:.80}' of units" + nearest(name, known))
    if knob.unit_property:
        raise Mistake(node, f"systemd writes this file: set {knob.unit_property}")
    if knob.instead:
        raise Mistake(node, f"is deprecated, and no kernel file of its own shows it: use {knob.instead}")
    return _state(knob, node)


def _state(knob: Knob, node: yaml.Node) -> Knob:
    """A profile says what is to hold; an action does not hold, and what cannot be read back cannot be seen to hold."""
    if knob.one_shot:
        raise Mistake(node, "is an action, not a state")
    if knob.access != "rw":
        raise Mistake(node, f"is {'read-only' if knob.access == 'ro' else 'write-only: it could not be read back'}")
    return knob


def _stated(node: yaml.Node, knob: Knob, place: Place) -> Stated:
    if not isinstance(node, yaml.MappingNode):
        return Stated(_plain_entry(node, knob), "", "", place.file, position(node)[0])
    nodes = mapping(node, place, _ENTRY_KEYS)
    given = [key for key in _INSTRUCTIONS if key in nodes]
    if len(given) != 1:
        raise Mistake(node, f"one of {', '.join(_INSTRUCTIONS)} is expected here" + (f", not {' and '.join(given)}" if given else ""))
    if given != ["of_memory"] and ("min" in nodes or "max" in nodes):
        raise Mistake(node, "min and max belong to of_memory")
    entry = _ENTRIES[given[0]](nodes, knob)
    return Stated(entry, text(nodes, "reason", place), text(nodes, "source", place), place.file, position(node)[0])


def _plain_entry(node: yaml.Node, knob: Knob) -> Entry:
    return {"absent": True} if isinstance(node, yaml.ScalarNode) and node.value == "absent" else {"value": _literal(node, knob)}


def _absent(nodes: Mapping[str, yaml.Node], _knob: Knob) -> Entry:
    if nodes["absent"].value != "true":
        raise Mistake(nodes["absent"], "'absent: true' is expected here")
    return {"absent": True}


def _bound(key: str) -> t.Callable[[Mapping[str, yaml.Node], Knob], Entry]:
    def read(nodes: Mapping[str, yaml.Node], knob: Knob) -> Entry:
        node = nodes[key]
        if knob.unit in _UNORDERED and not _wanted.has_order(knob):
            raise Mistake(node, f"{key} needs a knob that is a number, or whose words go from never to always; {knob.name} is a {knob.unit}")
        if not isinstance(node, yaml.MappingNode):
            return {key: _literal(node, knob)}
        share = {str(part.value): value for part, value in node.value}
        if "of_memory" not in share or not set(share) <= set(_SHARE_KEYS):
            raise Mistake(node, f"a value, or of_memory with min and max, is expected after {key}")
        return {key: _share(share, knob)}

    return read


def _share(nodes: Mapping[str, yaml.Node], knob: Knob) -> Entry:
    """C({of_memory: [numerator, denominator], min?, max?}), bytes."""
    if not _wanted.is_share(knob):
        raise Mistake(nodes["of_memory"], f"{knob.name} is no amount of memory, but {knob.unit}")
    return _profile_swap.share(nodes)


_ENTRIES: dict[str, t.Callable[[Mapping[str, yaml.Node], Knob], Entry]] = {
    "value": lambda nodes, knob: {"value": _literal(nodes["value"], knob)},
    "of_memory": _share,
    "raise_to": _bound("raise_to"),
    "lower_to": _bound("lower_to"),
    "absent": _absent,
}


# Literals


def _literal(node: yaml.Node, knob: Knob) -> t.Any:
    """The value as it goes to the node (text, integer, or a list of integers), if some kernel takes it."""
    if isinstance(node, yaml.SequenceNode) and knob.unit == "list":
        value: t.Any = [_word(item, knob) for item in node.value]
    else:
        value = _word(node, knob)
    problem = _on_every_kernel(knob, value)
    if problem:
        raise Mistake(node, problem)
    return value


def _word(node: yaml.Node, knob: Knob) -> t.Any:
    found = _profile_swap.scalar(node)
    if is_a(node, "null") or not found:
        raise Mistake(node, "has no value: write max for no limit, or absent to undo what an inherited profile sets")
    if is_a(node, "bool"):
        return _switch(node, found, knob)
    if is_a(node, "int"):
        # YAML 1.1 reads 010 as 8 and 1:30 as 90; the kernel would not.
        if _NUMBER.fullmatch(found):
            return int(found)
        if knob.unit != "mask" or not _HEXADECIMAL.fullmatch(found):
            raise Mistake(node, f"{found!r}: write it as a plain decimal number")
    if is_a(node, "float"):
        raise Mistake(node, f"{found!r}: a whole number is expected here ({knob.unit}{'; with a unit: 1.5GiB' if _wanted.unit_bytes(knob) else ''})")
    if found.endswith("%") and knob.unit == "bytes or max":
        raise Mistake(node, f"a share of memory is written {{of_memory: {found}}}")
    return found


def _switch(node: yaml.Node, found: str, knob: Knob) -> t.Any:
    """YAML 1.1 reads on, yes and y as true, off, no and n as false."""
    on = found.lower() in ("true", "on", "yes", "y")
    if knob.unit == "bool":
        return int(on)
    word = "on" if on else "off"
    if word in knob.choices:
        return word
    takes = f"one of {', '.join(knob.choices)}" if knob.choices else "text in quotes" if knob.unit == "text" else f"a number ({knob.unit})"
    raise Mistake(node, f"YAML reads {found!r} as {'true' if on else 'false'}; {knob.name} takes {takes}")


def _on_every_kernel(knob: Knob, value: object) -> str:
    """Why no kernel takes this value, or nothing; the node checks against its own kernel again."""
    reason = ""
    for since, _low, _high in knob.ranges or (("", None, None),):
        try:
            _registry.validate(knob, value, since)
        except KnobValueError as exc:
            reason = f"{value!r:.80} {exc.reason.partition(' on kernel ')[0]}"
        else:
            return ""
    return reason
