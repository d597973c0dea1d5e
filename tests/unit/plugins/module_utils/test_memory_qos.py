# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which fields of memoryQOS count."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _memory_qos

# The ranges of the CRD; it has none of the size, and koordlet takes less than 0 as 0.
RANGES: t.Dict[str, t.Tuple[int, int]] = {
    "minLimitPercent": (0, 100),
    "lowLimitPercent": (0, 100),
    "throttlingPercent": (0, 100),
    "wmarkRatio": (0, 100),
    "wmarkScalePermill": (1, 1000),
    "wmarkMinAdj": (-25, 50),
    "priorityEnable": (0, 1),
    "priority": (0, 12),
    "oomKillGroup": (0, 1),
    "pageCacheLimitPercent": (0, 100),
    "pageCacheLimitSize": (1 - 2**63, 2**63 - 1),
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges(name: str) -> None:
    low, high = RANGES[name]
    for value in (low, high):
        assert _memory_qos.fields({name: value}) == ({name: value}, [])
    for value in (low - 1, high + 1) if name != "pageCacheLimitSize" else ():
        assert _memory_qos.fields({name: value}) == ({}, [f"{name} is {value}, {low} to {high} is expected: it is ignored"])


@pytest.mark.parametrize("value", ["9", [1], "1Gi", 1.5, 1e2, True, {}, 2**63, float("nan")])
def test_what_is_no_whole_number(value: t.Any) -> None:
    with pytest.raises(ValueError, match="a whole number is expected"):
        _memory_qos.fields({"priority": 1, "minLimitPercent": value})


@pytest.mark.parametrize("value", ["no", 0, []])
def test_what_is_no_switch(value: t.Any) -> None:
    with pytest.raises(ValueError, match="pageCacheEnable is .*, true or false is expected"):
        _memory_qos.fields({"pageCacheEnable": value})


@pytest.mark.parametrize(("policy", "counts"), [("none", True), ("default", True), ("auto", True), ("", True), ("foo", False), ("Auto", False)])
def test_policies(policy: str, counts: bool) -> None:
    found = _memory_qos.fields({"POLICY": policy})
    assert found.fields == ({"policy": policy} if counts else {})
    assert found.ignored == ([] if counts else [f"policy is {policy!r}, one of none, default, auto is expected: it is ignored"])


def test_the_case_of_names_does_not_matter_and_the_last_counts() -> None:
    assert _memory_qos.annotation('{"WMARKRATIO": 50, "wmarkRatio": 60, "other": 1}') == ({"wmarkRatio": 60}, [])
    assert _memory_qos.annotation('{"wmarkRatio": 50, "WmarkRatio": null}') == ({}, [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "it is no text"),
        ("[]", "it is no JSON object"),
        ('{"other": Infinity}', "Infinity is no JSON"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_what_is_no_annotation(text: t.Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        _memory_qos.annotation(text)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@given(st.dictionaries(st.sampled_from([*_memory_qos.FIELDS, "policy", "MINLIMITPERCENT", "other"]), VALUES, max_size=4))
def test_any_annotation_is_fields_in_range_or_an_error_of_ours(given: t.Any) -> None:
    try:
        found = _memory_qos.annotation(json.dumps(given))
    except ValueError as exc:
        assert len(str(exc)) < 200
    else:
        assert all(low <= found.fields.get(name, low) <= high for name, (low, high) in RANGES.items())
