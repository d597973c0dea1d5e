# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is accepted, for whom and until when; what is wrong with an entry is named with the entry and the key."""

from __future__ import annotations

import copy
import datetime
import json
import typing as t

import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.plugin_utils import _suppressions

TODAY = datetime.date(2026, 11, 27)
Json = dict[str, t.Any]


def entry(**keys: t.Any) -> Json:
    return {"rule": "N01", "reason": "known", "until": "2026-12-31", **keys}


def finding(rule: str = "N01", name: str = "", identity: str = "node", status: str = "fail") -> Json:
    return {"rule": rule, "subject": {"kind": "service" if name else "node", "id": identity, "name": name}, "status": status}


REDIS = finding("C07", "redis.service", "/system.slice/redis.service")


def applied(entries: t.Sequence[t.Any], *findings: Json, rules: Json | None = None, host: str = "db-1", today: datetime.date = TODAY) -> Json:
    audit: Json = {"findings": copy.deepcopy(list(findings)), "rules": copy.deepcopy(rules or {})}
    _suppressions.apply(audit, _suppressions.read(entries), host=host, today=today)
    return audit


COVERED = [
    ({}, finding(), True),
    ({"rule": "N*"}, finding(), True),
    ({"rule": "*1"}, finding("N02"), False),
    ({"rule": "N0?"}, finding(), False),
    ({"rule": "N01", "host": "db-*"}, finding(), True),
    ({"rule": "N01", "host": "web-*"}, finding(), False),
    ({"rule": "C07", "subject": "redis.service"}, REDIS, True),
    ({"rule": "C07", "subject": "/system.slice/*"}, REDIS, True),
    ({"rule": "C07", "subject": "nginx.service"}, REDIS, False),
    ({"rule": "C07", "subject": "[r]edis.service"}, REDIS, False),
    ({"rule": "N01"}, finding(status="unknown"), True),
]


@pytest.mark.parametrize(("keys", "found", "covered"), COVERED)
def test_whom_an_entry_covers(keys: Json, found: Json, covered: bool) -> None:
    (told,) = applied([entry(**keys)], found)["findings"]
    assert told.get("suppressed") == ({"reason": "known", "until": "2026-12-31"} if covered else None)


@pytest.mark.parametrize(("until", "key"), [("2026-11-27", "suppressed"), ("2026-11-26", "suppression_expired")])
def test_it_holds_through_its_last_day(until: str, key: str) -> None:
    (told,) = applied([entry(until=until)], finding())["findings"]
    assert {name for name in told if name.startswith("supp")} == {key}


def test_of_several_the_longest_counts() -> None:
    (told,) = applied([entry(until="2027-03-01", reason="b"), entry(until="2026-12-01"), entry(until="2026-01-01")], finding())["findings"]
    assert told["suppressed"] == {"reason": "b", "until": "2027-03-01"} and "suppression_expired" not in told


def test_what_matches_nothing_is_named_where_it_was_meant() -> None:
    unused = applied([entry(), entry(rule="N99"), entry(rule="N98", host="web-*")], finding())["suppressions_unused"]
    assert unused == [{"rule": "N99", "host": "*", "subject": "*", "reason": "known", "until": "2026-12-31"}]


def test_what_the_node_only_counted_is_accepted_with_the_whole_rule() -> None:
    found = [finding("C07", f"s{number}") for number in range(3)]
    counts = {"C07": {"failed": 150}, "N01": {"failed": 1}}
    assert applied([entry(rule="C07")], *found, rules=counts)["rules"] == {"C07": {"failed": 150, "suppressed": 150}, "N01": {"failed": 1}}
    assert applied([entry(rule="C07", subject="s1")], *found, rules=counts)["rules"]["C07"] == {"failed": 150, "suppressed": 1}
    assert applied([entry(rule="C07", until="2026-11-01")], *found, rules=counts)["rules"]["C07"] == {"failed": 150}


DATES = ["2026-12-31", "'2026-12-31'", "2026-12-31 00:00:00"]


@pytest.mark.parametrize("text", DATES)
def test_a_date_is_one_however_yaml_reads_it(text: str) -> None:
    (one,) = _suppressions.read([entry(until=yaml.safe_load(text))])
    assert one.until == datetime.date(2026, 12, 31)


@pytest.mark.parametrize("given", [[entry()], json.dumps([entry()]), json.dumps(json.dumps([entry()]))], ids=["list", "JSON", "twice JSON"])
def test_a_list_is_one_as_json_too(given: t.Any) -> None:
    assert [one.rule for one in _suppressions.read(given)] == ["N01"]


@pytest.mark.parametrize("given", ["N01", "[", {"rule": "N01"}, 5, None, '{"rule": "N01"}'])
def test_what_is_no_list_is_said(given: t.Any) -> None:
    with pytest.raises(_suppressions.SuppressionError, match="memqos_suppressions: a list is expected here"):
        _suppressions.read(given)


WRONG = [
    ("N01", "entry 2: a mapping ('name: value') is expected here"),
    ({"rule": "N01"}, "entry 2: 'reason' is missing"),
    ({"rule": "N01"}, "entry 2: 'until' is missing"),
    (entry(rul="N01"), "entry 2: unknown key 'rul'"),
    (entry(until="2026-02-30"), "entry 2.until: '2026-02-30' is no date: write it as YYYY-MM-DD"),
    (entry(until="31.12.2026"), "entry 2.until: '31.12.2026' is no date"),
    (entry(until=20261231), "entry 2.until: '20261231' is no date"),
    (entry(until=yaml.safe_load("2026-12-31 10:00:00")), "entry 2.until: '2026-12-31 10:00:00' is no date"),
    (entry(reason=""), "entry 2.reason: text of at most 1000 characters"),
    (entry(host=["a", "b"]), "entry 2.host: text of at most 1000 characters"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_a_mistake_names_the_entry_and_the_key(wrong: t.Any, message: str) -> None:
    with pytest.raises(_suppressions.SuppressionError) as caught:
        _suppressions.read([entry(), wrong])
    assert f"memqos_suppressions: {message}" in str(caught.value)
