# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Presents for the tests of a plan: values in, no file."""

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _present
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._plan_rows import Options
from ansible_collections.memqos.fleet.plugins.module_utils._present import Held, Present, Unit
from ansible_collections.memqos.fleet.plugins.module_utils._read._persisted import Persisted, Sources
from ansible_collections.memqos.fleet.plugins.module_utils._read._unit_state import UnitState
from ansible_collections.memqos.fleet.plugins.module_utils._wanted import Folded, Wanted

PAGE = 4096
OPTIONS = Options("report", False, (), (), "zz-memqos.conf")
PERSISTED = Persisted({}, {}, [], None, "", [], {}, Sources([], [], [], "", [], [], []))


def present(host: t.Optional[t.Mapping[str, str]] = None, *units: Unit, **more: t.Any) -> Present:
    """C(host): kernel texts by knob; C(units): each is its own subject."""
    version = more.pop("version", 2)
    facts = {"page_size": PAGE, "kernel": "6.12.48", "systemd": 257, **more.pop("facts", {})}
    values: t.Dict[str, t.Any] = {
        "facts": {key: value for key, value in facts.items() if value is not None},
        "meminfo": {"MemTotal": 8 << 30},
        "host": {name: held(name, text) for name, text in (host or {}).items()},
        "troubles": {},
        "units": {unit.state.name: [unit] for unit in units},
        "no_units": "",
        "version": version,
        "mount": "/sys/fs/cgroup" if version == 2 else "/sys/fs/cgroup/memory",
        "recursive_protection": True,
        "cgroups": {path: {"path": path, "usage": 0} for path in (unit.state.cgroup for unit in units) if path},
        "drop_ins": [],
        "persisted": PERSISTED,
    }
    return Present(**{**values, **more})


def held(name: str, text: str) -> Held:
    return _present._hold(_registry.find(name), text)  # as a reading has it


def unit(name: str, cgroup: str = "", shown: t.Optional[t.Mapping[str, str]] = None, home: str = "", **files: str) -> Unit:
    """C(files): C(high="max") is memory.high; C(home): its slice."""
    state = UnitState(name, True, bool(cgroup), cgroup, f"/usr/lib/systemd/system/{name}", shown or {}, (name,), home)
    return Unit(state, 7 if cgroup else 0, {f"memory.{key}": held(f"memory.{key}", text) for key, text in files.items()}, {})


def wish(knob: str, value: t.Any, subject: str = "") -> Wanted:
    row = _registry.find(knob)
    return Wanted(knob, row.scope, subject, _registry.normalize(row, value), "one", str(value))


def folded(*wishes: Wanted) -> Folded:
    return Folded({(wish.scope, wish.subject, wish.knob): wish for wish in wishes}, [], {})
