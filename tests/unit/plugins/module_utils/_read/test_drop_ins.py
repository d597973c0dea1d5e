# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which drop-ins apply to a unit: by file name across all directories, one file name once."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._read import _drop_ins, _systemd
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree


def tree(root: Path, files: t.Mapping[str, str]) -> Tree:
    for path, content in files.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return Tree(str(root))


@pytest.mark.parametrize(
    ("unit", "names"),
    [
        ("ssh.service", ["ssh.service", "service"]),
        ("user-1000.slice", ["user-1000.slice", "user-.slice", "slice"]),
        ("user@1000.service", ["user@1000.service", "user@.service", "service"]),
        ("a-b-c.slice", ["a-b-c.slice", "a-b-.slice", "a-.slice", "slice"]),
        ("a-b@c-d.service", ["a-b@c-d.service", "a-b@.service", "a-.service", "a-@.service", "service"]),
        ("-.slice", ["-.slice", "slice"]),
    ],
)
def test_names_of_drop_in_directories(unit: str, names: list[str]) -> None:
    assert _drop_ins.drop_in_names(unit) == names


@pytest.mark.parametrize(
    ("files", "applied"),
    [
        # the file name decides the order, not the directory
        (
            ["/etc/systemd/system.control/a-b.slice.d/50-x.conf", "/usr/lib/systemd/system/a-b.slice.d/90-y.conf", "/etc/systemd/system/a-.slice.d/10-z.conf"],
            [2, 0, 1],
        ),
        # one name: the first of the search path has it alone
        (["/etc/systemd/system/a-b.slice.d/m.conf", "/run/systemd/system/a-b.slice.d/m.conf", "/run/systemd/system.control/a-b.slice.d/m.conf"], [2]),
        # the search path comes before the more special name
        (["/etc/systemd/system/slice.d/m.conf", "/usr/lib/systemd/system/a-b.slice.d/m.conf"], [0]),
        (["/etc/systemd/system/slice.d/m.conf", "/etc/systemd/system/a-b.slice.d/m.conf"], [1]),
        # not for this unit, not a drop-in
        (
            [
                "/etc/systemd/system/b.slice.d/m.conf",
                "/etc/systemd/system/a-b.slice.d/m.txt",
                "/etc/systemd/system/a-b.slice.wants/m.conf",
                "/etc/systemd/system/a-b.service.d/m.conf",
            ],
            [],
        ),
    ],
)
def test_drop_ins_of_a_unit(tmp_path: Path, files: list[str], applied: list[int]) -> None:
    found = _systemd.read_drop_ins(tree(tmp_path, {path: f"[Slice]\nMemoryMax={place}\n" for place, path in enumerate(files)}))
    assert [drop_in["lines"]["MemoryMax"] for drop_in in _drop_ins.drop_ins_of("a-b.slice", found)] == [str(place) for place in applied]


def test_a_units_own_drop_in_comes_before_its_types(tmp_path: Path) -> None:
    """Whatever the alphabet says."""
    paths = ["/etc/systemd/system/service.d/m.conf", "/etc/systemd/system/ssh.service.d/m.conf"]
    found = _systemd.read_drop_ins(tree(tmp_path, dict.fromkeys(paths, "[Service]\nMemoryMax=1G\n")))
    assert [drop_in["path"] for drop_in in _drop_ins.drop_ins_of("ssh.service", found)] == paths[1:]


def test_drop_ins_of_other_names_apply_too(tmp_path: Path) -> None:
    paths = ["/etc/systemd/system/redis.service.d/x.conf", "/etc/systemd/system/service.d/m.conf", "/etc/systemd/system/redis-server.service.d/m.conf"]
    found = _systemd.read_drop_ins(tree(tmp_path, dict.fromkeys(paths, "[Service]\nMemoryMax=1G\n")))
    applied = _drop_ins.drop_ins_of("redis-server.service", found, ["redis-server.service", "redis.service"])
    assert {drop_in["path"] for drop_in in applied} == {paths[0], paths[2]}
