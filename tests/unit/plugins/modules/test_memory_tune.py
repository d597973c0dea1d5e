# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's body on a captured node, and that its options are the same wherever they stand: code, documentation, role."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.doc_fragments import _options
from ansible_collections.memqos.fleet.plugins.module_utils import _module, _tune, _tune_options, _undo
from ansible_collections.memqos.fleet.plugins.modules import memory_rollback, memory_tune
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles, _request

ROOT = Path(__file__).resolve().parents[4]
TREE = ROOT / "tests" / "unit" / "fixtures" / "trees" / "debian13-6.12-v2"
ROLE = ROOT / "roles" / "tune"
OPTIONS = {"on_conflict": "report", "fail_on_unsupported": False, "only": [], "allow": [], "sysctl_file": "zz-memqos.conf"}


def request(profile: t.Any, **options: t.Any) -> str:
    layers = _profiles.load_profiles(profile, search_paths=[], overrides={}).layers
    return _request.pack({"layers": layers, "options": {**OPTIONS, **options}, "wait": 0, "meta": {}, "keep": {"generations": 1, "since": ""}})


def test_a_check_of_a_captured_node() -> None:
    result = memory_tune.tune({"root": str(TREE), "check_mode": True, "request": request("balanced")})
    told = json.loads(result["tune"])
    assert (result["changed"], result["problem"]) == (told["changed"], told["problem"]) == (True, "")
    assert {row["name"]: row["status"] for row in told["results"]} == {
        "vm.watermark_scale_factor": "would_change", "vm.swappiness": "ok", "vm.vfs_cache_pressure": "ok", "vm.dirty_ratio": "ok",
        "vm.dirty_background_ratio": "ok", "vm.panic_on_oom": "ok",
    }  # fmt: skip


def test_what_is_refused_is_the_problem_and_the_whole_result() -> None:
    result = memory_tune.tune({"root": str(TREE), "check_mode": True, "request": request({"host": {"vm.min_free_kbytes": "512MiB"}})})
    assert result["problem"].startswith("nothing was written:\nvm.min_free_kbytes: 512 MiB is more than 5 % of memory")
    assert "memqos_allow_risks: [min_free_above_5_percent]" in result["problem"] and result["changed"] is False
    allowed = request({"host": {"vm.min_free_kbytes": "512MiB"}}, allow=["min_free_above_5_percent"])
    assert memory_tune.tune({"root": str(TREE), "check_mode": True, "request": allowed})["problem"] == ""


def test_a_captured_node_is_not_changed() -> None:
    with pytest.raises(_tune.TuneError, match="captured tree can only be checked"):
        memory_tune.tune({"root": str(TREE), "check_mode": False, "request": request("balanced")})


def test_without_the_action_plugin_there_is_no_request() -> None:
    with pytest.raises(_module.BadOption, match="action plugin"):
        memory_tune.tune({"root": str(TREE), "check_mode": True, "request": None})


@pytest.mark.parametrize(("module", "options"), [(memory_tune, _tune_options.TUNE), (memory_rollback, _tune_options.ROLLBACK)])
def test_the_module_takes_what_its_documentation_says(module: t.Any, options: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[t.Any] = []

    def run(spec: dict[str, t.Any], body: object, *, expected: tuple[type[Exception], ...]) -> None:
        ran.append((spec, body, expected))

    monkeypatch.setattr(_module, "run", run)
    module.main()
    ((spec, unused, expected),) = ran
    assert expected == _undo.FAILURES
    documentation = yaml.safe_load(Path(str(module.__file__)).with_suffix(".yml").read_text())["DOCUMENTATION"]
    assert "memqos.fleet._options.changing" in documentation["extends_documentation_fragment"]
    documented = {**documentation["options"], **yaml.safe_load(_options.ModuleDocFragment.CHANGING)["options"]}
    described = {name: {key: value for key, value in option.items() if key != "description"} for name, option in documented.items()}
    assert described == {**options, "request": {"type": "str"}}
    # no_log, or the node's syslog would hold every request.
    assert spec == {**options, "request": {"type": "str", "no_log": True}}


# The role hands every option on, with the same choices and defaults.

TASKS = [("main", "main", _tune_options.TUNE), ("rollback", "rollback", _tune_options.ROLLBACK), ("confirm", "confirm", _tune_options.CONFIRM)]


@pytest.mark.parametrize(("tasks", "entry", "options"), TASKS)
def test_the_role_has_the_same_options(tasks: str, entry: str, options: dict[str, t.Any]) -> None:
    (task,) = yaml.safe_load((ROLE / "tasks" / f"{tasks}.yml").read_text(encoding="utf-8"))
    handed = next(value for key, value in task.items() if key.startswith("memqos.fleet."))
    variables = {option: re.findall(r"\bmemqos_\w+", expression)[0] for option, expression in handed.items()}
    assert set(variables) == set(options)
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"][entry]["options"]
    assert set(specs) == set(variables.values())
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    for option, variable in variables.items():
        spec = specs[variable]
        for key in ("type", "elements", "choices"):
            assert spec.get(key) == options[option].get(key), (option, key)
        # Without these three something else decides: the node's last tune, all areas, the profiles.
        if option not in ("profile", "only", "selection"):
            assert spec["default"] == defaults[variable] == options[option]["default"], option


def test_tags_select_the_areas() -> None:
    areas = _tune_options.TUNE["only"]["choices"]
    (task,) = yaml.safe_load((ROLE / "tasks" / "main.yml").read_text(encoding="utf-8"))
    assert task["vars"]["areas"] == areas
    assert task["tags"] == [f"{{{{ {areas} | difference(ansible_skip_tags) or {areas} }}}}"]
    default = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))["memqos_only"]
    assert default == "{{ ansible_run_tags | intersect(['" + "', '".join(areas) + "']) }}"
