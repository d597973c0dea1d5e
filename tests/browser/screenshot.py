#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A picture of a report: screenshot.py build/report/report.html report.png [--width 1440 --height 900 --dark --view host/node17 --whole]."""

from __future__ import annotations

import argparse
import pathlib

import chromium


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--view", default="", help="an address: fleet, host/NAME, host/NAME/RULE/SUBJECT")
    parser.add_argument("--open", action="store_true", help="open the first finding")
    parser.add_argument("--scroll", default="", help="CSS selector of what to scroll to")
    parser.add_argument("--whole", action="store_true", help="the whole page, not only what fits the window")
    arguments = parser.parse_args()
    with chromium.Page(width=arguments.width, height=arguments.height) as page:
        page.prefer("dark" if arguments.dark else "light")
        page.open(arguments.report, fragment=f"#{arguments.view}" if arguments.view else "")
        if arguments.open:
            page.run("document.querySelector('.finding summary')?.click()")
        if arguments.whole:
            page.resize(arguments.width, page.run("document.documentElement.scrollHeight"))
        if arguments.scroll:
            page.run(f"document.querySelector({arguments.scroll!r}).scrollIntoView()")
        # Plotly draws its text in a later frame.
        page.run("new Promise((done) => setTimeout(done, 800))")
        page.screenshot(arguments.picture)


if __name__ == "__main__":
    main()
