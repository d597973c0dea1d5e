# SPDX-License-Identifier: BSD-2-Clause

"""A tune that the node takes back by itself unless somebody confirms it: armed before, confirmed after; what timer and boot run. docs/architecture.md 3.17."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import time
import typing as t
import zipfile

from . import _persist, _tune
from ._journal import JournalError
from ._read._files import Tree, Unreadable
from ._writer import File, Refused, Writer

Json = t.Dict[str, t.Any]

TIMER = "memqos-confirm"
SERVICE = "/etc/systemd/system/memqos-undo.service"
WANTS = "/etc/systemd/system/basic.target.d/zz-memqos-undo.conf"
_OURS = "ansible_collections/"
_MAIN = "import sys\nfrom ansible_collections.memqos.fleet.plugins.module_utils import _confirm\nsys.exit(_confirm.main(sys.argv))\n"
_PLAIN = re.compile(r"/[A-Za-z0-9/._+-]+")
# A tune that is under way when its time runs out.
_LOCK_SECONDS = 600.0
_SHRINK_SECONDS = 60
FAILURES = (_tune.TuneError, JournalError, Refused, Unreadable, OSError)


class Settled(Exception):
    """There is nothing to take back."""


class Undo(_tune.Work):
    """A rollback that looks under the lock whether what was armed when it began is so still, and what awaits confirmation."""

    def __init__(self, tree: Tree, writer: Writer) -> None:
        super().__init__(tree, writer, check=False)
        self.armed = self.journal.armed()
        self.generation = 0
        self.request: Json = {}

    @contextlib.contextmanager
    def locked(self, wait: float, allow: t.Collection[str]) -> t.Iterator[None]:
        with super().locked(wait, allow):
            if self.journal.armed() != self.armed:
                raise Settled("it was confirmed, and is armed no more")
            self.generation = self.journal.unconfirmed()
            if not self.generation:
                disarm(self.writer)
                raise Settled("nothing awaits confirmation")
            # Not by what was there when it was armed: another run may have come between.
            earlier = self.journal.generations()[:-1]
            self.request.update(to=str(earlier[-1]) if earlier else "origin", meta={**self.request["meta"], "undid": self.generation})
            yield


def arm(request: Json, work: _tune.Work, code: bytes) -> Json:
    """Before the tune of C(token). C(code): what C(archive) gives. Raises TuneError; then nothing is armed."""
    with work.locked(request["wait"], request["allow"]):
        waiting = work.journal.unconfirmed()
        if waiting:
            raise _tune.TuneError(_tune.AWAITS.format(waiting))
        for path in (SERVICE, WANTS):
            _require_ours(path, work.writer)
        try:
            if not work.check:
                _lay({key: request[key] for key in ("token", "within", "allow", "started")}, work.writer, code)
        except FAILURES as exc:
            with contextlib.suppress(*FAILURES):
                disarm(work.writer)
            raise _tune.TuneError(f"what would take the tune back cannot be armed, and nothing was written: {exc}") from exc
    return {"changed": False, "generation": 0, "problem": ""}


def give_up(request: Json, work: _tune.Work) -> Json:
    """After a tune of C(token) that made no generation."""
    with work.locked(request["wait"], ()):
        if not work.check and work.journal.armed().get("token") == request["token"] and not work.journal.unconfirmed():
            disarm(work.writer)
    return {"changed": False, "generation": 0, "problem": ""}


def confirm(request: Json, work: _tune.Work) -> Json:
    """C(generation): the one that stands from now on, 0 if none awaited it."""
    with work.locked(request["wait"], ()):
        waiting, known = work.journal.unconfirmed(), work.journal.generations()
        undid = work.journal.generation(known[-1]).meta.get("undid", 0) if known else 0
        if work.journal.armed() and not work.check:
            disarm(work.writer)
    problem = f"generation {undid} was not confirmed in time, and the node has taken it back (generation {known[-1]})" if undid else ""
    return {"changed": waiting > 0, "generation": waiting, "problem": problem}


def undo(work: Undo) -> str:
    """What came of it, for the journal of systemd. Raises FAILURES; then it stays armed, for the next boot."""
    armed = work.armed
    if not armed:
        return "nothing is armed"
    meta = {"host": os.uname().nodename, "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "run_id": armed["token"]}
    # It removes no generation.
    shrink = {"within": _SHRINK_SECONDS, "slice": _SHRINK_SECONDS}
    work.request.update(shrink=shrink, force=False, allow=armed["allow"], wait=_LOCK_SECONDS, meta=meta, keep={"generations": 1, "since": ""})
    try:
        answer = _tune.rollback(work.request, work)
    except Settled as exc:
        return str(exc)
    if answer["problem"]:
        raise _tune.TuneError(answer["problem"])
    disarm(work.writer)
    left = [f"{row['subject']} {row['name']}".strip() for row in answer["results"] if row["status"] == "deferred"]
    told = f"generation {work.generation} was not confirmed within {armed['within']} s, and is taken back (generation {answer['generation']})"
    return f"{told}, but for what others have changed since: {', '.join(left)}" if left else told


def main(argv: t.Sequence[str]) -> int:
    """With C(--probe) nothing but whether it can be loaded."""
    if argv[1:] == ["--probe"]:
        return 0
    try:
        sys.stdout.write(f"{undo(Undo(Tree('/'), Writer('/')))}\n")
    except FAILURES as exc:
        sys.stderr.write(f"the tune that nobody confirmed is not taken back; the next boot tries again: {exc}\n")
        return 1
    return 0


def archive(loader: t.Any) -> bytes:
    """Our half of what Ansible has sent, as a program. C(loader): of a module in it. Raises TuneError."""
    source = getattr(loader, "archive", "")
    if not source:
        raise _tune.TuneError("a tune to be confirmed needs the modules packed as Ansible sends them, and they are not")
    packed = io.BytesIO()
    with zipfile.ZipFile(source) as sent, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as program:
        program.writestr("__main__.py", _MAIN)
        for name in sorted(set(sent.namelist())):
            if name.startswith(_OURS):
                program.writestr(name, sent.read(name))
    return packed.getvalue()


def decided(work: _tune.Work) -> None:
    """After a rollback by hand. What cannot be removed takes back nothing any more."""
    with contextlib.suppress(*FAILURES):
        if work.journal.armed():
            disarm(work.writer)


def disarm(writer: Writer) -> None:
    """The word that counts first: what a kill leaves of the rest does nothing."""
    writer.remove(f"{writer.state}/armed.json")
    with contextlib.suppress(Unreadable):
        writer.command("systemctl", "stop", f"{TIMER}.timer")  # it may have run out, or ended with the boot
    writer.remove(WANTS)
    writer.remove_directory(os.path.dirname(WANTS))
    writer.remove(SERVICE)
    writer.remove(f"{writer.state}/undo.zip")


def _lay(armed: Json, writer: Writer, code: bytes) -> None:
    program = f"{writer.state}/undo.zip"
    if not _PLAIN.fullmatch(sys.executable):
        raise _tune.TuneError(f"{sys.executable!r} is no path of a Python that a unit can have")
    _write(writer, program, code.decode("utf-8", "surrogateescape"), 0o600)
    writer.command(sys.executable, "-I", program, "--probe")
    _write(writer, SERVICE, service(writer.state), 0o644)
    _write(writer, WANTS, "\n".join([_persist.HEADER, "[Unit]", f"Wants={os.path.basename(SERVICE)}", ""]), 0o644)
    _write(writer, f"{writer.state}/armed.json", json.dumps(armed), 0o600)
    with contextlib.suppress(Unreadable):
        writer.command("systemctl", "stop", f"{TIMER}.timer")  # of an earlier run that was cut off
    after = [f"--on-active={armed['within']}s", "--timer-property=AccuracySec=1s"]
    writer.command("systemd-run", "--quiet", "--collect", f"--unit={TIMER}", *after, "--", sys.executable, "-I", program)


def _require_ours(path: str, writer: Writer) -> None:
    """Raises TuneError."""
    found = writer.read(path)
    if not _persist.is_ours(found.text if found else None):
        raise _tune.TuneError(f"{path} is not ours, and nothing was written: look whose it is, and move it away")


def _write(writer: Writer, path: str, text: str, mode: int) -> None:
    for directory in writer.missing_directories(path):
        writer.make_directory(directory)
    writer.replace(path, File(text, mode, os.geteuid(), os.getegid()))


def service(state: str) -> str:
    """Its unit at boot: not before what it takes back has been set."""
    unit = ["[Unit]", "Description=Take back a tune of memory that nobody confirmed (memqos.fleet)", "DefaultDependencies=no", "Conflicts=shutdown.target"]
    unit += ["Before=shutdown.target", "After=local-fs.target systemd-sysctl.service systemd-tmpfiles-setup.service memqos-late.service"]
    unit += [f"RequiresMountsFor={state}", f"ConditionPathExists={state}/armed.json"]
    return "\n".join([_persist.HEADER, *unit, "", "[Service]", "Type=oneshot", f"ExecStart={sys.executable} -I {state}/undo.zip", ""])
