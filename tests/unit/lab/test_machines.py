# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lab is made of, as data: machines, images, QEMU's command line. Nothing here starts anything."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab import images, machines, qemu
from ansible_collections.memqos.fleet.tests.lab.machines import LabError, Machine, machine_named

RUN = qemu.RunFiles(Path("/cache/run/vm"))
IMAGE = images.ImageFiles(Path("/cache/images/trixie"))


def command(machine: Machine, accelerator: qemu.Accelerator = "tcg", run: qemu.RunFiles = RUN) -> str:
    return " ".join(qemu.command_line(machine, name="vm", image=IMAGE, run=run, ssh_port=2222, accelerator=accelerator, monitor=3))


def test_names_are_unique() -> None:
    names = [machine.name for machine in machines.MACHINES]
    assert sorted(set(names)) == sorted(names)


def test_memory_divides_among_the_nodes() -> None:
    assert [machine.name for machine in machines.MACHINES if machine.memory_mib % machine.numa_nodes] == []


def test_one_image_for_both_hierarchies() -> None:
    assert machine_named("debian12_v1").image == machine_named("debian12_v2").image != machine_named("debian13_v2").image


def test_unknown_machine_names_the_known() -> None:
    with pytest.raises(LabError, match="no machine named 'debian11'; the lab has: debian13_v2, debian12_v2, debian12_v1, "):
        machine_named("debian11")


@pytest.mark.parametrize(
    ("machine", "present", "absent"),
    [
        (machine_named("debian12_v1"), "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1", "-numa"),
        (machine_named("debian13_v2"), "systemd.hostname=vm", "unified_cgroup_hierarchy"),
        (machine_named("debian13_v2"), "-smp 1 -m 1024M", "-numa"),
        (machine_named("debian13_v2"), "id=swap,file=/cache/run/vm/swap.raw", "memory-backend"),
        (Machine(name="m", suite="trixie"), "id=root,file=/cache/run/vm/disk.qcow2,format=qcow2", "swap"),
        (Machine(name="m", suite="trixie"), "hostfwd=tcp:127.0.0.1:2222-:22", "restrict=off"),
        (Machine(name="m", suite="trixie"), "restrict=on", "kvm"),
        (Machine(name="m", suite="trixie"), "-action reboot=shutdown", "-no-reboot"),
        (Machine(name="m", suite="trixie"), "socket,id=monitor,fd=3 -mon chardev=monitor,mode=control", "server"),
    ],
)
def test_command_line(machine: Machine, present: str, absent: str) -> None:
    line = command(machine)
    assert present in line
    assert absent not in line


@pytest.mark.parametrize(("accelerator", "wanted"), [("kvm", "-accel kvm -cpu host"), ("tcg", "-accel tcg,thread=multi -cpu max")])
def test_acceleration(accelerator: qemu.Accelerator, wanted: str) -> None:
    assert wanted in command(machines.MACHINES[0], accelerator)


def test_two_numa_nodes() -> None:
    line = command(Machine(name="m", suite="trixie", memory_mib=1024, cpus=4, numa_nodes=2))
    assert "memory-backend-ram,id=ram0,size=512M -numa node,nodeid=0,memdev=ram0,cpus=0,cpus=2" in line
    assert "memory-backend-ram,id=ram1,size=512M -numa node,nodeid=1,memdev=ram1,cpus=1,cpus=3" in line
    assert "-numa dist,src=0,dst=1,val=20" in line


def test_node_without_processors() -> None:
    assert "-numa node,nodeid=1,memdev=ram1 " in command(Machine(name="m", suite="trixie", cpus=1, numa_nodes=2))


def test_comma_in_a_path() -> None:
    assert "file=/a,,b/disk.qcow2" in command(machines.MACHINES[0], run=qemu.RunFiles(Path("/a,b")))


def test_image_id_follows_what_the_image_is_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = machine_named("debian13_v2").image
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


def test_mmdebstrap_with_the_hosts_mirror_and_proxy() -> None:
    proxies = {"Acquire::http::Proxy": "http://proxy.test:3128"}
    argv = images.mmdebstrap_argv(machines.MACHINES[0].image, root=Path("/tree"), mirror="http://mirror.test/debian/", proxies=proxies)
    assert argv[-3:] == ["trixie", "/tree", "http://mirror.test/debian/"]
    assert '--aptopt=Acquire::http::Proxy "http://proxy.test:3128"' in argv
