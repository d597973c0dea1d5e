# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it costs a node to know its containers: 250 pods of three, as crictl tells them, and their processes, held against a bare read of the same files.

python tests/benchmark/bench_containers.py [--pairs 9] [--pods 250]
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "build/collections"))

from ansible_collections.memqos.fleet.plugins.module_utils import _residents  # noqa: E402
from ansible_collections.memqos.fleet.plugins.module_utils._read import _cgroupfs, _containers  # noqa: E402
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree  # noqa: E402
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils import runtimes  # noqa: E402

HIERARCHY = _cgroupfs.Hierarchy("v2", "/sys/fs/cgroup", 2)
MARKS = {"koordinator.sh/qosClass": "LS", "app.kubernetes.io/name": "web", "pod-template-hash": "7c5ddbdf54"}
NOTES = {"kubernetes.io/config.seen": "2026-11-27T20:00:00Z", "koordinator.sh/memoryQOS": '{"policy":"auto"}', "prometheus.io/scrape": "true"}


def make(root: pathlib.Path, count: int) -> tuple[list[str], list[dict[str, t.Any]], list[pathlib.Path]]:
    """(paths of cgroups, the controller's pods, the files that are read)"""
    output = root / ".memqos/output"
    output.mkdir(parents=True)
    sandboxes: list[t.Any] = []
    containers: list[t.Any] = []
    paths, pods, files = [], [], [output / "crictl-pods", output / "crictl-ps"]
    for number in range(count):
        uid, name, sandbox = f"{number:08x}-1b2c-4d3e-8f40-{number:012x}", f"web-{number}", f"{number:064x}"
        paths.append(f"/kubepods/burstable/pod{uid}")
        sandboxes.append(runtimes.cri_pod(sandbox, uid, name, labels=MARKS, annotations=NOTES))
        listed = []
        for place in range(3):
            container_id, pid = f"{number * 3 + place:032x}{'f' * 32}", 10000 + number * 3 + place
            containers.append(runtimes.cri_container(container_id, sandbox, f"c{place}", labels={"io.kubernetes.pod.uid": uid}))
            listed.append({"name": f"c{place}", "id": container_id, "request": 1 << 28, "limit": 1 << 29})
            paths.append(f"/kubepods/burstable/pod{uid}/{container_id}")
            for path, text in ((f"sys/fs/cgroup{paths[-1]}/cgroup.procs", f"{pid}\n"), (f"proc/{pid}/oom_score_adj", "990\n")):
                files.append(root / path)
                files[-1].parent.mkdir(parents=True)
                files[-1].write_text(text)
        pods.append({"uid": uid, "namespace": "shop", "name": name, "qos_class": "Burstable", "containers": listed})
    files[0].write_text(json.dumps({"items": sandboxes}, indent=2))
    files[1].write_text(json.dumps({"containers": containers}, indent=2))
    return paths, pods, files


def timed(call: t.Callable[[], t.Any]) -> float:
    began = time.process_time()
    call()
    return (time.process_time() - began) * 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--pods", type=int, default=250)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        paths, pods, files = make(pathlib.Path(name), options.pods)
        tree = Tree(name)

        def bare() -> None:
            for path in files:
                with open(path, "rb") as stream:
                    stream.read()

        def read() -> _residents.Residents:
            return _residents.read(tree, HIERARCHY, [{"path": path, "limit": 1 << 29} for path in paths], capacity=64 << 30, pods=pods)

        found = read()
        if found.unread or len(found.joined.workloads) != 3 * options.pods:
            raise SystemExit(f"not all were read: {found.unread}")
        pairs = [(timed(bare), timed(lambda: _containers.read(tree, cri=True, docker=False, podman=False)), timed(read)) for _pair in range(options.pairs)]
    parts = [statistics.median(column) for column in zip(*pairs)]
    size = len(found.joined.workloads)
    print(f"{size} containers: bare read {parts[0]:.1f} ms CPU, crictl's JSON {parts[1]:.1f} ms, all of it {parts[2]:.1f} ms,", end=" ")
    print(f"median ratio {statistics.median(pair[2] / pair[0] for pair in pairs):.2f}")


if __name__ == "__main__":
    main()
