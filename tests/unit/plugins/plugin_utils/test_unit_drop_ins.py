# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units with their drop-ins, as a node sends them."""

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.plugin_utils import _unit_drop_ins


def test_units_and_drop_ins_are_joined() -> None:
    own = {"path": "/etc/systemd/system/redis-server.service.d/memory.conf", "unit": "redis-server.service", "lines": {"MemoryMin": "320M"}}
    other = {"path": "/etc/systemd/system/user-.slice.d/limit.conf", "unit": "user-.slice", "lines": {"MemoryHigh": "4G"}}
    sent: dict[str, t.Any] = {"shown": {"redis-server.service": {"MemoryMin": 335544320}}, "drop_ins": [own, other]}
    assert _unit_drop_ins.from_node(sent) == {
        "redis-server.service": {"MemoryMin": 335544320, "drop_ins": [own]},
        "user-.slice": {"drop_ins": [other]},
    }
    assert "drop_ins" not in sent["shown"]["redis-server.service"] and _unit_drop_ins.from_node({}) == {}
