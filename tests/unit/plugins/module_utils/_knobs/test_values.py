# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _values


@pytest.mark.parametrize(
    ("pattern", "text", "places"),
    [
        ("zram{n}", "zram0", {"n": "0"}),
        ("zram{n}", "zram10", {"n": "10"}),
        ("zram{n}", "zram", None),
        ("zram{n}", "zram0x", None),
        ("zram{n}", "zram٣", None),
        ("zram{n}", "xzram0", None),
        ("node{n}/hugepages/hugepages-{size}kB/nr_hugepages", "node1/hugepages/hugepages-2048kB/nr_hugepages", {"n": "1", "size": "2048"}),
        ("vm.swappiness", "vm.swappiness", {}),
        ("vm.swappiness", "vmxswappiness", None),
    ],
)
def test_placeholders(pattern: str, text: str, places: object) -> None:
    assert _values.placeholders(pattern, text) == places
