# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the service's tools ISO carry what a Windows guest needs? Asked before anything is mounted."""

from __future__ import annotations

from ...client import Client
from ...errors import OpenNGTError

__all__ = ["windows_python"]


def windows_python(client: Client) -> dict[str, str]:
    """`{"python_sha256"}`: the digest by which a guest knows the Python on its disc. WINDOWS_PYTHON_MISSING."""
    python = client.payload()["windows_python"]
    if python is None:
        message = "the service's tools ISO carries no Python for Windows, so no agent could run in this guest"
        raise OpenNGTError("WINDOWS_PYTHON_MISSING", message)
    return {"python_sha256": python["sha256"]}
