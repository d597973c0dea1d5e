# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible as an operator runs it: a process of its own, and nothing in the environment that an operator would not have."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent


class Ansible(t.Protocol):
    def __call__(self, program: str, *arguments: str, collections: Path, cwd: Path) -> str:
        """Run a program of ansible-core; returns what it prints, fails the test when it fails."""


@pytest.fixture
def ansible() -> Ansible:
    def run(program: str, *arguments: str, collections: Path, cwd: Path) -> str:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_") and name != "PYTHONPATH"}
        environment = {**inherited, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_LOCALHOST_WARNING": "False", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            [str(SCRIPTS / program), *arguments], cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode != 0:
            pytest.fail(f"{program} {' '.join(arguments)}: exit status {done.returncode}\n{done.stdout}")
        return done.stdout

    return run


@pytest.fixture(scope="session")
def checkout_collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collections path with the checkout in it."""
    collections = tmp_path_factory.mktemp("collections")
    link = collections / "ansible_collections" / "memqos" / "fleet"
    link.parent.mkdir(parents=True)
    link.symlink_to(ROOT)
    return collections
