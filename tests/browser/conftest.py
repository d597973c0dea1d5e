# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One browser for all tests, and the report, freshly opened for each."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import chromium
import pytest
from samples import HOSTS, TITLE, address, sample, write


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if chromium.find() is None:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="no chromium: run `apt-get install chromium`"))


@pytest.fixture(name="report", scope="session")
def fixture_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("report") / "report.html", map(sample, HOSTS), missing=True)


@pytest.fixture(name="browser", scope="session")
def fixture_browser() -> t.Iterator[chromium.Page]:
    with chromium.Page() as page:
        yield page


@pytest.fixture(name="page")
def fixture_page(browser: chromium.Page, report: Path) -> t.Iterator[chromium.Page]:
    """The report, freshly opened in the light theme; afterwards, whatever a test did: no error, no request, nothing run."""
    browser.resize(1440, 900)
    browser.prefer("light")
    browser.open(report)
    browser.events.clear()
    browser.open(report, fragment=address("web-1"))
    browser.run("localStorage.clear()")
    yield browser
    assert browser.run("document.title") == TITLE
    assert complaints(browser) == []
    assert requests(browser, report) == []


def complaints(page: chromium.Page) -> list[str]:
    kinds = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening")
    return [json.dumps(event) for event in page.events if event.get("method") in kinds]


def requests(page: chromium.Page, report: Path) -> list[str]:
    urls = [event["params"]["request"]["url"] for event in page.events if event.get("method") == "Network.requestWillBeSent"]
    return [url for url in urls if url.partition("#")[0] != report.as_uri() and not url.startswith(("data:", "blob:", "about:"))]
