# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _values, _written

GIB = 1 << 30
NO_V1_LIMIT = 9223372036854771712  # LONG_MAX rounded down to 4 KiB, as an unlimited v1 cgroup prints it

# What the kernel or systemctl prints, by knob of a cgroup or unit: one line for every row that can be read.
PRINTED: list[tuple[str, str, t.Any]] = [
    ("memory.min", "0\n", 0),
    ("memory.low", "max\n", None),
    ("memory.high", "max\n", None),
    ("memory.max", "1073741824\n", GIB),
    ("memory.swap.max", "0\n", 0),
    ("memory.swap.high", "max\n", None),
    ("memory.zswap.max", "max\n", None),
    ("memory.zswap.writeback", "1\n", 1),
    ("memory.oom.group", "0\n", 0),
    ("cgroup.pressure", "1\n", 1),
    ("memory.memsw.limit_in_bytes", f"{NO_V1_LIMIT}\n", None),
    ("memory.soft_limit_in_bytes", "9223372036854710272\n", None),  # pages of 64 KiB
    ("memory.swappiness", "60\n", 60),
    ("memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n", 1),
    ("memory.use_hierarchy", "1\n", 1),
    ("memory.move_charge_at_immigrate", "0\n", 0),
    ("memory.kmem.limit_in_bytes", f"{NO_V1_LIMIT}\n", None),
    ("memory.kmem.tcp.limit_in_bytes", f"{NO_V1_LIMIT}\n", None),
    ("memory.wmark_ratio", "95\n", 95),
    ("memory.wmark_scale_factor", "50\n", 50),
    ("memory.wmark_min_adj", "-25\n", -25),
    ("memory.priority", "12\n", 12),
    ("memory.use_priority_oom", "0\n", 0),
    ("memory.use_priority_swap", "0\n", 0),
    ("memory.pagecache_limit.enable", "0\n", 0),
    ("memory.pagecache_limit.size", "1073741824\n", GIB),
    ("memory.pagecache_limit.sync", "0\n", 0),
    ("memory.pre_oom", "0\n", 0),
    ("memory.async_fork", "0\n", 0),
    ("memory.reap_background", "0\n", 0),
    ("memory.allow_duptext", "0\n", 0),
    ("memory.allow_duptext_refresh", "0\n", 0),
    ("memory.duptext_nodes", "0-1\n", "0-1"),
    ("memory.allow_text_unevictable", "0\n", 0),
    ("memory.text_unevictable_percent", "100\n", 100),
    ("memory.thp_control", "0x1\n", 1),
    ("memory.thp_reclaim", "disable\n", "disable"),
    ("memory.thp_reclaim_ctrl", "threshold 16\n", "threshold 16"),
    ("memory.coldpgs.flags", "0\n", 0),
    ("memory.coldpgs.threshold", "1\n", 1),
    ("memory.coldpgs.swapin", "0\n", "0"),
    ("memory.pgtable_bind", "0\n", "0"),
    ("memory.mglru_batch_size", "0\n", "0"),
    ("memory.qos_level", "-1\n", -1),
    ("memory.high_async_ratio", "0\n", 0),
    ("memory.ksm", "0\n", "0"),
    ("memory.swapfile", "all\n", "all"),
    ("memory.wb_blkio_ino", "1\n", "1"),
    ("memory.pagecache.max_ratio", "100\n", 100),
    ("memory.pagecache.reclaim_ratio", "5\n", 5),
    ("MemoryAccounting", "yes\n", 1),
    ("MemoryMin", "0\n", 0),
    ("MemoryLow", "0\n", 0),
    ("MemoryHigh", "infinity\n", None),
    ("MemoryMax", "infinity\n", None),
    ("MemorySwapMax", "infinity\n", None),
    ("MemoryZSwapMax", "18446744073709551615\n", None),
    ("MemoryZSwapWriteback", "yes\n", 1),
    ("DefaultMemoryMin", "0\n", 0),
    ("DefaultMemoryLow", "0\n", 0),
    ("DefaultStartupMemoryLow", "0\n", 0),
    ("StartupMemoryLow", "0\n", 0),
    ("StartupMemoryHigh", "infinity\n", None),
    ("StartupMemoryMax", "infinity\n", None),
    ("StartupMemorySwapMax", "infinity\n", None),
    ("StartupMemoryZSwapMax", "infinity\n", None),
    ("MemoryLimit", "infinity\n", None),
    ("EffectiveMemoryMax", "1073741824\n", GIB),
    ("EffectiveMemoryHigh", "infinity\n", None),
    ("ManagedOOMSwap", "auto\n", "auto"),
    ("ManagedOOMMemoryPressure", "kill\n", "kill"),
    ("ManagedOOMMemoryPressureLimit", "60%\n", 60),
    ("ManagedOOMMemoryPressureDurationSec", "1min 30s\n", "90000000us"),
    ("ManagedOOMPreference", "omit\n", "omit"),
    ("MemoryPressureWatch", "auto\n", "auto"),
    ("MemoryPressureThresholdSec", "200ms\n", "200000us"),
    ("MemoryKSM", "no\n", 0),
    ("OOMScoreAdjust", "-999\n", -999),
    ("OOMPolicy", "stop\n", "stop"),
]


def test_every_readable_row_has_a_line() -> None:
    rows = [row.name for row in _registry.memcg_knobs() + _registry.unit_knobs() if row.access != "wo"]
    assert sorted(name for name, _text, _value in PRINTED) == sorted(rows)


@pytest.mark.parametrize(("name", "text", "value"), PRINTED, ids=[name for name, _text, _value in PRINTED])
def test_what_is_printed(name: str, text: str, value: object) -> None:
    assert _written.normalize(_registry.find(name), text) == value


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("memory.max", "512MiB", 512 << 20),
        ("memory.max", "1.5G", 3 << 29),
        ("memory.max", 4097, 4097),
        ("memory.max", None, None),
        ("memory.max", "-1", None),  # how v1 is told
        ("MemoryMax", "infinity", None),
        ("zram0/disksize", "4G", 4 * GIB),
        ("vm.min_free_kbytes", 65536, 65536),
        ("vm.min_free_kbytes", "64MiB", 65536),
        ("vm.min_free_kbytes", "1023b", 0),
        ("vm.dirty_ratio", "20%", 20),
        ("ManagedOOMMemoryPressureLimit", "50.00%", 50),  # by systemd, in its drop-ins
        ("vm.dirty_ratio", " 20 % ", 20),
        ("kernel.panic", -1, -1),
        ("kernel.panic_on_oops", True, 1),
        ("zswap/enabled", True, 1),
        ("zswap/enabled", "on", 1),
        ("zswap/enabled", "FALSE", 0),
        ("vm.lowmem_reserve_ratio", [256, 256, 32], [256, 256, 32]),
        ("vm.lowmem_reserve_ratio", "256 256  32", [256, 256, 32]),
        ("lru_gen/enabled", "0x0005", 5),
        ("lru_gen/enabled", 5, 5),
        ("transparent_hugepage/enabled", "never", "never"),
        ("MemoryPressureWatch", True, "on"),
        ("MemoryPressureWatch", False, "off"),
        ("MemoryPressureThresholdSec", 2, "2000000us"),
        ("MemoryPressureThresholdSec", "infinity", None),
        ("zswap/compressor", " zstd\n", "zstd"),
    ],
)
def test_what_an_operator_writes(name: str, written: object, value: object) -> None:
    assert _written.normalize(_registry.find(name), written) == value


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("vm.swappiness", "60%"),
        ("vm.swappiness", 60.0),
        ("vm.swappiness", ""),
        ("vm.swappiness", None),
        ("vm.swappiness", "1_0"),
        ("vm.swappiness", "+5"),
        ("vm.swappiness", "٦٠"),
        ("vm.swappiness", {"of_memory": "1%"}),
        ("memory.max", "-2"),
        ("memory.max", "lots"),
        ("memory.max", "50%"),
        ("zram0/disksize", "max"),
        ("zswap/enabled", "2"),
        ("vm.lowmem_reserve_ratio", ""),
        ("vm.lowmem_reserve_ratio", "256 x"),
        ("lru_gen/enabled", "0x"),
        ("lru_gen/enabled", "7f"),
        ("transparent_hugepage/enabled", "always madvise never"),
        ("transparent_hugepage/enabled", ""),
        ("MemoryPressureThresholdSec", "soon"),
        ("MemoryPressureThresholdSec", "2 fortnights"),
        ("memory.oom_control", "under_oom 0\noom_kill 0\n"),
    ],
)
def test_what_cannot_be_read(name: str, written: object) -> None:
    with pytest.raises(_values.KnobValueError) as caught:
        _written.normalize(_registry.find(name), written)
    assert caught.value.knob == name
    assert repr(written) in str(caught.value)


def test_a_long_number_is_refused_at_once() -> None:
    with pytest.raises(_values.KnobValueError):
        _written.normalize(_registry.find("MemoryPressureThresholdSec"), "1" * 5000 + "!")


# One knob of every unit.
KINDS = list({row.unit: row for row in _registry.host_knobs() + _registry.memcg_knobs() + _registry.unit_knobs()}.values())
WRITTEN = st.text(max_size=40) | st.text("0123456789 kMB%[]max", max_size=12) | st.integers() | st.booleans() | st.none() | st.lists(st.integers(), max_size=5)


@given(st.sampled_from(KINDS), WRITTEN)
def test_any_value_is_normal_or_an_error_that_names_the_knob(knob: t.Any, value: object) -> None:
    try:
        normal = _written.normalize(knob, value)
    except _values.KnobValueError as exc:
        assert exc.knob == knob.name
    else:
        assert _written.normalize(knob, normal) == normal
