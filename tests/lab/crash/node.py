# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine that is tuned, cut short, and looked at by shell alone."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tarfile
import time
import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _tuning

from ..common import GUEST_SCRIPTS
from ..effect.guest import Guest
from ..machines import LabError
from ..vms import BOOT_SECONDS, State, ssh_argv

DIRECTORY = "/root/memqos-crash"
STATE = "/var/lib/memqos"
SERVICE = "memqos-undo.service"
PROFILES = GUEST_SCRIPTS.parents[2] / "molecule" / "shared" / "profiles"
# What lies there for the next boot: it may outlive a run that was cut short before it began.
LAID = ("memqos-undo", "/basic.target.d")
_SCRIPTS = ("cut.py", "tune-seed.sh", "tune-state.sh", "tune-verify.sh")
_COMMAND_SECONDS = 600.0
_ANSWER_SECONDS = 90.0
_SENT = GUEST_SCRIPTS.parents[1] / "tools" / "sent.py"
_OPTIONS = {"on_conflict": "report", "fail_on_unsupported": False, "only": [], "allow": [], "sysctl_file": "zz-memqos.conf"}
# Each line is something that is wrong with a machine that has come up.
_LOOK = f"""
[ ! -e {STATE}/pending.jsonl ] || echo "{STATE}/pending.jsonl is still there"
[ ! -e {STATE}/armed.json ] || echo "{STATE}/armed.json is still there"
systemctl list-units --failed --plain --no-legend | grep memqos || true
journalctl -b -q --no-pager -o cat -g 'ordering cycle' | grep memqos || true
[ ! -e /etc/systemd/system/{SERVICE} ] || systemd-analyze verify /etc/systemd/system/{SERVICE} 2>&1 | grep memqos || true
"""


class Cut(t.NamedTuple):
    """What the program on the guest said; C(answer) is empty where it was killed."""

    answer: dict[str, t.Any]
    operations: str


class Node:
    """C(before): what it is like untouched. All methods raise LabError."""

    def __init__(self, state: State, *, scratch: Path, out: Path) -> None:
        self.guest = Guest(state, "node", scratch=scratch, log=out / "ansible.log")
        self.before: list[str] = []
        self._state = state
        self._out = out
        self._scratch = scratch

    def prepare(self) -> None:
        """With units to tune, and all that the program needs; on disk."""
        subprocess.run([sys.executable, str(_SENT), str(self._scratch), "memory_tune"], check=True)
        layers = _profiles.load_profiles(["lab"], search_paths=[str(PROFILES)], overrides={"host": {}, "slices": {}}).layers
        common: dict[str, t.Any] = {"wait": 60, "meta": _tuning.meta(profiles=["lab"]), "keep": {"generations": 20, "since": ""}}
        request = {"do": "tune", "request": {"layers": layers, "options": _OPTIONS, **common}}
        (self._scratch / "tune.json").write_text(json.dumps(request))
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path in (*(GUEST_SCRIPTS / name for name in _SCRIPTS), self._scratch / "memory_tune.zip", self._scratch / "tune.json"):
                tar.add(path, path.name)
        self.run(f"mkdir -p -m 0700 {DIRECTORY} && tar -C {DIRECTORY} -xmf - && cd {DIRECTORY} && sh tune-seed.sh", stdin=packed.getvalue())
        # What tune-verify.sh takes shares of.
        self.run("awk '/^MemTotal:/ { print $2 * 1024 }' /proc/meminfo >/var/tmp/lab-memtotal; sync")
        self.before = self.state()

    def run(self, command: str, *, stdin: bytes = b"") -> str:
        return self.guest.run(command, stdin=stdin, seconds=_COMMAND_SECONDS).decode("utf-8", "replace")

    def play(self, playbook: str, **variables: t.Any) -> int:
        """The exit status."""
        paths = {"memqos_report_dir": str(self._out), "memqos_profiles_paths": [str(PROFILES)]}
        return self.guest.play(playbook, {**paths, **variables})

    # What is done to it

    def tune(self, fault: str = "", pattern: str = "") -> Cut:
        """By the program, with a fault at the first operation that fits."""
        *lines, last = self.run(f"{_program(fault, pattern)}; true").splitlines() or [""]
        answer = json.loads(last) if last.startswith("{") else {}
        return Cut(answer, "\n".join(lines))

    def tune_into_power_cut(self, pattern: str) -> None:
        """Returns when the machine has come up again."""
        boot = self.boot_id()
        # Not as a child of the connection, which the reset leaves hanging.
        self.run(f"systemd-run --quiet --collect {_program('power', pattern)}")
        self._await_boot(boot)

    def reset(self) -> None:
        """Without a word to its disk; returns when it has come up again."""
        boot = self.boot_id()
        self.run("(sleep 0.3; echo b >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &")
        self._await_boot(boot)

    def tune_and_lose_connection(self, *, terminal: bool) -> None:
        """The ssh client is killed while the program waits for that; it goes on alone. Returns when it has ended."""
        self.run("rm -f /run/memqos-cut")
        ssh, *rest = ssh_argv(self._state, _program("hangup", "kernel */vm/swappiness"))
        with subprocess.Popen(
            [ssh, *(["-tt"] if terminal else []), *rest], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as client:
            try:
                self.wait_for("[ -s /run/memqos-cut ]")
            finally:
                client.kill()
        self.wait_for("! [ -e /proc/$(cat /run/memqos-cut) ]")

    def boot_id(self) -> str:
        return self.run("cat /proc/sys/kernel/random/boot_id").strip()

    def _await_boot(self, old: str) -> None:
        self.guest.disconnect()
        deadline = time.monotonic() + BOOT_SECONDS
        argv = ssh_argv(self._state, "cat /proc/sys/kernel/random/boot_id")
        found = ""
        while not found or found == old:
            if time.monotonic() > deadline:
                raise LabError(f"{self.guest.name} did not come up again within {BOOT_SECONDS:g} s")
            time.sleep(1)
            # The machine may go while it is asked.
            with contextlib.suppress(subprocess.TimeoutExpired):
                found = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS).stdout.strip()
        self.run("systemctl is-system-running --wait || true")

    def wait_for(self, condition: str, *, seconds: float = 300) -> None:
        self.run(f"n=0; until {condition}; do n=$((n + 1)); [ $n -lt {seconds:.0f} ] || exit 1; sleep 1; done")

    # What it is like

    def state(self) -> list[str]:
        return self.run(f"cd {DIRECTORY} && sh tune-state.sh").splitlines()

    def boots_word(self) -> str:
        """What the unit said at this boot."""
        return self.run(f"journalctl -b -q --no-pager -o cat -u {SERVICE}")

    def holds_nothing(self, *, laid: bool = False) -> str:
        """What differs from before, besides (C(laid)) what lies there for the next boot; empty if nothing."""
        found = self.state()
        gone, new = ([line for line in one if line not in set(other)] for one, other in ((self.before, found), (found, self.before)))
        differs = [line for line in (*(f"-{line}" for line in gone), *(f"+{line}" for line in new)) if not (laid and any(word in line for word in LAID))]
        return "; ".join(filter(None, [*differs, *self.run(_LOOK).splitlines()]))[:1000]

    def holds_all(self, phase: str) -> str:
        """What differs from what was wanted; empty if nothing. C(phase): live or boot."""
        differs = self.run(f"cd {DIRECTORY} && sh tune-verify.sh {phase} || true").splitlines()
        return "; ".join([*differs, *self.run(_LOOK).splitlines()])[:1000]

    def back_to_origin(self) -> str:
        """What a rollback leaves; empty if nothing."""
        status = self.play("rollback", memqos_to="origin")
        return f"memqos.fleet.rollback ended with status {status}; {self.guest.log_end()}" if status else self.holds_nothing()


def _program(fault: str, pattern: str) -> str:
    return f"python3 {DIRECTORY}/cut.py {DIRECTORY}/memory_tune.zip {DIRECTORY}/tune.json {fault} {pattern and repr(pattern)}".strip()
