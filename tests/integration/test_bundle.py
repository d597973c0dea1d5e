# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two commands of docs/bundles.md, as an operator types them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from .conftest import ROOT


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Not the flags of the make that runs these tests.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MAKE", "MFLAGS")) and name != "PYTHONPATH"}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=inherited, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def test_a_bundle_is_made_and_audited(tmp_path: Path) -> None:
    bundle, report = tmp_path / "my node.tar.gz", tmp_path / "report"
    made = make("bundle", f"OUT={bundle}")
    assert made.returncode == 0 and list(tmp_path.iterdir()) == [bundle], made.stdout
    # A name with a space is no list of two.
    bundle.rename(tmp_path / "node.tar.gz")
    audited = make("audit", f"ROOT={tmp_path / 'node.tar.gz'}", f"REPORT={report}")
    assert audited.returncode == 0, audited.stdout
    result = json.loads((report / "hosts" / "localhost.json").read_text(encoding="utf-8"))
    total = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    assert total is not None and result["breakdown"]["memtotal_bytes"] == int(total.group(1)) * 1024
    assert result["node"]["hostname"] == "node"


def test_a_bundle_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"x")
    for name, words in (("x.tar.gz", "it is no bundle"), ("y.tar.gz", "No such file")):
        done = make("audit", f"ROOT={tmp_path / name}", f"REPORT={tmp_path / 'report'}")
        assert done.returncode != 0 and words in done.stdout and name in done.stdout and "Traceback" not in done.stdout
    assert not (tmp_path / "report").exists()


SSH = {
    "answers": 'shift; exec "$@"',
    "goes away": "printf half; exit 255",
}


@pytest.mark.parametrize("case", SSH)
def test_a_bundle_of_another_node(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh is a script that stands for the node."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\n[ "$1" = root@node17 ] || exit 9\n{SSH[case]}\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    done = make("bundle", "NODE=root@node17", f"OUT={tmp_path / 'x.tar.gz'}", "ARGS=--name n17")
    left = {path.name for path in tmp_path.iterdir()} - {"bin"}
    if case == "answers":
        assert done.returncode == 0 and left == {"x.tar.gz"}, done.stdout
        with tarfile.open(tmp_path / "x.tar.gz") as tar:
            hostname = tar.extractfile("proc/sys/kernel/hostname")
            assert hostname is not None and hostname.read() == b"n17\n"
    else:
        assert done.returncode != 0 and left == set()
