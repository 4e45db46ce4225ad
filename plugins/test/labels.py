# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests on labels: selected_by. Documented in the YAML file beside this one."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.netpolicy.host.plugins.module_utils._policy.shown import shown
from ansible_collections.netpolicy.host.plugins.plugin_utils._calico import selector as selectors


def selected_by(labels: t.Any, selector: t.Any) -> bool:
    """Whether an object with these labels is picked by a selector."""
    if not isinstance(labels, Mapping):
        raise AnsibleFilterError(
            f"netpolicy.host.selected_by: found {shown(labels)}, expected a mapping of labels"
        )
    for key, value in labels.items():
        if not isinstance(value, str):
            raise AnsibleFilterError(
                f"netpolicy.host.selected_by: label {key}: found {shown(value)}, expected a string (quote it)"
            )
    if not isinstance(selector, str):
        raise AnsibleFilterError(
            f"netpolicy.host.selected_by: selector: found {shown(selector)}, expected a string"
        )
    try:
        return selectors.parse(str(selector)).matches(labels)
    except selectors.SelectorError as error:
        raise AnsibleFilterError(f"netpolicy.host.selected_by: {error} in {str(selector)!r}") from None


class TestModule:
    """Jinja2 tests of the collection."""

    def tests(self) -> dict[str, t.Callable[..., bool]]:
        """Names and functions."""
        return {"selected_by": selected_by}
