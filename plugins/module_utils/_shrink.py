# SPDX-License-Identifier: BSD-2-Clause

"""Brings what a cgroup uses below a bound, in steps, before the bound is set. docs/architecture.md 3.19.

A bound below usage kills (memory.max), stalls (memory.high) or is answered EBUSY (v1). The kernel's own reclaim at such a write has neither an end nor an eye
on those who wait.
"""

from __future__ import annotations

import errno
import time
import typing as t

from . import _shares
from ._plan_shrink import Figures, figures, most, room
from ._read import _procfs
from ._read._files import Tree, Unreadable
from ._tuples import NamedTuple
from ._writer import Refused

if t.TYPE_CHECKING:
    from ._steps import WriteStep
    from ._writer import Writer

_MIB = 1 << 20
_LEAST_STEP, _MOST_STEP = _MIB, 64 * _MIB
# How long tasks are watched before the first step, and held at the bound after the last.
_WATCHED_SECONDS = 2.0
# What grows so fast that it would be killed within this time is not given the bound.
_AHEAD_SECONDS = 60
# Of the time, beyond what they did before.
_STALLED, _STALLED_AT_BOUND = 0.25, 0.5
_WINDOW_SECONDS = 0.25
_PAUSE_SECONDS = 1.0
_MOST_PAUSES = 10
_FRUITLESS_SECONDS = 3.0
_AN_ANSWER = (errno.EAGAIN, errno.EBUSY, errno.EINTR)
_size = _shares.format_size


class GaveUp(Refused):
    """It cannot be brought below its bound without harm; what was reclaimed stays so."""


class Shrunk(NamedTuple):
    """How far it came, for people and for the next call. C(killed): of its tasks, for want of memory, meanwhile."""

    unit: str
    knob: str
    bound: int
    before: int
    usage: int
    done: bool
    killed: int = 0


def too_slow(one: Shrunk) -> str:
    """Of what is not done when the time is over."""
    text = f"{one.unit} {one.knob}: {_size(one.usage)} are in use and {_size(one.bound)} wanted when the time is over"
    return f"{text}: allow more (memqos_shrink_within), or look what its tasks do"


class Clock(NamedTuple):
    now: t.Callable[[], float] = time.monotonic
    sleep: t.Callable[[float], None] = time.sleep


CLOCK = Clock()


class Home:
    """The cgroup that a step shrinks, in the kernel. All methods raise OSError, Refused and Unreadable.

    C(wrote): {path: what may stand there by our writes}, for all homes of a run: what is something else by now is somebody else's.
    """

    def __init__(self, step: WriteStep, writer: Writer, wrote: t.Dict[str, t.Tuple[str, ...]]) -> None:
        self.step = step
        self.wrote = wrote
        self.writer = writer
        self.tree = Tree(writer.root)
        self.directory, unused, name = step.path.rpartition("/")
        self.version = 1 if name == "memory.limit_in_bytes" else 2
        self._reclaims = self.version == 2
        self._limits = self._chain() if self.version == 2 else []

    def measure(self) -> Figures:
        usage = int(self._read("memory.current" if self.version == 2 else "memory.usage_in_bytes"))
        stat = _procfs.parse_keyed((self._read("memory.stat") + "\n").encode())
        if self.version == 1:
            total = "total_" if "total_rss" in stat else ""
            names = {"file_dirty": "dirty", "file_writeback": "writeback"}
            keys = ("active_file", "inactive_file", "active_anon", "inactive_anon", "file_dirty", "file_writeback", "swap")
            stat = {key: stat.get(total + names.get(key, key), 0) for key in keys}
        elif "swapcached" not in stat:  # before 5.12: no more than the node's
            stat["swapcached"] = _procfs.read_meminfo(self.tree).get("SwapCached", 0)
        swapped = stat.get("swap", 0) if self.version == 1 else self._amount(self.directory, "memory.swap.current") or 0
        return figures(usage, stat, swapped=swapped, free_swap=self._free_swap())

    def stalled(self) -> t.Optional[float]:
        """Seconds for which all its tasks have waited for memory (v1: all of the node's); None where the kernel does not say."""
        try:
            data = f"{self._read('memory.pressure')}\n".encode() if self.version == 2 else self.tree.read("/proc/pressure/memory")
        except (OSError, Unreadable):
            return None
        total = _procfs.parse_pressure(data).get("full", {}).get("total")
        return None if total is None else total / 1e6

    def kills(self) -> int:
        """0 where nobody can tell any more: it has ended."""
        try:
            return _procfs.parse_keyed(f"{self._read('memory.events' if self.version == 2 else 'memory.oom_control')}\n".encode()).get("oom_kill", 0)
        except (OSError, Refused, Unreadable):
            return 0

    def reclaim(self, size: int, usage: int, *, held: bool) -> None:
        """About C(size) bytes. C(held): by memory.high, below which those who use more have to stay. Less was found: no error."""
        if self.version == 1 or held or not self._reclaims:
            return self.bind(max(self.step.bound, usage - size))
        try:
            self._write("memory.reclaim", str(size))
        except FileNotFoundError:
            self._reclaims = False
            self.bind(max(self.step.bound, usage - size))

    def bind(self, bytes_: int) -> None:
        """By memory.high, or on v1 by the limit. Never above what stands there."""
        now = self._amount(self.directory, self.step.path.rpartition("/")[2])
        if now is None or bytes_ < now:
            # Until it is known how the kernel keeps it, or that it did not take it.
            self.wrote[self.step.path] = (*self.wrote.get(self.step.path, ()), str(bytes_))
            self._write(self.step.path.rpartition("/")[2], str(bytes_))
            self.wrote[self.step.path] = (self.writer.kernel_read(self.step.path, self.step.inode),)

    def release(self) -> str:
        """As before, if what we wrote stands there still; else what somebody else wrote, which stays."""
        if self.step.path not in self.wrote:
            return ""
        now = self.writer.kernel_read(self.step.path, self.step.inode)
        if now not in (self.step.before, *self.wrote[self.step.path]):
            return now
        if now != self.step.before:
            self.writer.kernel_write(self.step.path, self.step.before, self.step.inode)
        return ""

    def _read(self, name: str) -> str:
        return self.writer.kernel_read(f"{self.directory}/{name}", self.step.inode)

    def _write(self, name: str, text: str) -> None:
        try:
            self.writer.kernel_write(f"{self.directory}/{name}", text, self.step.inode)
        except OSError as exc:
            if exc.errno not in _AN_ANSWER:
                raise

    def _amount(self, directory: str, name: str) -> t.Optional[int]:
        """None: no limit, or no such file."""
        try:
            text = self.writer.kernel_read(f"{directory}/{name}")
        except FileNotFoundError:
            return None
        return int(text) if text.isdigit() else None

    def _chain(self) -> t.List[str]:
        """The cgroup and those above it that have a limit on swap."""
        found, directory = [], self.directory
        while directory.count("/") > 2:
            try:
                self.writer.kernel_read(f"{directory}/memory.swap.max")
            except OSError:
                break
            found.append(directory)
            directory = directory.rpartition("/")[0]
        return found

    def _free_swap(self) -> int:
        swappiness = f"{self.directory}/memory.swappiness" if self.version == 1 else "/proc/sys/vm/swappiness"
        if self.writer.kernel_read(swappiness) == "0":
            return 0
        free = _procfs.read_meminfo(self.tree).get("SwapFree", 0)
        for directory in self._limits:
            limit = self._amount(directory, "memory.swap.max")
            if limit is not None:
                free = min(free, max(0, limit - (self._amount(directory, "memory.swap.current") or 0)))
        return free


def is_above(step: WriteStep, writer: Writer) -> bool:
    return Home(step, writer, {}).measure().usage > step.bound


class Shrinking:
    """One step. C(until): by the clock, when this call has to end; C(last): the bound is set next, so it is tried without killing first."""

    def __init__(self, home: t.Any, *, until: float, last: bool, clock: Clock = CLOCK) -> None:
        self.home = home
        self.step: WriteStep = home.step
        self.until = until
        self.last = last
        self.clock = clock
        self.room, self.most = room(self.step), most(self.step)
        self.since = clock.now()
        self.first: Figures = home.measure()
        self._window: t.Tuple[float, t.Optional[float]] = (self.since, home.stalled())
        self._usual = 0.0

    def run(self) -> Shrunk:
        """Not done: the time is over. What it wrote on the way still stands, whatever comes of it: C(home.release). Raises GaveUp."""
        kills, now = self.home.kills(), self.first
        is_near = now.usage * 4 > self.step.bound * 3
        if not self._fits(now) and (self.last or self.clock.now() < self.until):
            self._judge(now)
            self._usual = self._watch()
            now = self._down()
        done = self._fits(now)
        if done and self.last and is_near and self.step.bounds == "memory.max":
            now = self._held()
        if done and self.last and self.home.version == 1:
            self.home.bind(self.step.bound)
        return Shrunk(self.step.subject, self.step.bounds, self.step.bound, self.first.usage, now.usage, done, self.home.kills() - kills)

    def _fits(self, now: Figures) -> bool:
        """What memory.high lets stand beyond it cannot be reclaimed."""
        return now.usage <= max(self.step.bound, min(self.most, now.fixed + self.step.bound // 100))

    def _down(self) -> Figures:
        """Step by step, one at least; back when it fits, or the time is over."""
        size, held, pauses = _MOST_STEP, False, 0
        now = self.home.measure()
        moved = self.clock.now()
        while not self._fits(now):
            self._judge(now)
            size = max(_LEAST_STEP, min(size, _MOST_STEP, now.usage // 16))
            self.home.reclaim(min(size, now.usage - self.step.bound), now.usage, held=held)
            after = self.home.measure()
            found = now.usage - after.usage
            if found >= size // 4:
                moved = self.clock.now()
            elif self.clock.now() - moved > _FRUITLESS_SECONDS and after.dirty * 2 < after.usage - self.step.bound:
                raise self._gave_up(f"nothing more of it can be reclaimed: {_size(after.usage)} stay")
            elif held or self.home.version == 1:
                self.clock.sleep(_WINDOW_SECONDS)
            # It comes back as fast as it goes: from now on it has to stay below what is reached.
            held = held or found < size // 4
            stalled = self._stalled()
            if stalled is not None and stalled > _STALLED + self._usual:
                pauses += 1
                if pauses > _MOST_PAUSES:
                    raise self._gave_up(f"its tasks wait for memory {stalled:.0%} of the time while it shrinks")
                self.clock.sleep(_PAUSE_SECONDS)
                size //= 2
            elif stalled is not None:
                size *= 2
            now = after
            if self.clock.now() >= self.until:
                break
        return self.home.measure()

    def _held(self) -> Figures:
        """As though the bound were set, but without a kill: for a while, at memory.high, which some go beyond for a moment. On v1 no more than watched."""
        if self.home.version == 2:
            self.home.bind(self.step.bound)
        stalled = self._watch()
        if stalled > _STALLED_AT_BOUND + self._usual:
            raise self._gave_up(f"held there, its tasks wait for memory {stalled:.0%} of the time")
        now: Figures = self.home.measure()
        if now.usage > self.step.bound + self.step.bound // 16 + self.room:
            raise self._gave_up(f"held there, it uses {_size(now.usage)}")
        return now

    def _watch(self) -> float:
        """The share of the time that its tasks waited. Raises GaveUp."""
        begin, before = self.clock.now(), self.home.stalled()
        while self.clock.now() < begin + _WATCHED_SECONDS and (self.last or self.clock.now() < self.until):
            self.clock.sleep(_WINDOW_SECONDS)
            self._judge(self.home.measure())
        after = self.home.stalled()
        self._window = (self.clock.now(), after)
        return 0.0 if before is None or after is None else (after - before) / (self.clock.now() - begin)

    def _stalled(self) -> t.Optional[float]:
        """Since the last answer; None while that is too short a time to tell."""
        now = self.clock.now()
        if now - self._window[0] < _WINDOW_SECONDS:
            return None
        before, after = self._window[1], self.home.stalled()
        share = 0.0 if before is None or after is None else (after - before) / (now - self._window[0])
        self._window = (now, after)
        return share

    def _judge(self, now: Figures) -> None:
        """Whether the bound can hold it, now and within the next minute. Raises GaveUp."""
        bound = self.step.bound
        if now.fixed > self.most:
            raise self._gave_up(f"{_size(now.fixed)} of it cannot be reclaimed")
        grown, seconds = now.demand - self.first.demand, self.clock.now() - self.since
        if not self.room or grown <= self.room or seconds < _WATCHED_SECONDS / 2:
            return
        if now.demand + grown / seconds * _AHEAD_SECONDS + self.room > bound + now.swapped + now.free_swap:
            raise self._gave_up(f"it grows by {_size(int(grown / seconds))} a second, and would be killed within {_AHEAD_SECONDS} s")

    def _gave_up(self, why: str) -> GaveUp:
        return GaveUp(self.home.directory, f"does not get below {_size(self.step.bound)} ({self.step.subject} {self.step.bounds}): {why}")
