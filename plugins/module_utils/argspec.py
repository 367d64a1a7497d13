# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that every module shares that asks the service; documented in the fragment `openngt.guest_tools.service`."""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import env_fallback

from .openngt.client import Client

__all__ = ["SERVICE", "client_of", "service_spec"]

# There is no option that switches verification off: who has no public certificate gives the CA's file.
SERVICE: dict[str, dict[str, Any]] = {
    "endpoint": {"type": "str", "required": True, "fallback": (env_fallback, ["OPENNGT_ENDPOINT"])},
    "token": {"type": "str", "required": True, "no_log": True, "fallback": (env_fallback, ["OPENNGT_TOKEN"])},
    "ca_file": {"type": "path", "fallback": (env_fallback, ["OPENNGT_CA_FILE"])},
    "timeout": {"type": "float", "default": 60.0, "fallback": (env_fallback, ["OPENNGT_TIMEOUT"])},
}


def service_spec(**options: Any) -> dict[str, Any]:
    """An argument spec of the service's options and a module's own."""
    return dict(SERVICE, **options)


def client_of(params: Mapping[str, Any]) -> Client:
    """The service's client by a module's parameters; nothing is connected yet. Raises INVALID_INPUT and others."""
    return Client(params["endpoint"], params["token"], params["ca_file"], params["timeout"])
