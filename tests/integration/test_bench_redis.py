# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Redis comparison as a play: what it does on a host, in which order, and what it leaves when one fails. What measures, tunes and rolls back notes that it
was called, and no more. Nothing of this machine is touched.
"""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest

from .conftest import ROOT, Ansible

PROGRAM = """\
import json, pathlib, sys

here = pathlib.Path(__file__).parent
what = sys.argv[1]
with open(here / "calls", "a") as calls:
    print(what, file=calls)
told = json.loads((here / "told.json").read_text())
if what == "facts" and not told["facts"]:
    sys.exit("bench: systemctl show: status 1")
if what == "facts":
    print(json.dumps(told["facts"]))
if what == "start" and (here / "calls").read_text().split().count("start") in told["fails"]:
    sys.exit("bench: Redis answers: not within 120 s")
if what == "measure":
    print(json.dumps({"scenes": {"hog": {"loads": {"mixed": {"avg_ms": 1.0}}, "oom_kill": 0}}}))
"""
MODULE = """\
import pathlib

from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule(dict.fromkeys(("profile", "profiles_paths", "workloads", "allow_risks", "directory", "to"), {"type": "raw"}))
with open(%(calls)r, "a") as calls:
    print(%(name)r, file=calls)
if pathlib.Path(%(calls)r).with_name("breaks").exists() and %(name)r == "tune":
    module.fail_json(msg="its answer cannot be read")
module.exit_json(changed=True, generation=7)
"""
FACTS = {
    "memory": 1 << 30, "swap": 1 << 29, "page_size": 4096, "kernel": "6.12", "system": "Debian", "cpus": 2, "v2": True, "emulated": False, "missing": [],
    "redis": "Redis", "systemd": "systemd 257", "busy": [],
}  # fmt: skip
A_RUN, A_TUNED_RUN = ["start", "measure", "clean"], ["start", "tune", "measure", "rollback", "clean"]


class Bench:
    def __init__(self, directory: Path, ansible: Ansible) -> None:
        self.directory, self._ansible = directory, ansible
        self.on_host, self.results = directory / "on-host", directory / "report" / "bench" / "n1"
        self._collections = directory / "collections"
        (directory / "program.py").write_text(PROGRAM)
        (directory / "inventory.yml").write_text("all: {hosts: {n1: {ansible_connection: local}}}\n")
        fleet = self._collections / "ansible_collections" / "memqos" / "fleet"
        (fleet / "plugins" / "modules").mkdir(parents=True)
        for name in ("roles", "playbooks", "meta", "galaxy.yml", "plugins/filter", "plugins/module_utils", "plugins/plugin_utils"):
            (fleet / name).symlink_to(ROOT / name)
        for name in ("tune", "rollback"):
            (fleet / "plugins" / "modules" / f"memory_{name}.py").write_text(MODULE % {"calls": str(directory / "calls"), "name": name})

    def run(self, *, fails: t.Sequence[int] = (), facts: t.Mapping[str, t.Any] | None = None, **variables: t.Any) -> str:
        """Two rounds of two arms; the starts of these numbers fail. Returns what the play prints."""
        (self.directory / "calls").unlink(missing_ok=True)
        told = {} if facts == {} else {**FACTS, **(facts or {})}
        (self.directory / "told.json").write_text(json.dumps({"facts": told, "fails": list(fails)}))
        given = {
            "memqos_bench_may_suffer": True, "memqos_bench_arms": "untouched,colocated", "memqos_bench_pairs": 2, "memqos_bench_scenes": ["hog"],
            "memqos_report_dir": str(self.directory / "report"), "memqos_bench_redis_directory": str(self.on_host),
            "memqos_bench_redis_program": [sys.executable, str(self.directory / "program.py")], "ansible_python_interpreter": sys.executable,
        }  # fmt: skip
        arguments = ["-i", str(self.directory / "inventory.yml"), "-e", json.dumps({**given, **variables})]
        return self._ansible("ansible-playbook", "memqos.fleet.bench_redis", *arguments, collections=self._collections, cwd=self.directory)

    def fail(self, **more: t.Any) -> str:
        """What it prints when it fails, on one line."""
        with pytest.raises(pytest.fail.Exception) as caught:
            self.run(**more)
        return " ".join(str(caught.value).split())

    def calls(self) -> list[str]:
        return (self.directory / "calls").read_text().split()


@pytest.fixture
def bench(tmp_path: Path, ansible: Ansible) -> Bench:
    return Bench(tmp_path, ansible)


def test_runs_are_started_tuned_measured_and_taken_back_and_an_earlier_comparison_is_put_aside(bench: Bench) -> None:
    bench.run()
    assert bench.calls() == ["facts", *A_RUN, *A_TUNED_RUN, *A_TUNED_RUN, *A_RUN]
    assert "2 rounds, 4 runs" in (bench.results / "results.md").read_text() and not bench.on_host.exists()
    printed = bench.run(memqos_bench_pairs=3, memqos_bench_resume=True)
    assert bench.calls() == ["facts", *A_RUN, *A_TUNED_RUN] and "3 rounds, 6 runs" in (bench.results / "results.md").read_text()
    printed = bench.run(memqos_bench_pairs=1)
    (aside,) = (path for path in bench.results.parent.iterdir() if path != bench.results)
    assert len(list(aside.glob("run-*.json"))) == 6 and len(list(bench.results.glob("run-*.json"))) == 2
    assert f"The results of an earlier comparison are in {aside} now" in printed


def test_a_run_that_fails_before_its_tune_takes_no_earlier_tune_back(bench: Bench) -> None:
    printed = bench.fail(fails=[3])
    assert bench.calls() == ["facts", *A_RUN, *A_TUNED_RUN, "start", "clean", *A_RUN]
    assert "Runs that failed: 3 (colocated): bench: Redis answers: not within 120 s" in printed
    assert "Left out is round 2, which has 1 of 2 runs." in (bench.results / "results.md").read_text()
    bench.run(memqos_bench_resume=True)
    page = (bench.results / "results.md").read_text()
    assert bench.calls() == ["facts", *A_TUNED_RUN, *A_RUN] and "2 rounds, 4 runs" in page
    assert "Runs that failed, and do not count: colocated in round 2." in page


def test_a_tune_that_broke_off_ends_it_and_is_remembered(bench: Bench) -> None:
    """Nobody knows what it wrote: what would be measured next is not the node as it is."""
    (bench.directory / "breaks").touch()
    printed = bench.fail()
    assert bench.calls() == ["facts", *A_RUN, "start", "tune", "clean"]
    assert "The arm colocated may be set, as its tune broke off: 2 (colocated): its answer cannot be read" in printed
    (bench.directory / "breaks").unlink()
    assert "while the arm colocated may have been set on this host" in bench.fail(memqos_bench_resume=True)


def test_a_host_that_cannot_be_asked_keeps_nothing(bench: Bench) -> None:
    assert "bench: systemctl show: status 1" in bench.fail(facts={}) and not bench.on_host.exists()


def test_without_a_whole_round_the_failure_is_what_is_told(bench: Bench) -> None:
    printed = bench.fail(fails=[1, 2, 3])
    assert "Three runs failed: 1 (untouched): bench: Redis" in printed and bench.calls() == ["facts", *["start", "clean"] * 3]
    printed = bench.fail(fails=[1], memqos_bench_pairs=1)
    assert "Runs that failed: 1 (untouched)" in printed and "Show which goals are met" in printed
    assert not (bench.results / "results.md").exists()


def test_beside_another_comparison_it_does_not_begin_and_leaves_it_alone(bench: Bench) -> None:
    bench.on_host.mkdir()
    printed = bench.fail(facts={"busy": ["memqos-bench-redis.service"]})
    assert "systemctl stop memqos-bench-redis.service" in printed and bench.calls() == ["facts"] and bench.on_host.is_dir()


def test_while_an_arm_may_be_set_nothing_begins(bench: Bench) -> None:
    bench.run(memqos_bench_pairs=1)
    (bench.results / "arm-that-may-be-set").write_text("colocated\n")
    for resume in (True, False):
        printed = bench.fail(memqos_bench_resume=resume)
        assert "while the arm colocated may have been set on this host" in printed and bench.calls() == ["facts"]
    assert len(list(bench.results.glob("run-*.json"))) == 2


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"memory": 128 << 30, "swap": 64 << 30}, "Batch work would have 79.36 GB (at most 64.00 GB)"),
        ({"swap": 1 << 28}, "want 307.20 MB of swap, of which there are 256.00 MB"),
        ({"v2": False}, "cgroup v2 (not there)"),
        ({"missing": ["redis-server"]}, "missing: redis-server; memqos_bench_install=true installs Redis"),
    ],
    ids=["too large", "too little swap", "v1", "no Redis"],
)
def test_what_a_host_lacks_is_said_before_anything_is_done(bench: Bench, facts: dict[str, t.Any], words: str) -> None:
    assert words in bench.fail(facts=facts)
    assert bench.calls() == ["facts"] and not bench.on_host.exists()
