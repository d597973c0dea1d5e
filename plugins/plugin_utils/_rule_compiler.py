# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Rule files (YAML) → what nodes evaluate and what reports say. Every mistake is found here, before a host is contacted."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import yaml

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.plugin_utils import _causes, _profiles, _rule_expression
from ansible_collections.memqos.fleet.plugins.plugin_utils._rule_expression import EACH, SUBJECTS, ExpressionError, nearest, parse_number
from ansible_collections.memqos.fleet.plugins.plugin_utils._yaml_source import Mistake, Place, Problem, is_a, mapping, read_file, value_of

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

SEVERITIES = ("critical", "warning", "info")
MAX_FILE_BYTES = 1024 * 1024
THRESHOLDS_VARIABLE = "memqos_thresholds"
DROP_VARIABLE = "memqos_rules_drop"

_REQUIRED = ("id", "title", "severity", "each", "when")
_KEYS = (*_REQUIRED, "thresholds", "applies", "observe", "why", "expected", "cure", "references", "because_of")
_CURE_KEYS = ("setting", "value", "text", "command", "apply")
_OBSERVED = "observed"
_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_THRESHOLD = re.compile(r"[a-z][a-z0-9_]{0,63}")

# What a rule may read that the controller judges: what it has of a node, and the figures that peaks of earlier audits and a kubelet's bound change.
ON_CONTROLLER = frozenset(("facts", "knob", "meminfo", "node"))
_ONLY_LATE = "stranded_bytes"
_LATE = frozenset((_ONLY_LATE, "allocatable_bytes", "stranded_workloads"))

Text = t.Union[str, int, float, bool]


class RuleError(Exception):
    """All mistakes of all rule files; the message has one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class RuleSet:
    """C(compiled): JSON for the node, C([{id, each, applies, when, observe}]); C(on_controller): those that it judges itself.

    C(metadata): C({id: {title, severity, each, why, expected, cure, references, because_of, thresholds}}) for reports.
    """

    compiled: list[dict[str, t.Any]]
    metadata: dict[str, dict[str, t.Any]]
    on_controller: list[dict[str, t.Any]] = field(default_factory=list)


def read_rules(paths: Sequence[str]) -> Mapping[str, Draft]:
    """Rules of files and directories, for C(load_rules) to begin with. Raises RuleError."""
    problems: list[Problem] = []
    drafts = _read(paths, problems)
    if problems:
        raise RuleError(problems)
    return drafts


def load_rules(
    paths: Sequence[str], *, thresholds: Mapping[str, Mapping[str, t.Any]], drop: Collection[str], known: Mapping[str, Draft] = MappingProxyType({})
) -> RuleSet:
    """The C(known) rules and those of files and directories (their C(*.yml) and C(*.yaml), sorted by name), checked and compiled.

    A later rule replaces an earlier one with the same id. C(thresholds) is C({id: {name: number}}) (numbers or text such as C(5%), C(2 GiB)), C(drop) the ids
    left out. A known rule is compiled once for the same thresholds. Raises RuleError with every mistake found.
    """
    problems: list[Problem] = []
    drafts = {**known, **_read(paths, problems)}
    _check_variables(drafts, thresholds, drop, problems)
    _check_causes(drafts, problems)
    ruleset = RuleSet([], {})
    for draft in drafts.values():
        if draft.id in drop:
            continue
        values = {**draft.thresholds, **_overrides(draft, thresholds.get(draft.id, {}), problems)}
        compiled = _compiled(draft, values, problems)
        (ruleset.on_controller if draft.each == "setting" or _is_late(draft, compiled, problems) else ruleset.compiled).append(compiled)
        ruleset.metadata[draft.id] = {**draft.metadata, "thresholds": values}
    if problems:
        raise RuleError(problems)
    return ruleset


# Files


def _read(paths: Sequence[str], problems: list[Problem]) -> dict[str, Draft]:
    drafts: dict[str, Draft] = {}
    for path in _files(paths, problems):
        drafts.update(_read_file(path, problems))
    return drafts


def _files(paths: Sequence[str], problems: list[Problem]) -> Iterator[str]:
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        try:
            names = sorted(name for name in os.listdir(path) if name.endswith((".yml", ".yaml")) and not name.startswith("."))
        except OSError as exc:
            Place(path, problems).problem(None, f"cannot be read: {exc.strerror}")
            continue
        yield from (os.path.join(path, name) for name in names)


def _read_file(path: str, problems: list[Problem]) -> dict[str, Draft]:
    place = Place(path, problems)
    try:
        root, place = read_file(place, max_bytes=MAX_FILE_BYTES)
    except FileNotFoundError as exc:
        place.problem(None, f"cannot be read: {exc.strerror}")
        return {}
    if root is None or is_a(root, "null"):
        return {}
    if not isinstance(root, yaml.SequenceNode):
        place.problem(root, "a rule file is a list: '- id: …'")
        return {}
    drafts: dict[str, Draft] = {}
    for node in root.value:
        draft = _draft(node, place)
        if draft is None:
            continue
        if draft.id in drafts:
            draft.place.problem(draft.nodes["id"], f"the id '{draft.id}' is used twice in this file")
        drafts[draft.id] = draft
    return drafts


# One rule


@dataclass
class Draft:
    """A rule whose structure is right; its expressions are not yet read, because they depend on thresholds. C(compiled): by the thresholds' values."""

    id: str
    each: str
    place: Place
    nodes: dict[str, yaml.Node]
    thresholds: dict[str, _rule_expression.Number]
    metadata: dict[str, t.Any]
    observe: list[tuple[str, yaml.Node]] = field(default_factory=list)
    compiled: dict[tuple[_rule_expression.Number, ...], dict[str, t.Any]] = field(default_factory=dict)


def _draft(node: yaml.Node, place: Place) -> Draft | None:
    """None for a rule with a mistake in its structure (which is then among the problems)."""
    before = len(place.problems)
    if not isinstance(node, yaml.MappingNode):
        place.problem(node, "a rule is a mapping: 'id: …'")
        return None
    identity = next((value.value for key, value in node.value if key.value == "id" and isinstance(value, yaml.ScalarNode)), "")
    place = _of_rule(place, identity)
    nodes = mapping(node, place, _KEYS)
    for key in _REQUIRED:
        if key not in nodes:
            place.problem(node, f"'{key}' is missing")
    texts: dict[str, str] = {key: _text(nodes[key], key, place) for key in ("id", "title", "severity", "each", "why", "expected") if key in nodes}
    if "id" in nodes and not _ID.fullmatch(texts["id"]):
        place.problem(nodes["id"], f"id {texts['id']!r}: letters, digits, _ and -, a letter first, at most 64")
    for key, allowed in (("severity", SEVERITIES), ("each", EACH)):
        if key in nodes and texts[key] not in allowed:
            place.problem(nodes[key], f"{key} '{texts[key]}' is none of {', '.join(allowed)}" + nearest(texts[key], allowed))
    thresholds = _thresholds(nodes.get("thresholds"), place)
    metadata = {
        **{key: texts.get(key, "") for key in ("title", "severity", "each", "why", "expected")},
        "cure": _cure(nodes.get("cure"), place, texts.get("each", ""), nodes.get("observe")),
        "references": _references(nodes.get("references"), place),
        "because_of": _because_of(nodes.get("because_of"), place),
    }
    observe = [] if "observe" not in nodes else list(mapping(nodes["observe"], place).items())
    if len(place.problems) > before:
        return None
    return Draft(texts["id"], texts["each"], place, nodes, thresholds, metadata, observe)


def _of_rule(place: Place, identity: str) -> Place:
    return replace(place, key=f"rule {identity}" if identity else "")


def _text(node: yaml.Node, key: str, place: Place) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        place.problem(node, f"{key} is text")
        return ""
    return str(node.value).strip()


def _scalar(node: yaml.ScalarNode) -> Text:
    """A number where YAML 1.1 sees a decimal one, else the text."""
    if node.tag.endswith((":int", ":float")):
        try:
            return parse_number(node.value)
        except ExpressionError:
            pass
    return str(node.value).strip()


def _thresholds(node: yaml.Node | None, place: Place) -> dict[str, _rule_expression.Number]:
    values: dict[str, _rule_expression.Number] = {}
    for name, value in {} if node is None else mapping(node, place).items():
        if not _THRESHOLD.fullmatch(name):
            place.problem(value, f"threshold '{name}': lower-case letters, digits and _")
        try:
            values[name] = parse_number(_text(value, f"threshold '{name}'", place))
        except ExpressionError as exc:
            place.problem(value, f"threshold '{name}': {exc}")
    return values


def _cure(node: yaml.Node | None, place: Place, each: str, observe: yaml.Node | None) -> dict[str, t.Any]:
    cure: dict[str, t.Any] = {}
    for key, value in {} if node is None else mapping(node, place, _CURE_KEYS).items():
        if key == "apply":
            labels = {str(label.value) for label, unused in observe.value} if isinstance(observe, yaml.MappingNode) else set()
            cure[key] = {name: _applied(name, entry, place, each, labels) for name, entry in mapping(value, place).items()}
            continue
        text = _text(value, f"cure {key}", place)
        cure[key] = _scalar(value) if isinstance(value, yaml.ScalarNode) and key == "value" else text
    return cure


def _applied(name: str, node: yaml.Node, place: Place, each: str, labels: Collection[str]) -> t.Any:
    """An entry of C(cure.apply) as it is written: that of a profile, or C({observed: NAME}), a figure of the finding."""
    written = value_of(node)
    what = f"cure apply '{name}'"
    observed = written.get(_OBSERVED) if isinstance(written, dict) else None
    # In the place of the figure any number: what is asked is whether the knob takes one.
    entry = node if observed is None else yaml.ScalarNode("tag:yaml.org,2002:int", "1")
    try:
        knob = _profiles.setting(name, entry, place)
    except Mistake as exc:
        place.problem(node, f"{what}: {exc}")
        return written
    if knob.scope not in ("host", "numa_node") and each not in SUBJECTS["cgroup"]:
        place.problem(node, f"{what} is set for a unit, and this rule is for each {each}")
    if observed is not None and (len(written) != 1 or observed not in labels):
        place.problem(node, f"{what}: observed is alone, and a name under 'observe'" + nearest(str(observed), labels))
    return written


def _references(node: yaml.Node | None, place: Place) -> list[str]:
    if node is None:
        return []
    if not isinstance(node, yaml.SequenceNode):
        place.problem(node, "references is a list of addresses")
        return []
    links = [_text(item, "a reference", place) for item in node.value]
    for item, link in zip(node.value, links):
        # They become links in the HTML report.
        if link and not link.startswith(("https://", "http://")):
            place.problem(item, "a reference is an http or https address")
    return links


def _because_of(node: yaml.Node | None, place: Place) -> list[str]:
    """Ids of the rules whose finding explains one of this rule."""
    if node is None:
        return []
    if not isinstance(node, yaml.SequenceNode):
        place.problem(node, "because_of is a list of ids of rules")
        return []
    return [_text(item, "because_of", place) for item in node.value]


# Variables, expressions


def _check_causes(drafts: Mapping[str, Draft], problems: list[Problem]) -> None:
    """Every cause is a rule, left out or not, and none is its own, by whatever way."""
    if problems:
        return
    metadata = {draft.id: draft.metadata for draft in drafts.values()}
    for draft in drafts.values():
        place = replace(draft.place, problems=problems)
        for cause in draft.metadata["because_of"]:
            if cause not in drafts:
                place.problem(draft.nodes["because_of"], f"because_of: there is no rule '{cause}'" + nearest(cause, drafts))
        if draft.id in _causes.causes(draft.id, metadata):
            place.problem(draft.nodes["because_of"], f"because_of: {draft.id} would explain itself")


def _check_variables(drafts: Mapping[str, Draft], thresholds: Mapping[str, Mapping[str, t.Any]], drop: Collection[str], problems: list[Problem]) -> None:
    """An id that no rule has is a slip of the pen; said only when all files could be read, else it may be the unread one."""
    if problems:
        return
    for variable, ids in ((THRESHOLDS_VARIABLE, thresholds), (DROP_VARIABLE, drop)):
        for unknown in ids:
            if unknown not in drafts:
                Place(variable, problems).problem(None, f"there is no rule '{unknown}'" + nearest(unknown, drafts))


def _overrides(draft: Draft, wanted: Mapping[str, t.Any], problems: list[Problem]) -> dict[str, _rule_expression.Number]:
    place = _of_rule(Place(THRESHOLDS_VARIABLE, problems), draft.id)
    values: dict[str, _rule_expression.Number] = {}
    for name, value in wanted.items():
        if name not in draft.thresholds:
            place.problem(None, f"unknown threshold '{name}'" + nearest(name, draft.thresholds))
            continue
        try:
            values[name] = parse_number(str(value))
        except ExpressionError as exc:
            place.problem(None, f"threshold '{name}': {exc}")
    return values


def _compiled(draft: Draft, thresholds: Mapping[str, _rule_expression.Number], problems: list[Problem]) -> dict[str, t.Any]:
    values = tuple(thresholds.values())
    if values in draft.compiled:
        return draft.compiled[values]
    before = len(problems)
    # A known rule was read by an earlier call, which had its own list.
    compiled = _compile(replace(draft, place=replace(draft.place, problems=problems)), thresholds, problems)
    if len(problems) == before:
        draft.compiled[values] = compiled
    return compiled


def _compile(draft: Draft, thresholds: Mapping[str, _rule_expression.Number], problems: list[Problem]) -> dict[str, t.Any]:
    scope = _rule_expression.Scope(draft.each, thresholds, _knob_problem)
    before = len(problems)
    compiled: dict[str, t.Any] = {"id": draft.id, "each": draft.each}
    if "applies" in draft.nodes:
        compiled["applies"] = _condition(draft, "applies", scope)
    scope.read.clear()
    compiled["when"] = _condition(draft, "when", scope)
    observed = dict(scope.read)
    if draft.observe:
        observed = {label: _tree(draft, node, scope, f"observe '{label}'") for label, node in draft.observe}
    compiled["observe"] = observed
    if len(problems) == before:
        for name in sorted(set(draft.thresholds) - scope.used_thresholds):
            draft.place.problem(draft.nodes["thresholds"], f"threshold '{name}' is never used")
    return compiled


def _is_late(draft: Draft, compiled: t.Any, problems: list[Problem]) -> bool:
    """Whether a rule about the node reads what the controller corrects, and nothing that it does not have."""
    read = set(_reads(list(compiled.values())))
    late = {name for space, name in read if space == "node"} & _LATE
    if late and draft.each == "node" and {space for space, unused in read} <= ON_CONTROLLER:
        return True
    if _ONLY_LATE in late:
        spaces = ", ".join(sorted(ON_CONTROLLER))
        place = replace(draft.place, problems=problems)
        place.problem(
            draft.nodes["when"], f"node.{_ONLY_LATE} is known on the controller: a rule that reads it is for each node, and reads besides only {spaces}"
        )
    return False


def _reads(tree: t.Any) -> Iterator[tuple[str, str]]:
    """(namespace, the next key) of all that is read."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        if tree[:1] and tree[0] in ("name", "has", "delta", "rate") and len(tree) > 2 and isinstance(tree[1], str):
            yield tree[1], str(tree[2])
        for part in tree:
            yield from _reads(part)


def _condition(draft: Draft, key: str, scope: _rule_expression.Scope) -> _rule_expression.Tree:
    return _tree(draft, draft.nodes[key], scope, key, condition=True)


def _tree(draft: Draft, node: yaml.Node, scope: _rule_expression.Scope, what: str, *, condition: bool = False) -> _rule_expression.Tree:
    """The node's expression; None after a mistake, which is then among the problems."""
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        draft.place.problem(node, f"{what} is an expression")
        return None
    try:
        term = _rule_expression.compile_expression(node.value, scope)
    except ExpressionError as exc:
        draft.place.problem(node, str(exc), exc.offset)
        return None
    if condition and term.kind not in ("true or false", "any"):
        draft.place.problem(node, f"{what} is a condition: it must be true or false, not a {term.kind}")
    return term.tree


def _knob_problem(name: str) -> str:
    """Why the snapshot can have no such knob, or nothing."""
    try:
        knob = _registry.find(name)
    except _registry.UnknownKnob as exc:
        return f"unknown knob '{name}'" + nearest(name, exc.nearest)
    return "" if knob.scope == "host" else f"'{name}' belongs to a {knob.scope}: knob() reads what the host has once"
