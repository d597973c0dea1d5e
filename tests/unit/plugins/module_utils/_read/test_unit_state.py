# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units as C(systemctl show) prints them, for a plan."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._read import _unit_state
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable
from ansible_collections.memqos.fleet.plugins.module_utils._read._unit_state import UnitState


class Asked(Tree):
    """Answers with this text, and keeps what it was asked."""

    def __init__(self, text: str) -> None:
        super().__init__("/nonexistent")
        self.text = text
        self.argv: t.List[str] = []

    def output(self, name: str, argv: t.Sequence[str], *, timeout: float = 30.0) -> str:
        self.argv = list(argv)
        return self.text


# systemd 257, Debian 13.
SHOWN = """\
MemoryHigh=infinity
MemoryLow=67108864
ManagedOOMMemoryPressureLimit=2576980377
MemoryPressureThresholdUSec=200ms
Id=batch.slice
Names=batch.slice
LoadState=loaded
ActiveState=active
ControlGroup=/batch.slice
FragmentPath=

MemoryHigh=18446744073709551615
MemoryLow=[not set]
Id=redis-server.service
Names=redis.service redis-server.service
LoadState=loaded
ActiveState=inactive
ControlGroup=
FragmentPath=/usr/lib/systemd/system/redis-server.service
Slice=cache.slice

Id=app@2.service
Names=app@2.service
LoadState=loaded
ActiveState=active
ControlGroup=/system.slice/system-app.slice/app@2.service
FragmentPath=/usr/lib/systemd/system/app@.service

Id=nosuch.service
Names=nosuch.service
LoadState=not-found
ActiveState=inactive
"""
PROPERTIES = ("MemoryHigh", "MemoryLow", "ManagedOOMMemoryPressureLimit", "MemoryPressureThresholdSec")


def test_units_are_read_in_the_words_of_set_property() -> None:
    tree = Asked(SHOWN)
    found = _unit_state.read_unit_states(tree, ["batch.slice", "redis.service", "app@.service", "nosuch.service", "user-.slice"], PROPERTIES)
    shown = {"MemoryHigh": "infinity", "MemoryLow": "67108864", "ManagedOOMMemoryPressureLimit": "60%", "MemoryPressureThresholdSec": "200ms"}
    assert found["batch.slice"] == [UnitState("batch.slice", True, True, "/batch.slice", "", shown, ("batch.slice",))]
    # By its alias; what is not set is empty.
    fragment = "/usr/lib/systemd/system/redis-server.service"
    names = ("redis.service", "redis-server.service")
    assert found["redis.service"] == [
        UnitState("redis-server.service", True, False, "", fragment, {"MemoryHigh": "infinity", "MemoryLow": ""}, names, "cache.slice")
    ]
    assert [state.name for state in found["app@.service"]] == ["app@2.service"]
    assert [(state.loaded, state.active) for state in found["nosuch.service"]] == [(False, False)]
    assert found["user-.slice"] == []
    assert tree.argv[-5:] == ["batch.slice", "redis.service", "app@*.service", "nosuch.service", "user-*.slice"]
    assert "MemoryPressureThresholdUSec" in tree.argv[3].split(",")


def test_a_unit_that_two_names_stand_for_is_one() -> None:
    block = SHOWN.split("\n\n")[2]
    found = _unit_state.read_unit_states(Asked(f"{block}\n\n{block}\n"), ["app@.service", "app@2.service"], [])
    assert [len(found[subject]) for subject in ("app@.service", "app@2.service")] == [1, 1]


def test_no_systemd_is_told(tmp_path: t.Any) -> None:
    with pytest.raises(Unreadable):
        _unit_state.read_unit_states(Tree(str(tmp_path)), ["batch.slice"], [])


@pytest.mark.parametrize(
    "subject, unit, covered",
    [
        ("batch.slice", "batch.slice", True),
        ("batch.slice", "batch-night.slice", False),
        ("app@.service", "app@2.service", True),
        ("app@.service", "app@.service", False),
        ("app@.service", "app@2.slice", False),
        ("app@.service", "other@2.service", False),
        ("user-.slice", "user-1000.slice", True),
        ("user-.slice", "user.slice", False),
        ("user-.slice", "user-1000-apps.slice", True),
    ],
)
def test_what_a_template_or_prefix_covers(subject: str, unit: str, covered: bool) -> None:
    assert _unit_state.covers(subject, unit) is covered


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("MemoryHigh", "18446744073709551615", "infinity"),
        ("MemoryHigh", "[not set]", ""),
        ("ManagedOOMMemoryPressureLimit", "0", "0%"),
        ("ManagedOOMMemoryPressureLimit", "4294967295", "100%"),
        ("OOMScoreAdjust", "-500", "-500"),
    ],
)
def test_words_of_show(name: str, text: str, value: str) -> None:
    assert _unit_state.show_value(name, text) == value
