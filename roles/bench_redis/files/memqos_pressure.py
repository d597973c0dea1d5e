# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory pressure of one kind, bounded in size and time; and a wait until the kernel reports that there is some. For guests of the lab.

  python3 tests/lab ssh NAME systemd-run --scope -p MemoryMax=200M python3 - hog --mib 300 --seconds 30 < tests/lab/pressure/pressure.py

Needs Python 3.8 and nothing else. Prints one JSON object a line, about every second. Ends by itself, or within a second by SIGTERM or SIGINT, and leaves
nothing: files have no name from the start, so not even SIGKILL leaves one. The kernel's OOM killer is told to take this process first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import re
import resource
import signal
import socket
import sys
import tempfile
import time
import types
import typing as t

MIB = 1 << 20
MAX_MIB = 1 << 16
MAX_SECONDS = 3600.0
MAX_NAMES = 20000000
MAX_PAIRS = 4096
_PAGE = mmap.PAGESIZE
# Of one go, between two looks at the clock: short on an emulated guest, too.
_PAGES_AT_ONCE = 2048
_NAMES_AT_ONCE = 500
_PROGRESS_SECONDS = 1.0
_IDLE_SECONDS = 0.05
# The kernel adds up stalls every two seconds (PSI_FREQ): within less, one reading has all and the next has nothing.
_PSI_SECONDS = 2.1
# Cleared with the process, but for the directory of dentries: an empty one.
_DIRECTORY = "memqos-dentries-"


class PressureError(Exception):
    """What cannot be done here; the message says why, and what would."""


# Tools


class Tool:
    """Something that takes memory, in short goes."""

    def go(self, elapsed: float) -> bool:
        """Does what is due C(elapsed) seconds after the start, or a part of it. False if nothing is due."""
        raise NotImplementedError

    def figures(self) -> dict[str, t.Any]:
        raise NotImplementedError

    def close(self) -> None:
        """Gives everything back."""


class Hog(Tool):
    """Anonymous memory that no zswap or zram makes smaller: C(rate) MiB a second up to C(mib), all at once without one; touched at C(touch) MiB a second."""

    def __init__(self, *, mib: int, rate: float | None = None, touch: float = 0.0) -> None:
        self._size, self._rate, self._touch = mib * MIB, rate, touch
        self._memory = mmap.mmap(-1, self._size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._block = os.urandom(MIB)
        self.held = self.touched = 0
        self._full_at = 0.0

    def go(self, elapsed: float) -> bool:
        if self.held < due(elapsed, self._rate, self._size):
            self._memory[self.held : self.held + MIB] = self._block
            self.held += MIB
            self._full_at = elapsed
            return True
        self._full_at = kept_up(self._full_at, elapsed, self.touched, self._touch)
        if self.touched >= due(elapsed - self._full_at, self._touch, None):
            return False
        start = self.touched % self.held if self.held else 0
        for offset in range(start, min(self.held, start + _PAGES_AT_ONCE * _PAGE), _PAGE):
            self._memory[offset] = 1
            self.touched += _PAGE
        return True

    def figures(self) -> dict[str, t.Any]:
        return {"held_bytes": self.held, "touched_bytes": self.touched}

    def close(self) -> None:
        self._memory.close()


class Burst(Tool):
    """A hog in the first half of every C(every) seconds: the page cache has what it gave back before the next one wants it."""

    def __init__(self, *, mib: int, every: float, rate: float | None = None) -> None:
        self._mib, self._every, self._rate = mib, every, rate
        self._hog: Hog | None = None
        self._since = -every
        self._given_back = 0

    def go(self, elapsed: float) -> bool:
        if elapsed >= self._since + self._every:
            self._since += self._every * ((elapsed - self._since) // self._every)
        if elapsed >= self._since + self._every / 2:
            self.close()
            return False
        if self._hog is None:
            self._hog = Hog(mib=self._mib, rate=self._rate)
        return self._hog.go(elapsed - self._since)

    def figures(self) -> dict[str, t.Any]:
        held = self._hog.held if self._hog else 0
        return {"held_bytes": held, "taken_bytes": self._given_back + held}

    def close(self) -> None:
        if self._hog:
            self._given_back += self._hog.held
            self._hog.close()
            self._hog = None


class File(Tool):
    """A file without a name, filled with C(mib); on a tmpfs it holds memory, elsewhere it is read again and again, which fills the page cache."""

    def __init__(self, *, mib: int, directory: str, rate: float | None = None, scan: bool = True) -> None:
        self._size, self._rate, self._scan = mib * MIB, rate, scan
        on_tmpfs = file_system(directory) == "tmpfs"
        if on_tmpfs == scan:
            raise PressureError(f"{directory} is {'a' if on_tmpfs else 'no'} tmpfs: name a directory that is {'none' if on_tmpfs else 'one'} with --directory")
        free = os.statvfs(directory)
        if free.f_bavail * free.f_frsize < self._size:
            raise PressureError(f"{directory} has {free.f_bavail * free.f_frsize // MIB} MiB left, not the {mib} MiB of --mib")
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115  # close() closes it
        self._block = os.urandom(MIB)
        self.held = self.read = 0
        self._full_at = 0.0

    def go(self, elapsed: float) -> bool:
        if self.held < self._size:
            self.held += self._file.write(self._block)
            if self.held >= self._size and self._scan:
                # Dirty pages cannot be reclaimed: what is read later shall be clean.
                os.fdatasync(self._file.fileno())
            self._full_at = elapsed
            return True
        self._full_at = kept_up(self._full_at, elapsed, self.read, self._rate)
        if not self._scan or self.read >= due(elapsed - self._full_at, self._rate, None):
            return False
        self.read += len(os.pread(self._file.fileno(), MIB, self.read % self._size))
        return True

    def figures(self) -> dict[str, t.Any]:
        return {"file_bytes": self.held, "read_bytes": self.read} if self._scan else {"held_bytes": self.held}

    def close(self) -> None:
        self._file.close()


class Sockets(Tool):
    """TCP connections to ourselves, filled and never read: the kernel holds the data in socket buffers."""

    def __init__(self, *, mib: int) -> None:
        self._size = mib * MIB
        self._block = bytes(1 << 16)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self._ends: list[socket.socket] = []
        self._pairs = min(MAX_PAIRS, open_files(2 * MAX_PAIRS + 64) // 2 - 32)
        self.held = 0

    def go(self, elapsed: float) -> bool:
        if self.held >= self._size or len(self._ends) >= 2 * self._pairs:
            return False
        sender = socket.create_connection(self._listener.getsockname())
        self._ends += [sender, self._listener.accept()[0]]
        sender.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self.held < self._size:
                self.held += sender.send(self._block[: self._size - self.held])
        return True

    def figures(self) -> dict[str, t.Any]:
        return {"held_bytes": self.held, "connections": len(self._ends) // 2}

    def close(self) -> None:
        for end in (*self._ends, self._listener):
            end.close()


class Dentries(Tool):
    """Names that are not there, looked up: the kernel keeps a negative dentry for each, until memory is short or the directory goes."""

    def __init__(self, *, count: int, directory: str, rate: float | None = None) -> None:
        if file_system(directory) == "tmpfs":
            raise PressureError(f"{directory} is a tmpfs, which keeps no negative dentries: name another directory with --directory")
        for name in os.listdir(directory):
            pid = name[len(_DIRECTORY) :] if name.startswith(_DIRECTORY) else ""
            if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                os.rmdir(f"{directory}/{name}")
        self._count, self._rate = count, rate
        self._directory = f"{directory}/{_DIRECTORY}{os.getpid()}"
        os.mkdir(self._directory, 0o700)
        self.looked_up = 0

    def go(self, elapsed: float) -> bool:
        upto = min(due(elapsed, self._rate, self._count, unit=1), self.looked_up + _NAMES_AT_ONCE)
        if self.looked_up >= upto:
            return False
        # Long names: 255 bytes and the dentry itself are about 450.
        for number in range(self.looked_up, upto):
            os.path.lexists(f"{self._directory}/{number:0255d}")
        self.looked_up = upto
        return True

    def figures(self) -> dict[str, t.Any]:
        return {"names": self.looked_up}

    def close(self) -> None:
        # The directory's dentries go with it.
        os.rmdir(self._directory)


def due(elapsed: float, rate: float | None, total: int | None, *, unit: int = MIB) -> int:
    """What shall be done C(elapsed) seconds after the start: C(rate) units a second, at most C(total). Without a rate: all."""
    if rate is None:
        return sys.maxsize if total is None else total
    done = int(elapsed * rate * unit)
    return done if total is None else min(done, total)


def kept_up(start: float, elapsed: float, done: int, rate: float | None) -> float:
    """A later C(start), where more than a second's worth is due: a tool that was held back is no faster than asked when it is let go."""
    return max(start, elapsed - done / (rate * MIB) - 1.0) if rate else start


def file_system(directory: str) -> str:
    """The type of what is mounted there. Raises PressureError."""
    place = os.path.realpath(directory)
    found = ("", "")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            own, _dash, rest = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), own.split()[4])
            if len(point) >= len(found[0]) and f"{place}/".startswith(point.rstrip("/") + "/"):
                found = (point, rest.split()[0])
    if not os.path.isdir(place):
        raise PressureError(f"{directory} is no directory")
    return found[1]


def open_files(wanted: int) -> int:
    """Raises our limit of open files towards C(wanted); returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    limit = max(soft, wanted if unlimited else min(wanted, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


# Waiting for pressure


class Counters(t.NamedTuple):
    """C(stalled): microseconds in which tasks waited for memory, None without PSI. C(events): reclaim that tasks did, and refaults."""

    at: float
    stalled: int | None
    events: int
    avg10: float | None


class Subject:
    """The node, or a cgroup of either version by its directory."""

    def __init__(self, cgroup: str | None, *, proc: str = "/proc") -> None:
        self.name = cgroup or "the node"
        self._pressure = f"{cgroup}/memory.pressure" if cgroup else f"{proc}/pressure/memory"
        self._counters = [f"{cgroup}/{name}" for name in ("memory.stat", "memory.events", "memory.failcnt")] if cgroup else [f"{proc}/vmstat"]
        if cgroup and not os.path.exists(self._counters[0]):
            raise PressureError(f"{cgroup} has no memory.stat: it is no cgroup, or one without the memory controller")

    def read(self, now: float) -> Counters:
        """Raises PressureError when the cgroup is gone."""
        with contextlib.suppress(OSError):
            with open(self._pressure, encoding="ascii") as file:
                total, avg10 = parse_some(file.read())
            return Counters(now, total, 0, avg10)
        texts = []
        for path in self._counters:
            with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
                texts.append(file.read())
        if not texts:
            raise PressureError(f"{self.name} is gone")
        return Counters(now, None, sum(map(count_reclaim, texts)), None)


def parse_some(text: str) -> tuple[int, float]:
    """C(some) of a PSI file: (total in microseconds, avg10 in percent). Raises OSError, as for a kernel without PSI, on what is none."""
    match = re.search(r"^some avg10=([0-9.]+) .*total=([0-9]+)$", text, re.MULTILINE)
    if match is None:
        raise OSError("no PSI")
    return int(match.group(2)), float(match.group(1))


def count_reclaim(text: str) -> int:
    """Stalls, refaults and limits that were met: of vmstat, memory.stat (v1's hierarchical values), memory.events or memory.failcnt."""
    if text.strip().isdigit():
        return int(text)
    rows = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
    prefix = "total_" if "total_cache" in rows else ""
    names = [name for name in rows if re.fullmatch(prefix + r"(?:allocstall(?:_\w+)?|workingset_refault(?:_\w+)?|high|max)", name)]
    return sum(int(rows[name]) for name in names)


def judge(before: Counters, now: Counters, *, stalled: float, events: float) -> tuple[bool, dict[str, float]]:
    """(whether there is pressure, what was seen): C(stalled) percent of the time, or without PSI C(events) a second."""
    seconds = now.at - before.at
    if now.stalled is not None and before.stalled is not None:
        share = (now.stalled - before.stalled) / seconds / 1e4
        return share >= stalled, {"stalled_percent": round(share, 2), "avg10": now.avg10 or 0.0}
    rate = (now.events - before.events) / seconds
    return rate >= events, {"events_per_second": round(rate, 1)}


def wait(options: argparse.Namespace, stop: Stop) -> int:
    """The exit status: 0 with pressure. Raises PressureError without any until the timeout."""
    subject = Subject(options.cgroup)
    start = time.monotonic()
    before = subject.read(start)
    highest: dict[str, float] = {}
    while time.monotonic() - start < options.timeout:
        time.sleep(_PSI_SECONDS)
        if stop.reason:
            raise PressureError(f"interrupted by {stop.reason} while waiting for pressure on {subject.name}")
        now = subject.read(time.monotonic())
        found, seen = judge(before, now, stalled=options.stalled, events=options.events)
        before = now
        highest = {what: max(value, highest.get(what, 0.0)) for what, value in seen.items()}
        say("wait", "pressure" if found else "waiting", now.at - start, **seen)
        if found:
            return 0
    most = ", ".join(f"{what} {value:g}" for what, value in highest.items())
    wanted = f"stalled_percent {options.stalled:g}, or without PSI events_per_second {options.events:g}"
    raise PressureError(f"no pressure on {subject.name} within {options.timeout:g} s: at most {most}; wanted {wanted}")


# The command


class Stop:
    """Becomes true by a signal."""

    def __init__(self) -> None:
        self.reason = ""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: types.FrameType | None) -> None:
        self.reason = signal.Signals(number).name


def say(tool: str, state: str, elapsed: float, **figures: t.Any) -> None:
    print(json.dumps({"tool": tool, "state": state, "seconds": round(elapsed, 2), **figures}), flush=True)


def run(name: str, tool: Tool, seconds: float, stop: Stop) -> int:
    """Until C(seconds) are over or a signal comes. Returns 0."""
    start = said = time.monotonic()
    try:
        while True:
            elapsed = time.monotonic() - start
            if stop.reason or elapsed >= seconds:
                break
            if not tool.go(elapsed):
                time.sleep(min(_IDLE_SECONDS, seconds - elapsed))
            if time.monotonic() - said >= _PROGRESS_SECONDS:
                said = time.monotonic()
                say(name, "running", said - start, **tool.figures())
    finally:
        figures = tool.figures()
        tool.close()
    say(name, "ended", time.monotonic() - start, reason=stop.reason or "time", **figures)
    return 0


def join(cgroup: str) -> None:
    """Moves this process there. Raises PressureError."""
    try:
        with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as procs:
            procs.write(str(os.getpid()))
    except OSError as exc:
        raise PressureError(f"cannot join {cgroup}: {exc.strerror}. A cgroup is made by its caller, with systemd-run or mkdir.") from exc


def make_tool(options: argparse.Namespace) -> Tool:
    if options.tool in ("hog", "leak"):
        return Hog(mib=options.mib, rate=getattr(options, "rate", None), touch=getattr(options, "touch", 0.0))
    if options.tool == "burst":
        return Burst(mib=options.mib, every=options.every, rate=options.rate)
    if options.tool in ("scan", "tmpfs"):
        return File(mib=options.mib, directory=options.directory, rate=getattr(options, "rate", None), scan=options.tool == "scan")
    if options.tool == "socket":
        return Sockets(mib=options.mib)
    return Dentries(count=options.count, directory=options.directory, rate=options.rate)


def main(argv: t.Sequence[str] | None = None) -> int:
    """The exit status: 0; 1 with a message for what cannot be done here, and for a wait in vain; 2 for wrong arguments."""
    options = _parser().parse_args(argv)
    stop = Stop()
    try:
        if options.tool == "wait":
            return wait(options, stop)
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as adjust:
            adjust.write("1000")
        if options.cgroup:
            join(options.cgroup)
        return run(options.tool, make_tool(options), options.seconds, stop)
    except (PressureError, OSError) as exc:
        print(f"pressure: {exc}", file=sys.stderr)
        return 1


def between(low: float, high: float, kind: t.Callable[[str], t.Any]) -> t.Callable[[str], t.Any]:
    """An argument that is a number within bounds."""

    def number(text: str) -> t.Any:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text}: write a number from {low:g} to {high:g}")
        return value

    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pressure.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tools = parser.add_subparsers(dest="tool", required=True, metavar="TOOL")
    size, rate = between(1, MAX_MIB, int), between(0.001, 1e6, float)

    def tool(name: str, words: str, *, mib: bool = True) -> argparse.ArgumentParser:
        sub = tools.add_parser(name, help=words, description=words)
        sub.add_argument("--cgroup", metavar="DIRECTORY", help="a cgroup to act in, by its directory (default: where this process is)")
        if name != "wait":
            sub.add_argument("--seconds", type=between(0.1, MAX_SECONDS, float), default=60.0, help="how long at most (default: 60)")
        if mib:
            sub.add_argument("--mib", type=size, required=True, metavar="N", help="how much")
        return sub

    hog = tool("hog", "Anonymous memory, at once.")
    hog.add_argument("--touch", type=between(0, 1e6, float), default=0.0, metavar="MIB", help="write to so many MiB of its pages a second (default: 0)")
    tool("leak", "Anonymous memory that grows.").add_argument("--rate", type=rate, required=True, metavar="MIB", help="MiB a second")
    burst = tool("burst", "Anonymous memory that is taken, held for half the time, given back, and taken again.")
    burst.add_argument("--every", type=between(0.1, MAX_SECONDS, float), required=True, metavar="SECONDS", help="from one taking to the next")
    burst.add_argument("--rate", type=rate, metavar="MIB", help="take so many MiB a second (default: as fast as it goes)")
    scan = tool("scan", "A file that is read again and again: page cache, and refaults where it does not fit.")
    scan.add_argument("--rate", type=rate, metavar="MIB", help="read so many MiB a second (default: as fast as it goes)")
    scan.add_argument("--directory", default="/var/tmp", help="where, not on a tmpfs (default: /var/tmp)")
    tool("tmpfs", "A file on a tmpfs.").add_argument("--directory", default="/dev/shm", help="where (default: /dev/shm)")
    tool("socket", "TCP connections whose data nobody reads.")
    dentries = tool("dentries", "Names that are not there: a negative dentry for each.", mib=False)
    dentries.add_argument("--count", type=between(1, MAX_NAMES, int), required=True, metavar="N", help="how many names")
    dentries.add_argument("--rate", type=rate, metavar="N", help="names a second (default: as fast as it goes)")
    dentries.add_argument("--directory", default="/var/tmp", help="where, not on a tmpfs (default: /var/tmp)")
    waiter = tool("wait", "Wait until the kernel reports pressure on the node, or on --cgroup.", mib=False)
    share = between(0.01, 100, float)
    waiter.add_argument("--stalled", type=share, default=5.0, metavar="PERCENT", help="of the time in which tasks waited for memory (default: 5)")
    waiter.add_argument("--events", type=between(1, 1e9, float), default=100.0, metavar="N", help="without PSI: stalls and refaults a second (default: 100)")
    waiter.add_argument("--timeout", type=between(0.1, MAX_SECONDS, float), default=120.0, metavar="SECONDS", help="give up after it (default: 120)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
