# SPDX-License-Identifier: BSD-2-Clause

"""What we did to this node, on disk before it is done: C(lock), C(pending.jsonl), C(generations/N.json), C(origin.json).

C(pending.jsonl) is the transaction under way: its first line holds all steps with the values from before, each further line says that a step begins or is done.
The lines need no fsync: they tell a later process what a killed one did; after a power cut live values are gone, and files speak for themselves.
A transaction is committed by the rename that makes its generation.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import typing as t

from . import _steps
from ._tuples import NamedTuple
from ._writer import File, Refused, Writer, cure, words

SCHEMA_VERSION = 1
_POLL_SECONDS = 0.2


class JournalError(Exception):
    """The journal cannot be used; nothing was written. The message names the path and what to do."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Busy(JournalError):
    """Another run holds the lock."""


class Entry(NamedTuple):
    """A transaction: C(meta) as its caller gave it, with our C(pid); C(results) are {status, found}, one a step."""

    generation: int
    boot_id: str
    meta: t.Dict[str, t.Any]
    steps: t.Tuple[_steps.Step, ...]
    results: t.Tuple[t.Dict[str, t.Any], ...] = ()

    def shown(self) -> t.Dict[t.Tuple[str, str], str]:
        """{(path, what we wrote): what the kernel made of it}"""
        pairs = zip(self.steps, self.results)
        return {(step.path, step.after): result["found"] or step.after for step, result in pairs if isinstance(step, _steps.WriteStep)}


class Pending(NamedTuple):
    entry: Entry
    begun: t.Tuple[int, ...]
    found: t.Dict[int, str]  # step: what was read back


class Journal:
    """C(writer.state) is the directory: 0700, ours. Reading works without it and without the lock, writing needs both. All methods raise JournalError."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.directory = writer.state
        self.pending_path = f"{self.directory}/pending.jsonl"
        self._lock: t.Optional[int] = None
        self._loaded: t.Dict[str, t.Tuple[str, t.Any]] = {}

    @contextlib.contextmanager
    def locked(self, *, wait: float = 0, monotonic: t.Callable[[], float] = time.monotonic, sleep: t.Callable[[float], None] = time.sleep) -> t.Iterator[None]:
        """Holds the lock; makes the directory. Raises Busy with the other run's name after C(wait) seconds. Changes no mtime if all is there."""
        deadline = monotonic() + wait
        with told(self.directory):
            if self._names("") is None:
                self.writer.make_directory(self.directory, 0o700)
            self._names("")
        while self._lock is None:
            try:
                with told(f"{self.directory}/lock"):
                    self._lock = self.writer.lock(f"{self.directory}/lock")
            except Busy:
                if monotonic() >= deadline:
                    raise Busy(f"{self.directory}/lock", f"{self._holder()}. Wait for it, or allow more seconds to wait.") from None
                sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            self.writer.close()
            os.close(self._lock)
            self._lock = None

    def pending(self) -> t.Optional[Pending]:
        """The transaction that is under way, or was when its process ended."""
        text = self._text(self.pending_path)
        if text is None:
            return None
        first, *lines = text.split("\n")
        with _intact(self.pending_path):
            entry = _entry(json.loads(first))
        begun: t.List[int] = []
        found: t.Dict[int, str] = {}
        # Up to one that was cut, by a kill or (with zeros) by a power cut.
        for line in lines:
            try:
                number, text = json.loads(line)
            except (ValueError, TypeError):
                break
            if text is None:
                begun.append(number)
            else:
                found[number] = text
        return Pending(entry, tuple(begun), found)

    def unfinished(self) -> str:
        """What a check, which waits for nobody, has to say of a transaction that is under way or was interrupted; else empty."""
        if self.pending() is None:
            return ""
        interrupted = "an interrupted run left a transaction half done: a run without --check undoes it first"
        try:
            lock = os.open(f"{self.writer.root}{self.directory}/lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return interrupted
        try:
            # Shared, for a moment: two checks at once do not take each other for a run.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return "" if self.pending() is None else interrupted
        except BlockingIOError:
            return f"{self._holder()}. This check sees the node amid it: check again."
        finally:
            os.close(lock)

    def begin(self, steps: t.Sequence[_steps.Step], *, boot_id: str, meta: t.Mapping[str, t.Any]) -> Entry:
        """On disk when this returns: fsync, rename, fsync of the directory. An error means that nothing was written."""
        if self._lock is None:
            raise JournalError(self.directory, "is not locked")
        if self.pending() is not None:
            raise JournalError(self.pending_path, "an interrupted transaction stands there: recover first")
        self.origin()
        entry = Entry(max(self.generations(), default=0) + 1, boot_id, {**meta, "pid": os.getpid()}, tuple(steps))
        with told(self.pending_path):
            if self._names("generations") is None:
                self.writer.make_directory(f"{self.directory}/generations", 0o700)
            try:
                self._save(self.pending_path, _plain(entry))
            except BaseException:
                with contextlib.suppress(OSError):
                    self.writer.remove(self.pending_path)
                raise
        return entry

    def replace(self, pending: Pending) -> None:
        """The transaction under way by another account of it: what a recovery has to undo."""
        lines = [json.dumps(line) + "\n" for line in (*((number, None) for number in pending.begun), *pending.found.items())]
        with told(self.pending_path):
            self._save(self.pending_path, _plain(pending.entry), "".join(lines))

    def step_begins(self, number: int) -> None:
        self._progress(number, None)

    def step_done(self, number: int, found: str) -> None:
        self._progress(number, found)

    def commit(self, entry: Entry) -> str:
        """Makes the generation. Raises if it is not there; from then on the transaction stands, and what goes wrong is the returned warning (else empty):

        the next recovery does the rest.
        """
        path = self._generation_path(entry.generation)
        try:
            self._save(path, _plain(entry))
        except OSError as exc:
            # Renamed, but the directory not on disk: committed, unless the power goes before; then all is undone.
            if not self.is_committed(entry):
                raise JournalError(path, words(exc)) from exc
        try:
            self.settle(entry)
        except (OSError, JournalError) as exc:
            return f"{self.pending_path}: {words(exc)}; the next run puts this in order"
        return ""

    def is_committed(self, entry: Entry) -> bool:
        return self._text(self._generation_path(entry.generation)) is not None

    def settle(self, entry: Entry) -> None:
        """What follows a commit. Again and again with the same result."""
        merged, steps, found = self._origin()
        if merged < entry.generation:
            self._save_origin(entry.generation, _steps.merge(steps, entry.steps), found)
        self.forget()

    def forget(self) -> None:
        """Ends the transaction under way."""
        self.writer.remove(self.pending_path)

    def drop(self, numbers: t.Sequence[int]) -> None:
        """Forgets the oldest generations, the oldest first: whatever comes in between, those that are left follow one another.

        What the kernel made of values that the origin takes back goes there before. Raises OSError too.
        """
        merged, steps, found = self._origin()
        if not numbers or numbers[-1] > merged:
            return
        standing = {(step.path, step.after) for step in steps if isinstance(step, _steps.WriteStep)}
        for number in numbers:
            entry = self.generation(number)
            found.update(entry.shown())
        self._save_origin(merged, steps, {key: text for key, text in found.items() if key in standing})
        for number in numbers:
            self.writer.remove(self._generation_path(number))

    def generations(self) -> t.List[int]:
        names = self._names("generations") or []
        return sorted(int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit())

    def generation(self, number: int) -> Entry:
        path = self._generation_path(number)
        text = self._text(path)
        if text is None:
            known = ", ".join(map(str, self.generations())) or "none"
            raise JournalError(path, f"there is no such generation; there are: {known}")
        return t.cast("Entry", self._load(path, text, _entry))

    def _load(self, path: str, text: str, of: t.Callable[[t.Any], t.Any]) -> t.Any:
        """What a file says, whose text is mostly the one that it was the last time. Nobody changes the result."""
        if path not in self._loaded or self._loaded[path][0] != text:
            with _intact(path):
                self._loaded[path] = text, of(json.loads(text))
        return self._loaded[path][1]

    def origin(self) -> t.Tuple[_steps.Step, ...]:
        """From each value before our first generation (C(before)) to what we made of it (C(after)); what went back to its origin is not in it."""
        return self._origin()[1]

    def shown(self) -> t.Dict[t.Tuple[str, str], str]:
        """C(Entry.shown) of all, those that are dropped too."""
        found = self._origin()[2]
        for number in self.generations():
            found.update(self.generation(number).shown())
        return found

    def armed(self) -> t.Dict[str, t.Any]:
        """What takes a tune back that nobody confirms; empty if nothing does."""
        path = f"{self.directory}/armed.json"
        text = self._text(path)
        with _intact(path):
            return dict(json.loads(text)) if text else {}

    def unconfirmed(self) -> int:
        """The generation that awaits confirmation; 0 for none."""
        known, token = self.generations(), self.armed().get("token")
        return known[-1] if known and token and self.generation(known[-1]).meta.get("confirm") == token else 0

    def _origin(self) -> t.Tuple[int, t.Tuple[_steps.Step, ...], t.Dict[t.Tuple[str, str], str]]:
        """(the last generation in it, steps, what the kernel made of values of generations that were dropped)"""
        path = f"{self.directory}/origin.json"
        text = self._text(path)
        if text is None:
            return 0, (), {}
        merged, steps, shown = self._load(path, text, _origin_of)
        return merged, steps, {**shown}

    def _save_origin(self, merged: int, steps: t.Iterable[_steps.Step], found: t.Mapping[t.Tuple[str, str], str]) -> None:
        rows, shown = [_steps.to_json(step) for step in steps], [[*key, text] for key, text in found.items()]
        self._save(f"{self.directory}/origin.json", {"generation": merged, "steps": rows, "found": shown})

    def _generation_path(self, number: int) -> str:
        return f"{self.directory}/generations/{number}.json"

    def _progress(self, number: int, found: t.Optional[str]) -> None:
        try:
            self.writer.append(self.pending_path, json.dumps([number, found]) + "\n")
        except OSError as exc:
            raise JournalError(self.pending_path, words(exc)) from exc

    def _save(self, path: str, content: t.Dict[str, t.Any], more: str = "") -> None:
        text = json.dumps({"schema_version": SCHEMA_VERSION, **content}) + "\n" + more
        self.writer.replace(path, File(text, 0o600, os.geteuid(), os.getegid()))

    def _text(self, path: str) -> t.Optional[str]:
        with told(path):
            self._names("")
            file = self.writer.read(path)
            return None if file is None else file.text

    def _names(self, below: str) -> t.Optional[t.List[str]]:
        """Names in a directory of ours; None if absent."""
        path = f"{self.directory}/{below}".rstrip("/")
        with told(path):
            found = self.writer.directory(path)
        if found is None:
            return None
        status, names = found
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            reason = f"belongs to user {status.st_uid} with mode {status.st_mode & 0o7777:04o}, and not to {os.geteuid()} with 0700: whoever can write there"
            raise JournalError(path, f"{reason} could have us write anything. Look into it, then remove it or set owner and mode.")
        return names

    def _holder(self) -> str:
        try:
            pending = self.pending()
        except JournalError:
            pending = None
        if pending is None:
            pid = _locker(f"{self.writer.root}{self.directory}/lock")
            return "another run has the lock and is still planning" + (f": process {pid}" if pid else "")
        meta = pending.entry.meta
        return f"another run is writing: from {meta.get('host', 'an unknown host')}, process {meta['pid']}, since {meta.get('started', 'an unknown time')}"


def _locker(path: str) -> int:
    """The process that holds the lock on this file, as the kernel says: a run that changes nothing writes nothing, so it leaves no name. 0: not known."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/locks", encoding="ascii") as stream:
        inode = os.stat(path).st_ino
        found = [words for words in map(str.split, stream) if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode)]
        return max(0, int(found[0][4]))
    return 0


def _plain(entry: Entry) -> t.Dict[str, t.Any]:
    return {**entry._asdict(), "steps": [_steps.to_json(step) for step in entry.steps]}


def _entry(value: t.Any) -> Entry:
    steps = tuple(map(_steps.from_json, value["steps"]))
    meta = dict(value["meta"])
    if value["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version {value['schema_version']}")
    if not isinstance(value["generation"], int) or "pid" not in meta:
        raise ValueError("no transaction")
    return Entry(value["generation"], str(value["boot_id"]), meta, steps, tuple(value["results"]))


def _origin_of(value: t.Any) -> t.Tuple[int, t.Tuple[_steps.Step, ...], t.Dict[t.Tuple[str, str], str]]:
    shown = {(str(path), str(after)): str(now) for path, after, now in value.get("found", ())}
    return int(value["generation"]), tuple(map(_steps.from_json, value["steps"])), shown


@contextlib.contextmanager
def told(path: str) -> t.Iterator[None]:
    """OSError and Refused as JournalError."""
    try:
        yield
    except BlockingIOError as exc:
        raise Busy(path, words(exc)) from exc
    except OSError as exc:
        raise JournalError(path, f"{words(exc)}. Nothing was changed. {cure(exc)}".rstrip()) from exc
    except Refused as exc:
        raise JournalError(exc.path, f"{exc.reason}. Nothing was changed: look who made it so, and remove it.") from exc


@contextlib.contextmanager
def _intact(path: str) -> t.Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        reason = f"is damaged ({exc}), and stays as it is. Keep a copy, compare the node with it by hand, remove it, and run again."
        raise JournalError(path, reason) from exc
