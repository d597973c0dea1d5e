# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kernel files for the tests of the host readers, and what must hold for every parser."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "fixtures")
HOST = os.path.join(FIXTURES, "trees", "host-6.18-v1")


def host() -> Tree:
    """A captured host: kernel 6.18, cgroup v1, one NUMA node, no swap."""
    return Tree(HOST)


def content(path: str) -> bytes:
    """A file of the captured host by its absolute path, else of the fixtures by a relative one."""
    with open(os.path.join(HOST, path.lstrip("/")) if path.startswith("/") else os.path.join(FIXTURES, path), "rb") as file:
        return file.read()


def write(root: t.Any, files: dict[str, bytes]) -> Tree:
    """A captured tree with these files."""
    for path, data in files.items():
        full = os.path.join(str(root), path.lstrip("/"))
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(data)
    return Tree(str(root))


def check_truncations(parse: t.Callable[[bytes], t.Any], data: bytes, *, free: t.Collection[str] = ()) -> None:
    """C(parse) of every beginning of C(data) says nothing else than C(parse) of the whole, only less. C(free): keys that judge completeness."""
    whole = parse(data)
    offsets = range(len(data)) if len(data) < 6000 else [*range(0, len(data), 61), *range(len(data) - 200, len(data))]
    for offset in offsets:
        part = parse(data[:offset])
        problem = _difference(part, whole, free)
        if problem:
            raise AssertionError(f"cut at {offset}, before {data[offset : offset + 30]!r}: {problem}")


def _difference(part: t.Any, whole: t.Any, free: t.Collection[str]) -> str:
    if part is None or part == whole:
        return ""
    if isinstance(part, dict) and isinstance(whole, dict):
        for key, value in part.items():
            if key in free:
                continue
            if key not in whole:
                return f"{key!r} is new"
            problem = _difference(value, whole[key], free)
            if problem:
                return f"{key!r}: {problem}"
        return ""
    if isinstance(part, (list, tuple)) and isinstance(whole, (list, tuple)) and len(part) <= len(whole):
        problems = [_difference(one, other, free) for one, other in zip(part, whole)]
        return next(filter(None, problems), "")
    return f"{part!r} is not {whole!r}"
