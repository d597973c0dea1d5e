# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The chaos programs' own parts: what a seed draws, and that the rule sees what is wrong with a run, by states that are made up."""

from __future__ import annotations

import copy
import io
import re
import subprocess
import sys
import typing as t
import zipfile
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles
from ansible_collections.memqos.fleet.tests.lab.chaos import __main__ as chaos
from ansible_collections.memqos.fleet.tests.lab.chaos import contention, draw, driver, guest, loads, reading, rule, table, traced
from ansible_collections.memqos.fleet.tests.lab.machines import MACHINES

Json = dict[str, t.Any]
SWAPPINESS, CLUSTER, FILE = "/proc/sys/vm/swappiness", "/proc/sys/vm/page-cluster", "/etc/sysctl.d/zz-memqos.conf"
NOTHING = {SWAPPINESS: "60", CLUSTER: "3"}
ALL = {SWAPPINESS: "10", CLUSTER: "2", FILE: ["vm.swappiness = 10\nvm.page-cluster = 2\n", 0o644, 0, 0]}
HALF = {**NOTHING, SWAPPINESS: "10"}
WANTED = {SWAPPINESS: "10", CLUSTER: "2"}
FILES = {"vm.swappiness": SWAPPINESS, "vm.page-cluster": CLUSTER}


def rows(state: Json, status: str) -> list[Json]:
    return [{"name": name, "subject": "", "status": status, "wanted": WANTED[path], "live_after": state[path]} for name, path in FILES.items()]


def said(state: Json, status: str = "changed", *, generation: int = 1, problem: str = "", clean: bool = True) -> Json:
    answer = {"problem": problem, "changed": generation > 0, "clean": clean, "generation": generation, "results": rows(state, status)}
    return {"answer": answer}


def account(came: str) -> Json:
    """Of a run that went as it should: cut off with nothing done, cut off behind its commit, done, undone."""
    done = came in ("all", "done")
    ended = {"nothing": {}, "all": {}, "done": said(ALL), "undone": said(NOTHING, "undone", generation=0, problem="x: EIO. All was undone.")}[came]
    found: Json = {
        "before": NOTHING, "origin": NOTHING, "faulted": ALL if done else HALF if came == "nothing" else NOTHING, "mended": ALL if done else NOTHING,
        "ended": ended, "repeated": said(ALL, "ok", generation=0) if done else said(ALL), "again": ALL, "back": {**said(NOTHING), "generation": 2},
        "end": NOTHING, "wanted": WANTED, "files": FILES, "foreign": {}, "kills": [], "leftovers": [], "loose": [], "refusable": False, "booted": False,
        "over": False,
        "standing": {**WANTED, FILE: ALL[FILE][0]} if done else {},
    }  # fmt: skip
    return copy.deepcopy(found)


# The rule


@pytest.mark.parametrize("came", ["nothing", "all", "done", "undone"])
def test_what_went_well_is_well(came: str) -> None:
    assert rule.judge(account(came)) == []


def test_what_nobody_confirmed_is_taken_back() -> None:
    taken = {**account("nothing"), "over": True, "ended": said(ALL), "faulted": ALL}
    assert rule.judge(taken) == [] and rule.came(taken) == "done, then taken back"
    for state in (ALL, HALF):
        assert any("its time to be confirmed was over" in problem for problem in rule.judge({**taken, "mended": state}))


def test_a_second_run_may_be_first_or_turned_away() -> None:
    assert rule.judge({**account("done"), "second": {"error": "lock: another run is writing: from chaos, process 7"}}) == []
    assert rule.judge({**account("done"), "ended": said(ALL, "ok", generation=0), "second": said(ALL)}) == []


def _other(state: Json, path: str, value: t.Any) -> Json:
    return {**state, path: value}


# what it is, of which run, what is other, a word of the problem
WRONG: list[tuple[str, str, dict[str, t.Any], str]] = [
    ("half of it stands, and the next run does the rest", "nothing", {"mended": HALF}, "half done"),
    ("the file stands without the values", "nothing", {"mended": _other(NOTHING, FILE, ALL[FILE])}, "half done"),
    ("a value that nobody wrote", "nothing", {"mended": _other(NOTHING, CLUSTER, "7")}, "half done"),
    ("all stands, and a mode is another", "all", {"again": _other(ALL, FILE, [ALL[FILE][0], 0o600, 0, 0]), "repeated": said(ALL)}, "half done"),
    ("the next run changes what was committed", "all", {"repeated": said(ALL)}, "changed, and nothing is"),
    ("the next run fails", "nothing", {"repeated": said(NOTHING, "failed", generation=0, problem="no")}, "the next run failed: no"),
    ("the next run crashes", "nothing", {"repeated": {"crash": "KeyError"}}, "the next run failed: KeyError"),
    ("the next run is killed", "nothing", {"repeated": {}}, "ended without an answer"),
    ("the next run says that it did it, and a value is another", "nothing", {"again": _other(ALL, CLUSTER, "3")}, f"{CLUSTER} reads 3, not 2"),
    ("a row says what the kernel does not", "nothing", {"repeated": said(_other(ALL, SWAPPINESS, "11"))}, "it says changed, 11"),
    ("done, and it did not stay", "done", {"mended": _other(ALL, CLUSTER, "3"), "again": _other(ALL, CLUSTER, "3")}, "did not stay"),
    ("done, and a row says another value", "done", {"ended": said(_other(ALL, CLUSTER, "1"))}, "it says changed, 1"),
    ("undone, and a value stayed", "undone", {"faulted": HALF}, "the node is changed"),
    ("undone, and a file stayed", "undone", {"faulted": _other(NOTHING, FILE, ALL[FILE])}, "the node is changed"),
    ("refused, and a value is another", "undone", {"ended": {"error": "nothing was written"}, "faulted": HALF}, "the node is changed"),
    ("nothing to do, and a value is another", "undone", {"ended": said(NOTHING, generation=0), "faulted": HALF}, "the node is changed"),
    ("a second run says nothing of the first", "done", {"second": {"error": "nothing was written"}}, "says nothing of the first"),
    ("a second run crashes", "done", {"second": {"crash": "KeyError"}}, "says nothing of the first"),
    ("half of it beside somebody else's value", "nothing", {"mended": HALF, "foreign": {CLUSTER: "4"}}, "half done"),
    ("the journal has a generation that is not there", "nothing", {"standing": WANTED}, "and by the journal 10"),
    ("the journal has a file that is not there", "nothing", {"standing": {FILE: "vm.swappiness = 10"}}, "and by the journal"),
    ("it crashed", "undone", {"ended": {"crash": "KeyError: 'x'"}}, "it crashed: KeyError"),
    ("half undone, and it does not say of what", "undone", {"ended": said(HALF, "failed", generation=0, problem="EIO", clean=False)}, "EIO"),
    ("what was armed stays, and the disk is well", "undone",
     {"ended": {"answer": {**said(NOTHING, "undone", generation=0, problem="x: EIO. All was undone.")["answer"], "left_armed": "no"}},
      "run": {"fault": {"kind": "errno"}}}, "could not be given up: no"),
    ("killed for want of memory", "nothing", {"kills": ["node 1 more"]}, "killed for want of memory"),
    ("a transaction is left over", "nothing", {"leftovers": ["/var/lib/memqos/pending.jsonl"]}, "left over"),
    ("the origin is not reached", "done", {"end": HALF}, "after the rollback to the origin"),
    ("the rollback leaves what lies ready for the boot", "done", {"end": _other(NOTHING, rule.LAID[0], ["", 0o644, 0, 0])}, "after the rollback to the origin"),
    ("the rollback fails", "done", {"back": {"error": "no", "generation": 0}}, "the rollback to the origin failed: no"),
]  # fmt: skip


@pytest.mark.parametrize("came, other, words", [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_went_wrong_is_seen(came: str, other: Json, words: str) -> None:
    problems = rule.judge({**account(came), **other})
    assert any(words in problem for problem in problems), problems


def test_what_others_wrote_may_stand() -> None:
    foreign = {SWAPPINESS: "41"}
    theirs = _other(NOTHING, SWAPPINESS, "41")
    good = {**account("undone"), "foreign": foreign, "faulted": theirs, "mended": theirs, "end": theirs}
    assert rule.judge(good) == []
    # Their value, and no other of that file; and nothing of another file.
    for state in (_other(NOTHING, SWAPPINESS, "42"), _other(theirs, CLUSTER, "2")):
        assert rule.judge({**good, "faulted": state}) != []


@pytest.mark.parametrize(("struck", "seen"), [("append pending.jsonl", True), (f"kernel {SWAPPINESS}", False), ("", False)])
def test_what_others_wrote_amid_a_run_that_is_undone_has_to_stand(struck: str, seen: bool) -> None:
    """Unless it is our own write that follows at once, or nothing was written."""
    undone = {**account("undone"), "foreign": {SWAPPINESS: "41"}, "run": {"fault": {"kind": "sysctl"}}}
    undone["ended"]["struck"] = struck
    assert any("what somebody wrote meanwhile is gone" in problem for problem in rule.judge(undone)) is seen
    theirs = _other(NOTHING, SWAPPINESS, "41")
    assert rule.judge({**undone, "faulted": theirs, "mended": theirs, "end": theirs}) == []


def test_a_plan_that_may_be_refused_is_all_or_nothing_all_the_same() -> None:
    refused = {**account("undone"), "refusable": True, "repeated": {"error": "nothing was written: below its usage"}, "again": NOTHING}
    refused["back"] = {"error": "there is nothing to roll back: memqos.fleet has never changed this node", "generation": 0}
    assert rule.judge(refused) == []
    assert rule.judge({**refused, "refusable": False}) != []
    assert rule.judge({**refused, "end": HALF}) != []


@pytest.mark.parametrize("one, other, equal", [
    ("madvise", "always [madvise] never", True), ("never", "always [madvise] never", False), ("infinity", "max", True), ("256 256", "256\t256", True),
    ("Y", "1", True), ("10", "100", False),
])  # fmt: skip
def test_values_are_compared_as_the_kernel_shows_them(one: str, other: str, equal: bool) -> None:
    assert rule.same(one, other) is equal


# What is drawn

SEEDS = range(1000)
RUNS = {name: [draw.run(seed, name) for seed in SEEDS] for name in table.MACHINES}


def test_a_seed_draws_the_same_run_again() -> None:
    for name, runs in RUNS.items():
        assert runs[:50] == [draw.run(seed, name) for seed in range(50)]
    assert len({str(run) for runs in RUNS.values() for run in runs}) == 3000


def test_all_kinds_are_drawn_as_often_as_they_should_be() -> None:
    for runs in RUNS.values():
        kinds = [run["fault"]["kind"] for run in runs]
        for kind, share in table.FAULTS.items():
            assert 0.6 * share < 100 * kinds.count(kind) / len(runs) < 1.6 * share
        held = [run["load"] for run in runs if run["load"]]
        assert (
            0.7 * table.LOAD_SHARE < len(held) / len(runs) < 1.3 * table.LOAD_SHARE
            and {load["kind"] for load in held} == set(table.LOADS)
            and {load["swap"] for load in held} == {True, False}
        )
        assert {load["below"] for load in held} == {True, False}
        assert 0.6 * table.CONFIRM_SHARE / 2 < sum(bool(run["confirm"]) for run in runs) / len(runs) < 1.3 * table.CONFIRM_SHARE
        assert {run["confirm"] for run in runs} == {"", "confirmed", "over"}
        swaps = [run for run in runs if "swap" in run["plan"]]
        assert 0.6 * table.SWAP_SHARE < len(swaps) / len(runs) < 1.3 * table.SWAP_SHARE and any("swap" in (run["earlier"] or {}) for run in swaps)
        assert {run["action"] for run in runs} == {"tune", "rollback"} and sum(run["again"] is not None for run in runs) > 50


def test_every_value_is_one_that_a_profile_may_have() -> None:
    for name, runs in RUNS.items():
        for run in runs[:200]:
            for values in filter(None, (run["plan"], run["earlier"])):
                swap = {"file": values["swap"]} if "swap" in values else {}
                layers = _profiles.load_profiles([], search_paths=[], overrides={"host": values["host"], "slices": values["slices"], "swap": swap}).layers
                assert len(layers) == 1 and name in table.MACHINES
                assert layers[0].get("swap", {}) == driver._layers(values)[0].get("swap", {})


def test_a_human_writes_values_that_no_plan_has() -> None:
    plans = {name: values for row in table.HOST for name, values in row.items()}
    for name, value in table.BY_HAND.items():
        assert value not in plans.get(name, ()) and not _registry.find(name).partners
    ours = {(name, value) for host, unused in table.CONTROLLERS.values() for name, value in host.items()}
    assert not ours & {(name, value) for name, values in table.HUMANS.items() for value in values}


def test_a_bound_lies_below_what_a_load_uses_or_far_above() -> None:
    for runs in RUNS.values():
        for run in (run for run in runs if run["load"]):
            (bound,) = run["plan"]["slices"][table.LOADED].values()
            assert bound < run["load"]["mib"] * table.MIB * 0.71 if run["load"]["below"] else bound >= (run["load"]["mib"] + 300) * table.MIB


def test_the_machines_are_the_labs() -> None:
    names = {machine.name for machine in MACHINES}
    assert {*table.MACHINES, table.CONTROLLER_MACHINE, *table.V1} <= names
    (row,) = (machine for machine in MACHINES if machine.name == table.CONTROLLER_MACHINE)
    assert {"tuned", "strace"} <= set(row.packages)


@pytest.mark.parametrize("runs", [3, 10, 1000])
def test_runs_are_divided_among_the_machines(runs: int) -> None:
    options = chaos._options(["--runs", str(runs), "--seed", "0"])
    shares = [chaos._drawn(name, 0, options, at, 3) for at, name in enumerate(table.MACHINES)]
    assert sum(map(len, shares)) == runs
    assert all([run for part in chaos._parts(share) for run in part] == share for share in shares)
    resets = [[run for run in share if run["fault"]["kind"] == "reset"] for share in shares]
    assert runs < 1000 or all(2 <= len(some) <= 4 for some in resets)
    alone = chaos._drawn(table.MACHINES[2], 7, chaos._options(["--runs", "1", "--seed", "7"]), 0, 1)
    assert alone == [draw.run(7, table.MACHINES[2])]


def test_one_fault_alone() -> None:
    options = chaos._options(["--runs", "5", "--fault", "full"])
    assert {run["fault"]["kind"] for run in chaos._drawn("debian13_v2", 0, options, 0, 1)} == {"full"}


# What is sent


def test_what_is_sent_imports_by_itself(tmp_path: Path) -> None:
    packet = guest.packed()
    assert not any("/plugin_utils/" in name for name in zipfile.ZipFile(io.BytesIO(packet)).namelist())
    (tmp_path / "sent.zip").write_bytes(packet)
    words = "from ansible_collections.memqos.fleet.tests.lab.chaos import contend, driver; print(driver.__file__)"
    done = subprocess.run([sys.executable, "-B", "-c", words], env={"PYTHONPATH": str(tmp_path / "sent.zip")}, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode().startswith(str(tmp_path / "sent.zip"))


def test_the_reading_sees_a_change_of_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unit.d").mkdir()
    (tmp_path / "a.conf").write_text("a", encoding="utf-8")
    monkeypatch.setattr(reading, "DIRECTORIES", (str(tmp_path),))
    before = reading.read((), ())
    changes: list[t.Callable[[], object]] = [
        lambda: (tmp_path / "a.conf").write_text("b", encoding="utf-8"), lambda: (tmp_path / "a.conf").chmod(0o600), lambda: (tmp_path / "unit.d").chmod(0o700),
        (tmp_path / "unit.d").rmdir, lambda: (tmp_path / "c").symlink_to("a.conf"), (tmp_path / "c").unlink,
    ]  # fmt: skip
    for change in changes:
        change()
        after = reading.read((), ())
        assert rule.differences(before, after, foreign={})
        before = after


def test_a_load_is_ready_when_it_holds_what_it_begins_with(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("", encoding="utf-8")
    adjust = Path("/proc/self/oom_score_adj").read_text(encoding="ascii")
    child = loads.start("holder", 256, str(tmp_path))
    try:
        held = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{child}/status").read_text(encoding="ascii"))
        assert held and int(held[1]) >= 256 << 10
        assert (tmp_path / "cgroup.procs").read_text(encoding="utf-8") == str(child)
    finally:
        loads.end(child)
    assert Path("/proc/self/oom_score_adj").read_text(encoding="ascii") == adjust


def test_each_fault_strikes_once_and_a_dead_disk_stays_dead() -> None:
    noted: list[str] = []
    errno_at = driver.Struck({"kind": "errno", "at": 2, "errno": 5}, noted.append)
    errno_at.operation("append", "/a")
    with pytest.raises(OSError, match="Input/output error"):
        errno_at.operation("append", "/b")
    errno_at.operation("append", "/c")
    dead = driver.Struck({"kind": "dead", "at": 1, "errno": 28}, noted.append)
    for unused in range(2):
        with pytest.raises(OSError, match="No space left"):
            dead.operation("sync", "/d")
    assert noted == ["2 append /b", "1 sync /d", "2 sync /d"]


# Contention


def test_controllers_are_drawn_in_pairs() -> None:
    runs = [contention.drawn(seed) for seed in range(300)]
    assert runs[0] == contention.drawn(0) and {run["first"] for run in runs} == {f"{name}-{wait}" for name in table.CONTROLLERS for wait in table.WAITS}


TRACE = """\
100 openat(AT_FDCWD</root>, "/usr/lib/python3.11/os.py", O_RDONLY|O_CLOEXEC) = 3</usr/lib/python3.11/os.py>
100 openat(5</etc/sysctl.d>, ".zz-memqos.conf.memqos", O_WRONLY|O_CREAT|O_EXCL|O_NOFOLLOW|O_CLOEXEC, 0600) = 6</etc/sysctl.d/.zz-memqos.conf.memqos>
100 fchmod(6</etc/sysctl.d/.zz-memqos.conf.memqos>, 0644) = 0
100 renameat(5</etc/sysctl.d>, ".zz-memqos.conf.memqos", 5</etc/sysctl.d>, "zz-memqos.conf") = 0
100 openat(4</proc/sys/vm>, "swappiness", O_WRONLY|O_TRUNC|O_NOFOLLOW|O_CLOEXEC <unfinished ...>
100 unlinkat(4</var/lib/memqos>, "pending.jsonl", 0) = 0
100 fchmodat(4</var/lib>, "memqos", 0700) = 0
101 openat(AT_FDCWD</>, "/dev/null", O_RDWR|O_CLOEXEC) = 3</dev/null<char 1:3>>
100 mkdir("/tmp/ansible_memqos.fleet.memory_tune_payload_x1", 0700) = 0
100 openat(AT_FDCWD</root>, "/tmp/ansible_memqos.fleet.memory_tune_payload_x1/a.zip", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 3</tmp/x>
"""


def test_a_trace_of_a_tune_has_what_it_changes_and_nothing_else() -> None:
    found = traced.changes(TRACE)
    assert [str(change) for change in found] == [
        "openat /etc/sysctl.d/.zz-memqos.conf.memqos", "fchmod /etc/sysctl.d/.zz-memqos.conf.memqos", "renameat /etc/sysctl.d/.zz-memqos.conf.memqos",
        "renameat /etc/sysctl.d/zz-memqos.conf", "openat /proc/sys/vm/swappiness", "unlinkat /var/lib/memqos/pending.jsonl", "fchmodat /var/lib/memqos",
        "openat /dev/null", "mkdir /tmp/ansible_memqos.fleet.memory_tune_payload_x1", "openat /tmp/ansible_memqos.fleet.memory_tune_payload_x1/a.zip",
    ]  # fmt: skip
    assert traced.elsewhere(found, [SWAPPINESS]) == []
    assert [str(change) for change in traced.elsewhere(found, [])] == ["openat /proc/sys/vm/swappiness"]


ELSEWHERE = [
    'openat(AT_FDCWD</root>, "/etc/passwd", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 3</etc/passwd>',
    'openat(AT_FDCWD</etc/sysctl.d>, "../passwd", O_RDWR|O_CLOEXEC) = 3</etc/passwd>',
    'open("/root/x", O_RDONLY|O_CREAT, 0666) = 3</root/x>',
    'creat("/root/x", 0666) = 3</root/x>',
    'renameat2(5</var/lib/memqos>, "compiled.new", AT_FDCWD</root>, "/root/compiled", RENAME_NOREPLACE) = 0',
    'rename("/var/lib/memqos/a", "/root/a") = 0',
    'linkat(AT_FDCWD</root>, "/var/lib/memqos/a", AT_FDCWD</root>, "/root/a", 0) = 0',
    'symlinkat("/var/lib/memqos/a", 5</root>, "a") = 0',
    'symlink("/etc/sysctl.d/a", "/root/a") = 0',
    'unlink("/etc/sysctl.conf.bak") = 0',
    'fchown(7</etc/shadow>, 0, 0) = 0',
    'fchmodat(AT_FDCWD</root>, "/etc/shadow", 0644) = 0',
    'ftruncate(7</etc/shadow>, 0) = 0',
    'fsetxattr(7</etc/shadow>, "user.x", "1", 1, 0) = 0',
    'setxattr("/etc/shadow", "user.x", "1", 1, 0) = 0',
    'utimensat(AT_FDCWD</root>, "/etc/shadow", NULL, 0) = 0',
    'mkdirat(AT_FDCWD</root>, "/var/lib/memqos2", 0700) = 0',
    'mount("none", "/mnt", "tmpfs", 0, NULL) = 0',
    'kill(1, SIGTERM) = 0',
    'openat(4</proc/sys/kernel>, "core_pattern", O_WRONLY|O_TRUNC) = -1 EACCES (Permission denied)',
    'openat(AT_FDCWD</root>, "/tmp/ansible_memqos.fleet.memory_tune_payload_x1/../../etc/x", O_WRONLY) = 3</etc/x>',
    'fchmodat(4</root>, ".ssh", 0777) = 0',
    'unlink("/tmp/somebodys") = 0',
]  # fmt: skip


@pytest.mark.parametrize("line", ELSEWHERE)
def test_a_change_elsewhere_is_seen(line: str) -> None:
    assert traced.elsewhere(traced.changes(f"{TRACE}77 {line}\n"), [SWAPPINESS]) != []
