#!/usr/bin/python
# SPDX-FileCopyrightText: netpolicy.host contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: policy
short_description: Enforce a host's compiled policy, or remove it
version_added: 0.1.0
author:
  - netpolicy.host contributors (@netpolicy)
description:
  - Puts the policy that M(netpolicy.host.compile) made for this host in force, as the nftables table
    C(inet netpolicy_host). No other table is touched.
  - Only what differs is changed. A policy of more than 64 KB is sent only when the host does not have it.
  - A host without a host endpoint loses a policy that it has from before.
  - Refuses, in check mode too, to replace or remove a policy of another owner, and whatever would lose more
    than O(shrink_limit) allows. That is what comes of an inventory of which a part could not be read, for
    which Ansible has only a warning. O(state=absent) is never refused.
  - Connections that were tracked before, and that the new policy takes past connection tracking in both
    directions, go on. Their entries, of no use any more, are deleted from connection tracking.
  - Needs root on the host, Python 3.9 or later, and nft.
extends_documentation_fragment:
  - netpolicy.host._attributes
  - netpolicy.host._attributes.engine
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows policies and rules by their names, not the ruleset's text.
  idempotent:
    support: full
options:
  state:
    description:
      - V(present) enforces the compiled policy.
      - V(absent) removes the policy and every file of this collection from the host; it needs no O(compiled).
    type: str
    choices: [present, absent]
    default: present
  compiled:
    description:
      - The registered result of M(netpolicy.host.compile) of the same run.
      - Required when O(state=present).
    type: dict
  owner:
    description:
      - Whose policy it is. The host keeps it, and refuses the policy of any other owner.
      - Give inventories that are run apart from each other an owner each, so that none takes another's hosts
        by mistake. It is a name, not a proof of who runs.
      - From 1 to 64 printable characters.
    type: str
    default: ansible
  takeover:
    description:
      - Whether a policy of another owner is replaced, or removed where the host has no host endpoint.
        The host then belongs to O(owner), which counts as a change.
    type: bool
    default: false
  shrink_limit:
    description:
      - How many percent may be lost at once, from 0 to 100. 100 allows everything.
      - Two losses are looked at, each against what is installed on the host. How many hosts of the inventory
        have policy, and how many addresses and networks the address sets of this host's policy hold. Those
        in whose place others have come are not lost.
      - Of few hosts, one is many percent. Taking out one of two is a loss of 50 %, and needs a limit of 50 or
        more for that one run.
      - Where a host loses its policy because it has no host endpoint any more, the hosts count, its peers do
        not.
    type: int
    default: 20
seealso:
  - module: netpolicy.host.compile
  - module: netpolicy.host.policy_info
"""

EXAMPLES = r"""
- name: Compile the policies of all hosts
  netpolicy.host.compile:
  run_once: true
  register: compiled

- name: Enforce this host's policy
  netpolicy.host.policy:
    compiled: "{{ compiled }}"
  become: true

- name: Replace what another owner has installed, whatever that loses
  netpolicy.host.policy:
    compiled: "{{ compiled }}"
    owner: platform-team
    takeover: true
    shrink_limit: 100
  become: true

- name: Remove everything of this collection from the host
  netpolicy.host.policy:
    state: absent
  become: true
"""

RETURN = r"""
conntrack_deleted:
  description:
    - How many entries were deleted from connection tracking, because the new policy takes the packets of
      their connections past it. 0 where the rules in the kernel did not change, and in check mode.
    - What keeps entries from being deleted is a warning, and no failure. They expire by themselves.
  type: int
  returned: success
  sample: 1274
digest:
  description: Digest of the policy that is in force, or would be in check mode; none when there is no policy.
  type: str
  returned: success
  sample: 0f2f8ad3c1e9b7d40f2f8ad3c1e9b7d40f2f8ad3c1e9b7d40f2f8ad3c1e9b7d4
nft_missing:
  description: V(true) when the task failed because the host has no nft.
  type: bool
  returned: failure for that reason
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.netpolicy.host.plugins.module_utils import _engine_client


def main() -> None:
    """Ask the engine for the wanted state."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "compiled": {"type": "dict"},
            "owner": {"type": "str", "default": "ansible"},
            "takeover": {"type": "bool", "default": False},
            "shrink_limit": {"type": "int", "default": 20},
            **_engine_client.ARGUMENTS,
        },
        supports_check_mode=True,
    )
    answer = _engine_client.ask(module)
    if answer.get("policy_missing"):
        module.exit_json(changed=False, policy_missing=True)
    result = {key: answer[key] for key in ("changed", "digest", "conntrack_deleted")}
    if module._diff:
        result["diff"] = {
            "before_header": "installed policy",
            "after_header": "wanted policy",
            "before": answer["before"],
            "after": answer["after"],
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
