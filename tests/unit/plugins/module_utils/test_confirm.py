# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tune that nobody confirms is taken back, by its timer or by the next boot, wherever what arms or disarms it is killed; one that is confirmed stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
import typing as t
import zipfile
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _confirm, _history, _tune
from ansible_collections.memqos.fleet.plugins.module_utils._journal import Journal
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.test_recovery import BIG, BIG_UNIT, Killed
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import GIB, OPTIONS, Json, Machine, layer
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import META, in_child

pytestmark = pytest.mark.usefixtures("root_user")

ROOT = Path(__file__).resolve().parents[4]
STATE = "/var/lib/memqos"
LAID = (f"{STATE}/armed.json", f"{STATE}/undo.zip", _confirm.SERVICE, _confirm.WANTS, os.path.dirname(_confirm.WANTS))
FIRST = layer(host={"vm.swappiness": 30})
WANTED = layer(
    host={"vm.swappiness": 10, "transparent_hugepage/enabled": "madvise"}, slices={"batch.slice": {"MemoryHigh": "3G"}, "big.service": {"MemoryMax": "2G"}}
)
CODE = b"PK\x03\x04 not UTF-8: \xff\x00"


class Timed(Killed):
    """Its timer outlives the process that armed it: a file beside the node."""

    fails = ""

    def systemctl(self, argv: t.List[str]) -> str:
        timer = Path(f"{self.root}.timer")
        if self.fails and self.fails in " ".join(argv):
            raise Unreadable(argv[0], "error", "fails")
        if argv[0] == "systemd-run":
            assert not timer.exists()
            timer.write_text(json.dumps(argv), encoding="utf-8")
            return ""
        if argv[:2] == ["systemctl", "stop"]:
            assert argv[2:] == ["memqos-confirm.timer"]
            if not timer.exists():
                raise Unreadable("systemctl", "error", "Unit memqos-confirm.timer not loaded.")
            timer.unlink()
            return ""
        return "" if argv[0] == sys.executable else super().systemctl(argv)


class Case:
    """A machine, tuned once, as it stands before the tune that is to be confirmed."""

    def __init__(self, root: Path, **more: t.Any) -> None:
        self.machine = Machine(root / "node", writer=Timed, **more)
        self.machine.write(BIG_UNIT, "[Service]\nExecStart=/usr/bin/big\nMemoryMax=512M\n")
        self.machine.start("big.service", BIG)
        self.machine.tune(FIRST)
        self.before = self.machine.snapshot()
        self.node = t.cast("Timed", self.machine.node)
        self.journal = Journal(self.node)

    def work(self, *, check: bool = False) -> _tune.Work:
        return _tune.Work(self.machine.tree, self.node, check=check)

    def arm(self, token: str = "t1") -> Json:
        request = {"token": token, "within": 120, "allow": [], "started": META["started"], "wait": 0}
        return _confirm.arm(request, self.work(), CODE)

    def tune(self, token: str = "t1", wanted: Json = WANTED, *, check: bool = False) -> Json:
        request = {"layers": [wanted], "options": OPTIONS, "meta": {**META, **({"confirm": token} if token else {})}}
        return self.machine.asked(_tune.tune, request, check=check)

    def confirm(self, *, check: bool = False) -> Json:
        return _confirm.confirm({"wait": 0}, self.work(check=check))

    def undo(self) -> str:
        return _confirm.undo(_confirm.Undo(self.machine.tree, self.node))

    def time_runs_out(self) -> str:
        timer = Path(f"{self.machine.root}.timer")
        if not timer.exists():
            return "no timer"
        timer.unlink()
        return self.undo()

    def reboot(self) -> str:
        """The timer ends; at boot our unit runs as its files say."""
        Path(f"{self.machine.root}.timer").unlink(missing_ok=True)
        self.machine.reboot()
        self.machine.start("big.service", BIG)
        return self.undo() if all(map(self.exists, (LAID[0], *LAID[2:]))) else "no unit"

    def exists(self, path: str) -> bool:
        return os.path.exists(self.machine.root + path)

    def killed(self, action: t.Callable[[], t.Any], at: int) -> bool:
        """Whether it was killed at this operation; else it has come to its end."""
        self.node.operations, self.node.at = 0, at
        status = in_child(action)
        self.node.operations, self.node.at = 0, 0
        assert status in (0, signal.SIGKILL)
        self.node.remember()
        return status != 0

    def nothing_is_armed(self) -> bool:
        return not any(map(self.exists, LAID)) and not os.path.exists(f"{self.machine.root}.timer")


Made = t.Callable[..., Case]


@pytest.fixture(name="made")
def fixture_made(tmp_path: Path) -> Made:
    count = iter(range(10000))
    return lambda **more: Case(tmp_path / str(next(count)), **more)


@pytest.mark.parametrize("systemd", [252, 257])
def test_nobody_confirms(made: Made, systemd: int) -> None:
    case = made(systemd=systemd)
    case.arm()
    assert case.machine.snapshot() != case.before and all(map(case.exists, LAID))
    assert (case.tune()["generation"], case.journal.unconfirmed()) == (2, 2)
    assert case.machine.text("/batch.slice memory.high") == str(3 * GIB)
    assert case.time_runs_out() == "generation 2 was not confirmed within 120 s, and is taken back (generation 3)"
    assert case.machine.snapshot() == case.before and case.nothing_is_armed()
    assert case.confirm() == {
        "changed": False, "generation": 0, "problem": "generation 2 was not confirmed in time, and the node has taken it back (generation 3)"
    }  # fmt: skip
    assert case.tune("")["generation"] == 4 and case.confirm()["problem"] == ""


@pytest.mark.parametrize("systemd", [252, 257])
def test_a_reboot_in_between_takes_back(made: Made, systemd: int) -> None:
    case, twin = made(systemd=systemd), made(systemd=systemd)
    twin.reboot()
    case.arm()
    case.tune()
    assert case.reboot().startswith("generation 2 was not confirmed")
    assert case.machine.snapshot() == twin.machine.snapshot() and case.nothing_is_armed()


def test_the_first_tune_of_a_node_goes_back_to_the_origin(made: Made) -> None:
    case = made()
    case.machine.rollback("origin")
    origin = case.machine.snapshot()
    for name in os.listdir(f"{case.machine.root}{STATE}/generations"):
        os.unlink(f"{case.machine.root}{STATE}/generations/{name}")
    os.unlink(f"{case.machine.root}{STATE}/origin.json")
    case.arm()
    case.tune()
    assert case.time_runs_out().startswith("generation 1 was not confirmed")
    assert case.machine.snapshot() == origin


def test_who_confirms_keeps_it(made: Made) -> None:
    case = made()
    case.arm()
    case.tune()
    assert _history.told(case.journal, ())["notes"] == ["generation 2 awaits confirmation"]
    assert case.confirm(check=True)["changed"] and case.exists(LAID[0])
    assert case.confirm() == {"changed": True, "generation": 2, "problem": ""}
    assert case.nothing_is_armed() and case.time_runs_out() == "no timer" and case.undo() == "nothing is armed" and case.reboot() == "no unit"
    assert case.machine.text("vm.swappiness") == "10"
    assert case.confirm() == {"changed": False, "generation": 0, "problem": ""}


def test_who_confirms_while_the_node_waits_for_the_lock_has_confirmed(made: Made) -> None:
    case = made()
    case.arm()
    case.tune()
    late = _confirm.Undo(case.machine.tree, case.node)
    case.confirm()
    assert _confirm.undo(late) == "it was confirmed, and is armed no more"
    # Nor is the next one taken back in its place.
    late = _confirm.Undo(case.machine.tree, case.node)
    late.armed = {"token": "t1", "within": 120, "allow": []}
    case.arm("t2")
    case.tune("t2", FIRST)
    assert _confirm.undo(late) == "it was confirmed, and is armed no more" and case.journal.unconfirmed() == 3


def test_a_second_tune_waits(made: Made) -> None:
    case = made()
    case.arm()
    case.tune()
    armed = case.machine.snapshot(times=True)
    for token in ("", "t1", "t2"):
        with pytest.raises(_tune.TuneError, match="generation 2 awaits confirmation, and nothing was written: confirm it"):
            case.tune(token, FIRST)
    with pytest.raises(_tune.TuneError, match="generation 2 awaits confirmation"):
        case.arm("t2")
    # What writes nothing passes.
    assert case.tune("", FIRST, check=True)["problem"] == "" and case.tune("")["generation"] == 0
    assert case.machine.snapshot(times=True) == armed
    case.confirm()
    assert case.tune("", FIRST)["generation"] == 3


def test_whose_time_ran_out_before_it_came_to_write_writes_nothing(made: Made) -> None:
    case = made()
    case.arm()
    assert case.time_runs_out() == "nothing awaits confirmation" and case.nothing_is_armed()
    with pytest.raises(_tune.TuneError, match="the time to confirm ran out first"):
        case.tune()
    assert case.machine.snapshot() == case.before


def test_a_tune_of_somebody_else_is_not_taken_back_for_ours(made: Made) -> None:
    case = made()
    case.arm()
    assert case.tune("")["generation"] == 2
    assert case.time_runs_out() == "nothing awaits confirmation"
    assert case.machine.text("vm.swappiness") == "10"


def test_of_two_only_the_one_that_awaits_confirmation_is_taken_back(made: Made) -> None:
    case = made()
    case.arm()
    case.tune("", layer(host={"vm.swappiness": 44}))
    between = case.machine.snapshot()
    assert case.tune()["generation"] == 3
    assert case.time_runs_out() == "generation 3 was not confirmed within 120 s, and is taken back (generation 4)"
    assert {path: text for path, text in case.machine.snapshot().items() if path not in LAID} == {path: between[path] for path in between if path not in LAID}


def test_what_others_changed_since_stays_and_is_named(made: Made) -> None:
    case = made()
    case.arm()
    case.tune()
    case.machine.set("vm.swappiness", "77")
    assert case.time_runs_out().endswith("(generation 3), but for what others have changed since: vm.swappiness")
    assert case.machine.text("vm.swappiness") == "77" and case.machine.text("/batch.slice memory.high") == "max" and case.nothing_is_armed()


@pytest.mark.parametrize("path", [_confirm.SERVICE, _confirm.WANTS])
def test_a_unit_of_somebody_else_is_not_touched(made: Made, path: str) -> None:
    case = made()
    case.machine.write(path, "[Unit]\n")
    before = case.machine.snapshot()
    with pytest.raises(_tune.TuneError, match=f"{path} is not ours, and nothing was written"):
        case.arm()
    assert case.machine.snapshot() == before and not case.exists(LAID[0])


@pytest.mark.parametrize("is_told", [True, False])
def test_who_rolls_back_has_decided(made: Made, is_told: bool) -> None:
    case = made()
    case.arm()
    case.tune()
    assert case.machine.rollback("origin")["generation"] == 3
    origin = case.machine.text("vm.swappiness")
    if is_told:
        _confirm.decided(case.work())
        assert case.nothing_is_armed()
    else:
        assert case.time_runs_out() == "nothing awaits confirmation"
    assert (origin, case.machine.text("vm.swappiness"), case.nothing_is_armed()) == ("60", "60", True)


def test_a_check_arms_and_disarms_nothing(made: Made) -> None:
    case = made()
    request = {"token": "t1", "within": 120, "allow": [], "started": "", "wait": 0}
    _confirm.arm(request, case.work(check=True), CODE)
    assert case.nothing_is_armed()
    case.arm()
    _confirm.give_up(request, case.work(check=True))
    assert all(map(case.exists, LAID))


def test_a_tune_that_makes_no_generation_is_disarmed(made: Made) -> None:
    case = made()
    case.arm()
    assert case.tune(wanted=FIRST)["generation"] == 0
    _confirm.give_up({"token": "t9", "wait": 0}, case.work())
    assert all(map(case.exists, LAID))
    _confirm.give_up({"token": "t1", "wait": 0}, case.work())
    assert case.nothing_is_armed() and case.machine.snapshot() == case.before
    case.arm()
    case.tune()
    _confirm.give_up({"token": "t1", "wait": 0}, case.work())
    assert case.journal.unconfirmed() == 2 and case.exists(LAID[0])


def test_where_taking_back_would_kill_it_stays_armed_for_the_next_boot(made: Made) -> None:
    case = made()
    case.arm()
    case.tune()
    case.machine.set(f"/sys/fs/cgroup{BIG}/memory.current", str(GIB))
    with pytest.raises(_tune.TuneError, match="nothing was written:\nbig.service MemoryMax"):
        case.time_runs_out()
    assert case.machine.text(f"{BIG} memory.max") == str(2 * GIB) and case.journal.unconfirmed() == 2
    assert case.reboot().startswith("generation 2 was not confirmed") and case.machine.text(f"{BIG} memory.max") == str(GIB // 2)


# Killed


def test_a_kill_at_any_operation_of_arming_arms_or_does_not(made: Made) -> None:
    at, was_killed, seen = 1, True, set()
    while was_killed:
        case = made()
        was_killed = case.killed(case.arm, at)
        seen.add((case.exists(LAID[0]), os.path.exists(f"{case.machine.root}.timer")))
        # What was cut off hinders nobody, takes nothing back that is not its own, and the next one arms anew.
        assert case.time_runs_out() in ("no timer", "nothing awaits confirmation")
        assert case.tune("")["generation"] == 2 and case.reboot() in ("no unit", "nothing awaits confirmation")
        assert case.machine.text("vm.swappiness") == "10"
        case.arm("t2")
        assert case.tune("t2", FIRST)["generation"] == 3 and case.time_runs_out().startswith("generation 3 was not confirmed")
        assert case.machine.text("vm.swappiness") == "10" and case.nothing_is_armed()
        assert not [path for path in (*case.machine.snapshot(), *os.listdir(case.machine.root + STATE)) if path.endswith(".memqos")]
        at += 1
    assert seen == {(False, False), (True, False), (True, True)}


def test_a_kill_at_any_operation_of_confirming_confirms_or_does_not(made: Made) -> None:
    at, was_killed, seen = 1, True, set()
    while was_killed:
        case = made()
        case.arm()
        case.tune()
        was_killed = case.killed(case.confirm, at)
        stands = case.journal.unconfirmed() == 0
        case.time_runs_out()
        assert case.machine.text("vm.swappiness") == ("10" if stands else "30")
        case.reboot()
        assert case.machine.text("vm.swappiness") == ("10" if stands else "30")
        seen.add(stands)
        at += 1
    assert seen == {True, False}


@pytest.mark.parametrize("by_boot", [True, False])
def test_a_kill_amid_taking_back_is_ended_by_the_next_boot(made: Made, by_boot: bool) -> None:
    twin = made()
    twin.reboot()
    at, was_killed = 1, True
    while was_killed:
        case = made()
        case.arm()
        case.tune()
        if by_boot:
            case.machine.reboot()
            case.machine.start("big.service", BIG)
        was_killed = case.killed(case.undo, at)
        case.reboot()
        found = case.machine.snapshot()
        assert {path: found[path] for path in found if path not in LAID} == twin.machine.snapshot(), at
        assert case.machine.text("vm.swappiness") == "30" and not case.exists(LAID[0])
        at += 3


@pytest.mark.parametrize("by_boot", [True, False])
def test_a_tune_that_was_killed_is_undone_when_its_time_runs_out_or_at_boot(made: Made, by_boot: bool) -> None:
    twin = made()
    if by_boot:
        twin.reboot()
    at, was_killed = 1, True
    while was_killed:
        case = made()
        case.arm()
        was_killed = case.killed(case.tune, at)
        case.reboot() if by_boot else case.time_runs_out()
        assert case.machine.snapshot() == twin.machine.snapshot() and case.nothing_is_armed(), at
        at += 5


@pytest.mark.parametrize("fails", ["systemd-run", "--probe"])
def test_what_cannot_be_armed_leaves_nothing(made: Made, fails: str) -> None:
    case = made()
    case.node.fails = fails
    with pytest.raises(_tune.TuneError, match="cannot be armed, and nothing was written"):
        case.arm()
    assert case.nothing_is_armed() and case.machine.snapshot() == case.before


# What is armed


def test_what_is_laid_down_is_roots_alone_and_says_what_runs(made: Made) -> None:
    case = made()
    case.arm()
    root = case.machine.root
    assert {path: os.stat(root + path).st_mode & 0o777 for path in LAID[:4]} == dict(zip(LAID, (0o600, 0o600, 0o644, 0o644)))
    assert Path(root + LAID[1]).read_bytes() == CODE
    program = f"{sys.executable} -I {STATE}/undo.zip"
    assert f"\nConditionPathExists={STATE}/armed.json\n" in (case.machine.text(_confirm.SERVICE) or "")
    assert (case.machine.text(_confirm.SERVICE) or "").endswith(f"\n[Service]\nType=oneshot\nExecStart={program}")
    assert (case.machine.text(_confirm.WANTS) or "").endswith("\n[Unit]\nWants=memqos-undo.service")
    argv = json.loads(Path(f"{root}.timer").read_text(encoding="utf-8"))
    assert " ".join(argv).endswith(f"--unit=memqos-confirm --on-active=120s --timer-property=AccuracySec=1s -- {program}")


_SENT = """
import base64, re, sys, tempfile
from pathlib import Path
from ansible.executor import module_common
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, module_loader
from ansible.template import Templar

with tempfile.TemporaryDirectory() as directory:
    link = Path(directory, "ansible_collections", "memqos", "fleet")
    link.parent.mkdir(parents=True)
    link.symlink_to(sys.argv[1])
    init_plugin_loader([directory])
    found = module_loader.find_plugin_with_context("memqos.fleet.memory_confirm").plugin_resolved_path
    built = module_common.modify_module(
        module_name="memqos.fleet.memory_confirm", module_path=found, module_args={}, templar=Templar(loader=DataLoader()),
        task_vars={"ansible_python_interpreter": "/usr/bin/python3"}, module_compression="ZIP_DEFLATED",
    )
    data = built[0] if isinstance(built, tuple) else built.b_module_data
    Path(sys.argv[2]).write_bytes(base64.b64decode(max(re.findall(rb"[A-Za-z0-9+/=]{1000,}", data), key=len)))
"""


@pytest.fixture(name="program", scope="module")
def fixture_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is armed of what Ansible sends."""
    pytest.importorskip("ansible.executor.module_common")
    directory = tmp_path_factory.mktemp("sent")
    subprocess.run([sys.executable, "-c", _SENT, str(ROOT), str(directory / "sent.zip")], check=True)
    program = directory / "undo.zip"
    program.write_bytes(_confirm.archive(types.SimpleNamespace(archive=str(directory / "sent.zip"))))
    return program


def probe(program: Path) -> int:
    return subprocess.run([sys.executable, "-I", str(program), "--probe"], check=False, stderr=subprocess.DEVNULL).returncode


def test_what_is_armed_runs_by_itself(program: Path) -> None:
    assert probe(program) == 0
    with zipfile.ZipFile(program) as packed:
        assert {name.partition("/")[0] for name in packed.namelist()} == {"__main__.py", "ansible_collections"}
        names = packed.namelist()
        for missing in ("ansible_collections/memqos/fleet/plugins/module_utils/_tune.py", "ansible_collections/memqos/__init__.py"):
            assert missing in names
    # The probe can fail.
    broken = program.with_name("broken.zip")
    with zipfile.ZipFile(program) as whole, zipfile.ZipFile(broken, "w") as part:
        for name in names:
            if not name.endswith("_started.py"):
                part.writestr(name, whole.read(name))
    assert probe(broken) != 0


def test_code_that_came_another_way_is_not_armed() -> None:
    with pytest.raises(_tune.TuneError, match="packed as Ansible sends them"):
        _confirm.archive(types.SimpleNamespace())
