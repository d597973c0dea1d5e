# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole tunes on a node that fails them: a full or read-only disk, I/O errors, a cut connection, a clock set back. Afterwards all or nothing."""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import time
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _journal, _tune, _writer
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.test_boot import OTHER, STATE, Case, Made, fixture_made
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.test_recovery import PENDING
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.thinned import THINNED
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import OPTIONS, Json, layer
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import META, in_child

pytestmark = pytest.mark.usefixtures("root_user")
__all__ = ["fixture_made"]

# The second tune changes files that the first one made, makes some and removes some.
FIRST = layer(host={"vm.swappiness": 30, "vm.dirty_ratio": 15}, slices={"batch.slice": {"MemoryHigh": "3G"}})
SECOND = layer(host={"vm.swappiness": 10, "transparent_hugepage/enabled": "madvise"}, slices={"big.service": {"MemoryMax": "2G"}})
# What needs room, and what a read-only file system takes not.
NEEDS_ROOM = ("create", "write", "sync", "mkdir", "append")
CHANGES = (*NEEDS_ROOM, "rename", "remove", "rmdir", "sync directory")
Fails = t.Callable[[str, str], int]


def tuned(made: Made) -> t.Tuple[Json, Json, int]:
    """(a node after the first tune, after the second, how many operations that has)"""
    case = made()
    case.machine.tune(FIRST)
    first = case.plan()
    case.node.operations = 0
    case.machine.tune(SECOND)
    return first, case.plan(), case.node.operations


def failed(made: Made, at: int, number: int, whats: t.Container[str], *, stays: bool) -> t.Tuple[Case, str]:
    """(a node whose second tune had this error at operation C(at), and (C(stays)) at all like it from there on; what it said)"""
    case = made()
    case.machine.tune(FIRST)
    case.node.operations = 0

    def fails(what: str, path: str) -> int:
        is_hit = case.node.operations >= at if stays else case.node.operations == at
        return number if is_hit and what in whats and not path.startswith(("/proc/", "/sys/")) else 0

    case.node.fails = fails
    try:
        told = str(case.machine.tune(SECOND)["problem"])
    except (_journal.JournalError, _tune.TuneError) as exc:
        told = str(exc)
    case.node.fails = lambda what, path: 0
    return case, told


@pytest.mark.parametrize(("number", "whats", "stays"), [
    (errno.ENOSPC, NEEDS_ROOM, True), (errno.EIO, CHANGES, False), (errno.EROFS, CHANGES, True),
], ids=["full disk", "EIO", "read-only"])  # fmt: skip
def test_an_error_of_the_disk_at_any_operation_leaves_all_or_nothing(made: Made, number: int, whats: t.Tuple[str, ...], stays: bool) -> None:
    first, second, operations = tuned(made)
    seen = set()
    for at in range(1 + number % 2, operations + 1, 2 * THINNED):
        case, told = failed(made, at, number, whats, stays=stays)
        stands = case.machine.text(f"{STATE}/generations/2.json") is not None
        # Half done it may be as long as the disk takes nothing; that is said, and who is to put it right.
        if case.plan() != (second if stands else first):
            assert "Not undone: " in told and f"The next run tries again; {PENDING} holds the values from before" in told
        seen.add((stands, bool(told)))
        answer = case.machine.tune(SECOND if stands else FIRST)
        assert (answer["problem"], answer["generation"], case.plan()) == ("", 0, second if stands else first), at
        assert case.machine.text(PENDING) is None
    assert seen >= {(False, True), (True, False)}


def test_a_full_disk_that_is_half_undone_is_ended_by_the_next_boot(made: Made) -> None:
    twin = made()
    twin.machine.tune(FIRST)
    twin.reboot()
    unused, unused_too, operations = tuned(made)
    booted = set()
    for at in range(1, operations, 5 * THINNED):
        case, unused_told = failed(made, at, errno.ENOSPC, NEEDS_ROOM, stays=True)
        if case.machine.text(PENDING) and case.machine.text(f"{STATE}/generations/2.json") is None:
            case.reboot(cut=True)
            booted.add(case.boot())
            assert case.plan() == twin.plan(), at
    assert booted == {"an interrupted run was undone; nothing is armed"}


# A connection that is cut


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_who_cuts_the_connection_gets_all_or_nothing_at_once(made: Made, number: int) -> None:
    """Amid the transaction it goes on to its end; before, the process ends, and nothing was written. Nobody reads what it prints."""
    twin = made()
    twin.machine.tune(SECOND)
    seen = set()
    for at in range(1, twin.node.operations + 1, 2 * THINNED):
        case = made()
        case.node.fails = functools.partial(cut, case, at, number)
        status = in_child(functools.partial(tune_and_print, case))
        case.node.fails = lambda what, path: 0
        case.node.remember()
        stands = case.machine.text(f"{STATE}/generations/1.json") is not None
        assert case.plan() == (twin.plan() if stands else case.before) and case.machine.text(PENDING) is None, at
        seen.add((stands, os.WTERMSIG(status), os.WEXITSTATUS(status)))
    # Printing what came of it fails: the reader has gone.
    assert seen == {(False, number, 0), (True, 0, 1)}


def cut(case: Case, at: int, number: int, what: str, path: str) -> int:
    if case.node.operations == at:
        os.kill(os.getpid(), number)
    return 0


def tune_and_print(case: Case) -> None:
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup
    reads, writes = os.pipe()
    os.close(reads)
    answer = case.machine.tune(SECOND)
    os.write(writes, json.dumps(answer, default=list).encode())


def test_signals_count_again_when_a_run_has_ended(made: Made) -> None:
    case = made()
    before = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)]
    case.machine.tune(FIRST)
    case.node.fails = lambda what, path: errno.EIO if path.startswith("/etc/sysctl.d/") else 0
    case.machine.tune(SECOND)
    assert [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)] == before


# A clock that is set back


def test_a_clock_set_back_hurts_nobody(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers say what came after what; what is kept so many days stays longer, if anything; a recovery asks no clock."""
    case, day = made(), 86400.0
    keep = {"generations": 1, "since": "2026-11-20T00:00:00Z"}
    times = ["2026-11-23T09:00:00Z", "2026-11-22T09:00:00Z", "2026-11-21T09:00:00Z"]
    for number, started in enumerate(times):
        case.machine.asked(
            _tune.tune, {"layers": [layer(host={"vm.swappiness": 30 + number})], "options": OPTIONS, "meta": {**META, "started": started}, "keep": keep}
        )
    yesterday = time.time() - day
    monkeypatch.setattr(time, "time", lambda: yesterday)
    assert _journal.Journal(case.node).generations() == [1, 2, 3]
    before = case.plan()
    case.killed(functools.partial(case.machine.tune, SECOND), 25)
    assert case.machine.text(PENDING) is not None
    assert case.machine.tune(layer(host={"vm.swappiness": 32}))["notes"] == ["an interrupted run was undone"]
    assert case.plan() == before
    assert case.machine.rollback("previous")["problem"] == "" and case.machine.text("vm.swappiness") == "31"
    assert case.machine.rollback("origin")["problem"] == "" and case.machine.snapshot() == case.before


# A link that was planted


def test_a_directory_for_the_boot_that_is_a_link_is_refused(made: Made) -> None:
    case = made()
    os.makedirs(f"{case.machine.root}/elsewhere")
    os.symlink("/elsewhere", f"{case.machine.root}/etc/systemd/system/basic.target.d")
    with pytest.raises((_journal.JournalError, _writer.Refused), match="symbolic link"):
        case.machine.tune(OTHER)
    assert case.machine.text("vm.swappiness") == "60" and os.listdir(f"{case.machine.root}/elsewhere") == []
