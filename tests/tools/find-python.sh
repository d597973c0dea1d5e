#!/usr/bin/env bash
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# find-python.sh [VERSION…]: prints the path of the first interpreter found, or says what to install.
# Without a version: the newest that the tests cover, then a newer one. With versions: exactly these, for example 3.8.
# A version manager's shim comes last: it may answer for a version that is installed but not chosen.
set -u

VERSIONS=("$@")
[ "$#" -gt 0 ] || VERSIONS=(3.13 3.12 3.11 3.14)

candidates() { # VERSION: real interpreters, then shims
  local directory found shims=()
  while IFS= read -r -d : directory; do
    found="$directory/python$1"
    [ -x "$found" ] || continue
    case "$directory" in
      */shims) shims+=("$found") ;;
      *) echo "$found" ;;
    esac
  done <<<"$PATH:"
  for found in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python"$1"; do
    [ -x "$found" ] && echo "$found"
  done
  [ "${#shims[@]}" -eq 0 ] || printf '%s\n' "${shims[@]}"
}

without_venv=
for version in "${VERSIONS[@]}"; do
  while read -r python; do
    "$python" -c 'import sys' 2>/dev/null || continue
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
      echo "$python"
      exit 0
    fi
    without_venv=${without_venv:-$version}
  done < <(candidates "$version")
done

if [ -n "$without_venv" ]; then
  echo "Python $without_venv is here, but it cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2
elif [ "$#" -eq 0 ]; then
  echo "No Python 3.11 to 3.14 found. On Debian 12 and 13: apt-get install python3 python3-venv" >&2
fi
exit 1
