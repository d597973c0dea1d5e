# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Shapes of what the node's half reads and says, for type checkers. Imported under TYPE_CHECKING only; outside module_utils, so that no node is sent them."""

from __future__ import annotations

import typing as t


class Zone(t.TypedDict, total=False):
    """In pages. C(min low high promo) as printed: they include C(boost). C(pcp): free pages on per-CPU lists, not in C(free)."""

    node: int
    name: str
    free: int
    min: int
    low: int
    high: int
    promo: int
    boost: int
    managed: int
    present: int
    protection: list[int]
    pcp: int
    free_cma: int
    free_highatomic: int
    unreclaimable: bool


class ZoneRow(t.TypedDict, total=False):
    """A zone of the result, in bytes.

    distance_kswapd = free − free_highatomic − free_cma − low, distance_direct the same with min: what an order-0 request for this
    zone that cannot use CMA or the high-atomic reserve sees. The marks include C(boost). C(reserve) is what the zone keeps from requests
    that could go to a higher zone (lowmem_reserve_ratio); C(low_order_free_share) of free pages those in blocks of order 0 to 3.
    """

    node: int
    name: str
    highest: bool
    free: int
    min: int
    low: int
    high: int
    promo: int
    boost: int
    managed: int
    present: int
    distance_kswapd: int
    distance_direct: int
    reserve: int
    unreclaimable: bool
    low_order_free_share: float


class Buddy(t.TypedDict):
    """C(free): free blocks for each order, 0 first."""

    node: int
    zone: str
    free: list[int]


class Averages(t.TypedDict, total=False):
    """Averages in percent, C(total) in microseconds."""

    avg10: float
    avg60: float
    avg300: float
    total: int


class Pressure(t.TypedDict, total=False):
    some: Averages
    full: Averages


class Swap(t.TypedDict):
    path: str
    type: str
    size_bytes: int
    used_bytes: int
    priority: int


class Slab(t.TypedDict):
    """C(bytes) is what the pages take; C(object_bytes) one object."""

    name: str
    objects: int
    active: int
    object_bytes: int
    pages_per_slab: int
    slabs: int
    bytes: int


class Mount(t.TypedDict):
    mount_point: str
    root: str
    fs_type: str
    device: str
    super_options: list[str]


class Tmpfs(t.TypedDict):
    mount_point: str
    size_bytes: int
    used_bytes: int


class Process(t.TypedDict, total=False):
    """C(cgroup): path in the memory hierarchy (v1) or the unified one."""

    pid: int
    comm: str
    oom_score: int
    oom_score_adj: int
    rss_bytes: int
    cgroup: str


class Processes(t.TypedDict):
    """C(comms): how many processes carry each name; C(top): the first by oom_score; C(programs): {program: [cgroups]}. Kernel threads are left out."""

    count: int
    comms: dict[str, int]
    top: list[Process]
    programs: dict[str, list[str]]


class Cgroup(t.TypedDict, total=False):
    """One cgroup; a key that the kernel does not tell is absent. Bytes; no limit is None. C(path) "/" is the root of what is mounted.

    C(stat) has v2 names and hierarchical values, on v1 C(stat_local) the cgroup's own part. v1: the root's C(usage) is page cache and
    anonymous memory only; C(events) and C(events_local) are both without descendants, C(max) is failcnt, C(oom_kill) oom_control's;
    C(swap_limit) is the limit of memory + swap less C(limit); C(dying) only at the root, for all.
    C(request): a Guaranteed container's limit, a BestEffort one's 0, Docker's reservation, a Burstable one's by its oom_score_adj; a pod-level
    request (Kubernetes 1.34) is shared out differently.
    Nested dicts can be shared between cgroups: read them, never change them.
    """

    path: str
    parent: str
    inode: int
    usage: int
    peak: int
    limit: int | None
    soft_limit: int | None
    high: int | None
    low: int | None
    min: int | None
    swap: int
    swap_limit: int | None
    swap_high: int | None
    swap_events: dict[str, int]
    zswap: int
    zswap_limit: int | None
    swappiness: int
    oom_group: bool
    oom_kill_disable: bool
    stat: dict[str, int]
    stat_local: dict[str, int]
    events: dict[str, int]
    events_local: dict[str, int]
    pressure: Pressure
    dying: int
    vendor: dict[str, t.Any]
    # from _workloads
    kind: str
    name: str
    runtime: str
    qos_class: str
    pod_uid: str
    namespace: str
    pod: str
    container: str
    container_id: str
    image: str
    request: int
    request_source: str
    program: str
    # from _accounts and _diagnosis
    working_set: int
    working_set_sysom: int
    hard_set: int
    dying_bytes: int
    effective_min: int
    effective_low: int
    kernel_other: int
    children_usage: int
    children_min: int | None
    children_low: int | None
    growth: int
    refaults: int


class Told(t.TypedDict, total=False):
    """What runtimes say of a container (_read/_containers). C(source): CRI, Podman or Docker. Only labels and annotations that memory QoS reads."""

    container_id: str
    source: str
    container: str
    pod: str
    namespace: str
    pod_uid: str
    labels: dict[str, str]
    annotations: dict[str, str]
    request: int
    limit: int


class Declared(t.TypedDict, total=False):
    """Of the inventory, or C(source). C(match): a cgroup's path, or NAMESPACE/POD/CONTAINER, a container's name, a unit; with * ? [].

    C(qos_class): Kubernetes' or Koordinator's.
    """

    match: str
    qos_class: str
    request: int
    limit: int | None
    source: str


class Resident(t.TypedDict, total=False):
    """A workload of this node: what a container, or a unit that the inventory names, is and asked for (_resources). A key that nobody tells is absent.

    C(limit) None: none. C(memory_qos): fields of the annotation, by _memory_qos. C(batch_request batch_limit): of the pod list,
    kubernetes.io/batch-memory. C(sources): {key: who says so}. C(granularity): of an estimated request, which is up to so many bytes too low.
    """

    path: str
    kind: str
    name: str
    runtime: str
    container_id: str
    container: str
    pod_uid: str
    namespace: str
    pod: str
    qos_class: str
    koordinator_class: str
    memory_qos: dict[str, t.Any]
    request: int
    granularity: int
    limit: int | None
    batch_request: int
    batch_limit: int
    sources: dict[str, str]
    warnings: list[str]


class DropIn(t.TypedDict):
    """C(unit): that of its directory: a unit, C(user-.slice), C(service), C(app@.service). C(lines): {directive: value as written, the last}."""

    path: str
    unit: str
    lines: dict[str, str]


class Row(t.TypedDict):
    name: str
    bytes: int
    group: str
    reclaimable: str


class Breakdown(t.TypedDict):
    memtotal_bytes: int
    rows: list[Row]


class Window(t.TypedDict, total=False):
    """The second reading: counters and the largest cgroups, C(seconds) after the first."""

    seconds: float
    cgroup_seconds: float
    vmstat: dict[str, int]
    cgroups: dict[str, t.Any]


class Node(t.TypedDict, total=False):
    """docs/architecture.md §3.2. A section that could not be read is empty, or absent, and C(unknown) says why."""

    facts: dict[str, t.Any]
    meminfo: dict[str, int]
    vmstat: dict[str, int]
    zones: list[Zone]
    buddyinfo: list[Buddy]
    pressure: dict[str, Pressure]
    swaps: list[Swap]
    sockstat: dict[str, dict[str, int]]
    tcp_mem: dict[str, int]
    slabs: list[Slab]
    tmpfs: list[Tmpfs]
    numa: list[dict[str, t.Any]]
    details: dict[str, t.Any]
    cmdline: list[tuple[str, str | None]]
    knobs: dict[str, t.Any]
    cgroups: list[Cgroup]
    units: dict[str, t.Any]
    oom: dict[str, t.Any]
    programs: dict[str, list[str]]
    gathered: dict[str, dict[str, str]]
    applied: dict[str, t.Any] | None
    window: Window
    unknown: dict[str, str]


class KnobRow(t.Protocol):
    """A Readable, or a row of the registry."""

    @property
    def name(self) -> str:
        """As the kernel spells it."""

    @property
    def unit(self) -> str:
        """A Unit."""


class WrittenRow(KnobRow, t.Protocol):
    """A row of the registry."""

    @property
    def key(self) -> str:
        """The word before the value (memory.oom_control), or empty."""


class _WorkloadContainer(t.TypedDict):
    name: str


class WorkloadContainer(_WorkloadContainer, total=False):
    """A container that stays, of a workload: C(id) and C(runtime) (containerd, cri-o, docker, pouch) once it was started. Bytes; what is not set is missing."""

    id: str
    runtime: str
    request: int
    limit: int
    batch_request: int
    batch_limit: int
    sidecar: bool


class _Workload(t.TypedDict):
    uid: str
    namespace: str
    name: str
    qos_class: str
    containers: list[WorkloadContainer]


class Workload(_Workload, total=False):
    """A pod as C(_pods) sends it to its node (C(node)). C(uid) is what the cgroup is named by; C(qos_class) is Kubernetes' own.

    C(koordinator_class), C(memory_qos): label and annotation, if they are there. C(request), C(limit): of the pod, with init containers and overhead;
    C(pod_request), C(pod_limit): what it says itself, without overhead. C(inactive): it has ended. C(critical): by priority, or static.
    """

    node: str
    koordinator_class: str
    memory_qos: dict[str, t.Any]
    request: int
    limit: int
    pod_request: int
    pod_limit: int
    inactive: bool
    critical: bool
