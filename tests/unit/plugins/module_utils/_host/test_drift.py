# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._host import drift
from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._render import nftables
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._host.memory_host import MemoryHost
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy.samples import (
    host,
    policy,
    rule,
)

RULES = [rule(protocol=number) for number in (model.TCP, model.UDP, model.SCTP)]
POLICY = host([policy("web", RULES)])

# As nft 1.0.6 lists: a counter without numbers, elements in several lines, a long map in several, too.
LISTING = """\
table inet netpolicy_host {
\tcounter one {
\t}

\tset some {
\t\ttype ipv4_addr
\t\telements = { 10.0.0.1, 10.0.0.2,
\t\t\t     10.0.0.3 }
\t}

\tchain tcp {
\t\tth dport vmap { 80 : goto a,
\t\t\t\t 443 : goto b }
\t\tcounter name "one" drop
\t}
}
"""


def listing() -> tuple[MemoryHost, str]:
    installed = MemoryHost()
    installed.nft(nftables.text(POLICY))
    return installed, text(installed)


def text(installed: MemoryHost) -> str:
    found = installed.table("inet", "netpolicy_host")
    assert found is not None
    return found.text


def tier_chain(installed: MemoryHost) -> str:
    return next(name for name in installed.ours if "-tier-" in name)


def test_a_listing_is_read_object_by_object_and_rule_by_rule():
    assert drift.lines_of(LISTING) == {
        "counter one": [],
        "set some": ["type ipv4_addr", "elements = { 10.0.0.1, 10.0.0.2, 10.0.0.3 }"],
        "chain tcp": ["th dport vmap { 80 : goto a, 443 : goto b }", 'counter name "one" drop'],
    }


def test_what_has_not_changed_does_not_differ():
    _installed, whole = listing()
    assert drift.differences(drift.prints(whole), whole, POLICY, nftables.render(POLICY)) == []
    assert drift.differences(drift.prints(LISTING), LISTING, None, None) == []


@pytest.mark.parametrize("index", range(len(RULES)))
def test_a_missing_rule_is_named_by_its_policy(index):
    installed, whole = listing()
    chain = tier_chain(installed)
    del installed.ours[chain].members[index]
    assert drift.differences(drift.prints(whole), text(installed), POLICY, nftables.render(POLICY)) == [
        f"GlobalNetworkPolicy/web/ingress/{index} is missing from chain {chain}, or was changed"
    ]


def test_a_foreign_rule_is_quoted():
    installed, whole = listing()
    chain = tier_chain(installed)
    installed.ours[chain].members.insert(1, "tcp dport 22 drop")
    assert drift.differences(drift.prints(whole), text(installed), POLICY, nftables.render(POLICY)) == [
        f"chain {chain} has 'tcp dport 22 drop', which is not ours"
    ]


def test_a_missing_chain_tells_the_rules_that_went_with_it():
    installed, whole = listing()
    chain = tier_chain(installed)
    del installed.ours[chain]
    rules = ", ".join(f"GlobalNetworkPolicy/web/ingress/{index}" for index in range(len(RULES)))
    assert drift.differences(drift.prints(whole), text(installed), POLICY, nftables.render(POLICY)) == [
        f"chain {chain} is missing ({rules})"
    ]


def test_very_many_differences_are_counted():
    _installed, whole = listing()
    strange = "".join(f"\tchain mine-{index} {{\n\t}}\n" for index in range(50))
    found = drift.differences(
        drift.prints(whole), whole.replace("}\n", f"}}\n{strange}", 1), POLICY, nftables.render(POLICY)
    )
    assert len(found) == 21
    assert found[-1] == "and 30 more"


def test_a_policy_that_is_not_understood_still_has_drift():
    installed, whole = listing()
    del installed.ours[tier_chain(installed)].members[0]
    (told,) = drift.differences(drift.prints(whole), text(installed), None, None)
    assert told.startswith("line 1 is missing from chain raw-ingress-tier-")
