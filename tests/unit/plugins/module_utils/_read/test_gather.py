# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What leaves a node of its files of settings: the lines that were asked for, and no others."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._read import _gather
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.plugins.plugin_utils import _gathered
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils._read.test_persisted import made


def test_only_lines_of_memory_leave_and_they_keep_their_numbers(tmp_path: pathlib.Path) -> None:
    text = "# vm.swappiness = 1\nnet.core.somaxconn = 9\nvm.swappiness = 10\n\n-vm/laptop_mode\nfs.file-max = 7\n*.x = 1\n"
    found = _gather.gather(made(tmp_path, {"/etc/sysctl.d/a.conf": text, "/etc/sysctl.d/b.conf": "net.x = 1\n"}), _gathered.WANTED)
    # A file without such a line still hides others of its name.
    assert found["sources"] == {"/etc/sysctl.d/a.conf": "\n\nvm.swappiness = 10\n\n-vm/laptop_mode\n\n*.x = 1", "/etc/sysctl.d/b.conf": ""}


def test_links_are_told_and_each_file_is_sent_once(tmp_path: pathlib.Path) -> None:
    tree = made(tmp_path, {
        "/etc/sysctl.conf": "vm.swappiness = 10\n", "/etc/sysctl.d/99-sysctl.conf": "->../sysctl.conf", "/etc/sysctl.d/50.conf": "->/dev/null",
        "/usr/lib/sysctl.d/50.conf": "vm.laptop_mode = 1\n", "/lib": "->usr/lib",
    })  # fmt: skip
    found = _gather.gather(tree, _gathered.WANTED)
    assert found["links"] == {"/etc/sysctl.d/99-sysctl.conf": "/etc/sysctl.conf", "/etc/sysctl.d/50.conf": "/dev/null"}
    assert found["sources"] == {"/etc/sysctl.conf": "vm.swappiness = 10", "/dev/null": "", "/usr/lib/sysctl.d/50.conf": "vm.laptop_mode = 1"}


# What may leave of a file that holds secrets; {} where nothing of it does.
SECRETS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "a cluster's token": (
        {"/proc/7/comm": "k3s-server\n", "/proc/7/cmdline": "k3s\0server\0--token=SECRET\0--config=/etc/k.yaml\0--node-label\0SECRET\0"},
        {"/proc/7/comm": "k3s-server", "/proc/7/cmdline": "\0-\0--config=/etc/k.yaml"},
    ),
    "arguments that look like flags": (
        {"/proc/7/comm": "kubelet\n", "/proc/7/cmdline": (
            "/usr/bin/kubelet\0--config-secret=SECRET\0--config\0/etc/k.yaml\0/SECRET\0token=true-SECRET\0--config-dir=/etc/d"
            "\0--feature-gates\0A=true,B=false\0--feature-gates-of=SECRET\0--key"
            "\0/run/SECRET\0--config=SECRET\0--protect-kernel-defaults\0SECRET\0--eviction-hard=memory.available<5%\0"
        )},
        {"/proc/7/comm": "kubelet", "/proc/7/cmdline": (
            "\0-\0--config\0/etc/k.yaml\0--config-dir=/etc/d\0--feature-gates\0A=true,B=false\0-\0-\0-"
            "\0--protect-kernel-defaults\0--eviction-hard=memory.available<5%")},
    ),
    "arguments of others": ({"/proc/8/comm": "sshd\n", "/proc/8/cmdline": "sshd\0--config=/SECRET\0"}, {}),
    "the kernel's words": (
        {"/proc/cmdline": "quiet rd.luks.key=SECRET psi=1 systemd.set_credential=a:SECRET panicked=SECRET zswap.enabled=1 sysctl.net.x=SECRET root=SECRET\n"},
        {"/proc/cmdline": "  psi=1   zswap.enabled=1"},
    ),
    "jobs": (
        {"/etc/cron.d/clean": "#SECRET drop_caches\nPASSWORD=SECRET\n0 3 * * * root curl -H 'Bearer SECRET' x; echo 3 > /proc/sys/vm/drop_caches # SECRET\n",
         "/etc/cron.d/other": "SECRET\n"},
        {"/etc/cron.d/clean": "\n\ndrop_caches"},
    ),
    "JSON of a kubelet": (
        {"/etc/kubernetes/kubelet/config.json": json.dumps({
            "staticPodURLHeader": {"Authorization": ["SECRET"]}, "evictionHard": {"memory.available": "5%"}, "featureGates": {"MemoryQoS": True},
            "memorySecret": "SECRET", "protectKernelDefaults": True})},
        {"/etc/kubernetes/kubelet/config.json": (
            'staticPodURLHeader:\nevictionHard: {"memory.available": "5%"}\nfeatureGates: {"MemoryQoS": true}\nmemorySecret:\nprotectKernelDefaults: true')},
    ),
    "JSON that is none": ({"/etc/kubernetes/kubelet/config.json": '{"evictionHard": "SECRET",}'}, {"/etc/kubernetes/kubelet/config.json": ""}),
    "YAML of a kubelet": (
        {"/var/lib/kubelet/config.yaml": (
            "# SECRET memory\nstaticPodURLHeader:\n  memory: SECRET\n  x-memory: [SECRET]\nevictionHard: # SECRET\n  memory.available: 5%\n"
            "Reserved: SECRET\n")},
        {"/var/lib/kubelet/config.yaml": "\nstaticPodURLHeader:\n\n\nevictionHard: \n  memory.available: 5%\nReserved:"},
    ),
    "TuneD": (
        {"/etc/tuned/mine/tuned.conf": (
            "[main]\nsummary=SECRET vm.\ninclude=base # SECRET\n[script]\nscript=${i:PROFILE_DIR}/x --key=SECRET\n  --vm SECRET==\n"
            "[bootloader]\ncmdline=key=SECRET\n"
            "[sysctl]\nkernel.core_pattern=|SECRET\nvm.lowmem_reserve_ratio=256\n  32 1\n#vm.x=SECRET\n"),
         "/etc/tuned/tuned-main.conf": "reapply_sysctl=0\nlog_file_count=SECRET\n", "/etc/tuned/active_profile": "mine other\n"},
        {"/etc/tuned/mine/tuned.conf": (
            "[main]\nsummary=\ninclude=base\n[script]\nscript=\n\n[bootloader]\ncmdline=\n"
            "[sysctl]\nkernel.core_pattern=\nvm.lowmem_reserve_ratio=256\n  32 1"),
         "/etc/tuned/tuned-main.conf": "reapply_sysctl=0\nlog_file_count=", "/etc/tuned/active_profile": "mine other"},
    ),
    "files that tmpfiles.d makes": (
        {"/etc/tmpfiles.d/a.conf": "f+ /run/key 0600 root - - SECRET*/sys/\nw /etc/x - - - - SECRET{\nw /sys/kernel/mm/ksm/run - - - - 1\n"},
        {"/etc/tmpfiles.d/a.conf": "\n\nw /sys/kernel/mm/ksm/run - - - - 1"},
    ),
    "sysctl.d": ({"/etc/sysctl.d/a.conf": "kernel.core_pattern=|x SECRET\n#vm.x SECRET\nvm.swappiness=1\n"}, {"/etc/sysctl.d/a.conf": "\n\nvm.swappiness=1"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_leaves(tmp_path: pathlib.Path, name: str) -> None:
    files, expected = SECRETS[name]
    found = _gather.gather(made(tmp_path, files), _gathered.WANTED)
    assert found == {"sources": expected, "links": {}, "troubles": {}}
    assert "SECRET" in json.dumps(files) and "SECRET" not in json.dumps(found)


def test_what_cannot_be_read_has_its_reason(tmp_path: pathlib.Path) -> None:
    # A link to itself, which root cannot read either.
    found = _gather.gather(made(tmp_path, {"/etc/sysctl.d/a.conf": "->a.conf"}), _gathered.WANTED)
    assert found["sources"] == {} and "symbolic links" in found["troubles"]["/etc/sysctl.d/a.conf"]


APPLIED: list[tuple[dict[str, str], t.Any]] = [
    ({}, None),
    ({"2.json": '{"meta": {"profiles": ["old"]}}', "10.json": '{"meta": {"profiles": ["redis"]}}', "x.json": "", "11.json.new": "{"},
     {"generation": 10, "profiles": ["redis"]}),
]  # fmt: skip


@pytest.mark.parametrize(("files", "applied"), APPLIED)
def test_the_last_generation(tmp_path: pathlib.Path, files: dict[str, str], applied: t.Any) -> None:
    assert _gather.read_applied(made(tmp_path, {f"/var/lib/memqos/generations/{name}": text for name, text in files.items()})) == applied


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"meta": 5}', '{"meta": {}}'])
def test_a_damaged_generation_is_said(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(Unreadable, match="cannot be read"):
        _gather.read_applied(made(tmp_path, {"/var/lib/memqos/generations/1.json": text}))
