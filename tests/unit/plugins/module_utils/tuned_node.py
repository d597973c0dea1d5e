# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node to be tuned: files in a directory, a kernel and a systemd that answer as the real ones do (measured on 6.1, 6.12 and 6.18), and a plan for it."""

from __future__ import annotations

import errno
import os
import re
import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.module_utils import _steps
from ansible_collections.memqos.fleet.plugins.module_utils._journal import Journal
from ansible_collections.memqos.fleet.plugins.module_utils._steps import FileStep, Memcg, MemcgsStep, PropertyStep, ReloadStep, Step, WriteStep
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Writer
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.fake_systemd import Systemd

BOOT = "2b8c1ad5-7f4e-4a55-9a0e-6f6cbd6c9c11"
NEXT_BOOT = "c0a80001-0000-4000-8000-000000000002"
PAGE = 4096
META = {"host": "controller", "started": "2026-11-23T09:00:00Z", "profiles": ["colocated"]}
POD = "/sys/fs/cgroup/kubepods.slice/pod1"
SLICE = "/sys/fs/cgroup/batch.slice/memory.high"
SYSCTL_D = "/etc/sysctl.d/zz-memqos.conf"
DROP_IN = "/etc/systemd/system/batch.slice.d/50-memqos.conf"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
# Not UTF-8, and no newline at its end.
OLD_SYSCTL_D = b"# before us: caf\xe9\nvm.swappiness = 40"

KERNEL = {
    "/proc/sys/vm/swappiness": "60",
    "/proc/sys/vm/dirty_ratio": "20",
    "/proc/sys/vm/dirty_bytes": "0",
    "/proc/sys/vm/dirty_background_ratio": "10",
    "/proc/sys/vm/dirty_background_bytes": "0",
    "/proc/sys/vm/min_free_kbytes": "67584",
    "/proc/sys/vm/watermark_scale_factor": "10",
    "/proc/sys/vm/nr_hugepages": "0",
    THP: "[always] madvise never",
    f"{POD}/memory.wmark_ratio": "0",
    f"{POD}/memory.low": "4096",
    f"{POD}/app/memory.low": "4096",
    f"{POD}/app/memory.high": "max",
    f"{POD}/old/memory.low": "4096",
    SLICE: "max",
}
RIVALS = {"dirty_ratio": "dirty_bytes", "dirty_background_ratio": "dirty_background_bytes"}
RIVALS.update({value: key for key, value in RIVALS.items()})


class Node(Writer):
    """The kernel: one of dirty_bytes and dirty_ratio is 0, and bytes take none; THP moves min_free_kbytes; half the huge pages are found; memory is in pages.

    C(systemd): its version; C(hierarchy): where the memory controller is.
    """

    def __init__(self, root: t.Union[str, Path], *, systemd: int = 257, hierarchy: int = 2, **more: t.Any) -> None:
        super().__init__(str(root), command=self.systemctl, **more)
        self.done: t.List[str] = []
        self.systemd = Systemd(self.root, self.take, version=systemd, hierarchy=hierarchy)
        if os.path.isdir(os.path.dirname(self.root + SLICE)):
            self.systemd.adopt("batch.slice", "/batch.slice")

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        self.done.append(f"{what} {path}")

    def kernel_bytes(self, fd: int, path: str, data: bytes) -> None:
        try:
            shown = self.answer(path, data.decode().strip(), self.shows[path])
        except OSError:
            os.close(fd)
            self.set(path, self.shows[path])
            raise
        super().kernel_bytes(fd, path, f"{shown}\n".encode())

    def kernel_write(self, path: str, text: str, inode: int = 0) -> None:
        # A file of a tree is emptied when it is opened; a kernel's is not.
        self.shows = {path: self.kernel_read(path, inode)}
        super().kernel_write(path, text, inode)

    def memcg_write(self, path: str, inode: int, pairs: t.Iterable[t.Tuple[str, t.Optional[str]]]) -> t.List[str]:
        return super().memcg_write(path, inode, ((name, text and self.answer(f"{path}/{name}", text, "")) for name, text in pairs))

    def answer(self, path: str, text: str, before: str) -> str:
        """What the file shows after this write. Raises OSError."""
        name = path.rpartition("/")[2]
        if name in RIVALS:
            if text == "0" and name.endswith("bytes"):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            self.set(f"/proc/sys/vm/{RIVALS[name]}", "0")
        elif path == THP:
            self.set("/proc/sys/vm/min_free_kbytes", "45056")
            return " ".join(f"[{word}]" if word == text else word for word in ("always", "madvise", "never"))
        elif name == "nr_hugepages":
            return str(int(text) // 2)
        elif name == "memory.limit_in_bytes":
            usage = int(self.kernel_read(path.replace("limit_in_bytes", "usage_in_bytes")))
            if text != "-1" and int(text) < usage:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            return str((1 << 63) - PAGE if text == "-1" else int(text) // PAGE * PAGE)
        elif re.fullmatch(r"memory\.(min|low|high|max|swap\.max|zswap\.max)", name) and text != "max":
            return str(int(text) // PAGE * PAGE)
        elif path.endswith("lru_gen/enabled"):
            return f"0x{int(text, 0):04x}"
        elif before in ("Y", "N"):
            return {"1": "Y", "0": "N"}.get(text, text)
        return text

    def take(self, path: str, text: str) -> None:
        """A write of somebody else."""
        self.set(path, self.answer(path, text, self.kernel_read(path)))

    def set(self, path: str, text: str) -> None:
        Path(self.root + path).write_text(text + "\n", encoding="utf-8")

    def systemctl(self, argv: t.List[str]) -> str:
        self.done.append(" ".join(argv[:3]))
        return self.systemd.answer(argv)


def make(root: Path) -> Path:
    """The node's files below C(root)."""
    for path, text in KERNEL.items():
        Path(f"{root}{path}").parent.mkdir(parents=True, exist_ok=True)
        Path(f"{root}{path}").write_text(text + "\n", encoding="utf-8")
    for directory in ("/etc/sysctl.d", "/etc/systemd/system", "/run/systemd", "/var/lib"):
        Path(f"{root}{directory}").mkdir(parents=True)
    sysctl_d = Path(f"{root}{SYSCTL_D}")
    sysctl_d.write_bytes(OLD_SYSCTL_D)
    sysctl_d.chmod(0o640)
    return root


def inode(root: t.Union[str, Path], path: str = POD) -> int:
    return os.stat(f"{root}{path}").st_ino


def sysctl(name: str, before: str, after: str) -> WriteStep:
    return WriteStep(name, "host", "", "/proc/sys/" + name.replace(".", "/"), before, after)


def plan(root: t.Union[str, Path]) -> t.List[Step]:
    """Thirteen steps of every kind, but for swap."""
    high = WriteStep("memory.high", "memcg", "batch.slice", SLICE, "max", "4294967296")
    return [
        WriteStep("transparent_hugepage/enabled", "host", "", THP, "always", "madvise"),
        sysctl("vm.min_free_kbytes", "67584", "131072"),
        sysctl("vm.swappiness", "60", "10"),
        sysctl("vm.dirty_bytes", "0", "536870912"),
        sysctl("vm.dirty_background_bytes", "0", "268435456"),
        sysctl("vm.watermark_scale_factor", "10", "150"),
        WriteStep("memory.wmark_ratio", "memcg", "kubepods.slice/pod1", f"{POD}/memory.wmark_ratio", "0", "95", inode(root)),
        FileStep(SYSCTL_D, OLD_SYSCTL_D.decode("utf-8", "surrogateescape"), "vm.swappiness = 10\n"),
        FileStep("/etc/tmpfiles.d/zz-memqos.conf", None, f"w {THP} - - - - madvise\n"),
        FileStep(DROP_IN, None, "[Slice]\nMemoryHigh=4294967296\n"),
        ReloadStep(),
        PropertyStep("batch.slice", (("MemoryHigh", "4294967296"),), (("MemoryHigh", "infinity"),), (high,)),
        MemcgsStep(
            (
                Memcg(POD, inode(root), (("memory.low", "4096", "12288"),)),
                Memcg(f"{POD}/app", inode(root, f"{POD}/app"), (("memory.low", "4096", "8192"), ("memory.high", "max", "65536"))),
                Memcg(f"{POD}/old", inode(root, f"{POD}/old"), (("memory.low", "4096", "0"),)),
            )
        ),
    ]


def snapshot(root: t.Union[str, Path], *, times: bool = False) -> t.Dict[str, t.Any]:
    """Content and mode of all but the journal; with C(times) also mtimes, and the journal."""
    found: t.Dict[str, t.Any] = {}
    for directory, unused, files in os.walk(root):
        for path in [directory, *(f"{directory}/{name}" for name in files)]:
            below = path[len(str(root)) :]
            if times or (below != "/var/lib/memqos" and not below.startswith("/var/lib/memqos/")):
                status = os.lstat(path)
                content = None if path == directory else _content(path)
                found[below] = (content, status.st_mode, status.st_mtime_ns if times else 0)
    return found


def _content(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def journal(root: t.Union[str, Path]) -> Journal:
    return Journal(Node(root))


def names(steps: t.Iterable[Step]) -> t.List[str]:
    return [_steps.name(step) for step in steps]


def in_child(action: t.Callable[[], t.Any]) -> int:
    """The wait status of a process that does this."""
    child = os.fork()
    if not child:
        try:
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1]
