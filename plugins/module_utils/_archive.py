# Copyright (c) 2026, memqos.fleet contributors. Private to the collection.
# SPDX-License-Identifier: BSD-2-Clause

"""Imports from a module's zip: most of what a call costs."""

from __future__ import annotations

import functools
import typing as t
import zipimport


def compile_once() -> None:
    """zipimport compiles a module when importlib asks for its file name, and again to run it. (Not before Python 3.10, which loads by other ways.)"""
    importer = t.cast(t.Any, zipimport.zipimporter)
    importer.get_code = functools.lru_cache(None)(importer.get_code)
    importer.get_filename = lambda self, fullname: self.get_code(fullname).co_filename
