# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a seed draws: plan, fault, load. Pure: the same seed, machine and version draw the same run."""

from __future__ import annotations

import random
import typing as t

from . import table

Json = dict[str, t.Any]


def run(seed: int, machine: str, *, reset: bool = False) -> Json:
    """C(host) and C(slices) are a profile's; C(earlier) are those of a generation before, null without; C(reset): the fault is the machine's end."""
    dice = random.Random(f"{machine} {seed}")
    load = _load(dice) if dice.random() < table.LOAD_SHARE and not reset else None
    earlier = (
        {"host": _host(dice, 1, 5), "slices": _slices(dice, machine, 1, 2) if dice.random() < table.UNITS_SHARE else {}}
        if dice.random() < table.EARLIER_SHARE
        else None
    )
    # Without units no daemon-reload, which is most of what a run takes where all is emulated.
    plan = {"host": _host(dice, 1, 8), "slices": _slices(dice, machine, 1, 3) if dice.random() < table.UNITS_SHARE else {}}
    action = "rollback" if earlier and dice.random() < table.ROLLBACK_SHARE else "tune"
    if load:
        _bound(dice, load, plan, machine)
    fault = {"kind": "reset", "at": _at(dice, plan)} if reset else _fault(dice, plan)
    again = {"kind": "kill", "at": dice.randint(1, 40)} if dice.random() < table.AGAIN_SHARE and fault["kind"] in ("kill", "signal", "dead") else None
    found = {"seed": seed, "machine": machine, "earlier": earlier, "plan": plan, "action": action, "fault": fault, "again": again, "load": load}
    if not load and dice.random() < table.SWAP_SHARE:
        _swap(dice, found)
    found["confirm"] = _confirm(dice, fault) if action == "tune" and dice.random() < table.CONFIRM_SHARE else ""
    return found


def _swap(dice: random.Random, found: Json) -> None:
    """To make a file and turn it on takes more operations than a value."""
    found["plan"]["swap"] = {"size": dice.choice(table.SWAP_SIZES), "priority": dice.choice(table.SWAP_PRIORITIES)}
    if found["earlier"] and dice.random() < 0.5:
        found["earlier"]["swap"] = {"size": dice.choice(table.SWAP_SIZES), "priority": dice.choice(table.SWAP_PRIORITIES)}
    found["fault"]["at"] += dice.randint(0, 25)


def _confirm(dice: random.Random, fault: Json) -> str:
    """Whether somebody confirms before its time is over; to be armed takes operations of its own. Beside another run nothing can be armed."""
    if fault["kind"] == "second":
        return ""
    fault["at"] += dice.randint(0, 15)
    # After a reset the boot has decided.
    return "over" if fault["kind"] == "reset" else dice.choice(("confirmed", "over"))


def _host(dice: random.Random, least: int, most: int) -> Json:
    rows = dice.sample(table.HOST, dice.randint(least, most))
    names = [dice.choice(list(row)) for row in rows]
    return {name: dice.choice(values) for name, values in ((name, next(row[name] for row in rows if name in row)) for name in names)}


def _slices(dice: random.Random, machine: str, least: int, most: int) -> Json:
    found: Json = {}
    for unit in dice.sample(table.UNITS, dice.randint(least, most)):
        # On v1 systemd has a limit only, but for what the kernel of a vendor adds.
        names = ["MemoryMax"] if machine in table.V1 and dice.random() < 0.8 else dice.sample(list(table.PROPERTIES), dice.randint(1, 3))
        found[unit] = {name: dice.choice(table.PROPERTIES[name]) for name in names}
    return found


def _load(dice: random.Random) -> Json:
    """C(mib): what it comes to."""
    return {"kind": dice.choice(table.LOADS), "mib": dice.randint(60, 160), "swap": dice.random() < 0.5}


def _bound(dice: random.Random, load: Json, plan: Json, machine: str) -> None:
    """Mostly below what the load uses; else so far above that it never comes there."""
    below = load["below"] = dice.random() < 0.75
    name = "MemoryMax" if machine in table.V1 else dice.choice(("MemoryMax", "MemoryHigh"))
    mib = load["mib"] * dice.randint(30, 70) // 100 if below else load["mib"] + dice.randint(300, 400)
    plan["slices"][table.LOADED] = {name: mib * table.MIB}


def _fault(dice: random.Random, plan: Json) -> Json:
    kind = dice.choices(list(table.FAULTS), list(table.FAULTS.values()))[0]
    fault: Json = {"kind": kind, "at": _at(dice, plan)}
    if kind in ("errno", "dead"):
        fault["errno"] = dice.choice(table.ERRNOS)
    elif kind == "signal":
        fault["signal"] = dice.choice(table.SIGNALS)
    elif kind == "full":
        fault["free"] = dice.randint(0, 12)  # pages
    elif kind == "sysctl":
        ours = [name for name in plan["host"] if name in table.BY_HAND]
        fault["knob"] = dice.choice(ours if ours and dice.random() < 0.8 else list(table.BY_HAND))
        fault["value"] = table.BY_HAND[fault["knob"]]
    elif kind == "cgroup":
        fault["unit"], fault["value"] = dice.choice(table.UNITS[:4]), 555 * table.MIB
    return fault


def _at(dice: random.Random, plan: Json) -> int:
    """An operation of the writer: about four for each value, some for files, journal and commit. What lies behind the last one never comes."""
    values = len(plan["host"]) + sum(map(len, plan["slices"].values()))
    return dice.randint(1, 30 + 5 * values)
