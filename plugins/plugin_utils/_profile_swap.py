# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""The C(swap) section of a profile → what the node folds: {file, zram or a device: {attribute: value}}, or {absent: true}."""

from __future__ import annotations

import re
import typing as t

import yaml

from ansible_collections.memqos.fleet.plugins.module_utils import _shares, _units
from ansible_collections.memqos.fleet.plugins.plugin_utils._yaml_source import Mistake, Place, is_a, mapping

if t.TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Entry = dict[str, t.Any]

_SECTIONS = ("file", "zram", "devices")
_DIRECTORY = re.compile(r"(?:/(?!\.)[A-Za-z0-9._+-]+)+")
_DEVICE = re.compile(r"/dev/(?:(?!\.)[A-Za-z0-9._:+-]+/)*(?!\.)[A-Za-z0-9._:+\\-]+")
_ALGORITHM = re.compile(r"[a-z0-9-]{1,32}")
# mkswap takes no less than ten pages; below that there is nothing worth a file.
_LEAST, _MOST = 1 << 20, 64 << 40


def read(node: yaml.Node, place: Place) -> dict[str, Entry]:
    """What is wrong is among the place's problems."""
    found: dict[str, Entry] = {}
    for section, value in mapping(node, place, _SECTIONS).items():
        own = place.under(section)
        if section != "devices":
            found.update(_thing(section, value, own, _FILE if section == "file" else _ZRAM))
            continue
        for device, said in mapping(value, own).items():
            if _DEVICE.fullmatch(device):
                found.update(_thing(device, said, own.under(device), _PRIORITY))
            else:
                own.problem(said, f"'{device:.80}' is no device: a path below /dev is expected here")
    return found


def share(nodes: Mapping[str, yaml.Node]) -> Entry:
    """C({of_memory: [numerator, denominator], min?, max?}), bytes. Raises Mistake."""
    node = nodes["of_memory"]
    try:
        part, whole = _shares.parse_share(scalar(node))
        entry: Entry = {"of_memory": [part, whole]}
        entry.update({key: _units.parse_size(scalar(nodes[key])) for key in ("min", "max") if key in nodes})
    except _units.UnitError as exc:
        raise Mistake(node, str(exc)) from exc
    if not 0 < part <= whole:
        raise Mistake(node, "a share is more than 0% and at most 100%")
    if entry.get("min", 0) > entry.get("max", entry.get("min", 0)):
        raise Mistake(nodes["min"], "min is more than max")
    return entry


def scalar(node: yaml.Node) -> str:
    """Raises Mistake."""
    if not isinstance(node, yaml.ScalarNode):
        raise Mistake(node, "one value is expected here")
    return str(node.value).strip()


def _thing(name: str, node: yaml.Node, place: Place, attributes: Mapping[str, Callable[[yaml.Node], t.Any]]) -> dict[str, Entry]:
    if isinstance(node, yaml.ScalarNode):
        if node.value == "absent":
            return {name: {"absent": True}}
        place.problem(node, f"{', '.join(attributes)} are expected here, or absent")
        return {}
    entry: Entry = {}
    for key, value in mapping(node, place, attributes).items():
        try:
            entry[key] = attributes[key](value)
        except Mistake as exc:
            place.under(key).problem(exc.node, str(exc))
    return {name: entry} if entry else {}


def _size(node: yaml.Node) -> Entry:
    if isinstance(node, yaml.ScalarNode):
        try:
            entry: Entry = {"value": _units.parse_size(scalar(node))}
        except _units.UnitError as exc:
            raise Mistake(node, str(exc)) from exc
    else:
        problems: list[t.Any] = []
        nodes = mapping(node, Place("", problems), ("of_memory", "min", "max"))
        if problems or "of_memory" not in nodes:
            raise Mistake(node, "a size, or of_memory with min and max, is expected here")
        entry = share(nodes)
    if not all(_LEAST <= entry.get(key, _LEAST) <= _MOST for key in ("value", "max")):
        raise Mistake(node, "a size from 1 MiB to 64 TiB is expected here")
    return entry


def _priority(node: yaml.Node) -> int:
    text = scalar(node)
    if not is_a(node, "int", "str") or not re.fullmatch("0|[1-9][0-9]{0,4}", text) or int(text) > 32767:
        raise Mistake(node, "a number from 0 to 32767 is expected here: the kernel uses the highest first")
    return int(text)


def _switch(node: yaml.Node) -> bool:
    if scalar(node).lower() not in ("true", "false", "yes", "no", "on", "off"):
        raise Mistake(node, "true or false is expected here")
    return scalar(node).lower() in ("true", "yes", "on")


def _word(pattern: re.Pattern[str], what: str) -> Callable[[yaml.Node], str]:
    def read_word(node: yaml.Node) -> str:
        text = scalar(node)
        if not pattern.fullmatch(text):
            raise Mistake(node, f"'{text:.80}': {what} is expected here")
        return text

    return read_word


_PRIORITY: dict[str, Callable[[yaml.Node], t.Any]] = {"priority": _priority}
_FILE = {"directory": _word(_DIRECTORY, "the path of a directory, of letters, digits and ._+-,"), "size": _size, **_PRIORITY, "encrypted": _switch}
_ZRAM = {"size": _size, "algorithm": _word(_ALGORITHM, "the kernel's name of an algorithm, as zstd,"), **_PRIORITY}
