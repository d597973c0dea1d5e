#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes a guest itself, whether it has booted or was restored from a snapshot: HOSTNAME SECONDS_SINCE_1970 64_HEX_DIGITS. That it runs proves SSH.
set -eu
# Clones would draw equal random numbers: RNDADDENTROPY, then RNDRESEEDCRNG. Perl is in every Debian.
perl -e 'open my $random, ">", "/dev/random" or die; my $seed = pack "H*", shift;
    ioctl $random, 0x40085203, pack "iia*", 8 * length $seed, length $seed, $seed or die "RNDADDENTROPY: $!"; ioctl $random, 0x5207, 0' "$3"
# A clone's clock stands where it was stopped. Never backwards: the journal minds.
if [ "$(date +%s)" -lt $(($2 - 1)) ]; then
    date -s "@$2" >/dev/null
fi
echo "$1" >/etc/hostname
echo "$1" >/proc/sys/kernel/hostname
