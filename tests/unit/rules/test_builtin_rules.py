# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every built-in rule fires, passes and is unknown in its fixture beside this file; RULE.yml maps a case to an environment.

A case is named for what it proves: fires…, passes…, unknown…, not_applicable…. Its keys: env, previous, window, window_seconds, observed.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.module_utils import _diagnosis, _rules, _snapshot, _wanted
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._read import _files
from ansible_collections.memqos.fleet.plugins.plugin_utils import _gathered, _profiles, _rule_compiler, _rule_expression

HERE = Path(__file__).parent
RULES = HERE.parents[2] / "roles" / "audit" / "vars" / "rules"
TREES = HERE.parent / "fixtures" / "trees"
PAGE = HERE.parents[2] / "docs" / "rules.md"
REQUIRED = ("fires", "passes", "unknown")
STATUS = {"fires": "fail", "passes": "pass", "unknown": "unknown", "not": "not_applicable"}
# Unit properties and boot options that a cure may name; everything else is a knob of the registry.
PROPERTIES = {"MemoryMax", "MemoryHigh", "MemoryLow", "MemoryMin", "psi"}

RULESET = _rule_compiler.load_rules([str(RULES)], thresholds={}, drop=[])
WANTED = _registry.wanted()._replace(files=_gathered.WANTED)
COMPILED = [*RULESET.compiled, *RULESET.on_controller]
PREPARED = {rule.id: rule for rule in _rules.prepare(json.loads(json.dumps(COMPILED)))}


def fixture(rule: str) -> dict[str, t.Any]:
    path = HERE / f"{rule}.yml"
    return t.cast("dict[str, t.Any]", yaml.safe_load(path.read_text())) if path.exists() else {}


CASES = [(rule, name) for rule in PREPARED for name in fixture(rule)]


def judge(rule: _rules.Prepared, case: t.Mapping[str, t.Any]) -> _rules.Outcome:
    counters = _rules.Counters(
        uptime=86400.0, previous=case.get("previous"), elapsed=3600.0, window=case.get("window"), window_seconds=case.get("window_seconds")
    )
    return _rules.evaluate(rule, case["env"], counters)


@pytest.mark.parametrize("rule", list(PREPARED))
def test_has_all_three_fixtures(rule: str) -> None:
    missing = [name for name in REQUIRED if name not in fixture(rule)]
    assert not missing, f"tests/unit/rules/{rule}.yml lacks {', '.join(missing)}"


def test_no_fixture_without_rule() -> None:
    assert {path.stem for path in HERE.glob("*.yml")} == set(PREPARED)


@pytest.mark.parametrize(("rule", "name"), CASES)
def test_case(rule: str, name: str) -> None:
    case = fixture(rule)[name]
    outcome = judge(PREPARED[rule], case)
    assert outcome.status == STATUS[name.split("_")[0]], outcome
    if "observed" in case:
        assert outcome.observed == case["observed"]
    if outcome.status == "unknown":
        assert outcome.reason


@pytest.mark.parametrize("rule", list(PREPARED))
def test_firing_case_proves_every_observation(rule: str) -> None:
    """An observation that is misspelled in an open namespace would be missing in silence."""
    case = fixture(rule)["fires"]
    assert "observed" in case
    compiled = next(compiled for compiled in COMPILED if compiled["id"] == rule)
    # dying bytes are not known on every hierarchy; N40's first case is one of those.
    assert set(compiled["observe"]) - set(case["observed"]) <= {"at_least_dying_bytes"}


@pytest.mark.parametrize("rule", list(PREPARED))
def test_an_empty_node_has_no_finding(rule: str) -> None:
    """What rests on numbers that are not there is unknown, never a fail or a pass."""
    assert judge(PREPARED[rule], {"env": {}}).status in ("unknown", "not_applicable")


@pytest.mark.parametrize("rule", list(RULESET.metadata))
def test_tells_what_to_do(rule: str) -> None:
    metadata = RULESET.metadata[rule]
    for key in ("title", "why", "expected", "cure", "references"):
        assert metadata[key], key
    assert {"text", "command"} <= set(metadata["cure"])
    assert 100 < len(metadata["why"]) < 600
    setting = metadata["cure"].get("setting")
    if setting is not None and setting not in PROPERTIES:
        assert _registry.find(setting)
        assert "value" in metadata["cure"]


TUNE = re.compile(r"-i \S+|--limit \S+|-e memqos_profile=\S+|--check --diff")
# What is right depends on the size of the node or of the cgroup, or on what is set already.
SIZED = PROPERTIES - {"psi"} | {"vm.min_free_kbytes", "vm.watermark_scale_factor", "vm.overcommit_ratio", "vm.compaction_proactiveness", "vm.nr_hugepages"}


@pytest.mark.parametrize("rule", list(RULESET.metadata))
def test_a_cure_that_depends_on_the_node_has_no_number_to_copy(rule: str) -> None:
    cure = RULESET.metadata[rule]["cure"]
    if cure.get("setting") in SIZED:
        assert isinstance(cure["value"], str)
        if cure["command"].startswith(("sysctl", "systemctl")):
            assert set(re.findall(r"=(\S+)", cure["command"])) == {"VALUE"}


@pytest.mark.parametrize("rule", list(RULESET.metadata))
def test_a_tune_that_a_cure_names_is_of_this_host_and_its_profiles_and_shows_first(rule: str) -> None:
    """As it stands it would be of the whole inventory; without a profile C(balanced) takes the place of what the node has, with one of its own so does that."""
    command = RULESET.metadata[rule]["cure"]["command"]
    if "memqos.fleet.tune" in command:
        assert {"-i INVENTORY", "--limit HOST", "-e memqos_profile=PROFILE", "--check --diff"} <= set(TUNE.findall(command))
        assert "PROFILE" in RULESET.metadata[rule]["cure"]["text"]


# What decides these is measured (rates, stalls), not only set, or is a fact, or of a cgroup.
MEASURED = {"N02", "N03", "N04", "N12", "N13", "N30", "N47", "N32", "C02", "C21", "C22"}
APPLIED = [rule for rule, metadata in RULESET.metadata.items() if "apply" in metadata["cure"]]


@pytest.mark.parametrize("rule", [rule for rule in APPLIED if rule not in MEASURED])
def test_what_a_cure_applies_ends_the_finding(rule: str) -> None:
    case = fixture(rule)["fires"]
    env, live = case["env"], case["env"].get("knob", {})
    layers = _profiles.load_profiles({"host": RULESET.metadata[rule]["cure"]["apply"]}, search_paths=[], overrides={}).layers
    basis = _wanted.Basis(env, env.get("node", {}).get("memtotal_bytes", 8 << 30), 4096, "6.12.0", live, {})
    folded = _wanted.fold(layers, basis)
    assert not folded.refused
    set_to = {name: wanted.value for (_scope, _subject, name), wanted in folded.wanted.items()}
    assert judge(PREPARED[rule], {**case, "env": {**env, "knob": {**live, **set_to}}}).status == "pass"


def test_thresholds_can_be_tuned() -> None:
    """Ids and names of thresholds are an interface: users write them in memqos_thresholds."""
    case = fixture("N03")["fires"]
    ruleset = _rule_compiler.load_rules([str(RULES)], thresholds={"N03": {"allocstall_per_second": 50}}, drop=[])
    (rule,) = (rule for rule in _rules.prepare(ruleset.compiled) if rule.id == "N03")
    assert judge(rule, case).status == "pass"


def test_the_page_says_what_the_rules_say() -> None:
    spec = importlib.util.spec_from_file_location("make_rule_docs", HERE.parents[1] / "tools" / "make_rule_docs.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = PAGE.read_text(encoding="utf-8")
    assert tool.page(page) == page, "run tests/tools/make_rule_docs.py"
    assert tool.pages() == {path.name: path.read_text(encoding="utf-8") for path in tool.PAGES.iterdir()}, "run tests/tools/make_rule_docs.py"


def test_the_page_s_example_is_a_rule(tmp_path: Path) -> None:
    example = next(block for block in PAGE.read_text(encoding="utf-8").split("```") if block.startswith("yaml\n- id: "))
    path = tmp_path / "shop.yml"
    path.write_text(example.removeprefix("yaml\n"))
    assert list(_rule_compiler.load_rules([str(path)], thresholds={}, drop=[]).metadata) == ["S01"]
    path.write_text(path.read_text().replace("cgroup.limit}", "cgroup.limt}"))
    with pytest.raises(_rule_compiler.RuleError, match="did you mean 'cgroup.limit'"):
        _rule_compiler.load_rules([str(path)], thresholds={}, drop=[])


def snapshot(tree: Path) -> t.Any:
    return _snapshot.read(_files.Tree(str(tree)), window_seconds=0.0, monotonic=lambda: 0.0, sleep=lambda _seconds: None, wanted=WANTED)


@pytest.mark.parametrize("tree", ["debian12-6.1-v1", "debian12-6.1-v2", "debian13-6.12-v2"])
def test_an_idle_node_has_no_finding_above_info(tree: str) -> None:
    """Captured from machines at rest with their distribution's defaults: whatever a rule says there is a false alarm."""
    result = _diagnosis.diagnose(snapshot(TREES / tree), rules=RULESET.compiled, previous=None, top=5)
    alarms = {finding["rule"] for finding in result["findings"] if finding["status"] == "fail" and RULESET.metadata[finding["rule"]]["severity"] != "info"}
    # Tasks were killed there on purpose, for the OOM history's tests.
    assert alarms <= {"N01", "C01"}, result["findings"]
    # Not by being blind: all but rates can be decided.
    undecided = {rule for rule, count in result["rules"].items() if count["unknown"]}
    assert undecided <= {"N03", "N04"}


def test_a_v1_controller_beside_v2_switches_no_rule_off(tmp_path: Path) -> None:
    """One mounted v1 controller makes the node hybrid; its memory is on v2 as before."""
    tree = tmp_path / "tree"
    shutil.copytree(TREES / "debian13-6.12-v2", tree, symlinks=True)
    for mountinfo in tree.glob("proc/*/mountinfo"):
        mountinfo.write_text(mountinfo.read_text() + "99 32 0:52 / /run/net_cls rw,relatime shared:99 - cgroup net_cls rw,net_cls\n")
    whole, hybrid = snapshot(TREES / "debian13-6.12-v2"), snapshot(tree)
    assert (whole["facts"]["hierarchy"], hybrid["facts"]["hierarchy"]) == ("v2", "hybrid")
    counts = [_diagnosis.diagnose(node, rules=RULESET.compiled, previous=None, top=5)["rules"] for node in (whole, hybrid)]
    assert counts[0] == counts[1]
    assert counts[1]["C13"]["passed"] and counts[1]["C13N"]["passed"]


# Names that no captured tree has, and why. None of them may be here for want of a producer.
NOT_CAPTURED = {
    "cgroup.image": "from the state files of containerd, CRI-O or Docker; the captured pods have only the names that kubelet leaves",
    "cgroup.program": "no captured machine runs one of the programs whose advice differs",
    "cgroup.growth": "needs a second reading, which a captured tree does not have",
    "node.stranded_bytes": "the controller's, by the peaks that it remembers: tests/unit/plugins/plugin_utils/test_overcommit.py",
    "node.stranded_workloads": "as stranded_bytes",
    "cgroup.refaults": "needs a second reading, which a captured tree does not have",
}


def produced(advertised: t.Mapping[str, list[str]]) -> set[str]:
    """Names for which C(has) is true of some subject of some captured tree."""
    rules = [{"id": name, "each": _rule_expression.SUBJECTS.get(keys[0], ("node",))[0], "when": ["has", *keys]} for name, keys in advertised.items()]
    names: set[str] = set()
    for path in TREES.iterdir():
        counts = _diagnosis.diagnose(snapshot(path), rules=rules, previous=None, top=1)["rules"]
        names |= {name for name, count in counts.items() if count["failed"]}
    return names


def test_every_advertised_name_is_produced() -> None:
    """A name that nothing fills compiles and leaves its rule unknown on every node."""
    # A setting's names are the controller's: tests/unit/plugins/plugin_utils/test_controller_rules.py.
    nodes = {space: known for space, known in _rule_expression.CLOSED.items() if space != "setting"}
    advertised = {f"{space}.{name}": [space, name] for space, known in nodes.items() for name in known}
    assert set(advertised) - produced(advertised) == set(NOT_CAPTURED)
