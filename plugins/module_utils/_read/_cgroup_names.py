# SPDX-License-Identifier: BSD-2-Clause

"""All memory cgroups without their figures, for who reads some files of each."""

from __future__ import annotations

import os
import typing as t

from . import _cgroupfs
from ._files import Tree, Unreadable, display

if t.TYPE_CHECKING:
    from ...plugin_utils._shapes import Cgroup
    from ._cgroupfs import Hierarchy


def read(tree: Tree, hierarchy: Hierarchy) -> list[Cgroup]:
    """What C(_cgroupfs.walk) finds, without its figures but for C(limit). What cannot be opened is left out, with all below it."""
    limit = "memory.max" if hierarchy.version == 2 else "memory.limit_in_bytes"
    found: list[Cgroup] = []
    stack: list[tuple[int, str, t.Iterator[str]]] = []
    try:
        top = _cgroupfs.open_root(tree, hierarchy.memory) if hierarchy.memory else -1
    except Unreadable:
        top = -1
    if top < 0:
        return found
    children = _cgroupfs.directories(top)
    status = os.fstat(top)
    counts_links = status.st_nlink == 2 + len(children)  # as in _Walk
    found.append({"path": "/", "inode": status.st_ino})
    stack.append((top, "", iter(children)))
    try:
        while stack:
            fd, above, rest = stack[-1]
            name = next(rest, None)
            if name is None:
                os.close(fd)
                stack.pop()
                continue
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                bound = _cgroupfs.parse_amount(_cgroupfs.read_file(fd, os.fsencode(f"{name}/{limit}")))
                path = f"{above}/{display(name)}"
                one: t.Any = {"path": path, "parent": above or "/", "inode": status.st_ino, **({} if bound == _cgroupfs.GARBLED else {"limit": bound})}
                found.append(one)
                if not counts_links or status.st_nlink > 2:
                    stack.append((os.open(name, _cgroupfs.DIR_FLAGS, dir_fd=fd), path, iter(())))
                    stack[-1] = (*stack[-1][:2], iter(_cgroupfs.directories(stack[-1][0])))
            except OSError:
                continue
    finally:
        for fd, _above, _rest in stack:
            os.close(fd)
    return found
