#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _facts, _module, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry


def gather(params: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"ansible_facts": {"memqos": _facts.facts(_snapshot.of_options(params, wanted=_registry.wanted(), sections=()))}}


def main() -> None:
    _module.run({"root": _module.ROOT}, gather, expected=(_snapshot.UnusableOption,))


if __name__ == "__main__":
    main()
