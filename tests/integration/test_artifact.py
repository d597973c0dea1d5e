# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is published: the archive holds no leftovers of a build, and an audit needs nothing but meta, plugins, roles and playbooks."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from .conftest import ROOT, Ansible

RUN_TIME = {"meta", "plugins", "roles", "playbooks", "MANIFEST.json", "FILES.json"}
BUILT = {".venv", ".cache", ".nox", ".ansible", ".git", "build"}


@pytest.fixture
def archive(tmp_path: Path, ansible: Ansible) -> Path:
    ansible("ansible-galaxy", "collection", "build", "--output-path", str(tmp_path), str(ROOT), collections=tmp_path, cwd=tmp_path)
    (built,) = tmp_path.glob("memqos-fleet-*.tar.gz")
    return built


def test_archive_holds_what_is_needed_and_no_leftovers(archive: Path) -> None:
    with tarfile.open(archive) as members:
        names = set(members.getnames())
    assert {"galaxy.yml", *BUILT} & {name.split("/")[0] for name in names} == set()
    assert {"README.md", "CHANGELOG.md", "LICENSES/BSD-2-Clause.txt", "meta/runtime.yml", "plugins/modules/memory_audit.py"} <= names
    assert [name for name in names if name.endswith((".pyc", ".tar.gz"))] == []


def test_installed_collection_audits_without_the_checkout(archive: Path, tmp_path: Path, ansible: Ansible) -> None:
    collections = tmp_path / "collections"
    ansible("ansible-galaxy", "collection", "install", "--offline", "--collections-path", str(collections), str(archive), collections=collections, cwd=tmp_path)
    installed = collections / "ansible_collections" / "memqos" / "fleet"
    for path in installed.iterdir():
        if path.name not in RUN_TIME:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    work = tmp_path / "elsewhere"
    work.mkdir()
    this_machine = ["-i", "localhost,", "-c", "local", "-e", json.dumps({"ansible_python_interpreter": sys.executable})]
    ansible("ansible-playbook", "memqos.fleet.audit", *this_machine, collections=collections, cwd=work)
    report = json.loads((work / "build" / "report" / "report.json").read_text(encoding="utf-8"))
    assert list(report["hosts"]) == ["localhost"]
    assert (work / "build" / "report" / "report.html").stat().st_size > 0
