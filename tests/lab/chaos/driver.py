# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs in the guest: takes drawn runs from its input, one a line, and prints an account of each, which rule.judge judges.

The parent has imported all, and makes a child for each run of _tune: what a child does to itself, or is done to, ends with it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import json
import os
import signal
import subprocess
import sys
import time
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _boot, _confirm, _journal, _tune, _undo
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable
from ansible_collections.memqos.fleet.plugins.module_utils._steps import FileStep, PropertyStep, WriteStep
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Refused, Writer

from . import loads, reading, rule, table

Json = dict[str, t.Any]

# What the modules expect; all else is a crash.
EXPECTED = (_tune.TuneError, _journal.JournalError, Refused, Unreadable, OSError)
UNITS = {
    "chaosa-load.service": "[Service]\nSlice=chaosa.slice\nExecStart=/bin/sleep infinity\nMemoryAccounting=yes\n",
    "chaosc-one.service": "[Service]\nSlice=chaosc.slice\nExecStart=/bin/sleep infinity\nMemoryAccounting=yes\n",
    "chaos@.service": "[Service]\nSlice=chaosb-x.slice\nExecStart=/bin/sleep infinity\nMemoryAccounting=yes\n",
}
RUNNING = ("chaosa-load.service", "chaosc-one.service", "chaos@1.service", "chaos@2.service")
COUNTED = (*RUNNING, "chaosa.slice", "chaosb.slice", "chaosb-x.slice", "chaosc.slice")
META = {"host": "chaos", "started": "2026-11-23T09:00:00Z", "profiles": ["chaos"], "run_id": "chaos"}
KEEP = {"generations": 20, "since": "2020-01-01T00:00:00Z"}
OPTIONS: Json = {"on_conflict": "report", "fail_on_unsupported": False, "only": [], "allow": [], "sysctl_file": "zz-memqos.conf", "swap": True}
# Emulated, beside others.
SECONDS = 240.0
_SHRINK_SECONDS = 30
# Nobody waits so long: what its end does is done at once.
_CONFIRM_SECONDS = 3600
_PAGE = 4096


class Struck(Writer):
    """A writer that meets the fault at its C(at)th operation."""

    def __init__(self, fault: Json, note: t.Callable[[str], None]) -> None:
        super().__init__("/")
        self._fault, self._note = fault, note

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        fault, at = self._fault, self._fault.get("at", 0)
        if self.operations == at or (fault["kind"] == "dead" and self.operations >= at > 0):
            self._note(f"{self.operations} {what} {path}")
            _STRIKES[fault["kind"]](fault)


def _error(fault: Json) -> None:
    raise OSError(fault["errno"], os.strerror(fault["errno"]))


def _kill(fault: Json) -> None:
    os.kill(os.getpid(), getattr(signal, fault.get("signal", "SIGKILL")))
    time.sleep(0.05)  # a signal that has a handler


def _write(path: str, text: t.Any) -> None:
    with open(path, "w", encoding="ascii") as stream:
        stream.write(f"{text}\n")


def _second(fault: Json) -> None:
    """Another run, which waits for nobody, in a process of its own: what holds the lock must not go with a fork."""
    del fault
    _write(f"{_SCRATCH}/second", "")
    deadline = time.monotonic() + SECONDS
    while not os.path.exists(f"{_SCRATCH}/second.done") and time.monotonic() < deadline:
        time.sleep(0.02)


def _clock(fault: Json) -> None:
    del fault
    time.clock_settime(time.CLOCK_REALTIME, time.time() - 3600)


def _reload(fault: Json) -> None:
    del fault
    subprocess.run(["systemctl", "daemon-reload"], check=True)


def _reset(fault: Json) -> None:
    """As a power cut: nothing more goes to the disk."""
    del fault
    _write("/proc/sysrq-trigger", "b")
    time.sleep(SECONDS)


_STRIKES: dict[str, t.Callable[[Json], None]] = {
    "kill": _kill, "signal": _kill, "errno": _error, "dead": _error, "second": _second, "clock": _clock, "reset": _reset,
    "sysctl": lambda fault: _write(_registry.find(fault["knob"]).path, fault["value"]),
    "cgroup": lambda fault: _write(fault["path"], fault["value"]),
    "reload": _reload,
    "full": lambda fault: None, "none": lambda fault: None,
}  # fmt: skip
assert set(_STRIKES) == {*table.FAULTS, "reset"}
_SCRATCH = "/dev/shm/memqos-chaos"
_GENERATORS = "/run/systemd/system-generators"


def _layers(values: Json) -> list[Json]:
    def entries(given: Json) -> Json:
        return {name: {"value": value} for name, value in given.items()}

    layer = {"profile": "chaos", "host": entries(values["host"]), "slices": {unit: entries(given) for unit, given in values["slices"].items()}}
    if "swap" in values:
        layer["swap"] = {"file": {**values["swap"], "size": {"value": values["swap"]["size"]}}}
    return [layer]


@functools.lru_cache(None)
def _code() -> bytes:
    """What lies ready for the next boot. To pack it takes a second where all is emulated: the parent has done that (main)."""
    return _boot.archive()


def ask(action: str, values: Json, writer: Writer, *, wait: float = 0) -> Json:
    """As a module does, but for Ansible. C(armed): a tune that waits to be confirmed, as the action plugin makes one."""
    work = _tune.Work(Tree("/"), writer, check=False, code=_code)
    if action == "confirm":
        return {**_confirm.confirm({"wait": wait}, work), "clean": True, "results": []}
    if action == "undo":
        return {"problem": "", "changed": True, "generation": 0, "clean": True, "results": [], "told": _undo.undo(_undo.Undo(Tree("/"), writer, code=_code))}
    if action == "recover":
        with work.locked(wait, ()):
            return {"problem": "", "changed": work.undone, "generation": 0, "clean": True, "results": []}
    # In one call: nobody looks on.
    common = {"wait": wait, "meta": META, "keep": KEEP, "shrink": {"within": _SHRINK_SECONDS, "slice": _SHRINK_SECONDS, "last": True}}
    if action == "rollback":
        return _tune.rollback({**common, "to": "origin", "force": False, "allow": []}, work)
    request = {**common, "layers": _layers(values), "options": OPTIONS}
    if action != "armed":
        return _tune.tune(request, work)
    token = f"{time.monotonic_ns():x}"
    armed = _confirm.arm({"token": token, "within": _CONFIRM_SECONDS, "allow": [], "started": META["started"], "wait": wait}, work)
    request.update(until=armed["until"], meta={**META, "confirm": token})
    answer = _tune.tune(request, _tune.Work(Tree("/"), writer, check=False, code=_code))
    if not answer["generation"]:
        # What the tune said stands if that fails, as for the action plugin; the rule knows where it may.
        try:
            _confirm.give_up({"token": token, "wait": wait}, _tune.Work(Tree("/"), writer, check=False, code=_code))
        except EXPECTED as exc:
            answer = {**answer, "left_armed": str(exc)}
    return answer


def standing() -> dict[str, t.Any]:
    """What the journal says that the node holds because of us: {path: text, None for no file}."""
    parts: list[WriteStep | FileStep] = []
    for step in _journal.Journal(Writer("/")).origin():
        if isinstance(step, (WriteStep, FileStep)):
            parts.append(step)
        elif isinstance(step, PropertyStep):
            parts += [*step.files, *step.drop_ins]
    return {part.path: part.after for part in parts}


class Child:
    """A run in a process of its own."""

    def __init__(self, action: str, values: Json, *, fault: Json | None = None, wait: float = 0) -> None:
        self._file = f"{_SCRATCH}/{action}-{time.monotonic_ns()}"
        self.fault = fault or {"kind": "none", "at": 0}
        self._pid = os.fork()
        if not self._pid:
            self._run(action, values, wait)

    def _run(self, action: str, values: Json, wait: float) -> t.NoReturn:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        found: Json = {}
        try:
            found["answer"] = json.loads(json.dumps(ask(action, values, Struck(self.fault, self._note), wait=wait), default=list))
        except EXPECTED as exc:
            found["error"] = f"{exc.path}: {exc.reason}" if isinstance(exc, Unreadable) else str(exc)
        except KeyboardInterrupt:
            found = {}
        except BaseException as exc:
            found["crash"] = f"{type(exc).__name__}: {exc}"
        with open(self._file, "w", encoding="utf-8") as stream:
            json.dump(found, stream)
        os._exit(0)

    def _note(self, words: str) -> None:
        with open(f"{self._file}.struck", "a", encoding="utf-8") as stream:
            stream.write(f"{words}\n")

    def wait(self, meanwhile: t.Callable[[], None] = lambda: None) -> Json:
        """{answer} or {error}, neither if it was killed; C(struck): the operation that met the fault."""
        deadline = time.monotonic() + SECONDS
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            meanwhile()
            if time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                return {"crash": f"it did not end within {SECONDS:g} s"}
            time.sleep(0.05)
        found: Json = {}
        with contextlib.suppress(FileNotFoundError), open(self._file, encoding="utf-8") as stream:
            found = json.load(stream)
        with contextlib.suppress(FileNotFoundError), open(f"{self._file}.struck", encoding="utf-8") as stream:
            found["struck"] = stream.readline().strip()
        return found


class Node:
    """This machine, with units that run."""

    def __init__(self) -> None:
        os.makedirs(_SCRATCH, exist_ok=True)
        for name, text in UNITS.items():
            # Where no run of ours writes.
            with open(f"/usr/lib/systemd/system/{name}", "w", encoding="utf-8") as stream:
                stream.write(text)
        # Two thirds of what a daemon-reload takes; until the next boot.
        os.makedirs(_GENERATORS, exist_ok=True)
        for name in os.listdir("/usr/lib/systemd/system-generators"):
            with contextlib.suppress(FileExistsError):
                os.symlink("/dev/null", f"{_GENERATORS}/{name}")
        subprocess.run("systemctl daemon-reload && sync", shell=True, check=True)
        subprocess.run(["systemctl", "start", *RUNNING], check=True)
        if not os.path.exists(loads.CACHE):
            loads.prepare()
        self.files = reading.host_files()
        self.swaps = [line.split()[0] for line in (reading.text("/proc/swaps") or "").splitlines()[1:]]
        self.kmsg = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        self.kernel_said()

    def read(self, *, booted: bool = False) -> rule.State:
        """C(booted): between the states came a boot, which takes what lies in /run."""
        state = reading.read(self.files, COUNTED)
        # On v1 cgroups that a boot makes begin with the vm.swappiness of that boot.
        return {
            path: value
            for path, value in state.items()
            if not (booted and (path in rule.OF_BOOT or path.startswith("/run/") or path.endswith("/memory.swappiness")))
        }

    def left(self, *, swap: bool) -> list[str]:
        """A timer of ours; that swap of the machine is off (C(swap): it was to stay on)."""
        timer = subprocess.run(["systemctl", "is-active", "--quiet", f"{_boot.TIMER}.timer"], check=False).returncode == 0
        off = sorted({*self.swaps} - {*reading.swaps()}) if swap else []
        return [*([f"{_boot.TIMER}.timer, which ticks"] if timer else []), *(f"{path}, which is off" for path in off)]

    def kernel_said(self) -> list[str]:
        """Of kills, since it was last asked."""
        found: list[str] = []
        while True:
            try:
                line = os.read(self.kmsg, 8192).decode("utf-8", "replace")
            except BlockingIOError:
                return found
            except OSError as exc:
                if exc.errno != errno.EPIPE:
                    raise
                continue
            if "oom-kill:" in line or "Killed process" in line:
                found.append(line.partition(";")[2].splitlines()[0][:300])

    def file_of(self, unit: str, name: str) -> str:
        """Of a property, where it is; empty on a hierarchy without it."""
        file = {"MemoryMax": "memory.limit_in_bytes"}.get(name, "") if reading.mount().endswith("/memory") else f"memory.{name[6:].lower()}"
        found = reading.cgroup(unit)
        return f"{found}/{file}" if file and found else ""

    def known_files(self, run: Json) -> dict[str, str]:
        """{subject knob: path}, of all plans of this run."""
        found = {}
        for values in filter(None, (run["plan"], run["earlier"])):
            found.update({name: _registry.find(name).path for name in values["host"]})
            found.update({f"{unit} {name}": self.file_of(unit, name) for unit, given in values["slices"].items() for name in given if "@." not in unit})
        return {name: path for name, path in found.items() if path}

    def wanted(self, values: Json) -> dict[str, str]:
        found = {_registry.find(name).path: str(value) for name, value in values["host"].items()}
        for unit, given in values["slices"].items():
            for one in ("chaos@1.service", "chaos@2.service") if unit == "chaos@.service" else (unit,):
                for name, value in given.items():
                    if unit != "chaos@.service" or name not in values["slices"].get(one, {}):
                        found[self.file_of(one, name)] = str(value)
        found = {path: text for path, text in found.items() if path and os.path.exists(path)}
        swap = values.get("swap")
        # A page of it is its header.
        return {**found, **({f"swap {reading.swap_file(swap['size'])}": f"{(swap['size'] - _PAGE) // 1024} {swap['priority']}"} if swap else {})}


def _foreign(run: Json, node: Node) -> Json:
    """What the fault writes beside us."""
    fault = run["fault"]
    if fault["kind"] == "sysctl":
        return {_registry.find(fault["knob"]).path: str(fault["value"])}
    if fault["kind"] == "cgroup":
        fault["path"] = node.file_of(fault["unit"], "MemoryMax")
        return {fault["path"]: str(fault["value"])}
    return {}


def begin(run: Json, node: Node) -> Json:
    """The account up to the fault. C(origin): before all of it."""
    booted = run["fault"]["kind"] == "reset"
    account: Json = {"run": run, "kills_before": reading.kills(), "origin": node.read(booted=booted), "loads": [], "foreign": _foreign(run, node)}
    account.update(booted=booted, leftovers=[])
    node.kernel_said()
    load = run["load"]
    if load:
        if not load["swap"]:
            subprocess.run(["swapoff", *node.swaps], check=True)
        account["loads"] = [loads.start(load["kind"], load["mib"], reading.cgroup("chaosa-load.service"))]
    account["earlier"] = Child("tune", run["earlier"]).wait() if run["earlier"] else {}
    account["before"] = node.read(booted=booted)
    return account


@contextlib.contextmanager
def _full(run: Json) -> t.Iterator[None]:
    """The state directory on a file system with few pages left."""
    if run["fault"]["kind"] != "full":
        yield
        return
    lying = f"{_SCRATCH}/state.tar"
    subprocess.run(f"mkdir -p -m 0700 {reading.STATE} && tar -C {reading.STATE} -cf {lying} . && mount -t tmpfs -o size=512k,mode=700 chaos {reading.STATE} "
                   f"&& tar -C {reading.STATE} -xf {lying}", shell=True, check=True)  # fmt: skip
    filler = f"{reading.STATE}/filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * _PAGE)
    os.truncate(filler, max(0, os.stat(filler).st_size // _PAGE - run["fault"]["free"]) * _PAGE)
    try:
        yield
    finally:
        os.unlink(filler)
        # What the run has left is what the next one finds.
        subprocess.run(f"tar -C {reading.STATE} -cf {lying} . && umount {reading.STATE} && find {reading.STATE} -mindepth 1 -delete "
                       f"&& tar -C {reading.STATE} -xf {lying}", shell=True, check=True)  # fmt: skip


def strike(run: Json, account: Json, node: Node) -> None:
    """The run with the fault."""
    real, monotonic = time.time(), time.monotonic()
    for name in ("second", "second.done"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{_SCRATCH}/{name}")

    def meanwhile() -> None:
        if os.path.exists(f"{_SCRATCH}/second") and not os.path.exists(f"{_SCRATCH}/second.done"):
            account["second"] = Child(run["action"], run["plan"]).wait()
            _write(f"{_SCRATCH}/second.done", "")

    with _full(run):
        # The first one waits for a second that was quicker.
        account["ended"] = Child(_asked(run), run["plan"], fault=run["fault"], wait=60.0 if run["fault"]["kind"] == "second" else 0).wait(meanwhile)
    if run["fault"]["kind"] == "clock":
        time.clock_settime(time.CLOCK_REALTIME, real + time.monotonic() - monotonic)
    account["faulted"] = node.read(booted=account["booted"])


def _asked(run: Json) -> str:
    return "armed" if run["confirm"] else str(run["action"])


def _decide(run: Json, account: Json) -> None:
    """Somebody confirms, or the time is over: then what the timer runs does what is to be done. After a reset the boot has."""
    account["over"] = run["confirm"] == "over"
    if run["confirm"] == "confirmed":
        account["decided"] = Child("confirm", run["plan"]).wait()
    elif account["over"] and not account["booted"]:
        done = subprocess.run(["systemctl", "start", "--wait", f"{_boot.TIMER}.service"], capture_output=True, text=True, check=False)
        account["decided"] = done.stderr
        if "not found" in done.stderr and os.path.exists(f"{reading.STATE}/armed.json"):
            # It was cut off before there was a timer: the next boot would do it.
            account["decided"] = str(Child("undo", run["plan"]).wait())


def finish(run: Json, account: Json, node: Node) -> None:
    """Mends, runs once more, goes back to the origin, and cleans up."""
    if run["again"]:
        account["once_struck"] = Child("recover", run["plan"], fault=run["again"]).wait()
    _decide(run, account)
    account["recovered"] = Child("recover", run["plan"]).wait()
    account["mended"] = node.read(booted=account["booted"])
    account["leftovers"] += reading.leftovers(settled=False)
    account["standing"] = standing()
    account["files"], account["wanted"] = node.known_files(run), node.wanted(run["plan"]) if run["action"] == "tune" else {}
    account["repeated"] = Child(_asked(run), run["plan"]).wait()
    if run["confirm"]:
        account["confirmed"] = Child("confirm", run["plan"]).wait()
    account["again"] = node.read(booted=account["booted"])
    account["back"] = _plain(Child("rollback", run["plan"]).wait())
    account["end"] = node.read(booted=account["booted"])
    account["leftovers"] += [*reading.leftovers(settled=account["back"]["generation"] > 0), *node.left(swap=not run["load"] or run["load"]["swap"])]
    account["loose"] = ["/proc/sys/vm/nr_hugepages"]
    account["refusable"] = bool(run["load"] and run["load"]["below"])
    if run["load"]:
        time.sleep(table.KILL_SECONDS)
    now = reading.kills()
    account["kills"] = [f"{path} {now[path] - count} more" for path, count in account["kills_before"].items() if now.get(path, count) != count]
    account["kills"] += node.kernel_said()
    for child in account["loads"]:
        loads.end(child)
    if run["load"] and not run["load"]["swap"]:
        subprocess.run(["swapon", *node.swaps], check=True)
    _clean(account, node)


def _plain(ended: Json) -> Json:
    return {**ended, "generation": (ended.get("answer") or {}).get("generation", 0)}


def _clean(account: Json, node: Node) -> None:
    """What a human wrote goes back, and the journal goes: the next run has a node that was never tuned."""
    for path in account["foreign"]:
        _write(path, account["origin"][path])
    subprocess.run(["rm", "-rf", reading.STATE], check=True)
    for path in sorted(rule.LAID, key=len, reverse=True):
        with contextlib.suppress(OSError):
            (os.rmdir if path.endswith(".d") else os.unlink)(path)
    for name in os.listdir(_SCRATCH):
        with contextlib.suppress(OSError):
            os.unlink(f"{_SCRATCH}/{name}")
    account["clean"] = rule.differences(node.read(booted=account["booted"]), account["origin"], foreign={})


def main() -> int:
    """Each line of input is {run} or, after a reset, {account}; each line of output what became of one, or the account of one that a reset will end."""
    node = Node()
    _code()
    # What is there now is never looked at by a child's collector, and so stays one copy.
    gc.freeze()
    say({"ready": os.uname().release, "files": len(node.files)})
    for line in sys.stdin:
        asked = json.loads(line)
        account = asked.get("account")
        started = time.monotonic()
        if account:
            # The boot has done that, before units of ours started.
            account["leftovers"] = ["a boot: " + path for path in reading.leftovers(settled=False)]
            account["faulted"] = node.read(booted=account["booted"])
            account["ended"] = {}
            account["kills_before"], account["loads"] = reading.kills(), []
        else:
            run = asked["run"]
            account = begin(run, node)
            if run["fault"]["kind"] == "reset":
                say({"account": account})
                subprocess.run(["sync"], check=True)
            strike(run, account, node)
            if run["fault"]["kind"] == "reset":
                _reset(run["fault"])  # it has fewer operations, and ends with its last one
        finish(account["run"], account, node)
        account["seconds"] = round(time.monotonic() - started, 1)
        problems = rule.judge(account)
        told = {
            "seconds": account["seconds"],
            "took": account.get("took"),
            "struck": account["ended"].get("struck", ""),
            "problems": problems,
            "clean": not account["clean"],
        }
        say({"done": {**told, "came": rule.came(account), "account": account if problems or account["clean"] else None}})
    return 0


def say(words: Json) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
