# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""report.md, rendered as GitHub does: CommonMark with tables, strikethrough and links that make themselves."""

from __future__ import annotations

import html.parser
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from markdown_it import MarkdownIt

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_markdown, _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_inventory import InventoryReport
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_markdown import code, fenced, plain, table, write_markdown
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import Fleet, join_findings, visible
from ansible_collections.memqos.fleet.tests.unit.plugins.plugin_utils.made_results import (
    HOSTILE,
    NAMES,
    RULES,
    SAMPLES,
    accepted,
    counts,
    fill,
    finding,
    made,
    named,
)

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
OURS = {"h1", "h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "strong"}


class Reader(html.parser.HTMLParser):
    """Tags, the texts of table cells row by row, and headings."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.headings: list[str] = []
        self._into: list[list[str]] = []
        self.text = ""
        self.feed(RENDERER.render(source))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._into.append(self.rows[-1])
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")
            self._into.append(self.headings)

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._into:
            self._into[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "h1", "h2", "h3"):
            self._into.pop()


def write(tmp_path: Path, results: t.Sequence[dict[str, t.Any]], *, shown: int = 20, groups: t.Mapping[str, t.Sequence[str]] | None = None) -> str:
    fleet = Fleet(RULES, top=1)
    lines = {result["host"]: (result, fleet.add(result)) for result in results}
    fleet.unreachable, fleet.invalid = ["gone"], {"bad": "cut short\n|"}
    inventory = InventoryReport(str(tmp_path / "inventory.csv"), groups=groups or {})
    fill(inventory, results)
    details = [lines[line.name] for line in fleet.worst(shown)]
    write_markdown(str(tmp_path / "report.md"), fleet, iter(details), generated_at="2026-11-27T12:00:00Z", inventory=inventory.by_group if groups else [])
    return (tmp_path / "report.md").read_text(encoding="utf-8")


def fleet_of(hosts: t.Iterable[str]) -> Fleet:
    fleet = Fleet(RULES, top=1)
    for host in hosts:
        fleet.add(_results.read_result(SAMPLES, host))
    return fleet


PROMISED = {"allocatable_bytes": 100, "sum_request_bytes": 50, "sum_limit_bytes": 300, "stranded_bytes": 40}


def test_a_fleet(tmp_path: Path) -> None:
    hosts = _results.known_hosts(SAMPLES)
    page = Reader(write(tmp_path, [{**_results.read_result(SAMPLES, host), "derived": PROMISED} for host in hosts], groups={"pool": ["web-1"]}))
    assert "Workloads: requests 50 B (50%) and limits 300 B (300%) of 100 B, 40 B stranded." in page.text
    assert page.headings[:2] == ["Memory of 4 hosts", "Hosts"]
    assert "Findings: 15 critical, 6 warning, 2 info, 4 unknown, 0 accepted." in page.text
    assert [row[0] for row in page.rows if len(row) == 13][1:] == [line.name for line in fleet_of(hosts).worst(4)]
    assert ["gone", "no result in this run: unreachable or skipped"] in page.rows and ["bad", "cut short\\n|"] in page.rows
    assert ["critical", "C01", RULES["C01"]["title"], "2"] in page.rows
    assert {"Inventory", "pool", "What to do", "web-1", "Findings", "Where memory is", "Largest working sets", "OOM kills"} <= set(page.headings)
    assert page.tags <= OURS


@pytest.mark.parametrize("host", _results.known_hosts(SAMPLES))
def test_the_breakdown_of_a_host_is_whole(tmp_path: Path, host: str) -> None:
    result = _results.read_result(SAMPLES, host)
    page = Reader(write(tmp_path, [result]))
    parts = {row["name"] for row in result["breakdown"]["rows"]}
    assert {row[0] for row in page.rows if row[0] in parts and row[2].endswith("%")} == parts


def test_only_the_worst_are_in_full(tmp_path: Path) -> None:
    page = Reader(write(tmp_path, [made(), *(made(f"n{number}", findings=[], rules={}) for number in range(3))], shown=1))
    assert page.headings.count("Where memory is") == 1 and "The 1 worst hosts are here in full" in page.text
    assert [row[0] for row in page.rows if row[0].startswith("n")] == ["n0", "n1", "n2"]


CHANGES = {
    "since": {"run_id": "r", "collected_at": "2026-11-26T12:00:00Z", "generation": 2},
    "generation": 3,
    "findings": [
        {
            "rule": "C11",
            "subject": {"kind": "pod", "id": "/z", "name": "z"},
            "before": {"status": "fail", "observed": {"kills": 1}, "window": {"kind": "since_boot", "seconds": 9000}},
            "after": {"status": "pass", "observed": {"kills": 0}, "window": {"kind": "since_last_run", "seconds": 60}},
        },
        {
            "rule": "C03",
            "subject": "node",
            "before": {"status": "fail", "observed": {"swappiness": 0}},
            "after": {"status": "pass", "observed": {"swappiness": 1}},
        },
        {
            "rule": "C01",
            "subject": {"kind": "pod", "id": "/x", "name": "x"},
            "before": {"status": "fail", "observed": {}},
            "after": None,
            "because": "subject_gone",
        },
        {"rule": "C01", "subject": {"kind": "pod", "id": "/y", "name": "y"}, "before": None, "after": {"status": "fail", "observed": {"usage_bytes": 1024}}},
    ],
}


UNUSED = {"rule": "N09", "host": "db-*", "subject": "*", "reason": "known, ticket 8", "until": "2027-01-31"}


def test_findings_over_time(tmp_path: Path) -> None:
    findings = [finding("C01", "a", suppressed=accepted()), finding("C03", "b", suppression_expired=accepted("old ticket", "2026-01-01"))]
    page = Reader(write(tmp_path, [made(findings=findings, rules={"C03": counts(failed=7)}, changes=CHANGES, suppressions_unused=[UNUSED])]))
    assert ["N09", "db-*", "*", "2027-01-31", "known, ticket 8"] in page.rows
    title = {rule: f"{rule} {RULES[rule]['title']}" for rule in ("C01", "C03", "C11")}
    assert "Findings: 0 critical, 7 warning, 0 info, 0 unknown, 1 accepted." in page.text
    assert ["critical", title["C01"], "a", "2027-01-31", "known, ticket 7"] in page.rows
    assert ["warning", title["C03"], "b", "kills = 3 Was accepted until 2026-01-01: old ticket"] in page.rows
    assert "And 6 more, which the node counted and did not list." in page.text
    assert "Compared with 2026-11-26T12:00:00Z, generation 3 since then." in page.text
    assert [row for row in page.rows if row[0] in ("New", "Cured", "Not again", "Gone")] == [
        ["New", title["C01"], "y", "", "usage_bytes = 1.00 KiB"],
        ["Cured", title["C03"], "the node", "swappiness = 0", "swappiness = 1"],
        ["Not again", title["C11"], "z", "kills = 1", "kills = 0; since the last run, 1 min"],
        ["Gone", title["C01"], "x", "", "its subject is gone"],
    ]
    # What is accepted is among no findings, and asks nobody to do anything.
    assert "What to do" in page.headings and title["C01"] not in page.headings and title["C03"] in page.headings


def cell(markdown: str) -> tuple[str, set[str]]:
    """What a cell of a table with a neighbour shows, and its tags."""
    page = Reader("\n".join(table(("a", "b"), [[markdown, "end"]])))
    assert page.rows[1][1] == "end" and len(page.rows) == 2 and len(page.rows[1]) == 2
    return page.rows[1][0], page.tags - OURS


def shown(name: str) -> str:
    told = visible(name).encode("utf-8", "backslashreplace").decode()
    return told if told.strip() else "–"


@given(NAMES)
def test_any_name_is_only_text(name: str) -> None:
    for markdown, text in ((code(name), shown(name)), (f"x{plain(name)}", f"x{visible(name)}")):
        told, tags = cell(markdown)
        # A cell loses the spaces around it.
        assert (told.strip(), tags) == (text.strip(), set())


@pytest.mark.parametrize("name", [*HOSTILE, "x" * (1 << 20)], ids=lambda name: repr(name)[:24])
def test_a_hostile_name_breaks_no_table(tmp_path: Path, name: str) -> None:
    page = Reader(write(tmp_path, [named(name)], groups={name: [name]}))
    assert page.tags <= OURS | {"code"}
    widths = {len(row) for row in page.rows}
    assert widths <= {2, 3, 4, 5, 9, 13}
    cut = shown(name) if len(name) < 300 else f"{'x' * 299}…"
    assert [row[0].strip() for row in page.rows if len(row) == 13][1:] == [cut.strip()]
    assert cut.strip() in [heading.strip() for heading in page.headings]


@pytest.mark.parametrize("name", ["http://evil.example/", "www.evil.example", "a@evil.example"])
def test_no_link_makes_itself(name: str) -> None:
    assert "http:" not in plain(name) and "www." not in plain(name) and "@" not in plain(name)


@pytest.mark.parametrize(("text", "markdown"), [
    ("active_file: 5 (of 'all')", "active_file: 5 (of 'all')"),
    ("node.slab_bytes = 1.00 GiB", "node.slab_bytes = 1.00 GiB"),
    ("2026-11-27T12:00:00+00:00", "2026-11-27T12:00:00+00:00"),
    (":100: :x:", "&#58;100: &#58;x:"),
    ("_x_ and *y*", "&#95;x&#95; and &#42;y&#42;"),
])  # fmt: skip
def test_ordinary_text_stays_readable(text: str, markdown: str) -> None:
    assert plain(text) == markdown


def test_a_command_is_copied_as_it_is() -> None:
    command = "cat <<'EOF'\n```\nEOF\nsysctl -w vm.swappiness=1"
    page = Reader("\n".join(fenced(command)))
    assert page.text == f"{command}\n\n" and page.tags == {"pre", "code"}
    assert fenced(None) == [] and _report_markdown.fenced("") == []


def test_what_explains_a_finding_is_said_with_it(tmp_path: Path) -> None:
    rules = {**RULES, "C01": {**RULES["C01"], "because_of": ["C03"]}}
    line = join_findings({"findings": [finding("C01", "a"), finding("C03", "b")]}, rules)
    assert [(one.rule, _report_markdown._finding(one)[3].endswith(" Explained by C03.")) for one in line] == [("C03", False), ("C01", True)]
