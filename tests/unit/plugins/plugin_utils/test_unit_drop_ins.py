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
    sent: dict[str, t.Any] = {"shown": {"redis-server.service": {"MemoryMin": "335544320"}}, "drop_ins": [own, other]}
    assert _unit_drop_ins.from_node(sent) == {
        "redis-server.service": {"MemoryMin": 335544320, "drop_ins": [own]},
        "user-.slice": {"drop_ins": [other]},
    }
    assert "drop_ins" not in sent["shown"]["redis-server.service"] and _unit_drop_ins.from_node({}) == {}


def test_an_empty_drop_in_hides_one_and_says_nothing() -> None:
    general = {"path": "/etc/systemd/system/app@.service.d/site.conf", "unit": "app@.service", "lines": {"MemoryMax": "1G"}}
    empty = {"path": "/etc/systemd/system/app@1.service.d/site.conf", "unit": "app@1.service", "lines": {}}
    shown = {"app@1.service": {"MemoryMin": "4096"}, "app@2.service": {"MemoryMax": "1073741824"}}
    assert _unit_drop_ins.from_node({"shown": shown, "drop_ins": [general, empty]}) == {
        "app@1.service": {"MemoryMin": 4096}, "app@2.service": {"MemoryMax": 1 << 30, "drop_ins": [general]},
    }  # fmt: skip


SHOWN: dict[str, tuple[str, t.Any]] = {
    "MemorySwapMax": ("0", 0),
    "OOMScoreAdjust": ("-900", -900),
    "ManagedOOMMemoryPressure": ("kill", "kill"),
    "ManagedOOMMemoryPressureLimit": ("2147483648", 50.0),
    "DropInPaths": (
        "/run/systemd/transient/x.service.d/50-MemoryMax.conf /etc/systemd/system/a.service.d/memory.conf", ["/etc/systemd/system/a.service.d/memory.conf"],
    ),
    "NeedDaemonReload": ("yes", True),
    "Slice": ("system.slice", "system.slice"),
}  # fmt: skip


def test_properties_have_types() -> None:
    sent = {"shown": {"a.service": {name: text for name, (text, _value) in SHOWN.items()}}}
    assert _unit_drop_ins.from_node(sent) == {"a.service": {name: value for name, (_text, value) in SHOWN.items()}}


def test_what_says_nothing_is_left_out() -> None:
    shown = {"DropInPaths": "/run/systemd/transient/x.service.d/50-MemoryMax.conf", "ManagedOOMMemoryPressureLimit": "much", "MemoryMax": "9" * 30}
    assert _unit_drop_ins.from_node({"shown": {"a.service": shown}}) == {"a.service": {"MemoryMax": "9" * 30}}
