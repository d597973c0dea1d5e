# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All of a plan or none: an error at every operation, a kill at every operation, rollbacks."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _steps, _transaction
from ansible_collections.memqos.fleet.plugins.module_utils._journal import Journal, JournalError
from ansible_collections.memqos.fleet.plugins.module_utils._steps import FileStep, PropertyStep, Step, WriteStep
from ansible_collections.memqos.fleet.plugins.module_utils._transaction import Outcome, Rollback
from ansible_collections.memqos.fleet.plugins.module_utils._writer import cure
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import tuned_node
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import (
    BOOT,
    DROP_IN,
    META,
    NEXT_BOOT,
    PAGE,
    POD,
    SLICE,
    SYSCTL_D,
    THP,
    Node,
    in_child,
    make,
    plan,
    snapshot,
    sysctl,
)


def run(node: Node, steps: t.Iterable[Step], *, boot: str = BOOT) -> Outcome:
    journal = Journal(node)
    with journal.locked():
        return _transaction.run(steps, journal, boot_id=boot, page_size=PAGE, meta=META)


def recover(node: Node, *, boot: str = BOOT) -> t.Optional[Outcome]:
    journal = Journal(node)
    with journal.locked():
        return _transaction.recover(journal, boot_id=boot, page_size=PAGE)


def undo(node: Node, to: t.Union[int, str], *, boot: str = BOOT, force: bool = False) -> Rollback:
    journal = Journal(node)
    return _transaction.back(_transaction.done_since(journal, to), journal, boot_id=boot, page_size=PAGE, force=force)


def statuses(outcome: Outcome) -> t.Dict[str, str]:
    return {_steps.name(result.step): result.status for result in outcome.results}


def text(node: Node, path: str) -> str:
    return Path(node.root + path).read_text(encoding="utf-8").strip()


@pytest.fixture(name="node")
def fixture_node(tmp_path: Path) -> Node:
    return Node(make(tmp_path / "node"))


class Faulty(Node):
    """Fails at operation C(at).

    C(how) is an errno before it happens, late (the kernel took it, and says EIO) or kept (the kernel takes nothing, and says nothing).
    """

    def __init__(self, root: t.Union[str, Path], at: int, how: t.Union[int, str]) -> None:
        super().__init__(root)
        self.at, self.how = at, how
        self.hit = False

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if self.operations == self.at:
            self.hit = isinstance(self.how, int) or what == "kernel"
            if isinstance(self.how, int):
                raise OSError(self.how, os.strerror(self.how))

    def kernel_bytes(self, fd: int, path: str, data: bytes) -> None:
        if self.operations != self.at:
            super().kernel_bytes(fd, path, data)
        elif self.how == "kept":
            os.close(fd)
            self.set(path, self.shows[path])
        else:
            super().kernel_bytes(fd, path, data)
            raise OSError(errno.EIO, os.strerror(errno.EIO))


class Killed(Node):
    """Its process is killed as by kill -9 before operation C(at)."""

    def __init__(self, root: t.Union[str, Path], at: int) -> None:
        super().__init__(root)
        self.at = at

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if self.operations == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def _count() -> t.Tuple[int, t.List[int]]:
    """How many operations the plan has, and which of them write to the kernel."""
    with tempfile.TemporaryDirectory() as directory:
        node = Node(make(Path(directory) / "node"))
        outcome = run(node, plan(node.root))
        done = [line for line in node.done if not line.startswith("systemctl")]
    if not outcome.ok or len(done) != node.operations:
        raise AssertionError(outcome)
    return len(done), [number for number, line in enumerate(done, 1) if line.startswith("kernel")]


OPERATIONS, KERNEL_WRITES = _count()


def _tuned() -> t.Dict[str, t.Any]:
    with tempfile.TemporaryDirectory() as directory:
        node = Node(make(Path(directory) / "node"))
        run(node, plan(node.root))
        return snapshot(node.root)


# What the plan comes to.
AFTER = _tuned()


# All is well


def test_a_plan_is_done_and_told(node: Node) -> None:
    outcome = run(node, plan(node.root))
    assert (outcome.ok, outcome.clean, outcome.generation, outcome.problem, outcome.warning) == (True, True, 1, "", "")
    assert set(statuses(outcome).values()) == {"changed"}
    assert text(node, THP) == "always [madvise] never"
    assert text(node, "/proc/sys/vm/min_free_kbytes") == "131072"
    assert (text(node, "/proc/sys/vm/dirty_bytes"), text(node, "/proc/sys/vm/dirty_ratio")) == ("536870912", "0")
    assert text(node, SLICE) == "4294967296"
    assert text(node, DROP_IN).endswith("MemoryHigh=4294967296")
    assert [text(node, f"{POD}{file}") for file in ("/memory.low", "/app/memory.low", "/app/memory.high", "/old/memory.low")] == ["12288", "8192", "65536", "0"]
    order = [line.rpartition("kubepods.slice/pod1")[2] for line in node.done if "pod1" in line and "ratio" not in line]
    assert order == ["/memory.low", "/app/memory.low", "/old/memory.low", "/app/memory.high"]
    assert os.stat(node.root + SYSCTL_D).st_mode & 0o7777 == 0o644
    entry = Journal(node).generation(1)
    assert (entry.boot_id, entry.meta["profiles"], len(entry.steps), entry.results[2]) == (BOOT, ["colocated"], 16, {"found": "10", "status": "changed"})
    assert not os.path.exists(f"{node.root}/var/lib/memqos/pending.jsonl")


def test_the_journal_is_on_disk_before_the_first_write(node: Node) -> None:
    run(node, plan(node.root))
    at = node.done.index(f"kernel {THP}")
    assert [line.rpartition("/")[0::2] for line in node.done[at - 6 : at]] == [
        (f"{what} /var/lib/memqos", "pending.jsonl") for what in ("create", "write", "sync", "rename", "sync directory", "append")
    ]


def test_without_steps_not_one_mtime_changes(node: Node) -> None:
    run(node, plan(node.root))
    before = snapshot(node.root, times=True)
    assert recover(node) is None
    assert run(node, []) == Outcome(True, True, 0, ())
    assert snapshot(node.root, times=True) == before


def test_huge_pages_that_were_not_found_are_no_failure(node: Node) -> None:
    outcome = run(node, [sysctl("vm.nr_hugepages", "0", "512")])
    assert (outcome.ok, outcome.results[0].status, outcome.results[0].found) == (True, "changed", "256")


# Refused before anything is written

REFUSED = [
    # a step, what it says
    (sysctl("vm.swappiness", "30", "10"), "is '60', and was '30' when the plan was made: run again"),
    (sysctl("vm.page-cluster", "3", "0"), "No such file or directory (ENOENT)"),
    (WriteStep("vm.swappiness", "host", "", "/proc/sys/kernel/core_pattern", "60", "10"), "is not the file of vm.swappiness"),
    (WriteStep("memory.high", "memcg", "x", "/proc/self/oom_score_adj", "0", "1"), "is not the file of memory.high"),
    (WriteStep("memory.high", "memcg", "x", "/etc/memory.high", "0", "1"), "is not below /proc/sys, /sys or a cgroup mount"),
    (WriteStep("memory.high", "memcg", "x", "/sys/fs/cgroup/../memory.high", "0", "1"), "is not a plain path"),
    (WriteStep("no.such", "host", "", "/proc/sys/vm/swappiness", "60", "10"), "there is no knob 'no.such'"),
    (WriteStep("memory.wmark_ratio", "memcg", "x", f"{POD}/memory.wmark_ratio", "0", "95", 1), "another cgroup has this path now"),
    (FileStep("/etc/passwd", None, "x"), "is not below a directory that this collection writes"),
    (FileStep("/etc/sysctl.d/../passwd", None, "x"), "is not a plain path"),
    (FileStep(SYSCTL_D, "another text", "x"), "when the plan was made: run again"),
]


@pytest.mark.parametrize("step, reason", REFUSED)
def test_a_surprise_stops_a_plan_before_it_begins(node: Node, step: Step, reason: str) -> None:
    before = snapshot(node.root)
    outcome = run(node, [sysctl("vm.watermark_scale_factor", "10", "150"), step])
    assert reason in outcome.results[1].reason
    assert (outcome.ok, outcome.clean, outcome.results[0].status, outcome.results[1].status) == (False, True, "not_run", "failed")
    assert snapshot(node.root) == before
    assert not os.path.exists(f"{node.root}/var/lib/memqos/pending.jsonl")


LINKS = [
    # a path that becomes a link, the plan's step that meets it
    (SYSCTL_D, 7),
    ("/etc/sysctl.d", 7),
    ("/etc/systemd/system", 9),
    (f"{POD}/memory.wmark_ratio", 6),
    (POD, 6),
    ("/sys/fs/cgroup/kubepods.slice", 6),
    ("/proc/sys/vm/swappiness", 2),
]


@pytest.mark.parametrize("path, number", LINKS)
def test_a_planted_link_is_refused_and_nothing_behind_it_touched(node: Node, tmp_path: Path, path: str, number: int) -> None:
    steps = plan(node.root)
    os.rename(node.root + path, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", node.root + path)
    before = snapshot(tmp_path)
    outcome = run(node, steps)
    assert (outcome.ok, outcome.clean, outcome.results[number].status) == (False, True, "failed")
    assert "symbolic link" in outcome.results[number].reason
    assert {key: value for key, value in snapshot(tmp_path).items() if "/memqos" not in key} == before


UNITS = [
    ("a b.slice", "MemoryHigh", "1"),
    ("../x.slice", "MemoryHigh", "1"),
    ("x.mount", "MemoryHigh", "1"),
    ("x.slice", "a=b", "1"),
    ("x.slice", "MemoryHigh", "1\n2"),
]


@pytest.mark.parametrize("unit, key, value", UNITS)
def test_systemctl_is_given_names_and_values_only(node: Node, unit: str, key: str, value: str) -> None:
    before = snapshot(node.root)
    outcome = run(node, [PropertyStep(unit, ((key, value),), ((key, ""),))])
    assert (outcome.ok, outcome.clean) == (False, True)
    assert snapshot(node.root) == before
    assert not any(line.startswith("systemctl set-property") for line in node.done)


# An error at every operation

FAULTS: t.List[t.Tuple[int, t.Union[int, str]]] = [(at, how) for at in range(1, OPERATIONS + 1) for how in (errno.EINVAL, errno.EBUSY, errno.EIO, errno.ENOSPC)]
FAULTS += [(at, how) for at in KERNEL_WRITES for how in ("late", "kept")]


@pytest.mark.parametrize("at, how", FAULTS)
def test_an_error_at_any_operation_leaves_all_or_nothing(tmp_path: Path, at: int, how: t.Union[int, str]) -> None:
    node = Faulty(make(tmp_path / "node"), at, how)
    before = snapshot(node.root)
    try:
        outcome = run(node, plan(node.root))
    except JournalError:
        outcome = Outcome(False, True, 0, ())
    assert node.hit
    assert outcome.clean
    assert snapshot(node.root) == (AFTER if outcome.ok else before)
    assert "failed" in statuses(outcome).values() or outcome.ok or not outcome.results or "/var/lib/memqos/" in outcome.problem
    healed = Node(node.root)
    recover(healed)
    assert snapshot(node.root) == (AFTER if outcome.ok else before)
    assert outcome.ok or run(healed, plan(node.root)).ok
    assert snapshot(node.root) == AFTER
    moved = ["/run/systemd/system.control/batch.slice.d/50-MemoryHigh.conf", "/proc/sys/vm/dirty_background_ratio", "/proc/sys/vm/dirty_ratio"]
    assert tuned_node.names(Journal(healed).origin()) == tuned_node.names(plan(node.root)) + moved


def test_a_failed_step_tells_the_errno_in_words(node: Node) -> None:
    faulty = Faulty(node.root, node_operation("kernel /proc/sys/vm/swappiness"), errno.EINVAL)
    outcome = run(faulty, plan(node.root))
    assert outcome.problem == (
        "/proc/sys/vm/swappiness: writing '10' where '60' stood: Invalid argument (EINVAL). All was undone. "
        "This kernel does not take that value: choose another, or leave the knob out."
    )
    assert [result.status for result in outcome.results] == ["undone", "undone", "failed", *["not_run"] * 10]


def test_a_kept_value_tells_what_is_found(node: Node) -> None:
    faulty = Faulty(node.root, node_operation("kernel /proc/sys/vm/swappiness"), "kept")
    outcome = run(faulty, plan(node.root))
    assert (outcome.results[2].found, outcome.results[2].reason) == ("60", "after writing '10' it reads '60'")


def node_operation(line: str) -> int:
    with tempfile.TemporaryDirectory() as directory:
        node = Node(make(Path(directory) / "node"))
        run(node, plan(node.root))
        return [done for done in node.done if not done.startswith("systemctl")].index(line) + 1


class Broken(Node):
    """From operation C(at) on, nothing in C(path) can be written."""

    def __init__(self, root: str, at: int, path: str) -> None:
        super().__init__(root)
        self.at, self.path = at, path

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if self.operations >= self.at and path.startswith(self.path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("path", ["/var/lib/memqos", "/proc/sys/vm", "/etc", "/sys", "/"])
@pytest.mark.parametrize("at", range(1, OPERATIONS + 1, 3))
def test_what_breaks_for_good_is_told_and_undone_when_it_works_again(node: Node, path: str, at: int) -> None:
    before = snapshot(node.root)
    try:
        outcome = run(Broken(node.root, at, path), plan(node.root))
    except JournalError:
        outcome = Outcome(False, True, 0, ())
    if outcome.clean:
        assert snapshot(node.root) == (AFTER if outcome.ok else before)
    else:
        assert "undo_failed" in statuses(outcome).values()
        assert "/var/lib/memqos/pending.jsonl holds the values from before" in outcome.problem
    recovered = recover(Node(node.root))
    assert recovered is None or (recovered.ok and recovered.clean)
    assert snapshot(node.root) == (AFTER if outcome.ok else before)


class Interrupted(Node):
    """A Ctrl-C comes before operation C(at)."""

    def __init__(self, root: str, at: int) -> None:
        super().__init__(root)
        self.at = at

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if self.operations == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", range(1, OPERATIONS + 1))
def test_an_interrupt_at_any_operation_leaves_what_the_journal_says(node: Node, at: int) -> None:
    """A transaction that is committed stands: undone, its generation would still be there."""
    before = snapshot(node.root)
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(node.root, at), plan(node.root))
    recover(Node(node.root))
    journal = Journal(Node(node.root))
    assert snapshot(node.root) == (AFTER if journal.generations() else before)
    assert bool(journal.origin()) == bool(journal.generations())


# A kill at every operation


@pytest.mark.parametrize("at", range(1, OPERATIONS + 2))
def test_a_kill_at_any_operation_leaves_all_or_nothing(tmp_path: Path, at: int) -> None:
    root = make(tmp_path / "node")
    before = snapshot(root)
    status = in_child(lambda: run(Killed(root, at), plan(root)))
    assert status == (signal.SIGKILL if at <= OPERATIONS else 0)
    assert in_child(lambda: recover(Node(root))) == 0
    found = snapshot(root)
    assert found in (before, AFTER)
    assert recover(Node(root)) is None
    outcome = run(Node(root), plan(root)) if found == before else None
    assert outcome is None or (outcome.ok and outcome.generation == 1)
    assert snapshot(root) == AFTER


@pytest.mark.parametrize("at", range(1, OPERATIONS + 1, 5))
def test_a_recovery_that_is_killed_is_finished_by_the_next(tmp_path: Path, at: int) -> None:
    root = make(tmp_path / "node")
    before = snapshot(root)
    in_child(lambda: run(Killed(root, at), plan(root)))
    for kill in range(1, 60):
        if in_child(lambda stop=kill: recover(Killed(root, stop))) == 0:  # type: ignore[misc]
            break
    assert snapshot(root) in (before, AFTER)
    assert Journal(Node(root)).pending() is None


@pytest.mark.parametrize("at", range(1, OPERATIONS + 1))
def test_after_a_power_cut_files_are_all_or_nothing(tmp_path: Path, at: int) -> None:
    root = make(tmp_path / "node")
    files = {key: value for key, value in snapshot(root).items() if key.startswith("/etc")}
    in_child(lambda: run(Killed(root, at), plan(root)))
    # The lines were never synced, the kernel is new, /run is empty.
    pending = root / "var/lib/memqos/pending.jsonl"
    if pending.exists():
        pending.write_bytes(pending.read_bytes().split(b"\n")[0] + b"\n\0\0\0\0")
    reboot(root)
    kernel = {key: value for key, value in snapshot(root).items() if key.startswith(("/proc", "/sys"))}
    outcome = recover(Node(root), boot=NEXT_BOOT)
    assert outcome is None or outcome.ok
    found = snapshot(root)
    etc = {key: value for key, value in found.items() if key.startswith("/etc")}
    assert etc == files or etc == {key: value for key, value in AFTER.items() if key.startswith("/etc")}
    assert {key: value for key, value in found.items() if key.startswith(("/proc", "/sys"))} == kernel


def reboot(root: Path, **values: str) -> None:
    for path, content in tuned_node.KERNEL.items():
        (root / path[1:]).write_text(content + "\n", encoding="utf-8")
    for name, content in values.items():
        (root / "proc/sys/vm" / name).write_text(content + "\n", encoding="utf-8")
    for directory, unused, files in os.walk(root / "run/systemd", topdown=False):
        for file in files:
            os.unlink(f"{directory}/{file}")
        if directory != str(root / "run/systemd"):
            os.rmdir(directory)


def test_what_boot_took_from_our_half_written_files_is_put_back(tmp_path: Path) -> None:
    root = make(tmp_path / "node")
    in_child(lambda: run(Killed(root, node_operation(f"create {DROP_IN}")), plan(root)))
    # The new zz-memqos.conf was read at boot; min_free_kbytes is what the kernel chose.
    reboot(root, swappiness="10", min_free_kbytes="70000")
    outcome = recover(Node(root), boot=NEXT_BOOT)
    assert outcome is not None and outcome.ok
    assert (root / SYSCTL_D[1:]).read_bytes() == tuned_node.OLD_SYSCTL_D
    assert text(Node(root), "/proc/sys/vm/swappiness") == "60"
    assert text(Node(root), "/proc/sys/vm/min_free_kbytes") == "70000"


def test_recovery_leaves_what_somebody_set_since(tmp_path: Path) -> None:
    root = make(tmp_path / "node")
    in_child(lambda: run(Killed(root, node_operation(f"rename {SYSCTL_D}")), plan(root)))
    node = Node(root)
    node.set("/proc/sys/vm/swappiness", "33")
    node.set(f"{POD}/memory.wmark_ratio", "50")
    # Not begun: never ours.
    (root / "etc/tmpfiles.d").mkdir()
    (root / "etc/tmpfiles.d/zz-memqos.conf").write_text("theirs", encoding="utf-8")
    outcome = recover(node)
    assert outcome is not None and outcome.ok
    found = statuses(outcome)
    assert (found["/proc/sys/vm/swappiness"], found[f"{POD}/memory.wmark_ratio"], found["/etc/tmpfiles.d/zz-memqos.conf"]) == ("left", "left", "not_run")
    assert text(node, "/proc/sys/vm/swappiness") == "33"
    assert text(node, THP) == "[always] madvise never"
    assert text(node, "/etc/tmpfiles.d/zz-memqos.conf") == "theirs"


def kill_at(root: Path, steps: t.Sequence[Step], line: str, *, times: int = 1) -> None:
    """The process of this run is killed before this operation, when it comes for the nth time."""
    seen: t.List[str] = []

    class Stopped(Node):
        def operation(self, what: str, path: str) -> None:
            super().operation(what, path)
            if f"{what} {path}" == line:
                seen.append(path)
                if len(seen) == times:
                    os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(lambda: run(Stopped(root), steps)) == signal.SIGKILL


def test_a_value_that_was_written_and_not_yet_noted_is_put_back(tmp_path: Path) -> None:
    root = make(tmp_path / "node")
    # It reads 256, which is neither from before nor what was wanted.
    kill_at(root, [sysctl("vm.nr_hugepages", "0", "512")], "append /var/lib/memqos/pending.jsonl", times=2)
    assert text(Node(root), "/proc/sys/vm/nr_hugepages") == "256"
    outcome = recover(Node(root))
    assert outcome is not None and outcome.ok
    assert text(Node(root), "/proc/sys/vm/nr_hugepages") == "0"


def test_a_commit_that_is_finished_twice_counts_once(tmp_path: Path) -> None:
    root = make(tmp_path / "node")
    assert run(Node(root), [sysctl("vm.swappiness", "60", "10")]).ok
    kill_at(root, [sysctl("vm.swappiness", "10", "60")], "remove /var/lib/memqos/pending.jsonl")
    assert Journal(Node(root)).origin() == ()
    outcome = recover(Node(root))
    assert outcome is not None and (outcome.ok, outcome.generation) == (True, 2)
    assert Journal(Node(root)).origin() == ()


def test_after_a_reboot_nobody_asks_for_files_in_run(tmp_path: Path) -> None:
    root = make(tmp_path / "node")
    (root / "run/sysctl.d").mkdir()
    (root / "run/sysctl.d/a.conf").write_text("a", encoding="utf-8")
    steps = [FileStep("/run/sysctl.d/a.conf", "a", "b"), FileStep("/etc/sysctl.d/b.conf", None, "b")]
    kill_at(root, steps, "create /etc/sysctl.d/b.conf")
    (root / "run/sysctl.d/a.conf").unlink()
    outcome = recover(Node(root), boot=NEXT_BOOT)
    assert outcome is not None and [result.status for result in outcome.results] == ["not_run", "undone"]


def test_a_cgroup_that_ended_is_not_missed(tmp_path: Path) -> None:
    root = make(tmp_path / "node")
    in_child(lambda: run(Killed(root, node_operation(f"rename {SYSCTL_D}")), plan(root)))
    # Another pod of the same name.
    os.rename(root / POD[1:], root / (POD[1:] + ".old"))
    (root / POD[1:]).mkdir()
    (root / POD[1:] / "memory.wmark_ratio").write_text("95\n", encoding="utf-8")
    outcome = recover(Node(root))
    assert outcome is not None and outcome.ok
    assert text(Node(root), f"{POD}/memory.wmark_ratio") == "95"
    assert text(Node(root), "/proc/sys/vm/swappiness") == "60"


def test_a_journal_that_names_another_file_is_not_followed(tmp_path: Path) -> None:
    root = make(tmp_path / "node")
    in_child(lambda: run(Killed(root, node_operation(f"rename {SYSCTL_D}")), plan(root)))
    pending = root / "var/lib/memqos/pending.jsonl"
    pending.write_text(pending.read_text(encoding="utf-8").replace("/proc/sys/vm/swappiness", "/proc/sys/vm/overcommit_memory"), encoding="utf-8")
    before = snapshot(root)
    with pytest.raises(JournalError, match="is not the file of vm.swappiness"):
        recover(Node(root))
    assert snapshot(root) == before


# Rollback


def test_rollback_to_origin_brings_back_every_byte(node: Node) -> None:
    before = snapshot(node.root)
    assert run(node, plan(node.root)).ok
    back = undo(node, "origin")
    assert back.left == ()
    outcome = run(node, back.steps)
    assert outcome.ok, outcome.problem
    assert snapshot(node.root) == before
    assert Journal(node).origin() == ()
    assert undo(node, "origin") == Rollback((), ())


def test_rollback_restores_any_generation(node: Node) -> None:
    states = [snapshot(node.root)]
    assert run(node, plan(node.root)).ok
    states.append(snapshot(node.root))
    assert run(node, [sysctl("vm.swappiness", "10", "30"), FileStep(SYSCTL_D, "vm.swappiness = 10\n", "vm.swappiness = 30\n")]).ok
    states.append(snapshot(node.root))
    assert run(node, [sysctl("vm.dirty_bytes", "536870912", "1073741824"), sysctl("vm.swappiness", "30", "60")]).ok
    for to in (2, 1, 0):
        back = undo(node, to)
        assert back.left == ()
        assert run(node, back.steps).ok
        assert snapshot(node.root) == states[to]
    # Generations go on: a rollback is one.
    assert Journal(node).generations() == [1, 2, 3, 4, 5, 6]


def test_a_rollback_that_fails_is_undone_itself(tmp_path: Path, node: Node) -> None:
    assert run(node, plan(node.root)).ok
    counting = Node(node.root)
    steps = undo(node, "origin").steps
    assert run(counting, steps).ok
    for at in range(1, counting.operations + 1):
        faulty = Faulty(make(tmp_path / f"node{at}"), 0, errno.EIO)
        assert run(faulty, plan(faulty.root)).ok
        faulty.operations, faulty.at = 0, at
        back = undo(faulty, "origin").steps
        try:
            outcome = run(faulty, back)
        except JournalError:
            continue
        assert outcome.clean
        assert outcome.ok or snapshot(faulty.root) == AFTER


def test_rollback_leaves_what_somebody_changed_unless_forced(node: Node) -> None:
    before = snapshot(node.root)
    assert run(node, plan(node.root)).ok
    node.set("/proc/sys/vm/swappiness", "33")
    Path(node.root + SYSCTL_D).write_text("vm.swappiness = 33\n", encoding="utf-8")
    back = undo(node, "origin")
    assert [(left.name, left.ours, left.found) for left in back.left] == [
        (SYSCTL_D, "vm.swappiness = 10\n", "vm.swappiness = 33\n"),
        ("/proc/sys/vm/swappiness", "10", "33"),
    ]
    assert not {SYSCTL_D, "/proc/sys/vm/swappiness"} & set(tuned_node.names(back.steps))
    assert run(node, undo(node, "origin", force=True).steps).ok
    assert snapshot(node.root) == before


def test_rollback_after_a_reboot_takes_live_values_back_too(tmp_path: Path) -> None:
    root = make(tmp_path / "node")
    assert run(Node(root), plan(root)).ok
    reboot(root, swappiness="10", min_free_kbytes="131072")
    node = Node(root)
    node.set(SLICE, "4294967296")
    back = undo(node, "origin", boot=NEXT_BOOT)
    assert back.left == ()
    assert run(node, back.steps, boot=NEXT_BOOT).ok
    # The late unit wrote it into the cgroup of the same name.
    assert text(node, f"{POD}/memory.wmark_ratio") == "0"
    assert [text(node, f"/proc/sys/vm/{name}") for name in ("swappiness", "min_free_kbytes")] == ["60", "67584"]
    assert text(node, SLICE) == "max"
    assert not os.path.exists(node.root + DROP_IN)


MIN_FREE = "/proc/sys/vm/min_free_kbytes"


def never() -> t.List[Step]:
    return [WriteStep("transparent_hugepage/enabled", "host", "", THP, "always", "never")]


MOVED: t.List[t.Tuple[t.Callable[[Node], t.Any], str, str]] = [
    # what somebody does after THP was written, min_free_kbytes after a rollback; what is told
    (lambda node: None, "67584", ""),
    (lambda node: node.set(MIN_FREE, "99999"), "99999", MIN_FREE),
]


@pytest.mark.parametrize("action, stands, left", MOVED)
def test_what_a_write_moved_goes_back_with_it_unless_it_is_theirs_by_now(node: Node, action: t.Callable[[Node], t.Any], stands: str, left: str) -> None:
    assert run(node, never()).ok
    assert text(node, MIN_FREE) == "45056"
    action(node)
    back = undo(node, "origin")
    assert [one.name for one in back.left] == ([left] if left else [])
    assert run(node, back.steps).ok
    assert (text(node, THP), text(node, MIN_FREE)) == ("[always] madvise never", stands)


def test_a_write_that_moves_something_back_keeps_what_is_wanted_of_that(node: Node) -> None:
    assert run(node, [*never(), sysctl("vm.min_free_kbytes", "67584", "131072")]).ok
    steps = [step for step in Journal(node).origin() if getattr(step, "knob", "") == "transparent_hugepage/enabled"]
    back = _transaction.back(steps, Journal(node), boot_id=BOOT, page_size=PAGE)
    assert run(node, back.steps).ok
    assert (text(node, THP), text(node, MIN_FREE)) == ("[always] madvise never", "131072")


def test_rivals_go_back_whichever_was_written_last(node: Node) -> None:
    before = snapshot(node.root)
    assert run(node, [sysctl("vm.dirty_ratio", "20", "30")]).ok
    assert run(node, [sysctl("vm.dirty_bytes", "0", "8192")]).ok
    assert run(node, undo(node, "origin").steps).ok
    assert snapshot(node.root) == before
    assert run(node, [sysctl("vm.dirty_bytes", "0", "8192")]).ok
    assert run(node, [sysctl("vm.dirty_ratio", "0", "30")]).ok
    assert run(node, undo(node, "origin").steps).ok
    assert snapshot(node.root) == before


def test_what_is_back_already_is_not_written_and_forgotten(node: Node) -> None:
    assert run(node, plan(node.root)).ok
    node.set("/proc/sys/vm/swappiness", "60")
    node.done.clear()
    assert run(node, undo(node, "origin").steps).ok
    assert "kernel /proc/sys/vm/swappiness" not in node.done
    assert Journal(node).origin() == ()


LOW = "/sys/fs/cgroup/batch.slice/memory.low"


def units(node: Node, *, by_hand: bool = False) -> PropertyStep:
    """MemoryHigh and MemoryLow of batch.slice; with a memory.min of somebody's hand beside them."""
    for name, content in (("low", "0"), ("min", "8192" if by_hand else "0")):
        node.set(f"/sys/fs/cgroup/batch.slice/memory.{name}", content)
    files = tuple(
        WriteStep(f"memory.{name}", "memcg", "batch.slice", f"/sys/fs/cgroup/batch.slice/memory.{name}", before, after)
        for name, before, after in (("high", "max", "4294967296"), ("low", "0", "65536"), *([("min", "8192", "0")] if by_hand else []))
    )
    values = (("MemoryHigh", "4294967296"), ("MemoryLow", "65536"))
    return PropertyStep("batch.slice", values, (("MemoryHigh", "infinity"), ("MemoryLow", "0")), files[:2], (), files[2:])


def test_a_property_that_somebody_changed_stays_and_the_others_go_back(node: Node) -> None:
    assert run(node, [units(node)]).ok
    node.set(SLICE, "8589934592")
    back = undo(node, "origin")
    assert [(one.knob, one.subject, one.found) for one in back.left] == [("MemoryHigh", "batch.slice", "8589934592")]
    assert run(node, back.steps).ok
    assert (text(node, SLICE), text(node, LOW)) == ("8589934592", "0")


def test_a_property_without_a_file_that_somebody_changed_stays(node: Node) -> None:
    step = PropertyStep("batch.slice", (("ManagedOOMPreference", "avoid"),), (("ManagedOOMPreference", "none"),))
    assert run(node, [step]).ok
    node.systemctl(["systemctl", "set-property", "--runtime", "--", "batch.slice", "ManagedOOMPreference=omit"])
    back = undo(node, "origin")
    assert ("ManagedOOMPreference", "batch.slice", "omit") in [(one.knob, one.subject, one.found) for one in back.left]
    assert not any(isinstance(one, PropertyStep) for one in back.steps)


class Stopped(Node):
    """Takes no swappiness."""

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if path == "/proc/sys/vm/swappiness":
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("way", ["undone", "rolled back"])
def test_a_file_that_set_property_resets_comes_back(node: Node, way: str) -> None:
    step = units(node, by_hand=True)
    before = snapshot(node.root)
    if way == "undone":
        outcome = run(Stopped(node.root), [step, sysctl("vm.swappiness", "60", "10")])
        assert (outcome.ok, outcome.clean, [result.status for result in outcome.results]) == (False, True, ["undone", "failed"])
    else:
        assert run(node, [step]).ok
        assert text(node, "/sys/fs/cgroup/batch.slice/memory.min") == "0"
        assert run(node, undo(node, "origin").steps).ok
        assert Journal(node).origin() == ()
    assert snapshot(node.root) == before


def test_a_unit_that_systemd_and_kernel_saw_differently_does_so_again(node: Node) -> None:
    """On 257 a new drop-in is loaded, and not yet in the kernel."""
    step = units(node)
    Path(node.root + DROP_IN).parent.mkdir()
    Path(node.root + DROP_IN).write_text("[Slice]\nMemoryHigh=1G\n", encoding="utf-8")
    node.systemctl(["systemctl", "daemon-reload"])
    before = snapshot(node.root)
    assert run(node, [step._replace(before=(("MemoryHigh", "1073741824"), ("MemoryLow", "0")))]).ok
    assert run(node, undo(node, "origin").steps).ok
    assert snapshot(node.root) == before
    assert Journal(node).origin() == ()


def test_a_file_keeps_its_owner(node: Node) -> None:
    path = node.root + SYSCTL_D
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    owner = os.stat(path).st_uid, os.stat(path).st_gid
    assert run(node, plan(node.root)).ok
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == owner
    assert run(node, undo(node, "origin").steps).ok
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == owner


def test_a_journal_that_names_another_file_besides_is_not_followed(tmp_path: Path) -> None:
    root = make(tmp_path / "node")
    kill_at(root, [*never(), sysctl("vm.swappiness", "60", "10")], "kernel /proc/sys/vm/swappiness")
    pending = root / "var/lib/memqos/pending.jsonl"
    pending.write_text(pending.read_text(encoding="utf-8").replace(MIN_FREE, "/proc/sys/vm/dirty_ratio"), encoding="utf-8")
    before = snapshot(root)
    with pytest.raises(JournalError, match="is not the file of vm.min_free_kbytes"):
        recover(Node(root))
    assert snapshot(root) == before


CURES = [
    (OSError(errno.EROFS, ""), "Make that file system writable, and run again."),
    (OSError(errno.EINVAL, ""), "This kernel does not take that value: choose another, or leave the knob out."),
    (OSError(errno.ENOENT, ""), ""),
    (ValueError("x"), ""),
]


@pytest.mark.parametrize("exc, told", CURES)
def test_what_to_do_about_an_error(exc: Exception, told: str) -> None:
    assert cure(exc) == told


# Order and side effects


def test_a_value_that_a_later_step_moves_fails_the_plan(node: Node) -> None:
    before = snapshot(node.root)
    wrong = plan(node.root)
    wrong[0], wrong[1] = wrong[1], wrong[0]
    outcome = run(node, wrong)
    assert outcome.problem.startswith("/proc/sys/vm/min_free_kbytes: after writing '131072' it reads '45056'")
    assert statuses(outcome)["/proc/sys/vm/min_free_kbytes"] == "failed"
    assert snapshot(node.root) == before


def test_a_property_without_a_kernel_file_is_read_from_systemd(node: Node) -> None:
    step = PropertyStep("batch.slice", (("ManagedOOMMemoryPressure", "kill"),), (("ManagedOOMMemoryPressure", "auto"),))
    assert run(node, [step]).ok

    class Deaf(Node):
        def systemctl(self, argv: t.List[str]) -> str:
            return "ManagedOOMMemoryPressure=auto\n" if argv[1] == "show" else ""

    deaf = Deaf(node.root)
    outcome = run(deaf, [step])
    assert (outcome.ok, outcome.clean, outcome.results[0].reason) == (False, True, "after writing 'ManagedOOMMemoryPressure=kill' it reads 'auto'")


def test_damon_takes_its_inputs_by_a_commit_also_when_undone(node: Node) -> None:
    for name, content in (("min_age", "120000000"), ("commit_inputs", "N")):
        os.makedirs(f"{node.root}/sys/module/damon_reclaim/parameters", exist_ok=True)
        node.set(f"/sys/module/damon_reclaim/parameters/{name}", content)

    class Damon(Node):
        def kernel_bytes(self, fd: int, path: str, data: bytes) -> None:
            super().kernel_bytes(fd, path, b"N\n" if path.endswith("commit_inputs") else data)

        def operation(self, what: str, path: str) -> None:
            super().operation(what, path)
            if "\n" in path:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    steps: t.List[Step] = [
        WriteStep(f"damon_reclaim/{name}", "host", "", f"/sys/module/damon_reclaim/parameters/{name}", before, after)
        for name, before, after in (("min_age", "120000000", "60000000"), ("commit_inputs", "N", "Y"))
    ]
    damon = Damon(node.root)
    assert run(damon, steps).ok
    back = Damon(node.root)
    back.set("/sys/module/damon_reclaim/parameters/min_age", "120000000")
    outcome = run(back, [*steps, FileStep("/etc/sysctl.d/x\nx.conf", None, "x")])
    assert (outcome.ok, outcome.clean) == (False, True)
    writes = [line.rpartition("/")[2] for line in back.done if line.startswith("kernel")]
    assert writes == ["min_age", "commit_inputs", "min_age", "commit_inputs"]
