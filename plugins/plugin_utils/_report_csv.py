# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""C(findings.csv), C(hosts.csv), C(top.csv), C(settings.csv): a row each, for spreadsheets and databases.

Numbers are plain: bytes, counts, shares of 1. A cell of text that a spreadsheet would take for a formula begins with a C(') of ours.
What is not known is empty.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import types
import typing as t

from ansible_collections.memqos.fleet.plugins.plugin_utils._report_parts import PARTS
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import SEVERITIES, Fleet, Host, Json, host_settings, join_finding, top_row
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import NO_RESULT, replacing

_COUNTS = (*SEVERITIES, "unknown", "suppressed")
# What a spreadsheet evaluates, also behind spaces, and in the full width of East Asian fonts.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# A terminal that is shown the file runs these; NUL ends a cell for some readers.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_QUOTED = re.compile(r'[",\n]|^\s|\s$')
_SOURCE = ("source", "path", "line", "value")

COLUMNS: dict[str, tuple[str, ...]] = {
    "findings": (
        "host", "rule", "severity", "status", "title", "kind", "subject", "subject_id", "observed", "window", "reason", "suppressed_reason", "suppressed_until",
        "suppression_expired", "expected", "setting", "value", "cure", "command", "collected_at",
    ),
    "hosts": (
        "host", "status", "kernel", "hierarchy", "memory_bytes", "free_bytes", "available_bytes", "unaccounted_bytes", "swap_bytes", "swap_used_bytes",
        "pressure_full_avg60_percent", *_COUNTS, "collected_at",
    ),
    "top": ("host", "path", "name", "kind", "qos_class", *PARTS),
    "settings": (
        "host", "scope", "subject", "name", "live", "effective", "persisted", *(f"winner_{name}" for name in _SOURCE), "others", "agrees", "wanted", "profile",
        "generation", "drift",
    ),
}  # fmt: skip


class CsvReport:
    """The four files, by C(paths); they take their places when the block ends."""

    def __init__(self, directory: str, *, rules: t.Mapping[str, Json]) -> None:
        self.paths = {f"csv_{name}": os.path.join(directory, f"{name}.csv") for name in COLUMNS}
        self._rules = rules
        self._streams: dict[str, t.TextIO] = {}

    def __enter__(self) -> CsvReport:
        with contextlib.ExitStack() as stack:
            for name, columns in COLUMNS.items():
                self._streams[name] = stack.enter_context(replacing(self.paths[f"csv_{name}"]))
                self._streams[name].write(csv_line(columns))
            self._files = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: types.TracebackType | None) -> bool | None:
        return self._files.__exit__(kind, value, trace)

    def add(self, result: Json, host: Host) -> None:
        self._write("findings", _findings(result, self._rules))
        self._write("hosts", [_host(result, host)])
        rows = (top_row(host.name, row) for row in result["top"]["rows"])
        self._write("top", ([host.name, row.path, row.name, row.kind, row.qos, *(row.cells.get(part) for part in PARTS)] for row in rows))
        self._write("settings", (_setting(host.name, row) for row in host_settings(result) or ()))

    def finish(self, fleet: Fleet) -> None:
        missing = {**dict.fromkeys(fleet.unreachable, NO_RESULT), **fleet.invalid}
        self._write("hosts", ([name, reason, *[None] * (len(COLUMNS["hosts"]) - 2)] for name, reason in missing.items()))

    def _write(self, name: str, rows: t.Iterable[t.Sequence[t.Any]]) -> None:
        self._streams[name].writelines(csv_line(row) for row in rows)


def csv_line(cells: t.Iterable[t.Any]) -> str:
    """One record. What is not known is an empty cell; lists and mappings are JSON."""
    return ",".join(map(_cell, cells)) + "\n"


def _cell(value: t.Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    if text.lstrip().startswith(_FORMULA):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _findings(result: Json, rules: t.Mapping[str, Json]) -> t.Iterator[list[t.Any]]:
    """In the node's order, with the figures as it has them."""
    for finding in result["findings"]:
        rule = rules.get(finding["rule"], {})
        one, cure = join_finding(finding, rule), rule.get("cure") or {}
        told = [one.rule, one.severity, one.status, one.title, one.kind, one.subject, one.subject_id, finding.get("observed"), one.window, one.reason]
        accepted = [*(one.suppressed or (None, None)), one.expired and one.expired.until]
        advice = [rule.get("expected"), *(cure.get(name) for name in ("setting", "value", "text", "command"))]
        yield [result["host"], *told, *accepted, *advice, result["collected_at"]]


def _host(result: Json, host: Host) -> list[t.Any]:
    sizes = [host.memtotal, host.free, host.available, host.unaccounted, host.swap_total, host.swap_used]
    counts = [host.counts[name] for name in _COUNTS]
    return [host.name, "ok", host.kernel, host.hierarchy, *sizes, host.pressure, *counts, result["collected_at"]]


def _setting(host: str, row: Json) -> list[t.Any]:
    winner, wanted = row.get("winner") or {}, row.get("wanted") or {}
    values = [row.get(name) for name in ("scope", "subject", "name", "live", "effective", "persisted")]
    rest = [row.get("others") or None, row.get("agrees"), wanted.get("value"), wanted.get("profile"), wanted.get("generation"), row.get("drift")]
    return [host, *values, *(winner.get(name) for name in _SOURCE), *rest]
