# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must be true of a run of guest/shrinking.py, whatever was drawn."""

from __future__ import annotations

import typing as t

Json = dict[str, t.Any]

MIB = 1 << 20
_PAGE = 4096


def problem(run: Json, *, version: int) -> str:
    """What is wrong with it; empty if nothing is. C(version): of the cgroup hierarchy."""
    before, after, later, told = run["before"], run["after"], run["later"], run["told"]
    if later["kills"] != before["kills"]:
        return f"{later['kills'] - before['kills']} OOM kills"
    if not run["alive"]:
        return "the service has ended"
    if not told["clean"]:
        return f"it was not undone altogether: {told['problem']}"
    files = [{"MemoryMax": "limit", "MemoryHigh": "high"}[run["knob"]], *(["high"] if run["high_too"] and version == 2 else [])]
    is_set = told["status"] == "changed"
    wanted = str(run["bound"] // _PAGE * _PAGE)
    for when, found in (("right after", after), ("later", later)):
        expected = {**{key: before[key] for key in ("limit", "high")}, **(dict.fromkeys(files, wanted) if is_set else {})}
        wrong = {key: found[key] for key in expected if found[key] != expected[key]}
        if wrong:
            return f"it said {told['status']}, and {when} {wrong} is not {expected}"
    if is_set == bool(told["problem"]) and told["status"] != "unsupported":
        return f"it said {told['status']}, and as problem {told['problem']!r}"
    expectation = _expected(run, version)
    if expectation is not None and expectation != is_set:
        return f"it could have been set, and was not: {told['problem']}" if expectation else "it was set, and could not hold"
    return ""


def _expected(run: Json, version: int) -> bool | None:
    """Whether the bound has to be set; None where that depends on what the tasks do meanwhile."""
    if run["knob"] == "MemoryHigh" and version == 1:
        return False
    fixed = _fixed(run)
    if run["kind"] == "holds" and run["bound"] >= fixed * 5 // 4 + 8 * MIB:
        return True
    if run["knob"] == "MemoryMax" and run["kind"] != "grows" and run["bound"] < fixed * 9 // 10:
        return False
    if run["knob"] == "MemoryMax" and run["kind"] == "grows" and not run["swap"]:
        most = (run["load"]["hold"] + run["load"]["most"]) * MIB
        # It outgrows the bound while it is looked at, or soon after.
        return False if run["load"]["grow"] >= 2 and most > run["bound"] * 5 // 4 and fixed < most * 9 // 10 else None
    return None


def _fixed(run: Json) -> int:
    """What has to stay: without its page cache, and with swap without its anonymous memory, which is less than there is swap."""
    before = run["before"]
    cache = before["active_file"] + before["inactive_file"] + before["slab"]
    anon = before["active_anon"] + before["inactive_anon"] if run["swap"] else 0
    return int(before["usage"] - cache - anon)
