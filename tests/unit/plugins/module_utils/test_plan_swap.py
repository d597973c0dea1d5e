# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of wishes for swap: files, rows, steps and their order."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _persist, _plan_swap, _steps, _swap
from ansible_collections.memqos.fleet.plugins.module_utils._steps import FileStep, ReloadStep, Step, SwapFileStep, SwapStep, WriteStep

MIB, GIB = 1 << 20, 1 << 30
Json = t.Dict[str, t.Any]
PROGRAMS = {"mkswap": "/usr/sbin/mkswap", "cryptsetup": "/usr/sbin/cryptsetup", "zram-generator": "/usr/lib/systemd/system-generators/zram-generator"}
FILE = "/var/lib/memqos-swap/swap-1024M"
UNIT = r"var-lib-memqos\x2dswap-swap\x2d1024M.swap"
CRYPT_UNIT = r"dev-mapper-memqos\x2dcrypt\x2d1024M.swap"
FSTAB = r"dev-disk-by\x2duuid-11d2.swap"


def ground(**more: t.Any) -> _swap.Ground:
    base: Json = {
        "live": {},
        "programs": PROGRAMS,
        "units": {"/dev/vdb2": (FSTAB, "discard")},
        "kind": "ext4",
        "room": 10 * GIB,
        "disk": 20 * GIB,
        "real": {"/dev/vdb2": "/dev/vdb2"},
    }
    return _swap.Ground(**{**base, **more})


def wanted(**things: Json) -> t.Dict[str, t.Dict[str, t.Tuple[t.Any, str]]]:
    names = {"device": "/dev/vdb2"}
    return {names.get(thing, thing): {key: (value, "own") for key, value in said.items()} for thing, said in things.items()}


def plan(found: _swap.Ground, *, origin: t.Sequence[Step] = (), **things: Json) -> _plan_swap.SwapPart:
    return _plan_swap.plan_swap(_plan_swap.things(wanted(**things), found, 8 * GIB), found, origin)


SIZE = {"size": {"value": GIB}}


def test_a_swap_file() -> None:
    made = plan(ground(), file=SIZE)
    assert made.steps == (
        SwapFileStep(FILE, None, str(GIB)),
        SwapStep(UNIT, f"swap.file {FILE}", FILE, None, "1024 MiB, priority 10"),
    )
    assert made.texts == {
        f"/etc/systemd/system/{UNIT}": f"{_persist.HEADER}\n[Unit]\nCollectMode=inactive-or-failed\n"
        f"After=systemd-remount-fs.service\n\n[Swap]\nWhat={FILE}\nPriority=10\nTimeoutSec=600\n",
        "/etc/systemd/system/swap.target.d/zz-memqos-swap-1024M.conf": f"{_persist.HEADER}\n[Unit]\nWants={UNIT}\n",
    }
    (row,) = made.rows
    assert (row.name, row.scope, row.wanted, row.live_before, row.status) == (f"swap.file {FILE}", "swap", "1024 MiB, priority 10", None, "would_change")


def test_an_encrypted_one_has_a_key_of_each_boot() -> None:
    made = plan(ground(), file={**SIZE, "encrypted": True, "priority": 3})
    path = "/var/lib/memqos-swap/crypt-1024M"
    assert made.steps[1] == SwapStep(
        CRYPT_UNIT, f"swap.file {path}", "/dev/mapper/memqos-crypt-1024M", None, "1024 MiB, priority 3", "memqos-crypt-1024M.service"
    )
    service = made.texts["/etc/systemd/system/memqos-crypt-1024M.service"]
    assert f"/usr/sbin/cryptsetup -q open --type plain --cipher aes-xts-plain64 --key-size 512 --key-file /dev/urandom {path} memqos-crypt-1024M\n" in service
    assert "ExecStart=/usr/sbin/mkswap /dev/mapper/memqos-crypt-1024M\n" in service and "ExecStop=/usr/sbin/cryptsetup close memqos-crypt-1024M\n" in service
    device = made.texts[r"/etc/systemd/system/dev-mapper-memqos\x2dcrypt\x2d1024M.device.d/zz-memqos-swap.conf"]
    assert device == f"{_persist.HEADER}\n[Unit]\nRequires=memqos-crypt-1024M.service\nJobTimeoutSec=infinity\n"
    assert all(map(_plan_swap.is_ours, made.texts))
    unit = made.texts[f"/etc/systemd/system/{CRYPT_UNIT}"]
    assert "Requires=memqos-crypt-1024M.service\nAfter=memqos-crypt-1024M.service\n" in unit


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ({"value": GIB}, FILE),
        ({"value": GIB + 4097}, FILE),
        ({"value": MIB}, "/var/lib/memqos-swap/swap-1M"),
        ({"of_memory": [1, 4]}, "/var/lib/memqos-swap/swap-2048M"),
        ({"of_memory": [1, 4], "max": GIB}, FILE),
        ({"of_memory": [1, 100], "min": GIB}, FILE),
    ],
)
def test_a_file_is_called_after_its_size(entry: Json, path: str) -> None:
    (thing,) = _plan_swap.things(wanted(file={"size": entry}), ground(), 8 * GIB)
    assert (thing.path, thing.size) == (path, int(path.rpartition("-")[2][:-1]) * MIB)


def test_zram() -> None:
    made = plan(ground(), zram={"size": {"of_memory": [1, 8]}, "algorithm": "zstd"})
    conf = f"{_persist.HEADER}\n[zram0]\nzram-size = 1024\nswap-priority = 100\ncompression-algorithm = zstd\n"
    assert made.texts == {"/etc/systemd/zram-generator.conf.d/zz-memqos.conf": conf}
    assert made.steps == (SwapStep("dev-zram0.swap", "swap.zram", "/dev/zram0", None, "1024 MiB, priority 100, zstd", "systemd-zram-setup@zram0.service"),)


def test_the_priority_of_a_device_goes_with_the_options_of_fstab() -> None:
    made = plan(ground(live={"/dev/vdb2": "512 MiB, priority auto"}), device={"priority": 5})
    text = f"{_persist.HEADER}\n[Swap]\nPriority=5\nOptions=discard,pri=5\n"
    assert made.texts == {r"/etc/systemd/system/dev-disk-by\x2duuid-11d2.swap.d/zz-memqos-swap.conf": text}
    assert made.steps == (SwapStep(FSTAB, "swap.device /dev/vdb2", "/dev/vdb2", "512 MiB, priority auto", "512 MiB, priority 5"),)


def test_a_device_that_is_off_stays_off() -> None:
    made = plan(ground(), device={"priority": 5})
    assert (made.steps, len(made.texts), made.rows[0].status) == ((), 1, "ok")
    assert made.rows[0].reason == "it is off: that holds when it is turned on"


GENERATED = {"/dev/zram0": ("dev-zram0.swap", "")}
OURS = [SwapFileStep(FILE, None, str(GIB))]
CONF = FileStep(_swap.ZRAM_CONF, None, f"{_persist.HEADER}\n")


@pytest.mark.parametrize(
    ("found", "things", "status", "why"),
    [
        (ground(programs={}), {"file": SIZE}, "unsupported", "this node has no mkswap (util-linux)"),
        (
            ground(programs={"mkswap": "/sbin/mkswap"}),
            {"file": {**SIZE, "encrypted": True}},
            "unsupported",
            "this node has no cryptsetup",
        ),
        (ground(kind="btrfs"), {"file": SIZE}, "unsupported", "no swap file on btrfs, but on ext2, ext3, ext4, xfs: choose another directory"),
        (ground(kind="overlay"), {"file": SIZE}, "unsupported", "no swap file on overlay"),
        (ground(kind="nfs4"), {"file": SIZE}, "unsupported", "no swap file on nfs4"),
        (ground(kind=""), {"file": SIZE}, "unsupported", "no swap file on an unknown file system"),
        (ground(trouble="/srv: nothing there"), {"file": SIZE}, "refused", "/srv: nothing there"),
        (ground(size=str(GIB)), {"file": SIZE}, "refused", f"{FILE} is there and is not as memqos.fleet made it: move it away"),
        (ground(room=2 * GIB - 1), {"file": SIZE}, "refused", "less than 5 % of its file system would be left free (1.00 GiB of 2.00 GiB of 20.0 GiB)"),
        (ground(programs={"mkswap": ""}), {"zram": SIZE}, "unsupported", "no zram-generator (Debian: package systemd-zram-generator)"),
        (ground(made=True), {"zram": SIZE}, "deferred", "/dev/zram0 is somebody else's, and stays as it is"),
        (ground(), {"zram": {"priority": 5}}, "unsupported", "no profile says a size of 1 MiB or more"),
        (ground(units={}), {"device": {"priority": 5}}, "unsupported", "no unit turns /dev/vdb2 on at boot: a line in /etc/fstab comes first"),
    ],
)
def test_what_cannot_be(found: _swap.Ground, things: Json, status: str, why: str) -> None:
    made = plan(found, **things)
    (row,) = made.rows
    assert (row.status, made.steps, made.texts) == (status, (), {})
    assert why in row.reason


@pytest.mark.parametrize(
    ("found", "things", "origin"),
    [
        (ground(size=str(GIB), live={FILE: "1024 MiB, priority 10"}, room=0), {"file": SIZE}, OURS),
        (ground(made=True, units=GENERATED, live={"/dev/zram0": "1024 MiB, priority 100, lzo-rle"}), {"zram": SIZE}, [CONF]),
        (ground(live={"/dev/vdb2": "512 MiB, priority 5"}), {"device": {"priority": 5}}, []),
    ],
)
def test_what_stands_is_left_as_it_is(found: _swap.Ground, things: Json, origin: t.List[Step]) -> None:
    made = plan(found, origin=origin, **things)
    assert ([row.status for row in made.rows], made.steps, made.leaving) == (["ok"], (), ())


def test_a_file_of_our_name_that_lost_its_size_is_not_touched() -> None:
    (row,) = plan(ground(size="4096"), origin=OURS, file=SIZE).rows
    assert row.status == "refused"


def test_zram_that_somebody_configured_is_set_otherwise() -> None:
    """By a part of the configuration that comes later, as the generator means it."""
    made = plan(ground(units=GENERATED, made=True, live={"/dev/zram0": "512 MiB, priority 100, lzo-rle"}), zram=SIZE)
    (step,) = made.steps
    assert isinstance(step, SwapStep) and (step.before, step.after) == ("512 MiB, priority 100, lzo-rle", "1024 MiB, priority 100")


def test_what_no_profile_wants_leaves_with_all_its_files() -> None:
    first = plan(ground(), file=SIZE)
    origin = [*first.steps, *(FileStep(path, None, text) for path, text in first.texts.items()), WriteStep("vm.swappiness", "host", "", "/x", "60", "10")]
    made = plan(ground(), origin=origin, file={"size": {"value": 2 * GIB}})
    assert list(made.leaving) == origin[:-1]
    # It cannot be, but it is wanted.
    assert plan(ground(programs={}), origin=origin, file=SIZE).leaving == ()


# The order


def files(part: _plan_swap.SwapPart, *, back: bool = False) -> t.List[Step]:
    steps: t.List[t.Any] = [*part.steps, *(FileStep(path, None, text) for path, text in part.texts.items())]
    return [step._replace(before=step.after, after=step.before) for step in steps] if back else steps


def names(steps: t.Iterable[Step]) -> t.List[str]:
    return [_named(step) for step in steps]


def _named(step: Step) -> str:
    if isinstance(step, (SwapFileStep, SwapStep)) or (isinstance(step, FileStep) and _plan_swap.is_swap(step)):
        return f"{'-' if step.after is None else '+'}{_steps.name(step)}"
    return "reload" if isinstance(step, ReloadStep) else _steps.name(step)


def ordered(*steps: Step, needs: bool = False) -> t.List[str]:
    return names(_plan_swap.in_order(steps, lambda others: needs))


SYSCTL = WriteStep("vm.swappiness", "host", "", "/proc/sys/vm/swappiness", "60", "10")
TARGET = "/etc/systemd/system/swap.target.d/zz-memqos-{}M.conf"


def test_an_area_comes_when_systemd_has_read_its_unit() -> None:
    steps = files(plan(ground(), file=SIZE))
    units = [f"+/etc/systemd/system/{UNIT}", f"+{TARGET.format('swap-1024')}"]
    assert ordered(SYSCTL, ReloadStep(), *steps) == [f"+{FILE}", *units, "reload", f"+{UNIT}", "/proc/sys/vm/swappiness"]
    assert ordered(SYSCTL, ReloadStep(), *steps, needs=True)[-2:] == ["/proc/sys/vm/swappiness", "reload"]


def test_it_goes_before_its_unit_and_its_file_last() -> None:
    steps = files(plan(ground(), file=SIZE), back=True)
    units = [f"-/etc/systemd/system/{UNIT}", f"-{TARGET.format('swap-1024')}"]
    assert ordered(SYSCTL, ReloadStep(), *steps) == [f"-{UNIT}", *units, "/proc/sys/vm/swappiness", "reload", f"-{FILE}"]


def test_a_larger_one_is_on_before_the_other_goes() -> None:
    old, new = files(plan(ground(), file=SIZE), back=True), files(plan(ground(), file={"size": {"value": 2 * GIB}}))
    found = ordered(*old, ReloadStep(), *new)
    on, off = f"+{UNIT.replace('1024', '2048')}", f"-{UNIT}"
    assert found.index("reload") < found.index(on) < found.index(off) < found.index(f"-/etc/systemd/system/{UNIT}") < found.index(f"-{FILE}")
    assert found.count("reload") == 2


def test_a_device_is_turned_on_again_when_its_drop_in_has_come_or_gone() -> None:
    drop_in = rf"/etc/systemd/system/{FSTAB}.d/zz-memqos-swap.conf"
    on = plan(ground(live={"/dev/vdb2": "512 MiB, priority auto"}), device={"priority": 5})
    assert ordered(*files(on), ReloadStep()) == [f"+{drop_in}", "reload", f"+{FSTAB}"]
    assert ordered(*files(on, back=True), ReloadStep()) == [f"-{drop_in}", "reload", f"+{FSTAB}"]


def test_without_swap_steps_stay_as_they_are() -> None:
    steps: t.List[Step] = [SYSCTL, ReloadStep(), WriteStep("vm.swappiness", "host", "", "/x", "60", "10")]
    assert _plan_swap.in_order(steps, lambda others: False) == steps


# Swapoffs


def off(path: str, area: str, after: t.Optional[str] = None) -> SwapStep:
    return SwapStep(path, f"swap of {area}", area, "1024 MiB, priority 5", after)


def on(area: str, size: int) -> SwapStep:
    return SwapStep(area, f"swap of {area}", area, None, f"{size} MiB, priority 5")


def room(available: int, **used: t.Tuple[int, int]) -> _swap.Room:
    areas: t.Any = {f"/{name}": {"size_bytes": size * MIB, "used_bytes": held * MIB} for name, (size, held) in used.items()}
    return _swap.Room(areas, {"MemTotal": 1000 * MIB, "MemAvailable": available * MIB}, {})


@pytest.mark.parametrize(
    ("steps", "found", "refused"),
    [
        ([off("a.swap", "/a")], room(50, a=(500, 100)), ["/a"]),
        # What is on by then takes it up.
        ([on("/b", 100), off("a.swap", "/a")], room(50, a=(500, 100)), []),
        ([on("/b", 99), off("a.swap", "/a")], room(50, a=(500, 100)), ["/a"]),
        # But zram out of the same memory.
        ([on("/dev/zram0", 500), off("a.swap", "/a")], room(50, a=(500, 100)), ["/a"]),
        # One after the other: the first one's room is gone by then.
        ([off("a.swap", "/a"), off("b.swap", "/b")], room(50, a=(500, 100), b=(500, 100)), ["/b"]),
        ([off("a.swap", "/a", "1024 MiB, priority 9")], room(50, a=(500, 100)), ["/a"]),
        ([off("a.swap", "/a", "1024 MiB, priority 5")], room(50, a=(500, 100)), []),
    ],
)
def test_a_swapoff_has_to_fit(steps: t.List[Step], found: _swap.Room, refused: t.List[str]) -> None:
    dangers = _plan_swap.dangers(steps, found, {})
    assert [name for name, unused in dangers] == [f"swap of {area}" for area in refused]
    assert {danger.risk for danger in dangers.values()} <= {"swapoff_does_not_fit"}


def test_an_area_goes_by_what_the_kernel_calls_it() -> None:
    """What is behind /dev/mapper is a dm device to it."""
    found = room(50, **{"dev/dm-0": (500, 100)})
    assert _plan_swap.dangers([off("c.swap", "/dev/mapper/c")], found, {"/dev/mapper/c": "/dev/dm-0"})
    assert not _plan_swap.dangers([off("c.swap", "/dev/mapper/c")], found, {})


@pytest.mark.parametrize(
    ("steps", "facts", "before"),
    [
        ([], {"swap_total_bytes": 5 << 20, "zram": True}, {}),
        ([SwapStep("f.swap", "swap.file", "/f", None, "2 MiB, priority 10")], {"swap_total_bytes": 5 << 20}, {"swap_total_bytes": 3 << 20}),
        ([SwapStep("f.swap", "swap.file", "/f", None, "2 MiB, priority 10")], {}, {}),
        # It was turned off since.
        ([SwapStep("f.swap", "swap.file", "/f", None, "2 MiB, priority 10")], {"swap_total_bytes": 0}, {"swap_total_bytes": 0}),
        ([SwapStep("z.swap", "swap.zram", _swap.ZRAM, None, "1 MiB, priority 100")], {"swap_total_bytes": 1 << 20}, {"swap_total_bytes": 0, "zram": False}),
        ([SwapStep("z.swap", "swap.zram", _swap.ZRAM, "1 MiB, priority 5", "1 MiB, priority 100")], {"swap_total_bytes": 1 << 20}, {}),
    ],
)
def test_facts_are_without_what_we_added(steps: t.List[Step], facts: Json, before: Json) -> None:
    assert _plan_swap.facts_before_us(facts, steps) == before
