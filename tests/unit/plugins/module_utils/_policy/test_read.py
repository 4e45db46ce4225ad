# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model, read
from ansible_collections.netpolicy.host.tests.unit.plugins.module_utils._policy import samples

SAMPLE = model.to_dict(samples.sample())
POSITIONS = list(samples.positions(SAMPLE))


def path(steps: samples.Steps) -> str:
    """A position as messages write it."""
    return "HostPolicy" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


# -- refusals ----------------------------------------------------------------------------------------

WRONG: dict[type, tuple[t.Any, ...]] = {
    str: (None, 5, True, [], {}),
    int: ("5", 1.5, True, [], {}),
    list: (None, 5, "text", {}),
    dict: (None, 5, "text", []),
}
MAY_BE_NONE = (("protocol",), ("ip_version",), ("net",), ("ingress",), ("egress",))


@pytest.mark.parametrize(
    "steps", [steps for steps in POSITIONS if type(samples.value_at(SAMPLE, steps)) in WRONG], ids=path
)
def test_a_value_of_the_wrong_type_is_refused_with_its_path(steps):
    for wrong in WRONG[type(samples.value_at(SAMPLE, steps))]:
        if wrong is None and steps[-1:] in MAY_BE_NONE:
            continue
        with pytest.raises(read.PolicyFormatError) as refusal:
            read.from_dict(samples.replaced(SAMPLE, steps, wrong))
        # The end of a port range is named by its range.
        at = steps[:-1] if "ports" in steps[-3:-2] else steps
        assert str(refusal.value).startswith(path(at))


@pytest.mark.parametrize(
    "steps",
    [steps for steps in POSITIONS if steps and isinstance(steps[-1], str) and steps[0] != "places"],
    ids=path,
)
def test_a_missing_key_is_refused_by_name(steps):
    with pytest.raises(read.PolicyFormatError) as refusal:
        read.from_dict(samples.without(SAMPLE, steps))
    assert steps[-1] in str(refusal.value)
    assert str(refusal.value).startswith("HostPolicy")


def test_places_may_be_left_out():
    assert read.from_dict(samples.without(SAMPLE, ("places",))).places == {}


@pytest.mark.parametrize("version", [0, 2, "1", None, [1], True])
def test_another_format_version_is_refused(version):
    with pytest.raises(read.PolicyFormatError, match=r"HostPolicy.format.*reads 1"):
        read.from_dict({**SAMPLE, "format": version})


@pytest.mark.parametrize("action", ["Allow", "log", ""])
def test_an_unknown_action_is_refused(action):
    steps = ("policies", "GlobalNetworkPolicy/web", "ingress", 0, "action")
    with pytest.raises(read.PolicyFormatError, match="allowed: allow, deny, pass") as refusal:
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


def test_a_missing_policy_is_refused_by_name():
    data = samples.replaced(SAMPLE, ("endpoints", 0, "untracked", 0, "policies", 0), "GlobalNetworkPolicy/no")
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
        and steps not in (("policies",), ("sets",), ("places",))
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
V4, V6 = (("sets", "s:clients", family, 0) for family in ("v4", "v6"))


@pytest.mark.parametrize(
    "steps, values",
    [
        (("endpoints", 0, "interface"), ["", "a" * 16, 'eth0" : accept', "eth0\n", "eth 0", "eth0;"]),
        (("endpoints", 0, "untracked", 0, "name"), ["", "a b", "a}", "-a", "a" * 254]),
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
