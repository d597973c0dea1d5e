# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes trees of cgroup files as captured trees have them, for tests and benchmarks. Keys and their order are those of 6.12 (v2) and 6.18 (v1)."""

from __future__ import annotations

import os
import random
import typing as t

V2_KEYS = (
    "anon file kernel kernel_stack pagetables sec_pagetables percpu sock vmalloc shmem zswap zswapped file_mapped file_dirty file_writeback swapcached "
    "anon_thp file_thp shmem_thp inactive_anon active_anon inactive_file active_file unevictable slab_reclaimable slab_unreclaimable slab "
    "workingset_refault_anon workingset_refault_file workingset_activate_anon workingset_activate_file workingset_restore_anon "
    "workingset_restore_file workingset_nodereclaim pgdemote_kswapd pgdemote_direct pgdemote_khugepaged pgscan pgsteal pgscan_kswapd pgscan_direct "
    "pgscan_khugepaged pgsteal_kswapd pgsteal_direct pgsteal_khugepaged pgfault pgmajfault pgrefill pgactivate pgdeactivate pglazyfree "
    "pglazyfreed swpin_zero swpout_zero zswpin zswpout zswpwb thp_fault_alloc thp_collapse_alloc thp_swpout thp_swpout_fallback "
    "numa_pages_migrated numa_pte_updates numa_hint_faults"
).split()
V1_KEYS = (
    "cache rss rss_huge shmem mapped_file dirty writeback workingset_refault_anon workingset_refault_file swap swapcached pgpgin pgpgout pgfault "
    "pgmajfault inactive_anon active_anon inactive_file active_file unevictable"
).split()
UNLIMITED_V1 = 9223372036854771712
_MIB = 1 << 20
Shape = t.Literal["kubepods", "flat", "deep"]


def make_tree(root: str | os.PathLike[str], count: int, *, version: int = 2, shape: Shape = "kubepods", seed: int = 1) -> list[str]:
    """Writes C(count) cgroups and their root below C(root), with /proc/self/mountinfo. Returns the paths of the cgroups.

    kubepods: pods of both cgroup drivers in three QoS classes, and services; flat: all below the root; deep: one below the other.
    """
    chance = random.Random(seed)
    mount = "/sys/fs/cgroup" if version == 2 else "/sys/fs/cgroup/memory"
    top = os.fspath(root) + mount
    os.makedirs(top)
    paths = cgroup_paths(count, shape=shape)
    proc = os.fspath(root) + "/proc"
    os.makedirs(proc + "/self")
    kind, options = ("cgroup2", "rw,nsdelegate,memory_recursiveprot") if version == 2 else ("cgroup", "rw,memory")
    _write(proc + "/self/mountinfo", {"": f"25 24 0:22 / {mount} rw,nosuid,nodev,noexec,relatime - {kind} {kind} {options}\n"})
    _write(proc + "/cgroups", {"": f"#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t4\t{len(paths) + 1}\t1\n"})
    if version == 2:
        _write(top, {"/cgroup.controllers": "cpuset cpu io memory pids\n", "/memory.stat": stat_text(V2_KEYS, chance)})
        _write(top, {"/cgroup.stat": "nr_descendants 0\nnr_dying_descendants 0\n"})
    else:
        _write(top, {"/release_agent": "\n", **v1_files(chance)})
    for path in paths:
        os.mkdir(top + path)
        _write(top + path, v2_files(chance) if version == 2 else v1_files(chance))
    return paths


def cgroup_paths(count: int, *, shape: Shape = "kubepods") -> list[str]:
    """C(count) paths, parents before children."""
    if shape == "flat":
        return [f"/cgroup-{index:05}" for index in range(count)]
    if shape == "deep":
        paths, path = [], ""
        for index in range(count):
            path += f"/level-{index}"
            paths.append(path)
        return paths
    return _kubepods(count)


def _kubepods(count: int) -> list[str]:
    paths = ["/system.slice", "/kubepods.slice", "/kubepods.slice/kubepods-burstable.slice", "/kubepods.slice/kubepods-besteffort.slice"]
    paths += ["/kubepods", "/kubepods/burstable"]
    index = 0
    while len(paths) < count:
        uid = f"{index:08x}-1b2c-4d3e-8f40-{index:012x}"
        escaped = uid.replace("-", "_")
        sandbox, container = f"{index:032x}{'a' * 32}", f"{index:032x}{'b' * 32}"
        place = index % 5
        if place == 4:
            paths.append(f"/system.slice/daemon-{index}.service")
        elif place == 3:
            pod = f"/kubepods/burstable/pod{uid}"
            paths += [pod, f"{pod}/{sandbox}", f"{pod}/{container}"]
        else:
            pod = (f"/kubepods.slice/kubepods-pod{escaped}.slice", f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{escaped}.slice",
                   f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{escaped}.slice")[place]  # fmt: skip
            paths += [pod, f"{pod}/cri-containerd-{sandbox}.scope", f"{pod}/cri-containerd-{container}.scope"]
        index += 1
    return paths[:count]


def v2_files(chance: random.Random) -> dict[str, str]:
    """{/name: content} of one cgroup of a 6.12 kernel."""
    usage = chance.randrange(1, 4096) * 4096 * 64
    limit = chance.choice(("max", str(usage * 2)))
    quiet = chance.random() < 0.7
    high, kills = (0, 0) if quiet else (chance.randrange(9999), 1)
    events = f"low 0\nhigh {high}\nmax {high // 9}\noom {kills}\noom_kill {kills}\noom_group_kill 0\n"
    pressure = "some avg10={0} avg60=0.12 avg300=0.05 total={1}\nfull avg10={0} avg60=0.09 avg300=0.03 total={2}\n"
    return {
        "/cgroup.procs": "", "/cgroup.stat": "nr_descendants 0\nnr_subsys_memory 1\nnr_dying_descendants 0\nnr_dying_subsys_memory 0\n",
        "/cgroup.events": "populated 1\nfrozen 0\n", "/memory.current": f"{usage}\n", "/memory.peak": f"{usage + 4096}\n", "/memory.min": "0\n",
        "/memory.low": "0\n", "/memory.high": "max\n", "/memory.max": f"{limit}\n", "/memory.oom.group": "0\n", "/memory.swap.current": "0\n",
        "/memory.swap.max": "max\n", "/memory.swap.high": "max\n", "/memory.swap.events": "high 0\nmax 0\nfail 0\n",
        "/memory.zswap.current": "0\n", "/memory.zswap.max": "max\n",
        "/memory.events": events, "/memory.events.local": events, "/memory.stat": stat_text(V2_KEYS, chance),
        "/memory.pressure": pressure.format("0.00", 0, 0) if quiet else pressure.format("1.50", chance.randrange(10**9), chance.randrange(10**9)),
    }  # fmt: skip


def v1_files(chance: random.Random) -> dict[str, str]:
    """{/name: content} of one cgroup of a v1 memory controller."""
    usage = chance.randrange(1, 4096) * 4096 * 64
    limit = chance.choice((UNLIMITED_V1, usage * 2))
    stat = stat_text(V1_KEYS, chance)
    total = "".join("total_" + line + "\n" for line in stat_text(V1_KEYS, chance).splitlines())
    return {
        "/cgroup.procs": "", "/memory.usage_in_bytes": f"{usage}\n", "/memory.max_usage_in_bytes": f"{usage + 4096}\n",
        "/memory.limit_in_bytes": f"{limit}\n", "/memory.soft_limit_in_bytes": f"{UNLIMITED_V1}\n", "/memory.memsw.limit_in_bytes": f"{limit}\n",
        "/memory.memsw.usage_in_bytes": f"{usage}\n", "/memory.failcnt": f"{chance.choice((0, 0, 0, 17))}\n",
        "/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", "/memory.swappiness": "60\n",
        "/memory.stat": f"{stat}hierarchical_memory_limit {limit}\nhierarchical_memsw_limit {limit}\n{total}",
        "/memory.kmem.usage_in_bytes": f"{4096 * chance.randrange(9999)}\n", "/memory.kmem.tcp.usage_in_bytes": "0\n",
    }  # fmt: skip


def stat_text(keys: t.Iterable[str], chance: random.Random) -> str:
    """A memory.stat in which about a third of the values are 0, as in most containers."""
    return "".join(f"{key} {chance.choice((0, 1, 2)) and chance.randrange(64 * _MIB) // 4096 * 4096}\n" for key in keys)


def _write(directory: str, files: t.Mapping[str, str]) -> None:
    for name, content in files.items():
        with open(directory + name, "w", encoding="utf-8") as stream:
            stream.write(content)
