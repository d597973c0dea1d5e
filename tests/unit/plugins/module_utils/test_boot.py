# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lies on a node for its next boot: when it comes and goes, and that the boot alone, without another run, leaves all of an interrupted tune or nothing."""

from __future__ import annotations

import errno
import functools
import os
import signal
import subprocess
import sys
import types
import typing as t
import zipfile
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _boot, _journal, _tune, _undo
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import tuned_node
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.test_recovery import BIG, BIG_DROP_IN, BIG_UNIT, PENDING, Killed
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.thinned import THINNED
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import CODE, GIB, MIB, Json, Machine, layer, statuses
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import in_child

pytestmark = pytest.mark.usefixtures("root_user")

ROOT = Path(__file__).resolve().parents[4]
STATE = "/var/lib/memqos"
LAID = (f"{STATE}/undo.zip", _boot.SERVICE, _boot.WANTS, os.path.dirname(_boot.WANTS))
WANTED = layer(
    host={"vm.swappiness": 10, "transparent_hugepage/enabled": "madvise"}, slices={"batch.slice": {"MemoryHigh": "3G"}, "big.service": {"MemoryMax": "2G"}}
)
OTHER = layer(host={"vm.swappiness": 20})


class Failing(Killed):
    """C(fails) gives the errno of an operation."""

    fails: t.Callable[[str, str], int] = staticmethod(lambda what, path: 0)

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        number = self.fails(what, path)
        if number:
            raise OSError(number, os.strerror(number), path)

    def systemctl(self, argv: t.List[str]) -> str:
        if argv == ["systemctl", "stop", "memqos-confirm.timer"]:
            raise Unreadable("systemctl", "error", "Unit memqos-confirm.timer not loaded.")
        return super().systemctl(argv)


class Case:
    """A machine, and what happens to it."""

    def __init__(self, root: Path, **more: t.Any) -> None:
        self.machine = Machine(root / "node", writer=Failing, **more)
        self.machine.write(BIG_UNIT, "[Service]\nExecStart=/usr/bin/big\nMemoryMax=512M\n")
        self.machine.start("big.service", BIG)
        self.node = t.cast("Failing", self.machine.node)
        self.before = self.machine.snapshot()

    def laid(self) -> t.Set[bool]:
        return {os.path.exists(self.machine.root + path) for path in LAID}

    def plan(self) -> Json:
        """All but what is laid, and what a kill left of laying it."""
        return {
            path: told for path, told in self.machine.snapshot().items() if path not in LAID and not path.endswith(("undo.service.memqos", "undo.conf.memqos"))
        }

    def killed(self, action: t.Callable[[], t.Any], at: int) -> bool:
        """Whether it was killed at this operation; else it has come to its end."""
        self.node.operations, self.node.at = 0, at
        status = in_child(action)
        self.node.operations, self.node.at = 0, 0
        assert status in (0, signal.SIGKILL)
        self.node.remember()
        return status != 0

    def reboot(self, *, cut: bool = False) -> None:
        """C(cut): with the power goes what no fsync brought to disk."""
        pending = Path(self.machine.root + PENDING)
        if cut and pending.exists():
            pending.write_bytes(pending.read_bytes().split(b"\n")[0] + b"\n\0\0\0\0")
        self.machine.reboot()
        self.machine.start("big.service", BIG)

    def boot(self) -> str:
        """What our unit does, if its files and conditions let it."""
        asked = any(os.path.exists(self.machine.root + path) for path in (PENDING, f"{STATE}/armed.json"))
        if not asked or self.laid() != {True}:
            return "skipped"
        return _undo.undo(_undo.Undo(self.machine.tree, self.node, code=lambda: CODE))


Made = t.Callable[..., Case]


@pytest.fixture(name="made")
def fixture_made(tmp_path: Path) -> Made:
    count = iter(range(10000))
    return lambda **more: Case(tmp_path / str(next(count)), **more)


# What lies there, and when


def test_what_is_laid_is_roots_alone_and_says_what_runs(made: Made) -> None:
    case = made()
    case.machine.tune(WANTED)
    root, text = case.machine.root, case.machine.text
    assert [os.stat(root + path).st_mode & 0o7777 for path in LAID] == [0o600, 0o644, 0o644, 0o755]
    assert Path(root + LAID[0]).read_bytes() == CODE
    unit = (text(_boot.SERVICE) or "").splitlines()
    assert f"ConditionPathExists=|{PENDING}" in unit and f"ConditionPathExists=|{STATE}/armed.json" in unit
    assert f"ExecStart={sys.executable} -I {STATE}/undo.zip" in unit
    assert (text(_boot.WANTS) or "").endswith("\n[Unit]\nWants=memqos-undo.service")


@pytest.mark.parametrize("systemd", [252, 257])
def test_it_stays_as_long_as_something_of_ours_stands(made: Made, systemd: int) -> None:
    case = made(systemd=systemd)
    case.machine.tune(WANTED, check=True)
    assert case.machine.snapshot() == case.before
    case.machine.tune(WANTED)
    assert case.laid() == {True}
    case.machine.tune(OTHER)
    case.machine.rollback("1")
    assert case.laid() == {True}
    case.machine.rollback("origin")
    assert case.laid() == {False} and case.machine.snapshot() == case.before
    case.machine.tune(WANTED)
    assert case.laid() == {True}
    case.machine.tune(layer())
    assert case.laid() == {False} and case.machine.snapshot() == case.before


def test_a_second_run_looks_at_none_of_it(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    case = made()
    case.machine.tune(WANTED)
    before = case.machine.snapshot(times=True)
    case.machine.code = b"another version"
    read: t.List[str] = []
    real = Failing.read

    def reads(self: Failing, path: str) -> t.Any:
        read.append(path)
        return real(self, path)

    monkeypatch.setattr(Failing, "read", reads)
    case.node.operations = 0
    assert case.machine.tune(WANTED)["generation"] == 0
    assert case.machine.snapshot(times=True) == before and case.node.operations == 0 and not set(read) & set(LAID)


def test_a_run_that_writes_brings_its_own_version_and_only_that(made: Made) -> None:
    case = made()
    case.machine.tune(WANTED)
    before = case.machine.snapshot(times=True)
    case.machine.tune(OTHER)
    after = case.machine.snapshot(times=True)
    assert {path for path in LAID if before[path] != after[path]} == set()
    case.machine.code = b"another version"
    case.machine.tune(WANTED)
    assert case.machine.text(LAID[0]) == "another version" and case.machine.snapshot(times=True)[LAID[1]] == before[LAID[1]]


@pytest.mark.parametrize(("more", "executable", "told"), [
    ({"systemd": 0}, sys.executable, "systemd does not run here"),
    ({"code": b""}, sys.executable, "the modules did not come packed, as Ansible sends them"),
    ({}, "/opt/my python", "'/opt/my python' is no path of a Python that a unit can have, and the system has no other one that can run this"),
    ({}, "", "'' is no path of a Python that a unit can have, and the system has no other one that can run this"),
])  # fmt: skip
def test_where_nothing_can_be_laid_a_note_says_so(made: Made, monkeypatch: pytest.MonkeyPatch, more: Json, executable: str, told: str) -> None:
    case = made(**{key: value for key, value in more.items() if key != "code"})
    case.machine.code = more.get("code", CODE)
    monkeypatch.setattr(_boot, "sys", types.SimpleNamespace(executable=executable))
    assert case.machine.tune(OTHER)["notes"] == [f"{told}: what is interrupted is put right by the next run, not by the next boot"]
    assert case.laid() == {False} and case.machine.text("vm.swappiness") == "20"
    assert case.machine.tune(OTHER)["notes"] == []


# What root runs at boot


class Probed(Failing):
    """C(runs): the Pythons that can run the program that lies there; C(probed): those that were asked."""

    runs: t.Tuple[str, ...] = ("/usr/bin/python3.11", "/usr/libexec/platform-python3.6")
    probed: t.List[str] = []

    def systemctl(self, argv: t.List[str]) -> str:
        if argv[1:] != ["-I", f"{STATE}/undo.zip", "--probe"]:
            return super().systemctl(argv)
        assert Path(f"{self.root}{STATE}/undo.zip").read_bytes() == CODE
        self.probed = [*self.probed, argv[0]]
        if argv[0] not in self.runs:
            raise Unreadable(argv[0], "error", "SyntaxError")
        return ""


OWN = "/opt/venv/bin/python"


@pytest.fixture(name="probed")
def fixture_probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """We run in a virtual environment, by /usr/bin/python3.11."""
    machine = Machine(tmp_path / "node", writer=Probed)
    machine.python("/usr/bin/python3.11")
    os.makedirs(machine.root + os.path.dirname(OWN))
    os.symlink("../../../usr/bin/python3.11", machine.root + OWN)
    monkeypatch.setattr(_boot, "sys", types.SimpleNamespace(executable=OWN))
    return machine


def run_by(machine: Machine) -> t.Tuple[str, t.List[str], t.List[str]]:
    """(the Python of our unit, notes, the Pythons that were asked)"""
    notes = machine.tune(OTHER)["notes"]
    lines = (machine.text(_boot.SERVICE) or "").splitlines()
    found = next((line.split()[0].partition("=")[2] for line in lines if line.startswith("ExecStart=")), "")
    assert not found or f"RequiresMountsFor={STATE} {found}" in lines
    return found, notes, t.cast("Probed", machine.node).probed


def test_the_python_behind_all_links_runs_it(probed: Machine) -> None:
    # Of the links anybody may be the owner.
    os.chmod(f"{probed.root}/opt/venv", 0o777)
    assert run_by(probed) == ("/usr/bin/python3.11", [], [])


@pytest.mark.parametrize("others", ["/home/ops/python", "/home/ops", "/home"])
@pytest.mark.parametrize("how", ["group", "all", "owner"])
def test_what_others_can_change_is_not_run_by_root_but_what_the_system_has(probed: Machine, others: str, how: str) -> None:
    probed.python("/home/ops/python")
    os.unlink(probed.root + OWN)
    os.symlink("../../../home/ops/python", probed.root + OWN)
    os.symlink("python3.11", f"{probed.root}/usr/bin/python3")
    if how == "owner" and os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(probed.root + others, 65534, 0) if how == "owner" else os.chmod(probed.root + others, {"group": 0o775, "all": 0o757}[how])
    assert run_by(probed) == ("/usr/bin/python3.11", [], ["/usr/bin/python3.11"])
    # It is asked again by the next run: what lies there may be another version by then.
    assert probed.tune(layer(host={"vm.swappiness": 21}))["notes"] == [] and len(t.cast("Probed", probed.node).probed) == 2


def test_of_the_systems_pythons_the_first_that_can_run_it(probed: Machine) -> None:
    os.chmod(f"{probed.root}/usr/bin/python3.11", 0o775)
    for path in ("/usr/bin/python3", "/usr/libexec/platform-python3.6", "/usr/libexec/platform-python"):
        probed.python(path)
    assert run_by(probed) == ("", [TOLD.format("/usr/bin/python3.11")], ["/usr/bin/python3", "/usr/libexec/platform-python"])
    assert not {_boot.WANTS, f"{STATE}/undo.zip"} & set(tuned_node.snapshot(probed.root, times=True))
    t.cast("Probed", probed.node).runs = ("/usr/libexec/platform-python",)
    assert probed.tune(layer(host={"vm.swappiness": 21}))["notes"] == []
    assert "ExecStart=/usr/libexec/platform-python -I" in (probed.text(_boot.SERVICE) or "")


TOLD = (
    "others than root can change {}, of which this Python is, and the system has no other one that can run this: "
    "what is interrupted is put right by the next run, not by the next boot"
)


@pytest.mark.parametrize("path", [_boot.SERVICE, _boot.WANTS])
def test_a_unit_of_somebody_else_is_not_touched(made: Made, path: str) -> None:
    case = made()
    case.machine.write(path, "[Unit]\n")
    before = case.machine.snapshot()
    with pytest.raises(_journal.JournalError, match=f"{path}: is not ours. Nothing was changed"):
        case.machine.tune(WANTED)
    assert case.machine.snapshot() == before


def once(case: Case, line: str, number: int) -> t.Callable[[str, str], int]:
    return lambda what, path: number if f"{what} {path}" == line and case.node.done.count(line) == 1 else 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_an_error_at_any_operation_of_laying_leaves_nothing(made: Made, number: int) -> None:
    whole = made()
    whole.machine.tune(WANTED)
    laying = [line for line in whole.node.done if line.partition(" /")[2] and f"/{line.partition(' /')[2]}" in LAID]
    assert len(laying) == 17
    for line in laying:
        case = made()
        case.node.fails = once(case, line, number)
        with pytest.raises(_journal.JournalError) as caught:
            case.machine.tune(WANTED)
        assert f"{os.strerror(number)} ({errno.errorcode[number]}). Nothing was changed." in str(caught.value)
        assert case.machine.snapshot() == case.before and not os.path.exists(f"{case.machine.root}{LAID[0]}"), line
        assert not [name for name in os.listdir(case.machine.root + STATE) if name.endswith(".memqos")]
        case.node.fails = lambda what, path: 0
        assert case.machine.tune(WANTED)["problem"] == "" and case.laid() == {True}


def test_what_cannot_be_removed_is_told_and_does_nothing(made: Made) -> None:
    case = made()
    case.machine.tune(WANTED)
    case.node.fails = lambda what, path: errno.EROFS if (what, path) == ("remove", _boot.SERVICE) else 0
    answer = case.machine.rollback("origin")
    assert (answer["problem"], answer["generation"]) == ("", 2)
    assert answer["notes"] == [f"{_boot.SERVICE} was not removed, and does nothing: Read-only file system (EROFS)"]
    case.node.fails = lambda what, path: 0
    assert case.boot() == "skipped"
    case.machine.tune(layer())
    assert case.machine.snapshot() == case.before and case.laid() == {False}


# Killed


def every_kill(made: Made, systemd: int) -> t.Iterator[t.Tuple[Case, int, bool]]:
    """(a machine whose first tune was killed there, laying included; where; whether its generation stands): at every operation, on 252 at every third."""
    at, was_killed = 1, True
    while was_killed:
        case = made(systemd=systemd)
        was_killed = case.killed(functools.partial(case.machine.tune, WANTED), at)
        yield case, at, case.machine.text(f"{STATE}/generations/1.json") is not None
        at += (1 if systemd == 257 else 3) * THINNED


@pytest.mark.parametrize("systemd", [252, 257])
def test_after_a_kill_at_any_operation_the_next_run_ends_it(made: Made, systemd: int) -> None:
    twin = made(systemd=systemd)
    twin.machine.tune(WANTED)
    seen = set()
    for case, at, stands in every_kill(made, systemd):
        seen.add((case.laid() == {True}, stands))
        if stands:
            assert case.machine.tune(WANTED)["generation"] == 0
            assert case.machine.snapshot() == twin.machine.snapshot(), at
            continue
        assert case.machine.tune(layer())["problem"] == ""
        assert case.machine.snapshot() == case.before and case.laid() == {False}, at
    assert seen == {(False, False), (True, False), (True, True)}


@pytest.mark.parametrize(("systemd", "cut"), [(252, False), (257, True)])
def test_after_a_kill_at_any_operation_the_next_boot_ends_it(made: Made, systemd: int, cut: bool) -> None:
    tuned, untouched = made(systemd=systemd), made(systemd=systemd)
    tuned.machine.tune(WANTED)
    tuned.reboot()
    untouched.reboot()
    seen = set()
    for case, at, stands in every_kill(made, systemd):
        case.reboot(cut=cut)
        seen.add(case.boot())
        assert case.plan() == (tuned if stands else untouched).plan(), at
        assert case.machine.text(PENDING) is None and (case.laid() == {True} if stands else True)
    assert seen == {
        "skipped", "an interrupted run was undone; nothing is armed", "an interrupted run had done all its steps; its generation stands; nothing is armed"
    }  # fmt: skip


def test_a_boot_that_is_killed_amid_it_is_ended_by_the_next(made: Made) -> None:
    untouched = made()
    untouched.reboot()
    at, was_killed = 1, True
    while was_killed:
        case = made()
        case.killed(functools.partial(case.machine.tune, WANTED), 70)
        case.reboot(cut=True)
        was_killed = case.killed(case.boot, at)
        case.reboot(cut=True)
        case.machine.write("/proc/sys/kernel/random/boot_id", "c0a80001-0000-4000-8000-000000000003\n")
        case.boot()
        assert case.plan() == untouched.plan() and case.machine.text(PENDING) is None, at
        at += 2 * THINNED
    assert at > 10


def test_the_boot_allows_what_the_interrupted_run_was_allowed(made: Made) -> None:
    for allow in ([], ["limit_below_usage"]):
        case = made()
        case.node.line = f"rename {STATE}/generations/1.json"
        assert in_child(functools.partial(case.machine.tune, WANTED, allow=allow)) == signal.SIGKILL
        case.node.line = ""
        case.node.remember()
        case.reboot()
        case.machine.set(f"{case.machine.mount}{BIG}/memory.current", str(GIB))
        if allow:
            assert case.boot().startswith("an interrupted run was undone")
            assert (case.machine.text(f"{BIG} memory.max"), case.machine.text(BIG_DROP_IN)) == (str(512 * MIB), None)
            continue
        with pytest.raises(_tune.TuneError, match=r"big\.service MemoryMax: 512 MiB is below its usage"):
            case.boot()
        assert case.machine.text(f"{BIG} memory.max") == str(2 * GIB) and case.machine.text(PENDING) is not None


def test_a_generation_says_what_was_allowed(made: Made) -> None:
    case = made()
    case.machine.tune(WANTED, allow=["limit_below_usage"])
    case.machine.rollback("origin", allow=["high_below_working_set"])
    journal = _journal.Journal(case.node)
    assert [journal.generation(number).meta["allow"] for number in (1, 2)] == [["limit_below_usage"], ["high_below_working_set"]]


# The program

_PACKED = "import sys; from ansible_collections.memqos.fleet.plugins.module_utils import _boot; sys.stdout.buffer.write(_boot.archive())"


@pytest.fixture(name="sent", scope="module")
def fixture_sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Ansible sends of each module."""
    pytest.importorskip("ansible.executor.module_common")
    directory = tmp_path_factory.mktemp("sent")
    modules = ("memory_tune", "memory_rollback", "memory_confirm")
    subprocess.run([sys.executable, str(ROOT / "tests" / "tools" / "sent.py"), str(directory), *modules], check=True)
    return directory


def packed(sent: Path) -> bytes:
    """What a module makes of the zip that it came in."""
    return subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(sent)!r}); {_PACKED}"], check=True, stdout=subprocess.PIPE).stdout


def probe(program: Path) -> int:
    return subprocess.run([sys.executable, "-I", str(program), "--probe"], check=False, stderr=subprocess.DEVNULL).returncode


def test_the_program_is_the_same_whichever_module_brought_it_and_runs_by_itself(sent: Path) -> None:
    program = sent / "undo.zip"
    program.write_bytes(packed(sent / "memory_tune.zip"))
    assert program.read_bytes() == packed(sent / "memory_rollback.zip") == packed(sent / "memory_confirm.zip") == packed(program)
    assert probe(program) == 0
    with zipfile.ZipFile(program) as whole:
        assert {name.partition("/")[0] for name in whole.namelist()} == {"__main__.py", "ansible_collections"}
    # The probe can fail.
    broken = sent / "broken.zip"
    with zipfile.ZipFile(program) as whole, zipfile.ZipFile(broken, "w") as part:
        for name in whole.namelist():
            if not name.endswith("_started.py"):
                part.writestr(name, whole.read(name))
    assert probe(broken) != 0


def test_code_that_came_another_way_is_no_program() -> None:
    assert _boot.archive() == b""


def test_the_program_says_what_came_of_it(made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    case = made()
    case.killed(functools.partial(case.machine.tune, WANTED), 70)
    monkeypatch.setattr(_undo, "Undo", lambda tree, writer, real=_undo.Undo: real(case.machine.tree, case.node, code=lambda: CODE))
    case.node.fails = lambda what, path: errno.EIO if path == "/etc/sysctl.d/zz-memqos.conf" else 0
    assert _undo.main(["undo.zip"]) == 1
    assert capsys.readouterr().err.startswith("not undone, to be tried again: Not undone: /etc/sysctl.d/zz-memqos.conf")
    case.node.fails = lambda what, path: 0
    assert _undo.main(["undo.zip"]) == 0
    assert capsys.readouterr().out == "an interrupted run was undone; nothing is armed\n"
    assert case.machine.snapshot() == case.before and statuses(case.machine.tune(WANTED))["vm.swappiness"] == "changed"


def test_the_program_runs_nothing_for_its_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_undo, "undo", lambda work: pytest.fail("it ran"))
    assert _undo.main(["undo.zip", "--probe"]) == 0
