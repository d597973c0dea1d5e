#!/usr/bin/env python
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""run_steps.py [--beside TARGET] TARGET…: runs these targets of the Makefile one after the other, to the end whatever fails, and counts.

--beside: what makes ready for suites (it counts as one failure if it fails). It runs beside the checks, which leave a processor idle, and the first suite
waits for it, as suites would disturb each other.

The last line is `N passed, N failed, N skipped`. It counts test cases, from the JUnit files that a suite leaves in build/junit/TARGET, and Molecule
scenarios, one each. A suite that leaves no case did not run, and that is one failure. Checks (lint, sanity) have no cases of ours: each that fails is one
failure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

JUNIT = Path("build/junit")
SUMMARY = Path("build/test-summary.txt")
CHECKS = ("lint", "sanity", "sanity-all")
# A log file is read without a terminal that would understand colours.
ENVIRONMENT = os.environ if sys.stdout.isatty() else {**os.environ, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1"}


@dataclass
class Count:
    """Test cases."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"

    def add(self, other: Count) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def count_cases(directory: Path) -> Count:
    """Count the test cases in the JUnit files of a directory. A file that is cut short is one failure."""
    count = Count()
    for report in sorted(directory.glob("*.xml")):
        try:
            cases = list(ElementTree.parse(report).iter("testcase"))
        except ElementTree.ParseError as error:
            print(f"{report}: {error}")
            count.failed += 1
            continue
        for case in cases:
            if case.find("failure") is not None or case.find("error") is not None:
                count.failed += 1
            elif case.find("skipped") is not None:
                count.skipped += 1
            else:
                count.passed += 1
    return count


def judge(target: str, *, code: int, cases: Count) -> Count:
    """What a target's exit status and its cases amount to."""
    if target in CHECKS:
        return Count(failed=int(code != 0))
    if target.startswith("molecule-"):
        return Count(passed=int(code == 0), failed=int(code != 0))
    silent = cases.passed + cases.failed + cases.skipped == 0
    if silent or (code != 0 and cases.failed == 0):
        cases.failed += 1
    return cases


def run(target: str) -> tuple[Count, float]:
    """Run one target; returns its count and its seconds."""
    shutil.rmtree(JUNIT / target, ignore_errors=True)
    print(f"\n==== {target}", flush=True)
    started = time.monotonic()
    code = subprocess.run(["make", target], env=ENVIRONMENT, check=False).returncode
    seconds = time.monotonic() - started
    count = judge(target, code=code, cases=count_cases(JUNIT / target))
    print(f"==== {target}: {'FAILED' if count.failed else 'ok'} in {seconds:.0f} s", flush=True)
    return count, seconds


class Beside:
    """A target that runs while others do; what it prints is in build/TARGET.log, and shown when it has ended."""

    def __init__(self, target: str) -> None:
        self.target, self.started = target, time.monotonic()
        self.log = SUMMARY.with_name(f"{target}.log")
        self.log.parent.mkdir(exist_ok=True)
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(["make", target], env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT)

    def wait(self) -> tuple[Count, float]:
        """Its count and its seconds."""
        code = self.process.wait()
        seconds = time.monotonic() - self.started
        print(f"\n==== {self.target}, beside the checks\n{self.log.read_text(encoding='utf-8', errors='replace').rstrip()}")
        print(f"==== {self.target}: {'FAILED' if code else 'ok'}, waited for until {seconds:.0f} s", flush=True)
        return Count(failed=int(code != 0)), seconds


def main(targets: list[str], beside: str | None = None) -> int:
    background = Beside(beside) if beside else None
    results = [(target, *run(target)) for target in targets if target in CHECKS]
    if background:
        results.append((background.target, *background.wait()))
    results += [(target, *run(target)) for target in targets if target not in CHECKS]
    print()
    total = Count()
    for target, count, seconds in results:
        total.add(count)
        told = "" if target in (*CHECKS, beside) else count
        print(f"{target:24} {'FAILED' if count.failed else 'ok':6} {seconds:6.0f} s   {told}".rstrip())
    print()
    SUMMARY.parent.mkdir(exist_ok=True)
    SUMMARY.write_text(f"{total}\n", encoding="utf-8")
    print(total, flush=True)
    return int(total.failed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--beside")
    parser.add_argument("targets", nargs="+")
    options = parser.parse_args()
    sys.exit(main(options.targets, options.beside))
