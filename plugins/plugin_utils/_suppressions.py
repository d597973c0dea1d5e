# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Findings that somebody accepts until a date: C(memqos_suppressions). Pure."""

from __future__ import annotations

import collections
import datetime
import json
import re
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._rules import is_like
from ansible_collections.memqos.fleet.plugins.plugin_utils._yaml_source import Mistake, Place, Problem, from_value, mapping, text

if t.TYPE_CHECKING:
    import yaml

    Json = dict[str, t.Any]

VARIABLE = "memqos_suppressions"
_STAMPS = ("suppressed", "suppression_expired")
_KEYS = ("rule", "host", "subject", "reason", "until")
_REQUIRED = ("rule", "reason", "until")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# What YAML makes of a date without quotes reads as its text, of a date with a time as that.
_MIDNIGHT = " 00:00:00"


class SuppressionError(Exception):
    """All mistakes; the message has one line for each."""


class Suppression(t.NamedTuple):
    """C(rule), C(host), C(subject): globs in which only C(*) is special. It holds through the day C(until), in UTC."""

    rule: str
    host: str
    subject: str
    reason: str
    until: datetime.date

    def covers(self, finding: Json) -> bool:
        """The host aside."""
        subject = finding["subject"]
        return is_like(finding["rule"], self.rule) and any(is_like(subject[key], self.subject) for key in ("name", "id"))

    def said(self) -> dict[str, str]:
        return {"reason": self.reason, "until": self.until.isoformat()}


def read(entries: object) -> list[Suppression]:
    """What the variable says: a list, or one as JSON. Raises SuppressionError with every mistake found."""
    problems: list[Problem] = []
    entries = _of_json(_of_json(entries))
    if not isinstance(entries, (list, tuple)):
        raise SuppressionError(f"{VARIABLE}: a list is expected here: [{{rule: N01, reason: text, until: 2026-12-31}}]")
    found = [_read(entry, Place(VARIABLE, problems, f"entry {number}")) for number, entry in enumerate(entries, 1)]
    if problems:
        raise SuppressionError("\n".join(map(str, problems)))
    return [one for one in found if one]


def apply(audit: Json, suppressions: t.Sequence[Suppression], *, host: str, today: datetime.date) -> None:
    """Stamps C(suppressed) or C(suppression_expired) on the findings of this host; names what matches nothing here; counts by rule what fails and is accepted.

    A node lists the largest findings of a rule and counts the others: what accepts all subjects of a rule accepts these too. It accepts nothing itself.
    """
    for said in (*audit["findings"], *audit["rules"].values()):
        for key in _STAMPS:
            said.pop(key, None)
    mine = [one for one in suppressions if is_like(host, one.host)]
    used: set[Suppression] = set()
    for finding in audit["findings"] if mine else ():
        covering = [one for one in mine if one.covers(finding)]
        used.update(covering)
        # Of several the one that holds longest.
        last = max(covering, key=lambda one: one.until, default=None)
        if last:
            finding["suppressed" if last.until >= today else "suppression_expired"] = last.said()
    failed = [finding for finding in audit["findings"] if finding["status"] == "fail"] if mine else []
    listed = collections.Counter(finding["rule"] for finding in failed)
    accepted = collections.Counter(finding["rule"] for finding in failed if "suppressed" in finding)
    whole = [one for one in mine if one.until >= today and not one.subject.strip("*")]
    for rule, count in audit["rules"].items() if mine else ():
        if any(is_like(rule, one.rule) for one in whole):
            accepted[rule] += max(0, count.get("failed", 0) - listed[rule])
        if accepted[rule]:
            count["suppressed"] = accepted[rule]
    audit["suppressions_unused"] = [{**one._asdict(), **one.said()} for one in mine if one not in used]


def _read(entry: object, place: Place) -> Suppression | None:
    before = len(place.problems)
    try:
        node = from_value(entry)
    except Mistake as exc:
        place.problem(None, str(exc))
        return None
    nodes = mapping(node, place, _KEYS)
    if len(place.problems) > before:
        return None
    for key in _REQUIRED:
        if key not in nodes:
            place.problem(None, f"'{key}' is missing: rule, reason and until are required")
    said = {key: text(nodes, key, place) for key in _KEYS if key in nodes}
    until = _date(nodes["until"], place.under("until")) if said.get("until") else None
    if len(place.problems) > before or until is None:
        return None
    return Suppression(said["rule"], said.get("host", "*"), said.get("subject", "*"), said["reason"], until)


def _of_json(entries: object) -> object:
    """Twice JSON is what C(-e NAME=VALUE) gave a role."""
    try:
        return json.loads(entries) if isinstance(entries, str) else entries
    except ValueError:
        return None


def _date(node: yaml.Node, place: Place) -> datetime.date | None:
    found = str(node.value).removesuffix(_MIDNIGHT)
    try:
        if _DATE.fullmatch(found):
            return datetime.date.fromisoformat(found)
    except ValueError:
        pass
    place.problem(node, f"{found!r:.80} is no date: write it as YYYY-MM-DD")
    return None
