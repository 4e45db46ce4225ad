# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""From the content of a resource file to the resources in it, as `calicoctl get -o yaml` writes them.

The content is data. ansible-core's own loader reads it, for the file and line that it tags every value with,
but nothing in it is trusted as a template, and of YAML only what Calico's tools write and read is served: a
repeated key or a tag is refused, because what Ansible makes of these would silently be something else.
"""

from __future__ import annotations

import io
import typing as t
from collections.abc import Iterator, Mapping

import yaml
from ansible.parsing.yaml.loader import AnsibleLoader

from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import name, shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico.reading import (
    Finding,
    Where,
    misread_number,
)

MAX_DEPTH = 64
"""Of nested lists and mappings. Calico needs a dozen; with some ten thousand libyaml's caller crashes."""

_TAG = "tag:yaml.org,2002:"
_TEXT = _TAG + "str"
_MERGE = _TAG + "merge"
_NUMBERS = (_TAG + "int", _TAG + "float")
_PLAIN = {_TEXT, _MERGE, *_NUMBERS, *(_TAG + kind for kind in ("bool", "map", "null", "seq", "timestamp"))}
_STEPS: Mapping[type, int] = {
    yaml.MappingStartEvent: 1,
    yaml.SequenceStartEvent: 1,
    yaml.MappingEndEvent: -1,
    yaml.SequenceEndEvent: -1,
}
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, ValueError)
"""What PyYAML's constructors of numbers, dates and the like raise for a text that only looks like one."""


class _Named(io.BytesIO):
    """Bytes with the name of their file: that is where the loader takes the origin of its values from."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def read(content: bytes, path: str) -> tuple[list[t.Any], list[Finding]]:
    """The resources in a file's content, each as raw as in a variable, and what is wrong with the file."""
    findings: list[Finding] = []
    found: list[t.Any] = []
    if not _too_deep(content, path, findings):
        for document, where in _documents(content, path, findings):
            found += _resources(document, where)
    return found, findings


# -- YAML --------------------------------------------------------------------------------------------


def _too_deep(content: bytes, path: str, findings: list[Finding]) -> bool:
    """Whether something is nested so deeply that it cannot be read; looked at before it is tried."""
    depth = 0
    try:
        for event in iter(AnsibleLoader(_Named(content, path)).get_event, None):
            depth += _STEPS.get(type(event), 0)
            if depth > MAX_DEPTH:
                where = _where(path, "YAML", findings, event.start_mark.line + 1)
                where.refuse(f"found more than {MAX_DEPTH} levels of lists and mappings inside each other")
                return True
    except yaml.YAMLError:
        pass  # whoever reads the documents meets it again, and has read those before it
    return False


def _documents(content: bytes, path: str, findings: list[Finding]) -> Iterator[tuple[t.Any, Where]]:
    """The documents that hold anything and can be read, one by one."""
    loader = AnsibleLoader(_Named(content, path))
    number = 1
    try:
        while loader.check_node():
            node = loader.get_node()
            where = _where(path, f"document {number}", findings, _line(node))
            before = len(findings)
            _check(node, loader, where)
            if len(findings) == before:
                document = loader.construct_document(node)
                if document is not None:
                    yield document, where
            number += 1
    except yaml.YAMLError as error:
        where = _where(path, f"document {number}", findings, _line_of_error(error, content))
        where.refuse(f"is not YAML: {_text_of_error(error)}")
    finally:
        loader.dispose()


def _check(root: yaml.Node, loader: t.Any, where: Where) -> None:
    """Refuse what would be read as something else than it is, everywhere in a document."""
    rest, seen = [root], set()
    while rest:
        node = rest.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if node.tag not in _PLAIN:
            _at(node, where).refuse(
                f"found the tag {shown(node.tag.replace(_TAG, '!!'))}; a resource file is YAML without tags, "
                "and no template is in it. To keep it secret, encrypt the whole file with ansible-vault"
            )
        elif isinstance(node, yaml.MappingNode):
            _check_keys(node, where)
            rest += [one for pair in reversed(node.value) for one in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            rest += reversed(node.value)
        elif isinstance(node, yaml.ScalarNode) and node.tag not in (_TEXT, _MERGE):
            _check_scalar(node, loader, where)


def _check_keys(node: yaml.MappingNode, where: Where) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        entry = (key.tag, key.value)
        if entry in lines:
            message = f"found the key {shown(key.value)} a second time; it is also in line {lines[entry]}"
            _at(key, where).refuse(message)
        lines.setdefault(entry, _line(key))
        if key.tag == _MERGE and any(map(_merges, _merged(value))):
            # Each such step may multiply what there is to copy, and goes one call deeper.
            _at(key, where).refuse("found a merge (<<) of what merges something itself; write the fields out")


def _merged(value: yaml.Node) -> list[yaml.Node]:
    return list(value.value) if isinstance(value, yaml.SequenceNode) else [value]


def _merges(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and any(key.tag == _MERGE for key, _value in node.value)


def _check_scalar(node: yaml.ScalarNode, loader: t.Any, where: Where) -> None:
    misread = misread_number(node.value) if node.tag in _NUMBERS else None
    if misread is not None:
        # Here, not where fields are read: in a vaulted file nobody can look up later what was written.
        _at(node, where).refuse(f"found {shown(node.value)}: {misread}")
        return
    try:
        loader.construct_object(node)
    except _UNREADABLE:
        kind = node.tag.replace(_TAG, "")
        _at(node, where).refuse(
            f"found {shown(node.value)}, which YAML takes for a value of type {kind}, and it is none; "
            "quote it if it is a text"
        )


def _where(path: str, part: str, findings: list[Finding], line: int) -> Where:
    return Where("file", path, findings, part, f"{path}:{line}")


def _at(node: yaml.Node, where: Where) -> Where:
    return _where(where.name, where.path, where.findings, _line(node))


def _line(node: yaml.Node) -> int:
    return t.cast("int", node.start_mark.line) + 1


def _line_of_error(error: yaml.YAMLError, content: bytes) -> int:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        return 1 if mark is None else mark.line + 1
    return content.count(b"\n", 0, getattr(error, "position", 0)) + 1


def _text_of_error(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return ": ".join(str(part) for part in (error.context, error.problem) if part)
    return str(getattr(error, "reason", error))


# -- documents ---------------------------------------------------------------------------------------


def _resources(document: t.Any, where: Where) -> Iterator[t.Any]:
    """The resources of a document: one, a List of them, or a sequence, as of `calicoctl get KIND A B`."""
    if not isinstance(document, list):
        yield from _single_or_list(document, where)
        return
    for index, member in enumerate(document):
        yield from _single_or_list(member, where.at(index, member))


def _single_or_list(value: t.Any, where: Where) -> Iterator[t.Any]:
    if not isinstance(value, Mapping):
        where.refuse(f"found {shown(value)}, expected a resource (a mapping)")
    elif not _is_list(value):
        yield value
    elif "items" not in value:
        where.at("items", None).refuse("missing")
    else:
        yield from _items(value["items"], where.at("items", value["items"]))


def _items(value: t.Any, where: Where) -> Iterator[t.Any]:
    """The members of a List. None is how calicoctl writes that there are none."""
    if value is not None and not isinstance(value, list):
        where.refuse(f"found {shown(value)}, expected a list of resources")
        return
    for index, item in enumerate(value or ()):
        at = where.at(index, item)
        if not isinstance(item, Mapping):
            at.refuse(f"found {shown(item)}, expected a resource (a mapping)")
        elif _is_list(item):
            at.refuse(f"found a {name(item['kind'])} inside of a list; put its items here")
        else:
            yield item


def _is_list(value: Mapping[t.Any, t.Any]) -> bool:
    """List, or a kind with List at its end. No kind of resource that Calico has ends so."""
    kind = value.get("kind")
    return isinstance(kind, str) and kind.endswith("List")
