# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disk images: Debian trees made by mmdebstrap, cached under a hash of everything they are made from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import secrets
import shutil
import subprocess
from pathlib import Path

from .common import GUEST_SCRIPTS, PROGRAMS, Cache, mark_used, progress, require_programs, run_logged
from .machines import Disk, Image, LabError, Machine

# Enough for systemd, SSH and Ansible's Python; nothing that runs by itself.
BASE_PACKAGES = ("systemd", "systemd-sysv", "udev", "dbus", "openssh-server", "python3", "procps", "kmod", "iproute2", "util-linux", "e2fsprogs")
KERNEL_PACKAGES = {"cloud": "linux-image-cloud-amd64", "full": "linux-image-amd64"}
FREE_SPACE_MIB = 1024
# A small journal: a guest's power may be cut, and it boots again.
FILE_SYSTEM = ("-m", "0", "-J", "size=16", "-E", "lazy_itable_init=0")
# Drivers of hardware that QEMU's machine has not: four fifths of the full kernel's modules.
UNUSED_MODULES = ("sound", "drivers/gpu", "drivers/media", "drivers/infiniband", "drivers/net/ethernet", "drivers/net/wireless", "drivers/staging",
                  "drivers/usb", "drivers/iio", "drivers/hwmon", "drivers/scsi", "drivers/bluetooth", "drivers/isdn", "net/wireless", "net/mac80211",
                  "net/bluetooth", "fs/btrfs", "fs/xfs", "fs/ocfs2", "fs/gfs2", "fs/ceph", "fs/f2fs", "fs/nfs", "fs/nfsd", "fs/smb")  # fmt: skip
_MERGED_USR = 'cd "$1" && mkdir -p usr/bin usr/sbin usr/lib usr/lib64 && ln -s usr/bin usr/sbin usr/lib usr/lib64 .'
SUITE_OPTIONS = {
    # From bookworm on a package does it.
    "bullseye": (f"--setup-hook={_MERGED_USR}",),
    # A testing suite's index is valid for a week, and mirrors may lag; its signature is checked all the same.
    "forky": ('--aptopt=Acquire::Check-Valid-Until "false"',),
}
_RECIPE = ("customize.sh", "fetch-kernel.sh", "init.sh", "make-initrd.sh")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """What a machine boots from. C(identity) changes with the content: an image built again from the same recipe is another one."""

    identity: str
    disk: Path
    disk_format: str
    kernel: Path | None
    initrd: Path | None

    @classmethod
    def built(cls, directory: Path) -> ImageFiles:
        """A finished image of ours, all in one directory."""
        return cls(
            identity=(directory / "identity").read_text(),
            disk=directory / "root.raw",
            disk_format="raw",
            kernel=directory / "vmlinuz",
            initrd=directory / "initrd.img",
        )


def image_id(image: Image, public_key: str) -> str:
    """A name that changes with anything the image is made from: suite, flavour, packages, our scripts, the key that opens it."""
    digest = hashlib.sha256()
    parts = [*dataclasses.astuple(image), BASE_PACKAGES, UNUSED_MODULES, FREE_SPACE_MIB, FILE_SYSTEM, public_key]
    digest.update(repr(parts).encode())
    digest.update("".join(SUITE_OPTIONS.get(image.suite, ())).encode())
    for name in _RECIPE:
        digest.update((GUEST_SCRIPTS / name).read_bytes())
    return f"{image.suite}-{image.flavour}-{digest.hexdigest()[:12]}"


def public_key(cache: Cache) -> str:
    """The lab's own SSH key, made at the first use."""
    if not cache.key.exists():
        with cache.locked("key"):
            if not cache.key.exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "memqos-lab", "-f", str(cache.key)], check=True)
    return cache.key.with_suffix(".pub").read_text().strip()


def files_of(machine: Machine, cache: Cache) -> ImageFiles:
    """What this machine boots from: the operator's own disk, or an image from the cache, built if it is not there. Raises LabError."""
    return _own_files(machine.disk) if machine.disk else ensure_image(machine.image, cache)


def present_files(machine: Machine, cache: Cache) -> ImageFiles | None:
    """What this machine boots from if that is there already."""
    if machine.disk:
        return _own_files(machine.disk)
    directory = cache.image(image_id(machine.image, public_key(cache)))
    return ImageFiles.built(directory) if directory.exists() else None


def ensure_image(image: Image, cache: Cache) -> ImageFiles:
    """The image from the cache, built if it is not there. Raises LabError."""
    key = public_key(cache)
    name = image_id(image, key)
    directory = cache.image(name)
    if not directory.exists():
        with cache.locked(f"image-{name}"):
            if not directory.exists():
                _build(image, cache, name=name, key=key)
    mark_used(directory)
    return ImageFiles.built(directory)


def _own_files(disk: Disk) -> ImageFiles:
    paths = [path for path in (disk.path, disk.kernel, disk.initrd) if path]
    stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    info = json.loads(_output(["qemu-img", "info", "--output=json", str(disk.path)]) or "{}")
    return ImageFiles(
        identity=hashlib.sha256(repr(stamps).encode()).hexdigest()[:12],
        disk=disk.path,
        disk_format=info.get("format", "raw"),
        kernel=disk.kernel,
        initrd=disk.initrd,
    )


def mmdebstrap_argv(image: Image, *, root: Path, mirror: str | None, proxies: dict[str, str]) -> list[str]:
    """The command that makes the tree. Without a mirror mmdebstrap takes Debian's own."""
    packages = ",".join((*BASE_PACKAGES, *image.packages))
    argv = ["mmdebstrap", "--mode=root", "--variant=apt", "--format=directory", "--components=main", f"--include={packages}"]
    argv += ['--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"']
    argv += [f'--aptopt={name} "{value}"' for name, value in sorted(proxies.items())]
    argv += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")]
    argv += [f"--customize-hook={GUEST_SCRIPTS}/{name}" for name in ("fetch-kernel.sh", "customize.sh")]
    argv += SUITE_OPTIONS.get(image.suite, ())
    return [*argv, image.suite, str(root), *([mirror] if mirror else [])]


def host_mirror(index_targets: str) -> str | None:
    """The Debian mirror this machine uses, from C(apt-get indextargets) lines C(ORIGIN|LABEL|URI); None on another distribution."""
    for line in index_targets.splitlines():
        origin, label, uri = (line.split("|", 2) + ["", ""])[:3]
        if origin == "Debian" and label == "Debian":
            return uri
    return None


def host_proxies(apt_config: str) -> dict[str, str]:
    """The proxies of C(apt-config dump): C({option: value}); mmdebstrap does not read this machine's apt.conf."""
    proxies = {}
    for line in apt_config.splitlines():
        name, separator, value = line.partition(" ")
        if separator and name.lower() in ("acquire::http::proxy", "acquire::https::proxy"):
            proxies[name] = value.strip().strip(";").strip('"')
    return {name: value for name, value in proxies.items() if value}


def _build(image: Image, cache: Cache, *, name: str, key: str) -> None:
    require_programs(PROGRAMS)
    if os.geteuid():
        raise LabError(
            "building an image needs root (device nodes and owners of the guest's files); build it once with\n"
            f"  sudo MEMQOS_LAB_CACHE={cache.root} python3 tests/lab build\nthen make the cache yours: sudo chown -R $USER {cache.root}"
        )
    if platform.machine() != "x86_64":
        raise LabError(f"the lab builds x86_64 guests on x86_64 machines; this one is {platform.machine()}")
    work = cache.image(f".building-{name}")
    remove(work)
    log = cache.log(f"build-{name}")
    log.unlink(missing_ok=True)
    progress(name, f"building (about a minute; log: {log})")
    try:
        work.mkdir(parents=True)
        _make_tree(image, work, key=key, log=log)
        progress(name, "Debian tree and kernel unpacked")
        _make_boot_files(work, log=log)
        _make_disk(work, log=log)
        for leftover in ("root", "kernel"):
            remove(work / leftover)
        (work / "identity").write_text(f"{name}-{secrets.token_hex(8)}")
        work.rename(cache.image(name))
    finally:
        remove(work)
    progress(name, "built")


def _make_tree(image: Image, work: Path, *, key: str, log: Path) -> None:
    targets = _output(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"])
    argv = mmdebstrap_argv(image, root=work / "root", mirror=host_mirror(targets), proxies=host_proxies(_output(["apt-config", "dump"])))
    # From the environment: mmdebstrap hands the hooks nothing but the tree.
    environ = {"LAB_PUBLIC_KEY": key, "LAB_KERNEL_PACKAGE": KERNEL_PACKAGES[image.flavour], "LAB_KERNEL_DIR": str(work / "kernel")}
    run_logged(argv, log=log, environ=environ)


def _make_boot_files(work: Path, *, log: Path) -> None:
    kernel, root = work / "kernel", work / "root"
    # /lib/modules before the merge of /usr, /usr/lib/modules after it.
    modules = next(path for path in (kernel / "usr/lib/modules", kernel / "lib/modules") if path.is_dir())
    version = next(path.name for path in modules.iterdir())
    shutil.copytree(modules / version, root / "usr/lib/modules" / version, symlinks=True, dirs_exist_ok=True)
    for unused in UNUSED_MODULES:
        shutil.rmtree(root / "usr/lib/modules" / version / "kernel" / unused, ignore_errors=True)
    run_logged(["depmod", "-b", str(root), version], log=log)
    images = [*kernel.glob("boot/vmlinuz-*"), *kernel.glob("usr/lib/modules/*/vmlinuz")]
    shutil.copy(images[0], work / "vmlinuz")
    for config in (*kernel.glob("boot/config-*"), *kernel.glob("usr/lib/modules/*/config")):
        # Where an administrator looks for it; the audit reads it too.
        shutil.copy(config, root / "boot" / f"config-{version}")
    run_logged([str(GUEST_SCRIPTS / "make-initrd.sh"), str(root), version, str(GUEST_SCRIPTS / "init.sh"), str(work / "initrd.img")], log=log)


def _make_disk(work: Path, *, log: Path) -> None:
    root = work / "root"
    for pattern in ("var/lib/apt/lists/*", "var/cache/apt/*.bin"):
        for path in root.glob(pattern):
            remove(path)
    used_mib = int(_output(["du", "-sm", str(root)]).split()[0])
    size = f"{used_mib + FREE_SPACE_MIB}M"
    # -d fills the file system without mounting it.
    argv = ["mkfs.ext4", "-q", "-F", "-L", "root", *FILE_SYSTEM, "-d", str(root), str(work / "root.raw"), size]
    run_logged(argv, log=log)


def _output(argv: list[str]) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode("utf-8", "replace")


def remove(path: Path) -> None:
    """Remove a directory of the cache."""
    # --one-file-system: an mmdebstrap that was killed may have left this machine's /proc or /dev mounted in the tree.
    subprocess.run(["rm", "-rf", "--one-file-system", "--", str(path)], check=True)
