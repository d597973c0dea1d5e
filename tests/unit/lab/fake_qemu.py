# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""QEMU as the lab sees it: a process with a monitor on an open file. It lies where its behaviour and its log lie."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ARGV = " ".join(sys.argv)
USERNET = "Hub -1 (net):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
USERNET += "  TCP[HOST_FORWARD]   3       127.0.0.1 45615       10.0.2.15    22     0     0\r\n"


def answer(command: str, arguments: dict[str, str], behaviour: dict[str, str]) -> dict[str, object]:
    """What QEMU 7.2 answers."""
    if command == behaviour.get("refuse"):
        return {"error": {"class": "GenericError", "desc": "not here"}}
    if command == behaviour.get("end"):
        print("fake: last words", file=sys.stderr)
        sys.exit(7)
    if command == "migrate":
        subprocess.run(["sh", "-c", arguments["uri"].removeprefix("exec:")], input=b"devices", check=True)
    if command == "human-monitor-command":
        return {"return": USERNET}
    return {"return": {"status": "completed"} if command == "query-migrate" else {}}


def main() -> None:
    """Until C(quit), or for ever when the lab has gone."""
    behaviour_file = HERE / "behaviour.json"
    behaviour = json.loads(behaviour_file.read_text()) if behaviour_file.exists() else {}
    if behaviour.get("without", "nothing") in ARGV:
        sys.exit("fake: cannot allocate memory")
    Path(sys.argv[sys.argv.index("-pidfile") + 1]).write_text(str(os.getpid()))
    for directory in re.findall(r"mem-path=(\S+),share=on", ARGV):
        Path(directory).write_text("memory")
    found = re.search(r"socket,id=monitor,fd=(\d+)", ARGV)
    assert found
    with socket.socket(fileno=int(found[1])) as connection, connection.makefile("rw") as monitor:
        print(json.dumps({"QMP": {}}), file=monitor, flush=True)
        for line in monitor:
            request = json.loads(line)
            with (HERE / "monitor.log").open("a") as log:
                print(request["execute"], *map(str, request["arguments"].values()), file=log)
            print(json.dumps({"event": "SOMETHING", "data": {}}), file=monitor, flush=True)
            print(json.dumps(answer(request["execute"], request["arguments"], behaviour)), file=monitor, flush=True)
            if request["execute"] == "quit":
                return
    signal.pause()


if __name__ == "__main__":
    main()
