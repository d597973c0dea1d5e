# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""On paper all is open, nothing is there that needs a pointer, and afterwards the page is as it was. Who wants no motion gets none."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import chromium
import pytest
from complete import complete
from samples import address, open_results, sample
from test_navigation import many

HIDDEN = ("#sections", "#views", "#finder", "#theme", ".copy", ".share", ".filters", ".toolbar", ".more", ".drawn", "input", "select")
SHOWN = (".verdict", ".finding dl", ".breakdown", ".zone", "footer", "#at-settings tbody tr", "#at-rules tbody tr", ".pairs")
VISIBLE = "[...document.querySelectorAll(`{}`)].filter((one) => one.checkVisibility()).length"
OPEN = "[...document.querySelectorAll('details')].map((one) => one.open)"
WATCH = """
window.printed = [];
for (const name of ['beforeprint', 'afterprint']) {
  addEventListener(name, () => window.printed.push([name, document.querySelectorAll('details:not([open], .chooser)').length]));
}
"""
MOVING = """
[...document.querySelectorAll('*')].filter((one) => [null, '::before', '::after'].map((part) => getComputedStyle(one, part))
  .some((style) => parseFloat(style.transitionDuration) > 0 || style.animationName !== 'none')).length
"""
ROWS = "document.querySelectorAll('tbody tr').length"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_has_all_of_it_and_nothing_to_click(page: chromium.Page, report: Path, tmp_path: Path, scheme: str) -> None:
    page.prefer(scheme)
    open_results(page, tmp_path, [complete(sample("web-1")), sample("db-1")], fragment=address("web-1"))
    before = page.run(OPEN), page.run(ROWS), page.run("document.querySelector('main').innerHTML.length")
    assert not all(before[0])
    page.call("Emulation.setEmulatedMedia", media="print")
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run("[...document.querySelectorAll('details:not(.chooser)')].every((one) => one.open)")
    assert {one: page.run(VISIBLE.format(one)) for one in HIDDEN} == dict.fromkeys(HIDDEN, 0)
    assert {one for one in SHOWN if not page.run(VISIBLE.format(one))} == set()
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    # Links say where they lead.
    assert page.run("[...document.querySelectorAll('main a[href^=http]')].every((one) => one.textContent === one.getAttribute('href'))")
    page.run("dispatchEvent(new Event('afterprint'))")
    page.call("Emulation.setEmulatedMedia", media="")
    assert (page.run(OPEN), page.run(ROWS), page.run("document.querySelector('main').innerHTML.length")) == before
    page.open(report)


def test_rows_and_findings_that_were_left_for_later_are_printed(page: chromium.Page, report: Path, tmp_path: Path) -> None:
    result = {**many(40), "node": {**sample("edge-1")["node"], "knobs": {f"vm.knob_{number}": number for number in range(60)}}}
    open_results(page, tmp_path, [result])
    counts = "[document.querySelectorAll('.card-findings .finding').length, document.querySelectorAll('#at-settings tbody tr').length]"
    assert page.run(counts) == [12, 20]
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run(counts) == [40, 60]
    page.run("dispatchEvent(new Event('afterprint'))")
    assert page.run(counts) == [12, 20]
    page.open(report)


def test_the_browser_prints_it_to_pages(page: chromium.Page) -> None:
    page.run(WATCH)
    pdf = base64.b64decode(page.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])
    assert page.run("window.printed.map(([name]) => name)") == ["beforeprint", "afterprint"]
    assert page.run("window.printed[0][1]") == 0
    sizes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    upright = [float(width) < float(height) for width, height in sizes]
    # Wide tables have pages of their own, on their side.
    assert True in upright and False in upright
    assert 4 <= len(upright) <= 30


def test_who_wants_no_motion_gets_none(page: chromium.Page) -> None:
    assert page.run(MOVING) > 0
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    assert page.run(MOVING) == 0
