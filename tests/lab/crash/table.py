# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cuts a tune short, one row each, and what a machine holds afterwards: all of it or nothing. Values are those of the profile "lab"."""

from __future__ import annotations

import dataclasses
import json
import typing as t

from .node import STATE, Node

V2, V1 = "debian13_v2", "debian12_v1"
BOTH = (V2, V1)
# Long enough for a tune on an emulated machine that has little of the processor.
WITHIN = 150
_SMALL = {"name": "crash", "summary": "Two values", "host": {"vm.swappiness": 11}, "slices": {"batch.slice": {"MemoryMax": "256MiB"}}}
_LIMIT = "cat /sys/fs/cgroup/batch.slice/memory.max /sys/fs/cgroup/memory/batch.slice/memory.limit_in_bytes 2>/dev/null; cat /proc/sys/vm/swappiness"
_HELD = [str(256 << 20), "11"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crash:
    """C(happens) does it, and says what is wrong afterwards; the machine is as before when it returns, or it says so."""

    name: str
    happens: t.Callable[[Node], str]
    machines: tuple[str, ...] = (V2,)


def _first(*problems: t.Callable[[], str]) -> str:
    return next(filter(None, (problem() for problem in problems)), "")


# Killed, then the power goes: what the next boot makes of it, without another run of ours


def _killed(pattern: str, *, stands: bool = False) -> t.Callable[[Node], str]:
    def happens(node: Node) -> str:
        if node.tune("kill", pattern).answer:
            return f"it was not killed: no operation fits {pattern}"
        node.reset()
        return _after_boot(node, stands=stands)

    return happens


def _power_cut(pattern: str, *, stands: bool = False) -> t.Callable[[Node], str]:
    def happens(node: Node) -> str:
        node.tune_into_power_cut(pattern)
        return _after_boot(node, stands=stands)

    return happens


def _after_boot(node: Node, *, stands: bool) -> str:
    if stands:
        return _first(lambda: node.holds_all("boot"), node.back_to_origin)
    return node.holds_nothing(laid=True)


def _told(node: Node, words: str) -> str:
    found = node.boots_word()
    return "" if words in found else f"the boot did not say {words!r}, but: {found}"


def _undone_by_boot(pattern: str) -> t.Callable[[Node], str]:
    killed = _killed(pattern)
    return lambda node: _first(lambda: killed(node), lambda: _told(node, "an interrupted run was undone"), node.holds_nothing)


# To be confirmed


def _small(node: Node, **more: t.Any) -> str:
    status = node.play("tune", memqos_profile=_SMALL, **more)
    if status:
        return f"memqos.fleet.tune ended with status {status}; {node.guest.log_end()}"
    found = node.run(_LIMIT).split()
    return "" if found == _HELD else f"after the tune it is {found}"


def _nobody_confirms(node: Node, *, between: str = "true") -> str:
    def undone() -> str:
        node.run(between)
        node.wait_for(f"! [ -e {STATE}/armed.json ] && ! systemctl --quiet is-active memqos-confirm.service", seconds=WITHIN + 420)
        return ""

    return _first(lambda: _small(node, memqos_confirm_within=WITHIN), undone, lambda: _told_by_timer(node), node.holds_nothing)


_REFUSED_ONCE = """
mount --bind /etc /etc && mount -o remount,ro,bind /etc
n=0; until journalctl -b -q --no-pager -o cat -u memqos-confirm.service | grep -q 'to be tried again'; do n=$((n + 1)); [ $n -lt 400 ] || break; sleep 1; done
umount /etc; [ $n -lt 400 ]
"""


def _told_by_timer(node: Node) -> str:
    found = node.run("journalctl -b -q --no-pager -o cat -u memqos-confirm.service")
    return "" if "was not confirmed within" in found else f"the timer did not say that it took it back, but: {found}"


def _rebooted_before(node: Node) -> str:
    def reset() -> str:
        node.reset()
        return ""

    return _first(lambda: _small(node, memqos_confirm_within=3600), reset, lambda: _told(node, "was not confirmed within"), node.holds_nothing)


def _confirmed(node: Node) -> str:
    def stays() -> str:
        status = node.play("confirm")
        node.reset()
        found = node.run(_LIMIT).split()
        return "" if not status and found == _HELD else f"confirmed (status {status}), and after a reboot it is {found}"

    return _first(lambda: _small(node, memqos_confirm_within=3600), stays, node.back_to_origin)


# Disks, connections, clocks


def _read_only_etc(node: Node) -> str:
    node.run("mount --bind /etc /etc && mount -o remount,ro,bind /etc")
    try:
        answer = node.tune().answer
    finally:
        node.run("umount /etc")
    told = "Read-only file system (EROFS)" in answer.get("problem", "")
    return node.holds_nothing() if told else f"on a read-only /etc it says {answer}"


def _full(node: Node) -> str:
    """At each size a file of the journal or of the program finds no room."""
    seen = set()
    for kib in (16, 150, 190, 230):
        node.run(f"mkdir -p {STATE} && mount -t tmpfs -o mode=0700,size={kib}k memqos-crash {STATE}")
        try:
            answer = node.tune().answer
            seen.add(bool(answer.get("generation")))
            problem = "" if answer.get("generation") or "No space left on device (ENOSPC)" in answer.get("problem", "") else f"with {kib} KiB it says {answer}"
            problem = problem or (node.holds_all("live") if answer["generation"] else node.holds_nothing())
            node.run(f"mount -o remount,size=4m {STATE}")
            problem = problem or (node.back_to_origin() if answer["generation"] else "")
        finally:
            node.run(f"umount {STATE}")
        if problem:
            return f"{kib} KiB: {problem}"
    return "" if False in seen else "there was room for all"


def _cut_off(*, terminal: bool) -> t.Callable[[Node], str]:
    def happens(node: Node) -> str:
        node.tune_and_lose_connection(terminal=terminal)
        return _first(lambda: node.holds_all("live"), node.back_to_origin)

    return happens


def _clock(node: Node) -> str:
    def tuned() -> str:
        answer = node.tune("clock", "kernel */vm/swappiness").answer
        return "" if answer.get("met") and answer.get("generation") else f"it says {json.dumps(answer)}"

    return _first(tuned, lambda: node.holds_all("live"), node.back_to_origin)


CRASHES = (
    Crash(name="kill -9 as the journal begins, then a reset", machines=BOTH, happens=_killed("sync directory */pending.jsonl")),
    Crash(name="kill -9 at a file, then a reset", machines=BOTH, happens=_undone_by_boot("rename */batch-low.slice.d/zz-memqos.conf")),
    Crash(name="kill -9 at a sysctl, then a reset", machines=BOTH, happens=_undone_by_boot("kernel */vm/swappiness")),
    Crash(name="kill -9 at a set-property, then a reset", machines=BOTH, happens=_undone_by_boot("command batch.slice")),
    Crash(name="kill -9 right before the commit, then a reset", machines=BOTH, happens=_undone_by_boot("rename */generations/*.json")),
    Crash(name="kill -9 after the commit, then a reset", machines=BOTH, happens=_killed("create */origin.json", stands=True)),
    Crash(name="the power goes amid the files", happens=_power_cut("write */batch-low.slice.d/zz-memqos.conf")),
    Crash(name="the power goes before the daemon-reload", machines=BOTH, happens=_power_cut("command daemon-reload")),
    Crash(name="nobody confirms, and the clock is set back by a day", happens=lambda node: _nobody_confirms(node, between="date -s '1 day ago'")),
    Crash(name="nobody confirms", machines=(V1,), happens=_nobody_confirms),
    Crash(
        name="nobody confirms, and the first attempt finds a read-only /etc", machines=BOTH, happens=lambda node: _nobody_confirms(node, between=_REFUSED_ONCE)
    ),
    Crash(name="a reset before it is confirmed", machines=BOTH, happens=_rebooted_before),
    Crash(name="confirmed, then a reset", happens=_confirmed),
    Crash(name="a read-only /etc", happens=_read_only_etc),
    Crash(name="no room for the journal", happens=_full),
    Crash(name="the connection is cut", happens=_cut_off(terminal=False)),
    Crash(name="the connection is cut, with a terminal", machines=(V1,), happens=_cut_off(terminal=True)),
    Crash(name="the clock is set back by a day amid it", happens=_clock),
)
