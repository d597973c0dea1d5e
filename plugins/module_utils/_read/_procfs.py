# SPDX-License-Identifier: BSD-2-Clause

"""/proc: C(parse_X) is pure and never raises, C(read_X) raises Unreadable. Sizes in bytes, unless a docstring says pages or events."""

from __future__ import annotations

import os
import re
import typing as t
import zlib

from ._files import MAX_BYTES, Tree, Unreadable, display, whole_lines

T = t.TypeVar("T")
_NUMBER = re.compile(rb"-?[0-9]{1,20}")
_DECIMAL = re.compile(rb"[0-9]{1,12}(?:\.[0-9]{1,9})?")
_ZONE_HEAD = re.compile(rb"Node\s+([0-9]{1,6}),\s*zone\s+(\S+)\s*(.*)")
_CPU = re.compile(rb"cpu[0-9]")
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_CMDLINE_WORD = re.compile(rb'(?:[^ \t"]|"[^"]*"?)+')
_SYSTEM_RAM = re.compile(rb"([0-9a-f]{1,16})-([0-9a-f]{1,16}) : System RAM")
# In the section "pages" of zoneinfo, or among the zone's own statistics → key of Zone.
_ZONE_KEYS = {
    b"pages free": "free", b"nr_free_cma": "free_cma", b"free_highatomic": "free_highatomic", b"nr_free_highatomic": "free_highatomic",
    **{key.encode(): key for key in ("min", "low", "high", "promo", "boost", "managed", "present")},
}  # fmt: skip
_PAGE_SIZE_WITNESSES = (
    ("MemFree", "nr_free_pages"), ("AnonPages", "nr_anon_pages"), ("Mapped", "nr_mapped"), ("Shmem", "nr_shmem"), ("PageTables", "nr_page_table_pages"),
)  # fmt: skip
_SLAB_COLUMNS = {b"<active_objs>": "active", b"<num_objs>": "objects", b"<objsize>": "object_bytes", b"<pagesperslab>": "pages_per_slab"}

if t.TYPE_CHECKING:
    from ...plugin_utils._shapes import Averages, Buddy, Mount, Pressure, Slab, Swap, Tmpfs, Zone


def number(raw: bytes) -> int | None:
    return int(raw) if _NUMBER.fullmatch(raw) else None


def parse_keyed(data: bytes) -> dict[str, int]:
    values = {}
    for line in whole_lines(data):
        words = line.split()
        if len(words) == 2 and _NUMBER.fullmatch(words[1]):
            values[display(words[0])] = int(words[1])
    return values


def parse_meminfo(data: bytes) -> dict[str, int]:
    """A NUMA node's too, with C(Node 0) in front."""
    values = {}
    for line in whole_lines(data):
        name, colon, rest = line.partition(b":")
        key = name.split()[-1:]
        words = rest.split()
        amount = number(words[0]) if words else None
        if colon and key and amount is not None and words[1:] in ([], [b"kB"]):
            values[display(key[0])] = amount * 1024 if words[1:] else amount
    return values


def parse_numbers(data: bytes) -> list[int]:
    lines = whole_lines(data)
    values = [number(word) for word in lines[0].split()] if lines else []
    return [] if None in values else t.cast("list[int]", values)


def parse_zoneinfo(data: bytes) -> list[Zone]:
    zones: list[Zone] = []
    section: bytes | None = None
    pcp = 0
    for line in whole_lines(data):
        head = _ZONE_HEAD.fullmatch(line)
        words = line.split() or [b""]
        if head:
            zones.append({"node": int(head.group(1)), "name": display(head.group(2))})
            section, pcp = b"", 0
        elif section is not None and words[0] in (b"pages", b"pagesets"):
            section = words[0]
        if section == b"pages":
            _zone_row(zones[-1], words)
        elif section == b"pagesets" and len(words) == 2 and words[0] == b"count:":
            pcp += number(words[1]) or 0
        # Only a line behind the last CPU proves that all CPUs were counted.
        elif section == b"pagesets" and words[0] in (b"node_unreclaimable:", b"start_pfn:"):
            zones[-1]["pcp"] = pcp
            if words in ([b"node_unreclaimable:", b"0"], [b"node_unreclaimable:", b"1"]):
                zones[-1]["unreclaimable"] = words[1] == b"1"
    return zones


def _zone_row(zone: Zone, words: list[bytes]) -> None:
    if words[0] == b"protection:":
        reserve = [number(word.strip(b"(),")) for word in words[1:]]
        if reserve and None not in reserve and words[-1].endswith(b")"):
            zone["protection"] = t.cast("list[int]", reserve)
        return
    value = number(words[-1])
    name = _ZONE_KEYS.get(b" ".join(words[:-1]))
    if name and value is not None:
        zone[name] = value  # type: ignore[literal-required]


def parse_buddyinfo(data: bytes) -> list[Buddy]:
    rows: list[Buddy] = []
    for line in whole_lines(data):
        head = _ZONE_HEAD.fullmatch(line)
        free = [number(word) for word in head.group(3).split()] if head else []
        if head and free and None not in free:
            rows.append({"node": int(head.group(1)), "zone": display(head.group(2)), "free": [blocks for blocks in free if blocks is not None]})
    return rows


def parse_pressure(data: bytes) -> Pressure:
    pressure: Pressure = {}
    for line in whole_lines(data):
        words = line.split()
        averages: Averages = {}
        for word in words[1:]:
            key, _equals, value = word.partition(b"=")
            if key == b"total" and value.isdigit() and len(value) <= 20:
                averages["total"] = int(value)
            elif key in (b"avg10", b"avg60", b"avg300") and _DECIMAL.fullmatch(value):
                averages[key.decode()] = float(value)  # type: ignore[literal-required]
        if averages and words[0] in (b"some", b"full"):
            pressure[words[0].decode()] = averages  # type: ignore[literal-required]
    return pressure


def parse_swaps(data: bytes) -> list[Swap]:
    swaps: list[Swap] = []
    lines = whole_lines(data)
    columns = lines[0].split() if lines else []
    for words in map(bytes.split, lines[1:]):
        row = dict(zip(columns, words))
        size, used, priority = (number(row.get(key, b"")) for key in (b"Size", b"Used", b"Priority"))
        if len(words) == len(columns) and size is not None and used is not None and priority is not None and b"Filename" in row:
            kind = display(row.get(b"Type", b""))
            swaps.append({"path": unescape(row[b"Filename"]), "type": kind, "size_bytes": size * 1024, "used_bytes": used * 1024, "priority": priority})
    return swaps


def parse_sockstat(data: bytes) -> dict[str, dict[str, int]]:
    """{protocol: {key: value}}; C(mem) in pages, C(memory) in bytes."""
    protocols: dict[str, dict[str, int]] = {}
    for line in whole_lines(data):
        name, colon, rest = line.partition(b":")
        words = rest.split()
        values = {display(key): int(value) for key, value in zip(words[::2], words[1::2]) if _NUMBER.fullmatch(value)}
        if colon and values:
            protocols[display(name)] = values
    return protocols


def parse_triple(data: bytes) -> dict[str, int]:
    values = parse_numbers(data)
    return dict(zip(("min", "pressure", "max"), values)) if len(values) == 3 else {}


def parse_slabinfo(data: bytes, *, page_size: int) -> list[Slab]:
    slabs: list[t.Any] = []
    columns: list[bytes] = []
    for line in whole_lines(data):
        left, _tunables, right = line.partition(b" : tunables")
        if line.startswith(b"# name"):
            columns = left[6:].split()
            continue
        words = left.split()
        numbers = dict(zip(columns, map(number, words[-len(columns) :])))
        slab_words = right.partition(b"slabdata")[2].split()
        values = {key: numbers.get(column) for column, key in _SLAB_COLUMNS.items()}
        values["slabs"] = number(slab_words[1]) if len(slab_words) == 3 else None
        if len(words) > len(columns) and None not in values.values():
            # A name may hold a space (out-of-tree modules).
            slabs.append({"name": display(b" ".join(words[: -len(columns)])), **values})
            slabs[-1]["bytes"] = slabs[-1]["slabs"] * slabs[-1]["pages_per_slab"] * page_size
    slabs.sort(key=lambda slab: (-slab["bytes"], slab["name"]))
    return slabs


def parse_cmdline(data: bytes) -> list[tuple[str, str | None]]:
    """(key, value or None) in order. Double quotes protect spaces, as in the kernel's next_arg()."""
    lines = whole_lines(data)
    return [_argument(word) for word in _CMDLINE_WORD.findall(lines[0])] if lines else []


def _argument(word: bytes) -> tuple[str, str | None]:
    # The kernel takes quotes around the whole argument as well as around its value.
    key, equals, value = (word.strip(b'"') if word.startswith(b'"') else word).partition(b"=")
    return display(key), display(value.strip(b'"')) if equals else None


def parse_iomem(data: bytes) -> int | None:
    """Bytes of System RAM. None if every address is zero (no CAP_SYS_ADMIN)."""
    ranges = [(int(match.group(1), 16), int(match.group(2), 16)) for match in map(_SYSTEM_RAM.fullmatch, whole_lines(data)) if match]
    return sum(high - low + 1 for low, high in ranges if high >= low) if any(high for _low, high in ranges) else None


def parse_mountinfo(data: bytes) -> list[Mount]:
    mounts: list[Mount] = []
    for line in whole_lines(data):
        left, dash, right = line.partition(b" - ")
        own = left.split(b" ")
        rest = right.split(b" ")
        if dash and len(own) >= 6 and len(rest) == 3:
            mounts.append({
                "mount_point": unescape(own[4]), "root": unescape(own[3]), "fs_type": unescape(rest[0]), "device": display(own[2]),
                "super_options": unescape(rest[2]).split(","),
            })  # fmt: skip
    return mounts


def parse_uptime(data: bytes) -> float | None:
    lines = whole_lines(data)
    words = lines[0].split() if lines else []
    return float(words[0]) if words and _DECIMAL.fullmatch(words[0]) else None


def parse_vmap_stack(config: bytes) -> bool | None:
    lines = whole_lines(config)
    if b"CONFIG_VMAP_STACK=y" in lines:
        return True
    # Not every architecture names it; CONFIG_MMU shows that this is a configuration.
    return False if b"# CONFIG_VMAP_STACK is not set" in lines or b"CONFIG_MMU=y" in lines else None


def infer_page_size(meminfo: t.Mapping[str, int], vmstat: t.Mapping[str, int]) -> int | None:
    """By majority: MemFree was seen at four times nr_free_pages (deferred page initialisation)."""
    votes = [
        1 << shift
        for size_key, count_key in _PAGE_SIZE_WITNESSES
        for shift in range(12, 19)
        if 0.75 < meminfo.get(size_key, 0) / (vmstat.get(count_key, 0) or 1) / (1 << shift) < 1.5
    ]
    return max(votes, key=lambda size: (votes.count(size), -size)) if votes else None


def unescape(raw: bytes) -> str:
    return display(_OCTAL.sub(lambda match: bytes((int(match.group(1), 8),)), raw))


def read_meminfo(tree: Tree) -> dict[str, int]:
    return _understood(tree, "/proc/meminfo", parse_meminfo)


def read_vmstat(tree: Tree) -> dict[str, int]:
    return _understood(tree, "/proc/vmstat", parse_keyed)


def read_zoneinfo(tree: Tree) -> list[Zone]:
    return _understood(tree, "/proc/zoneinfo", parse_zoneinfo)


def read_buddyinfo(tree: Tree) -> list[Buddy]:
    return _understood(tree, "/proc/buddyinfo", parse_buddyinfo)


def read_pressure(tree: Tree, resource: str) -> Pressure:
    """C(resource): memory, io or cpu. Absent without PSI (CONFIG_PSI, C(psi=1))."""
    return _understood(tree, f"/proc/pressure/{resource}", parse_pressure)


def read_swaps(tree: Tree) -> list[Swap]:
    data = tree.read("/proc/swaps")
    if not data.startswith(b"Filename"):
        raise Unreadable("/proc/swaps", "malformed", "has no header")
    return parse_swaps(data)


def read_sockstat(tree: Tree) -> dict[str, dict[str, int]]:
    protocols = _understood(tree, "/proc/net/sockstat", parse_sockstat)
    protocols.update(parse_sockstat(tree.read_or_empty("/proc/net/sockstat6")))  # none with ipv6.disable=1
    return protocols


def read_protocol_memory(tree: Tree, protocol: str) -> dict[str, int]:
    return _understood(tree, f"/proc/sys/net/ipv4/{protocol}_mem", parse_triple)


def read_slabinfo(tree: Tree, *, page_size: int) -> list[Slab]:
    return _understood(tree, "/proc/slabinfo", lambda data: parse_slabinfo(data, page_size=page_size))


def read_cmdline(tree: Tree) -> list[tuple[str, str | None]]:
    return parse_cmdline(tree.read("/proc/cmdline"))


def read_iomem(tree: Tree) -> int:
    size = parse_iomem(tree.read("/proc/iomem"))
    if size is None:
        raise Unreadable("/proc/iomem", "denied", "needs root (the kernel shows zeros)")
    return size


def read_mountinfo(tree: Tree) -> list[Mount]:
    """A captured tree may hold init's."""
    try:
        return _understood(tree, "/proc/self/mountinfo", parse_mountinfo)
    except Unreadable:
        return _understood(tree, "/proc/1/mountinfo", parse_mountinfo)


def read_cpus(tree: Tree) -> int:
    return _understood(tree, "/proc/stat", lambda data: sum(bool(_CPU.match(line)) for line in whole_lines(data)))


def read_uptime(tree: Tree) -> float:
    return _understood(tree, "/proc/uptime", parse_uptime)


def read_kernel(tree: Tree) -> str:
    return tree.read_text("/proc/sys/kernel/osrelease")


def read_architecture(tree: Tree) -> str:
    return os.uname().machine if tree.live else tree.output("uname-m", ()).strip()


def read_boot_id(tree: Tree) -> str:
    return tree.read_text("/proc/sys/kernel/random/boot_id")


def read_page_size(tree: Tree) -> int:
    if tree.live:
        return os.sysconf("SC_PAGE_SIZE")
    size = infer_page_size(read_meminfo(tree), read_vmstat(tree))
    if size is None:
        raise Unreadable("/proc/vmstat", "malformed", "the page size cannot be told: no counter of pages fits meminfo")
    return size


def read_vmap_stack(tree: Tree) -> bool:
    try:
        config = gunzip(tree.read("/proc/config.gz"))
    except Unreadable:
        config = tree.read(f"/boot/config-{read_kernel(tree)}")
    value = parse_vmap_stack(config)
    if value is None:
        raise Unreadable("/proc/config.gz", "malformed", "no kernel configuration")
    return value


def read_tmpfs(tree: Tree) -> list[Tmpfs]:
    if not tree.live:
        raise Unreadable("/proc/self/mountinfo", "absent", "a captured tree does not hold the sizes of file systems")
    rows: list[Tmpfs] = []
    for path in visible_tmpfs(read_mountinfo(tree)):
        try:
            fs = os.statvfs(path)
        except OSError:
            continue  # unmounted meanwhile, or below a directory closed to us
        rows.append({"mount_point": path, "size_bytes": fs.f_blocks * fs.f_frsize, "used_bytes": (fs.f_blocks - fs.f_bfree) * fs.f_frsize})
    rows.sort(key=lambda row: (-row["used_bytes"], row["mount_point"]))
    return rows


def visible_tmpfs(mounts: t.Sequence[Mount]) -> list[str]:
    """One mount point for each tmpfs, not one that a later mount (a dead NFS server?) covers."""
    points: dict[str, str] = {}
    for position, mount in enumerate(mounts):
        path = mount["mount_point"]
        covered = any(f"{path}/".startswith(later["mount_point"].rstrip("/") + "/") for later in mounts[position + 1 :])
        if mount["fs_type"] in ("tmpfs", "devtmpfs") and not covered:
            points.setdefault(mount["device"], path)
    return list(points.values())


def gunzip(data: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        return stream.decompress(data, MAX_BYTES) if data else b""
    except zlib.error:
        return b""


def _understood(tree: Tree, path: str, parse: t.Callable[[bytes], T | None]) -> T:
    value = parse(tree.read(path))
    if not value:
        raise Unreadable(path, "malformed", "nothing in it could be understood")
    return value
