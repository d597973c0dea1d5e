# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""What all modules of the collection have in common, and how each kind of them behaves."""

from __future__ import annotations


class ModuleDocFragment:
    # Every module. The three attributes without a support value get theirs from one of the fragments below.
    DOCUMENTATION = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/memqos.fleet.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - memqos.fleet.all
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
      - This assumes that the system controlled or queried by the module has not changed in a relevant way.
  platform:
    description: Target OS or families that can be operated against.
    support: full
    platforms: linux
"""

    # Modules that change nothing.
    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    support: full
    details:
      - This action does not modify state.
  become:
    description: Reads files that only root may read.
    support: full
    details:
      - As an ordinary user these files are reported as unknown, with the reason.
"""

    # Modules that change nothing and return ansible_facts.
    FACTS = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  facts:
    description: Action returns an C(ansible_facts) dictionary that will update existing host facts.
    support: full
  idempotent:
    support: full
    details:
      - This action does not modify state.
  become:
    description: Reads files that only root may read.
    support: full
    details:
      - As an ordinary user these files are reported as unknown, with the reason.
"""

    # Modules that change a node.
    CHANGING = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - Makes the whole plan, with refusals and conflicts, and writes nothing.
  diff_mode:
    support: full
    details:
      - One line for each value, and files as unified diffs.
  idempotent:
    support: full
    details:
      - A second run writes nothing, not one time stamp.
  become:
    description: Needs root rights.
    support: full
"""
