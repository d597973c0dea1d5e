#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Holds a guest against what the profile "lab" wants, by shell and awk alone: tune-verify.sh PHASE [OTHER]. PHASE: live, right after a tune; boot, as the node
# came up. OTHER: who else has wishes there (tune-seed.sh). Prints what is wrong; nothing, if all is right.
set -eu
phase=$1
other=${2:-}
memory=$(awk '/^MemTotal:/ { print $2 * 1024 }' /proc/meminfo)
page=$(getconf PAGESIZE)
cgroups=/sys/fs/cgroup version=2
if [ -d $cgroups/memory ]; then cgroups=$cgroups/memory version=1; fi
status=0

is() { # FILE VALUE
    found=$(tr '\t' ' ' <"$1" 2>/dev/null || echo nothing)
    case $found in
    *\[*\]*) found=${found#*[} found=${found%%]*} ;;
    esac
    if [ "$found" != "$2" ]; then
        echo "$1 is $found and should be $2"
        status=1
    fi
}
share() { # PERCENT of memory, whole pages
    awk -v memory="$memory" -v page="$page" -v percent="$1" 'BEGIN { printf "%.0f", int(memory * percent / 100 / page) * page }'
}
knob() { # FILE VALUE: of the kernel, if it has it
    if [ -e "$1" ]; then is "$1" "$2"; fi
}

swappiness=10 thp=madvise
if [ "$phase" = boot ]; then
    case $other in
    tuned) thp=never ;;
    sysctl) swappiness=33 ;;
    esac
fi
is /proc/sys/vm/min_free_kbytes 30000
is /proc/sys/vm/watermark_scale_factor 150
is /proc/sys/vm/swappiness $swappiness
is /proc/sys/vm/dirty_bytes $((192 << 20))
is /proc/sys/vm/dirty_ratio 0
is /proc/sys/vm/dirty_background_bytes $((48 << 20))
is /proc/sys/vm/nr_hugepages 4
is /sys/kernel/mm/transparent_hugepage/enabled $thp
is /sys/kernel/mm/transparent_hugepage/defrag defer+madvise
is /sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none 255
knob /sys/kernel/mm/transparent_hugepage/shrink_underused 0
is /sys/kernel/mm/ksm/pages_to_scan 200
is /sys/module/zswap/parameters/max_pool_percent 15
knob /sys/kernel/mm/lru_gen/min_ttl_ms 100
knob /sys/module/damon_reclaim/parameters/quota_ms 20
knob /sys/module/damon_reclaim/parameters/enabled Y

batch=$cgroups/batch.slice low=$cgroups/batch.slice/batch-low.slice
if [ $version = 2 ]; then
    is $batch/memory.high "$(share 50)"
    is $batch/memory.max "$(share 75)"
    is $low/memory.max "$(share 25)"
    is $cgroups/app.slice/memory.min $((32 << 20))
    is $cgroups/app.slice/memory.low $((64 << 20))
    is $cgroups/app.slice/app-web.service/memory.min $((16 << 20))
    is $low/job@1.service/memory.max $((128 << 20))
    is $low/job@2.service/memory.max $((128 << 20))
else
    is $batch/memory.limit_in_bytes "$(share 75)"
    is $low/memory.limit_in_bytes "$(share 25)"
    is $low/memory.swappiness 80
    is $low/job@2.service/memory.limit_in_bytes $((128 << 20))
fi
# Processes that ran before the tune keep theirs.
if [ "$phase" = boot ]; then
    is "/proc/$(systemctl show -p MainPID --value app-web.service)/oom_score_adj" -500
fi
for unit in batch.slice app.slice app-web.service job@1.service; do
    [ "$(systemctl show -p NeedDaemonReload --value $unit)" = no ] || { echo "$unit needs a daemon-reload"; status=1; }
done
exit $status
