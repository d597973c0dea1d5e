# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lab is made of, as data: machines, images, QEMU's command line. Nothing here starts anything."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab import images, machines, qemu
from ansible_collections.memqos.fleet.tests.lab.inventory import machine_named
from ansible_collections.memqos.fleet.tests.lab.machines import Disk, LabError, Machine

RUN = qemu.RunFiles(Path("/cache/run/vm"))
IMAGE = images.ImageFiles(
    identity="trixie", disk=Path("/i/root.raw"), disk_format="raw", kernel=Path("/i/vmlinuz"), initrd=Path("/i/initrd.img")
)  # fmt: skip
OWN = Machine(name="own", disk=Disk(path=Path("/d/disk.qcow2")), cmdline="root=/dev/vda1")


def built(name: str) -> Machine:
    machine = machine_named(name)
    assert isinstance(machine, Machine)
    return machine


def command(
    machine: Machine,
    accelerator: qemu.Accelerator = "tcg",
    run: qemu.RunFiles = RUN,
    image: images.ImageFiles = IMAGE,
    ram: qemu.Ram | None = None,
) -> str:
    return " ".join(qemu.command_line(machine, name="vm", image=image, run=run, accelerator=accelerator, monitor=3, ram=ram))


def test_names_are_unique() -> None:
    names = [machine.name for machine in machines.MACHINES]
    assert sorted(set(names)) == sorted(names)


def test_the_documented_matrix_is_this_one() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "testing.md").read_text(encoding="utf-8")
    page = page[page.index("\n## The lab\n") : page.index("\n### A new machine\n")]
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(machine.name for machine in machines.MACHINES)


def test_memory_divides_among_the_nodes() -> None:
    assert [machine.name for machine in machines.MACHINES if machine.memory_mib % machine.numa_nodes] == []


def test_one_image_for_both_hierarchies() -> None:
    assert built("debian12_hybrid").image == built("debian12_v1").image == built("debian12_v2").image != built("debian13_v2").image
    assert built("numa").image == built("debian13_v2").image


def test_unknown_machine_names_the_known() -> None:
    with pytest.raises(LabError, match="no machine named 'debian10'; the lab has: debian13_v2, debian12_v2, debian12_v1, "):
        machine_named("debian10")


@pytest.mark.parametrize(
    ("machine", "present", "absent"),
    [
        (built("debian12_v1"), "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1", "-numa"),
        (built("debian12_hybrid"), "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=0", "-numa"),
        (built("debian13_v2"), "-append console=ttyS0", "unified_cgroup_hierarchy"),
        (built("debian13_v2"), "-smp 1 -machine q35,memory-backend=ram0 -m 1024M -object memory-backend-ram,id=ram0,size=1024M", "-numa"),
        (built("debian13_v2"), "id=swap,file=/cache/run/vm/swap.raw", "memory-backend-file"),
        (Machine(name="m", suite="trixie"), "id=root,file=/cache/run/vm/disk.qcow2,format=qcow2", "swap"),
        (Machine(name="m", suite="trixie"), "hostfwd=tcp:127.0.0.1:0-:22", "restrict=off"),
        (Machine(name="m", suite="trixie"), "restrict=on", "kvm"),
        (Machine(name="m", suite="trixie"), "-action reboot=shutdown", "-incoming"),
        (Machine(name="m", suite="trixie"), "socket,id=monitor,fd=3 -mon chardev=monitor,mode=control", "server"),
    ],
)
def test_command_line(machine: Machine, present: str, absent: str) -> None:
    line = command(machine)
    assert present in line
    assert absent not in line


@pytest.mark.parametrize(("accelerator", "wanted"), [("kvm", "-accel kvm -cpu host"), ("tcg", "-accel tcg,thread=multi,tb-size=128 -cpu max")])
def test_acceleration(accelerator: qemu.Accelerator, wanted: str) -> None:
    assert wanted in command(machines.MACHINES[0], accelerator)


def test_two_numa_nodes() -> None:
    line = command(Machine(name="m", suite="trixie", memory_mib=1024, cpus=4, numa_nodes=2))
    assert "-machine q35 -m 1024M -object memory-backend-ram,id=ram0,size=512M -object memory-backend-ram,id=ram1,size=512M" in line
    assert "-numa node,nodeid=0,memdev=ram0,cpus=0,cpus=2 -numa node,nodeid=1,memdev=ram1,cpus=1,cpus=3 -numa dist,src=0,dst=1,val=20" in line


def test_node_without_processors() -> None:
    assert "-numa node,nodeid=1,memdev=ram1 " in command(Machine(name="m", suite="trixie", cpus=1, numa_nodes=2))


def test_memory_of_a_snapshot_is_shared_and_of_a_clone_is_not() -> None:
    line = command(built("numa"), ram=qemu.Ram(Path("/s,nap"), restored=False))
    assert "memory-backend-file,id=ram0,size=512M,mem-path=/s,,nap/ram0,share=on" in line
    assert "memory-backend-file,id=ram1,size=512M,mem-path=/s,,nap/ram1,share=on" in line
    assert "-incoming" not in line
    clone = command(built("numa"), ram=qemu.Ram(Path("/snap"), restored=True))
    assert "mem-path=/snap/ram1,share=off" in clone
    assert "-incoming defer" in clone
    # It has booted: what reboots it is its user.
    assert "-action" not in clone


def test_an_own_disk_boots_by_itself_or_by_its_kernel() -> None:
    alone = images.ImageFiles(identity="", disk=Path("/d/disk.qcow2"), disk_format="qcow2", kernel=None, initrd=None)
    assert "-kernel" not in command(OWN, image=alone)
    with_kernel = dataclasses.replace(alone, kernel=Path("/d/vmlinuz"))
    line = command(OWN, image=with_kernel)
    assert "-kernel /d/vmlinuz -append console=ttyS0 panic=-1 root=/dev/vda1" in line
    assert "-initrd" not in line
    assert "-initrd /d/initrd" in command(OWN, image=dataclasses.replace(with_kernel, initrd=Path("/d/initrd")))


def test_comma_in_a_path() -> None:
    assert "file=/a,,b/disk.qcow2" in command(machines.MACHINES[0], run=qemu.RunFiles(Path("/a,b")))


def test_image_id_follows_what_the_image_is_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = built("debian13_v2").image
    first = images.image_id(image, "key")
    assert first.startswith("trixie-full-")
    assert first == images.image_id(image, "key")
    assert first != images.image_id(image, "another key")
    assert first != images.image_id(dataclasses.replace(image, packages=("numactl",)), "key")
    for script in images.GUEST_SCRIPTS.iterdir():
        (tmp_path / script.name).write_bytes(script.read_bytes())
    monkeypatch.setattr(images, "GUEST_SCRIPTS", tmp_path)
    assert first == images.image_id(image, "key")
    (tmp_path / "customize.sh").write_text("#!/bin/sh\n")
    assert first != images.image_id(image, "key")


@pytest.mark.parametrize(
    ("targets", "wanted"),
    [
        ("Debian|Debian-Security|http://security.test/debian/\nDebian|Debian|http://mirror.test/debian/\n", "http://mirror.test/debian/"),
        ("Ubuntu|Ubuntu|http://mirror.test/ubuntu/\n", None),
        ("Debian", None),
        ("", None),
    ],
)
def test_host_mirror(targets: str, wanted: str | None) -> None:
    assert images.host_mirror(targets) == wanted


def test_host_proxies() -> None:
    dump = (
        'APT "";\nAcquire::http "";\nAcquire::http::Proxy "http://proxy.test:3128";\nAcquire::https::Proxy "";\nAcquire::http::Proxy::mirror.test "DIRECT";\n'
    )
    assert images.host_proxies(dump) == {"Acquire::http::Proxy": "http://proxy.test:3128"}


def test_mmdebstrap_without_a_mirror_takes_its_own() -> None:
    image = machines.Image(suite="trixie", flavour="full", packages=("numactl", "podman"))
    argv = images.mmdebstrap_argv(image, root=Path("/tree"), mirror=None, proxies={})
    assert argv[-2:] == ["trixie", "/tree"]
    assert next(part for part in argv if part.startswith("--include=")).endswith(",numactl,podman")


@pytest.mark.parametrize(("suite", "option"), [("bullseye", "--setup-hook=cd "), ("forky", "--aptopt=Acquire::Check-Valid-Until")])
def test_what_only_one_suite_needs(suite: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def has_it(name: str) -> bool:
        image = machines.Image(suite=name, flavour="full", packages=())
        return any(part.startswith(option) for part in images.mmdebstrap_argv(image, root=Path("/tree"), mirror=None, proxies={}))

    assert has_it(suite)
    assert not has_it("trixie")
    image = machines.Image(suite=suite, flavour="full", packages=())
    before = images.image_id(image, "key")
    monkeypatch.setitem(images.SUITE_OPTIONS, suite, ())
    assert images.image_id(image, "key") != before


def test_mmdebstrap_with_the_hosts_mirror_and_proxy() -> None:
    proxies = {"Acquire::http::Proxy": "http://proxy.test:3128"}
    argv = images.mmdebstrap_argv(machines.MACHINES[0].image, root=Path("/tree"), mirror="http://mirror.test/debian/", proxies=proxies)
    assert argv[-3:] == ["trixie", "/tree", "http://mirror.test/debian/"]
    assert '--aptopt=Acquire::http::Proxy "http://proxy.test:3128"' in argv
