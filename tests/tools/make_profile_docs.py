# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes docs/profiles.md from the built-in profiles; with --check says whether it is up to date, and writes nothing.

Run with the collection importable as ansible_collections.memqos.fleet.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.module_utils import _shares, _wanted
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.plugin_utils import _intents, _profiles

PAGE = Path(__file__).resolve().parents[2] / "docs" / "profiles.md"
HEAD = """<!--
Copyright (c) 2026, memqos.fleet contributors
GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
-->

<!-- Made by tests/tools/make_profile_docs.py from roles/tune/vars/profiles/. Change a profile or the tool, not this page. -->

# Profiles

What [a tune](tuning.md) makes of a node: the settings it shall have, each with its reason.

| Profile | For | Extends |
| --- | --- | --- |
{rows}

A node can have several: `memqos_profile: [kubernetes_node, colocated]`. Values of single hosts or groups stand in `memqos_host`, `memqos_slices`
and `memqos_qos`, and come last.

## How values are written

| Written | Wanted |
| --- | --- |
| `vm.swappiness: 10` | 10 |
| `{{value: 10, reason: …, source: https://…}}` | 10, and why |
| `{{of_memory: 0.5%, min: 64MiB, max: 2GiB}}` | a share of MemTotal, between two sizes, rounded down to a page |
| `{{raise_to: 150}}`, `{{lower_to: 10}}` | moves one way only: a value that is already there, or beyond, stays. The bound may be a share of memory. |
| `{{lower_to: madvise}}` | likewise, where words go from `never` to `always` |
| `absent` | what an inherited profile set is taken back |

Sizes are binary: `64M`, `64MiB` and `65536k` are the same. A setting that the kernel has on or off takes `true` and `false`; where it takes a word, such as
`always`, YAML's `on` and `off` are refused.

Later profiles come over earlier ones; a bound moves what they want, or else what the node had. Each profile counts once, at its first place. Where two settings
exclude each other (`vm.dirty_bytes` and `vm.dirty_ratio`), the later one stays; a bound on the one that is switched off has no effect, and the result says so.
But `lower_to` bytes takes the place of a percentage in force that comes to more of MemTotal.

`lower_to: madvise` makes `madvise` of `always` and of `defer+madvise`, and leaves `never`. `defer` and `madvise` have no order: a bound on the one leaves the
other. A share may stand for `vm.watermark_scale_factor` too (`{{of_memory: 1.5%, max: 8GiB}}`): it is what lies between two watermarks.

A profile with `when: facts.hierarchy == 'v2'` counts only on nodes where that is true; conditions are written in the language of rules, over `facts.` and
`knob('…')`. A setting that leaves a node's profiles goes back to the value it had before.

Under `slices` stand the properties that systemd has for a slice, service or scope, a template (`user-.slice`) or an instance, and files of its cgroup that
systemd does not own (`memory.swappiness`, `memory.wmark_ratio`). A file that systemd writes itself (`memory.high`) is refused with the name of its property.
A template takes values and shares, and no bounds: its units have one drop-in.

Under `qos` stands what containers are to have, by class and [intent](qos.md#intents): `{{LS: {{protect_soft: {{of_request: 100%, reason: …}}}}}}`. A later
profile changes it intent by intent, and `absent` takes one back.

A bound on a host knob writes a line only [where it is needed](tuning.md#what-a-bound-writes-down).

An own profile is a file such as these in a directory of `memqos_profiles_paths`, or is written in `memqos_profile` itself; its form is
`docs/schemas/profile.json`. It may have the name of a built-in one, and then replaces it.

`suits` says what a profile is for: `{{names: [redis*, "*/redis:*"], facts: [kubelet]}}`. With [`memqos_profile: auto`](tuning.md#auto) it is proposed for a
node on which the last audit found a unit, container or image of such a name with 5 % of memory or more, or a fact that is true.
"""
COLUMNS = ("Setting", "Value", "Why", "Source")
# What shares come to, on nodes from the smallest to a large one.
EXAMPLES = (1 << 30, 64 << 30, 1 << 40)


def names() -> list[str]:
    """All built-in profiles, the common base first."""
    found = sorted(os.path.splitext(file)[0] for file in os.listdir(_profiles.BUILT_IN))
    return ["balanced", *(name for name in found if name != "balanced")]


def own(name: str) -> _profiles.Profile:
    """The profile without what it extends."""
    return _profiles.load_profiles(name, search_paths=[], overrides={}).profiles[-1]


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def value_cell(profile: _profiles.Profile, unit: str, name: str) -> str:
    entry = profile.values[unit, name].entry
    words = f"`{_wanted.expression(entry)}`" if "value" in entry else _wanted.expression(entry)
    inner = entry.get("raise_to", entry.get("lower_to", entry))
    if not isinstance(inner, dict) or "of_memory" not in inner:
        return words
    return f"{words}<br>" + ", ".join(f"{_shares.format_size(size)}: {amount(profile, unit, name, size)}" for size in EXAMPLES)


def amount(profile: _profiles.Profile, unit: str, name: str, memtotal: int) -> str:
    """What the entry comes to on a node of this size, without a value before."""
    basis = _wanted.Basis(env={}, memtotal=memtotal, page_size=4096, kernel="6.12", live={}, units={})
    knob = _registry.find(name)
    value = _wanted.fold([{**profile.layer(), "when": True}], basis).wanted[knob.scope, unit, name].value
    unit_bytes = _wanted.unit_bytes(knob)
    return _shares.format_size(value * unit_bytes) if isinstance(value, int) and unit_bytes else str(value)


def table(profile: _profiles.Profile, unit: str) -> list[str]:
    rows = [(name, stated) for (subject, name), stated in profile.values.items() if subject == unit]
    lines = [f"| `{name}` | {cell(value_cell(profile, unit, name))} | {cell(stated.reason)} | <{stated.source}> |" for name, stated in rows]
    return ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS), *lines, ""] if rows else []


def qos_table(profile: _profiles.Profile) -> list[str]:
    """What containers are to have; of several classes at once what all of them say in the same words."""
    classes: dict[tuple[str, str, str, str], list[str]] = {}
    for (name, intent), said in profile.qos.items():
        classes.setdefault((intent, _intents.words(said.value), said.reason, said.source), []).append(name)
    lines = [f"| {', '.join(names)} | `{intent}` | {value} | {cell(reason)} | <{source}> |" for (intent, value, reason, source), names in classes.items()]
    head = ("Class", "Intent", *COLUMNS[1:])
    return ["Containers:\n", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *lines, ""] if lines else []


def suited(profile: _profiles.Profile) -> str:
    names = ", ".join(f"`{name}`" for name in profile.suits.get("names", []))
    facts = " and ".join(f"`facts.{fact}` is true" for fact in profile.suits.get("facts", []))
    return " or ".join(filter(None, [f"a unit, container or image named {names} has 5 % of memory" if names else "", facts]))


def section(profile: _profiles.Profile) -> list[str]:
    lines = [f"\n## {profile.name}\n", profile.summary]
    lines += [f"Counts where `{profile.condition}`."] if profile.condition else []
    lines += [f"Proposed by `auto` where {suited(profile)}."] if profile.suits else []
    extends = ", ".join(f"[{name}](#{name})" for name, _node in profile.extends)
    lines += [f"Has all of {extends}, and:\n" if extends else "", *table(profile, "")]
    for unit in sorted({subject for subject, _name in profile.values if subject}):
        lines += [f"`{unit}`:\n", *table(profile, unit)]
    lines += qos_table(profile)
    return lines[:-1]


def page() -> str:
    """The whole of docs/profiles.md."""
    profiles = [own(name) for name in names()]
    rows = [f"| [{one.name}](#{one.name}) | {cell(one.summary)} | {', '.join(name for name, _node in one.extends)} |" for one in profiles]
    lines = [HEAD.format(rows="\n".join(rows))]
    for profile in profiles:
        lines += section(profile)
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the page is not what the profiles say")
    check = parser.parse_args().check
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE} is not what the profiles say: run {Path(__file__).name}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
