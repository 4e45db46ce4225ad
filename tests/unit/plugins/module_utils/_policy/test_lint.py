# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies that are half of what they need to be."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.netpolicy.host.plugins.module_utils._policy import lint, model
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy.samples import policy, rule

TCP_IN = {"protocol": 6, "destination": model.Side(ports=((80, 80),))}
TCP_OUT = {"protocol": 6, "source": model.Side(ports=((80, 80),))}


def remarks(ingress: t.Any = (), egress: t.Any = (), action: str = model.ALLOW) -> list[lint.Remark]:
    def rules(direction: str, listed: t.Any) -> tuple[model.Rule, ...]:
        return tuple(
            model.Rule(model.Origin("GlobalNetworkPolicy", "p", direction, index), action, **fields)
            for index, fields in enumerate(listed)
        )

    member = model.Policy("GlobalNetworkPolicy", "p", rules("ingress", ingress), rules("egress", egress))
    tiers = (model.Tier("default", (member.key,)),)
    policy = model.HostPolicy("host", (model.Endpoint("e", "eth0", tiers),), {member.key: member})
    return lint.lint(policy)


def test_a_mirrored_pair_is_fine():
    assert remarks([TCP_IN], [TCP_OUT]) == []


def test_an_answer_may_be_wider_than_asked():
    assert remarks([TCP_IN], [{}]) == remarks([TCP_IN], [{"protocol": 6}]) == []


@pytest.mark.parametrize("direction, rule", [("ingress", TCP_IN), ("egress", TCP_OUT)])
def test_one_direction_alone_is_told_with_the_missing_rule(direction, rule):
    (remark,) = remarks([rule], []) if direction == "ingress" else remarks([], [rule])
    assert (remark.origin.direction, remark.origin.rule) == (direction, 0)
    other = {"ingress": "egress needs {action: Allow, protocol: TCP, source: {ports: [80]}}"}
    missing = other.get(direction, "ingress needs {action: Allow, protocol: TCP, destination: {ports: [80]}}")
    assert missing in remark.message


@pytest.mark.parametrize(
    "answer",
    [
        {"protocol": 17, "source": model.Side(ports=((80, 80),))},
        {"protocol": 6, "source": model.Side(ports=((81, 90),))},
        {"protocol": 6, "destination": model.Side(ports=((80, 80),)), "ip_version": 4},
    ],
)
def test_an_answer_that_cannot_be_one_does_not_count(answer):
    asked = {**TCP_IN, "ip_version": 6}
    assert [remark.origin.direction for remark in remarks([asked], [answer])] == ["ingress", "egress"]


@pytest.mark.parametrize("action", [model.DENY, model.PASS])
def test_only_what_is_allowed_needs_answers(action):
    assert remarks([TCP_IN], action=action) == []


def test_ranges_are_written_as_calico_writes_them():
    (remark,) = remarks([{"protocol": 17, "destination": model.Side(ports=((53, 53), (1000, 2000)))}])
    assert "source: {ports: [53, '1000:2000']}" in remark.message


# -- rules that never match --------------------------------------------------------------------------


def web(*, ports: tuple[model.PortRange, ...] = ((80, 80),), **fields: t.Any) -> model.Rule:
    return rule(protocol=model.TCP, destination=model.Side(ports=ports), **fields)


ALL, WEB, WIDE, UDP = rule(), web(), web(ports=((1, 100),)), rule(protocol=model.UDP)
LOG = rule(model.LOG)


def hosting(
    members: t.Sequence[model.Policy], *endpoints: model.Endpoint, **fields: t.Any
) -> model.HostPolicy:
    return model.HostPolicy("host", endpoints, {one.key: one for one in members}, **fields)


def endpoint(name: str = "e", /, **lists: t.Any) -> model.Endpoint:
    """An endpoint with lists of tiers of policies."""
    tiers: dict[str, t.Any] = {
        list_: tuple(
            model.Tier(f"t{index}", tuple(one.key for one in members)) for index, members in enumerate(each)
        )
        for list_, each in lists.items()
    }
    return model.Endpoint(name, f"eth-{name}", **tiers)


def shadows(judged: model.HostPolicy) -> list[tuple[str, str]]:
    return [(one.origin.path.split("/", 1)[1], one.message) for one in lint.shadowed(judged)]


@pytest.mark.parametrize("list_", model.LISTS)
@pytest.mark.parametrize(
    "rules, shadowed",
    [
        ([WEB, ALL], {}),
        ([WEB, UDP], {}),
        ([ALL, WEB], {1: 0}),
        ([WIDE, UDP, WEB], {2: 0}),
        ([UDP, WIDE, WEB, WEB], {2: 1, 3: 1}),
        # Whatever the actions are; but a Log rule takes nothing, and can itself be too late.
        ([rule(model.PASS), WEB], {1: 0}),
        ([web(action=model.DENY), WEB], {1: 0}),
        ([LOG, WEB], {}),
        ([LOG, LOG, WEB], {}),
        ([ALL, LOG], {1: 0}),
        ([WEB, LOG, ALL], {}),
    ],
)
def test_a_rule_that_an_earlier_one_takes_all_of_is_told(rules, shadowed, list_):
    member = policy("p", ingress=rules)
    judged = hosting([member], endpoint(**{list_: [[member]]}))
    assert shadows(judged) == [
        (f"p/ingress/{late}", f"never matches: ingress rule {early} takes all of it")
        for late, early in shadowed.items()
    ]


def test_an_earlier_policy_of_the_tier_is_named():
    first, second = policy("first", egress=[ALL]), policy("second", egress=[WEB])
    assert shadows(hosting([first, second], endpoint(normal=[[first, second]]))) == [
        ("second/egress/0", "never matches: egress rule 0 of first takes all of it")
    ]


@pytest.mark.parametrize(
    "first, second, tiers",
    [
        # Another tier: what passes on comes there.
        (policy("first", [rule(model.PASS)]), policy("second", [WEB]), 2),
        # Another direction.
        (policy("first", [ALL]), policy("second", None, [WEB]), 1),
        # What is only planned takes nothing, and is not judged.
        (policy("first", [ALL], staged="set"), policy("second", [WEB]), 1),
        (policy("first", [WEB]), policy("second", [WEB], staged="set"), 1),
    ],
)
def test_what_is_not_certain_is_not_told(first, second, tiers):
    listed = [[first, second]] if tiers == 1 else [[first], [second]]
    assert shadows(hosting([first, second], endpoint(normal=listed))) == []


@pytest.mark.parametrize("other", ["endpoint", "list"])
def test_a_rule_that_matches_somewhere_is_not_told(other):
    first, second = policy("first", [ALL]), policy("second", [WEB])
    for turned in (False, True):
        if other == "endpoint":
            listed = [endpoint("a", normal=[[first, second]]), endpoint("b", normal=[[second]])]
            endpoints = listed[::-1] if turned else listed
        else:
            lists: dict[str, t.Any] = {"normal": [[first, second]], "forward": [[second]]}
            endpoints = [endpoint("a", **dict(reversed(lists.items()) if turned else lists.items()))]
        assert shadows(hosting([first, second], *endpoints)) == []


def test_very_many_rules_are_compared_in_part(monkeypatch):
    monkeypatch.setattr(lint, "COMPARED", 3)
    member = policy("p", [UDP, UDP, UDP, UDP])
    told = [path for path, _message in shadows(hosting([member], endpoint(normal=[[member]])))]
    # One comparison for the second rule, two for the third, none for the last.
    assert told == ["p/ingress/1", "p/ingress/2"]


# -- failsafes ---------------------------------------------------------------------------------------

DNS, NTP, TCP_22 = (model.Failsafe(*pair) for pair in ((17, 53), (17, 123), (6, 22)))
RESOLVER = model.Failsafe(17, 53, "192.0.2.53/32")


def passed(denying: model.Rule, *outbound: model.Failsafe, **lists: t.Any) -> list[str]:
    """The ports from which one walks past the rule."""
    member = policy("p", [denying], [denying], **lists)
    judged = hosting([member], endpoint(untracked=[[member]]))
    found = list(lint.bypassed(judged, model.Failsafes(outbound=outbound)))
    assert {one.origin.path for one in found} <= {"GlobalNetworkPolicy/p/ingress/0"}
    return [one.message.split("(")[1].split(")")[0] for one in found]


@pytest.mark.parametrize(
    "asked, outbound, expected",
    [
        ({}, [DNS], ["UDP 53"]),
        ({}, [DNS, TCP_22], ["UDP 53, TCP 22"]),
        ({}, [], []),
        # A failsafe that names its peers leaves the rule to everybody else.
        ({}, [RESOLVER], []),
        ({}, [RESOLVER, NTP], ["UDP 123"]),
        ({"protocol": 17}, [DNS, TCP_22], ["UDP 53"]),
        ({"protocol": 6}, [DNS], []),
        ({"not_protocol": 17}, [DNS, TCP_22], ["TCP 22"]),
        ({"protocol": 17, "destination": model.Side(ports=((11211, 11211),))}, [DNS], ["UDP 53"]),
        ({"ip_version": 6}, [DNS], ["UDP 53"]),
        ({"icmp": model.Icmp(8)}, [DNS], []),
        ({"not_icmp": model.Icmp(8)}, [DNS], []),
        # A rule that says from which ports it denies says what it means.
        ({"protocol": 17, "source": model.Side(ports=((53, 53),))}, [DNS], []),
        ({"protocol": 17, "source": model.Side(not_ports=((53, 53),))}, [DNS], []),
        ({"source": model.Side(named_ports=("dns",))}, [DNS], []),
        ({"source": model.Side(not_named_ports=("dns",))}, [DNS], []),
    ],
)
def test_an_untracked_deny_that_a_failsafe_lets_past_is_told(asked, outbound, expected):
    assert passed(rule(model.DENY, **asked), *outbound) == expected


@pytest.mark.parametrize("action", [model.ALLOW, model.PASS, model.LOG])
def test_only_what_denies_can_be_walked_past(action):
    assert passed(rule(action), DNS) == []


def test_what_is_staged_or_tracked_is_not_walked_past():
    assert passed(rule(model.DENY), DNS, staged="set") == []
    member = policy("p", [rule(model.DENY)])
    for list_ in ("pre_dnat", "normal", "forward"):
        judged = hosting([member], endpoint(**{list_: [[member]]}))
        assert list(lint.bypassed(judged, model.Failsafes(outbound=(DNS,)))) == []


def test_lint_tells_all_of_it_once():
    member = policy("p", [rule(), rule(model.DENY)])
    judged = hosting(
        [member],
        endpoint("a", untracked=[[member]]),
        endpoint("b", untracked=[[member]]),
        failsafes=model.Failsafes(outbound=(DNS,)),
    )
    assert [(one.origin.rule, one.message.split(" ")[0]) for one in lint.lint(judged)] == [
        (0, "allows"),
        (1, "never"),
        (1, "does"),
    ]
    assert lint.lint(dataclasses.replace(judged, endpoints=())) == []
