# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pods and containers as a kubelet with the systemd driver makes them, and what it costs to set properties of all: on the bus, and by systemctl for each.

  python3 units_on_the_bus.py PODS CONTAINERS PAIRS

For guests of the lab, as root; the collection's code is beside it. First what systemd itself has to say of the bus is checked: a difference from systemctl
ends it with status 1. Then a line of JSON for each pass: its way, seconds, and CPU-seconds of PID 1 and of all that we ran.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.module_utils._bus import SOCKETS, WINDOW, Bus, BusError, Call
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Writer

MANAGER = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
TOP = "kubepods-burstable.slice"
MIB = 1 << 20
FILES = {"MemoryLow": "memory.low", "MemoryHigh": "memory.high", "MemoryMax": "memory.max"}

Pairs = t.List[t.Tuple[str, str]]


def said(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def same(what: str, found: t.Any, wanted: t.Any) -> None:
    if found != wanted:
        raise SystemExit(f"{what}: {found!r}, and should be {wanted!r}")


def slow() -> Writer:
    """A writer that does not know the bus."""
    writer = Writer("/")
    writer._bus = Bus(None)
    return writer


def answered(bus: Bus, calls: t.Sequence[Call]) -> None:
    if not bus.reach():
        raise SystemExit("systemd's socket cannot be reached")
    for answer in bus.calls(calls):
        if isinstance(answer, BusError):
            raise answer


def make(pods: int, containers: int) -> list[str]:
    """Slices of pods with a scope for each container, a sleeping process in each; their names, pods first."""
    slices = [f"kubepods-burstable-pod{number:08x}_0000.slice" for number in range(pods)]
    homes = {f"cri-containerd-{number:04x}{child:060x}.scope": slices[number] for number in range(pods) for child in range(containers)}
    start = [started(name) for name in slices]
    for name, pod in homes.items():
        child = subprocess.Popen(["/bin/sleep", "infinity"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        start.append(started(name, ("Slice", ("s", pod)), ("PIDs", ("au", [child.pid]))))
    bus = Bus()
    answered(bus, start)
    bus.close()
    deadline = time.monotonic() + 600
    names = [*slices, *homes]
    while not all(os.path.exists(f"{home(name, homes)}/memory.max") for name in names):
        if time.monotonic() > deadline:
            raise SystemExit("the units did not start within 600 s")
        time.sleep(1)
    return names


def started(unit: str, *properties: t.Any) -> Call:
    body: tuple[t.Any, ...] = (unit, "replace", [*properties, ("MemoryAccounting", ("b", True))], [])
    return Call(*MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", body)


def home(unit: str, homes: t.Mapping[str, str]) -> str:
    pod = homes.get(unit, unit)
    return f"/sys/fs/cgroup/kubepods.slice/{TOP}/{pod}" + (f"/{unit}" if unit in homes else "")


def wanted(number: int) -> Pairs:
    """Other ones for each pass."""
    return [("MemoryLow", str((number % 7 + 1) * MIB)), ("MemoryHigh", str((number % 7 + 200) * MIB)), ("MemoryMax", str((number % 7 + 300) * MIB))]


def drop_ins(unit: str) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(f"/run/systemd/system.control/{unit}.d").glob("*.conf"))}


def check(units: t.Sequence[str], paths: t.Mapping[str, str]) -> None:
    """What only the real one can say."""
    fast, plain = Writer("/"), slow()
    one, other = units[-1], units[-2]
    pairs = [*wanted(3), ("MemorySwapMax", "infinity"), ("ManagedOOMPreference", "avoid"), ("MemoryMin", "")]
    fast.set_properties(one, pairs)
    plain.set_properties(other, pairs)
    same("drop-ins of the bus and of systemctl", drop_ins(one), drop_ins(other))
    for name, file in FILES.items():
        same(f"{one} {file}", Path(f"{paths[one]}/{file}").read_text(encoding="utf-8").strip(), dict(pairs)[name])
    names = [knob.name for knob in _registry.unit_knobs() if not knob.name.endswith("Sec") and knob.name != "OOMScoreAdjust"]
    for unit in (one, units[0], "systemd-journald.service"):
        same(f"properties of {unit}", fast.properties(unit, [*names, "ActiveState"]), plain.properties(unit, [*names, "ActiveState"]))
    if fast._bus is None or not fast._bus.reach():
        raise SystemExit("the writer did not use the bus")
    for unit, properties, name in (
        ("gone.scope", [("MemoryHigh", ("t", 1 << 30))], "org.freedesktop.systemd1.NoSuchUnit"),
        (one, [("MemoryNonsense", ("t", 1))], "org.freedesktop.DBus.Error.PropertyReadOnly"),
    ):
        (answer,) = fast._bus.calls([Call(*MANAGER, "SetUnitProperties", "sba(sv)", (unit, True, properties))])
        same(f"the error of {unit}", answer.name if isinstance(answer, BusError) else answer, name)
    # The connection ends with it.
    subprocess.run(["systemctl", "daemon-reexec"], check=True)
    fast.set_properties(one, wanted(4))
    same("after a daemon-reexec", Path(f"{paths[one]}/memory.max").read_text(encoding="utf-8").strip(), dict(wanted(4))["MemoryMax"])
    fast.close()
    if os.path.exists(SOCKETS[1]):
        daemon = Bus()
        daemon._paths = [SOCKETS[1]]
        same("on the system bus", daemon.set(one, wanted(5)), True)
        same("there", daemon.get(one, ["MemoryMax"]), dict(wanted(5)[2:]))
        daemon.close()
    said("systemd says the same on the bus as by systemctl")


def ticks(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def each(writer: Writer, units: t.Sequence[str], pairs: Pairs) -> None:
    for unit in units:
        writer.set_properties(unit, pairs)
    writer.close()


def in_flight(units: t.Sequence[str], pairs: Pairs) -> None:
    """For comparison: a transaction asks for one after the other, as it reads back each."""
    bus = Bus()
    values = [(name, ("t", int(text))) for name, text in pairs]
    answered(bus, [Call(*MANAGER, "SetUnitProperties", "sba(sv)", (unit, True, values)) for unit in units])
    bus.close()


def measured(way: str, units: t.Sequence[str], paths: t.Mapping[str, str], number: int) -> None:
    pairs = wanted(number)
    manager, own, begin = ticks(1), os.times(), time.monotonic()
    if way == "in flight":
        in_flight(units, pairs)
    else:
        each(Writer("/") if way == "bus" else slow(), units, pairs)
    seconds, after = time.monotonic() - begin, os.times()
    cpu = sum(after[:4]) - sum(own[:4])
    spent = {"way": way, "units": len(units), "seconds": seconds, "cpu": cpu, "manager": ticks(1) - manager}
    for unit in units:
        for name, file in FILES.items():
            same(f"{way}: {unit} {file}", Path(f"{paths[unit]}/{file}").read_text(encoding="utf-8").strip(), dict(pairs)[name])
    print(json.dumps(spent), flush=True)


def main() -> None:
    pods, containers, pairs = map(int, sys.argv[1:])
    units = make(pods, containers)
    slices = [unit for unit in units if unit.endswith(".slice")]
    homes = {unit: slices[at // containers] for at, unit in enumerate(units[pods:])}
    paths = {unit: home(unit, homes) for unit in units}
    said(f"{len(units)} units; at most {WINDOW} calls in flight")
    check(units, paths)
    number = 10
    for pair in range(pairs):
        for way in ("bus", "systemctl", "in flight") if pair % 2 == 0 else ("systemctl", "in flight", "bus"):
            number += 1
            measured(way, units, paths, number)


if __name__ == "__main__":
    main()
