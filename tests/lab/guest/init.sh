#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# /init of the lab's initrd: loads what the virtual disk and network need, sets the address of QEMU's user network, starts the guest's systemd.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
while read -r module; do
    $b insmod "/modules/$module"
done </modules/order
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 400 ]; do
    $b usleep 50000
    tries=$((tries + 1))
done
$b mount -t ext4 -o rw,noatime /dev/vda /mnt || { echo "lab: no root disk"; exec $b poweroff -f; }
if [ -b /dev/vdb ]; then
    $b swapon /dev/vdb
fi
$b ip link set lo up
$b ip link set eth0 up && $b ip addr add 10.0.2.15/24 dev eth0 && $b ip route add default via 10.0.2.2
for dir in dev proc sys; do
    $b mount --move /$dir /mnt/$dir
done
exec $b switch_root /mnt /sbin/init
