# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The standard load: what fits, what does not, and how it is started."""

from __future__ import annotations

import shlex
import typing as t

import pytest

from ansible_collections.memqos.fleet.tests.lab.effect import load
from ansible_collections.memqos.fleet.tests.lab.pressure import pressure

MIB = 1 << 20


def options(unit: load.Unit) -> dict[str, str]:
    """C({--mib: 12, …})."""
    words = [word for word in unit.argv if word not in ("python3", f"{load.DIRECTORY}/pressure.py", f"{load.DIRECTORY}/service.py")]
    words = words[1:] if not words[0].startswith("--") else words
    return dict(zip(words[::2], words[1::2]))


@pytest.mark.parametrize("mib", [512, 965, 1536, 2048])
def test_it_is_more_than_memory_but_needs_no_swap(mib: int) -> None:
    service, scan, hog, burst = map(options, load.units(mib * MIB))
    anonymous = sum(int(size) for size in (service["--heap-mib"], hog["--mib"], burst["--mib"]))
    files = int(service["--file-mib"]) + int(scan["--mib"])
    # Debian's own programs and the kernel's reserve take about 18 % of 965 MiB.
    assert anonymous + files > mib and anonymous < 0.75 * mib
    assert 0.48 * mib < int(hog["--mib"]) + int(burst["--mib"]) < 0.52 * mib


def test_the_service_is_favoured_by_the_processor_and_batch_work_is_in_its_slice() -> None:
    service, *batch = load.units(965 * MIB)
    assert service.slice == "latency.slice" and {unit.slice for unit in batch} == {"batch.slice"}
    assert all(service.nice < 0 < unit.nice for unit in batch)


def test_the_tools_take_what_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for unit in load.units(965 * MIB)[1:]:
        pressure._parser().parse_args(unit.argv[2:])


def test_a_unit_is_started_as_one_command() -> None:
    command = shlex.split(load.units(965 * MIB)[2].start())
    assert command[0] == "systemd-run" and command[command.index("python3") :] == list(load.units(965 * MIB)[2].argv)
    properties: t.Any = [word.removeprefix("--property=") for word in command if word.startswith("--property=")]
    assert {"MemoryAccounting=yes", "Restart=always", "StandardOutput=append:/run/memqos-effect/memqos-hog.out"} <= set(properties)
