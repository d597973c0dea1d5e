# SPDX-License-Identifier: BSD-2-Clause

"""What the generations of a node were, and how any two of them differ. Reads the journal, needs no lock and writes nothing."""

from __future__ import annotations

import typing as t

from ._journal import JournalError
from ._steps import FileStep, MemcgsStep, PropertyStep, Step, SwapStep, WriteStep, merge

if t.TYPE_CHECKING:
    from ._journal import Entry, Journal

    Json = t.Dict[str, t.Any]

SCHEMA_VERSION = 1
ORIGIN, NOW = "origin", "now"
# Values of containers that are told: a node can have tens of thousands.
_MOST = 500


class Unknown(Exception):
    """A generation that is not there; the message says which are."""


def told(journal: Journal, compare: t.Sequence[str]) -> Json:
    """All generations, oldest first, and (of two names in C(compare)) what changes from the one to the other. Raises JournalError, Unknown.

    A damaged generation is told as such. C(stands): the tune whose values stand; C(origin) where none does.
    """
    known = journal.generations()
    generations = [_told(number, journal) for number in known]
    waiting = journal.unconfirmed() if generations and not generations[-1]["problem"] else 0
    return {
        "schema_version": SCHEMA_VERSION,
        "stands": generations[-1]["stands"] if generations else ORIGIN,
        "generations": generations,
        "compared": _compared(journal, known, *compare) if compare else None,
        "notes": [note for note in (journal.unfinished(), f"generation {waiting} awaits confirmation" if waiting else "") if note],
    }


def _told(number: int, journal: Journal) -> Json:
    empty: Json = {"generation": number, "started": "", "host": "", "run_id": "", "profiles": [], "stands": str(number), "values": [], "files": []}
    try:
        entry = journal.generation(number)
    except JournalError as exc:
        return {**empty, "problem": str(exc)}
    meta = entry.meta
    texts = {key: str(meta.get(key, "")) for key in ("started", "host", "run_id")}
    stands, profiles = str(meta.get("stands", number)), [str(name) for name in meta.get("profiles", ())]
    values, files = _changes(_done(entry))
    return {**empty, **texts, "profiles": profiles, "stands": stands, "values": values, "files": [file["path"] for file in files], "problem": ""}


def _done(entry: Entry) -> t.List[Step]:
    """Without what units had taken before, which no run did."""
    told = [result.get("status") for result in entry.results] or ["changed"] * len(entry.steps)
    return [step for step, status in zip(entry.steps, told) if status != "adopted"]


def _changes(steps: t.Sequence[Step]) -> t.Tuple[t.List[Json], t.List[Json]]:
    """(values, files)"""
    values: t.Dict[t.Tuple[str, ...], Json] = {}
    files: t.Dict[t.Tuple[str, ...], Json] = {}
    for key, row in _rows(steps, _owned(steps)).items():
        if row["before"] != row["after"]:
            (files if "path" in row else values)[key] = row
    return _bounded(values), list(files.values())


def _owned(steps: t.Iterable[Step]) -> t.Set[str]:
    """Kernel files that properties become."""
    return {file.path for step in steps if isinstance(step, PropertyStep) for file in step.files}


def _rows(steps: t.Iterable[Step], owned: t.Collection[str]) -> t.Dict[t.Tuple[str, ...], Json]:
    """What steps come to, by what they change; of a unit its properties, without the files in C(owned)."""
    rows: t.Dict[t.Tuple[str, ...], Json] = {}
    for key, row in (pair for step in steps for pair in _rows_of(step, owned)):
        # What is written twice, as it was at first.
        rows[key] = {**row, "before": rows[key]["before"]} if key in rows else row
    return rows


def _rows_of(step: Step, owned: t.Collection[str]) -> t.Iterator[t.Tuple[t.Tuple[str, ...], Json]]:
    if isinstance(step, WriteStep) and step.path not in owned:
        yield ("write", step.path), {"name": step.knob, "subject": step.subject, "before": step.before, "after": step.after}
    elif isinstance(step, FileStep) and not step.path.startswith("/run/"):
        yield ("file", step.path), {"path": step.path, "before": step.before, "after": step.after}
    elif isinstance(step, SwapStep):
        yield ("swap", step.path), {"name": step.name, "subject": "", "before": step.before, "after": step.after}
    elif isinstance(step, PropertyStep):
        before = dict(step.before)
        for name, value in step.properties:
            yield ("unit", step.unit, name), {"name": name, "subject": step.unit, "before": before.get(name), "after": value}
    elif isinstance(step, MemcgsStep):
        for memcg in step.memcgs:
            for file, was, now in memcg.values:
                yield ("memcg", memcg.path, file), {"name": file, "subject": memcg.unit or memcg.path, "before": was, "after": now}


def _bounded(values: t.Mapping[t.Tuple[str, ...], Json]) -> t.List[Json]:
    """The first of containers, and how many more there are."""
    more = frozenset([key for key in values if key[0] == "memcg"][_MOST:])
    kept = [row for key, row in values.items() if key not in more]
    return [*kept, {"name": "containers", "subject": "", "before": None, "after": f"{len(more)} more values"}] if more else kept


def _compared(journal: Journal, known: t.Sequence[int], one: str, other: str) -> Json:
    """By what has been done since each of them: what nobody touched since stands in both as it is now."""
    done = [_since(journal, known, name) for name in (one, other)]
    owned = _owned([*done[0], *done[1]])
    then, later = (_rows(steps, owned) for steps in done)
    values: t.Dict[t.Tuple[str, ...], Json] = {}
    files: t.List[Json] = []
    for key in {**then, **later}:
        now = (later.get(key) or then[key])["after"]
        row = {**(later.get(key) or then[key]), "before": then[key]["before"] if key in then else now, "after": later[key]["before"] if key in later else now}
        if row["before"] != row["after"]:
            if "path" in row:
                files.append(row)
            else:
                values[key] = row
    return {"from": one, "to": other, "values": _bounded(values), "files": files}


def _since(journal: Journal, known: t.Sequence[int], name: str) -> t.List[Step]:
    """All that was done since a generation."""
    if name == ORIGIN:
        return list(journal.origin())
    if not known or (name != NOW and int(name) not in known):
        raise Unknown(f"there is no generation {name}; there are: {', '.join(map(str, known)) or 'none'}")
    steps: t.List[Step] = []
    for number in known:
        if name != NOW and number > int(name):
            steps = merge(steps, journal.generation(number).steps)
    return steps
