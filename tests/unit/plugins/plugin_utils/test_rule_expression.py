# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Expressions: text → tree, and every mistake with its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _rules
from ansible_collections.memqos.fleet.plugins.module_utils._read import _cgroupfs
from ansible_collections.memqos.fleet.plugins.plugin_utils import _rule_expression

CPUS = ["name", "facts", "cpus"]
FREE = ["name", "node", "free_bytes"]


def scope(each: str = "node") -> _rule_expression.Scope:
    knobs = {"vm.swappiness"}
    return _rule_expression.Scope(each, {"share": 0.05, "count": 3}, lambda name: "" if name in knobs else f"unknown knob '{name}'")


def compiled(text: str, each: str = "node") -> object:
    return _rule_expression.compile_expression(text, scope(each)).tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("5", 5),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("5%", 0.05),
        ("5 %", 0.05),
        ("2 GiB", 2 << 30),
        ("2GiB", 2 << 30),
        ("1.5 KiB", 1536),
        ("1TiB", 1 << 40),
        ("-3", -3),
        ("--3", 3),
        ("-facts.cpus", ["-", 0, CPUS]),
        ("infinity", None),
        ("true", True),
        ("'it is'", "it is"),
        ('"it\'s"', "it's"),
        ("facts.cpus", CPUS),
        ("threshold.share", 0.05),
        ("facts.cpus + 1 + 2", ["+", CPUS, 1, 2]),
        ("facts.cpus * 2 * 3", ["*", CPUS, 2, 3]),
        ("facts.cpus + 1 - 2 + 3", ["+", ["-", ["+", CPUS, 1], 2], 3]),
        ("facts.cpus - 1 - 2", ["-", ["-", CPUS, 1], 2]),
        ("1 + facts.cpus * 2", ["+", 1, ["*", CPUS, 2]]),
        ("(1 + facts.cpus) * 2", ["*", ["+", 1, CPUS], 2]),
        ("1 + (2 + facts.cpus)", ["+", 1, ["+", 2, CPUS]]),
        ("8 / facts.cpus / 2", ["/", ["/", 8, CPUS], 2]),
        ("facts.cpus > 1 and facts.psi or not facts.kubelet", ["or", ["and", [">", CPUS, 1], ["name", "facts", "psi"]], ["not", ["name", "facts", "kubelet"]]]),
        ("facts.psi or (facts.psi and facts.psi)", ["or", ["name", "facts", "psi"], ["and", ["name", "facts", "psi"], ["name", "facts", "psi"]]]),
        ("not facts.psi == true", ["not", ["==", ["name", "facts", "psi"], True]]),
        ("facts.cpus\n  >=\n\t2", [">=", CPUS, 2]),
        ("facts.hierarchy in ['v1', 'hybrid']", ["in", ["name", "facts", "hierarchy"], ["list", "v1", "hybrid"]]),
        ("facts.cpus in [1, -2, threshold.count]", ["in", CPUS, ["list", 1, -2, 3]]),
        ("'docker' in facts.container_runtimes", ["in", "docker", ["name", "facts", "container_runtimes"]]),
        ("min(facts.cpus, 2, 1 GiB)", ["min", CPUS, 2, 1 << 30]),
        ("abs(facts.cpus)", ["abs", CPUS]),
        ("matches(facts.kernel, '5.4*')", ["matches", ["name", "facts", "kernel"], "5.4*"]),
        ("has(meminfo.Zswap)", ["has", "meminfo", "Zswap"]),
        ("has(knob('vm.swappiness'))", ["has", "knob", "vm.swappiness"]),
        ("knob('vm.swappiness') == 0", ["==", ["name", "knob", "vm.swappiness"], 0]),
        ("delta(vmstat.oom_kill)", ["delta", "vmstat", "oom_kill"]),
        ("rate(vmstat.nr_dirtied)", ["rate", "vmstat", "nr_dirtied"]),
        ("meminfo.Active(anon) > 5", [">", ["name", "meminfo", "Active(anon)"], 5]),
        ("sockstat.TCP.mem", ["name", "sockstat", "TCP", "mem"]),
        ("breakdown.unaccounted", ["name", "breakdown", "unaccounted"]),
    ],
)
def test_trees(text: str, tree: object) -> None:
    result = compiled(text)
    assert result == tree
    assert type(result) is type(tree)


@pytest.mark.parametrize(
    ("each", "text", "tree"),
    [
        ("zone", "zone.free", ["name", "zone", "free"]),
        ("numa_node", "numa.free_share", ["name", "numa", "free_share"]),
        ("container", "cgroup.stat.anon", ["name", "cgroup", "stat", "anon"]),
        ("slice", "cgroup.pressure.full.avg10", ["name", "cgroup", "pressure", "full", "avg10"]),
        ("cgroup", "cgroup.vendor.memory.wmark_ratio == 95", ["==", ["name", "cgroup", "vendor", "memory.wmark_ratio"], 95]),
        ("cgroup", "delta(cgroup.events_local.oom_kill)", ["delta", "cgroup", "events_local", "oom_kill"]),
        ("cgroup", "delta(cgroup.stat.pgscan_khugepaged)", ["delta", "cgroup", "stat", "pgscan_khugepaged"]),
        ("cgroup", "rate(cgroup.stat.pgscan_direct)", ["rate", "cgroup", "stat", "pgscan_direct"]),
    ],
)
def test_subjects(each: str, text: str, tree: object) -> None:
    assert compiled(text, each) == tree


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("", 0, "a value expected before the end"),
        ("facts.cpus >", 12, "a value expected before the end"),
        ("> 3", 0, "a value expected before '>'"),
        ("facts.cpus 3", 11, "unexpected '3'"),
        ("(facts.cpus", 11, "')' expected before the end"),
        ("facts.cpus = 3", 11, "unexpected '=': write =="),
        ("facts.psi && facts.psi", 10, "unexpected '&': write and"),
        ("!facts.psi", 0, "unexpected '!': write not or !="),
        ("facts.kernel == 'a", 16, "text that starts with ' has no end"),
        ("1 < facts.cpus < 3", 15, "comparisons do not chain"),
        ("facts.cpu > 1", 0, "unknown name 'facts.cpu': did you mean 'facts.cpus'?"),
        ("1 < node.slab_byte", 4, "unknown name 'node.slab_byte': did you mean 'node.slab_bytes'?"),
        ("memifno.Slab > 1", 0, "unknown name 'memifno.Slab': did you mean 'meminfo.Slab'?"),
        ("meminfo > 1", 0, "unknown name 'meminfo'"),
        ("wibble", 0, "unknown name 'wibble'"),
        ("meminfo.A.B > 1", 0, "'meminfo.A.B': 1 key follows after 'meminfo', not 2"),
        ("pressure.memory.avg10", 0, "3 keys follow after 'pressure', not 2"),
        ("zone.free > 1", 0, "'zone.free' is not there for each: node; write each: zone"),
        ("cgroup.usage > 1", 0, "write each: cgroup or container or pod or slice or service"),
        ("threshold.shar > 1", 0, "unknown threshold 'shar': did you mean 'share'?"),
        ("delta(threshold.share)", 6, "unknown name 'threshold.share'"),
        ("maxx(1, 2)", 0, "unknown function 'maxx': did you mean 'max'?"),
        ("max(1)", 0, "max() takes 2 or more values, not 1"),
        ("abs()", 0, "abs() takes 1 values, not 0"),
        ("max(1, 'a')", 7, "max() needs a number, this is text"),
        ("matches('a', 1)", 13, "matches() needs text, this is a number"),
        ("facts.kernel + 1", 0, "'+' needs a number, this is text"),
        ("1 + facts.psi", 4, "'+' needs a number, this is true or false"),
        ("facts.kernel > '5.10'", 0, "'>' needs a number, this is text"),
        ("facts.kernel == 5", 16, "'==' compares text with a number"),
        ("facts.psi == 1", 13, "'==' compares true or false with a number"),
        ("facts.cpus and facts.psi", 0, "'and' needs true or false, this is a number"),
        ("not facts.cpus", 4, "'not' needs true or false, this is a number"),
        ("-'a'", 1, "'-' needs a number, this is text"),
        ("facts.container_runtimes == 'a'", 0, "a list can only be asked with 'in'"),
        ("facts.cpus in []", 14, "the list is empty"),
        ("facts.cpus in ['a']", 15, "'in' compares a number with text"),
        ("facts.cpus in [facts.cpus]", 15, "a list holds only numbers and text"),
        ("facts.cpus in facts.kernel", 14, "'in' needs a list such as"),
        ("facts.psi in [1]", 0, "'in' looks for a number or text"),
        ("delta(5)", 6, "delta() takes a name"),
        ("delta(meminfo.Slab)", 6, "delta() takes a counter of vmstat, cgroup.stat, cgroup.events, cgroup.events_local; 'meminfo.Slab' is none"),
        ("delta(pressure.memory.some.total)", 6, "delta() takes a counter of vmstat, "),
        ("rate(pressure.memory.some.total)", 5, "rate() takes a counter of vmstat, cgroup.stat; 'pressure.memory.some.total' is none"),
        ("rate(meminfo.Slab)", 5, "rate() takes a counter of vmstat, cgroup.stat;"),
        ("rate(vmstat.nr_free_pages)", 5, "a level that goes up and down"),
        ("knob('vm.swap')", 5, "unknown knob 'vm.swap'"),
        ("knob(vm.swappiness)", 5, "knob() takes a name in quotes"),
        ("has(knob('vm.swap'))", 9, "unknown knob 'vm.swap'"),
        ("has(facts.cpu)", 4, "unknown name 'facts.cpu'"),
        ("2 GB", 2, "unknown unit 'GB': sizes are written with KiB, MiB, GiB, TiB, shares with %"),
        ("2kb", 1, "unknown unit 'kb'"),
        ("5x", 1, "unknown unit 'x'"),
        ("1e30", 0, "a number beyond 2**80"),
        ("9" * 20 + " TiB", 0, "a number beyond 2**80"),
        ("9" * 400 + "%", 0, "a number of more than 20 characters"),
        ("1e999", 0, "a number beyond 2**80"),
        ("1.5e3 GiB", 6, "unknown unit 'GiB'"),
        ("(" * 33 + "1" + ")" * 33, 32, "nested deeper than 32"),
        ("not " * 40 + "facts.psi", 128, "nested deeper than 32"),
        ("facts.cpus" + " / 2" * 40, 0, "too large: 81 parts, 41 levels"),
        ("1" + " + 1" * 600, 0, "too large: 602 parts, 2 levels"),
        ("facts.psi or " * 400 + "facts.psi", 4000, "longer than 4000 characters"),
        ("__import__('os')", 0, "unknown function '__import__'"),
        ("has(facts.cpus).x", 15, "unexpected '.'"),
        ("facts.__class__", 0, "unknown name 'facts.__class__'"),
    ],
)
def test_mistakes(text: str, offset: int, message: str) -> None:
    with pytest.raises(_rule_expression.ExpressionError) as caught:
        compiled(text)
    assert message in str(caught.value)
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("delta(cgroup.stat.anon)", "a level"),
        ("rate(cgroup.stat.active_file)", "a level"),
        ("rate(cgroup.stat.pgfault)", "rate() of a cgroup is there for workingset_refault_anon, workingset_refault_file, "),
        ("rate(cgroup.events.oom_kill)", "rate() takes a counter of vmstat, cgroup.stat;"),
        ("rate(cgroup.events_local.max)", "rate() takes a counter of vmstat, cgroup.stat;"),
        ("rate(cgroup.pressure.some.total)", "rate() takes a counter of vmstat, cgroup.stat;"),
        ("delta(cgroup.pressure.some.total)", "delta() takes a counter of vmstat, "),
        ("delta(cgroup.usage)", "delta() takes a counter of vmstat, "),
    ],
)
def test_only_what_is_read_twice_has_growth(text: str, message: str) -> None:
    with pytest.raises(_rule_expression.ExpressionError) as caught:
        compiled(text, "cgroup")
    assert message in str(caught.value)


def test_rates_of_cgroups_are_what_the_window_samples() -> None:
    assert set(_rule_expression.SAMPLED_STAT) == _cgroupfs._SAMPLE_KEYS


def test_scope_remembers_what_was_named() -> None:
    names = scope()
    text = "has(meminfo.A) and facts.cpus > threshold.share * delta(vmstat.oom_kill) + knob('vm.swappiness') and facts.cpus > 1"
    _rule_expression.compile_expression(text, names)
    assert names.used_thresholds == {"share"}
    assert list(names.read) == ["facts.cpus", "delta(vmstat.oom_kill)", "vm.swappiness"]


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("-0.5", -0.5), ("90%", 0.9), ("2 GiB", 2 << 30), ("1e2", 100.0)])
def test_numbers(text: str, value: float) -> None:
    assert _rule_expression.parse_number(text) == value


@pytest.mark.parametrize("text", ["", "a", "5 5", "true", "facts.cpus", "5 GB", "nan", "inf", "infinity", "1 + 1", "'5'", "- -5", "9" * 5000])
def test_not_numbers(text: str) -> None:
    with pytest.raises(_rule_expression.ExpressionError):
        _rule_expression.parse_number(text)


WORDS = st.sampled_from(
    "facts.cpus node.free_bytes meminfo.A facts.psi facts.kernel threshold.share vmstat.oom_kill 5 5% 2GiB 'v2' true infinity and or not in"
    " + - * / == < ( ) [ ] , min( has( knob( delta( rate( matches( 'vm.swappiness'".split()
)


@given(st.lists(WORDS, max_size=25).map(" ".join) | st.text(max_size=40))
def test_any_text_compiles_or_says_why(text: str) -> None:
    """And what compiles is what the node accepts: the two halves agree on the format."""
    try:
        term = _rule_expression.compile_expression(text, scope())
    except _rule_expression.ExpressionError as exc:
        assert 0 <= exc.offset <= len(text)
        return
    _rules.prepare([{"id": "T1", "each": "node", "when": term.tree}])
