# SPDX-License-Identifier: BSD-2-Clause

"""Layers of profiles + what this node is → the value wanted of each knob. Pure; integers only, right from 512 MiB to 24 TiB."""

from __future__ import annotations

import re
import typing as t

from . import _shares
from ._knobs import _registry
from ._knobs._values import KnobValueError, Value
from ._knobs._written import normalize
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ._knobs._row import Knob

# (scope, subject, knob): scope is host, numa_node or unit; subject is the unit's name, else empty.
Key = t.Tuple[str, str, str]

_SIZES = {"bytes": 1, "bytes or max": 1, "kB": 1 << 10}
# Knobs that are a share of memory, in parts of so many. (vm.watermark_boost_factor is a share of a watermark.)
_PARTS = {"vm.watermark_scale_factor": 10000}
# How much is done for a huge page. defer and madvise have no order: one works in the background for all, the other stalls those who asked.
_EFFORT = {"never": 0, "defer": 1, "madvise": 1, "defer+madvise": 2, "always": 3}
_POOL = re.compile(r"hugepages-([0-9]+)kB/nr_(?:overcommit_)?hugepages")


class Wanted(NamedTuple):
    """One value, in the registry's normal form. C(profile) is the layer that decided it, C(expression) what stands there.

    C(bounds): (raise_to or lower_to, value) of those that alone made it of what the node had; empty where a layer sets a value.
    """

    knob: str
    scope: str
    subject: str
    value: Value
    profile: str
    expression: str
    bounds: t.Tuple[t.Tuple[str, Value], ...] = ()


class Skipped(NamedTuple):
    """An entry without effect, or (C(knob) empty) a whole layer, and why."""

    profile: str
    scope: str
    subject: str
    knob: str
    reason: str


class Refused(NamedTuple):
    """A wanted value that this kernel does not take."""

    wanted: Wanted
    reason: str


class Folded(NamedTuple):
    """C(swap): {file, zram or a device: {attribute: (value, profile)}}. C(layers): those that count here."""

    wanted: t.Dict[Key, Wanted]
    skipped: t.List[Skipped]
    refused: t.Dict[Key, Refused]
    swap: t.Mapping[str, t.Dict[str, t.Tuple[t.Any, str]]] = {}
    layers: t.Sequence[t.Dict[str, t.Any]] = ()


class Basis(NamedTuple):
    """What a fold rests on. C(env) holds C(facts) and C(knob) for conditions; C(memtotal) and C(page_size) are bytes.

    C(live) is C({host knob: value}), C(units) is C({unit: {property: value}}), both in normal form: what a bound moves. Of a knob that an earlier generation
    of ours set, give the value from before it, or a bound that was relaxed would stay where it was. What is not known has no key.
    """

    env: t.Mapping[str, t.Any]
    memtotal: int
    page_size: int
    kernel: str
    live: t.Mapping[str, Value]
    units: t.Mapping[str, t.Mapping[str, Value]]

    def value(self, subject: str, knob: str) -> t.Tuple[bool, Value]:
        """(known, value)"""
        values = self.units.get(subject, {}) if subject else self.live
        return knob in values, values.get(knob)


def fold(layers: t.Iterable[t.Dict[str, t.Any]], basis: Basis) -> Folded:
    """Each layer changes what the ones before it want; a bound moves the value wanted so far, else the live one.

    Layers as in docs/architecture.md §3.6. The final values are checked against this kernel's ranges; a live value that is kept is not.
    """
    run = _Fold(basis)
    counting = []
    for layer in layers:
        reason = _left_out(layer, basis.env)
        if reason:
            run.skipped.append(Skipped(layer["profile"], "", "", "", reason))
            continue
        counting.append(layer)
        for subject, entries in [("", layer.get("host", {})), *layer.get("slices", {}).items()]:
            for name, entry in entries.items():
                run.apply(_registry.find(name), subject, entry, layer["profile"])
        run.apply_swap(layer.get("swap", {}), layer["profile"])
    refused = {}
    for key, wanted in run.wanted.items():
        reason = "" if basis.value(wanted.subject, wanted.knob) == (True, wanted.value) else _out_of_range(wanted, basis.kernel)
        if reason:
            refused[key] = Refused(wanted, reason)
    return Folded({key: wanted for key, wanted in run.wanted.items() if key not in refused}, run.skipped, refused, run.swap, counting)


def amount_of(entry: t.Mapping[str, t.Any], memtotal: int) -> int:
    """Bytes of an entry of sizes: a share of memory, clamped, or a value."""
    if "value" in entry:
        return t.cast(int, entry["value"])
    part, whole = entry["of_memory"]
    amount = max(_shares.share_of(memtotal, (part, whole)), entry.get("min", 0))
    return t.cast(int, min(amount, entry.get("max", amount)))


def unit_bytes(knob: Knob) -> int:
    """Bytes in one unit of this knob; 0 if it is no amount of memory."""
    pool = _POOL.search(knob.name)
    return int(pool.group(1)) << 10 if pool else _SIZES.get(knob.unit, 0)


def is_share(knob: Knob) -> bool:
    """Whether C(of_memory) can say its value."""
    return bool(unit_bytes(knob)) or knob.name in _PARTS


def has_order(knob: Knob) -> bool:
    """Whether its words go from never to always, so that a bound can move them."""
    return bool(knob.choices) and set(knob.choices) <= set(_EFFORT)


def rivals(knob: Knob) -> t.List[str]:
    """The knobs that cannot be in force at the same time: a write of either switches the other off (dirty_bytes and dirty_ratio)."""
    return [name for name in knob.partners if "{" not in name and knob.name in _registry.find(name).partners]


def lets(wish: Wanted, text: str) -> bool:
    """Whether bounds alone made this value, and all of them let another one stand."""
    try:
        value = normalize(_registry.find(wish.knob), text)
    except KnobValueError:
        return False
    ranks = [(word == "raise_to", _rank(value, bound), _rank(bound, bound)) for word, bound in wish.bounds]
    return bool(ranks) and all(rank >= least if is_least else rank <= least for is_least, rank, least in ranks)


def expression(entry: t.Mapping[str, t.Any]) -> str:
    """An entry in words: C(raise to 0.5% of memory, at most 1 GiB)."""
    for bound in ("raise_to", "lower_to"):
        if bound in entry:
            inner = entry[bound]
            return f"{bound[:5]} to {expression(inner if isinstance(inner, dict) else {'value': inner})}"
    if "of_memory" in entry:
        part, whole = entry["of_memory"]
        limits = [f", at {word} {_shares.format_size(entry[key])}" for key, word in (("min", "least"), ("max", "most")) if key in entry]
        return f"{part * 100 / whole:g}% of memory{''.join(limits)}"
    if "absent" in entry:
        return "absent"
    value = entry["value"]
    return " ".join(str(item) for item in value) if isinstance(value, list) else str(value)


class _Fold:
    """The values so far."""

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        self.wanted: t.Dict[Key, Wanted] = {}
        self.skipped: t.List[Skipped] = []
        self.swap: t.Dict[str, t.Dict[str, t.Tuple[t.Any, str]]] = {}

    def apply_swap(self, section: t.Mapping[str, t.Mapping[str, t.Any]], profile: str) -> None:
        for thing, said in section.items():
            if "absent" in said:
                self.swap.pop(thing, None)
            else:
                self.swap.setdefault(thing, {}).update({key: (value, profile) for key, value in said.items()})

    def apply(self, knob: Knob, subject: str, entry: t.Mapping[str, t.Any], profile: str) -> None:
        key = (knob.scope, subject, knob.name)
        if "absent" in entry:
            self.wanted.pop(key, None)
            return
        bound = "raise_to" if "raise_to" in entry else "lower_to" if "lower_to" in entry else ""
        wanted = Wanted(knob.name, knob.scope, subject, self._amount(knob, entry[bound] if bound else entry), profile, expression(entry))
        if bound:
            name, value = self._in_its_place(knob, key)
            if not name:
                wanted = self._bounded(wanted, bound, key)
            elif bound == "raise_to" or not self._is_above(name, value, wanted.value, unit_bytes(knob)):
                self.skipped.append(Skipped(profile, *key, f"{name} ({value}) is in force, so there is no {knob.name} to move"))
                return
        for rival in rivals(knob):
            loser = self.wanted.pop((knob.scope, subject, rival), None)
            if loser:
                self.skipped.append(Skipped(loser.profile, loser.scope, loser.subject, loser.knob, f"{knob.name} of {profile} takes its place"))
        self.wanted[key] = wanted

    def _bounded(self, wanted: Wanted, bound: str, key: Key) -> Wanted:
        before = self.wanted.get(key)
        known, live = self.basis.value(wanted.subject, wanted.knob)
        if before is None and not known:
            # Such a node has no such knob, which the plan says.
            return wanted
        base = before or wanted._replace(value=live)
        pick: t.Callable[..., Wanted] = max if bound == "raise_to" else min
        bounds = (*base.bounds, (bound, wanted.value)) if before is None or before.bounds else ()
        # max() and min() keep the first of equals.
        return pick(base, wanted, key=lambda one: _rank(one.value, wanted.value))._replace(bounds=bounds)

    def _in_its_place(self, knob: Knob, key: Key) -> t.Tuple[str, Value]:
        """The rival that is in force, with its value: 0 of vm.dirty_ratio is no ratio while vm.dirty_bytes is. ("", 0) for none."""
        for rival in rivals(knob) if key not in self.wanted else ():
            chosen = self.wanted.get((key[0], key[1], rival))
            value = chosen.value if chosen else self.basis.value(key[1], rival)[1]
            if value and (chosen or not self.basis.value(key[1], knob.name)[1]):
                return rival, value
        return "", 0

    def _is_above(self, rival: str, value: Value, bound: Value, unit: int) -> bool:
        """Whether a percentage that is in force allows more than the bytes that are to be the most. The kernel takes it of a part of memory: a little less."""
        if _registry.find(rival).unit != "percent" or not isinstance(value, int) or not isinstance(bound, int):
            return False
        return value * self.basis.memtotal // 100 > bound * unit

    def _amount(self, knob: Knob, entry: t.Any) -> Value:
        if not isinstance(entry, dict):
            return normalize(knob, entry)
        if "value" in entry:
            return normalize(knob, entry["value"])
        part, whole = entry["of_memory"]
        share, amount = _shares.share_of(self.basis.memtotal, (part, whole)), amount_of(entry, self.basis.memtotal)
        if knob.name in _PARTS:
            # Not of the rounded share: 1.5 % is 150, and not 149, on every node.
            part, whole = (part, whole) if amount == share else (amount, self.basis.memtotal)
            return max(1, part * _PARTS[knob.name] // whole)
        return amount // self.basis.page_size * self.basis.page_size // unit_bytes(knob)


def _left_out(layer: t.Mapping[str, t.Any], env: t.Mapping[str, t.Any]) -> str:
    """Why this layer does not count on this node, or nothing."""
    if "when" not in layer:
        return ""
    # Few profiles have a condition.
    from . import _rules

    (rule,) = _rules.prepare([{"id": layer["profile"], "each": "node", "when": layer["when"]}])
    verdict = rule.when(env, _rules.Counters(uptime=None))
    if verdict is True:
        return ""
    why = f"unknown ({verdict.reason})" if isinstance(verdict, _rules.Unknown) else "false"
    return f"its condition is {why}: {layer.get('condition', '')}"


def _rank(value: Value, bound: Value) -> t.Any:
    """What max() and min() go by. None is no limit; a word that this version does not know stays."""
    if isinstance(bound, str):
        return _EFFORT.get(str(value), _EFFORT[bound])
    return float("inf") if value is None else value


def _out_of_range(wanted: Wanted, kernel: str) -> str:
    try:
        _registry.validate(_registry.find(wanted.knob), wanted.value, kernel)
    except KnobValueError as exc:
        return exc.reason
    return ""
