# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of many cgroups in one step: what is written, in which order, and what comes of faults and of cgroups that end."""

from __future__ import annotations

import errno
import os
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _memcg_rules, _memcgs
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable
from ansible_collections.memqos.fleet.plugins.module_utils._steps import Memcg, MemcgsStep
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Refused
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils.tuned_node import PAGE, Node, inode

TOP = "/sys/fs/cgroup/kubepods.slice"
POD = f"{TOP}/kubepods-pod1.slice"
MAIN = f"{POD}/cri-1.scope"
UNITS = {TOP: "kubepods.slice", POD: "kubepods-pod1.slice", MAIN: "cri-1.scope"}
FILES = {"memory.low": "4096", "memory.high": "max", "memory.swap.max": "max", "memory.oom.group": "0", "memory.wmark_min_adj": "0"}


class Kernel(Node):
    """C(before): called before each write with its number; C(effective): what memory.wmark_min_adj shows."""

    before: t.Callable[[int, str], None] = staticmethod(lambda number, path: None)
    effective = ""

    def operation(self, what: str, path: str) -> None:
        super().operation(what, path)
        if what in ("kernel", "command"):
            self.before(sum(line.startswith(("kernel", "command")) for line in self.done), path)

    def answer(self, path: str, text: str, before: str) -> str:
        return self.effective if self.effective and path.endswith("wmark_min_adj") else super().answer(path, text, before)

    def written(self) -> list[str]:
        return [line.partition(f"{TOP}")[2] for line in self.done if line.startswith("kernel")]

    def holds(self) -> dict[str, dict[str, str]]:
        return {path: self.memcg_read(path, 0, FILES)[1] for path in UNITS if os.path.isdir(self.root + path)}


@pytest.fixture
def node(tmp_path: Path) -> Kernel:
    for path in UNITS:
        os.makedirs(f"{tmp_path}{path}")
        for file, text in FILES.items():
            Path(f"{tmp_path}{path}/{file}").write_text(text + "\n", encoding="ascii")
    made = Kernel(tmp_path)
    for path, unit in UNITS.items():
        made.systemd.adopt(unit, path[len("/sys/fs/cgroup") :])
    return made


def step(node: Kernel, *, units: bool = False) -> MemcgsStep:
    """The container has more and less than before, what is above it more."""
    values: dict[str, tuple[tuple[str, str, str], ...]] = {
        TOP: (("memory.low", "4096", "12288"),),
        POD: (("memory.low", "4096", "8192"), ("memory.oom.group", "0", "1")),
        MAIN: (("memory.low", "4096", "8192"), ("memory.high", "max", "65536"), ("memory.swap.max", "max", "0")),
    }
    return MemcgsStep(tuple(Memcg(path, inode(node.root, path), values[path], UNITS[path] if units else "") for path in reversed(list(UNITS))))


AFTER = {
    TOP: {**FILES, "memory.low": "12288"},
    POD: {**FILES, "memory.low": "8192", "memory.oom.group": "1"},
    MAIN: {**FILES, "memory.low": "8192", "memory.high": "65536", "memory.swap.max": "0"},
}
BEFORE = dict.fromkeys(UNITS, FILES)


def test_down_then_up_each_value_once(node: Kernel) -> None:
    assert _memcgs.put(step(node), node, PAGE) == set()
    assert node.holds() == AFTER
    pod, main = POD[len(TOP) :], MAIN[len(TOP) :]
    assert node.written() == ["/memory.low", f"{pod}/memory.low", f"{main}/memory.low", f"{main}/memory.high", f"{main}/memory.swap.max",
                              f"{pod}/memory.oom.group"]  # fmt: skip


def test_and_back_again(node: Kernel) -> None:
    _memcgs.put(step(node), node, PAGE)
    node.done.clear()
    assert _memcgs.put_back(step(node), node, PAGE) == ([], [])
    assert node.holds() == BEFORE
    assert [line for line in node.written() if line.endswith("low")] == [f"{MAIN[len(TOP) :]}/memory.low", f"{POD[len(TOP) :]}/memory.low", "/memory.low"]
    node.done.clear()
    assert _memcgs.put_back(step(node), node, PAGE) == ([], []) and node.written() == []


@pytest.mark.parametrize("number", range(1, 7))
def test_a_write_that_fails_is_told_and_what_was_written_goes_back(node: Kernel, number: int) -> None:
    def fail(at: int, path: str) -> None:
        if at == number:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    node.before = fail
    with pytest.raises(_memcgs.Failed, match="writing .* Invalid argument") as caught:
        _memcgs.put(step(node), node, PAGE)
    assert caught.value.errno == errno.EINVAL and caught.value.path in UNITS
    assert _memcgs.put_back(step(node), node, PAGE) == ([], [])
    assert node.holds() == BEFORE


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("gone", [MAIN, POD])
@pytest.mark.parametrize("again", [False, True])
def test_cgroups_that_end_meanwhile(node: Kernel, number: int, gone: str, again: bool) -> None:
    """Before any write. What takes their place gets nothing."""
    planned = step(node)

    def end(at: int, path: str) -> None:
        if at == number:
            os.rename(node.root + gone, f"{node.root}/gone")
            shutil.rmtree(f"{node.root}/gone") if not again else None
            for path in UNITS if again else ():
                os.makedirs(node.root + path, exist_ok=True)
                for file, text in FILES.items() if path.startswith(gone) else ():
                    Path(f"{node.root}{path}/{file}").write_text(text + "\n", encoding="ascii")

    node.before = end
    found = _memcgs.put(planned, node, PAGE)
    assert found <= {path for path in UNITS if path.startswith(gone)}
    assert TOP not in found and node.holds()[TOP] == AFTER[TOP]
    for path in UNITS:
        if again and path.startswith(gone):
            assert node.holds()[path] == FILES
    node.before = lambda at, path: None
    assert _memcgs.put_back(planned, node, PAGE) == ([], [])
    assert node.holds() == {path: FILES for path in UNITS if again or not path.startswith(gone)}


def test_all_had_ended_before(node: Kernel) -> None:
    planned = step(node)
    shutil.rmtree(node.root + TOP)
    assert _memcgs.put(planned, node, PAGE) == set(UNITS)
    assert _memcgs.put_back(planned, node, PAGE) == ([], [])


def test_a_file_that_is_missing_of_a_cgroup_that_is_there_is_an_error(node: Kernel) -> None:
    os.unlink(f"{node.root}{MAIN}/memory.swap.max")
    with pytest.raises(_memcgs.Failed, match="No such file"):
        _memcgs.put(step(node), node, PAGE)


@pytest.mark.parametrize("path", [f"{MAIN}/memory.high", MAIN, POD])
def test_no_symbolic_link_is_followed(node: Kernel, path: str, tmp_path: Path) -> None:
    planned = step(node)
    os.rename(node.root + path, f"{tmp_path}/elsewhere")
    os.symlink(f"{tmp_path}/elsewhere", node.root + path)
    with pytest.raises(Refused, match="symbolic link"):
        _memcgs.put(planned, node, PAGE)
    left = Path(f"{tmp_path}/elsewhere")
    assert "65536" not in (left if left.is_file() else next(left.rglob("memory.high"))).read_text(encoding="ascii")


def test_another_value_than_the_one_written_is_an_error(node: Kernel) -> None:
    node.answer = lambda path, text, before: "4096" if path == f"{POD}/memory.low" else text  # type: ignore[method-assign]
    with pytest.raises(_memcgs.Failed) as caught:
        _memcgs.put(step(node), node, PAGE)
    assert str(caught.value).endswith(f"{POD}/memory.low: after writing '8192' it reads '4096'")


def test_rounded_to_pages_is_no_other_value(node: Kernel) -> None:
    wanted = MemcgsStep((Memcg(MAIN, inode(node.root, MAIN), (("memory.low", "4096", "8193"),)),))
    assert _memcgs.put(wanted, node, PAGE) == set() and node.holds()[MAIN]["memory.low"] == "8192"


@pytest.mark.parametrize("above", ["50", "0"])
def test_an_effective_value_may_be_another_where_one_above_has_it(node: Kernel, above: str) -> None:
    """Else somebody else wrote it."""
    node.take(f"{POD}/memory.wmark_min_adj", above)
    node.effective = "50"
    wanted = MemcgsStep((Memcg(MAIN, inode(node.root, MAIN), (("memory.wmark_min_adj", "0", "-25"),)),))
    assert _memcgs.put(wanted, node, PAGE) == set()
    node.effective = ""
    left, troubles = _memcgs.put_back(wanted, node, PAGE)
    assert not troubles and [one.found for one in left] == ([] if above == "50" else ["50"])
    assert node.holds()[MAIN]["memory.wmark_min_adj"] == ("0" if above == "50" else "50")


def test_what_others_wrote_meanwhile_stays(node: Kernel) -> None:
    _memcgs.put(step(node), node, PAGE)
    node.take(f"{POD}/memory.low", "20480")
    left, troubles = _memcgs.put_back(step(node), node, PAGE)
    assert left == [_memcgs.Left(POD, "memory.low", "4096", "8192", "20480")] and troubles == []
    assert node.holds() == {**BEFORE, POD: {**FILES, "memory.low": "20480"}}


def test_putting_back_goes_on_after_a_failure(node: Kernel) -> None:
    _memcgs.put(step(node), node, PAGE)

    def fail(at: int, path: str) -> None:
        if path == f"{MAIN}/memory.low":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    node.before = fail
    left, troubles = _memcgs.put_back(step(node), node, PAGE)
    assert left == [] and troubles == [f"{MAIN}: Input/output error (EIO)"]
    assert node.holds() == {**BEFORE, MAIN: {**FILES, "memory.low": "8192"}}


NOTHING = _memcg_rules.Reading(lambda path, file: None, PAGE)


@pytest.mark.parametrize("force", [False, True])
def test_sorted_out(force: bool) -> None:
    memcg = Memcg(MAIN, 1, ())
    values = [("memory.low", "0", "8192"), ("memory.high", "max", "65536"), ("memory.min", "0", "4096"), ("memory.oom.group", "0", "1")]
    going, left = _memcgs.sorted_out(memcg, values, {"memory.low": "8192", "memory.high": "max", "memory.min": "20480"}, PAGE, NOTHING, force=force)
    others = ("memory.min", "20480", "0")
    assert going == [("memory.low", "8192", "0"), ("memory.high", "max", "max"), *([others] if force else [])]
    assert left == ([] if force else [_memcgs.Left(MAIN, "memory.min", "0", "4096", "20480")])


# What is systemd's


def test_systemd_sets_what_it_would_write_itself(node: Kernel) -> None:
    """As properties, so that a daemon-reload finds the same; the rest is written."""
    assert _memcgs.put(step(node, units=True), node, PAGE) == set()
    assert node.holds() == AFTER
    commands = [line for line in node.done if line.startswith(("command", "kernel"))]
    assert commands == ["command kubepods.slice", "command kubepods-pod1.slice", "command cri-1.scope", "command cri-1.scope",
                        f"kernel {POD}/memory.oom.group"]  # fmt: skip
    node.systemd.answer(["systemctl", "daemon-reload"])
    assert node.holds() == AFTER
    assert node.properties("cri-1.scope", ["MemoryLow", "MemoryHigh"]) == {"MemoryLow": "8192", "MemoryHigh": "65536"}


def test_and_takes_it_back(node: Kernel) -> None:
    _memcgs.put(step(node, units=True), node, PAGE)
    assert _memcgs.put_back(step(node, units=True), node, PAGE) == ([], [])
    assert node.holds() == BEFORE
    assert node.properties("cri-1.scope", ["MemoryHigh", "MemorySwapMax"]) == {"MemoryHigh": "infinity", "MemorySwapMax": "infinity"}


def test_of_another_cgroup_at_that_path_systemd_is_not_asked(node: Kernel) -> None:
    planned = step(node, units=True)
    os.rename(node.root + MAIN, f"{node.root}/gone")
    shutil.copytree(f"{node.root}/gone", node.root + MAIN)
    assert _memcgs.put(planned, node, PAGE) == {MAIN}
    assert not any("cri-1" in line for line in node.done) and node.holds()[MAIN] == FILES


def test_a_property_that_systemd_did_not_make_a_value_is_an_error(node: Kernel) -> None:
    node.systemd.write = lambda path, text: None
    with pytest.raises(_memcgs.Failed, match="after writing '12288' it reads '4096'"):
        _memcgs.put(step(node, units=True), node, PAGE)


@pytest.mark.parametrize("gone", [True, False])
def test_systemd_refuses(node: Kernel, gone: bool) -> None:
    """No error where the scope has just ended."""

    def end(at: int, path: str) -> None:
        if path == "cri-1.scope":
            if gone and os.path.isdir(node.root + MAIN):
                shutil.rmtree(node.root + MAIN)
            raise Unreadable("systemctl", "error", "Unit cri-1.scope not found.")

    node.before = end
    if gone:
        assert _memcgs.put(step(node, units=True), node, PAGE) == {MAIN}
    else:
        with pytest.raises(_memcgs.Failed, match="writing '8192' to memory.low: systemctl: Unit cri-1.scope not found."):
            _memcgs.put(step(node, units=True), node, PAGE)
        node.before = lambda at, path: None
        _memcgs.put(step(node, units=True), node, PAGE)
    node.before = end
    left, troubles = _memcgs.put_back(step(node, units=True) if not gone else MemcgsStep(()), node, PAGE)
    assert left == [] and set(troubles) == (set() if gone else {f"{MAIN}: systemctl: Unit cri-1.scope not found."})
