# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults to seed, one row each, and the rule that an audit has to name first. Sizes are for the lab's machines: 1 GiB, 256 MiB of swap, one processor."""

from __future__ import annotations

import dataclasses
import shlex

from ..machines import MACHINES

DIRECTORY = "/run/memqos-faults"
UNIT = "memqos-fault"
_CGROUP = f"/sys/fs/cgroup/system.slice/{UNIT}.service"
# Longer than any audit; the machine is thrown away with what runs on it.
_SECONDS = 1800


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """C(seed) is root's shell on the machine, C(until) a condition of the shell that it waits for. C(tuned): values that memqos.fleet.tune has set before.

    Without a C(rule) the machine stays healthy, and is audited for that.
    """

    name: str
    rule: str = ""
    seed: str = ""
    until: str = ""
    machine: str = "debian13_v2"
    tuned: dict[str, object] = dataclasses.field(default_factory=dict)


def _sysctl(**values: object) -> str:
    return "\n".join(f"sysctl -qw vm.{name}={value}" for name, value in values.items())


def _pressure(tool: str, *arguments: object, unit: str = UNIT, **properties: str) -> str:
    options = [f"--property={name}={value}" for name, value in {"MemoryAccounting": "yes", **properties}.items()]
    program = ["python3", f"{DIRECTORY}/pressure.py", tool, "--seconds", _SECONDS, *arguments]
    return shlex.join(["systemd-run", "--quiet", f"--unit={unit}", f"--property=StandardOutput=append:{DIRECTORY}/{unit}.out", *options, *map(str, program)])


def _event(name: str, more_than: int = 0) -> str:
    return f"awk '$1 == \"{name}\" && $2 > {more_than} {{ found = 1 }} END {{ exit !found }}' {_CGROUP}/memory.events"


def _stalled(percent: int) -> str:
    """All tasks of the unit waited for memory for so much of the last minute."""
    return f"awk -F'[= ]' '/^full/ && $5 > {percent} {{ found = 1 }} END {{ exit !found }}' {_CGROUP}/memory.pressure"


def _holds(mib: int, *, unit: str = UNIT) -> str:
    return f"awk '$1 > {mib << 20} {{ found = 1 }} END {{ exit !found }}' /sys/fs/cgroup/system.slice/{unit}.service/memory.current"


def _grown(counter: str) -> str:
    return f"awk '$1 == \"{counter}\" && $2 > 0 {{ found = 1 }} END {{ exit !found }}' /proc/vmstat"


_REDIS = f"install -m 0755 /bin/sleep {DIRECTORY}/redis-server && systemd-run --quiet --unit={UNIT} {DIRECTORY}/redis-server {_SECONDS}"
# 93 % of what may be promised, so that an audit still finds room to run.
_PROMISE = f"""systemd-run --quiet --unit={UNIT} python3 -c '
import mmap, re, time
read = lambda key: int(re.search(key + r": +(\\d+)", open("/proc/meminfo").read()).group(1)) << 10
held = mmap.mmap(-1, int(0.93 * read("CommitLimit")) - read("Committed_AS"), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
time.sleep({_SECONDS})
'"""
# With its last task a unit's cgroup goes, and the events with it.
_OUTGROWN = f"""systemd-run --quiet --unit={UNIT} --property=MemoryMax=100M --property=MemorySwapMax=0 --property=OOMPolicy=continue \\
  sh -c 'python3 {DIRECTORY}/pressure.py hog --mib 200; sleep {_SECONDS}'"""
_DYING = """for n in $(seq 400); do
  mkdir /sys/fs/cgroup/gone-$n
  sh -c "echo \\$\\$ > /sys/fs/cgroup/gone-$n/cgroup.procs; echo kept > /dev/shm/gone-$n"
  until rmdir /sys/fs/cgroup/gone-$n 2>/dev/null; do sleep 0.02; done
done"""
# Its sysctls would not do: TuneD reads sysctl.d once more after them.
_TUNED_OTHERWISE = """mkdir -p /etc/tuned/ours
printf '[main]\\ninclude=balanced\\n[vm]\\ntransparent_hugepages=always\\n' > /etc/tuned/ours/tuned.conf
tuned-adm profile ours"""

FAULTS = (
    # what every audit is held against first: a healthy machine has no finding above info
    *(Fault(name=f"nothing: a healthy {machine.name}", machine=machine.name) for machine in MACHINES),
    # sysctls that are wrong on any node
    Fault(name="a reserve for atomic allocations of half a MiB", rule="N07", seed=_sysctl(min_free_kbytes=512)),
    Fault(name="an eighth of memory kept free", rule="N08", seed=_sysctl(min_free_kbytes=131072)),
    Fault(name="dentries never reclaimed", rule="N25", seed=_sysctl(vfs_cache_pressure=0)),
    Fault(name="dentries reclaimed far too eagerly", rule="N26", seed=_sysctl(vfs_cache_pressure=10000)),
    Fault(name="a container out of memory is a panic", rule="N19", seed=_sysctl(panic_on_oom=2)),
    Fault(name="swappiness 0 to switch swap off", rule="N21", seed=_sysctl(swappiness=0)),
    Fault(name="swappiness 180 with swap on a disk", rule="N22", seed=_sysctl(swappiness=180)),
    Fault(name="no writeback by time", rule="N33", seed=_sysctl(dirty_writeback_centisecs=0)),
    Fault(name="the task that asks is killed", rule="N55", seed=_sysctl(oom_kill_allocating_task=1)),
    Fault(name="all that may be promised is promised", rule="N17", seed=_sysctl(overcommit_ratio=100, overcommit_memory=2) + f"\n{_PROMISE}",
          until="[ $(awk '/^CommitLimit/ { limit = $2 } /^Committed_AS/ { print int(100 * $2 / limit) }' /proc/meminfo) -gt 90 ]"),
    Fault(name="an eighth of memory in huge pages that nobody uses", rule="N36", seed=_sysctl(nr_hugepages=64)),
    Fault(name="a job that drops the page cache", rule="N24", seed="echo 3 > /proc/sys/vm/drop_caches"),
    # who decides
    Fault(name="a late file of sysctl.d", rule="P02", tuned={"vm.swappiness": 10},
          seed="echo 'vm.swappiness = 90' > /etc/sysctl.d/zzz-late.conf"),
    Fault(name="TuneD sets other values at boot", rule="P02", machine="debian12_tuned", tuned={"transparent_hugepage/enabled": "madvise"},
          seed=_TUNED_OTHERWISE),
    Fault(name="somebody changed by hand what a tune had set", rule="P03", tuned={"vm.swappiness": 10}, seed=_sysctl(swappiness=35)),
    # workloads
    Fault(name="Redis beside vm.overcommit_memory 0", rule="N28", seed=f"{_sysctl(overcommit_memory=0)}\n{_REDIS}"),
    Fault(name="Redis beside transparent huge pages", rule="N27",
          seed=f"{_sysctl(overcommit_memory=1)}\necho always > /sys/kernel/mm/transparent_hugepage/enabled\n{_REDIS}"),
    # the pressure tools
    Fault(name="a service that outgrows its limit, loses one task and lives on", rule="C01", seed=_OUTGROWN, until=_event("oom_kill")),
    Fault(name="programs that outgrow a node without swap", rule="N01",
          seed=f"swapoff -a\n{_pressure('hog', '--mib', 600)}\n{_pressure('hog', '--mib', 600, unit='memqos-other')}", until=_grown("oom_kill")),
    Fault(name="a service close to its limit, with nothing to reclaim", rule="C07",
          seed=_pressure("hog", "--mib", 188, MemoryMax="205M", MemorySwapMax="0"), until=_holds(190)),
    Fault(name="a service that wants more than memory.high", rule="C10",
          seed=_pressure("leak", "--mib", 400, "--rate", 20, MemoryHigh="100M", MemorySwapMax="0"),
          until=_stalled(8)),
    Fault(name="a file scan at its limit", rule="C02", seed=_pressure("scan", "--mib", 300, MemoryMax="150M"), until=_event("max", 1000)),
    Fault(name="tmpfs without swap", rule="N38", seed=f"swapoff -a\n{_pressure('tmpfs', '--mib', 200)}",
          until="[ $(awk '/^Shmem:/ { print $2 }' /proc/meminfo) -gt 195000 ]"),
    Fault(name="sockets that nobody reads", rule="N39", seed=_pressure("socket", "--mib", 100),
          until="[ $(awk '/^TCP:/ { print $11 }' /proc/net/sockstat) -gt $(awk '{ print $2 }' /proc/sys/net/ipv4/tcp_mem) ]"),
    Fault(name="lookups of names that are not there", rule="C04", seed=_pressure("dentries", "--count", 1600000), until=_holds(300)),
    Fault(name="removed cgroups that still hold memory", rule="N40", seed=_DYING),
    Fault(name="swap without room", rule="N48",
          seed=f"{_pressure('hog', '--mib', 330)}\nuntil {_holds(325)}; do sleep 1; done\n"
               f"until [ $(awk '/^SwapFree/ {{ print $2 }}' /proc/meminfo) -lt 12000 ]; do echo 16M > {_CGROUP}/memory.reclaim || :; done\n"
               f"{_pressure('hog', '--mib', 640, unit='memqos-other')}",
          until=_holds(635, unit="memqos-other")),
    Fault(name="more protected below a slice than the slice has", rule="C13",
          seed="systemctl set-property --runtime faults.slice MemoryLow=20M\n" + _pressure("hog", "--mib", 120, Slice="faults.slice", MemoryLow="100M")),
    Fault(name="the OOM killer switched off in a cgroup of v1", rule="C22", machine="debian12_v1",
          seed="mkdir /sys/fs/cgroup/memory/stuck && echo 64M > /sys/fs/cgroup/memory/stuck/memory.limit_in_bytes\n"
               "echo 1 > /sys/fs/cgroup/memory/stuck/memory.oom_control"),
)  # fmt: skip
