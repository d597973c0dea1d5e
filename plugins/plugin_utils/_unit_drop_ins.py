# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Units with their drop-ins, of what a node sends. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._read._drop_ins import drop_ins_of

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.plugin_utils._shapes import DropIn


# What systemd made itself, one file a property, for each container.
_TRANSIENT = "/run/systemd/transient/"
_FULL_SCALE = (1 << 32) - 1


def from_node(units: t.Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """What _systemd.read_units read → {unit: {property: value}}, with C(drop_ins) (DropIn), the last of which decides.

    Numbers as int, ManagedOOMMemoryPressureLimit in %, DropInPaths as list, NeedDaemonReload as bool.
    Drop-ins whose unit systemd does not show (C(user-.slice)) stand under their directory's name.
    """
    joined: dict[str, dict[str, t.Any]] = {unit: _typed(shown) for unit, shown in units.get("shown", {}).items()}
    drop_ins: list[DropIn] = units.get("drop_ins", [])
    used: set[str] = set()
    for unit, properties in joined.items():
        # An empty one only hides those of its name.
        applied = [drop_in for drop_in in drop_ins_of(unit, drop_ins) if drop_in["lines"]]
        if applied:
            properties["drop_ins"] = applied
            used.update(drop_in["unit"] for drop_in in applied)
    speaking = [drop_in for drop_in in drop_ins if drop_in["lines"]]
    for name in sorted({drop_in["unit"] for drop_in in speaking} - used):
        joined.setdefault(name, {})["drop_ins"] = [drop_in for drop_in in speaking if drop_in["unit"] == name]
    return joined


def _typed(shown: t.Mapping[str, str]) -> dict[str, t.Any]:
    values = {name: _value(name, str(text)) for name, text in shown.items()}
    return {name: value for name, value in values.items() if value not in ([], None)}


def _value(name: str, text: str) -> t.Any:
    if name == "DropInPaths":
        return [path for path in text.split() if not path.startswith(_TRANSIENT)]
    if name == "NeedDaemonReload":
        return text == "yes"
    number = int(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else None
    if name == "ManagedOOMMemoryPressureLimit":
        return None if number is None else round(number * 100 / _FULL_SCALE, 2)
    return text if number is None else number
