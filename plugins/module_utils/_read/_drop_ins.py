# Copyright (c) 2026, memqos.fleet contributors. Private to the collection.
# SPDX-License-Identifier: BSD-2-Clause

"""Which drop-ins apply to a unit (systemd.unit(5)). Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._read._systemd import SEARCH_PATH

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.plugin_utils._shapes import DropIn


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
            rivals.setdefault(name, []).append((SEARCH_PATH.index(place), names.index(drop_in["unit"]), drop_in))
    return [min(rows, key=lambda row: row[:2])[2] for rows in rivals.values()]


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
