# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The operator's own machines, from a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab import inventory
from ansible_collections.memqos.fleet.tests.lab.machines import MACHINES, Disk, LabError, Machine, RealMachine


def rows(path: Path) -> list[inventory.Row]:
    return inventory.all_machines({"MEMQOS_LAB_MACHINES": str(path)})[len(MACHINES) :]


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "machines.json"
    path.write_text(json.dumps(content))
    return path


def test_without_a_file_the_labs_own() -> None:
    assert inventory.all_machines({}) == list(MACHINES)


def test_a_disk_and_a_real_machine_in_yaml(tmp_path: Path) -> None:
    for name in ("ours.qcow2", "vmlinuz"):
        (tmp_path / name).touch()
    path = tmp_path / "machines.yml"
    path.write_text(
        "- name: ours\n  disk: {path: ours.qcow2, kernel: vmlinuz}\n  memory_mib: 4096\n  user: admin\n"
        "- {name: small, suite: trixie, packages: [numactl]}\n- {name: node7, address: 192.0.2.7, user: admin}\n"
    )
    assert rows(path) == [
        Machine(name="ours", disk=Disk(path=tmp_path / "ours.qcow2", kernel=tmp_path / "vmlinuz"), memory_mib=4096, user="admin"),
        Machine(name="small", suite="trixie", packages=("numactl",)),
        RealMachine(name="node7", address="192.0.2.7", user="admin"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "is no list of machines"),
        ([{"address": "192.0.2.7"}], "is no list of machines, each with a name"),
        ([{"name": "a"}], "machine a needs one of suite, disk, address"),
        ([{"name": "a", "suite": "trixie", "address": "192.0.2.7"}], "machine a needs one of suite, disk, address"),
        ([{"name": "a", "suite": "trixie", "memory": 4}], "machine a: no field 'memory'; there are: name, suite, flavour,"),
        ([{"name": "a", "suite": "trixie", "memory_mib": "4G"}], "machine a: memory_mib is to be of type int, not '4G'"),
        ([{"name": "a", "suite": "trixie", "cpus": True}], "machine a: cpus is to be of type int, not True"),
        ([{"name": "a", "disk": "a.qcow2"}], "machine a: disk is to be of type dict"),
        ([{"name": "a", "disk": {"kernel": "vmlinuz"}}], "machine a: its disk needs a path"),
        ([{"name": "a", "disk": {"path": "a.qcow2"}}], "machine a: no file .*/a.qcow2"),
        ([{"name": "a", "address": "192.0.2.7", "cpus": 2}], "machine a: no field 'cpus'; there are: name, address, port, user, identity_file"),
        ([{"name": "debian13_v2", "suite": "trixie"}], "there is a machine of that name already: debian13_v2"),
    ],
)
def test_mistakes_are_explained(content: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=words):
        rows(written(tmp_path, content))


@pytest.mark.parametrize(("name", "text"), [("m.json", "[{"), ("m.yml", "- {"), ("m.yml", "a: b")])
def test_a_file_that_cannot_be_read(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(LabError, match=str(path)):
        rows(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="MEMQOS_LAB_MACHINES: .*No such file"):
        rows(tmp_path / "nowhere.yml")
