# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every reading begins with: the same for a tune, which reads no more, as for an audit."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _node, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable

TREES = pathlib.Path(__file__).parents[2] / "fixtures" / "trees"
CAPTURED = sorted(path for path in TREES.iterdir() if (path / "sys/fs/cgroup").is_dir())


@pytest.mark.parametrize("root", CAPTURED, ids=lambda path: path.name)
def test_a_tune_knows_the_node_as_an_audit_does(root: pathlib.Path) -> None:
    tree = Tree(str(root))
    node, hierarchy = _node.read(_node.Reader(tree))
    snapshot = _snapshot.read(tree, window_seconds=0, monotonic=lambda: 0.0, sleep=lambda seconds: None)
    assert node["facts"] == {name: value for name, value in snapshot["facts"].items() if name not in ("kubelet", "container_runtimes")}
    assert node["facts"]["hierarchy"] == hierarchy.kind and node["facts"]["memory_version"] == hierarchy.version
    assert all(snapshot[part] == node[part] for part in ("meminfo", "vmstat", "zones", "pressure", "swaps", "numa"))
    assert node["details"].items() <= snapshot["details"].items()


def test_what_cannot_be_read_is_said_once_with_its_reason(tmp_path: pathlib.Path) -> None:
    shutil.copytree(CAPTURED[0], tmp_path / "node")
    (tmp_path / "node/proc/vmstat").unlink()
    reader = _node.Reader(Tree(str(tmp_path / "node")))
    node, _hierarchy = _node.read(reader)
    assert node["vmstat"] == {} and "/proc/vmstat" in node["unknown"]["vmstat"] and "vmstat" in reader.absent


def test_nothing_is_known_of_a_node_without_meminfo(tmp_path: pathlib.Path) -> None:
    with pytest.raises(Unreadable, match="meminfo"):
        _node.read(_node.Reader(Tree(str(tmp_path))))
