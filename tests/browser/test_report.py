# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""report.html in a browser: it works by hand and keyboard, fits its screens, opens no connection, and runs nothing that a node said."""

from __future__ import annotations

import typing as t
from pathlib import Path

import chromium
import pytest
from samples import HOSTILE, HOSTS, SAMPLES, address, open_changed, press

from ansible_collections.memqos.fleet.plugins.plugin_utils import _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_parts import PARTS

TOP = "[aria-label='Top cgroups']"


def column(page: chromium.Page, index: int) -> list[str]:
    return t.cast("list[str]", page.run(f"[...document.querySelectorAll(`{TOP} tbody tr`)].map((row) => row.children[{index}].textContent)"))


def heads(page: chromium.Page, table: str = TOP) -> list[str]:
    return t.cast("list[str]", page.run(f"[...document.querySelectorAll(`{table} thead th:not([hidden])`)].map((head) => head.textContent)"))


def show_all(page: chromium.Page) -> None:
    page.run("for (const box of document.querySelectorAll('.chooser input')) if (!box.checked) box.click()")


def names_by(part: str, *, descending: bool) -> list[str]:
    rows = _results.read_result(SAMPLES, "web-1")["top"]["rows"]
    known = sorted((row for row in rows if isinstance(row.get(part), (int, float))), key=lambda row: row[part], reverse=descending)
    return [row["name"] for row in known] + [row["name"] for row in rows if not isinstance(row.get(part), (int, float))]


@pytest.mark.parametrize(("head", "part"), [("Usage", "usage"), ("active_file", "active_file"), ("Limit", "limit"), ("sock", "sock")])
def test_a_click_on_a_head_sorts_and_a_second_turns_round(page: chromium.Page, head: str, part: str) -> None:
    show_all(page)
    index = heads(page).index(head)
    for descending, direction in ((True, "descending"), (False, "ascending")):
        page.run(f"document.querySelectorAll(`{TOP} th:not([hidden]) > button`)[{index}].click()")
        assert page.run(f"document.querySelectorAll(`{TOP} thead th:not([hidden])`)[{index}].getAttribute('aria-sort')") == direction
        assert page.run(f"document.querySelectorAll(`{TOP} [aria-sort=ascending], {TOP} [aria-sort=descending]`).length") == 1
        assert column(page, 0) == names_by(part, descending=descending)


def test_tables_sort_by_keyboard(page: chromium.Page) -> None:
    head = f"[...document.querySelectorAll(`{TOP} th:not([hidden])`)].find((one) => one.textContent === 'Usage')"
    page.run(f"{head}.querySelector('button').focus()")
    for key, direction in (("Enter", "descending"), (" ", "ascending")):
        press(page, key)
        assert page.run(f"{head}.getAttribute('aria-sort')") == direction
        assert column(page, 0) == names_by("usage", descending=direction == "descending")


def test_the_drop_down_sorts_by_any_part(page: chromium.Page) -> None:
    choose = "choice.value = [...choice.options].find((one) => one.text === 'anon').value; choice.dispatchEvent(new Event('change'))"
    page.run(f"{{ const choice = [...document.querySelectorAll('.controls select')].at(-1); {choose}; }}")
    assert column(page, 0) == names_by("anon", descending=True)
    page.run("[...document.querySelectorAll('.controls button')].find((button) => button.textContent === 'Largest first').click()")
    assert column(page, 0) == names_by("anon", descending=False)


def test_the_table_starts_compact_and_every_part_can_be_chosen(page: chromium.Page) -> None:
    first = ["Name", "Kind", "QoS", "Usage", "Working set", "SysOM set", "Hard set", "anon", "active_file", "inactive_file", "shmem", "kernel"]
    first += ["growth", "refaults", "Limit"]
    assert heads(page) == first
    page.run("[...document.querySelectorAll('.chooser label')].find((label) => label.textContent === 'percpu').click()")
    assert heads(page) == [*first[:12], "percpu", *first[12:]]
    page.run("[...document.querySelectorAll('.chooser label')].find((label) => label.textContent === 'shmem').click()")
    assert "shmem" not in heads(page)
    # What the table is sorted by is shown, whether it was chosen or not.
    options = page.run("[...[...document.querySelectorAll('.controls select')].at(-1).options].map((one) => one.text)")
    for part in options:
        choose = f"choice.value = [...choice.options].find((one) => one.text === '{part}').value; choice.dispatchEvent(new Event('change'))"
        page.run(f"{{ const choice = [...document.querySelectorAll('.controls select')].at(-1); {choose}; }}")
        assert part in heads(page)
        assert len(heads(page)) == page.run(f"document.querySelector(`{TOP} tbody tr`).children.length")
    assert {part.label for part in PARTS.values()} - set(options) == {"swap"}


def test_a_row_opens_and_tells_settings_and_events(page: chromium.Page) -> None:
    opener = f"document.querySelectorAll(`{TOP} .opener`)[2]"
    assert page.run(f"{opener}.getAttribute('aria-expanded')") == "false"
    page.run(f"{opener}.click()")
    opened = f"document.querySelector(`{TOP} .opened`)"
    text = page.run(f"{opened}.innerText")
    for words in ("Identity", "/kubepods.slice/kubepods-pod00000002", "Settings", "limit", "16.0 GiB", "State", "peak"):
        assert words in text, words
    assert page.run(f"{opener}.getAttribute('aria-expanded')") == "true"
    # It stays open when the table is sorted anew, below its row.
    name = page.run(f"{opener}.textContent")
    page.run("[...document.querySelectorAll('.controls button')].find((button) => button.textContent === 'Largest first').click()")
    assert page.run(f"{opened}.previousElementSibling.firstElementChild.textContent") == name
    page.run(f"{opened}.previousElementSibling.querySelector('button').click()")
    assert page.run(f"document.querySelectorAll(`{TOP} .opened`).length") == 0


def card(page: chromium.Page, title: str) -> str:
    return t.cast(
        "str", page.run(f"[...document.querySelectorAll('main .card')].find((one) => one.querySelector('h2').textContent === '{title}')?.innerText ?? ''")
    )


def test_the_kernel_log_is_not_said_to_be_clean_when_nobody_saw_it(page: chromium.Page, report: Path, tmp_path: Path) -> None:
    page.open(report, fragment=address("edge-1"))
    assert "The kernel log has no OOM kill." in card(page, "Out of memory")
    unread = open_changed(page, tmp_path, "edge-1", unknown={"oom": "needs root"})
    assert "The kernel log could not be read: needs root" in card(page, "Out of memory")
    assert "no OOM kill" not in unread
    wrapped = open_changed(page, tmp_path, "edge-1", oom={"lost": True, "since_us": 1})
    assert "The kernel log has no OOM kill. The kernel log goes back only to" in wrapped
    page.open(report)


def test_growth_and_refaults_stand_apart_and_what_shrank_has_not_grown(page: chromium.Page, report: Path, tmp_path: Path) -> None:
    rows = [{"path": "/a/7c2f", "kind": "cgroup", "name": "7c2f", "growth": -4096, "refaults": 193, "usage": 1}, {"path": "/b", "name": "b", "growth": 8192}]
    open_changed(page, tmp_path, "edge-1", pushers=rows)
    for title, shown in (("Growth", ["b", "", "8.00 KiB", "–"]), ("Refaults", ["/a/7c2f", "cgroup", "193", "1 B"])):
        lines = f"[...document.querySelectorAll(`[aria-label='Who pushed: {title}'] tbody tr`)]"
        assert page.run(f"{lines}.map((row) => [...row.children].map((cell) => cell.textContent))") == [shown]
    page.open(report)


def test_small_tables_subsystems_and_the_tally_of_rules(page: chromium.Page, report: Path, tmp_path: Path) -> None:
    result = _results.read_result(SAMPLES, "web-1")
    slabs = [{"name": f"cache-{number}", "bytes": 4096 * number} for number in range(30)]
    details = {"thp": {"enabled": "madvise", "khugepaged": {"defrag": 1}}}
    zones = [{**zone, "low_order_free_share": 0.953} for zone in result["zones"]]
    text = open_changed(page, tmp_path, "web-1", node={**result["node"], "slabs": slabs, "details": details}, zones=zones)
    assert page.run("document.querySelectorAll(`[aria-label='Largest slab caches'] tbody tr`).length") == 15
    assert "95.3 % of it in blocks of order 0 to 3" in text
    assert "10 rules: 6 failed, 1 unknown, 3 passed." in text
    page.run("for (const details of document.querySelectorAll('details')) details.open = true")
    nested = page.run("[...document.querySelectorAll('.nested .inner')].map((one) => one.innerText.replaceAll('\\n', ' '))")
    assert "khugepaged defrag 1" in nested
    assert page.run("document.documentElement.scrollWidth") <= 1440
    page.open(report)


def test_absent_parts_are_named(page: chromium.Page) -> None:
    show_all(page)
    wanted = ["Name", "Kind", "QoS", "Usage", "Working set", "SysOM set", "Hard set", "anon", "file", "active_anon", "inactive_anon", "active_file"]
    wanted += ["inactive_file", "dirty", "writeback", "mapped", "shmem", "slab recl.", "slab unrecl.", "kernel", "kernel_stack", "pagetables", "percpu"]
    wanted += ["vmalloc", "sock", "kernel other", "unevictable", "dying", "peak", "growth", "refaults", "Limit", "Request"]
    assert heads(page) == wanted
    assert "Not told by this kernel: swap." in page.run("document.querySelector('main').textContent")


def test_a_finding_opens_by_keyboard_and_tells_why_and_how(page: chromium.Page) -> None:
    page.run("document.querySelector('.finding summary').focus()")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r" if kind == "keyDown" else "")
    page.until("document.querySelector('.finding').open")
    text = page.run("document.querySelector('.finding').innerText")
    for words in ("A container was killed at its limit", "shop/checkout-7d9f/app", "The cgroup reached memory.max", "16.0 GiB", "kubectl set resources"):
        assert words in text
    assert page.run("document.querySelector('.finding a').href") == "https://docs.kernel.org/admin-guide/cgroup-v2.html"


def test_the_command_is_copied_as_it_is_shown(page: chromium.Page) -> None:
    # The clipboard itself belongs to the desktop: what is handed to it is what counts.
    page.run("Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text; }}, configurable: true})")
    page.run("document.querySelector('.copy').click()")
    page.until("document.querySelector('.copy').textContent === 'Copied'")
    assert page.run("window.copied") == "kubectl set resources deployment/NAME --limits=memory=2Gi"


def test_the_breakdown_sums_to_memtotal_and_negative_rows_are_in_the_table(page: chromium.Page, report: Path) -> None:
    assert "equals MemTotal" in page.run("document.querySelector('.breakdown tfoot').innerText")
    page.until("document.querySelectorAll('.treemap .slice').length > 8")
    page.open(report, fragment=address("edge-1"))
    assert "equals MemTotal" in page.run("document.querySelector('.breakdown tfoot').innerText")
    assert "Unaccounted\t−580 KiB" in page.run("document.querySelector('.breakdown tbody').innerText")
    page.until("document.querySelectorAll('.treemap .slice').length > 8")
    assert "Unaccounted" not in page.run("document.querySelector('.treemap').textContent")


def test_zones_say_how_far_reclaim_is(page: chromium.Page) -> None:
    zones = page.run("[...document.querySelectorAll('.zone')].map((zone) => zone.innerText)")
    assert len(zones) == 3
    assert "628 MiB before kswapd wakes, 688 MiB before tasks must reclaim themselves" in zones[2]
    assert "boosted by 12.0 MiB" in zones[2]


def test_the_fleet_shows_hosts_rules_and_the_largest_cgroups(page: chromium.Page, report: Path) -> None:
    page.open(report, fragment="#fleet")
    first = page.run("[...document.querySelectorAll('[aria-label=Hosts] tbody tr')].map((row) => row.children[0].textContent)")
    assert first[1:] == ["web-1", "db-1", "edge-1"]
    assert "A container was killed at its limit" in page.run("document.querySelector(\"[aria-label='Findings by rule']\").innerText")
    top = page.run("[...document.querySelector(\"[aria-label='Top cgroups of the fleet'] tbody tr\").children].slice(0, 3).map((cell) => cell.textContent)")
    assert top == ["kubepods.slice", "web-1", "slice"]


def test_the_theme_follows_the_system_and_the_button(page: chromium.Page, report: Path) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.run(background)
    page.run("document.getElementById('theme').click()")
    dark = page.run(background)
    assert light != dark
    assert page.run("document.getElementById('theme').textContent") == "Light"
    page.open(report)
    assert page.run(background) == dark
    page.run("localStorage.clear()")
    page.open(report)
    assert page.run(background) == light
    page.prefer("dark")
    page.open(report)
    assert page.run(background) == dark


@pytest.mark.parametrize("width", [390, 820, 1440])
@pytest.mark.parametrize("view", ["#fleet", *map(address, HOSTS)])
def test_the_page_never_scrolls_sideways(page: chromium.Page, report: Path, width: int, view: str) -> None:
    page.resize(width, 900)
    page.open(report, fragment=view)
    page.run("for (const details of document.querySelectorAll('details')) details.open = true")
    page.run("for (const opener of document.querySelectorAll('.opener')) opener.click()")
    assert page.run("document.documentElement.scrollWidth") <= width


def test_what_a_hostile_node_says_is_text(page: chromium.Page, report: Path) -> None:
    page.open(report, fragment=address(HOSTILE))
    page.until("document.querySelectorAll('.treemap .slice').length > 4")
    page.run("for (const button of document.querySelectorAll('.more')) button.click()")
    page.run("for (const details of document.querySelectorAll('details')) details.open = true")
    # Time for anything that had been planted to run.
    page.run("new Promise((done) => setTimeout(done, 300))")
    assert page.run("document.querySelectorAll('img, iframe, object, embed, form, main script, main style').length") == 0
    assert page.run("[...document.querySelectorAll('a[href]')].map((link) => link.protocol).filter((one) => !['https:', 'file:'].includes(one))") == []
    assert page.run("[...document.querySelectorAll('main svg a')].length") == 0
    # Plotly reads a small HTML in labels: what it was given comes out as it was.
    labels = page.run("[...document.querySelectorAll('.treemap text')].map((label) => label.textContent)")
    assert "x<br>%{value}<b>1.00 GiB · 12.5 %" in labels
    assert "<b>bold</b><a href=\"javascript:document.title='hacked'\">x</a>&lt;amp;&amp;2.00 GiB · 25.0 %" in labels
    text = page.run("document.querySelector('main').textContent")
    for words in (
        "<img src=x onerror=document.title='hacked'>",
        "</script><script>document.title='hacked'</script>",
        "esc\\x1b[31mred\\x1b]0;owned\\x07",
        "rtl\\u202egnp.exe\\u2066x",
        "line one\\nline two\\r\\ttab",
        "quotes \" ' ` ${7*7} {{7*7}} %{label}",
        "<b>bold</b><a href=\"javascript:document.title='hacked'\">x</a>&lt;amp;&amp;",
        "<!--<script>",
        "nul\\x00 \\u2028 \\u2029 \\u200b zero \\ud7ff",
        "__proto__",
        "n" * 300,
        "バックアップ 🔥 données",
        "x<br>%{value}<b>",
    ):
        assert words in text, words
    assert page.run("/[\\u0000-\\u0009\\u000b-\\u001f\\u202a-\\u202e\\u2066-\\u2069]/.test(document.querySelector('main').textContent)") is False
    page.run("document.querySelector('#views [data-view=fleet]').click()")
    assert "gone<img src=x onerror=document.title=2>" in page.run("document.getElementById('missing').textContent")


def test_the_policy_stops_what_would_get_in(page: chromium.Page) -> None:
    page.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=3\"><iframe src=\"https://example.org/\"></iframe>')")
    page.run("{ const script = document.createElement('script'); script.textContent = 'document.title = 4'; document.body.append(script); }")
    page.run("fetch('https://example.org/').catch(() => undefined)")
    page.run("new Promise((done) => setTimeout(done, 300))")
    refused = [event for event in page.events if event.get("method") == "Log.entryAdded" and "Content Security Policy" in event["params"]["entry"]["text"]]
    assert len(refused) >= 4
    # These complaints were asked for; the title is looked at by the fixture.
    page.events[:] = [event for event in page.events if event.get("method") != "Log.entryAdded" and event.get("method") != "Network.requestWillBeSent"]
