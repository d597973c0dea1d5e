#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Waits until the guest has booted all of itself, SSH is early. Prints what did not come up.
set -eu
systemctl is-system-running --wait >/dev/null || systemctl list-units --failed --plain --no-legend
# The first Python of a boot reads its library from the disk; Ansible starts one a call.
python3 -c 'import json, zipfile, tempfile, subprocess' || true
sync
