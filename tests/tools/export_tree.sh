#!/usr/bin/env bash
# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# export_tree.sh DIRECTORY: copy the files of the checkout that git knows or would add to
# DIRECTORY/ansible_collections/netpolicy/host, and print that path.
# Some tools refuse a symbolic link as a collection, and some read every file below it, virtual environments too.
set -euo pipefail
tree=$1/ansible_collections/netpolicy/host
mkdir -p "$tree"

# All of the last copy goes, except what ansible-test keeps in tests/output: its environments take a minute to make.
find "$tree" -mindepth 1 ! -type d ! -path "$tree/tests/output/*" -delete
find "$tree" -mindepth 1 -depth -type d -empty ! -path "$tree/tests/output/*" -delete

# A file that was deleted and is still in the index is listed too, so ask for each whether it is there.
git ls-files --cached --others --exclude-standard --deduplicate -z |
  while IFS= read -r -d '' file; do
    if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\0' "$file"; fi
  done |
  tar --create --null --files-from=- | tar --extract --directory "$tree"
printf '%s\n' "$tree"
