# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of ours, as systemd's own readers understand them; and files of others with lines set aside."""

from __future__ import annotations

import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.memqos.fleet.plugins.module_utils import _persist
from ansible_collections.memqos.fleet.plugins.module_utils._read import _persisted, _systemd


def test_no_lines_no_file() -> None:
    assert (_persist.sysctl_text({}), _persist.tmpfiles_text([]), _persist.drop_in_text("a.slice", {})) == (None, None, None)
    assert set(_persist.late_files([], "x").values()) == {None}


def test_lines_of_sysctl_d_do_not_depend_on_the_order_of_wishes() -> None:
    text = _persist.sysctl_text({"vm.swappiness": "10", "vm.dirty_bytes": "5"})
    assert text == f"{_persist.HEADER}\nvm.dirty_bytes = 5\nvm.swappiness = 10\n"
    assert text == _persist.sysctl_text({"vm.dirty_bytes": "5", "vm.swappiness": "10"})


def test_the_header_is_a_comment_in_each_format() -> None:
    data = f"{_persist.HEADER}\n".encode()
    assert (_persisted.parse_sysctl(data), _persisted.parse_tmpfiles(data), _systemd.parse_drop_in(data)) == ([], [], {})
    assert _persist.HEADER.startswith("#") and "\n" not in _persist.HEADER


VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).filter(lambda text: text != "-")


@given(st.lists(st.tuples(st.from_regex(r"/sys/[a-z/\\]{1,20}[a-z]", fullmatch=True).filter(lambda path: "//" not in path), VALUES), min_size=1, max_size=4))
def test_lines_of_tmpfiles_d_are_read_as_they_were_meant(lines: t.List[t.Tuple[str, str]]) -> None:
    text = _persist.tmpfiles_text(lines) or ""
    assert [(path, value) for unused, kind, path, value in _persisted.parse_tmpfiles(text.encode()) if kind == "w"] == lines
    assert _persist.tmpfiles_lines(text) == dict(lines)


def program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def test_systemd_tmpfiles_finds_the_cgroups_whatever_their_names(tmp_path: Path) -> None:
    tmpfiles = program("systemd-tmpfiles")
    names = ["system-a\\x2db.slice", "user-1.slice", "user-2.slice", "a%i@b\\x2dc.service"]
    for name in names:
        (tmp_path / "x" / name).mkdir(parents=True)
        (tmp_path / "x" / name / "f").write_text("----", encoding="ascii")
    lines = [
        ("/x/user-*.slice/f", "7"),
        *((f"/x/{_persist.pattern(name)}/f", value) for name, value in zip((names[0], names[2], names[3]), ("1", "8", r"\%i"))),
    ]
    file = tmp_path / "late.conf"
    file.write_text(_persist.tmpfiles_text(lines) or "", encoding="ascii")
    subprocess.run([tmpfiles, "--create", f"--root={tmp_path}", str(file)], capture_output=True, check=False)
    found = [(tmp_path / "x" / name / "f").read_text(encoding="ascii").rstrip("-") for name in names]
    assert found == ["1", "7", "8", r"\%i"]


def test_lines_of_a_drop_in_are_read_as_they_were_meant() -> None:
    wanted = {"MemoryHigh": "5", "MemoryMax": "infinity"}
    assert _persist.drop_in_lines(_persist.drop_in_text("a.slice", wanted)) == wanted
    assert _persist.drop_in_lines(None) == {}


@pytest.mark.parametrize("subject, section", [("batch.slice", "[Slice]"), ("app@.service", "[Service]"), ("x.scope", "[Scope]")])
def test_a_drop_in_has_the_section_of_its_unit(subject: str, section: str) -> None:
    text = _persist.drop_in_text(subject, {"MemoryMax": "infinity", "MemoryHigh": "5"})
    assert text == f"{_persist.HEADER}\n{section}\nMemoryHigh=5\nMemoryMax=infinity\n"
    assert _persist.is_drop_in(_persist.drop_in_path(subject))


@pytest.mark.parametrize("path", [_persist.LATE_WANTS, _persist.LATE_UNIT, _persist.TMPFILES, "/etc/systemd/system/batch.slice.d/50-x.conf"])
def test_no_drop_in_of_a_profile(path: str) -> None:
    assert not _persist.is_drop_in(path)


def test_the_late_unit_waits_for_the_units_whose_files_it_writes() -> None:
    lines = [
        ("/sys/block/zram0/disksize", "1"),
        ("/sys/fs/cgroup/a.slice/a-b.slice/memory.wmark_ratio", "95"),
        ("/sys/fs/cgroup/a.slice/a-b.slice/memory.priority", "1"),
        ("/sys/fs/cgroup/system.slice/c.service/memory.wmark_ratio", "90"),
        (r"/sys/fs/cgroup/system.slice/system-a\\x2db.slice/memory.wmark_ratio", "90"),
        ("/sys/fs/cgroup/user.slice/user-*.slice/memory.wmark_ratio", "90"),
        ("/sys/fs/cgroup/user.slice/user-1000.slice/memory.wmark_ratio", "80"),
    ]
    files = _persist.late_files(lines, "/bin/systemd-tmpfiles")
    unit = (files[_persist.LATE_UNIT] or "").splitlines()
    after = next(line for line in unit if line.startswith("After="))
    assert after.endswith(r" systemd-zram-setup@zram0.service a-b.slice c.service system-a\x2db.slice user-1000.slice")
    # What it had by default, but for the order among targets.
    assert "basic.target" in after.split() and {"DefaultDependencies=no", "Conflicts=shutdown.target", "Before=shutdown.target"} <= set(unit)
    # A service starts when somebody wants it; a slice without units has no cgroup to write to. Nobody is logged in at boot.
    assert r"Wants=a-b.slice system-a\x2db.slice" in unit
    assert f"ExecStart=/bin/systemd-tmpfiles --create {_persist.LATE_TMPFILES}" in unit
    assert list(_persist.tmpfiles_lines(files[_persist.LATE_TMPFILES])) == [path for path, unused in lines]
    assert (files[_persist.LATE_WANTS] or "").splitlines()[1:] == ["[Unit]", "Wants=memqos-late.service"]


APP = "[Unit]\nAfter=multi-user.target\n[Service]\nExecStart=/bin/true\n"
BOOT = ("sysinit.target", "basic.target", "shutdown.target", "local-fs.target", "swap.target", "system.slice", "-.slice")


def verify(root: Path, files: t.Mapping[str, t.Optional[str]]) -> str:
    """What systemd says of a boot of a node with these files: with a service that comes after the boot, and is wanted by it."""
    analyze = program("systemd-analyze")
    units = root / "etc/systemd/system"
    boot = {**dict.fromkeys(BOOT, "[Unit]\nDefaultDependencies=no\n"), "app.service": APP, "multi-user.target": "[Unit]\nWants=app.service\n"}
    texts = {**{str(units / name): text for name, text in boot.items()}, **{f"{root}{path}": text or "" for path, text in files.items()}}
    for path, text in {**texts, f"{root}/bin/true": ""}.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    Path(f"{root}/bin/true").chmod(0o755)
    done = subprocess.run([analyze, "verify", f"--root={root}", "--man=no", str(units / "multi-user.target")], capture_output=True, text=True, check=False)
    return done.stderr


def test_a_service_that_comes_after_the_boot_makes_no_circle_with_the_late_unit(tmp_path: Path) -> None:
    files = _persist.late_files([("/sys/fs/cgroup/system.slice/app.service/memory.wmark_ratio", "90")], "/bin/true")
    assert "After=local-fs.target" in (files[_persist.LATE_UNIT] or "") and "app.service" in (files[_persist.LATE_UNIT] or "")
    assert verify(tmp_path / "ours", files) == ""
    # As it was, systemd left one of the two out.
    naive = (files[_persist.LATE_UNIT] or "").replace("DefaultDependencies=no\n", "")
    assert "ordering cycle" in verify(tmp_path / "naive", {**files, _persist.LATE_UNIT: naive})


@pytest.mark.parametrize("text, ours", [(None, True), (f"{_persist.HEADER}\nx", True), ("", False), ("# by hand\n", False), (f"\n{_persist.HEADER}", False)])
def test_what_is_ours(text: t.Optional[str], ours: bool) -> None:
    assert _persist.is_ours(text) is ours


@pytest.mark.parametrize(
    "path, real, target",
    [
        ("/etc/sysctl.d/a.conf", "/etc/sysctl.d/a.conf", "/etc/sysctl.d/a.conf"),
        ("/etc/sysctl.d/99-sysctl.conf", "/etc/sysctl.conf", "/etc/sysctl.conf"),
        ("/etc/sysctl.conf", "/etc/sysctl.conf", "/etc/sysctl.conf"),
        ("/etc/sysctl.d/a.conf", "/etc/tmpfiles.d/b.conf", "/etc/tmpfiles.d/b.conf"),
        ("/usr/lib/sysctl.d/a.conf", "/usr/lib/sysctl.d/a.conf", "/etc/sysctl.d/a.conf"),
        ("/run/tmpfiles.d/a.conf", "/run/tmpfiles.d/a.conf", "/etc/tmpfiles.d/a.conf"),
        ("/usr/lib/sysctl.d/a.conf", "/usr/share/b.conf", "/etc/sysctl.d/a.conf"),
        # A link in /etc cannot be restored as a file, and what it leads to is not ours to write.
        ("/etc/sysctl.d/a.conf", "/srv/b.conf", ""),
        ("/etc/sysctl.d/a.conf", "/etc/mine/b.conf", ""),
    ],
)
def test_where_a_file_of_others_is_set_aside(path: str, real: str, target: str) -> None:
    assert _persist.aside_target(path, real) == target


TEXT = "# theirs\nvm.swappiness = 99\n\nvm.page-cluster = 1"


def test_a_line_that_is_set_aside_is_a_comment_and_comes_back() -> None:
    aside = _persist.disabled_line(_persist.disabled_line(TEXT, 2), 4)
    assert aside == f"# theirs\n{_persist.ASIDE}vm.swappiness = 99\n\n{_persist.ASIDE}vm.page-cluster = 1"
    assert _persisted.parse_sysctl(aside.encode()) == []
    assert _persist.given_back(aside, lambda line: True) == aside
    assert _persist.given_back(aside, lambda line: "swappiness" in line) == _persist.disabled_line(TEXT, 2)
    assert _persist.given_back(aside, lambda line: False) == TEXT


@given(st.text(), st.data())
def test_whatever_a_file_holds_it_comes_back(text: str, data: st.DataObject) -> None:
    number = data.draw(st.integers(1, text.count("\n") + 1))
    if _persist.ASIDE not in text:
        assert _persist.given_back(_persist.disabled_line(text, number), lambda line: False) == text
