# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What leaves a node of its files of settings: the lines that were asked for, and no others."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._read import _gather
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.plugins.plugin_utils import _gathered
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils._read.test_persisted import made


def test_only_lines_of_memory_leave_and_they_keep_their_numbers(tmp_path: pathlib.Path) -> None:
    text = "# vm.swappiness = 1\nnet.core.somaxconn = 9\nvm.swappiness = 10\n\n-vm/laptop_mode\nfs.file-max = 7\n*.x = 1\n"
    found = _gather.gather(made(tmp_path, {"/etc/sysctl.d/a.conf": text, "/etc/sysctl.d/b.conf": "net.x = 1\n"}), _gathered.WANTED)
    # A file without such a line still hides others of its name.
    assert found["sources"] == {"/etc/sysctl.d/a.conf": "\n\nvm.swappiness = 10\n\n-vm/laptop_mode\n\n*.x = 1", "/etc/sysctl.d/b.conf": ""}


def test_links_are_told_and_each_file_is_sent_once(tmp_path: pathlib.Path) -> None:
    tree = made(tmp_path, {
        "/etc/sysctl.conf": "vm.swappiness = 10\n", "/etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf", "/etc/sysctl.d/50.conf": "->/dev/null",
        "/usr/lib/sysctl.d/50.conf": "vm.laptop_mode = 1\n", "/lib": "->usr/lib",
    })  # fmt: skip
    found = _gather.gather(tree, _gathered.WANTED)
    assert found["links"] == {"/etc/sysctl.d/99-sysctl.conf": "/etc/sysctl.conf", "/etc/sysctl.d/50.conf": "/dev/null"}
    assert found["sources"] == {"/etc/sysctl.conf": "vm.swappiness = 10", "/dev/null": "", "/usr/lib/sysctl.d/50.conf": "vm.laptop_mode = 1"}


def test_of_a_command_line_no_secret_leaves(tmp_path: pathlib.Path) -> None:
    tree = made(tmp_path, {
        "/proc/7/comm": "k3s-server\n", "/proc/7/cmdline": "k3s\0server\0--token=SECRET\0--config=/etc/k.yaml\0--node-label\0SECRET\0",
        "/proc/8/comm": "sshd\n", "/proc/8/cmdline": "sshd\0", "/proc/cmdline": "quiet rd.luks.key=SECRET psi=1 root=SECRET\n",
        "/etc/cron.d/clean": "PASSWORD=SECRET\n#echo 1 > /proc/sys/vm/drop_caches\n0 3 * * * root echo 3 > /proc/sys/vm/drop_caches\n",
        "/etc/cron.d/other": "SECRET\n",
    })  # fmt: skip
    found = _gather.gather(tree, _gathered.WANTED)["sources"]
    assert found["/proc/7/cmdline"].split("\0") == ["", "", "", "--config=/etc/k.yaml"] and "/proc/8/comm" not in found
    assert found["/proc/cmdline"].split() == ["psi=1"]
    assert found["/etc/cron.d/clean"].strip().startswith("0 3") and "/etc/cron.d/other" not in found
    assert "SECRET" not in json.dumps(found)


def test_what_cannot_be_read_has_its_reason(tmp_path: pathlib.Path) -> None:
    # A link to itself, which root cannot read either.
    found = _gather.gather(made(tmp_path, {"/etc/sysctl.d/a.conf": "->a.conf"}), _gathered.WANTED)
    assert found["sources"] == {} and "symbolic links" in found["troubles"]["/etc/sysctl.d/a.conf"]


APPLIED: list[tuple[dict[str, str], t.Any]] = [
    ({}, None),
    ({"2.json": '{"meta": {"profiles": ["old"]}}', "10.json": '{"meta": {"profiles": ["redis"]}}', "x.json": "", "11.json.new": "{"},
     {"generation": 10, "profiles": ["redis"]}),
]  # fmt: skip


@pytest.mark.parametrize(("files", "applied"), APPLIED)
def test_the_last_generation(tmp_path: pathlib.Path, files: dict[str, str], applied: t.Any) -> None:
    assert _gather.read_applied(made(tmp_path, {f"/var/lib/memqos/generations/{name}": text for name, text in files.items()})) == applied


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"meta": 5}', '{"meta": {}}'])
def test_a_damaged_generation_is_said(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(Unreadable, match="cannot be read"):
        _gather.read_applied(made(tmp_path, {"/var/lib/memqos/generations/1.json": text}))
