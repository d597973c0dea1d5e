# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab whose QEMU only speaks its monitor's protocol, and whose ssh always succeeds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from ansible_collections.memqos.fleet.tests.lab.common import Cache
from ansible_collections.memqos.fleet.tests.lab.machines import Machine

SLEEP = "import time; time.sleep(600)"


@dataclasses.dataclass
class Lab:
    """A machine that can be started, the C(programs) it is started with, and what they were told."""

    cache: Cache
    programs: Path
    machine: Machine

    def behave(self, **words: str) -> None:
        """C(refuse): a command that QEMU refuses; C(end): one at which it ends; C(without): an option that it cannot do."""
        (self.programs / "behaviour.json").write_text(json.dumps(words))

    def said(self) -> list[str]:
        """The monitor's commands so far, one QEMU after the other, with the arguments that matter."""
        return self._lines("monitor.log")

    def forget(self) -> None:
        for log in self.programs.glob("*.log"):
            log.unlink()

    def scripts(self) -> list[str]:
        """The remote commands of ssh so far."""
        return self._lines("ssh.log")

    def script(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)

    def _lines(self, name: str) -> list[str]:
        log = self.programs / name
        return log.read_text().splitlines() if log.exists() else []
