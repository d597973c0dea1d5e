# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node's memory cgroups and the switches of its kernel, without a file system. C(tables) says which files there are."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import typing as t

from .parsing import refused

if t.TYPE_CHECKING:
    from .tables import File, Flavour, Switch

Value = t.Any
# 9223372036854771712: LONG_MAX rounded down to a page.
LONG_MAX = 2**63 - 1
LATENCIES = ("0-1", "1-5", "5-10", "10-100", "100-500", "500-1000", ">=1000")
IDLE_KINDS = tuple("".join(letters[::-1]) for letters in itertools.product("ia", "eu", "sf", "cd"))
EVENTS = ("low", "high", "max", "oom", "oom_kill")
# At least SWAP_CLUSTER_MAX pages at a time.
_BATCH_PAGES = 32
_FIGURES = ("usage", "peak", "stat", "events", "exstat", "latency", "idle", "procs", "reclaiming")
# Milliseconds that a task sleeps before it goes on.
_SHORTEST_SLEEP, _LONGEST_SLEEP = 1, 1000


class Watermarks(t.NamedTuple):
    """Of the host, and what is free, in pages."""

    min: int = 0
    low: int = 0
    free: int = 0

    def effective_min(self, adj: int) -> int:
        """Where a task of a cgroup with this memory.wmark_min_adj is held up: below min it reclaims later, above it sleeps."""
        return self.min * (100 + adj) // 100 if adj < 0 else self.min + (self.low - self.min) * adj // 100

    def sleep(self, adj: int) -> int:
        """Milliseconds, on its return to user space; 0: it goes on. The further below, the longer."""
        effective = self.effective_min(adj)
        if self.free >= effective or effective <= self.min:
            return 0
        return min(_LONGEST_SLEEP, max(_SHORTEST_SLEEP, 100 * (effective - self.free) // (effective - self.min)))


@dataclasses.dataclass
class Group:
    """One cgroup. What the kernel measures is set by C(Kernel.figure); C(values) is what was written, or inherited."""

    name: str
    parent: Group | None
    inode: int
    values: dict[str, Value] = dataclasses.field(default_factory=dict)
    children: dict[str, Group] = dataclasses.field(default_factory=dict)
    usage: int = 0
    peak: int = 0
    procs: list[int] = dataclasses.field(default_factory=list)
    stat: dict[str, int] = dataclasses.field(default_factory=dict)
    events: dict[str, int] = dataclasses.field(default_factory=dict)
    exstat: dict[str, int] = dataclasses.field(default_factory=dict)
    latency: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    idle: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    # Tasks in direct reclaim.
    reclaiming: int = 0
    scans: int = 0
    failcnt: int = 0

    @property
    def path(self) -> str:
        return "" if self.parent is None else f"{self.parent.path}/{self.name}"

    def to_root(self) -> t.Iterator[Group]:
        """This one and all above, without the root."""
        group = self
        while group.parent is not None:
            yield group
            group = group.parent

    def below(self) -> t.Iterator[Group]:
        """All of its subtree, without itself."""
        for child in self.children.values():
            yield child
            yield from child.below()

    def get(self, name: str) -> Value:
        return self.values.get(name)

    @property
    def limit(self) -> int | None:
        return t.cast("int | None", self.values.get("memory.limit_in_bytes", self.values.get("memory.max")))

    @property
    def high(self) -> int | None:
        return t.cast("int | None", self.values.get("memory.high"))

    @property
    def base(self) -> int | None:
        """min(memory.high, limit), which ratios count from."""
        known = [bound for bound in (self.high, self.limit) if bound is not None]
        return min(known) if known else None

    def wmark_high(self, page: int) -> int | None:
        ratio = self.values["memory.wmark_ratio"]
        return None if not ratio or self.base is None else self.base // page * ratio // 100 * page

    def wmark_low(self, page: int) -> int | None:
        high = self.wmark_high(page)
        if high is None or self.base is None:
            return None
        return max(0, high - self.base // page * self.values["memory.wmark_scale_factor"] // 10000 * page)

    @property
    def wmark_min_eadj(self) -> int:
        """The highest on the way to the root; a zero above is none."""
        own, *above = (t.cast("int", group.values["memory.wmark_min_adj"]) for group in self.to_root())
        return max(own, *(value for value in above if value), own)

    @property
    def page_cache(self) -> int:
        return self.stat.get("inactive_file", 0) + self.stat.get("active_file", 0)

    def reclaim(self, amount: int) -> int:
        """Of its page cache: children's, then the inactive list, then the active one. Returns the bytes that are free then, here and above."""
        freed = 0
        for child in self.children.values():
            freed += child.reclaim(amount - freed)
        own = 0
        for key in ("inactive_file", "active_file"):
            part = min(self.stat.get(key, 0), max(0, amount - freed - own))
            own += part
            for group in self.to_root() if part else ():
                group.stat[key] = max(0, group.stat.get(key, 0) - part)
        self.uncharge(own)
        return freed + own

    def uncharge(self, amount: int) -> None:
        for group in self.to_root():
            group.usage = max(0, group.usage - amount)


class Kernel:
    """The cgroups of one flavour and its switches. Paths begin with C(/) at the root of the hierarchy; files that are not there raise OSError."""

    def __init__(self, flavour: Flavour, *, page: int = 4096) -> None:
        self.flavour = flavour
        self.page = page
        self.unlimited = LONG_MAX // page * page
        self.files: dict[str, File] = {file.name: file for file in flavour.files}
        self.switches: dict[str, Switch] = {switch.path: switch for switch in flavour.switches}
        self.values: dict[str, Value] = {switch.path: switch.default for switch in flavour.switches}
        self.watermarks = Watermarks()
        self._inodes = itertools.count(100)
        self.root = self._made("", None)

    def _made(self, name: str, parent: Group | None) -> Group:
        group = Group(name, parent, next(self._inodes))
        for file in self.files.values():
            if file.take:
                value = parent.values[file.name] if parent is not None and file.inherited else file.default
                group.values[file.name] = list(value) if isinstance(value, list) else value
        group.stat = dict.fromkeys(self.flavour.stat, 0)
        group.events = dict.fromkeys(self.flavour.events, 0)
        return group

    # The tree

    def group(self, path: str) -> Group:
        found = self.root
        for part in filter(None, path.split("/")):
            if part not in found.children:
                raise refused(errno.ENOENT)
            found = found.children[part]
        return found

    def has(self, group: Group, name: str) -> bool:
        file = self.files.get(name)
        if file is None or (group.parent is None and not file.on_root) or (group.parent is not None and file.only_root):
            return False
        return self.flavour.version == 1 or not name.startswith("memory.") or group.parent is None or self._enabled(group.parent)

    def names(self, group: Group) -> list[str]:
        """Of its files."""
        return [name for name in self.files if self.has(group, name)]

    @staticmethod
    def _enabled(group: Group) -> bool:
        return "memory" in group.values.get("cgroup.subtree_control", ())

    def mkdir(self, path: str) -> Group:
        parent, name = self._above(path)
        if "\n" in name:
            raise refused(errno.EINVAL)
        if name in parent.children or self.has(parent, name):
            raise refused(errno.EEXIST)
        parent.children[name] = self._made(name, parent)
        return parent.children[name]

    def rmdir(self, path: str) -> None:
        parent, name = self._above(path)
        if name not in parent.children:
            raise refused(errno.ENOTDIR if self.has(parent, name) else errno.ENOENT)
        if parent.children[name].children or parent.children[name].procs:
            raise refused(errno.EBUSY)
        del parent.children[name]

    def _above(self, path: str) -> tuple[Group, str]:
        above, unused, name = path.rpartition("/")
        return self.group(above), name

    # Files

    def read(self, path: str) -> str:
        """What a file of a cgroup shows, or a switch by its whole path."""
        switch = self.switches.get(path)
        if switch:
            if switch.write_only:
                raise refused(errno.EACCES)
            return f"{self.values[path] + (switch.more(self) if switch.more else 0)}\n"
        group, file = self._file(path)
        if file.show is None:
            raise refused(errno.EINVAL)
        return file.show(self, group, file)

    def write(self, path: str, text: str) -> None:
        switch = self.switches.get(path)
        if switch:
            self.values[path] = switch.parse(text)
            if switch.then:
                switch.then(self, self.values[path])
        else:
            group, file = self._file(path)
            if file.take is None:
                raise refused(errno.EINVAL)
            file.take(self, group, file, text)
        self.settle()

    def writable(self, path: str) -> bool:
        return path in self.switches or self._file(path)[1].take is not None

    def readable(self, path: str) -> bool:
        return not self.switches[path].write_only if path in self.switches else self._file(path)[1].show is not None

    def _file(self, path: str) -> tuple[Group, File]:
        group, name = self._above(path)
        if not self.has(group, name):
            raise refused(errno.ENOENT)
        return group, self.files[name]

    # What happens by itself

    def figure(self, path: str, **figures: t.Any) -> None:
        """Sets what the kernel measures: C(usage), C(peak), C(stat), C(events), C(exstat), C(latency), C(idle), C(procs), C(reclaiming).

        Nothing is summed over children. C(watermarks), C({min, low, free}) in pages, are the host's: a task of each cgroup then returns to user space.
        """
        group = self.group(path)
        watermarks = figures.pop("watermarks", None)
        if watermarks is not None:
            self.watermarks = Watermarks(**watermarks)
            self._throttle()
        for key, value in figures.items():
            if key not in _FIGURES:
                raise refused(errno.EINVAL)
            if isinstance(value, dict):
                getattr(group, key).update(value)
            else:
                setattr(group, key, value)
        group.peak = max(group.peak, group.usage)
        if "idle" in figures:
            group.scans += 1
        self.settle()

    def settle(self) -> None:
        """What the kernel's workqueues do, at once."""
        for group in self.root.below():
            self._background_reclaim(group)
            self._bound_page_cache(group)

    def _throttle(self) -> None:
        """Positive memory.wmark_min_adj: whoever returns to user space while little is free sleeps."""
        for group in self.root.below():
            slept = self.watermarks.sleep(group.wmark_min_eadj) if group.procs and "memory.wmark_min_adj" in group.values else 0
            if slept:
                group.exstat["wmark_min_throttled_ms"] = group.exstat.get("wmark_min_throttled_ms", 0) + slept

    def _background_reclaim(self, group: Group) -> None:
        if "memory.wmark_ratio" in group.values:
            mark, stop = group.wmark_high(self.page), group.wmark_low(self.page)
            if mark is not None and stop is not None and group.usage > mark and group.reclaim(max(group.usage - stop, _BATCH_PAGES * self.page)):
                group.exstat["wmark_reclaim_work_ms"] = group.exstat.get("wmark_reclaim_work_ms", 0) + 1
        ratio = group.values.get("memory.high_async_ratio")
        if ratio and group.high is not None and group.usage > group.high * ratio // 100:
            group.reclaim(group.usage - group.high * max(0, ratio - 10) // 100)

    def _bound_page_cache(self, group: Group) -> None:
        """By pagecache_limit, which needs the host's switch, and by pagecache.max_ratio. What is below counts."""
        size = group.values.get("memory.pagecache_limit.size")
        if self.values.get("/sys/kernel/mm/pagecache_limit/enabled") and group.values["memory.pagecache_limit.enable"] and size and group.page_cache > size:
            freed = group.reclaim(group.page_cache - size)
            group.exstat["pagecache_limit_reclaimed_kb"] = group.exstat.get("pagecache_limit_reclaimed_kb", 0) + freed // 1024
        ratio = group.values.get("memory.pagecache.max_ratio")
        if ratio is not None and group.limit is not None and group.page_cache > group.limit * ratio // 100:
            group.events["pagecache_max"] += 1
            least = group.limit * group.values["memory.pagecache.reclaim_ratio"] // 100
            group.reclaim(max(least, group.page_cache - group.limit * ratio // 100))

    def victim(self, path: str = "") -> Group:
        """The cgroup that the OOM killer goes to when there is no memory in C(path): by priority where the parent says so, by qos_level, else the largest."""
        group = self.group(path)
        offline = self.values.get("/proc/sys/vm/memcg_qos_enable") and [low for low in group.below() if low.get("memory.qos_level") == -1]
        if offline:
            return max(offline, key=lambda low: low.usage)
        while group.children:
            ranked = list(group.children.values())
            if group.get("memory.use_priority_oom"):
                lowest = min(child.values["memory.priority"] for child in ranked)
                ranked = [child for child in ranked if child.values["memory.priority"] == lowest]
            group = max(ranked, key=lambda child: child.usage)
        return group

    def kill(self, path: str) -> list[int]:
        """An OOM kill in C(path). Returns the processes that end: one, or all of the highest cgroup with memory.oom.group."""
        victim = self.victim(path)
        inside = list(itertools.takewhile(lambda group: group is not self.group(path).parent, victim.to_root()))
        whole = next((group for group in reversed(inside) if group.get("memory.oom.group")), None)
        groups = [whole, *whole.below()] if whole else [victim]
        dead = [pid for group in groups for pid in (group.procs if whole else group.procs[:1])]
        for group in groups:
            group.procs = [pid for pid in group.procs if pid not in dead]
            if not group.procs:
                group.uncharge(group.usage)
        for group in victim.to_root():
            group.events["oom_kill"] += 1
        for group in whole.to_root() if whole and "oom_group_kill" in whole.events else ():
            group.events["oom_group_kill"] += 1
        return dead
