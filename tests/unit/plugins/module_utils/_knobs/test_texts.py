# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Words for kernel and systemd; the areas of memqos_only."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _texts

AREAS = {
    "vm.min_free_kbytes": "watermarks",
    "vm.watermark_scale_factor": "watermarks",
    "vm.percpu_pagelist_high_fraction": "watermarks",
    "vm.swappiness": "swap",
    "zswap/enabled": "swap",
    "zram0/disksize": "swap",
    "transparent_hugepage/enabled": "thp",
    "transparent_hugepage/hugepages-64kB/enabled": "thp",
    "vm.dirty_bytes": "writeback",
    "vm.dirtytime_expire_seconds": "writeback",
    "vm.overcommit_memory": "host",
    "vm.nr_hugepages": "host",
    "node0/hugepages/hugepages-2048kB/nr_hugepages": "host",
    "kernel.panic": "host",
    "MemoryHigh": "slices",
    "OOMScoreAdjust": "slices",
    "memory.high": "memcg_qos",
    "memory.swappiness": "memcg_qos",
    "memory.wmark_ratio": "memcg_qos",
    # Of the host, but nothing is said of it without memcg QoS.
    "kidled/use_hierarchy": "memcg_qos",
    "vm.memcg_qos_enable": "memcg_qos",
}


@pytest.mark.parametrize("name", AREAS)
def test_areas(name: str) -> None:
    assert _texts.area(_registry.find(name)) == AREAS[name]


def test_every_knob_has_an_area_and_every_area_a_knob() -> None:
    rows = (*_registry.host_knobs(), *_registry.memcg_knobs(), *_registry.unit_knobs())
    assert {_texts.area(row) for row in rows} == set(_texts.AREAS)


WORDS: t.List[t.Tuple[str, t.Any, str, str]] = [
    # knob, a value as people write it, for the kernel, for systemd
    ("MemoryHigh", "2G", "2147483648", "2147483648"),
    ("MemoryHigh", "infinity", "max", "infinity"),
    ("MemoryZSwapWriteback", False, "0", "no"),
    ("MemoryZSwapWriteback", "yes", "1", "yes"),
    ("ManagedOOMMemoryPressureLimit", "60%", "60", "60%"),
    ("ManagedOOMSwap", "kill", "kill", "kill"),
    ("MemoryPressureThresholdSec", "2s", "2000000us", "2000000us"),
    ("vm.lowmem_reserve_ratio", [256, 256, 32], "256 256 32", ""),
    ("vm.swappiness", "10", "10", ""),
]


@pytest.mark.parametrize("name, value, kernel, systemd", WORDS)
def test_words(name: str, value: t.Any, kernel: str, systemd: str) -> None:
    knob = _registry.find(name)
    normal = _registry.normalize(knob, value)
    assert _texts.kernel_text(normal) == kernel
    assert _texts.show(knob, normal) == (systemd or kernel)
    # What was written is read as the same.
    for text in filter(None, (kernel, systemd)):
        assert _registry.normalize(knob, text) == normal


@pytest.mark.parametrize("version, text", [(1, "-1"), (2, "max")])
def test_no_limit_is_another_word_on_each_hierarchy(version: int, text: str) -> None:
    assert _texts.kernel_text(None, version=version) == text
