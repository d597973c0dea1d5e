# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What an action plugin hands to its module on the node."""

from __future__ import annotations

import base64
import json
import typing as t
import zlib


def pack(content: t.Mapping[str, t.Any]) -> str:
    """For _module.unpack on the node: deflated JSON in base85. Ansible sends arguments as they are; rules and knobs shrink to a quarter."""
    return base64.b85encode(zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 9)).decode()
