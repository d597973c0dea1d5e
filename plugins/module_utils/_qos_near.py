# SPDX-License-Identifier: BSD-2-Clause

"""Values of a model whose files this kernel lacks → what comes near, by way of the intents that they stand for. Pure. docs/qos.md."""

from __future__ import annotations

import typing as t

from . import _qos_files
from ._tuples import NamedTuple

_OFF = {"0", "max", "-1"}
# {file: the intent that it stands for}; what is off there is off without the file too.
_STANDS_FOR = {
    "memory.min": "protect_hard", "memory.low": "protect_soft", "memory.high": "throttle", "memory.wmark_ratio": "background_reclaim",
    "memory.wmark_min_adj": "min_watermark", "memory.use_priority_oom": "kill_first", "memory.oom.group": "kill_together",
    "memory.pagecache_limit.size": "page_cache_limit", "memory.swap.max": "swap",
}  # fmt: skip
# Koordinator's ranks of memory.priority, 0 to 12, where a kernel has two levels; the lowest dies first.
_DIES_FIRST, _TWO_LEVELS = 5, "two levels only: ranks 0 to 5 are killed first"
_ONE_LEVEL = "two levels only, and all ranks are on one side: 0 to 5, or 6 to 12"
_BESIDE = {
    "memory.wmark_scale_factor": "background_reclaim", "memory.priority": "kill_first", "memory.pagecache_limit.enable": "page_cache_limit",
    "memory.pagecache_limit.sync": "page_cache_limit",
}  # fmt: skip


class Near(NamedTuple):
    """C(files): {file: (value, the intent that it stands for)}; C(outcomes): of each intent that is not native. C(instead): files that they stand for."""

    files: t.Dict[str, t.Tuple[str, str]]
    outcomes: t.List[_qos_files.Outcome]
    instead: t.Tuple[str, ...] = ()


def near(values: t.Mapping[str, str], subject: _qos_files.Subject, present: t.Container[str], *, v2: bool, ranks: t.Collection[int] = ()) -> Near:
    """C(values): {file: value} of one cgroup, as a model has them. C(present): names of files that it has. C(ranks): of all that have one."""
    intents = {_STANDS_FOR[file]: _intent(file, values) for file in _STANDS_FOR if file in values and file not in present and _is_on(file, values[file])}
    if not intents:
        return Near({}, [])
    high = values.get("memory.high", "max")
    outcomes = _qos_files.resolve(intents, subject._replace(high=int(high) if high.isdigit() else 0), present, v2=v2)
    outcomes = [_ranked(one, ranks) if one.intent == "kill_first" and one.files else one for one in outcomes]
    files: t.Dict[str, t.Tuple[str, str]] = {}
    for outcome in outcomes:
        # A model's own memory.high is another intent's, unless it is off.
        files.update({file: (value, outcome.intent) for file, value in outcome.files.items() if values.get(file, "max") == "max"})
    # Of one that the model's own values give already its file is still said to be lacking.
    told = {intent for unused, intent in files.values()} | {outcome.intent for outcome in outcomes if not outcome.files}
    lacking = [file for file in values if file not in present and {**_STANDS_FOR, **_BESIDE}.get(file) in told]
    return Near(files, outcomes, tuple(lacking))


def _ranked(outcome: _qos_files.Outcome, ranks: t.Collection[int]) -> _qos_files.Outcome:
    if len({rank <= _DIES_FIRST for rank in ranks}) < 2:
        return outcome._replace(equivalence="none", files={}, above={}, reason=_ONE_LEVEL)
    return outcome._replace(equivalence="near", reason=_TWO_LEVELS)


def _is_on(file: str, value: str) -> bool:
    return value == "0" if file == "memory.swap.max" else value not in _OFF


def _intent(file: str, values: t.Mapping[str, str]) -> t.Any:
    if file == "memory.wmark_ratio":
        return {"ratio": int(values[file]), "gap": int(values.get("memory.wmark_scale_factor", "50"))}
    if file == "memory.wmark_min_adj":
        return int(values[file])
    if file == "memory.use_priority_oom":
        return int(values.get("memory.priority", "0")) <= _DIES_FIRST
    if file == "memory.oom.group":
        return True
    return False if file == "memory.swap.max" else {"bytes": int(values[file])}
