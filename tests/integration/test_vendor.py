# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Vendor kernels as a mounted file system: what programs see by system calls, and what the collection reads and writes there."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import jsonschema
import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _diagnosis, _snapshot
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _texts
from ansible_collections.memqos.fleet.plugins.module_utils._knobs._values import KnobValueError
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Writer
from ansible_collections.memqos.fleet.plugins.modules import cgroup_memory_info
from ansible_collections.memqos.fleet.tests.lab.vendor import filesystem
from ansible_collections.memqos.fleet.tests.lab.vendor.mount import Mounted, is_mounted, mounted, unmount
from ansible_collections.memqos.fleet.tests.lab.vendor.tables import FLAVOURS

from .conftest import ROOT

# No mount, no test: what is missing is said, and that is a failure. CI has it.
filesystem.library()

MIB = 1 << 20
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "host.json").read_text(encoding="utf-8"))


class Node(t.NamedTuple):
    flavour: str
    mounted: Mounted
    group: Path

    @property
    def path(self) -> str:
        """Of the cgroup's directory on the node."""
        return f"{FLAVOURS[self.flavour].mount}/{self.group.name}"

    @property
    def limit(self) -> str:
        return "memory.limit_in_bytes" if self.flavour.endswith("v1") else "memory.max"


@pytest.fixture(params=sorted(FLAVOURS))
def node(request: pytest.FixtureRequest, tmp_path: Path) -> t.Iterator[Node]:
    """A flavour, and a cgroup of ours."""
    with mounted(request.param, tmp_path) as one:
        group = Path(f"{one.root}{FLAVOURS[request.param].mount}") / "ours"
        group.mkdir()
        yield Node(request.param, one, group)


def code(work: t.Callable[[], object]) -> str:
    with pytest.raises(OSError) as raised:
        work()
    return errno.errorcode[raised.value.errno or 0]


# System calls


def test_a_cgroup_is_a_directory_of_the_kernel(node: Node) -> None:
    below = node.group / "below"
    if node.flavour.endswith("v2"):
        (node.group / "cgroup.subtree_control").write_text("+memory\n")
    before = (node.group.stat().st_nlink, node.group.stat().st_ino)
    below.mkdir()
    # A leaf has two links: this is how the collection knows one.
    assert before[0] == 2 and node.group.stat().st_nlink == 3 and node.group.stat().st_ino == before[1]
    assert {entry.name for entry in os.scandir(node.group) if entry.is_dir()} == {"below"}
    assert (below / node.limit).read_text() == ("9223372036854771712\n" if node.flavour.endswith("v1") else "max\n")
    assert (below / node.limit).stat().st_size == 0
    assert code(node.group.rmdir) == "EBUSY"
    inode = below.stat().st_ino
    below.rmdir()
    below.mkdir()
    assert below.stat().st_ino != inode
    assert code(lambda: (node.group / "mine").write_text("x")) == "EACCES"  # measured on cgroup v1 of Linux 6.18
    assert code((node.group / node.limit).unlink) == "EPERM"
    assert code(lambda: os.rename(node.group / node.limit, node.group / "other")) == "EPERM"
    assert code((node.group / "memory.nothing").read_text) == "ENOENT"
    assert code(lambda: (node.group / "memory.stat").write_text("1\n")) == "EINVAL"


def test_the_rest_of_the_node_are_files(node: Node) -> None:
    root = node.mounted.root
    assert (root / "proc/sys/kernel/osrelease").read_text().strip() == FLAVOURS[node.flavour].release
    assert (root / "proc/meminfo").read_text().startswith("MemTotal:")
    (root / "var/lib/memqos").mkdir()
    (root / "var/lib/memqos/new").write_text("text")
    (root / "var/lib/memqos/new").rename(root / "var/lib/memqos/journal")
    assert (root / "var/lib/memqos/journal").read_text() == "text"
    assert code(lambda: (root / "proc/sys/vm/mine").write_text("x")) == "EACCES"


def test_figures_are_set_by_a_file(node: Node) -> None:
    node.mounted.figure("/ours", usage=8 * MIB, stat={"inactive_file": 4 * MIB})
    usage = "memory.usage_in_bytes" if node.flavour.endswith("v1") else "memory.current"
    assert (node.group / usage).read_text() == f"{8 * MIB}\n"
    assert f"inactive_file {4 * MIB}\n" in (node.group / "memory.stat").read_text()
    assert code(lambda: node.mounted.figure("/ours", nothing=1)) == "EINVAL"
    assert code(lambda: node.mounted.figure("/nowhere", usage=1)) == "ENOENT"


# Nothing stays mounted


def test_what_ends_a_server_in_order(tmp_path: Path) -> None:
    argv = [sys.executable, str(ROOT / "tests" / "lab"), "vendor", "opencloudos_v2", str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stderr is not None and server.stdout.readline() == b"mounted\n"
        server.terminate()
        assert (server.wait(30), server.stderr.read()) == (0, b"") and not is_mounted(tmp_path)
    missing = subprocess.run([*argv[:-1], str(tmp_path / "nowhere")], capture_output=True, text=True, check=False)
    assert missing.returncode == 1 and "could not mount there" in missing.stderr


def test_a_killed_server_leaves_no_mount(tmp_path: Path) -> None:
    with mounted("anolis_v1", tmp_path) as one:
        os.kill(one.pid, signal.SIGKILL)
    assert not is_mounted(one.root) and list(tmp_path.iterdir()) == []


HOLDS = """
import pathlib, time
from ansible_collections.memqos.fleet.tests.lab.vendor.mount import mounted
with mounted("anolis_v1", pathlib.Path({!r})) as one:
    print(one.root, flush=True)
    time.sleep(600)
"""


def test_a_killed_test_leaves_no_mount(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS.format(str(tmp_path))], stdout=subprocess.PIPE, text=True) as test:
        assert test.stdout is not None
        root = Path(test.stdout.readline().strip())
        assert is_mounted(root)
        test.kill()
    deadline = time.monotonic() + 20
    while is_mounted(root) and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        assert not is_mounted(root)
    finally:
        if is_mounted(root):
            unmount(root)


# The registry


def ends(knob: t.Any, kernel: str) -> list[str]:
    """Both ends of a range, one beyond each, words that are known, and one that is none. (-1 is a word for no limit.)"""
    low, high = _registry.range_for(knob, kernel) or (None, None)
    below = [] if low is None else [-2 if knob.unit == "bytes or max" else low - 1]
    numbers = [*below, *([] if low is None else [low]), *([1 << 20] if high is None else [high, high + 1])]
    return [*map(str, numbers), *knob.choices, "nonsense"]


def taken(writer: Writer, path: str, knob: t.Any, text: str, kernel: str) -> None:
    """What the validator lets through is written and read back, what it refuses the kernel refuses."""
    try:
        normal = _registry.validate(knob, text, kernel)
    except KnobValueError:
        assert code(lambda: writer.kernel_write(path, text)) == "EINVAL", (path, text)
        return
    writer.kernel_write(path, _texts.kernel_text(normal))
    assert _registry.same(knob, writer.kernel_read(path), normal, 4096), (path, text)


def test_registry_and_kernel_take_the_same(node: Node) -> None:
    """Every vendor's file of the cgroup and the host: what the writer may write there, and the validator lets a profile say."""
    writer = Writer(str(node.mounted.root))
    flavour = FLAVOURS[node.flavour]
    seen = {}
    for file in os.listdir(node.group):
        knob = _registry.of_path(f"{node.path}/{file}")
        if knob and knob.access == "rw" and (knob.ranges or knob.choices) and (knob.vendor != "mainline" or knob.v1_vendor):
            seen[f"{node.path}/{file}"] = knob
    for switch in flavour.switches:
        knob = _registry.of_path(switch.path)
        assert knob is not None, f"{switch.path} is in no row of the registry"
        if knob.access != "wo":
            seen[switch.path] = knob
    for path, knob in seen.items():
        before = writer.kernel_read(path)
        for text in ends(knob, flavour.release):
            taken(writer, path, knob, text, flavour.release)
        writer.kernel_write(path, before)
    assert len(seen) >= {"anolis": 35, "openeuler": 7, "opencloudos": 2, "mainline": 0}[node.flavour.split("_")[0]], list(seen)


def test_every_vendor_file_is_in_the_registry(node: Node) -> None:
    """Those that can be set have a row, those that only tell are read."""
    told = _registry.wanted().vendor_files
    for file in FLAVOURS[node.flavour].files:
        if any(word in file.name for word in ("wmark", "pagecache", "priority", "exstat", "latency", "idle_page_stats", "qos", "async", "reap")):
            if file.take is not None and not file.name.endswith((".local", "_latency")):
                assert _registry.find(file.name).vendor != "mainline"
            assert file.name in told or file.name.endswith(".local"), file.name


# The audit

LATENCY = {"1-5": 12, "10-100": 3, "total": 171}


def seeded(node: Node) -> None:
    node.mounted.figure("/ours", usage=64 * MIB, stat={"inactive_file": 8 * MIB, "active_file": 16 * MIB})
    if node.flavour.startswith("anolis"):
        Writer(str(node.mounted.root)).kernel_write("/sys/kernel/mm/kidled/scan_period_in_seconds", "120")
        for name, text in ((node.limit, "1G"), ("memory.wmark_ratio", "95"), ("memory.wmark_min_adj", "50"), ("memory.low", "16M")):
            (node.group / name).write_text(f"{text}\n")
        for cgroup in ("/ours", "/"):
            node.mounted.figure(
                cgroup,
                latency={"memory.direct_reclaim_memcg_latency": LATENCY},
                exstat={"wmark_min_throttled_ms": 40, "wmark_reclaim_work_ms": 7},
                idle={"cfei": [0, 0, 4 * MIB], "dsea": [0, 0, 0, MIB]},
            )


ANOLIS = {
    "memory.wmark_ratio": 95,
    "memory.wmark_min_adj": 50,
    "memory.wmark_high": 249036 * 4096,
    "memory.exstat": {"wmark_min_throttled_ms": 40, "wmark_reclaim_work_ms": 7, "pagecache_limit_reclaimed_kb": 0},
    "memory.direct_reclaim_memcg_latency": {"1-5": 12, "10-100": 3, "total_ms": 171},
    "memory.direct_compact_latency": {"total_ms": 0},
    "memory.idle_page_stats": {
        "scans": 1, "period_seconds": 120, "ages": [1, 2, 5, 15, 30, 60, 120, 240], "file": [0, 0, 4 * MIB, 0, 0, 0, 0, 0], "anon": [0, 0, 0, MIB, 0, 0, 0, 0],
    },
}  # fmt: skip
EXPECTED: dict[str, dict[str, t.Any]] = {
    "mainline_v1": {},
    "mainline_v2": {},
    "anolis_v1": {**ANOLIS, "memory.use_priority_swap": 0},
    "anolis_v2": ANOLIS,
    "openeuler_v1": {"memory.qos_level": 0, "memory.high_async_ratio": 0},
    "opencloudos_v1": {"memory.pagecache.current": 24 * MIB, "memory.pagecache.max_ratio": 100},
    "opencloudos_v2": {"memory.pagecache.current": 24 * MIB, "memory.pagecache.max_ratio": 100},
}


def test_an_audit_reads_what_the_kernel_tells(node: Node) -> None:
    seeded(node)
    wanted = _registry.wanted()
    reading = _snapshot.read(Tree(str(node.mounted.root)), window_seconds=0, monotonic=time.monotonic, sleep=time.sleep, wanted=wanted)
    compiled = {"id": "X01", "each": "cgroup", "observe": {}, "when": [">", ["name", "cgroup", "vendor", "memory.exstat.wmark_reclaim_work_ms"], 0]}
    result = json.loads(json.dumps(_diagnosis.diagnose(reading, rules=[compiled], previous=None, top=50)))
    jsonschema.validate(result["top"], {"$defs": SCHEMA["$defs"], **SCHEMA["properties"]["top"]})
    jsonschema.validate(result["node"], {"$defs": SCHEMA["$defs"], **SCHEMA["properties"]["node"]})
    ours = next(row for row in result["top"]["rows"] if row["path"] == "/ours")
    assert {key: value for key, value in ours.get("vendor", {}).items() if key in EXPECTED[node.flavour]} == EXPECTED[node.flavour]
    assert not [what for what in result["unknown"] if what.startswith("cgroups memory.")], result["unknown"]
    failed = [finding["subject"]["id"] for finding in result["findings"] if finding["status"] == "fail"]
    if node.flavour.startswith("anolis"):
        assert failed == ["/ours"] and ours["low"] == 16 * MIB
        assert {"kidled/scan_period_in_seconds": 120, "pagecache_limit/enabled": 0}.items() <= result["node"]["knobs"].items()
        assert result["node"]["vendor"]["memory.direct_reclaim_memcg_latency"]["total_ms"] == 171
    else:
        assert failed == [] and result["node"]["vendor"] == {}


def test_the_module_lists_them(node: Node) -> None:
    seeded(node)
    params = {"root": str(node.mounted.root), "window": 0.0, "kinds": [], "path": "/ours", "sort_by": "usage", "limit": 0}
    (row,) = cgroup_memory_info.info(params)["cgroups"]
    assert EXPECTED[node.flavour].items() <= row.get("vendor", {}).items() and bool(EXPECTED[node.flavour]) is bool(row.get("vendor"))
