# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus's policies, which are in Calico's internal form, as the v3 resources that mean the same."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.netpolicy.host.tests.unit.plugins.plugin_utils._calico import written

Case = dict[str, t.Any]
Resources = list[written.Written]

NODE, INTERFACE, LABEL = "node", "eth0", "judged"
_PROTOCOLS = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP", "icmp": 1, "icmpv6": 58, "udplite": "UDPLite"}
_ACTIONS = {"allow": "Allow", "deny": "Deny", "pass": "Pass", "next-tier": "Pass", "log": "Log"}

# Which flags a policy of each list of the corpus has, and its rules' directions.
LISTS: dict[str, dict[str, bool]] = {
    "host_pre_dnat_tiers": {"preDNAT": True, "applyOnForward": True},
    "host_forward_tiers": {"applyOnForward": True},
    "host_normal_tiers": {},
    "tiers": {},
}


def not_applicable(case: Case, untracked: bool) -> str | None:
    """Why a case cannot be written as resources of a plain host; None where it can."""
    policy = case["policy"]
    if policy["suppress_normal_host_policy"]:
        return "it is about a pod behind the host, and a plain host has none"
    for rule in _rules(policy):
        for key in ("src_ipset_ids", "dst_ipset_ids", "not_src_ipset_ids", "not_dst_ipset_ids"):
            if len(rule.get(key, ())) > 1:
                return "a rule of v3 has one selector a side"
        if any(0 in ports for key in rule if key.endswith("_ports") for ports in rule[key]):
            return "v3 has no port 0"
    if untracked and any(tier["end_action"] != "pass" for tier in policy["tiers"][:-1]):
        return "the end of a tier denies nothing in untracked policy"
    if untracked and policy["profiles"]:
        return "profiles do not apply to untracked policy"
    return None


def resources(case: Case, way: str, untracked: bool = False) -> Resources:
    """The case's policy as resources: one endpoint, and what its policies name.

    Of its lists, those that a packet on its way (the direction of a packet of ours) can meet: a policy of v3
    that applies on forward applies at the host, too, and the corpus has lists for one of both alone.
    """
    policy = case["policy"]
    flags = {"doNotTrack": True, "applyOnForward": True} if untracked or policy["for_xdp"] else None
    found: Resources = [
        written.resource(
            "FelixConfiguration",
            "default",
            {"failsafeInboundHostPorts": [], "failsafeOutboundHostPorts": []},
        )
    ]
    profiles = [*policy["profiles"], *policy["host_profiles"]]
    names = [f"profile-{index}" for index in range(len(profiles))]
    found.append(written.endpoint("judged", {LABEL: ""}, NODE, INTERFACE, profiles=names))
    for name, profile in zip(names, profiles, strict=True):
        found.append(written.resource("Profile", name, {"ingress": _v3_rules(case, profile["rules"])}))
    tiers: dict[str, written.Written] = {}
    for key, own in LISTS.items():
        other_way = {"forward": "host_normal_tiers"}.get(way, "host_forward_tiers")
        if key == other_way and not policy["for_xdp"]:
            continue
        for number, tier in enumerate(policy[key]):
            action = "Pass" if tier["end_action"] == "pass" else "Deny"
            tiers[f"tier-{number}"] = {"order": number, "defaultAction": action}
            for index, member in enumerate(tier["policies"]):
                rules = _v3_rules(case, member["rules"])
                spec: written.Written = {"tier": f"tier-{number}", "order": index, "ingress": rules}
                if key != "host_pre_dnat_tiers":
                    spec["egress"] = rules
                name = f"{key.replace('_', '-')}-{number}-{index}"
                spec |= {"selector": f"has({LABEL})", **(own if flags is None else flags)}
                found.append(written.resource("GlobalNetworkPolicy", name, spec))
    found += [written.resource("Tier", name, spec) for name, spec in tiers.items()]
    for name, members in case["ipsets"].items():
        found += _of_set(name, members)
    return found


def packet(given: Case) -> Case:
    """A packet of the corpus as the verdict wants it."""
    fields = {"src": "src", "dst": "dst", "sport": "sport", "dport": "dport"}
    fields |= {"icmp_type": "icmp_type", "icmp_code": "icmp_code", "proto": "protocol"}
    fields |= {"pre_nat_dst": "pre_nat_dst", "pre_nat_dport": "pre_nat_dport"}
    return {ours: given[theirs] for theirs, ours in fields.items() if theirs in given}


def direction(case: Case, given: Case) -> Case:
    """Where the packet of a case comes from and goes to."""
    policy = case["policy"]
    if given.get("from_host"):
        return {"direction": "egress", "interface": INTERFACE}
    if policy["for_host_interface"] and not policy["for_xdp"] and not given.get("to_host"):
        return {"direction": "forward", "interface": INTERFACE, "out_interface": "eth9"}
    return {"direction": "ingress", "interface": INTERFACE}


def _rules(policy: Case) -> t.Iterator[Case]:
    for key in LISTS:
        for tier in policy[key]:
            for member in tier["policies"]:
                yield from member["rules"]
    for key in ("profiles", "host_profiles"):
        for member in policy[key]:
            yield from member["rules"]


def _v3_rules(case: Case, rules: list[Case]) -> list[written.Written]:
    return [_v3_rule(case, rule) for rule in rules]


def _v3_rule(case: Case, rule: Case) -> written.Written:
    found: written.Written = {"action": _ACTIONS[rule["action"].lower()]}
    for theirs, ours in (("protocol", "protocol"), ("not_protocol", "notProtocol")):
        if theirs in rule:
            found[ours] = _PROTOCOLS.get(rule[theirs], rule[theirs])
    for theirs, ours in (("icmp", "icmp"), ("not_icmp", "notICMP")):
        if theirs in rule:
            found[ours] = rule[theirs]
    if "icmp" in rule and "protocol" not in found:
        as_v4 = case["ip_version"] == 4 or case["flags"].get("icmp4_proto_in_v6")
        found["protocol"] = 1 if as_v4 else 58  # without it v3 refuses icmp
    for theirs, ours in (("src", "source"), ("dst", "destination")):
        side = _side(rule, theirs)
        if side:
            found[ours] = side
    return found


def _side(rule: Case, word: str) -> written.Written:
    side: written.Written = {}
    for negation, prefix in (("", ""), ("not_", "not")):
        nets = rule.get(f"{negation}{word}_net", ())
        ports: list[t.Any] = [f"{first}:{last}" for first, last in rule.get(f"{negation}{word}_ports", ())]
        ports += [name.lower() for name in rule.get(f"{negation}{word}_named_port_ipset_ids", ())]
        sets = rule.get(f"{negation}{word}_ipset_ids", ())
        for key, value in (
            ("nets", [str(ipaddress.ip_network(net, strict=False)) for net in nets]),
            ("ports", ports),
            ("selector", f"has(set-{sets[0]})" if sets else None),
        ):
            if value:
                side[prefix + key.capitalize() if prefix else key] = value
    return side


def _of_set(name: str, members: Case) -> t.Iterator[written.Written]:
    """A set of addresses as a network set with a label; one of named ports as endpoints that have them."""
    if members["type"] == "net":
        nets = [str(ipaddress.ip_network(net, strict=False)) for net in members["members"]]
        yield written.network_set(f"set-{name.lower()}", nets, {f"set-{name}": ""})
        return
    for index, member in enumerate(members["members"]):
        net, _comma, port = member.partition(",")
        protocol, _colon, number = port.partition(":")
        entry = {"name": name.lower(), "protocol": _PROTOCOLS[protocol], "port": int(number)}
        address = net.partition("/")[0]
        yield written.endpoint(
            f"{name.lower()}-{index}", node=f"other-{index}", expectedIPs=[address], ports=[entry]
        )
