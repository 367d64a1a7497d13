# SPDX-License-Identifier: GPL-3.0-or-later
"""The network that a customization sets up, whichever way it is told."""

from __future__ import annotations

from typing import Any

from . import cloud_config, windows_options
from .model import Customization
from .network_config import unwrapped

__all__ = ["wanted_network"]


def wanted_network(customization: Customization) -> dict[str, Any] | None:
    """Network config version 2 of one that was found to be good; None where the guest is left to its own."""
    if customization.network is not None:
        return unwrapped(customization.network)
    of_options = cloud_config.network_of if customization.format == "cloud_init" else windows_options.network_of
    return of_options(customization.options)
