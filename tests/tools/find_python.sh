#!/usr/bin/env bash
# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# find_python.sh VERSION...: print the path of the first of these Python versions (such as 3.13) that runs on this machine.
# Exit status 1, and nothing printed, if there is none.
set -euo pipefail

# A pyenv shim is on PATH for every version that is installed and fails for those that are not selected, so a name proves nothing:
# start each candidate and let it tell its version and real place.
real_path() { # COMMAND... VERSION
  local version="${*: -1}" answer
  answer=$("${@:1:$#-1}" -c 'import sys, venv; print("%d.%d %s" % (sys.version_info[0], sys.version_info[1], sys._base_executable))' 2>/dev/null) || return 1
  [ "${answer%% *}" = "$version" ] || return 1
  printf '%s\n' "${answer#* }"
}

find_version() { # VERSION
  local version=$1 candidate release
  for candidate in $(type -ap "python$version"); do
    real_path "$candidate" "$version" && return
  done
  command -v pyenv >/dev/null || return 1
  for release in $(pyenv versions --bare | grep -E "^${version//./\\.}\.[0-9]+$" | sort -rV); do
    real_path env "PYENV_VERSION=$release" pyenv exec python "$version" && return
  done
  return 1
}

for version in "$@"; do
  if find_version "$version"; then exit 0; fi
done
exit 1
