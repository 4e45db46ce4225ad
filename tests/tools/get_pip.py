# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Install pip in an environment that has none, as get-pip.py does, but from a wheel beside this file.

ansible-test makes its environments without pip and downloads a get-pip.py of its own to put one in. It looks
in ~/.ansible/test/cache first, so ansible_test.sh puts this file there, beside the wheel that `pip download`
fetched from the package index that the user has configured. It is started with the options that get-pip.py
takes: its own, pip's, and "pip==<version>".
"""

from __future__ import annotations

import pathlib
import runpy
import sys

# What get-pip.py understands and pip does not. There is nothing to leave out: the wheel holds pip alone.
ONLY_GET_PIP = {"--no-setuptools", "--no-wheel"}


def main() -> None:
    """Run the pip of the wheel, to install itself."""
    here = pathlib.Path(__file__).resolve().parent
    options = [argument for argument in sys.argv[1:] if argument not in ONLY_GET_PIP]
    (wanted,) = (option for option in options if option.startswith("pip=="))
    wheel = here / f"{wanted.replace('==', '-')}-py3-none-any.whl"
    sys.path.insert(0, str(wheel))
    sys.argv[1:] = ["install", "--no-index", "--find-links", str(here), *options]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
