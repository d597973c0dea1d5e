# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Peaks outlive the container, for 30 days; the kubelet's eviction bound is not to be had."""

from __future__ import annotations

import json
import pathlib
import tempfile
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils._read import _gather
from ansible_collections.memqos.fleet.plugins.plugin_utils import _gathered, _overcommit
from ansible_collections.memqos.fleet.tests.unit.plugins.module_utils._read.test_persisted import made

DAY = 86400
MIB = 1 << 20


def sent(files: dict[str, str]) -> dict[str, dict[str, str]]:
    with tempfile.TemporaryDirectory() as root:
        return _gather.gather(made(pathlib.Path(root), files), _gathered.WANTED)


def run(tmp_path: pathlib.Path, now: float, peaks: t.Any, *, source: str = "kubepods", sources: dict[str, str] | None = None) -> dict[str, t.Any]:
    derived = {"allocatable_bytes": 1000 * MIB, "allocatable_source": source, "stranded_bytes": 0, "peaks": peaks}
    audit: dict[str, t.Any] = {
        "derived": derived,
        "gathered": sent(sources or {}),
        "node": {"meminfo": {}, "knobs": {}},
        "breakdown": {"memtotal_bytes": 2000 * MIB},
    }
    _overcommit.from_node(audit, _gathered.tree(audit), directory=str(tmp_path), host="n1", now=now)
    assert "peaks" not in derived
    return derived


# The day, what the node says of limits and peaks, what is stranded, how long it was watched.
RUNS: list[tuple[float, dict[str, list[int]], int, t.Any]] = [
    (0, {"a": [100, 60], "b": [100, 110]}, 40, {"youngest": 0.0, "oldest": 0.0}),
    (10, {"a": [100, 5]}, 40, {"youngest": 10.0, "oldest": 10.0}),  # started anew
    (12, {"a": [100, 70], "c": [50, 0]}, 80, {"youngest": 0.0, "oldest": 12.0}),
    (25, {"b": [200, 1]}, 90, {"youngest": 25.0, "oldest": 25.0}),  # seen 25 days ago
    (35, {"a": [100, 1]}, 30, {"youngest": 35.0, "oldest": 35.0}),  # watched for longer than 30 days, seen 23 days ago
    (70, {"a": [100, 1]}, 99, {"youngest": 0.0, "oldest": 0.0}),  # seen 35 days ago
]


def test_the_highest_peak_of_each_name_is_kept(tmp_path: pathlib.Path) -> None:
    for day, peaks, stranded, days in RUNS:
        found = run(tmp_path, 1e9 + day * DAY, peaks)
        assert (found["stranded_bytes"], found["stranded_workloads"], found["peak_days"]) == (stranded, len(peaks), days), day


def test_without_peaks_nothing_is_written(tmp_path: pathlib.Path) -> None:
    assert "peak_days" not in run(tmp_path, 1e9, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", '{"a": 5}', '{"a": {"peak": -1, "since": 0, "seen": 0}}', '{"a": {"peak": "x", "since": 1, "seen": 1}}'])
def test_a_damaged_file_is_begun_anew(tmp_path: pathlib.Path, content: str) -> None:
    (tmp_path / "peaks").mkdir()
    (tmp_path / "peaks" / "n1.json").write_text(content)
    assert run(tmp_path, 1e9, {"a": [100, 60]})["stranded_bytes"] == 40


@pytest.mark.parametrize("peaks", [{"a": [1]}, {"a": [1, "x"]}, {"a": [1, -1]}, {"a": [1, True]}, {"a": [1 << 61, 1]}, 5])
def test_other_shapes_are_refused(tmp_path: pathlib.Path, peaks: t.Any) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)):
        run(tmp_path, 1e9, peaks)


CONFIG = "/var/lib/kubelet/config.yaml"
JSON, DROP_INS = "/etc/kubernetes/kubelet/config.json", "/etc/kubernetes/kubelet.conf.d"
CONFIGURATION = {
    "evictionMinimumReclaim": {"memory.available": "1Gi"}, "evictionSoft": {"memory.available": "2Gi"},
    "evictionHard": {"nodefs.available": "1%", "memory.available": "300Mi"},
    "evictionSoftGracePeriod": {"memory.available": "2m"},
}  # fmt: skip


def flags(*words: str) -> dict[str, str]:
    return {"/proc/9/comm": "kubelet\n", "/proc/9/cmdline": "\0".join(["/usr/bin/kubelet", *words, ""])}


BOUNDS: list[tuple[dict[str, str], int | None]] = [
    ({}, None),
    ({CONFIG: "protectKernelDefaults: true\n"}, 100),
    ({CONFIG: 'evictionHard:\n\n  memory.available: "200Mi"\n'}, 200),
    ({CONFIG: "evictionHard: {memory.available: 5%}\n"}, 100),
    ({CONFIG: "evictionHard:\n  nodefs.available: 10%\nevictionSoft:\n  memory.available: 500Mi\n"}, 0),
    ({CONFIG: "evictionHard:\n  memory.available: lots\n"}, None),
    ({JSON: '{\n  "evictionHard": {\n  },\n  "evictionSoft": {"memory.available": "1Gi"}\n}'}, 0),
    ({JSON: '{\n  "evictionHard": {\n    "memory.available": "300Mi"\n  }\n}'}, 300),
    *(({JSON: json.dumps(CONFIGURATION, indent=indent)}, 300) for indent in (None, 1, 4)),
    ({CONFIG: "evictionHard:\n  nodefs.available: 10%\nevictionMinimumReclaim:\n  memory.available: 500Mi\n"}, 0),
    # What the running kubelet was told.
    ({**flags("--config=/etc/kubernetes/kubelet/config.json"), CONFIG: "x: y\n", JSON: json.dumps(CONFIGURATION)}, 300),
    ({**flags("--config", "/opt/k.yaml"), CONFIG: "x: y\n"}, None),
    ({**flags("--eviction-hard=nodefs.available<1%,memory.available<50Mi"), CONFIG: "x: y\n"}, 50),
    ({**flags("--eviction-hard", "nodefs.available<1%"), CONFIG: "x: y\n"}, 0),
    ({**flags(f"--config-dir={DROP_INS}/"), CONFIG: "x: y\n", f"{DROP_INS}/10.conf": "evictionHard: {memory.available: 70Mi}\n",
      f"{DROP_INS}/20.conf": "evictionHard: {memory.available: 80Mi}\n", f"{DROP_INS}/30.conf": "x: y\n"}, 80),
    ({CONFIG: "x: y\n", f"{DROP_INS}/10.conf": "evictionHard: {memory.available: 70Mi}\n"}, 100),  # without --config-dir nobody reads it
    ({**flags("--config-dir=/opt/d"), CONFIG: "x: y\n"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("sources", "bound"), BOUNDS)
def test_the_eviction_bound(tmp_path: pathlib.Path, sources: dict[str, str], bound: int | None) -> None:
    found = run(tmp_path, 1e9, {}, sources=sources)
    assert found["allocatable_bytes"] == (1000 - (bound or 0)) * MIB
    assert ("eviction" in found["allocatable_source"]) is (bound is not None)


def test_a_node_without_pods_has_no_eviction_bound(tmp_path: pathlib.Path) -> None:
    found = run(tmp_path, 1e9, {}, source="memory without huge pages", sources={CONFIG: "x: y\n"})
    assert found["allocatable_bytes"] == 1000 * MIB
