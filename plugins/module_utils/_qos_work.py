# SPDX-License-Identifier: BSD-2-Clause

"""What a tune does for containers: reads workloads and their cgroups, has the model say what they should have, and plans. docs/architecture.md 3.26."""

from __future__ import annotations

import os
import typing as t

from . import _guards, _memcg_rules, _memcgs, _plan, _plan_memcgs, _qos, _qos_files, _qos_near, _residents, _workloads
from ._knobs import _registry
from ._plan_memcgs import Found, Ground, MemcgPart, Subject, Value
from ._read import _cgroup_names, _cgroupfs
from ._read._files import Tree
from ._steps import MemcgsStep, WriteStep, is_same_memcg
from ._tuples import NamedTuple
from ._writer import Refused, Writer

if t.TYPE_CHECKING:
    from ..plugin_utils._shapes import Resident
    from ._plan_rows import Options
    from ._present import Present
    from ._steps import Memcg, Step

Json = t.Dict[str, t.Any]
AREA = "memcg_qos"
_WRITERS = ("koordlet", "katalyst-agent")
# What the kubelet's MemoryQoS (of cgroup v2 only) and its swap write on pods.
_KUBELETS, _KUBELETS_SWAP = ("memory.min", "memory.low", "memory.high"), ("memory.swap.max",)
_OFF = Value("0", "")
_NOBODY = Subject("", "")
# What a cgroup above has for all below it together.
_SUMMED = frozenset(("memory.min", "memory.low"))
_RESETS = "featureGates: {MemoryQoS: false} in its configuration keeps it from that"
# Of a pod, as it was checked for its containers.
_BY_RESIDENTS = ("koordinator_class", "memory_qos")
# Koordlet has them on pods alone.
_OF_PODS = ("page_cache_limit",)
# As C(_resources) has it.
_INVENTORY = "inventory"


class Asked(NamedTuple):
    """C(model): profile, koordinator or kubelet; C(config): the strategy, or the kubelet's fields. C(pods): of this node (plugin_utils/_pods.py).

    C(intents): {class: {intent: value}}. C(node): what the controller says of the node over what it says itself.
    """

    model: str = "profile"
    config: t.Mapping[str, t.Any] = {}
    pods: t.Sequence[t.Mapping[str, t.Any]] = ()
    declared: t.Sequence[t.Any] = ()
    node: t.Mapping[str, t.Any] = {}
    intents: t.Mapping[str, t.Mapping[str, t.Any]] = {}


def asked(given: t.Mapping[str, t.Any], layers: t.Iterable[Json]) -> Asked:
    """C(layers): C(qos) of later ones over that of earlier ones, intent by intent; C({"absent": true}) takes one back. C(units) of a class are declared."""
    intents: t.Dict[str, t.Dict[str, t.Any]] = {}
    units: t.Dict[str, t.Any] = {}
    for layer in layers:
        for name, said in layer.get("qos", {}).items():
            intents.setdefault(name, {}).update(said)
            if "units" in said:
                units.pop(name, None)  # the last that matches counts
                units[name] = intents[name].pop("units")
    kept = {name: {intent: value for intent, value in said.items() if value != {"absent": True}} for name, said in intents.items()}
    classed = [{"match": unit, "qos_class": name, "source": "profile"} for name, said in units.items() if isinstance(said, list) for unit in said]
    declared = [*(classed if given.get("model", "profile") == "profile" else ()), *given.get("declared", ())]
    return Asked(**{**given, "declared": declared, "intents": {name: said for name, said in kept.items() if said}})


def part(
    request: Asked, steps: t.Iterable[Step], present: Present, options: Options, tree: Tree, writer: Writer,
    taken: t.Optional[t.Mapping[str, t.Any]] = None, planned: t.Iterable[Step] = (),
) -> MemcgPart:  # fmt: skip
    """C(steps): the journal's origin; C(taken): files that the slices of profiles set, and to what; C(planned): what comes before."""
    origin = next((step for step in steps if isinstance(step, MemcgsStep)), None)
    if not options.covers(AREA) or (request.model == "profile" and not request.intents and not origin):
        return _plan_memcgs.NONE
    if present.hierarchy is None or not present.version:
        return MemcgPart(notes=("containers were left alone: this node has no memory controller",))
    work = _Work(request, present, tree, writer)
    boot_id = tree.read_text("/proc/sys/kernel/random/boot_id")
    switched = {step.knob: step.after for step in planned if isinstance(step, WriteStep) and step.scope == "host"}
    return work.plan(origin.memcgs if origin and origin.boot_id == boot_id else (), options, taken or {}, switched)


class _Work:
    def __init__(self, request: Asked, present: Present, tree: Tree, writer: Writer) -> None:
        self.request, self.present, self.tree, self.writer = request, present, tree, writer
        self.v2 = present.version == 2
        self.notes: t.List[str] = []
        self.subjects: t.Dict[str, Subject] = {}
        self.names: t.Dict[str, t.FrozenSet[str]] = {}
        self.roots: t.List[str] = []
        self.ranks: t.Set[int] = set()
        hierarchy = t.cast("_cgroupfs.Hierarchy", present.hierarchy)
        self.hierarchy, self.cgroups = hierarchy, _cgroup_names.read(tree, hierarchy)
        capacity = present.meminfo["MemTotal"]
        residents = _residents.read(tree, hierarchy, self.cgroups, capacity=capacity, pods=request.pods, declared=request.declared)
        self.joined = residents.joined
        self.notes += [f"{source} {why}" for source, why in residents.unread.items()]
        self.notes += residents.notes
        if self.joined.gone:
            self.notes.append(f"{self.joined.gone} of the pods that were handed over are not on this node")
        if request.intents and request.model != "profile":
            self.notes.append(f"qos of profiles does not count: the model is {request.model}")

    def plan(self, origin: t.Sequence[t.Any], options: Options, taken: t.Mapping[str, t.Any], switched: t.Mapping[str, str]) -> MemcgPart:
        qos = self._values()
        wanted: t.Dict[str, t.Dict[str, Value]] = {}
        none: t.Dict[str, t.List[t.Tuple[str, str]]] = {}
        here = {cgroup["path"] for cgroup in self.cgroups}
        # What comes near them is set on containers.
        ranked = (files for path, files in qos.files.items() if self.subjects.get(f"/{path}", _NOBODY).level == "container")
        self.ranks = {int(files.get("memory.priority", "0")) for files in ranked if files.get("memory.use_priority_oom") == "1"}
        for path, files in qos.files.items():
            if f"/{path}" in here:
                place = f"{self.present.mount}/{path}"
                origins = qos.origins[path]
                wanted[place] = {file: Value(text, origins[file]) for file, text in files.items()}
                self._come_near(place, wanted[place], none)
        for row in qos.rows:
            place = f"{self.present.mount}/{row.path}"
            if row.equivalence == "none":
                none.setdefault(place, []).append((row.intent, row.reason))
                wanted.setdefault(place, {})
            elif row.equivalence == "near":
                self._mark(wanted.get(place, {}), row)
        self.notes += qos.warnings
        found = self._found(wanted, origin)
        _at_least(wanted, found, origin, taken)
        off = self._off(wanted, switched)
        self._say_resets(wanted)
        ground = Ground(found, self._placed(wanted), self._rivals(), self.present.page_size, origin, taken, self.roots, off)
        made = _plan_memcgs.plan_memcgs(wanted, none, ground, refuse=options.on_conflict == "refuse")
        return self._guarded(made, options.allow)._replace(notes=tuple(dict.fromkeys(self.notes)))

    def _guarded(self, made: MemcgPart, allow: t.Container[str]) -> MemcgPart:
        refused, notes = protected_too_much(made.step.memcgs if made.step else (), allow, self.present, self.tree)
        self.notes += notes
        text = "\n".join(filter(None, (made.blocked, *refused)))
        return made._replace(step=None if text else made.step, blocked=text)

    def _values(self) -> _qos.Qos:
        """Of all roots of pods: a node has one, but where two kubelets share it, or one changed its driver."""
        whole = _qos.Qos({}, {}, [], [])
        for workloads, known in self._workloads():
            if self.request.model == "profile" or known:
                one = _beside(self._modelled(workloads, known), whole)
                whole = _qos.Qos({**whole.files, **one.files}, {**whole.origins, **one.origins}, whole.warnings + one.warnings, whole.rows + one.rows)
        return whole

    def _modelled(self, workloads: t.Sequence[t.Any], known: t.Mapping[str, str]) -> _qos.Qos:
        meminfo, top = self.present.meminfo, f"/{known.get('Guaranteed', '')}"
        limit = next((cgroup.get("limit") for cgroup in self.cgroups if cgroup["path"] == top), None)
        node = {
            "capacity": meminfo["MemTotal"], "swap": meminfo.get("SwapTotal", 0), "page_size": self.present.page_size,
            # The kubelet bounds all pods by what they can have.
            "allocatable": limit or meminfo["MemTotal"], **self.request.node, "known": known,
        }  # fmt: skip
        if self.request.model == "koordinator":
            return _qos.koordinator(workloads, node, self.request.config, v2=self.v2)
        if self.request.model == "kubelet":
            return _qos.kubelet(workloads, node, self.request.config, v2=self.v2)
        return _qos.profile(workloads, node, self.request.intents, lambda path: self._names(f"{self.present.mount}/{path}"), v2=self.v2)

    def _workloads(self) -> t.List[t.Tuple[t.List[t.Any], t.Dict[str, str]]]:
        """(workloads as a model takes them, {UID, container id or class: its cgroup}) of each root of pods; the last of what is in no pod."""
        pods: t.Dict[str, t.List[Resident]] = {}
        alone: t.List[t.Any] = []
        for one in self.joined.workloads:
            if one.get("pod_uid", "") in self.joined.pods:
                pods.setdefault(one["pod_uid"], []).append(one)
            elif one.get("qos_class") or one.get("koordinator_class"):
                alone.append(self._alone(one))
            else:
                self._say(one["path"], one, "container")
        listed = {pod.get("uid"): pod for pod in self.request.pods}
        roots: t.Dict[str, t.Tuple[t.List[t.Any], t.Dict[str, str]]] = {}
        for uid, containers in pods.items():
            place, pod = self.joined.pods[uid][1:], self._pod(uid, listed.get(uid, {}), containers)
            above = place.rpartition("/")[0]
            root = above if pod["qos_class"] == "Guaranteed" else above.rpartition("/")[0]
            found, known = roots.setdefault(root, ([], _classes(root)))
            found.append(pod)
            known.update({pod["qos_class"]: above, uid: place, **{one["container_id"]: one["path"][1:] for one in containers if "container_id" in one}})
        self.roots = [f"{self.present.mount}/{root}" for root in roots]
        for unused, known in roots.values():
            self._say_classes(known)
        return [*roots.values(), (alone, {})]

    def _say_classes(self, known: t.Mapping[str, str]) -> None:
        for name in ("Guaranteed", "Burstable", "BestEffort"):
            if name in known:
                self.subjects[f"/{known[name]}"] = Subject("kubepods" if name == "Guaranteed" else name, "class", name)

    def _pod(self, uid: str, listed: t.Mapping[str, t.Any], containers: t.List[Resident]) -> Json:
        first = containers[0]
        # Started anew since, it has another id and the same name.
        known = {container.get(key): container for key in ("name", "id") for container in listed.get("containers", ())}
        pod: Json = {
            "uid": uid,
            "namespace": first.get("namespace", ""),
            "name": first.get("pod", uid),
            **{key: value for key, value in listed.items() if key not in _BY_RESIDENTS},
            "qos_class": first.get("qos_class", "BestEffort"),
        }
        pairs = [(one, known.get(one.get("container_id")) or known.get(one.get("container", ""), {})) for one in containers]
        if listed and self.request.model == "koordinator":
            pairs = [(one, said) for one, said in pairs if said or not one.get("container")]  # koordlet looks at spec.containers
        said_of = {id(said) for unused, said in pairs}
        waiting = [{key: value for key, value in one.items() if key != "id"} for one in listed.get("containers", ()) if id(one) not in said_of]
        pod["containers"] = [*(self._container(*pair) for pair in pairs), *waiting]
        _overrule(pod, pairs, listed.get("containers", ()))
        for key in _BY_RESIDENTS:
            said = next((one[key] for one in t.cast("t.List[Json]", containers) if key in one), None)
            if said is not None:
                pod[key] = said
        if not listed:
            requests, limits = ([container.get(key, 0) for container in pod["containers"]] for key in ("request", "limit"))
            pod.update(request=sum(requests), **({"limit": sum(limits)} if all(limits) else {}))
        name = pod.get("koordinator_class") or pod["qos_class"]
        label, source = f"{pod['namespace']}/{pod['name']}".lstrip("/"), "" if listed else _source(containers)
        self.subjects[self.joined.pods[uid]] = Subject(label, "pod", name, "", pod.get("request"), pod.get("limit"), source)
        for one in containers:
            self._say(one["path"], one, "container", name)
        return pod

    def _container(self, one: t.Mapping[str, t.Any], listed: t.Mapping[str, t.Any]) -> Json:
        found: Json = {key: one[key] for key in ("request", "batch_request", "batch_limit") if one.get(key) is not None}
        if one.get("limit"):
            found["limit"] = one["limit"]
        found.update({key: listed[key] for key in ("sidecar",) if key in listed})
        return {"name": one.get("container", ""), "id": one.get("container_id", ""), **found}

    def _alone(self, one: t.Mapping[str, t.Any]) -> Json:
        """What is in no pod: a container of Podman or Docker, a unit that the inventory names."""
        name = one.get("koordinator_class") or one.get("qos_class", "")
        self._say(one["path"], one, "container" if one["kind"] in ("container", "lxc") else "unit", name)
        sizes = {key: one[key] for key in ("request", "limit") if one.get(key) or (key == "request" and key in one)}
        classes = {key: one[key] for key in ("koordinator_class", "qos_class") if key in one}
        return {
            "qos_class": "BestEffort",
            **classes,
            **sizes,
            "path": one["path"][1:],
            "containers": [],
            "uid": "",
            "namespace": "",
            "name": one.get("name", ""),
        }

    def _say(self, path: str, one: t.Mapping[str, t.Any], level: str, name: str = "") -> None:
        self.subjects[path] = Subject(one.get("name", path), level, name, "", one.get("request"), one.get("limit"), _source([one]))
        self.notes += [f"{one.get('name', path)}: {words}" for words in one.get("warnings", ())]

    def _placed(self, places: t.Iterable[str]) -> t.Dict[str, Subject]:
        """By the whole path, with the unit that systemd has there."""
        found = {}
        for place in places:
            path = place[len(self.present.mount) :]
            subject = self.subjects.get(path, Subject(path[1:], ""))
            found[place] = subject._replace(unit=unit_of(path) if self.v2 and "systemd" in self.present.facts else "")
        return found

    def _come_near(self, place: str, values: t.Dict[str, Value], none: t.Dict[str, t.List[t.Tuple[str, str]]]) -> None:
        """Of what a model wants and this kernel does not have. Pods hold containers, which have it."""
        subject = self.subjects.get(place[len(self.present.mount) :])
        if self.request.model == "profile" or subject is None:
            return
        if "memory.wmark_ratio" not in self._names(place):
            values.pop("memory.wmark_scale_factor", None)  # a gap is nothing without it
        amounts = _qos_files.Subject(subject.request or 0, subject.limit or 0, self.present.meminfo["MemTotal"], self.present.page_size)
        found = _qos_near.near({file: value.text for file, value in values.items()}, amounts, self._names(place), v2=self.v2, ranks=self.ranks)
        if not found.outcomes:
            return
        reasons = {outcome.intent: outcome.reason for outcome in found.outcomes}
        elsewhere = set()
        for file, (text, intent) in found.files.items():
            if subject.level == "container" or (subject.level == "pod" and intent in _OF_PODS):
                values[file] = Value(text, f"near: {intent}", "near", reasons[intent])
            else:
                elsewhere.add(intent)
        for file in found.instead:
            values.pop(file, None)
        none.setdefault(place, []).extend((one.intent, one.reason) for one in found.outcomes if not one.files)
        none[place] += [(intent, "what comes near is set on containers") for intent in sorted(elsewhere)]

    def _mark(self, values: t.Dict[str, Value], row: _qos.Row) -> None:
        for file, value in values.items():
            if value.origin == f"profile: {row.intent}":
                values[file] = value._replace(equivalence="near", reason=row.reason)
            elif value.origin.endswith(f", {row.intent}"):
                values[file] = value._replace(reason=f"near for {row.intent}: {row.reason}")

    def _names(self, place: str) -> t.FrozenSet[str]:
        """Names of the files that this cgroup has. All but the root have the same, so one is looked at."""
        if not self.names:
            try:
                self.names[place] = frozenset(map(os.fsdecode, os.listdir(self.tree.fs_path(place))))
            except OSError:
                return frozenset()
        return next(iter(self.names.values()))

    def _found(self, wanted: t.Mapping[str, t.Mapping[str, Value]], origin: t.Sequence[t.Any]) -> t.Dict[str, Found]:
        files: t.Dict[str, t.Dict[str, t.Any]] = {place: dict.fromkeys(values) for place, values in wanted.items()}
        for memcg in origin:
            files.setdefault(memcg.path, {}).update((value[0], None) for value in memcg.values)
        highs = {memcg.path: before for memcg in origin for file, before, unused in memcg.values if file == "memory.high"}
        highs.update((place, values["memory.high"].text) for place, values in wanted.items() if "memory.high" in values)
        self._add_beside(files)
        found = {}
        with self.writer.many():
            for place, names in files.items():
                try:
                    one = Found(*self.writer.memcg_read(place, 0, names))
                    high = highs.get(place, "")
                    used = _memcgs.usage(place, one.inode, one.files.get("memory.high", ""), high, self.writer)
                    found[place] = one._replace(usage=used[0], inactive_file=used[1]) if used else one
                except (OSError, Refused):
                    continue  # it has ended since
        return found

    def _add_beside(self, files: t.Dict[str, t.Dict[str, t.Any]]) -> None:
        """What has a say in how these read."""
        for place, names in [*files.items()]:
            for file in _memcg_rules.FROM_ABOVE.intersection(names):
                above = place.rpartition("/")[0]
                while len(above) > len(self.present.mount) and file not in files.setdefault(above, {}):
                    files[above][file] = None
                    above = above.rpartition("/")[0]
            if (_memcg_rules.DEPENDENT - _memcg_rules.FROM_ABOVE).intersection(names):
                names.update(dict.fromkeys(_memcg_rules.LIMITS))

    def _off(self, wanted: t.Mapping[str, t.Mapping[str, Value]], switched: t.Mapping[str, str]) -> t.Dict[str, str]:
        """{file: why it does nothing}: the host's switch is off, now and after C(switched)."""
        found = {}
        for file in _memcg_rules.SWITCHES.keys() & {file for values in wanted.values() for file in values}:
            switch = _memcg_rules.SWITCHES[file]
            live = self.tree.read_or_empty(_registry.find(switch).path).decode("ascii", "replace").strip()
            if switched.get(switch, live) == "0":
                found[file] = f"without effect while {switch} is 0"
                used = any(file in values and not _memcg_rules.is_off(file, values[file].text) for values in wanted.values())
                self.notes += [f"{file} is without effect while {switch} is 0: a profile can set it, under host"] if used else []
        return found

    def _say_resets(self, wanted: t.Mapping[str, t.Mapping[str, Value]]) -> None:
        kubelet = self.present.persisted.kubelet
        if not kubelet or not kubelet.resets or kubelet.memory_qos is not False or not self.v2:
            return
        pairs = [pair for root in self.roots for pair in ((root, "memory.min"), (root, "memory.low"), (_classes(root)["Burstable"], "memory.low"))]
        taken = [f"{place}/{file}" for place, file in pairs if wanted.get(place, {}).get(file, _OFF).text != "0"]
        if taken:
            self.notes.append(f"a kubelet of 1.37 or later sets {', '.join(taken)} to 0 every minute, and what it protects with it: {_RESETS}")

    def _rivals(self) -> t.Dict[str, str]:
        """{file: who else writes it}: two writers would take turns."""
        persisted = self.present.persisted
        for name in _WRITERS:
            if name in persisted.writers:
                return {file: name for knob in _registry.memcg_knobs() for file in (knob.v1, knob.v2) if file}
        found = {}
        if persisted.kubelet and persisted.kubelet.memory_qos is not False and self.v2:
            may = "" if persisted.kubelet.memory_qos else ", as its version has it"
            found.update(dict.fromkeys(_KUBELETS, f"the kubelet (MemoryQoS, {persisted.kubelet.config}{may})"))
        if persisted.kubelet and persisted.kubelet.swap:
            found.update(dict.fromkeys(_KUBELETS_SWAP, f"the kubelet (swapBehavior {persisted.kubelet.swap}, {persisted.kubelet.config})"))
        return found


def protected_too_much(memcgs: t.Iterable[Memcg], allow: t.Container[str], present: Present, tree: Tree) -> t.Tuple[t.List[str], t.List[str]]:
    """(why these are refused, what is allowed all the same): more protection than a node can bear. What lies below bounds the top."""
    depth = present.mount.count("/") + 1
    steps = [
        WriteStep("memory.min", "memcg", memcg.path, f"{memcg.path}/memory.min", before, after)
        for memcg in memcgs
        if memcg.path.count("/") == depth
        for file, before, after in memcg.values
        if file == "memory.min"
    ]
    if not steps or present.hierarchy is None:
        return [], []
    top = _cgroupfs.walk(tree, present.hierarchy, towards=())[0]
    dangers = _guards.dangers(steps, _plan.figures(present)._replace(cgroups={cgroup["path"]: cgroup for cgroup in top}))
    refused = [f"{place} memory.min: {one.reason} ({one.risk})" for (unused, place), one in dangers.items() if one.risk not in allow]
    return refused, [f"{place}: {one.reason}: allowed ({one.risk})" for (unused, place), one in dangers.items() if one.risk in allow]


def _beside(one: _qos.Qos, whole: _qos.Qos) -> _qos.Qos:
    """Where both want a file, which is above a pod and above what is in none, they want the sum."""
    files, origins = dict(one.files), dict(one.origins)
    for path in one.files.keys() & whole.files.keys():
        mine, theirs = one.files[path], whole.files[path]
        files[path] = {**theirs, **mine, **{file: _sum(mine[file], theirs[file]) for file in _SUMMED & mine.keys() & theirs.keys()}}
        origins[path] = {**one.origins[path], **whole.origins[path]}
    return one._replace(files=files, origins=origins)


def _sum(*texts: str) -> str:
    return "max" if "max" in texts else str(sum(map(int, texts)))


def _source(residents: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    """Who says what these request; an estimate before what is known."""
    said = [one.get("sources", {}).get("request", "") for one in residents]
    return _workloads.ESTIMATED if _workloads.ESTIMATED in said else next(filter(None, said), "")


def _overrule(pod: Json, pairs: t.Iterable[t.Tuple[t.Mapping[str, t.Any], t.Mapping[str, t.Any]]], listed: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """What the inventory says of containers of a listed pod counts for the pod too, unless that says its own size."""
    for key in ("request", "limit"):
        told = {id(said): one.get(key) or 0 for one, said in pairs if said and one.get("sources", {}).get(key) == _INVENTORY}
        if told and not pod.get(f"pod_{key}"):
            before, now = (sum(sizes.get(id(one), one.get(key, 0)) for one in listed) for sizes in ({}, told))
            # What is more than the sum is an init container's, or overhead.
            pod[key] = now if pod.get(key, 0) == before else max(pod.get(key, 0), now)
            if not pod[key]:
                del pod[key]


def _at_least(wanted: t.Mapping[str, t.Dict[str, Value]], found: t.Mapping[str, Found], origin: t.Sequence[t.Any], taken: t.Mapping[str, t.Any]) -> None:
    """What somebody else protects stays where it is more than what is wanted for those below; what slices of a profile protect is theirs to say."""
    same = [memcg for memcg in origin if memcg.path in found and is_same_memcg(memcg, found[memcg.path].inode)]
    ours = {(memcg.path, file): before for memcg in same for file, before, unused in memcg.values}
    for place, values in wanted.items():
        for file, value in [*values.items()]:
            said = taken.get(f"{place}/{file}", 0)
            if value.origin.endswith(_qos.FOR_BELOW) and (said is None or (isinstance(said, int) and said >= _memcg_rules.amount(value.text))):
                del values[file]
            elif value.origin.endswith(_qos.FOR_BELOW) and place in found:
                theirs = ours.get((place, file), found[place].files.get(file, ""))
                if theirs == "max" or (theirs.isdigit() and int(theirs) > _memcg_rules.amount(value.text)):
                    values[file] = value._replace(text=theirs)


def _classes(root: str) -> t.Dict[str, str]:
    """Where a kubelet has the pods of each class, below this kubepods."""
    stem = root.rpartition("/")[2][: -len(".slice")] if root.endswith(".slice") else ""
    names = {name: f"{stem}-{name.lower()}.slice" if stem else name.lower() for name in ("Burstable", "BestEffort")}
    return {"Guaranteed": root, **{name: f"{root}/{below}" for name, below in names.items()}}


def unit_of(path: str) -> str:
    """The unit of PID 1 whose cgroup this path is, empty if none can be: where another systemd runs in a container, its units lie elsewhere."""
    parts = path.split("/")[1:]
    *slices, name = parts
    if not name.endswith((".slice", ".scope", ".service")):
        return ""
    if name.endswith(".slice"):
        slices = parts
    above = ""
    for one in slices:
        stem = one[: -len(".slice")]
        if not one.endswith(".slice") or (above and not stem.startswith(f"{above}-")) or (not above and "-" in stem):
            return ""
        above = stem
    return name
