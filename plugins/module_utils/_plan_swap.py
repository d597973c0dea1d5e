# SPDX-License-Identifier: BSD-2-Clause

"""The swap part of a plan: swap files, priorities of devices, zram. Pure.

What is made is told by its name (a file of another size is another file), so that a step makes or removes, and whatever is new is on before the old one goes.
Every thing has files of its own, which go with it.
"""

from __future__ import annotations

import re
import typing as t

from . import _persist, _swap, _wanted
from ._guards import Danger
from ._plan_rows import Row
from ._steps import FileStep, ReloadStep, Step, SwapFileStep, SwapStep
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ._plan_rows import Status
    from ._swap import Ground, Room

    Things = t.Mapping[str, t.Mapping[str, t.Tuple[t.Any, str]]]

RISK = "swapoff_does_not_fit"
_SYSTEM = "/etc/systemd/system"
_DROP_IN = "zz-memqos-swap.conf"
_OURS = re.compile(rf"{_SYSTEM}/(?:[^/]+\.swap|[^/]+\.swap\.d/{_DROP_IN}|swap\.target\.d/zz-memqos-[^/]+|memqos-(?:swap|crypt)-[^/]+\.service)")
# The kernel writes to a swap file past its file system, which has to bear that.
_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs")
_NO_FILE = {
    "btrfs": "would need NOCOW, no snapshots and a single device",
    "overlay": "is the layer of a container",
    "tmpfs": "lies in memory itself",
    "zfs": "writes each block to a new place",
}
_PRIORITIES = {"file": 10, "zram": 100}
_LONGEST_SECONDS = 600
_NO_WANT = "no profile wants it any more"


class Thing(NamedTuple):
    """An area as it shall be. C(state): as C(_swap.state) tells it; C(texts): its files. C(path), C(size): of a swap file.

    C(profile), C(expression): who says how large, and how.
    """

    name: str
    unit: str
    area: str
    state: str
    texts: t.Mapping[str, str]
    service: str = ""
    path: str = ""
    size: int = 0
    profile: str = ""
    expression: str = ""


class SwapPart(NamedTuple):
    """C(texts): {path: text}; C(leaving): steps of the journal's origin that go back, as no profile wants what they made.

    C(skipped): of sections that do not count.
    """

    rows: t.Tuple[Row, ...] = ()
    steps: t.Tuple[Step, ...] = ()
    texts: t.Mapping[str, str] = {}
    leaving: t.Tuple[Step, ...] = ()
    skipped: t.Tuple[_wanted.Skipped, ...] = ()


NONE = SwapPart()


def things(wanted: Things, ground: Ground, memtotal: int) -> t.List[Thing]:
    """C(wanted): as C(_wanted.fold) gives it: {file, zram or a device: {attribute: (value, profile)}}."""
    found = []
    for name, said in wanted.items():
        values = {key: value for key, (value, unused) in said.items()}
        values.setdefault("priority", _PRIORITIES.get(name))
        size, profile = said.get("size", ({"value": 0}, next((who for unused, who in said.values()), "")))
        values["mib"] = max(1, _wanted.amount_of(size, memtotal) >> 20)
        make = {"file": _file, "zram": _zram}.get(name)
        thing = make(values, ground) if make else _device(name, values, ground)
        found.append(thing._replace(profile=profile, expression=_wanted.expression(size) if "of_memory" in size else ""))
    return found


def file_path(wanted: Things, memtotal: int) -> str:
    """Of the swap file that is wanted; empty for none."""
    said = wanted.get("file")
    if said is None or "size" not in said:
        return ""
    kind = "crypt" if "encrypted" in said and said["encrypted"][0] else "swap"
    directory = said["directory"][0] if "directory" in said else "/var/lib"
    return f"{directory}/memqos-swap/{kind}-{max(1, _wanted.amount_of(said['size'][0], memtotal) >> 20)}M"


def plan_swap(wanted: Things, ground: Ground, origin: t.Sequence[Step], memtotal: int) -> SwapPart:
    """C(origin): the journal's."""
    rows: t.List[Row] = []
    steps: t.List[Step] = []
    texts: t.Dict[str, str] = {}
    kept: t.Set[str] = set()
    made = {step.path for step in origin if isinstance(step, (SwapFileStep, FileStep)) and step.after is not None}
    for thing in things(wanted, ground, memtotal):
        kept.update((thing.unit, thing.path, *thing.texts))
        live = ground.live.get(thing.area)
        row = Row(thing.name, "swap", "", thing.state, live, live, profile=thing.profile, expression=thing.expression)
        status, why = _hindered(thing, ground, made)
        if status:
            rows.append(row._replace(equivalence="none" if status == "unsupported" else "native").because(why, status))
            continue
        own = _steps_of(thing, ground, live)
        row = row._replace(persisted_after=thing.state, status="would_change" if own else "ok")
        rows.append(row if own or live else row.because("it is off: that holds when it is turned on"))
        steps += own
        texts.update(thing.texts)
    leaving = [step for step in origin if is_swap(step) and _steps_path(step) not in kept]
    return SwapPart(tuple(rows), tuple(steps), texts, tuple(leaving))


def is_swap(step: Step) -> bool:
    return isinstance(step, (SwapFileStep, SwapStep)) or (isinstance(step, FileStep) and is_ours(step.path))


def is_ours(path: str) -> bool:
    """Whether a file of this path belongs to a swap area."""
    return path == _swap.ZRAM_CONF or _OURS.fullmatch(path) is not None


def returned_rows(steps: t.Iterable[Step]) -> t.List[Row]:
    """Of steps that go back."""
    moved = (step for step in steps if isinstance(step, SwapStep) and step.before != step.after)
    return [Row(step.name, "swap", "", step.after, step.before, step.before, status="would_change") for step in moved]


def in_order(steps: t.Sequence[Step], needs_reload: t.Callable[[t.Sequence[Step]], bool]) -> t.List[Step]:
    """Around the other steps: what is new is on before the old one goes, and what boot needs is there while an area is on.

    A daemon-reload of its own reads the files of what is turned on; those that go are read by the one among the others. C(needs_reload): whether these need it.
    """
    own = [step for step in steps if is_swap(step)]
    if not own:
        return list(steps)
    areas = [step for step in own if isinstance(step, SwapStep) and not _swap.is_state(step.after, step.before)]
    # New ones before those that end, or are turned off and on again.
    areas.sort(key=lambda step: step.before is not None)
    on = {step.path for step in areas if step.after is not None}
    disks = [step for step in own if isinstance(step, SwapFileStep)]
    files = sorted((step for step in own if isinstance(step, FileStep)), key=lambda step: len(step.creates))
    going = [step for step in files if step.after is None and _unit_of_file(step.path) not in on]
    first: t.List[Step] = [*(step for step in disks if step.after is not None), *(step for step in files if step not in going)]
    first += [ReloadStep()] if on else []
    others = [step for step in steps if not is_swap(step)]
    if on and not going and not needs_reload(others):
        others = [step for step in others if not isinstance(step, ReloadStep)]
    idle = [step for step in own if isinstance(step, SwapStep) and step not in areas]
    return [*first, *areas, *going, *others, *idle, *(step for step in disks if step.after is None)]


def allowed(steps: t.Iterable[Step], allow: t.Container[str]) -> t.List[Step]:
    return [step._replace(allowed=1) if isinstance(step, SwapStep) and RISK in allow else step for step in steps]


def dangers(steps: t.Iterable[Step], room: Room, real: t.Mapping[str, str]) -> t.Dict[t.Tuple[str, str], Danger]:
    """{key of its row: why it is refused}. C(real): {area: its path in /proc/swaps}."""
    found: t.Dict[t.Tuple[str, str], Danger] = {}
    areas: t.Dict[str, t.Any] = dict(room.areas)
    for step in steps:
        if not isinstance(step, SwapStep) or _swap.is_state(step.after, step.before):
            continue
        path = real.get(step.area, step.area)
        if step.before is not None:
            why = _swap.refusal(path, room._replace(areas=areas))
            if why:
                found[step.name, ""] = Danger(RISK, f"{'it has to be turned off first: ' if step.after else ''}{why}")
            areas.pop(path, None)
        if step.after is not None:
            areas[path] = {"size_bytes": int(step.after.partition(" ")[0]) << 20, "used_bytes": 0}
    return found


# One thing each


def _file(values: t.Mapping[str, t.Any], ground: Ground) -> Thing:
    mib, encrypted = values["mib"], bool(values.get("encrypted"))
    directory = f"{values.get('directory', '/var/lib')}/memqos-swap"
    name = f"{'crypt' if encrypted else 'swap'}-{mib}M"
    path, service = f"{directory}/{name}", f"memqos-{name}.service" if encrypted else ""
    area = f"/dev/mapper/memqos-{name}" if encrypted else path
    unit = f"{_escaped(area)}.swap"
    needs = [f"Requires={service}", f"After={service}"] if encrypted else ["After=systemd-remount-fs.service"]
    texts = {
        f"{_SYSTEM}/{unit}": _unit(["Description=Swap file of a memory profile (memqos.fleet)", *needs], "Swap",
                                   [f"What={area}", f"Priority={values['priority']}", f"TimeoutSec={_LONGEST_SECONDS}"]),
        f"{_SYSTEM}/swap.target.d/zz-memqos-{name}.conf": _unit([f"Wants={unit}"]),
    }  # fmt: skip
    if encrypted:
        texts[f"{_SYSTEM}/{service}"] = _crypt(path, f"memqos-{name}", ground)
    return Thing(f"swap.file {path}", unit, area, f"{mib} MiB, priority {values['priority']}", texts, service, path, mib << 20)


def _crypt(path: str, name: str, ground: Ground) -> str:
    """A key of each boot, which nobody knows. Not in /etc/crypttab, which is somebody else's, and has no directory of parts."""
    program, mkswap, modprobe = (ground.programs.get(one, f"/sbin/{one}") for one in ("cryptsetup", "mkswap", "modprobe"))
    before = ["Description=Encryption of a swap file (memqos.fleet)", "DefaultDependencies=no", f"RequiresMountsFor={path}"]
    before += ["After=systemd-remount-fs.service systemd-random-seed.service systemd-udevd.service", "Conflicts=umount.target", "Before=umount.target"]
    options = "--type plain --cipher aes-xts-plain64 --key-size 512 --key-file /dev/urandom"
    # So early nothing has made /dev/loop-control yet (measured).
    start = [f"ExecStartPre=-{modprobe} -a loop dm_crypt"]
    start += [f"ExecStart={program} -q open {options} {path} {name}", f"ExecStart={mkswap} /dev/mapper/{name}"]
    return _unit(before, "Service", ["Type=oneshot", "RemainAfterExit=yes", *start, f"ExecStop={program} close {name}"])


def _zram(values: t.Mapping[str, t.Any], unused: Ground) -> Thing:
    algorithm = values.get("algorithm")
    lines = ["[zram0]", f"zram-size = {values['mib']}", f"swap-priority = {values['priority']}"]
    lines += [f"compression-algorithm = {algorithm}"] if algorithm else []
    state = f"{values['mib']} MiB, priority {values['priority']}" + (f", {algorithm}" if algorithm else "")
    texts = {_swap.ZRAM_CONF: "\n".join([_persist.HEADER, *lines, ""])}
    return Thing("swap.zram", "dev-zram0.swap", _swap.ZRAM, state, texts, "systemd-zram-setup@zram0.service")


def _device(device: str, values: t.Mapping[str, t.Any], ground: Ground) -> Thing:
    unit = _unit_of(device, ground)
    size = (ground.live.get(device) or "0 MiB").partition(",")[0]
    priority, texts = values["priority"], {}
    if unit:
        # What fstab says comes as an option, which goes before Priority=.
        lines = [f"Priority={priority}", f"Options={unit.options + ',' if unit.options else ''}pri={priority}"]
        texts[f"{_SYSTEM}/{unit.name}.d/{_DROP_IN}"] = _unit([], "Swap", lines)
    return Thing(f"swap.device {device}", unit.name if unit else "", device, f"{size}, priority {priority}", texts)


def _unit_of(device: str, ground: Ground) -> t.Optional[_swap.Unit]:
    return next((unit for unit in ground.units if unit.area == ground.real.get(device, device)), None)


def _hindered(thing: Thing, ground: Ground, made: t.Container[str]) -> t.Tuple[t.Optional[Status], str]:
    """(status, reason) where it cannot be."""
    if thing.path:
        return _file_hindered(thing, ground, made)
    if thing.area == _swap.ZRAM:
        if "zram-generator" not in ground.programs:
            return "unsupported", "this node has no zram-generator (Debian: package systemd-zram-generator)"
        if (ground.made or ground.live.get(thing.area)) and not ground.zram and _swap.ZRAM_CONF not in made:
            return "deferred", f"{thing.area} is somebody else's, and stays as it is"
    elif not thing.unit:
        return "unsupported", ground.silent or f"no unit turns {thing.area} on at boot: a line in /etc/fstab comes first"
    return None, ""


def _file_hindered(thing: Thing, ground: Ground, made: t.Container[str]) -> t.Tuple[t.Optional[Status], str]:
    for program, wanted in (("mkswap", True), ("cryptsetup", bool(thing.service))):
        if wanted and program not in ground.programs:
            package = "util-linux" if program == "mkswap" else "cryptsetup"
            return "unsupported", f"this node has no {program} (package {package})"
    if ground.trouble:
        return "refused", ground.trouble
    if ground.size is not None and (thing.path not in made or ground.size != str(thing.size)):
        return "refused", f"{thing.path} is there and is not as memqos.fleet made it: move it away"
    if ground.kind not in _FILE_SYSTEMS:
        why = _NO_FILE.get(ground.kind, f"is not one of {', '.join(_FILE_SYSTEMS)}, which are known to bear one")
        return "unsupported", f"no swap file on {ground.kind or 'an unknown file system'}, which {why}: choose another directory"
    if ground.size is None and ground.room - thing.size < ground.disk // 20:
        sizes = (_swap.format_size(size) for size in (thing.size, ground.room, ground.disk))
        return "refused", "{} of {} that are free leave less than 5 % of its file system ({}) free: choose a smaller size, or another directory".format(*sizes)
    return None, ""


def _steps_of(thing: Thing, ground: Ground, live: t.Optional[str]) -> t.List[Step]:
    steps: t.List[Step] = []
    if thing.path and ground.size is None:
        steps.append(SwapFileStep(thing.path, None, str(thing.size)))
    is_idle = not live and thing.name.startswith("swap.device ")
    if not is_idle and not _swap.is_state(thing.state, live):
        steps.append(SwapStep(thing.unit, thing.name, thing.area, live, thing.state, thing.service))
    return steps


def _steps_path(step: Step) -> str:
    return step.path if isinstance(step, (SwapFileStep, SwapStep, FileStep)) else ""


def _unit_of_file(path: str) -> str:
    name = path[len(_SYSTEM) + 1 :].partition("/")[0]
    return "dev-zram0.swap" if path == _swap.ZRAM_CONF else name[:-2] if name.endswith(".d") else name


def _unit(lines: t.Sequence[str], section: str = "", more: t.Sequence[str] = ()) -> str:
    own = ["[Unit]", *lines] if lines else []
    own += [*([""] if own else []), f"[{section}]", *more] if section else []
    return "\n".join([_persist.HEADER, *own, ""])


def _escaped(path: str) -> str:
    """As systemd-escape --path."""
    name = re.sub(r"[^A-Za-z0-9:_./]", lambda found: f"\\x{ord(found.group()):02x}", path.strip("/"))
    return name.replace("/", "-")
