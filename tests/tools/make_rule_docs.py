# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the tables of docs/rules.md (names, built-in rules) and a page for each rule; with --check says whether they are up to date, and writes nothing.

Run with the collection importable as ansible_collections.memqos.fleet.
"""

from __future__ import annotations

import argparse
import sys
import typing as t
from pathlib import Path

import yaml

from ansible_collections.memqos.fleet.plugins.plugin_utils import _rule_compiler, _rule_expression

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "rules.md"
PAGES = ROOT / "docs" / "rules"
RULES = ROOT / "roles" / "audit" / "vars" / "rules"

TITLES = {
    "node_reclaim.yml": "Reclaim and pressure",
    "node_memory.yml": "Where memory went",
    "node_settings.yml": "Settings",
    "cgroup.yml": "Cgroups",
    "node_persistence.yml": "Who decides",
}
# REUSE-IgnoreStart
HEAD = """\
<!--
Copyright (c) 2026, memqos.fleet contributors
GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later

Made by tests/tools/make_rule_docs.py
-->
"""
# REUSE-IgnoreEnd
OPEN_WORDS = {
    "meminfo": "`/proc/meminfo`, bytes (`HugePages_*` are counts)",
    "vmstat": "`/proc/vmstat`, pages and events",
    "sockstat": "`/proc/net/sockstat`: `sockstat.TCP.mem` (pages)",
    "breakdown": "the breakdown's rows: `breakdown.unaccounted`",
    "pressure": "`/proc/pressure`: `pressure.memory.full.avg60` (%)",
    "cgroup.stat": "`memory.stat`, with the names of cgroup v2 on every hierarchy",
    "cgroup.events": "`memory.events`, the cgroup and all below it; on v1 `max` (failcnt) and `oom_kill`",
    "cgroup.events_local": "`memory.events.local`, the cgroup itself",
    "cgroup.pressure": "`memory.pressure`: `cgroup.pressure.some.avg10` (%)",
    "cgroup.vendor": "files of vendor kernels: `cgroup.vendor.memory.wmark_ratio`, and parts of one: `cgroup.vendor.memory.exstat.wmark_min_throttled_ms`",
}


def names() -> str:
    """The table of namespaces, from what the compiler checks against."""
    lines = ["| Namespace | Names |", "| --- | --- |"]
    lines += [f"| `{space}.` | {', '.join(f'`{name}`' for name in sorted(known))} |" for space, known in _rule_expression.CLOSED.items()]
    lines += [f"| `{space}.` | {OPEN_WORDS[space]}; any name, because they depend on the kernel |" for space in _rule_expression.OPEN]
    return "\n".join(lines)


def rules() -> str:
    """A table for each file."""
    ruleset = _rule_compiler.load_rules([str(RULES)], thresholds={}, drop=[])
    parts = [f"{len(ruleset.metadata)} rules, in `roles/audit/vars/rules/`."]
    for file, title in TITLES.items():
        source = yaml.safe_load((RULES / file).read_text(encoding="utf-8"))
        parts += [f"### {title}", table(source)]
    return "\n\n".join(parts)


def table(source: list[dict[str, t.Any]]) -> str:
    lines = ["| Rule | Severity | For each | Says |", "| --- | --- | --- | --- |"]
    lines += [f"| [{rule['id']}](rules/{rule['id']}.md) | {rule['severity']} | {rule['each']} | {rule['title']} |" for rule in source]
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """{name: the rule's own page}"""
    ruleset = _rule_compiler.load_rules([str(RULES)], thresholds={}, drop=[])
    found = {}
    for file, title in TITLES.items():
        for rule in yaml.safe_load((RULES / file).read_text(encoding="utf-8")):
            found[f"{rule['id']}.md"] = f"{HEAD}\n{rule_page(rule, ruleset.metadata[rule['id']], title)}\n"
    return found


def rule_page(rule: dict[str, t.Any], metadata: dict[str, t.Any], group: str) -> str:
    cure = metadata["cure"]
    condition = "\n".join(f"{key}: {' '.join(str(rule[key]).split())}" for key in ("applies", "when") if key in rule)
    thresholds = ", ".join(f"`{name}` {value}" for name, value in rule.get("thresholds", {}).items())
    applied = ", ".join(f"`{knob}`: `{yaml.safe_dump(entry, default_flow_style=True).splitlines()[0]}`" for knob, entry in cure.get("apply", {}).items())
    lines = [
        f"# {rule['id']} {rule['title']}",
        f"{rule['severity'].capitalize()}, for each {rule['each']}. [All rules](../rules.md), {group.lower()}.",
        metadata["why"],
        "## When it speaks",
        f"```yaml\n{condition}\n```",
        f"Expected: {metadata['expected']}.",
        f"Thresholds, which `memqos_thresholds` changes: {thresholds}." if thresholds else "",
        "It shows " + ", ".join(f"`{name}`" for name in rule.get("observe", [])) + "." if "observe" in rule else "",
        "## What to do",
        f"{cure['text']}",
        f"Setting: `{cure['setting']}`, {cure['value']}." if "setting" in cure else "",
        f"```sh\n{cure['command']}\n```",
        f"What a selection has a tune do: {applied}." if applied else "",
        "## References",
        "\n".join(f"- <{reference}>" for reference in metadata["references"]),
    ]
    return "\n\n".join(filter(None, lines))


def page(old: str) -> str:
    """The page with its made parts made again."""
    for part, content in (("names", names()), ("rules", rules())):
        head, begin, rest = old.partition(f"<!-- {part}: made by tests/tools/make_rule_docs.py -->\n")
        _made, end, tail = rest.partition(f"<!-- /{part} -->")
        if not (begin and end):
            raise SystemExit(f"{PAGE} has no place for the {part}")
        old = f"{head}{begin}\n{content}\n\n{end}{tail}"
    return old


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the page is not what the code says")
    check = parser.parse_args().check
    wanted = {PAGE: page(PAGE.read_text(encoding="utf-8")), **{PAGES / name: content for name, content in pages().items()}}
    found = {path: path.read_text(encoding="utf-8") for path in (PAGE, *PAGES.glob("*.md"))}
    if wanted == found:
        return 0
    if check:
        differing = sorted(str(path) for path in {*wanted, *found} if wanted.get(path) != found.get(path))
        print(f"{', '.join(differing)}: not what the rules say: run {Path(__file__).name}", file=sys.stderr)
        return 1
    PAGES.mkdir(exist_ok=True)
    for path in found.keys() - wanted.keys():
        path.unlink()
    for path, content in wanted.items():
        path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
