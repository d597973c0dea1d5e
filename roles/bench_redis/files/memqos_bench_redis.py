# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of the Redis comparison on a node: a real redis-server, redis-benchmark, and batch work beside it. Needs Python 3.8 and nothing else.

  python3 memqos_bench_redis.py facts                     what the node is, and what is missing there
  python3 memqos_bench_redis.py start < workload.json     Redis, so that a tune finds its cgroup
  python3 memqos_bench_redis.py measure < workload.json   one run of it; takes minutes, and puts the node under memory pressure
  python3 memqos_bench_redis.py clean                     ends Redis, and what a run that was cut off left
  python3 memqos_bench_redis.py burn --share 0.3          the control: processor time as batch work took, without its memory

Prints one JSON object. Redis listens on a socket that only root may open, and saves nothing; none starts before another run's units are
gone. Latencies are redis-benchmark's own; it counts all above 3 s as 3 s.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import time
import typing as t

DIRECTORY = "/run/memqos-bench"
SOCKET = DIRECTORY + "/redis.sock"
BATCH_OUTPUT = DIRECTORY + "/batch.out"
REDIS, BATCH, CLIENTS = "memqos-bench-redis.service", "memqos-bench-batch.service", "memqos-bench-clients.service"
PROGRAMS = ("redis-server", "redis-benchmark", "systemd-run", "systemctl")
MOUNT = "/sys/fs/cgroup"
CGROUP_FILES = ("memory.stat", "memory.events", "memory.pressure", "memory.current", "memory.swap.current", "cpu.stat")
MIB = 1 << 20
PERCENTS = {"p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0, "p999_ms": 99.9}
# The kernel adds up stalls every two seconds (PSI_FREQ).
_PSI_SECONDS = 2.1
_KEYS_AT_ONCE = 500
_START_SECONDS = 120.0
# Keys as redis-benchmark names them: all are there, so no GET is a miss that costs nothing.
_FILL = "for i = tonumber(ARGV[1]), tonumber(ARGV[2]) do redis.call('SET', string.format('key:%012d', i), ARGV[3]) end return 'OK'"
_BURN_SECONDS = 0.05

Texts = t.Dict[str, str]
Counters = t.Mapping[str, int]
Json = t.Dict[str, t.Any]
Points = t.List[t.Tuple[float, int]]


class BenchError(Exception):
    """What cannot be measured here; the message says why."""


# What redis-benchmark says: pure


class Distribution(t.NamedTuple):
    """Of one redis-benchmark. C(points): (milliseconds, requests that took no longer), both rising."""

    requests: int
    seconds: float
    average: float
    highest: float
    points: Points


def parse_benchmark(text: str) -> Distribution:
    """Of what it prints without --csv, which lacks percentiles above 99. Raises BenchError."""
    completed = re.search(r"(\d+) requests completed in ([0-9.]+) seconds", text)
    summary = re.search(r"latency summary \(msec\):\s+avg\s+min\s+p50\s+p95\s+p99\s+max\s+([0-9.]+)((?:\s+[0-9.]+){5})", text)
    rows = re.findall(r"^[0-9.]+% <= ([0-9.]+) milliseconds \(cumulative count (\d+)\)", text, re.MULTILINE)
    if not completed or not summary or not rows:
        raise BenchError(f"redis-benchmark said nothing that can be read; its end: {text[-400:]!r}")
    requests, seconds = int(completed.group(1)), float(completed.group(2))
    _least, *named, highest = map(float, summary.group(2).split())
    # Its list goes by halves of what is left (50, 75, 87.5 … 99.902 %), and by milliseconds: the percentiles that it names lie between.
    listed = [*((float(value), int(count)) for value, count in rows), *((value, math.ceil(requests * part)) for value, part in zip(named, (0.5, 0.95, 0.99)))]
    points = _rising(listed)
    if not requests or points[-1][1] != requests:
        raise BenchError(f"redis-benchmark completed {requests} requests and counts {points[-1][1]}")
    return Distribution(requests, seconds, float(summary.group(1)), highest, points)


def _rising(rows: t.Iterable[t.Tuple[float, int]]) -> Points:
    """Both of its lists in one: where they round a value differently, counts stay monotonous."""
    points: Points = []
    for value, count in sorted(rows):
        if points and count <= points[-1][1]:
            continue
        points.append((value, count))
    return points


def count_within(distribution: Distribution, value: float) -> float:
    """Requests that took no longer than C(value) milliseconds: between two points of the list, by a straight line."""
    before_value, before_count = 0.0, 0
    for point, count in distribution.points:
        if value < point:
            return before_count + (count - before_count) * (value - before_value) / (point - before_value)
        before_value, before_count = point, count
    return float(before_count)


def percentile(distributions: t.Sequence[Distribution], percent: float) -> float:
    """Milliseconds that this part of all requests together did not exceed."""
    wanted = math.ceil(sum(one.requests for one in distributions) * percent / 100)
    values = sorted({value for one in distributions for value, _count in one.points})
    before = (0.0, 0.0)
    for value in values:
        count = sum(count_within(one, value) for one in distributions)
        # A billionth, lest a sum of fractions miss a whole number.
        if count >= wanted - 1e-9:
            # Of one process a point is a fact. Between points of several it is a straight line.
            return value if len(distributions) == 1 else before[0] + (value - before[0]) * (wanted - before[1]) / (count - before[1])
        before = (value, count)
    return values[-1]


def latencies(distributions: t.Sequence[Distribution]) -> t.Dict[str, float]:
    """Of all clients of a load together."""
    requests = sum(one.requests for one in distributions)
    seconds = max(one.seconds for one in distributions)
    found = {name: percentile(distributions, percent) for name, percent in PERCENTS.items()}
    found["avg_ms"] = sum(one.average * one.requests for one in distributions) / requests
    found["max_ms"] = max(one.highest for one in distributions)
    # redis-benchmark rounds to hundredths of a second.
    found["requests_per_second"] = requests / max(seconds, 0.01)
    return found


# What the kernel counts: pure


def parse_rows(text: str) -> t.Dict[str, int]:
    """Of vmstat, memory.events, cpu.stat or a cgroup's memory.stat: of v1 the hierarchical values."""
    rows = {row[0]: int(row[1]) for row in map(str.split, text.splitlines()) if len(row) == 2 and row[1].isdigit()}
    prefix = "total_"
    totals = {name[len(prefix) :]: value for name, value in rows.items() if name.startswith(prefix)}
    return totals or rows


def parse_totals(text: t.Optional[str]) -> t.Dict[str, int]:
    """C({some: microseconds, full: …}) of a PSI file; of the node's some kernels have no full."""
    return {word: int(total) for word, total in re.findall(r"^(some|full) .*total=([0-9]+)$", text or "", re.MULTILINE)}


def growth(before: Counters, after: Counters) -> t.Dict[str, int]:
    """A counter that went backwards began anew: of a unit that was started again."""
    return {name: value - before.get(name, 0) if value >= before.get(name, 0) else value for name, value in after.items()}


def rates(before: t.Mapping[str, Texts], after: t.Mapping[str, Texts], seconds: float) -> t.Dict[str, float]:
    """Figures of C(node), C(service) and C(batch), by name; those that this kernel has."""
    grew = {
        (who, name): growth(parse_rows(before[who].get(name, "")), parse_rows(text))
        for who, files in after.items()
        for name, text in files.items()
        if name in ("vmstat", "memory.stat", "memory.events", "cpu.stat")
    }
    found: t.Dict[str, float] = {}
    node = grew[("node", "vmstat")]
    found["allocstall"] = sum(value for name, value in node.items() if name.startswith("allocstall")) / seconds
    found.update({f"node_{name}": node[name] / seconds for name in ("pgscan_direct", "pgscan_kswapd", "pswpin", "pswpout") if name in node})
    found["oom_kill"] = float(node.get("oom_kill", 0))
    for who, files in after.items():
        stat, events, cpu = (grew.get((who, name), {}) for name in ("memory.stat", "memory.events", "cpu.stat"))
        found.update({f"{who}_{name}": stat[key] / seconds for name, key in _STAT.items() if key in stat})
        found.update({f"{who}_{name}": events[name] / seconds for name in ("low", "high") if name in events})
        found.update({f"{who}_oom_kill": float(events["oom_kill"])} if "oom_kill" in events else {})
        found.update({f"{who}_cpu": cpu["usage_usec"] / seconds / 1e4} if "usage_usec" in cpu else {})
        stalls = growth(parse_totals(before[who].get("memory.pressure")), parse_totals(files.get("memory.pressure")))
        found.update({f"{who}_stalled_{word}": total / seconds / 1e4 for word, total in stalls.items()})
        sizes = {"mib": "memory.current", "swap_mib": "memory.swap.current"}
        found.update({f"{who}_{name}": int(files[file]) / MIB for name, file in sizes.items() if files.get(file, "").strip().isdigit()})
    return found


_STAT = {"refault_anon": "workingset_refault_anon", "refault_file": "workingset_refault_file", "pgscan_direct": "pgscan_direct"}


def work(before: str, after: str, key: str) -> t.Optional[float]:
    """MiB a second that batch work did between two of its lines, by its own clock. None where it said nothing."""
    old, new = (json.loads(text) if text else {} for text in (before, after))
    if new.get("seconds", 0) < old.get("seconds", 0):
        old = {}  # begun anew
    seconds = new.get("seconds", 0) - old.get("seconds", 0)
    return (new.get(key, 0) - old.get(key, 0)) / seconds / MIB if seconds > 0 else None


def pressed(before: t.Mapping[str, Texts], after: t.Mapping[str, Texts], seconds: float, wanted: t.Mapping[str, float]) -> t.Tuple[bool, t.Dict[str, float]]:
    """(whether there is pressure, what was seen): on the node, or on batch work where a bound of its own makes it."""
    found = rates(before, after, seconds)
    batch = parse_rows(after["batch"].get("memory.stat", "")), parse_rows(before["batch"].get("memory.stat", ""))
    scans = (found.get("node_pgscan_direct", 0) + found.get("node_pgscan_kswapd", 0), (batch[0].get("pgscan", 0) - batch[1].get("pgscan", 0)) / seconds)
    seen = {"scanned_per_second": max(scans), "stalled_percent": max(found.get("node_stalled_some", 0), found.get("batch_stalled_some", 0))}
    return any(seen[name] >= bound for name, bound in wanted.items()), seen


# The node


def read(path: str) -> t.Optional[str]:
    with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
        return file.read()
    return None


def last_line(path: str) -> str:
    lines = (read(path) or "").split("\n")[:-1]  # behind the last newline is half a line
    return lines[-1] if lines else ""


def cgroup_of(unit: str) -> str:
    """Below the mount, as systemd says; empty if it does not run."""
    return command("systemctl", "show", "--property=ControlGroup", "--value", unit).strip()


def command(*argv: str, seconds: float = _START_SECONDS) -> str:
    """What it prints. Raises BenchError."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BenchError(f"{' '.join(argv)[:200]}: {exc}") from None
    if done.returncode:
        raise BenchError(f"{' '.join(argv)[:200]}: status {done.returncode}: {(done.stderr + done.stdout).decode('utf-8', 'replace').strip()[-400:]}")
    return done.stdout.decode("utf-8", "replace")


def start(unit: str, slice_: str, argv: t.Sequence[str], *properties: str) -> None:
    options = [f"--property={text}" for text in ("MemoryAccounting=yes", *properties)]
    command("systemd-run", "--quiet", f"--unit={unit}", f"--slice={slice_}", *options, *argv)


def stop(unit: str) -> None:
    """And no trace of it is left, such as that it failed."""
    for verb in ("stop", "reset-failed"):
        with contextlib.suppress(BenchError):
            command("systemctl", verb, unit)


def until(condition: t.Callable[[], bool], words: str, seconds: float, *, every: float = 0.5) -> None:
    """Raises BenchError."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"{words}: not within {seconds:g} s")
        time.sleep(every)


def meminfo() -> t.Dict[str, int]:
    """In bytes."""
    return {name: int(size) << 10 for name, size in re.findall(r"^(\w+): +(\d+) kB$", read("/proc/meminfo") or "", re.MULTILINE)}


def running() -> t.List[str]:
    """Units of a run."""
    return [unit for unit in (REDIS, BATCH, CLIENTS) if cgroup_of(unit)]


def facts() -> Json:
    memory = meminfo()
    system = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', read("/etc/os-release") or "", re.MULTILINE))
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return {
        "memory": memory["MemTotal"], "swap": memory["SwapTotal"], "page_size": os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(), "system": system.get("PRETTY_NAME", ""), "cpus": os.cpu_count(), "v2": os.path.exists(f"{MOUNT}/cgroup.controllers"),
        "emulated": "TCG" in (read("/proc/cpuinfo") or "") or "QEMU Virtual CPU" in (read("/proc/cpuinfo") or ""), "missing": missing,
        "redis": "" if "redis-server" in missing else command("redis-server", "--version").strip(),
        "systemd": "" if "systemctl" in missing else command("systemctl", "--version").splitlines()[0],
        "busy": [] if "systemctl" in missing else running(),
    }  # fmt: skip


class Client:
    """As much of Redis' protocol as filling takes."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_START_SECONDS)
        self._socket.connect(path)
        self._answers = self._socket.makefile("rb")

    def __call__(self, *words: t.Union[str, bytes, int]) -> bytes:
        """The line that it answers with. Raises BenchError."""
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
        answer = self._answers.readline().strip()
        if not answer or answer.startswith(b"-"):
            raise BenchError(f"Redis: {answer.decode('utf-8', 'replace') or 'no answer'}")
        return answer

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


class Run:
    """All scenes of a run. C(workload) is vars/workload.yml, with sizes in bytes."""

    def __init__(self, workload: Json) -> None:
        self._workload = workload
        self._memory = meminfo()["MemTotal"]
        self._cgroups: t.Dict[str, str] = {}
        # Of the processor, by load: what the hog took, for the control.
        self._shares: t.Dict[str, float] = {}

    def start(self) -> Json:
        """Redis, empty. Raises BenchError."""
        if busy := running():
            raise BenchError(f"{', '.join(busy)} of another run: `clean` ends what was cut off")
        os.makedirs(DIRECTORY, mode=0o700, exist_ok=True)
        # No port: others on this node have no business here.
        options = {"--port": "0", "--unixsocket": SOCKET, "--unixsocketperm": "700", "--save": "", "--appendonly": "no", "--dir": DIRECTORY}
        start(REDIS, self._workload["service_slice"], ["redis-server", *(word for pair in options.items() for word in pair)])
        until(self._answers, "Redis answers", _START_SECONDS)
        return {"cgroup": cgroup_of(REDIS)}

    def measure(self) -> Json:
        """C({scenes: {scene: {waited, loads: {load: {figure: value}}, oom_kill}}}). Batch work has ended when it ends. Raises BenchError."""
        self._cgroups["service"] = cgroup_of(REDIS)
        if not self._cgroups["service"]:
            raise BenchError(f"{REDIS} does not run: `start` comes before `measure`")
        try:
            return {"scenes": {name: self._scene(name, scene) for name, scene in self._workload["scenes"].items()}}
        finally:
            stop(CLIENTS)
            stop(BATCH)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, BenchError), contextlib.closing(Client(SOCKET)) as client:
            return client("PING") == b"+PONG"
        return False

    def _fill(self) -> None:
        """Each value anew, so that nothing of it is in swap any more."""
        with contextlib.closing(Client(SOCKET)) as client:
            for load in self._workload["loads"].values():
                keys = self._keys(load)
                # Nothing that zswap or zram makes smaller.
                value = os.urandom(load["value_bytes"])
                client("SELECT", load["database"])
                for first in range(0, keys, _KEYS_AT_ONCE):
                    client("EVAL", _FILL, 0, first, min(first + _KEYS_AT_ONCE, keys) - 1, value)

    def _keys(self, load: Json) -> int:
        return max(1, int(self._memory * load["of_memory"]) // load["value_bytes"])

    def _scene(self, name: str, scene: Json) -> Json:
        """One kind of batch work, under each load."""
        killed = parse_rows(read("/proc/vmstat") or "").get("oom_kill", 0)
        self._fill()
        loads = {}
        waited: Json = {}
        tool = scene.get("tool")
        if tool:
            waited = self._start_batch(scene)
        for load_name, load in self._workload["loads"].items():
            if not tool:
                waited[load_name] = {"share": self._start_control(load_name)}
            loads[load_name] = self._window(load, scene)
            if name == self._workload["control_of"]:
                self._shares[load_name] = loads[load_name].get("batch_cpu", 0.0) / 100
        stop(BATCH)
        return {"waited": waited, "loads": loads, "oom_kill": parse_rows(read("/proc/vmstat") or "").get("oom_kill", 0) - killed}

    def _start_batch(self, scene: Json) -> Json:
        """Returns what was waited for, when there is pressure."""
        mib = int(self._memory * scene["of_memory"]) // MIB
        more = [f"--{name}={value}" for name, value in scene.get("options", {}).items()]
        if "touch_of_memory" in scene:
            more.append(f"--touch={self._memory * scene['touch_of_memory'] / MIB:.0f}")
        self._batch(["python3", f"{DIRECTORY}/memqos_pressure.py", scene["tool"], "--seconds=3600", f"--mib={mib}", *more])
        begun = time.monotonic()
        full: t.Callable[[], bool] = lambda: json.loads(last_line(BATCH_OUTPUT) or "{}").get(scene["full"], 0) >= mib * MIB  # noqa: E731
        # Held back by a bound of its own, it may never be: that is a finding, no failure.
        filled = True
        try:
            until(full, "batch work has what it wants", self._workload["fill_seconds"])
        except BenchError:
            if not last_line(BATCH_OUTPUT):
                raise BenchError(
                    f"batch work does not run: {command('journalctl', '--quiet', '--lines=3', '--output=cat', f'--unit={BATCH}').strip()}"
                ) from None
            filled = False
        seen = self._await_pressure()
        time.sleep(self._workload["settle_seconds"])
        return {"filled": filled, "seconds": time.monotonic() - begun, **seen}

    def _start_control(self, load: str) -> float:
        share = min(1.0, self._shares.get(load, 0.0))
        stop(BATCH)
        self._batch(["python3", os.path.abspath(__file__), "burn", f"--share={share:.3f}"])
        time.sleep(self._workload["settle_seconds"])
        return share

    def _batch(self, argv: t.List[str]) -> None:
        with open(BATCH_OUTPUT, "wb"):
            pass
        # What the OOM killer takes comes back after a second, and is counted.
        start(BATCH, self._workload["batch_slice"], argv, f"StandardOutput=append:{BATCH_OUTPUT}", "Restart=always", "RestartSec=1")
        self._cgroups["batch"] = cgroup_of(BATCH)

    def _await_pressure(self) -> t.Dict[str, float]:
        wanted, seconds = self._workload["pressure"], self._workload["pressure_seconds"]
        end, highest = time.monotonic() + seconds, dict.fromkeys(wanted, 0.0)
        at, before = time.monotonic(), self._counters()
        while time.monotonic() < end:
            time.sleep(_PSI_SECONDS)
            now, after = time.monotonic(), self._counters()
            found, seen = pressed(before, after, now - at, wanted)
            highest = {name: max(value, highest[name]) for name, value in seen.items()}
            if found:
                return seen
            at, before = now, after
        most = ", ".join(f"{name} {value:.3g} of {wanted[name]:g}" for name, value in highest.items())
        raise BenchError(f"no memory pressure within {seconds:g} s: at most {most}. On this node the workload is too small: memqos_bench_workload enlarges it")

    def _counters(self) -> t.Dict[str, Texts]:
        node = {"vmstat": read("/proc/vmstat") or "", "memory.pressure": read("/proc/pressure/memory") or ""}
        found = {"node": node}
        for who, cgroup in self._cgroups.items():
            texts = {name: read(f"{MOUNT}{cgroup}/{name}") for name in CGROUP_FILES}
            found[who] = {name: text for name, text in texts.items() if text is not None}
        return found

    def _window(self, load: Json, scene: Json) -> t.Dict[str, float]:
        # Once for nothing: what has to be read from disk for it is read.
        self._counters()
        at, before, line = time.monotonic(), self._counters(), last_line(BATCH_OUTPUT)
        texts = self._clients(load)
        seconds, after, done = time.monotonic() - at, self._counters(), last_line(BATCH_OUTPUT)
        found = {**rates(before, after, seconds), **latencies([parse_benchmark(text) for text in texts])}
        rate = work(line, done, scene["work"]) if "work" in scene else None
        return {**found, **({"batch_mib_per_second": rate} if rate is not None else {})}

    def _clients(self, load: Json) -> t.List[str]:
        """What each redis-benchmark prints; all start at once. Their own memory is not what is measured: it is not swapped."""
        outputs, lines = [], []
        for number, client in enumerate(load["clients"]):
            outputs.append(f"{DIRECTORY}/client-{number}.out")
            options = ["-t", client["command"], "-c", client["connections"], "-n", client["requests"], "-r", self._keys(load), "-d", load["value_bytes"]]
            words = " ".join(str(word) for word in ["redis-benchmark", "-s", SOCKET, "--dbnum", load["database"], *options])
            lines.append(f"{words} >{outputs[-1]} 2>&1 &")
        seconds = self._workload["window_seconds"]
        argv = ["systemd-run", "--quiet", "--wait", f"--unit={CLIENTS}", "--property=MemorySwapMax=0", f"--property=RuntimeMaxSec={seconds}"]
        try:
            command(*argv, "sh", "-c", " ".join([*lines, "wait"]), seconds=seconds + _START_SECONDS)
        except BenchError as exc:
            raise BenchError(f"{exc}. The requests of a window were not answered within {seconds} s, or redis-benchmark failed") from None
        return [read(path) or "" for path in outputs]


def clean() -> Json:
    """All that a run has on the node, but for the programs."""
    for unit in (CLIENTS, BATCH, REDIS):
        stop(unit)
    for name in (SOCKET, BATCH_OUTPUT):
        with contextlib.suppress(OSError):
            os.unlink(name)
    return {"cleaned": True}


def burn(share: float) -> None:
    """Takes this share of one processor, and never returns."""
    while True:
        begun = time.process_time()
        at = time.monotonic()
        while time.process_time() - begun < share * _BURN_SECONDS:
            pass
        time.sleep(max(0.0, _BURN_SECONDS - (time.monotonic() - at)))


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    """The exit status: 0, or 1 with a message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("facts", "start", "measure", "clean", "burn"))
    parser.add_argument("--share", type=float, default=0.0)
    options = parser.parse_args(argv)
    try:
        if options.what == "burn":
            burn(options.share)
        if options.what in ("start", "measure"):
            run = Run(json.load(sys.stdin))
            done = run.start() if options.what == "start" else run.measure()
        else:
            done = {"facts": facts, "clean": clean}[options.what]()
    except BenchError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    print(json.dumps(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
