# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known to differ, kept out of what is tried by chance so that it hides nothing else.

Each has a test in test_known.py that is expected to fail. Whoever mends one makes that test pass, and takes
it out of both files.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tests.differential.walk import with_rules

if TYPE_CHECKING:
    from ansible_collections.netpolicy.host.plugins.module_utils._policy import model

# Without connection tracking the kernel reads ports where a later fragment has none.
LATER_FRAGMENTS_ARE_READ: Final = True


def without_known(policy: model.HostPolicy) -> model.HostPolicy:
    """The policy without rules that are known to be enforced wrongly."""
    return with_rules(policy, _spared)


def _spared(rule: model.Rule) -> model.Rule:
    """One excluded port on either side: nft makes one comparison of both, which excludes only the pair."""
    if all(_is_one_port(side.not_ports) for side in (rule.source, rule.destination)):
        return replace(rule, destination=replace(rule.destination, not_ports=()))
    return rule


def _is_one_port(ports: tuple[model.PortRange, ...]) -> bool:
    return len(ports) == 1 and ports[0][0] == ports[0][1]
