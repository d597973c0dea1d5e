#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Holds a guest against what the profile "lab" wants, by shell and awk alone: tune-verify.sh PHASE [OTHER]. PHASE: live, right after a tune; boot, as the node
# came up; started, with containers that no tune has seen yet. OTHER: who else has wishes there (tune-seed.sh); containers: the profile is "pods"; numa: it is
# "numa". Prints what is wrong, nothing if all is right.
set -eu
phase=$1
other=${2:-}
# MemTotal is some pages more or less at each boot, and a share does not follow that (docs/tuning.md): it is of the boot in which the first tune was.
first=/var/tmp/lab-memtotal
[ -e $first ] || awk '/^MemTotal:/ { print $2 * 1024 }' /proc/meminfo >$first
memory=$(cat $first)
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
is_share() { # FILE PERCENT of memory, whole pages
    is "$1" $((memory * $2 / 100 / page * page))
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
pages=4
if [ "$other" = numa ]; then
    pages=7
    is /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages 1
    is /sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages 6
fi
is /proc/sys/vm/nr_hugepages $pages
is /sys/kernel/mm/transparent_hugepage/enabled $thp
is /sys/kernel/mm/transparent_hugepage/defrag defer+madvise
is /sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none 255
knob /sys/kernel/mm/transparent_hugepage/shrink_underused 0
is /sys/kernel/mm/ksm/pages_to_scan 200
is /sys/module/zswap/parameters/max_pool_percent 15
knob /sys/kernel/mm/lru_gen/min_ttl_ms 100
knob /sys/module/damon_reclaim/parameters/quota_ms 20
knob /sys/module/damon_reclaim/parameters/enabled Y
knob /sys/module/damon_stat/parameters/enabled N

batch=$cgroups/batch.slice low=$cgroups/batch.slice/batch-low.slice
if [ $version = 2 ]; then
    is_share $batch/memory.high 50
    is_share $batch/memory.max 75
    is_share $low/memory.max 25
    is $cgroups/app.slice/memory.min $((32 << 20))
    is $cgroups/app.slice/memory.low $((64 << 20))
    is $cgroups/app.slice/app-web.service/memory.min $((16 << 20))
    is $low/job@1.service/memory.max $((128 << 20))
    is $low/job@2.service/memory.max $((128 << 20))
else
    is_share $batch/memory.limit_in_bytes 75
    is_share $low/memory.limit_in_bytes 25
    is $low/memory.swappiness 80
    is $low/job@2.service/memory.limit_in_bytes $((128 << 20))
fi

cgroup_of() { # CONTAINER: the scope that Podman's first process is in; below it crun makes one more
    sed -n "s|^$controller|$cgroups|; s|/container\$||; /^\/sys/p" "/proc/$(podman inspect --format '{{.State.Pid}}' "$1")/cgroup"
}
controller=0::
if [ $version = 1 ]; then controller='[0-9]*:memory:'; fi
worker=$cgroups/kubepods/burstable/pod3f2b8f0a-6c1d-4e57-8a3e-5d0c9b7a6e21/$(printf '%064d' 0 | tr 0 e)
# Nine tenths of the limit of a container of batch work, in whole pages: from then on it is slowed down, or on v1 reclaimed from before others.
nine_tenths=$(((32 << 20) * 9 / 10 / page * page))
if [ "$other" = containers ] && [ "$phase" != boot ] && [ $version = 1 ]; then
    soft=9223372036854771712
    if [ "$phase" = live ]; then soft=$nine_tenths; fi
    is "$(cgroup_of queue)/memory.soft_limit_in_bytes" $soft
    is "$(cgroup_of queue)/memory.limit_in_bytes" $((32 << 20))
    # Nothing protects a cgroup there: Podman's reservation stays what it was, and so do limits, which this crun (1.8) sets on the cgroup below the scope.
    is "$(cgroup_of cache)/container/memory.soft_limit_in_bytes" $((24 << 20))
    is "$(cgroup_of cache)/container/memory.limit_in_bytes" $((64 << 20))
    is "$worker/memory.limit_in_bytes" $((48 << 20))
elif [ "$other" = containers ] && [ "$phase" != boot ]; then
    pods=$cgroups/kubepods.slice
    guaranteed=$pods/kubepods-pod7c9e6679_7425_40de_944b_e07fc1f90ae7.slice
    burstable=$pods/kubepods-burstable.slice/kubepods-burstable-pod0b5f6d2e_3c1a_4f7b_9d58_1a2b3c4d5e6f.slice
    is $pods/memory.min $((64 << 20))
    is $pods/memory.low $((160 << 20))
    is $guaranteed/memory.min $((48 << 20))
    is $pods/kubepods-burstable.slice/memory.low $((96 << 20))
    is_share $pods/kubepods-besteffort.slice/memory.max 10
    is $cgroups/machine.slice/memory.low $((32 << 20))
    high=$(find $pods -path '*/cri-containerd-*.scope/memory.high' -exec cat {} +)
    [ "$high" = "$(printf '%s\n' 62914560 62914560 62914560)" ] || { echo "memory.high of the pods' three containers is $high"; status=1; }
    for name in cache batch; do
        is "$(cgroup_of $name)/memory.high" $((56 << 20))
    done
    # Limits that kubelet and Podman gave stay, although set-property writes all files of a cgroup.
    is $burstable/memory.max $((96 << 20))
    for limited in "a $burstable 64" "b $guaranteed 48"; do
        # shellcheck disable=SC2086  # three words
        set -- $limited
        is "$2/cri-containerd-$(printf '%064d' 0 | tr 0 "$1").scope/memory.max" $(($3 << 20))
    done
    limited=$(cgroup_of cache) reserved=$((24 << 20))
    # The crun of Debian 12 (1.8) sets a container's limits on the cgroup below its scope.
    [ "$(cat "$limited/memory.max")" != max ] || limited=$limited/container reserved=0
    is "$limited/memory.max" $((64 << 20))
    is "$(cgroup_of cache)/container/memory.swap.max" 0
    # By files of units they have what stands above when they start, what their own class gives them with the next tune: Podman's reservation, then what the
    # inventory says; and the request of a pod of the cgroupfs driver, told by its oom_score_adj of 980: the least that makes the kubelet give that, in whole
    # pages. Limits stay, and background reclaim by memory.high is not wanted for services.
    cache=$reserved worker_low=0 queue=max
    if [ "$phase" = live ]; then cache=$((30 << 20)) worker_low=$(((memory * 20 + 999) / 1000 / page * page)) queue=$nine_tenths; fi
    is "$(cgroup_of cache)/memory.low" $cache
    is "$(cgroup_of queue)/memory.high" $queue
    is "$worker/memory.max" $((48 << 20))
    is "$worker/memory.high" max
    is "$worker/memory.low" $worker_low
fi
# Processes that ran before the tune keep theirs.
if [ "$phase" = boot ]; then
    is "/proc/$(systemctl show -p MainPID --value app-web.service)/oom_score_adj" -500
fi
for unit in batch.slice app.slice app-web.service job@1.service; do
    [ "$(systemctl show -p NeedDaemonReload --value $unit)" = no ] || { echo "$unit needs a daemon-reload"; status=1; }
done
exit $status
