# SPDX-License-Identifier: BSD-2-Clause

"""The options of memory_tune, memory_rollback and memory_generations: the modules take them, and so do the action plugins before them. Data only."""

from __future__ import annotations

import typing as t

from ._knobs import _texts

POLICIES = ("report", "defer", "refuse", "take")
# What an operator can allow; why each is refused, with the figures, is for _guards to say.
RISKS = (
    "limit_below_usage",
    "high_below_working_set",
    "limit_too_small_to_start",
    "protection_above_80_percent",
    "protection_leaves_nothing",
    "min_free_above_5_percent",
    "min_free_below_kernel_default",
    "watermark_scale_above_400",
    "lowmem_reserve_above_5_percent",
    "max_map_count_below_default",
    "dirty_below_16_mib",
    "overcommit_below_committed",
    "hugepages_above_available",
    "oom_kill_disable",
    "swapoff_does_not_fit",
)

_SHARED: dict[str, dict[str, t.Any]] = {
    "allow_risks": {"type": "list", "elements": "str", "choices": list(RISKS), "default": []},
    "lock_wait": {"type": "int", "default": 60},
    "shrink_within": {"type": "int", "default": 60},
    "keep_generations": {"type": "int", "default": 20},
    "keep_days": {"type": "int", "default": 30},
    "directory": {"type": "path", "default": "build/report"},
}
TUNE: dict[str, dict[str, t.Any]] = {
    "profile": {"type": "raw"},
    "selection": {"type": "path"},
    "profiles_paths": {"type": "list", "elements": "path", "default": []},
    "host": {"type": "dict", "default": {}},
    "slices": {"type": "dict", "default": {}},
    "swap": {"type": "dict", "default": {}},
    "manage_swap": {"type": "bool", "default": False},
    "qos": {"type": "dict", "default": {}},
    "qos_model": {"type": "str", "choices": ["profile", "koordinator", "kubelet"], "default": "profile"},
    "qos_strategy": {"type": "raw", "default": {}},
    "kubelet": {"type": "dict", "default": {}},
    "node_slo": {"type": "raw", "default": {}},
    "pods": {"type": "raw", "default": []},
    "pods_file": {"type": "path", "default": ""},
    "node_name": {"type": "str", "default": ""},
    "workloads": {"type": "list", "elements": "dict", "default": []},
    "allocatable": {"type": "raw", "default": ""},
    "only": {"type": "list", "elements": "str", "choices": list(_texts.AREAS), "default": []},
    "on_conflict": {"type": "str", "choices": list(POLICIES), "default": "report"},
    "on_unsupported": {"type": "str", "choices": ["report", "fail"], "default": "report"},
    "sysctl_file": {"type": "str", "default": "zz-memqos.conf"},
    "auto_apply": {"type": "bool", "default": False},
    "root": {"type": "path", "default": "/"},
    "confirm_within": {"type": "int", "default": 0},
    **_SHARED,
}
ROLLBACK: dict[str, dict[str, t.Any]] = {
    "to": {"type": "str", "default": "previous"},
    "force": {"type": "bool", "default": False},
    **_SHARED,
}
CONFIRM: dict[str, dict[str, t.Any]] = {"lock_wait": {"type": "int", "default": 60}}
GENERATIONS: dict[str, dict[str, t.Any]] = {
    "compare": {"type": "list", "elements": "str", "default": []},
    "directory": {"type": "path", "default": "build/report"},
}
# From action plugin to module. no_log: it is no secret, but each run would put it into the node's syslog.
REQUEST: dict[str, dict[str, t.Any]] = {"request": {"type": "str", "no_log": True}}
