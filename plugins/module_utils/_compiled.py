# SPDX-License-Identifier: BSD-2-Clause

"""The code of our modules, kept compiled beside the journal, as Python keeps that of its own: to compile it is a third of a run that has nothing to do.

It is data of root's: a file that others can write, that is not whole, or of another Python does not count. Each code counts for the same source only.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import marshal
import os
import stat
import typing as t
import zipimport

# In _writer.STATE; not imported, since all that this file imports is compiled each time.
PATH = "/var/lib/memqos/compiled"
_KIND = importlib.util.MAGIC_NUMBER
_MAX_BYTES = 16 * 1024 * 1024


class Compiled:
    """For the imports from a module's zip that come after C(use). Never raises: without the file all is as it was, and slower."""

    def __init__(self, path: str = PATH, *, owner: int = 0) -> None:
        self._path = path
        self._owner = owner
        self._kept: t.Dict[str, t.Tuple[bytes, t.Any]] = {}
        self._used: t.Dict[str, t.Tuple[bytes, t.Any]] = {}

    def use(self) -> None:
        """Each module is compiled at most once: zipimport does it when importlib asks for the file name, and again to run it."""
        self._kept = self._read()
        importer = t.cast(t.Any, zipimport.zipimporter)

        def get_filename(self_: t.Any, fullname: str) -> str:
            path = os.path.join(self_.archive, self_.prefix + fullname.rpartition(".")[2])
            return path + ("/__init__.py" if self_.is_package(fullname) else ".py")

        def get_code(self_: t.Any, fullname: str) -> t.Any:
            if fullname not in self._used:
                path = get_filename(self_, fullname)
                source = self_.get_data(path)
                digest, kept = hashlib.sha256(source).digest(), self._kept.get(fullname, (b"", None))
                # Without docstrings, which are a third of it.
                self._used[fullname] = kept if kept[0] == digest else (digest, compile(source, path, "exec", dont_inherit=True, optimize=2))
            return self._used[fullname][1]

        # Not before Python 3.10, which loads by other ways and compiles once.
        if hasattr(importer, "find_spec"):
            importer.get_code, importer.get_filename = get_code, get_filename

    def save(self, *, first: bool = True) -> None:
        """What was imported. Writes nothing if the file holds it already; a first one only where the node is changed anyway (C(first))."""
        if all(self._kept.get(name) is row for name, row in self._used.items()) or not (first or os.path.lexists(self._path)):
            return
        body = marshal.dumps({**self._kept, **self._used})
        with contextlib.suppress(OSError):
            fresh = f"{self._path}.new"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(_KIND + hashlib.sha256(body).digest() + body)
            os.replace(fresh, self._path)

    def remove(self) -> None:
        for path in (self._path, f"{self._path}.new"):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _read(self) -> t.Dict[str, t.Tuple[bytes, t.Any]]:
        try:
            if not self._ours(os.lstat(os.path.dirname(self._path)), stat.S_ISDIR):
                return {}
            with os.fdopen(os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                if not self._ours(os.fstat(file.fileno()), stat.S_ISREG):
                    return {}
                data = file.read(_MAX_BYTES)
        except OSError:
            return {}
        head, body = data[: len(_KIND) + 32], data[len(_KIND) + 32 :]
        # The digest first: marshal must not see what was cut.
        return dict(marshal.loads(body)) if head == _KIND + hashlib.sha256(body).digest() else {}

    def _ours(self, told: os.stat_result, kind: t.Callable[[int], bool]) -> bool:
        return kind(told.st_mode) and told.st_uid == self._owner and not told.st_mode & 0o022
