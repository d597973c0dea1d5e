# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs in the guest: two controllers at once, beside a human, TuneD and daemon-reloads; and one that strace watches.

Input is a line of {programs} and then one of each run; each line of output says what became of it. What a kernel file held when is known from three sources:
a watcher that reads all of them again and again, the human's log, and what was read before and after.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry

from . import driver, reading, rule, table, traced

Json = dict[str, t.Any]

_PLACE = "/var/tmp/memqos-controllers"
# Emulated, two at once, beside daemon-reloads.
_SECONDS = 400.0


class Seen:
    """What each file held, and since when: (monotonic seconds, value), from one moment to the next in which somebody looked."""

    def __init__(self, paths: t.Iterable[str]) -> None:
        self.values: dict[str, list[tuple[float, str]]] = {path: [] for path in paths}
        self._lock = threading.Lock()

    def note(self, path: str, value: str) -> None:
        with self._lock:
            self.values[path].append((time.monotonic(), value))

    def look(self) -> None:
        for path, known in self.values.items():
            value = reading.text(path) or ""
            if not known or known[-1][1] != value:
                self.note(path, value)

    def held(self, path: str, begin: float, end: float) -> list[str]:
        """All that it held between these two, what it held at the first included."""
        with self._lock:
            rows = list(self.values[path])
        before = [value for moment, value in rows if moment <= begin][-1:]
        return [*before, *(value for moment, value in rows if begin < moment <= end)]


class Others:
    """The human, TuneD, and who reloads: until they are told to stop. Each waits by dice of its own."""

    def __init__(self, seed: int, seen: Seen) -> None:
        self._seen, self._stop = seen, threading.Event()
        self.log: list[Json] = []
        jobs = (self._human, self._tuned, self._reloads, self._watch)
        self._threads = [threading.Thread(target=self._again, args=(job, random.Random(f"{seed} {job.__name__}"))) for job in jobs]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _again(self, job: t.Callable[[random.Random], float], dice: random.Random) -> None:
        """Where all is slow they are, too: each is at work a quarter of the time at most, or nobody else came to anything."""
        wait = 0.0
        while not self._stop.wait(wait):
            begun = time.monotonic()
            wait = max(job(dice), 3 * (time.monotonic() - begun))

    def _human(self, dice: random.Random) -> float:
        name = dice.choice(list(table.HUMANS))
        path, value = _registry.find(name).path, dice.choice(table.HUMANS[name])
        begun = time.monotonic()
        subprocess.run(["sysctl", "-qw", f"{name}={value}"], check=True)
        self._seen.note(path, str(value))
        self.log.append({"at": round(begun, 3), "done": round(time.monotonic(), 3), "path": path, "value": str(value)})
        return dice.uniform(0.5, 6.0)

    def _tuned(self, dice: random.Random) -> float:
        subprocess.run(["tuned-adm", "profile", dice.choice(list(table.TUNED_PROFILES))], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return dice.uniform(4.0, 12.0)

    def _reloads(self, dice: random.Random) -> float:
        subprocess.run(["systemctl", "daemon-reload"], check=True)
        return dice.uniform(3.0, 8.0)

    def _watch(self, dice: random.Random) -> float:
        del dice
        self._seen.look()
        return 0.02


class Controller:
    """A module as Ansible runs it: its program piped into Python."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begin = time.monotonic()
        with open(f"{_PLACE}/{name}", "rb") as program:
            self._process = subprocess.Popen(["python3"], stdin=program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.pid, self.end = self._process.pid, 0.0
        self.answer: Json = {}

    def wait(self) -> None:
        try:
            output, errors = self._process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, errors = self._process.communicate()
        self.end = time.monotonic()
        self.answer = answered(output.decode(), errors.decode("utf-8", "replace"))


def answered(output: str, errors: str) -> Json:
    """{told} what a module returned, {crash} if that is no answer."""
    lines = output.strip().splitlines()
    try:
        found: Json = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {"crash": f"{output[-500:]} {errors[-1500:]}"}
    if found.get("exception") or errors.strip():
        return {"crash": f"{found.get('exception', '')} {found.get('msg', '')} {errors[-1500:]}"}
    return {"failed": bool(found.get("failed")), "msg": str(found.get("msg", "")), "tune": json.loads(found["tune"]) if "tune" in found else None}


class Node(driver.Node):
    """C(origin): as the machine was before the first controller."""

    def __init__(self, programs: dict[str, str]) -> None:
        for profile, (swappiness, pages) in table.TUNED_PROFILES.items():
            os.makedirs(f"/etc/tuned/{profile}", exist_ok=True)
            with open(f"/etc/tuned/{profile}/tuned.conf", "w", encoding="ascii") as stream:
                stream.write(f"[main]\nsummary=chaos\n\n[sysctl]\nvm.swappiness={swappiness}\n\n[vm]\ntransparent_hugepages={pages}\n")
        super().__init__()
        # The one that it chooses itself sets more than ours do.
        subprocess.run(f"systemctl start tuned.service && tuned-adm profile {next(iter(table.TUNED_PROFILES))}", shell=True, check=True)
        os.makedirs(_PLACE, mode=0o700, exist_ok=True)
        for name, program in programs.items():
            with open(f"{_PLACE}/{name}", "wb") as binary:
                binary.write(base64.b64decode(program))
        self.foreign = {*table.TUNEDS, *(_registry.find(name).path for name in table.HUMANS)}
        self.known = self._known()
        self.origin = self.read()

    def _known(self) -> dict[str, str]:
        found = {}
        for host, slices in table.CONTROLLERS.values():
            found.update({name: _registry.find(name).path for name in host})
            found.update({f"{unit} {name}": self.file_of(unit, name) for unit, given in slices.items() for name in given})
        return found

    def contend(self, run: Json) -> Json:
        seen = Seen({*self.known.values(), *self.foreign})
        seen.look()
        others = Others(run["seed"], seen)
        controllers = [Controller(run["first"])]
        time.sleep(run["apart"])
        controllers.append(Controller(run["second"]))
        try:
            for controller in controllers:
                controller.wait()
        finally:
            others.stop()
        seen.look()
        problems = [f"{controller.name}: {text}" for at, controller in enumerate(controllers) for text in self._judged(controller, controllers[1 - at], seen)]
        problems += self._half_done()
        came = " and ".join(sorted(_came(controller.answer) for controller in controllers))
        kept = {"answers": [controller.answer for controller in controllers], "log": others.log, "seen": seen.values} if problems else None
        return {"problems": problems, "came": came, "human": len(others.log), "kept": kept}

    def _judged(self, controller: Controller, other: Controller, seen: Seen) -> list[str]:
        """Whether this answer is true."""
        answer = controller.answer
        if "crash" in answer:
            return [f"it crashed: {answer['crash']}"]
        if "another run" in answer["msg"]:
            named = re.search(r"process (\d+)", answer["msg"])
            return [] if named and int(named[1]) == other.pid else [f"it does not say that {other.pid} was there first: {answer['msg']}"]
        told = answer["tune"]
        if told is None:
            known = ("there is nothing to roll back", "nothing was written")
            return [] if any(words in answer["msg"] for words in known) else [f"it failed otherwise: {answer['msg']}"]
        if told["problem"]:
            # What is undone is seen in _half_done; it says of whom.
            said = [row for row in told["results"] if row["status"] in ("changed", "would_change")]
            if not told["clean"] and "Not undone" not in told["problem"]:
                return [f"half done, and it does not say of what: {told['problem']}"]
            return [f"it failed, and says {row['status']} of {row['name']}" for row in said]
        return [text for row in told["results"] for text in self._row(row, controller, seen)]

    def _row(self, row: Json, controller: Controller, seen: Seen) -> t.Iterator[str]:
        """What it calls changed or ok was in the kernel while it ran, and where nobody else writes it is what was wanted."""
        path = self.known.get(f"{row['subject']} {row['name']}".strip(), "")
        if row["status"] not in ("changed", "ok") or row["live_after"] is None or path not in seen.values:
            return
        held = seen.held(path, controller.begin, controller.end)
        if not any(rule.same(row["live_after"], value) for value in held):
            yield f"it says {row['status']}, {row['live_after']}, and {path} held {held} while it ran"
        if path not in self.foreign and row["wanted"] is not None and not rule.same(row["wanted"], row["live_after"]):
            yield f"it says {row['status']}, wanted {row['wanted']}, live {row['live_after']}"

    def _half_done(self) -> list[str]:
        """With all others still, the node is what the journal says that it is: all of what stands, and nothing else."""
        driver.Child("recover", {}).wait()
        state, ours = self.read(), driver.standing()
        problems = [f"left over: {path}" for path in reading.leftovers(settled=False)]
        for path in sorted({*state, *self.origin, *ours}):
            now = state.get(path)
            now = now[0] if isinstance(now, list) and isinstance(now[0], str) else now
            wanted = ours[path] if path in ours else self.origin.get(path)
            wanted = wanted[0] if isinstance(wanted, list) and isinstance(wanted[0], str) else wanted
            if path in self.foreign or path in rule.LAID or os.path.isdir(path):
                continue
            if now != wanted and (now is None or wanted is None or not rule.same(wanted, now)):
                problems.append(f"{path} holds {str(now)[:100]!r}, and by the journal {str(wanted)[:100]!r}")
        return problems

    def trace(self) -> Json:
        """A tune that has to be confirmed, and the way back, under strace."""
        kernel_files = {*self.files, *(path for path in self.read() if "/memory." in path)}
        subprocess.run(["rm", "-rf", reading.STATE], check=True)
        problems, count = [], 0
        for name in ("arm", "give-up", "a-0", "b-0", "back-0"):
            file = f"{_PLACE}/trace"
            calls = ",".join(f"?{call}" for call in traced.CALLS)
            argv = [
                "strace",
                "-f",
                "--seccomp-bpf",
                "-y",
                "-qq",
                "-s",
                "4096",
                "-e",
                f"trace={calls}",
                "-o",
                file,
                "python3",
            ]
            with open(f"{_PLACE}/{name}", "rb") as program:
                done = subprocess.run(argv, stdin=program, capture_output=True, timeout=_SECONDS * 3, check=False)
            answer = answered(done.stdout.decode(), done.stderr.decode("utf-8", "replace"))
            if "crash" in answer or answer["failed"]:
                problems.append(f"{name} under strace: {answer}")
            with open(file, encoding="utf-8", errors="replace") as stream:
                found = traced.changes(stream.read())
            count += len(found)
            wrote = {change.path for change in found}
            problems += [f"{name} changes {change}" for change in traced.elsewhere(found, kernel_files)]
            missing = [path for path in _TRACED.get(name, ()) if path not in wrote]
            problems += [f"{name}: the trace has no {path}: {json.dumps(answer)[:3000]}" for path in missing]
        return {"problems": problems, "came": f"{count} changes traced", "human": 0, "kept": None}


# What has to be in it, or the trace has seen nothing.
_TRACED = {
    "arm": ("/var/lib/memqos/lock", "/etc/systemd/system/memqos-undo.service"),
    "a-0": ("/proc/sys/vm/swappiness", "/sys/kernel/mm/transparent_hugepage/enabled", "/etc/sysctl.d/zz-memqos.conf"),
    "back-0": ("/proc/sys/vm/swappiness", "/etc/sysctl.d/zz-memqos.conf"),
}


def _came(answer: Json) -> str:
    if "crash" in answer:
        return "crashed"
    if answer["tune"] is None:
        return "refused: another run" if "another run" in answer["msg"] else "nothing to roll back" if "nothing to roll back" in answer["msg"] else "refused"
    if answer["tune"]["problem"]:
        return "undone" if answer["tune"]["clean"] and answer["tune"]["problem"].find("undone") >= 0 else "refused" if answer["tune"]["clean"] else "half done"
    return "done" if answer["tune"]["generation"] else "nothing to do"


def main() -> int:
    node = Node(json.loads(sys.stdin.readline())["programs"])
    driver.say({"ready": os.uname().release, "files": len(node.files)})
    for line in sys.stdin:
        run, begun = json.loads(line)["run"], time.monotonic()
        with contextlib.suppress(BlockingIOError):
            told = node.trace() if run["second"] == "" else node.contend(run)
        driver.say({"done": {**told, "seconds": round(time.monotonic() - begun, 1)}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
