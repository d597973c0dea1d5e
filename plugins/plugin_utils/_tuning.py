# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What the action plugins memory_tune and memory_rollback share: who asks, and what becomes of the node's answer."""

from __future__ import annotations

import datetime
import re
import socket
import time
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display

from ansible_collections.memqos.fleet.plugins.module_utils import _shares
from ansible_collections.memqos.fleet.plugins.plugin_utils import _pods, _pods_file, _profiles, _qos_request, _results, _tune_containers, _tune_result
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line
from ansible_collections.memqos.fleet.plugins.plugin_utils._report_view import visible

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = t.TypeVar("T")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\.conf")

# How long one call shrinks before it tells.
_SLICE_SECONDS = 10
_MIB = 1 << 20
_TIME = "%Y-%m-%dT%H:%M:%SZ"
# Less is over before a slow node has written, or after it has shrunk; more than a day, and nobody remembers.
_LEAST_SECONDS, _MOST_SECONDS = 30, 86400
# A century in days.
_MOST = 36500


def check_file_name(name: str) -> None:
    """Raises AnsibleActionFail."""
    if not _FILE_NAME.fullmatch(name):
        raise AnsibleActionFail(f"sysctl_file={name!r:.120}: the name of a file in /etc/sysctl.d is expected here, as zz-memqos.conf")


def meta(*, profiles: list[str]) -> dict[str, t.Any]:
    """Who made a generation, and when by this machine's clock."""
    return {"host": socket.gethostname(), "started": now().strftime(_TIME), "profiles": profiles, "run_id": _results.RUN_ID}


def keep(arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    """Which generations a node keeps. Raises AnsibleActionFail."""
    for name, least in (("keep_generations", 1), ("keep_days", 0)):
        if not least <= arguments[name] <= _MOST:
            raise AnsibleActionFail(f"{name}={arguments[name]}: a number from {least} to {_MOST} is expected here")
    since = now() - datetime.timedelta(days=arguments["keep_days"])
    return {"generations": arguments["keep_generations"], "since": since.strftime(_TIME)}


def check_seconds(within: int, shrink_within: int = 0) -> None:
    """Raises AnsibleActionFail."""
    if not 0 <= shrink_within <= _MOST_SECONDS:
        raise AnsibleActionFail(f"shrink_within={shrink_within}: seconds, from 0 (nothing is shrunk) to {_MOST_SECONDS}, are expected here")
    if within and not _LEAST_SECONDS <= within <= _MOST_SECONDS:
        raise AnsibleActionFail(f"confirm_within={within}: seconds, from {_LEAST_SECONDS} to {_MOST_SECONDS}, or 0 for no confirmation, are expected here")
    if within and shrink_within and within <= shrink_within + _LEAST_SECONDS:
        over = f"is over too soon after shrink_within={shrink_within} is: more than {shrink_within + _LEAST_SECONDS} is expected here"
        raise AnsibleActionFail(f"confirm_within={within} {over} ({shrink_within} to shrink and {_LEAST_SECONDS} to write), or less for shrink_within")


def confirmed(answer: dict[str, t.Any], host: str) -> dict[str, t.Any]:
    """The result of a confirmation, of what a node says of it."""
    generation = answer.get("generation")
    if answer.get("failed") or not isinstance(generation, int) or isinstance(generation, bool):
        return {**answer, "failed": True, "msg": _tune_result.shown(str(answer.get("msg", "the node's answer is not that of a confirmation")))}
    told = f"generation {generation} is confirmed" if generation else "nothing awaits confirmation"
    show([Line(visible(f"{host}: {told}"))])
    return {"changed": generation > 0, "generation": generation}


def awaiting(host: str, generation: int, end: float) -> None:
    """Says how long a tune can still be confirmed: C(end), by this machine's monotonic clock, is never before the node's."""
    left = max(0, int(end - time.monotonic()))
    told = f"generation {generation} awaits confirmation (memqos.fleet.confirm): in {left} s at most the node takes it back"
    show([Line(visible(f"{host}: {told}"), "yellow")])


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def failing(read: Callable[[], T]) -> T:
    """A file that cannot be read or written, a profile that is none, and an option that cannot be, fail the task.

    The message is complete: chained, Ansible prints it thrice.
    """
    try:
        return read()
    except (_results.ResultError, _profiles.ProfileError, _qos_request.QosError, _pods.PodsError) as exc:
        raise AnsibleActionFail(str(exc)) from None


def qos(arguments: dict[str, t.Any], layers: list[dict[str, t.Any]], host: str) -> dict[str, t.Any]:
    """What the node is told of its containers. Shows what is odd: of this host's name, and once for all hosts of the pods. Raises AnsibleActionFail."""
    told = failing(lambda: _qos_request.told(arguments, layers, host))
    if failing(lambda: _pods_file.told_first(arguments["directory"], [*told.warnings])):
        show(Line(visible(f"pods: {warning}"), "yellow") for warning in told.warnings)
    notes(host, [told.note] if told.note else [])
    return told.request


def notes(host: str, texts: Iterable[str]) -> None:
    """Shows what is odd in a host's options."""
    show(Line(visible(f"{host}: {text}"), "yellow") for text in texts)


def show(lines: Iterable[Line]) -> None:
    display = Display()
    for line in lines:
        display.display(line.text, color=line.color)


def while_shrinking(call: Callable[[dict[str, t.Any]], dict[str, t.Any]], *, within: int, host: str) -> dict[str, t.Any]:
    """The answer of the last call: as long as a node has to shrink cgroups first, each call goes on with that for a while. C(call) takes C(request.shrink)."""
    end, usage, left, stuck = time.monotonic() + within, 0, within, False
    while True:
        answer = call({"within": left, "slice": _SLICE_SECONDS, "last": stuck or left <= _SLICE_SECONDS})
        try:
            going_on = _tune_result.unfinished(_tune_result.parse(str(answer.get("tune"))))
        except _tune_result.BadAnswer:
            return answer
        if not going_on:
            return answer
        for one in going_on:
            sizes = [_shares.format_size(one[key]) for key in ("usage", "before", "bound")]
            show([Line(visible(f"{host}: {one['unit']} shrinks: {sizes[0]} of {sizes[1]} in use, {sizes[2]} wanted"))])
        now = sum(one["usage"] for one in going_on)
        stuck = stuck or 0 < usage < now + _MIB
        # The last call says what is the matter, and has the time to see it.
        left, usage = max(_SLICE_SECONDS if stuck else 1, int(end - time.monotonic())), now


def skipped(host: str, why: str) -> dict[str, t.Any]:
    """The result of a task that left the node alone."""
    show([Line(visible(f"{host}: left alone: {why}"))])
    return {"changed": False, "skipped": True, "msg": why}


def finish(answer: dict[str, t.Any], *, host: str, directory: str, verb: str, why: _tune_result.Why | None) -> dict[str, t.Any]:
    """The task's result: counts, path, generation; the diff if C(why) is given. The whole answer goes into a file, what matters of it to the terminal.

    What the node says of itself (C(msg), C(diff)) is not shown, but what its answer comes to.
    """
    text = answer.pop("tune", None)
    for key in ("invocation", "problem", "diff"):
        answer.pop(key, None)
    if text is None:
        return {**answer, "msg": _tune_result.shown(str(answer["msg"]))} if "msg" in answer else answer
    try:
        told = _tune_result.parse(str(text))
    except _tune_result.BadAnswer as exc:
        message = f"the node's answer is not the result of a tune ({exc}). Look at the node's Python; what it changed is in its journal."
        raise AnsibleActionFail(f"{host}: {message}") from None
    # A plan that could be undone in part only has changed the node as well.
    answer.update(changed=told["changed"] or not told["clean"], generation=told["generation"], counts=_tune_result.counts(told))
    if told["containers"]:
        answer["containers"] = _tune_containers.counts(told["containers"])
    answer["path"] = failing(lambda: _tune_result.write(directory, host, told))
    if told["problem"]:
        answer.update(failed=True, msg=_tune_result.shown(told["problem"]))
    show(_tune_result.summary(told, host, verb=verb, with_diff=why is not None))
    if Display().verbosity > 0:
        show(Line(visible(f"{host}:   {line}")) for line in _tune_result.containers(told, everything=True))
    if why is not None and told["problem"]:
        # Ansible shows the diff of a task that changed something, and not of one that failed.
        show(Line(f"  {line}") for line in _tune_result.values(told, why))
    elif why is not None:
        answer["diff"] = _tune_result.diff(told, why)
    return answer
