# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import functools
import threading
import typing as t
from pathlib import Path
from unittest import mock

import pytest

from ansible_collections.memqos.fleet.tests.lab.crash import __main__ as crash
from ansible_collections.memqos.fleet.tests.lab.crash.node import Cut, Node
from ansible_collections.memqos.fleet.tests.lab.crash.table import BOTH, CRASHES, Crash
from ansible_collections.memqos.fleet.tests.lab.machines import MACHINES, LabError


def row(name: str) -> Crash:
    return next(crash for crash in CRASHES if crash.name == name)


class Guest:
    """A machine that says what it is told to."""

    def __init__(self, *, answer: dict[str, t.Any] | None = None, nothing: str = "", everything: str = "", word: str = "an interrupted run was undone") -> None:
        self.answer, self.nothing, self.everything, self.word = answer or {}, nothing, everything, word
        self.done: list[str] = []

    def tune(self, fault: str = "", pattern: str = "") -> Cut:
        self.done.append(fault)
        return Cut(self.answer, "")

    def reset(self) -> None:
        self.done.append("reset")

    def boots_word(self) -> str:
        return self.word

    def holds_nothing(self, *, laid: bool = False) -> str:
        return self.nothing

    def holds_all(self, phase: str) -> str:
        return self.everything

    def back_to_origin(self) -> str:
        return ""


def judged(name: str, guest: Guest) -> str:
    return row(name).happens(t.cast("Node", guest))


def test_each_row_has_a_name_and_machines_of_the_lab() -> None:
    assert len({one.name for one in CRASHES}) == len(CRASHES)
    assert {machine for one in CRASHES for machine in one.machines} == set(BOTH) <= {machine.name for machine in MACHINES}
    for machine in BOTH:
        assert len([one for one in CRASHES if machine in one.machines and one.name.startswith("kill -9")]) >= 5


def test_a_machine_that_holds_what_it_should_passes() -> None:
    guest = Guest(nothing="+half", everything="")
    assert judged("kill -9 after the commit, then a reset", guest) == "" and guest.done == ["kill", "reset"]
    assert judged("kill -9 at a sysctl, then a reset", Guest()) == ""
    assert judged("the clock is set back by a day amid it", Guest(answer={"met": True, "generation": 1})) == ""


@pytest.mark.parametrize(("name", "guest", "told"), [
    ("kill -9 at a sysctl, then a reset", Guest(answer={"generation": 1}), "it was not killed: no operation fits kernel */vm/swappiness"),
    ("kill -9 at a sysctl, then a reset", Guest(nothing="+half"), "+half"),
    ("kill -9 at a sysctl, then a reset", Guest(word="skipped"), "the boot did not say 'an interrupted run was undone', but: skipped"),
    ("kill -9 after the commit, then a reset", Guest(everything="vm.swappiness is 60"), "vm.swappiness is 60"),
    ("the clock is set back by a day amid it", Guest(answer={"met": False, "generation": 1}), 'it says {"met": false, "generation": 1}'),
])  # fmt: skip
def test_what_is_wrong_is_said(name: str, guest: Guest, told: str) -> None:
    assert judged(name, guest) == told


def test_a_machine_that_does_not_answer_is_a_failure() -> None:
    def gone(node: Node) -> str:
        raise LabError("no answer")

    assert crash._judge(Crash(name="x", happens=gone), t.cast("Node", Guest()), "debian13_v2").problem == "no answer"


def test_a_name_that_fits_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert crash.main(["--only", "no such"]) == 1
    assert "is called no such" in capsys.readouterr().err


def test_who_interrupts_it_waits_for_the_crash_under_way_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stop, booted = threading.Event(), []

    @contextlib.contextmanager
    def machine(*unused: t.Any, **unused_too: t.Any) -> t.Iterator[None]:
        booted.append(1)
        yield None

    def judge(one: Crash, node: Node, name: str) -> crash.Outcome:
        stop.set()
        return crash.Outcome(one, name, "", 0.0)

    monkeypatch.setattr(crash, "booted", machine)
    monkeypatch.setattr(crash, "_judge", judge)
    monkeypatch.setattr(crash, "Node", mock.Mock())
    run = functools.partial(crash._crashes, BOTH[0], list(CRASHES), tmp_path, t.cast("t.Any", None), stop)
    assert [outcome.crash for outcome in run()] == [CRASHES[0]]
    assert not list(run()) and len(booted) == 1
