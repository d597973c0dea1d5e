# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All machines that there are: the lab's own, and those of the operator's file that C(MEMQOS_LAB_MACHINES) names.

The file is a list of rows, in JSON or YAML, with the fields of the lab's own rows. C(disk) is C({path, kernel, initrd}), the last two optional, relative to
the file. A row with C(address) is a real machine.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import os
import typing as t
from pathlib import Path

from .machines import MACHINES, Disk, LabError, Machine, RealMachine

Row = Machine | RealMachine
VARIABLE = "MEMQOS_LAB_MACHINES"
# How a row's field types are spelled in JSON.
_TYPES: dict[str, type] = {"str": str, "int": int, "str | None": str, "tuple[str, ...]": list, "Disk | None": dict, "Path": str, "Path | None": str}


def all_machines(environ: collections.abc.Mapping[str, str]) -> list[Row]:
    """The lab's machines, then the operator's. Raises LabError."""
    given = environ.get(VARIABLE)
    rows: list[Row] = [*MACHINES, *(_read(Path(given).expanduser()) if given else ())]
    names = [row.name for row in rows]
    if twice := {name for name in names if names.count(name) > 1}:
        raise LabError(f"{given}: there is a machine of that name already: {', '.join(sorted(twice))}")
    return rows


def machine_named(name: str) -> Row:
    """The row of C(name). Raises LabError naming the machines that exist."""
    rows = all_machines(os.environ)
    for row in rows:
        if row.name == name:
            return row
    raise LabError(f"no machine named {name!r}; the lab has: {', '.join(row.name for row in rows)}")


def _read(path: Path) -> list[Row]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise LabError(f"{VARIABLE}: {path}: {exc.strerror}") from exc
    rows = _parse(text, path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows):
        raise LabError(f"{path} is no list of machines, each with a name")
    return [_row(row, path) for row in rows]


def _parse(text: str, path: Path) -> t.Any:
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as exc:
            raise LabError(f"{path}: {exc}") from exc
    try:
        import yaml
    except ImportError:
        raise LabError(f"{path}: this Python reads no YAML; install python3-yaml, or write the file as .json") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise LabError(f"{path}: {exc}") from exc


def _row(fields: dict[str, t.Any], path: Path) -> Row:
    where = f"{path}: machine {fields['name']}"
    if sum(bool(fields.get(origin)) for origin in ("suite", "disk", "address")) != 1:
        raise LabError(f"{where} needs one of suite, disk, address")
    if "address" in fields:
        return RealMachine(**_checked(RealMachine, fields, where))
    own = _checked(Machine, fields, where)
    if "disk" in own:
        own["disk"] = _disk(own["disk"], where, path.absolute().parent)
    return Machine(**own)


def _disk(fields: dict[str, t.Any], where: str, base: Path) -> Disk:
    files = {name: base / Path(text).expanduser() for name, text in _checked(Disk, fields, where).items()}
    if "path" not in files:
        raise LabError(f"{where}: its disk needs a path")
    if missing := [str(file) for file in files.values() if not file.is_file()]:
        raise LabError(f"{where}: no file {', '.join(missing)}")
    return Disk(**files)


def _checked(kind: type[Machine | RealMachine | Disk], fields: dict[str, t.Any], where: str) -> dict[str, t.Any]:
    """Fields that C(kind) has, of the type it wants; lists as tuples. Raises LabError."""
    types = {field.name: _TYPES[str(field.type)] for field in dataclasses.fields(kind)}
    for name, value in fields.items():
        if name not in types:
            raise LabError(f"{where}: no field {name!r}; there are: {', '.join(types)}")
        # In Python a bool is an int.
        if isinstance(value, bool) or not isinstance(value, types[name]):
            raise LabError(f"{where}: {name} is to be of type {types[name].__name__}, not {value!r}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
