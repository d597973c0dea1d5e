#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Prints what the kernel's files say, to hold the audit against. It shares no code and no formula with the collection, on purpose.
#   host ROW BYTES                                  a row of the breakdown
#   zone NODE NAME MANAGED MIN LOW HIGH   a zone that has memory, in bytes
#   cgroup USAGE WORKING_SET SYSOM_WORKING_SET PATH
#   here PATH                                       the cgroup this very script runs in
# With an argument it reads the captured tree there.
set -eu
export LC_ALL=C
tree=${1:-}

awk '
    BEGIN {
        row["MemTotal:"] = "memtotal"; row["MemFree:"] = "free"
        row["Active(anon):"] = "active_anon"; row["Inactive(anon):"] = "inactive_anon"
        row["Active(file):"] = "active_file"; row["Inactive(file):"] = "inactive_file"
        row["Unevictable:"] = "unevictable"; row["SReclaimable:"] = "slab_reclaimable"; row["SUnreclaim:"] = "slab_unreclaimable"
        row["PageTables:"] = "page_tables"; row["SecPageTables:"] = "secondary_page_tables"
        row["VmallocUsed:"] = "vmalloc"; row["Percpu:"] = "percpu"; row["Hugetlb:"] = "hugetlb"
    }
    $1 in row { printf "host %s %.0f\n", row[$1], $2 * 1024 }
' "$tree/proc/meminfo"
# Pages on the lists of each processor are free, and not in MemFree.
awk -v page="$(getconf PAGESIZE)" '
    $1 == "Node" { node = $2 + 0; zone = $4 }
    $1 ~ /^(min|low|high|managed)$/ { value[$1] = $2 * page }
    $1 == "managed" && $2 > 0 { printf "zone %d %s %.0f %.0f %.0f %.0f\n", node, zone, value["managed"], value["min"], value["low"], value["high"] }
    $1 == "count:" { pages += $2 }
    END { printf "host free_percpu_lists %.0f\n", pages * page }
' "$tree/proc/zoneinfo"

if [ -d "$tree/sys/fs/cgroup/memory" ]; then
    root=$tree/sys/fs/cgroup/memory usage=memory.usage_in_bytes prefix=total_
    here=$(sed -n 's/^[0-9]*:memory://p' "$tree/proc/self/cgroup")
else
    root=$tree/sys/fs/cgroup usage=memory.current prefix=
    here=$(sed -n 's/^0:://p' "$tree/proc/self/cgroup")
fi
echo "here $here"
# One grep and one awk for all: a program costs tens of milliseconds on an emulated guest. What has ended meanwhile is not missed.
find "$root" -mindepth 2 \( -name $usage -o -name memory.stat \) -exec grep -sH '' {} + | awk -v root="$root" -v prefix="$prefix" -v usage=$usage '
    match($0, /\/memory\.[a-z_]*:/) {
        path = substr($0, length(root) + 1, RSTART - length(root) - 1)
        file = substr($0, RSTART + 1, RLENGTH - 2)
        split(substr($0, RSTART + RLENGTH), word, " ")
        if (file == usage) current[path] = word[1]
        else value[path, word[1]] = word[2]
    }
    END {
        for (path in current) {
            inactive_file = value[path, prefix "inactive_file"]
            working_set = current[path] > inactive_file ? current[path] - inactive_file : 0
            sysom = value[path, prefix "inactive_anon"] + value[path, prefix "active_anon"] + value[path, prefix "active_file"]
            printf "cgroup %.0f %.0f %.0f %s\n", current[path], working_set, sysom, path
        }
    }
'
