# SPDX-License-Identifier: BSD-2-Clause

"""Which drop-ins apply to a unit (systemd.unit(5)), and those of transient units."""

from __future__ import annotations

import typing as t

from ._systemd import SEARCH_PATH, parse_drop_in

# What systemd-run and container runtimes set, and set-property of such units.
_TRANSIENT = "/run/systemd/transient"
_PLACES = (*SEARCH_PATH[:2], _TRANSIENT, *SEARCH_PATH[2:])

if t.TYPE_CHECKING:
    from ...plugin_utils._shapes import DropIn
    from ._files import Tree


def drop_ins_of(unit: str, drop_ins: t.Sequence[DropIn], aliases: t.Iterable[str] = ()) -> list[DropIn]:
    """Those that apply to one unit: its own, its template's, those of its name cut at each dash, those of its type; and so for its other names.

    The same file name in two of these directories: the one whose path comes first in the search path, then the more special one.
    """
    names = list(dict.fromkeys(name for one in (unit, *aliases) for name in drop_in_names(one)[:-1]))
    names.append(unit.rpartition(".")[2])
    rivals: dict[str, list[tuple[int, int, DropIn]]] = {}
    for drop_in in drop_ins:
        if drop_in["unit"] in names:
            place, _directory, name = drop_in["path"].rsplit("/", 2)
            rivals.setdefault(name, []).append((_PLACES.index(place), names.index(drop_in["unit"]), drop_in))
    return [min(rows, key=lambda row: row[:2])[2] for rows in rivals.values()]


def with_transient(tree: Tree, drop_ins: t.Iterable[DropIn], units: t.Iterable[str]) -> list[DropIn]:
    """With those of transient units: read for these alone, as each container has several."""
    found = list(drop_ins)
    for unit in units:
        place = f"{_TRANSIENT}/{unit}.d"
        paths = [f"{place}/{name}" for name in tree.names_or_empty(place) if name.endswith(".conf")]
        found += [{"path": path, "unit": unit, "lines": parse_drop_in(tree.read_or_empty(path))} for path in paths]
    return in_order(found)


def in_order(drop_ins: t.Iterable[DropIn]) -> list[DropIn]:
    """In which systemd applies them."""
    return sorted(drop_ins, key=lambda drop_in: (drop_in["path"].rpartition("/")[2], drop_in["unit"]))


def drop_in_names(unit: str) -> list[str]:
    """C(app@a-b.service) → itself, app@.service, service; C(a-b.slice) → itself, a-.slice, slice."""
    stem, unused, kind = unit.rpartition(".")
    prefix, at, instance = stem.partition("@")
    names = [unit]
    if instance:
        names.append(f"{prefix}{at}.{kind}")
    cut = prefix.rstrip("-")
    while "-" in cut:
        cut = cut[: cut.rindex("-")]
        names.append(f"{cut}-.{kind}")
        if instance:
            names.append(f"{cut}-{at}.{kind}")
    return [*names, kind]
