# SPDX-License-Identifier: BSD-2-Clause

"""Request, limit and class → values of memory cgroup files, as koordlet and the kubelet compute them to the byte; or as a profile's intents say.

C(koordinator), C(kubelet) and C(profile) take the workloads of one node (C(_shapes.Workload), made of pods by plugin_utils/_pods.py) and the node: bytes of
C(allocatable), C(capacity), C(swap), C(page_size); C(cgroup_driver) systemd or cgroupfs; C(runtime) of containers whose id does not say it; the kubelet's
C(cgroup_root); C(known) paths by UID, container id and class, where they were seen. Each gives a C(Qos), by the kubelet's paths, relative to the hierarchy's
root. What a model leaves alone is not in it. The order of writing is the transaction's: grow top down, shrink bottom up. docs/qos.md has the formulas.
"""

from __future__ import annotations

import functools
import math
import typing as t

from . import _qos_files
from ._knobs import _registry
from ._memory_qos import OF_QOS
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ansible_collections.memqos.fleet.plugins.plugin_utils._shapes import Workload, WorkloadContainer

Node = t.Mapping[str, t.Any]
Config = t.Dict[str, t.Tuple[t.Any, str]]
QOS_CLASSES = ("Guaranteed", "Burstable", "BestEffort")
_PREFIX = {"containerd": "cri-containerd", "cri-o": "crio", "docker": "docker", "pouch": "pouch"}
_MAX = 2**63 - 1
_INFINITE = math.inf

# Koordinator: pkg/util/sloconfig/nodeslo_config.go. LSE pods take LSR's.
_KEY = {"LSR": "lsrClass", "LS": "lsClass", "BE": "beClass", "SYSTEM": "systemClass"}
_NONE = {**dict.fromkeys(("minLimitPercent", "lowLimitPercent", "throttlingPercent", "wmarkRatio", "wmarkMinAdj"), 0), "wmarkScalePermill": 50}
_NONE.update(priorityEnable=0, priority=0, oomKillGroup=0)
_LATENCY = {**_NONE, "wmarkRatio": 95, "wmarkScalePermill": 20, "wmarkMinAdj": -25}
_AUTO = {"LSR": _LATENCY, "LS": _LATENCY, "BE": {**_LATENCY, "wmarkMinAdj": 50}, "SYSTEM": _NONE}
_MIN, _LOW, _HIGH, _SWAP_MAX = "memory.min", "memory.low", "memory.high", "memory.swap.max"
_PERCENT = {_MIN: "minLimitPercent", _LOW: "lowLimitPercent"}
_RANKS = {"priority": "memory.priority", "priorityEnable": "memory.use_priority_oom", "oomKillGroup": "memory.oom.group"}
_MARKS = {"wmarkRatio": "memory.wmark_ratio", "wmarkScalePermill": "memory.wmark_scale_factor", "wmarkMinAdj": "memory.wmark_min_adj"}
_FLAT = {**_MARKS, **_RANKS}
_CACHE = "memory.pagecache_limit."
# How the origin ends of what a cgroup has for those below: no less than that, and more where others want more.
FOR_BELOW = ", for what is below"


class Row(NamedTuple):
    """An intent on a cgroup: C(equivalence) native, near or none, and why."""

    path: str
    intent: str
    equivalence: str
    reason: str


class Qos(NamedTuple):
    """C(files): {cgroup: {file: value}}, C(origins): the same keys, and what said so. C(rows): of intents only."""

    files: dict[str, dict[str, str]]
    origins: dict[str, dict[str, str]]
    warnings: list[str]
    rows: list[Row]

    def put(self, path: str, file: str, value: t.Any, origin: str) -> None:
        """What the kernel would refuse is left alone, and said."""
        low, high = _bounds(file)
        if not low <= value <= high:
            self.warnings.append(f"{path}: {file} is left alone: {value} ({origin}) is not in {low}..{'' if high is _INFINITE else high}")
            return
        self.files.setdefault(path, {})[file] = "max" if value >= _MAX and "max" in _registry.find(file).unit else str(int(value))
        self.origins.setdefault(path, {})[file] = origin


@functools.lru_cache(64)
def _bounds(file: str) -> tuple[float, float]:
    low, high = _registry.range_for(_registry.find(file), "") or (None, None)
    return -_INFINITE if low is None else low, _INFINITE if high is None else high


class Paths:
    """Of QoS directories, pods and containers, as the kubelet names them."""

    def __init__(self, node: Node) -> None:
        self._systemd = node.get("cgroup_driver", "systemd") == "systemd"
        self._runtime = node.get("runtime", "containerd")
        self._root = [*filter(None, node.get("cgroup_root", "").split("/")), "kubepods"]
        self._known: t.Mapping[str, str] = node.get("known", {})

    def qos(self, qos_class: str) -> str:
        return self._known.get(qos_class) or self._join(self._names(qos_class))

    def pod(self, workload: Workload) -> str:
        return self._known.get(workload["uid"]) or self._join([*self._names(workload["qos_class"]), f"pod{workload['uid']}"])

    def container(self, workload: Workload, container: WorkloadContainer) -> str:
        """Empty if it was not started, or has a runtime whose cgroups have no name that we know."""
        if container.get("id") in self._known:
            return self._known[container["id"]]
        runtime = container.get("runtime", self._runtime)
        if "id" not in container or runtime not in _PREFIX:
            return ""
        name = f"{_PREFIX[runtime]}-{container['id']}"
        leaf = f"{name}.scope" if self._systemd else name if runtime == "cri-o" else container["id"]
        return f"{self.pod(workload)}/{leaf}"

    def _names(self, qos_class: str) -> list[str]:
        return self._root if qos_class == "Guaranteed" else [*self._root, qos_class.lower()]

    def _join(self, names: list[str]) -> str:
        if not self._systemd:
            return "/".join(names)
        escaped = [name.replace("-", "_") for name in names]
        return "/".join("-".join(escaped[:end]) + ".slice" for end in range(1, len(names) + 1))


def _empty(paths: Paths) -> Qos:
    """QoS directories first."""
    places = [paths.qos(qos) for qos in QOS_CLASSES]
    return Qos({place: {} for place in places}, {}, [], [])


def _full(qos: Qos) -> Qos:
    return qos._replace(files={path: files for path, files in qos.files.items() if files})


def koordinator(workloads: t.Iterable[Workload], node: Node, strategy: t.Mapping[str, t.Any], *, v2: bool) -> Qos:
    """C(strategy): a NodeSLO's C(resourceQOSStrategy)."""
    paths, classes = Paths(node), {name: _class_config(strategy, name) for name in _KEY}
    qos = _empty(paths)
    sums: dict[tuple[str, str], tuple[int, str]] = {}
    for workload in workloads:
        if workload.get("inactive"):
            continue
        config = _merged(workload, classes)
        request, limit = _pod_amounts(workload)
        _add_up(sums, workload["qos_class"], request, config)
        path, flat = paths.pod(workload), _copied(config, _FLAT)
        _put_all(qos, path, {**_protection(request, config), **flat})
        _put_all(qos, path, _page_cache(limit, config) if v2 else {})
        for container in workload["containers"]:
            place = paths.container(workload, container)
            if place and not container.get("sidecar"):  # koordlet looks at spec.containers
                _put_all(qos, place, {**_container(*_amounts(workload, container), config, node), **flat})
    for (qos_class, file), (total, origin) in sums.items():
        qos.put(paths.qos(qos_class), file, total, origin)
    for qos_class, name in OF_QOS.items():
        _put_all(qos, paths.qos(qos_class), _copied(classes[name], _RANKS))
    return _full(qos)


def _put_all(qos: Qos, path: str, values: t.Mapping[str, tuple[t.Any, str]]) -> None:
    for file, (value, origin) in values.items():
        qos.put(path, file, value, origin)


def _tagged(fields: t.Mapping[str, t.Any], origin: str) -> Config:
    return {name: (value, origin) for name, value in fields.items() if value is not None}


def _class_config(strategy: t.Mapping[str, t.Any], name: str) -> Config:
    """A class that stands there without memoryQOS configures nothing. One that is missing is the default, which is off."""
    entry = strategy.get(_KEY[name])
    if entry is not None and entry.get("memoryQOS") is None:
        return {}
    given = (entry or {}).get("memoryQOS", {})
    if name != "SYSTEM" and given.get("enable") is not True:
        return _tagged(_NONE, f"strategy: {_KEY[name]} is off")
    return {**_tagged(_AUTO[name], f"default of {name}"), **_tagged(given, f"strategy: {_KEY[name]}")}


def class_of(workload: Workload) -> str:
    """Koordinator's class, by Kubernetes' where there is no label."""
    return workload.get("koordinator_class") or OF_QOS[workload["qos_class"]]


def _merged(workload: Workload, classes: t.Mapping[str, Config]) -> Config:
    """Fields of the annotation, over its policy's template, over the node's; those beside policy none do not count."""
    name = class_of(workload).replace("LSE", "LSR")
    given = workload.get("memory_qos", {})
    policy = given.get("policy")
    if policy == "none":
        return _tagged(_NONE, "annotation: policy none")
    base = _tagged(_AUTO[name], "annotation: policy auto") if policy == "auto" else classes[name]
    return {**base, **_tagged(given, "annotation")} if given else base


def _amounts(workload: Workload, container: WorkloadContainer) -> tuple[int, int]:
    """(request, limit), 0 for none: batch-memory of a pod that is labelled BE."""
    if workload.get("koordinator_class") == "BE":
        return container.get("batch_request", 0), container.get("batch_limit", 0)
    return container.get("request", 0), container.get("limit", 0)


def _pod_amounts(workload: Workload) -> tuple[int, int]:
    if workload.get("koordinator_class") != "BE":
        return workload.get("request", 0), workload.get("limit", 0)
    requests, limits = zip(*(_amounts(workload, container) for container in workload["containers"]))
    return sum(requests), sum(limits) if all(limits) else 0


def _quotient(value: int, by: int) -> int:
    """Towards zero, as Go divides."""
    return value // by if value >= 0 else -(-value // by)


def _protection(request: int, config: Config) -> Config:
    found = {file: (_quotient(request * config[field][0], 100), config[field][1]) for file, field in _PERCENT.items() if field in config}
    if len(found) == 2 and 0 < found[_LOW][0] < found[_MIN][0]:
        found[_LOW] = found[_MIN]
    return found


def _add_up(sums: dict[tuple[str, str], tuple[int, str]], qos_class: str, request: int, config: Config) -> None:
    """kubepods itself is Guaranteed's directory, and holds the others. Here memory.low is not raised to memory.min."""
    for file, field in _PERCENT.items():
        if field in config:
            for place in dict.fromkeys(("Guaranteed", qos_class)):
                so_far = sums.get((place, file), (0, ""))[0]
                sums[place, file] = (so_far + _quotient(request * config[field][0], 100), f"sum over pods of {field}")


def _copied(config: Config, files: t.Mapping[str, str]) -> Config:
    return {file: config[field] for field, file in files.items() if field in config}


def _container(request: int, limit: int, config: Config, node: Node) -> Config:
    found = _protection(request, config)
    percent, origin = config.get("throttlingPercent", (None, ""))
    if percent == 0:
        found[_HIGH] = (_MAX, origin)
    elif percent is not None:
        between = ((limit or node["allocatable"]) - request) * percent
        page = node["page_size"]
        found[_HIGH] = (_quotient(request + _quotient(between, 100), page) * page, origin)
        if 0 < found[_HIGH][0] < found.get(_MIN, (0,))[0]:
            found[_HIGH] = found[_MIN]
    return found


def _page_cache(limit: int, config: Config) -> Config:
    """On v2 only, and on pods only."""
    size, origin = config.get("pageCacheLimitSize", (None, ""))
    percent, of = config.get("pageCacheLimitPercent", (None, ""))
    if size is not None:
        size = min(size, limit) if limit else size
    elif percent is not None and limit:
        size, origin = _quotient(limit * percent, 100), of
    found: Config = {}
    if size is not None:
        found = {_CACHE + "size": (max(0, size), origin), _CACHE + "enable": (int(size > 0), origin)}
        if size > 0:
            found[_CACHE + "sync"] = (int(config.get("pageCacheReclaimSync", (False,))[0]), config.get("pageCacheReclaimSync", (0, origin))[1])
    if "pageCacheEnable" in config:
        found[_CACHE + "enable"] = (int(config["pageCacheEnable"][0]), config["pageCacheEnable"][1])
    return found


def kubelet(workloads: t.Iterable[Workload], node: Node, config: t.Mapping[str, t.Any], *, v2: bool) -> Qos:
    """C(config): fields of a KubeletConfiguration. On v1 a kubelet has no memory QoS."""
    paths = Paths(node)
    qos = _empty(paths)
    gates = config.get("featureGates") or {}
    on = gates.get("MemoryQoS", True)
    tiered = on and config.get("memoryReservationPolicy") == "TieredReservation"
    factor = config.get("memoryThrottlingFactor") if on else None
    swap = _swap_behaviour(config, gates, node)
    sums = dict.fromkeys(QOS_CLASSES, 0)
    for workload in workloads if v2 else ():
        if workload.get("inactive"):
            continue
        qos_class, path = workload["qos_class"], paths.pod(workload)
        sums[qos_class] += workload.get("request", 0)
        file = {"Guaranteed": _MIN, "Burstable": _LOW}.get(qos_class, "") if tiered else ""
        if file and workload.get("request"):
            qos.put(path, file, workload["request"], "memoryReservationPolicy")
        if "pod_limit" in workload:
            _throttle(qos, path, workload.get("request", 0), workload["limit"], factor, node)
        for container in workload["containers"]:
            place = paths.container(workload, container)
            if place:
                _kubelet_container(qos, place, workload, container, on=on, file=file, factor=factor, swap=swap, node=node)
    if not v2:
        qos.warnings.append("a kubelet has no memory QoS on cgroup v1")
    else:
        requests = (sums["Guaranteed"] + sums["Burstable"], sums["Burstable"]) if tiered else (0, 0)
        qos.put(paths.qos("Guaranteed"), _MIN, requests[0], "memoryReservationPolicy")
        for qos_class in ("Guaranteed", "Burstable"):
            qos.put(paths.qos(qos_class), _LOW, requests[1], "memoryReservationPolicy")
    return _full(qos)


def _swap_behaviour(config: t.Mapping[str, t.Any], gates: t.Mapping[str, bool], node: Node) -> str:
    """Empty where nothing is known of swap: then its file is left alone."""
    behaviour = (config.get("memorySwap") or {}).get("swapBehavior")
    if behaviour is None and not node.get("swap"):
        return ""
    return behaviour if behaviour == "LimitedSwap" and gates.get("NodeSwap", True) else "NoSwap"


def _kubelet_container(
    qos: Qos, path: str, workload: Workload, container: WorkloadContainer, *, on: bool, file: str, factor: float | None, swap: str, node: Node
) -> None:
    request, own = container.get("request", 0), container.get("limit", 0)
    if on and file and request:
        qos.put(path, file, request, "memoryReservationPolicy")
    elif on:
        for each in (_MIN, _LOW):
            qos.put(path, each, 0, "memoryReservationPolicy")
    _throttle(qos, path, request, own or workload.get("pod_limit", 0), factor, node)
    if swap:
        limited = swap == "LimitedSwap" and workload["qos_class"] == "Burstable" and not workload.get("critical") and request != own
        qos.put(path, _SWAP_MAX, _swap_share(request, node) if limited else 0, f"swapBehavior {swap}")


def _throttle(qos: Qos, path: str, request: int, limit: int, factor: float | None, node: Node) -> None:
    """In floating point, as the kubelet has it. Nothing where request and limit are equal."""
    if factor is None or (request == limit and request > 0):
        return
    base = limit or node["allocatable"]
    high = int(math.floor(float(request) + (float(base) - float(request)) * factor) / float(node["page_size"])) * node["page_size"]
    if high > request:
        qos.put(path, _HIGH, high, "memoryThrottlingFactor")


def _swap_share(request: int, node: Node) -> int:
    return int(float(request) / float(node["capacity"]) * float(node["swap"])) if request <= node["capacity"] else 0


def profile(
    workloads: t.Iterable[Workload], node: Node, intents: t.Mapping[str, _qos_files.Intents], probe: t.Callable[[str], t.Container[str]], *, v2: bool
) -> Qos:
    """C(intents): {class: {intent: value}}. C(probe): the names of the files that a cgroup has.

    Containers take the values; what protects them stands on their pod, its QoS directory and kubepods too, as a sum. A workload with a C(path) is that cgroup,
    and what protects it stands on all above up to the next such workload (C(FOR_BELOW): at least, as others have a say there).
    """
    paths = Paths(node)
    qos = _empty(paths)
    sums: dict[tuple[str, str], tuple[int, str]] = {}
    alone: dict[str, dict[str, tuple[int, str]]] = {}
    for workload in workloads:
        wanted = intents.get(class_of(workload)) or (intents.get("LSR") if class_of(workload) == "LSE" else None)
        if not wanted or workload.get("inactive"):
            continue
        own = t.cast("dict[str, t.Any]", workload).get("path")
        if own:
            # What it requests nobody has to say, other than of a pod.
            outcomes = _put_intents(qos, own, wanted, (workload.get("request"), workload.get("limit", 0)), probe, node, v2)
            alone[own] = _protecting(outcomes)
            continue
        above = [paths.qos("Guaranteed"), paths.qos(workload["qos_class"]), paths.pod(workload)]
        for container in workload["containers"]:
            place = paths.container(workload, container)
            if place:
                outcomes = _put_intents(qos, place, wanted, _amounts(workload, container), probe, node, v2)
                _add_above(qos, sums, above, outcomes)
        _add_own(sums, above, workload, wanted, probe, node, v2)
    for (place, file), (total, origin) in [*sums.items(), *_over(alone).items()]:
        qos.put(place, file, total, origin)
    return _full(qos)


def _add_own(
    sums: dict[tuple[str, str], tuple[int, str]], above: list[str], workload: Workload, wanted: _qos_files.Intents,
    probe: t.Callable[[str], t.Container[str]], node: Node, v2: bool,
) -> None:  # fmt: skip
    """What a pod requests by itself is protected on the pod at least: its containers share what they have not of their own."""
    if not workload.get("pod_request"):
        return
    subject = _qos_files.Subject(workload["pod_request"], workload.get("pod_limit", 0), node["allocatable"], node["page_size"])
    for file, (value, intent) in _protecting(_qos_files.resolve(wanted, subject, probe(above[-1]), v2=v2)).items():
        more = value - sums.get((above[-1], file), (0, ""))[0]
        for place in set(above) if more > 0 else ():
            sums[place, file] = (sums.get((place, file), (0, ""))[0] + more, f"profile: {intent}, sum")


def _protecting(outcomes: list[_qos_files.Outcome]) -> dict[str, tuple[int, str]]:
    return {file: (int(value), outcome.intent) for outcome in outcomes for file, value in outcome.files.items() if file in (_MIN, _LOW) and value.isdigit()}


def _over(alone: t.Mapping[str, t.Mapping[str, tuple[int, str]]]) -> dict[tuple[str, str], tuple[int, str]]:
    """What protects a workload that is in no pod counts only where all cgroups above have it, too: the sum over those that are next below."""
    sums: dict[tuple[str, str], tuple[int, str]] = {}
    for path, files in alone.items():
        for file, (value, intent) in files.items():
            place = path.rpartition("/")[0]
            while value and place and file not in alone.get(place, {}):
                sums[place, file] = (sums.get((place, file), (0, ""))[0] + value, f"profile: {intent}{FOR_BELOW}")
                place = place.rpartition("/")[0]
    return sums


def _put_intents(
    qos: Qos, path: str, wanted: _qos_files.Intents, amounts: tuple[int | None, int], probe: t.Callable[[str], t.Container[str]], node: Node, v2: bool
) -> list[_qos_files.Outcome]:
    subject = _qos_files.Subject(*amounts, node["allocatable"], node["page_size"])
    outcomes = _qos_files.resolve(wanted, subject, probe(path), v2=v2)
    for outcome in outcomes:
        for file, value in outcome.files.items():
            files, origins = qos.files.setdefault(path, {}), qos.origins.setdefault(path, {})
            # What another intent set to the same is that one's too.
            origins[file] = f"{origins[file]}, {outcome.intent}" if files.get(file) == value else f"profile: {outcome.intent}"
            files[file] = value
        qos.rows.append(Row(path, outcome.intent, outcome.equivalence, outcome.reason))
    return outcomes


def _add_above(qos: Qos, sums: dict[tuple[str, str], tuple[int, str]], above: list[str], outcomes: list[_qos_files.Outcome]) -> None:
    """C(above): kubepods first. A rank counts among siblings, so a pod and its directory have it too; a directory that of its highest."""
    for outcome in outcomes:
        for place in set(above):
            for file, value in outcome.files.items():
                so_far, origin = sums.get((place, file), (0, ""))[0], f"profile: {outcome.intent}"
                if file in (_MIN, _LOW):
                    sums[place, file] = (so_far + int(value), f"{origin}, sum")
                elif file == "memory.priority" and place != above[0]:
                    sums[place, file] = (max(so_far, int(value)), f"{origin}, highest")
            for file, value in outcome.above.items():
                qos.put(place, file, int(value), f"profile: {outcome.intent}")
