#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""sent.py DIRECTORY MODULE...: writes C(DIRECTORY/MODULE.zip), the code that ansible-core sends to a node for C(memqos.fleet.MODULE).

Runs in a process of its own: the collection loader is set up once a process.
"""

from __future__ import annotations

import base64
import re
import sys
import tempfile
import typing as t
from pathlib import Path

from ansible.executor import module_common
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, module_loader
from ansible.template import Templar

ROOT = Path(__file__).resolve().parents[2]


def sent(module: str) -> bytes:
    found = module_loader.find_plugin_with_context(module)
    built: t.Any = module_common.modify_module(
        module_name=module,
        module_path=found.plugin_resolved_path,
        module_args={},
        templar=Templar(loader=DataLoader()),
        task_vars={"ansible_python_interpreter": "/usr/bin/python3"},
        module_compression="ZIP_DEFLATED",
    )
    # ansible-core 2.18 returns a tuple, later ones an object.
    program = built[0] if isinstance(built, tuple) else built.b_module_data
    return base64.b64decode(max(re.findall(rb"[A-Za-z0-9+/=]{1000,}", program), key=len))


def main(directory: str, *modules: str) -> None:
    with tempfile.TemporaryDirectory() as collections:
        link = Path(collections, "ansible_collections", "memqos", "fleet")
        link.parent.mkdir(parents=True)
        link.symlink_to(ROOT)
        init_plugin_loader([collections])
        for module in modules:
            Path(directory, f"{module}.zip").write_bytes(sent(f"memqos.fleet.{module}"))


if __name__ == "__main__":
    main(*sys.argv[1:])
