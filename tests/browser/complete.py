# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A result with all that docs/architecture.md 3.11 to 3.14 lets one have: settings, overcommit, findings over time, accepted ones."""

from __future__ import annotations

import copy
import typing as t

Json = dict[str, t.Any]
GIB = 1 << 30
LATE = {"source": "sysctl.d", "path": "/etc/sysctl.d/zz-local.conf", "line": 3, "value": "60"}
OURS = {"source": "sysctl.d", "path": "/etc/sysctl.d/90-memqos.conf", "line": 12, "value": "10"}
CONFLICT = {
    "name": "vm.swappiness", "scope": "host", "subject": "", "live": "10", "effective": "10", "persisted": "60", "winner": LATE, "others": [OURS],
    "agrees": False, "wanted": {"value": "10", "profile": "colocated", "generation": 4}, "drift": False,
}  # fmt: skip
DRIFT = {
    "name": "vm.watermark_scale_factor", "scope": "host", "subject": "", "live": "10", "effective": "10", "persisted": "10", "winner": {**OURS, "line": 7},
    "others": [], "agrees": True, "wanted": {"value": "150", "profile": "colocated", "generation": 4}, "drift": True,
}  # fmt: skip
CALM: Json = {
    "name": "vm.dirty_ratio", "scope": "host", "subject": "", "live": "20", "effective": "20", "persisted": None, "winner": None, "others": [],
    "agrees": True, "wanted": None, "drift": None,
}  # fmt: skip
UNIT = {
    "name": "MemoryLow", "scope": "unit", "subject": "db.service", "live": "4294967296", "effective": "1073741824", "persisted": "4294967296",
    "winner": {"source": "unit", "path": "/etc/systemd/system/db.service.d/50-low.conf", "line": 2, "value": "4G"}, "others": [], "agrees": True,
    "wanted": None, "drift": None,
}  # fmt: skip
DERIVED = {
    "allocatable_bytes": 56 * GIB, "allocatable_source": "kubepods", "workloads": 31, "sum_request_bytes": 41 * GIB, "sum_limit_bytes": 84 * GIB,
    "without_limit": 3, "stranded_bytes": 19 * GIB, "stranded_workloads": 22, "peak_days": [2, 30],
}  # fmt: skip
ACCEPTED = {"reason": "The batch pool is meant to run full, OPS-4711", "until": "2027-03-31"}


def complete(result: Json) -> Json:
    """The result with every key: the first finding is new, the second was accepted until lately, the last one is accepted."""
    told = copy.deepcopy(result)
    told["settings"] = [CONFLICT, DRIFT, CALM, UNIT]
    told["applied"] = {"generation": 4, "profiles": ["colocated"]}
    told["persistence"] = {"tuned_profile": "throughput-performance", "problems": ["/etc/sysctl.d/zz-local.conf:9: no value"]}
    told["derived"] = {**told.get("derived", {}), **DERIVED}
    failed = [one for one in told["findings"] if one["status"] == "fail"]
    failed[1]["suppression_expired"] = {"reason": "until the new kernel", "until": "2026-10-01"}
    failed[-1]["suppressed"] = ACCEPTED
    told["suppressions_unused"] = [{"rule": "N4*", "host": "web-*", "subject": "*", "reason": "the old kernel", "until": "2027-01-01"}]
    since = {"run_id": "before", "collected_at": "2026-11-22T07:31:09Z", "generation": 3}
    told["changes"] = {"since": since, "generation": 4, "rebooted": True, "findings": _changes(failed)}
    return told


def _changes(failed: list[Json]) -> list[Json]:
    def row(one: Json, before: Json | None, after: Json | None, **because: str) -> Json:
        return {"rule": one["rule"], "subject": one["subject"], "before": before, "after": after, **because}

    node = {"kind": "node", "id": "node", "name": ""}
    killed, quiet = ({"status": status, "observed": {"kills": kills}, "window": {"kind": kind, "seconds": 86400}}
                     for status, kills, kind in (("fail", 3, "since_boot"), ("pass", 0, "since_last_run")))  # fmt: skip
    return [
        row({"rule": "C01", "subject": {"kind": "service", "id": "/system.slice/a.service", "name": "a.service"}}, killed, quiet),
        row(failed[0], None, {"status": "fail", "observed": failed[0].get("observed", {})}),
        row(failed[1], {"status": "fail", "observed": {"stalls_per_second": 2}}, {"status": "fail", "observed": {"stalls_per_second": 8}}),
        row({"rule": "N40", "subject": node}, {"status": "fail", "observed": {"dying_cgroups": 2200}}, {"status": "pass", "observed": {"dying_cgroups": 12}}),
        row(
            {"rule": "C01", "subject": {"kind": "container", "id": "/kubepods/x", "name": "shop/gone/app"}},
            {"status": "fail", "observed": {}},
            None,
            because="subject_gone",
        ),
    ]
