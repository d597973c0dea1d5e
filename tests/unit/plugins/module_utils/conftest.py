# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is collected on which Python."""

from __future__ import annotations

import sys

# zipimport loads by other ways before 3.10, and nothing is kept.
collect_ignore = ["test_compiled.py"] if sys.version_info < (3, 10) else []
