# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What became of a host's findings since its last audit, with the figures of then and now. Pure."""

from __future__ import annotations

import hashlib
import json
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Json = dict[str, t.Any]
    # (rule, kind and id of the subject)
    Key = tuple[str, str, str]

# What the next audit finds of this one (C(remember)), in the words of _results.
SHAPE: dict[str, t.Any] = {
    "run_id": "text",
    "collected_at": "text",
    "rules": {"*": "text"},
    "unlisted": ["text"],
    "findings": [{"rule": "text", "subject": {"kind": "text", "id": "text", "name": "text"}, "status": "text", "observed": {"*": "any"}}],
    "*": "any",
}


def digests(compiled: Sequence[Mapping[str, t.Any]]) -> dict[str, str]:
    """{rule: what changes with its conditions and thresholds}"""
    return {rule["id"]: hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()[:12] for rule in compiled}


def remember(audit: Json, rules: Mapping[str, str]) -> Json:
    """What the next audit compares with, in C(SHAPE). C(rules): their digests."""
    return {
        "run_id": audit["run_id"],
        "collected_at": audit["collected_at"],
        "boot_id": audit["node"].get("boot_id"),
        "generation": _generation(audit),
        "rules": dict(rules),
        "unlisted": [rule for rule in audit["rules"] if _has_unlisted(audit, rule)],
        "findings": [{"rule": one["rule"], "subject": one["subject"], **_told(one)} for one in audit["findings"]],
    }


def failed(last: Json, rules: Mapping[str, str]) -> dict[str, list[str]]:
    """{rule: ids of its subjects} that failed then: what the node is asked to say the figures of, if they pass now."""
    asked: dict[str, list[str]] = {}
    for finding in last.get("findings", []):
        if finding["status"] == "fail" and finding["rule"] in rules:
            asked.setdefault(finding["rule"], []).append(finding["subject"]["id"])
    return asked


def compare(last: Json, audit: Json, rules: Mapping[str, str]) -> Json:
    """C(changes) of docs/schemas/host.json. C(last) is empty for a first audit. Takes C(recovered) out of the audit."""
    recovered = audit.pop("recovered", None)
    changes: Json = {"since": None, "generation": _generation(audit), "rebooted": None, "findings": []}
    if not last:
        return changes
    changes["since"] = {**{key: last[key] for key in ("run_id", "collected_at")}, "generation": last.get("generation")}
    boots = last.get("boot_id"), audit["node"].get("boot_id")
    changes["rebooted"] = boots[0] != boots[1] if all(boots) else None
    before = {_key(one): one for one in last["findings"]}
    now = {_key(one): one for one in audit["findings"]}
    changes["findings"] = [
        *_found(before, now, last, rules),
        *_gone(before, now, {_key(one): one for one in recovered or []}, audit, answers=recovered is not None, changed=_changed(last, rules)),
    ]
    return changes


def _found(before: Mapping[Key, Json], now: Mapping[Key, Json], last: Json, rules: Mapping[str, str]) -> Iterator[Json]:
    """What fails now: new, or with other figures; and what failed and cannot be told any more. What nobody could tell before is not news."""
    changed = _changed(last, rules)
    for key, one in now.items():
        then = before.get(key)
        if one["status"] != "fail" and (then is None or then["status"] != "fail"):
            continue
        known = then is not None or key[0] in last["rules"]
        because = "rule_changed" if key[0] in changed else "" if known else "rule_added"
        if then is None and not because and key[0] in last["unlisted"]:
            because = "not_listed"
        if then is None or _state(then) != _state(one) or because:
            yield _change(one, then and _told(then), _told(one), because)


def _gone(
    before: Mapping[Key, Json], now: Mapping[Key, Json], recovered: Mapping[Key, Json], audit: Json, *, answers: bool, changed: set[str]
) -> Iterator[Json]:
    """What failed then and is not among the findings. C(answers): the node says what passes now, so what it does not name is not there."""
    for key, then in before.items():
        if then["status"] != "fail" or key in now:
            continue
        because = "rule_changed" if key[0] in changed else ""
        after: Json | None = None
        if key[0] not in audit["rules"]:
            because = "rule_dropped"
        elif key in recovered:
            after = _told(recovered[key])
        elif _has_unlisted(audit, key[0]):
            after, because = {"status": "unknown", "observed": {}}, "not_listed"
        elif key[1] == "node":
            counts = audit["rules"][key[0]]
            after = {"status": "pass" if counts["passed"] else "not_applicable", "observed": {}}
        elif not answers:
            after, because = {"status": "unknown", "observed": {}}, "not_listed"
        else:
            because = "gone_or_not_applicable" if audit["rules"][key[0]]["not_applicable"] else "subject_gone"
        yield _change(then, _told(then), after, because)


def _change(one: Json, before: Json | None, after: Json | None, because: str) -> Json:
    change = {"rule": one["rule"], "subject": one["subject"], "before": before, "after": after}
    return {**change, "because": because} if because else change


def _changed(last: Json, rules: Mapping[str, str]) -> set[str]:
    """Rules of both audits that do not ask the same."""
    return {rule for rule, digest in rules.items() if last["rules"].get(rule, digest) != digest}


def _state(finding: Json) -> Json:
    return {"status": str(finding["status"]), "observed": finding.get("observed") or {}}


def _told(finding: Json) -> Json:
    """With what its counters grew over: since boot before and since the last run now is not the same."""
    return {**_state(finding), **({"window": finding["window"]} if finding.get("window") else {})}


def _key(finding: Json) -> Key:
    return finding["rule"], finding["subject"]["kind"], finding["subject"]["id"]


def _has_unlisted(audit: Json, rule: str) -> bool:
    """A node lists the largest of what fails, and a few of what is unknown."""
    counts = audit["rules"][rule]
    statuses = [one["status"] for one in audit["findings"] if one["rule"] == rule]
    return bool(counts.get("failed", 0) > statuses.count("fail") or counts.get("unknown", 0) > len(statuses) - statuses.count("fail"))


def _generation(audit: Json) -> int | None:
    """What the node says that a tune last made of it."""
    generation = (audit.get("applied") or {}).get("generation")
    return generation if isinstance(generation, int) else None
