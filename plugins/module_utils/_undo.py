# SPDX-License-Identifier: BSD-2-Clause

"""What timer and boot run: an end to what was interrupted, and to a tune that nobody confirmed. docs/architecture.md 3.17, 3.18."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import typing as t

from . import _boot, _tune
from ._journal import JournalError
from ._read._files import Tree, Unreadable
from ._writer import Refused, Writer

Json = t.Dict[str, t.Any]

# A tune that is under way when its time runs out.
_LOCK_SECONDS = 600.0
# Between the end of a failure and the next attempt; to shrink.
_AGAIN_SECONDS = _SHRINK_SECONDS = 60
FAILURES = (_tune.TuneError, JournalError, Refused, Unreadable, OSError)


class Settled(Exception):
    """There is nothing to take back."""


class Undo(_tune.Work):
    """Looks under the lock whether what was armed when it began is so still."""

    def __init__(self, tree: Tree, writer: Writer, **more: t.Any) -> None:
        super().__init__(tree, writer, check=False, **more)
        self.armed = self.journal.armed()
        self.generation = 0
        self.request: Json = {}

    def recover(self, allow: t.Collection[str]) -> None:
        """With the risks that the run was allowed which it undoes."""
        pending = self.journal.pending()
        super().recover({*allow, *(pending.entry.meta.get("allow", ()) if pending else ())})

    @contextlib.contextmanager
    def locked(self, wait: float, allow: t.Collection[str]) -> t.Iterator[None]:
        with super().locked(wait, allow):
            armed, self.generation = self.journal.armed(), self.journal.unconfirmed()
            if not armed or (armed == self.armed and not self.generation):
                _boot.disarm(self.journal)  # a timer too that has nothing to do any more
                raise Settled("nothing awaits confirmation" if armed else "it was confirmed" if self.armed else "nothing is armed")
            if armed != self.armed:
                raise Settled("it was confirmed, and another one is armed")
            # Not to what was there when it was armed: another run may have come between.
            self.request.update(to="previous", meta={**self.request["meta"], "undid": self.generation})
            yield


def undo(work: Undo) -> str:
    """What came of it, for the journal of systemd. Raises FAILURES; then it stays armed, and the timer tries again."""
    armed = work.armed
    meta = {"host": os.uname().nodename, "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "run_id": armed.get("token", "")}
    # It removes no generation.
    shrink = {"within": _SHRINK_SECONDS, "slice": _SHRINK_SECONDS, "last": True}
    work.request.update(shrink=shrink, force=False, allow=armed.get("allow", ()), wait=_LOCK_SECONDS, meta=meta, keep={"generations": 1, "since": ""})
    try:
        answer = _tune.rollback(work.request, work)
        if answer["problem"]:
            raise _tune.TuneError(answer["problem"])
    except Settled as exc:
        return "; ".join([*work.notes, str(exc)])
    except FAILURES:
        with contextlib.suppress(*FAILURES):
            # After a boot there is none.
            if work.journal.armed() and not _boot.ticks(work.writer):
                start(_AGAIN_SECONDS, sys.executable, work)
        raise
    left = _left(row for row in answer["results"] if row["status"] == "deferred")
    told = f"generation {work.generation} was not confirmed within {armed['within']} s, and"
    if not answer["generation"]:
        return f"{told} nothing was left of it to take back" + (f": {left}" if left else "")
    return f"{told} is taken back (generation {answer['generation']})" + (f", but for {left}" if left else "")


def _left(rows: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    """What stays, and why, for people."""
    names: t.Dict[str, t.List[str]] = {}
    for row in rows:
        names.setdefault(row["reason"].partition(": it stays")[0], []).append(f"{row['subject']} {row['name']}".strip())
    return "; ".join(f"{', '.join(found)} ({why})" for why, found in names.items())


def main(argv: t.Sequence[str]) -> int:
    """With C(--probe) nothing but whether it can be loaded."""
    if argv[1:] == ["--probe"]:
        return 0
    try:
        sys.stdout.write(f"{undo(Undo(Tree('/'), Writer('/')))}\n")
    except FAILURES as exc:
        sys.stderr.write(f"not undone, to be tried again: {exc}\n")
        return 1
    return 0


def start(seconds: int, python: str, work: _tune.Work) -> None:
    """From then on until the timer is stopped, which keeps the service loaded: also one that failed is started again."""
    after = [f"--on-active={seconds}s", f"--on-unit-inactive={_AGAIN_SECONDS}s", "--timer-property=AccuracySec=1s"]
    work.writer.command("systemd-run", "--quiet", "--collect", f"--unit={_boot.TIMER}", *after, "--", python, "-I", _boot.program(work.journal))
