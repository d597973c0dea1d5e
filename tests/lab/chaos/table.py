# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may be drawn: machines, knobs with values that are safe on 1 GiB, units, faults with their shares, loads."""

from __future__ import annotations

import errno

MIB = 1 << 20
MACHINES = ("debian13_v2", "debian12_v2", "debian12_v1")
V1 = ("debian12_v1", "debian12_hybrid")

# Those of one row exclude each other, or move each other's values.
HOST: tuple[dict[str, tuple[int | str, ...]], ...] = (
    {"vm.swappiness": (10, 30, 80, 100)},
    {"vm.vfs_cache_pressure": (50, 150, 200)},
    {"vm.page-cluster": (0, 1, 2)},
    {"vm.watermark_scale_factor": (20, 50, 150)},
    {"vm.watermark_boost_factor": (0, 10000)},
    {"vm.min_free_kbytes": (46000, 48000)},
    {"vm.dirty_ratio": (10, 15, 30), "vm.dirty_bytes": (64 * MIB, 128 * MIB)},
    {"vm.dirty_background_ratio": (4, 5), "vm.dirty_background_bytes": (16 * MIB, 24 * MIB)},
    {"vm.dirty_expire_centisecs": (1500, 2000)},
    {"vm.dirty_writeback_centisecs": (300, 700)},
    {"vm.overcommit_ratio": (60, 80)},
    {"vm.overcommit_memory": (1,)},
    {"vm.nr_hugepages": (2, 4)},
    {"vm.max_map_count": (131072, 262144)},
    {"vm.compaction_proactiveness": (0, 10)},
    {"vm.stat_interval": (2, 5)},
    {"vm.lowmem_reserve_ratio": ("256 256 64 0 0",)},
    {"kernel.panic": (30, 60)},
    {"transparent_hugepage/enabled": ("always", "madvise", "never")},
    {"transparent_hugepage/defrag": ("defer", "defer+madvise", "never")},
    {"transparent_hugepage/shmem_enabled": ("advise", "never")},
    {"transparent_hugepage/khugepaged/max_ptes_none": (255, 0)},
    {"ksm/pages_to_scan": (200, 400)},
    {"ksm/sleep_millisecs": (50, 100)},
    {"zswap/max_pool_percent": (10, 15)},
    {"damon_reclaim/quota_ms": (20, 40)},
)
# What a human writes by hand: moves nothing else, and is no value from above or of any kernel.
BY_HAND: dict[str, int] = {
    "vm.swappiness": 41, "vm.vfs_cache_pressure": 123, "vm.page-cluster": 4, "vm.watermark_scale_factor": 77, "vm.dirty_expire_centisecs": 2345,
    "vm.max_map_count": 222222, "vm.stat_interval": 7,
}  # fmt: skip

LOADED = "chaosa.slice"
# The load runs in chaosa-load.service, which no plan names.
UNITS = ("chaosa.slice", "chaosb.slice", "chaosb-x.slice", "chaosc.slice", "chaosc-one.service", "chaos@.service", "chaos@1.service")
PROPERTIES: dict[str, tuple[int, ...]] = {
    "MemoryMin": (8 * MIB, 16 * MIB), "MemoryLow": (16 * MIB, 32 * MIB, 48 * MIB), "MemoryHigh": (400 * MIB, 500 * MIB), "MemoryMax": (600 * MIB, 700 * MIB),
}  # fmt: skip

# Kind: its share. What is drawn with it stands in draw.py.
FAULTS = {
    "kill": 30, "errno": 16, "dead": 8, "signal": 8, "full": 6, "sysctl": 10, "cgroup": 4, "reload": 6, "second": 6, "clock": 3, "none": 3,
}  # fmt: skip
ERRNOS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EINVAL, errno.EBUSY)
SIGNALS = ("SIGTERM", "SIGHUP", "SIGINT")
# One run of so many ends in a reset of the machine; at least one of each machine (see __main__).
RESET_EVERY = 110
# Shares of runs: with units in the plan; with a load, whose bound may lie below its usage; with an earlier generation; of these, with a rollback in the place
# of the tune; with a second fault while the first is mended.
UNITS_SHARE, LOAD_SHARE, EARLIER_SHARE, ROLLBACK_SHARE, AGAIN_SHARE = 0.35, 0.15, 0.3, 0.4, 0.25
LOADS = ("holder", "reader", "grower", "dirty")
# Shares of runs: with a swap file in the plan (and, half as often, another one in the generation before); with a tune that waits to be confirmed.
SWAP_SHARE, CONFIRM_SHARE = 0.07, 0.1
SWAP_SIZES, SWAP_PRIORITIES = (8 * MIB, 16 * MIB), (3, 10)
# Seconds after a run in which a kill would still be ours.
KILL_SECONDS = 5.0

# Two controllers at once on one node: {name: (host, slices)}, a rollback without any. They want different values of the same knobs.
CONTROLLER_MACHINE = "debian12_tuned"
CONTROLLERS: dict[str, tuple[dict[str, int | str], dict[str, dict[str, int]]]] = {
    "a": ({"vm.swappiness": 10, "vm.vfs_cache_pressure": 150, "vm.dirty_bytes": 64 * MIB, "transparent_hugepage/enabled": "madvise"},
          {"chaosb.slice": {"MemoryHigh": 500 * MIB, "MemoryLow": 16 * MIB}}),
    "b": ({"vm.swappiness": 35, "vm.vfs_cache_pressure": 50, "vm.dirty_ratio": 15, "vm.page-cluster": 1},
          {"chaosb.slice": {"MemoryHigh": 400 * MIB}, "chaosc-one.service": {"MemoryMax": 600 * MIB}}),
    "c": ({"vm.page-cluster": 2, "vm.stat_interval": 5, "transparent_hugepage/defrag": "defer"}, {}),
    "back": ({}, {}),
}  # fmt: skip
WAITS = (0, 120)
# What the human and TuneD write meanwhile; the kernel moves min_free_kbytes with transparent huge pages.
HUMANS = {"vm.vfs_cache_pressure": (91, 92, 93), "vm.page-cluster": (4, 5)}
TUNED_PROFILES = {"chaos-one": ("41", "never"), "chaos-two": ("42", "always")}
TUNEDS = ("/proc/sys/vm/swappiness", "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/sys/vm/min_free_kbytes")
