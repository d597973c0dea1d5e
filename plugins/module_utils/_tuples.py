# SPDX-License-Identifier: BSD-2-Clause

"""NamedTuple whose classes cost a third: typing compiles each annotation."""

from __future__ import annotations

import collections
import typing as t

if t.TYPE_CHECKING:
    from typing import NamedTuple
else:

    class _Fields(type):
        def __new__(cls, name, bases, space):
            if not bases:
                return super().__new__(cls, name, bases, space)
            fields = list(space.pop("__annotations__", ()))
            optional = [field for field in fields if field in space]
            if fields[len(fields) - len(optional) :] != optional:
                raise TypeError(f"{name}: defaults come last")
            made = collections.namedtuple(name, fields, defaults=list(map(space.pop, optional)))
            for key, value in space.items():
                setattr(made, key, value)
            return made

    NamedTuple = _Fields("NamedTuple", (), {})
