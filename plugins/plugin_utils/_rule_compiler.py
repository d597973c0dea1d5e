# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Rule files (YAML) → what nodes evaluate and what reports say. Every mistake is found here, before a host is contacted."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

import yaml

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.plugin_utils import _rule_expression
from ansible_collections.memqos.fleet.plugins.plugin_utils._rule_expression import EACH, ExpressionError, nearest, parse_number

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

SEVERITIES = ("critical", "warning", "info")
MAX_FILE_BYTES = 1024 * 1024
THRESHOLDS_VARIABLE = "memqos_thresholds"
DROP_VARIABLE = "memqos_rules_drop"

_REQUIRED = ("id", "title", "severity", "each", "when")
_KEYS = (*_REQUIRED, "thresholds", "applies", "observe", "why", "expected", "cure", "references")
_CURE_KEYS = ("setting", "value", "text", "command")
_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_THRESHOLD = re.compile(r"[a-z][a-z0-9_]{0,63}")
# libyaml parses ten times faster, and this runs for every host; without it the pure Python loader gives the same nodes.
_LOADER: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A rule file has four: the list, a rule, thresholds.
_MAX_LEVELS = 20

Text = t.Union[str, int, float, bool]


@dataclass(frozen=True)
class Problem:
    """One mistake; C(line) and C(column) count from 1, 0 where a mistake has no place."""

    file: str
    rule: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        places = [f"rule {self.rule}"] if self.rule else []
        if self.line:
            places += [f"line {self.line}", f"column {self.column}"]
        return f"{self.file}: {', '.join(places)}: {self.message}" if places else f"{self.file}: {self.message}"


class RuleError(Exception):
    """All mistakes of all rule files; the message has one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class RuleSet:
    """C(compiled): JSON for the node, C([{id, each, applies, when, observe}]).

    C(metadata): C({id: {title, severity, each, why, expected, cure, references, thresholds}}) for reports.
    """

    compiled: list[dict[str, t.Any]]
    metadata: dict[str, dict[str, t.Any]]


def load_rules(paths: Sequence[str], *, thresholds: Mapping[str, Mapping[str, t.Any]], drop: Collection[str]) -> RuleSet:
    """Rules of files and directories (their C(*.yml) and C(*.yaml), sorted by name), checked and compiled.

    A later rule replaces an earlier one with the same id. C(thresholds) is C({id: {name: number}}) (numbers or text such as C(5%), C(2 GiB)), C(drop) the ids
    left out. Raises RuleError with every mistake found.
    """
    problems: list[Problem] = []
    drafts: dict[str, _Draft] = {}
    for path in _files(paths, problems):
        drafts.update(_read_file(path, problems))
    _check_variables(drafts, thresholds, drop, problems)
    ruleset = RuleSet([], {})
    for draft in drafts.values():
        if draft.id in drop:
            continue
        values = {**draft.thresholds, **_overrides(draft, thresholds.get(draft.id, {}), problems)}
        compiled = _compile(draft, values, problems)
        ruleset.compiled.append(compiled)
        ruleset.metadata[draft.id] = {**draft.metadata, "thresholds": values}
    if problems:
        raise RuleError(problems)
    return ruleset


# Files


def _files(paths: Sequence[str], problems: list[Problem]) -> Iterator[str]:
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        try:
            names = sorted(name for name in os.listdir(path) if name.endswith((".yml", ".yaml")) and not name.startswith("."))
        except OSError as exc:
            problems.append(Problem(path, "", 0, 0, f"cannot be read: {exc.strerror}"))
            continue
        yield from (os.path.join(path, name) for name in names)


def _read_file(path: str, problems: list[Problem]) -> dict[str, _Draft]:
    text = _read_text(path, problems)
    root = None if text is None else _compose(path, text, problems)
    if text is None or root is None:
        return {}
    source = _Source(path, text, problems)
    if not isinstance(root, yaml.SequenceNode):
        source.problem(root, "a rule file is a list: '- id: …'")
        return {}
    drafts: dict[str, _Draft] = {}
    for node in root.value:
        draft = _draft(node, source)
        if draft is None:
            continue
        if draft.id in drafts:
            source.problem(draft.nodes["id"], f"the id '{draft.id}' is used twice in this file", draft.id)
        drafts[draft.id] = draft
    return drafts


def _read_text(path: str, problems: list[Problem]) -> str | None:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            problems.append(Problem(path, "", 0, 0, f"larger than {MAX_FILE_BYTES // 1024} KiB"))
            return None
        return content.decode("utf-8-sig")
    except OSError as exc:
        problems.append(Problem(path, "", 0, 0, f"cannot be read: {exc.strerror}"))
    except UnicodeDecodeError:
        problems.append(Problem(path, "", 0, 0, "is not UTF-8 text"))
    return None


def _compose(path: str, text: str, problems: list[Problem]) -> yaml.Node | None:
    """The file's node graph; None for an empty file and for what is not YAML."""
    mark: t.Any = None
    try:
        danger = _danger(text)
        if danger is None:
            node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
            return node
        message, mark = danger
    except yaml.MarkedYAMLError as exc:
        message, mark = f"not YAML: {exc.problem or exc.context}", exc.problem_mark or exc.context_mark
    except yaml.YAMLError as exc:
        message = f"not YAML: {exc}".splitlines()[0]
    line, column = (0, 0) if mark is None else (mark.line + 1, mark.column + 1)
    problems.append(Problem(path, "", line, column, message))
    return None


def _danger(text: str) -> tuple[str, t.Any] | None:
    """What must not reach yaml.compose: it recurses in C (deep nesting ends the process), and aliases let a few lines stand for gigabytes."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            return "YAML aliases are not allowed here: write the value out", event.start_mark
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_LEVELS:
                return f"nested deeper than {_MAX_LEVELS} levels", event.start_mark
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


class _Source:
    """One file: turns nodes, and offsets in their text, into lines and columns."""

    def __init__(self, path: str, text: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        self._lines = text.splitlines(keepends=True)

    def problem(self, node: yaml.Node, message: str, rule: str = "", offset: int | None = None) -> None:
        line, column = self._start(node) if offset is None else self._place(node, offset)
        self.problems.append(Problem(self.path, rule, line + 1, column + 1, message))

    @staticmethod
    def _start(node: yaml.Node) -> tuple[int, int]:
        quoted = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"')
        return node.start_mark.line, node.start_mark.column + (1 if quoted else 0)

    def _place(self, node: yaml.Node, offset: int) -> tuple[int, int]:
        """Walks the value and its source side by side: YAML folds lines, but the words between the spaces stay."""
        line, column = self._start(node)
        if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
            line, column = line + 1, 0
        for char in node.value[: offset + 1]:
            if char.isspace():
                continue
            line, column = self._find(char, line, column)
            column += 1
        return line, column - 1 if node.value[offset : offset + 1].strip() else column

    def _find(self, char: str, line: int, column: int) -> tuple[int, int]:
        while line < len(self._lines):
            at = self._lines[line].find(char, column)
            if at >= 0:
                return line, at
            line, column = line + 1, 0
        return line, column


# One rule


@dataclass
class _Draft:
    """A rule whose structure is right; its expressions are not yet read, because they depend on thresholds."""

    id: str
    each: str
    source: _Source
    nodes: dict[str, yaml.Node]
    thresholds: dict[str, _rule_expression.Number]
    metadata: dict[str, t.Any]
    observe: list[tuple[str, yaml.Node]] = field(default_factory=list)

    def problem(self, node: yaml.Node, message: str, offset: int | None = None) -> None:
        self.source.problem(node, message, self.id, offset)


def _draft(node: yaml.Node, source: _Source) -> _Draft | None:
    """None for a rule with a mistake in its structure (which is then among the problems)."""
    before = len(source.problems)
    if not isinstance(node, yaml.MappingNode):
        source.problem(node, "a rule is a mapping: 'id: …'")
        return None
    identity = next((value.value for key, value in node.value if key.value == "id" and isinstance(value, yaml.ScalarNode)), "")
    nodes = _mapping(node, _KEYS, source, identity)
    for key in _REQUIRED:
        if key not in nodes:
            source.problem(node, f"'{key}' is missing", identity)
    texts: dict[str, str] = {key: _text(nodes[key], key, source, identity) for key in ("id", "title", "severity", "each", "why", "expected") if key in nodes}
    if "id" in nodes and not _ID.fullmatch(texts["id"]):
        source.problem(nodes["id"], f"id {texts['id']!r}: letters, digits, _ and -, a letter first, at most 64", identity)
    for key, allowed in (("severity", SEVERITIES), ("each", EACH)):
        if key in nodes and texts[key] not in allowed:
            source.problem(nodes[key], f"{key} '{texts[key]}' is none of {', '.join(allowed)}" + nearest(texts[key], allowed), identity)
    thresholds = _thresholds(nodes.get("thresholds"), source, identity)
    metadata = {
        **{key: texts.get(key, "") for key in ("title", "severity", "each", "why", "expected")},
        "cure": _cure(nodes.get("cure"), source, identity),
        "references": _references(nodes.get("references"), source, identity),
    }
    observe = [] if "observe" not in nodes else list(_mapping(nodes["observe"], None, source, identity).items())
    if len(source.problems) > before:
        return None
    return _Draft(texts["id"], texts["each"], source, nodes, thresholds, metadata, observe)


def _mapping(node: yaml.Node, allowed: Sequence[str] | None, source: _Source, rule: str) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        source.problem(node, "a mapping ('name: value') is expected here", rule)
        return {}
    found: dict[str, yaml.Node] = {}
    for key_node, value in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
        if allowed is not None and key not in allowed:
            source.problem(key_node, f"unknown key '{key}'" + nearest(key, allowed), rule)
        elif key in found:
            source.problem(key_node, f"'{key}' stands here twice", rule)
        else:
            found[key] = value
    return found


def _text(node: yaml.Node, key: str, source: _Source, rule: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        source.problem(node, f"{key} is text", rule)
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


def _thresholds(node: yaml.Node | None, source: _Source, rule: str) -> dict[str, _rule_expression.Number]:
    values: dict[str, _rule_expression.Number] = {}
    for name, value in {} if node is None else _mapping(node, None, source, rule).items():
        if not _THRESHOLD.fullmatch(name):
            source.problem(value, f"threshold '{name}': lower-case letters, digits and _", rule)
        try:
            values[name] = parse_number(_text(value, f"threshold '{name}'", source, rule))
        except ExpressionError as exc:
            source.problem(value, f"threshold '{name}': {exc}", rule)
    return values


def _cure(node: yaml.Node | None, source: _Source, rule: str) -> dict[str, Text]:
    cure: dict[str, Text] = {}
    for key, value in {} if node is None else _mapping(node, _CURE_KEYS, source, rule).items():
        text = _text(value, f"cure {key}", source, rule)
        cure[key] = _scalar(value) if isinstance(value, yaml.ScalarNode) and key == "value" else text
    return cure


def _references(node: yaml.Node | None, source: _Source, rule: str) -> list[str]:
    if node is None:
        return []
    if not isinstance(node, yaml.SequenceNode):
        source.problem(node, "references is a list of addresses", rule)
        return []
    links = [_text(item, "a reference", source, rule) for item in node.value]
    for item, link in zip(node.value, links):
        # They become links in the HTML report.
        if link and not link.startswith(("https://", "http://")):
            source.problem(item, "a reference is an http or https address", rule)
    return links


# Variables, expressions


def _check_variables(drafts: Mapping[str, _Draft], thresholds: Mapping[str, Mapping[str, t.Any]], drop: Collection[str], problems: list[Problem]) -> None:
    """An id that no rule has is a slip of the pen; said only when all files could be read, else it may be the unread one."""
    if problems:
        return
    for variable, ids in ((THRESHOLDS_VARIABLE, thresholds), (DROP_VARIABLE, drop)):
        problems += [Problem(variable, "", 0, 0, f"there is no rule '{unknown}'" + nearest(unknown, drafts)) for unknown in ids if unknown not in drafts]


def _overrides(draft: _Draft, wanted: Mapping[str, t.Any], problems: list[Problem]) -> dict[str, _rule_expression.Number]:
    values: dict[str, _rule_expression.Number] = {}
    for name, value in wanted.items():
        if name not in draft.thresholds:
            problems.append(Problem(THRESHOLDS_VARIABLE, draft.id, 0, 0, f"unknown threshold '{name}'" + nearest(name, draft.thresholds)))
            continue
        try:
            values[name] = parse_number(str(value))
        except ExpressionError as exc:
            problems.append(Problem(THRESHOLDS_VARIABLE, draft.id, 0, 0, f"threshold '{name}': {exc}"))
    return values


def _compile(draft: _Draft, thresholds: Mapping[str, _rule_expression.Number], problems: list[Problem]) -> dict[str, t.Any]:
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
            draft.problem(draft.nodes["thresholds"], f"threshold '{name}' is never used")
    return compiled


def _condition(draft: _Draft, key: str, scope: _rule_expression.Scope) -> _rule_expression.Tree:
    return _tree(draft, draft.nodes[key], scope, key, condition=True)


def _tree(draft: _Draft, node: yaml.Node, scope: _rule_expression.Scope, what: str, *, condition: bool = False) -> _rule_expression.Tree:
    """The node's expression; None after a mistake, which is then among the problems."""
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        draft.problem(node, f"{what} is an expression")
        return None
    try:
        term = _rule_expression.compile_expression(node.value, scope)
    except ExpressionError as exc:
        draft.problem(node, str(exc), exc.offset)
        return None
    if condition and term.kind not in ("true or false", "any"):
        draft.problem(node, f"{what} is a condition: it must be true or false, not a {term.kind}")
    return term.tree


def _knob_problem(name: str) -> str:
    """Why the snapshot can have no such knob, or nothing."""
    try:
        knob = _registry.find(name)
    except _registry.UnknownKnob as exc:
        return f"unknown knob '{name}'" + nearest(name, exc.nearest)
    return "" if knob.scope == "host" else f"'{name}' belongs to a {knob.scope}: knob() reads what the host has once"
