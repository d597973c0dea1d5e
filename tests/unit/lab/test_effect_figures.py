# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a window comes to, by captured ones of two kernels: the expected values were taken from the files by hand."""

from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab.effect import figures

WINDOWS = Path(__file__).resolve().parents[1] / "fixtures" / "windows"


def captured(name: str) -> figures.Window:
    window: figures.Window = json.loads((WINDOWS / f"{name}.json").read_text(encoding="utf-8"))
    return window


V2 = {
    "allocstall": 0,
    "pgscan_direct": 0,
    "pgsteal_kswapd": (115489 - 61456) / 5.02670476,
    "refault_file": 15083 / 5.02670476,
    "refault_anon": 0,
    "pswpout": 0,
    "oom_kill": 0,
    "stalled_some": (1743153 - 857182) / 5.02670476 / 1e4,
    "stalled_full": (457895 - 223349) / 5.02670476 / 1e4,
    "service_stalled": 60831 / 5.02670476 / 1e4,
    "service_refault_file": 6176 / 5.02670476,
    "service_refault_anon": 0,
    "service_usage": 240033792 / 2**20,
    "batch_stalled": 0,
    "batch_usage": 516349952 / 2**20,
    "batch_taken": (355467264 - 175112192) / (12.28 - 6.16) / 2**20,
    "batch_scan": 32505856 / (11.22 - 6.1) / 2**20,
    # 51 answered of 81: the 26th, 49th and 51st of them.
    "given_up": 100 * 30 / 81,
    "latency_p50": 178.362,
    "latency_p95": 1191.003,
    "latency_p99": 1847.795,
    "latency_max": 1847.795,
}
V1 = {
    "pswpout": (27502 - 5320) / 5.001485298,
    "refault_file": (9328 - 2990) / 5.001485298,
    "refault_anon": (3807 - 286) / 5.001485298,
    "service_refault_file": (9000 - 2700) / 5.001485298,
    "service_refault_anon": 109 / 5.001485298,
    "service_usage": 313167872 / 2**20,
    "batch_usage": 481304576 / 2**20,
    "given_up": 0,
    "latency_p50": 19.699,
    "latency_max": 125.832,
}


def test_a_window_of_v2() -> None:
    found = figures.figures(captured("debian13-6.12-v2"))
    assert found == pytest.approx(V2) and found.keys() == {figure.name for figure in figures.FIGURES}


def test_a_window_of_v1() -> None:
    """A slice's own row counts none of its services; and no cgroup tells its stalls."""
    found = figures.figures(captured("debian12-6.1-v1"))
    assert {name: found[name] for name in V1} == pytest.approx(V1)
    assert "service_stalled" not in found and "batch_stalled" not in found and "stalled_full" in found


def test_of_a_slice_on_v1_the_hierarchical_row_counts() -> None:
    stat = captured("debian12-6.1-v1")["after"]["cgroups"]["batch.slice"]["memory.stat"]
    assert "\nworkingset_refault_anon 0\n" in stat and figures.parse_rows(stat)["workingset_refault_anon"] == 3702


def changed(reading: str, **values: t.Any) -> figures.Window:
    window = copy.deepcopy(captured("debian13-6.12-v2"))
    window[reading].update(values)
    return window


def test_each_zone_that_stalled_counts() -> None:
    after = (
        captured("debian13-6.12-v2")["after"]["vmstat"]
        .replace("allocstall_movable 0", "allocstall_movable 7")
        .replace("allocstall_dma32 0", "allocstall_dma32 3")
    )
    assert figures.figures(changed("after", vmstat=after))["allocstall"] == pytest.approx(10 / 5.02670476)


def test_what_a_kernel_lacks_is_no_figure() -> None:
    found = figures.figures(changed("after", vmstat="pgsteal_kswapd 5\nworkingset_refault 9\n", pressure=None, cgroups={}, tools={}))
    # One refault counter before 5.9, of the page cache.
    assert {"refault_file", "pgsteal_kswapd"} <= found.keys()
    assert not {"refault_anon", "oom_kill", "stalled_some", "service_usage", "batch_scan"} & found.keys()
    # Below what it was: counted from zero.
    assert found["pgsteal_kswapd"] == pytest.approx(5 / 5.02670476)


def test_a_service_that_answers_nothing_has_no_latency() -> None:
    window = captured("debian13-6.12-v2")
    found = figures.figures({**window, "requests": ["-"] * 4})
    assert found["given_up"] == 100 and "latency_p50" not in found
    assert "given_up" not in figures.figures({**window, "requests": []})


def test_a_tool_that_was_killed_and_begun_anew_counts_from_then_on() -> None:
    (path, _line), *_others = captured("debian13-6.12-v2")["after"]["tools"].items()
    found = figures.figures(changed("after", tools={path: '{"seconds": 2.0, "held_bytes": 1, "taken_bytes": 8388608}'}))
    assert found["batch_taken"] == 4 and "batch_scan" not in found


@pytest.mark.parametrize(("percent", "expected"), [(50, 5), (95, 10), (99, 10), (10, 1), (11, 2)])
def test_percentiles_are_values_that_were_there(percent: float, expected: float) -> None:
    assert figures.percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == expected


def test_names_of_figures_are_unique_and_groups_stand_together() -> None:
    names, groups = [figure.name for figure in figures.FIGURES], [figure.group for figure in figures.FIGURES]
    assert len(set(names)) == len(names) and groups == sorted(groups, key=groups.index)
