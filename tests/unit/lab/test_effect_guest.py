# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine as the experiment sees it. Its ssh runs commands here, by a real shell, and its programs note what they were told."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.memqos.fleet.tests.lab import vms
from ansible_collections.memqos.fleet.tests.lab.effect import guest, load
from ansible_collections.memqos.fleet.tests.lab.machines import LabError

STATE = vms.State(name="vm", machine="m", address="127.0.0.1", port=2222, user="root", identity_file="/key", accelerator="tcg")
SSH = '#!/bin/sh\nprintf "%s\\n" "$*" >>{here}/ssh.log\nfor last; do :; done\nexec sh -c "$last"\n'
NOTE = '#!/bin/sh\nprintf "%s\\n" "${{0##*/}} $*" >>{here}/told.log\n'
# As the real ones, as far as they are waited for: each writes something after a while, and needs what the one before wrote.
SYSTEMD_RUN = (
    NOTE
    + """exec >/dev/null 2>&1
case "$*" in
*service.py*) (sleep 0.5; echo "1.000 2" >{run}/requests) & ;;
*scan*) [ -s {run}/requests ] || exit 1; (echo '"read_bytes": 0}}' >{run}/memqos-scan.out; sleep 0.5; echo '"read_bytes": 1}}' >>{run}/memqos-scan.out) & ;;
*) grep -q '"read_bytes": 1' {run}/memqos-scan.out ;;
esac
"""
)


@pytest.fixture(name="here")
def fixture_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    run = tmp_path / "run"
    # Not the real one: it would act here.
    monkeypatch.setattr(guest, "PREFER", tmp_path / "prefer.sh")
    guest.PREFER.write_text(f"echo prefer >>{tmp_path}/told.log\n")
    for name, value in (("DIRECTORY", str(run)), ("REQUESTS", f"{run}/requests")):
        monkeypatch.setattr(load, name, value)
    scripts = {"ssh": SSH, "systemd-run": SYSTEMD_RUN, "sudo": '#!/bin/sh\nshift\necho "as root"\nexec "$@"\n', "python3": NOTE, "ansible-playbook": NOTE}
    (tmp_path / "bin").mkdir()
    for name, text in scripts.items():
        (tmp_path / "bin" / name).write_text(text.format(here=tmp_path, run=run))
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


def made(here: Path, **state: t.Any) -> guest.Guest:
    return guest.Guest(vms.State(**{**vars(STATE), **state}), "node", scratch=here, log=here / "ansible.log")


def told(here: Path) -> list[str]:
    return (here / "told.log").read_text().splitlines()


def test_a_command_gives_what_it_prints_or_its_words(here: Path) -> None:
    node = made(here)
    assert node.run("cat; echo two", stdin=b"one ") == b"one two\n"
    with pytest.raises(LabError, match="node: status 3 of: echo no; exit 3\nno"):
        node.run("echo no; exit 3")
    with pytest.raises(LabError, match="more than 0.2 s for: sleep 5"):
        node.run("sleep 5", seconds=0.2)


def test_all_commands_share_a_connection(here: Path) -> None:
    made(here).run("true")
    assert f"-o ControlPath={here}/%C -o ControlMaster=auto" in (here / "ssh.log").read_text()


def test_who_logs_in_as_another_becomes_root(here: Path) -> None:
    assert made(here, user="admin").run('echo "it is $((1 + 1))"') == b"as root\nit is 2\n"


def test_the_load_is_begun_when_its_files_are_there_and_waited_for(here: Path) -> None:
    made(here).start_load(965 << 20)
    names = [
        line.split()[0] if line.startswith(("python3", "prefer")) else next(word for word in line.split() if word.startswith("--unit=")) for line in told(here)
    ]
    assert names == ["prefer", "--unit=memqos-service", "--unit=memqos-scan", "--unit=memqos-hog", "--unit=memqos-burst", "python3"]
    assert told(here)[-1].startswith(f"python3 {here}/run/pressure.py wait --timeout")
    assert sorted(path.name for path in (here / "run").glob("*.py")) == ["pressure.py", "service.py", "window.py"]
    assert all((here / "run" / path.name).read_bytes() == path.read_bytes() for path in guest.PROGRAMS)


def test_a_load_that_does_not_begin_is_an_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "START_SECONDS", 1)
    (here / "bin" / "systemd-run").write_text("#!/bin/sh\n")
    with pytest.raises(LabError, match="status 1 of: n=0; until"):
        made(here).start_load(965 << 20)


def test_a_window_names_what_is_measured(here: Path) -> None:
    (here / "bin" / "python3").write_text('#!/bin/sh\necho "{\\"argv\\": \\"$*\\"}"\n')
    argv = made(here).window(7.5)["argv"].split()
    assert argv[:2] == [f"{here}/run/window.py", "--seconds=7.5"] and argv[-1] == f"--requests={here}/run/requests"
    assert argv[2:4] == ["--cgroup=latency.slice/memqos-service.service", "--cgroup=batch.slice"]


def test_a_playbook_is_run_as_by_an_operator(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_FORKS", "7")
    (here / "bin" / "ansible-playbook").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{here}/argv\nenv >{here}/env\necho said; exit 2\n')
    node = made(here)
    assert node.play("tune", {"memqos_profile": ["a"]}, more="--diff -e 'x=1 2'") == 2
    argv = (here / "argv").read_text().splitlines()
    assert argv == ["memqos.fleet.tune", "-i", f"{here}/inventory.json", "-e", '{"memqos_profile": ["a"]}', "--diff", "-e", "x=1 2"]
    environment = (here / "env").read_text()
    assert "ANSIBLE_PIPELINING=True" in environment and "ANSIBLE_FORKS=7" in environment and f"-o ControlPath={here}/%C" in environment
    assert node.log_end().endswith("\nsaid")


def test_the_inventory_has_how_to_log_in(here: Path) -> None:
    made(here, user="admin", identity_file=None)
    hosts = json.loads((here / "inventory.json").read_text())["all"]["hosts"]
    assert hosts == {"node": {"ansible_host": "127.0.0.1", "ansible_port": 2222, "ansible_user": "admin", "ansible_become": True}}
    made(here)
    host = json.loads((here / "inventory.json").read_text())["all"]["hosts"]["node"]
    assert host["ansible_ssh_private_key_file"] == "/key" and host["ansible_become"] is False


def test_without_ansible_it_says_how(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LabError, match="make lab"):
        made(here).play("tune", {})
