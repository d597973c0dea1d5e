#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Prints all that a tune could change on a guest, a line each, without code of the collection. Two lists, before and after, are to be equal.
# With an argument also when our files and the journal were written, down to the nanosecond.
set -eu
export LC_ALL=C
cgroups=/sys/fs/cgroup
[ -d $cgroups/memory ] && cgroups=$cgroups/memory
# Of what memory there is at boot the kernel makes the two reserves.
find /proc/sys/vm /proc/sys/kernel/numa_balancing* -type f -perm /444 ! -name stat_refresh ! -name '*_reserve_kbytes' -exec grep -H '' {} + 2>/dev/null | sort
find /sys/kernel/mm /sys/devices/system/node/node*/hugepages /sys/module/zswap/parameters /sys/module/damon*/parameters -type f -perm /200 -perm /444 \
    ! -path '*/stats/*' -exec grep -H '' {} + 2>/dev/null | sort
# One grep for all: a program costs tens of milliseconds on an emulated guest.
for unit in app.slice app.slice/app-web.service batch.slice batch.slice/batch-low.slice batch.slice/batch-low.slice/job@1.service \
    batch.slice/batch-low.slice/job@2.service system.slice user.slice idle.slice; do
    for file in min low high max swap.max zswap.max limit_in_bytes; do
        echo "$cgroups/$unit/memory.$file"
    done
done | xargs grep -sH '' || true
# Pods are gone after a reboot, but on the machine with real containers all are started again.
if [ -x /usr/bin/podman ]; then
    find $cgroups/kubepods* $cgroups/machine.slice $cgroups/libpod_parent $cgroups/batch.slice -regex '.*/memory\.\(min\|low\|high\|max\|swap\.max\|\(soft_\)?limit_in_bytes\)' \
        ! -path '*/libpod-conmon-*' -exec grep -H '' {} + | sort
fi
# A v1 cgroup keeps what the one above it had when it was made, so only what was tuned itself goes back.
grep -H '' $cgroups/batch.slice/memory.swappiness $cgroups/batch.slice/batch-low.slice/memory.swappiness 2>/dev/null || true
systemctl show --no-pager -p Id,MemoryMin,MemoryLow,MemoryHigh,MemoryMax,OOMScoreAdjust,NeedDaemonReload app.slice app-web.service batch.slice batch-low.slice \
    job@1.service idle.slice | sort
find /etc -type f -exec md5sum {} + | sort -k 2
find /etc -printf '%y %m %u %g %p %l\n' | sort
# Made and left behind by set-property; pods are gone after a reboot.
find /run/systemd/system.control /run/systemd/system 2>/dev/null | grep -v kubepods | sort
if [ $# -gt 0 ]; then
    find /etc/sysctl.d /etc/tmpfiles.d /etc/systemd /var/lib/memqos -printf 'written %p %T@\n' | sort
fi
