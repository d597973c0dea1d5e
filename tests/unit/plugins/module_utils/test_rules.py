# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Three-valued evaluation of compiled trees; the trees are written by hand, so this runs on the node's Pythons without the compiler."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _rules

A = ["name", "meminfo", "A"]  # 6
B = ["name", "meminfo", "B"]  # 4
ZERO = ["name", "meminfo", "Zero"]
LIMIT = ["name", "cgroup", "limit"]  # no limit
WORD = ["name", "facts", "hierarchy"]  # v2
YES = ["name", "facts", "psi"]  # true
NO = ["name", "facts", "kubelet"]  # false
GONE = ["name", "meminfo", "Gone"]
HALF_GONE = ["name", "nowhere", "at", "all"]
ENV: dict[str, t.Any] = {
    "meminfo": {"A": 6, "B": 4, "Zero": 0, "Huge": 10**4000, "Text": "6"},
    "facts": {"hierarchy": "v2", "psi": True, "kubelet": False, "container_runtimes": ["docker", "containerd"]},
    "cgroup": {
        "limit": None,
        "vendor_limits": {"low": None},
        "stat": {"anon": 10, "file": 2.5},
        "path": "/system.slice/a.service",
        "vendor": {"memory.wmark_ratio": 95},
    },
    "knob": {"vm.swappiness": 60},
}
TRUE, FALSE, UNKNOWN = ["==", 1, 1], ["==", 1, 2], [">", GONE, 1]


def outcome(when: object, *, counters: _rules.Counters | None = None, **rule: object) -> _rules.Outcome:
    compiled = json.loads(json.dumps([{"id": "T1", "each": "node", "when": when, **rule}]))
    (prepared,) = _rules.prepare(compiled)
    return _rules.evaluate(prepared, ENV, counters or _rules.Counters(uptime=1000.0))


def status(when: object) -> str:
    return outcome(when).status


def value(tree: object) -> object:
    """What an expression is, read through observe; None is infinity, 'unknown' is not there."""
    return outcome(TRUE, observe={"x": tree}).observed.get("x", "unknown")


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (5, 5),
        ("word", "word"),
        (None, None),
        (True, True),
        (A, 6),
        (LIMIT, None),
        (["+", ["name", "cgroup", "vendor_limits", "low"], 1], None),
        (["name", "cgroup", "stat", "file"], 2.5),
        (["name", "cgroup", "vendor", "memory.wmark_ratio"], 95),
        (["name", "knob", "vm.swappiness"], 60),
        (GONE, "unknown"),
        (HALF_GONE, "unknown"),
        (["name", "cgroup", "limit", "deeper"], "unknown"),
        (["name", "cgroup", "path", "deeper"], "unknown"),
        (["name", "facts", "container_runtimes"], "unknown"),
        (["+", A, B], 10),
        (["+", A, B, 1, 2.5], 13.5),
        (["-", A, B], 2),
        (["*", A, B, 2], 48),
        (["/", A, B], 1.5),
        (["/", A, ZERO], "unknown"),
        (["/", A, LIMIT], 0.0),
        (["+", A, GONE], "unknown"),
        (["+", GONE, A], "unknown"),
        (["+", LIMIT, A], None),
        (["-", LIMIT, LIMIT], "unknown"),
        (["/", LIMIT, LIMIT], "unknown"),
        (["*", LIMIT, 0], "unknown"),
        (["*", 2**79, 2], 2**80),
        (["*", 2**79, 4], "unknown"),
        (["+", ["name", "meminfo", "Huge"], 1], "unknown"),
        (["+", ["name", "meminfo", "Huge"], 0.5], "unknown"),
        (["*", ["name", "meminfo", "Text"], 1000000], "unknown"),
        (["+", WORD, WORD], "unknown"),
        (["+", YES, 1], "unknown"),
        (["min", A, B, 5], 4),
        (["max", A, B, LIMIT], None),
        (["min", A, GONE], "unknown"),
        (["abs", ["-", B, A]], 2),
        (["abs", GONE], "unknown"),
    ],
)
def test_values(tree: object, expected: object) -> None:
    assert value(tree) == expected


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (["<", B, A], "fail"),
        (["<", A, B], "pass"),
        (["<=", A, 6], "fail"),
        ([">", A, 6], "pass"),
        ([">=", A, 6], "fail"),
        ([">", A, GONE], "unknown"),
        (["<", A, LIMIT], "fail"),
        (["<", LIMIT, None], "pass"),
        (["==", LIMIT, None], "fail"),
        (["==", A, None], "pass"),
        (["==", A, 6.0], "fail"),
        (["!=", A, 6], "pass"),
        (["!=", A, B], "fail"),
        (["==", WORD, "v2"], "fail"),
        (["!=", WORD, "v2"], "pass"),
        (["==", GONE, GONE], "unknown"),
        (["!=", GONE, "v2"], "unknown"),
        (["==", "v2", GONE], "unknown"),
        (["==", WORD, 2], "unknown"),
        (["==", YES, 1], "unknown"),  # true is no number, though Python says so
        (["==", YES, True], "fail"),
        (["<", WORD, "v3"], "unknown"),
        (["<", YES, 2], "unknown"),
        (YES, "fail"),
        (NO, "pass"),
        (A, "unknown"),
        (WORD, "unknown"),
        (["not", YES], "pass"),
        (["not", NO], "fail"),
        (["not", GONE], "unknown"),
        (["not", A], "unknown"),
        (["in", WORD, ["list", "v1", "v2"]], "fail"),
        (["in", WORD, ["list", "v1", "hybrid"]], "pass"),
        (["in", GONE, ["list", 1]], "unknown"),
        (["in", "docker", ["name", "facts", "container_runtimes"]], "fail"),
        (["in", "podman", ["name", "facts", "container_runtimes"]], "pass"),
        (["in", "podman", GONE], "unknown"),
        (["in", "v", WORD], "unknown"),
        (["has", "meminfo", "A"], "fail"),
        (["has", "meminfo", "Gone"], "pass"),
        (["has", "cgroup", "limit"], "fail"),
        (["has", "nowhere", "at", "all"], "pass"),
        (["has", "knob", "vm.swappiness"], "fail"),
    ],
)
def test_conditions(tree: object, expected: str) -> None:
    assert status(tree) == expected


@pytest.mark.parametrize(
    ("left", "right", "both", "either"),
    [
        (TRUE, TRUE, "fail", "fail"),
        (TRUE, FALSE, "pass", "fail"),
        (FALSE, FALSE, "pass", "pass"),
        (TRUE, UNKNOWN, "unknown", "fail"),
        (FALSE, UNKNOWN, "pass", "unknown"),
        (UNKNOWN, UNKNOWN, "unknown", "unknown"),
    ],
)
def test_three_values(left: object, right: object, both: str, either: str) -> None:
    assert {status(["and", left, right]), status(["and", right, left])} == {both}
    assert {status(["or", left, right]), status(["or", right, left])} == {either}
    assert status(["and", left, TRUE, right]) == both
    assert status(["or", left, FALSE, right]) == either


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("/system.slice/a.service", True),
        ("/system.slice", False),
        ("/system.slice/*", True),
        ("*.service", True),
        ("*", True),
        ("**", True),
        ("*slice*a*", True),
        ("*a*slice*", False),
        ("/system.slice/a.service*/system.slice/a.service", False),
        ("/system.slice/a.service*service", False),  # head and tail may not overlap
        ("*a.*a.*", False),
        ("*?*", False),
        ("/[a-z]*", False),
        ("*e/a.*c*", True),
        ("", False),
    ],
)
def test_matches(pattern: str, matches: bool) -> None:
    assert status(["matches", ["name", "cgroup", "path"], pattern]) == ("fail" if matches else "pass")


def test_matches_is_quick_on_hostile_patterns_and_unknown_without_text() -> None:
    assert status(["matches", "a" * 4000, "*a" * 1000 + "b"]) == "pass"
    assert status(["matches", GONE, "*"]) == "unknown"
    assert status(["matches", A, "*"]) == "unknown"
    assert status(["matches", WORD, GONE]) == "unknown"


def test_applies() -> None:
    assert outcome(TRUE, applies=FALSE).status == "not_applicable"
    assert outcome(TRUE, applies=TRUE).status == "fail"
    unknown = outcome(TRUE, applies=GONE)
    assert (unknown.status, unknown.reason) == ("unknown", "meminfo.Gone is not known on this node")


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ([">", ["+", A, GONE], HALF_GONE], "meminfo.Gone is not known on this node"),
        ([">", A, HALF_GONE], "nowhere.at.all is not known on this node"),
        (["==", ["name", "knob", "vm.zone"], 1], "knob('vm.zone') is not known on this node"),
        ([">", ["/", A, ZERO], 1], "division by zero"),
        ([">", ["-", None, None], 1], "a result beyond any real size"),
        ([">", ["rate", "meminfo", "A"], 1], "no measuring window, so no rate"),
        ([">", WORD, 1], "'v2' is of the wrong type"),
        ([">", 1, WORD], "'v2' is of the wrong type"),
        (["and", A, TRUE], "6 is of the wrong type"),
        ([">", ["delta", "cgroup", "limit"], 1], "cgroup.limit is not known on this node"),
        ([">", ["delta", "facts", "hierarchy"], 1], "facts.hierarchy is not a number"),
    ],
)
def test_reason_of_unknown(tree: object, reason: str) -> None:
    result = outcome(tree)
    assert (result.status, result.reason) == ("unknown", reason)


def test_observed_holds_what_is_known() -> None:
    result = outcome(UNKNOWN, observe={"a": A, "limit": LIMIT, "gone": GONE, "list": ["name", "facts", "container_runtimes"], "yes": YES})
    assert result.observed == {"a": 6, "limit": None, "yes": True}
    assert outcome(FALSE, observe={"a": A}).observed == {}


# Counters


COUNT = ["name", "vmstat", "oom_kill"]
DELTA = ["delta", "vmstat", "oom_kill"]
RATE = ["rate", "vmstat", "oom_kill"]


def count(now: object, when: object, **counters: t.Any) -> _rules.Outcome:
    (rule,) = _rules.prepare([{"id": "T1", "each": "node", "when": when, "observe": {"delta": DELTA, "rate": RATE}}])
    env = {} if now is None else {"vmstat": {"oom_kill": now}}
    return _rules.evaluate(rule, env, _rules.Counters(**{"uptime": 5000.5, **counters}))


def vmstat(oom_kill: int) -> dict[str, dict[str, int]]:
    return {"vmstat": {"oom_kill": oom_kill}}


@pytest.mark.parametrize(
    ("counters", "delta", "window"),
    [
        ({}, 7, {"kind": "since_boot", "seconds": 5000.5}),
        ({"previous": None}, 7, {"kind": "since_boot", "seconds": 5000.5}),
        ({"previous": vmstat(5), "elapsed": 60.0}, 2, {"kind": "since_last_run", "seconds": 60.0}),
        ({"previous": {"vmstat": {}}, "elapsed": 60.0}, 7, {"kind": "since_boot", "seconds": 5000.5}),
        ({"previous": {"vmstat": {"oom_kill": None}}, "elapsed": 60.0}, 7, {"kind": "since_boot", "seconds": 5000.5}),
        ({"uptime": None}, 7, {"kind": "since_boot", "seconds": None}),
    ],
)
def test_delta(counters: dict[str, t.Any], delta: int, window: dict[str, object]) -> None:
    result = count(7, [">", DELTA, 0], **counters)
    assert (result.status, result.observed["delta"], result.window, result.reason) == ("fail", delta, window, "")


def test_delta_of_nothing_new_passes() -> None:
    assert count(7, [">", DELTA, 0], previous=vmstat(7), elapsed=60.0).status == "pass"
    assert count(None, [">", DELTA, 0], previous=vmstat(7), elapsed=60.0).status == "unknown"


def test_reset_counts_from_zero() -> None:
    """Somebody wrote failcnt, or the counter belongs to another cgroup now."""
    result = count(3, [">", DELTA, 0], previous=vmstat(90), elapsed=60.0)
    assert result.observed["delta"] == 3
    assert result.reason == "vmstat.oom_kill was reset: counted from zero"


def test_rate() -> None:
    result = count(7, [">", RATE, 1], window=vmstat(13), window_seconds=1.5)
    assert (result.status, result.observed["rate"], result.window) == ("fail", 4.0, {"kind": "window", "seconds": 1.5})
    assert count(7, [">", RATE, 4], window=vmstat(13), window_seconds=1.5).status == "pass"
    assert count(7, [">", RATE, 1], window=vmstat(4), window_seconds=2.0).observed["rate"] == 2.0


@pytest.mark.parametrize("counters", [{}, {"window": vmstat(9)}, {"window": vmstat(9), "window_seconds": 0.0}, {"window": {}, "window_seconds": 1.0}])
def test_no_rate_without_a_window(counters: dict[str, t.Any]) -> None:
    assert count(7, [">", RATE, 1], **counters).status == "unknown"
    assert count(None, [">", RATE, 1], window=vmstat(9), window_seconds=1.0).status == "unknown"


def test_widest_window_is_told() -> None:
    both = ["and", [">", DELTA, 0], [">", RATE, 0]]
    result = count(7, both, previous=vmstat(1), elapsed=60.0, window=vmstat(13), window_seconds=1.5)
    assert result.window == {"kind": "since_last_run", "seconds": 60.0}
    assert outcome(TRUE).window is None


def test_counter_names() -> None:
    rules = [
        {
            "id": "A",
            "each": "node",
            "applies": [">", ["delta", "cgroup", "events", "max"], 0],
            "when": ["and", [">", DELTA, 0], [">", ["rate", "vmstat", "pgfault"], 0]],
        },
        {"id": "B", "each": "node", "when": [">", DELTA, 5]},
    ]
    assert _rules.counter_names(_rules.prepare(rules)) == ["cgroup.events.max", "vmstat.oom_kill"]


# Trees that did not come from our compiler


def nested(depth: int) -> object:
    tree: object = True
    for _level in range(depth - 1):
        tree = ["not", tree]
    return tree


@pytest.mark.parametrize(
    "tree",
    [
        [],
        ["nonsense", 1],
        [1, 2],
        [None],
        [["+", 1, 2], 3],
        ["+"],
        ["<", 1],
        ["<", 1, 2, 3],
        ["not"],
        ["abs", 1, 2],
        ["name"],
        ["name", "meminfo"],
        ["in", 1],
        ["in", 1, []],
        nested(100000),
    ],
)
def test_malformed_trees(tree: object) -> None:
    with pytest.raises(_rules.RuleFormatError, match="rule T1: "):
        _rules.prepare([{"id": "T1", "each": "node", "when": tree}])


def test_the_largest_that_the_compiler_lets_through() -> None:
    assert status(nested(32)) == "pass"
    assert value(["+", *[1] * 499]) == 499


@pytest.mark.parametrize(
    "rules",
    [
        None,
        {},
        "rules",
        [None],
        [{"id": "A", "each": "node"}],
        [{"each": "node", "when": True}],
        [{"id": "A", "each": "node", "when": True, "observe": []}],
        [{"id": "A", "each": "node", "when": True, "observe": {"x": ["<", 1]}}],
        [{"id": "A", "each": "node", "when": True, "applies": ["<", 1]}],
    ],
)
def test_malformed_rules(rules: object) -> None:
    with pytest.raises(_rules.RuleFormatError):
        _rules.prepare(rules)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**90), 2**90) | st.floats(allow_nan=False) | st.text(max_size=5) | st.sampled_from(["meminfo", "A", "list"]),
    lambda inner: st.builds(
        lambda op, parts: [op, *parts], st.sampled_from([*_rules._OPERATIONS, "name", "has", "delta", "rate", "in", "list"]), st.lists(inner, max_size=4)
    ),
    max_leaves=30,
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=3)


@given(tree=JSON, environment=st.dictionaries(st.sampled_from(["meminfo", "facts"]), VALUES | st.dictionaries(st.sampled_from(["A", "list"]), VALUES)))
def test_never_raises_on_content(tree: object, environment: dict[str, object]) -> None:
    try:
        (rule,) = _rules.prepare([{"id": "T1", "each": "node", "when": tree, "observe": {"x": tree}}])
    except _rules.RuleFormatError:
        return
    counters = _rules.Counters(uptime=1.0, previous=environment, elapsed=1.0, window=environment, window_seconds=1.0)
    result = _rules.evaluate(rule, environment, counters)
    assert result.status in ("pass", "fail", "unknown")
    json.dumps(result.observed, allow_nan=False)
