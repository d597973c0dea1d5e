# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller reads of what a node sent what a tune reads on the node itself."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _values
from ansible_collections.memqos.fleet.plugins.module_utils._read import _gather, _persisted
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.plugins.plugin_utils import _gathered
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils._read.test_persisted import CONFLICTS, PROBLEMS, WINNERS, made

TREES = pathlib.Path(__file__).parents[2] / "fixtures" / "trees"
CASES: dict[str, dict[str, str]] = {
    "words of the command line": {"/proc/cmdline": "BOOT_IMAGE=/vmlinuz psi=1 zswap.enabled=1 hugepages=4 sysctl.vm.swappiness=1 root=/dev/sda1\n"},
    **{name: files for name, (_knob, files, _expected) in WINNERS.items()},
    **{name: files for name, (_knob, files, _words) in PROBLEMS.items()},
    **{name: files for name, (_knob, _file, files, _expected) in CONFLICTS.items()},
}

# A kubelet's configuration that is where nobody looks: the audit says so (test_settings.py).
del CASES["kubelet that protects"]


def sent(tree: Tree, **node: t.Any) -> _gathered.GatheredTree:
    """Over the wire and back."""
    gathered = json.loads(json.dumps(_gather.gather(tree, _gathered.WANTED)))
    return _gathered.tree({"gathered": gathered, "node": {"meminfo": {}, "knobs": {}, **node}})


@pytest.mark.parametrize("name", CASES)
def test_the_same_settings_as_on_the_node(tmp_path: pathlib.Path, name: str) -> None:
    tree = made(tmp_path, CASES[name])
    there = _persisted.read_persisted(tree, page_size=4096)
    here = _persisted.read_persisted(sent(tree, meminfo={"Hugepagesize": 2 << 20}), page_size=4096)
    assert (here.settings, here.tuned_profile, here.boot, here.writers) == (there.settings, there.tuned_profile, there.boot, there.writers)


@pytest.mark.parametrize("tree", sorted(TREES.iterdir()), ids=lambda path: path.name)
def test_captured_nodes(tree: pathlib.Path) -> None:
    there = _persisted.read_persisted(Tree(str(tree)), page_size=4096)
    here = _persisted.read_persisted(sent(Tree(str(tree))), page_size=4096)
    assert (here.settings, here.boot, here.writers, here.kubelet) == (there.settings, there.boot, there.writers, there.kubelet)


def test_every_word_of_the_command_line_that_is_read_leaves(tmp_path: pathlib.Path) -> None:
    modules = [f"{knob.path.split('/')[3]}.{knob.path.split('/')[5]}" for knob in _registry.host_knobs() if knob.path.startswith("/sys/module/")]
    sysctls = [f"sysctl.{knob.name}" for knob in _registry.host_knobs() if knob.path.startswith("/proc/sys/")]
    others = ["hugepagesz", "hugepages", "oops", "default_hugepagesz", "--"]
    words = [*_persisted._BOOT_KNOBS, *_persisted._BOOT_OTHERS, *modules, *sysctls, *others]
    words += [f"sysctl.{word[7:].replace('_', '-').replace('.', '/')}=1" for word in sysctls] + [f"{word.replace('_', '-')}=1" for word in modules]
    words += ["transparent-hugepage=never", "numa-balancing=disable"]
    found = _gather.gather(made(tmp_path, {"/proc/cmdline": " ".join(words)}), _gathered.WANTED)
    assert found["sources"]["/proc/cmdline"].split(" ") == words and len(words) > 150


@pytest.mark.parametrize("knob", [knob for knob in _registry.host_knobs() if knob.persist != "never"], ids=lambda knob: knob.name)
def test_a_line_for_any_knob_leaves(tmp_path: pathlib.Path, knob: t.Any) -> None:
    path = knob.path.replace("{size}", "2048").replace("{n}", "0")
    sysctl = path.startswith("/proc/sys/")
    name = path.removeprefix("/proc/sys/").replace("/", ".")
    files = {"/etc/tmpfiles.d/a.conf": f"w! {path} - - - - 1", "/etc/tuned/a/tuned.conf": f"[sysctl]\n{name} = 1" if sysctl else f"[sysfs]\n{path}=1"}
    files.update({"/etc/sysctl.d/a.conf": f"{name}=1"} if sysctl else {})
    assert _gather.gather(made(tmp_path, files), _gathered.WANTED)["sources"] == files


def test_what_was_refused_is_a_problem() -> None:
    audit = {"gathered": {"sources": {}, "troubles": {"/etc/sysctl.d/a.conf": "needs root"}}, "node": {"meminfo": {}, "knobs": {}}}
    assert _persisted.read_persisted(_gathered.tree(audit), page_size=4096).problems == ["/etc/sysctl.d/a.conf: needs root"]


@pytest.mark.parametrize("gathered", [{"sources": {"/a": 5}}, {"links": {"/a": None}}, {"troubles": {"/a": ["x"]}}])
def test_another_shape_is_refused(gathered: t.Any) -> None:
    with pytest.raises(TypeError, match="is not text"):
        _gathered.tree({"gathered": gathered, "node": {"meminfo": {}, "knobs": {}}})


def test_a_forked_process_compiles_no_pattern_of_the_registry() -> None:
    _values.compiled.cache_clear()
    _gathered.compile_patterns()
    before = _values.compiled.cache_info().misses

    tree = sent(Tree(str(TREES / "debian12-6.1-v2")), knobs={row.name.replace("{size}", "2048").replace("{n}", "0"): 0 for row in _registry.host_knobs()})
    _persisted.read_persisted(tree, page_size=4096)

    assert _values.compiled.cache_info().misses == before
    assert _values.compiled.cache_info().hits > 0
