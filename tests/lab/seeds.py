# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The published policies that the product started from, fitted to a lab.

Only node names and addresses are filled in; every other token of the fixtures stays as it was published.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Resource = dict[str, Any]

FIXTURES = Path(__file__).parents[1] / "fixtures" / "seeds"


def published(name: str) -> list[Resource]:
    """The resources of the fixture ``name``; FileNotFoundError when there is none."""
    return list(yaml.safe_load_all((FIXTURES / f"{name}.yml").read_text()))


def node_of(resources: Iterable[Resource]) -> str:
    """The node of the first endpoint."""
    return str(next(_endpoints(resources))["spec"]["node"])


def fitted(
    resources: Sequence[Resource],
    *,
    addresses: Mapping[str, Sequence[str]],
    nodes: Mapping[str, str] | None = None,
    nets: Sequence[str] | None = None,
) -> list[Resource]:
    """A copy with the nodes' real names and addresses, and the sets' real ``nets``.

    ``nodes`` maps published node names to real ones (the same by default), ``addresses`` real nodes to
    addresses; KeyError for a node without addresses.
    """
    result = copy.deepcopy(list(resources))
    for endpoint in _endpoints(result):
        node = (nodes or {}).get(endpoint["spec"]["node"], endpoint["spec"]["node"])
        endpoint["spec"] |= {"node": node, "expectedIPs": list(addresses[node])}
    if nets is not None:
        for resource in result:
            if resource["kind"] == "GlobalNetworkSet":
                resource["spec"]["nets"] = list(nets)
    return result


def _endpoints(resources: Iterable[Resource]) -> Iterator[Resource]:
    return (resource for resource in resources if resource["kind"] == "HostEndpoint")
