# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils._read import _systemd
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable

# systemctl show of systemd 252, as for _systemd._SHOW
SHOW = """\
Slice=-.slice
ControlGroup=/system.slice
MemoryAccounting=yes
DefaultMemoryLow=0
DefaultMemoryMin=0
MemoryMin=0
MemoryLow=0
MemoryHigh=infinity
MemoryMax=infinity
MemorySwapMax=infinity
MemoryLimit=infinity
ManagedOOMSwap=auto
ManagedOOMMemoryPressure=auto
ManagedOOMMemoryPressureLimit=0
ManagedOOMPreference=none
Id=system.slice
NeedDaemonReload=no

OOMPolicy=continue
OOMScoreAdjust=-900
Slice=system.slice
ControlGroup=/system.slice/redis-server.service
MemoryAccounting=yes
DefaultMemoryLow=0
DefaultMemoryMin=0
MemoryMin=335544320
MemoryLow=0
MemoryHigh=infinity
MemoryMax=536870912
MemorySwapMax=0
MemoryLimit=18446744073709551615
ManagedOOMSwap=auto
ManagedOOMMemoryPressure=kill
ManagedOOMMemoryPressureLimit=2147483648
ManagedOOMPreference=avoid
EffectiveMemoryMax=536870912
EffectiveMemoryHigh=infinity
Id=redis-server.service
FragmentPath=/lib/systemd/system/redis-server.service
DropInPaths=/run/systemd/transient/x.service.d/50-MemoryMax.conf /etc/systemd/system/redis-server.service.d/memory.conf
NeedDaemonReload=yes

Slice=user.slice
MemoryMin=[not set]
MemoryMax=
Id=session-1.scope
NeedDaemonReload=no
"""
REDIS = {
    "MemoryMin": "335544320", "MemoryMax": "536870912", "MemorySwapMax": "0", "OOMScoreAdjust": "-900", "ManagedOOMMemoryPressure": "kill",
    "ManagedOOMMemoryPressureLimit": "2147483648", "ManagedOOMPreference": "avoid", "ControlGroup": "/system.slice/redis-server.service",
    "Slice": "system.slice", "FragmentPath": "/lib/systemd/system/redis-server.service",
    "DropInPaths": "/run/systemd/transient/x.service.d/50-MemoryMax.conf /etc/systemd/system/redis-server.service.d/memory.conf",
    "EffectiveMemoryMax": "536870912", "NeedDaemonReload": "yes",
}  # fmt: skip


def tree(root: Path, files: t.Mapping[str, str]) -> Tree:
    for path, content in files.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return Tree(str(root))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("systemd 252 (252.39-1~deb12u2)\n+PAM +AUDIT\n", 252),
        ("systemd 239 (239-82.el8)\n", 239),
        ("systemd 258~rc1 (258)\n", 258),
        ("busybox", None),
        ("", None),
    ],
)
def test_parse_version(text: str, expected: int | None) -> None:
    assert _systemd.parse_version(text) == expected


def test_parse_show_keeps_what_is_set() -> None:
    assert _systemd.parse_show(SHOW) == {"redis-server.service": REDIS}


@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(SHOW.splitlines()))).map("\n".join))
def test_parse_show_never_raises(text: str) -> None:
    json.dumps(_systemd.parse_show(text))


def test_no_systemd(tmp_path: Path) -> None:
    for read in (_systemd.read_version, _systemd.read_units):
        with pytest.raises(Unreadable) as caught:
            read(Tree(str(tmp_path)))
        assert caught.value.kind == "absent"


def test_the_version_of_what_runs_needs_no_program(tmp_path: Path) -> None:
    maps = "7f3a00000000-7f3a00200000 r-xp 00000000 fe:01 9 /usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so (deleted)\n"
    files = {"proc/1/maps": maps, ".memqos/output/systemctl-version": "systemd 257 (257.9)\n"}
    assert _systemd.read_version(tree(tmp_path, files)) == 252
    # Another first process, or an ordinary user.
    assert _systemd.read_version(tree(tmp_path, {**files, "proc/1/maps": "7f3a00000000-7f3a00200000 r-xp 00000000 fe:01 9 /usr/bin/busybox\n"})) == 257


def test_a_version_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(Unreadable) as caught:
        _systemd.read_version(tree(tmp_path, {".memqos/output/systemctl-version": "busybox\n"}))
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b"[Service]\nMemoryMax=1G\n # MemoryLow=3\nMemoryLow = 10% \nMemoryDenyWriteExecute=yes\nMemoryKSM=yes\nCPUWeight=9\n",
            {"MemoryMax": "1G", "MemoryLow": "10%"},
        ),
        (b"[Slice]\nMemoryHigh=\nMemoryHigh=2G\nManagedOOMSwap=kill", {"MemoryHigh": "2G", "ManagedOOMSwap": "kill"}),
        (b"MemoryMax=\\\n 5M\n", {"MemoryMax": "5M"}),
        (
            b"StartupMemoryMax=1G\nDefaultMemoryLow=1M\nOOMScoreAdjust=-5\nDefaultStartupMemoryLow=2M\n",
            {"StartupMemoryMax": "1G", "DefaultMemoryLow": "1M", "OOMScoreAdjust": "-5", "DefaultStartupMemoryLow": "2M"},
        ),
        (b"\xff\xfe\n", {}),
    ],
)
def test_parse_drop_in(data: bytes, expected: dict[str, str]) -> None:
    assert _systemd.parse_drop_in(data) == expected


@given(st.binary(max_size=200))
def test_parse_drop_in_never_raises(data: bytes) -> None:
    json.dumps(_systemd.parse_drop_in(data))


def test_an_empty_drop_in_hides_the_one_below(tmp_path: Path) -> None:
    files = {"/etc/systemd/system/a.slice.d/m.conf": "", "/usr/lib/systemd/system/a.slice.d/m.conf": "[Slice]\nMemoryMax=1G\n"}
    assert _systemd.read_drop_ins(tree(tmp_path, files)) == []


def test_an_empty_drop_in_of_a_more_special_directory_is_told(tmp_path: Path) -> None:
    files = {
        "/etc/systemd/system/a-.slice.d/m.conf": "[Slice]\nMemoryMax=1G\n",
        "/etc/systemd/system/a-b.slice.d/m.conf": "",
        "/etc/systemd/system/a-b.slice.d/n.conf": "",
    }
    found = _systemd.read_drop_ins(tree(tmp_path, files))
    assert [(drop_in["unit"], drop_in["lines"]) for drop_in in found] == [
        ("a-.slice", {"MemoryMax": "1G"}),
        ("a-b.slice", {}),
    ]


def test_read_units_tells_what_systemd_says_and_what_stands_in_files(tmp_path: Path) -> None:
    own = "/etc/systemd/system/redis-server.service.d/memory.conf"
    units = _systemd.read_units(tree(tmp_path, {".memqos/output/systemctl-show": SHOW, own: "[Service]\nMemoryMin=320M\n"}))
    assert units == {"shown": {"redis-server.service": REDIS}, "drop_ins": [{"path": own, "unit": "redis-server.service", "lines": {"MemoryMin": "320M"}}]}
