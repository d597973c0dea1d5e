# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""YAML that operators write → nodes that know their line, so that every mistake names its place. Values of variables become such nodes too."""

from __future__ import annotations

import difflib
import typing as t
from dataclasses import dataclass, replace

import yaml

if t.TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

# libyaml parses ten times faster, and this runs for every host; without it the pure Python loader gives the same nodes.
_LOADER: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 20
_TAG = "tag:yaml.org,2002:"
_TAGS = frozenset(_TAG + name for name in ("null", "bool", "int", "float", "str", "timestamp", "seq", "map"))


@dataclass(frozen=True)
class Problem:
    """One mistake. C(line) and C(column) count from 1, 0 where there is none (a variable); C(nearest) are names that may be meant."""

    file: str
    key: str
    line: int
    column: int
    message: str
    nearest: tuple[str, ...] = ()

    def __str__(self) -> str:
        places = [self.key] if self.key else []
        if self.line:
            places += [f"line {self.line}", f"column {self.column}"]
        meant = f"; did you mean {' or '.join(self.nearest)}?" if self.nearest else ""
        return f"{self.file}: {', '.join(places)}{': ' if places else ''}{self.message}{meant}"


@dataclass(frozen=True)
class Place:
    """Where the reader is: a file (or the name of a variable) and a dotted key in it. C(problems) is shared by all places of a run."""

    file: str
    problems: list[Problem]
    key: str = ""

    def under(self, key: str) -> Place:
        return replace(self, key=f"{self.key}.{key}" if self.key else key)

    def problem(self, node: yaml.Node | None, message: str, nearest: Sequence[str] = ()) -> None:
        line, column = position(node)
        self.problems.append(Problem(self.file, self.key, line, column, message, tuple(nearest)))


class Mistake(Exception):
    """Ends the reading of one value; whoever reads the value's key makes it a problem there."""

    def __init__(self, node: yaml.Node, message: str, nearest: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.node = node
        self.nearest = nearest


def position(node: yaml.Node | None) -> tuple[int, int]:
    """(line, column) from 1; zeros for what stands in no file."""
    mark = node.start_mark if node is not None else None
    return (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)


def close_names(word: str, known: Collection[str]) -> list[str]:
    return difflib.get_close_matches(word, known, n=3, cutoff=0.6)


def read_file(place: Place, *, max_bytes: int) -> yaml.Node | None:
    """The root node of the file; None after a problem. Raises FileNotFoundError."""
    try:
        with open(place.file, "rb") as file:
            content = file.read(max_bytes + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as exc:
        place.problem(None, f"cannot be read: {exc.strerror}")
        return None
    except UnicodeDecodeError:
        place.problem(None, "is not UTF-8 text")
        return None
    if len(content) > max_bytes:
        place.problem(None, f"is larger than {max_bytes // 1024} KiB")
        return None
    return _compose(text, place)


def from_value(value: object, depth: int = 0) -> yaml.Node:
    """What Ansible read from a variable, as nodes without a line. Raises Mistake for what YAML has no word for."""
    if depth > _MAX_DEPTH:
        raise Mistake(yaml.ScalarNode(_TAG + "str", ""), f"is nested deeper than {_MAX_DEPTH}")
    if isinstance(value, dict):
        return yaml.MappingNode(_TAG + "map", [(from_value(key, depth + 1), from_value(item, depth + 1)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return yaml.SequenceNode(_TAG + "seq", [from_value(item, depth + 1) for item in value])
    # isinstance, not type: Ansible's values are subclasses that carry tags. A bool is an int.
    kinds = (("bool", bool), ("int", int), ("float", float), ("null", type(None)))
    kind = next((name for name, known in kinds if isinstance(value, known)), "str")
    return yaml.ScalarNode(_TAG + kind, str(value).lower() if kind == "bool" else "" if value is None else str(value))


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
            place.problem(key_node, f"unknown key '{key}'", close_names(key, allowed))
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
    try:
        # Composing recurses in C for every level: 100 KiB of "- - - …" end the process, not the call.
        if _depth(content) > _MAX_DEPTH:
            place.problem(None, f"is nested deeper than {_MAX_DEPTH}")
            return None
        root: yaml.Node | None = yaml.compose(content, Loader=_LOADER)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        place.problems.append(Problem(place.file, place.key, line, column, f"is not YAML: {exc.problem or exc.context}"))
        return None
    except yaml.YAMLError as exc:
        place.problem(None, f"is not YAML: {exc}".splitlines()[0])
        return None
    if root is None:
        place.problem(None, "is empty")
        return None
    return root if _is_plain(root, place) else None


def _depth(content: str) -> int:
    """How deep the document is nested; read no further than it has to be."""
    depth = deepest = 0
    for event in yaml.parse(content, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            deepest = max(deepest, depth)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if deepest > _MAX_DEPTH:
            break
    return deepest


def _is_plain(root: yaml.Node, place: Place) -> bool:
    """An alias makes one node appear twice; refused, because a few lines of them stand for gigabytes. So are tags: nothing here makes objects."""
    seen: set[int] = set()
    todo = [root]
    while todo:
        node = todo.pop()
        if id(node) in seen:
            place.problem(node, "YAML anchors and aliases are not allowed here: write the value out")
            return False
        if node.tag not in _TAGS:
            place.problem(node, f"'{node.tag.replace(_TAG, '')}': YAML tags and merge keys are not allowed here: write the value out")
            return False
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            todo += [part for pair in node.value for part in pair]
    return True
