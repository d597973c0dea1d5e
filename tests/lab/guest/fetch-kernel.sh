#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Fetches a kernel with the guest's own apt configuration and unpacks it beside the tree: no initramfs-tools, no bootloader in the guest.
# mmdebstrap calls it as a customize hook: ROOT; the meta package and the directory come from the environment.
set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
# The meta package depends on linux-image-VERSION; from forky on that one is split into linux-binary-* and linux-modules-*.
packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$LAB_KERNEL_PACKAGE" |
    grep -E '^linux-(image|binary|modules)-[0-9]' | sort -u)
test -n "$packages"
mkdir -p "$LAB_KERNEL_DIR/debs"
cd "$LAB_KERNEL_DIR/debs"
# shellcheck disable=SC2086
apt-get -o APT::Sandbox::User=root -qq download $packages
for deb in *.deb; do
    dpkg-deb -x "$deb" "$LAB_KERNEL_DIR"
done
rm -rf "$LAB_KERNEL_DIR/debs"
