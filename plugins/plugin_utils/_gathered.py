# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What an audit asks a node for, so that the controller can say what decides at the next boot, and the node's answer as a tree of files."""

from __future__ import annotations

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry, _values
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree, Unreadable, display

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.module_utils._knobs._row import Knob

_ROOTS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
_UNITS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
# How a file of ours begins (_persist.HEADER).
OURS = "# Made by memqos."
# Of a line leaves what one of these matches, or its group. Keys of memory, and globs that may stand for one; what is a comment says nothing, but that the
# file is ours.
_KEYS = r"vm|kernel[./]+(?:panic|numa)"
_SYSCTL_LINES = rf"^{OURS}|^\s*-?[^#;=]*(?:{_KEYS}|[*?\[]).*"
_TMPFILES_LINES = r"^\s*[wfF]\S*\s+[\"']?[/.]+(?:sys|proc)/.*"
_NAMES = r"^[\w .-]*"
# Sections, the keys that _persisted reads, of others the name alone, and numbers that continue a value.
_TUNED_KEYS = r"include|type|enabled|replace|drop|priority|\w+_regex|profile_dirs|reapply_sysctl"
_TUNED_LINES = rf"^\s*(?:\[[^\]]*\]|(?:{_TUNED_KEYS}|(?:{_KEYS}|/+sys/|transparent_|dirty_)[^=\s]*)\s*=(?:(?!\s#).)*)|^[^#;=\s\[]+\s*=|^\s+[\d\s]+$"
_WORDS = (
    rf"^(?:(?:sysctl\.(?:{_KEYS})|zswap\.|damon[-_]|transparent[-_]hugepage|numa[-_]balancing|hugepages|cgroup_|thp_)[\w./-]*"
    r"|panic|oops|default_hugepagesz|hugetlb_cma|psi|cgroup\.memory|swapaccount|mem|systemd\.unified_cgroup_hierarchy|--)(?:=.*)?$"
)
_WRITERS = r"^(?:kubelet|k3s-server|k3s-agent|rke2|tuned|koordlet|earlyoom|systemd-oomd|oomd|nohang|ksmtuned|bpftune|katalyst-agent)$"
# Of a command line, which may hold a token, only these flags and what can be their value. It is split before each flag.
_FLAGS = (
    r"^-(?:config(?:-dir)?[=\0]/[^\0]*|feature-gates[=\0](?:,?\w+=(?:true|false)\b)+|eviction-hard[=\0][\w.,<%]+"
    r"|(?:protect-kernel-defaults|fail-swap-on)(?:[=\0](?:true|false))?(?=\0|$))"
)
# Top-level keys by name, so that it is known what is below what.
_KUBELET_LINES = (
    r"^[\"']?(?:(?:protectKernelDefaults|failSwapOn|memorySwap|featureGates|memoryThrottlingFactor|memoryReservationPolicy|evictionHard)[\"']?\s*:[^#]*"
    r"|\w+[\"']?\s*:)"
    r"|^\s+[\"']?(?:MemoryQoS|swapBehavior|memory\.available)[\"']?\s*:[^#]*"
)
_DROPS = r"^\s*[^#\s].*(drop_caches)"
_JOBS = ("/etc/crontab", "/etc/cron.d/*", "/etc/cron.hourly/*", "/etc/cron.daily/*", "/etc/cron.weekly/*", "/var/spool/cron/*", "/var/spool/cron/crontabs/*")
# Where drop-ins usually are; kubeadm's, and that of Amazon's images.
DROP_INS = ("/etc/kubernetes/kubelet.conf.d", "/etc/kubernetes/kubelet/config.json.d")
# [glob, lines, what ends a line, whether a file without such a line is sent (it hides others of its name), what beside it]; docs/architecture.md §3.11.
WANTED: tuple[tuple[t.Any, ...], ...] = (
    *((f"{root}/sysctl.d/*.conf", _SYSCTL_LINES, "\n", True) for root in _ROOTS),
    ("/etc/sysctl.conf", _SYSCTL_LINES, "\n", True),
    *((f"{root}/tmpfiles.d/*.conf", _TMPFILES_LINES, "\n", True) for root in _ROOTS),
    *((f"/etc/tuned/{name}", _NAMES, "\n", True) for name in ("active_profile", "post_loaded_profile")),
    ("/etc/tuned/tuned-main.conf", _TUNED_LINES, "\n", True),
    *((f"{place}/*/tuned.conf", _TUNED_LINES, "\n", True) for place in ("/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned")),
    *((f"{root}/*.{kind}/{unit}.service", None, "", True) for root in _UNITS for kind in ("wants", "requires") for unit in ("tuned", "kubelet")),
    *((f"/etc/systemd/system/{unit}.service", None, "", True) for unit in ("tuned", "kubelet")),
    *((path, None, "", True) for path in ("/run/systemd/system", "/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")),
    ("/proc/cmdline", _WORDS, " ", True),
    ("/proc/[0-9]*/comm", _WRITERS, "\n", False, ("/cmdline", _FLAGS)),
    *((path, _KUBELET_LINES, "\n", True) for path in ("/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet/*.json", "/etc/kubernetes/kubelet/*.y*ml")),
    *((f"{place}/*.conf", _KUBELET_LINES, "\n", True) for place in DROP_INS),
    *((path, _DROPS, "\n", False) for path in _JOBS),
)  # fmt: skip


class GatheredTree(Tree):
    """The files that a node has sent. C(more): paths that are there besides, and what they hold."""

    def __init__(self, gathered: t.Mapping[str, t.Mapping[str, str]], more: t.Mapping[str, str]) -> None:
        self.root, self.live = "", False
        self.sources = {**more, **gathered.get("sources", {})}
        self.links = dict(gathered.get("links", {}))
        self.troubles = dict(gathered.get("troubles", {}))
        self._below: dict[str, set[str]] = {}
        for path in (*self.sources, *self.links, *self.troubles):
            while path:
                path, unused, name = path.rpartition("/")
                self._below.setdefault(path, set()).add(name)

    def read(self, path: str | bytes, *, limit: int = 1 << 24) -> bytes:
        name = display(path)
        if name in self.troubles:
            raise Unreadable(name, "denied", self.troubles[name])
        if name not in self.sources:
            raise Unreadable(name, "absent", "was not sent by the node")
        return self.sources[name].encode("utf-8", "surrogateescape")[:limit]

    def names(self, path: str | bytes) -> list[str]:
        return sorted(self._below.get(display(path).rstrip("/"), ()))

    def exists(self, path: str | bytes) -> bool:
        name = display(path)
        return name in self.links or name in self.sources or name in self.troubles or name in self._below

    def target(self, path: str) -> str:
        return self.links.get(path, path)


def compile_patterns() -> None:
    """Of the registry's names and paths, for a controller that forks: otherwise each host's process compiles them anew (3 ms)."""
    for row in _registry.host_knobs():
        for pattern in (row.name, row.path, *row.path.split("/")):
            if "{" in pattern:
                _values.compiled(pattern)


def tree(audit: dict[str, t.Any]) -> GatheredTree:
    """Takes C(gathered) out of a node's answer. Raises TypeError where it is of another shape."""
    gathered, node = audit.pop("gathered"), audit["node"]
    for part in ("sources", "links", "troubles"):
        if not all(isinstance(text, str) for pair in gathered.get(part, {}).items() for text in pair):
            raise TypeError(f"gathered.{part} is not text")
    sources = gathered.get("sources", {})
    if "/proc/cmdline" in sources:
        # Its last word may be one that nobody asked for, and with it went the newline.
        gathered = {**gathered, "sources": {**sources, "/proc/cmdline": sources["/proc/cmdline"].rstrip("\n") + "\n"}}
    huge = node["meminfo"].get("Hugepagesize", 0)
    # What tells which instances of a pattern there are (pools of huge pages, zram devices).
    there = {knob.path: "" for knob in filter(None, map(_known, node["knobs"])) if knob.path.startswith("/sys/")}
    return GatheredTree(gathered, {**there, "/proc/meminfo": f"Hugepagesize: {int(huge) // 1024} kB\n"})


def _known(name: str) -> Knob | None:
    try:
        return _registry.find(name)
    except _registry.UnknownKnob:
        return None
