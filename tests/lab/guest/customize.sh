#!/bin/sh
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes a fresh Debian tree a lab guest: sshd with our key, a fixed address (the initrd sets it), nothing that runs by itself.
# mmdebstrap calls it as a customize hook: ROOT, then the public key from the environment.
set -eu
root=$1
units=$root/etc/systemd/system

echo guest >"$root/etc/hostname"
echo '127.0.0.1 localhost guest' >"$root/etc/hosts"
: >"$root/etc/fstab"
rm -f "$root/etc/machine-id" "$root/etc/apt/apt.conf.d/99mmdebstrap"
tr -d - <"/proc/sys/kernel/random/uuid" >"$root/etc/machine-id"

mkdir -p "$root/root/.ssh" "$root/etc/ssh/sshd_config.d" "$root/etc/systemd/journald.conf.d" "$units/multi-user.target.wants"
chmod 700 "$root/root/.ssh"
printf '%s\n' "$LAB_PUBLIC_KEY" >"$root/root/.ssh/authorized_keys"
chmod 600 "$root/root/.ssh/authorized_keys"

rm -f "$root"/etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C guest -f "$root/etc/ssh/ssh_host_ed25519_key"
cat >"$root/etc/ssh/sshd_config.d/00-lab.conf" <<'SSHD'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
PrintLastLog no
PrintMotd no
SSHD

# The kernel log with its OOM reports must outlive nothing: a volatile journal, but a journal.
printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/lab.conf"

ln -sf /lib/systemd/system/multi-user.target "$units/default.target"
ln -sf /lib/systemd/system/ssh.service "$units/multi-user.target.wants/ssh.service"
# No login asks for logind; D-Bus starts it when `shutdown -r` does, which is how Ansible reboots.
rm -f "$root"/usr/lib/systemd/system/multi-user.target.wants/systemd-logind.service

# What wakes by itself would move memory under a measurement; what waits for hardware or a network costs seconds of emulated boot.
while read -r unit; do
    ln -sf /dev/null "$units/$unit"
done <<'MASKED'
apt-daily.service
apt-daily.timer
apt-daily-upgrade.timer
dpkg-db-backup.timer
e2scrub_all.timer
e2scrub_reap.service
fstrim.timer
logrotate.timer
man-db.timer
systemd-tmpfiles-clean.timer
systemd-timesyncd.service
getty.target
getty@tty1.service
serial-getty@ttyS0.service
systemd-networkd.service
systemd-networkd.socket
systemd-networkd-wait-online.service
systemd-networkd-persistent-storage.service
systemd-resolved.service
networking.service
systemd-udev-trigger.service
systemd-udev-settle.service
systemd-hwdb-update.service
systemd-journal-catalog-update.service
systemd-journal-flush.service
systemd-machine-id-commit.service
systemd-firstboot.service
systemd-pstore.service
systemd-random-seed.service
systemd-remount-fs.service
systemd-rfkill.socket
systemd-tpm2-setup.service
systemd-tpm2-setup-early.service
systemd-update-done.service
systemd-update-utmp.service
systemd-update-utmp-runlevel.service
systemd-user-sessions.service
ldconfig.service
cryptsetup.target
modprobe@dm_mod.service
modprobe@drm.service
modprobe@efi_pstore.service
modprobe@fuse.service
modprobe@loop.service
sys-fs-fuse-connections.mount
proc-sys-fs-binfmt_misc.automount
sshd-keygen.service
zramswap.service
redis-server.service
podman.service
podman-auto-update.service
podman-auto-update.timer
podman-clean-transient.service
podman-restart.service
MASKED
