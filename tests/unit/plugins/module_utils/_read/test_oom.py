# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel log: read from the device or what dmesg printed, and cut down to OOM reports; and the processes that would be next."""

from __future__ import annotations

import errno
import os
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils._read import _oom
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.host_files import content, host, write


def test_captured_log(tmp_path: t.Any) -> None:
    assert _oom.read_log(host()) == (content("/.memqos/output/kmsg"), False)
    tree = write(tmp_path, {"/.memqos/output/dmesg": content("kmsg/6.8-node.raw")})
    assert _oom.read_log(tree) == (content("kmsg/6.8-node.raw"), False)
    with pytest.raises(Unreadable) as caught:
        _oom.read_log(Tree(str(tmp_path / "nowhere")))
    assert caught.value.kind == "absent"


BOOT = [b"6,%d,%d,-;usb 1-%d: new device\n" % (n, n, n) for n in range(5)]
REPORT = [
    b"4,10,10,-;java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n",
    b"4,11,11,-;CPU: 0 PID: 9 Comm: java Not tainted 6.1.0\n",
    b"4,12,12,-;Call Trace:\n",
    b"4,13,13,-; dump_header+0x4a/0x1f3\n",
    b"6,14,14,-;memory: usage 20480kB, limit 20480kB, failcnt 743\n",
    b"3,15,15,-;Memory cgroup out of memory: Killed process 9 (java) total-vm:30108kB\n",
]


def test_select_keeps_reports_without_their_call_trace_and_the_first_line() -> None:
    assert _oom.select_oom(b"".join(BOOT + REPORT + BOOT * 9), limit=10000) == b"".join(BOOT[:1] + REPORT[:2] + REPORT[4:] + (BOOT * 9)[:19])


def test_select_keeps_the_newest_of_too_many() -> None:
    many = b"".join(BOOT + REPORT * 50)
    cut = _oom.select_oom(many, limit=1000)
    assert len(cut) <= 1000 + len(BOOT[0]) and cut.startswith(BOOT[0]) and cut.endswith(REPORT[-1])


@given(st.binary(max_size=500))
def test_select_takes_anything(log: bytes) -> None:
    assert len(_oom.select_oom(log, limit=100)) <= 100 + len(log.splitlines(keepends=True)[0] if log else b"")


class Device:
    """Stands for /dev/kmsg: bytes are a record, numbers an errno."""

    def __init__(self, *results: bytes | int) -> None:
        self.results = list(results)

    def read(self, _fd: int, _size: int) -> bytes:
        result = self.results.pop(0)
        if isinstance(result, int):
            raise OSError(result, os.strerror(result))
        return result


def opened(monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    monkeypatch.setattr(_oom.os, "open", lambda *_args: os.dup(0))
    monkeypatch.setattr(_oom.os, "read", device.read)


def test_records_overwritten_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    opened(monkeypatch, Device(b"6,0,1,-;a\n", errno.EPIPE, b"3,9,2,-;b\n", errno.EAGAIN))
    assert _oom.read_log(Tree()) == (b"6,0,1,-;a\n3,9,2,-;b\n", True)


def test_device_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    opened(monkeypatch, Device(b"6,0,1,-;a\n", errno.EIO))
    with pytest.raises(Unreadable) as caught:
        _oom.read_log(Tree())
    assert caught.value.kind == "error"


def test_device_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(_oom.os, "open", refuse)
    with pytest.raises(Unreadable) as caught:
        _oom.read_log(Tree())
    assert caught.value.kind == "denied" and caught.value.path == "/dev/kmsg"


# Who would be next


@pytest.mark.parametrize(("data", "expected"), [
    (b"8:pids:/a\n4:cpu,memory:/b\n0::/c\n", "/b"),
    (b"4:memory:/a:b\n", "/a:b"),
    (b"1:name=systemd:/x\n0::/c\n", "/c"),
    (b"0::/gone (deleted)\n", "/gone (deleted)"),
    (b"0::relative\n1:cpu:/x\n", None),
    (b"0::/cut", None),
])  # fmt: skip
def test_cgroup_of_a_process(data: bytes, expected: str | None) -> None:
    assert _oom.parse_cgroup(data) == expected


def test_processes_by_oom_score_without_kernel_threads() -> None:
    processes = _oom.read_processes(host(), page_size=4096, top=3)
    assert processes["count"] == 4
    assert processes["comms"] == {"init": 1, "redis-server": 2, "sshd": 1}
    assert processes["top"][0] == {
        "pid": 310, "comm": "redis-server", "rss_bytes": 16384 * 4096, "oom_score": 710, "oom_score_adj": 0, "cgroup": "/db/redis",
    }  # fmt: skip
    assert [process["pid"] for process in processes["top"]] == [310, 311, 1]


def test_a_process_that_ends_meanwhile_is_no_error(tmp_path: t.Any) -> None:
    statm = b"10 5 1 1 0 1 0\n"
    tree = write(tmp_path, {
        "/proc/7/statm": statm, "/proc/8/statm": statm, "/proc/8/comm": b"a\nb\n", "/proc/8/oom_score": b"3\n", "/proc/9/comm": b"x\n",
        "/proc/nine/statm": statm,
        "/proc/10/statm": statm, "/proc/10/comm": b"\xff<b>\n", "/proc/10/oom_score": b"4\n", "/proc/10/oom_score_adj": b"-998\n",
    })  # fmt: skip
    processes = _oom.read_processes(tree, page_size=4096)
    assert processes == {"count": 2, "comms": {"a\nb": 1, "\\xff<b>": 1}, "top": [
        {"pid": 10, "comm": "\\xff<b>", "oom_score": 4, "oom_score_adj": -998, "rss_bytes": 20480},
        {"pid": 8, "comm": "a\nb", "oom_score": 3, "rss_bytes": 20480},
    ], "programs": {}}  # fmt: skip


@pytest.mark.parametrize(("comm", "arguments", "program"), [
    *((comm, b"", program) for comm, program in {
        b"redis-server": "redis", b"valkey-server": "redis", b"keydb-server": "redis", b"mongod": "mongodb", b"postgres": "postgresql",
        b"hdbindexserver": "sap_hana", b"hdbnameserver": "sap_hana",
        # What talks to one, or is called like one, is none.
        **dict.fromkeys((b"redis-cli", b"redis-sentinel", b"redisinsight", b"redis", b"mongo", b"mongos", b"mongodump", b"mongosh", b"postgres_exporte",
                         b"hdbsql", b"SAProuter", b"saposcol", b"kafka-ui", b"elasticsearch-c"), None),
    }.items()),
    (b"java", b"java\0-Xmx1g\0-m\0org.elasticsearch.server/org.elasticsearch.bootstrap.Elasticsearch\0", "elasticsearch"),
    (b"java", b"java\0-cp\0/usr/share/opensearch/lib/*\0org.opensearch.bootstrap.OpenSearch\0-d\0", "elasticsearch"),
    (b"java", b"java\0-cp\0x.jar\0org.apache.cassandra.service.CassandraDaemon\0", "cassandra"),
    (b"java", b"java\0-Xmx6G\0kafka.Kafka\0/etc/kafka/server.properties\0", "kafka"),
    (b"java", b"java\0-Dorg.elasticsearch.client=x\0com.example.Shop\0kafka.KafkaTool\0", None),
    (b"java", b"", None),
    (b"nginx", b"nginx\0org.elasticsearch.x\0", None),
])  # fmt: skip
def test_programs_by_name_and_of_java_by_arguments(tmp_path: t.Any, comm: bytes, arguments: bytes, program: str | None) -> None:
    files = {"statm": b"10 5 1 1 0 1 0\n", "comm": comm + b"\n", "cmdline": arguments, "cgroup": b"0::/system.slice/some.service\n"}
    processes = _oom.read_processes(write(tmp_path, {f"/proc/7/{name}": content for name, content in files.items()}), page_size=4096)
    assert processes["programs"] == ({program: ["/system.slice/some.service"]} if program else {})
