# SPDX-License-Identifier: BSD-2-Clause

"""What the modules share."""

from __future__ import annotations

import base64
import functools
import json
import typing as t
import zipimport
import zlib

from ansible.module_utils.basic import AnsibleModule

from ._read._files import Unreadable

ROOT: dict[str, t.Any] = {"type": "path", "default": "/"}
WINDOW: dict[str, t.Any] = {"type": "float", "default": 1.0}
_MAX_REQUEST = 1 << 24


def compile_once() -> None:
    """docs/architecture.md §4. Before Python 3.10 zipimport loads by other ways."""
    importer = t.cast(t.Any, zipimport.zipimporter)
    importer.get_code = functools.lru_cache(None)(importer.get_code)
    importer.get_filename = lambda self, fullname: self.get_code(fullname).co_filename


class BadOption(Exception):
    """The message says what would be right."""


def run(argument_spec: dict[str, t.Any], body: t.Callable[[dict[str, t.Any]], dict[str, t.Any]], *, expected: tuple[type[Exception], ...] = ()) -> t.NoReturn:
    """A result with C(problem) fails, and is returned all the same. C(expected): errors whose message is complete."""
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True)
    errors: tuple[type[Exception], ...] = (BadOption, *expected)
    try:
        result = body({**module.params, "check_mode": module.check_mode})
    except Unreadable as exc:
        module.fail_json(msg=f"Cannot read {exc.path}: {exc.reason}.", path=exc.path, reason=exc.reason)
    except errors as exc:
        module.fail_json(msg=str(exc))
    problem = result.pop("problem", "")
    if problem:
        module.fail_json(msg=problem, **result)
    module.exit_json(**{"changed": False, **result})


def unpack(text: str) -> dict[str, t.Any]:
    """What plugin_utils/_request packed. Raises BadOption."""
    try:
        return t.cast("dict[str, t.Any]", json.loads(zlib.decompressobj().decompress(base64.b85decode(text), _MAX_REQUEST)))
    except (ValueError, zlib.error) as exc:
        raise BadOption(f"request: set by the action plugin only ({exc}).") from exc


def to_json(value: t.Any) -> str:
    """One line of ASCII JSON: a string costs Ansible no more than a ping, the same structure twice as much."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
