# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports to look at: the sample results as they are, or with some of them replaced."""

from __future__ import annotations

import typing as t
from pathlib import Path
from urllib.parse import quote

import chromium

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_html, _results
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import Fleet

SAMPLES = str(Path(__file__).parents[1] / "unit" / "fixtures" / "results")
HOSTS = _results.known_hosts(SAMPLES)
HOSTILE = 'evil"><img src=x onerror=document.title=1>'
TITLE = f"Memory of {len(HOSTS)} hosts"
Json = dict[str, t.Any]


def address(host: str, *rest: str, query: str = "") -> str:
    return "#" + "/".join(quote(name, safe="") for name in ("host", host, *rest)) + query


def sample(host: str) -> Json:
    return _results.read_result(SAMPLES, host)


def write(
    path: Path, results: t.Iterable[Json], *, groups: t.Mapping[str, list[str]] | None = None, rules: t.Mapping[str, Json] | None = None, missing: bool = False
) -> Path:
    """The report of these results, all in full, the worst first."""
    fleet = Fleet({**_results.read_rules(SAMPLES), **(rules or {})}, top=10)
    lines = {result["host"]: (result, fleet.add(result)) for result in results}
    fleet.groups = groups or {}
    if missing:
        fleet.unreachable = ["gone<img src=x onerror=document.title=2>"]
        fleet.invalid = {"bad": "</script>"}
    details = [lines[line.name] for line in fleet.worst(len(lines))]
    _report_html.write_html(str(path), fleet, details, run_id="run", generated_at="now", plotly=_report_html.load_plotly())
    return path


def open_results(page: chromium.Page, path: Path, results: t.Iterable[Json], *, fragment: str = "", **options: t.Any) -> None:
    page.open(write(path / "other.html", results, **options), fragment=fragment)
    # The fixture looks for requests of other pages than the report; this one was asked for.
    page.events[:] = [event for event in page.events if event.get("method") != "Network.requestWillBeSent"]


def open_changed(page: chromium.Page, directory: Path, host: str, **keys: t.Any) -> str:
    """Open the report of one host with some of its result replaced → its text."""
    open_results(page, directory, [{**sample(host), **keys}])
    return t.cast("str", page.run("document.querySelector('main').innerText"))


def texts(page: chromium.Page, selector: str) -> list[str]:
    """What is shown of these elements, each as one line."""
    return t.cast("list[str]", page.run(f"[...document.querySelectorAll(`{selector}`)].map((one) => one.innerText.replaceAll(/\\s+/g, ' ').trim())"))


def press(page: chromium.Page, key: str) -> None:
    """A key of the keyboard, as the browser gets it."""
    code = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowDown": 40, "ArrowUp": 38, " ": 32}.get(key, ord(key[0]))
    text = "\r" if key == "Enter" else key if len(key) == 1 else ""
    page.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **({"text": text} if text else {}))
    page.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)


def write_text(page: chromium.Page, text: str) -> None:
    page.call("Input.insertText", text=text)
