#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Lists what a guest could be left with: files where programs leave them, and every setting of the kernel. Two lists, before and after, are to be equal.
set -eu
export LC_ALL=C
# Ansible puts this very script there, and takes it away afterwards.
mine=$(dirname "$0")
# Names and kinds; below /etc and /root contents too. A journal file of its own appears when one is full.
find /root /tmp /var/tmp /etc /var/lib /run \( -path /run/log/journal -o -path "$mine" \) -prune -o -printf '%y %p\n' | sort
find /root /etc -path "$mine" -prune -o -type f -exec md5sum {} + | sort -k 2
# What changes by itself: random numbers, counters of open files, inodes and quotas, the last pid.
find /proc/sys -type f -perm /444 ! -path '/proc/sys/kernel/random/*' ! -path '/proc/sys/fs/*-nr' ! -path '/proc/sys/fs/*-state' ! -path '/proc/sys/fs/quota/*' \
    ! -name ns_last_pid ! -name stat_refresh -exec grep -H '' {} + 2>/dev/null | sort
find /sys/kernel/mm /sys/module/zswap/parameters -type f -perm /200 -perm /444 ! -path '*/stats/*' -exec grep -H '' {} + 2>/dev/null | sort
