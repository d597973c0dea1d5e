# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""C(qos) of a profile, {class: {intent: value}}, as it is written → as C(module_utils/_qos_files.py) takes it. docs/qos.md has the grammar."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ansible_collections.memqos.fleet.plugins.module_utils import _qos_files, _shares, _units
from ansible_collections.memqos.fleet.plugins.plugin_utils import _pods

# Not an intent: whose class it is.
UNITS = "units"
KEYS = (*_qos_files.NONE, UNITS)
_BASES = ("of_request", "of_limit", "of_headroom", "of_memory")
_DEFAULT_GAP = "0.2%"
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@*?\[\]-]{1,250}\.(slice|service|scope)")
_OF = {
    "request": "{} of its request",
    "limit": "{} of its limit",
    "headroom": "its request and {} of the way to its limit",
    "memory": "{} of the node's memory",
}


# What is written, where it is more than the files that it needs.
_WRITTEN = {
    ("background_reclaim", "memory.high_async_ratio"): "memory.high_async_ratio; memory.high at the limit, unless it throttles lower",
    ("background_reclaim", "memory.high"): "memory.high at the watermark, unless it throttles lower",
    ("swap", "memory.swappiness"): "memory.swappiness 0, for false",
    ("swap", "memory.memsw.limit_in_bytes"): "memory.memsw.limit_in_bytes: the limit and the amount",
    ("kill_first", "memory.use_priority_oom"): "memory.priority 0, others 12; memory.use_priority_oom 1 on all above",
    ("kill_first", "memory.qos_level"): "memory.qos_level -1, others 0",
}


class IntentError(ValueError):
    """The message names class, intent and what would be right."""


def parse(written: object) -> dict[str, dict[str, t.Any]]:
    """Raises IntentError."""
    classes = _keys(written, _pods.CLASSES, "qos", "class")
    return {name: _class(intents, f"qos.{name}") for name, intents in classes.items()}


def value(intent: str, written: object) -> t.Any:
    """Of one intent that there is. Raises IntentError."""
    try:
        return _FORMS[intent](written)
    except _units.UnitError as exc:
        raise IntentError(str(exc)) from None


def words(value: t.Any) -> str:
    """A parsed value for people: C(50% of its request, at least 64.0 MiB)."""
    if isinstance(value, list):
        return ", ".join(value)
    if not isinstance(value, Mapping):
        return str(value).lower()
    if "absent" in value:
        return "absent"
    if "ratio" in value:
        only = ", where that does not slow its own tasks" if value.get("throttle") is False else ""
        return f"above {value['ratio']}%, {value['gap'] / 100:g}% down{only}"
    if "bytes" in value:
        return _shares.format_size(value["bytes"])
    part, whole = value["share"]
    limits = [f", at {word} {_shares.format_size(value[key])}" for key, word in (("min", "least"), ("max", "most")) if key in value]
    return _OF[value["of"]].format(f"{part * 100 / whole:g}%") + "".join(limits)


def table() -> list[tuple[str, str, str, str, str]]:
    """(intent, hierarchy, what is written, equivalence, what differs or is needed), for people."""
    rows = []
    for intent, last in _qos_files.NONE.items():
        for way in _qos_files.WAYS:
            if way.intent == intent:
                written = _WRITTEN.get((intent, way.needs[-1]), ", ".join(way.needs))
                rows.append((intent, way.hierarchies.replace(" ", ", "), written, way.equivalence, way.reason))
        rows.append((intent, "else", "", "none", last))
    return rows


def _class(written: object, place: str) -> dict[str, t.Any]:
    return {intent: _placed(intent, said, f"{place}.{intent}") for intent, said in _keys(written, KEYS, place, "intent").items()}


def _placed(intent: str, written: object, place: str) -> t.Any:
    try:
        return value(intent, written)
    except IntentError as exc:
        raise IntentError(f"{place}: {exc}") from None


def _keys(written: object, known: tuple[str, ...], place: str, what: str) -> Mapping[str, object]:
    if not isinstance(written, Mapping):
        raise IntentError(f"{place}: a mapping is expected, {{{what}: …}}")
    unknown = [key for key in written if key not in known]
    if unknown:
        raise IntentError(f"{place}: there is no {what} {unknown[0]!r:.40}, one of {', '.join(known)}")
    return written


def _amount(value: object) -> dict[str, t.Any]:
    if not isinstance(value, Mapping):
        return {"bytes": _size(value)}
    given = [key for key in value if key in _BASES]
    if len(given) != 1 or not set(value) <= {*given, "min", "max"}:
        raise IntentError(f"a size, or one of {', '.join(_BASES)} with min and max, is expected")
    share = list(_shares.parse_share(str(value[given[0]])))
    found = {"of": given[0][len("of_") :], "share": share, **{key: _size(value[key]) for key in ("min", "max") if key in value}}
    if share[0] > share[1]:
        raise IntentError(f"{value[given[0]]} is more than all of it")
    if found.get("min", 0) > found.get("max", found.get("min", 0)):
        raise IntentError("min is more than max")
    return found


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise IntentError(f"{value!r:.40} is no size, such as 512MiB")
    return _units.parse_size(str(value))


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise IntentError(f"true or false is expected, not {value!r:.40}")
    return value


def _unit_names(value: object) -> list[str]:
    """Names, or globs, of slices, services and scopes."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and _UNIT.fullmatch(name) for name in names):
        raise IntentError(f"a list of units is expected, such as [redis-server.service, 'web-*.scope'], not {value!r:.80}")
    return names


def _swap(value: object) -> t.Any:
    return value if isinstance(value, bool) else _amount(value)


def _watermark(value: object) -> dict[str, t.Any]:
    """C(95%), or C({at: 95%, gap: 0.2%, throttle: false}): not where its own tasks would have to do it."""
    if not isinstance(value, Mapping):
        value = {"at": value}
    if not {"at"} <= set(value) <= {"at", "gap", "throttle"}:
        raise IntentError("a share such as 95%, or {at: 95%, gap: 0.2%, throttle: false}, is expected")
    throttle = {} if _bool(value.get("throttle", True)) else {"throttle": False}
    return {
        "ratio": _whole(value["at"], 100, "percent", 100),
        "gap": _whole(value.get("gap", _DEFAULT_GAP), 10000, "hundredths of a percent", 1000),
        **throttle,
    }


def _whole(written: object, parts: int, what: str, most: int) -> int:
    numerator, denominator = _shares.parse_share(str(written))
    found, rest = divmod(numerator * parts, denominator)
    if rest or not 1 <= found <= most:
        raise IntentError(f"{written} is not 1 to {most} {what}, which the kernel takes")
    return found


def _adjustment(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -25 <= value <= 50:
        raise IntentError(f"-25 (may use the node's reserve) to 50 (is held back early) is expected, not {value!r:.40}")
    return value


_FORMS: dict[str, t.Callable[[object], t.Any]] = {
    "protect_hard": _amount,
    "protect_soft": _amount,
    "throttle": _amount,
    "background_reclaim": _watermark,
    "min_watermark": _adjustment,
    "swap": _swap,
    "page_cache_limit": _amount,
    "kill_together": _bool,
    "kill_first": _bool,
    UNITS: _unit_names,
}
