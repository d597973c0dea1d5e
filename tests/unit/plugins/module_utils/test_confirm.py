# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tune that nobody confirms is taken back, by its timer or by the next boot, wherever what arms or disarms it is killed; one that is confirmed stays."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import types
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _boot, _confirm, _history, _tune, _undo
from ansible_collections.memqos.fleet.plugins.module_utils._journal import Busy, Journal
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.test_recovery import BIG, BIG_UNIT, Killed
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.thinned import THINNED
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import CODE, GIB, MINE, OPTIONS, Json, Machine, layer
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import META, in_child

pytestmark = pytest.mark.usefixtures("root_user")

ROOT = Path(__file__).resolve().parents[4]
STATE = "/var/lib/memqos"
ARMED = f"{STATE}/armed.json"
LAID = (f"{STATE}/undo.zip", _boot.SERVICE, _boot.WANTS, os.path.dirname(_boot.WANTS))
FIRST = layer(host={"vm.swappiness": 30})
WANTED = layer(
    host={"vm.swappiness": 10, "transparent_hugepage/enabled": "madvise"}, slices={"batch.slice": {"MemoryHigh": "3G"}, "big.service": {"MemoryMax": "2G"}}
)


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
            assert argv[2:] in (["memqos-confirm.timer"], ["memqos-confirm.timer", "memqos-confirm.service"])
            if not timer.exists():
                raise Unreadable("systemctl", "error", "Unit memqos-confirm.timer not loaded.")
            timer.unlink()
            return ""
        if argv == ["systemctl", "show", "--property=ActiveState", "--", "memqos-confirm.timer"]:
            return f"ActiveState={'active' if timer.exists() else 'inactive'}\n"
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
        self.until = 0.0

    def work(self, *, check: bool = False) -> _tune.Work:
        return self.machine.work(check=check)

    def arm(self, token: str = "t1") -> Json:
        request = {"token": token, "within": 120, "allow": [], "started": META["started"], "wait": 0}
        answer = _confirm.arm(request, self.work())
        self.until = answer["until"]
        return answer

    def tune(self, token: str = "t1", wanted: Json = WANTED, *, check: bool = False) -> Json:
        request = {"layers": [wanted], "options": OPTIONS, "meta": {**META, **({"confirm": token} if token else {})}, "until": self.until}
        return self.machine.asked(_tune.tune, request, check=check)

    def confirm(self, *, check: bool = False) -> Json:
        return _confirm.confirm({"wait": 0}, self.work(check=check))

    def program(self) -> _undo.Undo:
        return _undo.Undo(self.machine.tree, self.node, code=lambda: CODE)

    def undo(self) -> str:
        return _undo.undo(self.program())

    def time_runs_out(self) -> str:
        """A timer that comes again after what it ran has ended stays until it is stopped."""
        timer, self.until = Path(f"{self.machine.root}.timer"), time.monotonic()
        if not timer.exists():
            return "no timer"
        if "--on-unit-inactive=" not in timer.read_text(encoding="utf-8"):
            timer.unlink()
        return self.undo()

    def reboot(self) -> str:
        """The timer ends; at boot our unit runs as its files say."""
        Path(f"{self.machine.root}.timer").unlink(missing_ok=True)
        self.machine.reboot()
        self.machine.start("big.service", BIG)
        is_asked = self.exists(ARMED) or self.exists(f"{STATE}/pending.jsonl")
        return self.undo() if is_asked and all(map(self.exists, LAID)) else "no unit"

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
        """What lies there for the next boot stays as long as anything of ours does."""
        laid = {self.exists(path) for path in LAID}
        return laid == {bool(self.journal.origin())} and not (self.exists(ARMED) or os.path.exists(f"{self.machine.root}.timer"))


Made = t.Callable[..., Case]


@pytest.fixture(name="made")
def fixture_made(tmp_path: Path) -> Made:
    count = iter(range(10000))
    return lambda **more: Case(tmp_path / str(next(count)), **more)


@pytest.mark.parametrize("systemd", [252, 257])
def test_nobody_confirms(made: Made, systemd: int) -> None:
    case = made(systemd=systemd)
    case.arm()
    assert case.machine.snapshot() == case.before and all(map(case.exists, (ARMED, *LAID)))
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
    assert case.confirm(check=True)["changed"] and case.exists(ARMED)
    assert case.confirm() == {"changed": True, "generation": 2, "problem": ""}
    assert case.nothing_is_armed() and case.time_runs_out() == "no timer" and case.undo() == "nothing is armed" and case.reboot() == "no unit"
    assert case.machine.text("vm.swappiness") == "10"
    assert case.confirm() == {"changed": False, "generation": 0, "problem": ""}


def test_who_confirms_while_the_node_waits_for_the_lock_has_confirmed(made: Made) -> None:
    case = made()
    case.arm()
    case.tune()
    late = case.program()
    case.confirm()
    assert _undo.undo(late) == "it was confirmed"
    # Nor is the next one taken back in its place.
    late = case.program()
    late.armed = {"token": "t1", "within": 120, "allow": []}
    case.arm("t2")
    case.tune("t2", FIRST)
    assert _undo.undo(late) == "it was confirmed, and another one is armed" and case.journal.unconfirmed() == 3
    assert os.path.exists(f"{case.machine.root}.timer")


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


def refused(case: Case, why: str, token: str = "t1") -> None:
    before = case.machine.snapshot()
    with pytest.raises(_tune.TuneError, match=f"^nothing was written: {why}"):
        case.tune(token)
    assert case.machine.snapshot() == before and case.journal.generations() == [1]


def test_whose_time_ran_out_before_it_came_to_write_writes_nothing(made: Made) -> None:
    case = made()
    case.arm()
    assert case.time_runs_out() == "nothing awaits confirmation" and case.nothing_is_armed()
    refused(case, "the time to confirm ran out first, allow more")
    # Though the node has not come to disarm it.
    case.arm()
    case.until = time.monotonic()
    refused(case, "the time to confirm ran out first, allow more")
    assert case.exists(ARMED)


def test_a_tune_whose_timer_is_gone_writes_nothing(made: Made) -> None:
    case = made()
    case.arm()
    os.unlink(f"{case.machine.root}.timer")
    refused(case, "the time to confirm ran out first")


def test_a_tune_that_somebody_disarmed_writes_nothing(made: Made) -> None:
    case = made()
    case.arm()
    assert case.confirm()["generation"] == 0
    refused(case, "somebody confirmed or rolled back before there was anything to confirm, or the node rebooted. Run again")


def test_a_tune_whose_time_is_over_when_it_has_shrunk_writes_nothing(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    case = made()
    case.arm()
    now = [case.until - 1]

    def shrink(self: _tune.Work, plan: t.Any, meta: Json, asked: Json) -> t.Any:
        now[0] += 2
        return plan

    monkeypatch.setattr(_tune, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    with monkeypatch.context() as patched:
        patched.setattr(_tune.Work, "shrink", shrink)
        refused(case, "the time to confirm ran out first")
    now[0] -= 2
    assert case.tune()["generation"] == 2


def test_what_is_armed_is_not_overwritten_by_another(made: Made) -> None:
    case = made()
    case.arm()
    until, before = case.until, case.machine.snapshot(times=True)
    with pytest.raises(_tune.TuneError, match=r"another tune was armed for 120 s .*2026-11-23T09:00:00Z\), and nothing was written"):
        case.arm("t2")
    assert case.machine.snapshot(times=True) == before and case.until == until
    # Its own is.
    case.arm()
    assert case.tune()["generation"] == 2 and case.time_runs_out().startswith("generation 2 was not confirmed")


def test_what_was_armed_and_has_no_timer_any_more_is_replaced(made: Made) -> None:
    case = made()
    case.arm()
    os.unlink(f"{case.machine.root}.timer")
    case.arm("t2")
    refused(case, "another run has been armed instead of this one")
    assert case.tune("t2")["generation"] == 2


def test_who_cannot_be_armed_disarms_nobody_else(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    case = made()
    case.arm()
    monkeypatch.setattr(_boot, "ticks", lambda writer: False)  # for a moment
    case.node.fails = "--probe"
    with pytest.raises(_tune.TuneError, match="cannot be armed"):
        case.arm("t2")
    assert case.journal.armed()["token"] == "t1" and os.path.exists(f"{case.machine.root}.timer")


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
    assert case.machine.snapshot() == between


def test_what_others_changed_since_stays_and_is_named(made: Made) -> None:
    case = made()
    case.arm()
    case.tune()
    case.machine.set("vm.swappiness", "77")
    assert case.time_runs_out().endswith("(generation 3), but for vm.swappiness (changed by others since)")
    assert case.machine.text("vm.swappiness") == "77" and case.machine.text("/batch.slice memory.high") == "max" and case.nothing_is_armed()


SWAPPY = layer(host={"vm.swappiness": 10})


def changed_by_others(made: Made) -> Case:
    """All of what awaits confirmation, by other values."""
    case = made()
    case.arm()
    case.tune(wanted=SWAPPY)
    case.machine.set("vm.swappiness", "77")
    case.machine.write(MINE, (case.machine.text(MINE) or "").replace("= 10", "= 77") + "\n")
    return case


def test_where_others_have_changed_all_since_nothing_awaits_confirmation_any_more(made: Made) -> None:
    case = changed_by_others(made)
    told = "generation 2 was not confirmed within 120 s, and nothing was left of it to take back"
    assert case.time_runs_out() == f"{told}: vm.swappiness, /etc/sysctl.d/zz-memqos.conf (changed by others since)"
    assert case.machine.text("vm.swappiness") == "77" and case.nothing_is_armed() and case.journal.generations() == [1, 2]
    assert case.tune("", FIRST)["problem"] == ""


def test_a_rollback_by_hand_with_nothing_left_to_take_back_has_decided_too(made: Made) -> None:
    case = changed_by_others(made)
    case.machine.rollback(check=True)
    assert case.journal.unconfirmed() == 2
    # Going back to what awaits confirmation decides nothing.
    assert case.machine.rollback("2")["generation"] == 0 and case.journal.unconfirmed() == 2
    answer = case.machine.rollback()
    assert (answer["generation"], answer["problem"]) == (0, "")
    assert answer["notes"] == ["nothing was left of generation 2 to take back: it awaits confirmation no more"]
    assert case.machine.text("vm.swappiness") == "77" and case.nothing_is_armed() and case.tune("", FIRST)["problem"] == ""


def test_a_rollback_that_shrinks_and_has_not_come_to_write_decides_nothing(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    case = made()
    case.arm()
    case.tune()
    monkeypatch.setattr(_tune.Work, "shrink", lambda self, plan, meta, asked: plan._replace(steps=()))
    assert case.machine.rollback()["generation"] == 0 and case.journal.unconfirmed() == 2


def test_what_stood_before_and_is_kept_no_more_is_not_taken_for_the_origin(made: Made) -> None:
    case = made()
    case.arm()
    case.tune()
    os.unlink(f"{case.machine.root}{STATE}/generations/1.json")
    with pytest.raises(_tune.TuneError, match="what stood before generation 2 is kept no more: name origin, or one of 2"):
        case.undo()
    assert case.machine.text("vm.swappiness") == "10" and case.journal.unconfirmed() == 2
    assert case.machine.rollback("origin")["generation"] == 3 and case.nothing_is_armed()


@pytest.mark.parametrize("path", [_boot.SERVICE, _boot.WANTS])
def test_a_unit_of_somebody_else_is_not_touched(made: Made, path: str) -> None:
    case = made()
    case.machine.write(path, "[Unit]\n")
    before = case.machine.snapshot()
    with pytest.raises(_tune.TuneError, match=f"nothing was written: {path}: is not ours"):
        case.arm()
    assert case.machine.snapshot() == before and not case.exists(ARMED)


def test_who_rolls_back_has_decided(made: Made) -> None:
    case = made()
    case.arm()
    case.tune()
    assert case.machine.rollback("origin")["generation"] == 3
    assert (case.machine.text("vm.swappiness"), case.nothing_is_armed()) == ("60", True)
    assert (case.time_runs_out(), case.reboot()) == ("no timer", "no unit")


def test_a_check_arms_and_disarms_nothing(made: Made) -> None:
    case = made()
    request = {"token": "t1", "within": 120, "allow": [], "started": "", "wait": 0}
    _confirm.arm(request, case.work(check=True))
    assert case.nothing_is_armed()
    case.arm()
    _confirm.give_up(request, case.work(check=True))
    assert case.exists(ARMED)


def test_a_tune_that_makes_no_generation_is_disarmed(made: Made) -> None:
    case = made()
    case.arm()
    assert case.tune(wanted=FIRST)["generation"] == 0
    _confirm.give_up({"token": "t9", "wait": 0}, case.work())
    assert case.exists(ARMED)
    _confirm.give_up({"token": "t1", "wait": 0}, case.work())
    assert case.nothing_is_armed() and case.machine.snapshot() == case.before
    case.arm()
    case.tune()
    _confirm.give_up({"token": "t1", "wait": 0}, case.work())
    assert case.journal.unconfirmed() == 2 and case.exists(ARMED)


def cannot_be_taken_back(made: Made) -> Case:
    """It would kill, for now."""
    case = made()
    case.arm()
    case.tune()
    case.machine.set(f"/sys/fs/cgroup{BIG}/memory.current", str(GIB))
    for unused in range(2):
        with pytest.raises(_tune.TuneError, match="nothing was written:\nbig.service MemoryMax"):
            case.time_runs_out()
        assert case.machine.text(f"{BIG} memory.max") == str(2 * GIB) and case.journal.unconfirmed() == 2
    return case


def test_where_taking_back_would_kill_the_timer_tries_again(made: Made) -> None:
    case = cannot_be_taken_back(made)
    case.machine.set(f"/sys/fs/cgroup{BIG}/memory.current", str(GIB // 4))
    assert case.time_runs_out().startswith("generation 2 was not confirmed") and case.machine.snapshot() == case.before
    assert case.nothing_is_armed() and case.time_runs_out() == "no timer"


def test_while_another_run_has_the_lock_the_timer_tries_again(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_undo, "_LOCK_SECONDS", 0.0)
    case = made()
    case.arm()
    case.tune()
    with Journal(case.node).locked(), pytest.raises(Busy):
        case.time_runs_out()
    assert case.time_runs_out().startswith("generation 2 was not confirmed")


def test_a_timer_that_has_nothing_to_do_any_more_ends(made: Made) -> None:
    case = made()
    case.arm()
    os.unlink(case.machine.root + ARMED)
    assert (case.time_runs_out(), case.time_runs_out()) == ("nothing is armed", "no timer")


def test_what_the_boot_could_not_take_back_a_timer_tries_again(made: Made) -> None:
    case = made()
    case.arm()
    case.tune()
    case.node.fails = "daemon-reload"
    with pytest.raises(_tune.TuneError, match="fails"):
        case.reboot()
    case.node.fails = ""
    argv = json.loads(Path(f"{case.machine.root}.timer").read_text(encoding="utf-8"))
    assert {"--on-active=60s", "--on-unit-inactive=60s"} < set(argv) and case.journal.unconfirmed() == 2
    assert case.time_runs_out().startswith("generation 2 was not confirmed") and case.nothing_is_armed()


def test_where_taking_back_would_kill_it_stays_armed_for_the_next_boot(made: Made) -> None:
    case = cannot_be_taken_back(made)
    assert case.reboot().startswith("generation 2 was not confirmed") and case.machine.text(f"{BIG} memory.max") == str(GIB // 2)


# Killed


def test_a_kill_at_any_operation_of_arming_arms_or_does_not(made: Made) -> None:
    at, was_killed, seen = 1, True, set()
    while was_killed:
        case = made()
        was_killed = case.killed(case.arm, at)
        seen.add((case.exists(ARMED), os.path.exists(f"{case.machine.root}.timer")))
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
        assert found == twin.machine.snapshot(), at
        assert case.machine.text("vm.swappiness") == "30" and not case.exists(ARMED)
        at += 3 * THINNED


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
        at += 5 * THINNED


@pytest.mark.parametrize("fails", ["systemd-run", "--probe"])
def test_what_cannot_be_armed_leaves_nothing(made: Made, fails: str) -> None:
    case = made()
    case.node.fails = fails
    with pytest.raises(_tune.TuneError, match="cannot be armed, and nothing was written"):
        case.arm()
    assert case.nothing_is_armed() and case.machine.snapshot() == case.before


# What is armed


def test_what_is_armed_is_roots_alone_and_says_what_runs(made: Made) -> None:
    case = made()
    case.arm()
    root = case.machine.root
    assert os.stat(root + ARMED).st_mode & 0o777 == 0o600
    argv = json.loads(Path(f"{root}.timer").read_text(encoding="utf-8"))
    after = "--unit=memqos-confirm --on-active=120s --on-unit-inactive=60s --timer-property=AccuracySec=1s"
    assert " ".join(argv).endswith(f"{after} -- {sys.executable} -I {STATE}/undo.zip")


def test_what_others_can_change_is_not_armed(made: Made) -> None:
    case = made()
    os.chmod(case.machine.root + sys.executable, 0o777)
    case.before = case.machine.snapshot()
    with pytest.raises(_tune.TuneError, match=f"nothing was written: others than root can change {sys.executable}, of which this Python is, and the system"):
        case.arm()
    assert case.machine.snapshot() == case.before and not case.exists(ARMED)


@pytest.mark.parametrize(("more", "told"), [({"systemd": 0}, "systemd does not run here"), ({}, "the modules did not come packed")])
def test_what_could_not_take_it_back_is_not_armed(made: Made, more: Json, told: str) -> None:
    case = made(**more)
    case.machine.code = b"" if not more else CODE
    before = case.machine.snapshot()
    with pytest.raises(_tune.TuneError, match=f"cannot be armed, and nothing was written: {told}"):
        case.arm()
    assert case.machine.snapshot() == before and not case.exists(ARMED)
