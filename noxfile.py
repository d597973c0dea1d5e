# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions of antsibull-nox.toml and two more. `make lint` runs them all."""

from __future__ import annotations

import glob

import antsibull_nox
import nox

antsibull_nox.load_antsibull_nox_toml()


@nox.session(python=False)
def changelog(session: nox.Session) -> None:
    """Check the changelog fragments."""
    session.run("antsibull-changelog", "lint", external=True)


@nox.session(python=False)
def generated(session: nox.Session) -> None:
    """Check that generated pages are what the code says."""
    for tool in sorted(glob.glob("tests/tools/make_*.py")):
        session.run("python", tool, "--check", external=True, env={"PYTHONPATH": "build/collections"})
