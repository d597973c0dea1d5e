#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""payload.py: prints {module: bytes} of what ansible-core sends to a node, as JSON, for memory_audit with the built-in rules, for
memory_tune with three profiles, memory_generations, and for ansible.builtin.ping.

Runs in a process of its own: the collection loader is set up once a process, and a test may already have done it otherwise.
"""

from __future__ import annotations

import json
import tempfile
import typing as t
from pathlib import Path

from ansible.executor import module_common
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, module_loader
from ansible.template import Templar

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ["kubernetes_node", "colocated", "redis"]


def payload(module: str, arguments: dict[str, t.Any]) -> int:
    """Bytes of the program that is piped to the node's Python, arguments included."""
    found = module_loader.find_plugin_with_context(module)
    built: t.Any = module_common.modify_module(
        module_name=module,
        module_path=found.plugin_resolved_path,
        module_args=arguments,
        templar=Templar(loader=DataLoader()),
        task_vars={"ansible_python_interpreter": "/usr/bin/python3"},
        module_compression="ZIP_DEFLATED",
    )
    # ansible-core 2.18 returns a tuple, later ones an object.
    return len(built[0] if isinstance(built, tuple) else built.b_module_data)


def main() -> None:
    with tempfile.TemporaryDirectory() as collections:
        link = Path(collections, "ansible_collections", "memqos", "fleet")
        link.parent.mkdir(parents=True)
        link.symlink_to(ROOT)
        init_plugin_loader([collections])
        # Only now: the loader has to know the collection.
        from ansible_collections.memqos.fleet.plugins.action import memory_audit
        from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _request

        prepared = memory_audit.prepare([], thresholds={}, drop=[])
        arguments = {"root": "/", "window": 1.0, "top": 20, "request": [prepared.request, _request.pack({"previous": {}})]}
        layers = _profiles.load_profiles(PROFILES, search_paths=[], overrides={}).layers
        tune = {"profile": ", ".join(PROFILES), "root": "/", "request": _request.pack({"layers": layers})}
        sizes = {"ansible.builtin.ping": payload("ansible.builtin.ping", {}), "memqos.fleet.memory_audit": payload("memqos.fleet.memory_audit", arguments)}
        sizes["memqos.fleet.memory_tune"] = payload("memqos.fleet.memory_tune", tune)
        sizes["memqos.fleet.memory_generations"] = payload("memqos.fleet.memory_generations", {"compare": ["origin", "now"]})
    print(json.dumps({**sizes, "rules": len(prepared.rules.compiled)}))


if __name__ == "__main__":
    main()
