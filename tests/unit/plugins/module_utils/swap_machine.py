# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node whose kernel has swap, and whose systemd turns it on and off, with mkswap, cryptsetup and zram-generator; as seen on Debian 12 and 13."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_machine import GIB, MIB, Machine
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import Node

DEVICE = "/dev/vdb2"
FSTAB_UNIT = r"dev-disk-by\x2duuid-11d2.swap"
PAGE = 4096
PROGRAMS = ("/usr/sbin/mkswap", "/usr/sbin/cryptsetup", "/usr/lib/systemd/system-generators/zram-generator")
ZRAM_CONF = "/etc/systemd/zram-generator.conf.d/zz-memqos.conf"
HEAD = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
Lines = t.Dict[str, str]


class SwapNode(Node):
    """What systemd has read of .swap units, and what is open by dm-crypt, outlives the process: it is kept beside the node.

    C(full): areas whose swapoff the kernel refuses, for want of memory.
    """

    full: t.Collection[str] = ()

    forgets = True  # what algorithm zram had, from 6.2 on

    def answer(self, path: str, text: str, before: str) -> str:
        return _algorithms(text) if path.endswith("/comp_algorithm") else super().answer(path, text, before)

    def kept(self) -> t.Dict[str, t.Any]:
        path = Path(f"{self.root}.swap")
        return t.cast("t.Dict[str, t.Any]", json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {"units": {}, "services": []}

    def keep(self, kept: t.Dict[str, t.Any]) -> None:
        Path(f"{self.root}.swap").write_text(json.dumps(kept), encoding="utf-8")

    def systemctl(self, argv: t.List[str]) -> str:
        if argv[0] == "mkswap":
            return self._mkswap(argv[1])
        verb, words = argv[1], argv[argv.index("--") + 1 :] if "--" in argv else []
        if verb == "show" and words == ["*.swap"]:
            return "\n".join(self._shown(unit) for unit in self.kept()["units"])
        if verb in ("start", "stop"):
            self.done.append(" ".join(argv))
            return self._jobs(words, self.start if verb == "start" else self.stop)
        if verb == "show" and words[0].endswith(".service") and words[0].startswith(("memqos-crypt-", "systemd-zram-setup@")):
            return f"ActiveState={'active' if self._is_active(words[0]) else 'inactive'}\n"
        answer = super().systemctl(argv)
        if verb == "daemon-reload":
            self.load()
        return answer

    def _jobs(self, units: t.Sequence[str], job: t.Callable[[str], None]) -> str:
        """One that fails stops no other."""
        failed = []
        for unit in units:
            try:
                job(unit)
            except Unreadable as exc:
                failed.append(exc)
        if failed:
            raise failed[0]
        return ""

    def load(self) -> None:
        """What a daemon-reload reads: unit files with drop-ins, and what the generators make. Units that are on stay."""
        kept = self.kept()
        found = {unit: kept["units"][unit] for unit in kept["units"] if self._is_on(kept["units"][unit].get("What", ""))}
        for path in (*Path(f"{self.root}/etc/systemd/system").glob("*.swap"), *Path(f"{self.root}/run/systemd/generator").glob("*.swap")):
            found[path.name] = self._read(path.name)
        zram = self._zram()
        if zram:
            found["dev-zram0.swap"] = {"What": "/dev/zram0", "Priority": zram.get("swap-priority", "100"), "fragment": "/run/systemd/generator/dev-zram0.swap"}
        self.keep({**kept, "units": found})

    def start(self, unit: str) -> None:
        kept = self.kept()
        lines = kept["units"].get(unit) or self._read(unit)
        if not lines.get("What"):
            raise Unreadable("systemctl", "error", f"Failed to start {unit}: Unit {unit} not found.")
        if lines["What"] == "/dev/zram0":
            conf = self._zram() or self.fail(unit)
            self.write("/sys/block/zram0/disksize", f"{int(conf['zram-size']) * MIB}\n")
            if "compression-algorithm" in conf:
                self.write("/sys/block/zram0/comp_algorithm", f"{_algorithms(conf['compression-algorithm'])}\n")
        if lines.get("Requires"):
            self._open(lines["Requires"], kept)
        kept["units"][unit] = lines
        self.keep(kept)
        priority = re.search(r"pri=(\d+)", lines.get("Options", ""))
        self._swapon(lines["What"], int(priority.group(1) if priority else lines.get("Priority", "-2")), unit)

    def stop(self, unit: str) -> None:
        if unit.endswith(".service"):
            self._end(unit)
            return
        kept = self.kept()
        lines = kept["units"].get(unit) or self.fail(unit)
        if lines["What"] in self.full:
            self.fail(unit)
        self._swapoff(lines["What"])
        if not self._read(unit).get("What") and "/generator/" not in lines.get("fragment", ""):
            del kept["units"][unit]
        self.keep(kept)

    def _end(self, service: str) -> None:
        """It has ended, whatever came of its ExecStop."""
        kept = self.kept()
        if not self._is_active(service):
            return
        if service.startswith("systemd-zram-setup"):
            if self._is_on("/dev/zram0"):
                self.fail(service)
            self.write("/sys/block/zram0/disksize", "0\n")
            if self.forgets:
                self.write("/sys/block/zram0/comp_algorithm", f"{_algorithms('lzo-rle')}\n")
            return
        kept["services"].remove(service)
        self.keep(kept)
        if self._is_on(f"/dev/mapper/{service[: -len('.service')]}"):
            self.fail(service)
        self._close(service[: -len(".service")])

    def fail(self, unit: str) -> t.NoReturn:
        raise Unreadable("systemctl", "error", f"Job for {unit} failed.")

    def remove(self, path: str) -> None:
        if self._is_on(path):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), path)  # the kernel lets nobody unlink a swap file that is on
        if os.path.exists(self.root + path):
            # A file behind a loop device it lets go, and a unit nobody holds.
            for device in Path(f"{self.root}/dev").glob("dm-*"):
                assert not device.samefile(self.root + path), f"{path} went while {device.name} is open"
            for unit, lines in self.kept()["units"].items():
                needed = (unit, lines.get("Requires", unit))
                assert os.path.basename(path) not in needed or not self._is_on(lines.get("What", "")), f"{path} went while {unit} is on"
        super().remove(path)

    def boot(self) -> None:
        """Nothing is on; then swap.target."""
        self.write("/proc/swaps", HEAD)
        for path in Path(f"{self.root}/dev/mapper").glob("*"):
            self._close(path.name)
        self.write("/sys/block/zram0/disksize", "0\n")
        self.write("/sys/block/zram0/comp_algorithm", f"{_algorithms('lzo-rle')}\n")
        self.keep({"units": {}, "services": []})
        self.load()
        wants = [
            line[6:] for path in Path(f"{self.root}/etc/systemd/system/swap.target.d").glob("*.conf") for line in _lines(path) if line.startswith("Wants=")
        ]
        for unit in (FSTAB_UNIT, *wants, *(["dev-zram0.swap"] if self._zram() else [])):
            if unit in self.kept()["units"]:
                with contextlib.suppress(Unreadable, FileNotFoundError):  # a unit that fails stops no boot
                    self.start(unit)

    def write(self, path: str, text: str) -> None:
        os.makedirs(os.path.dirname(self.root + path), exist_ok=True)
        Path(self.root + path).write_text(text, encoding="utf-8")

    # The kernel

    def _mkswap(self, path: str) -> str:
        found = os.stat(path)
        assert found.st_mode & 0o777 == 0o600 and found.st_blocks * 512 >= found.st_size >= MIB
        self.done.append(f"mkswap {path[len(self.root) :]}")
        with open(path, "r+b") as stream:
            stream.seek(PAGE - 10)
            stream.write(b"SWAPSPACE2")
        return ""

    def _swapon(self, area: str, priority: int, unit: str) -> None:
        real = self._real(area)
        if self._is_on(area):
            return
        if real.startswith("/dev/zram"):
            size, kind = int(Path(f"{self.root}/sys/block/zram0/disksize").read_text(encoding="ascii")), "partition"
        elif real == DEVICE:
            size, kind = GIB, "partition"
        else:
            path = Path(self.root + real)
            if b"SWAPSPACE2" not in path.read_bytes()[:PAGE]:
                self.fail(unit)
            size, kind = path.stat().st_size, "partition" if real.startswith("/dev/") else "file"
        lowest = min([0, *(int(row[4]) for row in self._swaps())])
        self._set_swaps([*self._swaps(), [real, kind, str((size - PAGE) >> 10), "0", str(priority if priority >= 0 else min(-2, lowest - 1))]])

    def _swapoff(self, area: str) -> None:
        self._set_swaps([row for row in self._swaps() if row[0] != self._real(area)])

    def _open(self, service: str, kept: t.Dict[str, t.Any]) -> None:
        """By cryptsetup and mkswap, as the service says."""
        command = next(line for line in _lines(Path(f"{self.root}/etc/systemd/system/{service}")) if line.startswith("ExecStart="))
        words = command.split()
        assert "/dev/urandom" in words
        file, name = words[-2:]
        if service not in kept["services"]:
            kept["services"].append(service)
            # What it holds is what the file holds: good enough for a signature.
            os.link(self.root + file, f"{self.root}/dev/dm-{name[-2:]}")
            os.symlink(f"../dm-{name[-2:]}", f"{self.root}/dev/mapper/{name}")

    def _close(self, name: str) -> None:
        os.unlink(f"{self.root}/dev/dm-{name[-2:]}")
        os.unlink(f"{self.root}/dev/mapper/{name}")

    def use(self, area: str, size: int) -> None:
        """So much of it is in use."""
        self._set_swaps([[*row[:3], str(size >> 10), row[4]] if row[0] == self._real(area) else row for row in self._swaps()])

    def _swaps(self) -> t.List[t.List[str]]:
        return [line.split() for line in Path(f"{self.root}/proc/swaps").read_text(encoding="utf-8").splitlines()[1:]]

    def _set_swaps(self, rows: t.Iterable[t.Sequence[str]]) -> None:
        self.write("/proc/swaps", HEAD + "".join("\t".join(row) + "\n" for row in rows))

    def _real(self, area: str) -> str:
        link = f"{self.root}{area}"
        return os.path.normpath(os.path.join(os.path.dirname(area), os.readlink(link))) if os.path.islink(link) else area

    def _is_on(self, area: str) -> bool:
        return any(row[0] == self._real(area) for row in self._swaps())

    # systemd

    def _is_active(self, service: str) -> bool:
        if service.startswith("systemd-zram-setup"):
            return Path(f"{self.root}/sys/block/zram0/disksize").read_text(encoding="ascii").strip() != "0"
        return service in self.kept()["services"]

    def _shown(self, unit: str) -> str:
        lines = self.kept()["units"][unit]
        return f"Id={unit}\nWhat={lines.get('What', '')}\nFragmentPath={lines.get('fragment', '')}\nOptions={lines.get('Options', '')}\n"

    def _read(self, unit: str) -> Lines:
        found: Lines = {}
        for root in ("/etc/systemd/system", "/run/systemd/generator"):
            path = Path(f"{self.root}{root}/{unit}")
            if path.exists():
                found["fragment"] = f"{root}/{unit}"
                found.update(_pairs(path))
                break
        for path in sorted(Path(f"{self.root}/etc/systemd/system/{unit}.d").glob("*.conf")):
            found.update(_pairs(path))
        return found

    def _zram(self) -> Lines:
        found: Lines = {}
        for path in ("/etc/systemd/zram-generator.conf", ZRAM_CONF):
            full = Path(self.root + path)
            if full.exists():
                found.update({key.strip(): value.strip() for key, value in _pairs(full).items()})
        return found


class SwapMachine(Machine):
    """With a partition of 1 GiB that fstab turns on, on ext4."""

    def __init__(self, root: Path, *, has: t.Sequence[str] = PROGRAMS, kind: str = "ext4", writer: t.Type[SwapNode] = SwapNode, **more: t.Any) -> None:
        self.kind = kind
        super().__init__(root, writer=writer, **more)
        os.chmod(f"{self.root}/var", 0o755)
        os.chmod(f"{self.root}/var/lib", 0o755)
        for path in has:
            self.write(path, "")
        self.write(f"/run/systemd/generator/{FSTAB_UNIT}", "[Swap]\nWhat=/dev/disk/by-uuid/11d2\nOptions=discard\n")
        self.write(DEVICE, "")
        os.makedirs(f"{self.root}/dev/mapper")
        os.makedirs(f"{self.root}/dev/disk/by-uuid")
        os.symlink("../../vdb2", f"{self.root}/dev/disk/by-uuid/11d2")
        self.swap.boot()

    @property
    def swap(self) -> SwapNode:
        return t.cast("SwapNode", self.node)

    def _boot(self, boot_id: str) -> None:
        super()._boot(boot_id)
        mounts = Path(f"{self.root}/proc/self/mountinfo")
        mounts.write_text(f"22 1 254:1 / / rw - {self.kind} /dev/vda1 rw\n{mounts.read_text(encoding='utf-8')}", encoding="utf-8")
        self.swap.boot()

    def swaps(self) -> t.Dict[str, t.Tuple[int, int]]:
        """{area: (MiB, priority)}"""
        return {row[0]: ((int(row[2]) + 4) >> 10, int(row[4])) for row in self.swap._swaps()}


def _algorithms(chosen: str) -> str:
    return " ".join(f"[{name}]" if name == chosen else name for name in ("lzo", "lzo-rle", "lz4", "zstd"))


def _lines(path: Path) -> t.List[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _pairs(path: Path) -> Lines:
    found: Lines = {}
    for line in _lines(path):
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#"):
            found[key] = value
    return found
