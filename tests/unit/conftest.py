# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all unit tests share."""

from __future__ import annotations

from hypothesis import settings

# A deadline for an example is a wall-clock assertion: on a busy machine it fails without a fault.
settings.register_profile("memqos", deadline=None)
settings.load_profile("memqos")
