# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cache, and a lab without virtual machines."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab import images, snapshots, vms
from ansible_collections.memqos.fleet.tests.lab.common import Cache
from ansible_collections.memqos.fleet.tests.lab.machines import Machine
from ansible_collections.memqos.fleet.tests.unit.lab.fake_lab import Lab

# Bash, for the process is to be named as QEMU is.
QEMU = """#!/bin/bash
case $1 in --version) echo "QEMU emulator version 1"; exit ;; esac
exec -a qemu-system-x86_64 {python} {directory}/qemu.py "$@"
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("MEMQOS_LAB_CACHE", str(tmp_path / "cache"))
    return Cache(tmp_path / "cache")


@pytest.fixture
def processes() -> t.Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def lab(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Lab]:
    programs = tmp_path / "bin"
    programs.mkdir()
    lab = Lab(cache, programs, Machine(name="m", suite="trixie"))
    lab.script("qemu-img", '#!/bin/sh\nfor last; do :; done\necho "$*" >"$last"\n')
    lab.script("qemu-system-x86_64", QEMU.format(python=sys.executable, directory=programs))
    lab.script("qemu.py", Path(__file__).with_name("fake_qemu.py").read_text())
    lab.script("ssh", f'#!/bin/sh\nfor last; do :; done\necho "$last" >>{programs}/ssh.log\n')
    image = images.ImageFiles(identity="1", disk=tmp_path / "root.raw", disk_format="raw", kernel=tmp_path / "vmlinuz", initrd=tmp_path / "initrd.img")
    monkeypatch.setattr(snapshots, "files_of", lambda _machine, _cache: image)
    monkeypatch.setattr(snapshots.accel, "detect", lambda _kernel, _cache: "tcg")
    monkeypatch.setattr(vms, "_ssh_banner", lambda _port: True)
    search_path = f"{programs}:{os.environ['PATH']}"
    monkeypatch.setattr(vms, "SEARCH_PATH", search_path)
    monkeypatch.setenv("PATH", search_path)
    yield lab
    for vm in vms.all_vms(cache):
        vm.stop()
