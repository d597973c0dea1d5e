# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _plan_shrink, _shrink
from ansible_collections.memqos.fleet.plugins.module_utils._plan_shrink import Figures
from ansible_collections.memqos.fleet.plugins.module_utils._shrink import Clock, GaveUp, Shrinking, Shrunk
from ansible_collections.memqos.fleet.plugins.module_utils._steps import WriteStep

MIB = 1 << 20


class World:
    """A cgroup that is reclaimed from and whose tasks go on, by a clock of its own. Sizes in MiB."""

    def __init__(self, *, bound: int, anon: int = 0, cache: int = 0, bounds: str = "memory.max", version: int = 2) -> None:
        path = "/sys/fs/cgroup/batch.slice/memory.high" if version == 2 else "/sys/fs/cgroup/memory/batch.slice/memory.limit_in_bytes"
        self.step = WriteStep("memory.high", "memcg", "batch.slice", path, "max", "max", bound=bound * MIB, bounds=bounds)
        self.version, self.directory = version, path.rpartition("/")[0]
        self.anon, self.cache, self.dirty = float(anon), float(cache), 0.0
        self.swapped, self.swap = 0.0, 0.0
        self.swap_cache, self.swaps_out = 0.0, 1e9  # what has its slot and is still there; MiB a second that the disk takes
        self.time, self.stalls, self.deaths = 0.0, 0.0, 0
        self.limit: float | None = None
        self.grows = self.reads = self.cleaned = 0.0  # MiB a second
        self.most = 1e9
        self.stalls_at = lambda usage: 0.0  # share of the time
        self.asked: list[float] = []
        self.dies_with_the_first_step = False

    # The clock

    def clock(self) -> Clock:
        return Clock(lambda: self.time, self.pass_time)

    def pass_time(self, seconds: float) -> None:
        """Memory comes and goes; a limit takes cache first, then what fits into swap, and keeps the rest from growing."""
        self.time += seconds
        self.swap_cache = max(0.0, self.swap_cache - self.swaps_out * seconds)
        self.stalls += self.stalls_at(self.usage) * seconds
        grown = max(0.0, min(self.most - self.anon, self.grows * seconds))
        self.anon += grown
        self.cache += self.reads * seconds
        self.dirty = max(0.0, self.dirty - self.cleaned * seconds)
        if self.limit is not None:
            self.take(self.usage - self.limit)
            self.anon -= max(0.0, min(grown, self.usage - self.limit))

    @property
    def usage(self) -> float:
        return self.anon + self.swap_cache + self.cache + self.dirty

    def take(self, size: float) -> None:
        cache = max(0.0, min(size, self.cache))
        anon = max(0.0, min(size - cache, self.swap - self.swapped, self.anon))
        self.cache, self.anon, self.swapped = self.cache - cache, self.anon - anon, self.swapped + anon
        self.swap_cache += anon if self.swaps_out < 1e9 else 0.0

    # What _shrink.Home does

    def measure(self) -> Figures:
        stat = {"inactive_file": int((self.cache + self.dirty) * MIB), "inactive_anon": int((self.anon + self.swap_cache) * MIB)}
        stat.update(file_dirty=int(self.dirty * MIB), swapcached=int(self.swap_cache * MIB))
        return _plan_shrink.figures(int(self.usage * MIB), stat, swapped=int(self.swapped * MIB), free_swap=int((self.swap - self.swapped) * MIB))

    def stalled(self) -> float | None:
        return self.stalls

    def kills(self) -> int:
        return self.deaths

    def reclaim(self, size: int, usage: int, *, held: bool) -> None:
        self.deaths += 2 if self.dies_with_the_first_step and not self.asked else 0
        self.asked.append(size / MIB)
        if self.version == 1 or held:
            self.bind(max(self.step.bound, usage - size))
        else:
            self.pass_time(0.05)
            self.take(size / MIB)

    def bind(self, bytes_: int) -> None:
        self.limit = bytes_ / MIB
        self.pass_time(0.05)


def shrink(world: World, *, seconds: float = 40.0, last: bool = True) -> Shrunk:
    return Shrinking(world, until=world.time + seconds, last=last, clock=world.clock()).run()


def test_page_cache_goes_in_steps_of_at_most_a_sixteenth() -> None:
    world = World(bound=200, anon=100, cache=900)
    told = shrink(world)
    assert (told.done, told.before, told.unit, told.knob) == (True, 1000 * MIB, "batch.slice", "memory.max")
    assert told.usage <= 200 * MIB
    assert len(world.asked) > 12
    assert max(world.asked) <= 1000 / 16


def test_the_largest_step_is_64_mib() -> None:
    world = World(bound=10000, cache=20000)
    assert shrink(world, seconds=400).done
    assert max(world.asked) == 64


@pytest.mark.parametrize(("usage", "tried"), [(190, True), (151, True), (150, False), (0, False)])
def test_what_fits_already_is_only_tried_and_what_is_far_below_not_even_that(usage: int, tried: bool) -> None:
    world = World(bound=200, anon=usage)
    assert shrink(world).done
    assert not world.asked
    assert (world.time >= 2) is tried
    assert world.limit == (200 if tried else None)


def test_what_grows_while_it_fits_still_is_not_given_the_bound() -> None:
    world = World(bound=200, anon=190)
    world.grows = 3
    with pytest.raises(GaveUp, match="it grows by|cannot be reclaimed"):
        shrink(world)


def test_what_memory_high_lets_stand_beyond_it_ends_the_steps() -> None:
    """Its cache has gone, and its working set is a little larger than the bound: no more is asked for."""
    world = World(bound=100, anon=105, cache=400, bounds="memory.high")
    told = shrink(world)
    assert told.done
    assert 105 * MIB <= told.usage <= 107 * MIB
    with pytest.raises(GaveUp, match="112 MiB of it cannot be reclaimed"):
        shrink(World(bound=100, anon=112, cache=400, bounds="memory.high"))


def test_a_call_before_the_last_does_not_try() -> None:
    world = World(bound=200, anon=100)
    assert shrink(world, last=False).done
    assert world.time == 0


def test_anonymous_memory_without_swap_is_refused_before_anything_is_taken() -> None:
    world = World(bound=200, anon=300, cache=100)
    with pytest.raises(GaveUp, match=r"does not get below 200 MiB \(batch.slice memory.max\): 300 MiB of it cannot be reclaimed"):
        shrink(world)
    assert not world.asked


def test_it_goes_to_swap_as_far_as_there_is() -> None:
    world = World(bound=200, anon=300, cache=100)
    world.swap = 150
    told = shrink(world)
    assert told.done
    assert told.usage <= 200 * MIB
    short = World(bound=200, anon=300)
    short.swap = 90
    with pytest.raises(GaveUp, match="210 MiB of it cannot be reclaimed"):
        shrink(short)


def test_a_bound_leaves_room_for_what_is_not_seen() -> None:
    """One percent and a MiB."""
    with pytest.raises(GaveUp, match="cannot be reclaimed"):
        shrink(World(bound=200, anon=198, cache=10))
    assert shrink(World(bound=200, anon=196, cache=10)).done


@pytest.mark.parametrize(("rate", "most", "done"), [(0.01, 1e9, True), (1.0, 1e9, False), (8.0, 1e9, False), (8.0, 110.0, False), (0.0, 1e9, True)])
def test_what_grows_towards_the_bound_is_not_given_it(rate: float, most: float, done: bool) -> None:
    world = World(bound=150, anon=100, cache=200)
    world.grows, world.most = rate, most
    if done:
        assert shrink(world).done
        return
    with pytest.raises(GaveUp, match="it grows by .* a second, and would be killed within 60 s"):
        shrink(world)
    assert world.deaths == 0


def test_what_grows_far_below_its_bound_gets_it() -> None:
    world = World(bound=4000, anon=100, cache=6000)
    world.grows = 5
    assert shrink(world, seconds=400).done


def test_a_page_that_is_on_its_way_to_the_disk_is_no_growth() -> None:
    world = World(bound=54, anon=131)
    world.swap, world.swaps_out = 200, 8
    assert shrink(world).done


def test_growth_into_swap_counts() -> None:
    """Usage stands still at the bound; what it needs does not."""
    world = World(bound=150, anon=140, cache=50)
    world.swap, world.grows = 100, 4
    with pytest.raises(GaveUp, match="it grows by"):
        shrink(world)


def test_growth_is_no_matter_of_memory_high() -> None:
    """It does not kill."""
    world = World(bound=150, anon=100, cache=200, bounds="memory.high")
    world.grows = 2
    assert shrink(world).done


def test_a_reader_that_fetches_as_fast_as_it_loses_is_held() -> None:
    world = World(bound=100, anon=20, cache=400)
    world.reads = 2000
    told = shrink(world)
    assert told.done
    # Until the bound itself is set.
    assert world.limit == 100


def test_dirty_pages_are_waited_for() -> None:
    world = World(bound=100, anon=20)
    world.dirty, world.cleaned = 300, 20
    told = shrink(world)
    assert told.done
    assert world.time > 10


def test_a_few_dirty_pages_are_no_reason_to_go_on() -> None:
    world = World(bound=100, anon=20, cache=400)
    world.dirty = 40
    world.take = lambda size: None  # type: ignore[method-assign]
    with pytest.raises(GaveUp, match="nothing more of it can be reclaimed"):
        shrink(world)


def test_after_its_time_a_call_takes_no_step() -> None:
    world = World(bound=100, anon=20, cache=400)
    assert not shrink(world, seconds=0, last=False).done
    assert not world.asked and world.time == 0


def test_where_nothing_more_is_found_it_gives_up() -> None:
    world = World(bound=100, anon=20, cache=400)
    world.take = lambda size: None  # type: ignore[method-assign]
    with pytest.raises(GaveUp, match="nothing more of it can be reclaimed: 420 MiB stay"):
        shrink(world)
    assert 3 < world.time < 15


def test_time_that_is_over_is_no_error_before_the_last_call() -> None:
    world = World(bound=100, anon=20, cache=4000)
    told = shrink(world, seconds=2.5, last=False)
    assert not told.done
    assert 100 * MIB < told.usage < 4000 * MIB
    assert _shrink.too_slow(told).startswith("batch.slice memory.max: ")
    assert "are in use and 100 MiB wanted when the time is over: allow more (memqos_shrink_within)" in _shrink.too_slow(told)


def test_tasks_that_wait_for_memory_make_it_pause_and_then_stop() -> None:
    world = World(bound=100, anon=20, cache=4000)
    world.stalls_at = lambda usage: 0.9 if usage < 3000 else 0.0
    with pytest.raises(GaveUp, match=r"its tasks wait for memory [0-9]+% of the time while it shrinks"):
        shrink(world)
    # Ten pauses of a second, and then no more.
    assert world.time > 10
    assert world.usage > 1500


def test_stalls_from_before_are_not_ours() -> None:
    world = World(bound=100, anon=20, cache=400)
    world.stalls_at = lambda usage: 0.6
    assert shrink(world).done


def test_stalls_at_the_bound_refuse_it() -> None:
    world = World(bound=100, anon=20, cache=400)
    world.stalls_at = lambda usage: 0.7 if usage <= 100 else 0.0
    with pytest.raises(GaveUp, match=r"held there, its tasks wait for memory 70% of the time"):
        shrink(world)


def test_v1_steps_down_by_the_limit_itself_and_ends_there() -> None:
    world = World(bound=100, anon=20, cache=400, version=1)
    told = shrink(world)
    assert told.done
    assert world.limit == 100


def test_v1_does_not_begin_where_it_would_kill() -> None:
    world = World(bound=150, anon=100, cache=200, version=1)
    world.grows = 4
    with pytest.raises(GaveUp, match="it grows by"):
        shrink(world)
    assert world.limit is None


def test_kills_meanwhile_are_told() -> None:
    world = World(bound=100, anon=20, cache=400)
    world.dies_with_the_first_step = True
    assert shrink(world).killed == 2
