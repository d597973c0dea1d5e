# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""memqos.prom, parsed by Prometheus's own Python client."""

from __future__ import annotations

import itertools
import re
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from prometheus_client.parser import text_string_to_metric_families

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_prometheus, _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_prometheus import METRICS, PrometheusReport, label_text, number
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_results import (
    HOSTILE,
    NAMES,
    RULES,
    SAMPLES,
    accepted,
    counts,
    fill,
    finding,
    made,
    named,
)

Sample = tuple[tuple[tuple[str, str], ...], float]


def read(path: Path) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """{metric: {labels: value}}; each metric stands once, and each sample."""
    told: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(path.read_bytes().decode()):
        assert family.name not in told and (family.type, family.documentation) == ("gauge", METRICS[family.name])
        samples = [(tuple(sorted(sample.labels.items())), sample.value) for sample in family.samples]
        told[family.name] = dict(samples)
        assert len(samples) == len(told[family.name]) > 0
    return told


def write(tmp_path: Path, results: t.Iterable[dict[str, t.Any]], **options: t.Any) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    fill(PrometheusReport(str(tmp_path / "memqos.prom"), rules=RULES), results, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["memqos.prom"]
    return read(tmp_path / "memqos.prom")


def of(told: dict[tuple[tuple[str, str], ...], float], *names: str) -> dict[tuple[str, ...], float]:
    return {tuple(dict(labels)[name] for name in names): value for labels, value in told.items()}


DERIVED = {"dying_memcgs": 1800, "low_order_free_share": 0.97, "allocatable_bytes": 100, "sum_request_bytes": 50, "sum_limit_bytes": 300, "stranded_bytes": 40}
SOURCE = {"source": "sysctl.d", "path": "/etc/a", "line": 1, "value": "1"}
SETTINGS = [
    {"name": "a", "winner": SOURCE, "others": [{**SOURCE, "value": "2"}], "drift": True},
    {"name": "b", "winner": SOURCE, "others": [SOURCE], "drift": False},
    {"name": "c", "winner": None, "others": [], "drift": None},
]


def test_what_a_result_says_in_numbers(tmp_path: Path) -> None:
    findings = [finding("C01"), finding("C03", suppressed=accepted()), finding("N23", status="unknown")]
    rules = {"C01": counts(failed=5, passed=2), "N44": counts(passed=1), "N23": counts(unknown=1), "C03": counts(failed=1)}
    result = made(findings=findings, rules=rules, derived=DERIVED, settings=SETTINGS, collected_at="2026-11-27T12:00:00+00:00")
    told = write(tmp_path, [result], unreachable=["gone"], invalid={"bad": "cut short"})
    assert of(told["memqos_host_up"], "host") == {("web-1",): 1, ("gone",): 0, ("bad",): 0}
    assert of(told["memqos_audit_timestamp_seconds"], "host") == {("web-1",): 1795780800}
    node = result["node"]
    assert of(told["memqos_info"], "kernel", "hierarchy", "systemd") == {(node["kernel"], node["hierarchy"], str(node["systemd"])): 1}
    assert sum(told["memqos_memory_bytes"].values()) == list(told["memqos_memory_total_bytes"].values())[0] == result["breakdown"]["memtotal_bytes"]
    assert of(told["memqos_memory_available_bytes"], "host") == {("web-1",): node["meminfo"]["MemAvailable"]}
    assert of(told["memqos_findings"], "severity") == {("critical",): 5, ("warning",): 0, ("info",): 0, ("unknown",): 1}
    # Unknown says nothing; accepted is no finding.
    assert of(told["memqos_finding"], "rule", "severity") == {("C01", "critical"): 5, ("N44", "info"): 0, ("C03", "warning"): 0}
    assert of(told["memqos_suppressed_findings"], "host") == {("web-1",): 1}
    zones = {(f"{zone['node']}", zone["name"], mark): zone[f"distance_{mark}"] for zone in result["zones"] for mark in ("kswapd", "direct")}
    assert of(told["memqos_zone_distance_bytes"], "node", "zone", "mark") == zones
    pressure = node["pressure"]["memory"]["full"]["avg60"] / 100
    assert of(told["memqos_pressure_ratio"], "resource", "kind", "window")["memory", "full", "60s"] == pytest.approx(pressure)
    assert of(told["memqos_oom_kills"], "host") == {("web-1",): sum(group["killed"] for group in result["oom"]["groups"])}
    assert of(told["memqos_overcommit_bytes"], "kind") == {("allocatable",): 100, ("request",): 50, ("limit",): 300, ("stranded",): 40}
    assert [list(told[f"memqos_{name}"].values()) for name in ("dying_cgroups", "low_order_free_ratio", "setting_conflicts", "setting_drift")] == [
        [1800],
        [0.97],
        [1],
        [1],
    ]
    ranked = sorted(((row["working_set"], row["path"]) for row in result["top"]["rows"] if row["path"] != "/" and row.get("working_set")), reverse=True)
    sets = {path: size for size, path in ranked[:10]}
    assert {path: value for (path, part), value in of(told["memqos_workload_bytes"], "path", "part").items() if part == "working_set"} == sets
    assert set(told) == set(METRICS)


def test_the_guide_lists_every_metric_with_its_labels(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[4] / "docs" / "reports.md").read_text(encoding="utf-8")
    rows = {name: (labels, told) for name, labels, told in re.findall(r"^\| `(memqos_\w+)` \| (.*?) \| (.*) \|$", guide, re.MULTILINE)}
    assert {name: told for name, (unused, told) in rows.items()} == METRICS
    result = made(derived=DERIVED, settings=SETTINGS)
    for name, samples in write(tmp_path, [result]).items():
        labels = {label for sample in samples for label, unused in sample} - {"host"}
        assert set(filter(None, re.sub(r"\(.*?\)", "", rows[name][0]).replace(" ", "").split(","))) == labels, name


def test_what_the_node_does_not_tell_has_no_sample(tmp_path: Path) -> None:
    result = made(unknown={"oom": "/dev/kmsg: needs root"}, derived={}, zones=[], node={"meminfo": {}, "kernel": "6.1"}, collected_at="yesterday")
    told = write(tmp_path, [result])
    absent = {
        "audit_timestamp_seconds",
        "memory_available_bytes",
        "zone_distance_bytes",
        "pressure_ratio",
        "oom_kills",
        "dying_cgroups",
        "low_order_free_ratio",
    }
    absent |= {"overcommit_bytes", "setting_conflicts", "setting_drift"}
    assert set(METRICS) - set(told) == {f"memqos_{name}" for name in absent}


DRIFTS = [([None], None), ([], None), ([None, False], 0), ([None, True, False, True], 2)]


@pytest.mark.parametrize(("drifts", "count"), DRIFTS)
def test_drift_is_counted_where_it_is_known(tmp_path: Path, drifts: list[bool | None], count: int | None) -> None:
    settings: list[t.Any] = [{"name": f"k{number}", "winner": None, "others": [], "drift": drift} for number, drift in enumerate(drifts)]
    told = write(tmp_path, [made(settings=settings)])
    assert list(told.get("memqos_setting_drift", {}).values()) == ([] if count is None else [count])


def test_all_samples_of_a_metric_stand_together(tmp_path: Path) -> None:
    results = [_results.read_result(SAMPLES, host) for host in _results.known_hosts(SAMPLES)] + [made(f"n{number}") for number in range(50)]
    told = write(tmp_path, results)
    assert len(told["memqos_host_up"]) == len(results)
    assert len(set(told["memqos_info"])) == len(results)


def test_only_the_largest_workloads_are_told(tmp_path: Path) -> None:
    rows = [{"path": f"/{number}", "working_set": number, "anon": 100 - number} for number in range(100)] + [{"path": "/", "working_set": 1 << 40}]
    fill(PrometheusReport(str(tmp_path / "memqos.prom"), rules={}, workloads=2), [made(top={"limit": 100, "parts": [], "rows": rows})])
    told = of(read(tmp_path / "memqos.prom")["memqos_workload_bytes"], "path", "part")
    assert told == {("/99", "working_set"): 99, ("/98", "working_set"): 98, ("/0", "anon"): 100, ("/1", "anon"): 99}


def shown(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@given(NAMES)
def test_any_name_is_read_back(name: str) -> None:
    (family,) = text_string_to_metric_families(f'# TYPE memqos_x gauge\nmemqos_x{{host="{label_text(name)}",row="a"}} 1\n')
    assert family.samples[0].labels == {"host": shown(name), "row": "a"}


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: repr(name)[:24])
def test_a_hostile_name_is_a_label(tmp_path: Path, name: str) -> None:
    told = write(tmp_path, [named(name)], invalid={f"{name}2": name})
    assert of(told["memqos_host_up"], "host") == {(shown(name),): 1, (shown(f"{name}2"),): 0}
    assert of(told["memqos_workload_bytes"], "path", "part") == {(shown(f"/{name}"), "working_set"): 1 << 30, (shown(f"/{name}"), "anon"): 1 << 29}


def test_names_that_look_the_same_as_text_are_one_sample(tmp_path: Path) -> None:
    rows = [{"path": path, "working_set": 5} for path in ("/a-\ud800", "/a-\\ud800")]
    told = write(tmp_path, [made(top={"limit": 2, "parts": [], "rows": rows})])
    assert of(told["memqos_workload_bytes"], "path") == {("/a-\\ud800",): 5}


def test_a_long_name_is_cut_and_still_its_own() -> None:
    long = ["x" * (1 << 20) + end for end in ("a", "b")]
    labels = [label_text(name) for name in long]
    assert {len(label) for label in labels} == {_report_prometheus._MAX_LABEL} and labels[0] != labels[1]
    assert labels[0] == label_text(long[0])


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (17179869184.0, "17179869184"), (-580, "-580"), (0.97, "0.97"), (1e-7, "1e-07")])
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_one_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), PrometheusReport(str(tmp_path / "memqos.prom"), rules={}) as report:
        for result, host in itertools.product([made()], ["a"]):
            report._write(host, iter([("memqos_host_up", {}, result["schema_version"])]))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
