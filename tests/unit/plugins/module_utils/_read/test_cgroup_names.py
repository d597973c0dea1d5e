# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cgroups without figures are those of a walk."""

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._read import _cgroup_names, _cgroupfs, _procfs
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import cgroup_trees


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shape", ["kubepods", "deep"])
def test_names_are_those_of_a_walk(tmp_path: Path, version: int, shape: t.Any) -> None:
    cgroup_trees.make_tree(tmp_path, 60, version=version, shape=shape)
    tree = Tree(str(tmp_path))
    hierarchy = _cgroupfs.detect(tree, _procfs.parse_mountinfo(tree.read("/proc/self/mountinfo")))
    top, plain = Path(f"{tmp_path}{hierarchy.memory}"), "no-memory"
    for bare in (top / plain, top / plain / "below"):  # without the controller on v2, garbled on v1
        bare.mkdir()
        if version == 1:
            (bare / "memory.limit_in_bytes").write_text("many\n", encoding="ascii")
            (bare / "memory.usage_in_bytes").write_text("4096\n", encoding="ascii")
    keys = ("path", "parent", "inode", "limit")
    walked = [{key: one[key] for key in keys if key in one} for one in t.cast("list[dict[str, t.Any]]", _cgroupfs.walk(tree, hierarchy)[0])]
    found = t.cast("list[dict[str, t.Any]]", _cgroup_names.read(tree, hierarchy))
    assert found[0] == {"path": "/", "inode": top.stat().st_ino} and found[1:] == walked[1:]
    assert any(one["path"].startswith(f"/{plain}") for one in found) is (version == 1)


def test_names_of_what_goes_meanwhile_and_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup_trees.make_tree(tmp_path, 30)
    tree, hierarchy = Tree(str(tmp_path)), _cgroupfs.Hierarchy("v2", "/sys/fs/cgroup", 2)
    assert _cgroup_names.read(tree, hierarchy._replace(memory=None)) == _cgroup_names.read(tree, hierarchy._replace(memory="/none")) == []
    every = [one["path"] for one in _cgroup_names.read(tree, hierarchy)]
    real, before = os.open, len(os.listdir("/proc/self/fd"))

    def opening(path: t.Any, *arguments: t.Any, **more: t.Any) -> int:
        if path == "kubepods-besteffort.slice":
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", opening)
    below = "/kubepods.slice/kubepods-besteffort.slice/"
    assert [one["path"] for one in _cgroup_names.read(tree, hierarchy)] == [path for path in every if not path.startswith(below)] != every
    assert len(os.listdir("/proc/self/fd")) == before
