# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Captures what an audit of this node would read, as a tar.gz, without personal data. Needs Python 3.8 and nothing else.

  ssh root@node python3 - < memqos_bundle.py > node.tar.gz      as root: an ordinary user sees less
  python3 memqos_bundle.py --unpack node.tar.gz tree            the way back, to a directory for the audit's option root

Nothing on the node is changed, and nothing is left behind there.

Kept:
  - the kernel's memory figures: /proc/meminfo, vmstat, zoneinfo, slabinfo and the like, the memory files of cgroups, /sys/kernel/mm, zswap, zram, DAMON,
    NUMA nodes, /proc/sys/vm;
  - names of cgroups (units, containers), programs (comm), pods, namespaces, containers, images and TuneD profiles; ids of containers and pods; uids, pids.
    --hash-names hashes the names of pods, namespaces, containers, images, LXC containers, machines and instances of templates, with a key that nobody keeps;
  - lines that set memory in sysctl.d, sysctl.conf, tmpfiles.d, drop-ins of units, TuneD's profiles and the kubelet's configuration; what systemctl shows of
    memory; whether TuneD and the kubelet start at boot;
  - the memory options of the kernel command line, of the kubelet's, and of the kernel's build; name and version of the distribution;
  - OOM reports of the kernel log, and when the log begins.
Replaced, in names too:
  - the host name by "node" (or --name), its domains by "domain"; log-in names of people (uid 1000 and above, with a shell) by user1, user2 ...;
  - IP and MAC addresses by address1 ...; the boot id by its hash; in the names of mount units, mount points of your own by a hash;
  - swap on anything but a plain device (/dev/sda2, /dev/zram0) by /swap1 ....
Never read: /etc/machine-id, environments, command lines (but those four options of the kubelet), home directories, other logs, other configuration.
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import hashlib
import io
import json
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import typing as t

SCHEMA_VERSION = 1
OUTPUT = "/.memqos/output"
MANIFEST = "/.memqos/bundle.json"
MAX_FILE = 4 << 20
MAX_TOTAL = 128 << 20
MAX_MEMBERS = 400000
MAX_MATCHES = 20000  # of one pattern
MAX_CGROUPS = 5000
_MAX_LINKS = 8
_FLAGS = os.O_RDONLY | os.O_NONBLOCK


# Names and texts


class Scrub:
    """Takes personal data out of names and texts, everywhere alike: what belonged together still does.

    C(words) replaces whole words; C(hidden) are names that only C(hash_names) replaces, as parts of paths.
    """

    def __init__(self, words: t.Mapping[str, str], *, node: str = "node", hash_names: bool = False, hidden: t.Iterable[str] = ()) -> None:
        self.node = node
        self.hash_names = hash_names
        self._words = {word: new for word, new in words.items() if len(word) > 1 and word.lower() not in _VOCABULARY}
        any_of = "|".join(re.escape(word) for word in sorted(self._words, key=len, reverse=True))
        # systemd writes a dash in a path as \x2d: there, too, a word begins.
        self._word = re.compile(rf"(?:(?<![A-Za-z0-9])|(?<=\\x2d))(?:{any_of})(?![A-Za-z0-9])") if any_of else None
        self._hidden = frozenset(hidden) if hash_names else frozenset()
        self._key = os.urandom(16)
        self._numbers: dict[str, dict[str, str]] = {}
        self._parts: dict[tuple[str, bool], str] = {}

    def digest(self, name: str) -> str:
        return "n" + hashlib.sha256(self._key + os.fsencode(name)).hexdigest()[:10]

    def number(self, kind: str, text: str) -> str:
        known = self._numbers.setdefault(kind, {})
        return known.setdefault(text, f"{kind}{len(known) + 1}")

    def addresses(self, text: str) -> str:
        text = _IPV4.sub(lambda match: match.group() if match.group() in _EVERYONES else self.number("address", match.group()), text)
        return _COLONS.sub(lambda match: self.number("address", match.group()) if _is_address(match.group()) else match.group(), text)

    def words(self, text: str) -> str:
        if self._word is not None:
            text = self._word.sub(lambda match: self._words[match.group()], text)
        return self.addresses(text)

    def workload(self, name: str) -> str:
        """The name of a pod, namespace, container or image."""
        return self.digest(name) if self.hash_names and name not in ("", "POD") else self.words(name)

    def name(self, name: str) -> str:
        """The name of a file, cgroup or unit."""
        stem, _dot, kind = name.rpartition(".")
        if kind in ("mount", "automount", "swap", "device") and not _SYSTEM_MOUNT.fullmatch(stem):
            return f"{self.digest(stem)}.{kind}"
        template, at, instance = stem.partition("@")
        if at and (_DEVICE.search(instance) or (self.hash_names and instance and not instance.isdigit())):
            return f"{self.words(template)}@{self.digest(instance)}.{kind}"
        match = _NAMED.fullmatch(name) if self.hash_names else None
        return f"{match.group(1)}{self.digest(match.group(2))}{match.group(3)}" if match else self.words(name)

    def path(self, path: str) -> str:
        parts = path.split("/")
        return "/".join(self._part(part, above) for part, above in zip(parts, ["", *parts]))

    def _part(self, part: str, above: str) -> str:
        hidden = part in self._hidden or (self.hash_names and above in _LXC)
        if (part, hidden) not in self._parts:
            self._parts[part, hidden] = self.digest(part) if hidden else part if part in FIXED_NAMES else self.name(part)
        return self._parts[part, hidden]

    def paths(self, text: str) -> str:
        """Text with paths in it. Its words are the kernel's or systemd's, and stay: a host can be called "vm"."""
        return _PATH.sub(lambda match: self.path(match.group()), text)


# Called so everywhere: these tell nothing, and what a cgroup is depends on them.
_VOCABULARY = frozenset(
    "localhost localdomain root node system user users init machine docker kubepods burstable besteffort pod lxc payload monitor slice service scope "
    "containerd cri crio libpod podman memory cgroup swap kernel linux proc sys".split()
)
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![0-9.])(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9]|\.[0-9])")
_EVERYONES = ("0.0.0.0", "127.0.0.1", "255.255.255.255")
_COLONS = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?![0-9A-Za-z])")
_SYSTEM_MOUNT = re.compile(r"-|(?:dev|sys|proc)-[a-z0-9_\\-]+|run|run-lock|run-rpc_pipefs|tmp|boot|boot-efi|efi|home|var|usr|srv|opt|var-(?:log|lib|tmp|cache)")
_DEVICE = re.compile(r"dev-|[0-9a-f]{8}(?:\\x2d|-)[0-9a-f]{4}")
# LXC and systemd-machined.
_NAMED = re.compile(r"(lxc\.(?:payload|monitor)\.|machine-)(.+?)((?:\.scope|\.slice)?)", re.DOTALL)
_LXC = ("lxc", "lxc.payload", "lxc.monitor")
_PATH = re.compile(r"(?:/[^\s/=,;\"')]+)+")


def _is_address(text: str) -> bool:
    """IPv6 or MAC; not a time (12:34:56), nor what stands before a path (0::)."""
    groups = [group for group in text.split(":") if group]
    return len(groups) > 1 and ("::" in text or len(groups) > 5)


def personal_words(host: str, people: t.Iterable[str], node: str) -> dict[str, str]:
    """{word: what replaces it}."""
    labels = host.split(".")
    domains = (".".join(labels[start:]) for start in range(1, len(labels) - 1))  # not the last label alone
    words = {host: node, labels[0]: node, **dict.fromkeys(domains, "domain")}
    for number, name in enumerate(people, start=1):
        words.setdefault(name, f"user{number}")
    return words


def people_here() -> list[str]:
    """Log-in names, those of a directory service as far as it lists them. Accounts of services have no shell."""
    return [entry.pw_name for entry in pwd.getpwall() if 1000 <= entry.pw_uid < 65534 and not entry.pw_shell.endswith(("/nologin", "/false"))]


# What is kept of a file


def whole(data: bytes, _scrub: Scrub) -> bytes:
    return data


def words(data: bytes, scrub: Scrub) -> bytes:
    return _encode(scrub.words(_decode(data)))


def shown_units(data: bytes, scrub: Scrub) -> bytes:
    """What systemctl shows."""
    names = re.sub(r"(?m)^(Id|Slice)=(.*)$", lambda match: f"{match.group(1)}={scrub.name(match.group(2))}", _decode(data))
    return _encode(scrub.paths(names))


def comm(data: bytes, scrub: Scrub) -> bytes:
    """Only addresses are replaced: rules know programs by name, and people can be called like them."""
    return _encode(scrub.addresses(_decode(data)))


def host_name(_data: bytes, scrub: Scrub) -> bytes:
    return _encode(f"{scrub.node}\n")


def boot_id(data: bytes, _scrub: Scrub) -> bytes:
    """The same for two bundles of one boot; 122 random bits cannot be guessed from a hash."""
    digits = hashlib.sha256(data.strip()).hexdigest()
    return _encode("-".join(digits[start:end] for start, end in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))) + "\n")


def command_line(data: bytes, _scrub: Scrub) -> bytes:
    """The kernel's."""
    words = re.findall(r'(?:[^ \t"]|"[^"]*"?)+', _decode(data).split("\n")[0])
    return _encode(" ".join(word for word in words if _BOOT_OPTION.fullmatch(word.strip('"').partition("=")[0].replace("-", "_"))) + "\n")


def cgroup_mounts(data: bytes, scrub: Scrub) -> bytes:
    """Of mountinfo."""
    return _encode("".join(scrub.paths(line) for line in _lines(data) if re.search(" - cgroup2? ", line)))


def cgroup_paths(data: bytes, scrub: Scrub) -> bytes:
    """/proc/PID/cgroup."""
    rows = [line.rstrip("\n").split(":", 2) for line in _lines(data)]
    return _encode("".join(f"{row[0]}:{row[1]}:{scrub.path(row[2])}\n" for row in rows if len(row) == 3))


def slabs(data: bytes, scrub: Scrub) -> bytes:
    """Before 5.9 the caches of cgroups carry their names: dentry(12:sshd.service)."""
    return _encode(re.sub(r"(?m)^([^\s(]+\(\d+:)(\S+)(?=\))", lambda match: match.group(1) + scrub.name(match.group(2)), _decode(data)))


def swaps(data: bytes, scrub: Scrub) -> bytes:
    head, *lines = _lines(data) or [""]
    return _encode(head + "".join(f"{device(path, scrub)} {rest}" for path, _space, rest in (line.partition(" ") for line in lines)))


def zram_device(data: bytes, scrub: Scrub) -> bytes:
    return _encode(device(_decode(data).strip(), scrub) + "\n")


def device(path: str, scrub: Scrub) -> str:
    return path if path == "none" or _PLAIN_DEVICE.fullmatch(path) else "/" + scrub.number("swap", path)


def only(pattern: str) -> Keep:
    """Lines that begin so. The others are emptied: the audit names lines by number."""
    wanted = re.compile(pattern)
    return lambda data, _scrub: _encode("".join(line if wanted.match(line) else _ending(line) for line in _lines(data)))


def drop_in(data: bytes, _scrub: Scrub) -> bytes:
    """A unit's. A line that ends with a backslash goes on."""
    logical = re.findall(r"(?:[^\n]*\\\n)*[^\n]*\n?", _decode(data))
    return _encode("".join(line if _DIRECTIVE.match(line) else "\n" * line.count("\n") for line in logical))


def tuned_profile(data: bytes, _scrub: Scrub) -> bytes:
    """An indented line goes on with the value above it."""
    kept, keep = [], False
    for line in _lines(data):
        if line[:1] not in (" ", "\t") or not line.strip():
            keep = bool(_TUNED.match(line))
        kept.append(line if keep else _ending(line))
    return _encode("".join(kept))


def kubelet_config(data: bytes, _scrub: Scrub) -> bytes:
    """YAML in block style, or JSON."""
    text = _decode(data)
    if text.lstrip()[:1] == "{":
        loaded = _load(text, dict)
        return _encode(json.dumps({key: loaded[key] for key in KUBELET_KEYS if key in loaded}) + "\n")
    kept, key = [], ""
    for line in _lines(data):
        top = line[:1] not in (" ", "\t")
        key = line.partition(":")[0].strip("\"' ") if top else key
        kept.append(line if key in KUBELET_KEYS and (top or key == "featureGates") else _ending(line))
    return _encode("".join(kept))


def kubelet_flags(data: bytes, scrub: Scrub) -> bytes:
    """Of its command line."""
    kept, expects_value = ["kubelet"], False
    for word in _decode(data).split("\0")[1:]:
        flag, equals, value = word.partition("=")
        if word.startswith("--"):
            expects_value = flag in KUBELET_FLAGS and not equals
            kept += [flag + equals + scrub.path(value)] if flag in KUBELET_FLAGS else []
        elif expects_value:
            kept.append(scrub.path(word))
            expects_value = False
    return _encode("\0".join([*kept, ""]))


def oci_bundle(data: bytes, scrub: Scrub) -> bytes:
    """config.json of a container: who it is, and its memory reservation."""
    loaded = _load(_decode(data), dict)
    reservation = _at(loaded, "linux", "resources", "memory").get("reservation")
    memory = {"linux": {"resources": {"memory": {"reservation": reservation}}}} if isinstance(reservation, int) else {}
    return _encode(json.dumps({"annotations": _notes(_at(loaded, "annotations"), scrub), **memory}) + "\n")


def docker_config(data: bytes, scrub: Scrub) -> bytes:
    loaded = _load(_decode(data), dict)
    settings = _at(loaded, "Config")
    config = {"Image": _workload(settings.get("Image"), scrub), "Labels": _notes(_at(settings, "Labels"), scrub)}
    return _encode(json.dumps({"Name": "/" + _workload(loaded.get("Name"), scrub), "Config": config}) + "\n")


def docker_host_config(data: bytes, _scrub: Scrub) -> bytes:
    reservation = _load(_decode(data), dict).get("MemoryReservation")
    return _encode(json.dumps({"MemoryReservation": reservation} if isinstance(reservation, int) else {}) + "\n")


def container_storage(data: bytes, scrub: Scrub) -> bytes:
    """containers.json of Podman and CRI-O."""
    rows = []
    for row in _load(_decode(data), list):
        if isinstance(row, dict) and isinstance(row.get("id"), str):
            metadata = _load(str(row.get("metadata")), dict)
            kept = {key: _workload(metadata[key], scrub) for key in STORAGE_NAMES if key in metadata}
            kept.update({key: metadata[key] for key in STORAGE_IDS if isinstance(metadata.get(key), (str, bool))})
            rows.append({"id": row["id"], "metadata": json.dumps(kept)})
    return _encode(json.dumps(rows) + "\n")


def oom_log(data: bytes, scrub: Scrub) -> bytes:
    """Lines of OOM reports without their call traces, behind the time of the log's first line. Whatever else was logged meanwhile goes."""
    kept = []
    for number, line in enumerate(_lines(data)):
        prefix = _LOG_PREFIX.match(line).group()  # type: ignore[union-attr]  # it matches anything
        if _OOM_MESSAGE.match(line, len(prefix)):
            kept.append(scrub.paths(line))
        elif not number:
            kept.append(f"{prefix}(the log begins here)\n")
    return _encode("".join(kept))


def _notes(found: dict[str, t.Any], scrub: Scrub) -> dict[str, str]:
    """Annotations or labels."""
    names = {key: _workload(found[key], scrub) for key in NOTES_WITH_NAMES if key in found}
    return {**names, **{key: found[key] for key in NOTES_WITH_IDS if isinstance(found.get(key), str)}}


def _workload(value: t.Any, scrub: Scrub) -> str:
    return scrub.workload(value.strip("/")) if isinstance(value, str) else ""


def _at(loaded: t.Any, *keys: str) -> dict[str, t.Any]:
    for key in keys:
        loaded = loaded.get(key) if isinstance(loaded, dict) else None
    return loaded if isinstance(loaded, dict) else {}


def _load(text: str, kind: type) -> t.Any:
    try:
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        return kind()
    return loaded if isinstance(loaded, kind) else kind()


def _lines(data: bytes) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", _decode(data))


def _ending(line: str) -> str:
    return "\n" if line.endswith("\n") else ""


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


Keep = t.Callable[[bytes, Scrub], bytes]


# What is read


KUBELET_KEYS = ("protectKernelDefaults", "memoryThrottlingFactor", "memoryReservationPolicy", "featureGates")
KUBELET_FLAGS = ("--config", "--config-dir", "--feature-gates", "--protect-kernel-defaults")
KUBELETS = ("kubelet", "k3s-server", "k3s-agent", "k3s", "kubelite", "rke2")
NOTES_WITH_NAMES = (
    "io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace", "io.kubernetes.cri-o.Namespace",
    "io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name", "io.kubernetes.cri-o.KubeName",
    "io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name",
    "io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName",
)  # fmt: skip
NOTES_WITH_IDS = ("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid", "io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType")
STORAGE_NAMES = ("pod-name", "metadata-name", "name", "image-name", "namespace")
STORAGE_IDS = ("uid", "pod")

_PLAIN_DEVICE = re.compile(r"/dev/(?:zram|(?:s|h|v|xv)d[a-z]+|nvme|mmcblk|loop|ram|dm-|md)[0-9np]*")
_BOOT_OPTION = re.compile(
    r"__|transparent_hugepage\w*|thp_\w+|hugepages\w*|default_hugepagesz|hugetlb\w*|numa\w*|panic\w*|oops|psi|mem|movablecore|kernelcore|crashkernel"
    r"|cgroup\w*(?:\.\w+)?|swapaccount|systemd\.(?:unified_cgroup_hierarchy|legacy_systemd_cgroup_controller)|SYSTEMD_CGROUP\w+"
    r"|sysctl[./](?:vm|kernel)[./]\w+|(?:zswap|zram|damon_\w+)\.\w+|init_on_(?:alloc|free)|slub_\w+|slab_\w+"
)
_SYSCTLS = r"(?:vm|kernel[./](?:numa_balancing|panic)|net[./](?:ipv4[./](?:tcp|udp)_\w*mem|core[./]\w*mem))"
_KNOB_PATHS = r"/(?:proc/+sys/+(?:vm|kernel/+(?:numa_balancing|panic))|sys/+(?:kernel/+mm|module/+(?:zswap|damon)|block/+zram|devices/+system/+node))"
# In a glob the name of a knob may be anything.
_SYSCTL_LINE = rf"[ \t]*-?[ \t]*(?:[./]*{_SYSCTLS}|[^#;=\s]*[*?\[{{])"
_TMPFILES_LINE = rf"[ \t]*[wfF]\S*[ \t]+[\"']?(?:{_KNOB_PATHS}|/[^ \t]*[*?\[{{\\]|/(?:proc|sys)/+[^/]*\.)"
_TUNED = re.compile(
    r"\s*(?:\[|(?:include|type|enabled|replace|drop|priority|cpuinfo_regex|uname_regex|transparent_hugepages?(?:\.defrag)?|dirty_\w+)\s*="
    rf"|{_SYSCTLS}|{_KNOB_PATHS})"
)
_TUNED_MAIN = r"\s*(?:\[|(?:profile_dirs|reapply_sysctl)\s*=)"
_DIRECTIVE = re.compile(r"\s*(?:\[|(?:Default)?(?:Startup)?(?:Memory|ManagedOOM|OOM)\w*\s*=)")
_DISTRIBUTION = r"(?:ID|ID_LIKE|VERSION_ID|VERSION_CODENAME|PRETTY_NAME|PLATFORM_ID)="
_BUILD = (
    r"(?:# )?CONFIG_(?:MMU|MEMCG|VMAP_STACK|ZSWAP|ZRAM|ZSMALLOC|LRU_GEN|DAMON|TRANSPARENT_HUGEPAGE|HUGETLB|KSM|COMPACTION|NUMA|PSI|SWAP|CGROUP|SLUB?|CMA"
    "|BALLOON)"
)

# /dev/kmsg's, and what dmesg --raw makes of it.
_LOG_PREFIX = re.compile(r"\d+,\d+,\d+,[^;\n]*;|(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?|")
_OOM_MESSAGE = re.compile(
    # mm/oom_kill.c, mm/memcontrol.c; of mm/show_mem.c the counts. A comm has 15 bytes, some of them escaped; figures of a cgroup share a record or not.
    r".{1,60} invoked oom-killer: |.{1,60} cpuset=\S* mems_allowed=[\d,-]*$|CPU: \d+ (?:UID: \d+ )?PID: \d+ Comm: |Tasks? in /.* (?:killed|going to be killed)"
    r"|(?:memory|memory\+swap|swap|kmem): usage \d|Memory cgroup stats for /|[a-z]\w* \d+(?:\\x0a[a-z]\w* \d+)*(?:\\x0a)?$|Mem-Info:$"
    r"|(?:Node \d+ (?:\w+ )?)?\s*[a-z_]+(?:\([a-z_]+\))?:\d+(?:kB)?(?: [a-z_]+(?:\([a-z_]+\))?:\d+(?:kB)?)*(?: all_unreclaimable\? \w+)?$"
    r"|\d+ (?:total pagecache pages|pages )|(?:Free|Total) swap +=|Tasks state|\[ +pid +\]|\[ *\d+\] +\d+ +\d+ +\d+ +\d+ "
    r"|oom-kill:constraint=|,(?:oom|task)_memcg=|,task=|,pid=|(?:Memory cgroup out of memory|Out of memory)\b|Killed process \d|oom_reaper: "
)

_BUNDLES = ("/run/containerd/io.containerd.runtime.v2.task", "/run/k3s/containerd/io.containerd.runtime.v2.task",
            "/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task")  # fmt: skip
_STORAGE = "/var/lib/containers/storage/overlay-containers"
_CONFIGURED = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
_UNIT_PATH = ("/etc/systemd/system.control", "/run/systemd/system.control", "/etc/systemd/system", "/run/systemd/system",
              "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")  # fmt: skip
UNITS = ("tuned.service", "kubelet.service")
_WANTED_FROM = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")

# Files of the kernel by pattern: * is any name, ** any depth; the first that fits counts. Directories are taken whole, so that a new knob is in them.
KERNEL_FILES: tuple[tuple[str, Keep], ...] = (
    ("/proc/slabinfo", slabs), ("/proc/swaps", swaps), ("/sys/block/zram*/backing_dev", zram_device),
    ("/proc/stat", only("cpu")), ("/proc/iomem", only(r"[0-9a-f]+-[0-9a-f]+ : System RAM$")), ("/proc/cmdline", command_line),
    ("/proc/self/mountinfo", cgroup_mounts), ("/proc/1/mountinfo", cgroup_mounts), ("/proc/self/cgroup", cgroup_paths),
    ("/proc/sys/kernel/hostname", host_name), ("/proc/sys/kernel/random/boot_id", boot_id),
    *((path, whole) for path in (
        "/proc/meminfo", "/proc/vmstat", "/proc/zoneinfo", "/proc/buddyinfo", "/proc/pressure/*", "/proc/uptime", "/proc/cgroups",
        "/proc/net/sockstat", "/proc/net/sockstat6", "/proc/sys/vm/*", "/proc/sys/kernel/osrelease", "/proc/sys/kernel/numa_balancing*",
        "/proc/sys/kernel/panic*", "/proc/sys/net/ipv4/*_*mem", "/proc/sys/net/core/*mem*", "/sys/kernel/mm/**", "/sys/kernel/debug/zswap/*",
        "/sys/module/zswap/parameters/*", "/sys/module/damon_*/parameters/*", "/sys/devices/system/node/node*/*",
        "/sys/devices/system/node/node*/hugepages/*/*", "/sys/block/zram*/*",
    )),
)  # fmt: skip
PROCESS_FILES: tuple[tuple[str, Keep], ...] = (("statm", whole), ("comm", comm), ("oom_score", whole), ("oom_score_adj", whole), ("cgroup", cgroup_paths))
# memory.* but what costs the kernel most to show, or acts when it is opened.
CGROUP_FILE = re.compile(
    r"memory\.(?!(?:kmem\.slabinfo|numa_stat|pressure_level|force_empty|reclaim)$)[\w.]+|cgroup\.(?:controllers|stat|procs|subtree_control|type|pressure)"
    r"|(?:cpu|io)\.pressure"
)
# Files that people or programs write; a link among them stays one.
WRITTEN_FILES: tuple[tuple[str, Keep], ...] = (
    *((f"{place}/sysctl.d/*.conf", only(_SYSCTL_LINE)) for place in _CONFIGURED), ("/etc/sysctl.conf", only(_SYSCTL_LINE)),
    *((f"{place}/tmpfiles.d/*.conf", only(_TMPFILES_LINE)) for place in _CONFIGURED),
    *((f"{place}/*.d/*.conf", drop_in) for place in _UNIT_PATH),
    ("/etc/tuned/active_profile", words), ("/etc/tuned/post_loaded_profile", words), ("/etc/tuned/tuned-main.conf", only(_TUNED_MAIN)),
    *((f"{place}/*/tuned.conf", tuned_profile) for place in ("/etc/tuned/profiles", "/etc/tuned", "/usr/lib/tuned/profiles", "/usr/lib/tuned")),
    ("/var/lib/kubelet/config.yaml", kubelet_config),
    ("/etc/os-release", only(_DISTRIBUTION)), ("/usr/lib/os-release", only(_DISTRIBUTION)),
    *((f"{place}/*/*/config.json", oci_bundle) for place in _BUNDLES),
    ("/var/lib/docker/containers/*/config.v2.json", docker_config), ("/var/lib/docker/containers/*/hostconfig.json", docker_host_config),
    (f"{_STORAGE}/containers.json", container_storage), (f"{_STORAGE}/*/userdata/config.json", oci_bundle),
)  # fmt: skip
# Of these only the names.
NAMES = (
    "/run/systemd/system", "/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl",
    *(f"{place}/*.{kind}/{unit}" for place in _WANTED_FROM for kind in ("wants", "requires") for unit in UNITS),
)  # fmt: skip
POD_LOGS, CONTAINER_LOGS = "/var/log/pods", "/var/log/containers"
MASKED_UNITS = "/etc/systemd/system"
# Names in paths that are the same on every node, whatever its host or people are called.
_DIRECTORIES = frozenset("bin boot dev etc home lib lib64 mnt opt proc root run sbin srv sys tmp usr var share local".split())
FIXED_NAMES = _DIRECTORIES.union(*(pattern.split("/") for pattern in (*dict(KERNEL_FILES), *dict(WRITTEN_FILES), *NAMES)))
# Reading the first makes the kernel work; the others are long, and about addresses and processes.
LEFT_OUT = ("/proc/sys/vm/stat_refresh", "/sys/kernel/mm/damon", "/sys/kernel/mm/page_idle")

UNIT_PROPERTIES = (
    "MemoryMin MemoryLow DefaultMemoryMin DefaultMemoryLow MemoryHigh MemoryMax MemorySwapMax MemoryZSwapMax MemoryLimit OOMScoreAdjust OOMPolicy "
    "ManagedOOMSwap ManagedOOMMemoryPressure ManagedOOMMemoryPressureLimit ManagedOOMPreference "
    "ControlGroup Slice FragmentPath DropInPaths EffectiveMemoryMax EffectiveMemoryHigh MemoryAccounting NeedDaemonReload"
).split()
OUTPUTS: dict[str, tuple[tuple[str, ...], Keep]] = {
    "uname-m": (("uname", "-m"), whole),
    "systemctl-version": (("systemctl", "--version"), only("systemd")),
    "systemctl-show": (("systemctl", "show", "--no-pager", "--property=Id," + ",".join(UNIT_PROPERTIES), "*.slice", "*.service", "*.scope"), shown_units),
}


class Source:
    """The files of a node below C(root): C(/), or an older capture."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self.live = self.root == "/"
        self.unread: dict[str, str] = {}
        self.cut: dict[str, int] = {}

    def place(self, path: str) -> str:
        return path if self.live else self.root + path

    def read(self, path: str) -> bytes | None:
        """The whole of a regular file; None if there is none, or none to be read."""
        place = self.place(path)
        if not self.live and not os.path.realpath(place).startswith(self.root + "/"):
            return None
        try:
            mode = os.stat(place).st_mode
            # What can only be written opens for root, and then fails; a device could start something.
            if not stat.S_ISREG(mode) or not mode & 0o444:
                return None
            fd = os.open(place, _FLAGS)
        except OSError as exc:
            self._fail(path, exc)
            return None
        data = b""
        try:
            while len(data) <= MAX_FILE:
                part = os.read(fd, 1 << 16)
                if not part:
                    return data
                data += part
        except OSError as exc:
            self._fail(path, exc)
            return None
        finally:
            os.close(fd)
        self.unread[path] = f"longer than {MAX_FILE >> 20} MiB"
        return None

    def _fail(self, path: str, exc: OSError) -> None:
        if not isinstance(exc, (FileNotFoundError, NotADirectoryError)):
            self.unread[path] = exc.strerror or str(exc)

    def names(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(self.place(path)))
        except OSError as exc:
            self._fail(path, exc)
            return []

    def link(self, path: str) -> str | None:
        """Where a symbolic link leads, as an absolute path."""
        try:
            return os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(self.place(path))))
        except OSError:
            return None

    def match(self, pattern: str) -> list[str]:
        """Paths, in order."""
        if pattern.startswith("/lib/") and self.link("/lib"):  # /usr/lib once more
            return []
        found = [""]
        for part in pattern.split("/")[1:]:
            if part == "**":
                return [path for top in found for path in self._below(top)][:MAX_MATCHES]
            if any(letter in part for letter in "*?["):
                found = [f"{above}/{name}" for above in found for name in fnmatch.filter(self.names(above), part)]
            else:
                found = [f"{above}/{part}" for above in found]
            found = [path for path in found if path not in LEFT_OUT]
            if len(found) > MAX_MATCHES:
                self.cut[pattern] = len(found) - MAX_MATCHES
                found = found[:MAX_MATCHES]
        return [path for path in found if os.path.lexists(self.place(path))]

    def _below(self, top: str) -> t.Iterator[str]:
        for name in self.names(top):
            path = f"{top}/{name}"
            if path in LEFT_OUT or os.path.islink(self.place(path)):
                continue
            if os.path.isdir(self.place(path)):
                yield from self._below(path)
            else:
                yield path

    def output(self, name: str, argv: t.Sequence[str]) -> bytes | None:
        """What a command prints, or printed when the older capture was made."""
        if not self.live:
            return self.read(f"{OUTPUT}/{name}")
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        try:
            done = subprocess.run(list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, env=env, check=False)
        except (OSError, subprocess.TimeoutExpired) as exc:
            self.unread[argv[0]] = str(exc)
            return None
        return done.stdout if done.returncode == 0 else None

    def kernel_log(self) -> bytes | None:
        """Records of /dev/kmsg: each read gives one, and the end is EAGAIN."""
        if not self.live:
            return self.read(f"{OUTPUT}/kmsg")
        parts: list[bytes] = []
        try:
            fd = os.open("/dev/kmsg", _FLAGS)
        except OSError as exc:
            self._fail("/dev/kmsg", exc)
            return None
        try:
            while len(parts) < 1000000:
                try:
                    record = os.read(fd, 8192)
                except BrokenPipeError:  # overwritten; the next one is the oldest that is left
                    continue
                if not record:
                    break
                parts.append(record)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)
        return b"".join(parts)


class Bundle:
    """A tar under way. Paths and contents are what C(Capture) made of them."""

    def __init__(self, stream: t.IO[bytes]) -> None:
        self._gzip = gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=6, mtime=0)
        # Long names cost half as much as in PAX format.
        self._tar = tarfile.TarFile(fileobj=self._gzip, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape")
        self._seen: set[str] = set()
        self.size = self.refused = 0

    def file(self, path: str, data: bytes) -> None:
        self._add(path, tarfile.REGTYPE, data)

    def directory(self, path: str) -> None:
        self._add(path, tarfile.DIRTYPE)

    def link(self, path: str, target: str) -> None:
        """Relative, so that it leads to the same file wherever the bundle is unpacked."""
        self._add(path, tarfile.SYMTYPE, link=os.path.relpath(target, os.path.dirname(path)))

    def close(self) -> int:
        """How many files there are."""
        self._tar.close()
        self._gzip.close()
        return len(self._seen)

    def _add(self, path: str, kind: bytes, data: bytes = b"", link: str = "") -> None:
        if path in self._seen:
            return
        if len(self._seen) >= MAX_MEMBERS or self.size + len(data) > MAX_TOTAL:
            self.refused += 1
            return
        info = tarfile.TarInfo(path.lstrip("/"))
        info.type, info.size, info.linkname, info.mode = kind, len(data), link, 0o755 if kind == tarfile.DIRTYPE else 0o644
        self._tar.addfile(info, io.BytesIO(data))
        self._tar.members.clear()  # type: ignore[attr-defined]  # it would remember each, and a node under pressure has no memory for that
        self._seen.add(path)
        self.size += len(data)


class Capture:
    """From C(source) through C(scrub) to C(bundle)."""

    def __init__(self, source: Source, scrub: Scrub, bundle: Bundle, *, max_cgroups: int = MAX_CGROUPS) -> None:
        self.source = source
        self.scrub = scrub
        self.bundle = bundle
        self.max_cgroups = max_cgroups

    def run(self) -> None:
        for pattern, keep in KERNEL_FILES:
            for path in self.source.match(pattern):
                self.file(path, keep)
        self.cgroups()
        self.processes()
        for pattern, keep in (*WRITTEN_FILES, *self.own_tuned_profiles()):
            for path in self.source.match(pattern):
                self.written(path, keep)
        self.names()
        self.pod_logs()
        self.kernel_build()
        self.outputs()

    def file(self, path: str, keep: Keep) -> bytes | None:
        """What was read."""
        data = self.source.read(path)
        if data is not None:
            self.bundle.file(self.scrub.path(path), keep(data, self.scrub))
        return data

    def written(self, path: str, keep: Keep, links: int = 0) -> None:
        target = self.source.link(path)
        if target is None:
            self.file(path, keep)
            return
        self.bundle.link(self.scrub.path(path), self.scrub.path(target))
        if target == "/dev/null":
            self.bundle.file(target, b"")  # so that no link leads nowhere
        elif links < _MAX_LINKS:
            self.written(target, keep, links + 1)

    def cgroups(self) -> None:
        chosen: t.Container[str] | None = None
        for mount, wanted in cgroup_hierarchies(self.source):
            paths = list(self._cgroups_below(mount, ""))
            if chosen is None and len(paths) > self.max_cgroups:
                chosen = largest({path: self._usage(mount + path) for path in paths}, self.max_cgroups)
                self.source.cut["cgroups"] = sum(path not in chosen for path in paths)
            if os.path.exists(self.source.place(f"{mount}/release_agent")):  # only at the root of v1
                self.bundle.file(f"{mount}/release_agent", b"\n")
            for path in paths:
                if chosen is None or path in chosen:
                    for name in filter(wanted.fullmatch, self.source.names(mount + path)):
                        self.file(f"{mount}{path}/{name}", first_pids if name == "cgroup.procs" else whole)

    def _cgroups_below(self, mount: str, path: str) -> t.Iterator[str]:
        yield path
        try:
            with os.scandir(self.source.place(mount + path)) as entries:
                below = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:  # gone meanwhile
            return
        for name in below:
            yield from self._cgroups_below(mount, f"{path}/{name}")

    def _usage(self, cgroup: str) -> int:
        for name in ("memory.current", "memory.usage_in_bytes"):
            text = (self.source.read(f"{cgroup}/{name}") or b"").strip()
            if text.isdigit():
                return int(text)
        return 0

    def processes(self) -> None:
        pids = [name for name in self.source.names("/proc") if name.isdigit()]
        if len(pids) > MAX_MATCHES:
            self.source.cut["processes"] = len(pids) - MAX_MATCHES
        for pid in sorted(pids, key=int)[:MAX_MATCHES]:
            if (self.source.read(f"/proc/{pid}/statm") or b"").split()[1:2] == [b"0"] and pid != "1":  # a kernel thread, a zombie
                continue
            found = {name: self.file(f"/proc/{pid}/{name}", keep) for name, keep in PROCESS_FILES}
            if _decode((found["comm"] or b"").strip()) in KUBELETS:
                self.kubelet(pid)

    def kubelet(self, pid: str) -> None:
        command = self.file(f"/proc/{pid}/cmdline", kubelet_flags)
        words = _decode(kubelet_flags(command or b"", _AS_IT_IS)).split("\0")
        flags = {flag: value or following for word, following in zip(words, [*words[1:], ""]) for flag, _equals, value in [word.partition("=")]}
        for path in (flags.get("--config", ""), *self.source.match(flags.get("--config-dir", "") + "/*.conf")):
            if path.startswith("/"):
                self.written(path, kubelet_config)

    def own_tuned_profiles(self) -> list[tuple[str, Keep]]:
        text = _decode(self.source.read("/etc/tuned/tuned-main.conf") or b"")
        found = [place.strip() for line in re.findall(r"(?m)^\s*profile_dirs\s*=(.*)", text) for place in re.split("[,;]", line)]
        return [(f"{place}/*/tuned.conf", tuned_profile) for place in found if place.startswith("/")]

    def names(self) -> None:
        for pattern in NAMES:
            for path in self.source.match(pattern):
                is_directory = os.path.isdir(self.source.place(path))
                clean = self.scrub.path(path)
                self.bundle.directory(clean) if is_directory else self.bundle.file(clean, b"")
        for unit in UNITS:
            if self.source.link(f"{MASKED_UNITS}/{unit}") == "/dev/null":
                self.written(f"{MASKED_UNITS}/{unit}", whole)

    def pod_logs(self) -> None:
        """What the kubelet calls them: NAMESPACE_POD_UID, and POD_NAMESPACE_CONTAINER-ID.log."""
        hide = self.scrub.workload
        for name in self.source.names(POD_LOGS):
            namespace, pod, uid = (*name.split("_"), "", "", "")[:3]
            if uid:
                self.bundle.directory(f"{POD_LOGS}/{hide(namespace)}_{hide(pod)}_{uid}")
        for name in self.source.names(CONTAINER_LOGS):
            match = re.fullmatch(r"([^_]+)_([^_]+)_(.+)(-[0-9a-f]{64}\.log)", name)
            if match:
                self.bundle.file(f"{CONTAINER_LOGS}/{'_'.join(map(hide, match.groups()[:3]))}{match.group(4)}", b"")

    def kernel_build(self) -> None:
        """From either place to the one that is text."""
        release = _decode(self.source.read("/proc/sys/kernel/osrelease") or b"").strip()
        packed = self.source.read("/proc/config.gz")
        try:
            config = gzip.decompress(packed) if packed else self.source.read(f"/boot/config-{release}")
        except (OSError, EOFError):
            config = None
        if config is not None and release:
            kept = (line for line in _lines(config) if re.match(_BUILD, line))
            self.bundle.file(self.scrub.path(f"/boot/config-{release}"), _encode("".join(kept)))

    def outputs(self) -> None:
        for name, (argv, keep) in OUTPUTS.items():
            data = self.source.output(name, argv)
            if data is not None:
                self.bundle.file(f"{OUTPUT}/{name}", keep(data, self.scrub))
        log, name = self.source.kernel_log(), "kmsg"
        if log is None:
            log, name = self.source.output("dmesg", ("dmesg", "--raw")), "dmesg"
        if log is not None:
            self.bundle.file(f"{OUTPUT}/{name}", oom_log(log, self.scrub))

    def manifest(self) -> None:
        """What is missing from the bundle, and why: the audit will say that the node lacks it."""
        unread = {self.scrub.path(path): reason for path, reason in list(self.source.unread.items())[:1000]}
        found = {"schema_version": SCHEMA_VERSION, "root": os.geteuid() == 0, "hashed_names": self.scrub.hash_names, "cut": self.source.cut, "unread": unread}
        self.bundle.file(MANIFEST, _encode(json.dumps(found, indent=1) + "\n"))


_AS_IT_IS = Scrub({})


def first_pids(data: bytes, _scrub: Scrub) -> bytes:
    """Of cgroup.procs the audit looks at the first, for its oom_score_adj."""
    return b"".join(data.splitlines(keepends=True)[:1])


def cgroup_hierarchies(source: Source) -> list[tuple[str, t.Pattern[str]]]:
    """(mount point, files wanted there), the one with the memory controller first: v1's, v2's, and where Anolis has PSI on v1."""
    kinds: dict[str, list[tuple[bool, int, str]]] = {"memory": [], "v2": [], "cpuacct": []}
    for line in _lines(source.read("/proc/self/mountinfo") or source.read("/proc/1/mountinfo") or b""):
        own, _dash, rest = line.partition(" - ")
        words, (kind, *_device, options) = own.split(), (*rest.split(), "", "", "")[:3]
        for name in ("v2",) if kind == "cgroup2" else (kinds.keys() & set(options.split(","))) if kind == "cgroup" else ():
            kinds[name].append((words[3] != "/", len(words[4]), words[4]))
    witnesses = (("memory", "memory.usage_in_bytes", CGROUP_FILE), ("v2", "cgroup.controllers", CGROUP_FILE), ("cpuacct", "memory.pressure", _PRESSURE))
    chosen = []
    for kind, witness, wanted in witnesses:
        # As the audit chooses: the whole tree before a part, the shorter path before the longer.
        seen = [path for _part, _length, path in sorted(kinds[kind]) if os.path.exists(source.place(f"{path}/{witness}"))]
        chosen += [(seen[0], wanted)] if seen else []
    return chosen


_PRESSURE = re.compile(r"memory\.pressure")


def largest(sizes: t.Mapping[str, int], limit: int) -> set[str]:
    """The C(limit) largest cgroups, and all that they are in."""
    chosen = set()
    for path in sorted(sizes, key=lambda path: (-sizes[path], path))[:limit]:
        while path not in chosen:
            chosen.add(path)
            path = path.rpartition("/")[0]
    return chosen


def hidden_names(source: Source) -> list[str]:
    """Containers that somebody named (ctr run): their cgroups are called so."""
    return [name for place in _BUNDLES for space in source.names(place) for name in source.names(f"{place}/{space}") if not re.fullmatch("[0-9a-f]{64}", name)]


# The way back


class Refused(Exception):
    """Not a bundle, or one that would do harm."""


class _Bounded(io.RawIOBase):
    """What a packed file grows to, up to a limit."""

    def __init__(self, file: t.IO[bytes], limit: int) -> None:
        self._file = file
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        if size > self._left:
            raise Refused(f"it grows beyond {MAX_TOTAL >> 20} MiB")
        data = self._file.read(size)
        self._left -= len(data)
        return data


def unpack(bundle: str, directory: str) -> int:
    """Returns how many files there were. Raises Refused and OSError; C(directory) must not be there yet, and is not there after a failure."""
    os.mkdir(directory)
    try:
        with open(bundle, "rb") as packed, gzip.GzipFile(fileobj=packed) as file:
            # A header can announce any length and is read at once; an honest one and its padding take 1 KiB.
            stream = t.cast("t.IO[bytes]", _Bounded(t.cast("t.IO[bytes]", file), MAX_TOTAL + (MAX_MEMBERS << 10)))
            with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
                return _unpack_members(tar, directory)
    except (tarfile.TarError, EOFError, OSError, ValueError) as exc:
        shutil.rmtree(directory)
        if isinstance(exc, OSError) and exc.errno:
            raise
        raise Refused(f"it is no bundle, or cut short ({exc})") from exc
    except BaseException:
        shutil.rmtree(directory)
        raise


def _unpack_members(tar: tarfile.TarFile, directory: str) -> int:
    links = []
    size = count = 0
    for member in tar:
        parts = safe_parts(member.name)
        path = os.path.join(directory, *parts)
        size, count = size + member.size, count + 1
        if size > MAX_TOTAL or count > MAX_MEMBERS:
            raise Refused(f"it grows beyond {MAX_TOTAL >> 20} MiB or {MAX_MEMBERS} files")
        os.makedirs(path if member.isdir() else os.path.dirname(path), exist_ok=True)
        if member.isreg() and not member.issparse():
            file = tar.extractfile(member)
            with open(path, "xb") as copy:
                copy.write(file.read() if file else b"")
        elif member.issym():
            links.append((safe_link(parts, member.linkname), path))
        elif not member.isdir():
            raise Refused(f"{member.name!r} is no file, directory or symbolic link")
    # Last, so that nothing is written through one.
    for target, path in links:
        os.symlink(target, path)
    return count


def safe_parts(name: str) -> list[str]:
    parts = name.split("/")
    if not name or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise Refused(f"{name!r} does not stay inside")
    return parts


def safe_link(parts: t.Sequence[str], target: str) -> str:
    """C(target) if it leads to a place inside from where it lies."""
    inside = os.path.normpath("/".join([*parts[:-1], target]))
    if not target or target.startswith("/") or "\0" in target or inside == ".." or inside.startswith(("../", "/")):
        raise Refused(f"{'/'.join(parts)!r} leads to {target!r}, outside")
    return target


# The command


def main(argv: t.Sequence[str] | None = None) -> int:
    """The exit status: 0, or 1 with a message."""
    options = _parser().parse_args(argv)
    try:
        if options.unpack:
            print(f"{unpack(*options.unpack)} files in {options.unpack[1]}", file=sys.stderr)
            return 0
        return _capture(options)
    except Refused as exc:
        print(f"memqos_bundle: {f'{options.unpack[0]}: ' if options.unpack else ''}{exc}", file=sys.stderr)
    except OSError as exc:
        print(f"memqos_bundle: {exc.filename or 'standard output'}: {exc.strerror}", file=sys.stderr)
    return 1


def _capture(options: argparse.Namespace) -> int:
    source = Source(options.root)
    if source.read("/proc/meminfo") is None:
        raise Refused(f"{source.root} has no proc/meminfo: it is neither a node nor a capture of one")
    if options.output is None and sys.stdout.isatty():
        raise Refused("standard output is a terminal: write > node.tar.gz behind the command, or name a file with --output")
    host = socket.gethostname() if source.live else _decode(source.read("/proc/sys/kernel/hostname") or b"").strip()
    words = personal_words(host, people_here() if source.live else (), options.name)
    scrub = Scrub(words, node=options.name, hash_names=options.hash_names, hidden=hidden_names(source))
    if source.live and os.geteuid():
        print("memqos_bundle: not root: what only root may read is left out", file=sys.stderr)
    # Whole in memory, where it is small: who reads it never gets a half.
    archive = io.BytesIO()
    bundle = Bundle(archive)
    capture = Capture(source, scrub, bundle, max_cgroups=options.cgroups)
    capture.run()
    if bundle.refused:
        source.cut["files beyond the limit of size"] = bundle.refused
    capture.manifest()
    count = bundle.close()
    _write(archive.getvalue(), options.output)
    cut = "".join(f"; left out: {number} {what}" for what, number in source.cut.items())
    print(f"memqos_bundle: {count} files, {bundle.size >> 10} KiB unpacked, {len(source.unread)} unreadable{cut}", file=sys.stderr)
    return 0


def _write(archive: bytes, output: str | None) -> None:
    if output is None:
        with open(os.dup(sys.stdout.fileno()), "wb", buffering=0) as stream:
            while archive:
                archive = archive[stream.write(archive) :]
        return
    partial = f"{output}.partial"
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(archive)
    os.replace(partial, output)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="memqos_bundle.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", metavar="FILE", help="write to this file instead of standard output")
    parser.add_argument("--name", default="node", help="what to call the node (default: node)")
    parser.add_argument("--hash-names", action="store_true", help="hash the names of pods, namespaces, containers, images and the like")
    parser.add_argument("--cgroups", type=int, default=MAX_CGROUPS, metavar="N", help=f"at most so many cgroups, the largest (default: {MAX_CGROUPS})")
    parser.add_argument("--root", default="/", metavar="DIRECTORY", help="read an older capture instead of this node")
    parser.add_argument("--unpack", nargs=2, metavar=("BUNDLE", "DIRECTORY"), help="unpack a bundle into a new directory")
    return parser


if __name__ == "__main__":
    sys.exit(main())
