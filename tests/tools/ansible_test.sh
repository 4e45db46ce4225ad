#!/usr/bin/env bash
# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# ansible_test.sh VENV COMMAND "PYTHON-VERSION..." [OPTION...]: run `ansible-test COMMAND` (sanity or units) of this environment's
# ansible-core on a copy of the checkout, without docker, on those of the Python versions that this machine has.
set -euo pipefail
venv=$(pwd -P)/$1 command=$2 versions=$3
shift 3
tools=$(dirname "$0")
state=$(pwd -P)/build/ansible-test

if [ ! -d "$venv" ]; then
  echo "SKIPPED: no Python for ${venv##*/}"
  exit 0
fi

# ansible-test looks for interpreters by name on PATH and makes environments with them; a pyenv shim does not survive that.
targets=() path='' prefix=''
if [ "$command" = units ]; then prefix=venv/; fi
for version in $versions; do
  if python=$("$tools/find_python.sh" "$version"); then
    path+=$(dirname "$python"):
    targets+=(--target-python "$prefix$version")
  else
    echo "PARTLY SKIPPED: no Python $version"
  fi
done
if [ "${#targets[@]}" -eq 0 ]; then
  echo "SKIPPED: no Python $versions"
  exit 0
fi

# ansible-test makes environments without pip, to which it adds pip with a get-pip.py that it looks for in ~/.ansible/test/cache
# before it downloads one. Ours does the same from a wheel. It stays out of the user's own home directory, where it would
# meet the tests of other projects; only the settings and the cache of pip are the user's.
home=$state/home
cache=$home/.ansible/test/cache
mkdir -p "$cache" "$home/.config" "$home/.cache"
ln -sfn "${XDG_CONFIG_HOME:-$HOME/.config}/pip" "$home/.config/pip"
ln -sfn "$("$venv/bin/python" -m pip cache dir)" "$home/.cache/pip"
read -r core pip < <(
  "$venv/bin/python" - <<'EOF'
from types import SimpleNamespace

from ansible.release import __version__
from ansible_test._internal.python_requirements import get_venv_packages

print(__version__.rpartition(".")[0], get_venv_packages(SimpleNamespace(version="any"))["pip"])
EOF
)

# One at a time for each copy.
exec 9>"$state/$core-$command.lock"
flock 9
if [ ! -e "$cache/pip-$pip-py3-none-any.whl" ]; then
  "$venv/bin/python" -m pip download -qq --disable-pip-version-check --no-deps --dest "$cache" "pip==$pip"
fi
cp "$tools/get_pip.py" "$cache/get_pip_${pip//./_}.py"
tree=$("$tools/export_tree.sh" "$state/$core-$command")

cd "$tree"
# The root is named because ansible-test would walk up to the checkout, whose git ignores build/ and so every file here.
exec env HOME="$home" ANSIBLE_TEST_CONTENT_ROOT="$tree" PATH="$path$PATH" \
  "$venv/bin/ansible-test" "$command" --color no "${targets[@]}" "$@"
