# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows of a plan: reasons, refusals, when two texts are one value."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _plan_rows
from ansible_collections.memqos.fleet.plugins.module_utils._guards import Danger
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._plan_rows import Row, Said
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.made_present import PAGE, present, unit, wish

ROW = Row("vm.swappiness", "host", "", "10", status="would_change")
DANGER = Danger("limit_below_usage", "too little")


def test_reasons_add_up_and_the_last_status_counts() -> None:
    row = ROW.because("one").because("").because("two", "deferred").because("three")
    assert (row.reason, row.status) == ("one; two; three", "deferred")


@pytest.mark.parametrize(
    "danger, allow, status, reason",
    [
        (None, (), "would_change", ""),
        (DANGER, (), "refused", "too little. To do it all the same: memqos_allow_risks: [limit_below_usage]"),
        (DANGER, ("oom_kill_disable",), "refused", "too little. To do it all the same: memqos_allow_risks: [limit_below_usage]"),
        (DANGER, ("limit_below_usage",), "would_change", "allowed (limit_below_usage): too little"),
    ],
)
def test_a_danger_is_refused_or_allowed_by_its_name(danger: t.Optional[Danger], allow: t.Tuple[str, ...], status: str, reason: str) -> None:
    row = _plan_rows.judged(ROW, danger, allow)
    assert (row.status, row.reason) == (status, reason)


SAME = [
    ("vm.swappiness", "10", "10", True),
    ("vm.swappiness", "10", None, False),
    ("vm.swappiness", None, None, True),
    ("zswap/enabled", "Y", "1", True),
    ("lru_gen/enabled", "0x0007", "7", True),
    ("vm.lowmem_reserve_ratio", "256\t256\t32\t0\t0", "256 256 32", True),
    ("MemoryHigh", "infinity", "max", True),
    ("memory.high", "5000", "4096", True),
    ("memory.high", "9000", "4096", False),
    # What cannot be read is compared as words.
    ("vm.swappiness", "no number", "no  number", True),
]


@pytest.mark.parametrize("name, one, other, same", SAME)
def test_two_texts_are_one_value(name: str, one: t.Optional[str], other: t.Optional[str], same: bool) -> None:
    assert _plan_rows.is_same(_registry.find(name), one, other, PAGE) is same


@pytest.mark.parametrize(
    "name, reason",
    [
        ("vm.percpu_pagelist_fraction", "this kernel has no vm.percpu_pagelist_fraction (until 5.13)"),
        ("vm.defrag_mode", "this kernel has no vm.defrag_mode (mainline has it since 6.15)"),
        ("zswap/same_filled_pages_enabled", "this kernel has no zswap/same_filled_pages_enabled (mainline has it since 4.16, until 6.9)"),
        ("vm.memcg_qos_enable", "this kernel has no vm.memcg_qos_enable (a kernel of openeuler has it)"),
        ("vm.swappiness", "this kernel has no vm.swappiness"),
    ],
)
def test_why_a_node_can_lack_a_knob(name: str, reason: str) -> None:
    assert _plan_rows.lacking(_registry.find(name)) == reason


@pytest.mark.parametrize(
    "said, text",
    [
        (Said("TuneD", "/etc/tuned/x/tuned.conf", 3, "1"), "TuneD: /etc/tuned/x/tuned.conf:3"),
        (Said("drop-in", "/etc/x.conf", 0, None), "drop-in: /etc/x.conf"),
        (Said("koordlet", "", 0, None), "koordlet"),
    ],
)
def test_a_place_for_people(said: Said, text: str) -> None:
    assert _plan_rows.place(said) == text


def test_a_new_row_has_the_words_of_its_knob() -> None:
    row = _plan_rows.new_row(wish("MemoryHigh", "2G", "batch.slice"), "batch.slice")
    assert (row.wanted, row.scope, row.subject, row.profile, row.status) == ("2147483648", "unit", "batch.slice", "one", "ok")


@pytest.mark.parametrize("after, written", [("max", "max"), ("5000", "4096"), ("4096", "4096")])
def test_a_file_of_a_cgroup_is_written_in_the_words_that_the_kernel_shows(after: str, written: str) -> None:
    """So that what boot gives to a new cgroup is known as ours."""
    batch = unit("batch.slice", "/batch.slice", high="max")
    step = _plan_rows.cgroup_write(batch, _registry.find("memory.high"), after, present({}, batch))
    assert (step.path, step.before, step.after, step.inode) == ("/sys/fs/cgroup/batch.slice/memory.high", "max", written, 7)


def test_areas_that_are_asked_for() -> None:
    options = _plan_rows.Options("report", False, ("swap", "thp"), (), "x.conf")
    assert [options.covers(area) for area in ("swap", "thp", "host")] == [True, True, False]
    assert options._replace(only=()).covers("host")
