# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which profiles an audit proposes, on what evidence, and what it says of its age."""

from __future__ import annotations

import datetime
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _propose, _results

SAMPLES = Path(__file__).parents[2] / "fixtures" / "results"
GiB = 1 << 30


def audit(*rows: dict[str, t.Any], **facts: t.Any) -> dict[str, t.Any]:
    """Of a node with 64 GiB."""
    numbered = [{"path": f"/c{number}", "usage": 8 * GiB, **row} for number, row in enumerate(rows)]
    return {"node": facts, "breakdown": {"memtotal_bytes": 64 * GiB}, "top": {"rows": numbered}, "collected_at": "2026-11-20T12:00:00+00:00"}


def proposed(result: dict[str, t.Any], paths: t.Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    return {one.profile: one.evidence for one in _propose.propose(result, paths)}


def test_what_sample_audits_propose() -> None:
    found = {host: proposed(_propose.last_audit(str(SAMPLES), host)) for host in ("web-1", "db-1", "edge-1")}
    assert found == {
        "web-1": {"kubernetes_node": ("the audit found kubelet",)},
        "db-1": {"database": ("postgresql@17-main.service uses 41.0 GiB of 252 GiB",)},
        "edge-1": {"balanced": ("no workload with a profile of its own takes 5 % of memory",)},
    }


ROWS = [
    ({"name": "redis-server.service"}, {"redis": ("redis-server.service uses 8.00 GiB of 64.0 GiB",)}),
    ({"name": "shop/cart-5c6b/redis", "container": "redis"}, {"redis": ("shop/cart-5c6b/redis uses 8.00 GiB of 64.0 GiB",)}),
    ({"name": "shop/db/main", "container": "main", "image": "quay.io/x/postgres:17"},
     {"database": ("shop/db/main (image quay.io/x/postgres:17) uses 8.00 GiB of 64.0 GiB",)}),
    ({"name": "kubepods-besteffort.slice"}, {"colocated": ("kubepods-besteffort.slice uses 8.00 GiB of 64.0 GiB",)}),
    # the share decides, to the byte
    ({"name": "kafka.service", "usage": 64 * GiB // 20 + 1}, {"kafka": ("kafka.service uses 3.20 GiB of 64.0 GiB",)}),
    ({"name": "kafka.service", "usage": 64 * GiB // 20}, None),
    ({"name": "my-redis.service"}, None),
    ({"name": "redis.service", "usage": None}, None),
    ({"name": "redis.service", "usage": "lots"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("row", "found"), ROWS)
def test_a_row_is_evidence_by_name_container_or_image_from_5_percent_on(row: dict[str, t.Any], found: dict[str, t.Any] | None) -> None:
    assert proposed(audit(row)) == (found or {"balanced": ("no workload with a profile of its own takes 5 % of memory",)})


def test_the_largest_come_first_and_what_lies_within_is_not_counted_again() -> None:
    rows = [{"name": f"redis-{number}.service", "usage": number * GiB} for number in range(4, 12)]
    rows += [{"name": "child", "container": "redis", "path": "/c7/child", "usage": 8 * GiB}]
    evidence = proposed(audit(*rows))["redis"]
    assert [line.split()[0] for line in evidence] == [f"redis-{number}.service" for number in (11, 10, 9, 8, 7)]


def test_several_profiles_and_an_own_one(tmp_path: Path) -> None:
    (tmp_path / "gateway.yml").write_text("name: gateway\nsuits: {names: [envoy*], facts: [psi]}\nhost: {vm.swappiness: 10}\n")
    result = audit({"name": "envoy.service"}, {"name": "redis.service"}, psi=True, kubelet=False)
    assert proposed(result, [str(tmp_path)]) == {
        "gateway": ("the audit found psi", "envoy.service uses 8.00 GiB of 64.0 GiB"),
        "redis": ("redis.service uses 8.00 GiB of 64.0 GiB",),
    }


def test_every_profile_that_is_proposed_can_be_loaded() -> None:
    names = [name for name, unused in _profiles.suits([])]
    assert names == ["colocated", "database", "elasticsearch", "kafka", "kubernetes_node", "redis"]
    assert _profiles.load_profiles([*names, _propose.FALLBACK], search_paths=[], overrides={}).layers


def test_a_hostile_name_is_shown_as_it_is_spelled() -> None:
    (evidence,) = proposed(audit({"name": "redis\x1b[2J\n\u202e"}))["redis"]
    assert evidence.startswith("redis\\x1b[2J\\n\\u202e uses")
    lines = list(_propose.lines("h\x1b1", [_propose.Proposal("redis", (evidence,))], age="", applied=False))
    assert all(line.text.isprintable() for line in lines) and lines[0].text.startswith("h\\x1b1: proposes redis")


def test_without_an_audit_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(_results.ResultError, match=r"'auto' proposes by .* there is none to read: .*hosts/n1\.json: cannot be read .* Run the audit first"):
        _propose.last_audit(str(tmp_path), "n1")
    _results.write_failure(str(tmp_path), "n1", "no Python")
    with pytest.raises(_results.ResultError, match="there is none to read: failed: no Python"):
        _propose.last_audit(str(tmp_path), "n1")


# Age

NOW = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.timezone.utc)
AGES = [
    # what is in the audit, hours later, what is said
    ({}, 0, ""),
    ({}, 24, ""),
    ({}, 25, "is 1 day old"),
    ({}, 80, "is 3 days old"),
    ({}, -5, ""),
    ({"boot_id": "b1"}, 1, ""),
    ({"boot_id": "b0"}, 0.5, "is 30 minutes old and from before the node was last booted"),
    ({"boot_id": "b0"}, 2, "is 2 hours old and from before the node was last booted"),
    ({"boot_id": "b0"}, 49, "is 2 days old and from before the node was last booted"),
]


@pytest.mark.parametrize(("facts", "hours", "said"), AGES)
def test_an_old_audit_says_so(facts: dict[str, t.Any], hours: float, said: str) -> None:
    found = _propose.age(audit(**facts), boot_id="b1", now=NOW + datetime.timedelta(hours=hours))
    assert found == (f"the audit that this rests on {said}: run it again" if said else "")


def test_what_is_not_known_is_not_said() -> None:
    assert _propose.age(audit(boot_id="b0"), boot_id="", now=NOW) == ""
    for wrong in ("yesterday", "", "2026-11-20T12:00:00", "9" * 5000):
        assert "has no date that can be read" in _propose.age({**audit(), "collected_at": wrong}, boot_id="", now=NOW)


def test_lines() -> None:
    proposals = [_propose.Proposal("redis", ("one", "two")), _propose.Proposal("kafka", ("three",))]
    lines = [(line.text, line.color) for line in _propose.lines("n1", proposals, age="the audit is old", applied=False)]
    assert lines == [
        ("n1: proposes redis, kafka; -e memqos_auto_apply=true applies it, with --check --diff shows what it would change", None),
        ("n1:   redis: one", None),
        ("n1:   redis: two", None),
        ("n1:   kafka: three", None),
        ("n1:   the audit is old", "yellow"),
    ]
    assert [line.text for line in _propose.lines("n1", proposals[1:], age="", applied=True)] == ["n1: proposes kafka", "n1:   kafka: three"]


def test_an_audit_of_this_collection_can_be_asked(tmp_path: Path) -> None:
    """The samples have the shape that memory_audit writes: the keys that are read here are in the schema's result."""
    result = json.loads((SAMPLES / "hosts" / "web-1.json").read_bytes())
    assert datetime.datetime.fromisoformat(result["collected_at"]).tzinfo
    assert {"boot_id", "kubelet"} <= set(result["node"])
