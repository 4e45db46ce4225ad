#!/usr/bin/env bash
# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# check_artefact.sh: build what Galaxy would get, see that it holds nothing but files that git knows, and import it as Galaxy does.
set -euo pipefail
export LC_ALL=C.UTF-8
rm -rf build/artefact
ansible-galaxy collection build --output-path build/artefact
cd build/artefact
artefact=$(ls)

# build_ignore of galaxy.yml is a list of what to leave out, so whatever nobody thought of is in.
packed=$(tar --list --file "$artefact" | grep -vE '/$|^(FILES|MANIFEST)\.json$' | sort)
known=$(git -C ../.. -c core.quotePath=off ls-files --cached --others --exclude-standard | sort)
unknown=$(comm -23 <(echo "$packed") <(echo "$known"))
if [ -n "$unknown" ]; then
  printf 'ERROR: build_ignore in galaxy.yml lets these into the artefact, and git does not know them:\n%s\n' "$unknown"
  exit 1
fi

# The importer fails for errors only. A warning is shown to everybody who looks at the collection on Galaxy.
export GALAXY_IMPORTER_ANSIBLE_LOCAL_TMP=$PWD/tmp
python -m galaxy_importer.main "$artefact" | tee import.log
if grep -E '^(WARNING|ERROR)' import.log >/dev/null; then
  echo "ERROR: the importer warns, see above"
  exit 1
fi
