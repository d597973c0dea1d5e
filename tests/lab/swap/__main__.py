# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Swap of a tune on real kernels: C(make swap-lab), docs/testing.md. A swap file, a partition's priority, zram and an encrypted file are made, found again
after a reboot, refused where a swapoff does not fit, and taken back. Prints one line a claim; the exit status is 1 if one does not hold.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

from .. import sessions
from ..common import BOOT_PROGRAMS, Cache, require_programs
from ..effect.guest import Guest
from ..inventory import machine_named
from ..machines import LabError, Machine
from ..sessions import booted

MACHINES = ("debian13_v2", "debian12_v1")
PACKAGES = ("cryptsetup-bin", "systemd-zram-generator")
REBOOT_SECONDS = 900.0
# The lab's initrd turns the disk on before systemd could give it a priority, and its guests ask udev for no device that was there before it.
SEED = r"""
set -e
rm -f /etc/systemd/system/systemd-udev-trigger.service
echo '/dev/vdb none swap discard=once,nofail 0 0' >/etc/fstab
cat >/etc/systemd/system/lab-swap.service <<'END'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'swapoff /dev/vdb; sleep 2; systemctl start --no-block dev-vdb.swap'
END
mkdir -p /etc/systemd/system/sysinit.target.wants
ln -sf ../lab-swap.service /etc/systemd/system/sysinit.target.wants/lab-swap.service
systemctl daemon-reload
"""
# Everything that a tune of swap could change, but for the journal.
STATE = r"""
tail -n +2 /proc/swaps | awk '{print "swap", $1, $3, ($5 < 0 ? "auto" : $5)}' | sort
find /etc/systemd /etc/fstab /etc/crypttab /var/lib/memqos-swap -type f -printf 'file %p %s %m\n' 2>/dev/null | sort
find /etc/systemd /var/lib -maxdepth 2 -type d -name '*swap*' | sort
ls /dev/mapper
systemctl list-units --all --no-legend '*memqos*.swap' 'memqos-crypt*' 'systemd-zram-setup@*' | sed 's/^/unit /'
"""
# Grows until little swap is left. Half of each page can be compressed away: what zram cannot make smaller frees no memory there, and the guest only thrashes.
HOG = """
import os, time
held = []
while int(next(line for line in open("/proc/meminfo") if line.startswith("SwapFree:")).split()[1]) > 64 << 10:
    held.append(b"".join(os.urandom(2048) + bytes(2048) for page in range(1024)))
open("/run/hog", "w").write("full")
time.sleep(3600)
"""
Swap = dict[str, t.Any]


def main(argv: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="swap", description=__doc__)
    parser.add_argument("--only", choices=MACHINES, help="one machine (default: both)")
    parser.add_argument("--out", type=Path, default=Path("build/swap"), metavar="DIRECTORY", help="for results (default: %(default)s)")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="a case for each claim")
    options = parser.parse_args(argv)
    suite = ElementTree.Element("testsuite", name="swap")
    try:
        return sessions.run(lambda cache: _run([options.only] if options.only else list(MACHINES), options.out.absolute(), suite, cache))
    finally:
        if options.junit:
            options.junit.parent.mkdir(parents=True, exist_ok=True)
            ElementTree.ElementTree(suite).write(options.junit, encoding="utf-8")


def _run(names: list[str], out: Path, suite: ElementTree.Element, cache: Cache) -> int:
    require_programs(BOOT_PROGRAMS)
    failed = 0
    for name in names:
        row = t.cast(Machine, machine_named(name))
        machine = dataclasses.replace(row, name=f"{name}_swap", packages=(*row.packages, *PACKAGES))
        directory = out / name
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="memqos-swap-") as scratch, booted(machine, cache, purpose="swap") as state:
            guest = Guest(state, name, scratch=Path(scratch), log=directory / "ansible.log")
            failed += Checks(guest, directory, suite).run()
    return 1 if failed else 0


class Checks:
    """On one machine."""

    def __init__(self, guest: Guest, out: Path, suite: ElementTree.Element) -> None:
        self.guest, self.out, self.suite, self.failed = guest, out, suite, 0
        self.zram = (0, 0)  # as its package has it

    def run(self) -> int:
        """How many claims did not hold."""
        self.guest.run(SEED)
        self.guest.run(f"cat >/root/hog.py <<'END'\n{HOG}END")
        self._reboot()
        before = self._state()
        on = self._swaps()
        self.zram = on.get("/dev/zram0", (0, 0))
        fresh = on.get("/dev/vdb", (0, 0))[1] < 0 and "/dev/zram0" in on
        self._holds("before: the partition by fstab, and zram as the package of its generator has it", fresh, before)
        self._made(before)
        self._resized()
        self._refused()
        self._taken_back(before)
        return self.failed

    def _made(self, before: str) -> None:
        swap = {
            "file": {"size": "64MiB"},
            "zram": {"size": {"of_memory": "50%", "max": "96MiB"}, "algorithm": "zstd"},
            "devices": {"/dev/vdb": {"priority": 5}},
        }
        self._tune({}, swap=swap, manage=False)
        self._holds("without memqos_manage_swap nothing is touched", self._state() == before, self._state())
        answer = self._tune(swap, check=True)
        self._holds("a check says what would change, and changes nothing", answer["changed"] and self._state() == before, self._told(answer))
        answer = self._tune(swap)
        on = self._swaps()
        wanted = {"/var/lib/memqos-swap/swap-64M": (65532, 10), "/dev/zram0": (98300, 100), "/dev/vdb": (262140, 5)}
        self._holds("file, zram and partition are on as wanted", not answer["problem"] and on == wanted, f"{on} {self._told(answer)}")
        stood = self._state(times=True)
        answer = self._tune(swap)
        self._holds("a second run writes nothing", not answer["changed"] and self._state(times=True) == stood, self._told(answer))
        self._reboot()
        self._holds("after a reboot they are on again", self._swaps() == wanted, str(self._swaps()))
        answer = self._tune(swap)
        self._holds("a run after the reboot has nothing to do", not answer["changed"] and not answer["problem"], self._told(answer))

    def _resized(self) -> None:
        swap = {"file": {"size": "96MiB", "encrypted": True, "priority": 7}, "devices": {"/dev/vdb": {"priority": 5}}}
        answer = self._tune(swap)
        on = self._swaps()
        wanted = {"/dev/dm-0": (98300, 7), "/dev/vdb": (262140, 5), "/dev/zram0": self.zram}
        self._holds(
            "a larger, encrypted file takes the place of the other, and zram is as its package has it",
            not answer["problem"] and on == wanted,
            f"{on} {self._told(answer)}",
        )
        raw = self.guest.run("dd if=/var/lib/memqos-swap/crypt-96M bs=4096 count=1 2>/dev/null | grep -c SWAPSPACE2 || true").decode().strip()
        kind = self.guest.run("cryptsetup status memqos-crypt-96M").decode()
        self._holds("what is on the disk is not readable", raw == "0" and "aes-xts-plain64" in kind and "PLAIN" in kind, kind)
        leftovers = self.guest.run("ls /var/lib/memqos-swap /etc/systemd/zram-generator.conf.d 2>&1 || true").decode()
        self._holds("the other file and zram's configuration are gone", "swap-64M" not in leftovers and "zz-memqos" not in leftovers, leftovers)
        self._reboot()
        self._holds("after a reboot it is on again, with another key", self._swaps() == wanted, str(self._swaps()))

    def _refused(self) -> None:
        self.guest.run("rm -f /run/hog; systemd-run -q --unit=hog python3 /root/hog.py; until [ -e /run/hog ]; do sleep 1; done", seconds=900)
        used = self.guest.run("cat /proc/swaps").decode()
        stood = self._swaps()
        answer = self._rollback("origin")
        text = f"{answer['problem']}\n{used}"
        kills = int(self.guest.run("dmesg | grep -c 'Killed process' || true"))
        refused = "swapoff_does_not_fit" in answer["problem"] and self._swaps() == stood
        self._holds("under load a swapoff that does not fit is refused with figures, and nobody is killed", refused and not kills, text)
        self.guest.run("systemctl stop hog; systemctl reset-failed hog 2>/dev/null || true")

    def _taken_back(self, before: str) -> None:
        answer = self._rollback("origin")
        after = self._state()
        self._holds(
            "a rollback to the origin leaves the machine as it was", not answer["problem"] and after == before, f"{self._told(answer)}\n{before}\n{after}"
        )
        answer = self._tune({"file": {"size": "500GiB"}})
        self._holds(
            "a file that the disk has no room for is refused", "would be left free" in answer["problem"] and self._state() == before, self._told(answer)
        )
        self._reboot()
        self._holds("after a reboot it is still as it was", self._state() == before, self._state())

    # What is done, and seen

    def _tune(self, section: Swap, *, check: bool = False, manage: bool = True, swap: Swap | None = None) -> t.Any:
        profile = {"summary": "Swap of the lab", "swap": section or swap}
        return self._play("tune", {"memqos_profile": profile, "memqos_manage_swap": manage}, "--check --diff" if check else "")

    def _rollback(self, to: str) -> t.Any:
        return self._play("rollback", {"memqos_to": to})

    def _play(self, playbook: str, variables: dict[str, t.Any], more: str = "") -> t.Any:
        result = self.out / "tune" / f"{self.guest.name}.json"
        result.unlink(missing_ok=True)
        status = self.guest.play(playbook, {"memqos_report_dir": str(self.out), **variables}, more=more)
        if not result.exists():
            raise LabError(f"memqos.fleet.{playbook} ended with status {status} and left no result; {self.guest.log_end()}")
        return json.loads(result.read_text(encoding="utf-8"))

    def _state(self, *, times: bool = False) -> str:
        more = "find /etc /var/lib/memqos /var/lib/memqos-swap -printf '%p %T@\\n' 2>/dev/null | sort" if times else ""
        return self.guest.run(STATE + more).decode()

    def _swaps(self) -> dict[str, tuple[int, int]]:
        rows = [line.split() for line in self.guest.run("cat /proc/swaps").decode().splitlines()[1:]]
        return {row[0]: (int(row[2]), int(row[4])) for row in rows}

    def _told(self, answer: t.Any) -> str:
        rows = [f"{row['status']} {row['name']} {row['live_before']} → {row['live_after']} {row['reason']}" for row in answer["results"]]
        return "\n".join([answer["problem"], *rows])

    def _reboot(self) -> None:
        boot = self.guest.run("cat /proc/sys/kernel/random/boot_id")
        self.guest.run("systemd-run -q --on-active=1s systemctl reboot")
        until = time.monotonic() + REBOOT_SECONDS
        while time.monotonic() < until:
            time.sleep(5)
            try:
                if self.guest.run("cat /proc/sys/kernel/random/boot_id", seconds=90) != boot:
                    # As an operator finds it, and not amid the boot.
                    self.guest.run("systemctl is-system-running --wait >/dev/null || true", seconds=600)
                    return
            except LabError:
                continue
        raise LabError(f"{self.guest.name} did not come back within {REBOOT_SECONDS:g} s")

    def _holds(self, claim: str, held: bool, seen: str) -> None:
        self.failed += not held
        case = ElementTree.SubElement(self.suite, "testcase", classname=self.guest.name, name=claim)
        if not held:
            ElementTree.SubElement(case, "failure", message=claim).text = seen
        print(f"{'ok' if held else 'FAILED':6} {self.guest.name}: {claim}" + ("" if held else f"\n{seen}"), flush=True)


if __name__ == "__main__":
    sys.exit(main())
