# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands in for the get-pip.py that ansible-test would download: the interpreter's own pip, then the wanted version from the configured package index.

tests/tools/ansible_test.py puts it where ansible-test looks for a downloaded one. Arguments as ansible-test gives them: pip options, packages, --no-setuptools.
"""

from __future__ import annotations

import subprocess
import sys


def main(arguments: list[str]) -> int:
    """Install pip into this interpreter's environment; returns pip's exit status."""
    subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
    wanted = [argument for argument in arguments if argument not in ("--no-setuptools", "--no-wheel")]
    return subprocess.run([sys.executable, "-m", "pip", "install", *wanted], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
