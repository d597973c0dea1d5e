#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Prints a tar of the files the audit reads, in the node's own layout (what commands print: .memqos/output/NAME): a node to take home, for the audit's
# root option and for fixtures. Run it as root. Kernel files have no size before they are read, so tar alone would store them empty.
set -u
export LC_ALL=C
work=$(mktemp -d)
tree=$work/tree
output=$tree/.memqos/output
trap 'rm -rf "$work"' EXIT
mkdir -p "$output"

wanted() { # one path a line on stdin becomes one to copy, if it is a file
    while read -r path; do
        if [ -f "$path" ]; then
            echo "$path"
        fi
    done
}

readable_below() { # DIRECTORY... [find's conditions]; a write-only file opens for root and then fails to read
    find "$@" -type f -perm /444 2>/dev/null
}

list() {
    for name in meminfo vmstat zoneinfo buddyinfo pagetypeinfo swaps slabinfo cmdline iomem cgroups uptime version stat loadavg filesystems \
        1/mountinfo self/mountinfo self/cgroup net/sockstat net/sockstat6 net/protocols pressure/cpu pressure/io pressure/memory \
        sys/kernel/osrelease sys/kernel/hostname sys/kernel/random/boot_id sys/fs/file-nr sys/fs/inode-nr sys/fs/dentry-state; do
        echo "/proc/$name"
    done
    printf '%s\n' /proc/sys/kernel/numa_balancing* /proc/sys/kernel/panic* /proc/sys/net/ipv4/*mem /proc/sys/net/core/*mem*
    readable_below /proc/sys/vm
    for directory in /proc/[0-9]*; do
        # A kernel thread has no memory of its own.
        if [ -n "$(readlink "$directory/exe" 2>/dev/null)" ]; then
            printf "$directory/%s\n" comm cgroup oom_score oom_score_adj statm status
        fi
    done
    readable_below /sys/kernel/mm /sys/module/zswap
    readable_below /sys/devices/system/node -maxdepth 2
    readable_below /sys/devices/system/node -path '*/hugepages/*'
    printf '%s\n' /sys/devices/system/cpu/possible /sys/devices/system/cpu/online /sys/block/zram*/disksize /sys/block/zram*/mm_stat /sys/block/zram*/bd_stat
    # v1 has the memory controller in a directory of its own; hybrid has "unified" beside it.
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        readable_below /sys/fs/cgroup \( -name 'memory.*' -o -name 'cgroup.*' -o -name 'cpu.pressure' -o -name 'io.pressure' \)
    else
        readable_below /sys/fs/cgroup/memory /sys/fs/cgroup/unified \( -name 'memory.*' -o -name 'cgroup.*' -o -name tasks -o -name release_agent \)
    fi
    printf '%s\n' /etc/os-release /usr/lib/os-release /etc/sysctl.conf /etc/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf
    readable_below /etc/systemd/system /run/systemd/system.control /run/systemd/transient -name '*.conf'
    readable_below /var/log/pods
}

list | wanted | sort -u >"$work/list"
tr '\n' '\0' <"$work/list" | xargs -0 cp --parents -t "$tree" 2>"$work/errors"
# A file that opens and cannot be read (vm.stat_refresh, slots without a device) is absent, not empty.
sed -n "s/^cp: error reading '\(.*\)': .*/\1/p" "$work/errors" | while read -r path; do
    rm -f "$tree$path"
done

# Links into /var/log/pods; only their names tell anything.
for link in /var/log/containers/*; do
    if [ -L "$link" ]; then
        mkdir -p "$tree/var/log/containers" && : >"$tree$link"
    fi
done
# Memory options only: the whole file is a quarter of a megabyte.
config=/boot/config-$(uname -r)
if [ -r "$config" ]; then
    mkdir -p "$tree/boot"
    grep -E '^(# )?CONFIG_(MEMCG|VMAP_STACK|ZSWAP|ZRAM|ZSMALLOC|LRU_GEN|DAMON|TRANSPARENT_HUGEPAGE|HUGETLB|KSM|COMPACTION|NUMA|PSI|SWAP|CGROUP|SLUB?|CMA|BALLOON)' "$config" >"$tree$config"
fi

# One record a read; the end is an error (EAGAIN), without which it would wait for more.
dd if=/dev/kmsg of="$output/kmsg" iflag=nonblock bs=8192 2>/dev/null
uname -m >"$output/uname-m"
systemctl --version >"$output/systemctl-version"
properties=Id,ControlGroup,Slice,FragmentPath,DropInPaths,NeedDaemonReload,OOMScoreAdjust,OOMPolicy
properties=$properties,MemoryAccounting,MemoryMin,MemoryLow,DefaultMemoryMin,DefaultMemoryLow,MemoryHigh,MemoryMax,MemorySwapMax,MemoryZSwapMax,MemoryLimit
properties=$properties,EffectiveMemoryMax,EffectiveMemoryHigh,ManagedOOMSwap,ManagedOOMMemoryPressure,ManagedOOMMemoryPressureLimit,ManagedOOMPreference
systemctl show --no-pager --property="$properties" '*.slice' '*.service' '*.scope' >"$output/systemctl-show"

chmod -R u+rwX,go+rX "$tree"
tar -C "$tree" -cf - .
