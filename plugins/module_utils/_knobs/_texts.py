# SPDX-License-Identifier: BSD-2-Clause

"""Values in normal form → the words that the kernel and systemd take; the area that a knob belongs to."""

from __future__ import annotations

import fnmatch
import typing as t

from ._row import Knob
from ._values import Value

AREAS = ("watermarks", "swap", "thp", "writeback", "memcg_qos", "slices", "host")
_HOST_AREAS = (
    ("watermarks", ("vm.min_free_kbytes", "vm.watermark_*", "vm.lowmem_reserve_ratio", "vm.percpu_pagelist_*")),
    ("swap", ("vm.swappiness", "vm.page-cluster", "zswap/*", "zram*")),
    ("thp", ("transparent_hugepage/*",)),
    ("writeback", ("vm.dirty*",)),
)


def area(knob: Knob) -> str:
    """What C(memqos_only) calls it; C(host) is what no other area has."""
    if knob.scope == "unit":
        return "slices"
    if knob.scope == "memcg" or knob.vendor != "mainline":
        return "memcg_qos"
    return next((name for name, globs in _HOST_AREAS if any(fnmatch.fnmatchcase(knob.name, glob) for glob in globs)), "host")


def kernel_text(value: Value, *, version: int = 2) -> str:
    """What is written into a kernel file. C(version): of the cgroup hierarchy; v1 takes no C(max)."""
    if value is None:
        return "max" if version == 2 else "-1"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def property_text(knob: Knob, value: Value) -> str:
    """What set-property and a drop-in take."""
    if value is None:
        return "infinity"
    if knob.unit == "bool":
        return "yes" if value else "no"
    return f"{value}%" if knob.unit == "percent" else str(value)


def show(knob: Knob, value: t.Any) -> str:
    """A value for people."""
    if knob.scope == "unit":
        return property_text(knob, value)
    return kernel_text(value)
