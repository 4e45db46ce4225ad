# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab of namespace hosts: many small hosts with a real sshd each, on one machine, gone without a trace.

``Lab.up("server", "client")`` starts one; see ``lab.py``. From a shell: ``python -m tests.lab --help``.
"""

from __future__ import annotations
