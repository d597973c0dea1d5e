# SPDX-License-Identifier: BSD-2-Clause

"""Fields of Koordinator's memoryQOS, their types and ranges: apis/slo/v1alpha1/nodeslo_types.go. Of the annotation of a pod, and of a strategy."""

from __future__ import annotations

import json
import typing as t

from ._tuples import NamedTuple

ANNOTATION = "koordinator.sh/memoryQOS"
_MAX = 2**63 - 1
_PERCENT = (0, 100)
_RANGES = {
    **dict.fromkeys(("minLimitPercent", "lowLimitPercent", "throttlingPercent", "wmarkRatio", "pageCacheLimitPercent"), _PERCENT),
    **dict.fromkeys(("priorityEnable", "oomKillGroup"), (0, 1)),
    "wmarkScalePermill": (1, 1000), "wmarkMinAdj": (-25, 50), "priority": (0, 12), "pageCacheLimitSize": (-_MAX, _MAX),
}  # fmt: skip
_SWITCHES = ("pageCacheEnable", "pageCacheReclaimSync")
FIELDS = (*_RANGES, *_SWITCHES)
_POLICIES = ("none", "default", "auto")
# What Koordinator makes of Kubernetes' classes where no label says another.
OF_QOS = {"Guaranteed": "LSR", "Burstable": "LS", "BestEffort": "BE"}
# Go's decoder does not mind the case of names.
_NAMES = {name.lower(): name for name in (*FIELDS, "policy")}


class Fields(NamedTuple):
    """C(ignored): why a field does not count, each a line."""

    fields: dict[str, t.Any]
    ignored: list[str]


def annotation(text: t.Any) -> Fields:
    """The annotation C(koordinator.sh/memoryQOS) as koordlet reads it. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("it is no text")
    try:
        return fields(json.loads(text, parse_constant=_no_constant))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def fields(loaded: t.Any) -> Fields:
    """Known fields in any case, without those that are null or out of range. Raises ValueError where one has another type: koordlet then takes none."""
    if loaded is None:
        return Fields({}, [])
    if not isinstance(loaded, dict):
        raise ValueError("it is no JSON object")
    found = Fields({_NAMES[key.lower()]: value for key, value in loaded.items() if key.lower() in _NAMES}, [])
    for name, value in [*found.fields.items()]:
        if value is None:
            del found.fields[name]
            continue
        check_type(name, value)
        try:
            check_range(name, value)
        except ValueError as exc:
            found.ignored.append(f"{exc}: it is ignored")
            del found.fields[name]
    return found


def check_type(name: str, value: t.Any) -> None:
    """Raises ValueError."""
    if name in _RANGES and (isinstance(value, bool) or not isinstance(value, int) or abs(value) > _MAX):
        raise ValueError(f"{name} is {value!r:.40}, a whole number is expected")
    if name in _SWITCHES and not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r:.40}, true or false is expected")
    if name == "policy" and not isinstance(value, str):
        raise ValueError(f"policy is {value!r:.40}, one of {', '.join(_POLICIES)} is expected")


def check_range(name: str, value: t.Any) -> None:
    """Of what has the right type. Raises ValueError."""
    low, high = _RANGES.get(name, (0, 0))
    if name in _RANGES and not low <= value <= high:
        raise ValueError(f"{name} is {value!r:.40}, {low} to {high} is expected")
    # Empty is default.
    if name == "policy" and value not in ("", *_POLICIES):
        raise ValueError(f"policy is {value!r:.40}, one of {', '.join(_POLICIES)} is expected")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
