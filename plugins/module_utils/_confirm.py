# SPDX-License-Identifier: BSD-2-Clause

"""A tune that the node takes back by itself (_undo) unless somebody confirms it: armed before, confirmed after. docs/architecture.md 3.17."""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t

from . import _boot, _tune, _undo
from ._writer import File

Json = t.Dict[str, t.Any]


def arm(request: Json, work: _tune.Work) -> Json:
    """Before the tune of C(token). Raises TuneError; then nothing of it is armed. C(until): when its time is over, by the monotonic clock."""
    with work.locked(request["wait"], request["allow"]):
        _require_free(request["token"], work)
        until = time.monotonic() + request["within"]
        try:
            if not work.check:
                _arm({key: request[key] for key in ("token", "within", "allow", "started")}, work)
        except _undo.FAILURES as exc:
            with contextlib.suppress(*_undo.FAILURES):
                (_boot.disarm if work.journal.armed().get("token") == request["token"] else _boot.tidy)(work.journal)
            raise _tune.TuneError(f"what would take the tune back cannot be armed, and nothing was written: {exc}") from exc
    return {"changed": False, "generation": 0, "problem": "", "until": until}


def _require_free(token: str, work: _tune.Work) -> None:
    """Neither awaits a tune confirmation, nor is another one on its way to write. What is armed without a timer was cut off. Raises TuneError."""
    waiting, armed = work.journal.unconfirmed(), work.journal.armed()
    if waiting:
        raise _tune.TuneError(_tune.AWAITS.format(waiting))
    if armed and armed["token"] != token and _boot.ticks(work.writer):
        another = f"another tune was armed for {armed['within']} s (by a controller whose clock said {armed['started']})"
        raise _tune.TuneError(f"{another}, and nothing was written: wait for it or, if its run has ended, disarm it (memqos.fleet.confirm)")


def give_up(request: Json, work: _tune.Work) -> Json:
    """After a tune of C(token) that made no generation."""
    with work.locked(request["wait"], ()):
        if not work.check and work.journal.armed().get("token") == request["token"] and not work.journal.unconfirmed():
            _boot.disarm(work.journal)
    return {"changed": False, "generation": 0, "problem": ""}


def confirm(request: Json, work: _tune.Work) -> Json:
    """C(generation): the one that stands from now on, 0 if none awaited it."""
    with work.locked(request["wait"], ()):
        waiting, known = work.journal.unconfirmed(), work.journal.generations()
        undid = work.journal.generation(known[-1]).meta.get("undid", 0) if known else 0
        if work.journal.armed() and not work.check:
            _boot.disarm(work.journal)
    problem = f"generation {undid} was not confirmed in time, and the node has taken it back (generation {known[-1]})" if undid else ""
    return {"changed": waiting > 0, "generation": waiting, "problem": problem}


def _arm(armed: Json, work: _tune.Work) -> None:
    writer = work.writer
    python, why = _boot.lay(work.journal, work.tree, work.code())
    if why:
        raise _tune.TuneError(why)
    writer.command(python, "-I", _boot.program(work.journal), "--probe")
    writer.replace(f"{writer.state}/armed.json", File(json.dumps(armed), 0o600, os.geteuid(), os.getegid()))
    # Of an earlier run that was cut off; a program that runs waits for our lock.
    _boot.stop(writer, ".timer", ".service")
    _undo.start(armed["within"], python, work)
