#!/usr/bin/env bash
# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# node-units.sh JUNIT_DIRECTORY VERSION…: unit tests of node code, on each of these Pythons that is here.
# A missing one is named and counted as a skipped test; none at all is a failure.
set -u

junit=$1
shift
mkdir -p "$junit"
failed=0 ran=0 missing=()

prepare() { # VERSION: .cache/node-VERSION with pytest and hypothesis
  local environment=.cache/node-$1
  [ "$environment/.ready" -nt requirements/constraints.txt ] && [ "$environment/.ready" -nt requirements/node.txt ] && [ -x "$environment/bin/python" ] && return
  rm -rf "$environment"
  "$(tests/tools/find-python.sh "$1")" -m venv "$environment" &&
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements/node.txt &&
    touch "$environment/.ready"
}

for version in "$@"; do
  if ! tests/tools/find-python.sh "$version" >/dev/null; then
    missing+=("$version")
    printf '<testsuite name="python%s"><testcase classname="node_units" name="python%s"><skipped message="no Python %s here"/></testcase></testsuite>\n' \
      "$version" "$version" "$version" >"$junit/python$version.xml"
    continue
  fi
  echo "Python $version:"
  ran=$((ran + 1))
  # Run from below the collection's package path: `import ansible_collections` needs no ansible-core.
  prepare "$version" && PYTHONPATH=build/collections ".cache/node-$version/bin/python" -m pytest -q --numprocesses auto -p no:cacheprovider --import-mode=importlib \
    -o tmp_path_retention_policy=failed --junit-xml="$junit/python$version.xml" build/collections/ansible_collections/memqos/fleet/tests/unit/{plugins/module_utils,roles} || failed=1
done

[ "${#missing[@]}" -eq 0 ] || echo "NOT TESTED, no such Python on this machine: ${missing[*]}" >&2
[ "$ran" -gt 0 ] || failed=1
exit "$failed"
