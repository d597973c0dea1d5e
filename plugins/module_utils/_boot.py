# SPDX-License-Identifier: BSD-2-Clause

"""What lies on a node for its next boot: a program that ends an interrupted run, and takes back a tune that nobody confirmed. docs/architecture.md 3.18."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import typing as t

from . import _persist
from ._journal import Journal, JournalError, told
from ._read._files import Tree, Unreadable
from ._writer import File, Writer, words

TIMER = "memqos-confirm"
SERVICE = "/etc/systemd/system/memqos-undo.service"
# A directory that no plan has files in: made by one, it would not be known as made by the other.
WANTS = "/etc/systemd/system/basic.target.d/zz-memqos-undo.conf"
_PACKAGE = "ansible_collections/memqos/fleet/plugins/"
_MAIN = f"""import sys
from {_PACKAGE.replace("/", ".")}module_utils import _compiled
_compiled.Compiled().use()
from {_PACKAGE.replace("/", ".")}module_utils import _undo
sys.exit(_undo.main(sys.argv))
"""
_PYTHONS = ("/usr/bin/python3", "/usr/libexec/platform-python")
_PLAIN = re.compile(r"/[A-Za-z0-9/._+-]+")


def archive() -> bytes:
    """Our half of what Ansible has sent, as a program: the same bytes whichever module it came with. Empty if it came another way."""
    import io
    import zipfile

    source = getattr(t.cast(t.Any, globals()["__loader__"]), "archive", "")
    packed = io.BytesIO()
    with contextlib.ExitStack() as stack:
        names: t.Set[str] = set()
        if source:
            sent = stack.enter_context(zipfile.ZipFile(source))
            others = (f"{_PACKAGE}modules/", f"{_PACKAGE}module_utils/_confirm.py")
            names = {name for name in sent.namelist() if name.startswith("ansible_collections/") and not name.startswith(others)}
        if f"{_PACKAGE}module_utils/_undo.py" not in names:
            return b""
        program = stack.enter_context(zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED))
        for name, data in [("__main__.py", _MAIN.encode()), *((name, sent.read(name)) for name in sorted(names))]:
            program.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)  # without the time
    return packed.getvalue()


def program(journal: Journal) -> str:
    return f"{journal.directory}/undo.zip"


def lay(journal: Journal, tree: Tree, code: bytes) -> t.Tuple[str, str]:
    """(the Python that runs it, why this node cannot have it). Writes what does not lie there as it has to. Raises JournalError."""
    if not tree.exists("/run/systemd/system"):
        return "", "systemd does not run here"
    if not code:
        return "", "the modules did not come packed, as Ansible sends them"
    writer = journal.writer
    with told(SERVICE):
        found = {path: writer.read(path) for path in (program(journal), SERVICE, WANTS)}
    for path in (SERVICE, WANTS):
        file = found[path]
        if file and not _persist.is_ours(file.text):
            raise JournalError(path, "is not ours. Nothing was changed: look whose it is, and move it away.")

    def put(path: str, text: str, mode: int = 0o644) -> None:
        new = File(text, mode, os.geteuid(), os.getegid())
        if found[path] != new:
            with told(path):
                for directory in writer.missing_directories(path):
                    writer.make_directory(directory)
                writer.replace(path, new)

    put(program(journal), code.decode("utf-8", "surrogateescape"), 0o600)
    python, why = _python(journal, tree)
    if python:
        put(SERVICE, service(journal.directory, python))
        put(WANTS, "\n".join([_persist.HEADER, "[Unit]", f"Wants={os.path.basename(SERVICE)}", ""]))
    elif not found[SERVICE]:
        writer.remove(program(journal))
    return python, why


def _python(journal: Journal, tree: Tree) -> t.Tuple[str, str]:
    """(one that root alone can change: ours, else the system's if it can run the program; why there is none)"""
    ours, why = _behind(sys.executable or "", tree)
    if not why:
        return ours, ""
    for path in _PYTHONS:
        python, none = _behind(path, tree)
        with contextlib.suppress(Unreadable):
            if not none:
                journal.writer.command(python, "-I", program(journal), "--probe")
                return python, ""
    return "", f"{why}, and the system has no other one that can run this"


def _behind(path: str, tree: Tree) -> t.Tuple[str, str]:
    """(the file behind all links, why root shall not run it at boot)"""
    try:
        real = os.path.realpath(os.fsdecode(tree.fs_path(path)))[len(tree.root.rstrip("/")) :]
        if not (_PLAIN.fullmatch(path) and _PLAIN.fullmatch(real)):
            return "", f"{path!r} is no path of a Python that a unit can have"
        parts = real.split("/")
        for one in ("/".join(parts[:end]) or "/" for end in range(len(parts), 0, -1)):
            found = os.lstat(tree.fs_path(one))
            if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
                return "", f"others than root can change {one}, of which this Python is"
    except (OSError, Unreadable) as exc:
        return "", f"{path}: {words(exc)}"
    return real, ""


def tidy(journal: Journal) -> None:
    """Where nothing of ours stands, is under way or is armed: what was laid goes too. Raises OSError, Refused and JournalError."""
    if journal.origin() or journal.armed() or journal.pending():
        return
    writer, directory = journal.writer, os.path.dirname(WANTS)
    for path in (WANTS, SERVICE):
        file = writer.read(path)
        if _persist.is_ours(file.text if file else None):
            writer.remove(path)
    if (writer.directory(directory) or (None, [""]))[1] == []:
        writer.remove_directory(directory)
    writer.remove(program(journal))


def disarm(journal: Journal) -> None:
    """The word that counts first: what a kill leaves of the rest does nothing. Raises as C(tidy) does."""
    journal.writer.remove(f"{journal.directory}/armed.json")
    stop(journal.writer, ".timer")  # not the service: it may be us
    tidy(journal)


def stop(writer: Writer, *kinds: str) -> None:
    """It may not be there: stopped before, or ended with the boot."""
    with contextlib.suppress(Unreadable):
        writer.command("systemctl", "stop", *(f"{TIMER}{kind}" for kind in kinds))


def ticks(writer: Writer) -> bool:
    """Whether the timer runs, before its first time or between two attempts. Raises Unreadable."""
    return "ActiveState=active" in writer.command("systemctl", "show", "--property=ActiveState", "--", f"{TIMER}.timer").split()


def service(state: str, python: str) -> str:
    """Before any service starts with what goes back, after sysctl.d and tmpfiles.d, and without a word from the network; bounded, as all else waits for it."""
    unit = ["[Unit]", "Description=Undo a tune of memory that was interrupted, or that nobody confirmed (memqos.fleet)", "DefaultDependencies=no"]
    unit += ["Conflicts=shutdown.target", "After=sysinit.target", "Before=basic.target shutdown.target", f"RequiresMountsFor={state} {python}"]
    unit += [f"ConditionPathExists=|{state}/{name}" for name in ("pending.jsonl", "armed.json")]
    run = ["Type=oneshot", f"ExecStart={python} -I {state}/undo.zip", "TimeoutStartSec=300", "TimeoutStopSec=30"]
    return "\n".join([_persist.HEADER, *unit, "", "[Service]", *run, ""])
