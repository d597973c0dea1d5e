# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What a controller adds to a node's account of overcommit: peaks from before a container was started anew, and the kubelet's eviction bound. §3.12."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _shares, _units
from ansible_collections.memqos.fleet.plugins.module_utils._read import _persisted
from ansible_collections.memqos.fleet.plugins.plugin_utils import _gathered, _results

Json = dict[str, t.Any]
PEAKS_DIR = "peaks"
_DAY = 86400
_KEPT_DAYS = 30
_MAX_WORKLOADS = 5000
_MAX_BYTES = 2**60
# The kubelet's own; a configuration that has evictionHard without memory.available has none.
_DEFAULT_EVICTION = 100 << 20
# As _gathered has it sent: JSON with a top-level key a line.
_EVICTION = re.compile(r"""^["']?evictionHard["']?\s*:(?P<block>[^\n]*(?:\n(?:[ \t][^\n]*)?)*)""", re.MULTILINE)
_FLAG = re.compile("(?:^|,)memory\\.available<(?P<size>[^,]+)")
_CONFIGS = ("/var/lib/kubelet/", "/etc/kubernetes/kubelet/")
_AVAILABLE = re.compile(r"""memory\.available["']?\s*:\s*["']?(?P<size>[^\s"',}]+)""")


def from_node(audit: Json, tree: _gathered.GatheredTree, *, directory: str, host: str, now: float) -> None:
    """Takes C(peaks) out of C(derived) and says C(stranded_bytes) by the highest that this controller has seen.

    Raises what a wrong shape raises, and ResultError.
    """
    derived = audit["derived"]
    known = "peaks" in derived  # without cgroups nothing is
    sent = _checked(derived.pop("peaks", {}))
    path = _results.path_of(directory, PEAKS_DIR, host)
    kept = _merged(_read(path), {name: peak for name, (_limit, peak) in sent.items()}, now)
    if kept:
        with _results.replacing(path) as stream:
            json.dump(kept, stream, separators=(",", ":"))
    if known:
        derived.update(stranded_bytes=0, stranded_workloads=len(sent))
    if sent:
        derived["stranded_bytes"] = sum(max(0, limit - kept[name]["peak"]) for name, (limit, _peak) in sent.items())
        days = sorted((now - kept[name]["since"]) / _DAY for name in sent)
        derived["peak_days"] = {"youngest": round(days[0], 1), "oldest": round(days[-1], 1)}
    bound = _eviction(tree, audit["breakdown"]["memtotal_bytes"]) if derived.get("allocatable_source") == "kubepods" else None
    if bound is not None:
        derived["allocatable_bytes"] -= bound
        derived["allocatable_source"] = "kubepods less the kubelet's hard eviction bound"


def _checked(peaks: t.Any) -> dict[str, tuple[int, int]]:
    found = {}
    for name, (limit, peak) in peaks.items():
        if not all(map(_is_size, (limit, peak))):
            raise TypeError("peaks are not numbers")
        found[str(name)] = (limit, peak)
        if len(found) == _MAX_WORKLOADS:
            break
    return found


def _read(path: str) -> dict[str, Json]:
    """Nothing if there is none, or it is damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError), open(path, encoding="utf-8") as stream:
        loaded = json.load(stream)
        return {name: row for name, row in loaded.items() if isinstance(row, dict) and _is_whole(row)}
    return {}


def _is_whole(row: Json) -> bool:
    return row.keys() == {"peak", "since", "seen"} and all(map(_is_size, row.values()))


def _merged(known: dict[str, Json], sent: t.Mapping[str, int], now: float) -> dict[str, Json]:
    """{name: {peak, since, seen}}, times in s; a name that was not seen for 30 days is forgotten."""
    moment = int(now)
    kept = {name: row for name, row in known.items() if moment - row["seen"] <= _KEPT_DAYS * _DAY}
    for name, peak in sent.items():
        before = kept.get(name, {"peak": 0, "since": moment})
        kept[name] = {"peak": max(peak, before["peak"]), "since": min(before["since"], moment), "seen": moment}
    return kept


def _eviction(tree: _gathered.GatheredTree, capacity: int) -> int | None:
    """The hard bound on memory.available of the kubelet's flags, else its drop-ins, else its configuration; None where it is not known."""
    flags = _persisted.kubelet_flags(tree)
    if "eviction-hard" in flags:
        return _bound(_FLAG.search(flags["eviction-hard"]), capacity)
    configs = [flags["config"]] if "config" in flags else [path for path in tree.sources if path.startswith(_CONFIGS) and not path.endswith(".conf")]
    drop_ins = flags.get("config-dir", "").rstrip("/")
    if not configs or configs[0] not in tree.sources or (drop_ins and drop_ins not in _gathered.DROP_INS):
        return None
    bound: int | None = _DEFAULT_EVICTION
    for path in [configs[0], *(f"{drop_ins}/{name}" for name in tree.names(drop_ins) if drop_ins)]:
        block = _EVICTION.search(tree.sources.get(path, ""))
        if block:
            bound = _bound(_AVAILABLE.search(block["block"]), capacity)
    return bound


def _bound(size: re.Match[str] | None, capacity: int) -> int | None:
    if size is None:
        return 0
    with contextlib.suppress(_units.UnitError, ZeroDivisionError):
        if size["size"].endswith("%"):
            part, whole = _shares.parse_share(size["size"])
            return capacity * part // whole
        return _units.parse_size(size["size"])
    return None


def _is_size(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_BYTES
