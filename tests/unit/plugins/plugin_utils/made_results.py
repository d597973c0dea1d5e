# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results as audits write them, with what a test wants to see in them: names of all kinds, settings, findings over time."""

from __future__ import annotations

import copy
import typing as t
from pathlib import Path

from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.plugin_utils import _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import Fleet

SAMPLES = str(Path(__file__).parents[2] / "fixtures" / "results")
RULES = _results.read_rules(SAMPLES)

# What a name must not be in some format. A node decodes what is not UTF-8 with backslashreplace.
HOSTILE = [
    "new\nline", "cr\rlf\r\n", "tab\tend", "quote\"'", "a,b;c", "pipe|pipe", "\\|", "`tick`", "``", "*bold* _it_ ~~gone~~", "<img src=x onerror=alert(1)>",
    "</testcase>]]>", "&amp;&#124;", "\x1b[31mred\x1b]0;t\x07", "\u202egnp.exe", "zero\u200bwidth\u2028",
    "=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", " =1+1",
    "\uff1d1", "nul\0end", "\x0b\x0c\x1f\ufffe\uffff", "\ud800", "broken-\\xff", "{{ 1 + 1 }}", "[link](javascript:alert)", "![i](http://x/y)", "@team #12 $x$",
    "http://evil.example/", "www.evil.example", "# head", "- list", "1. one", "    code", "---", "日本 ünï", "'", '"', "~", "$(reboot)", "__proto__", ":smile:",
]  # fmt: skip
NAMES = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec=None), min_size=1, max_size=40))


def made(host: str = "web-1", **keys: t.Any) -> dict[str, t.Any]:
    """The result of a sample host, with these keys instead of its own."""
    return {**_results.read_result(SAMPLES, "web-1"), "host": host, **copy.deepcopy(keys)}


def finding(rule: str = "C01", name: str = "shop/app", status: str = "fail", **keys: t.Any) -> dict[str, t.Any]:
    return {"rule": rule, "subject": {"kind": "container", "id": f"/{name}", "name": name}, "status": status, "observed": {"kills": 3}, **keys}


def accepted(reason: str = "known, ticket 7", until: str = "2027-01-31") -> dict[str, str]:
    return {"reason": reason, "until": until}


def named(name: str) -> dict[str, t.Any]:
    """A result in which everything that has a name has this one."""
    row = {"path": f"/{name}", "name": name, "kind": "container", "working_set": 1 << 30, "anon": 1 << 29}
    source = {"source": "sysctl.d", "path": f"/etc/{name}", "line": 3, "value": name}
    knob = {"scope": "unit", "subject": name, "name": name, "live": name, "effective": name, "persisted": name, "winner": source}
    gone = {"rule": "C01", "subject": finding(name=name)["subject"], "before": None, "after": None}
    return made(
        name,
        findings=[finding(name=name, reason=name), finding("N23", name, "unknown", reason=name), finding("C03", name, suppressed=accepted(name))],
        rules={"C01": counts(failed=1), "N23": counts(unknown=1), "C03": counts(failed=1), "N44": counts(passed=1), "N09": counts(not_applicable=1)},
        top={"limit": 1, "parts": ["working_set"], "rows": [row]},
        settings=[{**knob, "others": [{**source, "value": "other"}], "agrees": False, "wanted": None, "drift": None}],
        oom={"groups": [{"name": name, "killed": 2, "cause": name}], "reports": []},
        applied={"generation": 3, "profiles": [name]},
        changes={"since": {"run_id": "r", "collected_at": name}, "findings": [gone]},
    )  # fmt: skip


def counts(*, passed: int = 0, failed: int = 0, unknown: int = 0, not_applicable: int = 0) -> dict[str, int]:
    return {"passed": passed, "failed": failed, "unknown": unknown, "not_applicable": not_applicable}


def fill(writer: t.Any, results: t.Iterable[dict[str, t.Any]], *, unreachable: t.Sequence[str] = (), invalid: t.Mapping[str, str] | None = None) -> Fleet:
    """Run a writer over these results."""
    fleet = Fleet(RULES, top=10)
    with writer:
        for result in results:
            writer.add(result, fleet.add(result))
        fleet.unreachable, fleet.invalid = list(unreachable), dict(invalid or {})
        writer.finish(fleet)
    return fleet
