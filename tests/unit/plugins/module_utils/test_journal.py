# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The journal: who may write it, what it holds, and that a damaged one stays as it is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _journal, _steps, _transaction
from ansible_collections.memqos.fleet.plugins.module_utils._journal import Busy, JournalError
from ansible_collections.memqos.fleet.plugins.module_utils._steps import FileStep, Moved, PropertyStep, ReloadStep, Step, WriteStep
from ansible_collections.memqos.fleet.plugins.module_utils._transaction import Outcome
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import (
    BOOT,
    META,
    PAGE,
    SYSCTL_D,
    in_child,
    journal,
    make,
    plan,
    snapshot,
    sysctl,
)

STATE = "var/lib/memqos"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away and mounts")


def run(root: Path, steps: t.Optional[t.Sequence[Step]] = None, **meta: t.Any) -> Outcome:
    own = journal(root)
    with own.locked():
        return _transaction.run(plan(root) if steps is None else steps, own, boot_id=BOOT, page_size=PAGE, meta={**META, **meta})


@pytest.fixture(name="root")
def fixture_root(tmp_path: Path) -> Path:
    return make(tmp_path / "node")


# Steps


def test_steps_survive_json() -> None:
    write = WriteStep(
        "memory.high", "memcg", "a", "/sys/fs/cgroup/a/memory.high", "max", "1", 7, BOOT, (Moved("vm.swappiness", "/proc/sys/vm/swappiness", "60"),)
    )
    file = FileStep("/etc/sysctl.d/x.conf", b"caf\xe9\0\r\n".decode("utf-8", "surrogateescape"), None, 0o600, 0o640, 1, 2, ("/etc/sysctl.d",))
    unit = PropertyStep("a.slice", (("MemoryHigh", "1"),), (("MemoryHigh", ""),), (write,), (file,))
    for step in (write, file, unit, ReloadStep()):
        assert _steps.from_json(json.loads(json.dumps(_steps.to_json(step)))) == step


NO_STEPS: t.List[t.Any] = [
    None, 1, [], {}, {"kind": "delete"}, {"kind": "write"}, {**_steps.to_json(sysctl("vm.swappiness", "1", "2")), "after": 2},
    {**_steps.to_json(sysctl("vm.swappiness", "1", "2")), "inode": "2"}, {**_steps.to_json(sysctl("vm.swappiness", "1", "2")), "before": None},
    {**_steps.to_json(sysctl("vm.swappiness", "1", "2")), "moves": [{"knob": 1}]}, {"kind": "reload", "path": "/"}, {"kind": "file", "path": "/x"},
    {"kind": "property", "unit": "a.slice", "properties": ["ab", "c"], "before": []},
]  # fmt: skip


@pytest.mark.parametrize("value", NO_STEPS)
def test_what_is_no_step_is_a_value_error(value: t.Any) -> None:
    with pytest.raises(ValueError):
        _steps.from_json(value)


def test_steps_of_generations_join_to_first_before_and_last_after() -> None:
    old, new = FileStep(SYSCTL_D, None, "a", creates=("/etc/sysctl.d",)), FileStep(SYSCTL_D, "a", "b", 0o644, 0o600)
    merged = _steps.merge([sysctl("vm.swappiness", "60", "10"), old, ReloadStep()], [sysctl("vm.swappiness", "10", "30"), new, ReloadStep()])
    assert merged == [sysctl("vm.swappiness", "60", "30"), FileStep(SYSCTL_D, None, "b", creates=("/etc/sysctl.d",)), ReloadStep()]
    assert _steps.merge(merged, [sysctl("vm.swappiness", "30", "60"), FileStep(SYSCTL_D, "b", None)]) == []


def test_a_cgroup_of_the_same_name_is_another_one() -> None:
    first = WriteStep("memory.high", "memcg", "a", "/sys/fs/cgroup/a/memory.high", "max", "1", 7, BOOT)
    assert _steps.merge([first], [first._replace(before="2", after="3", inode=8)]) == [first._replace(before="2", after="3", inode=8)]


def test_properties_of_one_unit_join() -> None:
    high = PropertyStep("a.slice", (("MemoryHigh", "1"),), (("MemoryHigh", "infinity"),))
    both = PropertyStep("a.slice", (("MemoryHigh", "2"), ("MemoryLow", "5")), (("MemoryHigh", "1"), ("MemoryLow", "0")))
    joined = PropertyStep("a.slice", (("MemoryHigh", "2"), ("MemoryLow", "5")), (("MemoryHigh", "infinity"), ("MemoryLow", "0")))
    assert _steps.merge([high], [both]) == [joined]
    assert _steps.merge([high], [PropertyStep("a.slice", (("MemoryHigh", "infinity"),), (("MemoryHigh", "1"),))]) == []


# What it holds


def test_it_is_for_its_owner_only(root: Path) -> None:
    assert run(root).ok
    for path in [root / STATE, *(root / STATE).rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert sorted(path.relative_to(root / STATE).as_posix() for path in (root / STATE).rglob("*")) == [
        "generations",
        "generations/1.json",
        "lock",
        "origin.json",
    ]


def test_the_origin_is_what_stood_before_the_first_generation(root: Path) -> None:
    assert run(root, [sysctl("vm.swappiness", "60", "10")]).ok
    assert run(root, [sysctl("vm.swappiness", "10", "30"), sysctl("vm.watermark_scale_factor", "10", "150")]).ok
    assert [(step.path, step.before, step.after) for step in journal(root).origin() if isinstance(step, WriteStep)] == [
        ("/proc/sys/vm/swappiness", "60", "30"),
        ("/proc/sys/vm/watermark_scale_factor", "10", "150"),
    ]
    assert run(root, [sysctl("vm.swappiness", "30", "60")]).ok
    assert [_steps.name(step) for step in journal(root).origin()] == ["/proc/sys/vm/watermark_scale_factor"]


def test_a_clock_set_back_does_not_mix_generations(root: Path) -> None:
    for number, year in enumerate(("2026", "1970", "2031"), 1):
        before, after = str(60 + number - 1), str(60 + number)
        assert run(root, [sysctl("vm.swappiness", before, after)], started=f"{year}-01-01T00:00:00Z").generation == number
    assert [journal(root).generation(number).meta["started"][:4] for number in journal(root).generations()] == ["2026", "1970", "2031"]


def test_a_generation_that_is_not_there_is_told_with_those_that_are(root: Path) -> None:
    assert run(root).ok
    with pytest.raises(JournalError, match="no such generation; there are: 1"):
        journal(root).generation(7)
    with pytest.raises(JournalError, match="no such generation"):
        _transaction.done_since(journal(root), 7)


def test_reading_needs_no_directory_and_makes_none(root: Path) -> None:
    own = journal(root)
    assert (own.pending(), own.generations(), own.origin()) == (None, [], ())
    assert not (root / STATE).exists()


# Who may


def test_writing_needs_the_lock(root: Path) -> None:
    with pytest.raises(JournalError, match="is not locked"):
        _transaction.run(plan(root), journal(root), boot_id=BOOT, page_size=PAGE, meta=META)


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o1777, 0o720])
def test_a_directory_that_others_can_enter_is_refused(root: Path, mode: int) -> None:
    (root / STATE).mkdir()
    (root / STATE).chmod(mode)
    before = snapshot(root, times=True)
    with pytest.raises(JournalError, match=f"with mode {mode:04o}, and not to {os.geteuid()} with 0700"):
        run(root)
    assert snapshot(root, times=True) == before


@AS_ROOT
def test_a_directory_of_another_user_is_refused(root: Path) -> None:
    (root / STATE).mkdir(mode=0o700)
    os.chown(root / STATE, 65534, 65534)
    before = snapshot(root)
    with pytest.raises(JournalError, match="belongs to user 65534"):
        run(root)
    assert snapshot(root) == before


@pytest.mark.parametrize("name", ["", "generations", "lock", "pending.jsonl", "origin.json"])
@pytest.mark.parametrize("dangling", [True, False])
def test_a_planted_link_is_refused(root: Path, tmp_path: Path, name: str, dangling: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    place = root / STATE / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if name:
        (root / STATE).chmod(0o700)
    target = outside if name in ("", "generations") else outside / "file"
    if target != outside and not dangling:
        target.write_text("theirs", encoding="utf-8")
    place.symlink_to(tmp_path / "nowhere" if dangling else target)
    before, theirs = snapshot(root), snapshot(outside)
    with pytest.raises(JournalError, match="symbolic link"):
        run(root)
    assert snapshot(root) == before
    assert snapshot(outside) == theirs
    assert not (tmp_path / "nowhere").exists()


def test_a_link_among_the_generations_is_passed_by(root: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("{}", encoding="utf-8")
    (root / STATE / "generations").mkdir(parents=True, mode=0o700)
    (root / STATE).chmod(0o700)
    (root / STATE / "generations/1.json").symlink_to(tmp_path / "theirs")
    assert run(root).generation == 2
    assert (tmp_path / "theirs").read_text(encoding="utf-8") == "{}"
    with pytest.raises(JournalError, match="is a symbolic link"):
        journal(root).generation(1)


@pytest.mark.parametrize("name", ["lock", "pending.jsonl", "origin.json"])
def test_a_fifo_does_not_stop_us(root: Path, name: str) -> None:
    (root / STATE).mkdir(mode=0o700)
    os.mkfifo(root / STATE / name)
    with pytest.raises(JournalError, match="is not a regular file"):
        run(root)


# Damage

DAMAGE = [b"", b"{", b"[]\n", b"null\n", b'{"schema_version": 99}\n', b"\xff\xfe\n", b'{"generation": 1, "steps": [{"kind": "delete"}]}\n', b"\0" * 512]


@pytest.mark.parametrize("name", ["pending.jsonl", "origin.json"])
@pytest.mark.parametrize("content", DAMAGE)
def test_a_damaged_journal_is_told_and_kept(root: Path, name: str, content: bytes) -> None:
    assert run(root, [sysctl("vm.swappiness", "60", "10")]).ok
    (root / STATE / name).write_bytes(content)
    before = snapshot(root, times=True)
    with pytest.raises(JournalError, match=f"memqos/{name}: is damaged .*, and stays as it is. Keep a copy"):
        run(root, [sysctl("vm.swappiness", "10", "30")])
    assert snapshot(root, times=True) == before


@pytest.mark.parametrize("content", DAMAGE)
def test_a_damaged_generation_hinders_only_what_needs_it(root: Path, content: bytes) -> None:
    assert run(root, [sysctl("vm.swappiness", "60", "10")]).ok
    path = root / STATE / "generations/1.json"
    path.write_bytes(content)
    assert run(root, [sysctl("vm.swappiness", "10", "30")]).generation == 2
    with pytest.raises(JournalError, match="is damaged"):
        _transaction.done_since(journal(root), 0)
    assert path.read_bytes() == content
    assert [_steps.name(step) for step in _transaction.done_since(journal(root), "origin")] == ["/proc/sys/vm/swappiness"]


def test_an_interrupted_transaction_comes_first(root: Path) -> None:
    own = journal(root)
    with own.locked():
        own.begin([sysctl("vm.swappiness", "60", "10")], boot_id=BOOT, meta=META)
    with pytest.raises(JournalError, match="recover first"):
        run(root)


# Two at once


@contextlib.contextmanager
def other_run(root: Path, steps: t.Sequence[Step]) -> t.Iterator[int]:
    """Another process that holds the lock and, with steps, is in the middle of a transaction."""
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        own = journal(root)
        with own.locked():
            if steps:
                own.begin(steps, boot_id=BOOT, meta=META)
            os.write(told, b"x")
            signal.pause()
    try:
        os.read(ready, 1)
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(told)


def test_a_second_run_fails_with_the_first_ones_name(root: Path) -> None:
    with other_run(root, plan(root)) as process, pytest.raises(Busy) as failed:
        run(root)
    assert f"another run is writing: from controller, process {process}, since 2026-11-23T09:00:00Z. Wait for it" in str(failed.value)


def test_a_first_run_that_has_not_begun_has_the_name_of_its_process(root: Path) -> None:
    with other_run(root, []) as process, pytest.raises(Busy) as failed:
        run(root)
    assert f"another run has the lock and is still planning: process {process}. Wait for it" in str(failed.value)


def test_a_check_tells_a_transaction_under_way_from_an_interrupted_one(root: Path) -> None:
    own = journal(root)
    assert own.unfinished() == ""
    with other_run(root, []):
        assert own.unfinished() == ""
    with other_run(root, plan(root)) as process:
        said = f"another run is writing: from controller, process {process}, since 2026-11-23T09:00:00Z. This check sees the node amid it: check again."
        assert own.unfinished() == said
    interrupted = "an interrupted run left a transaction half done: a run without --check undoes it first"
    assert own.unfinished() == interrupted
    # Nothing is held by then, nor is another look in the way.
    with own.locked():
        assert own.pending() is not None
    (root / STATE / "lock").unlink()
    assert own.unfinished() == interrupted
    assert not (root / STATE / "lock").exists()


def test_the_process_that_has_the_lock_is_known_without_a_word_from_it(root: Path) -> None:
    with journal(root).locked():
        assert _journal._locker(str(root / STATE / "lock")) == os.getpid()
    assert _journal._locker(str(root / STATE / "lock")) == 0
    assert _journal._locker(str(root / "nothing")) == 0


def test_a_second_run_waits_as_long_as_told(root: Path) -> None:
    now = [0.0]
    slept: t.List[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    with other_run(root, []), pytest.raises(Busy), journal(root).locked(wait=3, monotonic=lambda: now[0], sleep=sleep):
        pass
    assert sum(slept) == pytest.approx(3, abs=0.3)


def test_a_second_run_goes_on_when_the_first_is_killed(root: Path) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(other_run(root, plan(root)))
        own = journal(root)
        with own.locked(wait=60, sleep=lambda seconds: stack.close()):
            outcome = _transaction.recover(own, boot_id=BOOT, page_size=PAGE)
            assert outcome is not None and outcome.ok
            assert _transaction.run(plan(root), own, boot_id=BOOT, page_size=PAGE, meta=META).ok


def test_the_lock_goes_with_its_block(root: Path) -> None:
    with journal(root).locked():
        pass
    with journal(root).locked():
        before = snapshot(root, times=True)
    with journal(root).locked():
        assert snapshot(root, times=True) == before


# Disks


@contextlib.contextmanager
def tmpfs(path: Path, options: str) -> t.Iterator[None]:
    path.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "memqos-test", str(path)], check=False, stderr=subprocess.DEVNULL)
    if done.returncode:
        pytest.skip("no mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@AS_ROOT
def test_a_full_disk_leaves_all_or_nothing(tmp_path: Path) -> None:
    seen = set()
    with tmpfs(tmp_path / "disk", "size=400k,mode=755"):
        for free in range(24):
            root = make(tmp_path / "disk" / f"node{free}")
            steps = plan(root)
            steps[8] = FileStep("/etc/tmpfiles.d/zz-memqos.conf", None, "#" * 9000)
            before = snapshot(root)
            filler = tmp_path / "disk/filler"
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            os.truncate(filler, max(0, filler.stat().st_size // 4096 - free) * 4096)
            try:
                outcome = run(root, steps)
                seen.add("done" if outcome.ok else "undone")
                assert outcome.clean
                assert outcome.ok or "No space left on device (ENOSPC)" in outcome.problem
            except JournalError as exc:
                outcome = Outcome(False, True, 0, ())
                seen.add("refused")
                assert "No space left on device (ENOSPC). Nothing was changed." in str(exc)
            assert outcome.ok or snapshot(root) == before
            assert (root / STATE / "pending.jsonl").exists() == bool(outcome.warning)
            filler.unlink()
            shutil.rmtree(root)
    assert seen == {"refused", "undone", "done"}


@AS_ROOT
@pytest.mark.parametrize("place, told", [("etc/sysctl.d", "failed"), ("var/lib", "refused")])
def test_a_read_only_directory_leaves_nothing(root: Path, place: str, told: str) -> None:
    old = (root / SYSCTL_D[1:]).read_bytes()
    with tmpfs(root / place, "size=64k,mode=755"):
        if told == "failed":
            (root / SYSCTL_D[1:]).write_bytes(old)
        subprocess.run(["mount", "-o", "remount,ro", str(root / place)], check=True)
        before = snapshot(root)
        try:
            outcome = run(root)
            assert (outcome.ok, outcome.clean, outcome.results[7].status) == (False, True, told)
            assert outcome.problem == f"{SYSCTL_D}: Read-only file system (EROFS). All was undone. Make that file system writable, and run again."
        except JournalError as exc:
            assert told == "refused"
            assert str(exc) == "/var/lib/memqos: Read-only file system (EROFS). Nothing was changed. Make that file system writable, and run again."
        assert snapshot(root) == before


@AS_ROOT
def test_an_ordinary_user_is_told() -> None:
    def as_nobody() -> None:
        os.setgid(65534)
        os.setuid(65534)
        with pytest.raises(JournalError, match="memqos: Permission denied"):
            run(root)

    # Not below tmp_path, where nobody else comes.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        root = make(Path(directory) / "node")
        before = snapshot(root)
        assert in_child(as_nobody) == 0
        assert snapshot(root) == before
