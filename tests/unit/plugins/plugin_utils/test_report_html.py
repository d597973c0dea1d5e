# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""report.html as a file: what its scripts get, and that nothing of a node is markup. tests/browser looks at it in a browser."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_html, _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import Fleet

SAMPLES = str(Path(__file__).parents[2] / "fixtures" / "results")
TEMPLATES = Path(_report_html.__file__).parent / "templates"
RULES = _results.read_rules(SAMPLES)
HOSTS = _results.known_hosts(SAMPLES)
PLOTLY = "/* plotly */"


class Reader(html.parser.HTMLParser):
    """The elements of a page, and the text of its scripts, as a browser's parser sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", {}))

    @property
    def data(self) -> list[t.Any]:
        return [json.loads(text) for attributes, text in self.scripts if attributes.get("type") == "application/json"]

    @property
    def code(self) -> list[str]:
        return [text for attributes, text in self.scripts if "type" not in attributes]


def page(tmp_path: Path, hosts: t.Sequence[str] = HOSTS, *, shown: int = 200, unreachable: t.Sequence[str] = ()) -> Reader:
    fleet = Fleet(RULES, top=3)
    results = [_results.read_result(SAMPLES, host) for host in hosts]
    details = [(result, fleet.add(result)) for result in results][:shown]
    fleet.unreachable = list(unreachable)
    path = tmp_path / "report.html"
    _report_html.write_html(str(path), fleet, details, run_id="run", generated_at="now", plotly=PLOTLY)
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def test_no_element_comes_from_a_node(tmp_path: Path) -> None:
    healthy = page(tmp_path, ["web-1", "db-1"], unreachable=["gone"])
    hostile = page(tmp_path, [HOSTS[2], "db-1"], unreachable=["</script><img src=x>"])
    assert [tag for tag, unused in hostile.tags] == [tag for tag, unused in healthy.tags]
    assert [sorted(attributes) for unused, attributes in hostile.tags] == [sorted(attributes) for unused, attributes in healthy.tags]


def test_the_title_is_escaped(tmp_path: Path) -> None:
    page(tmp_path, HOSTS[2:3])
    assert "<title>Memory of evil&#34;&gt;&lt;img src=x" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_data_comes_back_as_it_was(tmp_path: Path) -> None:
    *hosts, fleet = page(tmp_path).data
    assert [host["name"] for host in hosts] == HOSTS
    for host, name in zip(hosts, HOSTS):
        assert host["breakdown"] == _results.read_result(SAMPLES, name)["breakdown"]
    assert len(fleet["hosts"]) == len(HOSTS)
    assert [name for name, reason in fleet["invalid"]] == []


def test_only_our_scripts_may_run_and_nothing_may_be_fetched(tmp_path: Path) -> None:
    reader = page(tmp_path)
    (policy,) = [attributes["content"] or "" for tag, attributes in reader.tags if attributes.get("http-equiv") == "Content-Security-Policy"]
    allowed = re.findall(r"'sha256-([^']+)'", policy)
    assert allowed == [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in reader.code]
    assert len(allowed) == 3
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src" not in policy
    assert not [attributes for tag, attributes in reader.tags if "src" in attributes or (attributes.get("href") or "#").startswith(("http", "//"))]


def test_hosts_beyond_the_limit_have_their_line(tmp_path: Path) -> None:
    *hosts, fleet = page(tmp_path, shown=1).data
    assert len(hosts) == 1
    index = fleet["host_columns"].index("index")
    assert sorted(line[index] is None for line in fleet["hosts"]) == [False, True, True, True]
    assert fleet["shown"] == 1


@pytest.mark.parametrize("text", ["</script>", "<!--<script>", "]]>", "\u2028", "&lt;", "\ud800"])
def test_json_cannot_end_its_script(text: str) -> None:
    written = _report_html.script_json([text])
    assert not set("<>&") & set(written)
    assert json.loads(written) == [text]


def test_links_are_web_addresses() -> None:
    payload = _report_html.rule_payload("X", {"references": ["javascript:alert(1)", "https://docs.kernel.org/", "data:text/html,x", "http://a"]})
    assert payload["references"] == ["https://docs.kernel.org/", "http://a"]


def test_a_cure_names_setting_and_value() -> None:
    payload = _report_html.rule_payload("N03", RULES["N03"])
    assert (payload["setting"], payload["value"], payload["apply"]) == ("vm.watermark_scale_factor", "150", [])
    payload = _report_html.rule_payload("C01", RULES["C01"])
    assert (payload["setting"], payload["value"]) == ("resources.limits.memory", "")
    applied = {"vm.swappiness": {"raise_to": 1}, "memory.high": {"observed": "hard_set"}, "vm.dirty_ratio": 10}
    payload = _report_html.rule_payload("X", {"cure": {"apply": applied}})
    assert payload["apply"] == [["vm.swappiness", "at least 1", ""], ["memory.high", "", "hard_set"], ["vm.dirty_ratio", "10", ""]]
    assert _report_html.rule_payload("X", {})["severity"] == "warning"


def test_findings_that_are_not_listed_are_counted() -> None:
    result = _results.read_result(SAMPLES, "web-1")
    result["rules"]["C01"]["failed"] = 812
    assert _report_html.host_payload(result, RULES)["left_out"] == [["C01", 811]]


def test_scripts_put_nothing_on_the_page_as_markup() -> None:
    unsafe = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|fetch\(|XMLHttp|import\(")
    scripts = list(TEMPLATES.glob("*.js"))
    # Every one of them is on the page.
    assert {path.name for path in scripts} == {*_report_html._SCRIPTS, "report_theme.js"}
    for path in scripts:
        assert not unsafe.search(path.read_text(encoding="utf-8")), path


def test_plotly_is_found_without_importing_it() -> None:
    assert "plotly.js v" in _report_html.load_plotly()[:200]
    assert "plotly" not in sys.modules


def test_without_plotly_the_reason_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(_report_html.NoPlotly, match="pip install plotly"):
        _report_html.load_plotly()
