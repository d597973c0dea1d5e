# SPDX-License-Identifier: BSD-2-Clause

"""Unit properties of systemd, 239 to 258, and the kernel files they become."""

from __future__ import annotations

import typing as t

from ._row import Knob, Range, Unit

_BOOL: Range = ("", 0, 1)
_ANY: Range = ("", 0, None)
_AUTO_KILL = ("auto", "kill")
# Of processes: systemd hands them over when it starts one.
_AT_START: dict[str, t.Any] = {"run_time": False, "unit_types": ("service",)}


def _unit(name: str, systemd: int, unit: Unit, *ranges: Range, **more: t.Any) -> Knob:
    more.setdefault("source", "systemd.resource-control(5)")
    return Knob(name, "unit", unit=unit, ranges=ranges, persist="unit property", systemd=systemd, **more)


def _size(name: str, systemd: int, **more: t.Any) -> Knob:
    return _unit(name, systemd, "bytes or max", _ANY, comparison="page_rounded", **more)


ROWS = (
    _unit("MemoryAccounting", 208, "bool", _BOOL),
    _size("MemoryMin", 240, v2="memory.min", risk="H"),
    _size("MemoryLow", 231, v2="memory.low", risk="M"),
    _size("MemoryHigh", 231, v2="memory.high", side_effect="reclaim", risk="H"),
    _size("MemoryMax", 231, v2="memory.max", v1="memory.limit_in_bytes", side_effect="oom", risk="H"),
    _size("MemorySwapMax", 232, v2="memory.swap.max", risk="M"),
    _size("MemoryZSwapMax", 253, v2="memory.zswap.max"),
    _unit("MemoryZSwapWriteback", 256, "bool", _BOOL, v2="memory.zswap.writeback"),
    # Inherited by children without a value of their own.
    _size("DefaultMemoryMin", 242, v2="memory.min", risk="H"),
    _size("DefaultMemoryLow", 242, v2="memory.low", risk="M"),
    _size("DefaultStartupMemoryLow", 254, v2="memory.low", risk="M"),
    # During boot and shutdown only.
    _size("StartupMemoryLow", 254, v2="memory.low", risk="M"),
    _size("StartupMemoryHigh", 254, v2="memory.high", side_effect="reclaim", risk="H"),
    _size("StartupMemoryMax", 254, v2="memory.max", side_effect="oom", risk="H"),
    _size("StartupMemorySwapMax", 254, v2="memory.swap.max", risk="M"),
    _size("StartupMemoryZSwapMax", 254, v2="memory.zswap.max"),
    # Deprecated by 252. Up to 255 systemd makes memory.max of it on v2 too, unless something else is set there.
    _size("MemoryLimit", 208, v1="memory.limit_in_bytes", side_effect="oom", risk="H", instead="MemoryMax"),
    _size("EffectiveMemoryMax", 256, access="ro"),
    _size("EffectiveMemoryHigh", 256, access="ro"),
    _unit("ManagedOOMSwap", 247, "choice", choices=_AUTO_KILL, risk="H"),
    _unit("ManagedOOMMemoryPressure", 247, "choice", choices=_AUTO_KILL, risk="H"),
    _unit("ManagedOOMMemoryPressureLimit", 248, "percent", ("", 0, 100), risk="M"),  # 0: oomd.conf decides
    _unit("ManagedOOMMemoryPressureDurationSec", 257, "timespan", risk="M"),
    _unit("ManagedOOMPreference", 248, "choice", choices=("none", "avoid", "omit"), risk="M"),
    # No set-property takes these two (measured on 257).
    _unit("MemoryPressureWatch", 254, "choice", choices=("auto", "on", "off", "skip"), run_time=False),
    _unit("MemoryPressureThresholdSec", 254, "timespan", run_time=False),
    _unit("MemoryKSM", 254, "bool", _BOOL, risk="M", source="systemd.exec(5)", **_AT_START),
    # The value of processes that start from now on; those that run keep theirs.
    _unit("OOMScoreAdjust", 208, "count", ("", -1000, 1000), risk="M", source="systemd.exec(5)", **_AT_START),
    _unit("OOMPolicy", 243, "choice", choices=("continue", "stop", "kill"), v2="memory.oom.group", risk="M", source="systemd.service(5)", **_AT_START),
)
