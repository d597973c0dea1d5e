# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What values of cgroups are to each other and to the kernel, and in which order they are written."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _memcg_rules
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._knobs._values import KnobValueError
from ansible_collections.memqos.fleet.plugins.module_utils._steps import Memcg

FILES = ["memory.min", "memory.low", "memory.high", "memory.swap.max", "memory.soft_limit_in_bytes", "memory.swappiness", "memory.wmark_ratio",
         "memory.wmark_scale_factor", "memory.wmark_min_adj", "memory.oom.group", "memory.qos_level", "memory.pagecache_limit.size"]  # fmt: skip
TEXTS = st.one_of(
    st.integers(0, 1 << 64).map(str), st.integers(-30, 5000).map(str), st.sampled_from(["max", "-1", "infinity", "", "0 ", "1_0", "٣", "9" * 21, "4K", "y"])
)


@given(st.sampled_from(FILES), TEXTS, TEXTS, st.sampled_from([4096, 65536]))
def test_quick_or_slow_two_values_are_one_to_the_kernel(file: str, one: str, other: str, page: int) -> None:
    try:
        slow = _registry.same(_registry.find(file), one, other, page)
    except KnobValueError:
        slow = one.split() == other.split()
    assert _memcg_rules.same(file, one, other, page) == (slow or one == other)


@pytest.mark.parametrize(
    ("file", "one", "other", "same"),
    [
        ("memory.low", "4097", "8191", True),
        ("memory.low", "4096", "8192", False),
        ("memory.high", "max", "9223372036854771712", True),  # v1 shows no limit so
        ("memory.high", "max", "8192", False),
        ("memory.soft_limit_in_bytes", "-1", "9223372036854771712", True),
        ("memory.wmark_ratio", "95", "095", True),
        ("memory.wmark_ratio", "max", "95", False),
        ("memory.wmark_min_adj", "-25", "-25", True),
        ("memory.wmark_min_adj", "-25", "0", False),
        ("memory.oom.group", "1", "0", False),
        ("memory.min", "a word", "a  word", True),
    ],
)
def test_same(file: str, one: str, other: str, same: bool) -> None:
    assert _memcg_rules.same(file, one, other, 4096) is _memcg_rules.same(file, other, one, 4096) is same


@pytest.mark.parametrize(
    ("file", "text", "off"),
    [
        ("memory.min", "0", True), ("memory.min", "1", False), ("memory.high", "max", True), ("memory.high", "0", False), ("memory.swap.max", "max", True),
        ("memory.swap.max", "0", False), ("memory.wmark_ratio", "0", True), ("memory.wmark_ratio", "95", False), ("memory.wmark_scale_factor", "50", False),
        ("memory.wmark_min_adj", "0", True), ("memory.oom.group", "0", True),
    ],
)  # fmt: skip
def test_off_is_what_a_kernel_without_the_file_does(file: str, text: str, off: bool) -> None:
    assert _memcg_rules.is_off(file, text) is off


def test_loose_are_those_that_the_kernel_shows_otherwise() -> None:
    assert [file for file in FILES if _memcg_rules.is_loose(file)] == ["memory.wmark_min_adj", "memory.pagecache_limit.size"]


@pytest.mark.parametrize(
    ("values", "effective"),
    [
        ({"/a/b/c": "-25"}, "-25"),  # ancestors that have 0 do not count
        ({"/a/b/c": "-25", "/a/b": "0", "/a": "0"}, "-25"),
        ({"/a/b/c": "-25", "/a/b": "-10"}, "-10"),
        ({"/a/b/c": "-25", "/a/b": "0", "/a": "50"}, "50"),
        ({"/a/b/c": "50", "/a/b": "-10"}, "50"),
        ({"/a/b/c": "0", "/a": "-25"}, "0"),  # its own 0 does
        ({"/a/b/c": "a word", "/a": "50"}, "a word"),
        ({"/a/b/c": "-25", "/a": "a word"}, "-25"),
    ],
)
def test_the_min_watermark_reads_the_highest_of_its_ancestors(values: dict[str, str], effective: str) -> None:
    reading = _memcg_rules.Reading(lambda path, file: values.get(path), 4096)
    for _again in range(2):  # from what the first has learnt too
        assert reading.text("/a/b/c", "memory.wmark_min_adj", values["/a/b/c"]) == effective


@pytest.mark.parametrize(
    ("limit", "own", "reads"),
    [
        ("max", "123456789", "123453440"), ("9223372036854771712", "8192", "8192"), ("4096", "8192", "4096"), ("8192", "4096", "4096"), (None, "4097", "4096"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["memory.max", "memory.limit_in_bytes"])
def test_a_page_cache_limit_reads_no_more_than_the_limit_in_pages(name: str, limit: str | None, own: str, reads: str) -> None:
    """Of the cgroup itself: nothing above has a say."""
    held = {("/a/b", name): limit, ("/a", name): "0"}
    reading = _memcg_rules.Reading(lambda path, file: held.get((path, file)), 4096)
    assert reading.text("/a/b", "memory.pagecache_limit.size", own) == reads


@pytest.mark.parametrize(
    ("held", "bound"),
    [
        ({}, ("", "")), ({"/a/b": "8192", "/a": "max"}, ("", "")), ({"/a/b": "4096", "/a": "8192"}, ("/a/b", "4096")),
        ({"/a/b": "8192", "/a": "0"}, ("/a", "0")), ({"/a/b": "0", "/a": "0"}, ("/a/b", "0")),
    ],
)  # fmt: skip
def test_what_protects_counts_as_far_as_all_above_have_it(held: dict[str, str], bound: tuple[str, str]) -> None:
    reading = _memcg_rules.Reading(lambda path, file: held.get(path) if file == "memory.low" else None, 4096)
    for _again in range(2):
        assert reading.bound("/a/b/c", "memory.low", "8192") == bound
    assert reading.bound("/a/b/c", "memory.low", "0") == ("", "")


@pytest.mark.parametrize(
    ("file", "now", "ours"),
    [
        ("memory.wmark_min_adj", "-25", True), ("memory.wmark_min_adj", "-10", True), ("memory.wmark_min_adj", "10", False),
        ("memory.pagecache_limit.size", "65536", True), ("memory.pagecache_limit.size", "131072", True), ("memory.pagecache_limit.size", "4096", False),
        ("memory.low", "131072", True), ("memory.low", "65536", False),
    ],
)  # fmt: skip
def test_ours_is_what_comes_of_what_was_written(file: str, now: str, ours: bool) -> None:
    held = {("/a", "memory.wmark_min_adj"): "-10", ("/a/b", "memory.max"): "65536"}
    reading = _memcg_rules.Reading(lambda path, file: held.get((path, file)), 4096)
    text = "-25" if file == "memory.wmark_min_adj" else "131072"
    assert _memcg_rules.is_ours(file, "/a/b", now, [text], reading, 4096) is ours


# The order


Tree = t.Dict[str, t.Tuple[int, int]]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """{path: (before, after)} where no child has more than its parent, before and after."""
    made: Tree = {}

    def add(path: str, most: tuple[int, int], depth: int) -> None:
        made[path] = draw(st.tuples(st.integers(0, most[0]), st.integers(0, most[1])))
        for number in range(draw(st.integers(0, 3)) if depth else 0):
            add(f"{path}/{number}", made[path], depth - 1)

    add("/kubepods", (9, 9), 3)
    return made


def memcgs(tree: Tree, file: str, word: t.Callable[[int], str] = str) -> list[Memcg]:
    return [Memcg(path, 1, ((file, word(before), word(after)),)) for path, (before, after) in tree.items()]


@given(trees(), st.sampled_from(["memory.low", "memory.min", "memory.high", "memory.max"]), st.randoms(use_true_random=False))
def test_at_no_instant_does_a_child_have_more_than_its_parent(tree: Tree, file: str, chance: t.Any) -> None:
    steps = memcgs(tree, file, lambda value: "max" if value == 9 and not file.endswith(("low", "min")) else str(value))
    chance.shuffle(steps)
    now = {path: before for path, (before, _after) in tree.items()}
    for memcg, values in _memcg_rules.passes(steps):
        ((_file, before, after),) = values
        assert (before, after) == memcg.values[0][1:]
        now[memcg.path] = tree[memcg.path][1]
        for path, value in now.items():
            above = path.rpartition("/")[0]
            assert above not in now or now[above] >= value
    assert now == {path: after for path, (_before, after) in tree.items()}


@st.composite
def summed(draw: st.DrawFn) -> tuple[Tree, dict[str, tuple[int, int]]]:
    """(what protects, {path: sums of its children}) where a parent has at least the sum of its children, before and after."""
    leaves = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=4))
    total = (sum(one[0] for one in leaves), sum(one[1] for one in leaves))
    more = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    tree = {"/kubepods": (total[0] + more[0], total[1] + more[1]), **{f"/kubepods/{number}": leaf for number, leaf in enumerate(leaves)}}
    return tree, {"/kubepods": total}


@given(summed())
def test_a_parent_never_has_less_than_its_children_had_or_will_have(case: tuple[Tree, dict[str, tuple[int, int]]]) -> None:
    tree, sums = case
    now = {path: before for path, (before, _after) in tree.items()}
    for memcg, _values in _memcg_rules.passes(memcgs(tree, "memory.low")):
        now[memcg.path] = tree[memcg.path][1]
        assert now["/kubepods"] >= min(sums["/kubepods"])


@given(trees(), trees())
def test_each_value_is_written_once_and_turned_round_gives_the_start(low: Tree, high: Tree) -> None:
    paths = sorted({*low, *high})
    values = {path: tuple((file, *map(str, tree[path])) for file, tree in (("memory.low", low), ("memory.high", high)) if path in tree) for path in paths}
    steps = [Memcg(path, 1, t.cast("t.Any", of)) for path, of in values.items()]
    before = {(path, file): was for path, of in values.items() for file, was, _now in of}
    after = {(path, file): now for path, of in values.items() for file, _was, now in of}
    written = [(memcg.path, value[0]) for memcg, of in _memcg_rules.passes(steps) for value in of]
    assert sorted(written) == sorted(key for key in before if before[key] != after[key])
    turned = [memcg._replace(values=tuple((file, now, was) for file, was, now in memcg.values)) for memcg in steps]
    state = dict(before)
    for direction in (steps, turned):
        for memcg, of in _memcg_rules.passes(direction):
            for file, was, now in of:
                assert state[memcg.path, file] == was
                state[memcg.path, file] = now
        assert state == (after if direction is steps else before)


@pytest.mark.parametrize(("before", "after", "first"), [("-1", "4096", "leaf"), ("4096", "-1", "top"), ("max", "0", "leaf"), ("0", "max", "top")])
def test_no_limit_is_the_largest(before: str, after: str, first: str) -> None:
    steps = [Memcg(path, 1, (("memory.soft_limit_in_bytes", before, after),)) for path in ("/top", "/top/leaf")]
    assert next(_memcg_rules.passes(steps))[0].path.rpartition("/")[2] == first


def test_what_no_ancestor_bounds_is_written_with_what_shrinks() -> None:
    steps = [Memcg(path, 1, (("memory.wmark_ratio", "0", "95"),)) for path in ("/top", "/top/leaf")]
    assert [memcg.path for memcg, _values in _memcg_rules.passes(steps)] == ["/top/leaf", "/top"]
