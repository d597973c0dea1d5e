# SPDX-License-Identifier: BSD-2-Clause

"""systemd's view: memory properties of units, and the drop-in files that set them."""

from __future__ import annotations

import re
import typing as t

from ._files import Tree, Unreadable, display

if t.TYPE_CHECKING:
    from ...plugin_utils._shapes import DropIn

_PROPERTIES = (
    "MemoryMin MemoryLow DefaultMemoryMin DefaultMemoryLow MemoryHigh MemoryMax MemorySwapMax MemoryZSwapMax MemoryLimit OOMScoreAdjust OOMPolicy "
    "ManagedOOMSwap ManagedOOMMemoryPressure ManagedOOMMemoryPressureLimit ManagedOOMPreference"
).split()
# Told of a unit that has one of the above.
_CONTEXT = "ControlGroup Slice FragmentPath DropInPaths EffectiveMemoryMax EffectiveMemoryHigh MemoryAccounting NeedDaemonReload".split()
# What units have anyway.
_USUAL = {
    **dict.fromkeys(("MemoryMin", "MemoryLow", "DefaultMemoryMin", "DefaultMemoryLow", "OOMScoreAdjust", "ManagedOOMMemoryPressureLimit"), ("0",)),
    **dict.fromkeys(("ManagedOOMSwap", "ManagedOOMMemoryPressure"), ("auto",)),
    "ManagedOOMPreference": ("none",), "OOMPolicy": ("stop", "continue"), "MemoryAccounting": ("yes",), "NeedDaemonReload": ("no",),
}  # fmt: skip
_UNSET = ("", "[not set]", "infinity", "18446744073709551615")
_SHOW = ("systemctl", "show", "--no-pager", "--property=Id," + ",".join((*_PROPERTIES, *_CONTEXT)), "*.slice", "*.service", "*.scope")

# systemd.unit(5), highest first, without generators and transient units.
SEARCH_PATH = ("/etc/systemd/system.control", "/run/systemd/system.control", "/etc/systemd/system", "/run/systemd/system",
               "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")  # fmt: skip
_UNIT_TYPES = ("slice", "service", "scope")
# Not MemoryDenyWriteExecute and MemoryKSM, which many services have.
_DIRECTIVE = re.compile(
    r"\s*((?:Default)?(?:Startup)?Memory(?:Min|Low|High|Max|SwapMax|ZSwapMax|ZSwapWriteback|Limit|Accounting|PressureWatch|PressureThresholdSec)"
    r"|ManagedOOM[A-Za-z]+|OOM[A-Za-z]+)\s*=\s*(.*?)\s*"
)
_MAX_DROP_IN = 256 * 1024


def read_version(tree: Tree) -> int:
    """Raises Unreadable: kind absent without systemd."""
    # Root needs no program.
    running = re.search(rb"/libsystemd-shared-([0-9]{1,5})", tree.read_or_empty("/proc/1/maps"))
    if running:
        return int(running.group(1))
    version = parse_version(tree.output("systemctl-version", ["systemctl", "--version"]))
    if version is None:
        raise Unreadable("systemctl --version", "malformed", "no version in it")
    return version


def parse_version(text: str) -> int | None:
    match = re.match(r"systemd ([0-9]{1,5})", text)
    return int(match.group(1)) if match else None


def read_units(tree: Tree) -> dict[str, t.Any]:
    """C({shown: {unit: {property: value}}, drop_ins: [DropIn]}); the controller joins them (_unit_drop_ins). Raises Unreadable."""
    return {"shown": parse_show(tree.output("systemctl-show", _SHOW)), "drop_ins": read_drop_ins(tree)}


def parse_show(text: str) -> dict[str, dict[str, str]]:
    units: dict[str, dict[str, str]] = {}
    for block in re.split(r"\n\s*\n", text):
        shown = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        unit = shown.get("Id")
        own = _set_ones(shown, _PROPERTIES)
        if unit and own:
            units[unit] = {**own, **_set_ones(shown, _CONTEXT)}
    return units


def _set_ones(shown: dict[str, str], wanted: list[str]) -> dict[str, str]:
    return {name: shown[name] for name in wanted if shown.get(name, "") not in (*_UNSET, *_USUAL.get(name, ()))}


def read_drop_ins(tree: Tree) -> list[DropIn]:
    """All drop-ins with memory lines, or a name that has some, in the order in which systemd applies them: the file name's (conf-files.c).

    Of one name for one unit only the first in the search path counts, even if empty. Never raises.
    """
    found: dict[tuple[str, str], DropIn] = {}
    for place in SEARCH_PATH:
        for directory in tree.names_or_empty(place):
            unit = directory[:-2]
            if directory.endswith(".d") and unit.rpartition(".")[2] in _UNIT_TYPES:
                for name in tree.names_or_empty(f"{place}/{directory}"):
                    if name.endswith(".conf") and (unit, name) not in found:
                        path = f"{place}/{directory}/{name}"
                        found[unit, name] = {"path": path, "unit": unit, "lines": parse_drop_in(tree.read_or_empty(path, limit=_MAX_DROP_IN))}
    names = {name for (unit, name), drop_in in found.items() if drop_in["lines"]}
    return [found[key] for key in sorted(found, key=lambda key: key[::-1]) if key[1] in names]


def parse_drop_in(data: bytes) -> dict[str, str]:
    text = display(data).replace("\\\n", " ")
    matches = (_DIRECTIVE.fullmatch(line) for line in text.split("\n"))
    return {match.group(1): match.group(2) for match in matches if match}
