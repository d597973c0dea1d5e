# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Steps of several generations come to one each: from the first before to the last after."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _steps
from ansible_collections.memqos.fleet.plugins.module_utils._steps import (
    FileStep,
    Memcg,
    MemcgsStep,
    Moved,
    PropertyStep,
    ReloadStep,
    Step,
    SwapFileStep,
    SwapStep,
    WriteStep,
)

FILE = "/sys/fs/cgroup/batch.slice/memory.max"
VENDOR = "/sys/fs/cgroup/batch.slice/memory.wmark_ratio"
DROP_IN = FileStep("/run/systemd/system.control/batch.slice.d/50-MemoryMax.conf", None, None)


def limit(before: str, after: str, *, inode: int = 7, boot: str = "one") -> WriteStep:
    return WriteStep("memory.max", "memcg", "batch.slice", FILE, before, after, inode, boot)


def slice_step(shown: str, wanted: str, file: WriteStep) -> PropertyStep:
    return PropertyStep("batch.slice", (("MemoryMax", wanted),), (("MemoryMax", shown),), (file,), (DROP_IN,))


def swappiness(before: str, after: str) -> WriteStep:
    return WriteStep("vm.swappiness", "host", "", "/proc/sys/vm/swappiness", before, after)


def ratio(before: str, after: str, boot: str) -> WriteStep:
    return WriteStep("memory.wmark_ratio", "memcg", "batch.slice", VENDOR, before, after, 7, boot)


SWAPS = ("/var/lib/memqos-swap/swap-1M", "/var/lib/memqos-swap/swap-2M")


def area(before: t.Optional[str], after: t.Optional[str]) -> SwapStep:
    return SwapStep("dev-vdb.swap", "swap.device /dev/vdb", "/dev/vdb", before, after)


@pytest.mark.parametrize(
    ("earlier", "later", "merged"),
    [
        pytest.param([swappiness("60", "10")], [swappiness("10", "20")], [swappiness("60", "20")], id="first before, last after"),
        pytest.param([swappiness("60", "10")], [swappiness("99", "10")], [swappiness("60", "10")], id="drift that was healed does not count"),
        pytest.param([swappiness("60", "10")], [swappiness("10", "60")], [], id="back where it was"),
        pytest.param([swappiness("60", "10"), ReloadStep()], [swappiness("10", "60")], [], id="a reload alone is nothing"),
        pytest.param(
            [slice_step("infinity", "64", limit("max", "64"))],
            [slice_step("64", "64", limit("99", "64", inode=9, boot="two"))],
            [slice_step("infinity", "64", limit("max", "64", inode=9, boot="two"))],
            id="a unit is itself after a reboot, even with a value written by hand",
        ),
        pytest.param([ratio("0", "95", "one")], [ratio("95", "90", "two")], [ratio("0", "90", "two")], id="a cgroup to which boot gave our value"),
        pytest.param([ratio("0", "95", "one")], [ratio("33", "0", "")._replace(inode=0)], [], id="a rollback of what somebody had changed in another cgroup"),
        pytest.param([ratio("0", "95", "one")], [ratio("7", "90", "two")], [ratio("7", "90", "two")], id="another cgroup of the same name"),
        pytest.param(
            [FileStep("/etc/sysctl.d/a.conf", None, "1\n", creates=("/etc/sysctl.d",))],
            [FileStep("/etc/sysctl.d/a.conf", "1\n", "2\n", 0o644, 0o644)],
            [FileStep("/etc/sysctl.d/a.conf", None, "2\n", creates=("/etc/sysctl.d",))],
            id="a file with the directory that was made for it",
        ),
        pytest.param([area("auto", "5")], [area("5", "6")], [area("auto", "6")], id="an area that is on otherwise"),
        pytest.param([area(None, "5")], [area("5", None)], [], id="an area that is off again"),
        pytest.param(
            [SwapFileStep(SWAPS[0], None, "1048576", ("/var/lib/memqos-swap",))],
            [SwapFileStep(SWAPS[1], None, "2097152"), SwapFileStep(SWAPS[0], "1048576", None, ("/var/lib/memqos-swap",))],
            [SwapFileStep(SWAPS[1], None, "2097152", ("/var/lib/memqos-swap",))],
            id="a swap file in the directory that was made for another",
        ),
    ],
)
def test_generations_are_joined(earlier: list[Step], later: list[Step], merged: list[Step]) -> None:
    assert _steps.merge(earlier, later) == merged


STEPS: list[Step] = [
    swappiness("60", "10")._replace(moves=(Moved("vm.x", "/proc/sys/vm/x", "1"),)),
    FileStep("/etc/sysctl.d/a.conf", None, "caf\udce9"),
    slice_step("infinity", "64", limit("max", "64")),
    ReloadStep(),
    SwapFileStep(SWAPS[0], None, "1048576", ("/var/lib/memqos-swap",)),
    area(None, "256 MiB, priority 5")._replace(service="memqos-crypt-1M.service", allowed=1),
]


@pytest.mark.parametrize("step", STEPS, ids=_steps.name)
def test_a_step_survives_json(step: Step) -> None:
    assert _steps.from_json(_steps.to_json(step)) == step


@pytest.mark.parametrize(
    "value",
    [None, {}, {"kind": "nothing"}, {"kind": "write", "knob": 7}, {**_steps.to_json(swappiness("1", "2")), "inode": "7"}, {"kind": "file", "path": None}],
    ids=repr,
)
def test_what_is_no_step_is_refused(value: t.Any) -> None:
    with pytest.raises(ValueError, match="no step"):
        _steps.from_json(value)


CONTAINERS = MemcgsStep(
    tuple(
        Memcg(
            f"/sys/fs/cgroup/pod{number}",
            number,
            (("memory.low", "0", str(4096 * number)), ("memory.high", "max", "65536"))[: number % 3],
            "a.scope" * (number % 2),
        )
        for number in range(9)
    ),
    ("/sys/fs/cgroup/gone",),
    "one",
)


def test_containers_name_their_files_once() -> None:
    text = json.dumps(_steps.to_json(CONTAINERS))
    assert _steps.from_json(json.loads(text)) == CONTAINERS
    assert (text.count("memory.low"), text.count("memory.high")) == (2, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"sets": []}, {"sets": [["memory.low"], [], []]}, {"sets": None}, {"sets": [[1], [2], [3]]}, {"memcgs": [["/a", 1, "", 0, [], []], ["/b"]]},
        {"memcgs": [["/a", "1", "", 0, [], []]]}, {"memcgs": [["/a", 1, None, 0, [], []]]}, {"memcgs": [["/a", 1, "", 1, ["0"], [0]]]},
        {"memcgs": [["/a", 1, "", 1, ["0"], []]]}, {"memcgs": 5}, {"gone": 5}, {"boot_id": 5},
    ],
)  # fmt: skip
def test_what_is_no_step_of_containers(change: t.Dict[str, t.Any]) -> None:
    with pytest.raises(ValueError, match="no step"):
        _steps.from_json({**json.loads(json.dumps(_steps.to_json(CONTAINERS))), **change})
