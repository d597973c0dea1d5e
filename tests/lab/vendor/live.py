# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node that lies in a directory, mounted or made up, read as a live one: it can be tuned."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable


class Live(Tree):
    """It has neither systemd nor runtimes."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.live = True

    def fs_path(self, path: str | bytes) -> bytes:
        return os.fsencode(self.root) + os.fsencode(path)

    def output(self, name: str, argv: t.Sequence[str], *, timeout: float = 30.0) -> str:
        if argv[0] == "uname":
            return "x86_64\n"
        raise Unreadable(argv[0], "absent", "not on this node")
