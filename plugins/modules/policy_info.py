#!/usr/bin/python
# SPDX-FileCopyrightText: netpolicy.host contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: policy_info
short_description: Tell what policy a host enforces, and what its rules have counted
version_added: 0.1.0
author:
  - netpolicy.host contributors (@netpolicy)
description:
  - Reads the installed policy, whether the kernel still holds it, and the packets and bytes of every rule.
  - Changes nothing on the host. A host without a policy is reported as such.
options:
  elements:
    description:
      - Whether to read back the networks of a policy's address sets if they are more than 5000 together, and
        tell in RV(drift) how they differ. A hundred thousand take a second or two, a million minutes.
      - Fewer are always compared. Sets of named ports are not, beside so many networks.
    type: bool
    default: false
extends_documentation_fragment:
  - netpolicy.host._attributes
  - netpolicy.host._attributes.engine
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
  idempotent:
    support: full
seealso:
  - module: netpolicy.host.policy
"""

EXAMPLES = r"""
- name: Read what the host enforces
  netpolicy.host.policy_info:
  become: true
  register: info

- name: Read it with the networks of large sets
  netpolicy.host.policy_info:
    elements: true
  become: true

- name: Fail if something else has changed the rules
  ansible.builtin.assert:
    that: info.drift | length == 0
    fail_msg: "{{ info.drift | join(', ') }}"
"""

RETURN = r"""
digest:
  description: Digest of the installed policy; null where there is none.
  type: str
  returned: success
installed:
  description: What is known of the installed policy; null where there is none.
  type: dict
  returned: success
  contains:
    digest:
      description: Digest of the policy.
      type: str
      returned: always
    engine:
      description: Digest of the engine that installed it.
      type: str
      returned: always
    applied:
      description: When it was applied, UTC.
      type: str
      returned: always
    owner:
      description: Whose policy it is, see O(netpolicy.host.policy#module:owner). Null where it is not known.
      type: str
      returned: always
    inventory:
      description: How much of an inventory it was compiled from. Null where it is not known.
      type: dict
      returned: always
      contains:
        id:
          description:
            - Tells inventories apart. A hash of the real paths of the inventory's sources, so that the same
              files in another place are another one.
            - A run that finds nothing else to write does not write its own.
          type: str
          returned: always
        hosts:
          description: How many hosts it had.
          type: int
          returned: always
        hosts_with_policy:
          description: How many of them had a host endpoint.
          type: int
          returned: always
        endpoints:
          description: How many host endpoints those had together.
          type: int
          returned: always
    node:
      description: The host's name in the inventory it was compiled from.
      type: str
      returned: always
    endpoints:
      description: Host endpoints by name and interface.
      type: list
      elements: dict
      returned: always
    policy:
      description: The HostPolicy itself, as P(netpolicy.host.verdict#filter) takes it.
      type: dict
      returned: always
drift:
  description:
    - How the kernel's table differs from the installed policy, by policy and rule; empty when it does not.
    - At most 20 differences are told, the others are counted.
    - If the networks of all sets are more than 5000 they are compared only with O(elements).
  type: list
  elements: str
  returned: success
  sample:
    - >-
      GlobalNetworkPolicy/memcached-server/ingress/0 is missing from chain
      raw-ingress-tier-default-8bf53e9e76eb8243, or was changed
counters:
  description:
    - For every rule of the installed policy, what it has matched since it was put in force.
    - A rule keeps its count while others come and go. A reboot and a repair of drift start from zero.
  type: list
  elements: dict
  returned: success
  contains:
    kind:
      description: Kind of the policy.
      type: str
      returned: always
    name:
      description: Name of the policy.
      type: str
      returned: always
    direction:
      description: V(ingress) or V(egress).
      type: str
      returned: always
    rule:
      description: Index of the rule in its direction, from 0.
      type: int
      returned: always
    action:
      description: What the rule does.
      type: str
      returned: always
    place:
      description: File and line on the controller where the rule was written, where known.
      type: str
      returned: always
    packets:
      description: Packets matched.
      type: int
      returned: always
    bytes:
      description: Their size from the IP header on.
      type: int
      returned: always
policy_counters:
  description: For every policy, what all of its rules have matched together.
  type: list
  elements: dict
  returned: success
  contains:
    kind:
      description: Kind of the policy.
      type: str
      returned: always
    name:
      description: Name of the policy.
      type: str
      returned: always
    packets:
      description: Packets matched. One that a Log or Pass rule matched may be matched by another rule, too.
      type: int
      returned: always
    bytes:
      description: Their size from the IP header on.
      type: int
      returned: always
endpoint_counters:
  description:
    - For every host endpoint, all packets that met its untracked policy, whatever became of them.
    - In a direction in which no rule is for the endpoint no packet meets any, and none is counted.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Name of the host endpoint.
      type: str
      returned: always
    direction:
      description: V(ingress) or V(egress).
      type: str
      returned: always
    packets:
      description: Packets that arrived or left.
      type: int
      returned: always
    bytes:
      description: Their size from the IP header on.
      type: int
      returned: always
failsafe_counters:
  description: What failsafe ports accepted.
  type: list
  elements: dict
  returned: success
  contains:
    direction:
      description: Who opens the connection, the peer (V(inbound)) or this host (V(outbound)).
      type: str
      returned: always
    replies:
      description: Whether it is the replies that were counted.
      type: bool
      returned: always
    packets:
      description: Packets accepted.
      type: int
      returned: always
    bytes:
      description: Their size from the IP header on.
      type: int
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.netpolicy.host.plugins.module_utils import _engine_client


def main() -> None:
    """Ask the engine what it knows."""
    module = AnsibleModule(
        argument_spec={"elements": {"type": "bool", "default": False}, **_engine_client.ARGUMENTS},
        supports_check_mode=True,
    )
    answer = _engine_client.ask(module)
    answer.pop("notes")
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
