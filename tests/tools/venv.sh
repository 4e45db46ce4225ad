#!/usr/bin/env bash
# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# venv.sh DIRECTORY REQUIREMENTS PYTHON-VERSION...: make a virtual environment with the first of these Pythons that this
# machine has and install the locked requirements in it; do nothing when that is done. Exit status 3: no such Python.
set -euo pipefail
directory=$1 requirements=$2
shift 2

# What is installed, and where: the scripts of an environment hold its absolute path, so one that was moved together with
# its checkout is of no use. Written last, so it says that all of it was installed.
done_file=$directory/made-from.txt
made_from=$(pwd -P && cat "$requirements")

# One at a time: make -j and a second terminal may want the same environment.
mkdir -p build
exec 9>"build/${directory#.}.lock"
flock 9

# The Python that it was made with may be gone since.
runs() { [ "$("$directory/bin/python" -c 'print("yes")' 2>/dev/null)" = yes ]; }
if [ -e "$done_file" ] && [ "$(cat "$done_file")" = "$made_from" ] && runs; then exit 0; fi

if ! python=$("$(dirname "$0")/find_python.sh" "$@"); then
  echo "$directory: not made, this machine has no Python $(IFS=/ && echo "$*")"
  exit 3
fi
echo "$directory: $("$python" --version) with $requirements"
rm -rf "$directory"
"$python" -m venv "$directory"
"$directory/bin/python" -m pip install -qq --disable-pip-version-check -r "$requirements"
printf '%s\n' "$made_from" >"$done_file"
