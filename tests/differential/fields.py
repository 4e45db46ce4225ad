# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every field that a HostPolicy can hold and raw has to heed, read off the model's own dataclasses.

So a field that is new to the model is one that the coverage test asks for, until policies are generated with
it.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Any, Final

from ansible_collections.netpolicy.host.plugins.module_utils._policy import model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Not for raw to heed, each with its reason.
IGNORED: Final = {
    "HostPolicy.node": "whose policy it is",
    "HostPolicy.places": "for messages",
    "HostPolicy.endpoints": "counted as Endpoint",
    "HostPolicy.policies": "counted as Policy",
    "HostPolicy.sets": "counted as AddressSet",
    "HostPolicy.port_sets": "counted as PortSet",
    "HostPolicy.settings.drop_invalid": "connection tracking comes after raw",
    "HostPolicy.settings.mark_mask": "raw marks nothing",
    "HostPolicy.settings.insert_first": "our hooks are our own",
    "AddressSet.text": "for people",
    "PortSet.text": "for people",
    "Endpoint.pre_dnat": "comes after raw",
    "Endpoint.normal": "comes after raw",
    "Endpoint.forward": "comes after raw",
    "Endpoint.profiles": "come after raw",
    "Tier.default_action": "always to pass, where policy is untracked",
    "Policy.kind": "only one kind can be untracked",
    "Policy.name": "every policy has one",
    "Rule.origin": "where the rule was written",
}

_INTERFACES: Final = {None: "by addresses", model.EVERY_INTERFACE: "every"}
# Fields whose values mean so different things that each has to be seen.
_FORMS: Final[dict[str, tuple[tuple[str, ...], Callable[[Any], str]]]] = {
    "Endpoint.interface": (
        ("named", *_INTERFACES.values()),
        lambda interface: _INTERFACES.get(interface, "named"),
    ),
    "Policy.ingress": (("rules", "no rule"), lambda rules: "rules" if rules else "no rule"),
    "Policy.egress": (("rules", "no rule"), lambda rules: "rules" if rules else "no rule"),
    "Rule.action": (model.ACTIONS, str),
    "Rule.ip_version": (("4", "6"), str),
}


def rows() -> tuple[str, ...]:
    """All fields, by path, and where there are several forms of one, each of these."""
    found = []
    for path in paths():
        if not _is_ignored(path):
            forms, _form = _FORMS.get(path, ((), str))
            found += [f"{path}: {form}" for form in forms] or [path]
    return tuple(found)


def used(instance: Any, prefix: str = "") -> Iterator[str]:
    """The rows that a part of a policy makes use of, what it contains in turn left out."""
    prefix = prefix or type(instance).__name__
    for field in dataclasses.fields(instance):
        path, value = f"{prefix}.{field.name}", getattr(instance, field.name)
        if _is_ignored(path) or value == _default(field):
            continue
        if dataclasses.is_dataclass(value):
            yield from used(value, path)
        elif path in _FORMS:
            yield f"{path}: {_FORMS[path][1](value)}"
        else:
            yield path


def parts(policy: model.HostPolicy) -> Iterator[Any]:
    """All that a policy is made of."""
    yield policy
    yield from policy.sets.values()
    yield from policy.port_sets.values()
    yield from (*policy.failsafes.inbound, *policy.failsafes.outbound)
    for endpoint in policy.endpoints:
        yield endpoint
        yield from endpoint.untracked
    for member in policy.policies.values():
        yield member
        yield from member.all_rules


def paths() -> Iterator[str]:
    """All fields that there are, by path: the class, then the field, then those of what it holds."""
    classes = [
        kind for kind in vars(model).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)
    ]
    inside = {kind for each in classes for _name, kind in _members(each) if kind is not None}
    for kind in classes:
        if kind not in inside:
            yield from _paths_of(kind, kind.__name__)


def _paths_of(kind: type, prefix: str) -> Iterator[str]:
    for name, inner in _members(kind):
        if inner is None:
            yield f"{prefix}.{name}"
        else:
            yield from _paths_of(inner, f"{prefix}.{name}")


def _members(kind: type) -> Iterator[tuple[str, type | None]]:
    """The fields of a dataclass, each with the dataclass that it, and not a sequence in it, is; or None."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        inner = [each for each in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(each)]
        is_one = typing.get_origin(hint) not in (tuple, *_MAPPINGS)
        yield field.name, inner[0] if inner and is_one and isinstance(inner[0], type) else None


_MAPPINGS: Final = (typing.get_origin(typing.Mapping[str, str]),)


def _is_ignored(path: str) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in IGNORED)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
