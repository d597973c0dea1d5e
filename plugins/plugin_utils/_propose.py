# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""The result of an audit → the profiles that suit the node, each with its evidence. Pure, but for the profiles' files."""

from __future__ import annotations

import fnmatch
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._shares import format_size
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import visible

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Json = dict[str, t.Any]

# A workload below this share of memory does not decide how the node is set.
_LEAST_SHARE = 0.05
_MAX_EVIDENCE = 5
FALLBACK = "balanced"


class Proposal(t.NamedTuple):
    profile: str
    evidence: tuple[str, ...]


def propose(result: Json, profiles_paths: Sequence[str]) -> list[Proposal]:
    """One proposal for each profile that names what the audit saw (C(suits)), else C(balanced). Raises ProfileError for a profile that cannot be read."""
    found = []
    for name, suits in _profiles.suits(profiles_paths):
        evidence = [*_facts(result, suits), *_cgroups(result, suits.get("names", []))]
        if evidence:
            found.append(Proposal(name, tuple(evidence[:_MAX_EVIDENCE])))
    return found or [Proposal(FALLBACK, ("no workload with a profile of its own takes 5 % of memory",))]


def lines(host: str, proposals: Sequence[Proposal], *, applied: bool) -> Iterator[Line]:
    """For the terminal."""
    ending = "" if applied else "; -e memqos_auto_apply=true applies it"
    yield Line(f"{visible(host)}: proposes {', '.join(one.profile for one in proposals)}{ending}")
    for one in proposals:
        yield from (Line(f"  {one.profile}: {visible(why)}") for why in one.evidence)


def _facts(result: Json, suits: Mapping[str, t.Any]) -> Iterator[str]:
    for fact in suits.get("facts", []):
        if result["node"].get(fact):
            yield f"the audit found facts.{fact}"


def _cgroups(result: Json, globs: Sequence[str]) -> Iterator[str]:
    total = result["breakdown"]["memtotal_bytes"]
    for row in sorted(result["top"]["rows"], key=lambda row: -_usage(row)):
        names = [str(row.get(key, "")) for key in ("name", "container", "image")]
        name = next((name for name in names for glob in globs if fnmatch.fnmatchcase(name, glob)), "")
        if name and _usage(row) >= total * _LEAST_SHARE:
            yield f"{name} uses {format_size(_usage(row))} of {format_size(total)}"


def _usage(row: Mapping[str, t.Any]) -> int:
    usage = row.get("usage", 0)
    return usage if isinstance(usage, int) else 0
