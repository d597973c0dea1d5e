# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The swap section of a profile: what it may say, and what is a mistake."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import jsonschema
import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles

ROOT = Path(__file__).resolve().parents[4]
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "schemas" / "profile.json").read_text(encoding="utf-8")))
MIB, GIB = 1 << 20, 1 << 30


def loaded(text: str, tmp_path: Path, variable: t.Any = None) -> _profiles.Declaration:
    (tmp_path / "own.yml").write_text(f"name: own\nsummary: Own\nswap: {text}\n", encoding="utf-8")
    return _profiles.load_profiles("own", search_paths=[str(tmp_path)], overrides={"swap": variable or {}})


@pytest.mark.parametrize(
    ("text", "section"),
    [
        ("{file: {size: 2GiB}}", {"file": {"size": {"value": 2 * GIB}}}),
        ("{file: {size: 2147483648, priority: 0}}", {"file": {"size": {"value": 2 * GIB}, "priority": 0}}),
        ("{file: {size: {of_memory: 25%}, encrypted: true}}", {"file": {"size": {"of_memory": [25, 100]}, "encrypted": True}}),
        (
            "{file: {size: {of_memory: 25%, min: 1GiB, max: 8GiB}, directory: /srv/a-b}}",
            {"file": {"size": {"of_memory": [25, 100], "min": GIB, "max": 8 * GIB}, "directory": "/srv/a-b"}},
        ),
        ("{file: absent, zram: absent, devices: {/dev/vdb: absent}}", {"file": {"absent": True}, "zram": {"absent": True}, "/dev/vdb": {"absent": True}}),
        ("{zram: {size: 512MiB, algorithm: lzo-rle, priority: 32767}}", {"zram": {"size": {"value": 512 * MIB}, "algorithm": "lzo-rle", "priority": 32767}}),
        ("{devices: {/dev/disk/by-uuid/11d2-ab: {priority: 5}}}", {"/dev/disk/by-uuid/11d2-ab": {"priority": 5}}),
        ("{file: {encrypted: false}}", {"file": {"encrypted": False}}),
    ],
)
def test_what_it_says(tmp_path: Path, text: str, section: t.Any) -> None:
    (layer,) = loaded(text, tmp_path).layers
    assert layer == {"profile": "own", "host": {}, "slices": {}, "swap": section}
    assert SCHEMA.is_valid({"name": "own", "swap": yaml.safe_load(text)})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{fils: {size: 1GiB}}", "swap: unknown key 'fils': did you mean 'file'?"),
        ("{file: {path: /swapfile}}", "swap.file: unknown key 'path'"),
        ("{file: {size: lots}}", "swap.file.size: "),
        ("{file: {size: 512KiB}}", "swap.file.size: a size from 1 MiB to 64 TiB is expected here"),
        ("{file: {size: {of_memory: 25%, max: 4KiB}}}", "swap.file.size: a size from 1 MiB to 64 TiB is expected here"),
        ("{file: {size: {of_memory: 0%}}}", "swap.file.size: a share is more than 0% and at most 100%"),
        ("{file: {size: {of_memory: 5%, min: 2GiB, max: 1GiB}}}", "swap.file.size: min is more than max"),
        ("{file: {size: {value: 1GiB}}}", "swap.file.size: a size, or of_memory with min and max, is expected here"),
        ("{file: {size: [1]}}", "swap.file.size: "),
        ("{file: {size: 1GiB, priority: 32768}}", "swap.file.priority: a number from 0 to 32767 is expected here"),
        ("{file: {size: 1GiB, priority: -1}}", "swap.file.priority: a number from 0 to 32767 is expected here"),
        ("{file: {size: 1GiB, priority: 1.5}}", "swap.file.priority: a number from 0 to 32767 is expected here"),
        ("{file: {size: 1GiB, encrypted: perhaps}}", "swap.file.encrypted: true or false is expected here"),
        ("{file: {size: 1GiB, directory: swap}}", "swap.file.directory: 'swap': the path of a directory"),
        ("{file: {size: 1GiB, directory: /srv/../etc}}", "swap.file.directory: '/srv/../etc': the path of a directory"),
        ('{file: {size: 1GiB, directory: "/srv/a b"}}', "swap.file.directory: '/srv/a b': the path of a directory"),
        ('{file: {size: 1GiB, directory: "/srv\\nWhat=/x"}}', "swap.file.directory: "),
        ("{file: 1GiB}", "swap.file: directory, size, priority, encrypted are expected here, or absent"),
        ("{zram: {size: 1GiB, encrypted: true}}", "swap.zram: unknown key 'encrypted'"),
        ('{zram: {size: 1GiB, algorithm: "zstd\\n[zram1]"}}', "swap.zram.algorithm: "),
        ("{devices: {vdb: {priority: 1}}}", "swap.devices: 'vdb' is no device: a path below /dev is expected here"),
        ("{devices: {/dev/../etc/shadow: {priority: 1}}}", "swap.devices: '/dev/../etc/shadow' is no device"),
        ("[file]", "swap: a mapping ('name: value') is expected here"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(_profiles.ProfileError) as caught:
        loaded(text, tmp_path)
    key, unused, message = problem.partition(": ")
    assert f"own.yml: {key}, line 3, column " in str(caught.value) and message in str(caught.value)
    assert not SCHEMA.is_valid({"name": "own", "swap": yaml.safe_load(text)}) or "max" in text or "of_memory: 0%" in text or "KiB" in text


def test_the_hosts_own_comes_last(tmp_path: Path) -> None:
    layers = loaded("{file: {size: 1GiB}}", tmp_path, {"file": {"size": "2GiB", "priority": 3}}).layers
    assert [(layer["profile"], layer["swap"]) for layer in layers] == [
        ("own", {"file": {"size": {"value": GIB}}}),
        ("host variables", {"file": {"size": {"value": 2 * GIB}, "priority": 3}}),
    ]
    with pytest.raises(_profiles.ProfileError, match=r"memqos_swap.*unknown key 'files'"):
        loaded("{file: {size: 1GiB}}", tmp_path, {"files": {}})


def test_a_profile_may_be_of_swap_alone(tmp_path: Path) -> None:
    assert [profile.name for profile in loaded("{zram: {size: 1GiB}}", tmp_path).profiles] == ["own"]
