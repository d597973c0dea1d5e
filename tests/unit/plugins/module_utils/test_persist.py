# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of ours, as systemd's own readers understand them; and files of others with lines set aside."""

from __future__ import annotations

import typing as t

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


@given(st.lists(st.tuples(st.from_regex(r"/sys/[a-z/]{1,20}[a-z]", fullmatch=True).filter(lambda path: "//" not in path), VALUES), min_size=1, max_size=4))
def test_lines_of_tmpfiles_d_are_read_as_they_were_meant(lines: t.List[t.Tuple[str, str]]) -> None:
    text = _persist.tmpfiles_text(lines) or ""
    assert [(path, value) for unused, kind, path, value in _persisted.parse_tmpfiles(text.encode()) if kind == "w"] == lines


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
    ]
    files = _persist.late_files(lines, "/bin/systemd-tmpfiles")
    unit = (files[_persist.LATE_UNIT] or "").splitlines()
    after = next(line for line in unit if line.startswith("After="))
    assert after.endswith(" systemd-zram-setup@zram0.service a-b.slice c.service")
    # A service starts when somebody wants it; a slice without units has no cgroup to write to.
    assert "Wants=a-b.slice" in unit
    assert f"ExecStart=/bin/systemd-tmpfiles --create {_persist.LATE_TMPFILES}" in unit
    assert [line.split()[1] for line in (files[_persist.LATE_TMPFILES] or "").splitlines()[1:]] == [path for path, unused in lines]
    assert (files[_persist.LATE_WANTS] or "").splitlines()[1:] == ["[Unit]", "Wants=memqos-late.service"]


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
