# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OOM reports of kernels 4.18 to 6.18, whole, cut, interleaved, rate limited and with hostile names."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils._read import _oom
from ansible_collections.memqos.fleet.plugins.plugin_utils import _oom_reports
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.host_files import check_truncations, content

LOGS = ["kmsg/4.18-memcg-v1.log", "kmsg/4.18-node.log", "kmsg/4.19-group.log", "kmsg/5.10-pod-v2.kmsg", "kmsg/5.15-mempolicy-cpuset-ratelimited.log",
        "kmsg/6.8-node.raw", "/.memqos/output/kmsg"]  # fmt: skip
CONTAINER = "3b" * 32
KIB = 1024


def reports(data: bytes) -> list[t.Any]:
    return list(_oom_reports.parse_reports(_oom_reports.parse_records(data)))


def only(path: str) -> t.Any:
    (report,) = reports(content(path))
    return report


def test_a_real_report_of_6_18_with_a_hostile_name() -> None:
    report = only("/.memqos/output/kmsg")
    assert report["victims"] == [{
        "pid": 12160, "comm": "a,pid=1\n(x) kB", "uid": 0, "total_vm": 30108 * KIB, "anon_rss": 20080 * KIB, "file_rss": 5576 * KIB, "shmem_rss": 0,
        "pgtables": 104 * KIB, "oom_score_adj": 0,
    }]  # fmt: skip
    assert (report["kind"], report["complete"], report["constraint"]) == ("cgroup_limit", True, "CONSTRAINT_MEMCG")
    assert (report["oom_memcg"], report["task_memcg"]) == ("/memqos-test-12157", "/memqos-test-12157/leaf")
    assert (report["usage"], report["limit"], report["failcnt"]) == (20 << 20, 20 << 20, 743)
    assert report["memsw_limit"] is None and report["kmem_usage"] == 168 * KIB
    assert report["memcg_stat"]["anon"] == 20738048 and report["memcg_stat"]["file"] == 61440  # hierarchical, not the local 0
    assert (report["invoked_by"], report["invoked_by_pid"], report["order"], report["tasks"]) == ("a,pid=1\n(x) kB", 12160, 0, 1)
    assert report["time_monotonic_us"] == 1224879462


def test_4_18_limit_of_an_ancestor() -> None:
    report = only("kmsg/4.18-memcg-v1.log")
    pod = "/kubepods/burstable/podaf389229-5fc5-4617-ae95-9160d576eb49"
    assert (report["kind"], report["complete"]) == ("cgroup_limit", True)
    assert (report["oom_memcg"], report["task_memcg"]) == (pod, f"{pod}/{CONTAINER}")
    assert report["limit"] == 512 << 20 and report["oom_score_adj"] == 968 and report["nodemask"] == "(null)"
    assert report["memcg_stat"] == {  # the sum over the cgroups of the subtree
        "anon": 513836 * KIB, "file": 1200 * KIB, "shmem": 800 * KIB, "swap": 0, "file_dirty": 0, "unevictable": 0,
    }  # fmt: skip
    assert report["tasks"] == 2
    assert [(victim["pid"], victim["anon_rss"]) for victim in report["victims"]] == [(8308, 513800 * KIB)]
    assert "uid" not in report["victims"][0] and "constraint" not in report  # 4.18 does not print them


def test_4_18_node_kills_the_child() -> None:
    report = only("kmsg/4.18-node.log")
    assert (report["kind"], report["complete"]) == ("node", True)
    assert report["victims"][0]["pid"] == 1222  # "sacrifice child": not the one that was chosen
    assert report["pages"]["active_anon"] == 470000 and report["pages"]["free"] == 12000 and report["pages"]["slab_unreclaimable"] == 5000
    assert (report["swap_total"], report["swap_free"]) == (1048572 * KIB, 0)
    assert "limit" not in report and "oom_memcg" not in report


def test_oom_group_kills_once_each_and_a_limit_named_none_is_a_limit() -> None:
    report = only("kmsg/4.19-group.log")
    assert report["constraint"] == "CONSTRAINT_NONE" and report["kind"] == "cgroup_limit"
    assert report["oom_group"] == "/test1"
    assert [victim["pid"] for victim in report["victims"]] == [9188, 9182, 9183]


def test_lines_of_other_cpus_between_and_a_record_cut_by_printk() -> None:
    report = only("kmsg/5.10-pod-v2.kmsg")
    pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod968a06fb_9ab9_4819_8caf_0392ddff3d9b.slice"
    assert report["oom_memcg"] == pod and report["task_memcg"] == f"{pod}/cri-containerd-{CONTAINER}.scope"
    assert report["complete"] is True and report["tasks"] == 2
    assert report["swap_limit"] is None and report["limit"] == 4 << 30
    assert report["memcg_stat"]["anon"] == 4214849536 and report["memcg_stat"]["slab"] == 2764800
    assert "sock" not in report["memcg_stat"]  # the last row of a record that printk cut is half a number


def test_6_8_node() -> None:
    report = only("kmsg/6.8-node.raw")
    assert (report["kind"], report["complete"], report["swap_total"], report["tasks"]) == ("node", True, 0, 2)
    assert report["pages"] == {
        "active_anon": 120, "inactive_anon": 1995402, "isolated_anon": 0, "active_file": 10, "inactive_file": 22, "isolated_file": 0, "free": 25000,
        "free_pcp": 80, "free_cma": 0,
    }  # fmt: skip
    assert report["victims"][0]["uid"] == 1000 and report["task_memcg"].endswith("/session-3.scope")


def test_memory_policy_cpuset_rate_limited_and_nothing_to_kill() -> None:
    policy, cpuset, limited, sysrq = reports(content("kmsg/5.15-mempolicy-cpuset-ratelimited.log"))
    assert (policy["kind"], policy["nodemask"], policy["mems_allowed"]) == ("mempolicy", "1", "0-2")
    assert (cpuset["kind"], cpuset["cpuset"], cpuset["mems_allowed"]) == ("cpuset", "emulator", "0,2-3")
    assert (limited["kind"], limited["complete"], limited["victims"][0]["comm"]) == ("cgroup_limit", False, "worker")
    assert "oom_memcg" not in limited
    assert (sysrq["order"], sysrq["no_victim"], sysrq["victims"], sysrq["kind"]) == (-1, True, [], "node")


@pytest.mark.parametrize("path", LOGS)
def test_a_log_cut_anywhere_says_nothing_else(path: str) -> None:
    check_truncations(reports, content(path), free=("complete", "kind"))


@pytest.mark.parametrize("path", LOGS)
def test_a_log_whose_beginning_is_overwritten_never_raises(path: str) -> None:
    lines = content(path).splitlines(True)
    whole = reports(content(path))
    for start in range(len(lines)):
        for report in reports(b"".join(lines[start:])):
            for victim in report["victims"]:
                assert any(victim in other["victims"] for other in whole)


@given(st.sampled_from(LOGS), st.data())
def test_damaged_logs_never_raise(path: str, draw: st.DataObject) -> None:
    data = content(path)
    start = draw.draw(st.integers(0, len(data)))
    junk = draw.draw(st.binary(max_size=60))
    reports(data[:start] + junk + data[start + draw.draw(st.integers(0, 80)) :])
    reports(junk + b"\n")


@given(st.permutations(range(8)))
def test_other_messages_anywhere_change_nothing(order: list[int]) -> None:
    reaper = b"oom_reaper: reaped process 1 (x), now anon-rss:0kB"
    others = [b"veth1: renamed from eth0", b"active_anon:5", b"memory: usage 1kB", reaper, b"Tasks", b"", b",", b"[ 1"]
    data = content("kmsg/4.19-group.log").splitlines(True)
    for position, index in enumerate(order):
        data.insert(position * 2, b"[   37.100001] " + others[index] + b"\n")
    found = reports(b"".join(data))
    assert len(found) == 1 and [victim["pid"] for victim in found[0]["victims"]] == [9188, 9182, 9183]
    assert found[0]["limit"] == 51200 * KIB


KILL = b"Memory cgroup out of memory: Killed process %d (%s) total-vm:1kB, anon-rss:2kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0"


@pytest.mark.parametrize("line", [
    b"usb 1-1: Product: x invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=0",
    b"usb 1-1: Product: Out of memory: Killed process 1 (init) total-vm:1kB, anon-rss:1kB",
    b"Killed process 1 (a-name-longer-than-15-bytes) total-vm:1kB",
    b"Out of memory: maybe",
])  # fmt: skip
def test_lines_that_only_quote_the_words_are_no_report(line: bytes) -> None:
    assert reports(b"[    1.000000] " + line + b"\n") == []


def test_what_a_program_writes_to_the_log_is_no_report() -> None:
    text = KILL % (1, b"init")
    assert reports(b"12,5,1000,-;" + text + b"\n") == []
    assert reports(b"<14>[    1.000000] " + text + b"\n") == []
    assert len(reports(b"3,5,1000,-;" + text + b"\n")) == 1
    assert len(reports(b"<3>[    1.000000] " + text + b"\n")) == 1


@pytest.mark.parametrize("comm", [b"x) total-vm:9kB", b"(", b")", b"", b"\\x0a\\x1b[31m", b"\\x5cx41", b"\xff\xfe"])
def test_hostile_names(comm: bytes) -> None:
    (report,) = reports(b"3,5,1000,-;" + KILL % (77, comm) + b"\n")
    (victim,) = report["victims"]
    assert (victim["pid"], victim["total_vm"], victim["anon_rss"], victim["uid"]) == (77, 1024, 2048, 0)
    expected = comm.replace(b"\\x0a", b"\n").replace(b"\\x1b", b"\x1b").replace(b"\\x5c", b"\\")
    assert victim["comm"] == expected.decode("utf-8", "backslashreplace")


def test_a_cgroup_that_calls_itself_a_field() -> None:
    line = (b"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/pod/a,task_memcg=/ssh,"
            b"task_memcg=/pod/a,task_memcg=/ssh/c,task=,task=b,pid=9,uid=7")  # fmt: skip
    (report,) = reports(b"6,5,1000,-;" + line + b"\n" + b"3,6,1001,-;" + KILL % (9, b",task=b") + b"\n")
    assert (report["oom_memcg"], report["task_memcg"]) == ("/pod/a,task_memcg=/ssh", "/pod/a,task_memcg=/ssh/c")


def test_a_line_too_long_for_printk_still_names_the_limit() -> None:
    limited = b"/" + b"d" * 400
    line = b"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=" + limited + b",task_memcg=" + limited + b"/" + b"e" * 90
    (report,) = reports(b"6,5,1000,-;" + line + b"\n" + b"3,6,1001,-;" + KILL % (9, b"b") + b"\n")
    assert report["oom_memcg"] == limited.decode() and "task_memcg" not in report
    assert len(report["victims"]) == 1


def test_a_kill_long_after_a_report_is_another_one() -> None:
    log = content("kmsg/4.19-group.log") + b"[  400.000000] " + KILL % (50, b"later") + b"\n"
    first, second = reports(log)
    assert len(first["victims"]) == 3 and second["victims"][0]["pid"] == 50 and second["complete"] is False


def test_journal_format() -> None:
    log = content("kmsg/4.19-group.log").replace(b"] ", b"] node1 kernel: ", 40)
    assert len(reports(log)) == 1 and reports(log)[0]["limit"] == 51200 * KIB


def test_history_tells_how_far_back_the_log_goes() -> None:
    history = _oom_reports.history(content("/.memqos/output/kmsg"), lost=False)
    assert len(history["reports"]) == 1 and history["lost"] is True and history["since_us"] == 1224879462
    assert _oom_reports.history(b"", lost=True) == {"reports": [], "since_us": 0, "lost": True}


@pytest.mark.parametrize("path", LOGS)
def test_what_the_node_cuts_off_the_log_says_nothing_of_oom_kills(path: str) -> None:
    log = content(path)
    noise = b"".join(b"6,%d,%d,-;usb 1-1: new device\n" % (n, n) for n in range(3))
    cut = _oom.select_oom(log, limit=1 << 20)
    assert reports(cut) == reports(log)
    assert len(_oom.select_oom(noise, limit=1 << 20).splitlines()) == 1
