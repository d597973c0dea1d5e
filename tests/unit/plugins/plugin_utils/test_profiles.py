# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Profiles: what they come to, and what is wrong with them, with file, key and line, all of it at once."""

from __future__ import annotations

import importlib.util
import json
import os
import textwrap
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.memqos.fleet.plugins.module_utils import _guards, _wanted
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _texts
from ansible_collections.memqos.fleet.plugins.module_utils._steps import WriteStep
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).resolve().parents[4]
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "schemas" / "profile.json").read_text(encoding="utf-8")))
BUILT_IN = sorted(path.stem for path in Path(_profiles.BUILT_IN).glob("*.yml"))
MiB, GiB, TiB = 1 << 20, 1 << 30, 1 << 40


class Loader:
    """Writes profiles into a directory and loads them from there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, content: str | bytes) -> None:
        (self.directory / f"{name}.yml").write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())

    def __call__(self, names: t.Any, **overrides: t.Any) -> _profiles.Declaration:
        return _profiles.load_profiles(names, search_paths=[str(self.directory)], overrides=overrides)

    def problems(self, names: t.Any, **overrides: t.Any) -> list[str]:
        with pytest.raises(_profiles.ProfileError) as caught:
            self(names, **overrides)
        return [str(problem).replace(f"{self.directory}/", "") for problem in caught.value.problems]


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


# What the node gets

FORMS = [
    # as written, as shipped
    ("vm.swappiness: 10", {"value": 10}),
    ("vm.swappiness: '10'", {"value": "10"}),
    ("vm.swappiness: {value: 10, reason: because, source: https://example.org}", {"value": 10}),
    ("vm.swappiness: absent", {"absent": True}),
    ("vm.swappiness: {absent: true, reason: not here}", {"absent": True}),
    ("vm.swappiness: {raise_to: 10}", {"raise_to": 10}),
    ("vm.swappiness: {lower_to: 10}", {"lower_to": 10}),
    ("vm.min_free_kbytes: 64MiB", {"value": "64MiB"}),
    ("vm.min_free_kbytes: {of_memory: 0.5%}", {"of_memory": [5, 1000]}),
    ("vm.min_free_kbytes: {of_memory: 0.5%, min: 64MiB, max: 2GiB}", {"of_memory": [5, 1000], "min": 64 * MiB, "max": 2 * GiB}),
    ("vm.min_free_kbytes: {raise_to: {of_memory: 1%, max: 4G}}", {"raise_to": {"of_memory": [1, 100], "max": 4 * GiB}}),
    ("vm.min_free_kbytes: {raise_to: 64MiB}", {"raise_to": "64MiB"}),
    ("vm.watermark_scale_factor: {raise_to: {of_memory: 1.5%, max: 8GiB}}", {"raise_to": {"of_memory": [15, 1000], "max": 8 * GiB}}),
    ("transparent_hugepage/defrag: {lower_to: defer+madvise}", {"lower_to": "defer+madvise"}),
    ("vm.lowmem_reserve_ratio: [256, 256, 32]", {"value": [256, 256, 32]}),
    ("vm.lowmem_reserve_ratio: 256 256 32", {"value": "256 256 32"}),
    ("kernel.panic: -1", {"value": -1}),
    ("zswap/enabled: true", {"value": 1}),
    ("zswap/enabled: off", {"value": 0}),
    ("zswap/compressor: zstd", {"value": "zstd"}),
    ("lru_gen/enabled: '0x7'", {"value": "0x7"}),
    ("transparent_hugepage/enabled: madvise", {"value": "madvise"}),
    ("hugepages/hugepages-2048kB/nr_hugepages: {of_memory: 25%}", {"of_memory": [25, 100]}),
]


@pytest.mark.parametrize("written, shipped", FORMS)
def test_forms_of_a_value(load: Loader, written: str, shipped: dict[str, t.Any]) -> None:
    load.write("own", f"name: own\nhost:\n  {written}\n")
    (layer,) = load("own").layers
    assert list(layer["host"].values()) == [shipped]
    assert json.loads(json.dumps(layer)) == layer
    # The same in a variable, and for the schema.
    document = yaml.safe_load(f"host: {{{written}}}" if "{" not in written else f"host:\n  {written}")
    assert load([], **document).layers[0]["host"] == layer["host"]
    assert list(SCHEMA.iter_errors(document)) == []


def test_a_mask_may_be_hexadecimal(load: Loader) -> None:
    load.write("own", "name: own\nhost: {lru_gen/enabled: 0x7}\n")
    assert load("own").layers[0]["host"] == {"lru_gen/enabled": {"value": "0x7"}}


PROPERTIES = [
    ("MemoryHigh: 2G", {"value": "2G"}),
    ("MemoryHigh: max", {"value": "max"}),
    ("MemoryHigh: infinity", {"value": "infinity"}),
    ("MemoryHigh: {of_memory: 50%}", {"of_memory": [50, 100]}),
    ("OOMScoreAdjust: -500", {"value": -500}),
    ("ManagedOOMMemoryPressure: kill", {"value": "kill"}),
    # YAML reads on as true; here it is one of the words.
    ("MemoryPressureWatch: on", {"value": "on"}),
    ("MemoryPressureThresholdSec: 200ms", {"value": "200ms"}),
]


FILES_OF_CGROUPS = [
    # no property of systemd owns them
    ("memory.wmark_ratio: 95", {"value": 95}),
    ("memory.swappiness: 10", {"value": 10}),
    ("memory.swap.high: 1G", {"value": "1G"}),
]


@pytest.mark.parametrize("written, shipped", FILES_OF_CGROUPS)
def test_files_of_cgroups_stand_under_their_unit(load: Loader, written: str, shipped: dict[str, t.Any]) -> None:
    load.write("own", f"name: own\nslices:\n  batch.slice: {{{written}, MemoryHigh: 2G}}\n")
    (layer,) = load("own").layers
    assert layer["slices"]["batch.slice"] == {written.partition(":")[0]: shipped, "MemoryHigh": {"value": "2G"}}
    assert list(SCHEMA.iter_errors(yaml.safe_load((load.directory / "own.yml").read_text()))) == []


@pytest.mark.parametrize("written, shipped", PROPERTIES)
@pytest.mark.parametrize("unit", ["batch.slice", "user-.slice", "getty@.service", "system-serial\\x2dgetty.slice", "session-1.scope"])
def test_units(load: Loader, unit: str, written: str, shipped: dict[str, t.Any]) -> None:
    load.write("own", f"name: own\nslices:\n  {unit}:\n    {written}\n")
    assert list(load("own").layers[0]["slices"][unit].values()) == [shipped]
    document = yaml.safe_load((load.directory / "own.yml").read_text())
    assert list(SCHEMA.iter_errors(document)) == []


def test_extends_left_to_right_depth_first_each_once(load: Loader) -> None:
    for name, extends in {"base": "", "left": "[base]", "right": "[base]", "both": "[left, right]"}.items():
        load.write(name, f"name: {name}\nextends: {extends or '[]'}\nhost: {{vm.swappiness: 10}}\n")
    declaration = load(["both", "left"], host={"vm.swappiness": 5})
    assert declaration.names == ("both", "left")
    assert [layer["profile"] for layer in declaration.layers] == ["base", "left", "right", "both", "host variables"]


def test_an_inline_profile_extends_and_conditions(load: Loader) -> None:
    profile = {"extends": ["balanced"], "when": "facts.hierarchy == 'v2'", "host": {"vm.swappiness": 5}}
    declaration = load(profile)
    assert [layer["profile"] for layer in declaration.layers] == ["balanced", "inline"]
    assert declaration.layers[1]["when"] == ["==", ["name", "facts", "hierarchy"], "v2"]
    assert declaration.layers[1]["condition"] == profile["when"]
    assert [layer["profile"] for layer in load([{**profile, "name": "pool"}, "redis"]).layers] == ["balanced", "pool", "redis"]


def test_an_own_profile_replaces_a_built_in_one(load: Loader) -> None:
    load.write("balanced", "name: balanced\nhost: {vm.swappiness: 33}\n")
    assert load("redis").layers[0]["host"] == {"vm.swappiness": {"value": 33}}


def test_nothing_asked_is_nothing_wanted(load: Loader) -> None:
    assert load([]).layers == []
    assert load([], host={}, slices={}).layers == []


def test_what_a_profile_suits_stays_on_the_controller(load: Loader) -> None:
    content = "name: own\nsuits: {names: [envoy*, '*/envoy:*'], facts: [psi]}\nhost: {vm.swappiness: 10}\n"
    load.write("own", content)
    load.write("plain", "name: plain\nhost: {vm.swappiness: 10}\n")
    found = dict(_profiles.suits([str(load.directory)]))
    assert found["own"] == {"names": ["envoy*", "*/envoy:*"], "facts": ["psi"]}
    assert "plain" not in found and "balanced" not in found and found["redis"]["names"]
    assert set(load("own").layers[0]) == {"profile", "host", "slices"}
    assert list(SCHEMA.iter_errors(yaml.safe_load(content))) == []


def test_a_broken_profile_among_those_that_may_suit_is_named(load: Loader) -> None:
    load.write("own", "name: own\nsuits: {facts: [kublet]}\n")
    with pytest.raises(_profiles.ProfileError, match="there is no fact 'kublet'"):
        _profiles.suits([str(load.directory)])


def test_an_own_profile_suits_instead_of_the_built_in_one(load: Loader) -> None:
    load.write("redis", "name: redis\nsuits: {names: [cache*]}\n")
    assert dict(_profiles.suits([str(load.directory)]))["redis"] == {"names": ["cache*"]}


# Mistakes: each in a profile of its own; what is said of it; and whether the JSON Schema can see it.

MISTAKES = [
    ("host:\n  vm.swapiness: 10", "own.yml: host.vm.swapiness, line 3, column 17: there is no host knob 'vm.swapiness': did you mean 'vm.swappiness'?", False),
    ("host:\n  memory.high: 1G", "host.memory.high, line 3, column 16: is a setting of a memory cgroup", False),
    ("host:\n  MemoryHigh: 1G", "host.MemoryHigh, line 3, column 15: is a setting of a systemd unit: write it under slices", False),
    ("host:\n  vm.swappiness: 201", "line 3, column 18: 201 is refused; it takes 0..200 (count)", False),
    ("host:\n  vm.swappiness: {lower_to: 201}", "line 3, column 29: 201 is refused; it takes 0..200", False),
    ("host:\n  vm.watermark_scale_factor: 1.5%", "'1.5%' cannot be read as permyriad; it takes 1..3000 (permyriad)", False),
    ("host:\n  vm.min_free_kbytes: 64MB5", "'64MB5' cannot be read as kB", False),
    ("host:\n  vm.swappiness: 0o17", "cannot be read as count", False),
    ("host:\n  vm.swappiness: 010", "'010': write it as a plain decimal number", False),
    ("host:\n  vm.swappiness: 1_0", "'1_0': write it as a plain decimal number", False),
    ("host:\n  vm.swappiness: 1:30", "'1:30': write it as a plain decimal number", False),
    ("host:\n  vm.swappiness: 10.5", "'10.5': a whole number is expected here (count)", True),
    ("host:\n  vm.dirty_bytes: 1.5", "'1.5': a whole number is expected here (bytes; with a unit: 1.5GiB)", True),
    ("host:\n  vm.swappiness:", "host.vm.swappiness, line 3, column 17: has no value: write max for no limit", True),
    ("host:\n  vm.swappiness: yes", "YAML reads 'yes' as true; vm.swappiness takes a number (count)", False),
    (
        "host:\n  transparent_hugepage/enabled: on",
        "host.transparent_hugepage/enabled, line 3, column 33: YAML reads 'on' as true; transparent_hugepage/enabled takes one of always, madvise, never",
        False,
    ),
    ("host:\n  transparent_hugepage/enabled: allways", "'allways' is refused; it takes always, madvise, never", False),
    (
        "host:\n  transparent_hugepage/shmem_enabled: {raise_to: always}",
        "host.transparent_hugepage/shmem_enabled, line 3, column 50: raise_to needs a knob that is a number, or whose words go from never to always",
        False,
    ),
    (
        "slices:\n  user-.slice:\n    MemoryHigh: {lower_to: 4G}",
        "slices.user-.slice.MemoryHigh, line 4, column 17: user-.slice stands for many units, each with a value of its own: lower_to needs one unit",
        False,
    ),
    (
        "slices:\n  app@.service:\n    MemoryLow: {raise_to: {of_memory: 1%}}",
        "app@.service stands for many units, each with a value of its own: raise_to",
        False,
    ),
    ("host:\n  transparent_hugepage/enabled: {lower_to: defer}", "'defer' is refused; it takes always, madvise, never", False),
    ("host:\n  vm.watermark_boost_factor: {of_memory: 1%}", "vm.watermark_boost_factor is no amount of memory, but permyriad", False),
    ("host:\n  zswap/compressor: no", "YAML reads 'no' as false; zswap/compressor takes text in quotes", False),
    ('host:\n  zswap/compressor: "a\\nb"', "holds a control character", False),
    ("host:\n  vm.swappiness: [1, 2]", "line 3, column 18: one value is expected here", False),
    ("host:\n  vm.swappiness: {value: {a: 1}}", "one value is expected here", True),
    ("host:\n  vm.swappiness: {}", "one of value, of_memory, raise_to, lower_to, absent is expected here", True),
    ("host:\n  vm.swappiness: {value: 1, lower_to: 2}", "is expected here, not value and lower_to", True),
    ("host:\n  vm.swappiness: {value: 1, min: 2}", "min and max belong to of_memory", True),
    ("host:\n  vm.swappiness: {absent: false}", "'absent: true' is expected here", True),
    ("host:\n  vm.swappiness: {value: 1, reson: x}", "line 3, column 29: unknown key 'reson': did you mean 'reason'?", True),
    ("host:\n  vm.swappiness: {value: 1, reason: [x]}", "host.vm.swappiness.reason, line 3, column 37: text of at most 1000 characters", True),
    ("host:\n  vm.swappiness: {of_memory: 1%}", "vm.swappiness is no amount of memory, but count", False),
    ("host:\n  vm.nr_hugepages: {of_memory: 1%}", "vm.nr_hugepages is no amount of memory, but pages", False),
    ("host:\n  vm.min_free_kbytes: {of_memory: 64MiB}", "'64MiB' is not a share: write a percentage such as 0.5%", True),
    ("host:\n  vm.min_free_kbytes: {of_memory: 101%}", "a share is more than 0% and at most 100%", False),
    ("host:\n  vm.min_free_kbytes: {of_memory: 0%}", "a share is more than 0% and at most 100%", False),
    ("host:\n  vm.min_free_kbytes: {of_memory: 1%, min: 2G, max: 1G}", "line 3, column 44: min is more than max", False),
    ("host:\n  vm.min_free_kbytes: {of_memory: 1%, min: 5 parsecs}", "'5 parsecs' is not a size", True),
    ("host:\n  vm.min_free_kbytes: {raise_to: {value: 1}}", "a value, or of_memory with min and max, is expected after raise_to", True),
    ("host:\n  vm.drop_caches: 3", "is an action, not a state", False),
    ("host:\n  zram0/mem_limit: 1G", "is write-only: it could not be read back", False),
    ("host:\n  hugepages/hugepages-{size}kB/nr_hugepages: 1", "fill in what stands in braces", True),
    (
        "host:\n  vm.dirty_ratio: 10\n  vm.dirty_bytes: 1G",
        "host.vm.dirty_bytes, line 3, column 3: excludes vm.dirty_ratio, which stands here too",
        False,
    ),
    ("host: [vm.swappiness]", "host, line 2, column 7: a mapping ('name: value') is expected here", True),
    ("host: {vm.swappiness: 1, vm.swappiness: 2}", "host, line 2, column 26: 'vm.swappiness' stands here twice", None),
    ("hosts: {vm.swappiness: 1}", "own.yml: line 2, column 1: unknown key 'hosts': did you mean 'host'?", True),
    ("slices: {batch.slice: {MemoryHihg: 1G}}", "there is no memory property 'MemoryHihg' of units: did you mean 'MemoryHigh'?", False),
    ("slices: {batch.slice: {CPUWeight: 1}}", "there is no memory property 'CPUWeight' of units", False),
    ("slices: {batch.slice: {memory.high: 1G}}", "slices.batch.slice.memory.high, line 2, column 37: systemd writes this file: set MemoryHigh", False),
    ("slices: {batch.slice: {memory.limit_in_bytes: 1G}}", "there is no memory property 'memory.limit_in_bytes' of units", False),
    ("slices: {batch.slice: {memory.reclaim: 1G}}", "is an action, not a state", False),
    ("slices: {batch.slice: {memory.current: 1G}}", "there is no memory property 'memory.current' of units", False),
    ("slices: {batch.slice: {memory.wmark_ratio: 101}}", "101 is refused", False),
    ("suits: [redis]", "suits, line 2, column 8: a mapping", True),
    ("suits: {name: [redis*]}", "suits, line 2, column 9: unknown key 'name': did you mean 'names'?", True),
    ("suits: {names: redis*}", "suits.names, line 2, column 16: a list of names", True),
    ("suits: {names: [[redis*]]}", "suits.names, line 2, column 16: a list of names", True),
    ("suits: {facts: [kublet]}", "suits.facts, line 2, column 17: there is no fact 'kublet': did you mean 'kubelet'?", False),
    ("slices: {batch.slice: {MemoryHigh: 50%}}", "a share of memory is written {of_memory: 50%}", False),
    ("slices: {batch.slice: {EffectiveMemoryMax: 1G}}", "is read-only", False),
    ("slices: {batch.slice: {MemoryLimit: 1G}}", "slices.batch.slice.MemoryLimit, line 2, column 37: is deprecated, and no kernel file", False),
    ("slices: {batch.slice: {MemoryLimit: 1G}}", "of its own shows it: use MemoryMax", False),
    ("slices: {batch.slice: {OOMScoreAdjust: 1001}}", "1001 is refused; it takes -1000..1000", False),
    ("slices: {batch.slice: 1G}", "slices.batch.slice, line 2, column 23: a mapping", True),
    ("slices: {-.slice: {MemoryHigh: 1G}}", "slices.-.slice, line 2, column 19: the name of a slice", True),
    ("slices: {batch: {MemoryHigh: 1G}}", "the name of a slice", True),
    ("slices: {../../etc.slice: {MemoryHigh: 1G}}", "the name of a slice", True),
    ('slices: {"a\\nb.slice": {MemoryHigh: 1G}}', "the name of a slice", True),
    ("extends: balanced", "extends, line 2, column 10: a list of names", True),
    ("extends: [balance]", "extends, line 2, column 11: there is no profile 'balance': did you mean 'balanced'?", False),
    ("extends: [../x]", "'../x' is no name of a profile", True),
    ("extends: [own]", "extends, line 2, column 11: extends goes in a circle: own → own", False),
    ("when: facts.hierachy == 'v2'", "when, line 2, column 7: unknown name 'facts.hierachy': did you mean 'facts.hierarchy'?", False),
    ("when: >-\n  facts.psi\n  and facts.hierachy", "when, line 4, column 7: unknown name 'facts.hierachy'", False),
    ("when: meminfo.MemTotal > 1 GiB", "'meminfo.MemTotal' cannot be asked here: a condition names facts. and knob() only", False),
    ("when: rate(vmstat.pgfault) > 1", "'vmstat.pgfault' cannot be asked here", False),
    ("when: has(node.slab_bytes)", "'node.slab_bytes' cannot be asked here", False),
    ("when: knob('vm.swapiness') > 1", "there is no knob 'vm.swapiness'", False),
    ("when: knob('memory.high') > 1", "'memory.high' belongs to a memcg", False),
    ("when: facts.cpus", "a condition must be true or false, not number", False),
    ("when: [x]", "when, line 2, column 7: text of at most 4000 characters", True),
    ("summary: {a: 1}", "summary, line 2, column 10: text of at most 1000 characters", True),
    ("quos: {}", "unknown key 'quos': did you mean 'qos'?", True),
]


@pytest.mark.parametrize("body, said, schema_sees", MISTAKES, ids=[said[:60] for _body, said, _sees in MISTAKES])
def test_a_mistake_is_named_with_its_place(load: Loader, body: str, said: str, schema_sees: bool | None) -> None:
    content = f"name: own\n{body}\n"
    load.write("own", content)
    (problem,) = load.problems("own")
    assert said in problem
    assert problem.startswith("own.yml: ")
    if schema_sees is not None:
        assert bool(list(SCHEMA.iter_errors(yaml.safe_load(content)))) is schema_sees


FILES = [
    (b"host: {vm.swappiness: 1}\n", "own.yml: name, line 1, column 1: a file is named after its profile: 'own' is expected here"),
    (b"name: other\n", "own.yml: name, line 1, column 7: a file is named after its profile: 'own' is expected here"),
    (b"", "own.yml: is empty"),
    (b"- name: own\n", "own.yml: line 1, column 1: a mapping"),
    (b"name: own\nhost: {vm.swappiness: 1\n", "own.yml: line 3, column 1: is not YAML: did not find expected ',' or '}'"),
    (b"name: own\n---\nname: own\n", "is not YAML: but found another document"),
    (b"name: own\nhost: \xff\n", "own.yml: is not UTF-8 text"),
    (b"name: own\nhost: !vault abc\n", "own.yml: line 2, column 7: '!vault': YAML tags and merge keys are not allowed here"),
    (b"name: own\nhost: {<<: {vm.swappiness: 1}}\n", "'merge': YAML tags and merge keys are not allowed here"),
    (b"name: own\nsummary: &a x\nwhen: *a\n", "own.yml: line 3, column 7: YAML aliases are not allowed here"),
    (b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n", "YAML aliases are not allowed here"),
    (b"[\n" * 5000, "own.yml: line 21, column 1: is nested deeper than 20 levels"),
    (b"- " * 100000 + b"x", "own.yml: line 1, column 41: is nested deeper than 20 levels"),
    (b"name: own\n" + b"# filler\n" * 40000, "own.yml: is larger than 256 KiB"),
]


@pytest.mark.parametrize("content, said", FILES, ids=[said[:50] for _content, said in FILES])
def test_files_that_are_none(load: Loader, content: bytes, said: str) -> None:
    load.write("own", content)
    problems = load.problems("own")
    assert said in problems[0]


def test_a_file_that_cannot_be_read(load: Loader) -> None:
    (load.directory / "own.yml").mkdir()
    assert load.problems("own") == ["own.yml: cannot be read: Is a directory"]


def test_all_mistakes_are_collected(load: Loader) -> None:
    load.write("a", "name: a\nextends: [b, nowhere]\nhost:\n  vm.swapiness: 1\n  vm.swappiness: 999\nslices:\n  x.slice: {MemoryHigh: 5%}\n")
    load.write("b", "name: b\nextends: [a]\nhost: {kernel.panic: soon}\n")
    problems = load.problems(["a", "elsewhere", 7], host={"vm.swappiness": -1}, slices={"x.slice": {"MemoryLow": "lots"}})
    assert [problem.split(":")[0] for problem in problems] == [
        *["a.yml"] * 3, "b.yml", "b.yml", "a.yml", "memqos_profile", "memqos_profile", "memqos_host", "memqos_slices",
    ]  # fmt: skip
    assert "extends goes in a circle: a → b → a" in problems[4]


def test_the_message_ends(load: Loader) -> None:
    with pytest.raises(_profiles.ProfileError) as caught:
        load([], host={f"vm.x{number}": 1 for number in range(1000)})
    assert len(caught.value.problems) == 1000
    assert str(caught.value).splitlines()[-1] == "… and 950 more"


def test_an_unknown_profile_names_the_nearest(load: Loader) -> None:
    assert load.problems("rediss") == ["memqos_profile: there is no profile 'rediss': did you mean 'redis'?"]
    assert load.problems("../balanced")[0].startswith("memqos_profile: '../balanced' is no name of a profile")
    assert load.problems("balanced,redis")[0].endswith("""several on a command line are written -e '{"memqos_profile": [one, other]}'""")


@pytest.mark.parametrize("names", [None, 5, True, [["redis"]]])
def test_what_is_no_profile(load: Loader, names: t.Any) -> None:
    assert "the name of a profile, a profile (a mapping), or a list of them is expected here" in load.problems(names)[0]


VARIABLES = [
    ({"host": {"vm.swapiness": 1}}, "memqos_host: vm.swapiness: there is no host knob 'vm.swapiness': did you mean 'vm.swappiness'?"),
    ({"host": {"transparent_hugepage/enabled": True}}, "memqos_host: transparent_hugepage/enabled: YAML reads 'true' as true"),
    ({"host": {"vm.swappiness": None}}, "memqos_host: vm.swappiness: has no value"),
    ({"host": {"vm.swappiness": 10.0}}, "memqos_host: vm.swappiness: '10.0': a whole number"),
    ({"host": ["vm.swappiness"]}, "memqos_host: a mapping ('name: value') is expected here"),
    ({"host": "vm.swappiness=1"}, "memqos_host: a mapping ('name: value') is expected here"),
    ({"host": {5: 5}}, "memqos_host: 5: there is no host knob '5'"),
    ({"slices": {"batch.slice": {"MemoryHigh": "x"}}}, "memqos_slices: batch.slice.MemoryHigh: 'x' cannot be read as bytes or max"),
]


@pytest.mark.parametrize("overrides, said", VARIABLES)
def test_mistakes_in_variables(load: Loader, overrides: dict[str, t.Any], said: str) -> None:
    assert load.problems([], **overrides)[0].startswith(said)


def test_a_bottomless_variable(load: Loader) -> None:
    deep: dict[str, t.Any] = {}
    deep["host"] = deep
    assert load.problems(deep) == ["memqos_profile: is nested deeper than 20 levels"]


def test_an_inline_profile_says_its_variable(load: Loader) -> None:
    assert load.problems({"host": {"vm.swappiness": 999}})[0].startswith("memqos_profile: host.vm.swappiness: 999 is refused")
    assert "'auto' is no name for a profile" in load.problems({"name": "auto"})[0]


def test_a_search_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(_profiles.ProfileError, match="nowhere: is not a directory of profiles"):
        _profiles.load_profiles("redis", search_paths=[str(tmp_path / "nowhere")], overrides={})


# The built-in profiles


def own(name: str) -> _profiles.Profile:
    return _profiles.load_profiles(name, search_paths=[], overrides={}).profiles[-1]


def test_they_are_the_promised_ones() -> None:
    assert BUILT_IN == [
        "balanced",
        "batch",
        "colocated",
        "database",
        "elasticsearch",
        "kafka",
        "kubernetes_node",
        "latency_sensitive",
        "redis",
        "swap_readahead",
    ]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_value_has_a_reason_and_a_public_source(name: str) -> None:
    profile = own(name)
    assert profile.summary
    said: list[t.Any] = [*profile.values.values(), *profile.qos.values()]
    for stated in said:
        assert len(stated.reason) > 30
        assert stated.source.startswith("https://")
    assert list(SCHEMA.iter_errors(yaml.safe_load(Path(profile.file).read_text(encoding="utf-8")))) == []


# What a fresh node has: Debian 13's values, and the kernel's formula for min_free_kbytes.
def fresh(memtotal: int) -> dict[str, _wanted.Value]:
    return {
        "vm.swappiness": 60, "vm.dirty_ratio": 20, "vm.dirty_background_ratio": 10, "vm.dirty_bytes": 0, "vm.dirty_background_bytes": 0, "vm.panic_on_oom": 0,
        "vm.watermark_scale_factor": 10, "vm.vfs_cache_pressure": 100, "vm.max_map_count": 65530, "vm.zone_reclaim_mode": 0,
        "vm.overcommit_memory": 0, "kernel.panic": 0, "kernel.panic_on_oops": 0, "transparent_hugepage/enabled": "always", "vm.page-cluster": 3,
        "transparent_hugepage/defrag": "madvise", "vm.min_free_kbytes": min(262144, int((memtotal // 1024 * 16) ** 0.5)),
    }  # fmt: skip


def swapping(**other: t.Any) -> dict[str, t.Any]:
    """Facts of a node with swap on a disk."""
    return {"swap_total_bytes": GiB, "zram": False, "zswap_enabled": False, **other}


# Values that hurt; each profile has to take them back or leave them alone, never set them.
BAD_ADVICE: dict[str, t.Callable[[t.Any, int], bool]] = {
    "vm.swappiness": lambda value, _total: not 1 <= value <= 100,
    "vm.min_free_kbytes": lambda value, total: value * 1024 > total // 20,
    "vm.watermark_scale_factor": lambda value, _total: value > 400,
    "vm.vfs_cache_pressure": lambda value, _total: not 50 <= value <= 200,
    "vm.overcommit_memory": lambda value, _total: value == 2,
    "vm.panic_on_oom": lambda value, _total: value == 2,
    "vm.dirty_ratio": lambda value, _total: not 5 <= value <= 40,
    "vm.dirty_background_ratio": lambda value, _total: not 1 <= value <= 10,
    "vm.dirty_bytes": lambda value, total: value > total // 5 or value < 16 * MiB,
    "vm.dirty_background_bytes": lambda value, total: value > total // 10 or value < 4 * MiB,
    "vm.zone_reclaim_mode": lambda value, _total: value != 0,
    "vm.page-cluster": lambda value, _total: not 1 <= value <= 6,
    "transparent_hugepage/enabled": lambda value, _total: value == "never",
    "transparent_hugepage/defrag": lambda value, _total: value == "always",
    "MemoryHigh": lambda value, total: value < total // 4,
}


@pytest.mark.parametrize("memtotal", [512 * MiB, GiB, 64 * GiB, TiB, 24 * TiB])
@pytest.mark.parametrize("names", [*([name] for name in BUILT_IN), ["kubernetes_node", "colocated"], BUILT_IN], ids="+".join)
def test_they_are_safe_on_small_and_large_nodes(names: list[str], memtotal: int) -> None:
    layers = _profiles.load_profiles(names, search_paths=[], overrides={}).layers
    for kernel in ("5.4.0", "6.12.48"):
        env = {"facts": swapping(), "knob": {}}
        basis = _wanted.Basis(env=env, memtotal=memtotal, page_size=4096, kernel=kernel, live=fresh(memtotal), units={})
        folded = _wanted.fold(layers, basis)
        assert folded.refused == {}
        bad = [wanted for wanted in folded.wanted.values() if wanted.knob in BAD_ADVICE and BAD_ADVICE[wanted.knob](wanted.value, memtotal)]
        assert bad == []
        assert not [wanted for wanted in folded.wanted.values() if _registry.find(wanted.knob).vendor != "mainline"]
        assert refusals(folded, memtotal, kernel) == {}


def refusals(folded: _wanted.Folded, memtotal: int, kernel: str) -> t.Any:
    """What a fresh node would refuse of it, with units that do not run yet."""
    live = fresh(memtotal)
    meminfo = {"MemTotal": memtotal, "MemAvailable": memtotal // 2, "Committed_AS": memtotal // 2, "SwapTotal": 0, "Hugepagesize": 2 * MiB}
    hosts = [(_registry.find(wanted.knob), wanted.value) for wanted in folded.wanted.values() if not wanted.subject]
    steps = [
        WriteStep(knob.name, "host", "", knob.path, _texts.kernel_text(live[knob.name]), _texts.kernel_text(value))
        for knob, value in hosts
        if knob.name in live
    ]
    to_come = [_guards.ToCome(wanted.knob, wanted.subject, None, _texts.kernel_text(wanted.value)) for wanted in folded.wanted.values() if wanted.subject]
    return _guards.dangers(steps, _guards.Figures(meminfo, live, {}, "/sys/fs/cgroup", kernel=kernel), to_come)


def test_what_hurts_would_be_seen() -> None:
    worst = {"host": {"vm.min_free_kbytes": 1000, "vm.watermark_scale_factor": 401}, "slices": {"batch.slice": {"MemoryMax": "1M"}}}
    basis = _wanted.Basis(env={}, memtotal=GiB, page_size=4096, kernel="6.12", live=fresh(GiB), units={})
    folded = _wanted.fold(_profiles.load_profiles(worst, search_paths=[], overrides={}).layers, basis)
    assert {name for name, unused in refusals(folded, GiB, "6.12")} == {"vm.min_free_kbytes", "vm.watermark_scale_factor", "MemoryMax"}


def test_balanced_changes_a_fresh_node_in_one_place_only() -> None:
    live = fresh(16 * GiB)
    basis = _wanted.Basis(env={}, memtotal=16 * GiB, page_size=4096, kernel="6.12", live=live, units={})
    wanted = _wanted.fold(_profiles.load_profiles("balanced", search_paths=[], overrides={}).layers, basis).wanted
    assert {name: one.value for (_scope, _subject, name), one in wanted.items() if one.value != live[name]} == {"vm.watermark_scale_factor": 20}


# What somebody set tighter than a profile would.
TIGHT: dict[str, _wanted.Value] = {
    "transparent_hugepage/enabled": "never", "transparent_hugepage/defrag": "never", "vm.dirty_bytes": 64 * MiB, "vm.dirty_ratio": 0,
    "vm.dirty_background_bytes": 16 * MiB, "vm.dirty_background_ratio": 0, "vm.swappiness": 1, "vm.watermark_scale_factor": 300,
    "vm.min_free_kbytes": 8 << 20, "vm.max_map_count": 1 << 24, "vm.oom_dump_tasks": 0, "vm.page-cluster": 7,
}  # fmt: skip


@pytest.mark.parametrize("name", BUILT_IN)
def test_who_tuned_tighter_keeps_it(name: str) -> None:
    live = {**fresh(64 * GiB), **TIGHT}
    basis = _wanted.Basis(env={"facts": swapping()}, memtotal=64 * GiB, page_size=4096, kernel="6.12", live=live, units={})
    wanted = _wanted.fold(_profiles.load_profiles(name, search_paths=[], overrides={}).layers, basis).wanted
    moved = {knob: one.value for (_scope, _subject, knob), one in wanted.items() if knob in TIGHT and one.value != TIGHT[knob]}
    # What the profile is for.
    assert moved == ({"transparent_hugepage/enabled": "always"} if name == "batch" else {})


@pytest.mark.parametrize(
    ("other", "wanted"),
    [({}, 6), ({"swap_total_bytes": 0}, 3), ({"zram": True}, 3), ({"zswap_enabled": True}, 3)],
    ids=["a disk", "no swap", "zram", "zswap"],
)
def test_colocated_reads_more_at_once_from_a_disk_alone(other: dict[str, t.Any], wanted: int) -> None:
    live = fresh(GiB)
    basis = _wanted.Basis(env={"facts": swapping(**other)}, memtotal=GiB, page_size=4096, kernel="6.12", live=live, units={})
    folded = _wanted.fold(_profiles.load_profiles("colocated", search_paths=[], overrides={}).layers, basis).wanted
    found = folded.get(("host", "", "vm.page-cluster"))
    assert (found.value if found else live["vm.page-cluster"]) == wanted


def test_a_database_gets_bytes_for_the_kernels_percentages() -> None:
    for memtotal, ratio, wanted in ((512 * MiB, 20, 53686272), (64 * GiB, 20, 512 * MiB), (24 * TiB, 1, 512 * MiB), (GiB, 5, "nothing")):
        live = {**fresh(memtotal), "vm.dirty_ratio": ratio}
        basis = _wanted.Basis(env={}, memtotal=memtotal, page_size=4096, kernel="6.12", live=live, units={})
        folded = _wanted.fold(_profiles.load_profiles("database", search_paths=[], overrides={}).layers, basis).wanted
        found = folded.get(("host", "", "vm.dirty_bytes"))
        assert (found.value if found else "nothing") == wanted
        assert (("host", "", "vm.dirty_ratio") in folded) == (wanted == "nothing")


# The gap between two watermarks; kswapd goes on until two of them are free.
GAPS = [
    ("balanced", {512 * MiB: 20, 64 * GiB: 20, TiB: 19, 2 * TiB: 10, 24 * TiB: 10}),
    ("latency_sensitive", {512 * MiB: 100, 64 * GiB: 100, TiB: 39, 4 * TiB: 10, 24 * TiB: 10}),
    ("redis", {512 * MiB: 100, 64 * GiB: 100, TiB: 39, 4 * TiB: 10, 24 * TiB: 10}),
    ("colocated", {512 * MiB: 150, 64 * GiB: 150, TiB: 78, 4 * TiB: 19, 24 * TiB: 10}),
]


@pytest.mark.parametrize("name, factors", GAPS)
def test_watermarks_are_bounded_on_huge_nodes(name: str, factors: dict[int, int]) -> None:
    for memtotal, factor in factors.items():
        basis = _wanted.Basis(env={}, memtotal=memtotal, page_size=4096, kernel="6.12", live=fresh(memtotal), units={})
        folded = _wanted.fold(_profiles.load_profiles(name, search_paths=[], overrides={}).layers, basis)
        assert folded.wanted["host", "", "vm.watermark_scale_factor"].value == factor, memtotal


def test_their_page_in_the_docs_is_up_to_date() -> None:
    # Not an import: tests/tools is no package.
    spec = importlib.util.spec_from_file_location("make_profile_docs", os.path.join(ROOT, "tests", "tools", "make_profile_docs.py"))
    assert spec and spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page()
