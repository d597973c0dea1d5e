# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""As a playbook calls it, and as its documentation says."""

from __future__ import annotations

import inspect
import json
import pathlib
import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.memqos.fleet.plugins.filter import memcg_values as plugin
from ansible_collections.memqos.fleet.plugins.plugin_utils import _memcg_values
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_pods import container, pod

ROOT = pathlib.Path(__file__).parents[4]
memcg_values = plugin.FilterModule().filters()["memcg_values"]


def test_values_are_text_by_file_by_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(plugin.display, "warning", warnings.append)
    found = memcg_values({"kind": "List", "items": [pod(container("main", "1Gi")), 5]}, node={"allocatable": 2**31})
    assert {type(value) for files in found.values() for value in (files, *files.values())} == {dict, str}
    assert warnings == ["memqos.fleet.memcg_values: item 1 is left out: it is not a pod"]


@pytest.mark.parametrize(
    ("pods", "arguments", "message"),
    [
        (5, {"node": {"allocatable": 1}}, "a list of pods is expected"),
        ([5], {"node": {"allocatable": 1}}, "none of 1 pods"),
        ([], {"node": {}}, "node.allocatable is missing"),
    ],
)
def test_mistakes_are_errors_of_the_filter(pods: t.Any, arguments: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"memqos.fleet.memcg_values: {message}"):
        memcg_values(pods, **arguments)


def test_it_is_documented() -> None:
    loaded = yaml.safe_load((ROOT / "plugins/filter/memcg_values.yml").read_text(encoding="utf-8"))
    options = loaded["DOCUMENTATION"]["options"]
    parameters = inspect.signature(memcg_values).parameters
    assert ["_input", *list(parameters)[1:]] == list(options)
    assert {name: parameter.default for name, parameter in parameters.items() if parameter.default not in (None, parameter.empty)} == {
        name: option["default"] for name, option in options.items() if "default" in option
    }
    known = (*_memcg_values._SIZES, *_memcg_values._NAMES)
    assert set(options["node"]["suboptions"]) == set(known)
    assert {name: tuple(option["choices"]) for name, option in options["node"]["suboptions"].items() if "choices" in option} == _memcg_values._CHOICES
    assert [task["name"] for task in yaml.safe_load(loaded["EXAMPLES"])]


def test_the_guide_s_example_gives_what_the_guide_says() -> None:
    guide = (ROOT / "docs/qos.md").read_text(encoding="utf-8")
    (play,) = yaml.safe_load(guide.split("```yaml\n")[1].split("```")[0])
    (task,) = play["tasks"]
    assert task["ansible.builtin.debug"]["msg"] == "{{ pods | memqos.fleet.memcg_values(node=node, model='kubelet', kubelet=kubelet) }}"
    found = memcg_values(play["vars"]["pods"], node=play["vars"]["node"], model="kubelet", kubelet=play["vars"]["kubelet"])
    assert found == json.loads(guide.split("```json\n")[1].split("```")[0])
    strategy = {"lsClass": {"memoryQOS": {"enable": True, "lowLimitPercent": 60}}}
    (files,) = (files for path, files in memcg_values(play["vars"]["pods"], node=play["vars"]["node"], strategy=strategy).items() if path.endswith(".scope"))
    assert {file: value for file, value in files.items() if value != "0"} == {
        "memory.low": "2576980377",
        "memory.high": "max",
        "memory.wmark_ratio": "95",
        "memory.wmark_scale_factor": "20",
        "memory.wmark_min_adj": "-25",
    }
