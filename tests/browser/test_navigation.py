# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every place of the report has an address, and the address says where one is: views, sections, findings, filters, the steps of the history."""

from __future__ import annotations

from pathlib import Path

import chromium
import pytest
from samples import HOSTILE, HOSTS, Json, address, open_results, press, sample, texts

HEAD = "document.querySelector('.host-head h2').textContent"
OPEN = "[...document.querySelectorAll('.finding')].filter((one) => one.open).map((one) => [one.dataset.rule, one.dataset.subject])"
TARGET = "[...document.querySelectorAll('.target')].map((one) => [one.dataset.rule, one.dataset.subject])"
NAMES = "[one.dataset.rule, one.dataset.subject]"
IN_SIGHT = "(() => {{ const box = document.querySelector('{}').getBoundingClientRect(); return box.top < innerHeight && box.bottom > 0; }})()"


def follow(page: chromium.Page, selector: str, text: str) -> None:
    page.run(f"[...document.querySelectorAll(`{selector}`)].find((one) => one.textContent.trim() === '{text}').click()")


def test_back_and_forward_go_through_hosts_and_sections(page: chromium.Page, report: Path) -> None:
    page.open(report, fragment="#fleet")
    follow(page, "[aria-label=Hosts] a", "web-1")
    assert page.run(HEAD) == "web-1"
    follow(page, "#sections a", "Watermarks")
    assert page.run("location.hash") == f"{address('web-1')}?at=watermarks"
    assert page.run(IN_SIGHT.format("#at-watermarks"))
    follow(page, "#views a", "All hosts")
    assert page.run(HEAD) == f"{len(HOSTS)} hosts"
    for head, place in (("web-1", address("web-1") + "?at=watermarks"), ("web-1", address("web-1")), (f"{len(HOSTS)} hosts", "#fleet")):
        page.run("history.back()")
        page.until(f"location.hash === '{place}'")
        page.until(f"{HEAD} === '{head}'")
    page.run("history.forward()")
    page.until(f"{HEAD} === 'web-1'")


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_the_section_that_is_read_is_marked_and_there_is_one(page: chromium.Page, width: int) -> None:
    page.resize(width, 844)
    current = "[...document.querySelectorAll('#sections [aria-current=true]')].map((one) => one.textContent)"
    assert page.run(current) == ["Overview"]
    sections = texts(page, "main section > h2")
    assert [*texts(page, "#sections a")[1:]] == sections
    for title in ("Top cgroups", "Findings"):
        page.run(f"[...document.querySelectorAll('main section')].find((one) => one.dataset.title === '{title}').scrollIntoView()")
        page.until(f"{current}.join() === '{title}'")
        # In the strip of a narrow screen too it can be seen.
        box = page.run(
            "(() => { const box = document.querySelector('#sections [aria-current=true]').getBoundingClientRect(); return [box.left, box.right]; })()"
        )
        assert box[0] >= 0 and box[1] <= width


@pytest.mark.parametrize(
    ("host", "rest", "found"),
    [
        ("web-1", ("N03", "node"), ["N03", "node"]),
        ("web-1", ("N03",), ["N03", "node"]),
        ("web-1", ("C01", "shop/checkout-7d9f/app"), ["C01", "shop/checkout-7d9f/app"]),
        # An id leads there as the name does.
        ("web-1", ("C01", next(one["subject"]["id"] for one in sample("web-1")["findings"] if one["rule"] == "C01")), ["C01", "shop/checkout-7d9f/app"]),
        (HOSTILE, ("<img src=x onerror=document.title='hacked'>",), None),
    ],
)
def test_a_link_opens_its_finding_and_marks_it(page: chromium.Page, report: Path, host: str, rest: tuple[str, ...], found: list[str] | None) -> None:
    page.open(report, fragment=address(host, *rest))
    assert page.run(HEAD) == host
    opened = page.run(OPEN)
    assert opened == page.run(TARGET)
    assert len(opened) == 1 and opened[0][0] == rest[0]
    assert found is None or opened == [found]
    assert page.run(IN_SIGHT.format(".target"))
    assert page.run("document.activeElement === document.querySelector('.target summary')")


@pytest.mark.parametrize("host", ["web-1", HOSTILE])
def test_the_link_that_is_copied_leads_back_to_its_finding(page: chromium.Page, report: Path, host: str) -> None:
    page.open(report, fragment=address(host))
    page.run("Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text; }}, configurable: true})")
    for number in range(len(page.run("[...document.querySelectorAll('.finding')]"))):
        wanted = page.run(f"{{ const one = document.querySelectorAll('.finding')[{number}]; one.querySelector('.share').click(); {NAMES}; }}")
        page.until("window.copied !== undefined")
        link = page.run("window.copied")
        assert link.startswith(report.as_uri() + address(host) + "/")
        page.run(f"window.copied = undefined; location.hash = {'#' + link.partition('#')[2]!r}")
        page.until("document.querySelector('.target') !== null")
        assert page.run(TARGET) == [wanted]
        page.run("document.querySelector('.target').classList.remove('target')")


def many(number: int) -> Json:
    result = sample("edge-1")
    found = [
        {"rule": "C01", "subject": {"kind": "container", "id": f"/k/{one}", "name": f"shop/app-{one:03}"}, "status": "fail", "observed": {}}
        for one in range(number)
    ]
    return {**result, "findings": found, "rules": {"C01": {"failed": number, "passed": 0, "unknown": 0, "not_applicable": 0}}}


def test_a_link_reaches_what_a_filter_or_the_limit_would_hide(page: chromium.Page, report: Path, tmp_path: Path) -> None:
    open_results(page, tmp_path, [many(40)])
    assert len(texts(page, ".finding")) == 12
    for query in ("", "?severity=warning", "?status=unknown"):
        open_results(page, tmp_path, [many(40)], fragment=address("edge-1", "C01", "shop/app-033", query=query))
        assert page.run(TARGET) == [["C01", "shop/app-033"]]
    page.open(report)


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        (address("web-1", "N03", "no-such"), "This report has no finding N03 of no-such here"),
        (address("web-1", "X99"), "This report has no finding X99 here"),
        (address("<b>gone</b>"), "<b>gone</b> is not in this report."),
        (address("web-1", query="?cgroup=/no/such"), "This report has no cgroup /no/such here"),
        ("#fleet/X99", "This report has no finding X99 here"),
        ("#host/%E0%A4%A", "%E0%A4%A is not in this report."),
    ],
)
def test_what_is_not_here_is_said(page: chromium.Page, report: Path, fragment: str, said: str) -> None:
    page.open(report, fragment=fragment)
    assert said in page.run("document.querySelector('main [role=alert]').textContent")


def test_a_rule_of_the_fleet_tells_where_it_failed(page: chromium.Page, report: Path) -> None:
    page.open(report, fragment="#fleet/C01")
    shown = texts(page, "tr.opened .rule-details")[0]
    for words in ("The cgroup reached memory.max", "web-1 shop/checkout-7d9f/app", HOSTILE):
        assert words in shown
    follow(page, "tr.opened a", "web-1")
    assert page.run(TARGET) == [["C01", "shop/checkout-7d9f/app"]]


def test_filters_stand_in_the_address_and_make_no_step(page: chromium.Page, report: Path) -> None:
    steps = page.run("history.length")
    page.run("document.querySelector('.filter[data-value=warning]').click()")
    assert page.run("location.hash") == f"{address('web-1')}?severity=warning"
    assert page.run("history.length") == steps
    assert set(page.run("[...document.querySelectorAll('.card-findings .finding')].map((one) => one.classList[1])")) == {"warning", "unknown"}
    page.run("document.querySelector('.filter[data-value=fail]').click()")
    assert page.run("[...document.querySelectorAll('.filter[aria-pressed=true]')].map((one) => one.dataset.value)") == ["warning", "fail"]
    shown = texts(page, ".card-findings .finding")
    assert set(page.run("[...document.querySelectorAll('.card-findings .finding')].map((one) => one.classList[1])")) == {"warning"}
    # Opened anew, and after a visit elsewhere, the same is shown.
    page.open(report, fragment=page.run("location.hash"))
    assert texts(page, ".card-findings .finding") == shown
    follow(page, "#sections a", "Findings")
    assert texts(page, ".card-findings .finding") == shown
    follow(page, "#views a", "All hosts")
    page.run("history.back()")
    page.until(f"{HEAD} === 'web-1'")
    assert texts(page, ".card-findings .finding") == shown
    page.run("document.querySelectorAll('.filter[aria-pressed=true]').forEach((one) => one.click())")
    assert page.run("location.hash").partition("?")[2] in ("", "at=findings")
    assert len(texts(page, ".card-findings .finding")) > len(shown)


def test_hosts_are_filtered_by_severity_name_and_group(page: chromium.Page, report: Path, tmp_path: Path) -> None:
    hosts = "[aria-label=Hosts] tbody th"
    page.open(report, fragment="#fleet?severity=info")
    assert texts(page, hosts) == ["web-1", "db-1"]
    page.run("{ const field = document.querySelector('[aria-label=\"Filter hosts\"]'); field.value = 'WEB'; field.dispatchEvent(new Event('input')); }")
    assert texts(page, hosts) == ["web-1"]
    assert page.run("location.hash") == "#fleet?severity=info&name=WEB"
    page.open(report, fragment="#fleet?name=nothing")
    assert texts(page, "[aria-label=Hosts] tbody td") == ["No host passes the filter."]
    open_results(page, tmp_path, map(sample, HOSTS), groups={"pool <b>": ["web-1", "edge-1"], "databases": ["db-1"]}, missing=True)
    follow(page, "[aria-label='Inventory by group'] a", "pool <b>")
    assert texts(page, hosts) == ["web-1", "edge-1"]
    page.open(report)


def test_the_first_tab_skips_to_the_report_and_every_control_shows_its_focus(page: chromium.Page, report: Path) -> None:
    page.open(report, fragment=address("web-1"))
    press(page, "Tab")
    assert page.run("document.activeElement.textContent") == "Skip to the report"
    press(page, "Enter")
    assert page.run("document.activeElement.id") == "main"
    assert page.run("location.hash") == address("web-1")
    seen = set()
    for unused in range(25):
        press(page, "Tab")
        style = page.run("(() => { const style = getComputedStyle(document.activeElement); return [style.outlineStyle, style.outlineWidth]; })()")
        assert style == ["solid", "2px"], page.run("document.activeElement.outerHTML.slice(0, 200)")
        seen.add(page.run("document.activeElement.localName"))
    assert {"a", "button", "summary"} <= seen


LANDMARKS = ("header", "main", "footer", "[role=search]", "#sections[aria-label]", "#views[aria-label]", "h1")
MISSING = """
[...document.querySelectorAll('[aria-labelledby], [aria-controls]')].flatMap((one) => [one.getAttribute('aria-labelledby'), one.getAttribute('aria-controls')])
  .filter((id) => id && !document.getElementById(id))
"""
# Landmarks with a name: one that is there twice leads nowhere.
REGIONS = """
[...document.querySelectorAll('section[aria-label], section[aria-labelledby], nav, [role=region], [role=search]')]
  .map((one) => `${one.localName} ${one.getAttribute('aria-label') ?? document.getElementById(one.getAttribute('aria-labelledby'))?.textContent}`)
  .map((name) => name.replace(/^(section|div)/, 'region'))
"""
NAMELESS = """
[...document.querySelectorAll('button, a[href], input, select, [role=region], [role=img], [role=group]')]
  .filter((one) => one.checkVisibility() && !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length))
  .map((one) => one.outerHTML.slice(0, 99))
"""


@pytest.mark.parametrize("fragment", ["#fleet", address("web-1")])
def test_landmarks_and_heads_are_in_order_and_all_has_a_name(page: chromium.Page, report: Path, fragment: str) -> None:
    page.open(report, fragment=fragment)
    assert {one: page.run(f"document.querySelectorAll('{one}').length") for one in LANDMARKS} == dict.fromkeys(LANDMARKS, 1)
    ids = page.run("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    assert page.run(MISSING) == []
    assert page.run(NAMELESS) == []
    assert len(page.run(REGIONS)) == len(set(page.run(REGIONS)))
    levels = page.run("[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map((one) => Number(one.localName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:]))
