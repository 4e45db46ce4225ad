#!/usr/bin/python
# SPDX-FileCopyrightText: netpolicy.host contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compile
short_description: Compile the policies of a whole inventory, on the controller
version_added: 0.1.0
author:
  - netpolicy.host contributors (@netpolicy)
description:
  - Collects Calico v3 resources from every variable whose name begins with C(netpolicy_resources), of every
    host and group of the inventory and of extra vars, whatever C(--limit) says. Every definition counts, also
    same-named ones in a parent and a child group.
  - Collects those in the YAML files that every C(netpolicy_resource_files) names, too, a path or a list of
    paths. A relative path starts at the file in which it is written. What is in the files is data, and no
    template.
  - Validates them, resolves selectors to addresses, and makes one policy for each host that has a host
    endpoint. If anything is wrong the task fails with all findings, and nothing is written.
  - Policies that hosts cannot enforce yet are compiled, too, with a warning; M(netpolicy.host.policy) refuses
    them on the hosts that they are for.
  - Runs on the controller alone, connects to no host, and runs in check mode too. Use it with C(run_once).
extends_documentation_fragment:
  - netpolicy.host._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: The diff is that of M(netpolicy.host.policy).
  idempotent:
    support: full
options:
  dest:
    description:
      - Directory on the controller in which the compiled policies are kept for review, in check mode too.
      - It must be empty, or one that compile has filled before. A relative path counts from the current
        directory.
      - It gets a C(hosts/NAME.json) for each host of the inventory; the HostPolicy is under C(policy), and
        null for a host without endpoint. Files of hosts that have left the inventory are removed.
      - By default they live in the run's own temporary directory and are gone after it.
    type: path
seealso:
  - module: netpolicy.host.policy
"""

EXAMPLES = r"""
- name: Compile the policies of all hosts
  netpolicy.host.compile:
  run_once: true
  register: compiled

- name: Enforce them
  netpolicy.host.policy:
    compiled: "{{ compiled }}"
  become: true

- name: Keep the compiled policies for review
  netpolicy.host.compile:
    dest: ./compiled
  run_once: true
"""

RETURN = r"""
directory:
  description: Directory on the controller that holds the compiled policies.
  type: str
  returned: success
  sample: /home/me/.ansible/tmp/ansible-local-12/netpolicy-0f2f8ad3c1e9b7d4
digest:
  description: SHA-256 of all policies. Equal inventories give equal digests.
  type: str
  returned: success
  sample: 0f2f8ad3c1e9b7d40f2f8ad3c1e9b7d40f2f8ad3c1e9b7d40f2f8ad3c1e9b7d4
hosts:
  description: How many hosts have a policy, that is, at least one host endpoint.
  type: int
  returned: success
  sample: 3
findings:
  description: What is valid but probably not meant, such as a selector that stands for no address.
  type: list
  elements: dict
  returned: success
  contains:
    kind:
      description: Kind of the resource.
      type: str
      returned: always
    name:
      description: Name of the resource.
      type: str
      returned: always
    path:
      description: Where in the resource.
      type: str
      returned: always
    message:
      description: What was found.
      type: str
      returned: always
    place:
      description: File and line, where known.
      type: str
      returned: always
"""

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Tell why: compiling happens in the action plugin, where the inventory is."""
    module = AnsibleModule(argument_spec={"dest": {"type": "path"}}, supports_check_mode=True)
    module.fail_json(msg="netpolicy.host.compile runs on the controller; call it as a task")


if __name__ == "__main__":
    main()
