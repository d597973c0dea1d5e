# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The experiment's order: what is done to the machine and when, what is said of it, and that no machine is left."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.plugins.plugin_utils import _tune_result
from ansible_collections.memqos.fleet.tests.lab import vms
from ansible_collections.memqos.fleet.tests.lab.effect import __main__, experiment, guest, nodes
from ansible_collections.memqos.fleet.tests.lab.machines import MACHINES, LabError, RealMachine
from ansible_collections.memqos.fleet.tests.unit.lab.fake_lab import Lab

TREES = Path(__file__).resolve().parents[1] / "fixtures" / "trees"
OPTIONS = experiment.Options(profiles=("colocated",), out=Path("unset"), rounds=2, seconds=10)
CHOICE = nodes.Choice(MACHINES[0], 1.0, ())


def row(name: str, status: str, **values: str) -> dict[str, t.Any]:
    plain = dict.fromkeys(("subject", "reason", "profile", "expression"), "") | dict.fromkeys(("live_before", "persisted_before", "wanted", "effective"), "1")
    return {**plain, "name": name, "scope": "host", "status": status, **values}


def answer(*rows: dict[str, t.Any], **values: t.Any) -> dict[str, t.Any]:
    plain = {"check": False, "generation": 1, "problem": "", "notes": [], "containers": [], "skipped": [], "daemon_reload": False, "kernel_command_line": {}}
    return {**plain, "results": list(rows), **values}


CHANGED = answer(row("vm.swappiness", "changed", live_before="60", wanted="10"))
UNCHANGED = answer(row("vm.swappiness", "ok"), generation=0)
REFUSED = answer(row("vm.swappiness", "refused"), generation=0, problem="nothing was written:\nit would starve")
BACK = answer(row("vm.swappiness", "changed"))


class FakeGuest:
    """C(answers): what each tune or rollback leaves; None for nothing."""

    name = "debian13_v2"

    def __init__(self, out: Path, answers: list[dict[str, t.Any] | None]) -> None:
        self._out, self._answers = out, answers
        self.done: list[t.Any] = []
        self.windows = iter([20, 10] * 9)

    def facts(self) -> tuple[str, int]:
        return "6.12.117+deb13-amd64", 1012260864

    def bundle(self, _into: Path) -> Path:
        return TREES / "debian13-6.12-v2"

    def start_load(self, memory: int) -> None:
        self.done.append(("load", memory))

    def window(self, seconds: float) -> dict[str, t.Any]:
        self.done.append("window")
        reading: dict[str, t.Any] = {"vmstat": "", "pressure": None, "cgroups": {}, "tools": {}}
        return {"seconds": seconds, "before": reading, "after": reading, "requests": [f"{next(self.windows)}000"]}

    def play(self, playbook: str, variables: dict[str, t.Any], *, more: str = "", shown: bool = False) -> int:
        assert shown == (playbook == "audit")
        self.done.append((playbook, variables, more) if playbook != "audit" else playbook)
        told = None if playbook == "audit" else self._answers.pop(0)
        if told is not None:
            result = Path(variables["memqos_report_dir"]) / "tune" / f"{self.name}.json"
            result.parent.mkdir(parents=True, exist_ok=True)
            result.write_text(json.dumps(told))
        return 0

    def log_end(self) -> str:
        return "last words"


@pytest.fixture(name="slept")
def fixture_slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(experiment.time, "sleep", slept.append)
    return slept


def carry_out(out: Path, answers: list[dict[str, t.Any] | None], node: nodes.Node | None = None, **options: t.Any) -> tuple[int, FakeGuest]:
    fake = FakeGuest(out, answers)
    work = experiment.Experiment(
        t.cast("guest.Guest", fake), dataclasses.replace(OPTIONS, out=out, **options), lambda *_: _tune_result.Because("Because. And more.")
    )
    return work.run(CHOICE, node, out), fake


def test_windows_are_measured_in_turn_and_the_audit_comes_last(tmp_path: Path, slept: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    status, fake = carry_out(tmp_path, [CHANGED, BACK, CHANGED], more="--diff")
    tune = ("tune", {"memqos_report_dir": str(tmp_path), "memqos_profile": ["colocated"]}, "--diff")
    back = ("rollback", {"memqos_report_dir": f"{tmp_path}/rollback", "memqos_to": "previous"}, "")
    assert fake.done == [("load", 1012260864), "window", tune, "window", back, "window", tune, "window", "audit"] and status == 0
    # Before the first window, and after every change.
    assert slept == [experiment.SETTLE_SECONDS] * 4
    said = capsys.readouterr().out
    assert "vm.swappiness  60 → 10" in said and "latency, median, ms" in said and "better" in said
    measured = json.loads((tmp_path / "measurements.json").read_text())
    (median, *_rest) = measured["figures"]
    assert (median["name"], median["without"], median["with"], median["verdict"]) == ("latency_p50", [20.0, 20.0], [10.0, 10.0], "clear")
    assert measured["machine"]["name"] == "debian13_v2" and measured["kernel"].startswith("6.12") and measured["profiles"] == ["colocated"]


def test_profiles_of_ones_own(tmp_path: Path, slept: list[float]) -> None:
    _status, fake = carry_out(tmp_path, [CHANGED], rounds=1, profiles=("own", "colocated"), profiles_paths=("/p",))
    assert fake.done[2][1] == {"memqos_report_dir": str(tmp_path), "memqos_profile": ["own", "colocated"], "memqos_profiles_paths": ("/p",)}


def test_a_profile_that_is_refused_is_no_success(tmp_path: Path, slept: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    status, fake = carry_out(tmp_path, [REFUSED])
    said = capsys.readouterr().out
    assert status == 1 and len(fake.done) == 3 and "1 refused" in said and "\nit would starve" in said


def test_one_that_is_refused_later_still_tells_what_was_measured(tmp_path: Path, slept: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    status, fake = carry_out(tmp_path, [CHANGED, BACK, REFUSED])
    assert status == 1 and fake.done[-1] == "audit" and "of 2 windows without and 1 with" in capsys.readouterr().out


def test_one_that_changes_nothing_is_not_measured(tmp_path: Path, slept: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    status, fake = carry_out(tmp_path, [UNCHANGED])
    assert status == 0 and fake.done.count("window") == 1 and "changes nothing on this machine" in capsys.readouterr().out


def test_what_a_rollback_leaves_is_said(tmp_path: Path, slept: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    carry_out(tmp_path, [CHANGED, answer(row("vm.min_free_kbytes", "deferred")), CHANGED])
    assert "not taken back, so the next untouched window has it too: vm.min_free_kbytes" in capsys.readouterr().out
    with pytest.raises(LabError, match="could not be taken back: nothing was written"):
        carry_out(tmp_path, [CHANGED, REFUSED])


def test_a_playbook_without_a_result_ends_it_with_its_last_words(tmp_path: Path, slept: list[float]) -> None:
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "debian13_v2.json").write_text(json.dumps(CHANGED))  # of another run
    with pytest.raises(LabError, match="left no result; last words"):
        carry_out(tmp_path, [None])


def test_a_machine_like_a_node_is_set_like_it_before_all_windows(tmp_path: Path, slept: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    node = nodes.read(TREES / "debian13-6.12-v2")
    node = node._replace(kernel="6.8.0", knobs={**node.knobs, "vm.swappiness": 1, "vm.panic_on_oom": 1})
    status, fake = carry_out(tmp_path, [CHANGED, CHANGED, BACK, CHANGED], node)
    inline = {"summary": "What the node has set.", "host": {"vm.swappiness": 1}}
    first = {"memqos_report_dir": f"{tmp_path}/node", "memqos_profile": [inline], "memqos_allow_risks": ("min_free_above_5_percent",)}
    tunes = [step[1] for step in fake.done if step[0] == "tune"]
    # The node's own values stay wanted: a tune that no longer names them would take them back.
    assert tunes == [first, *[{"memqos_report_dir": str(tmp_path), "memqos_profile": [inline, "colocated"]}] * 2] and status == 0
    assert fake.done[0][0] == "tune" and fake.done[1][0] == "load"
    said = capsys.readouterr().out
    assert "kernel 6.12.117+deb13-amd64 for 6.8.0" in said and "a panic would end the run: vm.panic_on_oom" in said


# From the outside


@pytest.fixture(name="begun")
def fixture_begun(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """An experiment on the fake lab's machine."""
    monkeypatch.setattr(experiment, "machine_named", lambda _name: lab.machine)
    monkeypatch.setattr(experiment, "require_programs", lambda _names: None)
    return lab


@pytest.mark.parametrize("error", [KeyboardInterrupt(), LabError("no pressure"), SystemExit(143)])
def test_however_it_ends_no_machine_is_left(error: BaseException, begun: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int | None] = []

    def fail(_self: guest.Guest) -> t.NoReturn:
        running.extend(vm.pid() for vm in vms.all_vms(begun.cache))
        raise error

    monkeypatch.setattr(experiment.Guest, "facts", fail)
    with pytest.raises(type(error)):
        experiment.run(dataclasses.replace(OPTIONS, out=tmp_path / "out"), begun.cache)
    assert len(running) == 1 and running[0] and not Path(f"/proc/{running[0]}/fd/0").exists()
    assert vms.all_vms(begun.cache) == []


def test_a_profile_that_is_none_boots_nothing(begun: Lab, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="colocatde"):
        experiment.run(dataclasses.replace(OPTIONS, out=tmp_path, profiles=("colocatde",)), begun.cache)
    assert begun.said() == []


def test_a_bundle_that_is_none_is_named(begun: Lab, tmp_path: Path) -> None:
    bundle = tmp_path / "node.tar.gz"
    with pytest.raises(LabError, match="node.tar.gz"):
        experiment.run(dataclasses.replace(OPTIONS, out=tmp_path, bundle=bundle), begun.cache)
    bundle.write_bytes(b"no tar")
    with pytest.raises(LabError, match="node.tar.gz is no bundle"):
        experiment.run(dataclasses.replace(OPTIONS, out=tmp_path, bundle=bundle), begun.cache)


def test_a_real_machine_is_not_loaded(begun: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "machine_named", lambda _name: RealMachine(name="web", address="192.0.2.1"))
    with pytest.raises(LabError, match="web is a real machine"):
        experiment.run(dataclasses.replace(OPTIONS, out=tmp_path), begun.cache)


def test_the_command_line() -> None:
    given = __main__._options(["--profile", "own, colocated", "--profiles", "mine", "--seconds", "30", "--out", "o"])
    assert (given.profiles, given.profiles_paths, given.seconds, given.rounds) == (("own", "colocated"), (str(Path("mine").absolute()),), 30.0, 3)
    assert given.out == Path("o").absolute() and given.machine == "" and given.bundle is None


@pytest.mark.parametrize("arguments", ["", "--profile a --seconds 1", "--profile a --rounds 0", "--profile a --seconds x"])
def test_a_wrong_command_line(arguments: str) -> None:
    with pytest.raises(SystemExit):
        __main__._options(arguments.split())
