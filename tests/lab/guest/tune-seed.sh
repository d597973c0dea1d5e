#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Gives a lab guest units to be tuned, which come back after a reboot: app-web.service in app.slice, two job@ in batch-low.slice. Run it as root.
# With an argument, another program that has its own wishes: tuned, or files of sysctl.d.
set -eu
units=/etc/systemd/system
unit() { # NAME SLICE
    printf '[Service]\nSlice=%s\nExecStart=/bin/sleep infinity\n\n[Install]\nWantedBy=multi-user.target\n' "$2" >"$units/$1"
}
unit app-web.service app.slice
unit job@.service batch-low.slice
# It reloads too.
systemctl enable --quiet --now app-web.service job@1.service job@2.service

case ${1:-} in
tuned)
    # TuneD writes sysctl.d once more after its own sysctls, so these lose; of THP it has the last word at boot.
    mkdir -p /etc/tuned/lab
    printf '[main]\nsummary=lab\n\n[sysctl]\nvm.swappiness=42\n\n[vm]\ntransparent_hugepages=never\n' >/etc/tuned/lab/tuned.conf
    systemctl enable --quiet --now tuned.service
    tuned-adm profile lab
    ;;
sysctl)
    echo 'vm.dirty_bytes = 100000000' >/etc/sysctl.d/10-early.conf
    echo 'vm.swappiness = 33' >/etc/sysctl.d/zzz-late.conf
    sysctl -q -p /etc/sysctl.d/zzz-late.conf
    ;;
esac
