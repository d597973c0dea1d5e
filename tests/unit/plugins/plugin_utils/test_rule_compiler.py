# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rule files: what is wrong is said with file, rule, line and column, all of it at once."""

from __future__ import annotations

import json
import re
import textwrap
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.plugin_utils import _causes, _rule_compiler, _yaml_source

RULE = """\
- id: X1
  title: Few CPUs
  severity: warning
  each: node
  thresholds: {cpus: 4, share: 5%}
  applies: facts.psi
  when: facts.cpus < threshold.cpus and node.slab_bytes > threshold.share * node.memtotal_bytes
  expected: four CPUs
  why: because
  cure: {setting: vm.swappiness, value: 10, text: more CPUs, command: buy}
  references: [https://example.org/cpus]
"""


@pytest.fixture
def load(tmp_path: Path) -> t.Callable[..., _rule_compiler.RuleSet]:
    def run(*texts: str | bytes, thresholds: dict[str, dict[str, t.Any]] | None = None, drop: t.Collection[str] = ()) -> _rule_compiler.RuleSet:
        paths = []
        for number, text in enumerate(texts):
            path = tmp_path / f"{number}.yml"
            path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
            paths.append(str(path))
        return _rule_compiler.load_rules(paths, thresholds=thresholds or {}, drop=drop)

    return run


Load = t.Callable[..., _rule_compiler.RuleSet]


def problems(load: Load, *texts: str | bytes, **variables: t.Any) -> list[str]:
    with pytest.raises(_rule_compiler.RuleError) as caught:
        load(*texts, **variables)
    return [str(problem).rpartition("/")[2] for problem in caught.value.problems]


def rule(**keys: str) -> str:
    """A one-line rule with some keys changed; an empty value leaves the key out."""
    whole = {"id": "X1", "title": "t", "severity": "info", "each": "node", "when": "facts.psi", **keys}
    return "- {" + ", ".join(f"{key}: {value}" for key, value in whole.items() if value) + "}\n"


def test_a_rule(load: Load) -> None:
    ruleset = load(RULE)
    slab = [">", ["name", "node", "slab_bytes"], ["*", 0.05, ["name", "node", "memtotal_bytes"]]]
    assert json.loads(json.dumps(ruleset.compiled)) == [
        {
            "id": "X1",
            "each": "node",
            "applies": ["name", "facts", "psi"],
            "when": ["and", ["<", ["name", "facts", "cpus"], 4], slab],
            "observe": {
                "facts.cpus": ["name", "facts", "cpus"],
                "node.slab_bytes": ["name", "node", "slab_bytes"],
                "node.memtotal_bytes": ["name", "node", "memtotal_bytes"],
            },
        }
    ]
    assert ruleset.metadata == {
        "X1": {
            "title": "Few CPUs",
            "severity": "warning",
            "each": "node",
            "why": "because",
            "expected": "four CPUs",
            "cure": {"setting": "vm.swappiness", "value": 10, "text": "more CPUs", "command": "buy"},
            "references": ["https://example.org/cpus"],
            "because_of": [],
            "thresholds": {"cpus": 4, "share": 0.05},
        }
    }


def test_what_a_cure_applies_stays_as_it_is_written(load: Load) -> None:
    ruleset = load(
        """\
        - id: X1
          title: t
          severity: info
          each: cgroup
          when: facts.psi
          observe: {high: cgroup.high}
          cure:
            apply:
              MemoryHigh: {observed: high}
              MemoryLow: {of_memory: 1%, max: 2GiB}
              vm.swappiness: {raise_to: 1}
              zswap/enabled: on
              vm.lowmem_reserve_ratio: [256, 256, 32]
        """
    )
    assert ruleset.metadata["X1"]["cure"]["apply"] == {
        "MemoryHigh": {"observed": "high"},
        "MemoryLow": {"of_memory": "1%", "max": "2GiB"},
        "vm.swappiness": {"raise_to": 1},
        "zswap/enabled": True,
        "vm.lowmem_reserve_ratio": [256, 256, 32],
    }


def test_the_shortest_rule(load: Load) -> None:
    ruleset = load(rule(observe="{free: node.free_bytes}"))
    assert ruleset.compiled == [{"id": "X1", "each": "node", "when": ["name", "facts", "psi"], "observe": {"free": ["name", "node", "free_bytes"]}}]
    assert ruleset.metadata["X1"] == {
        "title": "t",
        "severity": "info",
        "each": "node",
        "why": "",
        "expected": "",
        "cure": {},
        "references": [],
        "because_of": [],
        "thresholds": {},
    }


def test_many_rules_are_not_deep(load: Load) -> None:
    assert len(load("".join(rule(id=f"X{number}") for number in range(100))).compiled) == 100


def test_later_files_replace(load: Load) -> None:
    ruleset = load(rule() + rule(id="X2"), rule(title="mine", when="not facts.psi"))
    assert [compiled["id"] for compiled in ruleset.compiled] == ["X1", "X2"]
    assert ruleset.metadata["X1"]["title"] == "mine"
    assert ruleset.compiled[0]["when"] == ["not", ["name", "facts", "psi"]]


def test_directories(tmp_path: Path) -> None:
    for name, identity in (("b.yml", "X1"), ("a.yaml", "X2"), ("c.txt", "X3"), (".hidden.yml", "X4")):
        (tmp_path / name).write_text(rule(id=identity))
    ruleset = _rule_compiler.load_rules([str(tmp_path)], thresholds={}, drop=[])
    assert list(ruleset.metadata) == ["X2", "X1"]


def test_drop(load: Load) -> None:
    ruleset = load(rule() + rule(id="X2", when="nonsense"), drop=["X2"], thresholds={"X2": {}})
    assert list(ruleset.metadata) == ["X1"]


@pytest.mark.parametrize(("given", "value"), [(5, 5), (0.5, 0.5), ("50%", 0.5), ("2 GiB", 2 << 30), ("-1", -1)])
def test_thresholds(load: Load, given: object, value: float) -> None:
    ruleset = load(RULE, thresholds={"X1": {"cpus": given}})
    assert ruleset.metadata["X1"]["thresholds"] == {"cpus": value, "share": 0.05}
    assert ruleset.compiled[0]["when"][1] == ["<", ["name", "facts", "cpus"], value]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"thresholds": {"X1": {"cpu": 5}}}, "memqos_thresholds: rule X1: unknown threshold 'cpu': did you mean 'cpus'?"),
        ({"thresholds": {"X2": {"cpus": 5}}}, "memqos_thresholds: there is no rule 'X2'"),
        ({"thresholds": {"X1": {"cpus": True}}}, "memqos_thresholds: rule X1: threshold 'cpus': 'True' is not a number: write 5, 0.5, 5% or 2 GiB"),
        ({"thresholds": {"X1": {"cpus": float("inf")}}}, "memqos_thresholds: rule X1: threshold 'cpus': 'inf' is not a number: write 5, 0.5, 5% or 2 GiB"),
        ({"thresholds": {"X11": {"cpus": 5}}}, "memqos_thresholds: there is no rule 'X11': did you mean 'X1'?"),
        ({"drop": ["N99"]}, "memqos_rules_drop: there is no rule 'N99'"),
    ],
)
def test_variables(load: Load, variables: dict[str, t.Any], message: str) -> None:
    assert problems(load, RULE, **variables) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rule(severity="warnin"), "line 1, column 32: severity 'warnin' is none of critical, warning, info: did you mean 'warning'?"),
        (rule(each="host"), "line 1, column 44: each 'host' is none of node, zone, numa_node, cgroup, container, pod, slice, service, setting"),
        (rule(wehn="true"), "line 1, column 67: unknown key 'wehn': did you mean 'when'?"),
        (rule(id="1X"), "line 1, column 8: id '1X': letters, digits, _ and -, a letter first, at most 64"),
        (rule(title="[1]"), "line 1, column 19: title is text"),
        (rule(title="''"), "line 1, column 20: title is text"),
        (rule(title=""), "line 1, column 3: 'title' is missing"),
        (rule(when="[1]"), "line 1, column 56: when is an expression"),
        (rule(when="facts.cpus"), "line 1, column 56: when is a condition: it must be true or false, not a number"),
        (rule(when="facts.psi and nod.x"), "line 1, column 70: unknown name 'nod.x'"),
        (rule(when="'facts.psi and nod.x'"), "line 1, column 71: unknown name 'nod.x'"),
        (rule(applies="nod.x"), "line 1, column 76: unknown name 'nod.x'"),
        (rule(observe="{x: nod.x}"), "line 1, column 80: unknown name 'nod.x'"),
        (rule(observe="[a]"), "line 1, column 76: a mapping ('name: value') is expected here"),
        (rule(thresholds="{a: 1}"), "line 1, column 79: threshold 'a' is never used"),
        (rule(thresholds="{a: x}"), "line 1, column 83: threshold 'a': 'x' is not a number: write 5, 0.5, 5% or 2 GiB"),
        (rule(thresholds="{a-b: 1}"), "line 1, column 85: threshold 'a-b': lower-case letters, digits and _"),
        (rule(thresholds="{a: 1, a: 2}"), "line 1, column 86: 'a' stands here twice"),
        (rule(cure="{txt: x}"), "line 1, column 74: unknown key 'txt': did you mean 'text'?"),
        (
            rule(cure="{apply: {vm.swapiness: 1}}"),
            "line 1, column 96: cure apply 'vm.swapiness': there is no knob 'vm.swapiness'; nearest: vm.swappiness, memory.swappiness",
        ),
        (rule(cure="{apply: {vm.swappiness: lots}}"), "line 1, column 97: cure apply 'vm.swappiness': 'lots' cannot be read as count; it takes 0..200 (count)"),
        (rule(cure="{apply: {vm.drop_caches: 1}}"), "line 1, column 98: cure apply 'vm.drop_caches': is an action, not a state"),
        (
            rule(cure="{apply: {vm.swappiness: {raise_to: 1, lower_to: 2}}}"),
            "line 1, column 97: cure apply 'vm.swappiness': one of value, of_memory, raise_to, lower_to, absent is expected here, not raise_to and lower_to",
        ),
        (rule(cure="{apply: {MemoryHigh: 1G}}"), "line 1, column 94: cure apply 'MemoryHigh' is set for a unit, and this rule is for each node"),
        (
            rule(cure="{apply: {vm.swappiness: {observed: free}}}", observe="{fre: node.free_bytes}"),
            "line 1, column 97: cure apply 'vm.swappiness': observed is alone, and a name under 'observe': did you mean 'fre'?",
        ),
        (rule(references="https://example.org"), "line 1, column 79: references is a list of addresses"),
        (rule(references="['javascript:alert(1)']"), "line 1, column 81: a reference is an http or https address"),
        (rule(when='knob("vm.swapiness") == 1'), "line 1, column 61: unknown knob 'vm.swapiness': did you mean 'vm.swappiness'?"),
        (rule(when="knob('memory.high') == 1"), "line 1, column 61: 'memory.high' belongs to a memcg: knob() reads what the host has once"),
        (rule() + rule(), "line 2, column 8: the id 'X1' is used twice in this file"),
    ],
)
def test_mistakes_have_their_place(load: Load, text: str, message: str) -> None:
    (problem,) = problems(load, text)
    identity = "1X" if "id '1X'" in message else "X1"
    assert problem == f"0.yml: rule {identity}, {message}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("when: >-\n    facts.psi\n    and  nod.x\n", (7, 10)),
        ("when: |\n\n    facts.psi and\n     nod.x\n", (8, 6)),
        ("when: |\n    nod.x\n", (6, 5)),
        ("when: facts.psi\n    and facts.psi and\n    nod.x\n", (7, 5)),
        ('when: "facts.psi and\n    nod.x"\n', (6, 5)),
        ("when: 'facts.kernel == ''nod.x'' and nod.x'\n", (5, 40)),
        ("when: facts.psi and\n", (5, 22)),
    ],
)
def test_places_in_folded_text(load: Load, text: str, place: tuple[int, int]) -> None:
    head = "- id: X1\n  title: t\n  severity: info\n  each: node\n  "
    with pytest.raises(_rule_compiler.RuleError) as caught:
        load(head + text)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == place


def test_all_mistakes_at_once(load: Load) -> None:
    found = problems(load, rule(when="nod.x") + rule(id="X2", severity="bad") + "- text\n", rule(id="X3", when="1 +"), "a: b\n")
    assert [problem.partition(":")[0] for problem in found] == ["0.yml", "0.yml", "2.yml", "0.yml", "1.yml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b\n", "line 1, column 1: a rule file is a list: '- id: …'"),
        ("- text\n", "line 1, column 3: a rule is a mapping: 'id: …'"),
        ("- [\n", "line 2, column 1: is not YAML: did not find expected node content"),
        ("- a: b\n c: d\n", "line 2, column 2: is not YAML: did not find expected '-' indicator"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"- \x00", "is not YAML: "),
        (b"#" * 1_048_577, "is larger than 1024 KiB"),
        ("- &a {id: x}\n- *a\n", "line 2, column 3: YAML aliases are not allowed here: write the value out"),
        ("- &a [*a]\n", "line 1, column 7: YAML aliases are not allowed here: write the value out"),
        ("[\n" * 100_000, "line 21, column 1: is nested deeper than 20 levels"),
        ("- " * 100_000, "line 1, column 41: is nested deeper than 20 levels"),
        ("- id: a\n---\n- id: b\n", "line 2, column 1: is not YAML: but found another document"),
    ],
)
def test_not_a_rule_file(load: Load, text: str | bytes, message: str) -> None:
    (problem,) = problems(load, text)
    assert problem.startswith("0.yml: " + message)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[]\n", "---\n"])
def test_no_rules(load: Load, text: str) -> None:
    assert load(text).compiled == []


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(_rule_compiler.RuleError, match=r"gone.yml: cannot be read: No such file or directory"):
        _rule_compiler.load_rules([str(tmp_path / "gone.yml")], thresholds={}, drop=[])


def test_the_same_without_libyaml(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = load(RULE)
    message = problems(load, rule(when="facts.psi and nod.x"))
    monkeypatch.setattr(_yaml_source, "_LOADER", yaml.SafeLoader)
    assert load(RULE) == compiled
    assert problems(load, rule(when="facts.psi and nod.x")) == message


@pytest.fixture
def known(tmp_path: Path) -> t.Mapping[str, _rule_compiler.Draft]:
    path = tmp_path / "known.yml"
    path.write_text(RULE + rule(id="X2"), encoding="utf-8")
    return _rule_compiler.read_rules([str(path)])


def test_known_rules_come_before_the_files_and_are_replaced_by_them(known: t.Mapping[str, _rule_compiler.Draft], tmp_path: Path) -> None:
    path = tmp_path / "own.yml"
    path.write_text(rule(title="mine") + rule(id="X3"), encoding="utf-8")
    ruleset = _rule_compiler.load_rules([str(path)], thresholds={}, drop=["X2"], known=known)
    assert [(id_, row["title"]) for id_, row in ruleset.metadata.items()] == [("X1", "mine"), ("X3", "t")]
    assert list(_rule_compiler.load_rules([], thresholds={}, drop=[], known=known).metadata) == ["X1", "X2"]


def test_known_rules_are_compiled_once_for_the_same_thresholds(known: t.Mapping[str, _rule_compiler.Draft], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(cpus: int) -> list[dict[str, t.Any]]:
        return _rule_compiler.load_rules([], thresholds={"X1": {"cpus": cpus}}, drop=[], known=known).compiled

    compiled: list[str] = []
    original = _rule_compiler._rule_expression.compile_expression

    def noted(text: str, scope: t.Any) -> t.Any:
        compiled.append(text)
        return original(text, scope)

    first = [load(4), load(9)]
    monkeypatch.setattr(_rule_compiler._rule_expression, "compile_expression", noted)
    assert [load(4), load(9)] == first and first[0] != first[1] and compiled == []
    assert load(5) not in first and compiled == ["facts.psi", "facts.cpus < threshold.cpus and node.slab_bytes > threshold.share * node.memtotal_bytes"]


def test_a_known_rule_with_a_mistake_is_a_mistake_of_every_load(tmp_path: Path) -> None:
    path = tmp_path / "known.yml"
    path.write_text(rule(when="facts.pse"), encoding="utf-8")
    known = _rule_compiler.read_rules([str(path)])
    for unused in range(2):
        with pytest.raises(_rule_compiler.RuleError, match=r"known\.yml: rule X1, line 1, column \d+: .*facts\.psi") as caught:
            _rule_compiler.load_rules([], thresholds={}, drop=[], known=known)
        assert len(caught.value.problems) == 1


def test_what_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(_rule_compiler.RuleError, match="cannot be read"):
        _rule_compiler.read_rules([str(tmp_path / "nothing.yml")])


CAUSES = """- {id: A, title: a, severity: info, each: node, when: facts.psi, because_of: [B]}
- {id: B, title: b, severity: info, each: node, when: facts.psi, because_of: [C]}
- {id: C, title: c, severity: info, each: node, when: facts.psi}
"""


def test_causes_are_rules_that_do_not_explain_themselves(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(CAUSES)
    ruleset = _rule_compiler.load_rules([str(path)], thresholds={}, drop=["C"])
    assert {rule: sorted(_causes.causes(rule, ruleset.metadata)) for rule in "AB"} == {"A": ["B", "C"], "B": ["C"]}
    assert _causes.explained(["A", "C"], {**ruleset.metadata, "C": {}}) == {"A": ["C"], "C": []}
    for old, new, message in (
        ("[C]", "[X9]", "rule B, line 2, column 78: because_of: there is no rule 'X9'"),
        ("[C]", "[A]", "rule A, line 1, column 78: because_of: A would explain itself"),
        ("[C]", "C", "rule B, line 2, column 78: because_of is a list of ids of rules"),
    ):
        path.write_text(CAUSES.replace(old, new))
        with pytest.raises(_rule_compiler.RuleError, match=re.escape(message)):
            _rule_compiler.load_rules([str(path)], thresholds={}, drop=[])


def test_rules_for_settings_stay_on_the_controller(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(
        "- {id: S1, title: s, severity: info, each: setting, when: setting.drift}\n- {id: S2, title: s, severity: info, each: node, when: facts.psi}\n"
    )
    ruleset = _rule_compiler.load_rules([str(path)], thresholds={}, drop=[])
    assert [[rule["id"] for rule in rules] for rules in (ruleset.compiled, ruleset.on_controller)] == [["S2"], ["S1"]]
    for condition, where in (
        ("node.stranded_bytes > 5 * meminfo.MemTotal", 1),
        ("node.allocatable_bytes > 5 and facts.psi and knob('vm.swappiness') > 5", 1), ("node.workloads > 5", 0),
        ("node.allocatable_bytes > 5 and delta(vmstat.oom_kill) > 0", 0),  # which the controller does not have
    ):  # fmt: skip
        path.write_text(f'- {{id: S3, title: s, severity: info, each: node, when: "{condition}"}}\n')
        ruleset = _rule_compiler.load_rules([str(path)], thresholds={}, drop=[])
        assert [len(ruleset.compiled), len(ruleset.on_controller)] == [1 - where, where], condition
    path.write_text("- {id: S4, title: s, severity: info, each: node, when: node.stranded_bytes > vmstat.oom_kill}\n")
    with pytest.raises(_rule_compiler.RuleError, match="node.stranded_bytes is known on the controller: .* reads besides only facts, knob, meminfo, node"):
        _rule_compiler.load_rules([str(path)], thresholds={}, drop=[])
    path.write_text(
        "- {id: S1, title: s, severity: info, each: setting, when: setting.drift}\n- {id: S2, title: s, severity: info, each: node, when: facts.psi}\n"
    )
    path.write_text(path.read_text().replace("facts.psi", "setting.drift"))
    with pytest.raises(_rule_compiler.RuleError, match="'setting.drift' is not there for each: node; write each: setting"):
        _rule_compiler.load_rules([str(path)], thresholds={}, drop=[])
