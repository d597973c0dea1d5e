# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who decides at the next boot: as systemd-sysctl and systemd-tmpfiles themselves do it (they run on made trees), as TuneD and kubelet are written."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import subprocess
import typing as t

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils._read import _persisted
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree

SYSTEMD_SYSCTL = next((path for path in ("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl") if os.path.exists(path)), "")
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
THP_KNOB = "transparent_hugepage/enabled"
SYSTEMD = {"/usr/lib/systemd/systemd-sysctl": ""}
TUNED = {
    "/etc/tuned/active_profile": "mine\n",
    "/etc/systemd/system/multi-user.target.wants/tuned.service": "",
    **SYSTEMD,
}
KUBELET = {"/proc/812/comm": "kubelet\n", "/proc/812/cmdline": "/usr/bin/kubelet\0--config=/etc/kubelet.yaml\0--node-ip\0192.0.2.7\0"}

Files = t.Dict[str, str]  # a value that begins with -> is a link


def made(root: pathlib.Path, files: Files) -> Tree:
    for path, text in files.items():
        full = root / path.lstrip("/")
        full.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            full.symlink_to(text[2:])
        else:
            full.write_bytes(text.encode("utf-8", "surrogateescape"))
    return Tree(str(root))


def read(root: pathlib.Path, files: Files) -> _persisted.Persisted:
    return _persisted.read_persisted(made(root, files), page_size=4096)


def decided(persisted: _persisted.Persisted, knob: str) -> tuple[str, t.Any] | None:
    setting = _persisted.winner(persisted, knob)
    return setting and (f"{setting.path}:{setting.line}" if setting.line else setting.path or setting.source, setting.value)


WINNERS: dict[str, tuple[str, Files, tuple[str, t.Any] | None]] = {
    "nothing": ("vm.swappiness", {}, None),
    "the later name": (
        "vm.swappiness",
        {"/etc/sysctl.d/10-a.conf": "vm.swappiness = 10\n", "/usr/lib/sysctl.d/20-b.conf": "vm.swappiness = 20\n"},
        ("/usr/lib/sysctl.d/20-b.conf:1", 20),
    ),
    "the higher directory hides the name": (
        "vm.swappiness",
        {"/run/sysctl.d/50-a.conf": "vm.swappiness = 1\n", "/etc/sysctl.d/50-a.conf": "# none\n", "/usr/lib/sysctl.d/50-a.conf": "vm.swappiness=2\n"},
        None,
    ),
    "a link to /dev/null hides the name": (
        "vm.swappiness",
        {"/usr/lib/sysctl.d/50-a.conf": "vm.swappiness = 1\n", "/etc/sysctl.d/50-a.conf": "->/dev/null", "/lib/sysctl.d/40-a.conf": "vm/swappiness=4\n"},
        ("/lib/sysctl.d/40-a.conf:1", 4),
    ),
    "the last line, the ignored ones aside": (
        "vm.swappiness",
        {"/etc/sysctl.d/1.conf": "\n#vm.swappiness=1\n ;vm.swappiness=2\n-vm.swappiness = 3\r\nvm.swappiness 4"},
        ("/etc/sysctl.d/1.conf:4", 3),
    ),
    "a last line without a newline": ("vm.swappiness", {"/etc/sysctl.d/1.conf": "vm.swappiness=7"}, ("/etc/sysctl.d/1.conf:1", 7)),
    "other files": ("vm.swappiness", {"/etc/sysctl.d/1.conf~": "vm.swappiness=7\n", "/etc/sysctl.d/.1.conf": "vm.swappiness=7\n"}, None),
    "an absolute link inside the tree": (
        "vm.swappiness",
        {"/etc/sysctl.d/9.conf": "->/opt/site.conf", "/opt/site.conf": "vm.swappiness=9\n"},
        ("/etc/sysctl.d/9.conf:1", 9),
    ),
    "a key before a glob, wherever": (
        "vm.swappiness",
        {"/etc/sysctl.d/1.conf": "vm.swappiness=1\n", "/etc/sysctl.d/2.conf": "vm.swap*=2\n"},
        ("/etc/sysctl.d/1.conf:1", 1),
    ),
    "the last glob": ("vm.swappiness", {"/etc/sysctl.d/1.conf": "vm.*=1\nvm.swap*=2\n*.*=3\n"}, ("/etc/sysctl.d/1.conf:3", 3)),
    "a repeated glob keeps its place": ("vm.swappiness", {"/etc/sysctl.d/1.conf": "vm.*=1\nvm.swap*=2\nvm.*=1\n"}, ("/etc/sysctl.d/1.conf:2", 2)),
    "a glob excluded": ("vm.swappiness", {"/etc/sysctl.d/1.conf": "vm.*=1\n", "/etc/sysctl.d/2.conf": "-vm.swappiness\n"}, None),
    "an excluded key": ("vm.swappiness", {"/etc/sysctl.d/1.conf": "vm.swappiness=1\n-vm.swappiness\n"}, None),
    "set after the exclusion": ("vm.swappiness", {"/etc/sysctl.d/1.conf": "-vm.swappiness\nvm.swappiness=1\n"}, ("/etc/sysctl.d/1.conf:2", 1)),
    "the rival": (
        "vm.dirty_ratio",
        {"/etc/sysctl.d/1.conf": "vm.dirty_ratio=20\nvm.dirty_bytes=1048576\n"},
        ("/etc/sysctl.d/1.conf:2", 1048576),
    ),
    "malformed": ("vm.swappiness", {"/etc/sysctl.d/1.conf": "vm.swappiness=10\nvm.swappiness=ten\n"}, ("/etc/sysctl.d/1.conf:2", "ten")),
    "a size that the kernel does not take": ("vm.min_free_kbytes", {"/etc/sysctl.d/1.conf": "vm.min_free_kbytes=64M\n"}, ("/etc/sysctl.d/1.conf:1", "64M")),
    "sysctl.conf of Debian 12": (
        "vm.swappiness",
        {"/etc/sysctl.conf": "vm.swappiness=1\n", "/etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf",
         "/etc/sysctl.d/90-a.conf": "vm.swappiness=2\n", **SYSTEMD},
        ("/etc/sysctl.d/99-sysctl.conf:1", 1),
    ),
    "sysctl.conf of Debian 13": (
        "vm.swappiness",
        {"/etc/sysctl.conf": "vm.swappiness=1\n", "/etc/sysctl.d/90-a.conf": "vm.swappiness=2\n", **SYSTEMD},
        ("/etc/sysctl.d/90-a.conf:1", 2),
    ),
    "sysctl.conf without systemd": (
        "vm.swappiness",
        {"/etc/sysctl.conf": "vm.swappiness=1\n", "/etc/sysctl.d/zz.conf": "vm.swappiness=2\n"},
        ("/etc/sysctl.conf:1", 1),
    ),
    "tmpfiles.d: the first name": (
        THP_KNOB,
        {"/usr/lib/tmpfiles.d/10.conf": f"w {THP} - - - - never\n", "/etc/tmpfiles.d/zz-memqos.conf": f"w {THP} - - - - madvise\n"},
        ("/usr/lib/tmpfiles.d/10.conf:1", "never"),
    ),
    "tmpfiles.d: a glob comes where its path came first": (
        THP_KNOB,
        {"/etc/tmpfiles.d/10.conf": f"w {THP} - - - - never\nw /sys/kernel/mm/transparent_hugepage/{{enabled,defrag}} - - - - madvise\n"},
        ("/etc/tmpfiles.d/10.conf:2", "madvise"),
    ),
    "tmpfiles.d: appended": (THP_KNOB, {"/etc/tmpfiles.d/1.conf": f"w+ {THP} - - - - never\nw+! {THP} - - - - always"}, ("/etc/tmpfiles.d/1.conf:2", "always")),
    "tmpfiles.d after sysctl.d": (
        "vm.swappiness",
        {"/etc/sysctl.d/zz.conf": "vm.swappiness=1\n", "/etc/tmpfiles.d/a.conf": 'w- "/proc/sys/vm/swappiness" - - - - \\x35\n'},
        ("/etc/tmpfiles.d/a.conf:1", 5),
    ),
    "a device that comes later": (
        "zram0/disksize", {"/etc/tmpfiles.d/1.conf": "w /sys/block/zram0/disksize - - - - 1G\n"}, ("/etc/tmpfiles.d/1.conf:1", 1 << 30)),
    "command line": (THP_KNOB, {"/proc/cmdline": "quiet transparent_hugepage=never transparent_hugepage=madvise\n"}, ("/proc/cmdline:1", "madvise")),
    "command line: a module's parameter": ("zswap/enabled", {"/proc/cmdline": "zswap.enabled=Y zswap.max-pool-percent=30\n"}, ("/proc/cmdline:1", 1)),
    "command line: dashes": ("zswap/max_pool_percent", {"/proc/cmdline": "zswap.max-pool-percent=30\n"}, ("/proc/cmdline:1", 30)),
    "command line: words": ("kernel.numa_balancing", {"/proc/cmdline": "numa_balancing=disable -- numa_balancing=enable\n"}, ("/proc/cmdline:1", 0)),
    "command line: a sysctl": ("vm.swappiness", {"/proc/cmdline": "sysctl.vm.swappiness=33\n"}, ("/proc/cmdline:1", 33)),
    "command line: huge pages of one size": (
        "hugepages/hugepages-1048576kB/nr_hugepages", {"/proc/cmdline": "hugepagesz=1G hugepages=4\n"}, ("/proc/cmdline:1", 4)),
    "command line: of another size": ("vm.nr_hugepages", {"/proc/cmdline": "hugepagesz=1G hugepages=4\n"}, None),
    "command line: of the default size": ("vm.nr_hugepages", {"/proc/cmdline": "default_hugepagesz=1G hugepages=0:2,1:3\n"}, ("/proc/cmdline:1", 5)),
    "command line: of a node": ("node1/hugepages/hugepages-2048kB/nr_hugepages", {"/proc/cmdline": "hugepages=0:2,1:3\n"}, ("/proc/cmdline:1", 3)),
    "sysctl.d after the command line": (
        "vm.nr_hugepages",
        {"/proc/cmdline": "hugepages=8\n", "/etc/sysctl.d/1.conf": "vm.nr_hugepages=9\n"},
        ("/etc/sysctl.d/1.conf:1", 9),
    ),
    "TuneD before sysctl.d, as it reapplies": (
        "vm.swappiness",
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.swappiness=30\n", "/etc/sysctl.d/1.conf": "vm.swappiness=1\n"},
        ("/etc/sysctl.d/1.conf:1", 1),
    ),
    "TuneD reapplies nothing of /usr": (
        "vm.swappiness",
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.swappiness=30\n", "/usr/lib/sysctl.d/1.conf": "vm.swappiness=1\n"},
        ("/etc/tuned/mine/tuned.conf:2", 30),
    ),
    "TuneD reapplies sysctl.conf, which nothing else reads": (
        "vm.swappiness",
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\n", "/etc/sysctl.d/zz.conf": "vm.swappiness=1\n", "/etc/sysctl.conf": "vm.swappiness=2\n",
         "/etc/tuned/mine/x": ""},
        ("/etc/sysctl.d/zz.conf:1", 1),
    ),
    "TuneD reapplies sysctl.conf with a sysctl of its own": (
        "vm.swappiness",
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.laptop_mode=1\n", "/etc/sysctl.d/zz.conf": "vm.swappiness=1\n",
         "/etc/sysctl.conf": "vm.swappiness=2\n"},
        ("/etc/sysctl.conf:1", 2),
    ),
    "TuneD that does not reapply": (
        "vm.swappiness",
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.swappiness=30\n", "/etc/sysctl.d/1.conf": "vm.swappiness=1\n",
         "/etc/tuned/tuned-main.conf": "reapply_sysctl = 0\n"},
        ("/etc/tuned/mine/tuned.conf:2", 30),
    ),
    "TuneD that does not start": (
        "vm.swappiness",
        {"/etc/tuned/active_profile": "mine\n", "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.swappiness=30\n"},
        None,
    ),
    "TuneD includes": (
        "vm.swappiness",
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[main]\ninclude=-none, mine\n[sysctl]\nvm.laptop_mode = 0\n",
         "/usr/lib/tuned/mine/tuned.conf": "[main]\ninclude=mine\n[sysctl]\nvm.swappiness = 5 # more\n"},
        ("/usr/lib/tuned/mine/tuned.conf:4", 5),
    ),
    "TuneD drops": (
        "vm.swappiness",
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[main]\ninclude=base\n[sysctl]\ndrop=vm.swappiness\n",
         "/usr/lib/tuned/profiles/base/tuned.conf": "[sysctl]\nvm.swappiness=5\n"},
        None,
    ),
    "TuneD replaces": (
        "vm.swappiness",
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[main]\ninclude=base\n[sysctl]\nreplace=1\n", "/usr/lib/tuned/base/tuned.conf": "[sysctl]\nvm.swappiness=5\n"},
        None,
    ),
    "TuneD where a condition holds": (
        "kernel.numa_balancing",
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl.arm]\ntype=sysctl\nuname_regex=aarch64\nkernel.numa_balancing=0\n"},
        None,
    ),
    "TuneD, sysfs": (THP_KNOB, {**TUNED, "/etc/tuned/mine/tuned.conf": f"[sysfs]\n{THP[:-7]}*bled=never\n"}, ("/etc/tuned/mine/tuned.conf:2", "never")),
    "TuneD, vm": (THP_KNOB, {**TUNED, "/etc/tuned/mine/tuned.conf": "[vm]\ntransparent_hugepages=never\n"}, ("/etc/tuned/mine/tuned.conf:2", "never")),
    "TuneD, vm against the command line": (
        THP_KNOB,
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[vm]\ntransparent_hugepages=never\n", "/proc/cmdline": "x transparent_hugepage=madvise\n"},
        ("/proc/cmdline:1", "madvise"),
    ),
    "TuneD, dirty_bytes as a share": (
        "vm.dirty_ratio",
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[vm]\ndirty_bytes=40%\n", "/usr/lib/sysctl.d/1.conf": "vm.dirty_bytes=1048576\n"},
        ("/etc/tuned/mine/tuned.conf:2", 40),
    ),
    "TuneD raises": ("vm.swappiness", {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.swappiness=>30\n"}, ("/etc/tuned/mine/tuned.conf:2", ">30")),
    "kubelet": (
        "vm.overcommit_memory",
        {**KUBELET, "/etc/kubelet.yaml": "kind: KubeletConfiguration\n", "/etc/sysctl.d/zz.conf": "vm.overcommit_memory=0\n"},
        ("/etc/kubelet.yaml", 1),
    ),
    "kubelet that protects": (
        "vm.overcommit_memory",
        {**KUBELET, "/etc/kubelet.yaml": "protectKernelDefaults: true # strict\n", "/etc/sysctl.d/zz.conf": "vm.overcommit_memory=0\n"},
        ("/etc/sysctl.d/zz.conf:1", 0),
    ),
    "a unit of kubelet": ("kernel.panic", {"/etc/systemd/system/multi-user.target.wants/kubelet.service": "->/lib/x"}, ("/var/lib/kubelet/config.yaml", 10)),
    "a masked unit of kubelet": (
        "kernel.panic",
        {"/etc/systemd/system/multi-user.target.wants/kubelet.service": "->/lib/x", "/etc/systemd/system/kubelet.service": "->/dev/null"},
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WINNERS)
def test_winner(case: str, tmp_path: pathlib.Path) -> None:
    knob, files, expected = WINNERS[case]
    assert decided(read(tmp_path, files), knob) == expected


PROBLEMS: dict[str, tuple[str, Files, str]] = {
    "malformed": ("vm.swappiness", {"/etc/sysctl.d/1.conf": "vm.swappiness=ten\n"}, "is no number: the kernel refuses it"),
    "no choice": (THP_KNOB, {"/etc/tmpfiles.d/1.conf": f"w {THP} - - - - sometimes\n"}, "is none of always, madvise, never"),
    "excluded": ("vm.swappiness", {"/etc/sysctl.d/1.conf": "vm.*=1\n-vm.swappiness\n"}, "/etc/sysctl.d/1.conf:2 names the key itself"),
    "the first path": (
        THP_KNOB,
        {"/etc/tmpfiles.d/1.conf": f"w {THP} - - - - never\nw {THP} - - - - always\n"},
        "/etc/tmpfiles.d/1.conf:1 names this path first",
    ),
    "sysctl.conf": ("vm.swappiness", {"/etc/sysctl.conf": "vm.swappiness=1\n", **SYSTEMD}, "no file in sysctl.d links to it"),
    "a condition": ("vm.swappiness", {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nuname_regex=arm\nvm.swappiness=1\n"}, "only where uname_regex=arm"),
    "not enabled": ("vm.swappiness", {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nenabled=0\nvm.swappiness=1\n"}, "not enabled in the profile"),
    "a variable": ("vm.swappiness", {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.swappiness=${x}\n"}, "holds a variable of TuneD"),
    "a bound": ("vm.swappiness", {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.swappiness=<1\n"}, "only lowers the value"),
    "kubelet": ("vm.panic_on_oom", {**KUBELET, "/etc/kubelet.yaml": '{"protectKernelDefaults": true}'}, "kubelet does not start"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_a_setting_without_effect_says_why(case: str, tmp_path: pathlib.Path) -> None:
    knob, files, words = PROBLEMS[case]
    assert any(words in setting.problem for setting in read(tmp_path, files).settings[knob])


def test_settings_are_in_the_order_of_their_effect(tmp_path: pathlib.Path) -> None:
    persisted = read(tmp_path, {
        **TUNED,
        "/proc/cmdline": "sysctl.vm.swappiness=1\n",
        "/etc/sysctl.d/a.conf": "vm.swappiness=2\n",
        "/etc/sysctl.d/b.conf": "vm.swappiness=3\n",
        "/etc/sysctl.conf": "vm.swappiness=0\n",
        "/etc/tmpfiles.d/a.conf": "w /proc/sys/vm/swappiness - - - - 4\n",
        "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.swappiness=5\n",
        "/etc/tuned/tuned-main.conf": "reapply_sysctl=0\n",
    })  # fmt: skip
    assert [setting.value for setting in persisted.settings["vm.swappiness"]] == [0, 1, 2, 3, 4, 5]
    assert persisted.tuned_profile == "mine"


OURS = _persisted.OUR_SYSCTL_FILE
# A name that comes late, as no file of ours has by now.
OUR_TMPFILES = "/etc/tmpfiles.d/zz-memqos.conf"
CONFLICTS: dict[str, tuple[str, str, Files, list[t.Any]]] = {
    "nobody": ("vm.swappiness", OURS, {}, []),
    "earlier names": ("vm.swappiness", OURS, {"/etc/sysctl.d/99-a.conf": "vm.swappiness=1\n", "/proc/cmdline": "sysctl.vm.swappiness=2\n"}, []),
    "a later name": ("vm.swappiness", OURS, {"/etc/sysctl.d/zzz.conf": "vm.swappiness=1\n", "/usr/lib/sysctl.d/zzzz.conf": "vm.swappiness=2\n"}, [1, 2]),
    "a later name than 90": ("vm.swappiness", "/etc/sysctl.d/90-memqos.conf", {"/etc/sysctl.d/99-sysctl.conf": "vm.swappiness=1\n"}, [1]),
    "our own": ("vm.swappiness", OURS, {OURS: "vm.swappiness=1\nvm.swappiness=2\n", "/usr/lib/sysctl.d/zz-memqos.conf": "vm.swappiness=3\n"}, []),
    "a later glob": ("vm.swappiness", OURS, {"/etc/sysctl.d/zzz.conf": "vm.*=1\n"}, []),
    "a later exclusion": ("vm.swappiness", OURS, {"/etc/sysctl.d/zzz.conf": "-vm.swappiness\n"}, [None]),
    "an earlier exclusion": ("vm.swappiness", OURS, {"/etc/sysctl.d/a.conf": "-vm.swappiness\n"}, []),
    "a later rival": ("vm.dirty_ratio", OURS, {"/etc/sysctl.d/zzz.conf": "vm.dirty_bytes=1048576\n"}, [1048576]),
    "an earlier rival": ("vm.dirty_ratio", OURS, {"/etc/sysctl.d/a.conf": "vm.dirty_bytes=1048576\n"}, []),
    "tmpfiles.d": ("vm.swappiness", OURS, {"/etc/tmpfiles.d/a.conf": "w /proc/sys/vm/swappiness - - - - 4\n"}, [4]),
    "TuneD, which reapplies ours": ("vm.swappiness", OURS, {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.swappiness=5\n"}, []),
    "TuneD, which reapplies sysctl.conf after ours": (
        "vm.swappiness", OURS, {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.laptop_mode=5\n", "/etc/sysctl.conf": "vm.swappiness=6\n"}, [6]),
    "TuneD, which reapplies an earlier rival and ours": (
        "vm.dirty_ratio", OURS, {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.dirty_bytes=1\n", "/etc/sysctl.d/a.conf": "vm.dirty_bytes=2\n"}, []),
    "TuneD, which reapplies a later rival": (
        "vm.dirty_ratio", OURS, {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.dirty_bytes=1\n", "/etc/sysctl.conf": "vm.dirty_bytes=2\n"}, [2]),
    "TuneD, which does not reapply": (
        "vm.swappiness", OURS,
        {**TUNED, "/etc/tuned/mine/tuned.conf": "[sysctl]\nvm.swappiness=5\n", "/etc/tuned/tuned-main.conf": "reapply_sysctl=False\n"}, [5]),
    "TuneD's vm": (THP_KNOB, OUR_TMPFILES, {**TUNED, "/etc/tuned/mine/tuned.conf": "[vm]\ntransparent_hugepage=always\n"}, ["always"]),
    "kubelet": ("kernel.panic", OURS, {**KUBELET}, [10]),
    "kubelet that protects": ("kernel.panic", OURS, {**KUBELET, "/etc/kubelet.yaml": "protectKernelDefaults: true\n"}, [10]),
    "an earlier line for the path": (THP_KNOB, OUR_TMPFILES, {"/etc/tmpfiles.d/10-thp.conf": f"w {THP} - - - - never\n"}, ["never"]),
    "a later line for the path": (THP_KNOB, "/etc/tmpfiles.d/00-memqos.conf", {"/etc/tmpfiles.d/10-thp.conf": f"w {THP} - - - - never\n"}, []),
    "a later glob for the path": (THP_KNOB, "/etc/tmpfiles.d/00-memqos.conf", {"/etc/tmpfiles.d/10.conf": f"w {THP[:-1]}? - - - - never\n"}, ["never"]),
    "an earlier glob for the path": (THP_KNOB, OUR_TMPFILES, {"/etc/tmpfiles.d/10.conf": f"w {THP[:-1]}? - - - - never\n"}, []),
    "our own tmpfiles": (THP_KNOB, OUR_TMPFILES, {OUR_TMPFILES: f"w {THP} - - - - never\n"}, []),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFLICTS)
def test_conflicts(case: str, tmp_path: pathlib.Path) -> None:
    knob, our_file, files, expected = CONFLICTS[case]
    assert [setting.value for setting in _persisted.conflicts(read(tmp_path, files), knob, our_file)] == expected


KUBELET_CONFIGS: dict[str, tuple[str, tuple[bool, bool | None]]] = {
    "nothing": ("", (False, False)),
    "gate off": ("featureGates:\n  MemoryQoS: false\nmemoryThrottlingFactor: 0.9\n", (False, False)),
    "gate on, nothing said": ("featureGates:\n  Other: true\n  MemoryQoS: true\n", (False, None)),
    "gate on with a factor": ("memoryThrottlingFactor: 0.8\nfeatureGates: {Other: false, MemoryQoS: true}\n", (False, True)),
    "gate on with a policy": ('featureGates:\n  "MemoryQoS": true\nmemoryReservationPolicy: "TieredReservation"\nprotectKernelDefaults: true', (True, True)),
    "policy None": ("featureGates:\n  MemoryQoS: true\nmemoryReservationPolicy: None\n", (False, None)),
    "no gate, a factor": ("memoryThrottlingFactor: 0.8\n", (False, None)),
    "elsewhere": ("logging:\n  MemoryQoS: true\n  protectKernelDefaults: true\n", (False, False)),
    "JSON": ('{"featureGates": {"MemoryQoS": true}, "memoryThrottlingFactor": 0.9, "protectKernelDefaults": true}', (True, True)),
    "JSON null": ('{"featureGates": {"MemoryQoS": true}, "memoryThrottlingFactor": null}', (False, None)),
}


@pytest.mark.parametrize("case", KUBELET_CONFIGS)
def test_kubelet(case: str, tmp_path: pathlib.Path) -> None:
    text, expected = KUBELET_CONFIGS[case]
    kubelet = read(tmp_path, {**KUBELET, "/etc/kubelet.yaml": text}).kubelet
    assert kubelet and (kubelet.config, (kubelet.protect_kernel_defaults, kubelet.memory_qos)) == ("/etc/kubelet.yaml", expected)


KUBELET_SWAP = {
    "does not start with swap": ("", ""),
    "nothing said of it": ("failSwapOn: false\n", "NoSwap"),
    "LimitedSwap": ("failSwapOn: false\nmemorySwap:\n  swapBehavior: LimitedSwap\n", "LimitedSwap"),
    "in one line": ("failSwapOn: false\nmemorySwap: {swapBehavior: LimitedSwap}\n", "LimitedSwap"),
    "empty": ("failSwapOn: false\nmemorySwap: {}\n", "NoSwap"),
    "LimitedSwap, and does not start": ("memorySwap:\n  swapBehavior: LimitedSwap\n", ""),
    "elsewhere": ("failSwapOn: false\nlogging:\n  swapBehavior: LimitedSwap\n", "NoSwap"),
    "JSON": ('{"failSwapOn": false, "memorySwap": {"swapBehavior": "LimitedSwap"}}', "LimitedSwap"),
}


@pytest.mark.parametrize("case", KUBELET_SWAP)
def test_what_a_kubelet_does_with_swap(case: str, tmp_path: pathlib.Path) -> None:
    text, expected = KUBELET_SWAP[case]
    kubelet = read(tmp_path, {**KUBELET, "/etc/kubelet.yaml": text}).kubelet
    assert kubelet and kubelet.swap == expected


def test_a_flag_says_whether_a_kubelet_starts_with_swap(tmp_path: pathlib.Path) -> None:
    files = {
        "/proc/9/comm": "kubelet\n",
        "/proc/9/cmdline": "kubelet\0--config=/etc/kubelet.yaml\0--fail-swap-on=false\0",
        "/etc/kubelet.yaml": "failSwapOn: true\n",
    }
    kubelet = read(tmp_path, files).kubelet
    assert kubelet and kubelet.swap == "NoSwap"


def test_flags_and_drop_ins_of_kubelet_come_after_its_file(tmp_path: pathlib.Path) -> None:
    command = "kubelet\0--config\0/etc/kubelet.yaml\0--config-dir=/etc/kubelet.d\0--feature-gates=A=true,MemoryQoS=true\0--protect-kernel-defaults\0"
    files = {"/proc/9/comm": "kubelet\n", "/proc/9/cmdline": command, "/etc/kubelet.yaml": "featureGates:\n  MemoryQoS: false\n"}
    kubelet = read(tmp_path, {**files, "/etc/kubelet.d/10.conf": "memoryThrottlingFactor: 0.7\n"}).kubelet
    assert kubelet == _persisted.Kubelet("/etc/kubelet.yaml", "/etc/kubelet.d", True, True, resets=True)
    del files["/proc/9/cmdline"]
    assert (kubelet := read(tmp_path / "shut", {**files, "/proc/9/cmdline": "kubelet\0--config\0/etc/kubelet.yaml\0"}).kubelet) and not kubelet.resets


def test_who_runs_and_what_else_the_command_line_says(tmp_path: pathlib.Path) -> None:
    files = {"/proc/1/comm": "systemd\n", "/proc/30/comm": "koordlet\n", "/proc/31/comm": "systemd-oomd\n", "/proc/cmdline": "psi=1 cgroup.memory=nokmem ro\n"}
    persisted = read(tmp_path, files)
    assert (persisted.writers, persisted.boot, persisted.kubelet) == (["koordlet", "systemd-oomd"], {"psi": "1", "cgroup.memory": "nokmem"}, None)


def test_what_cannot_be_read_is_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc/sysctl.d/50-dir.conf").mkdir(parents=True)
    files = {"/etc/sysctl.d/60-out.conf": "->/../outside", "/etc/sysctl.d/61-loop.conf": "->61-loop.conf", "/etc/sysctl.d/70-big.conf": "#" * (1 << 20) + "\n"}
    problems = read(tmp_path, {**files, **TUNED}).problems
    assert [problem.partition(":")[0] for problem in problems] == [
        "TuneD profile mine", "/etc/sysctl.d/50-dir.conf", "/etc/sysctl.d/61-loop.conf", "/etc/sysctl.d/70-big.conf"]  # fmt: skip


def test_lines_of_sysctl_d() -> None:
    text = b"# a=1\n;b=2\n\nnet.ipv4.conf.eth0/1.x = 1 2 \r\nnet/ipv4/conf/eth0.1/x=3\n-vm.a\n- vm.b = \nword\n=\n//vm/./c==4"
    assert _persisted.parse_sysctl(text) == [
        (4, "net/ipv4/conf/eth0.1/x", "1 2"),
        (5, "net/ipv4/conf/eth0.1/x", "3"), (6, "vm/a", None), (7, "vm/b", ""), (9, "", ""), (10, "vm/c", "=4")]  # fmt: skip


def test_lines_of_tmpfiles_d() -> None:
    text = b"# w /a - - - - 1\n w /a - - - - 1 \nw+! '/b c' 0644 root root 1d x  # y\\n\n"
    text += b"F /d - - - - %%\nd /e - - - - 1\nf /f - - - - 1\nw /g - - - - -\nw~ /h - - - - YWI=\nw /i -"
    assert _persisted.parse_tmpfiles(text) == [(2, "w", "/a", "1"), (3, "w+", "/b c", "x  # y\n"), (4, "f+", "/d", "%"), (8, "w", "/h", "ab")]


GLOBS = [
    ("/a/*", "/a/b", True), ("/a/*", "/a/b/c", False), ("/*/b", "/a/b", True), ("/a/?", "/a/bb", False), ("/a/[a-c]x", "/a/bx", True),
    ("/a/[!a-c]x", "/a/bx", False), ("/a/[]]x", "/a/]x", True), ("/a/[b", "/a/[b", True), ("/a/\\*", "/a/*", True), ("/a/\\*", "/a/b", False),
    ("/a/{b,c{d,e}}", "/a/ce", True), ("/a/{b,c}", "/a/d", False), ("/a/*b*c", "/a/xbxbxc", True), ("/a/*b*c", "/a/xbxcx", False),
    ("/a/" + "*a" * 400 + "b", "/a/" + "a" * 900, False), ("/a/" + "{a,b}" * 60, "/a/" + "a" * 60, False),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "path", "expected"), GLOBS)
def test_globs(pattern: str, path: str, expected: bool) -> None:
    assert _persisted.matches(pattern, path) is expected


@given(data=st.binary(max_size=400) | st.text(alphabet="wf+ -!~^=/\\x4'\"[]{}*?\n.#;:,vmTrue", max_size=200).map(str.encode))
@example(data=b"w /sys/a\\")
@example(data=b"w~ /sys/a - - - - =")
@example(data=b"{" + b"[" * 5000)
@example(data=b'{"featureGates": {"MemoryQoS": [1]}}')
def test_parsers_take_anything(data: bytes) -> None:
    for number, key, value in _persisted.parse_sysctl(data):
        assert number > 0 and not key.startswith("/") and (value is None or value == value.strip(" \t\r"))
    for _number, kind, path, _argument in _persisted.parse_tmpfiles(data):
        assert kind in ("w", "w+", "f+") and path.startswith("/")
    assert all(option.line > 0 for option in _persisted.parse_sections(data))
    assert all(isinstance(value, str) for value in _persisted.parse_kubelet(data).values())


@given(
    files=st.dictionaries(
        st.sampled_from(
            ["/etc/sysctl.d/a.conf", "/etc/tmpfiles.d/a.conf", "/etc/tuned/mine/tuned.conf", "/etc/kubelet.yaml", "/proc/cmdline", "/etc/sysctl.conf"]
        ),
        # A link is made of what begins with an arrow.
        st.text(alphabet="vm.swappines*?[]{}=/ -\n#12w>$%include", max_size=80).filter(lambda text: not text.startswith("->")),
    ),
    keep=st.booleans(),
)
def test_a_node_with_any_files_is_read(files: Files, keep: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("node")
    persisted = read(root, {**TUNED, **(KUBELET if keep else {}), **files})
    for knob in ("vm.swappiness", "vm.dirty_ratio", THP_KNOB):
        assert not _persisted.winner(persisted, knob) or persisted.settings
        _persisted.conflicts(persisted, knob)
        _persisted.conflicts(persisted, knob, OUR_TMPFILES)
    shutil.rmtree(root)


# Against systemd itself. Nothing of this machine changes: the programs work on a made tree.

NAMES = ["/etc/{}/10-a.conf", "/etc/{}/zz.conf", "/run/{}/10-a.conf", "/run/{}/50-b.conf", "/usr/local/lib/{}/60-c.conf", "/usr/lib/{}/10-a.conf",
         "/usr/lib/{}/99-z.conf", "/etc/{}/B.conf", "/usr/lib/{}/50-b.conf.bak", "/etc/{}/.h.conf"]  # fmt: skip
SYSCTLS = ["vm.swappiness", "vm.laptop_mode", "vm.max_map_count", "kernel.panic"]
KSM = ["run", "pages_to_scan", "sleep_millisecs"]


def a_tree(seed: int, kind: str, line: t.Callable[[random.Random], str]) -> Files:
    rng = random.Random(seed)
    files = {name.format(kind): "".join(line(rng) for _row in range(rng.randrange(5))) for name in rng.sample(NAMES, rng.randrange(1, len(NAMES)))}
    if rng.random() < 0.3:
        files[rng.choice(list(files))] = "->/dev/null"
    return files


def sysctl_line(rng: random.Random) -> str:
    key = rng.choice([*SYSCTLS, "vm/swappiness", "vm.*", "vm.swap*", "*/swappiness", "kernel.pan?c", "vm.l[a-m]ptop_mode", "/vm//laptop_mode"])
    return rng.choice(["{} = {}\n", "{}={}\n", "-{}={}\n", " {} =  {} \n", "-{}\n", "# {}={}\n", "{}\n"]).format(key, rng.randrange(10, 14))


def tmpfiles_line(rng: random.Random) -> str:
    path = rng.choice(["/sys/kernel/mm/ksm/" + name for name in [*KSM, "run", "r*", "*", "{run,pages_to_scan}", "/run", "[r-s]*"]])
    kind = rng.choice(["w", "w", "w", "w!", "w+", "w+", "w-", "f+"] if not set(path) & set("*{[") else ["w", "w+"])
    return f"{kind} {path} - - - - {rng.randrange(10, 14)}\n"


def program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.parametrize("kind", ["sysctl.d", "tmpfiles.d"])
def test_files_are_read_in_the_order_that_systemd_says(kind: str, tmp_path: pathlib.Path) -> None:
    analyze = program("systemd-analyze")
    for seed in range(8):
        root = tmp_path / str(seed)
        tree = made(root, {name: text for name, text in a_tree(seed, kind, sysctl_line).items() if not text.startswith("->")})
        done = subprocess.run([analyze, "cat-config", f"--root={root}", "--no-pager", kind], capture_output=True, text=True, check=False)
        said = [line[2:] for line in done.stdout.splitlines() if line.startswith(f"# {root}/")]
        assert said == [str(root) + path for path in _persisted._Files(tree, []).paths(kind)]


@pytest.mark.parametrize("seed", range(40))
def test_systemd_sysctl_decides_the_same(seed: int, tmp_path: pathlib.Path) -> None:
    """In a mount namespace of its own, where the tree covers /proc/sys and the directories of sysctl.d: without all of that it does not start."""
    files = a_tree(seed, "sysctl.d", sysctl_line)
    untouched = {"/proc/sys/" + name.replace(".", "/"): "--\n" for name in SYSCTLS}
    persisted = read(tmp_path, {**untouched, **files, **SYSTEMD})
    run_systemd_sysctl(tmp_path)
    for name in SYSCTLS:
        setting = _persisted.winner(persisted, name)
        now = (tmp_path / "proc/sys" / name.replace(".", "/")).read_text(encoding="ascii").strip()
        assert now == ("--" if setting is None else str(setting.value)), (name, files)


def run_systemd_sysctl(root: pathlib.Path) -> None:
    if os.geteuid() or not SYSTEMD_SYSCTL or not shutil.which("unshare"):
        pytest.skip("needs root, unshare and systemd-sysctl")
    (root / "proc/sys/made").touch()
    for name in ("etc", "run", "usr/local/lib", "usr/lib/sysctl.d"):
        (root / name).mkdir(parents=True, exist_ok=True)
    script = f"""
        cd {root} && mount --make-rprivate / && mount --bind proc/sys /proc/sys || exit 77
        for name in etc run usr/local/lib usr/lib/sysctl.d; do mount --bind $name /$name || exit 77; done
        test -e /proc/sys/made || exit 77
        exec {SYSTEMD_SYSCTL}
    """
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")


@pytest.mark.parametrize("seed", range(40))
def test_systemd_tmpfiles_writes_the_same(seed: int, tmp_path: pathlib.Path) -> None:
    tmpfiles = program("systemd-tmpfiles")
    files = a_tree(seed, "tmpfiles.d", tmpfiles_line)
    persisted = read(tmp_path, {**{f"/sys/kernel/mm/ksm/{name}": "----" for name in KSM}, **files})
    subprocess.run([tmpfiles, "--create", "--boot", f"--root={tmp_path}"], capture_output=True, check=False)
    kinds = {(line.path, line.line): line.kind for line in persisted.sources.tmpfiles}
    for name in KSM:
        expected = "----"
        for setting in persisted.settings.get(f"ksm/{name}", []):
            if setting.rank:
                kind, text = kinds[(setting.path, setting.line)], str(setting.value)
                expected = {"w": text + expected[len(text) :], "w+": expected + text, "f+": text}[kind]
        assert (tmp_path / "sys/kernel/mm/ksm" / name).read_text(encoding="ascii") == expected, (name, files)


def test_links_are_followed_to_what_they_stand_for(tmp_path: pathlib.Path) -> None:
    persisted = read(
        tmp_path,
        {
            "/etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf",
            "/etc/sysctl.conf": "vm.swappiness=1\n",
            "/etc/sysctl.d/plain.conf": "vm.swappiness=2\n",
            "/etc/tmpfiles.d/a.conf": "->/srv/b.conf",
            "/srv/b.conf": f"w {THP} - - - - never\n",
            "/etc/sysctl.d/nothing.conf": "->/dev/null",
        },
    )
    assert persisted.real_paths == {"/etc/sysctl.d/99-sysctl.conf": "/etc/sysctl.conf", "/etc/tmpfiles.d/a.conf": "/srv/b.conf"}


SWAPPINESS = "/proc/sys/vm/swappiness"


@pytest.mark.parametrize(
    ("line", "sets"),
    [
        ("vm.swappiness = 99", True),
        ("-vm/swappiness=99", True),
        ("vm.s* = 99", True),
        ("-vm.swappiness", True),
        ("vm.swappines = 99", False),
        ("# vm.swappiness = 99", False),
        (f"w {SWAPPINESS} - - - - 99", True),
        ("w /proc/sys/vm/swap* - - - - 99", True),
        ("w /proc/sys/vm/page-cluster - - - - 99", False),
        ("", False),
    ],
)
def test_lines_that_set_a_knob(line: str, sets: bool) -> None:
    assert _persisted.sets_any(line, {SWAPPINESS, THP}) is sets
    assert _persisted.sets_any(line, ()) is False
