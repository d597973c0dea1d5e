#!/usr/bin/env bash
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# debian-programs.sh DIRECTORY PACKAGE…: unpacks Debian packages below DIRECTORY, for programs that tests run themselves. Nothing is installed, no service
# starts, and it needs no root. What is there already is taken as it is.
set -eu

directory=$1
shift
missing=()
for package in "$@"; do
  [ -e "$directory/.$package" ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "This machine has no apt-get. These tests need the programs that Debian has in: ${missing[*]}" >&2
  exit 1
fi
echo "Unpacking Debian packages into $directory: ${missing[*]}"
mkdir -p "$directory"
# Only root may refresh the lists; anybody else goes by those that are there.
[ "$(id -u)" -ne 0 ] || apt-get -qq update
downloads=$(mktemp -d "$directory/.download.XXXXXXXX")
trap 'rm -rf "$downloads"' EXIT
# As root it would download as the user _apt, who may not write here.
(cd "$downloads" && apt-get -qq -o APT::Sandbox::User=root download "${missing[@]}")
for package in "${missing[@]}"; do
  dpkg-deb --extract "$downloads/$package"_*.deb "$directory"
  touch "$directory/.$package"
done
