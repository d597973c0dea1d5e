#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes docs/modules/, the pages of modules and roles, with antsibull-docs; with --check says whether they are up to date, and writes nothing."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "modules"
SCRIPTS = Path(sys.executable).parent
SETTINGS = ["--use-current", "--squash-hierarchy", "--output-format", "simplified-rst"]


def pages() -> dict[str, str]:
    """Text by file name, of the collection as it is in this checkout."""
    # antsibull-docs runs ansible-doc, which it looks for in PATH.
    path = os.pathsep.join([str(SCRIPTS), os.environ.get("PATH", os.defpath)])
    with tempfile.TemporaryDirectory() as directory:
        collections = Path(directory, "collections")
        link = collections / "ansible_collections" / "memqos" / "fleet"
        link.parent.mkdir(parents=True)
        link.symlink_to(ROOT)
        written = Path(directory, "pages")
        written.mkdir()
        subprocess.run(
            [str(SCRIPTS / "antsibull-docs"), "collection", *SETTINGS, "--dest-dir", str(written), "memqos.fleet"],
            env={**os.environ, "PATH": path, "ANSIBLE_COLLECTIONS_PATH": str(collections)},
            check=True,
        )
        return {page.name: tidy(page.read_text(encoding="utf-8")) for page in written.glob("*.rst")}


def tidy(text: str) -> str:
    """Without trailing white space, and without the many empty lines that the templates leave."""
    return re.sub(r"\n{4,}", "\n\n\n", re.sub(r"[ \t]+\n", "\n", text)).strip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a page is not what the modules say")
    check = parser.parse_args().check
    wanted = pages()
    found = {page.name: page.read_text(encoding="utf-8") for page in PAGES.glob("*.rst")}
    stale = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    if check:
        for name in stale:
            print(f"docs/modules/{name} is not what the modules say: run `make docs`", file=sys.stderr)
        return int(bool(stale))
    PAGES.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in wanted:
            (PAGES / name).write_text(wanted[name], encoding="utf-8")
        else:
            (PAGES / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
