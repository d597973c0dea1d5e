# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine that is audited as an operator would, before and after something was done to it."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.plugin_utils import _report_view, _results

from ..effect.guest import PRESSURE, Guest
from ..machines import LabError
from ..vms import State
from .table import DIRECTORY, Fault

# Emulated, and some of them fill memory.
_SEED_SECONDS = 600.0


class Line(t.NamedTuple):
    """A finding, in the order of the reports."""

    rule: str
    severity: str
    subject: str

    def __str__(self) -> str:
        return f"{self.rule} {self.severity}" + (f" ({self.subject})" if self.subject else "")


class Node:
    """C(out) gets the reports; what a run says is in its ansible.log."""

    def __init__(self, state: State, *, scratch: Path, out: Path) -> None:
        self._name = "node"
        self._guest = Guest(state, self._name, scratch=scratch, log=out / "ansible.log")
        self._out = out

    def audit(self) -> list[Line]:
        """What it finds, first things first; nothing of what is unknown. Raises LabError."""
        self._play("audit", {"memqos_report_formats": ["json", "html"]})
        result = _results.read_result(str(self._out), self._name)
        found = _report_view.join_findings(result, _results.read_rules(str(self._out)))
        return [Line(one.rule, one.severity, one.subject) for one in found if one.status == "fail"]

    def seed(self, fault: Fault) -> None:
        """Raises LabError if the fault cannot be made."""
        if fault.tuned:
            self._play("tune", {"memqos_profile": {"name": "faults", "summary": "What a tune had set", "host": fault.tuned}})
        self._guest.run(f"mkdir -p -m 0700 {DIRECTORY} && cat > {DIRECTORY}/pressure.py", stdin=PRESSURE.read_bytes())
        wait = f"n=0; until {fault.until}; do n=$((n + 1)); [ $n -lt 300 ] || exit 1; sleep 1; done" if fault.until else ""
        self._guest.run(f"set -e\n{fault.seed}\n{wait}", seconds=_SEED_SECONDS)

    def _play(self, playbook: str, variables: dict[str, t.Any]) -> None:
        status = self._guest.play(playbook, {"memqos_report_dir": str(self._out), **variables})
        if status:
            raise LabError(f"memqos.fleet.{playbook} ended with status {status}; {self._guest.log_end()}")
