# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Links, FIFOs, devices and directories in the place of what a whole run opens: refused by name, and nothing is written, on either side of a link."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _boot, _confirm, _tune
from ansible_collections.memqos.fleet.plugins.module_utils._journal import JournalError
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Refused
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.fake_bus import PRIVATE, Manager, Peer, short_root
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import MINE, Machine, layer
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import snapshot

STATE = "/var/lib/memqos"
OPENED = ["lock", "pending.jsonl", "origin.json", "generations/1.json", "armed.json"]
KINDS = ["link", "dangling link", "fifo", "directory"] + (["device"] if os.geteuid() == 0 else [])
ERRORS = (JournalError, Refused, _tune.TuneError)
NEXT = layer(host={"vm.swappiness": 30}, slices={"batch.slice": {"MemoryHigh": 1 << 30}})


class Outside:
    """What a link leads to, and what lies beside the node."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "outside"
        self.directory.mkdir(mode=0o700)

    def plant(self, path: str, kind: str) -> None:
        """In the place of C(path); its content, if there was any, is what a link leads to."""
        theirs = self.directory / "theirs"
        if os.path.lexists(path):
            os.rename(path, theirs)
        elif kind == "link":
            theirs.write_text("theirs", encoding="utf-8")
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        elif kind == "directory":
            os.mkdir(path, 0o700)
        else:
            os.symlink(str(theirs) if kind == "link" else str(self.directory / "nowhere"), path)


def lying(root: t.Union[str, Path]) -> t.Dict[str, t.Any]:
    """Kind, mode and (of a regular file) content of all that lies there, the journal too; links are not followed."""
    found: t.Dict[str, t.Any] = {}
    for directory, names, files in os.walk(root):
        for path in [directory, *(f"{directory}/{name}" for name in (*names, *files))]:
            status = os.lstat(path)
            content = Path(path).read_bytes() if stat.S_ISREG(status.st_mode) else os.readlink(path) if stat.S_ISLNK(status.st_mode) else None
            found[path[len(str(root)) :]] = (status.st_mode, content)
    return found


def everything(machine: Machine, outside: Outside) -> t.Tuple[t.Any, ...]:
    return lying(machine.root), lying(outside.directory)


@pytest.fixture(name="machine")
def fixture_machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "node")
    assert machine.tune(layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryHigh": 2 << 30}}))["generation"] == 1
    return machine


@pytest.fixture(name="outside")
def fixture_outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPENED)
def test_in_the_place_of_a_file_of_the_journal(machine: Machine, outside: Outside, name: str, kind: str) -> None:
    outside.plant(f"{machine.root}{STATE}/{name}", kind)
    before = everything(machine, outside)
    # A rollback asks nobody for confirmation.
    for action in (lambda: machine.tune(NEXT), *([] if name == "armed.json" else [lambda: machine.rollback("previous")])):
        with pytest.raises(ERRORS, match=f"{STATE}/{name}") as raised:
            action()
        assert any(words in str(raised.value) for words in ("is a symbolic link", "is not a regular file", "Is a directory (EISDIR)"))
        assert everything(machine, outside) == before


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize("path", [STATE, f"{STATE}/generations", "/var/lib", "/var"])
def test_in_the_place_of_a_directory_of_the_journal(machine: Machine, outside: Outside, path: str, kind: str) -> None:
    outside.plant(machine.root + path, kind)
    before = everything(machine, outside)
    for action in (lambda: machine.tune(NEXT), lambda: machine.rollback("origin")):
        with pytest.raises(ERRORS, match="is a symbolic link, or no directory"):
            action()
        assert everything(machine, outside) == before


@pytest.mark.parametrize("path", [STATE, f"{STATE}/generations"])
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o755])
def test_a_directory_that_others_can_enter(machine: Machine, outside: Outside, path: str, mode: int) -> None:
    os.chmod(machine.root + path, mode)
    before = everything(machine, outside)
    for action in (lambda: machine.tune(NEXT), lambda: machine.rollback("origin")):
        with pytest.raises(JournalError, match=f"{path}: belongs to user {os.geteuid()} with mode {mode:04o}"):
            action()
        assert everything(machine, outside) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("path", [STATE, f"{STATE}/generations"])
def test_a_directory_of_another_user(machine: Machine, outside: Outside, path: str) -> None:
    os.chown(machine.root + path, 65534, 65534)
    before = everything(machine, outside)
    for action in (lambda: machine.tune(NEXT), lambda: machine.rollback("origin")):
        with pytest.raises(JournalError, match=f"{path}: belongs to user 65534"):
            action()
        assert everything(machine, outside) == before


@pytest.mark.parametrize("name", ["undo.zip", "armed.json"])
@pytest.mark.parametrize("kind", KINDS)
def test_in_the_place_of_what_the_next_boot_runs(machine: Machine, outside: Outside, name: str, kind: str) -> None:
    outside.plant(f"{machine.root}{STATE}/{name}", kind)
    before = everything(machine, outside)
    asked = {"token": "t", "within": 120, "wait": 0, "allow": [], "started": "2026-11-23T09:00:00Z"}
    work = _tune.Work(machine.tree, machine.node, check=False, code=lambda: b"other code")
    with pytest.raises(ERRORS, match=f"{STATE}/{name}: (is|Is) "):
        machine.tune(NEXT)
    assert everything(machine, outside) == before
    # What cannot be armed is taken away again, a link itself and not what it leads to.
    machine.node._command = lambda argv: "" if argv[1] == "stop" else machine.systemctl(argv)
    with pytest.raises(ERRORS, match=f"{STATE}/{name}: (is|Is) "):
        _confirm.arm(asked, work)
    assert lying(outside.directory) == before[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", [_boot.SERVICE, _boot.WANTS])
def test_in_the_place_of_the_units_of_the_next_boot(machine: Machine, outside: Outside, path: str, kind: str) -> None:
    outside.plant(machine.root + path, kind)
    before = everything(machine, outside)
    with pytest.raises(ERRORS, match=f"{path}: (is|Is) "):
        machine.tune(NEXT)
    assert everything(machine, outside) == before


@pytest.mark.parametrize("path", ["/etc", "/etc/sysctl.d", MINE, "/etc/systemd", "/etc/systemd/system", "/etc/systemd/system/batch.slice.d"])
def test_in_the_way_to_what_lasts(machine: Machine, outside: Outside, path: str) -> None:
    outside.plant(machine.root + path, "link")
    before = everything(machine, outside)
    told = ""
    try:
        told = machine.tune(NEXT)["problem"]
    except ERRORS as exc:
        told = str(exc)
    assert "is a symbolic link" in told
    assert os.path.islink(machine.root + path)
    after = everything(machine, outside)
    assert [{key: value for key, value in one.items() if STATE not in key} for one in after] == [
        {key: value for key, value in one.items() if STATE not in key} for one in before
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["/proc/sys/vm/swappiness", "/sys/fs/cgroup/batch.slice/memory.high"])
def test_in_the_place_of_a_kernel_file(machine: Machine, outside: Outside, place: str, kind: str) -> None:
    """What is no file of a kernel has no value: the knob is not there, or the run is refused; it is not written."""
    outside.plant(machine.root + place, kind)
    theirs = lying(outside.directory)
    told = ""
    try:
        told = machine.tune(layer(host={"vm.swappiness": 30}, slices={"batch.slice": {"MemoryHigh": 1 << 30}}))["problem"]
    except ERRORS as exc:
        told = str(exc)
    assert told or not os.path.isfile(machine.root + place)
    assert lying(outside.directory) == theirs


@pytest.mark.parametrize("path", ["/sys/fs/cgroup/batch.slice", "/sys/fs/cgroup", "/sys/fs"])
def test_in_a_cgroups_path(machine: Machine, outside: Outside, path: str) -> None:
    """Of a slice whose usage nobody can read, that is allowed: else it would be refused for that."""
    outside.plant(machine.root + path, "link")
    theirs = lying(outside.directory)
    with pytest.raises((Refused, OSError)):
        machine.node.kernel_write("/sys/fs/cgroup/batch.slice/memory.high", "1")
    try:
        told = machine.tune(NEXT, allow=["high_below_working_set"])["problem"]
    except ERRORS as exc:
        told = str(exc)
    assert "symbolic link" in told
    assert lying(outside.directory) == theirs


# What a whole run writes

_AUDITED = """
import os, sys
sys.dont_write_bytecode = True
from pathlib import Path
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import test_planted
test_planted.watched(Path(sys.argv[1]), sys.argv[2], is_on_the_bus=bool(sys.argv[3]))
"""
# By hand, and not taken from the code that it is to bound.
ALLOWED = (
    "/proc/sys/vm/", "/proc/sys/kernel/numa_balancing", "/sys/kernel/mm/", "/sys/fs/cgroup/batch.slice/memory.", "/etc/sysctl.d/", "/etc/tmpfiles.d/",
    "/etc/systemd/system/batch.slice.d", "/etc/systemd/system/memqos-late.service", "/etc/systemd/system/multi-user.target.d", "/etc/tmpfiles.d",
    "/etc/systemd/system/memqos-undo.service", "/etc/systemd/system/.memqos-undo.service.memqos", "/etc/systemd/system/basic.target.d",
    "/run/systemd/system.control", "/run/systemd/private", "/var/lib/memqos",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# (event, the arguments that are paths, and where their directories' descriptors are)
_EVENTS = {
    "os.rename": ((0, 2), (1, 3)), "os.remove": ((0, 1),), "os.rmdir": ((0, 1),), "os.mkdir": ((0, 2),), "os.chmod": ((0, 2),), "os.chown": ((0, 3),),
    "os.link": ((0, 2), (1, 3)), "os.symlink": ((1, 2),), "os.truncate": ((0, None),), "os.setxattr": ((0, None),), "os.removexattr": ((0, None),),
    "os.utime": ((0, 3),), "os.chflags": ((0, None),), "shutil.rmtree": ((0, None),), "shutil.move": ((1, None),),
}  # fmt: skip
_NEVER = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "socket.bind", "socket.sendto", "ctypes.dlopen", "os.kill")


def full(path: t.Any, directory: t.Any) -> str:
    """Absolute, of a descriptor or of a path below one's."""
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    text = os.fsdecode(path)
    if text.startswith("/"):
        return text
    return os.path.join(os.readlink(f"/proc/self/fd/{directory}") if isinstance(directory, int) and directory >= 0 else os.getcwd(), text)


def watched(root: Path, more: str, *, is_on_the_bus: bool) -> None:
    """A tune and a rollback with all that the interpreter writes on the way noted: prints it. C(more): a path that the writer writes besides."""
    machine = Machine(root)
    peer = Peer(machine.root + PRIVATE, Manager(machine.node.systemd)) if is_on_the_bus else contextlib.nullcontext()
    found: t.List[str] = []
    opening: t.List[str] = []
    watching = [True]
    plain_open = os.open

    def opened(path: t.Any, flags: int, mode: int = 0o777, *, dir_fd: t.Optional[int] = None) -> int:
        # The audit event does not know the directory.
        opening.append(full(path, dir_fd))
        try:
            return plain_open(path, flags, mode, dir_fd=dir_fd)
        finally:
            opening.pop()

    def hook(event: str, arguments: t.Tuple[t.Any, ...]) -> None:
        if not watching[0]:
            return
        if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)) and arguments[2] & _WRITING:
            found.append(opening[-1] if opening else full(arguments[0], None))
        elif event == "socket.connect":
            found.append(os.fsdecode(arguments[1]))
        elif event in _NEVER:
            found.append(f"{event} {arguments!r}")
        for at, directory in _EVENTS.get(event, ()):
            found.append(full(arguments[at], arguments[directory] if directory is not None and directory < len(arguments) else None))

    if more:
        plain = machine.node.replace

        def and_more(path: str, new: t.Any) -> None:
            plain(path, new)
            Path(machine.root + more).write_text("", encoding="utf-8")

        machine.node.replace = and_more  # type: ignore[method-assign]
    os.open = opened
    sys.addaudithook(hook)
    wanted = layer(
        host={"vm.swappiness": 10, "vm.dirty_bytes": 256 << 20, "transparent_hugepage/enabled": "madvise", "lru_gen/min_ttl_ms": 100},
        slices={"batch.slice": {"MemoryHigh": 2 << 30, "MemoryMax": 3 << 30}},
    )
    with peer:
        tuned, back = machine.tune(wanted), machine.rollback("origin")
        watching[0] = False
    for path in dict.fromkeys(found):
        sys.stdout.write(f"{path[len(machine.root) :] if path.startswith(machine.root) else path}\n")
    sys.exit(0 if (tuned["problem"], back["problem"]) == ("", "") else 3)


def written(directory: Path, more: str = "", *, is_on_the_bus: bool = False) -> t.List[str]:
    argv = [sys.executable, "-c", _AUDITED, str(directory / "node"), more, "on the bus" if is_on_the_bus else ""]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(argv, stdout=subprocess.PIPE, env=environment, check=True)
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("is_on_the_bus", [False, True])
def test_a_whole_run_writes_registry_files_and_ours_only(is_on_the_bus: bool) -> None:
    with short_root() as directory:
        paths = written(Path(directory), is_on_the_bus=is_on_the_bus)
    assert [path for path in paths if not path.startswith(ALLOWED) or "/../" in path] == []
    # It speaks with systemd, and with nobody where that has no socket.
    assert (PRIVATE in paths) == is_on_the_bus
    for path in ("/proc/sys/vm/swappiness", "/sys/fs/cgroup/batch.slice/memory.high", MINE, f"{STATE}/lock", f"{STATE}/.pending.jsonl.memqos"):
        assert path in paths


@pytest.mark.parametrize("more", ["/etc/passwd", "/proc/sys/kernel/panic", "/sys/fs/cgroup/kubepods.slice/memory.max"])
def test_a_write_elsewhere_is_seen(tmp_path: Path, more: str) -> None:
    assert more in [path for path in written(tmp_path, more) if not path.startswith(ALLOWED)]


def test_the_hook_sees_what_a_run_changed(tmp_path: Path) -> None:
    """By the node itself: what is other after a tune is in the list."""
    machine = Machine(tmp_path / "other")
    before = snapshot(machine.root)
    machine.tune(layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryHigh": 2 << 30}}))
    after = snapshot(machine.root)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path) and (after.get(path) or before[path])[0] is not None}
    shutil.rmtree(machine.root)
    names = {path.replace("/.", "/").replace(".memqos", "") for path in written(tmp_path)}
    assert changed <= names and len(changed) >= 4
