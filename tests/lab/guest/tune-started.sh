#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Units that start after a tune, with its values, and run on while it is rolled back: tune-started.sh PHASE. PHASE: start, starts them and looks what they got;
# back, looks what a rollback left of it and stops them. Prints what is wrong; nothing, if all is right.
set -eu
phase=$1
cgroups=/sys/fs/cgroup file=memory.max none=max
if [ -d $cgroups/memory ]; then cgroups=$cgroups/memory file=memory.limit_in_bytes none=9223372036854771712; fi
status=0

is() { # CGROUP VALUE
    found=$(cat "$cgroups/$1/$file" 2>/dev/null || echo nothing)
    if [ "$found" != "$2" ]; then
        echo "$1/$file is $found and should be $2"
        status=1
    fi
}

job=batch.slice/batch-low.slice/job@3.service
case $phase in
start)
    systemctl start job@3.service
    systemd-run --quiet --unit=lab-started.service --slice=idle.slice /bin/sleep infinity
    is $job $((128 << 20))
    is idle.slice $((64 << 20))
    ;;
back)
    is $job $none
    is idle.slice $none
    systemctl stop job@3.service lab-started.service idle.slice
    ;;
esac
exit $status
