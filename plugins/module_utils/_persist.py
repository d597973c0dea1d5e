# Copyright (c) 2026, memqos.fleet contributors. Private to the collection.
# SPDX-License-Identifier: BSD-2-Clause

"""The files of ours that make values last: what stands in them. Pure. The same wishes make the same text, whenever they are made."""

from __future__ import annotations

import typing as t

HEADER = "# Made by memqos.fleet, which writes it anew at each run: change the profile instead. The playbook memqos.fleet.rollback takes it back."
TMPFILES = "/etc/tmpfiles.d/00-memqos.conf"
LATE_TMPFILES = "/etc/tmpfiles.d/00-memqos-late.conf"
LATE_UNIT = "/etc/systemd/system/memqos-late.service"
LATE_WANTS = "/etc/systemd/system/multi-user.target.d/zz-memqos.conf"
DROP_IN = "zz-memqos.conf"
ASIDE = "# set aside by memqos.fleet: "


def sysctl_path(name: str) -> str:
    return f"/etc/sysctl.d/{name}"


def drop_in_path(subject: str) -> str:
    return f"/etc/systemd/system/{subject}.d/{DROP_IN}"


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
    """Pairs of path and value, written in this order."""
    return _text([f"w {path} - - - - {value.replace(chr(92), chr(92) * 2).replace('%', '%%')}" for path, value in lines])


def drop_in_text(subject: str, properties: t.Mapping[str, str]) -> str | None:
    section = subject.rpartition(".")[2].capitalize()
    return _text([f"[{section}]", *(f"{name}={value}" for name, value in sorted(properties.items()))] if properties else [])


def late_files(lines: t.Sequence[tuple[str, str]], program: str) -> dict[str, str | None]:
    """A unit that writes what is not there when systemd-tmpfiles runs: devices that a service makes (zram), files in the cgroups of units.

    C(program): the node's systemd-tmpfiles. Enabled by a drop-in and not by a link, which could not be written and restored as a file.
    """
    if not lines:
        return dict.fromkeys((LATE_TMPFILES, LATE_UNIT, LATE_WANTS))
    directories = [path.rpartition("/")[0].rpartition("/")[2] for path, unused in lines]
    units = dict.fromkeys(name for name in directories if name.endswith((".slice", ".service", ".scope")))
    slices = [unit for unit in units if unit.endswith(".slice")]
    after = ["local-fs.target", "swap.target", "systemd-tmpfiles-setup.service", "zramswap.service", "systemd-zram-setup@zram0.service", *units]
    unit = ["[Unit]", "Description=Memory settings whose files appear late (memqos.fleet)", f"After={' '.join(after)}"]
    if slices:
        # A slice without units has no cgroup.
        unit.append(f"Wants={' '.join(slices)}")
    unit += ["", "[Service]", "Type=oneshot", "RemainAfterExit=yes", f"ExecStart={program} --create {LATE_TMPFILES}"]
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
