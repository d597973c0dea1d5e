# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's command line."""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import os
import subprocess
import threading
import typing as t
from pathlib import Path

from . import prune, sessions, snapshots, vms
from .common import BOOT_PROGRAMS, IN_USE, PROGRAMS, Cache, progress, require_programs
from .inventory import Row, all_machines, machine_named
from .machines import MACHINES, LabError, Machine, RealMachine
from .vendor import filesystem
from .vendor.tables import FLAVOURS

_EPILOG = """\
A VM is named after its machine, or MACHINE:NAME gives it another name.
Machines of your own: MEMQOS_LAB_MACHINES names a JSON or YAML file of rows, see docs/testing.md.
The cache (images, snapshots, SSH key, running machines) is ~/.cache/memqos-lab; MEMQOS_LAB_CACHE sets another directory.
"""


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0; 1 with a message for what can be mended; ssh's own for ssh."""
    arguments = _parser().parse_args(argv)
    return sessions.run(lambda cache: int(arguments.verb(arguments, cache)))


def wanted(text: str) -> tuple[Row, str]:
    """C(MACHINE[:NAME]) → the machine's row and the VM's name. Raises LabError for an unknown machine."""
    machine, _separator, name = text.partition(":")
    return machine_named(machine), name or machine


def build(arguments: argparse.Namespace, cache: Cache) -> int:
    require_programs(PROGRAMS)
    rows = [machine_named(name) for name in arguments.machines] or list(MACHINES)
    with cache.locked(IN_USE, shared=True):
        for row in rows:
            if isinstance(row, Machine):
                snapshots.ensure_snapshot(snapshots.origin_of(row, cache), cache, cancel=threading.Event())
    prune.bound(cache)
    return 0


def up(arguments: argparse.Namespace, cache: Cache) -> int:
    require_programs(BOOT_PROGRAMS)
    rows = [wanted(text) for text in arguments.machines]
    if len({name for _row, name in rows}) < len(rows):
        raise LabError("two machines with one name; give another with MACHINE:NAME")
    with cache.locked(IN_USE, shared=True):
        # One after another: two builds at once only wait for the same disk.
        for row, _name in rows:
            if isinstance(row, Machine):
                snapshots.origin_of(row, cache)
        states = [dataclasses.asdict(state) for state in _start_all(rows, cache, cold=arguments.cold)]
    prune.bound(cache)
    print(json.dumps(states, indent=2))
    return 0


def down(arguments: argparse.Namespace, cache: Cache) -> int:
    if bool(arguments.names) == arguments.all:
        raise LabError("down needs the names of virtual machines, or --all for every one of this cache, whoever started it")
    for vm in vms.all_vms(cache) if arguments.all else [vms.Vm(name, cache) for name in arguments.names]:
        if vm.stop():
            progress(vm.name, "down")
    return 0


def ssh(arguments: argparse.Namespace, cache: Cache) -> int:
    return subprocess.run(vms.Vm(arguments.name, cache).ssh_argv(*arguments.command), check=False).returncode


def show(_arguments: argparse.Namespace, cache: Cache) -> int:
    print(f"{'MACHINE':16} {'FROM':10} {'KERNEL':6} {'MEMORY':>8} CPUS NODES {'SWAP':>7}  IN THE CACHE")
    for row in all_machines(os.environ):
        if isinstance(row, RealMachine):
            print(f"{row.name:16} {row.user}@{row.address}, port {row.port}")
            continue
        memory, swap, flavour = f"{row.memory_mib} MiB", f"{row.swap_mib} MiB", "own" if row.disk else row.flavour
        cached = " and ".join(prune.present(row, cache)) or "nothing"
        print(f"{row.name:16} {row.origin:10} {flavour:6} {memory:>8} {row.cpus:4} {row.numa_nodes:5} {swap:>7}  {cached}")
    for vm in vms.all_vms(cache):
        state = vm.up_as()
        how = f"{state.accelerator}, pid {vm.pid()}" if state and state.accelerator else "a real machine"
        print(f"{vm.name}: {f'up as {state.machine}, port {state.port}, {how}' if state else 'not running'}")
    return 0


def clean(_arguments: argparse.Namespace, cache: Cache) -> int:
    prune.prune(cache)
    return 0


def accelerator(arguments: argparse.Namespace, cache: Cache) -> int:
    require_programs(BOOT_PROGRAMS)
    machine = machine_named(arguments.machine)
    if isinstance(machine, RealMachine):
        raise LabError(f"{machine.name} is a real machine")
    print(snapshots.origin_of(machine, cache).accelerator)
    return 0


def vendor(arguments: argparse.Namespace, _cache: Cache) -> int:
    filesystem.serve(arguments.flavour, arguments.mountpoint, until_eof=arguments.until_eof)
    return 0


def _start_all(rows: list[tuple[Row, str]], cache: Cache, *, cold: bool) -> list[vms.State]:
    """Start them at once. If one fails or the run is interrupted, none that this call started is left."""
    cancel = threading.Event()
    futures: list[concurrent.futures.Future[vms.State]] = []
    already = {name for _machine, name in rows if vms.Vm(name, cache).up_as()}
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(rows)) as pool:
        try:
            for machine, name in rows:
                futures.append(pool.submit(snapshots.start, vms.Vm(name, cache), machine, cold=cold, cancel=cancel))
            for future in concurrent.futures.as_completed(futures):
                future.result()
            return [future.result() for future in futures]
        except BaseException:
            cancel.set()
            concurrent.futures.wait(futures)
            for _machine, name in rows:
                if name not in already:
                    vms.Vm(name, cache).stop()
            raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab", description=__doc__, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, function: t.Callable[[argparse.Namespace, Cache], int], words: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=words, description=words)
        sub.set_defaults(verb=function)
        return sub

    verb("build", build, "Build the disk images of machines and make their snapshots (default: all of the lab's own).").add_argument(
        "machines", nargs="*", metavar="MACHINE"
    )
    begin = verb("up", up, "Start machines and print how to reach them, as JSON.")
    begin.add_argument("machines", nargs="+", metavar="MACHINE[:NAME]")
    begin.add_argument("--cold", action="store_true", help="boot, do not restore a snapshot")
    stop = verb("down", down, "Stop virtual machines by name, or all of this cache.")
    stop.add_argument("names", nargs="*", metavar="NAME")
    stop.add_argument("--all", action="store_true")
    login = verb("ssh", ssh, "Run a command on a virtual machine, or log in.")
    login.add_argument("name", metavar="NAME")
    login.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    verb("list", show, "The machines of the lab and the virtual machines that run.")
    verb("prune", clean, "Remove images and snapshots that no machine of this checkout is made from.")
    verb("accel", accelerator, "Whether KVM works here: prints kvm or tcg.").add_argument("machine", nargs="?", default=MACHINES[0].name, metavar="MACHINE")
    kernel = verb("vendor", vendor, "Mount a node with a vendor's kernel, as documented, until Ctrl-C: no machine, a file system.")
    kernel.add_argument("flavour", choices=sorted(FLAVOURS), metavar="FLAVOUR", help=", ".join(sorted(FLAVOURS)))
    kernel.add_argument("mountpoint", type=Path, metavar="DIRECTORY")
    kernel.add_argument("--until-eof", action="store_true", help="end with stdin, too")
    return parser
