# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""The columns of the Top tables: what each is called, and what it is."""

from __future__ import annotations

import typing as t


class Part(t.NamedTuple):
    """C(shown): whether the table has the column before anybody asks. What stands behind the colon of a formula's C(note) is checked by a test."""

    label: str
    note: str
    shown: bool = False
    kind: str = "bytes"


# What nodes send in C(top.parts), in the names of memory.stat (v2), then settings.
PARTS: dict[str, Part] = {
    "usage": Part("Usage", "What the kernel charges to the cgroup", shown=True),
    "working_set": Part("Working set", "cAdvisor and kubelet: usage − inactive_file", shown=True),
    "working_set_sysom": Part("SysOM set", "SysOM: inactive_anon + active_anon + active_file", shown=True),
    "hard_set": Part(
        "Hard set",
        "Without clean page cache and reclaimable slab: usage − (active_file + inactive_file − file_dirty − file_writeback) − slab_reclaimable",
        shown=True,
    ),
    "anon": Part("anon", "Anonymous memory", shown=True),
    "file": Part("file", "Page cache, shared memory included"),
    "active_anon": Part("active_anon", "Anonymous and shared memory in use"),
    "inactive_anon": Part("inactive_anon", "Anonymous and shared memory that would be swapped first"),
    "active_file": Part("active_file", "File cache in use: counted as working set, yet reclaimable", shown=True),
    "inactive_file": Part("inactive_file", "File cache that reclaim takes first", shown=True),
    "file_dirty": Part("dirty", "File cache to be written before it can be freed"),
    "file_writeback": Part("writeback", "File cache that is being written"),
    "file_mapped": Part("mapped", "File cache that processes have mapped"),
    "shmem": Part("shmem", "tmpfs and shared memory: not reclaimable without swap", shown=True),
    "slab_reclaimable": Part("slab recl.", "Dentries, inodes and the like"),
    "slab_unreclaimable": Part("slab unrecl.", "Kernel objects"),
    "kernel": Part("kernel", "All kernel memory that is charged", shown=True),
    "kernel_stack": Part("kernel_stack", "Kernel stacks"),
    "pagetables": Part("pagetables", "Page tables"),
    "percpu": Part("percpu", "Per-CPU memory"),
    "vmalloc": Part("vmalloc", "vmalloc areas"),
    "sock": Part("sock", "Socket buffers"),
    "kernel_other": Part("kernel other", "Charged kernel memory that no other key names"),
    "unevictable": Part("unevictable", "Locked memory and the like, which reclaim never takes"),
    "swap": Part("swap", "Swapped out", shown=True),
    "dying_bytes": Part("dying", "Held by removed cgroups below"),
    "peak": Part("peak", "The largest usage since the cgroup was made"),
    "growth": Part("growth", "Growth of usage in the window", shown=True),
    "refaults": Part("refaults", "Evicted pages that came back in the window", shown=True, kind="count"),
    "limit": Part("Limit", "memory.max; – is no limit", shown=True),
    "request": Part("Request", "What the scheduler reserved"),
}
