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
import signal
import subprocess
import sys
import threading
import typing as t

from . import accel, vms
from .common import BOOT_PROGRAMS, Cache, progress, require_programs
from .images import ensure_image, image_id, public_key
from .machines import MACHINES, LabError, Machine, machine_named

_EPILOG = """\
A VM is named after its machine, or MACHINE:NAME gives it another name.
The cache (images, SSH key, running machines) is ~/.cache/memqos-lab; MEMQOS_LAB_CACHE sets another directory.
"""


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0; 1 with a message for what can be mended; ssh's own for ssh."""
    arguments = _parser().parse_args(argv)
    # As after a Ctrl-C: what is starting is ended in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    cache = Cache.from_environment(os.environ)
    try:
        vms.sweep(cache)
        status: int = arguments.verb(arguments, cache)
    except LabError as exc:
        print(f"lab: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130
    return status


def wanted(text: str) -> tuple[Machine, str]:
    """C(MACHINE[:NAME]) → the machine's row and the VM's name. Raises LabError for an unknown machine."""
    machine, _separator, name = text.partition(":")
    return machine_named(machine), name or machine


def build(arguments: argparse.Namespace, cache: Cache) -> int:
    rows = [machine_named(name) for name in arguments.machines] or list(MACHINES)
    for image in dict.fromkeys(row.image for row in rows):
        print(ensure_image(image, cache).directory)
    return 0


def up(arguments: argparse.Namespace, cache: Cache) -> int:
    require_programs(BOOT_PROGRAMS)
    rows = [wanted(text) for text in arguments.machines]
    if len({name for _machine, name in rows}) < len(rows):
        raise LabError("two machines with one name; give another with MACHINE:NAME")
    # One after another: two builds at once only wait for the same disk.
    for machine, _name in rows:
        accel.detect(ensure_image(machine.image, cache).kernel, cache)
    states = [{**dataclasses.asdict(state), "identity_file": str(cache.key)} for state in _start_all(rows, cache)]
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
    key = public_key(cache)
    print(f"{'MACHINE':14} {'SUITE':10} {'KERNEL':6} {'MEMORY':>8} CPUS NODES {'SWAP':>7}  IMAGE")
    for machine in MACHINES:
        name = image_id(machine.image, key)
        image = name if cache.image(name).exists() else "not built"
        memory, swap = f"{machine.memory_mib} MiB", f"{machine.swap_mib} MiB"
        print(f"{machine.name:14} {machine.suite:10} {machine.flavour:6} {memory:>8} {machine.cpus:4} {machine.numa_nodes:5} {swap:>7}  {image}")
    for vm in vms.all_vms(cache):
        state, pid = vm.state(), vm.pid()
        print(f"{vm.name}: {f'up as {state.machine}, port {state.port}, {state.accelerator}, pid {pid}' if state and pid else 'not running'}")
    return 0


def accelerator(arguments: argparse.Namespace, cache: Cache) -> int:
    require_programs(BOOT_PROGRAMS)
    machine = machine_named(arguments.machine)
    print(accel.detect(ensure_image(machine.image, cache).kernel, cache))
    return 0


def _start_all(rows: list[tuple[Machine, str]], cache: Cache) -> list[vms.State]:
    """Boot them at once. If one fails or the run is interrupted, none that this call started is left."""
    cancel = threading.Event()
    futures: list[concurrent.futures.Future[vms.State]] = []
    already = {name for _machine, name in rows if vms.Vm(name, cache).pid() is not None}
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(rows)) as pool:
        try:
            for machine, name in rows:
                futures.append(pool.submit(vms.Vm(name, cache).start, machine, cancel=cancel))
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

    verb("build", build, "Build the disk images of machines (default: all).").add_argument("machines", nargs="*", metavar="MACHINE")
    verb("up", up, "Start machines and print how to reach them, as JSON.").add_argument("machines", nargs="+", metavar="MACHINE[:NAME]")
    stop = verb("down", down, "Stop virtual machines by name, or all of this cache.")
    stop.add_argument("names", nargs="*", metavar="NAME")
    stop.add_argument("--all", action="store_true")
    login = verb("ssh", ssh, "Run a command on a virtual machine, or log in.")
    login.add_argument("name", metavar="NAME")
    login.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    verb("list", show, "The machines of the lab and the virtual machines that run.")
    verb("accel", accelerator, "Whether KVM works here: prints kvm or tcg.").add_argument("machine", nargs="?", default=MACHINES[0].name, metavar="MACHINE")
    return parser
