#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ansible_test.py [--junit DIRECTORY] ARGUMENT…: runs ansible-test of the Python that runs this script, on a copy of the work tree.

ansible-test wants the collection in .../ansible_collections/memqos/fleet, as a directory (it does not follow a link) and with git.
The copy in build/test-tree/ holds what git would: tracked files as they are now, and new ones that are not ignored.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "build" / "test-tree" / "ansible_collections" / "memqos" / "fleet"
JUNIT = TREE / "tests" / "output" / "junit"


def work_tree() -> set[Path]:
    """Files of the checkout, relative to it: tracked or new, not ignored, not deleted."""
    listing = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True).stdout
    paths = {Path(os.fsdecode(name)) for name in listing.split(b"\0") if name}
    return {path for path in paths if (ROOT / path).is_symlink() or (ROOT / path).is_file()}


def copy_tree() -> None:
    """Bring TREE up to date. Unchanged files keep their times, so that tools' caches stay valid."""
    wanted = work_tree()
    for path in sorted(wanted):
        source, target = ROOT / path, TREE / path
        if target.is_file() and not target.is_symlink() and not source.is_symlink():
            old, new = target.stat(), source.stat()
            if (old.st_mtime_ns, old.st_size, old.st_mode) == (new.st_mtime_ns, new.st_size, new.st_mode):
                continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    git("init", "--quiet")
    for name in git("ls-files", "-z").split("\0"):
        if name and Path(name) not in wanted:
            (TREE / name).unlink(missing_ok=True)
    git("add", "--all")
    # What is left untracked are directories that became empty.
    git("clean", "--quiet", "-d", "--force")


def git(*arguments: str) -> str:
    """Run git in TREE; returns what it prints."""
    return subprocess.run(["git", *arguments], cwd=TREE, check=True, capture_output=True, text=True).stdout


def provide_get_pip() -> None:
    """Put our get_pip.py where ansible-test caches a downloaded one, so that packages come from the package index only."""
    package = Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages" / "ansible_test"
    source = (package / "_internal" / "python_requirements.py").read_text(encoding="utf-8")
    versions = set(re.findall(r"\bpip='([0-9.]+)'", source))
    if not versions:
        sys.exit("This ansible-test does not say which pip it wants: see get_venv_packages() in its python_requirements.py")
    cache = Path.home() / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in versions:
        target = cache / f"get_pip_{version.replace('.', '_')}.py"
        if not target.exists():
            shutil.copyfile(ROOT / "tests" / "tools" / "get_pip.py", target)


def environment() -> dict[str, str]:
    """PATH with this Python's programs, then real interpreters, then shims, which may answer for a version that is not chosen."""
    parts = os.environ.get("PATH", os.defpath).split(os.pathsep)
    shims = [part for part in parts if part.rstrip("/").endswith("/shims")]
    versions = sorted(glob.glob(os.path.expanduser(os.path.join(os.environ.get("PYENV_ROOT", "~/.pyenv"), "versions", "3.*", "bin"))))
    others = [part for part in parts if part not in shims]
    path = [os.path.join(sys.prefix, "bin"), *others, *versions, *shims]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_") and name != "PYTHONPATH"}
    return {**inherited, "PATH": os.pathsep.join(path), "PIP_QUIET": "1"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--junit", type=Path, help="copy JUnit files here")
    options, arguments = parser.parse_known_args()
    TREE.mkdir(parents=True, exist_ok=True)
    copy_tree()
    if "CI" in os.environ:
        (TREE / "tests" / "unit" / ".ci").touch()
    provide_get_pip()
    shutil.rmtree(JUNIT, ignore_errors=True)
    code = subprocess.run([os.path.join(sys.prefix, "bin", "ansible-test"), *arguments], cwd=TREE, env=environment(), check=False).returncode
    if options.junit:
        options.junit.mkdir(parents=True, exist_ok=True)
        for report in JUNIT.glob("*.xml"):
            shutil.copyfile(report, options.junit / report.name)
    return code


if __name__ == "__main__":
    sys.exit(main())
