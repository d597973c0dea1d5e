# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""The C(qos) section of a profile → what the node folds, {class: {intent: value, or {absent: true}}}, with what a profile says for each. docs/qos.md.

Beside the intents of a class stand its C(units).
"""

from __future__ import annotations

import typing as t

import yaml

from ansible_collections.memqos.fleet.plugins.plugin_utils import _intents, _pods
from ansible_collections.memqos.fleet.plugins.plugin_utils._yaml_source import Mistake, Place, mapping, text, value_of

_ABSENT: dict[str, t.Any] = {"absent": True}
_SAID = ("reason", "source")


class Intent(t.NamedTuple):
    """C(value): as the node takes it."""

    value: t.Any
    reason: str = ""
    source: str = ""


def read(node: yaml.Node, place: Place) -> dict[tuple[str, str], Intent]:
    """C({(class, intent): Intent}). What is wrong is among the place's problems."""
    found: dict[tuple[str, str], Intent] = {}
    for name, intents in mapping(node, place).items():
        own = place.under(name)
        if name not in _pods.CLASSES:
            place.problem(intents, f"there is no class '{name:.80}', but {', '.join(_pods.CLASSES)}: Guaranteed is LSR, Burstable LS, BestEffort BE")
            continue
        for intent, written in mapping(intents, own, _intents.KEYS).items():
            try:
                found[name, intent] = _intent(intent, written, own.under(intent))
            except Mistake as exc:
                own.under(intent).problem(exc.node, str(exc))
    return found


def section(intents: t.Mapping[tuple[str, str], Intent]) -> dict[str, dict[str, t.Any]]:
    """C({class: {intent: value}}) for a layer."""
    found: dict[str, dict[str, t.Any]] = {}
    for (name, intent), said in intents.items():
        found.setdefault(name, {})[intent] = said.value
    return found


def _intent(name: str, node: yaml.Node, place: Place) -> Intent:
    """C(95%), C({at: 95%, reason: …}), C({value: 95%, reason: …}), C(absent) and C({absent: true, reason: …}). Raises Mistake."""
    if not isinstance(node, yaml.MappingNode):
        return Intent(_ABSENT if isinstance(node, yaml.ScalarNode) and node.value == "absent" else _value(name, node))
    nodes = mapping(node, place)
    reason, source = (text(nodes, key, place) for key in _SAID)
    left = {key: value for key, value in nodes.items() if key not in _SAID}
    if set(left) == {"absent"}:
        if value_of(left["absent"]) is not True:
            raise Mistake(left["absent"], "'absent: true' is expected here")
        return Intent(_ABSENT, reason, source)
    if "value" in left:
        if len(left) > 1:
            raise Mistake(node, f"value says all of it: {', '.join(key for key in left if key != 'value')} cannot stand beside it")
        return Intent(_value(name, left["value"]), reason, source)
    rest = yaml.MappingNode(node.tag, [(yaml.ScalarNode("tag:yaml.org,2002:str", key), value) for key, value in left.items()], node.start_mark)
    return Intent(_value(name, rest), reason, source)


def _value(name: str, node: yaml.Node) -> t.Any:
    try:
        return _intents.value(name, value_of(node))
    except _intents.IntentError as exc:
        raise Mistake(node, str(exc)) from None
