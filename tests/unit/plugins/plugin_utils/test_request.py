# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an action plugin packs, a module unpacks."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _module
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _request

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda children: st.lists(children) | st.dictionaries(st.text(), children), max_leaves=20
)


@given(st.dictionaries(st.text(), VALUES))
def test_it_arrives_as_it_was(content: dict[str, object]) -> None:
    packed = _request.pack(content)
    assert packed.isascii() and packed.isprintable()
    assert _module.unpack(packed) == content


def test_profiles_shrink_to_less_than_half() -> None:
    content = {"layers": _profiles.load_profiles(["kubernetes_node", "colocated", "redis"], search_paths=[], overrides={}).layers}
    assert len(_request.pack(content)) < len(json.dumps(content)) / 2
