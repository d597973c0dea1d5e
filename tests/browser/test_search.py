# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Search and the switcher of hosts, by keyboard and by hand; what they find, and how large a report may be."""

from __future__ import annotations

import copy
from pathlib import Path

import chromium
import pytest
from samples import HOSTS, Json, address, open_results, press, sample, texts, write, write_text

OPTIONS = "#search-list [role=option]"
FIELD = "document.getElementById('search')"
HEAD = "document.querySelector('.host-head h2').textContent"


def look_for(page: chromium.Page, text: str, field: str = "search") -> None:
    page.run(f"document.getElementById('{field}').focus()")
    page.run(f"document.getElementById('{field}').select()")
    write_text(page, text)


def test_a_slash_focuses_arrows_choose_enter_goes_escape_clears(page: chromium.Page) -> None:
    press(page, "/")
    assert page.run(f"document.activeElement === {FIELD} && {FIELD}.value === ''")
    write_text(page, "memory")
    selected = f"[...document.querySelectorAll('{OPTIONS}')].map((one) => one.getAttribute('aria-selected'))"
    number = len(texts(page, OPTIONS))
    assert number > 2
    for key, place in (("", 0), ("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("ArrowUp", 0), ("ArrowUp", number - 1), ("ArrowDown", 0)):
        if key:
            press(page, key)
        assert page.run(selected) == [str(one == place).lower() for one in range(number)]
        assert page.run(f"document.getElementById({FIELD}.getAttribute('aria-activedescendant')).getAttribute('aria-selected')") == "true"
    press(page, "Escape")
    assert page.run(
        f"[{FIELD}.value, {FIELD}.getAttribute('aria-expanded'), document.getElementById('search-list').hidden, document.activeElement === {FIELD}]"
    ) == ["", "false", True, True]
    press(page, "Escape")
    assert page.run(f"document.activeElement !== {FIELD}")
    press(page, "/")
    write_text(page, "N03")
    press(page, "Enter")
    assert page.run("location.hash") == address("web-1", "N03", "node")
    assert page.run("document.querySelector('.target').dataset.rule") == "N03"


def test_a_slash_that_is_typed_stays_one(page: chromium.Page) -> None:
    press(page, "/")
    press(page, "/")
    assert page.run(f"{FIELD}.value") == "/"


@pytest.mark.parametrize(
    ("text", "first", "place", "head"),
    [
        ("db-1", "Host db-1", address("db-1"), "db-1"),
        ("reclaim themselves", "N03 Tasks reclaim memory themselves web-1", address("web-1", "N03", "node"), "web-1"),
        (
            "checkout killed",
            "C01 A container was killed at its limit shop/checkout-7d9f/app · web-1",
            address("web-1", "C01", "shop/checkout-7d9f/app"),
            "web-1",
        ),
        ("swappiness", "Setting vm.swappiness 60 · web-1", address("web-1", query="?setting=vm.swappiness&at=settings"), "web-1"),
        ("cilium", "cgroup kube-system/cilium-9x/agent container · web-1", None, "web-1"),
        ("N24 drops", "Rule N24 Somebody drops caches on 1 host", "#fleet/N24", f"{len(HOSTS)} hosts"),
    ],
)
def test_everything_is_found(page: chromium.Page, text: str, first: str, place: str | None, head: str) -> None:
    look_for(page, text)
    assert first in texts(page, OPTIONS)
    page.run(f"[...document.querySelectorAll('{OPTIONS}')].find((one) => one.innerText.replaceAll(/\\s+/g, ' ').trim() === `{first}`).click()")
    assert page.run(HEAD) == head
    if place:
        assert page.run("location.hash") == place
    else:
        assert page.run("document.querySelector('tr.target').textContent").startswith("kube-system/cilium-9x/agent")
        assert page.run("document.querySelectorAll('tr.opened').length") == 1


def test_how_much_was_found_is_said(page: chromium.Page) -> None:
    said = "document.querySelector('[aria-live=polite]').textContent"
    look_for(page, "no such thing")
    assert page.run(said) == "Nothing found"
    assert texts(page, ".finder-more") == ["Nothing found"]
    look_for(page, "db-1")
    assert "result" in page.run(said)
    press(page, "Escape")
    assert page.run(said) == ""


def test_what_could_not_be_decided_is_not_found_as_if_it_failed(page: chromium.Page) -> None:
    look_for(page, "N23")
    (undecided,) = [text for text in texts(page, OPTIONS) if text.startswith("N23") and text.endswith("web-1")]
    assert "undecided" in undecided
    press(page, "Escape")
    page.run("location.hash = '#fleet/N23'")
    page.until("document.querySelector('tr.opened') !== null")
    assert "Found on" not in texts(page, "tr.opened")[0]


def test_hosts_are_switched_by_what_is_typed(page: chromium.Page) -> None:
    page.run("document.getElementById('host').focus()")
    options = "#host-list .finder-label"
    # All of them, the worst first, before a letter is typed.
    assert texts(page, options)[1:] == ["web-1", "db-1", "edge-1"]
    write_text(page, "EDGE")
    assert texts(page, options) == ["edge-1"]
    press(page, "Enter")
    assert page.run(HEAD) == "edge-1"
    assert page.run("document.getElementById('host').placeholder") == "edge-1"
    page.run("history.back()")
    page.until(f"{HEAD} === 'web-1'")


def test_hostile_names_are_found_as_text(page: chromium.Page) -> None:
    look_for(page, "<img")
    assert any("<img src=x onerror=document.title=1>" in text for text in texts(page, OPTIONS))
    assert page.run("document.querySelectorAll('header img').length") == 0
    press(page, "Escape")


def large(hosts: int, findings: int) -> list[Json]:
    model = sample("web-1")
    model["findings"] = [
        {
            "rule": "C01",
            "subject": {"kind": "container", "id": f"/kubepods/{one}", "name": f"shop/app-{one:03}/main"},
            "status": "fail",
            "observed": {"cgroup.usage": one},
            "window": {},
            "reason": "",
        }
        for one in range(findings)
    ]
    return [{**copy.deepcopy(model), "host": f"node-{number:03}"} for number in range(hosts)]


def test_a_large_fleet_opens_with_little_and_reads_hosts_when_they_are_wanted(page: chromium.Page, report: Path, tmp_path: Path) -> None:
    """What costs time is parsing and drawing: both are counted."""
    counting = "window.parsed = 0; { const parse = JSON.parse; JSON.parse = (...args) => { window.parsed += 1; return parse(...args); }; }"
    script = page.call("Page.addScriptToEvaluateOnNewDocument", source=counting)["identifier"]
    nodes = "document.querySelectorAll('body *').length"
    path = write(tmp_path / "other.html", large(200, 100))
    page.open(path)
    assert page.run("window.parsed") == 1
    empty = page.run("document.querySelectorAll('script').length")
    assert page.run(nodes) - empty < 3000
    assert len(texts(page, "[aria-label=Hosts] tbody tr")) == 50
    page.run("location.hash = '#host/node-007'")
    page.until("document.querySelector('.host-head h2')?.textContent === 'node-007'")
    assert page.run("window.parsed") == 2
    assert page.run(nodes) - empty < 3000
    assert len(texts(page, ".card-findings .finding")) == 12
    look_for(page, "app-042 killed")
    assert page.run("window.parsed") == 202
    assert len(texts(page, OPTIONS)) == 6
    # This host's come first.
    assert "node-007" in texts(page, OPTIONS)[0]
    page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    page.events[:] = [event for event in page.events if event.get("method") != "Network.requestWillBeSent"]
    page.open(report)


def test_a_report_of_one_host_finds_its_rules(page: chromium.Page, report: Path, tmp_path: Path) -> None:
    open_results(page, tmp_path, [sample("web-1")])
    look_for(page, "N44")
    press(page, "Enter")
    assert page.run("document.querySelector('tr.target').textContent").startswith("N44")
    assert "v1 has no pressure" in texts(page, "tr.opened")[0]
    page.open(report)
