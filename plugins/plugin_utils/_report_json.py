# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""C(report.json), written host by host: docs/schemas/report.json."""

from __future__ import annotations

import json
import types
import typing as t

from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import Fleet, Host
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import SCHEMA_VERSION, Json, replacing


class JsonReport:
    """A context manager: C(add) each result, then C(finish); the file takes its place when the block ends. Raises ResultError."""

    def __init__(self, path: str, *, generated_at: str) -> None:
        self._file = replacing(path)
        self._generated_at = generated_at
        self._separator = "\n"

    def __enter__(self) -> JsonReport:
        self._stream = self._file.__enter__()
        self._stream.write(f'{{"schema_version": {SCHEMA_VERSION}, "generated_at": {_text(self._generated_at)}, "hosts": {{')
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: types.TracebackType | None) -> bool | None:
        return self._file.__exit__(kind, value, trace)

    def add(self, result: Json, host: Host) -> None:
        self._stream.write(f"{self._separator}{_text(result['host'])}: {_text(result)}")
        self._separator = ",\n"

    def finish(self, fleet: Fleet) -> None:
        rest = f'"rules": {_text(fleet.rules)}, "unreachable": {_text(fleet.unreachable)}, "invalid": {_text(fleet.invalid)}'
        self._stream.write(f"\n}}, {rest}}}\n")


def _text(value: t.Any) -> str:
    return json.dumps(value, separators=(",", ":"))
