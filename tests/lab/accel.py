# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""KVM where it proves itself, emulation (TCG) elsewhere.

An open C(/dev/kvm) proves nothing: under some hypervisors it is there and no stock kernel boots. So a probe boots one.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from .common import SEARCH_PATH, Cache, progress
from .qemu import ACCELERATION, Accelerator

MARKER = b"memqos-lab: the kernel runs"
# A stock kernel reaches its init in two seconds under KVM. On a loaded machine ten may be too short: then it is TCG, slow but right.
LIMIT_SECONDS = 10.0
_INIT = f"#!/bin/busybox sh\n/bin/busybox echo '{MARKER.decode()}'\n/bin/busybox poweroff -f\n"


def detect(kernel: Path | None, cache: Cache) -> Accelerator:
    """C(kvm) if this kernel boots under it, else C(tcg). Remembered for this boot of the machine and this kernel. Without a kernel to try: C(tcg)."""
    if kernel is None:
        return "tcg"
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    answer = cache.root / "accel" / f"{boot_id}-{hashlib.sha256(kernel.read_bytes()).hexdigest()[:12]}"
    with cache.locked("accel"):
        if not answer.exists():
            found = "kvm" if _kvm_usable() and _boots_under_kvm(kernel) else "tcg"
            progress("accelerator", found)
            answer.parent.mkdir(parents=True, exist_ok=True)
            answer.write_text(found)
        return "kvm" if answer.read_text() == "kvm" else "tcg"


def _kvm_usable() -> bool:
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def _boots_under_kvm(kernel: Path) -> bool:
    progress("accelerator", f"trying KVM, at most {LIMIT_SECONDS:g} s")
    with tempfile.TemporaryDirectory(prefix="memqos-lab-") as directory:
        initrd = _marker_initrd(Path(directory))
        argv = ["qemu-system-x86_64", *ACCELERATION["kvm"], "-machine", "q35", "-m", "256M", "-nodefaults", "-display", "none", "-no-reboot",
                "-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet panic=-1"]  # fmt: skip
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LIMIT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return False
        return MARKER in done.stdout


def _marker_initrd(directory: Path) -> Path:
    tree = directory / "tree"
    (tree / "bin").mkdir(parents=True)
    init = tree / "init"
    init.write_text(_INIT)
    init.chmod(0o755)
    copy = 'cp "$(command -v busybox)" bin/busybox && find . | cpio --quiet -o -H newc > ../initrd.img'
    subprocess.run(["sh", "-c", copy], cwd=tree, env={**os.environ, "PATH": SEARCH_PATH}, check=True)
    return directory / "initrd.img"
