# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our NamedTuple gives what typing's gives."""

from __future__ import annotations

import copy
import pickle
import typing as t

import pytest

from ansible_collections.memqos.fleet.plugins.module_utils import _tuples

if t.TYPE_CHECKING:
    from typing import NamedTuple
else:
    NamedTuple = _tuples.NamedTuple


class Step(NamedTuple):
    """What is written."""

    path: str
    value: int
    before: t.Optional[int] = None
    more: t.Tuple[str, ...] = ()

    @property
    def moved(self) -> bool:
        return self.before != self.value

    def at(self, path: str) -> Step:
        return self._replace(path=path)


class Nothing(NamedTuple):
    """No field."""


class Same(t.NamedTuple):
    path: str
    value: int
    before: t.Optional[int] = None
    more: t.Tuple[str, ...] = ()


def test_it_is_what_typing_makes() -> None:
    ours, theirs = Step("/proc", 1, more=("a",)), Same("/proc", 1, more=("a",))
    assert tuple(ours) == tuple(theirs) and hash(ours) == hash(theirs) and ours._asdict() == theirs._asdict()
    assert (Step._fields, Step._field_defaults) == (Same._fields, Same._field_defaults) and isinstance(ours, tuple)
    assert (Step.__name__, Step.__module__, Step.__doc__) == ("Step", __name__, "What is written.") and repr(ours) == repr(theirs).replace("Same", "Step")
    assert pickle.loads(pickle.dumps(ours)) == ours == copy.copy(ours)


def test_methods_and_properties_stay() -> None:
    assert Step("/proc", 1).moved and Step("/proc", 1).at("/sys").path == "/sys"
    assert Nothing() == () and Nothing._fields == ()


@pytest.mark.parametrize("wrong", [lambda: Step("/proc"), lambda: Step("/proc", 1, nothing=2), lambda: Nothing(1)])  # type: ignore[call-arg]
def test_wrong_fields_are_errors(wrong: t.Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        wrong()


def test_the_order_of_defaults_counts() -> None:
    with pytest.raises(TypeError, match="Wrong"):

        class Wrong(NamedTuple):
            path: str = ""
            value: int  # type: ignore[misc]
