# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""WCAG AA, measured on what the browser computed: every text and every edge of a control, in both themes and in every state."""

from __future__ import annotations

from pathlib import Path

import chromium
import pytest
from complete import complete
from samples import address, open_results, sample

# WCAG 2.1, 1.4.3: each text against the nearest opaque background; 4.5:1, or 3:1 for large text.
CONTRAST = """
(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const poor = new Set();
  for (const details of document.querySelectorAll('details')) details.open = true;
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest('svg, script, noscript')) continue;
    const style = getComputedStyle(element);
    let ground = element;
    while (ground && channels(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    const behind = element.closest('.heat') ? getComputedStyle(document.documentElement).getPropertyValue('--heat') : null;
    const hex = behind && behind.trim().match(/[0-9a-f]{2}/g).map((pair) => parseInt(pair, 16));
    const [a, b] = [light(channels(style.color)), light(hex ?? channels(getComputedStyle(ground ?? document.body).backgroundColor))].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) poor.add(`${element.tagName}.${element.className} ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
  }
  return [...poor];
})()
"""


# 1.4.11: the edge of what one can use, and the outline of what has the focus, against what is around it.
EDGES = """
(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const poor = new Set();
  for (const element of document.querySelectorAll('input[type=search], input[type=text], select, .quiet, .filter')) {
    if (!element.checkVisibility()) continue;
    let ground = element.parentElement;
    while (ground && channels(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
    const around = light(channels(getComputedStyle(ground ?? document.body).backgroundColor));
    element.focus({ preventScroll: true, focusVisible: true });
    const style = getComputedStyle(element);
    for (const color of [style.borderTopColor, style.outlineColor]) {
      const [a, b] = [light(channels(color)), around].sort((x, y) => y - x);
      if ((a + 0.05) / (b + 0.05) < 3) poor.add(`${element.className} ${color} ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
    }
  }
  return [...poor];
})()
"""
# Filters pressed, a finding marked, a list open below the search, everything that can be opened open.
ALL_STATES = """
(() => {
  for (const button of document.querySelectorAll('.filter')) if (button.dataset.value !== 'new') button.click();
  for (const opener of document.querySelectorAll('.opener')) opener.click();
  const field = document.getElementById('search');
  field.focus();
  field.value = 'memory';
  field.dispatchEvent(new Event('input'));
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["#fleet", address("web-1"), address("web-1", "N03")])
def test_text_and_edges_have_enough_contrast(page: chromium.Page, report: Path, tmp_path: Path, scheme: str, view: str) -> None:
    page.prefer(scheme)
    groups = {"pool_a": ["web-1"], "databases": ["db-1"]}
    open_results(page, tmp_path, [complete(sample("web-1")), sample("db-1"), sample("edge-1")], fragment=view, groups=groups, missing=True)
    assert page.run(EDGES) == []
    page.run(ALL_STATES)
    assert page.run("document.querySelectorAll('.finder-item').length") > 3
    assert page.run(CONTRAST) == []
    page.open(report)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_labels_of_the_treemap_have_enough_contrast(page: chromium.Page, scheme: str) -> None:
    page.prefer(scheme)
    script = """
    (() => {
      const style = getComputedStyle(document.documentElement);
      const linear = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
      const light = (name) => style.getPropertyValue(name).trim().match(/[0-9a-f]{2}/g).map((pair) => linear(parseInt(pair, 16)))
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
      const pairs = ['user', 'kernel', 'free', 'hugetlb', 'other'].map((group) => [light('--ink'), light(`--fill-${group}`)].sort((x, y) => y - x));
      return pairs.map(([a, b]) => (a + 0.05) / (b + 0.05));
    })()
    """
    page.run(f"document.documentElement.dataset.theme = '{scheme}'")
    assert min(page.run(script)) >= 4.5
