#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the pictures of report.html in docs/images anew: the sample results of the unit tests, at three sizes. Run with the collection importable."""

from __future__ import annotations

import sys
import tempfile
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

import chromium  # noqa: E402
from complete import complete  # noqa: E402
from samples import address, sample, write  # noqa: E402

IMAGES = ROOT / "docs" / "images"
LARGEST = 300_000


class Picture(t.NamedTuple):
    """A window of this size on an address of the report."""

    name: str
    width: int
    height: int
    scheme: str
    fragment: str


PICTURES = (
    Picture("report-desktop", 1440, 900, "light", address("web-1")),
    Picture("report-tablet", 1024, 768, "light", address("web-1", "N03")),
    Picture("report-phone", 390, 844, "dark", "#fleet"),
)


def take(page: chromium.Page, report: Path, picture: Picture) -> None:
    """Raises ValueError for a picture that is too large for the docs."""
    page.resize(picture.width, picture.height)
    page.prefer(picture.scheme)
    page.open(report, fragment=picture.fragment)
    # Plotly draws its text in a later frame.
    page.run("new Promise((done) => setTimeout(done, 800))")
    path = IMAGES / f"{picture.name}.png"
    page.screenshot(path)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, more than {LARGEST}: choose a place with less on it")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


def main() -> None:
    results = [complete(sample("web-1")), sample("db-1"), sample("edge-1")]
    groups = {"pool_a": ["web-1", "edge-1"], "databases": ["db-1"]}
    with tempfile.TemporaryDirectory() as directory, chromium.Page() as page:
        report = write(Path(directory) / "report.html", results, groups=groups)
        for picture in PICTURES:
            take(page, report, picture)


if __name__ == "__main__":
    main()
