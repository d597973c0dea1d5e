# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Rules that the controller judges: for each setting, since it alone knows who decides it, and about overcommit, of which it knows more. §3.11, §3.12. Pure."""

from __future__ import annotations

import os.path
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _diagnosis, _rules

Json = dict[str, t.Any]

# Our files carry our name, unless an operator has called the one of sysctl.d otherwise: C(our_files), by their first lines.
_OURS = "memqos"
_NO_COUNTERS = _rules.Counters(uptime=None)


def judge(audit: Json, prepared: t.Sequence[_rules.Prepared], *, failed: t.Mapping[str, t.Sequence[str]], our_files: t.Collection[str] = ()) -> None:
    """Adds findings and counts of these rules to an audit that has C(settings) and a whole C(derived); to C(recovered) those of C(failed) that pass.

    C(failed): {rule: ids of subjects}.
    """
    node = {"facts": audit["node"], "node": audit["derived"], "knob": audit["node"]["knobs"], "meminfo": audit["node"]["meminfo"]}
    # What rules read: _rule_compiler.ON_CONTROLLER.
    settings = [
        ({"kind": "setting", "id": f"{row['subject']} {row['name']}".strip(), "name": ""}, {**node, "setting": names(row, our_files)}, _NO_COUNTERS)
        for row in audit["settings"]
    ]
    subjects = {"node": [({"kind": "node", "id": "node", "name": ""}, node, _NO_COUNTERS)], "setting": settings}
    findings, recovered, counts = _diagnosis.judge(prepared, subjects.__getitem__, failed)
    audit["findings"] += findings
    audit["recovered"] += recovered
    audit["rules"].update(counts)


def names(row: Json, our_files: t.Collection[str]) -> Json:
    """A row of C(settings) as rules read it: what is null has no name. C(ours): we wrote it down. C(overridden): we did, and another value wins."""
    winner: Json = row.get("winner") or {}
    lines: list[Json] = [*filter(None, [row.get("winner")]), *row.get("others", ())]
    ours = [line for line in lines if _is_ours(str(line.get("path", "")), our_files)]
    known = {key: row[key] for key in ("name", "scope", "subject", "live", "effective", "persisted", "agrees", "drift") if row.get(key) is not None}
    overridden = bool(ours) and not _is_ours(str(winner.get("path", "")), our_files) and all(line.get("value") != winner.get("value") for line in ours)
    return {**known, "source": str(winner.get("source", "")), "path": str(winner.get("path", "")), "ours": bool(ours), "overridden": overridden}


def _is_ours(path: str, our_files: t.Collection[str]) -> bool:
    return path in our_files or _OURS in os.path.basename(path)
