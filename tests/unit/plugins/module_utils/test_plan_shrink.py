# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a cgroup's usage can go, and what it asks for. What becomes of whole plans: test_shrinking.py."""

from __future__ import annotations

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _plan_shrink
from ansible_collections.memqos.fleet.plugins.module_utils._steps import WriteStep

MIB = 1 << 20
STAT = {"inactive_anon": 40 * MIB, "active_anon": 20 * MIB, "inactive_file": 25 * MIB, "active_file": 5 * MIB, "slab_reclaimable": 2 * MIB}


def figures(usage: int = 100, *, swapped: int = 0, free: int = 0, **stat: int) -> _plan_shrink.Figures:
    """Sizes in MiB."""
    more = {key: size * MIB for key, size in stat.items()}
    return _plan_shrink.figures(usage * MIB, {**STAT, **more}, swapped=swapped * MIB, free_swap=free * MIB)


@pytest.mark.parametrize("free, fixed", [(0, 68), (30, 38), (60, 8), (500, 8)])
def test_cache_and_slab_go_and_anonymous_memory_as_far_as_there_is_swap(free: int, fixed: int) -> None:
    assert figures(free=free).fixed == fixed * MIB


def test_a_usage_below_its_cache_is_none() -> None:
    """The kernel counts in batches."""
    assert (figures(30).fixed, figures(30).demand) == (0, 0)


@pytest.mark.parametrize("cached, demand", [(0, 118), (20, 98), (50, 68), (500, 68)])
def test_a_page_in_the_swap_cache_is_demanded_once(cached: int, demand: int) -> None:
    """No more of them than are swapped."""
    assert figures(swapped=50, swapcached=cached).demand == demand * MIB


def test_what_is_not_on_the_disk_yet_is_dirty() -> None:
    assert figures(file_dirty=3, file_writeback=4).dirty == 7 * MIB


@pytest.mark.parametrize("bounds, room, most", [("memory.max", 3 * MIB, 197 * MIB), ("memory.high", 0, 200 * MIB * 10 // 9)])
def test_a_bound_that_kills_has_room_below_it_and_memory_high_lets_some_stand_beyond(bounds: str, room: int, most: int) -> None:
    step = WriteStep("memory.high", "memcg", "batch.slice", "/sys/fs/cgroup/batch.slice/memory.high", "max", "max", bound=200 * MIB, bounds=bounds)
    assert (_plan_shrink.room(step), _plan_shrink.most(step)) == (room, most)
