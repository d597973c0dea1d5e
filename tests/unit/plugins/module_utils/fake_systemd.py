# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The systemd of a node in a directory: what C(systemctl) answers and does, as measured on 252 and 257."""

from __future__ import annotations

import fnmatch
import os
import typing as t
from pathlib import Path

from ansible_collections.memqos.fleet.plugins.module_utils._read import _unit_state
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Unreadable

# property: what it is without a setting, the first version, whether set-property takes it, the types of unit that have it
_PROPERTIES: t.Dict[str, t.Tuple[str, int, bool, str]] = {
    "MemoryMin": ("0", 240, True, ""),
    "MemoryLow": ("0", 231, True, ""),
    "MemoryHigh": ("infinity", 231, True, ""),
    "MemoryMax": ("infinity", 231, True, ""),
    "MemorySwapMax": ("infinity", 232, True, ""),
    "MemoryZSwapMax": ("infinity", 253, True, ""),
    "DefaultMemoryMin": ("0", 242, True, ""),
    "StartupMemoryMax": ("infinity", 254, True, ""),
    "MemoryZSwapWriteback": ("yes", 256, True, ""),
    "ManagedOOMSwap": ("auto", 247, True, ""),
    "ManagedOOMMemoryPressure": ("auto", 247, True, ""),
    "ManagedOOMMemoryPressureLimit": ("0", 248, True, ""),
    "ManagedOOMMemoryPressureDurationUSec": ("[not set]", 257, True, ""),
    "ManagedOOMPreference": ("none", 248, True, ""),
    "MemoryPressureWatch": ("auto", 254, False, ""),
    "MemoryPressureThresholdUSec": ("200ms", 254, False, ""),
    "OOMScoreAdjust": ("0", 208, False, "service"),
    "OOMPolicy": ("stop", 243, False, "service"),
}
_V2 = {
    "MemoryMin": "memory.min", "MemoryLow": "memory.low", "MemoryHigh": "memory.high", "MemoryMax": "memory.max", "MemorySwapMax": "memory.swap.max",
    "MemoryZSwapMax": "memory.zswap.max", "MemoryZSwapWriteback": "memory.zswap.writeback",
}  # fmt: skip
_V1 = {"MemoryMax": "memory.limit_in_bytes"}
_ROOTS = ("/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient", "/etc/systemd/system", "/run/systemd/system",
          "/usr/lib/systemd/system")  # fmt: skip
_SUFFIXES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

Write = t.Callable[[str, str], None]


class Systemd:
    """C(running): {unit: its cgroup}; C(aliases): {name: unit}; C(write): into a kernel file, as the kernel takes it."""

    def __init__(self, root: str, write: Write, *, version: int = 257, hierarchy: int = 2) -> None:
        self.root, self.write, self.version, self.hierarchy = root, write, version, hierarchy
        self.mount = "/sys/fs/cgroup" if hierarchy == 2 else "/sys/fs/cgroup/memory"
        self.running: t.Dict[str, str] = {}
        self.aliases: t.Dict[str, str] = {}
        self._held: t.Dict[str, t.Dict[str, str]] = {}
        self._loaded: t.Dict[str, t.List[t.Tuple[str, str]]] = {}

    def adopt(self, unit: str, cgroup: str) -> None:
        """It runs, and the kernel has what it has."""
        self.running[unit] = cgroup
        self._load(unit)

    def start(self, unit: str, cgroup: str) -> None:
        """With the values that stand in its files."""
        self.adopt(unit, cgroup)
        self._realize(unit)

    def _load(self, unit: str) -> None:
        self._held[unit], self._loaded[unit] = self._read(unit), self._files(unit)

    def stop(self, unit: str) -> None:
        del self.running[unit], self._held[unit]

    def answer(self, argv: t.Sequence[str]) -> str:
        verb, words = argv[1], list(argv[argv.index("--") + 1 :] if "--" in argv else ())
        if verb == "--version":
            return f"systemd {self.version} ({self.version}.8-1)\n+PAM +AUDIT\n"
        if verb == "show":
            (asked,) = (word[11:].split(",") for word in argv if word.startswith("--property="))
            return "\n".join(self._shown(unit, asked) for name in words for unit in self._units(name))
        if verb == "set-property":
            self._set(words[0], words[1:])
        elif verb == "daemon-reload":
            self._reload()
        else:
            raise AssertionError(argv)
        return ""

    def _units(self, name: str) -> t.List[str]:
        if "*" in name:
            return sorted(unit for unit in self.running if fnmatch.fnmatchcase(unit, name))
        return [self.aliases.get(name, name)]

    def _names(self, unit: str) -> t.List[str]:
        return [unit, *(name for name, of in self.aliases.items() if of == unit)]

    def _shown(self, unit: str, asked: t.Sequence[str]) -> str:
        fragment = self._fragment(unit)
        active = unit in self.running
        there = active or bool(fragment) or unit.endswith(".slice")
        context = {
            "Id": unit,
            "Names": " ".join(self._names(unit)),
            "LoadState": "loaded" if there else "not-found",
            "ActiveState": "active" if active else "inactive",
            "ControlGroup": self.running.get(unit, ""),
            "FragmentPath": fragment,
            # After a set-property too (measured on 252).
            "NeedDaemonReload": "yes" if "NeedDaemonReload" in asked and active and self._files(unit) != self._loaded[unit] else "no",
            "Slice": self._slice(unit),
        }
        # A unit that nobody uses is read anew each time.
        values = self._held[unit] if active else self._read(unit)
        return "".join(f"{key}={value}\n" for key, value in {**values, **context}.items() if key in asked)

    def _slice(self, unit: str) -> str:
        stem, unused, kind = unit.rpartition(".")
        if kind == "slice":
            return f"{stem.rpartition('-')[0] or '-'}.slice"
        return f"system-{stem.partition('@')[0]}.slice" if "@" in stem else "system.slice"

    def _set(self, unit: str, pairs: t.Sequence[str]) -> None:
        for pair in pairs:
            word, unused, value = pair.partition("=")
            name = _unit_state.shown_name(word)
            if name not in self._known(unit) or not _PROPERTIES[name][2]:
                raise Unreadable("systemctl", "error", f"Cannot set property {word}, or unknown property.")
            path = Path(f"{self.root}/run/systemd/system.control/{unit}.d/50-{name}.conf")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"[{unit.rpartition('.')[2].capitalize()}]\n{pair}\n", encoding="utf-8")
            if unit in self.running:
                self._held[unit][name] = _value(name, value)
        if unit in self.running:
            self._realize(unit)

    def _reload(self) -> None:
        for unit in self.running:
            self._load(unit)
            if self.version < 253:
                self._realize(unit)

    def _realize(self, unit: str) -> None:
        """All of the unit's memory files, whichever property was set."""
        for name, file in (_V2 if self.hierarchy == 2 else _V1).items():
            path = f"{self.mount}{self.running[unit]}/{file}"
            if name in self._held[unit] and os.path.exists(self.root + path):
                value = self._held[unit][name]
                self.write(path, {"infinity": "max" if self.hierarchy == 2 else "-1", "yes": "1", "no": "0"}.get(value, value))

    def _known(self, unit: str) -> t.List[str]:
        kind = unit.rpartition(".")[2]
        return [name for name, (unused, first, unused_too, types) in _PROPERTIES.items() if first <= self.version and kind in (types or kind)]

    def _read(self, unit: str) -> t.Dict[str, str]:
        """Unit file, then drop-ins by file name; of one file name the first in the search path."""
        values = {name: _PROPERTIES[name][0] for name in self._known(unit)}
        for unused, text in self._files(unit):
            for line in text.splitlines():
                key, equals, word = line.partition("=")
                name = _unit_state.shown_name(key)
                if equals and name in values:
                    values[name] = _value(name, word)
        return values

    def _files(self, unit: str) -> t.List[t.Tuple[str, str]]:
        """Those that count, with their texts."""
        chosen: t.Dict[str, str] = {}
        directories = [name for one in self._names(unit) for name in _directories(one)]
        for root in _ROOTS:
            for directory in directories:
                for name in _listed(f"{self.root}{root}/{directory}.d"):
                    if name.endswith(".conf"):
                        chosen.setdefault(name, f"{self.root}{root}/{directory}.d/{name}")
        fragment = self._fragment(unit)
        paths = [*([self.root + fragment] if fragment else []), *(chosen[name] for name in sorted(chosen))]
        return [(path, Path(path).read_text(encoding="utf-8")) for path in paths]

    def _fragment(self, unit: str) -> str:
        names = [unit, f"{unit.partition('@')[0]}@.{unit.rpartition('.')[2]}"] if "@" in unit else [unit]
        paths = [f"{root}/{name}" for name in names for root in ("/etc/systemd/system", "/usr/lib/systemd/system")]
        return next((path for path in paths if os.path.isfile(self.root + path)), "")


def _listed(directory: str) -> t.List[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _directories(unit: str) -> t.List[str]:
    stem, unused, kind = unit.rpartition(".")
    names = [unit]
    if "@" in stem:
        names.append(f"{stem.partition('@')[0]}@.{kind}")
    parts = stem.partition("@")[0].split("-")
    return [*names, *(f"{'-'.join(parts[:count])}-.{kind}" for count in range(len(parts) - 1, 0, -1)), kind]


def _value(name: str, text: str) -> str:
    """As C(systemctl show) prints it."""
    if not text:
        return _PROPERTIES[name][0]
    if text.endswith("%"):
        return str(int(text[:-1]) * ((1 << 32) - 1) // 100)
    if text[-1] in _SUFFIXES and text[:-1].isdigit():
        return str(int(text[:-1]) * _SUFFIXES[text[-1]])
    return {"true": "yes", "on": "yes", "1": "yes", "false": "no", "off": "no"}.get(text, text) if name == "MemoryZSwapWriteback" else text
