# SPDX-License-Identifier: BSD-2-Clause

"""The swap part of a plan: swap files, priorities of devices, zram. Pure. docs/architecture.md 3.20."""

from __future__ import annotations

import re
import typing as t

from . import _persist, _swap, _wanted
from ._guards import Danger
from ._plan_rows import Row
from ._shares import format_size
from ._steps import FileStep, ReloadStep, Step, SwapFileStep, SwapStep
from ._tuples import NamedTuple

if t.TYPE_CHECKING:
    from ._plan_rows import Status
    from ._swap import Ground, Room

    # {file, zram or a device: {attribute: (value, profile)}}
    Things = t.Mapping[str, t.Mapping[str, t.Tuple[t.Any, str]]]

RISK = "swapoff_does_not_fit"
_SYSTEM = "/etc/systemd/system/"
_DROP_IN = "zz-memqos-swap.conf"
_OURS = re.compile(rf"{_SYSTEM}(?:[^/]+\.swap|[^/]+\.(?:swap|device)\.d/{_DROP_IN}|swap\.target\.d/zz-memqos-[^/]+|memqos-crypt-[^/]+\.service)")
# The kernel writes past its file system, which has to bear that.
_FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs")
_PRIORITIES = {"file": 10, "zram": 100}
# In the order of steps: files of what is off.
_GOING = 5


class Thing(NamedTuple):
    """An area as it shall be: C(step) turns it on from nothing; C(texts): its files. C(path), C(size): of a swap file."""

    step: SwapStep
    texts: t.Mapping[str, str]
    path: str = ""
    size: int = 0
    profile: str = ""
    expression: str = ""


class SwapPart(NamedTuple):
    """C(texts): {path: text}; C(leaving): steps of the journal's origin whose things no profile wants."""

    rows: t.Tuple[Row, ...] = ()
    steps: t.Tuple[Step, ...] = ()
    texts: t.Mapping[str, str] = {}
    leaving: t.Tuple[Step, ...] = ()
    skipped: t.Tuple[_wanted.Skipped, ...] = ()


NONE = SwapPart()


def things(wanted: Things, ground: Ground, memtotal: int) -> t.List[Thing]:
    found = []
    for name, said in wanted.items():
        values = {"priority": _PRIORITIES.get(name), "directory": "/var/lib", **{key: value for key, (value, unused) in said.items()}}
        size, profile = said.get("size", ({"value": 0}, next(iter(said.values()))[1]))
        mib = _wanted.amount_of(size, memtotal) >> 20
        thing = _file(values, mib, ground) if name == "file" else _zram(values, mib) if name == "zram" else _device(name, values["priority"], ground)
        found.append(thing._replace(profile=profile, expression=_wanted.expression(size) if "of_memory" in size else ""))
    return found


def plan_swap(things_wanted: t.Iterable[Thing], ground: Ground, origin: t.Sequence[Step]) -> SwapPart:
    """C(origin): the journal's."""
    rows: t.List[Row] = []
    steps: t.List[Step] = []
    texts: t.Dict[str, str] = {}
    kept: t.Set[str] = set()
    made = {step.path for step in origin if isinstance(step, (SwapFileStep, FileStep)) and step.after is not None}
    for thing in things_wanted:
        step = thing.step._replace(before=ground.live.get(thing.step.area))
        kept.update((step.path, thing.path, *thing.texts))
        row = _row(step)._replace(profile=thing.profile, expression=thing.expression)
        status, why = _hindered(thing, ground, made)
        if status:
            rows.append(row._replace(equivalence="none" if status == "unsupported" else "native").because(why, status))
            continue
        texts.update(thing.texts)
        own: t.List[Step] = [SwapFileStep(thing.path, None, str(thing.size))] if thing.path and ground.size is None else []
        if step.area in ground.real and not step.before:
            row = row.because("it is off: that holds when it is turned on")
        elif not _swap.is_state(step.after, step.before):
            own.append(step)
        rows.append(row._replace(persisted_after=step.after, status="would_change" if own else "ok"))
        steps += own
    leaving = tuple(step for step in origin if is_swap(step) and getattr(step, "path", "") not in kept)
    return SwapPart(tuple(rows), tuple(steps), texts, leaving)


def is_swap(step: Step) -> bool:
    return isinstance(step, (SwapFileStep, SwapStep)) or (isinstance(step, FileStep) and is_ours(step.path))


def is_ours(path: str) -> bool:
    """A file of a swap area."""
    return path == _swap.ZRAM_CONF or _OURS.fullmatch(path) is not None


def returned_rows(steps: t.Iterable[Step]) -> t.List[Row]:
    """Of steps that go back."""
    return [_row(step)._replace(status="would_change") for step in steps if isinstance(step, SwapStep) and step.before != step.after]


def in_order(steps: t.Sequence[Step], needs_reload: t.Callable[[t.Sequence[Step]], bool]) -> t.List[Step]:
    """Around the other steps, with a daemon-reload of its own before an area comes on. C(needs_reload): whether others need one."""
    on = {step.path for step in steps if isinstance(step, SwapStep) and step.after and not _swap.is_state(step.after, step.before)}
    ranked = [(_rank(step, on), step) for step in steps if is_swap(step)]
    others = [step for step in steps if not is_swap(step)]
    if on and _GOING not in dict(ranked) and not needs_reload(others):
        others = [step for step in others if not isinstance(step, ReloadStep)]
    ranked += [(2, ReloadStep())] if on else []
    ranked += [(_GOING + 1, step) for step in others]
    return [step for unused, step in sorted(ranked, key=lambda pair: pair[0])]


def added(steps: t.Iterable[Step]) -> int:
    """Bytes, when all is done."""
    return sum(_mib(step.after) - _mib(step.before) for step in steps if isinstance(step, SwapStep)) << 20


def facts_before_us(facts: t.Mapping[str, t.Any], steps: t.Iterable[Step]) -> t.Dict[str, t.Any]:
    """Those of C(facts) that are other with what C(steps), the origin's, have added."""
    ours = [step for step in steps if isinstance(step, SwapStep)]
    found: t.Dict[str, t.Any] = {}
    more, total = added(ours), facts.get("swap_total_bytes")
    if more and total is not None:
        found["swap_total_bytes"] = max(0, total - more)
    if any(step.area == _swap.ZRAM and step.before is None and step.after for step in ours):
        found["zram"] = False
    return found


def _mib(state: t.Optional[str]) -> int:
    return int((state or "0").partition(" ")[0])


def _rank(step: Step, on: t.Container[str]) -> int:
    if isinstance(step, SwapFileStep):
        return 0 if step.after else _GOING + 2
    if isinstance(step, SwapStep):
        return 3 if step.before is None else 4
    path = t.cast("FileStep", step).path
    name = path[len(_SYSTEM) :].partition("/")[0]
    unit = "dev-zram0.swap" if path == _swap.ZRAM_CONF else name[:-2] if name.endswith(".d") else name
    # Of what is turned off and on again they go before that.
    return _GOING if t.cast("FileStep", step).after is None and unit not in on else 1


def dangers(steps: t.Iterable[Step], room: Room, real: t.Mapping[str, str]) -> t.Dict[t.Tuple[str, str], Danger]:
    """By the key of its row. C(real): {area: its path in /proc/swaps}."""
    found: t.Dict[t.Tuple[str, str], Danger] = {}
    areas: t.Dict[str, t.Any] = dict(room.areas)
    for step in steps:
        if isinstance(step, SwapStep) and not _swap.is_state(step.after, step.before):
            path = real.get(step.area, step.area)
            why = _swap.refusal(path, room._replace(areas=areas)) if step.before else ""
            if why:
                found[step.name, ""] = Danger(RISK, f"{'it has to be turned off first: ' if step.after else ''}{why}")
            areas.pop(path, None)
            if step.after:
                areas[path] = {"size_bytes": _mib(step.after) << 20, "used_bytes": 0}
    return found


# One thing each


def _file(values: t.Mapping[str, t.Any], mib: int, ground: Ground) -> Thing:
    encrypted = bool(values.get("encrypted"))
    name = f"{'crypt' if encrypted else 'swap'}-{mib}M"
    path, mapped = f"{values['directory']}/memqos-swap/{name}", f"memqos-{name}"
    service = f"{mapped}.service" if encrypted else ""
    area = f"/dev/mapper/{mapped}" if encrypted else path
    # As systemd-escape --path.
    unit = re.sub(r"[^A-Za-z0-9:_./]", lambda found: f"\\x{ord(found.group()):02x}", area[1:]).replace("/", "-") + ".swap"
    # Without CollectMode systemd remembers for good that one failed that has gone.
    needs = "CollectMode=inactive-or-failed\n" + (f"Requires={service}\nAfter={service}" if encrypted else "After=systemd-remount-fs.service")
    texts = {
        _SYSTEM + unit: f"[Unit]\n{needs}\n\n[Swap]\nWhat={area}\nPriority={values['priority']}\nTimeoutSec=600",
        f"{_SYSTEM}swap.target.d/zz-{mapped}.conf": f"[Unit]\nWants={unit}",
    }
    if encrypted:
        texts[_SYSTEM + service] = _crypt(path, mapped, ground.programs)
        # Its job would begin to wait long before a slow boot comes to the service (measured); systemd-cryptsetup-generator does the same.
        texts[f"{_SYSTEM}{unit[:-5]}.device.d/{_DROP_IN}"] = f"[Unit]\nRequires={service}\nJobTimeoutSec=infinity"
    state = f"{mib} MiB, priority {values['priority']}"
    return Thing(SwapStep(unit, f"swap.file {path}", area, None, state, service), _headed(texts), path, mib << 20)


def _crypt(path: str, mapped: str, programs: t.Mapping[str, str]) -> str:
    """A key of each boot, which nobody keeps. So early nothing has made /dev/loop-control yet (measured)."""
    cryptsetup, mkswap, modprobe = (programs.get(one, one) for one in ("cryptsetup", "mkswap", "modprobe"))
    return f"""[Unit]
CollectMode=inactive-or-failed
DefaultDependencies=no
RequiresMountsFor={path}
After=systemd-remount-fs.service systemd-random-seed.service systemd-udevd.service
Conflicts=umount.target
Before=umount.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStartPre=-{modprobe} -a loop dm_crypt
ExecStart={cryptsetup} -q open --type plain --cipher aes-xts-plain64 --key-size 512 --key-file /dev/urandom {path} {mapped}
ExecStart={mkswap} /dev/mapper/{mapped}
ExecStop={cryptsetup} close {mapped}"""


def _zram(values: t.Mapping[str, t.Any], mib: int) -> Thing:
    priority, algorithm = values["priority"], values.get("algorithm")
    text = f"[zram0]\nzram-size = {mib}\nswap-priority = {priority}" + (f"\ncompression-algorithm = {algorithm}" if algorithm else "")
    state = f"{mib} MiB, priority {priority}" + (f", {algorithm}" if algorithm else "")
    step = SwapStep("dev-zram0.swap", "swap.zram", _swap.ZRAM, None, state, "systemd-zram-setup@zram0.service")
    return Thing(step, _headed({_swap.ZRAM_CONF: text}))


def _device(device: str, priority: int, ground: Ground) -> Thing:
    unit, options = ground.units.get(ground.real[device], ("", ""))
    size = (ground.live.get(device) or "0 MiB").partition(",")[0]
    # What fstab says comes as an option, which goes before Priority=.
    text = f"[Swap]\nPriority={priority}\nOptions={','.join(filter(None, (options, f'pri={priority}')))}"
    step = SwapStep(unit, f"swap.device {device}", device, None, f"{size}, priority {priority}")
    return Thing(step, _headed({f"{_SYSTEM}{unit}.d/{_DROP_IN}": text}))


def _headed(texts: t.Mapping[str, str]) -> t.Dict[str, str]:
    return {path: f"{_persist.HEADER}\n{text}\n" for path, text in texts.items()}


def _row(step: SwapStep) -> Row:
    return Row(step.name, "swap", "", step.after, step.before, step.before)


def _hindered(thing: Thing, ground: Ground, made: t.Container[str]) -> t.Tuple[t.Optional[Status], str]:
    """(status, reason) where it cannot be."""
    area, has = thing.step.area, ground.programs
    if area in ground.real:
        return (None, "") if thing.step.path else ("unsupported", f"no unit turns {area} on at boot: a line in /etc/fstab comes first")
    if (thing.step.after or "").startswith("0 MiB"):
        return "unsupported", "no profile says a size of 1 MiB or more"
    if not thing.path:
        if "zram-generator" not in has:
            return "unsupported", "this node has no zram-generator (Debian: package systemd-zram-generator)"
        return ("deferred", f"{area} is somebody else's, and stays as it is") if ground.made and area not in ground.units else (None, "")
    if "mkswap" not in has or (thing.step.service and "cryptsetup" not in has):
        return "unsupported", f"this node has no {'cryptsetup' if 'mkswap' in has else 'mkswap (util-linux)'}"
    if ground.trouble:
        return "refused", ground.trouble
    if ground.size is not None:
        ours = thing.path in made and ground.size == str(thing.size)
        return (None, "") if ours else ("refused", f"{thing.path} is there and is not as memqos.fleet made it: move it away")
    if ground.kind not in _FILE_SYSTEMS:
        return "unsupported", f"no swap file on {ground.kind or 'an unknown file system'}, but on {', '.join(_FILE_SYSTEMS)}: choose another directory"
    if ground.room - thing.size < ground.disk // 20:
        sizes = " of ".join(map(format_size, (thing.size, ground.room, ground.disk)))
        return "refused", f"less than 5 % of its file system would be left free ({sizes}): choose a smaller size, or another directory"
    return None, ""
