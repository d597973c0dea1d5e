# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""YAML that operators write → nodes that know their place, so that every mistake names its own. Values of variables become such nodes too."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

import yaml

from ansible_collections.memqos.fleet.plugins.plugin_utils._rule_expression import nearest

if t.TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

# libyaml parses ten times faster, and this runs for every host; without it the pure Python loader gives the same nodes.
_LOADER: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A rule file has four: the list, a rule, thresholds.
_MAX_LEVELS = 20
_TOO_DEEP = f"is nested deeper than {_MAX_LEVELS} levels"
_TAG = "tag:yaml.org,2002:"
_TAGS = frozenset(_TAG + name for name in ("null", "bool", "int", "float", "str", "timestamp", "seq", "map"))


@dataclass(frozen=True)
class Problem:
    """One mistake. C(key): where it is, in words (C(host.vm.swappiness), C(rule N03)). C(line) and C(column) count from 1, 0 where there is none."""

    file: str
    key: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        places = [self.key] if self.key else []
        if self.line:
            places += [f"line {self.line}", f"column {self.column}"]
        return f"{self.file}: {', '.join(places)}{': ' if places else ''}{self.message}"


@dataclass(frozen=True)
class Place:
    """Where the reader is: a file (or the name of a variable) and a key in it. C(problems) is shared by all places of a run; C(lines) are the file's."""

    file: str
    problems: list[Problem]
    key: str = ""
    lines: Sequence[str] = ()

    def under(self, key: str) -> Place:
        return replace(self, key=f"{self.key}.{key}" if self.key else key)

    def problem(self, node: yaml.Node | None, message: str, offset: int | None = None) -> None:
        """C(offset): of the wrong character in the node's text."""
        line, column = position(node)
        if node is not None and offset is not None:
            if self.lines:
                line, column = self._inside(node, offset)
            else:
                message += f" (character {offset + 1})"
        self.problems.append(Problem(self.file, self.key, line, column, message))

    def _inside(self, node: yaml.Node, offset: int) -> tuple[int, int]:
        """Walks the text and its source side by side: YAML folds lines, but the words between the spaces stay."""
        line, column = position(node)
        line, column = (line, 0) if getattr(node, "style", None) in ("|", ">") else (line - 1, column - 1)
        for char in node.value[: offset + 1]:
            found = None if char.isspace() else self._find(char, line, column)
            if found:
                line, column = found[0], found[1] + 1
        return line + 1, column if node.value[offset : offset + 1].strip() else column + 1

    def _find(self, char: str, line: int, column: int) -> tuple[int, int] | None:
        """None for what the source spells otherwise (an escape)."""
        while line < len(self.lines):
            at = self.lines[line].find(char, column)
            if at >= 0:
                return line, at
            line, column = line + 1, 0
        return None


class Mistake(Exception):
    """Ends the reading of one value; whoever reads the value's key makes it a problem there."""

    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(message)
        self.node = node


def position(node: yaml.Node | None) -> tuple[int, int]:
    """(line, column) from 1, of a text in quotes its first character; zeros for what stands in no file."""
    mark = node.start_mark if node is not None else None
    if mark is None:
        return 0, 0
    quoted = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"')
    return mark.line + 1, mark.column + (2 if quoted else 1)


def read_file(place: Place, *, max_bytes: int) -> tuple[yaml.Node | None, Place]:
    """The root node (a null for an empty file; None after a problem), and the place with the file's lines. Raises FileNotFoundError."""
    try:
        with open(place.file, "rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as exc:
        place.problem(None, f"cannot be read: {exc.strerror}")
        return None, place
    return read_text(content, place, max_bytes=max_bytes)


def read_text(content: bytes, place: Place, *, max_bytes: int) -> tuple[yaml.Node | None, Place]:
    """As C(read_file), of what a file holds."""
    if len(content) > max_bytes:
        place.problem(None, f"is larger than {max_bytes // 1024} KiB")
        return None, place
    try:
        source = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        place.problem(None, "is not UTF-8 text")
        return None, place
    return _compose(source, place), replace(place, lines=source.splitlines(keepends=True))


def from_value(value: object, depth: int = 0) -> yaml.Node:
    """What Ansible read from a variable, as nodes without a line. Raises Mistake for what YAML has no word for."""
    if depth > _MAX_LEVELS:
        raise Mistake(yaml.ScalarNode(_TAG + "str", ""), _TOO_DEEP)
    if isinstance(value, dict):
        return yaml.MappingNode(_TAG + "map", [(from_value(key, depth + 1), from_value(item, depth + 1)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return yaml.SequenceNode(_TAG + "seq", [from_value(item, depth + 1) for item in value])
    # isinstance, not type: Ansible's values are subclasses that carry tags. A bool is an int.
    kinds = (("bool", bool), ("int", int), ("float", float), ("null", type(None)))
    kind = next((name for name, known in kinds if isinstance(value, known)), "str")
    return yaml.ScalarNode(_TAG + kind, str(value).lower() if kind == "bool" else "" if value is None else str(value))


def value_of(node: yaml.Node) -> t.Any:
    """What is written, for JSON: mappings, lists, plain decimal numbers, truth values, and else the text."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): value_of(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [value_of(item) for item in node.value]
    if is_a(node, "bool"):
        return node.value.lower() in ("true", "on", "yes", "y")
    return int(node.value) if is_a(node, "int") and re.fullmatch("-?(0|[1-9][0-9]*)", node.value) else str(node.value).strip()


def mapping(node: yaml.Node, place: Place, allowed: Collection[str] | None = None) -> dict[str, yaml.Node]:
    """The values of a mapping; unknown and repeated keys are problems and left out. Any key is allowed without C(allowed)."""
    if not isinstance(node, yaml.MappingNode):
        place.problem(node, "a mapping ('name: value') is expected here")
        return {}
    found: dict[str, yaml.Node] = {}
    for key_node, value in node.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
        if not key:
            place.problem(key_node, "a key must be text")
        elif allowed is not None and key not in allowed:
            place.problem(key_node, f"unknown key '{key}'" + nearest(key, allowed))
        elif key in found:
            place.problem(key_node, f"'{key}' stands here twice")
        else:
            found[key] = value
    return found


def text(nodes: Mapping[str, yaml.Node], key: str, place: Place, *, longest: int = 1000) -> str:
    """The text at C(key); empty if it is not there or is a problem."""
    node = nodes.get(key)
    if node is None:
        return ""
    found = " ".join(node.value.split()) if isinstance(node, yaml.ScalarNode) else ""
    if not found or len(found) > longest or not found.isprintable():
        place.under(key).problem(node, f"text of at most {longest} characters is expected here")
        return ""
    return found


def is_a(node: yaml.Node, *kinds: str) -> bool:
    """Whether YAML 1.1 reads the node as one of null, bool, int, float, str, seq, map."""
    return node.tag in {_TAG + kind for kind in kinds}


def _compose(content: str, place: Place) -> yaml.Node | None:
    root: yaml.Node = yaml.ScalarNode(_TAG + "null", "")
    try:
        mistake = _danger(content)
        if mistake is None:
            root = yaml.compose(content, Loader=_LOADER) or root
            mistake = _foreign_tag(root)
    except yaml.MarkedYAMLError as exc:
        # libyaml has a bound of its own since PyYAML 6.0.4; its scanner reads ahead of the events and so meets it before _danger meets ours.
        too_deep = "nesting depth" in str(exc.problem)
        mistake = _TOO_DEEP if too_deep else f"is not YAML: {exc.problem or exc.context}", exc.problem_mark or exc.context_mark
    except yaml.YAMLError as exc:
        mistake = f"is not YAML: {exc}".splitlines()[0], None
    if mistake is None:
        return root
    message, mark = mistake
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    place.problems.append(Problem(place.file, place.key, line, column, message))
    return None


def _danger(content: str) -> tuple[str, t.Any] | None:
    """What must not reach yaml.compose: it recurses in C (deep nesting ends the process), and aliases let a few lines stand for gigabytes."""
    levels = 0
    for event in yaml.parse(content, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            return "YAML aliases are not allowed here: write the value out", event.start_mark
        if isinstance(event, yaml.CollectionStartEvent):
            levels += 1
            if levels > _MAX_LEVELS:
                return _TOO_DEEP, event.start_mark
        elif isinstance(event, yaml.CollectionEndEvent):
            levels -= 1
    return None


def _foreign_tag(root: yaml.Node) -> tuple[str, t.Any] | None:
    """Nothing here makes objects of tags; a merge key has one too."""
    todo = [root]
    while todo:
        node = todo.pop()
        if node.tag not in _TAGS:
            return f"'{node.tag.replace(_TAG, '')}': YAML tags and merge keys are not allowed here: write the value out", node.start_mark
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            todo += [part for pair in node.value for part in pair]
    return None
