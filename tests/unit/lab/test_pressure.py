# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pressure tools take what they say and give it back; the wait believes the kernel alone."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
import zlib

import pytest

from ansible_collections.memqos.fleet.tests.lab.pressure import pressure

SCRIPT = pathlib.Path(pressure.__file__)
DEAD_PID = 2**22 + 1  # above the kernel's PID_MAX_LIMIT


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """An empty directory that is not on a tmpfs, as /tmp can be."""
    if pressure.file_system(str(tmp_path)) != "tmpfs":
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield pathlib.Path(directory)


def run(*arguments: str) -> tuple[int, list[dict[str, t.Any]], str]:
    """As in a guest: the script comes on standard input."""
    with SCRIPT.open("rb") as script:
        done = subprocess.run([sys.executable, "-", *arguments], stdin=script, capture_output=True, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


@contextlib.contextmanager
def running(*arguments: str) -> t.Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, str(SCRIPT), *arguments], stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[bytes]) -> dict[str, t.Any]:
    assert process.stdout is not None
    return t.cast("dict[str, t.Any]", json.loads(process.stdout.readline()))


def memory_of(pid: int, what: str) -> int:
    """RssAnon and the like, in bytes."""
    rows = dict(row.split(":", 1) for row in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in row)
    return int(rows[what].split()[0]) * 1024


WRONG = [
    ([], "TOOL"),
    (["bog", "--mib", "1"], "bog"),
    (["hog"], "--mib"),
    (["hog", "--mib", "0"], "from 1 to"),
    (["hog", "--mib", "65537"], "from 1 to 65536"),
    (["hog", "--mib", "1", "--seconds", "86400"], "to 3600"),
    (["hog", "--mib", "1", "--touch", "-1"], "from 0 to"),
    (["leak", "--mib", "1"], "--rate"),
    (["leak", "--mib", "1", "--rate", "0"], "from 0.001"),
    (["dentries"], "--count"),
    (["dentries", "--count", "1e9"], "--count"),
    (["wait", "--stalled", "101"], "to 100"),
    (["wait", "--seconds", "3"], "--seconds"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _words in WRONG])
def test_wrong_arguments_are_named(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        pressure.main(arguments)
    assert caught.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("elapsed", "rate", "total", "expected"),
    [(0.0, None, 10, 10), (0.0, 2.0, 10, 0), (1.5, 2.0, 10, 3), (60.0, 2.0, 10, 10), (2.0, 3.0, None, 6), (9.0, 0.0, None, 0)],
)
def test_what_is_due(elapsed: float, rate: float | None, total: int | None, expected: int) -> None:
    assert pressure.due(elapsed, rate, total, unit=1) == expected
    assert rate is None or total is not None or pressure.due(elapsed, rate, None) == expected << 20


def test_a_hog_holds_and_touches_what_it_says() -> None:
    with running("hog", "--mib", "40", "--touch", "10", "--seconds", "20") as process:
        first = line(process)
        while first["held_bytes"] < 40 << 20:
            first = line(process)
        assert memory_of(process.pid, "RssAnon") >= 40 << 20
        assert pathlib.Path(f"/proc/{process.pid}/oom_score_adj").read_text() == "1000\n"
        then = line(process)
        # Ten MiB a second, by pages and by the clock of two lines.
        assert 0 < then["touched_bytes"] - first["touched_bytes"] <= 10 * (then["seconds"] - first["seconds"] + 1) * pressure.MIB


def test_what_a_hog_holds_does_not_shrink() -> None:
    """zswap and zram would take it for nothing."""
    hog = pressure.Hog(mib=2)
    while hog.go(0.0):
        pass
    assert hog.held == 2 << 20 and len(zlib.compress(hog._memory[:])) > 1.9 * pressure.MIB
    hog.close()


def test_a_leak_grows_by_the_clock_to_its_bound() -> None:
    leak = pressure.Hog(mib=3, rate=1.0)
    seen = []
    for tenth in range(60):
        while leak.go(tenth / 10):
            pass
        seen.append(leak.held >> 20)
    assert [seen.index(mib) for mib in (1, 2, 3)] == [1, 11, 21] and seen[-1] == 3
    leak.close()


def test_a_burst_holds_half_of_the_time() -> None:
    burst = pressure.Burst(mib=2, every=4.0)
    seen = []
    for second in (0, 1, 2, 3, 4, 9, 11, 14):
        while burst.go(second):
            pass
        seen.append((burst.figures()["held_bytes"] >> 20, burst.figures()["taken_bytes"] >> 20))
    # From 9 on as by the clock, though a turn was slept through.
    assert seen == [(2, 2), (2, 2), (0, 2), (0, 2), (2, 4), (2, 4), (0, 4), (0, 4)]
    burst.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("tool", ["hog --mib 4 --touch 1000", "scan --mib 4", "socket --mib 4", "dentries --count 9000000"])
def test_a_signal_ends_it_soon_and_cleanly(tool: str, number: signal.Signals, disk: pathlib.Path) -> None:
    where = ["--directory", str(disk)] if tool.startswith(("scan", "dentries")) else []
    with running(*tool.split(), *where, "--seconds", "300") as process:
        line(process)
        process.send_signal(number)
        started = time.monotonic()
        rest, _stderr = process.communicate(timeout=60)
        assert time.monotonic() - started < 10
    last = json.loads(rest.splitlines()[-1])
    assert process.returncode == 0 and (last["state"], last["reason"]) == ("ended", number.name)
    assert list(disk.iterdir()) == []


def test_it_ends_when_its_time_is_over() -> None:
    status, lines, _stderr = run("hog", "--mib", "1", "--seconds", "0.3")
    assert status == 0 and lines[-1]["reason"] == "time" and 0.3 <= lines[-1]["seconds"] < 5


def test_a_scan_reads_more_than_its_file_and_no_faster_than_asked(disk: pathlib.Path) -> None:
    scan = pressure.File(mib=2, directory=str(disk), rate=4.0)
    assert list(disk.iterdir()) == []  # no name, so that not even SIGKILL leaves one
    while scan.go(0.0):
        pass
    assert scan.figures() == {"file_bytes": 2 << 20, "read_bytes": 0}
    for elapsed in (0.75, 1.5):
        while scan.go(elapsed):
            pass
    assert scan.figures()["read_bytes"] == 6 << 20
    scan.close()


def test_what_a_tool_was_kept_from_is_not_made_up_for(disk: pathlib.Path) -> None:
    """Held back for a minute, as by a limit of its cgroup: then a second's worth is due, not a minute's."""
    scan, hog = pressure.File(mib=2, directory=str(disk), rate=4.0), pressure.Hog(mib=2, touch=4.0)
    for tool in (scan, hog):
        for elapsed in (0.0, 60.0, 60.5):
            while tool.go(elapsed):
                pass
        tool.close()
    assert scan.read == hog.touched == 6 << 20


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="no /dev/shm here")
def test_a_tmpfs_is_filled_and_emptied() -> None:
    def used() -> int:
        figures = os.statvfs("/dev/shm")
        return (figures.f_blocks - figures.f_bfree) * figures.f_frsize

    before = used()
    tool = pressure.File(mib=8, directory="/dev/shm", scan=False)
    while tool.go(0.0):
        pass
    # Others use it too.
    assert used() - before > 6 << 20 and tool.figures() == {"held_bytes": 8 << 20}
    tool.close()
    assert used() - before < 6 << 20


def test_the_wrong_kind_of_directory_is_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "file_system", lambda _directory: "ext4")
    with pytest.raises(pressure.PressureError, match="is no tmpfs: .* is one with --directory"):
        pressure.File(mib=1, directory=str(tmp_path), scan=False)
    monkeypatch.setattr(pressure, "file_system", lambda _directory: "tmpfs")
    with pytest.raises(pressure.PressureError, match="is a tmpfs: .* is none with --directory"):
        pressure.File(mib=1, directory=str(tmp_path))
    with pytest.raises(pressure.PressureError, match="is a tmpfs.*--directory"):
        pressure.Dentries(count=1, directory=str(tmp_path))


def test_a_file_larger_than_the_disk_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "file_system", lambda _directory: "ext4")
    left = os.statvfs(tmp_path)
    with pytest.raises(pressure.PressureError, match=r"MiB left, not the [0-9]+ MiB of --mib"):
        pressure.File(mib=left.f_bavail * left.f_frsize // pressure.MIB + 1000, directory=str(tmp_path))


def test_file_systems_are_known_by_the_deepest_mount() -> None:
    assert pressure.file_system("/proc/self") == "proc" and pressure.file_system("/sys/kernel") == "sysfs"
    with pytest.raises(pressure.PressureError, match="/nowhere/at/all is no directory"):
        pressure.file_system("/nowhere/at/all")


def test_sockets_hold_unread_data() -> None:
    def pages() -> int:
        text = pathlib.Path("/proc/net/sockstat").read_text()
        return int(text.partition("TCP:")[2].split("\n")[0].split()[-1])

    before = pages()
    tool = pressure.Sockets(mib=24)
    while tool.go(0.0):
        pass
    assert tool.held == 24 << 20 and (pages() - before) * pressure._PAGE > 16 << 20
    tool.close()


def test_few_files_may_be_open_then_less_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "open_files", lambda _wanted: 70)
    tool = pressure.Sockets(mib=1000)
    while tool.go(0.0):
        pass
    assert tool.figures()["connections"] == 3 and tool.held < 1000 << 20
    tool.close()


def test_dentries_take_memory_and_go_with_their_directory(disk: pathlib.Path) -> None:
    (disk / f"memqos-dentries-{DEAD_PID}").mkdir()
    tool = pressure.Dentries(count=20000, directory=str(disk), rate=10000.0)
    # What a killed run left is gone, what another run has stays.
    assert [path.name for path in disk.iterdir()] == [f"memqos-dentries-{os.getpid()}"]
    while tool.go(1.0):
        pass
    assert tool.figures() == {"names": 10000}
    while tool.go(99.0):
        pass
    assert tool.figures() == {"names": 20000}
    tool.close()
    assert list(disk.iterdir()) == []


def test_a_cgroup_that_is_none_is_named(tmp_path: pathlib.Path) -> None:
    status, lines, stderr = run("hog", "--mib", "1", "--cgroup", str(tmp_path / "none"))
    assert status == 1 and lines == [] and f"cannot join {tmp_path}/none" in stderr and "Traceback" not in stderr
    status, lines, stderr = run("wait", "--cgroup", str(tmp_path))
    assert status == 1 and "has no memory.stat" in stderr


def test_a_process_joins_its_cgroup(tmp_path: pathlib.Path) -> None:
    (tmp_path / "cgroup.procs").touch()
    with running("hog", "--mib", "1", "--cgroup", str(tmp_path)) as process:
        line(process)
        assert (tmp_path / "cgroup.procs").read_text() == str(process.pid)


PSI = "some avg10=1.53 avg60=0.87 avg300=0.20 total=2000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"


def test_psi_is_parsed() -> None:
    assert pressure.parse_some(PSI) == (2000000, 1.53)
    with pytest.raises(OSError):
        pressure.parse_some("")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("allocstall_normal 3\nallocstall_movable 4\nworkingset_refault_anon 1\nworkingset_refault_file 2\npgscan_direct 99\nworkingset_nodes 7\n", 10),
        ("anon 9\nworkingset_refault_file 2\nworkingset_activate_file 7\n", 2),
        ("cache 1\nworkingset_refault 5\ntotal_cache 9\ntotal_workingset_refault 6\n", 6),
        ("low 9\nhigh 3\nmax 4\noom 1\n", 7),
        ("42\n", 42),
        ("", 0),
    ],
    ids=["vmstat", "memory.stat", "v1", "memory.events", "failcnt", "empty"],
)
def test_reclaim_is_counted(text: str, expected: int) -> None:
    assert pressure.count_reclaim(text) == expected


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ((10.0, 0, 0, 0.0), (12.0, 100000, 0, 0.1), (True, {"stalled_percent": 5.0, "avg10": 0.1})),
        ((10.0, 0, 0, 0.0), (12.0, 99000, 0, 50.0), (False, {"stalled_percent": 4.95, "avg10": 50.0})),  # an old average is no pressure now
        ((10.0, None, 50, None), (12.0, None, 250, None), (True, {"events_per_second": 100.0})),
        ((10.0, None, 50, None), (12.0, None, 240, None), (False, {"events_per_second": 95.0})),
    ],
)
def test_pressure_is_judged_by_what_grew(before: t.Any, now: t.Any, expected: t.Any) -> None:
    assert pressure.judge(pressure.Counters(*before), pressure.Counters(*now), stalled=5.0, events=100.0) == expected


def write(directory: pathlib.Path, **files: str) -> None:
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)


def test_without_psi_events_are_read(tmp_path: pathlib.Path) -> None:
    write(tmp_path, memory__stat="workingset_refault_file 7\n", memory__events="high 2\nmax 1\n")
    assert pressure.Subject(str(tmp_path)).read(1.0) == (1.0, None, 10, None)
    write(tmp_path, memory__pressure=PSI)
    assert pressure.Subject(str(tmp_path)).read(1.0) == (1.0, 2000000, 0, 1.53)
    subject = pressure.Subject(str(tmp_path))
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(pressure.PressureError, match="is gone"):
        subject.read(2.0)


def test_the_nodes_files(tmp_path: pathlib.Path) -> None:
    (tmp_path / "vmstat").write_text("allocstall_normal 5\n")
    assert pressure.Subject(None, proc=str(tmp_path)).read(0.0).events == 5
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure/memory").write_text(PSI)
    assert pressure.Subject(None, proc=str(tmp_path)).read(0.0).stalled == 2000000


def growing(directory: pathlib.Path, total: int, stop: list[bool]) -> None:
    while not stop:
        total += 30000
        temporary = directory / "new"
        temporary.write_text(f"some avg10=9.00 avg60=0.00 avg300=0.00 total={total}\n")
        temporary.replace(directory / "memory.pressure")
        time.sleep(0.1)


def test_a_wait_ends_with_pressure_or_says_what_it_saw(tmp_path: pathlib.Path) -> None:
    write(tmp_path, memory__stat="", memory__pressure="some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n")
    status, lines, stderr = run("wait", "--cgroup", str(tmp_path), "--timeout", "0.5")
    assert status == 1 and lines[-1]["state"] == "waiting" and "Traceback" not in stderr
    assert f"no pressure on {tmp_path} within 0.5 s: at most stalled_percent 0, avg10 0; wanted stalled_percent 5" in stderr
    stop: list[bool] = []
    thread = threading.Thread(target=growing, args=(tmp_path, 5, stop))
    thread.start()
    try:
        status, lines, _stderr = run("wait", "--cgroup", str(tmp_path), "--timeout", "60")
    finally:
        stop.append(True)
        thread.join()
    assert status == 0 and lines[-1]["state"] == "pressure" and lines[-1]["stalled_percent"] >= 5


def test_an_interrupted_wait_has_not_seen_pressure() -> None:
    with running("wait", "--stalled", "100", "--timeout", "600") as process:
        line(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 1


def test_the_script_is_python_3_8_and_needs_nothing_else() -> None:
    module = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {name.name.split(".")[0] for node in ast.walk(module) if isinstance(node, ast.Import) for name in node.names}
    assert imported <= set("argparse contextlib json mmap os re resource signal socket sys tempfile time types typing".split())
