# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole tune that has to shrink a cgroup first: planned, done, given up, killed, undone."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import signal
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _boot, _shrink, _tune
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.thinned import THINNED
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import MIB, Machine, layer, rows, statuses
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import Node, in_child

Json = t.Dict[str, t.Any]

SHRINK = {"within": 60, "slice": 10, "last": True}
HALF = layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryMax": "200MiB"}})
# What no kernel of the tests reclaims: anonymous memory, while there is no swap.
TOO_LOW = layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryMax": "100MiB"}})


class Reclaiming(Node):
    """A kernel that reclaims page cache when it is asked to, and when a bound is set; nothing else. C(sticks): so many bytes of it stay."""

    sticks = 0

    def kernel_bytes(self, fd: int, path: str, data: bytes) -> None:
        directory, unused, name = path.rpartition("/")
        text = data.decode().strip()
        if name == "memory.reclaim":
            os.close(fd)
            if self._reclaim(directory, int(text)) < int(text):
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return
        if name in ("memory.high", "memory.max", "memory.limit_in_bytes") and text.isdigit():
            self._reclaim(directory, max(0, self._usage(directory) - int(text)))
        super().kernel_bytes(fd, path, data)

    def kernel_write(self, path: str, text: str, inode: int = 0) -> None:
        if path.endswith("memory.reclaim"):
            # It shows nothing.
            super(Node, self).kernel_write(path, text, inode)
        else:
            super().kernel_write(path, text, inode)

    def _usage(self, directory: str) -> int:
        return int(self._file(directory).read_text(encoding="utf-8"))

    def _file(self, directory: str) -> Path:
        files = [Path(f"{self.root}{directory}/{name}") for name in ("memory.current", "memory.usage_in_bytes")]
        return next(file for file in files if file.exists())

    def _reclaim(self, directory: str, size: int) -> int:
        stat = Path(f"{self.root}{directory}/memory.stat")
        lines = [line.split() for line in stat.read_text(encoding="utf-8").splitlines()]
        cache = next(int(amount) for name, amount in lines if name in ("inactive_file", "total_inactive_file"))
        taken = max(0, min(size, cache - self.sticks))
        words = {"inactive_file": cache - taken, "total_inactive_file": cache - taken}
        stat.write_text("".join(f"{name} {words.get(name, amount)}\n" for name, amount in lines), encoding="utf-8")
        self._file(directory).write_text(f"{self._usage(directory) - taken}\n", encoding="utf-8")
        return taken


class Stopwatch:
    """Time passes where somebody waits, and a little with each look."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        self.time += 0.01
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture(autouse=True)
def fixture_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Stopwatch()
    monkeypatch.setattr(_shrink, "CLOCK", _shrink.Clock(watch.now, watch.sleep))


def machine(tmp_path: Path, *, hierarchy: int = 2, reclaim: bool = True) -> Machine:
    """batch.slice uses 256 MiB, of which 96 are page cache."""
    made = Machine(tmp_path, hierarchy=hierarchy, writer=Reclaiming)
    made.write("/proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 3145728 kB\nMemAvailable: 6291456 kB\nCommitted_AS: 0 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")
    more = {"memory.pressure": "some avg10=0.00 total=0\nfull avg10=0.00 total=0", "memory.events": "oom_kill 0", **({"memory.reclaim": ""} if reclaim else {})}
    for name, text in more.items() if hierarchy == 2 else [("memory.oom_control", "oom_kill 0")]:
        made.write(f"{made.mount}/batch.slice/{name}", f"{text}\n" if text else "")
    return made


def tune(node: Machine, wanted: Json, *, check: bool = False, shrink: t.Optional[Json] = None, writer: t.Optional[Node] = None) -> Json:
    options = {"on_conflict": "report", "fail_on_unsupported": False, "only": [], "allow": [], "sysctl_file": "zz-memqos.conf"}
    return node.asked(_tune.tune, {"layers": [wanted], "options": options, "shrink": shrink or SHRINK}, check=check, writer=writer)


def bound(node: Machine) -> t.Optional[str]:
    return node.text(f"/batch.slice {'memory.max' if node.hierarchy == 2 else 'memory.limit_in_bytes'}")


KERNELS = pytest.mark.parametrize(("hierarchy", "reclaim"), [(2, True), (2, False), (1, False)])


@KERNELS
def test_a_limit_below_usage_is_set_when_it_fits(tmp_path: Path, hierarchy: int, reclaim: bool) -> None:
    node = machine(tmp_path, hierarchy=hierarchy, reclaim=reclaim)
    answer = tune(node, HALF)
    assert answer["problem"] == ""
    assert statuses(answer) == {"vm.swappiness": "changed", "batch.slice MemoryMax": "changed"}
    assert "its usage of 256 MiB is brought below that first, in steps" in rows(answer)["batch.slice MemoryMax"]["reason"]
    assert bound(node) == str(200 * MIB)
    assert int(node.text(f"/batch.slice {'memory.current' if hierarchy == 2 else 'memory.usage_in_bytes'}") or 0) <= 200 * MIB
    assert answer["shrinking"] == [
        {"unit": "batch.slice", "knob": "memory.max", "bound": 200 * MIB, "before": 256 * MIB, "usage": 200 * MIB, "done": True, "killed": 0}
    ]
    if hierarchy == 2:
        assert node.text("/batch.slice memory.high") == "max"
    # A generation has values, and no way to them.
    entry = node.asked(lambda request, work: {"steps": [step._asdict() for step in work.journal.generation(1).steps if hasattr(step, "bound")]}, {})
    assert all(not step["bound"] for step in entry["steps"])
    assert not tune(node, HALF)["changed"]


@KERNELS
def test_back_and_forth_leaves_nothing(tmp_path: Path, hierarchy: int, reclaim: bool) -> None:
    node = machine(tmp_path, hierarchy=hierarchy, reclaim=reclaim)
    before = {path: found for path, found in node.snapshot().items() if "memory.current" not in path and "usage_in" not in path and "memory.stat" not in path}
    tune(node, HALF)
    node.rollback("origin")
    assert {path: node.snapshot()[path] for path in before} == before


def test_a_check_says_so_and_touches_nothing(tmp_path: Path) -> None:
    node = machine(tmp_path)
    before = node.snapshot(times=True)
    answer = tune(node, HALF, check=True)
    assert statuses(answer)["batch.slice MemoryMax"] == "would_change"
    assert "brought below that first" in rows(answer)["batch.slice MemoryMax"]["reason"]
    assert node.snapshot(times=True) == before


@KERNELS
def test_what_cannot_be_reclaimed_is_refused_with_the_figures(tmp_path: Path, hierarchy: int, reclaim: bool) -> None:
    node = machine(tmp_path, hierarchy=hierarchy, reclaim=reclaim)
    before = node.snapshot()
    answer = tune(node, TOO_LOW)
    reason = rows(answer)["batch.slice MemoryMax"]["reason"]
    assert rows(answer)["batch.slice MemoryMax"]["status"] == "refused"
    assert "no more than 96.0 MiB of that can be reclaimed (the rest is in use, and there is no swap for it)" in reason or "no more than 64.0 MiB" in reason
    assert node.snapshot() == before


def test_without_seconds_it_is_refused_as_ever(tmp_path: Path) -> None:
    answer = tune(machine(tmp_path), HALF, shrink={"within": 0, "slice": 0})
    assert "the kernel would kill its processes" in rows(answer)["batch.slice MemoryMax"]["reason"]
    assert "reclaimed" not in rows(answer)["batch.slice MemoryMax"]["reason"]


def test_swap_that_nobody_may_use_does_not_count(tmp_path: Path) -> None:
    node = machine(tmp_path)
    node.write(
        "/proc/meminfo",
        "MemTotal: 8388608 kB\nMemFree: 3145728 kB\nMemAvailable: 6291456 kB\nCommitted_AS: 0 kB\nSwapTotal: 1048576 kB\nSwapFree: 1048576 kB\n",
    )
    node.write(f"{node.mount}/batch.slice/memory.stat", f"inactive_anon {160 * MIB}\ninactive_file {96 * MIB}\n")
    answer = tune(node, TOO_LOW, check=True)
    assert statuses(answer)["batch.slice MemoryMax"] == "would_change"
    for path, text in (("/batch.slice memory.swap.max", str(10 * MIB)), ("vm.swappiness", "0")):
        kept = node.text(path)
        node.set(f"{node.mount}/batch.slice/memory.swap.max" if "swap.max" in path else path, text)
        assert statuses(tune(node, TOO_LOW, check=True))["batch.slice MemoryMax"] == "refused", path
        node.set(f"{node.mount}/batch.slice/memory.swap.max" if "swap.max" in path else path, str(kept))


@KERNELS
def test_what_does_not_go_though_it_should_undoes_everything(tmp_path: Path, hierarchy: int, reclaim: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    node = machine(tmp_path, hierarchy=hierarchy, reclaim=reclaim)
    monkeypatch.setattr(Reclaiming, "sticks", 60 * MIB)
    before = {path: found for path, found in node.snapshot().items() if "memory.current" not in path and "usage_in" not in path and "memory.stat" not in path}
    answer = tune(node, HALF)
    assert "nothing more of it can be reclaimed" in answer["problem"]
    assert answer["clean"]
    assert statuses(answer) == {"vm.swappiness": "undone", "batch.slice MemoryMax": "undone"}
    assert {path: node.snapshot()[path] for path in before} == before
    assert node.text("/var/lib/memqos/pending.jsonl") is None


def test_one_call_goes_as_far_as_its_slice_and_the_next_goes_on(tmp_path: Path) -> None:
    node = machine(tmp_path)
    # Two seconds to watch, then some steps.
    usage = []
    for unused in range(10):
        answer = tune(node, HALF, shrink={"within": 60, "slice": 2.3})
        assert answer["problem"] == ""
        usage.append(answer["shrinking"][0]["usage"])
        if answer["generation"]:
            break
        assert not answer["changed"]
        assert (node.text("vm.swappiness"), bound(node)) == ("60", "max")
    assert 1 < len(usage) < 10
    assert usage == sorted(usage, reverse=True)


def test_the_last_slice_says_what_is_the_matter(tmp_path: Path) -> None:
    node = machine(tmp_path)
    answer = tune(node, HALF, shrink={"within": 2.1, "slice": 10, "last": True})
    assert "batch.slice memory.max: " in answer["problem"]
    assert "200 MiB wanted when the time is over: allow more (memqos_shrink_within)" in answer["problem"]
    assert node.text("vm.swappiness") == "60"


@KERNELS
def test_a_rollback_shrinks_too(tmp_path: Path, hierarchy: int, reclaim: bool) -> None:
    node = machine(tmp_path, hierarchy=hierarchy, reclaim=reclaim)
    assert tune(node, HALF)["generation"] == 1
    assert tune(node, layer(slices={"batch.slice": {"MemoryMax": "1GiB"}}))["generation"] == 2
    for name in ("memory.current", "memory.usage_in_bytes"):
        if node.text(f"/batch.slice {name}"):
            node.write(f"{node.mount}/batch.slice/{name}", f"{256 * MIB}\n")
    prefix = "" if hierarchy == 2 else "total_"
    node.write(f"{node.mount}/batch.slice/memory.stat", f"anon {160 * MIB}\n{prefix}rss 0\n{prefix}inactive_file {96 * MIB}\n")
    refused = node.asked(_tune.rollback, {"to": "previous", "force": False, "allow": []})
    assert "is below its usage" in refused["problem"]
    done = node.asked(_tune.rollback, {"to": "previous", "force": False, "allow": [], "shrink": SHRINK})
    assert done["problem"] == ""
    assert bound(node) == str(200 * MIB)


class Meddling(Reclaiming):
    """Somebody else writes C(text) into C(file) at our first C(what) of C(path)."""

    at: t.Tuple[str, str] = ("", "")
    text = ""
    file = ""

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if (what, path) == self.at:
            self.at = ("", "")
            self.set(self.file, self.text)


def meddled(node: Machine, what: str, path: str, file: str, text: str) -> Meddling:
    writer = Meddling(node.root, systemd=257, hierarchy=node.hierarchy)
    writer.systemd, writer.at = node.node.systemd, (what, path)
    writer.file, writer.text = file, text
    return writer


BATCH = "/sys/fs/cgroup/batch.slice"


def test_what_somebody_writes_into_memory_high_meanwhile_stays(tmp_path: Path) -> None:
    """We wrote nothing there by then, or something else."""
    node = machine(tmp_path)
    writer = meddled(node, "kernel", f"{BATCH}/memory.reclaim", f"{BATCH}/memory.high", str(240 * MIB))
    answer = tune(node, HALF, writer=writer)
    assert node.text("/batch.slice memory.high") != "max" or answer["problem"]
    assert node.text("/batch.slice memory.high") == str(240 * MIB)


def test_usage_that_grows_after_the_plan_is_looked_at_again(tmp_path: Path) -> None:
    """It fits when it is planned, and does not when the limit is to be set."""
    node = machine(tmp_path)
    wanted = layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryMax": "300MiB"}})
    writer = meddled(node, "kernel", "/proc/sys/vm/swappiness", f"{BATCH}/memory.current", str(400 * MIB))
    answer = tune(node, wanted, writer=writer)
    assert "does not get below 300 MiB" in answer["problem"]
    assert (bound(node), node.text("vm.swappiness")) == ("max", "60")


def test_a_limit_hardly_above_usage_that_stays_is_refused(tmp_path: Path) -> None:
    node = machine(tmp_path)
    node.write(f"{node.mount}/batch.slice/memory.stat", f"inactive_anon {256 * MIB}\n")
    wanted = layer(slices={"batch.slice": {"MemoryMax": "257MiB"}})
    row = rows(tune(node, wanted))["batch.slice MemoryMax"]
    assert row["status"] == "refused"
    assert "257 MiB is hardly above its usage of 256 MiB: the next allocations would kill" in row["reason"]
    assert "memqos_allow_risks: [limit_below_usage]" in row["reason"]


def test_memory_high_below_usage_comes_in_steps_where_it_would_not_be_refused(tmp_path: Path) -> None:
    """Otherwise systemd itself would reclaim all of it, in one write."""
    node = machine(tmp_path)
    wanted = layer(slices={"batch.slice": {"MemoryHigh": "200MiB"}})
    answer = tune(node, wanted)
    assert answer["problem"] == ""
    assert answer["shrinking"][0]["knob"] == "memory.high"
    assert node.text("/batch.slice memory.high") == str(200 * MIB)


@pytest.mark.parametrize("reclaim", [True, False])
def test_both_bounds_at_the_same_value(tmp_path: Path, reclaim: bool) -> None:
    """memory.high is the way to memory.max, and ends there too."""
    node = machine(tmp_path, reclaim=reclaim)
    wanted = layer(slices={"batch.slice": {"MemoryMax": "200MiB", "MemoryHigh": "200MiB"}})
    answer = tune(node, wanted)
    assert (answer["problem"], set(statuses(answer).values())) == ("", {"changed"})
    assert (node.text("/batch.slice memory.high"), bound(node)) == (str(200 * MIB), str(200 * MIB))
    assert not tune(node, wanted)["changed"]
    node.rollback("origin")
    assert (node.text("/batch.slice memory.high"), bound(node)) == ("max", "max")


def test_what_grows_again_before_memory_high_is_set_is_brought_down_to_it(tmp_path: Path) -> None:
    """Without memory.reclaim by memory.high itself, which then stands where it shall."""
    node = machine(tmp_path, reclaim=False)

    class Growing(Reclaiming):
        def operation(self, what: str, path: str) -> None:
            super().operation(what, path)
            if (what, path) == ("kernel", "/proc/sys/vm/swappiness"):
                node.write(f"{BATCH}/memory.current", f"{256 * MIB}\n")
                node.write(f"{BATCH}/memory.stat", f"inactive_file {96 * MIB}\n")

    writer = Growing(node.root, systemd=257, hierarchy=2)
    writer.systemd = node.node.systemd
    answer = tune(node, layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryHigh": "200MiB"}}), writer=writer)
    assert (answer["problem"], node.text("/batch.slice memory.high")) == ("", str(200 * MIB))


def test_the_hold_lasts_until_the_limit_stands(tmp_path: Path) -> None:
    node = machine(tmp_path)
    held: t.List[t.Optional[str]] = []
    real = node.node.systemd.answer

    def answer(argv: t.Sequence[str]) -> str:
        if "set-property" in argv:
            held.append(node.text("/batch.slice memory.high"))
        return real(argv)

    node.node.systemd.answer = answer  # type: ignore[method-assign]
    assert tune(node, HALF)["problem"] == ""
    assert held == [str(200 * MIB)]
    assert node.text("/batch.slice memory.high") == "max"


def test_kills_when_the_limit_is_set_are_told(tmp_path: Path) -> None:
    node = machine(tmp_path)
    writer = meddled(node, "command", "batch.slice", f"{BATCH}/memory.events", "oom_kill 3")
    answer = tune(node, HALF, writer=writer)
    assert any("3 tasks of batch.slice were killed for want of memory meanwhile" in note for note in answer["notes"])


def test_no_pressure_is_said(tmp_path: Path) -> None:
    assert any("tells no pressure (PSI)" in note for note in tune(machine(tmp_path), HALF)["notes"])


def test_what_ends_it_at_the_next_boot_is_laid_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = machine(tmp_path)
    monkeypatch.setattr(_boot, "lay", lambda journal, tree, code: ("", f"laid, {journal.pending()} under way"))
    answer = tune(node, HALF, shrink={"within": 2.1, "slice": 10, "last": True})
    assert "when the time is over" in answer["problem"]
    assert any("laid, None under way" in note for note in answer["notes"])


class Killed(Reclaiming):
    """Killed before its C(at)-th operation."""

    at = 0

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if self.operations == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


@KERNELS
def test_killed_at_any_write_the_next_run_leaves_all_or_nothing(tmp_path: Path, hierarchy: int, reclaim: bool) -> None:
    """What is reclaimed is reclaimed; bounds are as before or as wanted, and memory.high, which was only a way, is as before."""
    counted = machine(tmp_path / "counted", hierarchy=hierarchy, reclaim=reclaim)
    tune(counted, HALF)
    seen = set()
    for at in range(1, counted.node.operations + 1, THINNED):
        node = machine(tmp_path / str(at), hierarchy=hierarchy, reclaim=reclaim)
        before = bound(node)
        killer = Killed(node.root, systemd=257, hierarchy=hierarchy)
        killer.systemd, killer.at = node.node.systemd, at
        assert in_child(functools.partial(tune, node, HALF, writer=killer)) == signal.SIGKILL
        answer = node.asked(
            _tune.tune,
            {"layers": [], "options": {"on_conflict": "report", "fail_on_unsupported": False, "only": ["dirty"], "allow": [], "sysctl_file": "zz-memqos.conf"}},
        )
        assert answer["problem"] == ""
        state = (bound(node), node.text("vm.swappiness"))
        assert state in ((before, "60"), (str(200 * MIB), "10")), at
        seen.add(state)
        if hierarchy == 2:
            assert node.text("/batch.slice memory.high") == "max", at
        assert node.text("/var/lib/memqos/pending.jsonl") is None, at
    assert len(seen) == 2 or THINNED > 1


@pytest.mark.parametrize("hierarchy", [2, 1])
def test_a_step_that_cannot_be_written_leaves_no_bound_of_the_one_before(tmp_path: Path, hierarchy: int) -> None:
    """The kernel holds what the step before wrote: that is ours, and goes back, or is told."""
    node = machine(tmp_path, hierarchy=hierarchy, reclaim=False)
    before = bound(node), node.text("/batch.slice memory.high")
    names = ("memory.high", "memory.current") if hierarchy == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    files = {path: node.text(path) or "" for path in (f"{node.mount}/batch.slice/{names[1]}", f"{node.mount}/batch.slice/memory.stat")}

    class Broken(Reclaiming):
        """From the second bound on no write works, C(for_good) or once."""

        seen, for_good = 0, False

        def operation(self, what: str, path: str) -> None:
            super().operation(what, path)
            self.seen += (what, path.rpartition("/")[2]) == ("kernel", names[0])
            if self.seen == 2 or (self.for_good and self.seen > 1):
                self.seen += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for for_good in (False, True):
        writer = Broken(node.root, systemd=257, hierarchy=hierarchy)
        writer.systemd, writer.for_good = node.node.systemd, for_good
        answer = tune(node, HALF, writer=writer)
        now = bound(node), node.text("/batch.slice memory.high")
        assert answer["problem"] and (now == before if answer["clean"] else "Not undone" in answer["problem"])
        assert answer["clean"] is not for_good
        assert tune(node, layer())["problem"] == "" and (bound(node), node.text("/batch.slice memory.high")) == before
        for path, text in files.items():
            node.write(path, f"{text}\n")


# What others do meanwhile


THREE = layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryHigh": "3G"}})
RUN_TIME = "/run/systemd/system.control/batch.slice.d/50-MemoryHigh.conf"


def test_what_somebody_sets_amid_a_run_stays_when_it_is_undone(tmp_path: Path) -> None:
    node = machine(tmp_path)
    answer = tune(node, THREE, writer=meddled(node, "command", "batch.slice", "/proc/sys/vm/swappiness", "33"))
    assert "after writing '10' it reads '33'. All was undone, but for what others have set since: vm.swappiness (33). Somebody else" in answer["problem"]
    assert (node.text("vm.swappiness"), node.text("/batch.slice memory.high")) == ("33", "max")
    assert answer["clean"] and node.text("/var/lib/memqos/pending.jsonl") is None


def test_a_property_that_somebody_sets_amid_a_run_stays_when_it_is_undone(tmp_path: Path) -> None:
    node = machine(tmp_path)

    class Setting(Reclaiming):
        seen = 0

        def operation(self, what: str, path: str) -> None:
            super().operation(what, path)
            # Right before the commit: all was set.
            if (what, path) == ("rename", "/var/lib/memqos/generations/1.json"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if what == "append" and node.text("/batch.slice memory.high") == str(3 << 30) and not self.seen:
                self.seen = 1
                self.systemd.answer(["systemctl", "set-property", "--runtime", "--", "batch.slice", f"MemoryHigh={1 << 30}"])

    writer = Setting(node.root, systemd=257, hierarchy=2)
    writer.systemd = node.node.systemd
    answer = tune(node, THREE, writer=writer)
    assert "All was undone, but for what others have set since: batch.slice MemoryHigh (1073741824)" in answer["problem"]
    assert (node.text("vm.swappiness"), node.text("/batch.slice memory.high")) == ("60", str(1 << 30))
    assert f"MemoryHigh={1 << 30}" in (node.text(RUN_TIME) or "")


class Restarting(Reclaiming):
    """The unit starts anew at our first C(what) of C(path): another cgroup has its path."""

    at: t.Tuple[str, str] = ("", "")

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if (what, path) == self.at:
            self.at = ("", "")
            directory = Path(self.root + BATCH)
            old = directory.with_name("old")
            directory.rename(old)
            shutil.copytree(old, directory)
            shutil.rmtree(old)


@pytest.mark.parametrize("at", [("kernel", f"{BATCH}/memory.reclaim"), ("command", "batch.slice"), ("kernel", "/proc/sys/vm/swappiness")])
def test_a_unit_that_starts_anew_while_it_shrinks_leaves_all_as_it_was(tmp_path: Path, at: t.Tuple[str, str]) -> None:
    node = machine(tmp_path)
    before = node.text("/batch.slice memory.max"), node.text("vm.swappiness")
    writer = Restarting(node.root, systemd=257, hierarchy=2)
    writer.systemd, writer.at = node.node.systemd, at
    answer = tune(node, HALF, writer=writer)
    assert "another cgroup has this path now" in answer["problem"] and set(statuses(answer).values()) <= {"failed", "undone"}
    assert (node.text("/batch.slice memory.max"), node.text("vm.swappiness"), node.text("/var/lib/memqos/pending.jsonl")) == (*before, None)


def test_a_unit_that_starts_anew_when_all_is_done_does_not_undo_it(tmp_path: Path) -> None:
    node = machine(tmp_path)
    writer = Restarting(node.root, systemd=257, hierarchy=2)
    writer.systemd, writer.at = node.node.systemd, ("rename", "/var/lib/memqos/generations/1.json")
    answer = tune(node, HALF, writer=writer)
    assert (answer["problem"], answer["generation"]) == ("", 1)
    assert (bound(node), node.text("vm.swappiness")) == (str(200 * MIB), "10")


def test_a_journal_that_cannot_be_removed_after_shrinking_is_told(tmp_path: Path) -> None:
    node = machine(tmp_path)

    class ReadOnly(Reclaiming):
        def operation(self, what: str, path: str) -> None:
            super().operation(what, path)
            if (what, path) == ("remove", "/var/lib/memqos/pending.jsonl"):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    writer = ReadOnly(node.root, systemd=257, hierarchy=2)
    writer.systemd = node.node.systemd
    answer = tune(node, HALF, shrink={"within": 2.1, "slice": 10, "last": True}, writer=writer)
    assert "pending.jsonl: Read-only file system (EROFS); the next run removes it" in answer["problem"]
    assert tune(node, HALF)["problem"] == "" and bound(node) == str(200 * MIB)


def test_a_file_that_somebody_changes_before_its_step_is_not_overwritten(tmp_path: Path) -> None:
    """The journal would have it nowhere: neither is it what stood there when the run looked, nor ours."""
    node = machine(tmp_path)
    site = "/etc/sysctl.d/zzz-site.conf"
    node.write(site, "vm.swappiness=0\n")

    class Editing(Reclaiming):
        seen = 0

        def operation(self, what: str, path: str) -> None:
            super().operation(what, path)
            if what == "append" and not self.seen:
                self.seen = 1
                node.write(site, "vm.swappiness=0\nnet.ipv4.ip_forward=1\n")

    writer = Editing(node.root, systemd=257, hierarchy=2)
    writer.systemd = node.node.systemd
    options = {"on_conflict": "take", "fail_on_unsupported": False, "only": [], "allow": [], "sysctl_file": "zz-memqos.conf"}
    request = {"layers": [layer(host={"vm.swappiness": 10})], "options": options, "shrink": SHRINK}
    answer = node.asked(_tune.tune, request, writer=writer)
    assert f"{site}: somebody has changed it since this run looked at it: run again. All was undone" in answer["problem"]
    assert (node.text(site), node.text("vm.swappiness")) == ("vm.swappiness=0\nnet.ipv4.ip_forward=1", "60")
    assert node.asked(_tune.tune, request)["problem"] == "" and node.text("vm.swappiness") == "10"
    node.rollback("origin")
    assert node.text(site) == "vm.swappiness=0\nnet.ipv4.ip_forward=1"


def test_a_value_that_somebody_writes_before_its_step_is_not_overwritten(tmp_path: Path) -> None:
    node = machine(tmp_path)
    answer = tune(node, THREE, writer=meddled(node, "append", "/var/lib/memqos/pending.jsonl", "/proc/sys/vm/swappiness", "33"))
    assert "somebody has changed it since this run looked at it: run again" in answer["problem"] and node.text("vm.swappiness") == "33"


class Meanwhile(Reclaiming):
    """Somebody acts when all is set, and the commit fails."""

    act: t.Callable[[Node], t.Any] = staticmethod(lambda node: None)
    generation = 1

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if (what, path) == ("rename", f"/var/lib/memqos/generations/{self.generation}.json"):
            self.act(self)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def tell_systemd(node: Node) -> None:
    node.systemd.answer(["systemctl", "set-property", "--runtime", "--", "batch.slice", f"MemoryHigh={1 << 30}"])


def write_past_systemd(node: Node) -> None:
    node.set(f"{BATCH}/memory.high", str(1 << 30))


@pytest.mark.parametrize("systemd", [252, 257])
@pytest.mark.parametrize("act", [tell_systemd, write_past_systemd])
@pytest.mark.parametrize("back", [False, True])
def test_rows_tell_what_others_set_amid_a_run_that_is_undone(tmp_path: Path, systemd: int, act: t.Callable[[Node], None], back: bool) -> None:
    """Of a rollback too, whose undoing brings our persistent values with a reload."""
    node = Machine(tmp_path, systemd=systemd, writer=Reclaiming)
    wanted = layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryHigh": "3G", "MemoryLow": "64M"}})
    assert not back or tune(node, wanted)["generation"] == 1
    writer = Meanwhile(node.root, systemd=systemd, hierarchy=2)
    writer.systemd, writer.act, writer.generation = node.node.systemd, act, 2 if back else 1
    node.node = writer
    answer = node.rollback("origin") if back else tune(node, wanted, writer=writer)
    assert answer["clean"] and f"All was undone, but for what others have set since: batch.slice MemoryHigh ({1 << 30})" in answer["problem"]
    found = rows(answer)
    assert (found["batch.slice MemoryHigh"]["status"], found["batch.slice MemoryHigh"]["live_after"]) == ("deferred", str(1 << 30))
    assert {found[name]["status"] for name in ("vm.swappiness", "batch.slice MemoryLow")} == {"undone"}
    assert node.text("/batch.slice memory.high") == str(1 << 30)
    assert (node.text("/batch.slice memory.low"), node.text("vm.swappiness")) == ((str(64 * MIB), "10") if back else ("0", "60"))


@pytest.mark.parametrize("systemd", [252, 257])
def test_a_value_from_before_that_our_way_reset_is_nobody_elses(tmp_path: Path, systemd: int) -> None:
    """memory.high by hand, which is the way to a limit, and which set-property resets."""
    node = Machine(tmp_path, systemd=systemd, writer=Reclaiming)
    node.set(f"{BATCH}/memory.high", str(1 << 30))
    node.write(f"{BATCH}/memory.current", f"{256 * MIB}\n")
    node.write(f"{BATCH}/memory.stat", f"inactive_file {96 * MIB}\n")
    writer = Meanwhile(node.root, systemd=systemd, hierarchy=2)
    writer.systemd = node.node.systemd
    answer = tune(node, HALF, writer=writer)
    assert answer["clean"] and "All was undone." in answer["problem"]
    assert (node.text("/batch.slice memory.high"), bound(node)) == (str(1 << 30), "max")


@pytest.mark.parametrize(("most", "high"), [("200MiB", "195MiB"), ("200MiB", "220MiB"), ("205MiB", "200MiB")])
@pytest.mark.parametrize("reclaim", [True, False])
def test_a_property_that_was_set_and_not_answered_is_nobody_elses(tmp_path: Path, most: str, high: str, reclaim: bool) -> None:
    node = machine(tmp_path, reclaim=reclaim)

    class Slow(Reclaiming):
        seen = 0

        def set_properties(self, unit: str, pairs: t.Iterable[t.Tuple[str, str]]) -> None:
            super().set_properties(unit, pairs)
            self.seen += 1
            if self.seen == 1:
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    writer = Slow(node.root, systemd=257, hierarchy=2)
    writer.systemd = node.node.systemd
    answer = tune(node, layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryMax": most, "MemoryHigh": high}}), writer=writer)
    assert answer["clean"] and "All was undone." in answer["problem"]
    assert (node.text("/batch.slice memory.high"), bound(node), node.text("vm.swappiness")) == ("max", "max", "60")
