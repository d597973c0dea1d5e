# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Units with their drop-ins, of what a node sends. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._read._drop_ins import drop_ins_of

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.plugin_utils._shapes import DropIn


def from_node(units: t.Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """What _systemd.read_units read → {unit: {property: value}}, with C(drop_ins) (DropIn), the last of which decides.

    Drop-ins whose unit systemd does not show (C(user-.slice)) stand under their directory's name.
    """
    joined: dict[str, dict[str, t.Any]] = {unit: dict(properties) for unit, properties in units.get("shown", {}).items()}
    drop_ins: list[DropIn] = units.get("drop_ins", [])
    used: set[str] = set()
    for unit, properties in joined.items():
        applied = drop_ins_of(unit, drop_ins)
        if applied:
            properties["drop_ins"] = applied
            used.update(drop_in["unit"] for drop_in in applied)
    for name in sorted({drop_in["unit"] for drop_in in drop_ins} - used):
        joined.setdefault(name, {})["drop_ins"] = [drop_in for drop_in in drop_ins if drop_in["unit"] == name]
    return joined
