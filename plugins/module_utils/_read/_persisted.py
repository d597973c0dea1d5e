# SPDX-License-Identifier: BSD-2-Clause

"""What decides each host knob at the next boot: all that is written down for it, in the order in which it takes effect (docs/persistence.md).

C(parse_X) is pure and never raises. Precedence as systemd-sysctl, systemd-tmpfiles 252, TuneD 2.20 to 2.25 and kubelet 1.36 have it.
"""

from __future__ import annotations

import base64
import binascii
import json
import posixpath
import re
import typing as t

from .. import _units
from .._knobs import _registry, _values
from .._knobs._row import Knob
from .._tuples import NamedTuple
from . import _knob_values, _procfs
from ._files import Tree, Unreadable, display

OUR_SYSCTL_FILE = "/etc/sysctl.d/zz-memqos.conf"

Source = t.Literal["kernel command line", "sysctl.d", "sysctl.conf", "tmpfiles.d", "TuneD", "kubelet"]

# Highest first: a file hides those of its name further down. With a merged /usr the last two are one.
_ROOTS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
_SYSCTL_CONF = "/etc/sysctl.conf"
_LINKED = "linked from sysctl.d"
_ORDER = {"kernel command line": 1, "sysctl.d": 2, "sysctl.conf": 2, "tmpfiles.d": 3, "TuneD": 4, "kubelet": 5}
_STEP = 10**9  # ranks of a stage
_TUNED_STEP = 10**6  # and of one write of TuneD, which can be all of sysctl.d
_REAPPLY = "reapply"
_MAX_FILE = 1 << 20
_MAX_VALUE = 4096
_MAX_GLOB = 1024
_MAX_WORDS = 64  # of a brace expression
_MAX_PROFILES = 64
_BLANK = " \t\r"
_GLOB = frozenset("*?[")
_DIGITS = frozenset("-0123456789 \t")
_SWAP = str.maketrans("./", "/.")
_NAME = re.compile("-?[A-Za-z0-9_.-]+")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-3][0-7]{2}|.)")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "s": " "}

# Comm of what sets memory at run time. kubelet is part of k3s and rke2.
_KUBELETS = frozenset(("kubelet", "k3s-server", "k3s-agent", "rke2"))
_WRITERS = _KUBELETS | {"tuned", "koordlet", "earlyoom", "systemd-oomd", "oomd", "nohang", "ksmtuned", "bpftune", "katalyst-agent"}
# setupKernelTunables(); kernel.keys.* is there too, but no knob.
_KUBELET_SYSCTLS = (("vm.overcommit_memory", "1"), ("vm.panic_on_oom", "0"), ("kernel.panic", "10"), ("kernel.panic_on_oops", "1"))
_KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"
_BOOT_KNOBS = {"transparent_hugepage": "transparent_hugepage/enabled", "transparent_hugepage_shmem": "transparent_hugepage/shmem_enabled",
               "numa_balancing": "kernel.numa_balancing", "panic": "kernel.panic"}  # fmt: skip
_BOOT_WORDS = {"enable": "1", "disable": "0"}
# No knobs, but they decide what there is to set.
_BOOT_OTHERS = frozenset(("psi", "cgroup.memory", "cgroup_disable", "cgroup_enable", "cgroup_no_v1", "swapaccount", "thp_anon", "thp_shmem", "mem",
                          "default_hugepagesz", "hugetlb_cma", "systemd.unified_cgroup_hierarchy"))  # fmt: skip
# The later releases have profiles/.
_TUNED_DIRECTORIES = ("/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned")
_TUNED_THP = {"transparent_hugepages": "enabled", "transparent_hugepage": "enabled", "transparent_hugepage.defrag": "defrag"}
_TUNED_DIRTY = ("dirty_bytes", "dirty_ratio", "dirty_background_bytes", "dirty_background_ratio")
_TRUE = ("1", "true")
_DISABLED = "not enabled in the profile"
_STAR = ("**", True)  # no set of letters


class Setting(NamedTuple):
    """One place that says what a knob shall be."""

    source: Source
    path: str
    line: int  # from 1; 0 where there is none
    value: _values.Value  # normal form; the text as it stands where a problem says that it is none; None where the line forbids a value
    rank: int  # the greater takes effect later; 0: none at boot, the problem says why
    problem: str = ""


class Line(NamedTuple):
    """One assignment: C(key) is the absolute path of the knob's file, or a glob. C(value) None: sysctl.d leaves the knob alone."""

    path: str
    line: int
    key: str
    value: str | None
    kind: str = ""  # tmpfiles.d: w, w+ or f+; TuneD: why it has no effect, or reapply


class Kubelet(NamedTuple):
    """C(memory_qos): whether it writes memory.min, low or high; None if its version decides (the gate without a setting, or the reverse).

    C(swap): its memorySwap.swapBehavior; empty where it does not start on a node with swap. C(resets): the gate is not shut: without more settings,
    kubelets whose version has it open take the protection of pods' classes back.
    """

    config: str
    config_dir: str  # of drop-ins; "": none
    protect_kernel_defaults: bool
    memory_qos: bool | None
    swap: str = ""
    resets: bool = False


class Sources(NamedTuple):
    """What was read, before it is put in order."""

    fixed: list[tuple[str, Setting]]  # kernel command line and kubelet, by knob
    sysctl: list[Line]
    sysctl_conf: list[Line]
    conf_reason: str  # why sysctl.conf is not read at boot; "" if it is
    tmpfiles: list[Line]
    tuned: list[Line]  # in the order of its writes
    reapplied: list[Line]  # what TuneD writes again where its list says reapply


class Persisted(NamedTuple):
    """C(settings): of each knob, the deciding one last. C(boot): what else the command line says of memory. C(writers): processes that set memory."""

    settings: dict[str, list[Setting]]
    boot: dict[str, str]
    writers: list[str]
    kubelet: Kubelet | None
    tuned_profile: str  # that is applied at boot
    problems: list[str]  # files that could not be read
    real_paths: dict[str, str]  # behind the links among the files of sysctl.d and tmpfiles.d
    sources: Sources


class Option(NamedTuple):
    """One option of a file with sections."""

    section: str
    key: str
    value: str
    line: int


def read_persisted(tree: Tree, *, page_size: int) -> Persisted:
    """All sources of a node. What cannot be read stands in C(problems)."""
    problems: list[str] = []
    index = _Index(tree)
    files = _Files(tree, problems)
    running = _running(tree)
    words = _procfs.parse_cmdline(tree.read_or_empty("/proc/cmdline"))
    fixed = _boot_settings(words, page_size=page_size, default_huge=_procfs.parse_meminfo(tree.read_or_empty("/proc/meminfo")).get("Hugepagesize", 0))
    kubelet, enforced = _kubelet(files, running)
    conf_reason = _conf_reason(files)
    profile, tuned = _tuned(files, index, thp_at_boot="transparent_hugepage" in dict(words))
    sources = Sources(
        fixed=fixed + enforced,
        sysctl=index.known(_sysctl_lines(files.directory("sysctl.d"))),
        sysctl_conf=index.known(_sysctl_lines(files.one(_SYSCTL_CONF))) if conf_reason != _LINKED else [],
        conf_reason=conf_reason,
        tmpfiles=index.known(_tmpfiles_lines(files.directory("tmpfiles.d"))),
        tuned=tuned,
        # Not as systemd-sysctl: /run hides /etc, nothing of /usr, and sysctl.conf comes last on every distribution.
        reapplied=index.known(_sysctl_lines(files.directory("sysctl.d", ("/run", "/etc")) + files.one(_SYSCTL_CONF))) if tuned else [],
    )
    boot = {key: value or "" for key, value in words if key in _BOOT_OTHERS}
    rows = {**{row.name: row for row in index.by_path.values()}, **{name: _registry.find(name) for name, _setting in fixed}}
    keys = {line.key for line in (*sources.sysctl, *sources.sysctl_conf, *sources.tmpfiles, *sources.tuned, *sources.reapplied)}
    patterns = [key for key in keys if _is_pattern(key)]
    said = [
        knob for knob in rows.values()
        if knob.path in keys or any(name == knob.name for name, _setting in fixed + enforced) or any(matches(pattern, knob.path) for pattern in patterns)
    ]  # fmt: skip
    settings = {knob.name: found for knob in said for found in [_settings_of(knob, sources)] if found}
    real_paths = {path: files.tree.target(path) for path in {line.path for line in (*sources.sysctl, *sources.tmpfiles)}}
    links = {path: real for path, real in real_paths.items() if real != path}
    return Persisted(settings, boot, sorted(running), kubelet, profile, problems, links, sources)


def winner(persisted: Persisted, knob: str) -> Setting | None:
    """What decides at the next boot; None: the kernel's own value. The problem of a rival's setting (dirty_bytes over dirty_ratio) says so.

    One with another problem is malformed: it takes the place of earlier ones, but the kernel refuses it.
    """
    settings = {name: persisted.settings.get(name, []) for name in _with_rivals(knob)}
    return next(reversed(_acting(knob, settings)), None)


def winner_without(persisted: Persisted, knob: str, files: t.Container[str]) -> Setting | None:
    """As though these files of sysctl.d and tmpfiles.d were not there."""
    sources = persisted.sources
    kept: dict[str, t.Any] = {name: [line for line in getattr(sources, name) if line.path not in files] for name in ("sysctl", "tmpfiles", "reapplied")}
    settings = {name: _settings_of(_registry.find(name), sources._replace(**kept)) for name in _with_rivals(knob)}
    return next(reversed(_acting(knob, settings)), None)


def conflicts(persisted: Persisted, knob: str, our_file: str = OUR_SYSCTL_FILE) -> list[Setting]:
    """What would override C(knob) in C(our_file) (of sysctl.d or tmpfiles.d, there already or not), the deciding one last; equal values too.

    A kubelet that does not start while the kernel has another value is in front.
    """
    stage: Source = "sysctl.d" if "/sysctl.d/" in our_file else "tmpfiles.d"
    row = _registry.find(knob)
    # The value is one that no other line has, so that none counts as a harmless repetition.
    ours = Line(our_file, 0, row.path, "\0", "w")
    sources = persisted.sources
    if stage == "tmpfiles.d":
        sources = sources._replace(tmpfiles=_inserted(sources.tmpfiles, ours))
    else:
        reapplied = _inserted(sources.reapplied, ours) if our_file.startswith(("/etc/", "/run/")) else sources.reapplied
        sources = sources._replace(sysctl=_inserted(sources.sysctl, ours), reapplied=reapplied)
    settings = {name: _settings_of(_registry.find(name), sources) for name in _with_rivals(knob)}
    rank = next(setting.rank for setting in settings[knob] if setting.path == our_file and not setting.line)
    floor = rank or _ORDER[stage] * _STEP
    found = [
        setting
        for setting in settings[knob]
        if not setting.rank and (setting.source == "kubelet" or (not rank and setting.source == stage and setting.value is None))
    ]
    return found + [setting for setting in _acting(knob, settings) if setting.rank >= floor and setting.path != our_file]


def parse_sysctl(data: bytes) -> list[tuple[int, str, str | None]]:
    """sysctl.d(5): (line, key with slashes, value; None for C(-key), which keeps globs and earlier lines away)."""
    found: list[tuple[int, str, str | None]] = []
    for number, text in _lines(data):
        if text[:1] in ("", "#", ";"):
            continue
        key, equals, value = text.partition("=")
        if equals or key.startswith("-"):
            found.append((number, _slashes(key[key.startswith("-") :].strip(_BLANK)), value.strip(_BLANK) if equals else None))
    return found


def parse_tmpfiles(data: bytes) -> list[tuple[int, str, str, str]]:
    """tmpfiles.d(5): (line, kind, path, argument) of the lines that write into a file: w, w+, f+."""
    found = []
    for number, text in _lines(data):
        if text[:1] not in ("w", "f", "F"):
            continue
        fields, argument = _fields(text, 6)
        kind = fields[0].rstrip("!-=~^+$?")
        kind = "f+" if kind == "F" or (kind == "f" and "+" in fields[0]) else kind + "+" * ("+" in fields[0])
        if kind in ("w", "w+", "f+") and len(fields) > 1 and fields[1].startswith("/") and argument not in ("", "-"):
            path = "/".join(["", *(part for part in fields[1].split("/") if part not in ("", "."))])
            found.append((number, kind, path, _argument(fields[0], argument)))
    return found


def parse_sections(data: bytes) -> list[Option]:
    """TuneD's profiles and configuration: [section], key = value, # comments; an indented line continues the value."""
    found: list[Option] = []
    section = ""
    for number, raw in _lines(data, strip=False):
        text = raw.strip(_BLANK)
        comment = min((at for at in (text.find(" #"), text.find("\t#")) if at >= 0), default=len(text))
        text = text[:comment].strip(_BLANK)
        key, equals, value = text.partition("=")
        if text[:1] in ("", "#", ";"):
            continue
        if raw[:1] in _BLANK and found and found[-1].section == section:
            found[-1] = found[-1]._replace(value=f"{found[-1].value} {text}"[:_MAX_VALUE])
        elif text.startswith("[") and text.endswith("]"):
            section = text[1:-1]
        elif equals:
            found.append(Option(section, key.strip(_BLANK), value.strip(_BLANK), number))
    return found


def parse_kubelet(data: bytes) -> dict[str, str]:
    """KubeletConfiguration, YAML in block style or JSON: the scalars at the top, C(featureGates.NAME) and C(memorySwap.swapBehavior)."""
    if data.lstrip()[:1] == b"{":
        return _kubelet_json(data)
    found: dict[str, str] = {}
    parent = ""
    for _number, raw in _lines(data, strip=False):
        key, colon, value = raw.partition(":")
        key, value = _unquoted(key), _unquoted(value.split(" #")[0])
        if not colon or key[:1] in ("#", "-", ""):
            continue
        if raw[:1] not in _BLANK:
            parent = key
            found[key] = value
            if key == "featureGates":
                found.update(_parts("featureGates", value.strip("{}"), ":"))
            elif key == "memorySwap":
                found.update(_parts("memorySwap", value.strip("{}"), ":"))
        elif parent in ("featureGates", "memorySwap"):
            found[f"{parent}.{key}"] = value
    return found


def sets_any(line: str, paths: t.Iterable[str]) -> bool:
    """Whether a line of sysctl.d or tmpfiles.d writes one of these kernel files."""
    data = line.encode("utf-8", "surrogateescape")
    keys = [f"/proc/sys/{key}" for _number, key, _value in parse_sysctl(data)] + [path for _number, _kind, path, _value in parse_tmpfiles(data)]
    return any(_matches(key, path) for key in keys for path in paths)


def matches(pattern: str, path: str) -> bool:
    """glob(3) with GLOB_BRACE: C(*) and C(?) stay within a name. Time: the product of the lengths."""
    if len(pattern) > _MAX_GLOB:
        return False
    names = path.split("/")
    for text in _braces(pattern):
        parts = text.split("/")
        if len(parts) == len(names) and all(_name_matches(_tokens(part), name) for part, name in zip(parts, names)):
            return True
    return False


class _Index:
    """The knobs of this node by the path of their file."""

    def __init__(self, tree: Tree) -> None:
        rows = _registry.host_knobs()
        self.patterns = [row for row in rows if "{" in row.path]
        self.by_path = {row.path: row for row in rows if "{" not in row.path}
        for pattern in self.patterns:
            for found in _knob_values.instances(_values.Readable(pattern.name, pattern.path, pattern.unit), tree):
                self.by_path[found.path] = _registry.find(found.name)

    def known(self, lines: t.Iterable[Line]) -> list[Line]:
        """The lines that concern a knob. A file that is not there yet (zram) counts."""
        return [line for line in lines if self._concerns(line.key)]

    def _concerns(self, key: str) -> bool:
        if key in self.by_path:
            return True
        if not key.startswith(("/sys/", "/proc/sys/")):
            return False
        if _is_pattern(key):
            return any(matches(key, path) for path in self.by_path)
        for row in self.patterns:
            places = _values.placeholders(row.path, key)
            if places is not None:
                self.by_path[key] = row.at(places)
                return True
        return False


class _Files:
    """Configuration files of a node; a failure is noted, not raised."""

    def __init__(self, tree: Tree, problems: list[str]) -> None:
        self.tree = tree
        self.problems = problems

    def one(self, path: str) -> list[tuple[str, bytes]]:
        """[(path, content)], [] if there is no such file."""
        target = self.tree.target(path)
        if target == "/dev/null":
            return []
        try:
            data = self.tree.read(target, limit=_MAX_FILE + 1)
        except Unreadable as exc:
            if exc.kind != "absent":
                self.note(path, exc.reason)
            return []
        if len(data) > _MAX_FILE:
            self.note(path, "only the first MiB was read")
        return [(path, data[:_MAX_FILE])]

    def directory(self, kind: str, roots: t.Sequence[str] = _ROOTS) -> list[tuple[str, bytes]]:
        """The files of all directories in the order in which they are read; a masked one is left out."""
        return [found for path in self.paths(kind, roots) for found in self.one(path)]

    def paths(self, kind: str, roots: t.Sequence[str] = _ROOTS) -> list[str]:
        chosen: dict[str, str] = {}
        for root in roots:
            for name in self.tree.names_or_empty(f"{root}/{kind}"):
                if name.endswith(".conf") and not name.startswith("."):
                    chosen.setdefault(name, f"{root}/{kind}/{name}")
        return [chosen[name] for name in sorted(chosen)]

    def enabled(self, unit: str) -> bool:
        """Whether systemd starts it at boot."""
        if self.tree.target(f"/etc/systemd/system/{unit}") == "/dev/null":
            return False
        for root in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"):
            wants = (name for name in self.tree.names_or_empty(root) if name.endswith((".wants", ".requires")))
            if any(unit in self.tree.names_or_empty(f"{root}/{name}") for name in wants):
                return True
        return False

    def note(self, path: str, reason: str) -> None:
        note = f"{path}: {reason}"
        if note not in self.problems:
            self.problems.append(note)


# In order


def _settings_of(knob: Knob, sources: Sources) -> list[Setting]:
    """All that is said of one knob, by rank."""
    found = [setting for name, setting in sources.fixed if name == knob.name]
    found += _sysctl_settings(knob, sources.sysctl)
    at = (_ORDER["sysctl.conf"] + 1) * _STEP - _STEP // 2
    for position, line in enumerate(sources.sysctl_conf):
        if line.key == knob.path and line.value is not None:
            found.append(_setting(knob, "sysctl.conf", line, 0 if sources.conf_reason else at + position, sources.conf_reason))
    found += _tmpfiles_settings(knob, sources.tmpfiles)
    for position, line in enumerate(sources.tuned):
        rank = _ORDER["TuneD"] * _STEP + position * _TUNED_STEP
        if line.kind == _REAPPLY:
            _reapply(knob, sources.reapplied, rank, found)
        elif _matches(line.key, knob.path):
            found.append(_setting(knob, "TuneD", line, 0 if line.kind else rank, line.kind))
    return sorted(found, key=lambda setting: setting.rank)


def _sysctl_settings(knob: Knob, lines: list[Line]) -> list[Setting]:
    """As systemd-sysctl: the last line with the key itself counts, globs only without one; it writes in the order in which keys got their value."""
    explicit = [(position, line) for position, line in enumerate(lines) if line.key == knob.path]
    globs = [(position, line) for position, line in enumerate(lines) if _is_glob(line.key) and matches(line.key, knob.path)]
    last = explicit[-1][1] if explicit else None
    kept: dict[str, tuple[int, Line]] = {}
    for position, line in globs:
        # A repetition with the same value keeps the place of the first.
        if line.key not in kept or kept[line.key][1].value != line.value:
            kept[line.key] = (position, line)
    ranked = [(position, line, f"{last.path}:{last.line} excludes this key" if last and last.value is None else "") for position, line in explicit]
    for position, line in globs:
        if last:
            ranked.append((0, line, f"{last.path}:{last.line} names the key itself"))
        else:
            ranked.append((position, line, "" if (position, line) in kept.values() and line.value is not None else "another line has this glob"))
    base = _ORDER["sysctl.d"] * _STEP
    return [_setting(knob, "sysctl.d", line, 0 if why else base + position, why) for position, line, why in ranked]


def _tmpfiles_settings(knob: Knob, lines: list[Line]) -> list[Setting]:
    """As systemd-tmpfiles: of several lines with one path the first counts, unless all append; f+ before w; each path where it came first."""
    groups: dict[tuple[bool, str], list[Line]] = {}
    ignored: list[tuple[Line, Line]] = []
    for line in lines:
        if not _matches(line.key, knob.path):
            continue
        group = groups.setdefault((line.kind != "f+", line.key), [])
        if all(line.value == other.value or line.kind == other.kind == "w+" for other in group):
            group.append(line)
        else:
            ignored.append((line, group[0]))
    in_order = [line for late in (False, True) for key, group in groups.items() if key[0] == late for line in group]
    base = _ORDER["tmpfiles.d"] * _STEP
    found = [_setting(knob, "tmpfiles.d", line, base + position, "") for position, line in enumerate(in_order)]
    return found + [_setting(knob, "tmpfiles.d", line, 0, f"ignored: {first.path}:{first.line} names this path first") for line, first in ignored]


def _reapply(knob: Knob, lines: list[Line], rank: int, found: list[Setting]) -> None:
    for position, last in reversed(list(enumerate(lines))):
        if last.key != knob.path or last.value is None:
            continue
        source: Source = "sysctl.conf" if last.path == _SYSCTL_CONF else "sysctl.d"
        # An alias of sysctl.conf and the file itself are two places.
        found[:] = [setting for setting in found if (setting.path, setting.line) != (last.path, last.line)]
        found.append(_setting(knob, source, last, rank + position, ""))
        break


def _setting(knob: Knob, source: Source, line: Line, rank: int, problem: str) -> Setting:
    if line.value is None:
        return Setting(source, line.path, line.line, None, rank, problem)
    value, malformed = _normal(knob, line.value)
    return Setting(source, line.path, line.line, value, rank, problem or malformed)


def _normal(knob: Knob, text: str) -> tuple[_values.Value, str]:
    """(value, problem): what the kernel would make of a text. Stricter than the registry, which also takes what people write in profiles (64MiB)."""
    if text[:1] in (">", "<"):
        return text[:_MAX_VALUE], f"TuneD only {'raises' if text[0] == '>' else 'lowers'} the value that it finds"
    if "${" in text:
        return text[:_MAX_VALUE], "holds a variable of TuneD"
    numeric = knob.path.startswith("/proc/sys/") and knob.unit not in ("text", "choice")
    try:
        if numeric and not set(text) <= _DIGITS:
            return text[:_MAX_VALUE], "is no number: the kernel refuses it"
        value = _registry.normalize(knob, text[:_MAX_VALUE])
    except ValueError as exc:
        return text[:_MAX_VALUE], getattr(exc, "reason", "cannot be read")
    if knob.choices and value not in knob.choices:
        return value, f"is none of {', '.join(knob.choices)}"
    return value, ""


def _with_rivals(knob: str) -> list[str]:
    """The knob and those whose write switches it off."""
    row = _registry.find(knob)
    return [row.name, *(name for name in row.partners if "{" not in name and row.name in _registry.find(name).partners)]


def _acting(knob: str, settings: t.Mapping[str, list[Setting]]) -> list[Setting]:
    found = []
    for name, rows in settings.items():
        reason = "" if name == knob else f"sets {name}, which switches {knob} off"
        found += [row._replace(problem=reason or row.problem) for row in rows if row.rank]
    return sorted(found, key=lambda setting: setting.rank)


def _inserted(lines: list[Line], ours: Line) -> list[Line]:
    """C(lines) with C(ours) where its file is read; what our file says so far, and what it hides, goes."""
    name = posixpath.basename(ours.path)
    others = [line for line in lines if posixpath.basename(line.path) != name]
    before = [line for line in others if posixpath.basename(line.path) < name and line.path != _SYSCTL_CONF]
    return [*before, ours, *others[len(before) :]]


# Kernel command line


def _boot_settings(words: t.Sequence[tuple[str, str | None]], *, page_size: int, default_huge: int) -> list[tuple[str, Setting]]:
    """What the command line says of knobs: this boot's, which the boot loader can change."""
    default = _size(dict(words).get("default_hugepagesz")) or default_huge or page_size * page_size // 8
    modules = {f"{row.path.split('/')[3]}.{row.path.split('/')[5]}": row.name for row in _registry.host_knobs() if row.path.startswith("/sys/module/")}
    found: list[tuple[str, str]] = []
    huge = default
    for word, given in words:
        if word == "--":  # the rest is for init
            break
        key, value = word.replace("-", "_"), "1" if given is None else given
        if key == "hugepagesz":
            huge = _size(value)
        elif key == "hugepages":
            found += _huge_pages(value, huge, default)
        elif key in _BOOT_KNOBS:
            found.append((_BOOT_KNOBS[key], _BOOT_WORDS.get(value, value)))
        elif key in modules:
            found.append((modules[key], value))
        elif key == "oops" and value == "panic":
            found.append(("kernel.panic_on_oops", "1"))
        elif word.startswith("sysctl."):  # Linux 5.8
            found.append((_slashes(word[7:]).replace("/", "."), value))
    settings = []
    for position, (name, text) in enumerate(found):
        try:
            knob = _registry.find(name)
        except _registry.UnknownKnob:
            continue
        settings.append((name, _setting(knob, "kernel command line", Line("/proc/cmdline", 1, knob.path, text), _STEP + position, "")))
    return settings


def _huge_pages(value: str, size: int, default: int) -> list[tuple[str, str]]:
    pool = f"hugepages/hugepages-{size >> 10}kB/nr_hugepages"
    total, found = value, []
    if ":" in value:  # per node, Linux 5.16
        nodes = [part.partition(":") for part in value.split(",")]
        found = [(f"node{node}/{pool}", count) for node, _colon, count in nodes if node.isdigit()]
        total = str(sum(int(count) for _node, _colon, count in nodes if count.isdigit() and len(count) < 20))
    return [*found, (pool, total), *([("vm.nr_hugepages", total)] if size == default else [])]


def _size(text: str | None) -> int:
    try:
        return _units.parse_size(text or "")
    except _units.UnitError:
        return 0


# sysctl.d, tmpfiles.d


def _conf_reason(files: _Files) -> str:
    """Why nothing reads /etc/sysctl.conf at boot: systemd-sysctl needs a link in sysctl.d (Debian 12 has one, 13 has none); "" if procps does."""
    if any(files.tree.target(path) == _SYSCTL_CONF for path in files.paths("sysctl.d")):
        return _LINKED
    if any(files.tree.exists(path) for path in ("/run/systemd/system", "/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")):
        return "not read at boot, as no file in sysctl.d links to it; 'sysctl --system' reads it last"
    return ""


def _sysctl_lines(files: list[tuple[str, bytes]]) -> list[Line]:
    return [Line(path, number, "/proc/sys/" + key, value) for path, data in files for number, key, value in parse_sysctl(data)]


def _tmpfiles_lines(files: list[tuple[str, bytes]]) -> list[Line]:
    return [Line(path, number, key, value, kind) for path, data in files for number, kind, key, value in parse_tmpfiles(data)]


def _slashes(key: str) -> str:
    """As sysctl_normalize(): if the first separator is a dot, dots and slashes change places."""
    first = next((letter for letter in key if letter in "/."), "/")
    if first == ".":
        key = key.translate(_SWAP)
    return "/".join(part for part in key.split("/") if part not in ("", "."))


def _fields(text: str, count: int) -> tuple[list[str], str]:
    """The first fields, quotes and escapes taken away, and the rest of the line as it stands."""
    fields: list[str] = []
    at = 0
    while len(fields) < count and at < len(text):
        field: list[str] = []
        quote = ""
        while at < len(text) and (quote or text[at] not in _BLANK):
            letter = text[at]
            if letter == "\\" and at + 1 < len(text):
                field.append(text[at : at + 2])
                at += 1
            elif letter in "'\"" and not quote:
                quote = letter
            elif letter == quote:
                quote = ""
            else:
                field.append(letter)
            at += 1
        fields.append(_unescaped("".join(field)))
        while at < len(text) and text[at] in _BLANK:
            at += 1
    return fields, text[at:]


def _argument(kind: str, text: str) -> str:
    if "^" in kind:
        return f"credential {text}"
    if "~" in kind:
        try:
            return display(base64.b64decode(text.encode("utf-8", "replace")))
        except (binascii.Error, ValueError):
            return text
    return _unescaped(text).replace("%%", "%")


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_unescape, text) if "\\" in text else text


def _unescape(match: re.Match[str]) -> str:
    word = match.group(1)
    if len(word) == 3:
        return chr(int(word[1:], 16) if word[0] == "x" else int(word, 8))
    return _LETTERS.get(word, word)


# TuneD


class Unit(NamedTuple):
    """A section of a profile after C(include): options with the file of each."""

    kind: str
    reason: str  # why it is not applied
    priority: int
    options: dict[str, tuple[str, Option]]


def _tuned(files: _Files, index: _Index, *, thp_at_boot: bool) -> tuple[str, list[Line]]:
    """(profile that is applied at boot, its writes in order)."""
    active = " ".join(display(data).strip() for name in ("active_profile", "post_loaded_profile") for _path, data in files.one(f"/etc/tuned/{name}"))
    names = [name for name in active.split() if _NAME.fullmatch(name)]
    if not names:
        return "", []
    main = {option.key: option.value for _path, data in files.one("/etc/tuned/tuned-main.conf") for option in parse_sections(data)}
    own = [name.strip() for name in main.get("profile_dirs", "").replace(";", ",").split(",") if name.strip().startswith("/")]
    profiles: list[tuple[str, list[Option]]] = []
    _load_profiles(files, names, list(reversed(own)) or _TUNED_DIRECTORIES, profiles, set())
    enabled = files.enabled("tuned.service")
    lines: list[Line] = []
    for unit in sorted(_merged(profiles).values(), key=lambda unit: unit.priority):
        reason = unit.reason if enabled else "tuned.service does not start at boot"
        found = [_tuned_line(unit.kind, path, option, reason, thp_at_boot) for path, option in unit.options.values()]
        lines += index.known(line for line in found if line)
        if unit.kind == "sysctl" and not reason and main.get("reapply_sysctl", "1").lower() in _TRUE:
            lines.append(Line("", 0, "", None, _REAPPLY))
    return " ".join(names) if enabled else "", lines


def _load_profiles(files: _Files, names: t.Iterable[str], directories: t.Sequence[str], loaded: list[tuple[str, list[Option]]], seen: set[str]) -> None:
    """What a profile includes comes before it. A profile of /etc may include the one of its name in /usr: each file counts once."""
    for name in names:
        name = posixpath.basename(name.lstrip("-"))
        paths = [path for directory in directories for path in [f"{directory}/{name}/tuned.conf"] if path not in seen and files.tree.exists(path)]
        if not paths or len(seen) >= _MAX_PROFILES:
            if name and not any(f"{directory}/{name}/tuned.conf" in seen for directory in directories):
                files.note(f"TuneD profile {name}", "not found")
            continue
        seen.add(paths[0])
        options = [option for _path, data in files.one(paths[0]) for option in parse_sections(data)]
        for option in options:
            if (option.section, option.key) == ("main", "include"):
                _load_profiles(files, re.split("[,; ]+", option.value), directories, loaded, seen)
        loaded.append((paths[0], options))


def _merged(profiles: list[tuple[str, list[Option]]]) -> dict[str, Unit]:
    """As tuned/profiles/merger.py: a later profile's options replace those of the same unit; type and enabled are always those of the last one."""
    units: dict[str, Unit] = {}
    for path, options in profiles:
        for name in dict.fromkeys(option.section for option in options):
            own = {option.key: (path, option) for option in options if option.section == name}
            words = {key: own.pop(key)[1].value for key in ("type", "enabled", "replace", "drop", "priority", "cpuinfo_regex", "uname_regex") if key in own}
            before = units.get(name, Unit("", "", 0, {}))
            if words.get("replace", "").lower() in _TRUE:
                before = before._replace(options={}, reason="")
            dropped = re.split("[,; ]+", words.get("drop", ""))
            kept = {key: value for key, value in before.options.items() if key not in dropped}
            conditions = [f"{key}={words[key]}" for key in ("cpuinfo_regex", "uname_regex") if key in words]
            reason = f"only where {' and '.join(conditions)}" if conditions else "" if before.reason == _DISABLED else before.reason
            if words.get("enabled", "1").lower() not in _TRUE:
                reason = _DISABLED
            priority = words.get("priority", "")
            rank = int(priority) if re.fullmatch("-?[0-9]{1,9}", priority) else before.priority
            units[name] = Unit(words.get("type", name), reason, rank, {**kept, **own})
    return units


def _tuned_line(kind: str, path: str, option: Option, reason: str, thp_at_boot: bool) -> Line | None:
    key, value = option.key, option.value.strip("'\"")
    if kind == "sysctl":
        return Line(path, option.line, "/proc/sys/" + key.replace(".", "/"), value, reason)
    if kind == "sysfs":
        return Line(path, option.line, posixpath.normpath(key), value, reason)
    if kind == "vm" and key in _TUNED_THP:
        if _TUNED_THP[key] == "enabled" and thp_at_boot:
            reason = reason or "TuneD leaves it to transparent_hugepage= of the kernel command line"
        return Line(path, option.line, f"/sys/kernel/mm/transparent_hugepage/{_TUNED_THP[key]}", value, reason)
    if kind == "vm" and key in _TUNED_DIRTY:
        if value.endswith("%"):
            key, value = key.replace("bytes", "ratio"), value[:-1].strip()
        return Line(path, option.line, f"/proc/sys/vm/{key}", value, reason)
    return None


# kubelet


def _running(tree: Tree) -> dict[str, str]:
    """{name: PID} of the processes that set memory."""
    found = {}
    for pid in tree.names_or_empty("/proc"):
        if pid.isdigit():
            name = display(tree.read_or_empty(f"/proc/{pid}/comm").strip())
            if name in _WRITERS:
                found[name] = pid
    return found


def _kubelet(files: _Files, running: t.Mapping[str, str]) -> tuple[Kubelet | None, list[tuple[str, Setting]]]:
    names = sorted(_KUBELETS.intersection(running))
    if not names and not files.enabled("kubelet.service"):
        return None, []
    flags = kubelet_flags(files.tree, running)
    config = flags.get("config", _KUBELET_CONFIG)
    words: dict[str, str] = {}
    drop_ins = flags.get("config-dir", "").rstrip("/")
    paths = [config, *(f"{drop_ins}/{name}" for name in files.tree.names_or_empty(drop_ins) if drop_ins and name.endswith(".conf"))]
    for _path, data in (found for path in paths if path.startswith("/") for found in files.one(path)):
        words.update(parse_kubelet(data))
    words.update(_parts("featureGates", flags.get("feature-gates", ""), "="))
    protects = flags.get("protect-kernel-defaults", words.get("protectKernelDefaults", "false")).lower() == "true"
    problem = "kubelet does not start while the kernel has another value (protectKernelDefaults)" if protects else ""
    settings = []
    for position, (name, text) in enumerate(_KUBELET_SYSCTLS):
        rank = 0 if protects else _ORDER["kubelet"] * _STEP + position
        settings.append((name, _setting(_registry.find(name), "kubelet", Line("" if protects else config, 0, "", text), rank, problem)))
    starts = flags.get("fail-swap-on", words.get("failSwapOn", "true")).lower() == "false"
    swap = (words.get("memorySwap.swapBehavior") or "NoSwap") if starts else ""
    return Kubelet(config, drop_ins, protects, _memory_qos(words), swap, words.get(_GATE, "").lower() != "false"), settings


def kubelet_flags(tree: Tree, running: t.Mapping[str, str] | None = None) -> dict[str, str]:
    """Of the one that runs."""
    running = _running(tree) if running is None else running
    names = sorted(_KUBELETS.intersection(running))
    return _flags(display(tree.read_or_empty(f"/proc/{running[names[0]]}/cmdline")).split("\0")) if names else {}


_GATE = "featureGates.MemoryQoS"


def _memory_qos(words: t.Mapping[str, str]) -> bool | None:
    """The gate is on by default from 1.37, where it sets nothing on pods by itself; up to 1.35 it brings a throttling factor of 0.9."""
    gate = words.get(_GATE, "").lower()
    throttles = words.get("memoryThrottlingFactor", "null") not in ("", "null", "~")
    reserves = words.get("memoryReservationPolicy", "None") not in ("", "null", "~", "None")
    if gate == "true":
        return True if throttles or reserves else None
    return None if gate != "false" and (throttles or reserves) else False


def _flags(words: t.Sequence[str]) -> dict[str, str]:
    """C(--key=value) and C(--key value); a flag without a value is true."""
    found = {}
    for word, following in zip(words, [*words[1:], ""]):
        key, equals, value = word.partition("=")
        if key.startswith("--"):
            found[key[2:]] = value if equals else "true" if following.startswith("-") or not following else following
    return found


def _parts(parent: str, text: str, sign: str) -> dict[str, str]:
    pairs = [part.partition(sign) for part in text.split(",")]
    return {f"{parent}.{_unquoted(name)}": _unquoted(value) for name, found, value in pairs if found}


def _kubelet_json(data: bytes) -> dict[str, str]:
    try:
        content = json.loads(display(data))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    flat = dict(content)
    for parent in ("featureGates", "memorySwap"):
        parts = content.get(parent)
        flat.update({f"{parent}.{name}": value for name, value in parts.items()} if isinstance(parts, dict) else {})
    return {key: json.dumps(value).strip('"') for key, value in flat.items() if not isinstance(value, (dict, list))}


def _unquoted(text: str) -> str:
    text = text.strip(_BLANK)
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


# Text


def _lines(data: bytes, *, strip: bool = True) -> t.Iterator[tuple[int, str]]:
    """(number, text). Unlike a file of the kernel, one that people write may end without a newline."""
    text = display(data.replace(b"\r\n", b"\n").replace(b"\0", b"\n"))
    for number, line in enumerate(text.split("\n"), start=1):
        yield number, line.strip(_BLANK) if strip else line


def _is_glob(key: str) -> bool:
    return not _GLOB.isdisjoint(key)


def _is_pattern(key: str) -> bool:
    return "{" in key or _is_glob(key)


def _matches(key: str, path: str) -> bool:
    return key == path or (_is_pattern(key) and matches(key, path))


def _braces(pattern: str) -> list[str]:
    done: list[str] = []
    todo = [pattern]
    while todo and len(done) + len(todo) <= _MAX_WORDS:
        text = todo.pop()
        end = text.find("}")
        start = text.rfind("{", 0, end) if end >= 0 else -1
        if start < 0:
            done.append(text)
        else:
            todo += [text[:start] + word + text[end + 1 :] for word in text[start + 1 : end].split(",")]
    return done


def _tokens(part: str) -> list[tuple[str, bool]]:
    """[(letters, whether they are excluded)]: C(*) is _STAR; C(?) is ("", True)."""
    tokens = []
    at = 0
    while at < len(part):
        letter = part[at]
        end = part.find("]", at + 3 if part[at + 1 : at + 2] in ("!", "^") else at + 2) if letter == "[" else -1
        if letter == "\\" and at + 1 < len(part):
            at += 1
            tokens.append((part[at], False))
        elif end > 0:
            excluded = part[at + 1] in "!^"
            tokens.append((_letters(part[at + 1 + excluded : end]), excluded))
            at = end
        else:
            tokens.append({"*": _STAR, "?": ("", True)}.get(letter, (letter, False)))
        at += 1
    return tokens


def _letters(span: str) -> str:
    """C(a-c_) → C(abc_); ASCII only, as names of knobs are."""
    letters = []
    at = 0
    while at < len(span):
        if span[at + 1 : at + 2] == "-" and at + 2 < len(span):
            letters += [chr(code) for code in range(ord(span[at]), min(ord(span[at + 2]), 127) + 1)]
            at += 3
        else:
            letters.append(span[at])
            at += 1
    return "".join(letters)


def _name_matches(tokens: list[tuple[str, bool]], name: str) -> bool:
    # The greedy way with one place to go back to, which is enough for a glob.
    at = position = 0
    star = mark = -1
    while at < len(name):
        if position < len(tokens) and tokens[position] == _STAR:
            star, mark = position, at
            position += 1
        elif position < len(tokens) and (name[at] in tokens[position][0]) != tokens[position][1]:
            at += 1
            position += 1
        elif star >= 0:
            mark += 1
            at, position = mark, star + 1
        else:
            return False
    return all(token == _STAR for token in tokens[position:])
