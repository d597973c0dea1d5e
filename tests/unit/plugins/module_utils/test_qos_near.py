# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a model wants and a kernel has no file for: the intent that it stands for, and how near that comes."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _qos_files, _qos_near

MIB, GIB = 1 << 20, 1 << 30
V2 = frozenset(("memory.min", "memory.low", "memory.high", "memory.max", "memory.swap.max", "memory.oom.group"))
V1 = frozenset(("memory.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.swappiness", "memory.memsw.limit_in_bytes"))
SUBJECT = _qos_files.Subject(GIB, 2 * GIB, 8 * GIB, 4096)
LATENCY = {"memory.wmark_ratio": "95", "memory.wmark_scale_factor": "20", "memory.wmark_min_adj": "-25"}


def near(values: dict[str, str], present: frozenset[str], *, v2: bool = True, ranks: t.Collection[int] = (0, 12)) -> tuple[dict[str, str], dict[str, str]]:
    """(files, {intent: its equivalence})"""
    found = _qos_near.near(values, SUBJECT, present, v2=v2, ranks=ranks)
    return {file: text for file, (text, _intent) in found.files.items()}, {one.intent: one.equivalence for one in found.outcomes}


@pytest.mark.parametrize(
    "values", [{}, {"memory.low": "4096", "memory.high": "max"}, {"memory.wmark_ratio": "0", "memory.wmark_min_adj": "0", "memory.priority": "6"}]
)
def test_what_is_there_or_off_or_stands_for_nothing_comes_near_nothing(values: dict[str, str]) -> None:
    assert near(values, V2) == ({}, {})


def test_koordinators_marks_on_a_mainline_v2() -> None:
    mark = 2 * GIB * 95 // 100 // 4096 * 4096
    assert near(LATENCY, V2) == ({"memory.high": str(mark)}, {"background_reclaim": "near", "min_watermark": "none"})


@pytest.mark.parametrize(("high", "files"), [("max", {"memory.high": str(2 * GIB * 95 // 100 // 4096 * 4096)}), (str(GIB), {})])
def test_a_throttle_of_the_models_own_counts_for_more_than_what_comes_near(high: str, files: dict[str, str]) -> None:
    assert near({**LATENCY, "memory.high": high}, V2)[0] == files


def test_without_a_limit_there_is_no_watermark() -> None:
    found = _qos_near.near(LATENCY, SUBJECT._replace(limit=0), V2, v2=True)
    assert found.files == {}
    assert {one.intent: one.reason for one in found.outcomes}["background_reclaim"] == "it has no limit"


def test_a_mainline_v1() -> None:
    values = {"memory.min": "4096", "memory.low": str(GIB), "memory.high": str(GIB), "memory.swap.max": "0", "memory.oom.group": "1", **LATENCY}
    files, outcomes = near(values, V1, v2=False)
    assert files == {"memory.soft_limit_in_bytes": str(GIB), "memory.swappiness": "0"}
    none = ("protect_hard", "protect_soft", "background_reclaim", "min_watermark", "kill_together")
    assert outcomes == {"throttle": "near", "swap": "near", **dict.fromkeys(none, "none")}


def test_openeulers_async_ratio_stands_for_the_marks() -> None:
    present = V2 | {"memory.high_async_ratio"}
    files, outcomes = near({**LATENCY, "memory.high": str(GIB)}, present)
    assert files == {"memory.high_async_ratio": "95"} and outcomes["background_reclaim"] == "near"


@pytest.mark.parametrize(("priority", "level"), [(None, "-1"), ("0", "-1"), ("5", "-1"), ("6", "0"), ("12", "0")])
def test_who_is_killed_first_where_there_are_two_levels(priority: str | None, level: str) -> None:
    values = {"memory.use_priority_oom": "1", **({"memory.priority": priority} if priority else {})}
    assert near(values, V2 | {"memory.qos_level"}) == ({"memory.qos_level": level}, {"kill_first": "near"})


@pytest.mark.parametrize("ranks", [(), (0,), (0, 5), (6, 12)])
def test_ranks_that_are_one_to_a_kernel_of_two_levels_are_none(ranks: tuple[int, ...]) -> None:
    assert near({"memory.use_priority_oom": "1", "memory.priority": "0"}, V2 | {"memory.qos_level"}, ranks=ranks) == ({}, {"kill_first": "none"})


def test_a_rank_alone_says_nothing() -> None:
    assert near({"memory.priority": "1"}, V2 | {"memory.qos_level"}) == ({}, {})


def test_tencents_page_cache_limit() -> None:
    present: t.Any = V2 | {"memory.pagecache.max_ratio"}
    assert near({"memory.pagecache_limit.size": str(512 * MIB)}, present) == ({"memory.pagecache.max_ratio": "25"}, {"page_cache_limit": "near"})
