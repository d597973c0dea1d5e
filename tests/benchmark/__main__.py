# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every benchmark, one after the other: `make benchmark`. Each prints ratios of pairs measured in one run; nothing here passes or fails."""

from __future__ import annotations

import pathlib
import subprocess
import sys


def main() -> int:
    failed = 0
    for script in sorted(pathlib.Path(__file__).parent.glob("bench_*.py")):
        print(f"== {script.stem}", flush=True)
        failed |= subprocess.run([sys.executable, str(script), *sys.argv[1:]], check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
