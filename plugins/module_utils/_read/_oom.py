# SPDX-License-Identifier: BSD-2-Clause

"""The kernel log, cut down to OOM kills (plugin_utils/_oom_reports.py understands it), and who would be next."""

from __future__ import annotations

import errno
import os
import re
import typing as t

from ._files import OUTPUT_DIR, Tree, Unreadable, display, whole_lines
from ._procfs import number

if t.TYPE_CHECKING:
    from ...plugin_utils._shapes import Process, Processes

DEVICE = "/dev/kmsg"
_MAX_RECORD = 8192
_MAX_RECORDS = 1000000
_BEGIN = b"invoked oom-killer"
_END = re.compile(rb"Killed process|oom_reaper: |no killable processes|are going to be killed")
# Tell something without their report, which may have been overwritten, rate-limited or interleaved.
_ALONE = re.compile(rb"oom-kill:|[Oo]ut of memory|killed as a result of limit|(?:memory|swap|kmem): usage \d")
# The call trace is most of a report and says nothing of memory.
_TRACE = re.compile(rb"Call Trace:|\+0x[0-9a-f]+/0x|</?TASK>|Hardware name:|(?:RIP|RSP|RAX|RDX|RBP|R10|R13|Code|FS|CS|CR2): ?[0-9a-f]")
# Behind the end of a report stand its other victims and the reaper's line.
_AFTER = 20
_MAX_REPORT = 20000
# Servers by the name of their process; Java's by an argument. Units, containers and images by all of the name behind the last slash.
_SERVERS = {
    "redis-server": "redis", "valkey-server": "redis", "keydb-server": "redis", "mongod": "mongodb", "postgres": "postgresql", "postmaster": "postgresql",
    "hdbindexserver": "sap_hana", "hdbnameserver": "sap_hana",
}  # fmt: skip
_PROGRAM = re.compile(
    r"(?:.*/)?(?:(?P<redis>redis(?:-stack|-cluster)?|valkey|keydb)|(?P<mongodb>(?:percona-server-)?mongo(?:d|db)?(?:-community|-enterprise)?)"
    r"|(?P<postgresql>postgres(?:ql)?|postgis)|(?P<elasticsearch>elasticsearch|opensearch)|(?P<cassandra>cassandra)|(?P<kafka>(?:cp-|confluent-)?kafka))"
    r"(?:-server|-[0-9]+)?(?:[@:][^/]*|\.service)?",
    re.DOTALL,
)
_JAVA = re.compile(rb"\0(?:org\.(?:apache\.)?(elasticsearch|opensearch|cassandra)\.|(kafka)\.Kafka\0)")
_MAX_ARGUMENTS = 65536


def read_log(tree: Tree) -> tuple[bytes, bool]:
    """/dev/kmsg, else what dmesg prints; and whether some of it was overwritten meanwhile. Raises Unreadable."""
    try:
        if tree.live:
            return _read_device(tree.fs_path(DEVICE))
        return tree.read(f"/{OUTPUT_DIR}/kmsg"), False
    except OSError as exc:
        problem = Unreadable.from_os_error(DEVICE, exc)
    except Unreadable as exc:
        problem = exc
    if problem.kind != "absent":
        raise problem
    return tree.output("dmesg", ["dmesg", "--raw"]).encode("utf-8", "surrogateescape"), False


def select_oom(log: bytes, *, limit: int) -> bytes:
    """The newest C(limit) bytes of OOM reports, behind the log's first line: since then it goes back."""
    lines = log.splitlines(keepends=True)
    kept: list[bytes] = []
    left = 0
    for line in lines:
        if _BEGIN in line:
            left = _MAX_REPORT
        if _END.search(line):
            left = _AFTER
        if left or _ALONE.search(line):
            kept += [] if _TRACE.search(line) else [line]
        left = max(0, left - 1)
    first, newest = b"".join(lines[:1]), b"".join(kept)
    if len(newest) > limit:
        newest = newest[-limit - 1 :].partition(b"\n")[2]
    return newest if newest.startswith(first) else first + newest


def _read_device(path: bytes) -> tuple[bytes, bool]:
    # Not Tree.read(): every read() gives one record, and the end is EAGAIN.
    parts: list[bytes] = []
    lost = False
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while len(parts) < _MAX_RECORDS:
            try:
                part = os.read(fd, _MAX_RECORD)
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno != errno.EPIPE:
                    raise
                # Overwritten: the next read() goes on with the oldest that is left.
                lost = True
                continue
            if not part:
                break
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts), lost


def read_processes(tree: Tree, *, page_size: int, top: int = 10) -> Processes:
    comms: dict[str, int] = {}
    found: list[Process] = []
    programs: dict[str, list[str]] = {}
    for name in tree.names("/proc"):
        process = _process(tree, name, page_size) if name.isdigit() else None
        if process is not None:
            comms[process["comm"]] = comms.get(process["comm"], 0) + 1
            found.append(process)
            known = _program(tree, process)
            if known:
                path = parse_cgroup(tree.read_or_empty(f"/proc/{name}/cgroup"))
                programs.setdefault(known, []).extend([path] if path else [])
    found.sort(key=lambda process: (-process.get("oom_score", -1), -process["rss_bytes"], process["pid"]))
    for process in found[:top]:
        _complete(tree, process)
    return {"count": len(found), "comms": comms, "top": found[:top], "programs": programs}


def parse_statm_rss(data: bytes) -> int | None:
    words = data.split()
    return number(words[1]) if len(words) == 7 and data.endswith(b"\n") else None


def parse_cgroup(data: bytes) -> str | None:
    """/proc/PID/cgroup → the path in the v1 memory hierarchy, else in the unified one."""
    unified = None
    for line in whole_lines(data):
        hierarchy, _colon, rest = line.partition(b":")
        controllers, colon, path = rest.partition(b":")
        if colon and path.startswith(b"/"):
            if b"memory" in controllers.split(b","):
                return display(path)
            if hierarchy == b"0" and not controllers:
                unified = display(path)
    return unified


def _process(tree: Tree, name: str, page_size: int) -> Process | None:
    pages = parse_statm_rss(tree.read_or_empty(f"/proc/{name}/statm"))
    comm = tree.read_or_empty(f"/proc/{name}/comm")
    if not pages or not comm:
        return None  # a kernel thread, a zombie, or ended meanwhile
    process: Process = {"pid": int(name), "comm": display(comm[:-1] if comm.endswith(b"\n") else comm), "rss_bytes": pages * page_size}
    score = number(tree.read_or_empty(f"/proc/{name}/oom_score").strip())
    if score is not None:
        process["oom_score"] = score
    return process


def program(name: str) -> str | None:
    match = _PROGRAM.fullmatch(name)
    return match.lastgroup if match else None


def _program(tree: Tree, process: Process) -> str | None:
    if process["comm"] != "java":
        return _SERVERS.get(process["comm"])
    match = _JAVA.search(tree.read_or_empty(f"/proc/{process['pid']}/cmdline", limit=_MAX_ARGUMENTS))
    return program(display(match.group(1) or match.group(2))) if match else None


def _complete(tree: Tree, process: Process) -> None:
    base = f"/proc/{process['pid']}"
    found = {"oom_score_adj": number(tree.read_or_empty(f"{base}/oom_score_adj").strip()), "cgroup": parse_cgroup(tree.read_or_empty(f"{base}/cgroup"))}
    process.update(t.cast("Process", {key: value for key, value in found.items() if value is not None}))
