# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The experiment: windows without a profile and with it, in turn, under one load that runs through."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import os
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _tune_result
from ansible_collections.memqos.fleet.roles.audit.files import memqos_bundle

from ..common import BOOT_PROGRAMS, Cache, progress, require_programs
from ..inventory import machine_named
from ..machines import MACHINES, LabError, Machine
from ..sessions import booted
from . import compare, nodes
from .figures import figures
from .guest import Guest

# After a change: the load has come round once, and the kernel's averages of 10 s with it.
SETTLE_SECONDS = 10.0
# A node has the reserve that it has: only profiles are to be refused one.
_NODE_RISKS = ("min_free_above_5_percent",)
_SHOWN = 8

Answer = dict[str, t.Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """C(machine) is a row's name, empty for the one that fits C(bundle), or else the lab's first; C(more) goes to ansible-playbook with each tune."""

    profiles: tuple[str, ...]
    profiles_paths: tuple[str, ...] = ()
    machine: str = ""
    bundle: Path | None = None
    seconds: float = 15.0
    rounds: int = 3
    out: Path
    more: str = ""


def run(options: Options, cache: Cache) -> int:
    """The exit status: 0 if profile and audit both went through. Raises LabError. However it ends, no machine is left."""
    # A wrong name is better said before a machine boots.
    profiles = _declared(options).profiles
    require_programs(BOOT_PROGRAMS)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="memqos-effect-") as directory:
        scratch = Path(directory)
        node = _read_bundle(options.bundle, scratch) if options.bundle else None
        choice = _choose(options.machine, node)
        with booted(choice.machine, cache, purpose="effect") as state:
            guest = Guest(state, choice.machine.name, scratch=scratch, log=options.out / "ansible.log")
            return Experiment(guest, options, _tune_result.reasons(profiles)).run(choice, node, scratch)


def _declared(options: Options) -> _profiles.Declaration:
    try:
        return _profiles.load_profiles(list(options.profiles), search_paths=options.profiles_paths, overrides={})
    except _profiles.ProfileError as exc:
        raise LabError(str(exc)) from None


def _read_bundle(bundle: Path, scratch: Path) -> nodes.Node:
    try:
        memqos_bundle.unpack(str(bundle), str(scratch / "node"))
    except (OSError, memqos_bundle.Refused) as exc:
        raise LabError(f"{bundle} is no bundle: {exc}") from None
    return nodes.read(scratch / "node")


def _choose(name: str, node: nodes.Node | None) -> nodes.Choice:
    if node and not name:
        choice = nodes.choose(node, MACHINES)
    else:
        row = machine_named(name or MACHINES[0].name)
        if not isinstance(row, Machine):
            raise LabError(f"{row.name} is a real machine: the load is for machines that may suffer")
        choice = nodes.fitted(node, row) if node else nodes.Choice(row, 1.0, ())
    if node:
        print(f"In the place of a node with kernel {node.kernel} and cgroup {node.hierarchy}: {choice.machine.name}")
        print(*(f"  {sentence}" for sentence in choice.differs), sep="\n")
    return choice


class Experiment:
    """On one machine."""

    def __init__(self, guest: Guest, options: Options, why: _tune_result.Why) -> None:
        self.guest = guest
        self.options = options
        self._why = why
        # What all windows have: the node's own settings.
        self._base: list[dict[str, t.Any]] = []
        self._without: list[dict[str, float]] = []
        self._with: list[dict[str, float]] = []
        self._load = 0.0

    def run(self, choice: nodes.Choice, node: nodes.Node | None, scratch: Path) -> int:
        kernel, memory = self.guest.facts()
        self._say(f"kernel {kernel}, {memory >> 20} MiB")
        if node:
            self._become(node, nodes.read(self.guest.bundle(scratch)), choice.factor)
        self._say("starting the load, then waiting until the kernel reports pressure")
        self.guest.start_load(memory)
        time.sleep(SETTLE_SECONDS)
        problem = self._alternate()
        if not self._with:
            return 1 if problem else 0
        self._say("auditing, with the profile and under the load")
        status = self.guest.play("audit", {"memqos_report_dir": str(self.options.out)}, shown=True)
        if status:
            print("The audit failed, see above: its report is without this machine. The figures below stand.")
        self._tell({"machine": dataclasses.asdict(choice.machine), "kernel": kernel, "memory_bytes": memory, "differs": choice.differs})
        return 1 if problem or status else 0

    # Settings of a node

    def _become(self, node: nodes.Node, guest: nodes.Node, factor: float) -> None:
        """Sets what the node has set otherwise, by a tune of its own that later rollbacks do not reach."""
        for what, here, there in (("kernel", guest.kernel, node.kernel), ("cgroup", guest.hierarchy, node.hierarchy)):
            if here != there:
                print(f"  {what} {here} for {there}")
        found = nodes.settings(node, guest, factor)
        for reason, names in sorted(found.left_out.items()):
            print(f"  other than on the node, as {reason}: {_some(names)}")
        if not found.host:
            return
        self._base = [{"summary": "What the node has set.", "host": found.host}]
        answer = self._tune(self._base, self.options.out / "node", {"memqos_allow_risks": _NODE_RISKS})
        if answer["problem"]:
            raise LabError(f"the node's settings are refused on this machine: {answer['problem']}")
        self._show(answer)

    # Windows

    def _alternate(self) -> str:
        """What kept the profile from being applied, if anything did."""
        for number in range(1, self.options.rounds + 1):
            self._without.append(self._window(f"untouched, {number} of {self.options.rounds}"))
            answer = self._tune([*self._base, *self.options.profiles], self.options.out)
            if number == 1 or answer["problem"]:
                self._show(answer)
            if answer["problem"]:
                return str(answer["problem"])
            if not answer["generation"]:
                print("The profile changes nothing on this machine: there is nothing to compare.")
                return ""
            time.sleep(SETTLE_SECONDS)
            self._with.append(self._window(f"with the profile, {number} of {self.options.rounds}"))
            if number < self.options.rounds:
                self._roll_back()
                time.sleep(SETTLE_SECONDS)
        return ""

    def _window(self, words: str) -> dict[str, float]:
        self._say(f"measuring {self.options.seconds:g} s, {words}")
        window = self.guest.window(self.options.seconds)
        self._load = max(self._load, os.getloadavg()[0])
        return figures(window)

    def _tune(self, profiles: list[t.Any], directory: Path, variables: dict[str, t.Any] | None = None) -> Answer:
        paths = {"memqos_profiles_paths": self.options.profiles_paths} if self.options.profiles_paths else {}
        return self._play("tune", directory, {"memqos_profile": profiles, **paths, **(variables or {})}, more=self.options.more)

    def _roll_back(self) -> None:
        answer = self._play("rollback", self.options.out / "rollback", {"memqos_to": "previous"})
        if answer["problem"]:
            raise LabError(f"the profile could not be taken back: {answer['problem']}")
        left = [row["name"] for row in answer["results"] if row["status"] == "deferred"]
        if left:
            print(f"  not taken back, so the next untouched window has it too: {_some(left)}")

    def _play(self, playbook: str, directory: Path, variables: dict[str, t.Any], *, more: str = "") -> Answer:
        """The result that the playbook leaves. Raises LabError if it leaves none."""
        self._say(f"memqos.fleet.{playbook}")
        result = directory / "tune" / f"{self.guest.name}.json"
        result.unlink(missing_ok=True)
        status = self.guest.play(playbook, {"memqos_report_dir": str(directory), **variables}, more=more)
        try:
            answer: Answer = json.loads(result.read_text(encoding="utf-8"))
        except OSError:
            raise LabError(f"memqos.fleet.{playbook} ended with status {status} and left no result; {self.guest.log_end()}") from None
        return answer

    # Telling

    def _say(self, words: str) -> None:
        progress(self.guest.name, words)

    def _show(self, answer: Answer) -> None:
        for line in _tune_result.summary(answer, self.guest.name, verb="tuned", with_diff=True):
            print(line.text)
        if answer["problem"]:
            print(_tune_result.shown(answer["problem"]))
        for text in _tune_result.values(answer, self._why):
            print(f"  {text}", flush=True)

    def _tell(self, about: dict[str, t.Any]) -> None:
        options = self.options
        compared = compare.rows(self._without, self._with)
        told = {**about, "profiles": options.profiles, "seconds": options.seconds, "load_average": self._load, **compare.document(compared)}
        path = options.out / "measurements.json"
        path.write_text(json.dumps(told, indent=1, default=str) + "\n", encoding="utf-8")
        print("", *compare.table(compared, profile=", ".join(options.profiles)), "", sep="\n")
        counts = len(self._without), len(self._with)
        print(*compare.notes(*counts, seconds=options.seconds, load=self._load, processors=os.cpu_count() or 1), sep="\n")
        print(f"Left in {options.out}: report.html and report.json (the audit), tune/{self.guest.name}.json, measurements.json, ansible.log", flush=True)


def _some(names: collections.abc.Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
