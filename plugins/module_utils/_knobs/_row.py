# SPDX-License-Identifier: BSD-2-Clause

"""What one row of the registry says about a knob."""

from __future__ import annotations

import typing as t

from .._tuples import NamedTuple
from ._values import fill

Unit = t.Literal["bytes", "bytes or max", "kB", "MB/s", "pages", "percent", "permil", "permyriad", "ratio", "us", "ms", "cs", "s", "jiffies",
                 "timespan", "count", "bool", "choice", "list", "mask", "text"]  # fmt: skip
Scope = t.Literal["host", "numa_node", "memcg", "unit"]
# effective_value: the kernel may show another value than the one written (what ancestors leave of it, as many huge pages as it found).
Comparison = t.Literal["exact", "bracketed_choice", "page_rounded", "page_rounded_up", "effective_value"]
# reclaim: the writer reclaims until the value holds; oom: and then kills; memory: its use jumps; refusal: allocations can fail at once.
SideEffect = t.Literal["none", "reclaim", "compaction", "oom", "memory", "caches", "refusal"]
# reapply: only a direct write to every new cgroup keeps it. boot unit: needs an order that tmpfiles.d lacks.
Persist = t.Literal["sysctl.d", "tmpfiles.d", "unit property", "boot unit", "reapply", "never"]
Access = t.Literal["rw", "wo", "ro"]
Risk = t.Literal["L", "M", "H"]
Vendor = t.Literal["mainline", "anolis", "openeuler", "tencent"]
# (since kernel, lowest, highest): the last one that the running kernel has reached counts.
Range = t.Tuple[str, t.Optional[int], t.Optional[int]]


class Knob(NamedTuple):
    """One value that the kernel or systemd lets us set. A pattern row holds placeholders (C({size}), C({n})); C(at) fills them."""

    name: str
    scope: Scope
    path: str = ""  # of a host knob
    v1: str = ""  # file name in a cgroup of each hierarchy
    v2: str = ""
    unit: Unit = "count"
    ranges: tuple[Range, ...] = ()
    or_zero: bool = False  # besides the range
    choices: tuple[str, ...] = ()  # none given: the node says
    key: str = ""  # the word before the value (memory.oom_control)
    comparison: Comparison = "exact"
    partners: tuple[str, ...] = ()  # a write changes or bounds these
    after: tuple[str, ...] = ()  # globs
    at_most: str = ""  # of this other knob: raise that first, lower this first
    excludes: tuple[str, ...] = ()  # switches that cannot be on beside this one
    side_effect: SideEffect = "none"
    persist: Persist = "never"
    access: Access = "rw"
    one_shot: bool = False  # an action, not a state
    inherited: bool = False  # a cgroup begins with the value that the one above it has then
    risk: Risk = "L"
    vendor: Vendor = "mainline"
    v1_vendor: str = ""  # whose kernels have the file on v1, where mainline does not
    first: str = ""  # mainline kernels, for people: vendors backport, so probe
    last: str = ""
    unit_property: str = ""  # that owns the file
    systemd: int = 0  # the first one that knows the property
    instead: str = ""  # what a profile sets in its place
    run_time: bool = True  # set-property takes it; else the next start does
    unit_types: tuple[str, ...] = ("slice", "service", "scope")  # that have the property
    source: str = ""

    def at(self, places: t.Mapping[str, str]) -> Knob:
        """This row with its placeholders filled: C({"size": "2048"})."""
        return self._replace(
            name=fill(self.name, places),
            path=fill(self.path, places),
            partners=tuple(fill(name, places) for name in self.partners),
            after=tuple(fill(name, places) for name in self.after),
            at_most=fill(self.at_most, places),
        )
