#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Who gets the processor of a loaded guest: what comes by SSH before all, so that it can be measured and tuned; then by nice, whatever session
# a process is of. (With autogroups nice counts among the processes of one service only.)
set -eu

autogroup=/proc/sys/kernel/sched_autogroup_enabled
[ ! -e "$autogroup" ] || echo 0 >"$autogroup"
for comm in /proc/[0-9]*/comm; do
  case $(cat "$comm" 2>/dev/null) in
  sshd*)
    pid=${comm#/proc/}
    renice -n -15 -p "${pid%/comm}" >/dev/null
    ;;
  esac
done
