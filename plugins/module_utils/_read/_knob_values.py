# SPDX-License-Identifier: BSD-2-Clause

"""The present values of the host knobs."""

from __future__ import annotations

import typing as t

from .._knobs import _values
from . import _files

# The rows come with the task: no other file is read, whoever wrote them.
_ROOTS = ("/proc/sys/", "/sys/")


def read_knob_values(tree: _files.Tree, rows: t.Iterable[_values.Readable]) -> tuple[dict[str, _values.Value], dict[str, str]]:
    """({name: value}, {name: reason}); a knob whose file is not there is in neither: most rows are of another kernel."""
    values: dict[str, _values.Value] = {}
    reasons: dict[str, str] = {}
    listings: dict[str, list[str]] = {}
    for row in rows:
        for knob in instances(row, tree, listings):
            try:
                values[knob.name] = read_knob(knob, tree)
            except _files.Unreadable as exc:
                if exc.kind != "absent":
                    reasons[knob.name] = exc.reason
    return values, reasons


def read_knob(knob: _values.Readable, tree: _files.Tree) -> _values.Value:
    """The value of a filled row, in normal form. Raises Unreadable."""
    if not knob.path.startswith(_ROOTS) or ".." in knob.path:
        raise _files.Unreadable(knob.path, "denied", "is not a file of a knob")
    data = tree.read(knob.path)
    if not data.endswith(b"\n"):
        raise _files.Unreadable(knob.path, "malformed", "empty or cut short")
    try:
        return _values.parse(knob, _files.display(data))
    except _values.KnobValueError as exc:
        raise _files.Unreadable(knob.path, "malformed", str(exc)[:200]) from exc


def instances(row: _values.Readable, tree: _files.Tree, listings: dict[str, list[str]] | None = None) -> list[_values.Readable]:
    """The filled rows of a pattern on this node. C(listings) keeps directories that were listed."""
    known = {} if listings is None else listings
    found: list[tuple[str, dict[str, str]]] = [("", {})]
    for part in row.path.split("/")[1:]:
        if "{" not in part:
            found = [(f"{path}/{part}", places) for path, places in found]
            continue
        found = [
            (f"{path}/{name}", {**places, **more})
            for path, places in found
            for name in _names(path, tree, known)
            for more in [_values.placeholders(part, name)]
            if more is not None
        ]
    return [row.at(places) for path, places in found] if "{" in row.path else [row]


def _names(path: str, tree: _files.Tree, known: dict[str, list[str]]) -> list[str]:
    if path not in known:
        known[path] = tree.names_or_empty(path)
    return known[path]
