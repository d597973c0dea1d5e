#!/usr/bin/python

# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: memory_rollback
short_description: Bring back what stood on a node before memory_tune
version_added: 0.1.0
description:
  - Restores files byte for byte and knobs value for value, in one transaction, which is a generation of its own.
  - A value that somebody else has changed since is named and left as it is, unless O(force=true).
  - What cannot come back is that the kernel takes C(vm.min_free_kbytes) as set by the user from the first write on, until the next boot.
  - The history in C(/var/lib/memqos) stays.
author:
  - memqos.fleet contributors (@memqos)
extends_documentation_fragment:
  - memqos.fleet._attributes
  - memqos.fleet._attributes.changing
  - memqos.fleet._options.changing
options:
  to:
    description:
      - V(previous) is what stood before the last tune that still holds; V(origin) what stood before the first one; a number what stood after that generation.
    type: str
    default: previous
  force:
    description: Take back values too that somebody else has changed since.
    type: bool
    default: false
seealso:
  - module: memqos.fleet.memory_tune
"""

EXAMPLES = r"""
- name: Undo the last tune
  memqos.fleet.memory_rollback:

- name: Remove our work altogether
  memqos.fleet.memory_rollback:
    to: origin
"""

RETURN = r"""
generation:
  description: The generation that this rollback made, V(0) if nothing was changed.
  returned: always
  type: int
  sample: 4
counts:
  description: How many knobs have each status; C(deferred) are those that somebody else has changed since.
  returned: always
  type: dict
  sample: {changed: 12, deferred: 1}
path:
  description: The full result on the controller, with one entry for each knob.
  returned: always
  type: str
  sample: build/report/tune/node17.json
"""

import typing as t

from ansible_collections.memqos.fleet.plugins.module_utils import _compiled

COMPILED = _compiled.Compiled()
COMPILED.use()

from ansible_collections.memqos.fleet.plugins.module_utils import _journal, _module, _tune, _tune_options
from ansible_collections.memqos.fleet.plugins.module_utils._read._files import Tree
from ansible_collections.memqos.fleet.plugins.module_utils._writer import Refused, Writer


def rollback(params: dict[str, t.Any]) -> dict[str, t.Any]:
    work = _tune.Work(Tree("/"), Writer("/"), check=params["check_mode"])
    result = _tune.rollback(_module.unpack(params["request"] or ""), work)
    if not (work.check or work.journal.origin()):
        COMPILED.remove()
    return _tune.answer(result)


def main() -> None:
    spec = {**_tune_options.ROLLBACK, **_tune_options.REQUEST}
    _module.run(spec, rollback, expected=(_tune.TuneError, _journal.JournalError, Refused, OSError))


if __name__ == "__main__":
    main()
