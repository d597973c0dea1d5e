# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a tune costs, held against `ping`, a loop of `ansible.posix.sysctl`, and the plays that a careful operator writes by hand.

40 host knobs (36 sysctls, as many as this kernel has that do not exclude each other, and 4 files of /sys) and 6 slices with 3
properties each, on a machine of the lab that is this program's own. Each play starts from the untouched node, and after it the
kernel is read: all have to reach the same state. ansible.posix.sysctl can set sysctls only: it is held against a tune of these 36,
and for comparison against one of everything. Pairs alternate in one run; medians of ratios are printed. Of a whole command and its
tasks alone, the goal is held against the one that flatters us less.

    python tests/benchmark/bench_tune.py [--machine debian13_v2] [--pairs 5] [--by-hand 5] [--loops 3] [--fleet 3] [--keep]

ansible.posix comes from the package `ansible` (requirements/benchmark.txt), unpacked into .cache.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
import zipfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
GOALS = {"second run / ping": 1.5, "ansible.posix.sysctl / first run": 10.0, "by hand / first run": 1.5}
OURS = "zz-memqos.conf"
THEIRS = "zz-by-hand.conf"

SYSCTLS = {
    "vm.min_free_kbytes": "46080", "vm.watermark_scale_factor": "20", "vm.watermark_boost_factor": "10000", "vm.lowmem_reserve_ratio": "256 256 64 0 0",
    "vm.percpu_pagelist_high_fraction": "8", "vm.extfrag_threshold": "400", "vm.compaction_proactiveness": "10", "vm.compact_unevictable_allowed": "0",
    "vm.stat_interval": "2", "vm.swappiness": "50", "vm.vfs_cache_pressure": "90", "vm.zone_reclaim_mode": "1", "vm.min_unmapped_ratio": "2",
    "vm.min_slab_ratio": "6", "vm.page-cluster": "2", "vm.laptop_mode": "5", "vm.overcommit_memory": "1", "vm.overcommit_ratio": "60",
    "vm.admin_reserve_kbytes": "4096", "vm.user_reserve_kbytes": "20000", "vm.max_map_count": "131072", "vm.panic_on_oom": "1",
    "vm.oom_kill_allocating_task": "1", "vm.oom_dump_tasks": "0", "vm.numa_stat": "0", "vm.dirty_ratio": "15", "vm.dirty_background_ratio": "5",
    "vm.dirty_expire_centisecs": "2000", "vm.dirty_writeback_centisecs": "400", "vm.dirtytime_expire_seconds": "20000", "vm.nr_hugepages": "2",
    "vm.nr_overcommit_hugepages": "4", "kernel.panic": "30", "kernel.panic_on_oops": "1", "kernel.numa_balancing": "1",
    "kernel.numa_balancing_promote_rate_limit_MBps": "32768",
}  # fmt: skip
SYSFS = {
    "transparent_hugepage/enabled": "madvise",
    "transparent_hugepage/defrag": "defer",
    "transparent_hugepage/khugepaged/max_ptes_swap": "32",
    "lru_gen/min_ttl_ms": "500",
}
SLICES = [f"bench{letter}.slice" for letter in "abcdef"]
PROPERTIES = {"MemoryLow": ("memory.low", 16 << 20), "MemoryHigh": ("memory.high", 200 << 20), "MemoryMax": ("memory.max", 300 << 20)}

PING = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": {}}]}]


def tune(**profile: t.Any) -> list[dict[str, t.Any]]:
    return [{"hosts": "all", "gather_facts": False, "tasks": [{"memqos.fleet.memory_tune": {"profile": profile, "directory": "out"}}]}]


TUNE = tune(host={**SYSCTLS, **SYSFS}, slices={unit: {name: size for name, (_file, size) in PROPERTIES.items()} for unit in SLICES})
TUNE_SYSCTLS = tune(host=SYSCTLS)
LOOP = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.posix.sysctl": {
                    "name": "{{ item.key }}",
                    "value": "{{ item.value }}",
                    "sysctl_file": f"/etc/sysctl.d/{THEIRS}",
                    # Each key set once, by itself: the module's default would load the whole growing file 36 times.
                    "sysctl_set": True,
                    "reload": False,
                },
                "loop": "{{ sysctls | dict2items }}",
                "vars": {"sysctls": SYSCTLS},
            }
        ],
    }
]
# As few calls as the builtin modules allow: files by template, what they say made live by the programs that read them at boot.
BY_HAND = [
    {
        "hosts": "all",
        "gather_facts": False,
        "vars": {"sysctls": SYSCTLS, "sysfs": SYSFS, "slices": SLICES, "properties": {name: str(size) for name, (_file, size) in PROPERTIES.items()}},
        "tasks": [
            {"ansible.builtin.template": {"src": "sysctl.j2", "dest": f"/etc/sysctl.d/{THEIRS}", "mode": "0644"}, "register": "sysctl_file"},
            # THP first: it moves vm.min_free_kbytes.
            {"ansible.builtin.template": {"src": "tmpfiles.j2", "dest": f"/etc/tmpfiles.d/{THEIRS}", "mode": "0644"}, "register": "tmpfiles"},
            {"ansible.builtin.command": f"systemd-tmpfiles --create /etc/tmpfiles.d/{THEIRS}", "when": "tmpfiles is changed"},
            {"ansible.builtin.command": f"sysctl -p /etc/sysctl.d/{THEIRS}", "when": "sysctl_file is changed"},
            {"ansible.builtin.command": f"mkdir -p {' '.join(f'/etc/systemd/system/{unit}.d' for unit in SLICES)}"},
            {
                "ansible.builtin.template": {"src": "drop_in.j2", "dest": "/etc/systemd/system/{{ item }}.d/zz-by-hand.conf", "mode": "0644"},
                "loop": "{{ slices }}",
                "register": "drop_ins",
            },
            {"ansible.builtin.systemd_service": {"daemon_reload": True}, "when": "drop_ins is changed"},
            {
                "ansible.builtin.shell": "\n".join(
                    f"systemctl set-property --runtime {unit} " + " ".join(f"{name}={size}" for name, (_file, size) in PROPERTIES.items()) for unit in SLICES
                ),
                "when": "drop_ins is changed",
            },
        ],
    }
]
TEMPLATES = {
    "sysctl.j2": "{% for name, value in sysctls.items() %}\n{{ name }} = {{ value }}\n{% endfor %}\n",
    "tmpfiles.j2": "{% for name, value in sysfs.items() %}\nw /sys/kernel/mm/{{ name }} - - - - {{ value }}\n{% endfor %}\n",
    "drop_in.j2": "[Slice]\n{% for name, value in properties.items() %}\n{{ name }}={{ value }}\n{% endfor %}\n",
}
# As Ansible's own: -C compresses.
SSH_OPTIONS = "-C -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ControlMaster=auto -o ControlPersist=600"
CALLBACK = '''
DOCUMENTATION = """
name: play_seconds
type: aggregate
short_description: Seconds from the first task to the last
description: Writes them into the file that an environment variable names.
"""
import os
import time
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "play_seconds"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_play_start(self, play):
        self.begin = time.monotonic()

    def v2_playbook_on_stats(self, stats):
        with open(os.environ["PLAY_SECONDS"], "w") as stream:
            stream.write(str(time.monotonic() - self.begin))
'''


Plays = tuple[list[dict[str, t.Any]], list[dict[str, t.Any]]]


class Cost(t.NamedTuple):
    """Of one ansible-playbook: seconds of all of it and of its tasks, CPU-seconds of the controller (ssh included) and of the node, and how often ssh or sftp
    was run. The node's are those of its QEMU: what other work on this computer takes is not in them.
    """

    wall: float
    tasks: float
    cpu: float
    node: float
    calls: int

    def __str__(self) -> str:
        return f"{self.wall:.1f} s (tasks {self.tasks:.1f} s, CPU: controller {self.cpu:.2f} s, node {self.node:.2f} s; {self.calls} calls)"


class Node:
    """A lab machine of our own, and a scratch directory with what Ansible needs to reach it."""

    def __init__(self, state: dict[str, t.Any], scratch: Path, collections: Path) -> None:
        self.scratch = scratch
        self.pid = qemu_of("bench-tune")
        self.log = scratch / "calls"
        self.ssh = ["ssh", *shlex.split(SSH_OPTIONS), "-o", f"ControlPath={scratch}/control", "-p", str(state["port"]), "-i", state["identity_file"]]
        self.ssh.append(f"{state['user']}@{state['address']}")
        host = {
            "ansible_host": state["address"],
            "ansible_port": state["port"],
            "ansible_user": state["user"],
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        host["ansible_ssh_private_key_file"] = state["identity_file"]
        (scratch / "hosts.yml").write_text(yaml.safe_dump({"bench": {"hosts": {f"bench{number}": host for number in range(10)}}}))
        for name in ("ssh", "sftp"):
            (scratch / name).write_text(f'#!/bin/sh\necho {name} >>"{self.log}"\nexec {name} "$@"\n')
            (scratch / name).chmod(0o755)
        for name, text in {**TEMPLATES, "play_seconds.py": CALLBACK}.items():
            (scratch / name).write_text(text)
        self.environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_PIPELINING": "True", "ANSIBLE_DEPRECATION_WARNINGS": "False", "ANSIBLE_HOME": str(scratch),
            "ANSIBLE_SSH_ARGS": SSH_OPTIONS, "ANSIBLE_SSH_CONTROL_PATH": f"{scratch}/control", "ANSIBLE_SSH_EXECUTABLE": str(scratch / "ssh"),
            "ANSIBLE_SFTP_EXECUTABLE": str(scratch / "sftp"), "ANSIBLE_CALLBACK_PLUGINS": str(scratch), "ANSIBLE_CALLBACKS_ENABLED": "play_seconds",
            "PLAY_SECONDS": str(scratch / "seconds"),
        }  # fmt: skip

    def run(self, play: list[dict[str, t.Any]], *, hosts: int = 1) -> Cost:
        (self.scratch / "play.yml").write_text(yaml.safe_dump(play, sort_keys=False))
        self.log.write_text("")
        before, node, begin = os.times(), self.used(), time.monotonic()
        argv = [str(SCRIPTS / "ansible-playbook"), "-i", "hosts.yml", "--limit", f"bench[0:{hosts - 1}]", "--forks", "1", "play.yml"]
        done = subprocess.run(argv, cwd=self.scratch, env=self.environment, capture_output=True, text=True, check=False)
        wall, after = time.monotonic() - begin, os.times()
        if done.returncode:
            raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return Cost(wall, float((self.scratch / "seconds").read_text()), cpu, self.used() - node, len(self.log.read_text().splitlines()))

    def used(self) -> float:
        """CPU-seconds of the machine so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def script(self, text: str) -> str:
        return subprocess.run([*self.ssh, "sh", "-eu"], input=text, capture_output=True, text=True, check=True).stdout

    def state(self) -> dict[str, str]:
        """What the kernel says of everything that the plays set."""
        paths = [f"/proc/sys/{name.replace('.', '/')}" for name in SYSCTLS]
        paths += [f"/sys/kernel/mm/{name}" for name in SYSFS]
        paths += [f"/sys/fs/cgroup/{unit}/{file}" for unit in SLICES for file, _size in PROPERTIES.values()]
        lines = self.script("\n".join(f"cat {path}" for path in paths)).splitlines()
        return dict(zip(paths, (" ".join(line.split()) for line in lines), strict=True))

    def reset(self, origin: dict[str, str]) -> None:
        """As the machine was before any play, the collection's journal included."""
        lines = [f"systemctl stop {' '.join(SLICES)}"]
        lines += [f"rm -f /etc/sysctl.d/{name} /etc/tmpfiles.d/00-memqos*.conf /etc/tmpfiles.d/{name}" for name in (OURS, THEIRS)]
        lines += [
            f"rm -rf /var/lib/memqos /etc/systemd/system/{unit}.d /etc/systemd/system.control/{unit}.d /run/systemd/system.control/{unit}.d" for unit in SLICES
        ]
        lines += ["systemctl daemon-reload", f"systemctl start {' '.join(SLICES)}"]
        # THP first, as above; of [always] madvise the word.
        for path, value in sorted(origin.items(), key=lambda item: not item[0].startswith("/sys/kernel")):
            if not path.startswith("/sys/fs"):
                word = value.partition("[")[2].partition("]")[0] or value
                lines.append(f"echo '{word}' >{path}")
        self.script("\n".join(lines))
        differing = {path: (value, origin[path]) for path, value in self.state().items() if value != origin[path]}
        if differing:
            raise SystemExit(f"the machine is not as it was: {differing}")


def wanted(origin: dict[str, str], *, everything: bool) -> dict[str, str]:
    """What the kernel has to say after a play."""
    state = {**origin, **{f"/proc/sys/{name.replace('.', '/')}": value for name, value in SYSCTLS.items()}}
    if everything:
        for name, value in SYSFS.items():
            before = origin[f"/sys/kernel/mm/{name}"]
            plain = before.replace("[", "").replace("]", "")
            state[f"/sys/kernel/mm/{name}"] = " ".join(f"[{word}]" if word == value else word for word in plain.split()) if "[" in before else value
        state.update({f"/sys/fs/cgroup/{unit}/{file}": str(size) for unit in SLICES for file, size in PROPERTIES.values()})
    return state


def from_untouched(node: Node, play: list[dict[str, t.Any]], origin: dict[str, str], *, everything: bool) -> Cost:
    """The cost of a play that has everything to do, and has done it."""
    node.reset(origin)
    cost = node.run(play)
    differing = {path: (value, wanted(origin, everything=everything)[path]) for path, value in node.state().items()}
    differing = {path: pair for path, pair in differing.items() if pair[0] != pair[1]}
    if differing:
        raise SystemExit(f"the play did not reach the state that was wanted (found, wanted): {differing}")
    return cost


def say(name: str, ratios: t.Sequence[float], goal: float | None, *, at_most: bool = False) -> None:
    if not ratios:
        return
    each = " ".join(f"{ratio:.2f}" for ratio in ratios)
    told = f", goal {'at most' if at_most else 'at least'} {goal:g}" if goal else ""
    print(f"{name}: {statistics.median(ratios):.2f}  ({each}{told})", flush=True)


def second_runs(node: Node, origin: dict[str, str], pairs: int) -> None:
    from_untouched(node, TUNE, origin, everything=True)
    rows = []
    for unused in range(pairs):
        ping, again = node.run(PING), node.run(TUNE)
        print(f"   ping {ping}; second run {again}", flush=True)
        rows.append((again.tasks / ping.tasks, again.wall / ping.wall, again.node / ping.node, again.cpu / ping.cpu, again.calls / ping.calls))
    tasks, wall, used, cpu, calls = zip(*rows) if rows else ((), (), (), (), ())
    say("second run / ping, tasks", tasks, GOALS["second run / ping"], at_most=True)
    say("second run / ping, whole command", wall, None)
    say("second run / ping, the node's CPU", used, None)
    say("second run / ping, controller CPU", cpu, None)
    say("second run / ping, remote calls", calls, 1, at_most=True)


def fleet(node: Node, pairs: int) -> None:
    """Controller CPU that one more host costs: the same machine under ten names, one after the other, as they share a lock."""
    rows = []
    for unused in range(pairs):
        one = {name: node.run(play).cpu for name, play in (("ping", PING), ("tune", TUNE))}
        ten = {name: node.run(play, hosts=10).cpu for name, play in (("ping", PING), ("tune", TUNE))}
        each = {name: (ten[name] - one[name]) / 9 for name in one}
        print(f"   controller CPU of one more host: ping {each['ping']:.2f} s, second run {each['tune']:.2f} s", flush=True)
        rows.append(each["tune"] / each["ping"])
    say("second run / ping, controller CPU of one more host", rows, None)


def first_runs(node: Node, origin: dict[str, str], name: str, plays: Plays, count: int, *, everything: bool) -> None:
    """C(plays): (ours, theirs). Of C(everything) or of the sysctls alone; then all of our workload is held against theirs too, for what it costs more."""
    ours, theirs = plays
    rows, all_of_it = [], []
    for unused in range(count):
        mine = from_untouched(node, ours, origin, everything=everything)
        other = from_untouched(node, theirs, origin, everything=everything)
        print(f"   first run {mine}; {name} {other}", flush=True)
        rows.append((other.wall / mine.wall, other.tasks / mine.tasks, other.node / mine.node, other.cpu / mine.cpu, other.calls / mine.calls))
        if not everything:
            all_of_it.append(other.wall / from_untouched(node, TUNE, origin, everything=True).wall)
    wall, tasks, used, cpu, calls = zip(*rows) if rows else ((), (), (), (), ())
    say(f"{name} / first run, whole command", wall, GOALS[f"{name} / first run"])
    say(f"{name} / first run, tasks", tasks, None)
    say(f"{name} / first run, the node's CPU", used, None)
    say(f"{name} / first run, controller CPU", cpu, None)
    say(f"{name} / first run, remote calls", calls, None)
    say(f"{name} / first run of everything (the loop leaves out 4 knobs and 6 slices), whole command", all_of_it, None)


def qemu_of(name: str) -> int:
    """The process of a virtual machine, as the lab tells it."""
    listed = subprocess.run([sys.executable, str(ROOT / "tests" / "lab"), "list"], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = re.search(rf"^{re.escape(name)}: up .* pid (\d+)$", listed, re.MULTILINE)
    if not found:
        raise SystemExit(f"{name} is no virtual machine of this computer")
    return int(found.group(1))


def posix_collection() -> Path:
    """A collections path with ansible.posix, unpacked from the package C(ansible)."""
    target = ROOT / ".cache" / "ansible-posix"
    if not (target / "ansible_collections" / "ansible" / "posix" / "MANIFEST.json").exists():
        with tempfile.TemporaryDirectory() as scratch:
            requirements = str(ROOT / "requirements" / "benchmark.txt")
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, "-r", requirements], check=True)
            (wheel,) = Path(scratch).glob("ansible-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                names = [name for name in archive.namelist() if name.startswith(("ansible_collections/ansible/posix/", "ansible_collections/ansible_release"))]
                archive.extractall(target, names)
    return target


@contextlib.contextmanager
def machine(name: str, *, keep: bool) -> t.Iterator[dict[str, t.Any]]:
    lab = [sys.executable, str(ROOT / "tests" / "lab")]
    printed = subprocess.run([*lab, "up", f"{name}:bench-tune"], check=True, stdout=subprocess.PIPE, text=True).stdout
    try:
        yield json.loads(printed)[0]
    finally:
        if not keep:
            subprocess.run([*lab, "down", "bench-tune"], check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", default="debian13_v2")
    parser.add_argument("--pairs", type=int, default=5, help="second runs and pings")
    parser.add_argument("--by-hand", type=int, default=5, help="first runs and plays by hand")
    parser.add_argument("--loops", type=int, default=3, help="first runs and loops of ansible.posix.sysctl, minutes each")
    parser.add_argument("--fleet", type=int, default=3, help="second runs and pings on ten hosts")
    parser.add_argument("--keep", action="store_true", help="leave the machine running")
    options = parser.parse_args()
    posix = posix_collection()
    with machine(options.machine, keep=options.keep) as state, tempfile.TemporaryDirectory(prefix="memqos-bench-") as directory:
        scratch = Path(directory)
        (scratch / "collections" / "ansible_collections" / "memqos").mkdir(parents=True)
        (scratch / "collections" / "ansible_collections" / "memqos" / "fleet").symlink_to(ROOT)
        (scratch / "collections" / "ansible_collections" / "ansible").symlink_to(posix / "ansible_collections" / "ansible")
        node = Node(state, scratch, scratch / "collections")
        node.script(f"systemctl start {' '.join(SLICES)}")
        origin = node.state()
        # The connection stands and Python's bytecode is written before anything is measured.
        node.run(PING)
        if options.pairs or options.fleet:
            second_runs(node, origin, options.pairs)
            fleet(node, options.fleet)
        first_runs(node, origin, "by hand", (TUNE, BY_HAND), options.by_hand, everything=True)
        first_runs(node, origin, "ansible.posix.sysctl", (TUNE_SYSCTLS, LOOP), options.loops, everything=False)


if __name__ == "__main__":
    main()
