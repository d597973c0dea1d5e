# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""The result of an audit → the profiles that suit the node, each with its evidence. Pure, but for the profiles' files."""

from __future__ import annotations

import datetime
import fnmatch
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._shares import format_size
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import visible

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Json = dict[str, t.Any]

# A workload below a twentieth of memory does not decide how the node is set.
_LEAST = 20
_MAX_EVIDENCE = 5
_OLD = datetime.timedelta(days=1)
FALLBACK = "balanced"


class Proposal(t.NamedTuple):
    """C(evidence): lines for people, what comes from the node made harmless."""

    profile: str
    evidence: tuple[str, ...]


def last_audit(directory: str, host: str) -> Json:
    """Raises ResultError, which says what to do."""
    try:
        return _results.read_result(directory, host)
    except _results.ResultError as exc:
        raise _results.ResultError(f"the profile 'auto' proposes by what the last audit of this host found, and there is none to read: {exc}") from exc


def propose(result: Json, profiles_paths: Sequence[str]) -> list[Proposal]:
    """One proposal for each profile that names what the audit saw (C(suits)), else C(balanced). Raises ProfileError for a profile that cannot be read."""
    found = []
    for name, suits in _profiles.suits(profiles_paths):
        evidence = [*_facts(result, suits), *_cgroups(result, suits.get("names", []))]
        if evidence:
            found.append(Proposal(name, tuple(evidence[:_MAX_EVIDENCE])))
    return found or [Proposal(FALLBACK, ("no workload with a profile of its own takes 5 % of memory",))]


def age(result: Json, *, boot_id: str, now: datetime.datetime) -> str:
    """What is to be said of an audit that is older than a day or of another boot of the node (C(boot_id): of this one, empty if not known); else empty."""
    audited = result["node"].get("boot_id")
    rebooted = bool(boot_id and audited and audited != boot_id)
    try:
        old = now - datetime.datetime.fromisoformat(result["collected_at"])
    except (ValueError, TypeError):
        said = "has no date that can be read"
    else:
        said = f"is {_words(old)} old" if rebooted or old > _OLD else ""
    said += " and from before the node was last booted" if rebooted else ""
    return f"the audit that this rests on {said}: run it again" if said else ""


def lines(host: str, proposals: Sequence[Proposal], *, age: str, applied: bool) -> Iterator[Line]:
    """For the terminal."""
    ending = "" if applied else "; -e memqos_auto_apply=true applies it, with --check --diff shows what it would change"
    yield Line(f"{visible(host)}: proposes {', '.join(one.profile for one in proposals)}{ending}")
    for one in proposals:
        yield from (Line(f"{visible(host)}:   {one.profile}: {why}") for why in one.evidence)
    if age:
        yield Line(f"{visible(host)}:   {age}", "yellow")


def _words(old: datetime.timedelta) -> str:
    count, unit = (old.days, "day") if old.days else (old.seconds // 3600, "hour") if old.seconds >= 3600 else (old.seconds // 60, "minute")
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _facts(result: Json, suits: Mapping[str, t.Any]) -> Iterator[str]:
    for fact in suits.get("facts", []):
        if result["node"].get(fact):
            yield f"the audit found {fact}"


def _cgroups(result: Json, globs: Sequence[str]) -> Iterator[str]:
    total = result["breakdown"]["memtotal_bytes"]
    seen: list[str] = []
    for row in sorted(result["top"]["rows"], key=lambda row: -_usage(row)):
        names = [str(row.get(key, "")) for key in ("name", "container", "image")]
        found = next((name for name in names for glob in globs if fnmatch.fnmatchcase(name, glob)), "")
        # What lies in a cgroup that was named is the same workload.
        if found and _usage(row) * _LEAST >= total and not row["path"].startswith(tuple(seen)):
            seen.append(f"{row['path']}/")
            image = f" (image {found})" if found not in names[:2] else ""
            yield f"{visible((names[0] or row['path']) + image)} uses {format_size(_usage(row))} of {format_size(int(total))}"


def _usage(row: Mapping[str, t.Any]) -> int:
    usage = row.get("usage", 0)
    return usage if isinstance(usage, int) else 0
