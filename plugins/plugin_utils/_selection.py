# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""C(selection.yml): findings → what a tune would do about them, host by host, for an operator to edit; and what of it a tune reads.

A rule says by C(cure.apply) what to set, in the grammar of profiles, or C({observed: NAME}), a figure of the finding. What has none is left to people.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import types
import typing as t
from dataclasses import dataclass, field, replace

import yaml

from ansible_collections.memqos.fleet.plugins.module_utils import _wanted
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _texts
from ansible_collections.memqos.fleet.plugins.plugin_utils import _profiles
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import SEVERITIES, is_number, severity_of, visible
from ansible_collections.memqos.fleet.plugins.plugin_utils._results import Json, replacing
from ansible_collections.memqos.fleet.plugins.plugin_utils._yaml_source import Place, Problem, is_a, mapping, read_text, text

SCHEMA_VERSION = 1
_HEAD = """\
# What the audit would have a tune do. It is yours to edit: what you delete is not done, what you change is done as you say.
#   settings, units  what is set, in the grammar of profiles: docs/profiles.md
#   pods             named only: what a container runtime made is not set from here
#   because          the findings behind it; by_hand: what no setting cures
# See what it would change, then do it:
#   ansible-playbook memqos.fleet.tune -i INVENTORY -e memqos_selection={path} --check --diff
#   ansible-playbook memqos.fleet.tune -i INVENTORY -e memqos_selection={path}
"""
_UNITS = ("slice", "service", "scope")
_PODS = ("pod", "container")
# Ten thousand hosts with a screen of YAML each.
_MAX_BYTES = 64 * 1024 * 1024
_KEYS = ("schema_version", "run_id", "generated_at", "hosts")
_HOST_KEYS = ("settings", "units", "pods", "because", "by_hand")
_BECAUSE_KEYS = ("rule", "subject", "title", "sets")
_HOSTS = re.compile(r"^hosts: *\n", re.MULTILINE)
_OUTER = re.compile(r"^ ?[^\s#]", re.MULTILINE)
_FIRST = re.compile(r"^ *[^\s#]", re.MULTILINE)
_HOST = re.compile(r"^  (?=[^\s#])(.*)$\n?", re.MULTILINE)
_HOST_KEY = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*):|'([^'\n]*)':")
_ANY_UNIT = "any.scope"
# The figure of a cgroup that a property is; where the cgroup is not among those told, what systemd says.
_FIGURES = {"MemoryHigh": "high", "MemoryMax": "limit", "MemoryLow": "low", "MemoryMin": "min", "MemorySwapMax": "swap_limit"}
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class Unusable(Exception):
    """Why an entry of a cure cannot be set; for people."""


class Idle(Unusable):
    """What the node has now is what the entry would make of it, so it is not what cures the finding."""


class SelectionReport:
    """A context manager: C(add) each result, then C(finish); the file takes its place when the block ends. Raises ResultError."""

    def __init__(self, path: str, *, rules: t.Mapping[str, Json], run_id: str, generated_at: str) -> None:
        self._file = replacing(path)
        self._head = _HEAD.format(path=shlex.quote(visible(path)))
        self._about = {"schema_version": SCHEMA_VERSION, "run_id": run_id, "generated_at": generated_at}
        self._rules = rules
        self._empty = True

    def __enter__(self) -> SelectionReport:
        self._stream = self._file.__enter__()
        self._stream.write(f"{self._head}{_dump(self._about)}")
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: types.TracebackType | None) -> bool | None:
        return self._file.__exit__(kind, value, trace)

    def add(self, result: Json, host: object = None) -> None:
        selected = select(result, self._rules)
        if selected:
            self._stream.write("hosts:\n" if self._empty else "")
            self._empty = False
            self._stream.writelines(f"  {line}" for line in _dump({result["host"]: selected}).splitlines(keepends=True))

    def finish(self, fleet: object = None) -> None:
        if self._empty:
            self._stream.write("hosts: {}\n")


@dataclass
class _Setting:
    """One knob of one place, the finding that set it first, which is the worst, and how it is written."""

    entry: _profiles.Entry
    written: t.Any
    rule: str


@dataclass
class _Selected:
    """A host's part. Places: C("") for the host, a unit, or (behind C(/)) the path of a pod or container."""

    settings: dict[str, dict[str, _Setting]] = field(default_factory=dict)
    pods: dict[str, Json] = field(default_factory=dict)
    because: list[Json] = field(default_factory=list)
    by_hand: list[Json] = field(default_factory=list)

    def part(self) -> Json:
        """As it is written, without what is empty."""
        written = {place: {knob: one.written for knob, one in knobs.items()} for place, knobs in self.settings.items()}
        pods = [{**about, "settings": written[path]} for path, about in self.pods.items()]
        units = {place: knobs for place, knobs in written.items() if place and place not in self.pods}
        part = {"settings": written.get(""), "units": units, "pods": pods, "because": self.because, "by_hand": self.by_hand}
        return {key: value for key, value in part.items() if value}


def select(result: Json, rules: t.Mapping[str, Json]) -> Json:
    """A host's part of the selection; empty where nothing fails that nobody accepts. Of two findings that want a knob otherwise the worse one has it."""
    selected = _Selected()
    failed = [one for one in result["findings"] if one["status"] == "fail" and "suppressed" not in one]
    failed.sort(key=lambda one: (SEVERITIES.index(severity_of(rules.get(one["rule"], {}))), one["rule"]))
    for finding in failed:
        _add(selected, finding, rules.get(finding["rule"], {}), result)
    return selected.part()


def _add(selected: _Selected, finding: Json, rule: Json, result: Json) -> None:
    subject = finding["subject"]
    about = {"rule": finding["rule"], "subject": subject["name"] or subject["id"], "title": str(rule.get("title", finding["rule"]))}
    cure = rule.get("cure") or {}
    apply = cure.get("apply")
    done, troubles, idle = [], [], []
    for name, wanted in apply.items() if isinstance(apply, dict) else ():
        try:
            done.append(_set(selected, finding, name, wanted, result))
        except Idle as exc:
            idle.append(f"{name}: {exc}.")
        except Unusable as exc:
            troubles.append(f"{name}: {exc}.")
    troubles += [] if done else idle
    if done:
        selected.because.append({**about, "sets": done})
    if troubles or not done:
        said = {"text": " ".join([*troubles, str(cure.get("text") or rule.get("expected") or "")]).strip(), "command": str(cure.get("command") or "")}
        selected.by_hand.append({**about, **{key: text for key, text in said.items() if text}})


def _set(selected: _Selected, finding: Json, name: str, wanted: t.Any, result: Json) -> str:
    """Takes it in; the knob's name there. Raises Unusable."""
    try:
        knob = _registry.find(name)
    except _registry.UnknownKnob:
        raise Unusable("this version of memqos.fleet knows no such knob") from None
    place, name = _place(finding["subject"], knob, result)
    written = _figures(wanted, _registry.find(name), finding, result)
    try:
        # A container has no unit; its files take what a unit's property takes.
        entry = _profiles.entry_of(_ANY_UNIT if place.startswith("/") else place, knob.name, written)
    except _profiles.ProfileError as exc:
        raise Unusable(exc.problems[0].message) from None
    reason = _is_idle(place, knob, entry, finding["subject"]["id"], result)
    if reason:
        raise Idle(reason)
    _merge(selected.settings.setdefault(place, {}), name, _Setting(entry, written, finding["rule"]))
    if place.startswith("/"):
        selected.pods[place] = _pod(place, finding["subject"], result)
    return name


def _place(subject: Json, knob: t.Any, result: Json) -> tuple[str, str]:
    """(place, name of the knob there). Raises Unusable."""
    if knob.scope in ("host", "numa_node"):
        return "", knob.name
    if subject["kind"] in _PODS and subject["id"].startswith("/"):
        file = next((row.name for row in _registry.memcg_knobs() if row.unit_property == knob.name), knob.name)
        return subject["id"], file
    if subject["kind"] not in _UNITS or not _profiles.is_unit(subject["name"]):
        raise Unusable(f"{subject['name'] or subject['id']} is no slice, service or scope of systemd that could have it")
    if not _is_own_unit(subject["name"], subject["id"], result):
        raise Unusable(f"{visible(subject['id'])} is of a user, a container or a program of its own: no unit of this host's systemd is there")
    return subject["name"], knob.name


def _is_own_unit(name: str, path: str, result: Json) -> bool:
    """Whether the host's own systemd has this unit there, by what it says itself, else by the path that it gives one of this name.

    A user's services, those in a virtual machine or a container, have the same names as the host's.
    """
    said = (result.get("units") or {}).get(name, {}).get("ControlGroup")
    if said is not None:
        return bool(said == path)
    *above, base = path.split("/")[1:] or [""]
    # An underscore before a cgroup's name keeps it from being a file of the kernel; the unit has none.
    if base != name or "/_" in path:
        return False
    inner = _slices(name) if name.endswith(".slice") else [*_slices(above[-1]), base] if above else [base]
    return [*above, base] == inner


def _slices(name: str) -> list[str]:
    """Where a slice is, by its name: C(a-b.slice) is in C(a.slice)."""
    words = name.removesuffix(".slice").split("-")
    return [f"{'-'.join(words[:number])}.slice" for number in range(1, len(words) + 1)]


def _is_idle(place: str, knob: t.Any, entry: _profiles.Entry, path: str, result: Json) -> str:
    """Why a tune would change nothing by this entry; empty where it would, or nobody can tell. C(path): of the cgroup that C(place) is."""
    present = _present(place, knob, path, result)
    memtotal = (result.get("breakdown") or {}).get("memtotal_bytes")
    if knob.name not in present or not memtotal:
        return ""
    node, unit = result["node"], place and _ANY_UNIT
    live, units = ({}, {unit: present}) if place else (present, {})
    basis = _wanted.Basis({}, int(memtotal), int(node.get("page_size") or 4096), str(node.get("kernel") or ""), live, units)
    entries = {knob.name: entry}
    folded = _wanted.fold([{"profile": _profiles.SELECTION, **({"slices": {unit: entries}} if place else {"host": entries})}], basis)
    if folded.skipped:
        return folded.skipped[0].reason
    wish = folded.wanted.get((knob.scope, unit, knob.name))
    if wish is None or not _registry.same(knob, wish.value, present[knob.name], basis.page_size):
        return ""
    now = present[knob.name]
    said = size_text(now) if isinstance(now, int) and _wanted.unit_bytes(knob) == 1 else _texts.kernel_text(now)
    return f"{_wanted.expression(entry)} changes nothing, it is {said} now"


def _present(place: str, knob: t.Any, path: str, result: Json) -> dict[str, t.Any]:
    """What is known to be there of this knob, and of those that exclude it, in normal form."""
    if place:
        rows = (row for row in result["top"]["rows"] if row["path"] == path and _FIGURES.get(knob.name) in row)
        found = next(({knob.name: row[_FIGURES[knob.name]]} for row in rows), (result.get("units") or {}).get(place, {}))
    else:
        found = result["node"].get("knobs") or {}
    present = {}
    for one in (knob, *map(_registry.find, _wanted.rivals(knob))):
        with contextlib.suppress(KeyError, _registry.KnobValueError):
            present[one.name] = _registry.normalize(one, found[one.name])
    return present


def _figures(wanted: t.Any, knob: t.Any, finding: Json, result: Json) -> t.Any:
    """The entry with C({observed: NAME}), also within a bound, as the figure that was observed, rounded down to a page. Raises Unusable."""
    if not isinstance(wanted, dict):
        return wanted
    if "observed" not in wanted:
        return {key: _figures(value, knob, finding, result) for key, value in wanted.items()}
    value = finding.get("observed", {}).get(wanted["observed"])
    if not is_number(value):
        raise Unusable(f"the node does not say {visible(str(wanted['observed']))}")
    unit = _wanted.unit_bytes(knob)
    if not unit:
        return int(value)
    page = int(result["node"].get("page_size") or 4096)
    amount = int(value) // page * page
    return size_text(amount) if unit == 1 else amount // unit


def size_text(amount: int) -> str:
    """Exact, in the largest unit that is: C(483MiB)."""
    return next((f"{amount // size}{word}" for size, word in _SIZES if amount and not amount % size), str(amount))


def _merge(settings: dict[str, _Setting], name: str, new: _Setting) -> None:
    """Raises Unusable where a worse finding has set this knob, or one that excludes it, otherwise."""
    knob = _registry.find(name)
    for rival in _wanted.rivals(knob):
        if rival in settings:
            raise Unusable(f"{settings[rival].rule} sets {rival}, and a write of either switches the other off")
    old = settings.setdefault(name, new)
    if old.entry == new.entry:
        return
    stricter = _stricter(knob, old, new)
    if stricter is None:
        raise Unusable(f"{old.rule} sets it already: {_wanted.expression(old.entry)}")
    settings[name] = _Setting(stricter.entry, stricter.written, old.rule)


def _stricter(knob: t.Any, old: _Setting, new: _Setting) -> _Setting | None:
    """The one that meets both: of two bounds in one direction the further, of a value and a bound that it meets the value. None: they do not agree."""
    (old_key, old_value), (new_key, new_value) = _bound(knob, old.entry), _bound(knob, new.entry)
    if old_value is None or new_value is None:
        return None
    if old_key == new_key != "value":
        further = max if old_key == "raise_to" else min
        return old if further(old_value, new_value) == old_value else new
    if "value" not in (old_key, new_key) or old_key == new_key:
        return None
    (value, fixed), (key, bound) = ((old_value, old), (new_key, new_value)) if old_key == "value" else ((new_value, new), (old_key, old_value))
    return fixed if (value >= bound if key == "raise_to" else value <= bound) else None


def _bound(knob: t.Any, entry: _profiles.Entry) -> tuple[str, float | None]:
    """(value, raise_to or lower_to, its number); None for what has no order here: words, and shares of a memory that the node knows."""
    key = next((key for key in ("value", "raise_to", "lower_to") if key in entry), "")
    try:
        number = _registry.normalize(knob, entry[key]) if key and not isinstance(entry[key], dict) else ""
    except _registry.KnobValueError:
        number = ""
    return key, float("inf") if number is None else number if isinstance(number, int) else None


def _pod(path: str, subject: Json, result: Json) -> Json:
    row: Json = next((row for row in result["top"]["rows"] if row["path"] == path), {})
    known = {key: str(row[key]) for key in ("namespace", "pod", "container") if row.get(key)}
    return {"path": path, **(known or {subject["kind"]: subject["name"] or path})}


# YAML


class _Dumper(yaml.SafeDumper):
    """Without aliases; text that has more than one line, or is not one, in double quotes with escapes."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # A lone surrogate is no text for YAML.
    clean = text.encode("utf-8", "backslashreplace").decode()
    return dumper.represent_scalar("tag:yaml.org,2002:str", clean, style=None if clean.isprintable() else '"')


_Dumper.add_representer(str, _text)


def _dump(value: Json) -> str:
    # Other characters than ASCII as escapes: what turns the direction of text has no place in a file that people check.
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=float("inf")))


# Reading


class Chosen(t.NamedTuple):
    """A host's part of the file. C(by_hand): how many findings are left to people."""

    profile: _profiles.Profile
    by_hand: int


def read(path: str, host: str) -> Chosen | None:
    """None for a host that the file does not name. Raises ProfileError with every mistake found in this host's part."""
    problems: list[Problem] = []
    place = Place(path, problems)
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        place.problem(None, f"cannot be read: {exc.strerror}")
        raise _profiles.ProfileError(problems) from None
    root, place = read_text(of_host(content, host), place, max_bytes=_MAX_BYTES)
    chosen = _of_file(root, place, host) if root else None
    if problems:
        raise _profiles.ProfileError(problems)
    return chosen


def of_host(content: bytes, host: str) -> bytes:
    """The file without the parts of other hosts, in its own lines, where its layout is the one that is written here; else all of it.

    Every host's worker reads the file: reading YAML takes a second for a thousand hosts.
    """
    source = content.decode("utf-8", "replace")
    begin = _HOSTS.search(source)
    if not begin or _OUTER.search(source, begin.end()):
        return content
    heads = [(found, _HOST_KEY.fullmatch(found.group(1).rstrip())) for found in _HOST.finditer(source, begin.end())]
    first = _FIRST.search(source, begin.end())
    if not heads or not all(key for unused, key in heads) or (first and first.start() < heads[0][0].start()):
        return content
    mine = [number for number, (unused, key) in enumerate(heads) if key and (key.group(1) or key.group(2)) == host]
    if len(mine) != 1:
        return content if mine else f"{source[: begin.start()]}hosts: {{}}\n".encode()
    start = heads[mine[0]][0].start()
    end = heads[mine[0] + 1][0].start() if mine[0] + 1 < len(heads) else len(source)
    return (source[: begin.end()] + "\n" * source.count("\n", begin.end(), start) + source[start:end]).encode()


def _of_file(root: yaml.Node, place: Place, host: str) -> Chosen | None:
    nodes = mapping(root, place, _KEYS)
    for key in ("schema_version", "hosts"):
        if key not in nodes:
            place.problem(root, f"'{key}' is missing: a selection is what an audit writes with the format selection")
    version = nodes.get("schema_version")
    if version is not None and version.value != str(SCHEMA_VERSION):
        place.under("schema_version").problem(version, f"this version of memqos.fleet reads {SCHEMA_VERSION}")
    hosts = _mapping(nodes.get("hosts"), place.under("hosts"))
    if host not in hosts:
        return None
    place = place.under(f"hosts.{host}")
    parts = {key: node for key, node in _mapping(hosts[host], place, _HOST_KEYS).items() if not is_a(node, "null")}
    read_of = {key: (parts[key], place.under(key)) if key in parts else None for key in ("settings", "units")}
    profile = _profiles.of_parts(_profiles.SELECTION, place, host=read_of["settings"], slices=read_of["units"])
    for (unit, knob), reasons in _reasons(parts.get("because"), place.under("because")).items():
        for at in [at for at in profile.values if at[1] == knob and at[0] in ("", unit)]:
            stated = profile.values[at]
            profile.values[at] = replace(stated, reason=stated.reason or "; ".join(reasons))
    return Chosen(profile, len(_items(parts.get("by_hand"), place.under("by_hand"))))


def _mapping(node: yaml.Node | None, place: Place, allowed: t.Collection[str] | None = None) -> dict[str, yaml.Node]:
    """Empty where somebody has deleted all of it."""
    return {} if node is None or is_a(node, "null") else mapping(node, place, allowed)


def _items(node: yaml.Node | None, place: Place) -> list[yaml.Node]:
    if node is not None and not isinstance(node, yaml.SequenceNode):
        place.problem(node, "a list is expected here")
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _reasons(node: yaml.Node | None, place: Place) -> dict[tuple[str, str], list[str]]:
    """{(subject, knob): findings that want it, in words}"""
    reasons: dict[tuple[str, str], list[str]] = {}
    for item in _items(node, place):
        nodes = mapping(item, place, _BECAUSE_KEYS)
        words = ": ".join(filter(None, (text(nodes, key, place) for key in ("rule", "title"))))
        for knob in _items(nodes.get("sets"), place.under("sets")):
            reasons.setdefault((text(nodes, "subject", place), str(knob.value)), []).append(words)
    return reasons
