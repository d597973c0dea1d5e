#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# make-initrd.sh ROOT KERNEL_VERSION INIT OUTPUT: an initrd of busybox and the handful of modules between a kernel and an ext4 root on virtio.
set -eu
root=$1 version=$2 init=$3 output=$4
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/bin" "$tree/dev" "$tree/proc" "$tree/sys" "$tree/mnt" "$tree/modules"
cp "$(command -v busybox)" "$tree/bin/busybox"
ln -s busybox "$tree/bin/sh"
cp "$init" "$tree/init"
chmod 755 "$tree/init"
for module in virtio_pci virtio_blk virtio_net virtio_rng crc32c_generic ext4; do
    # A module built into the kernel, or gone in a later one, has no file: fine, the boot shows what is missing.
    /sbin/modprobe -d "$root" -S "$version" --show-depends "$module" 2>/dev/null || true
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r path; do
    name=$(basename "$path")
    case $name in
    *.xz) name=${name%.xz} && xz -dc "$path" >"$tree/modules/$name" ;;
    *.zst) name=${name%.zst} && zstd -qdc "$path" >"$tree/modules/$name" ;;
    *) cp "$path" "$tree/modules/$name" ;;
    esac
    echo "$name" >>"$tree/modules/order"
done
(cd "$tree" && find . | cpio --quiet -o -H newc) >"$output"
