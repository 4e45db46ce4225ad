#!/usr/bin/env bash
# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# lock_requirements.sh PYTHON FILE.in: write FILE.txt, the exact releases that pip picks today for FILE.in, all in one resolution.
set -euo pipefail
python=$1 input=$2
output=${input%.in}.txt

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -qq --dry-run --ignore-installed --report "$work/report.json" -r "$input"
"$python" - "$input" "$work/report.json" >"$work/locked.txt" <<'EOF'
import json
import pathlib
import sys

source, report = (pathlib.Path(argument) for argument in sys.argv[1:])
copyright_and_license = source.read_text().splitlines()[:2]
print(*copyright_and_license, "#", sep="\n")
print(f"# Made from {source.name} by `make lock`; do not edit.")
releases = [item["metadata"] for item in json.loads(report.read_text())["install"]]
for release in sorted(releases, key=lambda release: release["name"].lower()):
    print(f"{release['name']}=={release['version']}")
EOF
mv "$work/locked.txt" "$output"
chmod 644 "$output"
echo "$output: $(grep -c == "$output") releases"
