# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Code that is kept is the code of the same source, root's own and whole; else it is made anew."""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import subprocess
import sys
import typing as t
import zipfile
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _compiled, _writer
from ansible_collections.memqos.fleet.plugins.module_utils._compiled import Compiled

ROOM = '"""Told to nobody."""\n\n\ndef fail():\n    raise ValueError("here")\n'
FILES = {"alone.py": "import house.room\nvalue = 7\n", "house/__init__.py": "", "house/room.py": ROOM}
# A process of its own: the importer of this one stays as it is.
PROGRAM = """
import json, runpy, sys, traceback
archive, path, source, owner, save = sys.argv[1:]
sys.path.insert(0, archive)
kept = runpy.run_path(source)["Compiled"](path, owner=int(owner))
kept.use()
compiled = []
def count(event, arguments):
    if event == "compile" and str(arguments[1]).startswith(archive):
        compiled.append(arguments[1][len(archive) + 1:])
sys.addaudithook(count)
import alone
try:
    alone.house.room.fail()
except ValueError:
    told = traceback.format_exc()
if save:
    kept.save(first=save == "save")
print(json.dumps([sorted(compiled), alone.value, alone.__file__, list(alone.house.__path__), "raise ValueError" in told, alone.house.room.__doc__]))
"""


class Node:
    """A zip with modules, and the file in which their code is kept."""

    def __init__(self, directory: Path) -> None:
        self.archive = directory / "code.zip"
        self.state = directory / "state"
        self.state.mkdir(mode=0o700)
        self.path = self.state / "compiled"
        self.pack(FILES)

    def pack(self, files: t.Mapping[str, str]) -> None:
        with zipfile.ZipFile(self.archive, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)

    def run(self, *, owner: t.Optional[int] = None, save: str = "save") -> t.List[str]:
        """What had to be compiled; the modules are the same in any case."""
        argv = [sys.executable, "-c", PROGRAM, str(self.archive), str(self.path), str(_compiled.__file__)]
        argv += [str(os.geteuid() if owner is None else owner), save]
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
        compiled, *rest = json.loads(done.stdout)
        assert rest == [7, str(self.archive / "alone.py"), [str(self.archive / "house")], True, None]
        return list(compiled)


@pytest.fixture(name="node")
def fixture_node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_what_is_kept_is_not_compiled_again(node: Node) -> None:
    assert node.run() == sorted(FILES)
    told = node.path.stat()
    assert (told.st_mode & 0o777, sorted(os.listdir(node.state))) == (0o600, ["compiled"])
    assert node.run() == []
    assert node.path.stat().st_mtime_ns == told.st_mtime_ns and node.path.stat().st_ino == told.st_ino


def test_without_saving_nothing_is_written(node: Node) -> None:
    node.run(save="")
    assert os.listdir(node.state) == []


def test_another_source_is_another_code(node: Node) -> None:
    node.run()
    node.pack({**FILES, "alone.py": "import house.room\nvalue = 3 + 4\n"})
    assert node.run() == ["alone.py"]
    assert node.run() == []


def test_a_node_at_rest_writes_anew_what_it_has_and_makes_no_first_file(node: Node) -> None:
    node.run(save="anew")
    assert os.listdir(node.state) == []
    node.run()
    node.pack({**FILES, "alone.py": "import house.room\nvalue = 3 + 4\n"})
    assert node.run(save="anew") == ["alone.py"] and node.run(save="anew") == []
    # As of another Python.
    node.path.write_bytes(b"another" + node.path.read_bytes())
    assert node.run(save="anew") == sorted(FILES) and node.run(save="anew") == []


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))


def _other_python(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def _linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILED: t.Dict[str, t.Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": _cut,
    "flipped": _flipped,
    "other Python": _other_python,
    "a link": _linked,
    "a pipe": _pipe,
    "a directory": _directory,
    "others can write it": lambda path: path.chmod(0o620),
    "others can write beside it": lambda path: path.parent.chmod(0o777),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_is_not_whole_or_not_only_ours_is_not_used(node: Node, how: str) -> None:
    node.run()
    SPOILED[how](node.path)
    assert node.run(save="") == sorted(FILES)


def test_of_another_owner_it_is_not_used(node: Node) -> None:
    node.run()
    assert node.run(owner=os.geteuid() + 1, save="") == sorted(FILES)


def test_a_file_that_cannot_be_written_is_left_out(node: Node, tmp_path: Path) -> None:
    node.path = tmp_path / "nowhere" / "compiled"
    assert node.run() == sorted(FILES)


def test_garbage_never_reaches_marshal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "compiled"
    path.write_bytes(_compiled._KIND + hashlib.sha256(b"other").digest() + b"garbage")
    tmp_path.chmod(0o700)
    monkeypatch.setattr(marshal, "loads", lambda data: pytest.fail("was asked"))
    assert Compiled(str(path), owner=os.geteuid())._read() == {}


def test_it_lies_beside_the_journal() -> None:
    assert os.path.dirname(_compiled.PATH) == _writer.STATE


def test_remove(tmp_path: Path) -> None:
    for name in ("compiled", "compiled.new", "other"):
        (tmp_path / name).write_text("")
    for unused in range(2):
        Compiled(str(tmp_path / "compiled")).remove()
        assert os.listdir(tmp_path) == ["other"]
