# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules of a zip are compiled once, and are what they were otherwise. (The rest of _module needs Ansible: tests/unit/plugins/modules/test_module.py.)"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import typing as t
import zipfile
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _node

MODULE = Path(str(_node.__file__)).with_name("_module.py")
FILES = {"alone.py": "import house.room\nvalue = 7\n", "house/__init__.py": "", "house/room.py": "def fail():\n    raise ValueError('here')\n"}
# A process of its own: the importer of this one stays as it is.
PROGRAM = """
import collections, functools, json, sys, traceback, typing as t, zipimport
archive, source = sys.argv[1:]
sys.path.insert(0, archive)
if source:
    exec(source)
    compile_once()
compiled = collections.Counter()
def count(event, arguments):
    if event == "compile" and str(arguments[1]).startswith(archive):
        compiled[arguments[1][len(archive) + 1:].replace("\\\\", "/")] += 1
sys.addaudithook(count)
import alone
import importlib.util
try:
    alone.house.room.fail()
except ValueError:
    told = traceback.format_exc()
print(json.dumps([
    compiled, alone.value, alone.__file__, alone.__spec__.origin, alone.house.__path__, told, importlib.util.find_spec("nowhere") is None,
    alone.__loader__.get_source("alone"),
]))
"""


def compile_once_alone() -> str:
    """A node's Python has it without ansible.module_utils, which _module.py imports."""
    source = MODULE.read_text()
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "compile_once"]
    return str(ast.get_source_segment(source, functions[0]))


def run(archive: Path, source: str) -> list[t.Any]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(archive), source], check=True, stdout=subprocess.PIPE, text=True)
    return list(json.loads(done.stdout))


@pytest.fixture(name="archive")
def fixture_archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    return tmp_path / "code.zip"


def test_each_module_is_compiled_once_and_the_same_otherwise(archive: Path) -> None:
    plain, once = run(archive, ""), run(archive, compile_once_alone())
    assert once[1:] == plain[1:]
    assert once[2] == str(archive / "alone.py") and "raise ValueError" in once[5]
    if sys.version_info >= (3, 10):
        assert once[0] == dict.fromkeys(FILES, 1)
