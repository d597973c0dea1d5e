# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run on a node: what redis-benchmark and the kernel said becomes figures, and nothing is left, however it ends. Texts of redis-benchmark are real."""

from __future__ import annotations

import json
import pathlib
import socket
import threading
import typing as t

import pytest

from ansible_collections.memqos.fleet.roles.bench_redis.files import memqos_bench_redis as bench

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures" / "texts" / "redis-benchmark"
# In JSON: it writes over its own line with carriage returns, which no text file of ours has.
GET, SET = (json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8")) for name in ("get", "set"))


def of(*points: t.Tuple[float, int], average: float = 1.0, seconds: float = 1.0) -> bench.Distribution:
    return bench.Distribution(points[-1][1], seconds, average, points[-1][0], list(points))


# redis-benchmark


def test_a_client_of_its_own_has_the_percentiles_that_it_names() -> None:
    found = bench.latencies([bench.parse_benchmark(GET)])
    named = {"avg_ms": 0.308, "p50_ms": 0.231, "p95_ms": 0.631, "p99_ms": 2.527, "max_ms": 2.551, "requests_per_second": 160 / 0.02}
    assert {name: found[name] for name in named} == pytest.approx(named)
    # Of 160 requests the 99.9th percentile is the slowest.
    assert found["p999_ms"] == 2.551


def test_the_999th_of_a_thousand_is_in_its_list_alone() -> None:
    rows = "99.805% <= 5.000 milliseconds (cumulative count 998)\n99.902% <= 7.500 milliseconds (cumulative count 999)\n100.000% <= 90.000 milliseconds"
    text = GET.replace("160 requests", "1000 requests").replace("(cumulative count 160)", "(cumulative count 160)\n" + rows + " (cumulative count 1000)")
    assert bench.latencies([bench.parse_benchmark(text)])["p999_ms"] == 7.5


def test_clients_of_one_load_count_together() -> None:
    one, other = of((1.0, 50), (2.0, 100), average=1.5, seconds=2.0), of((9.9, 1), (10.0, 100), average=10.0, seconds=4.0)
    found = bench.latencies([one, other])
    assert found["avg_ms"] == 5.75 and found["max_ms"] == 10.0 and found["requests_per_second"] == 50
    # The 100th of 200 is the last of the fast ones, the 190th among the slow ones.
    assert 1.9 <= found["p50_ms"] <= 2.0 and 9.9 < found["p95_ms"] < 10.0 and found["p999_ms"] == 10.0


def test_real_clients_of_one_load_lie_between() -> None:
    both = [bench.parse_benchmark(text) for text in (SET, GET)]
    found, alone = bench.latencies(both), [bench.latencies([one]) for one in both]
    for name in ("avg_ms", *bench.PERCENTS):
        assert min(one[name] for one in alone) <= found[name] <= max(one[name] for one in alone)
    assert found["avg_ms"] == pytest.approx((40 * 0.173 + 160 * 0.308) / 200)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Could not connect to Redis at /run/memqos-bench/redis.sock: Connection refused",
        GET[: len(GET) // 2],
        GET.replace("160 requests completed", "161 requests completed"),
        GET.replace("160 requests completed", "0 requests completed"),
        GET.replace("latency summary (msec)", "latency summary (usec)"),
    ],
    ids=["empty", "refused", "cut short", "a request too few", "none", "another unit"],
)
def test_what_is_no_result_is_an_error(text: str) -> None:
    with pytest.raises(bench.BenchError, match="redis-benchmark"):
        bench.parse_benchmark(text)


# The kernel

NODE = {"vmstat": "allocstall_dma32 1\nallocstall_normal 5\npgscan_direct 100\npgscan_kswapd 1000\npswpout 8\noom_kill 2\n", "memory.pressure": ""}
SERVICE = {"memory.stat": "workingset_refault_anon 40\n", "memory.events": "low 7\nhigh 0\noom_kill 0\n", "memory.current": f"{3 << 20}\n"}


def psi(some: int, full: int) -> str:
    return f"some avg10=1.00 avg60=0.00 avg300=0.00 total={some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n"


def counters(**more: t.Dict[str, str]) -> t.Dict[str, t.Dict[str, str]]:
    return {"node": {**NODE, "memory.pressure": psi(1000, 0)}, "service": dict(SERVICE), "batch": {"cpu.stat": "usage_usec 1000000\n"}, **more}


def test_counters_become_rates() -> None:
    after = counters(
        node={"vmstat": NODE["vmstat"].replace("normal 5", "normal 25").replace("oom_kill 2", "oom_kill 3"), "memory.pressure": psi(501000, 0)},
        service={**SERVICE, "memory.stat": "workingset_refault_anon 140\n"},
        batch={"cpu.stat": "usage_usec 4000000\n", "memory.swap.current": f"{5 << 20}\n", "memory.current": "max\n"},
    )
    found = bench.rates(counters(), after, 10.0)
    wanted = {
        "allocstall": 2.0, "oom_kill": 1.0, "node_pgscan_direct": 0.0, "node_stalled_some": 5.0, "node_stalled_full": 0.0, "service_refault_anon": 10.0,
        "service_low": 0.0, "service_mib": 3.0, "batch_cpu": 30.0, "batch_swap_mib": 5.0,
    }  # fmt: skip
    assert {name: found.get(name) for name in wanted} == wanted
    assert "batch_mib" not in found and "batch_refault_anon" not in found


def test_a_unit_that_was_killed_and_began_anew_counts_from_then_on() -> None:
    assert bench.rates(counters(batch={"cpu.stat": "usage_usec 9000000\n"}), counters(), 10.0)["batch_cpu"] == 10.0
    assert bench.work('{"seconds": 50, "read_bytes": 900}', f'{{"seconds": 2, "read_bytes": {4 << 20}}}', "read_bytes") == 2.0


def test_work_goes_by_the_clock_of_who_does_it() -> None:
    assert bench.work('{"seconds": 1, "touched_bytes": 0}', f'{{"seconds": 5, "touched_bytes": {8 << 20}}}', "touched_bytes") == 2.0
    assert bench.work("", f'{{"seconds": 2, "touched_bytes": {8 << 20}}}', "touched_bytes") == 4.0
    assert bench.work('{"seconds": 5}', '{"seconds": 5}', "touched_bytes") is None
    assert bench.work("", "", "touched_bytes") is None


WANTED = {"scanned_per_second": 500.0, "stalled_percent": 5.0}


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (counters(), False),
        (counters(node={**NODE, "vmstat": NODE["vmstat"].replace("kswapd 1000", "kswapd 10990")}), False),
        (counters(node={**NODE, "vmstat": NODE["vmstat"].replace("kswapd 1000", "kswapd 11000")}), True),
        (counters(node={"vmstat": NODE["vmstat"].replace("direct 100", "direct 10100"), "memory.pressure": ""}), True),
        (counters(node={**NODE, "memory.pressure": psi(1001000, 0)}), True),
        (counters(batch={"memory.stat": "pgscan 10000\n"}), True),
        (counters(batch={"memory.pressure": psi(1000000, 0)}), True),
    ],
    ids=["none", "too little", "kswapd", "tasks", "stalls", "a bound of batch work", "stalls of batch work"],
)
def test_pressure_is_the_node_s_or_that_of_batch_work(after: t.Dict[str, t.Dict[str, str]], found: bool) -> None:
    assert bench.pressed(counters(), after, 20.0, WANTED)[0] is found


# A run

WORKLOAD: t.Dict[str, t.Any] = {
    "service_slice": "latency.slice", "batch_slice": "batch.slice", "settle_seconds": 0, "window_seconds": 5, "fill_seconds": 0, "pressure": WANTED,
    "pressure_seconds": 0, "control_of": "hog",
    "loads": {
        "mixed": {"database": 1, "value_bytes": 1000, "of_memory": 1e-12, "clients": [{"command": "get", "connections": 1, "requests": 160}]},
        "small": {"database": 2, "value_bytes": 10, "of_memory": 1e-12, "clients": [{"command": "get", "connections": 1, "requests": 160}]},
    },
    "scenes": {"hog": {"tool": "hog", "of_memory": 0.0, "full": "held_bytes", "work": "touched_bytes"}, "control": {}},
}  # fmt: skip


class Node:
    """What a run asks of systemd and the kernel, noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, here: pathlib.Path) -> None:
        self.did: t.List[str] = []
        self.running: t.Set[str] = set()
        for name, value in (("DIRECTORY", str(here)), ("SOCKET", str(here / "s")), ("BATCH_OUTPUT", str(here / "batch.out"))):
            monkeypatch.setattr(bench, name, value)
        monkeypatch.setattr(bench, "command", self.command)
        monkeypatch.setattr(bench, "start", self.start)
        monkeypatch.setattr(bench.Run, "_await_pressure", lambda _run: {"stalled_percent": 9.0})
        monkeypatch.setattr(bench.Run, "_counters", self.counters)
        monkeypatch.setattr(bench.Run, "_clients", lambda _run, load: [GET] * len(load["clients"]))
        monkeypatch.setattr(bench.Run, "_fill", lambda _run: self.did.append("fill"))
        monkeypatch.setattr(bench.Run, "_answers", lambda _run: True)

    def command(self, *argv: str, seconds: float = 1) -> str:
        if argv[:2] == ("systemctl", "stop"):
            self.did.append(f"stop {argv[2]}")
            self.running.discard(argv[2])
        return f"/some.slice/{argv[-1]}\n" if argv[1] == "show" and argv[-1] in self.running else ""

    def start(self, unit: str, slice_: str, argv: t.Sequence[str], *properties: str) -> None:
        share = [word for word in argv if word.startswith("--share")]
        self.did.append(" ".join(["start", unit, slice_, *share]))
        self.running.add(unit)
        pathlib.Path(bench.BATCH_OUTPUT).write_text(json.dumps({"held_bytes": 0, "seconds": 1}) + "\n", encoding="utf-8")

    def counters(self) -> t.Dict[str, t.Dict[str, str]]:
        return counters()


@pytest.fixture(name="node")
def fixture_node(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Node:
    return Node(monkeypatch, tmp_path)


def started(node: Node) -> bench.Run:
    run = bench.Run(WORKLOAD)
    assert run.start() == {"cgroup": f"/some.slice/{bench.REDIS}"}
    node.did.clear()
    return run


def test_a_run_fills_before_each_scene_and_leaves_redis_alone(node: Node) -> None:
    started(node)
    found = bench.Run(WORKLOAD).measure()["scenes"]
    assert list(found) == ["hog", "control"] and found["hog"]["waited"]["filled"] is True and found["hog"]["oom_kill"] == 0
    assert found["hog"]["loads"]["mixed"]["p50_ms"] == 0.231
    steps = [step for step in node.did if not step.startswith("stop")]
    assert steps == [
        "fill", "start memqos-bench-batch.service batch.slice", "fill",
        *["start memqos-bench-batch.service batch.slice --share=0.000"] * 2,
    ]  # fmt: skip
    # The rollback shall find it.
    assert node.running == {bench.REDIS}
    bench.clean()
    assert node.running == set()


def test_the_control_takes_what_the_hog_took_under_the_same_load(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([30.0, 45.5, 0.0, 0.0])
    monkeypatch.setattr(bench.Run, "_window", lambda *_arguments: {"batch_cpu": next(shares)})
    found = started(node).measure()["scenes"]["control"]["waited"]
    assert found == {"mixed": {"share": 0.3}, "small": {"share": 0.455}}
    assert [step.split("=")[1] for step in node.did if "share" in step] == ["0.300", "0.455"]


def test_a_run_that_fails_leaves_no_batch_work(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.Run, "_clients", lambda *_arguments: ["Connection refused"])
    with pytest.raises(bench.BenchError, match="Connection refused"):
        started(node).measure()
    assert node.running == {bench.REDIS}


@pytest.mark.parametrize("unit", [bench.REDIS, bench.BATCH, bench.CLIENTS])
def test_no_run_starts_beside_another_or_ends_it(node: Node, unit: str) -> None:
    node.running.add(unit)
    with pytest.raises(bench.BenchError, match="another run"):
        bench.Run(WORKLOAD).start()
    assert node.did == [] and node.running == {unit}


def test_nothing_is_measured_without_redis(node: Node) -> None:
    with pytest.raises(bench.BenchError, match="start"):
        bench.Run(WORKLOAD).measure()
    assert node.did == []


def test_without_pressure_there_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench.Run(WORKLOAD)
    monkeypatch.setattr(bench.Run, "_counters", lambda _run: counters())
    with pytest.raises(bench.BenchError, match="no memory pressure within 0 s.*memqos_bench_workload"):
        run._await_pressure()


def test_the_filler_speaks_to_redis_and_hears_its_errors(tmp_path: pathlib.Path) -> None:
    path, heard = str(tmp_path / "s"), []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)

        def answer() -> None:
            with server.accept()[0] as connection:
                for text in (b"+OK\r\n", b"-OOM command not allowed\r\n"):
                    heard.append(connection.recv(1000))
                    connection.sendall(text)

        thread = threading.Thread(target=answer)
        thread.start()
        client = bench.Client(path)
        assert client("SET", "k", b"\r\n\0", 7) == b"+OK"
        with pytest.raises(bench.BenchError, match="OOM command not allowed"):
            client("PING")
        thread.join()
        with pytest.raises((bench.BenchError, OSError)):
            client("PING")
        client.close()
    assert heard[0] == b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n\r\n\0\r\n$1\r\n7\r\n"
