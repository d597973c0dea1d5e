# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What the action plugins memory_tune and memory_rollback share: who asks, and what becomes of the node's answer."""

from __future__ import annotations

import re
import socket
import time
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display

from ansible_collections.memqos.fleet.plugins.plugin_utils import _results, _tune_result

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ansible_collections.memqos.fleet.plugins.plugin_utils._report_terminal import Line

T = t.TypeVar("T")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\.conf")


def check_file_name(name: str) -> None:
    """Raises AnsibleActionFail."""
    if not _FILE_NAME.fullmatch(name):
        raise AnsibleActionFail(f"sysctl_file={name!r:.120}: the name of a file in /etc/sysctl.d is expected here, as zz-memqos.conf")


def meta(*, profiles: list[str]) -> dict[str, t.Any]:
    """Who made a generation, and when by this machine's clock."""
    return {"host": socket.gethostname(), "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "profiles": profiles, "run_id": _results.RUN_ID}


def failing(read: Callable[[], T]) -> T:
    """A result file that cannot be read or written fails the task, with a message that is complete."""
    try:
        return read()
    except _results.ResultError as exc:
        raise AnsibleActionFail(str(exc)) from None


def show(lines: Iterable[Line]) -> None:
    display = Display()
    for line in lines:
        display.display(line.text, color=line.color)


def finish(answer: dict[str, t.Any], *, host: str, directory: str, verb: str, why: _tune_result.Why | None) -> dict[str, t.Any]:
    """The task's result: counts, path, generation; the diff if C(why) is given. The whole answer goes into a file, what matters of it to the terminal."""
    answer.pop("invocation", None)
    text = answer.pop("tune", None)
    answer.pop("problem", None)
    if text is None:
        return answer
    try:
        told = _tune_result.parse(str(text))
    except _tune_result.BadAnswer as exc:
        raise AnsibleActionFail(
            f"{host}: the node's answer is not the result of a tune ({exc}). Look at the node's Python; what it changed is in its journal."
        ) from None
    answer["path"] = failing(lambda: _tune_result.write(directory, host, told))
    answer.update(generation=told["generation"], counts=_tune_result.counts(told))
    show(_tune_result.summary(told, host, verb=verb))
    if why is not None:
        answer["diff"] = _tune_result.diff(told, why)
    return answer
