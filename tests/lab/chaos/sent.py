# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints {name: program in base64} as JSON: our modules, packed as Ansible sends them, with the requests of table.CONTROLLERS.

Runs in a process of its own: the collection loader is set up once a process.
"""

from __future__ import annotations

import base64
import json
import sys
import typing as t

from ansible.executor import module_common
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, module_loader
from ansible.template import Templar

Json = dict[str, t.Any]
_KEEP = {"generations": 20, "since": "2020-01-01T00:00:00Z"}


def program(module: str, arguments: Json) -> str:
    built: t.Any = module_common.modify_module(
        module_name=f"memqos.fleet.{module}",
        module_path=module_loader.find_plugin_with_context(f"memqos.fleet.{module}").plugin_resolved_path,
        module_args={**arguments, "_ansible_check_mode": False},
        templar=Templar(loader=DataLoader()),
        task_vars={"ansible_python_interpreter": "/usr/bin/python3"},
        module_compression="ZIP_DEFLATED",
    )
    # ansible-core 2.18 returns a tuple, later ones an object.
    return base64.b64encode(built[0] if isinstance(built, tuple) else built.b_module_data).decode()


def main() -> None:
    init_plugin_loader(sys.argv[1:])
    from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _request
    from ansible_collections.memqos.fleet.tests.lab.chaos import table

    programs = {}
    for name, (host, slices) in table.CONTROLLERS.items():
        meta = {"host": f"controller-{name}", "started": "2026-11-23T09:00:00Z", "profiles": [name], "run_id": name}
        layers = _profiles.load_profiles([], search_paths=[], overrides={"host": host, "slices": slices}).layers
        options = {"on_conflict": "report", "fail_on_unsupported": False, "only": [], "allow": [], "sysctl_file": "zz-memqos.conf"}
        for wait in table.WAITS:
            request: Json = {"meta": meta, "keep": _KEEP, "wait": wait}
            if host or slices:
                asked = _request.pack({**request, "layers": layers, "options": options})
                programs[f"{name}-{wait}"] = program("memory_tune", {"profile": name, "root": "/", "request": asked})
            else:
                asked = _request.pack({**request, "to": "origin", "force": False, "allow": []})
                programs[f"{name}-{wait}"] = program("memory_rollback", {"request": asked})
    arm = {"do": "arm", "token": "t", "within": 600, "wait": 60, "allow": [], "started": "2026-11-23T09:00:00Z"}
    programs["arm"] = program("memory_confirm", {"request": _request.pack(arm)})
    programs["give-up"] = program("memory_confirm", {"request": _request.pack({"do": "give up", "token": "t", "wait": 60})})
    sys.stdout.write(json.dumps(programs))


if __name__ == "__main__":
    main()
