# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A NodeSLO → a strategy, host knobs and workloads; and every mistake in one."""

from __future__ import annotations

import json
import re
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _tune_options
from ansible_collections.memqos.fleet.plugins.plugin_utils import _node_slo, _profiles, _qos_request

DEFAULTS = {name: option.get("default") for name, option in _tune_options.TUNE.items()}
STRATEGY = {"lsClass": {"memoryQOS": {"enable": True, "lowLimitPercent": 60}}}
SPEC: dict[str, t.Any] = {
    "resourceQOSStrategy": STRATEGY,
    "systemStrategy": {"minFreeKbytesFactor": 100, "watermarkScaleFactor": 150, "memcgReapBackGround": 1, "totalNetworkBandwidth": "0"},
    "hostApplications": [
        {"name": "nginx", "priority": "koord-prod", "qos": "LS"},
        {"name": "backup", "qos": "BE", "cgroupPath": {"base": "CgroupRoot", "parentDir": "/offline/", "relativePath": "backup"}},
        {"name": "spark", "qos": "BE", "cgroupPath": {"base": "KubepodsBesteffort", "relativePath": "yarn"}},
        {"name": "agent"},
    ],
    "cpuBurstStrategy": {"policy": "none"},
}
OBJECT = {"apiVersion": "slo.koordinator.sh/v1alpha1", "kind": "NodeSLO", "metadata": {"name": "n1"}, "spec": SPEC}


def spread(**options: t.Any) -> _node_slo.Spread:
    return _node_slo.spread({**DEFAULTS, **options})


@pytest.mark.parametrize("given", [OBJECT, SPEC, json.dumps(OBJECT)])
def test_an_object_its_spec_and_its_text_are_the_same(given: object) -> None:
    slo = _node_slo.read(given)
    assert slo.strategy == STRATEGY
    assert slo.host == {
        "vm.min_free_kbytes": {"of_memory": "1.00%", "max": "10GiB"}, "vm.watermark_scale_factor": 150, "memcg_reaper/reap_background": 1,
    }  # fmt: skip


def test_applications_of_the_host_are_where_koordlet_has_them() -> None:
    """pkg/koordlet/util/host_application.go. One without a class is any process of the host."""
    assert [(one["match"], one["qos_class"]) for one in _node_slo.read(SPEC).workloads] == [
        ("/host-latency-sensitive/nginx", "LS"), ("/offline/backup", "BE"),
        ("/kubepods.slice/kubepods-besteffort.slice/yarn", "BE"), ("/kubepods/besteffort/yarn", "BE"),
    ]  # fmt: skip


def test_host_knobs_are_values_of_a_profile() -> None:
    """Each is known, and of a kind that its knob takes."""
    (one,) = _profiles.load_profiles([spread(node_slo=SPEC, qos_model="koordinator").profile], search_paths=[], overrides={}).profiles
    assert one.name == "node_slo" and {knob for unused_, knob in one.values} == set(_node_slo.read(SPEC).host)


def test_strategies_count_for_their_model_and_applications_for_all() -> None:
    mine = [{"match": "/host-latency-sensitive/nginx", "request": "4Gi"}]
    options, profile, notes = spread(node_slo=OBJECT, qos_model="koordinator", workloads=mine)
    assert notes == ("node_slo: its hostApplications are left alone, as koordlet leaves them",)
    assert options["qos_strategy"] == STRATEGY and profile and profile["host"]["vm.watermark_scale_factor"] == 150
    # What the inventory says comes after it.
    assert options["workloads"][-1] == mine[0] and len(options["workloads"]) == 5
    options, profile, notes = spread(node_slo=OBJECT)
    assert notes == ("node_slo: its resourceQOSStrategy and systemStrategy count with qos_model=koordinator only, and qos_model is profile",)
    assert profile is None and not options["qos_strategy"] and len(options["workloads"]) == 4
    assert [one["qos_class"] for one in _qos_request.told(options, [{"qos": {"LS": {}}}], "n1").request["declared"]] == ["LS", "BE", "BE", "BE"]


def test_without_one_nothing_is_other_than_before() -> None:
    assert spread(qos_model="koordinator", qos_strategy=STRATEGY) == ({**DEFAULTS, "qos_model": "koordinator", "qos_strategy": STRATEGY}, None, ())
    assert spread(node_slo={"hostApplications": []}).notes == ()
    assert _node_slo.read({"spec": {}}) == _node_slo.NodeSlo(None, {}, [])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([3], "node_slo is [3]: a mapping"),
        ("{", "node_slo is no JSON"),
        ("[" * 100000, "node_slo is no JSON"),
        ({"kind": "Node", "spec": {}}, "node_slo is a 'Node': a NodeSLO is expected"),
        ({"lsClass": {}}, "node_slo has none of resourceQOSStrategy, systemStrategy, hostApplications"),
        ({"spec": 3}, "node_slo.spec is 3: a mapping"),
        ({"resourceQOSStrategy": []}, "node_slo.resourceQOSStrategy is []: a mapping"),
        ({"systemStrategy": {"watermarkScaleFactor": 9}}, "watermarkScaleFactor is 9: a whole number from 10 to 400"),
        ({"systemStrategy": {"minFreeKbytesFactor": True}}, "minFreeKbytesFactor is True: a whole number from 1 to 10000"),
        ({"systemStrategy": {"memcgReapBackGround": "1"}}, "memcgReapBackGround is '1': a whole number from 0 to 1"),
        ({"hostApplications": {"name": "x"}}, "node_slo.hostApplications is {'name': 'x'}: a list"),
        ({"hostApplications": ["x"]}, "node_slo.hostApplications[0] is 'x': a mapping"),
        ({"hostApplications": [{"name": "x", "qos": "ls"}]}, "hostApplications[0].qos is 'ls': one of LSE, LSR, LS, BE, SYSTEM"),
        ({"hostApplications": [{"qos": "LS"}]}, "hostApplications[0] names no cgroup: name is expected"),
        ({"hostApplications": [{"qos": "LS", "name": "../../system.slice"}]}, "hostApplications[0].name is '../../system.slice': the path of a cgroup"),
        ({"hostApplications": [{"qos": "LS", "name": "*"}]}, "hostApplications[0].name is '*'"),
        ({"hostApplications": [{"qos": "LS", "cgroupPath": {"base": "Kubepods"}}]}, "names no cgroup: cgroupPath.relativePath is expected"),
        ({"hostApplications": [{"qos": "LS", "cgroupPath": {"base": "Root", "relativePath": "x"}}]}, "cgroupPath.base is 'Root': one of CgroupRoot, Kubepods"),
    ],
)  # fmt: skip
def test_mistakes(given: object, words: str) -> None:
    for model in ("profile", "koordinator"):
        with pytest.raises(_qos_request.QosError, match=re.escape(words)):
            spread(node_slo=given, qos_model=model)


def test_two_strategies_are_one_too_many() -> None:
    with pytest.raises(_qos_request.QosError, match="one of them is expected"):
        spread(node_slo=SPEC, qos_model="koordinator", qos_strategy=STRATEGY)
    spread(node_slo={"systemStrategy": {}}, qos_model="koordinator", qos_strategy=STRATEGY)
