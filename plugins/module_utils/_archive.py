# Copyright (c) 2026, memqos.fleet contributors. Private to the collection.
# SPDX-License-Identifier: BSD-2-Clause

"""Imports from the zip that a module comes in. Compiling the sources in it is most of what a call costs a node."""

from __future__ import annotations

import typing as t
import zipimport


def compile_once() -> None:
    """For all imports that follow. No effect on Python before 3.10, where zipimport loads by other ways.

    zipimport compiles every module twice: first for importlib, which asks for its file name only (zipimporter.get_filename), then to run it. Here the code of
    the first time is kept for the second.
    """
    importer = t.cast(t.Any, zipimport.zipimporter)
    if not hasattr(importer, "find_spec"):
        return
    compiled = importer.get_code
    codes: dict[tuple[str, str], t.Any] = {}

    def get_filename(self: t.Any, fullname: str) -> t.Any:
        code = codes[self.archive, fullname] = compiled(self, fullname)
        return code.co_filename

    def get_code(self: t.Any, fullname: str) -> t.Any:
        return codes.pop((self.archive, fullname), None) or compiled(self, fullname)

    importer.get_filename, importer.get_code = get_filename, get_code
