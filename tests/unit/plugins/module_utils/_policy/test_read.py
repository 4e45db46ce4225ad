# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model, read
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

SAMPLE = samples.written_out(samples.sample())
POSITIONS = list(samples.positions(SAMPLE))


def path(steps: samples.Steps) -> str:
    """A position as messages write it."""
    return "HostPolicy" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


# -- refusals ----------------------------------------------------------------------------------------

WRONG: dict[type, tuple[t.Any, ...]] = {
    str: (None, 5, True, [], {}),
    int: ("5", 1.5, True, [], {}),
    bool: (None, 5, 0, "true", [], {}),
    list: (None, 5, "text", {}),
    dict: (None, 5, "text", []),
}
MAY_BE_NONE = (
    "protocol",
    "ip_version",
    "net",
    "ingress",
    "egress",
    "staged",
    "not_protocol",
    "icmp",
    "not_icmp",
    "code",
    "log_rate",
)
FAILSAFE_PROTOCOLS = [steps for steps in POSITIONS if steps[:1] == ("failsafes",) and steps[-1] == "protocol"]
ETH0, ETH1 = ("endpoints", 0), ("endpoints", 1)
MAPPINGS_BY_NAME = ("policies", "sets", "port_sets", "interfaces", "places")


@pytest.mark.parametrize(
    "steps", [steps for steps in POSITIONS if type(samples.value_at(SAMPLE, steps)) in WRONG], ids=path
)
def test_a_value_of_the_wrong_type_is_refused_with_its_path(steps):
    for wrong in WRONG[type(samples.value_at(SAMPLE, steps))]:
        if wrong is None and steps and steps[-1] in MAY_BE_NONE and steps not in FAILSAFE_PROTOCOLS:
            continue
        if wrong is None and steps == (*ETH0, "interface"):
            continue  # it has addresses, by which its interface is found
        with pytest.raises(read.PolicyFormatError) as refusal:
            read.from_dict(samples.replaced(SAMPLE, steps, wrong))
        # The end of a port range is named by its range.
        at = steps[:-1] if steps[-3:-2] in (("ports",), ("not_ports",)) else steps
        assert str(refusal.value).startswith(path(at))


def is_asked_for_by_a_rule(steps: tuple[t.Any, ...]) -> bool:
    return steps[0] == "policies" and len(steps) > 4 and steps[-1] in samples.MAY_BE_LEFT_OUT


@pytest.mark.parametrize(
    "steps", [steps for steps in POSITIONS if steps and is_asked_for_by_a_rule(steps)], ids=path
)
def test_what_a_rule_does_not_ask_for_may_be_left_out(steps):
    """Left out is the same as null or empty: what was asked for is another policy without it."""
    value = samples.value_at(SAMPLE, steps)
    nothing = value in (None, []) or (isinstance(value, dict) and not any(value.values()))
    data = samples.without(SAMPLE, steps)
    if steps[-1] == "protocol" and not nothing and _has_ports(samples.value_at(SAMPLE, steps[:-1])):
        with pytest.raises(read.PolicyFormatError, match="found ports and the protocol null"):
            read.from_dict(data)
    else:
        assert (read.from_dict(data).digest == read.from_dict(SAMPLE).digest) == nothing


def _has_ports(rule: dict[str, t.Any]) -> bool:
    return any(rule[side][key] for side in ("source", "destination") for key in ("ports", "not_ports"))


@pytest.mark.parametrize(
    "steps",
    [
        steps
        for steps in POSITIONS
        if steps
        and isinstance(steps[-1], str)
        and steps[0] != "places"
        and steps[:-1] != ("interfaces",)
        and not is_asked_for_by_a_rule(steps)
    ],
    ids=path,
)
def test_a_missing_key_is_refused_by_name(steps):
    with pytest.raises(read.PolicyFormatError) as refusal:
        read.from_dict(samples.without(SAMPLE, steps))
    assert steps[-1] in str(refusal.value)
    assert str(refusal.value).startswith("HostPolicy")


def test_places_may_be_left_out():
    assert read.from_dict(samples.without(SAMPLE, ("places",))).places == {}


@pytest.mark.parametrize("version", [0, 1, 3, "2", None, [2], True])
def test_another_format_version_is_refused(version):
    with pytest.raises(read.PolicyFormatError, match=r"HostPolicy.format.*reads 2"):
        read.from_dict({**SAMPLE, "format": version})


@pytest.mark.parametrize("action", ["Allow", "Log", "next-tier", ""])
def test_an_unknown_action_is_refused(action):
    steps = ("policies", "GlobalNetworkPolicy/web", "ingress", 0, "action")
    with pytest.raises(read.PolicyFormatError, match="allowed: allow, deny, pass, log") as refusal:
        read.from_dict(samples.replaced(SAMPLE, steps, action))
    assert str(refusal.value).startswith(path(steps))


@pytest.mark.parametrize("ports", [[], [1], [1, 2, 3], ["1", "2"], [1, None], 80, "80"], ids=repr)
def test_a_port_range_is_two_numbers(ports):
    steps = ("policies", "GlobalNetworkPolicy/web", "ingress", 0, "destination", "ports", 0)
    with pytest.raises(
        read.PolicyFormatError,
        match=r"destination\.ports\[0\]: found .*, expected (\[first, last\]|a number)",
    ):
        read.from_dict(samples.replaced(SAMPLE, steps, ports))


@pytest.mark.parametrize("list_", model.LISTS)
def test_a_missing_policy_is_refused_by_name(list_):
    data = samples.replaced(SAMPLE, (*ETH0, list_, 0, "policies", 0), "GlobalNetworkPolicy/no")
    with pytest.raises(read.PolicyFormatError, match=r"HostPolicy.policies: 'GlobalNetworkPolicy/no'"):
        read.from_dict(data)


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_missing_set_is_refused_by_name(direction, side):
    steps = ("policies", "GlobalNetworkPolicy/web", direction, 0, side, "sets")
    with pytest.raises(read.PolicyFormatError, match=r"HostPolicy.sets: 's:nobody' is missing"):
        read.from_dict(samples.replaced(SAMPLE, steps, ["s:nobody"]))


def test_a_policy_under_another_key_is_refused():
    moved = {"GlobalNetworkPolicy/x": SAMPLE["policies"]["GlobalNetworkPolicy/web"], **SAMPLE["policies"]}
    with pytest.raises(
        read.PolicyFormatError, match=r"GlobalNetworkPolicy/x: found .*GlobalNetworkPolicy/web"
    ):
        read.from_dict({**SAMPLE, "policies": moved})


@pytest.mark.parametrize(
    "steps", [steps for steps in POSITIONS if isinstance(samples.value_at(SAMPLE, steps), dict)], ids=path
)
def test_a_key_that_is_no_text_is_refused(steps):
    grown = {**samples.value_at(SAMPLE, steps), 5: "five"}
    with pytest.raises(read.PolicyFormatError, match="found the key 5, expected strings") as refusal:
        read.from_dict(samples.replaced(SAMPLE, steps, grown))
    assert str(refusal.value).startswith(path(steps))


@pytest.mark.parametrize(
    "steps",
    [
        steps
        for steps in POSITIONS
        if isinstance(samples.value_at(SAMPLE, steps), dict)
        and steps not in [(name,) for name in MAPPINGS_BY_NAME]
    ],
    ids=path,
)
def test_a_field_that_is_not_known_is_refused(steps):
    """It could narrow what a rule matches: to ignore it would widen the rule."""
    grown = {**samples.value_at(SAMPLE, steps), "later": None}
    with pytest.raises(read.PolicyFormatError) as refusal:
        read.from_dict(samples.replaced(SAMPLE, steps, grown))
    assert str(refusal.value) == f"{path((*steps, 'later'))}: unknown, perhaps from a newer version"


RULE = ("policies", "GlobalNetworkPolicy/web", "ingress", 0)
FAILSAFE = ("failsafes", "inbound", 0)
ICMP_RULE = ("policies", "GlobalNetworkPolicy/tracked", "ingress", 2)
NAMED_RULE = ("policies", "GlobalNetworkPolicy/tracked", "ingress", 1)
NAMED_PORTS = ("port_sets", "p:metrics")
NO_ADDRESSES = ["", "host", "10.0.0.0/8", "10.0.0", "1.2.3.4.5", "fe80::1%eth0", "::1\n", "fd00::/8"]
V4, V6 = (("sets", "s:clients", family, 0) for family in ("v4", "v6"))


@pytest.mark.parametrize(
    "steps, values",
    [
        (("endpoints", 0, "interface"), ["", "a" * 16, 'eth0" : accept', "eth0\n", "eth 0", "eth0;"]),
        ((*ETH0, "untracked", 0, "name"), ["", "a b", "a}", "-a", "a" * 64, "Default", "a.b"]),
        ((*ETH0, "untracked", 0, "default_action"), ["deny", "allow", "log", "Pass", ""]),
        ((*ETH0, "pre_dnat", 0, "default_action"), ["deny", "allow", ""]),
        ((*ETH0, "normal", 0, "default_action"), ["allow", "log", "Deny", ""]),
        ((*ETH0, "forward", 0, "default_action"), ["allow", "log", "Deny", ""]),
        ((*ETH0, "addresses", 0), NO_ADDRESSES),
        (("interfaces", "eth9", 0), NO_ADDRESSES),
        (("policies", "GlobalNetworkPolicy/planned", "staged"), ["", "Set", "apply", True]),
        ((*NAMED_PORTS, "v4", 0, 0), [*NO_ADDRESSES, "fd00::1"]),
        ((*NAMED_PORTS, "v6", 0, 0), [*NO_ADDRESSES, "10.0.0.1"]),
        ((*NAMED_PORTS, "v4", 0, 1), [0, 1, 58, 136, 256]),
        ((*NAMED_PORTS, "v4", 0, 2), [-1, 65536]),
        ((*NAMED_PORTS, "v4", 0), [[], ["10.0.0.1", 6], ["10.0.0.1", 6, 80, 80]]),
        (("settings", "log_prefix"), ['a"', "a\n", "a;", "a" * 101, "$(x)"]),
        (("settings", "log_rate"), ["", "10", "0/second", "10/week", "10/second burst 5", "-1/second"]),
        (("settings", "log_burst"), [-1, 10000]),
        (("settings", "mark_mask"), [-1, 2**32]),
        ((*RULE, "not_protocol"), [-1, 256]),
        ((*ICMP_RULE, "icmp", "type"), [-1, 256]),
        ((*ICMP_RULE, "icmp", "code"), [-1, 256]),
        (("policies", "GlobalNetworkPolicy/web", "name"), ["", 'a"', "a b", "a" * 254]),
        (("policies", "GlobalNetworkPolicy/web", "kind"), ["", 'a"', "a b"]),
        ((*RULE, "protocol"), [-1, 256, 10**400]),
        ((*RULE, "ip_version"), [0, 5, 46]),
        ((*RULE, "destination", "ports", 0), [[2, 1], [-1, 1], [1, 65536]]),
        ((*FAILSAFE, "protocol"), [0, 1, 58, 256]),
        ((*FAILSAFE, "port"), [-1, 65536]),
        ((*FAILSAFE, "net"), ["", "10.0.0.0", "10.0.0.0/33", "any", "fd00::/129", "10.0.0.0/8; accept"]),
        (
            V4,
            [
                "",
                "10.0.0.0",
                "10.0.0.0/",
                "10.0.0.0/33",
                "10.0.0.0/-1",
                "fd00::/8",
                "10.0.0/8",
                "10.0.0.0/8 ,",
            ],
        ),
        (V6, ["", "fd00::", "fd00::/129", "10.0.0.0/8", "fd00::/x", "fe80::1%eth0/128", "fd00::/8\n"]),
    ],
    ids=lambda value: path(value) if isinstance(value, tuple) else "",
)
def test_a_value_out_of_range_is_refused_with_its_path(steps, values):
    for value in values:
        with pytest.raises(read.PolicyFormatError) as refusal:
            read.from_dict(samples.replaced(SAMPLE, steps, value))
        assert str(refusal.value).startswith(path(steps))


@pytest.mark.parametrize("name", ["", "s clients", 's"', "s" * 129])
def test_the_name_of_a_set_is_refused(name):
    sets = {**SAMPLE["sets"], name: SAMPLE["sets"]["n:office"]}
    with pytest.raises(read.PolicyFormatError, match=r"^HostPolicy\.sets\."):
        read.from_dict({**SAMPLE, "sets": sets})


@pytest.mark.parametrize("protocol", [None, 1, 47, 136])
def test_ports_need_a_protocol_that_has_ports(protocol):
    with pytest.raises(read.PolicyFormatError, match=r"ingress\[0\]: found ports and the protocol"):
        read.from_dict(samples.replaced(SAMPLE, (*RULE, "protocol"), protocol))


@pytest.mark.parametrize("key", ["named_ports", "not_named_ports"])
@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("protocol", [1, 47, 136])
def test_named_ports_are_refused_with_a_protocol_that_has_none(protocol, side, key):
    data = samples.replaced(SAMPLE, (*RULE, "protocol"), protocol)
    for emptied in ("source", "destination"):
        data = samples.replaced(data, (*RULE, emptied, "ports"), [])
    data = samples.replaced(data, (*RULE, side, key), ["p:metrics"])
    with pytest.raises(read.PolicyFormatError, match=r"ingress\[0\]: found named ports and the protocol"):
        read.from_dict(data)
    read.from_dict(samples.replaced(data, (*RULE, "protocol"), None))


@pytest.mark.parametrize("key", ["named_ports", "not_named_ports"])
@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_missing_set_of_named_ports_is_refused_by_name(side, key):
    with pytest.raises(read.PolicyFormatError, match=r"HostPolicy.port_sets: 's:clients' is missing"):
        read.from_dict(samples.replaced(SAMPLE, (*NAMED_RULE, side, key), ["s:clients"]))


def test_an_endpoint_has_an_interface_or_addresses():
    with pytest.raises(read.PolicyFormatError) as refusal:
        read.from_dict(samples.replaced(SAMPLE, (*ETH1, "interface"), None))
    assert str(refusal.value) == (
        "HostPolicy.endpoints[1].interface: found null, and no addresses to find interfaces by"
    )
    found = read.from_dict(samples.replaced(SAMPLE, (*ETH0, "interface"), None))
    assert (found.endpoints[0].interface, found.endpoints[0].addresses) == (None, ("192.0.2.10",))


def test_every_interface_may_be_named_at_once():
    found = read.from_dict(samples.replaced(SAMPLE, (*ETH0, "interface"), "*"))
    assert found.endpoints[0].interface == model.EVERY_INTERFACE


@pytest.mark.parametrize(
    "key, message",
    [
        ("Profile/none", "HostPolicy.policies: 'Profile/none' is missing"),
        (
            "GlobalNetworkPolicy/web",
            "HostPolicy.endpoints: found 'GlobalNetworkPolicy/web' among the profiles",
        ),
    ],
)
def test_profiles_are_profiles(key, message):
    with pytest.raises(read.PolicyFormatError) as refusal:
        read.from_dict(samples.replaced(SAMPLE, (*ETH0, "profiles", 0), key))
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize("name", ["", "eth 0", "a" * 16, "*", 'eth0"'])
def test_the_name_of_an_interface_with_addresses_is_refused(name):
    data = samples.replaced(SAMPLE, ("interfaces", name), ["10.0.0.1"])
    with pytest.raises(read.PolicyFormatError, match=r"^HostPolicy\.interfaces\."):
        read.from_dict(data)


@pytest.mark.parametrize("name", ["", "p http", 'p"', "p" * 129])
def test_the_name_of_a_set_of_named_ports_is_refused(name):
    data = samples.replaced(SAMPLE, ("port_sets", name), SAMPLE["port_sets"]["p:metrics"])
    with pytest.raises(read.PolicyFormatError, match=r"^HostPolicy\.port_sets\."):
        read.from_dict(data)


def test_a_direction_may_be_governed_without_rules_or_not_governed():
    for written, expected in (([], ()), (None, None)):
        policy = read.from_dict(samples.replaced(SAMPLE, RULE[:-1], written))
        assert policy.policies["GlobalNetworkPolicy/web"].ingress == expected


@given(samples.junk())
def test_whatever_is_given_is_read_or_refused(value):
    with pytest.raises(read.PolicyFormatError, match=r"^HostPolicy"):
        read.from_dict(value)


@given(st.sampled_from(POSITIONS), samples.junk())
def test_whatever_stands_in_a_policy_is_read_or_refused(steps, value):
    try:
        policy = read.from_dict(samples.replaced(SAMPLE, steps, value))
    except read.PolicyFormatError as refusal:
        message = str(refusal)
    else:
        message = "HostPolicy"
        assert read.loads(model.dumps(policy)) == policy
    assert message.startswith("HostPolicy")


@given(st.text(max_size=20))
def test_what_is_not_json_is_refused(text):
    with pytest.raises(read.PolicyFormatError):
        read.loads(text)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100000, '{"format": 1' + "0" * 5000 + "}"], ids=lambda text: text[:9]
)
def test_broken_and_hostile_json_is_refused(text):
    with pytest.raises(read.PolicyFormatError):
        read.loads(text)
