# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows of containers in words: counts, the headline, what needs attention, lines."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _tune_containers, _tune_result

Json = dict[str, t.Any]
NEAR = {"equivalence": "near", "reason": "not as good", "origin": "profile: throttle"}
SWAP = {"intent": "swap", "reason": "this kernel does not bound the swap of a cgroup"}


def cell(status: str, **more: t.Any) -> Json:
    return {"before": "0", "wanted": "4096", "origin": "koordinator: LS", "equivalence": "native", "reason": "", "status": status, **more}


def row(name: str = "shop/web/main", none: t.Sequence[Json] = (), /, **values: Json) -> Json:
    cells = {f"memory.{file}": said for file, said in values.items()}
    return {"path": "/x", "name": name, "level": "container", "class": "LS", "request": None, "limit": None, "source": "", "values": cells, "none": [*none]}


HEADLINES: list[tuple[list[Json], str]] = [
    ([], ""),
    ([row(low=cell("ok"))], "containers: 1 cgroup, none changes"),
    ([row(low=cell("would_change"), high=cell("ok")), row(low=cell("ok"))], "containers: 1 of 2 cgroups would change"),
    (
        [row(low=cell("changed"), high=cell("changed", **NEAR)), row("b", [SWAP, SWAP], high=cell("ok", **NEAR)), row(low=cell("deferred", reason="x"))],
        "containers: 1 of 3 cgroups changed, 2 values near, 2 cannot be had, 1 deferred",
    ),
    ([row(low=cell("undone")), row(low=cell("undone")), row(low=cell("ok"))], "containers: 2 of 3 cgroups undone"),
    ([row(low=cell("conflict", reason="x"), swap=cell("unsupported", reason="y"))], "containers: 1 cgroup, none changes, 1 conflict, 1 unsupported"),
]


@pytest.mark.parametrize(("rows", "line"), HEADLINES)
def test_headline(rows: list[Json], line: str) -> None:
    assert _tune_containers.headline(rows) == line


def test_counts() -> None:
    assert _tune_containers.counts([]) == {}
    rows = [row(low=cell("changed"), high=cell("changed", **NEAR)), row("b", [SWAP], low=cell("ok"))]
    assert _tune_containers.counts(rows) == {"cgroups": 2, "changing": 1, "near": 1, "none": 1, "changed": 2, "ok": 1}


def test_what_many_have_is_one_line_and_the_worst_comes_first() -> None:
    rows = [row(f"p{number}", low=cell("deferred", reason="it would stall")) for number in (1, 1, 2, 3, 4)]
    rows += [row("q", low=cell("deferred", reason="another"), high=cell("conflict", reason="koordlet writes it too"), max=cell("ok", reason="odd"))]
    assert _tune_containers.attention(rows) == [
        ("conflict", "conflict: memory.high of q: koordlet writes it too"),
        ("deferred", "deferred: memory.low of p1, p2, p3 and 1 more: it would stall"),
        ("deferred", "deferred: memory.low of q: another"),
    ]


def lines(rows: list[Json], *, everything: bool) -> list[str]:
    return list(_tune_containers.lines(rows, _tune_result.move, everything=everything))


def test_a_cgroup_says_what_was_set_natively_or_nearly_and_what_could_not_be() -> None:
    whole = {**row("shop/web/main", [SWAP], low=cell("changed"), high=cell("would_change", **NEAR), min=cell("ok")), "request": 1 << 30, "limit": 1 << 31}
    quiet = row("b", [SWAP], low=cell("ok", **NEAR), high=cell("deferred", reason="it would stall"))
    changing = [
        "shop/web/main (container, LS, request 1.00 GiB, limit 2.00 GiB)",
        "  memory.low: 0 → 4096 (koordinator: LS)",
        "  memory.high: 0 → 4096 (profile: throttle; near: not as good)",
    ]
    none = ["  cannot be had: swap: this kernel does not bound the swap of a cgroup"]
    assert lines([whole, quiet], everything=False) == [*changing, *none]
    assert lines([whole, quiet], everything=True) == [
        *changing,
        "  memory.min: 0, as wanted (koordinator: LS)",
        *none,
        "b (container, LS)",
        "  memory.low: 0, as wanted (profile: throttle; near: not as good)",
        "  memory.high: 0 → 4096 (koordinator: LS; it would stall; deferred)",
        *none,
    ]


def test_what_goes_back_and_what_nobody_knows() -> None:
    back = {**row("cri-containerd-1.scope", low=cell("would_change", origin="", wanted="0", before="4096")), "level": "", "class": ""}
    stays = {**row("x", low=cell("deferred", origin="", wanted=None, reason="others have changed it since")), "level": "", "class": ""}
    assert lines([back, stays], everything=True) == [
        "cri-containerd-1.scope",
        "  memory.low: 4096 → 0",
        "x",
        "  memory.low: 0 (others have changed it since; deferred)",
    ]
    # Nothing that is wanted, and nothing that cannot be had.
    assert lines([row("x")], everything=True) == []


def test_the_class_is_not_said_twice() -> None:
    directory = {**row("Burstable", low=cell("changed")), "level": "class", "class": "Burstable"}
    assert lines([directory], everything=False)[0] == "Burstable (class)"
