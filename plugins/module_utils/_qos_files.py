# SPDX-License-Identifier: BSD-2-Clause

"""Intents → files of a memory cgroup, by what this kernel has.

C(resolve(intents, subject, present, v2=...)) gives an C(Outcome) for each intent: the first row of C(WAYS) whose files are C(present), else none with a reason.
C(intents) is what C(plugin_utils/_intents.py) makes of a profile: {intent: value}. An amount is C({bytes: n}), or C({of: request, limit, headroom or memory,
share: [numerator, denominator], min?, max?}); background_reclaim is C({ratio: percent, gap: 1/10000, throttle?: false}), min_watermark a number, the others
booleans; swap may be both. docs/qos.md has its table from here.
"""

from __future__ import annotations

import functools
import typing as t

from ._shares import share_of
from ._tuples import NamedTuple

Files = t.Dict[str, str]
Intents = t.Mapping[str, t.Any]


class Subject(NamedTuple):
    """Whose values: bytes; 0 is none. C(request): None where nobody says it. C(memory): what pods of this node can have, the limit of those without one.
    C(high): that throttle sets.
    """

    request: t.Optional[int]
    limit: int
    memory: int
    page_size: int
    high: int = 0


class Outcome(NamedTuple):
    """C(equivalence): native, near or none. C(above): the same for all cgroups on the way to the root."""

    intent: str
    equivalence: str
    files: Files
    above: Files
    reason: str


class CannotSay(Exception):
    """This value is none here; the message says why."""


class Way(NamedTuple):
    """C(reason): what differs, where it is near; what else it needs, where it is native."""

    intent: str
    hierarchies: str
    needs: tuple[str, ...]
    equivalence: str
    reason: str
    make: t.Callable[[t.Any, Subject], Files]
    above: Files = {}


def amount(value: t.Any, subject: Subject) -> int:
    """Bytes, rounded down to a page. Raises CannotSay."""
    if "bytes" in value:
        found = value["bytes"]
    else:
        if value["of"] == "request" and subject.request is None and "min" not in value:
            raise CannotSay("nobody says what it requests")
        request = subject.request or 0
        base, under = {
            "request": (request, 0),
            "limit": (subject.limit, 0),
            "headroom": (max(0, (subject.limit or subject.memory) - request), request),
            "memory": (subject.memory, 0),
        }[value["of"]]
        if value["of"] == "limit" and not base:
            raise CannotSay("it has no limit")
        found = under + share_of(base, value["share"])
        found = max(value.get("min", 0), min(found, value.get("max", found)))
    return int(found) // subject.page_size * subject.page_size


def _amount_in(file: str) -> t.Callable[[t.Any, Subject], Files]:
    return lambda value, subject: {file: str(amount(value, subject))}


def _word_in(file: str, yes: str, no: str) -> t.Callable[[t.Any, Subject], Files]:
    return lambda value, subject: {file: yes if value else no}


def _wmark(value: t.Any, subject: Subject) -> Files:
    if not subject.limit and not subject.high:
        raise CannotSay("it has no limit, and nothing throttles it: a share of no bound is no watermark")
    return {"memory.wmark_ratio": str(value["ratio"]), "memory.wmark_scale_factor": str(value["gap"])}


def _watermark(value: t.Any, subject: Subject) -> int:
    if not subject.limit:
        raise CannotSay("it has no limit")
    return subject.limit * value["ratio"] // 100 // subject.page_size * subject.page_size


def _async_ratio(value: t.Any, subject: Subject) -> Files:
    bound = subject.high or subject.limit
    if not bound:
        raise CannotSay("it has no limit, and nothing throttles it")
    return {"memory.high": str(bound), "memory.high_async_ratio": str(min(99, value["ratio"]))}


def _high_at_watermark(value: t.Any, subject: Subject) -> Files:
    if value.get("throttle") is False:
        raise CannotSay("by memory.high its own tasks would reclaim, and wait: not wanted (throttle: false)")
    mark = _watermark(value, subject)
    return {"memory.high": str(min(mark, subject.high or mark))}


def _swap_max(value: t.Any, subject: Subject) -> Files:
    return {"memory.swap.max": ("max" if value else "0") if isinstance(value, bool) else str(amount(value, subject))}


def _swappiness(value: t.Any, subject: Subject) -> Files:
    if value is not False:
        raise CannotSay("")
    return {"memory.swappiness": "0"}


def _memsw(value: t.Any, subject: Subject) -> Files:
    if isinstance(value, bool):
        return {"memory.memsw.limit_in_bytes": "-1"}
    if not subject.limit:
        raise CannotSay("it has no limit")
    return {"memory.memsw.limit_in_bytes": str(subject.limit + amount(value, subject))}


def _page_cache(value: t.Any, subject: Subject) -> Files:
    size = amount(value, subject)
    # Above its limit the kernel clamps it.
    return {"memory.pagecache_limit.size": str(min(size, subject.limit or size)), "memory.pagecache_limit.enable": "1" if size else "0"}


def _page_cache_ratio(value: t.Any, subject: Subject) -> Files:
    if not subject.limit:
        raise CannotSay("it has no limit")
    return {"memory.pagecache.max_ratio": str(max(1, min(100, -(-amount(value, subject) * 100 // subject.limit))))}


_ANY = "v1 v2"
_MARKS, _CACHE = ("memory.wmark_ratio", "memory.wmark_scale_factor"), ("memory.pagecache_limit.size", "memory.pagecache_limit.enable")
_SOFT = "memory.soft_limit_in_bytes"
WAYS = (
    Way("protect_hard", _ANY, ("memory.min",), "native", "", _amount_in("memory.min")),
    Way("protect_soft", _ANY, ("memory.low",), "native", "", _amount_in("memory.low")),
    Way("throttle", _ANY, ("memory.high",), "native", "", _amount_in("memory.high")),
    Way("throttle", "v1", (_SOFT,), "near", "reclaimed down to it first when the node is short of memory; never slowed before that", _amount_in(_SOFT)),
    Way("background_reclaim", _ANY, _MARKS, "native", "", _wmark),
    Way("background_reclaim", _ANY, ("memory.high", "memory.high_async_ratio"), "near",
        "a share of memory.high, and it stops ten points lower: the gap cannot be chosen", _async_ratio),
    Way("background_reclaim", "v2", ("memory.high",), "near", "above it the tasks reclaim themselves, and wait the longer the further they are",
        _high_at_watermark),
    Way("min_watermark", _ANY, ("memory.wmark_min_adj",), "native",
        "acts within the host's watermarks: little without vm.watermark_scale_factor raised", lambda value, _subject: {"memory.wmark_min_adj": str(value)}),
    Way("swap", _ANY, ("memory.swap.max",), "native", "", _swap_max),
    Way("swap", "v1", ("memory.swappiness",), "near", "still swapped out when there is nothing else to reclaim", _swappiness),
    Way("swap", "v1", ("memory.memsw.limit_in_bytes",), "near", "bounds both together: what memory does not use, swap may", _memsw),
    Way("page_cache_limit", _ANY, _CACHE, "native", "counts only with the host's /sys/kernel/mm/pagecache_limit/enabled", _page_cache),
    Way("page_cache_limit", _ANY, ("memory.pagecache.max_ratio",), "near", "whole percents of the limit, rounded up", _page_cache_ratio),
    Way("kill_together", _ANY, ("memory.oom.group",), "native", "", _word_in("memory.oom.group", "1", "0")),
    Way("kill_first", _ANY, ("memory.priority", "memory.use_priority_oom"), "native", "", _word_in("memory.priority", "0", "12"),
        {"memory.use_priority_oom": "1"}),
    Way("kill_first", _ANY, ("memory.qos_level",), "native", "counts only with vm.memcg_qos_enable", _word_in("memory.qos_level", "-1", "0")),
)  # fmt: skip
# Why there is no other way.
NONE = {
    **dict.fromkeys(("protect_hard", "protect_soft"), "nothing protects a cgroup: memory.soft_limit_in_bytes of others says who is reclaimed from first"),
    "throttle": "nothing slows a cgroup before its limit",
    "background_reclaim": "nothing reclaims from one cgroup in the background: kswapd looks at the node only",
    "min_watermark": "all cgroups have the node's min watermark",
    "swap": "this kernel does not bound the swap of a cgroup",
    "page_cache_limit": "nothing bounds page cache alone",
    "kill_together": "the OOM killer takes one process",
    "kill_first": "the OOM killer goes by size and by the oom_score_adj of processes",
}
# background_reclaim takes memory.high as throttle leaves it.
_ORDER = tuple(NONE)


def resolve(intents: Intents, subject: Subject, present: t.Container[str], *, v2: bool) -> list[Outcome]:
    """In a fixed order. Where two set C(memory.high), the lower counts."""
    outcomes = []
    for intent in _ORDER:
        if intent not in intents:
            continue
        outcome = _resolve(intent, intents[intent], subject, present, "v2" if v2 else "v1")
        if intent == "throttle" and "memory.high" in outcome.files:
            subject = subject._replace(high=int(outcome.files["memory.high"]))
        outcomes.append(outcome)
    return outcomes


def _resolve(intent: str, value: t.Any, subject: Subject, present: t.Container[str], hierarchy: str) -> Outcome:
    reason = ""
    # Kept for what all cgroups of a kernel have.
    ways: t.Any = _ways if isinstance(present, frozenset) else _ways.__wrapped__
    for way in ways(intent, present, hierarchy):
        try:
            return Outcome(intent, way.equivalence, way.make(value, subject), way.above, way.reason)
        except CannotSay as exc:
            reason = reason or str(exc)
    return Outcome(intent, "none", {}, {}, reason or NONE[intent])


@functools.lru_cache(64)
def _ways(intent: str, present: t.Any, hierarchy: str) -> list[Way]:
    """Those for which this kernel has the files."""
    return [way for way in WAYS if way.intent == intent and hierarchy in way.hierarchies and all(file in present for file in way.needs)]
