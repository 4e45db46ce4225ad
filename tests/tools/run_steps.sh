#!/usr/bin/env bash
# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# run_steps.sh TARGET...: make each target, whatever became of those before it, and sum up. The output of a target is in
# build/logs, and shown when it fails. A line "SKIPPED: why" or "PARTLY SKIPPED: why" in it goes into the summary.
set -euo pipefail
logs=build/logs
mkdir -p "$logs"
trap 'exit 130' INT TERM

# "= 3 passed, 1 skipped in 0.12s =", once for each time that pytest ran, added up.
count_tests() { # LOG
  awk '/^=+ .* in [0-9.]+s.* =+$/ {
         for (i = 2; i < NF; i++) if ($i ~ /^[0-9]+$/) { what = $(i + 1); sub(/,$/, "", what); count[what] += $i }
       }
       END { for (what in count) printf "%s%d %s", (n++ ? ", " : ""), count[what], what }' "$1"
}

status=0 summary=
for step in "$@"; do
  log=$logs/$step.log start=$SECONDS verdict=ok
  echo "== $step"
  if ! "${MAKE:-make}" --no-print-directory --keep-going "$step" </dev/null >"$log" 2>&1; then
    verdict=FAILED status=1
    cat "$log"
  elif grep -q '^SKIPPED: ' "$log"; then
    verdict=skipped
  fi
  summary+=$(printf '%-14s %4d s  %-7s  %s' "$step" "$((SECONDS - start))" "$verdict" "$(count_tests "$log")")$'\n'
  summary+=$(sed -nE 's/^((PARTLY )?SKIPPED: )/    \1/p' "$log" | sort -u)
  summary=${summary%$'\n'}$'\n'
done
printf '\n%s' "$summary"
exit "$status"
