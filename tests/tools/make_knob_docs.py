# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes docs/knobs.md from the registry; with --check says whether it is up to date, and writes nothing.

Run with the collection importable as ansible_collections.memqos.fleet.
"""

from __future__ import annotations

import argparse
import re
import sys
import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _host, _memcg, _registry
from ansible_collections.memqos.fleet.plugins.module_utils._knobs._row import Knob

PAGE = Path(__file__).resolve().parents[2] / "docs" / "knobs.md"
HEAD = """<!--
Copyright (c) 2026, memqos.fleet contributors
GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
-->

<!-- Made by tests/tools/make_knob_docs.py from plugins/module_utils/_knobs/. Change a row there, not this page. -->

# Knobs

Every setting that memqos.fleet knows: {total} rows. Whether a node has one is found by looking for its file, never from the kernel's version or the name of
the distribution: versions here are those of mainline, and vendors backport.

- **Range**: lowest and highest; after a kernel version, what holds from that version on. *or 0*: 0 turns it off.
- **Read back**: how a value is compared after a write. *exact*; *page rounded*: down to a page, or *up* to one; *bracketed choice*:
  `always [madvise] never`; *effective value*: the kernel may show another value than the one written, such as what ancestors leave of it, or as many huge
  pages as it found.
- **Order**: what is written before it, what must stay above it, what a write changes besides, and what cannot be on at the same time.
- **Effect** of a write: *reclaim*: the writer itself reclaims memory until the value holds; *oom*: and then processes are killed; *compaction*; *memory*:
  memory use jumps; *caches*: caches are dropped; *refusal*: allocations can fail at once.
- **Kept by**: where a value must stand to outlive a reboot. *reapply*: by nothing but a direct write to every new cgroup.
- **Risk** for an unattended role: L, M or H. *write-only* values cannot be read back; a *one-shot* is an action, not a state.
- `{{size}}` is a page size in kB, `{{n}}` the number of a zram device or NUMA node.
"""

# Sections of the page, in order: title, rows, columns.
COLUMNS = ("Knob", "Unit", "Range", "Read back", "Order", "Effect", "Kept by", "Risk", "Mainline", "Source")
SECTIONS: tuple[tuple[str, tuple[Knob, ...]], ...] = (
    ("Host: sysctls", _host.SYSCTLS),
    ("Host: huge page pools", _host.HUGETLB),
    ("Host: transparent huge pages", _host.THP),
    ("Host: KSM", _host.KSM),
    ("Host: zswap", _host.ZSWAP),
    ("Host: zram", _host.ZRAM),
    ("Host: MGLRU, NUMA", _host.MISC),
    ("Host: DAMON modules", _host.DAMON),
    ("Host: vendor kernels", _host.VENDOR),
    ("Memory cgroups: mainline", _memcg.MAINLINE),
    ("Memory cgroups: Alibaba Cloud Linux, Anolis", _memcg.ANOLIS),
    ("Memory cgroups: openEuler", _memcg.OPENEULER),
    ("Memory cgroups: TencentOS, OpenCloudOS", _memcg.TENCENT),
    ("systemd units", _registry.unit_knobs()),
)


def knob_cell(knob: Knob) -> str:
    words = [f"`{knob.name}`"]
    if knob.scope == "memcg":
        words += [f"v1 `{knob.v1}`" if knob.v1 not in ("", knob.name) else "", "v1 only" if not knob.v2 else ""]
        words += [f"v1: {knob.v1_vendor.replace(' ', ', ')}"] if knob.v1_vendor else ["v2 only"] if not knob.v1 else []
        words += [f"`{knob.unit_property}=`"] if knob.unit_property else []
    if knob.scope == "unit":
        words += [f"`{name}`" for name in (knob.v2, knob.v1) if name]
    words.append(f"use `{knob.instead}`" if knob.instead else "")
    if knob.scope == "host" and knob.vendor != "mainline":
        words.append(knob.vendor)
    words += [{"rw": "", "wo": "write-only", "ro": "read-only"}[knob.access], "one-shot" if knob.one_shot else ""]
    return "<br>".join(word for word in words if word)


def range_cell(knob: Knob) -> str:
    if knob.choices:
        return ", ".join(f"`{choice}`" for choice in knob.choices)
    if knob.unit == "bool" and len(knob.ranges) == 1:
        return "0, 1"
    spans = [f"{since}: {span(low, high)}" if since else span(low, high) for since, low, high in knob.ranges]
    return "; ".join(spans) + (" or 0" if knob.or_zero else "")


def span(low: int | None, high: int | None) -> str:
    if low is None and high is None:
        return "any"
    return f"{low}" if low == high else f"≥ {low}" if high is None else f"≤ {high}" if low is None else f"{low}..{high}"


def order_cell(knob: Knob) -> str:
    parts = [("after", knob.after), ("at most", (knob.at_most,) if knob.at_most else ()), ("changes", knob.partners), ("not beside", knob.excludes)]
    # A DAMON switch follows all of its module's parameters: a list that says no more than this.
    return "<br>".join(f"{word} {names(value)}" for word, value in parts if value)


def names(value: t.Sequence[str]) -> str:
    return f"the {len(value)} others of its module" if len(value) > 4 else ", ".join(f"`{name}`" for name in value)


def since_cell(knob: Knob) -> str:
    if knob.scope == "unit":
        return f"systemd {knob.systemd}"
    if knob.first and knob.last:
        return f"{knob.first} to {knob.last}"
    return f"{knob.first}" if knob.first else f"to {knob.last}" if knob.last else ""


def source_cell(knob: Knob) -> str:
    if knob.source.startswith("admin-guide/"):
        return f"[{knob.source[12:]}](https://docs.kernel.org/{knob.source}.html)"
    manual = re.fullmatch(r"(systemd\.[a-z-]+)\(5\)", knob.source)
    return f"[{manual.group(1)}](https://www.freedesktop.org/software/systemd/man/latest/{manual.group(1)}.html)" if manual else knob.source


def row(knob: Knob) -> str:
    cells = (
        knob_cell(knob), knob.unit, range_cell(knob), knob.comparison.replace("_", " "), order_cell(knob), knob.side_effect.replace("none", ""),
        knob.persist.replace("never", ""), knob.risk, since_cell(knob), source_cell(knob),
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def page() -> str:
    """The whole of docs/knobs.md."""
    parts = [HEAD.format(total=sum(len(rows) for _title, rows in SECTIONS))]
    for title, rows in SECTIONS:
        parts += [f"\n## {title}\n", "| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
        parts += [row(knob) for knob in rows]
    return "\n".join(parts) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the page is not what the registry says")
    check = parser.parse_args().check
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE} is not what the registry says: run {Path(__file__).name}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
