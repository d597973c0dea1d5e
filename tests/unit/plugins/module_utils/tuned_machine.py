# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole node in a directory, to be tuned and rolled back as a live one: kernel and systemd of tuned_node, units with cgroups, a reboot."""

from __future__ import annotations

import glob
import json
import os
import shutil
import sys
import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.module_utils import _tune
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import tuned_node
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import BOOT, META, NEXT_BOOT, THP, Node

Json = t.Dict[str, t.Any]

MIB, GIB = 1 << 20, 1 << 30
MINE = "/etc/sysctl.d/zz-memqos.conf"
TMPFILES = "/etc/tmpfiles.d/00-memqos.conf"
LATE = "/etc/tmpfiles.d/00-memqos-late.conf"
LATE_UNIT = "/etc/systemd/system/memqos-late.service"
LATE_WANTS = "/etc/systemd/system/multi-user.target.d/zz-memqos.conf"
POOL = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
MEMINFO = {
    "MemTotal": 8 * GIB, "MemFree": 3 * GIB, "MemAvailable": 6 * GIB, "Committed_AS": 3 * GIB, "SwapTotal": GIB, "SwapFree": GIB, "Hugetlb": 0,
    "Hugepagesize": 2 * MIB,
}  # fmt: skip
KERNEL = {
    **{path: text for path, text in tuned_node.KERNEL.items() if path.startswith("/proc/") or path == THP},
    "/proc/sys/vm/page-cluster": "3",
    "/proc/sys/vm/overcommit_memory": "0",
    "/proc/sys/vm/overcommit_ratio": "50",
    "/proc/sys/vm/overcommit_kbytes": "0",
    "/sys/kernel/mm/lru_gen/enabled": "0x0007",
    "/sys/kernel/mm/lru_gen/min_ttl_ms": "0",
    "/sys/kernel/mm/ksm/run": "0",
    "/sys/module/zswap/parameters/enabled": "N",
    "/sys/module/zswap/parameters/max_pool_percent": "20",
    POOL: "0",
}
UNITS = {
    "batch.slice": "/batch.slice",
    "batch-night.slice": "/batch.slice/batch-night.slice",
    "kubepods.slice": "/kubepods.slice",
    "system.slice": "/system.slice",
    "redis-server.service": "/system.slice/redis-server.service",
    "system-app.slice": "/system.slice/system-app.slice",
    "app@1.service": "/system.slice/system-app.slice/app@1.service",
    "app@2.service": "/system.slice/system-app.slice/app@2.service",
    "user.slice": "/user.slice",
    "user-1000.slice": "/user.slice/user-1000.slice",
    "user-1001.slice": "/user.slice/user-1001.slice",
}
FRAGMENTS = {
    "redis-server.service": "[Unit]\nDescription=Redis\n[Service]\nExecStart=/usr/bin/redis-server\nMemorySwapMax=512M\n",
    "app@.service": "[Service]\nExecStart=/usr/bin/app %i\n",
    "idle.service": "[Service]\nExecStart=/usr/bin/idle\n",
}
V2_FILES = {
    "memory.current": str(256 * MIB), "memory.min": "0", "memory.low": "0", "memory.high": "max", "memory.max": "max", "memory.swap.current": "0",
    "memory.swap.max": "max", "memory.zswap.max": "max", "memory.zswap.writeback": "1", "memory.oom.group": "0",
    "memory.stat": f"anon {128 * MIB}\nfile {96 * MIB}\ninactive_file {64 * MIB}\nactive_file {32 * MIB}",
}  # fmt: skip
V1_FILES = {
    "memory.usage_in_bytes": str(256 * MIB), "memory.limit_in_bytes": str((1 << 63) - 4096), "memory.swappiness": "60",
    "memory.stat": f"cache {96 * MIB}\ninactive_file {64 * MIB}\ntotal_cache {96 * MIB}\ntotal_rss {128 * MIB}\ntotal_inactive_file {64 * MIB}",
}  # fmt: skip
VENDOR_FILES = {"memory.wmark_ratio": "0"}
V1_VENDOR_FILES = {**VENDOR_FILES, "memory.min": "0", "memory.low": "0", "memory.high": "max"}
# All.
KEEP: Json = {"generations": 1000, "since": ""}
# What lies there for the next boot.
CODE = b"PK\x03\x04 not UTF-8: \xff\x00"
OPTIONS: Json = {"on_conflict": "report", "fail_on_unsupported": False, "only": [], "allow": [], "sysctl_file": "zz-memqos.conf"}


class Live(Tree):
    """Reads the directory as the live node."""

    def __init__(self, root: str, systemctl: t.Callable[[t.List[str]], str]) -> None:
        super().__init__(root)
        self.live = True
        self._systemctl = systemctl

    def fs_path(self, path: t.Union[str, bytes]) -> bytes:
        return os.fsencode(self.root) + os.fsencode(path)

    def output(self, name: str, argv: t.Sequence[str], *, timeout: float = 30.0) -> str:
        return self._systemctl(list(argv)) if argv[0] == "systemctl" else "x86_64\n"


class Machine:
    """C(systemd) 0: it has none. C(vendor): its kernel has files of Anolis."""

    def __init__(self, root: Path, *, systemd: int = 257, hierarchy: int = 2, vendor: bool = False, writer: t.Type[Node] = Node) -> None:
        self.root, self.hierarchy, self.keep, self.code = str(root), hierarchy, KEEP, CODE
        self.has_systemd = systemd > 0
        files = V2_FILES if hierarchy == 2 else V1_FILES
        self.cgroup_files = {**files, **((VENDOR_FILES if hierarchy == 2 else V1_VENDOR_FILES) if vendor else {})}
        for directory in ("/etc/sysctl.d", "/usr/lib/sysctl.d", "/etc/systemd/system", "/var/lib", "/run"):
            os.makedirs(self.root + directory)
        self.python(sys.executable)
        if self.has_systemd:
            self.write("/run/systemd/system/.keep", "")
            for name, text in FRAGMENTS.items():
                self.write(f"/usr/lib/systemd/system/{name}", text)
        self.node = writer(root, systemd=systemd, hierarchy=hierarchy)
        self.mount = self.node.systemd.mount
        self.node.systemd.aliases["redis.service"] = "redis-server.service"
        self.tree = Live(self.root, self.systemctl)
        self._boot(BOOT)

    def systemctl(self, argv: t.List[str]) -> str:
        if not self.has_systemd:
            raise Unreadable("systemctl", "absent", "not on this node (No such file or directory)")
        return self.node.systemctl(argv)

    # What happens to it

    def tune(self, *layers: Json, check: bool = False, **options: t.Any) -> Json:
        return self.asked(_tune.tune, {"layers": layers, "options": {**OPTIONS, **options}}, check=check)

    def rollback(self, to: str = "previous", *, check: bool = False, force: bool = False, allow: t.Sequence[str] = ()) -> Json:
        return self.asked(_tune.rollback, {"to": to, "force": force, "allow": allow}, check=check)

    def asked(self, what: t.Callable[[Json, _tune.Work], Json], request: Json, *, check: bool = False, writer: t.Optional[Node] = None) -> Json:
        """By a request as it arrives, with an answer as it leaves: JSON."""
        sent = json.loads(json.dumps({"wait": 0, "meta": META, "keep": self.keep, **request}))
        answer: Json = json.loads(json.dumps(what(sent, self.work(check=check, writer=writer)), default=list))
        return answer

    def work(self, *, check: bool = False, writer: t.Optional[Node] = None) -> _tune.Work:
        return _tune.Work(self.tree, writer or self.node, check=check, code=lambda: self.code)

    def reboot(self) -> None:
        """The kernel's own values, then sysctl.d, tmpfiles.d, units as their files say, and our late unit."""
        for directory in (f"{self.root}/run/systemd/system.control", f"{self.root}/run/systemd/system"):
            shutil.rmtree(directory, ignore_errors=True)
        self.node.systemd.running.clear()
        # Kept, so that no new cgroup gets an old inode.
        os.rename(self.root + self.mount, f"{self.root}.{os.urandom(4).hex()}")
        if self.has_systemd:
            self.write("/run/systemd/system/.keep", "")
        self._boot(NEXT_BOOT)

    def _boot(self, boot_id: str) -> None:
        for path, text in {**KERNEL, "/proc/sys/kernel/random/boot_id": boot_id, "/proc/sys/kernel/osrelease": "6.12.48+deb13-amd64"}.items():
            self.write(path, f"{text}\n")
        self.write("/proc/meminfo", "".join(f"{key + ':':16}{value >> 10:8} kB\n" for key, value in MEMINFO.items()))
        self.write("/proc/cmdline", "quiet\n")
        kind, options = ("cgroup2", "rw,nsdelegate,memory_recursiveprot") if self.hierarchy == 2 else ("cgroup", "rw,memory")
        self.write("/proc/self/mountinfo", f"25 24 0:22 / {self.mount} rw,nosuid,nodev,noexec,relatime - {kind} {kind} {options}\n")
        top = {"cgroup.controllers": "cpu memory pids"} if self.hierarchy == 2 else {"release_agent": "", "memory.usage_in_bytes": str(GIB)}
        for name, text in top.items():
            self.write(f"{self.mount}/{name}", f"{text}\n")
        for key, text in self._lines("sysctl.d", " = "):
            self.node.take(f"/proc/sys/{key.replace('.', '/')}", text)
        for path, text in self._lines("tmpfiles.d", " - - - - "):
            if path != LATE:
                self.node.take(path[2:], text)
        for unit, cgroup in UNITS.items():
            self.start(unit, cgroup)
        if os.path.exists(self.root + LATE_WANTS):
            for line, text in self._lines("tmpfiles.d", " - - - - "):
                for path in self._written(line):
                    self.node.take(path, text)

    def _written(self, line: str) -> t.List[str]:
        """What a line of tmpfiles.d writes: a glob, of C escapes."""
        return [path[len(self.root) :] for path in glob.glob(self.root + line[2:].replace("\\" * 4, "\\"))]

    def start(self, unit: str, cgroup: str) -> None:
        for name, text in self.cgroup_files.items():
            self.write(f"{self.mount}{cgroup}/{name}", f"{text}\n")
        if self.has_systemd:
            self.node.systemd.start(unit, cgroup)

    def stop(self, unit: str) -> None:
        shutil.rmtree(f"{self.root}{self.mount}{self.node.systemd.running[unit]}")
        self.node.systemd.stop(unit)

    def _lines(self, kind: str, separator: str) -> t.Iterator[t.Tuple[str, str]]:
        """What is written at boot: of the lines for one key the last counts (sysctl.d), or the first for a file that is there (tmpfiles.d)."""
        files: t.Dict[str, Path] = {}
        for root in ("/etc", "/usr/lib"):
            for path in Path(f"{self.root}{root}/{kind}").glob("*.conf"):
                files.setdefault(path.name, path)
        found: t.Dict[str, str] = {}
        for name in sorted(files):
            for line in files[name].read_text(encoding="utf-8").splitlines():
                key, equals, text = line.partition(separator)
                if equals and not key.startswith("#") and (kind == "sysctl.d" or (key not in found and self._written(key))):
                    found.pop(key, None)
                    found[key] = text
        return iter(list(found.items()))

    # Its files

    def write(self, path: str, text: str) -> None:
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        with open(self.root + path, "w", encoding="utf-8") as stream:
            stream.write(text)

    def python(self, path: str) -> None:
        """One that root alone can change."""
        self.write(path, "")
        for above in (path, *map(str, Path(path).parents)):
            os.chmod(self.root + above, 0o755)

    def set(self, path: str, text: str) -> None:
        """By somebody else; C(path) of a kernel file, or a sysctl."""
        self.node.take(_kernel_path(path), text)

    def text(self, path: str) -> t.Optional[str]:
        """Of a file, a sysctl (C(vm.swappiness)), or a file of a cgroup (C(/batch.slice memory.high)); None if absent."""
        cgroup, space, name = path.partition(" ")
        full = Path(self.root + (f"{self.mount}{cgroup}/{name}" if space else _kernel_path(path)))
        return full.read_text(encoding="utf-8").strip() if full.exists() else None

    def snapshot(self, *, times: bool = False) -> Json:
        """Of all but the journal and the boot; with C(times) of these too."""
        found = tuned_node.snapshot(self.root, times=times)
        if not times:
            del found["/proc/sys/kernel/random/boot_id"]
        return found


Make = t.Callable[..., Machine]


def _kernel_path(name: str) -> str:
    return name if name.startswith("/") else f"/proc/sys/{name.replace('.', '/')}"


def layer(name: str = "one", *, host: t.Optional[Json] = None, slices: t.Optional[t.Dict[str, Json]] = None, **more: t.Any) -> Json:
    """A profile's layer; a plain value is C({value: …})."""
    units = {unit: _entries(values) for unit, values in (slices or {}).items()}
    return {"profile": name, "host": _entries(host or {}), "slices": units, **more}


def _entries(values: Json) -> Json:
    return {name: entry if isinstance(entry, dict) else {"value": entry} for name, entry in values.items()}


def rows(answer: Json) -> t.Dict[str, Json]:
    """By C(subject knob), or the knob alone."""
    return {f"{row['subject']} {row['name']}".strip(): row for row in answer["results"]}


def statuses(answer: Json) -> t.Dict[str, str]:
    return {name: row["status"] for name, row in rows(answer).items()}
