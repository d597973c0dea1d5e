# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A tune that was killed, or cut off with the power: the next run brings the node back as it was, units too, or refuses where that would kill."""

from __future__ import annotations

import errno
import json
import os
import signal
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _boot, _journal, _tune
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.thinned import THINNED
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import GIB, MIB, MINE, Json, Machine, layer, statuses
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import Node, in_child

pytestmark = pytest.mark.usefixtures("root_user")

PENDING = "/var/lib/memqos/pending.jsonl"
BIG = "/system.slice/big.service"
BIG_UNIT = "/usr/lib/systemd/system/big.service"
BIG_DROP_IN = "/etc/systemd/system/big.service.d/zz-memqos.conf"
REDIS = "/system.slice/redis-server.service"
IDLE = "/system.slice/idle.service"
PLAIN = layer(
    host={"vm.swappiness": 10},
    slices={
        "redis-server.service": {"MemoryMax": "2G"},
        "batch.slice": {"MemoryHigh": "3G", "MemoryLow": "64M"},
        "app@.service": {"MemoryMax": "3G"},
        "idle.service": {"MemoryMax": "2G"},
    },
)
VENDOR = layer(slices={"batch.slice": {"MemoryHigh": "3G", "memory.wmark_ratio": 95}, "app@.service": {"memory.wmark_ratio": 80}})
KINDS: t.Dict[str, t.Tuple[Json, Json]] = {
    "252": ({"systemd": 252}, PLAIN),
    "257": ({"systemd": 257}, PLAIN),
    "252, v1": ({"systemd": 252, "hierarchy": 1}, PLAIN),
    "252, vendor": ({"systemd": 252, "vendor": True}, VENDOR),
    "257, vendor": ({"systemd": 257, "vendor": True}, VENDOR),
    "252, v1, vendor": ({"systemd": 252, "vendor": True, "hierarchy": 1}, VENDOR),
}


# What lies there for the next boot: kills amid laying it are test_boot's.
_LAID = (_boot.SERVICE, _boot.WANTS, os.path.dirname(_boot.WANTS), "/var/lib/memqos/undo.zip")


class Killed(Node):
    """The process ends before operation C(at), or before C(line) comes. C(apart): paths whose operations do not count."""

    at = 0
    line = ""
    apart: t.Tuple[str, ...] = ()

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if path in self.apart:
            self.operations -= 1
            return
        if self.operations == self.at or f"{what} {path}" == self.line:
            os.kill(os.getpid(), signal.SIGKILL)

    def systemctl(self, argv: t.List[str]) -> str:
        """systemd outlives the process that is killed: what it holds is kept beside the node."""
        answer = super().systemctl(argv)
        Path(f"{self.root}.systemd").write_text(json.dumps([self.systemd._held, self.systemd._loaded]), encoding="utf-8")
        return answer

    def remember(self) -> None:
        kept = Path(f"{self.root}.systemd")
        if kept.exists():
            self.systemd._held, loaded = json.loads(kept.read_text(encoding="utf-8"))
            self.systemd._loaded = {unit: [(path, str(text)) for path, text in files] for unit, files in loaded.items()}


class Case:
    """Machines of one kind, and a twin that nobody tunes."""

    def __init__(self, root: Path, more: Json) -> None:
        self.root, self.more, self.made = root, more, 0

    def machine(self) -> Machine:
        self.made += 1
        machine = Machine(self.root / str(self.made) / "node", writer=Killed, **self.more)
        t.cast("Killed", machine.node).apart = _LAID
        machine.write(BIG_UNIT, "[Service]\nExecStart=/usr/bin/big\nMemoryMax=512M\n")
        machine.start("big.service", BIG)
        return machine

    def killed(self, wanted: Json, *, at: int = 0, line: str = "") -> t.Tuple[Machine, bool]:
        """(a machine whose tune was killed there, False if it had come to its end)"""
        machine = self.machine()
        return machine, kill(machine, wanted, at=at, line=line)

    def every_kill(self, wanted: Json, *, cut: bool, first: int = 1, by: int = 1) -> t.Iterator[Machine]:
        """Killed at one operation after the other; with C(cut) the power goes, and with it what no fsync brought to disk."""
        at, was_killed = first, True
        while was_killed:
            machine, was_killed = self.killed(wanted, at=at)
            if cut:
                cut_power(machine)
            yield machine
            at += by * THINNED


def kill(machine: Machine, wanted: Json, *, at: int = 0, line: str = "") -> bool:
    node = t.cast("Killed", machine.node)
    node.operations, node.at, node.line = 0, at, line
    status = in_child(lambda: machine.tune(wanted))
    node.operations, node.at, node.line = 0, 0, ""
    assert status == signal.SIGKILL or (status == 0 and not line)
    node.remember()
    return status != 0


def cut_power(machine: Machine) -> None:
    pending = Path(machine.root + PENDING)
    if pending.exists():
        pending.write_bytes(pending.read_bytes().split(b"\n")[0] + b"\n\0\0\0\0")
    reboot(machine)


def reboot(machine: Machine) -> None:
    machine.reboot()
    machine.start("big.service", BIG)


@pytest.fixture(name="case", params=KINDS)
def fixture_case(request: pytest.FixtureRequest, tmp_path: Path) -> t.Tuple[Case, Json]:
    more, wanted = KINDS[request.param]
    return Case(tmp_path, more), wanted


def test_after_a_power_cut_the_next_run_leaves_nothing_of_ours(case: t.Tuple[Case, Json]) -> None:
    machines, wanted = case
    twin = machines.machine()
    reboot(twin)
    twin.start("idle.service", IDLE)
    before = twin.snapshot()
    for machine in machines.every_kill(wanted, cut=True, by=1 if wanted is PLAIN else 3):
        machine.start("idle.service", IDLE)
        answer = machine.tune(layer())
        assert (answer["problem"], machine.snapshot()) == ("", before)
        assert machine.text(PENDING) is None


@pytest.mark.parametrize("starts", [False, True])
def test_after_a_kill_the_next_run_leaves_nothing_of_ours(case: t.Tuple[Case, Json], starts: bool) -> None:
    """Units that started in between, or were started anew, have our values from drop-ins that go."""
    machines, wanted = case
    twin = machines.machine()
    if starts:
        start_some(twin)
    before = twin.snapshot()
    for machine in machines.every_kill(wanted, cut=False, by=2 if starts else 5):
        if starts:
            start_some(machine)
        answer = machine.tune(layer())
        assert (answer["problem"], machine.snapshot()) == ("", before)
        for unit in machine.node.systemd.running:
            assert machine.node.systemd._held[unit] == twin.node.systemd._held[unit]


def start_some(machine: Machine) -> None:
    machine.start("idle.service", IDLE)
    machine.stop("redis-server.service")
    machine.start("redis-server.service", REDIS)


@pytest.mark.parametrize("systemd", [252, 257])
def test_a_unit_started_anew_whose_run_time_drop_in_the_tune_changed(tmp_path: Path, systemd: int) -> None:
    """An earlier tune made it; it goes back to what that one wrote."""
    machines = Case(tmp_path, {"systemd": systemd})
    twin = machines.machine()
    earlier = layer(slices={"big.service": {"MemoryMax": "3G"}})
    twin.tune(earlier)
    twin.stop("big.service")
    twin.start("big.service", BIG)
    for wanted in (BIGGER, layer()):
        machine = machines.machine()
        machine.tune(earlier)
        kill(machine, wanted, line="rename /var/lib/memqos/generations/2.json")
        machine.stop("big.service")
        machine.start("big.service", BIG)
        answer = machine.tune(earlier)
        assert (answer["problem"], machine.snapshot()) == ("", twin.snapshot())


@pytest.mark.parametrize("again", ["kill", "power cut"])
def test_a_recovery_may_itself_be_interrupted(case: t.Tuple[Case, Json], again: str) -> None:
    machines, wanted = case
    twin = machines.machine()
    reboot(twin)
    before = twin.snapshot()
    line = "rename /var/lib/memqos/generations/1.json"
    at, was_killed = 1, True
    while was_killed:
        machine, unused = machines.killed(wanted, line=line)
        cut_power(machine)
        was_killed = kill(machine, layer(), at=at)
        if again == "power cut":
            cut_power(machine)
            machine.write("/proc/sys/kernel/random/boot_id", "c0a80001-0000-4000-8000-000000000003\n")
        answer = machine.tune(layer())
        assert (answer["problem"], machine.snapshot()) == ("", before)
        at += 3 * THINNED


def test_an_earlier_generation_stands(case: t.Tuple[Case, Json]) -> None:
    """What was ours before is what goes back."""
    machines, wanted = case
    earlier = layer(slices={unit: {**values, "MemoryMax": "1500M"} for unit, values in wanted["slices"].items()})
    twin = machines.machine()
    twin.tune(earlier)
    reboot(twin)
    before = twin.snapshot()
    at, was_killed = 3, True
    while was_killed:
        machine = machines.machine()
        machine.tune(earlier)
        was_killed = kill(machine, wanted, at=at)
        cut_power(machine)
        answer = machine.tune(earlier)
        if was_killed and machine.text("/var/lib/memqos/generations/2.json") is None:
            assert (answer["problem"], {*statuses(answer).values()} - {"unsupported"}) == ("", {"ok"})
            assert machine.snapshot() == before
        at += 4 * THINNED


# Where going back would kill


BIGGER = layer(slices={"big.service": {"MemoryMax": "4G"}})


def raised(tmp_path: Path, systemd: int, *, cut: bool, usage: int = GIB) -> Machine:
    """Killed when the limit of 512 MiB had become 4 GiB (or C(cut): when that was on disk), and then it is used."""
    machine, unused = Case(tmp_path, {"systemd": systemd}).killed(BIGGER, line="rename /var/lib/memqos/generations/1.json")
    if cut:
        cut_power(machine)
    assert machine.text(f"{BIG} memory.max") == str(4 * GIB)
    machine.set(f"{machine.mount}{BIG}/memory.current", str(usage))
    return machine


@pytest.mark.parametrize("systemd", [252, 257])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("action", ["tune", "rollback"])
def test_a_limit_below_usage_is_not_brought_back(tmp_path: Path, systemd: int, cut: bool, action: str) -> None:
    machine = raised(tmp_path, systemd, cut=cut)
    before = machine.snapshot(times=True)
    with pytest.raises(_tune.TuneError) as caught:
        machine.tune(layer()) if action == "tune" else machine.rollback("origin")
    assert str(caught.value) == (
        "an interrupted run has to be undone first, and nothing was written for that:\n"
        "big.service MemoryMax: 512 MiB is below its usage of 1.00 GiB: the kernel would kill its processes, or (v1) answer EBUSY. "
        "To do it all the same: memqos_allow_risks: [limit_below_usage]\n"
        f"The node stays as it is, half done. Let usage fall or stop the unit, or allow it, and run again; {PENDING} holds the values from before"
    )
    assert machine.snapshot(times=True) == before


@pytest.mark.parametrize("systemd", [252, 257])
@pytest.mark.parametrize("cut", [False, True])
def test_what_is_refused_can_be_allowed_or_goes_when_usage_has_fallen(tmp_path: Path, systemd: int, cut: bool) -> None:
    machine = raised(tmp_path, systemd, cut=cut)
    answer = machine.tune(layer(), allow=["limit_below_usage"])
    assert (answer["notes"], machine.text(f"{BIG} memory.max")) == (["an interrupted run was undone"], str(512 * MIB))
    machine = raised(tmp_path / "fallen", systemd, cut=cut, usage=256 * MIB)
    assert machine.tune(layer())["changed"]
    assert (machine.text(f"{BIG} memory.max"), machine.text(BIG_DROP_IN), machine.text(PENDING)) == (str(512 * MIB), None, None)


def test_a_limit_that_the_reload_of_252_brings_is_guarded_too(tmp_path: Path) -> None:
    """Somebody has raised it by hand since: not ours, so no step takes it back, but the reload would."""
    machine = raised(tmp_path, 252, cut=True)
    machine.set(f"{machine.mount}{BIG}/memory.max", str(6 * GIB))
    with pytest.raises(_tune.TuneError, match=r"big\.service memory\.max: .*somebody wrote it by hand, .*512 MiB is below its usage of 1.00 GiB"):
        machine.tune(layer())
    assert machine.text(f"{BIG} memory.max") == str(6 * GIB)


def test_a_limit_that_somebody_set_by_hand_stays(tmp_path: Path) -> None:
    machine = raised(tmp_path, 257, cut=True)
    machine.set(f"{machine.mount}{BIG}/memory.max", str(6 * GIB))
    assert machine.tune(layer())["notes"] == ["an interrupted run was undone"]
    assert (machine.text(f"{BIG} memory.max"), machine.text(BIG_DROP_IN)) == (str(6 * GIB), None)


@pytest.mark.parametrize("line", ["kernel /proc/sys/vm/swappiness", "command big.service"])
def test_what_systemd_257_holds_alone_goes_back_too(tmp_path: Path, line: str) -> None:
    """Somebody's daemon-reload has read our drop-in; the kernel would have its value at the next start of a unit beside it."""
    wanted = layer(host={"vm.swappiness": 10} if "swappiness" in line else {}, slices=BIGGER["slices"])
    machine, unused = Case(tmp_path, {"systemd": 257}).killed(wanted, line=line)
    machine.node.systemd.answer(["systemctl", "daemon-reload"])
    assert machine.node.systemd._held["big.service"]["MemoryMax"] == str(4 * GIB)
    assert machine.tune(layer())["notes"] == ["an interrupted run was undone"]
    assert machine.node.systemd._held["big.service"]["MemoryMax"] == str(512 * MIB)
    assert (machine.text(f"{BIG} memory.max"), machine.text(BIG_DROP_IN)) == (str(512 * MIB), None)


HIGH = layer(host={"vm.swappiness": 10}, slices={"batch.slice": {"MemoryHigh": "3G"}})
BATCH_HIGH = "/run/systemd/system.control/batch.slice.d/50-MemoryHigh.conf"
LAST_LINE = "rename /var/lib/memqos/generations/1.json"


@pytest.mark.parametrize("systemd", [252, 257])
def test_a_property_that_somebody_set_since_stays(tmp_path: Path, systemd: int) -> None:
    machine, unused = Case(tmp_path, {"systemd": systemd}).killed(HIGH, line=LAST_LINE)
    machine.node.systemd.answer(["systemctl", "set-property", "--runtime", "--", "batch.slice", f"MemoryHigh={GIB}"])
    answer = machine.tune(layer())
    assert answer["notes"] == [f"an interrupted run was undone, but for what others have set since: batch.slice MemoryHigh ({GIB})"]
    assert (machine.text("/batch.slice memory.high"), machine.text("vm.swappiness"), machine.text(PENDING)) == (str(GIB), "60", None)
    assert f"MemoryHigh={GIB}" in (machine.text(BATCH_HIGH) or "")


@pytest.mark.parametrize("systemd", [252, 257])
def test_what_somebody_wrote_past_systemd_since_stays_and_systemd_goes_back(tmp_path: Path, systemd: int) -> None:
    machine, unused = Case(tmp_path, {"systemd": systemd}).killed(HIGH, line=LAST_LINE)
    machine.set("/sys/fs/cgroup/batch.slice/memory.high", str(GIB))
    answer = machine.tune(layer())
    assert answer["notes"] == [f"an interrupted run was undone, but for what others have set since: batch.slice MemoryHigh ({GIB})"]
    assert (machine.text("/batch.slice memory.high"), machine.text("vm.swappiness"), machine.text(BATCH_HIGH)) == (str(GIB), "60", None)
    assert machine.node.systemd._held["batch.slice"].get("MemoryHigh", "infinity") == "infinity"


def test_a_property_of_two_that_somebody_set_since_stays_alone(tmp_path: Path) -> None:
    wanted = layer(slices={"batch.slice": {"MemoryHigh": "3G", "MemoryLow": "64M"}})
    machine, unused = Case(tmp_path, {"systemd": 257}).killed(wanted, line=LAST_LINE)
    machine.node.systemd.answer(["systemctl", "set-property", "--runtime", "--", "batch.slice", f"MemoryHigh={GIB}"])
    machine.tune(layer())
    assert (machine.text("/batch.slice memory.high"), machine.text("/batch.slice memory.low")) == (str(GIB), "0")
    assert machine.text(BATCH_HIGH.replace("High", "Low")) is None and machine.text(BATCH_HIGH) is not None


def test_what_was_under_way_and_somebody_set_since_stays(tmp_path: Path) -> None:
    machine, unused = Case(tmp_path, {"systemd": 257}).killed(HIGH, line="kernel /proc/sys/vm/swappiness")
    machine.set("/proc/sys/vm/swappiness", "33")
    assert machine.tune(layer())["notes"] == ["an interrupted run was undone, but for what others have set since: vm.swappiness (33)"]
    assert machine.text("vm.swappiness") == "33"


def again(machine: Machine, at: int) -> bool:
    """A recovery that is killed before its operation C(at); False if it had come to its end."""
    machine.node.operations, machine.node.at, machine.node.line = 0, at, ""  # type: ignore[attr-defined]
    status = in_child(lambda: machine.tune(layer(), only=["watermarks"]))
    machine.node.operations, machine.node.at = 0, 0  # type: ignore[attr-defined]
    t.cast("Killed", machine.node).remember()
    return status == signal.SIGKILL


@pytest.mark.parametrize("systemd", [252, 257])
@pytest.mark.parametrize("who", ["before us", "since, past systemd", "since"])
def test_what_others_wrote_outlives_a_recovery_that_is_killed(tmp_path: Path, systemd: int, who: str) -> None:
    """On the way the kernel has what systemd makes of its property: that is ours too."""
    at, was_killed = 1, True
    case = Case(tmp_path, {"systemd": systemd})
    while was_killed:
        machine = case.machine()
        if who == "before us":
            machine.set("/sys/fs/cgroup/batch.slice/memory.high", str(GIB))
        kill(machine, HIGH, line=LAST_LINE)
        if who == "since, past systemd":
            machine.set("/sys/fs/cgroup/batch.slice/memory.high", str(GIB))
        elif who == "since":
            machine.node.systemd.answer(["systemctl", "set-property", "--runtime", "--", "batch.slice", f"MemoryHigh={GIB}"])
        was_killed = again(machine, at)
        kept = "" if who == "before us" else f", but for what others have set since: batch.slice MemoryHigh ({GIB})"
        expected = [f"an interrupted run was undone{kept}"] if machine.text(PENDING) else []
        assert machine.tune(layer(), only=["watermarks"])["notes"] == expected, at
        assert (machine.text("/batch.slice memory.high"), machine.text("vm.swappiness"), machine.text(PENDING)) == (str(GIB), "60", None), at
        assert (machine.text(BATCH_HIGH) is None) is (who != "since"), at
        at += 3 * THINNED


def kill_rollback(machine: Machine, line: str) -> None:
    machine.node.operations, machine.node.line = 0, line  # type: ignore[attr-defined]
    assert in_child(lambda: machine.rollback("origin")) == signal.SIGKILL
    machine.node.line = ""  # type: ignore[attr-defined]
    t.cast("Killed", machine.node).remember()


@pytest.mark.parametrize("systemd", [252, 257])
@pytest.mark.parametrize("by_systemd", [False, True])
def test_what_somebody_set_since_a_rollback_was_killed_stays(tmp_path: Path, systemd: int, by_systemd: bool) -> None:
    machine = Case(tmp_path, {"systemd": systemd}).machine()
    assert machine.tune(HIGH)["problem"] == ""
    kill_rollback(machine, "rename /var/lib/memqos/generations/2.json")
    if by_systemd:
        machine.node.systemd.answer(["systemctl", "set-property", "--runtime", "--", "batch.slice", f"MemoryHigh={GIB}"])
    else:
        machine.set("/sys/fs/cgroup/batch.slice/memory.high", str(GIB))
    answer = machine.tune(layer(), only=["watermarks"])
    assert answer["notes"] == [f"an interrupted run was undone, but for what others have set since: batch.slice MemoryHigh ({GIB})"]
    assert (machine.text("/batch.slice memory.high"), machine.text("vm.swappiness"), machine.text(PENDING)) == (str(GIB), "10", None)
    assert f"MemoryHigh={GIB if by_systemd else 3 * GIB}" in (machine.text(BATCH_HIGH) or "")


@pytest.mark.parametrize("systemd", [252, 257])
def test_a_run_time_drop_in_of_our_own_way_back_is_nobody_elses(tmp_path: Path, systemd: int) -> None:
    machine = Case(tmp_path, {"systemd": systemd}).machine()
    machine.tune(HIGH)
    kill_rollback(machine, f"remove {BATCH_HIGH}")
    assert machine.tune(layer(), only=["watermarks"])["notes"] == ["an interrupted run was undone"]
    assert (machine.text("/batch.slice memory.high"), machine.text(BATCH_HIGH)) == (str(3 * GIB), f"[Slice]\nMemoryHigh={3 * GIB}")


@pytest.mark.parametrize("systemd", [252, 257])
def test_what_somebody_told_systemd_stays_where_a_reload_has_outranked_it(tmp_path: Path, systemd: int) -> None:
    """Up to 252 a reload brings our persistent value into the kernel, which outranks what is set at run time."""
    machine, unused = Case(tmp_path, {"systemd": systemd}).killed(HIGH, line=LAST_LINE)
    machine.node.systemd.answer(["systemctl", "set-property", "--runtime", "--", "batch.slice", f"MemoryHigh={GIB}"])
    machine.node.systemd.answer(["systemctl", "daemon-reload"])
    answer = machine.tune(layer())
    assert answer["notes"] == [f"an interrupted run was undone, but for what others have set since: batch.slice MemoryHigh ({GIB})"]
    assert (machine.text("/batch.slice memory.high"), machine.text("vm.swappiness")) == (str(GIB), "60")
    assert f"MemoryHigh={GIB}" in (machine.text(BATCH_HIGH) or "")


@pytest.mark.parametrize("systemd", [252, 257])
@pytest.mark.parametrize("reload", [False, True])
def test_what_somebody_told_systemd_by_another_file_stays(tmp_path: Path, systemd: int, reload: bool) -> None:
    """A set-property that lasts, or one of a percentage: ours goes. Before a reload, which has our persistent value count again."""
    machine, unused = Case(tmp_path, {"systemd": systemd}).killed(HIGH, line=LAST_LINE)
    machine.write("/etc/systemd/system.control/batch.slice.d/50-MemoryHigh.conf", f"[Slice]\nMemoryHigh={GIB}\n")
    machine.node.systemd._held["batch.slice"]["MemoryHigh"] = str(3 * GIB if reload else GIB)
    machine.set("/sys/fs/cgroup/batch.slice/memory.high", str(GIB))
    answer = machine.tune(layer())
    assert answer["notes"] == [f"an interrupted run was undone, but for what others have set since: batch.slice MemoryHigh ({GIB})"]
    assert (machine.text("/batch.slice memory.high"), machine.text(BATCH_HIGH), machine.text(PENDING)) == (str(GIB), None, None)


def test_a_limit_of_others_that_usage_has_outgrown_is_not_written(tmp_path: Path) -> None:
    """It stands in their file alone: the kernel has ours, as ours outranks it."""
    machine = raised(tmp_path, 257, cut=False, usage=256 * MIB)
    for words in (["set-property", "--runtime", "--", "big.service", f"MemoryMax={GIB}"], ["daemon-reload"],
                  ["set-property", "--runtime", "--", "big.service", "MemoryLow=1M"], ["daemon-reload"]):  # fmt: skip
        machine.node.systemd.answer(["systemctl", *words])
    machine.set(f"{machine.mount}{BIG}/memory.current", str(2 * GIB))
    with pytest.raises(_tune.TuneError, match=r"is below its usage of 2\.00 GiB"):
        machine.tune(layer())
    assert machine.text(f"{BIG} memory.max") == str(4 * GIB) and machine.text(PENDING)


@pytest.mark.parametrize("by_systemd", [False, True])
def test_what_somebody_sets_between_two_recoveries_is_the_value_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_systemd: bool) -> None:
    machine, unused = Case(tmp_path, {"systemd": 257}).killed(HIGH, line=LAST_LINE)

    def put(value: int) -> None:
        if by_systemd:
            machine.node.systemd.answer(["systemctl", "set-property", "--runtime", "--", "batch.slice", f"MemoryHigh={value}"])
        else:
            machine.set("/sys/fs/cgroup/batch.slice/memory.high", str(value))

    def failing(path: str, text: str, inode: int = 0) -> None:
        if path.endswith("swappiness"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write(path, text, inode)

    write = machine.node.kernel_write
    put(GIB)
    with monkeypatch.context() as patched:
        patched.setattr(machine.node, "kernel_write", failing)
        with pytest.raises(_tune.TuneError, match="Not undone: /proc/sys/vm/swappiness"):
            machine.tune(layer())
    put(2 * GIB)
    assert machine.tune(layer())["notes"] == [f"an interrupted run was undone, but for what others have set since: batch.slice MemoryHigh ({2 * GIB})"]
    assert (machine.text("/batch.slice memory.high"), machine.text("vm.swappiness")) == (str(2 * GIB), "60")


def test_a_file_that_our_own_reload_reset_goes_back_to_the_last_tune(tmp_path: Path) -> None:
    """252 resets what is written past it; that is nobody else's."""
    machine = Case(tmp_path, {"systemd": 252}).machine()
    assert machine.tune(layer(slices={"batch.slice": {"memory.high": "3G"}}))["problem"] == ""
    wanted = layer(slices={"batch.slice": {"memory.high": "2G"}, "redis-server.service": {"MemoryMax": "2G"}})
    kill(machine, wanted, line="kernel /sys/fs/cgroup/batch.slice/memory.high")
    assert machine.text("/batch.slice memory.high") == "max"
    assert machine.tune(layer(), only=["watermarks"])["notes"] == ["an interrupted run was undone"]
    assert machine.text("/batch.slice memory.high") == str(3 * GIB)


@pytest.mark.parametrize("systemd", [252, 257])
def test_what_was_kept_is_not_written_below_usage_either(tmp_path: Path, systemd: int) -> None:
    """A recovery that was cut off had systemd write over it, and usage has grown since."""
    wanted = layer(slices={"batch.slice": {"MemoryMax": "4G"}})
    machine, unused = Case(tmp_path, {"systemd": systemd}).killed(wanted, line=LAST_LINE)
    machine.set("/sys/fs/cgroup/batch.slice/memory.max", str(GIB))
    machine.node.operations, machine.node.line = 0, "remove /run/systemd/system.control/batch.slice.d/50-MemoryMax.conf"  # type: ignore[attr-defined]
    assert in_child(lambda: machine.tune(layer(), only=["watermarks"])) == signal.SIGKILL
    machine.node.line = ""  # type: ignore[attr-defined]
    t.cast("Killed", machine.node).remember()
    machine.set("/sys/fs/cgroup/batch.slice/memory.current", str(2 * GIB))
    with pytest.raises(_tune.TuneError, match=r"batch\.slice memory\.max: 1\.00 GiB is below its usage of 2\.00 GiB"):
        machine.tune(layer(), only=["watermarks"])
    assert machine.text("/batch.slice memory.max") == "max"
    machine.set("/sys/fs/cgroup/batch.slice/memory.current", str(MIB))
    assert machine.tune(layer(), only=["watermarks"])["problem"] == "" and machine.text("/batch.slice memory.max") == str(GIB)


@pytest.mark.parametrize("systemd", [252, 257])
def test_words_of_another_step_of_the_same_unit_are_ours(tmp_path: Path, systemd: int) -> None:
    """A recovery has two, of what the run set and of what the unit took when it started anew."""
    at, was_killed, case = 1, True, Case(tmp_path, {"systemd": systemd})
    unit = "redis-server.service"
    while was_killed:
        machine = case.machine()
        machine.tune(layer(slices={unit: {"MemoryMax": "3G"}}))
        machine.node.systemd.answer(["systemctl", "set-property", "--runtime", "--", unit, f"MemoryMax={GIB}"])
        kill(machine, layer(slices={unit: {"MemoryMax": "4G"}}), line="rename /var/lib/memqos/generations/2.json")
        machine.stop(unit)
        machine.start(unit, REDIS)
        was_killed = again(machine, at)
        machine.tune(layer(), only=["watermarks"])
        run_time = machine.text(f"/run/systemd/system.control/{unit}.d/50-MemoryMax.conf")
        assert f"MemoryMax={GIB}" in (run_time or "") and machine.text(PENDING) is None, at
        at += 2 * THINNED


def test_a_percentage_in_a_run_time_drop_in_is_somebodys_too(tmp_path: Path) -> None:
    machine, unused = Case(tmp_path, {"systemd": 252}).killed(HIGH, line=LAST_LINE)
    machine.write(BATCH_HIGH, "[Slice]\nMemoryHigh=20%\n")
    assert machine.tune(layer())["notes"] == ["an interrupted run was undone, but for what others have set since: batch.slice MemoryHigh (20%)"]
    assert machine.text(BATCH_HIGH) == "[Slice]\nMemoryHigh=20%" and machine.text("vm.swappiness") == "60"


@pytest.mark.parametrize("systemd", [252, 257])
def test_what_somebody_told_systemd_stays_where_the_unit_has_started_anew(tmp_path: Path, systemd: int) -> None:
    wanted = layer(host={"vm.swappiness": 10}, slices={"redis-server.service": {"MemoryMax": "2G"}})
    machine, unused = Case(tmp_path, {"systemd": systemd}).killed(wanted, line=LAST_LINE)
    machine.node.systemd.answer(["systemctl", "set-property", "--runtime", "--", "redis-server.service", f"MemoryMax={GIB}"])
    machine.stop("redis-server.service")
    machine.start("redis-server.service", REDIS)
    answer = machine.tune(layer())
    assert answer["notes"] == [f"an interrupted run was undone, but for what others have set since: redis-server.service MemoryMax ({GIB})"]
    run_time = machine.text("/run/systemd/system.control/redis-server.service.d/50-MemoryMax.conf")
    assert machine.text(f"{REDIS} memory.max") == str(GIB) and f"MemoryMax={GIB}" in (run_time or "")


def test_a_run_time_drop_in_that_cannot_be_read_stops_it_in_time(tmp_path: Path) -> None:
    machine = raised(tmp_path, 257, cut=True, usage=256 * MIB)
    os.makedirs(f"{machine.root}/run/systemd/system.control/big.service.d")
    os.symlink("/dev/null", f"{machine.root}/run/systemd/system.control/big.service.d/50-MemoryMax.conf")
    before = machine.snapshot(times=True)
    with pytest.raises((_tune.TuneError, _journal.JournalError), match=r"50-MemoryMax\.conf"):
        machine.tune(layer())
    assert machine.snapshot(times=True) == before


@pytest.mark.parametrize("systemd", [252, 257])
def test_a_unit_that_started_in_between_is_guarded_too(tmp_path: Path, systemd: int) -> None:
    machine, unused = Case(tmp_path / "idle", {"systemd": systemd}).killed(
        layer(host={"vm.swappiness": 10}, slices={"idle.service": {"MemoryMax": "2G"}}), line="kernel /proc/sys/vm/swappiness"
    )
    assert machine.text("/etc/systemd/system/idle.service.d/zz-memqos.conf") is not None
    machine.write("/usr/lib/systemd/system/idle.service", "[Service]\nExecStart=/usr/bin/idle\nMemoryMax=128M\n")
    machine.start("idle.service", IDLE)
    machine.set(f"{machine.mount}{IDLE}/memory.current", str(GIB))
    with pytest.raises(_tune.TuneError, match=r"idle\.service MemoryMax: 128 MiB is below its usage of 1.00 GiB"):
        machine.tune(layer())
    assert (machine.text(f"{IDLE} memory.max"), machine.text("vm.swappiness")) == (str(2 * GIB), "60")


def test_a_cgroup_made_anew_is_not_held_against_what_the_old_one_had(tmp_path: Path) -> None:
    """Nothing is written there, so nothing is refused."""
    machines = Case(tmp_path, {"hierarchy": 1, "systemd": 252, "vendor": True})
    machine = machines.machine()
    machine.set(f"{machine.mount}{REDIS}/memory.high", str(512 * MIB))
    kill(machine, layer(slices={"redis-server.service": {"MemoryHigh": "1G"}}), line="rename /var/lib/memqos/generations/1.json")
    assert machine.text(f"{REDIS} memory.high") == str(GIB)
    machine.stop("redis-server.service")
    machine.start("redis-server.service", REDIS)
    machine.set(f"{machine.mount}{REDIS}/memory.usage_in_bytes", str(GIB))
    assert machine.tune(layer())["notes"] == ["an interrupted run was undone"]
    assert machine.text(f"{REDIS} memory.high") == "max"


def test_nothing_is_undone_while_systemd_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = raised(tmp_path, 257, cut=True, usage=256 * MIB)

    def silent(name: str, argv: t.Sequence[str], *, timeout: float = 30.0) -> str:
        raise Unreadable(argv[0], "error", "no answer within 30 s")

    before = machine.snapshot()
    with monkeypatch.context() as context:
        context.setattr(machine.tree, "output", silent)
        with pytest.raises(_tune.TuneError, match="no answer within 30 s"):
            machine.tune(layer())
    assert machine.snapshot() == before
    assert machine.tune(layer())["notes"] == ["an interrupted run was undone"]
    assert machine.text(f"{BIG} memory.max") == str(512 * MIB)


# Whose files they are


@pytest.mark.parametrize("systemd", [252, 257])
def test_a_check_takes_files_of_an_interrupted_run_for_ours(tmp_path: Path, systemd: int) -> None:
    more = layer(slices={"big.service": {"MemoryMax": "4G"}, "batch.slice": {"MemoryHigh": "3G"}})
    machine, unused = Case(tmp_path, {"systemd": systemd}).killed(BIGGER, line="command daemon-reload")
    checked = machine.tune(more, check=True)
    assert checked["notes"] == ["an interrupted run left a transaction half done: a run without --check undoes it first"]
    assert set(statuses(checked)) == {"big.service MemoryMax", "batch.slice MemoryHigh"}
    assert machine.tune(more)["notes"] == ["an interrupted run was undone"]


def test_files_of_others_are_told_beside_ours(tmp_path: Path) -> None:
    machine, unused = Case(tmp_path, {"systemd": 257}).killed(BIGGER, line="command daemon-reload")
    machine.write("/etc/systemd/system/app@1.service.d/site.conf", "[Service]\nMemoryHigh=1G\n")
    note = "somebody changed files of app@1.service without a daemon-reload: this run's makes them count"
    assert note in machine.tune(BIGGER, layer(slices={"batch.slice": {"MemoryHigh": "3G"}}), check=True)["notes"]


def test_an_edit_of_our_file_stays_when_an_interrupted_run_is_undone(tmp_path: Path) -> None:
    """Only what is ours goes; of a drop-in that somebody has edited units keep what it gives."""
    machine, unused = Case(tmp_path, {"systemd": 257}).killed(BIGGER, line="rename /var/lib/memqos/generations/1.json")
    machine.write(BIG_DROP_IN, "[Service]\nMemoryMax=3G\n")
    cut_power(machine)
    assert machine.tune(layer())["problem"] == ""
    assert machine.text(f"{BIG} memory.max") == str(3 * GIB)
    assert machine.text(BIG_DROP_IN) == "[Service]\nMemoryMax=3G"
    assert machine.text(MINE) is None
