# SPDX-License-Identifier: BSD-2-Clause

"""What decides at the next boot, for the controller (plugin_utils/_gathered.py): files cut down to the lines that it wants; and what we last did here."""

from __future__ import annotations

import fnmatch
import json
import re
import typing as t
from contextlib import suppress

from ._files import Tree, Unreadable, display

_WILD = re.compile(r"[*?\[]")
_GENERATIONS = "/var/lib/memqos/generations"
_MAX_FILE = 1 << 20


def gather(tree: Tree, wanted: t.Iterable[t.Sequence[t.Any]]) -> dict[str, dict[str, str]]:
    """C(wanted): _gathered.WANTED."""
    found: dict[str, dict[str, str]] = {"sources": {}, "links": {}, "troubles": {}}
    for glob, lines, end, empty, *beside in wanted:
        for path in _paths(tree, glob):
            _take(tree, path, lines, end, empty, found)
            for name, more in beside if path in found["sources"] else ():
                _take(tree, path.rpartition("/")[0] + name, more, "\0-", False, found)
    return found


def read_applied(tree: Tree) -> dict[str, t.Any] | None:
    """C({generation, profiles}) of the last tune. Raises Unreadable."""
    try:
        numbers = [int(name[:-5]) for name in tree.names(_GENERATIONS) if re.fullmatch(r"[0-9]{1,9}\.json", name)]
        if not numbers:
            return None
        last = json.loads(tree.read(f"{_GENERATIONS}/{max(numbers)}.json"))
        return {"generation": max(numbers), "profiles": last["meta"]["profiles"]}
    except Unreadable as exc:
        if exc.kind != "absent":
            raise
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise Unreadable(_GENERATIONS, "malformed", "the last one cannot be read") from exc
    return None


def _paths(tree: Tree, glob: str) -> list[str]:
    first = f"/{glob.split('/')[1]}"
    if tree.target(first) != first:
        return []  # /lib of a merged /usr
    paths = [""]
    for part in glob.split("/")[1:]:
        if _WILD.search(part):
            paths = [f"{path}/{name}" for path in paths for name in tree.names_or_empty(path) if fnmatch.fnmatchcase(name, part)]
        else:
            paths = [f"{path}/{part}" for path in paths]
    return paths


def _flat(text: str) -> str:
    """JSON with a key a line."""
    with suppress(ValueError, RecursionError):
        if text[:1] == "{":
            return "\n".join([f"{key}: {json.dumps(value)}" for key, value in json.loads(text).items()])
    return text


def _take(tree: Tree, path: str, lines: str | None, end: str, empty: bool, found: dict[str, dict[str, str]]) -> None:
    real = tree.target(path)
    text = ""
    try:
        if lines is None:
            if real == path and not tree.exists(path):
                return
        elif real != "/dev/null":
            matches = map(re.compile(lines).search, _flat(display(tree.read(real, limit=_MAX_FILE))).split(end))
            text = end.join([match[match.lastindex or 0] if match else "" for match in matches]).rstrip(end)
    except Unreadable as exc:
        if exc.kind == "absent":
            return
        found["troubles"][real] = exc.reason
    if text or empty:
        if real != path:
            found["links"][path] = real
        if real not in found["troubles"]:
            found["sources"][real] = text
