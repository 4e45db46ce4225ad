#!/usr/bin/env bash
# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# install_debian_packages.sh LIST: install the Debian packages of LIST that are missing, without starting their daemons.
set -euo pipefail
mapfile -t wanted < <(grep -vE '^(#|$)' "$1")

if ! command -v dpkg-query >/dev/null; then
  echo "Not a Debian system, so nothing was installed. The tests need what these Debian packages hold:" >&2
  printf '%s\n' "${wanted[@]}" >&2
  exit 0
fi

missing=()
for package in "${wanted[@]}"; do
  # dpkg-query fails for a package that it has never heard of, which is missing too.
  status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || echo unknown)
  [ "$status" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "These packages are missing, and only root can install them: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

# Debian starts a daemon when it is installed, unless this script answers 101 (invoke-rc.d). One that is there already belongs to
# somebody who has decided the question for this machine.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
echo "Installing ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" </dev/null >/dev/null
