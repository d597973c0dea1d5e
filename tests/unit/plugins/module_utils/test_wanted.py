# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What layers come to on a node."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _wanted
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._wanted import Basis, Folded, Skipped

MiB, GiB, TiB = 1 << 20, 1 << 30, 1 << 40
LIVE = {"vm.swappiness": 60, "vm.dirty_ratio": 20, "vm.dirty_bytes": 0, "vm.min_free_kbytes": 67584, "vm.watermark_scale_factor": 10}


def fold(*layers: t.Dict[str, t.Any], **basis: t.Any) -> Folded:
    given_basis: t.Dict[str, t.Any] = {"env": {"facts": {}, "knob": {}}, "memtotal": 8 * GiB, "page_size": 4096, "kernel": "6.12.48", "live": LIVE, "units": {}}
    given_basis.update(basis)
    named = [{"profile": "abcdefgh"[number], **layer} for number, layer in enumerate(layers)]
    # As they arrive: layers come as JSON.
    return _wanted.fold(json.loads(json.dumps(named)), Basis(**given_basis))


def host(knob: str, *entries: t.Dict[str, t.Any], **basis: t.Any) -> t.Any:
    """The value that these entries, one a layer, want of one host knob; "nothing" if none."""
    folded = fold(*({"host": {knob: entry}} for entry in entries), **basis)
    assert folded.refused == {}
    found = [wanted.value for wanted in folded.wanted.values() if wanted.knob == knob]
    return found[0] if found else "nothing"


MATRIX = [
    # knob, entries from the first layer to the last, wanted
    ("vm.swappiness", [{"value": 10}], 10),
    ("vm.swappiness", [{"value": "10"}], 10),
    ("vm.swappiness", [{"value": 10}, {"value": 30}], 30),
    ("vm.swappiness", [{"value": 10}, {"absent": True}], "nothing"),
    ("vm.swappiness", [{"absent": True}], "nothing"),
    ("vm.swappiness", [{"value": 10}, {"absent": True}, {"lower_to": 30}], 30),
    # A bound moves the live value one way, or leaves it and still wants it, so that it is persisted.
    ("vm.swappiness", [{"lower_to": 10}], 10),
    ("vm.swappiness", [{"lower_to": 60}], 60),
    ("vm.swappiness", [{"lower_to": 100}], 60),
    ("vm.swappiness", [{"raise_to": 100}], 100),
    ("vm.swappiness", [{"raise_to": 10}], 60),
    # A bound moves what earlier layers want, whatever is live.
    ("vm.swappiness", [{"value": 5}, {"lower_to": 10}], 5),
    ("vm.swappiness", [{"value": 5}, {"raise_to": 10}], 10),
    ("vm.swappiness", [{"value": 80}, {"lower_to": 10}], 10),
    ("vm.swappiness", [{"lower_to": 10}, {"lower_to": 30}], 10),
    ("vm.swappiness", [{"lower_to": 30}, {"lower_to": 10}], 10),
    ("vm.swappiness", [{"raise_to": 100}, {"raise_to": 80}], 100),
    ("vm.swappiness", [{"lower_to": 10}, {"value": 40}], 40),
    # No live value: the node has no such knob, and the plan says so.
    ("vm.max_map_count", [{"raise_to": 262144}], 262144),
    ("transparent_hugepage/enabled", [{"value": "madvise"}], "madvise"),
    ("vm.lowmem_reserve_ratio", [{"value": [256, 256, 32]}], [256, 256, 32]),
    ("zswap/enabled", [{"value": 1}], 1),
    ("lru_gen/enabled", [{"value": "0x7"}], 7),
    ("vm.min_free_kbytes", [{"value": "128MiB"}], 131072),
    # Shares of 8 GiB.
    ("vm.min_free_kbytes", [{"of_memory": [1, 100]}], 83884),
    ("vm.min_free_kbytes", [{"of_memory": [1, 100], "max": 64 * MiB}], 65536),
    ("vm.min_free_kbytes", [{"of_memory": [1, 1000], "min": 64 * MiB}], 65536),
    ("vm.min_free_kbytes", [{"raise_to": {"of_memory": [1, 100]}}], 83884),
    ("vm.min_free_kbytes", [{"raise_to": {"of_memory": [1, 1000]}}], 67584),
    ("vm.dirty_bytes", [{"of_memory": [10, 100], "max": 512 * MiB}], 512 * MiB),
    ("hugepages/hugepages-2048kB/nr_hugepages", [{"of_memory": [25, 100]}], 1024),
    # In parts of memory: 1.5 % is 150 on every node, and 8 MiB of 8 GiB are 9.77.
    ("vm.watermark_scale_factor", [{"of_memory": [15, 1000]}], 150),
    ("vm.watermark_scale_factor", [{"of_memory": [15, 1000], "max": 8 * MiB}], 9),
    ("vm.watermark_scale_factor", [{"raise_to": {"of_memory": [15, 1000], "max": 8 * MiB}}], 10),
    ("vm.watermark_scale_factor", [{"of_memory": [1, 1000000]}], 1),
    # Words from never to always.
    ("transparent_hugepage/defrag", [{"value": "always"}, {"lower_to": "madvise"}], "madvise"),
    ("transparent_hugepage/defrag", [{"value": "defer+madvise"}, {"lower_to": "madvise"}], "madvise"),
    ("transparent_hugepage/defrag", [{"value": "never"}, {"lower_to": "madvise"}], "never"),
    ("transparent_hugepage/defrag", [{"value": "defer"}, {"lower_to": "madvise"}], "defer"),
    ("transparent_hugepage/defrag", [{"value": "madvise"}, {"raise_to": "defer"}], "madvise"),
    ("transparent_hugepage/defrag", [{"value": "madvise"}, {"raise_to": "defer+madvise"}], "defer+madvise"),
    ("transparent_hugepage/enabled", [{"value": "always"}, {"lower_to": "never"}], "never"),
    ("transparent_hugepage/enabled", [{"lower_to": "madvise"}], "madvise"),
    # Bytes come for a percentage that allows more, and not for one that allows less.
    ("vm.dirty_bytes", [{"lower_to": "512MiB"}], 512 * MiB),
    ("vm.dirty_bytes", [{"value": "64MiB"}, {"lower_to": "512MiB"}], 64 * MiB),
    ("vm.dirty_bytes", [{"lower_to": "2GiB"}], "nothing"),
    ("vm.dirty_bytes", [{"raise_to": "512MiB"}], "nothing"),
    ("hugepages/hugepages-1048576kB/nr_hugepages", [{"of_memory": [30, 100]}], 2),
]


@pytest.mark.parametrize("knob, entries, wanted", MATRIX)
def test_last_layer_wins_and_bounds_move_one_way(knob: str, entries: t.List[t.Dict[str, t.Any]], wanted: t.Any) -> None:
    assert host(knob, *entries) == wanted


SHARES = [
    # MemTotal, page size, share, entry's clamps, kB
    (512 * MiB, 4096, [5, 1000], {}, 2620),
    (512 * MiB, 65536, [5, 1000], {}, 2560),
    (983 * MiB, 4096, [1, 3], {}, 335528),
    (1 * TiB, 4096, [1, 100], {}, 10737416),
    (1 * TiB, 4096, [1, 100], {"max": 4 * GiB}, 4 * MiB),
    (24 * TiB, 4096, [1, 100], {}, 257698036),
    (24 * TiB, 65536, [1, 1], {}, 24 * GiB),
    (24 * TiB, 4096, [999999999, 1000000000], {}, 25769803748),
]


@pytest.mark.parametrize("memtotal, page_size, share, clamps, kilobytes", SHARES)
def test_shares_are_whole_pages_of_exact_integers(memtotal: int, page_size: int, share: t.List[int], clamps: t.Dict[str, int], kilobytes: int) -> None:
    assert host("vm.min_free_kbytes", {"of_memory": share, **clamps}, memtotal=memtotal, page_size=page_size) == kilobytes


@given(
    memtotal=st.integers(512 * MiB, 24 * TiB),
    share=st.integers(0, 9).flatmap(lambda digits: st.tuples(st.integers(1, 100 * 10**digits), st.just(100 * 10**digits))),
    page_size=st.sampled_from((4096, 16384, 65536)),
    low=st.integers(0, TiB),
    high=st.integers(0, TiB),
)
def test_a_share_is_never_more_than_said_and_a_page_less_at_most(memtotal: int, share: t.Tuple[int, int], page_size: int, low: int, high: int) -> None:
    value = host("vm.dirty_bytes", {"of_memory": share, "min": low + 65536, "max": low + high + 65536}, memtotal=memtotal, page_size=page_size)
    exact = min(max(memtotal * share[0] // share[1], low + 65536), low + high + 65536)
    assert value % page_size == 0
    assert exact - page_size < value <= exact


def test_who_decided_is_named() -> None:
    folded = fold(
        {"host": {"vm.swappiness": {"lower_to": 10}, "vm.watermark_scale_factor": {"raise_to": 150}}},
        {"host": {"vm.swappiness": {"lower_to": 30}, "vm.watermark_scale_factor": {"value": 200}}},
    )
    assert {wanted.knob: (wanted.profile, wanted.expression, wanted.scope, wanted.subject) for wanted in folded.wanted.values()} == {
        "vm.swappiness": ("a", "lower to 10", "host", ""),
        "vm.watermark_scale_factor": ("b", "200", "host", ""),
    }


UNITS = {"batch.slice": {"MemoryHigh": 2 * GiB, "MemoryMax": None}}
PROPERTIES = [
    ("MemoryHigh", {"of_memory": [50, 100]}, 4 * GiB),
    ("MemoryHigh", {"value": "max"}, None),
    ("MemoryHigh", {"lower_to": "1GiB"}, GiB),
    ("MemoryHigh", {"lower_to": {"of_memory": [50, 100]}}, 2 * GiB),
    ("MemoryHigh", {"raise_to": "max"}, None),
    # No limit is more than every limit.
    ("MemoryMax", {"raise_to": "4GiB"}, None),
    ("MemoryMax", {"lower_to": "4GiB"}, 4 * GiB),
    ("OOMScoreAdjust", {"value": -500}, -500),
    ("ManagedOOMMemoryPressureLimit", {"value": "60%"}, 60),
    ("MemoryPressureThresholdSec", {"value": "200ms"}, "200000us"),
]


@pytest.mark.parametrize("name, entry, value", PROPERTIES)
def test_properties_of_units(name: str, entry: t.Dict[str, t.Any], value: t.Any) -> None:
    folded = fold({"slices": {"batch.slice": {name: entry}}}, units=UNITS)
    assert folded.refused == {}
    assert folded.wanted["unit", "batch.slice", name].value == value


def test_a_knob_of_a_numa_node_has_its_scope() -> None:
    name = "node1/hugepages/hugepages-2048kB/nr_hugepages"
    assert list(fold({"host": {name: {"value": 8}}}).wanted) == [("numa_node", "", name)]


# Knobs that exclude each other


def test_a_later_rival_takes_the_place_of_an_earlier_one() -> None:
    folded = fold({"host": {"vm.dirty_ratio": {"value": 10}}}, {"host": {"vm.dirty_bytes": {"value": "512MiB"}}})
    assert [wanted.knob for wanted in folded.wanted.values()] == ["vm.dirty_bytes"]
    assert folded.skipped == [Skipped("a", "host", "", "vm.dirty_ratio", "vm.dirty_bytes of b takes its place")]


def test_the_zero_of_a_knob_that_is_switched_off_is_not_a_value_to_bound() -> None:
    # Wanted as 0, vm.dirty_ratio would stop every writer.
    live = {"vm.dirty_ratio": 0, "vm.dirty_bytes": 512 * MiB}
    folded = fold({"host": {"vm.dirty_ratio": {"lower_to": 10}}}, live=live)
    assert folded.wanted == {}
    assert folded.skipped[0].reason == "vm.dirty_bytes (536870912) is in force, so there is no vm.dirty_ratio to move"


def test_words_that_a_kernel_has_and_this_version_does_not_know_stay() -> None:
    assert host("transparent_hugepage/defrag", {"lower_to": "madvise"}, live={"transparent_hugepage/defrag": "sometimes"}) == "sometimes"


def test_bytes_take_the_place_of_a_percentage_that_an_earlier_layer_wants() -> None:
    folded = fold({"host": {"vm.dirty_ratio": {"lower_to": 20}}}, {"host": {"vm.dirty_bytes": {"lower_to": "512MiB"}}})
    assert {wanted.knob: wanted.value for wanted in folded.wanted.values()} == {"vm.dirty_bytes": 512 * MiB}
    assert folded.skipped == [Skipped("a", "host", "", "vm.dirty_ratio", "vm.dirty_bytes of b takes its place")]
    # 5 % of 8 GiB are less than 512 MiB.
    folded = fold({"host": {"vm.dirty_ratio": {"lower_to": 5}}}, {"host": {"vm.dirty_bytes": {"lower_to": "512MiB"}}})
    assert {wanted.knob: wanted.value for wanted in folded.wanted.values()} == {"vm.dirty_ratio": 5}
    assert folded.skipped[0].reason == "vm.dirty_ratio (5) is in force, so there is no vm.dirty_bytes to move"


def test_nor_is_it_after_an_earlier_layer_switches_it_off() -> None:
    folded = fold({"host": {"vm.dirty_bytes": {"value": 8192}}}, {"host": {"vm.dirty_ratio": {"lower_to": 10}}})
    assert {wanted.knob: wanted.value for wanted in folded.wanted.values()} == {"vm.dirty_bytes": 8192}


def test_a_bound_is_on_what_an_earlier_layer_wants_instead_of_the_live_rival() -> None:
    live = {"vm.dirty_ratio": 0, "vm.dirty_bytes": 512 * MiB}
    assert host("vm.dirty_ratio", {"value": 30}, {"lower_to": 20}, live=live) == 20


def test_rivals() -> None:
    assert _wanted.rivals(_registry.find("vm.overcommit_kbytes")) == ["vm.overcommit_ratio"]
    # One-way partners: THP moves min_free_kbytes, but both stand.
    assert _wanted.rivals(_registry.find("transparent_hugepage/enabled")) == []
    # One pool only if this is the default size, which the node knows.
    assert _wanted.rivals(_registry.find("hugepages/hugepages-2048kB/nr_hugepages")) == []


# Conditions

CONDITIONS = [
    (["==", ["name", "facts", "hierarchy"], "v2"], True, ""),
    (["==", ["name", "facts", "hierarchy"], "v1"], False, "its condition is false: as written"),
    ([">", ["name", "knob", "vm.swappiness"], 50], True, ""),
    (["==", ["name", "facts", "kubelet"], True], False, "its condition is unknown (facts.kubelet is not known on this node): as written"),
    (["not", ["name", "facts", "kubelet"]], False, "its condition is unknown (facts.kubelet is not known on this node): as written"),
    (["has", "facts", "kubelet"], False, "its condition is false: as written"),
    # Only true is true.
    (["name", "knob", "vm.swappiness"], False, "its condition is false: as written"),
]


@pytest.mark.parametrize("when, counts, reason", CONDITIONS)
def test_a_layer_counts_where_its_condition_is_true(when: t.List[t.Any], counts: bool, reason: str) -> None:
    env = {"facts": {"hierarchy": "v2"}, "knob": {"vm.swappiness": 60}}
    folded = fold({"when": when, "condition": "as written", "host": {"vm.swappiness": {"value": 1}}}, env=env)
    assert bool(folded.wanted) is counts
    assert [skipped.reason for skipped in folded.skipped] == ([reason] if reason else [])
    assert all(skipped.knob == "" for skipped in folded.skipped)
    assert len(folded.layers) == counts


# This kernel's ranges

RANGES = [
    ("5.4.0-150-generic", {"value": 150}, True),
    ("5.10.0-30-amd64", {"value": 150}, False),
    ("6.12.48", {"value": 201}, True),
]


@pytest.mark.parametrize("kernel, entry, refused", RANGES)
def test_a_value_that_this_kernel_does_not_take_is_refused(kernel: str, entry: t.Dict[str, t.Any], refused: bool) -> None:
    folded = fold({"host": {"vm.swappiness": entry, "vm.dirty_ratio": {"value": 10}}}, kernel=kernel)
    assert [wanted.knob for wanted in folded.wanted.values()] == (["vm.dirty_ratio"] if refused else ["vm.swappiness", "vm.dirty_ratio"])
    for item in folded.refused.values():
        assert (item.wanted.value, item.wanted.profile) == (entry["value"], "a")
        assert kernel in item.reason


def test_only_the_last_value_is_judged() -> None:
    assert fold({"host": {"vm.swappiness": {"value": 500}}}, {"host": {"vm.swappiness": {"value": 5}}}).refused == {}


def test_a_live_value_that_stays_is_not_judged() -> None:
    # A vendor's kernel may go beyond mainline.
    assert host("vm.swappiness", {"raise_to": 10}, live={"vm.swappiness": 150}, kernel="5.4.0") == 150


EXPRESSIONS = [
    ({"value": 10}, "10"),
    ({"value": "64MiB"}, "64MiB"),
    ({"value": [256, 32]}, "256 32"),
    ({"of_memory": [5, 1000]}, "0.5% of memory"),
    ({"of_memory": [5, 1000], "min": 64 * MiB, "max": 2 * GiB}, "0.5% of memory, at least 64.0 MiB, at most 2.00 GiB"),
    ({"raise_to": 150}, "raise to 150"),
    ({"lower_to": {"of_memory": [1, 100]}}, "lower to 1% of memory"),
    ({"absent": True}, "absent"),
]


@pytest.mark.parametrize("entry, words", EXPRESSIONS)
def test_expression(entry: t.Dict[str, t.Any], words: str) -> None:
    assert _wanted.expression(entry) == words
