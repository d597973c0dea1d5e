#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _history, _journal, _module, _tune_options
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Refused, Writer


def generations(params: dict[str, t.Any]) -> dict[str, t.Any]:
    if os.geteuid():
        raise _module.BadOption("needs root, whose the journal is: set ansible_become to true for this host")
    return {"generations": _module.to_json(_history.told(_journal.Journal(Writer("/")), params["compare"]))}


def main() -> None:
    _module.run(_tune_options.GENERATIONS, generations, expected=(_history.Unknown, _journal.JournalError, Refused, OSError))


if __name__ == "__main__":
    main()
