# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Redis comparison: the order of runs, what runs come to, and what the harness makes of it. All figures are made up."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import re
import typing as t
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from ansible_collections.memqos.fleet.roles.bench_redis.files import memqos_bench_table as table
from ansible_collections.memqos.fleet.tests.lab.common import Cache
from ansible_collections.memqos.fleet.tests.lab.machines import LabError
from ansible_collections.memqos.fleet.tests.lab.redis import __main__ as harness

ROLE = Path(table.__file__).parents[1]
CELL = ("hog", "mixed")
COUPLES = [["kubelet", "colocated"]]
Run = dict[str, t.Any]


def loaded(path: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = yaml.safe_load((ROLE / path).read_text(encoding="utf-8"))
    return found


WORKLOAD, ARMS, DEFAULTS = loaded("vars/workload.yml"), loaded("vars/arms.yml"), loaded("defaults/main.yml")
GOALS = WORKLOAD["memqos_bench_redis_goals"]


# The order


def names(drawn: list[Run], round_: int) -> list[str]:
    return [run["arm"] for run in drawn if run["round"] == round_]


def test_two_arms_alternate() -> None:
    drawn = table.draw(["untouched", "colocated"], 2)
    assert names(drawn, 1) + names(drawn, 2) == ["untouched", "colocated", "colocated", "untouched"]
    assert [run["number"] for run in drawn] == [1, 2, 3, 4]


@pytest.mark.parametrize("arms", [DEFAULTS["memqos_bench_arms"], DEFAULTS["memqos_bench_arms"][:-2], ["kubelet", "untouched", "colocated"]])
def test_each_arm_is_next_to_the_base_before_and_after_in_turn(arms: list[str]) -> None:
    drawn = table.draw(arms, 7, COUPLES)
    for arm in arms:
        if arm == "untouched":
            continue
        sides = []
        for round_ in range(1, 8):
            order = names(drawn, round_)
            at = order.index(arm)
            assert order.count(arm) == 1
            assert "untouched" in (order[at - 1] if at else "", order[at + 1] if at + 1 < len(order) else "")
            sides.append(at > 0 and order[at - 1] == "untouched")
        assert sides in ([True, False] * 3 + [True], [False, True] * 3 + [False])


def test_a_couple_is_next_to_each_other_in_every_round() -> None:
    drawn = table.draw(DEFAULTS["memqos_bench_arms"], 7, COUPLES)
    for round_ in range(1, 8):
        order = names(drawn, round_)
        assert abs(order.index("kubelet") - order.index("colocated")) == 1
    # Every couple is the one right after the start in turn.
    assert len({names(drawn, round_).index("kubelet") // 3 for round_ in range(1, 8, 2)}) > 1


@pytest.mark.parametrize(
    ("arms", "pairs"), [(["colocated"], 7), (["untouched"], 7), ([], 7), (["untouched", "a", "a"], 7), (["untouched", "a"], 0), (["untouched", "a"], -1)]
)
def test_an_order_that_compares_nothing_is_refused(arms: list[str], pairs: int) -> None:
    with pytest.raises(table.TableError, match=r"expected"):
        table.draw(arms, pairs)


# Going on

# What the role compares.
SETTINGS_OF_ROLE = tuple(ARMS["memqos_bench_redis_settings"])
THEN: dict[str, t.Any] = {
    "arms": ["untouched", "colocated"], "goals": GOALS, "workload": {"window_seconds": 600}, "workload_sha256": "ab", "overridden": [],
    "more_arms": {}, "arms_sha256": "ab", "profiles_sha256": "ab", "programs_sha256": "ab",
    "facts": {"memory": 1_000_000, "kernel": "6.12.9", "redis": "8"},
}  # fmt: skip


def test_what_is_compared_is_what_these_tests_compare() -> None:
    assert set(SETTINGS_OF_ROLE) == set(THEN)


def earlier(directory: Path, numbers: t.Iterable[int], **facts: t.Any) -> list[Run]:
    """Settings and these runs of three rounds are in the directory. Returns all runs that were drawn."""
    drawn = table.draw(THEN["arms"], 3)
    (directory / "settings.json").write_text(json.dumps({**THEN, "facts": {**THEN["facts"], **facts}}))
    for one in drawn:
        if one["number"] in numbers:
            (directory / f"run-{one['number']:04}.json").write_text(json.dumps({**one, "at": "", "scenes": {}}))
    return drawn


def kept(directory: Path) -> list[int]:
    return [int(path.stem.rpartition("-")[2]) for path in sorted(directory.glob("run-*.json"))]


def test_it_goes_on_after_the_last_whole_round(tmp_path: Path) -> None:
    drawn = earlier(tmp_path, [1, 2, 3])
    assert [one["number"] for one in table.resume(tmp_path, THEN, drawn)] == [3, 4, 5, 6] and kept(tmp_path) == [1, 2]


def test_a_round_with_a_failed_run_is_run_anew_wherever_it_is(tmp_path: Path) -> None:
    drawn = earlier(tmp_path, [1, 2, 4, 5, 6], memory=1_009_000)
    assert [one["number"] for one in table.resume(tmp_path, THEN, drawn)] == [3, 4] and kept(tmp_path) == [1, 2, 5, 6]


def test_more_rounds_are_added_and_nothing_there_is_a_beginning(tmp_path: Path) -> None:
    assert table.resume(tmp_path, THEN, table.draw(THEN["arms"], 1)) == table.draw(THEN["arms"], 1)
    earlier(tmp_path, range(1, 7))
    assert [one["round"] for one in table.resume(tmp_path, THEN, table.draw(THEN["arms"], 4))] == [4, 4] and len(kept(tmp_path)) == 6


@pytest.mark.parametrize(
    ("now", "word"),
    [*(({name: "other"}, name) for name in SETTINGS_OF_ROLE if name != "facts"),
     ({"facts": {**THEN["facts"], "kernel": "6.13"}}, "kernel (6.12.9, 6.13)"), ({"facts": {**THEN["facts"], "memory": 980_000}}, "memory (")],
)  # fmt: skip
def test_another_comparison_is_not_gone_on_with_and_keeps_its_runs(tmp_path: Path, now: dict[str, t.Any], word: str) -> None:
    drawn = earlier(tmp_path, [1, 2, 3])
    with pytest.raises(table.TableError, match=re.escape(word)):
        table.resume(tmp_path, {**THEN, **now}, drawn)
    assert kept(tmp_path) == [1, 2, 3]


def test_a_run_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    drawn = earlier(tmp_path, [1, 2])
    (tmp_path / "run-0002.json").write_text("{")
    with pytest.raises(table.TableError, match=r"run-0002\.json cannot be read"):
        table.resume(tmp_path, THEN, drawn)


def test_an_earlier_comparison_is_put_aside_and_one_without_a_run_stays(tmp_path: Path) -> None:
    directory = tmp_path / "n1"
    directory.mkdir()
    assert table.aside(directory) is None and table.aside(tmp_path / "nowhere") is None and directory.is_dir()
    earlier(directory, [1, 2])
    kept_ = table.aside(directory)
    assert kept_ and re.fullmatch(r"n1\.\d{8}T\d{6}Z", kept_.name) and kept(kept_) == [1, 2] and not directory.exists()
    directory.mkdir()
    earlier(directory, [1])
    os.utime(directory / "run-0001.json", (kept_ / "run-0002.json").stat()[7:9])
    with pytest.raises(table.TableError, match="cannot be put aside as n1"):
        table.aside(directory)
    assert kept(directory) == [1] and kept(kept_) == [1, 2]


# Pairs and intervals


def run(number: int, round_: int, arm: str, *, scene: str = "hog", load: str = "mixed", **figures: float) -> Run:
    return {"number": number, "round": round_, "arm": arm, "at": f"2026-11-2{round_ % 10}T00:00Z", "scenes": {scene: {"loads": {load: figures}, "oom_kill": 0}}}


def runs(ratios: list[float], *, figure: str = "avg_ms", base: float = 10.0) -> list[Run]:
    """Pairs of which each has this ratio, while the machine becomes slower all the time."""
    found = []
    for round_, one in enumerate(ratios, 1):
        speed = base * 1.5**round_
        pair = (2 * round_ - 1, "untouched", speed), (2 * round_, "colocated", speed * one)
        found += [{**run(number, round_, arm), "scenes": {"hog": {"loads": {"mixed": {figure: value}}}}} for number, arm, value in pair]
    return found


def of(found: list[Run], figure: str = "avg_ms", **more: t.Any) -> table.Ratio:
    ratio = table.ratio(table.log_ratios(table.paired(found, "colocated", "untouched"), CELL, figure, **more), confidence=0.95, resamples=2000)
    assert ratio
    return ratio


def test_a_pair_is_of_neighbours() -> None:
    found = [run(1, 1, "untouched"), run(2, 1, "kubelet"), run(3, 1, "colocated"), run(4, 1, "untouched"), run(9, 2, "untouched")]
    pairs = {arm: [(one["number"], other["number"]) for one, other in table.paired(found, arm, "untouched")] for arm in ("kubelet", "colocated")}
    assert pairs == {"kubelet": [(2, 1)], "colocated": [(3, 4)]}
    assert table.paired(found, "colocated", "swappiness") == []


def test_a_drift_of_the_machine_is_none_of_the_ratio() -> None:
    ratio = of(runs([0.7, 0.8, 0.75, 0.72, 0.78, 0.71, 0.79]))
    assert ratio.mean == pytest.approx(math.exp(sum(map(math.log, [0.7, 0.8, 0.75, 0.72, 0.78, 0.71, 0.79])) / 7)) and ratio.pairs == 7
    assert ratio.interval and 0.7 < ratio.interval[0] < ratio.mean < ratio.interval[1] < 0.8
    assert ratio == of(runs([0.7, 0.8, 0.75, 0.72, 0.78, 0.71, 0.79]))


def test_noise_around_one_is_no_effect() -> None:
    assert (interval := of(runs([0.6, 1.5, 0.9, 1.2, 0.8, 1.3, 0.9])).interval) and interval[0] < 1 < interval[1]


def test_an_interval_of_seven_pairs_covers_what_is_true_as_often_as_the_page_says() -> None:
    draw = random.Random(7)
    pairs, times = table.COVERED
    assert pairs == GOALS["pairs"]
    covered = 0
    for _time in range(1000):
        interval = table._interval([draw.gauss(math.log(0.8), 0.2) for _number in range(pairs)], 0.95, 400)
        covered += bool(interval and interval[0] <= 0.8 <= interval[1])
    # Two standard errors of a share of 1,000.
    assert covered / 10 == pytest.approx(times, abs=2.1)


def test_too_few_pairs_have_no_interval_and_equal_ones_a_point() -> None:
    assert of(runs([0.5, 0.6])).interval is None
    assert of(runs([0.5] * 4)).interval == pytest.approx((0.5, 0.5))
    assert table.ratio([], confidence=0.95, resamples=100) is None


def test_what_one_side_lacks_or_has_none_of_is_no_pair() -> None:
    found = runs([0.5, 0.6, 0.7])
    del found[1]["scenes"]["hog"]["loads"]["mixed"]["avg_ms"]
    found[3]["scenes"]["hog"]["loads"]["mixed"]["avg_ms"] = 0.0
    assert of(found).pairs == 1 and of(found).mean == pytest.approx(0.7)
    # Which is said.
    assert table.cell_text(of(found), 3) == "0.700 (1 of 3)"
    found[5]["scenes"]["hog"]["loads"]["mixed"]["avg_ms"] = -1.0
    assert table.log_ratios(table.paired(found, "colocated", "untouched"), CELL, "avg_ms") == []
    assert table.log_ratios(table.paired(found, "colocated", "untouched"), ("scan", "mixed"), "avg_ms") == []


def test_memory_without_the_processor_is_the_ratio_of_ratios() -> None:
    found = runs([0.5, 0.5])
    for one in found:
        one["scenes"]["control"] = {"loads": {"mixed": {"avg_ms": 4.0 if one["arm"] == "colocated" else 5.0}}}
    assert of(found, net_of="control").mean == pytest.approx(0.5 / 0.8)


# Goals


def goal(figure: str = "avg_ms", **wanted: t.Any) -> dict[str, t.Any]:
    return {"arm": "colocated", "against": "untouched", "scene": "hog", "load": "mixed", "figure": figure, **wanted}


@pytest.mark.parametrize(
    ("wanted", "mean", "interval", "met"),
    [
        (goal(at_most=0.8), 0.80, (0.70, 0.95), True),
        (goal(at_most=0.8), 0.81, (0.70, 0.95), False),
        (goal(at_most=0.8), 0.70, (0.40, 1.05), False),
        (goal("requests_per_second", at_least=1.2), 1.20, (1.1, 1.3), True),
        (goal("requests_per_second", at_least=1.2), 1.19, (1.1, 1.3), False),
        (goal("requests_per_second", at_least=1.2), 1.30, (0.99, 1.7), False),
        (goal("p99_ms", better=True), 0.9, (0.8, 0.99), True),
        (goal("p99_ms", better=True), 0.9, (0.8, 1.01), False),
        (goal("requests_per_second", better=True), 1.1, (1.01, 1.2), True),
        (goal("requests_per_second", better=True), 0.9, (0.8, 0.99), False),
        (goal("p50_ms", not_worse=0.05), 1.2, (1.04, 1.4), True),
        (goal("p50_ms", not_worse=0.05), 1.2, (1.06, 1.4), False),
        (goal("batch_mib_per_second", not_worse=0.05), 0.8, (0.7, 0.96), True),
        (goal("batch_mib_per_second", not_worse=0.05), 0.8, (0.7, 0.94), False),
        (goal("batch_mib_per_second", floor=0.7), 0.70, None, True),
        (goal("batch_mib_per_second", floor=0.7), 0.69, (0.6, 0.8), False),
        (goal(at_most=0.8), 0.5, None, None),
    ],
)
def test_goals(wanted: dict[str, t.Any], mean: float, interval: tuple[float, float] | None, met: bool | None) -> None:
    assert table.judge(wanted, table.Ratio(mean, interval, 7), 7) is met


def test_a_goal_without_pairs_cannot_be_told_and_one_without_a_bound_is_refused() -> None:
    assert table.judge(goal(floor=0.7), None, 7) is None
    assert table.judge(goal(floor=0.7), table.Ratio(0.8, (0.75, 0.85), 6), 7) is None
    with pytest.raises(table.TableError, match="at_most, at_least, better, not_worse or floor"):
        table.judge(goal(), table.Ratio(1.0, (0.9, 1.1), 7), 7)


def test_goals_name_arms_scenes_loads_and_figures_that_there_are() -> None:
    workload = WORKLOAD["memqos_bench_redis_default"]
    for one in GOALS["goals"]:
        assert {one["arm"], one["against"]} <= set(ARMS["memqos_bench_redis_arms"]) and one["figure"] in table.FIGURES
        assert one["scene"] in workload["scenes"] and one["load"] in workload["loads"] and harness.words(one)
    assert sorted(ARMS["memqos_bench_redis_arms"]) == sorted(DEFAULTS["memqos_bench_arms"]) and DEFAULTS["memqos_bench_pairs"] == GOALS["pairs"]
    assert GOALS["pairs"] >= table.LEAST_PAIRS


def test_the_ratio_of_set_to_get_is_one_to_four() -> None:
    default, smoke = WORKLOAD["memqos_bench_redis_default"], harness.SMOKE["memqos_bench_workload"]
    mixed = [workload["loads"]["mixed"] for workload in (default, smoke)]  # type: ignore[index]
    for load in mixed:
        clients = {client["command"]: client for client in load["clients"]}
        assert all(4 * clients["set"][name] == clients["get"][name] for name in ("requests", "connections"))


# The page

SETTINGS: dict[str, t.Any] = {
    "arms": ["untouched", "colocated"], "goals": {**GOALS, "resamples": 500}, "workload": WORKLOAD["memqos_bench_redis_default"], "workload_sha256": "ab" * 32,
    "overridden": [],
    "facts": {
        "system": "Debian", "kernel": "6.12", "systemd": "systemd 257", "redis": "Redis server v=8.0", "cpus": 2, "memory": 1 << 30, "swap": 1 << 29,
        "emulated": True,
    },
}  # fmt: skip


def test_a_page_says_what_was_found_and_of_what() -> None:
    found = runs([0.5, 0.52, 0.48, 0.52, 0.48, 0.51, 0.49])
    rows = [
        {"status": "changed", "subject": "batch.slice", "name": "MemoryHigh", "live_before": "max", "live_after": "1"},
        {"status": "ok", "subject": "", "name": "vm.swappiness", "live_before": "60", "live_after": "60"},
        {"status": "unsupported", "subject": "", "name": "lru_gen/enabled", "live_before": None, "live_after": None, "reason": "no such file"},
    ]
    values = {"memory.low": {"before": "0", "wanted": "7", "status": "changed"}, "memory.high": {"before": "max", "wanted": "max", "status": "ok"}}
    found[1]["tuned"] = {"results": rows, "containers": [{"name": "memqos-bench-redis.service", "values": values}]}
    judged = table.goals(found, SETTINGS)
    text = table.page(found, SETTINGS, judged)
    assert [(one["figure"], one["met"]) for one in judged][:3] == [("avg_ms", True), ("requests_per_second", None), ("p99_ms", None)]
    # Of kubelet nothing was run.
    assert all(one["against"] == "untouched" for one in judged)
    assert re.search(r"\| colocated / untouched, hog, mixed \| average, ms \| at most 0.8, surely better \| 0.500 \[0.48\d–0.51\d\] \| met \|", text)
    assert "kernel 6.12" in text and "`abababababab`" in text and "7 rounds, 14 runs" in text and "emulated" in text
    set_ = ("batch.slice MemoryHigh max → 1 (1 of 7 runs)", "lru_gen/enabled: unsupported (no such file) (1 of 7 runs)",
            "memqos-bench-redis.service memory.low 0 → 7 (1 of 7 runs)")  # fmt: skip
    assert f"| {'<br>'.join(set_)} |" in text and "memory.high max" not in text
    assert "vm.swappiness" not in text and "nan" not in text
    columns = [[row.count("|") for row in block.splitlines()] for block in text.split("\n\n") if block.startswith("| ")]
    assert columns and all(len(set(block)) == 1 for block in columns)


@pytest.mark.parametrize(
    ("tuned", "words"), [({}, "nothing |"), ({"results": []}, "nothing |"), ({"results": [{"status": "ok"}]}, "nothing: the node has it so |")]
)
def test_an_arm_that_changed_nothing_says_why(tuned: dict[str, t.Any], words: str) -> None:
    found = runs([0.5])
    row = {"subject": "", "name": "vm.swappiness", "live_before": "60", "live_after": "60"}
    found[1]["tuned"] = {name: [{**row, **one} for one in rows] for name, rows in tuned.items()}
    assert f"| colocated | 1 | {words}" in table.page(found, SETTINGS, []) and "| untouched | 1 | nothing |" in table.page(found, SETTINGS, [])


def test_batch_work_that_was_held_back_is_named() -> None:
    found = runs([0.5, 0.6])
    assert "did not have all" not in table.page(found, SETTINGS, [])
    for one, filled in zip(found, (True, False, True, True)):
        one["scenes"]["hog"]["waited"] = {"filled": filled}
    assert "did not have all that it wants when measuring began: colocated in hog (1 of 2 runs)." in table.page(found, SETTINGS, [])


def test_a_page_names_what_was_compared_by_its_digest() -> None:
    text = table.page(runs([0.5]), {**SETTINGS, "arms_sha256": "12" * 32, "profiles_sha256": "34" * 32, "programs_sha256": "56" * 32}, [])
    assert "workload.yml `abababababab`, arms.yml `121212121212`, our profiles `343434343434`, what measures `565656565656`" in text


def test_what_was_overridden_is_said() -> None:
    assert "but for loads" in table.page(runs([0.5]), {**SETTINGS, "overridden": ["loads"]}, [])


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1234.5, "1234"), (99.99, "100.0"), (12.34, "12.3"), (1.234, "1.23"), (0.5, "0.500"), (0.0004, "0.0004")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert table.number(value) == text


def test_a_directory_becomes_a_page(tmp_path: Path) -> None:
    with pytest.raises(table.TableError, match=r"settings\.json"):
        table.write(tmp_path)
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    with pytest.raises(table.TableError, match="holds no run"):
        table.write(tmp_path)
    found = runs([0.5, 0.6, 0.7])
    (tmp_path / "run-0001.json").write_text(json.dumps(found[0]))
    with pytest.raises(table.TableError, match="no round is whole: 1 of 2 runs of round 1"):
        table.write(tmp_path)
    # The last round was cut off.
    for one in found[:-1]:
        (tmp_path / f"run-{one['number']:04d}.json").write_text(json.dumps(one))
    assert table.main(["table", str(tmp_path)]) == 0
    assert (
        "2 rounds, 4 runs" in (tmp_path / "results.md").read_text() and "Left out is round 3, which has 1 of 2 runs." in (tmp_path / "results.md").read_text()
    )
    assert "# Redis beside batch work" in (tmp_path / "results.md").read_text() and json.loads((tmp_path / "results.json").read_text())["runs"] == 4
    (tmp_path / "run-0003.json").write_text('{"number": 3,')
    assert table.main(["table", str(tmp_path)]) == 1


def test_the_version_is_that_of_the_archive_or_of_the_checkout(tmp_path: Path) -> None:
    assert table.version(tmp_path) == "unknown"
    (tmp_path / "galaxy.yml").write_text("name: fleet\nversion: 1.2.3\n")
    assert table.version(tmp_path) == "1.2.3"
    (tmp_path / "MANIFEST.json").write_text('{"collection_info": {"version": "1.2.4"}}')
    assert table.version(tmp_path) == "1.2.4"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", table.version(table.COLLECTION))


# The harness


def left(tmp_path: Path, *met: bool | None, variables: dict[str, t.Any] | None = None) -> harness.Options:
    directory = tmp_path / "out" / "bench" / harness.MACHINE
    directory.mkdir(parents=True)
    found = [goal(at_most=0.8, met=one, found={"mean": 0.9}) for one in met]
    (directory / "results.json").write_text(json.dumps({"goals": found}))
    (directory / "results.md").write_text("the tables\n")
    return harness.Options(variables=variables or {}, out=tmp_path / "out", junit=tmp_path / "j" / "redis.xml", results=tmp_path / "results.md")


def failures(tmp_path: Path) -> list[bool]:
    cases = ElementTree.parse(tmp_path / "j" / "redis.xml").iter("testcase")
    return [case.find("failure") is not None for case in cases]


def test_the_whole_comparison_is_held_against_the_goals_and_is_published(tmp_path: Path) -> None:
    assert harness.conclude(left(tmp_path, True, True), 0) == 0
    assert (tmp_path / "results.md").read_text() == "the tables\n" and failures(tmp_path) == [False, False]


@pytest.mark.parametrize("met", [False, None])
def test_a_goal_that_is_missed_or_cannot_be_told_fails_it(tmp_path: Path, met: bool | None) -> None:
    assert harness.conclude(left(tmp_path, met), 0) == 1
    assert failures(tmp_path) == [False, True] and (tmp_path / "results.md").exists()


def test_a_part_fails_at_no_goal_and_is_not_published(tmp_path: Path) -> None:
    assert harness.conclude(left(tmp_path, False, variables={"memqos_bench_pairs": 2}), 0) == 0
    assert failures(tmp_path) == [False] and not (tmp_path / "results.md").exists()


def test_a_run_that_failed_fails_it_and_nothing_is_published(tmp_path: Path) -> None:
    assert harness.conclude(left(tmp_path, True), 2) == 1
    assert failures(tmp_path) == [True, False] and not (tmp_path / "results.md").exists()


def test_what_an_earlier_one_left_is_not_taken_for_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = left(tmp_path, True)
    (tmp_path / "out" / "bench" / harness.MACHINE / "arm-that-may-be-set").write_text("colocated\n")
    played: list[bool] = []

    class Unreachable:
        def __init__(self, *_arguments: t.Any, **_more: t.Any) -> None:
            pass

        def play(self, *_arguments: t.Any, **_more: t.Any) -> int:
            played.append((tmp_path / "out" / "bench" / harness.MACHINE / "arm-that-may-be-set").exists())
            return 4

    monkeypatch.setattr(harness, "booted", lambda *_arguments, **_more: contextlib.nullcontext({}))
    monkeypatch.setattr(harness, "Guest", Unreachable)
    monkeypatch.setattr(harness, "require_programs", lambda _programs: None)
    with pytest.raises(LabError, match="status 4 and left no result"):
        harness.run(options, Cache(tmp_path))
    assert played == [False] and not (tmp_path / "results.md").exists()


def test_a_part_has_a_directory_of_its_own() -> None:
    whole, rounds, part = (harness._options(argv).out.name for argv in ([], ["--pairs", "3"], ["--pairs", "3", "--scenes", "hog"]))
    assert (whole, rounds, part) == ("bench-redis", "bench-redis", "bench-redis-part")
    assert harness._options(["--smoke", "--out", "elsewhere"]).out.name == "elsewhere"


def test_a_playbook_that_left_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="status 2"):
        harness.conclude(harness.Options(variables={}, out=tmp_path), 2)


def test_options_become_variables_of_the_role() -> None:
    known = set(loaded("meta/argument_specs.yml")["argument_specs"]["main"]["options"])
    assert harness._options([]).whole and set(DEFAULTS) == known
    assert harness._options(["--resume"]).whole and harness._options(["--resume"]).resume
    smoke = harness._options(["--smoke"])
    assert not smoke.whole and set(smoke.variables) <= known
    given = harness._options(["--arms", "untouched,colocated", "--pairs", "2", "--scenes", "hog", "--loads", "mixed, small"]).variables
    assert given == {
        "memqos_bench_arms": "untouched,colocated", "memqos_bench_pairs": 2, "memqos_bench_scenes": ["hog"], "memqos_bench_loads": ["mixed", "small"],
    }  # fmt: skip
