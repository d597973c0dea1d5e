# SPDX-License-Identifier: BSD-2-Clause

"""Rows of a report, one a cgroup, docs/reports.md. What most cgroups have in common travels once. Pure."""

from __future__ import annotations

import typing as t

from ._tuples import NamedTuple

Json = t.Dict[str, t.Any]
_HEAD = ("path", "name", "level", "class", "request", "limit", "source")
# More than there are intents.
_MOST_NONE = 32
# Its file, origin, equivalence, reason and status.
Cell = t.Tuple[str, str, str, str, str]


class Subject(NamedTuple):
    """Whose cgroup: C(qos_class) of the model; C(unit): systemd's, empty where it is nobody's; C(source): who says what it requests."""

    name: str
    level: str
    qos_class: str = ""
    unit: str = ""
    request: t.Optional[int] = None
    limit: t.Optional[int] = None
    source: str = ""


class Row(NamedTuple):
    """C(before), C(wanted): one for each of C(cells). C(none): (intent, reason) of what cannot be had."""

    path: str
    subject: Subject
    cells: t.Tuple[Cell, ...]
    before: t.Sequence[t.Optional[str]]
    wanted: t.Sequence[t.Optional[str]]
    none: t.Tuple[t.Tuple[str, str], ...] = ()


class Rows(t.Sequence[Json]):
    """As the report has them; C(status): what has become of those that would change."""

    def __init__(self, rows: t.Sequence[Row] = (), status: str = "would_change") -> None:
        self._rows, self._status = rows, status

    def told(self, status: str, gone: t.Container[str] = ()) -> Rows:
        """Without those of C(gone), of which nothing came."""
        return Rows([row for row in self._rows if row.path not in gone], status)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: t.Any) -> t.Any:
        return unpacked(Rows(self._rows[number : number + 1 or None], self._status).packed())[0]

    def __iter__(self) -> t.Iterator[Json]:
        return iter(unpacked(self.packed()))

    def packed(self) -> Json:
        """What C(unpacked) makes rows of."""
        shapes: t.Dict[t.Any, int] = {}
        rows = []
        for row in self._rows:
            subject = row.subject
            shape = shapes.setdefault((row.cells, row.none), len(shapes))
            head = (row.path, subject.name, subject.level, subject.qos_class, subject.request, subject.limit, subject.source)
            rows.append((*head, shape, row.before, row.wanted))
        told = [[[self._now(cell) for cell in cells], none] for cells, none in shapes]
        return {"shapes": told, "rows": rows}

    def _now(self, cell: Cell) -> Cell:
        return (*cell[:4], self._status) if cell[4] == "would_change" else cell


def unpacked(packed: Json) -> t.List[Json]:
    """The rows, for people and programs. Raises ValueError on what C(Rows.packed) never made."""
    try:
        return [_unpacked(packed["shapes"], *row) for row in packed["rows"]]
    except (LookupError, TypeError) as exc:
        raise ValueError(f"no rows of containers: {exc}") from exc


def _unpacked(shapes: t.Any, *fields: t.Any) -> Json:
    *head, number, befores, wanteds = fields
    cells, none = shapes[number]
    # Each value stands in its row, so that a small answer makes no large one.
    if not len(cells) == len(befores) == len(wanteds) or len(none) > _MOST_NONE or len(head) != len(_HEAD):
        raise ValueError(f"no row of containers: {str(head):.100}")
    values = {
        file: {"before": before, "wanted": wanted, "origin": origin, "equivalence": equivalence, "reason": reason, "status": status}
        for (file, origin, equivalence, reason, status), before, wanted in zip(cells, befores, wanteds)
    }
    return {**dict(zip(_HEAD, head)), "values": values, "none": [{"intent": intent, "reason": reason} for intent, reason in none]}
