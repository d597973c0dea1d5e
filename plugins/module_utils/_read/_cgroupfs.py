# SPDX-License-Identifier: BSD-2-Clause

"""The memory files of all cgroups. Directories are opened relative to the parent's descriptor: a path may be longer than PATH_MAX."""

from __future__ import annotations

import errno
import functools
import operator
import os
import re
import typing as t
from itertools import accumulate

from .._tuples import NamedTuple
from . import _procfs
from ._files import Tree, Unreadable, display, whole_lines
from ._procfs import number, parse_keyed

if t.TYPE_CHECKING:
    from ...plugin_utils._shapes import Cgroup, Mount

    Kind = t.Literal["v1", "hybrid", "v2", "none"]
    Parser = t.Callable[[bytes], t.Any]


class Hierarchy(NamedTuple):
    """C(reason): why C(memory) is None or only a part is visible."""

    kind: Kind
    memory: str | None = None
    version: int = 0
    pressure: str | None = None  # v1 only: another tree with memory.pressure under the same paths
    recursiveprot: bool = False
    whole: bool = True  # False in a container that sees only its own part
    reason: str = ""


class _File(NamedTuple):
    name: bytes
    key: str
    parse: Parser


# For a content that a parser cannot read; no memory file holds a negative amount.
GARBLED = -1
# PAGE_COUNTER_MAX is LONG_MAX rounded down to a page; this one is for 64 KiB.
_UNLIMITED = 0x7FFFFFFFFFFF0000
_CONTROLLER = re.compile(rb"^memory\s[0-9]+\s([0-9]{1,20})\s[01]\n", re.MULTILINE)
_ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f])")
# O_NONBLOCK: a captured tree may hold a FIFO.
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
DIR_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY
_CHUNK = 8192
_MAX_FILE = 1024 * 1024
_IDLE = {
    b"page_scans:": "scans",
    b"scans:": "scans",
    b"scan_period_in_seconds:": "period_seconds",
    b"buckets:": "ages",
    b"fe": "file",
    b"se": "anon",
    b"la": "slab",
}
_GONE = frozenset((errno.ENOENT, errno.ENODEV))
_PROBED_DIRECTORIES = 8

# At most 42 in any kernel: one more doubles the size of the dict.
_V2_STAT = {
    key.encode(): key
    for key in (
        "anon file kernel kernel_stack pagetables sec_pagetables percpu sock vmalloc shmem zswap zswapped file_mapped file_dirty file_writeback "
        "swapcached anon_thp inactive_anon active_anon inactive_file active_file unevictable slab_reclaimable slab_unreclaimable hugetlb "
        "workingset_refault_anon workingset_refault_file workingset_activate_anon workingset_activate_file workingset_restore_anon "
        "workingset_restore_file workingset_nodereclaim pgscan_kswapd pgscan_direct pgscan_khugepaged pgscan_proactive "
        "pgsteal_kswapd pgsteal_direct pgsteal_khugepaged pgsteal_proactive pgfault pgmajfault"
    ).split()
}
# Before 5.9 only file pages had refaults, under names without a type.
_V2_STAT.update({f"workingset_{what}".encode(): f"workingset_{what}_file" for what in ("refault", "activate", "restore")})
_V1_LOCAL = {b"rss": "anon", b"cache": "file", b"shmem": "shmem"}
_V1_STAT = {
    **_V1_LOCAL, b"mapped_file": "file_mapped", b"dirty": "file_dirty", b"writeback": "file_writeback", b"rss_huge": "anon_thp",
    b"workingset_refault": "workingset_refault_file",
    **{key.encode(): key for key in ("swap swapcached inactive_anon active_anon inactive_file active_file unevictable workingset_refault_anon "
                                     "workingset_refault_file pgfault pgmajfault").split()},
}  # fmt: skip
_SAMPLE_KEYS = frozenset(
    "anon file active_file inactive_file workingset_refault_anon workingset_refault_file workingset_activate_file "
    "pgscan_direct pgsteal_direct pgscan_kswapd pgsteal_kswapd pgmajfault".split()
)


def parse_amount(data: bytes) -> int | None:
    if data == b"max\n":
        return None
    if data[-1:] == b"\n" and data[:-1].isdigit() and len(data) <= 21:
        value = int(data)
        return value if value < _UNLIMITED else None
    return GARBLED


def parse_dying(data: bytes) -> int:
    """cgroup.stat → dying memory cgroups below; before 6.12 dying cgroups of any kind."""
    counts = parse_keyed(data)
    return counts.get("nr_dying_subsys_memory", counts.get("nr_dying_descendants", GARBLED))


def parse_vendor(data: bytes) -> t.Any:
    """docs/architecture.md §3.2."""
    text = data.strip()
    if text == b"max":
        return None
    value = number(text)
    if value is not None:
        return value
    # Latencies: of how many ms there were none is left out.
    counts = parse_keyed(data.replace(b"ms:", b"").replace(b"(ms):", b"_ms"))
    return {key: value for key, value in counts.items() if value or key[0].isalpha()} or (text[:1] == b"#" and _parse_idle(data)) or display(text)


def _parse_idle(data: bytes) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for words in map(bytes.split, whole_lines(data)):
        if words[:1] == [b"#"]:
            key = _IDLE.get(words[1]) if len(words) == 3 else None
            if key:
                numbers = [number(word) for word in words[2].split(b",")]
                found[key] = numbers if key == "ages" else numbers[0]
        elif any(map(number, words[1:])):
            key = _IDLE.get(words[0][1:3], "unevictable")
            found[key] = [(number(word) or 0) + before for word, before in zip(words[1:], found.get(key) or [0] * 8)]
    return found


def parse_controllers(data: bytes) -> int | None:
    """/proc/cgroups → memory cgroups, dying ones included."""
    match = _CONTROLLER.search(data)
    return int(match.group(1)) if match else None


class _StatParser:
    """memory.stat → [hierarchical values, v2's names; v1's own values]. The kernel keeps its keys and their order until it reboots."""

    def __init__(self, version: int, keep: t.Container[str] | None = None) -> None:
        self._version = version
        self._keep = keep
        self._keys: list[bytes] = []
        self._views: list[tuple[t.Callable[[list[bytes]], t.Iterable[bytes]], list[str]]] = []

    def __call__(self, data: bytes) -> list[dict[str, int]]:
        words = data.split()
        if self._views and words[::2] == self._keys and len(words) == 2 * len(self._keys) and data[-1:] == b"\n":
            try:
                return [dict(zip(names, map(int, pick(words)))) for pick, names in self._views]
            except ValueError:
                pass
        return self._slow(data, words)

    def _slow(self, data: bytes, words: list[bytes]) -> list[dict[str, int]]:
        pairs = [line.split() for line in whole_lines(data)]
        good = {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[1].isdigit() and len(pair[1]) <= 20}
        # Without hierarchy v1 has no total_ keys.
        prefix = b"total_" if b"total_rss" in good or b"total_cache" in good else b""
        wanted = (_V2_STAT, {}) if self._version == 2 else ({prefix + key: name for key, name in _V1_STAT.items()}, _V1_LOCAL)
        views = [{key: name for key, name in names.items() if key in good and (self._keep is None or name in self._keep)} for names in wanted]
        if len(good) * 2 == len(words) and data[-1:] == b"\n":
            self._keys = words[::2]
            places = {key: 2 * index + 1 for index, key in enumerate(self._keys)}
            self._views = [(_picker([places[key] for key in view]), list(view.values())) for view in views]
        return [{name: int(good[key]) for key, name in view.items()} for view in views]


def _picker(places: list[int]) -> t.Callable[[list[bytes]], t.Iterable[bytes]]:
    if len(places) > 1:
        return operator.itemgetter(*places)
    return lambda words: [words[place] for place in places]


def _flag(data: bytes) -> t.Any:
    return {b"0\n": False, b"1\n": True}.get(data, GARBLED)


def _shared(parse: t.Callable[[bytes], t.Mapping[str, t.Any]]) -> Parser:
    """Most cgroups have the same events and no pressure: they share one dict."""
    return functools.lru_cache(maxsize=256)(lambda data: parse(data) or GARBLED)


_FILES = {
    2: {
        "memory.current": "usage", "memory.peak": "peak", "memory.max": "limit", "memory.stat": "stat", "memory.swap.current": "swap",
        "memory.swap.max": "swap_limit", "memory.swap.high": "swap_high", "memory.swap.events": "swap_events", "memory.zswap.current": "zswap",
        "memory.zswap.max": "zswap_limit", "memory.pressure": "pressure", "cgroup.stat": "dying",
    },
    1: {
        "memory.usage_in_bytes": "usage", "memory.max_usage_in_bytes": "peak", "memory.limit_in_bytes": "limit", "memory.soft_limit_in_bytes": "soft_limit",
        "memory.memsw.limit_in_bytes": "swap_limit", "memory.stat": "stat", "memory.failcnt": "failcnt", "memory.oom_control": "oom_control",
        "memory.swappiness": "swappiness", "memory.kmem.usage_in_bytes": "kernel", "memory.kmem.tcp.usage_in_bytes": "sock",
    },
}  # fmt: skip
_V1_WORDS = frozenset(("failcnt", "oom_control", "kernel", "sock"))
# Of v2, and of v1 on Anolis and openEuler.
_FILES_OF_BOTH = {
    "memory.min": "min", "memory.low": "low", "memory.high": "high", "memory.events": "events", "memory.events.local": "events_local",
    "memory.oom.group": "oom_group",
}  # fmt: skip


def _known_files(version: int, stat: _StatParser) -> list[_File]:
    """In the order of reading; the first tells whether the directory is a memory cgroup at all."""

    def parse_stat(data: bytes) -> t.Any:
        found = stat(data)
        return (found if version == 1 else found[0]) if found[0] else GARBLED

    flat = _shared(parse_keyed)
    parsers: dict[str, Parser] = {
        "stat": parse_stat, "pressure": _shared(_procfs.parse_pressure), "dying": functools.lru_cache(maxsize=256)(parse_dying),
        "oom_control": flat, "events": flat, "events_local": flat, "swap_events": flat, "oom_group": _flag,
    }  # fmt: skip
    return [_File(name.encode(), key, parsers.get(key, parse_amount)) for name, key in {**_FILES[version], **_FILES_OF_BOTH}.items()]


def _finish_v1(found: dict[str, t.Any]) -> None:
    kernel = {key: found.pop(key) for key in ("kernel", "sock") if key in found}
    if "stat" in found:
        stat, found["stat_local"] = found["stat"]
        found["stat"] = stat
        if "swap" in stat:
            found["swap"] = stat.pop("swap")
        stat.update(kernel)
    both = found.get("swap_limit")
    if both is not None:
        found["swap_limit"] = both - (found.get("limit") or 0)
    failcnt = found.pop("failcnt", None)
    control = found.pop("oom_control", {})
    if "events" not in found and (failcnt is not None or "oom_kill" in control):
        found["events"] = found["events_local"] = _v1_events(failcnt, control.get("oom_kill"))
    if "oom_kill_disable" in control:
        found["oom_kill_disable"] = bool(control["oom_kill_disable"])


@functools.lru_cache(maxsize=256)
def _v1_events(failcnt: int | None, oom_kill: int | None) -> dict[str, int]:
    return {key: value for key, value in (("max", failcnt), ("oom_kill", oom_kill)) if value is not None}


def detect(tree: Tree, mounts: t.Sequence[Mount]) -> Hierarchy:
    """Never raises: kind none has a C(reason)."""
    v1 = [mount for mount in mounts if mount["fs_type"] == "cgroup"]
    v2 = _visible(tree, [mount for mount in mounts if mount["fs_type"] == "cgroup2"], "cgroup.controllers")
    memory = _visible(tree, [mount for mount in v1 if "memory" in mount["super_options"]], "memory.usage_in_bytes")
    if memory:
        top = memory["mount_point"]
        whole = memory["root"] == "/" and tree.exists(f"{top}/release_agent")
        # Anolis has PSI on v1, in the cpuacct hierarchy.
        pressure = v2 or _visible(tree, [mount for mount in v1 if "cpuacct" in mount["super_options"]], "memory.pressure")
        return Hierarchy("hybrid" if v2 else "v1", top, 1, pressure["mount_point"] if pressure else None, whole=whole, reason=_part(top, whole))
    if v2 is None:
        return Hierarchy("none", reason="no cgroup file system is mounted" if not v1 else "no memory controller among the mounted cgroup v1 controllers")
    top = v2["mount_point"]
    try:
        controllers = tree.read_text(f"{top}/cgroup.controllers").split()
    except Unreadable as exc:
        return Hierarchy("none", reason=str(exc))
    if "memory" not in controllers:
        return Hierarchy("none", reason=f"no memory in {top}/cgroup.controllers (is cgroup_disable=memory on the kernel command line?)")
    # A container's own part has memory.current at its top, the real root has not.
    whole = v2["root"] == "/" and not tree.exists(f"{top}/memory.current")
    others = any(not option.startswith("name=") for mount in v1 for option in set(mount["super_options"]) - {"rw", "ro", "xattr", "clone_children"})
    return Hierarchy("hybrid" if others else "v2", top, 2, None, "memory_recursiveprot" in v2["super_options"], whole, _part(top, whole))


def _visible(tree: Tree, mounts: t.Sequence[Mount], witness: str) -> Mount | None:
    for mount in sorted(mounts, key=lambda mount: (mount["root"] != "/", len(mount["mount_point"]))):
        if tree.exists(f"{mount['mount_point']}/{witness}"):
            return mount
    return None


def _part(top: str, whole: bool) -> str:
    return "" if whole else f"{top} shows only a part of the node's cgroups (a container, or a cgroup namespace)"


def walk(
    tree: Tree, hierarchy: Hierarchy, *, vendor_files: t.Iterable[str] = (), towards: t.Collection[str] | None = None
) -> tuple[list[Cgroup], dict[str, str]]:
    """Parents before children, siblings by name; and C({what: why it is unknown}). With C(towards) only these, what is above and beside.

    On v2 those without the memory controller are left out: their memory counts in the nearest listed ancestor.
    """
    if hierarchy.memory is None:
        return [], {"cgroups": hierarchy.reason}
    walker = _Walk(tree, hierarchy, vendor_files, towards)
    try:
        walker.run(open_root(tree, hierarchy.memory), _open_other(tree, hierarchy.pressure))
    except Unreadable as exc:
        return [], {"cgroups": str(exc)}
    return walker.found, walker.unknown()


class _Directory(NamedTuple):
    """C(other): the same cgroup in the tree that has memory.pressure, or -1."""

    fd: int
    other: int
    path: str
    children: t.Iterator[str]


class _Walk:
    def __init__(self, tree: Tree, hierarchy: Hierarchy, vendor_files: t.Iterable[str], towards: t.Collection[str] | None) -> None:
        self.found: list[Cgroup] = []
        self._above = None if towards is None else {above for path in towards for above in accumulate(path.split("/")[1:-1], "{}/{}".format, initial="")}
        self._vendor_files = vendor_files
        self._tree = tree
        self._hierarchy = hierarchy
        self._known = _known_files(hierarchy.version, _StatParser(hierarchy.version))
        self._pressure = [_File(b"memory.pressure", "pressure", _shared(_procfs.parse_pressure))]
        self._plan: list[_File] = []
        self._vendor: list[_File] = []
        self._absent: dict[str, str] = {}
        self._troubles: dict[tuple[str, str], list[str | int]] = {}
        self._counts_links = False

    def run(self, root: int, other: int) -> None:
        stack: list[_Directory] = []
        try:
            stack.append(self._enter_root(root, other))
            while stack:
                above = stack[-1]
                name = next(above.children, None)
                if name is None:
                    _close(above.fd, above.other)
                    stack.pop()
                    continue
                below = self._enter(above, name)
                if below is not None:
                    stack.append(below)
            self._count_dying_v1()
        finally:
            for directory in stack:
                _close(directory.fd, directory.other)

    def _enter_root(self, fd: int, other: int) -> _Directory:
        names, children = set(os.listdir(fd)), directories(fd)
        # kernfs, tmpfs and ext4 count directories in st_nlink (a leaf needs no listing), btrfs and overlay do not.
        self._counts_links = os.fstat(fd).st_nlink == 2 + len(children)
        self._probe(fd, children)
        values = self._read(fd, [file for file in self._known if file.name.decode() in names], "/", required=False) or {}
        if other >= 0:
            values.update(self._read(other, self._pressure, "/", required=False) or {})
        if self._hierarchy.version == 1:
            _finish_v1(values)
        vendor = [file for file in self._vendor if file.key in names]
        if vendor:
            values["vendor"] = self._read(fd, vendor, "/", required=False)
        self.found.append(t.cast("Cgroup", {"path": "/", "inode": os.fstat(fd).st_ino, **values}))
        return _Directory(fd, other, "", iter(children))

    def _probe(self, fd: int, children: list[str]) -> None:
        names: set[str] = set()
        for name in children[:_PROBED_DIRECTORIES]:
            try:
                below = os.open(name, DIR_FLAGS, dir_fd=fd)
            except OSError:
                continue
            names.update(os.listdir(below))
            os.close(below)
        # The first decides what a directory is.
        self._plan = [file for file in self._known if file is self._known[0] or file.name.decode() in names]
        self._vendor = [_File(name.encode(), name, parse_vendor) for name in self._vendor_files if name in names]
        if self._known[0].name.decode() not in names:
            if children:
                self._absent["cgroups"] = "the memory controller is not enabled below the root (cgroup.subtree_control)"
            return
        for file in self._known:
            if file not in self._plan and file.key not in _V1_WORDS and not (self._hierarchy.version == 1 and file.key.startswith("events")):
                self._absent[f"cgroup.{file.key}"] = f"this kernel has no {display(file.name)} on cgroup v{self._hierarchy.version}"

    def _enter(self, above: _Directory, name: str) -> _Directory | None:
        """None if nothing is below it, it is gone, or no memory cgroup."""
        path = f"{above.path}/{display(name)}"
        try:
            fd = os.open(name, DIR_FLAGS, dir_fd=above.fd)
        except OSError as exc:
            self._note(path, "directory", exc)
            return None
        other = self._open_beside(above.other, name, path)
        below = None
        try:
            status = os.fstat(fd)
            leads_on = (self._above is None or path in self._above) and not (self._counts_links and status.st_nlink == 2)
            if self._add(fd, other, path, above.path or "/", status.st_ino) and leads_on:
                children = directories(fd)
                if children:
                    below = _Directory(fd, other, path, iter(children))
        except OSError as exc:
            self._note(path, "directory", exc)
        finally:
            if below is None:
                _close(fd, other)
        return below

    def _open_beside(self, other: int, name: str, path: str) -> int:
        try:
            return -1 if other < 0 else os.open(name, DIR_FLAGS, dir_fd=other)
        except OSError as exc:
            if exc.errno not in _GONE:
                self._note(path, "memory.pressure", exc)
            return -1

    def _add(self, fd: int, other: int, path: str, parent: str, inode: int) -> bool:
        values = self._read(fd, self._plan, path)
        if values is None:
            return False
        if self._hierarchy.version == 1:
            _finish_v1(values)
        if other >= 0:
            values.update(self._read(other, self._pressure, path, required=False) or {})
        if self._vendor:
            values["vendor"] = self._read(fd, self._vendor, path, required=False)
        self.found.append(t.cast("Cgroup", {"path": path, "parent": parent, "inode": inode, **values}))
        return True

    def _read(self, fd: int, files: list[_File], path: str, *, required: bool = True) -> dict[str, t.Any] | None:
        """{key: value}. None if the cgroup is gone, or (C(required)) has not the first file."""
        values: dict[str, t.Any] = {}
        for name, key, parse in files:
            try:
                data = read_file(fd, name)
            except OSError as exc:
                if required and exc.errno in _GONE and not _is_there(fd, files[0].name):
                    return None
                self._note(path, display(name), exc)
                continue
            value = parse(data)
            if value == GARBLED and parse is not parse_vendor:  # qos_level -1 is offline
                self._note(path, display(name), None)
                continue
            values[key] = value
        return values

    def _note(self, path: str, what: str, exc: OSError | None) -> None:
        if exc is not None and what == "directory" and exc.errno in _GONE:
            return
        reason = "cannot be understood" if exc is None else Unreadable.from_os_error(path, exc).reason
        trouble = self._troubles.setdefault((what, reason), [path, 0])
        trouble[1] = t.cast("int", trouble[1]) + 1

    def unknown(self) -> dict[str, str]:
        unknown = dict(self._absent)
        for (what, reason), (path, count) in self._troubles.items():
            words = f"{reason}: {path}" + (f" and {t.cast('int', count) - 1} more" if count != 1 else "")
            key = f"cgroups {what}"
            unknown[key] = f"{unknown[key]}; {words}" if key in unknown else words
        if self._hierarchy.version == 1:
            without = sum("pressure" not in cgroup for cgroup in self.found)
            if without:
                place = f"{without} cgroups have no directory in {self._hierarchy.pressure}" if self._hierarchy.pressure else "cgroup v1 has no memory.pressure"
                unknown.setdefault("cgroup.pressure", place)
        return unknown

    def _count_dying_v1(self) -> None:
        if self._hierarchy.version != 1 or not self._hierarchy.whole or not self.found or any(what == "directory" for what, reason in self._troubles):
            return
        count = parse_controllers(self._tree.read_or_empty("/proc/cgroups"))
        if count is not None:
            self.found[0]["dying"] = max(0, count - len(self.found))


def read_file(fd: int, name: bytes) -> bytes:
    file = os.open(name, _FILE_FLAGS, dir_fd=fd)
    try:
        data = os.read(file, _CHUNK)
        if len(data) == _CHUNK or data[-1:] != b"\n":
            while len(data) < _MAX_FILE:
                more = os.read(file, _CHUNK)
                if not more:
                    break
                data += more
        return data
    finally:
        os.close(file)


def _is_there(fd: int, name: bytes) -> bool:
    try:
        read_file(fd, name)
    except OSError as exc:
        return exc.errno not in _GONE
    return True


def directories(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        return sorted([entry.name for entry in entries if entry.is_dir(follow_symlinks=False)])


def open_root(tree: Tree, path: str) -> int:
    try:
        return os.open(tree.fs_path(path), DIR_FLAGS)
    except OSError as exc:
        raise Unreadable.from_os_error(path, exc) from exc


def _open_other(tree: Tree, path: str | None) -> int:
    try:
        return -1 if path is None else open_root(tree, path)
    except Unreadable:
        return -1


def _close(fd: int, other: int) -> None:
    os.close(fd)
    if other >= 0:
        os.close(other)


def sample(tree: Tree, hierarchy: Hierarchy, paths: t.Iterable[str]) -> dict[str, dict[str, t.Any]]:
    """C({path: {usage, stat}}) of those that can be read. Raises Unreadable."""
    if hierarchy.memory is None:
        return {}
    stat = _StatParser(hierarchy.version, _SAMPLE_KEYS)
    usage = _known_files(hierarchy.version, stat)[0].name
    readings: dict[str, dict[str, t.Any]] = {}
    root = open_root(tree, hierarchy.memory)
    for path in paths:
        fd = -1
        try:
            fd = _open_below(root, path)
            reading: dict[str, t.Any] = {"stat": stat(read_file(fd, b"memory.stat"))[0]}
            amount = parse_amount(read_file(fd, usage))
        except OSError:
            continue
        finally:
            if fd >= 0:
                os.close(fd)
        readings[path] = reading if amount in (None, GARBLED) else {**reading, "usage": amount}
    os.close(root)
    return readings


def _open_below(root: int, path: str) -> int:
    fd = os.dup(root)
    for part in path.split("/"):
        if part:
            above = fd
            try:
                fd = _open_shown(above, part)
            finally:
                os.close(above)
    return fd


def _open_shown(above: int, shown: str) -> int:
    name = os.fsencode(shown)
    try:
        return os.open(name, DIR_FLAGS, dir_fd=above)
    except FileNotFoundError:
        # A name that is not UTF-8 is shown with escapes.
        raw = _ESCAPED.sub(lambda match: bytes([int(match.group(1), 16)]), name)
        return os.open(raw, DIR_FLAGS, dir_fd=above)
