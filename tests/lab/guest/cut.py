# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One tune or rollback on a guest, by the code that Ansible sends, with a fault before one of its operations: cut.py ZIP REQUEST [FAULT GLOB].

C(REQUEST) is a file: {do: tune or rollback, request}. C(GLOB) matches an operation ("rename /etc/sysctl.d/*"). Prints the answer as JSON. FAULT:

    kill    as by kill -9
    power   the machine starts anew, without a word to the disk
    hangup  waits until the connection that it was started by has gone
    clock   sets the clock back by a day
    list    nothing, but all operations are printed
"""

from __future__ import annotations

import fnmatch
import json
import os
import signal
import sys
import time
import typing as t

REACHED = "/run/memqos-cut"


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def power() -> None:
    with open("/proc/sysrq-trigger", "w") as trigger:
        trigger.write("b")
    time.sleep(60)


def hangup() -> None:
    parent = os.getppid()
    with open(REACHED, "w") as file:
        file.write(f"{os.getpid()}\n")
    while os.getppid() == parent:
        time.sleep(0.1)


def clock() -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.time() - 86400)


FAULTS = {"kill": kill, "power": power, "hangup": hangup, "clock": clock, "list": lambda: None}


def main(archive: str, request: str, fault: str = "", pattern: str = "") -> None:
    sys.path.insert(0, archive)
    from ansible_collections.memqos.fleet.plugins.module_utils import _tune, _undo
    from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
    from ansible_collections.memqos.fleet.plugins.module_utils._writer import Writer

    class Faulty(Writer):
        met = False

        def operation(self, what: str, path: str) -> None:
            super().operation(what, path)
            if fault == "list":
                print(f"{self.operations} {what} {path}")
            elif fault and not self.met and fnmatch.fnmatchcase(f"{what} {path}", pattern):
                self.met = True
                FAULTS[fault]()

    with open(request, encoding="utf-8") as file:
        asked: dict[str, t.Any] = json.load(file)
    writer = Faulty("/")
    work = _tune.Work(Tree("/"), writer, check=False)
    try:
        answer = (_tune.tune if asked["do"] == "tune" else _tune.rollback)(asked["request"], work)
    except _undo.FAILURES as exc:
        answer = {"problem": str(exc), "generation": 0}
    print(json.dumps({"problem": answer["problem"], "generation": answer["generation"], "met": writer.met, "notes": work.notes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
