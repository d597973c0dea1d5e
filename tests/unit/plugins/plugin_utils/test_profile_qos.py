# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The qos section of a profile: what it may say, and what is a mistake."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import jsonschema
import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.module_utils import _qos_files
from ansible_collections.memqos.fleet.plugins.plugin_utils import _intents, _pods, _profiles

ROOT = Path(__file__).resolve().parents[4]
PROFILE = json.loads((ROOT / "docs" / "schemas" / "profile.json").read_text(encoding="utf-8"))
SCHEMA = jsonschema.Draft202012Validator(PROFILE)
MIB = 1 << 20


def loaded(text: str, tmp_path: Path, variable: t.Any = None) -> _profiles.Declaration:
    (tmp_path / "own.yml").write_text(f"name: own\nsummary: Own\nqos: {text}\n", encoding="utf-8")
    return _profiles.load_profiles("own", search_paths=[str(tmp_path)], overrides={"qos": variable or {}})


SAID: list[tuple[str, dict[str, t.Any]]] = [
    ("{LS: {protect_soft: 512MiB}}", {"LS": {"protect_soft": {"bytes": 512 * MIB}}}),
    ("{LS: {protect_soft: 4096}}", {"LS": {"protect_soft": {"bytes": 4096}}}),
    ("{LS: {protect_soft: {of_request: 50%}}}", {"LS": {"protect_soft": {"of": "request", "share": [50, 100]}}}),
    (
        "{LS: {protect_soft: {of_request: 50%, max: 1MiB, reason: so, source: https://example.org}}}",
        {"LS": {"protect_soft": {"of": "request", "share": [50, 100], "max": MIB}}},
    ),
    ("{LS: {protect_soft: {value: {of_request: 50%}, reason: so}}}", {"LS": {"protect_soft": {"of": "request", "share": [50, 100]}}}),
    ("{LS: {protect_soft: {value: 1MiB, reason: so}}}", {"LS": {"protect_soft": {"bytes": MIB}}}),
    ("{BE: {background_reclaim: 95%}}", {"BE": {"background_reclaim": {"ratio": 95, "gap": 20}}}),
    ("{BE: {background_reclaim: {at: 90%, gap: 1%, reason: so}}}", {"BE": {"background_reclaim": {"ratio": 90, "gap": 100}}}),
    ("{BE: {background_reclaim: {at: 90%, throttle: false}}}", {"BE": {"background_reclaim": {"ratio": 90, "gap": 20, "throttle": False}}}),
    ("{BE: {background_reclaim: {at: 90%, throttle: true}}}", {"BE": {"background_reclaim": {"ratio": 90, "gap": 20}}}),
    ("{BE: {min_watermark: 50, kill_first: yes}}", {"BE": {"min_watermark": 50, "kill_first": True}}),
    ("{LSR: {min_watermark: {value: -25, reason: so}}}", {"LSR": {"min_watermark": -25}}),
    ("{LSE: {swap: false}, SYSTEM: {swap: {of_limit: 10%}}}", {"LSE": {"swap": False}, "SYSTEM": {"swap": {"of": "limit", "share": [10, 100]}}}),
    ("{LS: {units: [redis-server.service, 'web-*.scope']}}", {"LS": {"units": ["redis-server.service", "web-*.scope"]}}),
    ("{LS: {units: {value: latency.slice, reason: so}}}", {"LS": {"units": ["latency.slice"]}}),
    ("{LS: {units: absent}}", {"LS": {"units": {"absent": True}}}),
    (
        "{LS: {throttle: absent, swap: {absent: true, reason: not here}, kill_together: absent}}",
        {"LS": {"throttle": {"absent": True}, "swap": {"absent": True}, "kill_together": {"absent": True}}},
    ),
]


@pytest.mark.parametrize(("text", "section"), SAID)
def test_what_it_says(tmp_path: Path, text: str, section: t.Any) -> None:
    (layer,) = loaded(text, tmp_path).layers
    assert layer == {"profile": "own", "host": {}, "slices": {}, "qos": section}
    assert SCHEMA.is_valid({"name": "own", "qos": yaml.safe_load(text)})


@pytest.mark.parametrize(
    ("text", "problem", "schema_sees"),
    [
        ("{LX: {swap: true}}", "qos: there is no class 'LX', but LSE, LSR, LS, BE, SYSTEM: Guaranteed is LSR", True),
        ("{Burstable: {swap: true}}", "qos: there is no class 'Burstable', but", True),
        ("{LS: {protect: 1MiB}}", "qos.LS: unknown key 'protect'", True),
        ("{LS: {protect_hard: lots}}", "qos.LS.protect_hard: 'lots' is not a size", True),
        ("{LS: {protect_hard: }}", "qos.LS.protect_hard: ", True),
        ("{LS: {protect_hard: {of_request: 101%}}}", "qos.LS.protect_hard: 101% is more than all of it", False),
        ("{LS: {protect_hard: {of_request: 1%, of_limit: 1%}}}", "qos.LS.protect_hard: a size, or one of of_request, of_limit", True),
        ("{LS: {protect_hard: {reason: so}}}", "qos.LS.protect_hard: a size, or one of of_request, of_limit", True),
        ("{LS: {protect_hard: {of_request: 1%, least: 1}}}", "qos.LS.protect_hard: a size, or one of of_request, of_limit", True),
        ("{LS: {protect_hard: {value: 1MiB, min: 1}}}", "qos.LS.protect_hard: value says all of it: min cannot stand beside it", True),
        ("{LS: {protect_hard: {absent: false}}}", "qos.LS.protect_hard: 'absent: true' is expected here", True),
        ("{LS: {protect_hard: [1]}}", "qos.LS.protect_hard: ", True),
        ("{LS: {protect_hard: {of_request: 1%, reason: [x]}}}", "qos.LS.protect_hard.reason: text of at most 1000 characters", True),
        ("{BE: {background_reclaim: 99.5%}}", "qos.BE.background_reclaim: 99.5% is not 1 to 100 percent", False),
        ("{BE: {background_reclaim: {gap: 1%}}}", "qos.BE.background_reclaim: a share such as 95%", True),
        ("{BE: {background_reclaim: {at: 95%, throttle: never}}}", "qos.BE.background_reclaim: true or false is expected, not 'never'", True),
        ("{BE: {min_watermark: 51}}", "qos.BE.min_watermark: -25 (may use", True),
        ("{BE: {min_watermark: 1.5}}", "qos.BE.min_watermark: -25 (may use", True),
        ("{BE: {kill_first: perhaps}}", "qos.BE.kill_first: true or false is expected", True),
        ("{BE: {units: []}}", "qos.BE.units: a list of units is expected, such as [redis-server.service", True),
        ("{BE: {units: [redis]}}", "qos.BE.units: a list of units is expected, such as [redis-server.service", True),
        ("{BE: {units: [/system.slice/x.service]}}", "qos.BE.units: a list of units is expected, such as [redis-server.service", True),
        ("{BE: absent}", "qos.BE: a mapping ('name: value') is expected here", True),
        ("[LS]", "qos: a mapping ('name: value') is expected here", True),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, problem: str, schema_sees: bool) -> None:
    with pytest.raises(_profiles.ProfileError) as caught:
        loaded(text, tmp_path)
    key, unused, message = problem.partition(": ")
    assert len(caught.value.problems) == 1
    assert f"own.yml: {key}, line 3, column " in str(caught.value) and message in str(caught.value)
    assert SCHEMA.is_valid({"name": "own", "qos": yaml.safe_load(text)}) != schema_sees


def test_an_intent_that_stands_twice_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(_profiles.ProfileError, match="'swap' stands here twice"):
        loaded("{LS: {swap: true, swap: false}}", tmp_path)


def test_the_schema_knows_the_same_classes_and_intents() -> None:
    section = PROFILE["properties"]["qos"]
    assert tuple(section["propertyNames"]["enum"]) == _pods.CLASSES
    assert set(section["additionalProperties"]["properties"]) == {*_qos_files.NONE, "units"} == {*_intents.KEYS}


def test_the_hosts_own_comes_last(tmp_path: Path) -> None:
    layers = loaded("{LS: {swap: false}}", tmp_path, {"LS": {"swap": "absent"}, "BE": {"kill_first": True}}).layers
    assert [(layer["profile"], layer["qos"]) for layer in layers] == [
        ("own", {"LS": {"swap": False}}),
        ("host variables", {"LS": {"swap": {"absent": True}}, "BE": {"kill_first": True}}),
    ]
    with pytest.raises(_profiles.ProfileError, match=r"memqos_qos: LS: unknown key 'swop'"):
        loaded("{LS: {swap: false}}", tmp_path, {"LS": {"swop": True}})
    with pytest.raises(_profiles.ProfileError, match=r"memqos_qos: LS.min_watermark: -25 .* not '7.5'"):
        loaded("{LS: {swap: false}}", tmp_path, {"LS": {"min_watermark": 7.5}})


def test_a_profile_may_be_of_qos_alone_and_keeps_why(tmp_path: Path) -> None:
    (profile,) = loaded("{LS: {swap: {value: false, reason: it is slow, source: https://example.org}}}", tmp_path).profiles
    assert profile.qos["LS", "swap"] == (False, "it is slow", "https://example.org")


def test_the_built_in_one_protects_softly_and_knows_both_sides() -> None:
    (profile,) = [one for one in _profiles.load_profiles("colocated", search_paths=[], overrides={}).profiles if one.qos]
    assert not [intent for unused, intent in profile.qos if intent == "protect_hard"]
    # A service is never slowed by us: on a mainline kernel memory.high would be the only means.
    for name in ("LSR", "LS"):
        assert (name, "throttle") not in profile.qos and profile.qos[name, "background_reclaim"].value["throttle"] is False
    ranks = {name: profile.qos[name, "kill_first"].value for name in ("LSR", "LS", "BE")}
    assert ranks == {"LSR": False, "LS": False, "BE": True}


@pytest.mark.parametrize(
    ("intent", "written", "words"),
    [
        ("protect_soft", "512MiB", "512 MiB"),
        ("protect_soft", {"of_request": "50%", "min": "1MiB"}, "50% of its request, at least 1.00 MiB"),
        ("protect_soft", {"of_limit": "0.5%", "max": "1MiB"}, "0.5% of its limit, at most 1.00 MiB"),
        ("throttle", {"of_headroom": "90%"}, "its request and 90% of the way to its limit"),
        ("throttle", {"of_memory": "90%"}, "90% of the node's memory"),
        ("background_reclaim", "95%", "above 95%, 0.2% down"),
        ("background_reclaim", {"at": "95%", "throttle": False}, "above 95%, 0.2% down, where that does not slow its own tasks"),
        ("min_watermark", -25, "-25"),
        ("swap", False, "false"),
    ],
)
def test_values_in_words(intent: str, written: t.Any, words: str) -> None:
    assert _intents.words(_intents.value(intent, written)) == words
    assert _intents.words({"absent": True}) == "absent"
