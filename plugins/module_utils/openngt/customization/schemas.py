# SPDX-License-Identifier: GPL-3.0-or-later
"""The published JSON schemas that a customization is held to. Their files belong to the service, which reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Schemas"]


class Schemas(NamedTuple):
    cloud_config: Mapping[str, Any]
    network: Mapping[str, Any]
    """Of network config version 2."""

    @property
    def top_level(self) -> Mapping[str, Any]:
        """The keys of a cloud-config."""
        return dict(self.cloud_config.get("properties", {}))

    @property
    def user(self) -> Mapping[str, Any]:
        """The keys of an item of `users`."""
        definitions = self.cloud_config.get("$defs", {})
        return dict(definitions.get("users_groups.user", {}).get("properties", {}))
