# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources as users write them, for tests."""

from __future__ import annotations

import typing as t

Written = dict[str, t.Any]
API = "projectcalico.org/v3"


def resource(kind: str, name: str, spec: Written, labels: t.Mapping[str, str] | None = None) -> Written:
    """A resource of any kind."""
    metadata: Written = {"name": name}
    if labels is not None:
        metadata["labels"] = dict(labels)
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def endpoint(
    name: str = "node-eth0",
    labels: t.Mapping[str, str] | None = None,
    node: str = "node",
    interface: str = "eth0",
    **spec: t.Any,
) -> Written:
    """A host endpoint."""
    return resource("HostEndpoint", name, {"node": node, "interfaceName": interface, **spec}, labels)


def policy(name: str = "web", **spec: t.Any) -> Written:
    """An untracked policy."""
    return resource("GlobalNetworkPolicy", name, {"doNotTrack": True, "applyOnForward": True, **spec})


def network_set(name: str, nets: t.Sequence[str], labels: t.Mapping[str, str] | None = None) -> Written:
    """A global network set."""
    return resource("GlobalNetworkSet", name, {"nets": list(nets)}, labels)
