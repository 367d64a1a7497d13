# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of Windows that an agent is installed on, and the judgement of what a guest's registry says by them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["VERSIONS", "Verdict", "judge"]

# begin of the table: written by scripts/compatibility.py
VERSIONS: dict[str, tuple[str, ...]] = {
    "windows_server": ("2012 R2", "2016", "2019", "2022", "2025"),
    "windows": ("10", "11"),
}
# end of the table

FIRST_BUILD_OF_11 = 22000


class Verdict(NamedTuple):
    supported: bool
    label: str
    """As its users call it."""
    message: str
    """Empty when supported."""


def judge(product: str, build: str, installation: str) -> Verdict:
    """By ProductName, CurrentBuildNumber and InstallationType of the registry (`Windows NT\\CurrentVersion`)."""
    server = installation != "Client"
    if not server and build.isdigit() and int(build) >= FIRST_BUILD_OF_11:
        product = product.replace("Windows 10", "Windows 11")  # Microsoft left the name as it was
    versions = VERSIONS["windows_server" if server else "windows"]
    if _release_of(product, server) in versions:
        return Verdict(True, product, "")
    listed = ", ".join(versions)
    return Verdict(False, product, f"Unsupported version : {product.lower() or 'unknown'} (supported: {listed})")


def _release_of(product: str, server: bool) -> str:
    """`2012 R2` of `Windows Server 2012 R2 Standard`, `11` of `Windows 11 Pro`; the agent reports the same."""
    words = product.split()
    after = words[words.index("Server") + 1 :] if server and "Server" in words else words[1:]
    return " ".join(after[:2]) if after[1:2] == ["R2"] else "".join(after[:1])
