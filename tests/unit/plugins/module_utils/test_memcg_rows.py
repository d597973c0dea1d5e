# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows of containers, as they travel and as they are read."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _memcg_rows
from ansible_collections.memqos.fleet.plugins.module_utils._memcg_rows import Row, Rows, Subject

LOW = ("memory.low", "profile: protect_soft", "native", "", "would_change")
HIGH = ("memory.high", "profile: throttle", "near", "slower", "deferred")
NONE = (("swap", "no swap"),)
POD, MAIN = "/sys/fs/cgroup/kubepods/pod1", "/sys/fs/cgroup/kubepods/pod1/main"
ROWS = [
    Row(POD, Subject("shop/web", "pod", "LS", "", 1, 2), (LOW,), ["0"], ["4096"], NONE),
    Row(MAIN, Subject("shop/web/main", "container", "LS"), (LOW, HIGH), ["0", None], ["4096", "8192"], NONE),
    Row(f"{MAIN}x", Subject("x", "container", "LS"), (LOW, HIGH), ["4096", "max"], ["8192", "8192"], NONE),
]


def cell(before: str | None, wanted: str | None, of: t.Sequence[str], status: str) -> dict[str, t.Any]:
    return {"before": before, "wanted": wanted, "origin": of[1], "equivalence": of[2], "reason": of[3], "status": status}


def test_rows() -> None:
    found = list(Rows(ROWS).told("changed"))
    none = [{"intent": "swap", "reason": "no swap"}]
    assert found[0] == {
        "path": POD, "name": "shop/web", "level": "pod", "class": "LS", "request": 1, "limit": 2, "source": "",
        "values": {"memory.low": cell("0", "4096", LOW, "changed")}, "none": none,
    }  # fmt: skip
    assert found[1]["values"] == {"memory.low": cell("0", "4096", LOW, "changed"), "memory.high": cell(None, "8192", HIGH, "deferred")}
    assert Rows(ROWS)[1]["values"]["memory.low"]["status"] == "would_change" and len(Rows(ROWS)) == 3 and not Rows()


def test_what_cgroups_have_in_common_travels_once() -> None:
    packed = json.loads(json.dumps(Rows(ROWS).packed()))
    assert len(packed["shapes"]) == 2 and _memcg_rows.unpacked(packed) == list(Rows(ROWS))
    large = Rows([ROWS[1]._replace(path=f"{MAIN}{number}") for number in range(1000)])
    assert len(json.dumps(large.packed())) < 200 * 1000 < len(json.dumps(list(large))) / 1.5


LEAVES = st.none() | st.integers(-2, 3) | st.text(max_size=3)
VALUES = st.recursive(LEAVES, lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=2), below))


@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3))
def test_what_is_no_row_is_refused(shapes: list[t.Any], rows: list[t.Any]) -> None:
    """And nothing else happens."""
    try:
        _memcg_rows.unpacked({"shapes": shapes, "rows": rows})
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shapes", []), ("rows", [[*ROWS[0][:1]]]), ("rows", {"a": 1}), ("rows", 5),
        ("shapes", [[[list(LOW)] * 3, []]]),  # more cells than values: a small answer would be large
        ("shapes", [[[list(LOW)], [["swap", "no"]] * 99]]),
        ("shapes", [[[list(LOW)[:4]], []]]),
    ],
)  # fmt: skip
def test_a_malformed_one(key: str, value: t.Any) -> None:
    packed = json.loads(json.dumps(Rows(ROWS[:1]).packed()))
    with pytest.raises(ValueError):
        _memcg_rows.unpacked({**packed, key: value})
    with pytest.raises(ValueError):
        _memcg_rows.unpacked({other: packed[other] for other in packed if other != key})
