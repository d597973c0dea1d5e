# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bundle says of a node what the node says itself, holds all that a reader reads, nothing personal, and cannot harm who unpacks it."""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _snapshot, _workloads
from ansible_collections.memqos.fleet.plugins.module_utils._knobs import _registry
from ansible_collections.memqos.fleet.plugins.module_utils._read import _files, _oom, _persisted, _systemd
from ansible_collections.memqos.fleet.plugins.plugin_utils import _oom_reports
from ansible_collections.memqos.fleet.roles.audit.files import memqos_bundle
from ansible_collections.memqos.fleet.roles.audit.files.memqos_bundle import Refused, Scrub
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils._read import test_persisted

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures"
TREES = sorted((FIXTURES / "trees").iterdir())
READERS = sorted(pathlib.Path(_files.__file__).parent.glob("*.py"))
SCRIPT = pathlib.Path(memqos_bundle.__file__)
UID = "16fd2706-8baf-433b-82eb-8c7fada847da"
ID = "ab" * 32
Files = t.Dict[str, str]


def bundled(root: pathlib.Path, target: pathlib.Path, scrub: Scrub | None = None, **options: t.Any) -> pathlib.Path:
    """C(root) through a bundle to C(target)."""
    packed = target.with_suffix(".tar.gz")
    with packed.open("wb") as stream:
        bundle = memqos_bundle.Bundle(stream)
        capture = memqos_bundle.Capture(memqos_bundle.Source(str(root)), scrub or Scrub({}), bundle, **options)
        capture.run()
        capture.manifest()
        bundle.close()
    memqos_bundle.unpack(str(packed), str(target))
    return target


def snapshot(root: pathlib.Path) -> t.Any:
    tree = _files.Tree(str(root))
    return _snapshot.read(tree, window_seconds=0.0, monotonic=lambda: 0.0, sleep=lambda _seconds: None, wanted=_registry.wanted())


def comparable(node: t.Any) -> t.Any:
    """Without what a bundle changes by design, and directories' inodes."""
    for cgroup in node["cgroups"]:
        del cgroup["inode"]
    node["oom"]["log"] = _oom_reports.history(node["oom"]["log"].encode("utf-8", "surrogateescape"), lost=False)
    node["facts"].update(hostname="", boot_id="")
    node["cmdline"] = [word for word in node["cmdline"] if word[0].startswith(("cgroup", "psi", "transparent_hugepage", "systemd.unified"))]
    return node


def write(root: pathlib.Path, files: t.Mapping[str, str]) -> None:
    for path, text in files.items():
        full = root / path.lstrip("/")
        full.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            full.symlink_to(text[2:])
        else:
            full.write_bytes(text.encode("utf-8", "surrogateescape"))


# The same as the node says


@pytest.mark.parametrize("tree", TREES, ids=lambda path: path.name)
def test_a_bundle_of_a_node_gives_the_nodes_snapshot(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert comparable(snapshot(bundled(tree, tmp_path / "tree"))) == comparable(snapshot(tree))


CONFIGURATIONS: dict[str, Files] = {
    **{case: files for case, (_knob, files, _expected) in test_persisted.WINNERS.items()},
    **{f"problem: {case}": files for case, (_knob, files, _words) in test_persisted.PROBLEMS.items()},
    **{f"conflict: {case}": files for case, (_knob, _file, files, _expected) in test_persisted.CONFLICTS.items()},
    **{f"kubelet: {case}": {**test_persisted.KUBELET, "/etc/kubelet.yaml": text} for case, (text, _expected) in test_persisted.KUBELET_CONFIGS.items()},
    "profile directories of one's own": {
        **test_persisted.TUNED,
        "/etc/tuned/tuned-main.conf": "daemon = 1\nprofile_dirs = /usr/lib/tuned, /srv/profiles\n",
        "/srv/profiles/mine/tuned.conf": "[sysctl]\nvm.swappiness=7\n",
    },
    "a value that goes on": {**test_persisted.TUNED, "/etc/tuned/mine/tuned.conf": "[main]\ninclude=a,\n b\nsummary=x\n y\n[vm]\ndirty_ratio=3\n"},
    "kubelet, drop-ins by a flag in two words": {
        "/proc/9/comm": "k3s-server\n",
        "/proc/9/cmdline": "k3s\0server\0--config\0/srv/k.yaml\0--token\0hunter2\0--config-dir\0/srv/k.d\0--feature-gates=MemoryQoS=true\0",
        "/srv/k.yaml": "memoryThrottlingFactor: 0.7\n",
        "/srv/k.d/10.conf": "protectKernelDefaults: true\nstaticPodPath: /x\n",
    },
    "a node at boot": {
        "/proc/cmdline": "root=/dev/vda1 psi=1 cgroup.memory=nokmem cgroup_disable=x cgroup_enable=memory cgroup_no_v1=all swapaccount=1 thp_anon=16K:always "
        "thp_shmem=x mem=4G default_hugepagesz=2M hugetlb_cma=1G systemd.unified_cgroup_hierarchy=1 panic=5 oops=panic transparent_hugepage_shmem=never "
        '"damon_reclaim.enabled=Y" zswap.compressor=zstd\n'
    },
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_a_bundle_persists_what_the_node_persists(case: str, tmp_path: pathlib.Path) -> None:
    root = tmp_path / "node"
    write(root, {"/proc/meminfo": "Hugepagesize: 2048 kB\n", **CONFIGURATIONS[case]})
    persisted = [_persisted.read_persisted(_files.Tree(str(tree)), page_size=4096) for tree in (root, bundled(root, tmp_path / "tree"))]
    assert persisted[1] == persisted[0]


def test_every_sysctl_of_the_registry_and_its_line_in_tmpfiles_is_kept(tmp_path: pathlib.Path) -> None:
    paths = [knob.path.replace("{size}", "2048").replace("{n}", "0") for knob in _registry.host_knobs()]
    sysctls = [path[len("/proc/sys/") :].replace("/", ".") for path in paths if path.startswith("/proc/sys/")]
    lines = {"/etc/sysctl.d/1.conf": [f"{name} = 1" for name in sysctls], "/etc/tmpfiles.d/1.conf": [f"w {path} - - - - 1" for path in paths]}
    root = tmp_path / "node"
    write(root, {path: "\n".join(text) for path, text in lines.items()})
    tree = bundled(root, tmp_path / "tree")
    assert {path: (tree / path[1:]).read_text().split("\n") for path in lines} == lines


def test_every_unit_that_a_reader_asks_for_is_kept() -> None:
    asked = {unit for path in READERS for unit in re.findall(r'enabled\("([^"]+)"\)', path.read_text(encoding="utf-8"))}
    assert asked == set(memqos_bundle.UNITS)


def test_every_key_that_names_a_workload_is_kept() -> None:
    known = {*memqos_bundle.NOTES_WITH_NAMES, *memqos_bundle.NOTES_WITH_IDS}
    assert {name for names in _workloads._NOTES.values() for name in names} <= known
    assert set(_workloads._BUNDLES) == set(memqos_bundle._BUNDLES)


CONTAINERD = {
    "process": {"env": ["TOKEN=hunter2"], "args": ["/bin/sh"]},
    "linux": {"resources": {"memory": {"limit": 134217728, "reservation": 4096}}},
    "annotations": {
        "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "nginx", "io.kubernetes.cri.sandbox-log-directory": "/home/alice",
        "io.kubernetes.cri.image-name": "registry.example.org/nginx:1.27", "io.kubernetes.cri.sandbox-name": "web-0",
        "io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-uid": UID,
    },
}  # fmt: skip
CRIO = {"annotations": {"io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.cri-o.KubeName": "web-0", "io.kubernetes.cri-o.Namespace": "shop"}}
LABELS = {"io.kubernetes.pod.name": "web-0", "owner": "alice"}
DOCKER = {"Name": "/web", "Path": "/x", "Config": {"Image": "nginx:1", "Env": ["TOKEN=hunter2"], "Labels": LABELS}}
METADATA = {"pod-name": "k8s_web-0_shop", "metadata-name": "nginx", "image-name": "quay.io/nginx:1", "namespace": "shop", "uid": UID, "created-by": "alice"}
STORAGE = [{"id": ID, "names": ["alice"], "metadata": json.dumps(METADATA)}, {"id": "cd" * 32, "metadata": json.dumps({"pod-name": "", "pod": True})}, 7]


@pytest.mark.parametrize("loaded", [CONTAINERD, CRIO, {}, [], {"annotations": 7}, {"linux": {"resources": None}}], ids=str)
def test_what_is_kept_of_a_containers_bundle(loaded: t.Any) -> None:
    data = json.dumps(loaded).encode()
    kept = memqos_bundle.oci_bundle(data, Scrub({}))
    assert _workloads.parse_bundle(kept) == _workloads.parse_bundle(data) and b"hunter2" not in kept and b"alice" not in kept


@pytest.mark.parametrize("loaded", [DOCKER, {"Name": None, "Config": None}, []], ids=str)
def test_what_is_kept_of_docker(loaded: t.Any) -> None:
    host = b'{"Memory": 1, "MemoryReservation": 4096, "Binds": ["/home/alice"]}'
    kept = memqos_bundle.docker_config(json.dumps(loaded).encode(), Scrub({})), memqos_bundle.docker_host_config(host, Scrub({}))
    assert _workloads.parse_docker(*kept) == _workloads.parse_docker(json.dumps(loaded).encode(), host)
    assert b"hunter2" not in kept[0] and b"alice" not in kept[0] + kept[1]


@pytest.mark.parametrize("loaded", [STORAGE, {}, "x"], ids=["storage", "object", "text"])
def test_what_is_kept_of_container_storage(loaded: t.Any) -> None:
    kept = memqos_bundle.container_storage(json.dumps(loaded).encode(), Scrub({}))
    assert _workloads.parse_storage(kept) == _workloads.parse_storage(json.dumps(loaded).encode()) and b"alice" not in kept


@pytest.mark.parametrize("log", [*(FIXTURES / "kmsg").iterdir(), *(tree / ".memqos/output/kmsg" for tree in TREES)], ids=lambda path: str(path)[-40:])
def test_oom_reports_survive_and_other_lines_do_not(log: pathlib.Path) -> None:
    data = log.read_bytes()
    kept = memqos_bundle.oom_log(data, Scrub({}))
    histories = [_oom_reports.history(_oom.select_oom(text, limit=1 << 20), lost=False) for text in (data, kept)]
    assert histories[0]["reports"] and histories[1] == histories[0]
    assert not re.search(rb"renamed from|net_ratelimit|Linux version|usb|eth0|Hardware name|Call Trace", kept)


DROP_IN = "# by alice\n[Service]\nEnvironment=TOKEN=hunter2\\\nMemoryMax=1G\nMemoryHigh=\\\n  50%\n ManagedOOMSwap=kill\n[Install]\nAlias=x\n"


def test_what_is_kept_of_a_drop_in() -> None:
    kept = memqos_bundle.drop_in(DROP_IN.encode(), Scrub({}))
    assert _systemd.parse_drop_in(kept) == _systemd.parse_drop_in(DROP_IN.encode()) == {"MemoryHigh": "50%", "ManagedOOMSwap": "kill"}
    assert kept.count(b"\n") == DROP_IN.count("\n") and b"hunter2" not in kept and b"alice" not in kept


def test_systemd_is_asked_what_the_audit_asks() -> None:
    (argv, _keep) = memqos_bundle.OUTPUTS["systemctl-show"]
    assert argv == _systemd._SHOW


# All that is read


def test_every_file_of_the_registry_is_captured() -> None:
    for knob in _registry.host_knobs():
        path = re.sub(r"\{[a-z]+\}", "0", knob.path)
        # What can only be written is matched too: it has no content to capture.
        assert captured(path), path
    for knob in _registry.memcg_knobs():
        for name in (knob.v1, knob.v2):
            assert not name or knob.access == "wo" or knob.one_shot or memqos_bundle.CGROUP_FILE.fullmatch(name), name
    assert all(memqos_bundle.CGROUP_FILE.fullmatch(name) for name in _registry.wanted().vendor_files)


PATTERNS = [
    *(pattern for pattern, _keep in (*memqos_bundle.KERNEL_FILES, *memqos_bundle.WRITTEN_FILES)), *memqos_bundle.NAMES, memqos_bundle.MASKED_UNITS,
    memqos_bundle.POD_LOGS, memqos_bundle.CONTAINER_LOGS,
    *(f"/proc/[0-9]*/{name}" for name, _keep in memqos_bundle.PROCESS_FILES), "/proc/[0-9]*/cmdline", "/proc/config.gz", "/boot/config-*",
    *(f"{memqos_bundle.OUTPUT}/{name}" for name in (*memqos_bundle.OUTPUTS, "kmsg", "dmesg")),
]  # fmt: skip
# What a reader looks at and a bundle has not, and why.
NOT_CAPTURED = {
    r"/etc/passwd|/home/.*/overlay-containers.*": "people's names: containers of ordinary users have ids instead",
    r"/dev/kmsg": "the device; a capture has what it gave",
    r"/proc/1/maps": "addresses; a capture has what systemctl --version says",
}


def captured(path: str) -> bool:
    """Whether a pattern takes this file, or something below this directory."""
    parts = path.rstrip("/").split("/")
    for pattern in PATTERNS:
        wanted = pattern.split("/")
        deep = wanted[-1] == "**"
        wanted = wanted[:-1] if deep else wanted
        regexes = [re.escape(part).replace(r"\*", ".*").replace(r"\[0\-9\]", "[0-9]") for part in wanted]
        if all(re.fullmatch(regex, part) for regex, part in zip(regexes, parts)) and (deep or len(parts) <= len(wanted)):
            return True
    return bool(re.match("/sys/fs/cgroup(?:/|$)", path)) and (
        memqos_bundle.CGROUP_FILE.fullmatch(parts[-1]) is not None or parts[-1] in ("release_agent", "cgroup", "memory", "unified")
    )


class Recorder:
    """Every path that a reader asks for, whether it is there or not: all go through Tree, but for files of cgroups."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: set[str] = set()
        real_path, real_plain, real_output, real_file = _files.Tree.fs_path, _files.Tree.read_plain, _files.Tree.output, _snapshot._cgroupfs.read_file

        def fs_path(tree: _files.Tree, path: t.Any) -> bytes:
            self.paths.add(os.fsdecode(path))
            return real_path(tree, path)

        def read_plain(tree: _files.Tree, path: str, **more: t.Any) -> bytes:
            self.paths.add(path)
            return real_plain(tree, path, **more)

        def output(tree: _files.Tree, name: str, argv: t.Sequence[str], **more: t.Any) -> str:
            self.paths.add(f"{memqos_bundle.OUTPUT}/{name}")
            return real_output(tree, name, argv, **more)

        def read_file(fd: int, name: bytes) -> bytes:
            self.paths.add(f"/sys/fs/cgroup/{os.fsdecode(name)}")
            return real_file(fd, name)

        monkeypatch.setattr(_files.Tree, "fs_path", fs_path)
        monkeypatch.setattr(_files.Tree, "read_plain", read_plain)
        monkeypatch.setattr(_files.Tree, "output", output)
        monkeypatch.setattr(_snapshot._cgroupfs, "read_file", read_file)

    def missed(self) -> set[str]:
        return {path for path in self.paths if not captured(path) and not any(re.fullmatch(pattern, path) for pattern in NOT_CAPTURED)}


@pytest.mark.parametrize("tree", [*TREES, pathlib.Path("/")], ids=lambda path: path.name or "this machine")
def test_whatever_a_reader_reads_is_captured(tree: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    snapshot(tree)
    _persisted.read_persisted(_files.Tree(str(tree)), page_size=4096)
    assert {"/proc/meminfo", "/proc/self/mountinfo", "/sys/kernel/mm/ksm", "/etc/sysctl.conf"} <= recorder.paths
    assert "/sys/fs/cgroup/memory.stat" in recorder.paths or not (tree / "sys/fs/cgroup").is_dir()
    assert recorder.missed() == set()


def test_whatever_a_reader_reads_of_a_busy_node_is_captured(busy: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    snapshot(busy)
    _persisted.read_persisted(_files.Tree(str(busy)), page_size=4096)
    # Of the kubelet's own choice; a test above proves that they are in the bundle.
    own = {"/srv", "/srv/kubelet.yaml", "/srv/kubelet.d", "/srv/kubelet.d/1.conf"}
    assert {f"/var/lib/docker/containers/{ID}/hostconfig.json", "/etc/passwd", "/etc/tuned/mine/tuned.conf", "/srv/kubelet.yaml"} <= recorder.paths
    assert recorder.missed() - own == set()


# Nothing personal

SECRETS = ["alice", "db17", "example.org", "10.1.2.3", "10.9.8.7", "fe80::5054", "52:54:00", "hunter2", "c0ffee11", "Smith", "fedcba98", "5f1d7d9c"]
HOST = "db17.prod.example.org"
CGROUPS = (
    "home-alice.mount", "sshd@0-10.1.2.3:22-10.9.8.7:51234.service", "openvpn@alice.service", "db17-agent.service", "system-db17\\x2dvg.slice",
    "systemd-fsck@dev-disk-by\\x2duuid-5f1d7d9c\\x2d1234.service", "web@fe80::5054:ff:fe12:3456.service", "lxc.payload.shop", "lxc/shop", "machine-shop.scope",
    f"kubepods.slice/cri-containerd-{ID}.scope", "default/named-by-hand", "user.slice/user-1000.slice/user@1000.service",
    f"user.slice/user-1000.slice/libpod-{ID}.scope",
)  # fmt: skip
BUSY: Files = {
    "/proc/sys/kernel/hostname": f"{HOST}\n",
    "/proc/cmdline": "BOOT_IMAGE=/vmlinuz root=UUID=5f1d7d9c-aaaa ip=10.1.2.3 password=hunter2 systemd.hostname=db17 hugepages=8 psi=1\n",
    "/proc/swaps": "Filename Type Size Used Priority\n/dev/mapper/db17--vg-swap partition 9 0 -2\n/home/alice/swap file 9 0 -3\n/dev/sda2 partition 9 0 -4\n",
    "/proc/slabinfo": "slabinfo - version: 2.1\n# name <active_objs>\ndentry(12:db17-agent.service) 1 1 192 21 1 : tunables 0 0 0 : slabdata 1 1 0\n",
    "/proc/77/comm": "k3s-server\n",
    "/proc/77/statm": "10 10 1 1 0 1 0\n",
    "/proc/77/oom_score": "5\n",
    "/proc/77/cgroup": "0::/db17-agent.service/fe80::5054:ff:fe12:3456\n",
    "/proc/77/cmdline": "k3s\0server\0--node-ip\x0010.1.2.3\0--config\0/srv/kubelet.yaml\0--config-dir=/srv/kubelet.d\0--token=hunter2\0alice\0",
    "/proc/77/environ": "TOKEN=hunter2\0",
    "/proc/78/cmdline": "mysql\0-phunter2\0",
    "/proc/78/comm": "mysql\n",
    "/proc/78/statm": "10 10 1 1 0 1 0\n",
    "/srv/kubelet.yaml": "clusterDNS:\n- 10.1.2.3\nfeatureGates:\n  MemoryQoS: true\nmemoryThrottlingFactor: 0.8\nclusterDomain: example.org\n",
    "/srv/kubelet.d/1.conf": "# alice\n",
    "/etc/machine-id": "c0ffee11" * 4 + "\n",
    "/etc/hostname": f"{HOST}\n",
    "/etc/passwd": "alice:x:1000:1000:Alice Smith:/home/alice:/bin/bash\n",
    "/home/alice/.local/share/containers/storage/overlay-containers/containers.json": json.dumps([{"id": ID, "metadata": '{"name": "alice"}'}]),
    "/etc/os-release": 'ID=debian\nVERSION_ID="13"\nHOME_URL="https://example.org"\n',
    "/etc/sysctl.d/10-site.conf": "# alice, ask Smith\nkernel.hostname = db17\nvm.swappiness = 10\nnet.ipv4.conf.all.rp_filter = 1\n",
    "/etc/tmpfiles.d/site.conf": "w /sys/kernel/mm/ksm/run - - - - 0\nd /home/alice 0700 alice alice -\nf /etc/motd 0644 root root - hunter2\n",
    "/etc/systemd/system/db17-agent.service.d/site.conf": DROP_IN,
    "/etc/systemd/system/multi-user.target.wants/tuned.service": "->/lib/systemd/system/tuned.service",
    "/etc/systemd/system/multi-user.target.wants/db17-agent.service": "->/lib/x",
    "/etc/tuned/active_profile": "mine\n",
    "/etc/tuned/mine/tuned.conf": "[main]\nsummary=of alice\n[sysctl]\nvm.swappiness=20\nkernel.domainname=example.org\n[script]\nscript=/home/alice/x.sh\n",
    "/sys/block/zram0/disksize": "1048576\n",
    "/sys/block/zram0/backing_dev": "/home/alice/disk\n",
    "/var/log/pods/kube-system_kube-proxy-db17_" + UID + "/kube-proxy/0.log": "hunter2\n",
    f"/var/log/containers/kube-proxy-db17_kube-system_kube-proxy-{ID}.log": "hunter2\n",
    f"/var/lib/docker/containers/{ID}/config.v2.json": json.dumps(DOCKER),
    f"/var/lib/docker/containers/{ID}/hostconfig.json": '{"Binds": ["/home/alice"], "MemoryReservation": 4096}',
    "/run/containerd/io.containerd.runtime.v2.task/k8s.io/" + ID + "/config.json": json.dumps(CONTAINERD),
    "/run/containerd/io.containerd.runtime.v2.task/default/named-by-hand/config.json": "{}",
    "/var/lib/containers/storage/overlay-containers/containers.json": json.dumps(STORAGE),
    f"/var/lib/containers/storage/overlay-containers/{ID}/userdata/config.json": json.dumps(CRIO),
    "/.memqos/output/systemctl-show": "Id=db17-agent.service\nControlGroup=/db17-agent.service\nMemoryMax=1000\nFragmentPath=/home/alice/u.service\n"
    "DropInPaths=/etc/systemd/system/db17-agent.service.d/site.conf\nSlice=system-db17\\x2dvg.slice\n",
    "/.memqos/output/kmsg": "6,0,0,-;Linux version 6.12 (alice@db17)\n6,1,9,-;usb: Manufacturer: Smith fedcba98\n"
    "4,10,10,-;java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
    "4,11,11,-;IN=eth0 OUT= MAC=52:54:00:12:34:56 SRC=10.1.2.3 DST=10.9.8.7\n SUBSYSTEM=net\n"
    "6,12,12,-;memory: usage 20480kB, limit 20480kB, failcnt 743\n"
    "6,13,13,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/db17-agent.service,task_memcg=/db17-agent.service,"
    "task=java,pid=9,uid=1000\n"
    "3,15,15,-;Memory cgroup out of memory: Killed process 9 (java) total-vm:30108kB, anon-rss:4kB, file-rss:4kB, shmem-rss:0kB, UID:1000\n"
    "6,16,16,-;nfs: server 10.1.2.3 not responding\n",
}
NFS = "\n90 1 0:52 / /home rw - nfs4 10.1.2.3:/export/alice rw,addr=10.1.2.3\n"


@pytest.fixture
def busy(tmp_path: pathlib.Path) -> pathlib.Path:
    """A node with everything on it, and secrets wherever one can be."""
    root = tmp_path / "busy"
    shutil.copytree(FIXTURES / "trees" / "debian13-6.12-v2", root, symlinks=True)
    for path in BUSY:
        if os.path.lexists(str(root) + path):
            os.unlink(str(root) + path)
    write(root, BUSY)
    with (root / "proc/self/mountinfo").open("a") as mounts:
        mounts.write(NFS)
    model = root / "sys/fs/cgroup/init.scope"
    for path in CGROUPS:
        for file in model.iterdir():
            write(root, {f"/sys/fs/cgroup/{path}/{file.name}": file.read_text()})
            above = path.rpartition("/")[0]
            while above:
                write(root, {f"/sys/fs/cgroup/{above}/{file.name}": file.read_text()})
                above = above.rpartition("/")[0]
    return root


def scrub_of(root: pathlib.Path, **options: t.Any) -> Scrub:
    words = memqos_bundle.personal_words(HOST, ["alice"], "node")
    return Scrub(words, hidden=memqos_bundle.hidden_names(memqos_bundle.Source(str(root))), **options)


def test_no_secret_is_in_a_bundle_and_the_rest_fits_together(busy: pathlib.Path, tmp_path: pathlib.Path) -> None:
    before = snapshot(busy)
    tree = bundled(busy, tmp_path / "tree", scrub_of(busy))
    raw = gzip.decompress((tmp_path / "tree.tar.gz").read_bytes())
    assert b"java" in raw and b"web-0" in raw
    assert [secret for secret in SECRETS if secret.encode() in raw] == []
    after = snapshot(tree)
    assert len(after["cgroups"]) == len(before["cgroups"])
    paths = {cgroup["path"] for cgroup in after["cgroups"]}
    assert {"/node-agent.service", "/openvpn@user1.service", "/sshd@0-address1:22-address2:51234.service", "/lxc.payload.shop"} <= paths
    (report,) = _oom_reports.history(after["oom"]["log"].encode(), lost=False)["reports"]
    assert report["oom_memcg"] in paths and next(row["cgroup"] for row in after["oom"]["processes"] if row["pid"] == 77).startswith("/node-agent.service")
    assert after["units"]["shown"]["node-agent.service"]["ControlGroup"] in paths
    assert [drop_in["unit"] for drop_in in after["units"]["drop_ins"] if "node" in drop_in["unit"]] == ["node-agent.service"]
    assert [swap["path"] for swap in after["swaps"]] == ["/swap1", "/swap2", "/dev/sda2"]
    assert dict(after["cmdline"]) == {"hugepages": "8", "psi": "1"}
    container = next(cgroup for cgroup in after["cgroups"] if cgroup.get("container_id") == ID and cgroup["path"].startswith("/kubepods"))
    assert (container["pod"], container["namespace"], container["container"]) == ("kube-proxy-node", "kube-system", "kube-proxy")


def test_names_of_workloads_are_hashed_if_asked(busy: pathlib.Path, tmp_path: pathlib.Path) -> None:
    tree = bundled(busy, tmp_path / "tree", scrub_of(busy, hash_names=True))
    raw = gzip.decompress((tmp_path / "tree.tar.gz").read_bytes())
    for name in (b"shop", b"web-0", b"nginx", b"kube-proxy", b"named-by-hand", b"quay.io"):
        assert name not in raw, name
    after = snapshot(tree)
    container = next(cgroup for cgroup in after["cgroups"] if cgroup.get("container_id") == ID and cgroup["path"].startswith("/kubepods"))
    assert all(re.fullmatch("n[0-9a-f]{10}", container[key]) for key in ("pod", "namespace", "container", "image"))
    named = memqos_bundle.Scrub({}, hash_names=True)
    assert named.path("/lxc/shop") == f"/lxc/{named.digest('shop')}"
    assert named.path("/lxc.payload.shop") == f"/lxc.payload.{named.digest('shop')}"
    assert [cgroup["kind"] for cgroup in after["cgroups"] if cgroup["path"].startswith("/lxc.payload.")] == ["lxc"]
    # user@1000.service and its like have numbers.
    assert any(cgroup["path"].endswith("/user@1000.service") for cgroup in after["cgroups"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cri-containerd-" + ID + ".scope", "cri-containerd-" + ID + ".scope"),
        ("kubepods-burstable-pod16fd2706_8baf_433b_82eb_8c7fada847da.slice", "kubepods-burstable-pod16fd2706_8baf_433b_82eb_8c7fada847da.slice"),
        ("db17.service", "node.service"),
        ("db170.service", "db170.service"),
        ("dev-hugepages.mount", "dev-hugepages.mount"),
        ("run-credentials-systemd\\x2djournald.service.mount", None),
        ("home.mount", "home.mount"),
        ("srv-customers.mount", None),
        ("app-db17\\x2dworker.scope", "app-node\\x2dworker.scope"),
        ("alice-1.scope", "user1-1.scope"),
        ("malice.service", "malice.service"),
        ("redis@6379.service", "redis@6379.service"),
        ("at-12:34:56.service", "at-12:34:56.service"),
        ("v1.2.3.4.5.scope", "v1.2.3.4.5.scope"),
        ("web-10.1.2.3.scope", "web-address1.scope"),
        ("listen-0.0.0.0.scope", "listen-0.0.0.0.scope"),
        ("x-2001:db8::7.scope", "x-address1.scope"),
    ],
)
def test_names(name: str, expected: str | None) -> None:
    scrub = Scrub(memqos_bundle.personal_words("db17", ["alice"], "node"))
    stem, _dot, kind = name.rpartition(".")
    assert scrub.name(name) == (f"{scrub.digest(stem)}.{kind}" if expected is None else expected)
    assert scrub.name(name) == scrub.name(name)


def test_what_everybody_is_called_is_no_secret() -> None:
    scrub = Scrub(memqos_bundle.personal_words("docker", ["root", "system", "x"], "node"))
    assert scrub.path(f"/system.slice/docker-{ID}.scope") == f"/system.slice/docker-{ID}.scope"
    # This very repository was first tried on a host called vm.
    assert Scrub({"vm": "node"}).path("/proc/sys/vm/swappiness") == "/proc/sys/vm/swappiness"


def test_the_words_of_a_host() -> None:
    words = memqos_bundle.personal_words(HOST, ["alice", "bob"], "n1")
    assert words == {HOST: "n1", "db17": "n1", "prod.example.org": "domain", "example.org": "domain", "alice": "user1", "bob": "user2"}
    assert Scrub(words).words(f"at {HOST}, db17, x.prod.example.org, example.org") == "at n1, n1, x.domain, domain"


def test_a_boot_is_known_by_its_hash() -> None:
    first, again, other = (memqos_bundle.boot_id(text, Scrub({})) for text in (b"5f1d7d9c-1\n", b"5f1d7d9c-1\n", b"5f1d7d9c-2\n"))
    assert first == again != other and re.fullmatch(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n", first)


# Bounds


def test_of_too_many_cgroups_the_largest_are_kept_with_what_they_are_in() -> None:
    sizes = {"": 100, "/a": 10, "/a/b": 9, "/a/b/c": 8, "/z": 50, "/y": 3}
    assert memqos_bundle.largest(sizes, 2) == {"", "/z"}
    assert memqos_bundle.largest({**sizes, "/a/b/c": 60}, 2) == {"", "/a", "/a/b", "/a/b/c"}


def test_what_was_cut_stands_in_the_manifest(busy: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memqos_bundle, "MAX_FILE", 3000)
    tree = bundled(busy, tmp_path / "tree", max_cgroups=3)
    manifest = json.loads((tree / ".memqos/bundle.json").read_text())
    before, after = (sum(path.is_dir() for path in (root / "sys/fs/cgroup").rglob("*")) for root in (busy, tree))
    assert manifest["cut"]["cgroups"] == before - after > 0 and 3 <= after <= 5
    assert manifest["unread"]["/proc/vmstat"] == "longer than 0 MiB" and not (tree / "proc/vmstat").exists()


def test_a_bundle_stops_at_its_limit(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memqos_bundle, "MAX_TOTAL", 10000)
    bundle = memqos_bundle.Bundle(io.BytesIO())
    for number in range(5):
        bundle.file(f"/{number}", b"x" * 3000)
    bundle.file("/0", b"again")
    assert (bundle.size, bundle.refused) == (9000, 2) and bundle.close() == 3


# The way back


def packed(path: pathlib.Path, *members: tuple[str, t.Any]) -> str:
    """A tar.gz of (name, bytes or TarInfo attributes)."""
    with tarfile.open(path, "w:gz") as tar:
        for name, what in members:
            info = tarfile.TarInfo(name)
            data = what if isinstance(what, bytes) else b""
            info.size = len(data)
            for key, value in {} if isinstance(what, bytes) else what.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


HARMFUL: dict[str, list[tuple[str, t.Any]]] = {
    "an absolute name": [("/etc/passwd", b"x")],
    "a name that climbs": [("proc/../../x", b"x")],
    "a dot": [("./proc", b"x")],
    "an empty part": [("proc//x", b"x")],
    "an absolute link": [("etc/x", {"type": tarfile.SYMTYPE, "linkname": "/etc"})],
    "a link that climbs": [("etc/x", {"type": tarfile.SYMTYPE, "linkname": "../../etc"})],
    "a link to above": [("x", {"type": tarfile.SYMTYPE, "linkname": ".."})],
    "a link to nothing": [("x", {"type": tarfile.SYMTYPE, "linkname": ""})],
    "a hard link": [("proc/a", b"x"), ("proc/b", {"type": tarfile.LNKTYPE, "linkname": "proc/a"})],
    "a device": [("dev/x", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})],
    "a FIFO": [("proc/x", {"type": tarfile.FIFOTYPE})],
    "a file twice": [("proc/x", b"1"), ("proc/x", b"2")],
    "a link where a directory is": [("a", {"type": tarfile.SYMTYPE, "linkname": "b"}), ("a/x", b"1")],
    "a file below a file": [("proc/x", b"1"), ("proc/x/y", b"2")],
}


@pytest.mark.parametrize("case", HARMFUL)
def test_a_harmful_bundle_is_refused_and_nothing_is_left(case: str, tmp_path: pathlib.Path) -> None:
    bundle = packed(tmp_path / "x.tar.gz", *HARMFUL[case])
    with pytest.raises((Refused, OSError)):
        memqos_bundle.unpack(bundle, str(tmp_path / "tree"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]


def test_a_link_never_leads_a_write_elsewhere(tmp_path: pathlib.Path) -> None:
    bundle = packed(tmp_path / "x.tar.gz", ("etc/a", {"type": tarfile.SYMTYPE, "linkname": "b"}), ("etc/b/x", b"1"))
    memqos_bundle.unpack(bundle, str(tmp_path / "tree"))
    assert (tmp_path / "tree/etc/a").is_symlink() and (tmp_path / "tree/etc/b/x").read_bytes() == b"1"


@pytest.mark.parametrize("limit", [1000, 100000])
def test_a_bomb_is_refused(limit: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = packed(tmp_path / "x.tar.gz", *((f"proc/{number}", b"\0" * 900000) for number in range(2)))
    monkeypatch.setattr(memqos_bundle, "MAX_TOTAL", limit)
    with pytest.raises(Refused, match="grows beyond"):
        memqos_bundle.unpack(bundle, str(tmp_path / "tree"))
    assert not (tmp_path / "tree").exists()


def test_a_bomb_in_a_header_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tarfile.TarInfo("PaxHeaders/x")
    info.type, info.size = tarfile.XHDTYPE, 900000
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(info.tobuf() + b"\0" * 900000))
    monkeypatch.setattr(memqos_bundle, "MAX_TOTAL", 1000)
    monkeypatch.setattr(memqos_bundle, "MAX_MEMBERS", 10)
    with pytest.raises(Refused, match="grows beyond"):
        memqos_bundle.unpack(str(tmp_path / "x.tar.gz"), str(tmp_path / "tree"))


def test_many_empty_files_are_a_bomb_too(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memqos_bundle, "MAX_MEMBERS", 10)
    with pytest.raises(Refused, match="10 files"):
        memqos_bundle.unpack(packed(tmp_path / "x.tar.gz", *((f"proc/{number}", b"") for number in range(11))), str(tmp_path / "tree"))


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"no tar" * 200)], ids=["empty", "text", "no tar"])
def test_what_is_no_bundle_is_said(content: bytes, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.tar.gz").write_bytes(content)
    assert memqos_bundle.main(["--unpack", str(tmp_path / "x.tar.gz"), str(tmp_path / "tree")]) == 1
    assert "x.tar.gz" in capsys.readouterr().err and not (tmp_path / "tree").exists()


def test_a_bundle_cut_short_is_refused(busy: pathlib.Path, tmp_path: pathlib.Path) -> None:
    bundled(busy, tmp_path / "tree")
    data = (tmp_path / "tree.tar.gz").read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(Refused, match="cut short"):
        memqos_bundle.unpack(str(tmp_path / "half.tar.gz"), str(tmp_path / "half"))


def test_a_directory_that_is_there_stays_as_it_is(busy: pathlib.Path, tmp_path: pathlib.Path) -> None:
    tree = bundled(busy, tmp_path / "tree")
    (tree / "mine").write_text("x")
    assert memqos_bundle.main(["--unpack", str(tmp_path / "tree.tar.gz"), str(tree)]) == 1
    assert (tree / "mine").read_text() == "x"


# The command


def run(*arguments: str, **options: t.Any) -> subprocess.CompletedProcess[bytes]:
    """As an operator runs it: the script comes on standard input."""
    with SCRIPT.open("rb") as script:
        return subprocess.run([sys.executable, "-", *arguments], stdin=script, capture_output=True, check=False, **options)


def test_a_bundle_of_this_machine_by_a_pipe(tmp_path: pathlib.Path) -> None:
    done = run()
    assert done.returncode == 0 and b"files" in done.stderr, done.stderr
    (tmp_path / "x.tar.gz").write_bytes(done.stdout)
    assert memqos_bundle.main(["--unpack", str(tmp_path / "x.tar.gz"), str(tmp_path / "tree")]) == 0
    live, again = snapshot(pathlib.Path("/")), snapshot(tmp_path / "tree")
    assert again["meminfo"]["MemTotal"] == live["meminfo"]["MemTotal"] and again["facts"]["hierarchy"] == live["facts"]["hierarchy"]
    assert set(again["knobs"]) == set(live["knobs"]) and set(again["details"]) == set(live["details"])
    assert again["facts"]["hostname"] == "node"


def test_a_file_of_ones_own(tmp_path: pathlib.Path) -> None:
    done = run("--output", str(tmp_path / "x.tar.gz"), "--name", "n17", "--root", str(TREES[0]))
    assert done.returncode == 0 and done.stdout == b"" and [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]
    assert (tmp_path / "x.tar.gz").stat().st_mode & 0o777 == 0o600
    with tarfile.open(tmp_path / "x.tar.gz") as tar:
        hostname = tar.extractfile("proc/sys/kernel/hostname")
        assert hostname is not None and hostname.read() == b"n17\n"


def test_no_archive_goes_to_a_terminal() -> None:
    main, other = os.openpty()
    try:
        done = run_into(other)
    finally:
        os.close(main)
        os.close(other)
    assert done.returncode == 1 and b"terminal" in done.stderr


def test_a_directory_that_is_no_node_is_named(tmp_path: pathlib.Path) -> None:
    done = run("--root", str(tmp_path))
    assert done.returncode == 1 and str(tmp_path).encode() in done.stderr and b"Traceback" not in done.stderr


def test_who_stops_listening_gets_one_line() -> None:
    read, write_end = os.pipe()
    os.close(read)
    try:
        done = run_into(write_end)
    finally:
        os.close(write_end)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == b"memqos_bundle: standard output: Broken pipe" and b"Traceback" not in done.stderr


def run_into(stdout: int) -> subprocess.CompletedProcess[bytes]:
    with SCRIPT.open("rb") as script:
        return subprocess.run([sys.executable, "-"], stdin=script, stdout=stdout, stderr=subprocess.PIPE, check=False)


def test_help_says_what_is_kept() -> None:
    text = " ".join(run("--help").stdout.decode().split())
    for words in ("Kept:", "Replaced", "Never read: /etc/machine-id", "--hash-names"):
        assert words in text


def test_the_script_is_python_3_8_and_needs_nothing_else() -> None:
    module = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {name.name.split(".")[0] for node in ast.walk(module) if isinstance(node, ast.Import) for name in node.names}
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(module) if isinstance(node, ast.ImportFrom)}
    # Since 3.0 or earlier.
    assert imported <= set("__future__ argparse fnmatch gzip hashlib io json os pwd re shutil socket stat subprocess sys tarfile typing".split())
