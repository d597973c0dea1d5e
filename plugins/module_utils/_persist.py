# SPDX-License-Identifier: BSD-2-Clause

"""The files of ours that make values last: what stands in them. Pure. The same wishes make the same text, whenever they are made."""

from __future__ import annotations

import re
import typing as t

from ._read import _persisted, _unit_state

HEADER = "# Made by memqos.fleet, which writes it anew at each run: change the profile instead. The playbook memqos.fleet.rollback takes it back."
TMPFILES = "/etc/tmpfiles.d/00-memqos.conf"
LATE_TMPFILES = "/etc/tmpfiles.d/00-memqos-late.conf"
LATE_UNIT = "/etc/systemd/system/memqos-late.service"
LATE_WANTS = "/etc/systemd/system/multi-user.target.d/zz-memqos.conf"
DROP_IN = "zz-memqos.conf"
ASIDE = "# set aside by memqos.fleet: "
# What set-property makes.
RUN_TIME = re.compile(r"/run/systemd/system\.control/([^/]+)\.d/50-([A-Za-z]+)\.conf")
# Started, the slice of somebody who is not logged in would stay.
_OF_USERS = re.compile(r"user-[0-9]+\.slice")


def sysctl_path(name: str) -> str:
    return f"/etc/sysctl.d/{name}"


def hidden_paths(name: str) -> list[str]:
    """Files that a file of this name in /etc/sysctl.d hides."""
    return [f"{root}/sysctl.d/{name}" for root in ("/run", "/usr/local/lib", "/usr/lib", "/lib")]


def drop_in_path(subject: str) -> str:
    return f"/etc/systemd/system/{subject}.d/{DROP_IN}"


def run_time_path(unit: str, name: str) -> str:
    """As unit_write_setting() of systemd names a property's drop-in: by what D-Bus calls it (measured on 257)."""
    return f"/run/systemd/system.control/{unit}.d/50-{_unit_state.shown_name(name)}.conf"


def run_time_part(path: str) -> t.Optional[t.Tuple[str, str]]:
    """(unit, property) of such a drop-in; None for any other path."""
    match = RUN_TIME.fullmatch(path)
    return (match.group(1), _unit_state.written_name(match.group(2))) if match else None


def is_drop_in(path: str) -> bool:
    """Of a unit that a profile names."""
    return path.startswith("/etc/systemd/system/") and path.endswith(f".d/{DROP_IN}") and path != LATE_WANTS


def is_ours(text: str | None) -> bool:
    """Absent, or made by us."""
    return text is None or text.startswith(HEADER)


def sysctl_text(values: t.Mapping[str, str]) -> str | None:
    """systemd-sysctl writes them in this order, procps too. None: no such file."""
    return _text([f"{name} = {value}" for name, value in sorted(values.items())])


def tmpfiles_text(lines: t.Iterable[tuple[str, str]]) -> str | None:
    """Pairs of path and value, written in this order. To C(w) a path is a glob(7), in which a backslash of a unit's name is two (C(pattern))."""
    return _text([f"w {_escaped(path)} - - - - {_escaped(value)}" for path, value in lines])


def tmpfiles_lines(text: str | None) -> dict[str, str]:
    """What C(tmpfiles_text) made a text of."""
    lines = _persisted.parse_tmpfiles((text or "").encode("utf-8", "surrogateescape"))
    return {path: value for unused, kind, path, value in lines if kind == "w"}


def pattern(path: str) -> str:
    """A plain path as a glob."""
    return path.replace("\\", "\\\\")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "%%")


def drop_in_text(subject: str, properties: t.Mapping[str, str]) -> str | None:
    section = subject.rpartition(".")[2].capitalize()
    return _text([f"[{section}]", *(f"{name}={value}" for name, value in sorted(properties.items()))] if properties else [])


def drop_in_lines(text: str | None) -> dict[str, str]:
    """What C(drop_in_text) made a text of."""
    pairs = (line.partition("=") for line in (text or "").splitlines() if "=" in line and not line.startswith("#"))
    return {name: value for name, unused, value in pairs}


def late_files(lines: t.Sequence[tuple[str, str]], program: str) -> dict[str, str | None]:
    """A unit that writes what is not there when systemd-tmpfiles runs: devices that a service makes (zram), files in the cgroups of units.

    C(program): the node's systemd-tmpfiles. Enabled by a drop-in and not by a link, which could not be written and restored as a file.
    """
    if not lines:
        return dict.fromkeys((LATE_TMPFILES, LATE_UNIT, LATE_WANTS))
    directories = [path.rpartition("/")[0].rpartition("/")[2].replace("\\\\", "\\") for path, unused in lines]
    units = dict.fromkeys(name for name in directories if name.endswith((".slice", ".service", ".scope")) and "*" not in name)
    slices = [unit for unit in units if unit.endswith(".slice") and not _OF_USERS.fullmatch(unit)]
    after = ["local-fs.target", "swap.target", "basic.target", "systemd-tmpfiles-setup.service", "zramswap.service", "systemd-zram-setup@zram0.service", *units]
    unit = ["[Unit]", "Description=Memory settings whose files appear late (memqos.fleet)"]
    # No target waits for it then, and so no unit that comes after multi-user.target makes a circle with it.
    unit += ["DefaultDependencies=no", "Conflicts=shutdown.target", "Before=shutdown.target", f"After={' '.join(after)}"]
    if slices:
        # A slice without units has no cgroup.
        unit.append(f"Wants={' '.join(slices)}")
    unit += ["", "[Service]", "Type=oneshot", f"ExecStart={program} --create {LATE_TMPFILES}"]
    return {
        LATE_TMPFILES: tmpfiles_text(lines),
        LATE_UNIT: _text(unit),
        LATE_WANTS: _text(["[Unit]", "Wants=memqos-late.service"]),
    }


def aside_target(path: str, real: str) -> str:
    """Where a file of somebody else is edited, or hidden by a copy; empty where neither can be. C(real): behind its links."""
    directory, unused, name = path.rpartition("/")
    if real.startswith(("/etc/sysctl.d/", "/etc/tmpfiles.d/")) or real == "/etc/sysctl.conf":
        return real
    return "" if directory.startswith("/etc/") else f"/etc/{directory.rpartition('/')[2]}/{name}"


def disabled_line(text: str, number: int) -> str:
    """A file of somebody else with line C(number) (from 1) made a comment."""
    lines = text.split("\n")
    lines[number - 1] = f"{ASIDE}{lines[number - 1]}"
    return "\n".join(lines)


def given_back(text: str, is_wanted: t.Callable[[str], bool]) -> str:
    """With the lines as they were that nobody wants aside any more."""
    lines = [line[len(ASIDE) :] if line.startswith(ASIDE) and not is_wanted(line[len(ASIDE) :]) else line for line in text.split("\n")]
    return "\n".join(lines)


def set_aside_as(text: str, model: str | None) -> str:
    """With the lines set aside that are so in C(model), and no others; whatever else somebody has written there stays."""
    aside = {line for line in (model or "").split("\n") if line.startswith(ASIDE)}
    lines = [line if line.startswith(ASIDE) or ASIDE + line not in aside else ASIDE + line for line in text.split("\n")]
    return given_back("\n".join(lines), lambda line: ASIDE + line in aside)


def _text(lines: t.Sequence[str]) -> str | None:
    return "\n".join([HEADER, *lines, ""]) if lines else None
