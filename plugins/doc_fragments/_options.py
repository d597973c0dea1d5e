# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is private to the collection: its names can change at any release.

"""Options that several modules have."""

from __future__ import annotations


class ModuleDocFragment:
    # Modules that read a node.
    ROOT = r"""
options:
  root:
    description: The tree to read, V(/) for the live node, or the path B(on the node) of a captured tree with the same layout.
    type: path
    default: /
"""

    # Modules that change a node.
    CHANGING = r"""
options:
  allow_risks:
    description:
      - Risks to take. A value that would kill, hang or starve is refused with the figures, and then nothing of the plan is written.
      - For a rollback too, as bringing back a limit that lies below what is used by now would kill.
    type: list
    elements: str
    choices:
      - limit_below_usage
      - high_below_working_set
      - limit_too_small_to_start
      - protection_above_80_percent
      - protection_leaves_nothing
      - min_free_above_5_percent
      - min_free_below_kernel_default
      - watermark_scale_above_400
      - lowmem_reserve_above_5_percent
      - max_map_count_below_default
      - dirty_below_16_mib
      - overcommit_below_committed
      - hugepages_above_available
      - oom_kill_disable
      - swapoff_does_not_fit
    default: []
  lock_wait:
    description: Seconds to wait for another run on the same node.
    type: int
    default: 60
  shrink_within:
    description:
      - Seconds in which the usage of a cgroup may be brought below a bound (C(MemoryMax), C(MemoryHigh)) before that is set, in steps that watch its tasks.
        One call for each 10 seconds.
      - A bound below what cannot be reclaimed is refused, and so is one that tasks grow towards. V(0) shrinks nothing and refuses every bound below usage.
    type: int
    default: 60
  keep_generations:
    description:
      - So many of the newest generations stay on the node, whatever their age. A run that makes one removes older ones that O(keep_days) does not keep either.
      - What stood before the first generation can always be brought back, and so can what stood before the last tune that still holds.
    type: int
    default: 20
  keep_days:
    description: Generations of so many days stay, whatever their number. V(0) keeps none by its age.
    type: int
    default: 30
  directory:
    description: Directory on the controller for the full result, C(tune/HOST.json). Relative to the current directory of the controller.
    type: path
    default: build/report
  request:
    description: What the controller hands to the node. Set by the action plugin.
    type: str
"""
