# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter memqos.fleet.memcg_values. Documentation: plugins/filter/memcg_values.yml."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible.utils.display import Display

from ansible_collections.memqos.fleet.plugins.plugin_utils import _memcg_values

display = Display()


def memcg_values(
    pods: t.Any, *, node: t.Any, model: str = "koordinator", strategy: t.Any = None, kubelet: t.Any = None, hierarchy: str = "v2"
) -> dict[str, dict[str, str]]:
    """Pods of a node → {cgroup: {file: value}}. What cannot be used is left out, and warned of."""
    try:
        found = _memcg_values.memcg_values(pods, node=node, model=model, strategy=strategy, kubelet=kubelet, hierarchy=hierarchy)
    except ValueError as exc:
        raise AnsibleFilterError(f"memqos.fleet.memcg_values: {exc}") from exc
    for warning in found.warnings:
        display.warning(f"memqos.fleet.memcg_values: {warning}")
    return found.files


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By name, without the collection's."""
        return {"memcg_values": memcg_values}
