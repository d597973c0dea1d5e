# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Intents as profiles write them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _intents

WRITTEN: list[tuple[str, t.Any, t.Any]] = [
    ("protect_hard", "512MiB", {"bytes": 512 << 20}),
    ("protect_hard", 4096, {"bytes": 4096}),
    ("protect_soft", {"of_request": "100%"}, {"of": "request", "share": [100, 100]}),
    ("protect_soft", {"of_memory": "0.5%", "min": "1M", "max": "1G"}, {"of": "memory", "share": [5, 1000], "min": 1 << 20, "max": 1 << 30}),
    ("throttle", {"of_headroom": "90%"}, {"of": "headroom", "share": [90, 100]}),
    ("background_reclaim", "95%", {"ratio": 95, "gap": 20}),
    ("background_reclaim", {"at": "80%", "gap": "0.01%"}, {"ratio": 80, "gap": 1}),
    ("background_reclaim", {"at": "80%", "throttle": False}, {"ratio": 80, "gap": 20, "throttle": False}),
    ("min_watermark", 50, 50),
    ("swap", False, False),
    ("swap", {"of_limit": "50%"}, {"of": "limit", "share": [50, 100]}),
    ("page_cache_limit", {"of_limit": "50%"}, {"of": "limit", "share": [50, 100]}),
    ("kill_together", True, True),
    ("kill_first", False, False),
]


@pytest.mark.parametrize(("intent", "written", "parsed"), WRITTEN)
def test_values(intent: str, written: t.Any, parsed: t.Any) -> None:
    assert _intents.parse({"LS": {intent: written}}) == {"LS": {intent: parsed}}


WRONG: list[tuple[t.Any, str]] = [
    (5, "qos: a mapping is expected"),
    ({"XX": {}}, "qos: there is no class 'XX', one of LSE, LSR, LS, BE, SYSTEM"),
    ({"LS": []}, "qos.LS: a mapping is expected"),
    ({"LS": {"protect": 1}}, "qos.LS: there is no intent 'protect', one of protect_hard, "),
    ({"LS": {"protect_hard": True}}, "qos.LS.protect_hard: True is no size"),
    ({"LS": {"protect_hard": "much"}}, "qos.LS.protect_hard: 'much' is not a size"),
    ({"LS": {"protect_hard": -1}}, "qos.LS.protect_hard: '-1' is not a size"),
    ({"LS": {"protect_hard": {}}}, "qos.LS.protect_hard: a size, or one of of_request, of_limit, of_headroom, of_memory"),
    ({"LS": {"protect_hard": {"of_request": "1%", "of_limit": "1%"}}}, "a size, or one of"),
    ({"LS": {"protect_hard": {"of_request": "1%", "least": 1}}}, "a size, or one of"),
    ({"LS": {"protect_hard": {"of_request": 50}}}, "'50' is not a share"),
    ({"LS": {"protect_hard": {"of_request": "101%"}}}, "101% is more than all of it"),
    ({"LS": {"throttle": {"of_limit": "90%", "min": "2G", "max": "1G"}}}, "min is more than max"),
    ({"LS": {"background_reclaim": "0%"}}, "0% is not 1 to 100 percent"),
    ({"LS": {"background_reclaim": "99.5%"}}, "99.5% is not 1 to 100 percent"),
    ({"LS": {"background_reclaim": "101%"}}, "101% is not 1 to 100 percent"),
    ({"LS": {"background_reclaim": {"at": "95%", "gap": "11%"}}}, "11% is not 1 to 1000 hundredths of a percent"),
    ({"LS": {"background_reclaim": {"gap": "1%"}}}, "a share such as 95%, or"),
    ({"LS": {"background_reclaim": {"at": "95%", "throttle": "no"}}}, "true or false is expected, not 'no'"),
    ({"LS": {"min_watermark": 51}}, "to 50 (is held back early) is expected, not 51"),
    ({"LS": {"min_watermark": True}}, "is expected, not True"),
    ({"LS": {"kill_first": "yes"}}, "true or false is expected, not 'yes'"),
]


@pytest.mark.parametrize(("written", "message"), WRONG)
def test_mistakes_are_named(written: t.Any, message: str) -> None:
    with pytest.raises(_intents.IntentError) as caught:
        _intents.parse(written)
    assert message in str(caught.value)
