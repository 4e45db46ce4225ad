# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The single values that Calico resources are made of: each function reads one, or refuses it.

A refusal says what was found and what is allowed. Limits and patterns are Calico's (its
libcalico-go/lib/validator/v3), unless a comment says otherwise.
"""

from __future__ import annotations

import ipaddress
import math
import re
import typing as t

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model
from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import networks, selector

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_RESOURCE_NAME = re.compile(rf"{_DNS_LABEL}(\.{_DNS_LABEL})*")
_POLICY_NAME = re.compile(rf"({_DNS_LABEL}\.)?{_DNS_LABEL}")
_TIER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_TIER_NAME_TEXT = "up to 63 lower-case letters, digits and '-', with a letter or digit at both ends"
_INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
_QUALIFIED_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_CIDR = re.compile(r"[0-9A-Fa-f:.]+/[0-9]{1,3}")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](-?[a-z0-9])*")
_LOG_PREFIX = re.compile(r"[a-zA-Z0-9%: /_-]{0,100}")
_LOG_RATE = re.compile(r"[1-9][0-9]{0,3}/(second|minute|hour|day)")
_BARE = re.compile(r"[-+0-9.]+|true|false|yes|no|on|off", re.IGNORECASE)
_PORT_NUMBER = re.compile(r"[0-9]{1,9}")
_DASHED_RANGE = re.compile(r"[0-9]{1,5}-[0-9]{1,5}")
_PORT_RANGE = re.compile(r"([0-9]{1,9}):([0-9]{1,9})")

ACTIONS = {"Allow": model.ALLOW, "Deny": model.DENY, "Log": model.LOG, "Pass": model.PASS}
DIRECTIONS = {"Ingress": model.INGRESS, "Egress": model.EGRESS}
PROTOCOLS = {name: number for number, name in model.PROTOCOL_NAMES.items()}
STAGED_ACTIONS = {action.capitalize(): action for action in model.STAGED_ACTIONS}
MARK_BITS, MAX_PORT_NAME = 4, 15
PERFORMANCE_HINT = "AssumeNeededOnEveryNode"
MAX_NAME, MAX_LABEL, MAX_SELECTOR, MAX_ANNOTATIONS = 253, 63, 1024, 256 * 1024


class Refused(ValueError):
    """The value is not what it should be; the message says what was found and what is allowed."""


def text(value: t.Any) -> str:
    """Any string."""
    if not isinstance(value, str):
        raise Refused(f"found {shown(value)}, expected a string{_quote(value)}")
    return str(value)


def _quote(value: t.Any) -> str:
    """What to do about a string that YAML takes for something else."""
    return "" if value is None or isinstance(value, (t.Mapping, list, tuple)) else " (quote it)"


def _bare(value: t.Any) -> str:
    """What to do about a number or a truth value that was written as a string."""
    return ", without quotes" if isinstance(value, str) and _BARE.fullmatch(value) else ""


def boolean(value: t.Any) -> bool:
    """true or false; words and numbers that some tools take for them are refused."""
    if not isinstance(value, bool):
        raise Refused(f"found {shown(value)}, allowed: true or false{_bare(value)}")
    return value


def order(value: t.Any) -> float:
    """A policy's order: any finite number."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an integer beyond every float
        pass
    raise Refused(f"found {shown(value)}, expected a finite number{_bare(value)}")


def resource_name(value: t.Any) -> str:
    """A DNS-1123 subdomain of at most 253 characters."""
    return _name(value, _RESOURCE_NAME, "lower-case letters, digits, '-' and '.'")


def policy_name(value: t.Any) -> str:
    """A policy's name: at most one dot, which separates a tier's name from the rest."""
    return _name(value, _POLICY_NAME, "lower-case letters, digits, '-' and at most one '.'")


def _name(value: t.Any, pattern: re.Pattern[str], allowed: str) -> str:
    name = text(value)
    if not pattern.fullmatch(name) or len(name) > MAX_NAME:
        raise Refused(
            f"found {shown(name)}, allowed: up to {MAX_NAME} {allowed}, with a letter or digit at both ends "
            "of each part"
        )
    return name


def node_name(value: t.Any) -> str:
    """The host that an endpoint is on. Inventory names may hold what resource names may not."""
    name = text(value)
    if not name.strip() or len(name) > MAX_NAME:
        raise Refused(f"found {shown(name)}, expected the name of a host, up to {MAX_NAME} characters")
    return name


def tier_name(value: t.Any) -> str:
    """The name of a tier: one DNS label."""
    name = text(value)
    if not _TIER_NAME.fullmatch(name):
        raise Refused(f"found {shown(name)}, allowed: {_TIER_NAME_TEXT}")
    return name


def default_action(value: t.Any) -> str:
    """What a tier does with packets that none of its policies decides: Deny or Pass."""
    if value in ("Deny", "Pass"):
        return str(value)
    raise Refused(f"found {shown(value)}, allowed: Deny, Pass")


def interface_name(value: t.Any) -> str:
    """The name of one network interface, or `*` for every one. Empty is no name."""
    name = text(value)
    if name in ("", model.EVERY_INTERFACE):
        return name
    if not _INTERFACE.fullmatch(name) or name in (".", ".."):
        raise Refused(
            f"found {shown(name)}, allowed: 1 to 15 letters, digits, '_', '.', '-', "
            "or '*' for every interface"
        )
    return name


def staged_action(value: t.Any) -> str:
    """What becomes of a policy when a staged one of its name is enforced."""
    if value == "":
        return "set"
    if isinstance(value, str) and value in STAGED_ACTIONS:
        return STAGED_ACTIONS[value]
    raise Refused(f"found {shown(value)}, allowed: {', '.join(STAGED_ACTIONS)}")


def performance_hint(value: t.Any) -> str:
    """A hint to Calico's agent, which changes nothing of what a policy means."""
    if value == PERFORMANCE_HINT:
        return str(value)
    raise Refused(f"found {shown(value)}, allowed: {PERFORMANCE_HINT}")


def rule_annotations(value: t.Any) -> dict[str, str]:
    """A mapping of Kubernetes label keys to any text."""
    if not isinstance(value, t.Mapping):
        raise Refused(f"found {shown(value)}, expected a mapping of annotations")
    size = 0
    for key, content in value.items():
        _label_key(key)
        if not isinstance(content, str):
            raise Refused(f"annotation {key}: found {shown(content)}, expected a string{_quote(content)}")
        size += len(key.encode(errors="surrogatepass")) + len(content.encode(errors="surrogatepass"))
    if size > MAX_ANNOTATIONS:
        raise Refused(f"found {size} bytes, allowed: at most {MAX_ANNOTATIONS}")
    return {str(key): str(content) for key, content in value.items()}


def labels(value: t.Any) -> dict[str, str]:
    """A mapping of Kubernetes label keys to label values."""
    if not isinstance(value, t.Mapping):
        raise Refused(f"found {shown(value)}, expected a mapping of labels")
    read = {}
    for key, content in value.items():
        _label_key(key)
        if not isinstance(content, str):
            raise Refused(f"label {key}: found {shown(content)}, expected a string{_quote(content)}")
        if not _LABEL_VALUE.fullmatch(content) or len(content) > MAX_LABEL:
            raise Refused(
                f"label {key}: found {shown(content)}, allowed: up to 63 letters, digits, '-', '_', '.', "
                "with a letter or digit at both ends"
            )
        read[str(key)] = str(content)
    return read


def _label_key(key: t.Any) -> None:
    prefix, slash, name = str(key).rpartition("/") if isinstance(key, str) else ("", "", "")
    if (
        not _QUALIFIED_NAME.fullmatch(name)
        or len(name) > MAX_LABEL
        or (slash and (not _RESOURCE_NAME.fullmatch(prefix) or len(prefix) > MAX_NAME))
    ):
        raise Refused(
            f"found label key {shown(key)}, allowed: up to 63 letters, digits, '-', '_', '.', "
            "optionally after a DNS name and '/'"
        )


def is_label_key(key: str) -> bool:
    """Whether a label can have this key."""
    try:
        _label_key(key)
    except Refused:
        return False
    return True


def selector_expression(value: t.Any) -> selector.Selector:
    """A selector of at most 1024 characters without `global()`."""
    expression = text(value)
    if len(expression) > MAX_SELECTOR:
        raise Refused(f"found {len(expression)} characters, allowed: at most {MAX_SELECTOR}")
    if "global(" in expression:
        raise Refused(
            f"found {shown(expression)}; global() is for the namespaceSelector of a rule only, all() picks "
            "everything"
        )
    try:
        return selector.parse(expression)
    except selector.SelectorError as error:
        raise Refused(f"{error} in selector {shown(expression)}") from None


def action(value: t.Any) -> str:
    """What a rule does: Allow, Deny, Log or Pass."""
    if isinstance(value, str) and value in ACTIONS:
        return ACTIONS[value]
    raise Refused(f"found {shown(value)}, allowed: {', '.join(ACTIONS)}")


def direction(value: t.Any) -> str:
    """An entry of a policy's types: Ingress or Egress."""
    if isinstance(value, str) and value in DIRECTIONS:
        return DIRECTIONS[value]
    raise Refused(f"found {shown(value)}, allowed: {', '.join(DIRECTIONS)}")


def ip_version(value: t.Any) -> int:
    """4 or 6."""
    if value in (4, 6) and isinstance(value, int):
        return int(value)
    raise Refused(f"found {shown(value)}, allowed: 4 or 6{_bare(value)}")


def protocol(value: t.Any) -> int | str:
    """A protocol: its number, or its name as Calico writes it (a name can imply an IP version)."""
    if isinstance(value, str) and value in PROTOCOLS:
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 255:
        return int(value)
    if isinstance(value, str) and _PORT_NUMBER.fullmatch(value) and 1 <= int(value) <= 255:
        return int(value)
    raise Refused(
        f"found {shown(value)}, allowed: {', '.join(PROTOCOLS)} (exactly so), or a number from 1 to 255"
    )


def port(value: t.Any) -> model.PortRange | str:
    """A port: a number, `"123"`, a range `"first:last"`, or the name of a port of endpoints."""
    allowed = "a number from 1 to 65535, a range 'first:last', or a port's name"
    first, last = value, value
    if isinstance(value, str):
        ends = _PORT_RANGE.fullmatch(value)
        if ends:
            first, last = int(ends.group(1)), int(ends.group(2))
        elif _PORT_NUMBER.fullmatch(value):
            first = last = int(value)
        elif _DASHED_RANGE.fullmatch(value):
            raise Refused(f"found {shown(value)}; a range has a colon: write '{value.replace('-', ':')}'")
        else:
            return port_name(value, allowed)
    if isinstance(first, bool) or not isinstance(first, int) or not isinstance(last, int):
        raise Refused(f"found {shown(value)}, allowed: {allowed}")
    if 1 <= last < first <= 65535:
        raise Refused(f"found {shown(value)}; a range has its lower end first: write '{last}:{first}'")
    if not 1 <= first <= last <= 65535:
        raise Refused(f"found {shown(value)}, allowed: {allowed}")
    return int(first), int(last)


def port_name(value: t.Any, allowed: str = "a port's name") -> str:
    """The name of a port, as Kubernetes wants it."""
    name = text(value)
    if not _PORT_NAME.fullmatch(name) or len(name) > MAX_PORT_NAME:
        raise Refused(
            f"found {shown(name)}, allowed: {allowed} (1 to 15 lower-case letters, digits and single '-', "
            "a letter among them)"
        )
    return name


def endpoint_port(value: t.Any) -> int:
    """The number of a port of an endpoint."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535:
        return int(value)
    raise Refused(f"found {shown(value)}, allowed: a number from 1 to 65535{_bare(value)}")


def port_protocol(value: t.Any) -> int:
    """A protocol that has ports, by name or number."""
    allowed = {model.PROTOCOL_NAMES[number]: number for number in model.PORT_PROTOCOLS}
    if isinstance(value, str) and value in allowed:
        return allowed[value]
    if isinstance(value, int) and not isinstance(value, bool) and value in model.PORT_PROTOCOLS:
        return int(value)
    raise Refused(f"found {shown(value)}, allowed: {', '.join(allowed)} or 6, 17, 132")


def insert_mode(value: t.Any) -> bool:
    """Whether our rules come before others', as they do unless something else is written."""
    if isinstance(value, str) and value.lower() in ("", "insert", "append"):
        return value.lower() != "append"
    raise Refused(f"found {shown(value)}, allowed: Insert, Append")


def mark_mask(value: t.Any) -> int:
    """The bits of packet marks that are ours: 32 bits, of which policy needs four."""
    mask = _number(value, 0xFFFFFFFF)
    if mask.bit_count() < MARK_BITS:
        raise Refused(f"found {mask:#x}, allowed: a mask with at least {MARK_BITS} bits set")
    return mask


def log_rate(value: t.Any) -> str:
    """How many packets a Log rule logs in a second, minute, hour or day."""
    if isinstance(value, str) and _LOG_RATE.fullmatch(value):
        return str(value)
    raise Refused(
        f"found {shown(value)}, allowed: 1 to 9999, '/', and second, minute, hour or day, as in '10/minute'"
    )


def log_burst(value: t.Any) -> int:
    """How many packets may be logged at once within the rate."""
    return _number(value, 9999)


def log_prefix(value: t.Any) -> str:
    """What log lines begin with."""
    prefix = text(value)
    if not _LOG_PREFIX.fullmatch(prefix):
        raise Refused(f"found {shown(prefix)}, allowed: up to 100 letters, digits, spaces and % : / _ -")
    return prefix


def failsafe_protocol(value: t.Any) -> int:
    """The protocol of a failsafe port, as Calico's API writes it."""
    allowed = {model.PROTOCOL_NAMES[number]: number for number in model.PORT_PROTOCOLS}
    if isinstance(value, str) and value in allowed:
        return allowed[value]
    raise Refused(f"found {shown(value)}, allowed: {', '.join(allowed)}")


def failsafe_port(value: t.Any) -> int:
    """The port of a failsafe: a number."""
    return _number(value, 65535)


def icmp_type(value: t.Any) -> int:
    """A type of ICMP. 255 is reserved, and Calico refuses it."""
    return _number(value, 254)


def icmp_code(value: t.Any) -> int:
    """A code of a type of ICMP."""
    return _number(value, 255)


def _number(value: t.Any, last: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= last:
        return int(value)
    raise Refused(f"found {shown(value)}, allowed: a number from 0 to {last}{_bare(value)}")


def address(value: t.Any) -> Address:
    """An IP address without mask or zone."""
    written = text(value)
    try:
        if _ADDRESS.fullmatch(written):
            return _not_mapped(ipaddress.ip_address(written), written)
    except Refused:
        raise
    except ValueError:
        pass
    raise Refused(f"found {shown(written)}, expected an IP address without mask")


def _not_mapped(read: Address, written: str, mask: str = "") -> Address:
    """The address, unless it is an IPv4 one written as IPv6: no packet carries it (RFC 4291, 2.5.5.2)."""
    mapped = getattr(read, "ipv4_mapped", None)
    if mapped is not None:
        raise Refused(f"found {shown(written)}, which is IPv4 written as IPv6: write '{mapped}{mask}'")
    return read


def cidr(value: t.Any) -> Network:
    """A network as a rule names it: a CIDR without host bits. Bare addresses are refused, as Calico does."""
    network = _network(value)
    if "/" not in value:
        raise Refused(f"found {shown(value)}, a rule needs a CIDR: write '{network}'")
    if str(network.network_address) != str(ipaddress.ip_interface(str(value)).ip):
        raise Refused(f"found {shown(value)}, which has host bits set: write '{network}'")
    return network


def set_member(value: t.Any) -> networks.Network:
    """A network as a network set names it: a CIDR, whose host bits do not count, or a bare address."""
    return networks.of(_network(value, ", or an address"))


def _network(value: t.Any, also: str = "") -> Network:
    written = text(value)
    try:
        # The patterns keep out what only Python takes for a network: netmasks, zones, spaces.
        if _CIDR.fullmatch(written) or _ADDRESS.fullmatch(written):
            network = ipaddress.ip_network(written, strict=False)
            if network.prefixlen >= 96:
                mask = f"/{network.prefixlen - 96}" if "/" in written else ""
                _not_mapped(network.network_address, written, mask)
            return network
    except Refused:
        raise
    except ValueError:
        pass
    raise Refused(f"found {shown(written)}, expected a CIDR such as '10.0.0.0/8' or 'fd00::/8'{also}")


def addresses_by_interface(value: t.Any) -> dict[str, list[Address]]:
    """A mapping of interface names to an address or a list of addresses."""
    if not isinstance(value, t.Mapping):
        raise Refused(f"found {shown(value)}, expected a mapping of interface to addresses")
    read = {}
    for interface, members in value.items():
        if not isinstance(interface, str) or not _INTERFACE.fullmatch(interface):
            raise Refused(f"found {shown(interface)}, expected the name of an interface")
        listed = [members] if isinstance(members, str) else members
        if not isinstance(listed, (list, tuple)):
            raise Refused(f"{interface}: found {shown(members)}, expected a list of addresses")
        try:
            read[str(interface)] = [address(member) for member in listed]
        except Refused as refusal:
            raise Refused(f"{interface}: {refusal}") from None
    return read
