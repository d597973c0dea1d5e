# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Seeds one fault after the other, each on a machine of its own that was healthy before, and audits it: C(make faults), docs/testing.md.

Prints what the audit names first. The exit status is 1 if that is another rule, or if a healthy machine has a finding above info.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

from .. import sessions
from ..common import BOOT_PROGRAMS, Cache, require_programs
from ..inventory import machine_named
from ..machines import LabError, Machine
from ..sessions import booted
from . import audits
from .table import FAULTS, Fault


def main(argv: list[str] | None = None) -> int:
    """The exit status."""
    options = _options(argv)
    return sessions.run(lambda cache: _run(options, cache))


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="GLOB", help="of names or rules (default: all)")
    parser.add_argument("--out", type=Path, default=Path("build/faults"), metavar="DIRECTORY", help="for reports (default: %(default)s)")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="a case for each fault")
    options = parser.parse_args(argv)
    options.out = options.out.absolute()
    return options


def _run(options: argparse.Namespace, cache: Cache) -> int:
    faults = [fault for fault in FAULTS if fnmatch.fnmatchcase(fault.name, options.only) or fnmatch.fnmatchcase(fault.rule, options.only)]
    if not faults:
        raise LabError(f"no fault is called {options.only}, nor its rule")
    require_programs(BOOT_PROGRAMS)
    options.out.mkdir(parents=True, exist_ok=True)
    suite = ElementTree.Element("testsuite", name="faults")
    failed = 0
    for number, fault in enumerate(faults, start=1):
        started = time.monotonic()
        problem, first = _judge(fault, options.out / f"{number:02d}-{fault.rule or 'healthy'}", cache)
        failed += bool(problem)
        seconds = time.monotonic() - started
        print(f"{'FAILED' if problem else 'ok':6} {fault.rule or '-':5} {fault.name} ({fault.machine}, {seconds:.0f} s): {problem or first}", flush=True)
        case = ElementTree.SubElement(suite, "testcase", classname=fault.machine, name=fault.name, time=f"{seconds:.1f}")
        if problem:
            ElementTree.SubElement(case, "failure", message=problem)
    if options.junit:
        options.junit.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(suite).write(options.junit, encoding="utf-8", xml_declaration=True)
    print(f"{len(faults) - failed} of {len(faults)} as it should be: the fault named first, on a machine without findings above info before")
    return int(failed > 0)


def _judge(fault: Fault, out: Path, cache: Cache) -> tuple[str, str]:
    """(what is wrong with the audit, what it names first)."""
    machine = machine_named(fault.machine)
    if not isinstance(machine, Machine):
        raise LabError(f"{fault.machine} is a real machine: no place to seed faults")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="memqos-faults-") as scratch, booted(machine, cache, purpose="faults") as state:
        node = audits.Node(state, scratch=Path(scratch), out=out)
        try:
            before = node.audit()
            if ill := [line for line in before if line.severity != "info"]:
                return f"a healthy machine has findings: {', '.join(map(str, ill))}", ""
            if not fault.rule:
                return "", "; ".join(map(str, before)) or "nothing"
            node.seed(fault)
            found = node.audit()
        except LabError as exc:
            return str(exc), ""
    first = next(iter(found), None)
    told = "; ".join(map(str, found[:6])) or "nothing"
    return ("" if first and first.rule == fault.rule else f"it names {told}"), told


if __name__ == "__main__":
    sys.exit(main())
